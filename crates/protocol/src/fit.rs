//! Recorded responses, made to fit the requests that they answer now.
//!
//! Some protocols number their requests and put the number into the response. A client takes a response with another
//! number for the answer to something else.

mod postgres;
mod rows;

use crate::decode::{Decoded, decode, mysql, redis};
use crate::state::ConnectionState;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A request, and what was said on its connection before.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Its bytes.
    pub request: &'a [u8],
    /// What it refers to.
    pub state: &'a ConnectionState,
}

/// Why a recorded response can't be made to fit: in words, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit(String);

impl From<&str> for Misfit {
    fn from(reason: &str) -> Self {
        Self(String::from(reason))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Misfit {}

/// A recorded response as it has to be to answer the request `now`, where it was the answer to `then`:
///
/// - with the number of that request, where it carries it: MongoDB's request id, Thrift's sequence number, the opaque
///   of memcached's binary protocol;
/// - with what it says itself, where it is to be said again: Redis' `ECHO` and `PING`;
/// - with a number that is free on this connection, where it gives a prepared statement one (MySQL): the recorded ones
///   may come from several connections;
/// - with the parts of PostgreSQL's extended protocol that are asked for now, and values in the form that is.
///
/// What the client is sent is what [`ConnectionState::exchange`] must be told.
///
/// # Errors
///
/// [`Misfit`] where the recorded response does not hold what is asked for.
pub fn fit_response<'a>(now: Said<'_>, then: Said<'_>, response: &'a [u8]) -> Result<Cow<'a, [u8]>, Misfit> {
    let fitted = match (decode(now.request), decode(then.request)) {
        (Decoded::MongoDb(asked), Decoded::MongoDb(recorded)) if asked.request_id != recorded.request_id => {
            Some(mongodb(response, asked.request_id))
        }
        (Decoded::Thrift(asked), Decoded::Thrift(recorded)) if asked.sequence != recorded.sequence => {
            thrift(response, asked.sequence)
        }
        (Decoded::Redis(asked), Decoded::Redis(recorded)) => echo(asked, recorded, response),
        (Decoded::Memcached(_), Decoded::Memcached(_)) => opaques(now.request, then.request, response),
        (Decoded::MySql(mysql::Command { code: mysql::STATEMENT_PREPARE, .. }), _) => {
            statement(now.state, response)
        }
        (Decoded::Postgres(_), Decoded::Postgres(_)) => return postgres::fit(now, then, response),
        _ => None,
    };
    Ok(fitted.map_or(Cow::Borrowed(response), Cow::Owned))
}

/// The messages of a response with the number of another request.
fn mongodb(response: &[u8], answer_to: u32) -> Vec<u8> {
    let mut fitted = response.to_vec();
    let mut at = 0;
    while let Some(message) = fitted.get_mut(at..) {
        let Some(length) = message.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else { break };
        let Some(place) = message.get_mut(8..12) else { break };
        place.copy_from_slice(&answer_to.to_le_bytes());
        at = at.saturating_add((length as usize).max(16));
    }
    fitted
}

/// The answer to `COM_STMT_PREPARE` with a number that no other statement has on this connection.
fn statement(state: &ConnectionState, response: &[u8]) -> Option<Vec<u8>> {
    let [_, _, _, _, 0, a, b, c, d, ..] = *response else { return None };
    let free = state.free_number(u32::from_le_bytes([a, b, c, d]))?;
    let mut fitted = response.to_vec();
    fitted.get_mut(5..9)?.copy_from_slice(&free.to_le_bytes());
    Some(fitted)
}

/// The argument of this request, where the response is that of the recorded one.
fn echo(asked: redis::Commands<'_>, recorded: redis::Commands<'_>, response: &[u8]) -> Option<Vec<u8>> {
    let said = |mut commands: redis::Commands<'_>| {
        let command = commands.next().filter(|_| commands.next().is_none())?;
        let mut words = command.arguments();
        let echoes = |name: &[u8]| name.eq_ignore_ascii_case(b"ECHO") || name.eq_ignore_ascii_case(b"PING");
        let said = words.next().filter(|name| echoes(name)).and_then(|_| words.next())?;
        let length = said.len();
        words.next().is_none().then(|| [format!("${length}\r\n").as_bytes(), said, b"\r\n"].concat())
    };
    let (now, then) = (said(asked)?, said(recorded)?);
    (now != then && then == response).then_some(now)
}

