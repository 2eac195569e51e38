//! What libc's own streams append: the standard output and error of a process, where they lead to a file that is
//! appended to (`command >> log` in a shell). libc writes these by calls of its own, which no hook sees.
//!
//! So it is looked at how much the file has grown up to the end of the last write by this descriptor (lseek(2): that is
//! where its position is), when the descriptor becomes something else, or the process ends. If it has grown by just as
//! much as the process has written since (proc(5), `/proc/self/io`), nobody else has appended, and the bytes are read
//! from the file. Otherwise it is said that bytes are missing.
//!
//! Where they lead to a connection whose bytes the kernel does not count (`echo > /dev/udp/HOST/PORT` in bash, a unix
//! socket), what libc's stream has written can't be read again: it is said that bytes are missing.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use koala_events::{EventKind, flags};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::socket;
use crate::symbol::Symbol;
use crate::sys::{self, nr};

/// `SEEK_CUR` (lseek(2)).
const FROM_HERE: usize = 1;
/// What was written is not known.
const UNKNOWN: u64 = u64::MAX;
/// More than that of one stream is not read again: it is said to be missing.
const LONGEST: u64 = 1 << 20;

/// A standard stream that leads to a file, or to a connection.
struct Output {
    /// The number of either; 0 if the stream leads to none.
    target: AtomicU64,
    /// How long the file was.
    length: AtomicU64,
    /// How much the process had written by then.
    written: AtomicU64,
    /// How much hooks have seen since.
    seen: AtomicU64,
    /// 1: other processes may have written by the same descriptor since.
    shared: AtomicU32,
}

/// Standard output and error.
static OUTPUTS: [Output; 2] = [const {
    Output {
        target: AtomicU64::new(0),
        length: AtomicU64::new(0),
        written: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        shared: AtomicU32::new(0),
    }
}; 2];

fn output(fd: c_int) -> Option<&'static Output> {
    OUTPUTS.get(usize::try_from(fd).ok()?.checked_sub(1)?)
}

/// Where the last write by this descriptor has ended.
fn position(fd: c_int) -> Option<u64> {
    // SAFETY: takes numbers only.
    let position = unsafe { sys::call(nr::__NR_lseek, [fd as usize, 0, FROM_HERE, 0, 0, 0]) };
    u64::try_from(position).ok()
}

/// How much the process has written, to whatever; [`UNKNOWN`] where the kernel does not say.
fn written() -> u64 {
    let mut text = [0u8; 256];
    // SAFETY: a path that ends, and a buffer of ours with its size.
    let got = unsafe {
        let flags = (nr::O_RDONLY | nr::O_CLOEXEC) as usize;
        let path = c"/proc/self/io".as_ptr() as usize;
        let fd = sys::call(nr::__NR_openat, [nr::AT_FDCWD as usize, path, flags, 0, 0, 0]);
        if fd < 0 {
            return UNKNOWN;
        }
        let got = sys::call(nr::__NR_read, [fd as usize, text.as_mut_ptr() as usize, text.len(), 0, 0, 0]);
        sys::close(fd as c_int);
        got.max(0) as usize
    };
    let lines = text.get(..got).unwrap_or(&[]).split(|&byte| byte == b'\n');
    for line in lines {
        if let Some(number) = line.strip_prefix(b"wchar: ") {
            return number.iter().fold(0, |sum: u64, digit| {
                sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
            });
        }
    }
    UNKNOWN
}

/// `fd` is this file, or this socket, from now on.
#[inline(never)]
pub(crate) fn begin(fd: c_int, entry: Entry) {
    let Some(output) = output(fd).filter(|_| entry.is_file() || is_uncounted(fd, entry)) else { return };
    let Some(length) = sys::length(fd) else { return };
    output.length.store(length, Ordering::Relaxed);
    output.written.store(written(), Ordering::Relaxed);
    output.seen.store(0, Ordering::Relaxed);
    output.shared.store(0, Ordering::Relaxed);
    output.target.store(entry.connection(), Ordering::Relaxed);
}

