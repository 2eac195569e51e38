//! Name lookups: what is asked, what is answered. In a replay the answers come from the recording, and nothing
//! leaves the process.
//!
//! libc asks its name servers by calls of its own, which no hook sees; what the plug-ins of its name service do
//! meanwhile by hooked calls is part of the lookup, and not written down. What an answer is made of in a replay is
//! libc's own again: the list of getaddrinfo(3) is made of lists for numeric addresses, which need no lookup.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use koala_events::{Address, EventKind, Known, Lookup};

use crate::address;
use crate::descriptors::Entry;
use crate::library::{self, Log};
use crate::symbol::Symbol;
use crate::sys::{self, net, nr};
use crate::thread::Thread;

mod hosts;
mod reverse;

pub(crate) use hosts::{HostAnswer, HostQuestion, host, host_into, query};
pub(crate) use reverse::{NameQuestion, name};

/// `struct addrinfo` (getaddrinfo(3)), as glibc and musl lay it out on Linux.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct AddressInfo {
    flags: c_int,
    family: c_int,
    kind: c_int,
    protocol: c_int,
    length: u32,
    address: *mut u8,
    canonical: *mut c_char,
    next: *mut AddressInfo,
}

/// `struct hostent` (gethostbyname(3)).
#[repr(C)]
pub(crate) struct HostEntry {
    name: *mut u8,
    aliases: *mut *mut u8,
    family: c_int,
    length: c_int,
    addresses: *mut *mut u8,
}

/// `struct gaicb` (getaddrinfo_a(3)).
#[repr(C)]
pub(crate) struct Request {
    name: *const c_char,
    service: *const c_char,
    hints: *const AddressInfo,
    result: *mut AddressInfo,
    outcome: c_int,
    reserved: [c_int; 5],
}

// `netdb.h`, the same in glibc and musl.
const AI_CANONNAME: c_int = 0x2;
const AI_NUMERICHOST: c_int = 0x4;
const AI_V4MAPPED: c_int = 0x8;
const AI_ADDRCONFIG: c_int = 0x20;
const EAI_NONAME: c_int = -2;
const EAI_AGAIN: c_int = -3;
const EAI_FAIL: c_int = -4;
const EAI_NODATA: c_int = -5;
const EAI_OVERFLOW: c_int = -12;
const EAI_INPROGRESS: c_int = -100;
/// No error of libc's: the program is told `EAI_NONAME`, and the log that the recording does not know the name.
const UNRECORDED: c_int = -1000;
const NI_NUMERICHOST: c_int = 0x1;
const NI_NAMEREQD: c_int = 0x8;
const GAI_WAIT: c_int = 0;
const GAI_NOWAIT: c_int = 1;

const V4: c_int = net::AF_INET as c_int;
const V6: c_int = net::AF_INET6 as c_int;

/// Addresses one behind the other, in the log's encoding.
struct Addresses {
    bytes: [u8; 1024],
    length: usize,
}

impl Addresses {
    const fn new() -> Self {
        Self { bytes: [0; 1024], length: 0 }
    }

    /// Adds an address without its port, unless the last one was the same, or there is no room.
    #[inline(never)]
    fn add(&mut self, address: &Address) {
        let address = match address {
            Address::V4(ip, _) => Address::V4(*ip, 0),
            Address::V6(ip, _) => Address::V6(*ip, 0),
            _ => return,
        };
        if Lookup::reverse(self.all(), &[]).addresses().last() == Some(address) {
            return;
        }
        let mut bytes = [0; Address::MAX];
        let length = address.encode(&mut bytes);
        let room = self.bytes.get_mut(self.length..).unwrap_or(&mut []);
        if room.len() >= length {
            for (to, from) in room.iter_mut().zip(bytes.iter().take(length)) {
                *to = *from;
            }
            self.length += length;
        }
    }

