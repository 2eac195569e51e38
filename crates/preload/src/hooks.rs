//! The table of hooks: which symbol means which operation.
//!
//! A line gives the symbol's types as libc declares them, and the operation to which its arguments go. `real`
//! is the function behind the hook. A hook itself decides nothing.

use core::convert::Infallible;
use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

use koala_events::Address;

use crate::environment;
use crate::operation::payload::Payload;
use crate::operation::resolve::{
    self, AddressInfo, HostAnswer, HostEntry, HostQuestion, NameQuestion, Request,
};
use crate::operation::transfer;
use crate::operation::{
    accept, close, connect, cookie, datagram, duplicate, file, listen, many, peer, process, send_file,
    shutdown, socket, splice, stream, syslog, system_call, totals, wait,
};
use crate::symbol::{Symbol, Unavailable};
use crate::sys::{IoVec, Message, MessageEntry, net, nr};

/// Declares hooks. Each becomes an exported function of its name, which looks up the function behind it and
/// calls the operation; without a function behind it, it fails with ENOSYS.
macro_rules! hooks {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = |$real:ident| $operation:expr;
    )*) => { $(
        $(#[$meta])*
        #[cfg_attr(all(panic = "abort", not(test)), unsafe(no_mangle))]
        unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            static SYMBOL: Symbol = Symbol::new(
                match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a Rust identifier has no zero byte"),
                },
            );
            type Function = unsafe extern "C" fn($($type),*) $(-> $result)?;
            let address = SYMBOL.address();
            if address.is_null() {
                return Unavailable::unavailable();
            }
            // SAFETY: the symbol is a function of this type: the table says what libc's headers declare.
            let function = unsafe { core::mem::transmute::<*mut c_void, Function>(address) };
            let $real = move |$($argument: $type),*| {
                // SAFETY: the program called the function with these arguments; an operation changes them
                // only to others that the function allows.
                unsafe { function($($argument),*) }
            };
            // SAFETY: the program's arguments are what libc asks for, and so what the operation asks for.
            #[allow(unused_unsafe, reason = "not every operation is unsafe")]
            unsafe { $operation }
        }
    )* };
}

/// The path of a program that is looked for by its name, or given by a descriptor.
const UNKNOWN: *const c_char = core::ptr::null();

const V4: c_int = net::AF_INET as c_int;

/// Relative paths begin where the process is.
const HERE: c_int = nr::AT_FDCWD;

const NOBODY: (*const u8, u32) = (core::ptr::null(), 0);

fn nowhere() -> Address {
    Address::None
}

// Sockets.
hooks! {
    /// socket(2)
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int
        = |real| socket::open(domain, kind, protocol, || real(domain, kind, protocol));
    /// socketpair(2)
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int
        = |real| socket::open_pair(pair, || real(domain, kind, protocol, pair));
    /// listen(2)
    fn listen(fd: c_int, backlog: c_int) -> c_int
        = |real| listen::listen(fd, || real(fd, backlog));
    /// accept(2)
    fn accept(fd: c_int, name: *mut u8, length: *mut u32) -> c_int
        = |real| accept::accept(fd, name, length, || real(fd, name, length));
    /// accept4(2)
    fn accept4(fd: c_int, name: *mut u8, length: *mut u32, flags: c_int) -> c_int
        = |real| accept::accept(fd, name, length, || real(fd, name, length, flags));
    /// connect(2)
    fn connect(fd: c_int, name: *const u8, length: u32) -> c_int
        = |real| connect::connect(fd, name, length, |name, length| real(fd, name, length));
    /// socket(2), as glibc also exports it
    fn __socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int
        = |real| socket::open(domain, kind, protocol, || real(domain, kind, protocol));
    /// connect(2), as glibc also exports it
    fn __connect(fd: c_int, name: *const u8, length: u32) -> c_int
        = |real| connect::connect(fd, name, length, |name, length| real(fd, name, length));
    /// getsockopt(2)
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int
        = |real| connect::option(fd, level, name, value.cast(), || real(fd, level, name, value, length));
    /// getpeername(2)
    fn getpeername(fd: c_int, name: *mut u8, length: *mut u32) -> c_int
        = |real| peer::peer(fd, name, length, || real(fd, name, length));
    /// shutdown(2)
    fn shutdown(fd: c_int, how: c_int) -> c_int
        = |real| shutdown::shutdown(fd, how, || real(fd, how));
}

