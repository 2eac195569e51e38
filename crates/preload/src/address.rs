//! Socket addresses between the kernel's form (`struct sockaddr`) and the log's.

use core::ffi::c_int;

use koala_events::{Address, PATH_MAX};

use crate::sys::{self, net, nr};

/// Bytes of the largest address that koala handles: `struct sockaddr_un`, 2 + 108.
pub(crate) const SOCKADDR_MAX: usize = 112;

/// A `struct sockaddr` with its length.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr {
    bytes: [u8; SOCKADDR_MAX],
    length: u32,
}

impl SockAddr {
    const fn empty() -> Self {
        Self { bytes: [0; SOCKADDR_MAX], length: SOCKADDR_MAX as u32 }
    }

    /// Its first byte.
    pub(crate) fn pointer(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// How many bytes of it count.
    pub(crate) fn length(&self) -> u32 {
        self.length
    }

    /// The address in the kernel's form.
    pub(crate) fn from_address(address: &Address) -> Self {
        let mut result = Self { bytes: [0; SOCKADDR_MAX], length: 0 };
        let mut put = |at: usize, from: &[u8]| {
            for (to, from) in result.bytes.iter_mut().skip(at).zip(from) {
                *to = *from;
            }
        };
        result.length = match address {
            Address::None => 0,
            Address::V4(ip, port) => {
                put(0, &(net::AF_INET as u16).to_ne_bytes());
                put(2, &port.to_be_bytes());
                put(4, ip);
                16
            }
            Address::V6(ip, port) => {
                put(0, &(net::AF_INET6 as u16).to_ne_bytes());
                put(2, &port.to_be_bytes());
                put(8, ip);
                28
            }
            Address::Unix(path, length) => {
                put(0, &(net::AF_UNIX as u16).to_ne_bytes());
                put(2, path);
                // A path ends with a zero byte, an abstract name does not (unix(7)).
                let end = if matches!(path, [0, ..]) { 0 } else { 1 };
                let length = *length as usize;
                if length < PATH_MAX { (2 + length + end) as u32 } else { (2 + PATH_MAX) as u32 }
            }
        };
        result
    }

    /// The address in the log's form.
    pub(crate) fn to_address(self) -> Address {
        // SAFETY: the bytes are ours, and `length` is at most their number.
        unsafe { read(self.bytes.as_ptr(), self.length.min(SOCKADDR_MAX as u32)) }
    }
}

/// Reads a `struct sockaddr` of the program. [`Address::None`] for null, other families and unnamed sockets.
///
/// # Safety
///
/// `pointer` must be null or point to `length` bytes.
pub(crate) unsafe fn read(pointer: *const u8, length: u32) -> Address {
    let length = length as usize;
    if !sys::is_plausible(pointer) || length < 2 {
        return Address::None;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(pointer, length.min(SOCKADDR_MAX)) };
    let &[f0, f1, ref rest @ ..] = bytes else { return Address::None };
    match u32::from(u16::from_ne_bytes([f0, f1])) {
        net::AF_INET => match rest {
            [p0, p1, a, b, c, d, ..] => Address::V4([*a, *b, *c, *d], u16::from_be_bytes([*p0, *p1])),
            _ => Address::None,
        },
        net::AF_INET6 => match rest {
            [p0, p1, _, _, _, _, ip @ ..] => match ip.first_chunk::<16>() {
                Some(ip) => Address::V6(*ip, u16::from_be_bytes([*p0, *p1])),
                None => Address::None,
            },
            _ => Address::None,
        },
        net::AF_UNIX => match rest {
            [] => Address::None,
            // Abstract: every byte counts.
            [0, ..] => Address::unix(rest),
            path => {
                let mut count = 0;
                for &byte in path {
                    if byte == 0 {
                        break;
                    }
                    count += 1;
                }
                Address::unix(path.get(..count).unwrap_or(path))
            }
        },
        _ => Address::None,
    }
}

fn ask(number: u32, fd: c_int) -> Address {
    let mut address = SockAddr::empty();
    // SAFETY: the kernel writes at most `length` bytes, which are there, and the length itself.
    let result = unsafe {
        sys::call(
            number,
            [fd as usize, address.bytes.as_mut_ptr() as usize, &raw mut address.length as usize, 0, 0, 0],
        )
    };
    if result < 0 { Address::None } else { address.to_address() }
}

/// getsockname(2).
pub(crate) fn local(fd: c_int) -> Address {
    ask(nr::__NR_getsockname, fd)
}

/// getpeername(2).
pub(crate) fn peer(fd: c_int) -> Address {
    ask(nr::__NR_getpeername, fd)
}

/// The process that connected the unix socket whose other end this is, as this process sees it (`SO_PEERCRED`, unix(7));
/// 0 if that is not known.
pub(crate) fn creator(fd: c_int) -> u32 {
    let mut credentials = [0u32; 3];
    let mut length = size_of_val(&credentials) as u32;
    let (level, name) = (net::SOL_SOCKET as usize, net::SO_PEERCRED as usize);
    // SAFETY: the kernel writes at most `length` bytes, which are there, and the length itself.
    let result = unsafe {
        let into = credentials.as_mut_ptr() as usize;
        sys::call(nr::__NR_getsockopt, [fd as usize, level, name, into, &raw mut length as usize, 0])
    };
    let [process, ..] = credentials;
    if result < 0 { 0 } else { process }
}

/// Whether it is a unix socket.
pub(crate) fn is_unix(fd: c_int) -> bool {
    option(fd, net::SO_DOMAIN) == Some(net::AF_UNIX)
}

/// A socket option that is an `int` of level SOL_SOCKET; `None` if `fd` is no socket.
pub(crate) fn option(fd: c_int, name: u32) -> Option<u32> {
    let mut value: u32 = 0;
    let mut length: u32 = 4;
    // SAFETY: the kernel writes at most four bytes to `value`, and the length.
    let result = unsafe {
        sys::call(
            nr::__NR_getsockopt,
            [
                fd as usize,
                net::SOL_SOCKET as usize,
                name as usize,
                &raw mut value as usize,
                &raw mut length as usize,
                0,
            ],
        )
    };
    (result >= 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        let addresses = [
            Address::V4([127, 0, 0, 1], 8080),
            Address::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], 443),
            Address::unix(b"/run/php.sock"),
            Address::unix(b"\0abstract"),
            Address::unix(&[b'x'; PATH_MAX]),
        ];
        for address in addresses {
            let kernel = SockAddr::from_address(&address);
            assert_eq!(kernel.to_address(), address);
        }
    }

    #[test]
    fn addresses_that_end_too_early_are_none() {
        let kernel = SockAddr::from_address(&Address::V6([1; 16], 443));
        for length in 0..24 {
            // SAFETY: the buffer is longer than that.
            assert_eq!(unsafe { read(kernel.pointer(), length) }, Address::None, "{length}");
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { read(core::ptr::null(), 16) }, Address::None);
    }

    #[test]
    fn a_socket_tells_its_ends() {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(local(listener.as_raw_fd()), Address::V4([127, 0, 0, 1], port));
        assert_eq!(peer(client.as_raw_fd()), Address::V4([127, 0, 0, 1], port));
        assert_eq!(peer(listener.as_raw_fd()), Address::None);
        assert_eq!(option(client.as_raw_fd(), crate::sys::net::SO_TYPE), Some(crate::sys::net::SOCK_STREAM));
        assert_eq!(option(-1, crate::sys::net::SO_TYPE), None);
    }
}