    fn all(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// Writes a lookup down.
#[inline(never)]
fn tell(log: &Log, lookup: &Lookup<'_>, outcome: c_int) {
    let mut payload = [0; 2048];
    let length = lookup.encode(&mut payload);
    let payload = payload.get(..length).unwrap_or(&[]);
    log.append(EventKind::Resolve, -1, Entry::UNKNOWN, i64::from(outcome), sys::now(), payload);
}

/// The family of a lookup's question, as the log has it.
fn family_number(family: c_int) -> u8 {
    match family {
        V4 => 4,
        V6 => 6,
        _ => 0,
    }
}

/// Whether `name` is an address in text, which needs no lookup: only those have colons or end in a number
/// (inet_aton(3) knows the forms).
#[inline(never)]
fn is_numeric(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
    name.contains(&b':')
        || matches!(last, [b'0', b'x' | b'X', rest @ ..] if rest.iter().all(u8::is_ascii_hexdigit))
        || (!last.is_empty() && last.iter().all(u8::is_ascii_digit))
}

/// Whether `name` means this machine wherever it is asked for: `localhost` and what is below it (RFC 6761, 6.3), and
/// the machine's own name.
#[inline(never)]
fn is_own(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let localhost = |name: &[u8]| name.eq_ignore_ascii_case(b"localhost");
    if localhost(name) || name.rsplit(|byte| *byte == b'.').next().is_some_and(localhost) {
        return true;
    }
    /// `struct new_utsname` (uname(2)): six texts of 65 bytes, of which the second is the machine's name.
    const TEXT: usize = 65;
    let mut texts = [0u8; 6 * TEXT];
    // SAFETY: the kernel writes that many bytes.
    let result = unsafe { sys::call(nr::__NR_uname, [texts.as_mut_ptr() as usize, 0, 0, 0, 0, 0]) };
    let host = texts.get(TEXT..2 * TEXT).unwrap_or(&[]);
    let end = host.iter().position(|byte| *byte == 0).unwrap_or(0);
    let host = host.get(..end).unwrap_or(&[]);
    result == 0 && !host.is_empty() && host.eq_ignore_ascii_case(name)
}

/// What a replay knows of a name.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box it by, and it lives in one call")]
enum Found {
    /// What the recording says.
    Known(Known),
    /// The name is this machine's.
    Own,
    /// Nothing.
    Nothing,
}

impl Found {
    #[inline(never)]
    fn of(log: &Log, asked: &Lookup<'_>) -> Self {
        match log.replay_table().names().get(asked) {
            Some(known) => Self::Known(known),
            None if if asked.reverse {
                asked.addresses().all(|of| is_loopback(&of))
            } else {
                is_own(asked.name)
            } =>
            {
                Self::Own
            }
            None => Self::Nothing,
        }
    }

    /// The name that an address was asked for; empty if none is known.
    fn name(&self) -> &[u8] {
        match self {
            Self::Known(known) => match known.lookup() {
                Some(lookup) if known.error == 0 => lookup.name,
                _ => &[],
            },
            Self::Own => b"localhost",
            Self::Nothing => &[],
        }
    }

    fn error(&self) -> c_int {
        match self {
            Self::Known(known) => known.error,
            Self::Own => 0,
            Self::Nothing => EAI_NONAME,
        }
    }

    /// Adds the addresses for which `wanted` holds.
    #[inline(never)]
    fn addresses(&self, into: &mut Addresses, wanted: fn(&Address) -> bool) {
        let mut add = |address: Address| {
            if wanted(&address) {
                into.add(&address);
            }
        };
        match self {
            Self::Known(known) => {
                if let Some(lookup) = known.lookup() {
                    lookup.addresses().for_each(add);
                }
            }
            Self::Own => {
                add(Address::V4([127, 0, 0, 1], 0));
                add(Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0));
            }
            Self::Nothing => {}
        }
    }

    /// What the log is told of the outcome.
    fn told(&self, outcome: c_int) -> c_int {
        if matches!(self, Self::Nothing) { UNRECORDED } else { outcome }
    }

    /// The canonical name, or the one that was asked for.
    fn canonical<'a>(&'a self, asked: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Known(known) => match known.lookup() {
                Some(lookup) if !lookup.canonical.is_empty() => lookup.canonical,
                _ => asked,
            },
            _ => asked,
        }
    }
}

/// Whether the address is this machine's for itself: its name is `localhost` (RFC 6761, 6.3).
fn is_loopback(address: &Address) -> bool {
    match address {
        Address::V4([first, ..], _) => *first == 127,
        Address::V6(ip, _) => *ip == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => false,
    }
}

