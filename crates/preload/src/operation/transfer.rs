//! Sending and receiving.

use core::ffi::c_int;

use koala_events::{Address, EventKind, Pending, flags};

use crate::address;
use crate::descriptors::Entry;
use crate::library::{self, Log};
use crate::operation::{connect, socket};
use crate::sys::{self, IoVec, Message, error, net};

/// Up to here a send is in the log before it is on the wire. What is beyond is copied after the call, when it
/// is known how much of it the kernel took: it may be a lot, and nothing.
pub(crate) const AHEAD: usize = 16 * 1024;

/// The bytes of a call: one buffer, or a vector of them.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    vector: *const IoVec,
    count: usize,
    single: IoVec,
}

impl Payload {
    /// One buffer.
    pub(crate) fn buffer(base: *const u8, length: usize) -> Self {
        Self { vector: core::ptr::null(), count: 1, single: IoVec { base: base.cast_mut(), length } }
    }

    /// A vector of buffers.
    pub(crate) fn vector(vector: *const IoVec, count: usize) -> Self {
        let single = IoVec { base: core::ptr::null_mut(), length: 0 };
        Self { vector, count: if vector.is_null() { 0 } else { count }, single }
    }

    /// The buffers of a message.
    ///
    /// # Safety
    ///
    /// `message` must be null or point to a message.
    pub(crate) unsafe fn message(message: *const Message) -> Self {
        if message.is_null() {
            return Self::vector(core::ptr::null(), 0);
        }
        // SAFETY: the caller's promise. musl's vector length is an int, with padding behind it that it leaves
        // undefined; the kernel allows 1024 (UIO_MAXIOV).
        unsafe { Self::vector((*message).vector, (*message).vector_length & 0xffff_ffff) }
    }

    fn part(&self, at: usize) -> IoVec {
        if self.vector.is_null() {
            return self.single;
        }
        // SAFETY: the program's vector has `count` parts, and `at` is below that in every caller.
        unsafe { *self.vector.add(at) }
    }

    fn length(&self) -> usize {
        let mut length = 0usize;
        for at in 0..self.count {
            length = length.saturating_add(self.part(at).length);
        }
        length
    }

    /// Copies `length` bytes from byte `from` on.
    ///
    /// # Safety
    ///
    /// The buffers must be readable that far, and `to` have room.
    unsafe fn copy(&self, mut from: usize, to: *mut u8, length: usize) {
        let mut done = 0;
        for at in 0..self.count {
            let part = self.part(at);
            if from >= part.length {
                from -= part.length;
                continue;
            }
            let size = (part.length - from).min(length - done);
            // SAFETY: the caller's promise; `from` and `size` stay within the part.
            unsafe { sys::copy(part.base.add(from), to.add(done), size) };
            done += size;
            from = 0;
            if done == length {
                return;
            }
        }
    }
}

/// Whether a failed call is worth no event: it will be tried again.
pub(crate) fn is_retry(errno: c_int) -> bool {
    matches!(errno as u32, error::EAGAIN | error::EINTR | error::EINPROGRESS | error::EALREADY)
}

/// What a send is to koala.
enum Sending {
    /// None of its business.
    Untracked,
    /// Bytes on a connection; the record of the first `ahead` of them is in the log already.
    Stream { log: Log, entry: Entry, pending: Option<Pending>, ahead: usize },
    /// A datagram, which is `held_back` in a replay: written down and not sent.
    Datagram { log: Option<Log>, entry: Entry, peer: Address, held_back: bool },
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
        Sending::Datagram { held_back: true, .. } => payload.length() as isize,
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
        return Sending::Untracked;
    }
    if entry.datagram() {
        // SAFETY: the caller's promise.
        let peer = unsafe { address::read(to.0, to.1) };
        let log = library::log();
        let entry = log.map_or(entry, |log| numbered(&log, fd, entry));
        let held_back = library::is_replaying() && !log.is_some_and(|log| connect::is_reachable(&log, &peer));
        return Sending::Datagram { log, entry, peer, held_back };
    }
    let length = payload.length();
    if entry.connection() == 0 || length == 0 {
        return Sending::Untracked;
    }
    let Some(log) = library::log() else { return Sending::Untracked };
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
        lose(log, fd, entry, taken);
    }
}

