//! Datagrams: what was sent, and which of it was answered.
//!
//! A datagram that is sent is an action of its sender. If one comes back to the same socket from where it was sent
//! to, the two become a talk, in the place of that action; which of several the answer is for tell its first two
//! bytes (the id of DNS, RFC 1035, 4.1.1), else their order. What no request was sent for before comes from a client
//! of the program: it has no place in the session model, and what is sent back to there is never a request.

use super::{
    Outbound, connections,
    contexts::{self, Owner},
    hash::Map,
    lifecycle::World,
    sessions::{Key, State},
};
use crate::model::{Action, CallOutbound, Connection as Description, SendUdp};
use koala_events::{Address, Event};
use std::collections::VecDeque;
use std::sync::Arc;

/// Of a socket, so many datagrams that were sent are remembered, for their answers.
const ASKED: usize = 64;
/// Of a socket, so many clients are known.
const CLIENTS: usize = 1024;

/// A datagram that was sent.
struct Asked {
    peer: Address,
    session: Key,
    action: u32,
    tid: u32,
    content: Vec<u8>,
    answered: bool,
}

/// A socket of datagrams.
#[derive(Default)]
struct Socket {
    local: Address,
    /// Whom it is connected to.
    peer: Address,
    asked: VecDeque<Asked>,
    clients: VecDeque<Address>,
    /// The session that sent last.
    sender: Option<Key>,
    sent: u64,
    /// The process that used it first; 0 when that is no more, or has closed it.
    maker: u64,
    /// The process that last used it.
    user: u64,
}

impl Socket {
    fn is_client(&self, peer: &Address) -> bool {
        self.clients.contains(peer)
    }

    /// The datagram that is answered by `content` from `peer`.
    fn question(&mut self, peer: &Address, content: &[u8]) -> Option<&mut Asked> {
        let waits = |asked: &Asked| asked.peer == *peer && !asked.answered;
        let head = content.get(..2);
        let same_head = |asked: &&Asked| waits(asked) && head.is_some() && asked.content.get(..2) == head;
        let at = match self.asked.iter().find(same_head) {
            // What was sent again was sent in vain before.
            Some(first) => {
                self.asked.iter().rposition(|asked| waits(asked) && asked.content == first.content)
            }
            None => self
                .asked
                .iter()
                .position(waits)
                .or_else(|| self.asked.iter().rposition(|asked| asked.peer == *peer)),
        };
        self.asked.get_mut(at?)
    }
}

/// All sockets of datagrams.
#[derive(Default)]
pub(super) struct Datagrams {
    sockets: Map<u64, Socket>,
    by_port: Map<u16, u64>,
}

impl Datagrams {
    fn socket(&mut self, event: &Event<'_>) -> &mut Socket {
        let first = || Socket { maker: event.process, ..Socket::default() };
        let socket = self.sockets.entry(event.connection).or_insert_with(first);
        socket.user = event.process;
        socket
    }

    /// The socket was connected, or its local address became known.
    pub(super) fn connected(&mut self, event: &Event<'_>) {
        let Some((local, peer)) = connections::addresses(event.payload) else { return };
        if local.port() != 0 {
            self.by_port.insert(local.port(), event.connection);
        }
        let socket = self.socket(event);
        if local != Address::None {
            socket.local = local;
        }
        socket.peer = connections::unmapped(&peer);
    }

    /// The sockets that are connected: their numbers, who used them last, and their two addresses.
    pub(super) fn all_connected(&self) -> impl Iterator<Item = (u64, u64, Address, Address)> {
        let connected = self.sockets.iter().filter(|(_, socket)| socket.peer != Address::None);
        connected.map(|(id, socket)| (*id, socket.user, socket.local, socket.peer))
    }

    /// A descriptor of the socket was closed; whether it was one.
    pub(super) fn closed(&mut self, event: &Event<'_>) -> bool {
        let known = self.sockets.contains_key(&event.connection);
        self.left(event.connection, event.process);
        known
    }

    /// A process has the socket no more. While the one that made it has it, it is that one's.
    fn left(&mut self, id: u64, process: u64) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.maker == process {
            socket.maker = 0;
        }
        if socket.user == process {
            socket.user = socket.maker;
        }
        if socket.user == 0 {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(socket) = self.sockets.remove(&id)
            && self.by_port.get(&socket.local.port()) == Some(&id)
        {
            self.by_port.remove(&socket.local.port());
        }
    }

    /// The process is no more.
    pub(super) fn process_ended(&mut self, process: u64) {
        let has = |(id, socket): (&u64, &Socket)| {
            (socket.user == process || socket.maker == process).then_some(*id)
        };
        let left: Vec<u64> = self.sockets.iter().filter_map(has).collect();
        for id in left {
            self.left(id, process);
        }
    }

    /// The newest socket with this local port, how many datagrams were sent on it, and who sent last.
    pub(super) fn by_port(&self, port: u16) -> Option<(u64, u64, Option<Key>)> {
        let id = *self.by_port.get(&port)?;
        let socket = self.sockets.get(&id)?;
        Some((id, socket.sent, socket.sender))
    }

