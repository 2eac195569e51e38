//! What real clients and servers said to each other, framed and decoded: see `captures/README.md`.

#![allow(missing_docs, reason = "a test")]

mod shared;

use koala_protocol::decode::fields::{Field, fields_in};
use koala_protocol::{
    ConnectionState, Detection, Protocol, RequestFramer, Said, Step, detect_request, fit_response,
};
use proptest::prelude::*;
use shared::{capture, talks};

/// Each capture that is framed by its protocol: the protocol, how many requests there are, and how many of them get
/// no response.
const FRAMED: [(&str, Protocol, usize, usize); 23] = [
    ("php-mysqli", Protocol::MySql, 35, 4),
    ("php-pdo-mysql", Protocol::MySql, 12, 3),
    ("node-mysql2", Protocol::MySql, 13, 3),
    ("node-mariadb", Protocol::MySql, 11, 1),
    ("mariadb-cli", Protocol::MySql, 6, 1),
    ("python-pymysql", Protocol::MySql, 5, 1),
    ("psql", Protocol::Postgres, 17, 1),
    ("php-pdo-pgsql", Protocol::Postgres, 12, 1),
    ("python-psycopg2", Protocol::Postgres, 13, 1),
    // One of them, up to `Flush`, has its error before it is complete.
    ("python-psycopg3", Protocol::Postgres, 28, 2),
    ("python-asyncpg", Protocol::Postgres, 22, 1),
    ("node-pg", Protocol::Postgres, 11, 1),
    ("php-memcached", Protocol::Memcached, 14, 1),
    ("php-memcached-binary", Protocol::Memcached, 15, 0),
    ("python-pymemcache", Protocol::Memcached, 11, 3),
    ("memcached-meta", Protocol::Memcached, 14, 3),
    ("python-pymongo", Protocol::MongoDb, 9, 0),
    ("node-mongodb", Protocol::MongoDb, 9, 1),
    ("nginx-php-fpm", Protocol::FastCgi, 4, 0),
    ("python-thrift-binary-framed", Protocol::Thrift, 3, 1),
    ("python-thrift-compact-framed", Protocol::Thrift, 3, 1),
    ("node-ioredis", Protocol::Redis, 16, 0),
    ("redis-inline", Protocol::Raw, 10, 0),
];

#[test]
fn every_talk_ends_where_its_protocol_says() {
    for (name, protocol, requests, unanswered) in FRAMED {
        let capture = capture(name);
        let (talks, conversation) = talks(&capture, usize::MAX);
        assert_eq!(conversation.protocol(), protocol, "{name}");
        assert_eq!(talks.iter().filter(|talk| talk.asked).count(), requests, "{name}");
        assert_eq!(talks.iter().filter(|talk| talk.unanswered).count(), unanswered, "{name}");
        if protocol == Protocol::Raw {
            continue;
        }
        assert!(!conversation.is_raw(), "{name}");
        for talk in talks.iter().filter(|talk| talk.asked) {
            assert!(talk.request_ended, "{name}: {}", talk.request.escape_ascii());
            assert!(talk.response_ended || talk.unanswered, "{name}: {}", talk.request.escape_ascii());
        }
        let said =
            |client: bool| capture.iter().filter(move |(who, _)| *who == client).flat_map(|(_, bytes)| bytes);
        assert!(talks.iter().flat_map(|talk| &talk.request).eq(said(true)), "{name}");
        assert!(talks.iter().flat_map(|talk| &talk.response).eq(said(false)), "{name}");
    }
}

#[test]
fn pieces_give_the_same_talks() {
    for (name, ..) in FRAMED {
        let capture = capture(name);
        let whole = talks(&capture, usize::MAX).0;
        for piece in [1, 2, 3, 5, 8, 23, 50] {
            let pieces = talks(&capture, piece).0;
            assert!(pieces == whole, "{name} in pieces of {piece}");
        }
    }
}

