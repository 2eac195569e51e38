//! The terms of a request, and what each weighs, as the strategy `sim` of koala 1.x sees them.
//!
//! A term is a run of letters, numbers, `.` and `_` of at most 128 bytes, or any other single byte. It weighs its
//! length, each time that it occurs. In HTTP the path, and each of its segments, weigh as much again as there are
//! lines in the head.

use crate::letters::Letters;
use core::str;

/// Longer runs of letters are cut.
const LONGEST: usize = 128;
/// A line that ends before this many bytes is no header.
const SHORTEST_HEADER: usize = 3;
/// The methods that make a request HTTP. (`PATCH` is not among them.)
const METHODS: [&[u8]; 8] =
    [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"TRACE ", b"CONNECT "];

/// Tells every term of `request`, with what it adds to the term's weight.
pub(crate) fn terms<'a>(request: &'a [u8], letters: &Letters, mut term: impl FnMut(&'a [u8], u64)) {
    let mut rest = request;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(readable(rest, letters).clamp(1, LONGEST).min(rest.len()));
        term(head, weight(head));
        rest = tail;
    }
    if let Some((path, headers)) = http(request) {
        let segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        for valuable in core::iter::once(path).chain(segments) {
            term(valuable, weight(valuable).saturating_mul(headers + 1));
        }
    }
}

fn weight(term: &[u8]) -> u64 {
    term.len() as u64
}

/// The length of the run of letters that `text` begins with; what is behind the longest one is not looked at.
fn readable(text: &[u8], letters: &Letters) -> usize {
    let mut length = 0;
    while length < LONGEST
        && let Some(rest) = text.get(length..)
        && let Some(first) = rest.first()
    {
        let size = match first {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'_' => 1,
            0x80.. => letter(rest, *first, letters),
            _ => 0,
        };
        if size == 0 {
            break;
        }
        length += size;
    }
    length
}

/// The length in UTF-8 of the letter outside of ASCII that `text` begins with; 0 where it begins with none.
fn letter(text: &[u8], first: u8, letters: &Letters) -> usize {
    let size = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 0,
    };
    let character = text.get(..size).and_then(|bytes| str::from_utf8(bytes).ok()?.chars().next());
    if character.is_some_and(|character| letters.has(character)) { size } else { 0 }
}

