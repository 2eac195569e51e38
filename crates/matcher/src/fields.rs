//! From a request to its fields, each with the role that it plays in telling calls apart.

use crate::layout::{Kind, Layout};
use crate::shape;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use koala_protocol::ConnectionState;
use koala_protocol::decode::{Decoded, Value, decode, http, json, percent, redis, sql, thrift};
use koala_protocol::words::Words;

mod binary;

use binary::{read_fastcgi, read_memcached, read_mongodb, read_mysql, read_postgres};

/// What a field says about which call a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// What is asked for: a path, a key, a statement, its `WHERE`. Another one is another call.
    Identity,
    /// Identity, but for the times inside it.
    TimedIdentity,
    /// An argument: another one is another call; one more or one less is a changed call.
    Parameter,
    /// An argument that may hold a time; apart from that like [`Role::Parameter`].
    Timed,
    /// An argument in which programs put what they generate; apart from that like [`Role::Parameter`].
    Value,
    /// May change without the call becoming another one; the change is reported.
    Soft,
    /// Generated anew each time.
    Volatile,
    /// Says nothing about the call.
    Noise,
}

/// Fields of one kind share a weight, so that a call with forty headers is not told by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Group {
    Method,
    Path,
    Host,
    Query,
    Header,
    Body,
    Command,
    Key,
    Argument,
    Statement,
    Table,
    Where,
    Written,
    Column,
    Clause,
    Bytes,
    Generated,
    Noise,
}

impl Group {
    pub(crate) const ALL: [Self; 18] = [
        Self::Method,
        Self::Path,
        Self::Host,
        Self::Query,
        Self::Header,
        Self::Body,
        Self::Command,
        Self::Key,
        Self::Argument,
        Self::Statement,
        Self::Table,
        Self::Where,
        Self::Written,
        Self::Column,
        Self::Clause,
        Self::Bytes,
        Self::Generated,
        Self::Noise,
    ];

    /// Its name in an explanation.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::Host => "host",
            Self::Query => "query",
            Self::Header => "headers",
            Self::Body => "body",
            Self::Command => "command",
            Self::Key => "key",
            Self::Argument => "arguments",
            Self::Statement => "statement",
            Self::Table => "tables",
            Self::Where => "where",
            Self::Written => "values",
            Self::Column => "columns",
            Self::Clause => "clauses",
            Self::Bytes => "bytes",
            Self::Generated => "generated",
            Self::Noise => "noise",
        }
    }

    /// The most that its fields weigh together.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Self::Path | Self::Key | Self::Where | Self::Body | Self::Written | Self::Bytes => 4.0,
            Self::Query | Self::Table | Self::Argument => 3.0,
            Self::Command => 2.0,
            Self::Column | Self::Header => 1.5,
            Self::Method | Self::Host | Self::Statement => 1.0,
            Self::Clause => 0.75,
            Self::Generated => 0.3,
            Self::Noise => 0.1,
        }
    }

    /// What one field of it weighs, up to the weight of all.
    pub(crate) fn unit(self) -> f64 {
        match self {
            Self::Header => 0.3,
            Self::Column => 0.5,
            Self::Body | Self::Query | Self::Argument | Self::Written => 1.0,
            _ => self.weight(),
        }
    }
}

/// Takes the fields of a request as they are found.
pub(crate) trait Sink {
    fn field(&mut self, group: Group, role: Role, name: &str, value: &[u8]);
    /// How many were taken so far.
    fn count(&self) -> usize;
    /// Forgets those after the first `count`: what they were read from turned out not to be of its kind.
    fn rewind(&mut self, count: usize);
}

/// What is known of a request besides its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Asking again changes nothing, so that a recorded answer may be used again.
    pub(crate) read_only: bool,
    /// Hashes of what resembles it, the closest first: where to look for the nearest call.
    pub(crate) neighbours: [u64; 2],
    /// A hash of what its fields are compared with those of, to learn from them.
    pub(crate) shape: u64,
    /// Its protocol is not known.
    pub(crate) unknown: bool,
}

/// A request, and what it is read with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) bytes: &'a [u8],
    /// What its connection was told before, where that is known.
    pub(crate) state: Option<&'a ConnectionState>,
    /// What the recording tells of it, where its protocol is not known.
    pub(crate) layout: Option<&'a Layout>,
}

