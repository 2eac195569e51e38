//! What the program under test has made up, under its recorded name and under that of this run.
//!
//! A program that begins a session, takes a lock or makes an order often draws its name at random. Another run draws
//! another one, and then says it wherever the recorded run said the recorded one. So the two are one name, if the program
//! can have it from nowhere else:
//!
//! - in the recording, it is first said in this very call: no request, no answer and not what the session was called with
//!   had it before;
//! - in this run, it is neither in what the session was called with nor anywhere in the recording.
//!
//! Who does not know what a session was called with can not tell a new name from one that a client sent. Then a name is
//! taken for new only where the call itself makes what has it: a key that is written, the id of a row.
//!
//! From then on the one stands for the other, in requests and in answers. Both have the same length, so that nothing
//! around them changes; neither stands for anything else.

use crate::chains::Chains;
use crate::hash::{hash, mix};
use crate::shape;
use crate::tokens::{self, Form};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;
use koala_protocol::decode::memcached::Command;

/// More names than that are not kept: a program that makes up so many asks for none of them again.
const MOST_RENAMES: usize = 4096;
/// Tokens have at least so many bytes, by which they are found.
const HEAD: usize = 8;

/// What the session was called with, and what was answered.
#[derive(Debug)]
pub(crate) struct Inbound {
    request: Box<[u8]>,
    response: Box<[u8]>,
}

/// Where a token is first said in the recording, and whether a request that writes says it later.
#[derive(Debug, Clone, Copy)]
struct First {
    /// Twice the number of the call, and one more in its answer.
    place: u32,
    written_later: bool,
}

/// Where the tokens of a recording are first said, and the next place where one is written.
#[derive(Debug, Default)]
pub(crate) struct Origins(Chains);

impl Origins {
    /// Takes what was said next: requests and answers in turns.
    pub(crate) fn note(&mut self, place: u32, text: &[u8], writes: bool) {
        // Nothing stands between a key and its value in memcached's binary protocol.
        if text.first() == Some(&0x80)
            && let Some(Command { key, value, .. }) = Command::parse(text)
        {
            self.note_text(place, &key, writes);
            self.note_text(place, value.unwrap_or_default(), writes);
            return;
        }
        self.note_text(place, text, writes);
    }

    fn note_text(&mut self, place: u32, text: &[u8], writes: bool) {
        tokens::each(text, &mut |_, token| {
            let token = text.get(token).unwrap_or_default();
            let key = key(token);
            let first = self.0.recorded(key, 1).next();
            if first.is_none() || writes && first != Some(place) && self.0.count(key) == 1 {
                self.0.push(key, place);
            }
        });
    }

    fn get(&self, token: &[u8]) -> Option<First> {
        let key = key(token);
        let place = self.0.recorded(key, 1).next()?;
        Some(First { place, written_later: self.0.count(key) > 1 })
    }
}

/// However a UUID is written, and in whatever case.
fn key(token: &[u8]) -> u64 {
    let plain = token.iter().filter(|byte| **byte != b'-').map(u8::to_ascii_lowercase);
    plain.fold(0, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A name that is not the recorded one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renamed<'a> {
    pub(crate) recorded: &'a [u8],
    pub(crate) live: &'a [u8],
    pub(crate) form: Form,
}

/// Pairs of tokens that stand in the same places of two texts; nothing where they do not have as many.
pub(crate) fn pairs<'a>(recorded: &'a [u8], live: &'a [u8], pair: &mut dyn FnMut(Renamed<'a>)) {
    let all = |text: &'a [u8]| {
        let mut found = Vec::new();
        tokens::each(text, &mut |form, place| found.push((form, text.get(place).unwrap_or_default())));
        found
    };
    let (one, other) = (all(recorded), all(live));
    if one.len() != other.len() {
        return;
    }
    for ((form, recorded), (_, live)) in one.into_iter().zip(other) {
        if recorded != live {
            pair(Renamed { recorded, live, form });
        }
    }
}

type Name = Box<[u8]>;

/// Names, and those that stand in their places.
#[derive(Debug, Default)]
struct Names {
    names: Vec<(Name, Name)>,
    /// By their first bytes.
    heads: Chains,
    /// A bit for each head, to pass over most bytes at once.
    seen: u64,
}

