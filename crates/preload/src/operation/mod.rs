//! What the hooks mean. Each operation gets the call's arguments as types, and `real`, which makes the
//! program's own call; it returns what the program is to see.

pub(crate) mod accept;
pub(crate) mod close;
pub(crate) mod connect;
pub(crate) mod cookie;
pub(crate) mod datagram;
pub(crate) mod duplicate;
pub(crate) mod fast_open;
pub(crate) mod file;
pub(crate) mod foreign;
pub(crate) mod listen;
pub(crate) mod load;
pub(crate) mod many;
pub(crate) mod payload;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod resolve;
pub(crate) mod send_file;
pub(crate) mod shutdown;
pub(crate) mod socket;
pub(crate) mod splice;
pub(crate) mod stream;
pub(crate) mod syslog;
pub(crate) mod system_call;
pub(crate) mod totals;
pub(crate) mod transfer;
pub(crate) mod wait;
