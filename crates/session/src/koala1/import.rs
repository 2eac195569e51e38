//! JSON of koala 1.x as a session.

use std::cell::RefCell;
use std::sync::Arc;

use super::json::{self, Map, Value};
use super::{Error, bytes, trace_header};
use crate::model::{
    Action, AppendFile, CallFromInbound, CallOutbound, Connection, FieldScore, Matched, Peer, ReadStorage,
    ResolveName, ReturnInbound, RunnerUp, SendUdp, Session, UnixAddr,
};

pub(super) fn session(json: &[u8]) -> Result<Session, Error> {
    let value = json::read(json).map_err(Error::Json)?;
    let Value::Object(members) = value else {
        let found = described(&value);
        return Err(Error::Unexpected { member: "session".to_owned(), expected: "an object", found });
    };
    let failed = Failed::default();
    let mut object = Object { members, path: String::new(), failed: &failed };
    let mut extension = object.object_or_empty("Extension");
    let call_from_inbound = object.object("CallFromInbound").map(call_from_inbound);
    let mut return_inbound = object.object("ReturnInbound").map(self::return_inbound);
    let mut actions = Actions { list: Vec::new(), at: Vec::new() };
    for item in object.objects("Actions") {
        actions.add(item, &mut return_inbound);
    }
    let connections = extension.objects("Connections").into_iter().map(connection).map(Arc::new).collect();
    let mut session = Session {
        context: object.text("Context"),
        thread_id: object.thread_id(),
        session_id: object.text("SessionId"),
        trace_header: object.object("TraceHeader").map(self::trace_header),
        next_session_id: object.text("NextSessionId"),
        call_from_inbound,
        return_inbound,
        actions: Vec::new(),
        trace_id: object.byte_text("TraceId"),
        span_id: object.byte_text("SpanId"),
        process_id: extension.unsigned("ProcessId"),
        pid: extension.unsigned("Pid"),
        connections,
        overlap_group: extension.text("OverlapGroup"),
        incomplete: extension.flag("Incomplete"),
    };
    if extension.has("TraceHeader") {
        session.trace_header = Some(extension.bytes("TraceHeader"));
    }
    if let (Some(call), Some(mut extension)) =
        (&mut session.call_from_inbound, extension.object("CallFromInbound"))
    {
        call.connection_id = extension.unsigned("ConnectionId");
    }
    for item in extension.objects("Actions") {
        actions.extend(item);
    }
    for item in extension.objects("ResolveNames") {
        actions.insert(item);
    }
    session.actions = actions.list;
    match failed.take() {
        Some(error) => Err(error),
        None => Ok(session),
    }
}

/// The actions without the response, and where in the JSON each stood.
struct Actions {
    list: Vec<Action>,
    /// Index in `list` by position in the JSON; `None` is the response.
    at: Vec<Option<usize>>,
}

impl Actions {
    fn add(&mut self, mut item: Object<'_>, return_inbound: &mut Option<ReturnInbound>) {
        let path = item.path_of("ActionType");
        let action_type = item.text("ActionType");
        let action = match action_type.as_str() {
            "ReturnInbound" => {
                let path = std::mem::take(&mut item.path);
                let failed = item.failed;
                let listed = self::return_inbound(Object { path: path.clone(), ..item });
                // koala 1.x lists the very response of the session: another one has no place in the model.
                if return_inbound.get_or_insert_with(|| listed.clone()) != &listed {
                    fail(failed, path, "the ReturnInbound of the session", "another".to_owned());
                }
                self.at.push(None);
                return;
            }
            "CallOutbound" => call_outbound(item).into(),
            "SendUDP" => Action::SendUdp(SendUdp {
                action_index: item.unsigned("ActionIndex"),
                occurred_at: item.unsigned("OccurredAt"),
                peer: item.peer(),
                content: item.bytes("Content"),
                ..SendUdp::default()
            }),
            "AppendFile" => Action::AppendFile(AppendFile {
                action_index: item.unsigned("ActionIndex"),
                occurred_at: item.unsigned("OccurredAt"),
                file_name: item.text("FileName"),
                content: item.bytes("Content"),
                ..AppendFile::default()
            }),
            "ReadStorage" => Action::ReadStorage(ReadStorage {
                action_index: item.unsigned("ActionIndex"),
                occurred_at: item.unsigned("OccurredAt"),
                content: item.bytes("Content"),
            }),
            _ => {
                let expected = "ReturnInbound, CallOutbound, SendUDP, AppendFile or ReadStorage";
                return fail(item.failed, path, expected, format!("\"{action_type}\""));
            }
        };
        self.at.push(Some(self.list.len()));
        self.list.push(action);
    }

