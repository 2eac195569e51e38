//! What becomes of outbound bytes.

use super::*;

/// What `act` does in a session, on connection 2 to a server.
fn session_of(act: impl FnOnce(&mut Program)) -> Session {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET);
    act(&mut program);
    program.send(1, OK).park().one()
}

#[test]
fn pipelined_commands_are_a_talk_each() {
    let session = session_of(|program| {
        program.send(2, "PING\r\nPING\r\n").send(2, "*1\r\n$4\r\nPI").send(2, "NG\r\n");
        program.receive(2, "+1\r\n+2").receive(2, "\r\n+3\r\n");
    });
    let array = "*1\r\n$4\r\nPING\r\n";
    assert_eq!(talks(&session), [(PING, "+1\r\n"), (PING, "+2\r\n"), (array, "+3\r\n")]);
}

#[test]
fn pipelined_http_requests_are_a_talk_each() {
    let head = "HEAD / HTTP/1.1\r\n\r\n";
    let no_body = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let session = session_of(|program| {
        program.send(2, &format!("{head}{GET}")).receive(2, &format!("{no_body}{OK}"));
    });
    assert_eq!(talks(&session), [(head, no_body), (GET, OK)]);
}

#[test]
fn without_protocol_the_direction_tells() {
    let session = session_of(|program| {
        program.send(2, "\x01a").send(2, "b").receive(2, "c").receive(2, "d").talk(2, "e", "f");
    });
    assert_eq!(talks(&session), [("\x01ab", "cd"), ("e", "f")]);
}

