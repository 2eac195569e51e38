//! Where a process comes from: what it is told by the program that it was before, or that started it.
//!
//! `KOALA_LINEAGE=<number>.<pid>[,<fd>.<entry>.<identity>]...`, all in hexadecimal. `number` is that of the process
//! (or of the [`koala_events::EventKind::Fork`]) in the event log, `pid` the process that executes the program;
//! 0 where it is started as a child. A process of another id inherited the variable from whoever did not use the
//! network: it descends from `number` all the same.
//!
//! Where the program is started by libc with the environment of its maker (system(3)), several threads of which may do so
//! at once, `,<number>.<thread>` follows for each of them: the program finds out which thread has made it.
//!
//! What follows are connections, and files that are appended to: they keep their numbers. A program that goes on in the
//! same process has them under the same descriptors, unless something else is there by now, which the identity tells.
//! One that was started as a child may have them anywhere: it knows them by their identity when it uses them.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::descriptors::{self, Entry};
use crate::operation::file::output;
use crate::sys;

/// How the variable begins.
pub(crate) const NAME: &[u8] = b"KOALA_LINEAGE=";
/// Bytes of the variable at most, with its end: sockets that do not fit are recognised when they are used.
pub(crate) const ROOM: usize = 4096;

static NUMBER: AtomicU64 = AtomicU64::new(0);
static PID: AtomicU32 = AtomicU32::new(0);

/// What a process tells those that it executes or starts.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// The number in the event log.
    pub(crate) number: u64,
    /// The process that executes the program; 0 if it is started as a child.
    pub(crate) pid: u32,
}

/// What this process was told; `None` if nothing.
pub(crate) fn told() -> Option<Origin> {
    match NUMBER.load(Ordering::Relaxed) {
        0 => None,
        number => Some(Origin { number, pid: PID.load(Ordering::Relaxed) }),
    }
}

/// So many connections and files are known by their identity.
const HEIRLOOMS: usize = 160;

/// A connection or file that a process comes from had, by its identity; 0 where there is none.
struct Heirloom {
    identity: AtomicU64,
    entry: AtomicU64,
}

static INHERITED: [Heirloom; HEIRLOOMS] =
    [const { Heirloom { identity: AtomicU64::new(0), entry: AtomicU64::new(0) } }; HEIRLOOMS];

/// Reads the value of the variable, once, before any hook does anything: what is in it is known from then on.
pub(crate) fn read(value: &[u8]) {
    let mut parts = value.split(|&byte| byte == b',');
    let Some([number, pid]) = parts.next().and_then(numbers) else { return };
    NUMBER.store(number, Ordering::Relaxed);
    PID.store(pid as u32, Ordering::Relaxed);
    let goes_on = pid != 0 && pid == u64::from(sys::getpid());
    let mut places = INHERITED.iter();
    let mut makers = Makers::default();
    for part in parts {
        if let Some([number, thread]) = numbers(part) {
            makers.consider(number, thread as u32);
        }
        let Some([fd, entry, identity]) = numbers(part) else { continue };
        if let Some(place) = places.next() {
            place.identity.store(identity, Ordering::Relaxed);
            place.entry.store(entry, Ordering::Relaxed);
        }
        if goes_on
            && let Ok(fd) = c_int::try_from(fd)
            && sys::identity(fd) == Some(identity)
        {
            descriptors::set(fd, Entry::from_bits(entry));
        }
    }
    for fd in [1, 2] {
        match inherited(fd) {
            Some(file) if file.is_file() && sys::appends(fd) => {
                descriptors::set(fd, file);
                output::begin(fd, file);
            }
            // Recognised when it is used.
            Some(socket) if socket.is_socket() => output::begin(fd, socket),
            _ => {}
        }
    }
    if let Some(number) = makers.found() {
        NUMBER.store(number, Ordering::Relaxed);
        PID.store(0, Ordering::Relaxed);
    }
}

/// Of several numbers, each for the program that a certain thread makes, that of this one.
#[derive(Default)]
struct Makers {
    found: Option<u64>,
    /// The last whose thread could not be asked for its children, and how many there were.
    unknown: Option<u64>,
    count: u32,
}

impl Makers {
    fn consider(&mut self, number: u64, thread: u32) {
        self.count += 1;
        match sys::is_child_of(thread) {
            Some(true) => self.found = Some(number),
            Some(false) => {}
            None => self.unknown = Some(number),
        }
    }

    fn found(self) -> Option<u64> {
        self.found.or(self.unknown.filter(|_| self.count == 1))
    }
}

/// A thread that makes a program with the environment of the process, and the number that is for.
struct Making {
    thread: AtomicU32,
    number: AtomicU64,
}

/// So many threads can do so at once; the programs of more are told of their process only.
static MAKING: [Making; 32] = [const { Making { thread: AtomicU32::new(0), number: AtomicU64::new(0) } }; 32];

