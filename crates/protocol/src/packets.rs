//! Streams of packets that begin with their length: MySQL, PostgreSQL, MongoDB, FastCGI, framed Thrift and
//! memcached's binary protocol are framed by one loop, each with its own idea of a length and of what ends a message.

use crate::{Expected, Step};

/// So many bytes of each packet are kept for [`Messages::packet`].
pub(crate) const HEAD: usize = 40;

/// What the first bytes of a packet say about its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// More bytes will tell.
    Unknown,
    /// So many bytes, those that tell it included.
    Bytes(u64),
    /// These bytes begin no packet.
    Invalid,
}

/// What a packet does to the message that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// The message goes on with the next packet.
    #[default]
    More,
    /// It is the last of its message.
    End,
    /// As [`After::End`], and the stream speaks another protocol from there on.
    Switch,
    /// The stream is not of this protocol after all.
    Invalid,
}

/// What packets mean in one direction of a protocol.
pub trait Messages {
    /// The length of the packet that begins with `head`. It must depend on the same few bytes whether or not more
    /// are there, and say [`Length::Unknown`] for at most the first 39.
    ///
    /// Of a response, `expected` is what its request says about it.
    fn length(&self, head: &[u8], expected: Expected) -> Length;

    /// Takes a whole packet of `length` bytes, of which `head` holds the first (40 at most).
    ///
    /// Of a request, it says in `expected` what its response will be; of a response, it finds there what its request
    /// says. Unless it says otherwise, each packet is a message.
    fn packet(&mut self, head: &[u8], length: u64, expected: &mut Expected) -> After {
        let _ = (head, length, expected);
        After::End
    }

    /// What is left after bytes of the stream were lost: a framer for the next message, where what was agreed on
    /// at its beginning is still known.
    fn resumed(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

/// The server's side of a protocol whose packets are as long as `Requests` says in both directions, each of them a
/// message.
#[derive(Clone, Debug, Default)]
pub struct Replies<Requests>(Requests);

impl<Requests: Messages> Messages for Replies<Requests> {
    fn length(&self, head: &[u8], expected: Expected) -> Length {
        self.0.length(head, expected)
    }
}

/// Finds the ends of messages that consist of packets.
#[derive(Clone, Debug)]
pub struct Packets<M> {
    pub(crate) messages: M,
    pub(crate) expected: Expected,
    head: [u8; HEAD],
    /// How much of the packet under way was seen.
    seen: u64,
    /// Its length; 0 while it is not known.
    length: u64,
}

impl<M: Messages + Default> Default for Packets<M> {
    fn default() -> Self {
        Self::new(M::default())
    }
}

impl<M: Messages> Packets<M> {
    /// At the beginning of a stream.
    pub fn new(messages: M) -> Self {
        Self { messages, expected: Expected::Message, head: [0; HEAD], seen: 0, length: 0 }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = self.seen.min(HEAD as u64) as usize;
            let room = self.head.get_mut(before..).unwrap_or_default();
            let copied = room.len().min(rest.len());
            for (to, from) in room.iter_mut().zip(rest) {
                *to = *from;
            }
            if self.length == 0 {
                let head = self.head.get(..before + copied).unwrap_or_default();
                match self.messages.length(head, self.expected) {
                    Length::Bytes(length) if length > self.seen => self.length = length,
                    Length::Unknown if copied == rest.len() => {
                        self.seen += copied as u64;
                        return Step::More;
                    }
                    _ => return Step::Invalid,
                }
            }
            let here = (self.length - self.seen).min(rest.len() as u64);
            self.seen += here;
            rest = rest.get(here as usize..).unwrap_or_default();
            if self.seen < self.length {
                break;
            }
            let known = self.length.min(HEAD as u64) as usize;
            let head = self.head.get(..known).unwrap_or_default();
            let after = self.messages.packet(head, self.length, &mut self.expected);
            (self.seen, self.length) = (0, 0);
            let end = bytes.len() - rest.len();
            match after {
                After::More => {}
                After::End => return Step::End(end),
                After::Switch => return Step::Switch(end),
                After::Invalid => return Step::Invalid,
            }
        }
        Step::More
    }

    /// As [`Messages::resumed`].
    pub fn resumed(&self) -> Option<Self> {
        self.messages.resumed().map(Self::new)
    }
}

/// Takes bytes from a head, which may lack them.
pub(crate) fn byte(head: &[u8], at: usize) -> u8 {
    head.get(at).copied().unwrap_or_default()
}

/// A big-endian number of four bytes in a head.
pub(crate) fn u32_be(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A little-endian number of four bytes in a head.
pub(crate) fn u32_le(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