fn is_v4(address: &Address) -> bool {
    matches!(address, Address::V4(..))
}

fn is_v6(address: &Address) -> bool {
    matches!(address, Address::V6(..))
}

/// The type of getaddrinfo(3).
type LookUp<'a> =
    dyn Fn(*const c_char, *const c_char, *const AddressInfo, *mut *mut AddressInfo) -> c_int + 'a;

/// getaddrinfo(3).
///
/// # Safety
///
/// The arguments must be what getaddrinfo(3) asks for.
#[inline(never)]
pub(crate) unsafe fn addresses(
    node: *const c_char,
    service: *const c_char,
    hints: *const AddressInfo,
    result: *mut *mut AddressInfo,
    real: &LookUp<'_>,
) -> c_int {
    if node.is_null() || !library::is_active() {
        return real(node, service, hints, result);
    }
    // SAFETY: the caller's promise.
    let (name, family, flags) = unsafe {
        let hints = hints.as_ref();
        (
            sys::string(node.cast()),
            hints.map_or(0, |hints| hints.family),
            hints.map_or(0, |hints| hints.flags),
        )
    };
    if is_numeric(name) || flags & AI_NUMERICHOST != 0 {
        return real(node, service, hints, result);
    }
    // SAFETY: the caller's promise.
    let service_name = if service.is_null() { &[] } else { unsafe { sys::string(service.cast()) } };
    let asked = Lookup::forward(name, service_name, family_number(family));
    if library::is_replaying() {
        let Some(log) = library::log() else { return EAI_FAIL };
        // SAFETY: the caller's promise.
        return unsafe { replay_addresses(&log, &asked, service, hints, result, real) };
    }
    let outcome = Thread::current().while_resolving(|| real(node, service, hints, result));
    if let Some(log) = library::log() {
        let mut found = Addresses::new();
        let mut canonical: &[u8] = &[];
        if outcome == 0 {
            // SAFETY: getaddrinfo succeeded, and has written a list.
            let mut next = unsafe { *result };
            while !next.is_null() {
                // SAFETY: an entry of that list.
                let entry = unsafe { &*next };
                // SAFETY: as above.
                found.add(&unsafe { address::read(entry.address, entry.length) });
                if !entry.canonical.is_null() {
                    // SAFETY: as above: a name that ends.
                    canonical = unsafe { sys::string(entry.canonical.cast()) };
                }
                next = entry.next;
            }
        }
        tell(&log, &asked.answered(canonical, found.all()), outcome);
    }
    outcome
}

