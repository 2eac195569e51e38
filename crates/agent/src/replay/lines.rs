//! Requests that only mean something on the connection of the one before.
//!
//! An HTTP request stands for itself, and a FastCGI one does. What is said after an upgrade (a web socket), or in a
//! protocol that knows its client (a login, a chosen database), is said to the one connection.

use std::collections::{HashMap, HashSet};

use koala_protocol::{Detection, Protocol};
use koala_session::model::Session;

/// The session before another one on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its id.
    pub session_id: String,
    /// The connection began with a request that stands for itself, and was upgraded since.
    pub upgraded: bool,
}

/// The last request of a connection.
#[derive(Clone, Debug)]
struct Last {
    session_id: String,
    upgraded: bool,
}

/// Which sessions of a recording go on on the connection of another one.
#[derive(Debug, Default)]
pub struct Lines {
    before: HashMap<String, Before>,
    goes_on: HashSet<String>,
    /// By the agent that recorded and its number for the connection.
    last: HashMap<(String, u64), Last>,
}

impl Lines {
    /// Adds a session; those of one connection in their order.
    pub fn add(&mut self, session: &Session) {
        let Some(call) = &session.call_from_inbound else { return };
        // Without a request it is not replayed, nor cut short.
        if call.request.is_empty() || call.connection_id == 0 || session.incomplete {
            return;
        }
        let agent = session.session_id.split('-').nth(1).unwrap_or_default();
        let line = (agent.to_owned(), call.connection_id);
        let last =
            Last { session_id: session.session_id.clone(), upgraded: stands_for_itself(&call.request) };
        let Some(before) = self.last.get_mut(&line) else {
            self.last.insert(line, last);
            return;
        };
        let Last { session_id, upgraded } = std::mem::replace(before, last.clone());
        if !last.upgraded {
            before.upgraded = upgraded;
            self.goes_on.insert(session_id.clone());
            self.before.insert(last.session_id, Before { session_id, upgraded });
        }
    }

    /// No more sessions come.
    pub fn complete(&mut self) {
        self.last = HashMap::new();
    }

    /// The session on whose connection this one goes on.
    pub fn before(&self, session_id: &str) -> Option<&Before> {
        self.before.get(session_id)
    }

    /// Whether another session goes on on the connection of this one.
    pub fn goes_on(&self, session_id: &str) -> bool {
        self.goes_on.contains(session_id)
    }
}

fn stands_for_itself(request: &[u8]) -> bool {
    matches!(koala_protocol::detect_request(request), Detection::Is(Protocol::Http | Protocol::FastCgi))
}

#[cfg(test)]
mod tests {
    use super::*;
    use koala_session::model::CallFromInbound;

    const HTTP: &[u8] = b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n";

    fn lines(sessions: &[(&str, u64, &[u8])]) -> Lines {
        let mut lines = Lines::default();
        for (session_id, connection_id, request) in sessions {
            let call = CallFromInbound {
                request: request.to_vec(),
                connection_id: *connection_id,
                ..CallFromInbound::default()
            };
            lines.add(&Session {
                session_id: (*session_id).to_owned(),
                call_from_inbound: Some(call),
                ..Session::default()
            });
        }
        lines
    }

    fn before(session_id: &str, upgraded: bool) -> Option<Before> {
        Some(Before { session_id: session_id.to_owned(), upgraded })
    }

    #[test]
    fn what_follows_an_upgrade_goes_on() {
        let lines =
            lines(&[("1-a-1", 7, HTTP), ("2-a-2", 8, b"other"), ("3-a-3", 7, b"one"), ("4-a-4", 7, b"two")]);
        assert_eq!(lines.before("1-a-1"), None);
        assert_eq!(lines.before("2-a-2"), None);
        assert_eq!(lines.before("3-a-3").cloned(), before("1-a-1", true));
        assert_eq!(lines.before("4-a-4").cloned(), before("3-a-3", true));
        assert!(lines.goes_on("1-a-1") && lines.goes_on("3-a-3"));
        assert!(!lines.goes_on("2-a-2") && !lines.goes_on("4-a-4"));
    }

    #[test]
    fn requests_of_http_stand_for_themselves() {
        let lines = lines(&[("1-a-1", 7, HTTP), ("2-a-2", 7, HTTP)]);
        assert_eq!(lines.before("2-a-2"), None);
        assert!(!lines.goes_on("1-a-1"));
    }

    #[test]
    fn others_go_on_and_need_no_upgrade() {
        let lines = lines(&[
            ("1-a-1", 7, b"hello\n"),
            ("2-a-2", 7, b""),
            ("3-a-3", 7, b"how\n"),
            ("4-b-1", 7, b"x\n"),
        ]);
        assert_eq!(lines.before("3-a-3").cloned(), before("1-a-1", false));
        assert_eq!(lines.before("4-b-1"), None);
    }
}
