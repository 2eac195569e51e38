//! Framing, greeting and decoding of wire protocols.
//!
//! Pure: bytes and values in, values out. Nothing here does I/O, reads a clock or panics on any bytes.
//!
//! - [`detect_request`] tells the protocol of a connection by the first bytes of its client.
//! - [`RequestFramer`] and [`ResponseFramer`] find where the messages of one direction end. They are pushed the
//!   stream in pieces of any size, look at each byte once, and allocate only where an HTTP head comes in several
//!   pieces. [`frame_request`] and [`frame_response`] do it for a single buffer.
//! - [`Conversation`] does all of that for both directions of a connection, and says which response answers
//!   which request.
//!
//! - [`decode`] takes one request apart into what it means.
//!
//! A protocol is a file ([`http`], [`redis`]), a variant of [`Protocol`], of the two framers and, where its
//! responses depend on its requests, of [`Expected`].
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod conversation;
pub mod decode;
mod detect;
mod frame;
pub mod http;
pub mod redis;
mod tls;

pub use conversation::{Conversation, End, Part};
pub use detect::{Detection, detect_request};
pub use frame::{Expected, Framing, RequestFramer, ResponseFramer, Step, frame_request, frame_response};
pub use tls::client_hello;

/// A wire protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.x.
    Http,
    /// Redis, RESP2 and RESP3.
    Redis,
    /// Not known: messages are told apart by the direction of their bytes.
    #[default]
    Raw,
}

impl Protocol {
    /// Its name in a recording; empty for [`Protocol::Raw`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Raw => "",
        }
    }

    /// The protocol with this name; [`Protocol::Raw`] for a name that is not known.
    pub fn from_name(name: &str) -> Self {
        match name {
            "http" => Self::Http,
            "redis" => Self::Redis,
            _ => Self::Raw,
        }
    }
}
