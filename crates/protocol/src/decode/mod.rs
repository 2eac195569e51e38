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

pub mod fields;
pub mod http;
pub mod json;
pub mod memcached;
pub mod mysql;
pub mod percent;
pub mod postgres;
pub mod redis;
pub mod sql;
pub mod thrift;

/// A request whose protocol was recognised from its own bytes.
#[derive(Debug, Clone, Copy)]
pub enum Decoded<'a> {
    /// An HTTP/1.x request.
    Http(http::Request<'a>),
    /// One or several pipelined Redis commands.
    Redis(redis::Commands<'a>),
    /// A storage command of memcached.
    Memcached(memcached::Storage<'a>),
    /// A command packet of the MySQL client protocol.
    MySql(mysql::Command<'a>),
    /// The login packet of the MySQL client protocol.
    MySqlLogin(mysql::Login<'a>),
    /// Messages of a PostgreSQL client.
    Postgres(postgres::Messages<'a>),
    /// A call in Thrift's strict binary protocol, framed or not.
    Thrift(thrift::Call<'a>),
    /// Nothing that is known here.
    Unknown(&'a [u8]),
}

/// Recognises and decodes one request.
///
/// Each protocol is accepted only where the whole request has its shape, so the order in which they are
/// tried decides nothing for real traffic.
pub fn decode(request: &[u8]) -> Decoded<'_> {
    match request.first() {
        None => return Decoded::Unknown(request),
        Some(b'*') => {
            if let Some(commands) = redis::Commands::parse(request) {
                return Decoded::Redis(commands);
            }
        }
        Some(_) => {}
    }
    if let Some(http) = http::Request::parse(request) {
        return Decoded::Http(http);
    }
    if let Some(command) = mysql::Command::parse(request) {
        return Decoded::MySql(command);
    }
    if let Some(call) = thrift::Call::parse(request) {
        return Decoded::Thrift(call);
    }
    if let Some(messages) = postgres::Messages::parse(request) {
        return Decoded::Postgres(messages);
    }
    if let Some(login) = mysql::Login::parse(request) {
        return Decoded::MySqlLogin(login);
    }
    if let Some(storage) = memcached::Storage::parse(request) {
        return Decoded::Memcached(storage);
    }
    if let Some(commands) = redis::Commands::parse(request) {
        return Decoded::Redis(commands);
    }
    Decoded::Unknown(request)
}

/// A cursor over bytes from outside: every read is checked.
#[derive(Debug, Clone, Copy)]
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
            Decoded::Thrift(_) => "thrift",
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

        #[test]
        fn damaged_requests_never_panic(pick in 0usize..6, at in 0usize..80, value in any::<u8>(), cut in 0usize..120) {
            let samples: [&[u8]; 6] = [
                b"POST /a?b=c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
                b"\x21\0\0\0\x03SELECT * FROM t WHERE id IN (1,2)",
                b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\x0b\0\x01\0\0\0\x02hi\0",
                b"Q\0\0\0\x0dSELECT 1\0",
                b"P\0\0\0\x10\0SELECT $1\0\0\0B\0\0\0\x11\0\0\0\0\0\x01\0\0\0\x017\0\0",
            ];
            let mut bytes = samples[pick].to_vec();
            if at < bytes.len() {
                bytes[at] = value;
            }
            bytes.truncate(cut);
            match decode(&bytes) {
                Decoded::Http(request) => {
                    let _ = (request.query().count(), request.headers().count(), request.body());
                }
                Decoded::Redis(commands) => {
                    let _ = commands.flat_map(|command| command.arguments()).count();
                }
                Decoded::MySql(command) => {
                    let _ = command.sql().map(|text| sql::Statement::parse(text, sql::Dialect::MySql));
                }
                Decoded::Thrift(call) => {
                    let _ = call.fields(|_, _| ());
                }
                Decoded::Postgres(messages) => {
                    let _ = messages.count();
                }
                Decoded::Memcached(_) | Decoded::MySqlLogin(_) | Decoded::Unknown(_) => {}
            }
        }
    }
}
