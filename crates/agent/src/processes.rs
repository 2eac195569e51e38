//! Which processes of the program are alive.
//!
//! A process has a number in the event log, and is watched by a pidfd, opened when it attaches, when its maker tells of
//! it or when it is first seen in the log, so that a process id
//! that the kernel gives away again is not taken for the process that had it. Where the kernel has no pidfd,
//! `/proc` and the start time in it serve.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use koala_events::Event;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::limits;

/// What tells whether a process is alive.
#[derive(Debug)]
enum Watch {
    Descriptor(OwnedFd),
    /// The start time of the process, in `/proc/<pid>/stat`.
    StartTime(String),
    /// There was neither a descriptor for it nor one for its file in `/proc`.
    Number,
    Dead,
}

impl Watch {
    fn new(pid: u32) -> Self {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Self::Dead };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) if limits::are_far_from(fd.as_raw_fd()) => Self::Descriptor(fd),
            Err(Errno::SRCH) => Self::Dead,
            _ => match start_time(pid) {
                Ok(Some(started)) => Self::StartTime(started),
                Ok(None) => Self::Dead,
                Err(_) => Self::Number,
            },
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
                let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
                match start_time(pid) {
                    Ok(now) => now.as_ref() == Some(started),
                    Err(_) => exists(pid),
                }
            }
            Self::Number => i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(exists),
            Self::Dead => false,
        }
    }
}

/// Whether there is a process with this id, be it that one that had it or another; asks for no descriptor.
fn exists(pid: Pid) -> bool {
    test_kill_process(pid) != Err(Errno::SRCH)
}

/// When a process started, in the kernel's own words; `None` if there is none, or it is a zombie. To take one for dead
/// that lives would be its end: its places in the event log would be given to others. So where this can't be told (no
/// descriptor is left, say), it is an error.
fn start_time(pid: Pid) -> io::Result<Option<String>> {
    let stat = match fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        Ok(stat) => stat,
        Err(error) if !exists(pid) || error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The name of the program, in parentheses, may itself hold spaces and parentheses.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let started = (fields.next() != Some("Z")).then(|| fields.nth(18).map(str::to_owned));
    Ok(started.flatten())
}

/// A program that is not recorded, though the recorded program has executed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NotCovered {
    /// The path of its file.
    pub program: String,
    /// Why, for people.
    pub reason: String,
}

impl NotCovered {
    /// What the event log tells of the program of this path (`EventKind::Fork`).
    pub fn told(program: &[u8], why: i64) -> Self {
        let program = String::from_utf8_lossy(program).into_owned();
        if why >= Event::SOCKETS_NOT_COVERED {
            return Self { program, reason: sockets_not_covered(why - Event::SOCKETS_NOT_COVERED) };
        }
        let reason = match why {
            1 => "it gets privileges by its file, and the system lets no library into it",
            2 => "it is statically linked, so that nothing can be preloaded into it; link it dynamically",
            3 => {
                "it is built with a sanitizer, whose runtime must be loaded first; preload that runtime \
                 (LD_PRELOAD=$(gcc -print-file-name=libasan.so)), and koala's library comes behind it"
            }
            4 => "it is built for another processor than koala's library",
            5 => {
                "it loads libraries with a libc of their own (dlmopen): what those do is not recorded, and in a \
                 replay they are loaded beside the program"
            }
            _ => "koala's library can't be loaded into it",
        };
        Self { program, reason: reason.to_owned() }
    }
}

/// Why sockets of an address family and a type (socket(2), the numbers of Linux) are not covered.
fn sockets_not_covered(kind: i64) -> String {
    let sockets = match (kind / 16, kind % 16) {
        (1, _) => {
            return "it uses unix sockets that keep messages apart (SOCK_SEQPACKET): a replay does not connect \
                    them"
                .to_owned();
        }
        (2 | 10, 3) => "raw sockets (SOCK_RAW)".to_owned(),
        (2 | 10, _) => "sockets of another protocol than TCP and UDP".to_owned(),
        (17, _) => "packet sockets (AF_PACKET)".to_owned(),
        (40, _) => "sockets of virtual machines (AF_VSOCK)".to_owned(),
        (family, _) => format!("sockets of address family {family}"),
    };
    format!("it uses {sockets}: what crosses them is not recorded, and a replay refuses them")
}

/// So many are told of: who runs thousands of them has understood.
const MOST_NOT_COVERED: usize = 100;

