//! Where sessions begin and end.

use super::*;

#[test]
fn a_request_its_talk_and_its_response_are_a_session() {
    let mut program = program();
    let session = program.accept(1).connect(2).receive(1, GET).talk(2, PING, PONG).send(1, OK).park().one();
    assert_eq!(request(&session), GET);
    assert_eq!(response(&session), Some(OK));
    assert_eq!(talks(&session), [(PING, PONG)]);

    let call = calls(&session)[0];
    let inbound = session.call_from_inbound.as_ref().unwrap();
    let answer = session.return_inbound.as_ref().unwrap();
    assert_eq!((inbound.action_index, call.action_index, answer.action_index), (0, 1, 2));
    assert!(inbound.occurred_at < call.occurred_at && call.occurred_at < call.response_time);
    assert!(call.response_time < answer.occurred_at);
    assert_eq!((&*inbound.peer.ip, inbound.peer.port), ("127.0.0.1", 1001));
    assert_eq!((&*call.peer.ip, call.peer.port, call.socket_fd, call.thread_id), ("127.0.0.1", 6379, 5, 0));
    assert_eq!((session.thread_id, session.process_id, session.pid), (1, 1, 1001));
    assert_eq!((&*session.context, session.incomplete, &*session.overlap_group), ("", false, ""));

    let [by, to] = &session.connections[..] else { panic!("{:?}", session.connections) };
    assert_eq!((by.connection_id, to.connection_id), (inbound.connection_id, call.connection_id));
    assert_eq!(
        (&*by.direction, &*by.kind, &*by.local, &*by.peer, &*by.protocol),
        ("inbound", "tcp", "127.0.0.1:8080", "127.0.0.1:1001", "http")
    );
    assert_eq!(
        (&*to.direction, &*to.kind, &*to.local, &*to.peer, &*to.protocol),
        ("outbound", "tcp", "127.0.0.1:2002", "127.0.0.1:6379", "redis")
    );
    assert_eq!((by.encrypted, by.gap, &*by.end), (false, false, ""));
}

#[test]
fn ids_sort_by_time_and_name_the_recorder() {
    let mut program = program();
    program.accept(1);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(program.receive(1, GET).send(1, OK).park().one().session_id);
    }
    assert_eq!(ids[0], format!("{}-abc-1", START + 2000));
    assert!(ids.is_sorted());
}

#[test]
fn it_ends_when_its_thread_parks() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET).park().send(1, OK).none();
    assert_eq!(program.state(1), Some(State::Answered));
    program.park();
    assert_eq!(program.state(1), Some(State::Delivered));
    assert_eq!(request(&program.one()), GET);
}

#[test]
fn it_ends_when_its_thread_receives_the_next_request() {
    let mut program = program();
    program.accept(1).accept(2).receive(1, GET).send(1, OK).none().receive(2, GET);
    assert_eq!(program.one().call_from_inbound.unwrap().connection_id, 1);
    program.send(2, OK).none().receive(2, GET);
    assert_eq!(program.one().call_from_inbound.unwrap().connection_id, 2);
}

#[test]
fn it_ends_when_its_thread_ends() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, OK).end_thread();
    assert_eq!(response(&program.one()), Some(OK));
}

#[test]
fn it_ends_when_its_connection_is_closed() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, OK).close(1);
    let session = program.one();
    assert_eq!(session.connections[0].end, "closed");
    assert!(!session.incomplete);
}

#[test]
fn it_ends_when_a_grace_has_passed() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, OK).wait(150).none().wait(500);
    assert_eq!(response(&program.one()), Some(OK));
}

#[test]
fn it_is_never_cut_while_its_response_is_outstanding() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET).send(2, PING).park().wait(3_600_000).none();
    assert_eq!(program.state(1), Some(State::Open));
    program.receive(2, PONG).wait(3_600_000).none().send(1, OK).park();
    assert_eq!(talks(&program.one()), [(PING, PONG)]);
}

#[test]
fn what_is_done_after_the_response_belongs_to_it() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET).send(1, OK).send(2, PING).park().wait(1000).none();
    program.receive(2, PONG);
    let session = program.one();
    assert_eq!(talks(&session), [(PING, PONG)]);
    assert!(calls(&session)[0].action_index > session.return_inbound.as_ref().unwrap().action_index);
}

#[test]
fn the_next_request_does_not_end_a_session_that_waits_for_a_talk() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET).send(1, OK).send(2, PING).receive(1, GET).none();
    program.receive(2, PONG);
    assert_eq!(talks(&program.one()), [(PING, PONG)]);
    assert_eq!(program.finish().len(), 1);
}

