//! Every bound of this room, named and argued. Full means refuse or wait, never grow.
//!
//! Owns the numbers; relations between them are compile-time assertions at the end.

use std::time::Duration;

/// The buffer all connections of an executor read into, bytes. Measured on loopback with 1 KiB messages, 16 connections
/// and 64 in flight: 64 KiB 1.7M messages a second, 128 KiB 2.6M, 256 KiB 2.7M, 1 MiB (beyond the L2 cache) 2.1M.
pub const READ_BUFFER: usize = 256 * 1024;

/// Bytes of unfinished frames that the connections of one executor may hold together: sixteen of the largest frames.
/// A peer that announces a large frame costs only what it has really sent.
pub const PARTIAL_FRAMES_MAX: usize = 256 * 1024 * 1024;

/// Unsent answer bytes at which a connection is no longer read. A client that reads slowly is slowed down, not cut off.
pub const OUTBOUND_PAUSE: usize = 1024 * 1024;

/// Unsent answer bytes at which a connection is closed: only pushes and answers to what was already in flight can
/// get it here, so the peer has stopped reading.
pub const OUTBOUND_MAX: usize = 64 * 1024 * 1024;

/// Answer buffers larger than this are given back once they are empty.
pub const OUTBOUND_KEEP: usize = 64 * 1024;

/// Answers from this size on are written from where they were encoded: copying 32 KiB costs about as much as a `send`.
pub const LARGE_ANSWER: usize = 32 * 1024;

/// Answer bytes that core may collect before they are moved to the connections' buffers.
pub const EFFECTS_BYTES: usize = 1024 * 1024;

/// A connection without a byte in either direction for this long is closed (serverChannelMaxIdleTimeSeconds).
pub const IDLE_CLOSE: Duration = Duration::from_secs(120);

/// How often connections are looked at for idleness.
pub const IDLE_LOOK: Duration = Duration::from_secs(10);

/// File descriptors kept for segments, rings and everything that is no client connection.
pub const FDS_RESERVED: u64 = 256;

/// Most client connections of one process, should the file descriptor limit allow more: each costs about 1 KiB here
/// and 4 KiB in the kernel when idle.
pub const CONNECTIONS_MAX: u64 = 200_000;

/// Log lines a second about clients that send garbage, per executor.
pub const COMPLAINTS_PER_SECOND: u32 = 10;

/// Entries of each of an executor's three rings. The kernel keeps what waits in a ring, above all one poll per connection, in a
/// hash table with a 32nd of twice as many rows, 256 at most (io_uring/io_uring.c, io_ring_ctx_alloc), and every turn of the
/// loop cancels a timer, which walks one row. With the usual 128 entries and ten thousand idle connections that walk was over
/// 1,250 polls and took a third of the processor.
pub const RING_DEPTH: usize = 4096;

/// Pending connections per listening socket.
pub const BACKLOG: i32 = 1024;

/// How long a listener rests after the system refused a connection for want of descriptors.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Batches under way per ordered pair of executors: enough that a slow turn of the receiver does not stop the sender.
pub const MESH_BATCHES: usize = 8;

/// Bytes waiting for one other executor at which this one stops reading its connections.
pub const MESH_PAUSE: usize = 4 * 1024 * 1024;

/// Messages waiting for one other executor at which this one stops reading its connections.
pub const MESH_PAUSE_MESSAGES: usize = 16_384;

/// Bytes of frames, and of answers, that a batch keeps memory for while it is empty: more than a turn usually moves.
pub const MESH_KEEP: usize = 512 * 1024;

/// The same in messages.
pub const MESH_KEEP_MESSAGES: usize = 4096;

/// Waiting on the spot for a write that somebody waits for is worth while on disks up to this slow, microseconds: a virtual CPU
/// that sleeps is back after 30 to 50, and nothing else could be written meanwhile anyhow.
pub const LINGER_MAX_US: u64 = 200;

/// Writes up to this size tell how long a small one takes, bytes.
pub const LINGER_BYTES: usize = 16 * 1024;

/// Wake-ups of completed writes that one read takes: as many as there usually are.
pub const WAKE_UPS: usize = 64;

/// Cold reads under way per executor; the rest wait in order. Eight reads of 512 KiB keep an NVMe device busy.
pub const COLD_READS: usize = 8;

/// Bytes of old messages verified and copied at once: some 50 us, and as much again for the sockets that take them. Whoever
/// sends waits for one such piece.
pub const COLD_PIECE: u64 = 128 * 1024;

/// When others keep the executor busy, old messages get one part in so many of its time.
pub const COLD_SHARE: u64 = 4;

/// The longest time for which pieces follow one another, microseconds.
pub const COLD_BURST_US: u64 = 500;

/// After so long without a request but pulls, microseconds, nobody is kept waiting by who reads old messages.
pub const ONLY_PULLS_US: u64 = 20_000;

/// Threads that read the log at a start.
pub const START_READERS: usize = 4;

/// Pieces of [`READ_CHUNK`] they are ahead: enough for the disk while the executor verifies and replays what came.
pub const START_READS_AHEAD: usize = 16;

/// Largest single disk read, bytes.
pub const READ_CHUNK: usize = 1024 * 1024;

/// How long a shard waits before it tries again to write an index that could not be written.
pub const INDEX_RETRY: Duration = Duration::from_secs(1);

