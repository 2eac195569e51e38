//! `chunk` and `sim` give the answers of koala 1.x: the same call with the same mark, at every step of every case.
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

mod shared;

use std::path::{Path, PathBuf};

use koala_matcher::{Index, RecordedCall, Strategy};
use shared::{Answer, Case};

/// How many answers were compared.
fn compare(path: &Path) -> usize {
    let cases = Case::read(path).expect("the cases can be read");
    let mut compared = 0;
    for case in &cases {
        for strategy in [Strategy::Chunk, Strategy::Sim] {
            let mut index = case.index(strategy);
            for (number, step) in case.steps.iter().enumerate() {
                let decision = index.find(&step.peer, &step.request);
                let place = format!("{}, step {number}, {}", case.name, strategy.name());
                let expected = step.koala1(strategy).expect("the case tells koala 1.x's answer");
                assert_eq!(Answer::of(decision.index, decision.mark), expected, "{place}: {decision:#?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn as_in_the_cases_of_this_repository() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/matcher/koala1.json");
    assert!(compare(&path) >= 100);
}

#[test]
fn as_in_the_cases_beside_the_repository() {
    match shared::beside_the_repository() {
        Some(path) => assert!(compare(&path) > 10_000),
        None => println!("skipped: there is no ../shared/matching beside this repository"),
    }
}

/// Answers given by hand, for what the cases do not have.
fn answers(strategy: Strategy, calls: &[RecordedCall], steps: &[(u64, &str)]) -> Vec<Option<usize>> {
    let mut index = Index::new(strategy, calls.iter().copied());
    steps
        .iter()
        .map(|(connection, request)| index.find_on(*connection, "a", request.as_bytes()).index)
        .collect()
}

fn calls<'a>(requests: &[&'a str]) -> Vec<RecordedCall<'a>> {
    requests.iter().map(|request| RecordedCall::new("a", request.as_bytes())).collect()
}

#[test]
fn chunk_goes_on_behind_the_last_call_of_a_connection() {
    let recorded = calls(&["the same request", "the same request", "another, longer request"]);
    let same = "the same request";
    // The third finds nothing behind the second, and forgets where it was: the fourth finds the first that is
    // behind all that were matched, or else the first.
    let steps = [(1, same), (1, same), (1, same), (1, same), (2, same)];
    assert_eq!(answers(Strategy::Chunk, &recorded, &steps), [Some(0), Some(1), None, Some(0), Some(0)]);
    // Of two connections, each goes its own way; the session remembers the furthest.
    let steps = [(1, same), (2, same), (1, same)];
    assert_eq!(answers(Strategy::Chunk, &recorded, &steps), [Some(0), Some(1), Some(1)]);
}

#[test]
fn chunk_never_takes_a_request_that_waits_to_continue_for_one_that_does_not() {
    let plain = "POST /a HTTP/1.1\r\nHost: shop\r\n\r\n";
    let waits = "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nHost: shop\r\n\r\n";
    assert_eq!(answers(Strategy::Chunk, &calls(&[waits, plain]), &[(1, plain)]), [Some(1)]);
    assert_eq!(answers(Strategy::Chunk, &calls(&[plain, plain]), &[(1, waits)]), [None]);
}

#[test]
fn sim_prefers_the_recorded_connection_that_it_knows() {
    let on = |connection, request: &'static str| RecordedCall {
        connection,
        ..RecordedCall::new("a", request.as_bytes())
    };
    let recorded = [on(5, "PING"), on(6, "GET x"), on(5, "GET a"), on(6, "GET a"), on(6, "GET a")];
    // Answered from connection 6: its first call behind the one matched last.
    let steps = [(1, "GET x"), (1, "GET a"), (1, "GET a"), (1, "GET a")];
    assert_eq!(answers(Strategy::Sim, &recorded, &steps), [Some(1), Some(3), Some(4), Some(2)]);
    // Answered from connection 5: the only call there.
    let steps = [(1, "PING"), (1, "GET a"), (1, "GET a")];
    assert_eq!(answers(Strategy::Sim, &recorded, &steps), [Some(0), Some(2), Some(2)]);
    // Another connection knows nothing of that, and begins behind what the session reached.
    let steps = [(1, "GET x"), (1, "GET a"), (2, "GET a")];
    assert_eq!(answers(Strategy::Sim, &recorded, &steps), [Some(1), Some(3), Some(4)]);
}

#[test]
fn sim_needs_its_threshold_and_chunk_does_not_know_it() {
    let recorded = calls(&["one two three"]);
    let ask = |strategy, threshold| {
        let mut index = Index::new(strategy, recorded.iter().copied()).with_threshold(threshold);
        index.find("a", b"one two four five")
    };
    assert_eq!(ask(Strategy::Sim, 0.7).index, None);
    let found = ask(Strategy::Sim, 0.4);
    assert_eq!(found.index, Some(0));
    assert_eq!(ask(Strategy::Sim, 0.7).runner_up, Some((0, found.mark)), "the mark that was not enough");
    assert_eq!(ask(Strategy::Chunk, 0.0).index, ask(Strategy::Chunk, 1.0).index);
}

#[test]
fn decisions_explain_themselves() {
    let recorded = calls(&[
        "GET /users/1 HTTP/1.1\r\nAccept: application/json\r\nHost: shop\r\n\r\n",
        "GET /users/2 HTTP/1.1\r\nAccept: application/json\r\nHost: shop\r\n\r\n",
    ]);
    for strategy in [Strategy::Chunk, Strategy::Sim] {
        let mut index = Index::new(strategy, recorded.iter().copied());
        let first =
            index.find_on(1, "b", b"GET /users/1 HTTP/1.1\r\nAccept: application/json\r\nHost: mall\r\n\r\n");
        assert_eq!((first.index, first.nearest, first.reused), (Some(0), None, false));
        assert_eq!(first.differences, ["host: shop -> mall"], "{}", first.reason);
        assert!(first.runner_up.is_some_and(|(call, mark)| call == 1 && mark < first.mark));
        assert_eq!(first.fields.len(), 1);
        let again = index.find_on(2, "b", recorded[0].request);
        assert_eq!((again.index, again.reused), (Some(0), true), "{}", again.reason);
        assert!(again.differences.is_empty() && again.reason.ends_with("given before"));
        let nothing = index.find_on(3, "b", b"\0\0\0\0");
        assert_eq!((nothing.index, nothing.mark, nothing.nearest), (None, 0.0, None));
        assert!(nothing.reason.contains("no recorded call"), "{}", nothing.reason);
        let mut empty = Index::new(strategy, []);
        assert!(empty.is_empty() && empty.find("a", b"x").index.is_none());
    }
}
