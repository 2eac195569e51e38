//! The fields of a request as hashes: what is kept of every recorded call, and compared.

use crate::explain::Texts;
use crate::fields::{self, Facts, Group, Request, Role, Scratch, Sink};
use crate::hash::{hash, mix};
use crate::learn::KEY;
use crate::shape::{self, Care};
use crate::tokens;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use koala_protocol::words::Words;

/// One field as hashes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    pub(crate) name: u64,
    /// Of the value without what is generated, where the role allows for that.
    pub(crate) value: u64,
    /// Of the value as it is.
    pub(crate) raw: u64,
    pub(crate) group: Group,
    pub(crate) role: Role,
    /// A value that differs may still be the same: it is generated in part, or long.
    pub(crate) supple: bool,
    /// It stands for a value that is given elsewhere: `?`, `$1`.
    placeholder: bool,
    /// How much it tells within its recording, where 1 is a field of which that is not known.
    pub(crate) weight: f32,
}

impl Feature {
    fn is_identity(&self) -> bool {
        matches!(self.role, Role::Identity | Role::TimedIdentity)
    }

    /// It may tell calls of one identity apart.
    pub(crate) fn tells(&self) -> bool {
        matches!(self.role, Role::Parameter | Role::Timed | Role::Value | Role::Soft)
    }
}

/// `?`, or `$1` as PostgreSQL has it.
fn is_placeholder(value: &[u8]) -> bool {
    match value {
        [b'?'] => true,
        [b'$', number @ ..] => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Values from this length on are not short literals: one word of them may change.
pub(crate) const LONG: usize = 64;

/// What it counts, among calls that ask for the same, that every generated value is the same: a random id
/// that is equal is no accident.
const GENERATED_AGREEMENT: f64 = 0.2;

/// A request as hashes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// Of what is asked for.
    pub(crate) identity: u64,
    /// And of the arguments.
    pub(crate) arguments: u64,
    /// And of what may change without another call being meant: all but what is generated, and noise.
    pub(crate) settled: u64,
    /// And of what is generated: all but noise.
    pub(crate) all: u64,
}

/// Collects features. The order of the fields of a request means nothing, so the keys are sums.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    pub(crate) features: Vec<Feature>,
    masked: Vec<u8>,
    /// Where what is asked for is to be read without its tokens as well.
    mint: Option<Mint>,
    /// Where the fields are to be kept as text as well.
    texts: Option<Texts>,
}

/// What is asked for without the tokens in it, by which a call is found whose token the program has made up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mint {
    /// Of what is asked for but for the tokens in it.
    pub(crate) key: u64,
    /// It has a token.
    pub(crate) has_token: bool,
    /// What is asked for by the first token is made by asking.
    pub(crate) creates: bool,
    /// The last verb that was read makes what it names.
    verb_creates: bool,
}

/// What makes the key, the channel or the resource that it names, or finds it made by nobody else.
#[rustfmt::skip]
static CREATING: Words<(), 21, 10> = Words::new(&[
    (&["SET", "SETNX", "SETEX", "PSETEX", "MSET", "MSETNX", "HSET", "HMSET", "HSETNX", "SADD", "ZADD", "LPUSH", "RPUSH",
        "XADD", "PFADD", "JSON.SET", "SUBSCRIBE", "SSUBSCRIBE", "set", "add", "PUT"], ()),
]);

impl Collector {
    /// Reads a request; its features are then those of the collector.
    pub(crate) fn read(&mut self, request: Request<'_>, scratch: &mut Scratch) -> (Keys, Facts) {
        self.features.clear();
        let facts = fields::read(request, scratch, self);
        // Equal names stay in their order: the second value of a name is compared with the second.
        self.features.sort_by_key(|feature| feature.name);
        (Keys::of(&self.features), facts)
    }

    /// As [`Self::read`], and its fields as text.
    pub(crate) fn read_both(
        &mut self,
        request: Request<'_>,
        scratch: &mut Scratch,
    ) -> (Keys, Facts, Arc<Texts>) {
        self.texts = Some(Texts::for_request(request));
        let (keys, facts) = self.read(request, scratch);
        (keys, facts, Arc::new(self.texts.take().unwrap_or_default()))
    }

    /// As [`Self::read`], and what is asked for without the tokens in it; `None` where it has none.
    pub(crate) fn read_minted(
        &mut self,
        request: Request<'_>,
        scratch: &mut Scratch,
    ) -> (Keys, Facts, Option<Mint>) {
        self.mint = Some(Mint::default());
        let (keys, facts) = self.read(request, scratch);
        (keys, facts, self.mint.take().filter(|mint| mint.has_token))
    }

