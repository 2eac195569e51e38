//! Making sockets, and recognising those that koala did not see being made.

use core::ffi::c_int;

use koala_events::{Address, EventKind};

use crate::address;
use crate::descriptors::{self, Entry};
use crate::library;
use crate::lineage;
use crate::operation::totals::Totals;
use crate::operation::{close, listen};
use crate::sys::{self, net};

/// The bits of a socket's type that are flags (socket(2)).
const TYPE_MASK: u32 = 0xf;

/// socket(2).
pub(crate) fn open(domain: c_int, kind: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let fd = real();
    if fd >= 0 && library::is_active() {
        close::replaced(fd);
        descriptors::set(fd, fresh(domain as u32, kind as u32));
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

/// What a socket of this domain and type is to koala.
fn fresh(domain: u32, kind: u32) -> Entry {
    let kind = kind & TYPE_MASK;
    match (domain, kind) {
        (net::AF_INET | net::AF_INET6 | net::AF_UNIX, net::SOCK_STREAM) => Entry::socket(false),
        (net::AF_INET | net::AF_INET6 | net::AF_UNIX, net::SOCK_DGRAM) => Entry::socket(true),
        _ => Entry::IGNORED,
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
    let entry = match (address::option(fd, net::SO_DOMAIN), address::option(fd, net::SO_TYPE)) {
        (Some(domain), Some(kind)) => fresh(domain, kind),
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
        _ if entry.datagram() => entry,
        _ => match library::log() {
            Some(log) => {
                // A named unix socket with an unnamed peer is the end of a server.
                let accepted =
                    matches!((&local, &peer), (Address::Unix(_, 1..), Address::None | Address::Unix(_, 0)));
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
