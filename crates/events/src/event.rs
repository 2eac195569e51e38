//! One captured call, as the log hands it to its readers.

/// What a captured call was.
///
/// The numbers are part of format version 1 and never change their meaning; a reader that meets a number
/// that it does not know skips the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// A process began to be covered. `payload`: the path of its executable. `connection` holds where it comes
    /// from, or 0: the [`Event::process`] that it was forked from (`result`: by which of its threads), or that
    /// has executed this program ([`flags::EXECUTES`]), or the number by which [`EventKind::Fork`] announced it.
    Process = 1,
    /// A socket began to listen. `payload`: the address it is bound to, as [`crate::Address`].
    Listen = 2,
    /// A connection was accepted. `payload`: two addresses, local then peer; `result`: of a unix socket, the id of
    /// the process that connected it, as the accepting one sees it; 0 where that is not known.
    Accept = 3,
    /// A connection was asked for. `payload`: two addresses, local then peer; `result` is 0 (connected),
    /// `-EINPROGRESS` (under way), or the failure as `-errno`. A failed connect has no local address.
    Connect = 4,
    /// Bytes were sent. `payload`: the bytes that the kernel took; `result`: their number, or `-errno`.
    Send = 5,
    /// Bytes arrived. `payload`: the bytes; `result`: their number, 0 at end of stream, or `-errno`.
    Receive = 6,
    /// `shutdown(2)`. `result`: its `how` (0 read, 1 write, 2 both); `payload`: as of [`EventKind::Close`].
    Shutdown = 7,
    /// The last descriptor of this process for the connection was closed. `payload`: as of [`EventKind::Totals`];
    /// empty if the kernel has no such counts.
    Close = 8,
    /// A socket that koala had not seen being made (inherited over `exec`, received from another process)
    /// was used. `payload`: two addresses, local then peer, and as of [`EventKind::Close`] what had crossed before;
    /// `result`: 1 if it was accepted, 0 if not known.
    Adopt = 9,
    /// Bytes crossed that the log does not have. `result`: how many, or -1 where that is not known.
    Gap = 10,
    /// A hook has no function behind it. `payload`: the symbol's name. Reported once a process.
    Unresolved = 11,
    /// The thread ended.
    ThreadEnd = 12,
    /// The thread makes a process. `connection`: the number of that process; with [`flags::EXECUTES`] the process
    /// executes another program at once, and the number is what that program (and what it starts) names as where
    /// it comes from. `result`: 0 before the process is made, then its process id as its maker sees it, or `-errno`.
    ///
    /// With [`flags::EXECUTES`] and the process's own number as `connection`, the process itself is about to become
    /// another program. `result` is 0, and `payload` the numbers of the connections that it leaves to that program,
    /// eight bytes each, little-endian; or the program, whose path is `payload`, can't be covered, because `result`: it
    /// gets privileges by its file (1), is linked statically (2), is built with a sanitizer whose runtime is not
    /// preloaded (3), or for another processor (4), or loads libraries that have a libc of their own (5). Or the
    /// program, whose path is `payload`, has used a socket of a kind that is neither recorded nor replayed: `result` is
    /// [`Event::SOCKETS_NOT_COVERED`] or more.
    Fork = 13,
    /// A name was looked up. `payload`: a [`crate::Lookup`]; `result`: 0, or the error that getaddrinfo(3) names
    /// (negative; those of the `gethostby*` functions are translated).
    Resolve = 14,
    /// A file was opened for appending. `payload`: its path; `connection`: a number by which what is appended
    /// refers to it, which processes that share the descriptor share; `result`: 0, or 1 where what is appended by
    /// this descriptor is not seen (libc writes it by itself).
    Open = 15,
    /// Bytes were appended to a file. `connection`: the file, by the number that [`EventKind::Open`] gave it, or 0
    /// where it is not known; `payload`: the bytes that the kernel took; `result`: their number, or `-errno`.
    Append = 16,
    /// The process ends, and with it its hold on the connection. `payload`: two numbers of eight bytes,
    /// little-endian: how many bytes at least were sent, and received by the program, as the kernel counts them for
    /// all processes that have the connection.
    Totals = 17,
}

impl EventKind {
    /// The kind with this number, or `None` if format version 1 has none.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Process,
            2 => Self::Listen,
            3 => Self::Accept,
            4 => Self::Connect,
            5 => Self::Send,
            6 => Self::Receive,
            7 => Self::Shutdown,
            8 => Self::Close,
            9 => Self::Adopt,
            10 => Self::Gap,
            11 => Self::Unresolved,
            12 => Self::ThreadEnd,
            13 => Self::Fork,
            14 => Self::Resolve,
            15 => Self::Open,
            16 => Self::Append,
            17 => Self::Totals,
            _ => return None,
        })
    }
}

/// Where the bytes of an event were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Source {
    /// At a libc call: what was on the wire.
    #[default]
    Libc = 0,
    /// At a TLS library, in clear.
    Tls = 1,
    /// At Go's own system calls.
    Go = 2,
}

impl Source {
    /// The source with this number, or `None` if format version 1 has none.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Libc,
            1 => Self::Tls,
            2 => Self::Go,
            _ => return None,
        })
    }
}

/// Bits that qualify an event.
pub mod flags {
    /// The bytes continue those of the event before it on this connection and direction: one call's bytes
    /// in several events.
    pub const CONTINUED: u16 = 1;
    /// Events on this connection were lost before this one (the log was full).
    pub const GAP_BEFORE: u16 = 2;
    /// The call was still under way when its process died: the bytes were handed to the kernel, what it
    /// took of them is not known.
    pub const UNCONFIRMED: u16 = 4;
    /// A datagram: `payload` begins with the peer's [`crate::Address`] (kind 0 if the socket is connected).
    pub const DATAGRAM: u16 = 8;
    /// The process executes another program.
    pub const EXECUTES: u16 = 16;
    /// The socket came from another process of the program by a message (`SCM_RIGHTS`, unix(7)), or was handed to one.
    pub const PASSED: u16 = 64;
    /// Of a gap: the bytes were sent; else they were received.
    pub const SENT: u16 = 128;
    /// Of a gap: what follows on the connection, up to the next event, belongs to a session that was not admitted.
    /// No session that is recorded lacks it.
    pub const NOT_ADMITTED: u16 = 32;
}

impl Event<'_> {
    /// What is added to this in the `result` of an [`EventKind::Fork`]: sixteen times the address family, and the type,
    /// of a socket (socket(2)).
    pub const SOCKETS_NOT_COVERED: i64 = 256;
}

/// One captured call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it was.
    pub kind: EventKind,
    /// Where it was seen.
    pub source: Source,
    /// Bits of [`flags`].
    pub flags: u16,
    /// The process, by a number that is unique in its tree (never reused, unlike `pid`).
    pub process: u64,
    /// The process id, as the process itself sees it.
    pub pid: u32,
    /// The thread id, as the process itself sees it.
    pub tid: u32,
    /// The execution context: 0 for the thread itself, else a virtual thread of it.
    pub context: u64,
    /// Place among the events of its process, over all threads. Taken before a send and after a receive,
    /// so that an answer always follows its question.
    pub sequence: u64,
    /// Wall-clock time in nanoseconds since 1970.
    pub time: u64,
    /// The connection, by a number that is unique in the tree; 0 where there is none. A connection that
    /// two processes share keeps its number in both.
    pub connection: u64,
    /// The descriptor that the program used.
    pub fd: i32,
    /// What the call returned; see [`EventKind`].
    pub result: i64,
    /// What the kind says.
    pub payload: &'a [u8],
}
