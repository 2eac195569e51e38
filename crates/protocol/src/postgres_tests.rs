use crate::{Conversation, End, Framing, Protocol, frame_request};
use alloc::vec::Vec;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn messages(kinds: &[u8]) -> Vec<u8> {
    kinds.iter().flat_map(|kind| message(*kind, b"\0")).collect()
}

const START_UP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";

fn ready() -> Conversation {
    let mut conversation = Conversation::new();
    assert!(conversation.request(START_UP).ends);
    let authenticated = message(b'R', &0u32.to_be_bytes());
    assert!(!conversation.response(&authenticated).ends);
    assert!(!conversation.response(&messages(b"SSK")).ends);
    assert!(conversation.response(READY).ends);
    assert_eq!(conversation.protocol(), Protocol::Postgres);
    conversation
}

/// Sends a request of these messages.
#[track_caller]
fn ask(conversation: &mut Conversation, kinds: &[u8]) {
    let part = conversation.request(&messages(kinds));
    assert!(part.begins && part.ends && !part.unanswered, "{part:?}");
}

/// Receives these messages, with which a response ends.
#[track_caller]
fn answer(conversation: &mut Conversation, kinds: &[u8]) {
    let (last, before) = kinds.split_last().expect("some");
    if !before.is_empty() {
        let part = conversation.response(&messages(before));
        assert!(!part.ends && !part.unasked, "{part:?}");
    }
    let part = conversation.response(&message(*last, b"\0"));
    assert!(part.ends && !part.unasked, "{part:?}");
}

#[test]
fn a_password_is_asked_for() {
    let mut conversation = Conversation::new();
    conversation.request(START_UP);
    for (code, goes_on) in [(10u32, false), (11, false), (12, true), (0, true)] {
        let part = conversation.response(&message(b'R', &code.to_be_bytes()));
        assert_eq!(part.ends, !goes_on, "{code}");
        if !goes_on {
            assert!(conversation.request(&message(b'p', b"proof")).ends);
        }
    }
    assert!(conversation.response(READY).ends);
    let mut refused = Conversation::new();
    refused.request(START_UP);
    assert!(refused.response(&messages(b"E")).ends, "the server closes");
}

#[test]
fn queries_end_when_the_server_is_ready() {
    let mut conversation = ready();
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"TDDCTDCNZ");
    ask(&mut conversation, b"PBDES");
    answer(&mut conversation, b"12TDCZ");
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"EZ");
    // Two at once.
    ask(&mut conversation, b"BES");
    ask(&mut conversation, b"BES");
    answer(&mut conversation, b"2DCZ");
    answer(&mut conversation, b"EZ");
    let part = conversation.request(&message(b'X', b""));
    assert!(part.ends && part.unanswered);
    assert_eq!(conversation.response_end(), End::Idle);
}

#[test]
fn what_is_flushed_is_answered_up_to_its_completions() {
    let mut conversation = ready();
    ask(&mut conversation, b"PDH");
    answer(&mut conversation, b"1tT");
    ask(&mut conversation, b"BEH");
    answer(&mut conversation, b"2DDs");
    ask(&mut conversation, b"EH");
    answer(&mut conversation, b"DC");
    ask(&mut conversation, b"S");
    answer(&mut conversation, b"Z");
    // An error takes the place of all completions.
    ask(&mut conversation, b"PDH");
    answer(&mut conversation, b"E");
    ask(&mut conversation, b"S");
    answer(&mut conversation, b"Z");
    assert!(conversation.request(&messages(b"H")).unanswered, "nothing was to be flushed");
}

#[test]
fn a_response_may_come_before_its_flush() {
    let mut conversation = ready();
    assert!(!conversation.request(&messages(b"PBE")).ends);
    let part = conversation.response(&messages(b"12DC"));
    assert!(part.begins && !part.ends);
    let part = conversation.request(&messages(b"H"));
    assert!(part.ends && part.unanswered, "its response is here: {part:?}");
    ask(&mut conversation, b"S");
    answer(&mut conversation, b"Z");
    // As an error.
    conversation.request(&messages(b"PBE"));
    conversation.response(&messages(b"E"));
    assert!(conversation.request(&messages(b"BEH")).unanswered);
    // Passed over until the next Sync.
    let part = conversation.request(&messages(b"BEH"));
    assert!(part.begins && part.ends && part.unanswered);
    ask(&mut conversation, b"S");
    answer(&mut conversation, b"Z");
    assert!(!conversation.is_raw());
}

#[test]
fn flushes_that_an_error_left_unanswered_are_overcome() {
    let mut conversation = ready();
    ask(&mut conversation, b"PBEH");
    ask(&mut conversation, b"PBEH");
    ask(&mut conversation, b"S");
    answer(&mut conversation, b"E");
    // The answer to Sync: the second flush has none.
    conversation.response(READY);
    assert!(conversation.is_raw());
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"CZ");
    assert!(!conversation.is_raw());
}

#[test]
fn data_are_copied_in_and_out() {
    let mut conversation = ready();
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"G");
    ask(&mut conversation, b"dddc");
    answer(&mut conversation, b"CZ");
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"HdddcCZ");
    // In the extended protocol a Sync follows the data.
    ask(&mut conversation, b"PBES");
    answer(&mut conversation, b"12G");
    ask(&mut conversation, b"ddcS");
    answer(&mut conversation, b"CZ");
    // Bad data.
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"G");
    assert!(!conversation.request(&messages(b"dd")).ends);
    answer(&mut conversation, b"EZ");
    assert!(conversation.request(&messages(b"c")).ends);
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"CZ");
}

#[test]
fn a_stream_of_replication_is_told_apart_by_direction() {
    let mut conversation = ready();
    ask(&mut conversation, b"Q");
    assert!(conversation.response(&message(b'W', b"\0\0\0")).ends);
    assert!(conversation.is_raw());
}

#[test]
fn encryption_is_asked_for_first() {
    let ask_for_tls = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let mut conversation = Conversation::new();
    assert!(conversation.request(ask_for_tls).ends);
    assert!(conversation.response(b"N").ends);
    assert!(conversation.request(START_UP).ends);
    assert!(conversation.response(&message(b'R', &3u32.to_be_bytes())).ends);
    let mut conversation = Conversation::new();
    conversation.request(ask_for_tls);
    assert!(conversation.response(b"S").ends);
    conversation.request(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00");
    assert!(conversation.encrypted());
    let cancel = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02";
    assert!(Conversation::new().request(cancel).unanswered);
}

#[test]
fn what_nobody_asked_for_ends_with_itself() {
    let mut conversation = ready();
    for kind in *b"ASN" {
        let part = conversation.response(&message(kind, b"\0"));
        assert!(part.begins && part.ends && part.unasked);
    }
    ask(&mut conversation, b"Q");
    answer(&mut conversation, b"ASCZ");
    assert!(conversation.response(&messages(b"E")).ends, "the server goes");
}

#[test]
fn other_bytes_are_not_postgres() {
    for bytes in [&b"\0\0\0\x07\0\x03\0"[..], b"\0\0\0\x08\0\x02\0\0", b"hello"] {
        assert_eq!(frame_request(Protocol::Postgres, bytes), Framing::Invalid, "{}", bytes.escape_ascii());
    }
    let mut conversation = ready();
    conversation.request(b"GET / HTTP/1.1\r\n\r\n");
    assert!(conversation.is_raw());
}