impl<'a> Request<'a> {
    /// A request of which nothing but its bytes is known.
    pub(crate) fn alone(bytes: &'a [u8]) -> Self {
        Self { bytes, state: None, layout: None }
    }

    /// A hash of the database that its connection uses; `None` where that is not known.
    pub(crate) fn database(&self) -> Option<u64> {
        let name = self.state?.database();
        (!name.is_empty()).then(|| crate::hash::hash(name))
    }

    fn decode(&self) -> Decoded<'a> {
        match self.state {
            Some(state) => state.decode(self.bytes),
            None => decode(self.bytes),
        }
    }
}

/// Reads the fields of a request. `scratch` is a buffer that is used again from call to call.
pub(crate) fn read(request: Request<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) -> Facts {
    match request.decode() {
        Decoded::Http(request) => read_http(&request, scratch, sink),
        Decoded::Redis(commands) => read_redis(commands, scratch, sink),
        Decoded::Memcached(command) => read_memcached(&command, sink),
        Decoded::MySql(command) => read_mysql(&command, scratch, sink),
        Decoded::MySqlLogin(login) => {
            sink.field(Group::Command, Role::Identity, "command", b"login");
            sink.field(Group::Key, Role::Identity, "user", login.user);
            sink.field(Group::Argument, Role::Identity, "database", login.database);
            sink.field(Group::Argument, Role::Soft, "capabilities", &login.capabilities.to_be_bytes());
            sink.field(Group::Generated, Role::Volatile, "proof", login.proof);
            facts(false, "mysql login", login.user)
        }
        Decoded::Postgres(messages) => read_postgres(messages, scratch, sink),
        Decoded::PostgresStartUp(start_up) => {
            sink.field(Group::Command, Role::Identity, "command", b"start-up");
            for (name, value) in start_up.parameters() {
                let role = if matches!(name, b"user" | b"database") { Role::Identity } else { Role::Soft };
                sink.field(Group::Key, role, name_into(&mut scratch.name, "", name), value);
            }
            facts(false, "postgres start-up", b"")
        }
        Decoded::Thrift(call) => read_thrift(&call, scratch, sink),
        Decoded::MongoDb(command) => read_mongodb(&command, scratch, sink),
        Decoded::FastCgi(request) => read_fastcgi(&request, scratch, sink),
        decoded => {
            let bytes = if let Decoded::Unknown(bytes) = decoded { bytes } else { request.bytes };
            let Scratch { name, value } = scratch;
            if let Some(layout) = request.layout {
                layout.split(bytes, value, &mut |kind, offset, said| {
                    name.clear();
                    // Writing to a string cannot fail.
                    let _ = write!(name, "{} at {offset}", kind.name());
                    let role = if kind == Kind::Length { Role::Noise } else { Role::Volatile };
                    sink.field(Group::Generated, role, name, said);
                });
            }
            let rest = if request.layout.is_some() { value } else { bytes };
            // What is not understood is the same or another. A long number in it may be an id that is asked
            // for; a time is not.
            sink.field(Group::Bytes, Role::TimedIdentity, "bytes", rest);
            let start = rest.get(..4).unwrap_or(rest);
            Facts { unknown: true, ..facts(false, "bytes", start) }
        }
    }
}

/// Buffers for names and values that are put together.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    name: String,
    value: Vec<u8>,
}

fn facts(read_only: bool, general: &str, special: &[u8]) -> Facts {
    let general = crate::hash::hash(general.as_bytes());
    let neighbours = [crate::hash::mix(general, crate::hash::hash(special)), general];
    let [shape, _] = neighbours;
    Facts { read_only, neighbours, shape, unknown: false }
}

/// `prefix` and bytes that are text more often than not.
fn name_into<'a>(name: &'a mut String, prefix: &str, bytes: &[u8]) -> &'a str {
    name.clear();
    name.push_str(prefix);
    match core::str::from_utf8(bytes) {
        Ok(text) => name.push_str(text),
        Err(_) => push_escaped(name, bytes),
    }
    name
}

/// As `escape_ascii` does, which takes more room in what a browser loads.
fn push_escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' | b'"' | b'\'' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(text, "\\x{:02x}", u32::from(*byte)),
        }
    }
}

