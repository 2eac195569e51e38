//! Which processes of the program are alive.
//!
//! A process is watched by a pidfd, opened when it attaches or is first seen in the log, so that a process id
//! that the kernel gives away again is not taken for the process that had it. Where the kernel has no pidfd,
//! `/proc` and the start time in it serve.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What tells whether a process is alive.
#[derive(Debug)]
enum Watch {
    Descriptor(OwnedFd),
    /// The start time of the process, in `/proc/<pid>/stat`.
    StartTime(String),
    Dead,
}

impl Watch {
    fn new(pid: u32) -> Self {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Self::Dead };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Self::Descriptor(fd),
            Err(Errno::SRCH) => Self::Dead,
            Err(_) => start_time(pid).map_or(Self::Dead, Self::StartTime),
        }
    }

    fn is_alive(&self, pid: u32) -> bool {
        match self {
            // A pidfd becomes readable when its process has exited, reaped or not.
            Self::Descriptor(fd) => {
                let mut fds = [PollFd::new(fd, PollFlags::IN)];
                matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0) | Err(_))
            }
            Self::StartTime(started) => {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                pid.and_then(start_time).is_some_and(|now| now == *started)
            }
            Self::Dead => false,
        }
    }
}

/// When a process started, in the kernel's own words; `None` if there is none, or it is a zombie.
fn start_time(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name of the program, in parentheses, may itself hold spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

#[derive(Debug, Default)]
struct Watches {
    /// By the process id that the process itself sees; `real` is the one that the agent sees.
    by_pid: BTreeMap<u32, (u32, Watch)>,
    ever: bool,
}

/// The processes of the program.
#[derive(Debug, Default)]
pub struct Processes(Mutex<Watches>);

impl Processes {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process attached that calls itself `pid`, and that the agent's side of the socket saw as `real`.
    pub fn attached(&self, pid: u32, real: Option<i32>) {
        let real = real.and_then(|real| u32::try_from(real).ok()).filter(|&real| real != 0).unwrap_or(pid);
        let mut watches = self.watches();
        watches.ever = true;
        watches.by_pid.insert(pid, (real, Watch::new(real)));
    }

    /// Whether the process that calls itself `pid` is alive; it is watched from now on if it was not.
    pub fn is_alive(&self, pid: u32) -> bool {
        let mut watches = self.watches();
        watches.ever = true;
        let (real, watch) = watches.by_pid.entry(pid).or_insert_with(|| (pid, Watch::new(pid)));
        watch.is_alive(*real)
    }

    /// The ids of those alive. Forgets the others.
    pub fn alive(&self) -> Vec<u32> {
        let mut watches = self.watches();
        watches.by_pid.retain(|_, (real, watch)| watch.is_alive(*real));
        watches.by_pid.keys().copied().collect()
    }

    /// Whether there ever was one.
    pub fn ever(&self) -> bool {
        self.watches().ever
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_a_process_die_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let processes = Processes::default();
        assert!(!processes.ever());
        processes.attached(child.id(), None);
        assert!(processes.ever());
        assert_eq!(processes.alive(), [child.id()]);
        child.kill().unwrap();
        while processes.is_alive(child.id()) {
            std::thread::yield_now();
        }
        assert!(processes.alive().is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn start_times_tell_processes_apart() {
        let own = Pid::from_raw(std::process::id() as i32).unwrap();
        let watch = Watch::StartTime(start_time(own).unwrap());
        assert!(watch.is_alive(std::process::id()));
        assert!(!Watch::StartTime("0".to_owned()).is_alive(std::process::id()));
    }

    #[test]
    fn nobody_is_not_alive() {
        assert!(!Processes::default().is_alive(0));
        assert!(!Processes::default().is_alive(u32::MAX));
    }
}