/// Whether it is a connection on which the kernel does not count the bytes.
fn is_uncounted(fd: c_int, entry: Entry) -> bool {
    entry.is_socket() && entry.connection() != 0 && (entry.datagram() || address::is_unix(fd))
}

/// A hook has seen that so many bytes were appended by `fd`.
#[inline]
pub(crate) fn saw(fd: c_int, count: usize) {
    if let Some(output) = output(fd) {
        output.seen.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The process makes another one, which has its streams.
pub(crate) fn share() {
    for output in &OUTPUTS {
        output.shared.store(1, Ordering::Relaxed);
    }
}

/// The process is a new one, which has the streams of that which made it.
pub(crate) fn forked() {
    for (output, fd) in OUTPUTS.iter().zip([1, 2]) {
        if output.target.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let entry = descriptors::get(fd);
        if entry.is_file() {
            begin(fd, entry);
        } else {
            output.written.store(written(), Ordering::Relaxed);
        }
    }
}

/// libc's stream on standard output or error; null if there is none.
fn stream(fd: c_int) -> *mut c_void {
    static OUTPUT: Symbol = Symbol::new(c"stdout");
    static ERROR: Symbol = Symbol::new(c"stderr");
    let variable = if fd == 1 { OUTPUT.address() } else { ERROR.address() }.cast::<*mut c_void>();
    // SAFETY: both are variables with a stream.
    if variable.is_null() { core::ptr::null_mut() } else { unsafe { *variable } }
}

/// Whether anything was ever written by libc's stream: glibc gives it a buffer, be it of one byte, when it is used first.
fn is_used(fd: c_int) -> bool {
    type BufferSize = unsafe extern "C" fn(*mut c_void) -> usize;
    static BUFFER_SIZE: Symbol = Symbol::new(c"__fbufsize");
    let (function, stream) = (BUFFER_SIZE.address(), stream(fd));
    // SAFETY: stdio_ext(3) says that it has this type; a stream of libc's own is never freed.
    function.is_null()
        || stream.is_null()
        || unsafe { core::mem::transmute::<*mut c_void, BufferSize>(function)(stream) } != 0
}

/// The process ends. `flush` is true where libc is about to write what it still holds.
pub(crate) fn at_exit(flush: bool) {
    type Flush = unsafe extern "C" fn(*mut c_void) -> c_int;
    static FLUSH: Symbol = Symbol::new(c"fflush");
    for (output, fd) in OUTPUTS.iter().zip([1, 2]) {
        if output.target.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let (function, stream) = (FLUSH.address(), stream(fd));
        if flush && is_used(fd) && !function.is_null() && !stream.is_null() {
            // SAFETY: fflush(3) has this type. Nobody holds the stream for long, since it leads to a file.
            unsafe { core::mem::transmute::<*mut c_void, Flush>(function)(stream) };
        }
        end(fd);
    }
}

/// `fd` is about to be something else, or nothing: what has been appended by it and was not seen is written down.
#[inline(never)]
pub(crate) fn end(fd: c_int) {
    let Some(output) = output(fd) else { return };
    let target = output.target.swap(0, Ordering::Relaxed);
    let entry = descriptors::get(fd);
    if target == 0 {
        return;
    }
    if entry == Entry::UNKNOWN || entry.is_socket() {
        return end_connection(fd, target, output.written.load(Ordering::Relaxed));
    }
    if !entry.is_file() || entry.connection() != target {
        return;
    }
    let Some(end) = position(fd) else { return };
    let (from, seen) = (output.length.load(Ordering::Relaxed), output.seen.load(Ordering::Relaxed));
    let grown = end.saturating_sub(from);
    let (before, now) = (output.written.load(Ordering::Relaxed), written());
    let known = before != UNKNOWN && now != UNKNOWN;
    let own = now.saturating_sub(before);
    if grown <= seen || known && own <= seen || !is_used(fd) {
        return;
    }
    let errno = sys::errno();
    if let Some(log) = library::log() {
        let alone = output.shared.load(Ordering::Relaxed) == 0;
        let exact = known && alone && seen == 0 && own == grown && grown <= LONGEST;
        if !exact || !read_again(&log, fd, entry, from, grown as usize) {
            let gap = log.begin(EventKind::Append, fd, entry, flags::GAP_BEFORE, sys::now(), 0);
            if let Some(gap) = gap {
                gap.commit(0, 0);
            }
        }
    }
    sys::set_errno(errno);
}

/// The same of a connection, of which no hook may have seen anything yet. Nothing was missed where the process has written
/// nothing, to whatever, since it had written that much `before`; send(2) and its kin do not count as writing.
fn end_connection(fd: c_int, target: u64, before: u64) {
    if !is_used(fd) {
        return;
    }
    let now = written();
    if before != UNKNOWN && now != UNKNOWN && now <= before {
        return;
    }
    let errno = sys::errno();
    let entry = socket::known(fd);
    if entry.is_socket()
        && entry.connection() == target
        && let Some(log) = library::log()
    {
        log.append(EventKind::Gap, fd, entry, -1, sys::now(), &[]);
    }
    sys::set_errno(errno);
}

/// Writes down what the file holds there; false if it can't be read.
fn read_again(log: &Log, fd: c_int, entry: Entry, from: u64, count: usize) -> bool {
    let mut path = [0u8; 32];
    let mut digits = [0u8; 10];
    let text = b"/proc/self/fd/".iter().chain(sys::decimal(fd as u32, &mut digits));
    for (to, from) in path.iter_mut().zip(text) {
        *to = *from;
    }
    // What is only appended to can't be read by the same descriptor.
    // SAFETY: a path that ends: what is behind the digits is zeros.
    let file = unsafe {
        let flags = (nr::O_RDONLY | nr::O_CLOEXEC) as usize;
        sys::call(nr::__NR_openat, [nr::AT_FDCWD as usize, path.as_ptr() as usize, flags, 0, 0, 0])
    };
    if file < 0 {
        return false;
    }
    let mut done = 0;
    while done < count {
        let size = (count - done).min(log.max_payload());
        let extra = if done > 0 { flags::CONTINUED } else { 0 };
        let Some(pending) = log.begin(EventKind::Append, fd, entry, extra, sys::now(), size) else { break };
        // SAFETY: the record has room for so many bytes.
        let read = unsafe {
            let (into, at) = (pending.payload() as usize, (from as usize).wrapping_add(done));
            sys::call(nr::__NR_pread64, [file as usize, into, size, at, 0, 0])
        };
        if read <= 0 {
            pending.void();
            break;
        }
        pending.commit(read as i64, read as usize);
        done += read as usize;
    }
    sys::close(file as c_int);
    done == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_writes_is_counted() {
        let before = written();
        if before == UNKNOWN {
            // Not every kernel counts.
            return;
        }
        let folder = std::env::temp_dir().join(format!("koala-output-{}", std::process::id()));
        std::fs::write(&folder, [0; 5000]).unwrap();
        assert!(written() >= before + 5000);
        let file = std::fs::File::open(&folder).unwrap();
        assert_eq!(sys::length(std::os::fd::AsRawFd::as_raw_fd(&file)), Some(5000));
        assert_eq!(position(std::os::fd::AsRawFd::as_raw_fd(&file)), Some(0));
        std::fs::remove_file(folder).unwrap();
        assert_eq!((sys::length(-1), position(-1)), (None, None));
    }

    #[test]
    fn only_the_standard_streams_are_watched() {
        assert!(output(0).is_none() && output(3).is_none() && output(-1).is_none());
        assert!(output(1).is_some() && output(2).is_some());
        saw(7, 1);
        end(7);
    }
}