/// Runs of digits, and of hex with digits in it, all alike: `/orders/7` resembles `/orders/8`.
fn pattern(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    for part in text.chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric()) {
        let id = part.iter().any(u8::is_ascii_digit) && part.iter().all(u8::is_ascii_hexdigit);
        if id {
            out.push(b'0');
        } else {
            out.extend(part.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }));
        }
    }
}

// ---------------------------------------------------------------------------------------------- HTTP

fn read_http(request: &http::Request<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) -> Facts {
    sink.field(Group::Method, Role::Identity, "method", request.method());
    sink.field(Group::Path, Role::Identity, "path", request.path());
    if let Some(host) = request.host() {
        sink.field(Group::Host, Role::Identity, "host", host);
    }
    read_query(request.query(), scratch, sink);
    for (name, value) in request.headers() {
        let (group, role) = header_role(name);
        if role == Role::Identity && name.eq_ignore_ascii_case(b"host") {
            continue;
        }
        let is_type = name.eq_ignore_ascii_case(b"content-type");
        name_into(&mut scratch.name, "header ", name);
        // Header names have no case.
        scratch.name.make_ascii_lowercase();
        if name.eq_ignore_ascii_case(b"authorization") && read_claims(value, scratch, sink) {
            continue;
        }
        // A boundary is random.
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        sink.field(group, role, &scratch.name, if is_type { essence } else { value });
    }
    let last = request.segments().filter(|segment| !segment.is_empty()).last().unwrap_or_default();
    read_content(Body::of(last), request.body(), scratch, sink);
    pattern(request.path(), &mut scratch.value);
    let general = core::str::from_utf8(request.method()).unwrap_or("http");
    facts(matches!(request.method(), b"GET" | b"HEAD"), general, &scratch.value)
}

/// Who a JSON Web Token (RFC 7519) says is asking, which the next token of the same one says as well. `false` where it is
/// none.
fn read_claims(value: &[u8], scratch: &mut Scratch, sink: &mut dyn Sink) -> bool {
    let mut parts = value.rsplit(|byte| *byte == b'.');
    let (Some(_), Some(claims), Some(head)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    // A brace and a quote, and the scheme before them.
    let is_token = head.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer eyj"));
    let Some(claims) = is_token.then(|| base64(claims)).flatten() else { return false };
    let before = sink.count();
    let name = &mut scratch.name;
    let valid = json::leaves(&claims, |path, token| {
        name.clear();
        name.push_str("header authorization ");
        name.push_str(path);
        match path {
            "iat" | "exp" | "nbf" | "jti" | "auth_time" | "nonce" | "at_hash" | "sid" => {
                sink.field(Group::Generated, Role::Volatile, name, token);
            }
            _ => sink.field(Group::Header, Role::Timed, name, token),
        }
    });
    if valid.is_err() {
        sink.rewind(before);
    } else {
        sink.field(Group::Generated, Role::Volatile, "header authorization", value);
    }
    name.clear();
    name.push_str("header authorization");
    valid.is_ok()
}

/// Base 64, in the alphabet of URLs or the usual one, without the filling at its end.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        (bits, held) = (bits << 6 | u32::from(six), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

fn read_query(pairs: percent::Pairs<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) {
    for (name, value) in pairs {
        let name = percent::decode(name);
        let name = name_into(&mut scratch.name, "query ", &name);
        let value = percent::decode(value);
        let role = query_role(name, &value);
        sink.field(if role == Role::Volatile { Group::Generated } else { Group::Query }, role, name, &value);
    }
}

/// What a body is to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// It is written: ids in it may be generated.
    Written,
    /// It is a question: ids in it are asked for.
    Asked,
    /// A JSON-RPC call, whose own id only ties the answer to it.
    Rpc,
}

impl Body {
    /// By the last segment of the path.
    fn of(last: &[u8]) -> Self {
        let asks = matches!(
            last,
            b"graphql"
                | b"search"
                | b"_search"
                | b"_msearch"
                | b"_count"
                | b"_mget"
                | b"query"
                | b"find"
                | b"lookup"
        );
        if asks { Self::Asked } else { Self::Written }
    }
}

