//! Following the log: what the agent does.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use crate::arena::{Arena, CHUNK_HEADER_SIZE};
use crate::event::{Event, EventKind, Source, flags};
use crate::record::{
    CLAIMED, COMMITTED, INTENT, RECORD_HEADER_SIZE, RecordHeader, VOID, length, record_size, state,
};

/// How long, in nanoseconds, events wait for one that was given a lower sequence number by another thread
/// and is not in the log yet.
const PATIENCE: u64 = 100_000_000;

/// How long, in nanoseconds, what other processes did waits for a call that began earlier and is under way: the answer
/// to a question may be seen before the call that asked has come back. One that takes longer waits for its peer.
const UNDER_WAY: u64 = 20_000_000;

/// How long, in nanoseconds, a record that is not finished is waited for when its thread has gone on: either a
/// signal handler appended in the middle of it, or jumped out of it, and it never will be.
const GIVE_UP: u64 = 2_000_000_000;

/// How long, in nanoseconds, a chunk beyond those that are kept is nobody's before its memory is given back: under a
/// load that goes on, it is claimed again before that, and finds its memory there.
const GIVE_BACK: u64 = 1_000_000_000;

/// A process that has a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number in the tree.
    pub process: u64,
    /// Its process id, as it sees itself.
    pub pid: u32,
}

/// What [`Reader::poll`] tells.
#[derive(Debug)]
pub enum Notice<'e, 'a> {
    /// An event.
    Event(&'e Event<'a>),
    /// A thread has nothing left to do until something arrives, and has done nothing since its last event.
    Parked {
        /// The process, by its number in the tree.
        process: u64,
        /// The thread.
        tid: u32,
    },
}

/// What one [`Reader::poll`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Poll {
    /// Events delivered.
    pub events: usize,
    /// Events seen and held back: their call is under way, or an earlier one is still missing.
    pub held: usize,
}

/// A record that was seen and not yet delivered.
#[derive(Clone, Copy, Debug)]
struct Staged {
    sequence: u64,
    chunk: u32,
    offset: u32,
    /// When it was first seen with its call still under way; `None` if the call is over.
    under_way: Option<u64>,
}

/// A record whose turn has come.
#[derive(Clone, Copy, Debug)]
struct Ready {
    /// When it happened; not before what precedes it in its process.
    time: u64,
    process: u64,
    pid: u32,
    entry: Staged,
    unconfirmed: bool,
}

#[derive(Debug, Default)]
struct Process {
    pid: u32,
    /// The sequence number that comes next.
    next: u64,
    /// Seen and not delivered, by sequence number.
    staged: Vec<Staged>,
    /// Kept for its memory.
    places: Vec<Option<Staged>>,
    /// Since when `next` has been missing while later ones were there; 0 if it is not.
    missing_since: u64,
    /// Since when the oldest event that is left is younger than the horizon; 0 if it is not.
    young_since: u64,
    /// It is dead: nothing that is not committed will be.
    ended: bool,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    /// Whose it is; 0 if free.
    process: u64,
    /// Where the next unseen record begins.
    cursor: u32,
    /// Records that were seen claimed and not complete: their offsets, and when that was.
    claimed: Vec<(u32, u64)>,
    /// Records seen and not delivered.
    staged: u32,
    /// The thread of the last record seen; 0 before the first.
    tid: u32,
    /// The offset for which parking was told.
    parked: u32,
    /// When it was returned with its memory; 0 if it is in use, or has given its memory back.
    returned: u64,
}

/// Gives the memory of a chunk back to the kernel; see [`Reader::reclaim_with`].
struct Reclaim {
    kept: u32,
    /// When it was last looked for chunks to give back.
    looked: u64,
    give_back: Box<dyn FnMut(*mut u8, usize) -> bool + Send>,
}

