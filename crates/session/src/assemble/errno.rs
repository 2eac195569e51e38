//! Names of what calls fail with, on Linux.

/// The name of an error number, as in errno(3).
pub(super) fn name(number: i64) -> &'static str {
    match number.unsigned_abs() {
        1 => "EPERM",
        2 => "ENOENT",
        4 => "EINTR",
        5 => "EIO",
        9 => "EBADF",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        20 => "ENOTDIR",
        22 => "EINVAL",
        24 => "EMFILE",
        32 => "EPIPE",
        71 => "EPROTO",
        88 => "ENOTSOCK",
        90 => "EMSGSIZE",
        91 => "EPROTOTYPE",
        92 => "ENOPROTOOPT",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        98 => "EADDRINUSE",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        102 => "ENETRESET",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        105 => "ENOBUFS",
        106 => "EISCONN",
        107 => "ENOTCONN",
        108 => "ESHUTDOWN",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        114 => "EALREADY",
        115 => "EINPROGRESS",
        _ => "EUNKNOWN",
    }
}

/// `-EINPROGRESS`: the connect goes on in the background.
pub(super) const IN_PROGRESS: i64 = -115;
/// `-EALREADY`: it still does.
pub(super) const ALREADY: i64 = -114;
/// `-EISCONN`: it has succeeded.
pub(super) const IS_CONNECTED: i64 = -106;
/// `-EINTR`: on Linux, too, the connect goes on in the background.
pub(super) const INTERRUPTED: i64 = -4;

/// Whether a send or receive that failed so tells that the connection is no more.
pub(super) const fn is_fatal(number: i64) -> bool {
    matches!(number.unsigned_abs(), 32 | 100..=104 | 107 | 108 | 110..=113)
}
