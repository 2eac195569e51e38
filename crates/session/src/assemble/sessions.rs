//! The sessions that have not ended.

use super::{contexts, spare::Spare};
use crate::model::{self, Action, CallOutbound, Session};
use std::sync::Arc;

/// Names an open session; a number that is used again does not name the session before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

/// A session that has not ended.
#[derive(Default)]
pub(super) struct Open {
    generation: u32,
    live: bool,
    pub(super) session: Box<Session>,
    /// The connection that its request came by; 0 for a boot session.
    pub(super) connection: u64,
    /// The context that acts for it now.
    pub(super) context: Option<contexts::Key>,
    /// Its place among the open sessions of that context, while it is not answered.
    pub(super) hold: u32,
    /// Nothing of its request is missing.
    pub(super) request_ended: bool,
    /// Nothing of its response is missing.
    pub(super) response_ended: bool,
    /// Its request and its response are complete, as far as is known.
    pub(super) answered: bool,
    /// It may turn out that more of the response comes: no protocol tells where it ends.
    pub(super) soft: bool,
    /// Its context has turned to something else.
    pub(super) moved_on: bool,
    /// The context that acts for it has asked others.
    pub(super) asked: bool,
    /// Its talks that wait for an answer.
    pub(super) talks: u32,
    /// Processes that were made for it, and act for nobody else.
    pub(super) made: u32,
    next_action: u32,
    /// When it last did something.
    pub(super) active: u64,
    /// Its overlap group; 0 for none.
    pub(super) group: u64,
    /// It is looked at when time has passed.
    pub(super) queued: bool,
    /// Which of its actions may still change.
    states: Vec<State>,
    /// Of a boot session: how many parts of it were delivered.
    pub(super) part: u32,
    /// Of a boot session: when its part began.
    pub(super) part_began: u64,
    /// Its bytes.
    pub(super) size: usize,
    /// Of a boot session: the size at which delivering a part is considered.
    pub(super) size_limit: usize,
}

/// Whether an action may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Settled,
    /// It may until its answer is complete.
    Open,
    /// It has an answer, and nothing tells where that ends.
    Soft,
}

impl Open {
    pub(super) fn is_boot(&self) -> bool {
        self.connection == 0
    }

    /// The place of the next action.
    pub(super) fn next_action(&mut self) -> u32 {
        let index = self.next_action;
        self.next_action += 1;
        index
    }

    /// Adds a talk, which may still change.
    pub(super) fn push_call(&mut self, call: Box<CallOutbound>) {
        self.session.actions.push(Action::CallOutbound(call));
        self.states.push(State::Open);
    }

    /// Adds an action that is complete.
    pub(super) fn push_action(&mut self, action: Action) {
        self.push_deed(action, State::Settled);
    }

    /// Adds an action that is complete, or that may still be answered.
    pub(super) fn push_deed(&mut self, action: Action, state: State) {
        self.session.actions.push(action);
        self.states.push(state);
    }

    /// The action with this index.
    pub(super) fn action(&mut self, action: u32) -> Option<&mut Action> {
        let position = self.position(action)?;
        self.session.actions.get_mut(position)
    }

    /// The place in the list of the action with this index, unless it was delivered in an earlier part.
    fn position(&self, action: u32) -> Option<usize> {
        let actions = &self.session.actions;
        match actions.last() {
            Some(last) if last.action_index() == action => Some(actions.len() - 1),
            _ => actions.binary_search_by_key(&action, Action::action_index).ok(),
        }
    }

    /// The talk with this index.
    #[inline]
    pub(super) fn call(&mut self, action: u32) -> Option<&mut CallOutbound> {
        let position = self.position(action)?;
        match self.session.actions.get_mut(position)? {
            Action::CallOutbound(call) => Some(call),
            _ => None,
        }
    }

    /// The talk with this index will not change any more.
    pub(super) fn settle(&mut self, action: u32) {
        self.set(action, State::Settled);
    }

    /// The talk with this index has an answer of which nothing tells where it ends.
    pub(super) fn soften(&mut self, action: u32) {
        self.set(action, State::Soft);
    }

    fn set(&mut self, action: u32, state: State) {
        if let Some(to) = self.position(action).and_then(|at| self.states.get_mut(at)) {
            *to = state;
        }
    }

    /// Takes out the actions that will not change any more, and leaves the others. Where nothing tells the end
    /// of an answer, one that began before `quiet_since` is taken for complete.
    pub(super) fn take_settled(&mut self, quiet_since: u64) -> Vec<Action> {
        let (mut settled, mut rest, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for (action, state) in std::mem::take(&mut self.session.actions).into_iter().zip(&self.states) {
            let changes = match (state, &action) {
                (State::Open, _) => true,
                (State::Soft, Action::CallOutbound(call)) => call.response_time > quiet_since,
                (State::Soft, Action::SendUdp(datagram)) => datagram.occurred_at > quiet_since,
                _ => false,
            };
            if changes {
                rest.push(action);
                states.push(*state);
            } else {
                settled.push(action);
            }
        }
        self.states = states;
        self.session.actions = rest;
        settled
    }

    /// Its description of this connection.
    pub(super) fn connection(&mut self, id: u64) -> Option<&mut Arc<model::Connection>> {
        self.session.connections.iter_mut().rev().find(|connection| connection.connection_id == id)
    }
}

/// All open sessions.
#[derive(Default)]
pub(super) struct Sessions {
    slots: Vec<Open>,
    free: Vec<u32>,
    live: usize,
}

impl Sessions {
    pub(super) fn get(&self, key: Key) -> Option<&Open> {
        self.slots.get(key.index as usize).filter(|open| open.live && open.generation == key.generation)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Open> {
        self.slots.get_mut(key.index as usize).filter(|open| open.live && open.generation == key.generation)
    }

    /// Opens a session; its fields are those of an empty one.
    pub(super) fn open(&mut self, actions_from: u32) -> (Key, &mut Open) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Open::default());
            self.slots.len() as u32 - 1
        });
        let at = (index as usize).min(self.slots.len() - 1);
        let open = &mut self.slots[at];
        // In its place: it is large.
        open.states.clear();
        open.generation = open.generation.wrapping_add(1);
        open.live = true;
        self.live += 1;
        open.connection = 0;
        open.context = None;
        open.hold = 0;
        open.request_ended = false;
        open.response_ended = false;
        open.answered = false;
        open.soft = false;
        open.moved_on = false;
        open.asked = false;
        open.talks = 0;
        open.made = 0;
        open.next_action = actions_from;
        open.active = 0;
        open.group = 0;
        open.queued = false;
        open.part = 0;
        open.part_began = 0;
        open.size = 0;
        open.size_limit = 0;
        (Key { index, generation: open.generation }, open)
    }

    /// Ends a session, and takes it out.
    pub(super) fn close(&mut self, spare: &mut Spare, key: Key) -> Option<Box<Session>> {
        let open = self.get_mut(key)?;
        open.live = false;
        let session = std::mem::replace(&mut open.session, spare.session());
        self.live -= 1;
        self.free.push(key.index);
        Some(session)
    }

    /// The keys of all open sessions, oldest first as far as their numbers tell.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Key, &Open)> {
        self.slots.iter().enumerate().filter(|(_, open)| open.live).map(|(index, open)| {
            let key = Key { index: index as u32, generation: open.generation };
            (key, open)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }
}
