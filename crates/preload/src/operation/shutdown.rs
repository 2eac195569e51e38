//! Ending one direction of a connection.

use core::ffi::c_int;

use koala_events::EventKind;

use crate::descriptors;
use crate::library;
use crate::operation::totals::Totals;
use crate::sys;

/// shutdown(2). In the log before the peer can answer it.
pub(crate) fn shutdown(fd: c_int, how: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if !library::is_active() {
        return real();
    }
    let entry = descriptors::get(fd);
    if !entry.is_socket() || entry.connection() == 0 {
        return real();
    }
    let Some(log) = library::log_if_attached() else { return real() };
    let totals = Totals::of(fd, entry).map(Totals::encode);
    let payload = totals.as_ref().map_or(&[][..], |totals| totals);
    let pending = log.begin(EventKind::Shutdown, fd, entry, 0, sys::now(), payload.len());
    let result = real();
    if let Some(pending) = pending {
        if result == 0 {
            // SAFETY: the record has room for the payload.
            unsafe { sys::copy(payload.as_ptr(), pending.payload(), payload.len()) };
            pending.commit(i64::from(how), payload.len());
        } else {
            pending.void();
        }
    }
    result
}
