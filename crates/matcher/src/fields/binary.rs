//! Fields of requests in binary protocols, and of prepared statements.

use super::{
    Body, Facts, Group, Role, Scratch, Sink, facts, header_role, name_into, read_content, read_literal,
    read_query, read_statement, written,
};
use crate::shape;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use koala_protocol::decode::{Value, fastcgi, memcached, mongodb, mysql, postgres, sql};

pub(super) fn read_memcached(command: &memcached::Command<'_>, sink: &mut dyn Sink) -> Facts {
    sink.field(Group::Command, Role::Identity, "command", command.command);
    sink.field(Group::Key, Role::Identity, "key", &command.key);
    sink.field(Group::Clause, Role::Soft, "lifetime", command.lifetime);
    match command.value {
        Some(value) => {
            let adds = matches!(command.command, b"append" | b"prepend");
            sink.field(Group::Argument, if adds { Role::Value } else { Role::Soft }, "value", value);
        }
        None => sink.field(Group::Argument, Role::Identity, "options", command.options),
    }
    facts(command.read_only(), "memcached", &command.key)
}

pub(super) fn read_mongodb(
    command: &mongodb::Command<'_>,
    scratch: &mut Scratch,
    sink: &mut dyn Sink,
) -> Facts {
    sink.field(Group::Command, Role::Identity, "command", command.name);
    sink.field(Group::Table, Role::Identity, "collection", command.collection);
    sink.field(Group::Table, Role::Identity, "database", command.database);
    sink.field(Group::Generated, Role::Volatile, "request id", &command.request_id.to_be_bytes());
    let mut writes = false;
    // A message that was decoded is well formed.
    let _ = command.fields(|path, value| {
        let has = |part: &[u8]| path.as_bytes().windows(part.len()).any(|window| window == part);
        writes |= has(b"$out") || has(b"$merge");
        if matches!(path, "$db" | "collection")
            || path.as_bytes() == command.name && command.name != b"getMore"
        {
            return;
        }
        let text = value.text();
        let name = name_into(&mut scratch.name, "", path.as_bytes());
        if mongodb::Command::is_generated(path) {
            sink.field(Group::Generated, Role::Volatile, name, &text);
            return;
        }
        let end = path.bytes().position(|byte| matches!(byte, b'.' | b'[')).unwrap_or(path.len());
        let top = path.get(..end).unwrap_or(path);
        // `updates[0].q.id`
        let is_question = || path.as_bytes().split(|byte| *byte == b'.').nth(1) == Some(b"q");
        match top {
            "documents" | "update" => written(Group::Written, name, &text, sink),
            "updates" if !is_question() => written(Group::Written, name, &text, sink),
            "limit" | "skip" => sink.field(Group::Clause, Role::Parameter, name, &text),
            "batchSize" | "sort" | "projection" | "fields" | "ordered" | "cursor" | "writeConcern"
            | "readConcern" | "$readPreference" | "singleBatch" | "maxTimeMS" | "comment" | "hint" => {
                sink.field(Group::Clause, Role::Soft, name, &text);
            }
            // "Since an hour ago" is asked for anew each time.
            _ if matches!(value, Value::Time(_)) && has(b".$") => {
                sink.field(Group::Generated, Role::Volatile, name, &text);
            }
            _ => sink.field(Group::Where, Role::Identity, name, &text),
        }
    });
    let reads = matches!(
        command.name,
        b"find"
            | b"aggregate"
            | b"count"
            | b"distinct"
            | b"hello"
            | b"isMaster"
            | b"ismaster"
            | b"ping"
            | b"buildInfo"
            | b"listCollections"
            | b"listIndexes"
            | b"listDatabases"
    );
    let general = core::str::from_utf8(command.name).unwrap_or("mongodb");
    facts(reads && !writes, general, command.collection)
}

