//! A shard's storage: the log, what finds messages in it, and how both come back after a crash.
//!
//! Owns every layout on disk (`docs/storage-format.md` is their description, with the arguments why they are safe).
//! Never opens a file and never asks for the time: it says what to write and read, and is told when that is done.

pub mod checkpoint;
pub mod consume_queue;
#[cfg(test)]
mod crash;
pub mod frame;
pub mod index_file;
pub mod key_index;
pub mod limits;
pub mod log;
pub mod marks;
pub mod own_record;
#[cfg(test)]
mod planted;
pub mod queue_table;
pub mod read_plan;
pub mod recovery;
pub mod segment;
pub mod superblock;
pub mod tail;

pub use checkpoint::Checkpoint;
pub use consume_queue::{ConsumeQueue, Entry};
pub use index_file::IndexBuild;
pub use key_index::{KeyIndex, key_hash};
pub use log::{AppendRefused, CommitLog, LogOptions, Undurable, Urge, WritePlan};
pub use marks::Marks;
pub use own_record::{OwnKind, OwnRecord};
pub use ringmq_protocol::offset::Position;
pub use queue_table::{QueueSlot, QueueTable};
pub use read_plan::ReadPlan;
pub use recovery::{Recovered, Recovery, RecoveryError, Visitor};
pub use segment::{Layout, Sealed, SegmentBase};
pub use superblock::Superblock;
