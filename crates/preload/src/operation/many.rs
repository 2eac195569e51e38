//! Several messages by one call.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors::Entry;
use crate::library;
use crate::operation::datagram::{self, Way};
use crate::operation::payload::Payload;
use crate::operation::{fast_open, socket, transfer};
use crate::sys::{self, MessageEntry, net};

/// Most messages that the kernel takes in one call (`UIO_MAXIOV`).
const MESSAGES_MAX: u32 = 1024;

/// sendmmsg(2). `real` sends so many messages, beginning with this one.
///
/// # Safety
///
/// `entries` must be what sendmmsg(2) asks for.
pub(crate) unsafe fn send(
    fd: c_int,
    entries: *mut MessageEntry,
    count: u32,
    call_flags: c_int,
    real: impl Fn(*mut MessageEntry, u32) -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { send_by(fd, entries, count, call_flags, &real) }
}

/// [`send`], once for all hooks.
///
/// # Safety
///
/// As for [`send`].
unsafe fn send_by(
    fd: c_int,
    entries: *mut MessageEntry,
    count: u32,
    call_flags: c_int,
    real: &dyn Fn(*mut MessageEntry, u32) -> c_int,
) -> c_int {
    if !library::is_active() || count == 0 {
        return real(entries, count);
    }
    for at in 0..if sys::is_plausible(entries) { count.min(MESSAGES_MAX) as usize } else { 0 } {
        // SAFETY: the caller's promise: so many messages are there.
        unsafe { transfer::pass(&raw const (*entries.add(at)).message) };
    }
    let entry = socket::known(fd);
    if entry.datagram() {
        // SAFETY: the caller's promise.
        return unsafe { send_datagrams(fd, entry, entries, count.min(MESSAGES_MAX), real) };
    }
    // SAFETY: the caller's promise.
    unsafe {
        let to = transfer::destination(entries.cast());
        if fast_open::is_meant(fd, call_flags, to) {
            // One message opens the connection. The program sends the others by its next call, as after any call that
            // took fewer than all.
            let first = || if real(entries, 1) == 1 { (*entries).length as isize } else { -1 };
            let sent = fast_open::send(fd, &Payload::messages(entries, 1), call_flags, to, &first);
            if sent >= 0 {
                (*entries).length = sent as u32;
                return 1;
            }
            return -1;
        }
        let mut sent = -1;
        transfer::send(fd, Payload::messages(entries, count as usize), (core::ptr::null(), 0), || {
            sent = real(entries, count);
            if sent < 0 { -1 } else { lengths(entries, sent as u32) }
        });
        sent
    }
}

/// The bytes of the first `count` messages, as the kernel has written them.
///
/// # Safety
///
/// There must be as many.
unsafe fn lengths(entries: *const MessageEntry, count: u32) -> isize {
    let mut sum = 0isize;
    for at in 0..count as usize {
        // SAFETY: the caller's promise.
        sum = sum.wrapping_add(unsafe { (*entries.add(at)).length } as isize);
    }
    sum
}

/// # Safety
///
/// `entries` must point to `count` messages, or be what the kernel refuses.
unsafe fn send_datagrams(
    fd: c_int,
    entry: Entry,
    entries: *mut MessageEntry,
    count: u32,
    real: &dyn Fn(*mut MessageEntry, u32) -> c_int,
) -> c_int {
    let log = library::log();
    let mut done = 0u32;
    while done < count {
        // SAFETY: `done` is below `count`.
        let (next, payload, peer) = unsafe {
            let next = entries.add(done as usize);
            let message = &raw const (*next).message;
            let (name, length) = transfer::destination(message);
            (next, Payload::message(message), address::read(name, length))
        };
        let sent = match datagram::way(log.as_ref(), fd, &peer) {
            Way::Real if library::is_replaying() => real(next, 1),
            Way::Real => real(next, count - done),
            Way::HeldBack => {
                // SAFETY: as above.
                unsafe { (*next).length = payload.length() as u32 };
                1
            }
            Way::Instead(server) => {
                let entry = log.map_or(entry, |log| transfer::numbered(&log, fd, entry));
                // SAFETY: as above.
                unsafe {
                    let sent = datagram::send_instead(log.as_ref(), fd, entry, &payload, &server);
                    (*next).length = sent.max(0) as u32;
                    if sent < 0 { -1 } else { 1 }
                }
            }
        };
        if sent <= 0 {
            return if done > 0 { done as c_int } else { sent };
        }
        if let Some(log) = log {
            let entry = transfer::numbered(&log, fd, entry);
            for at in 0..sent as usize {
                // SAFETY: the kernel has sent so many messages, which are there.
                unsafe {
                    let next = next.add(at);
                    let message = &raw const (*next).message;
                    let (name, length) = transfer::destination(message);
                    let (payload, peer) = (Payload::message(message), address::read(name, length));
                    let length = (*next).length as usize;
                    transfer::datagram(&log, EventKind::Send, fd, entry, &peer, &payload, length);
                }
            }
        }
        done += sent as u32;
        if !library::is_replaying() {
            break;
        }
    }
    done as c_int
}

/// recvmmsg(2).
///
/// # Safety
///
/// `entries` must be what recvmmsg(2) asks for.
pub(crate) unsafe fn receive(
    fd: c_int,
    entries: *const MessageEntry,
    call_flags: c_int,
    real: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { receive_by(fd, entries, call_flags, &real) }
}

/// [`receive`], once for all hooks.
///
/// # Safety
///
/// As for [`receive`].
unsafe fn receive_by(
    fd: c_int,
    entries: *const MessageEntry,
    call_flags: c_int,
    real: &dyn Fn() -> c_int,
) -> c_int {
    let entry = transfer::before_receive(fd);
    let received = real();
    if !library::is_active() {
        return received;
    }
    if let Some(entry) = entry.filter(|_| received < 0) {
        // SAFETY: nothing was received.
        unsafe {
            transfer::after_receive(fd, entry, &Payload::NOTHING, call_flags as u32, &Address::None, -1)
        };
    }
    let mut ended = false;
    for at in 0..received.max(0) as usize {
        // SAFETY: the kernel has filled so many messages.
        unsafe {
            let next = entries.add(at);
            let message = &raw const (*next).message;
            if let Some(entry) = entry.filter(|_| !ended) {
                let from = if entry.datagram() { transfer::origin(message) } else { Address::None };
                let (payload, length) = (Payload::message(message), (*next).length as isize);
                // Behind its end a stream has nothing but its end.
                ended = length == 0 && !entry.datagram() && call_flags as u32 & net::MSG_PEEK == 0;
                transfer::after_receive(fd, entry, &payload, call_flags as u32, &from, length);
            }
            transfer::take_passed(message);
        }
    }
    received
}
