//! The session model.
//!
//! The field names are those of koala 1.x (in Rust in snake case; `SessionId` is `session_id`); what 1.x has
//! no field for is marked *extension*: in CBOR it stands beside the others, in koala 1.x JSON it travels in
//! the one member `Extension` of the session. Times are nanoseconds since 1970.

use std::sync::Arc;

/// Everything that was done to answer one inbound request; or, with `context` `"boot"`, what a process did
/// outside any request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// Empty, or `boot`.
    pub context: String,
    /// The thread that received the request, as the process saw it.
    pub thread_id: u32,
    /// Unique across processes and hosts; sorts by time.
    pub session_id: String,
    /// What `get-trace-header` helper information set; `None` is JSON's `null`.
    pub trace_header: Option<Vec<u8>>,
    /// The session that continues this one or (1.x) came next on its thread; else empty.
    pub next_session_id: String,
    /// The request; `None` in a boot session.
    pub call_from_inbound: Option<CallFromInbound>,
    /// The response; `None` where there was none. 1.x JSON also lists it among `Actions`; here only the
    /// `action_index` tells its place among them.
    pub return_inbound: Option<ReturnInbound>,
    /// The other actions, by `action_index`.
    pub actions: Vec<Action>,
    /// W3C trace id in hex, or empty.
    pub trace_id: String,
    /// W3C span id in hex, or empty.
    pub span_id: String,
    /// *Extension.* The process, by its number in the tree.
    pub process_id: u64,
    /// *Extension.* The process's own process id.
    pub pid: u32,
    /// *Extension.* The connections that actions and the request refer to by `connection_id`.
    pub connections: Vec<Arc<Connection>>,
    /// *Extension.* Not empty where two requests were open on one execution context: the same for all
    /// sessions of the group.
    pub overlap_group: String,
    /// *Extension.* The session was cut: its process died, or events of it were lost.
    pub incomplete: bool,
}

/// The request that began a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFromInbound {
    /// Always 0 in 1.x.
    pub action_index: u32,
    /// When its first byte was received.
    pub occurred_at: u64,
    /// Who sent it, if by TCP.
    pub peer: Peer,
    /// Who sent it, if by a unix socket.
    pub unix_addr: UnixAddr,
    /// Its bytes.
    pub request: Vec<u8>,
    /// *Extension.* The connection it came by.
    pub connection_id: u64,
}

/// The response that a session's request got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReturnInbound {
    /// Its place among the actions.
    pub action_index: u32,
    /// When its first byte was sent.
    pub occurred_at: u64,
    /// Its bytes.
    pub response: Vec<u8>,
}

/// One step of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A talk on an outbound connection, or a connect that failed.
    CallOutbound(Box<CallOutbound>),
    /// A datagram that was sent (1.x: `SendUDP`).
    SendUdp(SendUdp),
    /// Bytes appended to a file.
    AppendFile(AppendFile),
    /// Helper information `read-storage`.
    ReadStorage(ReadStorage),
    /// *Extension.* A name lookup.
    ResolveName(Box<ResolveName>),
}

impl Action {
    /// Its place among the actions of its session.
    pub fn action_index(&self) -> u32 {
        match self {
            Self::CallOutbound(action) => action.action_index,
            Self::SendUdp(action) => action.action_index,
            Self::AppendFile(action) => action.action_index,
            Self::ReadStorage(action) => action.action_index,
            Self::ResolveName(action) => action.action_index,
        }
    }
}

impl From<CallOutbound> for Action {
    fn from(call: CallOutbound) -> Self {
        Self::CallOutbound(Box::new(call))
    }
}

/// A request and its response on one outbound connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallOutbound {
    /// Its place among the actions.
    pub action_index: u32,
    /// When its first byte was sent.
    pub occurred_at: u64,
    /// The descriptor.
    pub socket_fd: i32,
    /// Who was asked, if by TCP.
    pub peer: Peer,
    /// When the first byte of the response arrived; 0 if none did.
    pub response_time: u64,
    /// Who was asked, if by a unix socket.
    pub unix_addr: UnixAddr,
    /// The bytes sent; empty where the server spoke first.
    pub request: Vec<u8>,
    /// The bytes that came back.
    pub response: Vec<u8>,
    /// W3C span id given to this call, or empty.
    pub c_span_id: String,
    /// *Extension.* The connection.
    pub connection_id: u64,
    /// *Extension.* The thread that sent it, where it is not the session's.
    pub thread_id: u32,
    /// *Extension.* Two requests were open on the sender's context; this action may belong to the other.
    pub ambiguous: bool,
    /// *Extension.* What the connect failed with (`ECONNREFUSED`), or what ended the talk; else empty.
    pub error: String,
    /// *Extension.* The sizes of the datagrams of the response, where there was more than one.
    pub datagrams: Vec<u32>,
    /// *Extension, replay only.* What it was answered with.
    pub matched: Option<Matched>,
}

