//! Libraries that the program loads.

use core::ffi::c_int;

/// `RTLD_DEEPBIND` of glibc: a library loaded with it finds libc's functions before ours. musl has no such
/// flag, and ignores it.
const RTLD_DEEPBIND: c_int = 8;

/// dlopen(3) and dlmopen(3): the flags to load with. PHP loads its extensions with RTLD_DEEPBIND, which would
/// hide curl and mysqli from every hook.
pub(crate) extern "C" fn flags(flags: c_int) -> c_int {
    if crate::library::is_active() { flags & !RTLD_DEEPBIND } else { flags }
}
