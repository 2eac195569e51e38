//! koala 1.x keeps a trace header as bytes, a list of (length, key, length, value) with lengths of two bytes, and
//! shows it in JSON as an object. Bytes that are no such list, or a list that an object cannot say, are not shown.

/// The list as pairs; `None` where an object could not give the same bytes back.
pub(super) fn pairs(mut header: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
    while !header.is_empty() {
        let (key, rest) = part(header)?;
        let (value, rest) = part(rest)?;
        if pairs.iter().any(|(other, _)| *other == key) {
            return None;
        }
        pairs.push((key, value));
        header = rest;
    }
    Some(pairs)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Appends a pair to a header; `false` where it is too long for one.
pub(super) fn append(key: &[u8], value: &[u8], header: &mut Vec<u8>) -> bool {
    let (Ok(key_length), Ok(value_length)) = (u16::try_from(key.len()), u16::try_from(value.len())) else {
        return false;
    };
    header.extend_from_slice(&key_length.to_be_bytes());
    header.extend_from_slice(key);
    header.extend_from_slice(&value_length.to_be_bytes());
    header.extend_from_slice(value);
    true
}
