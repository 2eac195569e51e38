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
        table.past.names.publish(table.arena.replay_table().names());
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
        {
            // One writer at a time.
            let _alone = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            talks.names.publish(self.arena.replay_table().names());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SharedArena;
    use crate::replay::talks::{FailedConnect, Talk};
    use koala_events::Mode;

    const DOWN: &str = "10.0.0.1:1";
    const FLAKY: &str = "10.0.0.2:2";
    const UNKNOWN: &str = "10.0.0.3:3";
    const LET_THROUGH: &str = "10.0.0.4:4";

    fn fails(peer: &str) -> Talks {
        let failure = FailedConnect { action_index: 1, peer: peer.to_owned(), error: "ETIMEDOUT".to_owned() };
        Talks { failed: vec![failure], ..Talks::default() }
    }

    fn reaches(peer: &str) -> Talks {
        let talk = Talk { peer: peer.to_owned(), ..Talk::simulated(b"a".to_vec(), b"b".to_vec()) };
        Talks { talks: vec![talk], ..Talks::default() }
    }

    #[test]
    fn connects_do_what_they_did_in_the_session_that_is_replayed() {
        let arena = SharedArena::new(Mode::Replay, 1 << 20).unwrap();
        let mut past = Past::default();
        past.peers.entry(DOWN.to_owned()).or_default().failures.insert("EHOSTUNREACH".to_owned(), 1);
        let flaky = past.peers.entry(FLAKY.to_owned()).or_default();
        flaky.reached = 5;
        flaky.failures.insert("ETIMEDOUT".to_owned(), 1);
        let config = Config { bypass_addrs: vec![net::parse_address(LET_THROUGH)], ..Config::default() };
        let table = Table::new(arena.arena(), &config, Arc::new(past));
        let outcome = |peer: &str| arena.arena().replay_table().outcome(&net::parse_address(peer), 111);
        assert_eq!(outcome(DOWN), Outcome::Refuse(113));
        assert_eq!(outcome(FLAKY), Outcome::Redirect);
        assert_eq!(outcome(UNKNOWN), Outcome::Refuse(111));
        assert_eq!(outcome(LET_THROUGH), Outcome::Bypass);

        table.prepare(&fails(FLAKY));
        assert_eq!(outcome(FLAKY), Outcome::Refuse(110));
        table.restore(&fails(FLAKY));
        assert_eq!(outcome(FLAKY), Outcome::Redirect);

        // A session from elsewhere brings its peers with it; what is let through stays so.
        table.prepare(&reaches(UNKNOWN));
        table.prepare(&reaches(LET_THROUGH));
        assert_eq!(outcome(UNKNOWN), Outcome::Redirect);
        assert_eq!(outcome(LET_THROUGH), Outcome::Bypass);
    }
}
