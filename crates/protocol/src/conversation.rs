//! Both directions of a connection: which bytes are which message, and which response answers which request.

use crate::packets::Packets;
use crate::{Detection, Expected, Protocol, RequestFramer, ResponseFramer, Step, detect_request, mysql};
use alloc::{boxed::Box, collections::VecDeque, string::String, vec::Vec};

/// What the first bytes of a piece are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// So many bytes of the piece belong to one message: at least one, if the piece is not empty.
    pub length: usize,
    /// They are its first.
    pub begins: bool,
    /// They are its last.
    pub ends: bool,
    /// Of a response: no request was waiting for it (a greeting, a push).
    pub unasked: bool,
    /// Of a request: no response will come, or no more of it than came already.
    pub unanswered: bool,
    /// All messages before this one have ended, as the change of direction tells (only where no protocol does).
    pub ends_earlier: bool,
}

/// What the end of the responding side's stream means for the response under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is complete now.
    Complete,
    /// It was cut.
    Cut,
    /// There is none.
    Idle,
}

/// As much of a greeting is kept: what is looked for in it stands far before.
const GREETING_MAX: usize = 256;

/// A connection, seen by who listens to both of its sides.
///
/// Requests are answered in their order. Where the protocol is not known, messages are told apart by the
/// direction of their bytes; where the server speaks first, a response comes with no request.
#[derive(Clone, Debug)]
pub struct Conversation {
    mode: Mode,
    requests: RequestFramer,
    responses: ResponseFramer,
    /// What the requests without a complete response expect, the first apart: mostly it is the only one.
    first: Option<Expected>,
    more: VecDeque<Expected>,
    /// A request is under way.
    request_open: bool,
    /// The request under way has its response already.
    answered_early: bool,
    /// A response is under way, and whether nobody asked for it.
    response_open: Option<bool>,
    /// Without protocol: who spoke last.
    last: Side,
    protocol: Protocol,
    /// The first bytes of the client, while they are too few to tell the protocol.
    prefix: Vec<u8>,
    /// The first bytes of a server that spoke first, as long as they may be a greeting that is known.
    greeting: Vec<u8>,
    encryption: Option<Box<Encryption>>,
    /// The stream has switched to another protocol: what was asked before gets no answer.
    switched: bool,
    /// Bytes are missing: the protocol is looked for again at the next request.
    lost: bool,
    /// What goes on with that request, where the protocol is only told when a connection begins.
    resume: Option<Box<(RequestFramer, ResponseFramer)>>,
}

#[derive(Clone, Debug)]
struct Encryption {
    server_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The protocol is not known yet.
    Detecting,
    Framed,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Nobody,
    Requester,
    Responder,
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    /// A connection on which nothing was said yet.
    pub const fn new() -> Self {
        Self {
            mode: Mode::Detecting,
            requests: RequestFramer::Raw,
            responses: ResponseFramer::Raw,
            first: None,
            more: VecDeque::new(),
            request_open: false,
            answered_early: false,
            response_open: None,
            last: Side::Nobody,
            protocol: Protocol::Raw,
            prefix: Vec::new(),
            greeting: Vec::new(),
            encryption: None,
            switched: false,
            lost: false,
            resume: None,
        }
    }

    /// The protocol that the connection spoke first, as far as is known.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether messages are told apart by their direction only (or may be yet).
    pub fn is_raw(&self) -> bool {
        self.mode != Mode::Framed
    }

