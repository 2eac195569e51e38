//! The session as JSON in the shape of Go's `json.MarshalIndent`.

use super::{bytes, trace_header};
use crate::model::{
    Action, CallFromInbound, CallOutbound, Connection, FieldScore, Matched, Peer, ResolveName, ReturnInbound,
    RunnerUp, Session, UnixAddr,
};

pub(super) fn session(session: &Session) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.text("Context", &session.context);
        json.number("ThreadId", session.thread_id.cast_signed());
        json.text("SessionId", &session.session_id);
        let shown = trace_header(json, session.trace_header.as_deref());
        json.text("NextSessionId", &session.next_session_id);
        match &session.call_from_inbound {
            Some(call) => json.member("CallFromInbound", |json| call_from_inbound(json, call)),
            None => json.null("CallFromInbound"),
        }
        match &session.return_inbound {
            Some(response) => json.member("ReturnInbound", |json| return_inbound(json, response)),
            None => json.null("ReturnInbound"),
        }
        let listed = listed(session);
        let return_at = return_position(session, &listed);
        actions(json, session, &listed, return_at);
        json.bytes("TraceId", session.trace_id.as_bytes());
        json.bytes("SpanId", session.span_id.as_bytes());
        let mut extension = Json { depth: json.depth + 1, ..Json::default() };
        self::extension(&mut extension, session, &listed, shown, return_at);
        json.embed("Extension", extension);
    });
    json.out
}

/// The actions that 1.x knows.
fn listed(session: &Session) -> Vec<&Action> {
    session.actions.iter().filter(|action| !matches!(action, Action::ResolveName(_))).collect()
}

/// Where among `Actions` the response is listed; `None` where there is no response.
fn return_position(session: &Session, listed: &[&Action]) -> Option<usize> {
    let response = session.return_inbound.as_ref()?;
    let later = |action: &&Action| action.action_index() > response.action_index;
    Some(listed.iter().position(later).unwrap_or(listed.len()))
}

/// Writes the member `TraceHeader`, and tells whether it says all of the header.
fn trace_header(json: &mut Json, header: Option<&[u8]>) -> bool {
    let Some(header) = header else {
        json.null("TraceHeader");
        return true;
    };
    let Some(pairs) = trace_header::pairs(header) else {
        json.null("TraceHeader");
        return false;
    };
    json.member("TraceHeader", |json| {
        json.object(|json| {
            for (key, value) in pairs {
                json.line();
                bytes::write(key, &mut json.out);
                json.out.push_str(": ");
                bytes::write(value, &mut json.out);
            }
        });
    });
    true
}

fn call_from_inbound(json: &mut Json, call: &CallFromInbound) {
    json.object(|json| {
        head(json, "CallFromInbound", call.action_index, call.occurred_at);
        peer(json, &call.peer);
        unix_addr(json, &call.unix_addr);
        json.bytes("Request", &call.request);
    });
}

fn return_inbound(json: &mut Json, response: &ReturnInbound) {
    json.object(|json| {
        head(json, "ReturnInbound", response.action_index, response.occurred_at);
        json.bytes("Response", &response.response);
    });
}

fn actions(json: &mut Json, session: &Session, listed: &[&Action], return_at: Option<usize>) {
    if listed.is_empty() && return_at.is_none() {
        // A list that nothing was appended to is Go's `nil`.
        return json.null("Actions");
    }
    let response = return_at.zip(session.return_inbound.as_ref());
    json.member("Actions", |json| {
        json.list(|json| {
            // One step past the last action, for a response that comes behind all.
            for position in 0..=listed.len() {
                if let Some((at, response)) = response
                    && at == position
                {
                    json.item(|json| return_inbound(json, response));
                }
                if let Some(action) = listed.get(position) {
                    json.item(|json| self::action(json, action));
                }
            }
        });
    });
}

fn action(json: &mut Json, action: &Action) {
    json.object(|json| match action {
        Action::CallOutbound(call) => {
            head(json, "CallOutbound", call.action_index, call.occurred_at);
            json.number("SocketFD", call.socket_fd);
            peer(json, &call.peer);
            json.number("ResponseTime", call.response_time);
            unix_addr(json, &call.unix_addr);
            json.bytes("Request", &call.request);
            json.bytes("Response", &call.response);
            json.bytes("CSpanId", call.c_span_id.as_bytes());
        }
        Action::SendUdp(send) => {
            head(json, "SendUDP", send.action_index, send.occurred_at);
            peer(json, &send.peer);
            json.bytes("Content", &send.content);
        }
        Action::AppendFile(append) => {
            head(json, "AppendFile", append.action_index, append.occurred_at);
            json.text("FileName", &append.file_name);
            json.bytes("Content", &append.content);
        }
        Action::ReadStorage(read) => {
            head(json, "ReadStorage", read.action_index, read.occurred_at);
            json.bytes("Content", &read.content);
        }
        // Not listed: 1.x has no such action.
        Action::ResolveName(_) => {}
    });
}

