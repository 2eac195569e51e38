//! Datagrams in a replay: each goes to who stands in for its peer (the agent has a socket for each peer that has
//! answered in the recording), and what comes from there looks as if it came from that peer. What nobody answers is
//! written down and not sent.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address::{self, SockAddr};
use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::connect;
use crate::operation::payload::Payload;
use crate::operation::socket::{self, encode_pair};
use crate::sys::{self, Message, net, nr};

/// What becomes of a datagram.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The program's own call sends it.
    Real,
    /// It is not sent.
    HeldBack,
    /// It is sent to this address instead.
    Instead(SockAddr),
}

/// What becomes of a datagram that is sent on `fd` to `peer`, if the call says to whom.
#[inline(never)]
pub(crate) fn way(log: Option<&Log>, fd: c_int, peer: &Address) -> Way {
    if !library::is_replaying() {
        return Way::Real;
    }
    let Some(log) = log else { return Way::HeldBack };
    let asked = match (peer, descriptors::peer(fd)) {
        (Address::None, Some(asked)) => asked,
        (Address::None, None) => address::peer(fd),
        (peer, _) => *peer,
    };
    if connect::is_reachable(log, &asked) {
        return Way::Real;
    }
    match stand_in(log, &asked) {
        None => Way::HeldBack,
        // The socket is connected to it.
        Some(_) if *peer == Address::None => Way::Real,
        Some(server) => Way::Instead(SockAddr::from_address(&server)),
    }
}

/// Who answers datagrams to `peer`, in the family of that address.
pub(crate) fn stand_in(log: &Log, peer: &Address) -> Option<Address> {
    let port = log.replay_table().stand_in(&unmapped(peer))?;
    Some(match (peer, unmapped(peer)) {
        (Address::V6(..), Address::V4(..)) => mapped([127, 0, 0, 1], port),
        (Address::V6(..), _) => Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], port),
        _ => Address::V4([127, 0, 0, 1], port),
    })
}

/// An IPv4 address as an IPv6 socket has it (RFC 4291, 2.5.5.2).
fn mapped([a, b, c, d]: [u8; 4], port: u16) -> Address {
    Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port)
}

fn unmapped(address: &Address) -> Address {
    match *address {
        Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port) => {
            Address::V4([a, b, c, d], port)
        }
        address => address,
    }
}

/// Sends a datagram elsewhere than the program asked for. Returns what the program's call would have.
///
/// # Safety
///
/// The payload must be readable.
#[inline(never)]
pub(crate) unsafe fn send_instead(
    log: Option<&Log>,
    fd: c_int,
    entry: Entry,
    payload: &Payload,
    to: &SockAddr,
) -> isize {
    let mut single;
    let (vector, count) = match *payload {
        Payload::Buffer(part) => {
            single = part;
            (&raw mut single, 1)
        }
        Payload::Vector(vector, count) => (vector.cast_mut(), count),
        Payload::Messages(..) => (core::ptr::null_mut(), 0),
    };
    let message = Message {
        name: to.pointer().cast_mut(),
        name_length: to.length(),
        vector,
        vector_length: count,
        control: core::ptr::null_mut(),
        control_length: 0,
        flags: 0,
    };
    // SAFETY: a message of ours with the program's payload.
    let result = unsafe {
        let message = &raw const message as usize;
        sys::call(nr::__NR_sendmsg, [fd as usize, message, net::MSG_NOSIGNAL as usize, 0, 0, 0])
    };
    if result < 0 {
        sys::set_errno(-result as c_int);
        return -1;
    }
    if let Some(log) = log {
        // By its local port the agent knows whose datagram it has received.
        let mut payload = [0; 2 * Address::MAX];
        let length = encode_pair(&address::local(fd), &Address::None, &mut payload);
        log.append(EventKind::Connect, fd, entry, 0, sys::now(), payload.get(..length).unwrap_or(&[]));
    }
    result
}

/// The address at `name`, which tells where a datagram came from: in a replay that of whom the sender stands in for,
/// which is written there.
///
/// # Safety
///
/// `name` must point to an address of `length` bytes that the kernel has written.
#[inline(never)]
pub(crate) unsafe fn source(name: *mut u8, length: u32) -> Address {
    // SAFETY: the caller's promise.
    let from = unsafe { address::read(name, length) };
    if !library::is_replaying() {
        return from;
    }
    let loopback = matches!(
        unmapped(&from),
        Address::V4([127, 0, 0, 1], _) | Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], _)
    );
    let log = if loopback { library::log_if_attached() } else { None };
    let Some(peer) = log.and_then(|log| log.replay_table().stood_in_for(from.port())) else { return from };
    let peer = match (&from, peer) {
        (Address::V6(..), Address::V4(ip, port)) => mapped(ip, port),
        (_, peer) => peer,
    };
    let written = SockAddr::from_address(&peer);
    // SAFETY: the kernel has written as many bytes of an address of the same family.
    unsafe { sys::copy(written.pointer(), name, written.length().min(length) as usize) };
    peer
}

/// bind(2): where the program receives datagrams at an address that it chose, its own may go there in a replay.
pub(crate) fn bind(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result == 0 && library::is_replaying() {
        bound(fd);
    }
    result
}

#[inline(never)]
fn bound(fd: c_int) {
    if !library::is_active() || !socket::known(fd).datagram() {
        return;
    }
    let local = address::local(fd);
    // Where the kernel chose the port, nobody knows it beforehand (ip(7)).
    let ephemeral = (32_768..=60_999).contains(&local.port());
    if local != Address::None
        && !ephemeral
        && let Some(log) = library::log()
    {
        log.replay_table().receive_at(&local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_family_in_the_clothes_of_the_other() {
        let v4 = Address::V4([10, 0, 0, 1], 53);
        assert_eq!(unmapped(&mapped([10, 0, 0, 1], 53)), v4);
        assert_eq!(unmapped(&v4), v4);
        let v6 = Address::V6([1; 16], 53);
        assert_eq!(unmapped(&v6), v6);
    }
}
