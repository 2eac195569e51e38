//! What `libkoala.so` is told of a replay: where a connect goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use koala_events::{Address, Arena, Outcome};

use crate::config::Config;
use crate::net;
use crate::replay::errno;
use crate::replay::past::Past;
use crate::replay::talks::Talks;

/// The replay table, and what is in it.
#[derive(Debug)]
pub struct Table {
    arena: Arena,
    past: Arc<Past>,
    published: Mutex<HashMap<Address, Outcome>>,
}

impl Table {
    /// Fills the table with what the user lets through and with the peers of the recording.
    pub fn new(arena: Arena, config: &Config, past: Arc<Past>) -> Self {
        let table = Self { arena, past, published: Mutex::default() };
        for &port in &config.bypass_ports {
            table.publish(Address::V4([0; 4], port), Outcome::Bypass);
        }
        for &address in &config.bypass_addrs {
            table.publish(address, Outcome::Bypass);
        }
        for peer in table.past.peers.keys() {
            table.publish(net::parse_address(peer), table.usual(peer));
        }
        table
    }

    /// What a connect to `peer` does, as far as the whole recording tells.
    fn usual(&self, peer: &str) -> Outcome {
        match self.past.peers.get(peer).and_then(|facts| facts.failure()) {
            Some(failure) => Outcome::Refuse(errno::number(failure)),
            None => Outcome::Redirect,
        }
    }

    fn publish(&self, peer: Address, outcome: Outcome) {
        if peer == Address::None {
            return;
        }
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let known = published.get(&peer).copied();
        if known == Some(outcome) || known == Some(Outcome::Bypass) {
            return;
        }
        published.insert(peer, outcome);
        self.arena.replay_table().set_peer(&peer, outcome);
    }

    /// Makes connects do what they did in a session: where a peer was reached in one session and not in another,
    /// the session that is replayed decides. Of sessions that are replayed at once, the one that came last.
    pub fn prepare(&self, talks: &Talks) {
        for failure in &talks.failed {
            let reached = talks.talks.iter().any(|talk| talk.peer == failure.peer);
            if !reached {
                let outcome = Outcome::Refuse(errno::number(&failure.error));
                self.publish(net::parse_address(&failure.peer), outcome);
            }
        }
        for talk in &talks.talks {
            self.publish(net::parse_address(&talk.peer), Outcome::Redirect);
        }
    }

    /// Makes connects do again what they usually did, where a session has changed it.
    pub fn restore(&self, talks: &Talks) {
        for failure in &talks.failed {
            if self.past.peers.contains_key(&failure.peer) {
                self.publish(net::parse_address(&failure.peer), self.usual(&failure.peer));
            }
        }
    }
}
