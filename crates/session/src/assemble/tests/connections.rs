//! What is known of connections, and for how long.

use super::*;
use crate::assemble::Sender;

fn encoded(address: Address) -> Vec<u8> {
    pair(address, Address::None)[..].strip_suffix(&[0, 0]).unwrap().to_vec()
}

#[test]
fn an_inbound_connection_names_its_listener() {
    let mut program = program();
    let any = Address::V6([0; 16], 8080);
    program.event(EventKind::Listen, 7, 0, &encoded(any)).accept(1).receive(1, GET).send(1, OK).park();
    let session = program.one();
    assert_eq!((&*session.connections[0].local, &*session.connections[0].kind), ("[::]:8080", "tcp"));
    assert_eq!(program.assembler.listeners().collect::<Vec<_>>(), [&any]);
    program.close(7);
    assert_eq!(program.assembler.listeners().count(), 0);
}

#[test]
fn listeners_pass_to_the_child_that_outlives_its_parent() {
    let mut program = program();
    program.event(EventKind::Listen, 7, 0, &encoded(v4(8080)));
    program.process(2).event(EventKind::Process, 1, 0, b"/bin/x").process(1).end_process();
    assert_eq!(program.assembler.listeners().collect::<Vec<_>>(), [&v4(8080)]);
    program.process(2).end_process();
    assert_eq!(program.assembler.listeners().count(), 0);
}

#[test]
fn unix_and_ipv6_peers_are_named() {
    let mut program = program();
    let path = Address::unix(b"/run/redis.sock");
    let v6 = Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 80);
    program.event(EventKind::Accept, 1, 0, &pair(Address::unix(b"/run/web.sock"), Address::None));
    program.event(EventKind::Connect, 2, 0, &pair(Address::None, path));
    program.event(EventKind::Connect, 3, 0, &pair(Address::V6([1; 16], 9), v6));
    program.receive(1, GET).talk(2, PING, PONG).talk(3, GET, OK).send(1, OK).park();
    let session = program.one();
    let inbound = session.call_from_inbound.as_ref().unwrap();
    assert_eq!((&*inbound.unix_addr.name, &*inbound.unix_addr.net, &*inbound.peer.ip), ("", "unix", ""));
    let [redis, http] = calls(&session)[..] else { panic!() };
    assert_eq!(
        (&*redis.unix_addr.name, &*redis.unix_addr.net, redis.peer.port),
        ("/run/redis.sock", "unix", 0)
    );
    assert_eq!((&*http.peer.ip, http.peer.port, &*http.unix_addr.net), ("::1", 80, ""));
    let kinds: Vec<&str> = session.connections.iter().map(|connection| &*connection.kind).collect();
    assert_eq!(kinds, ["unix", "unix", "tcp6"]);
    assert_eq!(session.connections[1].peer, "unix:/run/redis.sock");
}

#[test]
fn an_inherited_socket_is_taken_up() {
    let mut program = program();
    program.event(EventKind::Listen, 7, 0, &encoded(v4(8080)));
    program.event(EventKind::Adopt, 1, 1, &pair(v4(9999), v4(1001)));
    program.event(EventKind::Adopt, 2, 0, &pair(v4(8080), v4(1002)));
    program.event(EventKind::Adopt, 3, 0, &pair(v4(2003), v4(6379)));
    program.receive(1, GET).talk(3, PING, PONG).send(1, OK).park();
    assert_eq!(talks(&program.one()), [(PING, PONG)]);
    program.receive(2, GET).send(2, OK).park();
    assert_eq!(program.one().connections[0].local, "127.0.0.1:8080");
}

#[test]
fn a_connection_whose_beginning_was_lost_is_taken_up() {
    let mut program = program();
    program.receive(1, GET).talk(2, PING, PONG).send(1, OK).park();
    let session = program.one();
    assert_eq!((request(&session), response(&session), talks(&session)), (GET, Some(OK), vec![(PING, PONG)]));
    let mut program = super::program();
    program.receive(1, "of a body").send(1, "some").close(1);
    let session = program.one();
    assert!(session.incomplete && session.connections[0].gap);
}

