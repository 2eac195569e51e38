//! Datagrams, name lookups, appended files.

use super::*;
use crate::model::{AppendFile, ResolveName};
use koala_events::Lookup;

impl Program {
    /// Sends a datagram to a port of the loopback interface, on a socket that is not connected.
    fn send_to(&mut self, connection: u64, port: u16, bytes: &str) -> &mut Self {
        self.datagram(EventKind::Send, connection, v4(port), bytes)
    }

    /// A datagram arrives from there.
    fn receive_from(&mut self, connection: u64, port: u16, bytes: &str) -> &mut Self {
        self.datagram(EventKind::Receive, connection, v4(port), bytes)
    }

    fn datagram(&mut self, kind: EventKind, connection: u64, peer: Address, bytes: &str) -> &mut Self {
        let mut payload = encoded(&[peer]);
        payload.extend_from_slice(bytes.as_bytes());
        self.flagged(flags::DATAGRAM).event(kind, connection, bytes.len() as i64, &payload)
    }

    fn resolve(&mut self, lookup: Lookup<'_>, error: i64) -> &mut Self {
        let mut payload = [0; 600];
        let length = lookup.encode(&mut payload);
        self.event(EventKind::Resolve, 0, error, &payload[..length])
    }

    fn append(&mut self, file: u64, text: &str) -> &mut Self {
        self.event(EventKind::Append, file, text.len() as i64, text.as_bytes())
    }
}

fn encoded(addresses: &[Address]) -> Vec<u8> {
    let mut all = Vec::new();
    for address in addresses {
        let mut bytes = [0; Address::MAX];
        let length = address.encode(&mut bytes);
        all.extend_from_slice(&bytes[..length]);
    }
    all
}

fn appends(session: &Session) -> Vec<&AppendFile> {
    let actions = session.actions.iter();
    actions.filter_map(|action| if let Action::AppendFile(one) = action { Some(one) } else { None }).collect()
}

fn lookups(session: &Session) -> Vec<&ResolveName> {
    let actions = session.actions.iter();
    actions
        .filter_map(|action| if let Action::ResolveName(one) = action { Some(&**one) } else { None })
        .collect()
}

/// A session in which the program does something between the request and the response.
fn session_of(does: impl FnOnce(&mut Program)) -> Session {
    let mut program = program();
    program.accept(1).receive(1, GET);
    does(&mut program);
    program.thread(1).send(1, OK).park();
    program.one()
}

