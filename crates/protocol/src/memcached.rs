//! Framing of memcached's protocols: text with its meta commands, and binary.
//!
//! Quiet commands (`mg key q`, `GetKQ`) are answered only where there is something to say, and what tells that
//! nothing more comes is the answer to the first command that is not quiet (`mn`, `Noop`): together they are one
//! request. Commands with `noreply`, and binary ones that quietly write, are requests without a response.

use crate::packets::{After, Length, Messages, Packets, byte, u32_be};
use crate::{Expected, Step};
use alloc::vec::Vec;
use memchr::memchr;

/// So much of a line is looked at: longer ones name many keys, and nothing else.
const LINE_HEAD: usize = 512;
/// A line longer than this is none.
const LINE_MAX: u64 = 1 << 20;

const REQUEST_MAGIC: u8 = 0x80;
const RESPONSE_MAGIC: u8 = 0x81;
/// Of the binary protocol.
const HEADER: usize = 24;

/// What a command of the text protocol looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) name: &'static [u8],
    /// The words that it needs besides its name.
    pub(crate) least: u8,
    /// Which word is the length of the data that follow it; 0: none do.
    pub(crate) data: u8,
    /// Such a line tells that a connection is memcached's.
    telling: bool,
}

const fn form(name: &'static [u8], least: u8, data: u8) -> Form {
    Form { name, least, data, telling: true }
}

/// The commands that are known; all others are one line, answered by one.
const FORMS: [Form; 26] = [
    form(b"get", 1, 0),
    form(b"gets", 1, 0),
    form(b"set", 4, 4),
    form(b"add", 4, 4),
    form(b"replace", 4, 4),
    form(b"append", 4, 4),
    form(b"prepend", 4, 4),
    form(b"cas", 5, 4),
    form(b"gat", 2, 0),
    form(b"gats", 2, 0),
    form(b"delete", 1, 0),
    form(b"incr", 2, 0),
    form(b"decr", 2, 0),
    form(b"touch", 2, 0),
    form(b"mg", 1, 0),
    form(b"ms", 2, 2),
    form(b"md", 1, 0),
    form(b"ma", 1, 0),
    form(b"me", 1, 0),
    form(b"mn", 0, 0),
    form(b"version", 0, 0),
    form(b"stats", 0, 0),
    form(b"flush_all", 0, 0),
    form(b"verbosity", 1, 0),
    Form { telling: false, ..form(b"quit", 0, 0) },
    Form { telling: false, ..form(b"shutdown", 0, 0) },
];

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).filter(|word| !word.is_empty())
}

/// What is known of the command in a line.
pub(crate) fn form_of(line: &[u8]) -> Option<Form> {
    let name = words(line).next()?;
    FORMS.into_iter().find(|form| form.name == name)
}

/// The length of the data that follow a line, without the end of their line.
pub(crate) fn data_length(line: &[u8], form: Form) -> Option<u64> {
    let digits = words(line).nth(usize::from(form.data)).filter(|_| form.data > 0)?;
    core::str::from_utf8(digits).ok()?.parse().ok().filter(|length| *length < 1 << 32)
}

/// Whether a client's first bytes are memcached's; `None`: more will tell.
pub(crate) fn detect(bytes: &[u8]) -> Option<bool> {
    if bytes.first() == Some(&REQUEST_MAGIC) {
        let head = bytes.get(..HEADER.min(bytes.len())).unwrap_or_default();
        return match binary_length(head, REQUEST_MAGIC) {
            Length::Unknown => None,
            Length::Bytes(_) => Some(true),
            Length::Invalid => Some(false),
        };
    }
    let end = memchr(b'\n', bytes.get(..LINE_HEAD.min(bytes.len())).unwrap_or_default());
    let Some(line) = end.and_then(|end| bytes.get(..end)) else {
        let word = bytes.split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
        let begins = |form: &Form| {
            form.telling
                && if word.len() < bytes.len() { form.name == word } else { form.name.starts_with(word) }
        };
        return if FORMS.iter().any(begins) && bytes.len() < LINE_HEAD { None } else { Some(false) };
    };
    let is = |form: &Form| {
        form.telling
            && words(line).count() > usize::from(form.least)
            && (form.data == 0 || data_length(line, *form).is_some())
    };
    Some(line.ends_with(b"\r") && form_of(line).as_ref().is_some_and(is))
}

