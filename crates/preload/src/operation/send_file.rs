//! Bytes that the kernel moves without passing them through the program.

use core::ffi::c_int;

use koala_events::{EventKind, Pending, flags};

use crate::descriptors::Entry;
use crate::library::{self, Log};
use crate::operation::{socket, transfer};
use crate::sys::{self, nr};

/// `SEEK_CUR` (lseek(2)).
const FROM_HERE: usize = 1;

/// A place in a file; a negative one is none.
#[derive(Clone, Copy)]
struct Place {
    file: c_int,
    offset: i64,
}

impl Place {
    /// Fills `to` with the bytes that are `ahead` of the place; how many there are, 0 where they can't be read.
    ///
    /// # Safety
    ///
    /// `to` must have room for `length` bytes.
    unsafe fn read(&self, ahead: usize, to: *mut u8, length: usize) -> usize {
        if self.offset < 0 {
            return 0;
        }
        let offset = self.offset.wrapping_add(ahead as i64) as usize;
        // SAFETY: the caller's promise.
        let read =
            unsafe { sys::call(nr::__NR_pread64, [self.file as usize, to as usize, length, offset, 0, 0]) };
        read.max(0) as usize
    }
}

/// sendfile(2). The program does not have the bytes: they are read from the file once more.
///
/// # Safety
///
/// `offset` must be null or point to an offset.
pub(crate) unsafe fn send_file(
    fd: c_int,
    file: c_int,
    offset: *const i64,
    count: usize,
    real: impl Fn() -> isize,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe { send_file_by(fd, file, offset, count, &real) }
}

/// [`send_file`], once for all hooks.
///
/// # Safety
///
/// As for [`send_file`].
unsafe fn send_file_by(
    fd: c_int,
    file: c_int,
    offset: *const i64,
    count: usize,
    real: &dyn Fn() -> isize,
) -> isize {
    if !library::is_active() {
        return real();
    }
    let entry = socket::known(fd);
    if !entry.is_socket() || entry.connection() == 0 || count == 0 {
        return real();
    }
    let Some(log) = library::log() else { return real() };
    let offset = if offset.is_null() {
        // SAFETY: takes numbers only.
        unsafe { sys::call(nr::__NR_lseek, [file as usize, 0, FROM_HERE, 0, 0, 0]) as i64 }
    } else if sys::is_plausible(offset) {
        // SAFETY: the caller's promise.
        unsafe { *offset }
    } else {
        -1
    };
    // A device or a pipe does not give the same bytes twice.
    let place = Place { file, offset: if sys::is_regular(file) { offset } else { -1 } };
    let room = count.min(transfer::AHEAD);
    let mut ahead = 0;
    let mut pending = log.begin(EventKind::Send, fd, entry, 0, sys::now(), room);
    if let Some(pending) = &mut pending {
        // SAFETY: the record has room for `room` bytes.
        ahead = unsafe { place.read(0, pending.payload(), room) };
        pending.intend(ahead);
    }
    let result = real();
    settle(&log, fd, entry, place, pending, ahead, result);
    result
}

/// Writes down what came of it; `ahead` bytes are in the record already.
fn settle(
    log: &Log,
    fd: c_int,
    entry: Entry,
    place: Place,
    pending: Option<Pending>,
    ahead: usize,
    result: isize,
) {
    if result <= 0 {
        if let Some(pending) = pending {
            let errno = if result < 0 { sys::errno() } else { 0 };
            if errno == 0 || transfer::is_retry(errno) {
                pending.void();
            } else {
                pending.commit(-i64::from(errno), 0);
            }
        }
        return;
    }
    let taken = result as usize;
    let Some(pending) = pending else {
        transfer::lose(log, EventKind::Send, fd, entry, taken);
        return;
    };
    let mut done = taken.min(ahead);
    pending.commit(done as i64, done);
    while done < taken {
        let size = (taken - done).min(log.max_payload());
        let Some(pending) = log.begin(EventKind::Send, fd, entry, flags::CONTINUED, sys::now(), size) else {
            break;
        };
        // SAFETY: the record has room for `size` bytes.
        let read = unsafe { place.read(done, pending.payload(), size) };
        if read == 0 {
            pending.void();
            break;
        }
        pending.commit(read as i64, read);
        done += read;
    }
    if done < taken {
        transfer::lose(log, EventKind::Send, fd, entry, taken - done);
    }
}
