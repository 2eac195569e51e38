//! Messages of a PostgreSQL client.

use super::Reader;
use super::value::{self, Value};
use crate::postgres::is_start_up;
use crate::state::Prepared;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The messages of one request: `Q`, or a batch such as Parse, Bind, Describe, Execute, Sync.
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a> {
    reader: Reader<'a>,
    /// What the last few `Parse` messages before this one prepared: a `Bind` may name it in the same request.
    parsed: [Option<Parsed<'a>>; 4],
    /// What was prepared and bound by earlier requests.
    known: &'a [alloc::sync::Arc<Prepared>],
}

/// The name and the statement of a `Parse` message, and the types that it gives to parameters, 4 bytes each.
type Parsed<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// A statement of the simple protocol.
    Query(&'a [u8]),
    /// A statement to be prepared.
    Parse {
        /// The name that the client gives it; empty for the unnamed one.
        name: &'a [u8],
        /// The statement.
        sql: &'a [u8],
    },
    /// Values for a prepared statement.
    Bind {
        /// The portal; empty for the unnamed one.
        portal: &'a [u8],
        /// The prepared statement's name.
        statement: &'a [u8],
        /// The statement, where it is known: prepared in the same request, or in one that the
        /// [`ConnectionState`](crate::ConnectionState) has seen.
        sql: Option<&'a [u8]>,
        /// The values.
        parameters: Parameters<'a>,
    },
    /// A portal to be executed.
    Execute {
        /// The portal; empty for the unnamed one.
        portal: &'a [u8],
        /// The statement and its values, where an earlier request bound them.
        bound: Option<(&'a [u8], Parameters<'a>)>,
        /// How many rows are wanted; 0: all.
        rows: u32,
    },
    /// A statement or portal to be described or closed.
    Named {
        /// `D` to be described, `C` to be closed.
        kind: u8,
        /// `S` for a statement, `P` for a portal.
        what: u8,
        /// Its name.
        name: &'a [u8],
        /// The statement, where it is known.
        sql: Option<&'a [u8]>,
    },
    /// Any other message: its type and its body.
    Other(u8, &'a [u8]),
}

impl<'a> Messages<'a> {
    /// Accepts a request that is nothing but whole messages of a client.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let mut check = Reader::new(request);
        while !check.is_empty() {
            let (kind, body) = message(&mut check)?;
            match kind {
                b'Q' => {
                    body.strip_suffix(&[0])?;
                }
                b'P' | b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'S' | b'X' | b'c' | b'd' | b'f' | b'p' => {}
                _ => return None,
            }
        }
        (!request.is_empty()).then_some(Self { reader: Reader::new(request), parsed: [None; 4], known: &[] })
    }

    /// With what earlier requests prepared and bound.
    pub(crate) fn knowing(self, known: &'a [alloc::sync::Arc<Prepared>]) -> Self {
        Self { known, ..self }
    }

    /// What this request or an earlier one prepared under a name.
    fn statement(&self, name: &[u8]) -> Option<(&'a [u8], Types<'a>)> {
        let parsed = self.parsed.iter().flatten().find(|(prepared, ..)| *prepared == name);
        let found = parsed.map(|(_, sql, types)| (*sql, Types::Told(types)));
        found.or_else(|| {
            let prepared = Prepared::find(self.known, b'S', name)?;
            Some((prepared.sql(), Types::Known(&prepared.types)))
        })
    }

    fn bind(&self, body: &'a [u8]) -> Option<Message<'a>> {
        let (portal, statement, parameters) = bind(body)?;
        let (sql, types) = self.statement(statement).unzip();
        let parameters = Parameters { types: types.unwrap_or(Types::Known(&[])), ..parameters };
        Some(Message::Bind { portal, statement, sql, parameters })
    }

    fn execute(&self, body: &'a [u8]) -> Option<Message<'a>> {
        let mut reader = Reader::new(body);
        let portal = reader.zero_terminated()?;
        let rows = reader.u32_be()?;
        let bound = Prepared::find(self.known, b'P', portal).and_then(|known| {
            let (_, _, parameters) = bind(&known.bound)?;
            Some((known.sql(), Parameters { types: Types::Known(&known.types), ..parameters }))
        });
        Some(Message::Execute { portal, bound, rows })
    }

    fn named(&self, kind: u8, body: &'a [u8]) -> Option<Message<'a>> {
        let mut reader = Reader::new(body);
        let what = reader.u8()?;
        let name = reader.zero_terminated()?;
        let sql = match what {
            b'S' => self.statement(name).map(|(sql, _)| sql),
            _ => Prepared::find(self.known, b'P', name).map(Prepared::sql),
        };
        Some(Message::Named { kind, what, name, sql })
    }
}

/// The next message: its type and its body.
pub(crate) fn message<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let kind = reader.u8()?;
    let length = usize::try_from(reader.u32_be()?).ok()?;
    Some((kind, reader.take(length.checked_sub(4)?)?))
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, body) = message(&mut self.reader)?;
        let message = match kind {
            b'Q' => Some(Message::Query(body.strip_suffix(&[0]).unwrap_or(body))),
            b'P' => parse(body).map(|parsed @ (name, sql, _)| {
                self.parsed.rotate_right(1);
                self.parsed[0] = Some(parsed);
                Message::Parse { name, sql }
            }),
            b'B' => self.bind(body),
            b'E' => self.execute(body),
            b'C' | b'D' => self.named(kind, body),
            _ => None,
        };
        Some(message.unwrap_or(Message::Other(kind, body)))
    }
}

/// The body of a `Parse` message.
pub(crate) fn parse(body: &[u8]) -> Option<Parsed<'_>> {
    let mut reader = Reader::new(body);
    let name = reader.zero_terminated()?;
    let sql = reader.zero_terminated()?;
    let count = reader.u16_be().unwrap_or_default();
    Some((name, sql, reader.take(usize::from(count) * 4).unwrap_or_default()))
}

