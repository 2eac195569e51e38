//! Socket addresses as events carry them.

use core::fmt;

/// The bytes of the longest path of a unix socket (`sun_path`, unix(7)).
pub const PATH_MAX: usize = 108;

/// A socket address.
///
/// Encoded as one byte of kind (0 none, 4 IPv4, 6 IPv6, 1 unix), one byte of length, then that many bytes:
/// the port (big-endian) and the 4 or 16 octets of the IP address, or the path of the unix socket
/// (an abstract name begins with a zero byte).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Address {
    /// Not known, or an unnamed unix socket.
    #[default]
    None,
    /// IPv4: octets and port.
    V4([u8; 4], u16),
    /// IPv6: octets and port.
    V6([u8; 16], u16),
    /// A unix socket: its path and how many bytes of it count.
    Unix([u8; PATH_MAX], u8),
}

impl Address {
    /// The most bytes that [`Address::encode`] writes.
    pub const MAX: usize = 2 + PATH_MAX;

    /// A unix socket at `path`; what is beyond 108 bytes is cut off.
    pub fn unix(path: &[u8]) -> Self {
        let mut bytes = [0; PATH_MAX];
        let mut length = 0;
        for (to, from) in bytes.iter_mut().zip(path) {
            *to = *from;
            length += 1;
        }
        Self::Unix(bytes, length)
    }

    /// The port, or 0 where there is none.
    pub const fn port(&self) -> u16 {
        match self {
            Self::V4(_, port) | Self::V6(_, port) => *port,
            _ => 0,
        }
    }

    /// Writes the address to `out`, and returns the number of bytes written.
    pub fn encode(&self, out: &mut [u8; Self::MAX]) -> usize {
        let (kind, length) = match self {
            Self::None => (0, 0),
            Self::V4(..) => (4, 6),
            Self::V6(..) => (6, 18),
            Self::Unix(_, length) => (1, *length as usize),
        };
        let [kind_out, length_out, rest @ ..] = out;
        *kind_out = kind;
        *length_out = length as u8;
        let mut put = |from: &[u8], at: usize| {
            for (to, from) in rest.iter_mut().skip(at).zip(from) {
                *to = *from;
            }
        };
        match self {
            Self::None => {}
            Self::V4(ip, port) => {
                put(&port.to_be_bytes(), 0);
                put(ip, 2);
            }
            Self::V6(ip, port) => {
                put(&port.to_be_bytes(), 0);
                put(ip, 2);
            }
            Self::Unix(path, _) => put(path, 0),
        }
        2 + length
    }

    /// Reads an address from the head of `bytes`, and returns it with the bytes after it.
    ///
    /// `None` if the bytes end too early or are not of this encoding.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&kind, rest) = bytes.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (body, rest) = rest.split_at_checked(length as usize)?;
        let address = match (kind, body) {
            (0, []) => Self::None,
            (4, [p0, p1, ip @ ..]) => Self::V4(ip.try_into().ok()?, u16::from_be_bytes([*p0, *p1])),
            (6, [p0, p1, ip @ ..]) => Self::V6(ip.try_into().ok()?, u16::from_be_bytes([*p0, *p1])),
            (1, path) if path.len() <= PATH_MAX => Self::unix(path),
            _ => return None,
        };
        Some((address, rest))
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `unix:/run/x.sock`, `unix:@abstract`; nothing for [`Address::None`].
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::V4(ip, port) => write!(f, "{}:{port}", core::net::Ipv4Addr::from(*ip)),
            Self::V6(ip, port) => write!(f, "[{}]:{port}", core::net::Ipv6Addr::from(*ip)),
            Self::Unix(path, length) => {
                f.write_str("unix:")?;
                for (at, &byte) in path.iter().take(*length as usize).enumerate() {
                    match byte {
                        0 if at == 0 => f.write_str("@")?,
                        0x20..=0x7e => write!(f, "{}", byte as char)?,
                        _ => write!(f, "\\x{byte:02x}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::None = self { f.write_str("none") } else { write!(f, "{self}") }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn all() -> [(Address, &'static str); 6] {
        [
            (Address::None, ""),
            (Address::V4([127, 0, 0, 1], 80), "127.0.0.1:80"),
            (Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 65535), "[::1]:65535"),
            (Address::unix(b"/run/x.sock"), "unix:/run/x.sock"),
            (Address::unix(b"\0abstract"), "unix:@abstract"),
            (Address::unix(b""), "unix:"),
        ]
    }

    #[test]
    fn addresses_survive_encoding() {
        for (address, text) in all() {
            let mut bytes = [0; Address::MAX];
            let length = address.encode(&mut bytes);
            let (decoded, rest) = Address::decode(&bytes[..length]).unwrap();
            assert_eq!((decoded, rest), (address, &[][..]));
            assert_eq!(address.to_string(), text);
            for cut in 0..length {
                assert_eq!(Address::decode(&bytes[..cut]), None, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_cut() {
        let Address::Unix(_, length) = Address::unix(&[b'x'; 300]) else { panic!("not a unix address") };
        assert_eq!(usize::from(length), PATH_MAX);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..130)) {
            if let Some((address, rest)) = Address::decode(&bytes) {
                let mut encoded = [0; Address::MAX];
                let length = address.encode(&mut encoded);
                assert_eq!(&bytes[..bytes.len() - rest.len()], &encoded[..length]);
            }
        }
    }
}
