//! Framing of MongoDB's wire protocol: a message is a packet, and each request has one response, but for writes
//! that are not acknowledged. A server that goes on by itself (`exhaustAllowed`) says the rest unasked.

use crate::Expected;
use crate::packets::{After, Length, Messages, u32_le};

/// `maxMessageSizeBytes`.
const MESSAGE_MAX: u32 = 48_000_000;

/// `OP_MSG`.
pub(crate) const OP_MSG: u32 = 2013;
/// `OP_QUERY`.
pub(crate) const OP_QUERY: u32 = 2004;
const OP_COMPRESSED: u32 = 2012;
const OP_REPLY: u32 = 1;

/// Of `OP_MSG`: the sender goes on, or wants no answer.
const MORE_TO_COME: u32 = 2;

fn length(head: &[u8]) -> Length {
    match (u32_le(head, 0), u32_le(head, 12)) {
        (Some(20..=MESSAGE_MAX), None) | (None, _) => Length::Unknown,
        (Some(length @ 20..=MESSAGE_MAX), Some(OP_REPLY | 2001 | 2002 | 2004..=2007 | 2010..=2013)) => {
            Length::Bytes(u64::from(length))
        }
        _ => Length::Invalid,
    }
}

/// Whether a client's first bytes are a message; `None`: more will tell.
pub(crate) fn detect(bytes: &[u8]) -> Option<bool> {
    // The answer to nothing.
    if bytes.get(8..).unwrap_or_default().iter().take(4).any(|byte| *byte != 0) {
        return Some(false);
    }
    // The length is below 2^26, so that no text is one.
    match (bytes.get(3), length(bytes)) {
        (Some(3..), _) | (_, Length::Invalid) => Some(false),
        (_, Length::Unknown) => None,
        (_, Length::Bytes(_)) => Some(matches!(u32_le(bytes, 12), Some(OP_QUERY | OP_COMPRESSED | OP_MSG))),
    }
}

/// The client's side.
#[derive(Clone, Debug, Default)]
pub struct Requests;

impl Messages for Requests {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        length(head)
    }

    fn packet(&mut self, head: &[u8], _: u64, expected: &mut Expected) -> After {
        *expected = match u32_le(head, 12) {
            Some(OP_MSG) if u32_le(head, 16).is_some_and(|flags| flags & MORE_TO_COME != 0) => {
                Expected::Replies(0)
            }
            // Updates, inserts, deletes and the end of cursors, as they were before `OP_MSG`.
            Some(2001 | 2002 | 2006 | 2007) => Expected::Replies(0),
            _ => Expected::Message,
        };
        After::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detection, Framing, Protocol, detect_request, frame_request};
    use alloc::vec::Vec;

    fn message(code: u32, flags: u32) -> Vec<u8> {
        let body = [&flags.to_le_bytes()[..], b"\0\x05\0\0\0\0"].concat();
        let numbers = [16 + body.len() as u32, 7, 0, code];
        numbers.iter().flat_map(|number| number.to_le_bytes()).chain(body).collect()
    }

    #[test]
    fn a_message_is_a_packet() {
        let request = message(OP_MSG, 0);
        assert_eq!(detect_request(&request), Detection::Is(Protocol::MongoDb));
        let all = [&request[..], b"rest"].concat();
        assert_eq!(frame_request(Protocol::MongoDb, &all), Framing::Complete(request.len()));
        for end in 0..request.len() {
            assert_eq!(frame_request(Protocol::MongoDb, &request[..end]), Framing::Incomplete);
        }
        assert_eq!(frame_request(Protocol::MongoDb, b"\0\0\0\x7f and more of it"), Framing::Invalid);
    }

    #[test]
    fn what_is_not_acknowledged_has_no_response() {
        let expected = |bytes: &[u8]| Expected::of(Protocol::MongoDb, bytes);
        assert_eq!(expected(&message(OP_MSG, 0)), Expected::Message);
        assert!(expected(&message(OP_MSG, MORE_TO_COME)).nothing());
        assert!(expected(&message(2002, 0)).nothing());
        assert_eq!(expected(&message(OP_QUERY, 2)), Expected::Message);
    }

    #[test]
    fn other_bytes_are_not_taken_for_a_message() {
        for bytes in [&b"hello world, how are you"[..], &message(99, 0), b"\x10\0\0\0\0\0\0\0\x01"] {
            assert_eq!(detect(bytes), Some(false), "{}", bytes.escape_ascii());
        }
        assert_eq!(detect(&message(OP_MSG, 0)[..15]), None);
    }
}
