//! How the agent begins and ends, and what is left when a program ends badly.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use koala_agent::manifest::Manifest;
use support::{Agent, Program, TempDir, sessions};

const RUNTIME_DIR: &str = "KOALA_TEST_RUNTIME_DIR";

/// The program of the tests that need one in a process of its own: answers each request on `/` and none other.
#[test]
#[ignore = "not a test: a program that other tests start"]
fn program() {
    let Some(runtime_dir) = std::env::var_os(RUNTIME_DIR) else { return };
    let program = Program::attach(Path::new(&runtime_dir));
    let listener = program.listen("127.0.0.1:0".parse().unwrap());
    // On a line of its own, whatever the test harness has printed.
    writeln!(std::io::stdout(), "\nlistening {}", listener.local_addr().unwrap()).unwrap();
    loop {
        let inbound = program.accept(&listener);
        program.spawn(move || {
            while let Ok(request) = inbound.receive_until(|bytes| bytes.ends_with(b"\r\n\r\n")) {
                if request.is_empty() {
                    return;
                }
                if !request.starts_with(b"GET / ") {
                    std::thread::sleep(Duration::from_secs(60));
                }
                inbound.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        });
    }
}

struct Child {
    process: std::process::Child,
    address: String,
}

impl Child {
    fn start(runtime_dir: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program", "--ignored", "--nocapture", "--test-threads=1"])
            .env(RUNTIME_DIR, runtime_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = None;
        for line in BufReader::new(process.stdout.as_mut().unwrap()).lines() {
            if let Some(found) = line.unwrap().strip_prefix("listening ") {
                address = Some(found.to_owned());
                break;
            }
        }
        Self { process, address: address.expect("an address") }
    }

    fn get(&self) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut response = [0; 40];
        stream.read_exact(&mut response).unwrap();
        assert!(response.ends_with(b"ok"));
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_killed_program_loses_no_session_that_was_completed() {
    let directory = TempDir::new();
    let recording = directory.join("recording");
    let agent = Agent::record(&recording, &directory.join("run"));
    let mut child = Child::start(&agent.runtime_dir);
    for _ in 0..20 {
        child.get();
    }
    let mut waiting = TcpStream::connect(&child.address).unwrap();
    waiting.write_all(b"GET /never HTTP/1.1\r\n\r\n").unwrap();
    // Two of the start, six of each answered request, accept and receive of this one.
    let events = 2 + 20 * 6 + 2;
    agent.wait_status(|status| status["Events"] == events);
    child.kill();
    agent.wait_status(|status| status["Processes"] == 0 && status["Sessions"] == 21);
    agent.finish();
    let sessions = sessions(&recording);
    let requests: Vec<_> = sessions.iter().filter(|session| session.call_from_inbound.is_some()).collect();
    let complete = requests.iter().filter(|session| session.return_inbound.is_some() && !session.incomplete);
    assert_eq!(complete.count(), 20);
    let cut: Vec<_> = requests.iter().filter(|session| session.incomplete).collect();
    assert_eq!(cut.len(), 1);
    assert!(cut[0].call_from_inbound.as_ref().unwrap().request.starts_with(b"GET /never"));
}

#[test]
fn when_the_cli_is_gone_the_agent_ends_with_the_program() {
    let directory = TempDir::new();
    let recording = directory.join("recording");
    let mut agent = Agent::record(&recording, &directory.join("run"));
    let mut child = Child::start(&agent.runtime_dir);
    child.get();
    agent.let_go();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(agent.status()["Processes"], 1, "it stays with the program");
    child.get();
    child.kill();
    assert!(agent.wait().success());
    let manifest = Manifest::load(&recording).unwrap();
    assert!(manifest.finished_at.is_some());
    assert_eq!(manifest.sessions, 2);
    assert_eq!(manifest.command, ["fake", "program"]);
    assert!(!directory.join("run").exists(), "the runtime directory is removed");
}

#[test]
fn a_signal_completes_the_recording() {
    let directory = TempDir::new();
    let recording = directory.join("recording");
    let mut agent = Agent::record(&recording, &directory.join("run"));
    let child = Child::start(&agent.runtime_dir);
    child.get();
    agent.wait_status(|status| status["Events"].as_u64().unwrap() > 3);
    let pid = rustix::process::Pid::from_raw(agent.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(agent.status()["Mode"], "record", "a hang-up means nothing");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(agent.wait().success());
    assert!(Manifest::load(&recording).unwrap().finished_at.is_some());
    assert_eq!(sessions(&recording).iter().filter(|session| session.call_from_inbound.is_some()).count(), 1);
}

#[test]
fn sessions_reach_the_disk_while_the_agent_runs() {
    let directory = TempDir::new();
    let recording = directory.join("recording");
    let agent = Agent::record(&recording, &directory.join("run"));
    let child = Child::start(&agent.runtime_dir);
    child.get();
    let started = Instant::now();
    while sessions(&recording).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&agent.runtime_dir.join("control.sock")), 0o600);
    assert_eq!(mode(&recording.join("manifest.json")), 0o600);
    drop(child);
    agent.finish();
}

/// Starts an agent that must not start; what it says.
fn refused(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_is_in_its_way_is_said_in_one_line() {
    let directory = TempDir::new();
    let run = directory.join("run");
    let one_line = |text: &str, words: &[&str]| {
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        for word in words {
            assert!(text.contains(word), "{text} lacks {word}");
        }
    };
    let command = |task: &str, option: &str, path: &str| {
        let mut command = Agent::command(task, option, Path::new(path), &run);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    one_line(&refused(command("replay", "--recording", "/nowhere/at/all")), &["/nowhere/at/all"]);
    one_line(&refused(command("replay", "--recording", "/tmp")), &["/tmp is not a recording"]);
    one_line(&refused(command("record", "--to", "/dev/null/x")), &["/dev/null/x", "can't record to"]);
    one_line(&refused(command("record", "--to", "/proc/nothing")), &["/proc/nothing"]);
    let mut bad = command("record", "--to", "/tmp");
    bad.env("KOALA_INBOUND_READ_TIMEOUT", "soon");
    one_line(&refused(bad), &["KOALA_INBOUND_READ_TIMEOUT", "\"soon\"", "100ms"]);

    let recording = directory.join("recording");
    Agent::record(&recording, &directory.join("run")).finish();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let mut busy = command("replay", "--recording", recording.to_str().unwrap());
    busy.env("KOALA_INBOUND_ADDR", &port);
    one_line(&refused(busy), &["KOALA_INBOUND_ADDR", &port, "in use"]);

    let running = Agent::record(&recording, &directory.join("run"));
    let second = command("record", "--to", recording.to_str().unwrap());
    one_line(&refused(second), &["control.sock", "in use"]);
    running.finish();
}

#[test]
fn strangers_at_the_attach_socket_get_nothing() {
    let directory = TempDir::new();
    let agent = Agent::record(&directory.join("recording"), &directory.join("run"));
    let mut stream = std::os::unix::net::UnixStream::connect(agent.runtime_dir.join("attach.sock")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty());
    assert_eq!(agent.status()["Processes"], 0);
    agent.finish();
}