/// The portal, the statement's name and the values of a `Bind` message.
pub(crate) fn bind(body: &[u8]) -> Option<(&[u8], &[u8], Parameters<'_>)> {
    let mut reader = Reader::new(body);
    let portal = reader.zero_terminated()?;
    let statement = reader.zero_terminated()?;
    let formats = reader.u16_be()?;
    let formats = reader.take(usize::from(formats) * 2)?;
    let left = reader.u16_be()?;
    Some((portal, statement, Parameters { left, index: 0, reader, formats, types: Types::Known(&[]) }))
}

/// The start-up packet: the parameters with which a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartUp<'a> {
    /// The version, or the code of what is asked before a session begins.
    pub code: u32,
    body: &'a [u8],
}

impl<'a> StartUp<'a> {
    /// Decodes a start-up packet, or `None`.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request);
        let length = usize::try_from(reader.u32_be()?).ok()?;
        let code = reader.u32_be()?;
        (length == request.len() && is_start_up(code)).then_some(Self { code, body: reader.rest() })
    }

    /// The parameters: `user`, `database`, `application_name`, ...
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(if self.code >> 16 == 3 { self.body } else { &[] });
        core::iter::from_fn(move || {
            let name = reader.zero_terminated().filter(|name| !name.is_empty())?;
            Some((name, reader.zero_terminated()?))
        })
    }
}

/// The types of parameters, by their object ids in PostgreSQL's catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types<'a> {
    /// As they are told on the wire.
    Told(&'a [u8]),
    Known(&'a [u32]),
}

impl Types<'_> {
    fn get(&self, index: usize) -> u32 {
        match self {
            Self::Told(bytes) => {
                let bytes = bytes.get(index * 4..).and_then(|rest| rest.first_chunk());
                bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
            }
            Self::Known(types) => types.get(index).copied().unwrap_or_default(),
        }
    }
}

/// The values of a Bind message; `None` is SQL's NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters<'a> {
    left: u16,
    index: usize,
    reader: Reader<'a>,
    /// A number of two bytes for each, one for all, or none: all are text.
    formats: &'a [u8],
    types: Types<'a>,
}

impl<'a> Parameters<'a> {
    /// The values by their types: those that are sent in binary form are decoded, where their type is known.
    pub fn values(self) -> impl Iterator<Item = Value<'a>> {
        let (formats, types) = (self.formats, self.types);
        self.enumerate().map(move |(index, bytes)| {
            let Some(bytes) = bytes else { return Value::Null };
            let format = formats.get(if formats.len() == 2 { 1 } else { index * 2 + 1 });
            let kind = types.get(index);
            match format {
                Some(1) => binary(kind, bytes).unwrap_or(Value::Bytes(bytes)),
                _ => Value::Text(Cow::Borrowed(bytes)),
            }
        })
    }
}

