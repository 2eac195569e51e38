use super::*;
use proptest::prelude::*;

/// What a listener makes of a connection: exchanges of a request and a response.
#[derive(Default)]
struct Listener {
    conversation: Conversation,
    exchanges: Vec<Exchange>,
    /// Those that have no complete response.
    waiting: VecDeque<usize>,
    /// The newest that was asked for, and the newest that was not.
    request: usize,
    unasked: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Exchange {
    request: String,
    response: String,
    asked: bool,
    request_ended: bool,
    response_ended: bool,
}

impl Listener {
    fn client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let part = self.conversation.request(bytes);
            assert!(part.length > 0 && part.length <= bytes.len());
            if part.ends_earlier {
                self.waiting.clear();
            }
            if part.begins {
                self.request = self.exchanges.len();
                self.waiting.push_back(self.request);
                self.exchanges.push(Exchange { asked: true, ..Exchange::default() });
            }
            let exchange = &mut self.exchanges[self.request];
            assert!(exchange.asked);
            exchange.request += &bytes[..part.length].escape_ascii().to_string();
            exchange.request_ended |= part.ends;
            if part.unanswered {
                self.waiting.pop_back();
            }
            bytes = &bytes[part.length..];
        }
    }

    fn server(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let part = self.conversation.response(bytes);
            assert!(part.length > 0 && part.length <= bytes.len());
            if part.unasked && part.begins {
                self.unasked = self.exchanges.len();
                self.exchanges.push(Exchange::default());
            }
            let at = if part.unasked { self.unasked } else { self.waiting[0] };
            let exchange = &mut self.exchanges[at];
            assert_eq!(exchange.asked, !part.unasked);
            exchange.response += &bytes[..part.length].escape_ascii().to_string();
            exchange.response_ended |= part.ends;
            if part.ends && !part.unasked {
                self.waiting.pop_front();
            }
            bytes = &bytes[part.length..];
        }
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.exchanges.iter().map(|exchange| (&*exchange.request, &*exchange.response)).collect()
    }
}

#[test]
fn an_unknown_protocol_changes_direction() {
    let mut listener = Listener::default();
    listener.client(b"\x01ab");
    listener.client(b"c");
    listener.server(b"d");
    listener.server(b"e");
    listener.client(b"f");
    listener.server(b"g");
    assert_eq!(listener.pairs(), [("\\x01abc", "de"), ("f", "g")]);
    assert!(listener.conversation.is_raw());
    assert_eq!(listener.conversation.response_end(), End::Complete);
}

#[test]
fn a_server_may_speak_first() {
    let mut listener = Listener::default();
    listener.server(b"220 hel");
    listener.server(b"lo\r\n");
    listener.client(b"EHLO me\r\n");
    listener.server(b"250 ok\r\n");
    assert_eq!(listener.pairs(), [("", "220 hello\\r\\n"), ("EHLO me\\r\\n", "250 ok\\r\\n")]);
    assert!(!listener.exchanges[0].asked);

    let mut listener = Listener::default();
    listener.server(b"hi");
    let part = listener.conversation.request(b"PING\r\n");
    assert!(part.begins && part.ends && part.ends_earlier);
    assert_eq!(listener.conversation.protocol(), Protocol::Redis);
}

