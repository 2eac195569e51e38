//! Which protocol a client speaks, by the first bytes that it sends.

use crate::{Protocol, fastcgi, memcached, mongodb, postgres, thrift, tls};
use alloc::string::String;
use memchr::memchr;

const RAW: Detection = Detection::Is(Protocol::Raw);

/// A first line longer than this is no request line.
const LINE_MAX: usize = 16 << 10;

/// What the first bytes of a client say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The protocol is this one.
    Is(Protocol),
    /// More bytes will tell.
    NeedMore,
    /// TLS. `server_name` is the name that the client asked for, if it did.
    Encrypted {
        /// Its server name indication (RFC 6066).
        server_name: Option<String>,
    },
}

/// Tells the protocol from the first bytes that a client sent on a connection.
///
/// Once it has decided, more bytes change nothing.
///
/// MySQL is not among what it tells: there the server speaks first, which [`Conversation`](crate::Conversation)
/// sees.
pub fn detect_request(first_bytes: &[u8]) -> Detection {
    let told = |protocol, is| match is {
        Some(true) => Detection::Is(protocol),
        Some(false) => RAW,
        None => Detection::NeedMore,
    };
    let detection = match first_bytes.first() {
        None => return Detection::NeedMore,
        Some(0x16) => tls::detect(first_bytes),
        Some(b'*') => redis(first_bytes),
        // The only inline command that is told from other protocols made of lines.
        Some(b'P') if first_bytes.len() < 6 && b"PING\r\n".starts_with(first_bytes) => Detection::NeedMore,
        Some(b'P') if first_bytes.starts_with(b"PING\r\n") => Detection::Is(Protocol::Redis),
        Some(b'A'..=b'Z') => http(first_bytes),
        Some(b'a'..=b'z' | 0x80) => told(Protocol::Memcached, memcached::detect(first_bytes)),
        Some(1) => told(Protocol::FastCgi, fastcgi::detect(first_bytes)),
        Some(0) => match thrift::detect(first_bytes) {
            Some(false) => told(Protocol::Postgres, postgres::detect(first_bytes)),
            thrift => told(Protocol::Thrift, thrift),
        },
        Some(_) => RAW,
    };
    match detection {
        // Its first bytes are a length, and may be any.
        RAW => told(Protocol::MongoDb, mongodb::detect(first_bytes)),
        detection => detection,
    }
}

/// `*<n>\r\n$`, n at least 1.
fn redis(bytes: &[u8]) -> Detection {
    let rest = bytes.get(1..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after = rest.get(digits..).unwrap_or_default();
    if digits > 10 || rest.first() == Some(&b'0') {
        return Detection::Is(Protocol::Raw);
    }
    match after {
        [] => Detection::NeedMore,
        _ if digits == 0 => Detection::Is(Protocol::Raw),
        [b'\r', b'\n', b'$', ..] => Detection::Is(Protocol::Redis),
        [b'\r'] | [b'\r', b'\n'] => Detection::NeedMore,
        _ => Detection::Is(Protocol::Raw),
    }
}

/// A method, a space, and a first line that ends with `HTTP/1.x`.
fn http(bytes: &[u8]) -> Detection {
    const METHOD_MAX: usize = 20;
    let method = bytes.iter().take_while(|byte| matches!(byte, b'A'..=b'Z' | b'-' | b'_')).count();
    if method > METHOD_MAX {
        return RAW;
    }
    match bytes.get(method) {
        None => return Detection::NeedMore,
        Some(b' ') => {}
        Some(_) => return RAW,
    }
    let Some(line) = memchr(b'\n', bytes).and_then(|end| bytes.get(..end)) else {
        return if bytes.len() > LINE_MAX { RAW } else { Detection::NeedMore };
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= LINE_MAX && (line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")) {
        Detection::Is(Protocol::Http)
    } else {
        RAW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_each_protocol() {
        let is = |bytes: &[u8]| detect_request(bytes);
        assert_eq!(is(b"GET / HTTP/1.1\r\n"), Detection::Is(Protocol::Http));
        assert_eq!(is(b"M-SEARCH * HTTP/1.0\n"), Detection::Is(Protocol::Http));
        assert_eq!(is(b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n"), Detection::Is(Protocol::Http));
        assert_eq!(is(b"*1\r\n$4\r\nPING\r\n"), Detection::Is(Protocol::Redis));
        assert_eq!(is(b"PING\r\n"), Detection::Is(Protocol::Redis));
        assert_eq!(is(b"set a 0 0 1\r\n"), Detection::Is(Protocol::Memcached));
        assert_eq!(is(b"gets a b\r\n"), Detection::Is(Protocol::Memcached));
        assert_eq!(is(b"\0\0\0\x08\x04\xd2\x16\x2f"), Detection::Is(Protocol::Postgres));
        assert_eq!(is(b"\0\0\0\x08\x04"), Detection::NeedMore);
        assert_eq!(is(b"GE"), Detection::NeedMore);
        assert_eq!(is(b"*12"), Detection::NeedMore);
        assert_eq!(is(b""), Detection::NeedMore);
    }

    #[test]
    fn takes_lookalikes_for_raw() {
        for bytes in [
            &b"GET key\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"*x\r\n",
            b"*0\r\n",
            b"*1\r\n+",
            b"EHLO there\r\n",
            b"PINGS\r\n",
            b"\x00\x00\x00\x05\xff\xff\xff\xff\x01",
            b"set a b\r\n",
            b"get a\n\n",
            b"quit\r\n",
            b"hello\r\n",
            b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\0",
        ] {
            assert_eq!(detect_request(bytes), Detection::Is(Protocol::Raw), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn a_decision_is_final(
            head in prop::sample::select(vec![
                &b""[..], b"GET ", b"GET / HTTP/1.1", b"*", b"*3\r\n", b"PIN", b"\x16\x03\x01\x00\x06\x01\x00\x00\x02",
                b"get a", b"ms k", b"stats\r", b"\x80\x01\0\x01\x08\0\0\0\0\0", b"\x01\x01\0\x01\0\x08\0\0\0",
                b"\0\0\0\x09\x80", b"\0\0\0\x09\x82\x21", b"\0\0\0\x20\0\x03\0", b"\x30\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0",
                b"\x16\x03\0\0\x01\x01\0\0\0\0\0\0\xdd\x07\0", b"\0\0\x01\0\x82\x21\0\0\0\0\0\0\xdd\x07\0",
            ]),
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let all = [head, &tail].concat();
            let whole = detect_request(&all);
            for end in 0..all.len() {
                let early = detect_request(&all[..end]);
                prop_assert!(early == Detection::NeedMore || early == whole);
            }
        }
    }
}
