//! See [`koala_fuzz::session_cbor`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| koala_fuzz::session_cbor(data));
