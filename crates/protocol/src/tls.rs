//! As much of TLS as is told before it encrypts: the server name of a ClientHello (RFC 8446, RFC 6066).

use crate::{Detection, Protocol};
use alloc::{string::String, vec::Vec};

/// The longest record that is waited for: 2^14 bytes and what encryption may add.
const RECORD_MAX: usize = (1 << 14) + 2048;
/// A ClientHello longer than this is not waited for.
const HELLO_MAX: usize = 1 << 17;

pub(crate) fn detect(bytes: &[u8]) -> Detection {
    const RAW: Detection = Detection::Is(Protocol::Raw);
    match *bytes {
        [0x16] | [0x16, 3] => return Detection::NeedMore,
        [0x16, 3, 0..=4, ..] => {}
        _ => return RAW,
    }
    let Some(&[high, low]) = bytes.get(3..5) else {
        return Detection::NeedMore;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(4..=RECORD_MAX).contains(&length) {
        return RAW;
    }
    match bytes.get(5) {
        None => Detection::NeedMore,
        Some(1) => match hello(bytes) {
            Hello::NeedMore => Detection::NeedMore,
            Hello::Whole(hello) => Detection::Encrypted { server_name: server_name(&hello) },
            Hello::Broken => Detection::Encrypted { server_name: None },
        },
        Some(_) => RAW,
    }
}

/// The server name that a client asks for, where `bytes` begin with a whole TLS ClientHello.
pub fn client_hello(bytes: &[u8]) -> Option<String> {
    match detect(bytes) {
        Detection::Encrypted { server_name } => server_name,
        _ => None,
    }
}

enum Hello {
    NeedMore,
    /// Its body.
    Whole(Vec<u8>),
    Broken,
}

/// The ClientHello in the records at the head of `bytes`; large ones (post-quantum key shares) span several.
fn hello(bytes: &[u8]) -> Hello {
    let mut hello = Vec::new();
    let mut rest = bytes;
    loop {
        if let [_, high, middle, low, ..] = *hello {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > HELLO_MAX {
                return Hello::Broken;
            }
            if let Some(body) = hello.get(4..4 + length) {
                return Hello::Whole(body.to_vec());
            }
        }
        let (length, after) = match *rest {
            [0x16, 3, _, high, low, ref after @ ..] => (usize::from(u16::from_be_bytes([high, low])), after),
            [] | [0x16] | [0x16, 3] | [0x16, 3, _] | [0x16, 3, _, _] => return Hello::NeedMore,
            _ => return Hello::Broken,
        };
        if length == 0 || length > RECORD_MAX {
            return Hello::Broken;
        }
        let Some((record, next)) = after.split_at_checked(length) else {
            return Hello::NeedMore;
        };
        hello.extend_from_slice(record);
        rest = next;
    }
}

fn server_name(hello: &[u8]) -> Option<String> {
    // The version and the random bytes.
    let rest = hello.get(34..)?;
    let (_session, rest) = prefixed::<1>(rest)?;
    let (_suites, rest) = prefixed::<2>(rest)?;
    let (_compressions, rest) = prefixed::<1>(rest)?;
    let (mut extensions, _) = prefixed::<2>(rest)?;
    while let [high, low, rest @ ..] = extensions {
        let (extension, after) = prefixed::<2>(rest)?;
        if (*high, *low) == (0, 0) {
            let (names, _) = prefixed::<2>(extension)?;
            let (0, names) = names.split_first().map(|(kind, names)| (*kind, names))? else {
                return None;
            };
            let (name, _) = prefixed::<2>(names)?;
            return core::str::from_utf8(name).ok().map(String::from);
        }
        extensions = after;
    }
    None
}

/// Splits off what follows its own length in `N` bytes.
fn prefixed<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(N)?;
    rest.split_at_checked(length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello in records of at most `record` bytes.
    fn hello_for(name: Option<&str>, record: usize) -> Vec<u8> {
        let mut extensions = vec![0, 23, 0, 0];
        if let Some(name) = name {
            let length = name.len() as u8;
            extensions.extend([0, 0, 0, length + 5, 0, length + 3, 0, 0, length]);
            extensions.extend(name.bytes());
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, extensions.len() as u8]);
        body.extend(extensions);
        let mut message = vec![1, 0, 0, body.len() as u8];
        message.extend(body);
        message
            .chunks(record)
            .flat_map(|part| [&[0x16, 3, 1, 0, part.len() as u8][..], part].concat())
            .collect()
    }

    #[test]
    fn reads_the_server_name() {
        for record in [10, 60, 255] {
            let bytes = hello_for(Some("api.example.com"), record);
            let name = Some(String::from("api.example.com"));
            assert_eq!(detect(&bytes), Detection::Encrypted { server_name: name });
            for end in 1..bytes.len() {
                assert_eq!(detect(&bytes[..end]), Detection::NeedMore, "{end} of {}", bytes.len());
            }
        }
        assert_eq!(detect(&hello_for(None, 255)), Detection::Encrypted { server_name: None });
    }

    #[test]
    fn other_records_are_raw() {
        assert_eq!(detect(b"\x16\x05"), Detection::Is(Protocol::Raw));
        assert_eq!(detect(b"\x16\x03\x01\xff\xff"), Detection::Is(Protocol::Raw));
        assert_eq!(detect(b"\x16\x03\x01\x00\x10\x02"), Detection::Is(Protocol::Raw));
    }
}
