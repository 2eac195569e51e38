//! stdio on sockets: streams that libc reads and writes by itself, past every hook.
//!
//! What fdopen(3) returns for a socket is a stream of koala's ([`cookie`]). Where that can't be, the connection is marked:
//! bytes may be missing. dprintf(3) is made of its two halves, formatting and writing.

use core::ffi::{c_char, c_int, c_void};

use crate::library;
use crate::operation::{cookie, socket};
use crate::sys::{self, nr};

/// fdopen(3).
///
/// # Safety
///
/// `mode` must be what fdopen(3) asks for.
pub(crate) unsafe fn open(fd: c_int, mode: *const c_char, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if !library::is_active() || !socket::known(fd).is_socket() {
        return real();
    }
    // SAFETY: the caller's promise.
    if unsafe { is_plain(mode) }
        && is_open(fd)
        // SAFETY: as above.
        && let Some(file) = unsafe { cookie::open(fd, mode) }
    {
        return file;
    }
    let file = real();
    let entry = socket::known(fd);
    if !file.is_null()
        && entry.connection() != 0
        && let Some(log) = library::log()
    {
        log.append(koala_events::EventKind::Gap, fd, entry, -1, sys::now(), &[]);
    }
    file
}

/// Whether the mode is reading, writing or both, and nothing more.
///
/// # Safety
///
/// `mode` must be a C string.
unsafe fn is_plain(mode: *const c_char) -> bool {
    if !sys::is_plausible(mode) {
        return false;
    }
    // SAFETY: the caller's promise.
    match unsafe { sys::string(mode.cast()) } {
        [b'r' | b'w', rest @ ..] => rest.iter().all(|letter| matches!(letter, b'+' | b'b')),
        _ => false,
    }
}

fn is_open(fd: c_int) -> bool {
    // SAFETY: takes numbers only.
    unsafe { sys::call(nr::__NR_fcntl, [fd as usize, nr::F_GETFD as usize, 0, 0, 0, 0]) >= 0 }
}

/// Whether dprintf(3) to this descriptor is koala's to make.
pub(crate) fn is_followed(fd: c_int) -> bool {
    library::is_active() && socket::known(fd).is_socket()
}

/// The second half of dprintf(3); returns what that does.
///
/// # Safety
///
/// `buffer` must have `length` bytes.
pub(crate) unsafe fn print(fd: c_int, buffer: *const u8, length: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let written = unsafe { cookie::write_all(fd, buffer, length.max(0) as usize) };
    if written == length.max(0) as usize { length } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    #[test]
    fn only_plain_modes_are_taken_over() {
        for (mode, plain) in [
            (c"r", true),
            (c"w", true),
            (c"r+", true),
            (c"wb+", true),
            (c"a", false),
            (c"re", false),
            (c"", false),
        ] {
            // SAFETY: a C string.
            assert_eq!(unsafe { is_plain(mode.as_ptr()) }, plain, "{mode:?}");
        }
        // SAFETY: null is told from a string.
        assert!(!unsafe { is_plain(ptr::null()) });
    }
}
