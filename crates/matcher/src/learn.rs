//! What a recording tells of the fields of its calls.
//!
//! Calls of one shape, to one peer, of one method and path or of one statement, are compared with each other and with
//! their answers:
//!
//! - **How much a field tells.** Its weight in the mark grows with the share of pairs of calls that differ in it: a field
//!   that is the same in all of them tells nothing, and one that is almost a key tells much. A request that lacks an argument
//!   which is almost a key of the recorded calls asks for none of them.
//! - **What decides.** Where calls differ in one field only, and their answers differ, that field is what is asked for,
//!   though it is one that may change elsewhere: a header that names the tenant, an argument that may be left out, an
//!   order. A request with another value is another call from then on.
//! - **What is new each time.** A field that is hardly ever the same, while calls that are equal but for it have equal
//!   answers, and other calls have other answers.
//!
//! # What is not learnt
//!
//! Meaning goes before statistics, and one mistake is worse than the other: an answer that is withheld is seen, a wrong
//! one is not. So
//!
//! - what is asked for by its protocol (a path, a key, `WHERE`, an `id`) stays so, whatever the answers: all ids that are
//!   not there have one answer. So does what proves who is asking;
//! - what is new each time by its name or its form (a nonce, a time, an idempotency key) stays so: answers differ because
//!   the world goes on. What only looks generated decides where a recorded value came back and had the same answer again,
//!   or where it is the token of whoever is asking;
//! - a value that overwrites another, and columns, stay what may change: answers tell nothing of them;
//! - an argument is never taken for new each time without [`LEAST_PROOFS`] questions that were asked more than once, all
//!   with different answers: "done" and "not there" prove nothing.
//!
//! Without answers only weights are learnt.

use crate::features::Feature;
use crate::fields::{Group, Role};
use crate::hash::{Table, hash, mix};
use crate::layout::count_distinct as distinct;
use crate::shape::{self, Care};
use alloc::string::String;
use alloc::vec::Vec;

/// So many calls of a shape tell enough.
const MOST_CALLS: usize = 512;
/// Fewer calls do not tell how much a field tells.
const LEAST_WEIGHED: usize = 4;
/// What a field weighs that never differs. One that does weighs 1, as one of which nothing is known, and the share of
/// pairs of calls that differ in it.
const QUIET: f32 = 0.25;
/// From this weight on, a field is almost a key.
pub(crate) const KEY: f32 = 1.85;
/// So many values, none of which came back, may be new each time.
const LEAST_FRESH: usize = 4;
/// A field that is taken for new each time was seen so often.
const LEAST_SEEN: usize = 6;
/// So many questions with answers of their own, each asked more than once, are a proof.
const LEAST_PROOFS: usize = 3;
/// More suspects than that are not looked at one by one.
const MOST_SUSPECTS: usize = 8;
/// So much of an answer is looked at for what is generated in it.
const MOST_ANSWER: usize = 16 * 1024;
/// Stands for a field that a call has not.
const ABSENT: u64 = 0;

/// A recorded call, as it is learnt from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lesson<'a> {
    pub(crate) peer: u64,
    /// What it shares with other calls of its shape, and no other call.
    pub(crate) shape: u64,
    /// Its fields, by name.
    pub(crate) features: &'a [Feature],
    /// Empty where it is not known.
    pub(crate) response: &'a [u8],
}

/// What is known of the fields of each shape.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    fields: Table<Learnt>,
    /// A field is something else than it seems.
    roles: bool,
}

#[derive(Debug, Clone, Copy)]
struct Learnt {
    weight: f32,
    role: Option<Role>,
}

impl Lessons {
    fn of(&mut self, shape: u64, name: u64) -> &mut Learnt {
        self.fields.entry(mix(shape, name)).or_insert(Learnt { weight: 1.0, role: None })
    }

    fn set_role(&mut self, shape: u64, name: u64, role: Role) {
        self.of(shape, name).role = Some(role);
        self.roles = true;
    }

    /// Gives the fields of a recorded call of this shape their weights.
    pub(crate) fn weigh(&self, shape: u64, features: &mut [Feature]) {
        for feature in features {
            if let Some(learnt) = self.fields.get(&mix(shape, feature.name)) {
                feature.weight = learnt.weight;
            }
        }
    }

