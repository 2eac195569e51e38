//! syscall(2): the calls that the other hooks know, made by number. libuv closes its sockets so.

use core::ffi::{c_char, c_int};
use core::ptr;

use koala_events::Address;

use crate::library;
use crate::operation::payload::Payload;
use crate::operation::{
    accept, close, connect, datagram, duplicate, file, listen, many, peer, process, send_file, shutdown,
    socket, splice, totals, transfer, wait,
};
use crate::sys::{self, IoVec, Message, MessageEntry, nr};

/// The beginning of `struct clone_args` (clone(2)).
#[repr(C)]
struct CloneArguments {
    flags: u64,
    unused: [u64; 4],
    stack: u64,
}

/// Makes the call by `real`, which takes the six arguments, as the operation that it is.
///
/// # Safety
///
/// The arguments must be what the call asks for.
pub(crate) unsafe fn call(number: isize, arguments: [usize; 6], real: impl Fn([usize; 6]) -> isize) -> isize {
    if !library::is_active() {
        return real(arguments);
    }
    let [a, b, c, d, e, _] = arguments;
    let fd = a as c_int;
    let int = || real(arguments) as c_int;
    let buffer = || Payload::buffer(b as *const u8, c);
    let vector = || Payload::vector(b as *const IoVec, c);
    let nobody = (core::ptr::null(), 0);
    let nowhere = || Address::None;
    let all = || real(arguments);
    // SAFETY: the caller's promise: each operation gets the arguments of its call.
    unsafe {
        match number as u32 {
            nr::__NR_socket => socket::open(fd, b as c_int, c as c_int, int) as isize,
            nr::__NR_accept | nr::__NR_accept4 => {
                accept::accept(fd, b as *const u8, c as *const u32, int) as isize
            }
            nr::__NR_listen => listen::listen(fd, int) as isize,
            nr::__NR_connect => {
                let to = |name: *const u8, length: u32| {
                    real([a, name as usize, length as usize, d, e, 0]) as c_int
                };
                connect::connect(fd, b as *const u8, c as u32, to) as isize
            }
            nr::__NR_bind => datagram::bind(fd, int) as isize,
            nr::__NR_close => close::close(fd, int) as isize,
            nr::__NR_close_range => close::close_range(a as u32, b as u32, c as u32, int) as isize,
            nr::__NR_shutdown => shutdown::shutdown(fd, b as c_int, int) as isize,
            nr::__NR_dup => duplicate::duplicate(fd, int) as isize,
            nr::__NR_dup3 => duplicate::duplicate_to(fd, b as c_int, int) as isize,
            nr::__NR_fcntl => duplicate::control(fd, b as c_int, int) as isize,
            nr::__NR_read => transfer::receive(fd, buffer(), 0, nowhere, all),
            nr::__NR_readv | nr::__NR_preadv2 => transfer::receive(fd, vector(), 0, nowhere, all),
            nr::__NR_write => transfer::send(fd, buffer(), nobody, all),
            nr::__NR_writev | nr::__NR_pwritev2 => transfer::send(fd, vector(), nobody, all),
            nr::__NR_sendto => {
                transfer::send_to(fd, buffer(), d as c_int, (e as *const u8, arguments[5] as u32), all)
            }
            nr::__NR_sendmmsg => {
                let real = |entries: *mut MessageEntry, count: u32| {
                    real([a, entries as usize, count as usize, d, e, 0]) as c_int
                };
                many::send(fd, b as *mut MessageEntry, c as u32, d as c_int, real) as isize
            }
            nr::__NR_recvmmsg => many::receive(fd, b as *const MessageEntry, d as c_int, int) as isize,
            nr::__NR_socketpair => socket::open_pair(d as *const c_int, int) as isize,
            nr::__NR_getpeername => peer::peer(fd, b as *mut u8, c as *mut u32, int) as isize,
            nr::__NR_getsockopt => {
                connect::option(fd, b as c_int, c as c_int, d as *const c_int, int) as isize
            }
            nr::__NR_openat => file::open(fd, b as *const c_char, c as c_int, int) as isize,
            nr::__NR_openat2 => {
                let flags = flags_of(c as *const u64);
                file::open(fd, b as *const c_char, flags, int) as isize
            }
            nr::__NR_pwrite64 => file::write_at(fd, buffer(), all),
            nr::__NR_pwritev => file::write_at(fd, vector(), all),
            nr::__NR_execve => {
                let real =
                    |environment: *const *const u8| real([a, b, environment as usize, d, e, 0]) as c_int;
                process::execute(a as *const c_char, c as *const *const u8, real) as isize
            }
            nr::__NR_execveat => {
                let real =
                    |environment: *const *const u8| real([a, b, c, environment as usize, e, 0]) as c_int;
                process::execute(ptr::null(), d as *const *const u8, real) as isize
            }
            nr::__NR_clone if is_fork(a as u64, b as u64) => process::fork(int) as isize,
            nr::__NR_clone3 if is_fork_by(a as *const CloneArguments) => process::fork(int) as isize,
            nr::__NR_setuid | nr::__NR_setreuid | nr::__NR_setresuid | nr::__NR_chroot => {
                process::before_change();
                real(arguments)
            }
            nr::__NR_exit_group => {
                totals::at_exit(false);
                real(arguments)
            }
            nr::__NR_sendfile => send_file::send_file(fd, b as c_int, c as *const i64, d, all),
            nr::__NR_splice => {
                let real = |count: usize| real([a, b, c, d, count, arguments[5]]);
                splice::splice(fd, c as c_int, e, arguments[5] as u32, b != 0 || d != 0, real)
            }
            nr::__NR_recvfrom => {
                let from = || transfer::source(e as *const u8, arguments[5] as *const u32);
                transfer::receive(fd, buffer(), d as c_int, from, all)
            }
            nr::__NR_sendmsg => transfer::send_message(fd, b as *const Message, c as c_int, all),
            nr::__NR_recvmsg => transfer::receive_message(fd, b as *const Message, c as c_int, all),
            nr::__NR_ppoll | nr::__NR_pselect6 | nr::__NR_epoll_pwait | nr::__NR_epoll_pwait2 => {
                wait::wait(all)
            }
            #[cfg(target_arch = "x86_64")]
            nr::__NR_open => file::open(nr::AT_FDCWD, a as *const c_char, b as c_int, int) as isize,
            #[cfg(target_arch = "x86_64")]
            nr::__NR_fork => process::fork(int) as isize,
            #[cfg(target_arch = "x86_64")]
            nr::__NR_dup2 => duplicate::duplicate_to(fd, b as c_int, int) as isize,
            #[cfg(target_arch = "x86_64")]
            nr::__NR_poll | nr::__NR_select | nr::__NR_epoll_wait => wait::wait(all),
            _ => real(arguments),
        }
    }
}

