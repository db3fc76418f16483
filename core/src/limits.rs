//! Every bound of core, named and argued. Full means refuse, never grow.
//!
//! Owns the numbers that are not settings; what an operator may change is a row of `settings.rs`.
//! Relations between limits are compile-time assertions at the end.

/// Longest properties string of a message, bytes: the record stores its length in a signed 16-bit field.
pub const PROPERTIES_MAX: usize = 32_767;

/// Longest topic name a client may send to, bytes (TopicValidator.TOPIC_MAX_LENGTH); Go clients read one length byte.
pub const TOPIC_MAX: usize = 127;

/// Longest `%RETRY%`/`%DLQ%` topic name, bytes (RETRY_OR_DLQ_TOPIC_MAX_LENGTH); such records are V2.
pub const RETRY_TOPIC_MAX: usize = 255;

/// Longest consumer or producer group name, bytes (Validators.CHARACTER_MAX_LENGTH plus what admin tools allow).
pub const GROUP_MAX: usize = 255;

/// Largest frame a peer may send, bytes, length word included (NettyDecoder.FRAME_MAX_LENGTH).
pub const FRAME_MAX: usize = 16 * 1024 * 1024;

/// Body bytes of one pull answer unless the first message alone is bigger (maxTransferBytesOnMessageInMemory).
pub const PULL_BYTES_MAX: usize = 256 * 1024;

/// Messages of one pull answer, whatever the client asks for: 64 KiB of plan entries at most.
pub const PULL_MESSAGES_MAX: usize = 1024;

/// Queue entries looked at per pull at least, so that a filter that matches little still gets on
/// (Java: max(16000 bytes, maxMsgNums x 20) of 20-byte entries).
pub const PULL_SCAN_MIN: usize = 800;

/// Queue entries looked at per pull at most; bounds the time one pull may take inside `apply` (about 1 ms).
pub const PULL_SCAN_MAX: usize = 65_536;

/// Longest time a pull may be held, ms; the longest hold a known client asks for is 20 s, and clients give up at 30 s.
pub const HOLD_MAX_MS: u64 = 60_000;

/// How long a pull whose subscription is not known here waits for the heartbeat's delta, ms.
/// A delta crosses the mesh in microseconds; a second covers a heartbeat that is still on its way on another connection.
pub const SUBSCRIPTION_GRACE_MS: u64 = 1_000;

/// Held pulls per shard: 64 Ki pulls of about 200 bytes are 13 MiB.
pub const HELD_MAX: usize = 65_536;

/// Answers waiting for durability per shard. A sender with this much in flight is refused with SYSTEM_BUSY.
pub const WAITING_MAX: usize = 262_144;

/// Cold reads under way per shard; more are refused with SYSTEM_BUSY and the client asks again.
pub const READS_MAX: usize = 4_096;

/// How often a request may run that needs pages of indexes: a search by time takes a dozen, statistics of a thousand
/// queues one for each.
pub const PAGE_ROUNDS_MAX: u16 = 4_096;

/// After so many runs times that are only shown to people are told about: memory may hold fewer pages than are needed.
pub const PAGE_ROUNDS_TIRED: u16 = 512;

/// Frames parked per shard until their topic exists.
pub const PARKED_MAX: usize = 4_096;

/// Bytes of parked frames per shard.
pub const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a frame waits for its topic before it is refused, ms; a client's send times out after 3 s.
pub const PARKED_MAX_MS: u64 = 2_500;

/// Questions spread over all shards that wait for parts, per home shard.
pub const GATHERS_MAX: usize = 4_096;

/// How long a gathered answer waits for its parts, ms.
pub const GATHER_MAX_MS: u64 = 5_000;

/// Messages one query by key returns at most (defaultQueryMaxNum's cap in the client and broker).
pub const QUERY_MESSAGES_MAX: usize = 64;

/// Messages one query by unique id returns at most: more than one only when a client resent.
pub const QUERY_UNIQUE_MAX: usize = 32;

/// Candidates one query by key reads at most: hash collisions and old entries are read and dropped.
pub const QUERY_CANDIDATES_MAX: usize = 256;

/// Body bytes of one query answer; the frame must stay below [`FRAME_MAX`].
pub const QUERY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Keys of one message that are indexed; more are stored in the properties but not searchable.
pub const KEYS_PER_MESSAGE_MAX: usize = 32;

/// Messages of one batch send: each entry costs an index entry and 32 hex digits in the answer.
pub const BATCH_MESSAGES_MAX: usize = 32_768;

/// Offsets kept per shard (one per group and queue): 48 bytes each.
pub const OFFSETS_MAX: usize = 4_194_304;

/// Consumer offsets in one OffsetBatch record; more go into further records of the same second.
pub const OFFSETS_PER_RECORD: usize = 1_024;

/// How often changed consumer offsets are written to the log, ms: what a crash may set back.
pub const OFFSET_WRITE_EVERY_MS: u64 = 1_000;

/// Delayed messages delivered in one step of the duty; bounds the time a step holds the shard (about 1 ms).
pub const DELAY_STEP: usize = 256;

