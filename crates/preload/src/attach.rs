//! Getting the event log from the agent.
//!
//! The agent listens on `attach.sock` in the runtime directory. It is sent [`HELLO`], the process id, four reserved
//! bytes and the token of `KOALA_TOKEN` in [`TOKEN`] bytes, with zeros behind it. It answers with the same magic,
//! the log's size, the number of the process in the log, and the log itself as a descriptor (`SCM_RIGHTS`, unix(7)).
//! Both descriptors are closed again before the program's call goes on: the mapping stays.

use core::ffi::{CStr, c_int};

use koala_events::{Address, Arena};

use crate::address::{self, SockAddr};
use crate::environment;
use crate::sys::{self, IoVec, Message, net, nr};

const HELLO: [u8; 8] = *b"KOALA\0\0\x02";
/// Bytes for the token.
const TOKEN: usize = 32;
const SOCKET: &[u8] = b"/attach.sock";
/// Where the agent takes commands, and the one to complete the recording.
const CONTROL: &[u8] = b"/control.sock";
const FINISH: &[u8] = b"POST /finish HTTP/1.1\r\nHost: koala\r\nContent-Length: 0\r\n\r\n";
/// Seconds after which an agent that does not answer counts as gone.
const TIMEOUT: i64 = 5;

/// `struct cmsghdr` with one descriptor.
#[repr(C)]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    fd: c_int,
    padding: c_int,
}

/// Maps the event log of the agent whose runtime directory this is, and returns it with the number that the process
/// has in it; `None` if there is none to be had.
pub(crate) fn attach(runtime_dir: &CStr) -> Option<(Arena, u64)> {
    let socket = connect(&address(runtime_dir, SOCKET)?)?;
    let log = ask(socket);
    sys::close(socket);
    let Answer { fd, size, process } = log?;
    let base = sys::map_shared(fd, size);
    sys::close(fd);
    if base.is_null() {
        return None;
    }
    // SAFETY: the mapping has `size` bytes, is never unmapped, and only koala uses it.
    unsafe { Arena::open(base, size) }.ok().map(|arena| (arena, process))
}

/// The first process of a process namespace is about to end, and all others of that namespace with it: an agent that is
/// among them completes the recording before, which is waited for.
pub(crate) fn finish(runtime_dir: &CStr) {
    let Some(socket) = address(runtime_dir, CONTROL).and_then(|address| connect(&address)) else { return };
    // The agent's id in this namespace; 0 of one that is in another, and goes on.
    if address::creator(socket) != 0 && send(socket, FINISH) {
        let mut answer = [0u8; 64];
        // SAFETY: a buffer of ours with its size.
        unsafe {
            let (into, room) = (answer.as_mut_ptr() as usize, answer.len());
            sys::call(nr::__NR_recvfrom, [socket as usize, into, room, 0, 0, 0])
        };
    }
    sys::close(socket);
}

/// Where the agent with this runtime directory listens by this name.
fn address(runtime_dir: &CStr, name: &[u8]) -> Option<SockAddr> {
    let runtime_dir = runtime_dir.to_bytes();
    let mut path = [0u8; koala_events::PATH_MAX];
    let length = runtime_dir.len() + name.len();
    if length >= path.len() {
        return None;
    }
    for (to, from) in path.iter_mut().zip(runtime_dir.iter().chain(name)) {
        *to = *from;
    }
    Some(SockAddr::from_address(&Address::unix(path.get(..length)?)))
}

/// Whether there still is somebody who listens there, be it a standby that will. Does not wait.
pub(crate) fn is_answered(runtime_dir: &CStr) -> bool {
    let Some(address) = address(runtime_dir, SOCKET) else { return false };
    let kind = (net::SOCK_STREAM | nr::O_CLOEXEC | nr::O_NONBLOCK) as usize;
    // SAFETY: takes numbers only.
    let socket = unsafe { sys::call(nr::__NR_socket, [net::AF_UNIX as usize, kind, 0, 0, 0, 0]) };
    if socket < 0 {
        return true;
    }
    let (pointer, length) = (address.pointer() as usize, address.length() as usize);
    // SAFETY: an address of ours.
    let result = unsafe { sys::call(nr::__NR_connect, [socket as usize, pointer, length, 0, 0, 0]) };
    sys::close(socket as c_int);
    !matches!(result.unsigned_abs() as u32, sys::error::ECONNREFUSED | sys::error::ENOENT)
}

