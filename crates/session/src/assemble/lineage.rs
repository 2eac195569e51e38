//! Processes that come from others: what they have of their connections, and for which sessions they act.
//!
//! - A process made by fork has its maker's connections. A connection ends when the last process that has it has
//!   closed it or is no more. A process that closes its copy of the connection by which a request came, while another
//!   one has it, leaves the request's session to that one.
//! - What a process does outside any request of its own belongs to the sessions for which its maker acted when it
//!   made it: as long as they are open. A process that takes a request of its own does nothing for them any more.
//! - A program that a process executes goes on as that process; one that it starts descends from it, and so do all
//!   that are started by those that tell nothing of themselves (a shell).
//! - An answered session waits for the processes that were made for it while they do something: until they end, or
//!   nothing has been done for it for the grace. So a daemon that a request has started delays its session by no
//!   more than that, and has its own boot session from then on.
//! - A unix connection is one with both ends in the tree where its accepting end names the process that connected,
//!   and what arrives is what that process has sent: of several, the oldest. What arrives may come in pieces, of
//!   which the first says little (the head of a FastCGI record): until the answer, each may show that the connection
//!   was taken for another one.

use super::{
    Assembler,
    connections::{Connection, Connections, Direction},
    contexts,
    contexts::Owner,
    lifecycle::World,
    sessions::Key,
};
use koala_events::{Address, Event, flags};

/// So many bytes tell apart what was sent on unix connections that one process has opened. What a gateway sends of a
/// request begins with much that is the same for all of them.
const HEAD: usize = 4096;
/// So many unix connections of the tree at most wait for their other end.
const WAITING: usize = 4096;

impl Assembler {
    /// A process is being made, or executes another program.
    pub(super) fn fork(&mut self, event: &Event<'_>) {
        let number = event.connection;
        if event.flags & flags::EXECUTES == 0 {
            match event.result {
                0 => {
                    self.connections.share(event.process, number);
                    self.world.made_for(number, contexts::Key::of(event), event.time);
                }
                // It was not made.
                error if error < 0 => self.process_ended(number, event.time),
                _ => {}
            }
        } else if number != event.process {
            match event.result {
                0 => self.world.made_for(number, contexts::Key::of(event), event.time),
                error if error < 0 => self.world.forget_origin(number, event.time),
                _ => {}
            }
        } else if event.result == 0 {
            self.world.made_for(number, contexts::Key::of(event), event.time);
            let (kept, _) = event.payload.as_chunks::<8>();
            self.connections.keep(number, |id| kept.contains(&id.to_le_bytes()));
        }
    }

    /// A process began to be covered.
    pub(super) fn process_began(&mut self, event: &Event<'_>) {
        let (process, origin) = (event.process, event.connection);
        if event.flags & flags::EXECUTES != 0 {
            self.connections.share(origin, process);
            self.world.executed(origin, process);
            // What the program before it has left is this one's now.
            for id in self.connections.of_process(origin) {
                self.connections.release(id, origin);
            }
            self.connections.inherit_listeners(origin, Some(process));
        } else if event.result > 0 && !self.world.is_announced(process) {
            // Forked by a call that no hook saw.
            self.connections.share(origin, process);
            let context = contexts::Key::thread(origin, event.result as u32);
            self.world.made_for(process, context, event.time);
        }
        self.world.process_began(event);
    }

    /// A process has closed its copy of a connection, or is no more: whether others have it. If so, the sessions
    /// of the requests that came by it are theirs.
    pub(super) fn passed_on(&mut self, id: u64, process: u64) -> bool {
        if self.connections.release(id, process) {
            return false;
        }
        let Some(connection) = self.connections.get(id) else { return false };
        if connection.direction == Direction::Inbound {
            self.world.leave(connection, process);
        }
        true
    }

    /// A process has closed its copy of a connection that it has sent to another one, which has not used it so far.
    pub(super) fn hand_on(&mut self, id: u64, process: u64, time: u64) {
        if let Some(connection) = self.connections.get(id) {
            if connection.direction == Direction::Inbound {
                self.world.leave(connection, process);
            }
            self.connections.hand_on(id, time);
        }
    }
}

impl Connections {
    /// What `process` has, `other` has too.
    pub(super) fn share(&mut self, process: u64, other: u64) {
        for connection in self.all_mut() {
            if connection.holders.contains(&process) {
                connection.hold(other);
            }
        }
    }

    /// Of what `process` shares with others, it keeps only what `kept` says.
    fn keep(&mut self, process: u64, kept: impl Fn(u64) -> bool) {
        for connection in self.all_mut() {
            if connection.holders.len() > 1 && !kept(connection.id) {
                connection.holders.retain(|holder| *holder != process);
            }
        }
    }

    /// The process has the connection no more. Whether nobody has.
    pub(super) fn release(&mut self, id: u64, process: u64) -> bool {
        let Some(connection) = self.get_mut(id) else { return true };
        connection.holders.retain(|holder| *holder != process);
        connection.holders.is_empty()
    }

