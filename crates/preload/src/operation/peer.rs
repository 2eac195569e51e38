//! Whom a socket is connected to.

use core::ffi::c_int;

use crate::address::SockAddr;
use crate::descriptors;
use crate::library;
use crate::sys;

/// getpeername(2): in a replay, the address that the program asked for.
///
/// # Safety
///
/// `name` and `length` must be what getpeername(2) asks for.
pub(crate) unsafe fn peer(fd: c_int, name: *mut u8, length: *mut u32, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller's promise.
    let room = if length.is_null() { 0 } else { unsafe { *length } };
    let result = real();
    if result != 0 || !library::is_replaying() || !library::is_active() || descriptors::get(fd).inbound() {
        return result;
    }
    if let Some(address) = descriptors::peer(fd) {
        let address = SockAddr::from_address(&address);
        // SAFETY: the program's buffer has `room` bytes, the address `length()`; the full length is told, as
        // the kernel does, even where the room was too small.
        unsafe {
            sys::copy(address.pointer(), name, room.min(address.length()) as usize);
            *length = address.length();
        }
    }
    result
}
