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
        Decoded::Postgres(messages) => answer_to_nothing(messages),
        _ => None,
    }
}

/// What PostgreSQL answers to a statement in which nothing stands, outside of a transaction; nothing to a farewell.
fn answer_to_nothing(messages: postgres::Messages<'_>) -> Option<Vec<u8>> {
    use postgres::Message;
    const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
    const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";
    const NO_DATA: &[u8] = b"n\0\0\0\x04";
    const EMPTY_QUERY_RESPONSE: &[u8] = b"I\0\0\0\x04";
    const READY_FOR_QUERY: &[u8] = b"Z\0\0\0\x05I";
    let mut answer = Vec::new();
    let mut bound = false;
    for message in messages {
        match message {
            Message::Query(sql) if is_nothing(sql) => {
                answer.extend_from_slice(EMPTY_QUERY_RESPONSE);
                answer.extend_from_slice(READY_FOR_QUERY);
            }
            Message::Parse { sql, .. } if is_nothing(sql) => answer.extend_from_slice(PARSE_COMPLETE),
            Message::Bind { sql: Some(sql), .. } if is_nothing(sql) => {
                bound = true;
                answer.extend_from_slice(BIND_COMPLETE);
            }
            Message::Named { kind: b'D', what: b'P', .. } if bound => answer.extend_from_slice(NO_DATA),
            Message::Execute { .. } if bound => answer.extend_from_slice(EMPTY_QUERY_RESPONSE),
            Message::Other(b'S', _) if bound => answer.extend_from_slice(READY_FOR_QUERY),
            Message::Other(b'X', _) => {}
            _ => return None,
        }
    }
    Some(answer)
}

fn is_nothing(sql: &[u8]) -> bool {
    std::str::from_utf8(sql)
        .is_ok_and(|sql| without_comments(sql).trim_end_matches([';', ' ', '\n']).is_empty())
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
    // What was bound by an earlier request is no set-up to run.
    let mut bound = false;
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
                bound = true;
                part(b'B', b"");
                for value in parameters {
                    part(b'v', value.unwrap_or(b"\0"));
                }
            }
            Message::Execute { rows, .. } if bound => part(b'E', &rows.to_be_bytes()),
            Message::Named { kind, what, .. } => part(kind, &[what]),
            Message::Other(kind @ (b'S' | b'H'), _) => part(kind, b""),
            _ => return None,
        }
    }
    Some(key)
}