/// The replayer sees the client's side only, and knows the protocol from the recording.
#[test]
fn requests_are_cut_without_their_responses() {
    for (name, protocol, ..) in FRAMED {
        let capture = capture(name);
        let requests =
            talks(&capture, usize::MAX).0.into_iter().filter(|talk| talk.asked).map(|talk| talk.request);
        let stream: Vec<u8> =
            capture.iter().filter(|(client, _)| *client).flat_map(|(_, bytes)| bytes).copied().collect();
        if protocol == Protocol::Raw {
            continue;
        }
        let mut framer = RequestFramer::new(protocol);
        let mut rest = &stream[..];
        let mut found = Vec::new();
        while let Step::End(length) = framer.push(rest) {
            found.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "{name}");
        assert!(requests.eq(found), "{name}");
        if protocol != Protocol::MySql {
            assert_eq!(detect_request(&stream), Detection::Is(protocol), "{name}");
        }
    }
}

#[test]
fn what_compression_hides_is_told_apart_by_direction() {
    let (talks, conversation) = talks(&capture("mariadb-compressed"), usize::MAX);
    assert_eq!((conversation.protocol(), conversation.is_raw()), (Protocol::MySql, true));
    let lengths: Vec<(usize, usize)> =
        talks.iter().map(|talk| (talk.request.len(), talk.response.len())).collect();
    assert_eq!(lengths, [(0, 104), (216, 20), (34, 85), (12, 0)]);
}