pub(super) fn read_fastcgi(
    request: &fastcgi::Request<'_>,
    scratch: &mut Scratch,
    sink: &mut dyn Sink,
) -> Facts {
    let path = request.param("REQUEST_URI").split(|byte| *byte == b'?').next().unwrap_or_default();
    sink.field(Group::Method, Role::Identity, "method", request.param("REQUEST_METHOD"));
    sink.field(Group::Path, Role::Identity, "path", path);
    read_query(request.query(), scratch, sink);
    for (name, value) in request.params() {
        let (group, role) = match name {
            b"REQUEST_URI" | b"QUERY_STRING" | b"REQUEST_METHOD" => continue,
            b"SCRIPT_FILENAME" | b"SCRIPT_NAME" | b"PATH_INFO" => (Group::Path, Role::Identity),
            b"CONTENT_LENGTH" | b"REMOTE_ADDR" | b"REMOTE_PORT" => (Group::Noise, Role::Noise),
            _ => match name.strip_prefix(b"HTTP_") {
                Some(header) => {
                    let header: Vec<u8> =
                        header.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
                    header_role(&header)
                }
                None if name.starts_with(b"SERVER_") => (Group::Noise, Role::Noise),
                None => (Group::Header, Role::Soft),
            },
        };
        sink.field(group, role, name_into(&mut scratch.name, "param ", name), value);
    }
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    read_content(Body::of(last), request.body(), scratch, sink);
    facts(matches!(request.param("REQUEST_METHOD"), b"GET" | b"HEAD"), "fastcgi", path)
}

