use super::*;
use crate::{Conversation, Framing, Protocol, frame_request, frame_response};

fn request(bytes: &[u8]) -> (Framing, Expected) {
    (frame_request(Protocol::Memcached, bytes), Expected::of(Protocol::Memcached, bytes))
}

#[test]
fn commands_end_with_their_data() {
    for (bytes, expected) in [
        (&b"get a\r\n"[..], Expected::Message),
        (b"set a 0 0 4\r\nx\r\ny\r\n", Expected::Message),
        (b"set a 0 0 1 noreply\r\nx\r\n", Expected::Replies(0)),
        (b"ms a 1\r\nx\r\n", Expected::Message),
        (b"mg a q v\r\nmg b q v\r\nmn\r\n", Expected::Batch),
        (b"ms a 1 q\r\nx\r\nmn\r\n", Expected::Batch),
        (b"quit\r\n", Expected::Replies(0)),
        // Without a length that is one, nothing but an error follows.
        (b"set a 0 0 x\r\n", Expected::Message),
    ] {
        assert_eq!(request(bytes), (Framing::Complete(bytes.len()), expected), "{}", bytes.escape_ascii());
        for end in 0..bytes.len() {
            assert_eq!(frame_request(Protocol::Memcached, &bytes[..end]), Framing::Incomplete);
        }
    }
    let many = [&b"get"[..], &b" key".repeat(10_000), b"\r\n"].concat();
    assert_eq!(request(&many).0, Framing::Complete(many.len()));
    assert_eq!(request(&b"x".repeat(LINE_MAX as usize + 1)).0, Framing::Invalid);
}

#[test]
fn responses_end_as_they_say() {
    let whole = |expected, bytes: &[u8]| {
        assert_eq!(
            frame_response(Protocol::Memcached, expected, bytes),
            Framing::Complete(bytes.len()),
            "{}",
            bytes.escape_ascii()
        );
        for end in 0..bytes.len() {
            let framing = frame_response(Protocol::Memcached, expected, &bytes[..end]);
            assert_eq!(framing, Framing::Incomplete, "{end}");
        }
    };
    whole(Expected::Message, b"STORED\r\n");
    whole(Expected::Message, b"VALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 1 9\r\nx\r\nEND\r\n");
    whole(Expected::Message, b"STAT pid 1\r\nSTAT x y\r\nEND\r\n");
    whole(Expected::Message, b"SERVER_ERROR out of memory\r\n");
    whole(Expected::Message, b"VA 2 t0\r\nhi\r\n");
    whole(Expected::Message, b"key=a exp=-1\r\nEND\r\n");
    whole(Expected::Message, b"42\r\n");
    whole(Expected::Batch, b"VA 2\r\nhi\r\nHD\r\nMN\r\n");
    let redis = frame_response(Protocol::Memcached, Expected::Message, b"$1\r\na\r\n");
    assert_eq!(redis, Framing::Invalid, "the answer of Redis to `get a`");
}

#[test]
fn quiet_binary_reads_are_one_with_what_ends_them() {
    let packet = |magic: u8, operation: u8, body: &[u8]| {
        let mut bytes =
            alloc::vec![magic, operation, 0, body.len() as u8, 0, 0, 0, 0, 0, 0, 0, body.len() as u8];
        bytes.extend_from_slice(&[0; 12]);
        [&bytes, body].concat()
    };
    let batch = [packet(0x80, 0x0d, b"a"), packet(0x80, 0x0d, b"b"), packet(0x80, 0x0a, b"")].concat();
    assert_eq!(request(&batch), (Framing::Complete(batch.len()), Expected::Message));
    let quiet = packet(0x80, 0x11, b"a");
    assert_eq!(request(&quiet), (Framing::Complete(quiet.len()), Expected::Replies(0)));
    let response = [packet(0x81, 0x0d, b"a"), packet(0x81, 0x0a, b"")].concat();
    let framing = frame_response(Protocol::Memcached, Expected::Message, &response);
    assert_eq!(framing, Framing::Complete(response.len()));
    let stats = [packet(0x81, 0x10, b"x"), packet(0x81, 0x10, b"")].concat();
    let framing = frame_response(Protocol::Memcached, Expected::Message, &stats);
    assert_eq!(framing, Framing::Complete(stats.len()));
    // The answer to the first read comes before the batch is complete.
    let mut conversation = Conversation::new();
    conversation.request(&packet(0x80, 0x0d, b"a"));
    assert!(!conversation.response(&packet(0x81, 0x0d, b"a")).ends);
    assert!(conversation.request(&packet(0x80, 0x0a, b"")).ends);
    assert!(conversation.response(&packet(0x81, 0x0a, b"")).ends);
}

#[test]
fn a_response_under_way_does_not_keep_what_has_none() {
    let mut conversation = Conversation::new();
    conversation.request(b"get a\r\n");
    assert!(!conversation.response(b"VALUE a 0 3\r\nx").ends);
    assert!(conversation.request(b"delete b noreply\r\n").unanswered);
    assert!(conversation.request(b"get c\r\n").ends);
    assert!(conversation.response(b"yz\r\nEND\r\n").ends);
    let part = conversation.response(b"END\r\n");
    assert!(part.ends && !part.unasked);
}

#[test]
fn a_stream_stays_what_it_began_as() {
    let mut framer = ResponseFramer::default();
    assert_eq!(framer.push(Expected::Message, b"VALUE a 0 1\r\nx\r\n"), Step::More);
    assert_eq!(framer.push(Expected::Message, b"\x81\x01\r\n"), Step::End(4), "a line like any other");
}
