//! Ending one direction of a connection.

use core::ffi::c_int;

use koala_events::EventKind;

use crate::descriptors;
use crate::library;
use crate::sys;

/// shutdown(2).
pub(crate) fn shutdown(fd: c_int, how: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if library::is_active() {
        let entry = descriptors::get(fd);
        if entry.is_socket()
            && entry.connection() != 0
            && let Some(log) = library::log_if_attached()
        {
            log.append(EventKind::Shutdown, fd, entry, i64::from(how), sys::now(), &[]);
        }
    }
    real()
}
