//! Percent encoding, as in URLs and in `application/x-www-form-urlencoded` bodies.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// The `name=value` pairs of a query string or a form, in order, still encoded.
///
/// A pair without `=` has an empty value; empty pairs (`a=1&&b=2`, a bare `?`) are skipped.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The pairs of a query string without its `?`, or of a form body.
    pub fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(b'&', self.rest).unwrap_or(self.rest.len());
            let (pair, tail) = self.rest.split_at(end);
            self.rest = tail.get(1..).unwrap_or_default();
            if pair.is_empty() {
                continue;
            }
            let middle = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at(middle);
            return Some((name, value.get(1..).unwrap_or_default()));
        }
        None
    }
}

/// Decodes `%41` and, in a query or form, `+`. What is not a valid escape stays as it is.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(byte),
            },
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_order_and_survive_oddities() {
        let pairs: Vec<_> = Pairs::new(b"a=1&&b&c=x=y&=z").collect();
        assert_eq!(
            pairs,
            [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"c", b"x=y"), (b"", b"z")],
            "a pair without '=' has no value, a second '=' belongs to the value"
        );
        assert_eq!(Pairs::new(b"").count(), 0);
        assert_eq!(Pairs::new(b"&&").count(), 0);
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        assert_eq!(&*decode(b"a%20b+c"), b"a b c");
        assert_eq!(&*decode(b"100%"), b"100%");
        assert_eq!(&*decode(b"%zz%4"), b"%zz%4");
        assert!(matches!(decode(b"plain"), Cow::Borrowed(_)));
    }
}
