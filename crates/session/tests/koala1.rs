//! Sessions in koala 1.x's JSON: its own files come back to the byte, and so does whatever the model holds.

mod common;

use std::{fs, path::Path};

use koala_session::{
    cbor,
    koala1::{self, Error},
    model::{Action, AppendFile, CallOutbound, Session},
};
use proptest::{collection::vec, prelude::*};

fn files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/koala1");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("can be listed"))
        .filter(|entry| entry.file_name() != "README.md")
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("can be read"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn files_of_koala_1_come_back_to_the_byte() {
    let files = files();
    assert_eq!(files.len(), 8);
    for (name, bytes) in files {
        let session = koala1::from_json(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(session.session_id, name);
        assert_eq!(koala1::to_json(&session).as_bytes(), bytes, "{name}");
        let mut encoded = Vec::new();
        cbor::encode(&session, &mut encoded);
        assert_eq!(cbor::decode(&encoded), Ok((session, encoded.len())), "{name}");
        assert!(encoded.len() < bytes.len() / 2, "{name}: {} of {}", encoded.len(), bytes.len());
    }
}

#[test]
fn payloads_of_koala_1_are_the_bytes_that_were_sent() {
    let (_, bytes) = files().swap_remove(0);
    let session = koala1::from_json(&bytes).expect("is a session");
    // FCGI_BEGIN_REQUEST of version 1 and an empty FCGI_STDIN at the end.
    let call = session.call_from_inbound.expect("has a request");
    assert!(call.request.starts_with(b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01"));
    assert!(call.request.ends_with(b"\x01\x05\x00\x01\x00\x00\x00\x00"));
    assert_eq!((call.peer.ip.as_str(), call.peer.port), ("127.0.0.1", 46198));
    assert_eq!(session.return_inbound.expect("has a response").action_index, 9);
    assert_eq!(session.actions.len(), 9);
    let Action::CallOutbound(greeting) = &session.actions[0] else { panic!("MySQL greets first") };
    // MySQL: the length of the packet in three bytes, and its number.
    assert!(greeting.request.is_empty());
    assert_eq!(greeting.response.len(), 4 + usize::from(greeting.response[0]));
    let Action::CallOutbound(insert) = &session.actions[3] else { panic!("an INSERT is fourth") };
    assert_eq!(insert.request.len(), 4 + usize::from(insert.request[0]));
    assert!(insert.request.ends_with("(3,'纸张',560)".as_bytes()));
    let append = AppendFile {
        action_index: 7,
        occurred_at: 1_795_358_265_995_514_984,
        file_name: "/srv/ph/access.log".to_owned(),
        content: b"view 1 1\n".to_vec(),
        ..AppendFile::default()
    };
    assert_eq!(session.actions[7], Action::AppendFile(append));
}

proptest! {
    #[test]
    fn a_session_comes_back(session in common::session()) {
        let json = koala1::to_json(&session);
        let back = koala1::from_json(json.as_bytes());
        prop_assert_eq!(back.as_ref(), Ok(&session), "{}", json);
        prop_assert_eq!(koala1::to_json(&session), json);
    }

    #[test]
    fn it_is_json_as_go_indents_it(session in common::session()) {
        let json = koala1::to_json(&session);
        let value: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
        // serde_json's pretty form is Go's but for the escapes in strings.
        let pretty = serde_json::to_string_pretty(&value).expect("is written");
        let shape = |text: &str| text.lines().map(|line| line.len() - line.trim_start_matches(' ').len()).collect::<Vec<_>>();
        prop_assert_eq!(shape(&json), shape(&pretty));
        let unescaped = json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
        prop_assert!(!unescaped, "{}", json);
    }

    #[test]
    fn any_bytes_are_harmless(bytes in vec(any::<u8>(), 0..200)) {
        let _ = koala1::from_json(&bytes);
    }

    #[test]
    fn a_damaged_file_is_harmless(
        session in common::session(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = koala1::to_json(&session).into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = koala1::from_json(&bytes);
    }
}

#[test]
fn a_session_without_extension_has_no_member_for_it() {
    let plain = Session { session_id: "1-2".to_owned(), ..Session::default() };
    assert_eq!(
        koala1::to_json(&plain),
        r#"{
  "Context": "",
  "ThreadId": 0,
  "SessionId": "1-2",
  "TraceHeader": null,
  "NextSessionId": "",
  "CallFromInbound": null,
  "ReturnInbound": null,
  "Actions": null,
  "TraceId": "",
  "SpanId": ""
}"#
    );
}

#[test]
fn what_koala_1_lacks_is_in_one_member_at_the_end() {
    let mut session = common::typical();
    session.trace_header = Some(b"\x00\x02ti\x00\x03a\xffb".to_vec());
    session.connections.truncate(1);
    session.actions.insert(0, Action::AppendFile(AppendFile::default()));
    session.return_inbound.as_mut().expect("has a response").action_index = 0;
    let Action::CallOutbound(call) = &mut session.actions[1] else { panic!("is a call") };
    call.action_index = 2;
    call.ambiguous = true;
    let json = koala1::to_json(&session);
    assert!(json.contains("\"TraceHeader\": {\n    \"ti\": \"a\\\\xffb\"\n  },\n"), "{json}");
    let (_, extension) = json.split_once("  \"SpanId\": \"\",\n").expect("something follows");
    assert_eq!(
        extension,
        r#"  "Extension": {
    "ProcessId": 1,
    "Pid": 7060,
    "Connections": [
      {
        "ConnectionId": 1,
        "Direction": "inbound",
        "Kind": "tcp",
        "Local": "127.0.0.1:9301",
        "Peer": "127.0.0.1:36888",
        "Protocol": "http"
      }
    ],
    "CallFromInbound": {
      "ConnectionId": 1
    },
    "Actions": [
      {
        "Position": 2,
        "ConnectionId": 2,
        "Ambiguous": true
      }
    ]
  }
}"#
    );
    assert_eq!(koala1::from_json(json.as_bytes()), Ok(session));
}

#[test]
fn a_thread_id_of_koala_1_may_be_negative() {
    let json = koala1::to_json(&Session::default()).replace("\"ThreadId\": 0", "\"ThreadId\": -5");
    let session = koala1::from_json(json.as_bytes()).expect("is a session");
    assert_eq!(session.thread_id, u32::MAX - 4);
    assert_eq!(koala1::to_json(&session), json);
}

#[test]
fn errors_name_the_member() {
    let message = |json: &str| koala1::from_json(json.as_bytes()).expect_err("is wrong").to_string();
    assert_eq!(message("[]"), "session: expected an object, found a list");
    assert!(message("{\"Context\": ").starts_with("not JSON: EOF while parsing a value at line 1"));
    assert_eq!(message(r#"{"Context": 1}"#), "Context: expected a string, found 1");
    assert_eq!(
        message(r#"{"Actions": [{"ActionType": "CallOutbound", "Peer": {"Port": 65536}}]}"#),
        "Actions[0].Peer.Port: expected a whole number in range, found 65536"
    );
    assert_eq!(
        message(r#"{"Actions": [{"ActionType": "Fly"}]}"#),
        "Actions[0].ActionType: expected ReturnInbound, CallOutbound, SendUDP, AppendFile or ReadStorage, \
         found \"Fly\""
    );
    assert_eq!(
        message(r#"{"ReturnInbound": {"Response": "a"}, "Actions": [{"ActionType": "ReturnInbound"}]}"#),
        "Actions[0]: expected the ReturnInbound of the session, found another"
    );
    assert_eq!(
        message(r#"{"Extension": {"Actions": [{"Position": 3}]}}"#),
        "Extension.Actions[0].Position: expected the position of a CallOutbound, SendUDP or \
         AppendFile, found 3"
    );
    assert_eq!(message(r#"{"SpanId": "\\xff"}"#), "SpanId: expected text, found bytes that are no UTF-8");
}

#[test]
fn errors_are_values() {
    assert!(matches!(koala1::from_json(b"{"), Err(Error::Json(_))));
    let call = CallOutbound { socket_fd: i32::MIN, ..CallOutbound::default() };
    let session = Session { actions: vec![call.into()], ..Session::default() };
    assert_eq!(koala1::from_json(koala1::to_json(&session).as_bytes()), Ok(session));
}