#[test]
fn lost_bytes_are_told_and_end_with_the_next_request() {
    let mut program = program();
    program
        .accept(1)
        .connect(2)
        .receive(1, GET)
        .send(2, GET)
        .receive(2, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
    program.event(EventKind::Gap, 2, 90, b"").receive(2, "end").talk(2, GET, OK).send(1, OK).park();
    let session = program.one();
    assert!(session.incomplete);
    assert_eq!(
        session.connections.iter().map(|connection| connection.gap).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(talks(&session)[1], (GET, OK));
    program.receive(1, GET).talk(2, GET, OK).send(1, OK).park();
    let session = program.one();
    assert!(!session.incomplete && !session.connections[1].gap);

    program.receive(1, GET).flagged(flags::GAP_BEFORE).send(1, "rest of it").close(1);
    let session = program.one();
    assert!(session.incomplete && session.connections[0].gap);
}

#[test]
fn an_unconfirmed_send_is_kept_and_told() {
    let mut program = program();
    program.accept(1).receive(1, GET).flagged(flags::UNCONFIRMED).send(1, OK).end_process();
    let session = program.one();
    assert!(session.incomplete && session.connections[0].gap);
    assert_eq!(response(&session), Some(OK));
}

#[test]
fn closed_sockets_and_idle_threads_are_forgotten() {
    let mut program = program();
    for connection in 1..100 {
        program.thread(connection as u32).accept(connection).connect(1000 + connection);
        program.receive(connection, GET).talk(1000 + connection, PING, PONG).send(connection, OK);
        program.close(1000 + connection).close(connection);
    }
    assert_eq!(program.assembler.open_connections(), 0);
    program.accept(500).close(500).wait(7000);
    assert_eq!(program.assembler.open_connections(), 0);
    assert_eq!(program.assembler.world.contexts.len(), 0);
    assert_eq!(program.delivered().len(), 99);
}

#[test]
fn a_connection_stays_while_another_process_uses_it() {
    let mut program = program();
    // A server that accepts in the parent, and serves in a child.
    program.accept(1).process(2).receive(1, GET).process(1).close(1).none();
    program.process(2).send(1, OK).close(1);
    assert_eq!(response(&program.one()), Some(OK));
    assert_eq!(program.assembler.open_connections(), 0);
    // The parent is quicker.
    program.process(1).accept(2).close(2).process(3).receive(2, GET).send(2, OK).close(2);
    let session = program.one();
    assert_eq!((session.process_id, &*session.connections[0].peer), (3, "127.0.0.1:1002"));
}

#[test]
fn who_sent_on_a_connection_is_told() {
    let mut program = program();
    let sender = |program: &Program| match program.assembler.outbound(&v4(2002)).unwrap().sender {
        Sender::Boot => None,
        Sender::Session { inbound_peer, session_id } => Some((inbound_peer, session_id.to_owned())),
    };
    program.connect(2).accept(1);
    assert_eq!(program.assembler.outbound(&v4(9)), None);
    assert_eq!(program.assembler.outbound(&v4(2002)).unwrap().peer, v4(6379));
    assert_eq!((sender(&program), program.state(1)), (None, Some(State::Idle)));
    program.talk(2, PING, PONG);
    assert_eq!(sender(&program), None);
    program.receive(1, GET).send(2, PING);
    let (peer, id) = sender(&program).unwrap();
    assert_eq!(peer, v4(1001));
    program.receive(2, PONG).send(1, OK).park();
    assert_eq!(id, program.one().session_id);
    assert_eq!(sender(&program), None);
    // One that a session opened is the session's before anything is sent.
    program.receive(1, GET).connect(3);
    assert!(matches!(program.assembler.outbound(&v4(2003)).unwrap().sender, Sender::Session { .. }));
    program.close(2);
    assert_eq!(program.assembler.outbound(&v4(2002)), None);
}

#[test]
fn a_connection_that_is_handed_to_another_process_goes_on_there() {
    for (heard_before, taken_before) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut program = program();
        program.accept(1);
        if heard_before {
            program.receive(1, GET);
        }
        if !taken_before {
            program.flagged(flags::PASSED).close(1).park();
        }
        program.process(2).connect(2).flagged(flags::PASSED);
        program.event(EventKind::Adopt, 1, 1, &pair(v4(8080), v4(1001)));
        if taken_before {
            program.process(1).flagged(flags::PASSED).close(1).park().process(2);
        }
        if !heard_before {
            program.receive(1, GET);
        }
        program.talk(2, PING, PONG).send(1, OK).flagged(flags::PASSED).close(1).park();
        let session = program.one();
        assert!(!session.incomplete && !session.connections[0].gap);
        assert_eq!((text(&session.return_inbound.as_ref().unwrap().response), session.process_id), (OK, 2));
        assert_eq!(calls(&session).len(), 1, "{heard_before} {taken_before}");
        assert_eq!(program.assembler.open_connections(), 1, "that of the worker is left");
    }
}

#[test]
fn a_connection_that_nobody_takes_over_ends() {
    let mut program = program();
    program.accept(1).receive(1, GET).flagged(flags::PASSED).close(1).park().none();
    program.wait(2000);
    assert_eq!(program.one().return_inbound, None);
    assert_eq!(program.assembler.open_connections(), 0);
}
