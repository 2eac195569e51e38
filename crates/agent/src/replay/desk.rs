//! Which session a call belongs to, and what it is answered with.
//!
//! Every replayed session has a [`Flight`]: the recorded calls that are left to be made, and what was decided for
//! those that were made. The [`Desk`] knows the flights by the address that their request came from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use koala_events::Address;
use koala_protocol::{ConnectionState, Protocol};
use koala_session::model::{Action, CallOutbound, Matched, Session};
use tokio::sync::oneshot;

use crate::follow::{Caller, Sink};
use crate::net;
use crate::replay::login::{self, Asks, Entry, Login, Who};
use crate::replay::past::Past;
use crate::replay::set_up;
use crate::replay::talks::{
    After, Answer, Asked, Book, FailedConnect, Matching, Talk, Talks, connect_failed, peer_of,
};
use crate::replay::told;

/// How many unmatched calls outside of sessions are kept for those who ask.
const UNMATCHED: usize = 100;

/// What was decided for a request.
#[derive(Debug)]
struct Made {
    connection: u64,
    request: Vec<u8>,
    matched: Matched,
}

#[derive(Debug)]
struct Course {
    book: Book,
    /// The calls of the sessions that overlapped with this one in the recording.
    group: Option<Book>,
    failed: Vec<FailedConnect>,
    made: Vec<Made>,
    greeted: HashMap<String, usize>,
    /// The logins of the recorded session that were not made yet, and those that were.
    logins: Vec<Arc<Login>>,
    logged_in: Vec<Arc<Login>>,
    deliver: Option<oneshot::Sender<Box<Session>>>,
}

impl Course {
    /// The recorded call of the session itself that a request is, else of the sessions that overlapped with it.
    fn find(&mut self, asked: &Asked<'_>, replayed: &str, matching: Matching) -> Answer {
        let own = self.book.find(asked, replayed);
        let Some(group) = &mut self.group else { return own };
        group.share_names(&mut self.book);
        // koala 1.x gives an answer again as it pleases.
        if own.talk.is_some() && (!own.reused || matching.strategy.is_of_koala1()) {
            return own;
        }
        let answer = group.find(asked, replayed);
        group.share_names(&mut self.book);
        if answer.talk.is_some() && !(answer.reused && own.reused) { answer } else { own }
    }
}

/// A session that is being replayed.
#[derive(Debug)]
pub struct Flight {
    /// The id of the recorded session.
    pub session_id: String,
    course: Mutex<Course>,
}

impl Flight {
    fn course(&self) -> MutexGuard<'_, Course> {
        lock(&self.course)
    }

    fn note(&self, caller: &Caller, request: &[u8], matched: Matched) {
        let made = Made { connection: caller.connection, request: request.to_vec(), matched };
        self.course().made.push(made);
    }

    /// How many calls were answered, and how many could not be.
    pub fn counts(&self) -> (usize, usize) {
        let course = self.course();
        let unmatched = course.made.iter().filter(|made| made.matched.mark <= 0.0).count();
        (course.made.len() - unmatched, unmatched)
    }
}

/// A call outside of all sessions that nothing recorded answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// Who was asked.
    pub peer: String,
    /// The head of the request, as text.
    pub request: String,
    /// Why it was not answered.
    pub reason: String,
}

#[derive(Debug)]
struct State {
    flights: HashMap<Address, Arc<Flight>>,
    boot: Book,
    greeted: HashMap<String, usize>,
    boot_calls: u64,
    unmatched: VecDeque<Unmatched>,
}

impl State {
    /// The session whose request came from `from`. A program that does not ask who its unix(7) client is leaves no
    /// address: then it is the only one that was asked so.
    fn flight(&self, from: &Address) -> Option<&Arc<Flight>> {
        if *from != Address::None {
            return self.flights.get(from);
        }
        let mut unix = self.flights.iter().filter(|(from, _)| matches!(from, Address::Unix(..)));
        unix.next().filter(|_| unix.next().is_none()).map(|(_, flight)| flight)
    }
}

/// All sessions that are being replayed, and what happens outside of them.
#[derive(Debug)]
pub struct Desk {
    past: Arc<Past>,
    matching: Matching,
    state: Mutex<State>,
}

