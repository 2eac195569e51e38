//! HTTP/1.x framing (RFC 9112).
//!
//! Whether a head is well formed is decided when it is complete and not before, so that the outcome does
//! not depend on how the stream was cut.

use crate::{Expected, Step};
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use memchr::memchr;

/// A head that grows beyond this is not taken for HTTP.
const HEAD_MAX: usize = 1 << 20;
/// So many header lines are parsed without allocating.
const HEADERS: usize = 64;
/// A head with more header lines than this is not taken for HTTP.
const HEADERS_MAX: usize = 8192;

/// Finds the ends of HTTP/1.x requests.
#[derive(Clone, Debug, Default)]
pub struct RequestFramer {
    body: Body,
    head: Head,
    expected: Expected,
}

impl RequestFramer {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        if let Body::Head = self.body {
            self.expected = Expected::Message;
            let head = match self.head.push(bytes, parse_request) {
                Found::More => return Step::More,
                Found::Invalid => return Step::Invalid,
                Found::Head(end, head) => {
                    at = end;
                    head
                }
            };
            self.expected = head.expected;
            self.body = head.body;
        }
        self.body.push(bytes, at)
    }

    /// What response the request gets.
    pub const fn expected(&self) -> Expected {
        self.expected
    }
}

/// Finds the ends of HTTP/1.x responses. Interim responses (`100 Continue`) belong to the one that follows.
#[derive(Clone, Debug, Default)]
pub struct ResponseFramer {
    body: Body,
    head: Head,
}

impl ResponseFramer {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, expected: Expected, bytes: &[u8]) -> Step {
        let mut at = 0;
        while let Body::Head = self.body {
            let rest = bytes.get(at..).unwrap_or_default();
            let head = match self.head.push(rest, parse_response) {
                Found::More => return Step::More,
                Found::Invalid => return Step::Invalid,
                Found::Head(end, head) => {
                    at += end;
                    head
                }
            };
            match head.status {
                101 => return Step::Switch(at),
                100..=199 => continue,
                200..=299 if expected == Expected::Tunnel => return Step::Switch(at),
                204 | 304 => return Step::End(at),
                _ if expected == Expected::NoBody => return Step::End(at),
                _ => self.body = head.body,
            }
        }
        self.body.push(bytes, at)
    }

    /// Whether the end of the stream is the proper end of the response under way.
    pub const fn ends_with_stream(&self) -> bool {
        matches!(self.body, Body::UntilClose)
    }
}

/// What a head says about the rest of its message.
struct Parsed {
    body: Body,
    expected: Expected,
    status: u16,
}

enum Found {
    More,
    Invalid,
    Head(usize, Parsed),
}

/// A head: up to an empty line, after any empty lines before it.
#[derive(Clone, Debug, Default)]
struct Head {
    /// Empty unless the head came in several pieces.
    buffer: Vec<u8>,
    line: Line,
}

impl Head {
    /// Whether nothing of it came yet, but for empty lines before it.
    fn untouched(&self) -> bool {
        self.buffer.is_empty()
    }

    #[inline]
    fn push(&mut self, bytes: &[u8], parse: fn(&[u8]) -> Option<(usize, Parsed)>) -> Found {
        // Mostly it is whole and well formed, and need not be looked through for its end.
        if self.untouched()
            && let Some((length, parsed)) = parse(bytes)
            && length <= HEAD_MAX
        {
            return Found::Head(length, parsed);
        }
        self.push_part(bytes, parse)
    }

    /// As [`Head::push`], of a head that may be of several pieces, or not well formed.
    #[cold]
    fn push_part(&mut self, bytes: &[u8], parse: fn(&[u8]) -> Option<(usize, Parsed)>) -> Found {
        let mut begin = 0;
        if self.untouched() {
            begin = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        }
        let rest = bytes.get(begin..).unwrap_or_default();
        let Some(length) = self.line.find_empty(rest) else {
            if self.buffer.len() + rest.len() > HEAD_MAX {
                return Found::Invalid;
            }
            self.buffer.extend_from_slice(rest);
            return Found::More;
        };
        self.line = Line::Inside;
        let head = rest.get(..length).unwrap_or_default();
        let parsed = if self.buffer.len() + head.len() > HEAD_MAX {
            None
        } else if self.buffer.is_empty() {
            parse(head)
        } else {
            self.buffer.extend_from_slice(head);
            let parsed = parse(&self.buffer);
            // Heads that come in pieces are rare enough: the memory is worth more than the allocation.
            self.buffer = Vec::new();
            parsed
        };
        match parsed {
            Some((_, parsed)) => Found::Head(begin + length, parsed),
            None => Found::Invalid,
        }
    }
}

