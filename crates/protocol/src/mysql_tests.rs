use super::*;
use crate::{Conversation, Framing, Protocol, ResponseFramer, Step, frame_request};
use alloc::vec::Vec;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = (payload.len() as u32).to_le_bytes();
    [&[low, middle, high, sequence][..], payload].concat()
}

fn login(capabilities: u32) -> Vec<u8> {
    packet(1, &[&capabilities.to_le_bytes()[..], &[0; 28], b"app\0\0"].concat())
}

/// What the server can do, as its greeting tells it.
fn server(capabilities: u32) -> Vec<u8> {
    let [l0, l1, h0, h1] = capabilities.to_le_bytes();
    let tail = [l0, l1, 45, 2, 0, h0, h1, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    packet(0, &[&b"\x0a8.0.36\0\x01\0\0\0saltsalt\0"[..], &tail, b"saltsaltsalt\0"].concat())
}

const BOTH: u32 = capability::MYSQL | capability::PROTOCOL_41 | capability::DEPRECATE_EOF;

/// A conversation in which the client has logged in, and the server has accepted it.
fn logged_in(capabilities: u32) -> Conversation {
    let mut conversation = Conversation::new();
    assert!(conversation.response(&server(capabilities)).unasked);
    let part = conversation.request(&login(capabilities));
    assert!(part.begins && part.ends && part.ends_earlier, "{part:?}");
    assert!(conversation.response(&packet(2, &[OK, 0, 0, 2, 0, 0, 0])).ends);
    assert_eq!(conversation.protocol(), Protocol::MySql);
    conversation
}

/// The packets of a response to a command, and whether all of them but the last one leave it open.
#[track_caller]
fn answered(conversation: &mut Conversation, command: &[u8], response: &[&[u8]]) {
    let part = conversation.request(&packet(0, command));
    assert!(part.begins && part.ends && !part.unanswered, "{part:?}");
    for (index, payload) in response.iter().enumerate() {
        let part = conversation.response(&packet(index as u8 + 1, payload));
        assert_eq!(part.ends, index + 1 == response.len(), "packet {index}");
        assert!(!part.unasked);
    }
}

const COLUMN: &[u8] = b"\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
const END: &[u8] = &[EOF, 0, 0, 2, 0];
const OK_END: &[u8] = &[EOF, 0, 0, 2, 0, 0, 0];
const MORE: &[u8] = &[EOF, 0, 0, 2 | MORE_RESULTS as u8, 0];

#[test]
fn result_sets_end_as_was_agreed_on() {
    let old = &mut logged_in(BOTH & !capability::DEPRECATE_EOF);
    answered(old, b"\x03SELECT 1", &[b"\x01", COLUMN, END, b"\x011", END]);
    answered(
        old,
        b"\x03SELECT 1; SELECT 1",
        &[b"\x01", COLUMN, END, MORE, b"\x01", COLUMN, END, b"\x011", END],
    );
    // A row of a NULL, one that begins with the length of a long value, and an error in the midst of rows.
    answered(
        old,
        b"\x03SELECT 1",
        &[b"\x01", COLUMN, END, b"\xfb", b"\xfe\0\0\0\x01\0\0\0\0aaaaaa", b"\xff\x51\x04no"],
    );
    let new = &mut logged_in(BOTH);
    answered(new, b"\x03SELECT 1", &[b"\x01", COLUMN, b"\x011", OK_END]);
    answered(new, b"\x03SET @a = 1", &[&[OK, 0, 0, 2, 0, 0, 0]]);
    answered(new, b"\x03NO", &[b"\xff\x28\x04#42000no"]);
    // How far an ALTER TABLE of MariaDB is.
    answered(
        new,
        b"\x03ALTER TABLE t FORCE",
        &[b"\xff\xff\xff\x01\x01\x02\0\0\0\0", &[OK, 0, 0, 2, 0, 0, 0]],
    );
}

#[test]
fn column_definitions_may_be_left_out() {
    let optional = &mut logged_in(BOTH | capability::OPTIONAL_METADATA);
    answered(optional, b"\x03SELECT 1", &[b"\x01\x01", COLUMN, b"\x011", OK_END]);
    answered(optional, b"\x03SELECT 1", &[b"\x01\0", b"\x011", OK_END]);
    let prepared = |follows| [&b"\0\x01\0\0\0\x01\0\x01\0\0\0\0"[..], &[follows]].concat();
    answered(optional, b"\x16SELECT ?", &[&prepared(1), COLUMN, COLUMN]);
    answered(optional, b"\x16SELECT ?", &[&prepared(0)]);
}

#[test]
fn prepared_statements() {
    let old = &mut logged_in(BOTH & !capability::DEPRECATE_EOF);
    answered(old, b"\x16SELECT ?", &[b"\0\x01\0\0\0\x01\0\x01\0\0\0\0", COLUMN, END, COLUMN, END]);
    answered(old, b"\x16SET @a = 1", &[b"\0\x02\0\0\0\0\0\0\0\0\0\0"]);
    answered(old, b"\x16NO", &[b"\xff\x28\x04#42000no"]);
    // With a cursor the rows are fetched later.
    let cursor = &[EOF, 0, 0, CURSOR_EXISTS as u8, 0][..];
    answered(old, b"\x17\x01\0\0\0\x01\x01\0\0\0", &[b"\x01", COLUMN, cursor]);
    answered(old, b"\x1c\x01\0\0\0\x01\0\0\0", &[b"\0\0\x01", cursor]);
    let part = old.request(&packet(0, b"\x19\x01\0\0\0"));
    assert!(part.ends && part.unanswered);
    answered(old, b"\x0e", &[&[OK, 0, 0, 2, 0, 0, 0]]);
    answered(old, b"\x09", &[b"Uptime: 1"]);
    answered(old, b"\x04t\0", &[COLUMN, COLUMN, END]);
}

#[test]
fn each_step_of_the_authentication_is_a_talk() {
    let mut conversation = Conversation::new();
    conversation.response(&server(BOTH));
    conversation.request(&login(BOTH));
    // Another method, then a quick check that is not enough, a key, and a password.
    for (response, request) in [
        (&b"\xfecaching_sha2_password\0salt"[..], &[7; 32][..]),
        (&[MORE_DATA, 4], &[2]),
        (b"\x01-----BEGIN PUBLIC KEY-----", &[9; 256]),
    ] {
        assert!(conversation.response(&packet(2, response)).ends);
        let part = conversation.request(&packet(3, request));
        assert!(part.begins && part.ends && !part.unanswered);
    }
    // The quick check is enough.
    assert!(!conversation.response(&packet(4, &[MORE_DATA, 3])).ends);
    assert!(conversation.response(&packet(5, &[OK, 0, 0, 2, 0, 0, 0])).ends);
    // Another user on the same connection.
    assert!(conversation.request(&packet(0, b"\x11app\0\0")).ends);
    assert!(conversation.response(&packet(1, b"\xfemysql_native_password\0salt")).ends);
    assert!(conversation.request(&packet(2, &[7; 20])).ends);
    assert!(conversation.response(&packet(3, &[OK, 0, 0, 2, 0, 0, 0])).ends);
    answered(&mut conversation, b"\x0e", &[&[OK, 0, 0, 2, 0, 0, 0]]);
}

#[test]
fn a_request_for_tls_has_no_response_and_tls_follows() {
    let mut conversation = Conversation::new();
    conversation.response(&server(BOTH | capability::SSL));
    let request = packet(1, &[&(BOTH | capability::SSL).to_le_bytes()[..], &[0; 28]].concat());
    assert!(conversation.request(&request).unanswered);
    assert!(!conversation.encrypted());
    conversation.request(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00");
    assert!(conversation.encrypted());
    assert_eq!(conversation.protocol(), Protocol::MySql);
}

#[test]
fn a_file_is_a_request_of_its_own() {
    let conversation = &mut logged_in(BOTH);
    answered(conversation, b"\x03LOAD DATA LOCAL INFILE 'f' INTO TABLE t", &[b"\xfbf"]);
    assert!(!conversation.request(&packet(2, b"1,2\n")).ends);
    let part = conversation.request(&packet(3, b""));
    assert!(part.ends && !part.unanswered);
    assert!(conversation.response(&packet(4, &[OK, 1, 0, 2, 0, 0, 0])).ends);
}

#[test]
fn long_payloads_take_several_packets() {
    let mut long = alloc::vec![b'x'; LONGEST as usize];
    long[0] = command::QUERY;
    let request = [packet(0, &long), packet(1, b"yz")].concat();
    let mut framer = crate::RequestFramer::new(Protocol::MySql);
    assert_eq!(framer.push(&login(BOTH)), Step::End(login(BOTH).len()));
    assert_eq!(framer.push(&request), Step::End(request.len()));
    let mut framer = ResponseFramer::new(Protocol::MySql);
    let expected = Expected::MySql(Asked { command: command::QUERY, agreed: Agreed::default() });
    let response = [
        packet(1, b"\x01"),
        packet(2, COLUMN),
        packet(3, END),
        packet(4, &[b'a'; LONGEST as usize]),
        // What goes on does not begin a row.
        packet(5, b"\xfe\0\0\0\0"),
        packet(6, END),
    ]
    .concat();
    assert_eq!(framer.push(expected, &response), Step::End(response.len()));
}

#[test]
fn after_a_gap_the_next_command_is_framed_again() {
    let conversation = &mut logged_in(BOTH);
    answered(conversation, b"\x0e", &[&[OK, 0, 0, 2, 0, 0, 0]]);
    conversation.request(&packet(0, b"\x03SELECT 1"));
    conversation.gap();
    conversation.response(b"half a packet");
    assert!(conversation.is_raw());
    answered(conversation, b"\x03SELECT 1", &[b"\x01", COLUMN, b"\x011", OK_END]);
    assert!(!conversation.is_raw());
    // A response that can't be one: what was agreed on holds for the next request.
    conversation.request(&packet(0, b"\x03SELECT 1"));
    conversation.response(&packet(1, b""));
    assert!(conversation.is_raw());
    answered(conversation, b"\x03SELECT 1", &[b"\x01", COLUMN, b"\x011", OK_END]);
    // But what is no command is none.
    conversation.gap();
    conversation.response(b"what was under way");
    conversation.request(&packet(9, b"what?"));
    assert!(conversation.is_raw());
}

#[test]
fn what_is_no_login_is_not_mysql() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &packet(0, b"\x03SELECT 1"),
        &packet(1, b"too short to be one"),
        &login(capability::MYSQL),
    ] {
        assert_eq!(frame_request(Protocol::MySql, bytes), Framing::Invalid, "{}", bytes.escape_ascii());
    }
    // A server that speaks first, and not so.
    let mut conversation = Conversation::new();
    conversation.response(b"220 mail.example ready\r\n");
    conversation.request(b"EHLO me\r\n");
    assert!(conversation.is_raw());
}
