//! The event log in shared memory: its format, its writer and its reader.
//!
//! # What it is for
//!
//! The recorded program tells the agent what it does without a system call, a lock, an allocation or a
//! thread: it copies each captured call into shared memory, and the agent polls that memory. This crate is
//! both ends of it, and the [`Event`] that crosses.
//!
//! # The arena
//!
//! One region of shared memory ([`Arena`]), made by the agent, mapped by every process of the program's tree:
//!
//! ```text
//! header | owners: a word a chunk | replay table | chunk 0 | chunk 1 | ...
//! ```
//!
//! A thread claims a chunk by one compare-and-swap of its owner word, and from then on is the only writer of
//! that chunk; the reader returns the chunk, zeroed, when all of it was delivered. So a free chunk is all
//! zeros, and a record whose first word is zero is no record yet. That word is the whole protocol:
//!
//! | word | meaning |
//! | --- | --- |
//! | 0 | nothing is here |
//! | claimed | a thread owns these bytes, and is writing them |
//! | intent | the record is complete, the call that it tells of is under way (a send, a connect) |
//! | committed | the record will never change again |
//!
//! A claim is a compare-and-swap from 0, because the writer may meet itself: a signal handler that sends in the
//! middle of an append finds the word taken and goes behind it. An append that is never finished (a handler
//! that jumped out of it, a thread that died) leaves one claimed record, which its process's end resolves.
//!
//! A send is logged as *intent* before the call and committed after it. So its bytes are in the log before
//! they are on the wire: what `kill -9` interrupts is still known, and an answer never overtakes its question.
//!
//! # Order
//!
//! Every record of a process has a sequence number, taken from one counter, without holes (but for appends
//! that were never finished). The reader merges the chunks of a process by it, and waits for a missing number
//! only as long as a thread may be delayed between taking it and storing its record. Between processes the order is
//! that of their clocks.
//!
//! # What it must never do
//!
//! The crate makes no system call, allocates nothing in its writer, and knows neither hooks nor sessions.
//! Nothing reachable from [`Writer`] panics: it is linked into `libkoala.so`. The reader trusts no length that
//! it finds in the arena.
#![cfg_attr(not(test), no_std)]

#[cfg(feature = "reader")]
extern crate alloc;

mod address;
mod arena;
mod event;
mod lookup;
mod names;
mod passed;
#[cfg(feature = "reader")]
mod reader;
mod record;
mod replay;
mod writer;

pub use address::{Address, PATH_MAX};
pub use arena::{Arena, ArenaConfig, ArenaError, GivenUp, Lost, Mode, Overflow};
pub use event::{Event, EventKind, Source, flags};
pub use lookup::{Lookup, NAME_MAX};
pub use names::{Known, NameTable};
pub use passed::PassedTable;
#[cfg(feature = "reader")]
pub use reader::{Notice, Poll, ProcessInfo, Reader};
pub use replay::{Outcome, ReplayTable};
pub use writer::{Pending, Record, ThreadState, Writer};
