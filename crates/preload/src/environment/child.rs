//! The environment of a child: that which its maker gives it, with what koala needs.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{KEPT, KEPT_AT, PRELOAD, STORE, contains, find, starts_with, value};
use crate::lineage::{self, Heritage, Origin};
use crate::sys::{self, nr};
use crate::thread::Thread;

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
