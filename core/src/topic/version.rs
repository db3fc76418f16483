//! The version stamp RocketMQ puts on tables (DataVersion): changed when, for how manyth time.
//!
//! Owns stamping; the type is the protocol's. It never reads a clock.

pub use ringmq_protocol::bodies::topic::DataVersion;

use crate::event::Now;

/// The version of a table after one more change. Name servers and tools only ask whether two versions are equal.
#[must_use]
pub fn next_version(version: DataVersion, now: Now) -> DataVersion {
    DataVersion { timestamp: now.wall_ms, counter: version.counter + 1, ..version }
}
