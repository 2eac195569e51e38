//! Sessions for tests: any that the model can hold.
// Each test file takes from here what it needs.
#![allow(dead_code)]

use koala_session::model::{
    Action, AppendFile, CallFromInbound, CallOutbound, Connection, FieldScore, Matched, Peer, ReadStorage,
    ResolveName, ReturnInbound, RunnerUp, SendUdp, Session, UnixAddr,
};
use proptest::{collection::vec, option, prelude::*};
use std::sync::Arc;

/// Text with what encoders stumble over.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        3 => Just(String::new()),
        2 => "[ -~]{0,12}",
        1 => any::<String>(),
        1 => r"(\\x41|\\|<|&|\u{0}|\u{fffd}|\u{2028}|\n|\u{7f}|中|'|\x22){0,8}",
    ]
    .boxed()
}

/// Bytes: protocol-like, UTF-8 cut anywhere, escape-like, any.
fn bytes() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        2 => text().prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..40),
        1 => vec(prop_oneof![Just(b'\\'), Just(b'x'), Just(b'4'), Just(0xef), Just(0xbf), Just(0xbd)], 0..12),
    ]
    .boxed()
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 2 => 0..300_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn trace_header() -> BoxedStrategy<Option<Vec<u8>>> {
    let listed = vec((bytes(), bytes()), 0..3).prop_map(|pairs| {
        let mut header = Vec::new();
        for part in pairs.iter().flat_map(|(key, value)| [key, value]) {
            header.extend_from_slice(&u16::try_from(part.len()).unwrap_or_default().to_be_bytes());
            header.extend_from_slice(part);
        }
        header
    });
    option::of(prop_oneof![listed, bytes()]).boxed()
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        Just(Peer::default()),
        (text(), any::<u16>(), text()).prop_map(|(ip, port, zone)| Peer { ip, port, zone }),
    ]
}

fn unix_addr() -> impl Strategy<Value = UnixAddr> {
    prop_oneof![Just(UnixAddr::default()), (text(), text()).prop_map(|(name, net)| UnixAddr { name, net })]
}

fn matched() -> BoxedStrategy<Matched> {
    let mark = any::<f64>().prop_filter("equals itself", |mark| !mark.is_nan());
    let fields = vec((text(), 0.0..4.0, 0.0..1.0), 0..3).prop_map(|fields| {
        fields.into_iter().map(|(name, weight, score)| FieldScore { name, weight, score }).collect()
    });
    let runner_up = option::of((text(), 0..20_i64, 0.0..1.0)).prop_map(|found| {
        found.map(|(session_id, action_index, mark)| RunnerUp { session_id, action_index, mark })
    });
    (text(), any::<i64>(), mark, text(), -1..20_i64, vec(text(), 0..3), fields, runner_up)
        .prop_map(
            |(
                session_id,
                action_index,
                mark,
                reason,
                nearest_action_index,
                differences,
                fields,
                runner_up,
            )| {
                Matched {
                    session_id,
                    action_index,
                    mark,
                    reason,
                    nearest_action_index,
                    differences,
                    fields,
                    runner_up,
                }
            },
        )
        .boxed()
}

fn call_outbound() -> BoxedStrategy<CallOutbound> {
    let first = (any::<u32>(), number(), any::<i32>(), peer(), number(), unix_addr(), bytes(), bytes());
    let datagrams = vec(any::<u32>(), 0..3);
    let second = (text(), number(), any::<u32>(), any::<bool>(), text(), datagrams, option::of(matched()));
    (first, second, any::<bool>())
        .prop_map(|(first, second, plain)| {
            let (action_index, occurred_at, socket_fd, peer, response_time, unix_addr, request, response) =
                first;
            let (c_span_id, connection_id, thread_id, ambiguous, error, datagrams, matched) = second;
            let known_to_1x = CallOutbound {
                action_index: if plain { action_index % 8 } else { action_index },
                occurred_at,
                socket_fd,
                peer,
                response_time,
                unix_addr,
                request,
                response,
                c_span_id,
                ..CallOutbound::default()
            };
            if plain {
                return known_to_1x;
            }
            CallOutbound { connection_id, thread_id, ambiguous, error, datagrams, matched, ..known_to_1x }
        })
        .boxed()
}

