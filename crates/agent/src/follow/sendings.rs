//! What the program has sent on the connections that it opened.

use std::collections::HashMap;

use koala_events::{Address, Event, EventKind, flags};

use crate::net::canonical;

/// What was sent on a connection that the program opened, as far as the log was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    connection: u64,
    /// The local address as the program has it; the map's key is its canonical form.
    pub(super) local: Address,
    pub(super) bytes: u64,
    /// Bytes crossed that the log does not have: the count says nothing.
    pub(super) gap: bool,
    /// The process that last sent on it, or that opened it. Others that have it by a fork only close their copy.
    user: u64,
}

/// The program's own ends of the connections it has opened.
///
/// The outbound server knows a connection by its peer, which is the program's local address, and must not ask
/// whose the bytes that it received are before the log tells of their sending.
#[derive(Debug, Default)]
pub(super) struct Sendings {
    by_local: HashMap<Address, Sending>,
    locals: HashMap<u64, Address>,
}

impl Sendings {
    /// Begins to follow the connection of an event; `gap`: bytes may have crossed before.
    fn open(&mut self, event: &Event<'_>, local: Address, gap: bool) {
        let sending = Sending { connection: event.connection, local, bytes: 0, gap, user: event.process };
        let key = canonical(local);
        self.by_local.insert(key, sending);
        self.locals.insert(event.connection, key);
    }

    /// Takes what an event tells.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        match event.kind {
            EventKind::Connect => {
                let Some((local, _)) = Address::decode(event.payload) else { return };
                if local == Address::None || event.flags & flags::DATAGRAM != 0 {
                    return;
                }
                let key = canonical(local);
                match self.by_local.get(&key) {
                    // The same connect, told a second time.
                    Some(known) if known.connection == event.connection => {}
                    _ => self.open(event, local, false),
                }
            }
            EventKind::Adopt => {
                let Some((local, _)) = Address::decode(event.payload) else { return };
                let key = canonical(local);
                // A process goes on with what another one opened, under a number of its own.
                if let Some(known) = self.by_local.get_mut(&key) {
                    known.connection = event.connection;
                    self.locals.insert(event.connection, key);
                } else if local != Address::None && event.result == 0 {
                    self.open(event, local, true);
                }
            }
            EventKind::Send => {
                if let Some(sending) = self.of(event.connection) {
                    sending.bytes += event.payload.len() as u64;
                    sending.user = event.process;
                }
            }
            EventKind::Gap => {
                if let Some(sending) = self.of(event.connection) {
                    sending.gap = true;
                }
            }
            EventKind::Close => {
                if self.of(event.connection).is_some_and(|known| known.user != event.process) {
                    return;
                }
                if let Some(local) = self.locals.remove(&event.connection)
                    && self.by_local.get(&local).is_some_and(|known| known.connection == event.connection)
                {
                    self.by_local.remove(&local);
                }
            }
            _ => {}
        }
    }

    /// That from this address, in canonical form.
    pub(super) fn from(&self, local: &Address) -> Option<&Sending> {
        self.by_local.get(local)
    }

    fn of(&mut self, connection: u64) -> Option<&mut Sending> {
        self.by_local.get_mut(self.locals.get(&connection)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use koala_events::Source;

    fn note(sendings: &mut Sendings, kind: EventKind, process: u64, payload: &[u8]) {
        sendings.note(&Event {
            kind,
            source: Source::Libc,
            flags: 0,
            process,
            pid: process as u32,
            tid: 1,
            context: 0,
            sequence: 0,
            time: 0,
            connection: 7,
            fd: 3,
            result: 0,
            payload,
        });
    }

    #[test]
    fn a_child_that_closes_what_it_inherited_takes_nothing_from_its_parent() {
        let local = Address::V4([127, 0, 0, 1], 4000);
        let mut payload = Vec::new();
        for address in [local, Address::V4([127, 0, 0, 1], 6379)] {
            let mut bytes = [0; Address::MAX];
            let length = address.encode(&mut bytes);
            payload.extend_from_slice(&bytes[..length]);
        }
        let mut sendings = Sendings::default();
        note(&mut sendings, EventKind::Connect, 1, &payload);
        note(&mut sendings, EventKind::Send, 1, b"one");
        note(&mut sendings, EventKind::Close, 2, b"");
        note(&mut sendings, EventKind::Send, 1, b"two");
        assert_eq!(sendings.by_local.get(&canonical(local)).map(|sending| sending.bytes), Some(6));
        note(&mut sendings, EventKind::Close, 1, b"");
        assert!(sendings.by_local.is_empty());
    }
}
