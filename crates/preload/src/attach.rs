//! Getting the event log from the agent.
//!
//! The agent listens on `attach.sock` in the runtime directory. It is sent [`HELLO`] and the process id, and
//! answers with the same magic, the log's size, and the log itself as a descriptor (`SCM_RIGHTS`, unix(7)).
//! Both descriptors are closed again before the program's call goes on: the mapping stays.

use core::ffi::c_int;

use koala_events::{Address, Arena};

use crate::address::SockAddr;
use crate::sys::{self, IoVec, Message, net, nr};

const HELLO: [u8; 8] = *b"KOALA\0\0\x01";
const SOCKET: &[u8] = b"/attach.sock";
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

/// Maps the event log of the agent whose runtime directory this is; `None` if there is none to be had.
pub(crate) fn attach(runtime_dir: &[u8]) -> Option<Arena> {
    let mut path = [0u8; koala_events::PATH_MAX];
    let length = runtime_dir.len() + SOCKET.len();
    if length >= path.len() {
        return None;
    }
    for (to, from) in path.iter_mut().zip(runtime_dir.iter().chain(SOCKET)) {
        *to = *from;
    }
    let address = SockAddr::from_address(&Address::unix(path.get(..length)?));
    let kind = (net::SOCK_STREAM | nr::O_CLOEXEC) as usize;
    // SAFETY: takes numbers only.
    let socket = unsafe { sys::call(nr::__NR_socket, [net::AF_UNIX as usize, kind, 0, 0, 0, 0]) };
    if socket < 0 {
        return None;
    }
    let log = ask(socket as c_int, &address);
    sys::close(socket as c_int);
    let (fd, size) = log?;
    let base = sys::map_shared(fd, size);
    sys::close(fd);
    if base.is_null() {
        return None;
    }
    // SAFETY: the mapping has `size` bytes, is never unmapped, and only koala uses it.
    unsafe { Arena::open(base, size) }.ok()
}

/// The log's descriptor and size.
fn ask(socket: c_int, address: &SockAddr) -> Option<(c_int, usize)> {
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
        return None;
    }
    let pid = sys::getpid().to_le_bytes();
    let [p0, p1, p2, p3] = pid;
    let [h0, h1, h2, h3, h4, h5, h6, h7] = HELLO;
    let hello = [h0, h1, h2, h3, h4, h5, h6, h7, p0, p1, p2, p3, 0, 0, 0, 0];
    // MSG_NOSIGNAL: an agent that is gone must not end the program by SIGPIPE.
    // SAFETY: 16 bytes of ours.
    let sent = unsafe {
        let flags = net::MSG_NOSIGNAL as usize;
        sys::call(nr::__NR_sendto, [socket, hello.as_ptr() as usize, hello.len(), flags, 0, 0])
    };
    if sent != hello.len() as isize {
        return None;
    }
    let mut answer = [0u8; 16];
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
        sys::call(nr::__NR_recvmsg, [socket, &raw mut message as usize, flags, 0, 0, 0])
    };
    let [a0, a1, a2, a3, a4, a5, a6, a7, size @ ..] = answer;
    let genuine = received == answer.len() as isize
        && [a0, a1, a2, a3, a4, a5, a6, a7] == HELLO
        && control.level == net::SOL_SOCKET as c_int
        && control.kind == net::SCM_RIGHTS as c_int
        && control.fd >= 0;
    genuine.then_some((control.fd, u64::from_le_bytes(size) as usize))
}
