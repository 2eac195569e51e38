//! Processes that the program makes, and programs that they become.
//!
//! What a process is made for is known where it is made: so that is told to the log before it is, under the number
//! that the child will have (a fork), or that is handed to the program in its environment ([`crate::lineage`]).

use core::ffi::{c_char, c_int};

use crate::environment::{self, ChildEnvironment};
use crate::executable::Executable;
use crate::library;
use crate::lineage::{self, Heritage, Origin};
use crate::operation::datagram;
use crate::operation::file::output;
use crate::sys;
use crate::thread::Thread;

/// fork(2), and what else returns twice: the child is a process of its own from its first call on.
pub(crate) fn fork(real: impl FnOnce() -> c_int) -> c_int {
    let number = library::before_child(false);
    share();
    Thread::current().set_child(number);
    let result = real();
    if result == 0 {
        library::forked();
        return result;
    }
    Thread::current().set_child(0);
    library::after_child(number, false, if result < 0 { -sys::errno() } else { result });
    result
}

/// Others will have what the process has.
fn share() {
    datagram::keep_names();
    output::share();
}

/// vfork(2), before the call: parent and child go on in the same memory.
pub(crate) extern "C" fn before_vfork() {
    let number = library::before_child(true);
    share();
    let thread = Thread::current();
    thread.set_child(number);
    // The child may move its descriptors about, unseen: what they are is written down before.
    let mut heritage = core::ptr::null_mut();
    if library::covers_children() && lineage::has_heritage() {
        heritage = sys::allocate(lineage::ROOM);
        if !heritage.is_null() {
            // SAFETY: memory of this size, which nobody else has seen.
            lineage::write_all(unsafe { core::slice::from_raw_parts_mut(heritage, lineage::ROOM) });
        }
    }
    thread.enter_vfork(sys::getpid(), heritage);
}

/// execve(2) and execvpe(3): `real` is called with the environment that covers the program. `path` is null where it
/// is not known.
///
/// # Safety
///
/// `environment` must be null or a list of C strings that a null pointer ends, `path` null or a C string.
pub(crate) unsafe fn execute(
    path: *const c_char,
    environment: *const *const u8,
    real: impl FnOnce(*const *const u8) -> c_int,
) -> c_int {
    if !library::covers_children() {
        return real(environment);
    }
    let thread = Thread::current();
    let vforked = library::is_in_vfork_child();
    // SAFETY: the caller's promise, and a path of which something is known is one.
    let file = unsafe {
        let file = environment::within(Executable::of(path), environment);
        library::report(path, file);
        file
    };
    let origin = if vforked {
        // The number is that of the child, which has told nobody of itself.
        match thread.child() {
            0 => library::own_origin().map(|own| Origin { pid: 0, ..own }),
            number => Some(Origin { number, pid: 0 }),
        }
    } else {
        library::about_to_execute();
        library::own_origin()
    };
    let heritage = if vforked { Heritage::Written(thread.heritage()) } else { Heritage::Kept };
    // SAFETY: the caller's promise.
    let environment = unsafe { ChildEnvironment::covering(environment, file, origin, heritage) };
    if vforked {
        environment.leave_to(thread);
        return real(environment.list());
    }
    let result = real(environment.list());
    environment.free();
    result
}

/// posix_spawn(3): `real` is called with the environment that covers the child, and returns an error number.
///
/// # Safety
///
/// As for [`execute`]; `pid` must be null or point to where the child's id goes.
pub(crate) unsafe fn spawn(
    path: *const c_char,
    pid: *const c_int,
    environment: *const *const u8,
    real: impl FnOnce(*const *const u8) -> c_int,
) -> c_int {
    if !library::covers_children() {
        return real(environment);
    }
    // SAFETY: the caller's promise, and a path of which something is known is one.
    let file = unsafe {
        let file = environment::within(Executable::of(path), environment);
        library::report(path, file);
        file
    };
    let number = library::before_child(true);
    share();
    // SAFETY: the caller's promise.
    let environment =
        unsafe { ChildEnvironment::covering(environment, file, child_origin(number), Heritage::All) };
    let error = real(environment.list());
    environment.free();
    // SAFETY: the call succeeded, and has written the id.
    let made = unsafe {
        if error != 0 {
            -error
        } else if pid.is_null() {
            0
        } else {
            *pid
        }
    };
    library::after_child(number, true, made);
    error
}

/// system(3), popen(3), wordexp(3): libc starts a shell with its own environment, by calls that no hook sees.
pub(crate) fn shell<T>(real: impl FnOnce() -> T) -> T {
    if !library::covers_children() || library::is_in_vfork_child() {
        return real();
    }
    let number = library::before_child(true);
    share();
    let otherwise = library::own_origin().map(|own| Origin { pid: 0, ..own });
    environment::with_environ(number, otherwise, real)
}

/// What a child is told: its number, or what this process was told itself.
fn child_origin(number: u64) -> Option<Origin> {
    if number == 0 { library::own_origin() } else { Some(Origin { number, pid: 0 }) }
}

/// setuid(2), chroot(2) and their kin, before the call: what is behind it may not be able to reach the agent.
pub(crate) fn before_change() {
    if library::is_active() {
        library::log();
    }
}
