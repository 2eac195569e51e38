//! Which sessions are on disk: who goes on after a killed agent is told of some of them again.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use koala_session::cbor;
use koala_session::model::{Action, Session};

/// Sessions that are on disk: of each its process, the connection that its request came by, and when; of a session of
/// boot the same of each action.
#[derive(Debug, Default)]
pub(super) struct Written(HashSet<(u64, u64, u64)>);

impl Written {
    /// What was written of `since` and later.
    pub(super) fn read(directory: &Path, names: &[String], since: u64) -> io::Result<Self> {
        let mut written = HashSet::new();
        // What is in a file was delivered before the next one was begun.
        let ends = names.iter().skip(1).map(|next| number_of(next)).chain([u64::MAX]);
        for (name, _) in names.iter().zip(ends).filter(|(_, end)| *end >= since) {
            let bytes = fs::read(directory.join(name))?;
            for session in cbor::split(&bytes).map_while(Result::ok) {
                match key(&session) {
                    Some(key) => _ = written.insert(key),
                    None => {
                        written.extend(session.actions.iter().map(|action| key_in_boot(&session, action)))
                    }
                }
            }
        }
        written.retain(|&(_, _, time)| time >= since);
        Ok(Self(written))
    }

    /// Whether the session is on disk; takes from one of boot what is.
    pub(super) fn has(&self, session: &mut Session) -> bool {
        if self.0.is_empty() {
            return false;
        }
        if let Some(key) = key(session) {
            return self.0.contains(&key);
        }
        let mut actions = std::mem::take(&mut session.actions);
        actions.retain(|action| !self.0.contains(&key_in_boot(session, action)));
        session.actions = actions;
        session.actions.is_empty()
    }
}

/// What no two sessions have in common; `None` for one of boot.
fn key(session: &Session) -> Option<(u64, u64, u64)> {
    let call = session.call_from_inbound.as_ref()?;
    Some((session.process_id, call.connection_id, call.occurred_at))
}

fn key_in_boot(session: &Session, action: &Action) -> (u64, u64, u64) {
    let connection = match action {
        Action::CallOutbound(call) => call.connection_id,
        _ => 0,
    };
    (session.process_id, connection, occurred_at(action))
}

/// When an action began.
pub(crate) fn occurred_at(action: &Action) -> u64 {
    match action {
        Action::CallOutbound(action) => action.occurred_at,
        Action::SendUdp(action) => action.occurred_at,
        Action::AppendFile(action) => action.occurred_at,
        Action::ReadStorage(action) => action.occurred_at,
        Action::ResolveName(action) => action.occurred_at,
    }
}

/// The number in the name of a file; the highest if it has none.
fn number_of(name: &str) -> u64 {
    let number = name.strip_prefix("sessions-").and_then(|rest| rest.split('-').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}
