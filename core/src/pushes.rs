//! Requests of ours that clients are to answer.
//!
//! Owns the numbers we give them (opaque) and what to do with the answer or without it. Never retries.

use ringmq_protocol::response_code::ResponseCode;

use crate::effects::{Effects, Refusal, ReplyTo};
use crate::event::{ConnId, PeerMessage, ShardId};
use crate::limits::PUSHES_MAX;
use crate::map::Map;

/// A push whose answer somebody waits for.
#[derive(Debug, Clone)]
pub struct Push {
    /// The client it went to.
    pub target: ConnId,
    /// Who is told when it answered.
    pub waiter: Waiter,
    /// Mono microseconds.
    pub deadline: u64,
}

/// Who waits for a client's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    /// Another client, which is given the answer as it is.
    Client(ReplyTo),
    /// A shard, by its number for the push.
    Shard { shard: ShardId, id: u64 },
}

/// The pushes of one shard that have no answer yet.
#[derive(Debug, Default)]
pub struct Pushes {
    open: Map<i32, Push>,
    next: i32,
}

impl Pushes {
    /// A number for a push that expects no answer.
    pub fn next_opaque(&mut self) -> i32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Remembers a push; its opaque, or `None` at the limit.
    pub fn open(&mut self, push: Push) -> Option<i32> {
        if self.open.len() >= PUSHES_MAX {
            return None;
        }
        let opaque = self.next_opaque();
        self.open.insert(opaque, push);
        Some(opaque)
    }

    /// The push that `conn` answers with this opaque.
    pub fn answered(&mut self, conn: ConnId, opaque: i32) -> Option<Push> {
        // Opaques of several shards may meet on one connection; the target must fit too.
        self.open.get(&opaque).is_some_and(|push| push.target == conn).then(|| self.open.remove(&opaque)).flatten()
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        self.open.values().map(|push| push.deadline).min()
    }

    /// Refuses what the clients did not answer in time.
    pub fn expire(&mut self, mono_us: u64, out: &mut Effects) {
        if !self.open.is_empty() {
            self.end(out, "the client did not answer in time", |push| push.deadline <= mono_us);
        }
    }

    /// A connection is gone: who waited for its answers is told, what it waited for is forgotten.
    pub fn drop_conn(&mut self, conn: ConnId, out: &mut Effects) {
        if !self.open.is_empty() {
            self.open.retain(|_, push| !matches!(push.waiter, Waiter::Client(to) if to.conn == conn));
            self.end(out, "the client's connection was closed before it answered", |push| push.target == conn);
        }
    }

    fn end(&mut self, out: &mut Effects, why: &'static str, over: impl Fn(&Push) -> bool) {
        let mut opaques: Vec<_> = self.open.iter().filter(|(_, push)| over(push)).map(|(opaque, _)| *opaque).collect();
        opaques.sort_unstable();
        for opaque in opaques {
            let Some(push) = self.open.remove(&opaque) else { continue };
            let refusal = Refusal::new(ResponseCode::SystemError, why);
            match push.waiter {
                Waiter::Client(to) => drop(out.refuse(&to, &refusal)),
                Waiter::Shard { shard, id } => {
                    out.peers.push((shard, PeerMessage::Pushed { id, outcome: Err(refusal) }));
                }
            }
        }
    }
}
