//! The Node addon: matcher, protocols and session codecs for TypeScript.
//!
//! It only translates types. What it offers is declared in `src/native/api.ts`, for this door and for the browser's
//! (`koala-wasm`) alike, and a test asks the same questions at both. It must never decide anything, do I/O, keep
//! state beside what JavaScript holds, or panic: a panic in an addon takes Node down.

mod matcher;

use koala_protocol::decode::fields;
use koala_session::{cbor, koala1};
use napi::{Error, Result, Status, bindgen_prelude::Uint8Array};
use napi_derive::napi;

/// One field of a request.
#[napi(object, object_from_js = false)]
pub struct DecodedField {
    /// Its name.
    pub name: String,
    /// What was sent.
    pub value: String,
}

/// A request, taken apart.
#[napi(object, object_from_js = false)]
pub struct DecodedRequest {
    /// Its protocol, or empty.
    pub protocol: String,
    /// Its fields.
    pub fields: Vec<DecodedField>,
}

/// Recognises and decodes one request.
#[napi]
pub fn decode_request(request: Uint8Array) -> DecodedRequest {
    let fields::Fields { protocol, fields } = fields::fields(&request);
    let fields =
        fields.into_iter().map(|fields::Field { name, value }| DecodedField { name, value }).collect();
    DecodedRequest { protocol: protocol.to_owned(), fields }
}

/// One session in CBOR as koala 1.x JSON.
#[napi]
pub fn session_to_koala1_json(cbor: Uint8Array) -> Result<String> {
    let (session, _) = cbor::decode(&cbor).map_err(invalid)?;
    Ok(koala1::to_json(&session))
}

/// One session in koala 1.x JSON as CBOR.
#[napi]
pub fn session_from_koala1_json(json: Uint8Array) -> Result<Uint8Array> {
    let session = koala1::from_json(&json).map_err(invalid)?;
    let mut bytes = Vec::new();
    cbor::encode(&session, &mut bytes);
    Ok(bytes.into())
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidArg, error.to_string())
}
