//! Processes that are forked, executed and started within sessions.

use super::*;
use proptest::prelude::*;

/// A unix connection: the asking end of process 1, accepted by process 2.
fn unix(program: &mut Program, asking: u64, serving: u64) {
    let path = Address::unix(b"/run/app.sock");
    program.process(1).event(EventKind::Connect, asking, 0, &pair(Address::None, path));
    // Its maker, as the serving end is told.
    program.process(2).event(EventKind::Accept, serving, 1001, &pair(path, Address::None));
}

#[test]
fn a_child_answers_what_its_parent_has_read() {
    for child_first in [false, true] {
        let mut program = program();
        program.accept(1).receive(1, GET).fork(2);
        if child_first {
            program.begin(2, 1).connect(5).talk(5, PING, PONG);
            program.process(1).close(1).park().none();
        } else {
            program.close(1).park().none();
            program.begin(2, 1).connect(5).talk(5, PING, PONG);
        }
        program.process(2).send(1, OK).close(1).end_process();
        let session = program.one();
        assert_eq!((request(&session), response(&session)), (GET, Some(OK)));
        assert_eq!(talks(&session), [(PING, PONG)]);
        assert!(!session.incomplete && calls(&session).iter().all(|call| !call.ambiguous));
        assert_eq!(session.connections[0].end, "closed");
        assert_eq!(program.process(1).finish(), []);
    }
}

#[test]
fn the_parents_next_request_is_another_one() {
    let mut program = program();
    program.accept(1).receive(1, GET).fork(2).close(1);
    program.accept(3).receive(3, "GET /3 HTTP/1.1\r\n\r\n").fork(4).close(3).park();
    program.begin(2, 1).connect(5);
    program.begin(4, 1).connect(6).talk(6, &ping("four"), PONG).send(3, OK);
    program.process(2).talk(5, &ping("two"), PONG).send(1, OK).close(1).end_process();
    let first = program.one();
    assert_eq!((request(&first), talks(&first)), (GET, vec![(&*ping("two"), PONG)]));
    program.process(4).close(3).end_process();
    assert_eq!(talks(&program.one()), [(&*ping("four"), PONG)]);
    assert!(!first.incomplete && first.overlap_group.is_empty());
}

#[test]
fn a_parent_that_dies_first_leaves_the_request_to_its_child() {
    let mut program = program();
    program.accept(1).receive(1, GET).fork(2).end_process().none();
    program.begin(2, 1).connect(5).talk(5, PING, PONG).send(1, OK).close(1).end_process();
    let session = program.one();
    assert_eq!(
        (response(&session), talks(&session), session.incomplete),
        (Some(OK), vec![(PING, PONG)], false)
    );
}

#[test]
fn a_child_that_dies_unheard_leaves_the_request_to_nobody() {
    let mut program = program();
    program.accept(1).receive(1, GET).fork(2).close(1).none();
    program.process(2).end_process();
    let session = program.one();
    assert!(session.incomplete && session.return_inbound.is_none());
}

#[test]
fn a_fork_that_failed_changes_nothing() {
    let mut program = program();
    program.accept(1).receive(1, GET).fork(2).event(EventKind::Fork, 2, -11, b"");
    program.connect(5).talk(5, PING, PONG).send(1, OK).close(1);
    let session = program.one();
    assert_eq!((talks(&session), session.incomplete), (vec![(PING, PONG)], false));
    assert_eq!(program.assembler.open_connections(), 1);
}

#[test]
fn a_child_that_closes_its_copy_ends_nothing() {
    let mut program = program();
    program.accept(1).receive(1, GET).connect(5).fork(2);
    program.begin(2, 1).close(1).close(5).end_process();
    program.process(1).talk(5, PING, PONG).send(1, OK).park();
    let session = program.one();
    assert_eq!(talks(&session), [(PING, PONG)]);
    assert!(session.connections.iter().all(|connection| connection.end.is_empty()));
}