    fn mint(&mut self, group: Group, role: Role, name: &str, value: &[u8]) {
        let Some(mint) = &mut self.mint else { return };
        let is_verb = matches!(group, Group::Command | Group::Method | Group::Statement);
        if is_verb {
            mint.verb_creates = CREATING.find(value).is_some();
        }
        if !matches!(role, Role::Identity | Role::TimedIdentity) {
            return;
        }
        let may = value.len() >= tokens::LEAST && !is_verb && !matches!(group, Group::Table | Group::Bytes);
        let has_token = may && tokens::without(value, &mut self.masked);
        if has_token && !mint.has_token {
            (mint.has_token, mint.creates) = (true, mint.verb_creates);
        }
        let value = if has_token { &self.masked } else { value };
        mint.key = mint.key.wrapping_add(mix(hash(name.as_bytes()), hash(value)));
    }

    pub(crate) fn boxed(&self) -> Box<[Feature]> {
        self.features.clone().into_boxed_slice()
    }
}

impl Keys {
    /// Of features, by name.
    pub(crate) fn of(features: &[Feature]) -> Self {
        let mut keys = Self::default();
        let mut previous = None;
        let mut occurrence = 0u64;
        for feature in features {
            occurrence = if previous == Some(feature.name) { occurrence + 1 } else { 0 };
            previous = Some(feature.name);
            let name = mix(feature.name, occurrence);
            let value = mix(name, feature.value);
            let raw = mix(name, feature.raw);
            match feature.role {
                Role::Identity | Role::TimedIdentity => keys.identity = keys.identity.wrapping_add(value),
                Role::Parameter | Role::Timed | Role::Value => {
                    keys.arguments = keys.arguments.wrapping_add(value)
                }
                Role::Soft => keys.settled = keys.settled.wrapping_add(value),
                Role::Volatile | Role::Noise => {}
            }
            if feature.role != Role::Noise {
                keys.all = keys.all.wrapping_add(raw);
            }
        }
        keys.arguments = mix(keys.identity, keys.arguments);
        keys.settled = mix(keys.arguments, keys.settled);
        keys
    }
}

impl Sink for Collector {
    fn field(&mut self, group: Group, role: Role, name: &str, value: &[u8]) {
        if self.mint.is_some() {
            self.mint(group, role, name, value);
        }
        if let Some(texts) = &mut self.texts {
            texts.field(group, role, name, value);
        }
        let raw = hash(value);
        let care = match role {
            Role::TimedIdentity | Role::Timed => Some(Care::Times),
            Role::Value | Role::Soft => Some(Care::Strict),
            Role::Identity | Role::Parameter | Role::Volatile | Role::Noise => None,
        };
        // Nothing shorter than a time of day passes for generated.
        let care = care.filter(|_| value.len() >= 8);
        let generated = care.is_some_and(|care| shape::mask(value, care, &mut self.masked));
        let feature = Feature {
            name: hash(name.as_bytes()),
            value: if generated { mix(hash(&self.masked), 1) } else { raw },
            raw,
            group,
            role,
            supple: role == Role::Value && (generated || value.len() >= LONG),
            placeholder: group == Group::Written && is_placeholder(value),
            weight: 1.0,
        };
        self.features.push(feature);
    }

    fn count(&self) -> usize {
        self.features.len()
    }

    fn rewind(&mut self, count: usize) {
        self.features.truncate(count);
        if let Some(texts) = &mut self.texts {
            texts.rewind(count);
        }
    }
}

/// How two requests compare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comparison {
    matched: [f32; Group::ALL.len()],
    total: [f32; Group::ALL.len()],
    /// The same without what is asked for, in which all calls that are weighed agree.
    free_matched: [f32; Group::ALL.len()],
    free_total: [f32; Group::ALL.len()],
    /// An argument, or what is asked for, is another one.
    pub(crate) other: bool,
    /// Whether it is another one is for their texts to say.
    pub(crate) unsure: bool,
    /// How many values that is said of, and what they weigh.
    doubted: [(f32, f32); Group::ALL.len()],
    /// How many generated values both have, and how many of them are the same nevertheless.
    generated: u32,
    pub(crate) generated_agreement: u32,
}