    /// Bytes cross on a unix connection, of whose other end nothing is certain yet: to the one who accepted it, they
    /// tell which one it is. Returns the accepting ends whose other end is not the one it was taken for.
    pub(super) fn recognise(&mut self, id: u64, received: bool, bytes: &[u8]) -> [Option<u64>; 2] {
        let Some(connection) = self.get_mut(id) else { return [None; 2] };
        match (connection.direction, received) {
            _ if bytes.is_empty() => [None; 2],
            (Direction::Outbound, false) | (Direction::Inbound, true) => {
                let room = HEAD.saturating_sub(connection.head.len());
                connection.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                if received { self.compare(id) } else { [None; 2] }
            }
            // There is an answer: whoever is to know the request has it.
            (Direction::Outbound, true) | (Direction::Inbound, false) => {
                for end in [Some(id), connection.joined].into_iter().flatten() {
                    if let Some(connection) = self.get_mut(end) {
                        connection.uncertain = false;
                        connection.head = Vec::new();
                    }
                }
                [None; 2]
            }
        }
    }

    /// A unix connection was opened: its other end may be in the tree. Sockets are accepted in the order in which
    /// they were connected, as far as the log tells.
    pub(super) fn meet_unix(&mut self, id: u64) {
        let Some(connection) = self.get(id) else { return };
        match connection.direction {
            Direction::Inbound => {
                if let Some(&other) = self.candidates(id).first() {
                    self.join(id, other);
                }
            }
            Direction::Outbound => {
                if self.unix_waiting.len() >= WAITING {
                    self.unix_waiting.pop_front();
                }
                self.unix_waiting.push_back(id);
            }
        }
    }

    /// The connections that may be the other end of an accepted one, those that are no other's first; otherwise the
    /// oldest first.
    fn candidates(&mut self, id: u64) -> Vec<u64> {
        let mut waiting = std::mem::take(&mut self.unix_waiting);
        waiting.retain(|other| self.get(*other).is_some_and(|other| other.uncertain));
        let mut found = Vec::new();
        if let Some(accepted) = self.get(id).filter(|accepted| accepted.creator != 0) {
            let may_be = |other: &&Connection| {
                other.creator == accepted.creator
                    && same_path(&other.peer, &accepted.local)
                    && accepted.head.iter().zip(&other.head).all(|(theirs, ours)| theirs == ours)
                    // Nothing arrives on it before something was sent, and nothing any more where it has failed.
                    && (!other.head.is_empty() || (accepted.head.is_empty() && other.end.is_empty()))
            };
            let may_be = waiting.iter().filter_map(|other| self.get(*other)).filter(may_be);
            found.extend(may_be.map(|other| (other.joined.is_some(), other.id)));
            found.sort_by_key(|(joined, _)| *joined);
        }
        self.unix_waiting = waiting;
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Compares what has arrived on an accepted connection with what was sent on the one it was taken for.
    fn compare(&mut self, id: u64) -> [Option<u64>; 2] {
        let candidates = self.candidates(id);
        let taken_for = self.get(id).and_then(|accepted| accepted.joined);
        if taken_for.is_some_and(|other| candidates.contains(&other)) {
            return [None; 2];
        }
        let Some(&other) = candidates.first() else { return [None; 2] };
        let robbed = self.get(other).and_then(|other| other.joined);
        self.join(id, other);
        match (robbed, taken_for) {
            (Some(robbed), Some(left)) => self.join(robbed, left),
            (Some(alone), None) | (None, Some(alone)) => {
                if let Some(alone) = self.get_mut(alone) {
                    alone.joined = None;
                }
            }
            (None, None) => {}
        }
        [Some(id), robbed]
    }

    fn join(&mut self, id: u64, other: u64) {
        for (one, far) in [(id, other), (other, id)] {
            if let Some(connection) = self.get_mut(one) {
                connection.joined = Some(far);
            }
        }
    }
}

/// Whether two processes name the same socket: by a path that may be relative, or seen from another root.
fn same_path(asked: &Address, bound: &Address) -> bool {
    fn name(address: &Address) -> Option<&[u8]> {
        match address {
            Address::Unix(path, length) => path.get(..*length as usize)?.rsplit(|&byte| byte == b'/').next(),
            _ => None,
        }
    }
    name(asked).is_some() && name(asked) == name(bound)
}

impl World {
    /// The process `number` is being made by `context`: it acts for whom that acts for.
    fn made_for(&mut self, number: u64, context: contexts::Key, time: u64) {
        self.processes.entry(number).or_default().made_at = time;
        let sessions = &self.sessions;
        let mut origin = self.contexts.acting_for(context, |key| sessions.get(key).is_some());
        if origin.is_empty() && number != context.process {
            origin = self.origin(context.process);
        }
        if origin.is_empty() {
            return;
        }
        for key in &origin {
            if let Some(open) = self.sessions.get_mut(*key) {
                open.made += 1;
                open.active = time.max(open.active);
            }
        }
        let before = std::mem::replace(&mut self.processes.entry(number).or_default().origin, origin);
        self.let_go(&before, time);
    }

