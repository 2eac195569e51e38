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
//!   channel binding: they go away without another word, and the report says why.

use std::sync::Arc;

use koala_protocol::Protocol;
use koala_protocol::decode::{Decoded, decode, mysql};

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
        let protocol = match is_greeting(first) {
            true => Protocol::MySql,
            false if is_start_up(&first.request) => Protocol::Postgres,
            false => return None,
        };
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
    /// The client says on a connection that it uses who it is from now on.
    Change(Who),
}

impl Entry {
    /// What a request on the connection is to its login.
    pub fn asks(&mut self, protocol: Protocol, request: &[u8]) -> Asks {
        if let Some(who) = changes_user(request).filter(|_| protocol == Protocol::MySql) {
            self.over = true;
            return Asks::Change(who);
        }
        if self.over || !matches!(protocol, Protocol::MySql | Protocol::Postgres) {
            return Asks::Nothing;
        }
        if self.login.is_some() && is_proof(protocol, request) {
            return Asks::Proof;
        }
        match Who::of(request) {
            Some(who) => Asks::Who(who),
            None => {
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

    /// Why the client can be thought to have gone away, if it has now: it was let in, and did not say a word after that.
    pub fn left(&self) -> Option<&'static str> {
        let login = self.login.as_ref().filter(|login| login.succeeded() && !self.over)?;
        let reason = match login.protocol {
            Protocol::Postgres => {
                "the client went away as soon as it was let in: it may insist on channel binding, or on another way of \
                 authentication (channel_binding, require_auth), which can't be replayed, as the server would have to \
                 prove that it knows the password"
            }
            _ => "the client went away as soon as it was let in",
        };
        // PostgreSQL lets it in at once.
        let steps = if login.protocol == Protocol::Postgres { 1 } else { login.talks.len() - login.named };
        (self.step >= steps).then_some(reason)
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

/// Who the client is from now on, as `COM_CHANGE_USER` says: a connection that outlives a request of PHP is reused so.
pub fn changes_user(request: &[u8]) -> Option<Who> {
    let is_command = request.get(3..5) == Some(&[0, mysql::CHANGE_USER]);
    Who::of(request).filter(|_| is_command)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::postgres_message as message;
    use proptest::prelude::*;

    const GREETING: &[u8] = b"\x05\0\0\0\x0a5.7\0";
    const SWITCH: &[u8] = b"\x02\0\0\x02\xfex";
    const OK: &[u8] = b"\x07\0\0\x04\0\0\0\x02\0\0\0";

    fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    }

    fn mysql_login(user: &str, proof: &[u8], database: &str) -> Vec<u8> {
        let mut payload = [0x0000_a28d_u32.to_le_bytes(), 0x0100_0000_u32.to_le_bytes()].concat();
        payload.extend_from_slice(&[45; 1]);
        payload.extend_from_slice(&[0; 23]);
        payload.extend_from_slice(user.as_bytes());
        payload.push(0);
        payload.push(u8::try_from(proof.len()).unwrap());
        payload.extend_from_slice(proof);
        payload.extend_from_slice(database.as_bytes());
        payload.push(0);
        packet(1, &payload)
    }

    fn start_up(user: &str, database: &str) -> Vec<u8> {
        let body = format!("user\0{user}\0database\0{database}\0\0");
        let length = u32::try_from(8 + body.len()).unwrap();
        [&length.to_be_bytes()[..], &[0, 3, 0, 0], body.as_bytes()].concat()
    }

    fn talks(said: &[(&[u8], &[u8])]) -> Vec<Talk> {
        said.iter().map(|(request, response)| Talk::simulated(request.to_vec(), response.to_vec())).collect()
    }

    fn who(user: &str, database: &str) -> Who {
        Who { user: user.to_owned(), database: database.to_owned() }
    }

    #[test]
    fn a_mysql_login_goes_on_as_it_was_recorded_whatever_the_proof() {
        let login = mysql_login("app", b"proof", "shop");
        let recorded = talks(&[
            (b"", GREETING),
            (&login, SWITCH),
            (&packet(3, b"other proof"), OK),
            (b"\x05\0\0\0\x03PING", b"\x01\0\0\x01\0"),
        ]);
        let recorded = Arc::new(Login::begins(recorded.iter()).unwrap());
        assert_eq!((&recorded.who, recorded.succeeded()), (&who("app", "shop"), true));
        let mut entry = Entry::default();
        let now = mysql_login("app", b"fresh", "shop");
        assert_eq!(entry.asks(Protocol::MySql, &now), Asks::Who(who("app", "shop")));
        entry.begin(recorded);
        assert_eq!(entry.left(), None, "it was told nothing yet");
        assert_eq!(entry.answer(&now).unwrap().response, SWITCH);
        assert_eq!(entry.left(), None, "it was not let in yet");
        let proof = packet(3, b"and another");
        assert_eq!(entry.asks(Protocol::MySql, &proof), Asks::Proof);
        assert_eq!(entry.answer(&proof).unwrap().response, OK);
        assert!(entry.left().is_some());
        assert_eq!(entry.asks(Protocol::MySql, b"\x05\0\0\0\x03PING"), Asks::Nothing);
        assert_eq!(entry.left(), None, "it has asked for something");
        // Once it asks, what has another number is data of a command.
        assert_eq!(entry.asks(Protocol::MySql, &proof), Asks::Nothing);
        let change = packet(0, b"\x11app\0\x01pshop\0");
        assert_eq!(entry.asks(Protocol::MySql, &change), Asks::Change(who("app", "shop")));
        let recorded = talks(&[(&change, SWITCH), (&packet(2, b"proof"), OK)]);
        assert_eq!(Login::begins(recorded.iter()), None, "it is no login");
    }

    #[test]
    fn postgres_trusts_who_has_logged_in_before() {
        let asks = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        let ready =
            [message(b'R', &[0, 0, 0, 0]), message(b'S', b"server_version\x0015\0"), message(b'Z', b"I")]
                .concat();
        let last = [message(b'R', b"\0\0\0\x0cv=abc"), ready.clone()].concat();
        let begin = start_up("app", "shop");
        let ssl = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
        let recorded = talks(&[
            (&ssl, b"N"),
            (&begin, &asks),
            (&message(b'p', b"SCRAM-SHA-256\0n,,n=,r=x"), &message(b'R', b"\0\0\0\x0br=xy")),
            (&message(b'p', b"c=biws,r=xy,p=z"), &last),
            (&message(b'Q', b"SELECT 1\0"), b""),
        ]);
        let login = Arc::new(Login::begins(recorded.iter()).unwrap());
        assert!(login.succeeded());
        let mut entry = Entry::default();
        assert_eq!(entry.asks(Protocol::Postgres, &ssl), Asks::Nothing);
        assert_eq!(entry.asks(Protocol::Postgres, &begin), Asks::Who(who("app", "shop")));
        entry.begin(login.clone());
        assert_eq!(entry.answer(&begin).unwrap().response, ready);
        assert!(entry.left().is_some_and(|reason| reason.contains("channel binding")));
        let (reason, differences) = refusal(&who("app", "other"), Some(&login));
        assert_eq!(reason, "no login of app to the database other was recorded with this peer");
        assert_eq!(differences, ["database: shop -> other"]);
    }

    #[test]
    fn a_login_that_was_refused_is_refused_again() {
        let error = message(b'E', b"SFATAL\0\0");
        let mut recorded = talks(&[(&start_up("app", "shop"), &error)]);
        recorded[0].after = After::Close;
        let login = Arc::new(Login::begins(recorded.iter()).unwrap());
        assert!(!login.succeeded());
        let mut entry = Entry::default();
        entry.begin(login);
        let answer = entry.answer(&start_up("app", "shop")).unwrap();
        assert_eq!((answer.response, answer.after), (error, After::Close));
        assert_eq!(entry.left(), None, "it was told to go");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(said in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..40)),
            0..4,
        )) {
            let recorded: Vec<Talk> =
                said.iter().map(|(request, response)| Talk::simulated(request.clone(), response.clone())).collect();
            let greeted: Vec<Talk> =
                talks(&[(b"", GREETING), (&mysql_login("a", b"", "b"), OK)]).into_iter().chain(recorded.clone()).collect();
            let _ = Login::begins(recorded.iter());
            let login = Login::begins(greeted.iter()).map(Arc::new);
            for (request, response) in &said {
                let _ = numbered(response, 1);
                let mut entry = Entry::default();
                for protocol in [Protocol::MySql, Protocol::Postgres] {
                    let _ = entry.asks(protocol, request);
                }
                if let Some(login) = &login {
                    let _ = login.succeeded();
                    entry.begin(login.clone());
                    let _ = entry.answer(request);
                }
            }
        }
    }
}