fn read_content(body: Body, content: http::Body<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) {
    match content {
        http::Body::Empty => {}
        http::Body::Json(content) => {
            let body = if is_rpc(&content) { Body::Rpc } else { body };
            if !read_json(&content, body, scratch, sink) {
                sink.field(Group::Body, Role::Value, "body", &content);
            }
        }
        http::Body::Form(content) => {
            for (name, value) in percent::Pairs::new(&content) {
                let name = percent::decode(name);
                let name = name_into(&mut scratch.name, "form ", &name);
                written(Group::Body, name, &percent::decode(value), sink);
            }
        }
        http::Body::Multipart { boundary, content } => {
            for (mut headers, part) in http::parts(boundary, &content) {
                let name = headers
                    .find(|(name, _)| name.eq_ignore_ascii_case(b"content-disposition"))
                    .and_then(|(_, value)| http::parameter(value, b"name"))
                    .unwrap_or_default();
                let name = name_into(&mut scratch.name, "form ", name);
                written(Group::Body, name, part, sink);
            }
        }
        http::Body::Bytes(content) => sink.field(Group::Body, Role::Value, "body", &content),
    }
}

/// A call of JSON-RPC 2.0, which says so, or 1.0, which has these three members.
fn is_rpc(content: &[u8]) -> bool {
    let head = content.get(..256).unwrap_or(content);
    let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
    has(head, b"\"jsonrpc\"")
        || has(head, b"\"method\"") && has(content, b"\"params\"") && has(content, b"\"id\"")
}

/// The id of a call, or of one of a batch.
fn is_call_id(path: &str) -> bool {
    let of_batch = || path.strip_prefix('[')?.strip_suffix("].id")?.parse::<u32>().ok();
    path == "id" || of_batch().is_some()
}

/// `false` where it is no JSON.
fn read_json(text: &[u8], body: Body, scratch: &mut Scratch, sink: &mut dyn Sink) -> bool {
    let before = sink.count();
    let name = &mut scratch.name;
    let valid = json::leaves(text, |path, token| {
        name.clear();
        name.push_str("body ");
        name.push_str(path);
        if body == Body::Rpc && is_call_id(path) {
            sink.field(Group::Generated, Role::Volatile, name, token);
        } else if body != Body::Written && !shape::is_volatile_name(name) {
            sink.field(Group::Body, Role::Timed, name, token);
        } else if token.contains(&b'\\') {
            // How a text is escaped is its writer's choice. The quote keeps it apart from a number.
            let mut value = Vec::with_capacity(token.len());
            value.push(b'"');
            value.extend_from_slice(&json::unescape(token));
            value.push(b'"');
            written(Group::Body, name, &value, sink);
        } else {
            written(Group::Body, name, token, sink);
        }
    });
    if valid.is_err() {
        sink.rewind(before);
    }
    valid.is_ok()
}

/// What is written somewhere under a name.
fn written(group: Group, name: &str, value: &[u8], sink: &mut dyn Sink) {
    if shape::is_volatile_name(name) && shape::may_be_volatile(value) {
        sink.field(Group::Generated, Role::Volatile, name, value);
    } else {
        sink.field(group, Role::Value, name, value);
    }
}

fn query_role(name: &str, value: &[u8]) -> Role {
    let plain = name.strip_prefix("query ").unwrap_or(name);
    if shape::is_volatile_name(name) && (shape::may_be_volatile(value) || value.is_empty()) {
        return Role::Volatile;
    }
    if shape::is_proof_name(name) && shape::is_generated(value) {
        return Role::Volatile;
    }
    if shape::is_time(value) && !shape::is_id_name(plain) {
        return Role::Volatile;
    }
    // What selects: with another one, or without it, something else is asked for.
    let selects = shape::is_id_name(plain)
        || matches!(
            plain,
            "q" | "query"
                | "search"
                | "filter"
                | "where"
                | "page"
                | "offset"
                | "cursor"
                | "after"
                | "before"
                | "start"
                | "end"
                | "from"
                | "to"
                | "since"
                | "until"
                | "key"
                | "keys"
                | "name"
                | "slug"
                | "email"
                | "user"
                | "uid"
                | "action"
                | "method"
                | "op"
                | "type"
                | "code"
                | "sku"
                | "date"
                | "day"
        );
    // A long number in a query is asked for: only what is written is generated.
    if selects { Role::Identity } else { Role::Timed }
}

