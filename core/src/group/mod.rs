//! Consumer groups: what one is configured to, who is online, and who may consume which queue.
//!
//! `Group` and `GroupTable` are configuration, stored and known to every shard. `view` is what members subscribe to, known to
//! every shard but not stored. `members`, `locks` and `assignment` live on the control shard only. Offsets are not here: they
//! belong to the shard of their queue.

pub mod assignment;
pub mod locks;
pub mod members;
mod table;
mod view;

pub use table::GroupTable;
pub use view::{ConsumeFromWhere, ConsumeType, GroupView, MessageModel, Subscription, Views, Wanted};

use std::collections::BTreeMap;

pub use crate::settings::RequestMode;

/// Most topics of a group that have their own request mode.
pub const MODES_PER_GROUP_MAX: usize = 4_096;

/// How long a failed message waits before it is tried again (GroupRetryPolicy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The n-th wait of this list, in ms; its last one from then on.
    Customized(Vec<i64>),
    /// From `initial` ms on, each wait `multiplier` times the one before, up to `max` ms.
    Exponential { initial: i64, max: i64, multiplier: i64 },
}

impl Default for RetryPolicy {
    /// The waits of CustomizedRetryPolicy: the delay levels from 3 on, counted from level 1.
    fn default() -> Self {
        const S: i64 = 1_000;
        const M: i64 = 60 * S;
        const H: i64 = 60 * M;
        let seconds = [S, 5 * S, 10 * S, 30 * S];
        let minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30].map(|minutes| minutes * M);
        RetryPolicy::Customized(seconds.into_iter().chain(minutes).chain([H, 2 * H]).collect())
    }
}

/// How a group receives a topic's messages (SetMessageRequestModeRequestBody).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pulled by clients or handed out by the broker.
    pub mode: RequestMode,
    /// How many members share a queue when handed out; 0 or less: all.
    pub share: i32,
}

/// A consumer group's configuration (SubscriptionGroupConfig).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, legal by `names::check_group`.
    pub name: Box<str>,
    /// Whether its members may consume at all.
    pub consume_enable: bool,
    /// Whether a new member may start at the minimum; kept for tools.
    pub consume_from_min_enable: bool,
    /// Whether its members may consume in broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether the broker hands its messages out in order.
    pub consume_message_orderly: bool,
    /// Queues of its retry topic.
    pub retry_queues: u32,
    /// How often a message is tried again before it is a dead letter.
    pub retry_max_times: i32,
    /// How long it waits in between.
    pub retry_policy: RetryPolicy,
    /// Broker id to read from.
    pub broker_id: i64,
    /// Broker id to read from when consuming slowly.
    pub which_broker_when_consume_slowly: i64,
    /// Whether members are told when others join or leave.
    pub notify_consumer_ids_changed_enable: bool,
    /// Unit-mode bits.
    pub group_sys_flag: i32,
    /// Minutes a member may take for one message; kept for tools.
    pub consume_timeout_minute: i32,
    /// Attributes without signs.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// Topics it receives in a mode of its own.
    pub modes: BTreeMap<Box<str>, Mode>,
}

impl Group {
    /// A group with RocketMQ's defaults.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Group {
            name: name.into(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queues: 1,
            retry_max_times: 16,
            retry_policy: RetryPolicy::default(),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            attributes: BTreeMap::new(),
            modes: BTreeMap::new(),
        }
    }
}
