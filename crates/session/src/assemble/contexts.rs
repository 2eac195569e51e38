//! Execution contexts: which sessions a thread (or virtual thread) acts for.

use super::{
    hash::Map,
    sessions::{Key as SessionKey, Sessions},
};
use koala_events::Event;

/// An execution context: a thread of a process, or a virtual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) process: u64,
    id: u64,
}

impl Key {
    pub(super) fn of(event: &Event<'_>) -> Self {
        match event.context {
            0 => Self::thread(event.process, event.tid),
            // Thread ids have 32 bits.
            context => Self { process: event.process, id: context | 1 << 63 },
        }
    }

    pub(super) const fn thread(process: u64, tid: u32) -> Self {
        Self { process, id: tid as u64 }
    }
}

/// A session that a context acts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) session: SessionKey,
    /// The inbound connection that the request came by. It is not the session's own connection where the
    /// context serves another session of the tree (see [`Hold::inherited`]).
    via: u64,
    /// The request came from inside the tree: the session is that of who sent it.
    inherited: bool,
}

/// What a context does.
#[derive(Default)]
pub(super) struct Context {
    /// Sessions that wait for their response.
    open: Vec<Hold>,
    /// Sessions that have it, and for which the context may still act.
    done: Vec<Hold>,
    /// The session for which it most probably acts now.
    current: Option<SessionKey>,
    /// The overlap group of the open sessions, once they needed one; 0 before.
    group: u64,
    /// Open sessions that began after the group did.
    fresh: Vec<SessionKey>,
    /// It takes requests: what it does outside of them, it does of its own accord.
    takes: bool,
    /// It has asked others while no request was open: it works on its own, such as one that waits for a timer.
    alone: bool,
    /// When it last did something.
    active: u64,
}

/// Whom an action belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) session: SessionKey,
    /// It may belong to another session.
    pub(super) ambiguous: bool,
}

/// Which requests a context may work for that others have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Help {
    /// None: it serves one of its own, or was seen to work on its own.
    None,
    /// It takes requests itself, and serves none now: those for which nobody has asked others yet but such as it. Servers
    /// with a pool of threads and one that reads what comes on kept connections hand requests on so (Puma).
    HandedOn,
    /// Any.
    Any,
}

/// All contexts.
#[derive(Default)]
pub(super) struct Contexts {
    all: Map<Key, Context>,
    groups: u64,
}

impl Contexts {
    /// `context` serves the request of `session` that came by the connection `via`.
    pub(super) fn hold(
        &mut self,
        sessions: &mut Sessions,
        key: Key,
        (session, via, inherited): (SessionKey, u64, bool),
        time: u64,
    ) {
        let context = self.all.entry(key).or_default();
        context.active = time;
        context.takes = true;
        // Requests that wait on one connection are served one after the other.
        let current = context.current.and_then(|current| sessions.get(current));
        let behind = current.is_some_and(|current| !current.answered && current.connection == via);
        if !behind || inherited {
            context.current = Some(session);
        }
        if !inherited && let Some(open) = sessions.get_mut(session) {
            open.context = Some(key);
            open.hold = context.open.len() as u32;
        }
        context.open.push(Hold { session, via, inherited });
        if context.group != 0 {
            context.fresh.push(session);
        }
    }

    /// For whom the context acts, if for anyone; a send tells sessions apart, and marks those that it can't.
    pub(super) fn owner(&mut self, sessions: &mut Sessions, key: Key, time: u64) -> Option<Owner> {
        let context = self.all.get_mut(&key)?;
        context.active = time;
        let session = context.current.filter(|current| sessions.get(*current).is_some())?;
        let ambiguous = context.open.len() > 1 && context.open.iter().any(|hold| hold.session != session);
        if ambiguous {
            context.group(sessions, &mut self.groups);
        }
        Some(Owner { session, ambiguous })
    }

    /// Whether the context has taken a request lately.
    pub(super) fn takes(&self, key: Key) -> bool {
        self.all.get(&key).is_some_and(|context| context.takes)
    }

    /// Which requests of others the context may work for.
    pub(super) fn help(&self, key: Key) -> Help {
        match self.all.get(&key) {
            Some(context) if context.alone || !context.open.is_empty() => Help::None,
            Some(context) if context.takes => Help::HandedOn,
            _ => Help::Any,
        }
    }

