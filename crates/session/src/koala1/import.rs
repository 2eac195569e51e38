//! JSON of koala 1.x as a session.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Error, bytes, trace_header};
use crate::model::{
    Action, AppendFile, CallFromInbound, CallOutbound, Connection, FieldScore, Matched, Peer, ReadStorage,
    ResolveName, ReturnInbound, RunnerUp, SendUdp, Session, UnixAddr,
};

pub(super) fn session(json: &[u8]) -> Result<Session, Error> {
    let value = serde_json::from_slice(json).map_err(|error| Error::Json(error.to_string()))?;
    let Value::Object(members) = value else {
        return Err(unexpected("session", "an object", &value));
    };
    let mut object = Object { members, path: String::new() };
    let mut extension = object.object("Extension")?.unwrap_or_default();
    let call_from_inbound = object.object("CallFromInbound")?.map(call_from_inbound).transpose()?;
    let mut return_inbound = object.object("ReturnInbound")?.map(self::return_inbound).transpose()?;
    let mut actions = Actions { list: Vec::new(), at: Vec::new() };
    for item in object.objects("Actions")? {
        actions.add(item, &mut return_inbound)?;
    }
    let mut connections = Vec::new();
    for item in extension.objects("Connections")? {
        connections.push(Arc::new(connection(item)?));
    }
    let mut session = Session {
        context: object.text("Context")?,
        thread_id: object.thread_id()?,
        session_id: object.text("SessionId")?,
        trace_header: object.object("TraceHeader")?.map(self::trace_header).transpose()?,
        next_session_id: object.text("NextSessionId")?,
        call_from_inbound,
        return_inbound,
        actions: Vec::new(),
        trace_id: object.byte_text("TraceId")?,
        span_id: object.byte_text("SpanId")?,
        process_id: extension.unsigned("ProcessId")?,
        pid: extension.unsigned("Pid")?,
        connections,
        overlap_group: extension.text("OverlapGroup")?,
        incomplete: extension.flag("Incomplete")?,
    };
    if extension.has("TraceHeader") {
        session.trace_header = Some(extension.bytes("TraceHeader")?);
    }
    if let (Some(call), Some(mut extension)) =
        (&mut session.call_from_inbound, extension.object("CallFromInbound")?)
    {
        call.connection_id = extension.unsigned("ConnectionId")?;
    }
    for item in extension.objects("Actions")? {
        actions.extend(item)?;
    }
    for item in extension.objects("ResolveNames")? {
        actions.insert(item)?;
    }
    session.actions = actions.list;
    Ok(session)
}

/// The actions without the response, and where in the JSON each stood.
struct Actions {
    list: Vec<Action>,
    /// Index in `list` by position in the JSON; `None` is the response.
    at: Vec<Option<usize>>,
}

impl Actions {
    fn add(&mut self, mut item: Object, return_inbound: &mut Option<ReturnInbound>) -> Result<(), Error> {
        let path = item.path_of("ActionType");
        let action_type = item.text("ActionType")?;
        let action = match action_type.as_str() {
            "ReturnInbound" => {
                let path = std::mem::take(&mut item.path);
                let listed = self::return_inbound(Object { path: path.clone(), ..item })?;
                // koala 1.x lists the very response of the session: another one has no place in the model.
                if return_inbound.get_or_insert_with(|| listed.clone()) != &listed {
                    return Err(Error::Unexpected {
                        member: path,
                        expected: "the ReturnInbound of the session",
                        found: "another".to_owned(),
                    });
                }
                self.at.push(None);
                return Ok(());
            }
            "CallOutbound" => call_outbound(item)?.into(),
            "SendUDP" => Action::SendUdp(SendUdp {
                action_index: item.unsigned("ActionIndex")?,
                occurred_at: item.unsigned("OccurredAt")?,
                peer: item.peer()?,
                content: item.bytes("Content")?,
                ..SendUdp::default()
            }),
            "AppendFile" => Action::AppendFile(AppendFile {
                action_index: item.unsigned("ActionIndex")?,
                occurred_at: item.unsigned("OccurredAt")?,
                file_name: item.text("FileName")?,
                content: item.bytes("Content")?,
                ..AppendFile::default()
            }),
            "ReadStorage" => Action::ReadStorage(ReadStorage {
                action_index: item.unsigned("ActionIndex")?,
                occurred_at: item.unsigned("OccurredAt")?,
                content: item.bytes("Content")?,
            }),
            _ => {
                return Err(Error::Unexpected {
                    member: path,
                    expected: "ReturnInbound, CallOutbound, SendUDP, AppendFile or ReadStorage",
                    found: format!("\"{action_type}\""),
                });
            }
        };
        self.at.push(Some(self.list.len()));
        self.list.push(action);
        Ok(())
    }

