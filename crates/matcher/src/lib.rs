//! Which recorded call a request corresponds to.
//!
//! On this one decision the truth of a replay depends: the program under test makes a call, and it is
//! answered with the recorded answer of *that* call, or not at all.
//!
//! # What it promises
//!
//! - **The same call is found.** The n-th of several equal requests gets the n-th recorded answer.
//! - **A changed call is found, and the change is named**: a new header, another column, a fresh timestamp.
//! - **Another call is not found.** Another path, key, `WHERE` or argument asks for something else, however
//!   much the bytes resemble. The decision then names the nearest recorded call and what differs.
//! - **It explains itself**: every [`Decision`] has a reason, a score by field, and the runner-up.
//! - **A peer is part of the call.** A request is looked up among the calls that were recorded to the very
//!   same peer, compared as text. What was recorded to another peer is another call, even to the byte; such
//!   a call can be named as the nearest, and is never the answer.
//! - **The cost of a decision does not grow with the recording**: an [`Index`] is built once, and is a set
//!   of tables by hashes of what calls consist of. At most a few dozen calls are compared field by field.
//!
//! # What it must never do
//!
//! - Answer with something merely similar. When in doubt, the request is unmatched.
//! - Perform I/O, read a clock, keep global state, or panic on any bytes. It runs in the agent, in Node and
//!   in the browser, and decides the same in all three.
//! - Know about sessions, connections or the verdict. It is given calls, and says which.
//!
//! # How [`Strategy::Auto`] decides
//!
//! 1. A byte-equal call that is unused.
//! 2. The request is decoded ([`koala_protocol::decode`]) into fields, each with a role: *identity* (method,
//!    path, key, tables, `WHERE`), *parameter* (query, body, written values), *soft* (headers, select list),
//!    *generated* (times, nonces, trace headers, long random ids in what is written) and *noise*
//!    (`User-Agent`, order of headers). Recorded calls are found by hashes of fields: first of all but
//!    noise, then of all but what is generated, then of identity and parameters, then of identity alone.
//! 3. What is found is scored, field by field, with weights by kind: that is the mark. A differing identity
//!    or parameter rules a call out; parameters that only one side has, and soft fields, cost score. Calls
//!    that ask for the same are compared with each other by their other fields, by generated values that
//!    are the same nevertheless, and by which is next in recorded order. The best one needs a mark of
//!    [`THRESHOLD`], and [`MARGIN`] over the next one.
//! 4. A used call may answer again, marked [`Decision::reused`], where asking again changes nothing: `GET`
//!    and `HEAD`, reading Redis commands, SQL queries. This comes before the last two steps of 2: an equal
//!    question with a used answer beats a changed one.
//!
//! A request may name a statement that an earlier one prepared, under a number or a name that another run does not
//! give. [`Index::of_talks`] is told what each recorded call refers to, and [`Index::find_in`] what the live connection
//! was told: then statements and their values are compared ([`Connections`] keeps both). The database that a connection
//! uses is part of the call, as far as it is known. A [`Follower`] does both for those who only have calls and answers.
//!
//! What a field is and how much it tells is learnt from the recording, as far as meaning leaves it open: a field that is
//! the same in all calls of a shape tells nothing, one that is almost a key must not be missing, and one by which recorded
//! calls with different answers differ (a header that names the tenant, the token of another user, an order) is asked for.
//! What is hardly ever the same is generated only where the answers prove it. The rules, and what is never learnt, are in
//! the documentation of the module `learn`.
//!
//! A name that the program makes up (the id of a session that it begins, the key of a lock, the id of a row) is another
//! one in each run. Where it is new in the recording and in this run (no request or answer had it before, nor what
//! the session was called with, [`Index::with_inbound`]), the recorded one stands for it from then on, in requests, and the
//! other way round in answers ([`Index::fit_response`]). A name that is known to stand for another one is no such name, and
//! neither is one that is only asked for: `GET session:<another>` asks for another session. The rules are in
//! the documentation of the modules `renames` and `tokens`.
//!
//! A minute in a key is another one in each run as well. Where it is the minute of its call in the recording and in this run
//! ([`RecordedCall::at`], [`Index::find_at`]), it is the same; the rules are in the documentation of the module `moments`.
//!
//! Bytes of no known protocol are the same call only where they are equal but for times in them, and but for what the
//! recording shows to be new in each message: a counter at their head, their length, a time in binary form; and an id or
//! another counter, where the answers prove that it does not matter.
//!
//! # How [`Strategy::Chunk`] and [`Strategy::Sim`] decide
//!
//! As koala 1.x does, with the same index and, to the last bit, the same mark; so they keep none of the promises
//! above but to explain themselves. Any call of the session may be the answer, whomever it was sent to, and the same
//! one again. They look at bytes and words, and answer what was never recorded with what resembles it. They are
//! here for those who come from koala 1.x, and as a measure for `auto`.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod chains;
mod chunk;
mod explain;
mod features;
mod fields;
mod hash;
mod index;
mod koala1;
mod layout;
mod learn;
mod letters;
mod lexer;
mod moments;
mod renames;
mod shape;
mod sim;
mod talk;
#[cfg(test)]
mod tests;
mod tokens;

