//! What may happen to a shard: requests, finished writes and reads, messages of other shards, time.
//!
//! Owns the identities (`ShardId`, `ConnId`, `Origin`, `Now`) and the two inbound types `Input` and `PeerMessage`.
//! Never holds a clock, a socket or a file: whoever drives a shard supplies all of it as values.

use std::net::SocketAddr;

use ringmq_protocol::command::Command;

use crate::append::Stored;
use crate::effects::Refusal;
use crate::fault::Fault;
use crate::gather::Part;
use crate::handlers::pop_wait::Walk;
use crate::handlers::push::ClientPush;
use crate::handlers::relay::Letter;
use crate::store::cold::{Block, Damage};
#[cfg(doc)]
use crate::store::limits::COLD_CHUNK;
use crate::store::retention::Volume;
use crate::topic::Change;

/// One shard of the data directory. Shard 0 is the control shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that owns topics, groups, members and locks.
    pub const CONTROL: ShardId = ShardId(0);
}

/// One executor: a thread pinned to a CPU, hosting one or more shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// One connection, named so that a reused slot is never taken for its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The executor that holds the socket.
    pub core: CoreId,
    /// Index in that executor's table of connections.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// Who asks, and which of our addresses the connection reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub conn: ConnId,
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// The two clocks: wall for timestamps in messages, mono for every deadline (a wall clock may jump).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Microseconds since some start; never goes back.
    pub mono_us: u64,
}

impl Now {
    /// The mono time `ms` milliseconds from now.
    pub fn after_ms(&self, ms: u64) -> u64 {
        self.mono_us.saturating_add(ms.saturating_mul(1_000))
    }
}

/// Why a disk operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskError {
    /// The operating system's error number; 0 when it gave none (a short write, a simulated fault).
    pub errno: i32,
}

/// Names one wanted read until its bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Names one question spread over all shards until every part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatherId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A request that [`crate::shard::Shard::place`] put here, on its connection's shard or, in the order of what that one tells
    /// this one, on another. `frame` is the whole frame, length word included;
    /// it is copied only if the request must wait for its topic or ask the other shards.
    Request { origin: Origin, command: &'a Command<'a>, frame: &'a [u8] },
    /// A client's answer to a push of ours. Goes to the shard that pushed; with several shards per executor the
    /// driver hands it to every shard and those that did not push ignore it.
    ClientAnswer { origin: Origin, command: &'a Command<'a>, frame: &'a [u8] },
    /// The connection is gone. Every shard is told.
    Closed { conn: ConnId },
    /// A `WritePlan` finished.
    Written { seq: u64, result: Result<(), DiskError> },
    /// The bytes of a `ReadPlan`, its ranges back to back.
    Read { id: ReadId, result: Result<&'a [u8], DiskError> },
    /// The same for one range of the log, in memory that may be kept: a block for each [`COLD_CHUNK`] from its beginning.
    ReadLog { id: ReadId, blocks: Vec<Block> },
    /// Those who wait for old messages may be served, about so many bytes of them; the driver says so while
    /// [`crate::cold::Cold::is_ready`], between other things that happen.
    Serve { bytes: u64 },
    /// The shard's files can take no more, though no write said so (yet): a segment that cannot be made, a directory gone.
    Lost { fault: Fault },
    /// The scrub found bytes of the log that are not what was written there.
    Damaged { damage: Damage },
    /// How full the volume is, once a second, and at once when a segment cannot be made for want of space or can be again.
    Volume(Volume),
    /// Another shard has something to say. Messages of one shard arrive in the order it sent them.
    Peer { from: ShardId, message: PeerMessage },
    /// Time passed; the driver says so when [`crate::shard::Shard::next_deadline`] is reached.
    Tick,
    /// The process is about to stop: write what is kept in memory only (consumer offsets).
    Stop,
}

/// What shards say to each other; moved by value over one bounded FIFO per ordered pair.
#[derive(Debug)]
pub enum PeerMessage {
    /// A request that stood in line here and whose place is the receiver.
    Request { origin: Origin, frame: Box<[u8]> },
    /// To control: a message was sent to a topic that does not exist; create it if the settings allow.
    TopicWanted { wish: Box<TopicWish> },
    /// From control: every shard knows the topic now (durably), or it is not to be.
    TopicDecided { topic: Box<str>, outcome: Result<(), Refusal> },
    /// To control: an unknown group pulled or committed; create it (when autoCreateSubscriptionGroup allows).
    GroupWanted { group: Box<str> },
    /// From control: changes of topics, groups or subscriptions, in their order; the last one's version.
    Delta { version: u64, changes: Box<[Change]> },
    /// To control: the receiver has applied all changes up to this version.
    Confirm { version: u64 },
    /// A question to every shard.
    Gather { id: GatherId, origin: Origin, frame: Box<[u8]> },
    /// One shard's part of the answer.
    Part { id: GatherId, part: Part },
    /// A message made on the sender (a retry, a dead letter) for a queue of the receiver.
    Store { id: u64, letter: Box<Letter> },
    /// Its outcome: stored and durable there, or refused.
    Stored { id: u64, outcome: Result<Stored, Refusal> },
    /// A POP request that found nothing on the sender.
    Pop(Box<Walk>),
    /// On its way round to the shard `waiting`: the shard `at` has a message for the pops that wait there.
    PopNews { topic: Box<str>, group: Box<str>, at: ShardId, waiting: ShardId },
    /// To control: a request for a client.
    Push { push: Box<ClientPush> },
    /// From control: the client's answer, or why there is none.
    Pushed { id: u64, outcome: Result<(), Refusal> },
}

/// What a producer's message asks of a topic that does not exist yet (SendMessageRequestHeader).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWish {
    pub topic: Box<str>,
    /// The topic whose settings are copied (`TBW102`).
    pub default_topic: Box<str>,
    /// How many queues the producer wants; the default topic's number caps it.
    pub queues: i32,
    pub sys_flag: i32,
}