#[test]
fn what_a_program_does_that_a_request_has_started_belongs_to_it() {
    let mut program = program();
    program.accept(1).receive(1, GET).flagged(flags::EXECUTES).fork(2);
    // The shell says nothing; what it starts names the number that it was given.
    program.begin(3, 2).connect(5).talk(5, PING, PONG).end_process();
    // Nothing tells when the shell ends: the session waits for the grace.
    program.process(1).send(1, OK).park().none();
    assert_eq!(talks(&program.wait(300).one()), [(PING, PONG)]);
    assert_eq!(program.finish(), []);
}

#[test]
fn while_others_are_served_too_the_child_acts_for_whom_it_was_made() {
    let mut program = program();
    program.accept(1).accept(2).receive(1, GET).flagged(flags::EXECUTES).fork(7);
    program.receive(2, "GET /2 HTTP/1.1\r\n\r\n");
    program.begin(3, 7).connect(5).talk(5, PING, PONG).end_process();
    program.process(1).send(2, OK).send(1, OK).park();
    program.wait(500);
    let sessions = program.delivered();
    let with_call: Vec<_> =
        sessions.iter().filter(|session| !calls(session).is_empty()).map(request).collect();
    assert_eq!(with_call, [GET]);
    assert!(sessions.iter().flat_map(calls).all(|call| !call.ambiguous));
}

#[test]
fn an_answered_session_waits_for_its_processes_but_not_for_daemons() {
    let mut program = program();
    program.accept(1).receive(1, GET).fork(2).send(1, OK).park().none();
    program.begin(2, 1).connect(5).talk(5, PING, PONG);
    program.wait(100).none();
    program.process(2).talk(5, &ping("more"), PONG).end_process();
    assert_eq!(talks(&program.one()), [(PING, PONG), (&*ping("more"), PONG)]);
    program.process(1).receive(1, GET).fork(3).send(1, OK).park();
    program.begin(3, 1).connect(6).wait(500);
    assert_eq!(request(&program.one()), GET);
    program.talk(6, PING, PONG).close(6).wait(2000);
    let boot = program.one();
    assert_eq!((&*boot.context, talks(&boot)), ("boot", vec![(PING, PONG)]));
}

#[test]
fn a_worker_that_a_request_has_made_acts_for_its_own_requests() {
    let mut program = program();
    program.accept(1).receive(1, GET).fork(2);
    program.begin(2, 1).accept(3).connect(5).receive(3, "GET /own HTTP/1.1\r\n\r\n");
    program.talk(5, PING, PONG).send(3, OK).park();
    let own = program.one();
    assert_eq!((request(&own), talks(&own)), ("GET /own HTTP/1.1\r\n\r\n", vec![(PING, PONG)]));
    program.talk(5, &ping("idle"), PONG);
    program.process(1).send(1, OK).park();
    assert_eq!(talks(&program.one()), [] as [(&str, &str); 0]);
}

#[test]
fn a_program_goes_on_with_the_connections_that_it_was_left() {
    for answers in [true, false] {
        let mut program = program();
        program.accept(1).receive(1, GET).fork(2).close(1).park();
        program.begin(2, 1).connect(5).connect(6);
        let kept: Vec<u8> = [1u64, 5].iter().flat_map(|id| id.to_le_bytes()).collect();
        program.flagged(flags::EXECUTES).event(EventKind::Fork, 2, 0, &kept);
        program.process(3).flagged(flags::EXECUTES).event(EventKind::Process, 2, 0, b"/bin/next");
        program.process(2).end_process().none();
        program.process(3).talk(5, PING, PONG);
        if answers {
            program.send(1, OK).close(1);
        }
        program.end_process();
        let session = program.one();
        assert_eq!((talks(&session), session.incomplete), (vec![(PING, PONG)], !answers));
        assert_eq!(program.assembler.open_connections(), 0);
    }
}

#[test]
fn a_fork_that_no_hook_saw_is_one_when_the_child_speaks() {
    let mut program = program();
    program.accept(1).receive(1, GET);
    program.process(2).event(EventKind::Process, 1, 1, b"/bin/program");
    program.process(1).close(1).park();
    program.process(2).connect(5).talk(5, PING, PONG).send(1, OK).close(1).end_process();
    assert_eq!(talks(&program.one()), [(PING, PONG)]);
}