/// Says that `count` bytes crossed that the log did not have room for.
pub(crate) fn lose(log: &Log, fd: c_int, entry: Entry, count: usize) {
    log.append(EventKind::Gap, fd, entry, count as i64, sys::now(), &[]);
}

/// Appends the bytes from `from` to `end`, in as many events as it takes.
///
/// # Safety
///
/// The payload must be readable that far.
unsafe fn copy_rest(
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
            lose(log, fd, entry, end - from);
            return;
        };
        // SAFETY: the record has room for `size` bytes; the caller's promise covers the payload.
        unsafe { payload.copy(from, pending.payload(), size) };
        pending.commit(size as i64, size);
        from += size;
    }
}

/// The entry of a datagram socket, with a connection number.
fn numbered(log: &Log, fd: c_int, entry: Entry) -> Entry {
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
unsafe fn datagram(
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
fn before_receive(fd: c_int) -> Option<Entry> {
    if !library::is_active() {
        return None;
    }
    let entry = socket::known(fd);
    if !entry.is_socket() || (entry.connection() == 0 && !entry.datagram()) {
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
unsafe fn after_receive(
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
    } else if call_flags & net::MSG_TRUNC != 0 {
        // tcp(7): the bytes were thrown away.
        lose(&log, fd, entry, received);
    } else if received > 0 {
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
    if length.is_null() {
        return Address::None;
    }
    // SAFETY: the caller's promise.
    unsafe { address::read(name, *length) }
}

/// sendmsg(2).
///
/// # Safety
///
/// `message` must be what sendmsg(2) asks for.
pub(crate) unsafe fn send_message(fd: c_int, message: *const Message, real: impl FnOnce() -> isize) -> isize {
    let to = if message.is_null() {
        (core::ptr::null(), 0)
    } else {
        // SAFETY: the caller's promise.
        unsafe { ((*message).name.cast_const(), (*message).name_length) }
    };
    // SAFETY: the caller's promise.
    unsafe { send(fd, Payload::message(message), to, real) }
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
    let from = || {
        if message.is_null() {
            return Address::None;
        }
        // SAFETY: the caller's promise; the kernel filled in the name.
        unsafe { address::read((*message).name, (*message).name_length) }
    };
    // SAFETY: the caller's promise.
    let received = unsafe { receive(fd, Payload::message(message), call_flags, from, real) };
    if received >= 0 && library::is_active() && !message.is_null() {
        // SAFETY: the kernel has filled the message.
        unsafe { forget_passed(message) };
    }
    received
}

/// Descriptors that came with a message (`SCM_RIGHTS`, unix(7)) may have numbers of which something else is
/// known: it is no longer true.
///
/// # Safety
///
/// `message` must be one that the kernel has filled.
unsafe fn forget_passed(message: *const Message) {
    const HEAD: usize = 16;
    // SAFETY: the caller's promise.
    let (mut at, mut left) = unsafe { ((*message).control.cast_const(), (*message).control_length) };
    // musl has a 32-bit length with padding.
    left &= 0xffff_ffff;
    while !at.is_null() && left >= HEAD {
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
                crate::descriptors::take(fd);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_vector_can_be_copied() {
        let parts = [&b"abc"[..], b"", b"defgh", b"i"];
        let vector: Vec<IoVec> =
            parts.iter().map(|part| IoVec { base: part.as_ptr().cast_mut(), length: part.len() }).collect();
        let payload = Payload::vector(vector.as_ptr(), vector.len());
        let whole = b"abcdefghi";
        assert_eq!(payload.length(), whole.len());
        for from in 0..=whole.len() {
            for length in 0..=whole.len() - from {
                let mut out = vec![0; length];
                // SAFETY: the parts hold `whole`, of which the range is a part.
                unsafe { payload.copy(from, out.as_mut_ptr(), length) };
                assert_eq!(out, whole[from..from + length]);
            }
        }
    }

    #[test]
    fn no_vector_is_empty() {
        assert_eq!(Payload::vector(core::ptr::null(), 5).length(), 0);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { Payload::message(core::ptr::null()) }.length(), 0);
    }
}
