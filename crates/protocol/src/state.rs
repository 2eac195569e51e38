//! What the requests of a connection refer to: statements that earlier ones prepared, and the database that they
//! chose.
//!
//! `COM_STMT_EXECUTE` of MySQL names a statement by a number that the server gave in its response to
//! `COM_STMT_PREPARE`; a `Bind` of PostgreSQL names it by the name that the client gave. Neither says which statement
//! it is, and another run may give another number. [`ConnectionState`] is told the requests of a connection with
//! their responses, and lets [`ConnectionState::decode`] give the statement and its typed values.
//!
//! ```
//! use koala_protocol::{ConnectionState, decode::Decoded};
//!
//! let mut state = ConnectionState::default();
//! let prepare = b"\x1d\0\0\0\x16SELECT a FROM t WHERE id = ?";
//! let prepared = b"\x0c\0\0\x01\0\x07\0\0\0\x01\0\x01\0\0\0\0";
//! state.exchange(prepare, prepared);
//! let execute = b"\x12\0\0\0\x17\x07\0\0\0\0\x01\0\0\0\0\x01\x03\0\x2a\0\0\0";
//! let Decoded::MySql(command) = state.decode(execute) else { panic!() };
//! assert_eq!(command.sql(), Some(&b"SELECT a FROM t WHERE id = ?"[..]));
//! let values: Vec<_> = command.parameters().unwrap().map(|value| value.text().into_owned()).collect();
//! assert_eq!(values, [b"42"]);
//! ```

use crate::decode::{self, Decoded, Reader, mysql, postgres, redis};
use crate::{mysql as wire, mysql::capability};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Statements beyond this number are not kept: no client has so many at once.
const STATEMENTS_MAX: usize = 10_000;

/// Data that were sent ahead of their statement beyond this number of bytes are not kept.
const LONG_DATA_MAX: usize = 1 << 20;

/// What was prepared under a name, or bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// `S` for a statement, `P` for a portal, and the name behind it; MySQL's numbers are four bytes.
    name: Vec<u8>,
    sql: Vec<u8>,
    /// How many placeholders it has.
    pub(crate) parameters: u16,
    /// Their types, as the protocol numbers them, as far as they are known.
    pub(crate) types: Vec<u32>,
    /// Values that were sent ahead, by the number of their placeholder.
    pub(crate) long_data: Vec<(u16, Vec<u8>)>,
    /// How PostgreSQL described the columns of its answer: the message that did; empty if none was seen.
    pub(crate) described: Vec<u8>,
    /// Of a portal: the body of the message that bound it.
    pub(crate) bound: Vec<u8>,
}

impl Prepared {
    pub(crate) fn sql(&self) -> &[u8] {
        &self.sql
    }

    /// What has this name among those that are sorted by it.
    pub(crate) fn find<'a>(all: &'a [Arc<Self>], what: u8, name: &[u8]) -> Option<&'a Self> {
        let at = all.binary_search_by(|known| known.compare(what, name)).ok()?;
        all.get(at).map(|known| &**known)
    }

    fn compare(&self, what: u8, name: &[u8]) -> core::cmp::Ordering {
        let (own, rest) = self.name.split_first().unwrap_or((&0, &[]));
        own.cmp(&what).then_with(|| rest.cmp(name))
    }
}

/// What was said on a connection before, as far as its next requests refer to it.
///
/// A copy shares what was prepared. The order of calls is that of the connection: [`ConnectionState::decode`] or
/// [`ConnectionState::referred`] for a request, then [`ConnectionState::exchange`] for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionState {
    prepared: Vec<Arc<Prepared>>,
    database: Vec<u8>,
    /// What the MySQL server can do, if it has greeted.
    server: Option<u32>,
    /// MySQL's client and server agreed on attributes of queries.
    attributes: bool,
    /// The number of the MySQL statement that was prepared last.
    last: u32,
}

