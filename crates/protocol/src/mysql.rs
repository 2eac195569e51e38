//! Framing of the MySQL client/server protocol, as MySQL and MariaDB speak it.
//!
//! A request is one command, however many packets it takes; the packets of a `LOCAL INFILE`, up to the empty one,
//! are a request of their own, and so is each packet of the authentication. Its response ends as the protocol
//! says: with `OK`, an error, the end of the last result set, the metadata of a prepared statement, or the question
//! for a local file. Where client and server agree on compression, nothing can be told after the login; where they
//! agree on TLS, the stream goes on with it.
//!
//! What ends a result set depends on what was agreed on when the connection began (`CLIENT_DEPRECATE_EOF` and
//! the two ways to leave out column definitions), which a request's [`Asked`] carries to the response.

use crate::Expected;
use crate::packets::{After, Length, Messages, byte, u32_le};

/// Bits of the capabilities that client and server agree on.
pub(crate) mod capability {
    /// Set by MySQL; MariaDB leaves it out where the last four reserved bytes hold what only MariaDB can do.
    pub(crate) const MYSQL: u32 = 1;
    pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(crate) const COMPRESS: u32 = 1 << 5;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const SSL: u32 = 1 << 11;
    pub(crate) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    pub(crate) const DEPRECATE_EOF: u32 = 1 << 24;
    pub(crate) const OPTIONAL_METADATA: u32 = 1 << 25;
    pub(crate) const QUERY_ATTRIBUTES: u32 = 1 << 27;
    /// Of what only MariaDB can do: column definitions are left out where the client has them.
    pub(crate) const CACHE_METADATA: u32 = 1 << 4;
}

/// Codes of commands.
pub(crate) mod command {
    pub(crate) const QUIT: u8 = 1;
    pub(crate) const QUERY: u8 = 3;
    pub(crate) const FIELD_LIST: u8 = 4;
    pub(crate) const STATISTICS: u8 = 9;
    pub(crate) const CHANGE_USER: u8 = 17;
    pub(crate) const PREPARE: u8 = 22;
    pub(crate) const SEND_LONG_DATA: u8 = 24;
    pub(crate) const CLOSE: u8 = 25;
    pub(crate) const FETCH: u8 = 28;
}

const OK: u8 = 0;
const MORE_DATA: u8 = 1;
const LOCAL_INFILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERROR: u8 = 0xff;

const MORE_RESULTS: u16 = 8;
const CURSOR_EXISTS: u16 = 0x40;

/// The longest payload of a packet: a packet of this length is continued by the next one.
const LONGEST: u64 = 0xff_ffff;

/// What is agreed on, as far as it matters to where a response ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Agreed {
    deprecate_eof: bool,
    optional_metadata: bool,
    cache_metadata: bool,
    compress: bool,
}

/// What a MySQL request says about its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    command: u8,
    agreed: Agreed,
}

/// Whether a server's first bytes are MySQL's greeting, as far as they tell.
pub(crate) fn is_greeting(bytes: &[u8]) -> bool {
    // Protocol 10, then the version in digits.
    matches!(bytes, [_, _, 0, 0, 10, b'0'..=b'9', ..])
}

/// What the server can do, by its greeting: both halves of its capabilities, and what only MariaDB can do.
pub(crate) fn greeting(bytes: &[u8]) -> Option<(u32, u32)> {
    let version = bytes.get(5..)?;
    let end = memchr::memchr(0, version)?;
    // Thread id, half of the salt, a zero.
    let rest = version.get(end + 1 + 13..)?;
    let [l0, l1, _, _, _, h0, h1, _, reserved @ ..] = rest else { return None };
    Some((u32::from_le_bytes([*l0, *l1, *h0, *h1]), u32_le(reserved, 6)?))
}

/// The client's side.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    phase: Phase,
    agreed: Agreed,
    /// What the server can do, where its greeting was seen.
    server: Option<(u32, u32)>,
    /// What the first packet of a longer payload does, until its last.
    continued: Option<After>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Login,
    /// The client proves who it is.
    Authentication,
    Commands,
    /// A command is to come, after bytes were lost.
    Resumed,
    /// The client sends a file.
    File,
}

impl Requests {
    /// For a connection whose server has greeted so.
    pub(crate) fn greeted(server: Option<(u32, u32)>) -> Self {
        Self { server, ..Self::default() }
    }

