//! What a process of the agent is called, in `ps` and by those who end processes by their names: the agent and its
//! standby have names of their own, so that who ends the one does not end the other with it.

use std::fs;
use std::ptr;

/// What the agent is called.
const AGENT: &[u8; 11] = b"koala-agent";
/// What its standby is called. As long as the other name: it is written over it.
const STANDBY: &[u8; 11] = b"koala-stdby";

/// Calls this process the agent.
///
/// # Safety
///
/// No other thread may be reading the arguments of this process.
pub unsafe fn be_agent() {
    // SAFETY: the caller's promise.
    unsafe { be(STANDBY, AGENT) }
}

/// Calls this process a standby.
///
/// # Safety
///
/// As for [`be_agent`].
pub unsafe fn be_standby() {
    // SAFETY: the caller's promise.
    unsafe { be(AGENT, STANDBY) }
}

/// # Safety
///
/// As for [`be_agent`].
unsafe fn be(before: &[u8; 11], now: &[u8; 11]) {
    let mut name = [0u8; 16];
    for (to, from) in name.iter_mut().zip(now) {
        *to = *from;
    }
    // SAFETY: prctl(2) reads at most 16 bytes, of which the last is a zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    let Some((address, place)) = arguments().zip(place_of(before)) else { return };
    // SAFETY: the kernel says that the arguments of this process are at `address`, and that these bytes of them are the
    // name; they are on the stack, which can be written, and nobody reads them meanwhile (the caller's promise).
    unsafe { ptr::copy_nonoverlapping(now.as_ptr(), address.wrapping_add(place), now.len()) };
}

/// Where the arguments of this process begin (proc(5), `arg_start`).
fn arguments() -> Option<*mut u8> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may itself hold spaces and parentheses.
    let address = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(45)?.parse().ok()?;
    (address != 0).then(|| ptr::with_exposed_provenance_mut(address))
}

/// Where in the first argument the name is: at its end, behind the folder.
fn place_of(name: &[u8; 11]) -> Option<usize> {
    let line = fs::read("/proc/self/cmdline").ok()?;
    let first = line.split(|&byte| byte == 0).next()?;
    first.ends_with(name).then(|| first.len() - name.len())
}
