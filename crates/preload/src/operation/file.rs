//! Files that are opened for appending, and what is appended to them.
//!
//! A log, say: what the program writes there is part of what it does. In a replay nothing is appended to the real
//! file: the program gets a descriptor of memory in its place, and what it writes is written down. A program that
//! another one of the tree has started with such a descriptor goes on with it ([`crate::lineage`]), in whatever place it
//! has it; what it writes there by the streams that libc has made at its start is found out afterwards ([`output`]).
//!
//! Streams of stdio write by calls inside libc, which no hook sees. So a stream that is opened for appending is one
//! that writes by this library ([`super::cookie`]). It is line-buffered, so that each line is known when it is
//! written: with a large buffer nobody could tell for which request a line was.

use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr;

use koala_events::EventKind;

use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::payload::Payload;
use crate::operation::{close, transfer};
use crate::sys::{self, error, nr};
use crate::thread::Thread;

pub(crate) mod output;
mod streams;

pub(crate) use streams::{open_stream, reopen_stream, stream_of_descriptor};

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
    if special || exists == Ok(nr::S_IFCHR) {
        return Opening::Untracked;
    }
    let replaying = library::is_replaying();
    let Some(log) = library::log() else {
        return if replaying { fail(error::EACCES) } else { Opening::Untracked };
    };
    if !replaying {
        return Opening::Real(log);
    }
    let made_anew = flags & (nr::O_CREAT | nr::O_EXCL) == nr::O_CREAT | nr::O_EXCL;
    let failure = match exists {
        // SAFETY: the caller's promise.
        Err(error::ENOENT) if flags & nr::O_CREAT != 0 => unsafe { no_folder(directory, path) },
        Err(errno) => Some(errno),
        Ok(_) if made_anew => Some(error::EEXIST),
        Ok(nr::S_IFREG) => None,
        Ok(nr::S_IFDIR) => Some(error::EISDIR),
        // A pipe or the like leads out of the process.
        Ok(_) => Some(error::EACCES),
    };
    if let Some(errno) = failure {
        return fail(errno);
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
    if exists.is_ok() && flags & nr::O_RDWR != 0 && flags & nr::O_TRUNC == 0 {
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

/// The kind of file at `path`, as `st_mode` has it, or why that can't be said: an `errno`, of which `ENOENT` is that there
/// is none.
///
/// # Safety
///
/// `path` must be a C string.
unsafe fn kind(directory: c_int, path: *const c_char) -> Result<u32, u32> {
    let mut about = MaybeUninit::<nr::stat>::zeroed();
    // SAFETY: the caller's promise; the kernel fills the structure.
    let result = unsafe {
        let to = about.as_mut_ptr() as usize;
        sys::call(nr::__NR_newfstatat, [directory as usize, path as usize, to, 0, 0, 0])
    };
    if result < 0 {
        return Err(-result as u32);
    }
    // SAFETY: zeros are a valid value, and the kernel has written another.
    Ok(unsafe { about.assume_init() }.st_mode & nr::S_IFMT)
}

/// Why no file can be made at `path`, where there is none: an `errno`. `None` if the folder is there for it.
///
/// # Safety
///
/// `path` must be a C string.
unsafe fn no_folder(directory: c_int, path: *const c_char) -> Option<u32> {
    // SAFETY: the caller's promise.
    let path = unsafe { sys::string(path.cast()) };
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let mut folder = [0u8; PATH];
    // With its slash, so that what is none says so. One that is too long is ENAMETOOLONG, and not ENOENT.
    for (to, from) in folder.iter_mut().take(PATH - 1).zip(path.iter().take(slash + 1)) {
        *to = *from;
    }
    // SAFETY: a path that ends.
    unsafe { kind(directory, folder.as_ptr().cast()) }.err()
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
        output::begin(fd, descriptors::get(fd));
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
        let text = b"/proc/self/fd/".iter().chain(sys::decimal(directory.max(0) as u32, &mut digits));
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
    let special = unsafe { is_stream(path) || kind(nr::AT_FDCWD, path) == Ok(nr::S_IFCHR) };
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(kind(nr::AT_FDCWD, c"/dev/null".as_ptr()), Ok(nr::S_IFCHR));
            assert_eq!(kind(nr::AT_FDCWD, c"/nowhere/at/all".as_ptr()), Err(error::ENOENT));
            assert_eq!(kind(-1, c"here".as_ptr()), Err(error::EBADF));
            assert_eq!(no_folder(nr::AT_FDCWD, c"/nowhere/at/all".as_ptr()), Some(error::ENOENT));
            assert_eq!(no_folder(nr::AT_FDCWD, c"/dev/null/there".as_ptr()), Some(error::ENOTDIR));
            assert_eq!(no_folder(nr::AT_FDCWD, c"/usr/koala".as_ptr()), None);
            assert_eq!(no_folder(nr::AT_FDCWD, c"koala".as_ptr()), None);
        }
    }
}
