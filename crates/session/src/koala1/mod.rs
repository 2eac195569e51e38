//! Sessions in the JSON of koala 1.x: what `koala sessions export` and `import` convert, and what `POST /json`
//! takes and gives.
//!
//! What koala 1.x wrote comes back byte for byte: its order of members, its two spaces of indent, Go's escapes,
//! byte strings as text in which `\xhh` stands for a byte that is no UTF-8 or a control character and `\x5c` for
//! a backslash (`bytes.rs`), `ReturnInbound` a second time among `Actions`. What it has no member for travels in
//! one member `Extension`, the last, which is absent when it would be empty and which koala 1.x ignores:
//!
//! - `ProcessId`, `Pid`, `Connections`, `OverlapGroup` and `Incomplete` of the session;
//! - `TraceHeader`, a byte string, where its bytes are not the list of keys and values that 1.x can show;
//! - `CallFromInbound`: `{"ConnectionId"}`;
//! - `Actions`: a list of `{"Position", "ConnectionId", "ThreadId", "Ambiguous", "Error", "Matched"}`, where
//!   `Position` counts from 0 in the session's `Actions` as they stand in the JSON.
//!
//! Members that the model lacks are passed over, and a `ReturnInbound` that a recorder was told to leave out of
//! `Actions` stands there again after an export. `ThreadId` is a signed number in 1.x and may be negative, where
//! a virtual thread has such an id: it is the same 32 bits here.

mod bytes;
mod export;
mod import;
mod json;
mod trace_header;

use crate::model::Session;

/// Why a text is not a session of koala 1.x.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// JSON, but not a session.
    #[error("{member}: expected {expected}, found {found}")]
    Unexpected {
        /// Which member, as `Actions[2].Peer.Port`.
        member: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// The session that a file of koala 1.x holds.
///
/// # Errors
/// When it is no JSON, or no session.
pub fn from_json(json: &[u8]) -> Result<Session, Error> {
    import::session(json)
}

/// The file that koala 1.x would have written.
pub fn to_json(session: &Session) -> String {
    export::session(session)
}
