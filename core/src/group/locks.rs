//! Which member may consume a queue in order (RebalanceLockManager).
//!
//! Owns the locks: taking, refreshing, giving back, running out. Time is the monotonic clock, so that a wall clock that jumps
//! gives nobody's queue away. Locks are not stored: after a restart members take them again within their 20 s period.

use crate::event::{ConnId, Now};
use crate::map::Map;

/// How long a lock holds without being refreshed, ms (rocketmq.broker.rebalance.lockMaxLiveTime).
pub const LOCK_MS: u64 = 60_000;

/// How long the locks of a member whose connection closed still hold, ms. A client that reconnects at once keeps its queues;
/// one that died gives them up after this instead of after a minute.
pub const CLOSED_GRACE_MS: u64 = 3_000;

/// Most locks: 1 Mi queues under orderly consumption are about 200 MB; more are refused by not being granted.
pub const LOCKS_MAX: usize = 1_048_576;

/// A queue as clients name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName {
    /// Topic.
    pub topic: Box<str>,
    /// Broker name as the client knows it.
    pub broker: Box<str>,
    /// Queue id.
    pub queue: i32,
}

#[derive(Clone, Debug)]
struct Lock {
    client: Box<str>,
    conn: ConnId,
    /// Mono time at which it runs out.
    until: u64,
}

/// Every lock of the broker.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// By group; groups without locks have no entry.
    groups: Map<Box<str>, Map<QueueName, Lock>>,
    count: usize,
    /// When the earliest shortened lock runs out: the groups of dead members are told then.
    shortened: Vec<(u64, Box<str>)>,
}

impl Locks {
    /// Takes or refreshes the locks of `queues` for a client; answers which of them it holds now.
    pub fn take(
        &mut self,
        now: Now,
        group: &str,
        client: &str,
        conn: ConnId,
        queues: Vec<QueueName>,
    ) -> Vec<QueueName> {
        let until = now.after_ms(LOCK_MS);
        let mut held = Vec::with_capacity(queues.len());
        let locks = self.groups.entry(group.into()).or_default();
        for queue in queues {
            match locks.get_mut(&queue) {
                Some(lock) if &*lock.client == client || lock.until <= now.mono_us => {
                    *lock = Lock { client: client.into(), conn, until };
                }
                Some(_) => continue,
                None if self.count >= LOCKS_MAX => continue,
                None => {
                    locks.insert(queue.clone(), Lock { client: client.into(), conn, until });
                    self.count += 1;
                }
            }
            held.push(queue);
        }
        held
    }

    /// Gives locks back; those of other clients stay.
    pub fn give_back(&mut self, group: &str, client: &str, queues: &[QueueName]) {
        self.retain(group, |queue, lock| &*lock.client != client || !queues.contains(queue));
    }

    /// Gives back everything a client of the group holds: it said that it leaves.
    pub fn leave(&mut self, group: &str, client: &str) {
        self.retain(group, |_, lock| &*lock.client != client);
    }

    /// Whether a group holds any lock, which only orderly consumers do.
    #[must_use]
    pub fn is_held_by(&self, now: Now, group: &str) -> bool {
        self.groups.get(group).is_some_and(|locks| locks.values().any(|lock| lock.until > now.mono_us))
    }

    /// The member of these groups on this connection may have died: its locks run out after a grace unless it takes them
    /// again.
    pub fn closed(&mut self, now: Now, conn: ConnId, groups: &[Box<str>]) {
        let until = now.after_ms(CLOSED_GRACE_MS);
        for group in groups {
            let Some(locks) = self.groups.get_mut(group) else { continue };
            let mut any = false;
            for lock in locks.values_mut().filter(|lock| lock.conn == conn && lock.until > until) {
                lock.until = until;
                any = true;
            }
            if any {
                self.shortened.push((until, group.clone()));
            }
        }
    }