#[test]
fn an_answered_session_waits_for_a_talk_only_so_long() {
    let mut program = program();
    program
        .accept(1)
        .connect(2)
        .receive(1, GET)
        .send(2, PING)
        .send(1, OK)
        .park()
        .wait(29_000)
        .none()
        .wait(2000);
    assert_eq!(talks(&program.one()), [(PING, "")]);
    // The answer that comes too late is not lost.
    program.receive(2, PONG);
    assert_eq!(talks(&program.finish()[0]), [("", PONG)]);
    let mut program = super::program();
    program.accept(1).connect(2).receive(1, GET).send(2, PING).send(1, OK).park().none().close(2);
    assert_eq!(calls(&program.one())[0].error, "closed");
}

#[test]
fn pipelined_requests_are_a_session_each() {
    let mut program = program();
    let second = "GET /2 HTTP/1.1\r\n\r\n";
    program.accept(1).connect(2).receive(1, &format!("{GET}{second}"));
    program.talk(2, PING, PONG).send(1, OK).talk(2, PING, PONG).talk(2, PING, PONG).send(1, OK).park();
    let sessions = program.delivered();
    assert_eq!(sessions.iter().map(request).collect::<Vec<_>>(), [GET, second]);
    assert_eq!(sessions.iter().map(|session| session.actions.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(sessions.iter().all(|session| response(session) == Some(OK)));
}

#[test]
fn interim_responses_belong_to_the_response() {
    let mut program = program();
    let head = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    program.accept(1).receive(1, head).send(1, interim).receive(1, "ab").send(1, OK).park();
    let session = program.one();
    assert_eq!(request(&session), head.to_owned() + "ab");
    assert_eq!(response(&session), Some(&*(interim.to_owned() + OK)));
}

#[test]
fn an_early_response_does_not_end_its_request() {
    let mut program = program();
    let head = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab";
    program.accept(1).receive(1, head).send(1, OK).park().wait(2000).none().receive(1, "cd").park();
    assert_eq!(request(&program.one()), head.to_owned() + "cd");
}

#[test]
fn a_response_may_end_with_its_connection() {
    for how in ["close", "shutdown"] {
        let mut program = program();
        program
            .accept(1)
            .receive(1, GET)
            .send(1, "HTTP/1.0 200 OK\r\n\r\n")
            .park()
            .wait(2000)
            .none()
            .send(1, "body");
        match how {
            "close" => program.close(1),
            _ => program.event(EventKind::Shutdown, 1, 1, b"").park(),
        };
        assert_eq!(response(&program.one()), Some("HTTP/1.0 200 OK\r\n\r\nbody"), "{how}");
    }
}

#[test]
fn a_request_that_is_cut_is_incomplete() {
    for cut in ["GE", "GET / HTTP/1.1\r\nHost:", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"] {
        let mut program = program();
        let session = program.accept(1).receive(1, cut).eof(1).close(1).one();
        assert_eq!((request(&session), response(&session), session.incomplete), (cut, None, true));
        assert_eq!(session.connections[0].end, "peer-closed");
    }
}

#[test]
fn a_response_that_its_reader_cut_is_incomplete() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    const RESET: i64 = -104;
    for (end, incomplete) in [("peer-closed", true), ("reset", true), ("closed", false)] {
        let mut program = program();
        program.accept(1).receive(1, GET).send(1, HEAD);
        match end {
            "peer-closed" => program.eof(1),
            "reset" => program.event(EventKind::Send, 1, RESET, b""),
            _ => &mut program,
        };
        let session = program.close(1).one();
        assert_eq!((response(&session), session.incomplete), (Some(HEAD), incomplete), "{end}");
        assert_eq!(session.connections[0].end, end);
    }
    // One that ends with the connection can't be told from a cut one, and a whole one is whole.
    for whole in [OK, "HTTP/1.0 200 OK\r\n\r\nbody"] {
        let mut program = program();
        let session = program.accept(1).receive(1, GET).send(1, whole).eof(1).close(1).one();
        assert_eq!((response(&session), session.incomplete), (Some(whole), false));
    }
}

#[test]
fn a_request_may_get_no_response() {
    let mut program = program();
    let session = program.accept(1).receive(1, GET).close(1).one();
    assert_eq!((response(&session), session.incomplete), (None, false));
}

#[test]
fn without_protocol_the_next_request_ends_the_response() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, "\x01one").receive(1, "more").talk(2, PING, PONG);
    program.send(1, "first").park().wait(100).send(1, "second").none().receive(1, "\x01two");
    let session = program.one();
    assert_eq!((request(&session), response(&session)), ("\x01onemore", Some("firstsecond")));
    assert_eq!(talks(&session), [(PING, PONG)]);
    program.send(1, "third").park().none().close(1);
    assert_eq!(response(&program.one()), Some("third"));
}

#[test]
fn without_protocol_quiet_ends_the_response() {
    let mut program = program();
    program.accept(1).receive(1, "\x01one").park().wait(5000).none();
    program.send(1, "first").park().wait(600).none().wait(600);
    assert_eq!(response(&program.one()), Some("first"));
    // What comes later, nobody asked for.
    program.send(1, "late").wait(2000);
    let session = program.one();
    assert_eq!((request(&session), response(&session)), ("", Some("late")));
    program.receive(1, "two").send(1, "second").eof(1).park();
    assert_eq!((request(&program.one()), program.state(1)), ("two", Some(State::Delivered)));
}

