//! What happens outside any request.

use super::*;

#[test]
fn what_no_session_does_is_the_boot_sessions() {
    let mut program = program();
    program.connect(2).talk(2, PING, PONG).accept(1).receive(1, GET).send(1, OK).park();
    assert_eq!(talks(&program.one()), []);
    // A thread that has worked on its own does so while a request is open, too.
    program.thread(2).talk(2, &ping("x"), PONG).thread(1).receive(1, GET).thread(2).talk(2, &ping("y"), PONG);
    program.thread(1).send(1, OK).park();
    assert_eq!(talks(&program.one()), []);
    let boot = program.finish().remove(0);
    assert_eq!(talks(&boot), [(PING, PONG), (&*ping("x"), PONG), (&*ping("y"), PONG)]);
    assert_eq!((&*boot.context, &boot.call_from_inbound, &boot.return_inbound), ("boot", &None, &None));
    assert_eq!((boot.process_id, boot.pid, boot.incomplete), (1, 1001, false));
    assert_eq!(boot.connections.len(), 1);
}

#[test]
fn each_process_has_its_own() {
    let mut program = program();
    program.connect(2).talk(2, PING, PONG).process(2).connect(3).talk(3, &ping("2"), PONG);
    let sessions = program.finish();
    assert_eq!(sessions.iter().map(|session| session.process_id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(talks(&sessions[1]), [(&*ping("2"), PONG)]);
}

#[test]
fn it_is_delivered_in_linked_parts() {
    let mut program = program();
    program.connect(2).connect(3).talk(2, PING, PONG).send(3, &ping("3")).wait(500).none().wait(1000);
    let first = program.one();
    assert_eq!(talks(&first), [(PING, PONG)]);
    assert_eq!(first.connections.len(), 1);
    // What waits for its answer is in the part in which that comes; nothing is delivered without need.
    program.wait(5000).none().receive(3, "+3\r\n").talk(2, &ping("4"), "+4\r\n").wait(1500);
    let second = program.one();
    assert_eq!(first.next_session_id, second.session_id);
    assert_eq!(talks(&second), [(&*ping("3"), "+3\r\n"), (&*ping("4"), "+4\r\n")]);
    assert_eq!(calls(&second).iter().map(|call| call.action_index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(second.connections.len(), 2);
    assert!(first.session_id < second.session_id);
    program.talk(2, PING, PONG);
    let last = program.finish().remove(0);
    assert_eq!((&last.session_id, &*last.next_session_id), (&second.next_session_id, ""));
}

#[test]
fn a_part_has_at_most_so_many_bytes() {
    let mut program = program();
    program.connect(2);
    let command = ping(&"x".repeat(100 << 10));
    for _ in 0..25 {
        program.talk(2, &command, PONG);
    }
    let mut parts = program.delivered();
    parts.extend(program.finish());
    assert_eq!(parts.len(), 3);
    assert_eq!(parts.iter().map(|part| part.actions.len()).sum::<usize>(), 25);
    assert!(parts.windows(2).all(|pair| pair[0].next_session_id == pair[1].session_id));
}

#[test]
fn a_stream_is_cut_where_nothing_tells_its_end() {
    let mut program = program();
    program.connect(2).send(2, "\x01go");
    let mut parts = Vec::new();
    for _ in 0..5 {
        program.receive(2, "abc").wait(700);
        parts.extend(program.delivered());
    }
    assert!(parts.len() > 1);
    parts.extend(program.finish());
    let all: String = parts.iter().flat_map(talks).map(|(_, response)| response).collect();
    assert_eq!(all, "abc".repeat(5));
    assert_eq!(talks(&parts[0])[0].0, "\x01go");
    assert_eq!(talks(&parts[1])[0].0, "");
}

#[test]
fn an_idle_process_delivers_nothing() {
    let mut program = program();
    program.connect(2).wait(10_000).end_process().none();
    assert_eq!(program.finish(), []);
}
