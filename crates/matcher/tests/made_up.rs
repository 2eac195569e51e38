//! Names that a program makes up, and that are others in each run: they are followed where the program can have them
//! from nowhere else, and where it may have been told them, another name asks for something else.

use koala_matcher::{Decision, Index, RecordedCall, RecordedTalk, Strategy};
use koala_protocol::ConnectionState;

const PEER: &str = "10.0.0.1:80";
const HEX: [&str; 3] = [
    "5315d05bea55d14822e8cef4f94cb00f",
    "ac508a40922ac4b6319e82f5d6b538b2",
    "01be2b44cbbb30e2df6dab8c19d67e46",
];
const UUIDS: [&str; 3] = [
    "0f64f15c-f631-42d7-b7b9-bbaa60ad89ca",
    "91b16e37-9dde-44f6-a34d-1a163d7ce1a8",
    "66ad6608-dfa4-4e59-84a6-7255c69ab012",
];
/// As PHP has them, with five bits a letter.
const SIDS: [&str; 3] =
    ["q1n6ts5v2ce0kr8dcl0ihg3b1u", "7m2p9vj4hd0s5rt8lq3eknb6a1", "d8k3t0lq5v9n2hs7rp1mjc4e6b"];
const NOTHING: &[u8] = b"$-1\r\n";
const OK: &[u8] = b"+OK\r\n";

