//! Long polls: pulls that wait for a message.
//!
//! Owns the held pulls of a shard, found by queue (to wake them), by connection (to drop them) and by deadline (to
//! answer them). Which message wakes which pull is decided by the pull's filter in `handlers/pull.rs`.
//! Never holds more than `HELD_MAX`, never touches the log.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

use crate::event::ConnId;
use crate::handlers::pull::Pull;
use crate::limits::HELD_MAX;
use crate::map::Map;
use crate::store::QueueSlot;

/// Names a held pull for as long as it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldId {
    key: u32,
    turn: u32,
}

/// The held pulls of one shard.
#[derive(Debug, Default)]
pub struct Held {
    pulls: Slab<Entry>,
    /// Keys of the pulls on each queue, oldest first. Empty lists stay: queues come back.
    by_queue: Map<QueueSlot, Vec<u32>>,
    by_conn: Map<ConnId, Vec<u32>>,
    /// Deadlines, those of answered pulls included until they surface or are swept.
    deadlines: BinaryHeap<Reverse<(u64, HeldId)>>,
    turn: u32,
}

#[derive(Debug)]
struct Entry {
    pull: Pull,
    turn: u32,
}

impl Held {
    /// How many pulls are held.
    pub fn len(&self) -> usize {
        self.pulls.len()
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.pulls.is_empty()
    }

    /// Whether one more would exceed the limit.
    pub fn is_full(&self) -> bool {
        self.pulls.len() >= HELD_MAX
    }

    /// Holds a pull until a message comes or `deadline` (mono microseconds) passes.
    pub fn hold(&mut self, pull: Pull, deadline: u64) {
        assert!(!self.is_full(), "the caller asks is_full first");
        self.sweep();
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let (slot, conn) = (pull.slot, pull.to.conn);
        let key = self.pulls.insert(Entry { pull, turn }) as u32;
        self.by_queue.entry(slot).or_default().push(key);
        self.by_conn.entry(conn).or_default().push(key);
        self.deadlines.push(Reverse((deadline, HeldId { key, turn })));
    }

    /// The pulls on a queue, as keys for [`Held::pull_mut`] and [`Held::release`].
    #[inline]
    pub fn on(&self, slot: QueueSlot) -> &[u32] {
        if self.pulls.is_empty() {
            return &[];
        }
        self.by_queue.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// One held pull, to look whether it wants a message. What it is found by must not change.
    pub fn pull_mut(&mut self, key: u32) -> &mut Pull {
        &mut self.pulls[key as usize].pull
    }

    /// Lets go of one pull.
    pub fn release(&mut self, key: u32) -> Pull {
        let Entry { pull, .. } = self.pulls.remove(key as usize);
        if let Some(keys) = self.by_queue.get_mut(&pull.slot) {
            keys.retain(|&held| held != key);
        }
        if let Some(keys) = self.by_conn.get_mut(&pull.to.conn) {
            keys.retain(|&held| held != key);
        }
        pull
    }

    /// The next deadline in mono microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        // An answered pull's deadline may stand here and cause one early tick; it never causes a late one.
        self.deadlines.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Lets go of one pull whose deadline passed.
    pub fn expire(&mut self, mono_us: u64) -> Option<Pull> {
        while let Some(Reverse((deadline, id))) = self.deadlines.peek().copied() {
            if deadline > mono_us {
                return None;
            }
            self.deadlines.pop();
            if self.is_current(id) {
                return Some(self.release(id.key));
            }
        }
        None
    }

    /// The connection is gone and its pulls with it.
    pub fn drop_conn(&mut self, conn: ConnId) {
        for key in self.by_conn.remove(&conn).unwrap_or_default() {
            self.release(key);
        }
    }

    fn is_current(&self, id: HeldId) -> bool {
        self.pulls.get(id.key as usize).is_some_and(|entry| entry.turn == id.turn)
    }

    /// Drops the deadlines of answered pulls once they are the majority; each costs O(1) amortised.
    fn sweep(&mut self) {
        if self.deadlines.len() <= 2 * self.pulls.len() + 64 {
            return;
        }
        let mut deadlines = std::mem::take(&mut self.deadlines);
        deadlines.retain(|Reverse((_, id))| self.is_current(*id));
        self.deadlines = deadlines;
    }
}
