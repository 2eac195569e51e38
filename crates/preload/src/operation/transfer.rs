//! Sending and receiving.

use core::ffi::c_int;

use koala_events::{Address, EventKind, Pending, flags};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::datagram::{self, Way};
use crate::operation::file::output;
use crate::operation::payload::Payload;
use crate::operation::{close, fast_open, foreign, socket};
use crate::sys::{self, Message, error, net};

/// Up to here a send is in the log before it is on the wire. What is beyond is copied after the call, when it
/// is known how much of it the kernel took: it may be a lot, and nothing.
pub(crate) const AHEAD: usize = 16 * 1024;

/// Whether a failed call is worth no event: it will be tried again.
pub(crate) fn is_retry(errno: c_int) -> bool {
    matches!(errno as u32, error::EAGAIN | error::EINTR | error::EINPROGRESS | error::EALREADY)
}

/// What a send is to koala.
enum Sending {
    /// None of its business.
    Untracked,
    /// A socket of a kind that a replay does not have: it fails.
    Refused,
    /// Bytes on a connection; the record of the first `ahead` of them is in the log already.
    Stream { log: Log, entry: Entry, pending: Option<Pending>, ahead: usize },
    /// A datagram, and what becomes of it.
    Datagram { log: Option<Log>, entry: Entry, peer: Address, way: Way },
    /// Bytes for a file that is appended to, `held_back` in a replay: written down, and not appended.
    Append { log: Option<Log>, entry: Entry, held_back: bool },
}

/// `send`, `write` and their kin. `to` is the destination of a datagram, if the call names one.
///
/// # Safety
///
/// The payload must be what the call is about to send.
#[inline]
pub(crate) unsafe fn send(
    fd: c_int,
    payload: Payload,
    to: (*const u8, u32),
    real: impl FnOnce() -> isize,
) -> isize {
    // SAFETY: the caller's promise.
    let sending = unsafe { before_send(fd, &payload, to) };
    let result = match &sending {
        Sending::Untracked => return real(),
        Sending::Refused => {
            sys::set_errno(error::ECONNREFUSED as c_int);
            return -1;
        }
        Sending::Datagram { way: Way::HeldBack, .. } | Sending::Append { held_back: true, .. } => {
            payload.length() as isize
        }
        Sending::Datagram { way: Way::Instead(server), log, entry, .. } => {
            // SAFETY: the caller's promise.
            unsafe { datagram::send_instead(log.as_ref(), fd, *entry, &payload, server) }
        }
        _ => real(),
    };
    // SAFETY: the kernel has just read what it took of the payload, or it was about to.
    unsafe { after_send(fd, &payload, sending, result) };
    result
}

/// # Safety
///
/// As for [`send`].
#[inline(never)]
unsafe fn before_send(fd: c_int, payload: &Payload, to: (*const u8, u32)) -> Sending {
    if !library::is_active() {
        return Sending::Untracked;
    }
    let entry = socket::known(fd);
    if !entry.is_socket() {
        if !entry.is_file() {
            let refused = entry == Entry::FOREIGN && foreign::is_refused(fd);
            return if refused { Sending::Refused } else { Sending::Untracked };
        }
        // What may be read as well is written to the replay's own memory.
        let held_back = library::is_replaying() && !entry.readable() && payload.is_plausible();
        return Sending::Append { log: library::log(), entry, held_back };
    }
    if entry.datagram() {
        // SAFETY: the caller's promise.
        let peer = unsafe { address::read(to.0, to.1) };
        let log = library::log();
        let entry = log.map_or(entry, |log| numbered(&log, fd, entry));
        let way = datagram::way(log.as_ref(), fd, &peer);
        return Sending::Datagram { log, entry, peer, way };
    }
    let length = payload.length();
    if entry.connection() == 0 || length == 0 {
        return Sending::Untracked;
    }
    let Some(log) = library::log() else { return Sending::Untracked };
    if !payload.is_plausible() {
        return Sending::Stream { log, entry, pending: None, ahead: 0 };
    }
    let ahead = length.min(AHEAD);
    let mut pending = log.begin(EventKind::Send, fd, entry, 0, sys::now(), ahead);
    if let Some(pending) = &mut pending {
        // SAFETY: the record has room for `ahead` bytes, and the program is about to send them.
        unsafe { payload.copy(0, pending.payload(), ahead) };
        pending.intend(ahead);
    }
    Sending::Stream { log, entry, pending, ahead }
}

