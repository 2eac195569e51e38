//! The index over recorded calls, and the decision.

use crate::chains::Chains;
use crate::explain::{Changes, Texts, text_of};
use crate::features::{Collector, Comparison, Feature, Keys, Mint};
use crate::fields::{Facts, Request, Scratch};
use crate::hash::{hash, mix};
use crate::koala1::Koala1;
use crate::layout::{self, Layout, Message};
use crate::learn::{self, Lesson, Lessons};
use crate::moments;
use crate::renames::{Inbound, Origins, Renames, is_nothing};
use crate::{Decision, FieldScore, MARGIN, RecordedCall, RecordedTalk, Strategy, THRESHOLD};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use koala_protocol::ConnectionState;

mod made_up;

use made_up::{RENAMED, contradicts};

/// Behind the reason of a decision about a request that says which minute it is.
const MOMENT: &str = "the minute in it is that of the call, as the recorded one is";

/// So many calls with the same identity are weighed against each other.
const MOST_CANDIDATES: usize = 48;
/// So many calls are looked at to name the nearest one.
const MOST_NEIGHBOURS: usize = 16;
/// Of so many of them the texts are read, where hashes do not settle it.
const MOST_DOUBTS: usize = 8;
/// From so many calls of one identity on, they are found by their arguments.
const CROWD: usize = 32;
/// What being the next in recorded order counts when calls are weighed: enough to decide between equals,
/// not to win against a better one.
const NEXT_IN_ORDER: f64 = 0.06;

/// The recorded calls of a session or of an overlap group, and which of them were used.
///
/// Built once; [`Index::find`] then takes time that does not grow with the number of calls.
#[derive(Debug)]
pub struct Index {
    strategy: Strategy,
    /// The mark that a changed call needs.
    threshold: f64,
    /// Names of peers, and their numbers in that list by their hashes.
    peers: Vec<Box<str>>,
    peer_numbers: Chains,
    calls: Vec<Call>,
    used: Vec<bool>,
    tables: Tables,
    /// Of calls whose protocol is not known, by their peer and how they begin.
    layouts: Vec<(u64, Arc<Layout>)>,
    /// Of the fields of calls of known protocols.
    lessons: Lessons,
    /// Where the tokens of the recording come from, and which other ones stand for them.
    origins: Origins,
    renames: Renames,
    collector: Collector,
    /// The fields of the request that was read last.
    texts: Arc<Texts>,
    scratch: Scratch,
    /// In place of the tables, where the strategy is one of koala 1.x.
    koala1: Option<Koala1>,
}

#[derive(Debug)]
struct Call {
    peer: u64,
    request: Box<[u8]>,
    /// When it was made, in nanoseconds since 1970; 0 where that is not known.
    at: u64,
    /// What it refers to, where it refers to anything.
    state: Option<Box<ConnectionState>>,
    /// What the recording tells of it, where its protocol is not known.
    layout: Option<Arc<Layout>>,
    keys: Keys,
    /// Without the tokens in what it asks for, where it may be the first to say them.
    mint: Option<Mint>,
    features: Box<[Feature]>,
}

impl Call {
    fn request(&self) -> Request<'_> {
        Request { bytes: &self.request, state: self.state.as_deref(), layout: self.layout.as_deref() }
    }

    /// It was made in the database that the request is for, as far as both are known.
    fn in_database_of(&self, request: Request<'_>) -> bool {
        match (self.state.as_ref(), request.database()) {
            (Some(_), Some(now)) => self.request().database().is_none_or(|then| then == now),
            _ => true,
        }
    }

    /// It has the same bytes as a request with these keys, and they refer to the same.
    fn equals(&self, request: Request<'_>, keys: &Keys) -> bool {
        *self.request == *request.bytes
            && self.in_database_of(request)
            && (request.state.is_none() || self.keys.settled == keys.settled)
    }
}

/// Calls by what they consist of. Every key has the peer in it.
#[derive(Debug, Default)]
struct Tables {
    bytes: Chains,
    all: Chains,
    settled: Chains,
    arguments: Chains,
    identity: Chains,
    /// By what they ask for without the tokens in it.
    minted: Chains,
    /// Calls of crowded identities by each of their arguments.
    argument: Chains,
    neighbours: [Chains; 2],
    peer: Chains,
    /// By bytes alone, to find the call that went to another peer.
    anywhere: Chains,
}