/// Whether a call was taken for a recorded one that asks for the same in other words. What a program's threads do for
/// its sessions reaches koala as nobody's, and is compared with the recording nowhere else.
fn is_changed(matched: &Matched) -> bool {
    matched.mark < 1.0 && !matched.differences.is_empty()
}

/// Why, and what differs.
fn told(matched: &Matched) -> String {
    format!("{}: {}", matched.reason, matched.differences.join("; "))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// A desk for the replay of a recording.
    pub fn new(past: Arc<Past>, matching: Matching) -> Self {
        let boot = Book::new(matching.elsewhere(), past.boot.clone());
        let state = State {
            flights: HashMap::new(),
            boot,
            greeted: HashMap::new(),
            boot_calls: 0,
            unmatched: VecDeque::new(),
        };
        Self { past, matching, state: Mutex::new(state) }
    }

    /// The recording.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// Begins the replay of a session, whose request will come from `from`. The replayed session arrives at the
    /// receiver.
    pub fn admit(
        &self,
        from: Address,
        session: &Session,
        talks: Talks,
    ) -> (Arc<Flight>, oneshot::Receiver<Box<Session>>) {
        let (deliver, delivered) = oneshot::channel();
        let group = self.past.groups.get(&session.overlap_group).map(|talks| {
            let mut others: Vec<_> =
                talks.iter().filter(|talk| talk.session_id != session.session_id).cloned().collect();
            if let Some(answer) = &session.return_inbound {
                told::sort(&mut others, &answer.response);
            }
            Book::new(self.matching.elsewhere(), others).within(session)
        });
        let known = |mut talk: Talk| {
            talk.refer(&self.past.referred);
            Arc::new(talk)
        };
        let flight = Arc::new(Flight {
            session_id: session.session_id.clone(),
            course: Mutex::new(Course {
                book: Book::new(self.matching, talks.talks.into_iter().map(known).collect()).within(session),
                group,
                failed: talks.failed,
                made: Vec::new(),
                greeted: HashMap::new(),
                logins: talks.logins,
                logged_in: Vec::new(),
                deliver: Some(deliver),
            }),
        });
        lock(&self.state).flights.insert(net::canonical(from), flight.clone());
        (flight, delivered)
    }

    /// Ends the replay of the session whose request came from `from`.
    pub fn dismiss(&self, from: &Address) {
        lock(&self.state).flights.remove(&net::canonical(*from));
    }

    /// How many sessions are being replayed.
    pub fn flights(&self) -> usize {
        lock(&self.state).flights.len()
    }

    /// Calls outside of all sessions, and those of them that were not answered, the oldest first.
    pub fn boot(&self) -> (u64, Vec<Unmatched>) {
        let state = lock(&self.state);
        (state.boot_calls, state.unmatched.iter().cloned().collect())
    }

    fn flight(&self, caller: &Caller) -> Option<Arc<Flight>> {
        lock(&self.state).flight(&caller.session?).cloned()
    }

    /// What a request of `caller` is answered with.
    pub fn answer(&self, caller: &Caller, asked: &Asked<'_>) -> Answer {
        match self.flight(caller) {
            Some(flight) => {
                let answer = self.answer_in(&flight, asked);
                let matched = answer.matched.clone();
                flight.note(caller, asked.request, matched);
                answer
            }
            None => self.answer_outside(asked),
        }
    }

    /// Notes that the request of `caller` was not answered, without asking the matcher.
    pub fn refuse(&self, caller: &Caller, peer: &str, request: &[u8], reason: String) {
        let matched = Answer::none(reason.clone()).matched;
        match self.flight(caller) {
            Some(flight) => flight.note(caller, request, matched),
            None => self.note_unmatched(peer, request, reason),
        }
    }

    fn answer_in(&self, flight: &Flight, asked: &Asked<'_>) -> Answer {
        let own = flight.course().find(asked, &flight.session_id, self.matching);
        if own.talk.is_some() {
            return own;
        }
        if let Some(answer) = self.set_up(asked, &flight.session_id) {
            return answer;
        }
        let boot = lock(&self.state).boot.find(asked, &flight.session_id);
        if boot.talk.is_some() { boot } else { own }
    }

    fn answer_outside(&self, asked: &Asked<'_>) -> Answer {
        let (boot, only) = {
            let mut state = lock(&self.state);
            state.boot_calls += 1;
            let boot = state.boot.find(asked, "");
            if boot.talk.is_some() {
                let changed = !state.flights.is_empty() && is_changed(&boot.matched);
                drop(state);
                if changed {
                    self.note_unmatched(asked.peer, asked.request, told(&boot.matched));
                }
                return boot;
            }
            let mut flights = state.flights.values();
            let only = flights.next().filter(|_| state.flights.len() == 1).cloned();
            (boot, only)
        };
        if let Some(answer) = self.set_up(asked, "") {
            return answer;
        }
        // What a thread of the program does for a session may reach koala as nobody's.
        if let Some(flight) = only {
            let answer = flight.course().find(asked, "", self.matching);
            if answer.talk.is_some() {
                return answer;
            }
        }
        self.note_unmatched(asked.peer, asked.request, boot.matched.reason.clone());
        boot
    }

    fn note_unmatched(&self, peer: &str, request: &[u8], reason: String) {
        let mut state = lock(&self.state);
        if state.unmatched.len() >= UNMATCHED {
            state.unmatched.pop_front();
        }
        let head = request.get(..200).unwrap_or(request);
        let request = String::from_utf8_lossy(head).into_owned();
        state.unmatched.push_back(Unmatched { peer: peer.to_owned(), request, reason });
    }

    /// The answer to a request that sets a connection up, wherever it was recorded.
    fn set_up(&self, asked: &Asked<'_>, replayed: &str) -> Option<Answer> {
        let Asked { peer, request, .. } = *asked;
        let recorded = set_up::key(request).and_then(|key| self.past.set_up.get(&(peer.to_owned(), key)));
        if let Some(talk) = recorded.and_then(|talk| asked.fitted(talk).ok()) {
            let reason = format!("sets a connection up, as in session {}", talk.session_id);
            return Some(Answer::found(talk, replayed, reason));
        }
        let response = set_up::simulate(request)?;
        Some(Answer::simulated(Talk::simulated(request.to_vec(), response)))
    }

    /// What a request of a login is answered with; `None` where it is none.
    pub fn log_in(
        &self,
        caller: &Caller,
        peer: &str,
        protocol: Protocol,
        entry: &mut Entry,
        request: &[u8],
    ) -> Option<Answer> {
        let flight = self.flight(caller);
        let replayed = flight.as_ref().map_or("", |flight| flight.session_id.as_str());
        let answer = match entry.asks(protocol, request) {
            Asks::Nothing => return None,
            Asks::Proof => None,
            Asks::Change(who) => Some(match self.login(None, peer, &who) {
                Some(_) => change_of_user(flight.as_deref(), peer, &who, request),
                None => self.nobody(peer, &who, replayed),
            }),
            Asks::Who(who) => match self.login(flight.as_deref(), peer, &who) {
                Some(login) => {
                    entry.begin(login);
                    None
                }
                None => Some(self.nobody(peer, &who, replayed)),
            },
        };
        let answer = answer.or_else(|| {
            let talk = entry.answer(request)?;
            let reason =
                format!("a login, as in session {}; whatever the client's proof is", talk.session_id);
            Some(Answer::found(Arc::new(talk), replayed, reason))
        })?;
        match flight {
            Some(flight) => flight.note(caller, request, answer.matched.clone()),
            None => {
                lock(&self.state).boot_calls += 1;
                if answer.talk.is_none() {
                    self.note_unmatched(peer, request, answer.matched.reason.clone());
                }
            }
        }
        Some(answer)
    }

    /// The client of `caller` went away from the login that it was answered last, for this reason.
    pub fn left(&self, caller: &Caller, peer: &str, reason: &str) {
        let Some(flight) = self.flight(caller) else {
            return self.note_unmatched(peer, b"", reason.to_owned());
        };
        let mut course = flight.course();
        let login = course.made.iter_mut().rev().find(|made| made.connection == caller.connection);
        if let Some(Made { matched, .. }) = login {
            let nearest_action_index = matched.action_index;
            let session_id = std::mem::take(&mut matched.session_id);
            *matched =
                Matched { nearest_action_index, session_id, ..Answer::none(reason.to_owned()).matched };
        }
    }

    /// How somebody has logged in: in the replayed session, the next time; else wherever that was recorded.
    fn login(&self, flight: Option<&Flight>, peer: &str, who: &Who) -> Option<Arc<Login>> {
        let is_it =
            |login: &Arc<Login>| login.who == *who && login.named().is_some_and(|talk| talk.peer == peer);
        let own = flight.and_then(|flight| {
            let course = &mut *flight.course();
            match course.logins.iter().position(is_it) {
                Some(place) => {
                    let login = course.logins.remove(place);
                    course.logged_in.push(login.clone());
                    Some(login)
                }
                None => course.logged_in.iter().find(|login| is_it(login)).cloned(),
            }
        });
        own.or_else(|| self.past.peers.get(peer)?.logins.get(who).cloned())
    }

    /// The answer to a login of somebody who is not in the recording.
    fn nobody(&self, peer: &str, who: &Who, replayed: &str) -> Answer {
        let known = self.past.peers.get(peer).map(|facts| &facts.logins);
        let nearest = known.and_then(|known| {
            let same = |login: &&Arc<Login>| login.who.user == who.user;
            known.values().find(same).or_else(|| known.values().next())
        });
        let (reason, differences) = login::refusal(who, nearest.map(|login| &**login));
        let mut answer = Answer::none(reason);
        answer.matched.differences = differences;
        if let Some(talk) = nearest.and_then(|login| login.named()) {
            let near = Answer::found(talk.clone(), replayed, String::new()).matched;
            answer.matched.session_id = near.session_id;
            answer.matched.nearest_action_index = near.action_index;
        }
        answer
    }

    /// Whether the server of any peer speaks first.
    pub fn greets(&self) -> bool {
        self.past.peers.values().any(|facts| !facts.greetings.is_empty())
    }

    /// What the server of `peer` says first on a connection that `caller` has opened.
    pub fn greeting(&self, caller: &Caller, peer: &str) -> Option<Arc<Talk>> {
        if let Some(flight) = self.flight(caller) {
            let mut course = flight.course();
            let nth = course.greeted.entry(peer.to_owned()).or_default();
            let number = *nth;
            *nth += 1;
            let talk = match course.book.greeting(peer, number) {
                Some(talk) => talk.clone(),
                None => {
                    let known = self.past.peers.get(peer)?;
                    known.greetings.get(number).or_else(|| known.greetings.last())?.clone()
                }
            };
            let reason = "the server speaks first".to_owned();
            let matched = Answer::found(talk.clone(), &flight.session_id, reason).matched;
            course.made.push(Made { connection: caller.connection, request: Vec::new(), matched });
            return Some(talk);
        }
        let known = self.past.peers.get(peer)?;
        let mut state = lock(&self.state);
        let nth = state.greeted.entry(peer.to_owned()).or_default();
        let number = *nth;
        *nth += 1;
        drop(state);
        known.greetings.get(number).or_else(|| known.greetings.last()).cloned()
    }

    /// The recorded requests to `peer` that a request of `caller` may turn out to be.
    pub fn candidates(&self, caller: &Caller, peer: &str) -> Vec<Arc<Talk>> {
        let to_peer = |talks: &[Arc<Talk>]| -> Vec<Arc<Talk>> {
            talks.iter().filter(|talk| talk.peer == peer && !talk.request.is_empty()).cloned().collect()
        };
        let mut found = Vec::new();
        if let Some(flight) = self.flight(caller) {
            let course = flight.course();
            found.extend(to_peer(course.book.talks()));
            found.extend(course.group.as_ref().map(|group| to_peer(group.talks())).unwrap_or_default());
        }
        found.extend(to_peer(lock(&self.state).boot.talks()));
        found
    }

    /// Says of every call of a replayed session what it was answered with.
    pub fn account(&self, flight: &Flight, session: &mut Session) {
        let connections = std::mem::take(&mut session.connections);
        for action in &mut session.actions {
            let Action::CallOutbound(call) = action else { continue };
            let peer = peer_of(call, &connections);
            call.matched = Some(if connect_failed(call) {
                failed_connect(&mut flight.course().failed, &peer, call)
            } else {
                self.account_call(flight, &peer, call)
            });
        }
        session.connections = connections;
    }

    fn account_call(&self, flight: &Flight, peer: &str, call: &CallOutbound) -> Matched {
        let made = {
            let made = &mut flight.course().made;
            let same = |made: &Made| made.connection == call.connection_id;
            made.iter()
                .position(|made| same(made) && made.request == call.request)
                // Without a protocol, the two sides may have cut what was sent at different places.
                .or_else(|| {
                    made.iter()
                        .position(|made| same(made) && made.request.is_empty() == call.request.is_empty())
                })
                .map(|place| made.remove(place))
        };
        match made {
            Some(made) => made.matched,
            None if call.request.is_empty() => {
                Answer::none("the server said something unasked; nothing recorded says so".to_owned()).matched
            }
            // The program went on without an answer: there is none to speak of, but what it asked counts.
            None => {
                let asked = Asked {
                    connection: call.connection_id,
                    peer,
                    protocol: self.past.protocols.get(peer).copied().unwrap_or_default(),
                    request: &call.request,
                    state: &ConnectionState::default(),
                };
                self.answer_in(flight, &asked).matched
            }
        }
    }
}

