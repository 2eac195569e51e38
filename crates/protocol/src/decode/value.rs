//! Values that requests carry in binary forms, and the paths that lead to them.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// One value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// None: SQL's `NULL`, BSON's null.
    Null,
    /// True or false, where that is a type of its own.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Text, or what is written as such: a decimal number, a UUID, an object id.
    Text(Cow<'a, [u8]>),
    /// A date, a time or both: `2026-01-02`, `2026-01-02 03:04:05.678`.
    Time(String),
    /// Bytes that may be text.
    Bytes(&'a [u8]),
    /// A list, map or document without elements.
    Empty,
}

impl Value<'_> {
    /// The value as text; bytes as they are.
    pub fn text(&self) -> Cow<'_, [u8]> {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Null => return Cow::Borrowed(b"NULL"),
            Self::Boolean(value) => write!(text, "{value}"),
            Self::Integer(number) => write!(text, "{number}"),
            Self::Double(number) => write!(text, "{number}"),
            Self::Text(text) => return Cow::Borrowed(text),
            Self::Time(text) => return Cow::Borrowed(text.as_bytes()),
            Self::Bytes(bytes) => return Cow::Borrowed(bytes),
            Self::Empty => return Cow::Borrowed(b"[]"),
        };
        Cow::Owned(text.into_bytes())
    }

    /// A number without a sign.
    pub(crate) fn unsigned(number: u64) -> Self {
        match i64::try_from(number) {
            Ok(number) => Self::Integer(number),
            Err(_) => Self::Text(Cow::Owned(alloc::format!("{number}").into_bytes())),
        }
    }

    /// A point in time, in microseconds since 1970, as date and time.
    pub(crate) fn instant(microseconds: i64) -> Self {
        const DAY: i64 = 86_400_000_000;
        let (days, within) = (microseconds.div_euclid(DAY), microseconds.rem_euclid(DAY));
        let mut text = date(days);
        text.push(' ');
        clock(&mut text, within);
        Self::Time(text)
    }

    /// Bytes in hexadecimal digits, with dashes where a UUID has them if there are 16.
    pub(crate) fn hex(bytes: &[u8]) -> Self {
        let mut text = Vec::with_capacity(bytes.len() * 2 + 4);
        for (index, byte) in bytes.iter().enumerate() {
            if bytes.len() == 16 && matches!(index, 4 | 6 | 8 | 10) {
                text.push(b'-');
            }
            text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        Self::Text(Cow::Owned(text))
    }
}

/// A day, by its number since 1970-01-01, in the Gregorian calendar.
pub(crate) fn date(days: i64) -> String {
    // From 0000-03-01 on a year ends with its leap day, and 400 years have the same number of days.
    let day = days.saturating_add(719_468);
    let era = day.div_euclid(146_097);
    let day = day.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, (month + 2) % 12 + 1);
    alloc::format!("{year:04}-{month:02}-{of_month:02}")
}

/// Appends a time of day in microseconds: `03:04:05`, with a fraction where there is one.
pub(crate) fn clock(text: &mut String, microseconds: i64) {
    let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
    // Writing to a string cannot fail.
    let _ = write!(text, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        let _ = write!(text, ".{fraction:06}");
    }
}

/// The path that leads to a value: `filter.at.$lt`, `documents[0].name`.
#[derive(Debug, Default)]
pub(crate) struct Path {
    text: String,
}

impl Path {
    /// Calls `inside` with the path to a member, or to an element between `brackets`.
    pub(crate) fn with<R>(
        &mut self,
        step: impl core::fmt::Display,
        brackets: Option<(char, char)>,
        inside: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let length = self.text.len();
        // Writing to a string cannot fail.
        let _ = match brackets {
            Some((open, close)) => write!(self.text, "{open}{step}{close}"),
            None if length > 0 => write!(self.text, ".{step}"),
            None => write!(self.text, "{step}"),
        };
        let result = inside(self);
        self.text.truncate(length);
        result
    }
}

/// Who is told the leaves of a tree of values. Long names above many values make paths that are out of proportion:
/// what is told is bounded.
pub(crate) struct Leaves<'v, 'a> {
    budget: usize,
    visit: &'v mut dyn FnMut(&str, Value<'a>),
}

impl<'v, 'a> Leaves<'v, 'a> {
    /// All paths together may be as long as 16 times the bytes that the values are read from.
    pub(crate) fn new(bytes: &[u8], visit: &'v mut dyn FnMut(&str, Value<'a>)) -> Self {
        Self { budget: bytes.len().saturating_mul(16).saturating_add(1 << 16), visit }
    }

    pub(crate) fn leaf(&mut self, path: &Path, value: Value<'a>) -> Option<()> {
        self.budget = self.budget.checked_sub(path.text.len())?;
        (self.visit)(&path.text, value);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        let text = |microseconds| Value::instant(microseconds).text().escape_ascii().to_string();
        assert_eq!(text(0), "1970-01-01 00:00:00");
        assert_eq!(text(1_767_323_045_678_900), "2026-01-02 03:04:05.678900");
        assert_eq!(text(951_782_400_000_000), "2000-02-29 00:00:00");
        assert_eq!(text(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(text(i64::MIN).len(), "-290308-12-21 19:59:05.224192".len());
        assert_eq!(date(i64::MAX).get(..4), Some("2525"));
    }

    #[test]
    fn numbers_and_ids() {
        assert_eq!(&*Value::unsigned(u64::MAX).text(), b"18446744073709551615");
        assert_eq!(Value::unsigned(7), Value::Integer(7));
        assert_eq!(&*Value::hex(&[0x0f, 0xa0]).text(), b"0fa0");
        assert_eq!(&*Value::hex(&[0x12; 16]).text(), b"12121212-1212-1212-1212-121212121212");
    }
}
