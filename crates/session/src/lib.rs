//! Events to sessions: the session model and its codecs.

pub mod assemble;
pub mod cbor;
pub mod koala1;
pub mod model;
