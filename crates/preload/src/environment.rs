//! The environment: what koala is told by it, and what a child needs of it.

use core::cell::UnsafeCell;
use core::ffi::c_char;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::sys;

unsafe extern "C" {
    /// thread.c: libc's `environ`, or null as long as there is none.
    fn koala_environ() -> *mut *mut c_char;
}

/// What the environment asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: every hook is a plain call.
    Inert,
    /// Write down what is done.
    Record,
    /// Redirect, and write down what is done.
    Replay,
}

/// The variables that a child must have to be covered like its parent.
const KEPT: [&[u8]; 3] = [b"LD_PRELOAD=", b"KOALA_MODE=", b"KOALA_RUNTIME_DIR="];
const PRELOAD: usize = 0;
const MODE: usize = 1;
const RUNTIME_DIR: usize = 2;

/// Bytes kept of the environment at start: longer values can't be covered.
const STORE: usize = 8 * 1024;

struct Store(UnsafeCell<[u8; STORE]>);

// SAFETY: written once, by the thread that starts the library (`read`), before KEPT_AT makes it visible.
unsafe impl Sync for Store {}

static STORED: Store = Store(UnsafeCell::new([0; STORE]));

/// Where in STORED each of KEPT is; null if it was not set.
static KEPT_AT: [AtomicPtr<u8>; KEPT.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; KEPT.len()];

/// The environment as it is now; null if there is none.
pub(crate) fn current() -> *const *const u8 {
    // SAFETY: the C function only reads a pointer of libc.
    unsafe { koala_environ() }.cast_const().cast()
}

/// The entry of `environment` that begins with `name` (`NAME=`); null if there is none.
///
/// # Safety
///
/// `environment` must be null or a list of C strings that a null pointer ends.
unsafe fn find(environment: *const *const u8, name: &[u8]) -> *const u8 {
    if environment.is_null() {
        return ptr::null();
    }
    let mut at = environment;
    // SAFETY: the caller's promise, here and below: nothing behind the end is read.
    while let entry = unsafe { *at }
        && !entry.is_null()
    {
        // SAFETY: an entry is a C string.
        if unsafe { starts_with(entry, name) } {
            return entry;
        }
        // SAFETY: the list goes on: this entry was not its end.
        at = unsafe { at.add(1) };
    }
    ptr::null()
}

/// Whether the C string `text` begins with `prefix`.
///
/// # Safety
///
/// `text` must be a C string.
unsafe fn starts_with(text: *const u8, prefix: &[u8]) -> bool {
    let mut at = text;
    for &byte in prefix {
        // SAFETY: the string's end differs from every byte of the prefix, so nothing behind it is read.
        if unsafe { *at } != byte {
            return false;
        }
        // SAFETY: as above: that byte was not the end.
        at = unsafe { at.add(1) };
    }
    true
}

/// Reads the environment, once, and keeps what children need.
pub(crate) fn read() -> Mode {
    let environment = current();
    let mut used = 0;
    for (name, place) in KEPT.iter().zip(&KEPT_AT) {
        // SAFETY: libc's own environment is a list of C strings that a null pointer ends.
        let entry = unsafe { find(environment, name) };
        if entry.is_null() {
            continue;
        }
        // SAFETY: an entry is a C string.
        let size = unsafe { sys::string_length(entry) } + 1;
        if size > STORE - used {
            return Mode::Inert;
        }
        // SAFETY: there is room (just checked), and only this thread writes, once.
        let to = unsafe { STORED.0.get().cast::<u8>().add(used) };
        // SAFETY: `size` bytes are there on both sides, and the environment is not our static.
        unsafe { sys::copy(entry, to, size) };
        used += size;
        place.store(to, Ordering::Release);
    }
    match value(MODE) {
        Some(mode) if contains(mode, b"replay") => Mode::Replay,
        Some(b"record") => Mode::Record,
        _ => Mode::Inert,
    }
}

/// The value of one of KEPT.
fn value(index: usize) -> Option<&'static [u8]> {
    let entry = KEPT_AT.get(index)?.load(Ordering::Acquire);
    if entry.is_null() {
        return None;
    }
    // SAFETY: it points to a C string in STORED, which is never written again.
    unsafe { sys::string(entry) }.get(KEPT.get(index)?.len()..)
}

/// The directory in which the agent's sockets are.
pub(crate) fn runtime_dir() -> Option<&'static [u8]> {
    value(RUNTIME_DIR).filter(|dir| !dir.is_empty())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let mut rest = text;
    while rest.len() >= part.len() {
        if rest.starts_with(part) {
            return true;
        }
        rest = rest.get(1..).unwrap_or(&[]);
        if rest.is_empty() {
            return false;
        }
    }
    false
}

/// An environment for a child: that of the caller, with what koala needs.
pub(crate) struct ChildEnvironment {
    list: *const *const u8,
    memory: *mut u8,
    size: usize,
}

/// Memory of an environment that was given to an exec in a vfork child: the parent, whose memory it is, frees
/// it. (An exec that succeeds does not come back to do so.)
static LEFT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static LEFT_SIZE: AtomicUsize = AtomicUsize::new(0);

