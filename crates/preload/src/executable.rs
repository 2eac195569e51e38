//! What the file of a program says of whether the library can be in it (elf(5)), looked at just before it is executed.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int};
use core::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::sys::{self, nr};

/// Whether a program can be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(crate) enum Executable {
    /// Nothing says that it can't.
    Coverable = 0,
    /// It gets privileges by its file: the system ignores LD_PRELOAD (ld.so(8), secure-execution mode).
    Privileged = 1,
    /// It is linked statically: nothing can be loaded into it.
    Static = 2,
    /// The runtime of a sanitizer must be the first that is loaded into it, or it ends at once.
    Sanitized = 3,
    /// It is built for another processor: ld.so complains of the library on the program's stderr.
    Foreign = 4,
    /// It loads libraries into a namespace of their own, with a libc of their own (dlmopen(3)). That is no matter of its
    /// file: it is told when it does.
    Apart = 5,
}

/// Bytes of `Elf64_Ehdr`, `Elf64_Phdr` and `Elf64_Dyn`.
const HEAD: usize = 64;
const SEGMENT: usize = 56;
const TAG: usize = 16;
/// Kinds of segments, `PT_*`.
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
/// Tags of the dynamic section, `DT_*`.
const NEEDED: u64 = 1;
const STRINGS: u64 = 5;
const OWN_NAME: u64 = 14;
/// The processor that the library is built for, `EM_*`.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

impl Executable {
    /// What the file of this path is; [`Executable::Coverable`] where there is none, or it can't be read.
    ///
    /// # Safety
    ///
    /// `path` must be null or a C string.
    pub(crate) unsafe fn of(path: *const c_char) -> Self {
        if !sys::is_plausible(path) {
            return Self::Coverable;
        }
        // SAFETY: the caller's promise.
        if unsafe { sys::gives_privileges(path) } {
            return Self::Privileged;
        }
        // Not to wait for the other end of what may be a FIFO.
        let flags = (nr::O_RDONLY | nr::O_CLOEXEC | nr::O_NONBLOCK | nr::O_NOCTTY) as usize;
        // SAFETY: the caller's promise.
        let fd =
            unsafe { sys::call(nr::__NR_openat, [nr::AT_FDCWD as usize, path as usize, flags, 0, 0, 0]) };
        let Ok(fd) = c_int::try_from(fd) else { return Self::Coverable };
        if fd < 0 {
            return Self::Coverable;
        }
        let found = inspect(|at, to| read(fd, at, to));
        sys::close(fd);
        found.unwrap_or(Self::Coverable)
    }
}

/// The first program that a child was to become which can't be covered, and could not tell of.
struct Left {
    /// 0: none; -1: it is being written down; else what the program is.
    file: AtomicI64,
    length: AtomicUsize,
    path: UnsafeCell<[u8; 256]>,
}

// SAFETY: written once, by whoever changes `file` from 0 to -1; read only after another value was seen there.
unsafe impl Sync for Left {}

static LEFT: Left =
    Left { file: AtomicI64::new(0), length: AtomicUsize::new(0), path: UnsafeCell::new([0; 256]) };

