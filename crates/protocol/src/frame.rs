//! Where the messages of a stream begin and end.

use crate::packets::{Messages, Packets, Replies};
use crate::{Protocol, fastcgi, http, memcached, mongodb, mysql, postgres, redis, thrift};

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
    /// One message; also what is assumed of a request that is not complete.
    #[default]
    Message,
    /// Nobody asked: one message of any kind.
    Unasked,
    /// HTTP: a response without a body (`HEAD`).
    NoBody,
    /// If it succeeds, the connection is a tunnel from there on (HTTP's `CONNECT`, PostgreSQL's request for TLS).
    Tunnel,
    /// So many replies (Redis; out-of-band pushes are not counted), completions (PostgreSQL, of what is flushed) or
    /// ends of requests (FastCGI). None at all, in any protocol, where the request gets no response.
    Replies(u32),
    /// Redis: so many confirmations of `SUBSCRIBE` and its family.
    Confirmations(u32),
    /// memcached: whatever comes up to the answer to `mn`.
    Batch,
    /// MySQL: what follows a command, given what client and server agreed on.
    MySql(mysql::Asked),
}

impl Expected {
    /// What the complete `request` says about its response.
    pub fn of(protocol: Protocol, request: &[u8]) -> Self {
        let mut framer = RequestFramer::new(protocol);
        framer.push(request);
        framer.expected()
    }

    /// Whether no response comes at all (`CLIENT REPLY OFF`, `COM_STMT_CLOSE`, a one-way call).
    pub const fn nothing(self) -> bool {
        matches!(self, Self::Replies(0))
    }
}

/// Defines the framer of one direction: a variant for each protocol.
macro_rules! framer {
    ($(#[$about:meta])* $name:ident { $($protocol:ident($framer:ty),)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub enum $name {
            $(
                #[doc = concat!("See [`Protocol::", stringify!($protocol), "`].")]
                $protocol($framer),
            )*
            /// Not known: a message never ends by itself.
            Raw,
        }

        impl $name {
            /// A framer at the beginning of a stream.
            pub fn new(protocol: Protocol) -> Self {
                match protocol {
                    $(Protocol::$protocol => Self::$protocol(Default::default()),)*
                    Protocol::Raw => Self::Raw,
                }
            }

            /// A framer for the next message, where the protocol cannot be told from that (it is told when a connection
            /// begins), and what was told is known.
            pub(crate) fn resumed(&self) -> Option<Self> {
                match self {
                    Self::MySql(framer) => framer.resumed().map(Self::MySql),
                    Self::Postgres(framer) => framer.resumed().map(Self::Postgres),
                    _ => None,
                }
            }
        }
    };
}

framer! {
    /// Finds the ends of the requests of one stream, which is pushed piece by piece.
    ///
    /// After a step that ended a message the rest of the piece is pushed again: it begins the next message.
    /// How the stream is cut into pieces makes no difference.
    RequestFramer {
        Http(http::RequestFramer),
        Redis(redis::RequestFramer),
        MySql(Packets<mysql::Requests>),
        Postgres(Packets<postgres::Requests>),
        Memcached(memcached::RequestFramer),
        MongoDb(Packets<mongodb::Requests>),
        FastCgi(Packets<fastcgi::Requests>),
        Thrift(Packets<thrift::Requests>),
    }
}

framer! {
    /// Finds the ends of the responses of one stream; otherwise as [`RequestFramer`].
    ResponseFramer {
        Http(http::ResponseFramer),
        Redis(redis::ResponseFramer),
        MySql(Packets<mysql::Responses>),
        Postgres(Packets<postgres::Responses>),
        Memcached(memcached::ResponseFramer),
        MongoDb(Packets<Replies<mongodb::Requests>>),
        FastCgi(Packets<fastcgi::Responses>),
        Thrift(Packets<Replies<thrift::Requests>>),
    }
}

impl RequestFramer {
    /// Takes the next bytes of the stream.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Http(framer) => framer.push(bytes),
            Self::Redis(framer) => framer.push(bytes),
            Self::MySql(framer) => framer.push(bytes),
            Self::Postgres(framer) => framer.push(bytes),
            Self::Memcached(framer) => framer.push(bytes),
            Self::MongoDb(framer) => framer.push(bytes),
            Self::FastCgi(framer) => framer.push(bytes),
            Self::Thrift(framer) => framer.push(bytes),
            Self::Raw => Step::More,
        }
    }

    /// What response the request gets, as far as is known: the message under way, or the one that just ended.
    #[inline]
    pub fn expected(&self) -> Expected {
        match self {
            Self::Http(framer) => framer.expected(),
            Self::Redis(framer) => framer.expected(),
            Self::MySql(framer) => framer.expected,
            Self::Postgres(framer) => framer.expected,
            Self::Memcached(framer) => framer.expected(),
            Self::MongoDb(framer) => framer.expected,
            Self::FastCgi(framer) => framer.expected,
            Self::Thrift(framer) => framer.expected,
            Self::Raw => Expected::Message,
        }
    }
}

impl ResponseFramer {
    /// Takes the next bytes of the stream; `expected` is what the request of this response says about it.
    #[inline]
    pub fn push(&mut self, expected: Expected, bytes: &[u8]) -> Step {
        match self {
            Self::Http(framer) => framer.push(expected, bytes),
            Self::Redis(framer) => framer.push(expected, bytes),
            Self::MySql(framer) => pushed(framer, expected, bytes),
            Self::Postgres(framer) => pushed(framer, expected, bytes),
            Self::Memcached(framer) => framer.push(expected, bytes),
            Self::MongoDb(framer) => pushed(framer, expected, bytes),
            Self::FastCgi(framer) => pushed(framer, expected, bytes),
            Self::Thrift(framer) => pushed(framer, expected, bytes),
            Self::Raw => Step::More,
        }
    }

    /// Whether the end of the stream is the proper end of the message under way.
    pub fn ends_with_stream(&self) -> bool {
        match self {
            Self::Http(framer) => framer.ends_with_stream(),
            Self::Raw => true,
            _ => false,
        }
    }

    /// Whether no more comes for a request that says `expected`, which the last request whose response is not
    /// complete turned out to say.
    pub(crate) fn passed(&mut self, expected: Expected) -> bool {
        match self {
            Self::Postgres(framer) => framer.messages.passed(expected),
            _ => false,
        }
    }
}

fn pushed<M: Messages>(framer: &mut Packets<M>, expected: Expected, bytes: &[u8]) -> Step {
    framer.expected = expected;
    framer.push(bytes)
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
