//! Writing sessions to disk.
//!
//! Sessions are gathered in memory and appended to the recording's file in large pieces, at the latest
//! [`FLUSH_AFTER`] after they were delivered. When the disk is full, writing stops at the end of a session, and
//! what can't be written is counted. What is on disk is told to the standby ([`Commits`]), which cuts from the file what
//! was not, and begins another. So a session is written once, whenever the agent dies.

mod written;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use koala_session::cbor;
use koala_session::model::Session;

use crate::base;
use crate::clock;
use crate::follow::{Facts, Sink};
use crate::journal::{Commit, Commits, Journal};
use crate::logger::Logger;
use crate::manifest::{self, LostCounts, Manifest, ManifestError, Removed};
use crate::shelf::Shelf;
use written::Written;
pub(crate) use written::occurred_at;

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
    /// Of the sessions that a predecessor was done with, how many it gave up.
    given_up: AtomicU64,
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
    /// The number in the name of `file`.
    number: u64,
    /// The length of `file`, all of it whole sessions.
    length: u64,
    /// The files of the recording.
    shelf: Shelf,
    gathered: Gathered,
    encoder: cbor::Encoder,
    progress: Arc<Progress>,
    /// Sessions that were handed over, written or not.
    taken: u64,
    /// Of the next sessions that are handed over, how many are on disk already, or were given up.
    known: u64,
    /// What an agent has written that is dead, and whose standby is: that comes again.
    written: Written,
    /// How much of the recording is of this run is not known before its files are counted: that waits until the end,
    /// when the program does not.
    counts_all: bool,
    /// What the standby is told.
    commits: Option<Commits>,
    /// Why writing stopped.
    failure: Option<String>,
    /// What the manifest will say; the counts in it are those of earlier recordings into this directory.
    manifest: Manifest,
    /// What had been removed when the counts of the manifest were made.
    removed_before: Removed,
    logger: Logger,
}

/// A new file of sessions, its name and the number in it.
fn new_file(directory: &Path) -> io::Result<(File, String, u64)> {
    let number = clock::now();
    let name = format!("{}{}.cborseq", prefix(number), std::process::id());
    let file =
        fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(directory.join(&name))?;
    Ok((file, name, number))
}

/// How the name of the file with this number begins.
fn prefix(number: u64) -> String {
    format!("sessions-{number:020}-")
}

/// Cuts from the file that a dead recorder was writing what it had not told of.
fn cut(directory: &Path, commit: Commit) -> io::Result<()> {
    let prefix = prefix(commit.file);
    let names = Shelf::new(directory, None)?.names();
    if let Some(name) = names.into_iter().find(|name| name.starts_with(&prefix)) {
        let file = fs::OpenOptions::new().write(true).open(directory.join(name))?;
        file.set_len(commit.length)?;
    }
    Ok(())
}

