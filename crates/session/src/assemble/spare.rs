//! Memory of sessions that were written out, for the next ones.

use crate::model::{Action, CallFromInbound, CallOutbound, Peer, ReturnInbound, Session, UnixAddr};

/// So many of each kind are kept at most.
const KEPT: usize = 256;
/// Buffers larger than this are not kept.
const KEPT_BYTES: usize = 64 << 10;

/// Emptied parts of sessions. They equal new ones, but for the capacity of their buffers.
#[derive(Default)]
#[allow(clippy::vec_box, reason = "they are handed on as they are: a session is large")]
pub(super) struct Spare {
    sessions: Vec<Box<Session>>,
    responses: Vec<Vec<u8>>,
    calls: Vec<Box<CallOutbound>>,
}

impl Spare {
    /// An empty session, but that it may have an empty `call_from_inbound`.
    pub(super) fn session(&mut self) -> Box<Session> {
        self.sessions.pop().unwrap_or_default()
    }

    pub(super) fn response(&mut self) -> Vec<u8> {
        self.responses.pop().unwrap_or_default()
    }

    pub(super) fn call(&mut self) -> Box<CallOutbound> {
        self.calls.pop().unwrap_or_default()
    }

    /// Takes a session apart.
    pub(super) fn keep(&mut self, mut session: Box<Session>) {
        for action in session.actions.drain(..) {
            if let Action::CallOutbound(mut call) = action
                && self.calls.len() < KEPT
            {
                empty_call(&mut call);
                self.calls.push(call);
            }
        }
        if let Some(ReturnInbound { mut response, .. }) = session.return_inbound.take()
            && self.responses.len() < KEPT
        {
            clear(&mut response);
            self.responses.push(response);
        }
        if self.sessions.len() < KEPT {
            empty_session(&mut session);
            self.sessions.push(session);
        }
    }
}

// In their place, field by field: they are large. The patterns name every field, so that a new one is not forgotten.

fn empty_session(session: &mut Session) {
    let Session {
        context,
        thread_id,
        session_id,
        trace_header,
        next_session_id,
        call_from_inbound,
        return_inbound,
        actions,
        trace_id,
        span_id,
        process_id,
        pid,
        connections,
        overlap_group,
        incomplete,
    } = session;
    for text in [context, session_id, next_session_id, trace_id, span_id, overlap_group] {
        text.clear();
    }
    (*thread_id, *process_id, *pid, *incomplete) = (0, 0, 0, false);
    *trace_header = None;
    *return_inbound = None;
    actions.clear();
    connections.clear();
    if let Some(call) = call_from_inbound {
        let CallFromInbound { action_index, occurred_at, peer, unix_addr, request, connection_id } = call;
        (*action_index, *occurred_at, *connection_id) = (0, 0, 0);
        empty_peer(peer, unix_addr);
        clear(request);
    }
}

fn empty_call(call: &mut CallOutbound) {
    let CallOutbound {
        action_index,
        occurred_at,
        socket_fd,
        peer,
        response_time,
        unix_addr,
        request,
        response,
        c_span_id,
        connection_id,
        thread_id,
        ambiguous,
        error,
        datagrams,
        matched,
    } = call;
    (*action_index, *socket_fd, *thread_id, *ambiguous) = (0, 0, 0, false);
    (*occurred_at, *response_time, *connection_id) = (0, 0, 0);
    empty_peer(peer, unix_addr);
    clear(request);
    clear(response);
    c_span_id.clear();
    error.clear();
    datagrams.clear();
    *matched = None;
}

fn empty_peer(peer: &mut Peer, unix: &mut UnixAddr) {
    let Peer { ip, port, zone } = peer;
    let UnixAddr { name, net } = unix;
    *port = 0;
    for text in [ip, zone, name, net] {
        text.clear();
    }
}

fn clear(bytes: &mut Vec<u8>) {
    if bytes.capacity() > KEPT_BYTES {
        *bytes = Vec::new();
    }
    bytes.clear();
}