impl Comparison {
    /// Compares the features of two requests, both sorted by name.
    pub(crate) fn of(one: &[Feature], other: &[Feature]) -> Self {
        let mut comparison = Self::default();
        // Groups of arguments, a bit for each, of which one side has some that the other one has not, and those of
        // which both have one with the same value. That both set some column to a placeholder is no agreement.
        let (mut only_left, mut only_right, mut agreed) = (0, 0, 0);
        let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.name == b.name => {
                    if comparison.pair(a, b) && !a.placeholder {
                        agreed |= 1 << a.group as u32;
                    }
                    left.next();
                    right.next();
                }
                (Some(a), Some(b)) if a.name < b.name => {
                    only_left |= comparison.single(a);
                    left.next();
                }
                (Some(a), None) => {
                    only_left |= comparison.single(a);
                    left.next();
                }
                (_, Some(b)) => {
                    only_right |= comparison.single(b);
                    right.next();
                }
                (None, None) => break,
            }
        }
        // One argument more or less is a change; all of them exchanged for others is another call.
        comparison.other |= only_left & only_right & !agreed != 0;
        comparison
    }

    /// Whether both have the same value.
    fn pair(&mut self, a: &Feature, b: &Feature) -> bool {
        let same =
            if matches!(a.role, Role::Volatile | Role::Noise) { a.raw == b.raw } else { a.value == b.value };
        self.add(a, if same { 1.0 } else { 0.0 });
        if a.role == Role::Volatile || (a.value != a.raw && same) {
            self.generated += 1;
            self.generated_agreement += u32::from(a.raw == b.raw);
        }
        if same {
            return true;
        }
        match a.role {
            Role::Identity | Role::TimedIdentity | Role::Parameter | Role::Timed => self.other = true,
            Role::Value if a.supple || b.supple => {
                self.unsure = true;
                if let Some((values, weight)) = self.doubted.get_mut(a.group as usize) {
                    *values += 1.0;
                    *weight += a.weight;
                }
            }
            Role::Value => self.other = true,
            Role::Soft | Role::Volatile | Role::Noise => {}
        }
        false
    }

    /// A bit for its group, if it is an argument.
    fn single(&mut self, feature: &Feature) -> u32 {
        // A trace header more or less is nothing.
        if !matches!(feature.role, Role::Volatile | Role::Noise) {
            self.add(feature, 0.0);
        }
        if feature.is_identity() {
            self.other = true;
        }
        let is_argument = matches!(feature.role, Role::Parameter | Role::Timed | Role::Value);
        self.other |= is_argument && feature.weight >= KEY;
        let is_argument = is_argument
            && matches!(feature.group, Group::Body | Group::Query | Group::Argument | Group::Written);
        u32::from(is_argument) << feature.group as u32
    }

    fn add(&mut self, feature: &Feature, matched: f32) {
        let weight = feature.weight;
        self.count(feature.group, weight, matched * weight, !feature.is_identity());
    }

    fn count(&mut self, group: Group, total: f32, matched: f32, free: bool) {
        let add = |sums: &mut [f32], value: f32| {
            if let Some(sum) = sums.get_mut(group as usize) {
                *sum += value;
            }
        };
        add(&mut self.total, total);
        add(&mut self.matched, matched);
        if free {
            add(&mut self.free_total, total);
            add(&mut self.free_matched, matched);
        }
    }

    /// A value that differs turned out to be similar after all.
    pub(crate) fn concede(&mut self, group: Group, similarity: f64) {
        let (values, weight) = self.doubted.get(group as usize).copied().unwrap_or_default();
        self.count(group, 0.0, similarity as f32 * weight / values.max(1.0), true);
    }

    /// What speaks for a call among calls that ask for the same: their other fields, and generated values
    /// that are the same nevertheless.
    pub(crate) fn standing(&self) -> f64 {
        let free = mean(groups(&self.free_matched, &self.free_total));
        let generated = f64::from(self.generated_agreement) / f64::from(self.generated.max(1));
        free + GENERATED_AGREEMENT * generated
    }

    /// Weight and score of every group of fields that the requests have.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (Group, f64, f64)> + '_ {
        groups(&self.matched, &self.total)
    }

    /// The mark: how much of what the fields tell speaks for it, between 0 and 1.
    pub(crate) fn mark(&self) -> f64 {
        mean(self.groups())
    }
}

fn groups<'a>(matched: &'a [f32], total: &'a [f32]) -> impl Iterator<Item = (Group, f64, f64)> + 'a {
    Group::ALL.into_iter().zip(matched.iter().zip(total)).filter_map(|(group, (matched, total))| {
        let (matched, total) = (f64::from(*matched), f64::from(*total));
        (total > 0.0).then(|| (group, (total * group.unit()).min(group.weight()), matched / total))
    })
}

/// The mean of the scores by their weights; 1 where there are none.
fn mean(groups: impl Iterator<Item = (Group, f64, f64)>) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for (_, weight, score) in groups {
        sum += weight * score;
        all += weight;
    }
    if all > 0.0 { sum / all } else { 1.0 }
}
