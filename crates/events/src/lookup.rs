//! Name lookups as events and the replay table carry them.

use crate::address::Address;

/// The longest name that is looked up (RFC 1035, 2.3.4: 255 octets on the wire, 253 as text).
pub const NAME_MAX: usize = 255;

/// A name lookup: what was asked, and what was answered.
///
/// Encoded as one byte that tells which way it went (1: addresses of a name, 2: the name of an address), one byte
/// for the address family that was asked for (0 any, 4 IPv4, 6 IPv6), three texts (name, service, canonical name),
/// each behind one byte of length, and then the addresses as [`Address`] encodes them, up to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// The address was asked for its name: the first of `addresses` is the question, `name` the answer.
    pub reverse: bool,
    /// The address family that was asked for: 4, 6, or 0 for any.
    pub family: u8,
    /// The name, as it was asked for.
    pub name: &'a [u8],
    /// The service that was asked for along with it; empty if there was none.
    pub service: &'a [u8],
    /// The canonical name, where the answer told it.
    pub canonical: &'a [u8],
    addresses: &'a [u8],
}

impl<'a> Lookup<'a> {
    const FORWARD: u8 = 1;
    const REVERSE: u8 = 2;

    /// A lookup of `name`, which has no answer yet.
    pub const fn forward(name: &'a [u8], service: &'a [u8], family: u8) -> Self {
        Self { reverse: false, family, name, service, canonical: &[], addresses: &[] }
    }

    /// A lookup by which an address was asked for its `name`. `address` is the address as [`Address`] encodes it.
    pub const fn reverse(address: &'a [u8], name: &'a [u8]) -> Self {
        Self { reverse: true, family: 0, name, service: &[], canonical: &[], addresses: address }
    }

    /// The same with an answer; `addresses` are encoded, one behind the other.
    pub const fn answered(self, canonical: &'a [u8], addresses: &'a [u8]) -> Self {
        Self { canonical, addresses, ..self }
    }

    /// The same with another name: of an address that was asked for its name, the answer.
    pub const fn named(self, name: &'a [u8]) -> Self {
        Self { name, ..self }
    }

    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + use<'a> {
        let mut rest = self.addresses;
        core::iter::from_fn(move || {
            let (address, after) = Address::decode(rest)?;
            rest = after;
            Some(address)
        })
    }

    /// Writes the lookup to `out`, and returns the number of bytes written. Of what does not fit the addresses are
    /// left out first, from the last on. Texts are cut at 255 bytes.
    #[inline(never)]
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut out = Out { bytes: out, length: 0 };
        out.put(&[if self.reverse { Self::REVERSE } else { Self::FORWARD }, self.family]);
        for text in [self.name, self.service, self.canonical] {
            let text = text.get(..NAME_MAX).unwrap_or(text);
            if !out.has_room(1 + text.len()) {
                out.put(&[0]);
                continue;
            }
            out.put(&[text.len() as u8]);
            out.put(text);
        }
        for address in self.addresses() {
            let mut bytes = [0; Address::MAX];
            let length = address.encode(&mut bytes);
            if !out.has_room(length) {
                break;
            }
            out.put(bytes.get(..length).unwrap_or(&[]));
        }
        out.length
    }

    /// Reads what [`Lookup::encode`] has written; `None` if it is something else.
    #[inline(never)]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let [way @ (Self::FORWARD | Self::REVERSE), family, rest @ ..] = bytes else { return None };
        let (name, rest) = text(rest)?;
        let (service, rest) = text(rest)?;
        let (canonical, addresses) = text(rest)?;
        Some(Self { reverse: *way == Self::REVERSE, family: *family, name, service, canonical, addresses })
    }

    /// Whether both ask the same, whatever they were answered: names are the same in upper and lower case
    /// (RFC 4343), and so they are with a dot at their end. Addresses are, whatever their port.
    #[inline(never)]
    pub fn asks_like(&self, other: &Lookup<'_>) -> bool {
        if self.reverse != other.reverse {
            return false;
        }
        if self.reverse {
            let host = |lookup: &Lookup<'_>| match Address::decode(lookup.addresses) {
                Some((Address::V4(ip, _), _)) => Some(Address::V4(ip, 0)),
                Some((Address::V6(ip, _), _)) => Some(Address::V6(ip, 0)),
                _ => None,
            };
            let asked = host(self);
            return asked.is_some() && asked == host(other);
        }
        undotted(self.name).eq_ignore_ascii_case(undotted(other.name))
    }
}