/// Delayed messages per shard: 16 bytes each, 128 MiB.
pub const DELAYED_MAX: usize = 8 * 1024 * 1024;

/// Bytes of delayed messages that are read from disk at once.
pub const DELAY_READ_BYTES: u64 = 4 * 1024 * 1024;

/// How long delivery waits before it tries again what the disk could not do, ms.
pub const DELAY_RETRY_MS: u64 = 20;

/// Reads of one delayed message that may fail before it is given up.
pub const DELAY_UNREADABLE_AFTER: u32 = 50;

/// Longest delay by a TIMER_ property, ms: 3 days (timerMaxDelaySec); what lies longer is not kept (fileReservedTime).
pub const TIMER_MAX_MS: u64 = 259_200_000;

/// Longest delay of a level, ms: a queue entry keeps it in 31 bits. 24 days.
pub const LEVEL_MAX_MS: u64 = i32::MAX as u64 - 1;

/// How often a shard with delayed messages compares its clock with the wall clock, ms: what a wall clock set and a crash
/// within this time may cost in precision.
pub const CLOCK_LOOK_EVERY_MS: u64 = 1_000;

/// Undecided transactions per shard: about 150 bytes each, 40 MiB.
pub const HALF_MAX: usize = 262_144;

/// Half messages checked in one step of the duty; each reads a record and asks for a connection.
pub const HALF_STEP: usize = 64;

/// How late a changed transactionTimeOut or transactionCheckInterval may be noticed, ms.
pub const HALF_LOOK_EVERY_MS: u64 = 1_000;

/// Messages handed to other shards' queues whose outcome is not known yet, per shard.
pub const RELAYS_MAX: usize = 16_384;

/// How long the relay of a reply to the requesting client may take, ms (RpcRequest timeout in ReplyMessageProcessor).
pub const PUSH_REPLY_MAX_MS: u64 = 10_000;

/// Pushes to clients that wait for an answer, per shard.
pub const PUSHES_MAX: usize = 16_384;

/// Messages of one pop at most (PopMessageProcessor refuses more than MAX_MSG_NUMS).
pub const POP_MESSAGES_MAX: usize = 32;

/// Queue entries of one queue that one pop looks at; bounds the time it may take inside `apply` (about 1 ms).
pub const POP_SCAN_MAX: usize = 65_536;

/// Longest invisible time, ms: 3 days, as long as a message is kept (fileReservedTime). More counts as this.
pub const POP_INVISIBLE_MAX_MS: u64 = 259_200_000;

/// How late a pop may arrive after bornTime and pollTime, ms (PopMessageRequestHeader.isTimeoutTooMuch).
pub const POP_LATE_MS: i64 = 500;

/// Pairs of queue and group that are popped, per shard: about 200 bytes each, 50 MiB.
pub const POP_LINES_MAX: usize = 262_144;

/// Messages popped and not acknowledged, per shard: about 100 bytes each, 100 MiB.
pub const POP_OUT_MAX: usize = 1_048_576;

/// Pairs of topic and group with pops that wait, here or on other shards, per shard.
pub const POP_ROOMS_MAX: usize = 65_536;

/// Pops and notifications that wait, per shard (maxPopPollingSize is 100,000 per broker).
pub const POP_HELD_MAX: usize = 65_536;

/// The same per topic and group (popPollingSize).
pub const POP_HELD_PER_ROOM_MAX: usize = 1_024;

/// Bytes of the frames of pops that wait, per shard.
pub const POP_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Messages revived in one step of the duty; each reads and stores a record (about 1 ms).
pub const POP_REVIVE_STEP: usize = 64;

/// How long reviving waits before it tries again what did not work (no retry topic yet, disk busy), ms.
pub const POP_RETRY_MS: u64 = 200;

/// Reads of one message to be revived that may fail before it is given up.
pub const POP_UNREADABLE_AFTER: u32 = 50;

/// A queue whose first message lies at most this far behind the end of the log is young: a group without an offset starts
/// at 0 there. Stands for "the first message is still in memory" of the Java broker (40 % of RAM), without depending
/// on the machine.
pub const YOUNG_QUEUE_BYTES: u64 = 4 << 30;

/// Looks (one a second) during which expired segments go at any hour after DELETE_EXPIRED_COMMITLOG: long enough that the
/// checkpoints they wait for are there.
pub const LOOKS_WHEN_ASKED: u32 = 20;

/// Tags in one subscription expression.
pub const TAGS_MAX: usize = 1_024;

const _: () = assert!(TIMER_MAX_MS <= LEVEL_MAX_MS);
const _: () = assert!(TOPIC_MAX < RETRY_TOPIC_MAX);
const _: () = assert!(PULL_BYTES_MAX < FRAME_MAX);
const _: () = assert!(QUERY_BYTES_MAX < FRAME_MAX);
const _: () = assert!(PULL_SCAN_MIN <= PULL_SCAN_MAX);
const _: () = assert!(SUBSCRIPTION_GRACE_MS < HOLD_MAX_MS);
const _: () = assert!(PROPERTIES_MAX == i16::MAX as usize);
const _: () = assert!(PAGE_ROUNDS_TIRED < PAGE_ROUNDS_MAX);
