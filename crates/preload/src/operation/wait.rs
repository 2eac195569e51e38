//! Waiting for something to arrive: what tells that a thread has nothing left to do for now.

use crate::library;

/// `poll`, `select`, `epoll_wait` and their kin.
#[inline]
pub(crate) fn wait<T>(real: impl FnOnce() -> T) -> T {
    if library::is_active()
        && let Some(log) = library::log_if_attached()
    {
        log.park();
    }
    real()
}