    /// A datagram was sent.
    pub(super) fn sent(&mut self, world: &mut World, event: &Event<'_>) {
        let Some((to, content)) = Address::decode(event.payload) else { return };
        if event.result < 0 {
            return;
        }
        let socket = self.socket(event);
        let to = if to == Address::None { socket.peer } else { connections::unmapped(&to) };
        let Owner { session, ambiguous } = world.owner_of_deed(event);
        socket.sender = Some(session);
        socket.sent += 1;
        let Some(open) = world.sessions.get_mut(session) else { return };
        let action = open.next_action();
        open.active = event.time;
        open.size += content.len();
        let (peer, unix_addr) = connections::endpoint(&Address::None, &to);
        let datagram = SendUdp {
            action_index: action,
            occurred_at: event.time,
            peer,
            content: content.to_vec(),
            unix_addr,
            ambiguous,
        };
        let asks = event.connection != 0 && to != Address::None && !socket.is_client(&to);
        open.push_deed(Action::SendUdp(datagram), if asks { State::Soft } else { State::Settled });
        if asks {
            if socket.asked.len() >= ASKED {
                socket.asked.pop_front();
            }
            let content = content.to_vec();
            socket.asked.push_back(Asked {
                peer: to,
                session,
                action,
                tid: event.tid,
                content,
                answered: false,
            });
        }
        world.boot_grew(session, event.time);
    }

    /// Datagrams were sent that the log does not have: in their place is one without content. Whether the socket is one of
    /// datagrams.
    pub(super) fn gap(&mut self, world: &mut World, event: &Event<'_>) -> bool {
        let Some(socket) = self.sockets.get(&event.connection) else { return false };
        world.gaps += 1;
        let Owner { session, ambiguous } = world.owner_of_deed(event);
        let Some(open) = world.sessions.get_mut(session) else { return true };
        open.active = event.time;
        open.session.incomplete = true;
        let (peer, unix_addr) = connections::endpoint(&Address::None, &socket.peer);
        let (action_index, occurred_at) = (open.next_action(), event.time);
        let unknown = SendUdp { action_index, occurred_at, peer, unix_addr, ambiguous, ..SendUdp::default() };
        open.push_deed(Action::SendUdp(unknown), State::Settled);
        match open.connection(event.connection) {
            Some(known) => Arc::make_mut(known).gap = true,
            None => {
                let known = description(event.connection, &socket.local, &socket.peer);
                open.session.connections.push(Arc::new(Description { gap: true, ..known }));
            }
        }
        world.boot_grew(session, event.time);
        true
    }

    /// A datagram arrived.
    pub(super) fn received(&mut self, world: &mut World, event: &Event<'_>) {
        let Some((from, content)) = Address::decode(event.payload) else { return };
        if event.result < 0 {
            return;
        }
        let socket = self.socket(event);
        let from = if from == Address::None { socket.peer } else { connections::unmapped(&from) };
        if from == Address::None || socket.is_client(&from) {
            return;
        }
        let (local, peer) = (socket.local, socket.peer);
        let Some(asked) = socket.question(&from, content) else {
            if socket.clients.len() >= CLIENTS {
                socket.clients.pop_front();
            }
            socket.clients.push_back(from);
            return;
        };
        asked.answered = true;
        let (tid, mut session, mut action) = (asked.tid, asked.session, asked.action);
        world.contexts.arrived(contexts::Key::of(event), session);
        let asks = |open: &mut super::sessions::Open| open.action(action).is_some();
        if !world.sessions.get_mut(session).is_some_and(asks) {
            // Who asked has gone on without it: what arrived is kept all the same.
            session = world.boot(event);
            let Some(open) = world.sessions.get_mut(session) else { return };
            action = open.next_action();
            let (peer, unix_addr) = connections::endpoint(&Address::None, &from);
            let late = CallOutbound { action_index: action, peer, unix_addr, ..CallOutbound::default() };
            open.push_deed(Action::from(late), State::Soft);
        }
        let Some(open) = world.sessions.get_mut(session) else { return };
        open.active = event.time;
        open.size += content.len();
        let other_thread = if tid == open.session.thread_id { 0 } else { tid };
        let Some(place) = open.action(action) else { return };
        if let Action::SendUdp(sent) = place {
            let sent = std::mem::take(sent);
            *place = Action::from(CallOutbound {
                action_index: sent.action_index,
                occurred_at: sent.occurred_at,
                socket_fd: event.fd,
                peer: sent.peer,
                unix_addr: sent.unix_addr,
                request: sent.content,
                thread_id: other_thread,
                ambiguous: sent.ambiguous,
                ..CallOutbound::default()
            });
        }
        let Action::CallOutbound(call) = place else { return };
        call.connection_id = event.connection;
        if call.occurred_at == 0 {
            call.occurred_at = event.time;
        }
        if call.response_time == 0 {
            call.response_time = event.time;
        } else if call.datagrams.is_empty() {
            // The second one: from here on their sizes tell them apart.
            call.datagrams.push(call.response.len() as u32);
        }
        if !call.datagrams.is_empty() {
            call.datagrams.push(content.len() as u32);
        }
        call.response.extend_from_slice(content);
        if open.connection(event.connection).is_none() {
            open.session.connections.push(Arc::new(description(event.connection, &local, &peer)));
        }
        world.boot_grew(session, event.time);
    }
}

fn description(id: u64, local: &Address, peer: &Address) -> Description {
    Description {
        connection_id: id,
        direction: "outbound".to_owned(),
        kind: "udp".to_owned(),
        local: local.to_string(),
        peer: peer.to_string(),
        ..Description::default()
    }
}

impl super::Assembler {
    /// The newest socket of datagrams with this local port, and how many datagrams were sent on it.
    pub fn datagrams(&self, port: u16) -> Option<(Outbound<'_>, u64)> {
        let (connection, sent, sender) = self.datagrams.by_port(port)?;
        Some((Outbound { connection, peer: Address::None, sender: self.sender(sender) }, sent))
    }
}
