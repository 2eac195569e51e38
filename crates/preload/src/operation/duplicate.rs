//! Descriptors that become another descriptor's twin.

use core::ffi::c_int;

use crate::descriptors;
use crate::library;
use crate::operation::close;
use crate::operation::file::output;
use crate::operation::totals::Totals;
use crate::sys::nr;

/// dup(2).
pub(crate) fn duplicate(from: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let to = real();
    if to >= 0 && library::is_active() {
        close::replaced(to);
        share(from, to);
    }
    to
}

/// dup2(2) and dup3(2): what `to` was is closed.
pub(crate) fn duplicate_to(from: c_int, to: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if from == to || !library::is_active() {
        return real();
    }
    // With a bad `from` the call closes nothing. Nobody else gets the number meanwhile.
    let totals = Totals::of(to, descriptors::get(to));
    output::end(to);
    let result = real();
    if result >= 0 {
        close::end(to, totals);
        share(from, to);
    }
    result
}

/// fcntl(2).
pub(crate) fn control(fd: c_int, command: c_int, real: impl FnOnce() -> c_int) -> c_int {
    match command as u32 {
        nr::F_DUPFD | nr::F_DUPFD_CLOEXEC => duplicate(fd, real),
        _ => real(),
    }
}

#[inline(never)]
fn share(from: c_int, to: c_int) {
    // The name stays when one of them is closed.
    descriptors::set_named(from, false);
    let entry = descriptors::get(from);
    if (entry.is_socket() || entry.is_file()) && entry.connection() != 0 {
        descriptors::set(from, entry.share());
        descriptors::set(to, entry.share());
        if let Some(peer) = descriptors::peer(from) {
            descriptors::set_peer(to, &peer);
        }
    } else {
        descriptors::set(to, entry);
    }
    output::begin(to, entry);
}
