//! The agent as a whole: its parts put together, and the order in which they begin and end.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use koala_events::{Address, Mode, Overflow};
use koala_session::assemble;
use koala_session::model::Session;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::attach;
use crate::config::{Config, Listen};
use crate::follow::{Follower, Sink};
use crate::http::{self, Door};
use crate::journal::Journal;
use crate::lifetime::{self, Parent};
use crate::logger::{Logger, Target};
use crate::manifest::{LostCounts, ManifestError};
use crate::memory::SharedArena;
use crate::net;
use crate::processes::Processes;
use crate::record::{Progress, RecordError, Recorder};
use crate::replay::datagrams::{self, StandIn};
use crate::replay::desk::{Desk, Router};
use crate::replay::past::Past;
use crate::replay::table::Table;
use crate::replay::talks::Matching;
use crate::replay::{Inside, Outside, ReplayError};
use crate::status::{BootStatus, Ready, Status, UnmatchedStatus};

/// How long those who ask have to hear the last answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Record.
    Record {
        /// The recording.
        to: PathBuf,
        /// The program and its arguments, for the manifest.
        command: Vec<String>,
        /// How many bytes the files of sessions may have in all; then the oldest go.
        max_disk: Option<u64>,
    },
    /// Replay.
    Replay {
        /// The recording.
        recording: PathBuf,
    },
}

/// What an agent has left that is dead, and whose standby is: descriptors that this process has inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The event log.
    pub event_log: RawFd,
    /// The [journal](crate::journal).
    pub journal: RawFd,
}

impl Left {
    /// Takes them; nobody else in this process has them.
    fn take(self) -> io::Result<(SharedArena, Journal)> {
        // SAFETY: who started this process says that they are there for it, and this is where they are taken.
        let [log, journal] = [self.event_log, self.journal].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        for fd in [&log, &journal] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
        }
        let journal = Journal::adopt(journal)?;
        if journal.commits().is_finished() {
            return Err(io::Error::other("the recording is complete"));
        }
        Ok((SharedArena::adopt(log)?, journal))
    }
}

