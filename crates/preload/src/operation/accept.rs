//! Accepting connections.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library;
use crate::operation::close;
use crate::operation::socket::{self, encode_pair};
use crate::sys;

/// accept(2) and accept4(2). The peer's address is taken from what the program asked for, or else from the
/// kernel.
///
/// # Safety
///
/// `peer` and `length` must be what accept(2) allows.
pub(crate) unsafe fn accept(
    listener: c_int,
    peer: *const u8,
    length: *const u32,
    real: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { accept_by(listener, peer, length, &real) }
}

/// [`accept`], once for all hooks.
///
/// # Safety
///
/// As for [`accept`].
unsafe fn accept_by(listener: c_int, peer: *const u8, length: *const u32, real: &dyn Fn() -> c_int) -> c_int {
    if !library::is_active() {
        return real();
    }
    if let Some(log) = library::log_if_attached() {
        log.park();
    }
    // SAFETY: the caller's promise. The kernel cuts an address that is longer than the room for it, so that the
    // room must be read before.
    let room = if !sys::is_plausible(peer) || !sys::is_plausible(length) { 0 } else { unsafe { *length } };
    let fd = real();
    if fd >= 0 {
        close::replaced(fd);
    }
    if fd < 0 {
        return fd;
    }
    let by = socket::known(listener);
    if !by.is_socket() {
        descriptors::set(fd, by);
        return fd;
    }
    let Some(log) = library::log() else {
        descriptors::set(fd, Entry::UNKNOWN);
        return fd;
    };
    let time = sys::now();
    let local = address::local(fd);
    let told = if room == 0 {
        Address::None
    } else {
        // SAFETY: the kernel wrote as many bytes as fit into the room, and the address's length.
        unsafe { address::read(peer, room.min(*length)) }
    };
    let peer = match told {
        Address::None if !matches!(local, Address::Unix(..)) => address::peer(fd),
        told => told,
    };
    let entry = Entry::socket(false).connected(log.new_connection(), true);
    descriptors::set(fd, entry);
    let mut payload = [0; 2 * Address::MAX];
    let length = encode_pair(&local, &peer, &mut payload);
    // The ends of a unix socket have no addresses of their own by which they could be told to be one connection.
    let creator = if matches!(local, Address::Unix(..)) { address::creator(fd) } else { 0 };
    log.append(EventKind::Accept, fd, entry, i64::from(creator), time, payload.get(..length).unwrap_or(&[]));
    fd
}