/// A process that was given the event log, and of which nothing was found there.
#[derive(Debug)]
struct Unheard {
    since: Instant,
    /// Its id as the agent sees it.
    real: u32,
    /// The path of its program.
    program: String,
}

/// How long a process that was given the event log may take to say so in it, which is the next thing that it does.
const SILENCE: Duration = Duration::from_secs(2);

/// A process of the program.
#[derive(Debug)]
struct Known {
    /// Its id as it sees itself; 0 if it has not said so.
    pid: u32,
    /// Its id as the agent sees it.
    real: u32,
    watch: Watch,
}

#[derive(Debug, Default)]
struct Watches {
    /// By their number in the event log.
    known: BTreeMap<u64, Known>,
    /// A process was seen whose ids are others than those that the agent sees: it is in a pid namespace of its own.
    nested: bool,
    ever: bool,
    unheard: BTreeMap<u64, Unheard>,
    not_covered: BTreeSet<NotCovered>,
}

impl Watches {
    fn watch(&mut self, number: u64, pid: u32, real: u32) {
        self.ever = true;
        self.known.insert(number, Known { pid, real, watch: Watch::new(real) });
    }

    /// Those that were given the event log and write nothing to it, for as long as that takes, are not covered: a
    /// process whose memory is limited can't map it. `all`: nothing more will come.
    fn give_up_unheard(&mut self, all: bool) {
        let Self { known, unheard, not_covered, .. } = self;
        unheard.retain(|number, one| {
            let wait = !all && known.contains_key(number) && one.since.elapsed() < SILENCE;
            if !wait && not_covered.len() < MOST_NOT_COVERED {
                let reason =
                    "it can't map the event log: its memory (ulimit -v) or its descriptors (ulimit -n) are limited";
                not_covered.insert(NotCovered {
                    program: std::mem::take(&mut one.program),
                    reason: reason.to_owned(),
                });
            }
            wait
        });
    }

    /// What was the same process before it executed the program of this number is no more.
    fn replace_earlier(&mut self, number: u64) {
        let real = self.known.get(&number).map_or(0, |known| known.real);
        for known in self.known.range_mut(..number).map(|(_, known)| known).filter(|known| known.real == real)
        {
            known.watch = Watch::Dead;
        }
    }

    /// The id by which the agent knows the process that calls itself `pid`; an error where that can't be told now.
    fn real(&self, pid: u32) -> io::Result<u32> {
        let found = if self.nested { find_nested(pid, None)? } else { None };
        Ok(found.unwrap_or(pid))
    }
}

/// The ids of a process; 0 where one is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its id as it sees itself.
    pub pid: u32,
    /// Its id as the agent sees it.
    pub real: u32,
}

/// The processes of the program.
#[derive(Debug, Default)]
pub struct Processes(Mutex<Watches>);

impl Processes {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process attached that calls itself `pid`, and that the agent's side of the socket saw as `real`; it got this
    /// number.
    pub fn attached(&self, number: u64, pid: u32, real: Option<i32>) {
        let real = real.and_then(|real| u32::try_from(real).ok()).filter(|&real| real != 0).unwrap_or(pid);
        let mut watches = self.watches();
        watches.nested |= real != pid;
        watches.watch(number, pid, real);
        let program = program(real);
        watches.unheard.insert(number, Unheard { since: Instant::now(), real, program });
    }

    /// The ids of the processes that are known, by their numbers in the event log.
    pub fn identities(&self) -> BTreeMap<u64, Identity> {
        let identity = |known: &Known| Identity { pid: known.pid, real: known.real };
        self.watches().known.iter().map(|(number, known)| (*number, identity(known))).collect()
    }

    /// An agent that is dead knew a process of this number.
    pub fn was_known(&self, number: u64, Identity { pid, real }: Identity) {
        let mut watches = self.watches();
        watches.nested |= real != pid;
        watches.watch(number, pid, real);
    }

    /// `maker` has made the process of this number, and calls it `pid`.
    pub fn made(&self, number: u64, maker: u64, pid: u32) {
        let mut watches = self.watches();
        let real = match watches.known.get(&maker) {
            Some(maker) if maker.real != maker.pid => match find_nested(pid, Some(maker.real)) {
                Ok(real) => real,
                // It will be met in the log.
                Err(_) => return,
            },
            _ => Some(pid),
        };
        let own = watches.known.get(&number).map_or(0, |known| known.pid);
        match real {
            Some(real) => {
                watches.nested |= own != 0 && own != real;
                watches.watch(number, own, real);
                if own != 0 {
                    watches.replace_earlier(number);
                }
            }
            // It is gone already, or not to be found: what it says of itself must do, if it does.
            None if own == 0 => watches.watch(number, 0, 0),
            None => {}
        }
    }

