//! What real programs asked real servers, and what they ask when they do the same again: every request gets the answer
//! to the same deed, and what was never done before gets none. `corpus/README.md` tells how that was recorded.

mod shared;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use koala_matcher::{Connections, Index, RecordedCall, RecordedTalk, Strategy};
use shared::Case;

/// Steps that do not get the true answer: the file, the deed with the number of the call in it, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("python-redis", "/redis/limit/10.1.1.1 (0)", MINUTE),
    ("python-redis", "/redis/limit/10.1.1.2 (0)", MINUTE),
];

/// Refused, not answered wrongly.
const MINUTE: &str = "the key holds the minute: in a replay, the clock begins at the recorded time";

/// The deeds that are not answered as they should be, and a table of them.
fn wrong(case: &Case) -> (BTreeSet<String>, String) {
    let mut recorded = Connections::default();
    let states: Vec<_> = case
        .candidates
        .iter()
        .map(|call| recorded.exchange(call.connection, &call.request, &call.response))
        .collect();
    let talks = case.candidates.iter().zip(&states).map(|(call, state)| RecordedTalk {
        call: RecordedCall { connection: call.connection, ..RecordedCall::new(&call.peer, &call.request) },
        response: &call.response,
        state,
    });
    let mut index = Index::of_talks(Strategy::Auto, talks);
    let mut live = Connections::default();
    let (mut deeds, mut table) = (BTreeSet::new(), String::new());
    for step in &case.steps {
        let state = live.state(step.connection);
        let decision = index.find_in(state, step.connection, &step.peer, &step.request);
        if !case.is_right(step, decision.index) {
            deeds.insert(step.deed.clone());
            let shown = |index: Option<usize>| match index.and_then(|index| case.candidates.get(index)) {
                Some(call) => call.request.escape_ascii().to_string(),
                None => "none".to_owned(),
            };
            writeln!(
                table,
                "{}, {}, to {}: {}\n  sent:  {}\n  truth: {}\n  given: {}\n  {:?}, runner-up {:?}, {:?}",
                case.name,
                step.deed,
                step.peer,
                decision.reason,
                step.request.escape_ascii(),
                shown(usize::try_from(step.truth).ok()),
                shown(decision.index),
                decision.differences,
                decision.runner_up,
                decision.fields,
            )
            .expect("a string can be written to");
        }
        // What the replayed program is told: the recorded answer, with the numbers that this connection knows.
        live.exchange(step.connection, &step.request, &step.response);
    }
    (deeds, table)
}

/// Every step of a file gets its true call, but for those that are named as exceptions, which do not.
fn is_right(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format!("{name}.jsonl"));
    let cases = Case::read_lines(&path).expect("the case can be read");
    assert!(!cases.is_empty(), "{name} holds no case");
    for case in cases {
        let (deeds, table) = wrong(&case);
        let known = EXCEPTIONS.iter().filter(|(file, ..)| *file == name);
        let known: BTreeSet<String> = known.map(|(_, deed, _)| (*deed).to_owned()).collect();
        assert!(case.steps.iter().any(|step| step.truth < 0), "{name} has nothing new");
        assert_eq!(deeds, known, "{} of {} steps:\n{table}", deeds.len(), case.steps.len());
    }
}

#[test]
fn python_with_redis() {
    is_right("python-redis");
}

#[test]
fn python_with_memcached() {
    is_right("python-memcached");
}

#[test]
fn python_with_an_http_service() {
    is_right("python-http");
}

#[test]
fn node_with_postgres() {
    is_right("node-postgres");
}

#[test]
fn php_with_mariadb() {
    is_right("php-mariadb");
}
