//! An index that several threads use, one after the other, in the order in which they asked.
//!
//! Decisions depend on those before them, so the order must be that of JavaScript's calls, not that in which a pool
//! of threads gets to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use koala_matcher::Follower;

/// An index, and whose turn it is.
pub struct Shared {
    index: Mutex<Follower>,
    /// The number of the next ticket.
    next: AtomicU64,
    turn: Mutex<Turn>,
    moved: Condvar,
}

#[derive(Default)]
struct Turn {
    /// The ticket whose turn it is.
    number: u64,
    /// Later ones that were given back already.
    returned: Vec<u64>,
}

/// A place in the queue, which ends with the ticket, used or not.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    number: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(index: Follower) -> Arc<Self> {
        let turn = Mutex::new(Turn::default());
        Arc::new(Self { index: Mutex::new(index), next: AtomicU64::new(0), turn, moved: Condvar::new() })
    }

    /// The next place in the queue.
    pub(super) fn ticket(self: &Arc<Self>) -> Ticket {
        Ticket { shared: self.clone(), number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Ticket {
    /// Waits for its turn and does the work then.
    pub(super) fn wait<T>(self, work: impl FnOnce(&mut Follower) -> T) -> T {
        let mut turn = lock(&self.shared.turn);
        while turn.number != self.number {
            turn = self.shared.moved.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        drop(turn);
        work(&mut lock(&self.shared.index))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let turn = &mut *lock(&self.shared.turn);
        turn.returned.push(self.number);
        while let Some(place) = turn.returned.iter().position(|number| *number == turn.number) {
            turn.returned.swap_remove(place);
            turn.number += 1;
        }
        self.shared.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use koala_matcher::{RecordedCall, Strategy};
    use std::thread;

    #[test]
    fn turns_come_in_the_order_of_the_tickets() {
        let calls = [(RecordedCall::new("a", b"same"), &b""[..]); 3];
        let shared = Shared::new(Follower::new(Strategy::Exact, calls));
        let [first, unused, second, third] = [(); 4].map(|()| shared.ticket());
        let find = |ticket: Ticket| ticket.wait(|index| index.find(None, "a", b"same", None).index);
        let found = thread::scope(|scope| {
            let third = scope.spawn(|| find(third));
            let second = scope.spawn(|| find(second));
            drop(unused);
            let first = find(first);
            [Some(first), second.join().ok(), third.join().ok()]
        });
        assert_eq!(found, [Some(Some(0)), Some(Some(1)), Some(Some(2))]);
    }
}
