//! Opening connections; in a replay, to the agent instead of the peer.

use core::ffi::c_int;

use koala_events::{Address, EventKind, Outcome, Pending};

use crate::address::{self, SockAddr};
use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::close;
use crate::operation::datagram;
use crate::operation::foreign;
use crate::operation::socket::{self, encode_pair};
use crate::operation::totals::Totals;
use crate::sys::{self, error, net, nr};

/// What a connect is to do.
enum Target {
    /// What the program asked for.
    Real,
    /// The outbound server, at this address.
    Agent(SockAddr),
    /// Nothing: it fails with this `errno`.
    Nowhere(c_int),
    /// Nothing: it succeeds. Nobody answers datagrams to there, and none are sent.
    Pretended,
}

/// connect(2). `real` connects to the address it is given.
///
/// # Safety
///
/// `name` must point to `length` bytes, as connect(2) asks for.
pub(crate) unsafe fn connect(
    fd: c_int,
    name: *const u8,
    length: u32,
    real: impl Fn(*const u8, u32) -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { connect_by(fd, name, length, &real) }
}

/// [`connect`], once for all hooks.
///
/// # Safety
///
/// As for [`connect`].
unsafe fn connect_by(
    fd: c_int,
    name: *const u8,
    length: u32,
    real: &dyn Fn(*const u8, u32) -> c_int,
) -> c_int {
    if !library::is_active() {
        return real(name, length);
    }
    // SAFETY: the caller's promise.
    let peer = unsafe { address::read(name, length) };
    let entry = socket::known(fd);
    if entry == Entry::FOREIGN && foreign::is_refused(fd) {
        return refuse(error::ECONNREFUSED as c_int);
    }
    if !entry.is_socket() || peer == Address::None {
        // In a replay too: AF_UNSPEC dissolves an association, other families (netlink) reach nobody.
        let totals = Totals::of(fd, entry);
        if entry.named()
            && let Some(log) = library::log_if_attached()
        {
            datagram::unnamed(&log, fd, entry);
        }
        let result = real(name, length);
        if result == 0 && entry.is_socket() && entry.connection() != 0 && !entry.datagram() {
            close::end(fd, totals);
            descriptors::set(fd, Entry::socket(false));
        }
        return result;
    }
    let Some(log) = library::log() else {
        if library::is_replaying() {
            return refuse(error::ECONNREFUSED as c_int);
        }
        return real(name, length);
    };
    let target = if library::is_replaying() { redirect(&log, fd, entry, &peer) } else { Target::Real };
    if entry.connection() != 0 && !entry.datagram() {
        let result = match &target {
            Target::Agent(server) => real(server.pointer(), server.length()),
            Target::Real => real(name, length),
            // One that is connected is told so, whomever it asks for (connect(2)).
            Target::Nowhere(errno) if address::peer(fd) == Address::None => refuse(*errno),
            Target::Nowhere(_) => refuse(error::EISCONN as c_int),
            Target::Pretended => 0,
        };
        tell_again(&log, fd, entry, &peer, if result == 0 { 0 } else { -sys::errno() });
        return result;
    }
    if matches!(target, Target::Real) && is_bypassed(&log, &peer) {
        descriptors::set(fd, Entry::IGNORED);
        return real(name, length);
    }
    let entry = entry.connected(log.new_connection(), false);
    let time = sys::now();
    let pending = log.begin(EventKind::Connect, fd, entry, 0, time, 2 * Address::MAX);
    let result = match &target {
        Target::Real => real(name, length),
        Target::Agent(server) => real(server.pointer(), server.length()),
        Target::Nowhere(errno) => refuse(*errno),
        Target::Pretended => 0,
    };
    let outcome = if result == 0 { 0 } else { -sys::errno() };
    if outcome == 0 || is_in_progress(outcome) {
        descriptors::set(fd, entry);
    }
    if matches!(target, Target::Agent(_) | Target::Pretended) {
        descriptors::set_peer(fd, &peer);
    } else if library::is_replaying() {
        // It is connected to whom it says it is, now.
        descriptors::set_peer(fd, &Address::None);
        datagram::bound(fd);
    }
    tell(pending, fd, &peer, outcome);
    result
}

/// Writes down what came of connecting a socket that has a connection: mostly the program asks how that goes, or is
/// told that it is there already.
fn tell_again(log: &Log, fd: c_int, entry: Entry, peer: &Address, outcome: c_int) {
    let unchanged = [0, error::EISCONN, error::EALREADY, error::EINTR].map(|errno| -(errno as c_int));
    let begun_anew = outcome == -(error::EINPROGRESS as c_int) || (outcome == 0 && entry.failed());
    if begun_anew {
        let entry = entry.connected(log.new_connection(), false);
        descriptors::set(fd, entry);
        tell(log.begin(EventKind::Connect, fd, entry, 0, sys::now(), 2 * Address::MAX), fd, peer, outcome);
    } else if !unchanged.contains(&outcome) && !entry.inbound() {
        descriptors::set(fd, entry.fail());
        log.append(EventKind::Connect, fd, entry, i64::from(outcome), sys::now(), &[]);
    }
}

