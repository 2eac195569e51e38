//! System calls without libc: what koala does for itself must neither pass through its own hooks nor touch
//! `errno`. Results are the kernel's: a value, or `-errno`.

use core::arch::asm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) use linux_raw_sys::errno as error;
pub(crate) use linux_raw_sys::general as nr;
pub(crate) use linux_raw_sys::net;

use crate::symbol::Symbol;

/// One of `struct iovec` (readv(2)).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoVec {
    pub(crate) base: *mut u8,
    pub(crate) length: usize,
}

/// `struct msghdr` (recvmsg(2)), as glibc and musl lay it out on 64-bit machines.
#[repr(C)]
pub(crate) struct Message {
    pub(crate) name: *mut u8,
    pub(crate) name_length: u32,
    pub(crate) vector: *mut IoVec,
    /// musl has an `int` and padding here; the kernel reads a `size_t`.
    pub(crate) vector_length: usize,
    pub(crate) control: *mut u8,
    pub(crate) control_length: usize,
    pub(crate) flags: c_int,
}

/// `struct mmsghdr` (sendmmsg(2)).
#[repr(C)]
pub(crate) struct MessageEntry {
    pub(crate) message: Message,
    /// What the call did with the message: bytes.
    pub(crate) length: u32,
}

/// Whether there may be memory at this address: not at null, and not where the kernel reports its errors. Programs pass
/// such pointers on purpose, and are to get EFAULT and not a signal.
#[inline]
pub(crate) fn is_plausible<T>(pointer: *const T) -> bool {
    const PAGE: usize = 4096;
    (PAGE..usize::MAX - PAGE).contains(&pointer.addr())
}

/// `struct timespec`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct TimeSpec {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}