/// The reply with another sequence number.
fn thrift(response: &[u8], sequence: u32) -> Option<Vec<u8>> {
    let length = response.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize)?;
    let framed = length == response.len() - 4;
    let (frame, message) = response.split_at(if framed { 4 } else { 0 });
    let mut fitted = frame.to_vec();
    match *message {
        [0x80, 1, _, _, a, b, c, d, ..] => {
            let at = 8usize.checked_add(u32::from_be_bytes([a, b, c, d]) as usize)?;
            fitted.extend_from_slice(message.get(..at)?);
            fitted.extend_from_slice(&sequence.to_be_bytes());
            fitted.extend_from_slice(message.get(at + 4..)?);
        }
        [0x82, kind, ref rest @ ..] => {
            let old = rest.iter().position(|byte| *byte < 0x80)? + 1;
            fitted.extend_from_slice(&[0x82, kind]);
            let mut number = sequence;
            while number >= 0x80 {
                fitted.push(number as u8 | 0x80);
                number >>= 7;
            }
            fitted.push(number as u8);
            fitted.extend_from_slice(rest.get(old..)?);
        }
        _ => return None,
    }
    let length = u32::try_from(fitted.len()).ok()?.checked_sub(4)?;
    if let Some(frame) = fitted.first_chunk_mut().filter(|_| framed) {
        *frame = length.to_be_bytes();
    }
    Some(fitted)
}

/// The packets of memcached's binary protocol that bytes begin with: where each begins.
fn packets(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut next = 0usize;
    core::iter::from_fn(move || {
        let at = next;
        let packet = bytes.get(at..).filter(|rest| matches!(rest.first(), Some(0x80 | 0x81)))?;
        let body = packet.get(8..12)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
        packet.get(..24)?;
        next = at.checked_add(24)?.checked_add(body as usize)?;
        Some(at)
    })
}

/// Where the opaque of the packet that begins at `at` is.
fn opaque(at: usize) -> core::ops::Range<usize> {
    at + 12..at + 16
}

