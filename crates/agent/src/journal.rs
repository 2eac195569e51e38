//! What the agent has taken from the event log since its standby was made.
//!
//! Taking an event from the log frees its place there, and an agent that is killed would take with it what it knew of
//! the sessions that are open. So everything that makes sessions (events, threads that park, processes that end, the
//! time) is copied here before it is used, into memory that the agent shares with its [standby](crate::standby), which
//! does the same with the same and arrives at the same sessions.
//!
//! Agent and standby may die at once. For that case it has a base, which says what was known when it began: the
//! processes, connections and files, and the sessions that were not over. Who has a descriptor of the journal and of the
//! event log can start an agent that goes on with them.
//!
//! The journal is in a memfd, never on disk: what is in it is not redacted. With each standby it begins anew, in the same
//! memory, but places in it are counted on. Beside it stands how much of what was made is on disk ([`Commits`]).

use std::io;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use koala_events::{Event, EventKind, Source};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of the journal. Pages that were never used cost nothing.
pub const CAPACITY: usize = 32 << 20;
/// Bytes of a base at most.
const BASE_MAX: usize = 8 << 20;
/// Bytes of all.
const MEMORY: usize = HEAD + CAPACITY + 2 * BASE_MAX;
/// Bytes of the page before it.
const HEAD: usize = 4096;
/// Words of an entry before its payload.
const WORDS: usize = 9;
/// Bytes of them.
const ENTRY: usize = 8 * WORDS;

const EVENT: u8 = 1;
const PARKED: u8 = 2;
const ENDED: u8 = 3;
const TICK: u8 = 4;
const KNOWN: u8 = 5;
const UNFINISHED: u8 = 6;
const NOT_COVERED: u8 = 7;
const BASE: u8 = 8;

/// One thing that makes sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An event was delivered.
    Event(Event<'a>),
    /// A thread has nothing left to do.
    Parked {
        /// The process, by its number in the tree.
        process: u64,
        /// The thread.
        tid: u32,
        /// When it was seen.
        now: u64,
    },
    /// A process is dead.
    Ended {
        /// The process, by its number in the tree.
        process: u64,
        /// When it was seen.
        now: u64,
    },
    /// Time has passed.
    Tick {
        /// The time.
        now: u64,
    },
    /// Of the base ([`Journal::write_base`]): something that was known, told as an event.
    Known(Event<'a>),
    /// Of the base: a session that was not over, in CBOR.
    Unfinished(&'a [u8]),
    /// Of the base: a program that is not recorded, in JSON.
    NotCovered(&'a [u8]),
    /// The end of the base.
    Base {
        /// Events that had been read.
        events: u64,
        /// Connections of which bytes are missing.
        gaps: u64,
        /// The time.
        now: u64,
    },
}

impl<'a> Entry<'a> {
    fn payload(&self) -> &'a [u8] {
        match self {
            Self::Event(event) | Self::Known(event) => event.payload,
            Self::Unfinished(bytes) | Self::NotCovered(bytes) => bytes,
            _ => &[],
        }
    }

    /// The bytes that the entry takes; a multiple of 8.
    pub fn size(&self) -> usize {
        (ENTRY + self.payload().len() + 7) & !7
    }

    /// Writes the entry to the beginning of `to`. `None` if there is no room.
    pub fn encode(&self, to: &mut [u8]) -> Option<usize> {
        let size = self.size();
        let to = to.get_mut(..size)?;
        let payload = self.payload();
        let mut words = [0u64; WORDS];
        let tag = match *self {
            Self::Event(event) | Self::Known(event) => {
                words[0] = u64::from(event.kind as u8) << 40 | u64::from(event.source as u8) << 48;
                words[1] = u64::from(event.flags) | u64::from(event.fd as u32) << 32;
                words[2] = event.process;
                words[3] = u64::from(event.pid) | u64::from(event.tid) << 32;
                words[4] = event.context;
                words[5] = event.sequence;
                words[6] = event.time;
                words[7] = event.connection;
                words[8] = event.result as u64;
                if matches!(self, Self::Event(_)) { EVENT } else { KNOWN }
            }
            Self::Parked { process, tid, now } => {
                words[2] = process;
                words[3] = u64::from(tid) << 32;
                words[6] = now;
                PARKED
            }
            Self::Ended { process, now } => {
                words[2] = process;
                words[6] = now;
                ENDED
            }
            Self::Tick { now } => {
                words[6] = now;
                TICK
            }
            Self::Unfinished(_) => UNFINISHED,
            Self::NotCovered(_) => NOT_COVERED,
            Self::Base { events, gaps, now } => {
                words[2] = events;
                words[4] = gaps;
                words[6] = now;
                BASE
            }
        };
        words[0] |= payload.len() as u64 | u64::from(tag) << 32;
        let (head, rest) = to.split_first_chunk_mut::<ENTRY>()?;
        head.copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
        rest.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(size)
    }

    /// The entry at the beginning of `bytes`, and its size. `None` if there is none, or not all of it.
    pub fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let head = bytes.first_chunk::<ENTRY>()?;
        let mut words = [0u64; WORDS];
        for (word, place) in words.iter_mut().zip(head.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*place);
        }
        let length = words[0] as u32 as usize;
        let [.., tag, kind, source, _] = words[0].to_le_bytes();
        let (process, tid, now) = (words[2], (words[3] >> 32) as u32, words[6]);
        let payload = bytes.get(ENTRY..)?.get(..length)?;
        let size = (ENTRY + length + 7) & !7;
        if bytes.len() < size {
            return None;
        }
        let entry = match tag {
            EVENT | KNOWN => {
                let event = Event {
                    kind: EventKind::from_u8(kind)?,
                    source: Source::from_u8(source)?,
                    flags: words[1] as u16,
                    process,
                    pid: words[3] as u32,
                    tid,
                    context: words[4],
                    sequence: words[5],
                    time: words[6],
                    connection: words[7],
                    fd: (words[1] >> 32) as u32 as i32,
                    result: words[8] as i64,
                    payload,
                };
                if tag == EVENT { Self::Event(event) } else { Self::Known(event) }
            }
            UNFINISHED => Self::Unfinished(payload),
            NOT_COVERED => Self::NotCovered(payload),
            BASE => Self::Base { events: process, gaps: words[4], now },
            PARKED => Self::Parked { process, tid, now },
            ENDED => Self::Ended { process, now },
            TICK => Self::Tick { now },
            _ => return None,
        };
        Some((entry, size))
    }
}

