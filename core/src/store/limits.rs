//! The bounds of the store, each with its reason. Some are part of the disk format: the comment says so.

use ringmq_protocol::offset::POSITION_LIMIT;

/// Unit of direct I/O, bytes: the physical block of current disks (their logical 512 would cost a read per write).
pub const BLOCK: u64 = 4096;

/// Unit in which the tail takes and gives back memory: big enough that few records cross its edge, small enough that
/// an idle shard costs little.
pub const CHUNK: u64 = 1 << 20;

/// Largest single write, bytes. At 256 KiB with several in flight a virtio disk gave its full 3.6 GB/s; larger ones
/// only make the first message of the batch wait longer. Part of the recovery argument, see [`IN_FLIGHT_SPAN`].
pub const WRITE_MAX: u64 = 256 * 1024;

/// Writes in flight. More than one only when [`WRITE_MAX`] accumulated, so the depth follows the disk's latency.
pub const WRITES_MAX: usize = 8;

/// Stream bytes between the first one not yet completed and the last one given to the disk. Part of the disk format:
/// recovery concludes from a frame that lies further out that everything before it had been durable.
pub const IN_FLIGHT_SPAN: u64 = 2 << 20;

/// Payload at which a frame is sealed although no write asks for it: bounds what recovery must hold to check one.
pub const FRAME_TARGET: u64 = 256 * 1024;

/// Largest record, bytes: queue entries keep the size in 24 bits, and no client can send a frame above 16 MiB.
pub const RECORD_MAX: u64 = (1 << 24) - 1;

/// Smallest segment, for tests and tiny volumes.
pub const SEGMENT_MIN: u64 = 64 * 1024;

/// Largest segment: key index words keep the place within a segment in 30 bits. Also Java's mappedFileSizeCommitLog.
pub const SEGMENT_MAX: u64 = 1 << 30;

/// Positions stay below this: 128 TiB, a day and a half at 1 GB/s, four and a half years at 1 MB/s.
pub const POSITION_END: u64 = POSITION_LIMIT;

/// Default bound of appended bytes that are not durable yet, per shard. Full means the disk cannot keep up.
pub const WINDOW_DEFAULT: u64 = 64 << 20;

/// Default memory of the tail per shard; it grows to this as messages come.
pub const TAIL_DEFAULT: u64 = 32 << 20;

/// Queue entries in one page of a consume queue.
pub const PAGE_ENTRIES: usize = 128;

/// Keys in one sorted run of the key index: sorting one takes about 50 us, the longest the index ever holds a shard.
pub const KEY_RUN: usize = 4096;

/// Keys of one message that are indexed; more are stored in the properties but not searchable. Part of the disk format
/// in so far as an index and its rebuild should be equal.
pub const KEYS_PER_MESSAGE_MAX: usize = 32;

/// Bytes one step of writing an index puts out: some 200 us.
pub const INDEX_STEP: usize = 256 * 1024;

/// Bytes recovery asks for at a time.
pub const RECOVERY_READ: u64 = 4 << 20;

/// How far behind an invalid frame recovery looks for one that proves it had been durable.
pub const WITNESS_SPAN: u64 = 8 << 20;

/// Gap between two wanted ranges up to which one larger read is cheaper than two.
pub const READ_MERGE_GAP: u64 = 64 * 1024;

/// Longest topic name in index and checkpoint, bytes (RETRY_OR_DLQ_TOPIC_MAX_LENGTH).
pub const TOPIC_NAME_MAX: usize = 255;

const _: () = assert!(CHUNK.is_multiple_of(BLOCK));
const _: () = assert!(WRITE_MAX.is_multiple_of(BLOCK));
const _: () = assert!(WRITES_MAX as u64 * WRITE_MAX <= IN_FLIGHT_SPAN);
const _: () = assert!(SEGMENT_MIN.is_multiple_of(BLOCK));
const _: () = assert!(RECOVERY_READ.is_multiple_of(BLOCK));
const _: () = assert!(WITNESS_SPAN > 2 * IN_FLIGHT_SPAN);
