//! Handing the event log to the processes of the program.
//!
//! A process connects to `<runtime>/attach.sock` and sends 48 bytes: `KOALA\0\0\2`, its process id, four
//! reserved bytes, and the token of the environment (`KOALA_TOKEN`) in 32 bytes with zeros behind it. It is answered
//! with 24 bytes, `KOALA\0\0\2`, the size of the event log and the number of the process in it, which carry the
//! log's descriptor (`SCM_RIGHTS`).
//!
//! Whoever runs as the agent's user, or as root, gets the log. A program may become another user before it uses the
//! network (a container's entry point does): then it must prove that it descends from the recorded program, by the
//! token, which only the program's environment has, and by its ancestors in `/proc`, which lead to a living process of
//! the program or to who started the agent. A token alone is no proof: pages that print the environment show it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use crate::logger::Logger;
use crate::memory::{self, SharedArena};
use crate::processes::{self, NotCovered, Processes};

/// How both messages begin: a name and a version.
pub const GREETING: [u8; 8] = *b"KOALA\0\0\x02";

/// How long a process may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a process was not given the log.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not say what a library of this version says.
    #[error("its libkoala.so is of another version than the agent")]
    Greeting,
    /// It said nothing for too long.
    #[error("it said nothing")]
    Silent,
    /// It is not one of ours.
    #[error("it runs as user {0}, and does not prove that it descends from the program")]
    User(u32),
}

impl AttachError {
    /// The program that goes on without being recorded, where that comes of it. Who only looks whether somebody is there
    /// says nothing, and who was cut short asks again.
    fn leaves_uncovered(&self, peer: Option<u32>) -> Option<NotCovered> {
        match self {
            Self::Io(_) | Self::Silent => None,
            Self::Greeting | Self::User(_) => {
                let program =
                    peer.map_or_else(|| "a process that can't be seen".to_owned(), processes::program);
                Some(NotCovered { program, reason: self.to_string() })
            }
        }
    }
}

/// How many ancestors of a process are looked at.
const ANCESTORS: usize = 64;
/// Bytes of a token.
const TOKEN: usize = 32;

/// By what a process of another user proves that it descends from the program.
#[derive(Clone, Debug)]
pub struct Proof {
    token: [u8; TOKEN],
    /// Who started the agent, and so the program.
    starter: Option<u32>,
}

impl Proof {
    /// The proof for a program that has this token in its environment and was started by `starter`. Without a token
    /// nothing is a proof.
    pub fn new(token: &[u8], starter: Option<u32>) -> Self {
        let mut own = [0; TOKEN];
        for (to, from) in own.iter_mut().zip(token) {
            *to = *from;
        }
        Self { token: own, starter }
    }

    fn holds(&self, token: &[u8; TOKEN], real: Option<i32>, processes: &Processes) -> bool {
        if self.token == [0; TOKEN] || self.token != *token {
            return false;
        }
        let own = real.and_then(|real| u32::try_from(real).ok());
        let ancestors = std::iter::successors(own, |pid| processes::parent(*pid));
        ancestors.take(ANCESTORS).any(|pid| self.starter == Some(pid) || processes.has(pid))
    }
}

