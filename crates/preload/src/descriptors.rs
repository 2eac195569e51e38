//! What each descriptor of the process is.
//!
//! A table by descriptor number, so that the hook of a send or receive on a known socket needs one load. The
//! kernel lets threads use and close descriptors as they like, and so does the table: every entry is one word.

use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use koala_events::Address;

use crate::sys;

/// Entries of one leaf of the table.
const LEAF: usize = 1024;
/// Entries that share a line of the processor's cache. Those of neighbouring descriptors must not: different threads
/// change them, and each would take the line from the others.
const APART: usize = 8;
/// Leaves: descriptors up to 1,048,575, the kernel's default for `fs.nr_open`.
const LEAVES: usize = 1024;

/// What a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// Nothing is known: it must be asked.
    pub(crate) const UNKNOWN: Self = Self(0);
    /// Of no interest: not a socket, or one whose two ends are the program's own.
    pub(crate) const IGNORED: Self = Self(1);
    /// A socket of a kind that is neither recorded nor replayed ([`crate::operation::foreign`]).
    pub(crate) const FOREIGN: Self = Self(1 | 1 << 2);
    const SOCKET: u64 = 2;
    const FILE: u64 = 3;
    const KIND: u64 = 3;
    const INBOUND: u64 = 1 << 2;
    const DATAGRAM: u64 = 1 << 3;
    const GAP: u64 = 1 << 4;
    const SHARED: u64 = 1 << 5;
    const FAILED: u64 = 1 << 6;
    const HEARD: u64 = 1 << 7;
    const REFUSED: u64 = 1 << 8;
    const NAMED: u64 = 1 << 9;
    const PASSED: u64 = 1 << 10;
    const CONNECTION_SHIFT: u32 = 12;

    /// The entry as a number, for the next program of this process.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The entry that was this number in the program before.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A socket that is not connected.
    pub(crate) const fn socket(datagram: bool) -> Self {
        Self(Self::SOCKET | if datagram { Self::DATAGRAM } else { 0 })
    }

    /// The same socket, with a connection. `connection` is below 2^52.
    pub(crate) const fn connected(self, connection: u64, inbound: bool) -> Self {
        let kept = self.0 & (Self::KIND | Self::DATAGRAM | Self::NAMED);
        Self(kept | (connection << Self::CONNECTION_SHIFT) | if inbound { Self::INBOUND } else { 0 })
    }

    /// A file that is appended to, by the number of its opening; `readable` if it may be read as well.
    pub(crate) const fn file(number: u64, readable: bool) -> Self {
        Self(Self::FILE | (number << Self::CONNECTION_SHIFT) | if readable { Self::DATAGRAM } else { 0 })
    }

    /// Whether it is a file that is appended to.
    pub(crate) const fn is_file(self) -> bool {
        self.0 & Self::KIND == Self::FILE
    }

    /// Of a file: whether it may be read as well.
    pub(crate) const fn readable(self) -> bool {
        self.0 & Self::DATAGRAM != 0
    }

    /// Whether it is a socket that koala follows.
    pub(crate) const fn is_socket(self) -> bool {
        self.0 & Self::KIND == Self::SOCKET
    }

    /// The connection's number; 0 if it has none.
    pub(crate) const fn connection(self) -> u64 {
        self.0 >> Self::CONNECTION_SHIFT
    }

    /// Whether the connection was accepted.
    pub(crate) const fn inbound(self) -> bool {
        self.0 & Self::INBOUND != 0
    }

    /// Whether it carries datagrams.
    pub(crate) const fn datagram(self) -> bool {
        self.is_socket() && self.0 & Self::DATAGRAM != 0
    }

    /// Whether an event of this connection was lost, and the next one is to say so.
    pub(crate) const fn gap(self) -> bool {
        self.0 & Self::GAP != 0
    }

    /// Whether several descriptors of the process may have the connection.
    pub(crate) const fn shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    /// Whether the program was told that its connect has failed, or that the connection has.
    pub(crate) const fn failed(self) -> bool {
        self.0 & Self::FAILED != 0
    }

    /// The same, with the mark that it has failed.
    pub(crate) const fn fail(self) -> Self {
        Self(self.0 | Self::FAILED)
    }

    /// Whether the last bytes that crossed on the connection, which was accepted, came in.
    pub(crate) const fn heard(self) -> bool {
        self.0 & Self::HEARD != 0
    }

    /// Whether what crosses on the connection belongs to a session that was not admitted.
    pub(crate) const fn refused(self) -> bool {
        self.0 & Self::REFUSED != 0
    }

    /// The same, with the mark that several descriptors have it.
    pub(crate) const fn share(self) -> Self {
        Self(self.0 | Self::SHARED)
    }

    /// The same, as another process has it that gets it by a message, or got it from there.
    pub(crate) const fn pass(self) -> Self {
        Self((self.0 | Self::SHARED | Self::PASSED) & !(Self::NAMED | Self::GAP))
    }

    /// Whether another process may have the connection by a message.
    pub(crate) const fn passed(self) -> bool {
        self.0 & Self::PASSED != 0
    }

    /// Of a replay: whether the processes of the program know its address by this descriptor, and by no other.
    pub(crate) const fn named(self) -> bool {
        self.0 & Self::NAMED != 0
    }
}

