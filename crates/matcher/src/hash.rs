//! Hashing of fields. The keys of every table here are hashes already, so tables take them as they are.
//!
//! The hash is not keyed: whoever can choose the recording and the requests can make two fields collide,
//! and thereby fool a test of his own. Whole requests are compared byte by byte behind their hash.

use core::hash::{BuildHasherDefault, Hasher};

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The two halves of a full product, folded.
#[cfg(not(target_arch = "wasm32"))]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let [low, high] = [product as u64, (product >> 64) as u64];
    low ^ high
}

/// The same. Where no instruction makes the full product, the four products of the halves are faster than the call that
/// the compiler makes of it.
#[cfg(any(test, target_arch = "wasm32"))]
fn fold_halves(a: u64, b: u64) -> u64 {
    const LOW: u64 = u32::MAX as u64;
    let cross = (a >> 32) * (b & LOW);
    let lowest = (a & LOW) * (b & LOW);
    // No sum here is more than a full word.
    let middle = (a & LOW) * (b >> 32) + (cross & LOW) + (lowest >> 32);
    let high = (a >> 32) * (b >> 32) + (cross >> 32) + (middle >> 32);
    a.wrapping_mul(b) ^ high
}
#[cfg(target_arch = "wasm32")]
use fold_halves as fold;

/// Two hashes into one; the order matters.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    fold(a ^ MULTIPLIER, b.rotate_left(23) ^ 0xd6e8_feb8_6659_fd93)
}

/// The hash of bytes; the same on every platform.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = MULTIPLIER ^ (bytes.len() as u64);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), 0xa076_1d64_78bd_642f);
    }
    let mut last = [0u8; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    state = fold(state ^ u64::from_le_bytes(last), 0xe703_7ed1_a0b4_28db);
    fold(state, MULTIPLIER)
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
        fn halves_make_the_whole(a: u64, b: u64) {
            prop_assert_eq!(fold_halves(a, b), fold(a, b));
            prop_assert_eq!(fold_halves(u64::MAX - (a >> 60), u64::MAX - (b >> 60)), fold(u64::MAX - (a >> 60), u64::MAX - (b >> 60)));
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
        // A multiplication by zero would forget what came before it.
        let zeroing = 0xa076_1d64_78bd_642f_u64.to_le_bytes();
        assert_ne!(hash(&zeroing), 0);
    }
}
