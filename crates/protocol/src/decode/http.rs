//! HTTP/1.x requests.

use super::percent::Pairs;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// One HTTP/1.x request. Nothing is copied; headers, query and body are read when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    method: &'a [u8],
    target: &'a [u8],
    head: &'a [u8],
    rest: &'a [u8],
}

/// What a request carries, by its content type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// No body.
    Empty,
    /// JSON by its content type, or by its first byte where the content type does not say.
    Json(Cow<'a, [u8]>),
    /// `application/x-www-form-urlencoded`.
    Form(Cow<'a, [u8]>),
    /// `multipart/...` with its boundary.
    Multipart {
        /// The boundary, without the leading dashes.
        boundary: &'a [u8],
        /// The body with its boundaries.
        content: Cow<'a, [u8]>,
    },
    /// Anything else.
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Request<'a> {
    /// Decodes a request, or `None` where the first line is not that of an HTTP/1.x request.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        // The first byte decides for nearly everything that is not HTTP.
        if !request.first()?.is_ascii_uppercase() {
            return None;
        }
        let end = memchr::memchr(b'\n', request)?;
        let (line, rest) = request.split_at_checked(end)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first = memchr::memchr(b' ', line)?;
        let last = memchr::memrchr(b' ', line)?;
        let method = line.get(..first)?;
        let target = line.get(first + 1..last)?;
        let version = line.get(last + 1..)?;
        let is_token = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-' || *byte == b'_';
        if !version.starts_with(b"HTTP/1.") || target.is_empty() || method.len() > 24 {
            return None;
        }
        if !method.iter().all(is_token) {
            return None;
        }
        let rest = rest.get(1..)?;
        let head = head_length(rest);
        let (head, rest) = rest.split_at_checked(head)?;
        Some(Self { method, target, head, rest })
    }

    /// `GET`, `POST`, ...
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// The request target as it was sent.
    pub fn target(&self) -> &'a [u8] {
        self.target
    }

    /// The host of an absolute target (as sent to a proxy), else of the `Host` header.
    pub fn host(&self) -> Option<&'a [u8]> {
        split_target(self.target).0.or_else(|| self.header("host"))
    }

    /// The path, still encoded, without query and fragment.
    pub fn path(&self) -> &'a [u8] {
        split_target(self.target).1
    }

    /// The segments of the path, still encoded: `/a/b/` has `a`, `b` and an empty one.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let path = self.path();
        path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/')
    }

    /// The query as pairs, still encoded.
    pub fn query(&self) -> Pairs<'a> {
        Pairs::new(split_target(self.target).2)
    }

    /// The header fields in order, names as sent, values trimmed.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.head }
    }

    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The bytes of the body, out of their chunks where they were sent in chunks.
    pub fn content(&self) -> Cow<'a, [u8]> {
        let chunked = !self.rest.is_empty()
            && self
                .header("transfer-encoding")
                .is_some_and(|value| contains_ignoring_case(value, b"chunked"));
        if chunked { dechunk(self.rest) } else { Cow::Borrowed(self.rest) }
    }

    /// The body by its content type.
    pub fn body(&self) -> Body<'a> {
        if self.rest.is_empty() {
            return Body::Empty;
        }
        Body::of(self.header("content-type").unwrap_or_default(), self.content())
    }
}

impl<'a> Body<'a> {
    /// What `content` is, by the value of its content type.
    pub(crate) fn of(kind: &'a [u8], content: Cow<'a, [u8]>) -> Self {
        let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if content.is_empty() {
            Self::Empty
        } else if contains_ignoring_case(essence, b"json") {
            Self::Json(content)
        } else if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            // curl sends whatever it is given under this type, JSON more often than not.
            if looks_like_json(&content) { Self::Json(content) } else { Self::Form(content) }
        } else if starts_with_ignoring_case(essence, b"multipart/") {
            match parameter(kind, b"boundary") {
                // RFC 2046 allows 70 characters.
                Some(boundary) if boundary.len() <= 200 => Self::Multipart { boundary, content },
                _ => Self::Bytes(content),
            }
        } else if looks_like_json(&content) {
            Self::Json(content)
        } else {
            Self::Bytes(content)
        }
    }
}