    /// Gives fields of a request of this shape their roles; whether any changed.
    pub(crate) fn apply(&self, shape: u64, features: &mut [Feature]) -> bool {
        let mut changed = false;
        if !self.roles {
            return changed;
        }
        for feature in features {
            let learnt = self.fields.get(&mix(shape, feature.name));
            let Some(role) = learnt.and_then(|learnt| learnt.role) else { continue };
            feature.role = role;
            if role == Role::Identity {
                // Nothing of it may be another.
                (feature.value, feature.supple) = (feature.raw, false);
            }
            changed = true;
        }
        changed
    }
}

/// What recorded calls tell. `text_of`: the name and the value of a field of one of them.
pub(crate) fn learn(
    calls: &[Lesson<'_>],
    text_of: &mut dyn FnMut(usize, u64) -> Option<(String, Vec<u8>)>,
) -> Lessons {
    let mut order: Vec<(u64, u64)> = (0u64..).zip(calls).map(|(number, call)| (call.shape, number)).collect();
    order.sort_unstable();
    let mut lessons = Lessons::default();
    let mut headers = Vec::new();
    for alike in order.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        let shape = Shape::of(calls, alike.get(..MOST_CALLS).unwrap_or(alike));
        for field in shape.fields() {
            let Some(feature) = field.first().map(|said| said.feature) else { continue };
            if !may_tell(feature) {
                continue;
            }
            if let Some(weight) = shape.weight(field) {
                lessons.of(shape.shape, feature.name).weight = weight;
            }
            if shape.decides(field, text_of) {
                lessons.set_role(shape.shape, feature.name, Role::Identity);
                if feature.group == Group::Header {
                    headers.push(mix(shape.peer, feature.name));
                }
            }
        }
        for name in shape.new_each_time(text_of) {
            lessons.set_role(shape.shape, name, Role::Volatile);
        }
    }
    // Who is asked for by a header is asked for by it everywhere.
    for call in calls.iter().filter(|_| !headers.is_empty()) {
        let is_one = |feature: &&Feature| headers.contains(&mix(call.peer, feature.name));
        for feature in call.features.iter().filter(is_one) {
            lessons.set_role(call.shape, feature.name, Role::Identity);
        }
    }
    lessons
}

/// It is neither asked for by its protocol, nor new each time by its meaning, nor noise.
fn may_tell(feature: Feature) -> bool {
    matches!(feature.role, Role::Parameter | Role::Timed | Role::Value | Role::Soft)
}

/// What one call says under one name.
#[derive(Debug, Clone, Copy)]
struct Said {
    feature: Feature,
    /// All values of the name, without what is generated in them, and as they are.
    value: u64,
    raw: u64,
    /// The place of the call in its shape.
    call: usize,
}

/// The calls of a shape.
struct Shape<'a> {
    peer: u64,
    shape: u64,
    /// Their numbers among all, and their answers as far as they were asked for.
    numbers: Vec<usize>,
    responses: Vec<&'a [u8]>,
    /// What is asked for and its arguments, of each call.
    wholes: Vec<u64>,
    /// By name.
    said: Vec<Said>,
}