/// What the agent is to do, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What.
    pub task: Task,
    /// Where its sockets are.
    pub runtime_dir: PathBuf,
    /// Bytes of the event log.
    pub arena_size: usize,
    /// The process of the program that has started the agent, which nobody waits for: it goes on until the last
    /// process of the program is dead. `None`: it was started by a command line.
    pub detached: Option<u32>,
    /// What an agent has left that this one goes on for.
    pub go_on: Option<Left>,
    /// What happens when the event log runs short of room.
    pub overflow: Overflow,
    /// The share of the sessions that is recorded, from 0 to 1.
    pub sample: f64,
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The recording can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The recording can't be read.
    #[error(transparent)]
    Recording(#[from] ManifestError),
    /// A server can't listen.
    #[error("{what} can't listen at {address}: {error}")]
    Listen {
        /// Which server, and how it is given another address.
        what: &'static str,
        /// Where.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Another agent is there.
    #[error("{} has an agent", .0.display())]
    Taken(PathBuf),
    /// Something else failed.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |error| StartError::System { what, error }
}

/// Hands sessions to a recorder that others ask as well.
struct Shared(Arc<Mutex<Recorder>>);

impl Shared {
    fn recorder(&self) -> std::sync::MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shared {
    fn session(&mut self, session: Box<Session>) -> Option<Box<Session>> {
        self.recorder().session(session)
    }

    fn turn(&mut self) {
        self.recorder().turn();
    }

    fn at_rest(&mut self, f: &mut dyn FnMut()) {
        self.recorder().at_rest(f);
    }

    fn succeed(&mut self) {
        self.recorder().succeed();
    }
}

/// What only a recording, or only a replay, has.
enum Work {
    Record { recorder: Shared, progress: Arc<Progress>, to: PathBuf },
    Replay { inside: Box<Inside>, desk: Arc<Desk>, replayed: AtomicU64 },
}

/// A running agent.
pub struct Agent {
    work: Work,
    follower: Arc<Follower>,
    processes: Arc<Processes>,
    logger: Logger,
    runtime_dir: PathBuf,
    /// The last status, once there is one.
    finish: tokio::sync::Mutex<Option<Status>>,
    finished: watch::Sender<bool>,
}

/// The listeners of an agent, before anybody listens.
struct Doors {
    control: UnixListener,
    attach: UnixListener,
    inbound: Option<TcpListener>,
    outbound: Vec<TcpListener>,
    outbound_unix: Option<UnixListener>,
    stand_ins: Vec<StandIn>,
}

/// What a standby needs, besides what follows the log, to go on as the agent.
struct Heritage {
    recorder: Arc<Mutex<Recorder>>,
    progress: Arc<Progress>,
    to: PathBuf,
    follower: Weak<Follower>,
    processes: Arc<Processes>,
    logger: Logger,
    runtime_dir: PathBuf,
    arena: Arc<SharedArena>,
    proof: attach::Proof,
    /// The listeners; in the standby nobody else uses or closes them.
    control: RawFd,
    attach: RawFd,
}

/// An agent that is ready to be asked.
pub struct Started {
    agent: Arc<Agent>,
    /// What a standby needs to go on as the agent.
    heritage: Option<(Heritage, Journal)>,
    tasks: JoinSet<()>,
    ready: Ready,
    /// Closed when the last connection is.
    connections: mpsc::Receiver<()>,
}

impl Agent {
    /// Starts an agent; within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is in its way.
    pub fn start(options: Options, config: Config) -> Result<Started, StartError> {
        let runtime_dir = options.runtime_dir;
        let directory = runtime_dir.display().to_string();
        fs::create_dir_all(&runtime_dir).map_err(system(directory.clone()))?;
        if options.detached.is_some() {
            lock(&runtime_dir)?;
        }
        let target = config.log_target.clone().unwrap_or_else(|| Target::File(runtime_dir.join("agent.log")));
        let logger = Logger::open(&target, config.log_level, config.log_format)
            .map_err(system(format!("the log can't be written (KOALA_LOG_FILE, {target})")))?;
        let mode = match options.task {
            Task::Record { .. } => Mode::Record,
            Task::Replay { .. } => Mode::Replay,
        };
        let what = "memory for the event log";
        let (arena, left) = match options.go_on.filter(|_| mode == Mode::Record) {
            Some(left) => left.take().map(|(arena, journal)| (arena, Some(journal))).map_err(system(what))?,
            None => (SharedArena::new(mode, options.arena_size).map_err(system(what))?, None),
        };
        if mode == Mode::Record && left.is_none() {
            arena.arena().set_admission(options.overflow, options.sample);
        }
        let arena = Arc::new(arena);
        let processes = Arc::new(Processes::default());
        let mut doors = Doors {
            control: bind_unix(&runtime_dir.join("control.sock"), 0o600)?,
            attach: bind_unix(&runtime_dir.join("attach.sock"), 0o666)?,
            inbound: None,
            outbound: Vec::new(),
            outbound_unix: None,
            stand_ins: Vec::new(),
        };
        let mut ready = Ready {
            ready: true,
            control_socket: runtime_dir.join("control.sock").display().to_string(),
            attach_socket: runtime_dir.join("attach.sock").display().to_string(),
            inbound_addr: None,
            outbound_addr: None,
        };
        let (control, attach) = (doors.control.as_raw_fd(), doors.attach.as_raw_fd());
        let mut recorder_id = [0; 8];
        rustix::rand::getrandom(&mut recorder_id, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| system("random numbers")(error.into()))?;
        let assembly = assemble::Config::new(u64::from_ne_bytes(recorder_id));
        let (work, follower, outside) = match options.task {
            Task::Record { to, mut command, max_disk } => {
                if let Some(pid) = options.detached {
                    command = lifetime::command_of(pid);
                }
                let recorder = match &left {
                    Some(journal) => Recorder::go_on(&to, max_disk, journal, logger.clone())?,
                    None => {
                        for &address in &config.bypass_addrs {
                            let arena = arena.arena();
                            arena.replay_table().set_peer(&address, koala_events::Outcome::Bypass);
                        }
                        Recorder::create(&to, command, max_disk, logger.clone())?
                    }
                };
                let progress = recorder.progress();
                let recorder = Arc::new(Mutex::new(recorder));
                let sink = Box::new(Shared(recorder.clone()));
                let follower = Follower::new(arena.arena(), assembly, processes.clone(), sink, false);
                if let Some(journal) = &left {
                    let whole = follower.go_on(journal);
                    logger.warn(format_args!(
                        "the agent and its standby were killed; process {} goes on as the agent{}",
                        std::process::id(),
                        if whole { "" } else { ", but not all that they knew is left: sessions are lost" }
                    ));
                }
                (Work::Record { recorder: Shared(recorder), progress, to }, follower, None)
            }
            Task::Replay { recording } => {
                let past = Arc::new(Past::load(&recording)?);
                for warning in &past.warnings {
                    logger.warn(format_args!("{warning}"));
                }
                let matching = Matching { strategy: config.strategy, threshold: config.threshold };
                let desk = Arc::new(Desk::new(past.clone(), matching));
                let sink = Box::new(Router(desk.clone()));
                let follower = Follower::new(arena.arena(), assembly, processes.clone(), sink, true);
                let table = Table::new(arena.arena(), &config, past.clone());
                doors.listen(&config, &runtime_dir, &arena, &mut ready)?;
                doors.stand_ins =
                    datagrams::stand_in(&arena.arena(), &past).map_err(system("a socket for datagrams"))?;
                let outside = Outside::new(follower.clone(), desk.clone(), past, logger.clone());
                let inside = Box::new(Inside::new(config, follower.clone(), desk.clone(), table));
                let work = Work::Replay { inside, desk, replayed: AtomicU64::new(0) };
                (work, follower, Some(outside))
            }
        };
        follower.start(logger.clone()).map_err(system("a thread"))?;
        let token = std::env::var("KOALA_TOKEN").unwrap_or_default();
        let starter = rustix::process::getppid().map(|id| id.as_raw_nonzero().get().cast_unsigned());
        let proof = attach::Proof::new(token.as_bytes(), starter);
        let heritage = match &work {
            Work::Record { recorder, progress, to } => left.or_else(|| journal(&logger)).map(|journal| {
                let heritage = Heritage {
                    recorder: recorder.0.clone(),
                    progress: progress.clone(),
                    to: to.clone(),
                    follower: Arc::downgrade(&follower),
                    processes: processes.clone(),
                    logger: logger.clone(),
                    runtime_dir: runtime_dir.clone(),
                    arena: arena.clone(),
                    proof: proof.clone(),
                    control,
                    attach,
                };
                (heritage, journal)
            }),
            Work::Replay { .. } => None,
        };
        let agent = Arc::new(Self {
            work,
            follower,
            processes: processes.clone(),
            logger: logger.clone(),
            runtime_dir,
            finish: tokio::sync::Mutex::new(None),
            finished: watch::Sender::new(false),
        });
        let (connection, connections) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(attach::serve(doors.attach, arena, processes, proof, logger));
        tasks.spawn(serve_control(doors.control, agent.clone(), connection.clone()));
        if let Some(listener) = doors.inbound {
            tasks.spawn(serve_inbound(listener, agent.clone(), connection));
        }
        if let Some(outside) = outside {
            for listener in doors.outbound {
                tasks.spawn(outside.clone().serve_tcp(listener));
            }
            for stand_in in doors.stand_ins {
                tasks.spawn(outside.clone().serve_datagrams(stand_in));
            }
            if let Some(listener) = doors.outbound_unix {
                tasks.spawn(outside.serve_unix(listener));
            }
        }
        Ok(Started { agent, heritage, tasks, ready, connections })
    }

    /// The agent's log.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Turns true when the agent has finished.
    pub fn finished(&self) -> watch::Receiver<bool> {
        self.finished.subscribe()
    }

    /// How it goes.
    pub fn status(&self) -> Status {
        let facts = self.follower.facts();
        let pids = self.living();
        let mut status = Status {
            listeners: facts.listeners,
            processes: pids.len(),
            pids,
            events: facts.events,
            gaps: facts.gaps,
            encrypted: facts.encrypted,
            unresolved: facts.unresolved,
            not_covered: facts.not_covered,
            ..Status::default()
        };
        match &self.work {
            Work::Record { recorder, progress, .. } => {
                status.mode = "record".to_owned();
                status.sessions = progress.sessions();
                status.boot_sessions = progress.boot_sessions();
                status.given_up = facts.given_up.into();
                status.lost = LostCounts::new(facts.lost, progress.unwritten());
                status.error = recorder.recorder().failure().map(str::to_owned);
            }
            Work::Replay { desk, replayed, .. } => {
                status.mode = "replay".to_owned();
                status.sessions = replayed.load(Ordering::Relaxed);
                status.lost = LostCounts::new(facts.lost, 0);
                let (calls, unmatched) = desk.boot();
                let unmatched = unmatched
                    .into_iter()
                    .map(|call| UnmatchedStatus {
                        peer: call.peer,
                        request: call.request,
                        reason: call.reason,
                    })
                    .collect();
                status.boot = Some(BootStatus { calls, unmatched });
            }
        }
        if self.follower.has_failed() {
            status.error =
                Some("following the event log failed: events after that are not recorded".to_owned());
        }
        status
    }

    /// The ids of the program's living processes: those that are known from the log, or, where none is, those that have
    /// had nothing to tell yet: a daemon that has not opened its sockets.
    fn living(&self) -> Vec<u32> {
        let pids = self.processes.alive();
        match self.work {
            Work::Record { .. } if pids.is_empty() => lifetime::named(&self.runtime_dir),
            _ => pids,
        }
    }

    /// Replays a session; `None` if this agent records.
    pub async fn replay(&self, session: Session, limit: Duration) -> Option<Result<Session, ReplayError>> {
        let Work::Replay { inside, replayed, .. } = &self.work else { return None };
        let result = inside.replay(session, limit).await;
        match &result {
            Ok(_) => drop(replayed.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.logger.warn(format_args!("{error}")),
        }
        Some(result)
    }

    /// Ends the work: takes what the log still has and completes the recording. Once is enough; who asks again
    /// gets the same answer.
    pub async fn finish(&self) -> Status {
        let mut last = self.finish.lock().await;
        if let Some(status) = &*last {
            return status.clone();
        }
        self.follower.finish();
        let mut recording = None;
        if let Work::Record { recorder, to, .. } = &self.work {
            let facts = self.follower.facts();
            recorder.recorder().complete(&facts);
            self.follower.dismiss();
            recording = Some(to.display().to_string());
        }
        let status = Status { recording, ..self.status() };
        *last = Some(status.clone());
        self.finished.send_replace(true);
        status
    }

    /// Removes the runtime directory, and what koala has put there. The library stays while processes of the
    /// program live: what they execute is told to preload it.
    fn clean_up(&self) {
        let mut names = vec!["control.sock", "attach.sock", "outbound.sock", "agent.log", "lock"];
        if self.processes.alive().is_empty() {
            names.push("libkoala.so");
        }
        for name in names {
            let _ = fs::remove_file(self.runtime_dir.join(name));
        }
        // Not if something else is in it.
        let _ = fs::remove_dir(&self.runtime_dir);
    }
}

impl Doors {
    /// Opens the servers of a replay, and tells the library where they are.
    fn listen(
        &mut self,
        config: &Config,
        runtime_dir: &Path,
        arena: &SharedArena,
        ready: &mut Ready,
    ) -> Result<(), StartError> {
        let (inbound, inbound_addr) =
            bind_tcp("the inbound server (KOALA_INBOUND_ADDR)", config.inbound_addr)?;
        let (outbound, outbound_addr) =
            bind_tcp("the outbound server (KOALA_OUTBOUND_ADDR)", config.outbound_addr)?;
        self.inbound = Some(inbound);
        self.outbound.push(outbound);
        // The loopback of IPv6, where the machine has one; at the same port if it is free.
        let loopback = |port| Listen::At(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
        let port = outbound_addr.port();
        let mut port_v6 = 0;
        match outbound_addr {
            SocketAddr::V6(address) if address.ip().is_unspecified() => port_v6 = port,
            _ => {
                let second = bind_tcp("", loopback(port)).or_else(|_| bind_tcp("", loopback(0)));
                if let Ok((listener, address)) = second {
                    port_v6 = address.port();
                    self.outbound.push(listener);
                }
            }
        }
        let path = runtime_dir.join("outbound.sock");
        // Those who ask are the program's processes, whoever they run as.
        self.outbound_unix = Some(bind_unix(&path, 0o666)?);
        let path = Address::unix(path.as_os_str().as_encoded_bytes());
        arena.arena().replay_table().set_outbound(port, port_v6, Some(&path));
        ready.inbound_addr = Some(inbound_addr.to_string());
        ready.outbound_addr = Some(outbound_addr.to_string());
        Ok(())
    }
}

/// Takes the runtime directory for this agent, and the standbys that come of it: the lock is held as long as one of
/// them lives. Of several that are started at once, one gets it.
fn lock(runtime_dir: &Path) -> Result<(), StartError> {
    let path = runtime_dir.join("lock");
    let file = fs::File::create(&path).map_err(system(path.display().to_string()))?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&file, operation).map_err(|_| StartError::Taken(runtime_dir.to_owned()))?;
    // It is closed by the end of the process.
    std::mem::forget(file);
    Ok(())
}

fn bind_tcp(what: &'static str, listen: Listen) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = match listen {
        Listen::At(address) => address.to_string(),
        Listen::Everywhere(port) => format!(":{port}"),
    };
    let bound = net::bind(listen).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    });
    bound.map_err(|error| StartError::Listen { what, address, error })
}

fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, StartError> {
    let refuse = |error| StartError::Listen {
        what: "a socket in the runtime directory",
        address: path.display().to_string(),
        error,
    };
    // What an agent left that was killed; a living one answers.
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = fs::remove_file(path);
    }
    let listener = UnixListener::bind(path).map_err(refuse)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(refuse)?;
    Ok(listener)
}

async fn serve_control(listener: UnixListener, agent: Arc<Agent>, connection: mpsc::Sender<()>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let own = rustix::process::geteuid().as_raw();
                if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
                    continue;
                }
                let (agent, connection) = (agent.clone(), connection.clone());
                tokio::spawn(async move {
                    http::serve(stream, Door::Control, agent).await;
                    drop(connection);
                });
            }
            Err(error) => rest(&agent, "control socket", &error).await,
        }
    }
}

async fn serve_inbound(listener: TcpListener, agent: Arc<Agent>, connection: mpsc::Sender<()>) {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let (agent, connection) = (agent.clone(), connection.clone());
                tokio::spawn(async move {
                    http::serve(stream, Door::Inbound(address), agent).await;
                    drop(connection);
                });
            }
            Err(error) => rest(&agent, "inbound server", &error).await,
        }
    }
}

async fn rest(agent: &Agent, who: &str, error: &io::Error) {
    agent.logger.warn(format_args!("{who}: {error}"));
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl Started {
    /// What is to be printed when the agent is ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Gives the agent a standby, if it is to have one and has none: what is in the log from then on outlives this
    /// process.
    pub fn guard(&mut self) {
        if let Some((heritage, journal)) = self.heritage.take() {
            heritage.guard(journal);
        }
    }

    /// The agent.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Runs until the agent is told to finish, or its work is over; then finishes it.
    pub async fn run(mut self, parent: Parent) {
        // Before anybody is served.
        self.guard();
        let Self { agent, mut tasks, mut connections, .. } = self;
        let mut finished = agent.finished();
        tokio::select! {
            _ = finished.wait_for(|&finished| finished) => {}
            () = told_to_end(&parent) => {}
            () = lifetime::abandoned(&parent, &agent.processes, &agent.runtime_dir) => {}
            () = lifetime::orphaned(&parent), if matches!(agent.work, Work::Replay { .. }) => {
                agent.logger.warn(format_args!("who started the replay is gone: the program is ended"));
                lifetime::end_program(&agent.processes, &agent.runtime_dir).await;
            }
        }
        agent.finish().await;
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        // Who asked for the end, and who still asks, get their answers.
        let _ = tokio::time::timeout(FAREWELL, connections.recv()).await;
        agent.clean_up();
    }
}

/// The journal of an agent that records.
fn journal(logger: &Logger) -> Option<Journal> {
    let journal = Journal::new();
    journal
        .inspect_err(|error| {
            logger.warn(format_args!("no memory for a journal: nobody goes on if this agent dies: {error}"));
        })
        .ok()
}

impl Heritage {
    /// Gives the agent a standby.
    fn guard(self, journal: Journal) {
        let Some(follower) = self.follower.upgrade() else { return };
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.tell(journal.commits());
        drop(recorder);
        let logger = self.logger.clone();
        let heritage = Arc::new(self);
        follower.guard(journal, logger, Box::new(move || heritage.clone().go_on()));
    }

    /// In the standby, which has become the agent: answers where the dead agent did, until the work is done; then
    /// ends the process.
    fn go_on(self: Arc<Self>) {
        let logger = self.logger.clone();
        let serve = move || {
            if let Err(error) = self.serve() {
                self.logger.error(format_args!("the agent can't be asked any longer: {error}"));
            }
            std::process::exit(0);
        };
        if let Err(error) = std::thread::Builder::new().name("koala-agent".to_owned()).spawn(serve) {
            logger.error(format_args!("the agent can't be asked any longer: {error}"));
        }
    }

    fn serve(&self) -> io::Result<()> {
        let Some(follower) = self.follower.upgrade() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let adopt = |fd| {
                // SAFETY: the listener was copied with the process, and the object that had it is never dropped here.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                UnixListener::from_std(fd.into())
            };
            let (control, attach) = (adopt(self.control)?, adopt(self.attach)?);
            let agent = Arc::new(Agent {
                work: Work::Record {
                    recorder: Shared(self.recorder.clone()),
                    progress: self.progress.clone(),
                    to: self.to.clone(),
                },
                follower,
                processes: self.processes.clone(),
                logger: self.logger.clone(),
                runtime_dir: self.runtime_dir.clone(),
                finish: tokio::sync::Mutex::new(None),
                finished: watch::Sender::new(false),
            });
            let (connection, connections) = mpsc::channel(1);
            let mut tasks = JoinSet::new();
            let (arena, processes) = (self.arena.clone(), self.processes.clone());
            let (proof, logger) = (self.proof.clone(), self.logger.clone());
            tasks.spawn(attach::serve(attach, arena, processes, proof, logger));
            tasks.spawn(serve_control(control, agent.clone(), connection));
            let ready = Ready::default();
            let started = Started { agent, heritage: None, tasks, ready, connections };
            started.run(Parent::of_standby()).await;
            Ok(())
        })
    }
}

/// Resolves at a signal to end. A hang-up means nothing to the agent; neither does Ctrl-C at a terminal as long as
/// the CLI lives, which will end the program first.
async fn told_to_end(parent: &Parent) {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => if parent.is_gone() { return },
            _ = hang_up.recv() => {}
        }
    }
}
