//! Listening.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::socket;
use crate::sys;

/// listen(2).
pub(crate) fn listen(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result != 0 || !library::is_active() || !socket::known(fd).is_socket() {
        return result;
    }
    if let Some(log) = library::log() {
        let address = address::local(fd);
        name(&log, fd, &address);
        let mut payload = [0; Address::MAX];
        let length = address.encode(&mut payload);
        log.append(
            EventKind::Listen,
            fd,
            Entry::UNKNOWN,
            0,
            sys::now(),
            payload.get(..length).unwrap_or(&[]),
        );
    }
    result
}

/// In a replay: the program's own connections may go to `address`, where `fd` listens.
pub(crate) fn name(log: &Log, fd: c_int, address: &Address) {
    if library::is_replaying() && !descriptors::get(fd).named() {
        log.replay_table().listen(address);
        descriptors::set_named(fd, true);
    }
}
