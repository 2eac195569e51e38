//! The environment of a child: that which its maker gives it, with what koala needs.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{KEPT, KEPT_AT, PRELOAD, STORE, contains, find, starts_with, value};
use crate::executable::{self, Executable};
use crate::lineage::{self, Heritage, Origin};
use crate::sys::{self, nr};
use crate::thread::Thread;

/// The name of what is kept at [`PRELOAD`].
const NAME: &[u8] = KEPT[PRELOAD];

/// An environment for a child: that of the caller, with what koala needs.
pub(crate) struct ChildEnvironment {
    list: *const *const u8,
    pub(super) memory: *mut u8,
    pub(super) size: usize,
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
        file: Executable,
        origin: Option<Origin>,
        heritage: Heritage<'_>,
    ) -> Self {
        let unchanged = Self { list: given, memory: ptr::null_mut(), size: 0 };
        let place = if is_library_reachable() {
            // SAFETY: the caller's promise; an entry is a C string.
            unsafe { place_for(file, find(given, NAME)) }
        } else {
            Place::Nowhere
        };
        let mut missing = origin.is_some() || place == Place::Nowhere;
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
        for (index, kept) in KEPT_AT.iter().enumerate() {
            let mut entry = kept.load(Ordering::Acquire).cast_const();
            if index == PRELOAD {
                // SAFETY: C strings that begin with `LD_PRELOAD=`, or null, and room for both.
                entry = unsafe { preload_for(entry, preload, place, joined) };
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

/// What a file is in an environment: one with a sanitizer can be covered where its runtime is preloaded first.
///
/// # Safety
///
/// As for [`ChildEnvironment::covering`].
pub(crate) unsafe fn within(file: Executable, given: *const *const u8) -> Executable {
    // SAFETY: the caller's promise; an entry is a C string.
    let harmed = || unsafe { place_for(file, find(given, NAME)) == Place::Nowhere };
    if file == Executable::Sanitized && !harmed() { Executable::Coverable } else { file }
}

/// Where in LD_PRELOAD the library is for a child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    /// Behind what its maker has put there: the runtime of a sanitizer must be loaded before all others.
    Last,
    /// It would harm the child, or can't be loaded.
    Nowhere,
}

/// Where the library is for a program of this file, whose maker gives it this entry of LD_PRELOAD, if any.
///
/// # Safety
///
/// `theirs` must be null or begin with `LD_PRELOAD=`.
unsafe fn place_for(file: Executable, theirs: *const u8) -> Place {
    // SAFETY: null, or the caller's promise.
    let given = if theirs.is_null() { &[] } else { unsafe { sys::string(theirs.add(NAME.len())) } };
    let begins = |list| first(list).is_some_and(executable::is_sanitizer);
    match file {
        Executable::Foreign => Place::Nowhere,
        _ if begins(given) => Place::Last,
        Executable::Sanitized if !begins(value(PRELOAD).unwrap_or(&[])) => Place::Nowhere,
        _ => Place::First,
    }
}

/// The entries of a list of libraries (ld.so(8)).
fn entries(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b':' || byte == b' ').filter(|path| !path.is_empty())
}

/// The first of them.
fn first(list: &[u8]) -> Option<&[u8]> {
    entries(list).next()
}

/// The entry of LD_PRELOAD for a child: `theirs` with ours in its place. Null if nothing is left.
///
/// # Safety
///
/// `ours` must be null or begin with `LD_PRELOAD=`, and so must `theirs`; `to` must have room for both.
unsafe fn preload_for(ours: *const u8, theirs: *const u8, place: Place, to: *mut u8) -> *const u8 {
    if ours.is_null() {
        return ptr::null();
    }
    if theirs.is_null() {
        return if place == Place::Nowhere { ptr::null() } else { ours };
    }
    // SAFETY: the caller's promise, here and below.
    let (our_list, their_list) =
        unsafe { (sys::string(ours.add(NAME.len())), sys::string(theirs.add(NAME.len()))) };
    if place != Place::Nowhere && contains(their_list, our_list) {
        return theirs;
    }
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        // SAFETY: all that is put is of the two entries, each part once, with a separator or the end behind it.
        unsafe { sys::copy(bytes.as_ptr(), to.add(length), bytes.len()) };
        length += bytes.len();
    };
    put(NAME);
    match place {
        Place::First => [our_list, b":", their_list].into_iter().for_each(put),
        Place::Last => [their_list, b":", our_list].into_iter().for_each(put),
        Place::Nowhere => {
            // Of ours, the library is the one of koala's name: what was preloaded before it stays.
            let library = entries(our_list).find(|path| !executable::is_sanitizer(path)).unwrap_or(&[]);
            let mut some = false;
            for path in entries(their_list).filter(|path| *path != library) {
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
    }
    // SAFETY: there is room for the end.
    unsafe { *to.add(length) = 0 };
    to
}

/// Whether the library can be loaded where the process is now: it can't in a chroot(2) without it. ld.so would
/// complain on the program's stderr.
fn is_library_reachable() -> bool {
    let mut path = [0u8; 512];
    let listed = value(PRELOAD).unwrap_or(&[]);
    let first = entries(listed).find(|path| !executable::is_sanitizer(path)).unwrap_or(&[]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    /// The entry of LD_PRELOAD for a child; `None` if it gets none.
    fn preload(ours: &str, theirs: Option<&str>, place: Place) -> Option<String> {
        let ours = CString::new(ours).unwrap();
        let theirs = theirs.map(|theirs| CString::new(theirs).unwrap());
        let their_entry = theirs.as_ref().map_or(ptr::null(), |theirs| theirs.as_ptr().cast());
        let mut room = vec![0xffu8; 256];
        // SAFETY: strings that end, and room for more than both.
        unsafe {
            let entry = preload_for(ours.as_ptr().cast(), their_entry, place, room.as_mut_ptr());
            (!entry.is_null()).then(|| String::from_utf8_lossy(sys::string(entry)).into_owned())
        }
    }

    #[test]
    fn a_child_preloads_ours_before_its_own_and_once() {
        let ours = "LD_PRELOAD=/r/libkoala.so";
        let entry = |theirs| preload(ours, theirs, Place::First).unwrap();
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
        assert_eq!(preload(ours, None, Place::Nowhere), None);
        assert_eq!(preload(ours, Some("LD_PRELOAD=/r/libkoala.so"), Place::Nowhere), None);
        let theirs = Some("LD_PRELOAD=/r/libkoala.so:/other.so /more.so");
        assert_eq!(preload(ours, theirs, Place::Nowhere).unwrap(), "LD_PRELOAD=/other.so:/more.so");
    }

    #[test]
    fn the_runtime_of_a_sanitizer_stays_first() {
        let place = |file, theirs: &str| {
            let theirs = CString::new(format!("LD_PRELOAD={theirs}")).unwrap();
            // SAFETY: an entry that ends.
            unsafe { place_for(file, theirs.as_ptr().cast()) }
        };
        for file in [Executable::Coverable, Executable::Sanitized] {
            assert!(place(file, " /lib/libasan.so.8:/other.so") == Place::Last);
        }
        assert!(place(Executable::Sanitized, "/other.so:/lib/libasan.so.8") == Place::Nowhere);
        assert!(place(Executable::Coverable, "/other.so:/lib/libasan.so.8") == Place::First);
        assert!(place(Executable::Foreign, "") == Place::Nowhere);
        // SAFETY: null is allowed.
        assert!(unsafe { place_for(Executable::Static, ptr::null()) } == Place::First);
        let ours = "LD_PRELOAD=/r/libkoala.so";
        let theirs = Some("LD_PRELOAD=/lib/libasan.so.8");
        assert_eq!(
            preload(ours, theirs, Place::Last).unwrap(),
            "LD_PRELOAD=/lib/libasan.so.8:/r/libkoala.so"
        );
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
                Executable::Coverable,
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
        let unchanged =
            unsafe { ChildEnvironment::covering(given.as_ptr(), Executable::Coverable, None, Heritage::All) };
        assert_eq!(unchanged.list(), given.as_ptr());
    }
}