/// The end of the log at which the agent reads. There is at most one for an arena.
pub struct Reader {
    arena: Arena,
    chunks: Vec<Chunk>,
    processes: BTreeMap<u64, Process>,
    /// Events that can never be delivered: their append was not finished.
    unfinished: u64,
    busy: Vec<u64>,
    ready: Vec<Ready>,
    reclaim: Option<Reclaim>,
    /// See [`Reader::look_no_further_than`].
    horizon: u64,
    /// Delivered by an earlier reader that did not come to mark them: process and sequence number.
    known: BTreeSet<(u64, u64)>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("arena", &self.arena).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that begins with the oldest record that the arena still holds.
    pub fn new(arena: Arena) -> Self {
        Self {
            arena,
            chunks: Vec::new(),
            processes: BTreeMap::new(),
            unfinished: 0,
            busy: Vec::new(),
            ready: Vec::new(),
            reclaim: None,
            horizon: u64::MAX,
            known: BTreeSet::new(),
        }
    }

    /// A reader that goes on where another one, which is dead, has ended. That one has marked what it delivered, but
    /// for what it was at: `known` are the events, by process and sequence number, of which it is known otherwise.
    pub fn resume(arena: Arena, known: BTreeSet<(u64, u64)>) -> Self {
        Self { known, ..Self::new(arena) }
    }

    /// Sets the time up to which the next polls deliver what several processes did: events with a later
    /// [`Event::time`] stay for another poll. `time` should be the time (since 1970) at which the poll begins.
    ///
    /// Chunks are looked at one after the other. Without this, what a child did could be found without what its
    /// parent had done before the fork, in a chunk that was looked at earlier. What was written before another
    /// event was is never younger than that: so nothing that is delivered lacks what led to it. Should the
    /// clock be turned back, nothing is held longer than for a missing event.
    pub fn look_no_further_than(&mut self, time: u64) {
        self.horizon = time;
    }

    /// Lets the log's memory shrink again after a burst: chunks but for the first `kept` that were nobody's for a
    /// second are given back to the kernel by `give_back`.
    ///
    /// `give_back` gets the chunk's address and size (whole pages), and returns whether every process now finds
    /// zeros there, as after `MADV_REMOVE` (madvise(2)).
    pub fn reclaim_with(
        &mut self,
        kept: u32,
        give_back: impl FnMut(*mut u8, usize) -> bool + Send + 'static,
    ) {
        self.reclaim = Some(Reclaim { kept, looked: 0, give_back: Box::new(give_back) });
    }

    /// The log.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The processes that were seen in the log and not reported as ended.
    pub fn processes(&self) -> impl Iterator<Item = ProcessInfo> {
        self.processes
            .iter()
            .filter(|(_, info)| !info.ended)
            .map(|(&process, info)| ProcessInfo { process, pid: info.pid })
    }

    /// Appends that were begun and never finished, by threads or processes that ended.
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Tells the reader that a process is dead. The next [`Reader::poll`] delivers what it committed, and as
    /// [`flags::UNCONFIRMED`] what it was about to do, and frees its chunks.
    pub fn process_ended(&mut self, process: u64) {
        // Also one of which nothing was seen yet: it is then met as a dead one, and holds nothing back.
        self.processes.entry(process).or_default().ended = true;
    }