impl Index {
    /// Builds the index over calls of which nothing but their bytes is known. The calls are copied.
    pub fn new<'a>(strategy: Strategy, calls: impl IntoIterator<Item = RecordedCall<'a>>) -> Self {
        Self::build(strategy, calls.into_iter().map(|call| (call, &b""[..], None)))
    }

    /// Builds the index over calls with their answers and what they refer to. What it needs of them is copied.
    pub fn of_talks<'a>(strategy: Strategy, talks: impl IntoIterator<Item = RecordedTalk<'a>>) -> Self {
        let nothing = ConnectionState::default();
        let state = |state: &ConnectionState| (*state != nothing).then(|| Box::new(state.clone()));
        Self::build(strategy, talks.into_iter().map(|talk| (talk.call, talk.response, state(talk.state))))
    }

    fn build<'a>(
        strategy: Strategy,
        talks: impl Iterator<Item = (RecordedCall<'a>, &'a [u8], Option<Box<ConnectionState>>)>,
    ) -> Self {
        let mut index = Self {
            strategy,
            threshold: THRESHOLD,
            peers: Vec::new(),
            peer_numbers: Chains::default(),
            calls: Vec::new(),
            used: Vec::new(),
            tables: Tables::default(),
            layouts: Vec::new(),
            lessons: Lessons::default(),
            origins: Origins::default(),
            renames: Renames::default(),
            collector: Collector::default(),
            texts: Arc::default(),
            scratch: Scratch::default(),
            koala1: None,
        };
        if strategy.is_of_koala1() {
            let calls: Vec<_> = talks.map(|(call, ..)| call).collect();
            index.koala1 = Koala1::new(strategy, &calls);
            index.used.resize(calls.len(), false);
            return index;
        }
        let mut facts = Vec::new();
        let mut said = Vec::new();
        // Requests, and answers when they came: other calls may have overtaken them.
        let mut order = Vec::new();
        for (call, response, state) in talks {
            let number = u32::try_from(facts.len()).unwrap_or(u32::MAX);
            let facts_of = index.add(call, state, response);
            let asked = number.saturating_mul(2);
            let answered = number.saturating_add(call.overtaken).saturating_mul(2).saturating_add(1);
            order.extend([(asked, call.request, !facts_of.read_only), (answered, response, false)]);
            facts.push(facts_of);
            said.push((call.connection, response));
        }
        if strategy == Strategy::Auto {
            // Stable, so that of answers that came between the same calls the one to the first call is the first.
            order.sort_by_key(|(place, ..)| *place);
            for (place, text, writes) in order {
                index.origins.note(place, text, writes);
            }
        }
        if strategy == Strategy::Auto {
            if facts.iter().any(|facts| facts.unknown) {
                index.learn_layouts(&said, &mut facts);
            }
            index.learn_roles(&said, &facts);
        }
        for (number, facts) in (0u32..).zip(&facts) {
            index.enter(number, facts);
        }
        index.find_crowds();
        index
    }

    /// The mark that a changed call needs, from 0 to 1, where it is to be another than [`THRESHOLD`]. `chunk` has
    /// limits of its own.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// With what a session of these calls was called with, and what it answered to that: what is known to tell what the
    /// program has made up, such as the id of a session that it begins, from what it was told. Calls of several sessions
    /// have as many.
    #[must_use]
    pub fn with_inbound(mut self, request: &[u8], response: &[u8]) -> Self {
        self.renames.inbound.push(Inbound::new(request, response));
        self
    }

    /// Tells each of two indexes what the other has found out: which names the program has made up in this run, and what
    /// they were in the recording. For calls of sessions that overlapped, which are searched one after the other.
    pub fn share_names(&mut self, other: &mut Self) {
        self.renames.tell(&mut other.renames);
        other.renames.tell(&mut self.renames);
    }

    /// The number of recorded calls.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// No call was recorded.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Whether a recorded call was given as an answer.
    pub fn is_used(&self, index: usize) -> bool {
        self.used.get(index).copied().unwrap_or(false)
    }

    /// Decides which recorded call a request is. The call is used from then on.
    ///
    /// The strategies of koala 1.x take all requests to a peer for those of one connection.
    pub fn find(&mut self, peer: &str, request: &[u8]) -> Decision {
        self.find_on(hash(peer.as_bytes()), peer, request)
    }

    /// As [`Index::find`], of a request on the connection with this number, which the caller chooses. The strategies
    /// of koala 1.x go on behind the call that was matched last on a connection; to the others it means nothing.
    pub fn find_on(&mut self, connection: u64, peer: &str, request: &[u8]) -> Decision {
        self.find_asked(connection, peer, Request::alone(request))
    }

    /// As [`Index::find_on`], of a request on a connection on which was said what `state` knows: the statements that
    /// the request names, and the database that it is for, are those of that connection. It goes with
    /// [`Index::of_talks`], which is told the same of the recorded calls.
    pub fn find_in(
        &mut self,
        state: &ConnectionState,
        connection: u64,
        peer: &str,
        request: &[u8],
    ) -> Decision {
        let state = Some(state).filter(|state| **state != ConnectionState::default());
        self.find_asked(connection, peer, Request { state, ..Request::alone(request) })
    }

    /// As [`Index::find_in`], of a request that is sent `now`, in nanoseconds since 1970 by the clock that its program reads.
    /// It goes with [`RecordedCall::at`]: a minute in a key is the recorded one where each is that of its call.
    pub fn find_at(
        &mut self,
        now: u64,
        state: &ConnectionState,
        connection: u64,
        peer: &str,
        request: &[u8],
    ) -> Decision {
        let decision = self.find_in(state, connection, peer, request);
        if decision.index.is_some() || self.strategy != Strategy::Auto {
            return decision;
        }
        let moved = decision.nearest.and_then(|call| self.at_moment_of(call, now, request));
        let Some(moved) = moved else { return decision };
        let state = Some(state).filter(|state| **state != ConnectionState::default());
        let found = self.decide_named(peer, Request { state, ..Request::alone(&moved) });
        // The minute of its own call, not of another one.
        let is_own = |call: &usize| self.at_moment_of(*call, now, request).as_ref() == Some(&moved);
        let Some(call) = found.index.filter(is_own) else { return decision };
        self.take(call);
        self.in_live_words(found, Request { state, ..Request::alone(request) }, MOMENT)
    }

    /// A request as it would have been sent when a recorded call was made.
    fn at_moment_of(&self, call: usize, now: u64, request: &[u8]) -> Option<Vec<u8>> {
        const SECOND: u64 = 1_000_000_000;
        let then = self.calls.get(call)?.at;
        if then == 0 { None } else { moments::moved(request, now / SECOND, then / SECOND) }
    }

    fn find_asked(&mut self, connection: u64, peer: &str, request: Request<'_>) -> Decision {
        let decision = match &mut self.koala1 {
            Some(koala1) => koala1.find(connection, request.bytes, self.threshold, &self.used),
            None => self.decide_named(peer, request),
        };
        if let Some(call) = decision.index {
            self.take(call);
        }
        decision
    }

    /// The call is used from now on.
    fn take(&mut self, call: usize) {
        if let Some(used) = self.used.get_mut(call) {
            *used = true;
        }
    }

    /// Decides by the recorded names of what the program has made up.
    fn decide_named(&mut self, peer: &str, request: Request<'_>) -> Decision {
        match self.renames.to_recorded(request.bytes) {
            Some(bytes) => {
                let decision = self.decide(peer, Request { bytes: &bytes, ..request });
                self.in_live_words(decision, request, RENAMED)
            }
            None => self.decide(peer, request),
        }
    }

    /// The answer of a recorded call of no known protocol with the number of the `request` that it answers now, where
    /// all recorded answers repeat the number of their request. `None`: it fits as it is. (What known protocols repeat:
    /// [`koala_protocol::fit_response`].)
    ///
    /// Tokens that the program has made up are those of this run in it, whatever the protocol.
    pub fn fit_response(&self, index: usize, request: &[u8], response: &[u8]) -> Option<Vec<u8>> {
        let call = self.calls.get(index)?;
        let fitted = call.layout.as_ref().and_then(|layout| layout.fit(request, &call.request, response));
        self.renames.to_live(fitted.as_deref().unwrap_or(response)).or(fitted)
    }

    /// Adds a call, which is to be entered into the tables.
    fn add(&mut self, call: RecordedCall<'_>, state: Option<Box<ConnectionState>>, response: &[u8]) -> Facts {
        let peer = hash(call.peer.as_bytes());
        if self.peer_name(peer).is_none() {
            self.peer_numbers.push(peer, u32::try_from(self.peers.len()).unwrap_or(u32::MAX));
            self.peers.push(call.peer.into());
        }
        let request = Request { state: state.as_deref(), ..Request::alone(call.request) };
        let (keys, facts, mint) = self.collector.read_minted(request, &mut self.scratch);
        let features = self.collector.boxed();
        let mint = mint.filter(|mint| mint.creates || facts.read_only && is_nothing(response));
        self.calls.push(Call {
            peer,
            request: call.request.into(),
            at: call.at,
            state,
            layout: None,
            keys,
            mint,
            features,
        });
        self.used.push(false);
        facts
    }

    /// Learns from calls whose protocol is not known, and reads them anew where there was something to learn. `said`:
    /// the connection and the answer of each call.
    fn learn_layouts(&mut self, said: &[(u64, &[u8])], facts: &mut [Facts]) {
        let mut unknown = Chains::default();
        for ((number, call), _) in (0u32..).zip(&self.calls).zip(&*facts).filter(|(_, facts)| facts.unknown) {
            unknown.push(call.peer, number);
            unknown.push(begins(call.peer, &call.request), number);
        }
        for key in unknown.keys() {
            let message = |number: u32| {
                let (connection, response) = *said.get(number as usize)?;
                Some(Message { connection, bytes: &self.call(number)?.request, response })
            };
            let messages: Vec<_> = unknown.recorded(key, layout::MOST_MESSAGES).filter_map(message).collect();
            if let Some(layout) = Layout::of(&messages) {
                self.layouts.push((key, Arc::new(layout)));
            }
        }
        for (number, facts) in facts.iter_mut().enumerate().filter(|(_, facts)| facts.unknown) {
            let Some(call) = self.calls.get(number) else { continue };
            let Some(layout) = self.layout(call.peer, &call.request) else { continue };
            let request = Request { layout: Some(&layout), ..call.request() };
            let (keys, of_call) = self.collector.read(request, &mut self.scratch);
            *facts = of_call;
            if let Some(call) = self.calls.get_mut(number) {
                (call.keys, call.features, call.layout) = (keys, self.collector.boxed(), Some(layout));
            }
        }
    }

    /// Learns how much fields tell and what they are, from calls of known protocols.
    fn learn_roles(&mut self, said: &[(u64, &[u8])], facts: &[Facts]) {
        let shape = |call: &Call, facts: &Facts| mix(call.peer, facts.shape);
        let lessons: Vec<Lesson<'_>> = self
            .calls
            .iter()
            .zip(said)
            .zip(facts)
            .map(|((call, (_, response)), facts)| Lesson {
                peer: call.peer,
                shape: shape(call, facts),
                features: &call.features,
                response,
            })
            .collect();
        let (calls, scratch) = (&self.calls, &mut self.scratch);
        let learnt =
            learn::learn(&lessons, &mut |number, name| text_of(calls.get(number)?.request(), name, scratch));
        for (call, facts) in self.calls.iter_mut().zip(facts) {
            let shape = shape(call, facts);
            learnt.weigh(shape, &mut call.features);
            if learnt.apply(shape, &mut call.features) {
                call.keys = Keys::of(&call.features);
            }
        }
        self.lessons = learnt;
    }

    /// What is known of requests to a peer that are of no known protocol.
    fn layout(&self, peer: u64, request: &[u8]) -> Option<Arc<Layout>> {
        let of = |key| Some(self.layouts.iter().find(|(known, _)| *known == key)?.1.clone());
        if self.layouts.is_empty() { None } else { of(peer).or_else(|| of(begins(peer, request))) }
    }

    fn enter(&mut self, number: u32, facts: &Facts) {
        let Some(Call { peer, request, keys, mint, .. }) = self.calls.get(number as usize) else { return };
        let (peer, bytes) = (*peer, hash(request));
        let tables = &mut self.tables;
        if let Some(mint) = mint {
            tables.minted.push(mix(peer, mint.key), number);
        }
        tables.bytes.push(mix(peer, bytes), number);
        tables.peer.push(peer, number);
        tables.anywhere.push(bytes, number);
        tables.all.push(mix(peer, keys.all), number);
        tables.settled.push(mix(peer, keys.settled), number);
        tables.arguments.push(mix(peer, keys.arguments), number);
        tables.identity.push(mix(peer, keys.identity), number);
        for (chains, key) in tables.neighbours.iter_mut().zip(facts.neighbours) {
            chains.push(mix(peer, key), number);
        }
    }

    fn find_crowds(&mut self) {
        for (number, call) in (0u32..).zip(&self.calls) {
            let identity = mix(call.peer, call.keys.identity);
            if self.tables.identity.count(identity) < CROWD {
                continue;
            }
            for feature in call.features.iter().filter(|feature| feature.tells()) {
                self.tables.argument.push(argument_key(identity, feature), number);
            }
        }
    }

    fn decide(&mut self, peer_name: &str, request: Request<'_>) -> Decision {
        let peer = hash(peer_name.as_bytes());
        if self.peer_name(peer) != Some(peer_name) {
            return self.unknown_peer(peer_name, request);
        }
        let bytes = mix(peer, hash(request.bytes));
        // What its connection was told can make another call of equal bytes: that is seen below.
        if request.state.is_none()
            && let Some(call) = self.byte_equal_unused(bytes, request, &Keys::default())
        {
            return self.byte_equal(call, bytes, false);
        }
        let layout = self.layout(peer, request.bytes);
        let request = Request { layout: layout.as_deref(), ..request };
        let (mut keys, facts, texts) = self.collector.read_both(request, &mut self.scratch);
        self.texts = texts;
        if self.lessons.apply(mix(peer, facts.shape), &mut self.collector.features) {
            keys = Keys::of(&self.collector.features);
        }
        if request.state.is_some()
            && let Some(call) = self.byte_equal_unused(bytes, request, &keys)
        {
            return self.byte_equal(call, bytes, false);
        }
        if self.strategy == Strategy::Auto {
            if let Some(call) = self.equal_but_noise(mix(peer, keys.all), request) {
                return self.found(call, Way::All, None);
            }
            if let Some((call, runner_up)) = self.equal_but_generated(mix(peer, keys.settled), request) {
                return self.found(call, Way::Settled, runner_up);
            }
        }
        let last = |chains: &Chains, key: u64| {
            let call = chains.last(key)?;
            Some((call, self.call(call)?)).filter(|(_, recorded)| recorded.in_database_of(request))
        };
        if facts.read_only
            && let Some((call, recorded)) = last(&self.tables.bytes, bytes)
            && recorded.equals(request, &keys)
        {
            return self.byte_equal(call, bytes, true);
        }
        if self.strategy == Strategy::Exact {
            return self.unmatched_exactly(peer, &keys, &facts, bytes);
        }
        if facts.read_only
            && let Some((call, _)) = last(&self.tables.settled, mix(peer, keys.settled))
        {
            return self.found(call, Way::Again, None);
        }
        let decision = self.weigh(peer, &keys, &facts, request);
        match decision.index {
            None => self.minted(peer, request).unwrap_or(decision),
            Some(_) => decision,
        }
    }

    fn peer_name(&self, peer: u64) -> Option<&str> {
        self.peers.get(self.peer_numbers.last(peer)? as usize).map(|name| &**name)
    }

    /// An unused call that has the same bytes, and refers to the same.
    fn byte_equal_unused(&mut self, key: u64, request: Request<'_>, keys: &Keys) -> Option<u32> {
        let calls = &self.calls;
        let equal = |call: &u32| calls.get(*call as usize).is_some_and(|call| call.equals(request, keys));
        self.tables.bytes.unused(key, &self.used, usize::MAX / 4).find(equal)
    }

    fn call(&self, number: u32) -> Option<&Call> {
        self.calls.get(number as usize)
    }

    /// An unused call that is equal but for noise.
    fn equal_but_noise(&mut self, key: u64, request: Request<'_>) -> Option<u32> {
        let calls = &self.calls;
        let fits = |call: &u32| calls.get(*call as usize).is_some_and(|call| call.in_database_of(request));
        self.tables.all.unused(key, &self.used, MOST_CANDIDATES).find(fits)
    }

    /// Of the unused calls that are the same but for what is generated: the one that agrees in most of
    /// that, else the first in recorded order. And the next best one.
    fn equal_but_generated(&mut self, key: u64, request: Request<'_>) -> Option<(u32, Option<(usize, f64)>)> {
        let mut best: Option<(u32, Comparison)> = None;
        let mut runner_up = None;
        for number in self.tables.settled.unused(key, &self.used, MOST_CANDIDATES) {
            let Some(recorded) = self.calls.get(number as usize) else { continue };
            if !recorded.in_database_of(request) {
                continue;
            }
            let candidate = (number, Comparison::of(&recorded.features, &self.collector.features));
            // Among equals the first in recorded order stays first.
            let beats =
                |other: &(u32, Comparison)| candidate.1.generated_agreement > other.1.generated_agreement;
            if best.as_ref().is_none_or(beats) {
                if contradicts(&self.renames, recorded, &self.texts, &mut self.scratch) {
                    continue;
                }
                runner_up = best.replace(candidate);
            } else if runner_up.as_ref().is_none_or(beats) {
                runner_up = Some(candidate);
            }
        }
        let (best, _) = best?;
        let runner_up = runner_up.map(|(number, comparison)| (number as usize, comparison.mark()));
        Some((best, runner_up))
    }

    /// Weighs the calls that ask for the same, with other arguments or soft fields.
    fn weigh(&mut self, peer: u64, keys: &Keys, facts: &Facts, request: Request<'_>) -> Decision {
        let identity = mix(peer, keys.identity);
        let mut candidates: Vec<u32> =
            self.tables.arguments.unused(mix(peer, keys.arguments), &self.used, MOST_CANDIDATES).collect();
        if candidates.is_empty() {
            candidates = self.of_identity(identity);
        }
        let next = self.tables.identity.unused(identity, &self.used, 1).next();
        let mut doubts = 0;
        let (mut best, mut second): (Option<Weighed>, Option<Weighed>) = (None, None);
        for number in candidates {
            let Some(recorded) = self.calls.get(number as usize) else { continue };
            let mut comparison = Comparison::of(&recorded.features, &self.collector.features);
            if comparison.other || !recorded.in_database_of(request) {
                continue;
            }
            if comparison.unsure {
                doubts += 1;
                if doubts > MOST_DOUBTS {
                    continue;
                }
                let changes = Changes::to(recorded.request(), self.texts.clone(), &mut self.scratch);
                let Some(conceded) = changes.same_after_all() else { continue };
                for (group, similarity) in conceded {
                    comparison.concede(group, similarity);
                }
            }
            let mark = comparison.mark();
            let in_order = if next == Some(number) { NEXT_IN_ORDER } else { 0.0 };
            let standing = comparison.standing() + in_order;
            let candidate = Weighed { number, mark, standing, comparison };
            // Among equals the first in recorded order stays first.
            if best.as_ref().is_none_or(|best| standing > best.standing) {
                if contradicts(&self.renames, recorded, &self.texts, &mut self.scratch) {
                    continue;
                }
                second = best.replace(candidate);
            } else if second.as_ref().is_none_or(|second| standing > second.standing) {
                second = Some(candidate);
            }
        }
        let Some(best) = best.filter(|best| best.mark >= self.threshold) else {
            if facts.read_only {
                // What was changed in the same way before, and answered.
                let last = self.tables.arguments.last(mix(peer, keys.arguments));
                let fits = |call: &u32| self.call(*call).is_some_and(|call| call.in_database_of(request));
                if let Some(call) = last.filter(fits) {
                    let decision = self.found(call, Way::Again, None);
                    if decision.mark >= self.threshold {
                        return decision;
                    }
                }
            }
            return self.unmatched(peer, keys, facts, None);
        };
        let runner_up = second.as_ref().map(|second| (second.number as usize, second.mark));
        if let Some(second) = second.filter(|second| best.standing - second.standing < MARGIN) {
            // Calls that differ only in what is generated are the same question: order decides.
            let settled = |number: u32| self.call(number).map(|call| call.keys.settled);
            if settled(best.number) != settled(second.number) {
                return self.unmatched(peer, keys, facts, Some((best.number, second.number, best.mark)));
            }
        }
        self.explained(best.number, Way::Changed, runner_up, best.comparison)
    }

    /// Unused calls of an identity; of a crowd, those that share the rarest arguments.
    fn of_identity(&mut self, identity: u64) -> Vec<u32> {
        if self.tables.identity.count(identity) < CROWD {
            return self.tables.identity.unused(identity, &self.used, MOST_CANDIDATES).collect();
        }
        let mut keys: Vec<(u64, u64)> = self
            .collector
            .features
            .iter()
            .filter(|feature| feature.tells())
            .map(|feature| {
                let key = argument_key(identity, feature);
                (self.tables.argument.count(key) as u64, key)
            })
            .filter(|(count, _)| *count > 0)
            .collect();
        keys.sort_unstable();
        let mut candidates: Vec<u32> = Vec::new();
        for (_, key) in keys.into_iter().take(3) {
            candidates.extend(self.tables.argument.unused(key, &self.used, MOST_CANDIDATES / 2));
        }
        if candidates.is_empty() {
            candidates.extend(self.tables.identity.unused(identity, &self.used, MOST_CANDIDATES));
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    fn byte_equal(&self, call: u32, key: u64, reused: bool) -> Decision {
        let count = self.tables.bytes.count(key);
        let reason = match (reused, count) {
            (true, _) => format!("byte-equal to a recorded read; all {count} recorded answers were used"),
            (false, 1) => "byte-equal to the recorded call".to_string(),
            (false, _) => format!("byte-equal to {count} recorded calls, of which this is the next"),
        };
        Decision {
            index: Some(call as usize),
            mark: 1.0,
            reason,
            nearest: None,
            runner_up: None,
            fields: [FieldScore { name: Cow::Borrowed("bytes"), weight: 1.0, score: 1.0 }].into(),
            differences: Vec::new(),
            reused,
        }
    }

    fn found(&mut self, number: u32, way: Way, runner_up: Option<(usize, f64)>) -> Decision {
        let comparison = match self.call(number) {
            Some(call) => Comparison::of(&call.features, &self.collector.features),
            None => Comparison::default(),
        };
        self.explained(number, way, runner_up, comparison)
    }

    fn explained(
        &mut self,
        number: u32,
        way: Way,
        runner_up: Option<(usize, f64)>,
        comparison: Comparison,
    ) -> Decision {
        let changes = match self.calls.get(number as usize) {
            Some(call) => Changes::to(call.request(), self.texts.clone(), &mut self.scratch),
            None => Changes::default(),
        };
        self.bind(number, &changes);
        let reason = match way {
            Way::All => "equal in every field but noise".to_string(),
            Way::Settled => "the same call; only generated values or noise differ".to_string(),
            Way::Again => "the same read again; all recorded answers were used".to_string(),
            Way::Changed => {
                let names = changes.names();
                if names.is_empty() {
                    "the same call; only generated values differ".to_string()
                } else {
                    format!("the same call, changed in {names}")
                }
            }
        };
        Decision {
            index: Some(number as usize),
            mark: comparison.mark(),
            reason,
            nearest: None,
            runner_up,
            fields: scores(&comparison),
            differences: changes.describe(true),
            reused: way == Way::Again,
        }
    }

    fn unmatched(&mut self, peer: u64, keys: &Keys, facts: &Facts, tie: Option<(u32, u32, f64)>) -> Decision {
        // The same call, used up, explains more than any other one does.
        let used_up = self.tables.settled.last(mix(peer, keys.settled));
        let nearest = match (tie, used_up) {
            (Some((best, _, _)), _) => Some(best),
            (None, Some(call)) => Some(call),
            (None, None) => self.nearest(peer, keys, facts),
        };
        let Some(call) = nearest.and_then(|number| self.calls.get(number as usize)) else {
            return nothing("nothing was recorded that resembles it".to_string());
        };
        let comparison = Comparison::of(&call.features, &self.collector.features);
        let changes = Changes::to(call.request(), self.texts.clone(), &mut self.scratch);
        let mark = comparison.mark();
        let (reason, differences) = match (tie, used_up) {
            (Some((best, second, mark)), _) => (
                // In percent: to format a number with a fraction takes 3 KB of what a browser loads.
                format!(
                    "recorded calls {best} and {second} fit equally well ({} %)",
                    (mark * 100.0 + 0.5) as u32
                ),
                changes.describe(true),
            ),
            (None, Some(call)) if !self.is_used(call as usize) => (
                "a token in it is known to stand for another one than the recorded call has".to_string(),
                changes.describe(true),
            ),
            (None, Some(_)) => {
                let count = self.tables.settled.count(mix(peer, keys.settled));
                (times_used_up(count), [format!("uses: {count} -> {}", count + 1)].into())
            }
            (None, None) => {
                let names = changes.names();
                let reason = if names.is_empty() {
                    "too little speaks for any recorded call".to_string()
                } else {
                    format!("asks for something else than any recorded call: the nearest differs in {names}")
                };
                (reason, changes.describe(false))
            }
        };
        let runner_up = match tie {
            Some((_, second, mark)) => Some((second as usize, mark)),
            None => nearest.map(|number| (number as usize, mark)),
        };
        Decision {
            index: None,
            mark: 0.0,
            reason,
            nearest: nearest.map(|number| number as usize),
            runner_up,
            fields: scores(&comparison),
            differences,
            reused: false,
        }
    }

    /// The recorded call that comes closest, among a few that resemble the request.
    fn nearest(&mut self, peer: u64, keys: &Keys, facts: &Facts) -> Option<u32> {
        let mut candidates: Vec<u32> =
            self.tables.identity.recorded(mix(peer, keys.identity), MOST_NEIGHBOURS).collect();
        for (chains, key) in self.tables.neighbours.iter().zip(facts.neighbours) {
            if candidates.is_empty() {
                candidates.extend(chains.recorded(mix(peer, key), MOST_NEIGHBOURS));
            }
        }
        if candidates.is_empty() {
            candidates.extend(self.tables.peer.recorded(peer, MOST_NEIGHBOURS));
        }
        let mut best: Option<(u32, f64)> = None;
        for number in candidates {
            let Some(call) = self.call(number) else { continue };
            let mut mark = Comparison::of(&call.features, &self.collector.features).mark();
            if !self.is_used(number as usize) {
                mark += NEXT_IN_ORDER / 2.0;
            }
            if best.is_none_or(|(_, most)| mark > most) {
                best = Some((number, mark));
            }
        }
        best.map(|(number, _)| number)
    }

    fn unmatched_exactly(&mut self, peer: u64, keys: &Keys, facts: &Facts, bytes: u64) -> Decision {
        if let Some(call) = self.tables.bytes.last(bytes) {
            let count = self.tables.bytes.count(bytes);
            return Decision {
                nearest: Some(call as usize),
                differences: [format!("uses: {count} -> {}", count + 1)].into(),
                ..nothing(times_used_up(count))
            };
        }
        let nearest = self.nearest(peer, keys, facts);
        let differences = nearest
            .and_then(|number| self.calls.get(number as usize))
            .map(|call| Changes::to(call.request(), self.texts.clone(), &mut self.scratch).describe(true));
        Decision {
            nearest: nearest.map(|number| number as usize),
            differences: differences.unwrap_or_default(),
            ..nothing("no recorded call to this peer has the same bytes".to_string())
        }
    }

    fn unknown_peer(&self, peer: &str, request: Request<'_>) -> Decision {
        let elsewhere = self.tables.anywhere.last(hash(request.bytes));
        let elsewhere = elsewhere.and_then(|number| Some((number, self.call(number)?)));
        let elsewhere = elsewhere.filter(|(_, call)| *call.request == *request.bytes);
        let differences = elsewhere
            .and_then(|(_, call)| self.peer_name(call.peer))
            .map(|name| format!("peer: {name} -> {peer}"));
        Decision {
            nearest: elsewhere.map(|(number, _)| number as usize),
            differences: differences.into_iter().collect(),
            ..nothing(format!("no call to {peer} was recorded"))
        }
    }
}

struct Weighed {
    number: u32,
    mark: f64,
    standing: f64,
    comparison: Comparison,
}

/// On which way a call was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    All,
    Settled,
    Again,
    Changed,
}

/// The key of requests to a peer that begin with the same word or byte.
fn begins(peer: u64, request: &[u8]) -> u64 {
    let word = request.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    mix(peer, hash(request.get(..word.max(1)).unwrap_or(request)))
}

fn argument_key(identity: u64, feature: &Feature) -> u64 {
    mix(identity, mix(feature.name, feature.value))
}

fn scores(comparison: &Comparison) -> Vec<FieldScore> {
    comparison
        .groups()
        .map(|(group, weight, score)| FieldScore { name: Cow::Borrowed(group.name()), weight, score })
        .collect()
}

fn times_used_up(count: usize) -> String {
    let times = if count == 1 { "once".to_string() } else { format!("{count} times") };
    format!("recorded {times}, asked for once more, and no read that could be answered again")
}

fn nothing(reason: String) -> Decision {
    Decision {
        index: None,
        mark: 0.0,
        reason,
        nearest: None,
        runner_up: None,
        fields: Vec::new(),
        differences: Vec::new(),
        reused: false,
    }
}
