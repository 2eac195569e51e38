//! How sessions begin and end.

use super::{
    Config,
    boot::Process,
    connections::{Connection, Direction},
    contexts::{self, Contexts, Owner},
    deeds::Files,
    hash::Map,
    sessions::{Key, Open, Sessions},
    spare::Spare,
};
use crate::model::{Connection as Description, ReturnInbound, Session};
use koala_events::Event;
use koala_protocol::Protocol;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A session whose protocol does not tell where its response ends is over when so long nothing came.
const QUIET: u64 = 700_000_000;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// An answered session waits for the answers of its talks no longer than this.
const TALK_MAX: u64 = 30_000_000_000;

/// Everything but the connections.
pub(super) struct World {
    pub(super) config: Config,
    recorder: String,
    pub(super) sessions: Sessions,
    pub(super) contexts: Contexts,
    pub(super) processes: Map<u64, Process>,
    pub(super) spare: Spare,
    pub(super) files: Files,
    pub(super) delivered: VecDeque<Box<Session>>,
    /// Answered sessions, by when to look at them again.
    waiting: VecDeque<(u64, Key)>,
    numbers: u64,
    /// The second of the last session id, and its digits: the next one is mostly of the same.
    second: (u64, String),
    /// How many connections lack bytes.
    pub(super) gaps: u64,
    /// Where connections came in that are encrypted.
    pub(super) encrypted: BTreeSet<String>,
    /// Kept for its memory.
    scratch: Vec<Key>,
}

