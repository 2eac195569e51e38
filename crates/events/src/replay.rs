//! What the library knows of a replay: a table that the agent fills, and a list that the program's
//! processes fill with the addresses that they listen on.

use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

use crate::address::Address;
use crate::names::NameTable;

/// Bytes reserved for the table in the arena.
pub(crate) const REPLAY_SIZE: usize = 320 * 1024;
/// How many peers of a recording fit.
const PEERS: usize = 512;
/// How many addresses the program may listen on at once; those at which it receives datagrams on the loopback
/// interface not counted.
const LISTENERS: usize = 256;
/// Below are the ports that programs choose; beyond, those that the kernel chooses for them (ip(7),
/// `ip_local_port_range`).
const CHOSEN: u16 = 32_768;
/// How many peers of a recording that answer datagrams fit.
const STAND_INS: usize = 64;

const FREE: u32 = 0;
const WRITING: u32 = 1;
const SET: u32 = 2;
/// Behind the state: how many others have set the slot to the same address.
const ANOTHER: u32 = 1 << 8;
const STATE: u32 = ANOTHER - 1;

/// What a connect to a peer does in a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The outbound server answers in the peer's place.
    Redirect,
    /// The call goes to the real peer: the user said so.
    Bypass,
    /// The call fails with this `errno`, as it did in the recording, or because nobody was there.
    Refuse(i32),
}

#[repr(C)]
struct Slot {
    state: AtomicU32,
    outcome: AtomicI32,
    address: [AtomicU8; 112],
}

impl Slot {
    fn store(&self, address: &Address) {
        let mut bytes = [0; Address::MAX];
        let length = address.encode(&mut bytes);
        for (to, from) in self.address.iter().zip(bytes.iter().take(length)) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    fn load(&self) -> Option<Address> {
        let mut bytes = [0; Address::MAX];
        for (to, from) in bytes.iter_mut().zip(&self.address) {
            *to = from.load(Ordering::Relaxed);
        }
        Address::decode(&bytes).map(|(address, _)| address)
    }

    fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) & STATE == SET
    }

    /// Whether the slot is set, to this address.
    fn holds(&self, address: &Address) -> bool {
        self.is_set() && self.load().as_ref() == Some(address)
    }

    /// Frees a slot that is set, or takes note that one of those who have set it needs it no more.
    fn leave(&self) {
        let one_less = |state| match state {
            SET => Some(FREE),
            state if state & STATE == SET => Some(state - ANOTHER),
            _ => None,
        };
        // Of two who do so at once, each finds what the other has left.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
    }

    /// Takes a free slot for an address; false if it is not free.
    fn take(&self, address: &Address, outcome: i32) -> bool {
        if self.state.compare_exchange(FREE, WRITING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        self.store(address);
        self.outcome.store(outcome, Ordering::Relaxed);
        self.state.store(SET, Ordering::Release);
        true
    }
}

const REDIRECT: i32 = 0;
const BYPASS: i32 = -1;
/// Of an address that the program has named: it accepts connections there, or receives datagrams.
const STREAMS: i32 = 0;
const DATAGRAMS: i32 = 1;

/// What the library knows of a replay. A table of zeros is an empty one: every connect is refused.
#[repr(C)]
pub struct ReplayTable {
    port_v4: AtomicU32,
    port_v6: AtomicU32,
    /// Not 0: more peers than fit; unknown ones are redirected, and the outbound server decides.
    overflow: AtomicU32,
    reserved: AtomicU32,
    unix: Slot,
    peers: [Slot; PEERS],
    listeners: [Slot; LISTENERS],
    /// Peers that answer datagrams; the outcome is the port of who answers in their place.
    stand_ins: [Slot; STAND_INS],
    names: NameTable,
    /// By port: how many sockets of the program receive datagrams on the loopback interface; 255 for that many and more,
    /// for ever.
    receivers: [AtomicU8; 1 << 16],
}

const _: () = assert!(size_of::<ReplayTable>() <= REPLAY_SIZE);

impl ReplayTable {
    /// The agent: where the outbound server listens, by address family; 0 and `None` where it does not.
    pub fn set_outbound(&self, port_v4: u16, port_v6: u16, unix: Option<&Address>) {
        self.port_v4.store(u32::from(port_v4), Ordering::Release);
        self.port_v6.store(u32::from(port_v6), Ordering::Release);
        if let Some(address) = unix {
            self.unix.take(address, REDIRECT);
        }
    }

    /// The outbound server's IPv4 port on 127.0.0.1, or 0.
    pub fn outbound_port_v4(&self) -> u16 {
        self.port_v4.load(Ordering::Acquire) as u16
    }

    /// The outbound server's IPv6 port on ::1, or 0.
    pub fn outbound_port_v6(&self) -> u16 {
        self.port_v6.load(Ordering::Acquire) as u16
    }

