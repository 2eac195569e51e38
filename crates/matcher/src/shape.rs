//! What a value looks like: which of it a program generated afresh.
//!
//! Times, random ids, nonces and long hex differ between two runs of the same code. In a place where that
//! says nothing about what is asked for, they are masked, and what is left is compared.

use alloc::vec::Vec;
use koala_protocol::words::Words;

/// How much of a value passes for generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// Times only.
    Times,
    /// What hardly anyone would write by hand: 9 digits, 12 hex digits.
    Strict,
    /// What may have come out shorter this time, where its counterpart is known to be generated.
    Loose,
}

impl Care {
    fn digits(self) -> usize {
        match self {
            Self::Times => usize::MAX,
            Self::Strict => 9,
            Self::Loose => 6,
        }
    }

    fn hex(self) -> usize {
        match self {
            Self::Times => usize::MAX,
            Self::Strict => 12,
            Self::Loose => 8,
        }
    }
}

/// Stands for masked text. No text on the wire that is worth masking holds it.
const MASK: u8 = 1;

/// Writes `value` to `masked` with what is generated replaced; `false` where nothing was.
pub(crate) fn mask(value: &[u8], care: Care, masked: &mut Vec<u8>) -> bool {
    masked.clear();
    let mut any = false;
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        let rest = value.get(at..).unwrap_or_default();
        if !byte.is_ascii_alphanumeric() {
            let token = if care == Care::Times { None } else { safe_token(value, at) };
            masked.push(if token.is_some() { MASK } else { byte });
            any |= token.is_some();
            at += token.unwrap_or(1);
            continue;
        }
        let instant = || date_time(rest).or_else(|| time(rest));
        let random = || match care {
            Care::Times => None,
            _ => uuid(rest).or_else(|| token(rest)).or_else(|| signed_time(value, at)),
        };
        if let Some(length) = instant().or_else(random) {
            masked.push(MASK);
            any = true;
            at += length;
            continue;
        }
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let run = rest.get(..length).unwrap_or_default();
        at += length;
        let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits == length && (length >= care.digits() || is_clock(run)) {
            masked.push(MASK);
            any = true;
            at += fraction(value.get(at..).unwrap_or_default());
        } else if length >= care.hex()
            && digits > 0
            && (run.iter().all(u8::is_ascii_hexdigit) || is_drawn(run))
        {
            masked.push(MASK);
            any = true;
        } else {
            any |= mask_digits(run, care, masked);
        }
    }
    any
}

/// Digits behind a name, as in `v1795358265`.
fn mask_digits(run: &[u8], care: Care, masked: &mut Vec<u8>) -> bool {
    let mut any = false;
    for part in run.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        if part.len() >= care.digits() && part.first().is_some_and(u8::is_ascii_digit) {
            masked.push(MASK);
            any = true;
        } else {
            masked.extend_from_slice(part);
        }
    }
    any
}

/// `.123` behind a number.
fn fraction(rest: &[u8]) -> usize {
    match rest {
        [b'.', digits @ ..] => match digits.iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 => 0,
            count => count + 1,
        },
        _ => 0,
    }
}

/// Matches a pattern in which `0` is any digit, and anything else itself.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    text.len() >= pattern.len()
        && text.iter().zip(pattern).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
}

/// `23:59:59`, with a fraction, `Z` or an offset.
fn time(text: &[u8]) -> Option<usize> {
    if !like(text, b"00:00:00")
        || text.get(8).is_some_and(u8::is_ascii_alphanumeric) && text.get(8) != Some(&b'Z')
    {
        return None;
    }
    let mut length = 8;
    length += fraction(text.get(length..)?);
    let zone = text.get(length..)?;
    length += if zone.first() == Some(&b'Z') {
        1
    } else if like(zone, b"+00:00") || like(zone, b"-00:00") {
        6
    } else if like(zone, b"+0000") || like(zone, b"-0000") {
        5
    } else {
        0
    };
    Some(length)
}

/// `2026-11-14 23:59:59`, `2026-11-14T23:59`, `20261114T235959Z`. A day alone is no time: it is what a
/// report is asked for.
fn date_time(text: &[u8]) -> Option<usize> {
    if like(text, b"00000000T000000") {
        return Some(if text.get(15) == Some(&b'Z') { 16 } else { 15 });
    }
    if !like(text, b"0000-00-00") && !like(text, b"0000/00/00") {
        return None;
    }
    let rest = text.get(10..)?;
    let gap = match rest {
        [b' ' | b'T' | b'+', ..] => 1,
        // An encoded space or colon, as in a query.
        [b'%', b'2', b'0', ..] => 3,
        _ => return None,
    };
    let clock = rest.get(gap..)?;
    if let Some(length) = time(clock) {
        return Some(10 + gap + length);
    }
    let short =
        like(clock, b"00:00") && !clock.get(5).is_some_and(|byte| byte.is_ascii_digit() || *byte == b':');
    short.then_some(10 + gap + 5)
}