/// Lines, and the data that follow some of them.
#[derive(Clone, Debug, Default)]
struct Lines {
    head: Vec<u8>,
    length: u64,
    /// So many bytes of data, and of the end of their line, are to come.
    data: u64,
}

/// What a line does.
enum Line {
    /// So many bytes of data follow, and the message goes on or ends after them.
    Data(u64, After),
    After(After),
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8]) -> Line, after_data: &mut After) -> Step {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let after = if self.data > 0 {
                let here = self.data.min(rest.len() as u64);
                self.data -= here;
                at += here as usize;
                if self.data > 0 {
                    return Step::More;
                }
                *after_data
            } else {
                let end = memchr(b'\n', rest).map(|end| end + 1);
                let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                self.length += text.len() as u64;
                let room = LINE_HEAD.saturating_sub(self.head.len()).min(text.len());
                self.head.extend_from_slice(text.get(..room).unwrap_or_default());
                at += text.len();
                if self.length > LINE_MAX {
                    return Step::Invalid;
                }
                if end.is_none() {
                    return Step::More;
                }
                self.length = 0;
                let head = core::mem::take(&mut self.head);
                match line(&head) {
                    Line::After(after) => after,
                    Line::Data(length, after) => {
                        self.data = length + 2;
                        *after_data = after;
                        continue;
                    }
                }
            };
            match after {
                After::More => {}
                After::Invalid => return Step::Invalid,
                After::End | After::Switch => return Step::End(at),
            }
        }
        Step::More
    }
}

/// Finds the ends of memcached requests.
#[derive(Clone, Debug, Default)]
pub struct RequestFramer {
    begun: bool,
    text: Lines,
    binary: Option<Packets<Requests>>,
    after_data: After,
    /// Quiet meta commands are in the request under way.
    quiet: bool,
    expected: Expected,
}

impl RequestFramer {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        // The first byte of the stream tells.
        if !core::mem::replace(&mut self.begun, true) && bytes.first() == Some(&REQUEST_MAGIC) {
            self.binary = Some(Packets::default());
        }
        if let Some(binary) = &mut self.binary {
            return binary.push(bytes);
        }
        let Self { text, after_data, quiet, expected, .. } = self;
        text.push(
            bytes,
            |line| {
                let all = words(line);
                let form = form_of(line);
                let name = form.map(|form| form.name).unwrap_or_default();
                let data = form.and_then(|form| data_length(line, form));
                let meta = matches!(name, b"mg" | b"ms" | b"md" | b"ma");
                let after = if meta && all.clone().skip(2).any(|flag| flag == b"q") {
                    *quiet = true;
                    After::More
                } else {
                    let silent = all.last() == Some(b"noreply") || matches!(name, b"quit" | b"shutdown");
                    *expected = match core::mem::take(quiet) {
                        true if name == b"mn" => Expected::Batch,
                        _ if silent => Expected::Replies(0),
                        _ => Expected::Message,
                    };
                    After::End
                };
                match data {
                    Some(length) => Line::Data(length, after),
                    None => Line::After(after),
                }
            },
            after_data,
        )
    }

    /// What response the request gets.
    pub fn expected(&self) -> Expected {
        match &self.binary {
            Some(binary) => binary.expected,
            None => self.expected,
        }
    }
}

/// Finds the ends of memcached responses.
#[derive(Clone, Debug, Default)]
pub struct ResponseFramer {
    begun: bool,
    text: Lines,
    binary: Option<Packets<Responses>>,
    after_data: After,
}

