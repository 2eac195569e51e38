//! The matcher's types in JavaScript.

use js_sys::{Array, Promise, Reflect, Uint8Array};
use koala_matcher as matcher;
use wasm_bindgen::prelude::*;

use crate::packed::{Packed, unpack_decision, unpack_decisions};

/// Finds recorded calls.
#[wasm_bindgen]
pub struct Matcher {
    index: matcher::Index,
}

#[wasm_bindgen]
impl Matcher {
    /// A matcher over the calls of a recording.
    #[wasm_bindgen(constructor)]
    pub fn new(
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: &Array,
        #[wasm_bindgen(unchecked_optional_param_type = "MatcherOptions")] options: &JsValue,
    ) -> Result<Self, JsError> {
        let (mut strategy, mut threshold) = (matcher::Strategy::default(), matcher::THRESHOLD);
        if let Some(name) = option(options, "strategy")? {
            let name = name.as_string().unwrap_or_default();
            strategy = matcher::Strategy::from_name(&name).ok_or_else(|| {
                JsError::new(&format!("unknown strategy \"{name}\"; known are {}", matcher::Strategy::NAMES))
            })?;
        }
        if let Some(value) = option(options, "threshold")? {
            let value = value.as_f64().filter(|value| (0.0..=1.0).contains(value));
            threshold = value.ok_or_else(|| JsError::new("threshold: not a number from 0 to 1"))?;
        }
        let calls = calls.iter().map(|call| Call::of(&call)).collect::<Result<Vec<_>, _>>()?;
        let calls = calls.iter().map(|call| matcher::RecordedCall {
            connection: connection(call.connection),
            ..matcher::RecordedCall::new(&call.peer, &call.request)
        });
        Ok(Self { index: matcher::Index::new(strategy, calls).with_threshold(threshold) })
    }

    /// As the constructor.
    #[wasm_bindgen(unchecked_return_type = "Promise<Matcher>")]
    pub fn build(
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: &Array,
        #[wasm_bindgen(unchecked_optional_param_type = "MatcherOptions")] options: &JsValue,
    ) -> Promise {
        settled(Self::new(calls, options).map(JsValue::from))
    }

    /// Finds the recorded call of a request, and counts it as used.
    #[wasm_bindgen(unchecked_return_type = "Decision")]
    pub fn find(&mut self, peer: &str, request: &[u8], connection: Option<f64>) -> JsValue {
        let decision = self.decide(peer, request, connection);
        Packed::value(unpack_decision, |packed| write(packed, &decision))
    }

    /// Finds the recorded calls of several requests, in their order.
    #[wasm_bindgen(js_name = findMany, unchecked_return_type = "Decision[]")]
    pub fn find_many(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: &Array,
    ) -> Result<JsValue, JsError> {
        let calls = calls.iter().map(|call| Call::of(&call)).collect::<Result<Vec<_>, _>>()?;
        Ok(Packed::value(unpack_decisions, |packed| {
            packed.count(calls.len());
            for call in &calls {
                write(packed, &self.decide(&call.peer, &call.request, call.connection));
            }
        }))
    }

    /// As `findMany`.
    #[wasm_bindgen(js_name = findManyAsync, unchecked_return_type = "Promise<Decision[]>")]
    pub fn find_many_async(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Call[]")] calls: &Array,
    ) -> Promise {
        settled(self.find_many(calls))
    }

    fn decide(&mut self, peer: &str, request: &[u8], number: Option<f64>) -> matcher::Decision {
        match number {
            Some(number) => self.index.find_on(connection(Some(number)), peer, request),
            None => self.index.find(peer, request),
        }
    }
}

/// A promise that is kept, or broken, already.
fn settled(result: Result<JsValue, JsError>) -> Promise {
    match result {
        Ok(value) => Promise::resolve(&value),
        Err(error) => Promise::reject(&error.into()),
    }
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
}

impl Call {
    fn of(call: &JsValue) -> Result<Self, JsError> {
        let peer = member(call, "peer")?.as_string().ok_or_else(|| JsError::new("peer: not a string"))?;
        let request: Uint8Array =
            member(call, "request")?.dyn_into().map_err(|_| JsError::new("request: not a Uint8Array"))?;
        let connection = option(call, "connection")?.and_then(|connection| connection.as_f64());
        Ok(Self { peer, request: request.to_vec(), connection })
    }
}

/// Any number tells connections apart; zero stands for one that is not known.
fn connection(number: Option<f64>) -> u64 {
    number.unwrap_or_default().to_bits()
}

/// The member `name` of an object that may be missing, as may the member.
fn option(value: &JsValue, name: &str) -> Result<Option<JsValue>, JsError> {
    let is_there = |value: &JsValue| !value.is_undefined() && !value.is_null();
    if !is_there(value) {
        return Ok(None);
    }
    Ok(Some(member(value, name)?).filter(is_there))
}

/// The member `name` of a value.
fn member(value: &JsValue, name: &str) -> Result<JsValue, JsError> {
    Reflect::get(value, &name.into()).map_err(|_| JsError::new(&format!("{name}: not an object")))
}