// Descriptors.
hooks! {
    /// close(2)
    fn close(fd: c_int) -> c_int
        = |real| close::close(fd, || real(fd));
    /// close(2), as glibc also exports it
    fn __close(fd: c_int) -> c_int
        = |real| close::close(fd, || real(fd));
    /// close(2), without a cancellation point, as glibc's own libraries call it
    fn __close_nocancel(fd: c_int) -> c_int
        = |real| close::close(fd, || real(fd));
    /// fclose(3)
    fn fclose(stream: *mut c_void) -> c_int
        = |real| close::close_stream(stream, || real(stream));
    /// fdopen(3), as glibc also exports it
    #[allow(non_snake_case, reason = "its name in libc")]
    fn _IO_fdopen(fd: c_int, mode: *const c_char) -> *mut c_void
        = |real| stream::open(fd, mode, || file::stream_of_descriptor(fd, mode, || real(fd, mode)));
    /// close_range(2)
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int
        = |real| close::close_range(first, last, flags as u32, || real(first, last, flags));
    /// closefrom(3)
    fn closefrom(first: c_int)
        = |real| close::close_from(first, || real(first));
    /// dup(2)
    fn dup(fd: c_int) -> c_int
        = |real| duplicate::duplicate(fd, || real(fd));
    /// dup2(2)
    fn dup2(from: c_int, to: c_int) -> c_int
        = |real| duplicate::duplicate_to(from, to, || real(from, to));
    /// dup2(2), as glibc also exports it
    fn __dup2(from: c_int, to: c_int) -> c_int
        = |real| duplicate::duplicate_to(from, to, || real(from, to));
    /// dup3(2)
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int
        = |real| duplicate::duplicate_to(from, to, || real(from, to, flags));
    /// fcntl(2). Variadic in C; its one optional argument is passed like a fixed one by both processors'
    /// calling conventions.
    fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int
        = |real| duplicate::control(fd, command, || real(fd, command, argument));
    /// fcntl(2) with 64-bit offsets
    fn fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int
        = |real| duplicate::control(fd, command, || real(fd, command, argument));
    /// fcntl(2), as glibc also exports it
    fn __fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int
        = |real| duplicate::control(fd, command, || real(fd, command, argument));
    /// fcntl(2), as glibc's own libraries call it
    fn __libc_fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int
        = |real| duplicate::control(fd, command, || real(fd, command, argument));
}

// Sending.
hooks! {
    /// send(2)
    fn send(fd: c_int, buffer: *const u8, length: usize, flags: c_int) -> isize
        = |real| transfer::send(fd, Payload::buffer(buffer, length), NOBODY, || real(fd, buffer, length, flags));
    /// send(2), as glibc also exports it
    fn __send(fd: c_int, buffer: *const u8, length: usize, flags: c_int) -> isize
        = |real| transfer::send(fd, Payload::buffer(buffer, length), NOBODY, || real(fd, buffer, length, flags));
    /// sendto(2)
    fn sendto(fd: c_int, buffer: *const u8, length: usize, flags: c_int, to: *const u8, to_length: u32) -> isize
        = |real| transfer::send_to(fd, Payload::buffer(buffer, length), flags, (to, to_length),
            || real(fd, buffer, length, flags, to, to_length));
    /// sendmsg(2)
    fn sendmsg(fd: c_int, message: *const Message, flags: c_int) -> isize
        = |real| transfer::send_message(fd, message, flags, || real(fd, message, flags));
    /// sendmmsg(2)
    fn sendmmsg(fd: c_int, messages: *mut MessageEntry, count: c_uint, flags: c_int) -> c_int
        = |real| many::send(fd, messages, count, flags, |messages, count| real(fd, messages, count, flags));
    /// sendmmsg(2), as glibc's own libraries call it
    fn __sendmmsg(fd: c_int, messages: *mut MessageEntry, count: c_uint, flags: c_int) -> c_int
        = |real| many::send(fd, messages, count, flags, |messages, count| real(fd, messages, count, flags));
    /// write(2)
    fn write(fd: c_int, buffer: *const u8, length: usize) -> isize
        = |real| transfer::send(fd, Payload::buffer(buffer, length), NOBODY, || real(fd, buffer, length));
    /// write(2), as glibc also exports it
    fn __write(fd: c_int, buffer: *const u8, length: usize) -> isize
        = |real| transfer::send(fd, Payload::buffer(buffer, length), NOBODY, || real(fd, buffer, length));
    /// write(2), without a cancellation point, as glibc's own libraries call it
    fn __write_nocancel(fd: c_int, buffer: *const u8, length: usize) -> isize
        = |real| transfer::send(fd, Payload::buffer(buffer, length), NOBODY, || real(fd, buffer, length));
    /// writev(2)
    fn writev(fd: c_int, vector: *const IoVec, count: c_int) -> isize
        = |real| transfer::send(fd, Payload::vector(vector, count.max(0) as usize), NOBODY,
            || real(fd, vector, count));
    /// pwritev2(2), which writes to a socket if its offset is -1
    fn pwritev2(fd: c_int, vector: *const IoVec, count: c_int, offset: i64, flags: c_int) -> isize
        = |real| transfer::send(fd, Payload::vector(vector, count.max(0) as usize), NOBODY,
            || real(fd, vector, count, offset, flags));
    /// pwritev2(2) with 64-bit offsets, which it has anyhow
    fn pwritev64v2(fd: c_int, vector: *const IoVec, count: c_int, offset: i64, flags: c_int) -> isize
        = |real| transfer::send(fd, Payload::vector(vector, count.max(0) as usize), NOBODY,
            || real(fd, vector, count, offset, flags));
    /// sendfile(2)
    fn sendfile(fd: c_int, file: c_int, offset: *mut i64, count: usize) -> isize
        = |real| send_file::send_file(fd, file, offset, count, || real(fd, file, offset, count));
    /// sendfile(2) with 64-bit offsets, which it has anyhow
    fn sendfile64(fd: c_int, file: c_int, offset: *mut i64, count: usize) -> isize
        = |real| send_file::send_file(fd, file, offset, count, || real(fd, file, offset, count));
    /// splice(2)
    fn splice(from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, count: usize, flags: c_uint) -> isize
        = |real| splice::splice(from, to, count, flags, !from_offset.is_null() || !to_offset.is_null(),
            |count| real(from, from_offset, to, to_offset, count, flags));
}