/// # Safety
///
/// The payload must be readable as far as `result` says.
#[inline(never)]
unsafe fn after_send(fd: c_int, payload: &Payload, sending: Sending, result: isize) {
    match sending {
        Sending::Stream { log, entry, pending, ahead } => {
            // SAFETY: the caller's promise.
            unsafe { settle(&log, fd, entry, payload, pending, ahead, result) };
        }
        Sending::Datagram { log: Some(log), entry, peer, .. } if result >= 0 => {
            // SAFETY: the caller's promise.
            unsafe { datagram(&log, EventKind::Send, fd, entry, &peer, payload, result as usize) };
        }
        Sending::Append { log: Some(log), entry, held_back } if result > 0 => {
            let taken = (result as usize).min(payload.length());
            if !held_back {
                output::saw(fd, taken);
            }
            // SAFETY: the caller's promise.
            unsafe { copy_rest(&log, EventKind::Append, fd, entry, payload, 0, taken) };
        }
        _ => {}
    }
}

/// Writes down what came of a send.
///
/// # Safety
///
/// The payload must be readable as far as `result` says.
unsafe fn settle(
    log: &Log,
    fd: c_int,
    entry: Entry,
    payload: &Payload,
    pending: Option<Pending>,
    ahead: usize,
    result: isize,
) {
    if result < 0 {
        let errno = sys::errno();
        if let Some(pending) = pending {
            if is_retry(errno) { pending.void() } else { pending.commit(-i64::from(errno), 0) }
        }
        return;
    }
    let taken = result as usize;
    if let Some(pending) = pending {
        pending.commit(taken.min(ahead) as i64, taken.min(ahead));
        // SAFETY: the caller's promise.
        unsafe { copy_rest(log, EventKind::Send, fd, entry, payload, ahead, taken) };
    } else {
        lose_all(log, EventKind::Send, fd, entry, taken, ahead);
    }
}

/// Says that `count` bytes were sent, or received, that the log does not have.
pub(crate) fn lose(log: &Log, kind: EventKind, fd: c_int, entry: Entry, count: usize) {
    let way = if kind == EventKind::Receive { 0 } else { flags::SENT };
    if let Some(pending) = log.begin(EventKind::Gap, fd, entry, way, sys::now(), 0) {
        pending.commit(count as i64, 0);
        // That has been said.
        descriptors::clear_gap(fd);
    }
}

/// The same of `count` bytes, of which the log has counted the first `counted` as lost: it had no room for them, if it
/// was to have them at all.
#[cold]
fn lose_all(log: &Log, kind: EventKind, fd: c_int, entry: Entry, count: usize, counted: usize) {
    lose(log, kind, fd, entry, count);
    if !descriptors::get(fd).refused() && !log.arena().is_closed() {
        log.arena().lose_more(count.saturating_sub(counted) as u64);
    }
}

/// Appends the bytes from `from` to `end`, in as many events as it takes.
///
/// # Safety
///
/// The payload must be readable that far.
pub(crate) unsafe fn copy_rest(
    log: &Log,
    kind: EventKind,
    fd: c_int,
    entry: Entry,
    payload: &Payload,
    mut from: usize,
    end: usize,
) {
    while from < end {
        let size = (end - from).min(log.max_payload());
        let extra = if from > 0 { flags::CONTINUED } else { 0 };
        let Some(pending) = log.begin(kind, fd, entry, extra, sys::now(), size) else {
            lose_all(log, kind, fd, entry, end - from, size);
            return;
        };
        // SAFETY: the record has room for `size` bytes; the caller's promise covers the payload.
        unsafe { payload.copy(from, pending.payload(), size) };
        pending.commit(size as i64, size);
        from += size;
    }
}

/// The entry of a datagram socket, with a connection number.
pub(crate) fn numbered(log: &Log, fd: c_int, entry: Entry) -> Entry {
    if entry.connection() != 0 {
        return entry;
    }
    let entry = entry.connected(log.new_connection(), false);
    crate::descriptors::set(fd, entry);
    entry
}

/// Appends a datagram's event.
///
/// # Safety
///
/// The payload must be readable for `length` bytes.
pub(crate) unsafe fn datagram(
    log: &Log,
    kind: EventKind,
    fd: c_int,
    entry: Entry,
    peer: &Address,
    payload: &Payload,
    length: usize,
) {
    let mut address = [0; Address::MAX];
    let head = peer.encode(&mut address);
    let length = length.min(payload.length());
    let Some(pending) = log.begin(kind, fd, entry, 0, sys::now(), head + length) else { return };
    // SAFETY: the record has room for both.
    unsafe {
        sys::copy(address.as_ptr(), pending.payload(), head);
        payload.copy(0, pending.payload().add(head), length);
    }
    pending.commit(length as i64, head + length);
}

