//! Files that are opened for appending, and what is appended to them.
//!
//! A log, say: what the program writes there is part of what it does. In a replay nothing is appended to the real
//! file: the program gets a descriptor of memory in its place, and what it writes is written down. Descriptors that a
//! program inherits over exec are not followed; in a replay they are of such memory, so that nothing is lost or done.
//!
//! Streams of stdio write by calls inside libc, which no hook sees. So a stream that is opened for appending is one
//! of fopencookie(3), which writes by this library. It is line-buffered, so that each line is known when it is
//! written: with a large buffer nobody could tell for which request a line was.

use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use koala_events::EventKind;

use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::payload::Payload;
use crate::operation::{close, transfer};
use crate::symbol::Symbol;
use crate::sys::{self, error, nr};
use crate::thread::Thread;

/// Bytes of the longest path (`PATH_MAX`, limits.h).
const PATH: usize = 4096;

/// open(2) and its kin. `real` opens what the program asked for.
///
/// # Safety
///
/// `path` must be what the call asks for.
#[inline]
pub(crate) unsafe fn open(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl FnOnce() -> c_int,
) -> c_int {
    if is_for_appending(flags) {
        // SAFETY: the caller's promise.
        return match unsafe { before_open(directory, path, flags as u32) } {
            Opening::Untracked => real(),
            Opening::Real(log) => {
                let fd = real();
                if fd >= 0 {
                    // SAFETY: the caller's promise: the path was good.
                    unsafe { follow(&log, fd, directory, path, flags as u32, 0) };
                }
                fd
            }
            Opening::Done(fd) => fd,
        };
    }
    real()
}

/// Whether what is opened with these flags is appended to.
fn is_for_appending(flags: c_int) -> bool {
    const WRITES: u32 = nr::O_WRONLY | nr::O_RDWR;
    flags as u32 & nr::O_APPEND != 0 && flags as u32 & WRITES != 0
}

/// What becomes of an open.
enum Opening {
    /// It is none of koala's business.
    Untracked,
    /// The real file is opened, and followed.
    Real(Log),
    /// It is done, or has failed.
    Done(c_int),
}

fn fail(errno: u32) -> Opening {
    sys::set_errno(errno as c_int);
    Opening::Done(-1)
}

/// # Safety
///
/// As for [`open`].
#[inline(never)]
unsafe fn before_open(directory: c_int, path: *const c_char, flags: u32) -> Opening {
    // A vfork child opens what the program that it executes will write to.
    let follows = library::is_active() || library::covers_children() && library::is_in_vfork_child();
    if !follows || !sys::is_plausible(path) {
        return Opening::Untracked;
    }
    // SAFETY: the caller's promise.
    let (special, exists) = unsafe { (is_stream(path), kind(directory, path)) };
    if special || exists.is_some_and(|kind| kind == nr::S_IFCHR) {
        return Opening::Untracked;
    }
    let replaying = library::is_replaying();
    let Some(log) = library::log() else {
        return if replaying { fail(error::EACCES) } else { Opening::Untracked };
    };
    if !replaying {
        return Opening::Real(log);
    }
    let fails = match exists {
        None => flags & nr::O_CREAT == 0,
        Some(kind) => kind != nr::S_IFREG || flags & (nr::O_CREAT | nr::O_EXCL) == nr::O_CREAT | nr::O_EXCL,
    };
    if fails {
        return fail(match exists {
            None => error::ENOENT,
            Some(nr::S_IFREG) => error::EEXIST,
            Some(nr::S_IFDIR) => error::EISDIR,
            // A pipe or the like leads out of the process.
            Some(_) => error::EACCES,
        });
    }
    // SAFETY: a name that ends.
    let fd = unsafe {
        let close_on_exec = if flags & nr::O_CLOEXEC != 0 { nr::MFD_CLOEXEC } else { 0 };
        let name = c"koala-appended".as_ptr() as usize;
        sys::call(nr::__NR_memfd_create, [name, close_on_exec as usize, 0, 0, 0, 0])
    };
    if fd < 0 {
        return fail(-fd as u32);
    }
    let fd = fd as c_int;
    if exists.is_some() && flags & nr::O_RDWR != 0 && flags & nr::O_TRUNC == 0 {
        // SAFETY: the caller's promise.
        unsafe { fill(fd, directory, path) };
    }
    // SAFETY: flags of a descriptor of ours.
    unsafe {
        let kept = (flags & (nr::O_APPEND | nr::O_NONBLOCK)) as usize;
        sys::call(nr::__NR_fcntl, [fd as usize, nr::F_SETFL as usize, kept, 0, 0, 0]);
        follow(&log, fd, directory, path, flags, 0);
    }
    Opening::Done(fd)
}

