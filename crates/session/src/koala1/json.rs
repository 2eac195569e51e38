//! JSON (RFC 8259) as a tree, with whole numbers of 64 bits exact and others nearest to what is written.
//!
//! serde_json reads the same, which the tests see. Its tables for numbers and what it says of errors would be a tenth
//! of what a browser loads.

use std::cmp::Ordering;

/// Deeper nesting is refused.
const MOST_LEVELS: usize = 128;

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Value>),
    Object(Map),
}

impl Value {
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(super) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    fn number(&self) -> Option<Number> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(super) fn as_u64(&self) -> Option<u64> {
        self.number()?.as_u64()
    }

    pub(super) fn as_i64(&self) -> Option<i64> {
        self.number()?.as_i64()
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        self.number()?.as_f64()
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    pub(super) fn as_u64(self) -> Option<u64> {
        if let Self::Unsigned(number) = self { Some(number) } else { None }
    }

    pub(super) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Negative(number) => Some(number),
            Self::Float(_) => None,
        }
    }

    pub(super) fn as_f64(self) -> Option<f64> {
        Some(match self {
            Self::Unsigned(number) => number as f64,
            Self::Negative(number) => number as f64,
            Self::Float(number) => number,
        })
    }
}

/// The members of an object, as they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map(Vec<(String, Value)>);

impl Map {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The member of a name: the last one, if it has several.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.iter_mut().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// As [`Map::get_mut`].
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The one value of a text; otherwise what is wrong, and where.
pub(super) fn read(text: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0, levels: 0 };
    let wrong = match reader.value() {
        Ok(value) if reader.next().is_none() => return Ok(value),
        Ok(_) => "trailing characters",
        Err(wrong) => wrong,
    };
    let before = text.get(..reader.at).unwrap_or(text);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    Err(format!("{wrong} at line {line} column {column}"))
}

type Read<T> = Result<T, &'static str>;

/// Where the text ends too early.
const END: &str = "EOF while parsing a value";

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    levels: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is no space, which is not taken.
    fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, wanted: u8, wrong: &'static str) -> Read<()> {
        match self.next() {
            None => Err(END),
            Some(_) if self.take(wanted) => Ok(()),
            Some(_) => Err(wrong),
        }
    }

    fn value(&mut self) -> Read<Value> {
        match self.next().ok_or(END)? {
            b'"' => Ok(Value::String(self.string()?)),
            b'{' => {
                let mut members = Vec::new();
                self.list(b'}', &mut |reader| {
                    if reader.next().is_some_and(|byte| byte != b'"') {
                        return Err("key must be a string");
                    }
                    let name = reader.string()?;
                    reader.expect(b':', "expected `:`")?;
                    members.push((name, reader.value()?));
                    Ok(())
                })?;
                Ok(Value::Object(Map(members)))
            }
            b'[' => {
                let mut items = Vec::new();
                self.list(b']', &mut |reader| {
                    items.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                for (word, value) in
                    [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
                {
                    if rest.starts_with(word.as_bytes()) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err("expected value")
            }
        }
    }

    /// What is between the brackets of an object or an array, of which the first is not yet taken.
    fn list(&mut self, close: u8, item: &mut dyn FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.at += 1;
        self.levels += 1;
        if self.levels >= MOST_LEVELS {
            return Err("recursion limit exceeded");
        }
        self.next();
        if !self.take(close) {
            loop {
                item(self)?;
                self.next();
                if self.take(close) {
                    break;
                }
                self.expect(b',', "expected `,` or a closing bracket")?;
            }
        }
        self.levels -= 1;
        Ok(())
    }

    fn string(&mut self) -> Read<String> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let byte = self.peek().ok_or(END)?;
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.escape(&mut text)?,
                ..=0x1f => return Err("control character in a string"),
                _ => text.push(byte),
            }
        }
        String::from_utf8(text).map_err(|_| "invalid unicode code point")
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Read<()> {
        let escape = self.peek().ok_or(END)?;
        self.at += 1;
        let byte = match escape {
            b'"' | b'\\' | b'/' => escape,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => {
                let mut code = self.unit()?;
                if let 0xd800..0xdc00 = code {
                    let low = if self.take(b'\\') && self.take(b'u') { self.unit()? } else { 0 };
                    // What is no second half leaves no character.
                    code = match low {
                        0xdc00..0xe000 => 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                        _ => code,
                    };
                }
                let character = char::from_u32(code).ok_or("lone surrogate in an escape")?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err("invalid escape"),
        };
        text.push(byte);
        Ok(())
    }

    /// Four hex digits.
    fn unit(&mut self) -> Read<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek().ok_or(END)?).to_digit(16).ok_or("invalid escape")?;
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// The digits from here on, of which there must be one.
    fn digits(&mut self) -> Read<&'a [u8]> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == from {
            Err("invalid number")
        } else {
            Ok(self.text.get(from..self.at).unwrap_or_default())
        }
    }

    fn number(&mut self) -> Read<Value> {
        let negative = self.take(b'-');
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with(b"0") {
            return Err("invalid number");
        }
        let fraction = if self.take(b'.') { Some(self.digits()?) } else { None };
        let power = if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            let down = self.take(b'-');
            if !down {
                self.take(b'+');
            }
            // What is beyond that has no number, or is zero.
            let far = i64::from(u32::MAX) << 16;
            let add = |power: i64, digit: &u8| (power * 10 + i64::from(digit - b'0')).min(far);
            let power = self.digits()?.iter().fold(0, add);
            Some(if down { -power } else { power })
        } else {
            None
        };
        if fraction.is_none() && power.is_none() {
            let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
            match (whole.iter().try_fold(0, add), negative) {
                (Some(number), false) => return Ok(Value::Number(Number::Unsigned(number))),
                (Some(number @ 1..), true) => {
                    if let Some(number) = 0i64.checked_sub_unsigned(number) {
                        return Ok(Value::Number(Number::Negative(number)));
                    }
                }
                _ => {}
            }
        }
        let fraction = fraction.unwrap_or_default();
        // No text has as many bytes as there are numbers of 64 bits.
        let exponent = power.unwrap_or_default() - fraction.len() as i64;
        let number = nearest([whole, fraction].concat(), exponent).ok_or("number out of range")?;
        Ok(Value::Number(Number::Float(if negative { -number } else { number })))
    }
}