// Receiving.
hooks! {
    /// recv(2)
    fn recv(fd: c_int, buffer: *mut u8, length: usize, flags: c_int) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), flags, nowhere,
            || real(fd, buffer, length, flags));
    /// recv(2), as glibc's own libraries call it
    fn __recv(fd: c_int, buffer: *mut u8, length: usize, flags: c_int) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), flags, nowhere,
            || real(fd, buffer, length, flags));
    /// recv(2), fortified
    fn __recv_chk(fd: c_int, buffer: *mut u8, length: usize, size: usize, flags: c_int) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), flags, nowhere,
            || real(fd, buffer, length, size, flags));
    /// recvfrom(2)
    fn recvfrom(fd: c_int, buffer: *mut u8, length: usize, flags: c_int, name: *mut u8, name_length: *mut u32) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), flags,
            // SAFETY: what the kernel filled.
            || unsafe { transfer::source(name, name_length) },
            || real(fd, buffer, length, flags, name, name_length));
    /// recvfrom(2), fortified
    fn __recvfrom_chk(fd: c_int, buffer: *mut u8, length: usize, size: usize, flags: c_int, name: *mut u8, name_length: *mut u32) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), flags,
            // SAFETY: what the kernel filled.
            || unsafe { transfer::source(name, name_length) },
            || real(fd, buffer, length, size, flags, name, name_length));
    /// recvmsg(2)
    fn recvmsg(fd: c_int, message: *mut Message, flags: c_int) -> isize
        = |real| transfer::receive_message(fd, message, flags, || real(fd, message, flags));
    /// recvmmsg(2)
    fn recvmmsg(fd: c_int, messages: *mut MessageEntry, count: c_uint, flags: c_int, timeout: *mut c_void) -> c_int
        = |real| many::receive(fd, messages, flags, || real(fd, messages, count, flags, timeout));
    /// read(2)
    fn read(fd: c_int, buffer: *mut u8, length: usize) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), 0, nowhere, || real(fd, buffer, length));
    /// read(2), as glibc also exports it
    fn __read(fd: c_int, buffer: *mut u8, length: usize) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), 0, nowhere, || real(fd, buffer, length));
    /// read(2), without a cancellation point, as glibc's own libraries call it
    fn __read_nocancel(fd: c_int, buffer: *mut u8, length: usize) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), 0, nowhere, || real(fd, buffer, length));
    /// read(2), fortified
    fn __read_chk(fd: c_int, buffer: *mut u8, length: usize, size: usize) -> isize
        = |real| transfer::receive(fd, Payload::buffer(buffer, length), 0, nowhere,
            || real(fd, buffer, length, size));
    /// readv(2)
    fn readv(fd: c_int, vector: *const IoVec, count: c_int) -> isize
        = |real| transfer::receive(fd, Payload::vector(vector, count.max(0) as usize), 0, nowhere,
            || real(fd, vector, count));
    /// preadv2(2), which reads from a socket if its offset is -1
    fn preadv2(fd: c_int, vector: *const IoVec, count: c_int, offset: i64, flags: c_int) -> isize
        = |real| transfer::receive(fd, Payload::vector(vector, count.max(0) as usize), 0, nowhere,
            || real(fd, vector, count, offset, flags));
    /// preadv2(2) with 64-bit offsets, which it has anyhow
    fn preadv64v2(fd: c_int, vector: *const IoVec, count: c_int, offset: i64, flags: c_int) -> isize
        = |real| transfer::receive(fd, Payload::vector(vector, count.max(0) as usize), 0, nowhere,
            || real(fd, vector, count, offset, flags));
}