/// Whether a statement is about its connection, or asks the server what it is: `SET`, `SHOW`, `SELECT version()`; or is
/// empty, as that by which JDBC's driver for PostgreSQL asks whether the server is still there.
fn is_about_the_connection(sql: &[u8]) -> bool {
    let text = String::from_utf8_lossy(sql).to_ascii_lowercase();
    let text = without_comments(&text).trim_end_matches([';', ' ', '\n']);
    let mut words = text.split_ascii_whitespace();
    let (Some(verb), second) = (words.next(), words.next().unwrap_or_default()) else { return true };
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
                || text
                    .strip_prefix("select")
                    .is_some_and(|list| is_a_setting(list) || list.split(',').all(is_of_the_server))
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

/// Whether a list of columns is one call of `set_config`, which is PostgreSQL's `SET` as a function; Django sets the
/// time zone so.
fn is_a_setting(list: &str) -> bool {
    let list = list.trim_start();
    let call = list.strip_prefix("pg_catalog.").unwrap_or(list).strip_prefix("set_config(");
    call.and_then(|rest| rest.split_once(')')).is_some_and(|(values, rest)| {
        !values.contains("select")
            && rest.trim_start().strip_prefix("as ").unwrap_or(rest).split_whitespace().count() < 2
    })
}

fn without_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let Some(rest) = text.strip_prefix("/*").filter(|rest| !rest.starts_with('!')) else { return text };
        let Some(end) = rest.find("*/") else { return text };
        text = rest.get(end + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::postgres_message as message;

    fn query(sql: &str) -> Vec<u8> {
        let length = u32::try_from(sql.len() + 1).unwrap().to_le_bytes();
        [&length[..3], &[0, mysql::QUERY], sql.as_bytes()].concat()
    }

    #[test]
    fn statements_about_the_connection_ask_for_no_data() {
        for sql in [
            "SET NAMES utf8mb4",
            "set session time_zone = '+00:00';",
            "/* mysql-connector-j */SELECT @@session.auto_increment_increment AS a, @@version_comment",
            "SELECT VERSION()",
            "select pg_catalog.version()",
            "SHOW VARIABLES LIKE 'sql_mode'",
            "SHOW server_version",
            "SELECT current_schema()",
            "SELECT set_config('TimeZone', 'UTC', false)",
            "SELECT pg_catalog.set_config($1, $2, false) AS zone",
            "SELECT t.oid FROM pg_catalog.pg_type AS t",
            "",
            "/* ping */ ;",
        ] {
            assert!(key(&query(sql)).is_some(), "{sql}");
        }
        for sql in [
            "SET GLOBAL max_connections = 1",
            "SHOW TABLES",
            "SELECT name FROM trees",
            "SELECT @@version, name FROM trees",
            "SELECT @@version FROM trees",
            "SELECT nextval('ids')",
            "SELECT set_config('a', 'b', false), name FROM trees",
            "SELECT set_config('a', (SELECT name FROM trees), false)",
            "UPDATE trees SET name = 'x'",
            "/* SET */ DELETE FROM trees",
        ] {
            assert_eq!(key(&query(sql)), None, "{sql}");
        }
    }

    #[test]
    fn a_statement_is_prepared_by_its_text_and_not_by_its_name() {
        let prepare = |name: &str, sql: &str| {
            let body = format!("{name}\0{sql}\0\0\0");
            [
                message(b'P', body.as_bytes()),
                message(b'D', format!("S{name}\0").as_bytes()),
                message(b'S', b""),
            ]
            .concat()
        };
        let one = key(&prepare("s1", "SELECT a FROM t WHERE id = $1"));
        assert!(one.is_some());
        assert_eq!(one, key(&prepare("s2", "SELECT a FROM t WHERE id = $1")));
        assert_ne!(one, key(&prepare("s1", "SELECT a FROM t WHERE id = $2")));
        let run =
            [message(b'B', b"\0s1\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
        assert_eq!(key(&run), None, "it asks for rows");
        let run = [message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
        assert_eq!(key(&run), None, "so does this");
        assert_eq!(key(&[prepare("s1", "SELECT a FROM t"), run].concat()), None);
    }

    #[test]
    fn any_server_says_this() {
        assert_eq!(simulate(b"\x01\0\0\0\x0e"), Some(mysql_ok(1)));
        assert_eq!(simulate(b"\x01\0\0\0\x01"), Some(Vec::new()), "nothing to a farewell");
        assert_eq!(simulate(&message(b'X', b"")), Some(Vec::new()));
        assert_eq!(simulate(&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]), Some(b"N".to_vec()));
        assert_eq!(simulate(&query("SET NAMES utf8")), None, "it may be refused");
        assert_eq!(simulate(&message(b'Q', b"SELECT 1\0")), None);
        assert_eq!(simulate(&message(b'Q', b"\0")), Some(b"I\0\0\0\x04Z\0\0\0\x05I".to_vec()));
        // PgConnection.isValid of pgjdbc.
        let bind = [
            message(b'B', b"\0\0\0\0\0\0\0\0"),
            message(b'D', b"P\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ]
        .concat();
        let answer = b"1\0\0\0\x042\0\0\0\x04n\0\0\0\x04I\0\0\0\x04Z\0\0\0\x05I".to_vec();
        assert_eq!(simulate(&[message(b'P', b"\0\0\0\0"), bind.clone()].concat()), Some(answer));
        assert_eq!(simulate(&[message(b'P', b"\0SELECT a FROM t\0\0\0"), bind.clone()].concat()), None);
        assert_eq!(simulate(&bind), None, "what it runs is not known");
        assert_eq!(simulate(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
