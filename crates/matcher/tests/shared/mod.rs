//! Files of matching cases: recordings, and the requests that later runs send.
#![allow(dead_code, reason = "not everyone who includes this uses all of it")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use koala_matcher::{Index, RecordedCall, Strategy};
use serde::Deserialize;

/// One recording and one run.
#[derive(Deserialize)]
pub(crate) struct Case {
    /// Its last part, behind a slash, is the kind of the case.
    pub(crate) name: String,
    /// The recorded calls.
    pub(crate) candidates: Vec<Call>,
    /// The requests of the run, in their order.
    pub(crate) steps: Vec<Step>,
}

/// A recorded call.
#[derive(Deserialize)]
pub(crate) struct Call {
    /// Whom it was sent to.
    pub(crate) peer: String,
    /// Its bytes.
    #[serde(rename = "req", deserialize_with = "base64")]
    pub(crate) request: Vec<u8>,
    /// What it was answered with, where the case tells it.
    #[serde(default, deserialize_with = "base64")]
    pub(crate) response: Vec<u8>,
    /// The connection that it was sent on, or 0 where the case does not tell it.
    #[serde(default)]
    pub(crate) connection: u64,
}

/// A request of a run.
#[derive(Deserialize)]
pub(crate) struct Step {
    /// Whom it is sent to.
    pub(crate) peer: String,
    /// Its bytes.
    #[serde(rename = "req", deserialize_with = "base64")]
    pub(crate) request: Vec<u8>,
    /// What it was answered with, where the case tells it.
    #[serde(default, deserialize_with = "base64")]
    pub(crate) response: Vec<u8>,
    /// The connection that it was sent on, or 0 where the case does not tell it.
    #[serde(default)]
    pub(crate) connection: u64,
    /// What the program did, where the case tells it.
    #[serde(default)]
    pub(crate) deed: String,
    /// The recorded call that it is, or -1.
    pub(crate) truth: i64,
    /// What koala 1.x answers with its strategy of that name.
    pub(crate) chunk: Option<Answer>,
    /// What koala 1.x answers with its strategy of that name, and a threshold of 0.7.
    pub(crate) sim: Option<Answer>,
}

/// What koala 1.x answers.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answer {
    /// The recorded call, or -1.
    pub(crate) index: i64,
    /// How sure, rounded to nine decimals.
    pub(crate) mark: f64,
}

impl Case {
    /// Reads a file of cases.
    pub(crate) fn read(path: &Path) -> Result<Vec<Self>, Box<dyn Error>> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Reads a file with a case on each line.
    pub(crate) fn read_lines(path: &Path) -> Result<Vec<Self>, Box<dyn Error>> {
        Ok(fs::read_to_string(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// What was done to the requests.
    pub(crate) fn kind(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// An index over the recorded calls.
    pub(crate) fn index(&self, strategy: Strategy) -> Index {
        let calls = self.candidates.iter();
        Index::new(strategy, calls.map(|call| RecordedCall::new(&call.peer, &call.request)))
    }

    /// Whether an answer to a step is the true one, equal calls being the same.
    pub(crate) fn is_right(&self, step: &Step, answer: Option<usize>) -> bool {
        let truth = usize::try_from(step.truth).ok().and_then(|truth| self.candidates.get(truth));
        match (truth, answer.and_then(|answer| self.candidates.get(answer))) {
            (None, None) => true,
            (Some(truth), Some(answer)) => truth.peer == answer.peer && truth.request == answer.request,
            _ => false,
        }
    }
}

impl Step {
    /// What koala 1.x answers with a strategy of its own, where the case says it.
    pub(crate) fn koala1(&self, strategy: Strategy) -> Option<Answer> {
        match strategy {
            Strategy::Chunk => self.chunk,
            Strategy::Sim => self.sim,
            _ => None,
        }
    }
}

impl Answer {
    /// An answer of ours, as the cases tell those of koala 1.x.
    pub(crate) fn of(index: Option<usize>, mark: f64) -> Self {
        let index = index.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1);
        Self { index, mark: (mark * 1e9).round() / 1e9 }
    }
}

/// The cases beside the repository, which a clone of it alone lacks.
pub(crate) fn beside_the_repository() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/matching/calls.json");
    path.exists().then_some(path)
}

fn base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for character in text.bytes().filter(|character| *character != b'=') {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(serde::de::Error::custom("not base64")),
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Ok(bytes)
}
