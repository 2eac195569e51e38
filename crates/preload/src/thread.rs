//! What koala knows of each thread.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use koala_events::ThreadState;

unsafe extern "C" {
    /// thread.c: storage of this thread, zeroed at its start.
    fn koala_thread() -> *mut c_void;
}

/// Bytes of the storage in thread.c.
const STORAGE: usize = 64;

/// The state of one thread. Zeros are its beginning. Only its own thread uses it, signal handlers included.
#[repr(C)]
pub(crate) struct Thread {
    /// Its place in the event log.
    pub(crate) log: ThreadState,
    looking_up: AtomicU32,
    /// 1: this thread called vfork, and may since be running as the child.
    vforked: AtomicU32,
    /// 1: its end will be noticed.
    watched: AtomicU32,
}

const _: () = assert!(size_of::<Thread>() <= STORAGE && align_of::<Thread>() <= STORAGE);

impl Thread {
    /// The thread that asks.
    #[inline]
    pub(crate) fn current() -> &'static Self {
        // SAFETY: the storage is large and aligned enough (above), zeros are a valid `Thread`, all of it is
        // atomic, and the reference is used only while its thread lives: it is never sent to another.
        unsafe { &*koala_thread().cast::<Self>() }
    }

    /// Whether a symbol is being looked up on this thread.
    pub(crate) fn looking_up(&self) -> bool {
        self.looking_up.load(Ordering::Relaxed) != 0
    }

    /// Runs a look-up.
    pub(crate) fn while_looking_up<T>(&self, look_up: impl FnOnce() -> T) -> T {
        self.looking_up.store(1, Ordering::Relaxed);
        let result = look_up();
        self.looking_up.store(0, Ordering::Relaxed);
        result
    }

    /// The thread calls vfork: until it is seen to be the parent again, it may be the child, which shares this
    /// memory, and whose calls are not its parent's.
    pub(crate) fn enter_vfork(&self) {
        self.vforked.store(1, Ordering::Relaxed);
    }

    /// Whether the thread may be running as the child of its vfork.
    #[inline]
    pub(crate) fn may_be_vforked(&self) -> bool {
        self.vforked.load(Ordering::Relaxed) != 0
    }

    /// The thread is the parent again.
    pub(crate) fn leave_vfork(&self) {
        self.vforked.store(0, Ordering::Relaxed);
    }

    /// True once: the caller is to arrange that the thread's end is noticed.
    pub(crate) fn begin_watch(&self) -> bool {
        // Read first: an exchange costs as much as a lock, and is needed once a thread.
        self.watched.load(Ordering::Relaxed) == 0 && self.watched.swap(1, Ordering::Relaxed) == 0
    }

    /// The thread's end was noticed; if it goes on, it must be watched again.
    pub(crate) fn end_watch(&self) {
        self.watched.store(0, Ordering::Relaxed);
    }
}
