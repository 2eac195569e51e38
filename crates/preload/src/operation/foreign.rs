//! Sockets of a kind that koala neither records nor replays: raw ones, those of virtual machines (vsock(7)), SCTP and the
//! like. That a program uses one is told, once for each kind. In a replay there are none: whatever way leads out of one,
//! it can't be taken.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::address;
use crate::library;
use crate::sys::{self, error, net};

/// The kernel knows no address family beyond (`AF_MAX`, with room for more).
const FAMILIES: u32 = 64;

/// The families of which it was told that the process uses such a socket.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// Why the program gets no such socket: an `errno`, as it may get it on any machine. `None` where it gets one.
#[cold]
pub(crate) fn refusal(domain: u32, kind: u32) -> Option<c_int> {
    if !library::is_replaying() || domain >= FAMILIES {
        return None;
    }
    tell(domain, kind);
    let errno = match (domain, kind) {
        (net::AF_PACKET, _) | (_, net::SOCK_RAW) => error::EPERM,
        (net::AF_INET | net::AF_INET6, _) => error::EPROTONOSUPPORT,
        _ => error::EAFNOSUPPORT,
    };
    Some(errno as c_int)
}

/// The program uses such a socket. Returns whether it must not.
#[cold]
pub(crate) fn is_refused(fd: c_int) -> bool {
    if let (Some(domain), Some(kind)) =
        (address::option(fd, net::SO_DOMAIN), address::option(fd, net::SO_TYPE))
    {
        tell(domain, kind);
    }
    library::is_replaying()
}

/// Tells the agent, once for each family.
pub(crate) fn tell(domain: u32, kind: u32) {
    let bit = 1u64.checked_shl(domain).unwrap_or(0);
    if bit != 0 && TOLD.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        let errno = sys::errno();
        library::report_foreign(domain, kind);
        sys::set_errno(errno);
    }
}