/// Copies what the real file holds: the program may read it.
///
/// # Safety
///
/// `path` must be a C string.
unsafe fn fill(to: c_int, directory: c_int, path: *const c_char) {
    // SAFETY: the caller's promise.
    let from = unsafe {
        let flags = (nr::O_RDONLY | nr::O_CLOEXEC) as usize;
        sys::call(nr::__NR_openat, [directory as usize, path as usize, flags, 0, 0, 0])
    };
    if from < 0 {
        return;
    }
    // SAFETY: two descriptors of ours.
    while unsafe { sys::call(nr::__NR_sendfile, [to as usize, from as usize, 0, 1 << 20, 0, 0]) } > 0 {}
    sys::close(from as c_int);
}

/// The kind of file at `path`, as `st_mode` has it; `None` if there is none.
///
/// # Safety
///
/// `path` must be a C string.
unsafe fn kind(directory: c_int, path: *const c_char) -> Option<u32> {
    let mut about = MaybeUninit::<nr::stat>::zeroed();
    // SAFETY: the caller's promise; the kernel fills the structure.
    let result = unsafe {
        let to = about.as_mut_ptr() as usize;
        sys::call(nr::__NR_newfstatat, [directory as usize, path as usize, to, 0, 0, 0])
    };
    // SAFETY: zeros are a valid value, and the kernel has written another.
    (result == 0).then(|| unsafe { about.assume_init() }.st_mode & nr::S_IFMT)
}

/// Whether the path names a descriptor of the process, such as its own standard error.
///
/// # Safety
///
/// `path` must be a C string.
unsafe fn is_stream(path: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let path = unsafe { sys::string(path.cast()) };
    [&b"/dev/std"[..], b"/dev/fd/", b"/proc/self/fd/", b"/proc/thread-self/fd/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// From now on `fd` is a file that is appended to. `unseen` is 1 where what is appended by it is not seen.
///
/// # Safety
///
/// `path` must be a C string.
#[inline(never)]
unsafe fn follow(log: &Log, fd: c_int, directory: c_int, path: *const c_char, flags: u32, unseen: i64) {
    let errno = sys::errno();
    close::replaced(fd);
    let entry = Entry::file(log.new_connection(), flags & nr::O_RDWR != 0);
    let mut full = [0u8; 2 * PATH];
    // SAFETY: the caller's promise.
    let given = unsafe { sys::string(path.cast()) };
    let mut length = 0;
    if !given.starts_with(b"/") {
        length = base(directory, &mut full);
    }
    for (to, from) in full.iter_mut().skip(length).zip(given) {
        *to = *from;
        length += 1;
    }
    let full = full.get(..length.min(log.max_payload())).unwrap_or(&[]);
    log.append(EventKind::Open, fd, entry, unseen, sys::now(), full);
    if library::is_in_vfork_child() {
        // Its descriptors are not those of its parent, whose memory this is.
        Thread::current().bequeath(fd, entry);
    } else {
        descriptors::set(fd, if unseen == 0 { entry } else { Entry::IGNORED });
    }
    sys::set_errno(errno);
}

/// The path that a relative one begins from, with a slash; its length.
fn base(directory: c_int, out: &mut [u8; 2 * PATH]) -> usize {
    let mut link = [0u8; 40];
    let name: &[u8] = if directory == nr::AT_FDCWD {
        b"/proc/self/cwd"
    } else {
        let mut digits = [0u8; 10];
        let (mut left, mut at) = (directory.max(0) as u32, digits.len());
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            at -= 1;
            if left == 0 {
                break;
            }
        }
        let text = b"/proc/self/fd/".iter().chain(digits.get(at..).unwrap_or(&[]));
        for (to, from) in link.iter_mut().zip(text) {
            *to = *from;
        }
        &link
    };
    // SAFETY: a name that ends (the array behind the digits is zeros), and a buffer of ours.
    let length = unsafe {
        let at_cwd = nr::AT_FDCWD as usize;
        let mut ended = [0u8; 64];
        for (to, from) in ended.iter_mut().zip(name) {
            *to = *from;
        }
        sys::call(
            nr::__NR_readlinkat,
            [at_cwd, ended.as_ptr() as usize, out.as_mut_ptr() as usize, PATH, 0, 0],
        )
    };
    let length = length.max(0) as usize;
    match out.get_mut(length) {
        Some(end) => {
            *end = b'/';
            length + 1
        }
        None => length,
    }
}

/// The descriptor of a followed file is closed.
pub(crate) fn closed(fd: c_int, entry: Entry) {
    if entry.shared() && descriptors::is_elsewhere(fd, entry.connection()) {
        return;
    }
    if let Some(log) = library::log_if_attached() {
        log.append(EventKind::Close, fd, entry, 0, sys::now(), &[]);
    }
}

/// pwrite(2) and its kin: a file that was opened for appending is appended to, whatever the offset (pwrite(2), BUGS).
///
/// # Safety
///
/// The payload must be what the call is about to write.
#[inline]
pub(crate) unsafe fn write_at(fd: c_int, payload: Payload, real: impl FnOnce() -> isize) -> isize {
    if !descriptors::get(fd).is_file() {
        return real();
    }
    // SAFETY: the caller's promise.
    unsafe { transfer::send(fd, payload, (ptr::null(), 0), real) }
}

/// Streams that are opened for appending, with their descriptors.
static STREAMS: [Stream; 64] =
    [const { Stream { stream: AtomicPtr::new(ptr::null_mut()), fd: AtomicI32::new(-1) } }; 64];

struct Stream {
    /// The stream; the place itself while it is being made.
    stream: AtomicPtr<c_void>,
    fd: AtomicI32,
}

/// `cookie_io_functions_t` (fopencookie(3)).
#[repr(C)]
struct Functions {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut u8, usize) -> isize>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const u8, usize) -> isize>,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut i64, c_int) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

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

