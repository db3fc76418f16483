//! What recovery tells: to the owners of records while it reads, and at its end how it went.
//!
//! Owns no decision.

use std::fmt;

use ringmq_protocol::offset::Position;
use ringmq_protocol::record::RecordRef;

use super::super::files::checkpoint::Checkpoint;
use super::super::index::key_index::KeyIndex;
use super::super::index::queue_table::QueueTable;
use super::super::log::CommitLog;
use super::super::own_record::OwnRecord;
use super::super::segment::SegmentBase;

/// Whoever keeps state that the log tells. It is called in log order, with records the checkpoint does not cover.
pub trait Visitor {
    /// A message; it is in its queue and in the key index already.
    fn message(&mut self, position: Position, record: &RecordRef<'_>);

    /// An own record. `Err` if its payload makes no sense.
    ///
    /// # Errors
    /// Recovery stops there: the record has a right checksum, so it was written like that.
    fn own(&mut self, position: Position, record: OwnRecord<'_>) -> Result<(), Malformed>;
}

/// A record that its owner does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A shard's storage, ready to go on.
#[derive(Debug)]
pub struct Recovered {
    pub log: CommitLog,
    pub queues: QueueTable,
    pub keys: KeyIndex,
    /// The checkpoint it began with.
    pub checkpoint: Option<Checkpoint>,
    pub report: RecoveryReport,
}

/// How recovery went, for the line that the broker prints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// What the checkpoint covered; `None` if there was no intact one.
    pub covered: Option<Position>,
    /// First position the log still has.
    pub first: Position,
    /// Where the log ends.
    pub end: Position,
    /// Segments taken in by their index.
    pub loaded: u64,
    /// Where reading began within a segment, thanks to the index of its beginning.
    pub resumed: Option<Position>,
    /// Segments whose index was damaged; it is written again.
    pub rebuilt: Vec<SegmentBase>,
    /// Bytes of frames that were read and checked.
    pub replayed: u64,
    pub messages: u64,
    pub own_records: u64,
    /// Store time of the newest message, ms; 0 without messages.
    pub latest_ms: i64,
    /// The log ended in bytes that were no whole frame: a write had not completed.
    pub torn: bool,
}

/// Why a shard cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryError {
    /// A segment's name does not fit the directory's segment size, or the limit of positions.
    Misplaced { base: SegmentBase },
    /// A segment is not there though later ones, an index or a checkpoint say it was.
    Missing { base: SegmentBase },
    /// Older segments have expired, and no checkpoint tells what was in them (topics, offsets).
    Headless { first: SegmentBase },
    /// The index of a segment was made again from it, and does not have what the checkpoint says is there.
    Contradicted { base: SegmentBase },
    /// The log is not what was written.
    Corrupt { segment: SegmentBase, file_offset: u64, why: Why },
}

/// What is wrong with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No valid frame, though everything below `durable` was durable (a checkpoint or an index says so).
    BelowDurable { durable: Position },
    /// No valid frame, and the whole one at `witness` was written when this place was durable.
    Witness { witness: Position },
    /// A whole frame of another shard.
    OtherShard { shard: u16 },
    /// A whole frame of a start that this directory knows nothing of: its superblock is older than its log.
    FutureEpoch { epoch: u32 },
    /// A whole frame whose record at this position makes no sense.
    Record { position: Position },
    /// A message that does not follow the one before in its queue.
    QueueGap { position: Position, offset: u64, expected: u64 },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryError::Misplaced { base } => {
                write!(f, "{} is not the name of a segment of this directory", base.log_name())
            }
            RecoveryError::Missing { base } => {
                write!(f, "{} is missing or too short, and messages in it were acknowledged", base.log_name())
            }
            RecoveryError::Contradicted { base } => write!(
                f,
                "the checkpoint does not agree with {} on what queues have there, though both have right checksums; with \
                 checkpoint-0 and checkpoint-1 moved away a start reads the whole log instead",
                base.log_name()
            ),
            RecoveryError::Headless { first } => write!(
                f,
                "both checkpoints are missing or damaged, and what the log said before {} has expired",
                first.log_name()
            ),
            RecoveryError::Corrupt { segment, file_offset, why } => {
                write!(f, "{} is damaged at byte {file_offset}: {why}", segment.log_name())
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::BelowDurable { durable } => write!(f, "no valid frame, but the log was durable up to {durable}"),
            Why::Witness { witness } => write!(f, "no valid frame, but a later one at {witness} shows there was one"),
            Why::OtherShard { shard } => write!(f, "this is a log of shard {shard}"),
            Why::FutureEpoch { epoch } => {
                write!(f, "written by start {epoch}, which ringmq.format knows nothing of; was it replaced?")
            }
            Why::Record { position } => write!(f, "the record at {position} makes no sense"),
            Why::QueueGap { position, offset, expected } => {
                write!(f, "the message at {position} has queue offset {offset} instead of {expected}")
            }
        }
    }
}

impl std::error::Error for RecoveryError {}
