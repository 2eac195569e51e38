//! The names that a replay knows: filled by the agent, read by the library.

use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

use crate::lookup::Lookup;

/// How many names are known at once. The agent makes those of a session known before it begins.
const NAMES: usize = 400;
/// Bytes of a name with its answer: the longest name with two addresses of IPv6, or a usual one with a dozen.
const ENTRY: usize = 308;
/// How often a reader looks again at an entry that is being written. A writer that was killed in the middle of it
/// leaves it so.
const PATIENCE: u32 = 10_000;

/// One name. Its version is odd while the agent, the only writer, changes it.
#[repr(C)]
struct Entry {
    version: AtomicU32,
    error: AtomicI32,
    length: AtomicU32,
    bytes: [AtomicU8; ENTRY],
}

impl Entry {
    /// Copies a consistent state of the entry; its length and error. `None` if it is empty or never at rest.
    fn read(&self, out: &mut [u8; ENTRY]) -> Option<(usize, i32)> {
        for _ in 0..PATIENCE {
            let before = self.version.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            if before & 1 == 0 {
                let length = self.length.load(Ordering::Relaxed) as usize;
                let error = self.error.load(Ordering::Relaxed);
                for (to, from) in out.iter_mut().zip(&self.bytes).take(length) {
                    *to = from.load(Ordering::Relaxed);
                }
                core::sync::atomic::fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return Some((length.min(ENTRY), error));
                }
            }
            core::hint::spin_loop();
        }
        None
    }

    fn write(&self, lookup: &Lookup<'_>, error: i32) {
        let mut bytes = [0; ENTRY];
        let length = lookup.encode(&mut bytes);
        // Odd from now on, even where a writer died in the middle.
        let version = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(version, Ordering::Relaxed);
        core::sync::atomic::fence(Ordering::Release);
        self.length.store(length as u32, Ordering::Relaxed);
        self.error.store(error, Ordering::Relaxed);
        for (to, from) in self.bytes.iter().zip(bytes.iter().take(length)) {
            to.store(*from, Ordering::Relaxed);
        }
        let next = version.wrapping_add(1);
        // Never 0, which is an entry that was not used yet.
        self.version.store(if next == 0 { 2 } else { next }, Ordering::Release);
    }
}

/// A copy of what is known of a name.
pub struct Known {
    bytes: [u8; ENTRY],
    length: usize,
    /// 0, or the error of getaddrinfo(3) that the lookup failed with (negative).
    pub error: i32,
}

impl Known {
    const EMPTY: Self = Self { bytes: [0; ENTRY], length: 0, error: 0 };

    /// The lookup with its answer.
    pub fn lookup(&self) -> Option<Lookup<'_>> {
        Lookup::decode(self.bytes.get(..self.length)?)
    }
}

/// The names that a replay knows. A table of zeros knows none.
#[repr(C)]
pub struct NameTable {
    /// Which entry the next new name takes, once all are in use.
    next: AtomicU32,
    reserved: AtomicU32,
    entries: [Entry; NAMES],
}

impl NameTable {
    /// The agent, one thread at a time: what is answered to who asks like `lookup` from now on. `error` is 0, or
    /// what the lookup fails with. If there is no room, the name that became known first is not any more.
    pub fn set(&self, lookup: &Lookup<'_>, error: i32) {
        let mut known = Known::EMPTY;
        for entry in &self.entries {
            let free = entry.version.load(Ordering::Relaxed) == 0;
            if free || self.holds(entry, lookup, &mut known) {
                entry.write(lookup, error);
                return;
            }
        }
        let next = self.next.load(Ordering::Relaxed);
        self.next.store((next + 1) % NAMES as u32, Ordering::Relaxed);
        if let Some(entry) = self.entries.get(next as usize) {
            entry.write(lookup, error);
        }
    }

    /// The library: what is known of what `asked` asks.
    #[inline(never)]
    pub fn get(&self, asked: &Lookup<'_>) -> Option<Known> {
        let mut known = Known::EMPTY;
        for entry in &self.entries {
            if entry.version.load(Ordering::Acquire) == 0 {
                break;
            }
            if self.holds(entry, asked, &mut known) {
                return Some(known);
            }
        }
        None
    }

