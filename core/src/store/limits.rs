//! The bounds of the store, each with its reason. Some are part of the disk format: the comment says so.

use ringmq_protocol::offset::POSITION_LIMIT;

/// Unit of direct I/O, bytes: the physical block of current disks (their logical 512 would cost a read per write).
pub const BLOCK: u64 = 4096;

/// Unit in which the tail takes and gives back memory: big enough that few records cross its edge, small enough that
/// an idle shard costs little; a huge page.
pub const CHUNK: u64 = 2 << 20;

/// Largest single write, bytes. At 256 KiB with several in flight a virtio disk gave its full 3.6 GB/s; larger ones
/// only make the first message of the batch wait longer. Part of the recovery argument, see [`IN_FLIGHT_SPAN`].
pub const WRITE_MAX: u64 = 256 * 1024;

/// Smallest write that joins others in flight, bytes, while little waits: a disk that takes 0.08 ms a write is busy with eight of
/// these, and a smaller one costs the CPU more than the messages in it.
pub const WRITE_LEAST: u64 = 16 * 1024;

/// Writes in flight. More than one only when [`WRITE_LEAST`] accumulated, so the depth follows the disk's latency.
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

/// Unit in which the log is read back and kept: about one frame. A lone record costs two or three of them.
pub const COLD_CHUNK: u64 = 256 * 1024;

/// Largest single read of the log, bytes: with several under way an NVMe or virtio disk gives all it has. To pin the pages of one
/// and hand it to the disk takes the kernel 150 us a MiB, and whoever sends meanwhile waits for that.
pub const COLD_READ_MAX: u64 = 512 * 1024;

/// Memory for what was read back, per shard. A frame larger than usual (one record of up to 16 MiB) may exceed it while
/// it is waited for.
pub const COLD_BUDGET: u64 = 16 << 20;

/// How far ahead of somebody who reads in order is read: first, and at most.
pub const COLD_AHEAD_MIN: u64 = 512 * 1024;
pub const COLD_AHEAD_MAX: u64 = 4 << 20;

/// Readers in order that are told apart, per shard.
pub const COLD_STREAMS: usize = 8;

/// Readers at most so far apart are to become one: bytes.
pub const COLD_GATHER: u64 = 256 << 20;

/// Who is further than this in front of the last one is not read for while the disk has other things to do: what was read for those
/// in front must still be here when the last one comes to it.
pub const COLD_LEAD: u64 = 6 << 20;

/// So many times in a row the first of those who wait may be passed over by one whose records lie lower in the log.
pub const COLD_PATIENCE: u32 = 1_024;

/// Of so many who wait the one whose records lie lowest goes first.
pub const COLD_CHOICE: usize = 32;

/// Chunks by which others went on since, after which somebody counts as gone: as much as the cache holds.
pub const COLD_STREAM_IDLE: u64 = 64;

/// Log reads under way, per shard, those ahead included.
pub const COLD_LOADS: usize = 8;

/// Requests that may ask for log bytes at once, per shard; the others wait in line, so that what one needs is not pushed
/// out by another before it was used.
pub const COLD_ACTIVE: usize = 8;

/// How far back a known beginning of a frame may lie to walk on from it; beyond, searching is less to read.
pub const COLD_NEAR: u64 = 512 * 1024;

/// Damaged places remembered per shard; a forgotten one is found (and reported) again.
pub const COLD_DAMAGES_MAX: usize = 1024;

/// Files of released segments that are kept to be used again, at least: the next segment is wanted when one is half full.
pub const SPARES_MIN: u64 = 2;

/// The same at most, for segments so small that time counts instead: at 64 KiB each and 50 MB/s a twelfth of a second.
pub const SPARES_MAX: u64 = 64;

/// The same in bytes: what a busy shard writes while a released segment waits for its two checkpoints.
pub const SPARE_BYTES: u64 = 64 << 20;

/// For how many looks (one a second) of the log's growth spares are kept: a look and two checkpoints, each half a second apart.
pub const LOOKS_AHEAD: u64 = 3;

/// Longest topic name in index and checkpoint, bytes (RETRY_OR_DLQ_TOPIC_MAX_LENGTH).
pub const TOPIC_NAME_MAX: usize = 255;

/// Verified index pages held per shard: 4 MiB. A consumer that reads old messages needs one page per 255 messages, a
/// search by time some ten.
pub const INDEX_PAGES_DEFAULT: usize = 1024;

/// The least number of index pages held: all that one read brings, and what one look at a queue needs beside it.
pub const INDEX_PAGES_MIN: usize = 16;

/// Entry pages read at once: a consumer of old messages goes on where he is (2,000 messages for 32 KiB).
pub const INDEX_READ_AHEAD: u32 = 8;

/// The same ahead of who goes on: 8,000 messages for 128 KiB, so that the next piece is here before the last one is used up
/// although log reads of several MiB stand before it in line. Less where many read, as far as memory for pages goes.
pub const INDEX_AHEAD_MAX: u32 = 32;

/// The least of it.
pub const INDEX_AHEAD_MIN: u32 = 2;

/// Reads ahead in indexes that are under way, per shard.
pub const INDEX_AHEAD_READS: usize = 16;

/// Runs of sealed segments remembered per shard beyond each queue's newest one: 2 MiB.
pub const CHAIN_RUNS_MAX: usize = 65_536;

const _: () = assert!(CHUNK.is_multiple_of(BLOCK));
const _: () = assert!(WRITE_MAX.is_multiple_of(BLOCK) && WRITE_LEAST.is_multiple_of(BLOCK));
const _: () = assert!(WRITES_MAX as u64 * WRITE_MAX <= IN_FLIGHT_SPAN);
const _: () = assert!(SEGMENT_MIN.is_multiple_of(BLOCK));
const _: () = assert!(RECOVERY_READ.is_multiple_of(BLOCK));
const _: () = assert!(WITNESS_SPAN > 2 * IN_FLIGHT_SPAN);
const _: () = assert!(INDEX_READ_AHEAD as usize * 2 <= INDEX_PAGES_MIN);
const _: () = assert!(COLD_CHUNK.is_multiple_of(BLOCK) && COLD_READ_MAX.is_multiple_of(COLD_CHUNK));
const _: () =
    assert!(COLD_ACTIVE as u64 * 4 * COLD_CHUNK <= COLD_BUDGET, "what is waited for fits beside other chunks");
const _: () = assert!(COLD_AHEAD_MAX <= COLD_BUDGET / 2);
const _: () =
    assert!(COLD_LEAD + 2 * COLD_AHEAD_MAX <= COLD_BUDGET, "what lies between the first and the last one fits");
