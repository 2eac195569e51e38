//! Client packets of the MySQL protocol.

use super::Reader;
use super::value::{self, Value};
use crate::mysql::capability;
use crate::state::Prepared;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// One command of the command phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// `COM_QUERY` is 3, `COM_STMT_PREPARE` 22, ...
    pub code: u8,
    /// What follows the code.
    pub body: &'a [u8],
    /// The statement that it names by the number that the server gave it, where that is known: see
    /// [`ConnectionState`](crate::ConnectionState).
    pub(crate) prepared: Option<&'a Prepared>,
    /// Client and server agreed on attributes of queries.
    pub(crate) attributes: bool,
}

/// `COM_QUIT`.
pub const QUIT: u8 = 1;
/// `COM_INIT_DB`.
pub const INIT_DB: u8 = 2;
/// `COM_QUERY`.
pub const QUERY: u8 = 3;
/// `COM_PING`.
pub const PING: u8 = 14;
/// `COM_CHANGE_USER`.
pub const CHANGE_USER: u8 = 17;
/// `COM_STMT_PREPARE`.
pub const STATEMENT_PREPARE: u8 = 22;
/// `COM_STMT_EXECUTE`.
pub const STATEMENT_EXECUTE: u8 = 23;
/// `COM_STMT_SEND_LONG_DATA`.
pub const STATEMENT_SEND_LONG_DATA: u8 = 24;
/// `COM_STMT_CLOSE`.
pub const STATEMENT_CLOSE: u8 = 25;
/// `COM_STMT_RESET`.
pub const STATEMENT_RESET: u8 = 26;
/// `COM_STMT_FETCH`.
pub const STATEMENT_FETCH: u8 = 28;
/// `COM_RESET_CONNECTION`.
pub const RESET_CONNECTION: u8 = 31;
/// MariaDB's `COM_STMT_BULK_EXECUTE`.
pub const STATEMENT_BULK_EXECUTE: u8 = 250;

const NAMES: [(u8, &str); 20] = [
    (QUIT, "COM_QUIT"),
    (INIT_DB, "COM_INIT_DB"),
    (QUERY, "COM_QUERY"),
    (4, "COM_FIELD_LIST"),
    (7, "COM_REFRESH"),
    (9, "COM_STATISTICS"),
    (10, "COM_PROCESS_INFO"),
    (12, "COM_PROCESS_KILL"),
    (PING, "COM_PING"),
    (CHANGE_USER, "COM_CHANGE_USER"),
    (18, "COM_BINLOG_DUMP"),
    (STATEMENT_PREPARE, "COM_STMT_PREPARE"),
    (STATEMENT_EXECUTE, "COM_STMT_EXECUTE"),
    (STATEMENT_SEND_LONG_DATA, "COM_STMT_SEND_LONG_DATA"),
    (STATEMENT_CLOSE, "COM_STMT_CLOSE"),
    (STATEMENT_RESET, "COM_STMT_RESET"),
    (27, "COM_SET_OPTION"),
    (STATEMENT_FETCH, "COM_STMT_FETCH"),
    (RESET_CONNECTION, "COM_RESET_CONNECTION"),
    (STATEMENT_BULK_EXECUTE, "COM_STMT_BULK_EXECUTE"),
];

const LAST_COMMAND: u8 = 32;

/// Of `COM_STMT_EXECUTE`: how many parameters there are is told, attributes included.
const PARAMETER_COUNT: u8 = 8;
/// Of `COM_STMT_BULK_EXECUTE`: the types of the parameters are told.
const SEND_TYPES: u16 = 128;

/// The payload and the number of a request that is one whole packet.
fn packet(request: &[u8]) -> Option<(&[u8], u8)> {
    let mut reader = Reader::new(request);
    let [low, middle, high, sequence] = reader.array::<4>()?;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    (length == reader.rest().len()).then_some((reader.rest(), sequence))
}

