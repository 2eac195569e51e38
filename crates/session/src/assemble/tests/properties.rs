//! What holds for all traces.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) struct Any {
    kind: u8,
    process: u64,
    tid: u32,
    context: u64,
    connection: u64,
    flags: u16,
    result: i64,
    payload: Vec<u8>,
    then: u8,
}

pub(super) fn any_event() -> impl Strategy<Value = Any> {
    let bytes = prop_oneof![
        3 => prop::sample::select(vec![GET, OK, PING, PONG, "\x01raw", "HTTP/1.0 200 OK\r\n\r\n", "GET /", ""])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        2 => (0u16..4, 0u16..4).prop_map(|(local, peer)| pair(v4(local), v4(peer))),
    ];
    let result = prop_oneof![
        4 => Just(0i64),
        1 => prop::sample::select(vec![-4, -32, -104, -110, -111, -115, 1, 2]),
        1 => any::<i64>(),
    ];
    let who = (1u64..3, 1u32..4, prop_oneof![4 => Just(0u64), 1 => 1u64..3]);
    (
        prop_oneof![3 => 3u8..7, 2 => 1u8..17],
        who,
        0u64..6,
        prop_oneof![5 => Just(0u16), 1 => 0u16..16],
        result,
        bytes,
        0u8..30,
    )
        .prop_map(|(kind, (process, tid, context), connection, flags, result, payload, then)| Any {
            kind,
            process,
            tid,
            context,
            connection,
            flags,
            result,
            payload,
            then,
        })
}

impl Any {
    /// Lets it happen, and what comes with it.
    pub(super) fn happen(&self, program: &mut Program) {
        (program.process, program.tid, program.context) = (self.process, self.tid, self.context);
        program.flags = self.flags;
        if let Some(kind) = EventKind::from_u8(self.kind) {
            program.event(kind, self.connection, self.result, &self.payload);
        }
        match self.then {
            0 => _ = program.park(),
            1 => _ = program.wait(1000),
            2 => program.assembler.tick(program.now + 40_000 * MS),
            3 => _ = program.end_process(),
            4 => {
                program.delivered().into_iter().for_each(|one| program.assembler.recycle(Box::new(one)));
            }
            _ => {}
        }
    }
}

/// One step of a well-formed trace of one thread.
#[derive(Clone, Debug)]
enum Step {
    Talk(usize),
    Respond,
    Park,
    Wait,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_events_panic_and_everything_ends(events in prop::collection::vec(any_event(), 0..60)) {
        let mut program = program();
        for event in &events {
            event.happen(&mut program);
        }
        let sessions = program.finish();
        for session in &sessions {
            let mut indices: Vec<u32> = session.actions.iter().map(Action::action_index).collect();
            indices.extend(session.return_inbound.as_ref().map(|answer| answer.action_index));
            indices.sort_unstable();
            prop_assert!(indices.windows(2).all(|pair| pair[0] < pair[1]));
            for call in calls(session) {
                prop_assert!(session.connections.iter().any(|known| known.connection_id == call.connection_id));
            }
        }
    }

    /// A thread serves requests, one after the other, each with its talks: every byte is in the session that it
    /// belongs to, however the bytes were cut into calls.
    #[test]
    fn each_byte_is_in_its_session(
        requests in prop::collection::vec(
            (
                prop::collection::vec(
                    prop_oneof![
                        4 => (0usize..3).prop_map(Step::Talk), 1 => Just(Step::Respond), 1 => Just(Step::Park),
                        1 => Just(Step::Wait),
                    ],
                    0..8,
                ),
                0usize..3,
            ),
            1..8,
        ),
        cuts in prop::collection::vec(1usize..40, 1..8),
    ) {
        let mut sizes = cuts.iter().copied().cycle();
        let mut program = program();
        for connection in 1..4 {
            program.accept(connection).connect(10 + connection);
        }
        let cut = |program: &mut Program, send: bool, connection: u64, text: &str, sizes: &mut dyn Iterator<Item = usize>| {
            let mut rest = text;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                if send { program.send(connection, piece) } else { program.receive(connection, piece) };
                rest = after;
            }
        };
        let mut wanted = Vec::new();
        for (number, (steps, by)) in requests.iter().enumerate() {
            let by = 1 + *by as u64;
            // The third is of no known protocol.
            let (asked, answer) = match by {
                3 => (format!("\x01 request {number}"), format!("answer {number}")),
                _ => (
                    format!("POST /{number} HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", number % 10),
                ),
            };
            cut(&mut program, false, by, &asked, &mut sizes);
            let (mut talked, mut answered) = (Vec::new(), false);
            for (place, step) in steps.iter().enumerate() {
                match step {
                    Step::Talk(to) => {
                        let (request, response) = match to {
                            0 => (format!("*2\r\n$3\r\nGET\r\n$2\r\n{:02}\r\n", place), format!("${}\r\n{place}\r\n", place.to_string().len())),
                            1 => (format!("GET /{number}/{place} HTTP/1.1\r\n\r\n"), OK.to_owned()),
                            _ => (format!("\x02 {number} {place}"), "\x02 response".to_owned()),
                        };
                        cut(&mut program, true, 11 + *to as u64, &request, &mut sizes);
                        cut(&mut program, false, 11 + *to as u64, &response, &mut sizes);
                        talked.push((request, response));
                    }
                    Step::Respond if !answered => {
                        cut(&mut program, true, by, &answer, &mut sizes);
                        answered = true;
                    }
                    // Not after the response: then the session is over.
                    Step::Park if !answered => _ = program.park(),
                    Step::Wait if !answered => _ = program.wait(3000),
                    _ => {}
                }
            }
            if !answered {
                cut(&mut program, true, by, &answer, &mut sizes);
            }
            wanted.push((asked, answer, talked));
        }
        let sessions = program.finish();
        let mut sessions: Vec<&Session> = sessions.iter().collect();
        sessions.sort_by_key(|session| &session.session_id);
        let found: Vec<_> = sessions
            .iter()
            .map(|session| {
                let talked: Vec<_> = talks(session).into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
                (request(session).to_owned(), response(session).unwrap_or("").to_owned(), talked)
            })
            .collect();
        prop_assert_eq!(found, wanted);
        prop_assert!(sessions.iter().all(|session| !session.incomplete && session.overlap_group.is_empty()));
    }
}
