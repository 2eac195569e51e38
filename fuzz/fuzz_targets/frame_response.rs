//! See [`koala_fuzz::frame_response`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| koala_fuzz::frame_response(data));