/// Where in a leaf the entry of its `number`th descriptor is.
#[inline]
const fn place_of(number: usize) -> usize {
    number % (LEAF / APART) * APART + number / (LEAF / APART)
}

/// A table by descriptor, of memory that is mapped as descriptors come up.
struct Table<T> {
    leaves: [AtomicPtr<T>; LEAVES],
}

impl<T> Table<T> {
    const fn new() -> Self {
        Self { leaves: [const { AtomicPtr::new(ptr::null_mut()) }; LEAVES] }
    }

    /// The leaf's address, and the place in it.
    #[inline]
    fn place(&self, fd: c_int) -> Option<(&AtomicPtr<T>, usize)> {
        let fd = fd as u32 as usize;
        let leaf = self.leaves.get(fd / LEAF)?;
        Some((leaf, place_of(fd % LEAF)))
    }

    #[inline]
    fn get(&self, fd: c_int) -> Option<&T> {
        let (leaf, at) = self.place(fd)?;
        let leaf = leaf.load(Ordering::Acquire);
        // SAFETY: a leaf that is set has LEAF entries, and is never unmapped.
        if leaf.is_null() { None } else { Some(unsafe { &*leaf.add(at) }) }
    }

    /// Like `get`, and maps the leaf if it is not there. `None` if there is no memory.
    fn get_or_map(&self, fd: c_int) -> Option<&T> {
        if let Some(entry) = self.get(fd) {
            return Some(entry);
        }
        let (leaf, at) = self.place(fd)?;
        let size = LEAF * size_of::<T>();
        let new = sys::allocate(size).cast::<T>();
        if new.is_null() {
            return None;
        }
        let leaf = match leaf.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: nobody else has seen the memory that lost the race.
                unsafe { sys::free(new.cast(), size) };
                other
            }
        };
        // SAFETY: as in `get`; the mapping is zeroed, and zeros are valid entries of both tables.
        Some(unsafe { &*leaf.add(at) })
    }
}

static ENTRIES: Table<AtomicU64> = Table::new();

/// The address that the program asked for, of sockets that a replay connected elsewhere; by the log's encoding,
/// in words.
static PEERS: Table<[AtomicU64; 14]> = Table::new();

/// What `fd` is.
#[inline]
pub(crate) fn get(fd: c_int) -> Entry {
    match ENTRIES.get(fd) {
        Some(entry) => Entry(entry.load(Ordering::Relaxed)),
        None => Entry::UNKNOWN,
    }
}

/// Notes what `fd` is.
pub(crate) fn set(fd: c_int, entry: Entry) {
    if let Some(place) = ENTRIES.get_or_map(fd) {
        place.store(entry.0, Ordering::Relaxed);
    }
}

/// Forgets `fd`, and returns what it was.
pub(crate) fn take(fd: c_int) -> Entry {
    match ENTRIES.get(fd) {
        Some(entry) if entry.load(Ordering::Relaxed) != 0 => Entry(entry.swap(0, Ordering::Relaxed)),
        _ => Entry::UNKNOWN,
    }
}

/// Marks that an event of `fd` was lost.
pub(crate) fn mark_gap(fd: c_int) {
    if let Some(entry) = ENTRIES.get(fd) {
        entry.fetch_or(Entry::GAP, Ordering::Relaxed);
    }
}

/// Takes the mark away: an event said so.
pub(crate) fn clear_gap(fd: c_int) {
    if let Some(entry) = ENTRIES.get(fd) {
        entry.fetch_and(!Entry::GAP, Ordering::Relaxed);
    }
}

/// Notes whether the last bytes that crossed on `fd` came in.
pub(crate) fn set_heard(fd: c_int, heard: bool) {
    set_mark(fd, Entry::HEARD, heard);
}

/// Notes whether what crosses on `fd` belongs to a session that was not admitted.
pub(crate) fn set_refused(fd: c_int, refused: bool) {
    set_mark(fd, Entry::REFUSED, refused);
}

/// Notes whether the address of `fd` is known by this descriptor alone ([`Entry::named`]).
pub(crate) fn set_named(fd: c_int, named: bool) {
    set_mark(fd, Entry::NAMED, named);
}

/// Notes that another process gets what `fd` is.
pub(crate) fn set_passed(fd: c_int) {
    set_mark(fd, Entry::SHARED | Entry::PASSED, true);
}

fn set_mark(fd: c_int, mark: u64, on: bool) {
    if let Some(entry) = ENTRIES.get(fd) {
        if on {
            entry.fetch_or(mark, Ordering::Relaxed);
        } else {
            entry.fetch_and(!mark, Ordering::Relaxed);
        }
    }
}