    /// Delivers what was committed since the last call: of each process in order of sequence, of several
    /// processes by time; then the threads that park. `now` is any clock in nanoseconds that does not jump.
    pub fn poll(&mut self, now: u64, mut deliver: impl FnMut(Notice<'_, '_>)) -> Poll {
        let counted = self.arena.used();
        let ended: Vec<u64> = self.processes.iter().filter(|(_, p)| p.ended).map(|(&id, _)| id).collect();
        self.scan(now);
        let mut poll = Poll::default();
        let (mut first, mut second, mut of) = (u64::MAX, u64::MAX, 0);
        if self.processes.len() > 1 {
            first = self.horizon;
            second = self.horizon;
            for (&id, process) in &self.processes {
                let began = earliest_under_way(&self.arena, process, now);
                if began < first {
                    (second, first, of) = (first, began, id);
                } else {
                    second = second.min(began);
                }
            }
        }
        let mut several = false;
        for (&id, process) in &mut self.processes {
            several |= !self.ready.is_empty() && !process.staged.is_empty();
            let (arena, chunks) = (&self.arena, &self.chunks);
            // A process does not wait for its own calls.
            let horizon = if id == of { second } else { first };
            make_ready(arena, chunks, id, process, &mut self.busy, (now, horizon), &mut self.ready);
            poll.held += process.staged.len();
        }
        if several {
            self.ready.sort_unstable_by_key(|ready| (ready.time, ready.process, ready.entry.sequence));
        }
        for ready in self.ready.drain(..) {
            if let Some(event) = read(&self.arena, &ready) {
                deliver(Notice::Event(&event));
                poll.events += 1;
            }
            if let Some(header) = header(&self.arena, ready.entry.chunk, ready.entry.offset) {
                header.taken.store(1, Ordering::Relaxed);
            }
            if let Some(chunk) = self.chunks.get_mut(ready.entry.chunk as usize) {
                chunk.staged = chunk.staged.saturating_sub(1);
            }
        }
        self.tell_parked(&mut deliver);
        self.free(now, counted);
        self.give_back(now);
        for id in ended {
            if self.chunks.iter().all(|chunk| chunk.process != id) {
                self.processes.remove(&id);
            }
        }
        poll
    }

    /// Looks at every claimed chunk for records that were not seen before.
    fn scan(&mut self, now: u64) {
        let high_water = self.arena.high_water();
        if self.chunks.len() < high_water as usize {
            self.chunks.resize(high_water as usize, Chunk::default());
        }
        for index in 0..high_water {
            let owner = self.arena.owner(index).load(Ordering::Acquire);
            let Some(chunk) = self.chunks.get_mut(index as usize) else { continue };
            if owner == 0 {
                continue;
            }
            let header = self.arena.chunk_header(index);
            if chunk.process == 0 {
                chunk.process = owner;
                chunk.returned = 0;
                chunk.cursor = CHUNK_HEADER_SIZE as u32;
            }
            let process = self.processes.entry(chunk.process).or_default();
            if process.pid == 0 {
                process.pid = header.pid.load(Ordering::Relaxed);
            }
            scan_chunk(&self.arena, index, chunk, process, &self.known, &mut self.unfinished, now);
        }
        // They were in the log before this reader was: it has met them now.
        self.known.clear();
    }

