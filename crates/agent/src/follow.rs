//! Following the event log: events become sessions.
//!
//! A plain thread polls the log, fast under load and slowly when idle, and hands each delivered session to a
//! [`Sink`]. The program makes no system call to wake it. In a replay, what waits for the program makes the
//! thread eager ([`Follower::eager`]), or drains the log itself ([`Follower::drain`]).

mod sendings;

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use koala_events::{Address, Arena, Event, EventKind, GivenUp, Lost, Mode, Notice, Reader, flags};
use koala_session::assemble::{Assembler, Config, Outbound, Sender};
use koala_session::model::Session;

use crate::base::{self, Counts, Told};
use crate::clock;
use crate::journal::{Entry, Journal};
use crate::logger::{Level, Logger};
use crate::memory;
use crate::net::canonical;
use crate::priority;
use crate::processes::{NotCovered, Processes};
use crate::standby::{self, Side, Standby, Watch};
use sendings::Sendings;

/// How many chunks keep their memory when they are empty: at 36 KiB each, what a few dozen threads use.
const KEPT_CHUNKS: u32 = 64;

/// How often the processes of the program are looked at.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// So many bytes in the journal are enough: a standby that knows them already takes the place of the one there is.
/// It goes through as many in some tens of milliseconds.
const RENEW_AT: u64 = 8 << 20;
/// How long after a standby could not be made the next is tried.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Takes the sessions that are delivered.
pub trait Sink: Send {
    /// A session was delivered. Returns it if it is not needed any more, for its memory.
    fn session(&mut self, session: Box<Session>) -> Option<Box<Session>>;

    /// The follower has looked at the log; called at least every [`Pace::IDLE`].
    fn turn(&mut self) {}

    /// Calls `f` while no other thread is at what the sink has, and none of that waits to be written.
    fn at_rest(&mut self, f: &mut dyn FnMut()) {
        f();
    }

    /// The process that this one was copied from is dead. What it was given since comes again, and is to be passed
    /// over as far as it is on disk.
    fn succeed(&mut self) {}
}

/// What one look at the log did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Events delivered.
    pub events: usize,
    /// Sessions delivered.
    pub sessions: usize,
    /// Events seen whose time has not come.
    pub held: usize,
}

/// What the follower knows, for those who ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the program listens.
    pub listeners: Vec<String>,
    /// Events delivered.
    pub events: u64,
    /// What the log could not take.
    pub lost: Lost,
    /// Sessions that were given up at their first byte.
    pub given_up: GivenUp,
    /// Connections on which bytes crossed that the log does not have.
    pub gaps: u64,
    /// Where the program was asked by TLS.
    pub encrypted: BTreeSet<String>,
    /// Hooks that have no function behind them.
    pub unresolved: Vec<String>,
    /// Programs that the program has executed and that are not recorded.
    pub not_covered: BTreeSet<NotCovered>,
}

/// How long the follower sleeps between two looks.
///
/// Each look costs the machine a switch from the program to the agent and back, after which the agent finds its own
/// memory gone from the processor's cache: half as many looks cost a tenth less in all. Longer naps than these save
/// nothing more, and the longer turns show in the tail of the program's latency.
#[derive(Debug, Default)]
pub struct Pace {
    idle: u32,
}

impl Pace {
    /// While somebody waits for the program.
    pub const EAGER: Duration = Duration::from_micros(50);
    /// Under load.
    pub const BUSY: Duration = Duration::from_millis(2);
    /// When nothing has come for a while.
    pub const IDLE: Duration = Duration::from_millis(20);

    /// After a look that did `turn`.
    fn next(&mut self, turn: Turn) -> Duration {
        if turn.events > 0 || turn.held > 0 {
            self.idle = 0;
        }
        self.idle = self.idle.saturating_add(1);
        if self.idle < 50 { Self::BUSY } else { Self::IDLE }
    }
}