/// The floating-point number of 64 bits (IEEE 754) nearest to what the digits say, times ten to the power of the
/// `exponent`; of two, the even one. `None` where it is none of them.
fn nearest(mut digits: Vec<u8>, mut exponent: i64) -> Option<f64> {
    /// Where more than so many digits matter, they only say that there is more.
    const ENOUGH: usize = 800;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    if digits.len() > ENOUGH {
        exponent += (digits.len() - ENOUGH) as i64;
        digits.truncate(ENOUGH);
        // As good as whatever it was: it is never the half between two.
        digits.push(b'1');
        exponent -= 1;
    }
    // Below ten to this power, and not below a tenth of that.
    let magnitude = digits.len() as i64 + exponent;
    if digits.is_empty() || magnitude < -330 {
        return Some(0.0);
    } else if magnitude > 310 {
        return None;
    }
    let (mut over, mut under) = (Whole::default(), Whole(vec![1]));
    for digit in &digits {
        over.times_ten(u32::from(digit - b'0'));
    }
    let scaled = if exponent < 0 { &mut under } else { &mut over };
    for _ in 0..exponent.unsigned_abs() {
        scaled.times_ten(0);
    }
    // As a number from 1 to 2, times two to this power.
    let mut power = over.bits() - under.bits();
    if power < 0 { &mut over } else { &mut under }.shift(power.unsigned_abs());
    if over.compare(&under) == Ordering::Less {
        over.shift(1);
        power -= 1;
    }
    if power > 1023 {
        return None;
    }
    // The smallest ones have fewer binary digits.
    let lacking = (-1022 - power).max(0);
    let mut bits = 0u64;
    for _ in lacking..53 {
        let one = over.compare(&under) != Ordering::Less;
        if one {
            over.minus(&under);
        }
        bits = bits << 1 | u64::from(one);
        over.shift(1);
    }
    bits += match over.compare(&under) {
        _ if lacking > 53 => 0,
        Ordering::Less => 0,
        Ordering::Equal => bits & 1,
        Ordering::Greater => 1,
    };
    // The first binary digit counts the exponent up by one.
    let number = f64::from_bits((((power + lacking + 1022) as u64) << 52) + bits);
    Some(number).filter(|number| number.is_finite())
}

/// A whole number of any size, its lowest 32 bits first.
#[derive(Default)]
struct Whole(Vec<u32>);

