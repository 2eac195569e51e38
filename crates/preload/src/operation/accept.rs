//! Accepting connections.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library;
use crate::operation::socket::encode_pair;
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
    real: impl FnOnce() -> c_int,
) -> c_int {
    if !library::is_active() {
        return real();
    }
    if let Some(log) = library::log_if_attached() {
        log.park();
    }
    // SAFETY: the caller's promise. The kernel cuts an address that is longer than the room for it, so that the
    // room must be read before.
    let room = if peer.is_null() || length.is_null() { 0 } else { unsafe { *length } };
    let fd = real();
    if fd < 0 || descriptors::get(listener) == Entry::IGNORED {
        if fd >= 0 {
            descriptors::set(fd, Entry::IGNORED);
        }
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
    log.append(EventKind::Accept, fd, entry, 0, time, payload.get(..length).unwrap_or(&[]));
    fd
}
