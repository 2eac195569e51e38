//! Replaying a session: the client that the program sees.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use koala_events::Address;
use koala_protocol::{Detection, Expected, Protocol, RequestFramer, ResponseFramer, Step};
use koala_session::model::{ReturnInbound, Session};
use tokio::io::Interest;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock;
use crate::config::{Config, InboundProtocol, SutAddr};
use crate::follow::Follower;
use crate::replay::desk::{Desk, Flight};
use crate::replay::socket::Socket;
use crate::replay::table::Table;
use crate::replay::talks::Talks;

/// Where the program is called when nothing says where it listens.
const DEFAULT_SUT: &str = "127.0.0.1:2515";

/// Why a session was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is not a session that begins with a request.
    #[error("session {0:?} has no request: nothing to replay")]
    NoRequest(String),
    /// The program does not take connections.
    #[error("the program does not take a connection at {address}: {error}")]
    Connect {
        /// Where it was called.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// It is what was said after an upgrade, and nobody has upgraded.
    #[error("it goes on on the upgraded connection of session {0}, which has to be replayed just before it")]
    Continues(String),
    /// It did not end in time.
    #[error("{what} within {limit:?}; {answered} outbound calls were answered, {unanswered} were not")]
    Timeout {
        /// What did not happen.
        what: &'static str,
        /// The time it had.
        limit: Duration,
        /// Calls answered.
        answered: usize,
        /// Calls not answered.
        unanswered: usize,
    },
    /// The agent ends.
    #[error("the agent is finishing")]
    Finishing,
}

/// How often the log is looked at once the response is complete, before its follower is waited for: a thread that
/// has responded mostly comes to rest in microseconds.
const LOOKS: u32 = 10;

/// How many connections are kept for the sessions that go on on them.
const HELD: usize = 64;

/// What a replay needs.
#[derive(Debug)]
pub struct Inside {
    config: Config,
    follower: Arc<Follower>,
    desk: Arc<Desk>,
    table: Table,
    /// Connections on which another session goes on, by the session that was replayed last; the oldest first.
    held: Mutex<VecDeque<(String, Socket, Address)>>,
}

/// Takes a flight off the desk, however its replay ends.
struct Landing<'a> {
    inside: &'a Inside,
    from: Address,
    /// What its session made of the replay table, if something unusual.
    talks: Option<Talks>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.inside.desk.dismiss(&self.from);
        if let Some(talks) = &self.talks {
            self.inside.table.restore(talks);
        }
    }
}

impl Inside {
    /// What the inbound server of a replay works with.
    pub fn new(config: Config, follower: Arc<Follower>, desk: Arc<Desk>, table: Table) -> Self {
        Self { config, follower, desk, table, held: Mutex::default() }
    }

    /// The connection by which the program gets the request of this session, and its address: that of the session
    /// before it, where the recording says so, or a new one.
    async fn connection(
        &self,
        recorded: &Session,
        deadline: Instant,
    ) -> Result<(Socket, Address), ReplayError> {
        if let Some(before) = self.desk.past().lines.before(&recorded.session_id) {
            let held = self.take(&before.session_id);
            // What the program has said unasked is no answer to what comes next.
            if let Some(connection) = held.filter(|(socket, _)| socket.read_all(&mut Vec::new())) {
                return Ok(connection);
            }
            if before.upgraded {
                return Err(ReplayError::Continues(before.session_id.clone()));
            }
        }
        let to = self.target(recorded);
        let connect = |error| ReplayError::Connect { address: to.to_string(), error };
        tokio::time::timeout_at(deadline, Socket::connect(&to))
            .await
            .map_err(|_| connect(io::ErrorKind::TimedOut.into()))?
            .map_err(connect)
    }

