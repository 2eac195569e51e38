//! Processes that the program makes, and programs that they become.

use core::ffi::c_int;

use crate::environment::ChildEnvironment;
use crate::library;
use crate::thread::Thread;

/// fork(2), and what else returns twice: the child is a process of its own from its first call on.
pub(crate) fn fork(real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result == 0 {
        library::forked();
    }
    result
}

/// vfork(2), before the call: parent and child go on in the same memory.
pub(crate) extern "C" fn before_vfork() {
    Thread::current().enter_vfork();
}

/// execve(2), execvpe(3), posix_spawn(3): `real` is called with the environment that covers the child.
///
/// # Safety
///
/// `environment` must be null or a list of C strings that a null pointer ends.
pub(crate) unsafe fn with_environment(
    environment: *const *const u8,
    real: impl FnOnce(*const *const u8) -> c_int,
) -> c_int {
    if !library::covers_children() {
        return real(environment);
    }
    // SAFETY: the caller's promise.
    let environment = unsafe { ChildEnvironment::covering(environment) };
    environment.leave();
    let result = real(environment.list());
    environment.free();
    result
}
