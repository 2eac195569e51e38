//! Where the messages of a stream begin and end.

use crate::{Protocol, http, redis};

/// What a piece of a stream did to the message that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The whole piece belongs to the message, and the message goes on.
    More,
    /// The message ended with the first so many bytes of the piece (at least one).
    End(usize),
    /// As [`Step::End`], and the stream speaks another protocol from there on (`101 Switching Protocols`,
    /// the answer to `CONNECT`).
    Switch(usize),
    /// The stream is not of this protocol after all.
    Invalid,
}

/// What a request says about the response that it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// One message; also what is assumed where there was no request.
    #[default]
    Message,
    /// HTTP: a response without a body (`HEAD`).
    NoBody,
    /// HTTP: if it succeeds, the connection is a tunnel from there on (`CONNECT`).
    Tunnel,
    /// Redis: so many replies; out-of-band pushes are not counted.
    Replies(u32),
    /// Redis: so many confirmations of `SUBSCRIBE` and its family.
    Confirmations(u32),
}

impl Expected {
    /// What the complete `request` says about its response.
    pub fn of(protocol: Protocol, request: &[u8]) -> Self {
        let mut framer = RequestFramer::new(protocol);
        framer.push(request);
        framer.expected()
    }

    /// Whether no response comes at all (`CLIENT REPLY OFF`).
    pub const fn nothing(self) -> bool {
        matches!(self, Self::Replies(0))
    }
}

/// Finds the ends of the requests of one stream, which is pushed piece by piece.
///
/// After a step that ended a message the rest of the piece is pushed again: it begins the next message.
/// How the stream is cut into pieces makes no difference.
#[derive(Clone, Debug)]
pub enum RequestFramer {
    /// HTTP/1.x.
    Http(http::RequestFramer),
    /// Redis.
    Redis(redis::RequestFramer),
    /// Not known: a message never ends by itself.
    Raw,
}

impl RequestFramer {
    /// A framer at the beginning of a stream.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self::Http(http::RequestFramer::default()),
            Protocol::Redis => Self::Redis(redis::RequestFramer::default()),
            Protocol::Raw => Self::Raw,
        }
    }

    /// Takes the next bytes of the stream.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Http(framer) => framer.push(bytes),
            Self::Redis(framer) => framer.push(bytes),
            Self::Raw => Step::More,
        }
    }

    /// What response the request gets, as far as is known: the message under way, or the one that just ended.
    #[inline]
    pub fn expected(&self) -> Expected {
        match self {
            Self::Http(framer) => framer.expected(),
            Self::Redis(framer) => framer.expected(),
            Self::Raw => Expected::Message,
        }
    }
}

/// Finds the ends of the responses of one stream; otherwise as [`RequestFramer`].
#[derive(Clone, Debug)]
pub enum ResponseFramer {
    /// HTTP/1.x.
    Http(http::ResponseFramer),
    /// Redis.
    Redis(redis::ResponseFramer),
    /// Not known: a message never ends by itself.
    Raw,
}

impl ResponseFramer {
    /// A framer at the beginning of a stream.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self::Http(http::ResponseFramer::default()),
            Protocol::Redis => Self::Redis(redis::ResponseFramer::default()),
            Protocol::Raw => Self::Raw,
        }
    }

    /// Takes the next bytes of the stream; `expected` is what the request of this response says about it.
    #[inline]
    pub fn push(&mut self, expected: Expected, bytes: &[u8]) -> Step {
        match self {
            Self::Http(framer) => framer.push(expected, bytes),
            Self::Redis(framer) => framer.push(expected, bytes),
            Self::Raw => Step::More,
        }
    }

    /// Whether the end of the stream is the proper end of the message under way.
    pub fn ends_with_stream(&self) -> bool {
        match self {
            Self::Http(framer) => framer.ends_with_stream(),
            Self::Redis(_) => false,
            Self::Raw => true,
        }
    }
}

/// What [`frame_request`] and [`frame_response`] say about a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The first so many bytes are a whole message.
    Complete(usize),
    /// As [`Framing::Complete`], and what follows is of another protocol.
    Upgrade(usize),
    /// The message goes on beyond the buffer.
    Incomplete,
    /// The message ends with its stream.
    UntilClose,
    /// Not of this protocol.
    Invalid,
}

/// Frames the request at the head of `buffer`; for buffers that grow, [`RequestFramer`] is cheaper.
pub fn frame_request(protocol: Protocol, buffer: &[u8]) -> Framing {
    framing(RequestFramer::new(protocol).push(buffer), protocol == Protocol::Raw)
}

/// Frames the response at the head of `buffer`, which answers a request that says `expected` about it; for
/// buffers that grow, [`ResponseFramer`] is cheaper.
pub fn frame_response(protocol: Protocol, expected: Expected, buffer: &[u8]) -> Framing {
    let mut framer = ResponseFramer::new(protocol);
    let step = framer.push(expected, buffer);
    framing(step, framer.ends_with_stream())
}

fn framing(step: Step, ends_with_stream: bool) -> Framing {
    match step {
        Step::End(length) => Framing::Complete(length),
        Step::Switch(length) => Framing::Upgrade(length),
        Step::More if ends_with_stream => Framing::UntilClose,
        Step::More => Framing::Incomplete,
        Step::Invalid => Framing::Invalid,
    }
}
