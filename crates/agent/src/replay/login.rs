//! Logins of MySQL and PostgreSQL, which can't be answered by their bytes.
//!
//! The client proves that it knows a password with a number that one side has just made up, and in SCRAM (RFC 5802)
//! the server has to prove the same. A pool connects when it likes besides. So a login is answered as one that was
//! recorded with the same peer for the same user and database, whatever the client's proof is. One as another user or
//! for another database asks for something else, and is not answered.
//!
//! - MySQL: the recorded greeting and, step by step, what the server said then, so that the client goes on in the way
//!   of its authentication plugin.
//! - PostgreSQL: `AuthenticationOk` at once, as of a server that trusts the client, with the parameters that the
//!   server told. Clients take that unless they insist on a way of authentication (`require_auth` of libpq) or on
//!   channel binding.

use std::sync::Arc;

use koala_protocol::Protocol;
use koala_protocol::decode::{Decoded, decode};

use crate::replay::talks::{After, Talk};

/// Who logs in, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    /// The user's name.
    pub user: String,
    /// The database; empty where none is named.
    pub database: String,
}

impl Who {
    /// Who logs in by this request, if it is one that says so.
    pub fn of(request: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match decode(request) {
            Decoded::MySqlLogin(login) => {
                Some(Self { user: text(login.user), database: text(login.database) })
            }
            Decoded::PostgresStartUp(start_up) => {
                let named = |wanted: &[u8]| start_up.parameters().find(|(name, _)| *name == wanted);
                let (_, user) = named(b"user")?;
                // The database has the name of the user where it has none.
                let (_, database) = named(b"database").unwrap_or((b"", user));
                Some(Self { user: text(user), database: text(database) })
            }
            _ => None,
        }
    }

    /// What differs from another, a line each.
    fn differences(&self, recorded: &Self) -> Vec<String> {
        let line = |name: &str, recorded: &str, now: &str| format!("{name}: {recorded} -> {now}");
        let fields = [("user", &recorded.user, &self.user), ("database", &recorded.database, &self.database)];
        fields
            .into_iter()
            .filter(|(_, recorded, now)| recorded != now)
            .map(|(name, recorded, now)| line(name, recorded, now))
            .collect()
    }
}

/// A login as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who logged in.
    pub who: Who,
    protocol: Protocol,
    /// What was said up to its end, the greeting of MySQL first.
    talks: Vec<Arc<Talk>>,
    /// The one of them in which the client said who it is.
    named: usize,
}

impl Login {
    /// The login that the talks of one connection begin with, if they do.
    pub fn begins<'a>(talks: impl Iterator<Item = &'a Talk>) -> Option<Self> {
        let mut talks = talks.peekable();
        let mut said = Vec::new();
        let first = *talks.peek()?;
        let protocol = if is_greeting(first) { Protocol::MySql } else { Protocol::Postgres };
        if protocol == Protocol::MySql {
            said.push(Arc::new(talks.next()?.clone()));
        }
        let mut who = None;
        for talk in talks {
            match (&who, Who::of(&talk.request)) {
                (None, Some(found)) => who = Some((found, said.len())),
                // A question for encryption.
                (None, None) if protocol == Protocol::Postgres && is_start_up(&talk.request) => continue,
                (None, None) => return None,
                (Some(_), _) if is_proof(protocol, &talk.request) => {}
                (Some(_), _) => break,
            }
            said.push(Arc::new(talk.clone()));
        }
        let (who, named) = who?;
        Some(Self { who, protocol, talks: said, named })
    }

    /// The talk in which the client said who it is.
    pub fn named(&self) -> Option<&Arc<Talk>> {
        self.talks.get(self.named)
    }

    /// Whether the server took the client in.
    pub fn succeeded(&self) -> bool {
        let Some(last) = self.talks.last() else { return false };
        match self.protocol {
            Protocol::MySql => packets(&last.response).any(|payload| payload.first() == Some(&0)),
            _ => messages(&last.response).any(|(kind, _)| kind == b'Z'),
        }
    }

    /// What answers the client's packet number `step` of the login, which begins with 0 where it says who it is.
    fn response(&self, step: usize, request: &[u8]) -> Option<Vec<u8>> {
        if self.protocol == Protocol::MySql {
            let sequence = request.get(3)?.wrapping_add(1);
            return Some(match self.talks.get(self.named + step) {
                Some(talk) => numbered(&talk.response, sequence),
                None => mysql_ok(sequence),
            });
        }
        let last = self.talks.last()?;
        let mut response = Vec::new();
        for (kind, message) in messages(&last.response) {
            // The last word of SASL is for those who have begun it.
            if kind != b'R' || message.get(5..9) == Some(&[0; 4]) {
                response.extend_from_slice(message);
            }
        }
        Some(response)
    }

    fn after(&self) -> After {
        self.talks.last().map_or(After::Close, |talk| if self.succeeded() { After::Open } else { talk.after })
    }
}

