//! The strategy `sim` of koala 1.x: the cosine of the angle between two requests' terms and their weights.
//!
//! Calls are found by their terms. Weights are whole numbers, and so are the sums of their products: the similarity
//! does not depend on the order in which they are added, and is the same number to the last bit everywhere.

use crate::hash::hash;
use crate::letters::Letters;
use crate::lexer;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The recorded requests of a session.
#[derive(Debug)]
pub(crate) struct Sim {
    letters: Letters,
    /// Every use of a term, by the term and in recorded order.
    uses: Vec<Use>,
    /// The length of every call's vector.
    lengths: Vec<f64>,
    weights: Weights,
    products: Vec<u64>,
    similarities: Vec<f64>,
}

/// A term in a recorded call.
#[derive(Debug)]
struct Use {
    term: u64,
    call: u32,
    /// A weight of more than 32 bits, that of gigabytes, counts as the greatest.
    weight: u32,
}

/// The weight of every term of a request, by the term's hash.
#[derive(Debug)]
struct Weights {
    /// Most terms are single bytes.
    bytes: [u64; 256],
    /// All terms.
    terms: Vec<(u64, u64)>,
}

impl Weights {
    fn read(&mut self, request: &[u8], letters: &Letters) {
        self.bytes.fill(0);
        self.terms.clear();
        lexer::terms(request, letters, |term, weight| match term {
            [byte] => {
                if let Some(total) = self.bytes.get_mut(usize::from(*byte)) {
                    *total = total.saturating_add(weight);
                }
            }
            _ => self.terms.push((hash(term), weight)),
        });
        for (byte, weight) in (0..=u8::MAX).zip(&self.bytes) {
            if *weight > 0 {
                self.terms.push((hash(&[byte]), *weight));
            }
        }
        self.terms.sort_unstable();
        self.terms.dedup_by(|(term, weight), (before, total)| {
            let same = term == before;
            if same {
                *total = total.saturating_add(*weight);
            }
            same
        });
    }

    fn length(&self) -> f64 {
        let mut squares = 0u64;
        for (_, weight) in &self.terms {
            squares = squares.saturating_add(weight.saturating_mul(*weight));
        }
        root(squares)
    }
}

impl Sim {
    pub(crate) fn new(requests: &[Box<[u8]>]) -> Self {
        let letters = Letters::new();
        let mut weights = Weights { bytes: [0; 256], terms: Vec::new() };
        let mut lengths = Vec::new();
        let mut uses = Vec::new();
        for (call, request) in (0u32..).zip(requests) {
            weights.read(request, &letters);
            lengths.push(weights.length());
            for (term, weight) in &weights.terms {
                uses.push(Use { term: *term, call, weight: u32::try_from(*weight).unwrap_or(u32::MAX) });
            }
        }
        uses.sort_unstable_by_key(|used| (used.term, used.call));
        Self { letters, uses, lengths, weights, products: Vec::new(), similarities: Vec::new() }
    }

    /// How similar every recorded call is, from 0 to 1.
    pub(crate) fn similarities(&mut self, request: &[u8]) -> &[f64] {
        self.weights.read(request, &self.letters);
        let length = self.weights.length();
        self.products.clear();
        self.products.resize(self.lengths.len(), 0);
        for (term, weight) in &self.weights.terms {
            let first = self.uses.partition_point(|used| used.term < *term);
            for used in self.uses.get(first..).unwrap_or_default() {
                if used.term != *term {
                    break;
                }
                if let Some(product) = self.products.get_mut(used.call as usize) {
                    *product = product.saturating_add(weight.saturating_mul(u64::from(used.weight)));
                }
            }
        }
        self.similarities.clear();
        self.similarities.extend(self.products.iter().zip(&self.lengths).map(|(product, recorded)| {
            // Empty requests have no direction.
            if *product == 0 { 0.0 } else { *product as f64 / (recorded * length) }
        }));
        &self.similarities
    }
}

