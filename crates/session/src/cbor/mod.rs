//! Sessions in CBOR: what a recording's files hold, and what `POST /cbor` takes and gives.
//!
//! A session is a map with text keys, the names of the model (`SessionId`, `CallFromInbound`, ...), `SessionId`
//! always first. What is empty, zero or false is left out; byte strings are CBOR byte strings; all lengths are
//! definite. An action is a map that begins with `ActionType`. The response stands in `ReturnInbound` alone and
//! is not repeated among `Actions`.
//!
//! The decoder takes more than the encoder gives, since any CBOR library may have written what it reads: keys in
//! any order, unknown keys, missing members, indefinite lengths, tags, `null` for a default, integers written as
//! floats, text where bytes are meant. It never panics, and allocates no more than in proportion to its input.
//!
//! The two directions share one table of names (`table.rs`), so that they cannot drift apart.

mod known;
mod read;
mod table;
mod write;

use crate::model::Session;
use known::Known;
use write::Out;

/// Why bytes are not a session. Offsets count from the start of what was given to [`decode`] or [`split`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the session does.
    #[error("at byte {offset}: ends in the middle of a session")]
    Truncated {
        /// Where the bytes end.
        offset: usize,
    },
    /// Not CBOR.
    #[error("at byte {offset}: not CBOR: {what}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is there instead.
        what: &'static str,
    },
    /// CBOR, but not a session.
    #[error("at byte {offset}: {member}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        offset: usize,
        /// Which member of the model.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl Error {
    /// Where the bytes are wrong.
    pub fn offset(&self) -> usize {
        match self {
            Self::Truncated { offset } | Self::Malformed { offset, .. } | Self::Unexpected { offset, .. } => {
                *offset
            }
        }
    }

    /// The same error in bytes that `by` other bytes stand before.
    fn shifted(mut self, by: usize) -> Self {
        match &mut self {
            Self::Truncated { offset } | Self::Malformed { offset, .. } | Self::Unexpected { offset, .. } => {
                *offset += by;
            }
        }
        self
    }
}

/// Appends a session to `out`.
pub fn encode(session: &Session, out: &mut Vec<u8>) {
    append(session, out, None);
}

fn append(session: &Session, out: &mut Vec<u8>, known: Option<&mut Known>) {
    let mut bytes = core::mem::take(out);
    bytes.reserve(write::size_hint(session));
    let mut to = Out::new(bytes, known);
    write::session(session, &mut to);
    *out = to.into_bytes();
}

/// Encodes many sessions. Connections that go on are in many of them: their descriptions are kept as they were encoded.
#[derive(Debug, Default)]
pub struct Encoder {
    known: Known,
}

impl Encoder {
    /// Appends a session to `out`, as [`encode`] does.
    pub fn encode(&mut self, session: &Session, out: &mut Vec<u8>) {
        append(session, out, Some(&mut self.known));
    }
}

/// The session that `bytes` begin with, and how many bytes it took.
///
/// # Errors
/// When `bytes` begin with something else, or end too early.
pub fn decode(bytes: &[u8]) -> Result<(Session, usize), Error> {
    let mut reader = read::Reader::new(bytes);
    let session = read::session(&mut reader)?;
    Ok((session, reader.offset()))
}

/// The sessions of a CBOR sequence (RFC 8742), which a file of a recording is.
///
/// A well-formed item that is no session gives its error, and the items behind it follow. After bytes that are no
/// CBOR, or that end too early (a torn last item), nothing follows: where the next item begins is not known.
pub fn split(bytes: &[u8]) -> Split<'_> {
    Split { bytes, offset: 0, ended: false }
}

/// The iterator that [`split`] gives.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    bytes: &'a [u8],
    offset: usize,
    ended: bool,
}

impl Split<'_> {
    /// Where the next item begins; after a torn last item, where that one began.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl Iterator for Split<'_> {
    type Item = Result<Session, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if self.ended || rest.is_empty() {
            return None;
        }
        match decode(rest) {
            Ok((session, used)) => {
                self.offset += used;
                Some(Ok(session))
            }
            Err(error) => {
                let error = match (error, read::item_length(rest)) {
                    (error @ Error::Unexpected { .. }, Ok(length)) => {
                        self.offset += length;
                        return Some(Err(error.shifted(self.offset - length)));
                    }
                    // A torn item may look foreign from its first half; that it is torn is what counts.
                    (_, Err(torn @ Error::Truncated { .. })) => torn,
                    (error, _) => error,
                };
                self.ended = true;
                Some(Err(error.shifted(self.offset)))
            }
        }
    }
}
