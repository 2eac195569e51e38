//! What differs between two requests, in words.

use crate::features::LONG;
use crate::fields::{self, Group, Request, Role, Scratch, Sink};
use crate::renames::{self, Renamed};
use crate::shape;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use koala_protocol::ConnectionState;

/// An explanation is kept with every replayed call: it names so many differences, and counts the rest.
const MOST_DIFFERENCES: usize = 12;
/// Values are cut to so many characters.
const MOST_CHARACTERS: usize = 72;
/// And to so many, where they differ in what is generated alone: whether that is right, only the whole of it tells, as that
/// each of many times has moved on as far as the clock has.
const MOST_GENERATED: usize = 4096;
/// Long texts that share this much are the same text, changed.
const SAME_TEXT: f64 = 0.9;

/// The fields of a request as text, one behind the other: a request has many, and all are read to find the few that
/// differ.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    names: String,
    values: Vec<u8>,
    fields: Vec<Field>,
}

/// Where name and value of a field end, and with them the next ones begin.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: usize,
    value: usize,
    group: Group,
    role: Role,
}

impl Texts {
    /// With room for those of a request.
    pub(crate) fn for_request(request: Request<'_>) -> Self {
        const NAMES: usize = 512;
        const FIELDS: usize = 24;
        Self {
            names: String::with_capacity(NAMES),
            values: Vec::with_capacity(request.bytes.len()),
            fields: Vec::with_capacity(FIELDS),
        }
    }

    fn of(request: Request<'_>, scratch: &mut Scratch) -> Self {
        let mut texts = Self::for_request(request);
        fields::read(request, scratch, &mut texts);
        texts
    }

    fn get(&self, place: usize) -> Option<Text<'_>> {
        let Field { name, value, group, role } = *self.fields.get(place)?;
        let before = place.checked_sub(1).and_then(|place| self.fields.get(place));
        let (from, start) = before.map_or((0, 0), |before| (before.name, before.value));
        Some(Text { name: self.names.get(from..name)?, group, role, value: self.values.get(start..value)? })
    }

    fn name(&self, place: usize) -> &str {
        self.get(place).map_or("", |text| text.name)
    }

    /// The fields from the `first` on, by name.
    fn by_name(&self, first: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (first..self.fields.len()).collect();
        places.sort_by(|a, b| self.name(*a).cmp(self.name(*b)));
        places
    }
}

#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    name: &'a str,
    group: Group,
    role: Role,
    value: &'a [u8],
}

impl Text<'_> {
    /// A text of which one word tells little. A body of unknown structure is none: it holds the ids as well.
    fn is_long(&self) -> bool {
        let is_text = self.value.len() >= LONG && core::str::from_utf8(self.value).is_ok();
        is_text && self.name != "body" && !asks(self.name)
    }
}

impl Sink for Texts {
    fn field(&mut self, group: Group, role: Role, name: &str, value: &[u8]) {
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.fields.push(Field { name: self.names.len(), value: self.values.len(), group, role });
    }

    fn count(&self) -> usize {
        self.fields.len()
    }

    fn rewind(&mut self, count: usize) {
        self.fields.truncate(count);
        let (name, value) = self.fields.last().map_or((0, 0), |last| (last.name, last.value));
        self.names.truncate(name);
        self.values.truncate(value);
    }
}

/// The name and the first value of the field whose name has this hash.
pub(crate) fn text_of(request: Request<'_>, name: u64, scratch: &mut Scratch) -> Option<(String, Vec<u8>)> {
    let texts = Texts::of(request, scratch);
    let mut all = (0..texts.fields.len()).filter_map(|place| texts.get(place));
    let text = all.find(|text| crate::hash::hash(text.name.as_bytes()) == name)?;
    Some((text.name.to_string(), text.value.to_vec()))
}

/// A field in which two requests differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `path`, `query page`, `header date`, `where id`, ...
    pub name: String,
    /// What the field says about which call a request is.
    pub role: Role,
    /// Where the field is in one of the requests only: in which.
    pub only: Option<Side>,
    /// Where it is in both: the values are equal but for what looks generated.
    pub generated: bool,
    /// Where it is in both: they are long texts, of which one word tells little.
    pub long: bool,
}

/// One of two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The recorded one.
    Recorded,
    /// The present one.
    Present,
}

/// The fields in which two requests differ, both on a connection on which was said what `state` knows.
pub fn changes(state: &ConnectionState, recorded: &[u8], present: &[u8]) -> Vec<Change> {
    let [recorded, present] =
        [recorded, present].map(|bytes| Request { state: Some(state), ..Request::alone(bytes) });
    Changes::between(recorded, present, &mut Scratch::default()).list()
}

