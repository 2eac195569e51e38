//! The strategy `chunk` of koala 1.x: how many pieces of a request are in a recorded one, in their order.
//!
//! A request is cut into chunks of 16 bytes. Each is looked for in the recorded request from where the one before
//! it was found. The first one counts for more: on a connection on which nothing was matched yet as much as all
//! chunks together, later half as much where it is at the beginning of the recorded request.

use crate::hash;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// The bytes of a chunk.
pub(crate) const CHUNK: usize = 16;
/// Of longer requests, the first chunk is one that can be read, so that a binary head does not count.
const LONG: usize = 256;
/// What of it can be read has to be longer than this.
const READABLE: usize = 8;
/// Requests that have it and requests that have it not are never the same.
const EXPECT: &[u8] = b"Expect: 100-continue";

/// The mark that is needed on a connection on which nothing was matched yet.
const LEAST_FIRST: f64 = 0.1;
/// The mark that is needed behind the call that was matched last on the connection.
const LEAST_NEXT: f64 = 0.85;

/// The recorded requests of a session.
#[derive(Debug)]
pub(crate) struct Chunk {
    calls: Vec<Recorded>,
    chunks: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Recorded {
    expects: bool,
    windows: Windows,
}

/// How far a recorded request agrees.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Score {
    /// What its chunks count.
    score: usize,
    /// How many chunks were found.
    pub(crate) found: usize,
    /// The last chunk that was.
    last: usize,
}

/// The calls that agree most.
#[derive(Debug)]
pub(crate) struct Best {
    pub(crate) call: usize,
    pub(crate) score: Score,
    pub(crate) mark: f64,
    pub(crate) least: f64,
    pub(crate) runner_up: Option<(usize, f64)>,
}

impl Chunk {
    pub(crate) fn new(requests: &[Box<[u8]>]) -> Self {
        let calls = requests.iter().map(|request| Recorded {
            expects: find(request, EXPECT).is_some(),
            windows: Windows::of(request),
        });
        Self { calls: calls.collect(), chunks: Vec::new() }
    }

    /// The call with the highest mark, if any chunk is in any call. `from` is the first call behind the one that was
    /// matched last on the connection, and `reached` the first one behind all that were matched in the session.
    pub(crate) fn best(
        &mut self,
        requests: &[Box<[u8]>],
        request: &[u8],
        from: usize,
        reached: usize,
    ) -> Option<Best> {
        cut(request, &mut self.chunks);
        let expects = find(request, EXPECT).is_some();
        let mut best: Option<(usize, Score)> = None;
        let mut second: Option<(usize, Score)> = None;
        for (call, (recorded, bytes)) in self.calls.iter().zip(requests).enumerate().skip(from) {
            if recorded.expects != expects {
                continue;
            }
            let score = recorded.score(bytes, request, &self.chunks, from == 0);
            if score.score == 0 {
                continue;
            }
            // Among equals the first one behind all that were matched; else the one that had its score first,
            // chunk by chunk.
            let rank = |call: usize, score: Score| {
                let order = if call >= reached { (0, 0) } else { (1, score.last) };
                (core::cmp::Reverse(score.score), order, call)
            };
            let is_before = |other: Option<(usize, Score)>| {
                other.is_none_or(|(other, its)| rank(call, score) < rank(other, its))
            };
            if is_before(best) {
                (best, second) = (Some((call, score)), best);
            } else if is_before(second) {
                second = Some((call, score));
            }
        }
        let mark = |score: Score| score.score as f64 / self.chunks.len() as f64;
        let (call, score) = best?;
        Some(Best {
            call,
            score,
            mark: mark(score),
            least: if from == 0 { LEAST_FIRST } else { LEAST_NEXT },
            runner_up: second.map(|(call, score)| (call, mark(score))),
        })
    }

    /// How many chunks the last request had.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }
}

impl Recorded {
    fn score(&self, recorded: &[u8], request: &[u8], chunks: &[Range<usize>], is_first: bool) -> Score {
        let mut total = Score::default();
        let mut rest = recorded;
        for (number, range) in chunks.iter().enumerate() {
            let chunk = request.get(range.clone()).unwrap_or_default();
            if !self.windows.may_have(chunk) {
                continue;
            }
            let Some(place) = find(rest, chunk) else { continue };
            // From the place of this chunk on, not from behind it.
            rest = rest.get(place..).unwrap_or_default();
            total.score += match number {
                0 if is_first => chunks.len(),
                0 if place == 0 => (chunks.len() / 2).max(2),
                _ => 1,
            };
            total.found += 1;
            total.last = number;
        }
        total
    }
}

/// Cuts a request into chunks.
fn cut(request: &[u8], chunks: &mut Vec<Range<usize>>) {
    chunks.clear();
    let mut at = 0;
    if request.len() > LONG
        && let Some(first) = first_readable(request)
    {
        at = first.end;
        chunks.push(first);
    }
    while at < request.len() {
        let end = (at + CHUNK).min(request.len());
        chunks.push(at..end);
        at = end;
    }
}

/// The first run of printable ASCII that is long enough, up to the length of a chunk.
fn first_readable(request: &[u8]) -> Option<Range<usize>> {
    let mut start = 0;
    for run in request.split_inclusive(|byte| !matches!(byte, b' '..=b'~')) {
        let printable = run.iter().take_while(|byte| matches!(byte, b' '..=b'~')).count();
        if printable > READABLE {
            return Some(start..start + printable.min(CHUNK));
        }
        start += run.len();
    }
    None
}