impl<'a> Parameters<'a> {
    /// The forms in which the columns of the answer are wanted, two bytes each, as the message has them behind the values:
    /// 0 for text, 1 for binary; one for each column, one for all, or none where all are text. Alike formats are one.
    pub fn result_formats(mut self) -> &'a [u8] {
        while self.next().is_some() {}
        let count = self.reader.u16_be().unwrap_or_default();
        let formats = self.reader.take(usize::from(count) * 2).unwrap_or_default();
        let Some(first) = formats.get(..2) else { return &[] };
        match formats.chunks(2).all(|format| format == first) {
            true if first == [0, 0] => &[],
            true => first,
            false => formats,
        }
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.index += 1;
        let length = self.reader.u32_be()?;
        if length == u32::MAX {
            return Some(None);
        }
        Some(Some(self.reader.take(usize::try_from(length).ok()?)?))
    }
}

/// A value in binary form; `None` where its type is not known, or has another form.
pub(crate) fn binary(kind: u32, bytes: &[u8]) -> Option<Value<'_>> {
    /// From 1970 to 2000.
    const EPOCH_DAYS: i64 = 10_957;
    const DAY: i64 = 86_400_000_000;
    let mut reader = Reader::new(bytes);
    let value = match kind {
        16 => Value::Boolean(reader.u8()? != 0),
        20 => Value::Integer(i64::from_be_bytes(reader.array()?)),
        21 => Value::Integer(i64::from(i16::from_be_bytes(reader.array()?))),
        23 => Value::Integer(i64::from(i32::from_be_bytes(reader.array()?))),
        26 => Value::Integer(i64::from(reader.u32_be()?)),
        700 => Value::Double(f64::from(f32::from_be_bytes(reader.array()?))),
        701 => Value::Double(f64::from_be_bytes(reader.array()?)),
        1082 => Value::Time(value::date(i64::from(i32::from_be_bytes(reader.array()?)) + EPOCH_DAYS)),
        1114 | 1184 => Value::instant(i64::from_be_bytes(reader.array()?).checked_add(EPOCH_DAYS * DAY)?),
        1700 => numeric(&mut reader)?,
        2950 => Value::hex(reader.take(16)?),
        // Behind its version, jsonb is the text of the document.
        3802 if reader.u8()? == 1 => Value::Text(Cow::Borrowed(reader.take(bytes.len() - 1)?)),
        // char, name, text, json, xml, bpchar, varchar.
        18 | 19 | 25 | 114 | 142 | 1042 | 1043 => Value::Text(Cow::Borrowed(reader.take(bytes.len())?)),
        _ => return None,
    };
    reader.is_empty().then_some(value)
}

