//! Prepared statements of real clients: the same call is found whatever number or name its statement has, and another
//! one is not. The conversations are those of `crates/protocol/tests/captures`.

#[allow(dead_code, reason = "not everyone who includes this uses all of it")]
#[path = "../../protocol/tests/shared/mod.rs"]
mod captures;

use captures::{Talk, capture, talks};
use koala_matcher::{Connections, Decision, Follower, Index, RecordedCall, RecordedTalk, Strategy};

const PEER: &str = "10.0.0.1:1";

/// The talks of a capture in which something is asked.
fn asked(name: &str) -> Vec<Talk> {
    talks(&capture(name), usize::MAX).0
}

/// An index over conversations, each on a connection of its own.
fn index(recorded: &[Vec<Talk>]) -> Index {
    let mut connections = Connections::default();
    let told: Vec<_> = (1..)
        .zip(recorded)
        .flat_map(|(connection, talks)| talks.iter().map(move |talk| (connection, talk)))
        .map(|(connection, talk)| {
            (connection, talk, connections.exchange(connection, &talk.request, &talk.response))
        })
        .filter(|(_, talk, _)| !talk.request.is_empty())
        .collect();
    Index::of_talks(
        Strategy::Auto,
        told.iter().map(|(connection, talk, state)| RecordedTalk {
            call: RecordedCall { connection: *connection, ..RecordedCall::new(PEER, &talk.request) },
            response: &talk.response,
            state,
        }),
    )
}

/// What is decided about the requests of a conversation, which are answered as it says. Indexes count requests.
fn replay(index: &mut Index, live: &[Talk]) -> Vec<Decision> {
    let mut connections = Connections::default();
    let mut decisions = Vec::new();
    for talk in live {
        if !talk.request.is_empty() {
            decisions.push(index.find_in(connections.state(1), 1, PEER, &talk.request));
        }
        connections.exchange(1, &talk.request, &talk.response);
    }
    decisions
}

/// MySQL's numbers of statements, each greater by `shift`.
fn renumbered(talks: &[Talk], shift: u8) -> Vec<Talk> {
    let mut talks = talks.to_vec();
    for talk in &mut talks {
        match talk.request.get(3..5) {
            // A number of -1 is the statement that was prepared last.
            Some([0, 0x17..=0x1a | 0x1c | 0xfa]) if talk.request.get(5..9) != Some(&[0xff; 4]) => {
                talk.request[5] += shift;
            }
            Some([0, 0x16]) if talk.response.get(4) == Some(&0) => talk.response[5] += shift,
            _ => {}
        }
    }
    talks
}

const MYSQL: [&str; 4] = ["php-mysqli", "php-pdo-mysql", "node-mysql2", "node-mariadb"];
const POSTGRES: [&str; 4] = ["node-pg", "php-pdo-pgsql", "python-asyncpg", "python-psycopg3"];

#[test]
fn numbers_of_statements_do_not_matter() {
    for name in MYSQL {
        let recorded = asked(name);
        let expected: Vec<_> = replay(&mut index(std::slice::from_ref(&recorded)), &recorded);
        assert!(
            expected.iter().enumerate().all(|(at, found)| found.index == Some(at)),
            "{name}: {expected:#?}"
        );
        let live = renumbered(&recorded, 40);
        assert!(live != recorded, "{name} prepares statements");
        for (at, decision) in replay(&mut index(&[recorded]), &live).iter().enumerate() {
            assert_eq!(decision.index, Some(at), "{name}: {decision:#?}");
            assert!(!decision.reused, "{name}: {decision:#?}");
        }
    }
}

#[test]
fn names_of_statements_do_not_matter() {
    for name in POSTGRES {
        let recorded = asked(name);
        let mut live = recorded.clone();
        let mut changed = 0;
        for talk in &mut live {
            for known in [&b"by-id"[..], b"pdo_stmt_0000000", b"__asyncpg_stmt_", b"_pg3_"] {
                let named = matches!(talk.request[0], b'P' | b'B' | b'D' | b'C');
                let found = places(talk.request.len(), |at| named && talk.request[at..].starts_with(known));
                changed += found.len();
                for at in found {
                    talk.request[at + 1] = b'Z';
                }
            }
        }
        assert!(changed > 1, "{name}");
        for (at, decision) in replay(&mut index(std::slice::from_ref(&recorded)), &live).iter().enumerate() {
            assert_eq!(decision.index, Some(at), "{name} {}: {decision:#?}", live[at].request.escape_ascii());
        }
    }
}