impl ResponseFramer {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, expected: Expected, bytes: &[u8]) -> Step {
        // The first byte of the stream tells.
        if !core::mem::replace(&mut self.begun, true) && bytes.first() == Some(&RESPONSE_MAGIC) {
            self.binary = Some(Packets::default());
        }
        if let Some(binary) = &mut self.binary {
            return binary.push(bytes);
        }
        self.text.push(
            bytes,
            |line| {
                let name = words(line).next().unwrap_or_default();
                let last =
                    if expected == Expected::Batch && name != b"MN" { After::More } else { After::End };
                let value = |form| data_length(line, form);
                match name {
                    b"VALUE" => value(form(b"", 0, 3)).map(|length| Line::Data(length, After::More)),
                    b"VA" => value(form(b"", 0, 1)).map(|length| Line::Data(length, last)),
                    b"STAT" | b"ITEM" => Some(Line::After(After::More)),
                    _ if name.starts_with(b"key=") => Some(Line::After(After::More)),
                    // Redis, asked in lines.
                    [b'+' | b'-' | b'$' | b'*' | b':' | b'%' | b'_', ..] => None,
                    _ => Some(Line::After(last)),
                }
                .unwrap_or(Line::After(After::Invalid))
            },
            &mut self.after_data,
        )
    }
}

/// Operations of the binary protocol that are answered only if they find something.
fn is_quiet_read(operation: u8) -> bool {
    // GetQ, GetKQ, GATQ, GATKQ.
    matches!(operation, 0x09 | 0x0d | 0x1e | 0x24)
}

/// Operations of the binary protocol that write, and are answered only if they fail.
fn is_quiet_write(operation: u8) -> bool {
    // SetQ to FlushQ, AppendQ, PrependQ.
    matches!(operation, 0x11..=0x1a)
}

fn binary_length(head: &[u8], magic: u8) -> Length {
    if head.first().is_some_and(|first| *first != magic)
        || head.get(1).is_some_and(|operation| *operation > 0x4a)
    {
        return Length::Invalid;
    }
    let Some(body) = u32_be(head, 8) else { return Length::Unknown };
    let key = u16::from_be_bytes([byte(head, 2), byte(head, 3)]);
    // The type of the data is reserved; extras and key are part of the body.
    let least = u32::from(key) + u32::from(byte(head, 4));
    if byte(head, 5) != 0 || !(least..=0x4000_0000).contains(&body) {
        return Length::Invalid;
    }
    if head.len() < HEADER { Length::Unknown } else { Length::Bytes(HEADER as u64 + u64::from(body)) }
}

/// The client's side of the binary protocol.
#[derive(Clone, Debug, Default)]
pub struct Requests;

impl Messages for Requests {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        binary_length(head, REQUEST_MAGIC)
    }

    fn packet(&mut self, head: &[u8], _: u64, expected: &mut Expected) -> After {
        let operation = byte(head, 1);
        if is_quiet_read(operation) {
            return After::More;
        }
        *expected = if is_quiet_write(operation) { Expected::Replies(0) } else { Expected::Message };
        After::End
    }
}

/// The server's side of the binary protocol.
#[derive(Clone, Debug, Default)]
pub struct Responses;

impl Messages for Responses {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        binary_length(head, RESPONSE_MAGIC)
    }

    fn packet(&mut self, head: &[u8], length: u64, _: &mut Expected) -> After {
        let operation = byte(head, 1);
        // Statistics end with an empty one.
        let stat =
            operation == 0x10 && length > HEADER as u64 && u32_be(head, 4).is_some_and(|it| it & 0xffff == 0);
        if is_quiet_read(operation) || is_quiet_write(operation) || stat { After::More } else { After::End }
    }
}

#[cfg(test)]
#[path = "memcached_tests.rs"]
mod tests;