impl Recorder {
    /// Begins a recording in `directory`, which is made if it is not there; or goes on with the one in it, in a
    /// new file. If that one's recorder was killed, what it has left is counted. Beyond `max_disk` bytes, the oldest
    /// files are removed.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the directory holds something else, or can't be written.
    pub fn create(
        directory: &Path,
        command: Vec<String>,
        max_disk: Option<u64>,
        logger: Logger,
    ) -> Result<Self, RecordError> {
        let refuse = |error| RecordError::Directory { path: directory.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(refuse)?;
        let mut manifest = Manifest::new(command);
        let mut shelf = Shelf::new(directory, max_disk).map_err(refuse)?;
        match Manifest::load(directory) {
            Ok(earlier) => {
                let killed = earlier.finished_at.is_none();
                manifest = Manifest {
                    command: manifest.command,
                    host: manifest.host,
                    koala_version: manifest.koala_version,
                    finished_at: None,
                    ..earlier
                };
                if killed {
                    let counted = shelf.count().map_err(refuse)?;
                    manifest.sessions = counted.sessions;
                    manifest.boot_sessions = counted.boot_sessions;
                    if counted.torn > 0 {
                        logger.warn(format_args!(
                            "{}: the recorder before this one was killed: {} sessions that it had not written to \
                             their end are skipped",
                            directory.display(),
                            counted.torn
                        ));
                    }
                }
            }
            Err(ManifestError::Missing(_)) => {
                if let Some(name) = foreign(directory).map_err(refuse)? {
                    return Err(RecordError::Foreign { path: directory.to_owned(), name });
                }
            }
            Err(error) => return Err(error.into()),
        }
        let (file, name, number) = new_file(directory).map_err(refuse)?;
        shelf.begin(name);
        manifest.files = shelf.names();
        manifest.store(directory).map_err(refuse)?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            number,
            length: 0,
            shelf,
            gathered: Gathered::default(),
            encoder: cbor::Encoder::default(),
            progress: Arc::default(),
            taken: 0,
            known: 0,
            written: Written::default(),
            counts_all: false,
            commits: None,
            failure: None,
            removed_before: manifest.removed,
            manifest,
            logger,
        })
    }

    /// Goes on with the recording in `directory` where its recorder and that one's standby have died.
    ///
    /// # Errors
    ///
    /// As [`Recorder::create`].
    pub fn go_on(
        directory: &Path,
        max_disk: Option<u64>,
        journal: &Journal,
        logger: Logger,
    ) -> Result<Self, RecordError> {
        let refuse = |error| RecordError::Directory { path: directory.to_owned(), error };
        let mut manifest = Manifest::load(directory)?;
        let commit = journal.commits().load();
        cut(directory, commit).map_err(refuse)?;
        let mut shelf = Shelf::new(directory, max_disk).map_err(refuse)?;
        let written = Written::read(directory, &shelf.names(), base::since(journal)).map_err(refuse)?;
        let progress = Progress::default();
        progress.unwritten.store(commit.unwritten, Ordering::Relaxed);
        let (file, name, number) = new_file(directory).map_err(refuse)?;
        shelf.begin(name);
        manifest.files = shelf.names();
        manifest.store(directory).map_err(refuse)?;
        let recorder = Self {
            directory: directory.to_owned(),
            file,
            number,
            length: 0,
            shelf,
            gathered: Gathered::default(),
            encoder: cbor::Encoder::default(),
            progress: Arc::new(progress),
            taken: 0,
            known: 0,
            written,
            counts_all: true,
            commits: Some(journal.commits()),
            failure: None,
            removed_before: Removed::default(),
            manifest,
            logger,
        };
        recorder.commit();
        Ok(recorder)
    }

    /// How it goes.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Why writing stopped, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Where to tell what is on disk.
    pub fn tell(&mut self, commits: Commits) {
        self.commits = Some(commits);
        self.commit();
    }

    fn commit(&self) {
        if let Some(commits) = &self.commits {
            commits.store(Commit {
                sessions: self.taken - self.gathered.sessions - self.gathered.boot_sessions,
                unwritten: self.progress.unwritten(),
                file: self.number,
                length: self.length,
            });
        }
    }

    fn fail(&mut self, reason: String) {
        self.logger.error(format_args!("{reason}"));
        self.failure.get_or_insert(reason);
    }

    /// Appends what was gathered to the file.
    fn flush(&mut self) {
        self.gathered.since = None;
        if self.gathered.bytes.is_empty() {
            return;
        }
        let Gathered { sessions, boot_sessions, .. } = self.gathered;
        match self.file.write_all(&self.gathered.bytes) {
            Ok(()) => {
                self.length += self.gathered.bytes.len() as u64;
                self.progress.sessions.fetch_add(sessions, Ordering::Relaxed);
                self.progress.boot_sessions.fetch_add(boot_sessions, Ordering::Relaxed);
                self.shelf.wrote(self.gathered.bytes.len() as u64, sessions, boot_sessions);
            }
            Err(error) => {
                self.progress.unwritten.fetch_add(sessions + boot_sessions, Ordering::Relaxed);
                // A part of them may have been written: the file ends with the last piece that is whole.
                let _ = self.file.set_len(self.length);
                self.fail(format!("writing to {} stopped: {error}", self.directory.display()));
            }
        }
        self.gathered.sessions = 0;
        self.gathered.boot_sessions = 0;
        self.gathered.bytes.clear();
        self.gathered.bytes.shrink_to(2 * FLUSH_AT);
        self.commit();
        if self.failure.is_none() && self.shelf.is_full() {
            self.turn_over();
        }
    }

    /// Goes on in a new file, and makes room on the disk.
    fn turn_over(&mut self) {
        if let Err(error) = self.next_file() {
            self.fail(format!("no further file can be made in {}: {error}", self.directory.display()));
        }
    }

    fn next_file(&mut self) -> io::Result<()> {
        let (file, name, number) = new_file(&self.directory)?;
        (self.file, self.number, self.length) = (file, number, 0);
        self.commit();
        self.shelf.begin(name);
        let (removed, paths) = self.shelf.make_room();
        self.manifest.removed = self.manifest.removed.plus(removed);
        self.manifest.files = self.shelf.names();
        self.manifest.store(&self.directory)?;
        for path in paths {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // A reader may have put one beside it.
            let mut index = path.into_os_string();
            index.push(".index");
            let _ = fs::remove_file(index);
        }
        Ok(())
    }

    /// Goes on where a recorder has died that was a copy of this one until `self.taken` sessions were handed over.
    pub fn succeed(&mut self) {
        let Some(commit) = self.commits.map(|commits| commits.load()) else { return };
        self.known = commit.sessions.saturating_sub(self.taken);
        let written = self.progress.unwritten.swap(commit.unwritten, Ordering::Relaxed);
        let given_up = commit.unwritten.saturating_sub(written);
        self.progress.given_up.store(given_up, Ordering::Relaxed);
        match self.take_over(commit) {
            Ok(()) => self.turn_over(),
            Err(error) => self.fail(format!("{} can't be gone on with: {error}", self.directory.display())),
        }
    }

    /// Cuts from the file that the dead recorder was writing what it had not told of.
    fn take_over(&mut self, commit: Commit) -> io::Result<()> {
        cut(&self.directory, commit)?;
        self.shelf = Shelf::new(&self.directory, self.shelf.limit())?;
        if let Ok(manifest) = Manifest::load(&self.directory) {
            self.manifest.removed = manifest.removed;
        }
        Ok(())
    }

    fn count_all(&mut self) {
        match self.shelf.count() {
            Ok(counted) => {
                let Manifest { sessions, boot_sessions, removed, .. } = &self.manifest;
                let of_this_run = (counted.sessions + removed.sessions).saturating_sub(*sessions);
                self.progress.sessions.store(of_this_run, Ordering::Relaxed);
                let of_boot = (counted.boot_sessions + removed.boot_sessions).saturating_sub(*boot_sessions);
                self.progress.boot_sessions.store(of_boot, Ordering::Relaxed);
            }
            Err(error) => self.fail(format!("{} can't be counted: {error}", self.directory.display())),
        }
    }

    /// Writes what is left, and the manifest, with what is known of the whole.
    pub fn complete(&mut self, facts: &Facts) {
        self.flush();
        let _ = self.file.sync_data();
        if self.counts_all {
            self.count_all();
        }
        let progress = &self.progress;
        let earlier = &self.manifest;
        let removed = |all: u64, before: u64| all.saturating_sub(before);
        let (all, before) = (&earlier.removed, &self.removed_before);
        let manifest = Manifest {
            finished_at: Some(clock::rfc3339(clock::now())),
            sessions: (earlier.sessions + progress.sessions())
                .saturating_sub(removed(all.sessions, before.sessions)),
            boot_sessions: (earlier.boot_sessions + progress.boot_sessions())
                .saturating_sub(removed(all.boot_sessions, before.boot_sessions)),
            events: earlier.events + facts.events,
            lost: earlier.lost.plus(LostCounts::new(facts.lost, progress.unwritten())),
            given_up: earlier.given_up.plus(facts.given_up.into()),
            gaps: earlier.gaps + facts.gaps,
            not_covered: earlier.not_covered.union(&facts.not_covered).cloned().collect(),
            error: self.failure.clone(),
            ..earlier.clone()
        };
        if let Err(error) = manifest.store(&self.directory) {
            self.fail(format!("{}: {error}", self.directory.join(manifest::FILE_NAME).display()));
        }
    }
}

