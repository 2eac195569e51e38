//! Recorded calls with one literal changed, one at a time, and which of them are still taken for the same call.

use koala_matcher::{Change, Connections, Index, RecordedCall, RecordedTalk, Role, Strategy, changes};
use koala_protocol::ConnectionState;
use koala_protocol::decode::fields::fields_in;
use std::collections::BTreeMap;

use crate::captures::{capture, talks};

const PEER: &str = "10.0.0.1:1";

/// The captured conversations of `crates/protocol/tests/captures`.
pub(crate) const CAPTURES: [&str; 26] = [
    "mariadb-cli",
    "memcached-meta",
    "nginx-php-fpm",
    "node-ioredis",
    "node-mariadb",
    "node-mongodb",
    "node-mysql2",
    "node-pg",
    "php-memcached",
    "php-memcached-binary",
    "php-mysqli",
    "php-pdo-mysql",
    "php-pdo-pgsql",
    "psql",
    "python-asyncpg",
    "python-psycopg2",
    "python-psycopg3",
    "python-pymemcache",
    "python-pymongo",
    "python-pymysql",
    "python-thrift-binary",
    "python-thrift-binary-framed",
    "python-thrift-compact",
    "python-thrift-compact-framed",
    "redis-inline",
    "mariadb-compressed",
];

/// A recorded call with what its connection was told before.
pub(crate) struct Known {
    pub(crate) request: Vec<u8>,
    pub(crate) state: ConnectionState,
}

impl Known {
    pub(crate) fn alone(request: Vec<u8>) -> Self {
        Self { request, state: ConnectionState::default() }
    }

    /// The requests of a captured conversation.
    pub(crate) fn of_capture(name: &str) -> Vec<Self> {
        let mut connections = Connections::default();
        talks(&capture(name), usize::MAX)
            .0
            .into_iter()
            .map(|talk| {
                let state = connections.exchange(1, &talk.request, &talk.response);
                Self { request: talk.request, state }
            })
            .filter(|known| !known.request.is_empty())
            .collect()
    }

    /// Its protocol.
    pub(crate) fn protocol(&self) -> &'static str {
        match fields_in(&self.state, &self.request).protocol {
            "" => "unknown",
            protocol => protocol,
        }
    }

    fn talk(&self) -> RecordedTalk<'_> {
        RecordedTalk { call: RecordedCall::new(PEER, &self.request), response: b"", state: &self.state }
    }

    /// Whether a changed request is taken for this call, where it alone was recorded.
    fn accepts(&self, request: &[u8]) -> bool {
        let mut index = Index::of_talks(Strategy::Auto, [self.talk()]);
        index.find_in(&self.state, 0, PEER, request).index.is_some()
    }
}

/// A character of the same kind, so that what is changed stays a number, hexadecimal, a word.
fn other(byte: u8) -> u8 {
    match byte {
        b'9' => b'1',
        b'0'..=b'8' | b'a'..=b'e' | b'A'..=b'E' | b'g'..=b'y' | b'G'..=b'Y' => byte + 1,
        b'f' | b'F' => byte - 5,
        b'z' | b'Z' => byte - 19,
        _ => byte ^ 1,
    }
}

/// The request with each of its literals changed, one at a time: of each number, word and string the last character,
/// and all of them; and each byte that belongs to none.
pub(crate) fn mutations(request: &[u8]) -> Vec<Vec<u8>> {
    let mut changed = Vec::new();
    let mut end = 0;
    for run in request.chunk_by(|a, b| a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric()) {
        let start = end;
        end += run.len();
        for from in [start, end - 1] {
            let mut one = request.to_vec();
            one[from..end].iter_mut().for_each(|byte| *byte = other(*byte));
            changed.push(one);
        }
        if run.len() == 1 {
            changed.pop();
        }
    }
    changed
}

/// What became of the changed requests of a protocol.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) changed: usize,
    /// How many were taken for the recorded call, by what changed.
    pub(crate) accepted: BTreeMap<What, usize>,
}

/// The outcomes by protocol.
pub(crate) type Outcomes = BTreeMap<&'static str, Outcome>;

/// Changes each literal of a recorded call.
pub(crate) fn mutate(known: &Known, outcomes: &mut Outcomes) {
    let outcome = outcomes.entry(known.protocol()).or_default();
    outcome.requests += 1;
    for request in mutations(&known.request) {
        outcome.changed += 1;
        if known.accepts(&request) {
            let what = what(&changes(&known.state, &known.request, &request));
            *outcome.accepted.entry(what).or_default() += 1;
        }
    }
}

