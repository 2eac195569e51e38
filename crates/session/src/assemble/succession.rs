//! Going on where an assembler is no more that nobody has a copy of.
//!
//! Its owner keeps what [`Assembler::recall`] and [`Assembler::unfinished`] tell. An assembler that has seen no event
//! is pushed the one, and given the other by [`Assembler::restore`]; then comes what happened since. It makes the same
//! sessions, under ids of its own.
//!
//! What has no form of its own is lost: how far the talk of a database connection has got that was logged in before
//! (its talks are told apart by direction from then on), which session a process was made for, virtual threads, and
//! that a request under way comes from inside the tree.

use super::{
    Assembler,
    connections::{Connection, Direction},
    sessions::{Key, State},
};
use crate::model::{Action, CallOutbound, Session};
use koala_events::{Address, Event, EventKind, Source, flags};

/// Who does what is told, and when.
#[derive(Clone, Copy)]
struct Actor {
    process: u64,
    pid: u32,
    tid: u32,
    time: u64,
}

impl Actor {
    fn event(self, kind: EventKind, connection: u64, payload: &[u8]) -> Event<'_> {
        Event {
            kind,
            source: Source::Libc,
            flags: 0,
            process: self.process,
            pid: self.pid,
            tid: self.tid,
            context: 0,
            sequence: 0,
            time: self.time,
            connection,
            fd: -1,
            result: payload.len() as i64,
            payload,
        }
    }
}

/// What a session has, in its order.
enum Step {
    Action(Action),
    Response(u64, Vec<u8>),
}

