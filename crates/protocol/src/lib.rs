//! Framing, greeting and decoding of wire protocols.
