//! The state of the process: whether koala is active, and where it writes.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use koala_events::{Arena, Event, EventKind, Pending, Record, ReplayTable, Source, Writer, flags};

use crate::admission;
use crate::attach;
use crate::descriptors::{self, Entry};
use crate::environment::{self, Mode};
use crate::executable::{self, Executable};
use crate::lineage::{self, Origin};
use crate::operation::file::output;
use crate::start;
use crate::symbol::Symbol;
use crate::sys::{self, nr};
use crate::thread::Thread;

const FRESH: u32 = 0;
const STARTING: u32 = 1;
const INERT: u32 = 2;
/// A mode is set; nothing that concerns the network was done yet.
const READY: u32 = 3;
const ATTACHING: u32 = 4;
const ATTACHED: u32 = 5;
/// There is no agent to be had.
const ALONE: u32 = 6;

static STATE: AtomicU32 = AtomicU32::new(FRESH);
static REPLAYING: AtomicU32 = AtomicU32::new(0);
/// 1: what is asked for can't be understood.
static MISUNDERSTOOD: AtomicU32 = AtomicU32::new(0);
/// A word that is zero in a forked child; null where the kernel can't do that.
static SAME_PROCESS: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// How often the agent was asked for its log in vain, and when (in nanoseconds since 1970) it may be asked again.
static FAILURES: AtomicU32 = AtomicU32::new(0);
static NEXT_TRY: AtomicU64 = AtomicU64::new(0);
/// After so many failures there is no agent to be had.
const TRIES: u32 = 10;
/// The first pause between two tries, in nanoseconds; each is twice as long as the one before.
const PAUSE: u64 = 20_000_000;

/// How long, in nanoseconds, to wait before looking whether an agent that was started answers, and how often.
const START_NAP: i64 = 2_000_000;
const START_LOOKS: u32 = 400;

/// The key by which the end of threads is noticed, plus one; 0 if there is none.
static THREAD_KEY: AtomicU32 = AtomicU32::new(0);

struct WriterCell(UnsafeCell<MaybeUninit<Writer>>);

// SAFETY: written once, by the thread that moved STATE to ATTACHING; read only after ATTACHED was seen.
unsafe impl Sync for WriterCell {}

static WRITER: WriterCell = WriterCell(UnsafeCell::new(MaybeUninit::uninit()));

/// Runs when the dynamic linker has loaded the library. A hook that is called earlier starts it as well.
pub(crate) extern "C" fn constructor() {
    start();
}

#[cfg(all(panic = "abort", not(test)))]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

/// Runs when the process ends by exit(3).
#[cfg(all(panic = "abort", not(test)))]
extern "C" fn destructor() {
    crate::operation::totals::at_exit(true);
}

#[cfg(all(panic = "abort", not(test)))]
#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destructor;

/// Reads the environment, once.
#[cold]
fn start() -> u32 {
    if STATE.compare_exchange(FRESH, STARTING, Ordering::Acquire, Ordering::Acquire).is_err() {
        return STATE.load(Ordering::Acquire);
    }
    let state = match environment::read() {
        Mode::Inert => INERT,
        Mode::Record => READY,
        Mode::Replay => {
            REPLAYING.store(1, Ordering::Relaxed);
            READY
        }
        Mode::Misunderstood { replaying } => {
            MISUNDERSTOOD.store(1, Ordering::Relaxed);
            REPLAYING.store(u32::from(replaying), Ordering::Relaxed);
            READY
        }
    };
    STATE.store(state, Ordering::Release);
    state
}

/// Whether hooks have anything to do: a mode is set, and this is not the child of a vfork.
#[inline]
pub(crate) fn is_active() -> bool {
    let mut state = STATE.load(Ordering::Acquire);
    if state == FRESH {
        state = start();
    }
    if state == INERT || state == STARTING || (state == ALONE && !is_replaying()) {
        return false;
    }
    let thread = Thread::current();
    !(thread.looking_up() || thread.resolving() || thread.vforked() != 0 && is_vfork_child(thread))
}

/// Whether this is the child of a vfork, which runs in its parent's memory.
pub(crate) fn is_in_vfork_child() -> bool {
    let thread = Thread::current();
    thread.vforked() != 0 && is_vfork_child(thread)
}

/// Whether children are to be covered: also those that a vfork child becomes.
pub(crate) fn covers_children() -> bool {
    let mut state = STATE.load(Ordering::Acquire);
    if state == FRESH {
        state = start();
    }
    state != INERT && state != STARTING
}

