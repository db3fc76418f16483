//! The version stamp RocketMQ puts on tables (DataVersion): who changed it when, for how manyth time.
//!
//! Owns stamping and comparing. It never reads a clock.

use crate::event::Now;

/// A table's version. Name servers and admin tools compare all three numbers for equality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DataVersion {
    /// Counts changes of master; always 0 without a controller.
    pub state_version: i64,
    /// Wall-clock time of the last change, ms since 1970.
    pub timestamp: i64,
    /// Counts changes.
    pub counter: i64,
}

impl DataVersion {
    /// The version after one more change.
    pub fn bump(&mut self, now: Now) {
        self.timestamp = now.wall_ms;
        self.counter += 1;
    }
}