/// How far the login on a connection is that the program has opened.
#[derive(Debug, Default)]
pub struct Entry {
    login: Option<Arc<Login>>,
    step: usize,
    /// It has asked for something: what comes is no login any more.
    over: bool,
}

/// What a request is to a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: it asks for something.
    Nothing,
    /// The client says who it is.
    Who(Who),
    /// It goes on with the login that it has begun.
    Proof,
}

impl Entry {
    /// What a request on the connection is to its login.
    pub fn asks(&mut self, protocol: Protocol, request: &[u8]) -> Asks {
        let login = matches!(protocol, Protocol::MySql | Protocol::Postgres) && !self.over;
        if !login {
            return Asks::Nothing;
        }
        if self.login.is_some() && is_proof(protocol, request) {
            return Asks::Proof;
        }
        match Who::of(request) {
            // A change of user is a command.
            Some(who) if protocol == Protocol::Postgres || is_proof(protocol, request) => Asks::Who(who),
            _ => {
                self.over = !is_start_up(request);
                Asks::Nothing
            }
        }
    }

    /// The client is taken for who logged in so.
    pub fn begin(&mut self, login: Arc<Login>) {
        self.login = Some(login);
        self.step = 0;
    }

    /// The answer to the next packet of the login, and to which recorded one it belongs.
    pub fn answer(&mut self, request: &[u8]) -> Option<Talk> {
        let login = self.login.as_ref()?;
        let response = login.response(self.step, request)?;
        let recorded = login.talks.get(login.named + self.step).or(login.named())?;
        self.step += 1;
        Some(Talk { request: request.to_vec(), response, after: login.after(), ..Talk::clone(recorded) })
    }
}

/// Why nobody is taken in, and what differs from a login that was recorded.
pub fn refusal(who: &Who, nearest: Option<&Login>) -> (String, Vec<String>) {
    let Who { user, database } = who;
    let place = if database.is_empty() { String::new() } else { format!(" to the database {database}") };
    let reason = format!("no login of {user}{place} was recorded with this peer");
    (reason, nearest.map(|login| who.differences(&login.who)).unwrap_or_default())
}

/// An `OK` of MySQL's with nothing to tell but that it is not in a transaction (`SERVER_STATUS_AUTOCOMMIT`).
pub fn mysql_ok(sequence: u8) -> Vec<u8> {
    vec![7, 0, 0, sequence, 0, 0, 0, 2, 0, 0, 0]
}

/// MySQL's greeting: protocol 10, then the version in digits.
fn is_greeting(talk: &Talk) -> bool {
    talk.request.is_empty() && matches!(talk.response[..], [_, _, 0, 0, 10, b'0'..=b'9', ..])
}

/// A packet that comes before all messages of PostgreSQL.
fn is_start_up(request: &[u8]) -> bool {
    matches!(decode(request), Decoded::PostgresStartUp(_))
}

/// Whether a request is a client's packet of a login; of PostgreSQL, other than its first.
fn is_proof(protocol: Protocol, request: &[u8]) -> bool {
    match protocol {
        // Commands begin with packet 0; the greeting was that of a login.
        Protocol::MySql => request.get(3).is_some_and(|sequence| *sequence != 0),
        _ => request.first() == Some(&b'p'),
    }
}

/// The packets of MySQL with other numbers, beginning with this one.
fn numbered(response: &[u8], mut sequence: u8) -> Vec<u8> {
    let mut response = response.to_vec();
    let mut at = 0;
    while let Some([low, middle, high, number, ..]) = response.get_mut(at..) {
        *number = sequence;
        sequence = sequence.wrapping_add(1);
        at += 4 + u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
    }
    response
}

/// The payloads of MySQL's packets.
fn packets(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [low, middle, high, _, rest @ ..] = bytes else { return None };
        let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        let (payload, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some(payload)
    })
}

/// The messages of a PostgreSQL server: their types, and all of their bytes.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, a, b, c, d, ..] = *bytes else { return None };
        let length = (u32::from_be_bytes([a, b, c, d]) as usize).checked_add(1)?;
        let (message, rest) = bytes.split_at_checked(length.max(5))?;
        bytes = rest;
        Some((kind, message))
    })
}