/// How much of the recording is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Sessions that are written, or given up: of those of the agent's predecessors too.
    pub sessions: u64,
    /// Of those, how many were given up.
    pub unwritten: u64,
    /// The file that is written to, by its number ([`crate::record`]).
    pub file: u64,
    /// Its length, all of it whole sessions.
    pub length: u64,
}

#[derive(Default)]
#[repr(C)]
struct Slot {
    sessions: AtomicU64,
    unwritten: AtomicU64,
    file: AtomicU64,
    length: AtomicU64,
}

#[derive(Default)]
#[repr(C)]
struct Base {
    /// The place where the journal begins whose base it is, plus one; 0 if there is none.
    of: AtomicU64,
    size: AtomicU64,
}

/// The page before the journal. Zeros are its beginning.
#[repr(C)]
struct Head {
    /// The place behind the last entry: its rest by [`CAPACITY`] is where that is in the memory.
    tail: AtomicU64,
    /// Not 0: from this place (less one) on, entries are missing, because there was no room.
    torn: AtomicU64,
    /// Not 0: the work is done.
    finished: AtomicU64,
    /// Which of the slots holds.
    current: AtomicU64,
    /// The process id of who goes on when the agent is dead.
    heir: AtomicU64,
    /// The base of the journal that is written to, and of the one before or behind it.
    bases: [Base; 2],
    slots: [Slot; 2],
}

const _: () = assert!(size_of::<Head>() <= HEAD);

/// The journal's memory; copies lead to the same.
#[derive(Clone, Copy, Debug)]
pub struct Journal {
    base: *mut u8,
    /// The oldest place that is still needed: where the memory begins.
    floor: u64,
    /// What `torn` was when all before `floor` was given up.
    forgiven: u64,
}

// SAFETY: the memory is mapped for the life of the process; its head is atomic, and the rest is written only by the one
// that has the `Journal` mutably, in the one process that is the agent.
unsafe impl Send for Journal {}

/// The place in the journal that says how much is on disk.
#[derive(Clone, Copy, Debug)]
pub struct Commits(*mut u8);

// SAFETY: as for `Journal`; only the head is reached by it.
unsafe impl Send for Commits {}
// SAFETY: as above.
unsafe impl Sync for Commits {}

impl Commits {
    fn head(&self) -> &Head {
        // SAFETY: the page is mapped for the life of the process, aligned, and zeros are a valid `Head`.
        unsafe { &*self.0.cast::<Head>() }
    }

