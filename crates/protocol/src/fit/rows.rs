//! Values of PostgreSQL's rows in their other form: text from binary, and the reverse.
//!
//! The server sends a column in the form that the `Bind` asked for. A value of a type that is known here is the same in
//! both forms; text is as a server writes it whose `DateStyle` is ISO, `bytea_output` hex and `extra_float_digits`
//! above 0, which are the defaults. What depends on more (a time with a time zone as text), and types that are not
//! known, have no other form here.

use crate::decode::Reader;
use crate::decode::postgres::binary;
use crate::decode::value::{Value, clock};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// From 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_DAYS: i64 = 10_957;
const DAY: i64 = 86_400_000_000;
/// A numeric of more digits than this stays as it is.
const NUMERIC_MAX: usize = 4000;

/// A value in text form from its binary one. `kind` is the type's object id in PostgreSQL's catalogue.
pub(super) fn to_text(kind: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    let text = match kind {
        17 => return Some([b"\\x", &*hex(bytes)].concat()),
        // Without the time zone of the session there is no text.
        1184 => return None,
        1082 if matches!(bytes, [0x7f, 0xff, 0xff, 0xff] | [0x80, 0, 0, 0]) => return None,
        1083 => {
            let time = i64::from_be_bytes(*bytes.first_chunk().filter(|_| bytes.len() == 8)?);
            let mut text = String::new();
            clock(&mut text, Some(time).filter(|time| (0..=DAY).contains(time))?);
            trimmed(text)
        }
        _ => match binary(kind, bytes)? {
            Value::Boolean(value) => return Some(if value { b"t".to_vec() } else { b"f".to_vec() }),
            // 4 bytes hold fewer digits than the number that they are read as.
            Value::Double(number) if kind == 700 => floating(&format!("{:e}", number as f32), 6),
            Value::Double(number) => floating(&format!("{number:e}"), 15),
            Value::Time(text) => {
                // Before the year 1, PostgreSQL counts otherwise.
                let before = text.starts_with('-') || text.starts_with("0000");
                let infinite = matches!(bytes, [0x7f | 0x80, ..]) && bytes.len() == 8;
                Some(trimmed(text)).filter(|_| !before && !infinite)?
            }
            Value::Text(text) => return Some(text.into_owned()),
            value @ Value::Integer(_) => return Some(value.text().into_owned()),
            _ => return None,
        },
    };
    Some(text.into_bytes())
}

/// A value in binary form from its text.
pub(super) fn to_binary(kind: u32, text: &[u8]) -> Option<Vec<u8>> {
    let word = || core::str::from_utf8(text).ok();
    let bytes = match kind {
        16 => match text {
            b"t" => Cow::Borrowed(&[1][..]),
            b"f" => Cow::Borrowed(&[0][..]),
            _ => return None,
        }
        .into_owned(),
        17 => return unhex(text.strip_prefix(b"\\x")?),
        20 => word()?.parse::<i64>().ok()?.to_be_bytes().to_vec(),
        21 => word()?.parse::<i16>().ok()?.to_be_bytes().to_vec(),
        23 => word()?.parse::<i32>().ok()?.to_be_bytes().to_vec(),
        26 => word()?.parse::<u32>().ok()?.to_be_bytes().to_vec(),
        700 => word()?.parse::<f32>().ok()?.to_be_bytes().to_vec(),
        701 => word()?.parse::<f64>().ok()?.to_be_bytes().to_vec(),
        1082 => i32::try_from(days(&mut Reader::new(text))? - EPOCH_DAYS).ok()?.to_be_bytes().to_vec(),
        1083 => time(&mut Reader::new(text))?.to_be_bytes().to_vec(),
        1114 => instant(&mut Reader::new(text))?.to_be_bytes().to_vec(),
        // It says itself how far it is from the time that is sent.
        1184 => return zoned(text).map(|instant| instant.to_be_bytes().to_vec()),
        1700 => numeric(text)?,
        2950 => {
            let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'-').collect();
            unhex(&digits).filter(|bytes| bytes.len() == 16)?
        }
        3802 => [&[1], text].concat(),
        19 | 25 | 114 | 1042 | 1043 => text.to_vec(),
        _ => return None,
    };
    // What could not be read back was not understood.
    (to_text(kind, &bytes)? == text).then_some(bytes)
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