    fn login(&mut self, payload: &[u8], length: u64, expected: &mut Expected) -> After {
        let (Some(client), Some(mariadb)) = (u32_le(payload, 0), u32_le(payload, 28)) else {
            return After::Invalid;
        };
        if client & capability::PROTOCOL_41 == 0 {
            return After::Invalid;
        }
        if client & capability::SSL != 0 && length == 4 + 32 {
            *expected = Expected::Replies(0);
            return After::Switch;
        }
        let (server, server_mariadb) = self.server.unwrap_or((!capability::MYSQL, u32::MAX));
        let both = client & server;
        let has = |bit| both & bit != 0;
        self.agreed = Agreed {
            deprecate_eof: has(capability::DEPRECATE_EOF),
            optional_metadata: has(capability::OPTIONAL_METADATA),
            cache_metadata: (client | server) & capability::MYSQL == 0
                && mariadb & server_mariadb & capability::CACHE_METADATA != 0,
            compress: has(capability::COMPRESS),
        };
        self.phase = Phase::Authentication;
        *expected = self.answer(0);
        After::End
    }

    /// What answers a command; 0: the login.
    fn answer(&self, command: u8) -> Expected {
        match command {
            command::QUIT | command::SEND_LONG_DATA | command::CLOSE => Expected::Replies(0),
            _ => Expected::MySql(Asked { command, agreed: self.agreed }),
        }
    }

    fn first(&mut self, sequence: u8, payload: &[u8], length: u64, expected: &mut Expected) -> After {
        let mut command = 0;
        match self.phase {
            Phase::Login => return self.login(payload, length, expected),
            Phase::Authentication if sequence != 0 => {}
            Phase::Commands if sequence != 0 => self.phase = Phase::File,
            Phase::File => {}
            _ if self.agreed.compress => return After::Invalid,
            _ => {
                let Some(&code) = payload.first() else { return After::Invalid };
                let again = code == command::CHANGE_USER;
                self.phase = if again { Phase::Authentication } else { Phase::Commands };
                command = if again { 0 } else { code };
            }
        }
        if self.phase == Phase::File {
            if length > 4 {
                return After::More;
            }
            self.phase = Phase::Commands;
            command = command::QUERY;
        }
        *expected = self.answer(command);
        After::End
    }
}

fn length(head: &[u8]) -> Length {
    match *head {
        [low, middle, high, _, ..] => {
            Length::Bytes(4 + u64::from(u32::from_le_bytes([low, middle, high, 0])))
        }
        _ => Length::Unknown,
    }
}

impl Messages for Requests {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        match (self.phase, head.get(3)) {
            // The server's greeting was number 0; the login comes again after a request for TLS.
            (Phase::Login, Some(0 | 3..)) | (Phase::Resumed, Some(1..)) => Length::Invalid,
            _ => length(head),
        }
    }

    fn packet(&mut self, head: &[u8], length: u64, expected: &mut Expected) -> After {
        let payload = head.get(4..).unwrap_or_default();
        let after = match self.continued.take() {
            Some(after) => after,
            None => self.first(byte(head, 3), payload, length, expected),
        };
        if length == 4 + LONGEST {
            self.continued = Some(after);
            return After::More;
        }
        after
    }

    fn resumed(&self) -> Option<Self> {
        let known = self.phase != Phase::Login && !self.agreed.compress;
        known.then(|| Self { phase: Phase::Resumed, agreed: self.agreed, ..Self::default() })
    }
}

/// The server's side.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    state: State,
    /// The payload goes on in the next packet.
    continued: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the first packet of the response, or of one of its results.
    #[default]
    First,
    /// So many packets are to come before the response ends.
    Skip(u32),
    /// So many column definitions are to come before the rows.
    Columns(u64),
    /// After them, before the `EOF`.
    ColumnsEnd,
    Rows,
}

