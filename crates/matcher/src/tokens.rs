//! Tokens: what a program makes up where it needs a name that nobody has yet, such as the id of a session.

use crate::shape;
use core::ops::Range;

/// Digits of one number that is as likely drawn as counted.
const LEAST_DIGITS: usize = 9;
const LEAST_HEX: usize = 16;
/// Seconds and microseconds since 1970 in hex, as PHP's `uniqid` has them.
const TIMED_HEX: usize = 13;
/// What is shorter has no token but a number.
pub(crate) const LEAST: usize = TIMED_HEX;

/// What a token looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A long number. An account may have one as well.
    Number,
    /// It may be a digest of something, which another run has again: hex, or as long in base 64 as a digest is.
    Digest,
    /// Nothing but drawn at random.
    Random,
}

/// Calls `found` for each token in a text, in order.
pub(crate) fn each(text: &[u8], found: &mut dyn FnMut(Form, Range<usize>)) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        if !byte.is_ascii_alphanumeric() {
            let token = shape::safe_token(text, at);
            if let Some(length) = token {
                found(of_base64(length), at..at + length);
            }
            at += token.unwrap_or(1);
            continue;
        }
        let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let run = rest.get(..word).unwrap_or_default();
        let (form, length) = match of_word(run, rest) {
            Some(known) => known,
            None => {
                at += word;
                continue;
            }
        };
        found(form, at..at + length);
        at += length;
    }
}

/// The token that begins with a run of letters and digits; `rest` is that and what follows it.
fn of_word(run: &[u8], rest: &[u8]) -> Option<(Form, usize)> {
    let uuid = if run.len() == 8 { shape::uuid(rest) } else { None };
    if let Some(length) = uuid {
        // The fourth version is drawn at random, as the seventh is behind its time; others are made of names.
        let drawn = matches!(rest.get(14), Some(b'4' | b'7'));
        return Some((if drawn { Form::Random } else { Form::Digest }, length));
    }
    if run.iter().all(u8::is_ascii_digit) {
        let number = run.len() >= LEAST_DIGITS && !shape::is_clock(run);
        return number.then_some((Form::Number, run.len()));
    }
    // `sess_` before it is a word; letters of one case alone are no part of a token that has longer ones.
    let is_word =
        run.len() >= 3 && (run.iter().all(u8::is_ascii_lowercase) || run.iter().all(u8::is_ascii_uppercase));
    let longer = shape::token(rest).filter(|length| *length > run.len());
    // Unless it is rather the beginning of one: random bytes are so long, and the rest of this would not be.
    let longer = longer
        .filter(|length| !is_word || is_drawn_length(*length) && !is_drawn_length(*length - run.len() - 1));
    if let Some(length) = longer {
        return Some((of_base64(length), length));
    }
    let letters = run.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if letters + 2 > run.len() || letters < 2 {
        return None;
    }
    // From 2021 to 2038 the seconds begin with one of these.
    let timed = run.len() == TIMED_HEX && matches!(run.first(), Some(b'6' | b'7'));
    if (run.len() >= LEAST_HEX || timed) && run.iter().all(u8::is_ascii_hexdigit) {
        return Some((Form::Digest, run.len()));
    }
    if shape::token(run).is_some() {
        return Some((of_base64(run.len()), run.len()));
    }
    shape::is_drawn(run).then_some((Form::Random, run.len()))
}

/// Letters that 16, 18, 24, 32 or 48 random bytes take in base 64 without padding; and nanoid's.
fn is_drawn_length(length: usize) -> bool {
    matches!(length, 21 | 22 | 24 | 32 | 43 | 64)
}

/// 16, 20, 32, 48 or 64 bytes are what digests have.
fn of_base64(length: usize) -> Form {
    if matches!(length, 22 | 24 | 27 | 28 | 43 | 44 | 64 | 86 | 88) { Form::Digest } else { Form::Random }
}

/// Whether a token is so long, and no mere number, that it is in no other one by chance.
pub(crate) fn is_one_of_a_kind(token: &[u8]) -> bool {
    token.len() >= 20 && !token.iter().all(u8::is_ascii_digit)
}