// Waiting.
hooks! {
    /// poll(2)
    fn poll(fds: *mut c_void, count: c_ulong, timeout: c_int) -> c_int
        = |real| wait::wait(|| real(fds, count, timeout));
    /// poll(2), as glibc also exports it
    fn __poll(fds: *mut c_void, count: c_ulong, timeout: c_int) -> c_int
        = |real| wait::wait(|| real(fds, count, timeout));
    /// poll(2), fortified
    fn __poll_chk(fds: *mut c_void, count: c_ulong, timeout: c_int, size: usize) -> c_int
        = |real| wait::wait(|| real(fds, count, timeout, size));
    /// ppoll(2)
    fn ppoll(fds: *mut c_void, count: c_ulong, timeout: *const c_void, mask: *const c_void) -> c_int
        = |real| wait::wait(|| real(fds, count, timeout, mask));
    /// ppoll(2), fortified
    fn __ppoll_chk(fds: *mut c_void, count: c_ulong, timeout: *const c_void, mask: *const c_void, size: usize) -> c_int
        = |real| wait::wait(|| real(fds, count, timeout, mask, size));
    /// select(2), as glibc also exports it
    fn __select(count: c_int, read: *mut c_void, write: *mut c_void, except: *mut c_void, timeout: *mut c_void) -> c_int
        = |real| wait::wait(|| real(count, read, write, except, timeout));
    /// select(2)
    fn select(count: c_int, read: *mut c_void, write: *mut c_void, except: *mut c_void, timeout: *mut c_void) -> c_int
        = |real| wait::wait(|| real(count, read, write, except, timeout));
    /// pselect(2)
    fn pselect(count: c_int, read: *mut c_void, write: *mut c_void, except: *mut c_void, timeout: *const c_void, mask: *const c_void) -> c_int
        = |real| wait::wait(|| real(count, read, write, except, timeout, mask));
    /// epoll_wait(2)
    fn epoll_wait(fd: c_int, events: *mut c_void, count: c_int, timeout: c_int) -> c_int
        = |real| wait::wait(|| real(fd, events, count, timeout));
    /// epoll_pwait(2)
    fn epoll_pwait(fd: c_int, events: *mut c_void, count: c_int, timeout: c_int, mask: *const c_void) -> c_int
        = |real| wait::wait(|| real(fd, events, count, timeout, mask));
    /// epoll_pwait2(2)
    fn epoll_pwait2(fd: c_int, events: *mut c_void, count: c_int, timeout: *const c_void, mask: *const c_void) -> c_int
        = |real| wait::wait(|| real(fd, events, count, timeout, mask));
}

// Processes.
hooks! {
    /// fork(2)
    fn fork() -> c_int
        = |real| process::fork(real);
    /// fork(2), as glibc also exports it
    fn __fork() -> c_int
        = |real| process::fork(real);
    /// _Fork(3)
    #[allow(non_snake_case, reason = "its name in libc")]
    fn _Fork() -> c_int
        = |real| process::fork(real);
    /// execve(2)
    fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const u8) -> c_int
        = |real| process::execute(path, environment, |environment| real(path, arguments, environment));
    /// execvpe(3)
    fn execvpe(file: *const c_char, arguments: *const *const c_char, environment: *const *const u8) -> c_int
        = |real| process::execute(UNKNOWN, environment, |environment| real(file, arguments, environment));
    /// fexecve(3)
    fn fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const u8) -> c_int
        = |real| process::execute(UNKNOWN, environment, |environment| real(fd, arguments, environment));
    /// _exit(2)
    fn _exit(status: c_int) -> Infallible
        = |real| { totals::at_exit(false); real(status) };
    /// _Exit(3)
    #[allow(non_snake_case, reason = "its name in libc")]
    fn _Exit(status: c_int) -> Infallible
        = |real| { totals::at_exit(false); real(status) };
    /// quick_exit(3)
    fn quick_exit(status: c_int) -> Infallible
        = |real| { totals::at_exit(false); real(status) };
    /// execveat(2)
    fn execveat(fd: c_int, path: *const c_char, arguments: *const *const c_char, environment: *const *const u8, flags: c_int) -> c_int
        = |real| process::execute(UNKNOWN, environment, |environment| real(fd, path, arguments, environment, flags));
    /// posix_spawn(3)
    fn posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: *const *const c_char, environment: *const *const u8) -> c_int
        = |real| process::spawn(path, pid, environment, |environment| real(pid, path, actions, attributes, arguments, environment));
    /// posix_spawnp(3)
    fn posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: *const *const c_char, environment: *const *const u8) -> c_int
        = |real| process::spawn(UNKNOWN, pid, environment, |environment| real(pid, file, actions, attributes, arguments, environment));
    /// system(3)
    fn system(command: *const c_char) -> c_int
        = |real| process::shell(|| real(command));
    /// popen(3)
    fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void
        = |real| process::shell(|| real(command, mode));
    /// wordexp(3), which runs a shell for what it finds in `$(...)`
    fn wordexp(words: *const c_char, result: *mut c_void, flags: c_int) -> c_int
        = |real| process::shell(|| real(words, result, flags));
    /// setuid(2)
    fn setuid(user: c_uint) -> c_int
        = |real| { process::before_change(); real(user) };
    /// seteuid(2)
    fn seteuid(user: c_uint) -> c_int
        = |real| { process::before_change(); real(user) };
    /// setreuid(2)
    fn setreuid(user: c_uint, effective: c_uint) -> c_int
        = |real| { process::before_change(); real(user, effective) };
    /// setresuid(2)
    fn setresuid(user: c_uint, effective: c_uint, saved: c_uint) -> c_int
        = |real| { process::before_change(); real(user, effective, saved) };
    /// chroot(2)
    fn chroot(path: *const c_char) -> c_int
        = |real| { process::before_change(); real(path) };
    /// syscall(2). Variadic in C; all its arguments are of the size of a register, and are passed like fixed
    /// ones by both processors' calling conventions.
    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize
        = |real| system_call::call(number as isize, [a, b, c, d, e, f],
            |[a, b, c, d, e, f]| real(number, a, b, c, d, e, f));
}

