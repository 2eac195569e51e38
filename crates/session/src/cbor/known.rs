//! Connections as they were encoded.

use crate::model::Connection;
use std::sync::Arc;

/// So many connections are known at most. One that takes another's place is only the slower for that.
const PLACES: usize = 256;

/// The descriptions that were encoded last. A description never changes: of what has changed, there is another one.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// Kept, so that no other one is ever at its address.
    connection: Option<Arc<Connection>>,
    bytes: Vec<u8>,
}

impl Known {
    /// How a connection was encoded, if that is known.
    #[inline]
    pub(super) fn get(&self, connection: &Arc<Connection>) -> Option<&[u8]> {
        let place = self.places.get(place_of(connection))?;
        let same = place.connection.as_ref().is_some_and(|known| Arc::ptr_eq(known, connection));
        same.then_some(&place.bytes)
    }

    /// Keeps how a connection was encoded, if anybody else still has it: nobody asks again for one that has ended.
    pub(super) fn put(&mut self, connection: &Arc<Connection>, bytes: &[u8]) {
        if Arc::strong_count(connection) < 2 {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::default);
        }
        if let Some(place) = self.places.get_mut(place_of(connection)) {
            place.connection = Some(connection.clone());
            place.bytes.clear();
            place.bytes.extend_from_slice(bytes);
        }
    }
}

/// Connections are numbered one after the other, process by process.
fn place_of(connection: &Connection) -> usize {
    (connection.connection_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % PLACES
}
