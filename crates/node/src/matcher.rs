//! The matcher's types in N-API.

mod shared;

use std::sync::Arc;

use koala_matcher as matcher;
use napi::bindgen_prelude::{AsyncTask, Uint8ArraySlice};
use napi::{Env, Error, Result, Status, Task};
use napi_derive::napi;

use shared::{Shared, Ticket};

/// A call: recorded, or sent by a program.
#[napi(object, object_to_js = false)]
pub struct Call<'a> {
    /// Who is asked.
    pub peer: String,
    /// The request: the bytes of JavaScript, not a copy.
    pub request: Uint8ArraySlice<'a>,
    /// The connection, by any number.
    pub connection: Option<f64>,
    /// What it was answered.
    pub response: Option<Uint8ArraySlice<'a>>,
    /// How many calls behind it were made before that.
    pub overtaken: Option<u32>,
    /// When it was sent, in milliseconds since 1970.
    pub at: Option<f64>,
}

impl Call<'_> {
    fn response(&self) -> &[u8] {
        self.response.as_deref().unwrap_or_default()
    }
}

/// How calls are matched.
#[napi(object, object_to_js = false)]
#[derive(Default)]
pub struct MatcherOptions<'a> {
    /// The name of the strategy.
    pub strategy: Option<String>,
    /// The mark that a changed call needs.
    pub threshold: Option<f64>,
    /// What the sessions of the calls were called with.
    pub inbound: Option<Vec<Inbound<'a>>>,
}

/// An inbound request.
#[napi(object, object_to_js = false)]
pub struct Inbound<'a> {
    /// Its bytes.
    pub request: Uint8ArraySlice<'a>,
    /// What it was answered.
    pub response: Option<Uint8ArraySlice<'a>>,
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
    /// It was an answer before.
    pub reused: bool,
}

/// Finds recorded calls.
#[napi]
pub struct Matcher {
    shared: Arc<Shared>,
}

#[napi]
impl Matcher {
    /// A matcher over the calls of a recording.
    #[napi(constructor)]
    pub fn new(calls: Vec<Call>, options: Option<MatcherOptions>) -> Result<Self> {
        let settings = Settings::of(options).map_err(|message| Error::new(Status::InvalidArg, message))?;
        let talks = calls.iter().map(|call| {
            let recorded = recorded(&call.peer, &call.request, call.connection);
            (told(recorded, call.overtaken, call.at), call.response())
        });
        Ok(Self { shared: Shared::new(settings.follower(talks)) })
    }

    /// As the constructor, on another thread.
    #[napi]
    pub fn build(calls: Vec<Call>, options: Option<MatcherOptions>) -> AsyncTask<Building> {
        let calls = calls.iter().map(Copied::of).collect();
        AsyncTask::new(Building { settings: Settings::of(options), calls })
    }

    /// Finds the recorded call of a request, and counts it as used.
    #[napi]
    pub fn find(&self, peer: String, request: &[u8], connection: Option<f64>, at: Option<f64>) -> Decision {
        let connection = self::connection(connection);
        self.shared.ticket().wait(|index| index.find(connection, &peer, request, nanoseconds(at))).into()
    }

    /// Finds the recorded calls of several requests, in their order.
    #[napi]
    pub fn find_many(&self, calls: Vec<Call>) -> Vec<Decision> {
        self.shared.ticket().wait(|index| {
            let decide = |call: &Call| {
                let now = nanoseconds(call.at);
                index.find(connection(call.connection), &call.peer, &call.request, now).into()
            };
            calls.iter().map(decide).collect()
        })
    }

    /// As `find_many`, on another thread.
    #[napi]
    pub fn find_many_async(&self, calls: Vec<Call>) -> AsyncTask<Finding> {
        let calls = calls.iter().map(Copied::of).collect();
        AsyncTask::new(Finding { ticket: Some(self.shared.ticket()), calls })
    }
}

/// What a matcher is built with.
#[derive(Clone)]
struct Settings {
    strategy: matcher::Strategy,
    threshold: f64,
    /// Requests and responses.
    inbound: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Settings {
    fn of(options: Option<MatcherOptions>) -> std::result::Result<Self, String> {
        let MatcherOptions { strategy, threshold, inbound } = options.unwrap_or_default();
        let strategy = match strategy {
            Some(name) => matcher::Strategy::from_name(&name).ok_or_else(|| {
                format!("unknown strategy \"{name}\"; known are {}", matcher::Strategy::NAMES)
            })?,
            None => matcher::Strategy::default(),
        };
        let threshold = threshold.unwrap_or(matcher::THRESHOLD);
        if !(0.0..=1.0).contains(&threshold) {
            return Err("threshold: not a number from 0 to 1".to_owned());
        }
        let bytes = |Inbound { request, response }: Inbound<'_>| {
            (request.to_vec(), response.as_deref().unwrap_or_default().to_vec())
        };
        let inbound = inbound.unwrap_or_default().into_iter().map(bytes).collect();
        Ok(Self { strategy, threshold, inbound })
    }

