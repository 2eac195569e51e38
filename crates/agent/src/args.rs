//! The agent's command line.

use std::ffi::OsString;
use std::path::PathBuf;

use koala_events::Overflow;

use crate::agent::{Left, Options, Task};

/// How the agent is called.
pub const USAGE: &str = "\
usage: koala-agent record --to DIR --runtime-dir DIR [--command JSON-ARRAY] [--max-disk BYTES]
                          [--overflow drop|block] [--sample RATE] [--detached PID] [--go-on FD,FD]
       koala-agent replay --recording DIR --runtime-dir DIR";

/// Why a command line is none.
#[derive(Debug, thiserror::Error)]
#[error("{0}\n{USAGE}")]
pub struct ArgsError(String);

impl From<lexopt::Error> for ArgsError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// To run.
    Run(Options),
    /// To say how it is called.
    Help,
    /// To say which version it is.
    Version,
}

/// Reads a command line, without the name of the program.
///
/// # Errors
///
/// [`ArgsError`] says what is wrong with it, and how the agent is called.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, ArgsError> {
    use lexopt::prelude::{Long, Short, Value, ValueExt};
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut to, mut recording, mut runtime_dir) = (None, None, None);
    let mut command = Vec::new();
    let mut max_disk = None;
    let mut detached = None;
    let mut go_on = None;
    let (mut overflow, mut sample) = (Overflow::Drop, 1.0);
    let mut task = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("to") => to = Some(PathBuf::from(parser.value()?)),
            Long("recording") => recording = Some(PathBuf::from(parser.value()?)),
            Long("runtime-dir") => runtime_dir = Some(PathBuf::from(parser.value()?)),
            Long("command") => {
                let text = parser.value()?.string()?;
                command = serde_json::from_str(&text)
                    .map_err(|_| ArgsError(format!("--command: {text:?} is not a JSON array of strings")))?;
            }
            Long("max-disk") => {
                let text = parser.value()?.string()?;
                let bytes = text.parse().ok().filter(|&bytes| bytes > 0);
                max_disk =
                    Some(bytes.ok_or_else(|| {
                        ArgsError(format!("--max-disk: {text:?} is not a number of bytes"))
                    })?);
            }
            Long("detached") => {
                let text = parser.value()?.string()?;
                let pid =
                    text.parse().map_err(|_| ArgsError(format!("--detached: {text:?} is no process id")))?;
                detached = Some(pid);
            }
            Long("go-on") => {
                let text = parser.value()?.string()?;
                let numbers = text.split_once(',').and_then(|(log, journal)| {
                    Some(Left { event_log: log.parse().ok()?, journal: journal.parse().ok()? })
                });
                let is_open = |left: &Left| left.event_log > 2 && left.journal > 2;
                go_on = Some(numbers.filter(is_open).ok_or_else(|| {
                    ArgsError(format!(
                        "--go-on: {text:?} is not two descriptors, of an event log and a journal"
                    ))
                })?);
            }
            Long("overflow") => {
                let text = parser.value()?.string()?;
                overflow = match text.as_str() {
                    "drop" => Overflow::Drop,
                    "block" => Overflow::Block,
                    _ => return Err(ArgsError(format!("--overflow: {text:?} is neither drop nor block"))),
                };
            }
            Long("sample") => {
                let text = parser.value()?.string()?;
                let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                sample = share.ok_or_else(|| ArgsError(format!("--sample: {text:?} is not from 0 to 1")))?;
            }
            Long("help") | Short('h') => return Ok(Request::Help),
            Long("version") | Short('V') => return Ok(Request::Version),
            Value(word) if task.is_none() => task = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let missing = |option: &str| ArgsError(format!("{option} is missing"));
    let task = match task.as_deref() {
        Some("record") => Task::Record { to: to.take().ok_or_else(|| missing("--to"))?, command, max_disk },
        Some("replay") => Task::Replay { recording: recording.take().ok_or_else(|| missing("--recording"))? },
        Some(other) => return Err(ArgsError(format!("{other:?} is no command"))),
        None => return Err(ArgsError("a command is missing".to_owned())),
    };
    if to.is_some() || recording.is_some() {
        return Err(ArgsError("--to is for record, --recording for replay".to_owned()));
    }
    Ok(Request::Run(Options {
        task,
        detached,
        go_on,
        overflow,
        sample,
        runtime_dir: runtime_dir.ok_or_else(|| missing("--runtime-dir"))?,
        arena_size: crate::memory::default_size(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Request, ArgsError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn reads_both_commands() {
        let Request::Run(options) =
            words("record --to /r --runtime-dir=/run/k --command [\"a\",\"b\"]").unwrap()
        else {
            panic!()
        };
        assert_eq!(
            options.task,
            Task::Record { to: "/r".into(), command: vec!["a".to_owned(), "b".to_owned()], max_disk: None }
        );
        assert_eq!(options.runtime_dir, PathBuf::from("/run/k"));
        let Request::Run(options) = words("record --to /r --runtime-dir /x --go-on 3,4").unwrap() else {
            panic!()
        };
        assert_eq!(options.go_on, Some(Left { event_log: 3, journal: 4 }));
        let Request::Run(options) = words("replay --runtime-dir /run/k --recording /r").unwrap() else {
            panic!()
        };
        assert_eq!(options.task, Task::Replay { recording: "/r".into() });
        assert_eq!(words("--help").unwrap(), Request::Help);
        assert_eq!(words("-V").unwrap(), Request::Version);
    }

    #[test]
    fn says_what_is_wrong_and_how_it_is_right() {
        for (line, word) in [
            ("", "command is missing"),
            ("dance", "\"dance\" is no command"),
            ("record --runtime-dir /x", "--to is missing"),
            ("replay --runtime-dir /x", "--recording is missing"),
            ("record --to /r", "--runtime-dir is missing"),
            ("record --to /r --runtime-dir /x --command {}", "JSON array"),
            ("record --to /r --runtime-dir /x --loud", "--loud"),
            ("record --to /r --recording /q --runtime-dir /x", "--recording for replay"),
            ("record --to /r --runtime-dir /x --go-on 3", "two descriptors"),
            ("record --to /r --runtime-dir /x --go-on 0,1", "two descriptors"),
            ("record replay --to /r --runtime-dir /x", "replay"),
        ] {
            let text = words(line).unwrap_err().to_string();
            assert!(text.contains(word) && text.contains("usage:"), "{line}: {text}");
        }
    }
}