    /// When `expire` has something to say.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.shortened.iter().map(|&(at, _)| at).min()
    }

    /// Drops locks that ran out; answers the groups in which a dead member's locks did, whose other members should now look
    /// for free queues instead of waiting for their next round.
    pub fn expire(&mut self, now: Now) -> Vec<Box<str>> {
        let mut groups: Vec<Box<str>> = Vec::new();
        self.shortened.retain(|(at, group)| {
            if *at <= now.mono_us && !groups.contains(group) {
                groups.push(group.clone());
            }
            *at > now.mono_us
        });
        groups.retain(|group| self.retain(group, |_, lock| lock.until > now.mono_us) > 0);
        groups
    }

    /// Keeps only some locks of a group; answers how many went.
    fn retain(&mut self, group: &str, mut keep: impl FnMut(&QueueName, &Lock) -> bool) -> usize {
        let Some(locks) = self.groups.get_mut(group) else { return 0 };
        let before = locks.len();
        locks.retain(|queue, lock| keep(queue, lock));
        let gone = before - locks.len();
        if locks.is_empty() {
            self.groups.remove(group);
        }
        self.count = self.count.checked_sub(gone).expect("every lock was counted when it was taken");
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CoreId;

    fn at_s(seconds: u64) -> Now {
        Now { wall_ms: 0, mono_us: seconds * 1_000_000 }
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { core: CoreId(0), slot, generation: 1 }
    }

    fn queues(ids: &[i32]) -> Vec<QueueName> {
        ids.iter().map(|&queue| QueueName { topic: "t".into(), broker: "b".into(), queue }).collect()
    }

    fn take(locks: &mut Locks, seconds: u64, client: u32, ids: &[i32]) -> Vec<i32> {
        let name = format!("client-{client}");
        let held = locks.take(at_s(seconds), "g", &name, conn(client), queues(ids));
        held.into_iter().map(|queue| queue.queue).collect()
    }

    #[test]
    fn a_lock_belongs_to_one_client_until_it_runs_out() {
        let mut locks = Locks::default();
        assert_eq!(take(&mut locks, 0, 1, &[0, 1]), [0, 1]);
        assert_eq!(take(&mut locks, 30, 2, &[0, 1, 2]), [2]);
        assert_eq!(take(&mut locks, 59, 1, &[0]), [0], "its own is refreshed");
        assert_eq!(take(&mut locks, 61, 2, &[0, 1]), [1], "1 ran out, 0 was refreshed");
        assert!(locks.is_held_by(at_s(61), "g") && !locks.is_held_by(at_s(61), "h"));
    }

    #[test]
    fn only_the_owner_gives_back() {
        let mut locks = Locks::default();
        take(&mut locks, 0, 1, &[0, 1]);
        locks.give_back("g", "client-2", &queues(&[0]));
        assert_eq!(take(&mut locks, 1, 2, &[0]), [0; 0]);
        locks.give_back("g", "client-1", &queues(&[0]));
        assert_eq!(take(&mut locks, 1, 2, &[0, 1]), [0]);
        locks.leave("g", "client-1");
        assert_eq!(take(&mut locks, 1, 2, &[1]), [1]);
        locks.leave("g", "client-2");
        assert_eq!((locks.count, locks.groups.len()), (0, 0));
    }

    #[test]
    fn a_closed_connection_frees_its_locks_after_the_grace() {
        let mut locks = Locks::default();
        take(&mut locks, 0, 1, &[0, 1]);
        locks.closed(at_s(10), conn(1), &["g".into()]);
        assert_eq!(take(&mut locks, 11, 2, &[0]), [0; 0]);
        assert_eq!(locks.next_deadline(), Some(13_000_000));
        assert_eq!(locks.expire(at_s(13)), [Box::from("g")]);
        assert_eq!(take(&mut locks, 13, 2, &[0, 1]), [0, 1]);
        assert_eq!(locks.next_deadline(), None);
    }

    #[test]
    fn a_client_that_comes_back_in_time_keeps_its_locks() {
        let mut locks = Locks::default();
        take(&mut locks, 0, 1, &[0]);
        locks.closed(at_s(10), conn(1), &["g".into()]);
        let held = locks.take(at_s(12), "g", "client-1", conn(7), queues(&[0]));
        assert_eq!(held, queues(&[0]));
        assert!(locks.expire(at_s(13)).is_empty());
        assert_eq!(take(&mut locks, 14, 2, &[0]), [0; 0]);
    }
}
