//! The matcher's types in JavaScript.

use koala_matcher as matcher;
use wasm_bindgen::prelude::*;

use crate::packed::{Packed, unpack_decision, unpack_decisions};

// js-sys would do as well, and brings the glue of all that it offers into what a browser loads.
#[wasm_bindgen(module = "/src/values.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = peerOf)]
    fn peer_of(call: &JsValue) -> Result<String, JsValue>;
    #[wasm_bindgen(catch, js_name = requestOf)]
    fn request_of(call: &JsValue) -> Result<Vec<u8>, JsValue>;
    #[wasm_bindgen(catch, js_name = connectionOf)]
    fn connection_of(call: &JsValue) -> Result<Option<f64>, JsValue>;
    #[wasm_bindgen(catch, js_name = responseOf)]
    fn response_of(call: &JsValue) -> Result<Vec<u8>, JsValue>;
    #[wasm_bindgen(js_name = atOf)]
    fn at_of(call: &JsValue) -> Option<f64>;
    #[wasm_bindgen(js_name = overtakenOf)]
    fn overtaken_of(call: &JsValue) -> u32;
    #[wasm_bindgen(catch, js_name = strategyOf)]
    fn strategy_of(options: &JsValue) -> Result<Option<String>, JsValue>;
    #[wasm_bindgen(catch, js_name = thresholdOf)]
    fn threshold_of(options: &JsValue) -> Result<Option<f64>, JsValue>;
    #[wasm_bindgen(catch, js_name = inboundOf)]
    fn inbound_of(options: &JsValue) -> Result<Vec<JsValue>, JsValue>;
    fn kept(value: JsValue) -> JsValue;
    fn broken(error: JsValue) -> JsValue;
}

/// Finds recorded calls.
#[wasm_bindgen]
pub struct Matcher {
    follower: matcher::Follower,
}

#[wasm_bindgen]
impl Matcher {
    /// A matcher over the calls of a recording.
    #[wasm_bindgen(constructor)]
    pub fn new(
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: Vec<JsValue>,
        #[wasm_bindgen(unchecked_optional_param_type = "MatcherOptions")] options: &JsValue,
    ) -> Result<Self, JsValue> {
        let (mut strategy, mut threshold) = (matcher::Strategy::default(), matcher::THRESHOLD);
        if let Some(name) = strategy_of(options)? {
            strategy = matcher::Strategy::from_name(&name).ok_or_else(|| {
                let known = matcher::Strategy::NAMES;
                JsError::new(&format!("unknown strategy \"{name}\"; known are {known}"))
            })?;
        }
        if let Some(value) = threshold_of(options)? {
            let value = Some(value).filter(|value| (0.0..=1.0).contains(value));
            threshold = value.ok_or_else(|| JsError::new("threshold: not a number from 0 to 1"))?;
        }
        let mut answers = Vec::with_capacity(calls.len());
        for call in &calls {
            answers.push((response_of(call)?, overtaken_of(call)));
        }
        let calls = Call::all(calls)?;
        let talks = calls.iter().zip(&answers).map(|(call, (response, overtaken))| {
            let recorded = matcher::RecordedCall {
                connection: connection(call.connection).unwrap_or_default(),
                overtaken: *overtaken,
                at: nanoseconds(call.at).unwrap_or_default(),
                ..matcher::RecordedCall::new(&call.peer, &call.request)
            };
            (recorded, &**response)
        });
        let mut follower = matcher::Follower::new(strategy, talks).with_threshold(threshold);
        for inbound in inbound_of(options)? {
            follower = follower.with_inbound(&request_of(&inbound)?, &response_of(&inbound)?);
        }
        Ok(Self { follower })
    }

    /// As the constructor.
    #[wasm_bindgen(unchecked_return_type = "Promise<Matcher>")]
    pub fn build(
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: Vec<JsValue>,
        #[wasm_bindgen(unchecked_optional_param_type = "MatcherOptions")] options: &JsValue,
    ) -> JsValue {
        settled(Self::new(calls, options).map(JsValue::from))
    }

    /// Finds the recorded call of a request, and counts it as used.
    #[wasm_bindgen(unchecked_return_type = "Decision")]
    pub fn find(&mut self, peer: &str, request: &[u8], connection: Option<f64>, at: Option<f64>) -> JsValue {
        let decision = self.follower.find(self::connection(connection), peer, request, nanoseconds(at));
        Packed::value(unpack_decision, |packed| write(packed, &decision))
    }

    /// Finds the recorded calls of several requests, in their order.
    #[wasm_bindgen(js_name = findMany, unchecked_return_type = "Decision[]")]
    pub fn find_many(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: Vec<JsValue>,
    ) -> Result<JsValue, JsValue> {
        let calls = Call::all(calls)?;
        Ok(Packed::value(unpack_decisions, |packed| {
            packed.count(calls.len());
            for call in &calls {
                let (connection, now) = (connection(call.connection), nanoseconds(call.at));
                write(packed, &self.follower.find(connection, &call.peer, &call.request, now));
            }
        }))
    }

    /// As `findMany`.
    #[wasm_bindgen(js_name = findManyAsync, unchecked_return_type = "Promise<Decision[]>")]
    pub fn find_many_async(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: Vec<JsValue>,
    ) -> JsValue {
        settled(self.find_many(calls))
    }
}

/// A promise that is kept, or broken, already.
fn settled(result: Result<JsValue, JsValue>) -> JsValue {
    result.map_or_else(broken, kept)
}

fn write(packed: &mut Packed, decision: &matcher::Decision) {
    packed.index(decision.index);
    packed.number(decision.mark);
    packed.string(&decision.reason);
    packed.index(decision.nearest);
    packed.flag(decision.runner_up.is_some());
    if let Some((index, mark)) = decision.runner_up {
        packed.count(index);
        packed.number(mark);
    }
    packed.list(&decision.fields, |packed, field| {
        packed.string(&field.name);
        packed.number(field.weight);
        packed.number(field.score);
    });
    packed.list(&decision.differences, |packed, line| packed.string(line));
    packed.flag(decision.reused);
}

/// A call as JavaScript has it.
struct Call {
    peer: String,
    request: Vec<u8>,
    connection: Option<f64>,
    at: Option<f64>,
}

impl Call {
    fn all(calls: Vec<JsValue>) -> Result<Vec<Self>, JsValue> {
        let mut all = Vec::with_capacity(calls.len());
        for call in calls {
            all.push(Self {
                peer: peer_of(&call)?,
                request: request_of(&call)?,
                connection: connection_of(&call)?,
                at: at_of(&call),
            });
        }
        Ok(all)
    }
}

/// Any number but zero, which stands for one that is not known, tells connections apart.
fn connection(number: Option<f64>) -> Option<u64> {
    number.map(f64::to_bits)
}

/// Of milliseconds.
fn nanoseconds(milliseconds: Option<f64>) -> Option<u64> {
    Some((milliseconds? * 1e6) as u64)
}
