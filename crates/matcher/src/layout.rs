//! What a recording tells of messages whose protocol is not known: where they count, where they carry an id of their
//! own, and where they say how long they are and what time it is. All else in them is what they ask for.
//!
//! A number that every message counts on from the one before it on its connection, by one, is taken for a counter where
//! it stands at the head of the messages, and where something else in them varies as well. That might be the keys of a
//! table, read from the first to the last; so the answers must repeat it, or tell that it does not matter; or it goes on
//! for [`LONG_RUN`] messages, or for [`RUN`] where no answer is known. Elsewhere, and for ids that are random, the recorded
//! answers must prove that it does not matter: messages that differ in nothing else are answered alike, and others are
//! not. Where two places could be it, or answers speak against it, nothing is learned, and messages are the same only
//! where their bytes are. So is a message whose length is another than it says.

use crate::hash::{hash, mix};
use alloc::vec::Vec;
use core::ops::Range;

/// So many messages tell enough.
pub(crate) const MOST_MESSAGES: usize = 512;
/// Fewer tell nothing: two numbers in a row are an accident.
const LEAST_MESSAGES: usize = 3;
/// Places further from the start of a message are not looked at, and are counters without a proof up to here only.
const HEAD: usize = 64;
const HEADER: usize = 16;
/// Words behind this number are not looked at.
const WORDS: usize = 24;
/// A count that leaves numbers out is one after so many steps, none of them greater than that.
const STEPS: usize = 5;
const LONGEST_STEP: u64 = 1_000;
/// So many messages count on when they are not keys: answers that are known and do not repeat the number speak against it.
const RUN: usize = 5;
const LONG_RUN: usize = 9;
/// So much may a message have beside what its length counts.
const MOST_BESIDE: u64 = 64;
/// So many questions with answers of their own, each asked more than once, are a proof.
const LEAST_PROOFS: usize = 3;
/// The times of a recording lie within so many seconds.
const DAY: u64 = 86_400;

/// A message of no known protocol, as it was recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) connection: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) response: &'a [u8],
}

/// Where in a message something lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// So many bytes, which are a number with its lowest or its highest byte first.
    Bytes { offset: usize, width: usize, little: bool },
    /// A word of this number, or the digits that it ends with.
    Word { number: usize, whole: bool },
}

/// What a place says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Id,
    Length,
    Time,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Id => "id",
            Self::Length => "length",
            Self::Time => "time",
        }
    }
}

/// The places of messages that are new each time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    places: Vec<(Place, Kind)>,
    /// The places that tell a length, and what a message has beside what each counts.
    lengths: Vec<(Place, u64)>,
    /// The places that answers repeat: where in a message, and where in its answer.
    echoes: Vec<(Place, Place)>,
}

