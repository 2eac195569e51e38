//! The environment: what koala is told by it, and what a child needs of it ([`child`], [`swap`]).

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::lineage;
use crate::start;
use crate::sys::{self, nr};

unsafe extern "C" {
    /// thread.c: libc's `environ`, or null as long as there is none.
    fn koala_environ() -> *mut *mut c_char;
    /// thread.c: sets libc's `environ`, if it is `from`: whether it was.
    fn koala_exchange_environ(from: *mut *mut c_char, to: *mut *mut c_char) -> bool;
}

mod child;
mod swap;

pub(crate) use child::{ChildEnvironment, within};
pub(crate) use swap::with_environ;

/// What the environment asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: every hook is a plain call.
    Inert,
    /// Write down what is done.
    Record,
    /// Redirect, and write down what is done.
    Replay,
    /// Something that can't be understood: nothing is recorded, and the agent's log says why. Where it names a replay,
    /// nothing reaches the real world either.
    Misunderstood {
        /// Whether it names a replay.
        replaying: bool,
    },
}

/// The variables that a child must have to be covered like its parent.
const KEPT: [&[u8]; 6] = [
    b"LD_PRELOAD=",
    b"KOALA_MODE=",
    b"KOALA_RUNTIME_DIR=",
    b"KOALA_TOKEN=",
    b"KOALA_RECORD_TO_DIR=",
    b"KOALA_RECORD_TO_ES=",
];
const PRELOAD: usize = 0;
const MODE: usize = 1;
const RUNTIME_DIR: usize = 2;
const TOKEN: usize = 3;
const RECORD_TO_DIR: usize = 4;
const RECORD_TO_ES: usize = 5;

/// Bytes kept of the environment at start: longer values are none that can be understood.
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
    let (mut used, mut too_long) = (0, false);
    for (name, place) in KEPT.iter().zip(&KEPT_AT) {
        // SAFETY: libc's own environment is a list of C strings that a null pointer ends.
        let entry = unsafe { find(environment, name) };
        if entry.is_null() {
            continue;
        }
        // SAFETY: an entry is a C string.
        let size = unsafe { sys::string_length(entry) } + 1;
        if size > STORE - used {
            too_long = true;
            continue;
        }
        // SAFETY: there is room (just checked), and only this thread writes, once.
        let to = unsafe { STORED.0.get().cast::<u8>().add(used) };
        // SAFETY: `size` bytes are there on both sides, and the environment is not our static.
        unsafe { sys::copy(entry, to, size) };
        used += size;
        place.store(to, Ordering::Release);
    }
    let mut mode = match value(MODE).map(<[u8]>::trim_ascii).filter(|mode| !mode.is_empty()) {
        Some(mode) => asked_for(mode),
        None if is_set(RECORD_TO_DIR) || is_set(RECORD_TO_ES) => Mode::Record,
        None => by_name(start::own_path()),
    };
    if too_long {
        let replaying = matches!(mode, Mode::Replay | Mode::Misunderstood { replaying: true });
        mode = Mode::Misunderstood { replaying };
    }
    // Nobody writes there yet, which the agent says.
    let nowhere = is_set(RECORD_TO_ES) && !is_set(RECORD_TO_DIR) && token().is_empty();
    if nowhere && matches!(mode, Mode::Record) {
        mode = Mode::Misunderstood { replaying: false };
    }
    match mode {
        Mode::Inert => return mode,
        Mode::Replay => {}
        Mode::Record | Mode::Misunderstood { .. } => {
            if stand_alone(mode, &mut used).is_none() {
                return Mode::Inert;
            }
        }
    }
    // SAFETY: as above.
    let lineage = unsafe { find(environment, lineage::NAME) };
    if !lineage.is_null() {
        // SAFETY: an entry is a C string, and nobody changes the environment before the program begins.
        let entry = unsafe { sys::string(lineage) };
        lineage::read(entry.get(lineage::NAME.len()..).unwrap_or(&[]));
    }
    mode
}

/// What `KOALA_MODE` asks for: its parts stand between commas.
fn asked_for(mode: &[u8]) -> Mode {
    let (mut replaying, mut understood) = (false, true);
    for part in mode.split(|&byte| byte == b',') {
        match part.trim_ascii() {
            b"replay" => replaying = true,
            b"record" => {}
            _ => understood = false,
        }
    }
    match (understood, replaying) {
        (false, replaying) => Mode::Misunderstood { replaying },
        (true, true) => Mode::Replay,
        (true, false) => Mode::Record,
    }
}

/// What is asked for by the name of the library: koala 1.x had two.
fn by_name(path: Option<&[u8]>) -> Mode {
    match path.and_then(|path| path.rsplit(|&byte| byte == b'/').next()) {
        Some(b"koala-recorder.so") => Mode::Record,
        Some(b"koala-replayer.so") => Mode::Replay,
        _ => Mode::Inert,
    }
}

/// Whether one of KEPT has a value.
fn is_set(index: usize) -> bool {
    value(index).is_some_and(|value| !value.trim_ascii().is_empty())
}

/// What proves to the agent that the process descends from the program, whoever it runs as; empty if there is none.
pub(crate) fn token() -> &'static [u8] {
    value(TOKEN).unwrap_or(&[])
}

