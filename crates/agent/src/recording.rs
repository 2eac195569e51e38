//! Reading a recording.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use koala_session::cbor;
use koala_session::model::Session;

use crate::manifest::{Manifest, ManifestError};

/// A directory of sessions.
#[derive(Debug)]
pub struct Recording {
    files: Vec<PathBuf>,
}

/// Bytes of a recording that are no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl Recording {
    /// Opens the recording in `directory`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] if there is none.
    pub fn open(directory: &Path) -> Result<Self, ManifestError> {
        Manifest::load(directory)?;
        let refuse = |error: io::Error| ManifestError::Io { path: directory.to_owned(), error };
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(refuse)? {
            let path = entry.map_err(refuse)?.path();
            if path.extension().is_some_and(|extension| extension == "cborseq") {
                files.push(path);
            }
        }
        files.sort();
        Ok(Self { files })
    }

    /// Hands every session to `visit`, with the number of its file; returns what could not be read. Behind bytes
    /// that are no session, the rest of their file is skipped.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Io`] if a file can't be read.
    pub fn read(&self, mut visit: impl FnMut(usize, Session)) -> Result<Vec<Warning>, ManifestError> {
        let mut warnings = Vec::new();
        for (number, path) in self.files.iter().enumerate() {
            let bytes = fs::read(path).map_err(|error| ManifestError::Io { path: path.clone(), error })?;
            for item in cbor::split(&bytes) {
                match item {
                    Ok(session) => visit(number, session),
                    Err(error) => {
                        warnings.push(Warning { path: path.clone(), reason: error.to_string() });
                        break;
                    }
                }
            }
        }
        Ok(warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, session};

    fn recording(files: &[(&str, &[u8])]) -> TempDir {
        let directory = TempDir::new();
        Manifest::new(Vec::new()).store(directory.path()).unwrap();
        for (name, bytes) in files {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        directory
    }

    fn encoded(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in numbers {
            cbor::encode(&session(number), &mut bytes);
        }
        bytes
    }

    #[test]
    fn a_torn_item_spoils_nothing_behind_it() {
        let mut torn = encoded([0, 1]);
        torn.truncate(torn.len() - 3);
        let directory =
            recording(&[("a.cborseq", &torn), ("b.cborseq", &encoded([2])), ("notes.txt", b"hello")]);
        let mut read = Vec::new();
        let warnings = Recording::open(directory.path())
            .unwrap()
            .read(|file, session| read.push((file, session.session_id)))
            .unwrap();
        assert_eq!(read, [(0, session(0).session_id), (1, session(2).session_id)]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_string().contains("a.cborseq"));
    }

    #[test]
    fn a_foreign_file_is_a_warning() {
        let directory = recording(&[("a.cborseq", b"\xff\xd8\xff\xe0 a picture"), ("b.cborseq", b"")]);
        let warnings =
            Recording::open(directory.path()).unwrap().read(|_, _| panic!("no session here")).unwrap();
        assert_eq!(warnings.len(), 1);
    }
}
