//! Appending events: what a thread of the recorded program does.

use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::arena::{Arena, CHUNK_HEADER_SIZE};
use crate::event::{EventKind, Source};
use crate::record::{
    CLAIMED, COMMITTED, INTENT, RECORD_HEADER_SIZE, RecordHeader, VOID, length, record_size,
};

/// How many chunks of ended threads a process keeps for its next ones.
const SPARES: usize = 64;

/// What a thread knows of its place in the log. One for each thread, zeroed at its start; only that thread
/// (and the signal handlers that interrupt it) uses it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ThreadState {
    /// The process that `chunk` was claimed for; a forked child finds its parent's number here.
    process: AtomicU64,
    /// The index of the thread's chunk, plus one; 0 if it has none.
    chunk: AtomicU32,
    /// Where the next record may begin. A hint: a signal handler may have gone further.
    cursor: AtomicU32,
    /// The kernel's id of the thread.
    tid: AtomicU32,
}

impl ThreadState {
    /// The kernel's id of the thread, as it was when it last appended; in a forked child that of the thread that
    /// forked, until the first append. 0 before.
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// The state of a thread that has appended nothing.
    pub const fn new() -> Self {
        Self {
            process: AtomicU64::new(0),
            chunk: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
            tid: AtomicU32::new(0),
        }
    }
}

/// What an event says, but for its payload and its place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// See [`crate::Event::kind`].
    pub kind: EventKind,
    /// See [`crate::Event::source`].
    pub source: Source,
    /// See [`crate::Event::flags`].
    pub flags: u16,
    /// See [`crate::Event::context`].
    pub context: u64,
    /// See [`crate::Event::connection`].
    pub connection: u64,
    /// See [`crate::Event::fd`].
    pub fd: i32,
    /// See [`crate::Event::result`].
    pub result: i64,
    /// See [`crate::Event::time`].
    pub time: u64,
}

/// A record that is claimed and not yet committed.
///
/// It must be ended by [`Pending::commit`] or [`Pending::void`]; one that is dropped is given up some time after
/// its thread has gone on, or when its process ends.
#[must_use]
#[derive(Debug)]
pub struct Pending {
    header: *mut RecordHeader,
    size: u32,
    capacity: u32,
    /// The record's first word and sequence number, as this append left them.
    word: u32,
    sequence: u64,
}

impl Pending {
    /// Bytes of payload that fit.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Where the payload goes: [`Pending::capacity`] bytes, this thread's alone until the commit.
    pub fn payload(&self) -> *mut u8 {
        // SAFETY: a record's payload lies behind its head, in the bytes that were claimed for both.
        unsafe { self.header.cast::<u8>().add(RECORD_HEADER_SIZE) }
    }

    fn finish(&mut self, state: u32, result: i64, payload: usize) {
        let payload = if payload > self.capacity as usize { self.capacity } else { payload as u32 };
        // SAFETY: the record lies in the arena, and its first word is atomic.
        let word = unsafe { &(*self.header).word };
        // A thread that was stopped in the middle of an append for longer than the reader waits finds that the
        // record was given up, and its bytes may have become another's.
        // SAFETY: as above; the sequence number is only compared.
        if word.load(Ordering::Relaxed) != self.word || unsafe { (*self.header).sequence } != self.sequence {
            return;
        }
        self.word = state | self.size;
        // SAFETY: the record was claimed by this thread, so that its head is ours to write until the word says
        // otherwise; the reader takes it only after the release store.
        unsafe {
            (*self.header).result = result;
            (*self.header).payload = payload;
        }
        word.store(self.word, Ordering::Release);
    }

    /// Shows the record to the reader as a call that is about to be made, with this much of its payload.
    pub fn intend(&mut self, payload: usize) {
        self.finish(INTENT, payload as i64, payload);
    }

    /// Makes the record final.
    pub fn commit(mut self, result: i64, payload: usize) {
        self.finish(COMMITTED, result, payload);
    }

    /// Withdraws the record: the call did nothing worth telling.
    pub fn void(mut self) {
        self.finish(VOID, 0, 0);
    }
}

/// Bytes of a processor's cache line.
const LINE: usize = 64;
/// How many lines are fetched ahead: an event of an ordinary request or response.
const LINES_AHEAD: usize = 4;

/// Asks the processor for the memory of the next record, to be written to: the reader had it last, so that it is in
/// another processor's cache. It arrives while the program makes its call, instead of in the middle of the next append.
#[inline]
fn fetch_ahead(next: *mut u8) {
    let mut line = 0;
    while line < LINES_AHEAD {
        let address = next.wrapping_add(line * LINE);
        // SAFETY: a prefetch is a hint: it changes no register and no memory, and never faults, whatever the address.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags));
        }
        // SAFETY: as above.
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(nostack, preserves_flags));
        }
        #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        let _ = address;
        line += 1;
    }
}