    fn extend(&mut self, mut item: Object<'_>) {
        let position: u32 = item.unsigned("Position");
        let index = usize::try_from(position).ok().and_then(|position| *self.at.get(position)?);
        match index.and_then(|index| self.list.get_mut(index)) {
            Some(Action::CallOutbound(call)) => {
                call.connection_id = item.unsigned("ConnectionId");
                call.thread_id = item.unsigned("ThreadId");
                call.ambiguous = item.flag("Ambiguous");
                call.error = item.text("Error");
                call.datagrams = item.sizes("Datagrams");
                call.matched = item.object("Matched").map(matched);
            }
            Some(Action::SendUdp(send)) => {
                send.unix_addr = item.unix_addr();
                send.ambiguous = item.flag("Ambiguous");
            }
            Some(Action::AppendFile(append)) => {
                append.ambiguous = item.flag("Ambiguous");
                append.gap = item.flag("Gap");
            }
            _ => {
                let expected = "the position of a CallOutbound, SendUDP or AppendFile";
                fail(item.failed, item.path_of("Position"), expected, position.to_string());
            }
        }
    }

    /// Puts a name lookup where it stood among the actions that 1.x lists.
    fn insert(&mut self, mut item: Object<'_>) {
        let position: u32 = item.unsigned("Position");
        let index = usize::try_from(position).ok().filter(|index| *index <= self.list.len());
        let Some(index) = index else {
            let member = item.path_of("Position");
            return fail(item.failed, member, "a position among the actions", position.to_string());
        };
        let lookup = ResolveName {
            action_index: item.unsigned("ActionIndex"),
            occurred_at: item.unsigned("OccurredAt"),
            name: item.text("Name"),
            address: item.text("Address"),
            service: item.text("Service"),
            family: item.text("Family"),
            addresses: item.texts("Addresses"),
            canonical_name: item.text("CanonicalName"),
            error: item.text("Error"),
            ambiguous: item.flag("Ambiguous"),
        };
        self.list.insert(index, Action::ResolveName(Box::new(lookup)));
    }
}

fn call_from_inbound(mut object: Object<'_>) -> CallFromInbound {
    CallFromInbound {
        action_index: object.unsigned("ActionIndex"),
        occurred_at: object.unsigned("OccurredAt"),
        peer: object.peer(),
        unix_addr: object.unix_addr(),
        request: object.bytes("Request"),
        connection_id: 0,
    }
}

fn return_inbound(mut object: Object<'_>) -> ReturnInbound {
    ReturnInbound {
        action_index: object.unsigned("ActionIndex"),
        occurred_at: object.unsigned("OccurredAt"),
        response: object.bytes("Response"),
    }
}

fn call_outbound(mut object: Object<'_>) -> CallOutbound {
    CallOutbound {
        action_index: object.unsigned("ActionIndex"),
        occurred_at: object.unsigned("OccurredAt"),
        socket_fd: object.signed("SocketFD"),
        peer: object.peer(),
        response_time: object.unsigned("ResponseTime"),
        unix_addr: object.unix_addr(),
        request: object.bytes("Request"),
        response: object.bytes("Response"),
        c_span_id: object.byte_text("CSpanId"),
        ..CallOutbound::default()
    }
}

fn matched(mut object: Object<'_>) -> Matched {
    Matched {
        session_id: object.text("SessionId"),
        action_index: object.signed("ActionIndex"),
        mark: object.float("Mark"),
        reason: object.text("Reason"),
        nearest_action_index: object.signed("NearestActionIndex"),
        differences: object.texts("Differences"),
        fields: object.objects("Fields").into_iter().map(field_score).collect(),
        runner_up: object.object("RunnerUp").map(runner_up),
    }
}

fn field_score(mut object: Object<'_>) -> FieldScore {
    FieldScore { name: object.text("Name"), weight: object.float("Weight"), score: object.float("Score") }
}

fn runner_up(mut object: Object<'_>) -> RunnerUp {
    RunnerUp {
        session_id: object.text("SessionId"),
        action_index: object.signed("ActionIndex"),
        mark: object.float("Mark"),
    }
}

fn connection(mut object: Object<'_>) -> Connection {
    Connection {
        connection_id: object.unsigned("ConnectionId"),
        direction: object.text("Direction"),
        kind: object.text("Kind"),
        local: object.text("Local"),
        peer: object.text("Peer"),
        protocol: object.text("Protocol"),
        encrypted: object.flag("Encrypted"),
        server_name: object.text("ServerName"),
        end: object.text("End"),
        gap: object.flag("Gap"),
    }
}

fn trace_header(object: Object<'_>) -> Vec<u8> {
    let mut header = Vec::new();
    for (key, value) in object.members {
        let member = || format!("{}.{key}", object.path);
        let Value::String(value) = value else {
            fail(object.failed, member(), "a string", described(&value));
            continue;
        };
        if !trace_header::append(&bytes::read(key.clone()), &bytes::read(value), &mut header) {
            let expected = "a key and a value of at most 65535 bytes";
            fail(object.failed, member(), expected, "longer ones".to_owned());
        }
    }
    header
}

