//! What a recording tells that a replay needs besides the session that is replayed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use koala_protocol::Protocol;
use koala_session::model::Session;

use crate::manifest::ManifestError;
use crate::recording::{Recording, Warning};
use crate::replay::history::{History, Referred};
use crate::replay::lines::Lines;
use crate::replay::login::{Login, Who};
use crate::replay::names::Names;
use crate::replay::set_up;
use crate::replay::talks::{DATAGRAMS, Talk, Talks};

/// The most greetings that are kept of one peer.
const GREETINGS: usize = 256;

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub struct PeerFacts {
    /// Calls that got through.
    pub reached: u64,
    /// Connects that failed, by the name of the `errno`.
    pub failures: BTreeMap<String, u64>,
    /// Calls that got through and connects that failed outside of sessions; they are among the others.
    at_boot: (u64, BTreeMap<String, u64>),
    /// What it said before it was asked, connection by connection.
    pub greetings: Vec<Arc<Talk>>,
    /// Who has logged in there, and how.
    pub logins: BTreeMap<Who, Arc<Login>>,
}

impl PeerFacts {
    /// What its connects failed with most often, if none got through. What counts is what happened outside of
    /// sessions, if anything did: a program that is to listen there itself may look for another one first (php-fpm), and
    /// what a session does is told when it is replayed.
    pub fn failure(&self) -> Option<&str> {
        let (reached, failures) = &self.at_boot;
        most_often(*reached, failures).or_else(|| most_often(self.reached, &self.failures))
    }
}

fn most_often(reached: u64, failures: &BTreeMap<String, u64>) -> Option<&str> {
    let most = failures.iter().max_by_key(|(_, count)| **count).filter(|_| reached == 0);
    most.map(|(name, _)| name.as_str())
}

/// A recording, but for the sessions themselves.
#[derive(Debug, Default)]
pub struct Past {
    /// The calls of the boot sessions.
    pub boot: Vec<Arc<Talk>>,
    /// The calls of sessions that overlap, by group.
    pub groups: HashMap<String, Vec<Arc<Talk>>>,
    /// Requests that set a connection up, in whatever session they were recorded, by whom they were sent to and what
    /// they are known by ([`set_up::key`]).
    pub set_up: HashMap<(String, Vec<u8>), Arc<Talk>>,
    /// What recorded calls refer to of what their connections were told in other sessions.
    pub referred: Referred,
    /// Peers, by their address in text.
    pub peers: HashMap<String, PeerFacts>,
    /// Peers that have answered datagrams, in text.
    pub datagram_peers: BTreeSet<String>,
    /// The protocol spoken with a peer.
    pub protocols: HashMap<String, Protocol>,
    /// The names that were looked up, as they were answered first.
    pub names: Names,
    /// Sessions that go on on the connection of another one.
    pub lines: Lines,
    /// Sessions read, but for those of boot.
    pub sessions: u64,
    /// What could not be read.
    pub warnings: Vec<Warning>,
}

impl Past {
    /// Reads the recording in `directory`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] if there is none.
    pub fn load(directory: &Path) -> Result<Self, ManifestError> {
        let mut past = Self::default();
        let mut history = History::default();
        let warnings = Recording::open(directory)?.read(|_, session| {
            history.add(&session);
            past.add(&session);
        })?;
        past.warnings = warnings;
        past.complete();
        past.referred = history.referred();
        for talk in past.boot.iter_mut().chain(past.groups.values_mut().flatten()) {
            Arc::make_mut(talk).refer(&past.referred);
        }
        Ok(past)
    }

    /// Every session was added.
    pub fn complete(&mut self) {
        self.lines.complete();
        // Sessions come in the order in which they ended; those of a group are searched in that of their calls.
        for talks in self.groups.values_mut() {
            talks.sort_by_key(|talk| talk.made_at);
        }
    }

    /// Adds a session.
    pub fn add(&mut self, session: &Session) {
        let Talks { talks, failed, logins, protocols, names } = Talks::of(session);
        self.names.complete(names);
        self.lines.add(session);
        let boot = session.call_from_inbound.is_none();
        if !boot {
            self.sessions += 1;
        }
        for failure in failed {
            let facts = self.peers.entry(failure.peer).or_default();
            if boot {
                *facts.at_boot.1.entry(failure.error.clone()).or_default() += 1;
            }
            *facts.failures.entry(failure.error).or_default() += 1;
        }
        for talk in talks {
            let protocol = protocols.get(&talk.peer);
            let facts = self.peers.entry(talk.peer.clone()).or_default();
            facts.reached += 1;
            facts.at_boot.0 += u64::from(boot);
            if talk.peer.starts_with(DATAGRAMS) {
                self.datagram_peers.insert(talk.peer.clone());
            }
            let greets = talk.request.is_empty()
                && talk.first
                && protocol.is_none_or(|protocol| *protocol == Protocol::MySql);
            let sets_up = match protocol {
                Some(Protocol::Redis | Protocol::MySql | Protocol::Postgres) => set_up::key(&talk.request),
                _ => None,
            };
            let kept = boot || !session.overlap_group.is_empty() || greets || sets_up.is_some();
            if !kept {
                continue;
            }
            let talk = Arc::new(talk);
            if greets && facts.greetings.len() < GREETINGS {
                facts.greetings.push(talk.clone());
            }
            if let Some(key) = sets_up {
                self.set_up.entry((talk.peer.clone(), key)).or_insert_with(|| talk.clone());
            }
            if boot {
                self.boot.push(talk);
            } else if !session.overlap_group.is_empty() {
                self.groups.entry(session.overlap_group.clone()).or_default().push(talk);
            }
        }
        for login in logins {
            let Some(named) = login.named() else { continue };
            let known = &mut self.peers.entry(named.peer.clone()).or_default().logins;
            // One that was refused is of use to those only who have recorded it.
            if login.succeeded() || !known.contains_key(&login.who) {
                known.insert(login.who.clone(), login);
            }
        }
        self.protocols.extend(protocols);
    }
}
