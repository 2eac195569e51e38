//! The failures of a connect, by name.

/// The number of this name, on Linux; `ECONNREFUSED`'s for a name that no connect fails with.
pub fn number(name: &str) -> i32 {
    match name {
        "EPERM" => 1,
        "ENOENT" => 2,
        "EAGAIN" => 11,
        "EACCES" => 13,
        "EINVAL" => 22,
        "EPROTOTYPE" => 91,
        "EAFNOSUPPORT" => 97,
        "EADDRINUSE" => 98,
        "EADDRNOTAVAIL" => 99,
        "ENETDOWN" => 100,
        "ENETUNREACH" => 101,
        "ECONNABORTED" => 103,
        "ECONNRESET" => 104,
        "ENOBUFS" => 105,
        "ETIMEDOUT" => 110,
        "EHOSTDOWN" => 112,
        "EHOSTUNREACH" => 113,
        _ => 111,
    }
}