    #[inline(never)]
    fn holds(&self, entry: &Entry, asked: &Lookup<'_>, known: &mut Known) -> bool {
        let Some((length, error)) = entry.read(&mut known.bytes) else { return false };
        (known.length, known.error) = (length, error);
        known.lookup().is_some_and(|lookup| lookup.asks_like(asked))
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::format;
    use std::vec;

    use super::*;
    use crate::address::Address;

    fn table() -> std::mem::ManuallyDrop<Box<NameTable>> {
        let zeros = vec![0u64; size_of::<NameTable>().div_ceil(8)].into_boxed_slice();
        // SAFETY: a table of zeros is a valid, empty one, and the memory is large and aligned enough.
        std::mem::ManuallyDrop::new(unsafe { Box::from_raw(Box::into_raw(zeros).cast::<NameTable>()) })
    }

    fn set(table: &NameTable, name: &str, last: u8) {
        let mut bytes = [0; Address::MAX];
        let length = Address::V4([10, 0, 0, last], 0).encode(&mut bytes);
        table.set(&Lookup::forward(name.as_bytes(), b"", 0).answered(b"", &bytes[..length]), 0);
    }

    fn get(table: &NameTable, name: &str) -> Option<Address> {
        table.get(&Lookup::forward(name.as_bytes(), b"", 4))?.lookup()?.addresses().next()
    }

    #[test]
    fn a_name_is_answered_as_it_was_told_last() {
        let table = table();
        assert_eq!(get(&table, "db"), None);
        set(&table, "db", 1);
        set(&table, "cache", 2);
        set(&table, "DB", 3);
        assert_eq!(get(&table, "db."), Some(Address::V4([10, 0, 0, 3], 0)));
        assert_eq!(get(&table, "cache"), Some(Address::V4([10, 0, 0, 2], 0)));
        table.set(&Lookup::forward(b"gone", b"", 0), -2);
        let gone = table.get(&Lookup::forward(b"gone", b"", 6)).expect("it is known");
        assert_eq!((gone.error, gone.lookup().map(|lookup| lookup.addresses().count())), (-2, Some(0)));
    }

    #[test]
    fn names_beyond_its_room_take_the_place_of_the_oldest() {
        let table = table();
        for number in 0..=NAMES {
            set(&table, &format!("host{number}"), 1);
        }
        assert_eq!(get(&table, "host0"), None);
        for number in 1..=NAMES {
            assert!(get(&table, &format!("host{number}")).is_some());
        }
    }

    #[test]
    fn an_entry_that_is_never_finished_is_no_answer_and_can_be_written_again() {
        let table = table();
        set(&table, "db", 1);
        table.entries[0].version.store(3, Ordering::Relaxed);
        assert_eq!(get(&table, "db"), None);
        table.entries[0].write(&Lookup::forward(b"db", b"", 0), -2);
        assert!(table.get(&Lookup::forward(b"db", b"", 0)).is_some());
    }

    #[test]
    fn a_reader_never_sees_half_an_answer() {
        let table = table();
        let long = format!("{}1", "n".repeat(200));
        set(&table, &long, 1);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..20_000u32 {
                    let canonical = [(round % 2) as u8; 60];
                    let mut bytes = [0; Address::MAX];
                    let length = Address::V4([(round % 2) as u8; 4], 0).encode(&mut bytes);
                    let lookup = Lookup::forward(long.as_bytes(), b"", 0);
                    table.set(&lookup.answered(&canonical, &bytes[..length]), 0);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let Some(known) = table.get(&Lookup::forward(long.as_bytes(), b"", 0)) else { continue };
                let lookup = known.lookup().expect("a lookup");
                if let (Some(&first), Some(Address::V4(ip, _))) =
                    (lookup.canonical.first(), lookup.addresses().next())
                {
                    assert!(lookup.canonical.iter().all(|byte| *byte == first) && ip == [first; 4]);
                }
            }
        });
    }
}
