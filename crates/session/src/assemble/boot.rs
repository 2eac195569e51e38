//! Processes, and what they do outside any session.

use super::{
    lifecycle::World,
    sessions::{Key, Open},
};
use crate::model::{Action, Session};
use koala_events::Event;

/// A process of the tree.
#[derive(Default)]
pub(super) struct Process {
    /// The process that it was forked from, or that has executed or started it.
    pub(super) parent: u64,
    /// When it was about to be made.
    pub(super) made_at: u64,
    /// It has told of itself.
    pub(super) began: bool,
    /// It has taken a request.
    pub(super) served: bool,
    /// The sessions for which it was made; the last is the most probable. See the [module](super::lineage).
    pub(super) origin: Vec<Key>,
    pub(super) boot: Option<Key>,
}

impl World {
    /// The boot session of the process of this event, for an action that happens now.
    pub(super) fn boot(&mut self, event: &Event<'_>) -> Key {
        let process = self.processes.entry(event.process).or_default();
        if let Some(key) = process.boot
            && let Some(open) = self.sessions.get_mut(key)
        {
            if open.session.actions.is_empty() {
                open.part_began = event.time;
            }
            return key;
        }
        let (key, open) = self.sessions.open(0);
        process.boot = Some(key);
        open.part_began = event.time;
        open.active = event.time;
        open.size_limit = self.config.boot_part_bytes;
        let session = &mut open.session;
        session.call_from_inbound = None;
        session.context.push_str("boot");
        session.thread_id = event.tid;
        session.process_id = event.process;
        session.pid = event.pid;
        let mut id = std::mem::take(&mut session.session_id);
        self.write_id(event.time, &mut id);
        if let Some(open) = self.sessions.get_mut(key) {
            open.session.session_id = id;
        }
        key
    }

    /// Delivers a part of a boot session if it has grown large.
    pub(super) fn boot_grew(&mut self, key: Key, time: u64) {
        if self.sessions.get(key).is_some_and(|open| open.is_boot() && open.size >= open.size_limit) {
            self.deliver_part(key, time);
        }
    }

    /// Delivers the parts of boot sessions that are old enough.
    pub(super) fn tick_boot(&mut self, now: u64) {
        let old = |open: &Open| {
            !open.session.actions.is_empty()
                && open.part_began.saturating_add(self.config.boot_part_age) <= now
        };
        let boots = self.processes.values().filter_map(|process| process.boot);
        let due: Vec<Key> = boots.filter(|key| self.sessions.get(*key).is_some_and(old)).collect();
        for key in due {
            self.deliver_part(key, now);
        }
    }

    /// Delivers what will not change any more, and leaves the rest to the next part, whose id is told in
    /// advance.
    fn deliver_part(&mut self, key: Key, now: u64) {
        let quiet_since = now.saturating_sub(self.config.boot_part_age);
        let mut next = String::new();
        self.write_id(now, &mut next);
        let Some(open) = self.sessions.get_mut(key) else { return };
        // If nothing can be delivered now, that is not tried again before as much has been added once more.
        open.size_limit = open.size.saturating_add(self.config.boot_part_bytes);
        open.part_began = now;
        let settled = open.take_settled(quiet_since);
        if settled.is_empty() {
            return;
        }
        let rest = Session {
            context: open.session.context.clone(),
            session_id: next.clone(),
            thread_id: open.session.thread_id,
            process_id: open.session.process_id,
            pid: open.session.pid,
            actions: std::mem::take(&mut open.session.actions),
            connections: open.session.connections.clone(),
            ..Session::default()
        };
        let mut part = std::mem::replace(&mut open.session, Box::new(rest));
        part.actions = settled;
        part.next_session_id = next;
        keep_used_connections(&mut part);
        keep_used_connections(&mut open.session);
        open.part += 1;
        open.size = size(&open.session);
        open.size_limit = open.size.saturating_add(self.config.boot_part_bytes);
        self.delivered.push_back(part);
    }

    /// Delivers the last part of a boot session.
    pub(super) fn end_boot(&mut self, key: Key) {
        match self.sessions.get(key) {
            Some(open) if open.session.actions.is_empty() => {
                if let Some(session) = self.sessions.close(&mut self.spare, key) {
                    self.spare.keep(session);
                }
            }
            _ => self.deliver(key),
        }
    }

    /// A process began to be covered.
    pub(super) fn process_began(&mut self, event: &Event<'_>) {
        let process = self.processes.entry(event.process).or_default();
        process.began = true;
        process.parent = event.connection;
        self.descends(event.process, event.connection);
    }

    /// A process is no more. Returns the one that has what it inherited: its youngest child.
    /// `held`: whether others have the inbound connection of this number.
    pub(super) fn process_ended(
        &mut self,
        process: u64,
        time: u64,
        held: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        self.forget_origin(process, time);
        let goes_on = |open: &Open| !open.answered && held(open.connection);
        let kept: Vec<Key> = self
            .sessions
            .keys()
            .filter(|(_, open)| open.context.is_some_and(|context| context.process == process))
            .filter(|(_, open)| goes_on(open))
            .map(|(key, _)| key)
            .collect();
        for key in kept {
            self.contexts.release(&mut self.sessions, key);
        }
        self.deliver_all(|open| match open.context {
            _ if open.is_boot() => open.session.process_id == process,
            Some(context) => context.process == process,
            None if open.answered => open.session.process_id == process && open.made == 0,
            None => !held(open.connection),
        });
        self.contexts.process_ended(process);
        self.processes.remove(&process);
        let children = self.processes.iter().filter(|(_, child)| child.parent == process);
        children.map(|(child, _)| *child).max()
    }
}

fn keep_used_connections(session: &mut Session) {
    let actions = &session.actions;
    session.connections.retain(|connection| {
        actions.iter().any(|action| match action {
            Action::CallOutbound(call) => call.connection_id == connection.connection_id,
            _ => false,
        })
    });
}

fn size(session: &Session) -> usize {
    let of = |action: &Action| match action {
        Action::CallOutbound(call) => call.request.len() + call.response.len(),
        Action::SendUdp(datagram) => datagram.content.len(),
        Action::AppendFile(append) => append.content.len(),
        Action::ReadStorage(read) => read.content.len(),
        Action::ResolveName(lookup) => lookup.name.len(),
    };
    session.actions.iter().map(of).sum()
}
