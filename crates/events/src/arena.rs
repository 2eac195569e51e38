//! The shared region: its layout, and who owns which chunk of it.

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::passed::{PASSED_SIZE, PassedTable};
use crate::replay::{REPLAY_SIZE, ReplayTable};

/// `KOALALOG`, little-endian.
const MAGIC: u64 = u64::from_le_bytes(*b"KOALALOG");
/// The format that this crate reads and writes.
const VERSION: u32 = 1;
/// Bytes before the owner words.
const HEADER_SIZE: usize = 4096;
/// Bytes at the head of a chunk before its first record.
pub(crate) const CHUNK_HEADER_SIZE: usize = 64;

/// The owner of a chunk whose memory the reader is giving back: no process has this number.
#[cfg(feature = "reader")]
const RESERVED: u64 = u64::MAX;

/// What a process of the tree is to do with its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Mode {
    /// Write down what the real calls did.
    #[default]
    Record = 1,
    /// Send outbound calls to the agent, and write down what was done.
    Replay = 2,
}

/// The head of the arena. Only the agent writes what is not atomic, before anyone else maps it.
#[repr(C)]
struct Header {
    magic: u64,
    version: u32,
    mode: u32,
    size: u64,
    chunk_size: u32,
    chunk_count: u32,
    /// Not 0: the agent is gone or finishing; writers append no more.
    closed: AtomicU32,
    /// One more than the highest chunk that was ever claimed.
    high_water: AtomicU32,
    next_process: AtomicU64,
    next_connection: AtomicU64,
    lost_events: AtomicU64,
    lost_bytes: AtomicU64,
    /// Chunks in use, about: writers count up, and the reader takes off what it freed, and sets right what is wrong
    /// because a writer was killed between claiming and counting.
    used: AtomicU32,
    /// Not 0: who finds no room waits for it.
    blocks: AtomicU32,
    /// Of 2^32 sessions, how many the sample leaves out.
    left_out: AtomicU32,
    /// So many of the last chunks are not to be used.
    withheld: AtomicU32,
    /// Sessions that were decided on.
    decided: AtomicU64,
    not_admitted: AtomicU64,
    not_sampled: AtomicU64,
}

/// The head of a chunk; written by the thread that owns it.
#[repr(C)]
pub(crate) struct ChunkHeader {
    pub(crate) process: AtomicU64,
    pub(crate) pid: AtomicU32,
    /// The thread that owns the chunk now; a chunk is handed on when a thread ends.
    pub(crate) tid: AtomicU32,
    /// 1: no record will be added.
    pub(crate) sealed: AtomicU32,
    /// The offset behind its last record at which the thread last had nothing left to do.
    pub(crate) parked: AtomicU32,
    /// Where the next record goes; kept up to date only while no thread owns the chunk.
    pub(crate) cursor: AtomicU32,
}

/// How large an arena is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaConfig {
    /// What the processes of the tree are to do.
    pub mode: Mode,
    /// Bytes of a chunk: a multiple of 4096.
    pub chunk_size: u32,
}

impl Default for ArenaConfig {
    fn default() -> Self {
        // Small enough that the chunks in use stay in a processor's cache, large enough for two records of 16 KiB, which is
        // what many programs send and receive at once.
        Self { mode: Mode::Record, chunk_size: 36 * 1024 }
    }
}

/// Why a region is no arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaError {
    /// It is too small to hold a chunk, or not aligned to eight bytes.
    Region,
    /// It does not begin as an arena does.
    Magic,
    /// It is of another format version.
    Version,
    /// Its sizes contradict each other.
    Layout,
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Region => "the region is too small or misaligned for an event log",
            Self::Magic => "the region holds no event log",
            Self::Version => "the event log is of another format version",
            Self::Layout => "the sizes in the event log's header contradict each other",
        })
    }
}

impl core::error::Error for ArenaError {}

/// What the log could not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lost {
    /// Events.
    pub events: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
}

/// What is to happen when the log runs short of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Sessions that begin then are given up.
    #[default]
    Drop,
    /// The program waits.
    Block,
}

