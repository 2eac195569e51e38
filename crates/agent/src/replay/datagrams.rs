//! The servers that play those who answer datagrams: a socket for each of them, so that both its address tells whom
//! the program has asked, and the answer comes from where the program expects it (`libkoala.so` translates both).

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Bound};
use std::sync::Arc;

use koala_events::{Address, Arena};
use koala_protocol::{ConnectionState, Protocol};
use tokio::net::UdpSocket;

use crate::follow::Caller;
use crate::net;
use crate::replay::dns;
use crate::replay::outbound::Outside;
use crate::replay::past::Past;
use crate::replay::talks::{Asked, DATAGRAMS};

/// The largest datagram (udp(7)).
const LARGEST: usize = 65_535;

/// Who stands in for a peer.
#[derive(Debug)]
pub struct StandIn {
    socket: Bound,
    /// The peer, as recorded calls name it.
    peer: String,
}

/// Binds a socket for each peer of the recording that has answered datagrams, and tells the library. Those for whom
/// there is no room are left out: datagrams to them are not answered.
///
/// # Errors
///
/// That of binding a socket.
pub fn stand_in(arena: &Arena, past: &Past) -> io::Result<Vec<StandIn>> {
    let mut all = Vec::new();
    for peer in &past.datagram_peers {
        let address = net::parse_address(peer.strip_prefix(DATAGRAMS).unwrap_or(peer));
        let loopback = match address {
            Address::V4(..) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            Address::V6(..) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            // Of unix(7), or what does not say whom it asked.
            _ => continue,
        };
        let socket = Bound::bind(loopback)?;
        socket.set_nonblocking(true)?;
        if !arena.replay_table().set_stand_in(&address, socket.local_addr()?.port()) {
            break;
        }
        all.push(StandIn { socket, peer: peer.clone() });
    }
    Ok(all)
}

impl Outside {
    /// Answers datagrams until the task is dropped. What nothing recorded answers is not answered.
    pub async fn serve_datagrams(self: Arc<Self>, stand_in: StandIn) {
        let StandIn { socket, peer } = stand_in;
        let socket = match UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return self.logger().warn(format_args!("datagrams to {peer}: {error}")),
        };
        // How many datagrams came from which socket, by its address.
        let mut heard: HashMap<SocketAddr, (u64, u64)> = HashMap::new();
        let mut buffer = vec![0; LARGEST];
        loop {
            // An error tells of an earlier datagram that could not be delivered.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let request = buffer.get(..length).unwrap_or_default();
            let before = heard.entry(from).or_default();
            let known = *before;
            let caller = self.told(|follower| follower.datagram_caller(from.port(), known)).await;
            let Some(caller) = caller else {
                self.logger().warn(format_args!("a datagram to {peer}: the log does not tell of it"));
                continue;
            };
            *before = match *before {
                (socket, count) if socket == caller.connection => (socket, count + 1),
                _ => (caller.connection, 1),
            };
            for datagram in self.answer_datagram(&peer, &caller, request) {
                let _ = socket.send_to(&datagram, from).await;
            }
        }
    }

    fn answer_datagram(&self, peer: &str, caller: &Caller, request: &[u8]) -> Vec<Vec<u8>> {
        let asked = Asked {
            connection: caller.connection,
            peer,
            protocol: Protocol::Raw,
            request,
            state: &ConnectionState::default(),
        };
        let answer = self.desk().answer(caller, &asked);
        let Some(talk) = answer.talk else {
            self.logger()
                .info(format_args!("a datagram to {peer} is not answered: {}", answer.matched.reason));
            return Vec::new();
        };
        let mut response = talk.response.clone();
        dns::set_id(request, &mut response);
        split(&response, &talk.datagrams)
    }
}

/// The datagrams of a response, by their sizes; all of it, where those are not known.
fn split(response: &[u8], sizes: &[u32]) -> Vec<Vec<u8>> {
    let mut rest = response;
    let mut datagrams = Vec::new();
    for size in sizes {
        let Some((datagram, after)) = rest.split_at_checked(*size as usize) else { break };
        datagrams.push(datagram.to_vec());
        rest = after;
    }
    if datagrams.is_empty() || !rest.is_empty() {
        datagrams.push(rest.to_vec());
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SharedArena;
    use koala_events::Mode;

    #[test]
    fn a_response_is_sent_in_the_datagrams_that_it_came_in() {
        assert_eq!(split(b"abcdef", &[2, 0, 4]), [&b"ab"[..], b"", b"cdef"]);
        assert_eq!(split(b"abc", &[]), [b"abc"]);
        assert_eq!(split(b"", &[]), [b""]);
        assert_eq!(split(b"abc", &[2, 9]), [&b"ab"[..], b"c"]);
    }

    #[test]
    fn each_peer_has_a_socket_of_its_own() {
        let arena = SharedArena::new(Mode::Replay, 1 << 20).unwrap();
        let mut past = Past::default();
        for peer in ["udp:10.0.0.1:53", "udp:10.0.0.2:53", "udp:unix:/dev/log", "udp:"] {
            past.datagram_peers.insert(peer.to_owned());
        }
        let all = stand_in(&arena.arena(), &past).unwrap();
        let replay = arena.arena();
        let ports: Vec<_> =
            [1, 2, 3].map(|last| replay.replay_table().stand_in(&Address::V4([10, 0, 0, last], 53))).to_vec();
        let bound: Vec<_> = all.iter().map(|one| one.socket.local_addr().unwrap().port()).collect();
        assert_eq!(ports, [Some(bound[0]), Some(bound[1]), None]);
    }
}
