//! The table of right and wrong answers over a file of matching cases, and the time of a match.
//!
//! `cargo run --release -p koala-matcher --example cases -- FILE [--wrong | --times]`
//!
//! It prints, by kind of case and strategy, the share of steps that got the right answer (the true call, or none where
//! there is none) and the share that got a call which is not the true one; and of `chunk` and `sim`, how many answers
//! are those of koala 1.x, where the file tells them. It exits with 1 unless all are. With `--wrong` it also prints
//! every answer that is not right, with its explanation. With `--times` it prints nothing but times, as JSON: by
//! strategy, nanoseconds of all matches and of building all indexes; how many calls and matches that were; and the bytes
//! of the candidates, counted anew for every match.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "../tests/shared/mod.rs"]
mod shared;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use koala_matcher::{Decision, Strategy};
use serde_json::json;
use shared::{Answer, Case};

/// The fastest of so many rounds is the one that nothing else on the machine disturbed.
const ROUNDS: usize = 7;
/// No further round begins behind this time.
const LONGEST: Duration = Duration::from_secs(1);
const STRATEGIES: [Strategy; 3] = [Strategy::Chunk, Strategy::Sim, Strategy::Auto];

#[derive(Default)]
struct Tally {
    steps: usize,
    right: usize,
    wrong: usize,
    /// Answers that koala 1.x gives too, and those that it is known to give.
    alike: usize,
    koala1: usize,
    finding: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.right += other.right;
        self.wrong += other.wrong;
        self.alike += other.alike;
        self.koala1 += other.koala1;
        self.finding += other.finding;
    }

    fn percent(&self) -> String {
        let percent = |part: usize| part as f64 * 100.0 / self.steps.max(1) as f64;
        format!(" {:.1} | {:.1} |", percent(self.right), percent(self.wrong))
    }
}

/// The decisions of a case, and how long building the index and finding the calls took at best.
fn run(case: &Case, strategy: Strategy) -> (Vec<Decision>, Duration, Duration) {
    let (mut building, mut finding) = (Duration::MAX, Duration::MAX);
    let mut decisions = Vec::new();
    let begun = Instant::now();
    for round in 0..ROUNDS {
        if round > 0 && begun.elapsed() > LONGEST {
            break;
        }
        let started = Instant::now();
        let mut index = case.index(strategy);
        building = building.min(started.elapsed());
        let started = Instant::now();
        decisions = case.steps.iter().map(|step| index.find(&step.peer, &step.request)).collect();
        finding = finding.min(started.elapsed());
    }
    (decisions, building, finding)
}

fn judge(case: &Case, strategy: Strategy, show_wrong: bool) -> Tally {
    let (decisions, _, finding) = run(case, strategy);
    let mut tally = Tally { finding, ..Tally::default() };
    for (number, (step, decision)) in case.steps.iter().zip(&decisions).enumerate() {
        let right = case.is_right(step, decision.index);
        tally.steps += 1;
        tally.right += usize::from(right);
        tally.wrong += usize::from(!right && decision.index.is_some());
        let expected = step.koala1(strategy);
        let alike = expected == Some(Answer::of(decision.index, decision.mark));
        tally.koala1 += usize::from(expected.is_some());
        tally.alike += usize::from(alike);
        if show_wrong && (!right || expected.is_some() && !alike) {
            println!("{} step {number}: truth {}, {decision:#?}", case.name, step.truth);
            println!("  koala 1.x: {expected:?}, sent: {}", step.request.escape_ascii());
        }
    }
    tally
}

/// Prints the table. Whether every answer that koala 1.x is known to give was given.
fn table(cases: &[Case], show_wrong: bool) -> bool {
    let mut kinds: BTreeMap<&str, [Tally; STRATEGIES.len()]> = BTreeMap::new();
    let mut all: [Tally; STRATEGIES.len()] = Default::default();
    for case in cases {
        let of_kind = kinds.entry(case.kind()).or_default();
        for ((strategy, of_kind), all) in STRATEGIES.into_iter().zip(of_kind).zip(&mut all) {
            let tally = judge(case, strategy, show_wrong);
            of_kind.add(&tally);
            all.add(&tally);
        }
    }
    let columns = STRATEGIES.map(|strategy| format!(" {0} right | {0} wrong |", strategy.name())).concat();
    println!("| percent of steps | steps |{columns}");
    println!("| --- | --- |{}", " --- | --- |".repeat(STRATEGIES.len()));
    for (kind, tallies) in kinds.iter().chain([(&"all", &all)]) {
        println!("| {kind} | {} |{}", tallies[0].steps, tallies.each_ref().map(Tally::percent).concat());
    }
    println!();
    for (strategy, tally) in STRATEGIES.into_iter().zip(&all) {
        let each = tally.finding.as_secs_f64() * 1e6 / tally.steps.max(1) as f64;
        print!("{}: {each:.2} us a match", strategy.name());
        match tally.koala1 {
            0 => println!(),
            known => println!("; as koala 1.x: {} of {known} answers", tally.alike),
        }
    }
    all.iter().all(|tally| tally.alike == tally.koala1)
}

fn times(cases: &[Case]) {
    let matches: usize = cases.iter().map(|case| case.steps.len()).sum();
    let mut calls = 0;
    let mut weighed = 0;
    for case in cases {
        let bytes: usize = case.candidates.iter().map(|call| call.request.len()).sum();
        calls += case.candidates.len();
        weighed += bytes * case.steps.len();
    }
    let by_strategy = STRATEGIES.map(|strategy| {
        let mut all = (Duration::ZERO, Duration::ZERO);
        for case in cases {
            let (_, building, finding) = run(case, strategy);
            all = (all.0 + building, all.1 + finding);
        }
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let times = json!({ "building": nanoseconds(all.0), "finding": nanoseconds(all.1) });
        (strategy.name().to_owned(), times)
    });
    let strategies: serde_json::Map<_, _> = by_strategy.into_iter().collect();
    println!(
        "{}",
        json!({ "calls": calls, "matches": matches, "weighed": weighed, "strategies": strategies })
    );
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: cases FILE [--wrong | --times]";
    let cases = Case::read(Path::new(&arguments.next().ok_or(usage)?))?;
    let as_koala1 = match arguments.next().as_deref() {
        None => table(&cases, false),
        Some("--wrong") => table(&cases, true),
        Some("--times") => {
            times(&cases);
            true
        }
        Some(_) => return Err(usage.into()),
    };
    Ok(if as_koala1 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
