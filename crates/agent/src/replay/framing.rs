//! Cutting what arrives on an outbound connection into requests.

use koala_protocol::{Detection, Expected, Framing, Protocol, RequestFramer, Step};

/// What [`Requests::next_request`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole request.
    Request(Vec<u8>),
    /// There is nothing, or not all of a request.
    More,
    /// The client has sent the head of its request, and waits for `100 Continue` before it sends the body.
    Continue,
    /// The bytes do not say where a request ends: the protocol is not known.
    Unframed,
    /// They are TLS's, for a server of this name.
    Encrypted(Option<String>),
}

/// What arrived on a connection and was not taken as a request yet.
#[derive(Debug)]
pub struct Requests {
    protocol: Option<Protocol>,
    framer: RequestFramer,
    buffer: Vec<u8>,
    /// How much of `buffer` the framer has seen.
    framed: usize,
    /// The client was told to go on with the request under way.
    continued: bool,
    /// It was told so with the request before.
    told: bool,
    /// The connection has switched to another protocol, which its first bytes tell.
    switched: bool,
}

impl Requests {
    /// For a connection of this protocol; `None`: to be recognised by its first bytes.
    pub fn new(protocol: Option<Protocol>) -> Self {
        Self {
            protocol,
            framer: RequestFramer::new(protocol.unwrap_or(Protocol::Raw)),
            buffer: Vec::new(),
            framed: 0,
            continued: false,
            told: false,
            switched: false,
        }
    }

    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What arrived and was not taken.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes all that arrived, as one request.
    pub fn take(&mut self) -> Vec<u8> {
        self.framed = 0;
        self.told = false;
        std::mem::take(&mut self.buffer)
    }

    /// Whether requests end only where [`Requests::take`] is called, as far as is known.
    pub fn is_unframed(&self) -> bool {
        self.protocol.is_none_or(|protocol| protocol == Protocol::Raw)
    }

    /// The protocol, as far as it is known.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The protocol is this one, unless it is known already.
    pub fn assume(&mut self, protocol: Protocol) {
        if self.protocol.is_none() {
            self.speak(protocol);
        }
    }

    /// Whether the client of the request taken last was told to go on before it was complete.
    pub fn told_to_continue(&self) -> bool {
        self.told
    }

    /// The next request.
    pub fn next_request(&mut self) -> Next {
        if self.buffer.is_empty() {
            return Next::More;
        }
        let protocol = match self.protocol {
            Some(protocol) => protocol,
            None => match koala_protocol::detect_request(&self.buffer) {
                Detection::Is(protocol) => self.speak(protocol),
                Detection::NeedMore => return Next::Unframed,
                Detection::Encrypted { server_name } => return Next::Encrypted(server_name),
            },
        };
        if protocol == Protocol::Raw {
            return match koala_protocol::detect_request(&self.buffer) {
                Detection::Encrypted { server_name } if self.switched => Next::Encrypted(server_name),
                _ => Next::Unframed,
            };
        }
        let unseen = self.buffer.get(self.framed..).unwrap_or_default();
        if unseen.is_empty() {
            return self.more(protocol);
        }
        match self.framer.push(unseen) {
            Step::More => {
                self.framed = self.buffer.len();
                self.more(protocol)
            }
            Step::End(length) => self.cut(length),
            Step::Switch(length) => {
                let request = self.cut(length);
                self.speak(Protocol::Raw);
                self.switched = true;
                request
            }
            Step::Invalid => {
                if let Detection::Encrypted { server_name } = koala_protocol::detect_request(&self.buffer) {
                    return Next::Encrypted(server_name);
                }
                self.speak(Protocol::Raw);
                Next::Unframed
            }
        }
    }

    /// From here on the connection is of this protocol.
    pub fn speak(&mut self, protocol: Protocol) -> Protocol {
        self.protocol = Some(protocol);
        self.framer = RequestFramer::new(protocol);
        self.framed = 0;
        protocol
    }

    fn cut(&mut self, length: usize) -> Next {
        let end = (self.framed + length).min(self.buffer.len());
        let rest = self.buffer.split_off(end);
        let request = std::mem::replace(&mut self.buffer, rest);
        self.framed = 0;
        self.told = std::mem::take(&mut self.continued);
        Next::Request(request)
    }