impl ChildEnvironment {
    /// The environment that a child started with `given` should have: `given` itself where it covers the
    /// child already, or where there is no memory for another.
    ///
    /// # Safety
    ///
    /// `given` must be null or a list of C strings that a null pointer ends, which stays as it is while the
    /// result is in use.
    pub(crate) unsafe fn covering(given: *const *const u8) -> Self {
        let unchanged = Self { list: given, memory: ptr::null_mut(), size: 0 };
        let mut missing = false;
        let mut preload = ptr::null();
        for (index, name) in KEPT.iter().enumerate() {
            // SAFETY: the caller's promise.
            let entry = unsafe { find(given, name) };
            if index == PRELOAD {
                preload = entry;
            }
            let covered = match value(index) {
                None => true,
                // SAFETY: an entry that was found is a C string.
                Some(ours) => !entry.is_null() && contains(unsafe { sys::string(entry) }, ours),
            };
            missing |= !covered;
        }
        if !missing {
            return unchanged;
        }
        let mut count = 0;
        // SAFETY: the caller's promise: nothing behind the end is read.
        while !given.is_null() && !unsafe { *given.add(count) }.is_null() {
            count += 1;
        }
        // SAFETY: null, or a C string of the list.
        let theirs = if preload.is_null() { 0 } else { unsafe { sys::string_length(preload) } };
        let list_size = (count + KEPT.len() + 1) * size_of::<*const u8>();
        let size = list_size + STORE + theirs + 2;
        let memory = sys::allocate(size);
        if memory.is_null() {
            return unchanged;
        }
        let list = memory.cast::<*const u8>();
        let mut length = 0;
        for at in 0..count {
            // SAFETY: `at` is below the length of the list.
            let entry = unsafe { *given.add(at) };
            let replaced = |(name, kept): (&&[u8], &AtomicPtr<u8>)| {
                // SAFETY: an entry is a C string.
                !kept.load(Ordering::Acquire).is_null() && unsafe { starts_with(entry, name) }
            };
            if !KEPT.iter().zip(&KEPT_AT).any(replaced) {
                // SAFETY: the list has room for `count` entries and ours.
                unsafe { *list.add(length) = entry };
                length += 1;
            }
        }
        for (index, place) in KEPT_AT.iter().enumerate() {
            let mut entry = place.load(Ordering::Acquire).cast_const();
            if entry.is_null() {
                continue;
            }
            if index == PRELOAD && theirs > 0 {
                // SAFETY: behind the list there is room for our value, a colon, theirs and the end.
                entry = unsafe { join(entry, preload, memory.add(list_size)) };
            }
            // SAFETY: the list has room for `count` entries and ours.
            unsafe { *list.add(length) = entry };
            length += 1;
        }
        Self { list, memory, size }
    }

    /// The list, for exec.
    pub(crate) fn list(&self) -> *const *const u8 {
        self.list
    }

    /// Before an exec that may not come back, in memory that a parent may share: leaves the memory to whoever
    /// comes next.
    pub(crate) fn leave(&self) {
        free_left();
        if !self.memory.is_null() {
            LEFT_SIZE.store(self.size, Ordering::Relaxed);
            LEFT.store(self.memory, Ordering::Release);
        }
    }

    /// After a call that came back.
    pub(crate) fn free(self) {
        // What `leave` left is this memory: it must not be freed twice.
        let _ = LEFT.compare_exchange(self.memory, ptr::null_mut(), Ordering::Acquire, Ordering::Relaxed);
        if !self.memory.is_null() {
            // SAFETY: the memory of `covering`, and the call that used it is over.
            unsafe { sys::free(self.memory, self.size) };
        }
    }
}

/// Frees what an exec in a vfork child left. Only the thread that called vfork, which was suspended until the
/// exec was over, or a later exec comes here.
pub(crate) fn free_left() {
    let memory = LEFT.swap(ptr::null_mut(), Ordering::Acquire);
    if !memory.is_null() {
        // SAFETY: the exec that used it is over: it happened, or came back and took the memory with it.
        unsafe { sys::free(memory, LEFT_SIZE.load(Ordering::Relaxed)) };
    }
}

/// Writes `LD_PRELOAD=ours:theirs` to `to`, and returns it.
///
/// # Safety
///
/// Both must be C strings that begin with `LD_PRELOAD=`, and `to` must have room for both.
unsafe fn join(ours: *const u8, theirs: *const u8, to: *mut u8) -> *const u8 {
    // SAFETY: the caller's promise, here and below.
    let length = unsafe { sys::string_length(ours) };
    // SAFETY: as above.
    unsafe { sys::copy(ours, to, length) };
    let prefix = KEPT.first().map_or(0, |name| name.len());
    // SAFETY: as above: their value lies behind the same prefix.
    let value = unsafe { theirs.add(prefix) };
    // SAFETY: as above.
    unsafe { *to.add(length) = b':' };
    // SAFETY: as above; the end of their string is copied too.
    unsafe { sys::copy(value, to.add(length + 1), sys::string_length(value) + 1) };
    to
}
