//! Where a request runs.
//!
//! Owns the rule of each request code (`Rule`, one per row of `routes!`) and its resolution to a shard (`Place`).
//! Reads the topic and the queue id of a command and nothing else; never looks at a body, never changes a shard.

use crate::event::ShardId;

/// Where a request's code says it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// On the shard of the connection.
    Here,
    /// On the shard that owns the queue named by topic and queue id.
    Queue,
    /// On the queue's shard; a negative queue id means any queue, and the home shard prefers one of its own.
    AnyQueue,
    /// On the shard named by the physical offset in this header field.
    Log(&'static str),
    /// On one of the topic's shards after the other (`pop::place`).
    Pop,
    /// On the shard of the queue that a receipt of POP names.
    Receipt,
    /// On the control shard.
    Control,
    /// On all shards: the home shard asks them and merges.
    All,
}

/// Where a request runs, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the shard that was asked. Also: unknown topics (the home shard parks or refuses), refusals, gathers.
    Here,
    /// On this other shard: it gets the request as its own `Input::Request`, behind what this one has told it before.
    Shard(ShardId),
}