/// `8-4-4-4-12` hex digits.
pub(crate) fn uuid(text: &[u8]) -> Option<usize> {
    let text = text.get(..36)?;
    let fits = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    fits.then_some(36)
}

/// What random bytes in base 62 or 64 are written in, but for the padding behind them.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-')
}

/// Random bytes in base 62 or 64: long, of all classes, and changing class all the time.
pub(crate) fn token(text: &[u8]) -> Option<usize> {
    const LEAST: usize = 20;
    /// So much of a text shows its nature; looking at all of it from every word on would be quadratic.
    const ENOUGH: usize = 64;
    let fits = |byte: &&u8| is_of_token(**byte);
    let length = text.iter().take(ENOUGH).take_while(fits).count();
    if length < LEAST {
        return None;
    }
    let run = text.get(..length)?;
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => 0u8,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let mut seen = [0usize; 4];
    for byte in run {
        if let Some(count) = seen.get_mut(usize::from(class(byte))) {
            *count += 1;
        }
    }
    let changes = run.windows(2).filter(|pair| pair.first().map(class) != pair.last().map(class)).count();
    let [lower, upper, digits, other] = seen;
    // Names of several words have hardly a digit, and letters side by side as words have them.
    let drawn = || {
        let letters = run.windows(2).filter_map(|pair| match pair {
            &[a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => Some(are_usual(a, b)),
            _ => None,
        });
        let (odd, all) = letters.fold((0, 0), |(odd, all), usual| (odd + usize::from(!usual), all + 1));
        odd >= 4 && odd * 3 >= all
    };
    let random = lower >= 3 && upper >= 3 && other * 5 <= length && changes * 3 >= length;
    let random = random && (digits >= 2 || drawn());
    random.then(|| {
        let length = text.iter().take_while(fits).count();
        let behind = text.get(length..).unwrap_or_default();
        length + behind.iter().take(2).take_while(|byte| **byte == b'=').count()
    })
}

/// A [`token`] in the safe alphabet of base 64 that begins at `at` with one of its two marks.
pub(crate) fn safe_token(text: &[u8], at: usize) -> Option<usize> {
    let is_mark = |byte: &u8| matches!(byte, b'-' | b'_');
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let begins = text.get(at).is_some_and(is_mark)
        && !before.is_some_and(|before| before.is_ascii_alphanumeric() || is_mark(before));
    if begins { token(text.get(at..)?) } else { None }
}

/// The time in what is signed, at `at`: `payload:1xVN2x:signature` (Django), `payload.aSKx7Q.signature` (itsdangerous).
fn signed_time(value: &[u8], at: usize) -> Option<usize> {
    /// Base 64 of a SHA-1, the shortest digest that still signs.
    const SIGNATURE: usize = 27;
    let mark = *value.get(at.checked_sub(1)?)?;
    let rest = value.get(at..)?;
    let length = rest.iter().take(9).position(|byte| *byte == mark)?;
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || mark == b'.' && matches!(byte, b'-' | b'_');
    let written = rest.get(..length)?.iter().all(safe);
    let signed = || token(rest.get(length + 1..)?).filter(|length| *length >= SIGNATURE);
    (matches!(mark, b':' | b'.') && (5..=8).contains(&length) && written && signed().is_some())
        .then_some(length)
}

/// Letters of one case and digits, drawn at random: long, and changing class all the time, or with letters side by side
/// that no language has there.
pub(crate) fn is_drawn(run: &[u8]) -> bool {
    const LEAST: usize = 20;
    if run.len() < LEAST {
        return false;
    }
    let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
    let (mut changes, mut beside, mut odd) = (0usize, 0usize, 0usize);
    for pair in run.windows(2) {
        let &[a, b] = pair else { continue };
        match (a.is_ascii_digit(), b.is_ascii_digit()) {
            (false, false) => {
                beside += 1;
                odd += usize::from(!are_usual(a, b));
            }
            (a, b) => changes += usize::from(a != b),
        }
    }
    let restless = digits >= 3 && digits + 3 <= run.len() && changes * 5 >= run.len();
    restless || (digits >= 2 && changes >= 2 && odd >= 3 && odd * 4 >= beside)
}

/// Whether two letters stand side by side in words: for each first letter from `a` on, the second ones. They are more
/// than six in 10,000 pairs of the words in programs and their manuals; in what is drawn, more than half are others.
fn are_usual(first: u8, second: u8) -> bool {
    #[rustfmt::skip]
    const SECONDS: [&str; 26] = [
        "abcdeghiklmnprstuvxy", "abeilorsuwy", "acehiklorstuwyz", "adeilorsuwy", "abcdefghijklmnoprstuvwx",
        "aefiloru", "aeghilnorsuwy", "aeiouwy", "abcdefgjklmnoprstvxz", "aeijouwy", "aeioswy", "abdeghilmopstuy",
        "abeimopsuwy", "acdefghijklnopstuvwy", "abcdefghijklmnoprstuvwx", "aeiloprstuwy", "u",
        "acdefgilmnoprstuwyz", "acehilopstuwyz", "acefhilmoprstuwy", "abcdegilmnoprst", "aei", "aeio", "eipt",
        "aeiopstu", "e",
    ];
    let number = first.to_ascii_lowercase().wrapping_sub(b'a');
    SECONDS
        .get(usize::from(number))
        .is_some_and(|seconds| seconds.as_bytes().contains(&second.to_ascii_lowercase()))
}

/// A number that a clock gave: seconds since 1970 in this century's first decades, or their thousands.
pub(crate) fn is_clock(value: &[u8]) -> bool {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = value.get(digits..).unwrap_or_default();
    if !rest.is_empty() && fraction(rest) != rest.len() {
        return false;
    }
    matches!(digits, 10 | 13 | 16 | 19) && matches!(value, [b'1', b'0'..=b'9', ..] | [b'2', b'0' | b'1', ..])
}

/// A point in time, in quotes or not: a clock's number, or a date with a time of day.
pub(crate) fn is_time(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"'").and_then(|value| value.strip_suffix(b"'")).unwrap_or(value);
    date_time(inner).is_some_and(|length| length == inner.len())
        || time(inner) == Some(inner.len())
        || is_clock(inner)
}

