//! The errors of getaddrinfo(3), by number and by name. The numbers are the same in glibc and musl (`netdb.h`).

const NAMES: [(i32, &str); 16] = [
    (-1, "EAI_BADFLAGS"),
    (-2, "EAI_NONAME"),
    (-3, "EAI_AGAIN"),
    (-4, "EAI_FAIL"),
    (-5, "EAI_NODATA"),
    (-6, "EAI_FAMILY"),
    (-7, "EAI_SOCKTYPE"),
    (-8, "EAI_SERVICE"),
    (-9, "EAI_ADDRFAMILY"),
    (-10, "EAI_MEMORY"),
    (-11, "EAI_SYSTEM"),
    (-12, "EAI_OVERFLOW"),
    (-100, "EAI_INPROGRESS"),
    (-101, "EAI_CANCELED"),
    (-104, "EAI_INTR"),
    // Not libc's: what a replay says of a name that the recording does not know.
    (-1000, "UNRECORDED"),
];

/// The name of an error; empty for 0, which is none.
pub fn name(number: i64) -> String {
    if number == 0 {
        return String::new();
    }
    let known = NAMES.iter().find(|(known, _)| i64::from(*known) == number);
    known.map_or_else(|| format!("EAI({number})"), |(_, name)| (*name).to_owned())
}

/// The number of an error; 0 for the empty name, and that of `EAI_FAIL` for one that is not known.
pub fn number(name: &str) -> i32 {
    if name.is_empty() {
        return 0;
    }
    NAMES.iter().find(|(_, known)| *known == name).map_or(-4, |(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same() {
        for (number, name) in NAMES {
            assert_eq!((super::name(number.into()).as_str(), super::number(name)), (name, number));
        }
        assert_eq!((name(0).as_str(), number("")), ("", 0));
        assert_eq!((name(-55).as_str(), number("EAI(-55)")), ("EAI(-55)", -4));
    }
}
