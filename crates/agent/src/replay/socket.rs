//! A stream socket, of TCP or of unix(7).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net as unix;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use koala_events::Address;
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::config::SutAddr;
use crate::net;

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// Of TCP.
    Tcp(TcpStream),
    /// Of unix(7).
    Unix(UnixStream),
}

impl Socket {
    /// Connects to the program. The socket has an address by which the program's own report of the connection
    /// names it.
    ///
    /// # Errors
    ///
    /// That of connecting.
    pub async fn connect(to: &SutAddr) -> io::Result<(Self, Address)> {
        match to {
            SutAddr::Tcp(to) => {
                let stream = TcpStream::connect(to).await?;
                stream.set_nodelay(true)?;
                let local = net::address_of(stream.local_addr()?);
                Ok((Self::Tcp(stream), local))
            }
            SutAddr::Unix(path) => {
                static NEXT: AtomicU64 = AtomicU64::new(0);
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let name = format!("koala-inbound-{}-{number}", std::process::id());
                let stream = connect_unix(path, name.as_bytes())?;
                Ok((Self::Unix(UnixStream::from_std(stream)?), net::abstract_name(name.as_bytes())))
            }
        }
    }

    /// Waits until the socket can be read or written.
    ///
    /// # Errors
    ///
    /// That of the event loop.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads what is there, at the end of `buffer`. `None`: nothing for now; 0: the end of the stream.
    ///
    /// # Errors
    ///
    /// That of reading.
    pub fn read(&self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let mut piece = [0; 64 << 10];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut piece),
            Self::Unix(stream) => stream.try_read(&mut piece),
        };
        let read = none_if_blocked(read)?;
        buffer.extend_from_slice(piece.get(..read.unwrap_or(0)).unwrap_or_default());
        Ok(read)
    }

    /// Reads all that is there, at the end of `buffer`, whether or not the event loop has heard of it. `false`: the
    /// stream has ended.
    pub fn read_all(&self, buffer: &mut Vec<u8>) -> bool {
        let mut piece = [0; 16 << 10];
        loop {
            let read = match self {
                Self::Tcp(stream) => rustix::io::read(stream, &mut piece),
                Self::Unix(stream) => rustix::io::read(stream, &mut piece),
            };
            match read {
                Ok(0) => return false,
                Ok(count) => buffer.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(error) => return error == Errno::AGAIN,
            }
        }
    }

    /// Writes what there is room for. `None`: nothing for now.
    ///
    /// # Errors
    ///
    /// That of writing.
    pub fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        none_if_blocked(match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        })
    }

    /// Says that nothing more will be written.
    pub fn finish_writing(&self) {
        // A peer that is gone has heard it.
        let _ = match self {
            Self::Tcp(stream) => rustix::net::shutdown(stream.as_fd(), rustix::net::Shutdown::Write),
            Self::Unix(stream) => rustix::net::shutdown(stream.as_fd(), rustix::net::Shutdown::Write),
        };
    }

    /// Closes the socket so that the peer sees a reset, where there is such a thing.
    pub fn reset(self) {
        if let Self::Tcp(stream) = &self {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

fn none_if_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Connects to a unix socket from an abstract name.
fn connect_unix(path: &str, name: &[u8]) -> io::Result<unix::UnixStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    let to = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    rustix::net::connect(&socket, &to)?;
    Ok(unix::UnixStream::from(socket))
}

/// The address of the peer of a TCP connection, in canonical form.
pub fn tcp_peer(peer: SocketAddr) -> Address {
    net::canonical(net::address_of(peer))
}

/// The address of the peer of a unix connection; [`Address::None`] if it has none.
pub fn unix_peer(stream: &UnixStream) -> Address {
    // Not what accept(2) has told: what is made of that on the way here knows no abstract names.
    let Ok(peer) = rustix::net::getpeername(stream) else { return Address::None };
    let Some(Ok(peer)) = peer.map(SocketAddrUnix::try_from) else { return Address::None };
    match (peer.abstract_name(), peer.path_bytes()) {
        (Some(name), _) => net::abstract_name(name),
        (None, Some(path)) => Address::unix(path),
        (None, None) => Address::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unix_peer_is_known_by_its_abstract_name() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("koala-test-{}", std::process::id());
        let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
        let listener = unix::UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let (_client, local) = Socket::connect(&SutAddr::Unix(format!("@{name}"))).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(unix_peer(&stream), local);
        assert_ne!(local, Address::None);
    }
}
