//! Matcher, protocols and session codecs for the browser, and for Node where there is no addon.
//!
//! It only translates types. What it offers is declared in `src/native/api.ts`, for this door and for the addon's
//! (`koala-node`) alike, and a test asks the same questions at both. It must never decide anything, reach for the
//! page or the network, or hold state beside what JavaScript holds.
//!
//! `scripts/build-wasm.mjs` builds it, with the JavaScript side, into `pkg/`.

mod matcher;
mod packed;

use koala_protocol::decode::fields;
use koala_session::{cbor, koala1};
use wasm_bindgen::prelude::*;

use packed::{Packed, unpack_request};

// The functions below refer to these types by name.
#[wasm_bindgen(typescript_custom_section)]
const API: &str = include_str!("../../../src/native/api.ts");

/// Recognises and decodes one request.
#[wasm_bindgen(js_name = decodeRequest, unchecked_return_type = "DecodedRequest")]
pub fn decode_request(request: &[u8]) -> JsValue {
    let fields::Fields { protocol, fields } = fields::fields(request);
    Packed::value(unpack_request, |packed| {
        packed.string(protocol);
        packed.list(&fields, |packed, field| {
            packed.string(&field.name);
            packed.string(&field.value);
        });
    })
}

/// One session in CBOR as koala 1.x JSON.
#[wasm_bindgen(js_name = sessionToKoala1Json)]
pub fn session_to_koala1_json(cbor: &[u8]) -> Result<String, JsError> {
    let (session, _) = cbor::decode(cbor)?;
    Ok(koala1::to_json(&session))
}

/// One session in koala 1.x JSON as CBOR.
#[wasm_bindgen(js_name = sessionFromKoala1Json)]
pub fn session_from_koala1_json(json: &[u8]) -> Result<Vec<u8>, JsError> {
    let session = koala1::from_json(json)?;
    let mut bytes = Vec::new();
    cbor::encode(&session, &mut bytes);
    Ok(bytes)
}
