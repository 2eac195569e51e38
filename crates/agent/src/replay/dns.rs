//! As much of DNS (RFC 1035) as a replay needs: a question has an id that differs every time.

use std::borrow::Cow;

use crate::replay::talks::DATAGRAMS;

/// Bytes of the header (4.1.1).
const HEADER: usize = 12;

/// Whether a datagram is a standard query with one question (4.1.1, 4.1.2).
pub fn is_query(datagram: &[u8]) -> bool {
    let Some((header, mut rest)) = datagram.split_first_chunk::<HEADER>() else { return false };
    let [_, _, flags, _, questions @ ..] = header;
    // QR and OPCODE are 0; one question, no answer, no authority. What is additional says how to answer (RFC 6891).
    if flags & 0xf8 != 0 || !questions.starts_with(&[0, 1, 0, 0, 0, 0]) {
        return false;
    }
    loop {
        match rest {
            [0, rest @ ..] => return rest.len() >= 4,
            [length @ 1..=63, after @ ..] => match after.get(usize::from(*length)..) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => return false,
        }
    }
}

/// A request as it is matched: a query of DNS without its id.
pub fn without_id<'a>(peer: &str, request: &'a [u8]) -> Cow<'a, [u8]> {
    if peer.starts_with(DATAGRAMS) && is_query(request) {
        let mut request = request.to_vec();
        request.iter_mut().take(2).for_each(|byte| *byte = 0);
        return Cow::Owned(request);
    }
    Cow::Borrowed(request)
}

/// Gives a response the id of the query that it answers now.
pub fn set_id(request: &[u8], response: &mut [u8]) {
    if is_query(request) && response.len() >= HEADER {
        for (to, from) in response.iter_mut().zip(request.iter().take(2)) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(id: [u8; 2], name: &[u8]) -> Vec<u8> {
        let header = [id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        [&header[..], name, &[0, 1, 0, 1, 0, 0, 41]].concat()
    }

    #[test]
    fn the_same_question_is_the_same_request() {
        let (one, two) = (query([1, 2], b"\x02db\x07example\0"), query([9, 9], b"\x02db\x07example\0"));
        assert!(is_query(&one));
        assert_eq!(without_id("udp:10.0.0.1:53", &one), without_id("udp:10.0.0.1:53", &two));
        assert_eq!(without_id("10.0.0.1:53", &one), one);
        let mut response = query([1, 2], b"\x02db\x07example\0");
        set_id(&two, &mut response);
        assert_eq!(response[..2], [9, 9]);
    }

    #[test]
    fn other_datagrams_stay_as_they_are() {
        for other in [&b"a:1|c"[..], b"", b"<30>a log line of some length", &query([1, 2], b"\x3fshort")] {
            assert!(!is_query(other));
            let mut same = other.to_vec();
            set_id(other, &mut same);
            assert_eq!(same, other);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let kept = without_id("udp:1.1.1.1:1", &bytes);
            prop_assert_eq!(kept.len(), bytes.len());
            let mut response = bytes.clone();
            set_id(&bytes, &mut response);
            prop_assert_eq!(response, bytes);
        }
    }
}
