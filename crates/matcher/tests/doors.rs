//! The native door: the same cases as `test/matcher/doors.test.ts` asks the Node addon and the WASM module.

use std::{env, fs, path::PathBuf};

use koala_matcher::{Decision, Follower, RecordedCall, Strategy};
use koala_protocol::decode::fields::fields;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    strategy: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inbound: Vec<Inbound>,
    calls: Vec<Call>,
    steps: Vec<Step>,
}

/// What a session was called with, and what it answered.
#[derive(Deserialize, Serialize)]
struct Inbound {
    request: String,
    response: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Step {
    #[serde(flatten)]
    call: Call,
    expected: Value,
    #[serde(default)]
    decoded: Value,
}

impl Call {
    fn bytes(&self) -> Vec<u8> {
        match (&self.request, &self.request_hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(hex)) => hex
                .as_bytes()
                .chunks(2)
                .map(|pair| {
                    let pair = std::str::from_utf8(pair).expect("hex is ASCII");
                    u8::from_str_radix(pair, 16).expect("two hex digits")
                })
                .collect(),
            _ => panic!("a call has a request or a requestHex"),
        }
    }
}

/// As the declarations in `src/native/api.ts` have it.
fn shown(decision: Decision) -> Value {
    json!({
        "index": decision.index,
        "mark": decision.mark,
        "reason": decision.reason,
        "nearest": decision.nearest,
        "runnerUp": decision.runner_up.map(|(index, mark)| json!({ "index": index, "mark": mark })),
        "fields": decision
            .fields
            .iter()
            .map(|field| json!({ "name": field.name, "weight": field.weight, "score": field.score }))
            .collect::<Vec<_>>(),
        "differences": decision.differences,
        "reused": decision.reused,
    })
}

fn decoded(request: &[u8]) -> Value {
    let decoded = fields(request);
    let fields = decoded.fields.iter().map(|field| json!({ "name": field.name, "value": field.value }));
    json!({ "protocol": decoded.protocol, "fields": fields.collect::<Vec<_>>() })
}

#[test]
fn the_native_door_answers_as_written() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/matcher/cases.json");
    let text = fs::read_to_string(&path).expect("the cases are there");
    let mut cases: Vec<Case> = serde_json::from_str(&text).expect("the cases are JSON");
    let update = env::var_os("KOALA_UPDATE_CASES").is_some();
    let mut steps = 0;
    for case in &mut cases {
        let strategy = Strategy::from_name(&case.strategy).expect("a strategy");
        let calls: Vec<_> = case.calls.iter().map(|call| (call.peer.as_str(), call.bytes())).collect();
        let responses = case.calls.iter().map(|call| call.response.as_deref().unwrap_or_default().as_bytes());
        let calls = calls.iter().map(|(peer, request)| RecordedCall::new(peer, request));
        let mut follower = Follower::new(strategy, calls.zip(responses));
        for Inbound { request, response } in &case.inbound {
            follower = follower.with_inbound(request.as_bytes(), response.as_bytes());
        }
        for (number, step) in case.steps.iter_mut().enumerate() {
            let request = step.call.bytes();
            let decision = shown(follower.find(None, &step.call.peer, &request, None));
            let place = format!("{:?}, step {number}", case.name);
            assert_eq!(decision["index"], step.expected["index"], "{place}: {decision:#}");
            if update {
                step.expected = decision;
                step.decoded = decoded(&request);
            } else {
                let remedy =
                    "(if it is meant: KOALA_UPDATE_CASES=1 cargo test -p koala-matcher --test doors)";
                assert_eq!(decision, step.expected, "{place} {remedy}");
                assert_eq!(decoded(&request), step.decoded, "{place} {remedy}");
            }
            steps += 1;
        }
    }
    assert!(steps > 20);
    if update {
        let text = serde_json::to_string_pretty(&cases).expect("can be written");
        fs::write(&path, format!("{text}\n")).expect("can be written");
    }
}
