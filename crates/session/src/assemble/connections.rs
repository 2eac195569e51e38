//! The connections of the tree, and the sockets that listen.

use super::{contexts, hash::Map, sessions::Key, totals::Totals};
use crate::model::{Connection as Description, Peer, UnixAddr};
use koala_events::{Address, Event, flags};
use koala_protocol::{Conversation, Protocol};
use std::collections::VecDeque;
use std::sync::Arc;

/// A connection that was closed before anything was said on it stays known for so long: the process that
/// accepted it may have handed it to a child, whose events come later.
const LINGER: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Tcp6,
    Unix,
    Udp,
}

impl Kind {
    fn of(local: &Address, peer: &Address, datagram: bool) -> Self {
        match (local, peer) {
            _ if datagram => Self::Udp,
            (Address::Unix(..), _) | (_, Address::Unix(..)) => Self::Unix,
            (Address::V6(..), _) | (_, Address::V6(..)) => Self::Tcp6,
            (Address::V4(..), _) | (_, Address::V4(..)) => Self::Tcp,
            // Only unix sockets have no names.
            (Address::None, Address::None) => Self::Unix,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tcp6 => "tcp6",
            Self::Unix => "unix",
            Self::Udp => "udp",
        }
    }
}

/// A request and its response under way: of an inbound connection a session, of an outbound one a talk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) session: Key,
    /// Of a talk: its place among the actions of the session.
    pub(super) action: u32,
    /// Of a talk: the session does not wait for it any more.
    pub(super) settled: bool,
    /// Of an inbound connection with both ends in the tree: the session is that of who sent the request.
    pub(super) inherited: bool,
}

/// A connection.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) direction: Direction,
    pub(super) local: Address,
    pub(super) peer: Address,
    /// The forms in which sessions have them, made once.
    description: Arc<Description>,
    told: Told,
    pub(super) peer_model: Peer,
    pub(super) unix: UnixAddr,
    pub(super) conversation: Conversation,
    /// What has no complete response, oldest first.
    pub(super) exchanges: VecDeque<Exchange>,
    /// The exchange of the request that began last.
    pub(super) request: Option<Exchange>,
    /// The exchange of the response that nobody asked for and that began last.
    pub(super) unasked: Option<Exchange>,
    /// The session that last sent on it, or opened it.
    pub(super) sender: Option<Key>,
    /// The session, and the part of it, that has a description of the connection.
    pub(super) described: Option<(Key, u32)>,
    /// What that description says of the protocol.
    pub(super) described_protocol: bool,
    /// Of an inbound connection with both ends in the tree: the context that serves it.
    pub(super) server: Option<contexts::Key>,
    /// The processes that have it.
    pub(super) holders: Vec<u64>,
    /// Of a unix connection: the id of the process that connected it; 0 if that is not known.
    pub(super) creator: u32,
    /// Of a unix connection: what it has brought its accepting end shows which one is its other end, and what is known
    /// of that may change.
    pub(super) uncertain: bool,
    /// As long as that is so: the first bytes that its opening end has sent, as far as this end knows.
    pub(super) head: Vec<u8>,
    /// Bytes have crossed.
    pub(super) used: bool,
    /// The connect is under way.
    pub(super) connecting: bool,
    pub(super) end: &'static str,
    pub(super) gap: bool,
    /// That it has (or had) a gap is counted.
    pub(super) gap_counted: bool,
    /// The other end, where that is in the tree, too.
    pub(super) joined: Option<u64>,
    /// The other end was in the tree, and was closed: who sent there last.
    pub(super) left_by: Option<Option<Key>>,
    /// A process has used it that got it by a message.
    pub(super) taken: bool,
    pub(super) totals: Totals,
}

impl Connection {
    /// The process has it, too.
    pub(super) fn hold(&mut self, process: u64) {
        if !self.holders.contains(&process) {
            self.holders.push(process);
        }
    }

