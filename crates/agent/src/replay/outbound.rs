//! The outbound server: it plays every server that the program asks.
//!
//! The program's connects are redirected here by `libkoala.so`. A connection is known by its peer address, which is
//! the program's local address, and which the event log ties to the peer that the program meant; whose a request is
//! tells the log as well, at the moment when the request arrives. What nothing recorded answers is not answered:
//! the connection is closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use koala_events::Address;
use koala_protocol::{ConnectionState, Protocol};
use tokio::io::Interest;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;

use crate::follow::{Caller, Follower};
use crate::logger::Logger;
use crate::replay::desk::Desk;
use crate::replay::framing::{self, Next, Requests};
use crate::replay::login::Entry;
use crate::replay::past::Past;
use crate::replay::socket::{self, Socket};
use crate::replay::talks::{After, Answer, Asked, Talk};

/// How long the log may take to tell of bytes that have arrived.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// How long a request without a protocol goes on after its last byte, where more could come.
const QUIET: Duration = Duration::from_millis(20);

/// What the tasks of the outbound server share.
#[derive(Debug)]
pub struct Outside {
    follower: Arc<Follower>,
    desk: Arc<Desk>,
    past: Arc<Past>,
    greets: bool,
    logger: Logger,
}

impl Outside {
    /// The outbound server of a replay.
    pub fn new(follower: Arc<Follower>, desk: Arc<Desk>, past: Arc<Past>, logger: Logger) -> Arc<Self> {
        let greets = desk.greets();
        Arc::new(Self { follower, desk, past, greets, logger })
    }