#[test]
fn the_ends_of_a_unix_connection_are_joined() {
    let inner = "GET /inner HTTP/1.1\r\n\r\n";
    let mut program = program();
    program.process(1).accept(1).receive(1, GET);
    unix(&mut program, 5, 6);
    program.process(2).connect(7).process(1).send(5, inner);
    program.process(2).receive(6, inner).talk(7, PING, PONG).send(6, OK).park().none();
    program.process(1).receive(5, OK).send(1, OK).park();
    assert_eq!(talks(&program.one()), [(inner, OK), (PING, PONG)]);
    assert_eq!(program.finish(), []);
}

#[test]
fn unix_connections_of_one_process_are_told_apart_by_what_is_sent() {
    let mut program = program();
    program.process(1).accept(1).accept(2);
    unix(&mut program, 5, 8);
    unix(&mut program, 6, 9);
    // Two threads connected at once: the server got the second one first.
    program.process(1).thread(1).receive(1, GET).send(5, "GET /a HTTP/1.1\r\n\r\n");
    program.thread(2).receive(2, GET).send(6, "GET /b HTTP/1.1\r\n\r\n");
    program.process(2).connect(7).receive(8, "GET /b HTTP/1.1\r\n\r\n").talk(7, &ping("b"), PONG).send(8, OK);
    program.receive(9, "GET /a HTTP/1.1\r\n\r\n").talk(7, &ping("a"), PONG).send(9, OK).park();
    program.process(1).thread(1).receive(5, OK).send(1, OK).park();
    assert_eq!(talks(&program.one()), [("GET /a HTTP/1.1\r\n\r\n", OK), (&*ping("a"), PONG)]);
    program.thread(2).receive(6, OK).send(2, OK).park();
    assert_eq!(talks(&program.one()), [("GET /b HTTP/1.1\r\n\r\n", OK), (&*ping("b"), PONG)]);
}

#[test]
fn requests_that_begin_alike_are_told_apart_by_what_follows() {
    let [a, b] = ["HEAD same /a", "HEAD same /b"];
    // In the order of the connects, and in the other one; in pieces that alternate, and one after the other.
    for swapped in [false, true] {
        for alternating in [false, true] {
            let mut program = program();
            program.process(1).accept(1).accept(2);
            unix(&mut program, 5, if swapped { 9 } else { 8 });
            unix(&mut program, 6, if swapped { 8 } else { 9 });
            program.process(1).thread(1).receive(1, GET).send(5, a);
            program.thread(2).receive(2, GET).send(6, b);
            let (of_a, of_b) = if swapped { (9, 8) } else { (8, 9) };
            let piece = |program: &mut Program, process, from, range: std::ops::Range<usize>| {
                let text = if from == of_a { a } else { b };
                program.process(process).receive(from, &text[range]);
            };
            program.process(3).begin(3, 0);
            if alternating {
                piece(&mut program, 3, of_b, 0..4);
                piece(&mut program, 2, of_a, 0..4);
                piece(&mut program, 3, of_b, 4..12);
                piece(&mut program, 2, of_a, 4..12);
            } else {
                piece(&mut program, 3, of_b, 0..4);
                piece(&mut program, 3, of_b, 4..12);
                piece(&mut program, 2, of_a, 0..4);
                piece(&mut program, 2, of_a, 4..12);
            }
            program.process(2).connect(20).talk(20, &ping("a"), PONG).send(of_a, OK);
            program.process(3).connect(30).talk(30, &ping("b"), PONG).send(of_b, OK);
            program.process(1).thread(1).receive(5, OK).send(1, OK).park();
            assert_eq!(talks(&program.one()), [(a, OK), (&*ping("a"), PONG)], "{swapped} {alternating}");
            program.thread(2).receive(6, OK).send(2, OK).park();
            assert_eq!(talks(&program.one()), [(b, OK), (&*ping("b"), PONG)], "{swapped} {alternating}");
            assert_eq!(program.finish(), []);
        }
    }
}

