//! How long the codecs take for a session of an HTTP server that asks Redis once a request.
//! `cargo run --release -p koala-session --example codec-speed`

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{hint::black_box, time::Instant};

use koala_session::{cbor, koala1};

fn measure(name: &str, bytes: usize, mut step: impl FnMut()) {
    const STEPS: u32 = 200_000;
    // The best of several rounds: the others measure what else the machine does.
    let best = (0..7).map(|_| {
        let start = Instant::now();
        (0..STEPS).for_each(|_| step());
        start.elapsed() / STEPS
    });
    println!("{name:<14} {:>8} ns {bytes:>6} bytes", best.min().unwrap_or_default().as_nanos());
}

fn main() {
    let session = common::typical();
    let mut encoded = Vec::new();
    cbor::encode(&session, &mut encoded);
    let json = koala1::to_json(&session);
    let mut out = Vec::with_capacity(1 << 16);
    measure("cbor encode", encoded.len(), || {
        out.clear();
        cbor::encode(black_box(&session), &mut out);
        black_box(&out);
    });
    // Somebody goes on with its connections.
    let _shared = session.clone();
    let mut encoder = cbor::Encoder::default();
    measure("known encode", encoded.len(), || {
        out.clear();
        encoder.encode(black_box(&session), &mut out);
        black_box(&out);
    });
    measure("cbor decode", encoded.len(), || {
        black_box(cbor::decode(black_box(&encoded))).ok();
    });
    measure("koala1 export", json.len(), || {
        black_box(koala1::to_json(black_box(&session)));
    });
    measure("koala1 import", json.len(), || {
        black_box(koala1::from_json(black_box(json.as_bytes()))).ok();
    });
}
