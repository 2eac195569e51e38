//! splice(2): bytes that go between a socket and a pipe without having been in the program's memory.
//!
//! Those of a socket are looked at (`MSG_PEEK`) before they go, those of a pipe are duplicated (tee(2)) into a pipe of
//! koala's own, which exists only for the time of the call. The program's call is then told to move no more than was
//! seen: that it moves less than it was asked for is what it does anyway.

use core::ffi::c_int;

use koala_events::EventKind;

use crate::descriptors::Entry;
use crate::library::{self, Log};
use crate::operation::{socket, transfer};
use crate::sys::{self, SignalsBlocked, error, net, nr};

/// `SPLICE_F_NONBLOCK` (splice(2)).
const NONBLOCK: u32 = 2;
/// `POLLIN` (poll(2)).
const READABLE: u16 = 1;

/// splice(2); `real` moves so many bytes at most. `positioned` is true where the call names an offset, which neither a
/// socket nor a pipe has.
pub(crate) fn splice(
    from: c_int,
    to: c_int,
    count: usize,
    call_flags: u32,
    positioned: bool,
    real: impl Fn(usize) -> isize,
) -> isize {
    splice_by((from, to), count, call_flags, positioned, &real)
}

/// [`splice`], once for all hooks.
fn splice_by(
    (from, to): (c_int, c_int),
    count: usize,
    call_flags: u32,
    positioned: bool,
    real: &dyn Fn(usize) -> isize,
) -> isize {
    if !library::is_active() || count == 0 || positioned {
        return real(count);
    }
    let (source, target) = (socket::known(from), socket::known(to));
    // What the kernel refuses, it refuses at once: without a pipe there is nothing to wait for.
    if !sys::is_pipe(if source.is_socket() { to } else { from }) {
        return real(count);
    }
    match library::log() {
        Some(log) if source.is_socket() && source.connection() != 0 => {
            from_socket(&log, from, source, count, real)
        }
        Some(log) if target.is_socket() && target.connection() != 0 => {
            to_socket(&log, (to, target), from, count, call_flags, real)
        }
        _ => real(count),
    }
}

fn from_socket(log: &Log, fd: c_int, entry: Entry, count: usize, real: &dyn Fn(usize) -> isize) -> isize {
    if entry.inbound() {
        log.park();
    }
    let room = count.min(log.max_payload());
    let Some(pending) = log.begin(EventKind::Receive, fd, entry, 0, sys::now(), room) else {
        let result = real(count);
        if result > 0 {
            transfer::lose(log, EventKind::Receive, fd, entry, result as usize);
        }
        return result;
    };
    // It waits for bytes as long as splice would, by the same flag of the socket.
    // SAFETY: the record has room for so many bytes.
    let seen = unsafe {
        let (into, flags) = (pending.payload() as usize, net::MSG_PEEK as usize);
        sys::call(nr::__NR_recvfrom, [fd as usize, into, room, flags, 0, 0])
    };
    if seen < 0 {
        // The socket tells an error once: it is the program's.
        let errno = -seen as c_int;
        if transfer::is_retry(errno) {
            pending.void()
        } else {
            pending.commit(-i64::from(errno), 0)
        }
        sys::set_errno(errno);
        return -1;
    }
    let result = real(if seen > 0 { seen as usize } else { count });
    if result > 0 {
        let taken = (result as usize).min(seen as usize);
        pending.commit(taken as i64, taken);
        if taken < result as usize {
            transfer::lose(log, EventKind::Receive, fd, entry, result as usize - taken);
        }
    } else if result == 0 {
        pending.commit(0, 0);
    } else {
        pending.void();
    }
    result
}

fn to_socket(
    log: &Log,
    (fd, entry): (c_int, Entry),
    pipe: c_int,
    count: usize,
    call_flags: u32,
    real: &dyn Fn(usize) -> isize,
) -> isize {
    if call_flags & NONBLOCK == 0 && sys::is_blocking(pipe) && !wait_for(pipe) {
        sys::set_errno(error::EINTR as c_int);
        return -1;
    }
    let room = count.min(transfer::AHEAD);
    let mut pending = log.begin(EventKind::Send, fd, entry, 0, sys::now(), room);
    let mut seen = 0;
    if let Some(pending) = &mut pending {
        // SAFETY: the record has room for so many bytes.
        seen = unsafe { look(pipe, pending.payload(), room) };
        pending.intend(seen);
    }
    let result = real(if seen > 0 { seen } else { count });
    let crossed = result.max(0) as usize;
    match pending {
        Some(pending) if crossed > 0 && seen > 0 => {
            pending.commit(crossed.min(seen) as i64, crossed.min(seen))
        }
        Some(pending) => {
            let errno = if result < 0 { sys::errno() } else { 0 };
            if errno == 0 || transfer::is_retry(errno) {
                pending.void()
            } else {
                pending.commit(-i64::from(errno), 0)
            }
        }
        None => {}
    }
    if crossed > seen {
        transfer::lose(log, EventKind::Send, fd, entry, crossed - seen);
    }
    result
}

/// Waits until there is something in the pipe, or nobody writes to it any more. False if a signal came first.
fn wait_for(pipe: c_int) -> bool {
    let mut raw = [0u8; 8];
    // `struct pollfd`: the descriptor, what is asked for, what is told.
    for (to, from) in raw.iter_mut().zip(pipe.to_ne_bytes().into_iter().chain(READABLE.to_ne_bytes())) {
        *to = from;
    }
    // SAFETY: one entry of ours, no timeout, no mask.
    let result = unsafe { sys::call(nr::__NR_ppoll, [raw.as_mut_ptr() as usize, 1, 0, 0, 0, 0]) };
    result != -(error::EINTR as isize)
}

/// Copies what the pipe holds, at most `room` bytes, and leaves it there. 0 if that can't be done.
///
/// # Safety
///
/// `into` must have room for `room` bytes.
unsafe fn look(pipe: c_int, into: *mut u8, room: usize) -> usize {
    // A handler that jumped out would leave the descriptors open.
    let blocked = SignalsBlocked::new();
    let mut ends = [-1 as c_int; 2];
    let flags = (nr::O_CLOEXEC | nr::O_NONBLOCK) as usize;
    // SAFETY: two descriptors of ours are written.
    if unsafe { sys::call(nr::__NR_pipe2, [ends.as_mut_ptr() as usize, flags, 0, 0, 0, 0]) } < 0 {
        return 0;
    }
    let [read, write] = ends;
    // SAFETY: tee takes numbers only; the caller's promise covers the room.
    let seen = unsafe {
        let held = sys::call(nr::__NR_tee, [pipe as usize, write as usize, room, NONBLOCK as usize, 0, 0]);
        if held > 0 {
            sys::call(nr::__NR_read, [read as usize, into as usize, room.min(held as usize), 0, 0, 0])
        } else {
            0
        }
    };
    sys::close(read);
    sys::close(write);
    drop(blocked);
    seen.max(0) as usize
}