// Datagrams.
hooks! {
    /// bind(2)
    fn bind(fd: c_int, name: *const u8, length: c_uint) -> c_int
        = |real| datagram::bind(fd, || real(fd, name, length));
}

// Messages to the system's log.
hooks! {
    /// openlog(3)
    fn openlog(name: *const c_char, options: c_int, facility: c_int)
        = |real| syslog::open(options, facility, |options| real(name, options, facility));
}

// Files.
hooks! {
    /// open(2). Variadic in C, like fcntl.
    fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int
        = |real| file::open(HERE, path, flags, || real(path, flags, mode));
    /// open(2) with 64-bit offsets
    fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int
        = |real| file::open(HERE, path, flags, || real(path, flags, mode));
    /// open(2), fortified
    fn __open_2(path: *const c_char, flags: c_int) -> c_int
        = |real| file::open(HERE, path, flags, || real(path, flags));
    /// open(2) with 64-bit offsets, fortified
    fn __open64_2(path: *const c_char, flags: c_int) -> c_int
        = |real| file::open(HERE, path, flags, || real(path, flags));
    /// openat(2). Variadic in C.
    fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int
        = |real| file::open(directory, path, flags, || real(directory, path, flags, mode));
    /// openat(2) with 64-bit offsets
    fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int
        = |real| file::open(directory, path, flags, || real(directory, path, flags, mode));
    /// openat(2), fortified
    fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int
        = |real| file::open(directory, path, flags, || real(directory, path, flags));
    /// openat(2) with 64-bit offsets, fortified
    fn __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int
        = |real| file::open(directory, path, flags, || real(directory, path, flags));
    /// pwrite(2)
    fn pwrite(fd: c_int, buffer: *const u8, length: usize, offset: i64) -> isize
        = |real| file::write_at(fd, Payload::buffer(buffer, length), || real(fd, buffer, length, offset));
    /// pwrite(2) with 64-bit offsets
    fn pwrite64(fd: c_int, buffer: *const u8, length: usize, offset: i64) -> isize
        = |real| file::write_at(fd, Payload::buffer(buffer, length), || real(fd, buffer, length, offset));
    /// pwritev(2)
    fn pwritev(fd: c_int, vector: *const IoVec, count: c_int, offset: i64) -> isize
        = |real| file::write_at(fd, Payload::vector(vector, count.max(0) as usize), || real(fd, vector, count, offset));
    /// pwritev(2) with 64-bit offsets
    fn pwritev64(fd: c_int, vector: *const IoVec, count: c_int, offset: i64) -> isize
        = |real| file::write_at(fd, Payload::vector(vector, count.max(0) as usize), || real(fd, vector, count, offset));
    /// posix_spawn_file_actions_addopen(3)
    fn posix_spawn_file_actions_addopen(actions: *mut c_void, fd: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int
        = |real| file::open_in_child(path, flags, |path, flags| real(actions, fd, path, flags, mode));
    /// fopen(3)
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void
        = |real| file::open_stream(path, mode, |path| real(path, mode));
    /// fopen(3) with 64-bit offsets
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut c_void
        = |real| file::open_stream(path, mode, |path| real(path, mode));
    /// fdopen(3)
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void
        = |real| stream::open(fd, mode, || file::stream_of_descriptor(fd, mode, || real(fd, mode)));
    /// freopen(3)
    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut c_void) -> *mut c_void
        = |real| file::reopen_stream(path, mode, |path| real(path, mode, stream));
    /// freopen(3) with 64-bit offsets
    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut c_void) -> *mut c_void
        = |real| file::reopen_stream(path, mode, |path| real(path, mode, stream));
    /// fileno(3)
    fn fileno(stream: *mut c_void) -> c_int
        = |real| cookie::number(stream, || real(stream));
    /// fileno(3), without a lock
    fn fileno_unlocked(stream: *mut c_void) -> c_int
        = |real| cookie::number(stream, || real(stream));
}

