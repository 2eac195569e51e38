//! JSON, flattened: every scalar with the path that leads to it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Deeper nesting than this is not decoded: such text is compared as bytes.
const MAX_DEPTH: usize = 64;

/// Long names above many values make paths that are out of proportion to the text: so many times its length
/// may all paths together be.
const MOST_PATHS: usize = 16;
/// And short texts may have paths of this length all the same.
const FREE_PATHS: usize = 1 << 16;

/// The text is not JSON, is nested too deep, or has paths out of proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

/// Calls `visit` with the path and the text of every scalar, and of every empty array or object.
///
/// Paths look like `items[0].id`. The text is that of the document: strings keep their quotes and
/// escapes. Several documents one after another (newline-delimited JSON) are accepted: the paths of the
/// second one start with `#1`, and so on. Members arrive as sent: the order of an object's members is the
/// caller's to ignore.
///
/// On [`Invalid`], what was visited so far must be thrown away.
pub fn leaves<'a>(text: &'a [u8], mut visit: impl FnMut(&str, &'a [u8])) -> Result<(), Invalid> {
    let mut path = String::new();
    let mut document = 0usize;
    let mut budget = text.len().saturating_mul(MOST_PATHS).saturating_add(FREE_PATHS);
    let mut visit = |path: &str, token: &'a [u8]| {
        budget = budget.checked_sub(path.len()).ok_or(Invalid)?;
        visit(path, token);
        Ok(())
    };
    let mut cursor = Cursor { text, at: 0 };
    cursor.space();
    if cursor.peek().is_none() {
        return Err(Invalid);
    }
    while cursor.peek().is_some() {
        path.clear();
        if document > 0 {
            path.push('#');
            push_number(&mut path, document);
        }
        value(&mut cursor, &mut path, &mut visit)?;
        document += 1;
        cursor.space();
    }
    Ok(())
}

/// The characters of a string token, without quotes and escapes. What is no string token, or holds a
/// broken escape, is returned as it is.
pub fn unescape(token: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = token.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")) else {
        return Cow::Borrowed(token);
    };
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    match unescape_inner(inner) {
        Some(text) => Cow::Owned(text),
        None => Cow::Borrowed(inner),
    }
}

fn unescape_inner(inner: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        let (&escape, tail) = rest.split_first()?;
        rest = tail;
        match escape {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'u' => {
                let (unit, tail) = unit(rest)?;
                rest = tail;
                let mut code = unit;
                if (0xd800..0xdc00).contains(&unit)
                    && let Some((low, tail)) = rest.strip_prefix(b"\\u").and_then(self::unit)
                    && (0xdc00..0xe000).contains(&low)
                {
                    code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    rest = tail;
                }
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => text.push(other),
        }
    }
    Some(text)
}

fn unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, tail) = text.split_at_checked(4)?;
    let digits = core::str::from_utf8(digits).ok()?;
    Some((u32::from_str_radix(digits, 16).ok()?, tail))
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A string token with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Invalid> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(Invalid);
        }
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).ok_or(Invalid)?;
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(Invalid)?;
            self.at += found + 1;
            if rest.get(found) == Some(&b'"') {
                return Ok(self.since(start));
            }
            self.at += 1;
        }
    }

    fn scalar(&mut self) -> Result<&'a [u8], Invalid> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => {
                while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                return Ok(self.since(start));
            }
            _ => {}
        }
        for word in [&b"true"[..], b"false", b"null"] {
            if self.text.get(start..).is_some_and(|rest| rest.starts_with(word)) {
                self.at += word.len();
                return Ok(self.since(start));
            }
        }
        Err(Invalid)
    }
}

