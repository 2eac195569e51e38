//! Replaying: the program runs with every server played from the recording.
//!
//! | file | concern |
//! | --- | --- |
//! | `past` | what the recording tells besides the session that is replayed |
//! | `history` | what the connections of the recording were told, session after session |
//! | `talks` | recorded calls, and which of them answers a request |
//! | `desk` | which session a call belongs to, and what was decided for it |
//! | `names` | what name lookups are answered with |
//! | `table` | what `libkoala.so` is told: where a connect goes |
//! | `datagrams`, `dns` | the servers that play those who answer datagrams |
//! | `outbound` | the server that plays all servers |
//! | `inbound` | the client that sends the recorded request |
//! | `login`, `set_up`, `redis` | what is said for the sake of a connection, which may be another than in the recording |
//! | `framing`, `errno`, `socket` | protocols and sockets, as far as these need them |

pub mod datagrams;
pub mod desk;
pub mod dns;
pub mod errno;
pub mod framing;
pub mod history;
pub mod inbound;
pub mod lines;
pub mod login;
pub mod names;
pub mod outbound;
pub mod past;
pub mod redis;
pub mod set_up;
pub mod socket;
pub mod table;
pub mod talks;
pub mod told;

pub use inbound::{Inside, ReplayError};
pub use outbound::Outside;
