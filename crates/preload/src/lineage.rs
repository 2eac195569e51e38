//! Where a process comes from: what it is told by the program that it was before, or that started it.
//!
//! `KOALA_LINEAGE=<number>.<pid>[,<fd>.<entry>.<inode>]...`, all in hexadecimal. `number` is that of the process
//! (or of the [`koala_events::EventKind::Fork`]) in the event log, `pid` the process that executes the program;
//! 0 where it is started as a child. A process of another id inherited the variable from whoever did not use the
//! network: it descends from `number` all the same. What follows are the sockets that stay open over the exec: a
//! connection keeps its number. The inode tells whether the descriptor is still the same socket.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::descriptors::{self, Entry};
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

/// Reads the value of the variable, once, before any hook does anything: the sockets in it are known from then on.
pub(crate) fn read(value: &[u8]) {
    let mut parts = value.split(|&byte| byte == b',');
    let Some([number, pid]) = parts.next().and_then(numbers) else { return };
    NUMBER.store(number, Ordering::Relaxed);
    PID.store(pid as u32, Ordering::Relaxed);
    if pid == 0 || pid != u64::from(sys::getpid()) {
        return;
    }
    for part in parts {
        if let Some([fd, entry, inode]) = numbers(part)
            && let Ok(fd) = c_int::try_from(fd)
            && sys::socket_inode(fd) == Some(inode)
        {
            descriptors::set(fd, Entry::from_bits(entry));
        }
    }
}

/// Writes the variable to `to`, with its end. `sockets`: with those that stay open over an exec.
pub(crate) fn write(origin: Origin, sockets: bool, to: &mut [u8]) {
    let mut text = Text { to, length: 0, full: false };
    text.bytes(NAME);
    text.hex(origin.number);
    text.bytes(b".");
    text.hex(u64::from(origin.pid));
    if sockets {
        descriptors::each(0, u32::MAX, |fd| {
            let entry = descriptors::get(fd);
            if !stays_open(fd, entry) {
                return;
            }
            let Some(inode) = sys::socket_inode(fd) else { return };
            let before = text.length;
            text.bytes(b",");
            text.hex(fd as u64);
            text.bytes(b".");
            text.hex(entry.bits());
            text.bytes(b".");
            text.hex(inode);
            if text.full {
                text.length = before;
            }
        });
    }
    let end = text.length.min(text.to.len().saturating_sub(1));
    if let Some(end) = text.to.get_mut(end) {
        *end = 0;
    }
}

/// Whether `fd` is a connection that the next program will have.
pub(crate) fn stays_open(fd: c_int, entry: Entry) -> bool {
    entry.is_socket() && entry.connection() != 0 && !sys::closes_on_exec(fd)
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

    fn written(origin: Origin, sockets: bool, room: usize) -> String {
        let mut bytes = vec![0xff; room];
        write(origin, sockets, &mut bytes);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = written(Origin { number: 0x12_3456_789a, pid: 0xbeef }, false, 64);
        assert_eq!(text, "KOALA_LINEAGE=123456789a.beef");
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
        let text = written(origin, true, ROOM);
        let inode = sys::socket_inode(kept).unwrap();
        let part = format!(",{kept:x}.{:x}.{inode:x}", entry.bits());
        assert!(text.contains(&part), "{text}");
        assert!(!text.contains(&format!(",{closed:x}.")), "{text}");
        assert!(!written(origin, true, 30).contains(','));
        descriptors::take(kept);
        descriptors::take(closed);
        sys::close(kept);
        sys::close(closed);
    }
}