impl ConnectionState {
    /// The database that the connection uses, as far as it was said: by name, or by number in Redis. Empty if it
    /// was not said.
    pub fn database(&self) -> &[u8] {
        &self.database
    }

    /// Recognises and decodes the next request; what it refers to is found in what was said before.
    pub fn decode<'a>(&'a self, request: &'a [u8]) -> Decoded<'a> {
        match decode::decode(request) {
            Decoded::MySql(command) => Decoded::MySql(mysql::Command {
                prepared: command.statement_id().and_then(|id| self.statement(id)),
                attributes: self.attributes,
                ..command
            }),
            Decoded::Postgres(messages) => Decoded::Postgres(messages.knowing(&self.prepared)),
            decoded => decoded,
        }
    }

    /// What a request refers to, and nothing else: small enough to be kept with each recorded call. It decodes
    /// that request as this state does.
    pub fn referred(&self, request: &[u8]) -> Self {
        let mut referred = Self { prepared: Vec::new(), ..self.clone() };
        let mut refer = |what: u8, name: &[u8]| {
            if let Ok(at) = self.prepared.binary_search_by(|known| known.compare(what, name)) {
                referred.prepared.extend(self.prepared.get(at).cloned());
            }
        };
        match decode::decode(request) {
            Decoded::MySql(command) => {
                if let Some(id) = command.statement_id() {
                    refer(b'S', &self.number(id).to_be_bytes());
                }
            }
            Decoded::Postgres(messages) => {
                for message in messages {
                    match message {
                        postgres::Message::Bind { statement, .. } => refer(b'S', statement),
                        postgres::Message::Execute { portal, .. } => refer(b'P', portal),
                        postgres::Message::Named { what, name, .. } => refer(what, name),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        referred.prepared.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        referred.prepared.dedup();
        referred
    }

    /// Takes a request with its response. A server's greeting is a response to an empty request. Where the response
    /// is not known, it is empty: then the statements that MySQL numbers in it stay unknown.
    pub fn exchange(&mut self, request: &[u8], response: &[u8]) {
        match decode::decode(request) {
            Decoded::MySql(command) => self.mysql(command, response),
            Decoded::MySqlLogin(login) => {
                self.prepared.clear();
                // What was agreed on stays when the user changes.
                let agreed = if login.capabilities == 0 {
                    u32::from(self.attributes) * u32::MAX
                } else {
                    login.capabilities
                };
                self.attributes =
                    agreed & self.server.unwrap_or(u32::MAX) & capability::QUERY_ATTRIBUTES != 0;
                self.database = login.database.to_vec();
            }
            Decoded::Postgres(_) => self.postgres(request, response),
            Decoded::PostgresStartUp(start_up) => {
                let named = |wanted: &[u8]| start_up.parameters().find(|(name, _)| *name == wanted);
                // The database has the name of the user where it has none.
                if let Some((_, name)) = named(b"database").or_else(|| named(b"user")) {
                    self.database = name.to_vec();
                }
            }
            Decoded::Redis(commands) => self.redis(commands, response),
            _ if request.is_empty() => self.server = wire::greeting(response).map(|(server, _)| server),
            _ => {}
        }
    }

    /// The number of a MySQL statement; MariaDB's clients write -1 for the one that was prepared last.
    fn number(&self, id: u32) -> u32 {
        if id == u32::MAX { self.last } else { id }
    }

    /// A number for a MySQL statement, where this one is taken.
    pub(crate) fn free_number(&self, id: u32) -> Option<u32> {
        let taken = |id: u32| Prepared::find(&self.prepared, b'S', &id.to_be_bytes()).is_some();
        (1..).find(|id| !taken(*id)).filter(|_| taken(id))
    }

    fn statement(&self, id: u32) -> Option<&Prepared> {
        Prepared::find(&self.prepared, b'S', &self.number(id).to_be_bytes())
    }

    /// How PostgreSQL described the columns of a statement (`S`) or a portal (`P`).
    pub(crate) fn described(&self, what: u8, name: &[u8]) -> Option<&[u8]> {
        Prepared::find(&self.prepared, what, name).map(|known| &*known.described)
    }

    fn forget(&mut self, what: u8, name: &[u8]) {
        if let Ok(at) = self.prepared.binary_search_by(|known| known.compare(what, name)) {
            self.prepared.remove(at);
        }
    }

    /// What is prepared under a name, to be changed.
    fn entry(&mut self, what: u8, name: &[u8]) -> Option<&mut Prepared> {
        let at = match self.prepared.binary_search_by(|known| known.compare(what, name)) {
            Ok(at) => at,
            Err(_) if self.prepared.len() >= STATEMENTS_MAX => return None,
            Err(at) => {
                let name = [&[what], name].concat();
                self.prepared.insert(at, Arc::new(Prepared { name, ..Prepared::default() }));
                at
            }
        };
        self.prepared.get_mut(at).map(Arc::make_mut)
    }

    fn mysql(&mut self, command: mysql::Command<'_>, response: &[u8]) {
        if response.get(4) == Some(&0xff) {
            return;
        }
        let id = command.statement_id().map(|id| self.number(id)).unwrap_or_default();
        let name = id.to_be_bytes();
        match command.code {
            mysql::QUERY => {
                if let Some(name) = command.sql().and_then(used_database) {
                    self.database = name.to_vec();
                }
            }
            mysql::INIT_DB => self.database = command.body.to_vec(),
            mysql::STATEMENT_PREPARE => self.prepare(command.body, response),
            mysql::STATEMENT_CLOSE => self.forget(b'S', &name),
            mysql::STATEMENT_SEND_LONG_DATA => self.keep_long_data(&name, command.rest()),
            mysql::STATEMENT_RESET | mysql::STATEMENT_EXECUTE | mysql::STATEMENT_BULK_EXECUTE => {
                let Some(known) = self.statement(id) else { return };
                let told = mysql::Command { prepared: Some(known), attributes: self.attributes, ..command };
                // What was sent ahead is used up; types hold until others are told.
                let types = told.parameters().and_then(mysql::Parameters::told_types);
                let keeps = types.is_none() && known.long_data.is_empty();
                if !keeps && let Some(known) = self.entry(b'S', &name) {
                    known.long_data.clear();
                    known.types = types.unwrap_or_else(|| core::mem::take(&mut known.types));
                }
            }
            mysql::RESET_CONNECTION => self.prepared.clear(),
            _ => {}
        }
    }

    /// Takes the server's answer to `COM_STMT_PREPARE`: the number of the statement and of its placeholders.
    fn prepare(&mut self, sql: &[u8], response: &[u8]) {
        let told = || {
            let mut reader = Reader::new(response.get(4..)?);
            let 0 = reader.u8()? else { return None };
            let id = reader.u32_le()?;
            let _columns: [u8; 2] = reader.array()?;
            Some((id, u16::from_le_bytes(reader.array()?)))
        };
        let Some((id, parameters)) = told() else { return };
        self.last = id;
        if let Some(known) = self.entry(b'S', &id.to_be_bytes()) {
            *known = Prepared {
                name: core::mem::take(&mut known.name),
                sql: sql.to_vec(),
                parameters,
                ..Prepared::default()
            };
        }
    }

    fn keep_long_data(&mut self, name: &[u8], rest: &[u8]) {
        let Some((number, data)) = rest.split_first_chunk() else { return };
        let number = u16::from_le_bytes(*number);
        if Prepared::find(&self.prepared, b'S', name).is_none() {
            return;
        }
        let Some(known) = self.entry(b'S', name) else { return };
        let kept: usize = known.long_data.iter().map(|(_, data)| data.len() + 1).sum();
        let data = data.get(..LONG_DATA_MAX.saturating_sub(kept + 1).min(data.len())).unwrap_or_default();
        match known.long_data.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => known.extend_from_slice(data),
            None if kept < LONG_DATA_MAX => known.long_data.push((number, data.to_vec())),
            None => {}
        }
    }

    fn postgres(&mut self, request: &[u8], response: &[u8]) {
        // What was parsed, and the types of parameters, are answered in their order, up to the first error.
        let mut answers = Reader::new(response);
        let mut answer = |wanted: &[u8]| loop {
            let start = answers.rest();
            let (kind, _) = postgres::message(&mut answers)?;
            let message = start.get(..start.len() - answers.rest().len())?;
            if wanted.contains(&kind) || kind == b'E' {
                return wanted.contains(&kind).then_some(message);
            }
        };
        // What the request has bound last.
        let mut bound: &[u8] = &[];
        let mut messages = Reader::new(request);
        let runs = |mut later: Reader<'_>| {
            core::iter::from_fn(|| postgres::message(&mut later))
                .any(|message| matches!(message, (b'E', [0, ..])))
        };
        let runs = runs(messages);
        while let Some((kind, body)) = postgres::message(&mut messages) {
            match (kind, body) {
                (b'P', _) => {
                    let Some((name, sql, told)) = postgres::parse(body) else { continue };
                    if (response.is_empty() || answer(b"1").is_some())
                        && let Some(known) = self.entry(b'S', name)
                    {
                        (known.sql, known.types) = (sql.to_vec(), types(told));
                        known.described.clear();
                    }
                }
                (b'B', _) => {
                    let Some((portal, statement, _)) = postgres::bind(body) else { continue };
                    let known = Prepared::find(&self.prepared, b'S', statement).cloned();
                    bound = statement;
                    // Mostly a portal is run where it is bound, and nothing refers to it later.
                    if let Some(known) = known.filter(|_| !portal.is_empty() || !runs)
                        && let Some(entry) = self.entry(b'P', portal)
                    {
                        (entry.sql, entry.types, entry.bound) = (known.sql, known.types, body.to_vec());
                        entry.described = known.described;
                    }
                }
                (b'C', [what, name @ .., 0]) => self.forget(*what, name),
                (b'D', [b'S', name @ .., 0]) => {
                    let known = Prepared::find(&self.prepared, b'S', name).is_some();
                    let types = answer(b"t").map(|message| types(message.get(7..).unwrap_or_default()));
                    let described = types.as_ref().and_then(|_| answer(b"Tn"));
                    if let Some(types) = types
                        && let Some(entry) = self.entry(b'S', name).filter(|_| known)
                    {
                        entry.types = types;
                        entry.described = described.unwrap_or_default().to_vec();
                    }
                }
                (b'D', [b'P', portal @ .., 0]) => {
                    let Some(described) = answer(b"Tn") else { continue };
                    for (what, name) in [(b'S', bound), (b'P', portal)] {
                        if Prepared::find(&self.prepared, what, name).is_some()
                            && let Some(entry) = self.entry(what, name)
                        {
                            entry.described = described.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn redis(&mut self, commands: redis::Commands<'_>, response: &[u8]) {
        for command in commands {
            let mut arguments = command.arguments();
            let is_select = arguments.next().is_some_and(|name| name.eq_ignore_ascii_case(b"SELECT"));
            if let (true, Some(number), false) = (is_select, arguments.next(), response.starts_with(b"-")) {
                self.database = number.to_vec();
            }
        }
    }
}

/// Numbers of four bytes each.
fn types(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .filter_map(|chunk| chunk.first_chunk())
        .map(|chunk| u32::from_be_bytes(*chunk))
        .collect()
}

/// The database that a statement makes the current one: `USE shop`.
fn used_database(sql: &[u8]) -> Option<&[u8]> {
    let (verb, name) = sql.trim_ascii_start().split_first_chunk::<4>()?;
    let name = name.trim_ascii().strip_suffix(b";").unwrap_or(name).trim_ascii();
    let name = name.strip_prefix(b"`").and_then(|name| name.strip_suffix(b"`")).unwrap_or(name);
    verb.eq_ignore_ascii_case(b"use ").then_some(name)
}
