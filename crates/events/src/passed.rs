//! Sockets on their way from one process of the program to another by a message (`SCM_RIGHTS`, unix(7)): what the
//! sender knows of one, the receiver finds by the socket's identity.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes reserved for the table in the arena.
pub(crate) const PASSED_SIZE: usize = 4096;
/// How many sockets may be under way at once; those that were sent first are forgotten first.
const SOCKETS: usize = 255;

struct Slot {
    /// 0 where there is none, or it is being written.
    identity: AtomicU64,
    entry: AtomicU64,
}

/// Sockets that were passed on. A table of zeros is an empty one.
#[repr(C)]
pub struct PassedTable {
    next: AtomicU32,
    reserved: AtomicU32,
    slots: [Slot; SOCKETS],
}

const _: () = assert!(size_of::<PassedTable>() <= PASSED_SIZE);

impl PassedTable {
    /// Says what the socket of this identity, which is not 0, is. The number means nothing here.
    pub fn pass(&self, identity: u64, entry: u64) {
        let known = self.slots.iter().find(|slot| slot.identity.load(Ordering::Relaxed) == identity);
        let next = || {
            let at = self.next.fetch_add(1, Ordering::Relaxed) as usize % SOCKETS;
            self.slots.get(at)
        };
        if let Some(slot) = known.or_else(next) {
            slot.identity.store(0, Ordering::Release);
            slot.entry.store(entry, Ordering::Release);
            slot.identity.store(identity, Ordering::Release);
        }
    }

    /// What the socket of this identity is; `None` if nobody has said.
    pub fn find(&self, identity: u64) -> Option<u64> {
        let is = |slot: &&Slot| slot.identity.load(Ordering::Acquire) == identity;
        let slot = self.slots.iter().find(is)?;
        let entry = slot.entry.load(Ordering::Acquire);
        // Another one may have been written there meanwhile.
        is(&slot).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn the_newest_are_found() {
        let zeros = std::vec![0u64; PASSED_SIZE / 8].into_boxed_slice();
        // SAFETY: a table of zeros is a valid, empty one, and the memory is large and aligned enough.
        let table =
            std::mem::ManuallyDrop::new(unsafe { Box::from_raw(Box::into_raw(zeros).cast::<PassedTable>()) });
        assert_eq!(table.find(7), None);
        for identity in 1..=SOCKETS as u64 + 1 {
            table.pass(identity, identity * 2);
            table.pass(identity, identity * 3);
        }
        assert_eq!(
            (table.find(1), table.find(2), table.find(SOCKETS as u64 + 1)),
            (None, Some(6), Some(768))
        );
    }
}
