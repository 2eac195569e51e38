//! Connections with both ends in the tree.

use super::*;

/// Connection 5 of process 1 and connection 6 of process 2 are the ends of one.
fn joined(program: &mut Program) {
    program.process(1).event(EventKind::Connect, 5, 0, &pair(v4(3000), v4(9000)));
    program.process(2).event(EventKind::Accept, 6, 0, &pair(v4(9000), v4(3000)));
}

#[test]
fn what_the_serving_end_does_belongs_to_the_asking_session() {
    for accepted_first in [false, true] {
        let mut program = program();
        if accepted_first {
            program.process(2).event(EventKind::Accept, 6, 0, &pair(v4(9000), v4(3000)));
            program.process(1).event(EventKind::Connect, 5, 0, &pair(v4(3000), v4(9000)));
        } else {
            joined(&mut program);
        }
        program
            .process(2)
            .connect(7)
            .process(1)
            .accept(1)
            .receive(1, GET)
            .send(5, "GET /inner HTTP/1.1\r\n\r\n");
        program
            .process(2)
            .receive(6, "GET /inner HTTP/1.1\r\n\r\n")
            .talk(7, PING, PONG)
            .send(6, OK)
            .park()
            .none();
        program.process(1).receive(5, OK).send(1, OK).park();
        let session = program.one();
        assert_eq!(talks(&session), [("GET /inner HTTP/1.1\r\n\r\n", OK), (PING, PONG)]);
        assert_eq!(program.finish(), []);
    }
}

#[test]
fn a_program_may_call_itself() {
    let mut program = program();
    program.event(EventKind::Connect, 5, 0, &pair(v4(3000), v4(9000)));
    // The same connection as an IPv6 socket names it.
    let mapped = |port| Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port);
    program.event(EventKind::Accept, 6, 0, &pair(mapped(9000), mapped(3000)));
    program.connect(7).accept(1).receive(1, GET).send(5, GET).receive(6, GET).talk(7, PING, PONG).send(6, OK);
    let session = program.receive(5, OK).send(1, OK).park().one();
    assert_eq!(talks(&session), [(GET, OK), (PING, PONG)]);
    assert!(calls(&session).iter().all(|call| !call.ambiguous));
}

#[test]
fn what_a_process_asks_outside_any_session_is_boot() {
    let mut program = program();
    joined(&mut program);
    program
        .process(2)
        .connect(7)
        .process(1)
        .send(5, GET)
        .process(2)
        .receive(6, GET)
        .talk(7, PING, PONG)
        .send(6, OK);
    program.process(1).receive(5, OK);
    let sessions = program.finish();
    assert_eq!(sessions.len(), 1);
    assert_eq!((&*sessions[0].context, sessions[0].process_id), ("boot", 1));
    assert_eq!(talks(&sessions[0]), [(GET, OK), (PING, PONG)]);
}

#[test]
fn after_the_inner_response_the_thread_is_free() {
    let mut program = program();
    joined(&mut program);
    program.process(2).connect(7).accept(8).process(1).accept(1).receive(1, GET).send(5, GET);
    program.process(2).receive(6, GET).send(6, OK).park().talk(7, PING, PONG);
    program.receive(8, "GET /own HTTP/1.1\r\n\r\n").talk(7, &ping("own"), PONG).send(8, OK).park();
    assert_eq!(talks(&program.one()), [(&*ping("own"), PONG)]);
    program.process(1).receive(5, OK).send(1, OK).park();
    assert_eq!(talks(&program.one()), [(GET, OK)]);
    assert_eq!(talks(&program.finish()[0]), [(PING, PONG)]);
}
