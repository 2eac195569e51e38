//! The limits of the agent's own process.
//!
//! It inherits those of the shell or the program that started it, which were not meant for it; and where memory runs
//! out, the recorded program is to have it.

use std::fs;
use std::os::fd::RawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many descriptors as the system lets it have, and outlives a limit on the size of files (setrlimit(2)): a
/// write beyond that fails like one to a full disk.
pub fn lift() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    // SAFETY: to ignore a signal calls nothing of this process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Offers this process to the kernel, and those that it makes, where memory runs out (proc(5), `oom_score_adj`): the
/// program goes on without being recorded.
pub fn go_first() {
    // Where /proc is not to be written, the kernel decides by size, and the program may well be larger.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// Whether descriptors are so plentiful that one with this number may be kept for what can do without.
pub fn are_far_from(fd: RawFd) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(fd).is_ok_and(|fd| fd < limit / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_descriptors_may_be_kept_but_not_the_last_ones() {
        let Some(limit) = getrlimit(Resource::Nofile).current else { return };
        assert!(are_far_from(3) || limit < 6);
        assert!(!are_far_from(RawFd::try_from(limit - 1).unwrap_or(RawFd::MAX)));
    }
}
