//! Inbound connections: requests become sessions.

use super::{
    connections::{Connection, Exchange},
    contexts,
    lifecycle::{Moved, World},
    sessions::Key,
};
use koala_events::Event;
use koala_protocol::End;

impl World {
    /// Bytes of a request arrived. `outer` is the session of who sent them, where that is in the tree.
    pub(super) fn request_received(
        &mut self,
        connection: &mut Connection,
        event: &Event<'_>,
        outer: Option<Key>,
    ) {
        let context = contexts::Key::of(event);
        let mut rest = event.payload;
        while !rest.is_empty() {
            let part = connection.conversation.request(rest);
            let (bytes, after) = rest.split_at(part.length.clamp(1, rest.len()));
            rest = after;
            if part.ends_earlier {
                self.inbound_ended(connection, event.time);
            }
            let known = connection.request.filter(|exchange| self.sessions.get(exchange.session).is_some());
            let exchange = match known {
                Some(exchange) if !part.begins => exchange,
                _ => self.begin_exchange(connection, event, outer),
            };
            if exchange.inherited {
                continue;
            }
            let key = exchange.session;
            let Some(open) = self.sessions.get_mut(key) else { continue };
            open.active = event.time;
            open.size += bytes.len();
            open.session.call_from_inbound.get_or_insert_default().request.extend_from_slice(bytes);
            open.request_ended |= part.ends;
            open.response_ended |= part.unanswered;
            let answered = open.request_ended && open.response_ended;
            if open.context != Some(context) && open.session.return_inbound.is_none() {
                self.contexts.hand_over(&mut self.sessions, key, context, event.time);
            }
            self.describe(connection, key);
            if part.unanswered {
                connection.exchanges.pop_back();
            }
            if answered {
                self.answered(key, None, event.time);
            }
        }
    }

    fn begin_exchange(
        &mut self,
        connection: &mut Connection,
        event: &Event<'_>,
        outer: Option<Key>,
    ) -> Exchange {
        let context = contexts::Key::of(event);
        self.move_on(context, event.time, Moved::Next);
        if !connection.conversation.is_raw() {
            // What was lost was of earlier requests.
            connection.gap = false;
        }
        let inherited = outer.filter(|outer| self.sessions.get(*outer).is_some());
        let session = match inherited {
            Some(outer) => {
                connection.server = Some(context);
                let held = (outer, connection.id, true);
                self.contexts.hold(&mut self.sessions, context, held, event.time);
                outer
            }
            None => self.begin(connection, event),
        };
        let exchange = Exchange { session, action: 0, settled: false, inherited: inherited.is_some() };
        connection.exchanges.push_back(exchange);
        connection.request = Some(exchange);
        exchange
    }

    /// The request under way was taken for one of another session of the tree.
    pub(super) fn request_is_of(&mut self, connection: &mut Connection, outer: Key) {
        let Connection { exchanges, request, server, id, .. } = connection;
        let (Some(exchange), Some(context)) = (exchanges.back_mut(), *server) else { return };
        if exchange.inherited && self.sessions.get(outer).is_some() {
            exchange.session = outer;
            *request = Some(*exchange);
            self.contexts.hold_for(context, *id, outer);
        }
    }

    /// Bytes of a response were sent.
    pub(super) fn response_sent(&mut self, connection: &mut Connection, event: &Event<'_>) {
        let context = contexts::Key::of(event);
        let mut rest = event.payload;
        while !rest.is_empty() {
            let part = connection.conversation.response(rest);
            let (bytes, after) = rest.split_at(part.length.clamp(1, rest.len()));
            rest = after;
            let raw = connection.conversation.is_raw() && !part.ends;
            let place = if part.unasked { connection.unasked } else { connection.exchanges.front().copied() };
            let known = place.filter(|exchange| {
                !(part.unasked && part.begins) && self.sessions.get(exchange.session).is_some()
            });
            let exchange = match known {
                Some(exchange) => exchange,
                // Nobody asked, or who asked has ended: a session with an empty request.
                None => self.begin_unasked(connection, event, part.unasked),
            };
            if exchange.inherited {
                if raw || part.ends {
                    let server = connection.server.unwrap_or(context);
                    self.contexts.answered_inherited(&mut self.sessions, server, connection.id);
                }
                if part.ends {
                    connection.exchanges.pop_front();
                }
                continue;
            }
            let key = exchange.session;
            if self.sessions.get(key).is_some_and(|open| open.context != Some(context)) {
                self.contexts.hand_over(&mut self.sessions, key, context, event.time);
            }
            self.respond(key, event, bytes);
            let Some(open) = self.sessions.get_mut(key) else { continue };
            open.response_ended |= part.ends;
            open.soft = raw;
            let answered = raw || (open.response_ended && open.request_ended);
            if part.ends && !part.unasked {
                connection.exchanges.pop_front();
            }
            if answered {
                let next = connection.exchanges.front().map(|exchange| exchange.session);
                self.answered(key, next, event.time);
            }
        }
    }

