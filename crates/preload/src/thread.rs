//! What koala knows of each thread.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use koala_events::ThreadState;

use crate::descriptors::Entry;
use crate::lineage;
use crate::sys;

unsafe extern "C" {
    /// thread.c: storage of this thread, zeroed at its start.
    fn koala_thread() -> *mut c_void;
}

/// Bytes of the storage in thread.c.
const STORAGE: usize = 128;

/// The state of one thread. Zeros are its beginning. Only its own thread uses it, signal handlers included.
#[repr(C)]
pub(crate) struct Thread {
    /// Its place in the event log.
    pub(crate) log: ThreadState,
    looking_up: AtomicU32,
    /// The process that called vfork on this thread, which may since be running as the child; 0 if none did.
    vforked: AtomicU32,
    /// 1: its end will be noticed.
    watched: AtomicU32,
    /// The number in the event log of the process that the thread is making; 0 if it makes none.
    child: AtomicU64,
    /// 1: what the thread does belongs to a session that was not admitted.
    refused: AtomicU32,
    /// Memory that a vfork child has left to its parent.
    left: AtomicPtr<u8>,
    left_size: AtomicUsize,
    /// What the vfork child's program is to be told of connections and files, in as much memory as that may take; null
    /// if nothing.
    heritage: AtomicPtr<u8>,
    /// Not 0: libc is looking a name up on this thread, below this address of the stack.
    resolving: AtomicUsize,
}

const _: () = assert!(size_of::<Thread>() <= STORAGE && align_of::<Thread>() <= 64);

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

    /// Whether libc is looking a name up on this thread: what is called meanwhile is part of that.
    #[inline]
    pub(crate) fn resolving(&self) -> bool {
        self.resolving.load(Ordering::Relaxed) != 0 && self.is_below()
    }

    /// Whether the look-up is still under way: a signal handler that jumped out of it left its part of the stack.
    #[cold]
    #[inline(never)]
    fn is_below(&self) -> bool {
        let here = 0u8;
        let below = (&raw const here as usize) < self.resolving.load(Ordering::Relaxed);
        if !below {
            self.resolving.store(0, Ordering::Relaxed);
        }
        below
    }

    /// Runs libc's look-up of a name.
    #[inline(never)]
    pub(crate) fn while_resolving<T>(&self, look_up: impl FnOnce() -> T) -> T {
        let here = 0u8;
        let before = self.resolving.swap(&raw const here as usize, Ordering::Relaxed);
        let result = look_up();
        self.resolving.store(before, Ordering::Relaxed);
        result
    }

    /// The thread of the process `pid` calls vfork: until it is seen to be the parent again, it may be the child,
    /// which shares this memory, and whose calls are not its parent's.
    /// `heritage` is memory of `sys::allocate` with what its program is to be told ([`lineage::write_all`]), or null.
    pub(crate) fn enter_vfork(&self, pid: u32, heritage: *mut u8) {
        self.vforked.store(pid, Ordering::Relaxed);
        self.set_heritage(heritage);
    }

    fn set_heritage(&self, heritage: *mut u8) {
        let before = self.heritage.swap(heritage, Ordering::Relaxed);
        if !before.is_null() {
            // SAFETY: the vfork that it was for is over: this thread, which made it, is here.
            unsafe { sys::free(before, lineage::ROOM) };
        }
    }

    /// The vfork child's program is to be told of `fd` as well.
    pub(crate) fn bequeath(&self, fd: c_int, entry: Entry) {
        if self.heritage.load(Ordering::Relaxed).is_null() {
            self.heritage.store(sys::allocate(lineage::ROOM), Ordering::Relaxed);
        }
        let heritage = self.heritage.load(Ordering::Relaxed);
        if !heritage.is_null() {
            // SAFETY: memory of this size, which only this thread uses.
            lineage::add(fd, entry, unsafe { core::slice::from_raw_parts_mut(heritage, lineage::ROOM) });
        }
    }

    /// What the vfork child's program is to be told of connections and files.
    pub(crate) fn heritage(&self) -> &[u8] {
        let heritage = self.heritage.load(Ordering::Relaxed);
        // SAFETY: text that ends, and that stays until the thread is the parent again.
        if heritage.is_null() { &[] } else { unsafe { sys::string(heritage) } }
    }

    /// The process that called vfork, where the thread may be running as its child; else 0.
    #[inline]
    pub(crate) fn vforked(&self) -> u32 {
        self.vforked.load(Ordering::Relaxed)
    }

    /// The thread is the parent again, or a forked child's.
    pub(crate) fn leave_vfork(&self) {
        self.vforked.store(0, Ordering::Relaxed);
        self.child.store(0, Ordering::Relaxed);
        self.leave_memory(ptr::null_mut(), 0);
        self.set_heritage(ptr::null_mut());
    }

    /// The thread makes a process with this number in the event log; 0: it does not any more.
    pub(crate) fn set_child(&self, number: u64) {
        self.child.store(number, Ordering::Relaxed);
    }

    /// The number of the process that the thread is making; 0 if it makes none.
    pub(crate) fn child(&self) -> u64 {
        self.child.load(Ordering::Relaxed)
    }

    /// Keeps memory of `sys::allocate` until the thread is the parent of its vfork again, and frees what was
    /// kept before.
    pub(crate) fn leave_memory(&self, memory: *mut u8, size: usize) {
        let before = self.left.swap(memory, Ordering::Relaxed);
        let before_size = self.left_size.swap(size, Ordering::Relaxed);
        if !before.is_null() {
            // SAFETY: the exec that used it is over: this thread, which made it, is here.
            unsafe { sys::free(before, before_size) };
        }
    }

    /// Notes whether what the thread does belongs to a session that was not admitted.
    pub(crate) fn set_refused(&self, refused: bool) {
        if self.refused() != refused {
            self.refused.store(u32::from(refused), Ordering::Relaxed);
        }
    }

    /// Whether what the thread does belongs to a session that was not admitted.
    #[inline]
    pub(crate) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) != 0
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