impl Responses {
    fn payload(&mut self, payload: &[u8], length: u64, expected: Expected) -> After {
        let asked = match expected {
            Expected::MySql(asked) => asked,
            _ => Asked { command: 0, agreed: Agreed::default() },
        };
        let kind = byte(payload, 0);
        let is_end = kind == EOF && length < 9;
        match self.state {
            // Not an error, but how far the server is (MariaDB).
            _ if kind == ERROR && payload.get(1..3) == Some(&[0xff, 0xff]) => After::More,
            State::First => match (asked.command, kind) {
                (_, ERROR) => After::End,
                // The quick check of caching_sha2_password was enough; all else is for the client to answer.
                (0, MORE_DATA) if byte(payload, 1) == 3 => After::More,
                (0, OK) if asked.agreed.compress => After::Switch,
                (0 | command::STATISTICS, _) => After::End,
                (command::FIELD_LIST, _) if !is_end => After::More,
                (command::PREPARE, OK) => self.prepared(payload, length, asked.agreed),
                (command::FETCH, _) => {
                    self.state = State::Rows;
                    self.row(payload, length, asked.agreed)
                }
                (_, OK) => self.ended(status(payload)),
                (_, LOCAL_INFILE) => After::End,
                _ if is_end => After::End,
                _ => self.columns(payload, asked.agreed),
            },
            State::Skip(left) => {
                self.state = if left > 1 { State::Skip(left - 1) } else { State::First };
                if left > 1 { After::More } else { After::End }
            }
            State::Columns(left) => {
                self.state = match (left, asked.agreed.deprecate_eof) {
                    (2.., _) => State::Columns(left - 1),
                    (_, true) => State::Rows,
                    (_, false) => State::ColumnsEnd,
                };
                After::More
            }
            State::ColumnsEnd if is_end && end_status(payload) & CURSOR_EXISTS == 0 => {
                self.state = State::Rows;
                After::More
            }
            State::ColumnsEnd if is_end || kind == ERROR => After::End,
            State::ColumnsEnd => After::Invalid,
            State::Rows => self.row(payload, length, asked.agreed),
        }
    }

    /// After `COM_STMT_PREPARE`: definitions of parameters and columns, each followed by `EOF`.
    fn prepared(&mut self, payload: &[u8], length: u64, agreed: Agreed) -> After {
        let number = |at| u32::from(byte(payload, at)) | u32::from(byte(payload, at + 1)) << 8;
        if agreed.optional_metadata && length > 12 && byte(payload, 12) == 0 {
            return After::End;
        }
        let eof = u32::from(!agreed.deprecate_eof);
        let packets = [number(5), number(7)].map(|count| if count > 0 { count + eof } else { 0 });
        match packets.iter().sum() {
            0 => After::End,
            packets => {
                self.state = State::Skip(packets);
                After::More
            }
        }
    }

    /// The packet that says how many columns a result set has.
    fn columns(&mut self, payload: &[u8], agreed: Agreed) -> After {
        let Some((count, rest)) = number(payload) else { return After::Invalid };
        // The document has the flag before the number; servers and clients have it behind.
        let flag = agreed.optional_metadata || agreed.cache_metadata;
        let follows = !flag || byte(rest, 0) != 0;
        self.state = match (follows && count > 0, agreed.deprecate_eof) {
            (true, _) => State::Columns(count),
            (false, true) => State::Rows,
            (false, false) => State::ColumnsEnd,
        };
        After::More
    }

    fn row(&mut self, payload: &[u8], length: u64, agreed: Agreed) -> After {
        match byte(payload, 0) {
            ERROR => After::End,
            EOF if agreed.deprecate_eof && length < LONGEST => self.ended(status(payload)),
            EOF if !agreed.deprecate_eof && length < 9 => self.ended(end_status(payload)),
            _ => After::More,
        }
    }

    fn ended(&mut self, status: u16) -> After {
        self.state = State::First;
        if status & MORE_RESULTS != 0 { After::More } else { After::End }
    }
}

/// The status in an `OK` packet, which is also the end of a result set where `EOF` is deprecated.
fn status(payload: &[u8]) -> u16 {
    let status = || {
        let (_affected, rest) = number(payload.get(1..)?)?;
        let (_id, rest) = number(rest)?;
        rest.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    };
    status().unwrap_or_default()
}

/// The status in an `EOF` packet.
fn end_status(payload: &[u8]) -> u16 {
    u16::from_le_bytes([byte(payload, 3), byte(payload, 4)])
}

/// A number whose first byte says how long it is.
pub(crate) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let length = match first {
        0..=0xfa => return Some((u64::from(first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(length)?;
    Some((digits.iter().rev().fold(0, |value, digit| value << 8 | u64::from(*digit)), rest))
}

impl Messages for Responses {
    fn length(&self, head: &[u8], _: Expected) -> Length {
        length(head)
    }

    fn packet(&mut self, head: &[u8], length: u64, expected: &mut Expected) -> After {
        let more = length == 4 + LONGEST;
        let first = !core::mem::replace(&mut self.continued, more);
        if !first {
            return After::More;
        }
        if length == 4 {
            return After::Invalid;
        }
        let after = self.payload(head.get(4..).unwrap_or_default(), length - 4, *expected);
        if after == After::End {
            self.state = State::First;
        }
        // Only rows are that long.
        if more && after != After::More { After::Invalid } else { after }
    }

    fn resumed(&self) -> Option<Self> {
        Some(Self::default())
    }
}

#[cfg(test)]
#[path = "mysql_tests.rs"]
mod tests;