    fn begin_unasked(&mut self, connection: &mut Connection, event: &Event<'_>, unasked: bool) -> Exchange {
        let session = self.begin(connection, event);
        if let Some(open) = self.sessions.get_mut(session) {
            open.request_ended = true;
        }
        let exchange = Exchange { session, action: 0, settled: false, inherited: false };
        connection.put(exchange, unasked);
        exchange
    }

    /// What was under way on the connection is complete: the direction has changed, or the protocol.
    fn inbound_ended(&mut self, connection: &mut Connection, time: u64) {
        while let Some(exchange) = connection.exchanges.pop_front().or_else(|| connection.unasked.take()) {
            self.exchange_ended(connection, exchange, time);
        }
    }

    fn exchange_ended(&mut self, connection: &Connection, exchange: Exchange, time: u64) {
        if exchange.inherited {
            if let Some(server) = connection.server {
                self.contexts.answered_inherited(&mut self.sessions, server, connection.id);
            }
        } else if let Some(open) = self.sessions.get_mut(exchange.session) {
            open.soft = false;
            open.request_ended = true;
            open.response_ended = true;
            self.answered(exchange.session, None, time);
        }
    }

    /// The peer sends no more.
    pub(super) fn inbound_peer_ended(&mut self, connection: &mut Connection, end: &'static str, time: u64) {
        connection.end = end;
        self.describe_again(connection);
        if connection.conversation.is_raw() {
            for exchange in connection.exchanges.iter().chain(&connection.unasked) {
                if let Some(open) = self.sessions.get_mut(exchange.session)
                    && !exchange.inherited
                    && open.answered
                {
                    open.soft = false;
                    self.try_end(exchange.session, time);
                }
            }
        }
    }

    /// The peer has its response, and sends nothing for now.
    pub(super) fn settle(&mut self, connection: &Connection, time: u64) {
        if !connection.conversation.is_raw() {
            return;
        }
        for exchange in connection.exchanges.iter().filter(|exchange| !exchange.inherited) {
            if let Some(open) = self.sessions.get_mut(exchange.session).filter(|open| open.answered) {
                open.soft = false;
                open.moved_on = true;
                self.try_end(exchange.session, time);
            }
        }
    }

    /// The program sends no more on an inbound connection.
    pub(super) fn inbound_shut(&mut self, connection: &mut Connection, time: u64) {
        if connection.conversation.response_end() == End::Complete {
            // Raw, the exchange stays to take what may still arrive of its request.
            let exchange = match connection.conversation.is_raw() {
                true => connection.exchanges.front().copied().or(connection.unasked),
                false => connection.exchanges.pop_front(),
            };
            if let Some(exchange) = exchange {
                self.exchange_ended(connection, exchange, time);
            }
        }
    }

    /// The program closed an inbound connection.
    pub(super) fn inbound_closed(&mut self, connection: &mut Connection, time: u64) {
        if connection.end.is_empty() {
            connection.end = "closed";
        }
        self.describe_again(connection);
        let partial = connection.conversation.request_open();
        let last = connection.request.take();
        if partial && let Some(open) = last.and_then(|last| self.sessions.get_mut(last.session)) {
            open.session.incomplete |= open.session.return_inbound.is_none();
        }
        // A response that the program itself leaves off is what it does, and will do again.
        let by_peer = connection.end != "closed";
        if by_peer
            && connection.conversation.response_end() == End::Cut
            && let Some(first) = connection.exchanges.front().filter(|first| !first.inherited)
            && let Some(open) = self.sessions.get_mut(first.session)
        {
            open.session.incomplete |= open.session.return_inbound.is_some() && !open.response_ended;
        }
        let unasked = connection.unasked.take();
        let under_way = std::mem::take(&mut connection.exchanges);
        for exchange in under_way.into_iter().chain(unasked).chain(last) {
            if let Some(open) = self.sessions.get_mut(exchange.session)
                && !exchange.inherited
            {
                open.moved_on = true;
            }
            self.exchange_ended(connection, exchange, time);
        }
    }
}