    /// The connection that was kept of this session.
    fn take(&self, session_id: &str) -> Option<(Socket, Address)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let place = held.iter().position(|(id, ..)| id == session_id)?;
        held.remove(place).map(|(_, socket, from)| (socket, from))
    }

    /// Keeps the connection of a session that was replayed for the one that goes on on it.
    fn hold(&self, session_id: &str, client: Client, from: Address) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() == HELD {
            held.pop_front();
        }
        held.push_back((session_id.to_owned(), client.socket, from));
    }

    /// Replays a session: sends its request to the program, and returns what the program did, with what each of
    /// its calls was answered with. It has `limit` for all of it.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] if the program did not take the request, or did not come to an end.
    pub async fn replay(&self, recorded: Session, limit: Duration) -> Result<Session, ReplayError> {
        let Some(call) = &recorded.call_from_inbound else {
            return Err(ReplayError::NoRequest(recorded.session_id));
        };
        let deadline = Instant::now() + limit;
        let talks = Talks::of(&recorded);
        self.table.prepare(&talks);
        let unusual = (!talks.failed.is_empty()).then(|| talks.clone());
        let (socket, from) = self.connection(&recorded, deadline).await?;
        let (flight, delivered) = self.desk.admit(from, &recorded, talks);
        let _landing = Landing { inside: self, from, talks: unusual };
        let _eager = self.follower.eager();
        let goes_on = self.desk.past().lines.goes_on(&recorded.session_id);
        let mut client = Client::new(socket, &call.request, &self.config);
        client.stays = goes_on;
        let mut session =
            client.run(&self.follower, &from, delivered, deadline).await.map_err(|end| match end {
                Unfinished::Finishing => ReplayError::Finishing,
                Unfinished::Late => late(&client, &flight, limit),
            })?;
        client.complete(&mut session);
        if goes_on && !client.ended {
            self.hold(&recorded.session_id, client, from);
        }
        self.desk.account(&flight, &mut session);
        Ok(*session)
    }

    /// Where the program is called for this session.
    fn target(&self, recorded: &Session) -> SutAddr {
        if let Some(address) = &self.config.sut_addr {
            return address.clone();
        }
        let inbound = recorded.call_from_inbound.as_ref().map_or(0, |call| call.connection_id);
        let named = recorded
            .connections
            .iter()
            .find(|connection| connection.connection_id == inbound && connection.direction == "inbound")
            .and_then(|connection| SutAddr::parse(&connection.local));
        let listeners: Vec<SutAddr> = self
            .follower
            .listeners()
            .iter()
            .filter_map(|listener| SutAddr::parse(&listener.to_string()))
            .collect();
        match (named, listeners.as_slice()) {
            (Some(named), listeners) if listeners.iter().any(|listener| same(listener, &named)) => named,
            // It listens at one place: at another port than when it was recorded.
            (_, [only]) => only.clone(),
            (Some(named), _) => named,
            (None, [first, ..]) => first.clone(),
            (None, []) => SutAddr::parse(DEFAULT_SUT).unwrap_or_else(|| SutAddr::Unix(String::new())),
        }
    }
}

/// Whether two addresses of the program are one, or one of them means every interface with the other's port.
fn same(listener: &SutAddr, named: &SutAddr) -> bool {
    match (listener, named) {
        (SutAddr::Tcp(listener), SutAddr::Tcp(named)) => {
            listener == named
                || (listener.port() == named.port()
                    && listener.ip().is_loopback() != named.ip().is_loopback())
                || (listener.port() == named.port() && listener.is_ipv4() != named.is_ipv4())
        }
        (listener, named) => listener == named,
    }
}

fn late(client: &Client, flight: &Flight, limit: Duration) -> ReplayError {
    let what = if !client.sent() {
        "the program did not take the request"
    } else if client.received.is_empty() {
        "the program did not respond"
    } else if !client.answered {
        "the program did not finish its response"
    } else {
        "the program responded, but did not come to rest"
    };
    let (answered, unanswered) = flight.counts();
    ReplayError::Timeout { what, limit, answered, unanswered }
}

/// Whether a request is complete, as far as its protocol tells.
fn is_whole(protocol: Protocol, request: &[u8]) -> bool {
    !matches!(RequestFramer::new(protocol).push(request), Step::More)
}

/// Why a client stopped.
enum Unfinished {
    Late,
    Finishing,
}

/// The connection by which a request is sent and its response received.
struct Client {
    socket: Socket,
    request: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    /// When the first byte of the response arrived.
    received_at: u64,
    expected: Expected,
    framer: ResponseFramer,
    /// How much of `received` the framer has seen.
    framed: usize,
    /// The response is complete, as far as its protocol tells.
    answered: bool,
    /// Nothing more will arrive.
    ended: bool,
    /// No protocol tells where the response ends.
    raw: bool,
    /// How long a response without a protocol goes on after its last byte.
    quiet: Duration,
    /// The client of the recording left off in the middle of the request.
    partial: bool,
    /// Another session goes on on the connection.
    stays: bool,
}