/// A number that all threads count up, in a line of the processor's cache that nothing else is in: else each would lose
/// with it what it only reads.
#[derive(Debug)]
#[repr(align(64))]
struct Counter(AtomicU64);

/// The end of the log at which a process appends. One for each process; its threads share it.
#[derive(Debug)]
pub struct Writer {
    arena: Arena,
    process: AtomicU64,
    pid: AtomicU32,
    sequence: Counter,
    /// Chunks of threads that ended, as index plus one.
    spares: [AtomicU32; SPARES],
}

impl Writer {
    /// A writer for this process, whose id is `pid`.
    pub fn new(arena: Arena, pid: u32) -> Self {
        Self::numbered(arena, pid, arena.next_process())
    }

    /// A writer for the process that was given this number ([`Arena::next_process`]), and whose id is `pid`.
    pub fn numbered(arena: Arena, pid: u32, process: u64) -> Self {
        Self {
            process: AtomicU64::new(process),
            arena,
            pid: AtomicU32::new(pid),
            sequence: Counter(AtomicU64::new(0)),
            spares: [const { AtomicU32::new(0) }; SPARES],
        }
    }

    /// The log.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The number of this process in its tree.
    pub fn process(&self) -> u64 {
        self.process.load(Ordering::Relaxed)
    }

    /// The id of this process.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Tells the writer that it woke up in a forked child, whose id is `pid`: it becomes another process, and
    /// leaves its parent's chunks alone. `process` is the number that was taken for it before the fork; 0 if
    /// none was. Returns the parent's number. No other thread may append meanwhile; in a child there is none.
    pub fn forked(&self, pid: u32, process: u64) -> u64 {
        let process = if process == 0 { self.arena.next_process() } else { process };
        let parent = self.process.swap(process, Ordering::Relaxed);
        self.pid.store(pid, Ordering::Relaxed);
        self.sequence.0.store(0, Ordering::Relaxed);
        for spare in &self.spares {
            spare.store(0, Ordering::Relaxed);
        }
        parent
    }

    /// The most payload that one record takes, so that two fit into a chunk; longer ones go into several.
    pub fn max_payload(&self) -> usize {
        ((self.arena.chunk_size() as usize - CHUNK_HEADER_SIZE) / 2 - RECORD_HEADER_SIZE) & !7
    }

    /// Claims a record for up to `capacity` bytes of payload, and gives it the next sequence number.
    ///
    /// `tid` names the thread where `thread` does not know it yet. `None` if the log has no room (then the event is
    /// counted as lost, unless the log [blocks](Arena::blocks): then it is tried again, and who gives up counts it), is
    /// closed, or `capacity` is more than [`Writer::max_payload`].
    pub fn begin(
        &self,
        thread: &ThreadState,
        tid: impl FnOnce() -> u32,
        record: &Record,
        capacity: usize,
    ) -> Option<Pending> {
        if self.arena.is_closed() || capacity > self.max_payload() {
            return None;
        }
        let process = self.process();
        if thread.process.load(Ordering::Relaxed) != process {
            thread.chunk.store(0, Ordering::Relaxed);
            thread.tid.store(tid(), Ordering::Relaxed);
            thread.process.store(process, Ordering::Relaxed);
        }
        let size = record_size(capacity) as u32;
        let Some(header) = self.claim(thread, process, size) else {
            if !self.arena.blocks() {
                self.arena.lose(capacity as u64);
            }
            return None;
        };
        let sequence = self.sequence.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the record's bytes were claimed by this thread just now, and lie in the arena.
        unsafe {
            (*header).kind = record.kind as u8;
            (*header).source = record.source as u8;
            (*header).flags = record.flags;
            (*header).time = record.time;
            (*header).context = record.context;
            (*header).connection = record.connection;
            (*header).tid = thread.tid.load(Ordering::Relaxed);
            (*header).fd = record.fd;
            (*header).sequence = sequence;
        }
        Some(Pending { header, size, capacity: capacity as u32, word: CLAIMED | size, sequence })
    }

