//! Answers of PostgreSQL to a request that runs the same statement in another way.
//!
//! A driver prepares a statement when it was run a few times, no longer asks which columns its answer has, and asks for
//! values in binary form from then on (`PreparedStatement` of pgJDBC: from its sixth execution). When it does depends on
//! how often the connection was used, so a replay asks in one way what was recorded in the other. The recorded answer is
//! cut into what it says to each message of the recorded request, and put together for the messages of the one that is
//! to be answered: `ParseComplete` and `RowDescription` come or go, and values change their form.

use super::{Misfit, Said, rows};
use crate::decode::postgres::{self, Message};
use crate::decode::{Decoded, Reader};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// `ParseComplete`.
const PREPARED: &[u8] = b"1\0\0\0\x04";

/// What a request does with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step<'a> {
    /// The message's type; a `Describe` is `s` for a statement, `p` for a portal.
    kind: u8,
    /// The forms in which the portal gives its columns.
    formats: &'a [u8],
    /// How an earlier request was told the columns: by `RowDescription` or `NoData`; empty if none was.
    described: &'a [u8],
    /// Whether the request runs what it runs without this step as well.
    optional: bool,
}

/// The steps of a request; `None` where it has some whose answers are not cut.
fn steps<'a>(said: Said<'a>) -> Option<Vec<Step<'a>>> {
    let Decoded::Postgres(messages) = said.state.decode(said.request) else { return None };
    let mut steps: Vec<Step<'a>> = Vec::new();
    let mut bound: Option<Step<'a>> = None;
    let mut parsed: Vec<&[u8]> = Vec::new();
    for message in messages {
        let plain = Step { kind: 0, formats: &[], described: &[], optional: false };
        let step = match message {
            Message::Parse { name, .. } => {
                parsed.push(name);
                Step { kind: b'P', ..plain }
            }
            Message::Bind { statement, parameters, .. } => {
                // Only a statement that is bound at once is prepared on the way.
                if let Some(last) = steps.last_mut().filter(|last| last.kind == b'P') {
                    last.optional = true;
                }
                // What is prepared here has nothing to do with what had its name before.
                let before = !parsed.contains(&statement);
                let described = said.state.described(b'S', statement).filter(|_| before).unwrap_or_default();
                let step = Step { formats: parameters.result_formats(), described, ..plain };
                bound = Some(step);
                Step { kind: b'B', ..step }
            }
            Message::Named { kind: b'D', what: b'S', .. } => Step { kind: b's', ..plain },
            Message::Named { kind: b'D', .. } => {
                Step { kind: b'p', optional: true, ..bound.unwrap_or(plain) }
            }
            Message::Named { .. } => Step { kind: b'C', ..plain },
            Message::Execute { portal, bound: Some((_, parameters)), .. } if bound.is_none() => {
                let described = said.state.described(b'P', portal).unwrap_or_default();
                Step { kind: b'E', formats: parameters.result_formats(), described, ..plain }
            }
            Message::Execute { .. } => Step { kind: b'E', ..bound.unwrap_or(plain) },
            Message::Other(kind @ (b'S' | b'H'), _) => Step { kind, ..plain },
            _ => return None,
        };
        steps.push(step);
    }
    Some(steps)
}

/// What the server said to one step, and whether it failed there.
#[derive(Debug, Clone, Copy, Default)]
struct Piece<'a> {
    bytes: &'a [u8],
    failed: bool,
}

/// What a response says to each step of its request, and what comes behind.
fn pieces<'a>(steps: &[Step<'_>], response: &'a [u8]) -> (Vec<Piece<'a>>, &'a [u8]) {
    let mut reader = Reader::new(response);
    let mut failed = false;
    let mut pieces = Vec::new();
    for step in steps {
        let last: &[u8] = match step.kind {
            b'P' => b"1",
            b'B' => b"2",
            b'C' => b"3",
            b's' | b'p' => b"Tn",
            b'E' => b"CIs",
            b'S' => b"Z",
            _ => b"",
        };
        if last.is_empty() || (failed && step.kind != b'S') {
            pieces.push(Piece::default());
            continue;
        }
        let start = reader.rest();
        failed = false;
        while let Some((kind, _)) = postgres::message(&mut reader) {
            failed = kind == b'E' && step.kind != b'S';
            if failed || last.contains(&kind) {
                break;
            }
        }
        let length = start.len() - reader.rest().len();
        pieces.push(Piece { bytes: start.get(..length).unwrap_or_default(), failed });
    }
    (pieces, reader.rest())
}

