//! Closing descriptors. What is known of one is forgotten before it is closed: afterwards another thread may
//! have the same number for something else.

use core::ffi::{c_int, c_void};

use koala_events::{Address, EventKind};

use crate::descriptors;
use crate::library;
use crate::operation::totals::Totals;
use crate::operation::{datagram, file};
use crate::symbol::Symbol;
use crate::sys::{self, nr};

/// `CLOSE_RANGE_UNSHARE` (close_range(2)). With the other flag, `CLOSE_RANGE_CLOEXEC`, nothing is closed.
const UNSHARE: u32 = 1 << 1;

/// close(2).
pub(crate) fn close(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    forget(fd);
    real()
}

/// fclose(3) and what else ends a stream: libc closes its descriptor by itself.
pub(crate) fn close_stream<T>(stream: *mut c_void, real: impl FnOnce() -> T) -> T {
    type FileNumber = unsafe extern "C" fn(*mut c_void) -> c_int;
    static FILE_NUMBER: Symbol = Symbol::new(c"fileno");
    if !stream.is_null() && library::is_active() {
        let number = FILE_NUMBER.address();
        if !number.is_null() {
            let errno = sys::errno();
            // SAFETY: fileno(3) has this type, and the stream is open until `real` closes it.
            let fd = unsafe { core::mem::transmute::<*mut c_void, FileNumber>(number)(stream) };
            sys::set_errno(errno);
            forget(fd);
        }
    }
    real()
}

/// close_range(2).
pub(crate) fn close_range(first: u32, last: u32, flags: u32, real: impl FnOnce() -> c_int) -> c_int {
    if flags & !UNSHARE == 0 && first <= last && library::is_active() && can_close_ranges() {
        descriptors::each(first, last, forget);
    }
    real()
}

/// Whether the kernel has close_range(2) (since Linux 5.9, and where no seccomp filter refuses it): asked with a range in
/// which there is no descriptor.
fn can_close_ranges() -> bool {
    const NONE: usize = u32::MAX as usize;
    // SAFETY: closes nothing.
    unsafe { sys::call(nr::__NR_close_range, [NONE, NONE, 0, 0, 0, 0]) >= 0 }
}

/// closefrom(3).
pub(crate) fn close_from(first: c_int, real: impl FnOnce()) {
    if library::is_active() {
        descriptors::each(first.max(0) as u32, u32::MAX, forget);
    }
    real();
}

/// `fd` is about to be something else, or nothing.
#[inline(never)]
pub(crate) fn forget(fd: c_int) {
    let entry = descriptors::get(fd);
    if entry.named()
        && library::is_active()
        && let Some(log) = library::log_if_attached()
    {
        datagram::unnamed(&log, fd, entry);
    }
    if library::is_active() {
        file::output::end(fd);
    }
    end(fd, Totals::of(fd, entry));
}

/// `fd` is something else: what it was, was closed in a way that was not seen.
pub(crate) fn replaced(fd: c_int) {
    end(fd, None);
}

/// Forgets `fd`; `totals` says what crossed its connection.
#[inline(never)]
pub(crate) fn end(fd: c_int, totals: Option<Totals>) {
    if !library::is_active() {
        return;
    }
    let entry = descriptors::take(fd);
    if entry.is_file() {
        return file::closed(fd, entry);
    }
    if !entry.is_socket() {
        return;
    }
    if library::is_replaying() && descriptors::peer(fd).is_some() {
        descriptors::set_peer(fd, &Address::None);
    }
    if entry.connection() == 0 || (entry.shared() && descriptors::is_elsewhere(fd, entry.connection())) {
        return;
    }
    if let Some(log) = library::log_if_attached() {
        let totals = totals.map(Totals::encode);
        let payload = totals.as_ref().map_or(&[][..], |totals| totals);
        log.append_passed(EventKind::Close, fd, entry, 0, payload);
    }
}
