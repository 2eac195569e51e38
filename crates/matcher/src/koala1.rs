//! The strategies of koala 1.x, `chunk` and `sim`: what they remember, and what they say of a decision.
//!
//! They weigh all calls of the session, whomever they were sent to and whether or not they were answered before.
//! What they remember decides between equals: the last call that was matched on the connection, the furthest one
//! that was in the session, and (for `sim`) the recorded connections that this one was answered from. koala 1.x
//! took the first of these along when a connection went on to another session, where it is a place in another list;
//! here it is forgotten with the session, as it is where a program opens its connections anew.

use crate::chunk::{self, Chunk};
use crate::explain::Changes;
use crate::fields::{Request, Scratch};
use crate::hash::{hash, mix};
use crate::sim::Sim;
use crate::{Decision, FieldScore, RecordedCall, Strategy};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The recorded calls of a session, and what was matched.
#[derive(Debug)]
pub(crate) struct Koala1 {
    requests: Vec<Box<[u8]>>,
    /// The recorded connection of every call, where it is known.
    origins: Vec<Option<u64>>,
    method: Method,
    /// The first call behind all that were matched.
    reached: usize,
    connections: Vec<Connection>,
    scratch: Scratch,
}

#[derive(Debug)]
enum Method {
    Chunk(Chunk),
    Sim(Box<Sim>),
}

/// What is remembered of a connection of the program under test.
#[derive(Debug)]
struct Connection {
    number: u64,
    /// The first call behind the one that was matched last; 0 where none was, or the last request was unmatched.
    from: usize,
    /// The recorded connections that it was answered from, and how often.
    origins: Vec<(u64, usize)>,
}

/// What a method found.
struct Found {
    /// The call that agrees most.
    best: Option<usize>,
    mark: f64,
    /// The mark is enough.
    enough: bool,
    runner_up: Option<(usize, f64)>,
    field: FieldScore,
    reason: String,
}

