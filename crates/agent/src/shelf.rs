//! The files of a recording: how large each is, and which must go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use koala_session::cbor;

use crate::manifest::Removed;

/// How large a file of sessions becomes.
const FILE_SIZE: u64 = 64 << 20;
/// Into so many files at least is the room divided that a recording was given: one of them goes at a time.
const DIVIDED: u64 = 8;

/// What is in files of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sessions, but for those of boot.
    pub sessions: u64,
    /// Sessions of boot.
    pub boot_sessions: u64,
    /// Files that end in the middle of a session.
    pub torn: u64,
}

/// What is in a file; the rest behind bytes that are no session is not.
fn count(path: &Path) -> io::Result<Counted> {
    let mut counted = Counted::default();
    for item in cbor::split(&fs::read(path)?) {
        match item {
            Ok(session) if session.call_from_inbound.is_some() => counted.sessions += 1,
            Ok(_) => counted.boot_sessions += 1,
            Err(_) => {
                counted.torn = 1;
                break;
            }
        }
    }
    Ok(counted)
}

#[derive(Debug)]
struct Book {
    name: String,
    bytes: u64,
    /// What is in it; `None` if it was not counted.
    counted: Option<Counted>,
}

/// The files of a recording.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    limit: Option<u64>,
    /// Oldest first; the last one is being written.
    books: Vec<Book>,
}

impl Shelf {
    /// The files that are in `directory`. In all they may have `limit` bytes.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn new(directory: &Path, limit: Option<u64>) -> io::Result<Self> {
        let mut books = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".cborseq") {
                books.push(Book { name, bytes: entry.metadata()?.len(), counted: None });
            }
        }
        books.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { directory: directory.to_owned(), limit, books })
    }

    /// Counts what is in the files.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn count(&mut self) -> io::Result<Counted> {
        let mut all = Counted::default();
        for book in &mut self.books {
            let counted = count(&self.directory.join(&book.name))?;
            all.sessions += counted.sessions;
            all.boot_sessions += counted.boot_sessions;
            all.torn += counted.torn;
            book.counted = Some(counted);
        }
        Ok(all)
    }

    /// How many bytes the files may have.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Their names, oldest first.
    pub fn names(&self) -> Vec<String> {
        self.books.iter().map(|book| book.name.clone()).collect()
    }

    /// A file was begun.
    pub fn begin(&mut self, name: String) {
        self.books.push(Book { name, bytes: 0, counted: Some(Counted::default()) });
    }

    /// So much was written to the newest file.
    pub fn wrote(&mut self, bytes: u64, sessions: u64, boot_sessions: u64) {
        if let Some(book) = self.books.last_mut() {
            book.bytes += bytes;
            let counted = book.counted.get_or_insert_default();
            counted.sessions += sessions;
            counted.boot_sessions += boot_sessions;
        }
    }

    fn file_size(&self) -> u64 {
        self.limit.map_or(FILE_SIZE, |limit| (limit / DIVIDED).clamp(1, FILE_SIZE))
    }

    /// Whether the newest file is as large as one becomes.
    pub fn is_full(&self) -> bool {
        self.books.last().is_some_and(|book| book.bytes >= self.file_size())
    }

    /// Strikes out the oldest files until the next one has room: what is in them, and where they are. They are to be
    /// removed when the manifest does not name them any more.
    pub fn make_room(&mut self) -> (Removed, Vec<PathBuf>) {
        let (mut removed, mut paths) = (Removed::default(), Vec::new());
        let Some(limit) = self.limit else { return (removed, paths) };
        // The next file may become a little larger than it should, by what is written at once.
        let room = limit.saturating_sub(2 * self.file_size());
        while self.books.len() > 1 && self.books.iter().map(|book| book.bytes).sum::<u64>() > room {
            let book = self.books.remove(0);
            let path = self.directory.join(&book.name);
            let counted = match book.counted {
                Some(counted) => counted,
                None => count(&path).unwrap_or_default(),
            };
            paths.push(path);
            removed = removed.plus(Removed {
                files: 1,
                bytes: book.bytes,
                sessions: counted.sessions,
                boot_sessions: counted.boot_sessions,
            });
        }
        (removed, paths)
    }
}
