//! The agent with the library itself: a program that knows nothing of koala, under `LD_PRELOAD`.
//!
//! Needs `libkoala.so`, which `npm run build` makes; without it the tests say so and pass.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use koala_session::model::{Action, Session};
use support::{Agent, TempDir, Upstream, sessions};

const UPSTREAM: &str = "KOALA_TEST_UPSTREAM";
const PIECES: &str = "KOALA_TEST_PIECES";

/// The program: a threaded server that asks another one for every request.
#[test]
#[ignore = "not a test: a program that other tests start"]
fn program() {
    let Ok(upstream) = std::env::var(UPSTREAM) else { return };
    let pieces: usize = std::env::var(PIECES).map_or(1, |pieces| pieces.parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    writeln!(std::io::stdout(), "\nlistening {}", listener.local_addr().unwrap()).unwrap();
    for stream in listener.incoming() {
        let upstream = upstream.clone();
        std::thread::spawn(move || serve(stream.unwrap(), &upstream, pieces));
    }
}

fn serve(mut stream: TcpStream, upstream: &str, pieces: usize) {
    let mut asked: Option<TcpStream> = None;
    loop {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                _ => return,
            }
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let path = text.split(' ').nth(1).unwrap();
        let server = asked.get_or_insert_with(|| TcpStream::connect(upstream).unwrap());
        // In pieces, as programs do whose buffers are small.
        let question = format!("GET {path} HTTP/1.1\r\nHost: upstream\r\n\r\n").into_bytes();
        for piece in question.chunks(question.len().div_ceil(pieces)) {
            server.write_all(piece).unwrap();
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b".") {
            match server.read(&mut buffer) {
                Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
                _ => break,
            }
        }
        let body = String::from_utf8_lossy(&answer).rsplit("\r\n").next().unwrap_or_default().to_owned();
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

fn upstream() -> Upstream {
    let frame = |bytes: &[u8]| bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
    Upstream::start(b"", frame, |request, number| {
        let body = format!("answer {number} to {} bytes.", request.len());
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
}

fn library() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let architecture = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
    let path = workspace.join(format!("npm/linux-{architecture}-gnu/libkoala.so"));
    if path.exists() {
        return Some(path);
    }
    let _ = writeln!(std::io::stderr(), "{} is not built: nothing is tested", path.display());
    None
}

struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(agent: &Agent, mode: &str, library: &Path, upstream: &str, pieces: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program", "--ignored", "--nocapture", "--test-threads=1"])
            .env("LD_PRELOAD", library)
            .env("KOALA_MODE", mode)
            .env("KOALA_RUNTIME_DIR", &agent.runtime_dir)
            .env(UPSTREAM, upstream)
            .env(PIECES, pieces.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let address =
            lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("listening ")?.to_owned()));
        Self { child, address: address.expect("the program listens") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    while !response.ends_with(b".") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the program closed the connection");
        response.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(response).unwrap()
}

fn record(library: &Path, directory: &TempDir, pieces: usize) -> (String, Vec<Session>) {
    let upstream = upstream();
    let recording = directory.join("recording");
    let agent = Agent::record(&recording, &directory.join("run"));
    let address = upstream.address.to_string();
    let program = Program::start(&agent, "record", library, &address, pieces);
    let mut heard = Vec::new();
    for client in 0..3 {
        let mut stream = TcpStream::connect(&program.address).unwrap();
        for number in 0..5 {
            heard.push(get(&mut stream, &format!("/{client}/{number}")));
        }
    }
    agent.wait_status(|status| status["Sessions"] == 15);
    let last = agent.finish();
    assert_eq!(last["Lost"]["Events"], 0);
    assert_eq!(last["Unresolved"], serde_json::json!([]));
    let mut recorded = sessions(&recording);
    recorded.retain(|session| session.call_from_inbound.is_some());
    recorded.sort_by(|a, b| a.session_id.cmp(&b.session_id));
    let responses: Vec<String> = recorded.iter().map(response).collect();
    assert_eq!(responses, heard);
    (address, recorded)
}

fn response(session: &Session) -> String {
    String::from_utf8(session.return_inbound.as_ref().unwrap().response.clone()).unwrap()
}

#[test]
fn a_program_is_recorded_and_replayed() {
    let Some(library) = library() else { return };
    for pieces in [1, 4] {
        let directory = TempDir::new();
        let (upstream, recorded) = record(&library, &directory, pieces);
        let agent = Agent::replay(&directory.join("recording"), &directory.join("run"));
        let _program = Program::start(&agent, "replay", &library, &upstream, pieces);
        agent.wait_status(|status| status["Listeners"].as_array().is_some_and(|list| list.len() == 1));
        for session in recorded.iter().rev() {
            let replayed = agent.replay_session(session).unwrap();
            assert_eq!(response(&replayed), response(session));
            let [Action::CallOutbound(call)] = replayed.actions.as_slice() else {
                panic!("{:?}", replayed.actions)
            };
            let [Action::CallOutbound(original)] = session.actions.as_slice() else { panic!() };
            let matched = call.matched.as_ref().unwrap();
            assert_eq!(matched.action_index, i64::from(original.action_index), "{matched:?}");
            assert_eq!(matched.session_id, "");
            assert_eq!(call.response, original.response);
        }
        agent.finish();
    }
}

#[test]
fn replays_follow_each_other_quickly() {
    let Some(library) = library() else { return };
    let directory = TempDir::new();
    let (upstream, recorded) = record(&library, &directory, 1);
    let agent = Agent::replay(&directory.join("recording"), &directory.join("run"));
    let _program = Program::start(&agent, "replay", &library, &upstream, 1);
    agent.wait_status(|status| status["Listeners"].as_array().is_some_and(|list| list.len() == 1));
    const ROUNDS: u32 = 20;
    let started = Instant::now();
    for session in (0..ROUNDS).flat_map(|_| &recorded) {
        agent.replay_session(session).unwrap();
    }
    let each = started.elapsed() / (ROUNDS * recorded.len() as u32);
    let _ = writeln!(std::io::stderr(), "{each:?} a session");
    assert!(each < Duration::from_millis(20), "{each:?} a session");
    agent.finish();
}