/// Whether outbound calls are to be redirected.
#[inline]
pub(crate) fn is_replaying() -> bool {
    REPLAYING.load(Ordering::Relaxed) != 0
}

fn is_misunderstood() -> bool {
    MISUNDERSTOOD.load(Ordering::Relaxed) != 0
}

#[cold]
fn is_vfork_child(thread: &Thread) -> bool {
    if sys::getpid() != thread.vforked() {
        // A forked child, which has its own memory, is no vfork child.
        return is_same_process();
    }
    thread.leave_vfork();
    false
}

/// # Safety
///
/// STATE must have been seen to be ATTACHED.
unsafe fn writer() -> &'static Writer {
    // SAFETY: the caller's promise; it is never written again.
    unsafe { (*WRITER.0.get()).assume_init_ref() }
}

/// Whether the process is the one that the log knows: not a forked child that has done nothing so far.
#[inline]
pub(crate) fn is_same_process() -> bool {
    let word = SAME_PROCESS.load(Ordering::Relaxed);
    // SAFETY: null, or a page that is never unmapped.
    word.is_null() || unsafe { &*word }.load(Ordering::Relaxed) != 0
}

/// The log, for an event that concerns the network: gets it from the agent if this is the first.
/// `None` if there is none to be had.
#[inline]
pub(crate) fn log() -> Option<Log> {
    if STATE.load(Ordering::Acquire) != ATTACHED && !attach_once() {
        return None;
    }
    if !is_same_process() {
        forked();
    }
    // SAFETY: ATTACHED was seen.
    Some(Log { writer: unsafe { writer() }, thread: Thread::current() })
}

/// The log, if the process has it already.
#[inline]
pub(crate) fn log_if_attached() -> Option<Log> {
    if STATE.load(Ordering::Acquire) == ATTACHED { log() } else { None }
}

#[cold]
fn attach_once() -> bool {
    if FAILURES.load(Ordering::Relaxed) != 0 && sys::now() < NEXT_TRY.load(Ordering::Relaxed) {
        return false;
    }
    // A signal handler that sends would wait for the thread that it has interrupted; one that jumps out would
    // leave the others waiting.
    let blocked = sys::SignalsBlocked::new();
    let attached = attach_alone();
    drop(blocked);
    attached
}

fn attach_alone() -> bool {
    loop {
        match STATE.compare_exchange(READY, ATTACHING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => break,
            Err(ATTACHED) => return true,
            // Another thread is at it: what this one does now must not be missed.
            // SAFETY: takes no arguments.
            Err(ATTACHING) => unsafe {
                sys::call(nr::__NR_sched_yield, [0; 6]);
            },
            Err(_) => return false,
        }
    }
    let began = sys::now();
    let Some((arena, process)) = environment::runtime_dir().and_then(attach_or_start) else {
        failed(began);
        return false;
    };
    // SAFETY: only the thread that moved STATE to ATTACHING comes here, and once it succeeds never again.
    unsafe { (*WRITER.0.get()).write(Writer::numbered(arena, sys::getpid(), process)) };
    SAME_PROCESS.store(sys::wiped_on_fork().cast_mut(), Ordering::Relaxed);
    watch_threads();
    STATE.store(ATTACHED, Ordering::Release);
    if let Some(log) = log() {
        let (origin, extra) = match lineage::told() {
            None => (0, 0),
            Some(told) if told.pid == sys::getpid() => (told.number, flags::EXECUTES),
            Some(told) => (told.number, 0),
        };
        log.announce(origin, extra, 0);
    }
    true
}

/// Gets the log from the agent; where there is none, and none but this library to start one, from a new one.
fn attach_or_start(runtime_dir: &CStr) -> Option<(Arena, u64)> {
    let misunderstood = is_misunderstood();
    let Some(to) = environment::record_to().filter(|_| misunderstood || !is_replaying()) else {
        return attach::attach(runtime_dir);
    };
    // A directory of somebody else's holds an agent of somebody else's.
    if !sys::is_ours_if_there(runtime_dir) {
        return None;
    }
    if misunderstood {
        // It will say so.
        start::start(runtime_dir, to, true);
        return None;
    }
    let log = attach::attach(runtime_dir);
    if log.is_some() || !start::start(runtime_dir, to, false) {
        return log;
    }
    for _ in 0..START_LOOKS {
        let nap = sys::TimeSpec { seconds: 0, nanoseconds: START_NAP };
        // SAFETY: a time of ours; what is left of an interrupted sleep is not asked for.
        unsafe { sys::call(nr::__NR_nanosleep, [&raw const nap as usize, 0, 0, 0, 0, 0]) };
        let log = attach::attach(runtime_dir);
        if log.is_some() {
            return log;
        }
    }
    None
}