/// What clone(2) makes with these flags and this stack: a process of its own, which goes on where its parent does. One
/// that shares its parent's memory is a thread, or does as after vfork(2), and it is left alone: it must not come back
/// through frames that its parent still needs.
fn is_fork(flags: u64, stack: u64) -> bool {
    flags & u64::from(nr::CLONE_VM | nr::CLONE_THREAD) == 0 && stack == 0
}

/// The same of clone3(2).
///
/// # Safety
///
/// `arguments` must be what clone3(2) asks for.
unsafe fn is_fork_by(arguments: *const CloneArguments) -> bool {
    // SAFETY: the caller's promise: all of its versions have these.
    sys::is_plausible(arguments) && unsafe { is_fork((*arguments).flags, (*arguments).stack) }
}

/// The flags in `struct open_how` (openat2(2)), which begins with them.
///
/// # Safety
///
/// `how` must be what openat2(2) asks for.
unsafe fn flags_of(how: *const u64) -> c_int {
    // SAFETY: the caller's promise.
    if sys::is_plausible(how) { unsafe { *how as c_int } } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_memory_of_its_own_and_goes_on_where_it_was_made_is_a_fork() {
        const SIGCHLD: u64 = 17;
        assert!(is_fork(SIGCHLD, 0) && is_fork(u64::from(nr::CLONE_VFORK | nr::CLONE_PARENT), 0));
        assert!(!is_fork(u64::from(nr::CLONE_VM | nr::CLONE_VFORK), 0));
        assert!(!is_fork(u64::from(nr::CLONE_VM | nr::CLONE_THREAD), 4096));
        assert!(!is_fork(SIGCHLD, 4096));
        // SAFETY: null is told from arguments.
        unsafe { assert!(!is_fork_by(ptr::null()) && flags_of(ptr::null()) == 0) };
    }
}
