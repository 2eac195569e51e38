//! What the library knows of a replay: a table that the agent fills, and a list that the program's
//! processes fill with the addresses that they listen on.

use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

use crate::address::Address;
use crate::names::NameTable;

/// Bytes reserved for the table in the arena.
pub(crate) const REPLAY_SIZE: usize = 256 * 1024;
/// How many peers of a recording fit.
const PEERS: usize = 512;
/// How many addresses the program may listen on at once.
const LISTENERS: usize = 256;
/// How many peers of a recording that answer datagrams fit.
const STAND_INS: usize = 64;

const FREE: u32 = 0;
const WRITING: u32 = 1;
const SET: u32 = 2;

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

    /// Whether the slot is set, to this address.
    fn holds(&self, address: &Address) -> bool {
        self.state.load(Ordering::Acquire) == SET && self.load().as_ref() == Some(address)
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
/// Of an address that the program has named: it receives datagrams there.
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
        if self.unix.state.load(Ordering::Acquire) == SET { self.unix.load() } else { None }
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
            if slot.state.load(Ordering::Acquire) != SET {
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

    /// The library: a process of the program listens on `address`.
    pub fn listen(&self, address: &Address) {
        for slot in &self.listeners {
            let known = slot.holds(address) && slot.outcome.load(Ordering::Relaxed) == 0;
            if known || slot.take(address, 0) {
                return;
            }
        }
    }

    /// The library: whether a process of the program listens where a connect to `peer` would arrive.
    pub fn is_own_listener(&self, peer: &Address) -> bool {
        self.listeners().any(|listener| reaches(&listener, peer))
    }

    /// The library: a process of the program receives datagrams at `address`, which it chose itself.
    pub fn receive_at(&self, address: &Address) {
        for slot in &self.listeners {
            let known = slot.holds(address) && slot.outcome.load(Ordering::Relaxed) == DATAGRAMS;
            if known || slot.take(address, DATAGRAMS) {
                return;
            }
        }
    }

    /// The library: whether a process of the program receives what is sent to `peer`.
    pub fn is_own_receiver(&self, peer: &Address) -> bool {
        self.receivers(DATAGRAMS).any(|receiver| reaches(&receiver, peer))
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
        let set = |slot: &&Slot| slot.state.load(Ordering::Acquire) == SET;
        let slot = self
            .stand_ins
            .iter()
            .find(|slot| set(slot) && slot.outcome.load(Ordering::Acquire) == i32::from(port))?;
        slot.load()
    }

    /// The names that are known.
    pub fn names(&self) -> &NameTable {
        &self.names
    }

    /// The addresses that processes of the program said they listen on.
    pub fn listeners(&self) -> impl Iterator<Item = Address> {
        self.receivers(0)
    }

    /// The addresses that processes of the program named, of streams or of [`DATAGRAMS`].
    fn receivers(&self, what: i32) -> impl Iterator<Item = Address> {
        let set = |slot: &&Slot| slot.state.load(Ordering::Acquire) == SET;
        let of_kind = move |slot: &&Slot| slot.outcome.load(Ordering::Relaxed) == what;
        self.listeners.iter().filter(set).filter(of_kind).filter_map(Slot::load)
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
}