    /// The process of this number, which calls itself `pid`, has begun to write to the log. Those that were the same
    /// process before it executed its program are no more.
    pub fn began(&self, number: u64, pid: u32) {
        let mut watches = self.watches();
        watches.unheard.remove(&number);
        if let Some(known) = watches.known.get_mut(&number) {
            known.pid = pid;
            let real = known.real;
            watches.nested |= real != 0 && real != pid;
        } else if let Ok(real) = watches.real(pid) {
            watches.watch(number, pid, real);
        }
        watches.replace_earlier(number);
        // It may have failed to map the log at first.
        let real = watches.known.get(&number).map_or(0, |known| known.real);
        watches.unheard.retain(|_, one| one.real != real);
    }

    /// The numbers of those that are dead: of those in `seen` (numbers, and ids as they see themselves) and of all
    /// others that were ever told of. They are forgotten. The youngest come first: of several that have died since it was
    /// last asked, the parent has mostly outlived its child, and what it ended is still to be told of the parent's doings.
    pub fn gone(&self, seen: impl Iterator<Item = (u64, u32)>) -> Vec<u64> {
        let mut watches = self.watches();
        for (number, pid) in seen {
            watches.unheard.remove(&number);
            if !watches.known.contains_key(&number)
                && let Ok(real) = watches.real(pid)
            {
                watches.watch(number, pid, real);
            }
        }
        watches.give_up_unheard(false);
        let mut gone = Vec::new();
        watches.known.retain(|number, known| {
            let alive = known.watch.is_alive(known.real);
            if !alive {
                gone.push(*number);
            }
            alive
        });
        gone.reverse();
        gone
    }

    /// A program is not recorded.
    pub fn not_covered(&self, one: NotCovered) {
        let mut watches = self.watches();
        if watches.not_covered.len() < MOST_NOT_COVERED {
            watches.not_covered.insert(one);
        }
    }

    /// The programs that are not recorded. `all`: nothing more will be found in the event log.
    pub fn all_not_covered(&self, all: bool) -> BTreeSet<NotCovered> {
        let mut watches = self.watches();
        watches.give_up_unheard(all);
        watches.not_covered.clone()
    }

    /// Whether the agent sees a living process of the program under this id.
    pub fn has(&self, real: u32) -> bool {
        let watches = self.watches();
        watches.known.values().any(|known| known.real == real && known.watch.is_alive(real))
    }

    /// The ids of those alive, as the agent sees them.
    pub fn alive(&self) -> Vec<u32> {
        let watches = self.watches();
        let alive = watches.known.values().filter(|known| known.watch.is_alive(known.real));
        let ids: BTreeSet<u32> = alive.map(|known| known.real).collect();
        ids.into_iter().collect()
    }

    /// Calls `f` while no thread is at the list.
    pub fn at_rest<T>(&self, f: impl FnOnce() -> T) -> T {
        let _watches = self.watches();
        f()
    }

    /// Whether there ever was one.
    pub fn ever(&self) -> bool {
        self.watches().ever
    }
}

/// The path of the program that a process executes, or what is known instead.
pub fn program(pid: u32) -> String {
    let path = fs::read_link(format!("/proc/{pid}/exe")).map(|path| path.to_string_lossy().into_owned());
    path.unwrap_or_else(|_| format!("process {pid}"))
}

/// The process that started this one, as `/proc` has it; `None` if there is none, or it can't be seen.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}

