//! What the matcher decides: a table of meanings, and properties that hold for any calls.

use crate::{Decision, Index, RecordedCall, Strategy};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use std::collections::BTreeSet;

const PEER: &str = "10.0.0.1:80";

fn index(calls: &[&[u8]]) -> Index {
    Index::new(Strategy::Auto, calls.iter().map(|request| RecordedCall::new(PEER, request)))
}

fn decide(recorded: &[u8], request: &[u8]) -> Decision {
    index(&[recorded]).find(PEER, request)
}

/// The same call, with what changed.
#[track_caller]
fn same(recorded: &[u8], request: &[u8], differences: &[&str]) {
    let decision = decide(recorded, request);
    assert_eq!(decision.index, Some(0), "{decision:#?}");
    assert_eq!(decision.differences, differences);
    assert!((0.0..=1.0).contains(&decision.mark));
    assert_eq!(decision.nearest, None);
}

/// Another call, with what makes it another one.
#[track_caller]
fn other(recorded: &[u8], request: &[u8], differences: &[&str]) {
    let decision = decide(recorded, request);
    assert_eq!(decision.index, None, "{decision:#?}");
    assert_eq!(decision.nearest, Some(0));
    assert_eq!(decision.differences, differences);
    assert!(decision.mark == 0.0 && !decision.reused);
}

fn redis(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        bytes.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    bytes.into_bytes()
}

fn query(sql: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(sql.len() + 1).expect("short").to_le_bytes().to_vec();
    bytes.push(3);
    bytes.extend_from_slice(sql.as_bytes());
    bytes
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n").into_bytes()
}

fn post(target: &str, json: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
    .into_bytes()
}