impl<'a> Shape<'a> {
    fn of(calls: &[Lesson<'a>], alike: &[(u64, u64)]) -> Self {
        let (shape, first) = alike.first().copied().unwrap_or_default();
        let mut shape = Self {
            peer: calls.get(first as usize).map_or(0, |call| call.peer),
            shape,
            numbers: Vec::new(),
            responses: Vec::new(),
            wholes: Vec::new(),
            said: Vec::new(),
        };
        for (call, (_, number)) in alike.iter().enumerate() {
            let number = *number as usize;
            let Some(Lesson { features, response, .. }) = calls.get(number) else { continue };
            let mut whole = 0u64;
            for same in features.chunk_by(|a, b| a.name == b.name) {
                let Some(feature) = same.first().copied() else { continue };
                if matches!(feature.role, Role::Volatile | Role::Noise) {
                    continue;
                }
                let join =
                    |of: fn(&Feature) -> u64| same.iter().fold(feature.name, |sum, one| mix(sum, of(one)));
                let (value, raw) = (join(|one| one.value), join(|one| one.raw));
                whole = whole.wrapping_add(value);
                shape.said.push(Said { feature, value, raw, call });
            }
            shape.numbers.push(number);
            shape.responses.push(response);
            shape.wholes.push(whole);
        }
        shape.said.sort_unstable_by_key(|said| (said.feature.name, said.call));
        shape
    }

    /// What is said under each name.
    fn fields(&self) -> impl Iterator<Item = &[Said]> {
        self.said.chunk_by(|a, b| a.feature.name == b.feature.name)
    }

    /// By the share of the pairs of calls that differ in a field.
    fn weight(&self, field: &[Said]) -> Option<f32> {
        let calls = self.numbers.len();
        if calls < LEAST_WEIGHED {
            return None;
        }
        let mut values: Vec<u64> = field.iter().map(|said| said.value).collect();
        values.resize(calls, ABSENT);
        values.sort_unstable();
        let alike: usize = values.chunk_by(|a, b| a == b).map(|equal| equal.len() * (equal.len() - 1)).sum();
        let told = 1.0 - alike as f32 / (calls * (calls - 1)) as f32;
        Some(if told > 0.0 { 1.0 + told } else { QUIET })
    }

    /// Whether other values of a field, or its absence, have other answers, which its role says nothing of.
    fn decides(
        &self,
        field: &[Said],
        text_of: &mut dyn FnMut(usize, u64) -> Option<(String, Vec<u8>)>,
    ) -> bool {
        let Some(&Said { feature, call, .. }) = field.first() else { return false };
        let soft = feature.role == Role::Soft;
        // Its role says nothing of other values; or nothing of none, which is another question of a header.
        let open = soft || feature.group == Group::Header;
        let may = match feature.group {
            Group::Header | Group::Clause => true,
            Group::Body | Group::Query | Group::Argument | Group::Written => !soft,
            _ => false,
        };
        let alike =
            |of: fn(&Said) -> u64| field.windows(2).all(|pair| pair.first().map(of) == pair.last().map(of));
        // Most fields of most shapes.
        let everywhere = field.len() == self.numbers.len();
        if !may || everywhere && alike(|said| said.raw) {
            return false;
        }
        // With the calls that have no such field.
        let mut asked: Vec<(u64, u64, u64, usize)> = Vec::with_capacity(self.numbers.len());
        let mut here = field.iter().peekable();
        for (call, whole) in self.wholes.iter().enumerate() {
            let said = here.next_if(|said| said.call == call);
            let (value, raw) = said.map_or((ABSENT, ABSENT), |said| (said.value, said.raw));
            asked.push((whole.wrapping_sub(value), raw, value, call));
        }
        asked.sort_unstable();
        let (mut decided, mut same, mut unclear) = (0usize, 0usize, 0usize);
        // A value that looks generated: whether one was, and whether one came back with the answer that it had.
        let (mut generated, mut came_back) = (false, false);
        for others in asked.chunk_by(|a, b| a.0 == b.0).filter(|others| others.len() > 1) {
            let values: Vec<_> = others.chunk_by(|a, b| a.1 == b.1).collect();
            let masked: Vec<u64> = values.iter().filter_map(|equal| Some(equal.first()?.2)).collect();
            let lacking = masked.contains(&ABSENT);
            let looks_generated = distinct(masked) < values.len();
            let blind = open || looks_generated || lacking;
            if values.len() < 2 || !blind {
                continue;
            }
            let mut answers = Vec::new();
            let mut steady = true;
            for equal in &values {
                let mut told = equal.iter().map(|(.., call)| self.told(*call));
                let Some(Some(first)) = told.next() else { continue };
                steady &= told.all(|told| told == Some(first));
                answers.push(first);
            }
            if answers.len() < values.len() {
                continue;
            } else if !steady {
                unclear += 1;
            } else if distinct(answers) == values.len() {
                decided += 1;
                generated |= looks_generated;
                came_back |= values.iter().any(|equal| equal.len() > 1);
            } else {
                same += 1;
            }
        }
        if decided == 0 || decided < same || decided <= unclear {
            return false;
        }
        if generated {
            let mut is_token = || {
                let number = self.numbers.get(call).copied();
                let text = number.and_then(|number| text_of(number, feature.name));
                text.is_some_and(|(name, value)| shape::is_credential(&name, &value))
            };
            return came_back || feature.group == Group::Header && is_token();
        }
        let raws = distinct(field.iter().map(|said| said.raw).collect());
        let fresh = raws >= LEAST_FRESH && raws == field.len();
        !fresh
    }

    /// The names of what is new each time without a meaning.
    fn new_each_time(&self, text_of: &mut dyn FnMut(usize, u64) -> Option<(String, Vec<u8>)>) -> Vec<u64> {
        if self.numbers.len() < LEAST_SEEN || self.responses.iter().all(|response| response.is_empty()) {
            return Vec::new();
        }
        let mut suspects: Vec<&[Said]> = Vec::new();
        for field in self.fields().filter(|field| field.len() >= LEAST_SEEN) {
            let Some(Said { feature, call, .. }) = field.first() else { continue };
            let may = matches!(feature.role, Role::Parameter | Role::Timed | Role::Value)
                && matches!(feature.group, Group::Query | Group::Body | Group::Argument | Group::Header);
            if !may || distinct(field.iter().map(|said| said.value).collect()) * 10 < field.len() * 9 {
                continue;
            }
            let text = self.numbers.get(*call).and_then(|number| text_of(*number, feature.name));
            if text.is_some_and(|(name, _)| !shape::is_key_name(&name)) {
                suspects.push(field);
            }
        }
        let name = |field: &&[Said]| field.first().map(|said| said.feature.name);
        if self.do_not_matter(&suspects) {
            return suspects.iter().filter_map(name).collect();
        }
        suspects.truncate(MOST_SUSPECTS);
        suspects.retain(|field| self.do_not_matter(&[field]));
        // Each by itself is not all of them together.
        if self.do_not_matter(&suspects) { suspects.iter().filter_map(name).collect() } else { Vec::new() }
    }

    /// Whether calls that differ in nothing but these fields have the same answer, and others have others.
    fn do_not_matter(&self, fields: &[&[Said]]) -> bool {
        let mut rests = self.wholes.clone();
        for said in fields.iter().copied().flatten() {
            if let Some(rest) = rests.get_mut(said.call) {
                *rest = rest.wrapping_sub(said.value);
            }
        }
        let mut asked: Vec<(u64, u64)> = Vec::new();
        for ((rest, whole), response) in rests.iter().zip(&self.wholes).zip(&self.responses) {
            // Calls that have none of the fields prove nothing about them.
            if !response.is_empty() && rest != whole {
                let (status, body) = essence(response);
                asked.push((*rest, mix(hash(status), hash(body))));
            }
        }
        asked.sort_unstable();
        let mut answers = Vec::new();
        for again in asked.chunk_by(|a, b| a.0 == b.0).filter(|again| again.len() > 1) {
            let Some((_, answer)) = again.first() else { continue };
            if again.iter().any(|(_, other)| other != answer) {
                return false;
            }
            answers.push(*answer);
        }
        !fields.is_empty() && distinct(answers) >= LEAST_PROOFS
    }

    /// What a call was answered, without what is generated in it; `None` where it is not known.
    fn told(&self, call: usize) -> Option<u64> {
        let response = self.responses.get(call).filter(|response| !response.is_empty())?;
        let (status, body) = essence(response);
        let mut masked = Vec::new();
        shape::mask(body.get(..MOST_ANSWER).unwrap_or(body), Care::Strict, &mut masked);
        Some(mix(hash(status), hash(&masked)))
    }
}

/// The status and the body of an answer of HTTP, whose headers have times and ids of their own; else nothing and all of
/// it.
fn essence(response: &[u8]) -> (&[u8], &[u8]) {
    let all = (&[][..], response);
    if !response.starts_with(b"HTTP/1.") {
        return all;
    }
    let Some(end) = response.windows(4).position(|four| four == b"\r\n\r\n") else { return all };
    (response.get(..12).unwrap_or_default(), response.get(end + 4..).unwrap_or_default())
}