    /// Appends an event whose payload is known. Returns whether it was written.
    pub fn append(
        &self,
        thread: &ThreadState,
        tid: impl FnOnce() -> u32,
        record: &Record,
        payload: &[u8],
    ) -> bool {
        let Some(pending) = self.begin(thread, tid, record, payload.len()) else { return false };
        // SAFETY: `begin` claimed as many bytes as the payload has, and the two do not overlap: nobody has a
        // reference into the arena's free chunks.
        unsafe { ptr::copy_nonoverlapping(payload.as_ptr(), pending.payload(), payload.len()) };
        pending.commit(record.result, payload.len());
        true
    }

    /// Says that the thread has nothing left to do until something arrives.
    #[inline]
    pub fn park(&self, thread: &ThreadState) {
        let chunk = thread.chunk.load(Ordering::Relaxed);
        if chunk != 0 && thread.process.load(Ordering::Relaxed) == self.process() {
            let header = self.arena.chunk_header(chunk - 1);
            header.parked.store(thread.cursor.load(Ordering::Relaxed), Ordering::Release);
        }
    }

    /// Gives up the chunk of a thread that ends, for the next thread of the process to go on with.
    pub fn end_thread(&self, thread: &ThreadState) {
        let chunk = thread.chunk.swap(0, Ordering::Relaxed);
        if chunk == 0 || thread.process.swap(0, Ordering::Relaxed) != self.process() {
            return;
        }
        let header = self.arena.chunk_header(chunk - 1);
        header.cursor.store(thread.cursor.load(Ordering::Relaxed), Ordering::Relaxed);
        for spare in &self.spares {
            if spare.compare_exchange(0, chunk, Ordering::Release, Ordering::Relaxed).is_ok() {
                return;
            }
        }
        header.sealed.store(1, Ordering::Release);
    }

    /// Finds `size` bytes for a record in the thread's chunk, or in a new one, and marks them claimed.
    fn claim(&self, thread: &ThreadState, process: u64, size: u32) -> Option<*mut RecordHeader> {
        let end = self.arena.chunk_size();
        loop {
            let chunk = thread.chunk.load(Ordering::Relaxed);
            if chunk == 0 {
                self.acquire(thread, process)?;
                continue;
            }
            let base = self.arena.chunk(chunk - 1);
            let mut at = thread.cursor.load(Ordering::Relaxed);
            while end - at >= size {
                // SAFETY: `at` is a multiple of 8 within the chunk, and at least `size` bytes are left behind it.
                let header = unsafe { base.add(at as usize).cast::<RecordHeader>() };
                // SAFETY: the word of a record, or of the zeros behind the last one.
                let word = unsafe { &(*header).word };
                match word.compare_exchange(0, CLAIMED | size, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) if thread.chunk.load(Ordering::Relaxed) == chunk => {
                        thread.cursor.store(at + size, Ordering::Relaxed);
                        fetch_ahead(header.cast::<u8>().wrapping_add(size as usize));
                        return Some(header);
                    }
                    // A signal handler filled and gave up this chunk between reading its number and the claim.
                    Ok(_) => {
                        word.store(VOID | size, Ordering::Release);
                        break;
                    }
                    // A signal handler interrupted this thread between reading the cursor and the claim.
                    Err(taken) => at += length(taken),
                }
            }
            // No room. A handler may have moved on to another chunk meanwhile: then that one stays.
            if thread.chunk.compare_exchange(chunk, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.arena.chunk_header(chunk - 1).sealed.store(1, Ordering::Release);
            }
        }
    }

    /// Gives the thread a chunk.
    fn acquire(&self, thread: &ThreadState, process: u64) -> Option<()> {
        let spare = self.spares.iter().find_map(|spare| match spare.load(Ordering::Relaxed) {
            0 => None,
            chunk => spare
                .compare_exchange(chunk, 0, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
                .then_some(chunk - 1),
        });
        let index = match spare {
            Some(index) => index,
            None => self.arena.claim_chunk(process)?,
        };
        let header = self.arena.chunk_header(index);
        header.pid.store(self.pid(), Ordering::Relaxed);
        header.tid.store(thread.tid.load(Ordering::Relaxed), Ordering::Relaxed);
        header.parked.store(0, Ordering::Relaxed);
        header.process.store(process, Ordering::Release);
        let cursor =
            if spare.is_some() { header.cursor.load(Ordering::Relaxed) } else { CHUNK_HEADER_SIZE as u32 };
        // A handler may have acquired one while this one was being prepared: it goes back unused.
        let handlers = thread.chunk.swap(0, Ordering::Relaxed);
        if handlers != 0 {
            self.arena.chunk_header(handlers - 1).sealed.store(1, Ordering::Release);
        }
        thread.cursor.store(cursor, Ordering::Relaxed);
        thread.chunk.store(index + 1, Ordering::Relaxed);
        Some(())
    }
}