    fn extend(&mut self, mut item: Object) -> Result<(), Error> {
        let position: u32 = item.unsigned("Position")?;
        let index = usize::try_from(position).ok().and_then(|position| *self.at.get(position)?);
        match index.and_then(|index| self.list.get_mut(index)) {
            Some(Action::CallOutbound(call)) => {
                call.connection_id = item.unsigned("ConnectionId")?;
                call.thread_id = item.unsigned("ThreadId")?;
                call.ambiguous = item.flag("Ambiguous")?;
                call.error = item.text("Error")?;
                call.datagrams = item.sizes("Datagrams")?;
                call.matched = item.object("Matched")?.map(matched).transpose()?;
            }
            Some(Action::SendUdp(send)) => {
                send.unix_addr = item.unix_addr()?;
                send.ambiguous = item.flag("Ambiguous")?;
            }
            Some(Action::AppendFile(append)) => {
                append.ambiguous = item.flag("Ambiguous")?;
                append.gap = item.flag("Gap")?;
            }
            _ => {
                return Err(Error::Unexpected {
                    member: item.path_of("Position"),
                    expected: "the position of a CallOutbound, SendUDP or AppendFile",
                    found: position.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Puts a name lookup where it stood among the actions that 1.x lists.
    fn insert(&mut self, mut item: Object) -> Result<(), Error> {
        let position: u32 = item.unsigned("Position")?;
        let index = usize::try_from(position).ok().filter(|index| *index <= self.list.len());
        let Some(index) = index else {
            return Err(Error::Unexpected {
                member: item.path_of("Position"),
                expected: "a position among the actions",
                found: position.to_string(),
            });
        };
        let lookup = ResolveName {
            action_index: item.unsigned("ActionIndex")?,
            occurred_at: item.unsigned("OccurredAt")?,
            name: item.text("Name")?,
            address: item.text("Address")?,
            service: item.text("Service")?,
            family: item.text("Family")?,
            addresses: item.texts("Addresses")?,
            canonical_name: item.text("CanonicalName")?,
            error: item.text("Error")?,
            ambiguous: item.flag("Ambiguous")?,
        };
        self.list.insert(index, Action::ResolveName(Box::new(lookup)));
        Ok(())
    }
}

fn call_from_inbound(mut object: Object) -> Result<CallFromInbound, Error> {
    Ok(CallFromInbound {
        action_index: object.unsigned("ActionIndex")?,
        occurred_at: object.unsigned("OccurredAt")?,
        peer: object.peer()?,
        unix_addr: object.unix_addr()?,
        request: object.bytes("Request")?,
        connection_id: 0,
    })
}

fn return_inbound(mut object: Object) -> Result<ReturnInbound, Error> {
    Ok(ReturnInbound {
        action_index: object.unsigned("ActionIndex")?,
        occurred_at: object.unsigned("OccurredAt")?,
        response: object.bytes("Response")?,
    })
}

fn call_outbound(mut object: Object) -> Result<CallOutbound, Error> {
    Ok(CallOutbound {
        action_index: object.unsigned("ActionIndex")?,
        occurred_at: object.unsigned("OccurredAt")?,
        socket_fd: object.signed("SocketFD")?,
        peer: object.peer()?,
        response_time: object.unsigned("ResponseTime")?,
        unix_addr: object.unix_addr()?,
        request: object.bytes("Request")?,
        response: object.bytes("Response")?,
        c_span_id: object.byte_text("CSpanId")?,
        ..CallOutbound::default()
    })
}

fn matched(mut object: Object) -> Result<Matched, Error> {
    Ok(Matched {
        session_id: object.text("SessionId")?,
        action_index: object.signed("ActionIndex")?,
        mark: object.float("Mark")?,
        reason: object.text("Reason")?,
        nearest_action_index: object.signed("NearestActionIndex")?,
        differences: object.texts("Differences")?,
        fields: object.objects("Fields")?.into_iter().map(field_score).collect::<Result<_, _>>()?,
        runner_up: object.object("RunnerUp")?.map(runner_up).transpose()?,
    })
}

fn field_score(mut object: Object) -> Result<FieldScore, Error> {
    Ok(FieldScore {
        name: object.text("Name")?,
        weight: object.float("Weight")?,
        score: object.float("Score")?,
    })
}

fn runner_up(mut object: Object) -> Result<RunnerUp, Error> {
    Ok(RunnerUp {
        session_id: object.text("SessionId")?,
        action_index: object.signed("ActionIndex")?,
        mark: object.float("Mark")?,
    })
}

fn connection(mut object: Object) -> Result<Connection, Error> {
    Ok(Connection {
        connection_id: object.unsigned("ConnectionId")?,
        direction: object.text("Direction")?,
        kind: object.text("Kind")?,
        local: object.text("Local")?,
        peer: object.text("Peer")?,
        protocol: object.text("Protocol")?,
        encrypted: object.flag("Encrypted")?,
        server_name: object.text("ServerName")?,
        end: object.text("End")?,
        gap: object.flag("Gap")?,
    })
}

fn trace_header(object: Object) -> Result<Vec<u8>, Error> {
    let mut header = Vec::new();
    for (key, value) in object.members {
        let member = || format!("{}.{key}", object.path);
        let Value::String(value) = value else {
            return Err(unexpected(member(), "a string", &value));
        };
        if !trace_header::append(&bytes::read(key.clone()), &bytes::read(value), &mut header) {
            return Err(Error::Unexpected {
                member: member(),
                expected: "a key and a value of at most 65535 bytes",
                found: "longer ones".to_owned(),
            });
        }
    }
    Ok(header)
}

fn unexpected(member: impl Into<String>, expected: &'static str, found: &Value) -> Error {
    let found = match found {
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
    };
    Error::Unexpected { member: member.into(), expected, found }
}

/// An object whose members are taken out one by one. A member that is absent or `null` is its type's default.
#[derive(Default)]
struct Object {
    members: Map<String, Value>,
    /// Where it stands, for errors.
    path: String,
}

impl Object {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.get_mut(name).map(Value::take).filter(|value| !value.is_null())
    }

    fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    fn error(&self, name: &str, expected: &'static str, found: &Value) -> Error {
        unexpected(self.path_of(name), expected, found)
    }

    fn text(&mut self, name: &str) -> Result<String, Error> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.error(name, "a string", &other)),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        for item in self.list(name)? {
            match item {
                Value::String(text) => texts.push(text),
                other => return Err(self.error(name, "a list of strings", &other)),
            }
        }
        Ok(texts)
    }

    fn sizes(&mut self, name: &str) -> Result<Vec<u32>, Error> {
        let mut sizes = Vec::new();
        for item in self.list(name)? {
            let size = item.as_u64().and_then(|size| u32::try_from(size).ok());
            sizes.push(size.ok_or_else(|| self.error(name, "a list of whole numbers", &item))?);
        }
        Ok(sizes)
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        self.text(name).map(bytes::read)
    }

    /// A byte string of 1.x that is text in the model.
    fn byte_text(&mut self, name: &str) -> Result<String, Error> {
        String::from_utf8(self.bytes(name)?).map_err(|_| Error::Unexpected {
            member: self.path_of(name),
            expected: "text",
            found: "bytes that are no UTF-8".to_owned(),
        })
    }

    fn unsigned<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, Error> {
        let value = self.take(name).unwrap_or_else(|| 0.into());
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.error(name, "a whole number in range", &value))
    }

    fn signed<T: TryFrom<i64>>(&mut self, name: &str) -> Result<T, Error> {
        let value = self.take(name).unwrap_or_else(|| 0.into());
        let number = value.as_i64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.error(name, "a whole number in range", &value))
    }

