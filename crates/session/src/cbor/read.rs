//! The decoder: minicbor's, with the tolerance that `mod.rs` promises.

use std::borrow::Cow;
use std::sync::Arc;

use minicbor::{Decoder, data::Type, decode};

use super::{Error, table::Members};
use crate::model::{Action, Connection, FieldScore, Session};

/// Integers up to here are exact in a float.
const EXACT_IN_FLOAT: f64 = 9_007_199_254_740_992.0;

/// A value of a member.
pub(super) trait Decode: Sized {
    /// Reads it; `member` is its name, for errors.
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error>;
}

/// A position in bytes.
///
/// Its operations stay functions: they are called for each member of each type, and inlined there they were a tenth
/// of the WASM module.
pub(super) struct Reader<'b> {
    decoder: Decoder<'b>,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { decoder: Decoder::new(bytes) }
    }

    pub(super) fn offset(&self) -> usize {
        self.decoder.position()
    }

    /// What comes next, after tags, which say nothing here that the model does not.
    #[inline(never)]
    fn kind(&mut self) -> Result<Type, Error> {
        loop {
            let kind = self.decoder.datatype().map_err(|error| self.error(&error))?;
            if kind != Type::Tag {
                return Ok(kind);
            }
            self.decoder.tag().map_err(|error| self.error(&error))?;
        }
    }

    #[cold]
    fn error(&self, error: &decode::Error) -> Error {
        if error.is_end_of_input() {
            Error::Truncated { offset: self.decoder.input().len() }
        } else {
            let what = if error.is_type_mismatch() { "an unknown type of item" } else { "a damaged item" };
            Error::Malformed { offset: error.position().unwrap_or_else(|| self.offset()), what }
        }
    }

    #[cold]
    fn unexpected(&self, member: &'static str, expected: &'static str, found: Type) -> Error {
        let offset = self.offset();
        let found = match found {
            Type::Bool => "a boolean",
            Type::Null | Type::Undefined => "null",
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => "a number",
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => "a negative number",
            Type::F16 | Type::F32 | Type::F64 => "a float",
            Type::Bytes | Type::BytesIndef => "bytes",
            Type::String | Type::StringIndef => "text",
            Type::Array | Type::ArrayIndef => "an array",
            Type::Map | Type::MapIndef => "a map",
            Type::Break => {
                return Error::Malformed { offset, what: "a break outside an indefinite length" };
            }
            _ => "an unknown type",
        };
        Error::Unexpected { offset, member, expected, found: found.to_owned() }
    }

    #[inline(never)]
    fn skip(&mut self) -> Result<(), Error> {
        self.decoder.skip().map_err(|error| self.error(&error))
    }

    /// A run of bytes, be it written as bytes or as text.
    #[inline(never)]
    fn bytes(&mut self, member: &'static str, expected: &'static str) -> Result<Cow<'b, [u8]>, Error> {
        let kind = self.kind()?;
        let result = match kind {
            Type::Bytes => self.decoder.bytes().map(Cow::Borrowed),
            Type::String => self.decoder.str().map(|text| Cow::Borrowed(text.as_bytes())),
            Type::BytesIndef => self.decoder.bytes_iter().and_then(|parts| {
                parts.collect::<Result<Vec<_>, _>>().map(|parts| Cow::Owned(parts.concat()))
            }),
            Type::StringIndef => self.decoder.str_iter().and_then(|parts| {
                parts.collect::<Result<String, _>>().map(|text| Cow::Owned(text.into_bytes()))
            }),
            other => return Err(self.unexpected(member, expected, other)),
        };
        result.map_err(|error| self.error(&error))
    }

    #[inline(never)]
    fn text(&mut self, member: &'static str) -> Result<Cow<'b, str>, Error> {
        let kind = self.kind()?;
        let offset = self.offset();
        if kind == Type::String {
            return self.decoder.str().map(Cow::Borrowed).map_err(|error| self.error(&error));
        }
        let not_text = |_| Error::Unexpected {
            offset,
            member,
            expected: "text",
            found: "bytes that are no UTF-8".to_owned(),
        };
        Ok(match self.bytes(member, "text")? {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(not_text)?),
            Cow::Owned(bytes) => {
                Cow::Owned(String::from_utf8(bytes).map_err(|error| not_text(error.utf8_error()))?)
            }
        })
    }

    #[inline(never)]
    fn integer(&mut self, member: &'static str, expected: &'static str) -> Result<i128, Error> {
        let kind = self.kind()?;
        let offset = self.offset();
        let result = match kind {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => self.decoder.u64().map(i128::from),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => self.decoder.int().map(i128::from),
            Type::F16 | Type::F32 | Type::F64 => {
                let value = self.float(member)?;
                if value.fract() != 0.0 || value.abs() > EXACT_IN_FLOAT {
                    let found = value.to_string();
                    return Err(Error::Unexpected { offset, member, expected, found });
                }
                Ok(value as i128)
            }
            other => return Err(self.unexpected(member, expected, other)),
        };
        result.map_err(|error| self.error(&error))
    }

    #[inline(never)]
    fn float(&mut self, member: &'static str) -> Result<f64, Error> {
        let kind = self.kind()?;
        let result = match kind {
            Type::F16 => {
                let offset = self.offset();
                let Some(&[_, high, low]) = self.decoder.input().get(offset..offset + 3) else {
                    return Err(Error::Truncated { offset: self.decoder.input().len() });
                };
                self.decoder.set_position(offset + 3);
                Ok(half(u16::from_be_bytes([high, low])))
            }
            Type::F32 => self.decoder.f32().map(f64::from),
            Type::F64 => self.decoder.f64(),
            // A writer without types of number writes 1.0 as 1.
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => self.decoder.u64().map(|value| value as f64),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                self.decoder.int().map(|value| i128::from(value) as f64)
            }
            other => return Err(self.unexpected(member, "a number", other)),
        };
        result.map_err(|error| self.error(&error))
    }

    /// A map's key; `None` where it is no text, and so none of ours.
    #[inline(never)]
    fn name(&mut self, member: &'static str) -> Result<Option<Cow<'b, str>>, Error> {
        match self.kind()? {
            Type::String | Type::StringIndef => self.text(member).map(Some),
            _ => self.skip().map(|()| None),
        }
    }

    /// Whether another item of a container follows, of whose `left` were announced (`None`: until a break).
    #[inline(never)]
    fn more(&mut self, left: &mut Option<u64>) -> Result<bool, Error> {
        match left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => {
                if self.decoder.datatype().map_err(|error| self.error(&error))? != Type::Break {
                    return Ok(true);
                }
                self.skip()?;
                Ok(false)
            }
        }
    }
}

