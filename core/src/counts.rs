//! What a shard counted since it started: plain numbers, merged when somebody asks.
//!
//! Owns the counters; never a clock or a name. Rates are worked out when somebody asks (`rates.rs`).

use crate::rates::Rates;

/// Counters of one shard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Messages stored on behalf of clients.
    pub messages_in: u64,
    /// Their bytes as stored.
    pub bytes_in: u64,
    /// Messages sent to consumers.
    pub messages_out: u64,
    /// Their bytes as stored.
    pub bytes_out: u64,
    /// Pulls that were held for a message.
    pub pulls_held: u64,
    /// Messages that went to a retry topic.
    pub retries: u64,
    /// Messages that went to a dead-letter topic.
    pub dead_letters: u64,
    /// Delayed messages that were delivered when they were due.
    pub delays_delivered: u64,
    /// Delayed messages that could not be: their topic was deleted, or they could not be read.
    pub delays_lost: u64,
    /// Half messages that were committed.
    pub commits: u64,
    /// Half messages that were rolled back.
    pub rollbacks: u64,
    /// Half messages whose producer was asked too often.
    pub half_given_up: u64,
    /// Popped messages that could not be revived: the log does not have them any more, or not whole.
    pub pops_lost: u64,
    /// Damaged places found in the log: nothing in them is served.
    pub frames_damaged: u64,
    /// Messages that consumers were led past because they lie in such a place.
    pub messages_damaged: u64,
    /// How fast `messages_in` grows, as of when somebody asked last.
    pub rate_in: Rates,
    /// How fast `messages_out` grows, as of when somebody asked last.
    pub rate_out: Rates,
}