/// # Safety
///
/// As for [`addresses`].
unsafe fn replay_addresses(
    log: &Log,
    asked: &Lookup<'_>,
    service: *const c_char,
    hints: *const AddressInfo,
    result: *mut *mut AddressInfo,
    real: &LookUp<'_>,
) -> c_int {
    let found = Found::of(log, asked);
    // SAFETY: the caller's promise.
    let mut numeric = unsafe { hints.as_ref() }.copied().unwrap_or(AddressInfo {
        flags: 0,
        family: 0,
        kind: 0,
        protocol: 0,
        length: 0,
        address: ptr::null_mut(),
        canonical: ptr::null_mut(),
        next: ptr::null_mut(),
    });
    let flags = numeric.flags;
    numeric.flags = flags & !(AI_CANONNAME | AI_ADDRCONFIG) | AI_NUMERICHOST;
    let mut addresses = Addresses::new();
    match numeric.family {
        V4 => found.addresses(&mut addresses, is_v4),
        V6 => {
            found.addresses(&mut addresses, is_v6);
            if addresses.length == 0 && flags & AI_V4MAPPED != 0 {
                found.addresses(&mut addresses, is_v4);
            }
        }
        _ => found.addresses(&mut addresses, |_| true),
    }
    let mut outcome = found.error();
    if outcome == 0 && addresses.length == 0 {
        outcome = EAI_NONAME;
    }
    let mut first: *mut AddressInfo = ptr::null_mut();
    let mut last: *mut AddressInfo = ptr::null_mut();
    for address in asked.answered(&[], addresses.all()).addresses() {
        if outcome != 0 {
            break;
        }
        let mut text = [0; 64];
        let mut part = ptr::null_mut();
        outcome = if write_text(&address, &mut text) {
            real(text.as_ptr().cast(), service, &raw const numeric, &raw mut part)
        } else {
            EAI_FAIL
        };
        if outcome != 0 || part.is_null() {
            continue;
        }
        if last.is_null() {
            first = part;
        } else {
            // SAFETY: the last entry of the list so far.
            unsafe { (*last).next = part };
        }
        last = part;
        // SAFETY: an entry of the list that libc has just made.
        while let Some(next) = unsafe { (*last).next.as_mut() } {
            last = next;
        }
    }
    let canonical = found.canonical(asked.name);
    if outcome == 0 {
        if flags & AI_CANONNAME != 0 && !first.is_null() {
            // SAFETY: the first entry of the list; musl never frees this copy, glibc does with the list.
            unsafe { (*first).canonical = copy_of(canonical) };
        }
        // SAFETY: the caller's promise.
        unsafe { *result = first };
    } else if !first.is_null() {
        type Free = unsafe extern "C" fn(*mut AddressInfo);
        static FREE: Symbol = Symbol::new(c"freeaddrinfo");
        let free_list = FREE.address();
        if !free_list.is_null() {
            // SAFETY: freeaddrinfo(3) has this type; the entries are those of lists that libc made.
            free(first, |entry| unsafe {
                core::mem::transmute::<*mut c_void, Free>(free_list)(entry);
            });
        }
    }
    let told = if outcome == 0 { addresses.all() } else { &[] };
    let lookup = asked.answered(if outcome == 0 { canonical } else { &[] }, told);
    tell(log, &lookup, found.told(outcome));
    outcome
}

/// An address as text, which ends with a zero byte; false if libc can't.
#[inline(never)]
fn write_text(address: &Address, out: &mut [u8; 64]) -> bool {
    type ToText = unsafe extern "C" fn(c_int, *const u8, *mut u8, u32) -> *const u8;
    static TO_TEXT: Symbol = Symbol::new(c"inet_ntop");
    let (family, bytes) = match address {
        Address::V4(ip, _) => (V4, ip.as_slice()),
        Address::V6(ip, _) => (V6, ip.as_slice()),
        _ => return false,
    };
    let to_text = TO_TEXT.address();
    if to_text.is_null() {
        return false;
    }
    // SAFETY: inet_ntop(3) has this type, and the buffer has room for any address.
    unsafe {
        let to_text = core::mem::transmute::<*mut c_void, ToText>(to_text);
        !to_text(family, bytes.as_ptr(), out.as_mut_ptr(), out.len() as u32).is_null()
    }
}

/// A copy of a text in memory of libc's; null if there is none.
#[inline(never)]
fn copy_of(text: &[u8]) -> *mut c_char {
    type Duplicate = unsafe extern "C" fn(*const u8) -> *mut c_char;
    static DUPLICATE: Symbol = Symbol::new(c"strdup");
    let mut ended = [0u8; koala_events::NAME_MAX + 1];
    for (to, from) in ended.iter_mut().zip(text.iter().take(koala_events::NAME_MAX)) {
        *to = *from;
    }
    let duplicate = DUPLICATE.address();
    if duplicate.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: strdup(3) has this type; the text ends.
    unsafe { core::mem::transmute::<*mut c_void, Duplicate>(duplicate)(ended.as_ptr()) }
}

/// freeaddrinfo(3). A replay's list is made of several of libc's: each entry is freed by itself.
pub(crate) fn free(list: *mut AddressInfo, real: impl Fn(*mut AddressInfo)) {
    if !library::is_replaying() {
        return real(list);
    }
    let mut next = list;
    while !next.is_null() {
        let entry = next;
        // SAFETY: an entry of a list that is not freed yet; both libcs free a list of one entry by that entry.
        unsafe {
            next = (*entry).next;
            (*entry).next = ptr::null_mut();
        }
        real(entry);
    }
}