impl Client {
    fn new(socket: Socket, request: &[u8], config: &Config) -> Self {
        let protocol = match config.inbound_protocol {
            InboundProtocol::FastCgi => Protocol::FastCgi,
            InboundProtocol::Http => Protocol::Http,
            InboundProtocol::Raw => Protocol::Raw,
            InboundProtocol::Auto => match koala_protocol::detect_request(request) {
                Detection::Is(protocol) => protocol,
                _ => Protocol::Raw,
            },
        };
        Self {
            socket,
            request: request.to_vec(),
            written: 0,
            received: Vec::new(),
            received_at: 0,
            expected: Expected::of(protocol, request),
            framer: ResponseFramer::new(protocol),
            framed: 0,
            answered: false,
            ended: false,
            raw: protocol == Protocol::Raw,
            quiet: config.inbound_read_timeout,
            partial: protocol != Protocol::Raw && !is_whole(protocol, request),
            stays: false,
        }
    }

    fn sent(&self) -> bool {
        self.written == self.request.len()
    }

    /// Sends and receives until the session is delivered.
    async fn run(
        &mut self,
        follower: &Follower,
        from: &Address,
        mut delivered: oneshot::Receiver<Box<Session>>,
        deadline: Instant,
    ) -> Result<Box<Session>, Unfinished> {
        let mut silent_since = Instant::now();
        let mut half_closed = false;
        let mut looks = LOOKS;
        loop {
            if self.partial && self.sent() && !half_closed {
                half_closed = true;
                self.socket.finish_writing();
            }
            if self.answered && looks > 0 {
                looks -= 1;
                if follower.drain().sessions == 0 {
                    std::thread::yield_now();
                    continue;
                }
            }
            // Without a protocol, a program may wait for more until it is told that nothing comes.
            let quiet_ends = (self.raw && !half_closed && self.sent()).then(|| silent_since + self.quiet);
            let waits = quiet_ends.filter(|_| !self.received.is_empty());
            let until = waits.map_or(deadline, |quiet| quiet.min(deadline));
            let interest = match (self.ended, self.sent()) {
                (false, true) => Some(Interest::READABLE),
                (false, false) => Some(Interest::READABLE | Interest::WRITABLE),
                (true, _) => None,
            };
            let ready = async {
                match interest {
                    Some(interest) => self.socket.ready(interest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                session = &mut delivered => return session.map_err(|_| Unfinished::Finishing),
                ready = ready => {
                    let moved = match ready {
                        Ok(_) => self.advance(),
                        Err(_) => { self.ended = true; true }
                    };
                    if moved {
                        silent_since = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    if Instant::now() >= deadline {
                        return Err(Unfinished::Late);
                    }
                    self.answered = true;
                    half_closed = true;
                    if self.stays {
                        follower.settle(from);
                    } else {
                        self.socket.finish_writing();
                    }
                }
            }
        }
    }

    /// Writes and reads what is possible now; whether something moved. A connection that fails has ended: what
    /// became of the session is told by the log.
    fn advance(&mut self) -> bool {
        let mut moved = false;
        while !self.sent() {
            let rest = self.request.get(self.written..).unwrap_or_default();
            match self.socket.write(rest) {
                Ok(Some(count)) => {
                    self.written += count;
                    moved = true;
                }
                Ok(None) => break,
                // It may have answered before it stopped listening.
                Err(_) => self.written = self.request.len(),
            }
        }
        loop {
            match self.socket.read(&mut self.received) {
                Ok(Some(0)) | Err(_) => {
                    self.answered |= self.framer.ends_with_stream() && !self.received.is_empty();
                    self.ended = true;
                    return true;
                }
                Ok(Some(_)) => {
                    if self.received_at == 0 {
                        self.received_at = clock::now();
                    }
                    self.frame();
                    moved = true;
                }
                Ok(None) => return moved,
            }
        }
    }

    fn frame(&mut self) {
        if self.answered || self.raw {
            return;
        }
        let unseen = self.received.get(self.framed..).unwrap_or_default();
        match self.framer.push(self.expected, unseen) {
            Step::More => self.framed = self.received.len(),
            Step::End(_) | Step::Switch(_) => self.answered = true,
            Step::Invalid => self.raw = true,
        }
    }

    /// Puts the response into a replayed session as it arrived, where the log lacks some of it.
    fn complete(&mut self, session: &mut Session) {
        // The log may tell of the end before the event loop does. What is not read would make the close a reset.
        if !self.ended {
            self.ended = !self.socket.read_all(&mut self.received);
        }
        if self.received.is_empty() {
            return;
        }
        if self.received_at == 0 {
            self.received_at = clock::now();
        }
        match &mut session.return_inbound {
            Some(returned) if returned.response.len() < self.received.len() => {
                returned.response = std::mem::take(&mut self.received);
            }
            Some(_) => {}
            None => {
                session.return_inbound = Some(ReturnInbound {
                    action_index: session.actions.len() as u32 + 1,
                    occurred_at: self.received_at,
                    response: std::mem::take(&mut self.received),
                });
            }
        }
    }
}