#[test]
fn a_greeting_is_a_session_with_an_empty_request() {
    let mut program = program();
    program
        .accept(1)
        .connect(2)
        .send(1, "220 hello\r\n")
        .receive(1, "EHLO\r\n")
        .talk(2, PING, PONG)
        .send(1, "250 ok\r\n");
    let sessions = program.close(1).delivered();
    assert_eq!(sessions.iter().map(request).collect::<Vec<_>>(), ["", "EHLO\r\n"]);
    assert_eq!(sessions.iter().filter_map(response).collect::<Vec<_>>(), ["220 hello\r\n", "250 ok\r\n"]);
    assert_eq!(talks(&sessions[1]), [(PING, PONG)]);
}

#[test]
fn after_an_upgrade_each_turn_is_a_session() {
    let mut program = program();
    let up = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    program.accept(1).receive(1, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n").send(1, up).park();
    assert_eq!(response(&program.one()), Some(up));
    program.receive(1, "\x01ab").send(1, "\x01cd").park().receive(1, "\x01ef");
    assert_eq!(response(&program.one()), Some("\x01cd"));
}

#[test]
fn a_worker_that_answers_takes_the_session_over() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET);
    program.thread(2).send(1, OK).talk(2, PING, PONG).thread(1).park().none();
    let session = program.thread(2).park().one();
    assert_eq!((talks(&session), session.thread_id), (vec![(PING, PONG)], 1));
    assert_eq!(calls(&session)[0].thread_id, 2);
}

#[test]
fn a_request_may_be_read_by_one_thread_after_another() {
    let mut program = program();
    program
        .accept(1)
        .connect(2)
        .receive(1, "GET / HTTP/1.1\r\n")
        .thread(2)
        .receive(1, "\r\n")
        .talk(2, PING, PONG);
    assert_eq!(talks(&program.send(1, OK).park().one()), [(PING, PONG)]);
}

#[test]
fn a_virtual_thread_is_a_context() {
    let mut program = program();
    program.accept(1).accept(2).connect(3);
    program.virtual_thread(7).receive(1, GET);
    program.virtual_thread(8).receive(2, "GET /8 HTTP/1.1\r\n\r\n").talk(3, &ping("eight"), PONG);
    program.virtual_thread(7).talk(3, PING, PONG).send(1, OK);
    program.virtual_thread(8).send(2, OK).wait(1000);
    let sessions = program.delivered();
    assert_eq!(
        sessions.iter().map(|session| talks(session)[0].0).collect::<Vec<_>>(),
        [PING, &ping("eight")]
    );
    assert!(sessions.iter().all(|session| session.overlap_group.is_empty()));
}

#[test]
fn the_end_of_a_process_ends_its_sessions() {
    let mut program = program();
    program
        .accept(1)
        .connect(2)
        .receive(1, GET)
        .talk(2, PING, PONG)
        .thread(2)
        .accept(3)
        .receive(3, GET)
        .send(3, OK);
    let sessions = program.end_process().delivered();
    assert_eq!(sessions.iter().map(|session| session.incomplete).collect::<Vec<_>>(), [true, false]);
    assert_eq!((program.assembler.open_sessions(), program.assembler.open_connections()), (0, 0));
    assert_eq!(program.assembler.world.contexts.len(), 0);
}

#[test]
fn finish_delivers_everything() {
    let mut program = program();
    program.accept(1).connect(2).talk(2, PING, PONG).receive(1, GET).send(2, PING);
    let sessions = program.finish();
    assert_eq!(sessions.iter().map(|session| &*session.context).collect::<Vec<_>>(), ["boot", ""]);
    assert!(sessions[1].incomplete);
    assert_eq!(talks(&sessions[1]), [(PING, "")]);
}

#[test]
fn recycled_memory_leaves_no_trace() {
    let mut program = program();
    let mut first = None;
    program.accept(1).connect(2);
    for round in 0..3 {
        program.receive(1, GET).talk(2, PING, PONG);
        if round == 1 {
            program.event(EventKind::Connect, 9, -111, &pair(Address::None, v4(81)));
        }
        let mut session = program.send(1, OK).park().one();
        let kept = session.clone();
        session.trace_header = Some(vec![1]);
        session.next_session_id.push('x');
        program.assembler.recycle(Box::new(session));
        let shape = |session: &Session| {
            let mut session = session.clone();
            session.session_id.clear();
            session.call_from_inbound.as_mut().unwrap().occurred_at = 0;
            session.return_inbound.as_mut().unwrap().occurred_at = 0;
            for action in &mut session.actions {
                if let Action::CallOutbound(call) = action {
                    (call.occurred_at, call.response_time) = (0, 0);
                }
            }
            session
        };
        match &first {
            None => first = Some(shape(&kept)),
            Some(first) if round == 2 => assert_eq!(&shape(&kept), first),
            _ => {}
        }
    }
}
