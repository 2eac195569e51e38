//! See [`koala_fuzz::session_koala1`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| koala_fuzz::session_koala1(data));