/// The header fields of a request, in order.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let (line, tail) = self.rest.split_at(end);
            self.rest = tail.get(1..).unwrap_or_default();
            if let Some(colon) = memchr::memchr(b':', line) {
                let (name, value) = line.split_at(colon);
                return Some((name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii()));
            }
        }
        None
    }
}

/// The parts of a multipart body: each with its header fields and its content.
pub fn parts<'a>(boundary: &[u8], content: &'a [u8]) -> Vec<(Headers<'a>, &'a [u8])> {
    let mut parts = Vec::new();
    let mut delimiter = Vec::with_capacity(boundary.len() + 2);
    delimiter.extend_from_slice(b"--");
    delimiter.extend_from_slice(boundary);
    let mut at = 0;
    let mut from = None;
    while let Some(found) = super::find(content.get(at..).unwrap_or_default(), &delimiter) {
        at += found;
        if let Some(part) = from.and_then(|from| content.get(from..at)) {
            let part = part.strip_prefix(b"\r\n").unwrap_or(part);
            let part = part.strip_suffix(b"\r\n").unwrap_or(part);
            let (head, body) = part.split_at(head_length(part));
            parts.push((Headers { rest: head }, body));
        }
        at += delimiter.len();
        from = Some(at);
    }
    parts
}

/// The value of a parameter such as `boundary=x` or `name="y"` in a header value.
pub fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    value.split(|byte| *byte == b';').skip(1).find_map(|parameter| {
        let equals = memchr::memchr(b'=', parameter)?;
        let (key, value) = parameter.split_at(equals);
        let value = value.get(1..)?.trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        key.trim_ascii().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// How long the header fields are, with the empty line that ends them.
fn head_length(text: &[u8]) -> usize {
    let mut line = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        match text.get(line..end) {
            Some(b"" | b"\r") => return end + 1,
            _ => line = end + 1,
        }
    }
    text.len()
}

/// Authority (of an absolute target), path and query.
fn split_target(target: &[u8]) -> (Option<&[u8]>, &[u8], &[u8]) {
    let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    let scheme = if target.first() == Some(&b'/') { None } else { super::find(target, b"://") };
    let (authority, target) = match scheme.and_then(|at| target.get(at + 3..)) {
        Some(rest) => {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, target) = rest.split_at(end);
            (Some(authority), target)
        }
        None => (None, target),
    };
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    let path = if path.is_empty() { b"/" } else { path };
    (authority, path, query.get(1..).unwrap_or_default())
}

/// The content of a chunked body. Where the chunks end or break, so does the content.
fn dechunk(body: &[u8]) -> Cow<'_, [u8]> {
    let mut content = Vec::new();
    let mut first: &[u8] = &[];
    let mut rest = body;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, tail) = rest.split_at(end);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = line.get(..digits).and_then(|digits| core::str::from_utf8(digits).ok());
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else { break };
        let tail = tail.get(1..).unwrap_or_default();
        let (chunk, after) = tail.split_at(size.min(tail.len()));
        if chunk.is_empty() {
            break;
        }
        if first.is_empty() && content.is_empty() {
            // Most chunked requests are a single chunk: no copy is needed for those.
            first = chunk;
        } else {
            if content.is_empty() {
                content.extend_from_slice(first);
            }
            content.extend_from_slice(chunk);
        }
        rest = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")).unwrap_or(after);
    }
    if content.is_empty() { Cow::Borrowed(first) } else { Cow::Owned(content) }
}

fn looks_like_json(content: &[u8]) -> bool {
    let text = content.trim_ascii();
    matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
}

fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn contains_ignoring_case(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parts_of_a_request() {
        let request = Request::parse(
            b"POST /v1/orders/7?lang=en&x=%20 HTTP/1.1\r\nHost: shop:80\r\nContent-Type: application/json\r\n\r\n{\"a\":1}",
        )
        .expect("is HTTP");
        assert_eq!(request.method(), b"POST");
        assert_eq!(request.path(), b"/v1/orders/7");
        assert_eq!(request.segments().collect::<Vec<_>>(), [&b"v1"[..], b"orders", b"7"]);
        assert_eq!(request.query().collect::<Vec<_>>(), [(&b"lang"[..], &b"en"[..]), (b"x", b"%20")]);
        assert_eq!(request.host(), Some(&b"shop:80"[..]));
        assert_eq!(request.header("CONTENT-type"), Some(&b"application/json"[..]));
        assert_eq!(request.body(), Body::Json(Cow::Borrowed(b"{\"a\":1}")));
    }

    #[test]
    fn absolute_targets_name_their_host() {
        let request =
            Request::parse(b"GET http://a.b:81?q=1 HTTP/1.1\r\nHost: proxy\r\n\r\n").expect("is HTTP");
        assert_eq!(request.host(), Some(&b"a.b:81"[..]));
        assert_eq!(request.path(), b"/");
        assert_eq!(request.query().count(), 1);
        let redirect = Request::parse(b"GET /to?url=http://x/ HTTP/1.1\r\n\r\n").expect("is HTTP");
        assert_eq!(redirect.path(), b"/to", "a URL in the query is not an absolute target");
    }

    #[test]
    fn chunks_are_put_together() {
        let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (body, expected) in [
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n", "abcde"),
            ("ffffffffffffffff\r\nabc", "abc"),
            ("zz\r\nabc", ""),
        ] {
            let bytes = [head.as_bytes(), body.as_bytes()].concat();
            let request = Request::parse(&bytes).expect("is HTTP");
            assert_eq!(&*request.content(), expected.as_bytes());
        }
    }

    #[test]
    fn bodies_by_content_type() {
        let body = |kind: &str, content: &str| {
            let bytes =
                [b"POST / HTTP/1.1\r\nContent-Type: ", kind.as_bytes(), b"\r\n\r\n", content.as_bytes()]
                    .concat();
            match Request::parse(&bytes).expect("is HTTP").body() {
                Body::Empty => "empty",
                Body::Json(_) => "json",
                Body::Form(_) => "form",
                Body::Multipart { boundary, .. } => {
                    assert_eq!(boundary, b"b1");
                    "multipart"
                }
                Body::Bytes(_) => "bytes",
            }
        };
        assert_eq!(body("application/vnd.x+json; charset=utf-8", "{}"), "json");
        assert_eq!(body("application/x-www-form-urlencoded", "a=1"), "form");
        assert_eq!(body("application/x-www-form-urlencoded", "{\"a\":1}"), "json");
        assert_eq!(body("multipart/form-data; boundary=\"b1\"", "--b1--"), "multipart");
        assert_eq!(body("text/plain", "hello"), "bytes");
        assert_eq!(body("application/json", ""), "empty");
    }

    #[test]
    fn multipart_parts() {
        let content =
            b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\n";
        let parts = parts(b"b", content);
        assert_eq!(parts.len(), 2);
        let (mut headers, body) = parts[0].clone();
        assert_eq!(body, b"1");
        let (_, disposition) = headers.next().expect("one header");
        assert_eq!(parameter(disposition, b"name"), Some(&b"a"[..]));
        assert_eq!(parts[1].1, b"2");
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for bytes in [
            &b"GET /\r\n"[..],
            b"get / HTTP/1.1\r\n\r\n",
            b"GET  HTTP/2.0\r\n",
            b"A\n",
            b"",
            b"GET / HTTP/1.1",
        ] {
            assert!(Request::parse(bytes).is_none(), "{:?}", bytes.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn never_panics(head in "[ -~\r\n]{0,80}", body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [b"POST / HTTP/1.1\r\n", head.as_bytes(), b"\r\n\r\n", &body].concat();
            let request = Request::parse(&bytes).expect("is HTTP");
            let _ = (request.query().count(), request.headers().count(), request.body(), request.segments().count());
            let _ = parts(b"b", &body);
        }

        #[test]
        fn chunking_changes_nothing(content in proptest::collection::vec(any::<u8>(), 1..300), size in 1usize..50) {
            let mut bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in content.chunks(size) {
                bytes.extend_from_slice(std::format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let request = Request::parse(&bytes).expect("is HTTP");
            prop_assert_eq!(&*request.content(), &content[..]);
        }
    }
}