/// Takes the path and the text of a scalar. Not generic: what reads is large, and there are several who visit.
type Visit<'v, 'a> = dyn FnMut(&str, &'a [u8]) -> Result<(), Invalid> + 'v;

/// What encloses the value being read, and how long the path was before it.
enum Level {
    Array { index: usize, path: usize },
    Object { path: usize },
}

fn value<'a>(cursor: &mut Cursor<'a>, path: &mut String, visit: &mut Visit<'_, 'a>) -> Result<(), Invalid> {
    let mut levels: Vec<Level> = Vec::new();
    loop {
        // One value.
        cursor.space();
        match cursor.peek() {
            Some(open @ (b'[' | b'{')) => {
                cursor.at += 1;
                cursor.space();
                let close = if open == b'[' { b']' } else { b'}' };
                if cursor.peek() == Some(close) {
                    cursor.at += 1;
                    visit(path, if open == b'[' { b"[]" } else { b"{}" })?;
                } else if levels.len() >= MAX_DEPTH {
                    return Err(Invalid);
                } else {
                    let level = if open == b'[' {
                        Level::Array { index: 0, path: path.len() }
                    } else {
                        Level::Object { path: path.len() }
                    };
                    enter(cursor, path, &level)?;
                    levels.push(level);
                    continue;
                }
            }
            _ => {
                let token = cursor.scalar()?;
                visit(path, token)?;
            }
        }
        // What follows it: the next one of the same level, or the end of the level.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(()) };
            cursor.space();
            let (next, length) = match level {
                Level::Array { index, path } => {
                    *index += 1;
                    (b']', *path)
                }
                Level::Object { path } => (b'}', *path),
            };
            path.truncate(length);
            match cursor.peek() {
                Some(b',') => {
                    cursor.at += 1;
                    enter(cursor, path, level)?;
                    break;
                }
                Some(byte) if byte == next => {
                    cursor.at += 1;
                    levels.pop();
                }
                _ => return Err(Invalid),
            }
        }
    }
}

/// Puts the position of the next value on the path: its index, or its name, which is read with its colon.
fn enter(cursor: &mut Cursor<'_>, path: &mut String, level: &Level) -> Result<(), Invalid> {
    match level {
        Level::Array { index, .. } => {
            path.push('[');
            push_number(path, *index);
            path.push(']');
        }
        Level::Object { .. } => {
            cursor.space();
            let name = cursor.string()?;
            cursor.space();
            if cursor.peek() != Some(b':') {
                return Err(Invalid);
            }
            cursor.at += 1;
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&String::from_utf8_lossy(&unescape(name)));
        }
    }
    Ok(())
}

fn push_number(text: &mut String, number: usize) {
    use core::fmt::Write;
    // Writing to a string cannot fail.
    let _ = write!(text, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn flat(text: &str) -> Result<Vec<String>, Invalid> {
        let mut all = Vec::new();
        leaves(text.as_bytes(), |path, value| {
            all.push(std::format!("{path}={}", String::from_utf8_lossy(value)));
        })?;
        Ok(all)
    }

    #[test]
    fn every_scalar_with_its_path() {
        assert_eq!(
            flat(r#" {"a":[1,{"b":"x\"y"}],"c":{},"d":[[],null,-1.5e3], "é":true} "#).expect("valid"),
            ["a[0]=1", r#"a[1].b="x\"y""#, "c={}", "d[0]=[]", "d[1]=null", "d[2]=-1.5e3", "é=true"]
        );
        assert_eq!(flat("7").expect("valid"), ["=7"]);
        assert_eq!(flat("[]").expect("valid"), ["=[]"]);
        assert_eq!(flat("{\"a\":1}\n{\"a\":2}\n").expect("valid"), ["a=1", "#1.a=2"]);
    }

    #[test]
    fn what_is_not_json_is_invalid() {
        for text in [
            "",
            " ",
            "{",
            "{\"a\"}",
            "{\"a\":1,}",
            "[1,]",
            "[1 2]",
            "nul",
            "\"a",
            "\"\\",
            "}",
            "{a:1}",
            "[1}",
        ] {
            assert_eq!(flat(text), Err(Invalid), "{text}");
        }
        assert_eq!(flat(&"[".repeat(100_000)), Err(Invalid), "depth is bounded");
        let long = std::format!("{{\"{}\":[{}1]}}", "k".repeat(50_000), "1,".repeat(50_000));
        assert_eq!(flat(&long), Err(Invalid), "and so is the length of all paths");
    }

    #[test]
    fn escapes() {
        assert_eq!(&*unescape(br#""a\n\u00e9\ud83d\ude00\/""#), "a\né😀/".as_bytes());
        assert_eq!(&*unescape(br#""\ud83d""#), "\u{fffd}".as_bytes());
        assert_eq!(&*unescape(br#""\u12""#), br#"\u12"#);
        assert_eq!(&*unescape(b"12"), b"12");
        assert_eq!(&*unescape(b"\""), b"\"");
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[\[\]{},:"\\a1 tn.-]{0,60}"#) {
            let _ = flat(&text);
            let _ = unescape(text.as_bytes());
        }

        #[test]
        fn strings_survive(name in "\\PC{0,12}", value in "\\PC{0,20}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let text = std::format!("{{\"k{}\":\"{}\"}}", quote(&name), quote(&value));
            let mut seen = None;
            leaves(text.as_bytes(), |path, token| seen = Some((path.to_string(), unescape(token).into_owned())))
                .expect("valid");
            prop_assert_eq!(seen, Some((std::format!("k{name}"), value.into_bytes())));
        }
    }
}