/// Reads a member's value; `null` is its default.
#[inline(never)]
pub(super) fn value<T: Decode + Default>(reader: &mut Reader<'_>, member: &'static str) -> Result<T, Error> {
    if matches!(reader.kind()?, Type::Null | Type::Undefined) {
        reader.skip()?;
        return Ok(T::default());
    }
    T::decode(reader, member)
}

/// Reads a member's value into its place. A function for each type, not for each member: inlined in those, it was a
/// twentieth of the WASM module.
#[inline(never)]
pub(super) fn member<T: Decode + Default>(
    reader: &mut Reader<'_>,
    member: &'static str,
    place: &mut T,
) -> Result<bool, Error> {
    *place = value(reader, member)?;
    Ok(true)
}

/// Reads a map, and gives each name to `take`, which reads the value, or answers `false` and has it skipped.
pub(super) fn map(
    reader: &mut Reader<'_>,
    member: &'static str,
    take: &mut dyn FnMut(&str, &mut Reader<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let kind = reader.kind()?;
    if !matches!(kind, Type::Map | Type::MapIndef) {
        return Err(reader.unexpected(member, "a map", kind));
    }
    let mut left = reader.decoder.map().map_err(|error| reader.error(&error))?;
    while reader.more(&mut left)? {
        let known = match reader.name(member)? {
            Some(name) => take(&name, reader)?,
            None => false,
        };
        if !known {
            reader.skip()?;
        }
    }
    Ok(())
}

/// The `ActionType` of the action that comes next, and where it stands; reads nothing.
pub(super) fn action_type<'b>(
    reader: &mut Reader<'b>,
    member: &'static str,
) -> Result<(usize, Cow<'b, str>), Error> {
    let kind = reader.kind()?;
    let start = reader.offset();
    if !matches!(kind, Type::Map | Type::MapIndef) {
        return Err(reader.unexpected(member, "an action", kind));
    }
    let mut left = reader.decoder.map().map_err(|error| reader.error(&error))?;
    while reader.more(&mut left)? {
        // First in what `encode` writes, so that this loop seldom turns.
        if reader.name(member)?.as_deref() == Some("ActionType") {
            reader.kind()?;
            let offset = reader.offset();
            let text = reader.text("ActionType")?;
            reader.decoder.set_position(start);
            return Ok((offset, text));
        }
        reader.skip()?;
    }
    Err(Error::Unexpected {
        offset: start,
        member: "ActionType",
        expected: "text",
        found: "an action without it".to_owned(),
    })
}