    /// Whether the connection is encrypted, as its first bytes tell.
    pub const fn encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// The server name that the TLS client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.encryption.as_ref()?.server_name.as_deref()
    }

    /// Whether a request is under way that is known to be incomplete.
    pub fn request_open(&self) -> bool {
        self.request_open || !self.prefix.is_empty()
    }

    /// Takes bytes of the requesting side and says what the first of them are; what is beyond
    /// [`Part::length`] is to be given again.
    pub fn request(&mut self, bytes: &[u8]) -> Part {
        if self.mode == Mode::Framed { self.framed_request(bytes) } else { self.unframed_request(bytes) }
    }

    /// As [`Conversation::request`], where the protocol is not known, or not any more.
    #[inline(never)]
    fn unframed_request(&mut self, bytes: &[u8]) -> Part {
        if self.lost && self.last != Side::Requester {
            // The first request after bytes were lost; the responses before it have their direction.
            let resume = self.resume.take();
            *self = Self { encryption: self.encryption.take(), protocol: self.protocol, ..Self::new() };
            self.mode = if self.encrypted() { Mode::Raw } else { Mode::Detecting };
            self.last = Side::Responder;
            if let Some(resume) = resume {
                self.mode = Mode::Framed;
                (self.requests, self.responses) = *resume;
            }
        }
        if self.mode == Mode::Detecting
            && let Some(part) = self.detect(bytes)
        {
            return part;
        }
        if self.mode == Mode::Framed { self.framed_request(bytes) } else { self.raw_request(bytes) }
    }

    /// Looks for the protocol; says what the bytes are if it is not known yet.
    fn detect(&mut self, bytes: &[u8]) -> Option<Part> {
        let greeting = core::mem::take(&mut self.greeting);
        if mysql::is_greeting(&greeting) {
            self.speak(Protocol::MySql);
            let requests = mysql::Requests::greeted(mysql::greeting(&greeting));
            self.requests = RequestFramer::MySql(Packets::new(requests));
            return None;
        }
        let earlier = self.prefix.len();
        let detection = if earlier == 0 {
            detect_request(bytes)
        } else {
            self.prefix.extend_from_slice(bytes);
            detect_request(&self.prefix)
        };
        match detection {
            Detection::NeedMore => {
                if earlier == 0 {
                    self.prefix.extend_from_slice(bytes);
                }
                return Some(self.raw_request(bytes));
            }
            Detection::Is(Protocol::Raw) => self.mode = Mode::Raw,
            Detection::Encrypted { server_name } => {
                self.encryption = Some(Box::new(Encryption { server_name }));
                self.mode = Mode::Raw;
            }
            Detection::Is(protocol) => {
                self.speak(protocol);
                if earlier > 0 {
                    let begun = self.prefix.get(..earlier).unwrap_or_default();
                    self.requests.push(begun);
                    self.request_open = true;
                    self.last = Side::Nobody;
                    self.ask(Expected::Message);
                }
            }
        }
        self.prefix = Vec::new();
        None
    }

    fn speak(&mut self, protocol: Protocol) {
        self.mode = Mode::Framed;
        self.protocol = protocol;
        self.requests = RequestFramer::new(protocol);
        self.responses = ResponseFramer::new(protocol);
    }

    fn raw_request(&mut self, bytes: &[u8]) -> Part {
        let begins = self.last != Side::Requester;
        if begins {
            self.response_open = None;
            self.switched = false;
            self.answered_early = false;
        }
        self.last = Side::Requester;
        Part { length: bytes.len(), begins, ends_earlier: begins, ..Part::default() }
    }

    fn framed_request(&mut self, bytes: &[u8]) -> Part {
        let begins = !self.request_open;
        // A greeting had no protocol to end it.
        let ends_earlier = begins && (self.last == Side::Responder || self.switched);
        if ends_earlier {
            self.response_open = None;
            self.switched = false;
        }
        if begins {
            self.last = Side::Nobody;
            self.answered_early = false;
        }
        let step = self.requests.push(bytes);
        let (length, ends) = match step {
            Step::More => (bytes.len(), false),
            Step::End(length) | Step::Switch(length) => (length, true),
            Step::Invalid => {
                let answered_early = self.answered_early;
                self.become_raw(Side::Requester);
                self.answered_early = answered_early;
                return Part { length: bytes.len(), begins, ends_earlier, ..Part::default() };
            }
        };
        let expected = self.requests.expected();
        let unanswered = if begins && self.first.is_none() {
            let unanswered = ends && (expected.nothing() || self.responses.passed(expected));
            if !unanswered {
                self.first = Some(expected);
            }
            unanswered
        } else {
            self.expect(begins, ends, expected)
        };
        self.request_open = !ends;
        if matches!(step, Step::Switch(_)) {
            self.switch(true);
        }
        Part { length, begins, ends, ends_earlier, unanswered, unasked: false }
    }

    /// What a request expects that was waited for before its end, or is not the only one; whether it gets no (more)
    /// response.
    #[inline(never)]
    fn expect(&mut self, begins: bool, ends: bool, expected: Expected) -> bool {
        if self.answered_early {
            return false;
        }
        if begins {
            self.ask(expected);
        }
        let alone = self.more.is_empty();
        let answering = alone && self.response_open == Some(false);
        if ends && (expected.nothing() && !answering || alone && self.responses.passed(expected)) {
            self.unask();
            if answering {
                self.response_open = None;
            }
            return true;
        }
        if let Some(last) = self.more.back_mut().or(self.first.as_mut()) {
            *last = expected;
        }
        false
    }

    /// Takes bytes of the responding side; otherwise as [`Conversation::request`].
    pub fn response(&mut self, bytes: &[u8]) -> Part {
        if self.mode == Mode::Framed { self.framed_response(bytes) } else { self.raw_response(bytes) }
    }

    #[inline(never)]
    fn raw_response(&mut self, bytes: &[u8]) -> Part {
        if self.mode == Mode::Detecting {
            if !self.prefix.is_empty() {
                self.become_raw(self.last);
            } else if self.last == Side::Nobody || !self.greeting.is_empty() {
                let room = GREETING_MAX.saturating_sub(self.greeting.len()).min(bytes.len());
                self.greeting.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
        }
        let begins = self.last != Side::Responder;
        let unasked = match self.last {
            Side::Nobody => true,
            Side::Requester => self.answered_early,
            Side::Responder => self.response_open == Some(true),
        };
        self.response_open = Some(unasked);
        self.last = Side::Responder;
        Part { length: bytes.len(), begins, unasked, ..Part::default() }
    }

    fn framed_response(&mut self, bytes: &[u8]) -> Part {
        let (begins, unasked) = match self.response_open {
            Some(unasked) => (false, unasked),
            None => (true, self.first.is_none()),
        };
        self.response_open = Some(unasked);
        let expected = if unasked { Expected::Unasked } else { self.first.unwrap_or_default() };
        let (length, ends) = match self.responses.push(expected, bytes) {
            Step::More => (bytes.len(), false),
            Step::End(length) => {
                self.response_ended(unasked);
                (length, true)
            }
            Step::Switch(length) => {
                self.response_ended(unasked);
                self.switch(expected == Expected::Tunnel);
                (length, true)
            }
            Step::Invalid => {
                // What is agreed on when a connection begins still holds for the next request.
                let resume = self.resumed();
                self.lost = resume.is_some();
                self.become_raw(Side::Responder);
                self.resume = resume;
                self.response_open = Some(unasked);
                (bytes.len(), false)
            }
        };
        Part { length, begins, ends, unasked, ..Part::default() }
    }

    /// From here on the stream speaks another protocol; whether it tells which by its first bytes.
    fn switch(&mut self, tells: bool) {
        self.become_raw(Side::Nobody);
        self.switched = true;
        if tells {
            self.mode = Mode::Detecting;
        }
    }

    fn resumed(&self) -> Option<Box<(RequestFramer, ResponseFramer)>> {
        Some(Box::new((self.requests.resumed()?, self.responses.resumed()?)))
    }

    fn response_ended(&mut self, unasked: bool) {
        self.response_open = None;
        if !unasked {
            self.answered_early = self.request_open && self.more.is_empty();
            self.first = self.more.pop_front();
        }
    }

    /// The responding side sends no more.
    pub fn response_end(&mut self) -> End {
        if self.mode != Mode::Framed {
            return match self.last {
                Side::Requester => End::Cut,
                Side::Responder => End::Complete,
                Side::Nobody => End::Idle,
            };
        }
        let Some(unasked) = self.response_open else {
            return if self.first.is_some() { End::Cut } else { End::Idle };
        };
        if !self.responses.ends_with_stream() {
            return End::Cut;
        }
        self.response_ended(unasked);
        self.become_raw(Side::Nobody);
        End::Complete
    }

    /// Bytes crossed that are not known: what is under way can't be framed any more. Messages are told apart
    /// by their direction until the next request begins.
    pub fn gap(&mut self) {
        let last = match (self.mode, self.response_open) {
            (Mode::Raw | Mode::Detecting, _) => self.last,
            (Mode::Framed, Some(_)) => Side::Responder,
            (Mode::Framed, None) if self.first.is_some() => Side::Requester,
            (Mode::Framed, None) => Side::Nobody,
        };
        let open = self.response_open;
        let resume = self.resumed().or_else(|| self.resume.take());
        self.become_raw(last);
        self.resume = resume;
        self.response_open = open;
        self.lost = true;
    }

    fn become_raw(&mut self, last: Side) {
        self.mode = Mode::Raw;
        self.requests = RequestFramer::Raw;
        self.responses = ResponseFramer::Raw;
        self.first = None;
        self.more = VecDeque::new();
        self.request_open = false;
        self.answered_early = false;
        self.response_open = None;
        self.last = last;
        self.prefix = Vec::new();
        self.greeting = Vec::new();
        self.resume = None;
    }

    fn ask(&mut self, expected: Expected) {
        if self.first.is_none() {
            self.first = Some(expected);
        } else {
            self.more.push_back(expected);
        }
    }

    /// Takes back the last [`Conversation::ask`].
    fn unask(&mut self) {
        if self.more.pop_back().is_none() {
            self.first = None;
        }
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
