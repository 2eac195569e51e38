//! Streams of stdio that this library reads and writes for: those of fopencookie(3). libc reads and writes its own by
//! calls that no hook sees; the bytes of these pass through functions of koala, and so through the operations of every
//! other send, receive and append.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use koala_events::Address;

use crate::operation::payload::Payload;
use crate::operation::{close, transfer};
use crate::symbol::Symbol;
use crate::sys::{self, error, nr};

/// Streams at a time; those beyond are libc's own.
const STREAMS: usize = 512;

/// A stream, and the descriptor that it is of.
struct Stream {
    /// Null if the place is free, itself while the stream is being made.
    file: AtomicPtr<c_void>,
    fd: AtomicI32,
}

// All zeros: so it takes no room in the library's file.
static OPEN: [Stream; STREAMS] =
    [const { Stream { file: AtomicPtr::new(ptr::null_mut()), fd: AtomicI32::new(0) } }; STREAMS];

/// `cookie_io_functions_t` (fopencookie(3)).
#[repr(C)]
struct Functions {
    read: unsafe extern "C" fn(*const Stream, *mut u8, usize) -> isize,
    write: unsafe extern "C" fn(*const Stream, *const u8, usize) -> isize,
    seek: unsafe extern "C" fn(*const Stream, *mut i64, c_int) -> c_int,
    close: unsafe extern "C" fn(*const Stream) -> c_int,
}

/// A stream on `fd`, which closes that with itself; `None` if there can't be one.
///
/// # Safety
///
/// `mode` must be what fopencookie(3) asks for.
#[inline(never)]
pub(crate) unsafe fn open(fd: c_int, mode: *const c_char) -> Option<*mut c_void> {
    type OpenCookie = unsafe extern "C" fn(*const Stream, *const c_char, Functions) -> *mut c_void;
    static OPEN_COOKIE: Symbol = Symbol::new(c"fopencookie");
    let make = OPEN_COOKIE.address();
    if make.is_null() {
        return None;
    }
    let stream = claim(fd)?;
    let functions = Functions { read, write, seek, close: end };
    // SAFETY: fopencookie(3) has this type; the functions take the stream, which lives for ever.
    let file = unsafe { core::mem::transmute::<*mut c_void, OpenCookie>(make)(stream, mode, functions) };
    // Where there is none, the place is free again.
    stream.file.store(file, Ordering::Release);
    (!file.is_null()).then_some(file)
}

/// A free place, taken for `fd`.
fn claim(fd: c_int) -> Option<&'static Stream> {
    for stream in &OPEN {
        let mark = ptr::from_ref(stream).cast_mut().cast();
        let claimed =
            stream.file.compare_exchange(ptr::null_mut(), mark, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_ok() {
            stream.fd.store(fd, Ordering::Relaxed);
            return Some(stream);
        }
    }
    None
}

/// The descriptor of a stream that koala has made.
///
/// # Safety
///
/// The stream must be a place of [`OPEN`].
unsafe fn descriptor(stream: *const Stream) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { (*stream).fd.load(Ordering::Relaxed) }
}

unsafe extern "C" fn read(stream: *const Stream, buffer: *mut u8, length: usize) -> isize {
    type Read = unsafe extern "C" fn(c_int, *mut u8, usize) -> isize;
    // libc's, which pthread_cancel(3) can interrupt.
    static READ: Symbol = Symbol::new(c"read");
    let function = READ.address();
    if function.is_null() {
        sys::set_errno(error::EBADF as c_int);
        return -1;
    }
    // SAFETY: libc calls this with what `open` gave it, and a buffer of this length; read(2) has this type.
    unsafe {
        let fd = descriptor(stream);
        let real = || core::mem::transmute::<*mut c_void, Read>(function)(fd, buffer, length);
        transfer::receive(fd, Payload::buffer(buffer, length), 0, || Address::None, real)
    }
}

unsafe extern "C" fn write(stream: *const Stream, buffer: *const u8, length: usize) -> isize {
    // SAFETY: libc calls this with what `open` gave it, and a buffer of this length.
    let written = unsafe { write_all(descriptor(stream), buffer, length) };
    // glibc takes less than all for an error, and a negative number for a large one; musl wants the negative number.
    if written == 0 && length > 0 && !is_glibc() { -1 } else { written as isize }
}

fn is_glibc() -> bool {
    static VERSION: Symbol = Symbol::new(c"gnu_get_libc_version");
    VERSION.exists()
}

/// Writes as libc's streams do: until all is written, or nothing more can be. Returns how much was.
///
/// # Safety
///
/// `buffer` must have `length` bytes.
pub(crate) unsafe fn write_all(fd: c_int, buffer: *const u8, length: usize) -> usize {
    type Write = unsafe extern "C" fn(c_int, *const u8, usize) -> isize;
    static WRITE: Symbol = Symbol::new(c"write");
    let function = WRITE.address();
    let mut done = 0;
    while done < length && !function.is_null() {
        // SAFETY: the caller's promise; write(2) has this type.
        let written = unsafe {
            let (rest, left) = (buffer.add(done), length - done);
            let real = || core::mem::transmute::<*mut c_void, Write>(function)(fd, rest, left);
            transfer::send(fd, Payload::buffer(rest, left), (ptr::null(), 0), real)
        };
        if written < 0 {
            break;
        }
        done += written as usize;
    }
    done
}

/// A socket has no position, and the kernel says so.
unsafe extern "C" fn seek(stream: *const Stream, offset: *mut i64, whence: c_int) -> c_int {
    // SAFETY: libc calls this with what `open` gave it, and with an offset to change.
    unsafe {
        let fd = descriptor(stream) as usize;
        let result = sys::call(nr::__NR_lseek, [fd, *offset as usize, whence as usize, 0, 0, 0]);
        if result < 0 {
            sys::set_errno(-result as c_int);
            return -1;
        }
        *offset = result as i64;
    }
    0
}

unsafe extern "C" fn end(stream: *const Stream) -> c_int {
    // SAFETY: libc calls this with what `open` gave it, once.
    let fd = unsafe { descriptor(stream) };
    // SAFETY: as above.
    unsafe { (*stream).file.store(ptr::null_mut(), Ordering::Release) };
    close::close(fd, || {
        // SAFETY: the stream's own descriptor.
        let result = unsafe { sys::call(nr::__NR_close, [fd as usize, 0, 0, 0, 0, 0]) };
        if result < 0 {
            sys::set_errno(-result as c_int);
            return -1;
        }
        0
    })
}

/// fileno(3): that of a stream of koala's is the one that it was made for.
pub(crate) fn number(file: *mut c_void, real: impl FnOnce() -> c_int) -> c_int {
    let errno = sys::errno();
    let fd = real();
    if fd >= 0 || file.is_null() {
        return fd;
    }
    match OPEN.iter().find(|stream| stream.file.load(Ordering::Acquire) == file) {
        Some(stream) => {
            sys::set_errno(errno);
            stream.fd.load(Ordering::Relaxed)
        }
        None => fd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_handed_out_once() {
        let first = claim(7).unwrap();
        let second = claim(8).unwrap();
        assert!(!ptr::eq(first, second));
        for stream in [first, second] {
            stream.file.store(ptr::null_mut(), Ordering::Release);
        }
    }

    #[test]
    fn the_number_of_an_unknown_stream_is_libcs() {
        let mut place = 0u8;
        let file = (&raw mut place).cast();
        assert_eq!((number(file, || 5), number(file, || -1), number(ptr::null_mut(), || -1)), (5, -1, -1));
    }
}
