//! Every literal of a recorded call changed, one at a time: what is asked for, and the arguments, must not differ.
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

#[path = "../../protocol/tests/shared/mod.rs"]
mod captures;
#[path = "shared/mutations.rs"]
mod mutations;
mod shared;

use std::collections::BTreeSet;

use mutations::{CAPTURES, Known, Outcomes, What, frames, mutate, mutate_frames};
use shared::{Case, beside_the_repository};

#[track_caller]
fn check(outcomes: &Outcomes) {
    for (protocol, outcome) in outcomes {
        for (what, times) in &outcome.accepted {
            let known = What::ACCEPTED.iter().any(|(known, ..)| known == what);
            assert!(known, "{protocol}: {times} changes accepted: {what:?}");
        }
        let accepted: usize = outcome.accepted.values().sum();
        assert!(outcome.requests > 0 && accepted < outcome.changed, "{protocol}");
    }
}

#[test]
fn of_captured_conversations_nothing_is_accepted_that_tells_calls_apart() {
    let mut outcomes = Outcomes::default();
    for known in CAPTURES.into_iter().flat_map(Known::of_capture) {
        mutate(&known, &mut outcomes);
    }
    check(&outcomes);
    let protocols: Vec<_> = outcomes.keys().copied().collect();
    let all = ["fastcgi", "memcached", "mongodb", "mysql", "postgres", "redis", "thrift", "unknown"];
    assert_eq!(protocols, all);
    // And some things must be accepted, or all this would prove nothing.
    for (protocol, what) in [
        ("fastcgi", What::Soft),
        ("memcached", What::Soft),
        ("mongodb", What::Volatile),
        ("mysql", What::Volatile),
        ("postgres", What::Volatile),
        ("thrift", What::Volatile),
    ] {
        assert!(outcomes[protocol].accepted.contains_key(&what), "{protocol}: {what:?}");
    }
    assert!(outcomes["unknown"].accepted.is_empty());
}

#[test]
fn of_messages_whose_places_were_learned_only_these_may_differ() {
    let mut outcomes = Outcomes::default();
    mutate_frames(&frames(), &mut outcomes);
    check(&outcomes);
    let learned = &outcomes["unknown, learned"];
    assert_eq!(learned.accepted.keys().collect::<Vec<_>>(), [&What::Volatile]);
}

#[test]
fn of_the_cases_nothing_is_accepted_that_tells_calls_apart() {
    let small = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/matcher/koala1.json");
    let mut seen = BTreeSet::new();
    let mut outcomes = Outcomes::default();
    // Of the large set a part is enough here; the example of the same name changes all of them.
    for (path, every) in [(Some(small), 1), (beside_the_repository(), 48)] {
        let Some(path) = path else {
            println!("skipped: ../shared/matching is not here");
            continue;
        };
        let cases = Case::read(&path).expect("the cases can be read");
        let calls = cases.into_iter().flat_map(|case| case.candidates);
        for call in calls.step_by(every).filter(|call| seen.insert(call.request.clone())) {
            mutate(&Known::alone(call.request), &mut outcomes);
        }
    }
    check(&outcomes);
    assert!(
        outcomes.contains_key("http") && outcomes.contains_key("mysql") && outcomes.contains_key("redis")
    );
}
