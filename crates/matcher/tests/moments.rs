//! Keys that hold the minute of their call: the same key in another run, where each minute is that of its call. Any other
//! minute asks for something else.

use koala_matcher::{Index, RecordedCall, RecordedTalk, Strategy};
use koala_protocol::ConnectionState;

const PEER: &str = "10.0.0.1:6379";
const SECOND: u64 = 1_000_000_000;
/// 2026-11-23T09:14:40Z
const THEN: u64 = 1_795_425_280 * SECOND;
/// 2026-12-01T00:00:05Z
const NOW: u64 = 1_796_083_205 * SECOND;

fn redis(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// What is found in a recording of calls that were made at `THEN`, of requests that are made at `NOW`.
fn found(recorded: &[Vec<u8>], asked: &[Vec<u8>]) -> Vec<Option<usize>> {
    let state = ConnectionState::default();
    let talk = |request| RecordedTalk {
        call: RecordedCall { at: THEN, ..RecordedCall::new(PEER, request) },
        response: b":1\r\n",
        state: &state,
    };
    let mut index = Index::of_talks(Strategy::Auto, recorded.iter().map(|request| talk(request)));
    asked.iter().map(|request| index.find_at(NOW, &state, 1, PEER, request).index).collect()
}

/// The same calls at the minutes of the two moments; each is followed, in any order, and but once.
#[track_caller]
fn follows(recorded: &[Vec<u8>], asked: &[Vec<u8>]) {
    let all: Vec<_> = (0..recorded.len()).map(Some).collect();
    assert_eq!(found(recorded, asked), all);
    for (number, request) in asked.iter().enumerate() {
        assert_eq!(found(recorded, &[request.clone(), request.clone()]), [Some(number), None]);
        // Without its digits as they are, it is another call: each is one less, and one more.
        let digits = request.iter().enumerate().skip(14).filter(|(_, byte)| byte.is_ascii_digit());
        for (at, digit) in digits {
            for other in [digit.wrapping_sub(1), digit + 1].into_iter().filter(u8::is_ascii_digit) {
                let mut changed = request.clone();
                changed[at] = other;
                let index = found(recorded, &[changed.clone()])[0];
                assert_eq!(index, None, "{}", changed.escape_ascii());
            }
        }
    }
}

#[test]
fn counters_of_the_minute_are_followed() {
    follows(
        &[redis(&["INCR", "stats:2026-11-23T09:14"]), redis(&["INCR", "rate:1.2.3.4:29923754"])],
        &[redis(&["INCR", "stats:2026-12-01T00:00"]), redis(&["INCR", "rate:1.2.3.4:29934720"])],
    );
    // In a time zone of its own, and before it is new there.
    follows(&[redis(&["INCR", "hits:202611231459"])], &[redis(&["INCR", "hits:202612010545"])]);
}

#[test]
fn another_minute_is_another_key() {
    let recorded = [redis(&["GET", "stats:2026-11-23T09:14"])];
    for key in [
        "stats:2026-12-01T00:01",
        "stats:2026-11-30T23:59",
        "stats:2026-11-23T09:15",
        "other:2026-12-01T00:00",
    ] {
        assert_eq!(found(&recorded, &[redis(&["GET", key])]), [None], "{key}");
    }
    // The recorded one was not that of its call.
    let earlier = [redis(&["GET", "stats:2026-11-23T09:13"])];
    assert_eq!(found(&earlier, &[redis(&["GET", "stats:2026-12-01T00:00"])]), [None]);
    // It is asked for as it is.
    assert_eq!(found(&recorded, &recorded), [Some(0)]);
}

#[test]
fn a_minute_is_followed_in_what_else_is_asked_for() {
    let get = |minute: &str| format!("GET /buckets/{minute}/hits HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    assert_eq!(found(&[get("29923754")], &[get("29934720")]), [Some(0)]);
    assert_eq!(found(&[get("29923754")], &[get("29934721")]), [None]);
}
