//! Events to sessions: the session model and its codecs.
//!
//! [`assemble`] turns the events of a tree of processes into [`model::Session`]s, [`cbor`] is how they are kept in
//! a recording, [`koala1`] how koala 1.x has them.
//!
//! All of it is pure: it does no I/O, reads no clock, starts no thread, holds nothing global, and compiles to
//! WASM. Nothing that it is given makes it panic.

pub mod assemble;
pub mod cbor;
pub mod koala1;
pub mod lookup_error;
pub mod model;
