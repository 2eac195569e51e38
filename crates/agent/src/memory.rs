//! The memory that holds the event log.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

use koala_events::{Arena, ArenaConfig, Mode};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of the event log, unless the caller wants another size. Pages that were never used cost nothing.
pub const DEFAULT_SIZE: usize = 64 << 20;

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
