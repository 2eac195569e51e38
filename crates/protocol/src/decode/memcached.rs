//! memcached's commands, text and binary.

use super::Reader;
use crate::memcached::{data_length, form_of, words};
use alloc::borrow::Cow;

/// One command, or the reads of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// Its name in the text protocol: `get`, `set`, `mg`, ...; `noop` and the like where only the binary protocol
    /// has it.
    pub command: &'a [u8],
    /// The key; of `get` and the reads of a batch all keys, with a space between them.
    pub key: Cow<'a, [u8]>,
    /// As sent: of what stores something flags, lifetime, length and what follows them; else what is asked for
    /// besides the key.
    pub options: &'a [u8],
    /// The lifetime, in text or in four bytes.
    pub lifetime: &'a [u8],
    /// What is to be stored; `None` where nothing is.
    pub value: Option<&'a [u8]>,
}

/// The operations of the binary protocol, by their name in the text protocol.
const OPERATIONS: [&[u8]; 0x25] = [
    b"get",
    b"set",
    b"add",
    b"replace",
    b"delete",
    b"incr",
    b"decr",
    b"quit",
    b"flush_all",
    b"get",
    b"noop",
    b"version",
    b"get",
    b"get",
    b"append",
    b"prepend",
    b"stats",
    b"set",
    b"add",
    b"replace",
    b"delete",
    b"incr",
    b"decr",
    b"quit",
    b"flush_all",
    b"append",
    b"prepend",
    b"verbosity",
    b"touch",
    b"gat",
    b"gat",
    b"hello",
    b"sasl_list",
    b"sasl_auth",
    b"sasl_step",
    b"gat",
    b"gat",
];

