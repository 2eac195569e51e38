//! The whole way: a program is recorded, its servers are stopped, and it is replayed.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use koala_session::model::{Action, CallOutbound, Session};
use support::{Agent, Conn, Program, TempDir, Upstream, sessions};

fn whole_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

/// The length of a Redis command at the head of `bytes`.
fn redis_frame(bytes: &[u8]) -> Option<usize> {
    use koala_protocol::{Framing, Protocol, frame_request};
    match frame_request(Protocol::Redis, bytes) {
        Framing::Complete(length) => Some(length),
        _ => None,
    }
}

fn line_frame(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1)
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// A Redis that says with every value which answer it is, so that no other answer can pass for it.
fn redis() -> Upstream {
    Upstream::start(b"", redis_frame, |request, number| {
        if request.windows(4).any(|word| word == b"PING") {
            return b"+PONG\r\n".to_vec();
        }
        let value = format!("answer {number} to {} bytes", request.len());
        format!("${}\r\n{value}\r\n", value.len()).into_bytes()
    })
}

/// A server that speaks first.
fn greeter() -> Upstream {
    Upstream::start(b"WELCOME\n", line_frame, |request, number| {
        format!("{number}: {}", String::from_utf8_lossy(request)).into_bytes()
    })
}

#[derive(Clone, Copy)]
struct Servers {
    redis: SocketAddr,
    greeter: SocketAddr,
    /// Where nobody listens.
    nobody: SocketAddr,
}

struct Service {
    program: Arc<Program>,
    servers: Servers,
    pool: Mutex<Option<Conn>>,
    /// What it asks Redis for instead of the key that it was asked for.
    bug: Option<&'static str>,
    stop: AtomicBool,
}

/// A service that runs.
struct Running {
    service: Arc<Service>,
    address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

impl Service {
    /// Starts a threaded HTTP server.
    fn start(program: &Arc<Program>, servers: Servers, bug: Option<&'static str>) -> Running {
        let listener = program.listen("127.0.0.1:0".parse().unwrap());
        let address = listener.local_addr().unwrap();
        let service = Arc::new(Self {
            program: program.clone(),
            servers,
            pool: Mutex::new(None),
            bug,
            stop: AtomicBool::new(false),
        });
        let accepting = service.clone();
        program.spawn(move || {
            loop {
                let inbound = accepting.program.accept(&listener);
                if accepting.stop.load(Ordering::Acquire) {
                    return;
                }
                let handler = accepting.clone();
                accepting.program.spawn(move || handler.serve(&inbound));
            }
        });
        Running { service, address }
    }

