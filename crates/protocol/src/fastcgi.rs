//! Framing of FastCGI: a request goes from `FCGI_BEGIN_REQUEST` to the empty record that ends its last stream, a
//! response up to `FCGI_END_REQUEST`. Requests that are interleaved on one connection, which no known server does,
//! are one message, and so are their responses.

use crate::Expected;
use crate::packets::{After, Length, Messages, byte};

/// Types of records.
pub(crate) mod record {
    pub(crate) const BEGIN_REQUEST: u8 = 1;
    pub(crate) const ABORT_REQUEST: u8 = 2;
    pub(crate) const END_REQUEST: u8 = 3;
    pub(crate) const PARAMS: u8 = 4;
    pub(crate) const STDIN: u8 = 5;
    pub(crate) const DATA: u8 = 8;
    pub(crate) const GET_VALUES: u8 = 9;
    pub(crate) const GET_VALUES_RESULT: u8 = 10;
    pub(crate) const UNKNOWN_TYPE: u8 = 11;
}

const AUTHORIZER: u8 = 2;
const FILTER: u8 = 3;

fn length(head: &[u8]) -> Length {
    match *head {
        [1, 1..=11, _, _, high, low, padding, _, ..] => {
            Length::Bytes(8 + u64::from(u16::from_be_bytes([high, low])) + u64::from(padding))
        }
        [] | [1] | [1, 1..=11, ..] => Length::Unknown,
        _ => Length::Invalid,
    }
}

/// Whether a client's first bytes are a record; `None`: more will tell.
pub(crate) fn detect(bytes: &[u8]) -> Option<bool> {
    // A request begins; or the client asks for the limits of the server.
    const BEGIN: [Option<u8>; 10] =
        [Some(1), Some(1), None, None, Some(0), Some(8), None, None, Some(0), None];
    const VALUES: [Option<u8>; 4] = [Some(1), Some(record::GET_VALUES), Some(0), Some(0)];
    let fits = |pattern: &[Option<u8>]| {
        let same =
            pattern.iter().zip(bytes).all(|(wanted, byte)| wanted.is_none_or(|wanted| wanted == *byte));
        same.then_some(bytes.len() >= pattern.len())
    };
    match fits(&BEGIN).or_else(|| fits(&VALUES)) {
        None => Some(false),
        Some(true) => {
            Some(matches!(bytes, [1, record::GET_VALUES, ..] | [_, _, _, _, _, _, _, _, _, 1..=FILTER, ..]))
        }
        Some(false) => None,
    }
}

/// The side of the web server.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Requests of the message under way.
    begun: u32,
    /// Those of them that are not complete.
    open: u32,
    role: u8,
}

impl Messages for Requests {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        length(head)
    }

    fn packet(&mut self, head: &[u8], _: u64, expected: &mut Expected) -> After {
        let empty = byte(head, 4) == 0 && byte(head, 5) == 0;
        let ended = match byte(head, 1) {
            record::BEGIN_REQUEST => {
                self.begun = self.begun.saturating_add(1);
                self.open = self.open.saturating_add(1);
                self.role = byte(head, 9);
                false
            }
            record::PARAMS => empty && self.role == AUTHORIZER,
            record::STDIN => empty && self.role != FILTER,
            record::DATA => empty,
            record::ABORT_REQUEST => true,
            record::GET_VALUES if self.open == 0 => {
                self.begun = 1;
                true
            }
            _ => false,
        };
        self.open = self.open.saturating_sub(u32::from(ended));
        if !ended || self.open > 0 {
            return After::More;
        }
        *expected = Expected::Replies(core::mem::take(&mut self.begun));
        After::End
    }
}

/// The side of the application.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    done: u32,
}

impl Messages for Responses {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        length(head)
    }

    fn packet(&mut self, head: &[u8], _: u64, expected: &mut Expected) -> After {
        let ends =
            matches!(byte(head, 1), record::END_REQUEST | record::GET_VALUES_RESULT | record::UNKNOWN_TYPE);
        self.done += u32::from(ends);
        if !ends || matches!(expected, Expected::Replies(wanted) if self.done < *wanted) {
            return After::More;
        }
        self.done = 0;
        After::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detection, Framing, Protocol, detect_request, frame_request, frame_response};
    use alloc::vec::Vec;

    fn record(kind: u8, id: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![1, kind, 0, id, 0, content.len() as u8, 3, 0];
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(b"pad");
        bytes
    }

    fn begin(id: u8, role: u8) -> Vec<u8> {
        record(record::BEGIN_REQUEST, id, &[0, role, 1, 0, 0, 0, 0, 0])
    }

    #[test]
    fn a_request_ends_with_its_last_stream() {
        let stream = |kind, id| [record(kind, id, b"x"), record(kind, id, b"")].concat();
        for (role, streams) in [
            (1, &[record::PARAMS, record::STDIN][..]),
            (AUTHORIZER, &[record::PARAMS]),
            (FILTER, &[record::PARAMS, record::STDIN, record::DATA]),
        ] {
            let mut request = begin(1, role);
            request.extend(streams.iter().flat_map(|kind| stream(*kind, 1)));
            assert_eq!(detect_request(&request), Detection::Is(Protocol::FastCgi));
            let all = [&request[..], &begin(1, role)].concat();
            assert_eq!(
                frame_request(Protocol::FastCgi, &all),
                Framing::Complete(request.len()),
                "role {role}"
            );
            for end in 0..request.len() {
                assert_eq!(frame_request(Protocol::FastCgi, &request[..end]), Framing::Incomplete);
            }
        }
    }

    #[test]
    fn interleaved_requests_are_one_message() {
        let request = [
            begin(1, 1),
            record(record::PARAMS, 1, b""),
            begin(2, 1),
            record(record::STDIN, 1, b""),
            record(record::STDIN, 2, b""),
        ]
        .concat();
        assert_eq!(frame_request(Protocol::FastCgi, &request), Framing::Complete(request.len()));
        let expected = Expected::of(Protocol::FastCgi, &request);
        let end = |id| record(record::END_REQUEST, id, &[0; 8]);
        let response = [record(6, 2, b"out"), end(2), record(6, 1, b"out"), end(1)].concat();
        let framing = frame_response(Protocol::FastCgi, expected, &response);
        assert_eq!(framing, Framing::Complete(response.len()));
    }

    #[test]
    fn limits_are_asked_for_and_told() {
        let request = record(record::GET_VALUES, 0, b"\x0e\0FCGI_MAX_CONNS");
        assert_eq!(detect_request(&request), Detection::Is(Protocol::FastCgi));
        assert_eq!(frame_request(Protocol::FastCgi, &request), Framing::Complete(request.len()));
        let response = record(record::GET_VALUES_RESULT, 0, b"");
        let expected = Expected::of(Protocol::FastCgi, &request);
        assert_eq!(frame_response(Protocol::FastCgi, expected, &response), Framing::Complete(response.len()));
    }

    #[test]
    fn an_abort_of_nothing_has_no_response() {
        assert!(Expected::of(Protocol::FastCgi, &record(record::ABORT_REQUEST, 1, b"")).nothing());
        assert_eq!(frame_request(Protocol::FastCgi, b"\x02\x01"), Framing::Invalid);
        assert_eq!(detect(b"\x01\x01\0\x01\0\x08\0\0\0\x09"), Some(false), "no role");
    }
}