/// The fields of two requests that differ.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    old: Texts,
    new: Arc<Texts>,
    /// The places of those that differ.
    places: Vec<(Option<usize>, Option<usize>)>,
}

impl Changes {
    /// From the recorded request to the present one.
    pub(crate) fn between(recorded: Request<'_>, request: Request<'_>, scratch: &mut Scratch) -> Self {
        let new = Arc::new(Texts::of(request, scratch));
        Self::to(recorded, new, scratch)
    }

    /// From the recorded request to one that was read.
    pub(crate) fn to(recorded: Request<'_>, new: Arc<Texts>, scratch: &mut Scratch) -> Self {
        let old = Texts::of(recorded, scratch);
        // Most requests have the same fields in the same order.
        let both = 0..old.fields.len().min(new.fields.len());
        let ordered = both.clone().take_while(|place| old.name(*place) == new.name(*place)).count();
        let mut partner: Vec<Option<usize>> = (0..ordered).map(Some).collect();
        partner.resize(new.fields.len(), None);
        // The others by name; stable, so that the second value of a name is compared with the second.
        let mut gone = Vec::new();
        let mut rest = new.by_name(ordered).into_iter().peekable();
        for place in old.by_name(ordered) {
            let name = old.name(place);
            while rest.next_if(|at| new.name(*at) < name).is_some() {}
            let found = rest.next_if(|at| new.name(*at) == name);
            match found.and_then(|at| partner.get_mut(at)) {
                Some(partner) => *partner = Some(place),
                None => gone.push(place),
            }
        }
        gone.sort_unstable();
        let mut places = Vec::new();
        for (place, before) in partner.into_iter().enumerate() {
            let same = before.and_then(|before| old.get(before)).map(|text| text.value)
                == new.get(place).map(|text| text.value);
            if !same {
                places.push((before, Some(place)));
            }
        }
        places.extend(gone.into_iter().map(|place| (Some(place), None)));
        Self { old, new, places }
    }

    fn pairs(&self) -> impl Iterator<Item = (Option<Text<'_>>, Option<Text<'_>>)> {
        let texts = |(before, after): &(Option<usize>, Option<usize>)| {
            (before.and_then(|place| self.old.get(place)), after.and_then(|place| self.new.get(place)))
        };
        self.places.iter().map(texts)
    }

    /// What differs, field by field.
    pub(crate) fn list(&self) -> Vec<Change> {
        let change = |(before, after): (Option<Text<'_>>, Option<Text<'_>>)| {
            let only = match (&before, &after) {
                (Some(_), Some(_)) => None,
                (Some(_), None) => Some(Side::Recorded),
                _ => Some(Side::Present),
            };
            let generated = match (&before, &after) {
                (Some(before), Some(after)) => {
                    shape_equal(before.value, after.value) || shape::loosely_equal(before.value, after.value)
                }
                _ => false,
            };
            let long = [&before, &after].into_iter().all(|text| text.as_ref().is_some_and(Text::is_long));
            let Text { name, role, .. } = before.or(after)?;
            Some(Change { name: name.to_string(), role, only, generated, long })
        };
        self.pairs().filter_map(change).collect()
    }

    /// Whether every value that differs is generated, or a long text of which little changed. With the
    /// weight that each one still has.
    pub(crate) fn same_after_all(&self) -> Option<Vec<(Group, f64)>> {
        let mut conceded = Vec::new();
        for (before, after) in self.pairs() {
            let (Some(before), Some(after)) = (before, after) else { continue };
            if before.role != Role::Value || shape_equal(before.value, after.value) {
                continue;
            }
            if shape::loosely_equal(before.value, after.value) {
                conceded.push((before.group, 1.0));
                continue;
            }
            // One word of a long text says little about what is asked for; bytes that are no text may hold ids.
            if !before.is_long() || !after.is_long() {
                return None;
            }
            let similarity = shape::similarity(before.value, after.value);
            if similarity < SAME_TEXT {
                return None;
            }
            conceded.push((before.group, similarity));
        }
        Some(conceded)
    }

