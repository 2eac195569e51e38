//! What a recording tells of the fields of its own calls: applications that nobody wrote the matcher for.

use koala_matcher::{Decision, Index, RecordedCall, RecordedTalk, Strategy};
use koala_protocol::ConnectionState;
use proptest::prelude::{any, prop_assert_eq, proptest};

const PEER: &str = "10.0.0.1:80";

/// The index over talks: what was asked, and what was answered.
fn recorded(talks: &[(Vec<u8>, &str)]) -> Index {
    let state = ConnectionState::default();
    let answers: Vec<Vec<u8>> = talks
        .iter()
        .enumerate()
        .map(|(at, (_, body))| {
            format!("HTTP/1.1 200 OK\r\nDate: Sat, 14 Nov 2026 02:05:{at:02} GMT\r\n\r\n{body}").into_bytes()
        })
        .collect();
    Index::of_talks(
        Strategy::Auto,
        talks.iter().zip(&answers).map(|((request, _), response)| RecordedTalk {
            call: RecordedCall::new(PEER, request),
            response,
            state: &state,
        }),
    )
}

fn ask(talks: &[(Vec<u8>, &str)], request: &[u8]) -> Decision {
    recorded(talks).find(PEER, request)
}

fn get(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n{headers}\r\n").into_bytes()
}

