//! Recorded calls, and which of them answers a request.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use koala_matcher::{Decision, FieldScore, Index, RecordedCall, RecordedTalk, Strategy};
use koala_protocol::{ConnectionState, Misfit, Protocol, Said};
use koala_session::model::{self, Action, CallOutbound, Connection, Matched, RunnerUp, Session};

use crate::clock;
use crate::net;
use crate::replay::history::Referred;
use crate::replay::login::Login;
use crate::replay::names::Names;
use crate::replay::{dns, framing};

/// What the outbound server does to a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays open.
    Open,
    /// It is closed, as the recorded server did, or because its answer ends that way.
    Close,
    /// It is reset, as the recorded server did.
    Reset,
}

/// A recorded call that got through: what was asked, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk {
    /// The session that it was recorded in.
    pub session_id: String,
    /// Its place in that session.
    pub action_index: u32,
    /// Who was asked, as an address in text.
    pub peer: String,
    /// The descriptor of its socket in the recorded program, by which koala 1.x tells connections apart.
    pub socket: u64,
    /// The bytes sent; empty where the server spoke first.
    pub request: Vec<u8>,
    /// When they were sent, in nanoseconds since 1970.
    pub made_at: u64,
    /// The bytes that came back.
    pub response: Vec<u8>,
    /// When the first of them came; 0 if none did.
    pub answered_at: u64,
    /// The sizes of the datagrams of the response, where there is more than one.
    pub datagrams: Vec<u32>,
    /// What happened to the connection then.
    pub after: After,
    /// Whether it was the first on its connection, in its session.
    pub first: bool,
    /// What the request refers to of what its connection was told before.
    pub state: Arc<ConnectionState>,
}

impl Talk {
    /// A talk that was never recorded.
    pub fn simulated(request: Vec<u8>, response: Vec<u8>) -> Self {
        Self {
            session_id: String::new(),
            action_index: 0,
            peer: String::new(),
            socket: 0,
            request,
            made_at: 0,
            response,
            answered_at: 0,
            datagrams: Vec::new(),
            after: After::Open,
            first: false,
            state: Arc::default(),
        }
    }

    /// Takes what the request refers to, where the whole recording tells it.
    pub fn refer(&mut self, referred: &Referred) {
        if let Some(state) = referred.get(&(self.session_id.clone(), self.action_index)) {
            self.state = state.clone();
        }
    }
}

/// A request on a connection that the program has opened.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The connection's number.
    pub connection: u64,
    /// Who is asked, as an address in text.
    pub peer: &'a str,
    /// The protocol that is spoken on it.
    pub protocol: Protocol,
    /// The bytes.
    pub request: &'a [u8],
    /// What was said on the connection before.
    pub state: &'a ConnectionState,
}

impl Asked<'_> {
    /// A recorded talk with its response as it has to be to answer this request, on this connection.
    ///
    /// # Errors
    ///
    /// [`Misfit`] where the recorded response does not hold what is asked for.
    pub fn fitted(&self, talk: &Arc<Talk>) -> Result<Arc<Talk>, Misfit> {
        // What these say stands for itself.
        if matches!(self.protocol, Protocol::Http | Protocol::FastCgi | Protocol::Raw) {
            return Ok(talk.clone());
        }
        let now = Said { request: self.request, state: self.state };
        let then = Said { request: &talk.request, state: &talk.state };
        Ok(match koala_protocol::fit_response(now, then, &talk.response)? {
            Cow::Borrowed(_) => talk.clone(),
            Cow::Owned(response) => Arc::new(Talk { response, ..Talk::clone(talk) }),
        })
    }
}

/// A connect that failed in the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedConnect {
    /// Its place in its session.
    pub action_index: u32,
    /// Who was asked, as an address in text.
    pub peer: String,
    /// The name of the `errno`.
    pub error: String,
}