/// The responses with the opaques of the requests that they answer now. Each is known by the opaque that it has.
fn opaques(request: &[u8], recorded: &[u8], response: &[u8]) -> Option<Vec<u8>> {
    let of = |bytes: &[u8], at| bytes.get(opaque(at)).and_then(|bytes| bytes.first_chunk::<4>().copied());
    let pairs: Vec<_> = packets(recorded)
        .zip(packets(request))
        .filter_map(|(then, now)| Some((of(recorded, then)?, of(request, now)?)))
        .collect();
    if pairs.iter().all(|(then, now)| then == now) {
        return None;
    }
    let mut fitted = response.to_vec();
    for at in packets(response) {
        let known = of(response, at).and_then(|old| pairs.iter().find(|(then, _)| *then == old));
        if let (Some((_, now)), Some(place)) = (known, fitted.get_mut(opaque(at))) {
            place.copy_from_slice(now);
        }
    }
    Some(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response as it is sent, where it has to be another one.
    fn fitted(request: &[u8], recorded: &[u8], response: &[u8]) -> Option<Vec<u8>> {
        fitted_on(&ConnectionState::default(), request, recorded, response)
    }

    fn fitted_on(
        state: &ConnectionState,
        request: &[u8],
        recorded: &[u8],
        response: &[u8],
    ) -> Option<Vec<u8>> {
        let none = ConnectionState::default();
        let [now, then] = [Said { request, state }, Said { request: recorded, state: &none }];
        match fit_response(now, then, response).expect("it fits") {
            Cow::Borrowed(_) => None,
            Cow::Owned(fitted) => Some(fitted),
        }
    }

    #[test]
    fn what_redis_says_again_is_what_it_was_told() {
        let (now, then) = (b"*2\r\n$4\r\nECHO\r\n$2\r\nab\r\n", b"*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n");
        assert_eq!(fitted(now, then, b"$1\r\nx\r\n").expect("another one"), b"$2\r\nab\r\n");
        assert_eq!(fitted(then, then, b"$1\r\nx\r\n"), None);
        assert_eq!(fitted(now, then, b"-NOAUTH\r\n"), None);
        assert_eq!(fitted(now, b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n", b"$1\r\nx\r\n"), None);
        let two = [&now[..], now].concat();
        assert_eq!(fitted(&two, then, b"$1\r\nx\r\n"), None);
    }

    fn mongodb(id: u32, answer_to: u32) -> Vec<u8> {
        let body = b"\0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0";
        let head = [16 + body.len() as u32, id, answer_to, 2013].map(u32::to_le_bytes).concat();
        [&head[..], body].concat()
    }

    #[test]
    fn a_response_gets_the_number_of_its_request() {
        let response = [mongodb(900, 7), mongodb(901, 7)].concat();
        let found = fitted(&mongodb(8, 0), &mongodb(7, 0), &response);
        assert_eq!(found, Some([mongodb(900, 8), mongodb(901, 8)].concat()));
        assert_eq!(fitted(&mongodb(7, 0), &mongodb(7, 0), &response), None);

        let binary = |kind: u8, number: u8| {
            [&b"\0\0\0\x11\x80\x01\0"[..], &[kind], b"\0\0\0\x04ping\0\0\0", &[number, 0]].concat()
        };
        assert_eq!(fitted(&binary(1, 9), &binary(1, 5), &binary(2, 5)), Some(binary(2, 9)));
        let compact = |kind: u8, number: &[u8]| {
            let message = [&[0x82, kind], number, b"\x04ping\0"].concat();
            [&(message.len() as u32).to_be_bytes()[..], &message].concat()
        };
        let found = fitted(&compact(0x21, &[0x80, 1]), &compact(0x21, &[5]), &compact(0x41, &[5]));
        assert_eq!(found, Some(compact(0x41, &[0x80, 1])));
    }

    #[test]
    fn memcached_gets_its_opaques() {
        let packet = |magic: u8, opaque: u8, body: &[u8]| {
            let mut head = [0; 24];
            head[0] = magic;
            head[11] = body.len() as u8;
            head[15] = opaque;
            if magic == 0x80 {
                head[3] = body.len() as u8;
            }
            [&head[..], body].concat()
        };
        let request =
            |first: u8, second: u8| [packet(0x80, first, b"key"), packet(0x80, second, b"other")].concat();
        // One of the two may be answered, and in any order.
        let response =
            |first: u8, second: u8| [packet(0x81, second, b"value"), packet(0x81, first, b"")].concat();
        let found = fitted(&request(7, 8), &request(1, 2), &response(1, 2));
        assert_eq!(found, Some(response(7, 8)));
        assert_eq!(fitted(&request(1, 2), &request(1, 2), &response(1, 2)), None);
        let one = |opaque| packet(0x80, opaque, b"key");
        assert_eq!(fitted(&one(9), &one(1), &packet(0x81, 1, b"v")), Some(packet(0x81, 9, b"v")));
        assert_eq!(fitted(b"get key\r\n", b"get key\r\n", b"END\r\n"), None);
    }

    #[test]
    fn a_statement_gets_a_number_that_is_free() {
        let prepare = b"\x09\0\0\0\x16SELECT ?";
        let other = b"\x09\0\0\0\x16SELECT 1";
        let response = |id: u8| [b"\x0c\0\0\x01\0", &[id, 0, 0, 0][..], b"\0\0\x01\0\0\0\0"].concat();
        let mut state = ConnectionState::default();
        assert_eq!(fitted_on(&state, prepare, prepare, &response(1)), None);
        state.exchange(prepare, &response(1));
        assert_eq!(fitted_on(&state, other, other, &response(1)), Some(response(2)));
        assert_eq!(fitted_on(&state, other, other, &response(3)), None);
        state.exchange(b"\x05\0\0\0\x19\x01\0\0\0", b"");
        assert_eq!(fitted_on(&state, other, other, &response(1)), None);
        assert_eq!(fitted_on(&state, b"\x09\0\0\0\x03SELECT 1", prepare, &response(1)), None);
    }
}
