//! Streams of stdio that append to files.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use super::{follow, is_stream, kind, no_folder, open};
use crate::descriptors;
use crate::library;
use crate::operation::{close, cookie};
use crate::symbol::Symbol;
use crate::sys::{self, error, nr};

/// The mode of a stream that only appends: which flags open(2) has for it.
///
/// # Safety
///
/// `mode` must be a C string.
unsafe fn appends(mode: *const c_char) -> Option<u32> {
    // SAFETY: the caller's promise.
    let mode = unsafe { sys::string(mode.cast()) };
    let mut flags = nr::O_WRONLY | nr::O_APPEND | nr::O_CREAT;
    let [b'a', rest @ ..] = mode else { return None };
    for letter in rest {
        match letter {
            b'e' => flags |= nr::O_CLOEXEC,
            b'x' => flags |= nr::O_EXCL,
            b'b' | b't' | b'c' | b'm' => {}
            // Reading as well, or in another character set: see `follow_unseen`.
            _ => return None,
        }
    }
    Some(flags)
}

/// Whether a stream that is opened in this mode is one that appends, and koala's to follow.
///
/// # Safety
///
/// `mode` must be null, at fault, or a C string.
unsafe fn is_followed(path: *const c_char, mode: *const c_char) -> bool {
    // SAFETY: the caller's promise: a string has at least its end.
    let appends = sys::is_plausible(mode) && unsafe { mode.cast::<u8>().read() } == b'a';
    appends && library::is_active() && sys::is_plausible(path)
}

/// fopen(3).
///
/// # Safety
///
/// The arguments must be what fopen(3) asks for.
pub(crate) unsafe fn open_stream(
    path: *const c_char,
    mode: *const c_char,
    real: impl Fn(*const c_char) -> *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    if !unsafe { is_followed(path, mode) } {
        return real(path);
    }
    type Open = unsafe extern "C" fn(*const c_char, c_int, u32) -> c_int;
    static OPEN: Symbol = Symbol::new(c"open");
    let address = OPEN.address();
    // SAFETY: the caller's promise.
    let flags = unsafe { appends(mode) };
    let (Some(flags), false) = (flags, address.is_null()) else {
        // SAFETY: the caller's promise.
        return unsafe { open_unseen(path, real) };
    };
    // SAFETY: open(2) has this type (the variadic argument is passed like a fixed one), and a path of the program's.
    let fd = unsafe {
        let function = core::mem::transmute::<*mut c_void, Open>(address);
        open(nr::AT_FDCWD, path, flags as c_int, || function(path, flags as c_int, 0o666))
    };
    if fd < 0 {
        return ptr::null_mut();
    }
    // SAFETY: a mode that ends.
    let stream = unsafe { stream_of(fd, mode) };
    if !stream.is_null() {
        return stream;
    }
    // No room for another stream: libc's own.
    close::forget(fd);
    sys::close(fd);
    // SAFETY: the caller's promise.
    unsafe { open_unseen(path, real) }
}

/// fdopen(3).
///
/// # Safety
///
/// The arguments must be what fdopen(3) asks for.
pub(crate) unsafe fn stream_of_descriptor(
    fd: c_int,
    mode: *const c_char,
    real: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    let entry = descriptors::get(fd);
    if !entry.is_file() || !library::is_active() || !sys::is_plausible(mode) {
        return real();
    }
    // SAFETY: the caller's promise.
    unsafe {
        let writes = !sys::string(mode.cast()).contains(&b'+') && mode.cast::<u8>().read() != b'r';
        let stream = if writes { stream_of(fd, c"a".as_ptr()) } else { ptr::null_mut() };
        if stream.is_null() { real() } else { stream }
    }
}

/// freopen(3): the stream stays libc's own.
///
/// # Safety
///
/// The arguments must be what freopen(3) asks for.
pub(crate) unsafe fn reopen_stream(
    path: *const c_char,
    mode: *const c_char,
    real: impl Fn(*const c_char) -> *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    if !unsafe { is_followed(path, mode) } {
        return real(path);
    }
    // SAFETY: the caller's promise.
    unsafe { open_unseen(path, real) }
}

/// Opens a stream of libc's own, whose writes are not seen, and says so. In a replay it leads nowhere.
///
/// # Safety
///
/// `path` must be a C string.
#[inline(never)]
unsafe fn open_unseen(path: *const c_char, real: impl Fn(*const c_char) -> *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    let (special, exists) = unsafe { (is_stream(path), kind(nr::AT_FDCWD, path)) };
    let fails = match exists {
        // SAFETY: the caller's promise.
        Err(error::ENOENT) => unsafe { no_folder(nr::AT_FDCWD, path) }.is_some(),
        Err(_) | Ok(nr::S_IFDIR) => true,
        Ok(_) => false,
    };
    let followed = !special && !fails && exists != Ok(nr::S_IFCHR);
    let Some(log) = (if followed { library::log() } else { None }) else { return real(path) };
    let stream = real(if library::is_replaying() { c"/dev/null".as_ptr() } else { path });
    if !stream.is_null() {
        // SAFETY: the caller's promise; a descriptor of this number is never followed.
        unsafe { follow(&log, -1, nr::AT_FDCWD, path, 0, 1) };
    }
    stream
}

/// A stream that writes to `fd` by this library; null if there can't be one.
///
/// # Safety
///
/// `mode` must be a C string.
#[inline(never)]
unsafe fn stream_of(fd: c_int, mode: *const c_char) -> *mut c_void {
    type SetBuffer = unsafe extern "C" fn(*mut c_void, *mut u8, c_int, usize) -> c_int;
    static SET_BUFFER: Symbol = Symbol::new(c"setvbuf");
    /// `_IOLBF` (setvbuf(3)).
    const LINES: c_int = 1;

    let buffer = SET_BUFFER.address();
    if buffer.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    let Some(stream) = (unsafe { cookie::open(fd, mode) }) else { return ptr::null_mut() };
    // SAFETY: setvbuf(3) has this type, and the stream is new.
    unsafe { core::mem::transmute::<*mut c_void, SetBuffer>(buffer)(stream, ptr::null_mut(), LINES, 0) };
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_only_append_are_recognised() {
        let of = |mode: &core::ffi::CStr| {
            // SAFETY: a C string.
            unsafe { appends(mode.as_ptr()) }
        };
        let plain = nr::O_WRONLY | nr::O_APPEND | nr::O_CREAT;
        assert_eq!(of(c"a"), Some(plain));
        assert_eq!(of(c"ab"), Some(plain));
        assert_eq!(of(c"ae"), Some(plain | nr::O_CLOEXEC));
        assert_eq!(of(c"ax"), Some(plain | nr::O_EXCL));
        for other in [c"a+", c"w", c"r", c"", c"a,ccs=UTF-8"] {
            assert_eq!(of(other), None);
        }
    }
}