/// What well-known headers are.
#[rustfmt::skip]
static HEADERS: Words<(Group, Role), 53, 25> = Words::new(&[
    (&["host", "range", "x-amz-target", "soapaction", "x-http-method-override", "x-http-method"],
        (Group::Header, Role::Identity)),
    // Where the body ends, how the connection goes on, and who is asking.
    (&["content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "expect",
        "user-agent", "date", "accept-encoding", "cache-control",
        "pragma", "via", "forwarded", "x-real-ip", "referer", "origin", "dnt", "priority",
        "upgrade-insecure-requests", "proxy-connection", "max-forwards"], (Group::Noise, Role::Noise)),
    (&["traceparent", "tracestate", "b3", "baggage", "x-request-id", "request-id", "x-correlation-id",
        "correlation-id", "x-request-start", "x-amz-date", "x-amz-content-sha256", "idempotency-key",
        "x-idempotency-key", "if-modified-since", "if-unmodified-since", "if-none-match", "uber-trace-id",
        "sentry-trace", "x-cloud-trace-context", "x-client-trace-id"], (Group::Generated, Role::Volatile)),
    // Whose data is asked for. A token that is generated is masked, as in any value.
    (&["authorization", "cookie", "x-api-key", "api-key", "apikey"], (Group::Header, Role::Value)),
]);

fn header_role(name: &[u8]) -> (Group, Role) {
    let mut lower = [0u8; 40];
    let Some(lower) = lower.get_mut(..name.len()) else { return (Group::Header, Role::Soft) };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let lower: &[u8] = lower;
    let has = |part: &[u8]| lower.windows(part.len()).any(|window| window == part);
    if let Some(known) = HEADERS.find(lower) {
        known
    } else if lower.starts_with(b"x-forwarded-") || lower.starts_with(b"sec-") {
        (Group::Noise, Role::Noise)
    } else if [&b"x-b3-"[..], b"x-datadog-", b"x-ot-"].iter().any(|family| lower.starts_with(family))
        || [&b"trace"[..], b"span-id", b"nonce", b"timestamp", b"signature"].iter().any(|part| has(part))
    {
        (Group::Generated, Role::Volatile)
    } else if has(b"tenant") || (lower.ends_with(b"-id") && !has(b"request") && !has(b"session")) {
        (Group::Header, Role::Value)
    } else {
        (Group::Header, Role::Soft)
    }
}

// --------------------------------------------------------------------------------------------- Redis

fn read_redis(commands: redis::Commands<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) -> Facts {
    let mut read_only = true;
    let mut first = None;
    for (position, command) in commands.enumerate() {
        let description = redis::describe(command.name());
        read_only &= description.is_some_and(|description| description.read_only);
        read_command(position, command, description, scratch, sink);
        first = first.or(Some(command));
    }
    let mut arguments = first.map(|command| command.arguments()).into_iter().flatten();
    let name = arguments.next().unwrap_or_default();
    pattern(arguments.next().unwrap_or_default(), &mut scratch.value);
    let general = name_into(&mut scratch.name, "redis ", name);
    general_facts(read_only, general, &scratch.value)
}

fn general_facts(read_only: bool, general: &str, special: &[u8]) -> Facts {
    facts(read_only, &general.to_ascii_lowercase(), special)
}

fn read_command(
    position: usize,
    command: redis::Command<'_>,
    description: Option<redis::Description>,
    scratch: &mut Scratch,
    sink: &mut dyn Sink,
) {
    let upper = command.name().to_ascii_uppercase();
    // The arguments of a script: the keys are counted, what follows them are values.
    let mut script_values_from = usize::MAX;
    for (index, argument) in command.arguments().enumerate() {
        let name = &mut scratch.name;
        name.clear();
        if position > 0 {
            // Writing to a string cannot fail.
            let _ = write!(name, "command {} ", position + 1);
        }
        if index == 0 {
            name.push_str("command");
            sink.field(Group::Command, Role::Identity, name, &upper);
            continue;
        }
        let _ = write!(name, "argument {index}");
        if index == 2 && matches!(&*upper, b"EVAL" | b"EVALSHA" | b"FCALL") {
            let keys = core::str::from_utf8(argument).ok().and_then(|count| count.parse::<usize>().ok());
            script_values_from = keys.and_then(|keys| keys.checked_add(3)).unwrap_or(usize::MAX);
        }
        let (group, role) = argument_role(&upper, index, argument, description, script_values_from);
        sink.field(group, role, name, argument);
    }
}

