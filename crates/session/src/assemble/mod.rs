//! Events to sessions.
//!
//! An [`Assembler`] is pushed the events of a tree of processes, and hands out [`Session`]s when they are over.
//! It is pure: time comes in with the events and as arguments, nothing is read, written or waited for, and no
//! events, in whatever order and with whatever bytes, make it panic.
//!
//! What belongs to what:
//! - The first byte of a request on an accepted connection begins a session; [`koala_protocol::Conversation`]
//!   says where requests and responses end. A response that nobody asked for is a session with an empty
//!   request.
//! - A session is over when it is answered, none of its talks waits for an answer, and its context has moved
//!   on: it parks, receives the next request, ends, has closed the connection, or does nothing for a grace. Where
//!   no protocol tells that the response is complete, it is over at the next request, at the end of the
//!   connection, or when nothing has come for 0.7 s.
//! - What a context sends belongs to the session that it acts for, else to the boot session of its process.
//!   With several unanswered ones, it acts for that for which something arrived last; such actions are
//!   `ambiguous`, and the sessions form an overlap group.
//! - What arrives on an outbound connection belongs to the talk that it answers, whoever reads it.
//! - A boot session is delivered in parts. A part names the next one in `next_session_id`; if the process does
//!   nothing more, there is none of that name. `action_index` goes on from part to part.
//! - Where the kernel counts more bytes on a connection than were recorded of it, the connection has a gap, and the
//!   sessions that are using it are incomplete.
//! - Where both ends of a connection are in the tree, what the serving end does belongs to the session of the
//!   asking end; those of a unix socket, which have no addresses of their own, are known by who connected and by
//!   the first bytes.
//! - What processes do that are made within a session is said in `lineage.rs`.
//!
//! - A datagram is a talk where it was answered, else a `SendUDP`; what arrives from clients of the program by
//!   datagrams is left out: inbound requests are those of streams.
//! - Name lookups and appends to files belong to the session that their thread acts for; those of a thread that
//!   takes no requests (one of a pool) to the one open session of its process, or, marked `ambiguous`, to the
//!   most recently active of several.

mod boot;
mod connections;
mod contexts;
mod datagrams;
mod deeds;
mod errno;
mod hash;
mod inbound;
mod lifecycle;
mod lineage;
mod sessions;
mod spare;
mod succession;
mod talks;
#[cfg(test)]
mod tests;
mod totals;

use crate::model::Session;
use connections::{Connections, Direction};
use datagrams::Datagrams;
use koala_events::{Address, Event, EventKind, flags};
use lifecycle::{Moved, World};
use sessions::Key;
use std::collections::BTreeSet;
use totals::Totals;

/// How often state that is not needed any more is freed, in nanoseconds.
const FREE_EVERY: u64 = 1_000_000_000;

/// What an assembler does beyond what the events say.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The random id of this recorder; part of every session id.
    pub recorder: u64,
    /// For so many nanoseconds after its response (or its last action) a context that did not park may still act
    /// for a session.
    pub grace: u64,
    /// A boot session is delivered in parts of about so many bytes of payload at most.
    pub boot_part_bytes: usize,
    /// A part of a boot session is delivered when its first action is so many nanoseconds old.
    pub boot_part_age: u64,
    /// State of a thread that acts for nobody is freed when it has done nothing for so many nanoseconds.
    pub idle: u64,
}

impl Config {
    /// The defaults, for the recorder with this id.
    pub const fn new(recorder: u64) -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self {
            recorder,
            grace: SECOND / 5,
            boot_part_bytes: 1 << 20,
            boot_part_age: SECOND,
            idle: 5 * SECOND,
        }
    }
}

/// An outbound connection of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound<'a> {
    /// Its number.
    pub connection: u64,
    /// Whom the program asked to be connected with.
    pub peer: Address,
    /// For whom it is used now.
    pub sender: Sender<'a>,
}