/// The places below `length` at which something is so.
fn places(length: usize, is_so: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..length).filter(|at| is_so(*at)).collect()
}

#[test]
fn another_value_is_another_call() {
    for (name, from, to) in [
        ("php-mysqli", &b"\x03two"[..], &b"\x03owt"[..]),
        ("node-mysql2", b"\x03two", b"\x03owt"),
        ("node-mariadb", b"\x03two", b"\x03owt"),
        ("node-pg", b"\0\0\0\x03two", b"\0\0\0\x03owt"),
        ("python-asyncpg", b"\0\0\0\x03two", b"\0\0\0\x03owt"),
        ("php-pdo-pgsql", b"\0\0\0\x030.5", b"\0\0\0\x030.7"),
    ] {
        let recorded = asked(name);
        let mut live = recorded.clone();
        let at = places(live.len(), |at| live[at].request.windows(from.len()).any(|window| window == from));
        assert!(!at.is_empty(), "{name}");
        for at in &at {
            let request = &mut live[*at].request;
            let place = request.windows(from.len()).position(|window| window == from).expect("it is there");
            request[place..place + to.len()].copy_from_slice(to);
        }
        let offset = recorded.iter().take(at[0]).filter(|talk| talk.request.is_empty()).count();
        let decisions = replay(&mut index(&[recorded]), &live);
        for at in at {
            assert_eq!(decisions[at - offset].index, None, "{name}: {:#?}", decisions[at - offset]);
        }
    }
}

/// A statement whose number is that of another one in the recording.
#[test]
fn equal_bytes_that_name_another_statement_are_another_call() {
    let recorded = asked("php-pdo-mysql");
    let mut live = recorded.clone();
    let prepare = places(live.len(), |at| live[at].request.get(4) == Some(&0x16));
    let (first, second) = (prepare[0], prepare[1]);
    assert!(live[first].response[5] != live[second].response[5]);
    // The second statement is prepared under the number of the first; its run says the first one's bytes.
    live[second].response[5] = live[first].response[5];
    let decisions = replay(&mut index(std::slice::from_ref(&recorded)), &live);
    let offset = recorded.iter().take(first).filter(|talk| talk.request.is_empty()).count();
    assert_eq!(decisions[second - offset].index, Some(second - offset));

    let mut swapped = recorded.clone();
    swapped[first].request = recorded[second].request.clone();
    let decisions = replay(&mut index(std::slice::from_ref(&recorded)), &swapped);
    let run = places(recorded.len(), |at| recorded[at].request.get(4) == Some(&0x17))[0];
    assert_eq!(decisions[run - offset].index, None, "{:#?}", decisions[run - offset]);
}

/// A pool has other connections in a replay: what was prepared once is prepared on each of them.
#[test]
fn statements_are_prepared_on_each_connection() {
    for name in ["php-pdo-mysql", "node-mysql2", "node-pg", "python-asyncpg"] {
        let recorded = asked(name);
        let mut index = index(std::slice::from_ref(&recorded));
        replay(&mut index, &recorded);
        let prepares = |talk: &Talk| match talk.request.as_slice() {
            [_, _, _, 0, 0x16, ..] => true,
            [b'P', ..] => !talk.request.windows(5).any(|window| window == b"E\0\0\0\x09"),
            _ => false,
        };
        let mut again = 0;
        for (talk, decision) in recorded
            .iter()
            .filter(|talk| !talk.request.is_empty())
            .zip(replay(&mut index, &recorded))
            .filter(|(talk, _)| prepares(talk))
        {
            assert!(decision.index.is_some() && decision.reused, "{name}: {decision:#?}");
            assert!(!talk.response.is_empty());
            again += 1;
        }
        assert!(again > 0 || name == "node-pg", "{name}");
    }
}

