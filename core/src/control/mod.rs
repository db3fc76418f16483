//! The truth about metadata, on the control shard.
//!
//! Owns who is online, the queue locks, the settings with their sources, the tables' versions, and the changes that are not
//! yet durable and known everywhere (`pending.rs`). The tables themselves are in `Metadata`, like on every shard; the
//! decisions are in `handlers/control.rs` and its neighbours.

mod pending;

pub use pending::{Pending, Ticket};

use std::collections::VecDeque;

use crate::event::{ConnId, Now};
use crate::group::locks::Locks;
use crate::group::members::Members;
use crate::settings::{BrokerSettings, Loaded};
use crate::topic::DataVersion;

/// How often members that fell silent are looked for, ms (ClientHousekeepingService).
pub const SWEEP_EVERY_MS: u64 = 10_000;

/// How long after a group's retry topic was made its members are told once more to divide the queues, ms. A client asks for
/// that topic's route before its first heartbeat makes the topic, learns the route a second later, and would take the queue
/// only with its next round, after 20 s.
pub const NOTICE_AGAIN_MS: u64 = 2_000;

/// What only the control shard has.
#[derive(Debug)]
pub struct Control {
    /// Who is online.
    pub members: Members,
    /// Who may consume which queue in order.
    pub locks: Locks,
    /// The settings and where they came from.
    pub loaded: Loaded<BrokerSettings>,
    /// Version of the topic table.
    pub topic_version: DataVersion,
    /// Version of the group table.
    pub group_version: DataVersion,
    /// Changes on their way.
    pub pending: Pending,
    /// Wall-clock time of the start, ms.
    pub started_ms: i64,
    /// Groups to be told once more to divide the queues, each with the mono time; in the order of time.
    notices: VecDeque<(u64, Box<str>)>,
    /// Mono time of the next look for silent members.
    sweep_at: Option<u64>,
    /// Counts choices among equals (which producer is asked about a transaction).
    turn: u64,
}

impl Control {
    /// Nobody online, nothing pending. The versions are new ones, because counters are not stored: name servers only ask
    /// whether a version differs.
    #[must_use]
    pub fn new(now: Now, loaded: Loaded<BrokerSettings>, shards: u16) -> Self {
        let version = DataVersion { timestamp: now.wall_ms, ..DataVersion::default() };
        Control {
            members: Members::default(),
            locks: Locks::default(),
            loaded,
            topic_version: version,
            group_version: version,
            pending: Pending::over(shards),
            started_ms: now.wall_ms,
            notices: VecDeque::new(),
            sweep_at: None,
            turn: 0,
        }
    }

    /// The connection of a client by its id: a producer's first, because replies go to requesters.
    #[must_use]
    pub fn client(&self, id: &str) -> Option<ConnId> {
        self.members.producer_conn(id)
    }

    /// One of the clients of a producer group, each in its turn.
    pub fn a_producer_of(&mut self, group: &str) -> Option<ConnId> {
        let count = self.members.producers(group).count() as u64;
        let index = self.turn.checked_rem(count)?;
        self.turn += 1;
        self.members.producers(group).nth(index as usize).map(|(conn, _)| conn)
    }

    /// Whether a group holds queue locks, which only orderly consumers do.
    #[must_use]
    pub fn holds_locks(&self, now: Now, group: &str) -> bool {
        self.locks.is_held_by(now, group)
    }

    /// When the control shard wants a tick.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let notice = self.notices.front().map(|(at, _)| *at);
        [self.sweep_at, self.locks.next_deadline(), notice].into_iter().flatten().min()
    }

    /// The members of a group shall be told once more to divide the queues.
    pub fn notice_again(&mut self, now: Now, group: &str) {
        self.notices.push_back((now.after_ms(NOTICE_AGAIN_MS), group.into()));
    }

    /// The next group that is to be told now.
    pub fn take_notice(&mut self, now: Now) -> Option<Box<str>> {
        self.notices.pop_front_if(|(at, _)| *at <= now.mono_us).map(|(_, group)| group)
    }

    /// Somebody is online: silence must be watched for.
    pub fn watch(&mut self, now: Now) {
        if self.sweep_at.is_none() {
            self.sweep_at = Some(now.after_ms(SWEEP_EVERY_MS));
        }
    }

    /// Whether it is time to look for silent members; sets the next time.
    pub fn is_sweep_due(&mut self, now: Now) -> bool {
        let is_due = self.sweep_at.is_some_and(|at| at <= now.mono_us);
        if is_due {
            self.sweep_at = (!self.members.is_empty()).then(|| now.after_ms(SWEEP_EVERY_MS));
        }
        is_due
    }
}