impl Names {
    fn push(&mut self, from: &[u8], to: &[u8]) {
        let Some(head) = head(from) else { return };
        self.heads.push(head, self.names.len() as u32);
        self.seen |= bit(head);
        self.names.push((from.into(), to.into()));
    }

    fn of(&self, from: &[u8]) -> Option<&[u8]> {
        self.find(head(from)?, |name| name == from).map(|(_, to)| &**to)
    }

    /// The pair with this head that fits.
    fn find(&self, head: u64, fits: impl Fn(&[u8]) -> bool) -> Option<&(Name, Name)> {
        let places = self.heads.recorded(head, MOST_RENAMES);
        places.filter_map(|place| self.names.get(place as usize)).find(|(name, _)| fits(name))
    }

    /// The text with the names that stand in the places of its own; `None` where it has none.
    fn replace(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.names.is_empty() {
            return None;
        }
        let mut out: Option<Vec<u8>> = None;
        let mut at = 0;
        while let Some(window) = text.get(at..at + HEAD) {
            let found = head(window).filter(|head| self.seen & bit(*head) != 0);
            let found = found.and_then(|head| self.find(head, |name| stands_at(text, at, name)));
            let Some((name, other)) = found else {
                at += 1;
                continue;
            };
            let out = out.get_or_insert_with(|| text.to_owned());
            if let Some(place) = out.get_mut(at..at + name.len()) {
                place.copy_from_slice(other);
            }
            at += name.len();
        }
        out
    }
}

/// Whether a name stands there, and is not the end or the beginning of a longer one. Nothing else has a long one in it,
/// which binary protocols put beside others.
fn stands_at(text: &[u8], at: usize, name: &[u8]) -> bool {
    let ends = |inner: Option<&u8>, outer: Option<&u8>| {
        let is = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        !is(inner) || !is(outer)
    };
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let may_touch = !name.is_ascii() || tokens::is_one_of_a_kind(name);
    text.get(at..at + name.len()) == Some(name)
        && (may_touch || ends(name.first(), before) && ends(name.last(), text.get(at + name.len())))
}

fn head(bytes: &[u8]) -> Option<u64> {
    let head = bytes.first_chunk::<HEAD>()?;
    Some(mix(u64::from_le_bytes(*head), 1))
}

fn bit(head: u64) -> u64 {
    1 << (head >> 58)
}

/// The names of this run and of the recording.
#[derive(Debug, Default)]
pub(crate) struct Renames {
    /// Of each session that the calls belong to, as far as that is known.
    pub(crate) inbound: Vec<Inbound>,
    recorded: Names,
    live: Names,
    /// So many of them are known to those who are to know them.
    told: usize,
}

impl Inbound {
    pub(crate) fn new(request: &[u8], response: &[u8]) -> Self {
        Self { request: request.into(), response: response.into() }
    }
}

impl Renames {
    /// A request of this run with the names that the recording has; `None` where it has none of its own.
    pub(crate) fn to_recorded(&self, request: &[u8]) -> Option<Vec<u8>> {
        self.live.replace(request)
    }

    /// A recorded answer with the names that this run has; `None` where it is the same.
    pub(crate) fn to_live(&self, response: &[u8]) -> Option<Vec<u8>> {
        self.recorded.replace(response)
    }

    /// It is known what the program was told.
    pub(crate) fn knows_inbound(&self) -> bool {
        !self.inbound.is_empty()
    }

