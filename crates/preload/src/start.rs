//! Starting the agent, where no command line did.
//!
//! The first process of the tree that does something on the network, and finds no agent, starts the `koala-agent`
//! beside the library, and waits until that answers. The agent is nobody's child: it is made by a process in between
//! that ends at once, and that the program can't see (a clone(2) without an exit signal raises no `SIGCHLD`, and is
//! passed over by waitpid(2)). It has a session of its own, no descriptor of the program, and none of its signal handling.
//! Where several processes start one, all but the first give up (the agent locks its runtime directory).

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use crate::environment;
use crate::symbol::Symbol;
use crate::sys::{self, nr};

/// The longest path that is handled.
const PATH: usize = 1024;
const AGENT: &[u8] = b"/koala-agent";
/// The kernel's highest signal.
const SIGNALS: usize = 64;
/// `__WALL` (waitpid(2)): children without an exit signal, too.
const WAIT_ALL: usize = 0x4000_0000;
/// Entries of an environment that are handed on.
const ENTRIES: usize = 4096;
/// What the agent must not be told: it is not the program.
static OURS: [&[u8]; 3] = [b"LD_PRELOAD=", MODE, b"KOALA_RUNTIME_DIR="];
const MODE: &[u8] = b"KOALA_MODE=";

/// `Dl_info` (dladdr(3)).
#[repr(C)]
struct Place {
    file: *const c_char,
    base: *mut c_void,
    name: *const c_char,
    address: *mut c_void,
}

/// The path under which this library was loaded.
pub(crate) fn own_path() -> Option<&'static [u8]> {
    type FindAddress = unsafe extern "C" fn(*const c_void, *mut Place) -> c_int;
    static FIND_ADDRESS: Symbol = Symbol::new(c"dladdr");
    let find = FIND_ADDRESS.address();
    if find.is_null() {
        return None;
    }
    let mut place =
        Place { file: ptr::null(), base: ptr::null_mut(), name: ptr::null(), address: ptr::null_mut() };
    // SAFETY: dladdr(3) has this type; the address is one of this library, the place is ours.
    let found = unsafe {
        core::mem::transmute::<*mut c_void, FindAddress>(find)((&raw const OURS).cast(), &raw mut place)
    };
    if found == 0 || place.file.is_null() {
        return None;
    }
    // SAFETY: dladdr(3) says that it is the path of a file, a C string that stays.
    Some(unsafe { sys::string(place.file.cast()) })
}

/// The path of the agent: the one beside this library.
fn agent(path: &mut [u8; PATH]) -> Option<()> {
    let library = own_path()?;
    let end = library.iter().rposition(|&byte| byte == b'/')?;
    put(path, library.get(..end)?.iter().chain(AGENT))
}

/// Writes a C string; `None` if it is too long.
fn put<'a>(to: &mut [u8; PATH], bytes: impl Iterator<Item = &'a u8>) -> Option<()> {
    let mut places = to.iter_mut();
    for byte in bytes {
        *places.next()? = *byte;
    }
    *places.next()? = 0;
    Some(())
}

