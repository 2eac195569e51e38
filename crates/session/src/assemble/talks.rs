//! Outbound connections: bytes become talks.

use super::{
    connections::{Connection, Exchange},
    contexts::{self, Owner},
    errno,
    lifecycle::World,
};
use koala_events::Event;
use koala_protocol::End;

/// A talk of a boot session with a longer answer goes on as another talk in the next part.
const ANSWER_MAX: usize = 16 << 20;

impl World {
    /// Bytes of a request were sent.
    pub(super) fn request_sent(&mut self, connection: &mut Connection, event: &Event<'_>) {
        let context = contexts::Key::of(event);
        let mut owner = self.owner_of_call(event);
        if owner.ambiguous
            && connection.request.is_none()
            && let Some(opener) = connection.sender
            && self.sessions.get(opener).is_some_and(|open| !open.answered && open.context == Some(context))
        {
            // What is sent first on a connection is what it was opened for.
            owner.session = opener;
        }
        connection.sender = Some(owner.session);
        connection.connecting = false;
        let mut rest = event.payload;
        while !rest.is_empty() {
            let part = connection.conversation.request(rest);
            let (bytes, after) = rest.split_at(part.length.clamp(1, rest.len()));
            rest = after;
            if part.ends_earlier {
                self.end_talks(connection, "", event.time);
            }
            let mut begins = part.begins;
            let mut owner = owner;
            if !begins
                && connection.conversation.is_raw()
                && connection.request.is_some_and(|exchange| exchange.session != owner.session)
            {
                // Two sessions on one connection, and no protocol to tell their answers apart.
                begins = true;
                owner.ambiguous = true;
                self.split(connection, event.time);
            }
            let mut exchange = match connection.request {
                Some(exchange) if !begins && self.call_is_open(exchange) => exchange,
                _ => {
                    let exchange = self.begin_talk(connection, event, owner, true);
                    connection.exchanges.push_back(exchange);
                    exchange
                }
            };
            if let Some(open) = self.sessions.get_mut(exchange.session) {
                open.active = event.time;
                open.size += bytes.len();
                if let Some(call) = open.call(exchange.action) {
                    call.request.extend_from_slice(bytes);
                }
            }
            self.describe(connection, exchange.session);
            if part.unanswered {
                connection.exchanges.pop_back();
                self.talk_ended(&mut exchange, event.time);
            }
            connection.request = Some(exchange);
            self.boot_grew(exchange.session, event.time);
        }
    }

    fn call_is_open(&mut self, exchange: Exchange) -> bool {
        self.sessions.get_mut(exchange.session).is_some_and(|open| open.call(exchange.action).is_some())
    }

    /// Adds a talk to the session.
    fn begin_talk(
        &mut self,
        connection: &mut Connection,
        event: &Event<'_>,
        owner: Owner,
        asked: bool,
    ) -> Exchange {
        if asked && !connection.conversation.is_raw() {
            // What was lost was of earlier talks.
            connection.gap = false;
        }
        let mut call = self.spare.call();
        let mut action = 0;
        if let Some(open) = self.sessions.get_mut(owner.session) {
            action = open.next_action();
            call.action_index = action;
            call.occurred_at = event.time;
            call.socket_fd = event.fd;
            call.peer.ip.push_str(&connection.peer_model.ip);
            call.peer.port = connection.peer_model.port;
            if !connection.unix.net.is_empty() {
                call.unix_addr = connection.unix.clone();
            }
            call.connection_id = connection.id;
            call.thread_id = if event.tid == open.session.thread_id { 0 } else { event.tid };
            call.ambiguous = owner.ambiguous;
            open.active = event.time;
            open.talks += u32::from(asked);
            open.push_call(call);
        }
        self.describe(connection, owner.session);
        Exchange { session: owner.session, action, settled: !asked, inherited: false }
    }

    /// What was sent up to here on a connection without protocol is a talk of its own; it has no answer.
    fn split(&mut self, connection: &mut Connection, time: u64) {
        for mut exchange in std::mem::take(&mut connection.exchanges) {
            if let Some(open) = self.sessions.get_mut(exchange.session)
                && let Some(call) = open.call(exchange.action)
                && call.response_time == 0
            {
                call.ambiguous = true;
            }
            self.talk_ended(&mut exchange, time);
        }
    }

