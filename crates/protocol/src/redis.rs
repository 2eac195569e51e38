//! Redis framing: RESP2 and RESP3, inline commands, pushes, and the `SUBSCRIBE` family.
//!
//! What `UNSUBSCRIBE` without channels is answered with (one confirmation for each channel that the
//! connection was subscribed to) can't be told from its bytes: the first confirmation ends its response, the
//! others count as messages that nobody asked for.

use crate::{Expected, Step};
use alloc::vec::Vec;
use memchr::memchr;

/// A value that is nested deeper in streamed aggregates than this is not taken for Redis.
const DEPTH_MAX: usize = 128;
/// Numbers up to ten times this one are read at once.
const SHORT_MAX: u64 = 1_000_000;
/// An array of more elements is not tried at once: were it not all there, that much would be read twice.
const WHOLE_MAX: u64 = 16;

/// Finds the ends of Redis commands.
#[derive(Clone, Debug, Default)]
pub struct RequestFramer {
    scanner: Scanner,
    expected: Expected,
    replies: Replies,
}

/// What `CLIENT REPLY` said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Replies {
    #[default]
    On,
    Off,
    /// Not to the next command.
    Skip,
}

impl RequestFramer {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        match self.scanner.push::<true>(bytes) {
            Err(NotRedis) => Step::Invalid,
            Ok(None) => {
                self.expected = Expected::Message;
                Step::More
            }
            Ok(Some(end)) => {
                self.expected = self.command();
                Step::End(end)
            }
        }
    }

    /// What response the command gets.
    pub const fn expected(&self) -> Expected {
        self.expected
    }

    fn command(&mut self) -> Expected {
        let seen = &self.scanner.seen;
        let mode = self.replies;
        if mode == Replies::Skip {
            self.replies = Replies::On;
        }
        let [name, second, third] = &seen.words;
        let arguments = u32::try_from(seen.count.saturating_sub(1)).unwrap_or(u32::MAX);
        let expected = match name.length {
            6 if name.is(b"CLIENT") && second.is(b"REPLY") => {
                let on = third.is(b"ON");
                self.replies = match () {
                    () if on => Replies::On,
                    () if third.is(b"OFF") => Replies::Off,
                    () if third.is(b"SKIP") => Replies::Skip,
                    // An error is the reply.
                    () => return Expected::Replies(u32::from(mode == Replies::On)),
                };
                return Expected::Replies(u32::from(on));
            }
            9 | 10 if name.is(b"SUBSCRIBE") || name.is(b"PSUBSCRIBE") || name.is(b"SSUBSCRIBE") => {
                Expected::Confirmations(arguments.max(1))
            }
            11 | 12 if name.is(b"UNSUBSCRIBE") || name.is(b"PUNSUBSCRIBE") || name.is(b"SUNSUBSCRIBE") => {
                Expected::Confirmations(arguments.max(1))
            }
            // An empty command (an empty line, an empty array) is passed over by the server.
            0 if seen.count == 0 => Expected::Replies(0),
            _ => Expected::Replies(1),
        };
        if mode == Replies::On { expected } else { Expected::Replies(0) }
    }
}

/// Finds the ends of Redis responses.
#[derive(Clone, Debug, Default)]
pub struct ResponseFramer {
    scanner: Scanner,
    /// Replies of the response under way that are complete.
    done: u32,
    /// RESP2 messages of subscribed channels look like replies.
    subscribed: bool,
}

impl ResponseFramer {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, expected: Expected, bytes: &[u8]) -> Step {
        let mut at = 0;
        loop {
            match self.scanner.push::<false>(bytes.get(at..).unwrap_or_default()) {
                Err(NotRedis) => return Step::Invalid,
                Ok(None) => return Step::More,
                Ok(Some(end)) => at += end,
            }
            if self.counts(expected) {
                self.done = 0;
                return Step::End(at);
            }
        }
    }

    /// Whether the value that just ended ends the response.
    #[inline]
    fn counts(&mut self, expected: Expected) -> bool {
        let seen = &self.scanner.seen;
        let (aggregate, push) = (matches!(seen.marker, b'*' | b'>'), seen.marker == b'>');
        if !aggregate {
            return match expected {
                Expected::Replies(replies) => self.one_of(replies),
                // An error, or `+QUEUED`, in place of all confirmations.
                _ => true,
            };
        }
        let [name, ..] = &seen.words;
        let confirmation = seen.count == 3
            && matches!(name.length, 9..=12)
            && (name.ends_with(b"subscribe"))
            && (push || !matches!(expected, Expected::Replies(_)) || self.subscribed);
        if confirmation {
            self.subscribed = seen.integer != 0;
        }
        let message = (self.subscribed || push)
            && ((seen.count == 3 && (name.is(b"message") || name.is(b"smessage")))
                || (seen.count == 4 && name.is(b"pmessage")));
        match expected {
            Expected::Confirmations(wanted) => confirmation && self.one_of(wanted),
            Expected::Replies(replies) => !push && !message && !confirmation && self.one_of(replies),
            _ => true,
        }
    }

    fn one_of(&mut self, wanted: u32) -> bool {
        self.done += 1;
        self.done >= wanted
    }
}