/// The agent could not be had: it is asked again, but neither often nor for ever.
fn failed(began: u64) {
    let now = sys::now();
    // One that does not answer at all has cost the program seconds.
    let slow = now.saturating_sub(began) > 1_000_000_000;
    let failures = FAILURES.load(Ordering::Relaxed) + if slow { TRIES / 2 } else { 1 };
    FAILURES.store(failures, Ordering::Relaxed);
    NEXT_TRY.store(now.saturating_add(PAUSE << failures.min(TRIES)), Ordering::Relaxed);
    let alone = failures >= TRIES || is_misunderstood();
    STATE.store(if alone { ALONE } else { READY }, Ordering::Release);
}

/// A process that was forked from one that was attached becomes one of its own. The child has one thread.
#[cold]
pub(crate) fn forked() {
    // The thread of the parent that was attaching does not exist here. What it has opened is the child's to
    // close with the rest: it is marked close-on-exec.
    let _ = STATE.compare_exchange(ATTACHING, READY, Ordering::Relaxed, Ordering::Relaxed);
    let thread = Thread::current();
    let number = thread.child();
    thread.leave_vfork();
    output::forked();
    if STATE.load(Ordering::Acquire) != ATTACHED {
        return;
    }
    let pid = sys::getpid();
    // SAFETY: ATTACHED was seen.
    let writer = unsafe { writer() };
    if writer.pid() == pid {
        return;
    }
    let parent = writer.forked(pid, number);
    let word = SAME_PROCESS.load(Ordering::Relaxed);
    if !word.is_null() {
        // SAFETY: a page that is never unmapped.
        unsafe { &*word }.store(1, Ordering::Relaxed);
    }
    let parents = i64::from(thread.log.tid());
    Log { writer, thread }.announce(parent, 0, parents);
}

/// The thread is about to make a process, which `executes` another program at once or does not: tells the log, and
/// returns the number of the process there. 0 if there is no log yet.
pub(crate) fn before_child(executes: bool) -> u64 {
    if !is_active() {
        return 0;
    }
    let Some(log) = log_if_attached() else { return 0 };
    let number = log.writer.arena().next_process();
    log.tell_of_child(number, executes, 0);
    number
}

/// The process was made, with this id, or (`-errno`) it was not.
pub(crate) fn after_child(number: u64, executes: bool, result: c_int) {
    if number != 0
        && let Some(log) = log_if_attached()
    {
        log.tell_of_child(number, executes, i64::from(result));
    }
}

/// What this process tells those that it executes or starts of where they come from.
pub(crate) fn own_origin() -> Option<Origin> {
    if STATE.load(Ordering::Acquire) != ATTACHED {
        return lineage::told();
    }
    // SAFETY: ATTACHED was seen.
    let writer = unsafe { writer() };
    Some(Origin { number: writer.process(), pid: writer.pid() })
}

/// The process is about to become another program: tells which connections that one will have.
pub(crate) fn about_to_execute() {
    let Some(log) = log_if_attached() else { return };
    let mut connections = [0u8; 4096];
    let mut places = connections.chunks_exact_mut(8);
    let mut length = 0;
    descriptors::each(0, u32::MAX, |fd| {
        let entry = descriptors::get(fd);
        if lineage::stays_open(fd, entry)
            && let Some(place) = places.next()
        {
            for (to, from) in place.iter_mut().zip(entry.connection().to_le_bytes()) {
                *to = from;
            }
            length += 8;
        }
    });
    log.tell_of_execution(0, connections.get(..length).unwrap_or(&[]));
}