impl<'a> Command<'a> {
    /// Decodes one command packet: its length is that of the request, and its sequence number is 0.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let (payload, sequence) = packet(request)?;
        let (&code, body) = payload.split_first().filter(|_| sequence == 0)?;
        let known = code <= LAST_COMMAND || code == STATEMENT_BULK_EXECUTE;
        known.then_some(Self { code, body, prepared: None, attributes: false })
    }

    /// The statement, where the command carries one, or names one that is known.
    pub fn sql(&self) -> Option<&'a [u8]> {
        match self.code {
            QUERY => Some(self.query()),
            STATEMENT_PREPARE => Some(self.body),
            _ => self.prepared.map(Prepared::sql),
        }
    }

    /// The statement of `COM_QUERY`, which may follow attributes.
    fn query(&self) -> &'a [u8] {
        let behind = || {
            let mut reader = Reader::new(self.body);
            let count = reader.lenenc()?;
            let sets = reader.lenenc()?;
            let count = u16::try_from(count).ok().filter(|_| sets == 1)?;
            let mut attributes = Parameters::new(reader, count, true, &[], &[])?;
            attributes.by_ref().for_each(drop);
            (!attributes.broken).then_some(attributes.reader)
        };
        // No statement begins with a count, whether or not attributes were agreed on.
        match self.body.first() {
            Some(0..=8) => behind().map_or(self.body, |reader| reader.rest()),
            _ => self.body,
        }
    }

    /// The number that the server gave to the statement which the command names.
    pub fn statement_id(&self) -> Option<u32> {
        let names = matches!(
            self.code,
            STATEMENT_EXECUTE
                | STATEMENT_SEND_LONG_DATA
                | STATEMENT_CLOSE
                | STATEMENT_RESET
                | STATEMENT_FETCH
                | STATEMENT_BULK_EXECUTE
        );
        Reader::new(self.body).u32_le().filter(|_| names)
    }

    /// What follows that number: the rows to fetch, the number of the parameter and the data for it.
    pub fn rest(&self) -> &'a [u8] {
        self.body.get(4..).unwrap_or_default()
    }

    /// The values for the placeholders of the statement, row after row, where they are told and it is known how
    /// many there are and of which types.
    pub fn parameters(&self) -> Option<Parameters<'a>> {
        let prepared = self.prepared?;
        let mut reader = Reader::new(self.rest());
        if self.code == STATEMENT_BULK_EXECUTE {
            let flags = u16::from_le_bytes(reader.array()?);
            return Parameters::bulk(reader, prepared, flags & SEND_TYPES != 0);
        }
        if self.code != STATEMENT_EXECUTE {
            return None;
        }
        let flags = reader.u8()?;
        let _iterations = reader.u32_le()?;
        let mut count = prepared.parameters;
        if self.attributes && (count > 0 || flags & PARAMETER_COUNT != 0) {
            count = u16::try_from(reader.lenenc()?).ok()?;
        }
        Parameters::new(reader, count, self.attributes, &prepared.types, &prepared.long_data)
    }

    /// The name of the command, for people.
    pub fn name(&self) -> &'static str {
        NAMES.iter().find(|(code, _)| *code == self.code).map_or("command", |(_, name)| name)
    }
}

/// The values for the placeholders of a statement.
#[derive(Debug, Clone)]
pub struct Parameters<'a> {
    reader: Reader<'a>,
    index: u16,
    count: u16,
    /// A bit for each that is NULL; `None`: each value says it itself, and rows follow one another.
    nulls: Option<&'a [u8]>,
    /// The type of each, and whether it has no sign, as they are told on the wire.
    types: Cow<'a, [u32]>,
    /// What was sent ahead, by the number of the parameter.
    long_data: &'a [(u16, Vec<u8>)],
    broken: bool,
}

impl<'a> Parameters<'a> {
    /// The types of the values, where the request told them.
    pub(crate) fn told_types(self) -> Option<Vec<u32>> {
        match self.types {
            Cow::Owned(types) => Some(types),
            Cow::Borrowed(_) => None,
        }
    }

    fn new(
        mut reader: Reader<'a>,
        count: u16,
        named: bool,
        known: &'a [u32],
        long_data: &'a [(u16, Vec<u8>)],
    ) -> Option<Self> {
        let mut types = Cow::Borrowed(known);
        let mut nulls = &[][..];
        if count > 0 {
            nulls = reader.take(usize::from(count).div_ceil(8))?;
            if reader.u8()? == 1 {
                types = Cow::Owned(read_types(&mut reader, count, named)?);
            }
        }
        Some(Self { reader, index: 0, count, nulls: Some(nulls), types, long_data, broken: false })
    }

    fn bulk(mut reader: Reader<'a>, prepared: &'a Prepared, typed: bool) -> Option<Self> {
        let count = prepared.parameters;
        let types = match typed {
            true => Cow::Owned(read_types(&mut reader, count, false)?),
            false => Cow::Borrowed(&prepared.types[..]),
        };
        (count > 0).then_some(Self {
            reader,
            index: 0,
            count,
            nulls: None,
            types,
            long_data: &[],
            broken: false,
        })
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let index = usize::from(self.index);
        if let Some((_, data)) = self.long_data.iter().find(|(number, _)| usize::from(*number) == index) {
            return Some(Value::Bytes(data));
        }
        let is_null = match self.nulls {
            Some(nulls) => nulls.get(index / 8)? >> (index % 8) & 1 != 0,
            None => self.reader.u8()? != 0,
        };
        if is_null {
            return Some(Value::Null);
        }
        typed(&mut self.reader, *self.types.get(index)?)
    }
}