/// The square root, correctly rounded, which `core` does not have.
fn root(square: u64) -> f64 {
    if square == 0 {
        return 0.0;
    }
    let square = square as f64;
    // Half the exponent is near the root; Newton's method comes to it or to a neighbour of it.
    let mut root = f64::from_bits((square.to_bits() + 1f64.to_bits()) / 2);
    for _ in 0..5 {
        root = (root + square / root) / 2.0;
    }
    // Exactly: whether the numbers halfway to the neighbours are still below, or already above. In units of half of
    // the last bit of the root, which has a power of two below 2^32, all are whole and fit.
    let exponent = root.to_bits() >> 52;
    let last_bit = u128::from(root.to_bits() & ((1 << 52) - 1) | 1 << 52);
    let half = (1075 - exponent) + 1;
    let square = u128::from(square as u64) << (2 * half);
    let (below, above) = (2 * last_bit - 1, 2 * last_bit + 1);
    if above * above < square {
        root.next_up()
    } else if below * below > square {
        root.next_down()
    } else {
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn similarity(recorded: &[u8], request: &[u8]) -> f64 {
        Sim::new(&[recorded.into()]).similarities(request)[0]
    }

    #[test]
    fn the_same_terms_are_the_same_direction() {
        // Rounded as koala 1.x rounds: twice the root of 3 is not 3.
        assert_eq!(similarity(b"a b", b"b a"), 3.0 / (3f64.sqrt() * 3f64.sqrt()));
        assert_eq!(similarity(b"aaa bbb", b"bbb aaa"), 19.0 / (19f64.sqrt() * 19f64.sqrt()));
        assert_eq!(similarity(b"a", b"b"), 0.0);
        assert_eq!(similarity(b"", b""), 0.0);
        assert_eq!(similarity(b"abc", b"abc\0"), 9.0 / (3.0 * 10f64.sqrt()));
    }

    proptest! {
        #[test]
        fn roots_are_correctly_rounded(square in prop_oneof![any::<u64>(), 0u64..1 << 53, 0u64..1000]) {
            // The processor's root is, of what a double says exactly.
            let square = if square < 1 << 53 { square } else { square & !0xfff };
            prop_assert_eq!(root(square).to_bits(), (square as f64).sqrt().to_bits());
            let whole = square >> 38;
            prop_assert_eq!(root(whole * whole), whole as f64);
        }

        #[test]
        fn the_similarity_is_that_of_the_formula(
            recorded in proptest::collection::vec("(GET /[a-c/]{0,9} HTTP/1.1\n)?[a-c é-]{0,60}", 1..4),
            request in "(GET /[a-c/]{0,9} HTTP/1.1\n)?[a-c é-]{0,60}",
        ) {
            let letters = Letters::new();
            let vector = |text: &str| {
                let mut weights = BTreeMap::<Vec<u8>, f64>::new();
                lexer::terms(text.as_bytes(), &letters, |term, weight| {
                    *weights.entry(term.to_vec()).or_default() += weight as f64;
                });
                weights
            };
            let asked = vector(&request);
            let squares = |vector: &BTreeMap<_, f64>| vector.values().map(|weight| weight * weight).sum::<f64>();
            let requests: Vec<Box<[u8]>> = recorded.iter().map(|text| text.as_bytes().into()).collect();
            let mut sim = Sim::new(&requests);
            for (recorded, similarity) in recorded.iter().zip(sim.similarities(request.as_bytes())) {
                let recorded = vector(recorded);
                let product: f64 =
                    recorded.iter().map(|(term, weight)| weight * asked.get(term).unwrap_or(&0.0)).sum();
                let expected = match squares(&recorded).sqrt() * squares(&asked).sqrt() {
                    0.0 => 0.0,
                    lengths => product / lengths,
                };
                prop_assert_eq!(similarity.to_bits(), expected.to_bits());
            }
        }
    }
}