struct State {
    reader: Reader,
    assembler: Assembler,
    sink: Box<dyn Sink>,
    sendings: Option<Sendings>,
    unresolved: BTreeSet<String>,
    events: u64,
    /// Gaps that were known to an agent that is dead, and that this one's assembler does not count.
    gaps: u64,
    checked: Instant,
    /// What was taken from the log since the standby was made; only of an agent that has one.
    journal: Option<Journal>,
    standby: Option<Standby>,
    /// When it was last tried to make one, in vain.
    refused: Option<Instant>,
}

/// What a standby does, besides following the log, when it has become the agent.
struct Succession {
    logger: Logger,
    begin: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

/// The end of the log at which the agent reads, with all that is made of it.
pub struct Follower {
    state: Mutex<State>,
    arena: Arena,
    processes: Arc<Processes>,
    started: Instant,
    bell: Bell,
    eager: AtomicUsize,
    stop: AtomicBool,
    failed: AtomicBool,
    succession: OnceLock<Succession>,
    progress: tokio::sync::Notify,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("arena", &self.arena).finish_non_exhaustive()
    }
}

/// While it lives, the follower looks at the log every [`Pace::EAGER`].
#[derive(Debug)]
pub struct Eager<'a>(&'a Follower);

impl Drop for Eager<'_> {
    fn drop(&mut self) {
        self.0.eager.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who asks on a connection that the program opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The number of the connection.
    pub connection: u64,
    /// Whom the program asked to be connected with.
    pub peer: Address,
    /// Where the request of the session came from that asks; `None`: it is no session's.
    pub session: Option<Address>,
}

impl Caller {
    fn of(asked: &Outbound<'_>) -> Self {
        let session = match asked.sender {
            Sender::Boot => None,
            Sender::Session { inbound_peer, .. } => Some(canonical(inbound_peer)),
        };
        Self { connection: asked.connection, peer: asked.peer, session }
    }
}

