//! What the fuzz targets do with their bytes: see `README.md`.

use koala_events::{Arena, ArenaConfig, EventKind, Reader, Record, Source, ThreadState, Writer};
use koala_protocol::decode::{self, fields, sql};
use koala_protocol::{
    ConnectionState, Conversation, Expected, Protocol, RequestFramer, ResponseFramer, Said, Step,
    detect_request, fit_response,
};
use koala_session::{cbor, koala1};
use std::hint::black_box;

const PROTOCOLS: [Protocol; 8] = [
    Protocol::Http,
    Protocol::Redis,
    Protocol::MySql,
    Protocol::Postgres,
    Protocol::Memcached,
    Protocol::MongoDb,
    Protocol::FastCgi,
    Protocol::Thrift,
];

/// One request: nothing panics, and the fields that people see are in proportion to it.
pub fn decode(data: &[u8]) {
    let all = fields::fields(data).fields;
    let size: usize = all.iter().map(|field| field.name.len() + field.value.len()).sum();
    assert!(size <= data.len() * 64 + (1 << 20), "{size} bytes of fields from {}", data.len());
    for dialect in [sql::Dialect::MySql, sql::Dialect::Postgres] {
        let statement = sql::Statement::parse(data, dialect);
        black_box(statement.items().iter().map(|item| statement.text(item).len()).sum::<usize>());
    }
    black_box(decode::redis::describe(data));
}

/// The talks of a connection: what a request refers to is enough to decode it as the whole state does.
pub fn state(data: &[u8]) {
    let mut state = ConnectionState::default();
    let mut before: (&[u8], &[u8]) = (&[], &[]);
    for talk in chunks(data).collect::<Vec<_>>().chunks(2) {
        let request = talk[0].1;
        let response = talk.get(1).map(|(_, bytes)| *bytes).unwrap_or_default();
        let alone = state.referred(request);
        assert_eq!(fields::fields_in(&state, request), fields::fields_in(&alone, request));
        let now = Said { request, state: &state };
        let fitted = fit_response(now, now, response).expect("it fits its own request");
        assert_eq!(fitted.len(), response.len());
        let _ = black_box(fit_response(now, Said { request: before.0, state: &alone }, before.1));
        let fitted = fitted.into_owned();
        state.exchange(request, &fitted);
        before = (request, response);
    }
    black_box(state.database().len());
}

/// One side of a connection: cutting the stream into pieces changes nothing.
pub fn frame_request(data: &[u8]) {
    let [pick, piece, stream @ ..] = data else { return };
    let protocol = PROTOCOLS[usize::from(*pick) % PROTOCOLS.len()];
    let ends = |piece: usize| {
        let mut framer = RequestFramer::new(protocol);
        let mut expected = Vec::new();
        let (found, invalid) = ends(stream, piece, |bytes| {
            let step = framer.push(bytes);
            if matches!(step, Step::End(_) | Step::Switch(_)) {
                expected.push(framer.expected());
            }
            step
        });
        (found, invalid, expected)
    };
    assert_eq!(ends(stream.len().max(1)), ends(usize::from(*piece).max(1)));
    black_box(detect_request(stream));
}

/// The other side, for each kind of request.
pub fn frame_response(data: &[u8]) {
    let [pick, piece, asked, stream @ ..] = data else { return };
    let protocol = PROTOCOLS[usize::from(*pick) % PROTOCOLS.len()];
    let expected = match asked {
        0 => Expected::Unasked,
        1 => Expected::NoBody,
        2 => Expected::Tunnel,
        3 => Expected::Batch,
        4..=9 => Expected::Replies(u32::from(*asked) - 3),
        10..=15 => Expected::Confirmations(u32::from(*asked) - 9),
        // A command of MySQL, behind a login.
        16..=60 => {
            let mut framer = RequestFramer::new(Protocol::MySql);
            let capabilities = if asked % 2 == 0 { 0x0300_0201u32 } else { 0x200 };
            framer.push(&[&[32, 0, 0, 1][..], &capabilities.to_le_bytes(), &[0; 28]].concat());
            framer.push(&[1, 0, 0, 0, asked - 16]);
            framer.expected()
        }
        _ => Expected::Message,
    };
    let ends = |piece: usize| {
        let mut framer = ResponseFramer::new(protocol);
        ends(stream, piece, |bytes| framer.push(expected, bytes))
    };
    assert_eq!(ends(stream.len().max(1)), ends(usize::from(*piece).max(1)));
}