/// The process that is called `pid` in a pid namespace below the agent's, as the agent sees it; if `maker` is given,
/// the one that that process has made. The youngest, if there are several; `None` if there is none.
///
/// # Errors
///
/// Where `/proc` can't be read: no descriptor is left, say. That there is no such process is not said by that.
fn find_nested(pid: u32, maker: Option<u32>) -> io::Result<Option<u32>> {
    let mut youngest = None;
    for entry in fs::read_dir("/proc")? {
        let Some(real) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let status = match fs::read_to_string(format!("/proc/{real}/status")) {
            Ok(status) => status,
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
                return Err(error);
            }
            // It has just ended, or is none of ours.
            Err(_) => continue,
        };
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let mut ids = line("NSpid:").split_ascii_whitespace().skip(1);
        let is_it = ids.any(|id| id.parse() == Ok(pid))
            && maker.is_none_or(|maker| line("PPid:").trim().parse() == Ok(maker));
        if is_it {
            youngest = youngest.max(Some(real));
        }
    }
    Ok(youngest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_a_process_die_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let processes = Processes::default();
        assert!(!processes.ever());
        processes.attached(7, child.id(), None);
        assert!(processes.ever() && processes.has(child.id()));
        assert_eq!(processes.alive(), [child.id()]);
        assert!(processes.gone(std::iter::empty()).is_empty());
        child.kill().unwrap();
        while processes.has(child.id()) {
            std::thread::yield_now();
        }
        assert!(processes.alive().is_empty());
        assert_eq!(processes.gone(std::iter::empty()), [7]);
        assert!(processes.gone(std::iter::empty()).is_empty(), "told once");
        child.wait().unwrap();
    }

    #[test]
    fn a_program_that_was_executed_takes_the_place_of_the_one_before() {
        let own = std::process::id();
        let processes = Processes::default();
        processes.attached(1, own, Some(own as i32));
        processes.began(1, own);
        processes.attached(2, own, Some(own as i32));
        assert!(processes.gone(std::iter::empty()).is_empty(), "the next one has said nothing yet");
        processes.began(2, own);
        assert_eq!(processes.gone([(2, own)].into_iter()), [1]);
        assert_eq!(processes.alive(), [own]);
    }

    #[test]
    fn a_child_is_known_by_what_its_maker_calls_it() {
        let own = std::process::id();
        let processes = Processes::default();
        // The maker is where the agent is; the child has a namespace of its own, in which it is the first.
        processes.attached(1, own, Some(own as i32));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        for told_first in [true, false] {
            let number = if told_first { 2 } else { 3 };
            if told_first {
                processes.made(number, 1, child.id());
            }
            processes.began(number, 1);
            if !told_first {
                processes.made(number, 1, child.id());
            }
            assert!(processes.has(child.id()));
        }
        assert_eq!(processes.gone(std::iter::empty()), [2], "executed: the number before is no more");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(processes.gone(std::iter::empty()), [3]);
        processes.made(4, 1, u32::MAX);
        assert_eq!(processes.gone(std::iter::empty()), [4], "one that nobody has seen");
    }

    #[test]
    fn start_times_tell_processes_apart() {
        let own = Pid::from_raw(std::process::id() as i32).unwrap();
        let watch = Watch::StartTime(start_time(own).unwrap().unwrap());
        assert!(watch.is_alive(std::process::id()));
        assert!(!Watch::StartTime("0".to_owned()).is_alive(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let id = Pid::from_raw(pid as i32).unwrap();
        while start_time(id).unwrap().is_some() {
            std::thread::yield_now();
        }
        assert!(Watch::Number.is_alive(pid), "as far as its number tells");
        child.wait().unwrap();
        assert!(start_time(id).unwrap().is_none() && !Watch::Number.is_alive(pid));
    }

    #[test]
    fn a_process_that_has_the_log_and_says_nothing_is_told_of() {
        let own = std::process::id();
        let processes = Processes::default();
        processes.attached(1, own, Some(own as i32));
        processes.attached(2, own, Some(own as i32));
        processes.began(2, own);
        assert!(processes.all_not_covered(true).is_empty(), "it got it at last");
        processes.attached(3, own, Some(own as i32));
        assert!(processes.all_not_covered(false).is_empty(), "there is time");
        let told = processes.all_not_covered(true);
        assert_eq!(told.iter().map(|one| one.program.as_str()).collect::<Vec<_>>(), [program(own)]);
        processes.attached(4, own, Some(own as i32));
        assert_eq!(processes.all_not_covered(true), told, "once for each program");
    }

    #[test]
    fn nobody_is_not_alive() {
        let processes = Processes::default();
        assert_eq!(processes.gone([(1, 0), (2, u32::MAX)].into_iter()), [2, 1]);
    }

    #[test]
    fn parents_are_found() {
        assert_eq!(
            parent(std::process::id()),
            rustix::process::getppid().map(|id| id.as_raw_nonzero().get() as u32)
        );
        assert_eq!(parent(u32::MAX), None);
    }
}
