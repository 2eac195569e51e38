//! What the kernel says of how much crossed a connection: by that, gaps are found that no hook has seen.
//!
//! Of TCP, that is. Of unix sockets the kernel counts nothing: it tells how much waits in a queue (`SIOCINQ`,
//! `SIOCOUTQ`, `SO_MEMINFO`, unix_diag), and nothing of what has gone through it. Bytes that cross one unseen are missed.
//!
//! Nor of a process that a signal ends: it tells nothing more, its sockets go with it, and nobody can ask for them after
//! that (a pidfd gives no descriptor of a process that is dead, sock_diag(7) knows no socket that is closed). The counts
//! would have to be asked for all the time, of all connections, to be there when they are wanted: that is not done. What
//! its hooks have seen is recorded all the same, a call that was under way as unconfirmed.

use core::ffi::c_int;

use crate::descriptors::{self, Entry};
use crate::library::{self, Log};
use crate::operation::datagram;
use crate::operation::file::output;
use crate::sys::{self, net, nr};

/// Bytes of `struct tcp_info` up to and with `tcpi_notsent_bytes` (linux/tcp.h), in words of four bytes.
const INFO: usize = 37;
/// The same up to and with `tcpi_bytes_retrans` (since Linux 4.19).
const LONG_INFO: usize = 54;
/// Words of `struct tcp_info`: `tcpi_unacked`, `tcpi_bytes_acked`, `tcpi_bytes_received`, `tcpi_notsent_bytes`,
/// `tcpi_bytes_sent` and `tcpi_bytes_retrans`.
const UNACKED: usize = 6;
const ACKED: usize = 30;
const RECEIVED: usize = 32;
const NOT_SENT: usize = 36;
const SENT: usize = 50;
const SENT_AGAIN: usize = 52;
/// States of a connection (`TCP_*` of linux/tcp_states.h).
const ESTABLISHED: u32 = 1;
const FIN_WAIT1: u32 = 4;
const FIN_WAIT2: u32 = 5;
const TIME_WAIT: u32 = 6;
const CLOSED: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;
const CLOSING: u32 = 11;
/// `SIOCOUTQ` and `SIOCINQ` (tcp(7)).
const OUTQ: usize = 0x5411;
const INQ: usize = 0x541b;
/// So many connections are told of at the end of a process.
const AT_EXIT: usize = 1024;

/// How many bytes the program has sent and received on a TCP connection, as the kernel counts them.
///
/// They are lower bounds: where the kernel's numbers do not tell whether one more is a byte or the end of the
/// stream, it is not counted, and bytes that cross while the kernel is asked may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    sent: u64,
    received: u64,
}

impl Totals {
    /// Bytes of the log's form.
    pub(crate) const SIZE: usize = 16;

    /// Those of the connection of `fd`, which is `entry`. `None` if it is not one of TCP.
    pub(crate) fn of(fd: c_int, entry: Entry) -> Option<Self> {
        if !entry.is_socket() || entry.connection() == 0 || entry.datagram() || !library::is_active() {
            return None;
        }
        Self::ask(fd, !entry.inbound())
    }

    fn ask(fd: c_int, opened: bool) -> Option<Self> {
        let mut info = [0u32; INFO];
        if tcp_info(fd, &mut info)? < size_of_val(&info) {
            return None;
        }
        let state = state_of(&info);
        // What is on its way is asked for after what has arrived: so nothing is counted twice.
        let under_way =
            if word(&info, UNACKED) != 0 || word(&info, NOT_SENT) != 0 { queued(fd, OUTQ) } else { 0 };
        let unread = queued(fd, INQ);
        // The sequence numbers behind the counts are also spent on the beginning (of the end that has opened the
        // connection) and on the end (RFC 9293, 3.4). Of a connection that was reset it is not known.
        // The kernel reads the state before it locks the socket for the counts: what ends between is in the counts
        // alone, and seen by a second look.
        let mut again = [0u32; 1];
        let later = tcp_info(fd, &mut again).map_or(CLOSED, |_| state_of(&again));
        let either = |ended: fn(u32) -> bool| ended(state) || ended(later);
        let has_ended =
            either(|state| matches!(state, FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK | TIME_WAIT | CLOSED));
        let peer_has_ended =
            either(|state| matches!(state, CLOSE_WAIT | CLOSING | LAST_ACK | TIME_WAIT | CLOSED));
        let sent = long(&info, ACKED).saturating_add(under_way);
        Some(Self {
            sent: sent.saturating_sub(u64::from(opened) + u64::from(has_ended)),
            received: long(&info, RECEIVED).saturating_sub(u64::from(peer_has_ended) + unread),
        })
    }

    /// The log's form: two numbers of eight bytes, little-endian.
    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let bytes = self.sent.to_le_bytes().into_iter().chain(self.received.to_le_bytes());
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }
}

/// Whether this end has opened its connection of TCP; `None` where the kernel's counts do not tell.
///
/// Of the acknowledged sequence numbers that of the beginning is counted at the end that has sent it by itself, and at no
/// other (`tcp_rcv_synsent_state_process` of Linux): there it is one more than the bytes, once all are acknowledged.
pub(crate) fn has_opened(fd: c_int) -> Option<bool> {
    let mut info = [0u32; LONG_INFO];
    let whole = tcp_info(fd, &mut info)? >= size_of_val(&info);
    let at_rest = matches!(state_of(&info), ESTABLISHED | CLOSE_WAIT) && word(&info, UNACKED) == 0;
    let bytes = long(&info, SENT).checked_sub(long(&info, SENT_AGAIN))?;
    match long(&info, ACKED).checked_sub(bytes)? {
        more @ 0..=1 if whole && at_rest => Some(more == 1),
        _ => None,
    }
}