fn read_types(reader: &mut Reader<'_>, count: u16, named: bool) -> Option<Vec<u32>> {
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(u32::from(u16::from_le_bytes(reader.array()?)));
        if named {
            reader.lenenc_bytes()?;
        }
    }
    Some(types)
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.index == self.count && self.nulls.is_none() && !self.reader.is_empty() {
            self.index = 0;
        }
        if self.index >= self.count || self.broken {
            return None;
        }
        let value = self.value();
        self.index += 1;
        self.broken = value.is_none();
        value
    }
}

/// A value in the form of the binary protocol.
fn typed<'a>(reader: &mut Reader<'a>, kind: u32) -> Option<Value<'a>> {
    const TIME: u8 = 11;
    let [kind, flags, ..] = kind.to_le_bytes();
    let whole = |digits: &[u8]| {
        let number = digits.iter().rev().fold(0u64, |number, digit| number << 8 | u64::from(*digit));
        let unused = 64 - 8 * digits.len() as u32;
        // The sign is in the highest bit of the type.
        let signed = (number << unused) as i64 >> unused;
        if flags & 0x80 == 0 { Value::Integer(signed) } else { Value::unsigned(number) }
    };
    Some(match kind {
        6 => Value::Null,
        1 => whole(reader.take(1)?),
        2 | 13 => whole(reader.take(2)?),
        3 | 9 => whole(reader.take(4)?),
        8 => whole(reader.take(8)?),
        4 => Value::Double(f64::from(f32::from_le_bytes(reader.array()?))),
        5 => Value::Double(f64::from_le_bytes(reader.array()?)),
        7 | 10 | 12 | TIME => {
            let length = usize::from(reader.u8()?);
            moment(reader.take(length)?, kind == TIME)?
        }
        249..=252 => Value::Bytes(reader.lenenc_bytes()?),
        _ => Value::Text(Cow::Borrowed(reader.lenenc_bytes()?)),
    })
}

/// A date, a date and time, or a time, which may be more than a day or negative.
fn moment(bytes: &[u8], is_time: bool) -> Option<Value<'static>> {
    use core::fmt::Write;
    let mut reader = Reader::new(bytes);
    let mut text = String::new();
    let mut days = 0;
    // Writing to a string cannot fail.
    if !is_time {
        let year = if bytes.is_empty() { 0 } else { u16::from_le_bytes(reader.array()?) };
        let [month, day] = reader.array().unwrap_or_default();
        let _ = write!(text, "{year:04}-{month:02}-{day:02}");
        if reader.is_empty() {
            return Some(Value::Time(text));
        }
        text.push(' ');
    } else if !bytes.is_empty() {
        if reader.u8()? == 1 {
            text.push('-');
        }
        days = i64::from(reader.u32_le()?);
    }
    let [hours, minutes, seconds] = reader.array::<3>().unwrap_or_default().map(i64::from);
    let fraction = reader.u32_le().map_or(0, i64::from);
    let seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    value::clock(&mut text, seconds * 1_000_000 + fraction);
    Some(Value::Time(text))
}

/// The packet with which a client logs in (`HandshakeResponse41`), or becomes another user. What it proves with
/// depends on the server's salt and is different on every connection; who it is and what it wants is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// The capabilities that the client claims.
    pub capabilities: u32,
    /// The user.
    pub user: &'a [u8],
    /// The salted proof.
    pub proof: &'a [u8],
    /// The database, where the packet names one.
    pub database: &'a [u8],
}