    /// The outbound server's unix socket.
    pub fn outbound_unix(&self) -> Option<Address> {
        if self.unix.is_set() { self.unix.load() } else { None }
    }

    /// The agent: what a connect to `peer` does from now on. Bypass rules by port alone have an IPv4 address
    /// of 0.0.0.0.
    pub fn set_peer(&self, peer: &Address, outcome: Outcome) {
        let number = match outcome {
            Outcome::Redirect => REDIRECT,
            Outcome::Bypass => BYPASS,
            Outcome::Refuse(errno) => errno,
        };
        for slot in &self.peers {
            if slot.holds(peer) {
                slot.outcome.store(number, Ordering::Release);
                return;
            }
            if slot.take(peer, number) {
                return;
            }
        }
        self.overflow.store(1, Ordering::Release);
    }

    /// The library: what a connect to `peer` does. `unknown` is what it is refused with if no rule names it.
    pub fn outcome(&self, peer: &Address, unknown: i32) -> Outcome {
        let any_host = Address::V4([0; 4], peer.port());
        for slot in &self.peers {
            if !slot.is_set() {
                break;
            }
            let Some(address) = slot.load() else { continue };
            let number = slot.outcome.load(Ordering::Acquire);
            if address == *peer || (number == BYPASS && peer.port() != 0 && address == any_host) {
                return match number {
                    REDIRECT => Outcome::Redirect,
                    BYPASS => Outcome::Bypass,
                    errno => Outcome::Refuse(errno),
                };
            }
        }
        if self.overflow.load(Ordering::Acquire) != 0 { Outcome::Redirect } else { Outcome::Refuse(unknown) }
    }

    /// The library: a socket of the program listens on `address`.
    pub fn listen(&self, address: &Address) {
        self.name(address, STREAMS);
    }

    /// The library: such a socket is no more.
    pub fn unlisten(&self, address: &Address) {
        self.unname(address, STREAMS);
    }

    fn name(&self, address: &Address, what: i32) {
        for slot in &self.listeners {
            if slot.holds(address) && slot.outcome.load(Ordering::Relaxed) == what {
                slot.state.fetch_add(ANOTHER, Ordering::AcqRel);
                return;
            }
            if slot.take(address, what) {
                return;
            }
        }
    }

    fn unname(&self, address: &Address, what: i32) {
        let holds = |slot: &&Slot| slot.holds(address) && slot.outcome.load(Ordering::Relaxed) == what;
        if let Some(slot) = self.listeners.iter().find(holds) {
            slot.leave();
        }
    }

    /// The library: whether a process of the program listens where a connect to `peer` would arrive.
    pub fn is_own_listener(&self, peer: &Address) -> bool {
        self.listeners().any(|listener| reaches(&listener, peer))
    }

    /// The library: a socket of the program receives datagrams at `address`.
    pub fn receive_at(&self, address: &Address) {
        if let Some(count) = self.count(address) {
            let one_more = |count: u8| count.checked_add(1);
            // Full is full.
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        }
        if is_reached_elsewhere(address) {
            self.name(address, DATAGRAMS);
        }
    }