    /// Says how much is on disk. A death in the middle of it leaves what was said before.
    pub fn store(&self, commit: Commit) {
        let head = self.head();
        let next = 1 - (head.current.load(Ordering::Relaxed) & 1);
        if let Some(slot) = head.slots.get(next as usize) {
            slot.sessions.store(commit.sessions, Ordering::Relaxed);
            slot.unwritten.store(commit.unwritten, Ordering::Relaxed);
            slot.file.store(commit.file, Ordering::Relaxed);
            slot.length.store(commit.length, Ordering::Relaxed);
        }
        head.current.store(next, Ordering::Release);
    }

    /// How much is on disk.
    pub fn load(&self) -> Commit {
        let head = self.head();
        let current = (head.current.load(Ordering::Acquire) & 1) as usize;
        head.slots.get(current).map_or_else(Commit::default, |slot| Commit {
            sessions: slot.sessions.load(Ordering::Relaxed),
            unwritten: slot.unwritten.load(Ordering::Relaxed),
            file: slot.file.load(Ordering::Relaxed),
            length: slot.length.load(Ordering::Relaxed),
        })
    }

    /// Says that the work is done: whoever stands by is not needed.
    pub fn finish(&self) {
        self.head().finished.store(1, Ordering::Release);
    }

    /// Whether the work is done.
    pub fn is_finished(&self) -> bool {
        self.head().finished.load(Ordering::Acquire) != 0
    }
}