    fn tell_parked(&mut self, deliver: &mut impl FnMut(Notice<'_, '_>)) {
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            if chunk.process == 0 || chunk.staged > 0 || !chunk.claimed.is_empty() {
                continue;
            }
            let parked = self.arena.chunk_header(index as u32).parked.load(Ordering::Acquire);
            if parked == chunk.cursor && parked != chunk.parked && chunk.tid != 0 {
                chunk.parked = parked;
                deliver(Notice::Parked { process: chunk.process, tid: chunk.tid });
            }
        }
    }

    /// Returns chunks in which nothing is left, and into which nothing more will be written. So many were `counted` as in
    /// use before the log was looked at.
    fn free(&mut self, now: u64, counted: u32) {
        let mut used = 0;
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            used += u32::from(chunk.process != 0);
            if chunk.process == 0 || chunk.staged > 0 || !chunk.claimed.is_empty() {
                continue;
            }
            let sealed = self.arena.chunk_header(index as u32).sealed.load(Ordering::Acquire) != 0;
            let ended = self.processes.get(&chunk.process).is_some_and(|process| process.ended);
            // A sealed chunk may have got its last record after the scan and before the seal.
            let drained = sealed && !more(&self.arena, index as u32, chunk.cursor);
            if drained || (ended && !more(&self.arena, index as u32, chunk.cursor)) {
                // SAFETY: every record was delivered, and none is claimed: the thread that sealed the chunk, or
                // the process that is dead, holds no pointer into it.
                unsafe { self.arena.release_chunk(index as u32, false) };
                *chunk = Chunk { returned: now.max(1), ..Chunk::default() };
                used -= 1;
            }
        }
        self.arena.correct_used(counted, used);
    }

    /// Gives back the memory of chunks that have been nobody's for long.
    fn give_back(&mut self, now: u64) {
        let Some(reclaim) = &mut self.reclaim else { return };
        if now.saturating_sub(reclaim.looked) < GIVE_BACK {
            return;
        }
        reclaim.looked = now;
        for (index, chunk) in self.chunks.iter_mut().enumerate().skip(reclaim.kept as usize) {
            let index = index as u32;
            if chunk.returned == 0 || now.saturating_sub(chunk.returned) < GIVE_BACK {
                continue;
            }
            chunk.returned = 0;
            // Whoever has claimed it since will return it.
            if self.arena.reserve_chunk(index) {
                let zeroed = (reclaim.give_back)(self.arena.chunk(index), self.arena.chunk_size() as usize);
                // SAFETY: it was nobody's, and no writer claims one that is reserved.
                unsafe { self.arena.release_chunk(index, zeroed) };
            }
        }
    }
}

/// The head of the record at `offset`, if one fits there.
fn header(arena: &Arena, index: u32, offset: u32) -> Option<&RecordHeader> {
    if !offset.is_multiple_of(8) || offset as usize + RECORD_HEADER_SIZE > arena.chunk_size() as usize {
        return None;
    }
    // SAFETY: the offset lies in the chunk and is aligned; whoever writes to the fields behind the word does
    // so before the word's release store, and the callers read them after its acquire load.
    Some(unsafe { &*arena.chunk(index).add(offset as usize).cast::<RecordHeader>() })
}

/// The head of the record at `offset`, and its word, if it is one that fits into the chunk.
#[inline]
fn record(arena: &Arena, index: u32, offset: u32) -> Option<(&RecordHeader, u32)> {
    let header = header(arena, index, offset)?;
    let word = header.word.load(Ordering::Acquire);
    let size = length(word);
    let fits = size as usize >= RECORD_HEADER_SIZE
        && size.is_multiple_of(8)
        && u64::from(offset) + u64::from(size) <= u64::from(arena.chunk_size());
    (word != 0 && fits).then_some((header, word))
}

/// Whether there is a record at `offset`.
fn more(arena: &Arena, index: u32, offset: u32) -> bool {
    record(arena, index, offset).is_some()
}

/// Looks at a chunk for records that were not seen before, and at those that were not complete.
fn scan_chunk(
    arena: &Arena,
    index: u32,
    chunk: &mut Chunk,
    process: &mut Process,
    known: &BTreeSet<(u64, u64)>,
    unfinished: &mut u64,
    now: u64,
) {
    if !chunk.claimed.is_empty() {
        let mut claimed = core::mem::take(&mut chunk.claimed);
        claimed.retain(|&(offset, since)| {
            let seen = record(arena, index, offset);
            if seen.is_none_or(|seen| stage(seen, (index, offset), chunk, process, known, now)) {
                return false;
            }
            let given_up = process.ended || gone_on(arena, index, chunk.cursor, offset, now, since);
            *unfinished += u64::from(given_up);
            !given_up
        });
        chunk.claimed = claimed;
    }
    while let Some(seen) = record(arena, index, chunk.cursor) {
        let offset = chunk.cursor;
        if !stage(seen, (index, offset), chunk, process, known, now) {
            if process.ended {
                *unfinished += 1;
            } else {
                chunk.claimed.push((offset, now));
            }
        }
        chunk.cursor = offset + length(seen.1);
    }
}

