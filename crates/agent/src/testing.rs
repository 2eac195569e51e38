//! What the tests share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use koala_session::model::{CallFromInbound, ReturnInbound, Session};

/// A directory that goes away.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("koala-agent-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A session like any other.
pub(crate) fn session(number: u64) -> Session {
    Session {
        session_id: format!("session-{number}"),
        call_from_inbound: Some(CallFromInbound {
            occurred_at: 1_700_000_000_000_000_000 + number,
            request: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            ..CallFromInbound::default()
        }),
        return_inbound: Some(ReturnInbound {
            occurred_at: 1_700_000_000_000_000_001 + number,
            response: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
            ..ReturnInbound::default()
        }),
        ..Session::default()
    }
}

/// A message of PostgreSQL's protocol.
pub(crate) fn postgres_message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}
