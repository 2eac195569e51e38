//! The older functions, which tell why they failed by `h_errno`: the `gethostby*` family, and resolver(3).

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use koala_events::{Address, Lookup};

use super::{
    Addresses, EAI_AGAIN, EAI_FAIL, EAI_INPROGRESS, EAI_NODATA, EAI_NONAME, Found, HostEntry, V4, V6,
    family_number, is_numeric, is_v4, is_v6, tell,
};
use crate::library;
use crate::symbol::Symbol;
use crate::sys::{self, error};
use crate::thread::Thread;

// `netdb.h`: what `h_errno` says.
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_RECOVERY: c_int = 3;
const NO_DATA: c_int = 4;

fn from_host_error(number: c_int) -> c_int {
    match number {
        TRY_AGAIN => EAI_AGAIN,
        NO_RECOVERY => EAI_FAIL,
        NO_DATA => EAI_NODATA,
        _ => EAI_NONAME,
    }
}

fn to_host_error(outcome: c_int) -> c_int {
    match outcome {
        EAI_AGAIN => TRY_AGAIN,
        EAI_FAIL => NO_RECOVERY,
        EAI_NODATA => NO_DATA,
        _ => HOST_NOT_FOUND,
    }
}

/// `h_errno` of this thread.
#[inline(never)]
fn host_error() -> *mut c_int {
    type Location = unsafe extern "C" fn() -> *mut c_int;
    static LOCATION: Symbol = Symbol::new(c"__h_errno_location");
    let location = LOCATION.address();
    if location.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: glibc and musl both export it with this type.
    unsafe { core::mem::transmute::<*mut c_void, Location>(location)() }
}

/// What one of the `gethostby*` functions is asked.
#[derive(Clone, Copy)]
pub(crate) enum HostQuestion {
    /// The addresses of a name.
    Name(*const c_char, c_int),
    /// The name of an address: its bytes, their number, its family.
    Address(*const u8, u32, c_int),
}

/// Where the answer of one of the `gethostby*_r` functions goes.
#[derive(Clone, Copy)]
pub(crate) struct HostAnswer {
    pub(crate) entry: *mut HostEntry,
    pub(crate) buffer: *mut u8,
    pub(crate) size: usize,
    pub(crate) result: *mut *mut HostEntry,
    pub(crate) error: *mut c_int,
}

/// The question as a lookup; `None` if it needs none.
///
/// # Safety
///
/// The question must be one that the function allows; `buffer` is what the lookup refers to.
#[inline(never)]
unsafe fn host_lookup<'a>(question: HostQuestion, addresses: &'a mut Addresses) -> Option<Lookup<'a>> {
    match question {
        HostQuestion::Name(name, family) => {
            if name.is_null() {
                return None;
            }
            // SAFETY: the caller's promise.
            let name = unsafe { sys::string(name.cast()) };
            (!is_numeric(name)).then(|| Lookup::forward(name, &[], family_number(family)))
        }
        HostQuestion::Address(bytes, length, family) => {
            if bytes.is_null() {
                return None;
            }
            // SAFETY: the caller's promise: `length` bytes are there.
            let bytes = unsafe { core::slice::from_raw_parts(bytes, length as usize) };
            let address = match family {
                V4 => Address::V4(*bytes.first_chunk()?, 0),
                V6 => Address::V6(*bytes.first_chunk()?, 0),
                _ => return None,
            };
            addresses.add(&address);
            Some(Lookup::reverse(addresses.all(), &[]))
        }
    }
}

/// Writes down what a `gethostby*` function answered; null is a failure, with what `h_errno` says of it.
///
/// # Safety
///
/// `entry` must be null or what the function answered.
#[inline(never)]
unsafe fn tell_host(asked: &Lookup<'_>, entry: *const HostEntry, error: c_int) {
    let Some(log) = library::log() else { return };
    // SAFETY: the caller's promise.
    let Some(entry) = (unsafe { entry.as_ref() }) else {
        tell(&log, asked, from_host_error(error));
        return;
    };
    // SAFETY: a name that ends.
    let name = if entry.name.is_null() { &[] } else { unsafe { sys::string(entry.name) } };
    if asked.reverse {
        tell(&log, &asked.named(name), 0);
        return;
    }
    let mut found = Addresses::new();
    let mut next = entry.addresses;
    // SAFETY: a list of pointers that a null pointer ends.
    while let Some(bytes) = unsafe { next.as_ref().and_then(|bytes| bytes.as_ref()) } {
        // SAFETY: each points to an address of the family's length.
        let bytes = unsafe { core::slice::from_raw_parts(bytes, entry.length.max(0) as usize) };
        match (bytes.first_chunk(), bytes.first_chunk()) {
            (_, Some(ip)) if entry.family == V6 => found.add(&Address::V6(*ip, 0)),
            (Some(ip), _) => found.add(&Address::V4(*ip, 0)),
            _ => {}
        }
        // SAFETY: not the end yet.
        next = unsafe { next.add(1) };
    }
    tell(&log, &asked.answered(name, found.all()), 0);
}