/// `recv`, `read` and their kin. `from` tells where the source of a datagram was written.
///
/// # Safety
///
/// The payload must be the buffers that the call fills.
#[inline]
pub(crate) unsafe fn receive(
    fd: c_int,
    payload: Payload,
    call_flags: c_int,
    from: impl FnOnce() -> Address,
    real: impl FnOnce() -> isize,
) -> isize {
    let Some(entry) = before_receive(fd) else { return real() };
    let result = real();
    let from = if entry.datagram() && result >= 0 { from() } else { Address::None };
    // SAFETY: the kernel has just filled the buffers as far as the result says.
    unsafe { after_receive(fd, entry, &payload, call_flags as u32, &from, result) };
    result
}

/// The socket that is about to be read, if koala follows it.
#[inline(never)]
pub(crate) fn before_receive(fd: c_int) -> Option<Entry> {
    if !library::is_active() {
        return None;
    }
    let entry = socket::known(fd);
    if !entry.is_socket() || (entry.connection() == 0 && !entry.datagram()) {
        if entry == Entry::FOREIGN {
            foreign::is_refused(fd);
        }
        return None;
    }
    if entry.inbound()
        && let Some(log) = library::log_if_attached()
    {
        // The next request, if any, begins here: whatever was done for the last one is done.
        log.park();
    }
    Some(entry)
}

/// # Safety
///
/// The payload must be filled as far as `result` says.
#[inline(never)]
pub(crate) unsafe fn after_receive(
    fd: c_int,
    entry: Entry,
    payload: &Payload,
    call_flags: u32,
    from: &Address,
    result: isize,
) {
    if call_flags & (net::MSG_PEEK | net::MSG_ERRQUEUE) != 0 {
        return;
    }
    let errno = if result < 0 { sys::errno() } else { 0 };
    if result < 0 && (is_retry(errno) || entry.datagram()) {
        return;
    }
    let Some(log) = library::log() else { return };
    let received = result.max(0) as usize;
    if result < 0 {
        log.append(EventKind::Receive, fd, entry, -i64::from(errno), sys::now(), &[]);
    } else if entry.datagram() {
        let entry = numbered(&log, fd, entry);
        // SAFETY: the caller's promise.
        unsafe { datagram(&log, EventKind::Receive, fd, entry, from, payload, received) };
    } else if received > 0 && call_flags & net::MSG_TRUNC != 0 && !address::is_unix(fd) {
        // tcp(7): the bytes were thrown away.
        lose(&log, EventKind::Receive, fd, entry, received);
    } else if received > 0 {
        // Of a message that is longer, the rest is gone; the kernel may tell its length all the same (recv(2), MSG_TRUNC).
        let received = received.min(payload.length());
        // SAFETY: the caller's promise.
        unsafe { copy_rest(&log, EventKind::Receive, fd, entry, payload, 0, received) };
    } else if payload.length() > 0 {
        log.append(EventKind::Receive, fd, entry, 0, sys::now(), &[]);
    }
}

/// Where a receive wrote the source of a datagram.
///
/// # Safety
///
/// Both must be null, or what the kernel filled.
pub(crate) unsafe fn source(name: *const u8, length: *const u32) -> Address {
    if !sys::is_plausible(length) {
        return Address::None;
    }
    // SAFETY: the caller's promise.
    unsafe { datagram::source(name.cast_mut(), *length) }
}

/// sendto(2).
///
/// # Safety
///
/// As for [`send`].
#[inline]
pub(crate) unsafe fn send_to(
    fd: c_int,
    payload: Payload,
    call_flags: c_int,
    to: (*const u8, u32),
    real: impl Fn() -> isize,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe {
        if fast_open::is_meant(fd, call_flags, to) {
            return fast_open::send(fd, &payload, call_flags, to, &real);
        }
        send(fd, payload, to, real)
    }
}

/// sendmsg(2).
///
/// # Safety
///
/// `message` must be what sendmsg(2) asks for.
pub(crate) unsafe fn send_message(
    fd: c_int,
    message: *const Message,
    call_flags: c_int,
    real: impl Fn() -> isize,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe {
        pass(message);
        send_to(fd, Payload::message(message), call_flags, destination(message), real)
    }
}

