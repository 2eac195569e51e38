//! Framing of Thrift over its framed transport, binary and compact. Without frames nothing short of decoding a call
//! tells where it ends: its messages are told apart by their direction.

use crate::Expected;
use crate::packets::{After, Length, Messages, byte, u32_be};

/// A frame longer than this is not believed.
const FRAME_MAX: u32 = 1 << 28;

fn length(head: &[u8]) -> Length {
    match (u32_be(head, 0), head) {
        (
            Some(length @ 5..=FRAME_MAX),
            [_, _, _, _, 0x80, 1, ..] | [_, _, _, _, 0x82, 0x21 | 0x41 | 0x61 | 0x81, ..],
        ) => Length::Bytes(4 + u64::from(length)),
        (Some(5..=FRAME_MAX), [_, _, _, _] | [_, _, _, _, 0x80 | 0x82]) | (None, _) => Length::Unknown,
        _ => Length::Invalid,
    }
}

/// Whether a client's first bytes are a frame; `None`: more will tell.
pub(crate) fn detect(bytes: &[u8]) -> Option<bool> {
    match length(bytes) {
        Length::Bytes(_) => Some(bytes.first() == Some(&0)),
        Length::Unknown => None,
        Length::Invalid => Some(false),
    }
}

/// The side of the caller.
#[derive(Clone, Debug, Default)]
pub struct Requests;

impl Messages for Requests {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        length(head)
    }

    fn packet(&mut self, head: &[u8], _: u64, expected: &mut Expected) -> After {
        let kind = if byte(head, 4) == 0x80 { byte(head, 7) } else { byte(head, 5) >> 5 };
        *expected = if kind == 4 { Expected::Replies(0) } else { Expected::Message };
        After::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detection, Framing, Protocol, detect_request, frame_request};

    #[test]
    fn frames_and_their_responses() {
        let binary = b"\0\0\0\x0f\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07";
        let compact = b"\0\0\0\x08\x82\x21\x07\x04ping";
        for (request, nothing) in [
            (&binary[..], false),
            (&compact[..], false),
            (b"\0\0\0\x0f\x80\x01\0\x04\0\0\0\x04ping\0\0\0\x07", true),
            (b"\0\0\0\x08\x82\x81\x07\x04ping", true),
        ] {
            assert_eq!(detect_request(request), Detection::Is(Protocol::Thrift));
            assert_eq!(Expected::of(Protocol::Thrift, request).nothing(), nothing);
        }
        assert_eq!(frame_request(Protocol::Thrift, compact), Framing::Complete(compact.len()));
        assert_eq!(frame_request(Protocol::Thrift, &binary[..9]), Framing::Incomplete);
        assert_eq!(detect(b"\0\0\0\x08\x81"), Some(false));
        assert_eq!(detect(b"\0\0\0\x08\x82"), None);
    }
}
