//! The hand-over between the two ends of the event log, with the orderings of `koala-events`, in a form that loom can try.
//!
//! The log itself can't run under loom: it lies in memory that several processes map, and its atomics are made of zeros
//! there, which loom's are not. So this is what it does, step by step, and nothing else: who changes an ordering in
//! `writer.rs`, `reader.rs` or `arena.rs` changes it here. Bytes that are not atomic there are loom's cells here, which
//! fail where two threads could be at them at once.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// States of a record's word (`record.rs`).
pub const CLAIMED: u32 = 1;
/// See [`CLAIMED`].
pub const INTENT: u32 = 2;
/// See [`CLAIMED`].
pub const COMMITTED: u32 = 3;

/// Records of a chunk.
pub const RECORDS: usize = 2;

/// A record (`RecordHeader`).
pub struct Record {
    /// Its state; 0: there is none.
    pub word: AtomicU32,
    /// What is written before the record is shown to the reader, and never after: sequence, time, connection.
    head: UnsafeCell<u64>,
    /// What the commit writes: result and length of the payload.
    result: UnsafeCell<u64>,
}

/// A chunk with its header and its owner.
pub struct Chunk {
    /// The process that it belongs to; 0: nobody.
    pub owner: AtomicU64,
    /// 1: no record will be added.
    pub sealed: AtomicU32,
    /// The next record, as long as no thread owns the chunk.
    cursor: AtomicU32,
    /// Its records.
    pub records: [Record; RECORDS],
}

/// The log: its chunks, the count of those in use, and the chunk that a thread which has ended left to the next.
pub struct Log {
    /// The chunks.
    pub chunks: Vec<Chunk>,
    /// How many are in use, about.
    pub used: AtomicU32,
    /// A chunk's index plus one; 0: none.
    spare: AtomicU32,
}

impl Log {
    /// An empty log.
    pub fn new(chunks: usize) -> Self {
        let record =
            || Record { word: AtomicU32::new(0), head: UnsafeCell::new(0), result: UnsafeCell::new(0) };
        let chunk = |_| Chunk {
            owner: AtomicU64::new(0),
            sealed: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
            records: std::array::from_fn(|_| record()),
        };
        Self { chunks: (0..chunks).map(chunk).collect(), used: AtomicU32::new(0), spare: AtomicU32::new(0) }
    }

    /// `Arena::claim_chunk`.
    pub fn claim(&self, process: u64) -> Option<usize> {
        for (index, chunk) in self.chunks.iter().enumerate() {
            if chunk.owner.load(Ordering::Relaxed) == 0
                && chunk.owner.compare_exchange(0, process, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.used.fetch_add(1, Ordering::Release);
                return Some(index);
            }
        }
        None
    }

    /// `Writer::acquire`: a chunk and the place in it.
    pub fn acquire(&self, process: u64) -> Option<(usize, usize)> {
        let spare = self.spare.load(Ordering::Relaxed);
        if spare != 0 && self.spare.compare_exchange(spare, 0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            let index = spare as usize - 1;
            return Some((index, self.chunks[index].cursor.load(Ordering::Relaxed) as usize));
        }
        Some((self.claim(process)?, 0))
    }

    /// `Writer::end_thread`.
    pub fn end_thread(&self, chunk: usize, cursor: usize) {
        self.chunks[chunk].cursor.store(cursor as u32, Ordering::Relaxed);
        let spare = chunk as u32 + 1;
        if self.spare.compare_exchange(0, spare, Ordering::Release, Ordering::Relaxed).is_err() {
            self.chunks[chunk].sealed.store(1, Ordering::Release);
        }
    }

    /// `Writer::begin`, the payload, `Pending::intend` if there is a call to be made, and `Pending::commit`.
    pub fn append(&self, chunk: usize, place: usize, value: u64, intends: bool) {
        let record = &self.chunks[chunk].records[place];
        let claimed = record.word.compare_exchange(0, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        assert_eq!(claimed, Ok(0), "a chunk that is handed on is zeros behind its last record");
        // SAFETY: loom sees to it that nobody else is there.
        record.head.with_mut(|head| unsafe { *head = value });
        if intends {
            record.word.store(INTENT, Ordering::Release);
        }
        // SAFETY: as above.
        record.result.with_mut(|result| unsafe { *result = value + 1 });
        record.word.store(COMMITTED, Ordering::Release);
    }

    /// The thread gives up its chunk (`Writer::claim`, where there is no room).
    pub fn seal(&self, chunk: usize) {
        self.chunks[chunk].sealed.store(1, Ordering::Release);
    }
}

/// The reader's own books.
pub struct Reader {
    cursors: Vec<usize>,
    owned: Vec<bool>,
    /// What was delivered, in order.
    pub delivered: Vec<u64>,
}

impl Reader {
    /// One that has read nothing.
    pub fn new(log: &Log) -> Self {
        Self {
            cursors: vec![0; log.chunks.len()],
            owned: vec![false; log.chunks.len()],
            delivered: Vec::new(),
        }
    }

    /// `Reader::poll`: looks at every chunk, delivers what is committed, frees what is sealed and read, corrects the count.
    pub fn poll(&mut self, log: &Log) {
        let counted = log.used.load(Ordering::Acquire);
        let mut found = 0;
        for (index, chunk) in log.chunks.iter().enumerate() {
            if chunk.owner.load(Ordering::Acquire) == 0 {
                continue;
            }
            self.owned[index] = true;
            found += 1;
            while let Some(record) = chunk.records.get(self.cursors[index]) {
                let word = record.word.load(Ordering::Acquire);
                if word == 0 || word == CLAIMED {
                    break;
                }
                // SAFETY: loom sees to it that nobody writes here.
                let head = record.head.with(|head| unsafe { *head });
                assert_ne!(head, 0, "a record that is shown has its head");
                if word != COMMITTED {
                    break;
                }
                // SAFETY: as above.
                let result = record.result.with(|result| unsafe { *result });
                assert_eq!(result, head + 1, "a record that is committed is whole");
                self.delivered.push(head);
                self.cursors[index] += 1;
            }
        }
        for (index, chunk) in log.chunks.iter().enumerate() {
            if !self.owned[index] {
                continue;
            }
            let sealed = chunk.sealed.load(Ordering::Acquire) != 0;
            let next = chunk.records.get(self.cursors[index]);
            // It may have got its last record after the look and before the seal.
            if sealed && next.is_none_or(|record| record.word.load(Ordering::Acquire) == 0) {
                self.free(chunk);
                self.cursors[index] = 0;
                self.owned[index] = false;
                found -= 1;
            }
        }
        log.used.fetch_add(u32::wrapping_sub(found, counted), Ordering::Relaxed);
    }

    /// `Arena::release_chunk`: zeros, and then nobody's.
    fn free(&self, chunk: &Chunk) {
        for record in &chunk.records {
            record.word.store(0, Ordering::Relaxed);
            // SAFETY: loom sees to it that nobody else is there.
            record.head.with_mut(|head| unsafe { *head = 0 });
            // SAFETY: as above.
            record.result.with_mut(|result| unsafe { *result = 0 });
        }
        chunk.sealed.store(0, Ordering::Relaxed);
        chunk.cursor.store(0, Ordering::Relaxed);
        chunk.owner.store(0, Ordering::Release);
    }
}
