//! Client packets of the MySQL protocol.

use super::Reader;

/// One command of the command phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// `COM_QUERY` is 3, `COM_STMT_PREPARE` 22, ...
    pub code: u8,
    /// What follows the code.
    pub body: &'a [u8],
}

/// `COM_INIT_DB`.
pub const INIT_DB: u8 = 2;
/// `COM_QUERY`.
pub const QUERY: u8 = 3;
/// `COM_PING`.
pub const PING: u8 = 14;
/// `COM_STMT_PREPARE`.
pub const STATEMENT_PREPARE: u8 = 22;
/// `COM_STMT_EXECUTE`.
pub const STATEMENT_EXECUTE: u8 = 23;

const LAST_COMMAND: u8 = 32;

impl<'a> Command<'a> {
    /// Decodes one command packet: its length is that of the request, and its sequence number is 0.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request);
        let [low, middle, high, sequence] = reader.array::<4>()?;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if length != reader.rest().len() || sequence != 0 {
            return None;
        }
        let code = reader.u8()?;
        (code <= LAST_COMMAND).then_some(Self { code, body: reader.rest() })
    }

    /// The statement, where the command carries one.
    pub fn sql(&self) -> Option<&'a [u8]> {
        match self.code {
            // With query attributes negotiated, the statement follows two counts: no parameters, one set.
            QUERY => Some(self.body.strip_prefix(&[0, 1]).unwrap_or(self.body)),
            STATEMENT_PREPARE => Some(self.body),
            _ => None,
        }
    }

    /// The name of the command, for people.
    pub fn name(&self) -> &'static str {
        match self.code {
            1 => "COM_QUIT",
            INIT_DB => "COM_INIT_DB",
            QUERY => "COM_QUERY",
            4 => "COM_FIELD_LIST",
            9 => "COM_STATISTICS",
            PING => "COM_PING",
            17 => "COM_CHANGE_USER",
            STATEMENT_PREPARE => "COM_STMT_PREPARE",
            STATEMENT_EXECUTE => "COM_STMT_EXECUTE",
            24 => "COM_STMT_SEND_LONG_DATA",
            25 => "COM_STMT_CLOSE",
            26 => "COM_STMT_RESET",
            27 => "COM_SET_OPTION",
            28 => "COM_STMT_FETCH",
            31 => "COM_RESET_CONNECTION",
            _ => "command",
        }
    }
}

/// The packet with which a client logs in (`HandshakeResponse41`). What it proves with depends on the
/// server's salt and is different on every connection; who it is and what it wants is not.
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
        const CONNECT_WITH_DB: u32 = 1 << 3;
        const PROTOCOL_41: u32 = 1 << 9;
        let mut reader = Reader::new(request);
        let [low, middle, high, sequence] = reader.array::<4>()?;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if length != reader.rest().len() || sequence == 0 || sequence > 2 {
            return None;
        }
        let capabilities = reader.u32_le()?;
        let _largest_packet = reader.u32_le()?;
        let _character_set = reader.u8()?;
        let reserved = reader.take(19)?;
        // MariaDB says what else it can do in the four bytes after these.
        let _extended = reader.take(4)?;
        if capabilities & PROTOCOL_41 == 0 || reserved.iter().any(|byte| *byte != 0) {
            return None;
        }
        let user = reader.zero_terminated()?;
        let length = reader.u8()?;
        let proof = reader.take(usize::from(length))?;
        let database = if capabilities & CONNECT_WITH_DB != 0 {
            reader.zero_terminated().unwrap_or_default()
        } else {
            &[]
        };
        Some(Self { capabilities, user, proof, database })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn statements() {
        let query = Command::parse(b"\x09\0\0\0\x03SELECT 1").expect("a command");
        assert_eq!((query.name(), query.sql()), ("COM_QUERY", Some(&b"SELECT 1"[..])));
        let with_attributes = Command::parse(b"\x0b\0\0\0\x03\0\x01SELECT 1").expect("a command");
        assert_eq!(with_attributes.sql(), Some(&b"SELECT 1"[..]));
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
    }
}