/// getaddrinfo_a(3): several lookups at once, in the background unless `mode` says otherwise. In a replay all are
/// answered before it returns, which a program that is to be told when they are done (`told`) can't live with. What
/// is answered in the background can't be seen, and is written down as a lookup in progress.
///
/// # Safety
///
/// The arguments must be what getaddrinfo_a(3) asks for.
pub(crate) unsafe fn several(
    mode: c_int,
    list: *const *mut Request,
    count: c_int,
    told: *const c_void,
    real: impl FnOnce() -> c_int,
) -> c_int {
    type Ask = unsafe extern "C" fn(
        *const c_char,
        *const c_char,
        *const AddressInfo,
        *mut *mut AddressInfo,
    ) -> c_int;
    static ASK: Symbol = Symbol::new(c"getaddrinfo");
    /// `SIGEV_NONE` (sigevent(3type)): nobody is told. The word behind eight bytes of value and four of signal.
    const NOBODY: c_int = 1;

    // Another mode is refused before anything is looked up.
    if !library::is_active() || list.is_null() || !matches!(mode, GAI_WAIT | GAI_NOWAIT) {
        return real();
    }
    let replaying = library::is_replaying();
    let mut outcome = 0;
    if replaying {
        // SAFETY: null, or a `struct sigevent`.
        let silent = told.is_null() || unsafe { told.cast::<c_int>().add(3).read() } == NOBODY;
        if mode != GAI_WAIT && !silent {
            return EAI_AGAIN;
        }
    } else {
        outcome = Thread::current().while_resolving(real);
    }
    let ask = ASK.address();
    for at in 0..count.max(0) as usize {
        // SAFETY: the caller's promise: `count` pointers, of which any may be null.
        let Some(request) = (unsafe { (*list.add(at)).as_mut() }) else { continue };
        if request.name.is_null() || ask.is_null() {
            continue;
        }
        let answer = |node, service, hints, result| {
            // SAFETY: getaddrinfo(3) has this type, and the request is one that it allows.
            unsafe { core::mem::transmute::<*mut c_void, Ask>(ask)(node, service, hints, result) }
        };
        let Request { name, service, hints, .. } = *request;
        if replaying {
            let mut result = ptr::null_mut();
            // SAFETY: the request's own arguments.
            request.outcome = unsafe { addresses(name, service, hints, &raw mut result, &answer) };
            request.result = result;
        } else if mode == GAI_WAIT && outcome == 0 {
            let done = |_, _, _, to: *mut *mut AddressInfo| {
                // SAFETY: a variable of `addresses`' caller, below.
                unsafe { *to = request.result };
                request.outcome
            };
            let mut result = ptr::null_mut();
            // SAFETY: the request's own arguments.
            unsafe { addresses(name, service, hints, &raw mut result, &done) };
        } else if let Some(log) = library::log() {
            // SAFETY: a name that ends.
            tell(&log, &Lookup::forward(unsafe { sys::string(name.cast()) }, &[], 0), EAI_INPROGRESS);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_text_need_no_lookup() {
        for name in ["127.0.0.1", "::1", "fe80::1%eth0", "127.1", "2130706433", "0x7f000001", "1.2.3.0x4"] {
            assert!(is_numeric(name.as_bytes()), "{name}");
        }
        for name in ["localhost", "db1", "10.example", "face.bad", "1.2.3.4.example.com", "", "host-1"] {
            assert!(!is_numeric(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_machine_knows_itself() {
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for name in ["localhost", "LOCALHOST.", "app.localhost", own.trim()] {
            assert!(is_own(name.as_bytes()), "{name}");
        }
        for name in ["localhost.example", "notlocalhost", "", "."] {
            assert!(!is_own(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn addresses_are_kept_once_and_as_far_as_there_is_room() {
        let mut addresses = Addresses::new();
        for _ in 0..3 {
            addresses.add(&Address::V4([1, 2, 3, 4], 80));
        }
        addresses.add(&Address::unix(b"/run/x"));
        assert_eq!(addresses.length, 8);
        for number in 0..=255 {
            addresses.add(&Address::V6([number; 16], 0));
        }
        assert_eq!(Lookup::reverse(addresses.all(), b"").addresses().count(), 1 + (1024 - 8) / 20);
    }
}