/// What a context turned to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Waiting for new work.
    Parked,
    /// The next request.
    Next,
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        Self {
            recorder: format!("-{:x}-", config.recorder),
            config,
            sessions: Sessions::default(),
            contexts: Contexts::default(),
            processes: Map::default(),
            spare: Spare::default(),
            files: Files::default(),
            delivered: VecDeque::new(),
            waiting: VecDeque::new(),
            numbers: 0,
            second: (0, String::new()),
            gaps: 0,
            encrypted: BTreeSet::new(),
            scratch: Vec::new(),
        }
    }

    /// Writes a new session id: the time in 19 digits, the recorder in hex, and a number.
    pub(super) fn write_id(&mut self, time: u64, id: &mut String) {
        self.numbers += 1;
        let mut text = std::mem::take(id).into_bytes();
        text.clear();
        // In room for any number of 64 bits; the time has 19 digits until the year 2286.
        text.reserve(20 + self.recorder.len() + 20);
        let (second, rest) = (time / SECOND, time % SECOND);
        if second != self.second.0 || self.second.1.is_empty() {
            self.second = (second, format!("{second:010}"));
        }
        text.extend_from_slice(self.second.1.as_bytes());
        push_digits(&mut text, rest, 9);
        text.extend_from_slice(self.recorder.as_bytes());
        push_digits(&mut text, self.numbers, 1);
        *id = String::from_utf8(text).unwrap_or_default();
    }

    /// Opens the session of a request (or, where nobody asked, of a response) on an inbound connection.
    pub(super) fn begin(&mut self, connection: &mut Connection, event: &Event<'_>) -> Key {
        self.forget_origin(event.process, event.time);
        self.processes.entry(event.process).or_default().served = true;
        let (key, open) = self.sessions.open(1);
        open.connection = connection.id;
        open.active = event.time;
        let session = &mut open.session;
        let request = session.call_from_inbound.get_or_insert_default();
        request.occurred_at = event.time;
        request.peer.ip.push_str(&connection.peer_model.ip);
        request.peer.port = connection.peer_model.port;
        if !connection.unix.net.is_empty() {
            request.unix_addr = connection.unix.clone();
        }
        request.connection_id = connection.id;
        session.thread_id = event.tid;
        session.process_id = event.process;
        session.pid = event.pid;
        session.incomplete = connection.gap && connection.request.is_none();
        let mut id = std::mem::take(&mut session.session_id);
        self.write_id(event.time, &mut id);
        if let Some(open) = self.sessions.get_mut(key) {
            open.session.session_id = id;
        }
        self.describe(connection, key);
        self.contexts.hold(
            &mut self.sessions,
            contexts::Key::of(event),
            (key, connection.id, false),
            event.time,
        );
        key
    }

    /// Puts what is known of a connection into a session that used it.
    pub(super) fn describe(&mut self, connection: &mut Connection, key: Key) {
        let Some(open) = self.sessions.get_mut(key) else { return };
        let conversation = &connection.conversation;
        let known = conversation.protocol() != Protocol::Raw || conversation.encrypted();
        let described = connection.described == Some((key, open.part));
        if described && known == connection.described_protocol {
            return;
        }
        connection.described = Some((key, open.part));
        connection.described_protocol = known;
        let id = connection.id;
        let comes_in_encrypted = conversation.encrypted() && connection.direction == Direction::Inbound;
        let description = connection.description();
        if comes_in_encrypted && !self.encrypted.contains(&description.local) {
            self.encrypted.insert(description.local.clone());
        }
        match open.connection(id) {
            Some(earlier) => replace(earlier, description),
            None => open.session.connections.push(description.clone()),
        }
    }

    /// A connection ended or lost bytes: the sessions that are using it are told.
    pub(super) fn describe_again(&mut self, connection: &mut Connection) {
        let description = connection.description().clone();
        let using = connection.exchanges.iter().chain(&connection.request).chain(&connection.unasked);
        let described = connection.described.map(|(key, _)| key);
        for key in using.map(|exchange| exchange.session).chain(described) {
            if let Some(open) = self.sessions.get_mut(key)
                && let Some(earlier) = open.connection(connection.id)
            {
                replace(earlier, &description);
            }
        }
    }

    /// Bytes of a connection are missing: the sessions that are using it are not whole.
    pub(super) fn mark_gap(&mut self, connection: &mut Connection) {
        self.gaps += u64::from(!connection.gap_counted);
        connection.gap_counted = true;
        connection.gap = true;
        self.describe_again(connection);
        let using = connection.exchanges.iter().chain(&connection.request).chain(&connection.unasked);
        for exchange in using {
            if let Some(open) = self.sessions.get_mut(exchange.session) {
                open.session.incomplete = true;
            }
        }
    }

    /// The kernel says that bytes of a connection are missing; it does not say where.
    pub(super) fn lacks(&mut self, connection: &mut Connection) {
        self.mark_gap(connection);
        if let Some((key, _)) = connection.described
            && let Some(open) = self.sessions.get_mut(key)
        {
            open.session.incomplete = true;
        }
    }

    /// For whom the sender of this event acts: a session, or the boot session of its process.
    pub(super) fn owner(&mut self, event: &Event<'_>) -> Owner {
        match self.known_owner(event) {
            Some(owner) => owner,
            None => Owner { session: self.boot(event), ambiguous: false },
        }
    }

    /// For whom the sender of this event acts, if for a session.
    pub(super) fn known_owner(&mut self, event: &Event<'_>) -> Option<Owner> {
        let context = contexts::Key::of(event);
        let own = self.contexts.owner(&mut self.sessions, context, event.time);
        if let Some(open) = own.and_then(|own| self.sessions.get_mut(own.session)) {
            open.asked = true;
        }
        own.or_else(|| self.owner_by_origin(event))
    }

    /// Adds bytes to the response of a session.
    pub(super) fn respond(&mut self, key: Key, event: &Event<'_>, bytes: &[u8]) {
        let Some(open) = self.sessions.get_mut(key) else { return };
        open.active = event.time;
        open.size += bytes.len();
        match &mut open.session.return_inbound {
            Some(to) => to.response.extend_from_slice(bytes),
            None => {
                let action_index = open.next_action();
                let mut response = self.spare.response();
                response.extend_from_slice(bytes);
                open.session.return_inbound =
                    Some(ReturnInbound { action_index, occurred_at: event.time, response });
            }
        }
    }

    /// The session's response is complete; `next` is the session that waits behind it on its connection.
    pub(super) fn answered(&mut self, key: Key, next: Option<Key>, time: u64) {
        let Some(open) = self.sessions.get_mut(key) else { return };
        if !open.answered {
            open.answered = true;
            self.contexts.answered(&mut self.sessions, key, next);
        }
        self.try_end(key, time);
    }

    /// Delivers the session if it is over, and sees to it that it is looked at again if time alone tells.
    pub(super) fn try_end(&mut self, key: Key, time: u64) {
        let Some(open) = self.sessions.get_mut(key) else { return };
        if !open.answered {
            return;
        }
        if open.talks == 0 && open.moved_on && !open.soft && open.made == 0 {
            self.deliver(key);
        } else if !open.queued {
            open.queued = true;
            self.waiting.push_back((time.saturating_add(self.config.grace), key));
            // Most have been delivered since by other ways; so the queue stays short without being searched.
            for _ in 0..2 {
                match self.waiting.front() {
                    Some((_, key)) if self.sessions.get(*key).is_none() => self.waiting.pop_front(),
                    _ => break,
                };
            }
        }
    }

    /// The context turned to something else: sessions that it has answered are over.
    pub(super) fn move_on(&mut self, context: contexts::Key, time: u64, moved: Moved) {
        let mut over = std::mem::take(&mut self.scratch);
        let sessions = &self.sessions;
        self.contexts.move_on(context, &mut over, |key| {
            // One that parks may be about to send more of a response whose end nothing tells.
            moved == Moved::Parked && sessions.get(key).is_some_and(|open| open.soft)
        });
        for key in over.drain(..) {
            self.moved_on(key, time);
        }
        self.scratch = over;
    }

    fn moved_on(&mut self, key: Key, time: u64) {
        if let Some(open) = self.sessions.get_mut(key) {
            open.moved_on = true;
            open.context = None;
            self.try_end(key, time);
        }
    }

    /// The thread is no more.
    pub(super) fn context_ended(&mut self, context: contexts::Key, time: u64) {
        let mut ended = std::mem::take(&mut self.scratch);
        self.contexts.end(&mut self.sessions, context, &mut ended);
        for key in ended.drain(..) {
            self.moved_on(key, time);
        }
        self.scratch = ended;
    }

    /// Hands the session out as it is.
    pub(super) fn deliver(&mut self, key: Key) {
        self.contexts.release(&mut self.sessions, key);
        let Some(open) = self.sessions.get_mut(key) else { return };
        if open.group != 0 {
            open.session.overlap_group = format!("overlap{}{}", self.recorder, open.group);
        }
        if let Some(session) = self.sessions.close(&mut self.spare, key) {
            self.delivered.push_back(session);
        }
    }

    /// The next session that is over.
    pub(super) fn pop(&mut self) -> Option<Box<Session>> {
        self.delivered.pop_front()
    }

    /// Delivers what time alone decides.
    pub(super) fn tick(&mut self, now: u64) {
        let again = now.saturating_add(self.config.grace.max(1));
        while let Some(&(due, key)) = self.waiting.front()
            && due <= now
        {
            self.waiting.pop_front();
            let Some(open) = self.sessions.get(key) else { continue };
            let wait = match open {
                open if open.talks > 0 => TALK_MAX,
                open if open.soft => QUIET.max(self.config.grace),
                _ => self.config.grace,
            };
            if open.active.saturating_add(wait) <= now {
                self.deliver(key);
            } else {
                self.waiting.push_back((again, key));
            }
        }
    }

    /// Delivers the open sessions for which `which` holds, whatever they wait for.
    pub(super) fn deliver_all(&mut self, which: impl Fn(&Open) -> bool) {
        let mut keys: Vec<_> = self
            .sessions
            .keys()
            .filter(|(_, open)| which(open))
            .map(|(key, open)| (open.session.session_id.clone(), key))
            .collect();
        keys.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for (_, key) in keys {
            match self.sessions.get_mut(key) {
                Some(open) if open.is_boot() => self.end_boot(key),
                Some(open) => {
                    open.session.incomplete |= !open.answered;
                    self.deliver(key);
                }
                None => {}
            }
        }
    }
}

/// Replaces the description that a session has of a connection. What it lacks of one, it lacks for ever.
fn replace(earlier: &mut Arc<Description>, description: &Arc<Description>) {
    let gap = earlier.gap;
    earlier.clone_from(description);
    if gap && !earlier.gap {
        Arc::make_mut(earlier).gap = true;
    }
}

/// Appends a number in at least so many digits.
fn push_digits(text: &mut Vec<u8>, mut number: u64, least: usize) {
    const PAIRS: [[u8; 2]; 100] = pairs();
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    for pair in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *pair = PAIRS[(number % 100) as usize];
        from -= if number < 10 { 1 } else { 2 };
        number /= 100;
    }
    let from = from.min(digits.len() - least);
    text.extend_from_slice(digits.get(from..).unwrap_or_default());
}

const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
}