/// The outbound calls of a session.
#[derive(Clone, Debug, Default)]
pub struct Talks {
    /// Those that got through, in their order.
    pub talks: Vec<Talk>,
    /// Those whose connect failed.
    pub failed: Vec<FailedConnect>,
    /// The logins among them.
    pub logins: Vec<Arc<Login>>,
    /// Addresses of peers, and the protocol spoken with them.
    pub protocols: HashMap<String, Protocol>,
    /// The names that were looked up.
    pub names: Names,
}

/// What the address of a peer that is asked by datagrams begins with: the same port may be another server by TCP.
pub const DATAGRAMS: &str = "udp:";

/// The address of the peer of a call, in text; with [`DATAGRAMS`] before it where that is how it was asked.
pub fn peer_of(call: &CallOutbound, connections: &[Arc<Connection>]) -> String {
    let datagrams = |one: &&Arc<Connection>| one.connection_id == call.connection_id && one.kind == "udp";
    if connections.iter().any(|one| datagrams(&one)) {
        return format!("{DATAGRAMS}{}", net::address_of_peer(&call.peer, &call.unix_addr));
    }
    let connection = connections
        .iter()
        .find(|connection| connection.connection_id == call.connection_id && !connection.peer.is_empty());
    match connection {
        Some(connection) => connection.peer.clone(),
        None => net::address_of_peer(&call.peer, &call.unix_addr).to_string(),
    }
}

/// Whether the call tells of a connect that failed.
pub fn connect_failed(call: &CallOutbound) -> bool {
    !call.error.is_empty() && call.request.is_empty() && call.response.is_empty()
}

impl Talks {
    /// The outbound calls of `session`.
    pub fn of(session: &Session) -> Self {
        let mut found = Self { names: Names::of(session), ..Self::default() };
        // The last talk on each connection.
        let mut states: HashMap<u64, ConnectionState> = HashMap::new();
        for connection in &session.connections {
            let protocol = Protocol::from_name(&connection.protocol);
            if matches!(protocol, Protocol::MySql | Protocol::Postgres | Protocol::Redis) {
                states.insert(connection.connection_id, ConnectionState::default());
            }
        }
        let mut last: HashMap<u64, usize> = HashMap::new();
        // All of them.
        let mut of_connection: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for action in &session.actions {
            let Action::CallOutbound(call) = action else { continue };
            let peer = peer_of(call, &session.connections);
            if connect_failed(call) {
                found.failed.push(FailedConnect {
                    action_index: call.action_index,
                    peer,
                    error: call.error.clone(),
                });
                continue;
            }
            if call.request.is_empty() && peer.starts_with(DATAGRAMS) {
                // An answer that came too late answers nothing.
                continue;
            }
            let known = call.connection_id != 0;
            let previous = if known { last.get(&call.connection_id).copied() } else { None };
            // What a server said unasked goes out behind its answer to what was asked before.
            if call.request.is_empty()
                && let Some(previous) = previous.and_then(|previous| found.talks.get_mut(previous))
            {
                previous.response.extend_from_slice(&call.response);
                continue;
            }
            if known {
                last.insert(call.connection_id, found.talks.len());
                of_connection.entry(call.connection_id).or_default().push(found.talks.len());
            }
            let mut state = Arc::default();
            if let Some(known) = states.get_mut(&call.connection_id).filter(|_| known) {
                state = Arc::new(known.referred(&call.request));
                known.exchange(&call.request, &call.response);
            }
            found.talks.push(Talk {
                session_id: session.session_id.clone(),
                action_index: call.action_index,
                peer,
                socket: u64::try_from(call.socket_fd).unwrap_or(0),
                request: call.request.clone(),
                made_at: call.occurred_at,
                response: call.response.clone(),
                answered_at: call.response_time,
                datagrams: call.datagrams.clone(),
                after: ended(&call.error),
                first: previous.is_none(),
                state,
            });
        }
        for connection in &session.connections {
            let protocol = Protocol::from_name(&connection.protocol);
            if protocol != Protocol::Raw {
                found.protocols.insert(connection.peer.clone(), protocol);
            }
            let last = last.get(&connection.connection_id).and_then(|&last| found.talks.get_mut(last));
            if let Some(talk) = last
                && talk.after == After::Open
            {
                talk.after = ended(&connection.end);
            }
        }
        for places in of_connection.values() {
            let login = Login::begins(places.iter().filter_map(|place| found.talks.get(*place)));
            found.logins.extend(login.map(Arc::new));
        }
        for talk in &mut found.talks {
            let http = found.protocols.get(&talk.peer) == Some(&Protocol::Http);
            if http && talk.after == After::Open && framing::ends_by_close(&talk.request, &talk.response) {
                talk.after = After::Close;
            }
        }
        found
    }
}

