use super::*;
use crate::{ConnectionState, fit_response};
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &u32::try_from(body.len() + 4).expect("short").to_be_bytes()[..], body].concat()
}

fn parse(name: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0SELECT id, height FROM trees WHERE id = $1\0\0\0").as_bytes())
}

/// `formats`: how the columns are to be written.
fn bind(name: &str, formats: &[u8]) -> Vec<u8> {
    let count = u8::try_from(formats.len()).expect("few");
    let formats: Vec<u8> = formats.iter().flat_map(|format| [0, *format]).collect();
    message(
        b'B',
        &[format!("\0{name}\0").as_bytes(), b"\0\0\0\x01\0\0\0\x011\0", &[count], &formats].concat(),
    )
}

fn describe() -> Vec<u8> {
    message(b'D', b"P\0")
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// `RowDescription` of an `int4` and a column of another type.
fn columns(kind: u16, formats: [u8; 2]) -> Vec<u8> {
    let column = |name: &str, kind: u16, format: u8| {
        [name.as_bytes(), &[0; 9], &kind.to_be_bytes(), &[0, 4, 0, 0, 0, 0, 0, format]].concat()
    };
    message(b'T', &[&[0, 2], &column("id", 23, formats[0])[..], &column("height", kind, formats[1])].concat())
}

fn row(values: [Option<&[u8]>; 2]) -> Vec<u8> {
    let value = |value: Option<&[u8]>| match value {
        None => vec![255; 4],
        Some(value) => [&[0, 0, 0, u8::try_from(value.len()).expect("short")], value].concat(),
    };
    message(b'D', &[&[0, 2], &value(values[0])[..], &value(values[1])].concat())
}

const PREPARED: &[u8] = b"1\0\0\0\x04";
const BOUND: &[u8] = b"2\0\0\0\x04";

fn end() -> Vec<u8> {
    [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

fn text() -> Vec<u8> {
    [row([Some(b"1"), Some(b"21.50")]), row([Some(b"-2"), None])].concat()
}

fn binary() -> Vec<u8> {
    let first = row([Some(&[0, 0, 0, 1]), Some(&[0, 2, 0, 0, 0, 0, 0, 2, 0, 21, 0x13, 0x88])]);
    [first, row([Some(&[255, 255, 255, 254]), None])].concat()
}

/// A connection on which the statement was prepared, and its columns were described.
fn told() -> ConnectionState {
    let mut state = ConnectionState::default();
    let request = [parse("S_1"), bind("S_1", &[]), describe(), execute(), sync()].concat();
    let response = [PREPARED, BOUND, &columns(1700, [0, 0]), &end()].concat();
    state.exchange(&request, &response);
    state
}

fn fitted(
    now: (&[u8], &ConnectionState),
    then: (&[u8], &ConnectionState),
    response: &[u8],
) -> Result<Vec<u8>, String> {
    let said = |(request, state)| Said { request, state };
    fit_response(said(now), said(then), response).map(Cow::into_owned).map_err(|misfit| misfit.to_string())
}

#[test]
fn a_statement_is_run_with_and_without_being_prepared_and_described() {
    let (new, told) = (ConnectionState::default(), told());
    let whole = [parse(""), bind("", &[]), describe(), execute(), sync()].concat();
    let whole_answer = [PREPARED, BOUND, &columns(1700, [0, 0]), &text(), &end()].concat();
    let short = [bind("S_1", &[1]), execute(), sync()].concat();
    let short_answer = [BOUND, &binary(), &end()].concat();
    assert_eq!(fitted((&short, &told), (&whole, &new), &whole_answer), Ok(short_answer.clone()));
    assert_eq!(fitted((&whole, &new), (&short, &told), &short_answer), Ok(whole_answer.clone()));
    for (request, state, answer) in [(&whole, &new, &whole_answer), (&short, &told, &short_answer)] {
        assert_eq!(fitted((request, state), (request, state), answer).as_ref(), Ok(answer));
    }
    // Described only, and one column of the two in another form.
    let described = [bind("S_1", &[1, 0]), describe(), execute(), sync()].concat();
    let mixed = row([Some(&[0, 0, 0, 1]), Some(b"21.50")]);
    let mixed = [mixed, row([Some(&[255, 255, 255, 254]), None])].concat();
    let answer = [BOUND, &columns(1700, [1, 0]), &mixed, &end()].concat();
    assert_eq!(fitted((&described, &told), (&whole, &new), &whole_answer).as_ref(), Ok(&answer));
    assert_eq!(fitted((&whole, &new), (&described, &told), &answer), Ok(whole_answer));
}

#[test]
fn several_statements_of_a_request_are_fitted_each() {
    let (new, mut told) = (ConnectionState::default(), told());
    told.exchange(
        &[message(b'P', b"S_2\0BEGIN\0\0\0"), sync()].concat(),
        &[PREPARED, &message(b'Z', b"T")].concat(),
    );
    let begun = [BOUND, &message(b'C', b"BEGIN\0")].concat();
    let whole = [
        message(b'P', b"\0BEGIN\0\0\0"),
        bind("", &[]),
        execute(),
        parse(""),
        bind("", &[]),
        describe(),
        execute(),
        sync(),
    ]
    .concat();
    let whole_answer = [PREPARED, &begun, PREPARED, BOUND, &columns(1700, [0, 0]), &text(), &end()].concat();
    let short = [bind("S_2", &[]), execute(), bind("S_1", &[1]), execute(), sync()].concat();
    let short_answer = [&begun[..], BOUND, &binary(), &end()].concat();
    assert_eq!(fitted((&short, &told), (&whole, &new), &whole_answer), Ok(short_answer.clone()));
    assert_eq!(fitted((&whole, &new), (&short, &told), &short_answer), Ok(whole_answer));
}

#[test]
fn what_failed_fails_at_the_same_place() {
    let (new, told) = (ConnectionState::default(), told());
    let whole = [parse(""), bind("", &[]), describe(), execute(), sync()].concat();
    let short = [bind("S_1", &[1]), execute(), sync()].concat();
    let error = [message(b'E', b"SERROR\0\0"), message(b'Z', b"E")].concat();
    // When it was prepared; when it was bound; when it ran.
    assert_eq!(fitted((&short, &told), (&whole, &new), &error), Ok(error.clone()));
    let answer = [PREPARED, &error].concat();
    assert_eq!(fitted((&short, &told), (&whole, &new), &answer), Ok(error.clone()));
    assert_eq!(fitted((&whole, &new), (&short, &told), &error), Ok(answer));
    let answer = [PREPARED, BOUND, &columns(1700, [0, 0]), &text(), &error].concat();
    assert_eq!(fitted((&short, &told), (&whole, &new), &answer), Ok([BOUND, &binary(), &error].concat()));
}

#[test]
fn what_the_recording_does_not_hold_is_said() {
    let (new, told) = (ConnectionState::default(), told());
    let whole = [parse(""), bind("", &[]), describe(), execute(), sync()].concat();
    let short = [bind("S_1", &[1]), execute(), sync()].concat();
    // A point.
    let answer = [PREPARED, BOUND, &columns(600, [0, 0]), &text(), &end()].concat();
    let reason = "the column height (of type 600) was recorded in text form; it is asked for in binary form, which \
                  koala can't make of it";
    assert_eq!(fitted((&short, &told), (&whole, &new), &answer), Err(reason.to_owned()));
    let answer = [BOUND, &binary(), &end()].concat();
    let reason = "it asks which columns the answer has, and nothing recorded tells that";
    assert_eq!(fitted((&whole, &new), (&short, &new), &answer), Err(reason.to_owned()));
    let text_form = [bind("S_1", &[]), execute(), sync()].concat();
    let reason = "column 1 was recorded in binary form, and its type was not; it is asked for in text form, which \
                  koala can't make of it";
    assert_eq!(fitted((&text_form, &told), (&short, &new), &answer), Err(reason.to_owned()));
    let two = [bind("S_1", &[1]), execute(), execute(), sync()].concat();
    assert!(fitted((&two, &told), (&short, &told), &answer).is_err());
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(
        kinds in proptest::collection::vec((0usize..12, proptest::collection::vec(any::<u8>(), 0..20)), 0..12),
        response in proptest::collection::vec((0usize..12, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
        piece in 0usize..4,
    ) {
        let parts = [parse(""), parse("S_1"), bind("", &[1]), bind("S_1", &[1, 0]), describe(), execute(), sync()];
        let request = |skip: usize| -> Vec<u8> {
            let said = |(at, (kind, body)): (usize, &(usize, Vec<u8>))| match parts.get(*kind) {
                Some(part) if at % 4 != skip => part.clone(),
                Some(_) => Vec::new(),
                None => message(b"PBDECSH"[kind % 7], body),
            };
            kinds.iter().enumerate().flat_map(said).collect()
        };
        let answers = [PREPARED.to_vec(), BOUND.to_vec(), columns(1700, [0, 1]), text(), binary(), end()];
        let response: Vec<u8> = response
            .iter()
            .flat_map(|(kind, body)| answers.get(*kind).cloned().unwrap_or_else(|| message(b"12TDCEZtnAN"[kind % 11], body)))
            .collect();
        let (now, then) = (request(piece), request(5));
        let mut state = told();
        let _ = fitted((&now, &state), (&then, &state), &response);
        state.exchange(&now, &response);
        let _ = fitted((&then, &state), (&now, &ConnectionState::default()), &response);
    }
}
