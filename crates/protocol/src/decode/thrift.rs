//! Calls in Thrift's binary (strict) and compact protocols, framed or not.

use super::Reader;
use super::value::{Leaves, Path};
use alloc::string::String;
use alloc::vec::Vec;

pub use super::value::Value;

/// Deeper nesting than this is not decoded.
const MAX_DEPTH: usize = 32;

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The sequence number, which only ties an answer to its call.
    pub sequence: u32,
    /// The arguments as a struct.
    pub arguments: &'a [u8],
    /// Whether the method has no answer.
    pub one_way: bool,
    /// Whether the arguments are in the compact protocol.
    pub compact: bool,
}

impl<'a> Call<'a> {
    /// Decodes the head of a call, or `None`.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        Self::unframed(request).or_else(|| {
            let mut reader = Reader::new(request);
            let length = usize::try_from(reader.u32_be()?).ok()?;
            (length == reader.rest().len()).then(|| Self::unframed(reader.rest()))?
        })
    }

    fn unframed(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request);
        match *request {
            [0x80, 0x01, _, kind @ (1 | 4), ..] => {
                reader.take(4)?;
                let length = reader.u32_be()?;
                let method = reader.take(usize::try_from(length).ok()?)?;
                let sequence = reader.u32_be()?;
                let arguments = reader.rest();
                Some(Self { method, sequence, arguments, one_way: kind == 4, compact: false })
            }
            [0x82, kind @ (0x21 | 0x81), ..] => {
                reader.take(2)?;
                let sequence = reader.varint()? as u32;
                let length = reader.varint()?;
                let method = reader.take(usize::try_from(length).ok()?)?;
                // So little tells that this is Thrift: a method is a name, and its arguments are whole.
                let is_name = !method.is_empty()
                    && method.iter().all(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'$')
                    });
                let arguments = reader.rest();
                let call = Self { method, sequence, arguments, one_way: kind == 0x81, compact: true };
                (is_name && call.fields(|_, _| ()).is_some()).then_some(call)
            }
            _ => None,
        }
    }

    /// Calls `visit` with the path and value of every scalar: `1`, `2.1`, `3[0]`, and `3{0}` and `3[0]`
    /// for the key and the value of a map's entry.
    ///
    /// `None` where the arguments are not well formed: what was visited must be thrown away.
    pub fn fields(&self, mut visit: impl FnMut(&str, Value<'a>)) -> Option<()> {
        self.walk(&mut visit)
    }

    fn walk(&self, visit: &mut dyn FnMut(&str, Value<'a>)) -> Option<()> {
        let mut walk = Walk {
            reader: Reader::new(self.arguments),
            compact: self.compact,
            leaves: Leaves::new(self.arguments, visit),
        };
        walk.structure(&mut Path::default(), 0)?;
        walk.reader.is_empty().then_some(())
    }
}

/// A type as both protocols know it, by its number in the binary one.
mod kind {
    pub(super) const BOOL: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const DOUBLE: u8 = 4;
    pub(super) const I16: u8 = 6;
    pub(super) const I32: u8 = 8;
    pub(super) const I64: u8 = 10;
    pub(super) const STRING: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const MAP: u8 = 13;
    pub(super) const SET: u8 = 14;
    pub(super) const LIST: u8 = 15;
}

/// The types of the compact protocol, from 1 (true) on.
const COMPACT: [u8; 12] = [
    kind::BOOL,
    kind::BOOL,
    kind::BYTE,
    kind::I16,
    kind::I32,
    kind::I64,
    kind::DOUBLE,
    kind::STRING,
    kind::LIST,
    kind::SET,
    kind::MAP,
    kind::STRUCT,
];

struct Walk<'a, 'v> {
    reader: Reader<'a>,
    compact: bool,
    leaves: Leaves<'v, 'a>,
}

impl<'a> Walk<'a, '_> {
    /// The type that has this number in the protocol of the call.
    fn kind(&self, number: u8) -> Option<u8> {
        if self.compact { COMPACT.get(usize::from(number.checked_sub(1)?)).copied() } else { Some(number) }
    }

    fn structure(&mut self, path: &mut Path, depth: usize) -> Option<()> {
        let mut id = 0u16;
        loop {
            let byte = self.reader.u8()?;
            if byte == 0 {
                return Some(());
            }
            let number = if self.compact { byte & 15 } else { byte };
            id = match byte >> 4 {
                delta if self.compact && delta > 0 => id.wrapping_add(u16::from(delta)),
                _ if self.compact => self.reader.zigzag()? as u16,
                _ => self.reader.u16_be()?,
            };
            let kind = self.kind(number)?;
            path.with(id, None, |path| {
                if self.compact && kind == kind::BOOL {
                    // The type is the value.
                    return self.leaves.leaf(path, Value::Integer(i64::from(number == 1)));
                }
                self.value(kind, path, depth)
            })?;
        }
    }

    fn value(&mut self, kind: u8, path: &mut Path, depth: usize) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        let value = match kind {
            kind::BOOL if self.compact => Value::Integer(i64::from(self.reader.u8()? == 1)),
            kind::BOOL | kind::BYTE => Value::Integer(i64::from(i8::from_be_bytes(self.reader.array()?))),
            kind::DOUBLE if self.compact => Value::Double(f64::from_le_bytes(self.reader.array()?)),
            kind::DOUBLE => Value::Double(f64::from_be_bytes(self.reader.array()?)),
            kind::I16 | kind::I32 | kind::I64 if self.compact => Value::Integer(self.reader.zigzag()?),
            kind::I16 => Value::Integer(i64::from(i16::from_be_bytes(self.reader.array()?))),
            kind::I32 => Value::Integer(i64::from(i32::from_be_bytes(self.reader.array()?))),
            kind::I64 => Value::Integer(i64::from_be_bytes(self.reader.array()?)),
            kind::STRING => {
                let length = self.size()?;
                Value::Bytes(self.reader.take(length)?)
            }
            kind::STRUCT => return self.structure(path, depth + 1),
            kind::MAP => return self.map(path, depth + 1),
            kind::LIST | kind::SET => return self.list(path, depth + 1),
            _ => return None,
        };
        self.leaves.leaf(path, value)
    }

    fn size(&mut self) -> Option<usize> {
        let size = if self.compact { self.reader.varint()? } else { u64::from(self.reader.u32_be()?) };
        // An element takes at least a byte: a larger number is not believed.
        usize::try_from(size).ok().filter(|size| *size <= self.reader.rest().len())
    }

    fn map(&mut self, path: &mut Path, depth: usize) -> Option<()> {
        let (keys, values, count);
        if self.compact {
            count = self.size()?;
            let kinds = if count > 0 { self.reader.u8()? } else { 0x11 };
            (keys, values) = (self.kind(kinds >> 4)?, self.kind(kinds & 15)?);
        } else {
            [keys, values] = self.reader.array()?;
            count = self.size()?;
        }
        if count == 0 {
            return self.leaves.leaf(path, Value::Empty);
        }
        for index in 0..count {
            path.with(index, Some(('{', '}')), |path| self.value(keys, path, depth))?;
            path.with(index, Some(('[', ']')), |path| self.value(values, path, depth))?;
        }
        Some(())
    }

    fn list(&mut self, path: &mut Path, depth: usize) -> Option<()> {
        let first = self.reader.u8()?;
        let (elements, count) = match first >> 4 {
            15 if self.compact => (self.kind(first & 15)?, self.size()?),
            short if self.compact => (self.kind(first & 15)?, usize::from(short)),
            _ => (first, self.size()?),
        };
        if count == 0 {
            return self.leaves.leaf(path, Value::Empty);
        }
        for index in 0..count {
            path.with(index, Some(('[', ']')), |path| self.value(elements, path, depth))?;
        }
        Some(())
    }
}

