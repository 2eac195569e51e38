//! The mutation table: every literal of recorded calls changed, one at a time, and how many are still taken for the
//! same call.
//!
//! `cargo run --release -p koala-matcher --example mutations -- [FILE]`
//!
//! The calls are those of the captured conversations of `crates/protocol/tests/captures`, each in the state of its
//! connection; of a made-up protocol; and the recorded calls of a file of matching cases. Each call is recorded alone, so
//! that no other one comes closer. Of every number, word and string the last character is changed, and all of them; and
//! every other byte. It exits with 1 where a change is accepted that must not be.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "../../protocol/tests/shared/mod.rs"]
mod captures;
#[path = "../tests/shared/mutations.rs"]
mod mutations;
#[path = "../tests/shared/mod.rs"]
mod shared;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use mutations::{CAPTURES, Known, Outcomes, What, frames, mutate, mutate_frames};
use shared::Case;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut outcomes = Outcomes::default();
    let mut seen = BTreeSet::new();
    for known in CAPTURES.into_iter().flat_map(Known::of_capture) {
        mutate(&known, &mut outcomes);
    }
    mutate_frames(&frames(), &mut outcomes);
    if let Some(path) = std::env::args().nth(1) {
        for call in Case::read(Path::new(&path))?.into_iter().flat_map(|case| case.candidates) {
            if seen.insert(call.request.clone()) {
                mutate(&Known::alone(call.request), &mut outcomes);
            }
        }
    }
    let columns = What::ACCEPTED.map(|(_, name, _)| format!(" {name} |")).concat();
    println!("| protocol | requests | literals changed | refused |{columns}");
    println!("| --- | --: | --: | --: |{}", " --: |".repeat(What::ACCEPTED.len()));
    let mut right = true;
    for (protocol, outcome) in &outcomes {
        let accepted: usize = outcome.accepted.values().sum();
        let count = |what| outcome.accepted.get(&what).copied().unwrap_or_default();
        let cells = What::ACCEPTED.map(|(what, ..)| format!(" {} |", count(what))).concat();
        let refused = outcome.changed - accepted;
        println!("| {protocol} | {} | {} | {refused} |{cells}", outcome.requests, outcome.changed);
        for (what, times) in &outcome.accepted {
            if !What::ACCEPTED.iter().any(|(known, ..)| known == what) {
                println!("{protocol}: {times} accepted that must not be: {what:?}");
                right = false;
            }
        }
    }
    println!("\nWhy those are right that are taken for the recorded call:\n");
    for (_, name, why) in What::ACCEPTED {
        println!("- {name}: {why}");
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