/// gethostbyname(3), gethostbyname2(3), gethostbyaddr(3).
///
/// # Safety
///
/// `question` must be what the function allows.
pub(crate) unsafe fn host(question: HostQuestion, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    /// What the functions answer with, like libc's own: the next call overwrites it.
    struct Store(UnsafeCell<(HostEntry, [u64; 512])>);
    // SAFETY: these functions are not safe among threads (gethostbyname(3)): the program sees to it.
    unsafe impl Sync for Store {}
    static STORE: Store = Store(UnsafeCell::new((
        HostEntry {
            name: ptr::null_mut(),
            aliases: ptr::null_mut(),
            family: 0,
            length: 0,
            addresses: ptr::null_mut(),
        },
        [0; 512],
    )));

    if !library::is_active() {
        return real();
    }
    let mut addresses = Addresses::new();
    // SAFETY: the caller's promise.
    let Some(asked) = (unsafe { host_lookup(question, &mut addresses) }) else { return real() };
    let error = host_error();
    if !library::is_replaying() {
        let entry = Thread::current().while_resolving(real);
        // SAFETY: libc's pointer to this thread's `h_errno`, and its answer.
        unsafe { tell_host(&asked, entry.cast(), if error.is_null() { 0 } else { *error }) };
        return entry;
    }
    let mut result = ptr::null_mut();
    let mut ignored = 0;
    let store = STORE.0.get();
    // SAFETY: the store is ours, and nobody else's during the call.
    unsafe {
        let answer = HostAnswer {
            entry: &raw mut (*store).0,
            buffer: (&raw mut (*store).1).cast(),
            size: size_of::<[u64; 512]>(),
            result: &raw mut result,
            error: if error.is_null() { &raw mut ignored } else { error },
        };
        replay_host(&asked, question, answer);
    }
    result.cast()
}

/// gethostbyname_r(3) and its kin.
///
/// # Safety
///
/// `question` and `answer` must be what the function allows.
pub(crate) unsafe fn host_into(
    question: HostQuestion,
    answer: HostAnswer,
    real: impl FnOnce() -> c_int,
) -> c_int {
    if !library::is_active() {
        return real();
    }
    let mut addresses = Addresses::new();
    // SAFETY: the caller's promise.
    let Some(asked) = (unsafe { host_lookup(question, &mut addresses) }) else { return real() };
    if library::is_replaying() {
        // SAFETY: the caller's promise.
        return unsafe { replay_host(&asked, question, answer) };
    }
    let outcome = Thread::current().while_resolving(real);
    // With too small a buffer the program will ask again.
    if outcome != error::ERANGE as c_int {
        // SAFETY: the caller's promise: what the function has written.
        unsafe {
            let entry = if answer.result.is_null() { ptr::null_mut() } else { *answer.result };
            tell_host(&asked, entry, if answer.error.is_null() { 0 } else { *answer.error });
        }
    }
    outcome
}

/// Answers from the recording; 0, or `ERANGE` if the buffer is too small.
///
/// # Safety
///
/// As for [`host_into`].
#[inline(never)]
unsafe fn replay_host(asked: &Lookup<'_>, question: HostQuestion, answer: HostAnswer) -> c_int {
    let log = library::log();
    let found = match &log {
        Some(log) => Found::of(log, asked),
        None => Found::Nothing,
    };
    let mut addresses = Addresses::new();
    let (family, name) = match question {
        HostQuestion::Name(_, family) => {
            found.addresses(&mut addresses, if family == V6 { is_v6 } else { is_v4 });
            (family, found.canonical(asked.name))
        }
        HostQuestion::Address(_, _, family) => {
            asked.addresses().for_each(|address| addresses.add(&address));
            (family, found.name())
        }
    };
    let mut outcome = found.error();
    if outcome == 0 && (addresses.length == 0 || name.is_empty()) {
        outcome = EAI_NODATA;
    }
    if outcome == 0 {
        // SAFETY: the caller's promise.
        if !unsafe { write_host(name, family, &addresses, answer) } {
            return error::ERANGE as c_int;
        }
    }
    if let Some(log) = &log {
        let told = if outcome == 0 { addresses.all() } else { &[] };
        let lookup = match asked.reverse {
            true => asked.named(name),
            false => asked.answered(name, told),
        };
        tell(log, &lookup, found.told(outcome));
    }
    // SAFETY: the caller's promise.
    unsafe {
        if !answer.result.is_null() {
            *answer.result = if outcome == 0 { answer.entry } else { ptr::null_mut() };
        }
        if outcome != 0 {
            // libc's own tell it in both ways.
            for place in [answer.error, host_error()] {
                if !place.is_null() {
                    *place = to_host_error(outcome);
                }
            }
        }
    }
    0
}

