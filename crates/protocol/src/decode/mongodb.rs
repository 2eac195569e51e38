//! MongoDB's requests: commands in `OP_MSG`, and in `OP_QUERY`, with which drivers greet. The documents are BSON.

use super::Reader;
use super::value::{Leaves, Path, Value};
use crate::mongodb::{OP_MSG, OP_QUERY};
use alloc::borrow::Cow;

/// Deeper nesting than this is not decoded.
const MAX_DEPTH: usize = 64;

/// Of `OP_MSG`: four bytes of checksum end the message.
const CHECKSUM: u32 = 1;

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// The number of the request, which only ties an answer to it.
    pub request_id: u32,
    /// `find`, `insert`, ...
    pub name: &'a [u8],
    /// The collection, where the command names one.
    pub collection: &'a [u8],
    /// The database.
    pub database: &'a [u8],
    /// The sections of `OP_MSG`, or the document of `OP_QUERY` as one of them.
    sections: &'a [u8],
    legacy: bool,
}

impl<'a> Command<'a> {
    /// Decodes one message, or `None`.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request);
        let length = usize::try_from(reader.u32_le()?).ok()?;
        let request_id = reader.u32_le()?;
        let _answer_to = reader.u32_le()?;
        let code = reader.u32_le()?;
        let flags = reader.u32_le()?;
        if length != request.len() {
            return None;
        }
        let mut command = Self {
            request_id,
            name: &[],
            collection: &[],
            database: &[],
            sections: reader.rest(),
            legacy: code == OP_QUERY,
        };
        match code {
            OP_QUERY => {
                let namespace = reader.zero_terminated()?;
                let dot = memchr::memchr(b'.', namespace)?;
                command.database = namespace.get(..dot)?;
                reader.take(8)?;
                command.sections = reader.rest();
            }
            OP_MSG if flags & CHECKSUM != 0 => {
                command.sections = reader.take(reader.rest().len().checked_sub(4)?)?;
            }
            OP_MSG => {}
            _ => return None,
        }
        let body = if command.legacy { command.sections } else { command.sections.get(1..)? };
        let mut body = Reader::new(body.get(4..)?);
        let kind = body.u8()?;
        command.name = body.zero_terminated()?;
        if kind == STRING {
            command.collection = string(&mut body)?;
        }
        let mut described = command;
        command.fields(|path, value| match (path, value) {
            ("$db", Value::Text(Cow::Borrowed(database))) => described.database = database,
            ("collection", Value::Text(Cow::Borrowed(collection))) if command.collection.is_empty() => {
                described.collection = collection;
            }
            _ => {}
        })?;
        Some(described)
    }

    /// Calls `visit` with the path and value of every scalar, and of every empty document or array, in the order
    /// in which they were sent: `find`, `filter.at.$lt`, `documents[0]._id`.
    ///
    /// `None` where the message is not well formed: what was visited must be thrown away.
    pub fn fields(&self, mut visit: impl FnMut(&str, Value<'a>)) -> Option<()> {
        self.walk(&mut visit)
    }

    fn walk(&self, visit: &mut dyn FnMut(&str, Value<'a>)) -> Option<()> {
        let mut walk = Walk { reader: Reader::new(self.sections), leaves: Leaves::new(self.sections, visit) };
        let mut path = Path::default();
        if self.legacy {
            // What follows the question is which fields are wanted.
            return walk.document(&mut path, false, 0);
        }
        while !walk.reader.is_empty() {
            if walk.reader.u8()? == 0 {
                walk.document(&mut path, false, 0)?;
                continue;
            }
            let length = usize::try_from(walk.reader.u32_le()?).ok()?;
            let end = walk.reader.rest().len().checked_sub(length.checked_sub(4)?)?;
            let name = core::str::from_utf8(walk.reader.zero_terminated()?).ok()?;
            let mut index = 0;
            path.with(name, None, |path| {
                while walk.reader.rest().len() > end {
                    path.with(index, Some(('[', ']')), |path| walk.document(path, false, 0))?;
                    index += 1;
                }
                (walk.reader.rest().len() == end).then_some(())
            })?;
        }
        Some(())
    }

    /// Whether drivers generate what stands at a path anew each time: the session, its clock, the number of
    /// the write in it, and what the greeting tells of the client.
    pub fn is_generated(path: &str) -> bool {
        let first = path.split(['.', '[']).next().unwrap_or_default();
        matches!(
            first,
            "lsid"
                | "txnNumber"
                | "$clusterTime"
                | "operationTime"
                | "client"
                | "endSessions"
                | "speculativeAuthenticate"
        )
    }
}

const STRING: u8 = 2;

/// A string of BSON, without the zero that ends it.
fn string<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(reader.u32_le()?).ok()?;
    reader.take(length)?.strip_suffix(&[0])
}

