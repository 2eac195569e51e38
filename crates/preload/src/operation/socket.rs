//! Making sockets, and recognising those that koala did not see being made.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library;
use crate::lineage;
use crate::operation::totals::{self, Totals};
use crate::operation::{close, foreign, listen};
use crate::sys::{self, net};

/// The bits of a socket's type that are flags (socket(2)).
const TYPE_MASK: u32 = 0xf;

/// socket(2).
pub(crate) fn open(domain: c_int, kind: c_int, protocol: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let (domain, kind) = (domain as u32, kind as u32 & TYPE_MASK);
    let entry = fresh(domain, kind, protocol as u32);
    if entry == Entry::FOREIGN
        && library::is_active()
        && let Some(errno) = foreign::refusal(domain, kind)
    {
        sys::set_errno(errno);
        return -1;
    }
    let fd = real();
    if fd >= 0 && library::is_active() {
        close::replaced(fd);
        descriptors::set(fd, entry);
    }
    fd
}

/// socketpair(2): both ends are the program's own.
///
/// # Safety
///
/// `pair` must point to two descriptors, if `real` returns 0.
pub(crate) unsafe fn open_pair(pair: *const c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result == 0 && library::is_active() {
        for at in 0..2 {
            // SAFETY: the caller's promise.
            let fd = unsafe { *pair.add(at) };
            close::replaced(fd);
            descriptors::set(fd, Entry::IGNORED);
        }
    }
    result
}

/// What a socket of this domain, type and protocol is to koala. One that is connected and keeps messages apart
/// (`SOCK_SEQPACKET`) is recorded like one that does not; a replay refuses to open it ([`super::connect`]).
fn fresh(domain: u32, kind: u32, protocol: u32) -> Entry {
    const MPTCP: u32 = net::IPPROTO_MPTCP as u32;
    const UDP: u32 = net::IPPROTO_UDP as u32;
    const UDP_LITE: u32 = net::IPPROTO_UDPLITE as u32;
    const TCP: u32 = net::IPPROTO_TCP as u32;
    match (domain, kind, protocol) {
        (net::AF_INET | net::AF_INET6, net::SOCK_STREAM, 0 | TCP | MPTCP) => Entry::socket(false),
        (net::AF_INET | net::AF_INET6, net::SOCK_DGRAM, 0 | UDP | UDP_LITE) => Entry::socket(true),
        (net::AF_UNIX, net::SOCK_STREAM | net::SOCK_SEQPACKET, _) => Entry::socket(false),
        // Of the second the kernel makes the first (unix(7)).
        (net::AF_UNIX, net::SOCK_DGRAM | net::SOCK_RAW, _) => Entry::socket(true),
        // They lead to the kernel, and no further.
        (net::AF_NETLINK | net::AF_ALG | net::AF_KEY, ..) => Entry::IGNORED,
        _ => Entry::FOREIGN,
    }
}

/// What `fd` is; asks the kernel the first time.
#[inline]
pub(crate) fn known(fd: c_int) -> Entry {
    let entry = descriptors::get(fd);
    if entry == Entry::UNKNOWN { recognise(fd) } else { entry }
}

/// Looks at a descriptor that koala did not see being made: inherited over exec, or received from another
/// process. A connected socket becomes a connection with an `Adopt` event.
#[cold]
fn recognise(fd: c_int) -> Entry {
    if fd < 0 {
        return Entry::IGNORED;
    }
    let told = lineage::inherited(fd);
    if let Some(file) = told.filter(|told| told.is_file() && sys::appends(fd)) {
        descriptors::set(fd, file);
        return file;
    }
    let option = |name| address::option(fd, name);
    let entry = match (option(net::SO_DOMAIN), option(net::SO_TYPE), option(net::SO_PROTOCOL)) {
        (Some(domain), Some(kind), Some(protocol)) => fresh(domain, kind, protocol),
        _ => Entry::IGNORED,
    };
    if !entry.is_socket() {
        descriptors::set(fd, entry);
        return entry;
    }
    if address::option(fd, net::SO_ACCEPTCONN) == Some(1) {
        descriptors::set(fd, entry);
        if library::is_replaying()
            && let Some(log) = library::log()
        {
            listen::name(&log, fd, &address::local(fd));
        }
        return entry;
    }
    let (local, peer) = (address::local(fd), address::peer(fd));
    let entry = match peer {
        // Neither end has a name: one of a pair of the program's own, as pipes between processes often are.
        Address::None if !matches!(local, Address::Unix(_, 1..)) => {
            if matches!(local, Address::V4(..) | Address::V6(..)) { entry } else { Entry::IGNORED }
        }
        _ if entry.datagram() => told.filter(|told| told.datagram()).unwrap_or(entry),
        _ => match library::log() {
            Some(log) => {
                if let Some(twin) = twin(fd) {
                    descriptors::set(fd, twin);
                    return twin;
                }
                let accepted = is_accepted(fd, &local, &peer);
                let passed = || log.arena().passed_table().find(sys::identity(fd)?).map(Entry::from_bits);
                let entry = match told.or_else(passed) {
                    // Under the number that it has already.
                    Some(told) => told,
                    None => entry.connected(log.new_connection(), accepted),
                };
                let accepted = entry.inbound();
                let mut addresses = [0; 2 * Address::MAX];
                let mut length = encode_pair(&local, &peer, &mut addresses);
                let mut payload = [0; 2 * Address::MAX + Totals::SIZE];
                let totals = Totals::of(fd, entry).map(Totals::encode);
                let totals = totals.as_ref().map_or(&[][..], |totals| totals);
                for (to, from) in payload.iter_mut().zip(addresses.iter().take(length).chain(totals)) {
                    *to = *from;
                }
                length += totals.len();
                let payload = payload.get(..length).unwrap_or(&[]);
                log.append_passed(EventKind::Adopt, fd, entry, i64::from(accepted), payload);
                entry
            }
            None => entry,
        },
    };
    descriptors::set(fd, entry);
    entry
}