/// A word of a command or the kind of a message, as far as it can be one that matters.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// What is behind its length means nothing.
    bytes: [u8; 12],
    length: u32,
}

impl Word {
    /// The word that `bytes` begin with.
    #[inline]
    fn new(bytes: &[u8], length: u32) -> Self {
        match bytes.first_chunk() {
            // Cheaper than to copy no more than is of the word.
            Some(&bytes) => Self { bytes, length },
            None => Self::at_end(bytes, length),
        }
    }

    /// As [`Word::new`], where fewer bytes are there than a word holds.
    #[cold]
    fn at_end(bytes: &[u8], length: u32) -> Self {
        let mut word = Self::default();
        word.extend(bytes);
        Self { length, ..word }
    }

    fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    fn extend(&mut self, bytes: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.length as usize..) {
            for (to, from) in to.iter_mut().zip(bytes) {
                *to = *from;
            }
        }
        self.length = self.length.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }

    fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length as usize)
    }

    fn is(&self, word: &[u8]) -> bool {
        self.length as usize == word.len() && self.get().is_some_and(|bytes| bytes.eq_ignore_ascii_case(word))
    }

    fn ends_with(&self, end: &[u8]) -> bool {
        self.get().is_some_and(|bytes| bytes.ends_with(end))
    }
}

/// What was seen of a top-level value.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Its type byte; 0 for an inline command.
    marker: u8,
    /// Its number of elements, if it is an aggregate; of words, if it is an inline command.
    count: u64,
    /// The first blobs in it.
    words: [Word; 3],
    /// How many blobs began in it.
    blobs: usize,
    /// The last integer in it.
    integer: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// At the type byte of a value.
    #[default]
    Marker,
    /// In the number after this type byte.
    Number { marker: u8, value: u64, digits: bool, negative: bool },
    /// After `$?`, `*?` and the like, before the end of the line.
    StreamLine { marker: u8 },
    /// In a line that does not matter.
    Line,
    /// In a blob: so many bytes of it and of the end of its line are to come.
    Blob { left: u64, word: bool },
    /// At the type byte of a part of a streamed blob.
    PartMarker,
    /// In the number after it.
    PartNumber { value: u64, digits: bool },
    /// In its bytes.
    Part { left: u64 },
    /// In an inline command.
    Inline { inside: bool },
}

struct NotRedis;

/// Finds the ends of RESP values.
#[derive(Clone, Debug, Default)]
struct Scanner {
    state: State,
    /// Values that are to come before the level is complete.
    pending: u64,
    /// The levels above the streamed aggregates that are open: what is pending in each.
    outer: Vec<u64>,
    /// Whether a top-level value is under way.
    inside: bool,
    seen: Seen,
}

impl Scanner {
    /// The number of bytes up to the end of the top-level value, or `None` if it goes on.
    #[inline]
    fn push<const REQUEST: bool>(&mut self, bytes: &[u8]) -> Result<Option<usize>, NotRedis> {
        if !self.inside
            && let Some(end) = self.whole::<REQUEST>(bytes)
        {
            return Ok(Some(end));
        }
        self.step_by_step::<REQUEST>(bytes)
    }

