//! Which member of the model has which name, for both directions.

use super::{
    Error,
    read::{self, Decode, Reader},
    write::{self, Encode, Out},
};
use crate::model::{
    Action, AppendFile, CallFromInbound, CallOutbound, Connection, FieldScore, Matched, Peer, ReadStorage,
    ResolveName, ReturnInbound, RunnerUp, SendUdp, Session, UnixAddr,
};

/// A type that is written as the members of a map.
pub(super) trait Members {
    /// How many members differ from their default.
    fn count(&self) -> u64;
    /// Appends those members, without the map's head.
    fn write_members(&self, out: &mut Out<'_>);
    /// Reads the value of the member `name`; `false`, and nothing read, where there is no such member.
    fn read_member(&mut self, name: &str, reader: &mut Reader<'_>) -> Result<bool, Error>;
}

macro_rules! members {
    ($($type:ty { $($name:literal => $field:ident,)* })*) => {$(
        impl Members for $type {
            #[inline]
            fn count(&self) -> u64 {
                0 $(+ u64::from(!self.$field.is_absent()))*
            }

            #[inline]
            fn write_members(&self, out: &mut Out<'_>) {
                $(if !self.$field.is_absent() {
                    write::key!(out, $name);
                    self.$field.encode(out);
                })*
            }

            #[inline(never)]
            fn read_member(&mut self, name: &str, reader: &mut Reader<'_>) -> Result<bool, Error> {
                match name {
                    $($name => read::member(reader, $name, &mut self.$field),)*
                    _ => Ok(false),
                }
            }
        }
    )*};
}

/// For types that stand in a map of their own.
macro_rules! maps {
    ($($type:ty)*) => {$(
        impl Encode for $type {
            #[inline]
            fn is_absent(&self) -> bool {
                self.count() == 0
            }

            #[inline]
            fn encode(&self, out: &mut Out<'_>) {
                write::map(out, self.count());
                self.write_members(out);
            }
        }

        impl Decode for $type {
            fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
                let mut value = Self::default();
                read::map(reader, member, &mut |name, reader| value.read_member(name, reader))?;
                Ok(value)
            }
        }
    )*};
}

members! {
    // `SessionId`, which comes first even when it is empty, is written and read apart.
    Session {
        "Context" => context,
        "ThreadId" => thread_id,
        "TraceHeader" => trace_header,
        "NextSessionId" => next_session_id,
        "CallFromInbound" => call_from_inbound,
        "ReturnInbound" => return_inbound,
        "Actions" => actions,
        "TraceId" => trace_id,
        "SpanId" => span_id,
        "ProcessId" => process_id,
        "Pid" => pid,
        "Connections" => connections,
        "OverlapGroup" => overlap_group,
        "Incomplete" => incomplete,
    }
    CallFromInbound {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "Peer" => peer,
        "UnixAddr" => unix_addr,
        "Request" => request,
        "ConnectionId" => connection_id,
    }
    ReturnInbound {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "Response" => response,
    }
    CallOutbound {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "SocketFD" => socket_fd,
        "Peer" => peer,
        "ResponseTime" => response_time,
        "UnixAddr" => unix_addr,
        "Request" => request,
        "Response" => response,
        "CSpanId" => c_span_id,
        "ConnectionId" => connection_id,
        "ThreadId" => thread_id,
        "Ambiguous" => ambiguous,
        "Error" => error,
        "Datagrams" => datagrams,
        "Matched" => matched,
    }
    SendUdp {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "Peer" => peer,
        "Content" => content,
        "UnixAddr" => unix_addr,
        "Ambiguous" => ambiguous,
    }
    AppendFile {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "FileName" => file_name,
        "Content" => content,
        "Ambiguous" => ambiguous,
        "Gap" => gap,
    }
    ResolveName {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "Name" => name,
        "Address" => address,
        "Service" => service,
        "Family" => family,
        "Addresses" => addresses,
        "CanonicalName" => canonical_name,
        "Error" => error,
        "Ambiguous" => ambiguous,
    }
    ReadStorage {
        "ActionIndex" => action_index,
        "OccurredAt" => occurred_at,
        "Content" => content,
    }
    Matched {
        "SessionId" => session_id,
        "ActionIndex" => action_index,
        "Mark" => mark,
        "Reason" => reason,
        "NearestActionIndex" => nearest_action_index,
        "Differences" => differences,
        "Fields" => fields,
        "RunnerUp" => runner_up,
    }
    FieldScore {
        "Name" => name,
        "Weight" => weight,
        "Score" => score,
    }
    RunnerUp {
        "SessionId" => session_id,
        "ActionIndex" => action_index,
        "Mark" => mark,
    }
    Peer {
        "IP" => ip,
        "Port" => port,
        "Zone" => zone,
    }
    UnixAddr {
        "Name" => name,
        "Net" => net,
    }
    Connection {
        "ConnectionId" => connection_id,
        "Direction" => direction,
        "Kind" => kind,
        "Local" => local,
        "Peer" => peer,
        "Protocol" => protocol,
        "Encrypted" => encrypted,
        "ServerName" => server_name,
        "End" => end,
        "Gap" => gap,
    }
}

maps! { CallFromInbound ReturnInbound Matched FieldScore RunnerUp Peer UnixAddr Connection }

/// The `ActionType` of each kind of action.
pub(super) const CALL_OUTBOUND: &str = "CallOutbound";
pub(super) const SEND_UDP: &str = "SendUDP";
pub(super) const APPEND_FILE: &str = "AppendFile";
pub(super) const READ_STORAGE: &str = "ReadStorage";
pub(super) const RESOLVE_NAME: &str = "ResolveName";

impl Encode for Action {
    fn is_absent(&self) -> bool {
        false
    }

    fn encode(&self, out: &mut Out<'_>) {
        fn typed(action_type: &str, members: &impl Members, out: &mut Out<'_>) {
            write::map(out, members.count() + 1);
            write::key!(out, "ActionType");
            action_type.encode(out);
            members.write_members(out);
        }
        match self {
            Self::CallOutbound(call) => typed(CALL_OUTBOUND, &**call, out),
            Self::SendUdp(send) => typed(SEND_UDP, send, out),
            Self::AppendFile(append) => typed(APPEND_FILE, append, out),
            Self::ReadStorage(read) => typed(READ_STORAGE, read, out),
            Self::ResolveName(lookup) => typed(RESOLVE_NAME, &**lookup, out),
        }
    }
}

impl Decode for Action {
    fn decode(reader: &mut Reader<'_>, member: &'static str) -> Result<Self, Error> {
        let (offset, action_type) = read::action_type(reader, member)?;
        let mut action = match &*action_type {
            CALL_OUTBOUND => CallOutbound::default().into(),
            SEND_UDP => Self::SendUdp(SendUdp::default()),
            APPEND_FILE => Self::AppendFile(AppendFile::default()),
            READ_STORAGE => Self::ReadStorage(ReadStorage::default()),
            RESOLVE_NAME => Self::ResolveName(Box::default()),
            other => {
                return Err(Error::Unexpected {
                    offset,
                    member: "ActionType",
                    expected: "CallOutbound, SendUDP, AppendFile, ReadStorage or ResolveName",
                    found: format!("\"{other}\""),
                });
            }
        };
        let members: &mut dyn Members = match &mut action {
            Self::CallOutbound(call) => &mut **call,
            Self::SendUdp(send) => send,
            Self::AppendFile(append) => append,
            Self::ReadStorage(read) => read,
            Self::ResolveName(lookup) => &mut **lookup,
        };
        read::map(reader, member, &mut |name, reader| members.read_member(name, reader))?;
        Ok(action)
    }
}
