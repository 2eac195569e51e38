//! The event log in shared memory: its format, its writer and its reader.
#![cfg_attr(not(test), no_std)]

mod address;
mod event;

pub use address::{Address, PATH_MAX};
pub use event::{Event, EventKind, Source, flags};