#[test]
fn after_a_greeting_the_protocol_is_framed() {
    let mut listener = Listener::default();
    listener.server(b"hi");
    listener.client(b"GE");
    listener.client(b"T / HTTP/1.1\r\n\r\n");
    listener.server(b"HTTP/1.1 204 OK\r\n\r\nHTTP/1.1 408 Late\r\n");
    let asked: Vec<bool> = listener.exchanges.iter().map(|exchange| exchange.asked).collect();
    assert_eq!(asked, [false, true, false]);
    assert!(listener.exchanges[1].response_ended);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut listener = Listener::default();
    listener.client(b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1\r\n$1");
    listener.server(b"+A\r\n+");
    listener.client(b"\r\nc\r\n");
    listener.server(b"B\r\n:3\r\n");
    let pairs = listener.pairs();
    assert_eq!(pairs.iter().map(|pair| pair.1).collect::<Vec<_>>(), ["+A\\r\\n", "+B\\r\\n", ":3\\r\\n"]);
    assert!(listener.exchanges.iter().all(|exchange| exchange.request_ended && exchange.response_ended));
    assert_eq!(listener.conversation.response_end(), End::Idle);
}

#[test]
fn heads_and_bodies_are_told_apart_by_the_request() {
    let mut listener = Listener::default();
    listener.client(b"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    listener.server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    listener.server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert!(listener.exchanges[1].response.ends_with("hi"));
    assert!(listener.exchanges[1].response_ended);
}

#[test]
fn an_early_answer_belongs_to_the_request_under_way() {
    let mut listener = Listener::default();
    listener.client(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
    listener.server(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    listener.client(b"cdGET / HTTP/1.1\r\n\r\n");
    listener.server(b"HTTP/1.1 204 OK\r\n\r\n");
    assert_eq!(listener.exchanges.len(), 2);
    assert!(listener.exchanges[0].request.ends_with("abcd"));
    assert!(listener.exchanges[1].response.contains("204"));
}

#[test]
fn an_upgrade_changes_direction_from_there_on() {
    let mut listener = Listener::default();
    listener.client(b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    listener.server(b"HTTP/1.1 101 OK\r\n\r\n\x81\x01a");
    listener.client(b"\x81\x81xyz!");
    listener.server(b"\x81\x01b");
    assert_eq!(listener.pairs()[1..], [("", "\\x81\\x01a"), ("\\x81\\x81xyz!", "\\x81\\x01b")]);
    assert_eq!(listener.conversation.protocol(), Protocol::Http);
}

#[test]
fn a_tunnel_is_looked_into() {
    let mut listener = Listener::default();
    listener.client(b"CONNECT a:443 HTTP/1.1\r\n\r\n");
    listener.server(b"HTTP/1.1 200 OK\r\n\r\n");
    assert!(!listener.conversation.encrypted());
    listener.client(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00");
    assert!(listener.conversation.encrypted());
}

#[test]
fn commands_without_reply_are_complete_at_once() {
    let mut conversation = Conversation::new();
    assert!(conversation.request(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n").unanswered);
    assert!(conversation.request(b"PING\r\n").unanswered);
    assert!(!conversation.request(b"CLIENT REPLY ON\r\n").unanswered);
    assert!(!conversation.response(b"+OK\r\n").unasked);
    assert!(conversation.response(b">1\r\n+x\r\n").unasked);
}

#[test]
fn a_response_that_ends_with_the_stream() {
    let mut conversation = Conversation::new();
    conversation.request(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(conversation.response_end(), End::Cut);
    assert!(!conversation.response(b"HTTP/1.0 200 OK\r\n\r\nabc").ends);
    assert_eq!(conversation.response_end(), End::Complete);
    conversation = Conversation::new();
    assert_eq!(conversation.response_end(), End::Idle);
    conversation.request(b"GET / HTTP/1.0\r\n\r\n");
    conversation.response(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nabc");
    assert_eq!(conversation.response_end(), End::Cut);
}

#[test]
fn after_a_gap_the_next_request_is_framed_again() {
    let mut listener = Listener::default();
    listener.client(b"GET /1 HTTP/1.1\r\n\r\n");
    listener.server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab");
    listener.conversation.gap();
    listener.server(b"cd");
    assert!(listener.conversation.is_raw());
    listener.client(b"GET /2 HTTP/1.1\r\n\r\n");
    listener.server(b"HTTP/1.1 204 OK\r\n\r\n");
    assert!(!listener.conversation.is_raw());
    assert_eq!(listener.exchanges.len(), 2);
    assert!(listener.exchanges[0].response.ends_with("abcd"));
    assert!(listener.exchanges[1].response_ended);
}

#[test]
fn what_is_not_of_the_protocol_falls_back() {
    let mut listener = Listener::default();
    listener.client(b"GET / HTTP/1.1\r\n\r\n");
    listener.server(b"SSH-2.0-x\r\n\r\n");
    listener.server(b"more");
    listener.client(b"what?");
    listener.server(b"that");
    let pairs = listener.pairs();
    assert_eq!(pairs[0].1, "SSH-2.0-x\\r\\n\\r\\nmore");
    assert_eq!(pairs[1], ("what?", "that"));
}

proptest! {
    /// Any bytes either way, in any pieces: nothing is lost, and cutting changes nothing.
    #[test]
    fn cutting_changes_nothing(
        turns in prop::collection::vec(
            (any::<bool>(), prop_oneof![
                prop::sample::select(vec![
                    "GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 100 Go\r\n\r\n", "HTTP/1.1 101 Up\r\n\r\n",
                    "HTTP/1.0 200 OK\r\n\r\nrest", "CONNECT a:1 HTTP/1.1\r\n\r\n",
                    "*1\r\n$4\r\nPING\r\n", "PING\r\n", "+PONG\r\n", "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n",
                    "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "CLIENT REPLY OFF\r\n",
                    "get a\r\n", "set a 0 0 1\r\nx\r\n", "mg a q\r\n", "mn\r\n", "VALUE a 0 1\r\nx\r\n", "END\r\n", "MN\r\n",
                    "d\0\0\0\x0a5.5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\u{2}", "\0\0\0\x08\u{3}",
                    "\0\0\0\x10\0\x03\0\0user\0a\0\0", "\0\0\0\x08\x04", "Q\0\0\0\x04", "S\0\0\0\x04", "H\0\0\0\x04", "P\0\0\0\x04",
                    "1\0\0\0\x04", "E\0\0\0\x04", "Z\0\0\0\x05I", "\x05\0\0\0\x03abcd", "\x01\0\0\0\x0e", "\x01\0\0\x01\x01",
                    "\x05\0\0\x01\u{7f}abc", "\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0", "\x01\x05\0\x01\0\0\0\0", "\x01\x03\0\x01\0\0\0\0",
                ]).prop_map(|text| text.as_bytes().to_vec()),
                Just(b"\x24\0\0\x01\0\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a\0\0\0".to_vec()),
                Just(b"\x15\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0".to_vec()),
                Just(b"\0\0\0\x08\x82\x21\x07\x04ping".to_vec()),
                Just(b"\xff\xff\xff".to_vec()),
                prop::collection::vec(any::<u8>(), 1..12),
            ]),
            0..12,
        ),
        cuts in prop::collection::vec(1usize..9, 1..9),
        gap in prop::option::of(0usize..12),
    ) {
        let mut whole = Listener::default();
        let mut pieces = Listener::default();
        let mut sizes = cuts.iter().cycle();
        for (at, (client, bytes)) in turns.iter().enumerate() {
            if gap == Some(at) {
                whole.conversation.gap();
                pieces.conversation.gap();
            }
            let mut rest = &bytes[..];
            if *client { whole.client(rest) } else { whole.server(rest) }
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                if *client { pieces.client(piece) } else { pieces.server(piece) }
                rest = after;
            }
        }
        prop_assert_eq!(&whole.exchanges, &pieces.exchanges);
        prop_assert_eq!(whole.conversation.protocol(), pieces.conversation.protocol());
        let total: usize = turns.iter().map(|(_, bytes)| bytes.escape_ascii().count()).sum();
        let kept: usize = whole.exchanges.iter().map(|exchange| exchange.request.len() + exchange.response.len()).sum();
        prop_assert_eq!(total, kept);
    }
}
