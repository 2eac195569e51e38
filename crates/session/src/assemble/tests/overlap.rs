//! Several requests open on one context.

use super::*;

#[test]
fn actions_that_may_belong_to_another_session_are_ambiguous() {
    let mut program = program();
    let second = "GET /2 HTTP/1.1\r\n\r\n";
    program.accept(1).accept(2).connect(3).connect(4);
    program.receive(1, GET).send(3, &ping("a")).park();
    program.receive(2, second).send(4, &ping("b")).park();
    // The answer to the first arrived: what follows is done for the first.
    program.receive(3, "+a\r\n").send(3, &ping("c")).park().receive(4, "+b\r\n").send(2, OK).park();
    let two = program.one();
    program.receive(3, "+c\r\n").send(1, OK).park();
    let one = program.one();
    assert_eq!(talks(&one), [(&*ping("a"), "+a\r\n"), (&*ping("c"), "+c\r\n")]);
    assert_eq!(talks(&two), [(&*ping("b"), "+b\r\n")]);
    let ambiguous = |session| calls(session).iter().map(|call| call.ambiguous).collect::<Vec<_>>();
    assert_eq!((ambiguous(&one), ambiguous(&two)), (vec![false, true], vec![true]));
    assert!(!one.overlap_group.is_empty());
    assert_eq!(one.overlap_group, two.overlap_group);
}

#[test]
fn what_is_sent_first_on_a_connection_is_what_it_was_opened_for() {
    let mut program = program();
    program.accept(1).accept(2);
    for connection in [1, 2] {
        let addresses = pair(v4(2010 + connection as u16), v4(81));
        program.receive(connection, GET).event(EventKind::Connect, 10 + connection, -115, &addresses);
    }
    program.park().send(11, GET).send(12, GET).park();
    program.receive(12, OK).send(2, OK).receive(11, OK).send(1, OK).park();
    for session in program.delivered() {
        let [call] = calls(&session)[..] else { panic!("{session:?}") };
        assert_eq!(call.connection_id, session.call_from_inbound.as_ref().unwrap().connection_id + 10);
    }
}

#[test]
fn a_group_grows_while_its_sessions_overlap() {
    let mut program = program();
    for connection in 1..=4 {
        program.accept(connection);
    }
    program.connect(9).receive(1, GET).receive(2, GET).talk(9, PING, PONG).send(1, OK);
    program.receive(3, GET).talk(9, PING, PONG).send(2, OK).send(3, OK).park();
    program.receive(4, GET).talk(9, PING, PONG).send(4, OK).park();
    let sessions = program.delivered();
    let groups: Vec<&str> = sessions.iter().map(|session| &*session.overlap_group).collect();
    assert!(!groups[0].is_empty() && groups[0] == groups[1] && groups[1] == groups[2], "{groups:?}");
    assert_eq!(groups[3], "");
}

#[test]
fn overlap_without_action_is_no_group() {
    let mut program = program();
    program.accept(1).accept(2).receive(1, GET).receive(2, GET).send(1, OK).send(2, OK).park();
    assert!(program.delivered().iter().all(|session| session.overlap_group.is_empty()));
}

#[test]
fn an_answered_session_is_no_rival() {
    let mut program = program();
    program.accept(1).accept(2).connect(3).receive(1, GET).receive(2, GET).send(1, OK).talk(3, PING, PONG);
    program.send(2, OK).park();
    let sessions = program.delivered();
    assert_eq!(sessions.iter().map(|session| talks(session).len()).collect::<Vec<_>>(), [0, 1]);
    assert!(!calls(&sessions[1])[0].ambiguous);
}

#[test]
fn many_requests_on_one_context() {
    let mut program = program();
    for connection in 0..500 {
        program.accept(10 + connection).connect(1000 + connection);
    }
    for connection in 0..500 {
        program.receive(10 + connection, GET).send(1000 + connection, PING);
    }
    program.park();
    for connection in (0..500).rev() {
        program.receive(1000 + connection, PONG).send(10 + connection, OK);
    }
    program.park();
    let sessions = program.delivered();
    assert_eq!(sessions.len(), 500);
    for session in &sessions {
        let call = session.call_from_inbound.as_ref().unwrap();
        assert_eq!(calls(session)[0].connection_id, call.connection_id + 990);
        assert_eq!(session.overlap_group, sessions[0].overlap_group);
    }
}

