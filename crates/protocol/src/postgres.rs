//! Framing of PostgreSQL's frontend/backend protocol, version 3.
//!
//! A request is what the server answers in one go: the start-up packet, a password, a simple query, all messages up
//! to `Sync`, all messages up to `Flush`, or the data of a `COPY`. Its response ends with `ReadyForQuery`, or where
//! the server waits for the client: for a password, for data, after what was to be flushed.
//!
//! After an error the server passes over everything up to the next `Sync`. Where a client has sent several requests
//! that end with `Flush` by the time the error arrives, those after the first get no response, and nothing in the
//! stream says so: the response framer gives up ([`Step::Invalid`](crate::Step::Invalid)) and is
//! [resumed](Messages::resumed) with the next request.

use crate::Expected;
use crate::packets::{After, Length, Messages, byte, u32_be};

/// The longest start-up packet that a server takes.
const START_UP_MAX: u32 = 10_000;
/// The longest message: PostgreSQL's limit for an allocation.
const MESSAGE_MAX: u32 = 1 << 30;

/// Codes of packets that come before all messages, in place of a version.
pub(crate) const CANCEL_REQUEST: u32 = 80_877_102;
/// A question whether the server does TLS.
pub(crate) const SSL_REQUEST: u32 = 80_877_103;
/// A question whether the server does GSSAPI encryption.
pub(crate) const GSS_REQUEST: u32 = 80_877_104;

/// The client's side.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// The start-up packet was seen: messages have a type from here on.
    started: bool,
    /// The last request ended with `Sync` or `Flush`, so that a `COPY` will do as well.
    extended: bool,
    /// Messages of the request under way that the server will report the completion of.
    completions: u32,
}

impl Requests {
    fn start_up(&mut self, code: u32) -> Expected {
        match code {
            SSL_REQUEST | GSS_REQUEST => Expected::Tunnel,
            CANCEL_REQUEST => Expected::Replies(0),
            _ => {
                self.started = true;
                Expected::Message
            }
        }
    }
}

impl Messages for Requests {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        if self.started {
            return length(head, b"QPBCDEFHSXcdfp");
        }
        match (u32_be(head, 0), u32_be(head, 4)) {
            (Some(8..=START_UP_MAX), None) => Length::Unknown,
            (Some(length @ 8..=START_UP_MAX), Some(code)) if is_start_up(code) => {
                Length::Bytes(u64::from(length))
            }
            (None, _) => Length::Unknown,
            _ => Length::Invalid,
        }
    }

    fn packet(&mut self, head: &[u8], _: u64, expected: &mut Expected) -> After {
        if !self.started {
            *expected = self.start_up(u32_be(head, 4).unwrap_or_default());
            return After::End;
        }
        let kind = byte(head, 0);
        *expected = match kind {
            b'P' | b'B' | b'C' | b'D' | b'E' => {
                self.completions = self.completions.saturating_add(1);
                return After::More;
            }
            b'd' => return After::More,
            // A `Sync` follows.
            b'c' | b'f' if self.extended => return After::More,
            b'H' => Expected::Replies(self.completions),
            b'X' => Expected::Replies(0),
            _ => Expected::Message,
        };
        self.extended = matches!(kind, b'H' | b'S');
        self.completions = 0;
        After::End
    }

    fn resumed(&self) -> Option<Self> {
        self.started.then(|| Self { started: true, ..Self::default() })
    }
}

/// Whether the code of a start-up packet is one.
pub(crate) fn is_start_up(code: u32) -> bool {
    code >> 16 == 3 || (CANCEL_REQUEST..=GSS_REQUEST).contains(&code)
}

/// Whether a client's first bytes are a start-up packet; `None`: more will tell.
pub(crate) fn detect(bytes: &[u8]) -> Option<bool> {
    match Requests::default().length(bytes, Expected::Message) {
        Length::Bytes(_) => Some(true),
        Length::Unknown => None,
        Length::Invalid => Some(false),
    }
}

/// The length of a message of one of these types.
fn length(head: &[u8], kinds: &[u8]) -> Length {
    match (head.first(), u32_be(head, 1)) {
        (Some(kind), _) if !kinds.contains(kind) => Length::Invalid,
        (_, None) => Length::Unknown,
        (_, Some(length @ 4..=MESSAGE_MAX)) => Length::Bytes(1 + u64::from(length)),
        _ => Length::Invalid,
    }
}

/// The server's side.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    /// The server was ready once: errors end no connection.
    ready: bool,
    /// The server passes over everything up to the next `Sync`.
    failed: bool,
    /// Completions in the response under way.
    done: u32,
}

impl Responses {
    /// As [`ResponseFramer::passed`](crate::ResponseFramer). While a request was incomplete it was not known
    /// whether it would end with `Sync` or `Flush`; now it is `Flush`, and what it flushes may be here.
    pub(crate) fn passed(&mut self, expected: Expected) -> bool {
        let over = matches!(expected, Expected::Replies(wanted @ 1..) if self.failed || self.done >= wanted);
        if over {
            self.done = 0;
        }
        over
    }
}

impl Messages for Responses {
    fn length(&self, head: &[u8], expected: Expected) -> Length {
        match (expected, head.first()) {
            (Expected::Tunnel, Some(b'S' | b'N' | b'G')) => Length::Bytes(1),
            (Expected::Replies(1..), _) if self.failed => Length::Invalid,
            _ => length(head, b"123ACDEGHIKNRSTVWZcdnstv"),
        }
    }

    fn packet(&mut self, head: &[u8], length: u64, expected: &mut Expected) -> After {
        let kind = byte(head, 0);
        if length == 1 {
            return if kind == b'N' { After::End } else { After::Switch };
        }
        let completes = matches!(kind, b'1' | b'2' | b'3' | b'T' | b'n' | b'C' | b'I' | b's');
        self.done = self.done.saturating_add(u32::from(completes));
        let end = match kind {
            b'Z' => {
                (self.ready, self.failed) = (true, false);
                true
            }
            b'E' => {
                self.failed = self.ready && *expected != Expected::Unasked;
                !self.failed || matches!(expected, Expected::Replies(1..))
            }
            // The client may begin to ask, or proves who it is next.
            b'R' => !matches!(u32_be(head, 5), Some(0 | 12)),
            b'G' => true,
            // A stream of replication, in both directions.
            b'W' => return After::Switch,
            _ => match *expected {
                Expected::Replies(wanted) => completes && self.done >= wanted,
                Expected::Unasked => true,
                _ => false,
            },
        };
        if !end {
            return After::More;
        }
        self.done = 0;
        After::End
    }

    fn resumed(&self) -> Option<Self> {
        Some(Self { ready: true, ..Self::default() })
    }
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