/// Calls `make` while all are told ([`Heritage::Makers`]) that this thread makes the program of this number.
pub(crate) fn while_making<T>(number: u64, make: impl FnOnce() -> T) -> T {
    let thread = sys::gettid();
    let place = MAKING.iter().find(|place| {
        let taken = place.thread.compare_exchange(0, thread, Ordering::AcqRel, Ordering::Relaxed);
        number != 0 && taken.is_ok()
    });
    if let Some(place) = place {
        place.number.store(number, Ordering::Release);
    }
    let result = make();
    if let Some(place) = place {
        place.number.store(0, Ordering::Release);
        place.thread.store(0, Ordering::Release);
    }
    result
}

/// What `fd` is, where a process that this one comes from had it.
pub(crate) fn inherited(fd: c_int) -> Option<Entry> {
    if INHERITED.first().is_none_or(|first| first.identity.load(Ordering::Relaxed) == 0) {
        return None;
    }
    let identity = sys::identity(fd)?;
    let heirloom = INHERITED.iter().find(|heirloom| heirloom.identity.load(Ordering::Relaxed) == identity)?;
    Some(Entry::from_bits(heirloom.entry.load(Ordering::Relaxed)))
}

/// What a program is told of connections and files.
#[derive(Clone, Copy)]
pub(crate) enum Heritage<'a> {
    /// Those that stay open over the exec.
    Kept,
    /// All: which of them the program will have is not known.
    All,
    /// The same; and each thread that makes a program just now may be its maker.
    Makers,
    /// What [`write_all`] has written.
    Written(&'a [u8]),
}

/// Writes the variable to `to`, with its end.
pub(crate) fn write(origin: Origin, heritage: Heritage<'_>, to: &mut [u8]) {
    let mut text = Text { to, length: 0, full: false };
    text.bytes(NAME);
    text.hex(origin.number);
    text.bytes(b".");
    text.hex(u64::from(origin.pid));
    match heritage {
        Heritage::Kept => text.heirlooms(stays_open),
        Heritage::All => text.heirlooms(|_, entry| is_known(entry)),
        Heritage::Makers => {
            text.makers();
            text.heirlooms(|_, entry| is_known(entry));
        }
        Heritage::Written(written) => text.bytes(written),
    }
    text.end();
}

/// Writes what a program is told of all connections and files to `to`, with its end.
pub(crate) fn write_all(to: &mut [u8]) {
    let mut text = Text { to, length: 0, full: false };
    text.heirlooms(|_, entry| is_known(entry));
    text.end();
}

/// Adds `fd` to what [`write_all`] has written.
pub(crate) fn add(fd: c_int, entry: Entry, to: &mut [u8]) {
    let Some(identity) = sys::identity(fd) else { return };
    let length = to.iter().position(|&byte| byte == 0).unwrap_or(to.len());
    let mut text = Text { to, length, full: false };
    text.heirloom(fd, entry, identity);
    text.end();
}

/// Whether there is any connection or file that a program could be told of.
pub(crate) fn has_heritage() -> bool {
    let mut any = INHERITED.first().is_some_and(|first| first.identity.load(Ordering::Relaxed) != 0);
    descriptors::each(0, u32::MAX, |fd| any |= is_known(descriptors::get(fd)));
    any
}

fn is_known(entry: Entry) -> bool {
    (entry.is_socket() || entry.is_file()) && entry.connection() != 0
}

/// Whether `fd` is a connection, or a file that is appended to, that the next program will have.
pub(crate) fn stays_open(fd: c_int, entry: Entry) -> bool {
    is_known(entry) && !sys::closes_on_exec(fd)
}

/// Numbers in hexadecimal, with points between them; `None` if there are not just `N`.
fn numbers<const N: usize>(text: &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(|&byte| byte == b'.');
    for number in &mut numbers {
        let digits = parts.next().filter(|digits| matches!(digits.len(), 1..=16))?;
        for &digit in digits {
            *number = *number << 4 | u64::from((digit as char).to_digit(16)?);
        }
    }
    parts.next().is_none().then_some(numbers)
}

/// Text that is being written, as far as there is room: a byte is left for its end.
struct Text<'a> {
    to: &'a mut [u8],
    length: usize,
    full: bool,
}