impl Follower {
    /// A follower of `arena`. In a replay it keeps count of what the program has sent.
    pub fn new(
        arena: Arena,
        config: Config,
        processes: Arc<Processes>,
        sink: Box<dyn Sink>,
        replaying: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                reader: reader(arena),
                assembler: Assembler::new(config),
                sink,
                sendings: replaying.then(Sendings::default),
                unresolved: BTreeSet::new(),
                events: 0,
                gaps: 0,
                checked: Instant::now(),
                journal: None,
                standby: None,
                refused: None,
            }),
            arena,
            processes,
            started: Instant::now(),
            bell: Bell::default(),
            eager: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            succession: OnceLock::new(),
            progress: tokio::sync::Notify::new(),
        })
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// That of starting a thread.
    pub fn start(self: &Arc<Self>, logger: Logger) -> std::io::Result<thread::JoinHandle<()>> {
        let follower = self.clone();
        thread::Builder::new().name("koala-follow".to_owned()).spawn(move || {
            let run = panic::catch_unwind(AssertUnwindSafe(|| follower.run()));
            if run.is_err() {
                // Recording fails open: the program must not wait for a log that nobody reads.
                follower.failed.store(true, Ordering::Release);
                follower.arena.close();
                logger.log(
                    Level::Fatal,
                    format_args!("following the event log failed; nothing more is recorded"),
                );
            }
        })
    }

    /// Whether following has ended before its time.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn run(&self) {
        if self.arena.mode() == Mode::Record {
            priority::give_way();
        }
        let mut pace = Pace::default();
        while !self.stop.load(Ordering::Acquire) {
            let turn = self.drain();
            self.stand_by();
            let nap = pace.next(turn);
            if self.eager.load(Ordering::Relaxed) > 0 {
                thread::sleep(Pace::EAGER);
                continue;
            }
            let mut rung = lock(&self.bell.rung);
            if !*rung {
                (rung, _) = self.bell.wake.wait_timeout(rung, nap).unwrap_or_else(PoisonError::into_inner);
            }
            *rung = false;
        }
    }

    /// Gives the agent a standby, from now until it is [dismissed](Self::dismiss); returns when the first one is there,
    /// or has been waited for long enough. The standby calls `begin` when it has become the agent, and knows all that
    /// `journal` has.
    pub fn guard(&self, journal: Journal, logger: Logger, begin: Box<dyn Fn() + Send + Sync>) {
        lock(&self.state).journal = Some(journal);
        let _ = self.succession.set(Succession { logger, begin });
        let began = Instant::now();
        while lock(&self.state).standby.is_none() && began.elapsed() < Duration::from_secs(1) {
            self.kick();
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The work is done: nobody is to go on with it.
    pub fn dismiss(&self) {
        let mut state = lock(&self.state);
        if let Some(journal) = state.journal.take() {
            journal.commits().finish();
        }
        if let Some(standby) = state.standby.take() {
            standby.dismiss();
        }
    }

    /// Makes a standby if there is none, or the one there is has too much to read. In the standby it returns when that
    /// has become the agent.
    fn stand_by(&self) {
        let Some(succession) = self.succession.get() else { return };
        let mut state = lock(&self.state);
        let State {
            sink, journal: Some(journal), standby, refused, assembler, unresolved, events, gaps, ..
        } = &mut *state
        else {
            return;
        };
        if refused.is_some_and(|refused| refused.elapsed() < RETRY_AFTER) {
            return;
        }
        let alive = standby.as_mut().is_some_and(Standby::is_alive);
        if (alive && journal.used() < RENEW_AT && !journal.is_torn()) || self.stop.load(Ordering::Acquire) {
            return;
        }
        let mut rest = journal.cut();
        let counts = Counts { events: *events, gaps: *gaps + assembler.gaps() };
        base::write(&mut rest, assembler, &self.processes, unresolved, counts, clock::now());
        let mut side = None;
        // Every lock that the copy will need is held by this thread, which is the one that the copy has.
        let rung = lock(&self.bell.rung);
        sink.at_rest(&mut || {
            self.processes.at_rest(|| {
                // SAFETY: see above; sockets and their runtime are not used by the copy.
                side = Some(succession.logger.at_rest(|| unsafe { standby::fork() }));
            });
        });
        drop(rung);
        match side {
            Some(Ok(Side::Agent(new))) => {
                rest.set_heir(new.pid());
                *journal = rest;
                *refused = None;
                if let Some(old) = standby.replace(new) {
                    old.dismiss();
                }
                journal.begin();
            }
            Some(Ok(Side::Standby(watch))) => {
                *journal = rest;
                // Its own end of the pipe of its predecessor, which another process's life depends on.
                *standby = None;
                self.succeed(&mut state, watch, succession);
            }
            Some(Err(error)) => {
                let again = refused.replace(Instant::now()).is_some();
                let level = if again { Level::Debug } else { Level::Warn };
                succession
                    .logger
                    .log(level, format_args!("no standby can be made (it is tried again): {error}"));
            }
            None => {}
        }
    }

    /// What the standby does: waits until the agent is dead, and takes its place.
    fn succeed(&self, state: &mut State, watch: Watch, succession: &Succession) {
        // SAFETY: this process has no runtime and no connections of its own yet.
        unsafe { standby::close_connections() };
        watch.wait();
        let State { reader, assembler, sink, sendings, unresolved, events, journal: Some(journal), .. } =
            state
        else {
            return;
        };
        // An agent can be killed before it has named the standby that it made, when the one before is dead already.
        let heir = journal.heir();
        let goes_on = heir == std::process::id() || (standby::is_gone(heir) && journal.is_current());
        if journal.commits().is_finished() || !goes_on {
            // SAFETY: a copy ends without what the end of its original does.
            unsafe { libc::_exit(0) }
        }
        sink.succeed();
        let mut known = BTreeSet::new();
        let whole = journal.read(|entry| {
            if let Entry::Event(event) = entry {
                known.insert((event.process, event.sequence));
                *events += 1;
            }
            take(entry, assembler, &self.processes, sendings.as_mut(), unresolved);
            deliver(assembler, sink.as_mut());
        });
        // If the agent died before it wrote anything.
        journal.begin();
        *reader = resumed(self.arena, known);
        succession.logger.warn(format_args!(
            "the agent was killed; process {} goes on as the agent{}",
            std::process::id(),
            if whole { "" } else { ", but lacks events that the one before it has read: sessions are lost" }
        ));
        (succession.begin)();
    }

    /// Goes on where an agent and its standby have died; before it is [started](Self::start). False if not all that
    /// they knew is there.
    pub fn go_on(&self, journal: &Journal) -> bool {
        let mut state = lock(&self.state);
        let State { reader, assembler, sink, sendings, unresolved, events, gaps, .. } = &mut *state;
        let mut based = false;
        journal.read_base(|entry| match Told::of(entry) {
            Some(Told::Process(number, identity, event)) => {
                self.processes.was_known(number, identity);
                note(&event, assembler, &self.processes, sendings.as_mut(), unresolved);
            }
            Some(Told::Event(event)) => {
                note(&event, assembler, &self.processes, sendings.as_mut(), unresolved);
            }
            Some(Told::Session(session)) => assembler.restore(*session),
            Some(Told::NotCovered(program)) => self.processes.not_covered(program),
            Some(Told::Whole(counts)) => {
                based = true;
                *events = counts.events;
                *gaps = counts.gaps;
            }
            None => {}
        });
        let mut known = BTreeSet::new();
        let whole = journal.read(|entry| {
            if let Entry::Event(event) = entry {
                known.insert((event.process, event.sequence));
                *events += 1;
            }
            take(entry, assembler, &self.processes, sendings.as_mut(), unresolved);
            deliver(assembler, sink.as_mut());
        });
        *reader = resumed(self.arena, known);
        // This one may be killed as well, before it has a standby.
        state.journal = Some(*journal);
        based && whole
    }

    /// Makes the follower look at the log often, until the guard is dropped.
    pub fn eager(&self) -> Eager<'_> {
        self.eager.fetch_add(1, Ordering::Relaxed);
        self.kick();
        Eager(self)
    }

    /// Wakes the follower.
    fn kick(&self) {
        *lock(&self.bell.rung) = true;
        self.bell.wake.notify_one();
    }

    /// Looks at the log now.
    pub fn drain(&self) -> Turn {
        let turn = self.turn(&mut lock(&self.state));
        // Only a replay has somebody who waits; and its lock may not be held when a standby is made.
        if (turn.events > 0 || turn.sessions > 0) && self.arena.mode() == Mode::Replay {
            self.progress.notify_waiters();
        }
        turn
    }

    /// The client at this address has its response, as far as it can tell: the session ends as soon as the program has
    /// come to rest.
    pub fn settle(&self, client: &Address) {
        let mut state = self.looked();
        let State { assembler, sink, .. } = &mut *state;
        assembler.settle(client, clock::now());
        deliver(assembler, sink.as_mut());
    }

    /// Resolves when the log has told something more. Register (poll, or `enable`) before looking.
    pub fn progress(&self) -> tokio::sync::futures::Notified<'_> {
        self.progress.notified()
    }

    fn turn(&self, state: &mut MutexGuard<'_, State>) -> Turn {
        let State { reader, assembler, sink, sendings, unresolved, events, checked, journal, .. } =
            &mut **state;
        let steady = self.started.elapsed().as_nanos() as u64;
        let now = clock::now();
        // At the end, everything there is.
        reader.look_no_further_than(if self.stop.load(Ordering::Acquire) { u64::MAX } else { now });
        if checked.elapsed() >= CHECK_EVERY {
            *checked = Instant::now();
            bury(reader, assembler, &self.processes, steady, now, sendings, unresolved, events, journal);
        }
        let mut turn = Turn::default();
        let poll = reader.poll(steady, |notice| {
            hear(notice, now, assembler, &self.processes, sendings.as_mut(), unresolved, journal);
            // At once: the next session is then made of this one's memory, while that is still in the cache.
            turn.sessions += deliver(assembler, sink.as_mut());
        });
        turn.events = poll.events;
        turn.held = poll.held;
        *events += poll.events as u64;
        if let Some(journal) = journal {
            journal.append(&Entry::Tick { now });
        }
        assembler.tick(now);
        turn.sessions += deliver(assembler, sink.as_mut());
        sink.turn();
        turn
    }

    /// The state, after a look at the log.
    fn looked(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        let turn = self.turn(&mut state);
        if turn.events > 0 || turn.sessions > 0 {
            self.progress.notify_waiters();
        }
        state
    }

    /// Who sent the bytes of which the outbound server has received `received` in all, on the connection that the
    /// program opened from `local` (in canonical form). Looks at the log first; `None` if it does not tell of all
    /// of them yet.
    pub fn caller(&self, local: &Address, received: u64) -> Option<Caller> {
        let state = self.looked();
        let sending = state.sendings.as_ref()?.from(local)?;
        if sending.bytes < received && !sending.gap {
            return None;
        }
        let outbound = state.assembler.outbound(&sending.local)?;
        Some(Caller::of(&outbound))
    }

    /// Who sent a datagram from a socket with this local port, of which `heard` (its number, and how many) have
    /// arrived before. Looks at the log first; `None` if it does not tell of this one yet.
    pub fn datagram_caller(&self, port: u16, heard: (u64, u64)) -> Option<Caller> {
        let state = self.looked();
        let (socket, sent) = state.assembler.datagrams(port)?;
        // Another socket may have the port by now.
        let before = if socket.connection == heard.0 { heard.1 } else { 0 };
        if sent <= before {
            return None;
        }
        Some(Caller::of(&socket))
    }

    /// What is known by now. Looks at the log first.
    pub fn facts(&self) -> Facts {
        self.drain();
        let state = lock(&self.state);
        Facts {
            listeners: state.assembler.listeners().map(|listener| listener.to_string()).collect(),
            events: state.events,
            lost: self.arena.lost(),
            given_up: self.arena.given_up(),
            gaps: state.gaps + state.assembler.gaps(),
            encrypted: state.assembler.encrypted().clone(),
            unresolved: state.unresolved.iter().cloned().collect(),
            not_covered: self.processes.all_not_covered(self.stop.load(Ordering::Acquire)),
        }
    }

    /// The addresses on which the program listens now. Looks at the log first.
    pub fn listeners(&self) -> Vec<Address> {
        self.drain();
        let state = lock(&self.state);
        state.assembler.listeners().copied().collect()
    }

    /// Ends the following: takes what the log still has, delivers every session, and lets the program write no
    /// more. The thread ends; what is delivered from now on is nothing.
    pub fn finish(&self) {
        self.stop.store(true, Ordering::Release);
        self.kick();
        let mut state = lock(&self.state);
        self.drain_all(&mut state);
        self.arena.close();
        // A call that was under way when the log was closed still commits.
        thread::sleep(Duration::from_millis(1));
        self.drain_all(&mut state);
        let State { assembler, sink, .. } = &mut *state;
        assembler.finish(clock::now());
        deliver(assembler, sink.as_mut());
        sink.turn();
        drop(state);
        self.progress.notify_waiters();
    }

    fn drain_all(&self, state: &mut MutexGuard<'_, State>) {
        state.checked = Instant::now() - CHECK_EVERY;
        // A program under load never stops writing: the log's end is where it was when this began.
        for _ in 0..100 {
            if self.turn(state).events == 0 {
                break;
            }
        }
    }
}

