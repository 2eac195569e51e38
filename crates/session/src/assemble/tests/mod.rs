//! Events by hand, and what must become of them.

mod boot;
mod connections;
mod deeds;
mod overlap;
mod processes;
mod properties;
mod sessions;
mod succession;
mod talks;
mod totals;
mod tree;

use super::{Assembler, Config, State};
use crate::model::{Action, CallOutbound, SendUdp, Session};
use koala_events::{Address, Event, EventKind, Source, flags};

/// When a trace begins.
const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PING: &str = "PING\r\n";
const PONG: &str = "+PONG\r\n";

fn ping(word: &str) -> String {
    format!("*2\r\n$4\r\nPING\r\n${}\r\n{word}\r\n", word.len())
}

/// A program that is being recorded. Each call is an event, 1 us after the one before.
struct Program {
    assembler: Assembler,
    now: u64,
    process: u64,
    tid: u32,
    context: u64,
    flags: u16,
}

fn program() -> Program {
    let config = Config::new(0xabc);
    Program { assembler: Assembler::new(config), now: START, process: 1, tid: 1, context: 0, flags: 0 }
}

fn v4(port: u16) -> Address {
    Address::V4([127, 0, 0, 1], port)
}

fn pair(local: Address, peer: Address) -> Vec<u8> {
    let mut payload = Vec::new();
    for address in [local, peer] {
        let mut bytes = [0; Address::MAX];
        let length = address.encode(&mut bytes);
        payload.extend_from_slice(&bytes[..length]);
    }
    payload
}

impl Program {
    fn event(&mut self, kind: EventKind, connection: u64, result: i64, payload: &[u8]) -> &mut Self {
        self.now += 1000;
        let event = Event {
            kind,
            source: Source::Libc,
            flags: std::mem::take(&mut self.flags),
            process: self.process,
            pid: 1000 + self.process as u32,
            tid: self.tid,
            context: self.context,
            sequence: self.now,
            time: self.now,
            connection,
            fd: 3 + connection as i32,
            result,
            payload,
        };
        self.assembler.push(&event);
        self
    }

    /// What follows is done by this thread of the same process.
    fn thread(&mut self, tid: u32) -> &mut Self {
        self.tid = tid;
        self.context = 0;
        self
    }

    /// What follows is done by this process, in its first thread.
    fn process(&mut self, process: u64) -> &mut Self {
        self.process = process;
        self.thread(1)
    }

    /// Makes a process by fork; it tells of itself when `begin` is called.
    fn fork(&mut self, child: u64) -> &mut Self {
        self.event(EventKind::Fork, child, 0, b"")
    }

    /// The process tells of itself: it was forked from `parent`, or descends from what has this number.
    fn begin(&mut self, process: u64, parent: u64) -> &mut Self {
        self.process(process).event(EventKind::Process, parent, 0, b"/bin/program")
    }

    /// What follows is done by this virtual thread.
    fn virtual_thread(&mut self, context: u64) -> &mut Self {
        self.context = context;
        self
    }

    /// The next event has these flags.
    fn flagged(&mut self, flags: u16) -> &mut Self {
        self.flags = flags;
        self
    }

    /// A client connects: `127.0.0.1:8080`, from a port that is 1000 + the number of the connection.
    fn accept(&mut self, connection: u64) -> &mut Self {
        self.event(EventKind::Accept, connection, 0, &pair(v4(8080), v4(1000 + connection as u16)))
    }

    /// The program connects to `127.0.0.1:6379`, from a port that is 2000 + the number of the connection.
    fn connect(&mut self, connection: u64) -> &mut Self {
        self.event(EventKind::Connect, connection, 0, &pair(v4(2000 + connection as u16), v4(6379)))
    }

    fn receive(&mut self, connection: u64, bytes: &str) -> &mut Self {
        self.event(EventKind::Receive, connection, bytes.len() as i64, bytes.as_bytes())
    }

    fn send(&mut self, connection: u64, bytes: &str) -> &mut Self {
        self.event(EventKind::Send, connection, bytes.len() as i64, bytes.as_bytes())
    }

    /// Asks and gets an answer.
    fn talk(&mut self, connection: u64, request: &str, response: &str) -> &mut Self {
        self.send(connection, request).receive(connection, response)
    }

    fn eof(&mut self, connection: u64) -> &mut Self {
        self.event(EventKind::Receive, connection, 0, b"")
    }

    fn close(&mut self, connection: u64) -> &mut Self {
        self.event(EventKind::Close, connection, 0, b"")
    }

    fn park(&mut self) -> &mut Self {
        self.assembler.parked(self.process, self.tid, self.now);
        self
    }

    fn end_thread(&mut self) -> &mut Self {
        self.event(EventKind::ThreadEnd, 0, 0, b"")
    }

    fn end_process(&mut self) -> &mut Self {
        self.assembler.process_ended(self.process, self.now);
        self
    }

    /// Time passes.
    fn wait(&mut self, milliseconds: u64) -> &mut Self {
        for _ in 0..milliseconds.div_ceil(50) {
            self.now += milliseconds.min(50) * MS;
            self.assembler.tick(self.now);
        }
        self
    }

    /// The sessions that are over by now.
    fn delivered(&mut self) -> Vec<Session> {
        std::iter::from_fn(|| self.assembler.pop()).map(|session| *session).collect()
    }

    /// The one session that is over by now.
    fn one(&mut self) -> Session {
        let mut delivered = self.delivered();
        assert_eq!(delivered.len(), 1, "{delivered:#?}");
        delivered.remove(0)
    }

    fn none(&mut self) -> &mut Self {
        assert_eq!(self.delivered(), []);
        self
    }

    /// Everything there is.
    fn finish(&mut self) -> Vec<Session> {
        self.assembler.finish(self.now);
        assert_eq!(self.assembler.open_sessions(), 0);
        self.delivered()
    }

    fn state(&self, connection: u64) -> Option<State> {
        self.assembler.inbound(&v4(1000 + connection as u16)).map(|inbound| inbound.state)
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn request(session: &Session) -> &str {
    session.call_from_inbound.as_ref().map_or("", |call| text(&call.request))
}

fn response(session: &Session) -> Option<&str> {
    session.return_inbound.as_ref().map(|answer| text(&answer.response))
}

fn calls(session: &Session) -> Vec<&CallOutbound> {
    let actions = session.actions.iter();
    actions
        .filter_map(|action| if let Action::CallOutbound(call) = action { Some(&**call) } else { None })
        .collect()
}

/// The requests and responses of the talks of a session.
fn talks(session: &Session) -> Vec<(&str, &str)> {
    calls(session).iter().map(|call| (text(&call.request), text(&call.response))).collect()
}

fn datagrams(session: &Session) -> Vec<&SendUdp> {
    let actions = session.actions.iter();
    actions.filter_map(|action| if let Action::SendUdp(sent) = action { Some(sent) } else { None }).collect()
}