/// Tells the agent of a program that is about to be executed and can't be covered. A process that has not used the
/// network gets the log for it, unless that would start an agent; the child of a vfork leaves it to its parent.
///
/// # Safety
///
/// `path` must be a C string, unless `file` is [`Executable::Coverable`].
pub(crate) unsafe fn report(path: *const c_char, file: Executable) {
    if file == Executable::Coverable {
        return;
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    if let Some(log) = if may_attach() { log() } else { log_if_attached() } {
        log.tell_of_execution(file as i64, path.get(..log.max_payload()).unwrap_or(path));
    } else if STATE.load(Ordering::Acquire) == READY {
        executable::leave(file, path);
    }
}

/// Tells the agent that the program uses a socket of a kind that is neither recorded nor replayed.
pub(crate) fn report_foreign(domain: u32, kind: u32) {
    report_self(Event::SOCKETS_NOT_COVERED + i64::from(domain) * 16 + i64::from(kind));
}

/// Tells the agent why the program of this process is not covered, or not in all that it does.
pub(crate) fn report_self(why: i64) {
    if let Some(log) = if may_attach() { log() } else { log_if_attached() } {
        let mut path = [0; OWN_PATH];
        let length = own_path(&mut path);
        log.tell_of_execution(why, path.get(..length).unwrap_or(&[]));
    }
}

/// Bytes of the path of a program that are told.
const OWN_PATH: usize = 256;

/// Writes the path of the program of this process, and returns its length.
fn own_path(to: &mut [u8; OWN_PATH]) -> usize {
    // SAFETY: a name that ends, and a buffer of ours with its size.
    let length = unsafe {
        let at_cwd = nr::AT_FDCWD as usize;
        let name = c"/proc/self/exe".as_ptr() as usize;
        sys::call(nr::__NR_readlinkat, [at_cwd, name, to.as_mut_ptr() as usize, to.len(), 0, 0])
    };
    usize::try_from(length).unwrap_or(0)
}

/// The process ends. The first of a process namespace (a container's program, mostly) takes an agent with it that a
/// process of the program has started: what that one has not written yet would be lost.
pub(crate) fn see_off() {
    const FIRST: u32 = 1;
    if sys::getpid() == FIRST
        && !is_replaying()
        && environment::token().is_empty()
        && let Some(runtime_dir) = environment::runtime_dir()
    {
        attach::finish(runtime_dir);
    }
}

/// Tells the agent what children have left to tell of.
pub(crate) fn report_left() {
    if let Some((file, path)) = executable::left()
        && may_attach()
        && let Some(log) = log()
    {
        log.tell_of_execution(file, path);
    }
}

/// Whether the log may be asked for where nothing was done on the network.
fn may_attach() -> bool {
    !environment::token().is_empty() && is_active()
}

/// Arranges for `thread_ended` to be called.
fn watch_threads() {
    type KeyCreate = unsafe extern "C" fn(*mut u32, extern "C" fn(*mut c_void)) -> c_int;
    static KEY_CREATE: Symbol = Symbol::new(c"pthread_key_create");
    let create = KEY_CREATE.address();
    let mut key = 0;
    if create.is_null() {
        return;
    }
    // SAFETY: pthread_key_create(3) has this type.
    let result =
        unsafe { core::mem::transmute::<*mut c_void, KeyCreate>(create)(&raw mut key, thread_ended) };
    if result == 0 {
        THREAD_KEY.store(key.wrapping_add(1), Ordering::Relaxed);
    }
}

extern "C" fn thread_ended(_: *mut c_void) {
    let thread = Thread::current();
    if STATE.load(Ordering::Acquire) == ATTACHED && is_same_process() {
        // SAFETY: ATTACHED was seen.
        let log = Log { writer: unsafe { writer() }, thread };
        log.append(EventKind::ThreadEnd, -1, Entry::UNKNOWN, 0, sys::now(), &[]);
        log.writer.end_thread(&thread.log);
    }
    // Should another destructor of this thread still use a socket, it is watched anew.
    thread.end_watch();
}

/// Tells the agent, once, that a hook has nothing behind it.
#[cold]
pub(crate) fn report_unresolved(name: &CStr) {
    if let Some(log) = log_if_attached() {
        log.append(EventKind::Unresolved, -1, Entry::UNKNOWN, 0, sys::now(), name.to_bytes());
    }
}

/// The log, and the thread that writes to it.
#[derive(Clone, Copy)]
pub(crate) struct Log {
    writer: &'static Writer,
    thread: &'static Thread,
}

impl Log {
    /// What the agent says of the replay.
    pub(crate) fn replay_table(&self) -> &'static ReplayTable {
        self.writer.arena().replay_table()
    }

    /// The log's memory.
    pub(crate) fn arena(&self) -> &'static Arena {
        self.writer.arena()
    }

    /// The thread that writes.
    pub(crate) fn thread(&self) -> &'static Thread {
        self.thread
    }

    /// A number for a new connection.
    pub(crate) fn new_connection(&self) -> u64 {
        self.writer.arena().next_connection()
    }

    /// The most payload that fits into one record.
    pub(crate) fn max_payload(&self) -> usize {
        self.writer.max_payload()
    }

    /// The thread has nothing left to do until something arrives.
    #[inline]
    pub(crate) fn park(&self) {
        self.writer.park(&self.thread.log);
    }

    /// Begins a record; if there is no room, marks the descriptor's connection as having a gap.
    #[inline(never)]
    pub(crate) fn begin(
        &self,
        kind: EventKind,
        fd: c_int,
        entry: Entry,
        extra_flags: u16,
        time: u64,
        capacity: usize,
    ) -> Option<Pending> {
        if self.thread.begin_watch() {
            self.watch_thread();
        }
        if !admission::is_written(self, kind, fd, entry, capacity) {
            return None;
        }
        let gap = if entry.gap() { flags::GAP_BEFORE } else { 0 };
        let datagram = if entry.datagram() { flags::DATAGRAM } else { 0 };
        let record = Record {
            kind,
            source: Source::Libc,
            flags: extra_flags | gap | datagram,
            context: 0,
            connection: entry.connection(),
            fd,
            result: 0,
            time,
        };
        let mut pending = self.writer.begin(&self.thread.log, sys::gettid, &record, capacity);
        if pending.is_none() {
            pending = admission::wait_for_room(self, capacity, || {
                self.writer.begin(&self.thread.log, sys::gettid, &record, capacity)
            });
        }
        if pending.is_none() {
            descriptors::mark_gap(fd);
        } else if entry.gap() {
            descriptors::clear_gap(fd);
        }
        pending
    }

    /// Says that from here on, what crosses on the connection of `fd` is passed over.
    pub(crate) fn mark_not_admitted(&self, fd: c_int, entry: Entry) {
        let record = Record {
            kind: EventKind::Gap,
            source: Source::Libc,
            flags: flags::NOT_ADMITTED,
            context: 0,
            connection: entry.connection(),
            fd,
            result: -1,
            time: sys::now(),
        };
        self.writer.append(&self.thread.log, sys::gettid, &record, &[]);
    }

    /// Appends an event of a connection that another process may have by a message.
    pub(crate) fn append_passed(
        &self,
        kind: EventKind,
        fd: c_int,
        entry: Entry,
        result: i64,
        payload: &[u8],
    ) {
        let extra = if entry.passed() { flags::PASSED } else { 0 };
        Self::complete(self.begin(kind, fd, entry, extra, sys::now(), payload.len()), result, payload);
    }

    /// Appends an event.
    #[inline(never)]
    pub(crate) fn append(
        &self,
        kind: EventKind,
        fd: c_int,
        entry: Entry,
        result: i64,
        time: u64,
        payload: &[u8],
    ) {
        Self::complete(self.begin(kind, fd, entry, 0, time, payload.len()), result, payload);
    }

    fn tell_of_child(&self, number: u64, executes: bool, result: i64) {
        let child = Entry::UNKNOWN.connected(number, false);
        let extra_flags = if executes { flags::EXECUTES } else { 0 };
        let pending = self.begin(EventKind::Fork, -1, child, extra_flags, sys::now(), 0);
        Self::complete(pending, result, &[]);
    }

    fn tell_of_execution(&self, result: i64, payload: &[u8]) {
        let own = Entry::UNKNOWN.connected(self.writer.process(), false);
        let pending = self.begin(EventKind::Fork, -1, own, flags::EXECUTES, sys::now(), payload.len());
        Self::complete(pending, result, payload);
    }

    /// Says that this process is covered from now on: where it comes from, whether it executes another program,
    /// and which thread of its parent has forked it.
    fn announce(&self, origin: u64, extra_flags: u16, thread: i64) {
        let mut path = [0; OWN_PATH];
        let length = own_path(&mut path);
        let origin = Entry::UNKNOWN.connected(origin, false);
        let payload = path.get(..length).unwrap_or(&[]);
        let pending = self.begin(EventKind::Process, -1, origin, extra_flags, sys::now(), payload.len());
        Self::complete(pending, thread, payload);
    }

    /// Ends a record that was begun with room for the payload.
    fn complete(pending: Option<Pending>, result: i64, payload: &[u8]) {
        if let Some(pending) = pending {
            // SAFETY: the record has room for the payload, and is not part of it.
            unsafe { sys::copy(payload.as_ptr(), pending.payload(), payload.len()) };
            pending.commit(result, payload.len());
        }
    }

    #[cold]
    fn watch_thread(&self) {
        type SetSpecific = unsafe extern "C" fn(u32, *const c_void) -> c_int;
        static SET_SPECIFIC: Symbol = Symbol::new(c"pthread_setspecific");
        let key = THREAD_KEY.load(Ordering::Relaxed);
        let set = SET_SPECIFIC.address();
        if key != 0 && !set.is_null() {
            // SAFETY: pthread_setspecific(3) has this type; the value only has to be other than null.
            unsafe {
                core::mem::transmute::<*mut c_void, SetSpecific>(set)(key - 1, (&raw const STATE).cast());
            }
        }
    }
}