    fn serve(&self, inbound: &Conn) {
        loop {
            let Ok(request) = inbound.receive_until(whole_head) else { return };
            if request.is_empty() {
                return;
            }
            let line = String::from_utf8_lossy(&request).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match self.page(path) {
                Ok(body) => ("200 OK", body),
                Err(error) => ("502 Bad Gateway", error.kind().to_string()),
            };
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if inbound.send(response.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn page(&self, path: &str) -> std::io::Result<String> {
        let bulk = |bytes: &[u8]| bytes.len() > 1 && bytes.ends_with(b"\r\n") && bytes[1..].contains(&b'\n');
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "get", key] => {
                let redis = self.program.connect(self.servers.redis)?;
                redis.send(&command(&["GET", self.bug.unwrap_or(key)]))?;
                let value =
                    redis.receive_until(|bytes| bytes.iter().filter(|&&b| b == b'\n').count() == 2)?;
                if value.is_empty() {
                    Err(std::io::ErrorKind::UnexpectedEof.into())
                } else {
                    Ok(text(&value))
                }
            }
            ["", "twice", key] => {
                let redis = self.program.connect(self.servers.redis)?;
                let mut values = String::new();
                for _ in 0..2 {
                    redis.send(&command(&["GET", key]))?;
                    values += &text(
                        &redis.receive_until(|bytes| bytes.iter().filter(|&&b| b == b'\n').count() == 2)?,
                    );
                }
                Ok(values)
            }
            ["", "pooled", key] => {
                let mut pool = self.pool.lock().unwrap();
                if pool.is_none() {
                    let redis = self.program.connect(self.servers.redis)?;
                    redis.send(&command(&["PING"]))?;
                    redis.receive_until(|bytes| bytes.ends_with(b"\r\n"))?;
                    *pool = Some(redis);
                }
                let redis = pool.as_ref().unwrap();
                redis.send(&command(&["GET", key]))?;
                Ok(text(&redis.receive_until(bulk)?))
            }
            ["", "greeter", word] => {
                let greeter = self.program.connect(self.servers.greeter)?;
                let mut said = text(&greeter.receive_until(|bytes| bytes.ends_with(b"\n"))?);
                greeter.send(format!("say {word}\n").as_bytes())?;
                said += &text(&greeter.receive_until(|bytes| bytes.ends_with(b"\n"))?);
                Ok(said)
            }
            ["", "nobody"] => self.program.connect(self.servers.nobody).map(|_| String::new()),
            _ => Ok("hello".to_owned()),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One request on a connection of its own; the response.
fn get(service: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(service).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        response.extend_from_slice(&buffer[..read]);
        let whole = koala_protocol::frame_response(
            koala_protocol::Protocol::Http,
            koala_protocol::Expected::Message,
            &response,
        );
        if read == 0 || matches!(whole, koala_protocol::Framing::Complete(_)) {
            return text(&response);
        }
    }
}

fn calls(session: &Session) -> Vec<&CallOutbound> {
    session
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::CallOutbound(call) => Some(&**call),
            _ => None,
        })
        .collect()
}

fn response(session: &Session) -> String {
    text(&session.return_inbound.as_ref().expect("a response").response)
}

fn path(session: &Session) -> String {
    let request = text(&session.call_from_inbound.as_ref().unwrap().request);
    request.split(' ').nth(1).unwrap().to_owned()
}

const PATHS: [&str; 9] = [
    "/hello",
    "/get/a",
    "/get/b",
    "/get/a",
    "/twice/c",
    "/pooled/x",
    "/pooled/y",
    "/greeter/moin",
    "/nobody",
];

/// Records the service; returns the servers' addresses (which nobody serves any more) and the sessions.
fn record(directory: &TempDir) -> (Servers, Vec<Session>) {
    let redis = redis();
    let greeter = greeter();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers =
        Servers { redis: redis.address, greeter: greeter.address, nobody: free.local_addr().unwrap() };
    drop(free);
    let recording = directory.join("recording");
    let agent = Agent::record(&recording, &directory.join("run"));
    let program = Program::attach(&agent.runtime_dir);
    let service = Service::start(&program, servers, None);
    let mut heard = Vec::new();
    for path in PATHS {
        heard.push(get(service.address, path));
    }
    let status = agent.wait_status(|status| status["Sessions"] == PATHS.len());
    assert_eq!(status["Mode"], "record");
    assert_eq!(status["Listeners"], serde_json::json!([service.address.to_string()]));
    assert_eq!(status["Processes"], 1);
    assert_eq!(status["Pids"], serde_json::json!([std::process::id()]));
    let last = agent.finish();
    assert_eq!(last["Sessions"], PATHS.len());
    assert_eq!(last["Recording"], recording.display().to_string());
    assert_eq!(last["Lost"]["Events"], 0);
    let mut recorded = sessions(&recording);
    recorded.retain(|session| session.call_from_inbound.is_some());
    recorded.sort_by(|a, b| a.session_id.cmp(&b.session_id));
    assert_eq!(recorded.iter().map(path).collect::<Vec<_>>(), PATHS);
    assert_eq!(recorded.iter().map(response).collect::<Vec<_>>(), heard);
    (servers, recorded)
}

/// Starts the replay of a recording; the service is there when this returns.
fn replay(directory: &TempDir, servers: Servers, bug: Option<&'static str>) -> (Agent, Running) {
    let agent = Agent::replay(&directory.join("recording"), &directory.join("run"));
    let program = Program::attach(&agent.runtime_dir);
    let service = Service::start(&program, servers, bug);
    agent.wait_status(|status| status["Listeners"].as_array().is_some_and(|list| list.len() == 1));
    (agent, service)
}

#[test]
fn what_was_recorded_is_replayed_without_its_servers() {
    let directory = TempDir::new();
    let (servers, recorded) = record(&directory);
    assert!(TcpStream::connect(servers.nobody).is_err());
    let (agent, _service) = replay(&directory, servers, None);
    // Twice, and the second time in another order: nothing is used up, and nothing depends on what came before.
    for session in recorded.iter().chain(recorded.iter().rev()) {
        let replayed = agent.replay_session(session).unwrap();
        assert_eq!(response(&replayed), response(session));
        for call in calls(&replayed) {
            let matched = call.matched.as_ref().expect("an account of every call");
            assert!(matched.mark > 0.99, "{}: {matched:?}", path(session));
        }
    }
    let last = agent.finish();
    assert_eq!(last["Sessions"], 2 * PATHS.len());
}

#[test]
fn calls_are_matched_with_the_calls_of_their_session() {
    let directory = TempDir::new();
    let (servers, recorded) = record(&directory);
    let (agent, _service) = replay(&directory, servers, None);
    let by_path = |wanted: &str| recorded.iter().find(|session| path(session) == wanted).unwrap();
    let indexes = |session: &Session| -> Vec<(String, i64)> {
        calls(session)
            .iter()
            .map(|call| call.matched.as_ref().map(|m| (m.session_id.clone(), m.action_index)).unwrap())
            .collect()
    };
    let own = |session: &Session| -> Vec<(String, i64)> {
        calls(session).iter().map(|call| (String::new(), i64::from(call.action_index))).collect()
    };
    for wanted in ["/get/a", "/twice/c", "/greeter/moin", "/nobody"] {
        let session = by_path(wanted);
        let replayed = agent.replay_session(session).unwrap();
        assert!(!own(session).is_empty());
        assert_eq!(indexes(&replayed), own(session), "{wanted}");
    }
    // The pool was connected in an earlier session: what sets the connection up is answered from there.
    let (first, second) = (by_path("/pooled/x"), by_path("/pooled/y"));
    assert_eq!((calls(first).len(), calls(second).len()), (2, 1));
    let replayed = agent.replay_session(second).unwrap();
    let set_up = (first.session_id.clone(), i64::from(calls(first)[0].action_index));
    assert_eq!(indexes(&replayed), [set_up, own(second)[0].clone()]);
    assert_eq!(response(&replayed), response(second));
    agent.finish();
}

#[test]
fn a_call_for_something_else_is_not_answered() {
    let directory = TempDir::new();
    let (servers, recorded) = record(&directory);
    let (agent, _service) = replay(&directory, servers, Some("another key"));
    let session = recorded.iter().find(|session| path(session) == "/get/a").unwrap();
    let replayed = agent.replay_session(session).unwrap();
    assert!(response(&replayed).starts_with("HTTP/1.1 502"), "{}", response(&replayed));
    let calls = calls(&replayed);
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    let matched = call.matched.as_ref().unwrap();
    assert_eq!(matched.action_index, -1, "{matched:?}");
    assert!(!matched.reason.is_empty());
    assert!(call.response.is_empty());
    agent.finish();
}

#[test]
fn sessions_replay_at_once() {
    let directory = TempDir::new();
    let (servers, recorded) = record(&directory);
    let (agent, _service) = replay(&directory, servers, None);
    std::thread::scope(|scope| {
        for round in 0..8 {
            let (agent, recorded) = (&agent, &recorded);
            scope.spawn(move || {
                for number in 0..recorded.len() {
                    let session = &recorded[(number + round) % recorded.len()];
                    // One pooled connection is one at a time, and says in which session it was set up.
                    if path(session).starts_with("/pooled") {
                        continue;
                    }
                    let replayed = agent.replay_session(session).unwrap();
                    assert_eq!(response(&replayed), response(session), "{}", path(session));
                }
            });
        }
    });
    agent.finish();
}

#[test]
fn replaying_is_fast() {
    let directory = TempDir::new();
    let (servers, recorded) = record(&directory);
    let (agent, _service) = replay(&directory, servers, None);
    let session = recorded.iter().find(|session| path(session) == "/get/a").unwrap();
    let started = Instant::now();
    const ROUNDS: u32 = 200;
    for _ in 0..ROUNDS {
        agent.replay_session(session).unwrap();
    }
    let each = started.elapsed() / ROUNDS;
    // Far from what it takes, but a fixed wait on the path would show.
    assert!(each < Duration::from_millis(20), "{each:?} a session");
    agent.finish();
}

#[test]
fn what_cannot_be_replayed_is_an_error_with_a_reason() {
    let directory = TempDir::new();
    let (_, recorded) = record(&directory);
    let agent = Agent::replay(&directory.join("recording"), &directory.join("run"));
    let session = &recorded[0];
    let (code, body) = agent.replay_session(session).unwrap_err();
    assert_eq!(code, 502, "nobody listens yet: {body}");
    assert!(body.contains("\"Error\""));
    let boot = Session { context: "boot".to_owned(), ..Session::default() };
    assert_eq!(agent.replay_session(&boot).unwrap_err().0, 400);
    assert_eq!(agent.ask("POST", "/cbor", b"no session").0, 400);
    assert_eq!(agent.ask("POST", "/json", b"{").0, 400);
    assert_eq!(agent.ask("POST", "/cbor?timeout=soon", b"").0, 400);
    assert_eq!(agent.ask("GET", "/cbor", b"").0, 405);
    assert_eq!(agent.ask("GET", "/nothing", b"").0, 404);

    // A program that takes the request and says nothing.
    let program = Program::attach(&agent.runtime_dir);
    let listener = program.listen("127.0.0.1:0".parse().unwrap());
    let silent = program.clone();
    program.spawn(move || {
        let inbound = silent.accept(&listener);
        let _ = inbound.receive_until(whole_head);
        std::thread::sleep(Duration::from_secs(5));
    });
    let (code, body) = agent.replay_session_within(session, "300ms").unwrap_err();
    assert_eq!(code, 504);
    assert!(body.contains("did not respond within 300ms"), "{body}");
    agent.finish();
}

#[test]
fn the_inbound_server_takes_sessions_and_nothing_else() {
    let directory = TempDir::new();
    let (servers, recorded) = record(&directory);
    let (agent, _service) = replay(&directory, servers, None);
    let address: SocketAddr = agent.ready["InboundAddr"].as_str().unwrap().parse().unwrap();
    let ask = |host: &str, headers: &str, method: &str, path: &str, body: &[u8]| {
        support::ask(TcpStream::connect(address).unwrap(), host, method, path, headers, body)
    };
    let json = koala_session::koala1::to_json(&recorded[1]);
    let own = address.to_string();
    let (code, body) = ask(&own, "", "POST", "/json", json.as_bytes());
    assert_eq!(code, 200, "{}", text(&body));
    let replayed = koala_session::koala1::from_json(&body).unwrap();
    assert_eq!(response(&replayed), response(&recorded[1]));
    assert_eq!(ask("evil.example", "", "POST", "/json", json.as_bytes()).0, 403);
    assert_eq!(ask(&own, "Origin: http://localhost\r\n", "POST", "/json", json.as_bytes()).0, 403);
    assert_eq!(ask(&own, "", "GET", "/status", b"").0, 404);
    assert_eq!(ask(&own, "", "POST", "/finish", b"").0, 404);
    agent.finish();
}
