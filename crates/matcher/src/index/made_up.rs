//! Requests with tokens that the program has made up.

use super::{Call, Index, MOST_CANDIDATES, Weighed, scores};
use crate::Decision;
use crate::explain::{Changes, Texts};
use crate::features::Comparison;
use crate::fields::{Request, Role, Scratch};
use crate::hash::mix;
use crate::renames::{Renamed, Renames};
use crate::shape;
use crate::tokens::Form;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Behind the reason of a decision about a request that has tokens of this run.
pub(super) const RENAMED: &str = "tokens that the program made up stand for the recorded ones";

impl Index {
    /// What was decided about a request by what is recorded for what it says, and `why` that stands for it.
    pub(super) fn in_live_words(&mut self, decision: Decision, request: Request<'_>, why: &str) -> Decision {
        let named = decision.index.or(decision.nearest);
        let Some(call) = named.and_then(|call| self.calls.get(call)) else { return decision };
        let changes = Changes::between(call.request(), request, &mut self.scratch);
        let reason = match decision.index {
            Some(_) => format!("{}; {why}", decision.reason),
            None => decision.reason,
        };
        Decision { reason, differences: changes.describe(decision.index.is_some()), ..decision }
    }

    /// The call that a request is which differs from it in tokens only that the program has made up.
    pub(super) fn minted(&mut self, peer: u64, request: Request<'_>) -> Option<Decision> {
        if self.tables.minted.is_empty() {
            return None;
        }
        let (_, facts, mint) = self.collector.read_minted(request, &mut self.scratch);
        let key = mix(peer, mint?.key);
        let unused = self.tables.minted.unused(key, &self.used, MOST_CANDIDATES);
        let candidates: Vec<u32> = unused.collect();
        let mut best: Option<(Weighed, Renames, Changes)> = None;
        let mut runner_up = None;
        for number in candidates {
            let Some(recorded) = self.calls.get(number as usize) else { continue };
            let changes = Changes::to(recorded.request(), self.texts.clone(), &mut self.scratch);
            // What it would be under the recorded names.
            let (mut known, mut names) = (true, Renames::default());
            changes.renamed(&asked_for, &mut |_, _, pair| {
                known &= self.may_be_new(number, recorded, pair) && !names.contradict(pair);
                names.bind(pair);
            });
            let Some(bytes) = names.to_recorded(request.bytes).filter(|_| known) else { continue };
            let renamed = Request { bytes: &bytes, ..request };
            let (.., texts) = self.collector.read_both(renamed, &mut self.scratch);
            self.lessons.apply(mix(peer, facts.shape), &mut self.collector.features);
            let mut comparison = Comparison::of(&recorded.features, &self.collector.features);
            let rest = Changes::to(recorded.request(), texts, &mut self.scratch);
            if comparison.other || !recorded.in_database_of(request) || !rest.write_the_same() {
                continue;
            }
            if comparison.unsure {
                let Some(conceded) = rest.same_after_all() else { continue };
                for (group, similarity) in conceded {
                    comparison.concede(group, similarity);
                }
            }
            let (mark, standing) = (comparison.mark(), comparison.standing());
            let candidate = Weighed { number, mark, standing, comparison };
            // Among equals the first in recorded order stays first.
            match &best {
                Some((best, ..)) if standing <= best.standing => {
                    runner_up = runner_up.or(Some((number as usize, mark)));
                }
                _ => {
                    runner_up = best.map(|(second, ..)| (second.number as usize, second.mark));
                    best = Some((candidate, names, changes));
                }
            }
        }
        let (best, _, changes) = best.filter(|(best, ..)| best.mark >= self.threshold)?;
        changes.renamed(&asked_for, &mut |_, _, pair| self.renames.bind(pair));
        self.bind(best.number, &changes);
        let mut names = String::new();
        changes.renamed(&asked_for, &mut |name, _, _| {
            if names.is_empty() {
                names.push_str(name);
            }
        });
        Some(Decision {
            index: Some(best.number as usize),
            mark: best.mark,
            reason: format!("the same call; the token in {names} is new in the recording and in this run"),
            nearest: None,
            runner_up,
            fields: scores(&best.comparison),
            differences: changes.describe(true),
            reused: false,
        })
    }

    /// The program may have made up both names, the recorded one in this call.
    fn may_be_new(&self, number: u32, recorded: &Call, pair: Renamed<'_>) -> bool {
        self.renames.may_be_one(&self.origins, number, pair)
            && recorded
                .mint
                .is_some_and(|mint| mint.creates || self.renames.is_looked_up_as_new(&self.origins, pair))
    }

    /// Takes the tokens of a request for those of the call that it turned out to be.
    pub(super) fn bind(&mut self, number: u32, changes: &Changes) {
        let (origins, renames) = (&self.origins, &mut self.renames);
        let knows_inbound = renames.knows_inbound();
        let written = |name: &str| name.starts_with("values") || name.starts_with("documents");
        let wanted =
            |name: &str, role| role != Role::Noise && (knows_inbound || written(name) && is_own_id(name));
        changes.renamed(&wanted, &mut |name, _, pair| {
            let may = pair.form != Form::Number || is_own_id(name);
            if may && renames.may_be_one(origins, number, pair) {
                renames.bind(pair);
            }
        });
    }
}

/// Whether a request has a token that is known by another name than the call has, where both are written.
pub(super) fn contradicts(
    renames: &Renames,
    recorded: &Call,
    texts: &Arc<Texts>,
    scratch: &mut Scratch,
) -> bool {
    let mut contradicted = false;
    if !renames.is_empty() {
        let changes = Changes::to(recorded.request(), texts.clone(), scratch);
        changes.renamed(&|_, role| role == Role::Value, &mut |_, _, pair| {
            contradicted |= renames.contradict(pair);
        });
    }
    contradicted
}

/// A field by which a call is found.
fn asked_for(_: &str, role: Role) -> bool {
    matches!(role, Role::Identity | Role::TimedIdentity)
}

/// The name of a field with the id of what is written, and not of what it belongs to.
fn is_own_id(name: &str) -> bool {
    let last = name.rsplit(|letter| shape::SEPARATORS.contains(&(letter as u8))).next().unwrap_or(name);
    let known = ["id", "_id", "uuid", "guid", "key", "session_key", "token", "jti"];
    known.iter().any(|known| last.eq_ignore_ascii_case(known))
}