fn word(info: &[u32], at: usize) -> u32 {
    info.get(at).copied().unwrap_or(0)
}

fn long(info: &[u32], at: usize) -> u64 {
    u64::from(word(info, at)) | (u64::from(word(info, at + 1)) << 32)
}

/// `tcpi_state`.
fn state_of(info: &[u32]) -> u32 {
    u32::from(word(info, 0).to_ne_bytes()[0])
}

/// Reads the head of `struct tcp_info`, and how many bytes of it there were; `None` if the socket has none.
fn tcp_info(fd: c_int, info: &mut [u32]) -> Option<usize> {
    let mut length = size_of_val(info) as u32;
    let (level, name) = (net::IPPROTO_TCP as usize, net::TCP_INFO as usize);
    // SAFETY: the kernel writes at most `length` bytes, which are there, and the length itself.
    let result = unsafe {
        let into = info.as_mut_ptr() as usize;
        sys::call(nr::__NR_getsockopt, [fd as usize, level, name, into, &raw mut length as usize, 0])
    };
    (result >= 0).then_some(length as usize)
}

/// How many bytes wait in a queue of the socket.
fn queued(fd: c_int, request: usize) -> u64 {
    let mut count: c_int = 0;
    // SAFETY: both requests write an int.
    let result =
        unsafe { sys::call(nr::__NR_ioctl, [fd as usize, request, &raw mut count as usize, 0, 0, 0]) };
    if result < 0 { 0 } else { count.max(0) as u64 }
}

/// The process ends, by exit(3) or at once: its connections are closed without another call. What a forked child has
/// without having used it is its parent's to tell of.
///
/// `flush` is true where libc is about to write what its streams still hold.
pub(crate) fn at_exit(flush: bool) {
    if !library::is_active() || !library::is_same_process() {
        return;
    }
    output::at_exit(flush);
    library::report_left();
    if let Some(log) = library::log_if_attached() {
        tell_all(&log);
    }
    library::see_off();
}

/// Tells the totals of all connections.
fn tell_all(log: &Log) {
    let mut told = 0;
    descriptors::each(0, u32::MAX, |fd| {
        let entry = descriptors::get(fd);
        datagram::unnamed(log, fd, entry);
        if told < AT_EXIT
            && let Some(totals) = Totals::of(fd, entry)
        {
            told += 1;
            let time = sys::now();
            log.append(koala_events::EventKind::Totals, fd, entry, 0, time, &totals.encode());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[track_caller]
    fn has(socket: &TcpStream, opened: bool, sent: u64, received: u64) {
        assert_eq!(Totals::ask(socket.as_raw_fd(), opened), Some(Totals { sent, received }));
    }

    #[test]
    fn only_bytes_of_the_program_count() {
        let (mut client, mut server) = pair();
        has(&client, true, 0, 0);
        has(&server, false, 0, 0);
        client.write_all(&[1; 1000]).unwrap();
        has(&client, true, 1000, 0);
        let mut buffer = [0; 600];
        server.read_exact(&mut buffer).unwrap();
        // The rest is unread.
        has(&server, false, 0, 600);
        server.read_exact(&mut buffer[..400]).unwrap();
        server.write_all(b"answer").unwrap();
        has(&server, false, 6, 1000);
    }

    #[test]
    fn the_end_is_no_byte() {
        let (mut client, mut server) = pair();
        client.write_all(b"abc").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        has(&client, true, 3, 0);
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        has(&server, false, 0, 3);
        server.write_all(b"de").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        client.read_to_end(&mut all).unwrap();
        has(&client, true, 3, 2);
        has(&server, false, 2, 3);
    }

    #[test]
    fn what_waits_to_be_sent_counts() {
        let (client, _server) = pair();
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = (&client).write(&[7; 65_536]) {
            sent += count as u64;
        }
        has(&client, true, sent, 0);
    }

    #[test]
    fn who_has_opened_a_connection_is_known() {
        let (mut client, mut server) = pair();
        let known = |client: &TcpStream, server: &TcpStream| {
            (has_opened(client.as_raw_fd()), has_opened(server.as_raw_fd()))
        };
        let expected = (Some(true), Some(false));
        assert_eq!(known(&client, &server), expected);
        let mut buffer = [0; 5000];
        for _ in 0..3 {
            client.write_all(&[1; 5000]).unwrap();
            server.read_exact(&mut buffer).unwrap();
            server.write_all(&[2; 3000]).unwrap();
            client.read_exact(&mut buffer[..3000]).unwrap();
        }
        // The kernel acknowledges late what it need not acknowledge at once.
        while known(&client, &server) != expected {
            let (client, server) = known(&client, &server);
            assert!(client != Some(false) && server != Some(true));
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_ne!(has_opened(client.as_raw_fd()), Some(false));
        assert_ne!(has_opened(server.as_raw_fd()), Some(true));
        assert_eq!(has_opened(-1), None);
    }

    #[test]
    fn other_descriptors_have_none() {
        let (end, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(Totals::ask(end.as_raw_fd(), true), None);
        assert_eq!(Totals::ask(-1, true), None);
        assert_eq!(
            Totals { sent: 1, received: 0x100 }.encode(),
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        );
    }
}