fn post(target: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: shop\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn json(target: &str, body: &str) -> Vec<u8> {
    post(target, "application/json", body)
}

fn form(target: &str, body: &str) -> Vec<u8> {
    post(target, "application/x-www-form-urlencoded", body)
}

#[test]
fn a_header_that_selects_is_asked_for() {
    for (name, [one, other, third]) in [
        ("X-Shop", ["berlin", "paris", "rome"]),
        ("X-Tenant", ["7", "8", "9"]),
        ("Accept-Language", ["de", "fr", "it"]),
        ("Accept", ["text/html", "application/json", "text/xml"]),
    ] {
        let talks = [
            (get("/prices", &[(name, one)]), "Preis: 5"),
            (get("/prices", &[(name, other)]), "prix: 6"),
            (get("/menu", &[(name, one)]), "Speisen"),
        ];
        let traced = |path: &str, value: &str| get(path, &[(name, value), ("X-New", "1")]);
        assert_eq!(ask(&talks, &traced("/prices", other)).index, Some(1), "{name}");
        assert_eq!(ask(&talks, &traced("/prices", one)).index, Some(0), "{name}");
        let decision = ask(&talks, &traced("/prices", third));
        assert_eq!(decision.index, None, "{name}: {decision:#?}");
        let told = decision.differences.join("\n").to_lowercase();
        assert!(told.contains(&format!("header {}", name.to_lowercase())), "{name}: {told}");
        assert_eq!(ask(&talks, &traced("/menu", other)).index, None, "{name}: for every path");
        assert_eq!(ask(&talks, &get("/prices", &[("X-New", "1")])).index, None, "{name}: none is another");
    }
}

#[test]
fn a_header_of_which_nothing_depends_may_change() {
    let talks = [
        (get("/prices", &[("X-Client", "a")]), "5"),
        (get("/prices", &[("X-Client", "b")]), "5"),
        (get("/menu", &[("X-Client", "a")]), "6"),
    ];
    assert_eq!(ask(&talks, &get("/prices", &[("X-Client", "c")])).index, Some(0));
    // New each time, while the world goes on.
    let talks = ["7fa", "b21", "c33", "d94"].map(|id| (get("/next", &[("X-Salt", id)]), id));
    assert_eq!(ask(&talks, &get("/next", &[("X-Salt", "e05")])).index, Some(0));
    // Nobody knows: one call is no comparison.
    let talks = [(get("/prices", &[("Accept-Language", "de")]), "Preis")];
    let decision = ask(&talks, &get("/prices", &[("Accept-Language", "fr")]));
    assert_eq!(
        (decision.index, &*decision.differences),
        (Some(0), &["header accept-language: de -> fr".into()][..])
    );
}

#[test]
fn another_user_is_another_call() {
    let [ann, bob, eve] = [
        "96ed215605752205e1a14b1b93bfbb8b",
        "b7ac4752a1a4af2f1bd669d830d72b52",
        "0dd5bf37ff2b76a1bd09a9f4c5a05d5e",
    ];
    let me = |token: &str, more: &[(&str, &str)]| {
        let token = format!("Bearer {token}");
        get("/me", &[&[("Authorization", token.as_str())], more].concat())
    };
    let talks = [(me(ann, &[]), "Ann"), (me(bob, &[]), "Bob")];
    assert_eq!(ask(&talks, &me(bob, &[("X-New", "1")])).index, Some(1));
    assert_eq!(ask(&talks, &me(ann, &[("X-New", "1")])).index, Some(0));
    assert_eq!(ask(&talks, &me(eve, &[])).index, None);
    // One user whose token was renewed.
    let talks = [(me(ann, &[]), "Ann"), (me(bob, &[]), "Ann")];
    assert_eq!(ask(&talks, &me(eve, &[])).index, Some(0));
    // Each request is signed anew: that the answers differ proves nothing.
    let signed = |signature: &str| {
        let proof =
            format!("AWS4-HMAC-SHA256 Credential=AKIA/20261114/eu/s3/aws4_request, Signature={signature}");
        get("/queue", &[("Authorization", &proof)])
    };
    let talks = [(signed(ann), "first"), (signed(bob), "second")];
    assert_eq!(ask(&talks, &signed(eve)).index, Some(0));
}

#[test]
fn a_token_says_who_is_asking() {
    // Of {"sub":"ann","iat":1795358265}, renewed, and of {"sub":"bob","iat":1795358265}.
    let me = |claims: &str, signature: &str| {
        let token = format!("Bearer eyJhbGciOiJIUzI1NiJ9.{claims}.{signature}");
        get("/me", &[("Authorization", &token)])
    };
    let ann = me("eyJzdWIiOiJhbm4iLCJpYXQiOjE3OTUzNTgyNjV9", "c2lnbmVkIGJ5IG9uZQ");
    let renewed = me("eyJzdWIiOiJhbm4iLCJpYXQiOjE3OTUzNTk5OTl9", "c2lnbmVkIGFnYWlu");
    let bob = me("eyJzdWIiOiJib2IiLCJpYXQiOjE3OTUzNTgyNjV9", "c2lnbmVkIGFub3RoZXI");
    let talks = [(ann.clone(), "Ann")];
    assert_eq!(ask(&talks, &renewed).index, Some(0));
    let decision = ask(&talks, &bob);
    assert_eq!(decision.index, None);
    assert_eq!(decision.differences, [r#"header authorization sub: "ann" -> "bob""#]);
    let talks = [(ann, "Ann"), (bob, "Bob")];
    assert_eq!(ask(&talks, &renewed).index, Some(0));
    // What only looks like one is compared as it is.
    let odd = [(me("no json", "x"), "?")];
    assert_eq!(ask(&odd, &me("no json", "x")).index, Some(0));
    assert_eq!(ask(&odd, &me("no json!", "x")).index, None);
}

#[test]
fn remote_calls_are_told_by_method_and_parameters() {
    let call = |method: &str, id: &str, number: u32| {
        json("/rpc", &format!(r#"{{"method":"{method}","params":{{"id":{id}}},"id":{number}}}"#))
    };
    let talks =
        [(call("getUser", "1", 1), "Ann"), (call("getUser", "2", 2), "Bob"), (call("drop", "1", 3), "ok")];
    assert_eq!(ask(&talks, &call("getUser", "2", 77)).index, Some(1));
    assert_eq!(ask(&talks, &call("getUser", "1", 78)).index, Some(0));
    assert_eq!(ask(&talks, &call("getUser", "3", 79)).index, None);
    assert_eq!(ask(&talks, &call("drop", "2", 80)).index, None);
    // An id that looks generated, and is one that is held: it came back.
    let batch = |number: u32, id: u32| {
        json("/rpc", &format!(r#"[{{"jsonrpc":"2.0","method":"get","params":{{"id":{id}}},"id":{number}}}]"#))
    };
    assert_eq!(ask(&[(batch(1, 7), "[]")], &batch(9, 7)).index, Some(0));
    assert_eq!(ask(&[(batch(1, 7), "[]")], &batch(1, 8)).index, None);
    let [one, other, third] = [
        r#""3f2504e0-4f89-11d3-9a0c-0305e82c3301""#,
        r#""7c9e6679-7425-40de-944b-e07fc1f90ae7""#,
        r#""16fd2706-8baf-433b-82eb-8c7fada847da""#,
    ];
    let plain = |id: &str| json("/call", &format!(r#"{{"method":"getUser","params":{{"uid":{id}}}}}"#));
    let talks = [(plain(one), "Ann"), (plain(other), "Bob"), (plain(one), "Ann")];
    assert_eq!(ask(&talks, &plain(third)).index, None);
    // One that is written, and generated: the answers count on.
    let order = |id: &str| json("/orders", &format!(r#"{{"uid":{id},"sum":5}}"#));
    let talks = [(order(one), r#"{"order":1}"#), (order(other), r#"{"order":2}"#)];
    assert_eq!(ask(&talks, &order(third)).index, Some(0));
}

#[test]
fn graphql_is_told_by_operation_and_variables() {
    let call = |operation: &str, variables: &str| {
        let query = format!("query {operation}($id: ID!) {{ {operation}(id: $id) {{ name }} }}");
        json(
            "/graphql",
            &format!(r#"{{"operationName":"{operation}","query":"{query}","variables":{variables}}}"#),
        )
    };
    let talks = [
        (call("user", r#"{"id":"u1"}"#), "Ann"),
        (call("user", r#"{"id":"u2"}"#), "Bob"),
        (call("order", r#"{"id":"u1"}"#), "Book"),
        (call("orders", r#"{"first":10}"#), "ten"),
        (call("orders", r#"{"first":10,"after":"YXJyYXk6OQ"}"#), "more"),
    ];
    for (at, (request, _)) in talks.iter().enumerate() {
        let changed = String::from_utf8(request.clone()).expect("text").replace("Host:", "X-New: 1\r\nHost:");
        assert_eq!(ask(&talks, changed.as_bytes()).index, Some(at));
    }
    for other in [
        call("user", r#"{"id":"u3"}"#),
        call("order", r#"{"id":"u2"}"#),
        call("orders", r#"{"first":10,"after":"YXJyYXk6MTk"}"#),
        call("orders", r#"{"first":20}"#),
    ] {
        let decision = ask(&talks, &other);
        assert_eq!(decision.index, None, "{decision:#?}");
    }
}

#[test]
fn forms_carry_what_is_new_each_time() {
    let call =
        |token: &str, sum: u32| form("/pay", &format!("_csrf={token}&csrf_token={token}&sum={sum}&to=bob"));
    let talks = [(call("a1b2c3", 5), "paid 5"), (call("d4e5f6", 6), "paid 6")];
    assert_eq!(ask(&talks, &call("9f8e7d", 6)).index, Some(1));
    assert_eq!(ask(&talks, &call("9f8e7d", 7)).index, None);
}

#[test]
fn queries_carry_what_is_new_each_time() {
    for name in ["_", "cb", "ts", "nonce"] {
        let call = |page: u32, cb: u64| get(&format!("/list?page={page}&{name}={cb}"), &[]);
        let talks = [(call(1, 1_695_358_265_101), "one"), (call(2, 1_695_358_265_707), "two")];
        assert_eq!(ask(&talks, &call(2, 1_795_358_265_911)).index, Some(1), "{name}");
        assert_eq!(ask(&talks, &call(3, 1_795_358_265_911)).index, None, "{name}");
    }
    // Under a name that says nothing, answers must prove it.
    let call = |item: u32, r: u32| get(&format!("/item/{item}?r={r}"), &[]);
    let bodies = ["book", "pen", "cup", "book", "pen", "cup"];
    let talks: Vec<_> = (0..).zip(bodies).map(|(at, body)| (call(at % 3, 100 + at * 37), body)).collect();
    assert_eq!(ask(&talks, &call(1, 9_999)).index, Some(1));
    assert_eq!(ask(&talks, &call(3, 9_999)).index, None);
    assert_eq!(ask(&talks[..4], &call(1, 9_999)).index, None, "too few to know");
    let alike: Vec<_> = talks.iter().map(|(request, _)| (request.clone(), "ok")).collect();
    assert_eq!(ask(&alike, &call(1, 9_999)).index, None, "one answer for all proves nothing");
    let matters: Vec<_> = talks
        .iter()
        .zip(["a", "b", "c", "d", "e", "f"])
        .map(|((request, _), body)| (request.clone(), body))
        .collect();
    assert_eq!(ask(&matters, &call(1, 9_999)).index, None, "it matters");
}

#[test]
fn several_values_may_be_new_each_time() {
    let call = |item: &str, at: u32| {
        json("/find-item", &format!(r#"{{"item":"{item}","seq":{at},"salt":"s{}"}}"#, at * 31))
    };
    let items = ["a", "b", "c", "b", "a", "c", "a"];
    let bodies = items.map(|item| format!("all of {item}"));
    let talks: Vec<_> =
        (7..).zip(&items).zip(&bodies).map(|((at, item), body)| (call(item, at), &**body)).collect();
    assert_eq!(ask(&talks, &call("b", 990)).index, Some(1));
    assert_eq!(ask(&talks, &call("d", 990)).index, None);
    // But what is called an id is asked for, whatever the answers.
    let call = |item: &str, user: u32| json("/offers", &format!(r#"{{"item":"{item}","user_id":{user}}}"#));
    let talks: Vec<_> =
        (7..).zip(&items).zip(&bodies).map(|((at, item), body)| (call(item, at), &**body)).collect();
    assert_eq!(ask(&talks, &call("b", 990)).index, None);
}

#[test]
fn written_values_that_are_generated_may_change() {
    let call = |name: &str, key: &str, at: &str| {
        json("/users", &format!(r#"{{"name":"{name}","idempotency_key":"{key}","created_at":"{at}"}}"#))
    };
    let talks = [
        (call("ann", "k-1", "2026-11-14T02:05:28Z"), r#"{"id":1}"#),
        (call("bob", "k-2", "2026-11-14T02:05:29Z"), r#"{"id":2}"#),
    ];
    assert_eq!(ask(&talks, &call("bob", "k-9", "2026-12-24T18:00:00Z")).index, Some(1));
    assert_eq!(ask(&talks, &call("eve", "k-9", "2026-12-24T18:00:00Z")).index, None);
}

#[test]
fn an_argument_that_may_be_left_out_decides_where_it_did() {
    let talks = [
        (get("/list", &[]), "all"),
        (get("/list?only=new", &[]), "some"),
        (get("/list?lang=de", &[]), "alle"),
    ];
    assert_eq!(ask(&talks, &get("/list?lang=de", &[("X-New", "1")])).index, Some(2));
    for other in ["/list?only=old", "/list?lang=fr", "/list?lang=de&only=new"] {
        let decision = ask(&talks, &get(other, &[]));
        assert_eq!(decision.index, None, "{other}: {decision:#?}");
    }
}

#[test]
fn pages_are_told_apart() {
    for (one, other, third) in [
        ("page=1", "page=2", "page=3"),
        ("offset=0&limit=10", "offset=10&limit=10", "offset=20&limit=10"),
        ("cursor=abc", "cursor=def", "cursor=ghi"),
        ("p=1", "p=2", "p=3"),
    ] {
        let call = |query: &str| get(&format!("/list?{query}"), &[("X-New", "1")]);
        let talks =
            [(get(&format!("/list?{one}"), &[]), "first"), (get(&format!("/list?{other}"), &[]), "second")];
        assert_eq!(ask(&talks, &call(other)).index, Some(1), "{other}");
        assert_eq!(ask(&talks, &call(third)).index, None, "{third}");
    }
}

fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 1).expect("short").to_le_bytes();
    [&length[..], &[3], sql.as_bytes()].concat()
}

#[test]
fn an_order_of_rows_decides_where_it_did() {
    let call = |order: &str| query(&format!("SELECT a FROM t WHERE b = 1 ORDER BY {order}"));
    let talks = [(call("a"), "1 2 3"), (call("c"), "3 1 2")];
    assert_eq!(ask(&talks, &query("SELECT a, x FROM t WHERE b = 1 ORDER BY c")).index, Some(1));
    assert_eq!(ask(&talks, &call("d")).index, None);
    let alone = [(call("a"), "1 2 3"), (query("SELECT x FROM t"), "4")];
    assert_eq!(ask(&alone, &call("d")).index, Some(0), "nobody knows");
}

#[test]
fn what_is_overwritten_decides_nothing() {
    let set = |value: &str| format!("*3\r\n$6\r\nGETSET\r\n$1\r\na\r\n$1\r\n{value}\r\n").into_bytes();
    let talks = [(set("1"), "$1\r\n0\r\n"), (set("2"), "$1\r\n1\r\n")];
    assert_eq!(ask(&talks, &set("9")).index, Some(0));
}

#[test]
fn fields_weigh_by_how_much_they_tell() {
    let call = |sku: u32, extra: &str| {
        json("/stock", &format!(r#"{{"shop":"a","kind":"b","unit":"kg","mode":"c","sku":{sku}{extra}}}"#))
    };
    let calls: Vec<_> = (0..8).map(|sku| call(sku, "")).collect();
    let mut index = Index::new(Strategy::Auto, calls.iter().map(|request| RecordedCall::new(PEER, request)));
    let decision = index.find(PEER, &call(3, r#","vip":true"#));
    assert_eq!(decision.index, Some(3), "{decision:#?}");
    // Four fields that never differ count as one, the key as two; what is new as one of which nothing is known.
    let body = decision.fields.iter().find(|field| field.name == "body").expect("has a body");
    assert!((body.score - 0.75).abs() < 1e-6 && (body.weight - 4.0).abs() < 1e-6, "{body:?}");
    // Without the one that tells, too little speaks for any of them.
    let keyless = json("/stock", r#"{"shop":"a","kind":"b","unit":"kg","mode":"c"}"#);
    let decision = index.find(PEER, &keyless);
    assert_eq!(decision.index, None, "{decision:#?}");
}

proptest! {
    /// Whatever was answered: what is learnt never keeps a recorded call from being found again.
    #[test]
    fn a_recorded_call_is_found_with_something_new(
        calls in proptest::collection::vec((0u8..3, 0u8..4, 0u8..3, 0u8..3, any::<u16>(), 0u8..4), 1..24),
        start in any::<proptest::sample::Index>(),
    ) {
        let talks: Vec<_> = calls
            .iter()
            .map(|(path, query, shop, token, seq, answer)| {
                let query = ["", "?lang=de", "?lang=fr", "?only=new"][usize::from(*query)];
                let shop = ["", "a", "b"][usize::from(*shop)];
                let tokens = ["", "Bearer 96ed215605752205e1a14b1b93bfbb8b", "Bearer b7ac4752a1a4af2f1bd669d830d72b52"];
                let body = format!(r#"{{"seq":{seq},"n":{path}}}"#);
                let request = format!(
                    "POST /p{path}{query} HTTP/1.1\r\nHost: a\r\nX-Shop: {shop}\r\nAuthorization: {}\r\n\r\n{body}",
                    tokens[usize::from(*token)],
                );
                (request.into_bytes(), ["a", "b", "c", "d"][usize::from(*answer)])
            })
            .collect();
        let mut index = recorded(&talks);
        let start = start.index(talks.len());
        for at in (start..talks.len()).chain(0..start) {
            let request = String::from_utf8(talks[at].0.clone()).expect("text").replace("\r\n\r\n", "\r\nX-New: 1\r\n\r\n");
            let decision = index.find(PEER, request.as_bytes());
            let found = decision.index.map(|found| &talks[found].0);
            prop_assert_eq!(found, Some(&talks[at].0), "{:#?}", decision);
        }
    }
}