    /// Bytes of a response arrived.
    pub(super) fn response_received(&mut self, connection: &mut Connection, event: &Event<'_>) {
        let context = contexts::Key::of(event);
        connection.connecting = false;
        let mut rest = event.payload;
        while !rest.is_empty() {
            let part = connection.conversation.response(rest);
            let (bytes, after) = rest.split_at(part.length.clamp(1, rest.len()));
            rest = after;
            let place = if part.unasked { connection.unasked } else { connection.exchanges.front().copied() };
            let known =
                place.filter(|exchange| !(part.unasked && part.begins) && self.call_is_open(*exchange));
            let mut exchange = match known {
                Some(exchange) => exchange,
                None => {
                    if let Some(mut exchange) = place {
                        self.talk_ended(&mut exchange, event.time);
                    }
                    let owner = self.unasked_owner(connection, event, part.unasked);
                    let exchange = self.begin_talk(connection, event, owner, false);
                    connection.put(exchange, part.unasked);
                    exchange
                }
            };
            let key = exchange.session;
            let raw = connection.conversation.is_raw() && !part.ends;
            let Some(open) = self.sessions.get_mut(key) else { continue };
            let here = open.context == Some(context) && !open.answered;
            open.active = event.time;
            open.size += bytes.len();
            let boot = open.is_boot();
            if let Some(call) = open.call(exchange.action) {
                if call.response_time == 0 {
                    call.response_time = event.time;
                }
                call.response.extend_from_slice(bytes);
                if raw || (boot && call.response.len() > ANSWER_MAX) {
                    open.soften(exchange.action);
                }
            }
            if here {
                self.contexts.arrived(context, key);
            }
            if part.ends {
                if !part.unasked {
                    connection.exchanges.pop_front();
                }
                self.talk_ended(&mut exchange, event.time);
            } else if raw && !exchange.settled {
                // It may be complete: the session does not wait for it any more.
                self.unwait(&mut exchange, event.time);
                connection.put(exchange, part.unasked);
            }
            self.boot_grew(key, event.time);
        }
    }

    /// Whose is a response that nobody asked for, or that comes after the session that asked was delivered?
    fn unasked_owner(&mut self, connection: &Connection, event: &Event<'_>, unasked: bool) -> Owner {
        let sender = connection.sender.filter(|key| unasked && self.sessions.get(*key).is_some());
        let current = || self.acting_for(contexts::Key::of(event));
        let live = sender.or_else(current).filter(|key| self.sessions.get(*key).is_some());
        Owner { session: live.unwrap_or_else(|| self.boot(event)), ambiguous: false }
    }

    /// The session does not wait for this talk any more.
    fn unwait(&mut self, exchange: &mut Exchange, time: u64) {
        if std::mem::replace(&mut exchange.settled, true) {
            return;
        }
        if let Some(open) = self.sessions.get_mut(exchange.session) {
            open.talks = open.talks.saturating_sub(1);
            if open.talks == 0 {
                self.try_end(exchange.session, time);
            }
        }
    }

    /// The talk will not change any more.
    fn talk_ended(&mut self, exchange: &mut Exchange, time: u64) {
        if let Some(open) = self.sessions.get_mut(exchange.session) {
            open.settle(exchange.action);
        }
        self.unwait(exchange, time);
    }

    /// All talks of the connection are complete, or, with an `error`, have no (whole) answer.
    fn end_talks(&mut self, connection: &mut Connection, error: &str, time: u64) {
        while let Some(mut exchange) = connection.exchanges.pop_front().or_else(|| connection.unasked.take())
        {
            if !error.is_empty()
                && let Some(open) = self.sessions.get_mut(exchange.session)
                && let Some(call) = open.call(exchange.action)
            {
                error.clone_into(&mut call.error);
            }
            self.talk_ended(&mut exchange, time);
        }
    }

    /// The peer sends no more.
    pub(super) fn outbound_peer_ended(&mut self, connection: &mut Connection, time: u64) {
        if connection.end.is_empty() {
            connection.end = "peer-closed";
        }
        self.describe_again(connection);
        if connection.conversation.response_end() == End::Complete
            && let Some(mut exchange) = connection.exchanges.pop_front().or_else(|| connection.unasked.take())
        {
            self.talk_ended(&mut exchange, time);
        }
        self.end_talks(connection, "EOF", time);
    }

    /// A send or receive failed, and with it the connection.
    pub(super) fn outbound_failed(&mut self, connection: &mut Connection, event: &Event<'_>) {
        if !errno::is_fatal(event.result) {
            return;
        }
        if connection.connecting {
            self.connect_failed(connection, event);
            return;
        }
        connection.end = "reset";
        self.describe_again(connection);
        self.end_talks(connection, errno::name(event.result), event.time);
    }

    /// The program closed the connection, or can't use it any more.
    pub(super) fn outbound_closed(&mut self, connection: &mut Connection, time: u64) {
        let complete = connection.conversation.response_end() == End::Complete;
        if connection.end.is_empty() {
            connection.end = "closed";
        }
        self.describe_again(connection);
        if complete
            && let Some(mut exchange) = connection.exchanges.pop_front().or_else(|| connection.unasked.take())
        {
            self.talk_ended(&mut exchange, time);
        }
        self.end_talks(connection, "closed", time);
    }

    /// A connection was opened, or is being opened.
    pub(super) fn connected(&mut self, connection: &mut Connection, event: &Event<'_>) {
        connection.sender = self.opener(event);
        connection.connecting = event.result != 0;
    }

    /// A connect failed.
    pub(super) fn connect_failed(&mut self, connection: &mut Connection, event: &Event<'_>) {
        connection.connecting = false;
        connection.end = errno::name(event.result);
        let owner = match connection.sender.filter(|key| self.sessions.get(*key).is_some()) {
            // Another thread may be the one that learns of it.
            Some(session) => Owner { session, ambiguous: false },
            None => self.owner_of_call(event),
        };
        let mut exchange = self.begin_talk(connection, event, owner, false);
        if let Some(call) = self.sessions.get_mut(owner.session).and_then(|open| open.call(exchange.action)) {
            connection.end.clone_into(&mut call.error);
        }
        self.describe_again(connection);
        self.talk_ended(&mut exchange, event.time);
    }
}
