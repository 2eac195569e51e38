//! TCP Fast Open: a send that opens its connection (`MSG_FASTOPEN`, sendto(2); RFC 7413).

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors;
use crate::library;
use crate::operation::payload::Payload;
use crate::operation::{connect, socket, transfer};
use crate::sys::{self, IoVec, Message, nr};

/// `MSG_FASTOPEN` (sendto(2)).
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// Whether a send with these flags opens a connection to `to`.
///
/// # Safety
///
/// `to` must be what sendto(2) asks for.
#[inline]
pub(crate) unsafe fn is_meant(fd: c_int, call_flags: c_int, to: (*const u8, u32)) -> bool {
    // SAFETY: the caller's promise.
    call_flags as u32 & MSG_FASTOPEN != 0 && library::is_active() && unsafe { opens(fd, to) }
}

/// # Safety
///
/// As for [`is_meant`].
#[cold]
#[inline(never)]
unsafe fn opens(fd: c_int, to: (*const u8, u32)) -> bool {
    let entry = socket::known(fd);
    // SAFETY: the caller's promise.
    let peer = unsafe { address::read(to.0, to.1) };
    entry.is_socket() && !entry.datagram() && entry.connection() == 0 && peer != Address::None
}

/// Such a send.
///
/// # Safety
///
/// As for [`transfer::send`].
#[cold]
#[inline(never)]
pub(crate) unsafe fn send(
    fd: c_int,
    payload: &Payload,
    call_flags: c_int,
    to: (*const u8, u32),
    real: &dyn Fn() -> isize,
) -> isize {
    // SAFETY: the caller's promise.
    let peer = unsafe { address::read(to.0, to.1) };
    let log = library::log();
    if library::is_replaying() {
        // SAFETY: the caller's promise.
        return unsafe { connect_and_send(fd, payload, call_flags, to) };
    }
    let Some(log) = log else { return real() };
    if connect::is_bypassed(&log, &peer) {
        descriptors::set(fd, descriptors::Entry::IGNORED);
        return real();
    }
    let entry = descriptors::get(fd).connected(log.new_connection(), false);
    let pending = log.begin(EventKind::Connect, fd, entry, 0, sys::now(), 2 * Address::MAX);
    let result = real();
    let outcome = if result >= 0 { 0 } else { -sys::errno() };
    if outcome == 0 || connect::is_in_progress(outcome) {
        descriptors::set(fd, entry);
    }
    connect::tell(pending, fd, &peer, outcome);
    if result > 0 {
        // SAFETY: the kernel has just read so many bytes of the payload.
        unsafe { transfer::copy_rest(&log, EventKind::Send, fd, entry, payload, 0, result as usize) };
    }
    result
}

/// In a replay the connection goes elsewhere: it is opened first, and then sent on.
///
/// # Safety
///
/// As for [`transfer::send`].
unsafe fn connect_and_send(fd: c_int, payload: &Payload, call_flags: c_int, to: (*const u8, u32)) -> isize {
    let open = |name: *const u8, length: u32| {
        // SAFETY: an address as connect(2) asks for.
        let result =
            unsafe { sys::call(nr::__NR_connect, [fd as usize, name as usize, length as usize, 0, 0, 0]) };
        answer(result) as c_int
    };
    // SAFETY: the caller's promise.
    if unsafe { connect::connect(fd, to.0, to.1, open) } != 0 {
        return -1;
    }
    let mut single = IoVec { base: core::ptr::null_mut(), length: 0 };
    let (vector, vector_length) = payload.as_vector(&mut single);
    let message = Message {
        name: core::ptr::null_mut(),
        name_length: 0,
        vector,
        vector_length,
        control: core::ptr::null_mut(),
        control_length: 0,
        flags: 0,
    };
    let flags = (call_flags as u32 & !MSG_FASTOPEN) as usize;
    let real = || {
        // SAFETY: a message of the program's buffers.
        let result = unsafe {
            sys::call(nr::__NR_sendmsg, [fd as usize, &raw const message as usize, flags, 0, 0, 0])
        };
        answer(result)
    };
    // SAFETY: the caller's promise.
    unsafe { transfer::send(fd, Payload::vector(vector, vector_length), (core::ptr::null(), 0), real) }
}

/// The result of a system call, as libc gives it.
fn answer(result: isize) -> isize {
    if result >= 0 {
        return result;
    }
    sys::set_errno(-result as c_int);
    -1
}
