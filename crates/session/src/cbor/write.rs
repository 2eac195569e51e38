//! The encoder. Written by hand: a session is encoded for every request that the recorded program answers, and
//! all that a CBOR encoder does here is to put a head before bytes.

use super::known::Known;
use super::table::Members;
use crate::model::{Action, Connection, FieldScore, Session};
use std::sync::Arc;

const UNSIGNED: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;

/// What is written to.
pub(super) struct Out<'a> {
    bytes: Vec<u8>,
    /// Connections as they were written before.
    known: Option<&'a mut Known>,
}

impl<'a> Out<'a> {
    /// Goes on behind what is there.
    pub(super) fn new(bytes: Vec<u8>, known: Option<&'a mut Known>) -> Self {
        Self { bytes, known }
    }

    /// All that was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    #[inline]
    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// A value of a member.
pub(super) trait Encode {
    /// Whether it is its default, and so left out.
    fn is_absent(&self) -> bool;
    /// Appends it.
    fn encode(&self, out: &mut Out<'_>);
}

/// Appends a name of at most 23 bytes, whose head and bytes are put together at compile time.
macro_rules! key {
    ($out:expr, $name:literal) => {{
        const KEY: [u8; $name.len() + 1] = $crate::cbor::write::key_bytes($name);
        $out.extend_from_slice(&KEY);
    }};
}
pub(super) use key;

/// What [`key!`] appends. Compile-time only: `N` is the name's length and one.
pub(super) const fn key_bytes<const N: usize>(name: &str) -> [u8; N] {
    assert!(N == name.len() + 1 && N <= 24);
    let mut bytes = [TEXT | name.len() as u8; N];
    let mut at = 1;
    while at < N {
        bytes[at] = name.as_bytes()[at - 1];
        at += 1;
    }
    bytes
}

#[inline]
fn head(out: &mut Out<'_>, major: u8, value: u64) {
    if value < 24 {
        // The cast keeps the value.
        out.push(major | value as u8);
        return;
    }
    // 0 to 3: the argument has 1, 2, 4 or 8 bytes.
    let size = (u64::BITS - value.leading_zeros()).div_ceil(8).next_power_of_two().trailing_zeros();
    let mut bytes = [0; 9];
    bytes[0] = major | (24 + size as u8);
    bytes[1..].copy_from_slice(&(value << (64 - (8 << size))).to_be_bytes());
    // All nine at once, and off with those that are none of it: quicker than as many as there are.
    out.extend_from_slice(&bytes);
    out.bytes.truncate(out.bytes.len() - 8 + (1 << size));
}

/// The head of a map.
#[inline]
pub(super) fn map(out: &mut Out<'_>, members: u64) {
    head(out, MAP, members);
}

/// The whole session.
pub(super) fn session(session: &Session, out: &mut Out<'_>) {
    map(out, session.count() + 1);
    key!(out, "SessionId");
    session.session_id.encode(out);
    session.write_members(out);
}

/// About how many bytes a session takes: its payloads, and rather more than its names for the rest.
pub(super) fn size_hint(session: &Session) -> usize {
    let actions = session.actions.iter().map(|action| match action {
        Action::CallOutbound(call) => 192 + call.request.len() + call.response.len(),
        Action::SendUdp(send) => 128 + send.content.len(),
        Action::AppendFile(append) => 128 + append.file_name.len() + append.content.len(),
        Action::ReadStorage(read) => 96 + read.content.len(),
        Action::ResolveName(lookup) => 192 + 20 * lookup.addresses.len(),
    });
    384 + session.call_from_inbound.as_ref().map_or(0, |call| call.request.len())
        + session.return_inbound.as_ref().map_or(0, |response| response.response.len())
        + session.connections.len() * 192
        + actions.sum::<usize>()
}

macro_rules! unsigned {
    ($($type:ty)*) => {$(
        impl Encode for $type {
            #[inline]
            fn is_absent(&self) -> bool {
                *self == 0
            }

            #[inline]
            fn encode(&self, out: &mut Out<'_>) {
                head(out, UNSIGNED, u64::from(*self));
            }
        }
    )*};
}

macro_rules! signed {
    ($($type:ty)*) => {$(
        impl Encode for $type {
            #[inline]
            fn is_absent(&self) -> bool {
                *self == 0
            }

            #[inline]
            fn encode(&self, out: &mut Out<'_>) {
                let value = i64::from(*self);
                if value < 0 {
                    // CBOR's negative numbers are -1 - n, which is the complement.
                    head(out, NEGATIVE, !value as u64);
                } else {
                    head(out, UNSIGNED, value as u64);
                }
            }
        }
    )*};
}

unsigned! { u16 u32 u64 }
signed! { i32 i64 }

impl Encode for f64 {
    #[inline]
    fn is_absent(&self) -> bool {
        // By its bits: -0.0 equals 0.0 and is another number.
        self.to_bits() == 0
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        out.push(0xfb);
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Encode for bool {
    #[inline]
    fn is_absent(&self) -> bool {
        !*self
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        out.push(if *self { 0xf5 } else { 0xf4 });
    }
}

impl Encode for str {
    #[inline]
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        head(out, TEXT, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Encode for String {
    #[inline]
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        self.as_str().encode(out);
    }
}

impl Encode for Vec<u8> {
    #[inline]
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        head(out, BYTES, self.len() as u64);
        out.extend_from_slice(self);
    }
}

impl Encode for Arc<Connection> {
    #[inline]
    fn is_absent(&self) -> bool {
        self.as_ref().is_absent()
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        if let Some(bytes) = out.known.as_deref().and_then(|known| known.get(self)) {
            out.bytes.extend_from_slice(bytes);
            return;
        }
        let begin = out.bytes.len();
        self.as_ref().encode(out);
        if let Some(known) = &mut out.known {
            known.put(self, out.bytes.get(begin..).unwrap_or_default());
        }
    }
}

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    #[inline]
    fn encode(&self, out: &mut Out<'_>) {
        match self {
            Some(value) => value.encode(out),
            None => out.push(0xf6),
        }
    }
}

macro_rules! lists {
    ($($type:ty)*) => {$(
        impl Encode for Vec<$type> {
            #[inline]
            fn is_absent(&self) -> bool {
                self.is_empty()
            }

            #[inline]
            fn encode(&self, out: &mut Out<'_>) {
                head(out, ARRAY, self.len() as u64);
                for item in self {
                    item.encode(out);
                }
            }
        }
    )*};
}

lists! { Action Arc<Connection> FieldScore String u32 }