/// getsockopt(2). What `SO_ERROR` tells of a connect that went on in the background is how that connect failed.
///
/// # Safety
///
/// `value` must be what getsockopt(2) asks for.
pub(crate) unsafe fn option(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_int,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let result = real();
    if result != 0 || level != net::SOL_SOCKET as c_int || name != net::SO_ERROR as c_int {
        return result;
    }
    // SAFETY: the call succeeded, and has written at least part of an `int`; an errno fits into any part.
    let failed = unsafe { value.cast::<u8>().read() };
    let entry = descriptors::get(fd);
    if failed != 0
        && library::is_active()
        && entry.is_socket()
        && entry.connection() != 0
        && !entry.inbound()
        && !entry.datagram()
        && let Some(log) = library::log_if_attached()
    {
        descriptors::set(fd, entry.fail());
        // Whom it was to be connected to is known from its beginning.
        log.append(EventKind::Connect, fd, entry, -i64::from(failed), sys::now(), &[]);
    }
    result
}

/// Whether a connect with this outcome goes on in the background (connect(2)).
pub(crate) fn is_in_progress(outcome: c_int) -> bool {
    outcome == -(error::EINPROGRESS as c_int) || outcome == -(error::EINTR as c_int)
}

fn refuse(errno: c_int) -> c_int {
    sys::set_errno(errno);
    -1
}

/// Completes the record of a connect.
pub(crate) fn tell(pending: Option<Pending>, fd: c_int, peer: &Address, outcome: c_int) {
    let Some(pending) = pending else { return };
    let in_progress = is_in_progress(outcome);
    let local = if outcome == 0 || in_progress { address::local(fd) } else { Address::None };
    let mut payload = [0; 2 * Address::MAX];
    let length = encode_pair(&local, peer, &mut payload);
    // SAFETY: the record was begun with room for two addresses.
    unsafe { sys::copy(payload.as_ptr(), pending.payload(), length) };
    let outcome = if in_progress { -(error::EINPROGRESS as c_int) } else { outcome };
    pending.commit(i64::from(outcome), length);
}

pub(crate) fn is_bypassed(log: &Log, peer: &Address) -> bool {
    matches!(log.replay_table().outcome(peer, 0), Outcome::Bypass)
}

/// Whether datagrams to `peer` may leave in a replay: to the program itself, and where the user said so.
pub(crate) fn is_reachable(log: &Log, peer: &Address) -> bool {
    let table = log.replay_table();
    table.is_own_receiver(peer) || is_bypassed(log, peer)
}

/// Where a connect to `peer` goes in a replay.
fn redirect(log: &Log, fd: c_int, entry: Entry, peer: &Address) -> Target {
    let table = log.replay_table();
    if if entry.datagram() { table.is_own_receiver(peer) } else { table.is_own_listener(peer) } {
        return Target::Real;
    }
    if entry.datagram() {
        match (datagram::stand_in(log, peer), peer) {
            (Some(server), _) => return Target::Agent(SockAddr::from_address(&server)),
            (None, Address::Unix(..)) if !is_bypassed(log, peer) => return Target::Pretended,
            _ => {}
        }
    }
    let unknown = match peer {
        Address::Unix(..) => error::ENOENT,
        _ => error::ECONNREFUSED,
    };
    match table.outcome(peer, unknown as c_int) {
        Outcome::Bypass => return Target::Real,
        // The agent answers with bytes, and knows nothing of where messages end.
        _ if keeps_messages_apart(fd, peer) => return Target::Nowhere(error::ECONNREFUSED as c_int),
        Outcome::Refuse(errno) if !entry.datagram() => return Target::Nowhere(errno),
        Outcome::Refuse(_) | Outcome::Redirect => {}
    }
    let v4 = Address::V4([127, 0, 0, 1], table.outbound_port_v4());
    let server = match peer {
        Address::V4(..) => v4,
        Address::V6(..) => match table.outbound_port_v6() {
            // No server on ::1: the same socket reaches 127.0.0.1 by its mapped address (RFC 4291, 2.5.5.2).
            0 => Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1], v4.port()),
            port => Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], port),
        },
        Address::Unix(..) => {
            name_unix(fd);
            table.outbound_unix().unwrap_or_default()
        }
        Address::None => Address::None,
    };
    if server == Address::None || (server.port() == 0 && !matches!(server, Address::Unix(..))) {
        return Target::Nowhere(unknown as c_int);
    }
    Target::Agent(SockAddr::from_address(&server))
}

/// Whether it is a unix socket of `SOCK_SEQPACKET`; that a replay has no answers for it is told.
fn keeps_messages_apart(fd: c_int, peer: &Address) -> bool {
    let apart =
        matches!(peer, Address::Unix(..)) && address::option(fd, net::SO_TYPE) == Some(net::SOCK_SEQPACKET);
    if apart {
        foreign::tell(net::AF_UNIX, net::SOCK_SEQPACKET);
    }
    apart
}

/// Gives an unnamed unix socket a unique name (the autobind feature of unix(7)), by which the outbound server
/// tells its clients apart.
fn name_unix(fd: c_int) {
    if matches!(address::local(fd), Address::Unix(_, 1..)) {
        return;
    }
    let family = (net::AF_UNIX as u16).to_ne_bytes();
    // SAFETY: an address of two bytes, the family, asks for a name.
    unsafe { sys::call(nr::__NR_bind, [fd as usize, family.as_ptr() as usize, 2, 0, 0, 0]) };
}
