//! The process that goes on when the agent is dead.
//!
//! It is a copy of the agent, made by fork(2) in the thread that follows the log, at a moment at which no other thread
//! holds a lock that the copy will need. The other threads do not exist in it. It sleeps in a read from a pipe whose
//! other end only the agent has.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};

use crate::name;

/// How often the agent looks whether its standby is alive.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A standby, as its agent has it.
#[derive(Debug)]
pub struct Standby {
    pid: Pid,
    looked: Instant,
    /// Its end is the agent's end.
    _alive: OwnedFd,
}

/// What a standby waits on.
#[derive(Debug)]
pub struct Watch(OwnedFd);

/// Who comes back from [`fork`].
#[derive(Debug)]
pub enum Side {
    /// The agent.
    Agent(Standby),
    /// Its standby.
    Standby(Watch),
}

/// Makes a standby.
///
/// # Errors
///
/// What the kernel says.
///
/// # Safety
///
/// What the standby uses from now on must not be locked by another thread of the agent.
pub unsafe fn fork() -> io::Result<Side> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the caller's promise; libc keeps its own locks (malloc's, stdio's) in order over a fork.
    match unsafe { libc::fork() } {
        0 => {
            drop(write);
            // SAFETY: this process has one thread.
            unsafe { name::be_standby() };
            Ok(Side::Standby(Watch(read)))
        }
        pid => {
            let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)?;
            Ok(Side::Agent(Standby { pid, looked: Instant::now(), _alive: write }))
        }
    }
}

impl Standby {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Whether it is alive, as seen not long ago.
    pub fn is_alive(&mut self) -> bool {
        if self.looked.elapsed() < LOOK_EVERY {
            return true;
        }
        self.looked = Instant::now();
        matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(None) | Err(Errno::INTR))
    }

    /// Ends it: it is not needed any more.
    pub fn dismiss(self) {
        // It may be dead already; what was not waited for keeps its number.
        let _ = kill_process(self.pid, Signal::KILL);
        while matches!(waitpid(Some(self.pid), WaitOptions::empty()), Err(Errno::INTR)) {}
    }
}

impl Watch {
    /// Returns when the agent is dead.
    pub fn wait(self) {
        let mut byte = [0; 1];
        while rustix::io::read(&self.0, &mut byte) == Err(Errno::INTR) {}
        // SAFETY: the standby has one thread as long as it waits.
        unsafe { name::be_agent() };
    }
}

/// Whether there is no such process, or it is only waited for.
pub fn is_gone(pid: u32) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    if test_kill_process(id) == Err(Errno::SRCH) {
        return true;
    }
    // The name of the program, in parentheses, may itself hold spaces and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Closes what the copy has of the agent's conversations: who talks with an agent that dies is to notice, and a runtime
/// that is copied is of no use. Listeners stay open, so that who connects meanwhile is answered later.
///
/// # Safety
///
/// Nothing in this process may use a connection, or a runtime, of the agent that it is a copy of.
pub unsafe fn close_connections() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<(RawFd, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            Some((fd, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        })
        .collect();
    for (fd, what) in open {
        let of_runtime = what == "anon_inode:[eventpoll]" || what == "anon_inode:[eventfd]";
        // SAFETY: it was open just now, and this process has one thread.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        if of_runtime || (what.starts_with("socket:") && is_conversation(borrowed)) {
            // SAFETY: the caller's promise: nobody uses it, and its owner in the copied memory is never dropped.
            unsafe { rustix::io::close(fd) };
        }
    }
}

/// Whether it is a connection that came in by a listener with a path. (The standard input may be a socket without.)
fn is_conversation(fd: BorrowedFd<'_>) -> bool {
    let listening = rustix::net::sockopt::socket_acceptconn(fd).unwrap_or(true);
    let local = rustix::net::getsockname(fd).ok().and_then(|address| SocketAddrUnix::try_from(address).ok());
    !listening && local.is_some_and(|local| local.path_bytes().is_some_and(|path| !path.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_wakes_when_its_agent_is_dead_and_is_seen_to_die() {
        // An agent of its own, whose death a third process can see: the standby writes to the outer pipe.
        let (told, tell) = rustix::pipe::pipe().unwrap();
        // SAFETY: the copies use no lock of this process but those that libc sees to, and end by _exit.
        match unsafe { fork() }.unwrap() {
            Side::Standby(outer) => {
                // SAFETY: as above.
                if let Ok(Side::Standby(watch)) = unsafe { fork() } {
                    watch.wait();
                    let _ = rustix::io::write(&tell, b"!");
                }
                drop(outer);
                // SAFETY: ends this copy, which owns nothing that must be ended otherwise.
                unsafe { libc::_exit(0) }
            }
            Side::Agent(mut standby) => {
                drop(tell);
                let mut byte = [0; 1];
                assert_eq!(rustix::io::read(&told, &mut byte), Ok(1));
                assert!(standby.pid() > 0);
                while standby.is_alive() {
                    std::thread::yield_now();
                }
            }
        }
        // SAFETY: as above.
        match unsafe { fork() }.unwrap() {
            Side::Standby(watch) => {
                watch.wait();
                // SAFETY: as above.
                unsafe { libc::_exit(0) }
            }
            Side::Agent(standby) => {
                let pid = standby.pid();
                assert!(!is_gone(pid));
                let _ = kill_process(standby.pid, Signal::KILL);
                while !is_gone(pid) {
                    std::thread::yield_now();
                }
                standby.dismiss();
                assert!(is_gone(pid) && is_gone(0));
            }
        }
    }
}