/// A system call with up to six arguments.
///
/// # Safety
///
/// The arguments must be what the call asks for.
#[inline]
pub(crate) unsafe fn call(number: u32, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the registers are those of the x86-64 system call convention; rcx and r11 are what it destroys.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as usize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the registers are those of the arm64 system call convention, which destroys no others.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number as usize,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// getpid(2): no cached value, which a forked child would inherit.
pub(crate) fn getpid() -> u32 {
    // SAFETY: takes no arguments.
    unsafe { call(nr::__NR_getpid, [0; 6]) as u32 }
}

/// gettid(2).
pub(crate) fn gettid() -> u32 {
    // SAFETY: takes no arguments.
    unsafe { call(nr::__NR_gettid, [0; 6]) as u32 }
}

/// Whether this process is a child of the process's parent by its thread `thread` (proc(5), `children`); `None` where
/// that can't be said.
pub(crate) fn is_child_of(thread: u32) -> Option<bool> {
    // SAFETY: takes no arguments.
    let parent = unsafe { call(nr::__NR_getppid, [0; 6]) } as u32;
    let mut path = [0u8; 64];
    let (mut parent_digits, mut thread_digits) = ([0u8; 10], [0u8; 10]);
    let parts: [&[u8]; 5] = [
        b"/proc/",
        decimal(parent, &mut parent_digits),
        b"/task/",
        decimal(thread, &mut thread_digits),
        b"/children",
    ];
    for (to, from) in path.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    // SAFETY: a path of ours that ends.
    let fd = unsafe {
        let flags = (nr::O_RDONLY | nr::O_CLOEXEC) as usize;
        call(nr::__NR_openat, [nr::AT_FDCWD as usize, path.as_ptr() as usize, flags, 0, 0, 0])
    };
    if fd < 0 {
        return None;
    }
    let mut own_digits = [0u8; 10];
    let own = decimal(getpid(), &mut own_digits);
    let mut found = false;
    // Where the own number goes on at the next piece, it is put together.
    let (mut word, mut length) = ([0u8; 10], 0);
    let mut piece = [0u8; 512];
    loop {
        // SAFETY: a buffer of ours with its size.
        let got =
            unsafe { call(nr::__NR_read, [fd as usize, piece.as_mut_ptr() as usize, piece.len(), 0, 0, 0]) };
        if got <= 0 {
            break;
        }
        for &byte in piece.get(..got as usize).unwrap_or(&[]) {
            if byte.is_ascii_digit() {
                if let Some(place) = word.get_mut(length) {
                    *place = byte;
                }
                length += 1;
            } else {
                found |= word.get(..length) == Some(own);
                length = 0;
            }
        }
    }
    close(fd as c_int);
    Some(found)
}

/// A number in decimal.
pub(crate) fn decimal(mut number: u32, to: &mut [u8; 10]) -> &[u8] {
    let mut count = 0;
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    to.get(to.len() - count..).unwrap_or(&[])
}

/// close(2).
pub(crate) fn close(fd: c_int) {
    // SAFETY: the caller's own descriptor.
    unsafe { call(nr::__NR_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// What tells a socket, or a regular file, from every other of the machine; `None` if `fd` is neither.
pub(crate) fn identity(fd: c_int) -> Option<u64> {
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut stat: nr::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel fills a struct of ours.
    let result = unsafe { call(nr::__NR_fstat, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]) };
    let known = matches!(stat.st_mode & nr::S_IFMT, nr::S_IFSOCK | nr::S_IFREG);
    (result == 0 && known).then_some(stat.st_ino ^ stat.st_dev.rotate_left(32))
}

/// How long the file is; `None` if there is none.
pub(crate) fn length(fd: c_int) -> Option<u64> {
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut stat: nr::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel fills a struct of ours.
    let result = unsafe { call(nr::__NR_fstat, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]) };
    (result == 0).then_some(stat.st_size as u64)
}

/// Whether an exec closes the descriptor (or it is none).
pub(crate) fn closes_on_exec(fd: c_int) -> bool {
    // SAFETY: takes numbers only.
    let flags = unsafe { call(nr::__NR_fcntl, [fd as usize, nr::F_GETFD as usize, 0, 0, 0, 0]) };
    flags < 0 || flags as u32 & nr::FD_CLOEXEC != 0
}

/// Whether who executes the file of this path becomes somebody else (execve(2), set-user-ID and set-group-ID).
///
/// # Safety
///
/// `path` must be a C string.
pub(crate) unsafe fn gives_privileges(path: *const c_char) -> bool {
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut stat: nr::stat = unsafe { core::mem::zeroed() };
    let into = &raw mut stat as usize;
    // SAFETY: the caller's promise, and a struct of ours that the kernel fills.
    let result = unsafe { call(nr::__NR_newfstatat, [nr::AT_FDCWD as usize, path as usize, into, 0, 0, 0]) };
    if result != 0 || stat.st_mode & nr::S_IFMT != nr::S_IFREG {
        return false;
    }
    // SAFETY: these take no arguments.
    let (user, group) = unsafe { (call(nr::__NR_geteuid, [0; 6]), call(nr::__NR_getegid, [0; 6])) };
    // The group's bit without its right to execute means something else (stat(2), mandatory locking).
    const GROUP: u32 = nr::S_ISGID | nr::S_IXGRP;
    stat.st_mode & nr::S_ISUID != 0 && stat.st_uid as isize != user
        || stat.st_mode & GROUP == GROUP && stat.st_gid as isize != group
}

/// Whether `fd` is a regular file.
pub(crate) fn is_regular(fd: c_int) -> bool {
    is_of_kind(fd, nr::S_IFREG)
}

/// Whether `fd` is an end of a pipe.
pub(crate) fn is_pipe(fd: c_int) -> bool {
    is_of_kind(fd, nr::S_IFIFO)
}

fn is_of_kind(fd: c_int, kind: u32) -> bool {
    let mut status = core::mem::MaybeUninit::<nr::stat>::zeroed();
    // SAFETY: the kernel fills in a `struct stat`, for which there is room.
    let result = unsafe { call(nr::__NR_fstat, [fd as usize, status.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    // SAFETY: zeros are a valid `struct stat`, and so is what the kernel writes.
    result >= 0 && unsafe { status.assume_init() }.st_mode & nr::S_IFMT == kind
}

/// Whether calls on `fd` wait: it is open, and lacks the flag `O_NONBLOCK`.
pub(crate) fn is_blocking(fd: c_int) -> bool {
    status_flags(fd).is_some_and(|flags| flags & nr::O_NONBLOCK == 0)
}

/// Whether what is written to `fd` is appended.
pub(crate) fn appends(fd: c_int) -> bool {
    status_flags(fd).is_some_and(|flags| flags & nr::O_APPEND != 0)
}

fn status_flags(fd: c_int) -> Option<u32> {
    // SAFETY: takes numbers only.
    let flags = unsafe { call(nr::__NR_fcntl, [fd as usize, nr::F_GETFL as usize, 0, 0, 0, 0]) };
    u32::try_from(flags).ok()
}

/// mmap(2) of new private memory, zeroed; null if there is none.
pub(crate) fn allocate(size: usize) -> *mut u8 {
    let protection = (nr::PROT_READ | nr::PROT_WRITE) as usize;
    let flags = (nr::MAP_PRIVATE | nr::MAP_ANONYMOUS) as usize;
    // SAFETY: a new anonymous mapping disturbs no other.
    let address = unsafe { call(nr::__NR_mmap, [0, size, protection, flags, usize::MAX, 0]) };
    if address < 0 { core::ptr::null_mut() } else { address as *mut u8 }
}

/// munmap(2).
///
/// # Safety
///
/// `address` must have come from [`allocate`] with this size, and nothing may point into it any longer.
pub(crate) unsafe fn free(address: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    unsafe { call(nr::__NR_munmap, [address as usize, size, 0, 0, 0, 0]) };
}

/// mmap(2) of a file that is shared with other processes; null if it can't be mapped.
pub(crate) fn map_shared(fd: c_int, size: usize) -> *mut u8 {
    let protection = (nr::PROT_READ | nr::PROT_WRITE) as usize;
    // SAFETY: a new mapping disturbs no other.
    let address =
        unsafe { call(nr::__NR_mmap, [0, size, protection, nr::MAP_SHARED as usize, fd as usize, 0]) };
    if address < 0 { core::ptr::null_mut() } else { address as *mut u8 }
}

/// Copies `length` bytes; nothing if there are none.
///
/// # Safety
///
/// As for [`core::ptr::copy_nonoverlapping`].
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    if length > 0 {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(from, to, length) };
    }
}

/// From so many bytes on, a copy for the log goes past the caches ([`copy_for_another`]).
#[cfg(target_arch = "x86_64")]
const PAST_CACHES: usize = 8192;

/// Copies `length` bytes to where another processor is about to read them, and this one is not.
///
/// That one has zeroed the memory and has it in its caches. Of a large copy, fetching each line from there, only to
/// overwrite it, costs more than the copy itself: so the bytes go to the memory without being fetched, and the program's
/// own data stays in the caches.
///
/// # Safety
///
/// As for [`core::ptr::copy_nonoverlapping`].
#[inline]
pub(crate) unsafe fn copy_for_another(from: *const u8, to: *mut u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    if length >= PAST_CACHES {
        // SAFETY: the caller's promise.
        return unsafe { copy_past_caches(from, to, length) };
    }
    // SAFETY: the caller's promise.
    unsafe { copy(from, to, length) }
}

/// The same, past the caches, of at least a line.
///
/// # Safety
///
/// As for [`core::ptr::copy_nonoverlapping`].
#[cfg(target_arch = "x86_64")]
#[inline(never)]
unsafe fn copy_past_caches(from: *const u8, to: *mut u8, length: usize) {
    use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const LINE: usize = 64;
    let head = to.align_offset(LINE).min(length);
    let end = head + (length - head) / LINE * LINE;
    // SAFETY: `head`, and what is from `end` on, lie within the caller's `length` bytes.
    unsafe {
        copy(from, to, head);
        copy(from.add(end), to.add(end), length - end);
    }
    let mut at = head;
    while at < end {
        // SAFETY: a line's bytes lie before `end`; at `to` they begin at a line, so that each of the four steps is
        // aligned. Every processor of this architecture has these instructions.
        unsafe {
            let (source, target) = (from.add(at).cast::<__m128i>(), to.add(at).cast::<__m128i>());
            let (a, b) = (_mm_loadu_si128(source), _mm_loadu_si128(source.add(1)));
            let (c, d) = (_mm_loadu_si128(source.add(2)), _mm_loadu_si128(source.add(3)));
            _mm_stream_si128(target, a);
            _mm_stream_si128(target.add(1), b);
            _mm_stream_si128(target.add(2), c);
            _mm_stream_si128(target.add(3), d);
        }
        at += LINE;
    }
    // SAFETY: takes nothing. Such stores are not ordered by a release store: what is committed must have them.
    unsafe { _mm_sfence() };
}

/// The length of a C string, without its end.
///
/// # Safety
///
/// `text` must point to a string that ends.
pub(crate) unsafe fn string_length(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's promise: no byte behind the end is read.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}

/// The bytes of a C string.
///
/// # Safety
///
/// `text` must point to a string that ends, and that does not change while the result is in use.
pub(crate) unsafe fn string<'a>(text: *const u8) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(text, string_length(text)) }
}

/// Wall-clock time in nanoseconds since 1970: by libc's function, which needs no system call (vdso(7)).
pub(crate) fn now() -> u64 {
    type ClockGetTime = unsafe extern "C" fn(c_int, *mut TimeSpec) -> c_int;
    static CLOCK: Symbol = Symbol::new(c"clock_gettime");
    let mut time = TimeSpec::default();
    let clock = CLOCK.address();
    if clock.is_null() {
        // SAFETY: the time goes to a variable of ours.
        unsafe { call(nr::__NR_clock_gettime, [0, &raw mut time as usize, 0, 0, 0, 0]) };
    } else {
        // SAFETY: clock_gettime(3) has this type; 0 is CLOCK_REALTIME.
        unsafe { core::mem::transmute::<*mut c_void, ClockGetTime>(clock)(0, &raw mut time) };
    }
    (time.seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds as u64)
}

/// Whether the directory belongs to this process's user, or is not there.
pub(crate) fn is_ours_if_there(path: &CStr) -> bool {
    /// `STATX_UID` (statx(2)), `AT_SYMLINK_NOFOLLOW`, and where the owner is in `struct statx`, in words.
    const UID: usize = 8;
    const NO_FOLLOW: usize = 0x100;
    const OWNER: usize = 5;
    let mut stat = [0u32; 64];
    let into = stat.as_mut_ptr() as usize;
    // SAFETY: a path that ends, and 256 bytes for what the kernel says.
    let result = unsafe {
        call(nr::__NR_statx, [nr::AT_FDCWD as usize, path.as_ptr() as usize, NO_FOLLOW, UID, into, 0])
    };
    // SAFETY: takes no arguments.
    let user = unsafe { call(nr::__NR_geteuid, [0; 6]) };
    result == -(error::ENOENT as isize) || (result == 0 && stat.get(OWNER) == Some(&(user as u32)))
}

/// `errno` of this thread.
fn errno_location() -> *mut c_int {
    type ErrnoLocation = unsafe extern "C" fn() -> *mut c_int;
    static LOCATION: Symbol = Symbol::new(c"__errno_location");
    let location = LOCATION.address();
    if location.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: glibc and musl both export it with this type.
    unsafe { core::mem::transmute::<*mut c_void, ErrnoLocation>(location)() }
}

/// Reads `errno`.
pub(crate) fn errno() -> c_int {
    let location = errno_location();
    // SAFETY: libc's pointer to this thread's `errno`.
    if location.is_null() { 0 } else { unsafe { *location } }
}

/// Sets `errno`: for calls that koala fails, or that it makes in libc's place.
pub(crate) fn set_errno(value: c_int) {
    let location = errno_location();
    if !location.is_null() {
        // SAFETY: libc's pointer to this thread's `errno`.
        unsafe { *location = value };
    }
}

/// As long as it lives, no signal handler runs on this thread.
pub(crate) struct SignalsBlocked {
    /// The mask that was.
    before: u64,
}

impl SignalsBlocked {
    /// `SIG_BLOCK` and `SIG_SETMASK` (rt_sigprocmask(2)).
    const BLOCK: usize = 0;
    const SET: usize = 2;

    pub(crate) fn new() -> Self {
        Self { before: Self::mask(Self::BLOCK, u64::MAX) }
    }

    fn mask(how: usize, set: u64) -> u64 {
        let mut before = 0u64;
        let (new, old) = (&raw const set as usize, &raw mut before as usize);
        // SAFETY: two sets of ours; the kernel's have eight bytes.
        unsafe { call(nr::__NR_rt_sigprocmask, [how, new, old, 8, 0, 0]) };
        before
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        Self::mask(Self::SET, self.before);
    }
}

/// A word that a forked child finds zero: how a process learns that it is not the one that it was, however it
/// was forked. Null where the kernel cannot do that (before Linux 4.14).
pub(crate) fn wiped_on_fork() -> *const AtomicU64 {
    let page = allocate(4096);
    if page.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the page was mapped just now; MADV_WIPEONFORK (madvise(2)) asks for private anonymous memory.
    let result =
        unsafe { call(nr::__NR_madvise, [page as usize, 4096, nr::MADV_WIPEONFORK as usize, 0, 0, 0]) };
    if result < 0 {
        // SAFETY: nothing points to it yet.
        unsafe { free(page, 4096) };
        return core::ptr::null();
    }
    let word = page.cast::<AtomicU64>();
    // SAFETY: the page is aligned and zeroed.
    unsafe { (*word).store(1, Ordering::Relaxed) };
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_for_another_are_whole_wherever_they_begin_and_end() {
        let source: Vec<u8> = (0..40_000u32).map(|at| (at * 7 + at / 251) as u8).collect();
        for length in [0, 1, 63, 8191, 8192, 8193, 8255, 20_000] {
            for from in [0, 1, 15, 64] {
                for to in [0, 1, 17, 63, 64] {
                    let mut target = vec![0xa5; 30_000];
                    // SAFETY: both have room for so many bytes, and are apart.
                    unsafe { copy_for_another(source[from..].as_ptr(), target[to..].as_mut_ptr(), length) };
                    assert!(target[..to].iter().chain(&target[to + length..]).all(|&byte| byte == 0xa5));
                    assert_eq!(target[to..to + length], source[from..from + length], "{length} {from} {to}");
                }
            }
        }
    }
}