impl<'a> Command<'a> {
    /// Decodes one command, or `None`. Several commands in one request are decoded where they are a batch of the
    /// binary protocol that reads.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        if request.first() == Some(&0x80) { Self::binary(request) } else { Self::text(request) }
    }

    /// The command changes nothing: asked again, it may be answered again.
    pub fn read_only(&self) -> bool {
        matches!(self.command, b"get" | b"gets" | b"mg" | b"me" | b"mn" | b"noop" | b"version" | b"stats")
    }

    fn text(request: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', request)?;
        let line = request.get(..end)?.strip_suffix(b"\r")?;
        let data = request.get(end + 1..)?;
        let form = form_of(line).filter(|form| words(line).count() > usize::from(form.least))?;
        let value = if form.data > 0 {
            let value = data.strip_suffix(b"\r\n")?;
            Some(value).filter(|value| data_length(line, form) == Some(value.len() as u64))
        } else {
            Some(data).filter(|data| data.is_empty())
        }?;
        let word = |number| words(line).nth(number).unwrap_or_default();
        let after = |number| match words(line).nth(number) {
            // Where the word stands in its line.
            Some(word) => line.get(word.as_ptr().addr() - line.as_ptr().addr()..).unwrap_or_default(),
            None => &[],
        };
        let meta_lifetime =
            || words(line).skip(2).find_map(|flag| flag.strip_prefix(b"T")).unwrap_or_default();
        let (key, options, lifetime) = match form.name {
            b"get" | b"gets" | b"stats" => (after(1), &[][..], &[][..]),
            b"gat" | b"gats" => (after(2), &[][..], word(1)),
            b"touch" => (word(1), &[][..], word(2)),
            b"mg" | b"ms" | b"ma" | b"md" | b"me" => (word(1), after(2), meta_lifetime()),
            _ if form.data > 0 => (word(1), after(2), word(3)),
            _ => (word(1), after(2), &[][..]),
        };
        let value = (form.data > 0).then_some(value);
        Some(Self { command: word(0), key: Cow::Borrowed(key), options, lifetime, value })
    }

    fn binary(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request);
        let mut batch: Option<Self> = None;
        while !reader.is_empty() {
            let [0x80, operation] = reader.array()? else { return None };
            let key = usize::from(reader.u16_be()?);
            let [extras, 0] = reader.array()? else { return None };
            let _partition = reader.u16_be()?;
            let body = usize::try_from(reader.u32_be()?).ok()?;
            // A number that ties the answer to its question, and the version that the server gave to the value.
            reader.take(12)?;
            let mut body = Reader::new(reader.take(body)?);
            let extras = body.take(usize::from(extras))?;
            let key = body.take(key)?;
            let command = OPERATIONS.get(usize::from(operation))?;
            let timed = !matches!(*command, b"append" | b"prepend" | b"verbosity");
            let (options, lifetime) =
                extras.split_at(extras.len() - if timed { extras.len().min(4) } else { 0 });
            let value = (extras.len() == 8 || matches!(operation, 0x0e | 0x0f | 0x19 | 0x1a | 0x21 | 0x22))
                .then_some(body.rest());
            match &mut batch {
                None => batch = Some(Self { command, key: Cow::Borrowed(key), options, lifetime, value }),
                // It ends the batch.
                Some(_) if *command == b"noop" => {}
                Some(batch) if batch.command == *command && batch.command == b"get" => {
                    let keys = batch.key.to_mut();
                    keys.push(b' ');
                    keys.extend_from_slice(key);
                }
                Some(_) => return None,
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    type Shown<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8], Option<&'a [u8]>);

    fn shown<'c>(command: &'c Command<'_>) -> Shown<'c> {
        (command.command, &command.key, command.options, command.lifetime, command.value)
    }

    #[test]
    fn text_commands() {
        let cases: &[(&[u8], Shown<'_>)] = &[
            (b"set user:1 0 60 5\r\nhe\nlo\r\n", (b"set", b"user:1", b"0 60 5", b"60", Some(b"he\nlo"))),
            (b"cas k 0 0 1 9\r\nx\r\n", (b"cas", b"k", b"0 0 1 9", b"0", Some(b"x"))),
            (b"ms k 1 T90 q\r\nx\r\n", (b"ms", b"k", b"1 T90 q", b"90", Some(b"x"))),
            (b"get a\r\n", (b"get", b"a", b"", b"", None)),
            (b"gets a b\r\n", (b"gets", b"a b", b"", b"", None)),
            (b"gat 10 a b\r\n", (b"gat", b"a b", b"", b"10", None)),
            (b"touch a 10\r\n", (b"touch", b"a", b"", b"10", None)),
            (b"incr n 5\r\n", (b"incr", b"n", b"5", b"", None)),
            (b"mg k v t\r\n", (b"mg", b"k", b"v t", b"", None)),
            (b"version\r\n", (b"version", b"", b"", b"", None)),
        ];
        for (request, expected) in cases {
            let command = Command::parse(request).expect("valid");
            assert_eq!(shown(&command), *expected);
        }
        assert!(Command::parse(b"mg k v\r\n").expect("valid").read_only());
        assert!(!Command::parse(b"gat 1 k\r\n").expect("valid").read_only());
        for bytes in [
            &b"set user:1 0 60 4\r\nhello\r\n"[..],
            b"set\r\n",
            b"set a\r\n\r\n",
            b"",
            b"set a 0 0 99999999999999999999\r\n\r\n",
            b"get a\r\nget b\r\n",
            b"hello there\r\n",
        ] {
            assert_eq!(Command::parse(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    fn packet(operation: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let body = extras.len() + key.len() + value.len();
        let mut bytes = alloc::vec![0x80, operation, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
        bytes.extend_from_slice(&(body as u32).to_be_bytes());
        bytes.extend_from_slice(&[9; 12]);
        [&bytes, extras, key, value].concat()
    }

    #[test]
    fn binary_commands() {
        let set = packet(1, b"\0\0\0\x04\0\0\0\x3c", b"k", b"v");
        let command = Command::parse(&set).expect("valid");
        assert_eq!(
            shown(&command),
            (&b"set"[..], &b"k"[..], &b"\0\0\0\x04"[..], &b"\0\0\0\x3c"[..], Some(&b"v"[..]))
        );
        let batch = [packet(0x0d, b"", b"a", b""), packet(0x0d, b"", b"b", b""), packet(0x0a, b"", b"", b"")];
        let batch = batch.concat();
        let command = Command::parse(&batch).expect("valid");
        assert_eq!((command.command, &*command.key, command.value), (&b"get"[..], &b"a b"[..], None));
        let touch = packet(0x1c, b"\0\0\0\x0a", b"k", b"");
        let command = Command::parse(&touch).expect("valid");
        assert_eq!(shown(&command), (&b"touch"[..], &b"k"[..], &b""[..], &b"\0\0\0\x0a"[..], None));
        assert_eq!(Command::parse(&[&set[..], &touch].concat()), None);
        assert_eq!(Command::parse(&set[..20]), None);
    }

    proptest! {
        #[test]
        fn damaged_commands_never_panic(at in 0usize..40, value in any::<u8>(), text in any::<bool>()) {
            let mut bytes = if text { b"cas k 0 60 1 9\r\nx\r\n".to_vec() } else { packet(1, b"12345678", b"k", b"v") };
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = Command::parse(&bytes);
        }
    }
}