    fn thread_id(&mut self) -> Result<u32, Error> {
        let value = self.take("ThreadId").unwrap_or_else(|| 0.into());
        let signed = value.as_i64().and_then(|id| i32::try_from(id).ok()).map(i32::cast_unsigned);
        let unsigned = || value.as_u64().and_then(|id| u32::try_from(id).ok());
        signed.or_else(unsigned).ok_or_else(|| self.error("ThreadId", "a number of 32 bits", &value))
    }

    fn float(&mut self, name: &str) -> Result<f64, Error> {
        let value = self.take(name).unwrap_or_else(|| 0.0.into());
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
        number.ok_or_else(|| self.error(name, "a number", &value))
    }

    fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.error(name, "a boolean", &other)),
        }
    }

    fn object(&mut self, name: &str) -> Result<Option<Self>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self { members, path: self.path_of(name) })),
            Some(other) => Err(self.error(name, "an object", &other)),
        }
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>, Error> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.error(name, "a list", &other)),
        }
    }

    fn objects(&mut self, name: &str) -> Result<Vec<Self>, Error> {
        let path = self.path_of(name);
        let mut objects = Vec::new();
        for (index, item) in self.list(name)?.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Object(members) => objects.push(Self { members, path }),
                other => return Err(unexpected(path, "an object", &other)),
            }
        }
        Ok(objects)
    }

    fn peer(&mut self) -> Result<Peer, Error> {
        let mut object = self.object("Peer")?.unwrap_or_default();
        Ok(Peer { ip: object.text("IP")?, port: object.unsigned("Port")?, zone: object.text("Zone")? })
    }

    fn unix_addr(&mut self) -> Result<UnixAddr, Error> {
        let mut object = self.object("UnixAddr")?.unwrap_or_default();
        Ok(UnixAddr { name: object.text("Name")?, net: object.text("Net")? })
    }
}
