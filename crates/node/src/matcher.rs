//! The matcher's types in N-API.

use koala_matcher as matcher;
use napi::{Error, Result, Status, bindgen_prelude::Uint8Array};
use napi_derive::napi;

/// A call of a recording.
#[napi(object, object_to_js = false)]
pub struct RecordedCall {
    /// Who was asked.
    pub peer: String,
    /// The request.
    pub request: Uint8Array,
}

/// What one field contributed.
#[napi(object, object_from_js = false)]
pub struct FieldScore {
    /// Its name.
    pub name: String,
    /// How much it tells.
    pub weight: f64,
    /// How alike the values are.
    pub score: f64,
}

/// A recorded call that came second.
#[napi(object, object_from_js = false)]
pub struct RunnerUp {
    /// Its index.
    pub index: u32,
    /// Its mark.
    pub mark: f64,
}

/// Which recorded call a request corresponds to.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Decision {
    /// The call.
    pub index: Option<u32>,
    /// How well it matches.
    pub mark: f64,
    /// Why.
    pub reason: String,
    /// The most similar call where nothing matched.
    pub nearest: Option<u32>,
    /// The best of the others.
    pub runner_up: Option<RunnerUp>,
    /// The score by field.
    pub fields: Vec<FieldScore>,
    /// What differs.
    pub differences: Vec<String>,
    /// All equal calls had been used already.
    pub reused: bool,
}

/// Finds recorded calls.
#[napi]
pub struct Matcher {
    index: matcher::Index,
}

#[napi]
impl Matcher {
    /// A matcher over the calls of a recording.
    #[napi(constructor)]
    pub fn new(strategy: String, calls: Vec<RecordedCall>) -> Result<Self> {
        let strategy = matcher::Strategy::from_name(&strategy).ok_or_else(|| {
            Error::new(Status::InvalidArg, format!("unknown strategy {strategy:?}: auto or exact"))
        })?;
        let calls =
            calls.iter().map(|call| matcher::RecordedCall { peer: &call.peer, request: &call.request });
        Ok(Self { index: matcher::Index::new(strategy, calls) })
    }

    /// Finds the recorded call of a request, and counts it as used.
    #[napi]
    pub fn find(&mut self, peer: String, request: Uint8Array) -> Decision {
        let decision = self.index.find(&peer, &request);
        Decision {
            index: decision.index.and_then(index),
            mark: decision.mark,
            reason: decision.reason,
            nearest: decision.nearest.and_then(index),
            runner_up: decision
                .runner_up
                .and_then(|(runner_up, mark)| Some(RunnerUp { index: index(runner_up)?, mark })),
            fields: decision
                .fields
                .into_iter()
                .map(|field| FieldScore { name: field.name.into(), weight: field.weight, score: field.score })
                .collect(),
            differences: decision.differences,
            reused: decision.reused,
        }
    }
}

/// JavaScript lists have fewer than 2^32 items, so that every index fits.
fn index(index: usize) -> Option<u32> {
    u32::try_from(index).ok()
}