/// What the end of a connection, or of a talk, means for the one who plays the server.
fn ended(how: &str) -> After {
    match how {
        "peer-closed" => After::Close,
        "reset" | "ECONNRESET" | "EPIPE" => After::Reset,
        _ => After::Open,
    }
}

/// An answer to a request: the recorded talk, or none, and how that was found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What to answer with.
    pub talk: Option<Arc<Talk>>,
    /// What the report says of it.
    pub matched: Matched,
    /// It was given before.
    pub reused: bool,
}

impl Answer {
    /// No answer, for a reason.
    pub fn none(reason: String) -> Self {
        Self {
            talk: None,
            matched: Matched { action_index: -1, nearest_action_index: -1, reason, ..Matched::default() },
            reused: false,
        }
    }

    /// What any server answers.
    pub fn simulated(talk: Talk) -> Self {
        let reason = "simulated: sets a connection up, and is not in the recording";
        let mut answer = Self::none(reason.to_owned());
        answer.matched.mark = 1.0;
        answer.talk = Some(Arc::new(talk));
        answer
    }

    /// A talk that was found otherwise than by the matcher.
    pub fn found(talk: Arc<Talk>, replayed: &str, reason: String) -> Self {
        let matched = Matched {
            session_id: other_session(&talk.session_id, replayed),
            action_index: i64::from(talk.action_index),
            mark: 1.0,
            reason,
            nearest_action_index: -1,
            ..Matched::default()
        };
        Self { talk: Some(talk), matched, reused: false }
    }
}

/// The recorded session of a call, where it is not the replayed one.
fn other_session(recorded: &str, replayed: &str) -> String {
    if recorded == replayed { String::new() } else { recorded.to_owned() }
}

/// How requests are matched with recorded calls.
#[derive(Clone, Copy, Debug)]
pub struct Matching {
    /// How recorded calls are searched.
    pub strategy: Strategy,
    /// The mark, from 0 to 1, that a changed call needs.
    pub threshold: f64,
}

impl Matching {
    /// How calls are found that the replayed session did not make itself in the recording. koala 1.x looked for none
    /// there, and its strategies would answer from there whatever they found nothing for.
    pub fn elsewhere(self) -> Self {
        if self.strategy.is_of_koala1() {
            return Self { strategy: Strategy::Auto, threshold: koala_matcher::THRESHOLD };
        }
        self
    }
}

/// Recorded calls that requests are matched with; each is used once.
pub struct Book {
    talks: Vec<Arc<Talk>>,
    index: Index,
    /// Places in `talks` of the calls that `index` knows.
    asked: Vec<usize>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("talks", &self.talks.len()).finish_non_exhaustive()
    }
}