impl Whole {
    fn times_ten(&mut self, more: u32) {
        let mut carry = u64::from(more);
        for word in &mut self.0 {
            let product = u64::from(*word) * 10 + carry;
            *word = product as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    /// How many bits it has.
    fn bits(&self) -> i64 {
        let highest = self.0.last().map_or(0, |word| word.leading_zeros());
        self.0.len() as i64 * 32 - i64::from(highest)
    }

    /// Times two, so many times.
    fn shift(&mut self, bits: u64) {
        let words = (bits / 32) as usize;
        self.0.splice(..0, std::iter::repeat_n(0, words));
        let bits = bits % 32;
        let mut carry = 0u64;
        for word in &mut self.0 {
            let shifted = u64::from(*word) << bits | carry;
            *word = shifted as u32;
            carry = shifted >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    /// Its highest word is not zero, but behind a subtraction.
    fn compare(&self, other: &Self) -> Ordering {
        let word = |whole: &Self, at: usize| whole.0.get(at).copied().unwrap_or_default();
        let length = self.0.len().max(other.0.len());
        let unequal = (0..length).rev().map(|at| word(self, at).cmp(&word(other, at)));
        unequal.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Less another one, which is not greater.
    fn minus(&mut self, other: &Self) {
        let mut borrow = 0;
        for (at, word) in self.0.iter_mut().enumerate() {
            let less = i64::from(other.0.get(at).copied().unwrap_or_default());
            let difference = i64::from(*word) - less - borrow;
            *word = difference as u32;
            borrow = i64::from(difference < 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn as_theirs(value: Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => flag.into(),
            Value::Number(Number::Unsigned(number)) => number.into(),
            Value::Number(Number::Negative(number)) => number.into(),
            Value::Number(Number::Float(number)) => number.into(),
            Value::String(text) => text.into(),
            Value::Array(items) => items.into_iter().map(as_theirs).collect(),
            Value::Object(members) => serde_json::Value::Object(
                members.into_iter().map(|(name, value)| (name, as_theirs(value))).collect(),
            ),
        }
    }

    /// What serde_json makes of it, and the bits of the number that it is.
    fn assert_same(text: &[u8]) {
        let ours = read(text).ok().map(as_theirs);
        let theirs: Option<serde_json::Value> = serde_json::from_slice(text).ok();
        assert_eq!(ours, theirs, "{}", text.escape_ascii());
        let bits = |value: &Option<serde_json::Value>| value.as_ref()?.as_f64().map(f64::to_bits);
        assert_eq!(bits(&ours), bits(&theirs), "{}", text.escape_ascii());
    }

    #[test]
    fn texts_are_read_as_serde_json_reads_them() {
        for text in [
            r#" { "a" : [ 1 , -2.5e3 , { } , [ ] , true , false , null ] , "b" : "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00" } "#,
            r#"{"a":1,"a":2}"#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\u0041""#,
            r#""\ude00""#,
            r#""\u12""#,
            r#""\x""#,
            "\"\x01\"",
            "\"\x7f\"",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "nul",
            "nulls",
            "[true]x",
            "",
            "0",
            "-0",
            "-0.0",
            "00",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1E+2",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "1e308",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "1e309",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0e99999999999999999999",
            "5e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "2.2250738585072011e-308",
            "9007199254740993",
            "9007199254740993.0",
            "9007199254740992.99999999999999999999999999999999999",
        ] {
            assert_same(text.as_bytes());
        }
        assert_same(b"\"\xff\"");
        for levels in [126, 127, 128, 129] {
            assert_same(format!("{}{}", "[".repeat(levels), "]".repeat(levels)).as_bytes());
        }
    }

    #[test]
    fn halves_go_to_the_even_number() {
        // Between the two least numbers, exactly and by a little more, in 1,100 digits.
        let half = format!("{:.1100}", f64::from_bits(1) * 0.5 + f64::from_bits(1)).replace("0.", ".");
        let text = format!("0{half}");
        assert_same(text.as_bytes());
        assert_same(format!("{text}1").as_bytes());
        assert_same(b"9007199254740993.00000000000000000000000000000000000000000000000000000000000000000001");
    }

    proptest! {
        #[test]
        fn numbers_come_back(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            for text in [format!("{number:?}"), format!("{number:e}")] {
                let Ok(Value::Number(read)) = read(text.as_bytes()) else { panic!("{text}") };
                prop_assert_eq!(read.as_f64().map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn decimals_are_the_nearest(whole in "[1-9][0-9]{0,40}", fraction in "[0-9]{1,40}", power in -400i32..400) {
            let text = format!("{whole}.{fraction}e{power}");
            let nearest: f64 = text.parse().expect("is a number");
            let read = read(text.as_bytes()).ok().and_then(|value| value.as_f64());
            prop_assert_eq!(read, Some(nearest).filter(|number| number.is_finite()), "{}", text);
        }

        #[test]
        fn any_text_is_read_as_serde_json_reads_it(text in r#"([\[\]{},:" \n]|"[a-z\\]{0,3}"|\\u[d0][8c0][0-9]0|-?[0-9]{1,3}(\.[0-9])?([eE][+-]?[0-9])?|true|null|é|\x00){0,12}"#) {
            assert_same(text.as_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