impl Journal {
    /// An empty journal.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("koala-journal", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, MEMORY as u64)?;
        Self::map(fd)
    }

    /// The journal of an agent that is dead, and whose standby is: `fd` leads to its memory.
    ///
    /// # Errors
    ///
    /// What the kernel says, and `InvalidInput` if it is no journal.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        if rustix::fs::fstat(&fd)?.st_size != MEMORY as i64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut journal = Self::map(fd)?;
        let head = journal.head();
        let (tail, torn) = (head.tail.load(Ordering::Acquire), head.torn.load(Ordering::Acquire));
        // No generation fills the memory to its last byte.
        let floor = tail - tail % CAPACITY as u64;
        journal.floor = floor;
        journal.forgiven = if torn > floor { 0 } else { torn };
        Ok(journal)
    }

    fn map(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                MEMORY,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )?
        };
        // It stays open as long as the agent lives: by it, who started the agent keeps the memory beyond that.
        std::mem::forget(fd);
        Ok(Self { base: base.cast(), floor: 0, forgiven: 0 })
    }

    fn head(&self) -> &Head {
        // SAFETY: as in `Commits::head`.
        unsafe { &*self.base.cast::<Head>() }
    }

    /// Where it says how much is on disk.
    pub fn commits(&self) -> Commits {
        Commits(self.base)
    }

    /// Bytes that a standby would have to go through.
    pub fn used(&self) -> u64 {
        self.head().tail.load(Ordering::Relaxed).saturating_sub(self.floor)
    }

    /// Whether entries are missing that the standby needs.
    pub fn is_torn(&self) -> bool {
        self.head().torn.load(Ordering::Relaxed) != self.forgiven
    }

    /// Adds an entry; if there is no room, notes that it is missing.
    pub fn append(&mut self, entry: &Entry<'_>) {
        if self.is_torn() {
            return;
        }
        let tail = self.head().tail.load(Ordering::Relaxed);
        let size = entry.size();
        if tail.saturating_sub(self.floor) as usize + size >= CAPACITY {
            self.head().torn.store(tail + 1, Ordering::Release);
            return;
        }
        // SAFETY: `floor` is where the memory begins, so that there is room for `size` bytes (just checked); nobody reads
        // them before `tail` says so.
        let place = unsafe {
            let at = self.base.add(HEAD + (tail % CAPACITY as u64) as usize);
            std::slice::from_raw_parts_mut(at, size)
        };
        if entry.encode(place).is_some() {
            self.head().tail.store(tail + size as u64, Ordering::Release);
        }
    }

    /// The same journal for one who knows all that is in it: who goes on from here needs only what comes behind.
    #[must_use]
    pub fn cut(&self) -> Self {
        let head = self.head();
        // It begins where the memory does, which the processor still has in its cache; and never where this one does.
        let floor = (head.tail.load(Ordering::Relaxed) + 1).next_multiple_of(CAPACITY as u64);
        Self { base: self.base, floor, forgiven: head.torn.load(Ordering::Relaxed) }
    }

    /// Begins to write what comes behind the cut: nobody needs what came before.
    pub fn begin(&mut self) {
        self.head().tail.fetch_max(self.floor, Ordering::Release);
    }

    /// Writes the base of this journal, which was cut and is not yet written to: what is known, for one who has no copy of
    /// this process. That of the journal that is written to stays. `write` gets where entries are put, which says whether
    /// they have room, and returns whether it has put all of them.
    pub fn write_base(&mut self, write: impl FnOnce(&mut dyn FnMut(&Entry<'_>) -> bool) -> bool) {
        let Some(base) = self.head().bases.get(self.base_slot()) else { return };
        base.of.store(0, Ordering::Release);
        // SAFETY: this part of the memory is for the base of this journal, which nobody reads until it is said to be.
        let room = unsafe { std::slice::from_raw_parts_mut(self.base.add(self.base_at()), BASE_MAX) };
        let mut size = 0;
        let whole = write(&mut |entry| {
            let written = room.get_mut(size..).and_then(|rest| entry.encode(rest));
            size += written.unwrap_or(0);
            written.is_some()
        });
        if whole {
            base.size.store(size as u64, Ordering::Relaxed);
            base.of.store(self.floor + 1, Ordering::Release);
        }
    }

    /// Hands every entry of the base to `visit`. False if there is none, or not all of it.
    pub fn read_base(&self, mut visit: impl FnMut(&Entry<'_>)) -> bool {
        let Some(base) = self.head().bases.get(self.base_slot()) else { return false };
        let size = base.size.load(Ordering::Relaxed) as usize;
        if base.of.load(Ordering::Acquire) != self.floor + 1 || size > BASE_MAX {
            return false;
        }
        // SAFETY: these bytes are in the memory, and nobody writes to them any more.
        let mut bytes = unsafe { std::slice::from_raw_parts(self.base.add(self.base_at()), size) };
        while !bytes.is_empty() {
            let Some((entry, size)) = Entry::decode(bytes) else { return false };
            visit(&entry);
            bytes = bytes.get(size..).unwrap_or_default();
        }
        true
    }

    /// Which of the two bases is that of this journal: journals that follow each other have one each.
    fn base_slot(&self) -> usize {
        (self.floor / CAPACITY as u64 % 2) as usize
    }

    fn base_at(&self) -> usize {
        HEAD + CAPACITY + self.base_slot() * BASE_MAX
    }

    /// Says who goes on when the agent is dead, by its process id.
    pub fn set_heir(&self, pid: u32) {
        self.head().heir.store(u64::from(pid), Ordering::Release);
    }

    /// Who goes on when the agent is dead, by its process id; 0 if nobody was named.
    pub fn heir(&self) -> u32 {
        self.head().heir.load(Ordering::Acquire) as u32
    }

    /// Whether all that was written since this journal was cut is still there.
    pub fn is_current(&self) -> bool {
        self.used() < CAPACITY as u64
    }

    /// Hands every entry since the last cut to `visit`. False if there were others behind them that had no room.
    pub fn read(&self, mut visit: impl FnMut(&Entry<'_>)) -> bool {
        let tail = self.head().tail.load(Ordering::Acquire);
        let mut at = self.floor;
        while at < tail {
            let place = (at % CAPACITY as u64) as usize;
            let left = ((tail - at) as usize).min(CAPACITY - place);
            // SAFETY: these bytes are in the memory, and nobody writes to them any more.
            let bytes = unsafe {
                let from = self.base.add(HEAD + place);
                std::slice::from_raw_parts(from, left)
            };
            let Some((entry, size)) = Entry::decode(bytes) else { return false };
            visit(&entry);
            at += size as u64;
        }
        !self.is_torn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(payload: &[u8], fd: i32, flags: u16) -> Event<'_> {
        Event {
            kind: EventKind::Send,
            source: Source::Tls,
            flags,
            process: 1 << 40,
            pid: 7,
            tid: u32::MAX,
            context: 9,
            sequence: 11,
            time: u64::MAX,
            connection: 13,
            fd,
            result: -5,
            payload,
        }
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_written_and_torn_ones_are_none(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            fd in any::<i32>(), flags in any::<u16>(), number in any::<u64>(), tid in any::<u32>(),
        ) {
            for entry in [
                Entry::Event(event(&payload, fd, flags)),
                Entry::Parked { process: number, tid, now: 3 },
                Entry::Ended { process: number, now: 4 },
                Entry::Tick { now: number },
                Entry::Known(event(&payload, fd, flags)),
                Entry::Unfinished(&payload),
                Entry::NotCovered(&payload),
                Entry::Base { events: number, gaps: 5, now: 6 },
            ] {
                let mut bytes = vec![0xa5; entry.size() + 16];
                let size = entry.encode(&mut bytes).unwrap();
                prop_assert_eq!(size, entry.size());
                prop_assert_eq!(Entry::decode(&bytes), Some((entry, size)));
                for end in 0..size {
                    prop_assert_eq!(Entry::decode(&bytes[..end]), None);
                    prop_assert!(entry.encode(&mut vec![0; end]).is_none());
                }
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some((entry, size)) = Entry::decode(&bytes) {
                prop_assert!(size <= bytes.len() && size == entry.size());
            }
        }
    }

    #[test]
    fn begins_anew_and_keeps_what_was_not_cut() {
        let mut journal = Journal::new().unwrap();
        let payload = vec![0x5a; 100_000];
        let mut written = 0;
        for round in 0..2000u64 {
            if round % 100 == 0 {
                journal = journal.cut();
                journal.begin();
                written = 0;
            }
            journal.append(&Entry::Event(Event { sequence: round, ..event(&payload, 1, 0) }));
            written += 1;
        }
        let mut sequences = Vec::new();
        let whole = journal.read(|entry| {
            if let Entry::Event(event) = entry {
                assert_eq!(event.payload, payload);
                sequences.push(event.sequence);
            }
        });
        assert!(whole);
        assert_eq!(sequences, (2000 - written..2000).collect::<Vec<_>>());
    }

    #[test]
    fn what_had_no_room_is_known_to_be_missing() {
        let mut journal = Journal::new().unwrap();
        let payload = vec![1; 1 << 20];
        for _ in 0..40 {
            journal.append(&Entry::Event(event(&payload, 1, 0)));
        }
        let mut count = 0;
        assert!(!journal.read(|_| count += 1));
        assert!((20..40).contains(&count));
        let mut journal = journal.cut();
        journal.begin();
        journal.append(&Entry::Tick { now: 1 });
        assert!(journal.read(|entry| assert_eq!(*entry, Entry::Tick { now: 1 })));
    }

    /// What a journal has in its base and behind it, as times.
    fn times(journal: &Journal) -> (bool, Vec<u64>) {
        let mut times = Vec::new();
        let mut note = |entry: &Entry<'_>| match *entry {
            Entry::Tick { now } | Entry::Base { now, .. } => times.push(now),
            _ => {}
        };
        let based = journal.read_base(&mut note);
        journal.read(&mut note);
        (based, times)
    }

    #[test]
    fn a_base_is_that_of_the_journal_that_is_written_to() {
        // As one who has nothing but a descriptor.
        let fd = rustix::fs::memfd_create("koala-journal", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, MEMORY as u64).unwrap();
        let seen = || times(&Journal::adopt(fd.try_clone().unwrap()).unwrap());
        let mut journal = Journal::map(fd.try_clone().unwrap()).unwrap();
        assert_eq!(seen(), (false, vec![]));
        for round in (0..50).step_by(10) {
            let mut next = journal.cut();
            next.write_base(|put| put(&Entry::Base { events: 0, gaps: 0, now: round }));
            let before = round.checked_sub(10).map(|earlier| vec![earlier, earlier + 1]);
            assert_eq!(seen(), (before.is_some(), before.unwrap_or_default()), "not yet");
            next.begin();
            journal = next;
            assert_eq!(seen(), (true, vec![round]));
            journal.append(&Entry::Tick { now: round + 1 });
            assert_eq!(seen(), (true, vec![round, round + 1]));
        }
        let mut next = journal.cut();
        let large = vec![0; BASE_MAX];
        next.write_base(|put| put(&Entry::Unfinished(&large)));
        next.begin();
        assert_eq!(seen(), (false, vec![]), "it had no room");
        assert!(Journal::adopt(rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC).unwrap()).is_err());
    }

    #[test]
    fn a_commit_is_what_was_said_last() {
        let commits = Journal::new().unwrap().commits();
        assert_eq!(commits.load(), Commit::default());
        for number in 1..5 {
            let commit = Commit { sessions: number, unwritten: 2, file: 3, length: number * 10 };
            commits.store(commit);
            assert_eq!(commits.load(), commit);
        }
        assert!(!commits.is_finished());
        commits.finish();
        assert!(commits.is_finished());
    }
}