impl Book {
    /// A book of `talks`.
    pub fn new(matching: Matching, talks: Vec<Arc<Talk>>) -> Self {
        let asked: Vec<usize> = talks
            .iter()
            .enumerate()
            .filter(|(_, talk)| !talk.request.is_empty())
            .map(|(place, _)| place)
            .collect();
        let overtaken = |number: usize, talk: &Talk| {
            let later = asked.iter().skip(number + 1).filter_map(|place| talks.get(*place));
            later.take_while(|later| later.made_at < talk.answered_at).count()
        };
        let requests: Vec<_> = talks.iter().map(|talk| dns::without_id(&talk.peer, &talk.request)).collect();
        let asking = talks.iter().zip(&requests).filter(|(talk, _)| !talk.request.is_empty()).enumerate();
        let index = Index::of_talks(
            matching.strategy,
            asking.map(|(number, (talk, request))| RecordedTalk {
                call: RecordedCall {
                    connection: talk.socket,
                    at: talk.made_at,
                    overtaken: u32::try_from(overtaken(number, talk)).unwrap_or(u32::MAX),
                    ..RecordedCall::new(&talk.peer, request)
                },
                response: &talk.response,
                state: &talk.state,
            }),
        )
        .with_threshold(matching.threshold);
        Self { talks, index, asked }
    }

    /// For requests of a replay of `session`: what it was called with was not made up by the program.
    #[must_use]
    pub fn within(self, session: &Session) -> Self {
        let request = session.call_from_inbound.as_ref().map_or(&[][..], |call| &call.request);
        let response = session.return_inbound.as_ref().map_or(&[][..], |answer| &answer.response);
        Self { index: self.index.with_inbound(request, response), ..self }
    }

    /// What the program has made up and one of the two books knows, both know from now on.
    pub fn share_names(&mut self, other: &mut Self) {
        self.index.share_names(&mut other.index);
    }

    /// The talks.
    pub fn talks(&self) -> &[Arc<Talk>] {
        &self.talks
    }

    /// The recorded call that a request corresponds to. `replayed` is the id of the session that asks.
    pub fn find(&mut self, asked: &Asked<'_>, replayed: &str) -> Answer {
        let Asked { connection, peer, request, state, .. } = *asked;
        let plain = dns::without_id(peer, request);
        let decision = self.index.find_at(clock::now(), state, connection, peer, &plain);
        let talk_at = |index: Option<usize>| {
            index.and_then(|index| self.asked.get(index)).and_then(|&place| self.talks.get(place))
        };
        let found = talk_at(decision.index);
        let mut misfit = None;
        let mut talk = found.and_then(|found| match asked.fitted(found) {
            Ok(talk) => Some(talk),
            Err(reason) => {
                misfit = Some(format!("it is a recorded call whose answer can't be given: {reason}"));
                None
            }
        });
        // Where a protocol that is not known repeats the number of a request in its answer.
        if let (Some(index), Some(found)) = (decision.index, talk.as_mut())
            && let Some(response) = self.index.fit_response(index, request, &found.response)
        {
            *found = Arc::new(Talk { response, ..Talk::clone(found) });
        }
        let named = found.or_else(|| talk_at(decision.nearest));
        let nearest = named.filter(|_| talk.is_none()).map_or(-1, |talk| i64::from(talk.action_index));
        // Equal bytes need no score.
        let fields = decision.fields.iter().filter(|field| field.name != "bytes" || field.score < 1.0);
        let fields = fields.map(|FieldScore { name, weight, score }| model::FieldScore {
            name: name.to_string(),
            weight: *weight,
            score: *score,
        });
        let runner_up = decision.runner_up.and_then(|(index, mark)| {
            let talk = talk_at(Some(index))?;
            let session_id = other_session(&talk.session_id, replayed);
            Some(RunnerUp { session_id, action_index: i64::from(talk.action_index), mark })
        });
        let (fields, runner_up) = (fields.collect(), runner_up);
        let Decision { mark, reason, differences, reused, .. } = decision;
        let matched = Matched {
            session_id: named.map(|talk| other_session(&talk.session_id, replayed)).unwrap_or_default(),
            action_index: talk.as_ref().map_or(-1, |talk| i64::from(talk.action_index)),
            mark: if misfit.is_some() { 0.0 } else { mark },
            reason: misfit.unwrap_or(reason),
            nearest_action_index: nearest,
            differences,
            fields,
            runner_up,
        };
        Answer { talk, matched, reused }
    }

