//! Messages of a PostgreSQL client, after the start-up phase.

use super::Reader;

/// The messages of one request: `Q`, or a batch such as Parse, Bind, Describe, Execute, Sync.
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a> {
    reader: Reader<'a>,
}

/// One message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        /// The values.
        parameters: Parameters<'a>,
    },
    /// Any other message: its type and its body.
    Other(u8, &'a [u8]),
}

impl<'a> Messages<'a> {
    /// Accepts a request that is nothing but whole messages of a client.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let messages = Self { reader: Reader::new(request) };
        let mut check = messages;
        while !check.reader.is_empty() {
            let (kind, body) = check.raw()?;
            match kind {
                b'Q' => {
                    body.strip_suffix(&[0])?;
                }
                b'P' | b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'S' | b'X' | b'c' | b'd' | b'f' | b'p' => {}
                _ => return None,
            }
        }
        (!request.is_empty()).then_some(messages)
    }

    fn raw(&mut self) -> Option<(u8, &'a [u8])> {
        let kind = self.reader.u8()?;
        let length = usize::try_from(self.reader.u32_be()?).ok()?;
        Some((kind, self.reader.take(length.checked_sub(4)?)?))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, body) = self.raw()?;
        Some(match kind {
            b'Q' => Message::Query(body.strip_suffix(&[0]).unwrap_or(body)),
            b'P' => parse(body).unwrap_or(Message::Other(kind, body)),
            b'B' => bind(body).unwrap_or(Message::Other(kind, body)),
            _ => Message::Other(kind, body),
        })
    }
}

fn parse(body: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader::new(body);
    Some(Message::Parse { name: reader.zero_terminated()?, sql: reader.zero_terminated()? })
}

fn bind(body: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader::new(body);
    let portal = reader.zero_terminated()?;
    let statement = reader.zero_terminated()?;
    let formats = reader.u16_be()?;
    reader.take(usize::from(formats) * 2)?;
    let count = reader.u16_be()?;
    Some(Message::Bind { portal, statement, parameters: Parameters { left: count, reader } })
}

/// The values of a Bind message; `None` is SQL's NULL.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl PartialEq for Parameters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.left == other.left && self.reader.rest() == other.reader.rest()
    }
}

impl Eq for Parameters<'_> {}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let length = self.reader.u32_be()?;
        if length == u32::MAX {
            return Some(None);
        }
        Some(Some(self.reader.take(usize::try_from(length).ok()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

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

        let mut batch = message(b'P', b"s1\0SELECT $1, $2\0\0\0");
        batch.extend(message(b'B', b"\0s1\0\0\0\0\x02\0\0\0\x017\xff\xff\xff\xff\0\0"));
        batch.extend(message(b'S', b""));
        let all: Vec<_> = Messages::parse(&batch).expect("valid").collect();
        assert_eq!(all[0], Message::Parse { name: b"s1", sql: b"SELECT $1, $2" });
        let Message::Bind { statement, parameters, .. } = all[1] else { panic!("{:?}", all[1]) };
        assert_eq!(statement, b"s1");
        assert_eq!(parameters.collect::<Vec<_>>(), [Some(&b"7"[..]), None]);
        assert_eq!(all[2], Message::Other(b'S', b""));
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
