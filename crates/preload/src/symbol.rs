//! The functions behind the hooks.

use core::convert::Infallible;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::sys::{self, SignalsBlocked};
use crate::thread::Thread;

unsafe extern "C" {
    /// dlsym(3). The one function that koala asks the dynamic linker for by name: everything else is found
    /// through it, so that the library fits every libc.
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

/// `RTLD_NEXT` of glibc and musl: the next definition behind this library.
const NEXT: *mut c_void = usize::MAX as *mut c_void;

/// Marks a symbol that was looked for in vain.
static MISSING: u8 = 0;

/// A function of libc (or of whatever library comes behind this one), looked up when it is first needed.
pub(crate) struct Symbol {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Symbol {
    /// A symbol that was not looked up yet.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Its address; null if there is none.
    #[inline]
    pub(crate) fn address(&self) -> *mut c_void {
        let address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            self.look_up()
        } else if address == missing() {
            ptr::null_mut()
        } else {
            address
        }
    }

    /// Whether it is there; that it is not, is nothing to tell the agent.
    pub(crate) fn exists(&self) -> bool {
        let mut address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            address = self.find();
        }
        !address.is_null() && address != missing()
    }

    #[cold]
    fn look_up(&self) -> *mut c_void {
        let address = self.find();
        if self.address.load(Ordering::Relaxed) == missing() {
            crate::library::report_unresolved(self.name);
        }
        address
    }

    fn find(&self) -> *mut c_void {
        let thread = Thread::current();
        // dlsym may call malloc, malloc the program's allocator, and that one of our hooks: which then has to
        // do without.
        if thread.looking_up() {
            return ptr::null_mut();
        }
        // A handler that jumped out would leave the dynamic linker locked, and this thread marked.
        let blocked = SignalsBlocked::new();
        // SAFETY: a name that ends, and the handle that means "behind this library".
        let address = thread.while_looking_up(|| unsafe { dlsym(NEXT, self.name.as_ptr()) });
        drop(blocked);
        if address.is_null() {
            self.address.store(missing(), Ordering::Relaxed);
        } else {
            self.address.store(address, Ordering::Relaxed);
        }
        address
    }
}

fn missing() -> *mut c_void {
    (&raw const MISSING).cast_mut().cast()
}

/// What a hook returns when there is no function behind it.
pub(crate) trait Unavailable {
    /// The value by which the function reports failure.
    fn unavailable() -> Self;
}

impl Unavailable for c_int {
    fn unavailable() -> Self {
        sys::set_errno(sys::error::ENOSYS as c_int);
        -1
    }
}

impl Unavailable for isize {
    fn unavailable() -> Self {
        sys::set_errno(sys::error::ENOSYS as c_int);
        -1
    }
}

impl Unavailable for *mut c_void {
    fn unavailable() -> Self {
        sys::set_errno(sys::error::ENOSYS as c_int);
        ptr::null_mut()
    }
}

impl Unavailable for Infallible {
    fn unavailable() -> Self {
        loop {
            // SAFETY: ends this process, as the program wants.
            unsafe { sys::call(sys::nr::__NR_exit_group, [127, 0, 0, 0, 0, 0]) };
        }
    }
}

impl Unavailable for () {
    fn unavailable() -> Self {}
}
