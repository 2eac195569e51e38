use super::*;
use crate::http::tests::ends;
use alloc::string::String;
use proptest::prelude::*;

fn requests(stream: &[u8], cuts: &[usize]) -> Result<Vec<i64>, Vec<i64>> {
    let mut framer = RequestFramer::default();
    ends(stream, cuts, |piece| framer.push(piece))
}

fn responses(expected: Expected, stream: &[u8], cuts: &[usize]) -> Result<Vec<i64>, Vec<i64>> {
    let mut framer = ResponseFramer::default();
    ends(stream, cuts, |piece| framer.push(expected, piece))
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = alloc::format!("*{}\r\n", words.len());
    for word in words {
        bytes += &alloc::format!("${}\r\n{word}\r\n", word.len());
    }
    bytes.into_bytes()
}

/// What each of `commands` on one connection expects.
fn expected(commands: &[&[&str]]) -> Vec<Expected> {
    let mut framer = RequestFramer::default();
    commands
        .iter()
        .map(|words| {
            let bytes = command(words);
            assert_eq!(framer.push(&bytes), Step::End(bytes.len()));
            framer.expected()
        })
        .collect()
}

#[test]
fn each_value_ends_where_it_should() {
    for value in [
        "+OK\r\n",
        "-ERR no\r\n",
        ":-12\r\n",
        "$5\r\nhello\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5e3\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "!5\r\nERR x\r\n",
        "=7\r\ntxt:abc\r\n",
        "%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:1\r\n:2\r\n",
        "~2\r\n:1\r\n:2\r\n",
        "|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n",
        "*2\r\n|1\r\n+ttl\r\n:1\r\n:7\r\n:8\r\n",
        "$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n",
        "*?\r\n:1\r\n*2\r\n:1\r\n:2\r\n*?\r\n.\r\n.\r\n",
        "%?\r\n+a\r\n:1\r\n.\r\n",
    ] {
        let stream = String::from(value) + value + "+rest";
        let length = value.len() as i64;
        let wanted = Ok(vec![length, 2 * length]);
        assert_eq!(responses(Expected::Message, stream.as_bytes(), &[]), wanted, "{value:?}");
        let all: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(responses(Expected::Message, stream.as_bytes(), &all), wanted, "{value:?}");
    }
}

#[test]
fn what_is_no_value_is_invalid() {
    for bytes in [
        "x\r\n",
        "$x\r\n",
        "$1\r\nabc",
        ".\r\n",
        "*1\r\n.\r\n",
        "$99999999999999999999999\r\n",
        "*9999999999999999999\r\n*9999999999999999999\r\n",
    ] {
        assert_eq!(responses(Expected::Message, bytes.as_bytes(), &[]), Err(vec![]), "{bytes:?}");
    }
    let deep = "*?\r\n".repeat(DEPTH_MAX + 2);
    assert_eq!(responses(Expected::Message, deep.as_bytes(), &[]), Err(vec![]));
}

#[test]
fn a_command_is_an_array_or_a_line() {
    let array = command(&["SET", "key", "two\r\nlines"]);
    assert_eq!(requests(&array, &[]), Ok(vec![array.len() as i64]));
    assert_eq!(requests(b"PING\r\nget a\r\n\r\n", &[]), Ok(vec![6, 13, 15]));
    assert_eq!(requests(b"*1\r\n:1\r\n", &[]), Err(vec![]));
}

#[test]
fn commands_say_how_many_replies_they_get() {
    assert_eq!(
        expected(&[&["GET", "a"], &["subscribe", "a", "b"], &["PUNSUBSCRIBE"], &["UNSUBSCRIBE", "a", "b"]]),
        [
            Expected::Replies(1),
            Expected::Confirmations(2),
            Expected::Confirmations(1),
            Expected::Confirmations(2)
        ]
    );
    assert_eq!(
        expected(&[
            &["CLIENT", "REPLY", "SKIP"],
            &["GET", "a"],
            &["GET", "a"],
            &["client", "reply", "off"],
            &["GET", "a"],
            &["SUBSCRIBE", "a"],
            &["CLIENT", "REPLY", "ON"],
            &["GET", "a"],
            &["CLIENT", "LIST"],
        ])
        .iter()
        .map(|expected| expected.nothing())
        .collect::<Vec<_>>(),
        [true, true, false, true, true, true, false, false, false]
    );
    assert_eq!(Expected::of(crate::Protocol::Redis, b"SUBSCRIBE a b c\r\n"), Expected::Confirmations(3));
}

