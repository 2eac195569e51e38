//! Byte strings as koala 1.x writes them into JSON.
//!
//! Two layers: bytes become text, in which `\xhh` stands for what is no text; and that text becomes a JSON string.

/// Appends `bytes` as a JSON string, quotes included.
pub(super) fn write(bytes: &[u8], out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\\' | '\0'..='\x1f' => write_byte(character as u8, out),
                // Go's decoder answers invalid bytes with this character, so koala 1.x takes it for one.
                '\u{fffd}' => "\u{fffd}".bytes().for_each(|byte| write_byte(byte, out)),
                other => write_html_safe(other, out),
            }
        }
        chunk.invalid().iter().for_each(|&byte| write_byte(byte, out));
    }
    out.push('"');
}

/// Appends text as Go's `encoding/json` does, quotes included.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' => {
                out.push_str("\\u00");
                write_hex(character as u8, out);
            }
            other => write_html_safe(other, out),
        }
    }
    out.push('"');
}

/// The characters that Go escapes so that JSON can stand in HTML and in JavaScript.
fn write_html_safe(character: char, out: &mut String) {
    match character {
        '<' => out.push_str("\\u003c"),
        '>' => out.push_str("\\u003e"),
        '&' => out.push_str("\\u0026"),
        '\u{2028}' => out.push_str("\\u2028"),
        '\u{2029}' => out.push_str("\\u2029"),
        other => out.push(other),
    }
}

fn write_byte(byte: u8, out: &mut String) {
    // A backslash in the text is two in the JSON string.
    out.push_str("\\\\x");
    write_hex(byte, out);
}

fn write_hex(byte: u8, out: &mut String) {
    for digit in [byte >> 4, byte & 0xf] {
        out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
}

/// The bytes of a text (JSON's own escapes already undone). A backslash that begins no `\xhh`, which koala 1.x
/// does not write, is itself.
pub(super) fn read(text: String) -> Vec<u8> {
    let bytes = text.into_bytes();
    let Some(first) = bytes.iter().position(|&byte| byte == b'\\') else {
        return bytes;
    };
    let (plain, mut rest) = bytes.split_at(first);
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(plain);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'\\'
            && let [b'x', high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            // Two digits of four bits each: no more than a byte.
            decoded.push((high << 4 | low) as u8);
            rest = behind;
            continue;
        }
        decoded.push(byte);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> String {
        let mut out = String::new();
        write(bytes, &mut out);
        out
    }

    #[test]
    fn what_is_no_text_becomes_an_escape() {
        assert_eq!(written(b"hel\nlo\r\t\"\x7f"), r#""hel\nlo\r\t\"#.to_owned() + "\"\x7f\"");
        assert_eq!(written(b"\x00\x08\x0c\x1f"), r#""\\x00\\x08\\x0c\\x1f""#);
        assert_eq!(written(br"\n"), r#""\\x5cn""#);
        assert_eq!(written(b"\xff\xc3\x28"), r#""\\xff\\xc3(""#);
        assert_eq!(written("中文".as_bytes()), "\"中文\"");
        assert_eq!(written(b"<a>&"), r#""\u003ca\u003e\u0026""#);
        assert_eq!(written("\u{2028}\u{2029}".as_bytes()), r#""\u2028\u2029""#);
        assert_eq!(written("\u{fffd}".as_bytes()), r#""\\xef\\xbf\\xbd""#);
        // The bytes of a surrogate, and a sequence cut short: each byte apart, as Go has it.
        assert_eq!(written(b"\xed\xa0\x80"), r#""\\xed\\xa0\\x80""#);
        assert_eq!(written(b"\xe4\xb8"), r#""\\xe4\\xb8""#);
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(read(r"\x00\xff\x5cx41".to_owned()), b"\x00\xff\\x41");
        assert_eq!(read("plain 中".to_owned()), "plain 中".as_bytes());
        assert_eq!(read(r"a\b\x4\xzz\".to_owned()), br"a\b\x4\xzz\");
    }

    #[test]
    fn text_is_escaped_as_go_does() {
        let mut out = String::new();
        write_text("a\\b\"\u{1}<\u{8}\n\u{fffd}", &mut out);
        assert_eq!(out, r#""a\\b\"\u0001\u003c\u0008\n"#.to_owned() + "\u{fffd}\"");
    }
}
