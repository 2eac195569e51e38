//! The bytes of a call.

use crate::sys::{self, IoVec, Message, MessageEntry};

/// Most parts of a vector, and most messages of one call, that the kernel takes (`UIO_MAXIOV`).
const PARTS_MAX: usize = 1024;

/// The bytes of a call: one buffer, a vector of them, or the vectors of several messages, one behind the other.
#[derive(Clone, Copy)]
pub(crate) enum Payload {
    /// One buffer.
    Buffer(IoVec),
    /// A vector, and its parts.
    Vector(*const IoVec, usize),
    /// Messages, and their number.
    Messages(*const MessageEntry, usize),
}

impl Payload {
    /// No bytes.
    pub(crate) const NOTHING: Self = Self::Vector(core::ptr::null(), 0);

    /// One buffer.
    pub(crate) const fn buffer(base: *const u8, length: usize) -> Self {
        Self::Buffer(IoVec { base: base.cast_mut(), length })
    }

    /// A vector of buffers. Nothing where the kernel would refuse it.
    pub(crate) fn vector(vector: *const IoVec, count: usize) -> Self {
        if sys::is_plausible(vector) && count <= PARTS_MAX {
            Self::Vector(vector, count)
        } else {
            Self::NOTHING
        }
    }

    /// The buffers of a message.
    ///
    /// # Safety
    ///
    /// `message` must be null or point to a message.
    pub(crate) unsafe fn message(message: *const Message) -> Self {
        if !sys::is_plausible(message) {
            return Self::NOTHING;
        }
        // SAFETY: the caller's promise. musl's vector length is an int, with padding behind it that it leaves
        // undefined; the kernel allows 1024 (UIO_MAXIOV).
        unsafe { Self::vector((*message).vector, (*message).vector_length & 0xffff_ffff) }
    }

    /// The buffers of several messages.
    pub(crate) fn messages(entries: *const MessageEntry, count: usize) -> Self {
        if sys::is_plausible(entries) { Self::Messages(entries, count.min(PARTS_MAX)) } else { Self::NOTHING }
    }

    /// Calls `visit` with each buffer until it returns false.
    fn each(&self, mut visit: impl FnMut(IoVec) -> bool) -> bool {
        match *self {
            Self::Buffer(part) => visit(part),
            Self::Vector(vector, count) => {
                for at in 0..count {
                    // SAFETY: the program's vector has `count` parts.
                    if !visit(unsafe { *vector.add(at) }) {
                        return false;
                    }
                }
                true
            }
            Self::Messages(entries, count) => {
                for at in 0..count {
                    // SAFETY: the program's array has `count` messages.
                    let message = unsafe { Self::message(&raw const (*entries.add(at)).message) };
                    let Self::Vector(vector, parts) = message else { continue };
                    for part in 0..parts {
                        // SAFETY: the message's vector has as many parts.
                        if !visit(unsafe { *vector.add(part) }) {
                            return false;
                        }
                    }
                }
                true
            }
        }
    }

    /// The buffers as a vector: where they are one already, else those of the first message. `single` is room for
    /// one part.
    pub(crate) fn as_vector(&self, single: &mut IoVec) -> (*mut IoVec, usize) {
        match *self {
            Self::Buffer(part) => {
                *single = part;
                (&raw mut *single, 1)
            }
            Self::Vector(vector, count) => (vector.cast_mut(), count),
            Self::Messages(entries, count) if count > 0 => {
                // SAFETY: the program's array has a first message.
                match unsafe { Self::message(&raw const (*entries).message) } {
                    Self::Vector(vector, count) => (vector.cast_mut(), count),
                    _ => (core::ptr::null_mut(), 0),
                }
            }
            Self::Messages(..) => (core::ptr::null_mut(), 0),
        }
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> usize {
        let mut length = 0usize;
        self.each(|part| {
            length = length.saturating_add(part.length);
            true
        });
        length
    }

    /// Whether no part of it is where no memory is: programs pass such to see that the kernel refuses it.
    pub(crate) fn is_plausible(&self) -> bool {
        self.each(|part| part.length == 0 || sys::is_plausible(part.base))
    }

    /// Copies `length` bytes from byte `from` on.
    ///
    /// # Safety
    ///
    /// The buffers must be readable that far, and `to` have room.
    pub(crate) unsafe fn copy(&self, mut from: usize, to: *mut u8, length: usize) {
        let mut done = 0;
        self.each(|part| {
            if from >= part.length {
                from -= part.length;
                return true;
            }
            let size = (part.length - from).min(length - done);
            // SAFETY: the caller's promise; `from` and `size` stay within the part.
            unsafe { sys::copy_for_another(part.base.add(from), to.add(done), size) };
            done += size;
            from = 0;
            done < length
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(parts: &[&[u8]]) -> Vec<IoVec> {
        parts.iter().map(|part| IoVec { base: part.as_ptr().cast_mut(), length: part.len() }).collect()
    }

    fn message(vector: &mut [IoVec]) -> MessageEntry {
        MessageEntry {
            message: Message {
                name: core::ptr::null_mut(),
                name_length: 0,
                vector: vector.as_mut_ptr(),
                vector_length: vector.len(),
                control: core::ptr::null_mut(),
                control_length: 0,
                flags: 0,
            },
            length: 0,
        }
    }

    #[track_caller]
    fn all_parts(payload: Payload, whole: &[u8]) {
        assert_eq!(payload.length(), whole.len());
        assert!(payload.is_plausible());
        for from in 0..=whole.len() {
            for length in 0..=whole.len() - from {
                let mut out = vec![0; length];
                // SAFETY: the parts hold `whole`, of which the range is a part.
                unsafe { payload.copy(from, out.as_mut_ptr(), length) };
                assert_eq!(out, whole[from..from + length]);
            }
        }
    }

    #[test]
    fn any_part_of_a_vector_can_be_copied() {
        let parts = vector(&[b"abc", b"", b"defgh", b"i"]);
        all_parts(Payload::vector(parts.as_ptr(), parts.len()), b"abcdefghi");
    }

    #[test]
    fn any_part_of_messages_can_be_copied() {
        let (mut first, mut second) = (vector(&[b"ab", b"c"]), vector(&[b"", b"defg"]));
        let entries = [message(&mut first), message(&mut []), message(&mut second)];
        all_parts(Payload::messages(entries.as_ptr(), entries.len()), b"abcdefg");
    }

    #[test]
    fn what_the_kernel_refuses_is_nothing() {
        assert_eq!(Payload::vector(core::ptr::null(), 5).length(), 0);
        assert_eq!(Payload::vector(usize::MAX as *const IoVec, 5).length(), 0);
        assert_eq!(Payload::messages(core::ptr::null(), 5).length(), 0);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { Payload::message(core::ptr::null()) }.length(), 0);
        let parts = vec![IoVec { base: core::ptr::null_mut(), length: 1 }; PARTS_MAX + 1];
        assert_eq!(Payload::vector(parts.as_ptr(), parts.len()).length(), 0);
    }

    #[test]
    fn buffers_that_are_nowhere_are_told() {
        assert!(!Payload::buffer(core::ptr::null(), 1).is_plausible());
        assert!(!Payload::buffer(usize::MAX as *const u8, 1).is_plausible());
        assert!(Payload::buffer(core::ptr::null(), 0).is_plausible());
    }
}
