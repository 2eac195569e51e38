//! koala-preload.