/// Whether a descriptor other than `fd` has the same connection.
pub(crate) fn is_elsewhere(fd: c_int, connection: u64) -> bool {
    let mut base = 0;
    for leaf in &ENTRIES.leaves {
        let leaf = leaf.load(Ordering::Acquire);
        if !leaf.is_null() {
            for at in 0..LEAF {
                // SAFETY: a leaf that is set has LEAF entries, and is never unmapped.
                let entry = Entry(unsafe { (*leaf.add(place_of(at))).load(Ordering::Relaxed) });
                let followed = entry.is_socket() || entry.is_file();
                if followed && entry.connection() == connection && base + at != fd as usize {
                    return true;
                }
            }
        }
        base += LEAF;
    }
    false
}

/// Calls `visit` with every descriptor from `first` to `last` of which something is known.
pub(crate) fn each(first: u32, last: u32, mut visit: impl FnMut(c_int)) {
    let mut base = 0u32;
    for leaf in &ENTRIES.leaves {
        let end = base + (LEAF as u32 - 1);
        if end >= first && base <= last {
            let leaf = leaf.load(Ordering::Acquire);
            for at in 0..LEAF {
                let fd = base + at as u32;
                if leaf.is_null() || fd < first || fd > last {
                    continue;
                }
                // SAFETY: a leaf that is set has LEAF entries, and is never unmapped.
                let known = unsafe { (*leaf.add(place_of(at))).load(Ordering::Relaxed) } != 0;
                if known {
                    visit(fd as c_int);
                }
            }
        }
        base = end + 1;
    }
}

/// Replay: notes the address that the program asked for.
pub(crate) fn set_peer(fd: c_int, peer: &Address) {
    let Some(words) = PEERS.get_or_map(fd) else { return };
    let mut bytes = [0; Address::MAX];
    peer.encode(&mut bytes);
    let mut left = bytes.as_slice();
    for word in words {
        let mut chunk = [0u8; 8];
        for (to, from) in chunk.iter_mut().zip(left) {
            *to = *from;
        }
        left = left.get(8..).unwrap_or(&[]);
        word.store(u64::from_ne_bytes(chunk), Ordering::Relaxed);
    }
}

/// Replay: the address that the program asked for, if it was another than the real one.
pub(crate) fn peer(fd: c_int) -> Option<Address> {
    let words = PEERS.get(fd)?;
    let mut bytes = [0; 14 * 8];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        for (to, from) in chunk.iter_mut().zip(word.load(Ordering::Relaxed).to_ne_bytes()) {
            *to = from;
        }
    }
    match Address::decode(&bytes) {
        Some((Address::None, _)) | None => None,
        Some((address, _)) => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_what_it_is_told() {
        let entry = Entry::socket(false).connected(0xff_ffff_ffff, true);
        assert!(entry.is_socket() && entry.inbound() && !entry.datagram() && !entry.gap() && !entry.shared());
        assert_eq!(entry.connection(), 0xff_ffff_ffff);
        assert!(entry.share().shared());
        assert_eq!(entry.share().connection(), entry.connection());
        assert!(Entry::socket(true).connected(1, false).datagram());
        assert!(!Entry::IGNORED.is_socket() && !Entry::UNKNOWN.is_socket());
        assert!(!Entry::FOREIGN.is_socket() && !Entry::FOREIGN.is_file() && Entry::FOREIGN != Entry::IGNORED);
    }

    #[test]
    fn a_leaf_has_a_place_for_each_of_its_descriptors() {
        let mut places: Vec<_> = (0..LEAF).map(place_of).collect();
        assert!(places.windows(2).all(|pair| pair[0] / APART != pair[1] / APART));
        places.sort_unstable();
        assert!(places.iter().copied().eq(0..LEAF));
    }

    #[test]
    fn descriptors_are_told_apart() {
        // Numbers that no other test uses.
        let (first, second) = (700_000, 700_001);
        let entry = Entry::socket(false).connected(77, false);
        assert!(get(first) == Entry::UNKNOWN);
        set(first, entry);
        set(second, entry.share());
        assert!(is_elsewhere(first, 77) && is_elsewhere(second, 77));
        let mut seen = Vec::new();
        each(first as u32, second as u32, |fd| seen.push(fd));
        assert_eq!(seen, [first, second]);
        assert!(take(first) == entry && get(first) == Entry::UNKNOWN);
        assert!(!is_elsewhere(second, 77));
        mark_gap(second);
        assert!(get(second).gap());
        clear_gap(second);
        assert!(!get(second).gap());
        set(-1, entry);
        set(i32::MAX, entry);
        assert!(get(-1) == Entry::UNKNOWN && get(i32::MAX) == Entry::UNKNOWN);
    }

    #[test]
    fn the_peer_that_was_asked_for_is_remembered() {
        assert_eq!(peer(700_100), None);
        for address in [Address::V4([10, 0, 0, 1], 6379), Address::unix(&[b'p'; 108])] {
            set_peer(700_100, &address);
            assert_eq!(peer(700_100), Some(address));
        }
        set_peer(700_100, &Address::None);
        assert_eq!(peer(700_100), None);
    }
}
