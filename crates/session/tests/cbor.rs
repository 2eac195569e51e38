//! Sessions in CBOR: nothing is lost, foreign writers are understood, no input harms.

mod common;

use koala_session::{
    cbor::{self, Error},
    model::{Action, CallOutbound, Session},
};
use minicbor::{Encoder, data::Tag};
use proptest::{collection::vec, prelude::*};
use std::sync::Arc;

fn encoded(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    cbor::encode(session, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_session_comes_back(session in common::session()) {
        let bytes = encoded(&session);
        let (decoded, used) = cbor::decode(&bytes).expect("decodes");
        prop_assert_eq!(used, bytes.len());
        prop_assert_eq!(decoded, session);
    }

    #[test]
    fn connections_of_many_sessions_are_encoded_as_those_of_one(
        sessions in vec(common::session(), 1..4),
        order in vec((any::<prop::sample::Index>(), any::<bool>()), 1..12),
    ) {
        let mut sessions = sessions;
        let mut encoder = cbor::Encoder::default();
        for (index, changes) in order {
            let place = index.index(sessions.len());
            let session = &mut sessions[place];
            if changes && let Some(connection) = session.connections.first_mut() {
                Arc::make_mut(connection).gap ^= true;
            }
            // Somebody else goes on with them.
            let shared = session.clone();
            let mut bytes = Vec::new();
            encoder.encode(&shared, &mut bytes);
            prop_assert_eq!(bytes, encoded(session));
        }
    }

    #[test]
    fn a_torn_session_is_truncated(session in common::session(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&session);
        let cut = cut.index(bytes.len());
        prop_assert_eq!(cbor::decode(&bytes[..cut]), Err(Error::Truncated { offset: cut }));
    }

    #[test]
    fn a_sequence_gives_all_but_a_torn_end(
        sessions in vec(common::session(), 0..4),
        torn in common::session(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes: Vec<u8> = sessions.iter().flat_map(encoded).collect();
        let whole = bytes.len();
        let torn = encoded(&torn);
        bytes.extend_from_slice(&torn[..cut.index(torn.len())]);
        let mut split = cbor::split(&bytes);
        for session in &sessions {
            prop_assert_eq!(split.next(), Some(Ok(session.clone())));
        }
        prop_assert_eq!(split.offset(), whole);
        if bytes.len() > whole {
            prop_assert_eq!(split.next(), Some(Err(Error::Truncated { offset: bytes.len() })));
        }
        prop_assert_eq!(split.next(), None);
        prop_assert_eq!(split.offset(), whole);
    }

    #[test]
    fn any_bytes_are_harmless(bytes in vec(any::<u8>(), 0..200)) {
        let _ = cbor::decode(&bytes);
        // Ends: each step goes on or is the last.
        prop_assert!(cbor::split(&bytes).count() <= bytes.len());
    }

    #[test]
    fn a_damaged_session_is_harmless(
        session in common::session(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encoded(&session);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = cbor::decode(&bytes);
        prop_assert!(cbor::split(&bytes).count() <= bytes.len());
    }
}

#[test]
fn what_is_empty_is_left_out() {
    let session = Session { session_id: "1-2".to_owned(), ..Session::default() };
    assert_eq!(encoded(&session), b"\xa1\x69SessionId\x631-2");
    assert_eq!(encoded(&Session::default()), b"\xa1\x69SessionId\x60");
    let session = Session { incomplete: true, ..Session::default() };
    assert_eq!(encoded(&session), b"\xa2\x69SessionId\x60\x6aIncomplete\xf5");
}

#[test]
fn a_typical_session_is_small() {
    let session = common::typical();
    let payload = session.call_from_inbound.as_ref().map_or(0, |call| call.request.len())
        + session.return_inbound.as_ref().map_or(0, |response| response.response.len());
    let bytes = encoded(&session);
    assert!(bytes.len() < 1024, "{} bytes, of which {payload} are payload", bytes.len());
}

#[test]
fn a_session_as_another_writer_has_it_is_understood() {
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes);
    write_as_another(&mut out).expect("a vector takes all");
    let (session, used) = cbor::decode(&bytes).expect("decodes");
    assert_eq!(used, bytes.len());
    assert_eq!(
        session,
        Session {
            session_id: "1-2".to_owned(),
            context: "boot".to_owned(),
            thread_id: 9,
            process_id: 1 << 40,
            actions: vec![Action::from(CallOutbound {
                action_index: 3,
                socket_fd: -1,
                request: b"text".to_vec(),
                response: b"one two".to_vec(),
                ..CallOutbound::default()
            })],
            ..Session::default()
        }
    );
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// Tags, indefinite lengths, unknown and foreign keys, floats for integers, text for bytes, `ActionType` last.
fn write_as_another(out: &mut Encoder<&mut Vec<u8>>) -> Written {
    out.tag(Tag::new(55799))?.begin_map()?;
    out.str("Unknown")?.begin_array()?.begin_map()?.u8(1)?.null()?.end()?.end()?;
    out.u8(7)?.str("a key that is no text")?;
    out.str("ProcessId")?.f64((1_u64 << 40) as f64)?;
    out.str("Context")?.bytes(b"boot")?;
    out.str("TraceId")?.null()?;
    out.str("TraceHeader")?.undefined()?;
    out.begin_str()?.str("Thread")?.str("Id")?.end()?.u64(9)?;
    out.str("Actions")?.begin_array()?;
    out.begin_map()?;
    out.str("Peer")?.map(0)?;
    out.str("Request")?.str("text")?;
    out.str("Response")?.tag(Tag::new(64))?.begin_bytes()?.bytes(b"one ")?.bytes(b"two")?.end()?;
    out.str("ActionIndex")?.f32(3.0)?;
    out.str("SocketFD")?.i8(-1)?;
    out.str("ActionType")?.str("CallOutbound")?;
    out.end()?.end()?;
    out.str("SessionId")?.str("1-2")?;
    out.end()?;
    Ok(())
}

#[test]
fn errors_name_what_is_wrong_and_where() {
    let message = |bytes: &[u8]| cbor::decode(bytes).expect_err("is wrong").to_string();
    assert_eq!(message(b""), "at byte 0: ends in the middle of a session");
    assert_eq!(message(b"\x07"), "at byte 0: session: expected a map, found a number");
    assert_eq!(message(b"\xa1\x69SessionId\x07"), "at byte 11: SessionId: expected text, found a number");
    assert_eq!(
        message(b"\xa1\x69SessionId\x41\xff"),
        "at byte 11: SessionId: expected text, found bytes that are no UTF-8"
    );
    assert_eq!(
        message(b"\xa1\x63Pid\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
        "at byte 5: Pid: expected a number of 32 bits, found 18446744073709551615"
    );
    assert_eq!(
        message(b"\xa1\x63Pid\xf9\x3e\x00"),
        "at byte 5: Pid: expected a number of 32 bits, found 1.5"
    );
    assert_eq!(
        message(b"\xa1\x67Actions\x81\xa1\x6aActionType\x63Fly"),
        "at byte 22: ActionType: expected CallOutbound, SendUDP, AppendFile, ReadStorage or \
         ResolveName, found \"Fly\""
    );
    assert_eq!(
        message(b"\xa1\x67Actions\x81\xa0"),
        "at byte 10: ActionType: expected text, found an action without it"
    );
}

#[test]
fn a_foreign_item_does_not_hide_what_follows() {
    let session = Session { session_id: "1-2".to_owned(), ..Session::default() };
    let mut bytes = encoded(&session);
    let first = bytes.len();
    bytes.extend_from_slice(b"\x82\x01\x02");
    cbor::encode(&session, &mut bytes);
    let items: Vec<_> = cbor::split(&bytes).collect();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0], Ok(session.clone()));
    assert_eq!(items[1].as_ref().map_err(Error::offset), Err(first));
    assert_eq!(items[2], Ok(session));
}

#[test]
fn an_announced_length_allocates_nothing() {
    // An array of 2^64 - 1 actions, and bytes as long, of which nothing is there.
    let array = b"\xa1\x67Actions\x9b\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(cbor::decode(array), Err(Error::Truncated { offset: array.len() }));
    let bytes = b"\xa1\x6bTraceHeader\x5b\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(cbor::decode(bytes), Err(Error::Truncated { offset: bytes.len() }));
    // Deep nesting of what is skipped.
    let mut deep = b"\xa1\x67Unknown".to_vec();
    deep.resize(100_000, 0x9f);
    assert_eq!(cbor::decode(&deep), Err(Error::Truncated { offset: deep.len() }));
}
