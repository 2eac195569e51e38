//! Memory of sessions that were written out, for the next ones.

use crate::model::{Action, CallFromInbound, CallOutbound, Connection, ReturnInbound, Session};

/// So many of each kind are kept at most.
const KEPT: usize = 256;
/// Buffers larger than this are not kept.
const KEPT_BYTES: usize = 64 << 10;

/// Emptied parts of sessions. They equal new ones, but for the capacity of their buffers.
#[derive(Default)]
pub(super) struct Spare {
    sessions: Vec<Session>,
    inbound: Vec<CallFromInbound>,
    responses: Vec<Vec<u8>>,
    calls: Vec<CallOutbound>,
    connections: Vec<Connection>,
}

impl Spare {
    pub(super) fn session(&mut self) -> Session {
        self.sessions.pop().unwrap_or_default()
    }

    pub(super) fn inbound(&mut self) -> CallFromInbound {
        self.inbound.pop().unwrap_or_default()
    }

    pub(super) fn response(&mut self) -> Vec<u8> {
        self.responses.pop().unwrap_or_default()
    }

    pub(super) fn call(&mut self) -> CallOutbound {
        self.calls.pop().unwrap_or_default()
    }

    pub(super) fn connection(&mut self) -> Connection {
        self.connections.pop().unwrap_or_default()
    }

    /// Takes a session apart.
    pub(super) fn keep(&mut self, mut session: Session) {
        for action in session.actions.drain(..) {
            if let Action::CallOutbound(mut call) = action
                && self.calls.len() < KEPT
            {
                call.peer.ip.clear();
                (call.peer.port, call.peer.zone) = (0, String::new());
                clear(&mut call.request);
                clear(&mut call.response);
                let CallOutbound { peer, request, response, .. } = call;
                self.calls.push(CallOutbound { peer, request, response, ..Default::default() });
            }
        }
        for mut connection in session.connections.drain(..) {
            if self.connections.len() < KEPT {
                let Connection { direction, kind, local, peer, protocol, .. } = &mut connection;
                for text in [direction, kind, local, peer, protocol] {
                    text.clear();
                }
                let Connection { direction, kind, local, peer, protocol, .. } = connection;
                self.connections.push(Connection {
                    direction,
                    kind,
                    local,
                    peer,
                    protocol,
                    ..Default::default()
                });
            }
        }
        if let Some(mut inbound) = session.call_from_inbound.take()
            && self.inbound.len() < KEPT
        {
            inbound.peer.ip.clear();
            (inbound.peer.port, inbound.peer.zone) = (0, String::new());
            clear(&mut inbound.request);
            let CallFromInbound { peer, request, .. } = inbound;
            self.inbound.push(CallFromInbound { peer, request, ..Default::default() });
        }
        if let Some(ReturnInbound { mut response, .. }) = session.return_inbound.take()
            && self.responses.len() < KEPT
        {
            clear(&mut response);
            self.responses.push(response);
        }
        if self.sessions.len() < KEPT {
            let Session { mut session_id, actions, connections, .. } = session;
            session_id.clear();
            self.sessions.push(Session { session_id, actions, connections, ..Default::default() });
        }
    }
}

fn clear(bytes: &mut Vec<u8>) {
    if bytes.capacity() > KEPT_BYTES {
        *bytes = Vec::new();
    }
    bytes.clear();
}
