//! Recorded calls with what is known of them besides their bytes: what was answered, and what their connections were
//! told before.

use crate::RecordedCall;
use crate::hash::{Table, mix};
use koala_protocol::ConnectionState;

/// A recorded call with its answer, and with what it refers to.
///
/// A request may name a statement by a number or a name that an earlier request of its connection gave it. Another run
/// gives other ones: such a request is the same call where statement and values are the same.
#[derive(Debug, Clone, Copy)]
pub struct RecordedTalk<'a> {
    /// The call.
    pub call: RecordedCall<'a>,
    /// What it was answered with; empty where that is not known. How answers depend on requests tells which fields
    /// matter.
    pub response: &'a [u8],
    /// What it refers to: what [`Connections::exchange`] returned for it.
    pub state: &'a ConnectionState,
}

/// What was said on each of several connections, recorded or live.
///
/// ```
/// use koala_matcher::{Connections, Index, RecordedCall, RecordedTalk, Strategy};
///
/// let prepare = b"\x1d\0\0\0\x16SELECT a FROM t WHERE id = ?";
/// let execute = |statement: u8, id: u8| {
///     [b"\x12\0\0\0\x17", &[statement, 0, 0, 0][..], b"\0\x01\0\0\0\0\x01\x03\0", &[id, 0, 0, 0]].concat()
/// };
/// let prepared = |statement: u8| [b"\x0c\0\0\x01\0", &[statement, 0, 0, 0][..], b"\x01\0\x01\0\0\0\0"].concat();
///
/// // The recording, in its order: each call with what it referred to.
/// let talks = [(prepare.to_vec(), prepared(7)), (execute(7, 42), b"row".to_vec())];
/// let mut recorded = Connections::default();
/// let states = talks.each_ref().map(|(request, response)| recorded.exchange(1, request, response));
/// let mut index = Index::of_talks(
///     Strategy::Auto,
///     talks.iter().zip(&states).map(|((request, response), state)| RecordedTalk {
///         call: RecordedCall { connection: 1, ..RecordedCall::new("db:3306", request) },
///         response,
///         state,
///     }),
/// );
///
/// // A replay, whose statement has another number.
/// let mut live = Connections::default();
/// live.exchange(5, prepare, &prepared(1));
/// let decision = index.find_in(live.state(5), 5, "db:3306", &execute(1, 42));
/// assert_eq!(decision.index, Some(1));
/// assert_eq!(index.find_in(live.state(5), 5, "db:3306", &execute(1, 43)).index, None);
/// ```
#[derive(Debug, Default)]
pub struct Connections {
    states: Table<ConnectionState>,
    unknown: ConnectionState,
}

impl Connections {
    /// What was said so far on a connection; nothing where its number is 0, or was not heard of.
    pub fn state(&self, connection: u64) -> &ConnectionState {
        self.states.get(&key(connection)).unwrap_or(&self.unknown)
    }

    /// Takes the next request of a connection with its response, which is empty where it is not known. Returns what the
    /// request refers to, small enough to be kept with each recorded call. Of a connection whose number is 0 nothing
    /// is remembered.
    pub fn exchange(&mut self, connection: u64, request: &[u8], response: &[u8]) -> ConnectionState {
        if connection == 0 {
            return ConnectionState::default();
        }
        let state = self.states.entry(key(connection)).or_default();
        let referred = state.referred(request);
        state.exchange(request, response);
        referred
    }

    /// Forgets a connection that was closed.
    pub fn close(&mut self, connection: u64) {
        self.states.remove(&key(connection));
    }
}

/// The tables take keys for hashes.
fn key(connection: u64) -> u64 {
    mix(connection, 1)
}