#[test]
fn a_thread_of_a_pool_works_for_the_one_that_waits() {
    let mut program = program();
    // Who fills a pool before the first request has not worked on its own.
    program.thread(2).connect(3).talk(3, PING, PONG).thread(1).accept(1).accept(2);
    for connection in [1, 2] {
        program.thread(1).receive(connection, GET).park().thread(2).talk(3, &ping("a"), "+a\r\n");
        program.connect(4).talk(4, &ping("b"), "+b\r\n").close(4).thread(1).send(connection, OK).park();
        let session = program.one();
        assert_eq!(talks(&session), [(&*ping("a"), "+a\r\n"), (&*ping("b"), "+b\r\n")]);
        assert!(calls(&session).iter().all(|call| !call.ambiguous && call.thread_id == 2));
        assert_eq!(session.overlap_group, "");
    }
}

#[test]
fn a_thread_of_a_pool_may_work_for_any_that_waits() {
    let mut program = program();
    program.accept(1).accept(2).accept(5).connect(3).connect(4).receive(1, GET).receive(2, GET).park();
    program.thread(2).send(3, &ping("a")).thread(3).send(4, &ping("b")).receive(4, "+b\r\n");
    program.thread(1).send(2, OK).receive(5, GET).park().thread(2).receive(3, "+a\r\n");
    program.thread(1).send(1, OK).send(5, OK).park();
    let sessions = program.delivered();
    let by = |connection| {
        let is = |session: &&Session| session.call_from_inbound.as_ref().unwrap().connection_id == connection;
        sessions.iter().find(is).unwrap()
    };
    let calls: Vec<_> = sessions.iter().flat_map(calls).collect();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.ambiguous && !call.response.is_empty()));
    assert!(!by(1).overlap_group.is_empty());
    assert_eq!(by(1).overlap_group, by(2).overlap_group);
    assert_eq!(by(5).overlap_group, "");
}

#[test]
fn who_answers_for_another_thread_goes_on_working_for_others() {
    let mut program = program();
    program.accept(1).connect(3);
    for _ in 0..2 {
        program.thread(1).receive(1, GET).park().thread(2).talk(3, PING, PONG).send(1, OK).park();
        assert_eq!(talks(&program.one()), [(PING, PONG)]);
    }
}

#[test]
fn a_thread_that_takes_requests_works_for_those_that_another_hands_on() {
    let mut program = program();
    program.accept(1).accept(2).connect(3);
    // A worker that takes what is there at once, and leaves what comes later on a kept connection to another thread.
    program.thread(2).receive(1, GET).talk(3, &ping("own"), "+o\r\n").send(1, OK).park();
    assert_eq!(talks(&program.one()), [(&*ping("own"), "+o\r\n")]);
    program.thread(1).receive(1, GET).park().thread(2).talk(3, &ping("a"), "+a\r\n");
    program.connect(4).talk(4, &ping("b"), "+b\r\n").close(4).send(1, OK).park();
    let session = program.one();
    assert_eq!(talks(&session), [(&*ping("a"), "+a\r\n"), (&*ping("b"), "+b\r\n")]);
    assert!(calls(&session).iter().all(|call| !call.ambiguous));
    assert_eq!(session.overlap_group, "");
}

#[test]
fn a_thread_that_takes_requests_does_not_work_for_one_that_is_served() {
    let mut program = program();
    program.accept(1).accept(2).connect(3).connect(4);
    program.thread(2).receive(1, GET).send(1, OK).park();
    assert!(talks(&program.one()).is_empty());
    program.thread(1).receive(2, GET).talk(3, PING, PONG);
    // It keeps a connection alive, say.
    program.thread(2).talk(4, &ping("alive"), "+alive\r\n").park();
    program.thread(1).send(2, OK).park();
    let session = program.one();
    assert_eq!(talks(&session), [(PING, PONG)]);
    assert_eq!(session.overlap_group, "");
}