/// How a replayed call was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matched {
    /// The recorded session of the call, where it is not the replayed one (boot, overlap group); else empty.
    pub session_id: String,
    /// `ActionIndex` of the recorded call; -1 if nothing matched.
    pub action_index: i64,
    /// How well it matched, 0 to 1.
    pub mark: f64,
    /// Why: the matcher's explanation in a sentence.
    pub reason: String,
    /// `ActionIndex` of the nearest recorded call where nothing matched; -1 if there is none.
    pub nearest_action_index: i64,
    /// What differs from the matched or nearest call, a line each.
    pub differences: Vec<String>,
    /// The score by kind of field; empty where the bytes are equal, or nothing was weighed.
    pub fields: Vec<FieldScore>,
    /// The second best recorded call, where more than one was weighed.
    pub runner_up: Option<RunnerUp>,
}

/// How well one kind of field agrees with the matched or nearest call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldScore {
    /// The kind of field: `path`, `headers`, `where`.
    pub name: String,
    /// What it weighs in the mark.
    pub weight: f64,
    /// The share of it that agrees, between 0 and 1.
    pub score: f64,
}

/// A recorded call that came second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunnerUp {
    /// Its session, where it is not the replayed one; else empty.
    pub session_id: String,
    /// Its `ActionIndex`.
    pub action_index: i64,
    /// Its mark.
    pub mark: f64,
}

/// A datagram that was sent, and that was not answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SendUdp {
    /// Its place among the actions.
    pub action_index: u32,
    /// When.
    pub occurred_at: u64,
    /// To whom.
    pub peer: Peer,
    /// Its bytes.
    pub content: Vec<u8>,
    /// *Extension.* To whom, if by a unix socket.
    pub unix_addr: UnixAddr,
    /// *Extension.* As in [`CallOutbound`].
    pub ambiguous: bool,
}

/// Bytes appended to a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppendFile {
    /// Its place among the actions.
    pub action_index: u32,
    /// When.
    pub occurred_at: u64,
    /// The file.
    pub file_name: String,
    /// What was appended.
    pub content: Vec<u8>,
    /// *Extension.* As in [`CallOutbound`].
    pub ambiguous: bool,
    /// *Extension.* What was appended by this descriptor or stream is not in the recording.
    pub gap: bool,
}

/// *Extension.* A name lookup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolveName {
    /// Its place among the actions.
    pub action_index: u32,
    /// When it was answered.
    pub occurred_at: u64,
    /// The name that was looked up; where `address` is not empty, the name that was found.
    pub name: String,
    /// The address that was asked for its name, without port; else empty.
    pub address: String,
    /// The service that was asked for along with the name; else empty.
    pub service: String,
    /// The address family that was asked for: `inet`, `inet6`, or empty for any.
    pub family: String,
    /// The addresses that were found, each once.
    pub addresses: Vec<String>,
    /// The canonical name, where it was told.
    pub canonical_name: String,
    /// The error of getaddrinfo(3) that it failed with (`EAI_NONAME`), in a replay `UNRECORDED` where the recording
    /// does not know the name; else empty.
    pub error: String,
    /// As in [`CallOutbound`].
    pub ambiguous: bool,
}

/// Helper information `read-storage`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadStorage {
    /// Its place among the actions.
    pub action_index: u32,
    /// When.
    pub occurred_at: u64,
    /// What was read.
    pub content: Vec<u8>,
}

/// A TCP peer, as 1.x writes it. All empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The address without port: `127.0.0.1`, `::1`.
    pub ip: String,
    /// The port.
    pub port: u16,
    /// The zone of an IPv6 link-local address.
    pub zone: String,
}

/// A unix peer, as 1.x writes it. All empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnixAddr {
    /// The path.
    pub name: String,
    /// `unix`.
    pub net: String,
}

/// *Extension.* A connection of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// Unique in the recording's tree.
    pub connection_id: u64,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// `tcp`, `tcp6`, `unix` or `udp`.
    pub kind: String,
    /// Our end, as `127.0.0.1:80`, `[::1]:80` or `unix:/path`. Of an inbound connection: the listener.
    pub local: String,
    /// The other end, in the same form.
    pub peer: String,
    /// `http`, `redis`, or empty where it was not recognised.
    pub protocol: String,
    /// Its first record was TLS's.
    pub encrypted: bool,
    /// The server name that the TLS client asked for, or empty.
    pub server_name: String,
    /// How it ended, as far as the session saw: empty (still open), `closed` (by the program),
    /// `peer-closed`, `reset`, or the errno name of a failed connect.
    pub end: String,
    /// Bytes crossed that the recording lacks.
    pub gap: bool,
}