    /// The context has asked others while no request was open.
    pub(super) fn works_alone(&mut self, key: Key, time: u64) {
        let context = self.all.entry(key).or_default();
        context.alone = true;
        context.active = time;
    }

    /// For whom the context acts, without saying that it did.
    pub(super) fn current(&self, key: Key) -> Option<SessionKey> {
        self.all.get(&key)?.current
    }

    /// The sessions that the context acts for, and for which `is_open` holds; the most probable is the last.
    pub(super) fn acting_for(&self, key: Key, is_open: impl Fn(SessionKey) -> bool) -> Vec<SessionKey> {
        let Some(context) = self.all.get(&key) else { return Vec::new() };
        let open = context.open.iter().map(|hold| hold.session).filter(|open| Some(*open) != context.current);
        open.chain(context.current).filter(|session| is_open(*session)).collect()
    }

    /// Puts these sessions into one overlap group.
    pub(super) fn group_together(&mut self, sessions: &mut Sessions, together: &[SessionKey]) {
        let earlier = together.iter().filter_map(|key| sessions.get(*key)).map(|open| open.group);
        let group = earlier.filter(|group| *group != 0).min().unwrap_or(self.groups + 1);
        self.groups = self.groups.max(group);
        for key in together {
            if let Some(open) = sessions.get_mut(*key)
                && !open.is_boot()
            {
                open.group = group;
            }
        }
    }

    /// Something for `session` arrived in this context: what follows is probably done for it.
    pub(super) fn arrived(&mut self, key: Key, session: SessionKey) {
        if let Some(context) = self.all.get_mut(&key)
            && context.open.len() > 1
        {
            context.current = Some(session);
        }
    }

    /// A session was answered; `next` is the one that waits behind it on its connection.
    pub(super) fn answered(
        &mut self,
        sessions: &mut Sessions,
        session: SessionKey,
        next: Option<SessionKey>,
    ) {
        let Some(open) = sessions.get(session) else { return };
        let (Some(key), at) = (open.context, open.hold as usize) else { return };
        let Some(context) = self.all.get_mut(&key) else { return };
        context.answered(sessions, at, next);
    }

    /// A request from inside the tree was answered by `key`, or can't be any more.
    pub(super) fn answered_inherited(&mut self, sessions: &mut Sessions, key: Key, via: u64) {
        let Some(context) = self.all.get_mut(&key) else { return };
        let found = context.open.iter().position(|hold| hold.inherited && hold.via == via);
        if let Some(at) = found {
            context.answered(sessions, at, None);
        }
    }

    /// The request from inside the tree that came by `via` is one of `session`, not of whom it was held for.
    pub(super) fn hold_for(&mut self, key: Key, via: u64, session: SessionKey) {
        let Some(context) = self.all.get_mut(&key) else { return };
        let found = context.open.iter_mut().find(|hold| hold.inherited && hold.via == via);
        let Some(hold) = found else { return };
        let before = std::mem::replace(&mut hold.session, session);
        if context.current == Some(before) {
            context.current = Some(session);
        }
        if context.group != 0 {
            context.fresh.push(session);
        }
    }

    /// Another context acts for the session from now on.
    pub(super) fn hand_over(&mut self, sessions: &mut Sessions, session: SessionKey, to: Key, time: u64) {
        let Some(open) = sessions.get(session) else { return };
        let (via, answered) = (open.connection, open.answered);
        self.release(sessions, session);
        let context = self.all.entry(to).or_default();
        context.active = time;
        let hold = Hold { session, via, inherited: false };
        if let Some(open) = sessions.get_mut(session) {
            open.context = Some(to);
            open.hold = context.open.len() as u32;
            open.moved_on = false;
        }
        if answered {
            context.done.push(hold);
            if context.open.is_empty() {
                context.current = Some(session);
            }
        } else {
            context.open.push(hold);
            context.current = Some(session);
            if context.group != 0 {
                context.fresh.push(session);
            }
        }
    }