#[test]
fn a_connect_that_failed_is_no_end_of_what_is_accepted_later() {
    let mut program = program();
    let path = Address::unix(b"/run/app.sock");
    program.process(1).accept(1).receive(1, GET);
    program.event(EventKind::Connect, 5, -2, &pair(Address::None, path)).close(5);
    unix(&mut program, 6, 7);
    program.process(1).send(6, "GET /a HTTP/1.1\r\n\r\n");
    program.process(2).receive(7, "GET /a").receive(7, " HTTP/1.1\r\n\r\n").send(7, OK);
    program.process(1).receive(6, OK).send(1, OK).park();
    assert_eq!(talks(&program.one())[1..], [("GET /a HTTP/1.1\r\n\r\n", OK)]);
    assert_eq!(program.finish(), []);
}

#[test]
fn a_unix_connection_from_outside_is_inbound() {
    let mut program = program();
    let path = Address::unix(b"/run/app.sock");
    program.event(EventKind::Connect, 5, 0, &pair(Address::None, Address::unix(b"/run/redis.sock")));
    program.event(EventKind::Accept, 6, 77, &pair(path, Address::None));
    program.receive(6, GET).talk(5, PING, PONG).send(6, OK).park();
    let session = program.one();
    assert_eq!((request(&session), talks(&session)), (GET, vec![(PING, PONG)]));
}

#[test]
fn what_is_read_after_the_asking_end_was_closed_is_no_request_from_outside() {
    for overtaken in [false, true] {
        let mut program = program();
        program.process(1).accept(1).receive(1, GET);
        unix(&mut program, 5, 6);
        program.process(1).send(5, "one two");
        program.process(2).receive(6, "one").send(6, "done");
        program.process(1).receive(5, "done").close(5);
        if overtaken {
            program.process(2).receive(6, "two").close(6);
        }
        program.process(1).send(1, OK).park();
        assert_eq!(request(&program.one()), GET);
        if !overtaken {
            program.process(2).receive(6, "two").close(6);
        }
        assert_eq!(program.finish(), []);
    }
}

/// What a process of a forking server does, in its own order.
fn steps(process: u64) -> Vec<&'static str> {
    match process {
        1 => vec!["fork", "close", "park", "end"],
        _ => vec!["begin", "call", "answer", "close", "end"],
    }
}

proptest! {
    /// Whatever the order in which parent and child go on after the fork, there is one session, with all that the child
    /// did, and nothing is left.
    #[test]
    fn every_order_of_parent_and_child_is_one_session(choices in proptest::collection::vec(any::<bool>(), 9)) {
        let mut program = program();
        program.accept(1).receive(1, GET);
        let (mut parent, mut child) = (steps(1).into_iter().peekable(), steps(2).into_iter().peekable());
        let mut forked = false;
        for choose in choices {
            let parents = child.peek().is_none() || !forked || (choose && parent.peek().is_some());
            let (process, step) = match parents {
                true => (1, parent.next()),
                false => (2, child.next()),
            };
            program.process(process);
            match step {
                Some("fork") => { program.fork(2); forked = true; }
                Some("close") => { program.close(1); }
                Some("park") => { program.park(); }
                Some("end") => { program.end_process(); }
                Some("begin") => { program.begin(2, 1); }
                Some("call") => { program.connect(5).talk(5, PING, PONG); }
                Some("answer") => { program.send(1, OK); }
                _ => {}
            }
        }
        for (process, rest) in [(1, parent.collect::<Vec<_>>()), (2, child.collect())] {
            prop_assert!(rest.is_empty(), "{process} {rest:?}");
        }
        let sessions = program.finish();
        prop_assert_eq!(sessions.len(), 1, "{:#?}", &sessions);
        prop_assert_eq!(talks(&sessions[0]), vec![(PING, PONG)]);
        prop_assert_eq!(response(&sessions[0]), Some(OK));
        prop_assert!(!sessions[0].incomplete);
        prop_assert_eq!(program.assembler.open_connections(), 0);
    }
}
