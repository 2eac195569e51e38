//! Requests with tokens that the program has made up.

use super::{Call, FOLLOWS_NAMES, Index, MOST_CANDIDATES, Weighed, scores};
use crate::Decision;
use crate::explain::Changes;
use crate::features::Comparison;
use crate::fields::{Request, Role, Scratch};
use crate::hash::mix;
use crate::renames::{Renamed, Renames};
use crate::shape;
use crate::tokens::Form;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Behind the reason of a decision about a request that has tokens of this run.
const RENAMED: &str = "tokens that the program made up stand for the recorded ones";

impl Index {
    /// The request with the recorded names of its tokens; `None` where it has none of this run.
    pub(super) fn recorded_names(&self, request: &[u8]) -> Option<Vec<u8>> {
        if FOLLOWS_NAMES { self.renames.to_recorded(request) } else { None }
    }

    /// What was decided about a request by the recorded names of its tokens.
    pub(super) fn in_live_names(&mut self, decision: Decision, request: Request<'_>) -> Decision {
        let named = decision.index.or(decision.nearest);
        let Some(call) = named.and_then(|call| self.calls.get(call)) else { return decision };
        let changes = Changes::between(call.request(), request, &mut self.scratch);
        let reason = match decision.index {
            Some(_) => format!("{}; {RENAMED}", decision.reason),
            None => decision.reason,
        };
        Decision { reason, differences: changes.describe(decision.index.is_some()), ..decision }
    }

    /// The call that a request is which differs from it in tokens only that the program has made up.
    pub(super) fn minted(&mut self, peer: u64, request: Request<'_>) -> Option<Decision> {
        if !FOLLOWS_NAMES || self.tables.minted.is_empty() {
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
            let changes = Changes::between(recorded.request(), request, &mut self.scratch);
            // What it would be under the recorded names.
            let (mut known, mut names) = (true, Renames::default());
            changes.renamed(&mut |_, role, pair| {
                if matches!(role, Role::Identity | Role::TimedIdentity) {
                    known &= self.may_be_new(number, recorded, pair) && !names.contradict(pair);
                    names.bind(pair);
                }
            });
            let Some(bytes) = names.to_recorded(request.bytes).filter(|_| known) else { continue };
            let renamed = Request { bytes: &bytes, ..request };
            self.collector.read(renamed, &mut self.scratch);
            self.lessons.apply(mix(peer, facts.shape), &mut self.collector.features);
            let mut comparison = Comparison::of(&recorded.features, &self.collector.features);
            let rest = Changes::between(recorded.request(), renamed, &mut self.scratch);
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
        changes.renamed(&mut |_, role, pair| {
            if matches!(role, Role::Identity | Role::TimedIdentity) {
                self.renames.bind(pair);
            }
        });
        self.bind(best.number, &changes);
        let mut names = String::new();
        changes.renamed(&mut |name, role, _| {
            if matches!(role, Role::Identity | Role::TimedIdentity) && names.is_empty() {
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
        changes.renamed(&mut |name, _, pair| {
            let is_own = is_own_id(name);
            let written = name.starts_with("values") || name.starts_with("documents");
            let may = match pair.form {
                Form::Number => is_own && (written || renames.inbound.is_some()),
                _ => renames.inbound.is_some() || is_own && written,
            };
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
    request: Request<'_>,
    scratch: &mut Scratch,
) -> bool {
    let mut contradicted = false;
    if FOLLOWS_NAMES && !renames.is_empty() {
        Changes::between(recorded.request(), request, scratch).renamed(&mut |_, role, pair| {
            contradicted |= role == Role::Value && renames.contradict(pair);
        });
    }
    contradicted
}

/// The name of a field with the id of what is written, and not of what it belongs to.
fn is_own_id(name: &str) -> bool {
    let last = name.rsplit(|letter| shape::SEPARATORS.contains(&(letter as u8))).next().unwrap_or(name);
    let known = ["id", "_id", "uuid", "guid", "key", "session_key", "token", "jti"];
    known.iter().any(|known| last.eq_ignore_ascii_case(known))
}
