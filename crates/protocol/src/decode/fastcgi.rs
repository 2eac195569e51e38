//! FastCGI requests: parameters, as a web server tells them, and what the client sent.

use super::{Reader, http};
use crate::fastcgi::record;
use alloc::borrow::Cow;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its number on the connection, which only ties an answer to it.
    pub id: u16,
    params: Cow<'a, [u8]>,
    stdin: Cow<'a, [u8]>,
}

impl<'a> Request<'a> {
    /// Decodes the records of one request, or `None`.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request);
        let mut decoded = Self { id: 0, params: Cow::Borrowed(&[]), stdin: Cow::Borrowed(&[]) };
        let mut begun = false;
        while !reader.is_empty() {
            let [1, kind] = reader.array()? else { return None };
            let id = reader.u16_be()?;
            let length = reader.u16_be()?;
            let [padding, _] = reader.array()?;
            let content = reader.take(usize::from(length))?;
            reader.take(usize::from(padding))?;
            let stream = match kind {
                record::BEGIN_REQUEST if !begun => {
                    begun = true;
                    decoded.id = id;
                    continue;
                }
                record::PARAMS if begun => &mut decoded.params,
                record::STDIN if begun => &mut decoded.stdin,
                record::DATA | record::ABORT_REQUEST if begun => continue,
                _ => return None,
            };
            match stream {
                Cow::Borrowed([]) => *stream = Cow::Borrowed(content),
                // Two requests at once are not told apart.
                _ if id != decoded.id => return None,
                _ if content.is_empty() => {}
                _ => stream.to_mut().extend_from_slice(content),
            }
        }
        begun.then_some(decoded)
    }

    /// The parameters in order: `SCRIPT_FILENAME`, `REQUEST_URI`, `QUERY_STRING`, `HTTP_HOST`, ...
    pub fn params(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut reader = Reader::new(&self.params);
        core::iter::from_fn(move || {
            let (name, value) = (length(&mut reader)?, length(&mut reader)?);
            Some((reader.take(name)?, reader.take(value)?))
        })
    }

    /// The value of a parameter; empty if it is not there.
    pub fn param(&self, name: &str) -> &[u8] {
        self.params().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value).unwrap_or_default()
    }

    /// What the client sent, by its content type.
    pub fn body(&self) -> http::Body<'_> {
        http::Body::of(self.param("CONTENT_TYPE"), Cow::Borrowed(&self.stdin))
    }

    /// The query as pairs, still encoded.
    pub fn query(&self) -> super::percent::Pairs<'_> {
        super::percent::Pairs::new(self.param("QUERY_STRING"))
    }
}

/// The length of a name or a value: one byte, or four with the highest bit set.
fn length(reader: &mut Reader<'_>) -> Option<usize> {
    let first = reader.u8()?;
    if first < 0x80 {
        return Some(usize::from(first));
    }
    let [high, middle, low] = reader.array()?;
    usize::try_from(u32::from_be_bytes([first & 0x7f, high, middle, low])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[1, kind, 0, 7, 0, content.len() as u8, 1, 0][..], content, b"-"].concat()
    }

    fn request(cut: usize) -> Vec<u8> {
        let params = b"\x0e\x04REQUEST_METHODPOST\x0b\x80\0\0\x06REQUEST_URI/a?b=1\x0c\x03QUERY_STRINGb=1\
            \x0c\x21CONTENT_TYPEapplication/x-www-form-urlencoded";
        let mut bytes = record(record::BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0]);
        for (kind, stream) in [(record::PARAMS, &params[..]), (record::STDIN, b"name=x")] {
            bytes.extend(stream.chunks(cut).flat_map(|chunk| record(kind, chunk)));
            bytes.extend(record(kind, b""));
        }
        bytes
    }

    #[test]
    fn parameters_and_body() {
        let whole = request(200);
        let decoded = Request::parse(&whole).expect("valid");
        assert_eq!((decoded.id, decoded.param("REQUEST_METHOD")), (7, &b"POST"[..]));
        assert_eq!(decoded.param("REQUEST_URI"), b"/a?b=1");
        assert_eq!(decoded.query().collect::<Vec<_>>(), [(&b"b"[..], &b"1"[..])]);
        assert_eq!(decoded.body(), http::Body::Form(Cow::Borrowed(b"name=x")));
        for cut in 1..60 {
            assert_eq!(Request::parse(&request(cut)), Request::parse(&whole));
        }
        for end in 1..17 {
            assert_eq!(Request::parse(&whole[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn damaged_requests_never_panic(at in 0usize..200, value in any::<u8>(), cut in 1usize..100) {
            let mut bytes = request(cut);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            if let Some(request) = Request::parse(&bytes) {
                let _ = (request.params().count(), request.body());
            }
        }
    }
}