/// The whole session.
pub(super) fn session(reader: &mut Reader<'_>) -> Result<Session, Error> {
    let mut session = Session::default();
    map(reader, "session", &mut |name, reader| {
        if name == "SessionId" {
            session.session_id = value(reader, "SessionId")?;
            return Ok(true);
        }
        session.read_member(name, reader)
    })?;
    Ok(session)
}

/// How many bytes the item at the start of `bytes` takes.
pub(super) fn item_length(bytes: &[u8]) -> Result<usize, Error> {
    let mut reader = Reader::new(bytes);
    reader.skip()?;
    Ok(reader.offset())
}

#[cold]
fn out_of_range(offset: usize, member: &'static str, expected: &'static str, value: i128) -> Error {
    let found = match u64::try_from(value) {
        Ok(number) => number.to_string(),
        Err(_) => i64::try_from(value).map_or("less than -2^63".to_owned(), |number| number.to_string()),
    };
    Error::Unexpected { offset, member, expected, found }
}

/// A float of 16 bits, which writers choose for the shortest form of 0.5. (minicbor has it with crates that
/// nothing else here needs.)
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let value = match bits >> 10 & 0x1f {
        0 => fraction / f64::from(1 << 24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (fraction + 1024.0) * f64::from(1 << exponent) / f64::from(1 << 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

macro_rules! integers {
    ($($type:ty, $expected:literal;)*) => {$(
        impl Decode for $type {
            #[inline]
            fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
                let offset = reader.offset();
                let value = reader.integer(member, $expected)?;
                Self::try_from(value).map_err(|_| out_of_range(offset, member, $expected, value))
            }
        }
    )*};
}

integers! {
    u16, "a number from 0 to 65535";
    u32, "a number of 32 bits";
    u64, "a number of 64 bits";
    i32, "a signed number of 32 bits";
    i64, "a signed number of 64 bits";
}

impl Decode for f64 {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        reader.float(member)
    }
}

impl Decode for bool {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        let kind = reader.kind()?;
        if kind != Type::Bool {
            return Err(reader.unexpected(member, "a boolean", kind));
        }
        reader.decoder.bool().map_err(|error| reader.error(&error))
    }
}

impl Decode for String {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        Ok(reader.text(member)?.into_owned())
    }
}

impl Decode for Vec<u8> {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        Ok(reader.bytes(member, "bytes")?.into_owned())
    }
}

impl<T: Decode> Decode for Arc<T> {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        T::decode(reader, member).map(Self::new)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        T::decode(reader, member).map(Some)
    }
}

macro_rules! lists {
    ($($type:ty)*) => {$(
        impl Decode for Vec<$type> {
            fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
                let kind = reader.kind()?;
                if !matches!(kind, Type::Array | Type::ArrayIndef) {
                    return Err(reader.unexpected(member, "an array", kind));
                }
                let mut left = reader.decoder.array().map_err(|error| reader.error(&error))?;
                // Not sized by what was announced: that is the writer's word, and may be 2^64.
                let mut items = Self::new();
                while reader.more(&mut left)? {
                    items.push(<$type>::decode(reader, member)?);
                }
                Ok(items)
            }
        }
    )*};
}

lists! { Action Arc<Connection> FieldScore String u32 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3800, 0.5),
            (0x3c00, 1.0),
            (0xc400, -4.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x7c00, f64::INFINITY),
        ] {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }
}