/// An array of points in time, as PostgreSQL writes it: `'{"2026-11-23 05:57:00+00:00",...}'`.
pub(crate) fn are_times(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"'{").and_then(|value| value.strip_suffix(b"}'"));
    inner.is_some_and(|inner| {
        inner.split(|byte| *byte == b',').all(|one| {
            let plain = one.strip_prefix(b"\"").and_then(|one| one.strip_suffix(b"\"")).unwrap_or(one);
            is_time(plain)
        })
    })
}

/// The two values are the same but for what was generated, whose length may have changed.
pub(crate) fn loosely_equal(a: &[u8], b: &[u8]) -> bool {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    // One of the two must be generated beyond doubt.
    let generated = mask(a, Care::Strict, &mut one) || mask(b, Care::Strict, &mut other);
    mask(a, Care::Loose, &mut one);
    mask(b, Care::Loose, &mut other);
    generated && one == other
}

/// Of what two long texts consist in common, between 0 and 1; generated parts count as equal.
pub(crate) fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    mask(a, Care::Strict, &mut one);
    mask(b, Care::Strict, &mut other);
    let words = |text: &[u8]| -> Vec<u64> {
        let mut words: Vec<u64> = text
            .chunk_by(|a, b| a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
            .filter(|word| !word.trim_ascii().is_empty())
            .map(crate::hash::hash)
            .collect();
        words.sort_unstable();
        words
    };
    let (one, other) = (words(&one), words(&other));
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    let mut common = 0usize;
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        match a.cmp(b) {
            core::cmp::Ordering::Less => {
                left.next();
            }
            core::cmp::Ordering::Greater => {
                right.next();
            }
            core::cmp::Ordering::Equal => {
                common += 1;
                left.next();
                right.next();
            }
        }
    }
    let all = one.len().max(other.len());
    if all == 0 { 1.0 } else { common as f64 / all as f64 }
}

/// Names, without what is neither letter nor digit, of values that are new each time.
#[rustfmt::skip]
static VOLATILE_NAMES: Words<(), 43, 17> = Words::new(&[
    (&["ts", "timestamp", "timestampms", "nonce", "oncestr", "noncestr", "sign", "sig", "signature", "hmac",
        "rnd", "rand", "random", "cachebuster", "cb", "requestid", "reqid", "traceid", "spanid",
        "parentspanid", "correlationid", "idempotencykey", "csrf", "csrftoken", "xsrftoken",
        "authenticitytoken", "createdat", "updatedat", "modifiedat", "deletedat", "startedat", "finishedat",
        "sentat", "expiresat", "lastseen", "lastseenat", "lastlogin", "lastloginat", "oauthnonce",
        "oauthtimestamp", "oauthsignature", "uuid", "uniqid"], ()),
]);

