//! Socket addresses: those of events, those of Rust, and their text.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use koala_events::Address;
use koala_session::model::{Peer, UnixAddr};

use crate::config::Listen;

/// An address of Rust's as the event log has it.
pub fn address_of(address: SocketAddr) -> Address {
    match address.ip() {
        IpAddr::V4(ip) => Address::V4(ip.octets(), address.port()),
        IpAddr::V6(ip) => Address::V6(ip.octets(), address.port()),
    }
}

/// One form for addresses that mean the same: an IPv4 address in IPv6 clothes (a dual-stack socket) becomes an
/// IPv4 address.
pub fn canonical(address: Address) -> Address {
    match address {
        Address::V6(ip, port) => match Ipv6Addr::from(ip).to_ipv4_mapped() {
            Some(ip) => Address::V4(ip.octets(), port),
            None => address,
        },
        other => other,
    }
}

/// The address that a session's peer says, in canonical form; [`Address::None`] if it says none.
pub fn address_of_peer(peer: &Peer, unix: &UnixAddr) -> Address {
    if let Ok(ip) = peer.ip.parse::<IpAddr>() {
        return canonical(address_of(SocketAddr::new(ip, peer.port)));
    }
    match unix.name.strip_prefix('@') {
        _ if unix.name.is_empty() => Address::None,
        Some(name) => abstract_name(name.as_bytes()),
        None => Address::unix(unix.name.as_bytes()),
    }
}

/// An abstract unix address.
pub fn abstract_name(name: &[u8]) -> Address {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    bytes.push(0);
    bytes.extend_from_slice(name);
    Address::unix(&bytes)
}

/// Reads the text of an address, as `Display` of [`Address`] writes it. Escaped bytes of unix paths are not read:
/// such a path names nothing that koala connects to.
pub fn parse_address(text: &str) -> Address {
    match text.strip_prefix("unix:") {
        Some(path) => match path.strip_prefix('@') {
            Some(name) => abstract_name(name.as_bytes()),
            None => Address::unix(path.as_bytes()),
        },
        None => text.parse().map_or(Address::None, address_of),
    }
}

/// Binds a TCP listener.
///
/// # Errors
///
/// That of the last address tried.
pub fn bind(listen: Listen) -> io::Result<std::net::TcpListener> {
    let listener = match listen {
        Listen::At(address) => std::net::TcpListener::bind(address)?,
        Listen::Everywhere(port) => std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_address_are_the_same() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/x.sock", "unix:@name"] {
            assert_eq!(parse_address(text).to_string(), text);
        }
        assert_eq!(parse_address("nonsense"), Address::None);
    }

    #[test]
    fn dual_stack_sockets_see_ipv4() {
        let mapped = parse_address("[::ffff:127.0.0.1]:80");
        assert_eq!(canonical(mapped), Address::V4([127, 0, 0, 1], 80));
        let peer = Peer { ip: "::ffff:10.0.0.1".to_owned(), port: 9, zone: String::new() };
        assert_eq!(address_of_peer(&peer, &UnixAddr::default()), Address::V4([10, 0, 0, 1], 9));
    }
}