/// Whether the thread that began the record at `offset`, seen unfinished at `since`, has long gone on to others.
fn gone_on(arena: &Arena, index: u32, cursor: u32, offset: u32, now: u64, since: u64) -> bool {
    if now.saturating_sub(since) < GIVE_UP {
        return false;
    }
    let behind = record(arena, index, offset).map_or(cursor, |(_, word)| offset + length(word));
    cursor > behind || arena.chunk_header(index).sealed.load(Ordering::Acquire) != 0
}

/// Stages a record (its head, and its word) at its place if it is complete. False if it is still being written.
#[inline]
fn stage(
    (header, word): (&RecordHeader, u32),
    (index, offset): (u32, u32),
    chunk: &mut Chunk,
    process: &mut Process,
    known: &BTreeSet<(u64, u64)>,
    now: u64,
) -> bool {
    match state(word) {
        CLAIMED => return false,
        INTENT | COMMITTED | VOID => {}
        _ => return true,
    }
    let sequence = header.sequence;
    if header.taken.load(Ordering::Relaxed) != 0 || known.contains(&(chunk.process, sequence)) {
        header.taken.store(1, Ordering::Relaxed);
        chunk.tid = header.tid;
        process.next = process.next.max(sequence.saturating_add(1));
        return true;
    }
    chunk.staged += 1;
    chunk.tid = header.tid;
    process.staged.push(Staged {
        sequence,
        chunk: index,
        offset,
        under_way: (state(word) == INTENT).then_some(now),
    });
    true
}

/// When the earliest call of a living process began that is under way and that the others wait for.
fn earliest_under_way(arena: &Arena, process: &Process, now: u64) -> u64 {
    if process.ended {
        return u64::MAX;
    }
    let calls = process.staged.iter().filter_map(|entry| {
        let since = entry.under_way.filter(|since| now.saturating_sub(*since) < UNDER_WAY)?;
        let header = header(arena, entry.chunk, entry.offset)?;
        let under_way = state(header.word.load(Ordering::Acquire)) == INTENT;
        (under_way && since <= now).then_some(header.time)
    });
    calls.min().unwrap_or(u64::MAX)
}

/// Puts records in order of their sequence numbers. A process counts without leaving out any, so that nearly always each
/// number tells its record's place. `places` is kept for its memory.
fn put_in_order(staged: &mut Vec<Staged>, places: &mut Vec<Option<Staged>>) {
    if staged.is_sorted_by_key(|entry| entry.sequence) {
        return;
    }
    if place(staged, places).is_some() {
        staged.clear();
        staged.extend(places.iter().flatten());
    } else {
        // Unstable: no two have the same number, and a stable sort would allocate each time.
        staged.sort_unstable_by_key(|entry| entry.sequence);
    }
    places.clear();
}

/// Puts each record in its place. `None` if there are many more places than records, or two for one, as only a log that
/// is broken has.
fn place(staged: &[Staged], places: &mut Vec<Option<Staged>>) -> Option<()> {
    let first = staged.iter().map(|entry| entry.sequence).min()?;
    let last = staged.iter().map(|entry| entry.sequence).max()?;
    let count = usize::try_from(last - first).ok().filter(|count| count / 2 <= staged.len())?;
    places.resize(count + 1, None);
    for entry in staged {
        let place = places.get_mut((entry.sequence - first) as usize)?;
        if place.replace(*entry).is_some() {
            return None;
        }
    }
    Some(())
}

