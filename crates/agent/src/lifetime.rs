//! When the agent's work is over without anybody saying so.
//!
//! The CLI holds the other end of the agent's standard input: its end is the end of the CLI. A program that was
//! started by it may live on, and is recorded until its last process is dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::getppid;

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
        Self { gone, id: if told { None } else { getppid() } }
    }

    /// Nobody: the agent goes on until the program has ended.
    pub fn none() -> Self {
        Self { gone: Arc::new(AtomicBool::new(true)), id: None }
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
pub async fn abandoned(parent: &Parent, processes: &Processes) {
    let mut quiet_since = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !parent.is_gone() || !processes.alive().is_empty() {
            quiet_since = Instant::now();
        }
        let patience = if processes.ever() { REST } else { START };
        if quiet_since.elapsed() >= patience {
            return;
        }
    }
}
