//! The state of the process: whether koala is active, and where it writes.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use koala_events::{EventKind, Pending, Record, ReplayTable, Source, Writer, flags};

use crate::attach;
use crate::descriptors::{self, Entry};
use crate::environment::{self, Mode};
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
/// A word that is zero in a forked child; null where the kernel can't do that.
static SAME_PROCESS: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
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
    !(thread.looking_up() || thread.may_be_vforked() && is_vfork_child(thread))
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

#[cold]
fn is_vfork_child(thread: &Thread) -> bool {
    if STATE.load(Ordering::Acquire) != ATTACHED {
        // There is nothing yet that the child could spoil.
        return false;
    }
    // SAFETY: ATTACHED was seen.
    let pid = unsafe { writer() }.pid();
    if sys::getpid() != pid {
        // A forked child, which has its own memory, is no vfork child.
        return is_same_process();
    }
    environment::free_left();
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

#[inline]
fn is_same_process() -> bool {
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
    let Some(arena) = environment::runtime_dir().and_then(attach::attach) else {
        STATE.store(ALONE, Ordering::Release);
        return false;
    };
    // SAFETY: only the thread that moved STATE to ATTACHING comes here, once.
    unsafe { (*WRITER.0.get()).write(Writer::new(arena, sys::getpid())) };
    SAME_PROCESS.store(sys::wiped_on_fork().cast_mut(), Ordering::Relaxed);
    watch_threads();
    STATE.store(ATTACHED, Ordering::Release);
    if let Some(log) = log() {
        log.announce(0);
    }
    true
}

/// A process that was forked from one that was attached becomes one of its own. The child has one thread.
#[cold]
pub(crate) fn forked() {
    // The thread of the parent that was attaching does not exist here. What it has opened is the child's to
    // close with the rest: it is marked close-on-exec.
    let _ = STATE.compare_exchange(ATTACHING, READY, Ordering::Relaxed, Ordering::Relaxed);
    if STATE.load(Ordering::Acquire) != ATTACHED {
        return;
    }
    let pid = sys::getpid();
    // SAFETY: ATTACHED was seen.
    let writer = unsafe { writer() };
    if writer.pid() == pid {
        return;
    }
    let parent = writer.forked(pid);
    let word = SAME_PROCESS.load(Ordering::Relaxed);
    if !word.is_null() {
        // SAFETY: a page that is never unmapped.
        unsafe { &*word }.store(1, Ordering::Relaxed);
    }
    let thread = Thread::current();
    thread.leave_vfork();
    Log { writer, thread }.announce(parent);
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
        let pending = self.writer.begin(&self.thread.log, sys::gettid, &record, capacity);
        if pending.is_none() {
            descriptors::mark_gap(fd);
        } else if entry.gap() {
            descriptors::clear_gap(fd);
        }
        pending
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
        if let Some(pending) = self.begin(kind, fd, entry, 0, time, payload.len()) {
            // SAFETY: the record has room for the payload, and is not part of it.
            unsafe { sys::copy(payload.as_ptr(), pending.payload(), payload.len()) };
            pending.commit(result, payload.len());
        }
    }

    /// Says that this process is covered from now on.
    fn announce(&self, parent: u64) {
        let mut path = [0u8; 256];
        // SAFETY: a name that ends, and a buffer of ours with its size.
        let length = unsafe {
            let at_cwd = nr::AT_FDCWD as usize;
            let name = c"/proc/self/exe".as_ptr() as usize;
            sys::call(nr::__NR_readlinkat, [at_cwd, name, path.as_mut_ptr() as usize, path.len(), 0, 0])
        };
        let length = if length < 0 { 0 } else { length as usize };
        let parent = Entry::UNKNOWN.connected(parent, false);
        let payload = path.get(..length).unwrap_or(&[]);
        self.append(EventKind::Process, -1, parent, 0, sys::now(), payload);
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
