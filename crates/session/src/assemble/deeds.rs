//! What a session does besides talking on connections: name lookups and appends to files.

use super::{
    boot::Process,
    contexts::{self, Help, Owner},
    lifecycle::World,
    sessions::{Key, Open},
};
use crate::lookup_error;
use crate::model::{Action, AppendFile, ResolveName};
use koala_events::{Address, Event, Lookup, flags};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// So many open files are known at once; the ones that were opened first are given up.
const FILES: usize = 100_000;

/// Files that were opened for appending, by the number of their opening.
#[derive(Default)]
pub(super) struct Files {
    open: BTreeMap<u64, File>,
}

struct File {
    path: String,
    opener: u64,
}

impl Files {
    /// Those that are open: their numbers, who has opened them, and their paths.
    pub(super) fn opened(&self) -> impl Iterator<Item = (u64, u64, &str)> {
        self.open.iter().map(|(number, file)| (*number, file.opener, file.path.as_str()))
    }
}

impl World {
    /// For whom the sender of this event acts, where that may also be one of a pool of threads that work for
    /// others (libuv makes lookups and file operations in such): a thread that takes no requests, in a process
    /// with one open session, acts for that session. With several it may be any, and the action is ambiguous.
    pub(super) fn owner_of_deed(&mut self, event: &Event<'_>) -> Owner {
        let context = contexts::Key::of(event);
        let takes = self.contexts.takes(context);
        if takes && let Some(owner) = self.known_owner(event) {
            return owner;
        }
        let helped = self.helped(event.process, if takes { self.contexts.help(context) } else { Help::Any });
        match helped.last() {
            Some(&session) => Owner { session, ambiguous: helped.len() > 1 },
            None => self.owner(event),
        }
    }

    /// For whom the sender of a request acts. Calls may be made in a pool of threads as well (an executor of Java,
    /// `asyncio.to_thread`, a synchronous endpoint of FastAPI): those of a thread that may help ([`Help`]) are those of
    /// the open session; of several, they are ambiguous.
    pub(super) fn owner_of_call(&mut self, event: &Event<'_>) -> Owner {
        if let Some(owner) = self.known_owner(event) {
            return owner;
        }
        let context = contexts::Key::of(event);
        let helped = self.helped(event.process, self.contexts.help(context));
        let Some(&session) = helped.last() else {
            // What is done before the first request tells nothing: pools are filled by whoever comes along.
            if self.processes.get(&event.process).is_some_and(|process| process.served) {
                self.contexts.works_alone(context, event.time);
            }
            return Owner { session: self.boot(event), ambiguous: false };
        };
        let ambiguous = helped.len() > 1;
        if ambiguous {
            self.contexts.group_together(&mut self.sessions, &helped);
        }
        Owner { session, ambiguous }
    }

    /// For whom a context acts that opens a connection, if for anyone.
    pub(super) fn opener(&self, event: &Event<'_>) -> Option<Key> {
        let context = contexts::Key::of(event);
        self.acting_for(context).or_else(|| self.helped(event.process, self.contexts.help(context)).pop())
    }

    /// The sessions of a process for which a context of it may work: those that wait for their answer or, where there is
    /// none, those that have it and may not be over. The one that was active last is the last.
    fn helped(&self, process: u64, help: Help) -> Vec<Key> {
        let may_be_helped = |open: &Open| match help {
            Help::None => false,
            Help::HandedOn => !open.answered && !open.asked,
            Help::Any => !open.moved_on,
        };
        let of_process = |open: &Open| open.session.process_id == process && !open.is_boot();
        let mut helped: Vec<(bool, u64, Key)> = self
            .sessions
            .keys()
            .filter(|(_, open)| of_process(open) && may_be_helped(open))
            .map(|(key, open)| (open.answered, open.active, key))
            .collect();
        if helped.iter().any(|(answered, ..)| !answered) {
            helped.retain(|(answered, ..)| !answered);
        }
        helped.sort_unstable_by_key(|(_, active, _)| *active);
        helped.into_iter().map(|(.., key)| key).collect()
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, event: &Event<'_>) {
        let Some(lookup) = Lookup::decode(event.payload) else { return };
        let Owner { session, ambiguous } = self.owner_of_deed(event);
        let mut action = ResolveName {
            occurred_at: event.time,
            name: text(lookup.name),
            service: text(lookup.service),
            canonical_name: text(lookup.canonical),
            error: lookup_error::name(event.result),
            ambiguous,
            ..ResolveName::default()
        };
        match lookup.family {
            4 => action.family.push_str("inet"),
            6 => action.family.push_str("inet6"),
            _ => {}
        }
        for address in lookup.addresses() {
            let ip = match address {
                Address::V4(ip, _) => IpAddr::V4(Ipv4Addr::from(ip)),
                Address::V6(ip, _) => IpAddr::V6(Ipv6Addr::from(ip)),
                _ => continue,
            };
            let ip = ip.to_string();
            if lookup.reverse {
                action.address = ip;
            } else if !action.addresses.contains(&ip) {
                action.addresses.push(ip);
            }
        }
        let Some(open) = self.sessions.get_mut(session) else { return };
        action.action_index = open.next_action();
        open.active = event.time;
        open.size += action.name.len();
        open.push_action(Action::ResolveName(Box::new(action)));
        self.boot_grew(session, event.time);
    }

    /// A file was opened for appending.
    pub(super) fn file_opened(&mut self, event: &Event<'_>) {
        let path = text(event.payload);
        if event.result != 0 {
            self.append(event, path.clone(), true);
        }
        if event.connection != 0 {
            self.files.open.insert(event.connection, File { path, opener: event.process });
            while self.files.open.len() > FILES {
                self.files.open.pop_first();
            }
        }
    }

    /// The descriptor of a file was closed. Those who have it by a fork, or are being made and may have it, may go on.
    pub(super) fn file_closed(&mut self, event: &Event<'_>) {
        let Some(file) = self.files.open.get(&event.connection) else { return };
        let is_being_made = |process: &Process| process.made_at > 0 && !process.began;
        let has_heirs = || {
            let mut all = self.processes.values();
            all.any(|process| process.parent == event.process || is_being_made(process))
        };
        if file.opener == event.process && !has_heirs() {
            self.files.open.remove(&event.connection);
        }
    }

    /// Bytes were appended to a file.
    pub(super) fn appended(&mut self, event: &Event<'_>) {
        if event.result < 0 {
            return;
        }
        let file = self.files.open.get(&event.connection);
        let path = file.map(|file| file.path.clone()).unwrap_or_default();
        self.append(event, path, event.flags & flags::GAP_BEFORE != 0);
    }

    fn append(&mut self, event: &Event<'_>, file_name: String, gap: bool) {
        let Owner { session, ambiguous } = self.owner_of_deed(event);
        let Some(open) = self.sessions.get_mut(session) else { return };
        let content = if gap && event.result == 1 && event.kind == koala_events::EventKind::Open {
            &[]
        } else {
            event.payload
        };
        open.active = event.time;
        open.size += content.len();
        if event.flags & flags::CONTINUED != 0
            && let Some(Action::AppendFile(last)) = open.session.actions.last_mut()
            && last.file_name == file_name
        {
            last.content.extend_from_slice(content);
            last.gap |= gap;
        } else {
            let action_index = open.next_action();
            open.push_action(Action::AppendFile(AppendFile {
                action_index,
                occurred_at: event.time,
                file_name,
                content: content.to_vec(),
                ambiguous,
                gap,
            }));
        }
        self.boot_grew(session, event.time);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
