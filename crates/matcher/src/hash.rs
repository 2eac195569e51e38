//! Hashing of fields. The keys of every table here are hashes already, so tables take them as they are.
//!
//! The hash is not keyed: whoever can choose the recording and the requests can make two fields collide,
//! and thereby fool a test of his own. Whole requests are compared byte by byte behind their hash.

use core::hash::{BuildHasherDefault, Hasher};

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes in a word. A product of 64 bits is one instruction everywhere, where the upper half of a full one is a call in
/// WASM; its own upper half, which all bits of the word reach, is folded into its lower one.
fn step(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    product ^ product >> 32
}

/// Two hashes into one; the order matters. Such hashes may be added up.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    step(step(a.wrapping_mul(MULTIPLIER), b.rotate_left(23)), MULTIPLIER)
}

/// The hash of bytes; the same on every platform.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = MULTIPLIER ^ (bytes.len() as u64);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        state = step(state, u64::from_le_bytes(*chunk));
    }
    let mut last = [0u8; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    step(step(state, u64::from_le_bytes(last)), MULTIPLIER)
}

/// Takes a hash for what it is.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0, hash(bytes));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A table whose keys are hashes.
pub(crate) type Table<V> = hashbrown::HashMap<u64, V, BuildHasherDefault<Hashed>>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_added_up_is_told_apart(fields in proptest::collection::vec((0u64..4, 0u64..4), 2..4)) {
            // The same names and values, each value under the next name.
            let key = |shift: usize| {
                let values = fields.iter().cycle().skip(shift).map(|(_, value)| value);
                let mixed = fields.iter().zip(values).map(|((name, _), value)| mix(hash(&name.to_le_bytes()), hash(&value.to_le_bytes())));
                mixed.fold(0, u64::wrapping_add)
            };
            let sorted = |shift: usize| {
                let values = fields.iter().cycle().skip(shift).map(|(_, value)| *value);
                let mut pairs: Vec<_> = fields.iter().map(|(name, _)| *name).zip(values).collect();
                pairs.sort_unstable();
                pairs
            };
            prop_assert_eq!(sorted(0) == sorted(1), key(0) == key(1));
        }

        #[test]
        fn different_bytes_hash_differently(
            a in proptest::collection::vec(any::<u8>(), 0..40),
            b in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            prop_assert_eq!(a == b, hash(&a) == hash(&b));
        }
    }

    #[test]
    fn zeros_and_lengths_are_told_apart() {
        assert_ne!(hash(b""), hash(b"\0"));
        assert_ne!(hash(&[0; 8]), hash(&[0; 16]));
        assert_ne!(mix(1, 2), mix(2, 1));
        // Words that differ in their highest bit alone.
        assert_ne!(mix(1, 0), mix(1, 1 << 63));
        assert_ne!(hash(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), hash(&[0, 0, 0, 0, 0, 0, 0, 128, 1]));
    }
}