/// Messages of a made-up protocol: length, kind, counter, time, key. What of them counts, the matcher learns.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let keys = ["apple", "fig", "pear", "plum", "cherry", "grape", "fig", "quince"];
    (1_000u32..)
        .zip(keys)
        .map(|(counter, key)| {
            let length = u16::try_from(key.len() + 15).expect("short").to_be_bytes();
            let at = (1_795_000_000_017 + u64::from(counter) * 40).to_be_bytes();
            [&length[..], &[7], &counter.to_be_bytes(), &at, key.as_bytes()].concat()
        })
        .collect()
}

/// Changes each literal of each of these messages, all of which were recorded.
pub(crate) fn mutate_frames(frames: &[Vec<u8>], outcomes: &mut Outcomes) {
    let outcome = outcomes.entry("unknown, learned").or_default();
    for frame in frames {
        outcome.requests += 1;
        for request in mutations(frame) {
            outcome.changed += 1;
            let mut index =
                Index::new(Strategy::Auto, frames.iter().map(|frame| RecordedCall::new(PEER, frame)));
            let decision = index.find(PEER, &request);
            if decision.index.is_none() {
                continue;
            }
            let is_place =
                |line: &String| ["counter at", "time at", "length at"].iter().any(|at| line.starts_with(at));
            let what =
                if decision.differences.iter().all(is_place) { What::Volatile } else { What::Identity };
            *outcome.accepted.entry(what).or_default() += 1;
        }
    }
}

/// What a changed literal was to its request. The order is that of how much it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// What is asked for. No such change may be accepted.
    Identity,
    /// The value of an argument. No such change may be accepted.
    Argument,
    /// A short value that does not look generated. No such change may be accepted.
    Value,
    /// A word of a long text.
    LongText,
    /// An argument that was not there, or is there no more.
    OneMore,
    /// A part of a value that looks generated, where programs put such.
    Generated,
    /// A field that may change.
    Soft,
    /// A field that is new each time.
    Volatile,
    /// A field that says nothing of the call.
    Noise,
    /// No field at all.
    Nothing,
}

impl What {
    /// Every change that may be accepted, what it is called, and why that is right. All others are refused.
    pub(crate) const ACCEPTED: [(Self, &'static str, &'static str); 7] = [
        (
            Self::OneMore,
            "one more or less",
            "an argument came or went, and enough of the others agree: the program was changed, and asks for the same",
        ),
        (
            Self::Generated,
            "generated",
            "the part of a value that a program generates: a time anywhere; long numbers and random ids in what is written",
        ),
        (
            Self::LongText,
            "long text",
            "a word of a text of 64 characters or more that is written, not asked for",
        ),
        (
            Self::Soft,
            "soft",
            "a header, a column that is read, how long something is kept, what overwrites the value of a key: reported",
        ),
        (
            Self::Volatile,
            "volatile",
            "a field that is new each time: a time, a nonce, a signature, the id of a request",
        ),
        (Self::Noise, "noise", "who asks (`User-Agent`), and how the connection goes on"),
        (
            Self::Nothing,
            "form",
            "no field has changed: letter case, white space, flags and types of the wire that leave the values as they are",
        ),
    ];

    fn of(change: &Change) -> Self {
        match (change.role, change.only.is_some(), change.generated) {
            (Role::Noise, ..) => Self::Noise,
            (Role::Volatile, ..) => Self::Volatile,
            (Role::Soft, ..) => Self::Soft,
            (Role::Parameter | Role::Timed | Role::Value, true, _) => Self::OneMore,
            (Role::TimedIdentity | Role::Timed | Role::Value, false, true) => Self::Generated,
            (Role::Value, ..) => Self::Value,
            (Role::Parameter | Role::Timed, ..) => Self::Argument,
            (Role::Identity | Role::TimedIdentity, ..) => Self::Identity,
        }
    }
}

/// The change that tells most.
fn what(changes: &[Change]) -> What {
    let most = changes.iter().map(|change| (What::of(change), change)).min_by_key(|(what, _)| *what);
    match most {
        Some((What::Value, change)) if change.long => What::LongText,
        Some((what, _)) => what,
        None => What::Nothing,
    }
}
