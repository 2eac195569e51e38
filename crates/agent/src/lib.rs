//! The agent: recorder, replayer and HTTP API.
//!
//! # What it is for
//!
//! The agent is koala's engine, a process beside the program under test. It holds the event log, which the
//! processes of the program map ([`attach`]) and write to; follows it ([`follow`]); and makes sessions of it. When it
//! records, it writes them to disk ([`record`]). When it replays ([`replay`]), it plays every server that the program
//! asks, and the client that asks the program. It is asked how it goes, and told to end, over HTTP ([`http`]).
//!
//! It is the only part of koala that does I/O, and always a process of its own: it outlives the CLI, which starts
//! it, and any process of the program. One process tree has one agent.
//!
//! # Threads
//!
//! One thread follows the log. All sockets belong to one tokio runtime on one thread. They share the
//! [`follow::Follower`] behind a lock, which is held for one look at the log at a time: a task that must know what the
//! program did just now looks itself, and does not wait for the other thread.
//!
//! # Its death
//!
//! An agent that records has a [`standby`]: a copy of itself, made by fork(2) every few megabytes of events, that sleeps
//! until the agent is dead. It has the event log and the agent's listeners, and what was read from the log since it was
//! made is in the [`journal`]. So it makes the same sessions of it, writes those that are not on disk, and goes on as the
//! agent, with a standby of its own. The kernel itself keeps the copy: nothing of the state of sessions, connections and
//! protocols needs a form for being written down, and what the copy makes equals what the agent made, ids included. A
//! copy costs a millisecond, and afterwards the pages that the agent changes.
//!
//! Both may be killed at once. Then who started the agent, if that was a command line, starts another one, and hands it
//! the event log and the journal, of which it has kept descriptors. The journal's [`base`] tells what a copy would know.
//! Where the library started the agent nobody has them, and the recording ends; the program goes on.
//!
//! # What it must never do
//!
//! - Judge. It reports facts; whether a replayed session passes is said elsewhere.
//! - Answer a call with something merely similar to what was recorded, or let one through that nobody allowed.
//! - Lose a session that was completed, or say nothing of what it lost.
//! - Take anything that comes from outside as well-formed: the log, a recording, a request.

pub mod agent;
pub mod args;
pub mod attach;
pub mod base;
pub mod clock;
pub mod config;
pub mod duration;
pub mod follow;
pub mod http;
pub mod journal;
pub mod lifetime;
pub mod limits;
pub mod logger;
pub mod manifest;
pub mod memory;
pub mod name;
pub mod net;
pub mod priority;
pub mod processes;
pub mod record;
pub mod recording;
pub mod replay;
pub mod shelf;
pub mod standby;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
