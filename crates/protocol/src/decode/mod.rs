//! Decoders: from the bytes of one request to its fields.
//!
//! They serve whoever has to say what a request *means*: the matcher, which compares recorded and
//! present requests field by field, and the reports, which name what differs. A decoder
//! - borrows from the bytes that it is given and copies only where the wire form forces it to
//!   (chunked bodies, percent and backslash escapes);
//! - takes arbitrary bytes without panicking, without unbounded recursion and in time linear in their
//!   length; what is not its protocol is `None`, never a guess;
//! - knows the protocol and nothing of recordings: which field is volatile or tells calls apart is the
//!   matcher's business.
//!
//! Framing (where one message ends) is not done here: [`decode`] is given one whole request.

pub mod fastcgi;
pub mod fields;
pub mod http;
pub mod json;
pub mod memcached;
pub mod mongodb;
pub mod mysql;
pub mod percent;
pub mod postgres;
pub mod redis;
pub mod sql;
pub mod thrift;
pub(crate) mod value;

pub use value::Value;

/// A request whose protocol was recognised from its own bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// An HTTP/1.x request.
    Http(http::Request<'a>),
    /// One or several pipelined Redis commands.
    Redis(redis::Commands<'a>),
    /// A command of memcached.
    Memcached(memcached::Command<'a>),
    /// A command packet of the MySQL client protocol.
    MySql(mysql::Command<'a>),
    /// The login packet of the MySQL client protocol, or a change of user.
    MySqlLogin(mysql::Login<'a>),
    /// Messages of a PostgreSQL client.
    Postgres(postgres::Messages<'a>),
    /// The first packet of a PostgreSQL client.
    PostgresStartUp(postgres::StartUp<'a>),
    /// A call in Thrift's strict binary or compact protocol, framed or not.
    Thrift(thrift::Call<'a>),
    /// A command of MongoDB.
    MongoDb(mongodb::Command<'a>),
    /// A FastCGI request.
    FastCgi(fastcgi::Request<'a>),
    /// Nothing that is known here.
    Unknown(&'a [u8]),
}

/// Recognises and decodes one request.
///
/// Each protocol is accepted only where the whole request has its shape, so the order in which they are
/// tried decides nothing for real traffic. What an earlier request of the same connection said is not known here:
/// see [`ConnectionState::decode`](crate::ConnectionState::decode).
pub fn decode(request: &[u8]) -> Decoded<'_> {
    let decoded = match request.first() {
        Some(b'*') => redis::Commands::parse(request).map(Decoded::Redis),
        Some(1) => fastcgi::Request::parse(request).map(Decoded::FastCgi),
        _ => http::Request::parse(request).map(Decoded::Http),
    };
    decoded
        .or_else(|| {
            let command = mysql::Command::parse(request)?;
            Some(mysql::Login::change(&command).map_or(Decoded::MySql(command), Decoded::MySqlLogin))
        })
        .or_else(|| thrift::Call::parse(request).map(Decoded::Thrift))
        .or_else(|| postgres::Messages::parse(request).map(Decoded::Postgres))
        .or_else(|| postgres::StartUp::parse(request).map(Decoded::PostgresStartUp))
        .or_else(|| mysql::Login::parse(request).map(Decoded::MySqlLogin))
        .or_else(|| mongodb::Command::parse(request).map(Decoded::MongoDb))
        .or_else(|| memcached::Command::parse(request).map(Decoded::Memcached))
        .or_else(|| redis::Commands::parse(request).map(Decoded::Redis))
        .unwrap_or(Decoded::Unknown(request))
}

/// Where `needle`, which is short, begins in `text` first. A search that is faster for long ones takes more room than
/// all else here, which browsers download.
pub(crate) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    memchr::memchr_iter(first, text).find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(needle)))
}

/// A cursor over bytes from outside: every read is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of 7 bits a byte, the lowest first; the highest bit says that another byte follows.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// As [`Reader::varint`], the lowest bit being the sign.
    pub(crate) fn zigzag(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number of MySQL's, whose first byte says how long it is.
    pub(crate) fn lenenc(&mut self) -> Option<u64> {
        let (number, rest) = crate::mysql::number(self.rest)?;
        self.rest = rest;
        Some(number)
    }

    /// Bytes after such a number of them.
    pub(crate) fn lenenc_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.lenenc()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// Up to a zero byte, which is consumed and not part of the answer.
    pub(crate) fn zero_terminated(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.rest)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(decoded: &Decoded<'_>) -> &'static str {
        match decoded {
            Decoded::Http(_) => "http",
            Decoded::Redis(_) => "redis",
            Decoded::Memcached(_) => "memcached",
            Decoded::MySql(_) => "mysql",
            Decoded::MySqlLogin(_) => "mysql login",
            Decoded::Postgres(_) => "postgres",
            Decoded::PostgresStartUp(_) => "postgres start-up",
            Decoded::Thrift(_) => "thrift",
            Decoded::MongoDb(_) => "mongodb",
            Decoded::FastCgi(_) => "fastcgi",
            Decoded::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn each_protocol_is_recognised_by_its_own_bytes() {
        let cases: &[(&[u8], &str)] = &[
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http"),
            (b"*1\r\n$4\r\nPING\r\n", "redis"),
            (b"PING\r\n", "redis"),
            (b"\x09\0\0\0\x03SELECT 1", "mysql"),
            (b"\x01\0\0\0\x01", "mysql"),
            (b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\0", "thrift"),
            (b"Q\0\0\0\x0dSELECT 1\0", "postgres"),
            (b"set a 0 0 1\r\nb\r\n", "memcached"),
            (b"get a\r\n", "memcached"),
            (b"\x06\0\0\0\x11u\0\0d\0", "mysql login"),
            (b"\0\0\0\x09\0\x03\0\0\0", "postgres start-up"),
            (b"\x82\x21\x07\x04ping\0", "thrift"),
            (
                b"\x24\0\0\0\x07\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0",
                "mongodb",
            ),
            (b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0", "fastcgi"),
            (b"", "unknown"),
            (b"hello there", "unknown"),
            (b"*2\r\n$4\r\nPING\r\n", "unknown"),
            (b"\x0a\0\0\0\x03SELECT 1", "unknown"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(name(&decode(bytes)), *expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = name(&decode(&bytes));
        }
    }
}