/// What parts the name of a field from those of what it lies in.
pub(crate) const SEPARATORS: [u8; 3] = *b". ]";

/// The last part of a name that has several.
fn last_part(name: &str) -> &[u8] {
    let name = name.as_bytes();
    name.rsplit(|byte| SEPARATORS.contains(byte)).find(|part| !part.is_empty()).unwrap_or(name)
}

/// The name says that the value is new each time, however short the value is.
pub(crate) fn is_volatile_name(name: &str) -> bool {
    let last = last_part(name);
    let mut letters = [0u8; 24];
    let mut length = 0;
    for byte in last.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        let Some(place) = letters.get_mut(length) else { return false };
        *place = byte.to_ascii_lowercase();
        length += 1;
    }
    let plain = letters.get(..length).unwrap_or_default();
    if plain.is_empty() { last == b"_" } else { VOLATILE_NAMES.find(plain).is_some() }
}

/// The name says that the value proves who is asking; a random one is not what is asked for.
pub(crate) fn is_proof_name(name: &str) -> bool {
    let last = last_part(name);
    ["token", "access_token", "accesstoken", "id_token", "jwt", "auth", "ticket", "state", "assertion"]
        .iter()
        .any(|known| last.eq_ignore_ascii_case(known.as_bytes()))
}

/// The name says that the value tells what is asked for, or who is asking.
pub(crate) fn is_key_name(name: &str) -> bool {
    let last = name.rsplit(|letter| SEPARATORS.contains(&(letter as u8))).find(|part| !part.is_empty());
    let last = last.unwrap_or(name);
    is_id_name(last)
        || ["key", "authorization", "cookie", "tenant", "user", "name", "cursor", "offset", "page"]
            .into_iter()
            .any(|end| ends_with(last, end))
}

/// A name such as `id`, `user_id`, `userId`.
pub(crate) fn is_id_name(name: &str) -> bool {
    matches!(name, "id" | "ids")
        || ["_id", "-id", "Id", "ID", "_ids", "Ids"].into_iter().any(|end| name.ends_with(end))
}

/// Whatever its case.
fn ends_with(name: &str, end: &str) -> bool {
    let at = name.len().checked_sub(end.len());
    at.and_then(|at| name.as_bytes().get(at..)).is_some_and(|last| last.eq_ignore_ascii_case(end.as_bytes()))
}

/// The field says who is asking, by a token that is the same in each request: `Bearer` (RFC 6750), `Basic` (RFC 7617), a
/// key of an API. Other schemes sign each request anew.
pub(crate) fn is_credential(name: &str, value: &[u8]) -> bool {
    let is = |end: &str| ends_with(name, end);
    let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    is("authorization")
        && [&b"bearer"[..], b"basic", b"token"].into_iter().any(|known| scheme.eq_ignore_ascii_case(known))
        || is("api-key")
        || is("apikey")
        || is("api_key")
}

/// Nothing of the value is left when what is generated is taken away.
pub(crate) fn is_generated(value: &[u8]) -> bool {
    let mut masked = Vec::new();
    mask(value, Care::Strict, &mut masked) && masked.iter().all(|byte| !byte.is_ascii_alphanumeric())
}