/// Answers processes until the task is dropped.
pub async fn serve(
    listener: UnixListener,
    arena: Arc<SharedArena>,
    processes: Arc<Processes>,
    proof: Proof,
    logger: Logger,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (arena, processes, logger) = (arena.clone(), processes.clone(), logger.clone());
                let proof = proof.clone();
                tokio::spawn(async move {
                    let peer = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
                    match hand_over(stream, &arena, &processes, &proof).await {
                        Ok(pid) => logger.info(format_args!("process {pid} attached")),
                        Err(error) => {
                            logger.warn(format_args!("a process was refused: {error}"));
                            if let Some(one) = error.leaves_uncovered(peer) {
                                processes.not_covered(one);
                            }
                        }
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others may be closed meanwhile.
                logger.warn(format_args!("attach.sock: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn hand_over(
    mut stream: UnixStream,
    arena: &SharedArena,
    processes: &Processes,
    proof: &Proof,
) -> Result<u32, AttachError> {
    let peer = stream.peer_cred()?;
    let mut hello = [0; 16 + TOKEN];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut hello))
        .await
        .map_err(|_| AttachError::Silent)??;
    let (head, token) = hello.split_first_chunk::<16>().ok_or(AttachError::Greeting)?;
    let [name @ .., p0, p1, p2, p3, _, _, _, _] = *head;
    if name != GREETING {
        return Err(AttachError::Greeting);
    }
    let same_user = peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw();
    let token = token.first_chunk().ok_or(AttachError::Greeting)?;
    if !same_user && !proof.holds(token, peer.pid(), processes) {
        return Err(AttachError::User(peer.uid()));
    }
    let pid = u32::from_le_bytes([p0, p1, p2, p3]);
    if let Some(size) = peer.pid().and_then(memory::size_elsewhere) {
        arena.arena().limit(size);
    }
    let number = arena.arena().next_process();
    // Before the answer: from then on the process may live and die by the log.
    processes.attached(number, pid, peer.pid());
    let mut answer = [0; 24];
    let words = [GREETING, (arena.size() as u64).to_le_bytes(), number.to_le_bytes()];
    for (to, from) in answer.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&from);
    }
    stream.writable().await?;
    send_with_descriptor(&stream, &answer, arena)?;
    Ok(pid)
}

fn send_with_descriptor(stream: &UnixStream, message: &[u8], arena: &SharedArena) -> io::Result<()> {
    let descriptors = [arena.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let sent = rustix::net::sendmsg(stream, &[io::IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_refused_is_told_of_and_who_only_looks_is_not() {
        let directory = crate::testing::TempDir::new();
        let path = directory.path().join("attach.sock");
        let processes = Arc::new(Processes::default());
        let arena = Arc::new(SharedArena::new(koala_events::Mode::Record, 1 << 20).unwrap());
        let listener = UnixListener::bind(&path).unwrap();
        let served = serve(listener, arena, processes.clone(), Proof::new(b"", None), Logger::nowhere());
        let task = tokio::spawn(served);
        drop(UnixStream::connect(&path).await.unwrap());
        let mut other = UnixStream::connect(&path).await.unwrap();
        let hello = [&b"KOALA\0\0\x01"[..], &[0; 8 + TOKEN]].concat();
        tokio::io::AsyncWriteExt::write_all(&mut other, &hello).await.unwrap();
        assert_eq!(other.read(&mut [0; 1]).await.unwrap(), 0, "it gets nothing");
        let told: Vec<NotCovered> = processes.all_not_covered(true).into_iter().collect();
        let program = processes::program(std::process::id());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].program == program && told[0].reason.contains("another version"), "{told:?}");
        let user = AttachError::User(7).leaves_uncovered(Some(std::process::id()));
        assert!(user.is_some_and(|one| one.reason.contains("user 7")));
        task.abort();
    }

    #[test]
    fn a_descendant_has_the_token_and_the_ancestors() {
        let token = *b"0123456789abcdef0123456789abcdef";
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let real = Some(child.id() as i32);
        let processes = Processes::default();
        let started = Proof::new(&token, Some(own));
        assert!(started.holds(&token, real, &processes));
        assert!(!started.holds(&[b'0'; 32], real, &processes), "another token");
        assert!(!Proof::new(b"", Some(own)).holds(&[0; 32], real, &processes), "no token is no proof");
        let elsewhere = Proof::new(&token, Some(child.id()));
        assert!(!elsewhere.holds(&token, Some(own as i32), &processes), "a parent is no descendant");
        assert!(!elsewhere.holds(&token, None, &processes), "one that can't be seen");
        processes.attached(1, own, Some(own as i32));
        assert!(Proof::new(&token, None).holds(&token, real, &processes));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