impl Sink for Recorder {
    fn session(&mut self, mut session: Box<Session>) -> Option<Box<Session>> {
        self.taken += 1;
        if self.written.has(&mut session) {
            self.known = self.known.saturating_sub(1);
            return Some(session);
        }
        let boot = session.call_from_inbound.is_none();
        if self.known > 0 {
            self.known -= 1;
            if self.known >= self.progress.given_up.load(Ordering::Relaxed) {
                let count = if boot { &self.progress.boot_sessions } else { &self.progress.sessions };
                count.fetch_add(1, Ordering::Relaxed);
            }
            return Some(session);
        }
        if self.failure.is_some() {
            self.progress.unwritten.fetch_add(1, Ordering::Relaxed);
            return Some(session);
        }
        self.encoder.encode(&session, &mut self.gathered.bytes);
        if boot {
            self.gathered.boot_sessions += 1;
        } else {
            self.gathered.sessions += 1;
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

    fn at_rest(&mut self, f: &mut dyn FnMut()) {
        self.flush();
        f();
    }

    fn succeed(&mut self) {
        Self::succeed(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Entry;
    use crate::processes::NotCovered;
    use crate::recording::Recording;
    use crate::testing::{TempDir, session};
    use koala_events::{GivenUp, Lost};
    use koala_session::model::{Action, ResolveName};
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    fn of_events(events: u64) -> Facts {
        Facts { events, ..Facts::default() }
    }

    #[test]
    fn what_is_written_can_be_read_and_is_private() {
        let directory = TempDir::new();
        let path = directory.path().join("new/recording");
        let mut recorder = Recorder::create(&path, vec!["x".to_owned()], None, Logger::nowhere()).unwrap();
        let progress = recorder.progress();
        for number in 0..3 {
            recorder.session(Box::new(session(number)));
        }
        let boot =
            Session { context: "boot".to_owned(), session_id: "boot".to_owned(), ..Session::default() };
        recorder.session(Box::new(boot.clone()));
        let uncovered = NotCovered { program: "/bin/su".to_owned(), reason: "privileged".to_owned() };
        recorder.complete(&Facts {
            lost: Lost { events: 2, bytes: 30 },
            given_up: GivenUp { not_admitted: 4, not_sampled: 5 },
            gaps: 6,
            not_covered: BTreeSet::from([uncovered.clone()]),
            ..of_events(17)
        });
        assert_eq!(progress.sessions(), 3);
        let manifest = Manifest::load(&path).unwrap();
        assert_eq!((manifest.sessions, manifest.boot_sessions, manifest.events), (3, 1, 17));
        assert_eq!(manifest.lost, LostCounts { events: 2, bytes: 30, sessions: 0 });
        assert_eq!(manifest.given_up, GivenUp { not_admitted: 4, not_sampled: 5 }.into());
        assert_eq!((manifest.gaps, manifest.not_covered), (6, BTreeSet::from([uncovered])));
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
            let mut recorder =
                Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
            recorder.session(Box::new(session(number)));
            recorder.complete(&of_events(5));
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
        let mut recorder = Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
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
        let create = |path: &Path| Recorder::create(path, Vec::new(), None, Logger::nowhere());
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
        let create = || Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere());
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
    fn who_goes_on_writes_no_session_twice_and_none_less() {
        for (flushed, torn) in [(0, 0), (2, 0), (2, 3), (3, 40)] {
            let directory = TempDir::new();
            let commits = Journal::new().unwrap().commits();
            let create = || Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
            let mut dead = create();
            dead.tell(commits);
            let copy = |dead: &Recorder| Recorder {
                file: dead.file.try_clone().unwrap(),
                directory: dead.directory.clone(),
                shelf: Shelf::new(&dead.directory, None).unwrap(),
                gathered: Gathered::default(),
                encoder: cbor::Encoder::default(),
                progress: Arc::default(),
                written: Written::default(),
                failure: None,
                manifest: dead.manifest.clone(),
                logger: Logger::nowhere(),
                ..*dead
            };
            let mut heir = copy(&dead);
            for number in 0..5 {
                dead.session(Box::new(session(number)));
                if number + 1 == flushed {
                    dead.flush();
                }
            }
            // It is killed in the middle of a write.
            let bytes = dead.gathered.bytes.clone();
            dead.file.write_all(bytes.get(..torn).unwrap()).unwrap();
            heir.succeed();
            for number in 0..6 {
                heir.session(Box::new(session(number)));
            }
            heir.complete(&of_events(6));
            let mut ids = Vec::new();
            let recording = Recording::open(directory.path()).unwrap();
            assert_eq!(recording.read(|_, session| ids.push(session.session_id)).unwrap(), []);
            assert_eq!(ids, (0..6).map(|number| session(number).session_id).collect::<Vec<_>>());
            let manifest = Manifest::load(directory.path()).unwrap();
            assert_eq!((manifest.sessions, manifest.files.len()), (6, 2));
        }
    }

    #[test]
    fn who_goes_on_without_a_copy_writes_no_session_twice_and_none_less() {
        for (flushed, torn) in [(0, 0), (2, 0), (2, 3), (3, 40)] {
            let directory = TempDir::new();
            let mut earlier =
                Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
            earlier.session(Box::new(session(100)));
            earlier.complete(&of_events(1));
            let mut journal = Journal::new().unwrap();
            journal.write_base(|put| put(&Entry::Base { events: 0, gaps: 0, now: 0 }));
            let mut dead = Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
            dead.tell(journal.commits());
            let mut boot =
                Session { context: "boot".to_owned(), session_id: "1".to_owned(), ..Session::default() };
            let lookup = |occurred_at| {
                Action::ResolveName(Box::new(ResolveName { occurred_at, ..ResolveName::default() }))
            };
            boot.actions = vec![lookup(7)];
            dead.session(Box::new(boot.clone()));
            for number in 0..5 {
                dead.session(Box::new(session(number)));
                if number + 1 == flushed {
                    dead.flush();
                }
            }
            let bytes = dead.gathered.bytes.clone();
            dead.file.write_all(bytes.get(..torn).unwrap()).unwrap();
            drop(dead);
            let mut next = Recorder::go_on(directory.path(), None, &journal, Logger::nowhere()).unwrap();
            // The ids are others, and what was in one part of a boot session may come with more.
            boot.actions.push(lookup(8));
            next.session(Box::new(Session { session_id: "2".to_owned(), ..boot }));
            for number in 0..6 {
                let again = session(number);
                next.session(Box::new(Session {
                    session_id: format!("{}-again", again.session_id),
                    ..again
                }));
            }
            next.complete(&of_events(6));
            assert_eq!(next.progress().sessions(), 6);
            let (mut requests, mut lookups) = (Vec::new(), Vec::new());
            let recording = Recording::open(directory.path()).unwrap();
            let warnings = recording.read(|_, session| {
                requests.extend(session.call_from_inbound.map(|call| call.request));
                lookups.extend(session.actions.iter().map(occurred_at));
            });
            assert_eq!(warnings.unwrap(), []);
            let expected = [100].into_iter().chain(0..6);
            let request = |number| session(number).call_from_inbound.map(|call| call.request).unwrap();
            assert_eq!(requests, expected.map(request).collect::<Vec<_>>());
            lookups.retain(|time| *time == 7 || *time == 8);
            assert_eq!(lookups, [7, 8]);
            let manifest = Manifest::load(directory.path()).unwrap();
            assert_eq!((manifest.sessions, manifest.files.len()), (7, 3));
        }
    }

    #[test]
    fn what_a_killed_recorder_has_left_is_counted_by_the_next() {
        let directory = TempDir::new();
        let create = || Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
        let mut dead = create();
        for number in 0..3 {
            dead.session(Box::new(session(number)));
        }
        dead.flush();
        dead.file.write_all(b"\xab\x69SessionId").unwrap();
        drop(dead);
        let mut next = create();
        next.session(Box::new(session(3)));
        next.complete(&of_events(1));
        let manifest = Manifest::load(directory.path()).unwrap();
        assert_eq!((manifest.sessions, manifest.files.len()), (4, 2));
        let mut count = 0;
        let warnings = Recording::open(directory.path()).unwrap().read(|_, _| count += 1).unwrap();
        assert_eq!((count, warnings.len()), (4, 1));
    }

    #[test]
    fn the_oldest_files_go_when_the_disk_has_its_fill() {
        let directory = TempDir::new();
        let limit = 40_000;
        let mut recorder =
            Recorder::create(directory.path(), Vec::new(), Some(limit), Logger::nowhere()).unwrap();
        for number in 0..1000 {
            recorder.session(Box::new(session(number)));
            recorder.flush();
            let used: u64 = fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "cborseq"))
                .map(|path| fs::metadata(path).unwrap().len())
                .sum();
            assert!(used <= limit, "{used}");
        }
        recorder.complete(&of_events(1000));
        let manifest = Manifest::load(directory.path()).unwrap();
        let mut numbers = Vec::new();
        Recording::open(directory.path())
            .unwrap()
            .read(|_, session| numbers.push(session.session_id))
            .unwrap();
        assert!(manifest.files.len() > 2 && manifest.removed.files > 2, "{manifest:?}");
        assert_eq!(manifest.sessions, numbers.len() as u64);
        assert_eq!(manifest.sessions + manifest.removed.sessions, 1000);
        let create = || Recorder::create(directory.path(), Vec::new(), Some(limit), Logger::nowhere());
        create().unwrap().complete(&of_events(0));
        let again = Manifest::load(directory.path()).unwrap();
        assert_eq!((again.sessions, again.removed), (manifest.sessions, manifest.removed));
        assert_eq!(numbers.last(), Some(&session(999).session_id), "the newest stay");
    }

    #[test]
    fn a_full_disk_is_counted_and_named() {
        let directory = TempDir::new();
        let mut recorder = Recorder::create(directory.path(), Vec::new(), None, Logger::nowhere()).unwrap();
        recorder.session(Box::new(session(0)));
        recorder.flush();
        recorder.file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        recorder.session(Box::new(session(1)));
        recorder.flush();
        recorder.session(Box::new(session(2)));
        assert!(recorder.failure().unwrap().contains("No space left"));
        recorder.complete(&of_events(3));
        let manifest = Manifest::load(directory.path()).unwrap();
        assert_eq!((manifest.sessions, manifest.lost.sessions), (1, 2));
        assert!(manifest.error.unwrap().contains("No space left"));
    }
}