    /// The library: such a socket is no more.
    pub fn leave(&self, address: &Address) {
        if let Some(count) = self.count(address) {
            let one_less = |count| if matches!(count, 0 | u8::MAX) { None } else { Some(count - 1) };
            // There is none to be taken away, or nobody knows how many there are.
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
        if is_reached_elsewhere(address) {
            self.unname(address, DATAGRAMS);
        }
    }

    /// The library: whether a socket of the program receives what is sent to `peer`.
    pub fn is_own_receiver(&self, peer: &Address) -> bool {
        self.count(peer).is_some_and(|count| count.load(Ordering::Relaxed) > 0)
            || self.receivers(DATAGRAMS).any(|receiver| reaches(&receiver, peer))
    }

    /// How many sockets receive what is sent to this address, if that is this very host.
    fn count(&self, address: &Address) -> Option<&AtomicU8> {
        if is_own_host(address) { self.receivers.get(usize::from(address.port())) } else { None }
    }

    /// The agent: who answers datagrams to `peer` from now on: a socket on the loopback interface with this port,
    /// of IPv6 where `peer` is. False if there is no room for another peer.
    pub fn set_stand_in(&self, peer: &Address, port: u16) -> bool {
        self.stand_ins.iter().any(|slot| slot.holds(peer) || slot.take(peer, i32::from(port)))
    }

    /// The library: the port of who answers datagrams to `peer`; `None` if nobody does.
    pub fn stand_in(&self, peer: &Address) -> Option<u16> {
        let slot = self.stand_ins.iter().find(|slot| slot.holds(peer))?;
        Some(slot.outcome.load(Ordering::Acquire) as u16)
    }

    /// The library: in whose place the socket with this port on the loopback interface answers datagrams.
    pub fn stood_in_for(&self, port: u16) -> Option<Address> {
        let answers = |slot: &&Slot| slot.outcome.load(Ordering::Acquire) == i32::from(port);
        self.stand_ins.iter().find(|slot| slot.is_set() && answers(slot))?.load()
    }

    /// The names that are known.
    pub fn names(&self) -> &NameTable {
        &self.names
    }

    /// The addresses that processes of the program said they listen on.
    pub fn listeners(&self) -> impl Iterator<Item = Address> {
        self.receivers(STREAMS)
    }

    /// The addresses that processes of the program named, of [`STREAMS`] or of [`DATAGRAMS`].
    fn receivers(&self, what: i32) -> impl Iterator<Item = Address> {
        let of_kind = move |slot: &&Slot| slot.is_set() && slot.outcome.load(Ordering::Relaxed) == what;
        self.listeners.iter().filter(of_kind).filter_map(Slot::load)
    }
}

/// Whether what is sent to `peer` arrives at a socket of this machine that is bound to `listener`.
fn reaches(listener: &Address, peer: &Address) -> bool {
    match (listener, peer) {
        (Address::V4(ip, port), Address::V4(to, to_port)) => {
            port == to_port && (ip == to || (*ip == [0; 4] && matches!(to, [127, ..] | [0, 0, 0, 0])))
        }
        (Address::V6(ip, port), Address::V6(to, to_port)) => {
            port == to_port && (ip == to || (*ip == [0; 16] && is_loopback(to)))
        }
        (Address::V6(ip, port), Address::V4(to, to_port)) => {
            port == to_port && *ip == [0; 16] && matches!(to, [127, ..])
        }
        (Address::Unix(..), Address::Unix(..)) => listener == peer,
        _ => false,
    }
}

/// Whether what is sent to this address arrives at this very host: at the loopback interface, by its usual addresses.
fn is_own_host(address: &Address) -> bool {
    match address {
        Address::V4(ip, _) => matches!(ip, [127, 0, 0, 1] | [0, 0, 0, 0]),
        Address::V6(ip, _) => matches!(
            ip,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 | 1]
                | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1]
                | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0]
        ),
        _ => false,
    }
}

/// Whether a socket that is bound to this address is also reached by others than those of [`is_own_host`]. Who is sent
/// to by a port that the kernel has chosen is mostly answered, and so by the address that it has sent to.
fn is_reached_elsewhere(address: &Address) -> bool {
    let any = matches!(address, Address::V4([0, 0, 0, 0], _))
        || matches!(address, Address::V6(ip, _) if *ip == [0; 16]);
    !is_own_host(address) || any && address.port() < CHOSEN
}