/// Writes a text without its tokens, but for their lengths; `false` where it has none that is worth it. Numbers are left
/// as they are.
pub(crate) fn without(text: &[u8], out: &mut alloc::vec::Vec<u8>) -> bool {
    out.clear();
    let mut from = 0;
    each(text, &mut |form, place| {
        if form != Form::Number {
            out.extend_from_slice(text.get(from..place.start).unwrap_or_default());
            out.extend_from_slice(&[1, place.len() as u8]);
            from = place.end;
        }
    });
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    from > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn tokens(text: &str) -> Vec<(Form, String)> {
        let mut all = Vec::new();
        each(text.as_bytes(), &mut |form, place| all.push((form, text[place].to_string())));
        all
    }

    #[test]
    fn tokens_are_told_from_words() {
        let is = |text: &str, form: Form, token: &str| {
            assert_eq!(tokens(text), [(form, token.to_string())], "{text}");
        };
        is("session:5315d05bea55d14822e8cef4f94cb00f", Form::Digest, "5315d05bea55d14822e8cef4f94cb00f");
        is("sess_0387a4d8a0741332c42c21a46f452fdb", Form::Digest, "0387a4d8a0741332c42c21a46f452fdb");
        is("lock-0f64f15c-f631-42d7-b7b9-bbaa60ad89ca", Form::Random, "0f64f15c-f631-42d7-b7b9-bbaa60ad89ca");
        is("PHPREDIS_SESSION:q1n6ts5v2ce0kr8dcl0ihg3b1u", Form::Random, "q1n6ts5v2ce0kr8dcl0ihg3b1u");
        for sid in ["kisbgenqv0ikubhbfqdfaa46sg", "oh26hmq38voshtqocvtkjoes71", "6isnl0rvffmvh9irrpmaqqdbte"]
        {
            is(&format!("PHPSESS:{sid}"), Form::Random, sid);
        }
        is("'n3x0vks1n1m1opp1y8hk2a5qk2wmbgml'", Form::Random, "n3x0vks1n1m1opp1y8hk2a5qk2wmbgml");
        is("sess:kF8_JVh3-0hZpQ2rV5vYt7LqXw1NcB9d", Form::Random, "kF8_JVh3-0hZpQ2rV5vYt7LqXw1NcB9d");
        is("sess:sAMTk4nK81FYlKjwLjCWEVdujRsvWkLy", Form::Random, "sAMTk4nK81FYlKjwLjCWEVdujRsvWkLy");
        let safe = "TmBzzqzSaUj-bnSubXY-aWOS6KhcSPUK";
        is(&format!("('q','{safe}')"), Form::Random, safe);
        for safe in ["-F8_JVh3-0hZpQ2rV5vYt7LqXw1NcB9d", "_F8-JVh3_0hZpQ2rV5vYt7LqXw1NcB9-"] {
            is(&format!("sess:{safe}"), Form::Random, safe);
            is(safe, Form::Random, safe);
        }
        for safe in ["vuw-9doErB9P-KaJgWXTLeissDdDlHXY", "abcd_doErB9P-KaJgWXTL2issDdDlHXY"] {
            is(&format!("fs:{safe}"), Form::Random, safe);
        }
        is("sess_vu9-9doErB9P-KaJgWXTLeissDdDlHXY", Form::Random, "vu9-9doErB9P-KaJgWXTLeissDdDlHXY");
        is("'344vmg7kqdwigxtz3i5gl7pfeourvl9c'", Form::Random, "344vmg7kqdwigxtz3i5gl7pfeourvl9c");
        is("01HF7YAT00M5JZ6E5Q1W3VR9K2", Form::Random, "01HF7YAT00M5JZ6E5Q1W3VR9K2");
        is("ord_6a22e5f0dcf53", Form::Digest, "6a22e5f0dcf53");
        is("order 4234567890123", Form::Number, "4234567890123");
        for text in [
            "user:42:name",
            "2026-11-14T02:05:28",
            "1795358265",
            "SomeVeryLongCamelCaseNameWithoutDigits",
            "getUserByIdOrNullIfNotFound2",
            "some_constant_name_2_with_number",
            "a-very-long-name-in-kebab-case-without-end",
            "accommodationfacade12",
            "iso8859encodings2unicodestrings",
            "internationalization2018translations",
            "straightforwardrhythms21",
            "geschwindigkeitsbegrenzung50kmh",
            "deadbeef",
            "1a22e5f0dcf53",
        ] {
            assert_eq!(tokens(text), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn places_lie_within_the_text(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut end = 0;
            each(&text, &mut |_, place| {
                assert!(place.start >= end && place.start < place.end && place.end <= text.len());
                end = place.end;
            });
        }
    }
}