struct Walk<'a, 'v> {
    reader: Reader<'a>,
    leaves: Leaves<'v, 'a>,
}

impl<'a> Walk<'a, '_> {
    /// A document, or an array, which is a document whose members have numbers.
    fn document(&mut self, path: &mut Path, array: bool, depth: usize) -> Option<()> {
        let before = self.reader.rest().len();
        let length = usize::try_from(self.reader.u32_le()?).ok()?;
        let end = before.checked_sub(length).filter(|_| depth < MAX_DEPTH && length >= 5)?;
        let mut empty = true;
        loop {
            let kind = self.reader.u8()?;
            if kind == 0 {
                break;
            }
            empty = false;
            let name = self.reader.zero_terminated()?;
            let name = core::str::from_utf8(name).ok()?;
            path.with(name, array.then_some(('[', ']')), |path| self.value(kind, path, depth + 1))?;
        }
        if empty && depth > 0 {
            self.leaves.leaf(path, Value::Empty)?;
        }
        (self.reader.rest().len() == end).then_some(())
    }

    fn value(&mut self, kind: u8, path: &mut Path, depth: usize) -> Option<()> {
        let reader = &mut self.reader;
        let value = match kind {
            0x01 => Value::Double(f64::from_le_bytes(reader.array()?)),
            // Strings, code, symbols.
            STRING | 0x0d | 0x0e => Value::Text(Cow::Borrowed(string(reader)?)),
            0x03 | 0x04 => return self.document(path, kind == 0x04, depth),
            0x05 => {
                let length = usize::try_from(reader.u32_le()?).ok()?;
                let subtype = reader.u8()?;
                let bytes = reader.take(length)?;
                if matches!(subtype, 3 | 4) { Value::hex(bytes) } else { Value::Bytes(bytes) }
            }
            0x07 => Value::hex(reader.take(12)?),
            0x08 => Value::Boolean(reader.u8()? != 0),
            0x09 => Value::instant(i64::from_le_bytes(reader.array()?).saturating_mul(1000)),
            0x06 | 0x0a => Value::Null,
            0x0b => {
                let text = reader.rest();
                let pattern = reader.zero_terminated()?;
                let options = reader.zero_terminated()?;
                // With the zero between them.
                Value::Bytes(text.get(..pattern.len() + 1 + options.len())?)
            }
            0x10 => Value::Integer(i64::from(i32::from_le_bytes(reader.array()?))),
            0x11 | 0x12 => Value::Integer(i64::from_le_bytes(reader.array()?)),
            0x13 => Value::Bytes(reader.take(16)?),
            0x7f => Value::Text(Cow::Borrowed(b"MaxKey")),
            0xff => Value::Text(Cow::Borrowed(b"MinKey")),
            // Code with a scope, and pointers to other documents, are long deprecated.
            _ => return None,
        };
        self.leaves.leaf(path, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec::Vec};
    use proptest::prelude::*;

    fn document(elements: &[u8]) -> Vec<u8> {
        [&(elements.len() as u32 + 5).to_le_bytes()[..], elements, b"\0"].concat()
    }

    fn message(code: u32, body: &[u8]) -> Vec<u8> {
        let numbers = [16 + body.len() as u32, 7, 0, code].map(u32::to_le_bytes);
        [&numbers.concat()[..], body].concat()
    }

    fn shown(command: &Command<'_>) -> Vec<String> {
        let mut all = Vec::new();
        let done =
            command.fields(|path, value| all.push(std::format!("{path}={}", value.text().escape_ascii())));
        assert_eq!(done, Some(()));
        all
    }

    fn insert() -> Vec<u8> {
        let body = document(b"\x02insert\0\x02\0\0\0t\0\x08ordered\0\x01\x02$db\0\x05\0\0\0shop\0");
        let one =
            document(b"\x07_id\0abcdefghijkl\x10n\0\xff\xff\xff\xff\x04l\0\x0c\0\0\0\x100\0\x01\0\0\0\0");
        let sequence = [b"documents\0", &one[..], &document(b"\x03e\0\x05\0\0\0\0")].concat();
        let length = (sequence.len() as u32 + 4).to_le_bytes();
        message(OP_MSG, &[&[0, 0, 0, 0, 0][..], &body, &[1], &length, &sequence].concat())
    }

    #[test]
    fn commands_in_messages() {
        let request = insert();
        let command = Command::parse(&request).expect("valid");
        assert_eq!(
            (command.name, command.collection, command.database, command.request_id),
            (&b"insert"[..], &b"t"[..], &b"shop"[..], 7)
        );
        assert_eq!(
            shown(&command),
            [
                "insert=t",
                "ordered=true",
                "$db=shop",
                "documents[0]._id=6162636465666768696a6b6c",
                "documents[0].n=-1",
                "documents[0].l[0]=1",
                "documents[1].e=[]",
            ]
        );
    }

    #[test]
    fn each_type_has_its_text() {
        let elements = [
            &b"\x12getMore\0\x4d\0\0\0\0\0\0\0\x02collection\0\x02\0\0\0t\0"[..],
            b"\x01d\0\0\0\0\0\0\0\x04\x40\x05u\0\x10\0\0\0\x040123456789abcdef\x05b\0\x01\0\0\0\0x",
            b"\x09at\0\0\0\0\0\0\0\0\0\x0an\0\x0br\0^a\0i\0\x13d128\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x7fx\0\xffm\0",
        ];
        let request = message(OP_MSG, &[&[0; 5][..], &document(&elements.concat())].concat());
        let command = Command::parse(&request).expect("valid");
        assert_eq!((command.name, command.collection), (&b"getMore"[..], &b"t"[..]));
        let mut wanted =
            std::vec!["getMore=77", "collection=t", "d=2.5", "u=30313233-3435-3637-3839-616263646566", "b=x"];
        wanted.extend(["at=1970-01-01 00:00:00", "n=NULL", "r=^a\\x00i"]);
        let all = shown(&command);
        assert_eq!(all[..8], wanted);
        assert_eq!(all[9..], ["x=MaxKey", "m=MinKey"]);
    }

    #[test]
    fn the_greeting_of_drivers() {
        let body =
            [b"\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff", &document(b"\x10isMaster\0\x01\0\0\0")[..]]
                .concat();
        let request = message(OP_QUERY, &body);
        let command = Command::parse(&request).expect("valid");
        assert_eq!((command.name, command.database), (&b"isMaster"[..], &b"admin"[..]));
        assert_eq!(shown(&command), ["isMaster=1"]);
        assert!(Command::is_generated("lsid.id") && !Command::is_generated("filter.lsid"));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let request = insert();
        for end in 0..request.len() {
            let mut cut = request[..end].to_vec();
            assert!(Command::parse(&cut).is_none());
            if let Some(length) = cut.first_chunk_mut() {
                *length = (end as u32).to_le_bytes();
                // The document sequence apart, which may be missing.
                assert_eq!(
                    Command::parse(&cut).is_some(),
                    request[end..].starts_with(b"\x01\x47\0\0\0documents"),
                    "{end}"
                );
            }
        }
        let deep = document(&b"\x03a\0\x08\0\0\0".repeat(10_000));
        assert!(Command::parse(&message(OP_MSG, &[&[0; 5][..], &deep].concat())).is_none());
    }

    proptest! {
        #[test]
        fn damaged_messages_never_panic(at in 0usize..150, value in any::<u8>()) {
            let mut request = insert();
            if let Some(byte) = request.get_mut(at) {
                *byte = value;
            }
            let _ = Command::parse(&request);
        }
    }
}
