//! What the connections of a recording were told, across its sessions.
//!
//! A pooled connection serves one session after another: a statement is prepared in the first of them and only named
//! in the others. What such a name stands for is found by reading all sessions of a connection in the order of time.

use std::collections::HashMap;
use std::sync::Arc;

use koala_protocol::{ConnectionState, Protocol};
use koala_session::model::{Action, Session};

/// So much of a response is kept: what it says of the statement stands at its beginning.
const RESPONSE: usize = 4096;

/// Names a recorded call: the id of its session, and its place there.
pub type CallId = (String, u32);

/// What the recorded calls refer to, those left out that refer to nothing.
pub type Referred = HashMap<CallId, Arc<ConnectionState>>;

#[derive(Debug)]
struct Said {
    at: u64,
    call: CallId,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// A connection: its ends and its number, which another run of the program may have given to another one.
type ConnectionKey = (String, String, u64);

/// Calls on connections whose protocol has statements with names.
#[derive(Debug, Default)]
pub struct History {
    connections: HashMap<ConnectionKey, Vec<Said>>,
}

impl History {
    /// Adds the calls of a session.
    pub fn add(&mut self, session: &Session) {
        for connection in &session.connections {
            let protocol = Protocol::from_name(&connection.protocol);
            if connection.connection_id == 0 || !matches!(protocol, Protocol::MySql | Protocol::Postgres) {
                continue;
            }
            let key = (connection.local.clone(), connection.peer.clone(), connection.connection_id);
            let said = self.connections.entry(key).or_default();
            for action in &session.actions {
                let Action::CallOutbound(call) = action else { continue };
                if call.connection_id != connection.connection_id {
                    continue;
                }
                said.push(Said {
                    at: call.occurred_at,
                    call: (session.session_id.clone(), call.action_index),
                    request: call.request.clone(),
                    response: call.response.get(..RESPONSE).unwrap_or(&call.response).to_vec(),
                });
            }
        }
    }

    /// What each of the calls refers to.
    pub fn referred(self) -> Referred {
        let mut referred = Referred::new();
        for mut said in self.connections.into_values() {
            // Stable: what happened at once stays in the order of its session.
            said.sort_by_key(|said| said.at);
            let mut state = ConnectionState::default();
            for Said { call, request, response, .. } in said {
                let refers = state.referred(&request);
                if refers != ConnectionState::default() {
                    referred.insert(call, Arc::new(refers));
                }
                state.exchange(&request, &response);
            }
        }
        referred
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use koala_protocol::decode::Decoded;
    use koala_session::model::{CallOutbound, Connection};

    fn session(id: &str, calls: &[(u64, &[u8], &[u8])]) -> Session {
        let actions = calls.iter().zip(1..).map(|((at, request, response), index)| {
            Action::from(CallOutbound {
                action_index: index,
                occurred_at: *at,
                connection_id: 7,
                request: request.to_vec(),
                response: response.to_vec(),
                ..CallOutbound::default()
            })
        });
        let connection = Connection {
            connection_id: 7,
            local: "10.0.0.9:5000".to_owned(),
            peer: "10.0.0.1:3306".to_owned(),
            protocol: "mysql".to_owned(),
            ..Connection::default()
        };
        Session {
            session_id: id.to_owned(),
            actions: actions.collect(),
            connections: vec![Arc::new(connection)],
            ..Session::default()
        }
    }

    #[test]
    fn a_statement_is_known_in_every_session_of_its_connection() {
        let prepare: &[u8] = b"\x1d\0\0\0\x16SELECT a FROM t WHERE id = ?";
        let prepared: &[u8] = b"\x0c\0\0\x01\0\x07\0\0\0\x01\0\x01\0\0\0\0";
        let execute: &[u8] = b"\x12\0\0\0\x17\x07\0\0\0\0\x01\0\0\0\0\x01\x03\0\x2a\0\0\0";
        let mut history = History::default();
        // Delivered before the one in which its statement was prepared.
        history.add(&session("second", &[(20, execute, b"row")]));
        history.add(&session("first", &[(10, prepare, prepared), (30, execute, b"row")]));
        let referred = history.referred();
        for call in [("second", 1), ("first", 2)] {
            let state = &referred[&(call.0.to_owned(), call.1)];
            let Decoded::MySql(command) = state.decode(execute) else { panic!("{call:?}") };
            assert_eq!(command.sql(), Some(&b"SELECT a FROM t WHERE id = ?"[..]), "{call:?}");
        }
        assert_eq!(referred.get(&("first".to_owned(), 1)), None, "it refers to nothing");
    }
}
