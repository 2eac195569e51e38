//! `libkoala.so`: the part of koala that lives in the recorded program.
//!
//! # What it is for
//!
//! Loaded with `LD_PRELOAD`, it stands between a program and its libc: it writes down what the program sends
//! and receives (into the event log of `koala-events`), and in a replay sends the program's outbound calls to
//! the agent instead.
//!
//! # How it is built
//!
//! - `hooks.rs` is the one table of hooks: a line of types for each symbol, and the operation that it means.
//! - `operation/` holds what the operations do, a file for each, in terms of descriptors, payloads and addresses.
//! - `library.rs` is the state of the process: whether koala is active, the log, what happens at `fork`.
//! - `admission.rs` decides which sessions are recorded when the log is short of room, or a sample is wanted.
//! - `descriptors.rs` knows what each descriptor is; `thread.rs` what each thread is doing.
//! - `start.rs` starts the agent, where no command line did. `environment.rs` says what is asked for, and gives children
//!   what they need; `lineage.rs` tells a program where it comes from, and what it inherits.
//! - `executable.rs` tells of a program that is about to be executed whether it can be covered.
//! - `symbol.rs` finds the functions behind the hooks, `sys.rs` makes system calls without libc, `attach.rs`
//!   gets the log from the agent.
//!
//! # What it must never do
//!
//! It is a guest. It starts no thread, takes no lock, allocates nothing by `malloc`, keeps no descriptor, prints
//! nothing, and leaves `errno` alone. It links to nothing (`DT_NEEDED` is empty: one file serves every glibc
//! and musl), and no panic is reachable in it: the panic handler calls a function that does not exist, so that
//! a build from which it can be reached shows it. It knows nothing of sessions or protocols.
//!
//! Recording fails open: whatever goes wrong here, the program's own call is made, and returns what it would
//! have returned. Replay fails closed: what cannot be redirected fails.
#![cfg_attr(all(panic = "abort", not(test)), no_std)]
#![cfg_attr(
    not(all(panic = "abort", not(test))),
    allow(dead_code, reason = "with unwinding the crate is checked and tested, but hooks nothing")
)]

mod address;
mod admission;
mod attach;
mod descriptors;
mod environment;
mod executable;
mod hooks;
mod library;
mod lineage;
mod operation;
mod start;
mod symbol;
mod sys;
mod thread;

#[cfg(all(panic = "abort", not(test)))]
mod panic {
    unsafe extern "C" {
        /// Nowhere defined: its name among the library's undefined symbols is the proof that a panic is
        /// reachable, and `npm run check` looks for it.
        fn koala_panic_is_reachable() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: never reached; see above.
        unsafe { koala_panic_is_reachable() }
    }
}