/// A point in time without the zeros behind its last digit.
fn trimmed(mut text: String) -> String {
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// A floating-point number from its shortest digits, `1.5e-7`: with an exponent where that is less than -4, or is
/// `widest` or more.
fn floating(shortest: &str, widest: i32) -> String {
    let special = match shortest {
        "inf" => "Infinity",
        "-inf" => "-Infinity",
        "NaN" => "NaN",
        _ => "",
    };
    let Some((digits, exponent)) = shortest.split_once('e').filter(|_| special.is_empty()) else {
        return String::from(special);
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    if exponent < -4 || exponent >= widest {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{digits}e{direction}{:02}", exponent.unsigned_abs());
    }
    let digits: String = digits.chars().filter(|digit| *digit != '.').collect();
    let Ok(before) = usize::try_from(exponent + 1) else {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    };
    match digits.split_at_checked(before) {
        Some((whole, "")) => format!("{sign}{whole}"),
        Some(("", part)) => format!("{sign}0.{part}"),
        Some((whole, part)) => format!("{sign}{whole}.{part}"),
        None => format!("{sign}{digits}{}", "0".repeat(before - digits.len())),
    }
}

/// The number in the next `count` digits.
fn number(reader: &mut Reader<'_>, count: usize) -> Option<i64> {
    let digits = reader.take(count)?;
    digits.iter().try_fold(0, |number, byte| Some(number * 10 + i64::from(char::from(*byte).to_digit(10)?)))
}

fn sign(reader: &mut Reader<'_>, wanted: u8) -> Option<()> {
    (reader.u8()? == wanted).then_some(())
}

/// Days since 1970 from `2001-02-03`.
fn days(reader: &mut Reader<'_>) -> Option<i64> {
    let year = number(reader, 4)?;
    sign(reader, b'-')?;
    let month = number(reader, 2)?;
    sign(reader, b'-')?;
    let day = number(reader, 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // A year that begins with March ends with its leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let within = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + within - 719_468)
}

/// Microseconds from `03:04:05.678`, up to where the digits end.
fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let mut seconds = number(reader, 2)?;
    for _ in 0..2 {
        sign(reader, b':')?;
        seconds = seconds * 60 + number(reader, 2)?;
    }
    let mut microseconds = 0;
    if reader.rest().first() == Some(&b'.') {
        sign(reader, b'.')?;
        let count = reader.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let power = 10_i64.pow(u32::try_from(6_usize.checked_sub(count)?).ok()?);
        microseconds = number(reader, count)? * power;
    }
    Some(seconds * 1_000_000 + microseconds)
}

/// Microseconds since 2000 from `2001-02-03 04:05:06`.
fn instant(reader: &mut Reader<'_>) -> Option<i64> {
    let days = days(reader)? - EPOCH_DAYS;
    sign(reader, b' ')?;
    Some(days * DAY + time(reader)?)
}

/// As [`instant`], with `+02`, `-03:30` or `+05:30:15` behind it.
fn zoned(text: &[u8]) -> Option<i64> {
    let mut reader = Reader::new(text);
    let instant = instant(&mut reader)?;
    let east = match reader.u8()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut seconds = number(&mut reader, 2)? * 3600;
    for unit in [60, 1] {
        if !reader.is_empty() {
            sign(&mut reader, b':')?;
            seconds += number(&mut reader, 2)? * unit;
        }
    }
    reader.is_empty().then_some(instant - east * seconds * 1_000_000)
}

/// A decimal number as digits to the base of 10,000.
fn numeric(text: &[u8]) -> Option<Vec<u8>> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, part) = digits.split_at(point.unwrap_or(digits.len()));
    let part = part.strip_prefix(b".").unwrap_or_default();
    let known = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || digits.len() > NUMERIC_MAX || !known(whole) || !known(part) {
        return None;
    }
    let mut padded = alloc::vec![b'0'; (4 - whole.len() % 4) % 4];
    padded.extend_from_slice(whole);
    let before = padded.len() / 4;
    padded.extend_from_slice(part);
    padded.resize(padded.len().next_multiple_of(4), b'0');
    let mut groups: Vec<u16> = padded
        .chunks(4)
        .map(|group| group.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight =
        if groups.is_empty() { 0 } else { i16::try_from(before).ok()? - 1 - i16::try_from(leading).ok()? };
    let mut bytes = Vec::new();
    bytes.extend(u16::try_from(groups.len()).ok()?.to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend([if negative { 0x40 } else { 0 }, 0]);
    bytes.extend(u16::try_from(part.len()).ok()?.to_be_bytes());
    bytes.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values as PostgreSQL 15 sends them in both forms.
    const BOTH: &[(u32, &str, &[u8])] = &[
        (16, "t", &[1]),
        (17, "\\x00ff", &[0, 255]),
        (20, "-2", &[255, 255, 255, 255, 255, 255, 255, 254]),
        (21, "258", &[1, 2]),
        (23, "42", &[0, 0, 0, 42]),
        (700, "1.5", &[0x3f, 0xc0, 0, 0]),
        (700, "1e+06", &[0x49, 0x74, 0x24, 0]),
        (701, "100000", &[0x40, 0xf8, 0x6a, 0, 0, 0, 0, 0]),
        (701, "1e-05", &[0x3e, 0xe4, 0xf8, 0xb5, 0x88, 0xe3, 0x68, 0xf1]),
        (701, "0.1", &[0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
        (701, "-Infinity", &[0xff, 0xf0, 0, 0, 0, 0, 0, 0]),
        (1043, "gum", b"gum"),
        (1082, "2001-02-03", &[0, 0, 1, 0x8f]),
        (1083, "03:04:05.5", &[0, 0, 0, 2, 0x92, 0x5c, 0xf4, 0x60]),
        (1114, "2000-01-01 00:00:01.25", &[0, 0, 0, 0, 0, 0x13, 0x12, 0xd0]),
        (1700, "21.50", &[0, 2, 0, 0, 0, 0, 0, 2, 0, 21, 0x13, 0x88]),
        (1700, "-0.0001", &[0, 1, 0xff, 0xff, 0x40, 0, 0, 4, 0, 1]),
        (1700, "10000", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
        (1700, "0.00", &[0, 0, 0, 0, 0, 0, 0, 2]),
        (
            2950,
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        ),
        (3802, "{\"a\": 1}", b"\x01{\"a\": 1}"),
    ];

    #[test]
    fn both_forms_say_the_same() {
        for (kind, text, bytes) in BOTH {
            let found = to_text(*kind, bytes).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found.as_deref(), Some(*text), "type {kind}");
            assert_eq!(to_binary(*kind, text.as_bytes()).as_deref(), Some(*bytes), "{text}");
        }
        // The same moment; as text it would be in the time zone of the session.
        let moment = to_binary(1114, b"2001-02-03 02:05:06");
        assert_eq!(to_binary(1184, b"2001-02-03 04:05:06+02"), moment);
        assert_eq!(to_binary(1184, b"2001-02-02 22:35:06-03:30"), moment);
    }

    #[test]
    fn what_is_not_understood_has_no_other_form() {
        for (kind, text) in [
            (16, "yes"),
            (20, "1.0"),
            (23, "+1"),
            (1082, "02/03/2001"),
            (1082, "2001-02-31"),
            (1082, "infinity"),
            (1114, "2001-02-03 04:05:06+02"),
            (1184, "2001-02-03 04:05:06"),
            (1700, "NaN"),
            (1700, ""),
            (2950, "00010203"),
            (600, "(1,2)"),
        ] {
            assert_eq!(to_binary(kind, text.as_bytes()), None, "{text}");
        }
        let infinite = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for (kind, bytes) in
            [(1184, &[0; 8][..]), (1114, &infinite), (1082, &[0x7f, 0xff, 0xff, 0xff]), (23, &[0; 3])]
        {
            assert_eq!(to_text(kind, bytes), None, "type {kind}");
        }
    }

    proptest! {
        #[test]
        fn numbers_survive_the_way_there_and_back(double: f64, single: f32, whole: i64, scale in 0usize..30) {
            for (kind, bytes) in [(701, double.to_be_bytes().to_vec()), (700, single.to_be_bytes().to_vec()), (20, whole.to_be_bytes().to_vec())] {
                let text = to_text(kind, &bytes).unwrap();
                prop_assert_eq!(to_binary(kind, &text).filter(|_| !double.is_nan() && !single.is_nan()).unwrap_or(bytes.clone()), bytes);
            }
            let digits = format!("{:0>31}", whole.unsigned_abs());
            let (before, part) = digits.split_at(digits.len() - scale);
            let before = before.trim_start_matches('0');
            let before = if before.is_empty() { "0" } else { before };
            let text = if scale > 0 { format!("{before}.{part}") } else { String::from(before) };
            let bytes = to_binary(1700, text.as_bytes());
            prop_assert!(bytes.is_some(), "{}", text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(kind in prop_oneof![16u32..30, Just(700), Just(701), 1082u32..1185, Just(1700), Just(2950), Just(3802)], bytes: Vec<u8>, text in "[-+0-9:. ]{0,40}") {
            let _ = (to_text(kind, &bytes), to_binary(kind, &bytes), to_binary(kind, text.as_bytes()));
        }
    }
}