fn undotted(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    Some((rest.get(..length as usize)?, rest.get(length as usize..)?))
}

/// Bytes that are written one behind the other, as far as there is room.
struct Out<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Out<'_> {
    fn has_room(&self, length: usize) -> bool {
        self.bytes.len() - self.length.min(self.bytes.len()) >= length
    }

    fn put(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *to = *from;
            self.length += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn encoded(addresses: &[Address]) -> Vec<u8> {
        let mut all = Vec::new();
        for address in addresses {
            let mut bytes = [0; Address::MAX];
            let length = address.encode(&mut bytes);
            all.extend_from_slice(&bytes[..length]);
        }
        all
    }

    const ADDRESSES: [Address; 2] = [Address::V4([10, 0, 0, 1], 0), Address::V6([7; 16], 443)];

    #[test]
    fn a_lookup_survives_its_encoding() {
        let addresses = encoded(&ADDRESSES);
        let forward = Lookup::forward(b"db.example", b"mysql", 4).answered(b"db1.example", &addresses);
        let reverse = Lookup::reverse(&addresses, b"db1.example");
        for lookup in [forward, reverse, Lookup::forward(b"", b"", 0)] {
            let mut bytes = [0; 600];
            let length = lookup.encode(&mut bytes);
            assert_eq!(Lookup::decode(&bytes[..length]), Some(lookup));
        }
        assert_eq!(forward.addresses().collect::<Vec<_>>(), ADDRESSES);
    }

    #[test]
    fn what_has_no_room_is_left_out_and_the_rest_can_be_read() {
        let addresses = encoded(&ADDRESSES);
        let lookup = Lookup::forward(&[b'n'; 300], b"http", 0).answered(b"canonical", &addresses);
        for room in 0..400 {
            let mut bytes = std::vec![0; room];
            let length = lookup.encode(&mut bytes);
            assert!(length <= room);
            if let Some(read) = Lookup::decode(&bytes[..length]) {
                assert!(read.addresses().count() <= 2);
                assert!(read.name.is_empty() || read.name == [b'n'; 255]);
            }
        }
    }

    #[test]
    fn names_are_asked_for_in_any_case_and_addresses_at_any_port() {
        let ask = |name| Lookup::forward(name, b"", 0);
        assert!(ask(b"DB.example").asks_like(&ask(b"db.Example.")));
        assert!(!ask(b"db.example").asks_like(&ask(b"db2.example")));
        let (one, two) = (encoded(&[Address::V4([1, 2, 3, 4], 5)]), encoded(&[Address::V4([1, 2, 3, 4], 6)]));
        assert!(Lookup::reverse(&one, b"a").asks_like(&Lookup::reverse(&two, b"b")));
        assert!(!Lookup::reverse(&one, b"a").asks_like(&ask(b"a")));
        assert!(!Lookup::reverse(b"", b"a").asks_like(&Lookup::reverse(b"", b"a")));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_no_lookup_or_one_that_can_be_written(
            bytes in proptest::collection::vec(0u8..8, 0..60)
        ) {
            if let Some(lookup) = Lookup::decode(&bytes) {
                let mut again = [0; 600];
                let length = lookup.encode(&mut again);
                let read = Lookup::decode(&again[..length]).expect("what was encoded");
                assert_eq!(read.name, lookup.name);
                assert!(read.addresses().eq(lookup.addresses()));
            }
        }
    }
}
