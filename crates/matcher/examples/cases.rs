//! The table of right and wrong answers over a file of matching cases, and the time of a match.
//!
//! `cargo run --release -p koala-matcher --example cases -- FILE [--wrong]` prints, for every kind of case,
//! how many steps got the right answer (the true call, or none where there is none) and how many got a
//! call that is not the true one. With `--wrong`, every answer that is not right, with its explanation.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use koala_matcher::{Index, RecordedCall, Strategy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;

#[derive(Deserialize)]
struct Case {
    name: String,
    candidates: Vec<Candidate>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Candidate {
    peer: String,
    #[serde(rename = "req", deserialize_with = "base64")]
    request: Vec<u8>,
}

#[derive(Deserialize)]
struct Step {
    truth: i64,
    peer: String,
    #[serde(rename = "req", deserialize_with = "base64")]
    request: Vec<u8>,
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

#[derive(Default)]
struct Tally {
    steps: usize,
    right: usize,
    wrong: usize,
    elapsed: Duration,
}

fn index(case: &Case, strategy: Strategy) -> Index {
    let calls = case.candidates.iter();
    Index::new(strategy, calls.map(|call| RecordedCall { peer: &call.peer, request: &call.request }))
}

/// Percent with one digit.
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: cases FILE [--wrong]")?;
    let show_wrong = arguments.next().is_some_and(|argument| argument == "--wrong");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path)?)?;

    for strategy in [Strategy::Exact, Strategy::Auto] {
        let mut kinds: BTreeMap<&str, Tally> = BTreeMap::new();
        let mut build = Duration::ZERO;
        for case in &cases {
            let kind = case.name.rsplit('/').next().unwrap_or(&case.name);
            let tally = kinds.entry(kind).or_default();
            let mut fastest = (Duration::MAX, Duration::MAX);
            let mut decisions = Vec::new();
            // The fastest of a few rounds is the one that nothing else on the machine disturbed.
            for _ in 0..ROUNDS {
                let started = Instant::now();
                let mut index = index(case, strategy);
                let built = started.elapsed();
                let started = Instant::now();
                decisions = case.steps.iter().map(|step| index.find(&step.peer, &step.request)).collect();
                fastest = (fastest.0.min(built), fastest.1.min(started.elapsed()));
            }
            build += fastest.0;
            tally.elapsed += fastest.1;
            for (number, (step, decision)) in case.steps.iter().zip(&decisions).enumerate() {
                let truth = usize::try_from(step.truth).ok().and_then(|truth| case.candidates.get(truth));
                let answer = decision.index.and_then(|answer| case.candidates.get(answer));
                let right = match (truth, answer) {
                    (None, None) => true,
                    (Some(truth), Some(answer)) => {
                        truth.peer == answer.peer && truth.request == answer.request
                    }
                    _ => false,
                };
                tally.steps += 1;
                tally.right += usize::from(right);
                tally.wrong += usize::from(!right && answer.is_some());
                if show_wrong && !right {
                    println!("{} step {number}: truth {}, {decision:#?}", case.name, step.truth);
                    println!("  sent: {}", step.request.escape_ascii());
                }
            }
        }
        println!(
            "{:<6} {:<10} {:>6} {:>8} {:>8} {:>10}",
            strategy.name(),
            "kind",
            "steps",
            "right %",
            "wrong %",
            "us/match"
        );
        let mut all = Tally::default();
        for (kind, tally) in &kinds {
            row(strategy, kind, tally);
            all.steps += tally.steps;
            all.right += tally.right;
            all.wrong += tally.wrong;
            all.elapsed += tally.elapsed;
        }
        row(strategy, "all", &all);
        let calls: usize = cases.iter().map(|case| case.candidates.len()).sum();
        let bytes: usize =
            cases.iter().flat_map(|case| &case.candidates).map(|call| call.request.len()).sum();
        println!(
            "{:<6} building the index: {:.2} us a call, {:.0} MB/s\n",
            strategy.name(),
            build.as_secs_f64() * 1e6 / calls as f64,
            bytes as f64 / 1e6 / build.as_secs_f64()
        );
    }
    growth();
    Ok(())
}

fn row(strategy: Strategy, kind: &str, tally: &Tally) {
    println!(
        "{:<6} {kind:<10} {:>6} {:>8.1} {:>8.1} {:>10.2}",
        strategy.name(),
        tally.steps,
        percent(tally.right, tally.steps),
        percent(tally.wrong, tally.steps),
        tally.elapsed.as_secs_f64() * 1e6 / tally.steps.max(1) as f64
    );
}

/// The cost of a match in recordings of growing size: each call is sent changed in three ways.
fn growth() {
    const PEER: &str = "10.0.0.1:80";
    println!("{:<28} {:>10} {:>10} {:>10}", "us/match by size", "fresh", "header", "novel");
    for size in [10usize, 100, 1_000, 10_000] {
        let request = |order: usize, trace: usize, more: &str| {
            format!(
                "POST /v1/orders HTTP/1.1\r\nHost: shop\r\nX-Request-Id: {trace:032x}\r\n{more}Content-Type: \
                 application/json\r\n\r\n{{\"order\":{order},\"currency\":\"EUR\",\"at\":{}}}",
                1_795_358_265 + trace
            )
        };
        let recorded: Vec<String> = (0..size).map(|order| request(order, order, "")).collect();
        let measure = |sent: &dyn Fn(usize) -> String| {
            let calls = recorded.iter();
            let mut index = Index::new(
                Strategy::Auto,
                calls.map(|call| RecordedCall { peer: PEER, request: call.as_bytes() }),
            );
            let sent: Vec<String> = (0..size.min(1_000)).map(|at| sent(at * 7 % size)).collect();
            // Again, the least disturbed of a few parts.
            let parts = sent.chunks(sent.len().div_ceil(10)).map(|part| {
                let started = Instant::now();
                let decisions: Vec<_> = part.iter().map(|call| index.find(PEER, call.as_bytes())).collect();
                started.elapsed().as_secs_f64() * 1e6 / decisions.len() as f64
            });
            parts.fold(f64::INFINITY, f64::min)
        };
        let fresh = measure(&|order| request(order, order + 77_777, ""));
        let header = measure(&|order| request(order, order + 77_777, "X-New: 1\r\n"));
        let novel = measure(&|order| request(order + size, order + 77_777, ""));
        println!("{size:>6} calls to one path       {fresh:>10.2} {header:>10.2} {novel:>10.2}");
    }
}