/// Such a value may be volatile by its name: a number, a time, something with digits in it.
pub(crate) fn may_be_volatile(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    fn masked(text: &str) -> String {
        let mut out = Vec::new();
        mask(text.as_bytes(), Care::Strict, &mut out);
        String::from_utf8(out).expect("text stays text").replace('\u{1}', "#")
    }

    #[test]
    fn generated_values_are_masked() {
        for (text, expected) in [
            ("1795358265", "#"),
            ("1795358265.1234", "#"),
            ("v207708434", "v#"),
            ("order:1795358265:x", "order:#:x"),
            ("96ed215605752205e1a14b1b93bfbb8b", "#"),
            ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", "#"),
            ("2026-11-14 02:05:28", "#"),
            ("at 2026-11-14T02:05:28.123Z, ok", "at #, ok"),
            ("'2026-11-14T02:05'", "'#'"),
            ("20261114T020528Z", "#"),
            ("Sat, 14 Nov 2026 02:05:28 GMT", "Sat, 14 Nov 2026 # GMT"),
            ("Bearer dGhpcyBpcyBhIHRlc3Q5Zk3", "Bearer #"),
            ("'n3x0vks1n1m1opp1y8hk2a5qk2wmbgml'", "'#'"),
            ("user9:1xVN2x:gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc", "user9:#:#"),
            ("user9.aSKx7Q.gIHjmANsLQRff9DO8r6fweQufwp", "user9.#.#"),
            ("user9:1xVWnu:-1HEw7umYyyfjkqQ8o1eWSpkt68VGghIMp803fFm4Ec", "user9:#:#"),
            ("user9:1xVWnu:_1HEw7umYyyfjkqQ8o1eWSpkt68VGghIMp803fFm4E-", "user9:#:#"),
            ("user9.aS-x7Q.gIHjmANsLQRff9DO8r6fweQufwp", "user9.#.#"),
            ("sid=-1HEw7umYyyfjkqQ8o1eWSpkt68VGghI", "sid=#"),
            ("user9:order:gIHjm", "user9:order:gIHjm"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn arrays_of_times_are_times() {
        let times = [
            r#"'{"2026-11-23 05:57:00.175324+00:00","2026-11-23 05:57:00.175953+00:00"}'"#,
            "'{1795358265}'",
        ];
        for text in times {
            assert!(are_times(text.as_bytes()), "{text}");
        }
        for text in ["'{1,2}'", "'{}'", r#"'{"2026-11-23 05:57:00",7}'"#, "'2026-11-23 05:57:00'"] {
            assert!(!are_times(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn where_only_times_pass_for_generated() {
        let mut out = Vec::new();
        for (text, expected) in [
            ("at 1795358265 and 2026-11-14 02:05:28", "at # and #"),
            ("user 987654321", "user 987654321"),
            ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
        ] {
            mask(text.as_bytes(), Care::Times, &mut out);
            assert_eq!(String::from_utf8_lossy(&out).replace('\u{1}', "#"), expected);
        }
    }

    #[test]
    fn what_people_write_is_kept() {
        for text in [
            "12345678",
            "2026-11-14",
            "hello world",
            "deadbeef",
            "accommodated",
            "facade",
            "user:42:name",
            "10.0.0.1:8080",
            "a-very-long-name-in-kebab-case-without-end",
            "SomeVeryLongCamelCaseNameWithoutDigits",
            "some_constant_name_2_with_number",
            "12:30",
            "1,200,300,400",
            "纸张",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn times() {
        for text in ["1795358265", "1795358265987", "1795358265.25", "'2026-11-14 02:05:28'", "02:05:28"] {
            assert!(is_time(text.as_bytes()), "{text}");
        }
        for text in ["9795358265", "17953582", "'2026-11-14'", "5", "", "1795358265x", "2795358265"] {
            assert!(!is_time(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn names() {
        for name in
            ["ts", "body a[0].updatedAt", "set updated_at", "query _", "X-Nonce".trim_start_matches("X-")]
        {
            assert!(is_volatile_name(name), "{name}");
        }
        for name in ["id", "body ts.a", "time", "format", "lat", "user_id", ""] {
            assert!(!is_volatile_name(name), "{name}");
        }
    }

    #[test]
    fn loose_comparison_needs_one_generated_side() {
        assert!(loosely_equal(b"v207708434", b"v20770843"), "one digit fewer this time");
        assert!(!loosely_equal(b"v2077084", b"v2077085"), "neither is beyond doubt");
        assert!(!loosely_equal(b"v207708434", b"w207708434"));
    }

    #[test]
    fn similar_texts() {
        let long = b"the quick brown fox jumps over the lazy dog at 1795358265 and again".as_slice();
        let other = b"the quick brown fox jumps over the lazy dog at 1895358299 and again".as_slice();
        assert!(similarity(long, other) > 0.99);
        assert!(similarity(long, b"something else altogether that has no word of it in common") < 0.5);
        assert!((similarity(b"", b"") - 1.0).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn masking_never_panics_and_is_stable(value in proptest::collection::vec(any::<u8>(), 0..120)) {
            let (mut one, mut again) = (Vec::new(), Vec::new());
            let any = mask(&value, Care::Strict, &mut one);
            prop_assert!(any || one == value);
            mask(&value, Care::Strict, &mut again);
            prop_assert_eq!(one, again);
            let _ = (is_time(&value), similarity(&value, b"x y z"), loosely_equal(&value, b"123456789"));
        }

        #[test]
        fn any_long_number_is_as_good_as_another(a in 100_000_000u64.., b in 100_000_000u64..) {
            prop_assert_eq!(masked(&std::format!("x={a};")), masked(&std::format!("x={b};")));
        }
    }
}
