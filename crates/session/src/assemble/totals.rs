//! The kernel's counts of what crossed a connection, against the bytes that were recorded of it.

/// Bytes of both directions, as the program sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sent: u64,
    received: u64,
}

impl Counts {
    /// Two numbers of eight bytes, little-endian; `None` where the log has none.
    fn read(payload: &[u8]) -> Option<Self> {
        let ([sent, received], []) = payload.as_chunks::<8>() else { return None };
        Some(Self { sent: u64::from_le_bytes(*sent), received: u64::from_le_bytes(*received) })
    }
}

/// What is known of how much crossed a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    recorded: Counts,
    /// What had crossed before it was recorded.
    before: Counts,
    /// The most that the kernel has told.
    kernel: Counts,
}

impl Totals {
    /// Those of a connection that had a past, which the payload tells.
    pub(super) fn since(payload: &[u8]) -> Self {
        Self { before: Counts::read(payload).unwrap_or_default(), ..Self::default() }
    }

    /// So many bytes were recorded as sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.recorded.sent = self.recorded.sent.saturating_add(bytes as u64);
    }

    /// So many bytes were recorded as received.
    pub(super) fn received(&mut self, bytes: usize) {
        self.recorded.received = self.recorded.received.saturating_add(bytes as u64);
    }

    /// Bytes that are known of are not in the log, on purpose or for want of room: the counts say nothing any more.
    pub(super) fn passed_over(&mut self) {
        self.recorded = Counts { sent: u64::MAX, received: u64::MAX };
    }

    /// The kernel has told what crossed so far: a lower bound (`koala_events::EventKind::Totals`).
    pub(super) fn told(&mut self, payload: &[u8]) {
        if let Some(counts) = Counts::read(payload) {
            self.kernel.sent = self.kernel.sent.max(counts.sent);
            self.kernel.received = self.kernel.received.max(counts.received);
        }
    }

    /// What has crossed as far as is known: bytes sent, and received.
    pub(super) fn crossed(&self) -> [u64; 2] {
        let Self { recorded, before, .. } = self;
        [before.sent.saturating_add(recorded.sent), before.received.saturating_add(recorded.received)]
    }

    /// Whether more was sent than was recorded.
    pub(super) fn lack_sent(&self) -> bool {
        self.kernel.sent > self.before.sent.saturating_add(self.recorded.sent)
    }

    /// Whether more has crossed, in whichever direction, than was recorded.
    pub(super) fn lack(&self) -> bool {
        self.lack_sent() || self.kernel.received > self.before.received.saturating_add(self.recorded.received)
    }
}