fn head(json: &mut Json, action_type: &str, action_index: u32, occurred_at: u64) {
    json.number("ActionIndex", action_index);
    json.number("OccurredAt", occurred_at);
    json.text("ActionType", action_type);
}

fn peer(json: &mut Json, peer: &Peer) {
    json.member("Peer", |json| {
        json.object(|json| {
            json.text("IP", &peer.ip);
            json.number("Port", peer.port);
            json.text("Zone", &peer.zone);
        });
    });
}

fn unix_addr(json: &mut Json, addr: &UnixAddr) {
    json.member("UnixAddr", |json| {
        json.object(|json| {
            json.text("Name", &addr.name);
            json.text("Net", &addr.net);
        });
    });
}

/// The members of `Extension`. What is empty, zero or false is left out.
fn extension(
    json: &mut Json,
    session: &Session,
    listed: &[&Action],
    header_shown: bool,
    return_at: Option<usize>,
) {
    if let Some(header) = session.trace_header.as_deref()
        && !header_shown
    {
        json.bytes("TraceHeader", header);
    }
    json.number_unless_zero("ProcessId", session.process_id);
    json.number_unless_zero("Pid", session.pid.into());
    if !session.connections.is_empty() {
        json.member("Connections", |json| {
            json.list(|json| {
                for connection in &session.connections {
                    json.item(|json| self::connection(json, connection));
                }
            });
        });
    }
    json.text_unless_empty("OverlapGroup", &session.overlap_group);
    json.flag_if_set("Incomplete", session.incomplete);
    if let Some(call) = &session.call_from_inbound
        && call.connection_id != 0
    {
        json.member("CallFromInbound", |json| {
            json.object(|json| json.number("ConnectionId", call.connection_id));
        });
    }
    let mut actions = Json { depth: json.depth + 1, ..Json::default() };
    for (index, action) in listed.iter().enumerate() {
        let mut members = Json { depth: actions.depth + 1, ..Json::default() };
        action_extension(&mut members, action);
        if members.out.is_empty() {
            continue;
        }
        let behind_return = return_at.is_some_and(|at| index >= at);
        actions.item(|json| {
            json.object(|json| {
                json.number("Position", index + usize::from(behind_return));
                json.append(members);
            });
        });
    }
    if !actions.out.is_empty() {
        json.member("Actions", |json| json.list(|json| json.append(actions)));
    }
    if listed.len() < session.actions.len() {
        json.member("ResolveNames", |json| {
            json.list(|json| {
                for (index, action) in session.actions.iter().enumerate() {
                    if let Action::ResolveName(lookup) = action {
                        json.item(|json| resolve_name(json, index, lookup));
                    }
                }
            });
        });
    }
}

/// `index` is its place among all actions of the session.
fn resolve_name(json: &mut Json, index: usize, lookup: &ResolveName) {
    json.object(|json| {
        json.number("Position", index);
        json.number("ActionIndex", lookup.action_index);
        json.number("OccurredAt", lookup.occurred_at);
        json.text_unless_empty("Name", &lookup.name);
        json.text_unless_empty("Address", &lookup.address);
        json.text_unless_empty("Service", &lookup.service);
        json.text_unless_empty("Family", &lookup.family);
        json.texts_unless_empty("Addresses", &lookup.addresses);
        json.text_unless_empty("CanonicalName", &lookup.canonical_name);
        json.text_unless_empty("Error", &lookup.error);
        json.flag_if_set("Ambiguous", lookup.ambiguous);
    });
}

fn action_extension(json: &mut Json, action: &Action) {
    match action {
        Action::CallOutbound(call) => call_extension(json, call),
        Action::SendUdp(send) => {
            if send.unix_addr != UnixAddr::default() {
                unix_addr(json, &send.unix_addr);
            }
            json.flag_if_set("Ambiguous", send.ambiguous);
        }
        Action::AppendFile(append) => {
            json.flag_if_set("Ambiguous", append.ambiguous);
            json.flag_if_set("Gap", append.gap);
        }
        Action::ReadStorage(_) | Action::ResolveName(_) => {}
    }
}

fn call_extension(json: &mut Json, call: &CallOutbound) {
    json.number_unless_zero("ConnectionId", call.connection_id);
    json.number_unless_zero("ThreadId", call.thread_id.into());
    json.flag_if_set("Ambiguous", call.ambiguous);
    json.text_unless_empty("Error", &call.error);
    if !call.datagrams.is_empty() {
        json.member("Datagrams", |json| {
            json.list(|json| {
                for size in &call.datagrams {
                    json.item(|json| json.out.push_str(&size.to_string()));
                }
            });
        });
    }
    if let Some(matched) = &call.matched {
        json.member("Matched", |json| json.object(|json| self::matched(json, matched)));
    }
}