    /// The length of a command, of an array of few blobs or of a blob that `bytes` begin with and that is all there:
    /// nearly always, and then it need not go through the states. What this does not know is left to them.
    #[inline]
    fn whole<const REQUEST: bool>(&mut self, bytes: &[u8]) -> Option<usize> {
        let (&marker, after) = bytes.split_first()?;
        let (count, mut rest) = match marker {
            b'*' => short_number(after).filter(|(count, _)| (1..=WHOLE_MAX).contains(count))?,
            b'$' if !REQUEST => (0, bytes),
            _ => return None,
        };
        let blobs = count.max(1) as usize;
        self.seen = Seen { marker, count, blobs, ..Seen::default() };
        for at in 0..blobs {
            let [b'$', line @ ..] = rest else { return None };
            let (length, blob) = short_number(line)?;
            // Of the end of its line only the last byte counts, as it does for the states.
            let (b'\n', behind) = blob.get(length as usize + 1..)?.split_first()? else { return None };
            if let Some(word) = self.seen.words.get_mut(at) {
                *word = Word::new(blob, length as u32);
            }
            rest = behind;
        }
        Some(bytes.len() - rest.len())
    }

    /// As [`Scanner::push`], wherever the stream is cut.
    #[inline(never)]
    fn step_by_step<const REQUEST: bool>(&mut self, bytes: &[u8]) -> Result<Option<usize>, NotRedis> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let complete = match &mut self.state {
                State::Marker => {
                    at += 1;
                    let complete = self.begin::<REQUEST>(byte)?;
                    if let State::Number { marker, .. } = self.state
                        && let Some((value, rest)) = short_number(bytes.get(at..).unwrap_or_default())
                    {
                        at = bytes.len() - rest.len();
                        self.number(marker, value, false)?
                    } else {
                        complete
                    }
                }
                State::Number { marker, value, digits, negative } => {
                    at += 1;
                    match byte {
                        b'0'..=b'9' => {
                            *value = value
                                .checked_mul(10)
                                .and_then(|value| value.checked_add(u64::from(byte - b'0')))
                                .ok_or(NotRedis)?;
                            *digits = true;
                            false
                        }
                        b'-' | b'+' if !*digits => {
                            *negative |= byte == b'-';
                            false
                        }
                        b'\r' => false,
                        b'\n' if *digits => {
                            let (marker, value, negative) = (*marker, *value, *negative);
                            self.number(marker, value, negative)?
                        }
                        b'?' if !*digits && matches!(*marker, b'$' | b'*' | b'%' | b'~' | b'>' | b'|') => {
                            let marker = *marker;
                            self.state = State::StreamLine { marker };
                            false
                        }
                        _ => return Err(NotRedis),
                    }
                }
                State::StreamLine { marker } => {
                    at += 1;
                    match (byte, *marker) {
                        (b'\r', _) => {}
                        (b'\n', b'$') => self.state = State::PartMarker,
                        (b'\n', _) => {
                            if self.outer.len() == DEPTH_MAX {
                                return Err(NotRedis);
                            }
                            self.outer.push(self.pending);
                            self.pending = 0;
                            self.state = State::Marker;
                        }
                        _ => return Err(NotRedis),
                    }
                    false
                }
                State::Line => match memchr(b'\n', bytes.get(at..).unwrap_or_default()) {
                    Some(found) => {
                        at += found + 1;
                        self.ended()
                    }
                    None => return Ok(None),
                },
                State::Blob { left, word } => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let here = (*left).min(rest.len() as u64);
                    if *word && let Some(to) = self.seen.words.get_mut(self.seen.blobs.wrapping_sub(1)) {
                        let text = (*left).saturating_sub(2).min(here);
                        to.extend(rest.get(..text as usize).unwrap_or_default());
                    }
                    at += here as usize;
                    *left -= here;
                    if *left > 0 {
                        return Ok(None);
                    }
                    if bytes.get(at.wrapping_sub(1)) != Some(&b'\n') {
                        return Err(NotRedis);
                    }
                    self.ended()
                }
                State::PartMarker => {
                    at += 1;
                    if byte != b';' {
                        return Err(NotRedis);
                    }
                    self.state = State::PartNumber { value: 0, digits: false };
                    false
                }
                State::PartNumber { value, digits } => {
                    at += 1;
                    match byte {
                        b'0'..=b'9' => {
                            *value = value
                                .checked_mul(10)
                                .and_then(|value| value.checked_add(u64::from(byte - b'0')))
                                .ok_or(NotRedis)?;
                            *digits = true;
                            false
                        }
                        b'\r' => false,
                        b'\n' if *digits && *value == 0 => self.ended(),
                        b'\n' if *digits => {
                            let left = value.checked_add(2).ok_or(NotRedis)?;
                            self.state = State::Part { left };
                            false
                        }
                        _ => return Err(NotRedis),
                    }
                }
                State::Part { left } => {
                    let here = (*left).min((bytes.len() - at) as u64);
                    at += here as usize;
                    *left -= here;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::PartMarker;
                    false
                }
                State::Inline { inside } => {
                    at += 1;
                    if byte == b'\n' {
                        self.ended()
                    } else {
                        let blank = byte.is_ascii_whitespace();
                        if !blank {
                            if !*inside {
                                self.seen.count += 1;
                            }
                            let word = (self.seen.count as usize).wrapping_sub(1);
                            if let Some(to) = self.seen.words.get_mut(word) {
                                to.push(byte);
                            }
                        }
                        *inside = !blank;
                        false
                    }
                }
            };
            if complete {
                self.inside = false;
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Takes a type byte; whether it ended the top-level value.
    fn begin<const REQUEST: bool>(&mut self, byte: u8) -> Result<bool, NotRedis> {
        let top = !self.inside;
        if top {
            self.inside = true;
            self.pending = 1;
            self.seen = Seen { marker: byte, ..Seen::default() };
        }
        if REQUEST {
            match byte {
                b'*' if top => {}
                b'$' if !top => {}
                b'\n' if top => return Ok(self.ended()),
                _ if top => {
                    self.seen.marker = 0;
                    self.state = State::Inline { inside: false };
                    if !byte.is_ascii_whitespace() {
                        self.seen.count = 1;
                        let [first, ..] = &mut self.seen.words;
                        first.push(byte);
                        self.state = State::Inline { inside: true };
                    }
                    return Ok(false);
                }
                _ => return Err(NotRedis),
            }
        }
        self.state = match byte {
            b'$' | b'*' | b'%' | b'~' | b'>' | b'|' | b'=' | b'!' | b':' => {
                State::Number { marker: byte, value: 0, digits: false, negative: false }
            }
            b'+' | b'-' | b'_' | b'#' | b',' | b'(' => State::Line,
            b'.' if !top && self.pending == 0 => {
                self.pending = self.outer.pop().ok_or(NotRedis)?;
                State::Line
            }
            _ => return Err(NotRedis),
        };
        // In a streamed aggregate an element is counted as it comes.
        if !top && byte != b'.' && self.pending == 0 {
            self.pending = 1;
        }
        Ok(false)
    }

    /// Takes the number of a value; whether it ended the top-level value.
    fn number(&mut self, marker: u8, value: u64, negative: bool) -> Result<bool, NotRedis> {
        let null = negative;
        Ok(match marker {
            b':' => {
                self.seen.integer = value;
                self.ended()
            }
            b'$' | b'=' | b'!' => {
                self.seen.blobs += 1;
                if null {
                    return Ok(self.ended());
                }
                let word = self.seen.blobs <= self.seen.words.len();
                self.state = State::Blob { left: value.checked_add(2).ok_or(NotRedis)?, word };
                false
            }
            _ => {
                let elements = match marker {
                    _ if null => 0,
                    b'%' | b'|' => value.checked_mul(2).ok_or(NotRedis)?,
                    _ => value,
                };
                if self.seen.count == 0 && self.seen.blobs == 0 {
                    self.seen.count = elements;
                }
                self.pending = self.pending.checked_add(elements).ok_or(NotRedis)?;
                self.state = State::Marker;
                // An attribute stands before a value, and is none itself.
                if marker == b'|' { false } else { self.ended() }
            }
        })
    }

    /// A value ended; whether it was the top-level one.
    #[inline]
    fn ended(&mut self) -> bool {
        self.state = State::Marker;
        self.pending = self.pending.saturating_sub(1);
        self.pending == 0 && self.outer.is_empty()
    }
}

/// The number that a line consists of, and what is behind that line, where it is short and all there: nearly always, and
/// then it need not go digit by digit through the states.
#[inline]
fn short_number(line: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut rest) = (0, line);
    while let [digit @ b'0'..=b'9', after @ ..] = rest
        && value < SHORT_MAX
    {
        value = value * 10 + u64::from(digit - b'0');
        rest = after;
    }
    match rest {
        [b'\r', b'\n', behind @ ..] if rest.len() < line.len() => Some((value, behind)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
