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
    if asked == Address::None && !matches!(address::local(fd), Address::None | Address::Unix(..)) {
        // It is not connected, and the kernel says so (udp(7)).
        return Way::Real;
    }
    if connect::is_reachable(log, &asked) {
        // Who receives it answers to where it comes from.
        own_address(log, fd);
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

/// bind(2): where the program receives datagrams, its own may go in a replay.
pub(crate) fn bind(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result == 0 && library::is_replaying() {
        bound(fd);
    }
    result
}

/// In a replay: the socket has an address by now, to which the program's own datagrams may go.
#[inline(never)]
pub(crate) fn bound(fd: c_int) {
    if !library::is_active() {
        return;
    }
    let entry = socket::known(fd);
    if entry.datagram()
        && !entry.named()
        && let Some(log) = library::log()
    {
        let local = address::local(fd);
        if local.port() != 0 || matches!(local, Address::Unix(_, 1..)) {
            log.replay_table().receive_at(&local);
            descriptors::set_named(fd, true);
        }
    }
}

/// Gives a socket that has none an address before it sends, as the kernel would (ip(7)): whoever receives what it sends
/// may answer at once, and the answer is to be let through.
fn own_address(log: &Log, fd: c_int) {
    let local = address::local(fd);
    let any = match local {
        Address::V4(_, 0) => Address::V4([0; 4], 0),
        Address::V6(_, 0) => Address::V6([0; 16], 0),
        _ => return bound(fd),
    };
    unnamed(log, fd, descriptors::get(fd));
    let any = SockAddr::from_address(&any);
    // SAFETY: an address of ours with its length.
    unsafe {
        sys::call(nr::__NR_bind, [fd as usize, any.pointer() as usize, any.length() as usize, 0, 0, 0])
    };
    bound(fd);
}

/// In a replay: the socket is about to be closed, or its address to become another: none of the program's own goes to
/// the one that it has.
#[inline(never)]
pub(crate) fn unnamed(log: &Log, fd: c_int, entry: Entry) {
    if entry.named() {
        let (table, local) = (log.replay_table(), address::local(fd));
        if entry.datagram() {
            table.leave(&local);
        } else {
            table.unlisten(&local);
        }
        descriptors::set_named(fd, false);
    }
}

/// Other descriptors or processes may have the program's sockets from now on: the addresses of these stay known when
/// they are closed here.
pub(crate) fn keep_names() {
    if library::is_replaying() {
        descriptors::each(0, u32::MAX, |fd| descriptors::set_named(fd, false));
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