/// What the agent answers.
struct Answer {
    /// The log, and its bytes.
    fd: c_int,
    size: usize,
    /// The number of the process in it.
    process: u64,
}

/// A socket that is connected to the agent at this address.
fn connect(address: &SockAddr) -> Option<c_int> {
    let kind = (net::SOCK_STREAM | nr::O_CLOEXEC) as usize;
    // SAFETY: takes numbers only.
    let socket = unsafe { sys::call(nr::__NR_socket, [net::AF_UNIX as usize, kind, 0, 0, 0, 0]) };
    let fd = c_int::try_from(socket).ok().filter(|&fd| fd >= 0)?;
    let socket = socket as usize;
    let patience = [TIMEOUT, 0];
    for option in [net::SO_RCVTIMEO_OLD, net::SO_SNDTIMEO_OLD] {
        // SAFETY: a `struct timeval` of ours.
        unsafe {
            let value = &raw const patience as usize;
            sys::call(nr::__NR_setsockopt, [socket, net::SOL_SOCKET as usize, option as usize, value, 16, 0]);
        }
    }
    // SAFETY: an address of ours.
    let connected = unsafe {
        sys::call(nr::__NR_connect, [socket, address.pointer() as usize, address.length() as usize, 0, 0, 0])
    };
    if connected < 0 {
        sys::close(fd);
        return None;
    }
    Some(fd)
}

/// Sends these bytes; whether it took them all.
fn send(socket: c_int, bytes: &[u8]) -> bool {
    // MSG_NOSIGNAL: an agent that is gone must not end the program by SIGPIPE.
    // SAFETY: the bytes are there.
    let sent = unsafe {
        let flags = net::MSG_NOSIGNAL as usize;
        sys::call(nr::__NR_sendto, [socket as usize, bytes.as_ptr() as usize, bytes.len(), flags, 0, 0])
    };
    sent == bytes.len() as isize
}

fn ask(socket: c_int) -> Option<Answer> {
    let mut hello = [0u8; HELLO.len() + 8 + TOKEN];
    let pid = sys::getpid().to_le_bytes();
    let head = HELLO.iter().chain(&pid).chain(&[0; 4]);
    for (to, from) in hello.iter_mut().zip(head.chain(environment::token().iter().take(TOKEN))) {
        *to = *from;
    }
    if !send(socket, &hello) {
        return None;
    }
    let mut answer = [0u8; 24];
    let mut vector = IoVec { base: answer.as_mut_ptr(), length: answer.len() };
    let mut control = Control { length: 0, level: 0, kind: 0, fd: -1, padding: 0 };
    let mut message = Message {
        name: core::ptr::null_mut(),
        name_length: 0,
        vector: &raw mut vector,
        vector_length: 1,
        control: (&raw mut control).cast(),
        control_length: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: the message points to buffers of ours, with their sizes.
    let received = unsafe {
        let flags = net::MSG_CMSG_CLOEXEC as usize;
        sys::call(nr::__NR_recvmsg, [socket as usize, &raw mut message as usize, flags, 0, 0, 0])
    };
    let (words, _) = answer.as_chunks::<8>();
    let &[greeting, size, process] = words else { return None };
    let process = u64::from_le_bytes(process);
    let genuine = received == answer.len() as isize
        && greeting == HELLO
        && process != 0
        && control.level == net::SOL_SOCKET as c_int
        && control.kind == net::SCM_RIGHTS as c_int
        && control.fd >= 0;
    genuine.then_some(Answer { fd: control.fd, size: u64::from_le_bytes(size) as usize, process })
}
