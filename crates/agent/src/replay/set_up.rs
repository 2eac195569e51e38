//! What is said on a connection for the connection's own sake.
//!
//! A pool connects when it likes: a session that found a connection open in the recording may have to open one in
//! the replay, and a statement that was prepared before may have to be prepared. Such requests ask for no data. They
//! are answered from wherever they were recorded with that peer, and those that any server answers in the same way, as
//! it would.

use koala_protocol::decode::{Decoded, decode, mysql, postgres};

use crate::replay::login::mysql_ok;
use crate::replay::redis;

/// What two requests have in common that set their connection up in the same way; `None` where one does not do that.
pub fn key(request: &[u8]) -> Option<Vec<u8>> {
    match decode(request) {
        Decoded::Redis(_) => redis::sets_up(request).then(|| request.to_vec()),
        Decoded::MySql(command) => {
            let sets_up = match command.code {
                mysql::STATEMENT_PREPARE | mysql::INIT_DB | SET_OPTION => true,
                mysql::QUERY => command.sql().is_some_and(is_about_the_connection),
                _ => false,
            };
            sets_up.then(|| request.to_vec())
        }
        Decoded::Postgres(messages) => postgres_key(messages),
        _ => None,
    }
}

/// What any server answers to a request, where all that it is about is its connection: nothing to a farewell.
/// `in_transaction` is what PostgreSQL's server has said last: `I`, `T` or `E`.
pub fn simulate(request: &[u8]) -> Option<Vec<u8>> {
    match decode(request) {
        Decoded::Redis(_) => redis::simulate(request),
        Decoded::MySql(command) => match command.code {
            mysql::QUIT | mysql::STATEMENT_CLOSE => Some(Vec::new()),
            mysql::PING | mysql::RESET_CONNECTION | mysql::STATEMENT_RESET => Some(mysql_ok(1)),
            _ => None,
        },
        // No encryption.
        Decoded::PostgresStartUp(start_up) => match start_up.code {
            SSL_REQUEST | GSS_REQUEST => Some(vec![b'N']),
            CANCEL_REQUEST => Some(Vec::new()),
            _ => None,
        },
        Decoded::Postgres(mut messages) => {
            messages.all(|message| matches!(message, postgres::Message::Other(b'X', _))).then(Vec::new)
        }
        _ => None,
    }
}

/// `COM_SET_OPTION`.
const SET_OPTION: u8 = 27;
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// A request that only prepares or closes statements, or whose statements are about the connection; names that the
/// client gives to statements say nothing.
fn postgres_key(messages: postgres::Messages<'_>) -> Option<Vec<u8>> {
    use postgres::Message;
    let mut key = Vec::new();
    let mut part = |kind: u8, what: &[u8]| {
        key.push(kind);
        key.extend_from_slice(what);
        key.push(0);
    };
    for message in messages {
        match message {
            Message::Query(sql) if is_about_the_connection(sql) => part(b'Q', sql),
            Message::Parse { sql, .. } => part(b'P', sql),
            Message::Bind { sql: Some(sql), parameters, .. } if is_about_the_connection(sql) => {
                part(b'B', b"");
                for value in parameters {
                    part(b'v', value.unwrap_or(b"\0"));
                }
            }
            Message::Execute { rows, .. } => part(b'E', &rows.to_be_bytes()),
            Message::Named { kind, what, .. } => part(kind, &[what]),
            Message::Other(kind @ (b'S' | b'H'), _) => part(kind, b""),
            _ => return None,
        }
    }
    // What runs what was bound before is no set-up.
    let runs = key.iter().take_while(|kind| **kind != b'B').any(|kind| *kind == b'E');
    (!runs).then_some(key)
}

/// Whether a statement is about its connection, or asks the server what it is: `SET`, `SHOW`, `SELECT version()`.
fn is_about_the_connection(sql: &[u8]) -> bool {
    let text = String::from_utf8_lossy(sql).to_ascii_lowercase();
    let text = without_comments(&text).trim_end_matches([';', ' ', '\n']);
    let mut words = text.split_ascii_whitespace();
    let (Some(verb), second) = (words.next(), words.next().unwrap_or_default()) else { return false };
    match verb {
        "set" => !matches!(second, "global" | "persist" | "persist_only" | "password"),
        "reset" | "discard" | "deallocate" | "unlisten" | "use" => true,
        "show" => {
            let of_server = matches!(second, "variables" | "session" | "global" | "collation" | "engines");
            let of_data = matches!(
                second,
                "tables" | "databases" | "schemas" | "processlist" | "status" | "warnings" | "errors"
            );
            of_server || (words.next().is_none() && !of_data)
        }
        "select" | "with" => {
            text.contains("pg_type")
                || text.strip_prefix("select").is_some_and(|list| list.split(',').all(is_of_the_server))
        }
        _ => false,
    }
}

/// Whether an item of a list of columns is a variable of the server, or a function that tells of it.
fn is_of_the_server(item: &str) -> bool {
    let item = item.trim();
    let value = item.split(" as ").next().unwrap_or(item).trim();
    let value = value.strip_prefix("pg_catalog.").unwrap_or(value);
    let variable = value.strip_prefix("@@").is_some_and(|name| {
        name.split_ascii_whitespace()
            .enumerate()
            .all(|(at, word)| at == 0 || (at == 1 && word != "from" && word != "into"))
    });
    let function = matches!(
        value,
        "version()"
            | "database()"
            | "schema()"
            | "user()"
            | "current_user()"
            | "current_user"
            | "connection_id()"
            | "current_schema()"
            | "current_schema"
            | "current_database()"
            | "pg_backend_pid()"
            | "pg_is_in_recovery()"
    );
    variable || function || value == "1"
}

fn without_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let Some(rest) = text.strip_prefix("/*").filter(|rest| !rest.starts_with('!')) else { return text };
        let Some(end) = rest.find("*/") else { return text };
        text = rest.get(end + 2..).unwrap_or_default();
    }
}