/// A decimal number: digits to the base of 10,000, and the power of the first.
fn numeric(reader: &mut Reader<'_>) -> Option<Value<'static>> {
    use core::fmt::Write;
    let count = reader.u16_be()?;
    let weight = i32::from(i16::from_be_bytes(reader.array()?));
    let sign = reader.u16_be()?;
    let scale = usize::from(reader.u16_be()?);
    let digits: Vec<u16> = (0..count).map_while(|_| reader.u16_be()).collect();
    if sign & 0x8000 != 0 || digits.len() != usize::from(count) || weight > 1000 || scale > 4000 {
        return None;
    }
    let digit = |power: i32| {
        let at = usize::try_from(weight - power).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or_default()
    };
    let highest = weight.max(0);
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", digit(highest));
    for power in (0..highest).rev() {
        let _ = write!(text, "{:04}", digit(power));
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut power = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", digit(power));
            power -= 1;
        }
        text.truncate(end);
    }
    Some(Value::Text(Cow::Owned(text.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![kind];
        bytes.extend_from_slice(&u32::try_from(body.len() + 4).expect("short").to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn simple_and_extended() {
        let query = message(b'Q', b"SELECT 1\0");
        assert_eq!(
            Messages::parse(&query).expect("valid").collect::<Vec<_>>(),
            [Message::Query(b"SELECT 1")]
        );

        let mut batch = message(b'P', b"s1\0SELECT $1, $2\0\0\x01\0\0\0\x17");
        batch.extend(message(b'B', b"\0s1\0\0\x02\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0"));
        batch.extend(message(b'D', b"P\0"));
        batch.extend(message(b'E', b"\0\0\0\0\x05"));
        batch.extend(message(b'S', b""));
        let all: Vec<_> = Messages::parse(&batch).expect("valid").collect();
        assert_eq!(all[0], Message::Parse { name: b"s1", sql: b"SELECT $1, $2" });
        let Message::Bind { statement, parameters, sql, .. } = all[1] else { panic!("{:?}", all[1]) };
        assert_eq!((statement, sql), (&b"s1"[..], Some(&b"SELECT $1, $2"[..])));
        assert_eq!(parameters.collect::<Vec<_>>(), [Some(&b"\0\0\0\x07"[..]), None]);
        assert_eq!(parameters.values().collect::<Vec<_>>(), [Value::Integer(7), Value::Null]);
        let formats = |tail: &[u8]| {
            let body = [b"\0s1\0\0\0\0\x01\0\0\0\x01a", tail].concat();
            bind(&body).expect("valid").2.result_formats().to_vec()
        };
        for text in [&b""[..], b"\0\0", b"\0\x01\0\0", b"\0\x02\0\0\0\0", b"\0\x02\0\x01"] {
            assert_eq!(formats(text), b"", "{text:?}");
        }
        for binary in [&b"\0\x01\0\x01"[..], b"\0\x02\0\x01\0\x01"] {
            assert_eq!(formats(binary), [0, 1]);
        }
        assert_eq!(formats(b"\0\x02\0\x01\0\0"), [0, 1, 0, 0]);
        assert_eq!(all[2], Message::Named { kind: b'D', what: b'P', name: b"", sql: None });
        assert_eq!(all[3], Message::Execute { portal: b"", bound: None, rows: 5 });
        assert_eq!(all[4], Message::Other(b'S', b""));
    }

    #[test]
    fn start_up() {
        let request = b"\0\0\0\x16\0\x03\0\0user\0app\0a\0b\0\0";
        let start_up = StartUp::parse(request).expect("valid");
        assert_eq!(start_up.parameters().collect::<Vec<_>>(), [(&b"user"[..], &b"app"[..]), (b"a", b"b")]);
        assert_eq!(
            StartUp::parse(b"\0\0\0\x08\x04\xd2\x16\x2f").map(|asked| asked.parameters().count()),
            Some(0)
        );
        assert_eq!(StartUp::parse(b"\0\0\0\x09\0\x03\0\0"), None);
    }

    #[test]
    fn values_of_each_type() {
        let text = |kind, bytes: &[u8]| {
            binary(kind, bytes).map(|value| value.text().escape_ascii().to_string()).unwrap_or_default()
        };
        assert_eq!(text(16, b"\x01"), "true");
        assert_eq!(text(20, &[0xff; 8]), "-1");
        assert_eq!(text(700, &1.25f32.to_be_bytes()), "1.25");
        assert_eq!(text(1082, &9498i32.to_be_bytes()), "2026-01-02");
        assert_eq!(text(1184, &0i64.to_be_bytes()), "2000-01-01 00:00:00");
        assert_eq!(text(3802, b"\x01{}"), "{}");
        assert_eq!(text(25, b"hi"), "hi");
        assert_eq!(text(17, b"hi"), "", "bytes are bytes");
        assert_eq!(text(23, b"\0\0\0\x07\0"), "", "not that type's length");
        for (bytes, expected) in [
            (&b"\0\x02\0\0\0\0\0\x04\0\x7b\x11\x94"[..], "123.4500"),
            (b"\0\x01\0\x01\x40\0\0\0\0\x02", "-20000"),
            (b"\0\x01\xff\xfe\0\0\0\x08\0\x0c", "0.00000012"),
            (b"\0\0\0\0\0\0\0\0", "0"),
            (b"\0\0\0\0\xc0\0\0\0", ""),
        ] {
            assert_eq!(text(1700, bytes), expected);
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let query = message(b'Q', b"SELECT 1\0");
        for end in 0..query.len() {
            assert!(Messages::parse(&query[..end]).is_none());
        }
        assert!(Messages::parse(&message(b'Z', b"I")).is_none(), "a server's message");
        assert!(Messages::parse(b"Q\0\0\0\x01").is_none(), "a length below its own");
    }
}