    /// There are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.live.names.is_empty()
    }

    /// The pair is not what is known of either.
    pub(crate) fn contradict(&self, pair: Renamed<'_>) -> bool {
        let Renamed { recorded, live, .. } = pair;
        self.recorded.of(recorded).is_some_and(|known| known != live)
            || self.live.of(live).is_some_and(|known| known != recorded)
            // What this run calls otherwise is the name of that, and of nothing else.
            || self.recorded.of(live).is_some()
    }

    /// Both names may be one: each is said for the first time, the recorded one in the call with this number.
    pub(crate) fn may_be_one(&self, origins: &Origins, call: u32, pair: Renamed<'_>) -> bool {
        let Renamed { recorded, live, .. } = pair;
        let heard = |name| self.inbound.iter().any(|inbound| has(&inbound.request, name));
        recorded.len() == live.len()
            && recorded.len() >= HEAD
            && origins.get(recorded).is_some_and(|first| first.place == call * 2)
            && origins.get(live).is_none()
            && !heard(recorded)
            && !heard(live)
            && !self.contradict(pair)
    }

    /// A recorded name that the program looked up before it used it, as it does to see that nobody has it yet: it gave the
    /// name to its client, or wrote under it what no digest is that it would look for again.
    pub(crate) fn is_looked_up_as_new(&self, origins: &Origins, pair: Renamed<'_>) -> bool {
        let written_later = || origins.get(pair.recorded).is_some_and(|first| first.written_later);
        self.inbound.iter().any(|inbound| has(&inbound.response, pair.recorded))
            || self.knows_inbound() && pair.form == Form::Random && written_later()
    }

    /// From now on, both names are one.
    pub(crate) fn bind(&mut self, pair: Renamed<'_>) {
        let Renamed { recorded, live, .. } = pair;
        if self.live.names.len() >= MOST_RENAMES || self.live.of(live).is_some() {
            return;
        }
        let mut both = |recorded: &[u8], live: &[u8]| {
            self.recorded.push(recorded, live);
            self.live.push(live, recorded);
        };
        both(recorded, live);
        if shape::uuid(recorded).is_some() && shape::uuid(live).is_some() && recorded.len() == 36 {
            let plain =
                |name: &[u8]| -> Vec<u8> { name.iter().copied().filter(|byte| *byte != b'-').collect() };
            let (one, other) = (plain(recorded), plain(live));
            both(&one, &other);
            both(&binary(&one), &binary(&other));
        }
    }
}

impl Renames {
    /// Tells the other one what it does not know yet.
    pub(crate) fn tell(&mut self, other: &mut Self) {
        for (live, recorded) in self.live.names.get(self.told..).unwrap_or_default() {
            if other.live.names.len() < MOST_RENAMES && other.live.of(live).is_none() {
                other.recorded.push(recorded, live);
                other.live.push(live, recorded);
            }
        }
        self.told = self.live.names.len();
    }
}

/// The bytes of hex digits.
fn binary(hex: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).unwrap_or_default() as u8;
    hex.chunks(2).map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | digit(half))).collect()
}

fn has(text: &[u8], part: &[u8]) -> bool {
    let wanted = hash(part);
    text.windows(part.len()).any(|window| window.first() == part.first() && hash(window) == wanted)
}

/// Whether an answer says that nothing is there, as far as its protocol is one of those that programs keep such names in.
pub(crate) fn is_nothing(response: &[u8]) -> bool {
    const NOTHING: [&[u8]; 8] =
        [b"$-1\r\n", b"*-1\r\n", b"_\r\n", b":0\r\n", b":-2\r\n", b"*0\r\n", b"%0\r\n", b"END\r\n"];
    NOTHING.contains(&response)
        || response.starts_with(b"HTTP/1.1 404 ")
        // memcached's binary protocol: no such key.
        || matches!(response, [0x81, _, _, _, _, _, 0, 1, ..])
        || no_rows_of_postgres(response).unwrap_or(false)
        || no_rows_of_mysql(response).unwrap_or(false)
}

/// It ends with `ReadyForQuery`, and has no row.
fn no_rows_of_postgres(mut response: &[u8]) -> Option<bool> {
    let mut complete = false;
    loop {
        let (&kind, rest) = response.split_first()?;
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?;
        response = rest.get(length.max(4)..)?;
        match kind {
            b'D' | b'E' => return Some(false),
            b'C' => complete = true,
            b'Z' => return Some(complete && response.is_empty()),
            _ => {}
        }
    }
}

/// A text or binary result set: the number of columns, these, and its end.
fn no_rows_of_mysql(mut response: &[u8]) -> Option<bool> {
    let mut packet = || {
        let [a, b, c, _, rest @ ..] = response else { return None };
        let (body, after) =
            rest.split_at_checked(usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16)?;
        response = after;
        Some(body)
    };
    let &[columns @ 1..=250] = packet()? else { return Some(false) };
    for _ in 0..columns {
        packet()?;
    }
    let is_end = |body: &[u8]| body.first() == Some(&0xfe) && body.len() < 9;
    let first = packet()?;
    let last = packet();
    Some(is_end(first) && last.is_none_or(is_end) && response.is_empty())
}