impl Text<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let room = self.length + 1 < self.to.len();
            match self.to.get_mut(self.length) {
                Some(place) if room => {
                    *place = byte;
                    self.length += 1;
                }
                _ => self.full = true,
            }
        }
    }

    fn makers(&mut self) {
        for making in &MAKING {
            let (thread, number) =
                (making.thread.load(Ordering::Acquire), making.number.load(Ordering::Acquire));
            if thread != 0 && number != 0 {
                self.bytes(b",");
                self.hex(number);
                self.bytes(b".");
                self.hex(u64::from(thread));
            }
        }
    }

    /// Writes those that are wanted of what is open, and what was inherited and has not been used.
    fn heirlooms(&mut self, wanted: impl Fn(c_int, Entry) -> bool) {
        descriptors::each(0, u32::MAX, |fd| {
            let entry = descriptors::get(fd);
            if wanted(fd, entry)
                && let Some(identity) = sys::identity(fd)
            {
                self.heirloom(fd, entry, identity);
            }
        });
        for heirloom in &INHERITED {
            let identity = heirloom.identity.load(Ordering::Relaxed);
            let entry = Entry::from_bits(heirloom.entry.load(Ordering::Relaxed));
            if identity != 0 && !descriptors::is_elsewhere(-1, entry.connection()) {
                self.heirloom(0, entry, identity);
            }
        }
    }

    fn heirloom(&mut self, fd: c_int, entry: Entry, identity: u64) {
        let before = self.length;
        self.bytes(b",");
        self.hex(fd as u64);
        self.bytes(b".");
        self.hex(entry.bits());
        self.bytes(b".");
        self.hex(identity);
        if self.full {
            self.length = before;
        }
    }

    fn end(&mut self) {
        let end = self.length.min(self.to.len().saturating_sub(1));
        if let Some(end) = self.to.get_mut(end) {
            *end = 0;
        }
    }

    fn hex(&mut self, number: u64) {
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for at in (0..digits).rev() {
            let digit = (number >> (at * 4) & 0xf) as u8;
            self.bytes(&[if digit < 10 { b'0' + digit } else { b'a' + (digit - 10) }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn written(origin: Origin, heritage: Heritage<'_>, room: usize) -> String {
        let mut bytes = vec![0xff; room];
        write(origin, heritage, &mut bytes);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = written(Origin { number: 0x12_3456_789a, pid: 0xbeef }, Heritage::Written(b",1.2.3"), 64);
        assert_eq!(text, "KOALA_LINEAGE=123456789a.beef,1.2.3");
        assert_eq!(numbers(b"123456789a.beef"), Some([0x12_3456_789a, 0xbeef]));
        assert_eq!(numbers::<2>(b"0.ffffffffffffffff"), Some([0, u64::MAX]));
    }

    #[test]
    fn nonsense_is_no_lineage() {
        for text in ["", "1", "1.", ".1", "1.2.3", "g.1", "1.11111111111111111", "1,2", "+1.2"] {
            assert_eq!(numbers::<2>(text.as_bytes()), None, "{text}");
        }
        read(b"nonsense,1.2.3");
        assert!(told().is_none());
    }

    #[test]
    fn who_makes_a_program_is_told_while_it_is_made() {
        let origin = Origin { number: 1, pid: 0 };
        let thread = format!(",2a.{:x}", sys::gettid());
        let text = while_making(0x2a, || written(origin, Heritage::Makers, ROOM));
        assert!(text.contains(&thread), "{text}");
        assert!(!while_making(0, || written(origin, Heritage::Makers, ROOM)).contains(&thread));
        assert!(!written(origin, Heritage::Makers, ROOM).contains(&thread));
    }

    #[test]
    fn of_several_makers_the_own_one_is_found() {
        // No thread of the parent of this process, of which there may be none, has this number.
        const NOBODY: u32 = 0x7fff_fff0;
        let mut makers = Makers::default();
        makers.consider(7, NOBODY);
        assert_eq!(makers.found(), Some(7), "there is no other");
        let mut makers = Makers::default();
        makers.consider(7, NOBODY);
        makers.consider(8, NOBODY);
        assert_eq!(makers.found(), None);
        let found = Makers { found: Some(9), unknown: Some(7), count: 2 };
        assert_eq!(found.found(), Some(9));
    }

    #[test]
    fn sockets_that_stay_open_are_told_as_far_as_there_is_room() {
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        // Numbers that no other test uses.
        let (kept, closed) = (900_001, 900_002);
        // SAFETY: dup3 and fcntl take numbers; the copies are closed below.
        unsafe {
            let nr = sys::nr::__NR_dup3;
            let flags = sys::nr::O_CLOEXEC as usize;
            if sys::call(nr, [left.as_raw_fd() as usize, kept as usize, 0, 0, 0, 0]) < 0 {
                // The limit of descriptors is lower than that.
                return;
            }
            sys::call(nr, [right.as_raw_fd() as usize, closed as usize, flags, 0, 0, 0]);
        }
        let entry = Entry::socket(false).connected(77, true);
        descriptors::set(kept, entry);
        descriptors::set(closed, entry);
        let origin = Origin { number: 1, pid: sys::getpid() };
        let text = written(origin, Heritage::Kept, ROOM);
        let identity = sys::identity(kept).unwrap();
        let part = format!(",{kept:x}.{:x}.{identity:x}", entry.bits());
        assert!(text.contains(&part), "{text}");
        assert!(!text.contains(&format!(",{closed:x}.")), "{text}");
        assert!(!written(origin, Heritage::Kept, 30).contains(','));
        assert!(has_heritage() && written(origin, Heritage::All, ROOM).contains(&format!(",{closed:x}.")));
        descriptors::take(kept);
        descriptors::take(closed);
        sys::close(kept);
        sys::close(closed);
    }
}