#[test]
fn a_server_that_speaks_first_gives_an_empty_request() {
    let session = session_of(|program| {
        program.receive(2, "hello").talk(2, "\x01a", "b");
    });
    assert_eq!(talks(&session), [("", "hello"), ("\x01a", "b")]);
    assert_eq!(calls(&session).iter().map(|call| call.action_index).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_encrypted_connection_is_told() {
    let hello = "\x16\x03\x01\x00\x41\x01\x00\x00\x3d\x03\x03".to_owned()
        + &"r".repeat(32)
        + "\x00\x00\x02\x13\x01\x01\x00\x00\x12\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost";
    let session = session_of(|program| {
        let (record, rest) = hello.split_at(3);
        program.send(2, record).send(2, rest).receive(2, "server hello").talk(2, "finished", "data");
    });
    assert_eq!(talks(&session), [(&*hello, "server hello"), ("finished", "data")]);
    let connection = &session.connections[1];
    assert!(connection.encrypted);
    assert_eq!((&*connection.server_name, &*connection.protocol), ("localhost", ""));
}

#[test]
fn an_answer_belongs_to_who_asked_whoever_reads_it() {
    let mut program = program();
    program.connect(9).accept(1).accept(2);
    program.thread(1).receive(1, GET).send(9, &ping("a"));
    program.thread(2).receive(2, "GET /2 HTTP/1.1\r\n\r\n").send(9, &ping("b"));
    program.thread(3).receive(9, "+a\r\n+b\r\n");
    program.thread(2).send(2, OK).park();
    assert_eq!(talks(&program.one()), [(&*ping("b"), "+b\r\n")]);
    program.thread(1).send(1, OK).park();
    let session = program.one();
    assert_eq!(talks(&session), [(&*ping("a"), "+a\r\n")]);
    assert!(!calls(&session)[0].ambiguous && session.overlap_group.is_empty());
}

#[test]
fn without_protocol_two_sessions_on_a_connection_are_ambiguous() {
    let mut program = program();
    program.connect(9).accept(1).accept(2);
    program.thread(1).receive(1, GET).send(9, "\x01a");
    program.thread(2).receive(2, GET).send(9, "\x01b");
    program.thread(1).receive(9, "x").send(1, OK).park();
    program.thread(2).send(2, OK).park();
    let sessions = program.delivered();
    assert_eq!(talks(&sessions[0]), [("\x01a", "")]);
    assert_eq!(talks(&sessions[1]), [("\x01b", "x")]);
    assert!(sessions.iter().all(|session| calls(session)[0].ambiguous));
}

#[test]
fn what_ends_a_talk_is_told() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab";
    type Step = fn(&mut Program);
    let cases: [(&str, &str, Step); 4] = [
        ("EOF", "peer-closed", |program| _ = program.eof(2)),
        ("ECONNRESET", "reset", |program| _ = program.event(EventKind::Receive, 2, -104, b"")),
        ("EPIPE", "reset", |program| _ = program.event(EventKind::Send, 2, -32, b"")),
        ("closed", "closed", |program| _ = program.close(2)),
    ];
    for (error, end, step) in cases {
        for answer in ["", partial] {
            let session = session_of(|program| {
                program.send(2, GET);
                if !answer.is_empty() {
                    program.receive(2, answer);
                }
                step(program);
            });
            let call = calls(&session)[0];
            assert_eq!((text(&call.response), &*call.error), (answer, error));
            assert_eq!(session.connections[1].end, end);
        }
    }
}

#[test]
fn an_interrupted_call_ends_nothing() {
    let session = session_of(|program| {
        program.send(2, PING).event(EventKind::Receive, 2, -4, b"").receive(2, PONG);
    });
    assert_eq!((talks(&session), &*calls(&session)[0].error), (vec![(PING, PONG)], ""));
}

#[test]
fn a_response_may_end_with_its_connection() {
    let answer = "HTTP/1.0 200 OK\r\n\r\nall of it";
    for step in [Program::eof, Program::close] {
        let session = session_of(|program| {
            program.talk(2, GET, answer);
            step(program, 2);
        });
        assert_eq!((talks(&session), &*calls(&session)[0].error), (vec![(GET, answer)], ""));
    }
}

#[test]
fn a_refused_connect_is_a_call() {
    let refused = pair(Address::None, v4(81));
    let session = session_of(|program| {
        program.event(EventKind::Connect, 7, -111, &refused);
    });
    let call = calls(&session)[0];
    assert_eq!(
        (&*call.error, &*call.request, &*call.response, call.peer.port),
        ("ECONNREFUSED", &b""[..], &b""[..], 81)
    );
    let connection = session.connections.iter().find(|connection| connection.connection_id == 7).unwrap();
    assert_eq!((&*connection.end, &*connection.peer), ("ECONNREFUSED", "127.0.0.1:81"));
}

#[test]
fn a_connect_may_fail_in_the_background() {
    let addresses = pair(v4(2007), v4(81));
    for failure in [EventKind::Connect, EventKind::Receive, EventKind::Send] {
        let session = session_of(|program| {
            program.event(EventKind::Connect, 7, -115, &addresses).event(failure, 7, -110, b"").close(7);
        });
        assert_eq!(calls(&session).len(), 1, "{failure:?}");
        let call = calls(&session)[0];
        assert_eq!((&*call.error, call.peer.port), ("ETIMEDOUT", 81), "{failure:?}");
    }
    let session = session_of(|program| {
        program.event(EventKind::Connect, 7, -115, &addresses).talk(7, PING, PONG).close(7);
    });
    assert_eq!(talks(&session), [(PING, PONG)]);
}

#[test]
fn an_error_that_is_asked_for_later_is_none_of_the_connect() {
    let addresses = pair(v4(2007), v4(81));
    let session = session_of(|program| {
        program.event(EventKind::Connect, 7, -115, &addresses).talk(7, PING, PONG);
        program.event(EventKind::Connect, 7, -104, b"").talk(7, PING, PONG).close(7);
    });
    assert_eq!(talks(&session), [(PING, PONG), (PING, PONG)]);
    let session = session_of(|program| {
        program.event(EventKind::Connect, 7, -115, &addresses).event(EventKind::Connect, 7, -111, b"");
        program.event(EventKind::Connect, 7, -111, b"").close(7);
    });
    assert_eq!(calls(&session).len(), 1, "asked for twice");
}

#[test]
fn commands_without_reply_are_not_waited_for() {
    let session = session_of(|program| {
        program.talk(2, PING, PONG).send(2, "CLIENT REPLY OFF\r\nSET a 1\r\n");
    });
    assert_eq!(talks(&session), [(PING, PONG), ("CLIENT REPLY OFF\r\n", ""), ("SET a 1\r\n", "")]);
}