    /// What the server of `peer` said before it was asked, on the first connection that has not been given it.
    pub fn greeting(&self, peer: &str, nth: usize) -> Option<&Arc<Talk>> {
        self.talks.iter().filter(|talk| talk.request.is_empty() && talk.first && talk.peer == peer).nth(nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(index: u32, connection: u64, request: &str, response: &str) -> Action {
        Action::from(CallOutbound {
            action_index: index,
            connection_id: connection,
            request: request.as_bytes().to_vec(),
            response: response.as_bytes().to_vec(),
            ..CallOutbound::default()
        })
    }

    fn connection(id: u64, peer: &str, protocol: &str, end: &str) -> Arc<Connection> {
        Arc::new(Connection {
            connection_id: id,
            direction: "outbound".to_owned(),
            peer: peer.to_owned(),
            protocol: protocol.to_owned(),
            end: end.to_owned(),
            ..Connection::default()
        })
    }

    #[test]
    fn what_a_server_says_unasked_goes_with_what_it_said_before() {
        let session = Session {
            actions: vec![call(1, 7, "", "WELCOME"), call(2, 7, "a", "1"), call(3, 7, "", "by the way")],
            connections: vec![connection(7, "10.0.0.1:25", "", "")],
            ..Session::default()
        };
        let talks = Talks::of(&session).talks;
        let said: Vec<(&[u8], &[u8], bool)> =
            talks.iter().map(|talk| (&talk.request[..], &talk.response[..], talk.first)).collect();
        assert_eq!(said, [(&b""[..], &b"WELCOME"[..], true), (b"a", b"1by the way", false)]);
        assert!(talks.iter().all(|talk| talk.peer == "10.0.0.1:25"));
    }

    #[test]
    fn the_last_talk_ends_a_connection_as_it_ended() {
        let closed = "HTTP/1.0 200 OK\r\n\r\nhello";
        let kept = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let session = Session {
            actions: vec![
                call(1, 1, "a", "1"),
                call(2, 1, "b", "2"),
                call(3, 2, "a", "1"),
                call(4, 3, request, closed),
                call(5, 4, request, kept),
            ],
            connections: vec![
                connection(1, "10.0.0.1:1", "", "peer-closed"),
                connection(2, "10.0.0.1:1", "", "reset"),
                connection(3, "10.0.0.1:80", "http", "closed"),
                connection(4, "10.0.0.1:80", "http", "closed"),
            ],
            ..Session::default()
        };
        let after: Vec<After> = Talks::of(&session).talks.iter().map(|talk| talk.after).collect();
        assert_eq!(after, [After::Open, After::Close, After::Reset, After::Close, After::Open]);
    }

    #[test]
    fn a_failed_connect_is_no_talk() {
        let failed = CallOutbound {
            action_index: 1,
            connection_id: 1,
            error: "ETIMEDOUT".to_owned(),
            ..CallOutbound::default()
        };
        let session = Session {
            actions: vec![failed.into()],
            connections: vec![connection(1, "10.0.0.1:1", "", "ETIMEDOUT")],
            ..Session::default()
        };
        let Talks { talks, failed, .. } = Talks::of(&session);
        assert!(talks.is_empty());
        let expected =
            FailedConnect { action_index: 1, peer: "10.0.0.1:1".to_owned(), error: "ETIMEDOUT".to_owned() };
        assert_eq!(failed, [expected]);
    }

    #[test]
    fn sessions_of_koala_1_have_peers_without_connections() {
        use koala_session::model::{Peer, UnixAddr};
        let tcp = Peer { ip: "10.0.0.1".to_owned(), port: 80, zone: String::new() };
        let call = CallOutbound { peer: tcp, ..CallOutbound::default() };
        assert_eq!(peer_of(&call, &[]), "10.0.0.1:80");
        let unix = UnixAddr { name: "/run/x.sock".to_owned(), net: "unix".to_owned() };
        let call = CallOutbound { unix_addr: unix, ..CallOutbound::default() };
        assert_eq!(peer_of(&call, &[]), "unix:/run/x.sock");
    }
}
