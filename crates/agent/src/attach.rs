//! Handing the event log to the processes of the program.
//!
//! A process connects to `<runtime>/attach.sock` and sends 16 bytes: `KOALA\0\0\1`, its process id, four
//! reserved bytes. It is answered with 16 bytes, `KOALA\0\0\1` and the size of the event log, which carry the
//! log's descriptor (`SCM_RIGHTS`). Who is not of the agent's user, or root, gets nothing.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use crate::logger::Logger;
use crate::memory::SharedArena;
use crate::processes::Processes;

/// How both messages begin: a name and a version.
pub const GREETING: [u8; 8] = *b"KOALA\0\0\x01";

/// How long a process may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a process was not given the log.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not say what a library of this version says.
    #[error("it does not speak this version's language")]
    Greeting,
    /// It said nothing for too long.
    #[error("it said nothing")]
    Silent,
    /// It is not one of ours.
    #[error("it runs as user {0}")]
    User(u32),
}

/// Answers processes until the task is dropped.
pub async fn serve(
    listener: UnixListener,
    arena: Arc<SharedArena>,
    processes: Arc<Processes>,
    logger: Logger,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (arena, processes, logger) = (arena.clone(), processes.clone(), logger.clone());
                tokio::spawn(async move {
                    match hand_over(stream, &arena, &processes).await {
                        Ok(pid) => logger.info(format_args!("process {pid} attached")),
                        Err(error) => logger.warn(format_args!("a process was refused: {error}")),
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
) -> Result<u32, AttachError> {
    let peer = stream.peer_cred()?;
    if peer.uid() != 0 && peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(AttachError::User(peer.uid()));
    }
    let mut hello = [0; 16];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut hello))
        .await
        .map_err(|_| AttachError::Silent)??;
    let [name @ .., p0, p1, p2, p3, _, _, _, _] = hello;
    if name != GREETING {
        return Err(AttachError::Greeting);
    }
    let pid = u32::from_le_bytes([p0, p1, p2, p3]);
    // Before the answer: from then on the process may live and die by the log.
    processes.attached(pid, peer.pid());
    let mut answer = [0; 16];
    let (head, tail) = answer.split_at_mut(8);
    head.copy_from_slice(&GREETING);
    tail.copy_from_slice(&(arena.size() as u64).to_le_bytes());
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
