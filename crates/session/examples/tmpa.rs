//! What a session costs: the events of a small server that asks Redis once a request, on some threads with
//! keep-alive connections, through the assembler.
//!
//! `cargo run --release -p koala-session --example assemble`

#![allow(clippy::print_stdout, reason = "it is what a benchmark is for")]

use koala_events::{Address, Event, EventKind, Source};
use koala_session::assemble::{Assembler, Config};
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const THREADS: u32 = 16;
const ROUNDS: u64 = 20_000;
const RUNS: usize = 9;

const REQUEST: &[u8] = b"GET /user?id=12345 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const COMMAND: &[u8] = b"*2\r\n$3\r\nGET\r\n$10\r\nuser:12345\r\n";
const REPLY: &[u8] = b"$24\r\n{\"id\":12345,\"name\":\"a\"}X\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{\"id\":12345,\"name\":\"a\"}X";

fn event(kind: EventKind, tid: u32, connection: u64, time: u64, payload: &[u8]) -> Event<'_> {
    Event {
        kind,
        source: Source::Libc,
        flags: 0,
        process: 1,
        pid: 100,
        tid,
        context: 0,
        sequence: time,
        time,
        connection,
        fd: 7,
        result: if matches!(kind, EventKind::Send | EventKind::Receive) { payload.len() as i64 } else { 0 },
        payload,
    }
}

fn addresses(local: Address, peer: Address) -> Vec<u8> {
    let mut payload = Vec::new();
    for address in [local, peer] {
        let mut bytes = [0; Address::MAX];
        let length = address.encode(&mut bytes);
        payload.extend_from_slice(&bytes[..length]);
    }
    payload
}

fn v4(port: u16) -> Address {
    Address::V4([127, 0, 0, 1], port)
}

/// The processor time of this thread, where the system tells it; so a busy machine matters less.
fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

fn run(recycle: bool) -> (Duration, u64) {
    let mut assembler = Assembler::new(Config::new(0x1234_5678_9abc_def0));
    let mut time = 1_795_358_265_987_015_087;
    for thread in 0..THREADS {
        let port = 40_000 + thread as u16;
        let inbound = addresses(v4(8080), v4(port));
        let outbound = addresses(v4(port + 1000), v4(6379));
        assembler.push(&event(EventKind::Accept, thread, 10 + u64::from(thread), time, &inbound));
        assembler.push(&event(EventKind::Connect, thread, 1000 + u64::from(thread), time, &outbound));
    }
    let (mut sessions, mut bytes) = (0u64, 0);
    let start = now();
    for round in 0..ROUNDS {
        for (kind, inbound, payload) in [
            (EventKind::Receive, true, REQUEST),
            (EventKind::Send, false, COMMAND),
            (EventKind::Receive, false, REPLY),
            (EventKind::Send, true, RESPONSE),
        ] {
            for thread in 0..THREADS {
                time += 1000;
                let connection = u64::from(thread) + if inbound { 10 } else { 1000 };
                assembler.push(&event(kind, thread, connection, time, payload));
            }
        }
        if round % 4 == 0 {
            for thread in 0..THREADS {
                assembler.parked(1, thread, time);
            }
        }
        assembler.tick(time);
        while let Some(session) = assembler.pop() {
            sessions += 1;
            bytes += session.actions.len();
            if recycle { assembler.recycle(session) } else { drop(black_box(session)) }
        }
    }
    let elapsed = now() - start;
    assembler.finish(time);
    while assembler.pop().is_some() {
        sessions += 1;
    }
    assert_eq!(sessions, ROUNDS * u64::from(THREADS));
    black_box(bytes);
    (elapsed, sessions)
}

fn main() {
    for (recycle, how) in [(true, "recycled")] {
        let nanoseconds = |(elapsed, sessions): (Duration, u64)| elapsed.as_nanos() as f64 / sessions as f64;
        let mut runs: Vec<f64> = (0..RUNS).map(|_| nanoseconds(run(recycle))).collect();
        runs.sort_by(f64::total_cmp);
        println!("{how}: {:.0} ns a session (fastest {:.0})", runs[RUNS / 2], runs[0]);
    }
}