    /// The tokens that stand in the place of others, with the name and the role of the field that they are in, of fields
    /// that are `wanted`.
    pub(crate) fn renamed<'a>(
        &'a self,
        wanted: &dyn Fn(&str, Role) -> bool,
        each: &mut dyn FnMut(&'a str, Role, Renamed<'a>),
    ) {
        for (before, after) in self.pairs() {
            if let (Some(before), Some(after)) = (before, after)
                && wanted(before.name, before.role)
            {
                renames::pairs(before.value, after.value, &mut |pair| each(before.name, before.role, pair));
            }
        }
    }

    /// Whether what is written is the same but for what is generated, or cannot be read.
    pub(crate) fn write_the_same(&self) -> bool {
        self.pairs().all(|texts| match texts {
            (Some(before), Some(after)) if before.role == Role::Soft && before.group == Group::Argument => {
                let (one, other) = (before.value, after.value);
                let is_text = |text: &[u8]| core::str::from_utf8(text).is_ok();
                shape_equal(one, other)
                    || shape::loosely_equal(one, other)
                    || before.is_long() && after.is_long() && shape::similarity(one, other) >= SAME_TEXT
                    || one.len() >= LONG && !is_text(one) && !is_text(other)
            }
            (Some(one), None) | (None, Some(one)) => one.role != Role::Soft || one.group != Group::Argument,
            _ => true,
        })
    }

    /// The differences in words. For a call that is another one, what is generated is left out: it says
    /// nothing about why.
    pub(crate) fn describe(&self, with_generated: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut more = 0usize;
        // What matters first.
        for identity in [true, false] {
            for (before, after) in self.pairs() {
                let Some(text) = before.or(after) else { continue };
                let is_identity = matches!(text.role, Role::Identity | Role::TimedIdentity);
                let generated = matches!(text.role, Role::Volatile | Role::Noise);
                if is_identity != identity || (generated && !with_generated) || follows(text.name) {
                    continue;
                }
                if lines.len() >= MOST_DIFFERENCES {
                    more += 1;
                    continue;
                }
                lines.push(line(text.name, before, after));
            }
        }
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }

    /// The names of what differs and is neither generated nor noise, for a sentence.
    pub(crate) fn names(&self) -> String {
        let mut names = String::new();
        let mut count = 0;
        for identity in [true, false] {
            for (before, after) in self.pairs() {
                let Some(text) = before.or(after) else { continue };
                let is_identity = matches!(text.role, Role::Identity | Role::TimedIdentity);
                if is_identity != identity || matches!(text.role, Role::Volatile | Role::Noise) {
                    continue;
                }
                count += 1;
                if count > 3 {
                    names.push_str(" and more");
                    return names;
                }
                if !names.is_empty() {
                    names.push_str(", ");
                }
                names.push_str(text.name);
            }
        }
        names
    }
}

/// In such a text every word asks for something.
fn asks(name: &str) -> bool {
    let last = name.as_bytes().rsplit(|byte| shape::SEPARATORS.contains(byte)).next().unwrap_or_default();
    matches!(last, b"query" | b"sql" | b"statement" | b"script" | b"filter" | b"search" | b"prompt")
}

/// It follows from something else that is reported.
fn follows(name: &str) -> bool {
    matches!(name, "header content-length" | "header transfer-encoding")
}

fn shape_equal(a: &[u8], b: &[u8]) -> bool {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    shape::mask(a, shape::Care::Strict, &mut one);
    shape::mask(b, shape::Care::Strict, &mut other);
    one == other
}

fn line(name: &str, before: Option<Text<'_>>, after: Option<Text<'_>>) -> String {
    const ARROW: &str = " -> ";
    let mut line = String::with_capacity(name.len() + 2 * (MOST_CHARACTERS + ARROW.len()));
    line.push_str(name);
    line.push_str(": ");
    let (from, most) = match (before, after) {
        (Some(before), Some(after)) => shown(before.value, after.value),
        _ => (0, MOST_CHARACTERS),
    };
    for (text, end) in [(before, ARROW), (after, "")] {
        match text {
            Some(text) => excerpt(text.value, from, most, &mut line),
            None => line.push_str("(absent)"),
        }
        line.push_str(end);
    }
    line
}

/// Where two values are shown from, and how many characters of them.
fn shown(before: &[u8], after: &[u8]) -> (usize, usize) {
    let longest = before.len().max(after.len());
    if longest <= MOST_CHARACTERS {
        return (0, MOST_CHARACTERS);
    } else if longest <= MOST_GENERATED && shape_equal(before, after) {
        return (0, MOST_GENERATED);
    }
    // From shortly before they part.
    let common = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    (common.saturating_sub(16), MOST_CHARACTERS)
}