fn redis(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

fn http(line: &str, body: &str) -> Vec<u8> {
    format!(
        "{line} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn query(sql: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(sql.len() + 1).expect("short").to_le_bytes().to_vec();
    bytes.push(3);
    bytes.extend_from_slice(sql.as_bytes());
    bytes
}

/// A result set of MySQL with one column, and these rows.
fn rows(rows: &[&str]) -> Vec<u8> {
    let mut sent = vec![
        b"\x01".to_vec(),
        b"\x03def\x00\x00\x00\x01a\x00\x0c\x21\x00\x00\x00\x00\x00\xfd\x00\x00\x00\x00\x00".to_vec(),
    ];
    let end = b"\xfe\x00\x00\x02\x00".to_vec();
    sent.push(end.clone());
    sent.extend(rows.iter().map(|row| [&[u8::try_from(row.len()).expect("short")], row.as_bytes()].concat()));
    sent.push(end);
    let packet = |(number, body): (usize, &Vec<u8>)| {
        [&[u8::try_from(body.len()).expect("short"), 0, 0, u8::try_from(number + 1).expect("few")], &body[..]]
            .concat()
    };
    sent.iter().enumerate().flat_map(packet).collect()
}

/// The binary protocol: a head of 24 bytes, and what it tells the lengths of, with nothing between.
fn memcached(operation: u8, extras: &str, key: &str, value: &str) -> Vec<u8> {
    let all = [extras, key, value].concat();
    let mut bytes = vec![0x80, operation, 0, key.len() as u8, extras.len() as u8, 0, 0, 0, 0, 0, 0];
    bytes.push(all.len() as u8);
    bytes.resize(24, 0);
    bytes.extend_from_slice(all.as_bytes());
    bytes
}

/// A recording of requests and answers.
struct Recording {
    talks: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many others are made before the first is answered.
    overtaking: u32,
    inbound: Option<(Vec<u8>, Vec<u8>)>,
}

impl Recording {
    fn of(talks: &[(Vec<u8>, &[u8])]) -> Self {
        let talks = talks.iter().map(|(request, response)| (request.clone(), response.to_vec())).collect();
        Self { talks, overtaking: 0, inbound: None }
    }

    /// The first call is answered behind so many others.
    fn overtaken(mut self, by: u32) -> Self {
        self.overtaking = by;
        self
    }

    /// In a session that was called with this, and answered this.
    fn inside(mut self, request: &str, response: &str) -> Self {
        self.inbound = Some((request.as_bytes().to_vec(), response.as_bytes().to_vec()));
        self
    }

    fn index(&self) -> Index {
        let state = ConnectionState::default();
        let index = Index::of_talks(
            Strategy::Auto,
            self.talks.iter().enumerate().map(|(number, (request, response))| RecordedTalk {
                call: RecordedCall {
                    overtaken: if number == 0 { self.overtaking } else { 0 },
                    ..RecordedCall::new(PEER, request)
                },
                response,
                state: &state,
            }),
        );
        match &self.inbound {
            Some((request, response)) => index.with_inbound(request, response),
            None => index,
        }
    }
}

/// What a run gets that asks this: the recorded calls, and the answers that they are given.
fn run(recording: &Recording, requests: &[Vec<u8>]) -> (Vec<Option<usize>>, Vec<String>, Vec<Decision>) {
    let mut index = recording.index();
    let (mut found, mut answers, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
    for request in requests {
        let decision = index.find(PEER, request);
        found.push(decision.index);
        if let Some(call) = decision.index {
            let response = &recording.talks[call].1;
            let fitted = index.fit_response(call, request, response);
            answers.push(String::from_utf8_lossy(fitted.as_deref().unwrap_or(response)).into_owned());
        }
        decisions.push(decision);
    }
    (found, answers, decisions)
}

#[track_caller]
fn same(recording: &Recording, requests: &[Vec<u8>]) -> Vec<String> {
    let (found, answers, decisions) = run(recording, requests);
    let all: Vec<_> = (0..recording.talks.len()).map(Some).collect();
    assert_eq!(found, all, "{decisions:#?}");
    answers
}

/// Everything but the last request is answered.
#[track_caller]
fn last_is_refused(recording: &Recording, requests: &[Vec<u8>]) {
    let (found, _, decisions) = run(recording, requests);
    let (last, before) = found.split_last().expect("there is one");
    assert!(before.iter().all(Option::is_some), "{decisions:#?}");
    assert_eq!(*last, None, "{:#?}", decisions.last());
}

#[test]
fn a_session_that_begins_is_followed() {
    for names in [HEX, UUIDS, SIDS] {
        let login = |name: &str| {
            vec![
                redis(&["SETEX", &format!("session:{name}"), "1800", "{\"user\": 7}"]),
                redis(&["SADD", "user:7:sessions", name]),
                redis(&["EXPIRE", &format!("session:{name}"), "3600"]),
                redis(&["GET", &format!("session:{name}")]),
                redis(&["SMEMBERS", "user:7:sessions"]),
            ]
        };
        let members = format!("*1\r\n${}\r\n{}\r\n", names[0].len(), names[0]);
        let answers: [&[u8]; 5] = [OK, b":1\r\n", b":1\r\n", b"$11\r\n{\"user\": 7}\r\n", members.as_bytes()];
        let recording = Recording::of(&login(names[0]).into_iter().zip(answers).collect::<Vec<_>>());
        let told = same(&recording, &login(names[1]));
        assert_eq!(told[4], members.replace(names[0], names[1]), "the answer has the name of this run");
        // Somebody else's session, of whom nobody has told.
        let read = redis(&["GET", &format!("session:{}", names[2])]);
        last_is_refused(&recording, &[login(names[1])[0].clone(), read.clone()]);
        last_is_refused(&recording, &[read]);
        let foreign = redis(&["EXPIRE", &format!("session:{}", names[2]), "3600"]);
        last_is_refused(&recording, &[login(names[1])[0].clone(), foreign]);
    }
}

#[test]
fn the_reason_names_what_is_new() {
    let key = |name: &str| redis(&["SETEX", &format!("session:{name}"), "60", "x"]);
    let read = |name: &str| redis(&["GET", &format!("session:{name}")]);
    let recording = Recording::of(&[(key(HEX[0]), OK), (read(HEX[0]), b"$1\r\nx\r\n")]);
    let (found, _, decisions) = run(&recording, &[key(HEX[1]), read(HEX[1])]);
    assert_eq!(found, [Some(0), Some(1)]);
    assert_eq!(
        decisions[0].reason,
        "the same call; the token in argument 1 is new in the recording and in this run"
    );
    let change = format!("argument 1: session:{} -> session:{}", HEX[0], HEX[1]);
    assert_eq!(decisions[0].differences, std::slice::from_ref(&change));
    assert_eq!(
        decisions[1].reason,
        "byte-equal to the recorded call; tokens that the program made up stand for the recorded ones"
    );
    assert_eq!(decisions[1].differences, [change]);
}

#[test]
fn what_a_client_sent_is_not_made_up() {
    let refresh = |name: &str| redis(&["SETEX", &format!("session:{name}"), "60", "x"]);
    let asked = format!("GET / HTTP/1.1\r\nCookie: sid={}\r\n\r\n", HEX[0]);
    let recording = Recording::of(&[(refresh(HEX[0]), OK)]).inside(&asked, "");
    last_is_refused(&recording, &[refresh(HEX[1])]);
    // This run was called with the other name.
    let asked = format!("GET / HTTP/1.1\r\nCookie: sid={}\r\n\r\n", HEX[1]);
    let recording = Recording::of(&[(refresh(HEX[0]), OK)]).inside(&asked, "");
    last_is_refused(&recording, &[refresh(HEX[1])]);
    let recording = Recording::of(&[(refresh(HEX[0]), OK)]).inside("GET / HTTP/1.1\r\n\r\n", "");
    assert_eq!(run(&recording, &[refresh(HEX[1])]).0, [Some(0)]);
}

#[test]
fn an_answer_that_came_later_has_told_nothing() {
    // A server asks another process of its own program, which begins a session, and whose answer names it.
    let asked = http("POST /login", "");
    let reply = format!("HTTP/1.1 302 Found\r\nSet-Cookie: shop={}\r\nContent-Length: 0\r\n\r\n", SIDS[0]);
    let look = |name: &str| redis(&["GET", &format!("PHPSESS:{name}")]);
    let write = |name: &str| redis(&["SETEX", &format!("PHPSESS:{name}"), "1440", "hits|i:1;"]);
    let talks: [(Vec<u8>, &[u8]); 3] =
        [(asked.clone(), reply.as_bytes()), (look(SIDS[0]), NOTHING), (write(SIDS[0]), OK)];
    let recording = Recording::of(&talks).inside("POST /login HTTP/1.1\r\n\r\n", &reply);
    let live = [asked, look(SIDS[1]), write(SIDS[1])];
    same(&recording.overtaken(2), &live);
    let recording = Recording::of(&talks).inside("POST /login HTTP/1.1\r\n\r\n", &reply);
    last_is_refused(&recording, &live[..2]);
}

#[test]
fn memcached_answers_that_nobody_has_the_key() {
    let look = |name: &str| memcached(0, "", name, "");
    let key = |name: &str| format!("memc.sess.key.{name}");
    let found = |status: u8| {
        let mut bytes = vec![0x81, 0, 0, 0, 0, 0, 0, status, 0, 0, 0, 0];
        bytes.resize(24, 0);
        bytes
    };
    let response = format!("HTTP/1.1 200 OK\r\nSet-Cookie: shop={}\r\n\r\n", SIDS[0]);
    let recorded = |status| {
        Recording::of(&[(look(&key(SIDS[0])), &found(status))]).inside("GET / HTTP/1.1\r\n\r\n", &response)
    };
    same(&recorded(1), &[look(&key(SIDS[1]))]);
    last_is_refused(&recorded(0), &[look(&key(SIDS[1]))]);
}

#[test]
fn names_are_known_beside_other_bytes() {
    // As PHP locks a session and writes it.
    let session = |name: &str| {
        vec![
            memcached(2, "\0\0\0\0\0\0\0\x1e", &format!("memc.sess.key.{name}"), "1"),
            memcached(2, "\0\0\0\0\0\0\0\x1e", &format!("memc.sess.key.lock.{name}"), "1"),
            memcached(0, "", &format!("memc.sess.key.{name}"), ""),
            memcached(1, "\0\0\0\0\0\0\x05\x20", &format!("memc.sess.key.{name}"), "hits"),
        ]
    };
    let fine = [&[0x81, 2][..], &[0; 22]].concat();
    let talks: Vec<_> = session(SIDS[0]).into_iter().map(|request| (request, &fine[..])).collect();
    let recording = Recording::of(&talks).inside("GET / HTTP/1.1\r\n\r\n", "");
    same(&recording, &session(SIDS[1]));
    let foreign = memcached(0, "", &format!("memc.sess.key.{}", SIDS[2]), "");
    last_is_refused(&recording, &[session(SIDS[1])[0].clone(), foreign]);
}

#[test]
fn what_an_answer_said_is_not_made_up() {
    let list = redis(&["SMEMBERS", "sessions"]);
    let said = format!("*2\r\n$32\r\n{}\r\n$32\r\n{}\r\n", HEX[0], HEX[2]);
    let touch = |name: &str| redis(&["SETEX", &format!("session:{name}"), "60", "x"]);
    let recording = Recording::of(&[(list.clone(), said.as_bytes()), (touch(HEX[0]), OK)]);
    last_is_refused(&recording, &[list.clone(), touch(HEX[1])]);
    last_is_refused(&recording, &[list, touch(HEX[2])]);
}

#[test]
fn what_was_looked_for_first_is_not_made_up() {
    // The digest of a question, and its answer for the next time.
    let read = |name: &str| redis(&["GET", &format!("cache:{name}")]);
    let write = |name: &str| redis(&["SETEX", &format!("cache:{name}"), "60", "x"]);
    let recording = Recording::of(&[(read(HEX[0]), NOTHING), (write(HEX[0]), OK)]);
    for recording in
        [recording, Recording::of(&[(read(HEX[0]), NOTHING), (write(HEX[0]), OK)]).inside("GET /", "")]
    {
        last_is_refused(&recording, &[read(HEX[1])]);
        last_is_refused(&recording, &[write(HEX[1])]);
    }
}

#[test]
fn a_name_that_is_looked_up_before_it_is_used_is_followed() {
    // PHP reads the session that it has just begun, Django sees that nobody has its name.
    let php = |name: &str| {
        let key = format!("PHPREDIS_SESSION:{name}");
        vec![redis(&["GET", &key]), redis(&["SETEX", &key, "1440", "user|i:7;"])]
    };
    let talks = |names: [Vec<u8>; 2]| names.into_iter().zip([NOTHING, OK]).collect::<Vec<_>>();
    let recorded = |name: &str| Recording::of(&talks(php(name).try_into().expect("two")));
    let cookie = |name: &str| format!("HTTP/1.1 200 OK\r\nSet-Cookie: PHPSESSID={name}; path=/\r\n\r\n");
    for names in [SIDS, HEX] {
        let recording = recorded(names[0]).inside("GET /login HTTP/1.1\r\n\r\n", &cookie(names[0]));
        same(&recording, &php(names[1]));
        // The same, where the client had the name already.
        let asked = format!("GET /login HTTP/1.1\r\nCookie: PHPSESSID={}\r\n\r\n", names[0]);
        let recording = recorded(names[0]).inside(&asked, &cookie(names[0]));
        last_is_refused(&recording, &php(names[1])[..1]);
        // Nobody knows what it was called with.
        last_is_refused(&recorded(names[0]), &php(names[1])[..1]);
    }
    let django = |name: &str| {
        vec![
            query(&format!("SELECT 1 AS a FROM django_session WHERE session_key = '{name}' LIMIT 1")),
            query(&format!(
                "INSERT INTO django_session (session_key, session_data) VALUES ('{name}', 'e30')"
            )),
            query(&format!("SELECT session_data FROM django_session WHERE session_key = '{name}'")),
        ]
    };
    let names = ["n3x0vks1n1m1opp1y8hk2a5qk2wmbgml", "8f2kq0v5z1w7mx3n9hs4j6tb2c1d0ylr"];
    let ok = b"\x07\0\0\x01\0\x01\0\x02\0\0\0";
    let (none, row) = (rows(&[]), rows(&["e30"]));
    let answers: [&[u8]; 3] = [&none, ok, &row];
    let recording = Recording::of(&django(names[0]).into_iter().zip(answers).collect::<Vec<_>>()).inside(
        "POST /login HTTP/1.1\r\n\r\n",
        &format!("HTTP/1.1 302 Found\r\nSet-Cookie: sessionid={}\r\n\r\n", names[0]),
    );
    same(&recording, &django(names[1]));
    // A row that is there is somebody's.
    let answers: [&[u8]; 3] = [&row, ok, &row];
    let recording = Recording::of(&django(names[0]).into_iter().zip(answers).collect::<Vec<_>>())
        .inside("POST /login HTTP/1.1\r\n\r\n", "HTTP/1.1 302 Found\r\n\r\n");
    last_is_refused(&recording, &django(names[1])[..1]);
}

#[test]
fn a_token_stands_for_one_other_only() {
    let lock = |name: &str, token: &str| redis(&["SET", name, token, "NX", "PX", "5000"]);
    let unlock = |name: &str, token: &str| redis(&["EVAL", "if redis.call", "1", name, token]);
    let recording = Recording::of(&[
        (lock("lock:a", UUIDS[0]), OK),
        (lock("lock:b", HEX[0]), OK),
        (unlock("lock:a", UUIDS[0]), b":1\r\n"),
        (unlock("lock:b", HEX[0]), b":1\r\n"),
    ])
    .inside("POST /pay HTTP/1.1\r\n\r\n", "");
    let run = |a: &str, b: &str| {
        vec![lock("lock:a", UUIDS[1]), lock("lock:b", HEX[1]), unlock("lock:a", a), unlock("lock:b", b)]
    };
    same(&recording, &run(UUIDS[1], HEX[1]));
    last_is_refused(&recording, &run(UUIDS[1], HEX[2]));
    last_is_refused(&recording, &run(UUIDS[2], HEX[1])[..3]);
    last_is_refused(
        &recording,
        &[lock("lock:a", UUIDS[1]), lock("lock:b", HEX[1]), unlock("lock:b", UUIDS[1])],
    );
}

#[test]
fn rows_with_ids_that_the_program_made_are_followed() {
    let order = |name: &str| {
        vec![
            query(&format!("INSERT INTO orders (id, sum) VALUES ('{name}', 5)")),
            query(&format!("INSERT INTO items (id, order_id) VALUES (1, '{name}')")),
            query(&format!("SELECT sum FROM orders WHERE id = '{name}'")),
            query(&format!("UPDATE orders SET sum = 6 WHERE id = '{name}'")),
        ]
    };
    let ok = b"\x07\0\0\x01\0\x01\0\x02\0\0\0";
    let row = rows(&[UUIDS[0]]);
    let answers: [&[u8]; 4] = [ok, ok, &row, ok];
    let recording = Recording::of(&order(UUIDS[0]).into_iter().zip(answers).collect::<Vec<_>>());
    assert!(same(&recording, &order(UUIDS[1]))[2].contains(UUIDS[1]));
    let mut others = order(UUIDS[1]);
    others[2] = order(UUIDS[2])[2].clone();
    last_is_refused(&recording, &others[..3]);
    // What the row belongs to may be anybody's, where nobody knows what the program was called with.
    let refer = |name: &str| query(&format!("INSERT INTO views (user_id, page) VALUES ('{name}', 5)"));
    let read = |name: &str| query(&format!("SELECT name FROM users WHERE id = '{name}'"));
    let recording = Recording::of(&[(refer(UUIDS[0]), ok), (read(UUIDS[0]), &rows(&["bob"]))]);
    last_is_refused(&recording, &[refer(UUIDS[1]), read(UUIDS[1])]);
}

#[test]
fn resources_that_the_program_names_are_followed() {
    let upload = |name: &str| http(&format!("PUT /files/{name}.txt"), r#"{"text":"hello"}"#);
    let publish = |name: &str| http("POST /posts", &format!(r#"{{"file":"{name}.txt"}}"#));
    let read = |name: &str| http(&format!("GET /files/{name}.txt"), "");
    let said = format!("HTTP/1.1 201 Created\r\nContent-Length: 36\r\n\r\n{}", UUIDS[0]);
    let recording = Recording::of(&[
        (upload(UUIDS[0]), said.as_bytes()),
        (publish(UUIDS[0]), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (read(UUIDS[0]), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ]);
    let told = same(&recording, &[upload(UUIDS[1]), publish(UUIDS[1]), read(UUIDS[1])]);
    assert!(told[0].ends_with(UUIDS[1]));
    last_is_refused(&recording, &[upload(UUIDS[1]), read(UUIDS[2])]);
    last_is_refused(&recording, &[read(UUIDS[1])]);
    // What is written tells two new names apart.
    let other = |name: &str| http(&format!("PUT /files/{name}.txt"), r#"{"text":"bye"}"#);
    last_is_refused(&recording, &[other(UUIDS[1])]);
    let elsewhere = |name: &str| http(&format!("PUT /images/{name}.txt"), r#"{"text":"hello"}"#);
    last_is_refused(&recording, &[elsewhere(UUIDS[1])]);
}

#[test]
fn a_task_is_followed_to_its_result() {
    let call = |name: &str| {
        let body = format!(r#"{{"id": "{name}", "task": "add", "args": [1, 2]}}"#);
        vec![
            redis(&["SUBSCRIBE", &format!("celery-task-meta-{name}")]),
            redis(&["LPUSH", "celery", &body]),
            redis(&["GET", &format!("celery-task-meta-{name}")]),
        ]
    };
    let result = format!(r#"{{"status": "SUCCESS", "result": 3, "task_id": "{}"}}"#, UUIDS[0]);
    let result = format!("${}\r\n{result}\r\n", result.len());
    let echo = format!("*3\r\n$9\r\nsubscribe\r\n$53\r\ncelery-task-meta-{}\r\n:1\r\n", UUIDS[0]);
    let answers: [&[u8]; 3] = [echo.as_bytes(), b":1\r\n", result.as_bytes()];
    let recording = Recording::of(&call(UUIDS[0]).into_iter().zip(answers).collect::<Vec<_>>())
        .inside("POST /add HTTP/1.1\r\n\r\n", "");
    let told = same(&recording, &call(UUIDS[1]));
    assert!(told[0].contains(UUIDS[1]) && told[2].contains(UUIDS[1]));
    assert!(told.iter().all(|told| !told.contains(UUIDS[0])));
    last_is_refused(&recording, &[call(UUIDS[1])[1].clone(), call(UUIDS[2])[2].clone()]);
}

#[test]
fn what_is_written_tells_new_names_apart() {
    let login = |name: &str, user: u32| {
        redis(&["SETEX", &format!("session:{name}"), "1800", &format!("{{\"user\": {user}}}")])
    };
    let recording = Recording::of(&[(login(HEX[0], 7), OK), (login(HEX[2], 8), OK)]);
    let other = "bfb981008bbdbe209b59e2947e3b6809";
    let (found, ..) = run(&recording, &[login(HEX[1], 8), login(other, 7)]);
    assert_eq!(found, [Some(1), Some(0)]);
    last_is_refused(&recording, &[login(HEX[1], 9)]);
    // Memcached has the same.
    let set = |name: &str, user: u32| format!("set sess_{name} 0 900 6\r\nuser={user}\r\n").into_bytes();
    let get = |name: &str| format!("get sess_{name}\r\n").into_bytes();
    let said = format!("VALUE sess_{} 0 6\r\nuser=7\r\nEND\r\n", HEX[0]);
    let recording = Recording::of(&[(set(HEX[0], 7), b"STORED\r\n"), (get(HEX[0]), said.as_bytes())]);
    let told = same(&recording, &[set(HEX[1], 7), get(HEX[1])]);
    assert_eq!(told[1], said.replace(HEX[0], HEX[1]));
    last_is_refused(&recording, &[set(HEX[1], 8)]);
    last_is_refused(&recording, &[set(HEX[1], 7), get(HEX[2])]);
}

#[test]
fn keys_that_people_chose_are_not_made_up() {
    for (one, other) in [
        ("user:42", "user:43"),
        ("user:123456789012", "user:210987654321"),
        ("cart:2026-11-14", "cart:2026-11-15"),
        ("config:shop-and-bank-and-more", "config:bank-and-shop-and-more"),
    ] {
        let set = |key: &str| redis(&["SET", key, "x"]);
        let recording = Recording::of(&[(set(one), OK)]).inside("GET / HTTP/1.1\r\n\r\n", "");
        last_is_refused(&recording, &[set(other)]);
    }
    // To take away what has a name, one must have it from somewhere.
    for verb in ["DEL", "INCR", "GETDEL", "TOUCH"] {
        let ask = |name: &str| redis(&[verb, &format!("session:{name}")]);
        let recording = Recording::of(&[(ask(HEX[0]), b":1\r\n")]).inside("GET / HTTP/1.1\r\n\r\n", "");
        last_is_refused(&recording, &[ask(HEX[1])]);
    }
}

#[test]
fn what_is_signed_or_stamped_anew_is_the_same() {
    let saved = |payload: &str, time: &str, signature: &str| {
        query(&format!(
            "UPDATE django_session SET session_data = '{payload}:{time}:{signature}', expire_date = '2026-12-07 05:56:5{}' \
             WHERE session_key = 'n3x0vks1n1m1opp1y8hk2a5qk2wmbgml'",
            time.len()
        ))
    };
    let (ann, bob) = ("eyJ1c2VyIjoiYW5uIn0", "eyJ1c2VyIjoiYm9iIn0");
    let (one, other) =
        ("gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc", "C3Dpt8i5TNdcyZWHHNbZrzDLkmd3N9Z1FkW5Su7b8Qp");
    let ok: &[u8] = b"\x07\0\0\x01\0\x01\0\x02\0\0\0";
    let recording = Recording::of(&[(saved(ann, "1xVN2x", one), ok)]);
    same(&recording, &[saved(ann, "1xVN4k", other)]);
    last_is_refused(&recording, &[saved(bob, "1xVN4k", other)]);

    let ordered = |item: u8, seconds: u8| {
        let at = format!("\"2026-11-23 05:57:{seconds:02}.175324+00:00\"");
        query(&format!(
            "INSERT INTO shop_order (item_id, at) SELECT * FROM UNNEST('{{{item},{item}}}'::int[], '{{{at},{at}}}'::timestamptz[])"
        ))
    };
    let recording = Recording::of(&[(ordered(1, 10), ok)]);
    same(&recording, &[ordered(1, 59)]);
    last_is_refused(&recording, &[ordered(2, 10)]);
}