#[test]
fn a_push_is_no_reply() {
    let stream = b">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n$1\r\nx\r\n";
    assert_eq!(responses(Expected::Replies(1), stream, &[]), Ok(vec![stream.len() as i64]));
    let push = stream.len() as i64 - 7;
    assert_eq!(responses(Expected::Message, stream, &[]), Ok(vec![push, push + 7]));
}

#[test]
fn subscriptions_are_confirmed_one_by_one() {
    for marker in ["*", ">"] {
        let confirm = |kind: &str, name: &str, count: u32| {
            let length = kind.len();
            alloc::format!("{marker}3\r\n${length}\r\n{kind}\r\n${}\r\n{name}\r\n:{count}\r\n", name.len())
        };
        let message = alloc::format!("{marker}3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
        let mut framer = ResponseFramer::default();
        let subscribed = confirm("subscribe", "a", 1) + &message + &confirm("subscribe", "b", 2);
        let two = Expected::Confirmations(2);
        assert_eq!(framer.push(two, subscribed.as_bytes()), Step::End(subscribed.len()));
        // A message that nobody asked for, then one before the reply to PING.
        assert_eq!(framer.push(Expected::Message, message.as_bytes()), Step::End(message.len()));
        let pong = message.clone() + "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
        assert_eq!(framer.push(Expected::Replies(1), pong.as_bytes()), Step::End(pong.len()));
        let left = confirm("unsubscribe", "a", 1) + &confirm("unsubscribe", "b", 0);
        assert_eq!(framer.push(two, left.as_bytes()), Step::End(left.len()));
        if marker == "*" {
            // Not subscribed any more: an array like any other.
            assert_eq!(framer.push(Expected::Replies(1), message.as_bytes()), Step::End(message.len()));
        }
    }
    let mut framer = ResponseFramer::default();
    assert_eq!(framer.push(Expected::Confirmations(3), b"-NOPERM no\r\n"), Step::End(12));
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        "[+:_,#-][0-9]{1,5}\r\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20)
            .prop_map(|blob| { [alloc::format!("${}\r\n", blob.len()).as_bytes(), &blob, b"\r\n"].concat() }),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), "[*~>]").prop_map(|(values, marker)| {
                [alloc::format!("{marker}{}\r\n", values.len()).as_bytes(), &values.concat()].concat()
            }),
            prop::collection::vec(inner, 0..5)
                .prop_map(|values| [b"*?\r\n", &values.concat()[..], b".\r\n"].concat()),
        ]
    })
}

proptest! {
    #[test]
    fn pieces_frame_like_the_whole(
        values in prop::collection::vec(value(), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let stream = values.concat();
        let mut end = 0;
        let wanted: Vec<i64> = values.iter().map(|value| { end += value.len() as i64; end }).collect();
        prop_assert_eq!(responses(Expected::Message, &stream, &[]), Ok(wanted.clone()));
        prop_assert_eq!(responses(Expected::Message, &stream, &cuts), Ok(wanted));
    }

    #[test]
    fn a_command_says_the_same_in_pieces(
        commands in prop::collection::vec(
            prop::collection::vec("client|reply|SKIP|off|ON|(p|s|un)?SUBSCRIBE|[a-z\r\n]{0,14}", 0..20),
            0..6,
        ),
    ) {
        let (mut framer, mut byte_by_byte) = (RequestFramer::default(), RequestFramer::default());
        for words in &commands {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let bytes = command(&words);
            prop_assert_eq!(framer.push(&bytes), Step::End(bytes.len()));
            let steps = bytes.chunks(1).map(|byte| byte_by_byte.push(byte));
            prop_assert_eq!(steps.last(), Some(Step::End(1)));
            prop_assert_eq!(framer.expected(), byte_by_byte.expected());
            let (seen, others) = (&framer.scanner.seen, &byte_by_byte.scanner.seen);
            prop_assert_eq!((seen.marker, seen.count, seen.blobs), (others.marker, others.count, others.blobs));
            for (word, other) in seen.words.iter().zip(&others.words) {
                prop_assert_eq!((word.length, word.get()), (other.length, other.get()));
            }
        }
    }

    #[test]
    fn arbitrary_pieces_frame_like_the_whole(
        bytes in r"([*$%~>|:+=;.]-?([0-9]|\?)?\r?\n|subscribe\r\n|message|[a-z ]{0,3}\r\n){0,12}",
        tail in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let stream = [bytes.as_bytes(), &tail].concat();
        prop_assert_eq!(requests(&stream, &cuts), requests(&stream, &[]));
        for expected in [Expected::Message, Expected::Replies(2), Expected::Confirmations(2)] {
            prop_assert_eq!(responses(expected, &stream, &cuts), responses(expected, &stream, &[]));
        }
    }
}