/// The eight bytes that `bytes` begin with.
fn head(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|head| u64::from_le_bytes(*head))
}

/// Where `needle` is first in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match head(needle) {
        Some(wanted) => {
            bytes.windows(needle.len()).position(|part| head(part) == Some(wanted) && part == needle)
        }
        None if needle.is_empty() => Some(0),
        None => bytes.windows(needle.len()).position(|part| part == needle),
    }
}

/// Which windows of eight bytes a recorded request may have: a Bloom filter with one hash, which spares the search
/// for most of the chunks that are not there.
#[derive(Debug)]
struct Windows {
    bits: Box<[u64]>,
}

impl Windows {
    fn of(request: &[u8]) -> Self {
        // About eight bits a window.
        let mut bits = alloc::vec![0u64; (request.len() / 8).next_power_of_two()].into_boxed_slice();
        for window in request.windows(8) {
            let (place, bit) = Self::place(head(window).unwrap_or_default(), bits.len());
            if let Some(word) = bits.get_mut(place) {
                *word |= bit;
            }
        }
        Self { bits }
    }

    fn place(window: u64, words: usize) -> (usize, u64) {
        let hash = hash::mix(window, 0);
        ((hash >> 6) as usize & (words - 1), 1 << (hash & 63))
    }

    /// False where the request does not have the chunk.
    fn may_have(&self, chunk: &[u8]) -> bool {
        let has = |window: Option<u64>| {
            window.is_none_or(|window| {
                let (place, bit) = Self::place(window, self.bits.len());
                self.bits.get(place).is_some_and(|word| word & bit != 0)
            })
        };
        has(head(chunk)) && has(chunk.last_chunk().map(|tail| u64::from_le_bytes(*tail)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(request: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        cut(request, &mut chunks);
        chunks.into_iter().map(|range| request[range].to_vec()).collect()
    }

    #[test]
    fn a_long_request_is_cut_from_what_can_be_read() {
        assert_eq!(pieces(b""), Vec::<Vec<u8>>::new());
        assert_eq!(pieces(&[1; 40]).iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 8]);
        let mut long = [&b"\x01short\x02"[..], b"readable, and more\x03"].concat();
        long.resize(260, 0);
        assert_eq!(pieces(&long)[..2], [b"readable, and mo".to_vec(), [&b"re\x03"[..], &[0; 13]].concat()]);
        assert_eq!(pieces(&long[7..][..20])[0], b"readable, and mo");
        long[7..25].copy_from_slice(b"nine byte\0\0\0\0\0\0\0\0\0");
        assert_eq!(pieces(&long)[0], b"nine byte");
        assert_eq!(pieces(&[0; 300])[0].len(), 16, "nothing can be read");
    }

    /// The rule as koala 1.x has it, step by step.
    fn slowly(recorded: &[Vec<u8>], request: &[u8], from: usize, reached: usize) -> Option<(usize, usize)> {
        let chunks = pieces(request);
        let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|at| at == part);
        let mut rests: Vec<&[u8]> = recorded.iter().map(Vec::as_slice).collect();
        let mut scores = vec![0; recorded.len()];
        let (mut most, mut best) = (0, 0);
        for (number, chunk) in chunks.iter().enumerate() {
            for call in from..recorded.len() {
                if has(&recorded[call], EXPECT).is_some() != has(request, EXPECT).is_some() {
                    continue;
                }
                let Some(place) = has(rests[call], chunk) else { continue };
                rests[call] = &rests[call][place..];
                scores[call] += match (number, from, place) {
                    (0, 0, _) => chunks.len(),
                    (0, _, 0) => (chunks.len() / 2).max(2),
                    _ => 1,
                };
                if scores[call] > most {
                    (most, best) = (scores[call], call);
                }
            }
        }
        let next = scores.iter().enumerate().position(|(call, score)| *score == most && call >= reached);
        (most > 0).then(|| (next.unwrap_or(best), most))
    }

    proptest! {
        #[test]
        fn the_best_is_that_of_koala_1(
            recorded in proptest::collection::vec("[ab\u{1}]{0,40}[a-c]{0,300}( Expect: 100-continue)?", 0..6),
            request in "[ab\u{1}]{0,40}[a-c]{0,300}( Expect: 100-continue)?",
            from in 0usize..4,
            reached in 0usize..4,
        ) {
            let recorded: Vec<Vec<u8>> = recorded.into_iter().map(String::into_bytes).collect();
            let requests: Vec<Box<[u8]>> = recorded.iter().map(|bytes| bytes.as_slice().into()).collect();
            let best = Chunk::new(&requests).best(&requests, request.as_bytes(), from, reached);
            let best = best.map(|best| (best.call, best.score.score));
            prop_assert_eq!(best, slowly(&recorded, request.as_bytes(), from, reached));
        }

        #[test]
        fn what_is_there_is_found(
            before in proptest::collection::vec(0u8..3, 0..30),
            needle in proptest::collection::vec(0u8..3, 1..17),
            after in proptest::collection::vec(0u8..3, 0..30),
        ) {
            let bytes = [&before[..], &needle, &after].concat();
            let place = bytes.windows(needle.len()).position(|part| part == needle.as_slice());
            prop_assert_eq!(find(&bytes, &needle), place);
            prop_assert!(Windows::of(&bytes).may_have(&needle));
        }
    }
}