impl Layout {
    /// What the messages to a peer, in their order, have in common; `None`: nothing that varies by itself.
    pub(crate) fn of(messages: &[Message<'_>]) -> Option<Self> {
        if messages.len() < LEAST_MESSAGES {
            return None;
        }
        let mut layout = Self::default();
        let text = messages.iter().all(|message| is_text(message.bytes));
        let places = if text { words() } else { bytes(messages) };
        if !text {
            layout.add_all(messages, &places, Kind::Length, tell_length);
            layout.add_all(messages, &places, Kind::Time, tell_time);
            let beside = |place: Place| messages.first().and_then(|message| place.beside(message.bytes));
            let lengths = layout.places.iter().filter(|(_, kind)| *kind == Kind::Length);
            layout.lengths = lengths.filter_map(|(place, _)| Some((*place, beside(*place)?))).collect();
        }
        let counters: Vec<(Place, bool)> = places
            .iter()
            .filter(|place| layout.is_free(**place))
            .filter_map(|place| Some((*place, counts(messages, &numbers(messages, *place)?)?)))
            .collect();
        layout.add_one(messages, Kind::Counter, &counters);
        let ids = if text { id_words(messages, &layout) } else { id_bytes(messages, &layout) };
        let ids: Vec<(Place, bool)> = ids.into_iter().map(|place| (place, false)).collect();
        layout.add_one(messages, Kind::Id, &ids);
        let numbered = layout.places.iter().filter(|(_, kind)| matches!(kind, Kind::Counter | Kind::Id));
        layout.echoes = numbered.filter_map(|(place, _)| Some((*place, echo(messages, *place)?))).collect();
        // What varies besides must not be left to nothing: then the places are what is asked for.
        (!layout.places.is_empty() && layout.distinct(messages) > 1).then_some(layout)
    }

    /// No byte of it belongs to a place that is known.
    fn is_free(&self, place: Place) -> bool {
        !self.places.iter().any(|(known, _)| known.overlaps(place))
    }

    /// Adds a place, in the order in which they lie in a message. Its number among them.
    fn add(&mut self, place: Place, kind: Kind) -> usize {
        let at = self.places.iter().take_while(|(known, _)| known.order() < place.order()).count();
        self.places.insert(at, (place, kind));
        at
    }

    /// Adds each place whose numbers are of this kind.
    fn add_all(
        &mut self,
        messages: &[Message<'_>],
        places: &[Place],
        kind: Kind,
        is_so: fn(&[Message<'_>], Place, &[u64]) -> bool,
    ) {
        for place in places {
            if self.is_free(*place)
                && numbers(messages, *place).is_some_and(|numbers| is_so(messages, *place, &numbers))
            {
                self.add(*place, kind);
            }
        }
    }

    /// Adds the one place that may be of this kind, with whether it is to be trusted without a proof.
    fn add_one(&mut self, messages: &[Message<'_>], kind: Kind, places: &[(Place, bool)]) {
        // A number is also one in fewer and in more bytes: the first is the narrowest.
        let mut apart: Vec<(Place, bool)> = Vec::new();
        for (place, exact) in places {
            match apart.iter_mut().find(|(known, _)| known.overlaps(*place)) {
                Some(known) if *exact && !known.1 => *known = (*place, true),
                Some(_) => {}
                None => apart.push((*place, *exact)),
            }
        }
        let head = apart.iter().position(|(place, exact)| *exact && place.is_first_word());
        let chosen = match (&apart[..], head) {
            ([only], _) => *only,
            (_, Some(head)) => apart.swap_remove(head),
            _ => return,
        };
        let (place, exact) = chosen;
        let trusted = exact
            && (place.is_first_word() || matches!(place, Place::Bytes { offset, .. } if offset < HEADER));
        let wide = if kind == Kind::Counter { place.widened(messages) } else { None };
        let place = wide.filter(|wide| self.is_free(*wide)).unwrap_or(place);
        let at = self.add(place, kind);
        if !self.is_borne_out(messages, place, trusted) {
            self.places.remove(at);
        }
    }

    /// Whether messages that differ in nothing but these places are answered alike, but for what repeats this one; and
    /// there are enough such questions, with an answer each. (Two would be "not there" and "done", whatever was asked
    /// for.) A place that needs no proof must not be spoken against.
    fn is_borne_out(&self, messages: &[Message<'_>], place: Place, trusted: bool) -> bool {
        // What was asked, its answer, and whether it was asked again.
        let mut asked: Vec<(u64, u64, bool)> = Vec::new();
        for message in messages.iter().filter(|message| !message.response.is_empty()) {
            let said = place.span(message.bytes).and_then(|span| message.bytes.get(span));
            let rest = self.rest(message.bytes);
            let answer = without(message.response, said.unwrap_or_default());
            match asked.iter_mut().find(|(known, ..)| *known == rest) {
                Some((_, known, _)) if *known != answer => return false,
                Some((.., again)) => *again = true,
                None => asked.push((rest, answer, false)),
            }
        }
        let again = asked.iter().filter(|(.., again)| *again).map(|(_, answer, _)| *answer);
        let proofs = count_distinct(again.collect());
        let run = if asked.is_empty() { RUN } else { LONG_RUN };
        let is_counter = || {
            self.distinct(messages) * 2 >= messages.len()
                && (messages.len() >= run || proofs > 0 || echo(messages, place).is_some())
        };
        proofs >= LEAST_PROOFS || trusted && is_counter()
    }

    /// A recorded answer to a message with what it repeats of it as the present one has it. `None`: it fits as it is.
    pub(crate) fn fit(&self, request: &[u8], recorded: &[u8], response: &[u8]) -> Option<Vec<u8>> {
        if !self.is_of(request) || !self.is_of(recorded) {
            return None;
        }
        let mut fitted = response.to_vec();
        // From behind, so that what is longer now moves nothing that is yet to be found.
        let mut echoes = self.echoes.clone();
        echoes.sort_by_key(|(_, there)| core::cmp::Reverse(there.order()));
        for (here, there) in echoes {
            let [now, then] = [request, recorded].map(|bytes| bytes.get(here.span(bytes)?));
            let span = there.span(&fitted)?;
            if fitted.get(span.clone()) == then {
                fitted.splice(span, now?.iter().copied());
            }
        }
        (fitted != response).then_some(fitted)
    }

    /// The message has all of the places, and is as long as it says.
    fn is_of(&self, bytes: &[u8]) -> bool {
        self.places.iter().all(|(place, _)| place.span(bytes).is_some())
            && self.lengths.iter().all(|(place, beside)| place.beside(bytes) == Some(*beside))
    }

    /// How many of the messages differ in something else than these places.
    fn distinct(&self, messages: &[Message<'_>]) -> usize {
        count_distinct(messages.iter().map(|message| self.rest(message.bytes)).collect())
    }

    fn rest(&self, bytes: &[u8]) -> u64 {
        let mut rest = Vec::new();
        self.split(bytes, &mut rest, &mut |_, _, _| {});
        hash(&rest)
    }

    /// Writes to `rest` what a message asks for, and tells what lies in the places: the kind, the offset and the bytes.
    /// Where the message is of another layout, `rest` is all of it.
    pub(crate) fn split(&self, bytes: &[u8], rest: &mut Vec<u8>, told: &mut dyn FnMut(Kind, usize, &[u8])) {
        rest.clear();
        let mut at = 0;
        if !self.is_of(bytes) {
            rest.extend_from_slice(bytes);
            return;
        }
        for (place, kind) in &self.places {
            let span = place.span(bytes).unwrap_or(at..at);
            rest.extend_from_slice(bytes.get(at..span.start).unwrap_or_default());
            // Neither is in a text that is worth it.
            rest.extend_from_slice(&[1, *kind as u8]);
            told(*kind, span.start, bytes.get(span.clone()).unwrap_or_default());
            at = span.end;
        }
        rest.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }
}

impl Place {
    /// Its bytes in a message that has it.
    fn span(self, bytes: &[u8]) -> Option<Range<usize>> {
        match self {
            Self::Bytes { offset, width, .. } => {
                let end = offset + width;
                (bytes.len() >= end).then_some(offset..end)
            }
            Self::Word { number, whole } => {
                let word = word(bytes, number)?;
                let text = bytes.get(word.clone())?;
                let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
                match (whole, digits) {
                    (true, _) => Some(word),
                    (false, 1..=18) => Some(word.end - digits..word.end),
                    _ => None,
                }
            }
        }
    }

    fn number(self, bytes: &[u8]) -> Option<u64> {
        let digits = bytes.get(self.span(bytes)?)?;
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        match self {
            Self::Bytes { little: true, .. } => Some(digits.iter().rev().fold(0, join)),
            Self::Bytes { .. } => Some(digits.iter().fold(0, join)),
            Self::Word { .. } => core::str::from_utf8(digits).ok()?.parse().ok(),
        }
    }

    /// What a message has beside what the number here counts.
    fn beside(self, bytes: &[u8]) -> Option<u64> {
        (bytes.len() as u64).checked_sub(self.number(bytes)?)
    }

    fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::Bytes { offset, width, .. }, Self::Bytes { offset: from, width: length, .. }) => {
                offset < from + length && from < offset + width
            }
            (Self::Word { number, .. }, Self::Word { number: other, .. }) => number == other,
            _ => false,
        }
    }

    /// Where it lies, as far as others lie before or behind it.
    fn order(self) -> usize {
        match self {
            Self::Bytes { offset, .. } => offset,
            Self::Word { number, .. } => number,
        }
    }

    fn is_first_word(self) -> bool {
        matches!(self, Self::Word { number: 0, .. })
    }

    /// With the zeros that complete it to four bytes: in another run it may have got further.
    fn widened(self, messages: &[Message<'_>]) -> Option<Self> {
        let Self::Bytes { offset, width: width @ 1..=2, little } = self else { return None };
        let wide = |offset: usize, little: bool, zeros: Range<usize>| {
            let is_zero = |message: &Message<'_>| {
                message.bytes.get(zeros.clone()).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
            };
            messages.iter().all(is_zero).then_some(Self::Bytes { offset, width: 4, little })
        };
        let big = (offset + width).checked_sub(4).filter(|_| width == 1 || !little);
        let big = big.and_then(|start| wide(start, false, start..offset));
        let low = (width == 1 || little).then(|| wide(offset, true, offset + width..offset + 4)).flatten();
        match (big, low) {
            (Some(big), Some(low)) => [big, low]
                .into_iter()
                .find(|place| matches!(place, Self::Bytes { offset, .. } if offset.is_multiple_of(4))),
            (one, other) => one.or(other),
        }
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    core::str::from_utf8(bytes).is_ok() && !bytes.iter().any(control)
}

/// The word of this number: letters and digits that follow one another.
fn word(bytes: &[u8], number: usize) -> Option<Range<usize>> {
    let mut end = 0;
    let mut left = number;
    for run in bytes.chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric()) {
        end += run.len();
        if run.first().is_some_and(u8::is_ascii_alphanumeric) {
            match left.checked_sub(1) {
                Some(rest) => left = rest,
                None => return Some(end - run.len()..end),
            }
        }
    }
    None
}

/// How many different ones there are.
pub(crate) fn count_distinct(mut hashes: Vec<u64>) -> usize {
    hashes.sort_unstable();
    hashes.dedup();
    hashes.len()
}

/// The hash of an answer without what it repeats of the request.
fn without(answer: &[u8], said: &[u8]) -> u64 {
    let (mut sum, mut from, mut at) = (0, 0, 0);
    while let Some(rest) = answer.get(at..).filter(|rest| rest.len() >= said.len() && !said.is_empty()) {
        if rest.starts_with(said) {
            sum = mix(sum, hash(answer.get(from..at).unwrap_or_default()));
            at += said.len();
            from = at;
        } else {
            at += 1;
        }
    }
    mix(sum, hash(answer.get(from..).unwrap_or_default()))
}

/// Where all answers repeat what the messages have in a place, and there are enough answers.
fn echo(messages: &[Message<'_>], place: Place) -> Option<Place> {
    let answered: Vec<_> = messages.iter().filter(|message| !message.response.is_empty()).collect();
    let repeats = |there: Place| {
        answered.iter().all(|message| {
            let here = place.span(message.bytes).and_then(|span| message.bytes.get(span));
            here.is_some() && here == there.span(message.response).and_then(|span| message.response.get(span))
        })
    };
    let at = |offset: usize| match place {
        Place::Bytes { width, little, .. } => Place::Bytes { offset, width, little },
        Place::Word { whole, .. } => Place::Word { number: offset, whole },
    };
    let enough = answered.len() >= LEAST_MESSAGES;
    (0..HEAD).map(at).find(|there| enough && repeats(*there))
}

/// The numbers in a place, where every message has it.
fn numbers(messages: &[Message<'_>], place: Place) -> Option<Vec<u64>> {
    messages.iter().map(|message| place.number(message.bytes)).collect()
}

fn words() -> Vec<Place> {
    (0..WORDS).map(|number| Place::Word { number, whole: false }).collect()
}

/// Where no message has text, as far as all messages go: a bit for each offset.
fn untold(messages: &[Message<'_>]) -> u64 {
    const LEAST_TEXT: usize = 4;
    let mut free = u64::MAX;
    for Message { bytes, .. } in messages {
        let head = bytes.get(..HEAD).unwrap_or(bytes);
        let mut end = 0;
        for run in head.chunk_by(|a, b| (b' '..0x7f).contains(a) == (b' '..0x7f).contains(b)) {
            let bits = (0..run.len()).fold(0, |bits, at| bits | 1u64 << (end + at));
            end += run.len();
            if run.len() >= LEAST_TEXT && run.first().is_some_and(|byte| (b' '..0x7f).contains(byte)) {
                free &= !bits;
            }
        }
        free &= if end < HEAD { (1 << end) - 1 } else { u64::MAX };
    }
    free
}

/// The places where there may be numbers, the narrowest first.
fn bytes(messages: &[Message<'_>]) -> Vec<Place> {
    let free = untold(messages);
    let mut places = Vec::new();
    for (width, little) in [(1, false), (2, false), (2, true), (4, false), (4, true), (8, false), (8, true)] {
        let bits = (1u64 << width) - 1;
        for offset in 0..=HEAD - width {
            if free >> offset & bits == bits {
                places.push(Place::Bytes { offset, width, little });
            }
        }
    }
    places
}

/// Runs of bytes that are other ones in most messages, and never all the same.
fn id_bytes(messages: &[Message<'_>], layout: &Layout) -> Vec<Place> {
    let free = untold(messages);
    let some = messages.get(..HEAD).unwrap_or(messages);
    let varies = |offset: usize| {
        let mut seen = [false; 256];
        for byte in some.iter().filter_map(|message| message.bytes.get(offset)) {
            seen[usize::from(*byte)] = true;
        }
        let count = seen.into_iter().filter(|seen| *seen).count();
        free >> offset & 1 != 0
            && count * 4 > some.len() * 3
            && layout.is_free(Place::Bytes { offset, width: 1, little: false })
    };
    let varying: Vec<bool> = (0..HEAD).map(varies).collect();
    let mut end = 0;
    let mut places = Vec::new();
    for run in varying.chunk_by(|a, b| a == b) {
        end += run.len();
        let place = Place::Bytes { offset: end - run.len(), width: run.len(), little: false };
        if run.first() == Some(&true) && (4..=16).contains(&run.len()) && are_all_other(messages, place) {
            places.push(place);
        }
    }
    places
}

/// Words that look random, and are never the same.
fn id_words(messages: &[Message<'_>], layout: &Layout) -> Vec<Place> {
    let random = |place: &Place| {
        messages.iter().all(|message| {
            let word = place.span(message.bytes).and_then(|span| message.bytes.get(span));
            word.is_some_and(|word| word.len() >= 6 && word.iter().any(u8::is_ascii_digit))
        })
    };
    (0..WORDS)
        .map(|number| Place::Word { number, whole: true })
        .filter(|place| layout.is_free(*place) && random(place) && are_all_other(messages, *place))
        .collect()
}

/// No two messages have the same there.
fn are_all_other(messages: &[Message<'_>], place: Place) -> bool {
    let said = |message: &Message<'_>| Some(hash(message.bytes.get(place.span(message.bytes)?)?));
    count_distinct(messages.iter().filter_map(said).collect()) == messages.len()
}

/// The numbers say how long each message is, or how much of it follows.
fn tell_length(messages: &[Message<'_>], place: Place, numbers: &[u64]) -> bool {
    let mut beside = messages.iter().map(|message| place.beside(message.bytes));
    let Some(Some(first)) = beside.next() else { return false };
    let differ = numbers.windows(2).any(|pair| pair.first() != pair.last());
    differ && first <= MOST_BESIDE && beside.all(|beside| beside == Some(first))
}

/// The numbers are times, in seconds or smaller units since 1970, and none is before the one ahead of it.
fn tell_time(_: &[Message<'_>], place: Place, numbers: &[u64]) -> bool {
    let (first, last) =
        (numbers.first().copied().unwrap_or_default(), numbers.last().copied().unwrap_or_default());
    let units: &[u64] = match place {
        Place::Bytes { width: 4, .. } => &[1],
        Place::Bytes { width: 8, .. } => &[1_000, 1_000_000, 1_000_000_000],
        _ => return false,
    };
    let rises = first < last && numbers.is_sorted();
    rises
        && units.iter().any(|unit| {
            (1_000_000_000..2_000_000_000).contains(&(first / unit)) && (last - first) / unit < DAY
        })
}

/// Whether each number counts on from the one before it on its connection: by one each time, or leaving numbers out.
fn counts(messages: &[Message<'_>], numbers: &[u64]) -> Option<bool> {
    let mut last: Vec<(u64, u64)> = Vec::new();
    let (mut steps, mut exact) = (0, true);
    for (message, number) in messages.iter().zip(numbers) {
        match last.iter_mut().find(|(connection, _)| *connection == message.connection) {
            Some((_, before)) => {
                let step = number.checked_sub(*before).filter(|step| (1..=LONGEST_STEP).contains(step))?;
                (steps, exact, *before) = (steps + 1, exact && step == 1, *number);
            }
            None => last.push((message.connection, *number)),
        }
    }
    match (exact, steps) {
        (true, 2..) => Some(true),
        (false, STEPS..) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(messages: &[(Vec<u8>, Vec<u8>)]) -> Option<Layout> {
        let messages: Vec<Message<'_>> =
            messages.iter().map(|(bytes, response)| Message { connection: 1, bytes, response }).collect();
        Layout::of(&messages)
    }

    fn learned(messages: &[(Vec<u8>, Vec<u8>)]) -> Vec<(usize, Kind)> {
        let Some(layout) = layout(messages) else { return Vec::new() };
        let mut found = Vec::new();
        layout.split(&messages[0].0, &mut Vec::new(), &mut |kind, offset, _| found.push((offset, kind)));
        found
    }

    /// A length, a number and a time before the text.
    fn frame(number: u32, at: u64, text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len() + 15).expect("short").to_be_bytes();
        [&length[..], &[7], &number.to_be_bytes(), &at.to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn heads_of_frames_are_understood() {
        let at = |second: u64| (1_795_000_000 + second) * 1_000 + 17;
        let talks = [
            (9, 0, "get apple"),
            (10, 3, "get fig"),
            (11, 3, "put fig"),
            (12, 40, "drop pear"),
            (13, 50, "end"),
        ];
        let messages = talks.map(|(number, second, text)| (frame(number, at(second), text), Vec::new()));
        assert_eq!(learned(&messages), [(1, Kind::Length), (3, Kind::Counter), (7, Kind::Time)]);
        let layout = layout(&messages).expect("was learned");
        assert!(layout.is_of(&messages[0].0));
        let mut longer = messages[0].0.clone();
        longer.push(b'x');
        assert!(!layout.is_of(&longer), "it says that it is shorter");
        longer[1] += 1;
        assert!(layout.is_of(&longer));
    }

    #[test]
    fn what_may_be_asked_for_is_not_taken_for_a_counter() {
        let plain = |texts: &[&str]| -> Vec<(Vec<u8>, Vec<u8>)> {
            texts.iter().map(|text| (text.as_bytes().to_vec(), Vec::new())).collect()
        };
        let counted = ["17 get a", "18 get x", "19 put a", "20 get b", "21 get c"];
        assert_eq!(learned(&plain(&counted)), [(0, Kind::Counter)]);
        assert_eq!(learned(&plain(&counted[..4])), [], "nobody knows");
        assert_eq!(
            learned(&plain(&counted.map(|text| ["a", text].concat()).each_ref().map(String::as_str))),
            [(1, Kind::Counter)]
        );
        for texts in [
            &["get 1", "get 2", "get 3", "get 4"][..],
            &["fetch 1 full", "fetch 2 head", "fetch 3 full", "fetch 4 head"],
            &["put 1 bob", "put 2 al", "put 3 eve", "put 4 zoe"],
            &["1 get", "2 get", "3 get"],
            &["17 get a", "18 get b"],
        ] {
            assert_eq!(learned(&plain(texts)), [], "{texts:?}");
        }
        // Two places count: which one is asked for?
        let two = [1u8, 2, 3].map(|number| (vec![0, number, 0xff, 0, number, 0xff], Vec::new()));
        assert_eq!(learned(&two), []);
    }

    #[test]
    fn answers_prove_what_does_not_matter() {
        let talks = |talks: &[(&str, &str)]| -> Vec<(Vec<u8>, Vec<u8>)> {
            talks.iter().map(|(asked, told)| (asked.as_bytes().to_vec(), told.as_bytes().to_vec())).collect()
        };
        let keys = ["a", "b", "c", "a", "b", "c"];
        let numbered = |told: &dyn Fn(usize, &str) -> String| {
            let talks = keys.iter().enumerate().map(|(at, key)| {
                let number = at + 7;
                (std::format!("get {number} {key}").into_bytes(), told(number, key).into_bytes())
            });
            learned(&talks.collect::<Vec<_>>())
        };
        assert_eq!(numbered(&|number, key| std::format!("{number} is {key}")), [(4, Kind::Counter)]);
        assert_eq!(numbered(&|_, key| std::format!("is {key}")), [(4, Kind::Counter)]);
        assert_eq!(numbered(&|number, _| std::format!("is {}", number * 2)), [], "it matters");
        assert_eq!(numbered(&|_, _| "ok".into()), [], "nothing is known of what matters");
        let ids = ["f81a3c02", "09be77d1", "5c0d12aa", "77aa01bf", "e10c55d9", "316fb0c8"];
        let random: Vec<_> =
            ids.iter().zip(keys).map(|(id, key)| (std::format!("{key} {id}"), key)).collect();
        let random: Vec<_> = random.iter().map(|(asked, told)| (asked.as_str(), *told)).collect();
        assert_eq!(learned(&talks(&random)), [(2, Kind::Id)]);
        let missing: Vec<_> = ids
            .iter()
            .zip(["get", "set", "get", "set", "get", "set"])
            .map(|(id, verb)| (std::format!("{verb} {id}"), if verb == "get" { "nothing" } else { "done" }))
            .collect();
        let missing: Vec<_> = missing.iter().map(|(asked, told)| (asked.as_str(), *told)).collect();
        assert_eq!(learned(&talks(&missing)), [], "what is not there is answered alike");
        let binary = ids.iter().zip(keys).map(|(id, key)| {
            let id = u32::from_str_radix(id, 16).expect("hex").to_be_bytes();
            ([&[1][..], &id, key.as_bytes()].concat(), key.as_bytes().to_vec())
        });
        assert_eq!(learned(&binary.collect::<Vec<_>>()), [(1, Kind::Id)]);
    }

    #[test]
    fn keys_in_a_row_are_no_counter() {
        let rows = ["bob", "al", "eve", "zoe", "kim", "joe", "pat", "sue", "max", "ida"];
        let talks = |count: usize, told: &dyn Fn(usize, &str) -> String| -> Vec<(Vec<u8>, Vec<u8>)> {
            let talk = |(at, name): (usize, &&str)| {
                let fields = ["name", "mail", "city"];
                let asked = std::format!("{at} {} of {name}", fields[at % 3]);
                (asked.into_bytes(), told(at, name).into_bytes())
            };
            rows.iter().enumerate().map(talk).take(count).collect()
        };
        let named = |_: usize, name: &str| name.to_string();
        assert_eq!(learned(&talks(7, &named)), [], "the answers do not repeat it");
        // A reply that repeats its number is what numbers are for.
        let numbered = |at: usize, name: &str| std::format!("{at}: {name}");
        assert_eq!(learned(&talks(4, &numbered)), [(0, Kind::Counter)]);
    }

    #[test]
    fn answers_repeat_what_they_are_asked_with() {
        const AT: u64 = 0x0102_0304_0506_0708;
        let talks = |told: &dyn Fn(u32, &str) -> Vec<u8>| -> Vec<(Vec<u8>, Vec<u8>)> {
            let texts = ["get apple", "get fig", "put fig", "drop pear"];
            (7..).zip(texts).map(|(number, text)| (frame(number, AT, text), told(number, text))).collect()
        };
        let messages = talks(&|number, text| [b"ok", &number.to_be_bytes()[..], text.as_bytes()].concat());
        let learned = layout(&messages).expect("was learned");
        let fitted = learned.fit(&frame(900, AT, "get fig"), &messages[1].0, &messages[1].1);
        assert_eq!(fitted, Some([b"ok", &900u32.to_be_bytes()[..], b"get fig"].concat()));
        assert_eq!(learned.fit(&messages[1].0, &messages[1].0, &messages[1].1), None);
        assert_eq!(learned.fit(b"short", &messages[1].0, &messages[1].1), None);
        let words: Vec<_> = (7..)
            .zip(["get a", "get b", "put a", "end"])
            .map(|(number, text)| {
                (std::format!("{number} {text}").into_bytes(), std::format!("ok {number}!").into_bytes())
            })
            .collect();
        let learned = layout(&words).expect("was learned");
        assert_eq!(learned.fit(b"1234 get b", &words[1].0, &words[1].1).as_deref(), Some(&b"ok 1234!"[..]));
    }

    #[test]
    fn a_counter_may_get_further_than_it_was_recorded() {
        let big = [3u8, 4, 5].map(|number| {
            Place::Bytes { offset: 3, width: 1, little: false }.widened(&[Message {
                connection: 0,
                bytes: &[0, 0, 0, number, 1, 1, 1],
                response: b"",
            }])
        });
        assert_eq!(big, [Some(Place::Bytes { offset: 0, width: 4, little: false }); 3]);
        let message = |bytes| [Message { connection: 0, bytes, response: b"" }];
        let narrow = Place::Bytes { offset: 4, width: 1, little: false };
        let wide = Place::Bytes { offset: 4, width: 4, little: true };
        assert_eq!(narrow.widened(&message(&[9, 0, 0, 0, 5, 0, 0, 0, 7])), Some(wide));
        assert_eq!(narrow.widened(&message(&[9, 0, 1, 0, 5, 0, 1, 0, 7])), None);
    }

    proptest! {
        #[test]
        fn any_messages_are_harmless(
            messages in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), "[a-c ]{0,6}"), 0..8),
        ) {
            let messages: Vec<_> = messages.into_iter().map(|(bytes, told)| (bytes, told.into_bytes())).collect();
            learned(&messages);
        }
    }
}
