//! Lists of known words, such as the names of commands and headers.
//!
//! A `match` on many strings becomes a chain of comparisons in the code, an order of magnitude larger than the words
//! themselves; in a table they cost what they are, which is what counts in a browser.

/// `N` known words of at most `W` bytes, and what each stands for.
#[derive(Debug)]
pub struct Words<T, const N: usize, const W: usize> {
    /// In order. The words are filled up with zeros, which none of them has; pointers to them would be larger.
    words: [([u8; W], T); N],
}

impl<T: Copy, const N: usize, const W: usize> Words<T, N, W> {
    /// The words of several groups, each of which stands for something else.
    ///
    /// # Panics
    ///
    /// Where there are not `N` words, one of them is longer than `W`, or is there twice; made in a constant, that is
    /// seen by the compiler.
    pub const fn new(groups: &[(&[&str], T)]) -> Self {
        let mut words = [([0; W], groups[0].1); N];
        let mut count = 0;
        let mut group = 0;
        while group < groups.len() {
            let (list, meaning) = groups[group];
            let mut at = 0;
            while at < list.len() {
                let word = padded(list[at].as_bytes());
                // Moved to its place among those that are there.
                let mut place = count;
                while place > 0 && is_before(&word, &words[place - 1].0) {
                    words[place] = words[place - 1];
                    place -= 1;
                }
                assert!(place == 0 || is_before(&words[place - 1].0, &word));
                words[place] = (word, meaning);
                count += 1;
                at += 1;
            }
            group += 1;
        }
        assert!(count == N);
        Self { words }
    }

    /// What a word stands for.
    pub fn find(&self, word: &[u8]) -> Option<T> {
        let mut wanted = [0; W];
        wanted.get_mut(..word.len())?.copy_from_slice(word);
        let place = self.words.binary_search_by(|(known, _)| known.cmp(&wanted)).ok()?;
        self.words.get(place).filter(|_| !word.contains(&0)).map(|(_, meaning)| *meaning)
    }
}

const fn padded<const W: usize>(word: &[u8]) -> [u8; W] {
    assert!(word.len() <= W);
    let mut padded = [0; W];
    let mut at = 0;
    while at < word.len() {
        assert!(word[at] != 0);
        padded[at] = word[at];
        at += 1;
    }
    padded
}

const fn is_before(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && one[at] == other[at] {
        at += 1;
    }
    at < one.len() && one[at] < other[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_and_nothing_else() {
        static WORDS: Words<u8, 6, 3> = Words::new(&[(&["bb", "a", "ccc"], 1), (&["ab", "", "b"], 2)]);
        for (word, meaning) in [("bb", 1), ("a", 1), ("ccc", 1), ("ab", 2), ("", 2), ("b", 2)] {
            assert_eq!(WORDS.find(word.as_bytes()), Some(meaning), "{word}");
        }
        for word in ["c", "ba", "abc", "cccc", "a\0", "\0"] {
            assert_eq!(WORDS.find(word.as_bytes()), None, "{word}");
        }
    }
}
