//! Calls in Thrift's strict binary protocol, framed or not.

use super::Reader;
use alloc::string::String;
use alloc::vec::Vec;

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
}

/// A scalar in the arguments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `bool`, `byte`, `i16`, `i32` or `i64`.
    Integer(i64),
    /// `double`.
    Double(f64),
    /// `string` or `binary`.
    Bytes(&'a [u8]),
    /// A list, set or map without elements.
    Empty,
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
        let [0x80, 0x01, _, kind @ (1 | 4)] = reader.array::<4>()? else { return None };
        let length = usize::try_from(reader.u32_be()?).ok()?;
        let method = reader.take(length)?;
        let sequence = reader.u32_be()?;
        Some(Self { method, sequence, arguments: reader.rest(), one_way: kind == 4 })
    }

    /// Calls `visit` with the path and value of every scalar: `1`, `2.1`, `3[0]`, and `3{0}` and `3[0]`
    /// for the key and the value of a map's entry.
    ///
    /// `None` where the arguments are not well formed: what was visited must be thrown away.
    pub fn fields(&self, mut visit: impl FnMut(&str, Value<'a>)) -> Option<()> {
        let mut reader = Reader::new(self.arguments);
        let mut path = String::new();
        structure(&mut reader, &mut path, 0, &mut visit)?;
        reader.is_empty().then_some(())
    }
}

fn structure<'a>(
    reader: &mut Reader<'a>,
    path: &mut String,
    depth: usize,
    visit: &mut impl FnMut(&str, Value<'a>),
) -> Option<()> {
    let length = path.len();
    loop {
        let kind = reader.u8()?;
        if kind == 0 {
            return Some(());
        }
        let id = reader.u16_be()?;
        if length > 0 {
            path.push('.');
        }
        push_number(path, usize::from(id));
        value(reader, kind, path, depth, visit)?;
        path.truncate(length);
    }
}

fn value<'a>(
    reader: &mut Reader<'a>,
    kind: u8,
    path: &mut String,
    depth: usize,
    visit: &mut impl FnMut(&str, Value<'a>),
) -> Option<()> {
    if depth >= MAX_DEPTH {
        return None;
    }
    match kind {
        2 | 3 => visit(path, Value::Integer(i64::from(i8::from_be_bytes(reader.array()?)))),
        4 => visit(path, Value::Double(f64::from_be_bytes(reader.array()?))),
        6 => visit(path, Value::Integer(i64::from(i16::from_be_bytes(reader.array()?)))),
        8 => visit(path, Value::Integer(i64::from(i32::from_be_bytes(reader.array()?)))),
        10 => visit(path, Value::Integer(i64::from_be_bytes(reader.array()?))),
        11 => {
            let length = usize::try_from(reader.u32_be()?).ok()?;
            visit(path, Value::Bytes(reader.take(length)?));
        }
        12 => structure(reader, path, depth + 1, visit)?,
        13 => {
            let [keys, values] = reader.array::<2>()?;
            let count = count(reader)?;
            if count == 0 {
                visit(path, Value::Empty);
            }
            for index in 0..count {
                element(reader, keys, path, ('{', '}'), index, depth, visit)?;
                element(reader, values, path, ('[', ']'), index, depth, visit)?;
            }
        }
        14 | 15 => {
            let elements = reader.u8()?;
            let count = count(reader)?;
            if count == 0 {
                visit(path, Value::Empty);
            }
            for index in 0..count {
                element(reader, elements, path, ('[', ']'), index, depth, visit)?;
            }
        }
        _ => return None,
    }
    Some(())
}

fn element<'a>(
    reader: &mut Reader<'a>,
    kind: u8,
    path: &mut String,
    (open, close): (char, char),
    index: usize,
    depth: usize,
    visit: &mut impl FnMut(&str, Value<'a>),
) -> Option<()> {
    let length = path.len();
    path.push(open);
    push_number(path, index);
    path.push(close);
    value(reader, kind, path, depth + 1, visit)?;
    path.truncate(length);
    Some(())
}

/// The number of elements, which takes at least a byte each: a larger one is not believed.
fn count(reader: &mut Reader<'_>) -> Option<usize> {
    let count = usize::try_from(reader.u32_be()?).ok()?;
    (count <= reader.rest().len()).then_some(count)
}

fn push_number(text: &mut String, number: usize) {
    use core::fmt::Write;
    // Writing to a string cannot fail.
    let _ = write!(text, "{number}");
}

/// The arguments as text, one `path=value` each; for reports and tests.
pub fn describe(call: &Call<'_>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    call.fields(|path, value| {
        all.push(match value {
            Value::Integer(number) => alloc::format!("{path}={number}"),
            Value::Double(number) => alloc::format!("{path}={number}"),
            Value::Bytes(bytes) => alloc::format!("{path}={}", bytes.escape_ascii()),
            Value::Empty => alloc::format!("{path}=[]"),
        });
    })?;
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
        fn never_panics(arguments in proptest::collection::vec(0u8..16, 0..120)) {
            let call = Call { method: b"m", sequence: 0, arguments: &arguments, one_way: false };
            let _ = describe(&call);
        }
    }
}