/// How long it waits before it tries again to make an index whose segment could not be read.
pub const REPAIR_RETRY: Duration = Duration::from_secs(60);

/// How long the scrub rests before its first round and between looks at the clock: a start has better things to do.
pub const SCRUB_REST: Duration = Duration::from_secs(60);

/// Segments a shard keeps open: the two being written and the most recently read ones.
pub const OPEN_SEGMENTS: usize = 32;

/// Appended bytes not yet durable at which a shard's executor stops reading connections: the disk has to catch up. Far
/// enough below the log's own window that what was already read still fits, so that no sender is ever refused for it.
pub const UNDURABLE_PAUSE: u64 = 24 * 1024 * 1024;

/// Log written by a shard since the last checkpoint at which the next one is due. What a start after a crash has to replay is at
/// most about two of it, as the last one may not have been whole: well under a second's worth.
pub const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;

/// The rest behind a checkpoint, as a multiple of what it took: a shard with a million queues does not write them all the time,
/// and one with few does not let a fast sender get far ahead of the last one.
pub const CHECKPOINT_REST_TIMES: u32 = 10;

/// Log written since the last checkpoint at which the next one is pressing, and the multiple then: with this much of each of two
/// shards to replay, and as much again while the checkpoint is made, a start is still ready within a second.
pub const CHECKPOINT_BYTES_FAR: u64 = 128 * 1024 * 1024;
pub const CHECKPOINT_REST_TIMES_FAR: u32 = 3;

/// Topics and queues looked at in one step of a checkpoint: some tenths of a millisecond.
pub const CHECKPOINT_STEP: usize = 4096;

/// The shortest and the longest rest.
pub const CHECKPOINT_REST_LEAST: Duration = Duration::from_millis(200);
pub const CHECKPOINT_REST_MOST: Duration = Duration::from_secs(5);

/// How often a shard looks whether its directory is still there and writable: an idle broker, too, must not go on as if
/// all were well with its volume unmounted.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The rest before a segment is tried again that could not be made on a full volume: producers go on within a second of
/// space coming back.
pub const NO_SPACE_RETRY: Duration = Duration::from_millis(200);

/// Rest between two checkpoints that released segments wait for.
pub const RELEASE_REST: Duration = Duration::from_millis(500);

/// Zeros written per step by the task that prepares segments: half a millisecond of disk time.
pub const FILL_CHUNK: usize = 1024 * 1024;

/// Bytes a second a log grows by above which segments are not zeroed ahead: zeros would take as much of the disk as the data
/// itself, and writes are so large then that what each of them costs more without (a commit of the journal) matters less.
/// Measured with 256 KiB writes, eight in flight: 2.7 GB/s over zeros, 1.5 GB/s without; zeroing and writing together 1.4 GB/s.
pub const FILL_BELOW: u64 = 64 << 20;

/// How long zeroing rests before it looks again whether the log is quieter.
pub const FILL_REST: Duration = Duration::from_millis(20);

/// Bytes of a checkpoint or an index that are written before they are synced: a millisecond of disk time.
pub const REPLACE_PIECE: usize = 1024 * 1024;

/// How long a name server may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause after a registration that failed, so that a name server that comes back is found soon.
pub const REGISTER_RETRY: Duration = Duration::from_secs(2);

/// Topics per registration frame: with attributes about 300 bytes each, a quarter of the largest frame.
pub const TOPICS_PER_REGISTRATION: usize = 16_384;

/// Topics told to the name server in this process at once, which bounds the memory of doing so: about 1 MiB.
pub const TOPICS_PER_ANNOUNCEMENT: usize = 4_096;

/// A broker with more topics than fit into one registration asks a name server whether it knows them all instead of telling
/// them again every period, and tells them anyway this often: somebody may have removed one at the name server.
pub const QUIET_PERIODS: u32 = 10;

/// How long unregistering may take at stop, for all name servers together.
pub const UNREGISTER_PATIENCE: Duration = Duration::from_secs(2);

/// The shortest time that has not passed when a task has just asked for it.
pub const GIVE_WAY: Duration = Duration::from_nanos(500);

/// The shortest wait for a deadline: timers closer together are one.
pub const TICK_MIN: Duration = Duration::from_micros(100);

/// How long stopping may wait for the disk and the name servers before the process goes anyway.
pub const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// How often stopping looks whether all is done.
pub const STOP_LOOK: Duration = Duration::from_millis(1);

const _: () = assert!(OUTBOUND_PAUSE < OUTBOUND_MAX);
const _: () = assert!(CHECKPOINT_REST_LEAST.as_micros() < CHECKPOINT_REST_MOST.as_micros());
const _: () = assert!(OUTBOUND_KEEP <= OUTBOUND_PAUSE);
const _: () = assert!(READ_BUFFER >= 64 * 1024);
const _: () = assert!(UNDURABLE_PAUSE + 2 * (READ_BUFFER as u64) < ringmq_core::store::limits::WINDOW_DEFAULT);
const _: () = assert!(PARTIAL_FRAMES_MAX >= 16 * ringmq_protocol::frame::FRAME_LIMIT);
const _: () = assert!(FILL_CHUNK.is_multiple_of(4096) && READ_CHUNK.is_multiple_of(4096));