fn matched(json: &mut Json, matched: &Matched) {
    json.text_unless_empty("SessionId", &matched.session_id);
    json.number("ActionIndex", matched.action_index);
    json.float("Mark", matched.mark);
    json.text_unless_empty("Reason", &matched.reason);
    json.number("NearestActionIndex", matched.nearest_action_index);
    json.texts_unless_empty("Differences", &matched.differences);
    if !matched.fields.is_empty() {
        json.member("Fields", |json| {
            json.list(|json| {
                for FieldScore { name, weight, score } in &matched.fields {
                    json.item(|json| {
                        json.object(|json| {
                            json.text("Name", name);
                            json.float("Weight", *weight);
                            json.float("Score", *score);
                        });
                    });
                }
            });
        });
    }
    if let Some(RunnerUp { session_id, action_index, mark }) = &matched.runner_up {
        json.member("RunnerUp", |json| {
            json.object(|json| {
                json.text_unless_empty("SessionId", session_id);
                json.number("ActionIndex", action_index);
                json.float("Mark", *mark);
            });
        });
    }
}

fn connection(json: &mut Json, connection: &Connection) {
    json.object(|json| {
        json.number("ConnectionId", connection.connection_id);
        json.text_unless_empty("Direction", &connection.direction);
        json.text_unless_empty("Kind", &connection.kind);
        json.text_unless_empty("Local", &connection.local);
        json.text_unless_empty("Peer", &connection.peer);
        json.text_unless_empty("Protocol", &connection.protocol);
        json.flag_if_set("Encrypted", connection.encrypted);
        json.text_unless_empty("ServerName", &connection.server_name);
        json.text_unless_empty("End", &connection.end);
        json.flag_if_set("Gap", connection.gap);
    });
}

/// JSON being written; `out` may also be the inside of an object or list, to be put into one later.
#[derive(Default)]
struct Json {
    out: String,
    depth: usize,
    /// Something stands already in the innermost object or list.
    begun: bool,
}

impl Json {
    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.container('{', '}', members);
    }

    fn list(&mut self, items: impl FnOnce(&mut Self)) {
        self.container('[', ']', items);
    }

    fn container(&mut self, open: char, close: char, inside: impl FnOnce(&mut Self)) {
        let outer = self.open(open);
        inside(self);
        self.close(close, outer);
    }

    /// Begins an object or a list. What is around every member of every type is a function, for the size of what a
    /// browser loads.
    #[inline(never)]
    fn open(&mut self, bracket: char) -> bool {
        self.out.push(bracket);
        self.depth += 1;
        std::mem::replace(&mut self.begun, false)
    }

    #[inline(never)]
    fn close(&mut self, bracket: char, outer: bool) {
        self.depth -= 1;
        if self.begun {
            self.indent();
        }
        self.out.push(bracket);
        self.begun = outer;
    }

    fn indent(&mut self) {
        self.out.push('\n');
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
    }

    /// Begins the next member or item.
    #[inline(never)]
    fn line(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(',');
        }
        self.indent();
    }

    fn item(&mut self, value: impl FnOnce(&mut Self)) {
        self.line();
        value(self);
    }

    fn member(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.name(name);
        value(self);
    }

    #[inline(never)]
    fn name(&mut self, name: &str) {
        self.line();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\": ");
    }

    /// Appends members or items that were written apart.
    fn append(&mut self, inside: Self) {
        if !inside.out.is_empty() {
            if std::mem::replace(&mut self.begun, true) {
                self.out.push(',');
            }
            self.out.push_str(&inside.out);
        }
    }

    /// A member that is an object of members written apart; left out where there are none.
    fn embed(&mut self, name: &str, members: Self) {
        if !members.out.is_empty() {
            self.member(name, |json| json.object(|json| json.append(members)));
        }
    }

    fn null(&mut self, name: &str) {
        self.member(name, |json| json.out.push_str("null"));
    }

    fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.shown(name, &number);
    }

    #[inline(never)]
    fn shown(&mut self, name: &str, number: &dyn std::fmt::Display) {
        use std::fmt::Write;
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{number}");
    }

    #[inline(never)]
    fn text(&mut self, name: &str, text: &str) {
        self.member(name, |json| bytes::write_text(text, &mut json.out));
    }

    #[inline(never)]
    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.member(name, |json| bytes::write(value, &mut json.out));
    }

    fn float(&mut self, name: &str, number: f64) {
        if number.is_finite() {
            self.number(name, format_args!("{number:?}"));
        } else {
            // JSON has no such numbers.
            self.text(name, &number.to_string());
        }
    }

    fn number_unless_zero(&mut self, name: &str, number: u64) {
        if number != 0 {
            self.number(name, number);
        }
    }

    #[inline(never)]
    fn text_unless_empty(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    fn texts_unless_empty(&mut self, name: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.member(name, |json| {
                json.list(|json| {
                    for text in texts {
                        json.item(|json| bytes::write_text(text, &mut json.out));
                    }
                });
            });
        }
    }

    #[inline(never)]
    fn flag_if_set(&mut self, name: &str, flag: bool) {
        if flag {
            self.member(name, |json| json.out.push_str("true"));
        }
    }
}
