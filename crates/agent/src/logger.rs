//! The agent's own log: few lines, for whoever wants to know why.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What happened, step by step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What a reader may want to know.
    Info,
    /// What may be wrong.
    Warn,
    /// What went wrong.
    Error,
    /// Why the agent ended.
    Fatal,
}

impl Level {
    /// The level of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" => Self::Warn,
            "ERROR" => Self::Error,
            "FATAL" => Self::Fatal,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `2026-02-03T04:05:06.789Z INFO  words`
    HumanReadable,
    /// `1770091506789 I words`
    Compact,
    /// `{"Time":..,"Level":..,"Message":..}`
    Json,
}

impl Format {
    /// The format of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HumanReadableFormat" => Self::HumanReadable,
            "CompactFormat" => Self::Compact,
            "JSON" => Self::Json,
            _ => return None,
        })
    }

    fn line(self, time: u64, level: Level, message: &str) -> String {
        match self {
            Self::HumanReadable => format!("{} {:5} {message}\n", clock::rfc3339(time), level.name()),
            Self::Compact => {
                format!("{} {} {message}\n", time / 1_000_000, level.name().get(..1).unwrap_or_default())
            }
            Self::Json => {
                let line = serde_json::json!({
                    "Time": clock::rfc3339(time), "Level": level.name(), "Message": message,
                });
                format!("{line}\n")
            }
        }
    }
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, and moved to `<path>.<hour>` when an hour has passed.
    File(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("STDOUT"),
            Self::Stderr => f.write_str("STDERR"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

enum Sink {
    Stdout,
    Stderr,
    File { path: PathBuf, file: File, hour: u64 },
    Nowhere,
}

struct Inner {
    level: Level,
    format: Format,
    sink: Mutex<Sink>,
}

/// A door to the log; clones lead to the same one. A log that can't be written is not worth failing for.
#[derive(Clone)]
pub struct Logger(Arc<Inner>);

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("level", &self.0.level).finish_non_exhaustive()
    }
}

const HOUR: u64 = 3_600_000_000_000;

impl Logger {
    /// Opens the log.
    ///
    /// # Errors
    ///
    /// That of opening the file.
    pub fn open(target: &Target, level: Level, format: Format) -> io::Result<Self> {
        let sink = match target {
            Target::Stdout => Sink::Stdout,
            Target::Stderr => Sink::Stderr,
            Target::File(path) => {
                Sink::File { path: path.clone(), file: append(path)?, hour: clock::now() / HOUR }
            }
        };
        Ok(Self(Arc::new(Inner { level, format, sink: Mutex::new(sink) })))
    }

    /// A log that nobody reads.
    pub fn nowhere() -> Self {
        let sink = Mutex::new(Sink::Nowhere);
        Self(Arc::new(Inner { level: Level::Fatal, format: Format::Compact, sink }))
    }

    /// Writes a line, if lines of this level are wanted.
    pub fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if level < self.0.level {
            return;
        }
        let time = clock::now();
        let line = self.0.format.line(time, level, &message.to_string());
        let mut sink = self.0.sink.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nobody to tell that the log can't be written.
        let _ = match &mut *sink {
            Sink::Stdout => io::stdout().write_all(line.as_bytes()),
            Sink::Stderr => io::stderr().write_all(line.as_bytes()),
            Sink::File { path, file, hour } => {
                if time / HOUR != *hour {
                    rotate(path, file, *hour);
                    *hour = time / HOUR;
                }
                file.write_all(line.as_bytes())
            }
            Sink::Nowhere => Ok(()),
        };
    }

    /// Calls `f` while no thread is at the log.
    pub fn at_rest<T>(&self, f: impl FnOnce() -> T) -> T {
        let _sink = self.0.sink.lock().unwrap_or_else(PoisonError::into_inner);
        f()
    }

    /// Writes a line of [`Level::Debug`].
    pub fn debug(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Debug, message);
    }

    /// Writes a line of [`Level::Info`].
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Info, message);
    }

    /// Writes a line of [`Level::Warn`].
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Warn, message);
    }

    /// Writes a line of [`Level::Error`].
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Error, message);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Moves the file of a past hour aside and begins another; where that fails, the old one goes on.
fn rotate(path: &Path, file: &mut File, hour: u64) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", clock::hour_stamp(hour * HOUR)));
    if std::fs::rename(path, aside).is_ok()
        && let Ok(next) = append(path)
    {
        *file = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_lines() {
        let time = 1_767_225_599_123_456_789;
        assert_eq!(
            Format::HumanReadable.line(time, Level::Info, "hello"),
            "2025-12-31T23:59:59.123Z INFO  hello\n"
        );
        assert_eq!(Format::Compact.line(time, Level::Warn, "hello"), "1767225599123 W hello\n");
        let json: serde_json::Value =
            serde_json::from_str(&Format::Json.line(time, Level::Error, "a \"b\"")).unwrap();
        assert_eq!(json["Level"], "ERROR");
        assert_eq!(json["Message"], "a \"b\"");
    }

    #[test]
    fn writes_only_what_matters_enough() {
        let path = std::env::temp_dir().join(format!("koala-logger-{}.log", std::process::id()));
        let target = Target::File(path.clone());
        let logger = Logger::open(&target, Level::Warn, Format::Compact).unwrap();
        logger.info(format_args!("quiet"));
        logger.warn(format_args!("loud {}", 1));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.ends_with(" W loud 1\n") && !text.contains("quiet"), "{text}");
    }
}