/// Who sent last on an outbound connection (or, before that, who opened it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'a> {
    /// No session that is open.
    Boot,
    /// A session.
    Session {
        /// The other end of the connection that its request came by.
        inbound_peer: Address,
        /// Its id.
        session_id: &'a str,
    },
}

/// An inbound connection of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound<'a> {
    /// Its number.
    pub connection: u64,
    /// How far the session is whose request came last.
    pub state: State,
    /// The id of that session while it is open, else empty.
    pub session_id: &'a str,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No request has come.
    Idle,
    /// Its response is not complete.
    Open,
    /// Its response is complete, but it may still act.
    Answered,
    /// It is over.
    Delivered,
}

/// Turns events into sessions; see the [module](self).
pub struct Assembler {
    connections: Connections,
    datagrams: Datagrams,
    world: World,
    freed: u64,
}

impl Assembler {
    /// An assembler that has seen no event.
    pub fn new(config: Config) -> Self {
        Self {
            connections: Connections::default(),
            datagrams: Datagrams::default(),
            world: World::new(config),
            freed: 0,
        }
    }

    /// Takes the next event. Those of one process come in their order, those of several roughly by time.
    pub fn push(&mut self, event: &Event<'_>) {
        match event.kind {
            EventKind::Receive => self.received(event),
            EventKind::Send => self.sent(event),
            EventKind::Accept => self.accepted(event),
            EventKind::Connect => self.connect(event),
            EventKind::Adopt => self.adopted(event),
            EventKind::Close => self.closed(event),
            EventKind::Shutdown => self.shut(event),
            EventKind::Gap => self.gap(event),
            EventKind::Totals => {
                if let Some(connection) = self.connections.get_mut(event.connection) {
                    connection.totals.told(event.payload);
                }
            }
            EventKind::Listen => {
                if let Some((address, _)) = Address::decode(event.payload) {
                    self.connections.listen(address, event.process, event.connection);
                }
            }
            EventKind::ThreadEnd => self.world.context_ended(contexts::Key::of(event), event.time),
            EventKind::Process => self.process_began(event),
            EventKind::Resolve => self.world.resolved(event),
            EventKind::Open => self.world.file_opened(event),
            EventKind::Append => self.world.appended(event),
            EventKind::Fork => self.fork(event),
            EventKind::Unresolved => {}
        }
    }

    /// The thread waits for new work, and has done nothing since its last event.
    pub fn parked(&mut self, process: u64, tid: u32, now: u64) {
        self.world.move_on(contexts::Key::thread(process, tid), now, Moved::Parked);
    }

    /// Whoever is at this address has its response, and sends nothing for now: what no protocol ends has ended.
    pub fn settle(&mut self, peer: &Address, now: u64) {
        if let Some(connection) = self.connections.inbound(peer) {
            self.world.settle(connection, now);
        }
    }

    /// Delivers what time alone decides. All events up to `now` should have been pushed.
    pub fn tick(&mut self, now: u64) {
        self.world.tick(now);
        self.world.tick_boot(now);
        while let Some(id) = self.connections.not_taken(now) {
            self.no_more(id, now);
        }
        if now.saturating_sub(self.freed) >= FREE_EVERY {
            self.freed = now;
            self.connections.free_lingering(now);
            self.world.contexts.free_idle(now.saturating_sub(self.world.config.idle));
            self.world.free_origins(now);
        }
    }

    /// The process is no more: its sessions are delivered, `incomplete` where they are not answered.
    pub fn process_ended(&mut self, process: u64, now: u64) {
        let mut ended = self.connections.of_process(process);
        ended.retain(|id| !self.passed_on(*id, process));
        for id in &ended {
            let Some(connection) = self.connections.get_mut(*id) else { continue };
            if connection.totals.lack() {
                self.world.lacks(connection);
            }
            if connection.direction == Direction::Outbound {
                self.world.outbound_closed(connection, now);
            }
        }
        self.datagrams.process_ended(process);
        let held = |id| self.connections.get(id).is_some_and(|connection| !connection.holders.is_empty());
        let heir = self.world.process_ended(process, now, held);
        for id in ended {
            self.connections.forget(id);
        }
        self.connections.inherit_listeners(process, heir);
    }