/// The child of a vfork, which can't tell the agent, leaves to its parent what it is about to become.
pub(crate) fn leave(file: Executable, path: &[u8]) {
    if LEFT.file.compare_exchange(0, -1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    let length = path.len().min(256);
    // SAFETY: there is room, and nobody else writes or reads as long as `file` is -1.
    unsafe { sys::copy(path.as_ptr(), LEFT.path.get().cast(), length) };
    LEFT.length.store(length, Ordering::Relaxed);
    LEFT.file.store(file as i64, Ordering::Release);
}

/// What was left: what the program is, and its path.
pub(crate) fn left() -> Option<(i64, &'static [u8])> {
    let file = LEFT.file.load(Ordering::Acquire);
    if file <= 0 {
        return None;
    }
    // SAFETY: it was written before `file` became positive, and never is again.
    let path: &[u8; 256] = unsafe { &*LEFT.path.get() };
    Some((file, path.get(..LEFT.length.load(Ordering::Relaxed)).unwrap_or(path)))
}

/// Reads from a file at `at`: how much was there.
fn read(fd: c_int, at: u64, to: &mut [u8]) -> usize {
    // SAFETY: a buffer of ours with its size.
    let got = unsafe {
        let into = to.as_mut_ptr() as usize;
        sys::call(nr::__NR_pread64, [fd as usize, into, to.len(), at as usize, 0, 0])
    };
    usize::try_from(got).unwrap_or(0)
}

/// Inspects what `read` reads. `None` if it is no ELF file, or one that ends too early.
fn inspect(read: impl Fn(u64, &mut [u8]) -> usize) -> Option<Executable> {
    let mut head = [0; HEAD];
    read(0, &mut head);
    // The last byte is `ELFCLASS64`, or that of 32 bits.
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    if head.get(4) != Some(&2) || short(&head, 18)? != MACHINE {
        return Some(Executable::Foreign);
    }
    let mut table = [0; 32 * SEGMENT];
    let count = usize::from(short(&head, 56)?);
    let length = read(long(&head, 32)?, &mut table).min(count.checked_mul(SEGMENT)?);
    let segments = || table.get(..length).unwrap_or(&[]).chunks_exact(SEGMENT);
    let of_kind = |kind| segments().find(move |segment| word(segment, 0) == Some(kind));
    let interpreted = of_kind(INTERPRETER).is_some();
    let mut tags = [0; 64 * TAG];
    let mut length = 0;
    if let Some(dynamic) = of_kind(DYNAMIC) {
        let size = usize::try_from(long(dynamic, 32)?).ok()?.min(tags.len());
        length = read(long(dynamic, 8)?, tags.get_mut(..size)?);
    }
    let all = || {
        let tags = tags.get(..length).unwrap_or(&[]).chunks_exact(TAG);
        tags.filter_map(|tag| Some((long(tag, 0)?, long(tag, 8)?))).take_while(|&(tag, _)| tag != 0)
    };
    if !interpreted {
        // Dynamic linkers have a name of their own, no interpreter, and load what is preloaded.
        let linker = all().any(|(tag, _)| tag == OWN_NAME);
        return Some(if linker { Executable::Coverable } else { Executable::Static });
    }
    let strings = all().find(|&(tag, _)| tag == STRINGS).map(|(_, address)| address)?;
    let strings = segments().find_map(|segment| {
        let into = strings.checked_sub(long(segment, 16)?)?;
        let within = word(segment, 0)? == LOAD && into < long(segment, 32)?;
        long(segment, 8)?.checked_add(into).filter(|_| within)
    })?;
    // Compilers name it before all others.
    for (_, name) in all().filter(|&(tag, _)| tag == NEEDED).take(4) {
        let mut text = [0; 40];
        let length = read(strings.checked_add(name)?, &mut text);
        let name = text.get(..length).unwrap_or(&[]).split(|&byte| byte == 0).next()?;
        if is_sanitizer(name) {
            return Some(Executable::Sanitized);
        }
    }
    Some(Executable::Coverable)
}

/// Whether a shared object, by its path, is the runtime of a sanitizer.
pub(crate) fn is_sanitizer(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(&[]);
    let Some(name) = name.strip_prefix(b"lib") else { return false };
    let name = name.strip_prefix(b"clang_rt.").unwrap_or(name);
    let kinds: [&[u8]; 5] = [b"asan", b"tsan", b"msan", b"lsan", b"hwasan"];
    let behind = kinds.iter().find_map(|&kind| name.strip_prefix(kind));
    behind.is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric()))
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn short(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_le_bytes)
}

fn word(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_le_bytes)
}

fn long(from: &[u8], at: usize) -> Option<u64> {
    bytes(from, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn of(path: &str) -> Executable {
        let path = CString::new(path).unwrap();
        // SAFETY: a C string.
        unsafe { Executable::of(path.as_ptr()) }
    }

    #[test]
    fn programs_of_the_machine_can_be_covered() {
        let own = std::env::current_exe().unwrap();
        for path in ["/bin/sh", "/etc/passwd", "/", "/nowhere", "", own.to_str().unwrap()] {
            assert_eq!(of(path), Executable::Coverable, "{path}");
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { Executable::of(core::ptr::null()) }, Executable::Coverable);
    }

    #[test]
    fn runtimes_of_sanitizers_are_known_by_their_names() {
        for path in
            ["/usr/lib/gcc/libasan.so.8", "libtsan.so.2", "libclang_rt.asan-x86_64.so", "libhwasan.so"]
        {
            assert!(is_sanitizer(path.as_bytes()), "{path}");
        }
        for path in ["libasanitary.so", "libc.so.6", "asan", "", "/libasan.so/libkoala.so"] {
            assert!(!is_sanitizer(path.as_bytes()), "{path}");
        }
    }

    /// A file that is read as far as it goes.
    fn looked_at(file: &[u8]) -> Option<Executable> {
        inspect(|at, to| {
            let rest = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or(&[]);
            to.iter_mut().zip(rest).map(|(to, from)| *to = *from).count()
        })
    }

    #[test]
    fn files_are_told_apart_and_nothing_else_panics() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert_eq!(looked_at(&shell), Some(Executable::Coverable));
        let without = |kind: u8| {
            let mut file = shell.clone();
            let first = u64::from_le_bytes(file[32..40].try_into().unwrap()) as usize;
            for segment in file[first..].chunks_exact_mut(SEGMENT).take(16) {
                if segment[..4] == [kind, 0, 0, 0] {
                    segment[0] = 0;
                }
            }
            file
        };
        assert_eq!(looked_at(&without(3)), Some(Executable::Static));
        let mut other = shell.clone();
        other[18] = 40;
        assert_eq!(looked_at(&other), Some(Executable::Foreign));
        // A xorshift generator: each round damages other bytes.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut file = shell[..4096].to_vec();
            for _ in 0..8 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                file[(state >> 8) as usize % 1024] = state as u8;
            }
            file.truncate((state >> 20) as usize % 4096);
            let _ = looked_at(&file);
        }
    }
}
