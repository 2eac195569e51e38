//! koala-wasm.
