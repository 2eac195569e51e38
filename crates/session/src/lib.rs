//! Events to sessions: the session model and its codecs.

pub mod model;
