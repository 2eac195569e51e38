//! What the agent says of itself to those who ask.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::manifest::{GivenUpCounts, LostCounts};
use crate::processes::NotCovered;

/// The answer to `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// `record` or `replay`.
    pub mode: String,
    /// Where the program listens now.
    pub listeners: Vec<String>,
    /// How many processes of the program are attached and alive.
    pub processes: usize,
    /// Their ids.
    pub pids: Vec<u32>,
    /// Sessions written to disk, but for those of boot; in a replay, sessions replayed.
    pub sessions: u64,
    /// Parts of boot sessions written to disk; 0 in a replay.
    #[serde(default)]
    pub boot_sessions: u64,
    /// Events read from the log.
    pub events: u64,
    /// What is lost.
    pub lost: LostCounts,
    /// Sessions that were given up at their first byte.
    #[serde(flatten)]
    pub given_up: GivenUpCounts,
    /// Connections on which bytes crossed that the event log does not have, by the kernel's own count or by what the
    /// library could not write. The sessions that used them are incomplete.
    #[serde(default)]
    pub gaps: u64,
    /// The program's addresses at which it was asked by TLS: what was asked cannot be seen, nor replayed.
    #[serde(default)]
    pub encrypted: BTreeSet<String>,
    /// Hooks of `libkoala.so` that have no function behind them.
    pub unresolved: Vec<String>,
    /// Programs that the program has executed and that are not recorded.
    #[serde(default)]
    pub not_covered: BTreeSet<NotCovered>,
    /// Where the recording is; only in the answer to `POST /finish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// Why writing stopped, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In a replay, what the program asked outside of all sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootStatus>,
}

/// What the program asked outside of all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BootStatus {
    /// How many calls it made.
    pub calls: u64,
    /// The last of those that nothing recorded answers.
    pub unmatched: Vec<UnmatchedStatus>,
}

/// A call that nothing recorded answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnmatchedStatus {
    /// Who was asked.
    pub peer: String,
    /// The head of the request, as text.
    pub request: String,
    /// Why it was not answered.
    pub reason: String,
}

/// The one line that the agent prints when it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ready {
    /// True.
    pub ready: bool,
    /// Where it is commanded.
    pub control_socket: String,
    /// Where processes of the program get the event log.
    pub attach_socket: String,
    /// Where the inbound server listens; only in a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_addr: Option<String>,
    /// Where the outbound server listens; only in a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound_addr: Option<String>,
}
