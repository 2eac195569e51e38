//! Storage commands of memcached's text protocol.
//!
//! Its other commands are single lines, which say what they ask for as they are.

/// `set`, `add`, `replace`, `append`, `prepend` or `cas`, with what is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage<'a> {
    /// The command.
    pub command: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// Flags, lifetime, length and what follows them, as sent.
    pub options: &'a [u8],
    /// The lifetime.
    pub lifetime: &'a [u8],
    /// What is to be stored.
    pub value: &'a [u8],
}

impl<'a> Storage<'a> {
    /// Decodes one storage command, or `None`.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', request.get(..request.len().min(512))?)?;
        let line = request.get(..end)?.strip_suffix(b"\r")?;
        let mut words = line.split(|byte| *byte == b' ');
        let command = words.next()?;
        if !matches!(command, b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas") {
            return None;
        }
        let key = words.next()?;
        let options = line.get(command.len() + 1 + key.len() + 1..)?;
        let _flags = words.next()?;
        let lifetime = words.next()?;
        let length: usize = core::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let value = request.get(end + 1..)?.strip_suffix(b"\r\n")?;
        (value.len() == length).then_some(Self { command, key, options, lifetime, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_commands() {
        let storage = Storage::parse(b"set user:1 0 60 5\r\nhe\nlo\r\n").expect("valid");
        assert_eq!(
            (storage.command, storage.key, storage.lifetime, storage.value),
            (&b"set"[..], &b"user:1"[..], &b"60"[..], &b"he\nlo"[..])
        );
        for bytes in [
            &b"set user:1 0 60 4\r\nhello\r\n"[..],
            b"get a\r\n",
            b"set\r\n",
            b"set a\r\n\r\n",
            b"",
            b"set a 0 0 99999999999999999999\r\n\r\n",
        ] {
            assert_eq!(Storage::parse(bytes), None, "{:?}", bytes.escape_ascii());
        }
    }
}