/// A reader of a log that nobody has read.
fn reader(arena: Arena) -> Reader {
    shrinking(Reader::new(arena))
}

/// A reader that goes on where another one has died.
fn resumed(arena: Arena, known: BTreeSet<(u64, u64)>) -> Reader {
    shrinking(Reader::resume(arena, known))
}

/// Lets the log shrink again after a burst, so that the program's memory does.
fn shrinking(mut reader: Reader) -> Reader {
    reader.reclaim_with(KEPT_CHUNKS, |chunk, size| {
        // SAFETY: the reader gives chunks of the arena that are nobody's, and the agent's arena is a mapped memfd.
        unsafe { memory::give_back(chunk, size) }
    });
    reader
}

fn deliver(assembler: &mut Assembler, sink: &mut dyn Sink) -> usize {
    let mut count = 0;
    while let Some(session) = assembler.pop() {
        count += 1;
        if let Some(session) = sink.session(session) {
            assembler.recycle(session);
        }
    }
    count
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(
    notice: Notice<'_, '_>,
    now: u64,
    assembler: &mut Assembler,
    processes: &Processes,
    sendings: Option<&mut Sendings>,
    unresolved: &mut BTreeSet<String>,
    journal: &mut Option<Journal>,
) {
    match notice {
        Notice::Event(event) => {
            if let Some(journal) = journal {
                journal.append(&Entry::Event(*event));
            }
            note(event, assembler, processes, sendings, unresolved);
        }
        Notice::Parked { process, tid } => {
            if let Some(journal) = journal {
                journal.append(&Entry::Parked { process, tid, now });
            }
            assembler.parked(process, tid, now);
        }
    }
}

fn note(
    event: &Event<'_>,
    assembler: &mut Assembler,
    processes: &Processes,
    sendings: Option<&mut Sendings>,
    unresolved: &mut BTreeSet<String>,
) {
    match event.kind {
        EventKind::Unresolved => {
            unresolved.insert(String::from_utf8_lossy(event.payload).into_owned());
        }
        EventKind::Process => processes.began(event.process, event.pid),
        EventKind::Fork if event.flags & flags::EXECUTES == 0 && event.result > 0 => {
            processes.made(event.connection, event.process, event.result as u32);
        }
        EventKind::Fork
            if event.flags & flags::EXECUTES != 0
                && event.connection == event.process
                && event.result != 0 =>
        {
            processes.not_covered(NotCovered::told(event.payload, event.result));
        }
        _ => {}
    }
    if let Some(sendings) = sendings {
        sendings.note(event);
    }
    assembler.push(event);
}

/// Does what an entry of the journal says that the agent did before. A copy of it has no need of the base.
fn take(
    entry: &Entry<'_>,
    assembler: &mut Assembler,
    processes: &Processes,
    sendings: Option<&mut Sendings>,
    unresolved: &mut BTreeSet<String>,
) {
    match entry {
        Entry::Event(event) => note(event, assembler, processes, sendings, unresolved),
        Entry::Parked { process, tid, now } => assembler.parked(*process, *tid, *now),
        Entry::Ended { process, now } => assembler.process_ended(*process, *now),
        Entry::Tick { now } => assembler.tick(*now),
        Entry::Known(_) | Entry::Unfinished(_) | Entry::NotCovered(_) | Entry::Base { .. } => {}
    }
}

/// Finds the processes that are dead, takes what they left in the log, and ends their sessions.
#[allow(clippy::too_many_arguments, reason = "the fields of the state that it borrows one by one")]
fn bury(
    reader: &mut Reader,
    assembler: &mut Assembler,
    processes: &Processes,
    steady: u64,
    now: u64,
    sendings: &mut Option<Sendings>,
    unresolved: &mut BTreeSet<String>,
    events: &mut u64,
    journal: &mut Option<Journal>,
) {
    let dead = processes.gone(reader.processes().map(|info| (info.process, info.pid)));
    for &process in &dead {
        reader.process_ended(process);
    }
    if !dead.is_empty() {
        let poll = reader.poll(steady, |notice| {
            hear(notice, now, assembler, processes, sendings.as_mut(), unresolved, journal);
        });
        *events += poll.events as u64;
    }
    for process in dead {
        if let Some(journal) = journal {
            journal.append(&Entry::Ended { process, now });
        }
        assembler.process_ended(process, now);
    }
}