/// The values of a statement's placeholders, each where its placeholder stands.
pub(super) fn read_values<'v>(
    statement: &sql::Statement<'_>,
    values: impl Iterator<Item = Value<'v>>,
    name: &mut String,
    sink: &mut dyn Sink,
) {
    let mut question_marks = 0;
    let places: Vec<(usize, &sql::Literal<'_>)> = statement
        .literals()
        .iter()
        .filter_map(|literal| match literal.text {
            b"?" => {
                question_marks += 1;
                Some((question_marks, literal))
            }
            [b'$', digits @ ..] => Some((core::str::from_utf8(digits).ok()?.parse().ok()?, literal)),
            _ => None,
        })
        .collect();
    for (index, value) in values.enumerate() {
        let text = as_literal(&value);
        // Rows of values follow one another for the same placeholders.
        let number = if question_marks > 0 { index % question_marks + 1 } else { index + 1 };
        // Mostly placeholders stand in the order of their numbers.
        let ordered = places.get(index % places.len().max(1)).filter(|(place, _)| *place == number);
        match ordered.or_else(|| places.iter().find(|(place, _)| *place == number)) {
            Some((_, literal)) => read_literal(&sql::Literal { text: &text, ..**literal }, name, sink),
            None => {
                name.clear();
                // Writing to a string cannot fail.
                let _ = write!(name, "parameter {}", index + 1);
                let role = if shape::is_time(&text) { Role::Volatile } else { Role::Identity };
                sink.field(Group::Where, role, name, &text);
            }
        }
    }
}

/// A value as it is read in a statement: a time has quotes there, which a number of seconds has not.
fn as_literal(value: &Value<'_>) -> Vec<u8> {
    let text = value.text();
    let is_number = text.iter().all(u8::is_ascii_digit);
    if !is_number && shape::is_time(&text) { [b"'", &*text, b"'"].concat() } else { text.into_owned() }
}

pub(super) fn read_mysql(command: &mysql::Command<'_>, scratch: &mut Scratch, sink: &mut dyn Sink) -> Facts {
    sink.field(Group::Command, Role::Identity, "command", command.name().as_bytes());
    let Some(text) = command.sql() else {
        // Nothing is answered when a statement is closed, and which one an unknown number meant is lost.
        let closes = command.code == mysql::STATEMENT_CLOSE;
        let (group, role) =
            if closes { (Group::Generated, Role::Volatile) } else { (Group::Argument, Role::Identity) };
        sink.field(group, role, "argument 1", command.body);
        return facts(closes || command.code == mysql::PING, command.name(), command.body);
    };
    let statement = sql::Statement::parse(text, sql::Dialect::MySql);
    let facts = read_statement(&statement, scratch, sink);
    if let Some(id) = command.statement_id() {
        sink.field(Group::Generated, Role::Volatile, "statement id", &id.to_be_bytes());
        match command.parameters() {
            Some(values) => read_values(&statement, values, &mut scratch.name, sink),
            None => sink.field(Group::Argument, Role::Value, "argument 1", command.rest()),
        }
    }
    let read_only = match command.code {
        mysql::QUERY | mysql::STATEMENT_EXECUTE => facts.read_only,
        // What it changes is gone with the connection, and each connection needs it.
        mysql::STATEMENT_PREPARE
        | mysql::STATEMENT_RESET
        | mysql::STATEMENT_CLOSE
        | mysql::STATEMENT_SEND_LONG_DATA => true,
        _ => false,
    };
    Facts { read_only, ..facts }
}

/// How a description of a portal is told from that of a statement among the types of messages.
const DESCRIBE_PORTAL: u8 = b'd';

pub(super) fn read_postgres(
    messages: postgres::Messages<'_>,
    scratch: &mut Scratch,
    sink: &mut dyn Sink,
) -> Facts {
    let mut read_only = true;
    let mut found = None;
    // The statement that was read last, and whether it only reads.
    let mut known: Option<(&[u8], sql::Statement<'_>)> = None;
    let mut reads = false;
    // The messages that the server answers, by their types.
    let mut answered = Vec::new();
    let mut on_the_way = [None; 2];
    for message in messages {
        // What is prepared, bound, described or closed is gone with the connection, and each connection needs it.
        let (kind, runs) = match &message {
            postgres::Message::Query(_) => (b'Q', true),
            postgres::Message::Parse { .. } => (b'P', false),
            postgres::Message::Bind { .. } => (b'B', false),
            postgres::Message::Execute { .. } => (b'E', true),
            // Columns of what is run: those who know them need not ask.
            postgres::Message::Named { kind: b'D', what: b'P', .. } => (DESCRIBE_PORTAL, false),
            postgres::Message::Named { kind, .. } => (*kind, false),
            // Sync and Flush steer the conversation.
            postgres::Message::Other(b'S' | b'H', _) => continue,
            postgres::Message::Other(kind, body) => {
                sink.field(Group::Command, Role::Identity, "message", &[*kind]);
                sink.field(Group::Argument, Role::Identity, "message body", body);
                read_only = false;
                continue;
            }
            _ => continue,
        };
        // Whether a statement is prepared and described on the way depends on what its connection was used for before.
        match (answered.last(), kind) {
            (Some(b'P'), b'B') => on_the_way[0] = Some("prepares"),
            (Some(&DESCRIBE_PORTAL), b'E') => on_the_way[1] = Some("describes"),
            _ => answered.push(0),
        }
        if let Some(last) = answered.last_mut() {
            *last = kind;
        }
        let (name, text, values) = match message {
            postgres::Message::Query(text) => (None, Some(text), None),
            postgres::Message::Parse { name, sql } => (Some(name), Some(sql), None),
            postgres::Message::Bind { statement, sql, parameters, .. } => {
                (Some(statement), sql, Some(parameters))
            }
            postgres::Message::Execute { bound: Some((sql, parameters)), .. } => {
                (None, Some(sql), Some(parameters))
            }
            postgres::Message::Named { what: b'S', name, sql, .. } => (Some(name), sql, None),
            // Of a portal that was bound here, or of one that is not known.
            _ => {
                read_only &= reads || !runs;
                continue;
            }
        };
        if let Some(name) = name {
            let role = if text.is_some() { Role::Volatile } else { Role::Identity };
            let group = if text.is_some() { Group::Generated } else { Group::Statement };
            sink.field(group, role, "statement name", name);
        }
        match text {
            Some(text) if known.as_ref().is_none_or(|(known, _)| *known != text) => {
                let statement = sql::Statement::parse(text, sql::Dialect::Postgres);
                let facts = read_statement(&statement, scratch, sink);
                reads = facts.read_only;
                found = found.or(Some(facts));
                known = Some((text, statement));
            }
            Some(_) => {}
            None => {
                // Which statement this is was said in an earlier request.
                reads = false;
                known = None;
            }
        }
        read_only &= reads || !runs;
        if let Some(values) = values {
            // The form of the values is not what is asked for; an answer in the same form is the better one.
            let formats = values.result_formats();
            if !formats.is_empty() {
                sink.field(Group::Clause, Role::Soft, "result formats", formats);
            }
            let none = sql::Statement::parse(b"", sql::Dialect::Postgres);
            let statement = known.as_ref().map_or(&none, |(_, statement)| statement);
            read_values(statement, values.values(), &mut scratch.name, sink);
        }
    }
    for told in on_the_way.into_iter().flatten() {
        sink.field(Group::Clause, Role::Soft, told, b"yes");
    }
    sink.field(Group::Command, Role::Identity, "messages", &answered);
    match found {
        Some(facts) => Facts { read_only, ..facts },
        None => facts(false, "postgres", b""),
    }
}
