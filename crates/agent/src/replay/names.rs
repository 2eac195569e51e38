//! The names that a recording answers for.

use std::collections::HashMap;
use std::net::IpAddr;

use koala_events::{Address, Lookup, NameTable};
use koala_session::lookup_error;
use koala_session::model::{Action, ResolveName, Session};

/// What a lookup asks: a name in lower case, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    Name(String),
    Address(String),
}

impl Question {
    fn of(lookup: &ResolveName) -> Self {
        if lookup.address.is_empty() {
            Self::Name(lookup.name.trim_end_matches('.').to_ascii_lowercase())
        } else {
            Self::Address(lookup.address.clone())
        }
    }
}

/// What a name is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    name: String,
    canonical_name: String,
    addresses: Vec<IpAddr>,
    error: String,
}

/// Names with their answers.
///
/// A name that was looked up several times is answered with all addresses that the lookups of one family found first:
/// those of IPv4 and of IPv6 are often asked for one after the other. One that was found at all did not fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    answers: HashMap<Question, Answer>,
}

impl Names {
    /// The names that were looked up in a session.
    pub fn of(session: &Session) -> Self {
        let mut names = Self::default();
        for action in &session.actions {
            if let Action::ResolveName(lookup) = action {
                names.add(lookup);
            }
        }
        names
    }

    fn add(&mut self, lookup: &ResolveName) {
        if lookup.error == "EAI_INPROGRESS" {
            // Its answer was not seen.
            return;
        }
        let answer = self.answers.entry(Question::of(lookup)).or_default();
        let found = || lookup.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
        let known = |v4| answer.addresses.iter().any(|address| address.is_ipv4() == v4);
        let (known_v4, known_v6) = (known(true), known(false));
        answer.addresses.extend(found().filter(|ip| if ip.is_ipv4() { !known_v4 } else { !known_v6 }));
        let succeeded = lookup.error.is_empty();
        if succeeded || answer.name.is_empty() {
            answer.name.clone_from(&lookup.name);
            answer.error.clone_from(&lookup.error);
        }
        if answer.canonical_name.is_empty() {
            answer.canonical_name.clone_from(&lookup.canonical_name);
        }
        if !answer.addresses.is_empty() {
            answer.error.clear();
        }
    }

    /// Adds names that are not known yet.
    pub fn complete(&mut self, others: Self) {
        for (question, answer) in others.answers {
            self.answers.entry(question).or_insert(answer);
        }
    }

    /// Tells the library of all of them.
    pub fn publish(&self, table: &NameTable) {
        for (question, answer) in &self.answers {
            let mut addresses = Vec::new();
            let asked = match question {
                Question::Name(_) => None,
                Question::Address(address) => address.parse::<IpAddr>().ok(),
            };
            for ip in asked.iter().chain(&answer.addresses) {
                let mut bytes = [0; Address::MAX];
                let length = match ip {
                    IpAddr::V4(ip) => Address::V4(ip.octets(), 0),
                    IpAddr::V6(ip) => Address::V6(ip.octets(), 0),
                }
                .encode(&mut bytes);
                addresses.extend_from_slice(bytes.get(..length).unwrap_or_default());
            }
            let lookup = match question {
                Question::Name(name) => Lookup::forward(name.as_bytes(), &[], 0)
                    .answered(answer.canonical_name.as_bytes(), &addresses),
                Question::Address(_) => Lookup::reverse(&addresses, answer.name.as_bytes()),
            };
            table.set(&lookup, lookup_error::number(&answer.error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SharedArena;
    use koala_events::Mode;

    fn lookup(name: &str, addresses: &[&str], error: &str) -> ResolveName {
        ResolveName {
            name: name.to_owned(),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            error: error.to_owned(),
            ..ResolveName::default()
        }
    }

    fn session(lookups: Vec<ResolveName>) -> Session {
        let actions = lookups.into_iter().map(|lookup| Action::ResolveName(Box::new(lookup))).collect();
        Session { actions, ..Session::default() }
    }

    fn answer(arena: &SharedArena, name: &str) -> Option<(Vec<String>, i32)> {
        let known = arena.arena().replay_table().names().get(&Lookup::forward(name.as_bytes(), b"", 0))?;
        let addresses = known.lookup()?.addresses().map(|address| address.to_string()).collect();
        Some((addresses, known.error))
    }

    #[test]
    fn a_name_is_answered_with_what_its_lookups_found() {
        let names = Names::of(&session(vec![
            lookup("DB.example", &["10.0.0.1", "10.0.0.2"], ""),
            lookup("db.example", &["fd00::1"], ""),
            lookup("db.example.", &["10.0.0.3"], ""),
            lookup("flaky", &[], "EAI_AGAIN"),
            lookup("flaky", &["10.0.0.9"], ""),
            lookup("gone", &[], "EAI_NONAME"),
            lookup("unseen", &[], "EAI_INPROGRESS"),
        ]));
        let arena = SharedArena::new(Mode::Replay, 1 << 20).unwrap();
        names.publish(arena.arena().replay_table().names());
        let addresses = ["10.0.0.1:0", "10.0.0.2:0", "[fd00::1]:0"].map(str::to_owned).to_vec();
        assert_eq!(answer(&arena, "db.example"), Some((addresses, 0)));
        assert_eq!(answer(&arena, "flaky"), Some((vec!["10.0.0.9:0".to_owned()], 0)));
        assert_eq!(answer(&arena, "gone"), Some((vec![], -2)));
        assert_eq!(answer(&arena, "unseen"), None);
    }

    #[test]
    fn the_session_that_is_replayed_decides() {
        let arena = SharedArena::new(Mode::Replay, 1 << 20).unwrap();
        let replay = arena.arena();
        let table = replay.replay_table().names();
        let mut past = Names::of(&session(vec![lookup("db", &["10.0.0.1"], "")]));
        past.complete(Names::of(&session(vec![
            lookup("db", &["10.0.0.2"], ""),
            lookup("x", &["10.0.0.3"], ""),
        ])));
        past.publish(table);
        assert_eq!(answer(&arena, "db"), Some((vec!["10.0.0.1:0".to_owned()], 0)));
        assert_eq!(answer(&arena, "x"), Some((vec!["10.0.0.3:0".to_owned()], 0)));
        Names::of(&session(vec![lookup("db", &["10.0.0.2"], "")])).publish(table);
        assert_eq!(answer(&arena, "db"), Some((vec!["10.0.0.2:0".to_owned()], 0)));
    }

    #[test]
    fn addresses_have_names() {
        let mut reverse = lookup("db1.example", &[], "");
        reverse.address = "10.0.0.1".to_owned();
        let arena = SharedArena::new(Mode::Replay, 1 << 20).unwrap();
        Names::of(&session(vec![reverse])).publish(arena.arena().replay_table().names());
        let mut bytes = [0; Address::MAX];
        let length = Address::V4([10, 0, 0, 1], 5432).encode(&mut bytes);
        let asked = Lookup::reverse(&bytes[..length], b"");
        let known = arena.arena().replay_table().names().get(&asked).unwrap();
        assert_eq!(known.lookup().unwrap().name, b"db1.example");
    }
}