    /// How sessions describe it, as it is now.
    pub(super) fn description(&mut self) -> &Arc<Description> {
        let Self { description, told, conversation, end, gap, .. } = self;
        let server_name = conversation.server_name();
        let now = Told {
            protocol: conversation.protocol(),
            encrypted: conversation.encrypted(),
            server_name: server_name.is_some(),
            end,
            gap: *gap,
        };
        if !now.same(told) {
            let description = Arc::make_mut(description);
            now.protocol.name().clone_into(&mut description.protocol);
            description.encrypted = now.encrypted;
            server_name.unwrap_or_default().clone_into(&mut description.server_name);
            now.end.clone_into(&mut description.end);
            description.gap = now.gap;
            *told = now;
        }
        description
    }

    /// Sets the exchange of the response under way.
    pub(super) fn put(&mut self, exchange: Exchange, unasked: bool) {
        match self.exchanges.front_mut() {
            _ if unasked => self.unasked = Some(exchange),
            Some(front) => *front = exchange,
            None => self.exchanges.push_back(exchange),
        }
    }
}

/// What a description says that may change: told by values that compare without reading text, since it is asked for
/// with every talk.
#[derive(Clone, Copy, Debug)]
struct Told {
    protocol: Protocol,
    encrypted: bool,
    server_name: bool,
    end: &'static str,
    gap: bool,
}

impl Told {
    const NOTHING: Self =
        Self { protocol: Protocol::Raw, encrypted: false, server_name: false, end: "", gap: false };

    fn same(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.encrypted == other.encrypted
            && self.server_name == other.server_name
            && std::ptr::eq(self.end, other.end)
            && self.gap == other.gap
    }
}

/// All connections, and all listeners.
#[derive(Default)]
pub(super) struct Connections {
    all: Map<u64, Box<Connection>>,
    /// Outbound connections by their local address, the newest each.
    outbound: Map<Address, u64>,
    /// Inbound connections by their peer's address, the newest each.
    inbound: Map<Address, u64>,
    listeners: Vec<Listener>,
    lingering: VecDeque<(u64, u64)>,
    /// Those that were sent to another process and closed, and until when they wait for that.
    handed_on: VecDeque<(u64, u64)>,
    /// Unix connections that the tree has opened and whose other end is not certain.
    pub(super) unix_waiting: VecDeque<u64>,
}

struct Listener {
    address: Address,
    process: u64,
    connection: u64,
}