    fn follower<'a>(
        &self,
        talks: impl IntoIterator<Item = (matcher::RecordedCall<'a>, &'a [u8])>,
    ) -> matcher::Follower {
        let follower = matcher::Follower::new(self.strategy, talks).with_threshold(self.threshold);
        let with = |follower: matcher::Follower, (request, response): &(Vec<u8>, Vec<u8>)| {
            follower.with_inbound(request, response)
        };
        self.inbound.iter().fold(follower, with)
    }
}

fn recorded<'a>(peer: &'a str, request: &'a [u8], number: Option<f64>) -> matcher::RecordedCall<'a> {
    let connection = connection(number).unwrap_or_default();
    matcher::RecordedCall { connection, ..matcher::RecordedCall::new(peer, request) }
}

/// With what is known of its answer and its time.
fn told(
    call: matcher::RecordedCall<'_>,
    overtaken: Option<u32>,
    at: Option<f64>,
) -> matcher::RecordedCall<'_> {
    let (overtaken, at) = (overtaken.unwrap_or_default(), nanoseconds(at).unwrap_or_default());
    matcher::RecordedCall { overtaken, at, ..call }
}

/// Of milliseconds.
fn nanoseconds(milliseconds: Option<f64>) -> Option<u64> {
    Some((milliseconds? * 1e6) as u64)
}

/// A call for another thread: JavaScript may change its own bytes meanwhile.
struct Copied {
    peer: String,
    request: Vec<u8>,
    connection: Option<f64>,
    response: Vec<u8>,
    overtaken: Option<u32>,
    at: Option<f64>,
}

impl Copied {
    fn of(call: &Call) -> Self {
        let Call { peer, request, connection, overtaken, at, .. } = call;
        let (request, response) = (request.to_vec(), call.response().to_vec());
        let (connection, overtaken, at) = (*connection, *overtaken, *at);
        Self { peer: peer.clone(), request, connection, response, overtaken, at }
    }
}

/// An index that is being built.
pub struct Building {
    /// Or what is wrong with them.
    settings: std::result::Result<Settings, String>,
    calls: Vec<Copied>,
}

impl Task for Building {
    type Output = Arc<Shared>;
    type JsValue = Matcher;

    fn compute(&mut self) -> Result<Self::Output> {
        let settings =
            self.settings.as_ref().map_err(|message| Error::new(Status::InvalidArg, message.clone()))?;
        let calls = self.calls.iter();
        let talks = calls.map(|call| {
            let recorded = recorded(&call.peer, &call.request, call.connection);
            (told(recorded, call.overtaken, call.at), &*call.response)
        });
        Ok(Shared::new(settings.follower(talks)))
    }

    fn resolve(&mut self, _: Env, shared: Self::Output) -> Result<Self::JsValue> {
        Ok(Matcher { shared })
    }
}

/// Requests whose calls are being looked for.
pub struct Finding {
    ticket: Option<Ticket>,
    calls: Vec<Copied>,
}

impl Task for Finding {
    type Output = Vec<matcher::Decision>;
    type JsValue = Vec<Decision>;

    fn compute(&mut self) -> Result<Self::Output> {
        let Some(ticket) = self.ticket.take() else { return Ok(Vec::new()) };
        Ok(ticket.wait(|index| {
            let decide = |call: &Copied| {
                let now = nanoseconds(call.at);
                index.find(connection(call.connection), &call.peer, &call.request, now)
            };
            self.calls.iter().map(decide).collect()
        }))
    }

    fn resolve(&mut self, _: Env, decisions: Self::Output) -> Result<Self::JsValue> {
        Ok(decisions.into_iter().map(Decision::from).collect())
    }
}

/// Any number but zero, which stands for one that is not known, tells connections apart.
fn connection(number: Option<f64>) -> Option<u64> {
    number.map(f64::to_bits)
}

impl From<matcher::Decision> for Decision {
    fn from(decision: matcher::Decision) -> Self {
        Self {
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