/// The response as it has to be to answer `now`. See the module's description.
pub(super) fn fit<'a>(now: Said<'_>, then: Said<'_>, response: &'a [u8]) -> Result<Cow<'a, [u8]>, Misfit> {
    let (Some(asked), Some(recorded)) = (steps(now), steps(then)) else { return Ok(Cow::Borrowed(response)) };
    let alike = |a: &Step<'_>, b: &Step<'_>| a.kind == b.kind && a.formats == b.formats;
    if asked.len() == recorded.len() && asked.iter().zip(&recorded).all(|(a, b)| alike(a, b)) {
        return Ok(Cow::Borrowed(response));
    }
    let (pieces, rest) = pieces(&recorded, response);
    let mut left = recorded.iter().zip(pieces).peekable();
    let mut fitted = Vec::with_capacity(response.len() + PREPARED.len());
    let mut columns = Columns::default();
    // The server passes over everything up to the next `Sync`.
    let mut failed = false;
    for step in &asked {
        if !step.optional {
            // What is not asked now is not answered, but for its failure.
            while let Some((then, piece)) = left.next_if(|(then, _)| then.optional) {
                columns.learn(then, piece);
                if piece.failed {
                    fitted.extend_from_slice(piece.bytes);
                    failed = true;
                }
            }
        }
        let found = left.next_if(|(then, _)| then.kind == step.kind && then.optional == step.optional);
        match (found, step.kind) {
            (Some((_, piece)), b'S') => {
                fitted.extend_from_slice(piece.bytes);
                failed = false;
            }
            (Some((_, Piece { bytes: [], .. })), _) => {}
            (Some((then, piece)), kind) => {
                columns.learn(then, piece);
                failed |= piece.failed;
                let alike = then.formats == step.formats;
                match kind {
                    b'E' if !alike => columns.change(piece.bytes, then.formats, step.formats, &mut fitted)?,
                    b'p' if !alike && !piece.failed => columns.describe(step.formats, &mut fitted)?,
                    _ => fitted.extend_from_slice(piece.bytes),
                }
            }
            (None, b'P' | b'p') if step.optional && failed => {}
            (None, b'P') if step.optional => fitted.extend_from_slice(PREPARED),
            (None, b'p') if step.optional => columns.describe(step.formats, &mut fitted)?,
            (None, _) => {
                return Err(Misfit::from("the recorded request does something else with its statement"));
            }
        }
    }
    fitted.extend_from_slice(rest);
    Ok(Cow::Owned(fitted))
}

/// The message that describes columns in the answer to a `Describe`.
fn description(answer: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(answer);
    loop {
        let start = reader.rest();
        let (kind, _) = postgres::message(&mut reader)?;
        if matches!(kind, b'T' | b'n') {
            return start.get(..start.len() - reader.rest().len());
        }
    }
}

/// One column of a `RowDescription`: its name, its type, and where its format is in the message.
struct Column<'a> {
    name: &'a [u8],
    kind: u32,
    format: usize,
}

