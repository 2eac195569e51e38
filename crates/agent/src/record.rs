//! Writing sessions to disk.
//!
//! Sessions are gathered in memory and appended to the recording's file in large pieces, at the latest
//! [`FLUSH_AFTER`] after they were delivered. When the disk is full, writing stops at the end of a session, and
//! what can't be written is counted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use koala_session::cbor;
use koala_session::model::Session;

use crate::clock;
use crate::follow::Sink;
use crate::logger::Logger;
use crate::manifest::{self, LostCounts, Manifest, ManifestError};

/// How long a delivered session may wait before it is written.
pub const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// How many bytes of sessions are gathered before they are written at once.
const FLUSH_AT: usize = 256 << 10;

/// Why a recording can't begin.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// What is there is not koala's.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The directory can't be made or written to.
    #[error("can't record to {}: {error}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The directory is somebody else's.
    #[error(
        "can't record to {}: it is not a recording, and has {name} in it; accepted: a recording, or a directory \
         that is empty or does not exist", .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        name: String,
    },
}

/// Something in a directory without a manifest that no recorder has left there.
fn foreign(directory: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let own = name.ends_with(".cborseq") || name.starts_with("manifest.json");
        // A mount point, or a directory that is kept in a repository.
        if !(own || name.starts_with('.') || name == "lost+found") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// How a recording goes; shared with those who are asked.
#[derive(Debug, Default)]
pub struct Progress {
    sessions: AtomicU64,
    boot_sessions: AtomicU64,
    unwritten: AtomicU64,
}

impl Progress {
    /// Sessions delivered, but for those of boot and those not written.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Parts of boot sessions delivered, but for those not written.
    pub fn boot_sessions(&self) -> u64 {
        self.boot_sessions.load(Ordering::Relaxed)
    }

    /// Sessions that could not be written.
    pub fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }
}

/// What was gathered: encoded sessions that are not on disk yet.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    sessions: u64,
    boot_sessions: u64,
    /// When the first of them came.
    since: Option<Instant>,
}

/// A recording that is being written.
#[derive(Debug)]
pub struct Recorder {
    directory: PathBuf,
    file: File,
    /// The length of `file`, all of it whole sessions.
    length: u64,
    gathered: Gathered,
    progress: Arc<Progress>,
    /// Why writing stopped.
    failure: Option<String>,
    /// What the manifest will say; the counts in it are those of earlier recordings into this directory.
    manifest: Manifest,
    logger: Logger,
}

impl Recorder {
    /// Begins a recording in `directory`, which is made if it is not there; or goes on with the one in it, in a
    /// new file.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the directory holds something else, or can't be written.
    pub fn create(directory: &Path, command: Vec<String>, logger: Logger) -> Result<Self, RecordError> {
        let refuse = |error| RecordError::Directory { path: directory.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(refuse)?;
        let mut manifest = Manifest::new(command);
        match Manifest::load(directory) {
            Ok(earlier) => {
                manifest = Manifest {
                    command: manifest.command,
                    host: manifest.host,
                    koala_version: manifest.koala_version,
                    finished_at: None,
                    ..earlier
                };
            }
            Err(ManifestError::Missing(_)) => {
                if let Some(name) = foreign(directory).map_err(refuse)? {
                    return Err(RecordError::Foreign { path: directory.to_owned(), name });
                }
            }
            Err(error) => return Err(error.into()),
        }
        let name = format!("sessions-{:020}-{}.cborseq", clock::now(), std::process::id());
        let file = fs::OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(directory.join(&name))
            .map_err(refuse)?;
        manifest.files.push(name);
        manifest.store(directory).map_err(refuse)?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            length: 0,
            gathered: Gathered::default(),
            progress: Arc::default(),
            failure: None,
            manifest,
            logger,
        })
    }

    /// How it goes.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Why writing stopped, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Appends what was gathered to the file.
    fn flush(&mut self) {
        let gathered = &mut self.gathered;
        gathered.since = None;
        if gathered.bytes.is_empty() {
            return;
        }
        match self.file.write_all(&gathered.bytes) {
            Ok(()) => {
                self.length += gathered.bytes.len() as u64;
                self.progress.sessions.fetch_add(gathered.sessions, Ordering::Relaxed);
                self.progress.boot_sessions.fetch_add(gathered.boot_sessions, Ordering::Relaxed);
            }
            Err(error) => {
                let lost = gathered.sessions + gathered.boot_sessions;
                self.progress.unwritten.fetch_add(lost, Ordering::Relaxed);
                // A part of them may have been written: the file ends with the last piece that is whole.
                let _ = self.file.set_len(self.length);
                let reason = format!("writing to {} stopped: {error}", self.directory.display());
                self.logger.error(format_args!("{reason}"));
                self.failure = Some(reason);
            }
        }
        gathered.sessions = 0;
        gathered.boot_sessions = 0;
        gathered.bytes.clear();
        gathered.bytes.shrink_to(2 * FLUSH_AT);
    }

    /// Writes what is left, and the manifest. `events` is how many the sessions were made of, `lost` what the
    /// event log could not take.
    pub fn complete(&mut self, events: u64, lost: koala_events::Lost) {
        self.flush();
        let _ = self.file.sync_data();
        let progress = &self.progress;
        let earlier = &self.manifest;
        let manifest = Manifest {
            finished_at: Some(clock::rfc3339(clock::now())),
            sessions: earlier.sessions + progress.sessions(),
            boot_sessions: earlier.boot_sessions + progress.boot_sessions(),
            events: earlier.events + events,
            lost: earlier.lost.plus(LostCounts::new(lost, progress.unwritten())),
            error: self.failure.clone(),
            ..earlier.clone()
        };
        if let Err(error) = manifest.store(&self.directory) {
            let reason = format!("{}: {error}", self.directory.join(manifest::FILE_NAME).display());
            self.logger.error(format_args!("{reason}"));
            self.failure.get_or_insert(reason);
        }
    }
}

