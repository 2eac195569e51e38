//! The memory that holds the event log.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;

use koala_events::{Arena, ArenaConfig, Mode};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of the event log, where memory is not short. Pages that were never used cost nothing.
const DEFAULT_SIZE: usize = 64 << 20;
/// Bytes that the event log needs to be of use.
const LEAST_SIZE: usize = 2 << 20;
/// The share of a memory group that the event log may take.
const SHARE: u64 = 8;

/// Bytes of the event log, unless the caller wants another size. The pages that the program writes to count as its own
/// memory: where the group of processes that koala runs in may have little (a container, mostly that of the program),
/// the log takes a small part of it, and an overload is sessions that are not admitted, and not the program's end.
pub fn default_size() -> usize {
    size_for(&groups("self").unwrap_or_default())
}

/// The size for a process that is in another group than this one, which may be a narrower one: what it writes counts
/// there. `None` if it is in the same one, or that can't be told.
pub fn size_elsewhere(pid: i32) -> Option<usize> {
    let theirs =
        groups(&pid.to_string()).filter(|theirs| groups("self").is_some_and(|own| own != *theirs))?;
    Some(size_for(&theirs))
}

/// The memory groups of a process, in the words of `/proc/PID/cgroup`; of groups that limit other things it says nothing.
fn groups(process: &str) -> Option<String> {
    let all = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let limiting = all.lines().filter(|line| limits(line).next().is_some());
    Some(limiting.collect::<Vec<_>>().join("\n"))
}

fn size_for(groups: &str) -> usize {
    let limit =
        limits(groups).filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()).min();
    size_within(limit)
}

/// The size for a group that may have so many bytes; `None`: as many as it likes.
fn size_within(limit: Option<u64>) -> usize {
    let share = limit.map_or(usize::MAX, |limit| usize::try_from(limit / SHARE).unwrap_or(usize::MAX));
    share.clamp(LEAST_SIZE, DEFAULT_SIZE) & !0xffff
}

/// The files that limit the memory of these groups (`/proc/PID/cgroup`, cgroups(7)) and of those around them: of the
/// second version, and of the first. A container may see its own group as the outermost.
fn limits(groups: &str) -> impl Iterator<Item = PathBuf> {
    groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (root, file) = match parts.next() {
            Some("") => ("/sys/fs/cgroup", "memory.max"),
            Some(names) if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let path = Path::new(parts.next().unwrap_or("/"));
        let around = path.ancestors().filter_map(|group| group.strip_prefix("/").ok());
        around.map(|group| Path::new(root).join(group).join(file)).collect()
    })
}

/// An event log, and the descriptor by which other processes map it.
#[derive(Debug)]
pub struct SharedArena {
    fd: OwnedFd,
    size: usize,
    arena: Arena,
}

impl SharedArena {
    /// Makes an empty event log of `size` bytes in a memfd, which nobody can shrink or grow: a process that maps
    /// it never meets a page that is not there.
    ///
    /// # Errors
    ///
    /// What the kernel says, and `InvalidInput` if `size` is too small for an event log.
    pub fn new(mode: Mode, size: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("koala-events", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, size as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let base = map(&fd, size)?;
        let config = ArenaConfig { mode, ..ArenaConfig::default() };
        // SAFETY: the mapping is `size` zeros, aligned to a page, and is never unmapped: an `Arena` is copied
        // freely, and an agent has one for as long as it lives.
        let arena = unsafe { Arena::format(base, size, config) }
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self { fd, size, arena })
    }

    /// The event log of an agent that is dead: `fd` leads to its memory.
    ///
    /// # Errors
    ///
    /// What the kernel says, and `InvalidInput` if it is no event log of this version.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(io::Error::other)?;
        let base = map(&fd, size)?;
        // SAFETY: the mapping is `size` bytes, aligned to a page, and is never unmapped; its agent is dead.
        let arena = unsafe { Arena::open(base, size) }
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self { fd, size, arena })
    }

    /// The log.
    pub fn arena(&self) -> Arena {
        self.arena
    }

    /// Its bytes.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// Maps all of a log.
fn map(fd: &OwnedFd, size: usize) -> io::Result<*mut u8> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, fd, 0)? };
    Ok(base.cast())
}

/// Gives pages of the log back to the kernel: every process that maps them finds zeros there, and none of them
/// counts as its memory any longer. False if the kernel refuses.
///
/// # Safety
///
/// The pages must be of a [`SharedArena`]'s mapping, and nobody may be using what they hold.
pub unsafe fn give_back(pages: *mut u8, size: usize) -> bool {
    // SAFETY: the caller's promise; `MADV_REMOVE` is defined for shared memory like that of a memfd.
    unsafe { rustix::mm::madvise(pages.cast(), size, rustix::mm::Advice::LinuxRemove) }.is_ok()
}

impl AsFd for SharedArena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_takes_a_share_of_what_there_may_be() {
        let mib = |count: u64| count << 20;
        for (limit, size) in [
            (None, 64),
            (Some(u64::MAX), 64),
            (Some(mib(9_000_000)), 64),
            (Some(mib(512)), 64),
            (Some(mib(80)), 10),
            (Some(mib(3)), 2),
            (Some(0), 2),
        ] {
            assert_eq!(size_within(limit), size << 20, "{limit:?}");
        }
    }

    #[test]
    fn limits_are_looked_for_in_all_groups_around() {
        let found = |groups| limits(groups).map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            found("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            found("5:devices:/x\n4:cpu,memory:/a\n1:name=systemd:/\n"),
            ["/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        for nonsense in ["", "\n", "memory", "::", "0:memory", "0::../.."] {
            found(nonsense);
        }
    }
}
