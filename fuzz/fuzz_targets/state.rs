//! See [`koala_fuzz::state`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| koala_fuzz::state(data));