fn failed_connect(failed: &mut Vec<FailedConnect>, peer: &str, call: &CallOutbound) -> Matched {
    let same_peer = failed.iter().position(|recorded| recorded.peer == peer && recorded.error == call.error);
    match same_peer.or_else(|| failed.iter().position(|recorded| recorded.peer == peer)) {
        Some(place) => {
            let recorded = failed.remove(place);
            let same = recorded.error == call.error;
            Matched {
                action_index: i64::from(recorded.action_index),
                mark: if same { 1.0 } else { 0.5 },
                reason: format!("the connect failed in the recording as well, with {}", recorded.error),
                nearest_action_index: -1,
                differences: if same {
                    Vec::new()
                } else {
                    vec![format!("error: {} became {}", recorded.error, call.error)]
                },
                ..Matched::default()
            }
        }
        None => Answer::none(format!("no connect to {peer} failed in the recording")).matched,
    }
}

/// The server takes the client for somebody else, as it did in the recorded session if it did.
fn change_of_user(flight: Option<&Flight>, peer: &str, who: &Who, request: &[u8]) -> Answer {
    let simulated = Talk::simulated(request.to_vec(), login::mysql_ok(1));
    let is_it = |talk: &&Arc<Talk>| {
        talk.peer == peer && login::changes_user(&talk.request).is_some_and(|known| known == *who)
    };
    let recorded = flight.and_then(|flight| flight.course().book.talks().iter().find(is_it).cloned());
    match recorded {
        Some(recorded) => {
            let Talk { request, response, .. } = simulated;
            let talk = Talk { request, response, after: After::Open, ..Talk::clone(&recorded) };
            let reason = "a change of user; whatever the client's proof is".to_owned();
            Answer::found(Arc::new(talk), &recorded.session_id, reason)
        }
        None => Answer::simulated(simulated),
    }
}