impl Sink for Recorder {
    fn session(&mut self, session: Box<Session>) -> Option<Box<Session>> {
        if self.failure.is_some() {
            self.progress.unwritten.fetch_add(1, Ordering::Relaxed);
            return Some(session);
        }
        cbor::encode(&session, &mut self.gathered.bytes);
        if session.call_from_inbound.is_some() {
            self.gathered.sessions += 1;
        } else {
            self.gathered.boot_sessions += 1;
        }
        self.gathered.since.get_or_insert_with(Instant::now);
        if self.gathered.bytes.len() >= FLUSH_AT {
            self.flush();
        }
        Some(session)
    }

    fn turn(&mut self) {
        if self.gathered.since.is_some_and(|since| since.elapsed() >= FLUSH_AFTER) {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;
    use crate::testing::{TempDir, session};
    use koala_events::Lost;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_can_be_read_and_is_private() {
        let directory = TempDir::new();
        let path = directory.path().join("new/recording");
        let mut recorder = Recorder::create(&path, vec!["x".to_owned()], Logger::nowhere()).unwrap();
        let progress = recorder.progress();
        for number in 0..3 {
            recorder.session(Box::new(session(number)));
        }
        let boot =
            Session { context: "boot".to_owned(), session_id: "boot".to_owned(), ..Session::default() };
        recorder.session(Box::new(boot.clone()));
        recorder.complete(17, Lost { events: 2, bytes: 30 });
        assert_eq!(progress.sessions(), 3);
        let manifest = Manifest::load(&path).unwrap();
        assert_eq!((manifest.sessions, manifest.boot_sessions, manifest.events), (3, 1, 17));
        assert_eq!(manifest.lost, LostCounts { events: 2, bytes: 30, sessions: 0 });
        assert!(manifest.finished_at.is_some());
        let file = path.join(&manifest.files[0]);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut read = Vec::new();
        let recording = Recording::open(&path).unwrap();
        let warnings = recording.read(|_, session| read.push(session)).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(read, [session(0), session(1), session(2), boot]);
    }

    #[test]
    fn a_second_recording_goes_behind_the_first() {
        let directory = TempDir::new();
        for number in 0..2 {
            let mut recorder = Recorder::create(directory.path(), Vec::new(), Logger::nowhere()).unwrap();
            recorder.session(Box::new(session(number)));
            recorder.complete(5, Lost::default());
        }
        let manifest = Manifest::load(directory.path()).unwrap();
        assert_eq!((manifest.files.len(), manifest.sessions, manifest.events), (2, 2, 10));
        let mut ids = Vec::new();
        Recording::open(directory.path()).unwrap().read(|_, session| ids.push(session.session_id)).unwrap();
        assert_eq!(ids, [session(0).session_id, session(1).session_id]);
    }

    #[test]
    fn sessions_are_on_disk_soon_without_an_end() {
        let directory = TempDir::new();
        let mut recorder = Recorder::create(directory.path(), Vec::new(), Logger::nowhere()).unwrap();
        recorder.session(Box::new(session(0)));
        let started = Instant::now();
        while recorder.progress().sessions() == 0 {
            recorder.turn();
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        let mut count = 0;
        Recording::open(directory.path()).unwrap().read(|_, _| count += 1).unwrap();
        assert_eq!(count, 1);
        assert_eq!(Manifest::load(directory.path()).unwrap().finished_at, None);
    }

    #[test]
    fn refuses_directories_that_are_not_its_own() {
        let directory = TempDir::new();
        let create = |path: &Path| Recorder::create(path, Vec::new(), Logger::nowhere());
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let text = create(&file).unwrap_err().to_string();
        assert!(text.contains("can't record to") && text.contains("file"), "{text}");
        fs::write(directory.path().join("manifest.json"), "{}").unwrap();
        let text = create(directory.path()).unwrap_err().to_string();
        assert!(text.contains("is not a recording"), "{text}");
        assert_eq!(fs::read(directory.path().join("manifest.json")).unwrap(), b"{}");
    }

    #[test]
    fn refuses_directories_of_somebody_else() {
        let directory = TempDir::new();
        let create = || Recorder::create(directory.path(), Vec::new(), Logger::nowhere());
        fs::write(directory.path().join("letter.txt"), "").unwrap();
        let text = create().unwrap_err().to_string();
        assert!(text.contains("letter.txt") && text.contains("accepted: "), "{text}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is written to it");
        fs::remove_file(directory.path().join("letter.txt")).unwrap();
        fs::write(directory.path().join(".gitkeep"), "").unwrap();
        // What a recorder left that was killed in its first moments.
        fs::write(directory.path().join("sessions-1-1.cborseq"), "").unwrap();
        create().unwrap();
    }

    #[test]
    fn a_full_disk_is_counted_and_named() {
        let directory = TempDir::new();
        let mut recorder = Recorder::create(directory.path(), Vec::new(), Logger::nowhere()).unwrap();
        recorder.session(Box::new(session(0)));
        recorder.flush();
        recorder.file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        recorder.session(Box::new(session(1)));
        recorder.flush();
        recorder.session(Box::new(session(2)));
        assert!(recorder.failure().unwrap().contains("No space left"));
        recorder.complete(3, Lost::default());
        let manifest = Manifest::load(directory.path()).unwrap();
        assert_eq!((manifest.sessions, manifest.lost.sessions), (1, 2));
        assert!(manifest.error.unwrap().contains("No space left"));
    }
}
