//! An assembler that is told what another one knew goes on as that one would.

use super::*;
use proptest::prelude::*;

impl Program {
    /// All that the assembler has in memory is gone, but for what it tells.
    fn succeed(&mut self) -> &mut Self {
        let mut events: Vec<(EventKind, u64, u64, i64, u16, Vec<u8>)> = Vec::new();
        self.assembler.recall(
            self.now,
            |process| 1000 + process as u32,
            |event| {
                let Event { kind, process, connection, result, flags, payload, .. } = *event;
                events.push((kind, process, connection, result, flags, payload.to_vec()));
            },
        );
        let sessions: Vec<Session> = self.assembler.unfinished().into_iter().cloned().collect();
        self.assembler = Assembler::new(Config::new(0xdef));
        let (process, tid) = (self.process, self.tid);
        for (kind, by, connection, result, flags, payload) in events {
            self.process = by;
            self.flagged(flags).event(kind, connection, result, &payload);
        }
        (self.process, self.tid) = (process, tid);
        for session in sessions {
            self.assembler.restore(session);
        }
        self
    }
}

/// What is in a session, but for its id, and for the time at which it ended.
fn contents(session: &Session) -> Session {
    Session { session_id: String::new(), next_session_id: String::new(), ..session.clone() }
}

type Step = fn(&mut Program);

/// Two threads serve keep-alive connections, with a talk each, a file and a boot session; all steps are told apart.
fn steps() -> Vec<Step> {
    vec![
        |on| _ = on.event(EventKind::Process, 0, 0, b"/bin/program"),
        |on| _ = on.event(EventKind::Open, 90, 0, b"/var/log/access"),
        |on| _ = on.connect(30).talk(30, &ping("boot"), PONG),
        |on| _ = on.accept(1),
        |on| _ = on.thread(2).accept(2),
        |on| _ = on.thread(1).receive(1, "GET /one HT"),
        |on| _ = on.receive(1, "TP/1.1\r\n\r\n"),
        |on| _ = on.thread(2).receive(2, "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"),
        |on| _ = on.thread(1).connect(31),
        |on| _ = on.send(31, &ping("one")),
        |on| _ = on.thread(2).receive(2, "cd"),
        |on| _ = on.thread(1).receive(31, PONG),
        |on| _ = on.talk(31, &ping("two"), PONG),
        |on| _ = on.event(EventKind::Append, 90, 4, b"one\n"),
        |on| _ = on.send(1, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nso "),
        |on| _ = on.thread(2).talk(30, &ping("three"), PONG),
        |on| _ = on.thread(1).send(1, "far"),
        |on| _ = on.park(),
        |on| _ = on.thread(2).send(2, OK),
        |on| _ = on.thread(1).receive(1, GET),
        |on| _ = on.close(31),
        |on| _ = on.thread(2).park(),
        |on| _ = on.thread(1).send(1, OK),
        |on| _ = on.close(1),
        |on| _ = on.thread(2).close(2),
    ]
}

/// The sessions of the steps; where `succeeds`, after so many of them another assembler goes on.
fn sessions(succeeds: Option<usize>) -> Vec<Session> {
    let mut program = program();
    let mut all = Vec::new();
    for (at, step) in steps().into_iter().enumerate() {
        // The times must be the same.
        program.now = START + (at as u64 + 1) * MS;
        step(&mut program);
        all.extend(program.delivered());
        if succeeds == Some(at) {
            program.succeed();
        }
    }
    program.now = START + 1000 * MS;
    all.extend(program.finish());
    let mut all: Vec<Session> = all.iter().map(contents).collect();
    all.sort_by_key(|session| session.call_from_inbound.as_ref().map(|call| call.occurred_at));
    all
}

#[test]
fn the_same_sessions_come_of_it_whenever_that_is() {
    let whole = sessions(None);
    assert_eq!(whole.len(), 4);
    for at in 0..steps().len() {
        let mut rest = sessions(Some(at));
        for (one, expected) in rest.iter_mut().zip(&whole) {
            // A connection that a session has used and that is closed is described as it was before.
            for (description, of) in one.connections.iter_mut().zip(&expected.connections) {
                if *description != *of {
                    let open = crate::model::Connection { end: String::new(), ..(**of).clone() };
                    assert_eq!(**description, open, "after step {at}");
                    *description = of.clone();
                }
            }
        }
        assert_eq!(rest, whole, "after step {at}");
    }
}

#[test]
fn kernel_counts_of_what_came_before_are_no_gap() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, OK).park();
    program.delivered();
    program.succeed().receive(1, GET).succeed().send(1, OK);
    let counts = [2 * OK.len() as u64, 2 * GET.len() as u64].map(u64::to_le_bytes).concat();
    program.event(EventKind::Close, 1, 0, &counts);
    assert!(!program.one().incomplete);
    assert_eq!(program.assembler.gaps(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_known_can_be_gone_on_with(
        events in prop::collection::vec(super::properties::any_event(), 0..60),
        at in 0usize..60,
    ) {
        let mut program = program();
        for (index, event) in events.iter().enumerate() {
            event.happen(&mut program);
            if index == at {
                program.succeed();
            }
        }
        program.finish();
    }
}