// Names.
hooks! {
    /// getaddrinfo(3)
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const AddressInfo, result: *mut *mut AddressInfo) -> c_int
        = |real| resolve::addresses(node, service, hints, result, &real);
    /// freeaddrinfo(3)
    fn freeaddrinfo(list: *mut AddressInfo)
        = |real| resolve::free(list, real);
    /// getaddrinfo_a(3)
    fn getaddrinfo_a(mode: c_int, list: *const *mut Request, count: c_int, told: *const c_void) -> c_int
        = |real| resolve::several(mode, list, count, told, || real(mode, list, count, told));
    /// getnameinfo(3)
    fn getnameinfo(address: *const u8, length: c_uint, host: *mut c_char, host_size: c_uint, service: *mut c_char, service_size: c_uint, flags: c_int) -> c_int
        = |real| resolve::name(NameQuestion { address, length, host, host_size, flags },
            |host, host_size, flags| real(address, length, host, host_size, service, service_size, flags));
    /// gethostbyname(3)
    fn gethostbyname(name: *const c_char) -> *mut c_void
        = |real| resolve::host(HostQuestion::Name(name, V4), || real(name));
    /// gethostbyname2(3)
    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut c_void
        = |real| resolve::host(HostQuestion::Name(name, family), || real(name, family));
    /// gethostbyaddr(3)
    fn gethostbyaddr(address: *const c_void, length: c_uint, family: c_int) -> *mut c_void
        = |real| resolve::host(HostQuestion::Address(address.cast(), length, family), || real(address, length, family));
    /// gethostbyname_r(3)
    fn gethostbyname_r(name: *const c_char, entry: *mut HostEntry, buffer: *mut u8, size: usize, result: *mut *mut HostEntry, error: *mut c_int) -> c_int
        = |real| resolve::host_into(HostQuestion::Name(name, V4), HostAnswer { entry, buffer, size, result, error },
            || real(name, entry, buffer, size, result, error));
    /// gethostbyname2_r(3)
    fn gethostbyname2_r(name: *const c_char, family: c_int, entry: *mut HostEntry, buffer: *mut u8, size: usize, result: *mut *mut HostEntry, error: *mut c_int) -> c_int
        = |real| resolve::host_into(HostQuestion::Name(name, family), HostAnswer { entry, buffer, size, result, error },
            || real(name, family, entry, buffer, size, result, error));
    /// gethostbyaddr_r(3)
    fn gethostbyaddr_r(address: *const c_void, length: c_uint, family: c_int, entry: *mut HostEntry, buffer: *mut u8, size: usize, result: *mut *mut HostEntry, error: *mut c_int) -> c_int
        = |real| resolve::host_into(HostQuestion::Address(address.cast(), length, family), HostAnswer { entry, buffer, size, result, error },
            || real(address, length, family, entry, buffer, size, result, error));
    /// res_query of resolver(3)
    fn res_query(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(name, class, kind, answer, size));
    /// res_query, as glibc also exports it
    fn __res_query(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(name, class, kind, answer, size));
    /// res_search of resolver(3)
    fn res_search(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(name, class, kind, answer, size));
    /// res_search, as glibc also exports it
    fn __res_search(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(name, class, kind, answer, size));
    /// res_nquery of resolver(3)
    fn res_nquery(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(state, name, class, kind, answer, size));
    /// res_nquery, as glibc also exports it
    fn __res_nquery(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(state, name, class, kind, answer, size));
    /// res_nsearch of resolver(3)
    fn res_nsearch(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(state, name, class, kind, answer, size));
    /// res_nsearch, as glibc also exports it
    fn __res_nsearch(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(name, || real(state, name, class, kind, answer, size));
    /// res_send of resolver(3)
    fn res_send(question: *const u8, length: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(core::ptr::null(), || real(question, length, answer, size));
    /// res_send, as glibc also exports it
    fn __res_send(question: *const u8, length: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(core::ptr::null(), || real(question, length, answer, size));
    /// res_nsend of resolver(3)
    fn res_nsend(state: *mut c_void, question: *const u8, length: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(core::ptr::null(), || real(state, question, length, answer, size));
    /// res_nsend, as glibc also exports it
    fn __res_nsend(state: *mut c_void, question: *const u8, length: c_int, answer: *mut u8, size: c_int) -> c_int
        = |real| resolve::query(core::ptr::null(), || real(state, question, length, answer, size));
}

/// execv(3): execve with the environment as it is.
#[cfg_attr(all(panic = "abort", not(test)), unsafe(no_mangle))]
unsafe extern "C" fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int {
    // SAFETY: the program's arguments, and libc's environment.
    unsafe { execve(path, arguments, environment::current()) }
}

/// execvp(3): execvpe with the environment as it is.
#[cfg_attr(all(panic = "abort", not(test)), unsafe(no_mangle))]
unsafe extern "C" fn execvp(file: *const c_char, arguments: *const *const c_char) -> c_int {
    // SAFETY: the program's arguments, and libc's environment.
    unsafe { execvpe(file, arguments, environment::current()) }
}

/// Hooks that must not have a frame of their own: they jump to what is behind them.
#[cfg(all(panic = "abort", not(test)))]
mod jumps {
    use core::arch::naked_asm;
    use core::ffi::{c_char, c_int, c_void};

    use super::{Symbol, process, stream, syslog};
    use crate::operation::load;
    use crate::sys;

    /// thread.c calls these by names that no program has.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn koala_execv(path: *const c_char, arguments: *const *const c_char) -> c_int {
        // SAFETY: the arguments of the variadic exec, as a vector.
        unsafe { super::execv(path, arguments) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn koala_execvp(file: *const c_char, arguments: *const *const c_char) -> c_int {
        // SAFETY: as above.
        unsafe { super::execvp(file, arguments) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn koala_execve(
        path: *const c_char,
        arguments: *const *const c_char,
        environment: *const *const u8,
    ) -> c_int {
        // SAFETY: as above.
        unsafe { super::execve(path, arguments, environment) }
    }

    unsafe extern "C" {
        fn koala_execl();
        fn koala_execlp();
        fn koala_execle();
        fn koala_dprintf();
        fn koala_dprintf_chk();
        fn koala_vdprintf();
        fn koala_vdprintf_chk();
        fn koala_syslog();
        fn koala_syslog_chk();
        fn koala_vsyslog();
        fn koala_vsyslog_chk();
    }

    /// Declares exports that jump to a C function: its variadic arguments stay where they are.
    macro_rules! variadic {
        ($($(#[$meta:meta])* $name:ident => $target:ident;)*) => { $(
            $(#[$meta])*
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                naked_asm!("jmp {}", sym $target);
                #[cfg(target_arch = "aarch64")]
                naked_asm!("b {}", sym $target);
            }
        )* };
    }

    variadic! {
        /// execl(3)
        execl => koala_execl;
        /// execlp(3)
        execlp => koala_execlp;
        /// execle(3)
        execle => koala_execle;
        /// dprintf(3)
        dprintf => koala_dprintf;
        /// dprintf(3), fortified
        __dprintf_chk => koala_dprintf_chk;
        /// vdprintf(3)
        vdprintf => koala_vdprintf;
        /// vdprintf(3), fortified
        __vdprintf_chk => koala_vdprintf_chk;
        /// syslog(3)
        syslog => koala_syslog;
        /// syslog(3), fortified
        __syslog_chk => koala_syslog_chk;
        /// vsyslog(3)
        vsyslog => koala_vsyslog;
        /// vsyslog(3), fortified
        __vsyslog_chk => koala_vsyslog_chk;
    }

    /// The functions of libc that dprintf and syslog are made of.
    #[unsafe(no_mangle)]
    extern "C" fn koala_function(which: c_int) -> *mut c_void {
        static VDPRINTF: Symbol = Symbol::new(c"vdprintf");
        static VDPRINTF_CHK: Symbol = Symbol::new(c"__vdprintf_chk");
        static VSNPRINTF: Symbol = Symbol::new(c"vsnprintf");
        static VSNPRINTF_CHK: Symbol = Symbol::new(c"__vsnprintf_chk");
        static VSYSLOG: Symbol = Symbol::new(c"vsyslog");
        static VSYSLOG_CHK: Symbol = Symbol::new(c"__vsyslog_chk");
        match which {
            0 => VDPRINTF.address(),
            1 => VDPRINTF_CHK.address(),
            2 => VSNPRINTF.address(),
            3 => VSNPRINTF_CHK.address(),
            4 => VSYSLOG.address(),
            _ => VSYSLOG_CHK.address(),
        }
    }

    #[unsafe(no_mangle)]
    extern "C" fn koala_is_followed(fd: c_int) -> bool {
        stream::is_followed(fd)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn koala_print(fd: c_int, text: *const u8, length: c_int) -> c_int {
        // SAFETY: thread.c calls it with a text of this length.
        unsafe { stream::print(fd, text, length) }
    }

    #[unsafe(no_mangle)]
    extern "C" fn koala_is_logged(priority: c_int) -> bool {
        syslog::is_followed(priority)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn koala_logged(priority: c_int, text: *const u8, length: c_int) -> c_int {
        // SAFETY: thread.c calls it with a text of this length.
        unsafe { syslog::write(priority, text, length) }
    }

    #[unsafe(no_mangle)]
    extern "C" fn koala_errno(set: c_int, value: c_int) -> c_int {
        if set != 0 {
            sys::set_errno(value);
        }
        sys::errno()
    }

    #[unsafe(no_mangle)]
    extern "C" fn koala_allocate(size: usize) -> *mut u8 {
        crate::sys::allocate(size)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn koala_free(memory: *mut u8, size: usize) {
        // SAFETY: what thread.c got by `koala_allocate`.
        unsafe { crate::sys::free(memory, size) }
    }

    static VFORK: Symbol = Symbol::new(c"vfork");
    static DLOPEN: Symbol = Symbol::new(c"dlopen");
    static DLMOPEN: Symbol = Symbol::new(c"dlmopen");

    /// What a hook jumps to if nothing is behind it.
    extern "C" fn unavailable() -> isize {
        super::Unavailable::unavailable()
    }

    fn or_unavailable(address: *mut c_void) -> *mut c_void {
        if address.is_null() { unavailable as *const () as *mut c_void } else { address }
    }

    extern "C" fn vfork_target() -> *mut c_void {
        process::before_vfork();
        or_unavailable(VFORK.address())
    }

    extern "C" fn dlopen_target() -> *mut c_void {
        or_unavailable(DLOPEN.address())
    }

    extern "C" fn dlmopen_target() -> *mut c_void {
        or_unavailable(DLMOPEN.address())
    }

    /// vfork(2). The child returns first, and would overwrite the frame that its parent is to return through:
    /// so there is none.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    unsafe extern "C" fn vfork() -> c_int {
        #[cfg(target_arch = "x86_64")]
        naked_asm!("sub rsp, 8", "call {}", "add rsp, 8", "jmp rax", sym vfork_target);
        #[cfg(target_arch = "aarch64")]
        naked_asm!("stp x29, x30, [sp, -16]!", "bl {}", "ldp x29, x30, [sp], 16", "br x0", sym vfork_target);
    }

    /// dlopen(3). Whose `RUNPATH` counts is decided by the return address: so it must be the program's.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    unsafe extern "C" fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void {
        #[cfg(target_arch = "x86_64")]
        naked_asm!(
            "push rdi",
            "mov edi, esi",
            "call {flags}",
            "push rax",
            "sub rsp, 8",
            "call {target}",
            "add rsp, 8",
            "pop rsi",
            "pop rdi",
            "jmp rax",
            flags = sym load::flags,
            target = sym dlopen_target,
        );
        #[cfg(target_arch = "aarch64")]
        naked_asm!(
            "stp x29, x30, [sp, -32]!",
            "str x0, [sp, 16]",
            "mov w0, w1",
            "bl {flags}",
            "str x0, [sp, 24]",
            "bl {target}",
            "mov x16, x0",
            "ldp x0, x1, [sp, 16]",
            "ldp x29, x30, [sp], 32",
            "br x16",
            flags = sym load::flags,
            target = sym dlopen_target,
        );
    }

    /// dlmopen(3): as dlopen, with the namespace before the other arguments.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    unsafe extern "C" fn dlmopen(namespace: isize, file: *const c_char, flags: c_int) -> *mut c_void {
        #[cfg(target_arch = "x86_64")]
        naked_asm!(
            "push rdi",
            "push rsi",
            "sub rsp, 8",
            "mov edi, edx",
            "call {flags}",
            "mov [rsp], rax",
            "mov rdi, [rsp + 16]",
            "call {namespace}",
            "mov [rsp + 16], rax",
            "sub rsp, 16",
            "call {target}",
            "add rsp, 16",
            "pop rdx",
            "pop rsi",
            "pop rdi",
            "jmp rax",
            flags = sym load::flags,
            namespace = sym load::namespace,
            target = sym dlmopen_target,
        );
        #[cfg(target_arch = "aarch64")]
        naked_asm!(
            "stp x29, x30, [sp, -48]!",
            "stp x0, x1, [sp, 16]",
            "mov w0, w2",
            "bl {flags}",
            "str x0, [sp, 32]",
            "ldr x0, [sp, 16]",
            "bl {namespace}",
            "str x0, [sp, 16]",
            "bl {target}",
            "mov x16, x0",
            "ldr x2, [sp, 32]",
            "ldp x0, x1, [sp, 16]",
            "ldp x29, x30, [sp], 48",
            "br x16",
            flags = sym load::flags,
            namespace = sym load::namespace,
            target = sym dlmopen_target,
        );
    }
}
