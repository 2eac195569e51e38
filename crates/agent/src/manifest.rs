//! `manifest.json`, by which a directory is a recording.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use koala_events::{GivenUp, Lost};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::processes::NotCovered;

/// The name of the file.
pub const FILE_NAME: &str = "manifest.json";
/// The format of recordings that this version writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What a recording says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Manifest {
    /// Always [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of koala that wrote it last.
    #[serde(default)]
    pub koala_version: String,
    /// The program that was recorded last, and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// The machine that it ran on.
    #[serde(default)]
    pub host: String,
    /// When the first recording into this directory began, in RFC 3339.
    #[serde(default)]
    pub started_at: String,
    /// When the last one ended; `None` while it runs, and when it was killed.
    #[serde(default)]
    pub finished_at: Option<String>,
    /// Sessions written, but for those of boot.
    #[serde(default)]
    pub sessions: u64,
    /// Sessions of boot written.
    #[serde(default)]
    pub boot_sessions: u64,
    /// Events that they were made of.
    #[serde(default)]
    pub events: u64,
    /// What the recording lacks.
    #[serde(default)]
    pub lost: LostCounts,
    /// Sessions that were given up at their first byte.
    #[serde(flatten)]
    pub given_up: GivenUpCounts,
    /// Connections on which bytes crossed that the recording does not have; the sessions that used them are incomplete.
    #[serde(default)]
    pub gaps: u64,
    /// Programs that the program has executed and that are not recorded.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub not_covered: BTreeSet<NotCovered>,
    /// What was removed again, to keep within the room that the recording was given.
    #[serde(default, skip_serializing_if = "Removed::is_nothing")]
    pub removed: Removed,
    /// Why writing stopped before the end, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The files of sessions.
    #[serde(default)]
    pub files: Vec<String>,
}

/// Sessions that were given up at their first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GivenUpCounts {
    /// Because the event log was short of room.
    pub not_admitted: u64,
    /// Because the sample leaves them out.
    pub not_sampled: u64,
}

impl From<GivenUp> for GivenUpCounts {
    fn from(counts: GivenUp) -> Self {
        Self { not_admitted: counts.not_admitted, not_sampled: counts.not_sampled }
    }
}

impl GivenUpCounts {
    /// These and those.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            not_admitted: self.not_admitted + other.not_admitted,
            not_sampled: self.not_sampled + other.not_sampled,
        }
    }
}

/// What was recorded, and removed again: the oldest files of a recording that was given only so much room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Removed {
    /// Files of sessions.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sessions in them, but for those of boot.
    pub sessions: u64,
    /// The sessions of boot in them.
    pub boot_sessions: u64,
}

impl Removed {
    /// Whether it is nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// These and those.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            sessions: self.sessions + other.sessions,
            boot_sessions: self.boot_sessions + other.boot_sessions,
        }
    }
}

/// What could not be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LostCounts {
    /// Events that the log had no room for.
    #[serde(default)]
    pub events: u64,
    /// Bytes of payload in them.
    #[serde(default)]
    pub bytes: u64,
    /// Sessions that could not be written to disk.
    #[serde(default)]
    pub sessions: u64,
}

impl LostCounts {
    /// Counts of the event log and of sessions that were not written.
    pub fn new(log: Lost, sessions: u64) -> Self {
        Self { events: log.events, bytes: log.bytes, sessions }
    }

    /// These and those.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
            sessions: self.sessions + other.sessions,
        }
    }
}

/// Why a directory is no recording that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is no manifest.
    #[error("{} is not a recording: it has no {FILE_NAME}", .0.display())]
    Missing(PathBuf),
    /// There is a file of that name, which is not koala's.
    #[error("{} is not a recording: its {FILE_NAME} is not koala's ({reason})", .directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// It is of a later version.
    #[error("{} is a recording of format version {version}; this koala knows version {FORMAT_VERSION}", .directory.display())]
    Version {
        /// The directory.
        directory: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It can't be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Manifest {
    /// That of a recording that begins now.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            koala_version: env!("CARGO_PKG_VERSION").to_owned(),
            command,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            started_at: clock::rfc3339(clock::now()),
            finished_at: None,
            sessions: 0,
            boot_sessions: 0,
            events: 0,
            lost: LostCounts::default(),
            given_up: GivenUpCounts::default(),
            gaps: 0,
            not_covered: BTreeSet::new(),
            removed: Removed::default(),
            error: None,
            files: Vec::new(),
        }
    }

    /// Reads that of a directory.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] if the directory is no recording that this version reads.
    pub fn load(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(FILE_NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory.exists() => {
                return Err(ManifestError::Missing(directory.to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ManifestError::Io { path: directory.to_owned(), error });
            }
            // A file where a directory should be.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(ManifestError::Io { path: directory.to_owned(), error });
            }
            Err(error) => return Err(ManifestError::Io { path, error }),
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| ManifestError::Foreign {
            directory: directory.to_owned(),
            reason: error.to_string(),
        })?;
        if manifest.format_version != FORMAT_VERSION {
            return Err(ManifestError::Version {
                directory: directory.to_owned(),
                version: manifest.format_version,
            });
        }
        Ok(manifest)
    }

    /// Writes it into a directory, in place of the one there, in one step.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn store(&self, directory: &Path) -> io::Result<()> {
        let temporary = directory.join(format!(".{FILE_NAME}.{}", std::process::id()));
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let written = (|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&temporary, directory.join(FILE_NAME))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn is_read_as_written_and_says_what_the_format_says() {
        let directory = TempDir::new();
        let mut manifest = Manifest::new(vec!["server".to_owned(), "-p".to_owned()]);
        manifest.files.push("sessions-1-2.cborseq".to_owned());
        manifest.lost = LostCounts { events: 1, bytes: 2, sessions: 0 };
        manifest.store(directory.path()).unwrap();
        assert_eq!(Manifest::load(directory.path()).unwrap(), manifest);
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.path().join(FILE_NAME)).unwrap()).unwrap();
        assert_eq!(json["FormatVersion"], 1);
        assert_eq!(json["FinishedAt"], serde_json::Value::Null);
        assert_eq!(json["Lost"]["Bytes"], 2);
        assert_eq!(json["Command"][1], "-p");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn tells_what_is_no_recording() {
        let directory = TempDir::new();
        let path = directory.path();
        assert!(matches!(Manifest::load(path), Err(ManifestError::Missing(_))));
        assert!(matches!(Manifest::load(&path.join("nowhere")), Err(ManifestError::Io { .. })));
        fs::write(path.join(FILE_NAME), "{\"name\":\"a web page\"}").unwrap();
        assert!(matches!(Manifest::load(path), Err(ManifestError::Foreign { .. })));
        assert!(matches!(Manifest::load(&path.join(FILE_NAME)), Err(ManifestError::Io { .. })));
        fs::write(path.join(FILE_NAME), "{\"FormatVersion\":2}").unwrap();
        assert!(matches!(Manifest::load(path), Err(ManifestError::Version { version: 2, .. })));
    }
}
