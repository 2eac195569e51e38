//! Recorded calls with what is known of them besides their bytes: what was answered, and what their connections were
//! told before.

use crate::hash::{Table, hash, mix};
use crate::{Decision, Index, RecordedCall, Strategy};
use alloc::boxed::Box;
use alloc::vec::Vec;
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

/// An index over a recording that keeps in mind what connections were told, for those who do not: recorded ones, and
/// live ones, which are taken to be answered as it decides.
#[derive(Debug)]
pub struct Follower {
    index: Index,
    recorded: Connections,
    /// The peers and the numbers of recorded connections on which something was prepared or agreed on.
    spoken: Vec<(u64, u64)>,
    live: Connections,
    /// The answers on those connections, and nothing on others.
    responses: Vec<Box<[u8]>>,
}

impl Follower {
    /// Over calls with their answers, which are empty where they are not known.
    pub fn new<'a>(
        strategy: Strategy,
        talks: impl IntoIterator<Item = (RecordedCall<'a>, &'a [u8])>,
    ) -> Self {
        let talks: Vec<_> = talks.into_iter().collect();
        let mut recorded = Connections::default();
        let states: Vec<_> = talks
            .iter()
            .map(|(call, response)| recorded.exchange(call.connection, call.request, response))
            .collect();
        let (mut spoken, mut responses) = (Vec::new(), Vec::new());
        for (call, response) in &talks {
            if *recorded.state(call.connection) == ConnectionState::default() {
                responses.push(Box::default());
                continue;
            }
            responses.push((*response).into());
            let one = (hash(call.peer.as_bytes()), call.connection);
            if !spoken.contains(&one) {
                spoken.push(one);
            }
        }
        let talk = |(&(call, response), state)| RecordedTalk { call, response, state };
        let index = Index::of_talks(strategy, talks.iter().zip(&states).map(talk));
        Self { index, recorded, spoken, live: Connections::default(), responses }
    }

    /// As [`Index::with_threshold`].
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.index = self.index.with_threshold(threshold);
        self
    }

    /// As [`Index::with_inbound`].
    #[must_use]
    pub fn with_inbound(mut self, request: &[u8], response: &[u8]) -> Self {
        self.index = self.index.with_inbound(request, response);
        self
    }

    /// As [`Index::find_on`], with what was said on the connection. Without a connection, a request that is no recorded
    /// one as it is names what the first recorded connection to that peer that knows it was told. `now`: as for
    /// [`Index::find_at`], where it is known.
    pub fn find(
        &mut self,
        connection: Option<u64>,
        peer: &str,
        request: &[u8],
        now: Option<u64>,
    ) -> Decision {
        let ask = |index: &mut Index, state: &ConnectionState, connection| match now {
            Some(now) => index.find_at(now, state, connection, peer, request),
            None => index.find_in(state, connection, peer, request),
        };
        let Some(connection) = connection else {
            let to = hash(peer.as_bytes());
            let decision = ask(&mut self.index, &ConnectionState::default(), to);
            let mut states = self
                .spoken
                .iter()
                .filter(|(peer, _)| *peer == to)
                .map(|(_, connection)| self.recorded.state(*connection));
            // What it refers to is more than what every request does.
            let state = states.find(|state| state.referred(request) != state.referred(b""));
            return match state.filter(|_| decision.index.is_none()) {
                Some(state) => ask(&mut self.index, state, to),
                None => decision,
            };
        };
        let decision = ask(&mut self.index, self.live.state(connection), connection);
        let response = decision.index.and_then(|index| self.responses.get(index));
        self.live.exchange(connection, request, response.map_or(b"", |response| response));
        decision
    }
}

/// The tables take keys for hashes.
fn key(connection: u64) -> u64 {
    mix(connection, 1)
}
