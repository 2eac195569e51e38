use super::*;
use crate::{Framing, Protocol, frame_response};
use alloc::string::String;
use proptest::prelude::*;

/// The ends of the messages in `stream`, cut into pieces at `cuts`; negative where the protocol switches.
fn requests(stream: &[u8], cuts: &[usize]) -> Result<Vec<i64>, Vec<i64>> {
    let mut framer = RequestFramer::default();
    ends(stream, cuts, |piece| framer.push(piece))
}

fn responses(expected: Expected, stream: &[u8], cuts: &[usize]) -> Result<Vec<i64>, Vec<i64>> {
    let mut framer = ResponseFramer::default();
    ends(stream, cuts, |piece| framer.push(expected, piece))
}

pub(crate) fn ends(
    stream: &[u8],
    cuts: &[usize],
    mut push: impl FnMut(&[u8]) -> Step,
) -> Result<Vec<i64>, Vec<i64>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let mut found = Vec::new();
    for cut in cuts.windows(2) {
        let (mut at, end) = (cut[0], cut[1]);
        while at < end {
            match push(&stream[at..end]) {
                Step::More => at = end,
                Step::End(length) => {
                    assert!(length > 0 && at + length <= end);
                    at += length;
                    found.push(at as i64);
                }
                Step::Switch(length) => {
                    found.push(-((at + length) as i64));
                    return Ok(found);
                }
                Step::Invalid => return Err(found),
            }
        }
    }
    Ok(found)
}

#[test]
fn a_name_is_content_length_as_any_comparison_says() {
    assert!(is_content_length("Content-Length") && is_content_length("CONTENT-LENGTH"));
    assert!(!is_content_length("content-lengths") && !is_content_length("content"));
    for at in 0..14 {
        for byte in (0x21..0x7f_u8).chain([b'\t', b' ']) {
            let mut name = *b"content-length";
            name[at] = byte;
            let name = core::str::from_utf8(&name).unwrap();
            assert_eq!(is_content_length(name), name.eq_ignore_ascii_case("content-length"), "{name}");
        }
    }
}

#[test]
fn a_request_ends_with_its_head_or_its_body() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(requests(get.as_bytes(), &[]), Ok(vec![get.len() as i64]));
    let pipelined = String::from(get) + post + get + "GET /unfinished";
    let (get, post) = (get.len() as i64, post.len() as i64);
    assert_eq!(requests(pipelined.as_bytes(), &[]), Ok(vec![get, get + post, get + post + get]));
}

#[test]
fn a_chunked_body_ends_after_its_trailer() {
    let whole = b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, Chunked\r\n\r\n\
        5;name=value\r\nhello\r\nA \r\n0123456789\r\n0\r\nDigest: x\r\n\r\n";
    assert_eq!(requests(whole, &[]), Ok(vec![whole.len() as i64]));
    assert_eq!(requests(&whole[..whole.len() - 2], &[]), Ok(vec![]));
    let plain = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(requests(plain, &[]), Ok(vec![plain.len() as i64]));
    for broken in [&b"x\r\n"[..], b"\r\n", b"3\r\nabcd", b"fffffffffffffffff\r\n", b"3x\r\n"] {
        let stream = [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", broken].concat();
        assert_eq!(requests(&stream, &[]), Err(vec![]), "{}", broken.escape_ascii());
    }
}

#[test]
fn contradictory_lengths_are_invalid() {
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let stream = alloc::format!("POST / HTTP/1.1\r\n{headers}\r\nhello");
        assert_eq!(requests(stream.as_bytes(), &[]), Err(vec![]), "{headers}");
    }
    let same = b"POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello";
    assert_eq!(requests(same, &[]), Ok(vec![same.len() as i64]));
}

#[test]
fn empty_lines_before_a_request_belong_to_it() {
    let stream = b"\r\n\nGET / HTTP/1.1\r\n\r\n";
    assert_eq!(requests(stream, &[1, 2, 3]), Ok(vec![stream.len() as i64]));
}