fn excerpt(value: &[u8], from: usize, most: usize, text: &mut String) {
    if from > 0 {
        text.push('…');
    }
    let rest = value.get(from..).unwrap_or_default();
    let cut = rest.get(..most * 4).unwrap_or(rest);
    let mut shown = 0;
    for chunk in cut.utf8_chunks() {
        for character in chunk.valid().chars() {
            if shown >= most {
                text.push('…');
                return;
            }
            match character {
                ' '..='~' => text.push(character),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                // Writing to a string cannot fail.
                _ if character.is_control() => _ = write!(text, "\\u{{{:x}}}", u32::from(character)),
                _ => text.push(character),
            }
            shown += 1;
        }
        for byte in chunk.invalid() {
            if shown >= most {
                text.push('…');
                return;
            }
            let _ = write!(text, "\\x{:02x}", u32::from(*byte));
            shown += 1;
        }
    }
    if cut.len() < rest.len() {
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(recorded: &[u8], request: &[u8]) -> Vec<String> {
        let (recorded, request) = (Request::alone(recorded), Request::alone(request));
        Changes::between(recorded, request, &mut Scratch::default()).describe(true)
    }

    #[test]
    fn what_differs_is_named() {
        assert_eq!(
            differences(
                b"GET /orders/7 HTTP/1.1\r\n\r\n",
                b"GET /orders/8?x=1 HTTP/1.1\r\nUser-Agent: a\r\n\r\n"
            ),
            ["path: /orders/7 -> /orders/8", "query x: (absent) -> 1", "header user-agent: (absent) -> a"]
        );
        assert_eq!(
            differences(b"*2\r\n$3\r\nGET\r\n$6\r\nuser:1\r\n", b"*2\r\n$3\r\nGET\r\n$6\r\nuser:2\r\n"),
            ["argument 1: user:1 -> user:2"]
        );
        assert_eq!(
            differences(
                b"\x20\0\0\0\x03SELECT * FROM t WHERE id = 1   ",
                b"\x1d\0\0\0\x03SELECT * FROM t WHERE id = 3"
            ),
            ["where id: 1 -> 3"]
        );
    }

    #[test]
    fn many_times_are_shown_whole() {
        let get = |query: &str| format!("GET /a?{query} HTTP/1.1\r\n\r\n").into_bytes();
        let since = |day: u8| {
            let times = (0..40).map(|second| format!("2026-11-{day}T09:14:{second:02}Z"));
            format!("at={}", times.collect::<Vec<_>>().join(","))
        };
        let [line] = &*differences(&get(&since(14)), &get(&since(23))) else { panic!() };
        let whole = [14, 23].map(|day| since(day).replace("at=", "")).join(" -> ");
        assert_eq!(*line, format!("query at: {whole}"));
        // Nobody reads all of what is another text.
        let words = |word: &str| format!("at={}", [word; 40].join(","));
        let [line] = &*differences(&get(&words("one")), &get(&words("two"))) else { panic!() };
        assert!(line.len() < 200 && line.ends_with('…'), "{line}");
    }

    #[test]
    fn order_is_no_difference() {
        assert!(
            differences(
                b"GET /?a=1&b=2 HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n",
                b"GET /?b=2&a=1 HTTP/1.1\r\nb: 2\r\na: 1\r\n\r\n"
            )
            .is_empty()
        );
        assert_eq!(
            differences(b"GET /?a=1&a=2 HTTP/1.1\r\n\r\n", b"GET /?a=2&a=1 HTTP/1.1\r\n\r\n").len(),
            2,
            "but among values of one name it is"
        );
    }

    #[test]
    fn many_values_of_one_name_are_paired_in_order() {
        let list = |count: usize, last: &str| {
            let mut sql = String::from("SELECT a FROM t WHERE id IN (");
            for id in 0..count {
                sql.push_str(&format!("{id},"));
            }
            sql.push_str(last);
            sql.push(')');
            let length = u32::try_from(sql.len() + 1).expect("short").to_le_bytes();
            [&length[..3], &[0, 3], sql.as_bytes()].concat()
        };
        assert_eq!(differences(&list(30_000, "x"), &list(30_000, "y")).len(), 1);
        assert_eq!(differences(&list(3, "7"), &list(3, "8")), ["where id: 7 -> 8"]);
    }

    #[test]
    fn explanations_stay_small() {
        let body = |value: usize| {
            let members: Vec<String> =
                (0..1000).map(|at| format!("\"k{at}\":\"{}\"", "x".repeat(value))).collect();
            format!("POST / HTTP/1.1\r\n\r\n{{{}}}", members.join(","))
        };
        let lines = differences(body(500).as_bytes(), body(501).as_bytes());
        assert_eq!(lines.len(), MOST_DIFFERENCES + 1);
        assert_eq!(lines.last().map(String::as_str), Some("and 988 more"));
        assert!(lines.iter().all(|line| line.chars().count() < 200));
    }
}