impl<'a> Login<'a> {
    /// Decodes a login packet, or `None`.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let (payload, sequence) = packet(request)?;
        if sequence == 0 || sequence > 2 {
            return None;
        }
        let mut reader = Reader::new(payload);
        let capabilities = reader.u32_le()?;
        let _largest_packet = reader.u32_le()?;
        let _character_set = reader.u8()?;
        let reserved = reader.take(19)?;
        // MariaDB says what else it can do in the four bytes after these.
        let _extended = reader.take(4)?;
        if capabilities & capability::PROTOCOL_41 == 0 || reserved.iter().any(|byte| *byte != 0) {
            return None;
        }
        let user = reader.zero_terminated()?;
        let proof = if capabilities & capability::PLUGIN_AUTH_LENENC != 0 {
            reader.lenenc_bytes()?
        } else {
            let length = reader.u8()?;
            reader.take(usize::from(length))?
        };
        let names = capabilities & capability::CONNECT_WITH_DB != 0;
        let database = if names { reader.zero_terminated().unwrap_or_default() } else { &[] };
        Some(Self { capabilities, user, proof, database })
    }

    /// Decodes the body of `COM_CHANGE_USER`.
    pub fn change(command: &Command<'a>) -> Option<Self> {
        let mut reader = Reader::new(command.body);
        let user = reader.zero_terminated().filter(|_| command.code == CHANGE_USER)?;
        let length = reader.u8()?;
        let proof = reader.take(usize::from(length))?;
        Some(Self { capabilities: 0, user, proof, database: reader.zero_terminated().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements() {
        let query = Command::parse(b"\x09\0\0\0\x03SELECT 1").expect("a command");
        assert_eq!((query.name(), query.sql()), ("COM_QUERY", Some(&b"SELECT 1"[..])));
        let with_attributes = Command::parse(b"\x0b\0\0\0\x03\0\x01SELECT 1").expect("a command");
        assert_eq!(with_attributes.sql(), Some(&b"SELECT 1"[..]));
        // One attribute, a string `k` of value `v`.
        let one = Command::parse(b"\x13\0\0\0\x03\x01\x01\0\x01\xfe\0\x01k\x01vSELECT 1").expect("a command");
        assert_eq!(one.sql(), Some(&b"SELECT 1"[..]));
        let quit = Command::parse(b"\x01\0\0\0\x01").expect("a command");
        assert_eq!((quit.name(), quit.sql()), ("COM_QUIT", None));
        assert!(Command::parse(b"\x09\0\0\0\x03SELECT 12").is_none(), "the length is wrong");
        assert!(Command::parse(b"\x09\0\0\x01\x03SELECT 1").is_none(), "not the start of a command");
        assert!(Command::parse(b"\0\0\0\0").is_none());
    }

    #[test]
    fn logins() {
        let mut body: Vec<u8> = Vec::new();
        body.extend_from_slice(&0x001a_a28d_u32.to_le_bytes());
        body.extend_from_slice(&0xc000_0000_u32.to_le_bytes());
        body.push(8);
        body.extend_from_slice(&[0; 23]);
        body.extend_from_slice(b"wp\0\x03abcshop\0mysql_native_password\0");
        let mut packet = alloc::vec![u8::try_from(body.len()).expect("short"), 0, 0, 1];
        packet.extend_from_slice(&body);
        let login = Login::parse(&packet).expect("a login");
        assert_eq!((login.user, login.proof, login.database), (&b"wp"[..], &b"abc"[..], &b"shop"[..]));
        for end in 0..packet.len() {
            assert!(Login::parse(&packet[..end]).is_none());
        }
        let change = Command::parse(b"\x0d\0\0\0\x11wp\0\x03abcshop\0").expect("a command");
        let login = Login::change(&change).expect("a change of user");
        assert_eq!((login.user, login.proof, login.database), (&b"wp"[..], &b"abc"[..], &b"shop"[..]));
    }

    #[test]
    fn values_of_each_type() {
        let value = |kind: u32, bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let value = typed(&mut reader, kind).expect("whole");
            assert!(reader.is_empty());
            value.text().escape_ascii().to_string()
        };
        assert_eq!(value(1, b"\xff"), "-1");
        assert_eq!(value(0x8001, b"\xff"), "255");
        assert_eq!(value(2, b"\xfe\xff"), "-2");
        assert_eq!(value(3, b"\x07\0\0\0"), "7");
        assert_eq!(value(0x8008, &[0xff; 8]), "18446744073709551615");
        assert_eq!(value(8, &[0xff; 8]), "-1");
        assert_eq!(value(4, &1.25f32.to_le_bytes()), "1.25");
        assert_eq!(value(5, &2.5f64.to_le_bytes()), "2.5");
        assert_eq!(value(6, b""), "NULL");
        assert_eq!(value(10, b"\x04\xea\x07\x01\x02"), "2026-01-02");
        assert_eq!(value(12, b"\x07\xea\x07\x01\x02\x03\x04\x05"), "2026-01-02 03:04:05");
        assert_eq!(value(7, b"\x0b\xea\x07\x01\x02\x03\x04\x05\x40\x42\x0f\0"), "2026-01-02 03:04:06");
        assert_eq!(value(7, b"\0"), "0000-00-00");
        assert_eq!(value(11, b"\x08\x01\x01\0\0\0\x02\x03\x04"), "-26:03:04");
        assert_eq!(value(253, b"\x02hi"), "hi");
        assert_eq!(value(252, b"\xfc\x02\0hi"), "hi");
    }
}