/// The path of an HTTP request, and how many headers it has.
fn http(request: &[u8]) -> Option<(&[u8], u64)> {
    let method = METHODS.iter().find(|method| request.starts_with(method))?;
    let line_end = request.iter().position(|byte| *byte == b'\n');
    let line = line_end.and_then(|end| request.get(..end)).unwrap_or(request);
    let target = line.get(method.len()..)?;
    if !target.windows(9).any(|part| matches!(part, b" HTTP/1.0" | b" HTTP/1.1")) {
        return None;
    }
    let target = target.split(|byte| *byte == b' ').next()?;
    // A target that is nothing but a query is kept.
    let path = match target.iter().position(|byte| *byte == b'?') {
        Some(end @ 1..) => target.get(..end)?,
        _ => target,
    };
    let head = line_end.and_then(|end| request.get(end + 1..)).unwrap_or_default();
    // The last piece is what no line feed ends.
    let lines = head.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let headers = lines.take_while(|line| line.len() > SHORTEST_HEADER).count();
    Some((path, headers as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn weights(request: &[u8]) -> BTreeMap<String, u64> {
        let mut weights = BTreeMap::new();
        terms(request, &Letters::new(), |term, weight| {
            *weights.entry(term.escape_ascii().to_string()).or_default() += weight;
        });
        weights
    }

    fn expect(request: &[u8], expected: &[(&str, u64)]) {
        let expected = expected.iter().map(|(term, weight)| ((*term).to_owned(), *weight)).collect();
        assert_eq!(weights(request), expected, "{}", request.escape_ascii());
    }

    #[test]
    fn runs_of_letters_are_terms_and_so_is_every_other_byte() {
        expect(b"", &[]);
        expect(b"a.b_c a.b_c-7", &[("a.b_c", 10), (" ", 1), ("-", 1), ("7", 1)]);
        // Letters and numbers of all scripts; a mark (U+0301) is none, nor is a currency sign.
        expect(
            "é中٣ e\u{301}€".as_bytes(),
            &[
                (r"\xc3\xa9\xe4\xb8\xad\xd9\xa3", 7),
                (" ", 1),
                ("e", 1),
                (r"\xcc", 1),
                (r"\x81", 1),
                (r"\xe2", 1),
                (r"\x82", 1),
                (r"\xac", 1),
            ],
        );
        // What is no UTF-8: an overlong form, a surrogate, a character cut short.
        for bytes in [&b"\xc0\x80"[..], b"\xed\xa0\x80", b"\xe4\xb8", b"\xf5\x80\x80\x80"] {
            assert_eq!(weights(bytes).values().sum::<u64>(), bytes.len() as u64);
            assert!(weights(bytes).keys().all(|term| term.len() == 4), "{:?}", weights(bytes));
        }
    }

    #[test]
    fn long_runs_are_cut() {
        let (long, short) = ("a".repeat(128), "a".repeat(44));
        expect("a".repeat(300).as_bytes(), &[(&long, 256), (&short, 44)]);
        // In the midst of a character, whose second half is then no letter.
        let cut = format!("{}中x", "a".repeat(127));
        let first = format!("{}\\xe4", "a".repeat(127));
        expect(cut.as_bytes(), &[(&first, 128), (r"\xb8", 1), (r"\xad", 1), ("x", 1)]);
    }

    #[test]
    fn the_path_of_http_weighs_more() {
        // Two headers and the request line: three times its length more.
        let with = weights(b"GET /a/users?x=1 HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\nbody\nbody\n");
        assert_eq!((with["/a/users"], with["users"], with["a"]), (24, 5 + 15, 1 + 3));
        assert_eq!(with["/"], 4);
        assert_eq!(with["x"], 1);
        // Without a query, and without a line feed.
        assert_eq!(weights(b"PUT /a HTTP/1.0")["/a"], 2);
        // A lone query is the path; so is what a path must not be.
        assert_eq!(weights(b"GET ?a/b HTTP/1.1\r\n")["?a/b"], 4);
        assert_eq!(weights(b"GET / HTTP/1.1\n")["/"], 2 + 1);
        assert_eq!(weights(b"GET  HTTP/1.1\n")[" "], 2);
    }

    #[test]
    fn what_koala_1_does_not_take_for_http() {
        for request in [
            &b"PATCH /users HTTP/1.1\r\n"[..],
            b"get /users HTTP/1.1\r\n",
            b"GET /users HTTP/1.5\r\n",
            b"GET /usersHTTP/1.1\r\n",
            b"GET /users\n HTTP/1.1",
            b" GET /users HTTP/1.1",
        ] {
            assert!(!weights(request).contains_key("/users"), "{}", request.escape_ascii());
        }
    }

    /// The lexer as koala 1.x has it, word for word slower.
    fn slowly(text: &[u8]) -> BTreeMap<Vec<u8>, u64> {
        let letters = Letters::new();
        let decode = |at: usize| {
            let character = text[at..].utf8_chunks().next()?.valid().chars().next();
            character.filter(|c| matches!(c, '.' | '_') || c.is_ascii_alphanumeric() || letters.has(*c))
        };
        let mut weights = BTreeMap::new();
        let mut at = 0;
        while at < text.len() {
            let mut end = at;
            while end < text.len()
                && let Some(character) = decode(end)
            {
                end += character.len_utf8();
            }
            let end = if end == at { at + 1 } else { end.min(at + LONGEST) };
            *weights.entry(text[at..end].to_vec()).or_default() += (end - at) as u64;
            at = end;
        }
        weights
    }

    proptest! {
        #[test]
        fn any_bytes_have_terms(text in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[a-zéß中€\u{301} -]{0,200}".prop_map(String::into_bytes),
        ]) {
            let mut weights = BTreeMap::new();
            terms(&text, &Letters::new(), |term, weight| {
                *weights.entry(term.to_vec()).or_default() += weight;
            });
            if http(&text).is_none() {
                prop_assert_eq!(weights, slowly(&text));
            }
        }

        #[test]
        fn any_request_line_has_terms(line in "(GET|POST) [ /?a-c\n]{0,12}( HTTP/1.[012])?[\r\n a]{0,12}") {
            terms(line.as_bytes(), &Letters::new(), |term, _| assert!(term.len() <= LONGEST || http(line.as_bytes()).is_some()));
        }
    }
}