impl Koala1 {
    /// Of the calls, if the strategy is one of koala 1.x.
    pub(crate) fn new(strategy: Strategy, calls: &[RecordedCall<'_>]) -> Option<Self> {
        let mut requests: Vec<Box<[u8]>> = Vec::new();
        let mut origins = Vec::new();
        for call in calls {
            requests.push(call.request.into());
            let peer = hash(call.peer.as_bytes());
            origins.push((!call.peer.is_empty()).then(|| mix(peer, call.connection)));
        }
        let method = match strategy {
            Strategy::Chunk => Method::Chunk(Chunk::new(&requests)),
            Strategy::Sim => Method::Sim(Box::new(Sim::new(&requests))),
            Strategy::Auto | Strategy::Exact => return None,
        };
        Some(Self {
            requests,
            origins,
            method,
            reached: 0,
            connections: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// Decides which call a request on a connection is. `used` says of every call whether it was an answer before.
    pub(crate) fn find(&mut self, number: u64, request: &[u8], threshold: f64, used: &[bool]) -> Decision {
        let known = self.connections.iter().position(|connection| connection.number == number);
        let mut connection = match known {
            Some(place) => self.connections.swap_remove(place),
            None => Connection { number, from: 0, origins: Vec::new() },
        };
        let found = match &mut self.method {
            Method::Chunk(chunk) => by_chunk(chunk, &self.requests, request, connection.from, self.reached),
            Method::Sim(sim) => {
                by_sim(sim.similarities(request), &self.origins, &connection, self.reached, threshold)
            }
        };
        let index = found.best.filter(|_| found.enough);
        connection.from = index.map_or(0, |call| call + 1);
        self.reached = self.reached.max(connection.from);
        if let Some(origin) = index.and_then(|call| *self.origins.get(call)?) {
            match connection.origins.iter_mut().find(|(known, _)| *known == origin) {
                Some((_, times)) => *times += 1,
                None => connection.origins.push((origin, 1)),
            }
        }
        self.connections.push(connection);
        let reused = index.and_then(|call| used.get(call)).copied().unwrap_or(false);
        let differences = match found.best.and_then(|call| self.requests.get(call)) {
            Some(recorded) if **recorded != *request => {
                let (recorded, request) = (Request::alone(recorded), Request::alone(request));
                Changes::between(recorded, request, &mut self.scratch).describe(index.is_some())
            }
            _ => Vec::new(),
        };
        Decision {
            index,
            mark: if index.is_some() { found.mark } else { 0.0 },
            reason: if reused { format!("{}; given before", found.reason) } else { found.reason },
            nearest: if index.is_none() { found.best } else { None },
            runner_up: if index.is_some() {
                found.runner_up
            } else {
                found.best.map(|call| (call, found.mark))
            },
            fields: [found.field].into(),
            differences,
            reused,
        }
    }
}

fn by_chunk(chunk: &mut Chunk, requests: &[Box<[u8]>], request: &[u8], from: usize, reached: usize) -> Found {
    let best = chunk.best(requests, request, from, reached);
    let count = chunk.chunks();
    let share = |found: usize| if count == 0 { 0.0 } else { found as f64 / count as f64 };
    let field = |found: usize| FieldScore {
        name: Cow::Borrowed("chunks"),
        weight: count as f64,
        score: share(found),
    };
    let Some(chunk::Best { call, score, mark, least, runner_up }) = best else {
        let behind = match from.checked_sub(1) {
            Some(last) => format!(" behind {last}, the last one matched on this connection"),
            None => String::new(),
        };
        let reason = format!("no recorded call{behind} has any of its {count} chunks");
        return Found { best: None, mark: 0.0, enough: false, runner_up: None, field: field(0), reason };
    };
    let enough = mark >= least;
    let reason = if enough {
        format!("the recorded call has {} of its {count} chunks", score.found)
    } else {
        format!("the nearest call has {} of its {count} chunks: too few", score.found)
    };
    Found { best: Some(call), mark, enough, runner_up, field: field(score.found), reason }
}

fn by_sim(
    similarities: &[f64],
    origins: &[Option<u64>],
    connection: &Connection,
    reached: usize,
    threshold: f64,
) -> Found {
    let most = similarities.iter().copied().fold(0.0, f64::max);
    let equals: Vec<usize> =
        similarities.iter().enumerate().filter(|(_, mark)| **mark == most).map(|(call, _)| call).collect();
    let best = match equals.as_slice() {
        // Alike in nothing.
        [_] if most == 0.0 => None,
        [] => None,
        [only] => Some(*only),
        [first, ..] => Some(of_equals(&equals, origins, connection, reached).unwrap_or(*first)),
    };
    let others = similarities.iter().copied().enumerate().filter(|(call, _)| Some(*call) != best);
    // The first of the most similar ones.
    let runner_up = others.reduce(|most, other| if other.1 > most.1 { other } else { most });
    let enough = best.is_some() && most >= threshold;
    let reason = match (enough, equals.len()) {
        _ if best.is_none() || most == 0.0 => "no recorded call has any of its terms".to_string(),
        (true, 1) => "the most similar recorded call by its terms".to_string(),
        (true, count) => format!("by its terms, one of the {count} most similar recorded calls"),
        (false, _) => "the nearest call is not similar enough".to_string(),
    };
    Found {
        best: best.filter(|_| most > 0.0 || enough),
        mark: most,
        enough,
        runner_up: runner_up.filter(|(_, mark)| *mark > 0.0),
        field: FieldScore { name: Cow::Borrowed("terms"), weight: 1.0, score: most },
        reason,
    }
}

/// Of equally similar calls: the one of the recorded connection that this one was answered from most often; of
/// several, the first one behind the call that was matched last, on the connection or else in the session.
fn of_equals(
    equals: &[usize],
    origins: &[Option<u64>],
    connection: &Connection,
    reached: usize,
) -> Option<usize> {
    let times = |call: usize| {
        let origin = origins.get(call).copied().flatten();
        let known = connection.origins.iter().find(|(known, _)| Some(*known) == origin);
        known.map_or(0, |(_, times)| *times)
    };
    let most = equals.iter().map(|call| times(*call)).max().unwrap_or(0);
    let familiar: Vec<usize> = match most {
        0 => Vec::new(),
        _ => equals.iter().copied().filter(|call| times(*call) == most).collect(),
    };
    if let [only] = familiar.as_slice() {
        return Some(*only);
    }
    let start = if connection.from > 0 { connection.from } else { reached };
    familiar.iter().chain(equals).copied().find(|call| *call >= start)
}