/// Delivers what the follower assembles to those who wait for it.
#[derive(Debug)]
pub struct Router(pub Arc<Desk>);

impl Sink for Router {
    fn session(&mut self, session: Box<Session>) -> Option<Box<Session>> {
        let Some(call) = &session.call_from_inbound else { return Some(session) };
        // What the program says unasked is no answer.
        if call.request.is_empty() {
            return Some(session);
        }
        let by_connection = session
            .connections
            .iter()
            .find(|connection| connection.connection_id == call.connection_id)
            .map(|connection| net::canonical(net::parse_address(&connection.peer)))
            .filter(|address| *address != Address::None);
        let from = by_connection.unwrap_or_else(|| net::address_of_peer(&call.peer, &call.unix_addr));
        let flight = lock(&self.0.state).flight(&from).cloned();
        let deliver = flight.and_then(|flight| flight.course().deliver.take());
        match deliver {
            // Who waited may have given up.
            Some(deliver) => deliver.send(session).err(),
            None => Some(session),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use koala_session::model::{CallFromInbound, Connection, Peer, ReturnInbound};

    const PEER: &str = "10.0.0.1:6379";
    const FROM: Address = Address::V4([127, 0, 0, 1], 4000);

    fn command(words: &[&str]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        bytes.into_bytes()
    }

    fn call(index: u32, words: &[&str], response: &str) -> Action {
        Action::from(CallOutbound {
            action_index: index,
            connection_id: 1,
            request: command(words),
            response: response.as_bytes().to_vec(),
            ..CallOutbound::default()
        })
    }

    fn failed(index: u32, error: &str) -> Action {
        Action::from(CallOutbound {
            action_index: index,
            connection_id: 1,
            error: error.to_owned(),
            ..CallOutbound::default()
        })
    }

    fn session(id: &str, actions: Vec<Action>) -> Session {
        Session {
            session_id: id.to_owned(),
            call_from_inbound: Some(CallFromInbound {
                peer: Peer { ip: "127.0.0.1".to_owned(), port: 4000, zone: String::new() },
                request: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                ..CallFromInbound::default()
            }),
            actions,
            connections: vec![Arc::new(Connection {
                connection_id: 1,
                peer: PEER.to_owned(),
                protocol: "redis".to_owned(),
                ..Connection::default()
            })],
            ..Session::default()
        }
    }

    fn desk(recorded: &[&Session]) -> Arc<Desk> {
        desk_by(koala_matcher::Strategy::Auto, recorded)
    }

    fn desk_by(strategy: koala_matcher::Strategy, recorded: &[&Session]) -> Arc<Desk> {
        let mut past = Past::default();
        for session in recorded {
            past.add(session);
        }
        let matching = Matching { strategy, threshold: koala_matcher::THRESHOLD };
        Arc::new(Desk::new(Arc::new(past), matching))
    }

    fn caller(session: Option<Address>) -> Caller {
        Caller { connection: 9, peer: net::parse_address(PEER), session }
    }

    fn ask_desk(desk: &Desk, caller: &Caller, words: &[&str]) -> Answer {
        let asked = Asked {
            connection: caller.connection,
            peer: PEER,
            protocol: Protocol::Redis,
            request: &command(words),
            state: &ConnectionState::default(),
        };
        desk.answer(caller, &asked)
    }

    fn answer(desk: &Desk, session: Option<Address>, words: &[&str]) -> (String, Matched) {
        let Answer { talk, matched, .. } = ask_desk(desk, &caller(session), words);
        let response = talk.map(|talk| String::from_utf8_lossy(&talk.response).into_owned());
        (response.unwrap_or_default(), matched)
    }

    #[test]
    fn a_session_has_its_own_answers_then_those_of_its_group_then_those_of_boot() {
        let mut first = session("first", vec![call(3, &["GET", "a"], "first")]);
        let mut second = session("second", vec![call(4, &["GET", "b"], "second")]);
        first.overlap_group = "group".to_owned();
        second.overlap_group = "group".to_owned();
        let stranger = session("stranger", vec![call(5, &["GET", "c"], "stranger")]);
        let mut boot = session("boot", vec![call(6, &["GET", "d"], "boot")]);
        boot.call_from_inbound = None;
        let desk = desk(&[&first, &second, &stranger, &boot]);
        let (_flight, _delivered) = desk.admit(FROM, &first, Talks::of(&first));
        let (response, matched) = answer(&desk, Some(FROM), &["GET", "a"]);
        assert_eq!((response.as_str(), matched.session_id.as_str(), matched.action_index), ("first", "", 3));
        let (response, matched) = answer(&desk, Some(FROM), &["GET", "b"]);
        assert_eq!(
            (response.as_str(), matched.session_id.as_str(), matched.action_index),
            ("second", "second", 4)
        );
        let (response, matched) = answer(&desk, Some(FROM), &["GET", "d"]);
        assert_eq!((response.as_str(), matched.session_id.as_str()), ("boot", "boot"));
        let (response, matched) = answer(&desk, Some(FROM), &["GET", "c"]);
        assert_eq!((response.as_str(), matched.action_index), ("", -1), "another session's is not its own");
    }

    #[test]
    fn a_name_that_is_made_up_is_followed_through_the_calls_of_a_group() {
        let called = |id: &str, answer: &str, actions: Vec<Action>| {
            let mut session = session(id, actions);
            session.overlap_group = "group".to_owned();
            session.return_inbound =
                Some(ReturnInbound { response: answer.as_bytes().to_vec(), ..ReturnInbound::default() });
            session
        };
        let at = |time: u64, action: Action| {
            let Action::CallOutbound(mut call) = action else { return action };
            call.occurred_at = time;
            Action::CallOutbound(call)
        };
        let key = "cart:9f1c04d2aa5e47b08d3c6b7e1f2a9c55";
        // The session that ended first has the second call, and the one that made both has none.
        let other = called("other", "", vec![at(2, call(1, &["EXPIRE", key, "60"], ":1\r\n"))]);
        let third = called("third", "", vec![at(1, call(1, &["HSET", key, "a", "1"], ":1\r\n"))]);
        let asking = called("asking", key, Vec::new());
        for recorded in [&asking, &other, &third] {
            let mut past = Past::default();
            for session in [&other, &third, &asking] {
                past.add(session);
            }
            past.complete();
            let matching =
                Matching { strategy: koala_matcher::Strategy::Auto, threshold: koala_matcher::THRESHOLD };
            let desk = Desk::new(Arc::new(past), matching);
            let (_flight, _delivered) = desk.admit(FROM, recorded, Talks::of(recorded));
            let live = "cart:0b77e1a94c5d4f6e8a92d3c4b5f60718";
            for words in [&["HSET", live, "a", "1"][..], &["EXPIRE", live, "60"]] {
                let (response, matched) = answer(&desk, Some(FROM), words);
                assert_eq!(response, ":1\r\n", "{} {words:?}: {matched:?}", recorded.session_id);
            }
        }
    }

    #[test]
    fn the_strategies_of_koala_1_go_on_connection_by_connection_and_answer_again() {
        let recorded = session(
            "recorded",
            vec![call(1, &["GET", "a"], "1"), call(2, &["GET", "b"], "2"), call(3, &["GET", "a"], "3")],
        );
        let mut boot = session("boot", vec![call(1, &["PING"], "+PONG\r\n")]);
        boot.call_from_inbound = None;
        let ask = |strategy, asked: &[(u64, &[&str])]| -> Vec<String> {
            let desk = desk_by(strategy, &[&recorded, &boot]);
            let (_flight, _delivered) = desk.admit(FROM, &recorded, Talks::of(&recorded));
            let answers = asked.iter().map(|(connection, words)| {
                let caller = Caller { connection: *connection, ..caller(Some(FROM)) };
                let answer = ask_desk(&desk, &caller, words);
                answer
                    .talk
                    .map(|talk| String::from_utf8_lossy(&talk.response).into_owned())
                    .unwrap_or_default()
            });
            answers.collect()
        };
        let (a, z): (&[&str], &[&str]) = (&["GET", "a"], &["GET", "z"]);
        // On connection 1 behind what was matched; then nothing is left there, and the connection begins anew.
        assert_eq!(
            ask(koala_matcher::Strategy::Chunk, &[(1, a), (1, a), (1, a), (1, a)]),
            ["1", "3", "", "1"]
        );
        assert_eq!(ask(koala_matcher::Strategy::Chunk, &[(1, a), (2, a), (3, a)]), ["1", "3", "1"]);
        assert_eq!(ask(koala_matcher::Strategy::Sim, &[(1, a), (1, a), (1, a)]), ["1", "3", "1"]);
        // What is recorded nowhere in the session is merely similar; from outside of it, nothing similar is taken.
        assert_eq!(ask(koala_matcher::Strategy::Chunk, &[(1, z)]), ["1"]);
        assert_eq!(ask(koala_matcher::Strategy::Chunk, &[(1, &["PING"]), (1, &["PUNG"])]), ["+PONG\r\n", ""]);
    }

    #[test]
    fn what_sets_a_connection_up_is_answered_from_anywhere_or_simulated() {
        let first = session("first", vec![call(1, &["HELLO", "3"], "%0\r\n")]);
        let second = session("second", vec![call(1, &["GET", "a"], "+a\r\n")]);
        let desk = desk(&[&first, &second]);
        let (_flight, _delivered) = desk.admit(FROM, &second, Talks::of(&second));
        let (response, matched) = answer(&desk, Some(FROM), &["HELLO", "3"]);
        assert_eq!((response.as_str(), matched.session_id.as_str()), ("%0\r\n", "first"));
        let (response, matched) = answer(&desk, None, &["SELECT", "2"]);
        assert_eq!((response.as_str(), matched.mark), ("+OK\r\n", 1.0));
        assert!(matched.reason.starts_with("simulated"));
    }

    #[test]
    fn what_nobody_asked_for_is_told_to_those_who_ask() {
        let only = session("only", vec![call(1, &["GET", "a"], "+a\r\n")]);
        let desk = desk(&[&only]);
        assert_eq!(answer(&desk, None, &["GET", "x"]).0, "");
        let (calls, unmatched) = desk.boot();
        assert_eq!((calls, unmatched.len()), (1, 1));
        assert_eq!(unmatched[0].peer, PEER);
        assert!(unmatched[0].request.contains("GET"));
    }

    #[test]
    fn a_thread_of_nobody_does_not_change_a_call_in_silence() {
        let query = |order: &str| {
            let sql = format!(
                "SELECT item.id, item.name, item.price FROM item WHERE item.price >= 30 ORDER BY {order}"
            );
            let length = u32::try_from(sql.len() + 1).unwrap().to_le_bytes();
            [&length[..3], &[0, 3], sql.as_bytes()].concat()
        };
        let only = session("only", vec![call(1, &["GET", "a"], "+a\r\n")]);
        let mut boot = session("boot", Vec::new());
        boot.call_from_inbound = None;
        for action_index in [1, 2] {
            boot.actions.push(Action::from(CallOutbound {
                action_index,
                connection_id: 1,
                request: query("item.price"),
                response: b"\x01\0\0\x01\0".to_vec(),
                ..CallOutbound::default()
            }));
        }
        let desk = desk(&[&only, &boot]);
        let (_flight, _delivered) = desk.admit(FROM, &only, Talks::of(&only));
        let ask = |request: &[u8]| {
            let asked = Asked {
                connection: 9,
                peer: PEER,
                protocol: Protocol::MySql,
                request,
                state: &ConnectionState::default(),
            };
            desk.answer(&caller(None), &asked).talk.is_some()
        };
        assert!(ask(&query("item.price")));
        assert_eq!(desk.boot(), (1, Vec::new()));
        assert!(ask(&query("item.price DESC")), "it asks for the same");
        let (calls, told) = desk.boot();
        assert_eq!((calls, told.len()), (2, 1));
        assert!(told[0].reason.to_ascii_lowercase().contains("desc"), "{told:?}");
    }

    #[test]
    fn a_replayed_session_accounts_for_each_of_its_calls() {
        let recorded = session(
            "recorded",
            vec![
                failed(1, "ECONNREFUSED"),
                call(2, &["GET", "a"], "+1\r\n"),
                call(3, &["GET", "b"], "+2\r\n"),
            ],
        );
        let desk = desk(&[&recorded]);
        let (flight, mut delivered) = desk.admit(FROM, &recorded, Talks::of(&recorded));
        answer(&desk, Some(FROM), &["GET", "b"]);
        let mut replayed = session(
            "replayed",
            vec![
                failed(1, "ECONNREFUSED"),
                failed(2, "ECONNREFUSED"),
                call(3, &["GET", "b"], "+2\r\n"),
                // Sent and not waited for: the server never saw to it.
                call(4, &["GET", "a"], ""),
                call(5, &["GET", "z"], ""),
            ],
        );
        for action in &mut replayed.actions {
            let Action::CallOutbound(call) = action else { continue };
            call.connection_id = 9;
        }
        Arc::make_mut(&mut replayed.connections[0]).connection_id = 9;
        Router(desk.clone()).session(Box::new(replayed));
        let mut replayed = delivered.try_recv().unwrap();
        desk.account(&flight, &mut replayed);
        let indexes: Vec<i64> = replayed
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::CallOutbound(call) => call.matched.as_ref().map(|matched| matched.action_index),
                _ => None,
            })
            .collect();
        assert_eq!(indexes, [1, -1, 3, 2, -1]);
        desk.dismiss(&FROM);
        assert_eq!(desk.flights(), 0);
    }
}