/// The value of one of KEPT.
fn value(index: usize) -> Option<&'static [u8]> {
    text(index).map(CStr::to_bytes)
}

/// The value of one of KEPT, with its end.
fn text(index: usize) -> Option<&'static CStr> {
    let entry = KEPT_AT.get(index)?.load(Ordering::Acquire);
    if entry.is_null() {
        return None;
    }
    let name = KEPT.get(index)?.len();
    // SAFETY: it points to a C string in STORED, which begins with the name and is never written again.
    Some(unsafe { CStr::from_ptr(entry.add(name).cast()) })
}

/// Where nobody but the environment says where to record (no command line is there, which would have given a token):
/// settles for this process, and those that descend from it, where that is, and where the agent's sockets are. `None` if
/// that is too long to be covered.
fn stand_alone(mode: Mode, used: &mut usize) -> Option<()> {
    if !token().is_empty() {
        return Some(());
    }
    let to = match value(RECORD_TO_DIR) {
        Some(to) if !to.is_empty() => to,
        // An agent is to say why nothing is recorded.
        _ if matches!(mode, Mode::Misunderstood { .. }) => {
            keep(RECORD_TO_DIR, &[b"/dev/null"], used)?;
            b"/dev/null"
        }
        _ => return Some(()),
    };
    let mut here = [0u8; 1024];
    if !to.starts_with(b"/") {
        // SAFETY: a buffer of ours with its size; the kernel counts the end of the string.
        let length =
            unsafe { sys::call(nr::__NR_getcwd, [here.as_mut_ptr() as usize, here.len(), 0, 0, 0, 0]) };
        let here = here.get(..usize::try_from(length).ok()?.checked_sub(1)?)?;
        keep(RECORD_TO_DIR, &[here, b"/", to], used)?;
    }
    if value(RUNTIME_DIR).is_none() {
        // SAFETY: takes no arguments.
        let user = unsafe { sys::call(nr::__NR_geteuid, [0; 6]) } as u64;
        // FNV-1a: the same recording of the same user has the same agent.
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ user;
        for &byte in value(RECORD_TO_DIR)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        let mut name = [0u8; 16];
        for digit in name.iter_mut().rev() {
            *digit = *b"0123456789abcdef".get((hash & 15) as usize)?;
            hash >>= 4;
        }
        keep(RUNTIME_DIR, &[b"/tmp/koala-", &name], used)?;
    }
    Some(())
}

/// Keeps another value of one of KEPT.
fn keep(index: usize, parts: &[&[u8]], used: &mut usize) -> Option<()> {
    let name = *KEPT.get(index)?;
    let size = parts.iter().fold(name.len() + 1, |size, part| size + part.len());
    if size > STORE - *used {
        return None;
    }
    // SAFETY: there is room (just checked), and only the thread that starts the library writes.
    let to = unsafe { STORED.0.get().cast::<u8>().add(*used) };
    let mut at = 0;
    for part in core::iter::once(&name).chain(parts) {
        // SAFETY: as above; the parts lie in front of it in STORED, or elsewhere.
        unsafe { sys::copy(part.as_ptr(), to.add(at), part.len()) };
        at += part.len();
    }
    // STORED is zeros: the string ends there.
    *used += size;
    KEPT_AT.get(index)?.store(to, Ordering::Release);
    Some(())
}

/// Where to record, if this process may start an agent.
pub(crate) fn record_to() -> Option<&'static CStr> {
    text(RECORD_TO_DIR).filter(|to| !to.is_empty() && token().is_empty())
}

/// Calls `visit` with every entry of the environment as it is now.
pub(crate) fn each(mut visit: impl FnMut(*const u8)) {
    let mut at = current();
    // SAFETY: libc's own environment is a list of C strings that a null pointer ends.
    while !at.is_null() && !unsafe { *at }.is_null() {
        // SAFETY: as above: this entry was not the end.
        unsafe {
            visit(*at);
            at = at.add(1);
        }
    }
}

/// The directory in which the agent's sockets are.
pub(crate) fn runtime_dir() -> Option<&'static CStr> {
    text(RUNTIME_DIR).filter(|dir| !dir.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_understood_or_not() {
        let refused = |replaying| Mode::Misunderstood { replaying };
        for (text, mode) in [
            ("record", Mode::Record),
            ("replay", Mode::Replay),
            ("record,replay", Mode::Replay),
            (" replay , record ", Mode::Replay),
            ("RECORD", refused(false)),
            ("recording", refused(false)),
            ("replayer", refused(false)),
            ("record,", refused(false)),
            (",", refused(false)),
            ("replay,banana", refused(true)),
            ("1", refused(false)),
        ] {
            assert!(asked_for(text.as_bytes()) == mode, "{text}");
        }
    }

    #[test]
    fn the_names_of_1_x_ask_for_a_mode() {
        for (path, mode) in [
            (Some("/opt/koala-recorder.so"), Mode::Record),
            (Some("koala-replayer.so"), Mode::Replay),
            (Some("/koala-recorder.so/libkoala.so"), Mode::Inert),
            (Some("/opt/my-koala-recorder.so"), Mode::Inert),
            (None, Mode::Inert),
        ] {
            assert!(by_name(path.map(str::as_bytes)) == mode, "{path:?}");
        }
    }
}
