//! The environment of a program that libc starts by itself, with the process's own.

use core::ffi::c_char;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::{ChildEnvironment, koala_environ, koala_exchange_environ};
use crate::executable::Executable;
use crate::lineage::{self, Heritage, Origin};
use crate::sys;

/// Lists that stood in libc's `environ` during a call: another thread may have read the pointer, so that they are
/// kept for as many more such calls.
static LISTS: [List; 32] =
    [const { List { memory: AtomicPtr::new(ptr::null_mut()), size: AtomicUsize::new(0) } }; 32];
static NEXT_LIST: AtomicUsize = AtomicUsize::new(0);
/// How many calls have put a list there and are not over.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
/// What was there before the first of them.
static PROGRAMS: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
/// So often another thread's list may come in between.
const EXCHANGES: u32 = 16;

struct List {
    memory: AtomicPtr<u8>,
    size: AtomicUsize,
}

/// Makes a call that starts a program with libc's own environment (system(3), popen(3)), as it should be for that
/// program: it is told that this thread makes it, under this number (0: none), and who else makes one at this time.
/// `otherwise` is where it comes from if that leads nowhere.
pub(crate) fn with_environ<T>(number: u64, otherwise: Option<Origin>, real: impl FnOnce() -> T) -> T {
    lineage::while_making(number, || {
        UNDER_WAY.fetch_add(1, Ordering::AcqRel);
        for _ in 0..EXCHANGES {
            if replace_environ(otherwise) {
                break;
            }
        }
        let result = real();
        if UNDER_WAY.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the C function only reads a pointer of libc.
            let now = unsafe { koala_environ() };
            // Unless the program has put something else there meanwhile.
            if is_ours(now) {
                // SAFETY: what was there before.
                unsafe { koala_exchange_environ(now, PROGRAMS.load(Ordering::Acquire)) };
            }
        }
        result
    })
}

fn is_ours(list: *mut *mut c_char) -> bool {
    !list.is_null() && LISTS.iter().any(|ours| ours.memory.load(Ordering::Acquire) == list.cast())
}

/// Puts a list of ours in the place of libc's. False if another thread has done so meanwhile, whose list may not tell of
/// this thread.
fn replace_environ(origin: Option<Origin>) -> bool {
    // SAFETY: the C function only reads a pointer of libc.
    let now = unsafe { koala_environ() };
    if !is_ours(now) {
        PROGRAMS.store(now, Ordering::Release);
    }
    let programs = PROGRAMS.load(Ordering::Acquire);
    // The program is the shell.
    // SAFETY: libc's own environment is a list of C strings that a null pointer ends.
    let made = unsafe {
        let (given, shell) = (programs.cast_const().cast(), Executable::Coverable);
        ChildEnvironment::covering(given, shell, origin, Heritage::Makers)
    };
    let at = NEXT_LIST.fetch_add(1, Ordering::Relaxed) % LISTS.len();
    let Some(place) = LISTS.get(at).filter(|_| !made.memory.is_null()) else { return true };
    let old = place.memory.swap(made.memory, Ordering::AcqRel);
    let old_size = place.size.swap(made.size, Ordering::AcqRel);
    if !old.is_null() && old != now.cast() {
        // SAFETY: nobody has had a reason to read it for as many calls as there are places.
        unsafe { sys::free(old, old_size) };
    }
    // SAFETY: the list stays for as long as anybody may read it.
    let replaced = unsafe { koala_exchange_environ(now, made.memory.cast()) };
    if !replaced
        && place
            .memory
            .compare_exchange(made.memory, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    {
        made.free();
    }
    replaced
}