/// Where in a line a stream of lines is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Inside,
    /// At its first byte.
    Begin,
    /// After a carriage return that is its first byte.
    Return,
}

impl Line {
    /// The number of bytes up to the end of the first empty line.
    fn find_empty(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match *self {
                Self::Inside => match memchr(b'\n', bytes.get(at..)?) {
                    Some(found) => {
                        at += found + 1;
                        *self = Self::Begin;
                    }
                    None => return None,
                },
                _ => match (*self, *bytes.get(at)?) {
                    (_, b'\n') => return Some(at + 1),
                    (Self::Begin, b'\r') => {
                        *self = Self::Return;
                        at += 1;
                    }
                    _ => *self = Self::Inside,
                },
            }
        }
    }
}

/// A request's head that the bytes begin with, and its length; `None` if it is not whole, or not well formed.
fn parse_request(head: &[u8]) -> Option<(usize, Parsed)> {
    let mut few = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut few) {
        Ok(httparse::Status::Complete(length)) => Some((length, request_head(&request)?)),
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = alloc::vec![httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut many);
            match request.parse(head) {
                Ok(httparse::Status::Complete(length)) => Some((length, request_head(&request)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn request_head(request: &httparse::Request<'_, '_>) -> Option<Parsed> {
    let body = match Length::of(request.headers)? {
        Length::None => Body::Length(0),
        Length::Bytes(length) => Body::Length(length),
        Length::Chunked => Body::Chunked(Chunk::default()),
        // Its length can't be known, and RFC 9112 has servers refuse it.
        Length::Coded => return None,
    };
    let expected = match request.method? {
        "HEAD" => Expected::NoBody,
        "CONNECT" => Expected::Tunnel,
        _ => Expected::Message,
    };
    // A CONNECT has no body, whatever it says.
    let body = if expected == Expected::Tunnel { Body::Length(0) } else { body };
    Some(Parsed { body, expected, status: 0 })
}

/// The same of a response.
fn parse_response(head: &[u8]) -> Option<(usize, Parsed)> {
    let mut few = [const { MaybeUninit::uninit() }; HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, head, &mut few) {
        Ok(httparse::Status::Complete(length)) => Some((length, response_head(&response)?)),
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = alloc::vec![httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut response = httparse::Response::new(&mut many);
            match response.parse(head) {
                Ok(httparse::Status::Complete(length)) => Some((length, response_head(&response)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn response_head(response: &httparse::Response<'_, '_>) -> Option<Parsed> {
    let status = response.code?;
    let body = match Length::of(response.headers) {
        Some(Length::Bytes(length)) => Body::Length(length),
        Some(Length::Chunked) => Body::Chunked(Chunk::default()),
        Some(Length::None | Length::Coded) => Body::UntilClose,
        // A broken length matters only where there is a body.
        None if matches!(status, 100..=199 | 204 | 304) => Body::UntilClose,
        None => return None,
    };
    Some(Parsed { body, expected: Expected::Message, status })
}

/// What the headers say about the length of the body.
enum Length {
    None,
    Bytes(u64),
    Chunked,
    /// A transfer coding, but not `chunked` last.
    Coded,
}

impl Length {
    /// `None` if the headers contradict themselves.
    fn of(headers: &[httparse::Header<'_>]) -> Option<Self> {
        let mut length = None;
        let mut codings = None;
        for header in headers {
            match header.name.len() {
                14 if is_content_length(header.name) => {
                    let value = decimal(header.value).or_else(|| repeated(header.value))?;
                    if length.is_some_and(|earlier| earlier != value) {
                        return None;
                    }
                    length = Some(value);
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => codings = Some(header.value),
                _ => {}
            }
        }
        let length = length.map_or(Self::None, Self::Bytes);
        Some(match codings {
            Some(codings) => Self::coded(codings, length),
            None => length,
        })
    }

    /// What a list of transfer codings makes of the `length` of the other headers.
    #[inline(never)]
    fn coded(codings: &[u8], length: Self) -> Self {
        let last = codings.rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
        match () {
            () if last.eq_ignore_ascii_case(b"chunked") => Self::Chunked,
            () if last.eq_ignore_ascii_case(b"identity") => length,
            () => Self::Coded,
        }
    }
}

/// Whether a name is `content-length`, in letters of any case.
#[inline]
fn is_content_length(name: &str) -> bool {
    /// As a number, with small letters for capitals. It makes a hyphen of a carriage return as well, which is in no name.
    fn small(bytes: &[u8; 8]) -> u64 {
        u64::from_ne_bytes(*bytes) | u64::from_ne_bytes([0x20; 8])
    }
    let name = name.as_bytes();
    name.len() == 14
        && name.first_chunk().is_some_and(|first| small(first) == u64::from_ne_bytes(*b"content-"))
        && name.last_chunk().is_some_and(|last| small(last) == u64::from_ne_bytes(*b"t-length"))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The one number that a list is made of.
#[cold]
fn repeated(list: &[u8]) -> Option<u64> {
    let mut values = list.split(|&byte| byte == b',').map(|value| decimal(value.trim_ascii()));
    let first = values.next()??;
    values.all(|value| value == Some(first)).then_some(first)
}

/// How far a message is.
#[derive(Clone, Copy, Debug, Default)]
enum Body {
    /// Its head is not complete.
    #[default]
    Head,
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

impl Body {
    /// Takes `bytes` from `at` on.
    #[inline]
    fn push(&mut self, bytes: &[u8], at: usize) -> Step {
        let end = match self {
            Self::Head | Self::UntilClose => None,
            Self::Length(left) => {
                let here = (bytes.len() - at) as u64;
                if here < *left {
                    *left -= here;
                    None
                } else {
                    Some(at + *left as usize)
                }
            }
            Self::Chunked(chunk) => match chunk.push(bytes, at) {
                Ok(end) => end,
                Err(NotChunked) => return Step::Invalid,
            },
        };
        match end {
            Some(end) => {
                *self = Self::Head;
                Step::End(end)
            }
            None => Step::More,
        }
    }
}

/// Where in a chunked body a stream is.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: bool },
    /// After the digits, before the end of the line.
    Extension { size: u64 },
    /// In the data: so many bytes are to come.
    Data(u64),
    /// In the end of the line after the data.
    DataEnd,
    /// In the lines after the last chunk.
    Trailer(Line),
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Size { size: 0, digits: false }
    }
}

struct NotChunked;

impl Chunk {
    /// The number of bytes up to the end of the body, which goes on at `at`.
    #[inline(never)]
    fn push(&mut self, bytes: &[u8], mut at: usize) -> Result<Option<usize>, NotChunked> {
        while let Some(&byte) = bytes.get(at) {
            match self {
                Self::Size { size, digits } => {
                    at += 1;
                    match (byte as char).to_digit(16) {
                        Some(digit) => {
                            *size = size.checked_mul(16).ok_or(NotChunked)? + u64::from(digit);
                            *digits = true;
                        }
                        None if !*digits => return Err(NotChunked),
                        None if matches!(byte, b'\r' | b'\n' | b';' | b' ' | b'\t') => {
                            let size = *size;
                            *self = Self::Extension { size };
                            at -= usize::from(byte == b'\n');
                        }
                        None => return Err(NotChunked),
                    }
                }
                Self::Extension { size } => {
                    let Some(found) = memchr(b'\n', bytes.get(at..).unwrap_or_default()) else {
                        return Ok(None);
                    };
                    at += found + 1;
                    *self = if *size == 0 { Self::Trailer(Line::Begin) } else { Self::Data(*size) };
                }
                Self::Data(left) => {
                    let here = (bytes.len() - at) as u64;
                    if here < *left {
                        *left -= here;
                        return Ok(None);
                    }
                    at += *left as usize;
                    *self = Self::DataEnd;
                }
                Self::DataEnd => {
                    at += 1;
                    match byte {
                        b'\r' => {}
                        b'\n' => *self = Self::default(),
                        _ => return Err(NotChunked),
                    }
                }
                Self::Trailer(line) => {
                    return Ok(line.find_empty(bytes.get(at..).unwrap_or_default()).map(|found| at + found));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
pub(crate) mod tests;