/// Moves to `ready` what of a process can be delivered, in order of sequence.
fn make_ready(
    arena: &Arena,
    chunks: &[Chunk],
    id: u64,
    process: &mut Process,
    busy: &mut Vec<u64>,
    (now, horizon): (u64, u64),
    ready: &mut Vec<Ready>,
) {
    if process.staged.is_empty() {
        return;
    }
    put_in_order(&mut process.staged, &mut process.places);
    busy.clear();
    let mut staged = core::mem::take(&mut process.staged);
    let mut waiting = false;
    let mut latest = 0;
    staged.retain_mut(|entry| {
        if waiting {
            return true;
        }
        let Some(header) = header(arena, entry.chunk, entry.offset) else { return false };
        if header.time > horizon && !process.ended {
            if process.young_since == 0 {
                process.young_since = now;
            }
            if now.saturating_sub(process.young_since) < PATIENCE {
                waiting = true;
                return true;
            }
        } else {
            process.young_since = 0;
        }
        if entry.sequence > process.next && !process.ended {
            if process.missing_since == 0 {
                process.missing_since = now;
            }
            if now.saturating_sub(process.missing_since) < PATIENCE {
                waiting = true;
                return true;
            }
        }
        if entry.sequence >= process.next {
            process.next = entry.sequence.saturating_add(1);
            process.missing_since = 0;
        }
        if entry.under_way.is_some() && state(header.word.load(Ordering::Acquire)) != INTENT {
            entry.under_way = None;
        }
        let connection = header.connection;
        // What happens on a connection waits for a call on it that is under way; what happens elsewhere does not.
        let cursor = chunks.get(entry.chunk as usize).map_or(0, |chunk| chunk.cursor);
        let unconfirmed = entry.under_way.is_some_and(|since| {
            process.ended || gone_on(arena, entry.chunk, cursor, entry.offset, now, since)
        });
        if (entry.under_way.is_some() && !unconfirmed) || (connection != 0 && busy.contains(&connection)) {
            busy.push(connection);
            return true;
        }
        latest = header.time.max(latest);
        ready.push(Ready { time: latest, process: id, pid: process.pid, entry: *entry, unconfirmed });
        false
    });
    process.staged = staged;
}

/// The event in a record; `None` if it is void, or nothing that this version knows.
fn read<'a>(arena: &'a Arena, ready: &Ready) -> Option<Event<'a>> {
    let &Ready { process, pid, entry, unconfirmed, .. } = ready;
    let header = header(arena, entry.chunk, entry.offset)?;
    let word = header.word.load(Ordering::Acquire);
    if state(word) == VOID {
        return None;
    }
    let payload_size = header.payload as usize;
    if record_size(payload_size) > length(word) as usize {
        return None;
    }
    // SAFETY: the record fits into its chunk (its word was checked when it was staged), the payload fits into
    // the record, and nobody writes to a record that is not claimed until its chunk is freed, which needs the
    // reader that the returned event borrows from.
    let payload = unsafe {
        core::slice::from_raw_parts(
            arena.chunk(entry.chunk).add(entry.offset as usize + RECORD_HEADER_SIZE),
            payload_size,
        )
    };
    Some(Event {
        kind: EventKind::from_u8(header.kind)?,
        source: Source::from_u8(header.source)?,
        flags: header.flags | if unconfirmed { flags::UNCONFIRMED } else { 0 },
        process,
        pid,
        tid: header.tid,
        context: header.context,
        sequence: header.sequence,
        time: header.time,
        connection: header.connection,
        fd: header.fd,
        result: header.result,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_are_put_in_order(
            first in prop_oneof![Just(0), Just(u64::MAX - 100), any::<u64>()],
            numbers in prop::collection::vec(0..60u64, 0..60),
            far in prop::option::of(any::<u64>()),
        ) {
            let numbers = numbers.iter().map(|number| first.saturating_add(*number)).chain(far);
            let mut staged: Vec<_> = numbers
                .map(|sequence| Staged { sequence, chunk: 0, offset: 0, under_way: None })
                .collect();
            let mut wanted: Vec<_> = staged.iter().map(|entry| entry.sequence).collect();
            wanted.sort_unstable();
            let mut places = Vec::new();
            put_in_order(&mut staged, &mut places);
            prop_assert!(places.is_empty());
            prop_assert_eq!(staged.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), wanted);
        }
    }
}
