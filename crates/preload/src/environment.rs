//! The environment: what koala is told by it, and what a child needs of it.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::lineage::{self, Heritage, Origin};
use crate::start;
use crate::sys::{self, nr};
use crate::thread::Thread;

unsafe extern "C" {
    /// thread.c: libc's `environ`, or null as long as there is none.
    fn koala_environ() -> *mut *mut c_char;
    /// thread.c: sets libc's `environ`, if it is `from`.
    fn koala_exchange_environ(from: *mut *mut c_char, to: *mut *mut c_char);
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

/// Whether the library can be loaded where the process is now: it can't in a chroot(2) without it. ld.so would
/// complain on the program's stderr.
fn is_library_reachable() -> bool {
    let mut path = [0u8; 512];
    let listed = value(PRELOAD).unwrap_or(&[]);
    let first = listed.split(|&byte| byte == b':' || byte == b' ').next().unwrap_or(&[]);
    if !first.starts_with(b"/") || first.len() >= path.len() {
        return true;
    }
    for (to, from) in path.iter_mut().zip(first) {
        *to = *from;
    }
    const READ: usize = 4;
    // SAFETY: a path of ours that ends.
    unsafe {
        let at_cwd = nr::AT_FDCWD as usize;
        sys::call(nr::__NR_faccessat, [at_cwd, path.as_ptr() as usize, READ, 0, 0, 0]) == 0
    }
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

/// An environment for a child: that of the caller, with what koala needs.
pub(crate) struct ChildEnvironment {
    list: *const *const u8,
    memory: *mut u8,
    size: usize,
}

impl ChildEnvironment {
    /// The environment that a child started with `given` should have: `given` itself where it covers the
    /// child already, or where there is no memory for another. `origin` is what the child is told of where it
    /// comes from, and `heritage` what of connections and files.
    ///
    /// # Safety
    ///
    /// `given` must be null or a list of C strings that a null pointer ends, which stays as it is while the
    /// result is in use.
    pub(crate) unsafe fn covering(
        given: *const *const u8,
        origin: Option<Origin>,
        heritage: Heritage<'_>,
    ) -> Self {
        let unchanged = Self { list: given, memory: ptr::null_mut(), size: 0 };
        let reachable = is_library_reachable();
        let mut missing = origin.is_some() || !reachable;
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
        let list_size = (count + KEPT.len() + 2) * size_of::<*const u8>();
        let size = list_size + STORE + theirs + 2 + lineage::ROOM;
        let memory = sys::allocate(size);
        if memory.is_null() {
            return unchanged;
        }
        let list = memory.cast::<*const u8>();
        let mut length = 0;
        // SAFETY: the list has room for `count` entries, ours, and the end, which is there: the memory is zeroed.
        let mut push = |entry: *const u8| unsafe {
            *list.add(length) = entry;
            length += 1;
        };
        for at in 0..count {
            // SAFETY: `at` is below the length of the list.
            let entry = unsafe { *given.add(at) };
            let replaced = |(name, kept): (&&[u8], &AtomicPtr<u8>)| {
                // SAFETY: an entry is a C string.
                !kept.load(Ordering::Acquire).is_null() && unsafe { starts_with(entry, name) }
            };
            // SAFETY: as above.
            let lineage = origin.is_some() && unsafe { starts_with(entry, lineage::NAME) };
            if !lineage && !KEPT.iter().zip(&KEPT_AT).any(replaced) {
                push(entry);
            }
        }
        // SAFETY: behind the list there is room for two values of `LD_PRELOAD` and an end.
        let joined = unsafe { memory.add(list_size) };
        for (index, place) in KEPT_AT.iter().enumerate() {
            let mut entry = place.load(Ordering::Acquire).cast_const();
            if index == PRELOAD {
                // SAFETY: C strings that begin with `LD_PRELOAD=`, or null, and room for both.
                entry = unsafe { preload_for(entry, preload, reachable, joined) };
            }
            if entry.is_null() {
                continue;
            }
            push(entry);
        }
        if let Some(origin) = origin {
            // SAFETY: the memory ends with this much room, which nothing else uses.
            let room =
                unsafe { core::slice::from_raw_parts_mut(memory.add(size - lineage::ROOM), lineage::ROOM) };
            lineage::write(origin, heritage, room);
            push(room.as_ptr());
        }
        Self { list, memory, size }
    }

    /// The list, for exec.
    pub(crate) fn list(&self) -> *const *const u8 {
        self.list
    }

    /// Before an exec in a vfork child, which does not come back to free the memory: its thread does so, when it is
    /// the parent again.
    pub(crate) fn leave_to(&self, thread: &Thread) {
        thread.leave_memory(self.memory, self.size);
    }

    /// After a call that came back.
    pub(crate) fn free(self) {
        if !self.memory.is_null() {
            // SAFETY: the memory of `covering`, and the call that used it is over.
            unsafe { sys::free(self.memory, self.size) };
        }
    }
}

/// The entry of LD_PRELOAD for a child: `theirs` with ours before it, or without it where the library is out of
/// reach. Null if nothing is left.
///
/// # Safety
///
/// `ours` must be null or begin with `LD_PRELOAD=`, and so must `theirs`; `to` must have room for both.
unsafe fn preload_for(ours: *const u8, theirs: *const u8, reachable: bool, to: *mut u8) -> *const u8 {
    let prefix = KEPT.first().map_or(0, |name| name.len());
    if ours.is_null() {
        return ptr::null();
    }
    if theirs.is_null() {
        return if reachable { ours } else { ptr::null() };
    }
    // SAFETY: the caller's promise, here and below.
    let (our_list, their_list) = unsafe { (sys::string(ours.add(prefix)), sys::string(theirs.add(prefix))) };
    let is_separator = |byte: &u8| *byte == b':' || *byte == b' ';
    if reachable && contains(their_list, our_list) {
        return theirs;
    }
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        // SAFETY: all that is put is of the two entries, each part once, with a separator or the end behind it.
        unsafe { sys::copy(bytes.as_ptr(), to.add(length), bytes.len()) };
        length += bytes.len();
    };
    put(KEPT.first().copied().unwrap_or(&[]));
    if reachable {
        put(our_list);
        put(b":");
        put(their_list);
    } else {
        let library = our_list.split(is_separator).next().unwrap_or(&[]);
        let mut some = false;
        for path in their_list.split(is_separator).filter(|path| !path.is_empty() && *path != library) {
            if some {
                put(b":");
            }
            put(path);
            some = true;
        }
        if !some {
            return ptr::null();
        }
    }
    put(b"\0");
    to
}

/// Lists that stood in libc's `environ` during a call: another thread may have read the pointer, so that they are
/// kept for as many more such calls.
static RETIRED: [AtomicPtr<u8>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
static RETIRED_SIZES: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];
static NEXT_RETIRED: AtomicUsize = AtomicUsize::new(0);
/// How many calls have put a list there and are not over.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
/// What was there before the first of them, and the list that was put there last.
static PROGRAMS: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static OURS: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

/// Makes a call that starts a program with libc's own environment (system(3), popen(3)), as it should be for that
/// program. `origin` is what the program is told of where it comes from; where another such call is under way,
/// whose program might be told the same, it is told `otherwise`.
pub(crate) fn with_environ<T>(
    origin: Option<Origin>,
    otherwise: Option<Origin>,
    real: impl FnOnce() -> T,
) -> T {
    let alone = UNDER_WAY.fetch_add(1, Ordering::AcqRel) == 0;
    // SAFETY: the C function only reads a pointer of libc.
    let now = unsafe { koala_environ() };
    if now != OURS.load(Ordering::Acquire) || now.is_null() {
        PROGRAMS.store(now, Ordering::Release);
    }
    let programs = PROGRAMS.load(Ordering::Acquire);
    let origin = if alone { origin } else { otherwise };
    // SAFETY: libc's own environment is a list of C strings that a null pointer ends.
    let made = unsafe { ChildEnvironment::covering(programs.cast_const().cast(), origin, Heritage::All) };
    if !made.memory.is_null() {
        let list = made.memory.cast::<*mut c_char>();
        OURS.store(list, Ordering::Release);
        // SAFETY: the list stays for as long as anybody may read it.
        unsafe { koala_exchange_environ(now, list) };
    }
    let result = real();
    if UNDER_WAY.fetch_sub(1, Ordering::AcqRel) == 1 {
        // Unless the program has put something else there meanwhile.
        // SAFETY: what was there before.
        unsafe { koala_exchange_environ(OURS.load(Ordering::Acquire), PROGRAMS.load(Ordering::Acquire)) };
    }
    if !made.memory.is_null() {
        retire(made);
    }
    result
}

/// Keeps the memory of a list for some more calls, and frees that of the oldest one that is kept.
fn retire(environment: ChildEnvironment) {
    let at = NEXT_RETIRED.fetch_add(1, Ordering::Relaxed) % RETIRED.len();
    let Some(place) = RETIRED.get(at) else { return };
    let old = place.swap(environment.memory, Ordering::AcqRel);
    let old_size = RETIRED_SIZES.get(at).map_or(0, |size| size.swap(environment.size, Ordering::AcqRel));
    if !old.is_null() && old.cast() != OURS.load(Ordering::Acquire) {
        // SAFETY: nobody has had a reason to read it for eight calls.
        unsafe { sys::free(old, old_size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    /// The entry of LD_PRELOAD for a child; `None` if it gets none.
    fn preload(ours: &str, theirs: Option<&str>, reachable: bool) -> Option<String> {
        let ours = CString::new(ours).unwrap();
        let theirs = theirs.map(|theirs| CString::new(theirs).unwrap());
        let their_entry = theirs.as_ref().map_or(ptr::null(), |theirs| theirs.as_ptr().cast());
        let mut room = vec![0xffu8; 256];
        // SAFETY: strings that end, and room for more than both.
        unsafe {
            let entry = preload_for(ours.as_ptr().cast(), their_entry, reachable, room.as_mut_ptr());
            (!entry.is_null()).then(|| String::from_utf8_lossy(sys::string(entry)).into_owned())
        }
    }

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

    #[test]
    fn a_child_preloads_ours_before_its_own_and_once() {
        let ours = "LD_PRELOAD=/r/libkoala.so";
        let entry = |theirs| preload(ours, theirs, true).unwrap();
        assert_eq!(entry(None), ours);
        assert_eq!(entry(Some("LD_PRELOAD=/other.so")), "LD_PRELOAD=/r/libkoala.so:/other.so");
        assert_eq!(entry(Some("LD_PRELOAD=")), "LD_PRELOAD=/r/libkoala.so:");
        for whole in [ours, "LD_PRELOAD=/r/libkoala.so:/other.so", "LD_PRELOAD=/other.so:/r/libkoala.so"] {
            assert_eq!(entry(Some(whole)), whole);
        }
    }

    #[test]
    fn where_the_library_is_out_of_reach_it_is_not_preloaded() {
        let ours = "LD_PRELOAD=/r/libkoala.so:/first.so";
        assert_eq!(preload(ours, None, false), None);
        assert_eq!(preload(ours, Some("LD_PRELOAD=/r/libkoala.so"), false), None);
        let theirs = Some("LD_PRELOAD=/r/libkoala.so:/other.so /more.so");
        assert_eq!(preload(ours, theirs, false).unwrap(), "LD_PRELOAD=/other.so:/more.so");
    }

    #[test]
    fn a_child_is_told_where_it_comes_from_and_nothing_else_changes() {
        let own = CString::new("PATH=/bin").unwrap();
        let old = CString::new("KOALA_LINEAGE=1.2").unwrap();
        let given = [own.as_ptr().cast::<u8>(), old.as_ptr().cast(), ptr::null()];
        // SAFETY: a list of C strings that ends.
        let made = unsafe {
            ChildEnvironment::covering(
                given.as_ptr(),
                Some(Origin { number: 0x2a, pid: 7 }),
                Heritage::Written(b""),
            )
        };
        let mut entries = Vec::new();
        for at in 0.. {
            // SAFETY: the list ends, and nothing behind its end is read.
            let entry = unsafe { *made.list().add(at) };
            if entry.is_null() {
                break;
            }
            // SAFETY: an entry is a C string.
            entries.push(unsafe { sys::string(entry) }.to_vec());
        }
        assert_eq!(entries, [b"PATH=/bin".to_vec(), b"KOALA_LINEAGE=2a.7".to_vec()]);
        made.free();
        // SAFETY: as above.
        let unchanged = unsafe { ChildEnvironment::covering(given.as_ptr(), None, Heritage::All) };
        assert_eq!(unchanged.list(), given.as_ptr());
    }
}