/// posix_spawn_file_actions_addopen(3): libc will open the file in the child. That what the child appends is not seen is
/// said; in a replay it leads nowhere. `real` takes the path and the flags.
///
/// # Safety
///
/// `path` must be what the call asks for.
pub(crate) unsafe fn open_in_child(
    path: *const c_char,
    flags: c_int,
    real: impl Fn(*const c_char, c_int) -> c_int,
) -> c_int {
    if !is_for_appending(flags) || !library::is_active() || !sys::is_plausible(path) {
        return real(path, flags);
    }
    // SAFETY: the caller's promise.
    let special = unsafe { is_stream(path) || kind(nr::AT_FDCWD, path) == Some(nr::S_IFCHR) };
    let log = if special { None } else { library::log() };
    let Some(log) = log else { return real(path, flags) };
    let error = if library::is_replaying() {
        real(c"/dev/null".as_ptr(), nr::O_WRONLY as c_int)
    } else {
        real(path, flags)
    };
    if error == 0 {
        // SAFETY: the caller's promise; a descriptor of this number is never followed.
        unsafe { follow(&log, -1, nr::AT_FDCWD, path, 0, 1) };
    }
    error
}

/// Opens a stream of libc's own, whose writes are not seen, and says so. In a replay it leads nowhere.
///
/// # Safety
///
/// `path` must be a C string.
#[inline(never)]
unsafe fn open_unseen(path: *const c_char, real: impl Fn(*const c_char) -> *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    let special = unsafe { is_stream(path) || kind(nr::AT_FDCWD, path) == Some(nr::S_IFCHR) };
    let log = if special { None } else { library::log() };
    let Some(log) = log else { return real(path) };
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
    type OpenCookie = unsafe extern "C" fn(*mut c_void, *const c_char, Functions) -> *mut c_void;
    type SetBuffer = unsafe extern "C" fn(*mut c_void, *mut u8, c_int, usize) -> c_int;
    static OPEN_COOKIE: Symbol = Symbol::new(c"fopencookie");
    static SET_BUFFER: Symbol = Symbol::new(c"setvbuf");
    /// `_IOLBF` (setvbuf(3)).
    const LINES: c_int = 1;

    let (make, buffer) = (OPEN_COOKIE.address(), SET_BUFFER.address());
    if make.is_null() || buffer.is_null() {
        return ptr::null_mut();
    }
    let free = |place: &&Stream| {
        let own = ptr::from_ref::<Stream>(place).cast_mut().cast();
        place.stream.compare_exchange(ptr::null_mut(), own, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let Some(place) = STREAMS.iter().find(free) else { return ptr::null_mut() };
    place.fd.store(fd, Ordering::Relaxed);
    let functions = Functions {
        read: None,
        write: Some(cookie_write),
        seek: Some(cookie_seek),
        close: Some(cookie_close),
    };
    let cookie = ptr::from_ref(place).cast_mut().cast();
    // SAFETY: fopencookie(3) and setvbuf(3) have these types; the cookie is a place of ours.
    let stream = unsafe {
        let stream = core::mem::transmute::<*mut c_void, OpenCookie>(make)(cookie, mode, functions);
        if !stream.is_null() {
            core::mem::transmute::<*mut c_void, SetBuffer>(buffer)(stream, ptr::null_mut(), LINES, 0);
        }
        stream
    };
    place.stream.store(stream, Ordering::Release);
    stream
}

/// The descriptor of a stream that this library writes for.
fn descriptor_of(stream: *mut c_void) -> Option<c_int> {
    if stream.is_null() {
        return None;
    }
    let place = STREAMS.iter().find(|place| place.stream.load(Ordering::Acquire) == stream)?;
    Some(place.fd.load(Ordering::Relaxed))
}

/// fileno(3).
pub(crate) fn number(stream: *mut c_void, real: impl FnOnce() -> c_int) -> c_int {
    let before = sys::errno();
    let fd = real();
    if fd >= 0 {
        return fd;
    }
    match descriptor_of(stream) {
        Some(fd) => {
            sys::set_errno(before);
            fd
        }
        None => fd,
    }
}

/// The place of a cookie.
///
/// # Safety
///
/// `cookie` must be what [`stream_of`] gave libc.
unsafe fn place<'a>(cookie: *mut c_void) -> &'a Stream {
    // SAFETY: the caller's promise: a place of STREAMS.
    unsafe { &*cookie.cast::<Stream>() }
}

unsafe extern "C" fn cookie_write(cookie: *mut c_void, bytes: *const u8, size: usize) -> isize {
    // SAFETY: libc calls with the cookie that it was given.
    let fd = unsafe { place(cookie) }.fd.load(Ordering::Relaxed);
    let mut done = 0;
    while done < size {
        // SAFETY: `size` bytes of libc's buffer.
        let written = unsafe {
            let (at, left) = (bytes.add(done), size - done);
            transfer::send(fd, Payload::buffer(at, left), (ptr::null(), 0), || {
                let result = sys::call(nr::__NR_write, [fd as usize, at as usize, left, 0, 0, 0]);
                if result < 0 {
                    sys::set_errno(-result as c_int);
                    return -1;
                }
                result
            })
        };
        if written <= 0 {
            // glibc takes anything less than all for an error, and misunderstands -1 (fopencookie(3)).
            break;
        }
        done += written as usize;
    }
    done as isize
}

unsafe extern "C" fn cookie_seek(cookie: *mut c_void, offset: *mut i64, whence: c_int) -> c_int {
    // SAFETY: libc calls with the cookie that it was given, and with an offset to change.
    unsafe {
        let fd = place(cookie).fd.load(Ordering::Relaxed);
        let result = sys::call(nr::__NR_lseek, [fd as usize, *offset as usize, whence as usize, 0, 0, 0]);
        if result < 0 {
            sys::set_errno(-result as c_int);
            return -1;
        }
        *offset = result as i64;
    }
    0
}

unsafe extern "C" fn cookie_close(cookie: *mut c_void) -> c_int {
    // SAFETY: libc calls with the cookie that it was given, for the last time.
    let place = unsafe { place(cookie) };
    let fd = place.fd.swap(-1, Ordering::Relaxed);
    place.stream.store(ptr::null_mut(), Ordering::Release);
    close::forget(fd);
    // SAFETY: the stream's descriptor, which it closes.
    let result = unsafe { sys::call(nr::__NR_close, [fd as usize, 0, 0, 0, 0, 0]) };
    if result < 0 {
        sys::set_errno(-result as c_int);
        return -1;
    }
    0
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

    #[test]
    fn relative_paths_begin_where_the_kernel_says() {
        let mut out = [0; 2 * PATH];
        let length = base(nr::AT_FDCWD, &mut out);
        let mut here = std::env::current_dir().unwrap().into_os_string().into_encoded_bytes();
        here.push(b'/');
        assert_eq!(out[..length], here);
        let folder = std::fs::File::open("/usr").unwrap();
        let length = base(std::os::fd::AsRawFd::as_raw_fd(&folder), &mut out);
        assert_eq!(&out[..length], b"/usr/");
    }

    #[test]
    fn files_of_the_process_itself_are_none() {
        // SAFETY: C strings.
        unsafe {
            assert!(is_stream(c"/dev/stderr".as_ptr()) && is_stream(c"/proc/self/fd/2".as_ptr()));
            assert!(!is_stream(c"/var/log/app.log".as_ptr()));
            assert_eq!(kind(nr::AT_FDCWD, c"/dev/null".as_ptr()), Some(nr::S_IFCHR));
            assert_eq!(kind(nr::AT_FDCWD, c"/nowhere/at/all".as_ptr()), None);
        }
    }
}