/// The arguments as text, one `path=value` each; for reports and tests.
pub fn describe(call: &Call<'_>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    call.fields(|path, value| all.push(alloc::format!("{path}={}", value.text().escape_ascii())))?;
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CALL: &[u8] = b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\
        \x0b\0\x01\0\0\0\x02hi\
        \x0c\0\x02\x08\0\x01\0\0\0\x05\0\
        \x0f\0\x03\x06\0\0\0\x02\0\x01\0\x02\
        \x0d\0\x04\x0b\x02\0\0\0\x01\0\0\0\x01k\x01\
        \0";

    #[test]
    fn arguments_with_their_paths() {
        let call = Call::parse(CALL).expect("a call");
        assert_eq!((call.method, call.sequence, call.one_way), (&b"ping"[..], 7, false));
        assert_eq!(
            describe(&call).expect("well formed"),
            ["1=hi", "2.1=5", "3[0]=1", "3[1]=2", "4{0}=k", "4[0]=1"]
        );
    }

    #[test]
    fn the_compact_protocol_says_the_same() {
        let compact = b"\x82\x21\x07\x04ping\
            \x18\x02hi\
            \x1c\x15\x0a\0\
            \x19\x24\x02\x04\
            \x1b\x01\x81\x01k\x01\
            \0";
        let call = Call::parse(compact).expect("a call");
        assert_eq!((call.method, call.sequence, call.one_way), (&b"ping"[..], 7, false));
        let binary = Call::parse(CALL).and_then(|call| describe(&call));
        assert_eq!(describe(&call), binary);
        let mut framed = b"\0\0\0".to_vec();
        framed.push(compact.len() as u8);
        framed.extend_from_slice(compact);
        assert_eq!(Call::parse(&framed), Some(call));
        for end in 0..compact.len() {
            assert_eq!(Call::parse(&compact[..end]), None);
        }
    }

    #[test]
    fn framed_is_the_same() {
        let mut framed = u32::try_from(CALL.len()).expect("short").to_be_bytes().to_vec();
        framed.extend_from_slice(CALL);
        assert_eq!(Call::parse(&framed), Call::parse(CALL));
        framed.push(0);
        assert_eq!(Call::parse(&framed), None, "the frame's length is wrong");
    }

    #[test]
    fn broken_arguments_are_refused() {
        for end in 16..CALL.len() {
            let call = Call::parse(&CALL[..end]).expect("the head is whole");
            assert!(describe(&call).is_none());
        }
        let mut huge = b"\x80\x01\0\x01\0\0\0\x01a\0\0\0\0\x0f\0\x01\x02".to_vec();
        huge.extend_from_slice(&u32::MAX.to_be_bytes());
        assert!(describe(&Call::parse(&huge).expect("a call")).is_none());
        let deep = [&b"\x80\x01\0\x01\0\0\0\x01a\0\0\0\0"[..], &b"\x0c\0\x01".repeat(100_000)].concat();
        assert!(describe(&Call::parse(&deep).expect("a call")).is_none());
    }

    proptest! {
        #[test]
        fn never_panics(arguments in proptest::collection::vec(0u8..30, 0..120), compact in any::<bool>()) {
            let call = Call { method: b"m", sequence: 0, arguments: &arguments, one_way: false, compact };
            let _ = describe(&call);
        }
    }
}