fn action() -> BoxedStrategy<Action> {
    let index = || prop_oneof![0..8_u32, any::<u32>()];
    prop_oneof![
        3 => call_outbound().prop_map(Action::from),
        1 => (index(), number(), peer(), bytes(), unix_addr(), any::<bool>()).prop_map(
            |(action_index, occurred_at, peer, content, unix_addr, ambiguous)| {
                Action::SendUdp(SendUdp { action_index, occurred_at, peer, content, unix_addr, ambiguous })
            }
        ),
        1 => (index(), number(), text(), bytes(), any::<[bool; 2]>()).prop_map(
            |(action_index, occurred_at, file_name, content, [ambiguous, gap])| {
                Action::AppendFile(AppendFile { action_index, occurred_at, file_name, content, ambiguous, gap })
            }
        ),
        1 => (index(), number(), [text(), text(), text(), text(), text(), text()], vec(text(), 0..3), any::<bool>())
            .prop_map(|(action_index, occurred_at, texts, addresses, ambiguous)| {
                let [name, address, service, family, canonical_name, error] = texts;
                Action::ResolveName(Box::new(ResolveName {
                    action_index,
                    occurred_at,
                    name,
                    address,
                    service,
                    family,
                    addresses,
                    canonical_name,
                    error,
                    ambiguous,
                }))
            }),
        1 => (index(), number(), bytes()).prop_map(|(action_index, occurred_at, content)| {
            Action::ReadStorage(ReadStorage { action_index, occurred_at, content })
        }),
    ]
    .boxed()
}

fn connection() -> BoxedStrategy<Connection> {
    (number(), [text(), text(), text(), text(), text(), text(), text()], any::<[bool; 2]>())
        .prop_map(
            |(
                connection_id,
                [direction, kind, local, peer, protocol, server_name, end],
                [encrypted, gap],
            )| {
                Connection {
                    connection_id,
                    direction,
                    kind,
                    local,
                    peer,
                    protocol,
                    encrypted,
                    server_name,
                    end,
                    gap,
                }
            },
        )
        .boxed()
}

/// Any session.
pub(crate) fn session() -> BoxedStrategy<Session> {
    let call = (any::<u32>(), number(), peer(), unix_addr(), bytes(), number()).prop_map(
        |(action_index, occurred_at, peer, unix_addr, request, connection_id)| CallFromInbound {
            action_index,
            occurred_at,
            peer,
            unix_addr,
            request,
            connection_id,
        },
    );
    let response = (0..8_u32, number(), bytes()).prop_map(|(action_index, occurred_at, response)| {
        ReturnInbound { action_index, occurred_at, response }
    });
    let first =
        (text(), any::<u32>(), text(), trace_header(), text(), option::of(call), option::of(response));
    let second = (vec(action(), 0..5), text(), text());
    let third = (number(), any::<u32>(), vec(connection(), 0..3), text(), any::<bool>());
    (first, second, third)
        .prop_map(|(first, second, third)| {
            let (
                context,
                thread_id,
                session_id,
                trace_header,
                next_session_id,
                call_from_inbound,
                return_inbound,
            ) = first;
            let (actions, trace_id, span_id) = second;
            let (process_id, pid, connections, overlap_group, incomplete) = third;
            Session {
                context,
                thread_id,
                session_id,
                trace_header,
                next_session_id,
                call_from_inbound,
                return_inbound,
                actions,
                trace_id,
                span_id,
                process_id,
                pid,
                connections: connections.into_iter().map(Arc::new).collect(),
                overlap_group,
                incomplete,
            }
        })
        .boxed()
}

/// A session as an HTTP server that asks Redis once a request gives it.
pub(crate) fn typical() -> Session {
    Session {
        thread_id: 7066,
        session_id: "1795358321530327380-7066".to_owned(),
        call_from_inbound: Some(CallFromInbound {
            occurred_at: 1_795_358_321_530_549_469,
            peer: Peer { ip: "127.0.0.1".to_owned(), port: 36888, zone: String::new() },
            request: b"GET /hello?n=1 HTTP/1.1\r\nHost: 127.0.0.1:9301\r\nAccept: */*\r\n\r\n".to_vec(),
            connection_id: 1,
            ..CallFromInbound::default()
        }),
        return_inbound: Some(ReturnInbound {
            action_index: 1,
            occurred_at: 1_795_358_321_530_727_123,
            response: b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!".to_vec(),
        }),
        actions: vec![Action::from(CallOutbound {
            occurred_at: 1_795_358_321_530_682_536,
            socket_fd: 11,
            peer: Peer { ip: "127.0.0.1".to_owned(), port: 6379, zone: String::new() },
            response_time: 1_795_358_321_530_707_473,
            request: b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n".to_vec(),
            response: b"$3\r\nbar\r\n".to_vec(),
            connection_id: 2,
            ..CallOutbound::default()
        })],
        process_id: 1,
        pid: 7060,
        connections: vec![
            Arc::new(Connection {
                connection_id: 1,
                direction: "inbound".to_owned(),
                kind: "tcp".to_owned(),
                local: "127.0.0.1:9301".to_owned(),
                peer: "127.0.0.1:36888".to_owned(),
                protocol: "http".to_owned(),
                ..Connection::default()
            }),
            Arc::new(Connection {
                connection_id: 2,
                direction: "outbound".to_owned(),
                kind: "tcp".to_owned(),
                local: "127.0.0.1:41000".to_owned(),
                peer: "127.0.0.1:6379".to_owned(),
                protocol: "redis".to_owned(),
                ..Connection::default()
            }),
        ],
        ..Session::default()
    }
}