/// Where a message is sent to, if it says so.
///
/// # Safety
///
/// `message` must be what sendmsg(2) asks for.
pub(crate) unsafe fn destination(message: *const Message) -> (*const u8, u32) {
    if !sys::is_plausible(message) {
        return (core::ptr::null(), 0);
    }
    // SAFETY: the caller's promise.
    unsafe { ((*message).name.cast_const(), (*message).name_length) }
}

/// recvmsg(2).
///
/// # Safety
///
/// `message` must be what recvmsg(2) asks for.
pub(crate) unsafe fn receive_message(
    fd: c_int,
    message: *const Message,
    call_flags: c_int,
    real: impl FnOnce() -> isize,
) -> isize {
    // SAFETY: the caller's promise; the kernel filled in the name.
    let from = || unsafe { origin(message) };
    // SAFETY: the caller's promise.
    let received = unsafe { receive(fd, Payload::message(message), call_flags, from, real) };
    if received >= 0 && library::is_active() && sys::is_plausible(message) {
        // SAFETY: the kernel has filled the message.
        unsafe { take_passed(message) };
    }
    received
}

/// Where a message came from.
///
/// # Safety
///
/// `message` must be null, or one that the kernel has filled.
pub(crate) unsafe fn origin(message: *const Message) -> Address {
    if !sys::is_plausible(message) {
        return Address::None;
    }
    // SAFETY: the caller's promise.
    unsafe { datagram::source((*message).name, (*message).name_length) }
}

/// Descriptors that came with a message may have numbers of which something else is known: it is no longer true. What
/// is done from now on may be for the sockets among them.
///
/// # Safety
///
/// `message` must be one that the kernel has filled.
pub(crate) unsafe fn take_passed(message: *const Message) {
    let take = |fd| {
        close::replaced(fd);
        socket::known(fd);
    };
    // SAFETY: the caller's promise.
    unsafe { each_passed(message, take) };
}

/// A message that is about to be sent may carry descriptors: whoever gets the sockets among them is to know which
/// connections they are.
///
/// # Safety
///
/// `message` must be what sendmsg(2) asks for.
#[inline]
pub(crate) unsafe fn pass(message: *const Message) {
    // SAFETY: the caller's promise.
    if sys::is_plausible(message) && unsafe { !(*message).control.is_null() } && library::is_active() {
        // SAFETY: the caller's promise.
        unsafe { each_passed(message, hand_on) };
    }
}

fn hand_on(fd: c_int) {
    let entry = socket::known(fd);
    if entry.is_socket()
        && entry.connection() != 0
        && !entry.datagram()
        && let (Some(log), Some(identity)) = (library::log(), sys::identity(fd))
    {
        log.arena().passed_table().pass(identity, entry.pass().bits());
        descriptors::set_passed(fd);
    }
}

/// Calls `visit` with the descriptors that a message carries (`SCM_RIGHTS`, unix(7)).
///
/// # Safety
///
/// `message` must be one that is good for sendmsg(2), or that the kernel has filled.
#[inline(never)]
unsafe fn each_passed(message: *const Message, visit: fn(c_int)) {
    const HEAD: usize = 16;
    // SAFETY: the caller's promise.
    let (mut at, mut left) = unsafe { ((*message).control.cast_const(), (*message).control_length) };
    // musl has a 32-bit length with padding.
    left &= 0xffff_ffff;
    while sys::is_plausible(at) && left >= HEAD {
        // SAFETY: `left` bytes are there, and a control message begins with its length, level and kind.
        let (length, level, kind) = unsafe {
            (
                at.cast::<u32>().read_unaligned() as usize,
                at.add(8).cast::<u32>().read_unaligned(),
                at.add(12).cast::<u32>().read_unaligned(),
            )
        };
        if length < HEAD || length > left {
            return;
        }
        if level == net::SOL_SOCKET && kind == net::SCM_RIGHTS {
            let mut offset = HEAD;
            while offset + 4 <= length {
                // SAFETY: the descriptor lies within the control message.
                let fd = unsafe { at.add(offset).cast::<c_int>().read_unaligned() };
                visit(fd);
                offset += 4;
            }
        }
        let step = (length + 7) & !7;
        if step >= left {
            return;
        }
        // SAFETY: the next control message begins within what is left.
        at = unsafe { at.add(step) };
        left -= step;
    }
}