impl Connections {
    #[inline]
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Connection> {
        self.all.get_mut(&id).map(|connection| &mut **connection)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Connection> {
        self.all.get(&id).map(|connection| &**connection)
    }

    /// The newest outbound connection with this local address.
    pub(super) fn outbound(&self, local: &Address) -> Option<&Connection> {
        self.get(*self.outbound.get(&unmapped(local))?)
    }

    /// The newest inbound connection with this peer.
    pub(super) fn inbound(&self, peer: &Address) -> Option<&Connection> {
        self.get(*self.inbound.get(&unmapped(peer))?)
    }

    /// A connection came to be, or what is known of it has changed.
    pub(super) fn open(
        &mut self,
        event: &Event<'_>,
        direction: Direction,
        addresses: Option<(Address, Address)>,
    ) {
        let (local, peer) = addresses.unwrap_or_default();
        let datagram = event.flags & flags::DATAGRAM != 0;
        let listener = match direction {
            Direction::Inbound => self.listener_of(&local),
            Direction::Outbound => None,
        };
        // Events of another process may have told of it before: numbers are not used again.
        let mut known = self.forget(event.connection);
        let holders = known.as_mut().map(|known| std::mem::take(&mut known.holders)).unwrap_or_default();
        let known = known.filter(|known| known.used);
        let mut joined = None;
        if !datagram {
            let (by, other, own, theirs) = match direction {
                Direction::Outbound => (&mut self.outbound, &self.inbound, &local, &peer),
                Direction::Inbound => (&mut self.inbound, &self.outbound, &peer, &local),
            };
            if *own != Address::None {
                by.insert(unmapped(own), event.connection);
                joined = other.get(&unmapped(own)).copied().filter(|other| {
                    self.all.get(other).is_some_and(|other| {
                        let far = match direction {
                            Direction::Outbound => &other.local,
                            Direction::Inbound => &other.peer,
                        };
                        unmapped(far) == unmapped(theirs)
                    })
                });
            }
        }
        if let Some(other) = joined.and_then(|other| self.all.get_mut(&other)) {
            other.joined = Some(event.connection);
        }
        let (peer_model, unix) = endpoint(&local, &peer);
        let mut connection = Connection {
            id: event.connection,
            direction,
            description: Arc::new(Description {
                connection_id: event.connection,
                direction: direction.name().to_owned(),
                kind: Kind::of(&local, &peer, datagram).name().to_owned(),
                local: listener.unwrap_or(local).to_string(),
                peer: peer.to_string(),
                ..Description::default()
            }),
            local,
            peer,
            told: Told::NOTHING,
            peer_model,
            unix,
            conversation: Conversation::new(),
            exchanges: VecDeque::new(),
            request: None,
            unasked: None,
            sender: None,
            described: None,
            described_protocol: false,
            server: None,
            holders: vec![event.process],
            creator: match direction {
                Direction::Inbound => u32::try_from(event.result).unwrap_or(0),
                Direction::Outbound => event.pid,
            },
            uncertain: Kind::of(&local, &peer, datagram) == Kind::Unix,
            head: Vec::new(),
            used: false,
            connecting: false,
            end: "",
            gap: addresses.is_none(),
            gap_counted: addresses.is_none(),
            joined,
            left_by: None,
            taken: event.flags & flags::PASSED != 0,
            totals: Totals::default(),
        };
        if let Some(known) = known.filter(|known| known.direction == direction) {
            connection = Connection {
                conversation: known.conversation,
                exchanges: known.exchanges,
                request: known.request,
                unasked: known.unasked,
                sender: known.sender,
                used: true,
                totals: known.totals,
                ..connection
            };
        }
        for holder in holders {
            if holder != event.process {
                connection.holders.push(holder);
            }
        }
        let uncertain = connection.uncertain;
        self.all.insert(event.connection, Box::new(connection));
        if uncertain {
            self.meet_unix(event.connection);
        }
    }

    /// Whether the socket of this address was listening.
    pub(super) fn is_listener(&self, local: &Address) -> bool {
        self.listener_of(local).is_some()
    }

    fn listener_of(&self, local: &Address) -> Option<Address> {
        let exact = self.listeners.iter().find(|listener| unmapped(&listener.address) == unmapped(local));
        let wild = || {
            self.listeners
                .iter()
                .find(|listener| is_wildcard(&listener.address) && listener.address.port() == local.port())
        };
        exact.or_else(wild).map(|listener| listener.address)
    }

    /// A connection is no more.
    pub(super) fn forget(&mut self, id: u64) -> Option<Box<Connection>> {
        let connection = self.all.remove(&id)?;
        let (by, own) = match connection.direction {
            Direction::Outbound => (&mut self.outbound, &connection.local),
            Direction::Inbound => (&mut self.inbound, &connection.peer),
        };
        let own = unmapped(own);
        if by.get(&own) == Some(&id) {
            by.remove(&own);
        }
        if let Some(other) = connection.joined.and_then(|other| self.all.get_mut(&other)) {
            other.joined = None;
            other.left_by = Some(connection.sender);
        }
        Some(connection)
    }

    /// A connection was closed before it was used.
    pub(super) fn linger(&mut self, id: u64, time: u64) {
        self.lingering.push_back((time.saturating_add(LINGER), id));
    }

    /// A connection was sent to another process, and closed.
    pub(super) fn hand_on(&mut self, id: u64, time: u64) {
        self.handed_on.push_back((time.saturating_add(LINGER), id));
    }

    /// The next of those that were sent to a process that has not used them in time.
    pub(super) fn not_taken(&mut self, now: u64) -> Option<u64> {
        while let Some(&(until, id)) = self.handed_on.front()
            && until <= now
        {
            self.handed_on.pop_front();
            if self.get(id).is_some_and(|connection| connection.holders.is_empty()) {
                return Some(id);
            }
        }
        None
    }

    /// Frees connections that were closed and that nobody has used since.
    pub(super) fn free_lingering(&mut self, now: u64) {
        while let Some(&(until, id)) = self.lingering.front()
            && until <= now
        {
            self.lingering.pop_front();
            if self.get(id).is_some_and(|connection| !connection.used) {
                self.forget(id);
            }
        }
    }

    /// The connections that this process has.
    pub(super) fn of_process(&self, process: u64) -> Vec<u64> {
        let all = self.all.values();
        all.filter(|connection| connection.holders.contains(&process))
            .map(|connection| connection.id)
            .collect()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.all.values_mut().map(|connection| &mut **connection)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Connection> {
        self.all.values().map(|connection| &**connection)
    }

    /// Every listener: its address, the process that has it, and its number there.
    pub(super) fn all_listeners(&self) -> impl Iterator<Item = (&Address, u64, u64)> {
        self.listeners.iter().map(|listener| (&listener.address, listener.process, listener.connection))
    }

    pub(super) fn listen(&mut self, address: Address, process: u64, connection: u64) {
        let known = |listener: &Listener| listener.address == address && listener.process == process;
        if !self.listeners.iter().any(known) {
            self.listeners.push(Listener { address, process, connection });
        }
    }

    /// The descriptor was closed: its listener, if it was one, is no more in this process.
    pub(super) fn unlisten(&mut self, process: u64, connection: u64) {
        if connection != 0 {
            self.listeners
                .retain(|listener| listener.process != process || listener.connection != connection);
        }
    }

    /// The process is no more; `heir` has its listeners now.
    pub(super) fn inherit_listeners(&mut self, process: u64, heir: Option<u64>) {
        match heir {
            None => self.listeners.retain(|listener| listener.process != process),
            Some(heir) => self
                .listeners
                .iter_mut()
                .filter(|listener| listener.process == process)
                .for_each(|listener| listener.process = heir),
        }
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().enumerate().filter_map(|(at, listener)| {
            let mut earlier = self.listeners.iter().take(at);
            (!earlier.any(|earlier| earlier.address == listener.address)).then_some(&listener.address)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

/// The two addresses of a payload: local, peer.
pub(super) fn addresses(payload: &[u8]) -> Option<(Address, Address)> {
    let (local, rest) = Address::decode(payload)?;
    let (peer, _) = Address::decode(rest)?;
    Some((local, peer))
}

/// What a payload says behind its two addresses.
pub(super) fn behind_addresses(payload: &[u8]) -> &[u8] {
    let rest = Address::decode(payload).and_then(|(_, rest)| Address::decode(rest));
    rest.map(|(_, rest)| rest).unwrap_or_default()
}

/// A peer as actions have it.
pub(super) fn endpoint(local: &Address, peer: &Address) -> (Peer, UnixAddr) {
    match peer {
        Address::V4(ip, port) => {
            let ip = std::net::Ipv4Addr::from(*ip).to_string();
            (Peer { ip, port: *port, zone: String::new() }, UnixAddr::default())
        }
        Address::V6(ip, port) => {
            let ip = std::net::Ipv6Addr::from(*ip).to_string();
            (Peer { ip, port: *port, zone: String::new() }, UnixAddr::default())
        }
        Address::Unix(..) => {
            let text = peer.to_string();
            let name = text.strip_prefix("unix:").unwrap_or_default().to_owned();
            (Peer::default(), UnixAddr { name, net: "unix".to_owned() })
        }
        Address::None => {
            let net = if matches!(local, Address::Unix(..)) { "unix" } else { "" };
            (Peer::default(), UnixAddr { name: String::new(), net: net.to_owned() })
        }
    }
}

/// The IPv4 address in an IPv4-mapped IPv6 one: both ends of a connection need not name it alike.
pub(super) fn unmapped(address: &Address) -> Address {
    match *address {
        Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port) => {
            Address::V4([a, b, c, d], port)
        }
        address => address,
    }
}

fn is_wildcard(address: &Address) -> bool {
    match address {
        Address::V4(ip, _) => *ip == [0; 4],
        Address::V6(ip, _) => *ip == [0; 16],
        _ => false,
    }
}