impl Assembler {
    /// Tells the processes, listeners, connections and files that are known `now`, as events. `pid`: the process id of
    /// the process with a number.
    pub fn recall(&self, now: u64, pid: impl Fn(u64) -> u32, mut tell: impl FnMut(&Event<'_>)) {
        let by = |process| Actor { process, pid: pid(process), tid: 0, time: now };
        let mut processes: Vec<_> =
            self.world.processes.iter().filter(|(_, process)| process.began).collect();
        processes.sort_unstable_by_key(|(number, _)| **number);
        for (number, process) in processes {
            tell(&Event { result: 0, ..by(*number).event(EventKind::Process, process.parent, b"") });
        }
        let mut payload = Vec::new();
        for (address, process, connection) in self.connections.all_listeners() {
            payload.clear();
            put(&mut payload, address);
            tell(&by(process).event(EventKind::Listen, connection, &payload));
        }
        for (number, opener, path) in self.world.files.opened() {
            let event = by(opener).event(EventKind::Open, number, path.as_bytes());
            tell(&Event { result: 0, ..event });
        }
        for (number, user, local, peer) in self.datagrams.all_connected() {
            payload.clear();
            put(&mut payload, &local);
            put(&mut payload, &peer);
            let event = by(user).event(EventKind::Connect, number, &payload);
            tell(&Event { result: 0, flags: flags::DATAGRAM, ..event });
        }
        let mut connections: Vec<&Connection> = self.connections.all().collect();
        connections.sort_unstable_by_key(|connection| connection.id);
        for connection in connections {
            payload.clear();
            put(&mut payload, &connection.local);
            put(&mut payload, &connection.peer);
            for count in connection.totals.crossed() {
                payload.extend_from_slice(&count.to_le_bytes());
            }
            let result = i64::from(connection.direction == Direction::Inbound);
            for holder in &connection.holders {
                let event = by(*holder).event(EventKind::Adopt, connection.id, &payload);
                tell(&Event { result, ..event });
            }
        }
    }

    /// The sessions that are not over, those of boot first, each as far as it is known; without those of boot that have
    /// nothing in them.
    pub fn unfinished(&self) -> Vec<&Session> {
        let sessions = self.world.sessions.keys().map(|(_, open)| &*open.session);
        let mut all: Vec<&Session> = sessions
            .filter(|session| session.call_from_inbound.is_some() || !session.actions.is_empty())
            .collect();
        all.sort_unstable_by_key(|session| (session.call_from_inbound.is_some(), &session.session_id));
        all
    }

    /// Goes on with a session that another assembler knew to be unfinished. The connections were told before.
    pub fn restore(&mut self, mut session: Session) {
        let Some((connection, key)) = self.reopen(&session) else {
            // Nothing more can come by its connection.
            session.incomplete |= session.return_inbound.is_none();
            self.world.delivered.push_back(Box::new(session));
            return;
        };
        let actor = Actor { process: session.process_id, pid: session.pid, tid: session.thread_id, time: 0 };
        let actions = session.actions.drain(..).map(|action| (action.action_index(), Step::Action(action)));
        let mut steps: Vec<(u32, Step)> = actions.collect();
        if let Some(answer) = session.return_inbound.take() {
            steps.push((answer.action_index, Step::Response(answer.occurred_at, answer.response)));
        }
        steps.sort_by_key(|(index, _)| *index);
        for (_, step) in steps {
            match step {
                Step::Response(time, bytes) => {
                    self.retell(Actor { time, ..actor }.event(EventKind::Send, connection, &bytes));
                }
                Step::Action(Action::CallOutbound(call)) if self.can_retell(&session, &call) => {
                    self.retell_call(key, actor, *call);
                }
                Step::Action(action) => {
                    if let Some(open) = self.world.sessions.get_mut(key) {
                        let index = open.next_action();
                        open.push_deed(numbered(action, index), State::Settled);
                    }
                }
            }
        }
        if let Some(open) = self.world.sessions.get_mut(key) {
            open.session.incomplete |= session.incomplete;
            for description in session.connections {
                if open.connection(description.connection_id).is_none() {
                    open.session.connections.push(description);
                }
            }
        }
    }

    /// Opens a session like this one, and returns it with the connection that its request came by; `None` if there is
    /// no such connection any more.
    fn reopen(&mut self, session: &Session) -> Option<(u64, Key)> {
        let actor = Actor {
            process: session.process_id,
            pid: session.pid,
            tid: session.thread_id,
            time: session.actions.first().map_or(0, occurred_at),
        };
        let Some(call) = &session.call_from_inbound else {
            return Some((0, self.world.boot(&actor.event(EventKind::Send, 0, b""))));
        };
        let id = call.connection_id;
        if call.request.is_empty() || self.connections.get(id)?.direction != Direction::Inbound {
            return None;
        }
        self.retell(Actor { time: call.occurred_at, ..actor }.event(EventKind::Receive, id, &call.request));
        let key = self.connections.get(id)?.request?.session;
        self.world.sessions.get(key).map(|_| (id, key))
    }

    /// Pushes what was counted before.
    fn retell(&mut self, event: Event<'_>) {
        let counted = self.connections.get(event.connection).map(|connection| connection.totals);
        self.push(&event);
        if let (Some(counted), Some(connection)) = (counted, self.connections.get_mut(event.connection)) {
            connection.totals = counted;
        }
    }

    /// Whether the talk is one of those that may go on: on a connection that is there, without an error.
    fn can_retell(&self, session: &Session, call: &CallOutbound) -> bool {
        let datagrams = || {
            let mut all = session.connections.iter();
            all.any(|one| one.connection_id == call.connection_id && one.kind == "udp")
        };
        let there = self.connections.get(call.connection_id);
        call.error.is_empty()
            && !call.request.is_empty()
            && there.is_some_and(|there| there.direction == Direction::Outbound)
            && !datagrams()
    }

    fn retell_call(&mut self, key: Key, actor: Actor, call: CallOutbound) {
        let id = call.connection_id;
        let sent = Actor { time: call.occurred_at, ..actor }.event(EventKind::Send, id, &call.request);
        self.retell(Event { fd: call.socket_fd, ..sent });
        if !call.response.is_empty() {
            let time = call.response_time;
            self.retell(Actor { time, ..actor }.event(EventKind::Receive, id, &call.response));
        }
        if let Some(open) = self.world.sessions.get_mut(key)
            && let Some(Action::CallOutbound(told)) = open.session.actions.last_mut()
            && told.connection_id == id
        {
            told.thread_id = call.thread_id;
            told.ambiguous = call.ambiguous;
            told.c_span_id = call.c_span_id;
        }
    }
}

fn put(payload: &mut Vec<u8>, address: &Address) {
    let mut bytes = [0; Address::MAX];
    let length = address.encode(&mut bytes);
    payload.extend_from_slice(bytes.get(..length).unwrap_or_default());
}

fn occurred_at(action: &Action) -> u64 {
    match action {
        Action::CallOutbound(action) => action.occurred_at,
        Action::SendUdp(action) => action.occurred_at,
        Action::AppendFile(action) => action.occurred_at,
        Action::ReadStorage(action) => action.occurred_at,
        Action::ResolveName(action) => action.occurred_at,
    }
}

fn numbered(mut action: Action, index: u32) -> Action {
    match &mut action {
        Action::CallOutbound(action) => action.action_index = index,
        Action::SendUdp(action) => action.action_index = index,
        Action::AppendFile(action) => action.action_index = index,
        Action::ReadStorage(action) => action.action_index = index,
        Action::ResolveName(action) => action.action_index = index,
    }
    action
}
