//! Libraries that the program loads.

use core::ffi::c_int;

use crate::executable::Executable;
use crate::library;

/// `RTLD_DEEPBIND` of glibc: a library loaded with it finds libc's functions before ours. musl has no such
/// flag, and ignores it.
const RTLD_DEEPBIND: c_int = 8;

/// dlopen(3) and dlmopen(3): the flags to load with. PHP loads its extensions with RTLD_DEEPBIND, which would
/// hide curl and mysqli from every hook.
pub(crate) extern "C" fn flags(flags: c_int) -> c_int {
    if crate::library::is_active() { flags & !RTLD_DEEPBIND } else { flags }
}

/// `LM_ID_BASE` and `LM_ID_NEWLM` of glibc: the namespace of the program, and one that is made for the library.
const BASE: isize = 0;
const NEW: isize = -1;

/// dlmopen(3): the namespace to load into. What is loaded into one of its own has a libc of its own, and this library is
/// not before it: that is told. In a replay, in which nothing may get past this library, it is loaded beside the program.
pub(crate) extern "C" fn namespace(namespace: isize) -> isize {
    if namespace != NEW || !library::is_active() {
        return namespace;
    }
    library::report_self(Executable::Apart as i64);
    if library::is_replaying() { BASE } else { namespace }
}
