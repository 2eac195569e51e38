//! Which sessions are recorded.
//!
//! A session is admitted or not at its first inbound byte: the first that arrives on an accepted connection after
//! something was sent on it, or at all. When the log is short of room, or the sample leaves the session out, nothing of
//! it is written: neither what crosses on its own connection, nor what its thread sends on others, nor what is answered
//! there. A mark in the log, once on each connection, says that bytes are passed over; the next session on the connection
//! is written from its first byte. What had no room after all (a session that was admitted grew) is a gap, and counted.
//!
//! Where a thread receives for one session and works for another, the latest that it received for counts, as with
//! everything that it sends.

use koala_events::{EventKind, Pending};

use core::ffi::c_int;

use crate::attach;
use crate::descriptors::{self, Entry};
use crate::environment;
use crate::library::Log;
use crate::sys::{self, TimeSpec, nr};

/// How long, in nanoseconds, to sleep before looking for room again.
const NAP: i64 = 500_000;
/// After so many naps it is asked whether there still is an agent that could make room.
const NAPS: u32 = 1000;

/// Whether an event of this kind on `fd`, with so many bytes, is to be written.
#[inline]
pub(crate) fn is_written(log: &Log, kind: EventKind, fd: c_int, entry: Entry, bytes: usize) -> bool {
    match kind {
        // An end of stream, or a failure.
        EventKind::Receive if bytes == 0 => !entry.refused(),
        EventKind::Receive if entry.inbound() => {
            if entry.heard() {
                log.thread().set_refused(entry.refused());
                return !entry.refused();
            }
            descriptors::set_heard(fd, true);
            is_admitted(log, fd, entry)
        }
        EventKind::Send if entry.inbound() => {
            if entry.heard() {
                descriptors::set_heard(fd, false);
            }
            !entry.refused()
        }
        EventKind::Send => is_sent_for_one_admitted(log, fd, entry),
        EventKind::Receive => !entry.refused(),
        // What is passed over is no gap. The caller may not know yet that it is.
        EventKind::Gap => !descriptors::get(fd).refused(),
        _ => true,
    }
}

/// The first byte of a session has come by `fd`.
fn is_admitted(log: &Log, fd: c_int, entry: Entry) -> bool {
    let arena = log.arena();
    if arena.is_short() && arena.blocks() {
        wait(log, || !arena.is_short());
    }
    let admitted = arena.admit();
    log.thread().set_refused(!admitted);
    if !admitted {
        pass_over(log, fd, entry);
    } else if entry.refused() {
        descriptors::set_refused(fd, false);
    }
    admitted
}

/// The thread sends on a connection that the program has opened.
fn is_sent_for_one_admitted(log: &Log, fd: c_int, entry: Entry) -> bool {
    let refused = log.thread().refused();
    if entry.datagram() {
        return !refused;
    }
    if refused {
        pass_over(log, fd, entry);
    } else if entry.refused() {
        descriptors::set_refused(fd, false);
    }
    !refused
}

/// From here on, what crosses on `fd` is passed over: says so once.
fn pass_over(log: &Log, fd: c_int, entry: Entry) {
    if !entry.refused() {
        log.mark_not_admitted(fd, entry);
        descriptors::set_refused(fd, true);
    }
}

/// There was no room for an event of a session that was admitted, of so many bytes: waits for it, if that is wanted, and
/// tries `again`.
#[cold]
pub(crate) fn wait_for_room(
    log: &Log,
    bytes: usize,
    mut again: impl FnMut() -> Option<Pending>,
) -> Option<Pending> {
    let arena = log.arena();
    let mut pending = None;
    if arena.blocks() {
        wait(log, || {
            pending = again();
            pending.is_some()
        });
        if pending.is_none() {
            arena.lose(bytes as u64);
        }
    }
    pending
}

/// Waits until `done`, or there is nobody for whom to wait.
#[cold]
fn wait(log: &Log, mut done: impl FnMut() -> bool) {
    let mut naps = 0u32;
    while !log.arena().is_closed() && !done() {
        let nap = TimeSpec { seconds: 0, nanoseconds: NAP };
        // SAFETY: a time of ours; what is left of an interrupted sleep is not asked for.
        unsafe { sys::call(nr::__NR_nanosleep, [&raw const nap as usize, 0, 0, 0, 0, 0]) };
        naps = naps.wrapping_add(1);
        if naps.is_multiple_of(NAPS) && !environment::runtime_dir().is_some_and(attach::is_answered) {
            // Neither the agent nor its standby is there: nobody will ever make room.
            log.arena().close();
        }
    }
}
