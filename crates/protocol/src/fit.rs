//! Recorded responses, made to fit the requests that they answer now.
//!
//! Some protocols number their requests and put the number into the response. A client takes a response with another
//! number for the answer to something else.

use crate::decode::{Decoded, decode, mysql, postgres};
use crate::state::ConnectionState;
use alloc::vec::Vec;

/// A recorded response with the number of the `request` that it answers now, where it carries that of the `recorded`
/// request: MongoDB's request id, Thrift's sequence number, the opaque of memcached's binary protocol; and with PostgreSQL's word that a statement was prepared
/// where only one of the two requests prepares it before it runs it. `None`: it fits as it is.
pub fn fit_response(request: &[u8], recorded: &[u8], response: &[u8]) -> Option<Vec<u8>> {
    match (decode(request), decode(recorded)) {
        (Decoded::MongoDb(now), Decoded::MongoDb(then)) if now.request_id != then.request_id => {
            let mut fitted = response.to_vec();
            let mut at = 0;
            // A response may be several messages.
            while let Some(message) = fitted.get_mut(at..) {
                let Some(length) = message.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
                    break;
                };
                let Some(answer_to) = message.get_mut(8..12) else { break };
                answer_to.copy_from_slice(&now.request_id.to_le_bytes());
                at = at.saturating_add((length as usize).max(16));
            }
            Some(fitted)
        }
        (Decoded::Thrift(now), Decoded::Thrift(then)) if now.sequence != then.sequence => {
            thrift(response, now.sequence)
        }
        (Decoded::Memcached(_), Decoded::Memcached(_)) => opaques(request, recorded, response),
        (Decoded::Postgres(now), Decoded::Postgres(then)) => {
            // `ParseComplete`.
            const PREPARED: &[u8] = b"1\0\0\0\x04";
            let prepares = |mut messages: postgres::Messages<'_>| {
                matches!(messages.next(), Some(postgres::Message::Parse { .. }))
            };
            match (prepares(now), prepares(then)) {
                (true, false) => Some([PREPARED, response].concat()),
                (false, true) => response.strip_prefix(PREPARED).map(<[u8]>::to_vec),
                _ => None,
            }
        }
        _ => None,
    }
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

impl ConnectionState {
    /// A recorded response to the next request of this connection with a number that is free on it, where it gives a
    /// prepared statement a number (MySQL) that another statement has here already: the two may have been recorded
    /// on two connections. `None`: it fits as it is.
    ///
    /// What the client is sent is what [`ConnectionState::exchange`] must be told.
    pub fn fit_response(&self, request: &[u8], response: &[u8]) -> Option<Vec<u8>> {
        let Decoded::MySql(mysql::Command { code: mysql::STATEMENT_PREPARE, .. }) = decode(request) else {
            return None;
        };
        let [_, _, _, _, 0, a, b, c, d, ..] = *response else { return None };
        let id = u32::from_le_bytes([a, b, c, d]);
        let free = self.free_number(id)?;
        let mut fitted = response.to_vec();
        fitted.get_mut(5..9)?.copy_from_slice(&free.to_le_bytes());
        Some(fitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mongodb(id: u32, answer_to: u32) -> Vec<u8> {
        let body = b"\0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0";
        let head = [16 + body.len() as u32, id, answer_to, 2013].map(u32::to_le_bytes).concat();
        [&head[..], body].concat()
    }

    #[test]
    fn a_response_gets_the_number_of_its_request() {
        let response = [mongodb(900, 7), mongodb(901, 7)].concat();
        let fitted = fit_response(&mongodb(8, 0), &mongodb(7, 0), &response);
        assert_eq!(fitted, Some([mongodb(900, 8), mongodb(901, 8)].concat()));
        assert_eq!(fit_response(&mongodb(7, 0), &mongodb(7, 0), &response), None);

        let binary = |kind: u8, number: u8| {
            [&b"\0\0\0\x11\x80\x01\0"[..], &[kind], b"\0\0\0\x04ping\0\0\0", &[number, 0]].concat()
        };
        assert_eq!(fit_response(&binary(1, 9), &binary(1, 5), &binary(2, 5)), Some(binary(2, 9)));
        let compact = |kind: u8, number: &[u8]| {
            let message = [&[0x82, kind], number, b"\x04ping\0"].concat();
            [&(message.len() as u32).to_be_bytes()[..], &message].concat()
        };
        let fitted = fit_response(&compact(0x21, &[0x80, 1]), &compact(0x21, &[5]), &compact(0x41, &[5]));
        assert_eq!(fitted, Some(compact(0x41, &[0x80, 1])));
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
        let fitted = fit_response(&request(7, 8), &request(1, 2), &response(1, 2));
        assert_eq!(fitted, Some(response(7, 8)));
        assert_eq!(fit_response(&request(1, 2), &request(1, 2), &response(1, 2)), None);
        let one = |opaque| packet(0x80, opaque, b"key");
        assert_eq!(fit_response(&one(9), &one(1), &packet(0x81, 1, b"v")), Some(packet(0x81, 9, b"v")));
        assert_eq!(fit_response(b"get key\r\n", b"get key\r\n", b"END\r\n"), None);
    }

    #[test]
    fn a_statement_may_be_prepared_on_the_way_or_before() {
        let bind = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0";
        let parse = [&b"P\0\0\0\x10\0SELECT 1\0\0\0"[..], bind].concat();
        let response = b"2\0\0\0\x04C\0\0\0\x0dSELECT 1\0";
        let prepared = [b"1\0\0\0\x04", &response[..]].concat();
        assert_eq!(fit_response(&parse, bind, response).as_ref(), Some(&prepared));
        assert_eq!(fit_response(bind, &parse, &prepared).as_deref(), Some(&response[..]));
        assert_eq!(fit_response(bind, bind, response), None);
        assert_eq!(fit_response(bind, &parse, b"E\0\0\0\x05\0"), None, "what failed is told as it was");
    }

    #[test]
    fn a_statement_gets_a_number_that_is_free() {
        let prepare = b"\x09\0\0\0\x16SELECT ?";
        let other = b"\x09\0\0\0\x16SELECT 1";
        let response = |id: u8| [b"\x0c\0\0\x01\0", &[id, 0, 0, 0][..], b"\0\0\x01\0\0\0\0"].concat();
        let mut state = ConnectionState::default();
        assert_eq!(state.fit_response(prepare, &response(1)), None);
        state.exchange(prepare, &response(1));
        assert_eq!(state.fit_response(other, &response(1)), Some(response(2)));
        assert_eq!(state.fit_response(other, &response(3)), None);
        state.exchange(b"\x05\0\0\0\x19\x01\0\0\0", b"");
        assert_eq!(state.fit_response(other, &response(1)), None);
        assert_eq!(state.fit_response(b"\x09\0\0\0\x03SELECT 1", &response(1)), None);
    }
}