fn postgres(sql: &str, parameters: &[&str]) -> Vec<u8> {
    let message = |kind: u8, body: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&u32::try_from(body.len() + 4).expect("short").to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let mut bind = b"\0\0\0\0".to_vec();
    bind.extend_from_slice(&u16::try_from(parameters.len()).expect("few").to_be_bytes());
    for parameter in parameters {
        bind.extend_from_slice(&u32::try_from(parameter.len()).expect("short").to_be_bytes());
        bind.extend_from_slice(parameter.as_bytes());
    }
    bind.extend_from_slice(&[0, 0]);
    let parse = [b"\0", sql.as_bytes(), b"\0\0\0"].concat();
    [message(b'P', &parse), message(b'B', &bind), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

#[test]
fn http_asks_by_path_query_and_body() {
    other(&get("/orders/7"), &get("/orders/8"), &["path: /orders/7 -> /orders/8"]);
    other(&get("/o?page=1"), &get("/o?page=2"), &["query page: 1 -> 2"]);
    other(&get("/o"), &get("/o?page=2"), &["query page: (absent) -> 2"]);
    other(&get("/o?lang=en"), &get("/o?lang=de"), &["query lang: en -> de"]);
    other(
        &get("/o?order=123456789012"),
        &get("/o?order=210987654321"),
        &["query order: 123456789012 -> 210987654321"],
    );
    other(&get("/o"), b"GET /o HTTP/1.1\r\nHost: bank\r\nAccept: */*\r\n\r\n", &["host: shop -> bank"]);
    other(&get("/o"), b"HEAD /o HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n", &["method: GET -> HEAD"]);
    other(
        &post("/pay", r#"{"user":7,"sum":5}"#),
        &post("/pay", r#"{"user":8,"sum":5}"#),
        &["body user: 7 -> 8"],
    );
    other(
        &post("/graphql", r#"{"variables":{"id":"3f2504e0-4f89-11d3-9a0c-0305e82c3301"}}"#),
        &post("/graphql", r#"{"variables":{"id":"aaaaaaaa-4f89-11d3-9a0c-0305e82c3301"}}"#),
        &[
            "body variables.id: \"3f2504e0-4f89-11d3-9a0c-0305e82c3301\" -> \"aaaaaaaa-4f89-11d3-9a0c-0305e82c3301\"",
        ],
    );
}

#[test]
fn http_asks_for_whom_it_says() {
    let as_user =
        |who: &str| format!("GET /me HTTP/1.1\r\nHost: shop\r\nAuthorization: {who}\r\n\r\n").into_bytes();
    other(
        &as_user("Basic YW5uOmE="),
        &as_user("Basic Ym9iOmI="),
        &["header authorization: Basic YW5uOmE= -> Basic Ym9iOmI="],
    );
    let (one, two) = ("Bearer 96ed215605752205e1a14b1b93bfbb8b", "Bearer b7ac4752a1a4af2f1bd669d830d72b52");
    same(&as_user(one), &as_user(two), &[&format!("header authorization: {one} -> {two}")]);
}

#[test]
fn http_changes_are_reported() {
    same(&get("/o?a=1&b=2"), &get("/o?b=2&a=1"), &[]);
    same(
        &get("/o"),
        b"GET /o HTTP/1.1\r\nAccept: */*\r\nX-New: 1\r\nHost: shop\r\nUser-Agent: x/2\r\n\r\n",
        &["header x-new: (absent) -> 1", "header user-agent: (absent) -> x/2"],
    );
    same(&get("/o?ts=1&u=5"), &get("/o?ts=2&u=5"), &["query ts: 1 -> 2"]);
    same(
        &get("/o?since=1795358265"),
        &get("/o?since=1795358299"),
        &["query since: 1795358265 -> 1795358299"],
    );
    same(
        &post("/o", r#"{"id":"96ed215605752205e1a14b1b93bfbb8b","n":1}"#),
        &post("/o", r#"{"n":1,"id":"b7ac4752a1a4af2f1bd669d830d72b52"}"#),
        &["body id: \"96ed215605752205e1a14b1b93bfbb8b\" -> \"b7ac4752a1a4af2f1bd669d830d72b52\""],
    );
    same(&post("/o", r#"{"n":1}"#), &post("/o", r#"{"n":1,"vip":true}"#), &["body vip: (absent) -> true"]);
    same(&post("/o", r#"{"n":"a/b"}"#), &post("/o", r#"{"n":"a\/b"}"#), &[]);
    same(
        &post("/rpc", r#"{"jsonrpc":"2.0","method":"m","id":5}"#),
        &post("/rpc", r#"{"jsonrpc":"2.0","method":"m","id":6}"#),
        &["body id: 5 -> 6"],
    );
}

#[test]
fn redis_asks_by_command_and_key() {
    other(&redis(&["GET", "user:1"]), &redis(&["GET", "user:2"]), &["argument 1: user:1 -> user:2"]);
    other(
        &redis(&["GET", "user:123456789012"]),
        &redis(&["GET", "user:210987654321"]),
        &["argument 1: user:123456789012 -> user:210987654321"],
    );
    other(&redis(&["GET", "a"]), &redis(&["DEL", "a"]), &["command: GET -> DEL"]);
    other(&redis(&["HGET", "a", "x"]), &redis(&["HGET", "a", "y"]), &["argument 2: x -> y"]);
    other(&redis(&["LPUSH", "jobs", "a"]), &redis(&["LPUSH", "jobs", "b"]), &["argument 2: a -> b"]);
    other(&redis(&["MGET", "a", "b"]), &redis(&["MGET", "a"]), &["argument 2: b -> (absent)"]);
    same(&redis(&["get", "a"]), &redis(&["GET", "a"]), &[]);
    same(&redis(&["SET", "a", "1"]), &redis(&["SET", "a", "2"]), &["argument 2: 1 -> 2"]);
    same(&redis(&["SETEX", "a", "60", "v"]), &redis(&["SETEX", "a", "90", "v"]), &["argument 2: 60 -> 90"]);
    same(
        &redis(&["LPUSH", "jobs", "job 1795358265"]),
        &redis(&["LPUSH", "jobs", "job 1795359999"]),
        &["argument 2: job 1795358265 -> job 1795359999"],
    );
    same(
        &redis(&["EVALSHA", "abc", "1", "lock:a", "96ed215605752205e1a14b1b93bfbb8b"]),
        &redis(&["EVALSHA", "abc", "1", "lock:a", "b7ac4752a1a4af2f1bd669d830d72b52"]),
        &["argument 4: 96ed215605752205e1a14b1b93bfbb8b -> b7ac4752a1a4af2f1bd669d830d72b52"],
    );
    other(
        &redis(&["EVALSHA", "abc", "1", "lock:a", "x"]),
        &redis(&["EVALSHA", "abc", "1", "lock:b", "x"]),
        &["argument 3: lock:a -> lock:b"],
    );
    let pipeline = |key: &str| [redis(&["MULTI"]), redis(&["INCR", key]), redis(&["EXEC"])].concat();
    other(&pipeline("a"), &pipeline("b"), &["command 2 argument 1: a -> b"]);
}

#[test]
fn sql_asks_by_statement_table_where_and_short_literals() {
    let recorded = query("SELECT * FROM t WHERE id = 3");
    other(&recorded, &query("SELECT * FROM t WHERE id = 1"), &["where id: 3 -> 1"]);
    other(&recorded, &query("SELECT * FROM u WHERE id = 3"), &["table: t -> u", "from: t -> u"]);
    other(&recorded, &query("SELECT * FROM t WHERE id > 3"), &["where: id = ? -> id > ?"]);
    other(
        &recorded,
        &query("SELECT COUNT(*) FROM t WHERE id = 3"),
        &["column count ( * ): (absent) -> count ( * )", "column *: * -> (absent)"],
    );
    other(&query("SELECT a FROM t LIMIT 10"), &query("SELECT a FROM t LIMIT 20"), &["limit: 10 -> 20"]);
    other(
        &query("INSERT INTO t (a) VALUES (5)"),
        &query("INSERT INTO t (a) VALUES (6)"),
        &["values a: 5 -> 6"],
    );
    other(
        &query("UPDATE t SET a = a + 1 WHERE id = 1"),
        &query("UPDATE t SET a = a - 1 WHERE id = 1"),
        &["expression a: a = a + ? -> a = a - ?"],
    );
    other(
        &query("SELECT * FROM t WHERE id = 1795358265"),
        &query("SELECT * FROM t WHERE id = 1795358266"),
        &["where id: 1795358265 -> 1795358266"],
    );
    other(&query("BEGIN"), &query("COMMIT"), &["statement: BEGIN -> COMMIT"]);
}

#[test]
fn sql_changes_are_reported() {
    same(
        &query("SELECT a FROM t WHERE id = 1"),
        &query("select  a from t where id=1 /* trace 7 */"),
        &["statement: SELECT -> SELECT"][1..],
    );
    same(
        &query("SELECT * FROM t WHERE id = 1"),
        &query("SELECT id, name FROM t WHERE id = 1 LIMIT 100"),
        &[
            "column id: (absent) -> id",
            "column name: (absent) -> name",
            "limit: (absent) -> ?",
            "limit: (absent) -> 100",
            "column *: * -> (absent)",
        ],
    );
    same(
        &query("UPDATE t SET updated_at = '2026-11-14 02:05:28' WHERE id = 5"),
        &query("UPDATE t SET updated_at = '2026-11-15 03:05:28' WHERE id = 5"),
        &["set updated_at: '2026-11-14 02:05:28' -> '2026-11-15 03:05:28'"],
    );
    same(
        &query("SELECT a FROM t WHERE at > 1795358265 AND b = 1"),
        &query("SELECT a FROM t WHERE at > 1795358299 AND b = 1"),
        &["where at: 1795358265 -> 1795358299"],
    );
    same(
        &query("INSERT INTO t (id, name, sum) VALUES (900568998, 'x', 5)"),
        &query("INSERT INTO t (id, name, sum, vip) VALUES (144721532, 'x', 5, 0)"),
        &["values id: 900568998 -> 144721532", "values vip: (absent) -> 0"],
    );
}

#[test]
fn postgres_parameters_stand_where_their_placeholders_do() {
    let select = "SELECT a FROM t WHERE id = $1";
    other(
        &postgres(select, &["123456789012"]),
        &postgres(select, &["210987654321"]),
        &["where id: 123456789012 -> 210987654321"],
    );
    let insert = "INSERT INTO t (id, name) VALUES ($1, $2)";
    same(
        &postgres(insert, &["3f2504e0-4f89-11d3-9a0c-0305e82c3301", "x"]),
        &postgres(insert, &["aaaaaaaa-4f89-11d3-9a0c-0305e82c3301", "x"]),
        &["values id: 3f2504e0-4f89-11d3-9a0c-0305e82c3301 -> aaaaaaaa-4f89-11d3-9a0c-0305e82c3301"],
    );
    other(&postgres(insert, &["1", "x"]), &postgres(insert, &["1", "y"]), &["values name: x -> y"]);
    // The Bind message of `postgres` ends with no formats.
    let binary = |formats: &[u8]| {
        let mut request = postgres(select, &["7"]);
        let bind = request.iter().position(|byte| *byte == b'B').expect("has one");
        let end = bind + 1 + usize::from(request[bind + 4]);
        request.splice(end - 2..end, formats.iter().copied());
        request[bind + 4] += u8::try_from(formats.len() - 2).expect("short");
        request
    };
    // Who answers has to give the recorded values in that form.
    let text = postgres(select, &["7"]);
    same(&text, &binary(b"\0\x01\0\x01"), &["result formats: (absent) -> \\u{0}\\u{1}"]);
    same(&binary(b"\0\x01\0\x01"), &text, &["result formats: \\u{0}\\u{1} -> (absent)"]);
    same(&text, &binary(b"\0\x01\0\0"), &[]);
    same(&binary(b"\0\x01\0\x01"), &binary(b"\0\x02\0\x01\0\x01"), &[]);
}

#[test]
fn thrift_asks_by_method_and_arguments() {
    let call = |method: &[u8; 4], sequence: u8, id: u8| {
        [&b"\x80\x01\0\x01\0\0\0\x04"[..], method, &[0, 0, 0, sequence], b"\x08\0\x01\0\0\0", &[id, 0]]
            .concat()
    };
    same(
        &call(b"ping", 1, 5),
        &call(b"ping", 2, 5),
        &["sequence: \\u{0}\\u{0}\\u{0}\\u{1} -> \\u{0}\\u{0}\\u{0}\\u{2}"],
    );
    other(&call(b"ping", 1, 5), &call(b"ping", 2, 6), &["argument 1: 5 -> 6"]);
    other(&call(b"ping", 1, 5), &call(b"pong", 1, 5), &["method: ping -> pong"]);
}

#[test]
fn bytes_of_no_known_protocol_are_the_same_or_another() {
    same(b"hello 1795358265!", b"hello 1795359999!", &["bytes: hello 1795358265! -> hello 1795359999!"]);
    other(b"load 123456789012", b"load 210987654321", &["bytes: load 123456789012 -> load 210987654321"]);
    other(
        b"\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\x01\x02\x03\x04\x05\x06\x07\x09",
        &[
            "bytes: \\u{1}\\u{2}\\u{3}\\u{4}\\u{5}\\u{6}\\u{7}\\u{8} -> \\u{1}\\u{2}\\u{3}\\u{4}\\u{5}\\u{6}\\u{7}\\t",
        ],
    );
}

/// A message of a made-up protocol: its length, a kind, a counter, a key.
fn frame(kind: u8, counter: u32, key: &str) -> Vec<u8> {
    let length = u32::try_from(key.len() + 9).expect("short").to_be_bytes();
    [&length[..], &[kind], &counter.to_be_bytes(), key.as_bytes(), &[0xfe]].concat()
}

#[test]
fn messages_of_no_known_protocol_may_count_on() {
    let keys = ["apple", "fig", "pear", "fig", "plum"];
    let recorded: Vec<Vec<u8>> = (200..).zip(keys).map(|(counter, key)| frame(0x81, counter, key)).collect();
    let recorded: Vec<&[u8]> = recorded.iter().map(Vec::as_slice).collect();
    let mut index = index(&recorded);
    let found = index.find(PEER, &frame(0x81, 70_001, "pear"));
    assert_eq!(found.index, Some(2), "{found:#?}");
    assert_eq!(found.reason, "the same call; only generated values or noise differ");
    assert_eq!(found.differences, ["counter at 5: \\u{0}\\u{0}\\u{0}\\xca -> \\u{0}\\u{1}\\u{11}q"]);
    assert_eq!(index.find(PEER, &frame(0x81, 70_002, "fig")).index, Some(1), "in recorded order");
    assert_eq!(index.find(PEER, &frame(0x81, 70_003, "fig")).index, Some(3));
    assert_eq!(index.find(PEER, &frame(0x81, 70_004, "fig")).index, None, "is it a read? nobody knows");
    assert_eq!(index.find(PEER, &frame(0x81, 70_005, "cherry")).index, None, "another key");
    assert_eq!(index.find(PEER, &frame(0x82, 70_006, "plum")).index, None, "another kind");
    assert_eq!(index.find(PEER, &frame(0x81, 70_007, "plum")).index, Some(4));
    assert_eq!(index.find(PEER, recorded[0]).mark, 1.0);
    // Without others to compare it with, nothing is learned.
    assert_eq!(decide(&frame(0x81, 200, "fig"), &frame(0x81, 201, "fig")).index, None);
}

#[test]
fn memcached_keys_and_values() {
    same(b"set a 0 60 1\r\n1\r\n", b"set a 0 60 1\r\n2\r\n", &["value: 1 -> 2"]);
    other(b"set a 0 60 1\r\n1\r\n", b"set b 0 60 1\r\n1\r\n", &["key: a -> b"]);
}

#[test]
fn equal_requests_get_their_answers_in_order() {
    let incr = redis(&["INCR", "a"]);
    let ping = get("/a");
    let mut index = index(&[&incr, &ping, &incr]);
    let mut find = |request: &[u8]| {
        let decision = index.find(PEER, request);
        (decision.index, decision.reused)
    };
    assert_eq!(find(&incr), (Some(0), false));
    assert_eq!(find(&incr), (Some(2), false));
    assert_eq!(find(&incr), (None, false), "counting is no read");
    assert_eq!(find(&ping), (Some(1), false));
    assert_eq!(find(&ping), (Some(1), true));
    let traced = b"GET /a HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\nX-Request-Id: 7\r\n\r\n";
    assert_eq!(find(traced), (Some(1), true), "the same read with another trace id");
}

#[test]
fn a_call_that_is_used_up_says_so() {
    let incr = redis(&["INCR", "a"]);
    for strategy in [Strategy::Exact, Strategy::Auto] {
        let mut index = Index::new(strategy, [RecordedCall::new(PEER, &incr)]);
        assert!(!index.is_used(0));
        index.find(PEER, &incr);
        assert!(index.is_used(0));
        let decision = index.find(PEER, &incr);
        assert_eq!((decision.index, decision.nearest), (None, Some(0)));
        assert_eq!(decision.differences, ["uses: 1 -> 2"]);
    }
}

#[test]
fn what_is_generated_decides_among_equals_and_then_order() {
    let call = |id: u32| post("/o", &format!(r#"{{"id":{id},"n":1}}"#));
    let recorded = [call(900_000_001), call(900_000_002), call(900_000_003)];
    let mut index = index(&recorded.each_ref().map(Vec::as_slice));
    let moved = String::from_utf8(call(900_000_002))
        .expect("text")
        .replace("Host: shop\r\n", "Host: shop\r\nX: 1\r\n");
    assert_eq!(index.find(PEER, moved.as_bytes()).index, Some(1), "its id says so");
    let fresh = index.find(PEER, &call(900_000_077));
    assert_eq!(fresh.index, Some(0), "the first that is left");
    assert_eq!(fresh.runner_up.map(|(index, _)| index), Some(2));
    assert_eq!(index.find(PEER, &call(900_000_088)).index, Some(2));
    assert_eq!(index.find(PEER, &call(900_000_099)).index, None, "writing is no read");
}

#[test]
fn a_tie_is_no_match() {
    // The recorded calls differ in what the request lacks, and neither is next in order.
    let calls = [
        post("/o", r#"{"a":1,"b":1,"c":1}"#),
        post("/o", r#"{"a":1,"b":1,"x":1}"#),
        post("/o", r#"{"a":1,"b":1,"y":1}"#),
    ];
    let mut index = index(&calls.each_ref().map(Vec::as_slice));
    let first = index.find(PEER, &post("/o", r#"{"a":1,"b":1,"z":1,"y":1}"#));
    assert_eq!(first.index, Some(2), "{first:#?}");
    let in_order = index.find(PEER, &post("/o", r#"{"a":1,"b":1}"#));
    assert_eq!(in_order.index, Some(0), "order is evidence: {in_order:#?}");
    assert_eq!(in_order.runner_up.map(|(index, _)| index), Some(1));
}

#[test]
fn a_long_text_may_change_but_not_a_body_that_is_not_understood() {
    let text =
        "the quick brown fox jumps over the lazy dog and then it does the very same thing all over again";
    let changed = text.replace("quick", "slow");
    let decision = decide(
        &post("/o", &format!(r#"{{"n":1,"text":"{text}"}}"#)),
        &post("/o", &format!(r#"{{"n":1,"text":"{changed}"}}"#)),
    );
    assert_eq!(decision.index, Some(0), "{decision:#?}");
    assert_eq!(decision.differences.len(), 1);
    assert!(decision.mark < 1.0);

    let soap = |id: u32| {
        let body =
            format!("<Envelope><Body><GetUser><text>{text}</text><id>{id}</id></GetUser></Body></Envelope>");
        format!("POST /soap HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\n\r\n{body}").into_bytes()
    };
    assert_eq!(decide(&soap(7), &soap(8)).index, None);
    let graphql = |id: u32| post("/graphql", &format!(r#"{{"query":"{{ user(id: {id}) {{ {text} }} }}"}}"#));
    assert_eq!(decide(&graphql(7), &graphql(8)).index, None);
}

#[test]
fn too_much_change_is_no_match() {
    let decision = decide(
        &post("/o", r#"{"a":1}"#),
        &post("/o", r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}"#),
    );
    assert_eq!(decision.index, None, "{decision:#?}");
    assert_eq!(decision.nearest, Some(0));
}

#[test]
fn another_peer_is_another_call() {
    let mut index = index(&[&get("/a")]);
    let decision = index.find("10.0.0.2:80", &get("/a"));
    assert_eq!((decision.index, decision.nearest), (None, Some(0)));
    assert_eq!(decision.differences, ["peer: 10.0.0.1:80 -> 10.0.0.2:80"]);
    assert_eq!(index.find("10.0.0.2:80", &get("/b")).nearest, None);
}

#[test]
fn the_exact_strategy_takes_bytes_only() {
    let (a, traced) = (get("/a"), b"GET /a HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\nX-Request-Id: 7\r\n\r\n");
    let mut index = Index::new(Strategy::Exact, [RecordedCall::new(PEER, &a)]);
    assert_eq!(index.find(PEER, traced).index, None);
    assert_eq!(index.find(PEER, &a).index, Some(0));
    assert!(index.find(PEER, &a).reused);
    assert_eq!(Strategy::from_name("exact"), Some(Strategy::Exact));
    assert_eq!(Strategy::from_name(Strategy::default().name()), Some(Strategy::Auto));
    assert_eq!(Strategy::from_name("none"), None);
}

#[test]
fn an_empty_index_answers_nothing() {
    let mut index = index(&[]);
    assert!(index.is_empty());
    assert_eq!(index.find(PEER, b"").index, None);
}

#[test]
fn crowds_are_searched_by_their_arguments() {
    let call = |order: usize, more: &str| {
        post("/orders", &format!(r#"{{"order":{order},"kind":"a","at":{}{more}}}"#, 1_795_358_265 + order))
    };
    let recorded: Vec<Vec<u8>> = (0..2_000).map(|order| call(order, "")).collect();
    let mut index = index(&recorded.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for order in (0..2_000).step_by(37).rev() {
        let decision = index.find(PEER, &call(order, r#","vip":true"#));
        assert_eq!(decision.index, Some(order), "{decision:#?}");
    }
    assert_eq!(index.find(PEER, &call(2_001, "")).index, None);
}

#[test]
fn an_explanation_has_scores_and_a_runner_up() {
    let calls = [query("SELECT a, b FROM t WHERE id = 1"), query("SELECT c, d FROM t WHERE id = 1")];
    let mut index = index(&calls.each_ref().map(Vec::as_slice));
    let decision = index.find(PEER, &query("SELECT c, d, e FROM t WHERE id = 1"));
    assert_eq!(decision.index, Some(1));
    assert_eq!(decision.reason, "the same call, changed in column e");
    let (runner_up, mark) = decision.runner_up.expect("there are two");
    assert!(runner_up == 0 && mark < decision.mark);
    let columns = decision.fields.iter().find(|field| field.name == "columns").expect("has columns");
    assert!(columns.score > 0.6 && columns.score < 0.7, "{columns:?}");
}

/// Requests of every protocol, and bytes of none.
fn request() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    prop_oneof![
        ("[a-c]{1,2}", 0u32..4, "[ab]{0,2}")
            .prop_map(|(path, id, value)| get(&format!("/{path}/{id}?v={value}"))),
        ("[a-c]", 0u32..4, any::<u32>())
            .prop_map(|(name, id, at)| post("/p", &format!(r#"{{"{name}":{id},"t":{at}}}"#))),
        ("[a-c]", 0u32..4).prop_map(|(key, id)| redis(&["GET", &format!("{key}:{id}")])),
        ("[a-c]", "[ab]{0,3}").prop_map(|(key, value)| redis(&["SET", &key, &value])),
        ("[a-c]", 0u32..4).prop_map(|(table, id)| query(&format!("SELECT * FROM {table} WHERE id = {id}"))),
        ("[a-c]", 0u32..4, any::<u32>())
            .prop_map(|(table, id, at)| query(&format!("INSERT INTO {table} (id, at) VALUES ({id}, {at})"))),
        ("[a-c]", 0u32..4).prop_map(|(table, id)| postgres(
            &format!("SELECT x FROM {table} WHERE id = $1"),
            &[&id.to_string()]
        )),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Damages a request in one place.
fn damaged() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    (request(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        |(mut bytes, at, byte, cut)| {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] = byte;
                }
            }
            bytes
        },
    )
}

#[test]
fn what_is_conceded_weighs_no_more_than_its_field() {
    let request = |body: &str| {
        let head = "POST /p HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    // The time is the same in all, and so weighs little.
    let usual = request("{\"a\":0,\"t\":100000000}");
    let calls = [usual.clone(), request("{\"b\":3,\"t\":100000000}"), usual.clone(), usual];
    let decision = index(&calls.each_ref().map(Vec::as_slice)).find(PEER, &request("{\"b\":3,\"t\":100000}"));
    assert_eq!(decision.index, Some(1));
    assert!(decision.mark <= 1.0 && decision.fields.iter().all(|field| field.score <= 1.0), "{decision:?}");
}

proptest! {
    #[test]
    fn a_recorded_request_matches_while_it_is_unused(
        calls in proptest::collection::vec((request(), 0usize..3), 1..30),
        order in any::<prop::sample::Index>(),
        exact in any::<bool>(),
    ) {
        let peers = ["a:1", "b:2", "/c.sock"];
        let strategy = if exact { Strategy::Exact } else { Strategy::Auto };
        let recorded = calls.iter().map(|(request, peer)| RecordedCall::new(peers[*peer], request));
        let mut index = Index::new(strategy, recorded);
        let mut seen = BTreeSet::new();
        let start = order.index(calls.len());
        for at in (start..calls.len()).chain(0..start) {
            let (request, peer) = &calls[at];
            let decision = index.find(peers[*peer], request);
            let found = decision.index.expect("it was recorded and is unused");
            prop_assert_eq!(&calls[found], &calls[at]);
            prop_assert!(!decision.reused && decision.mark == 1.0 && decision.differences.is_empty());
            prop_assert!(seen.insert(found), "{} was given twice", found);
        }
    }

    #[test]
    fn nothing_is_given_twice_but_reads(
        calls in proptest::collection::vec(request(), 1..12),
        sent in proptest::collection::vec(damaged(), 1..30),
    ) {
        let mut index = index(&calls.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut seen = BTreeSet::new();
        for request in &sent {
            let decision = index.find(PEER, request);
            prop_assert!((0.0..=1.0).contains(&decision.mark));
            prop_assert!(decision.fields.iter().all(|field| (0.0..=1.0).contains(&field.score)));
            prop_assert!(!decision.reason.is_empty());
            if let Some(found) = decision.index {
                prop_assert!(found < calls.len());
                prop_assert!(seen.insert(found) || decision.reused);
            } else {
                prop_assert!(!decision.reused);
            }
        }
    }

    #[test]
    fn calls_to_other_peers_change_nothing(
        mine in proptest::collection::vec(request(), 1..12),
        theirs in proptest::collection::vec(request(), 0..12),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 12),
        sent in proptest::collection::vec(damaged(), 1..12),
    ) {
        let mut calls: Vec<(&str, &[u8], usize)> = mine.iter().enumerate().map(|(at, call)| (PEER, &call[..], at)).collect();
        for (call, place) in theirs.iter().zip(&places) {
            calls.insert(place.index(calls.len() + 1), ("other:1", &call[..], usize::MAX));
        }
        let mut alone = index(&mine.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let recorded = calls.iter().map(|(peer, request, _)| RecordedCall::new(peer, request));
        let mut among = Index::new(Strategy::Auto, recorded);
        for request in &sent {
            let (one, other) = (alone.find(PEER, request), among.find(PEER, request));
            let place = |number: usize| calls[number].2;
            prop_assert_eq!(one.index, other.index.map(place));
            prop_assert_eq!(one.nearest, other.nearest.map(place));
            prop_assert_eq!(one.mark, other.mark);
            prop_assert_eq!(one.differences, other.differences);
            prop_assert_eq!(one.fields, other.fields);
        }
    }

    #[test]
    fn another_key_is_never_answered(key in "[a-z0-9:]{1,20}", asked in "[a-z0-9:]{1,20}") {
        prop_assume!(key != asked);
        for (one, other) in [
            (redis(&["GET", &key]), redis(&["GET", &asked])),
            (get(&format!("/x/{key}")), get(&format!("/x/{asked}"))),
            (query(&format!("SELECT * FROM t WHERE k = '{key}'")), query(&format!("SELECT * FROM t WHERE k = '{asked}'"))),
        ] {
            prop_assert_eq!(decide(&one, &other).index, None);
        }
        // A longer one may be what the program makes up: see tests/made_up.rs.
        let short = |key: &str| redis(&["SET", &key[..key.len().min(15)], "v"]);
        if short(&key) != short(&asked) {
            prop_assert_eq!(decide(&short(&key), &short(&asked)).index, None);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        calls in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6),
        sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6),
    ) {
        let mut index = index(&calls.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for request in &sent {
            let _ = index.find(PEER, request);
        }
    }
}