    /// The session's context acts for it no more.
    pub(super) fn release(&mut self, sessions: &mut Sessions, session: SessionKey) {
        let Some(open) = sessions.get_mut(session) else { return };
        let (Some(key), at) = (open.context.take(), open.hold as usize) else { return };
        let Some(context) = self.all.get_mut(&key) else { return };
        if context.open.get(at).is_some_and(|hold| hold.session == session && !hold.inherited) {
            context.remove(sessions, at);
        } else {
            context.done.retain(|hold| hold.session != session || hold.inherited);
        }
        context.settle_current(sessions, session, None);
    }

    /// The sessions that are answered and for which the context acts no more, as it has turned to something
    /// else. Those that `keeps` asks for stay.
    pub(super) fn move_on(
        &mut self,
        key: Key,
        moved: &mut Vec<SessionKey>,
        keeps: impl Fn(SessionKey) -> bool,
    ) {
        let Some(context) = self.all.get_mut(&key) else { return };
        if context.done.is_empty() {
            return;
        }
        context.done.retain(|hold| {
            let kept = !hold.inherited && keeps(hold.session);
            if !kept && !hold.inherited {
                moved.push(hold.session);
            }
            kept
        });
        if context.open.is_empty() {
            context.current = context.done.last().map(|hold| hold.session);
        }
    }

    /// The context is no more. Returns the sessions that it acted for.
    pub(super) fn end(&mut self, sessions: &mut Sessions, key: Key, ended: &mut Vec<SessionKey>) {
        let Some(context) = self.all.remove(&key) else { return };
        for hold in context.open.iter().chain(&context.done).filter(|hold| !hold.inherited) {
            if let Some(open) = sessions.get_mut(hold.session) {
                open.context = None;
                ended.push(hold.session);
            }
        }
    }

    /// All contexts of a process are no more.
    pub(super) fn process_ended(&mut self, process: u64) {
        self.all.retain(|key, _| key.process != process);
    }

    /// Frees contexts that act for nobody and have done nothing since.
    pub(super) fn free_idle(&mut self, since: u64) {
        self.all.retain(|_, context| {
            !context.open.is_empty() || !context.done.is_empty() || context.active > since
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Context {
    fn answered(&mut self, sessions: &mut Sessions, at: usize, next: Option<SessionKey>) {
        if let Some(hold) = self.remove(sessions, at) {
            self.done.push(hold);
            self.settle_current(sessions, hold.session, next);
        }
    }

    /// Takes an open session out, and corrects what the one that takes its place knows of it.
    fn remove(&mut self, sessions: &mut Sessions, at: usize) -> Option<Hold> {
        if at >= self.open.len() {
            return None;
        }
        let hold = self.open.swap_remove(at);
        if let Some(moved) = self.open.get(at)
            && !moved.inherited
            && let Some(open) = sessions.get_mut(moved.session)
        {
            open.hold = at as u32;
        }
        if self.open.is_empty() {
            self.group = 0;
            self.fresh.clear();
        }
        Some(hold)
    }

    /// `gone` is not open any more: whom does the context act for?
    fn settle_current(&mut self, sessions: &Sessions, gone: SessionKey, next: Option<SessionKey>) {
        if self.current != Some(gone) {
            return;
        }
        let next = next.filter(|next| {
            let at = sessions.get(*next).map(|open| open.hold as usize);
            at.and_then(|at| self.open.get(at)).is_some_and(|hold| hold.session == *next)
        });
        self.current = next
            .or_else(|| self.open.last().map(|hold| hold.session))
            .or_else(|| self.done.last().map(|hold| hold.session));
    }

    /// Puts all open sessions into one overlap group.
    fn group(&mut self, sessions: &mut Sessions, groups: &mut u64) {
        if self.group == 0 {
            let earlier =
                self.open.iter().filter_map(|hold| sessions.get(hold.session)).map(|open| open.group);
            self.group = match earlier.filter(|group| *group != 0).min() {
                Some(group) => group,
                None => {
                    *groups += 1;
                    *groups
                }
            };
            self.fresh.clear();
            self.fresh.extend(self.open.iter().map(|hold| hold.session));
        }
        for session in self.fresh.drain(..) {
            if let Some(open) = sessions.get_mut(session)
                && !open.is_boot()
            {
                open.group = self.group;
            }
        }
    }
}