    /// Delivers everything.
    pub fn finish(&mut self, now: u64) {
        self.tick(now);
        self.world.deliver_all(|_| true);
    }

    /// The next session that is over.
    pub fn pop(&mut self) -> Option<Box<Session>> {
        self.world.pop()
    }

    /// Takes back a session that is not needed any more, for its memory.
    pub fn recycle(&mut self, session: Box<Session>) {
        self.world.spare.keep(session);
    }

    /// The newest outbound connection with this local address.
    pub fn outbound(&self, local: &Address) -> Option<Outbound<'_>> {
        let connection = self.connections.outbound(local)?;
        let sender = self.sender(connection.sender);
        Some(Outbound { connection: connection.id, peer: connection.peer, sender })
    }

    /// Who sent for this session.
    fn sender(&self, session: Option<Key>) -> Sender<'_> {
        match session.and_then(|key| self.world.sessions.get(key)).filter(|open| !open.is_boot()) {
            None => Sender::Boot,
            Some(open) => Sender::Session {
                inbound_peer: self.connections.get(open.connection).map_or(Address::None, |by| by.peer),
                session_id: &open.session.session_id,
            },
        }
    }

    /// The newest inbound connection whose other end has this address, until it is closed.
    pub fn inbound(&self, peer: &Address) -> Option<Inbound<'_>> {
        let connection = self.connections.inbound(peer)?;
        let mut inbound = Inbound { connection: connection.id, state: State::Idle, session_id: "" };
        if let Some(exchange) = connection.request.or(connection.unasked) {
            inbound.state = State::Delivered;
            if let Some(open) = self.world.sessions.get(exchange.session) {
                inbound.state = if open.answered { State::Answered } else { State::Open };
                inbound.session_id = &open.session.session_id;
            }
        }
        Some(inbound)
    }

    /// The addresses on which the program listens.
    pub fn listeners(&self) -> impl Iterator<Item = &Address> {
        self.connections.listeners()
    }

    /// The number of sessions that are not over, boot sessions included.
    pub fn open_sessions(&self) -> usize {
        self.world.sessions.len()
    }

    /// The number of connections of which bytes are missing, closed ones included.
    pub fn gaps(&self) -> u64 {
        self.world.gaps
    }

    /// The addresses of the program at which connections came in that are encrypted.
    pub fn encrypted(&self) -> &BTreeSet<String> {
        &self.world.encrypted
    }

    /// The number of connections that are not closed.
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    fn accepted(&mut self, event: &Event<'_>) {
        if event.result >= 0 {
            let addresses = connections::addresses(event.payload);
            self.connections.open(event, Direction::Inbound, addresses);
        }
    }

    fn adopted(&mut self, event: &Event<'_>) {
        // One that another process of the tree has told of is known better from there.
        if let Some(connection) = self.connections.get_mut(event.connection) {
            connection.hold(event.process);
            if event.flags & flags::PASSED != 0 {
                connection.taken = true;
                self.world.taken_over(connection, event);
            }
            return;
        }
        let addresses = connections::addresses(event.payload);
        let accepted =
            event.result == 1 || addresses.is_some_and(|(local, _)| self.connections.is_listener(&local));
        let direction = if accepted { Direction::Inbound } else { Direction::Outbound };
        let past = connections::behind_addresses(event.payload);
        self.connections.open(event, direction, addresses);
        if let Some(connection) = self.connections.get_mut(event.connection) {
            connection.totals = Totals::since(past);
        }
    }

    fn connect(&mut self, event: &Event<'_>) {
        if event.flags & flags::DATAGRAM != 0 {
            if event.result >= 0 {
                self.datagrams.connected(event);
            }
            return;
        }
        let under_way = matches!(event.result, errno::IN_PROGRESS | errno::INTERRUPTED | errno::ALREADY);
        if event.result >= 0 || under_way {
            let addresses = connections::addresses(event.payload);
            let known =
                self.connections.get(event.connection).is_some_and(|connection| connection.connecting);
            if !known {
                self.connections.open(event, Direction::Outbound, addresses);
            }
            if let Some(connection) = self.connections.get_mut(event.connection) {
                self.world.connected(connection, event);
            }
        } else if event.result != errno::IS_CONNECTED {
            let known = self.connections.get(event.connection);
            if known.is_some_and(|connection| connection.used || !connection.end.is_empty()) {
                // It is an older error that the program asks for: not of the connect.
                return;
            }
            if known.is_none() {
                let addresses = connections::addresses(event.payload);
                self.connections.open(event, Direction::Outbound, addresses);
            }
            if let Some(connection) = self.connections.get_mut(event.connection) {
                self.world.connect_failed(connection, event);
            }
        }
    }

    fn received(&mut self, event: &Event<'_>) {
        if event.flags & flags::DATAGRAM != 0 {
            self.datagrams.received(&mut self.world, event);
            return;
        }
        let outer = self.meet(event, Direction::Inbound).and_then(|other| self.outer(other));
        let Some(connection) = self.connections.get_mut(event.connection) else { return };
        let inbound = connection.direction == Direction::Inbound;
        let outer = outer.or(connection.left_by.flatten());
        if inbound && connection.left_by.is_some() && !self.world.is_awaited(connection, outer) {
            // What a process of the tree has sent before it closed the connection, and is read only now, is of no
            // request that is open: it is in the talk of who sent it.
            return;
        }
        if event.payload.is_empty() {
            match (inbound, event.result) {
                (true, 0) => self.world.inbound_peer_ended(connection, "peer-closed", event.time),
                (true, error) if errno::is_fatal(error) => {
                    self.world.inbound_peer_ended(connection, "reset", event.time);
                }
                (false, 0) => self.world.outbound_peer_ended(connection, event.time),
                (false, error) if error < 0 => self.world.outbound_failed(connection, event),
                _ => {}
            }
            return;
        }
        connection.used = true;
        connection.totals.received(event.payload.len());
        if inbound {
            self.world.request_received(connection, event, outer);
        } else {
            self.world.response_received(connection, event);
        }
    }

    fn sent(&mut self, event: &Event<'_>) {
        if event.flags & flags::DATAGRAM != 0 {
            self.datagrams.sent(&mut self.world, event);
            return;
        }
        self.meet(event, Direction::Outbound);
        let Some(connection) = self.connections.get_mut(event.connection) else { return };
        let inbound = connection.direction == Direction::Inbound;
        if event.payload.is_empty() {
            match (inbound, event.result) {
                (true, error) if errno::is_fatal(error) => {
                    self.world.inbound_peer_ended(connection, "reset", event.time);
                }
                (false, error) if error < 0 => self.world.outbound_failed(connection, event),
                _ => {}
            }
            return;
        }
        connection.used = true;
        connection.totals.sent(event.payload.len());
        if inbound {
            self.world.response_sent(connection, event);
        } else {
            self.world.request_sent(connection, event);
        }
        if event.flags & flags::UNCONFIRMED != 0 {
            // Not known is what of it the kernel took.
            self.world.mark_gap(connection);
        }
    }

    /// Sees to it that the connection of the event is known: if it is not, its beginning was lost, and it is
    /// taken for one of this direction. Takes note of what was lost before the event. Returns the other end,
    /// where that is in the tree.
    fn meet(&mut self, event: &Event<'_>, otherwise: Direction) -> Option<u64> {
        let joined = match self.connections.get_mut(event.connection) {
            Some(connection) => {
                connection.hold(event.process);
                if connection.uncertain {
                    self.recognise(event, otherwise == Direction::Inbound);
                    self.joined(event.connection)
                } else {
                    connection.joined
                }
            }
            None => {
                self.world.gaps += 1;
                self.connections.open(event, otherwise, None);
                self.joined(event.connection)
            }
        };
        if event.flags & flags::GAP_BEFORE != 0
            && let Some(connection) = self.connections.get_mut(event.connection)
        {
            self.world.mark_gap(connection);
            connection.totals.passed_over();
            connection.conversation.gap();
        }
        joined
    }

    /// The other end of a connection, where that is in the tree.
    fn joined(&self, id: u64) -> Option<u64> {
        self.connections.get(id)?.joined
    }

    /// Bytes cross on a connection whose other end is not certain: requests that were taken for another's become
    /// those of who has sent them.
    fn recognise(&mut self, event: &Event<'_>, received: bool) {
        let mistaken = self.connections.recognise(event.connection, received, event.payload);
        for id in mistaken.into_iter().flatten() {
            let outer = self.joined(id).and_then(|other| self.outer(other));
            if let (Some(outer), Some(connection)) = (outer, self.connections.get_mut(id)) {
                self.world.request_is_of(connection, outer);
            }
        }
    }

    /// The session of who sends on this connection, whose other end is in the tree.
    fn outer(&self, id: u64) -> Option<Key> {
        let other = self.connections.get(id)?;
        other.exchanges.back().map(|exchange| exchange.session).or(other.sender)
    }

    fn shut(&mut self, event: &Event<'_>) {
        if let Some(connection) = self.connections.get_mut(event.connection) {
            connection.totals.told(event.payload);
            // Another thread may be about to tell what it has received, but not what it has sent.
            if event.result >= 1 && connection.totals.lack_sent() && connection.holders.len() == 1 {
                self.world.lacks(connection);
            }
        }
        if let Some(connection) = self.connections.get_mut(event.connection)
            && connection.direction == Direction::Inbound
            && connection.holders.contains(&event.process)
            && event.result >= 1
        {
            self.world.inbound_shut(connection, event.time);
        }
    }

    fn closed(&mut self, event: &Event<'_>) {
        self.connections.unlisten(event.process, event.connection);
        if self.datagrams.closed(event) {
            return;
        }
        self.world.file_closed(event);
        if let Some(connection) = self.connections.get_mut(event.connection) {
            connection.totals.told(event.payload);
        }
        if self.passed_on(event.connection, event.process) {
            return;
        }
        let taken = self.connections.get(event.connection).is_none_or(|connection| connection.taken);
        if event.flags & flags::PASSED != 0 && !taken {
            // Whoever got it has not used it so far.
            self.hand_on(event.connection, event.process, event.time);
            return;
        }
        self.no_more(event.connection, event.time);
    }

    /// Nobody has the connection any more.
    fn no_more(&mut self, id: u64, time: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.totals.lack() {
            self.world.lacks(connection);
        }
        match connection.direction {
            Direction::Inbound => self.world.inbound_closed(connection, time),
            Direction::Outbound => self.world.outbound_closed(connection, time),
        }
        if connection.used {
            self.connections.forget(id);
        } else {
            self.connections.linger(id, time);
        }
    }

    /// Bytes have crossed, or will, that the log does not have.
    fn gap(&mut self, event: &Event<'_>) {
        if self.datagrams.gap(&mut self.world, event) {
            return;
        }
        let Some(connection) = self.connections.get_mut(event.connection) else { return };
        let lacking = event.flags & flags::NOT_ADMITTED == 0;
        if lacking {
            self.world.mark_gap(connection);
        }
        // The kernel counts what is known to be missing as well: later sessions do not lack it.
        match usize::try_from(event.result) {
            Ok(count) if lacking && event.flags & flags::GAP_BEFORE == 0 => {
                if event.flags & flags::SENT != 0 {
                    connection.totals.sent(count);
                } else {
                    connection.totals.received(count);
                }
            }
            _ => connection.totals.passed_over(),
        }
        connection.conversation.gap();
    }
}