/// What each request of a capture means, given those before it: a line each.
fn meanings(name: &str) -> Vec<String> {
    let mut state = ConnectionState::default();
    talks(&capture(name), usize::MAX)
        .0
        .iter()
        .map(|talk| {
            let fields = fields_in(&state, &talk.request);
            let alone = fields_in(&state.referred(&talk.request), &talk.request);
            assert_eq!(fields, alone, "{name}: what a request refers to is enough to decode it");
            state.exchange(&talk.request, &talk.response);
            let shown = |field: &Field| format!("{}={}", field.name, field.value);
            fields.fields.iter().map(shown).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[track_caller]
fn means(lines: &[String], number: usize, expected: &str) {
    assert_eq!(lines[number], expected);
}

#[test]
fn mysql_statements_have_their_sql_and_values() {
    let select = "sql=SELECT id,name,price FROM t WHERE id = ? AND name = ?";
    let lines = meanings("php-mysqli");
    means(&lines, 1, "command=login user=app database=shop");
    means(&lines, 4, &format!("command=COM_STMT_PREPARE {select}"));
    means(&lines, 5, &format!("command=COM_STMT_EXECUTE {select} parameter[0]=2 parameter[1]=two"));
    // The types were told by the first execution only.
    means(&lines, 6, &format!("command=COM_STMT_EXECUTE {select} parameter[0]=3 parameter[1]=three"));
    let insert = "sql=INSERT INTO t(name,price,at,body) VALUES (?,?,?,?)";
    means(&lines, 8, &format!("command=COM_STMT_SEND_LONG_DATA {insert}"));
    means(
        &lines,
        10,
        &format!(
            "command=COM_STMT_EXECUTE {insert} parameter[0]=new parameter[1]=4.25 \
            parameter[2]=2026-03-04 05:06:07 parameter[3]=long data"
        ),
    );
    means(&lines, 11, &format!("command=COM_STMT_RESET {select}"));
    means(&lines, 12, &format!("command=COM_STMT_CLOSE {select}"));
    means(&lines, 23, "command=login user=app database=shop");
    means(&lines, 26, "command=COM_STMT_EXECUTE sql=SELECT id FROM t WHERE id < ? parameter[0]=9");
    means(&lines, 27, "command=COM_STMT_FETCH sql=SELECT id FROM t WHERE id < ?");

    let lines = meanings("node-mysql2");
    let update = "sql=UPDATE t SET at = ?, name = ? WHERE id = ?";
    means(
        &lines,
        7,
        &format!(
            "command=COM_STMT_EXECUTE {update} parameter[0]=2026-01-02 03:04:05 parameter[1]=NULL parameter[2]=2"
        ),
    );

    let lines = meanings("node-mariadb");
    let select = "sql=SELECT * FROM t WHERE id = ? AND name = ?";
    // Sent before the server told the statement's number.
    means(&lines, 5, &format!("command=COM_STMT_EXECUTE {select} parameter[0]=2 parameter[1]=two"));
    means(&lines, 6, &format!("command=COM_STMT_EXECUTE {select} parameter[0]=3 parameter[1]=three"));
    let update = "sql=UPDATE t SET price = ? WHERE id = ?";
    means(
        &lines,
        8,
        &format!(
            "command=COM_STMT_BULK_EXECUTE {update} parameter[0]=2.5 parameter[1]=2 parameter[2]=3.5 parameter[3]=3"
        ),
    );
}

#[test]
fn postgres_statements_have_their_sql_and_values() {
    let lines = meanings("node-pg");
    let bind = |sql: &str, id: &str, name: &str| {
        format!(
            "message=Bind [0].statement=by-id [0].sql={sql} [0].parameter[0]={id} [0].parameter[1]={name} "
        )
    };
    let select = "SELECT * FROM t WHERE id = $1 AND name = $2";
    assert!(lines[5].starts_with(&format!("[0].{}", bind(select, "2", "two"))), "{}", lines[5]);

    let lines = meanings("python-asyncpg");
    means(
        &lines,
        5,
        "[0].message=Bind [0].statement=__asyncpg_stmt_1__ [0].sql=select name from t where id=$1 and name=$2 \
        [0].parameter[0]=2 [0].parameter[1]=two [1].message=Execute [2].message=S",
    );
    // In binary form, by the types that the server told.
    let values = "[0].parameter[0]=2026-01-02 03:04:05.678900 [0].parameter[1]=2.5 [0].parameter[2]=true \
        [0].parameter[3]=12345678-1234-5678-1234-567812345678 [0].parameter[4]=123.4500 \
        [0].parameter[5]=1099511627776 [0].parameter[6]=\u{1}\u{2} [0].parameter[7]={\"a\":1} ";
    assert!(lines[9].contains(values), "{}", lines[9]);
    let rest = " [0].parameter[9]=2026-01-02 [0].parameter[10]=-3 [0].parameter[11]=1.25 \
        [0].parameter[12]=1999-12-31 23:59:59 ";
    assert!(lines[9].contains(rest), "{}", lines[9]);
    // A cursor goes on with a portal that an earlier request bound.
    means(
        &lines,
        16,
        "[0].message=Execute [0].statement=__asyncpg_portal_6__ [0].sql=select id from t order by id [1].message=S",
    );

    let lines = meanings("php-pdo-pgsql");
    let sql = "SELECT name FROM t WHERE id = $1 AND price > $2";
    assert!(
        lines[6].contains(&format!("[0].sql={sql} [0].parameter[0]=2 [0].parameter[1]=0.5 ")),
        "{}",
        lines[6]
    );

    let lines = meanings("python-psycopg3");
    let sql = "select name from t where id=$1 and at < $2";
    assert!(
        lines[7].contains(&format!("[0].statement=_pg3_0 [0].sql={sql} [0].parameter[0]=3 ")),
        "{}",
        lines[7]
    );
    means(&lines, 1, "[0].message=p [0].body=SCRAM-SHA-256\0\0\0\0 n,,n=,r=B0UgDWmKIMX5XJuDxvUkej56");
}

/// Another run gives other numbers to statements, and the client other names: what is meant stays the same.
#[test]
fn the_number_of_a_statement_does_not_matter() {
    let capture = capture("php-pdo-mysql");
    let talks = talks(&capture, usize::MAX).0;
    let said = |shift: u8| {
        let mut state = ConnectionState::default();
        let mut lines = Vec::new();
        for talk in &talks {
            let (mut request, mut response) = (talk.request.clone(), talk.response.clone());
            match request.get(4) {
                Some(0x17 | 0x19 | 0x1a) if request[3] == 0 => request[5] += shift,
                Some(0x16) if request[3] == 0 => response[5] += shift,
                _ => {}
            }
            lines.push(fields_in(&state, &request));
            state.exchange(&request, &response);
        }
        lines
    };
    assert_eq!(said(0), said(40));
    assert!(said(0).iter().any(|line| line.fields.iter().any(|field| field.name == "parameter[1]")));
}

#[test]
fn the_database_of_a_connection_is_known() {
    let database = |name: &str, talks_seen: usize| {
        let mut state = ConnectionState::default();
        for talk in talks(&capture(name), usize::MAX).0.iter().take(talks_seen) {
            state.exchange(&talk.request, &talk.response);
        }
        state.database().escape_ascii().to_string()
    };
    assert_eq!(database("php-mysqli", 2), "shop");
    assert_eq!(database("php-mysqli", 22), "mysql");
    assert_eq!(database("php-mysqli", 23), "shop");
    assert_eq!(database("node-pg", 1), "shop");
    assert_eq!(database("node-ioredis", 20), "2");
    assert_eq!(database("php-memcached", 20), "");
}

#[test]
fn documents_records_and_structs_are_decoded() {
    let lines = meanings("python-pymongo");
    assert!(
        lines[1].starts_with(
            "command=find database=shop find=t filter._id=1 filter.at.$lt=2026-01-02 00:00:00 limit=1 "
        ),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].contains(" documents[0]._id=65a0c0ffee65a0c0ffee65a0 documents[0].name=new "),
        "{}",
        lines[2]
    );
    assert!(lines[2].contains(" documents[0].tags[2]=2.5 documents[0].tags[3]=NULL "), "{}", lines[2]);
    let lines = meanings("node-mongodb");
    assert!(lines[5].starts_with("command=getMore database=shop getMore=77 collection=t "), "{}", lines[5]);
    assert!(lines[1].contains(" filter.name=^o\0i "), "{}", lines[1].escape_debug());

    let lines = meanings("nginx-php-fpm");
    assert!(lines[0].contains("param.SCRIPT_FILENAME=/srv/www/index.php"), "{}", lines[0]);
    assert!(lines[0].ends_with(" query.id=1"), "{}", lines[0]);
    assert!(lines[1].ends_with(" body.name=a+b body.x=1"), "{}", lines[1]);
    assert!(lines[2].ends_with(" body.a=1"), "{}", lines[2]);
    assert!(lines[3].ends_with(&format!(" body.{}=", "x".repeat(1500))));

    let binary = meanings("python-thrift-binary");
    assert!(
        binary[0].starts_with(
            "method=getOrder argument.1=h\u{e9}llo argument.2=1000 argument.3=-5 argument.4=2.5 "
        )
    );
    assert!(binary[0].contains(" argument.42{0}=k argument.42[0]=9 argument.43=[] argument.44.1[0]=0 "));
    for other in ["python-thrift-binary-framed", "python-thrift-compact", "python-thrift-compact-framed"] {
        assert_eq!(meanings(other), binary, "{other}");
    }

    let lines = meanings("php-memcached-binary");
    means(&lines, 7, "command=get key=user:1 k zz");
    assert!(lines[0].starts_with("command=set key=user:1 "), "{}", lines[0]);
    let lines = meanings("memcached-meta");
    means(&lines, 4, "command=ma key=n options=N0 J5 v");
}

proptest! {
    /// Damaged conversations: nothing panics, no byte is lost, and pieces give the same talks as the whole.
    #[test]
    fn damaged_conversations_are_told_apart_all_the_same(
        pick in 0..FRAMED.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
        lost in prop::option::of(any::<prop::sample::Index>()),
        piece in 1usize..40,
    ) {
        let mut capture = capture(FRAMED[pick].0);
        for (turn, at, value) in damage {
            let turn = turn.index(capture.len());
            let bytes = &mut capture[turn].1;
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(lost) = lost {
            capture.remove(lost.index(capture.len()));
        }
        let (whole, _) = talks(&capture, usize::MAX);
        let (pieces, _) = talks(&capture, piece);
        prop_assert!(whole == pieces);
        let said: usize = capture.iter().map(|(_, bytes)| bytes.len()).sum();
        prop_assert_eq!(whole.iter().map(|talk| talk.request.len() + talk.response.len()).sum::<usize>(), said);
        let mut state = ConnectionState::default();
        for talk in &whole {
            let alone = state.referred(&talk.request);
            prop_assert_eq!(fields_in(&state, &talk.request), fields_in(&alone, &talk.request));
            let now = Said { request: &talk.request, state: &state };
            prop_assert_eq!(fit_response(now, now, &talk.response).map(|fitted| fitted.len()), Ok(talk.response.len()));
            state.exchange(&talk.request, &talk.response);
        }
        for two in whole.windows(2) {
            let [now, then] = [0, 1].map(|at| Said { request: &two[at].request, state: &state });
            let _ = fit_response(now, then, &two[1].response);
        }
    }
}