fn is_loopback(ip: &[u8; 16]) -> bool {
    matches!(
        ip,
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, ..]
    )
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;

    fn table() -> Box<ReplayTable> {
        let zeros = std::vec![0u64; size_of::<ReplayTable>().div_ceil(8)].into_boxed_slice();
        // SAFETY: a table of zeros is a valid, empty one, and the memory is large and aligned enough.
        unsafe { Box::from_raw(Box::into_raw(zeros).cast::<ReplayTable>()) }
    }

    const REDIS: Address = Address::V4([10, 0, 0, 1], 6379);

    #[test]
    fn an_empty_table_refuses_everything() {
        let table = std::mem::ManuallyDrop::new(table());
        assert_eq!(table.outcome(&REDIS, 111), Outcome::Refuse(111));
        assert_eq!((table.outbound_port_v4(), table.outbound_unix()), (0, None));
    }

    #[test]
    fn the_newest_rule_for_a_peer_counts() {
        let table = std::mem::ManuallyDrop::new(table());
        table.set_peer(&REDIS, Outcome::Redirect);
        assert_eq!(table.outcome(&REDIS, 111), Outcome::Redirect);
        table.set_peer(&REDIS, Outcome::Refuse(110));
        assert_eq!(table.outcome(&REDIS, 111), Outcome::Refuse(110));
    }

    #[test]
    fn a_port_is_bypassed_on_every_host() {
        let table = std::mem::ManuallyDrop::new(table());
        table.set_peer(&Address::V4([0; 4], 9003), Outcome::Bypass);
        assert_eq!(table.outcome(&Address::V4([10, 1, 2, 3], 9003), 111), Outcome::Bypass);
        assert_eq!(table.outcome(&REDIS, 111), Outcome::Refuse(111));
    }

    #[test]
    fn more_peers_than_fit_are_left_to_the_server() {
        let table = std::mem::ManuallyDrop::new(table());
        for port in 1..=PEERS as u16 + 1 {
            table.set_peer(&Address::V4([10, 0, 0, 1], port), Outcome::Redirect);
        }
        assert_eq!(table.outcome(&Address::V4([10, 9, 9, 9], 1), 111), Outcome::Redirect);
    }

    #[test]
    fn own_listeners_are_recognised_as_they_are_reached() {
        let table = std::mem::ManuallyDrop::new(table());
        table.listen(&Address::V4([0; 4], 8080));
        table.listen(&Address::V6([0; 16], 9090));
        table.listen(&Address::unix(b"/run/php.sock"));
        table.listen(&Address::unix(b"/run/php.sock"));
        assert_eq!(table.listeners().collect::<Vec<_>>().len(), 3);
        assert!(table.is_own_listener(&Address::V4([127, 0, 0, 1], 8080)));
        assert!(table.is_own_listener(&Address::V4([127, 0, 0, 1], 9090)));
        assert!(table.is_own_listener(&Address::unix(b"/run/php.sock")));
        assert!(!table.is_own_listener(&Address::V4([10, 0, 0, 1], 8080)));
        assert!(!table.is_own_listener(&Address::V4([127, 0, 0, 1], 8081)));
        assert!(!table.is_own_listener(&Address::unix(b"/run/other.sock")));
    }

    #[test]
    fn datagrams_are_answered_by_who_stands_in() {
        let table = std::mem::ManuallyDrop::new(table());
        assert_eq!((table.stand_in(&REDIS), table.stood_in_for(5000)), (None, None));
        assert!(table.set_stand_in(&REDIS, 5000));
        assert_eq!((table.stand_in(&REDIS), table.stood_in_for(5000)), (Some(5000), Some(REDIS)));
        assert_eq!(table.stood_in_for(5001), None);
        for port in 1..STAND_INS as u16 {
            assert!(table.set_stand_in(&Address::V4([10, 0, 0, 2], port), port));
        }
        assert!(!table.set_stand_in(&Address::V4([10, 0, 0, 3], 1), 9));
        assert!(table.set_stand_in(&REDIS, 5000), "it is known already");
    }

    #[test]
    fn what_receives_datagrams_accepts_no_streams() {
        let table = std::mem::ManuallyDrop::new(table());
        table.receive_at(&Address::V4([0; 4], 53));
        table.receive_at(&Address::V4([0; 4], 53));
        table.listen(&Address::V4([0; 4], 80));
        let (dns, web) = (Address::V4([127, 0, 0, 1], 53), Address::V4([127, 0, 0, 1], 80));
        assert!(table.is_own_receiver(&dns) && !table.is_own_listener(&dns));
        assert!(table.is_own_listener(&web) && !table.is_own_receiver(&web));
        assert_eq!(table.listeners().count(), 1);
    }

    #[test]
    fn a_listener_that_is_no_more_is_not_reached() {
        let table = std::mem::ManuallyDrop::new(table());
        let socket = Address::unix(b"/run/php.sock");
        table.unlisten(&socket);
        for _ in 0..2 * LISTENERS {
            table.listen(&socket);
            table.listen(&socket);
            table.unlisten(&socket);
            assert!(table.is_own_listener(&socket), "one of the two is left");
            table.unlisten(&socket);
            assert!(!table.is_own_listener(&socket));
        }
        for port in 0..LISTENERS as u16 {
            table.listen(&Address::V4([10, 0, 0, 1], port));
        }
        table.listen(&socket);
        assert!(!table.is_own_listener(&socket), "there is no room");
        table.unlisten(&Address::V4([10, 0, 0, 1], 7));
        table.listen(&socket);
        assert!(table.is_own_listener(&socket));
    }

    #[test]
    fn any_number_of_sockets_receive_datagrams_on_the_loopback_interface() {
        let table = std::mem::ManuallyDrop::new(table());
        let v4 = |port| Address::V4([127, 0, 0, 1], port);
        let v6 = |last, port| Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last], port);
        for port in 1..=60_000 {
            table.receive_at(&v4(port));
        }
        table.receive_at(&v6(0, 60_001));
        assert!(
            (1..=60_001).all(|port| table.is_own_receiver(&v4(port)) && table.is_own_receiver(&v6(1, port)))
        );
        assert!(
            !table.is_own_receiver(&v4(60_002)) && !table.is_own_receiver(&Address::V4([127, 0, 0, 53], 53))
        );
        assert!(!table.is_own_receiver(&Address::V4([10, 0, 0, 1], 53)));
        table.receive_at(&v6(1, 53));
        table.leave(&v4(53));
        assert!(table.is_own_receiver(&v4(53)), "one of the two is left");
        for _ in 0..2 {
            table.leave(&v4(53));
        }
        assert!(!table.is_own_receiver(&v4(53)));
        for _ in 0..300 {
            table.receive_at(&v4(54));
        }
        (0..300).for_each(|_| table.leave(&v4(54)));
        assert!(table.is_own_receiver(&v4(54)), "nobody counts so far");
    }
}