/// Lays an answer out in the program's buffer; false if it is too small.
///
/// # Safety
///
/// `answer` must have an entry, and a buffer of the size that it says.
#[inline(never)]
unsafe fn write_host(name: &[u8], family: c_int, addresses: &Addresses, answer: HostAnswer) -> bool {
    const POINTER: usize = size_of::<*mut u8>();
    let width = if family == V6 { 16 } else { 4 };
    let all = || Lookup::reverse(addresses.all(), &[]).addresses();
    let count = all().count();
    let padding = answer.buffer.align_offset(POINTER);
    // The end of the (empty) list of aliases, the addresses' pointers and their end, the addresses, the name.
    let needed = POINTER * (count + 2) + width * count + name.len() + 1;
    if answer.buffer.is_null() || padding.saturating_add(needed) > answer.size {
        return false;
    }
    // SAFETY: all of it lies within the buffer, by the sum above.
    unsafe {
        let aliases = answer.buffer.add(padding).cast::<*mut u8>();
        *aliases = ptr::null_mut();
        let list = aliases.add(1);
        let mut at = list.add(count + 1).cast::<u8>();
        for (index, address) in all().enumerate() {
            match &address {
                Address::V4(ip, _) => sys::copy(ip.as_ptr(), at, ip.len().min(width)),
                Address::V6(ip, _) => sys::copy(ip.as_ptr(), at, ip.len().min(width)),
                _ => {}
            }
            *list.add(index) = at;
            at = at.add(width);
        }
        *list.add(count) = ptr::null_mut();
        sys::copy(name.as_ptr(), at, name.len());
        *at.add(name.len()) = 0;
        *answer.entry = HostEntry { name: at, aliases, family, length: width as c_int, addresses: list };
    }
    true
}

/// The functions of resolver(3), by which a program makes its own questions to name servers with libc's sockets,
/// which no hook sees. Recorded as a question whose answer is not known; in a replay it fails.
///
/// # Safety
///
/// `name` must be null or a name that ends.
pub(crate) unsafe fn query(name: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    if !library::is_active() {
        return real();
    }
    if library::is_replaying() {
        // SAFETY: the caller's promise.
        unsafe { tell_query(name, EAI_AGAIN) };
        let location = host_error();
        if !location.is_null() {
            // SAFETY: libc's pointer to this thread's `h_errno`.
            unsafe { *location = TRY_AGAIN };
        }
        sys::set_errno(error::ETIMEDOUT as c_int);
        return -1;
    }
    let result = Thread::current().while_resolving(real);
    // SAFETY: the caller's promise.
    unsafe { tell_query(name, EAI_INPROGRESS) };
    result
}

/// # Safety
///
/// As for [`query`].
#[inline(never)]
unsafe fn tell_query(name: *const c_char, outcome: c_int) {
    // SAFETY: the caller's promise.
    let name = if name.is_null() { &[] } else { unsafe { sys::string(name.cast()) } };
    if let Some(log) = library::log() {
        tell(&log, &Lookup::forward(name, b"resolver", 0), outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_laid_out_in_any_buffer_that_is_large_enough() {
        let mut addresses = Addresses::new();
        addresses.add(&Address::V4([10, 0, 0, 1], 0));
        addresses.add(&Address::V4([10, 0, 0, 2], 0));
        let mut least = usize::MAX;
        for offset in 0..8 {
            for size in (0..80).rev() {
                let mut buffer = vec![0xaau8; 96];
                let mut entry = HostEntry {
                    name: ptr::null_mut(),
                    aliases: ptr::null_mut(),
                    family: 0,
                    length: 0,
                    addresses: ptr::null_mut(),
                };
                let answer = HostAnswer {
                    entry: &raw mut entry,
                    // SAFETY: within the buffer.
                    buffer: unsafe { buffer.as_mut_ptr().add(offset) },
                    size,
                    result: ptr::null_mut(),
                    error: ptr::null_mut(),
                };
                // SAFETY: the buffer has `size` bytes from `offset` on.
                if !unsafe { write_host(b"db.example", V4, &addresses, answer) } {
                    continue;
                }
                least = least.min(size);
                assert!(buffer[offset + size..].iter().all(|byte| *byte == 0xaa));
                // SAFETY: what was laid out: two addresses and the end, an empty list, a name.
                unsafe {
                    assert_eq!(sys::string(entry.name), b"db.example");
                    assert!((*entry.aliases).is_null() && (*entry.addresses.add(2)).is_null());
                    assert_eq!(core::slice::from_raw_parts(*entry.addresses.add(1), 4), [10, 0, 0, 2]);
                }
            }
        }
        assert_eq!(least, 8 * 4 + 2 * 4 + 11);
    }
}
