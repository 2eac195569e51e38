//! The matcher's types in JavaScript.

use js_sys::{Array, Reflect, Uint8Array};
use koala_matcher as matcher;
use wasm_bindgen::prelude::*;

use crate::json::Json;

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
        #[wasm_bindgen(unchecked_param_type = "Strategy")] strategy: &str,
        #[wasm_bindgen(unchecked_param_type = "RecordedCall[]")] calls: &Array,
    ) -> Result<Self, JsError> {
        let strategy = matcher::Strategy::from_name(strategy)
            .ok_or_else(|| JsError::new(&format!("unknown strategy {strategy:?}: auto or exact")))?;
        let calls = calls.iter().map(|call| recorded_call(&call)).collect::<Result<Vec<_>, _>>()?;
        let calls = calls.iter().map(|(peer, request)| matcher::RecordedCall { peer, request });
        Ok(Self { index: matcher::Index::new(strategy, calls) })
    }

    /// Finds the recorded call of a request, and counts it as used.
    #[wasm_bindgen(unchecked_return_type = "Decision")]
    pub fn find(&mut self, peer: &str, request: &[u8]) -> JsValue {
        let decision = self.index.find(peer, request);
        Json::object(|json| {
            json.index("index", decision.index);
            json.number("mark", decision.mark);
            json.text("reason", &decision.reason);
            json.index("nearest", decision.nearest);
            json.name("runnerUp");
            match decision.runner_up {
                Some((index, mark)) => json.inner(|json| {
                    json.index("index", Some(index));
                    json.number("mark", mark);
                }),
                None => json.null(),
            }
            json.list("fields", &decision.fields, |json, field| {
                json.inner(|json| {
                    json.text("name", &field.name);
                    json.number("weight", field.weight);
                    json.number("score", field.score);
                });
            });
            json.list("differences", &decision.differences, |json, line| json.string(line));
            json.flag("reused", decision.reused);
        })
    }
}

fn recorded_call(call: &JsValue) -> Result<(String, Vec<u8>), JsError> {
    let peer = member(call, "peer")?.as_string().ok_or_else(|| JsError::new("peer: not a string"))?;
    let request: Uint8Array =
        member(call, "request")?.dyn_into().map_err(|_| JsError::new("request: not a Uint8Array"))?;
    Ok((peer, request.to_vec()))
}

/// The member `name` of a value.
fn member(value: &JsValue, name: &str) -> Result<JsValue, JsError> {
    Reflect::get(value, &name.into()).map_err(|_| JsError::new(&format!("{name}: not an object")))
}
