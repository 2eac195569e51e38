//! getnameinfo(3): the name of an address.

use core::ffi::{c_char, c_int};
use core::ptr;

use koala_events::Lookup;

use super::{Addresses, EAI_FAIL, EAI_NONAME, EAI_OVERFLOW, Found, NI_NAMEREQD, NI_NUMERICHOST, tell};
use crate::address;
use crate::library;
use crate::sys;
use crate::thread::Thread;

/// What getnameinfo(3) is asked for.
#[derive(Clone, Copy)]
pub(crate) struct NameQuestion {
    pub(crate) address: *const u8,
    pub(crate) length: u32,
    pub(crate) host: *mut c_char,
    pub(crate) host_size: u32,
    pub(crate) flags: c_int,
}

/// getnameinfo(3). `real` is given what to ask for the host, its size, and the flags.
///
/// # Safety
///
/// `question` must be what getnameinfo(3) asks for.
pub(crate) unsafe fn name(question: NameQuestion, real: impl Fn(*mut c_char, u32, c_int) -> c_int) -> c_int {
    let NameQuestion { host, host_size, flags, .. } = question;
    let named = !host.is_null() && host_size > 0 && flags & NI_NUMERICHOST == 0;
    if !named || !library::is_active() {
        return real(host, host_size, flags);
    }
    // SAFETY: the caller's promise.
    let address = unsafe { address::read(question.address, question.length) };
    let mut addresses = Addresses::new();
    addresses.add(&address);
    if addresses.length == 0 {
        // Of a unix socket, say: no lookup.
        return real(host, host_size, flags);
    }
    let asked = Lookup::reverse(addresses.all(), &[]);
    if !library::is_replaying() {
        let outcome = Thread::current().while_resolving(|| real(host, host_size, flags));
        if let Some(log) = library::log() {
            // SAFETY: getnameinfo has written a name that ends.
            let name = if outcome == 0 { unsafe { sys::string(host.cast()) } } else { &[] };
            tell(&log, &Lookup::reverse(addresses.all(), name), outcome);
        }
        return outcome;
    }
    let Some(log) = library::log() else { return EAI_FAIL };
    let found = Found::of(&log, &asked);
    let name = found.name();
    let outcome = if !name.is_empty() {
        if name.len() < host_size as usize {
            // SAFETY: the program's buffer has that room.
            unsafe {
                sys::copy(name.as_ptr(), host.cast(), name.len());
                *host.add(name.len()) = 0;
            }
            real(ptr::null_mut(), 0, flags)
        } else {
            EAI_OVERFLOW
        }
    } else if flags & NI_NAMEREQD != 0 {
        match found.error() {
            0 => EAI_NONAME,
            error => error,
        }
    } else {
        real(host, host_size, flags | NI_NUMERICHOST)
    };
    tell(&log, &Lookup::reverse(addresses.all(), name), if name.is_empty() { EAI_NONAME } else { outcome });
    outcome
}