/// The low descriptors, among which a program that is started for a connection has it more than once (inetd(8)).
const LOW: u32 = 15;

/// What `fd` is, where another low descriptor has the same connection.
fn twin(fd: c_int) -> Option<Entry> {
    let identity = sys::identity(fd)?;
    let mut found = None;
    descriptors::each(0, LOW, |other| {
        let entry = descriptors::get(other);
        let connected = entry.is_socket() && !entry.datagram() && entry.connection() != 0;
        if other != fd && connected && sys::identity(other) == Some(identity) {
            descriptors::set(other, entry.share());
            found = Some(entry.share());
        }
    });
    found
}

/// Whether a connection that was made where koala did not see it was accepted there. Where the kernel can't tell, its
/// numbers are the evidence.
fn is_accepted(fd: c_int, local: &Address, peer: &Address) -> bool {
    /// The kernel gives ports from here on to those that connect (`ip_local_port_range` of ip(7), by default).
    const EPHEMERAL: u16 = 32768;
    match (local, peer) {
        // A named unix socket with an unnamed peer is the end of a server.
        (Address::Unix(_, 1..), Address::None | Address::Unix(_, 0)) => true,
        // A program that is started for a connection has it as its standard input (inetd(8)).
        (Address::V4(..) | Address::V6(..), _) => {
            let guess = || fd == 0 || (local.port() < EPHEMERAL && peer.port() >= EPHEMERAL);
            totals::has_opened(fd).map_or_else(guess, |opened| !opened)
        }
        _ => false,
    }
}

/// Writes two addresses, one behind the other, and returns their length.
pub(crate) fn encode_pair(local: &Address, peer: &Address, out: &mut [u8; 2 * Address::MAX]) -> usize {
    let mut length = 0;
    for address in [local, peer] {
        let mut bytes = [0; Address::MAX];
        let size = address.encode(&mut bytes);
        for (to, from) in out.iter_mut().skip(length).zip(bytes.iter().take(size)) {
            *to = *from;
        }
        length += size;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_of_the_process_is_followed_or_told_of() {
        const SCTP: u32 = 132;
        const ICMP: u32 = 1;
        for (domain, kind, protocol, expected) in [
            (net::AF_INET, net::SOCK_STREAM, 0, Entry::socket(false)),
            (net::AF_INET6, net::SOCK_STREAM, 262, Entry::socket(false)),
            (net::AF_INET, net::SOCK_STREAM, SCTP, Entry::FOREIGN),
            (net::AF_INET, net::SOCK_SEQPACKET, SCTP, Entry::FOREIGN),
            (net::AF_INET, net::SOCK_DGRAM, 17, Entry::socket(true)),
            (net::AF_INET, net::SOCK_DGRAM, ICMP, Entry::FOREIGN),
            (net::AF_INET6, net::SOCK_RAW, ICMP, Entry::FOREIGN),
            (net::AF_UNIX, net::SOCK_SEQPACKET, 0, Entry::socket(false)),
            (net::AF_UNIX, net::SOCK_RAW, 0, Entry::socket(true)),
            (net::AF_NETLINK, net::SOCK_RAW, 0, Entry::IGNORED),
            (net::AF_VSOCK, net::SOCK_STREAM, 0, Entry::FOREIGN),
            (net::AF_PACKET, net::SOCK_DGRAM, 0, Entry::FOREIGN),
            (99, 99, 99, Entry::FOREIGN),
        ] {
            assert!(fresh(domain, kind, protocol) == expected, "{domain} {kind} {protocol}");
        }
    }
}