#[test]
fn a_response_depends_on_its_request() {
    let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let head = with_length.len() as i64 - 3;
    assert_eq!(responses(Expected::Message, with_length, &[]), Ok(vec![head + 3]));
    assert_eq!(responses(Expected::NoBody, &with_length[..head as usize], &[]), Ok(vec![head]));
    assert_eq!(responses(Expected::Tunnel, with_length, &[]), Ok(vec![-head]));
    let refused = b"HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(responses(Expected::Tunnel, refused, &[]), Ok(vec![refused.len() as i64]));
}

#[test]
fn some_statuses_have_no_body() {
    for status in ["204 No Content", "304 Not Modified"] {
        let head = alloc::format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\n");
        assert_eq!(responses(Expected::Message, head.as_bytes(), &[]), Ok(vec![head.len() as i64]));
    }
}

#[test]
fn interim_responses_belong_to_the_final_one() {
    let stream = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(responses(Expected::Message, stream, &[]), Ok(vec![stream.len() as i64]));
    assert_eq!(responses(Expected::Message, stream, &[3, 25, 40]), Ok(vec![stream.len() as i64]));
}

#[test]
fn an_upgrade_ends_http() {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let stream = [head, &b"\x81\x02hi"[..]].concat();
    assert_eq!(responses(Expected::Message, &stream, &[]), Ok(vec![-(head.len() as i64)]));
}

#[test]
fn a_response_without_length_ends_with_its_stream() {
    let stream = b"HTTP/1.0 200 OK\r\n\r\nsome bytes";
    let mut framer = ResponseFramer::default();
    assert_eq!(framer.push(Expected::Message, &stream[..10]), Step::More);
    assert!(!framer.ends_with_stream());
    assert_eq!(framer.push(Expected::Message, &stream[10..]), Step::More);
    assert!(framer.ends_with_stream());
    assert_eq!(frame_response(Protocol::Http, Expected::Message, stream), Framing::UntilClose);
}

#[test]
fn many_headers_are_still_a_head() {
    let mut stream = String::from("GET / HTTP/1.1\r\n");
    for _ in 0..1000 {
        stream += "X-Header: value\r\n";
    }
    stream += "Content-Length: 1\r\n\r\n!";
    assert_eq!(requests(stream.as_bytes(), &[]), Ok(vec![stream.len() as i64]));
}

#[test]
fn a_head_without_end_is_given_up() {
    let stream = vec![b'a'; HEAD_MAX + 1];
    assert_eq!(requests(&stream, &[]), Err(vec![]));
    assert_eq!(requests(&stream, &[HEAD_MAX / 2]), Err(vec![]));
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        Just(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        Just(b"\r\nHEAD / HTTP/1.0\n\n".to_vec()),
        body.clone().prop_map(|body| {
            let head = alloc::format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        }),
        prop::collection::vec(body, 0..4).prop_map(|chunks| {
            let mut message = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                message.extend(alloc::format!("{:x}\r\n", chunk.len()).bytes());
                message.extend(chunk);
                message.extend(b"\r\n");
            }
            message.extend(b"0\r\n\r\n");
            message
        }),
    ]
}

proptest! {
    #[test]
    fn pieces_frame_like_the_whole(
        messages in prop::collection::vec(request(), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let stream = messages.concat();
        let mut end = 0;
        let wanted: Vec<i64> = messages.iter().map(|message| { end += message.len() as i64; end }).collect();
        prop_assert_eq!(requests(&stream, &[]), Ok(wanted.clone()));
        prop_assert_eq!(requests(&stream, &cuts), Ok(wanted));
    }

    #[test]
    fn arbitrary_pieces_frame_like_the_whole(
        bytes in r"(GET / HTTP/1.1\r\n|HTTP/1.1 [0-9]{3} \r\n)?((Content-Length: [0-9]{1,2}|transfer-encoding: chunked|[ -~]{0,9})\r?\n){0,3}(\r\n)?([0-9a-f;]\r?\n?|\PC|\r\n){0,30}",
        tail in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let stream = [bytes.as_bytes(), &tail].concat();
        prop_assert_eq!(requests(&stream, &cuts), requests(&stream, &[]));
        for expected in [Expected::Message, Expected::NoBody, Expected::Tunnel] {
            prop_assert_eq!(responses(expected, &stream, &cuts), responses(expected, &stream, &[]));
        }
    }
}
