//! The base of a journal: what the agent knew when the journal began.
//!
//! A standby knows it, being a copy. It is for an agent that is started when both are dead ([`Follower::go_on`]).
//!
//! [`Follower::go_on`]: crate::follow::Follower::go_on

use std::collections::BTreeSet;

use koala_events::{Event, EventKind, Source};
use koala_session::assemble::Assembler;
use koala_session::cbor;
use koala_session::model::Session;

use crate::journal::{Entry, Journal};
use crate::processes::{Identity, NotCovered, Processes};

/// What is in a base besides processes, connections and sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that had been read.
    pub events: u64,
    /// Connections of which bytes are missing.
    pub gaps: u64,
}

/// Writes the base of `journal`, which was cut just now.
pub fn write(
    journal: &mut Journal,
    assembler: &Assembler,
    processes: &Processes,
    unresolved: &BTreeSet<String>,
    counts: Counts,
    now: u64,
) {
    let identities = processes.identities();
    let identity = |number: u64| identities.get(&number).copied().unwrap_or_default();
    journal.write_base(|append| {
        let mut fits = true;
        assembler.recall(
            now,
            |number| identity(number).pid,
            |event| {
                let mut event = *event;
                if event.kind == EventKind::Process {
                    let real = identity(event.process).real;
                    if event.pid == 0 || real == 0 {
                        return;
                    }
                    // Its id as the agent sees it.
                    event.fd = real.cast_signed();
                }
                fits = fits && append(&Entry::Known(event));
            },
        );
        for name in unresolved {
            fits = fits && append(&Entry::Known(nobody(EventKind::Unresolved, name.as_bytes())));
        }
        for program in processes.all_not_covered(false) {
            let json = serde_json::to_vec(&program).unwrap_or_default();
            fits = fits && append(&Entry::NotCovered(&json));
        }
        let mut bytes = Vec::new();
        for session in assembler.unfinished() {
            bytes.clear();
            cbor::encode(session, &mut bytes);
            fits = fits && append(&Entry::Unfinished(&bytes));
        }
        fits && append(&Entry::Base { events: counts.events, gaps: counts.gaps, now })
    });
}

/// An event that no process has told.
fn nobody(kind: EventKind, payload: &[u8]) -> Event<'_> {
    Event {
        kind,
        source: Source::Libc,
        flags: 0,
        process: 0,
        pid: 0,
        tid: 0,
        context: 0,
        sequence: 0,
        time: 0,
        connection: 0,
        fd: -1,
        result: 0,
        payload,
    }
}

/// What an entry of a base says.
#[derive(Debug)]
pub enum Told<'a> {
    /// An event is to be pushed.
    Event(Event<'a>),
    /// Before that: a process is known, by its number in the log.
    Process(u64, Identity, Event<'a>),
    /// A session goes on.
    Session(Box<Session>),
    /// A program is not recorded.
    NotCovered(NotCovered),
    /// The base is whole.
    Whole(Counts),
}

impl<'a> Told<'a> {
    /// What the entry says; `None` if it is not of the base, or can't be read.
    pub fn of(entry: &Entry<'a>) -> Option<Self> {
        match *entry {
            Entry::Known(event) if event.kind == EventKind::Process => {
                let real = event.fd.cast_unsigned();
                Some(Self::Process(event.process, Identity { pid: event.pid, real }, event))
            }
            Entry::Known(event) => Some(Self::Event(event)),
            Entry::Unfinished(bytes) => {
                cbor::decode(bytes).ok().map(|(session, _)| Self::Session(Box::new(session)))
            }
            Entry::NotCovered(json) => serde_json::from_slice(json).ok().map(Self::NotCovered),
            Entry::Base { events, gaps, .. } => Some(Self::Whole(Counts { events, gaps })),
            _ => None,
        }
    }
}

/// So many nanoseconds before a journal began something may have happened that is told of in it: a call that was under
/// way, say, or an event that waited for another one.
const SLACK: u64 = 5_000_000_000;

/// The time before which nothing happened that is told of in a journal; 0 if that is not known.
pub fn since(journal: &Journal) -> u64 {
    let mut since = u64::MAX;
    let based = journal.read_base(|entry| match *entry {
        Entry::Base { now, .. } => since = since.min(now.saturating_sub(SLACK)),
        Entry::Unfinished(_) => {
            if let Some(Told::Session(session)) = Told::of(entry) {
                since = since.min(began(&session));
            }
        }
        _ => {}
    });
    if based { since } else { 0 }
}

/// When a session began, by the first thing that is in it.
fn began(session: &Session) -> u64 {
    let request = session.call_from_inbound.as_ref().map(|call| call.occurred_at);
    request.unwrap_or_else(|| session.actions.iter().map(crate::record::occurred_at).min().unwrap_or(0))
}
