//! syslog(3): libc sends the message to `/dev/log` by itself, past every hook, so the function is hooked.
//!
//! What is written down is a datagram to `/dev/log` of the priority and the message (RFC 3164, 4.1: `<13>message`). libc
//! puts the time, the program's name and its process id between the two: they are left out, as they tell nothing of what
//! the program did, and differ every time. Whether somebody received it is not known. In a replay nothing is sent.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use koala_events::{Address, EventKind};

use crate::descriptors::Entry;
use crate::library::{self, Log};
use crate::operation::payload::Payload;
use crate::operation::transfer;
use crate::symbol::Symbol;
use crate::sys::IoVec;

const PATH: &[u8] = b"/dev/log";
/// `LOG_PRIMASK`, `LOG_FACMASK`, `LOG_USER` and `LOG_NDELAY` (syslog(3)).
const PRIORITY: c_int = 7;
const FACILITY: c_int = 0x3f8;
const USER: c_int = 1 << 3;
const AT_ONCE: c_int = 8;

/// The facility of messages that name none.
static DEFAULT: AtomicI32 = AtomicI32::new(USER);
/// The number under which the process's messages are in the log; 0 if there were none.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// openlog(3). `real` takes the options: in a replay it opens nothing yet.
pub(crate) fn open(options: c_int, facility: c_int, real: impl FnOnce(c_int)) {
    if facility != 0 && facility & !FACILITY == 0 {
        DEFAULT.store(facility, Ordering::Relaxed);
    }
    let held_back = library::is_active() && library::is_replaying();
    real(if held_back { options & !AT_ONCE } else { options });
}

/// Whether a message of this priority is one to write down.
pub(crate) fn is_followed(priority: c_int) -> bool {
    if !library::is_active() {
        return false;
    }
    type SetMask = unsafe extern "C" fn(c_int) -> c_int;
    static SET_MASK: Symbol = Symbol::new(c"setlogmask");
    let set = SET_MASK.address();
    if set.is_null() {
        return true;
    }
    // SAFETY: setlogmask(3) has this type; 0 asks for the mask, and changes nothing.
    let mask = unsafe { core::mem::transmute::<*mut c_void, SetMask>(set)(0) };
    mask >> (priority & PRIORITY) & 1 != 0
}

/// Writes a message down. 1 if it is not to be sent, else 0.
///
/// # Safety
///
/// `text` must have `length` bytes.
pub(crate) unsafe fn write(priority: c_int, text: *const u8, length: c_int) -> c_int {
    let held_back = c_int::from(library::is_replaying());
    let Some(log) = library::log() else { return held_back };
    let facility = if priority & FACILITY == 0 { DEFAULT.load(Ordering::Relaxed) } else { 0 };
    let mut head = head(priority & (PRIORITY | FACILITY) | facility);
    let parts = [
        IoVec { base: head.bytes.as_mut_ptr(), length: head.length },
        IoVec { base: text.cast_mut(), length: length.max(0) as usize },
    ];
    let payload = Payload::vector(parts.as_ptr(), parts.len());
    let entry = Entry::socket(true).connected(number(&log), false);
    let peer = Address::unix(PATH);
    // SAFETY: two parts of ours, which the caller's promise covers.
    unsafe { transfer::datagram(&log, EventKind::Send, -1, entry, &peer, &payload, payload.length()) };
    held_back
}

fn number(log: &Log) -> u64 {
    let known = NUMBER.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let new = log.new_connection();
    match NUMBER.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => new,
        Err(other) => other,
    }
}

/// The priority, as a message begins with it.
struct Head {
    bytes: [u8; 5],
    length: usize,
}

/// `priority` is below 1,024, but of its own accord no more than three digits are written.
fn head(priority: c_int) -> Head {
    let mut head = Head { bytes: *b"<    ", length: 1 };
    let priority = priority.unsigned_abs() % 1000;
    let mut put = |byte| {
        if let Some(place) = head.bytes.get_mut(head.length) {
            *place = byte;
            head.length += 1;
        }
    };
    let digits = [priority / 100, priority / 10 % 10, priority % 10];
    let leading = digits.iter().take(2).take_while(|digit| **digit == 0).count();
    for digit in digits.iter().skip(leading) {
        put(b'0' + *digit as u8);
    }
    put(b'>');
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_begins_with_its_priority() {
        for (priority, text) in [(0, "<0>"), (7, "<7>"), (14, "<14>"), (191, "<191>"), (100, "<100>")] {
            let head = head(priority);
            assert_eq!(&head.bytes[..head.length], text.as_bytes());
        }
    }

    #[test]
    fn facilities_that_are_none_change_nothing() {
        const LOCAL0: c_int = 16 << 3;
        for (facility, then) in [(LOCAL0, LOCAL0), (0, LOCAL0), (5, LOCAL0), (-1, LOCAL0), (USER, USER)] {
            open(0, facility, |_| {});
            assert_eq!(DEFAULT.load(Ordering::Relaxed), then);
        }
    }
}
