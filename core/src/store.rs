//! A shard's storage: the log, what finds messages in it, and how both come back after a crash.
//!
//! Owns every layout on disk (`docs/storage-format.md` is their description, with the arguments why they are safe).
//! Never opens a file and never asks for the time: it says what to write and read, and is told when that is done.

pub mod cold;
pub mod continuity;
#[cfg(test)]
mod crash;
pub mod files;
pub mod frame;
pub mod incarnation;
pub mod index;
pub mod limits;
pub mod log;
pub mod own_record;
#[cfg(test)]
mod planted;
pub mod range;
pub mod read_plan;
pub mod rebuild;
pub mod recovery;
pub mod retention;
pub mod segment;
pub mod survey;
pub mod tail;
pub mod walk;

pub use files::checkpoint::{self, Checkpoint};
pub use files::index_file::{self, IndexBuild};
pub use files::superblock::{self, Superblock};
pub use incarnation::{Begun, Incarnation};
pub use index::cold::{Absent, Miss, Supplied, Wanted};
pub use index::consume_queue::{ConsumeQueue, Entry};
pub use index::key_index::{KeyIndex, key_hash};
pub use index::key_search::KeySearch;
pub use index::lives::Life;
pub use index::marks::Marks;
pub use index::queue_table::{QueueSlot, QueueTable};
pub use log::{AppendRefused, CommitLog, FullSegment, LogOptions, Undurable, Urge, WritePlan};
pub use own_record::{OwnKind, OwnRecord};
pub use range::{RangeOf, ReadRange};
pub use read_plan::ReadPlan;
pub use rebuild::{Rebuild, RebuildError};
pub use recovery::{Recovered, Recovery, RecoveryError, Visitor};
pub use ringmq_protocol::offset::Position;
pub use segment::{Layout, Sealed, SegmentBase};