/// A value in an error.
fn described(found: &Value) -> String {
    match found {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        // Not as serde_json writes it, for the size of what a browser loads.
        Value::Number(value) => match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => format!("{:?}", value.as_f64().unwrap_or_default()),
        },
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The first thing that is not as it must be. Reading goes on with defaults, and the session is refused at its end:
/// leaving at each place that may fail, with what was read so far, takes twice the room in what a browser loads.
type Failed = RefCell<Option<Error>>;

fn fail(failed: &Failed, member: String, expected: &'static str, found: String) {
    failed.borrow_mut().get_or_insert(Error::Unexpected { member, expected, found });
}

/// An object whose members are taken out one by one. A member that is absent or `null` is its type's default, and so is
/// one that is not as it must be.
struct Object<'e> {
    members: Map,
    /// Where it stands, for errors.
    path: String,
    failed: &'e Failed,
}

impl<'e> Object<'e> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.get_mut(name).map(Value::take).filter(|value| !value.is_null())
    }

    fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    fn fail(&self, name: &str, expected: &'static str, found: &Value) {
        fail(self.failed, self.path_of(name), expected, described(found));
    }

    fn text(&mut self, name: &str) -> String {
        match self.take(name) {
            None => {}
            Some(Value::String(text)) => return text,
            Some(other) => self.fail(name, "a string", &other),
        }
        String::new()
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.list(name) {
            match item {
                Value::String(text) => texts.push(text),
                other => self.fail(name, "a list of strings", &other),
            }
        }
        texts
    }

    fn sizes(&mut self, name: &str) -> Vec<u32> {
        let mut sizes = Vec::new();
        for item in self.list(name) {
            match item.as_u64().and_then(|size| u32::try_from(size).ok()) {
                Some(size) => sizes.push(size),
                None => self.fail(name, "a list of whole numbers", &item),
            }
        }
        sizes
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        bytes::read(self.text(name))
    }

    /// A byte string of 1.x that is text in the model.
    fn byte_text(&mut self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap_or_else(|_| {
            fail(self.failed, self.path_of(name), "text", "bytes that are no UTF-8".to_owned());
            String::new()
        })
    }

    fn unsigned<T: TryFrom<u64> + Default>(&mut self, name: &str) -> T {
        let Some(value) = self.take(name) else { return T::default() };
        value.as_u64().and_then(|number| T::try_from(number).ok()).unwrap_or_else(|| {
            self.fail(name, "a whole number in range", &value);
            T::default()
        })
    }

    fn signed<T: TryFrom<i64> + Default>(&mut self, name: &str) -> T {
        let Some(value) = self.take(name) else { return T::default() };
        value.as_i64().and_then(|number| T::try_from(number).ok()).unwrap_or_else(|| {
            self.fail(name, "a whole number in range", &value);
            T::default()
        })
    }

    fn thread_id(&mut self) -> u32 {
        let Some(value) = self.take("ThreadId") else { return 0 };
        let signed = value.as_i64().and_then(|id| i32::try_from(id).ok()).map(i32::cast_unsigned);
        let unsigned = || value.as_u64().and_then(|id| u32::try_from(id).ok());
        signed.or_else(unsigned).unwrap_or_else(|| {
            self.fail("ThreadId", "a number of 32 bits", &value);
            0
        })
    }

    fn float(&mut self, name: &str) -> f64 {
        let Some(value) = self.take(name) else { return 0.0 };
        let number = match &value {
            // What JSON has no numbers for. (Rust's parser of numbers would add 14 KB to what a browser loads.)
            Value::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "inf" => Some(f64::INFINITY),
                "-inf" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            other => other.as_f64(),
        };
        number.unwrap_or_else(|| {
            self.fail(name, "a number", &value);
            0.0
        })
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.fail(name, "a boolean", &other);
                false
            }
        }
    }

    fn object(&mut self, name: &str) -> Option<Self> {
        match self.take(name)? {
            Value::Object(members) => Some(Self { members, path: self.path_of(name), failed: self.failed }),
            other => {
                self.fail(name, "an object", &other);
                None
            }
        }
    }

    fn object_or_empty(&mut self, name: &str) -> Self {
        let failed = self.failed;
        self.object(name).unwrap_or_else(|| Self { members: Map::new(), path: String::new(), failed })
    }

    fn list(&mut self, name: &str) -> Vec<Value> {
        match self.take(name) {
            None => {}
            Some(Value::Array(items)) => return items,
            Some(other) => self.fail(name, "a list", &other),
        }
        Vec::new()
    }

    fn objects(&mut self, name: &str) -> Vec<Self> {
        let path = self.path_of(name);
        let mut objects = Vec::new();
        for (index, item) in self.list(name).into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Object(members) => objects.push(Self { members, path, failed: self.failed }),
                other => fail(self.failed, path, "an object", described(&other)),
            }
        }
        objects
    }

    fn peer(&mut self) -> Peer {
        let mut object = self.object_or_empty("Peer");
        Peer { ip: object.text("IP"), port: object.unsigned("Port"), zone: object.text("Zone") }
    }

    fn unix_addr(&mut self) -> UnixAddr {
        let mut object = self.object_or_empty("UnixAddr");
        UnixAddr { name: object.text("Name"), net: object.text("Net") }
    }
}