/// Sessions that were given up at their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GivenUp {
    /// Because the log was short of room.
    pub not_admitted: u64,
    /// Because the sample leaves them out.
    pub not_sampled: u64,
}

/// An event log in memory that several processes share.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    base: *mut u8,
    chunk_size: u32,
    chunk_count: u32,
}

// SAFETY: an `Arena` is a pointer to memory that stays mapped for the life of the process (the contract of
// `format` and `open`), and everything in it that changes is accessed by atomics, or belongs to the one
// thread that owns its chunk.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// Whether chunks can have this size: whole pages.
const fn is_chunk_size(size: u32) -> bool {
    size > 0 && size.is_multiple_of(4096)
}

/// Where the chunks begin.
const fn chunks_offset(chunk_count: u32) -> usize {
    let owners = chunk_count as usize * 8;
    (HEADER_SIZE + owners + REPLAY_SIZE + PASSED_SIZE + 4095) & !4095
}

impl Arena {
    /// Makes an empty arena of a region of zeros.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Region`] if there is no room for one chunk, or the chunk size is not allowed.
    ///
    /// # Safety
    ///
    /// `base` must point to `size` bytes of zeros, aligned to 8, readable and writable, which stay mapped as
    /// long as the arena or a copy of it is in use, and which no other code accesses but by this crate.
    pub unsafe fn format(base: *mut u8, size: usize, config: ArenaConfig) -> Result<Self, ArenaError> {
        let chunk = config.chunk_size as usize;
        if base.is_null() || !(base as usize).is_multiple_of(8) || !is_chunk_size(config.chunk_size) {
            return Err(ArenaError::Region);
        }
        let mut count = (size / chunk).min(1 << 20) as u32;
        while count > 0 && chunks_offset(count) + count as usize * chunk > size {
            count -= 1;
        }
        if count == 0 {
            return Err(ArenaError::Region);
        }
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            mode: config.mode as u32,
            size: size as u64,
            chunk_size: config.chunk_size,
            chunk_count: count,
            closed: AtomicU32::new(0),
            high_water: AtomicU32::new(0),
            next_process: AtomicU64::new(1),
            next_connection: AtomicU64::new(1),
            lost_events: AtomicU64::new(0),
            lost_bytes: AtomicU64::new(0),
            used: AtomicU32::new(0),
            blocks: AtomicU32::new(0),
            left_out: AtomicU32::new(0),
            withheld: AtomicU32::new(0),
            decided: AtomicU64::new(0),
            not_admitted: AtomicU64::new(0),
            not_sampled: AtomicU64::new(0),
        };
        // SAFETY: the region is larger than a header, aligned, and ours alone (the caller's promise).
        unsafe { ptr::write(base.cast::<Header>(), header) };
        Ok(Self { base, chunk_size: config.chunk_size, chunk_count: count })
    }

    /// Takes a region as the arena that another process made of it.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if it is none, or of another version.
    ///
    /// # Safety
    ///
    /// As for [`Arena::format`], but for the zeros: the region must have been formatted, or hold bytes that
    /// nobody changes while they are being checked.
    pub unsafe fn open(base: *mut u8, size: usize) -> Result<Self, ArenaError> {
        if base.is_null() || !(base as usize).is_multiple_of(8) || size < HEADER_SIZE {
            return Err(ArenaError::Region);
        }
        // SAFETY: the region holds at least a header's bytes, and any bytes are a valid `Header`.
        let header = unsafe { &*base.cast::<Header>() };
        if header.magic != MAGIC {
            return Err(ArenaError::Magic);
        }
        if header.version != VERSION {
            return Err(ArenaError::Version);
        }
        let (chunk_size, chunk_count) = (header.chunk_size, header.chunk_count);
        let layout_holds = header.size == size as u64
            && is_chunk_size(chunk_size)
            && chunk_count > 0
            && chunk_count <= 1 << 20
            && chunks_offset(chunk_count) as u64 + u64::from(chunk_count) * u64::from(chunk_size)
                <= size as u64
            && (header.mode == Mode::Record as u32 || header.mode == Mode::Replay as u32);
        if !layout_holds {
            return Err(ArenaError::Layout);
        }
        Ok(Self { base, chunk_size, chunk_count })
    }

    fn header(&self) -> &Header {
        // SAFETY: `format` or `open` checked that a header is there; what changes in it is atomic.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// What the processes of the tree are to do.
    pub fn mode(&self) -> Mode {
        if self.header().mode == Mode::Replay as u32 { Mode::Replay } else { Mode::Record }
    }

    /// Bytes of a chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Tells the writers to append no more: nobody reads any longer.
    pub fn close(&self) {
        self.header().closed.store(1, Ordering::Release);
    }

    /// Whether [`Arena::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.header().closed.load(Ordering::Relaxed) != 0
    }

    /// A number for a process, never given twice.
    pub fn next_process(&self) -> u64 {
        self.header().next_process.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for a connection, never given twice.
    pub fn next_connection(&self) -> u64 {
        self.header().next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts an event that could not be written, and the bytes of its payload.
    pub fn lose(&self, bytes: u64) {
        self.header().lost_events.fetch_add(1, Ordering::Relaxed);
        self.header().lost_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// More bytes were lost of an event that is counted already.
    pub fn lose_more(&self, bytes: u64) {
        self.header().lost_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was lost since the arena was made.
    pub fn lost(&self) -> Lost {
        Lost {
            events: self.header().lost_events.load(Ordering::Relaxed),
            bytes: self.header().lost_bytes.load(Ordering::Relaxed),
        }
    }

    /// Says which sessions are admitted: of all, the share `sample` (0 to 1), as long as there is room.
    pub fn set_admission(&self, overflow: Overflow, sample: f64) {
        let left_out = (1.0 - sample.clamp(0.0, 1.0)) * f64::from(u32::MAX);
        self.header().left_out.store(left_out as u32, Ordering::Relaxed);
        self.header().blocks.store(u32::from(overflow == Overflow::Block), Ordering::Relaxed);
    }

    /// Whether who finds no room is to wait for it.
    pub fn blocks(&self) -> bool {
        self.header().blocks.load(Ordering::Relaxed) != 0
    }

    /// Lets the log take no more than so many bytes of memory, rounded up to a chunk. What was allowed once is not
    /// extended.
    pub fn limit(&self, bytes: usize) {
        let allowed = bytes.div_ceil(self.chunk_size as usize).clamp(1, self.chunk_count as usize);
        self.header().withheld.fetch_max(self.chunk_count - allowed as u32, Ordering::Relaxed);
    }

    /// How many chunks may be used.
    fn allowed(&self) -> u32 {
        self.chunk_count.saturating_sub(self.header().withheld.load(Ordering::Relaxed))
    }

    /// Whether the log is so short of room that what is left is for the sessions that have begun.
    pub fn is_short(&self) -> bool {
        u64::from(self.header().used.load(Ordering::Relaxed)) * 4 > u64::from(self.allowed()) * 3
    }

    /// Decides whether a session that begins is admitted, and counts it if it is not.
    pub fn admit(&self) -> bool {
        let header = self.header();
        let left_out = header.left_out.load(Ordering::Relaxed);
        if left_out != 0 {
            // Multiples of the golden ratio: any run of sessions, however short, has about its share of the sample.
            let number = header.decided.fetch_add(1, Ordering::Relaxed);
            let place = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
            if place < left_out || left_out == u32::MAX {
                header.not_sampled.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
        if self.is_short() && !self.blocks() {
            header.not_admitted.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// The sessions that were not admitted since the arena was made.
    pub fn given_up(&self) -> GivenUp {
        GivenUp {
            not_admitted: self.header().not_admitted.load(Ordering::Relaxed),
            not_sampled: self.header().not_sampled.load(Ordering::Relaxed),
        }
    }

    /// What the library knows of a replay.
    pub fn replay_table(&self) -> &ReplayTable {
        // SAFETY: the layout reserves `REPLAY_SIZE` bytes there, and a table of zeros is a valid, empty one.
        unsafe { &*self.base.add(HEADER_SIZE + self.chunk_count as usize * 8).cast::<ReplayTable>() }
    }

    /// Sockets that processes of the program have passed on.
    pub fn passed_table(&self) -> &PassedTable {
        let offset = HEADER_SIZE + self.chunk_count as usize * 8 + REPLAY_SIZE;
        // SAFETY: the layout reserves `PASSED_SIZE` bytes there, and a table of zeros is a valid, empty one.
        unsafe { &*self.base.add(offset).cast::<PassedTable>() }
    }

    /// The word that tells which process a chunk belongs to; 0 if to none. `index` is below `chunk_count`.
    pub(crate) fn owner(&self, index: u32) -> &AtomicU64 {
        debug_assert!(index < self.chunk_count);
        // SAFETY: the layout has a word for each chunk behind the header.
        unsafe { &*self.base.add(HEADER_SIZE + index as usize * 8).cast::<AtomicU64>() }
    }

    /// The first byte of a chunk. `index` is below `chunk_count`.
    pub(crate) fn chunk(&self, index: u32) -> *mut u8 {
        debug_assert!(index < self.chunk_count);
        // SAFETY: `format` and `open` checked that all chunks lie in the region.
        unsafe { self.base.add(chunks_offset(self.chunk_count) + index as usize * self.chunk_size as usize) }
    }

    /// The head of a chunk. `index` is below `chunk_count`.
    pub(crate) fn chunk_header(&self, index: u32) -> &ChunkHeader {
        // SAFETY: a chunk begins with its header, all of which is atomic.
        unsafe { &*self.chunk(index).cast::<ChunkHeader>() }
    }

    /// Claims a free chunk for a process, the lowest one, so that few pages are ever touched.
    pub(crate) fn claim_chunk(&self, process: u64) -> Option<u32> {
        let mut index = 0;
        let allowed = self.allowed();
        while index < allowed {
            let owner = self.owner(index);
            if owner.load(Ordering::Relaxed) == 0
                && owner.compare_exchange(0, process, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.header().high_water.fetch_max(index + 1, Ordering::Release);
                self.header().used.fetch_add(1, Ordering::Release);
                return Some(index);
            }
            index += 1;
        }
        None
    }

    /// Takes a chunk that is nobody's out of the writers' reach, until [`Arena::release_chunk`]; `false` if it is
    /// somebody's.
    #[cfg(feature = "reader")]
    pub(crate) fn reserve_chunk(&self, index: u32) -> bool {
        self.owner(index).compare_exchange(0, RESERVED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// How many chunks are counted as in use.
    #[cfg(feature = "reader")]
    pub(crate) fn used(&self) -> u32 {
        self.header().used.load(Ordering::Acquire)
    }

    /// The reader: when so many chunks were `counted` as in use, it found that so many are. What writers have claimed
    /// since stays counted, however long ago that is.
    #[cfg(feature = "reader")]
    pub(crate) fn correct_used(&self, counted: u32, found: u32) {
        self.header().used.fetch_add(found.wrapping_sub(counted), Ordering::Relaxed);
    }

    /// One more than the highest chunk that was ever claimed.
    #[cfg(feature = "reader")]
    pub(crate) fn high_water(&self) -> u32 {
        self.header().high_water.load(Ordering::Acquire).min(self.chunk_count)
    }

    /// Returns a chunk: nobody writes to it, and nobody reads it any longer. `zeroed`: it holds zeros already.
    ///
    /// # Safety
    ///
    /// No thread of any process may still hold a pointer into the chunk.
    #[cfg(feature = "reader")]
    pub(crate) unsafe fn release_chunk(&self, index: u32, zeroed: bool) {
        if !zeroed {
            // SAFETY: the whole chunk lies in the region, and is ours until the owner word is cleared below.
            unsafe { ptr::write_bytes(self.chunk(index), 0, self.chunk_size as usize) };
        }
        self.owner(index).store(0, Ordering::Release);
    }
}