fn argument_role(
    command: &[u8],
    index: usize,
    argument: &[u8],
    description: Option<redis::Description>,
    script_values_from: usize,
) -> (Group, Role) {
    if index == 1 {
        return (Group::Key, Role::Identity);
    }
    if index >= script_values_from {
        return (Group::Argument, Role::Value);
    }
    match (command, index) {
        // How long it is kept says nothing about what it is.
        (b"SETEX" | b"PSETEX" | b"EXPIRE" | b"PEXPIRE", 2) | (b"SET", 3..) => {
            return (Group::Clause, Role::Soft);
        }
        // Limits in time, as a rate limiter has them.
        (
            b"ZRANGEBYSCORE" | b"ZREVRANGEBYSCORE" | b"ZREMRANGEBYSCORE" | b"ZCOUNT" | b"EXPIREAT"
            | b"PEXPIREAT" | b"XRANGE" | b"XREVRANGE",
            2..,
        ) if shape::is_clock(argument.strip_prefix(b"(").unwrap_or(argument)) => {
            return (Group::Generated, Role::Volatile);
        }
        // The key says which value is overwritten, and the answer does not depend on the value.
        (
            b"SET" | b"SETNX" | b"GETSET" | b"SETEX" | b"PSETEX" | b"MSET" | b"MSETNX" | b"HSET" | b"HMSET"
            | b"HSETNX" | b"LSET" | b"SETRANGE" | b"RESTORE" | b"JSON.SET",
            _,
        ) => {
            let Some(description) = description else { return (Group::Argument, Role::Identity) };
            let from = usize::from(description.values_from);
            let value = index >= from && (!description.alternating || (index - from).is_multiple_of(2));
            return (Group::Argument, if value { Role::Soft } else { Role::Identity });
        }
        _ => {}
    }
    match description {
        Some(description) if description.values_from > 0 && index >= usize::from(description.values_from) => {
            (Group::Argument, Role::Value)
        }
        _ => (Group::Argument, Role::Identity),
    }
}

// ----------------------------------------------------------------------------------------------- SQL

fn read_statement(statement: &sql::Statement<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) -> Facts {
    let upper = statement.verb().to_ascii_uppercase();
    let inserts_rows = matches!(&*upper, b"INSERT" | b"REPLACE")
        && statement.items().iter().any(|item| item.clause == sql::Clause::Values);
    sink.field(Group::Statement, Role::Identity, "statement", &upper);
    for table in statement.tables() {
        sink.field(Group::Table, Role::Identity, "table", table);
    }
    for item in statement.items() {
        let text = statement.text(item);
        let name = &mut scratch.name;
        match item.clause {
            sql::Clause::Columns => {
                let role =
                    if item.aggregate || statement.tables().is_empty() { Role::Identity } else { Role::Soft };
                let group = if role == Role::Soft { Group::Column } else { Group::Statement };
                sink.field(group, role, name_into(name, "column ", text), text);
            }
            // The columns of an INSERT are seen by the names of its values.
            sql::Clause::From if inserts_rows => {}
            sql::Clause::From => sink.field(Group::Table, Role::Identity, "from", text),
            sql::Clause::Where | sql::Clause::Group | sql::Clause::Having => {
                sink.field(Group::Where, Role::Identity, clause_name(item.clause), text);
            }
            sql::Clause::Order | sql::Clause::Limit => {
                sink.field(Group::Clause, Role::Soft, clause_name(item.clause), text);
            }
            sql::Clause::Set => {
                // `a = ?` is told by its literal.
                let plain =
                    text.strip_suffix(b" = ?").is_some_and(|name| name.eq_ignore_ascii_case(item.name));
                if !plain {
                    let name = name_into(name, "expression ", item.name);
                    sink.field(Group::Written, Role::Parameter, name, text);
                }
            }
            sql::Clause::Values => {
                let plain = text.iter().all(|byte| matches!(byte, b'(' | b')' | b',' | b'?' | b' '));
                if !plain {
                    sink.field(Group::Clause, Role::Soft, "values", text);
                }
            }
            sql::Clause::Other => sink.field(Group::Statement, Role::Identity, "rest", text),
        }
    }
    for literal in statement.literals() {
        read_literal(literal, &mut scratch.name, sink);
    }
    let read_only = statement.read_only();
    let table = statement.tables().first().map(Vec::as_slice).unwrap_or_default();
    let general = name_into(&mut scratch.name, "sql ", &upper);
    let general = crate::hash::mix(crate::hash::hash(general.as_bytes()), crate::hash::hash(table));
    Facts {
        read_only,
        neighbours: [crate::hash::mix(general, crate::hash::hash(statement.skeleton())), general],
        // Statements that differ in a clause are compared as well.
        shape: general,
        unknown: false,
    }
}