/// Where messages end, and whether the stream turned out not to be of the protocol.
fn ends(stream: &[u8], piece: usize, mut push: impl FnMut(&[u8]) -> Step) -> (Vec<usize>, bool) {
    let mut found = Vec::new();
    let mut at = 0;
    for bytes in stream.chunks(piece) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match push(rest) {
                Step::More => break,
                Step::End(length) => {
                    assert!((1..=rest.len()).contains(&length));
                    rest = &rest[length..];
                    found.push(at + bytes.len() - rest.len());
                }
                Step::Switch(length) => {
                    found.push(at + bytes.len() - rest.len() + length);
                    return (found, false);
                }
                Step::Invalid => return (found, true),
            }
        }
        at += bytes.len();
    }
    (found, false)
}

/// Both sides: every byte belongs to one message, and cutting what one side says changes nothing.
pub fn conversation(data: &[u8]) {
    let talk = |piece: usize| {
        let mut conversation = Conversation::new();
        let mut told: Vec<(bool, Vec<u8>)> = Vec::new();
        for (side, bytes) in chunks(data) {
            if side == 255 {
                conversation.gap();
                continue;
            }
            let client = side % 2 == 0;
            for mut rest in bytes.chunks(piece) {
                while !rest.is_empty() {
                    let part = if client { conversation.request(rest) } else { conversation.response(rest) };
                    assert!((1..=rest.len()).contains(&part.length));
                    let (now, after) = rest.split_at(part.length);
                    rest = after;
                    match told.last_mut() {
                        Some((who, message)) if *who == client && !part.begins => {
                            message.extend_from_slice(now)
                        }
                        _ => told.push((client, now.to_vec())),
                    }
                }
            }
        }
        (told, conversation.protocol(), conversation.encrypted(), conversation.response_end())
    };
    assert_eq!(talk(usize::MAX), talk(1));
}

/// Pieces of the data, each behind a byte that says something about it and one for its length.
fn chunks(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [about, length, rest @ ..] = data else { return None };
        let (piece, after) = rest.split_at(usize::from(*length).min(rest.len()));
        data = after;
        Some((*about, piece))
    })
}

/// Sessions in CBOR: what was read is written and read as the same.
pub fn session_cbor(data: &[u8]) {
    black_box(cbor::split(data));
    let Ok((session, length)) = cbor::decode(data) else { return };
    assert!(length <= data.len());
    let mut written = Vec::new();
    cbor::encode(&session, &mut written);
    let (again, length) = cbor::decode(&written).expect("what was written is read");
    assert_eq!((&again, length), (&session, written.len()));
}

/// Sessions in koala 1.x JSON: what was read is written and read as the same.
pub fn session_koala1(data: &[u8]) {
    let Ok(session) = koala1::from_json(data) else { return };
    let written = koala1::to_json(&session);
    let again = koala1::from_json(written.as_bytes()).expect("what was written is read");
    assert_eq!(again, session);
}

/// The event log, over whose records the recorded program wrote.
pub fn event_log(data: &[u8]) {
    const CHUNK: usize = 4096;
    let [real, garbage @ ..] = data else { return };
    let size = 4096 + 320 * 1024 + 4096 + 8192 + 2 * CHUNK;
    let mut words = vec![0u64; size / 8];
    let config = ArenaConfig { chunk_size: CHUNK as u32, ..ArenaConfig::default() };
    // SAFETY: zeros, aligned to eight, used by nothing else, and outlived by none of what follows.
    let arena = unsafe { Arena::format(words.as_mut_ptr().cast(), size, config) }.expect("large enough");
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let record = Record {
        kind: EventKind::Send,
        source: Source::Libc,
        flags: 0,
        context: 0,
        connection: 1,
        fd: 7,
        result: 0,
        time: 1,
    };
    let real = usize::from(*real % 4);
    for _ in 0..real {
        writer.append(&thread, || 1, &record, b"real");
    }
    let Some(pending) = writer.begin(&thread, || 1, &record, 1500) else { return };
    // A record is a head of 64 bytes and its payload; the chunk has such a head as well.
    let room = CHUNK - 64 - real * 72;
    let garbage = &garbage[..garbage.len().min(room)];
    // SAFETY: the bytes lie within the chunk, which nobody reads at the moment.
    unsafe { std::ptr::copy_nonoverlapping(garbage.as_ptr(), pending.payload().sub(64), garbage.len()) };
    let mut reader = Reader::new(arena);
    for now in [0, 1, 1 << 40] {
        reader.poll(now, |notice| {
            black_box(notice);
        });
    }
    reader.process_ended(writer.process());
    reader.poll(1 << 41, |notice| {
        black_box(notice);
    });
}
