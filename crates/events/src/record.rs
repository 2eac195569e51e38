//! One record: the head that every event has in a chunk.

use core::sync::atomic::AtomicU32;

/// Bytes of a record's head; records begin at multiples of 8.
pub(crate) const RECORD_HEADER_SIZE: usize = 64;

/// The record's bytes belong to a thread that is writing them.
pub(crate) const CLAIMED: u32 = 1 << 28;
/// The record is complete, the call is under way.
pub(crate) const INTENT: u32 = 2 << 28;
/// The record is final.
pub(crate) const COMMITTED: u32 = 3 << 28;
/// The record never came to be: its call did nothing worth telling.
pub(crate) const VOID: u32 = 4 << 28;

const LENGTH: u32 = (1 << 28) - 1;

/// The state in a record's first word.
#[cfg(feature = "reader")]
pub(crate) const fn state(word: u32) -> u32 {
    word & !LENGTH
}

/// The length in a record's first word: all of the record, head and padding included.
pub(crate) const fn length(word: u32) -> u32 {
    word & LENGTH
}

/// The bytes that a record with this much payload takes.
pub(crate) const fn record_size(payload: usize) -> usize {
    (RECORD_HEADER_SIZE + payload + 7) & !7
}

/// The head of a record.
#[repr(C)]
pub(crate) struct RecordHeader {
    pub(crate) word: AtomicU32,
    pub(crate) kind: u8,
    pub(crate) source: u8,
    pub(crate) flags: u16,
    pub(crate) sequence: u64,
    pub(crate) time: u64,
    pub(crate) context: u64,
    pub(crate) connection: u64,
    pub(crate) tid: u32,
    pub(crate) fd: i32,
    pub(crate) result: i64,
    pub(crate) payload: u32,
    /// Not 0: the reader has delivered it. Only the reader writes it.
    pub(crate) taken: AtomicU32,
}

const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER_SIZE);
