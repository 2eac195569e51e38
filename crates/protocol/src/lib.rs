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
//! A protocol is a file ([`http`], [`mysql`], ...), a variant of [`Protocol`], of the two framers and, where its
//! responses depend on its requests in a way of their own, of [`Expected`]. Most are streams of packets that begin
//! with their length, which one loop ([`Packets`]) cuts.
//!
//! What a request means may depend on what its connection was told before: [`ConnectionState`] keeps that.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod conversation;
pub mod decode;
mod detect;
pub mod fastcgi;
mod fit;
mod frame;
pub mod http;
pub mod memcached;
pub mod mongodb;
pub mod mysql;
mod packets;
pub mod postgres;
pub mod redis;
mod state;
pub mod thrift;
mod tls;
pub mod words;

pub use conversation::{Conversation, End, Part};
pub use detect::{Detection, detect_request};
pub use fit::{Misfit, Said, fit_response};
pub use frame::{Expected, Framing, RequestFramer, ResponseFramer, Step, frame_request, frame_response};
pub use packets::{After, Length, Messages, Packets};
pub use state::ConnectionState;
pub use tls::client_hello;

/// A wire protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.x.
    Http,
    /// Redis, RESP2 and RESP3.
    Redis,
    /// MySQL and MariaDB.
    MySql,
    /// PostgreSQL.
    Postgres,
    /// memcached, text and binary.
    Memcached,
    /// MongoDB.
    MongoDb,
    /// FastCGI.
    FastCgi,
    /// Thrift over its framed transport, binary and compact.
    Thrift,
    /// Not known: messages are told apart by the direction of their bytes.
    #[default]
    Raw,
}

/// The protocols that have a name, with it.
const NAMES: [(Protocol, &str); 8] = [
    (Protocol::Http, "http"),
    (Protocol::Redis, "redis"),
    (Protocol::MySql, "mysql"),
    (Protocol::Postgres, "postgres"),
    (Protocol::Memcached, "memcached"),
    (Protocol::MongoDb, "mongodb"),
    (Protocol::FastCgi, "fastcgi"),
    (Protocol::Thrift, "thrift"),
];

impl Protocol {
    /// Its name in a recording; empty for [`Protocol::Raw`].
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(protocol, _)| *protocol == self).map_or("", |(_, name)| name)
    }

    /// The protocol with this name; [`Protocol::Raw`] for a name that is not known.
    pub fn from_name(name: &str) -> Self {
        NAMES.iter().find(|(_, known)| *known == name).map_or(Self::Raw, |(protocol, _)| *protocol)
    }
}
