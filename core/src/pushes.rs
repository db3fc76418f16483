//! Requests of ours that clients are to answer.
//!
//! Owns the numbers we give them (opaque) and what to do with the answer or without it. Never retries.

use std::collections::BTreeSet;

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
    /// Deadlines with their opaques.
    order: BTreeSet<(u64, i32)>,
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
        self.order.insert((push.deadline, opaque));
        self.open.insert(opaque, push);
        Some(opaque)
    }

    /// The push that `conn` answers with this opaque.
    pub fn answered(&mut self, conn: ConnId, opaque: i32) -> Option<Push> {
        // Opaques of several shards may meet on one connection; the target must fit too.
        self.open.get(&opaque).is_some_and(|push| push.target == conn).then(|| self.close(opaque)).flatten()
    }

    fn close(&mut self, opaque: i32) -> Option<Push> {
        let push = self.open.remove(&opaque)?;
        self.order.remove(&(push.deadline, opaque));
        Some(push)
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Refuses what the clients did not answer in time.
    pub fn expire(&mut self, mono_us: u64, out: &mut Effects) {
        while let Some((deadline, opaque)) = self.order.first().copied()
            && deadline <= mono_us
        {
            self.refuse(opaque, "the client did not answer in time", out);
        }
    }

    /// A connection is gone: who waited for its answers is told, what it waited for is forgotten.
    pub fn drop_conn(&mut self, conn: ConnId, out: &mut Effects) {
        let concerned =
            |push: &Push| push.target == conn || matches!(push.waiter, Waiter::Client(to) if to.conn == conn);
        let opaques: Vec<i32> =
            self.order.iter().map(|(_, opaque)| *opaque).filter(|opaque| concerned(&self.open[opaque])).collect();
        for opaque in opaques {
            match self.open[&opaque].waiter {
                Waiter::Client(to) if to.conn == conn => drop(self.close(opaque)),
                _ => self.refuse(opaque, "the client's connection was closed before it answered", out),
            }
        }
    }

    fn refuse(&mut self, opaque: i32, why: &'static str, out: &mut Effects) {
        let Some(push) = self.close(opaque) else { return };
        let refusal = Refusal::new(ResponseCode::SystemError, why);
        match push.waiter {
            Waiter::Client(to) => drop(out.refuse(&to, &refusal)),
            Waiter::Shard { shard, id } => {
                out.peers.push((shard, PeerMessage::Pushed { id, outcome: Err(refusal) }));
            }
        }
    }
}