    fn more(&mut self, protocol: Protocol) -> Next {
        if protocol == Protocol::Http && !self.continued && expects_continue(&self.buffer) {
            self.continued = true;
            return Next::Continue;
        }
        Next::More
    }
}

/// What a client is told that waits to be told to go on.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The response without the `100 Continue` that it begins with, if it does.
pub fn without_continue(response: &[u8]) -> &[u8] {
    let is_continue = response.starts_with(b"HTTP/1.1 100") || response.starts_with(b"HTTP/1.0 100");
    match head_end(response) {
        Some(end) if is_continue => response.get(end..).unwrap_or_default(),
        _ => response,
    }
}

/// Whether a recorded HTTP response tells its reader that the connection ends with it.
pub fn ends_by_close(request: &[u8], response: &[u8]) -> bool {
    if response.is_empty() {
        return false;
    }
    let response = without_continue(response);
    let expected = Expected::of(Protocol::Http, request);
    koala_protocol::frame_response(Protocol::Http, expected, response) == Framing::UntilClose
        || header(response, b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"))
}

/// Whether a complete HTTP response switches the connection to another protocol.
pub fn switches(request: &[u8], response: &[u8]) -> bool {
    let expected = Expected::of(Protocol::Http, request);
    matches!(
        koala_protocol::frame_response(Protocol::Http, expected, without_continue(response)),
        Framing::Upgrade(_)
    )
}

/// Whether `buffer` holds the whole head of an HTTP request that asks for `100 Continue`.
fn expects_continue(buffer: &[u8]) -> bool {
    head_end(buffer).is_some()
        && header(buffer, b"expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Where the body begins.
fn head_end(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a header of an HTTP message, whose head ends with an empty line; `name` is in lower case.
fn header<'a>(message: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let head = message.get(..head_end(message)?)?;
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (field, value) = line.split_at(colon);
        field.eq_ignore_ascii_case(name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_by_protocol_however_they_arrive() {
        let stream = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n";
        for piece in 1..stream.len() {
            let mut requests = Requests::new(Some(Protocol::Http));
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                requests.push(bytes);
                loop {
                    match requests.next_request() {
                        Next::Request(request) => found.push(request),
                        Next::More => break,
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(found.concat(), stream);
            assert_eq!(found.len(), 2, "in pieces of {piece}");
            assert!(requests.pending().is_empty());
        }
    }

    #[test]
    fn pipelined_commands_are_requests_of_their_own() {
        let mut requests = Requests::new(None);
        requests.push(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4");
        assert_eq!(requests.next_request(), Next::Request(b"*1\r\n$4\r\nPING\r\n".to_vec()));
        assert_eq!(requests.next_request(), Next::Request(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".to_vec()));
        assert_eq!(requests.next_request(), Next::More);
        requests.push(b"\r\nPING\r\n");
        assert_eq!(requests.next_request(), Next::Request(b"*1\r\n$4\r\nPING\r\n".to_vec()));
    }

    #[test]
    fn a_client_that_waits_is_told_once_to_go_on() {
        let mut requests = Requests::new(None);
        requests.push(b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nexpect:  100-Continue\r\n\r\n");
        assert_eq!(requests.next_request(), Next::Continue);
        assert_eq!(requests.next_request(), Next::More);
        requests.push(b"ok");
        assert!(matches!(requests.next_request(), Next::Request(_)));
    }

    #[test]
    fn what_is_unknown_is_not_framed() {
        let mut requests = Requests::new(None);
        requests.push(b"\x00\x01hello");
        assert_eq!(requests.next_request(), Next::Unframed);
        assert_eq!(requests.take(), b"\x00\x01hello");
        assert_eq!(requests.next_request(), Next::More);
    }

    #[test]
    fn tells_how_responses_end() {
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert!(ends_by_close(get, b"HTTP/1.0 200 OK\r\n\r\nhello"));
        assert!(ends_by_close(get, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n"));
        assert!(!ends_by_close(get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
        assert!(!ends_by_close(b"HEAD / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!ends_by_close(get, b""));
        assert_eq!(without_continue(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), b"HTTP/1.1 200 OK");
        assert_eq!(without_continue(b"HTTP/1.1 200 OK\r\n\r\n"), b"HTTP/1.1 200 OK\r\n\r\n");
    }
}