/// Starts the agent, with its runtime directory and where to record. True if it was tried: it answers soon, or never.
///
/// `is_told_of_mode`: it is told of the mode that can't be understood, which its log will explain.
pub(crate) fn start(runtime_dir: &CStr, to: &CStr, is_told_of_mode: bool) -> bool {
    let mut path = [0u8; PATH];
    if agent(&mut path).is_none() || !is_executable(&path) {
        return false;
    }
    let (mut digits, mut pid) = ([0u8; 10], [0u8; PATH]);
    let _ = put(&mut pid, sys::decimal(sys::getpid(), &mut digits).iter());
    let argv: [*const u8; 9] = [
        path.as_ptr(),
        c"record".as_ptr().cast(),
        c"--detached".as_ptr().cast(),
        pid.as_ptr(),
        c"--to".as_ptr().cast(),
        to.as_ptr().cast(),
        c"--runtime-dir".as_ptr().cast(),
        runtime_dir.as_ptr().cast(),
        ptr::null(),
    ];
    let size = (ENTRIES + 1) * size_of::<*const u8>();
    let envp = sys::allocate(size).cast::<*const u8>();
    if envp.is_null() {
        return false;
    }
    let mut count = 0;
    environment::each(|entry| {
        // SAFETY: an entry of the environment is a C string.
        let text = unsafe { sys::string(entry) };
        let told = is_told_of_mode && text.starts_with(MODE);
        if count < ENTRIES && (told || !OURS.iter().any(|name| text.starts_with(name))) {
            // SAFETY: the list has room for so many entries, and for the null behind them, which is there.
            unsafe { *envp.add(count) = entry };
            count += 1;
        }
    });
    let child = clone();
    if child == 0 {
        launch(&argv, envp);
    }
    if child > 0 {
        let mut result;
        loop {
            // SAFETY: waits for a child of ours that ends at once; its status is not asked for.
            result = unsafe { sys::call(nr::__NR_wait4, [child as usize, 0, WAIT_ALL, 0, 0, 0]) };
            if result != -(sys::error::EINTR as isize) {
                break;
            }
        }
    }
    // SAFETY: made above; the processes that use it have a copy of this memory.
    unsafe { sys::free(envp.cast(), size) };
    child > 0
}

fn is_executable(path: &[u8; PATH]) -> bool {
    const EXECUTE: usize = 1;
    // SAFETY: a path of ours that ends.
    unsafe {
        sys::call(nr::__NR_faccessat, [nr::AT_FDCWD as usize, path.as_ptr() as usize, EXECUTE, 0, 0, 0]) == 0
    }
}

/// clone(2) as fork(2) does it, without an exit signal: 0 in the child, which has a copy of this memory.
fn clone() -> isize {
    // SAFETY: no flags: the child shares nothing, and goes on with a copy of this stack.
    unsafe { sys::call(nr::__NR_clone, [0; 6]) }
}

/// The process in between, and the agent: system calls only, as locks may be held by threads that are not here.
fn launch(argv: &[*const u8; 9], envp: *const *const u8) -> ! {
    if clone() == 0 {
        // SAFETY: system calls with numbers, and with memory of ours that this process has a copy of.
        unsafe {
            sys::call(nr::__NR_setsid, [0; 6]);
            sys::call(nr::__NR_close_range, [0, u32::MAX as usize, 0, 0, 0, 0]);
            let null = c"/dev/null".as_ptr() as usize;
            // The first is 0, and so on: nothing else is open. Without close_range(2) (before Linux 5.9) something is.
            let opened =
                sys::call(nr::__NR_openat, [nr::AT_FDCWD as usize, null, nr::O_RDWR as usize, 0, 0, 0]);
            if opened > 0 {
                for fd in 0..opened as usize {
                    sys::call(nr::__NR_dup3, [opened as usize, fd, 0, 0, 0, 0]);
                }
                for fd in 3..=PATH {
                    sys::close(fd as c_int);
                }
            } else {
                sys::call(nr::__NR_dup3, [0, 1, 0, 0, 0, 0]);
                sys::call(nr::__NR_dup3, [0, 2, 0, 0, 0, 0]);
            }
            // What the program ignores or blocks, the agent must not. SIG_DFL is 0.
            let by_default = [0usize; 4];
            for signal in 1..=SIGNALS {
                sys::call(nr::__NR_rt_sigaction, [signal, by_default.as_ptr() as usize, 0, 8, 0, 0]);
            }
            const SET: usize = 2;
            let none = 0u64;
            sys::call(nr::__NR_rt_sigprocmask, [SET, &raw const none as usize, 0, 8, 0, 0]);
            let [path, ..] = *argv;
            sys::call(nr::__NR_execve, [path as usize, argv.as_ptr() as usize, envp as usize, 0, 0, 0]);
        }
    }
    loop {
        // SAFETY: ends this process, which has nothing of its own.
        unsafe { sys::call(nr::__NR_exit_group, [0; 6]) };
    }
}