    /// The open sessions for which the process was made.
    fn origin(&self, process: u64) -> Vec<Key> {
        let origin = self.processes.get(&process).map_or(&[][..], |process| &process.origin);
        origin.iter().copied().filter(|key| self.sessions.get(*key).is_some()).collect()
    }

    fn is_announced(&self, process: u64) -> bool {
        self.processes.contains_key(&process)
    }

    /// The process acts for nobody else any more.
    pub(super) fn forget_origin(&mut self, process: u64, time: u64) {
        let Some(process) = self.processes.get_mut(&process) else { return };
        if !process.origin.is_empty() {
            let origin = std::mem::take(&mut process.origin);
            self.let_go(&origin, time);
        }
    }

    fn let_go(&mut self, origin: &[Key], time: u64) {
        for key in origin {
            if let Some(open) = self.sessions.get_mut(*key) {
                open.made = open.made.saturating_sub(1);
                self.try_end(*key, time);
            }
        }
    }

    /// `process` is what `before` has become by executing another program.
    fn executed(&mut self, before: u64, process: u64) {
        let origin = match self.processes.get_mut(&before) {
            Some(before) => std::mem::take(&mut before.origin),
            None => return,
        };
        for key in &origin {
            let held_before = |open: &super::sessions::Open| {
                open.context.is_some_and(|context| context.process == before) && !open.answered
            };
            if self.sessions.get(*key).is_some_and(held_before) {
                self.contexts.release(&mut self.sessions, *key);
            }
        }
        self.processes.entry(process).or_default().origin = origin;
    }

    /// A descendant of `origin` is there: it acts for whom that was made for.
    pub(super) fn descends(&mut self, process: u64, origin: u64) {
        if self.processes.get(&process).is_some_and(|process| !process.origin.is_empty()) {
            return;
        }
        let origin = self.origin(origin);
        for key in &origin {
            if let Some(open) = self.sessions.get_mut(*key) {
                open.made += 1;
            }
        }
        self.processes.entry(process).or_default().origin = origin;
    }

    /// For whom a process acts that has no request of its own.
    pub(super) fn owner_by_origin(&mut self, event: &Event<'_>) -> Option<Owner> {
        let origin = &self.processes.get(&event.process)?.origin;
        if origin.is_empty() {
            return None;
        }
        let origin = self.origin(event.process);
        let session = *origin.last()?;
        let ambiguous = origin.iter().any(|key| *key != session);
        if ambiguous {
            self.contexts.group_together(&mut self.sessions, &origin);
        }
        Some(Owner { session, ambiguous })
    }

    /// For whom a context acts, or else its process, without saying that it did.
    pub(super) fn acting_for(&self, context: contexts::Key) -> Option<Key> {
        let current = self.contexts.current(context).filter(|key| self.sessions.get(*key).is_some());
        current.or_else(|| self.origin(context.process).pop())
    }

    /// The process has closed a connection that others still have: the requests under way on it are theirs.
    fn leave(&mut self, connection: &Connection, process: u64) {
        let under_way = connection.exchanges.iter().chain(&connection.request).chain(&connection.unasked);
        for exchange in under_way.filter(|exchange| !exchange.inherited) {
            let Some(open) = self.sessions.get(exchange.session) else { continue };
            if !open.answered && open.context.is_some_and(|context| context.process == process) {
                self.contexts.release(&mut self.sessions, exchange.session);
            }
        }
    }

    /// A process has got a connection from another one by a message: the request under way on it is for it to answer.
    pub(super) fn taken_over(&mut self, connection: &Connection, event: &Event<'_>) {
        let under_way =
            connection.request.filter(|exchange| !exchange.inherited).map(|exchange| exchange.session);
        let Some(key) = under_way.filter(|_| connection.direction == Direction::Inbound) else { return };
        let Some(open) = self.sessions.get_mut(key).filter(|open| !open.answered) else { return };
        open.session.process_id = event.process;
        open.session.pid = event.pid;
        open.session.thread_id = event.tid;
        self.contexts.release(&mut self.sessions, key);
        let hold = (key, connection.id, false);
        self.contexts.hold(&mut self.sessions, contexts::Key::of(event), hold, event.time);
    }

    /// Whether what arrives on an inbound connection whose other end was closed is of a session that is open.
    pub(super) fn is_awaited(&self, connection: &Connection, outer: Option<Key>) -> bool {
        let request = connection.request.map(|exchange| exchange.session);
        outer.into_iter().chain(request).any(|key| self.sessions.get(key).is_some())
    }

    /// Frees what was noted of processes that never said anything, when nobody they were made for is left.
    pub(super) fn free_origins(&mut self, now: u64) {
        let Self { processes, sessions, .. } = self;
        for process in processes.values_mut() {
            process.origin.retain(|key| sessions.get(*key).is_some());
        }
        let idle = self.config.idle;
        processes.retain(|_, process| {
            let known = process.began || process.boot.is_some() || !process.origin.is_empty();
            known || process.made_at.saturating_add(idle) > now
        });
    }
}
