//! The captured conversations, and the talks that they consist of.

use koala_protocol::Conversation;
use std::collections::VecDeque;
use std::path::Path;

/// A capture: who spoke, and what.
pub(crate) fn capture(name: &str) -> Vec<(bool, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/captures").join(name);
    let text = std::fs::read_to_string(&path).expect("the capture");
    text.lines()
        .map(|line| {
            let digits = line.as_bytes()[1..].chunks(2);
            let byte =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
            (line.starts_with('>'), digits.map(byte).collect())
        })
        .collect()
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Talk {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) asked: bool,
    pub(crate) request_ended: bool,
    pub(crate) response_ended: bool,
    pub(crate) unanswered: bool,
}

/// The talks of a capture that arrives in pieces of at most `piece` bytes, and the conversation after them.
pub(crate) fn talks(capture: &[(bool, Vec<u8>)], piece: usize) -> (Vec<Talk>, Conversation) {
    let mut conversation = Conversation::new();
    let mut talks: Vec<Talk> = Vec::new();
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let (mut request, mut unasked) = (0, 0);
    for (client, bytes) in capture {
        for mut rest in bytes.chunks(piece) {
            while !rest.is_empty() {
                let part = if *client { conversation.request(rest) } else { conversation.response(rest) };
                let (now, after) = rest.split_at(part.length);
                rest = after;
                if part.ends_earlier {
                    for talk in waiting.drain(..) {
                        talks[talk].response_ended = true;
                    }
                }
                if *client {
                    if part.begins {
                        request = talks.len();
                        waiting.push_back(request);
                        talks.push(Talk { asked: true, ..Talk::default() });
                    }
                    talks[request].request.extend_from_slice(now);
                    talks[request].request_ended |= part.ends;
                    if part.unanswered {
                        talks[request].unanswered = true;
                        waiting.pop_back();
                    }
                    continue;
                }
                let talk = match waiting.front() {
                    Some(first) if !part.unasked => *first,
                    _ => {
                        if part.begins {
                            unasked = talks.len();
                            talks.push(Talk::default());
                        }
                        unasked
                    }
                };
                talks[talk].response.extend_from_slice(now);
                talks[talk].response_ended |= part.ends;
                if part.ends && !part.unasked {
                    waiting.pop_front();
                }
            }
        }
    }
    (talks, conversation)
}