    /// Serves a TCP listener until the task is dropped.
    pub async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    self.spawn(Socket::Tcp(stream), socket::tcp_peer(peer));
                }
                Err(error) => self.rest(&error).await,
            }
        }
    }

    /// Serves a unix listener until the task is dropped.
    pub async fn serve_unix(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let peer = socket::unix_peer(&stream);
                    self.spawn(Socket::Unix(stream), peer);
                }
                Err(error) => self.rest(&error).await,
            }
        }
    }

    /// Where it writes what it has to say.
    pub(super) fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Who decides what is answered.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Asks the follower until the log tells, but not for ever.
    pub(super) async fn told<T>(&self, ask: impl Fn(&Follower) -> Option<T>) -> Option<T> {
        let follower = &self.follower;
        if let Some(told) = ask(follower) {
            return Some(told);
        }
        let _eager = follower.eager();
        let deadline = Instant::now() + LOG_PATIENCE;
        loop {
            let progress = follower.progress();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if let Some(told) = ask(follower) {
                return Some(told);
            }
            tokio::time::timeout_at(deadline, progress).await.ok()?;
        }
    }

    async fn rest(&self, error: &io::Error) {
        self.logger.warn(format_args!("outbound server: {error}"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    fn spawn(self: &Arc<Self>, socket: Socket, local: Address) {
        let outside = self.clone();
        tokio::spawn(async move {
            let mut served = Served {
                outside: &outside,
                socket,
                local,
                received: 0,
                requests: Requests::new(None),
                entry: Entry::default(),
                state: ConnectionState::default(),
                out: Vec::new(),
                ending: After::Open,
            };
            if let Err(error) = served.serve().await {
                outside.logger.debug(format_args!("outbound connection from {local}: {error}"));
            }
            if served.ending == After::Reset {
                served.socket.reset();
            }
        });
    }
}

/// A connection that is being served.
struct Served<'a> {
    outside: &'a Outside,
    socket: Socket,
    /// The program's end.
    local: Address,
    /// Bytes that have arrived in all.
    received: u64,
    requests: Requests,
    /// How far its login is.
    entry: Entry,
    /// What was said on it, as far as its requests refer to it.
    state: ConnectionState,
    /// What is to be sent.
    out: Vec<u8>,
    /// What happens when it is sent.
    ending: After,
}

/// What [`Served::wait`] waited for.
enum Came {
    Bytes,
    End,
    Nothing,
}

impl Served<'_> {
    async fn serve(&mut self) -> io::Result<()> {
        if self.outside.greets {
            self.greet().await?;
        }
        let mut known: Option<Caller> = None;
        let mut ended = false;
        while !ended {
            let quiet = (self.requests.is_unframed() && !self.requests.pending().is_empty()).then_some(QUIET);
            let came = self.wait(quiet).await?;
            ended = matches!(came, Came::End);
            if let (true, Some(reason), Some(caller)) = (ended, self.entry.left(), &known) {
                self.outside.desk.left(caller, &caller.peer.to_string(), reason);
            }
            if !matches!(came, Came::Bytes) && self.requests.pending().is_empty() {
                continue;
            }
            if matches!(came, Came::Bytes) || known.is_none() {
                known = self.caller().await;
            }
            let Some(caller) = known else {
                self.outside.logger.warn(format_args!(
                    "outbound connection from {}: the log does not tell of it; closed",
                    self.local
                ));
                self.ending = After::Close;
                break;
            };
            self.answer_all(&caller, !matches!(came, Came::Bytes));
            self.flush()?;
            if self.ending != After::Open {
                break;
            }
        }
        self.linger().await
    }

    /// Says what the server says first, if it does.
    async fn greet(&mut self) -> io::Result<()> {
        // Who speaks first is known by its address, which the log may tell a little after the accept.
        let Some(caller) = self.caller().await else { return Ok(()) };
        if let Some(talk) = self.outside.desk.greeting(&caller, &caller.peer.to_string()) {
            self.state.exchange(&[], &talk.response);
            self.out.extend_from_slice(&talk.response);
            self.ending = talk.after;
            self.flush()?;
        }
        Ok(())
    }

    /// Waits for bytes, and sends what is to be sent meanwhile; no longer than `limit`.
    async fn wait(&mut self, limit: Option<Duration>) -> io::Result<Came> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let ready = match deadline {
                None => self.socket.ready(interest).await?,
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline, self.socket.ready(interest)).await {
                        Ok(ready) => ready?,
                        Err(_) => return Ok(Came::Nothing),
                    }
                }
            };
            if ready.is_writable() {
                self.flush()?;
            }
            if !ready.is_readable() {
                continue;
            }
            let mut bytes = Vec::new();
            match self.socket.read(&mut bytes)? {
                None => {}
                Some(0) => return Ok(Came::End),
                Some(count) => {
                    self.received += count as u64;
                    self.requests.push(&bytes);
                    return Ok(Came::Bytes);
                }
            }
        }
    }

    /// Who has sent what has arrived. `None` if the log does not tell.
    async fn caller(&self) -> Option<Caller> {
        self.outside.told(|follower| follower.caller(&self.local, self.received)).await
    }

    /// Answers every request that is complete. `done`: nothing more comes for now.
    fn answer_all(&mut self, caller: &Caller, done: bool) {
        let peer = caller.peer.to_string();
        if let Some(&protocol) = self.outside.past.protocols.get(&peer) {
            self.requests.assume(protocol);
        }
        while self.ending == After::Open {
            match self.requests.next_request() {
                Next::Request(request) => self.answer(caller, &peer, &request),
                Next::More => return,
                Next::Continue => self.out.extend_from_slice(framing::CONTINUE),
                Next::Encrypted(server_name) => {
                    let name = server_name.unwrap_or_else(|| "a server without a name".to_owned());
                    let reason = format!("encrypted: what is said to {name} by TLS can't be replayed");
                    let request = self.requests.take();
                    self.refuse(caller, &peer, &request, reason);
                }
                Next::Unframed => {
                    let candidates = self.outside.desk.candidates(caller, &peer);
                    if !done && !is_whole(self.requests.pending(), &candidates) {
                        return;
                    }
                    let request = self.requests.take();
                    self.answer(caller, &peer, &request);
                }
            }
        }
    }

    fn answer(&mut self, caller: &Caller, peer: &str, request: &[u8]) {
        let desk = &self.outside.desk;
        let protocol = self.requests.protocol().unwrap_or_default();
        let login = desk.log_in(caller, peer, protocol, &mut self.entry, request);
        let Answer { talk, matched, .. } = login.unwrap_or_else(|| {
            let connection = caller.connection;
            desk.answer(caller, &Asked { connection, peer, protocol, request, state: &self.state })
        });
        let Some(talk) = talk else {
            self.outside.logger.info(format_args!("a call to {peer} is not answered: {}", matched.reason));
            self.ending = After::Close;
            return;
        };
        let told = self.requests.told_to_continue();
        let response = if told { framing::without_continue(&talk.response) } else { &talk.response };
        if !matches!(protocol, Protocol::Http | Protocol::FastCgi | Protocol::Raw) {
            self.state.exchange(request, response);
        }
        self.out.extend_from_slice(response);
        self.ending = talk.after;
        if protocol == Protocol::Http && framing::switches(request, &talk.response) {
            self.requests.speak(Protocol::Raw);
        }
    }

    fn refuse(&mut self, caller: &Caller, peer: &str, request: &[u8], reason: String) {
        self.outside.logger.info(format_args!("a call to {peer} is not answered: {reason}"));
        self.outside.desk.refuse(caller, peer, request, reason);
        self.ending = After::Close;
    }

    /// Sends what there is room for.
    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out)? {
                Some(count) if count == self.out.len() => self.out.clear(),
                Some(count) => drop(self.out.drain(..count)),
                None => break,
            }
        }
        Ok(())
    }

    /// Sends what is left.
    async fn linger(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            self.socket.ready(Interest::WRITABLE).await?;
            self.flush()?;
        }
        Ok(())
    }
}

/// Whether what arrived without a protocol is a request for certain: it is one that was recorded, and begins no
/// longer one. Else what comes next tells, or that nothing does.
fn is_whole(bytes: &[u8], candidates: &[Arc<Talk>]) -> bool {
    let mut equal = false;
    for talk in candidates {
        if talk.request.len() > bytes.len() && talk.request.starts_with(bytes) {
            return false;
        }
        equal |= talk.request == bytes;
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talks(requests: &[&str]) -> Vec<Arc<Talk>> {
        let talk = |request: &&str| Talk::simulated(request.as_bytes().to_vec(), Vec::new());
        requests.iter().map(talk).map(Arc::new).collect()
    }

    #[test]
    fn a_request_without_protocol_is_whole_when_it_can_be_no_longer_one() {
        let recorded = talks(&["get a", "get ab", "put"]);
        assert!(is_whole(b"get ab", &recorded));
        assert!(is_whole(b"put", &recorded));
        assert!(!is_whole(b"get a", &recorded), "it begins a longer one");
        assert!(!is_whole(b"get", &recorded));
        assert!(!is_whole(b"something else", &recorded), "more of it may come");
    }
}