pub use explain::{Change, Side, changes};
pub use fields::Role;
pub use index::Index;
pub use talk::{Connections, Follower, RecordedTalk};

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The mark that a changed call needs.
pub const THRESHOLD: f64 = 0.7;

/// By how much the best one must be ahead of the next in the fields that may differ between calls that ask
/// for the same; see the crate's documentation.
pub const MARGIN: f64 = 0.05;

/// How recorded calls are searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// By meaning; see the crate's documentation.
    #[default]
    Auto,
    /// As koala 1.x does by default: by the pieces that two requests have in common.
    Chunk,
    /// As koala 1.x does when it is asked for `sim`: by the similarity of the words in two requests.
    Sim,
    /// Byte-equal requests only.
    Exact,
}

impl Strategy {
    /// Its name on the command line and in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Chunk => "chunk",
            Self::Sim => "sim",
            Self::Exact => "exact",
        }
    }

    /// Every strategy, the default first.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Chunk, Self::Sim, Self::Exact];
    /// Their names, as a person is told what is accepted.
    pub const NAMES: &str = "auto, chunk, sim, exact";

    /// Whether it decides as koala 1.x does: with any call of the session, and with the same one again.
    pub const fn is_of_koala1(self) -> bool {
        matches!(self, Self::Chunk | Self::Sim)
    }

    /// The strategy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }
}

/// A recorded call, as an [`Index`] is built from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedCall<'a> {
    /// Whom it was sent to, as text: `127.0.0.1:6379`, a unix socket's path.
    pub peer: &'a str,
    /// Its bytes.
    pub request: &'a [u8],
    /// The recorded connection that it was made on: the number of its descriptor, or any other that tells
    /// connections apart; 0 where it is not known. [`Strategy::Sim`] alone looks at it, to decide between equals.
    pub connection: u64,
    /// How many of the calls behind it were made before its answer came: what the answer says, they were not told by it.
    /// A server that asks another process of its own program is overtaken by what that one asks.
    pub overtaken: u32,
    /// When it was made, in nanoseconds since 1970 by the clock that its program read; 0 where that is not known.
    pub at: u64,
}

impl<'a> RecordedCall<'a> {
    /// A call on a connection that is not known.
    pub const fn new(peer: &'a str, request: &'a [u8]) -> Self {
        Self { peer, request, connection: 0, overtaken: 0, at: 0 }
    }
}

/// What was decided about a request, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The recorded call, by its position among the calls of the index. `None`: it is in no recording.
    pub index: Option<usize>,
    /// How sure, between 0 and 1: the share of what the fields tell that speaks for the call. 0 where
    /// nothing matched. [`Strategy::Chunk`] goes up to 2, since it counts the beginning of a request twice, and
    /// [`Strategy::Sim`] to the next number behind 1, by rounding.
    pub mark: f64,
    /// Why, in one sentence.
    pub reason: String,
    /// Where nothing matched: the recorded call that comes closest.
    pub nearest: Option<usize>,
    /// The second best recorded call and its mark, where more than one was weighed. Where nothing matched:
    /// the best one, with the mark that was not enough.
    pub runner_up: Option<(usize, f64)>,
    /// The score by kind of field.
    pub fields: Vec<FieldScore>,
    /// What differs from the recorded call (or from the nearest), as `name: recorded -> present`.
    pub differences: Vec<String>,
    /// The recorded answer was given before: all recorded ones were used, and asking again changes nothing.
    /// (The strategies of koala 1.x do not ask for that.)
    pub reused: bool,
}

/// How well one kind of field agrees.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldScore {
    /// The kind of field: `path`, `headers`, `where`, ...
    pub name: Cow<'static, str>,
    /// What it weighs in the mark.
    pub weight: f64,
    /// The share of it that agrees, between 0 and 1.
    pub score: f64,
}
