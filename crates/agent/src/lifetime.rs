//! When the agent's work is over without anybody saying so.
//!
//! The CLI holds the other end of the agent's standard input: its end is the end of the CLI. A program that was
//! started by it may live on, and is recorded until its last process is dead. A program that is replayed lives for its
//! replay only: nobody would end it any more, so the agent does.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, getppid};

use crate::processes::Processes;

/// How long after its last process the program counts as ended.
const REST: Duration = Duration::from_secs(2);
/// How long a program may take to attach its first process.
const START: Duration = Duration::from_secs(10);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether the process that started the agent is alive.
#[derive(Debug)]
pub struct Parent {
    gone: Arc<AtomicBool>,
    /// The parent's process id, where nothing better tells of it.
    id: Option<rustix::process::Pid>,
    /// There was one.
    known: bool,
}

impl Parent {
    /// Watches the parent: by standard input if that is a pipe or a socket, else by its process id.
    pub fn watch() -> Self {
        let gone = Arc::new(AtomicBool::new(false));
        let told = tells_of_its_end() && {
            let gone = gone.clone();
            let wait = move || {
                let mut bytes = [0; 64];
                // Not by the standard library, whose lock a standby would find taken.
                while matches!(
                    rustix::io::read(rustix::stdio::stdin(), &mut bytes),
                    Ok(1..) | Err(Errno::INTR)
                ) {}
                gone.store(true, Ordering::Release);
            };
            thread::Builder::new().name("koala-parent".to_owned()).spawn(wait).is_ok()
        };
        Self { gone, id: if told { None } else { getppid() }, known: true }
    }

    /// Nobody: the agent goes on until the program has ended.
    pub fn none() -> Self {
        Self { gone: Arc::new(AtomicBool::new(true)), id: None, known: false }
    }

    /// The same parent, watched by a standby that has become the agent. What only the parent's process id would tell
    /// can't be told any more: then it counts as gone.
    pub fn of_standby() -> Self {
        if tells_of_its_end() { Self::watch() } else { Self::none() }
    }

    /// Whether it is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire) || (self.id.is_some() && getppid() != self.id)
    }
}

/// Resolves when the parent is gone, if there ever was one.
pub async fn orphaned(parent: &Parent) {
    while !parent.known || !parent.is_gone() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends all processes of the program: those that are known, and those whose environment names this directory of the
/// agent. They are asked to end, and killed if they do not.
pub async fn end_program(processes: &Processes, runtime_dir: &Path) {
    for signal in [Signal::TERM, Signal::KILL] {
        let asked_at = Instant::now();
        let mut asked = BTreeSet::new();
        while asked_at.elapsed() < REST {
            let program = of_program(processes, runtime_dir);
            if program.is_empty() {
                return;
            }
            for (pid, process) in program {
                if asked.insert(pid) {
                    // One that has just ended needs no signal.
                    let _ = rustix::process::pidfd_send_signal(process, signal);
                }
            }
            tokio::time::sleep(LOOK_EVERY / 10).await;
        }
    }
}

/// The living processes of the program, each held: its id can't become another one's.
fn of_program(processes: &Processes, runtime_dir: &Path) -> Vec<(u32, OwnedFd)> {
    let held = all_processes().filter_map(|pid| {
        let id = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        let process = rustix::process::pidfd_open(id, PidfdFlags::empty()).ok()?;
        (processes.has(pid) || is_named(pid, runtime_dir)).then_some((pid, process))
    });
    held.collect()
}

/// The ids of the living processes whose environment names this directory of the agent. Those that have had nothing to
/// tell yet are known by nothing else.
pub fn named(runtime_dir: &Path) -> Vec<u32> {
    all_processes().filter(|pid| is_named(*pid, runtime_dir)).collect()
}

/// The ids of all processes that can be seen, but for this one.
fn all_processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| *pid != std::process::id())
}

/// Whether the process was given this directory of the agent in its environment. That of a dead one is empty.
fn is_named(pid: u32, runtime_dir: &Path) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let ours = |variable: &[u8]| {
        variable
            .strip_prefix(b"KOALA_RUNTIME_DIR=")
            .is_some_and(|value| value == runtime_dir.as_os_str().as_bytes())
    };
    environment.split(|byte| *byte == 0).any(ours)
}

/// The command line of a process; empty if there is none.
pub fn command_of(pid: u32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|&byte| byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).filter(|_| !line.is_empty()).collect()
}

/// Whether the standard input is a pipe or a socket, whose other end the parent has.
fn tells_of_its_end() -> bool {
    let kind = rustix::fs::fstat(rustix::stdio::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::Socket))
}

/// Resolves when the parent is gone and the program has ended.
pub async fn abandoned(parent: &Parent, processes: &Processes, runtime_dir: &Path) {
    let mut quiet_since = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !parent.is_gone() || !processes.alive().is_empty() || !named(runtime_dir).is_empty() {
            quiet_since = Instant::now();
        }
        let patience = if processes.ever() { REST } else { START };
        if quiet_since.elapsed() >= patience {
            return;
        }
    }
}