fn clause_name(clause: sql::Clause) -> &'static str {
    match clause {
        sql::Clause::Columns => "column",
        sql::Clause::From => "from",
        sql::Clause::Where => "where",
        sql::Clause::Group => "group",
        sql::Clause::Having => "having",
        sql::Clause::Order => "order",
        sql::Clause::Limit => "limit",
        sql::Clause::Set => "set",
        sql::Clause::Values => "values",
        sql::Clause::Other => "literal",
    }
}

fn read_literal(literal: &sql::Literal<'_>, name: &mut String, sink: &mut dyn Sink) {
    name.clear();
    name.push_str(clause_name(literal.clause));
    if literal.row > 0 {
        // Writing to a string cannot fail.
        let _ = write!(name, "[{}]", literal.row);
    }
    if !literal.column.is_empty() {
        name.push(' ');
        // A name is repeated with every row: one that is absurdly long would be out of proportion.
        let column = literal.column.get(..64).unwrap_or(literal.column);
        match core::str::from_utf8(column) {
            Ok(column) => name.push_str(column),
            Err(_) => push_escaped(name, column),
        }
    }
    match literal.clause {
        sql::Clause::Where
        | sql::Clause::From
        | sql::Clause::Group
        | sql::Clause::Having
        | sql::Clause::Other => {
            // "Since an hour ago" is asked for anew each time; `id = 1795358265` asks for a row.
            let quoted = literal.text.first() == Some(&b'\'');
            let clock =
                shape::is_time(literal.text) && (quoted || literal.comparison == sql::Comparison::Range);
            if clock || shape::are_times(literal.text) {
                sink.field(Group::Generated, Role::Volatile, name, literal.text);
            } else {
                sink.field(Group::Where, Role::Identity, name, literal.text);
            }
        }
        sql::Clause::Columns | sql::Clause::Order => {
            sink.field(Group::Column, Role::Value, name, literal.text)
        }
        sql::Clause::Limit => sink.field(Group::Clause, Role::Parameter, name, literal.text),
        sql::Clause::Set | sql::Clause::Values => written(Group::Written, name, literal.text, sink),
    }
}

// -------------------------------------------------------------------------------------------- Thrift

fn read_thrift(call: &thrift::Call<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) -> Facts {
    sink.field(Group::Command, Role::Identity, "method", call.method);
    sink.field(Group::Generated, Role::Volatile, "sequence", &call.sequence.to_be_bytes());
    let before = sink.count();
    let Scratch { name, value: text } = scratch;
    let well_formed = call.fields(|path, value| {
        name.clear();
        name.push_str("argument ");
        name.push_str(path);
        text.clear();
        match value {
            Value::Integer(number) => {
                push_number(text, number);
                // In thousandths or seconds, but as a 64-bit number: a 32-bit one is as likely an id.
                if number > i64::from(u32::MAX) && shape::is_clock(text) {
                    sink.field(Group::Generated, Role::Volatile, name, text);
                } else {
                    sink.field(Group::Argument, Role::Parameter, name, text);
                }
            }
            Value::Double(number) => {
                sink.field(Group::Argument, Role::Parameter, name, &number.to_be_bytes());
            }
            Value::Bytes(bytes) => {
                let role = if core::str::from_utf8(bytes).is_ok() { Role::Value } else { Role::Parameter };
                sink.field(Group::Argument, role, name, bytes);
            }
            other => sink.field(Group::Argument, Role::Parameter, name, &other.text()),
        }
    });
    if well_formed.is_none() {
        sink.rewind(before);
        sink.field(Group::Argument, Role::Identity, "arguments", call.arguments);
    }
    facts(false, "thrift", call.method)
}

fn push_number(text: &mut Vec<u8>, number: i64) {
    let digits = alloc::format!("{number}");
    text.extend_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_as_by_the_standard_library() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let mut text = String::new();
        push_escaped(&mut text, &all);
        assert_eq!(text, std::format!("{}", all.escape_ascii()));
    }
}