#[test]
fn what_is_not_answered_is_a_send() {
    let session = session_of(|program| {
        program.send_to(5, 8125, "a:1|c").send_to(5, 8125, "b:1|c").send_to(5, 8126, "c");
    });
    let sent: Vec<_> = datagrams(&session).iter().map(|one| (text(&one.content), one.peer.port)).collect();
    assert_eq!(sent, [("a:1|c", 8125), ("b:1|c", 8125), ("c", 8126)]);
    assert_eq!(session.actions.iter().map(Action::action_index).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_question_and_its_answer_are_a_talk_in_the_place_of_the_question() {
    let session = session_of(|program| {
        program.send_to(5, 53, "1?a").send_to(5, 8125, "statsd").receive_from(5, 53, "1!a");
    });
    assert_eq!(talks(&session), [("1?a", "1!a")]);
    let call = calls(&session)[0];
    assert_eq!((call.action_index, call.peer.port, call.connection_id), (1, 53, 5));
    assert!(call.response_time > call.occurred_at && call.datagrams.is_empty());
    assert_eq!(datagrams(&session).len(), 1);
    let socket = session.connections.iter().find(|known| known.connection_id == 5).expect("described");
    assert_eq!((socket.kind.as_str(), socket.peer.as_str()), ("udp", ""));
}

#[test]
fn a_connected_socket_needs_no_addresses() {
    let session = session_of(|program| {
        program.flagged(flags::DATAGRAM).event(EventKind::Connect, 6, 0, &pair(v4(2006), v4(53)));
        program.flagged(flags::DATAGRAM).event(EventKind::Send, 6, 1, &[0, 0, b'q']);
        program.flagged(flags::DATAGRAM).event(EventKind::Receive, 6, 1, &[0, 0, b'a']);
    });
    assert_eq!(talks(&session), [("q", "a")]);
    assert_eq!((calls(&session)[0].peer.port, session.connections[1].peer.as_str()), (53, "127.0.0.1:53"));
}

#[test]
fn answers_find_their_question_by_its_first_bytes() {
    let session = session_of(|program| {
        program.send_to(5, 53, "11 A?").send_to(5, 53, "22 AAAA?");
        program.receive_from(5, 53, "22 ::1").receive_from(5, 53, "11 127.0.0.1");
    });
    assert_eq!(talks(&session), [("11 A?", "11 127.0.0.1"), ("22 AAAA?", "22 ::1")]);
}

#[test]
fn what_was_sent_again_was_answered_then() {
    let session = session_of(|program| {
        program.send_to(5, 53, "11 A?").send_to(5, 53, "11 A?").receive_from(5, 53, "11 yes");
    });
    assert_eq!(datagrams(&session)[0].action_index, 1);
    assert_eq!(calls(&session)[0].action_index, 2);
}

#[test]
fn an_answer_of_several_datagrams_keeps_their_sizes() {
    let session = session_of(|program| {
        program.send_to(5, 69, "get").receive_from(5, 69, "one").receive_from(5, 69, "two2");
        program.receive_from(5, 69, "");
    });
    assert_eq!(talks(&session), [("get", "onetwo2")]);
    assert_eq!(calls(&session)[0].datagrams, [3, 4, 0]);
}

#[test]
fn a_late_answer_is_kept_outside_the_session() {
    let mut program = program();
    program.accept(1).receive(1, GET).send_to(5, 53, "1?").send(1, OK).park();
    assert_eq!(datagrams(&program.one()).len(), 1);
    program.receive_from(5, 53, "1!");
    let boot = program.finish().remove(0);
    assert_eq!((boot.context.as_str(), talks(&boot)), ("boot", vec![("", "1!")]));
}

#[test]
fn a_server_of_datagrams_asks_nothing() {
    let mut program = program();
    program.receive_from(5, 4000, "question").send_to(5, 4000, "answer").receive_from(5, 4000, "thanks");
    let boot = program.finish().remove(0);
    assert_eq!((calls(&boot).len(), datagrams(&boot).len()), (0, 1));
}

#[test]
fn datagrams_that_the_log_lacks_are_marked() {
    let session = session_of(|program| {
        program.flagged(flags::DATAGRAM).event(EventKind::Connect, 6, 0, &pair(v4(2006), v4(53)));
        program.flagged(flags::SENT).event(EventKind::Gap, 6, -1, &[]);
    });
    let sent = datagrams(&session);
    assert_eq!((sent.len(), sent[0].peer.port, sent[0].content.len()), (1, 53, 0));
    assert!(session.incomplete && session.connections.iter().any(|one| one.connection_id == 6 && one.gap));
}

#[test]
fn a_socket_that_a_child_has_closed_is_still_its_makers() {
    let mut program = program();
    program.flagged(flags::DATAGRAM).event(EventKind::Connect, 6, 0, &pair(v4(2006), v4(53)));
    program.process = 2;
    program.datagram(EventKind::Send, 6, Address::None, "child's").close(6);
    program.process = 1;
    program.datagram(EventKind::Send, 6, Address::None, "maker's");
    assert!(program.assembler.datagrams(2006).is_some());
    let sessions = program.finish();
    let sent: Vec<_> = sessions.iter().flat_map(|session| datagrams(session)).collect();
    assert_eq!(sent.iter().map(|one| one.peer.port).collect::<Vec<_>>(), [53, 53]);
    program.close(6);
    assert!(program.assembler.datagrams(2006).is_none());
}

#[test]
fn a_question_outside_any_session_waits_for_its_answer_before_it_is_delivered() {
    let mut program = program();
    program.send_to(5, 9, "old");
    program.wait(900).send_to(5, 53, "1?").wait(200);
    let first = program.one();
    assert_eq!((datagrams(&first).len(), text(&datagrams(&first)[0].content)), (1, "old"));
    program.receive_from(5, 53, "1!");
    let rest = program.finish().remove(0);
    assert_eq!(talks(&rest), [("1?", "1!")]);
}

#[test]
fn the_newest_socket_of_a_port_tells_who_sent_last() {
    let mut program = program();
    program.flagged(flags::DATAGRAM).event(EventKind::Connect, 6, 0, &pair(v4(2006), Address::None));
    program.accept(1).receive(1, GET).send_to(6, 53, "q");
    let (socket, sent) = program.assembler.datagrams(2006).expect("is known");
    assert_eq!((socket.connection, sent), (6, 1));
    assert!(matches!(socket.sender, crate::assemble::Sender::Session { .. }));
    program.close(6);
    assert!(program.assembler.datagrams(2006).is_none());
}

#[test]
fn a_lookup_has_its_question_and_its_answer() {
    let addresses =
        [Address::V4([10, 0, 0, 1], 443), Address::V4([10, 0, 0, 1], 443), Address::V6([1; 16], 0)];
    let bytes = encoded(&addresses);
    let session = session_of(|program| {
        let asked = Lookup::forward(b"db.example", b"https", 4);
        program.resolve(asked.answered(b"db1.example", &bytes), 0).resolve(asked, -2);
        program.resolve(Lookup::reverse(&bytes, b"db1.example"), 0);
    });
    let [found, failed, reverse] = lookups(&session)[..] else { panic!("three lookups") };
    assert_eq!(
        (found.name.as_str(), found.service.as_str(), found.family.as_str()),
        ("db.example", "https", "inet")
    );
    assert_eq!(found.addresses, ["10.0.0.1", "101:101:101:101:101:101:101:101"]);
    assert_eq!((found.canonical_name.as_str(), found.error.as_str()), ("db1.example", ""));
    assert_eq!((failed.addresses.len(), failed.error.as_str()), (0, "EAI_NONAME"));
    assert_eq!(reverse.name, "db1.example");
}

#[test]
fn what_is_appended_names_its_file() {
    let session = session_of(|program| {
        program.event(EventKind::Open, 9, 0, b"/var/log/app.log").append(9, "one\n").append(9, "two");
        program.flagged(flags::CONTINUED).append(9, " and a half\n");
        program.event(EventKind::Append, 9, -28, b"").close(9).append(9, "whose?");
        program.event(EventKind::Open, 10, 1, b"/var/log/stdio.log");
    });
    let appends: Vec<_> =
        appends(&session).iter().map(|one| (one.file_name.as_str(), text(&one.content), one.gap)).collect();
    let log = "/var/log/app.log";
    assert_eq!(
        appends,
        [
            (log, "one\n", false),
            (log, "two and a half\n", false),
            ("", "whose?", false),
            ("/var/log/stdio.log", "", true)
        ]
    );
}

#[test]
fn a_child_goes_on_with_the_files_of_its_parent() {
    let mut program = program();
    program.event(EventKind::Open, 9, 0, b"/log");
    program.process(2).event(EventKind::Process, 1, 0, b"").process(1).close(9);
    program.process(2).append(9, "child");
    let boot = program.finish();
    assert_eq!(appends(&boot[0])[0].file_name, "/log");
}

#[test]
fn a_program_that_is_started_goes_on_with_the_files_of_whoever_started_it() {
    let mut program = program();
    program.event(EventKind::Open, 9, 0, b"/log");
    program.flagged(flags::EXECUTES).event(EventKind::Fork, 2, 0, b"").close(9);
    program.process(2).event(EventKind::Process, 2, 0, b"").append(9, "child");
    let boot = program.finish();
    assert_eq!(appends(&boot[0])[0].file_name, "/log");
}

#[test]
fn threads_that_help_act_for_the_one_open_session() {
    let session = session_of(|program| {
        program.event(EventKind::Open, 9, 0, b"/log").thread(7).append(9, "by a pool").thread(1);
    });
    assert_eq!((appends(&session).len(), appends(&session)[0].ambiguous), (1, false));

    let mut program = program();
    program.accept(1).receive(1, GET).accept(2).thread(2).receive(2, GET);
    program.thread(7).append(9, "for whom?");
    program.thread(1).send(1, OK).park().thread(2).send(2, OK).park();
    let sessions = program.delivered();
    let all: Vec<_> = sessions.iter().flat_map(appends).collect();
    assert_eq!((all.len(), all[0].ambiguous), (1, true));
}

#[test]
fn threads_that_help_nobody_act_for_the_process() {
    let mut program = program();
    program.thread(7).append(9, "timer");
    let boot = program.finish().remove(0);
    assert_eq!((boot.context.as_str(), appends(&boot)[0].ambiguous), ("boot", false));
}