/// How the columns of what is run next are described in the recording.
#[derive(Default)]
struct Columns<'a> {
    /// `RowDescription` or `NoData`; empty: it is not known.
    message: &'a [u8],
    /// The same of a statement that is not bound yet.
    statement: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Takes what the recording says of them at a step of the recorded request.
    fn learn(&mut self, then: &Step<'a>, piece: Piece<'a>) {
        match then.kind {
            b's' => self.statement = description(piece.bytes).unwrap_or_default(),
            b'p' => self.message = description(piece.bytes).unwrap_or(self.message),
            b'B' => {
                let statement = core::mem::take(&mut self.statement);
                self.message = if statement.is_empty() { then.described } else { statement };
            }
            // A portal that an earlier request bound.
            b'E' if self.message.is_empty() => self.message = then.described,
            _ => {}
        }
    }

    fn all(&self) -> Option<Vec<Column<'a>>> {
        let mut reader = Reader::new(self.message.strip_prefix(b"T")?);
        let _length = reader.u32_be()?;
        let count = reader.u16_be()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let name = reader.zero_terminated()?;
            let _of_table = reader.take(6)?;
            let kind = reader.u32_be()?;
            let _size = reader.take(6)?;
            let format = self.message.len() - reader.rest().len();
            reader.take(2)?;
            columns.push(Column { name, kind, format });
        }
        reader.is_empty().then_some(columns)
    }

    /// Appends the description with the forms that are asked for.
    fn describe(&self, formats: &[u8], fitted: &mut Vec<u8>) -> Result<(), Misfit> {
        let start = fitted.len();
        fitted.extend_from_slice(self.message);
        if self.message.first() == Some(&b'n') {
            return Ok(());
        }
        let columns = self.all().ok_or_else(|| {
            Misfit::from("it asks which columns the answer has, and nothing recorded tells that")
        })?;
        for (index, column) in columns.iter().enumerate() {
            let at = start + column.format;
            if let (Some(place), Some(format)) = (fitted.get_mut(at..at + 2), format(formats, index)) {
                place.copy_from_slice(format);
            }
        }
        Ok(())
    }

    /// Appends the rows of an answer with their values in the forms that are asked for.
    fn change(&self, rows: &[u8], then: &[u8], now: &[u8], fitted: &mut Vec<u8>) -> Result<(), Misfit> {
        let columns = self.all();
        let mut reader = Reader::new(rows);
        loop {
            let start = reader.rest();
            let Some((kind, body)) = postgres::message(&mut reader) else {
                fitted.extend_from_slice(start);
                return Ok(());
            };
            if kind == b'D' {
                row(body, columns.as_deref().unwrap_or_default(), then, now, fitted)?;
            } else {
                fitted.extend_from_slice(start.get(..start.len() - reader.rest().len()).unwrap_or_default());
            }
        }
    }
}

/// The form of a column, two bytes; see [`postgres::Parameters::result_formats`].
fn format(formats: &[u8], index: usize) -> Option<&[u8]> {
    match formats.len() {
        0 => Some(&[0, 0]),
        2 => Some(formats),
        _ => formats.get(index * 2..index * 2 + 2),
    }
}

fn row(
    body: &[u8],
    columns: &[Column<'_>],
    then: &[u8],
    now: &[u8],
    fitted: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let damaged = || Misfit::from("a recorded row is damaged");
    let mut reader = Reader::new(body);
    let count = reader.u16_be().ok_or_else(damaged)?;
    let mut changed = count.to_be_bytes().to_vec();
    for index in 0..usize::from(count) {
        let length = reader.u32_be().ok_or_else(damaged)?;
        if length == u32::MAX {
            changed.extend(length.to_be_bytes());
            continue;
        }
        let value =
            usize::try_from(length).ok().and_then(|length| reader.take(length)).ok_or_else(damaged)?;
        let value = match (format(then, index), format(now, index)) {
            (then, now) if then == now => Cow::Borrowed(value),
            (_, Some(&[_, to @ (0 | 1)])) => {
                let other = |column: &Column<'_>| match to {
                    0 => rows::to_text(column.kind, value),
                    _ => rows::to_binary(column.kind, value),
                };
                let column = columns.get(index);
                Cow::Owned(column.and_then(other).ok_or_else(|| form(column, index, to))?)
            }
            _ => return Err(damaged()),
        };
        let length = u32::try_from(value.len()).map_err(|_| damaged())?;
        changed.extend(length.to_be_bytes());
        changed.extend_from_slice(&value);
    }
    let length = u32::try_from(changed.len() + 4).map_err(|_| damaged())?;
    fitted.push(b'D');
    fitted.extend(length.to_be_bytes());
    fitted.append(&mut changed);
    Ok(())
}

/// A value has no other form.
fn form(column: Option<&Column<'_>>, index: usize, to: u8) -> Misfit {
    let [then, now] = if to == 0 { ["binary", "text"] } else { ["text", "binary"] };
    let what = match column {
        Some(Column { name, kind, .. }) => {
            let name = String::from_utf8_lossy(name);
            format!("the column {name} (of type {kind}) was recorded in {then} form")
        }
        None => format!("column {} was recorded in {then} form, and its type was not", index + 1),
    };
    Misfit(format!("{what}; it is asked for in {now} form, which koala can't make of it"))
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