#[test]
fn a_statement_may_have_been_prepared_before() {
    let recorded = asked("node-pg");
    // `by-id`: prepared and run, then run.
    let (first, second) = (4, 5);
    let requests: Vec<_> = recorded.iter().filter(|talk| !talk.request.is_empty()).collect();
    assert!(requests[first].request.starts_with(b"P") && requests[second].request.starts_with(b"B"));
    let only_first: Vec<Talk> =
        recorded.iter().filter(|talk| talk.request != requests[second].request).cloned().collect();
    // The second run asks for other values than the first one does.
    let mut index = index(&[only_first]);
    let mut connections = Connections::default();
    for talk in requests.iter().take(second) {
        connections.exchange(1, &talk.request, &talk.response);
    }
    let asked = &requests[second].request;
    assert_eq!(index.find_in(connections.state(1), 1, PEER, asked).index, None);
    // The same values, without the `Parse` before them.
    let parse = 1 + u32::from_be_bytes(requests[first].request[1..5].try_into().expect("four")) as usize;
    let decision = index.find_in(connections.state(1), 1, PEER, &requests[first].request[parse..]);
    assert_eq!(decision.index, Some(first), "{decision:#?}");
    assert_eq!(decision.differences, ["statement name: by-id -> (absent)", "prepares: yes -> (absent)"]);
}

#[test]
fn the_database_is_part_of_the_call() {
    let query = |sql: &str| [&[sql.len() as u8 + 1, 0, 0, 0, 3][..], sql.as_bytes()].concat();
    let (shop, bank, count) = (query("USE shop"), query("USE bank"), query("SELECT COUNT(*) FROM t"));
    let ok = b"\x07\0\0\x01\0\0\0\x02\0\0\0".to_vec();
    let talk = |request: &[u8]| Talk { request: request.to_vec(), response: ok.clone(), ..Talk::default() };
    let recorded = [vec![talk(&shop), talk(&count)], vec![talk(&bank), talk(&count)]];
    let found = |index: &mut Index, live: &[Vec<u8>]| {
        let live: Vec<_> = live.iter().map(|request| talk(request)).collect();
        replay(index, &live).last().map(|decision| decision.index)
    };
    let with_comment = query("SELECT COUNT(*) FROM t /* again */");
    assert_eq!(found(&mut index(&recorded), &[bank.clone(), count.clone()]), Some(Some(3)));
    assert_eq!(found(&mut index(&recorded), &[bank.clone(), with_comment]), Some(Some(3)));
    assert_eq!(found(&mut index(&recorded[..1]), &[bank, count.clone()]), Some(None));
    assert_eq!(found(&mut index(&recorded), &[count]), Some(Some(1)), "it is not known");
}

#[test]
fn a_follower_knows_what_connections_were_told() {
    for name in MYSQL.into_iter().chain(POSTGRES) {
        let recorded: Vec<_> = asked(name).into_iter().filter(|talk| !talk.request.is_empty()).collect();
        let follower = || {
            let talks = recorded.iter().map(|talk| {
                let call = RecordedCall { connection: 7, ..RecordedCall::new(PEER, &talk.request) };
                (call, &talk.response[..])
            });
            Follower::new(Strategy::Auto, talks)
        };
        // On a connection of its own, answered as it decides.
        let mut whole = follower();
        for (at, talk) in recorded.iter().enumerate() {
            let decision = whole.find(Some(3), PEER, &talk.request, None);
            let found = decision.index.map(|found| &recorded[found].request);
            assert_eq!(found, Some(&talk.request), "{name}, request {at}: {decision:#?}");
        }
        // And alone: what it names is what the recorded connection was told.
        for (at, talk) in recorded.iter().enumerate() {
            let decision = follower().find(None, PEER, &talk.request, None);
            let found = decision.index.map(|found| &recorded[found].request);
            assert_eq!(found, Some(&talk.request), "{name}, request {at}: {decision:#?}");
        }
    }
}

#[test]
fn a_request_alone_is_explained_by_the_statement_that_it_names() {
    let prepare = b"\x1d\0\0\0\x16SELECT a FROM t WHERE id = ?";
    let prepared = b"\x0c\0\0\x01\0\x01\0\0\0\x01\0\x01\0\0\0\0";
    let execute = |id: u8| [b"\x12\0\0\0\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x03\0", &[id, 0, 0, 0][..]].concat();
    let known = execute(42);
    let talks = [(&prepare[..], &prepared[..]), (&known, b"row")].map(|(request, response)| {
        (RecordedCall { connection: 9, ..RecordedCall::new(PEER, request) }, response)
    });
    let mut follower = Follower::new(Strategy::Auto, talks);
    let decision = follower.find(None, PEER, &execute(43), None);
    assert_eq!((decision.index, decision.nearest), (None, Some(1)));
    assert_eq!(decision.differences, ["where id: 42 -> 43"]);
    assert_eq!(follower.find(None, PEER, &known, None).index, Some(1));
}
