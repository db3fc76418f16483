//! What each group holds of each queue: one line per group and queue.
//!
//! Owns which messages are out, until when they are invisible, and what is handed out next. Everything below `next` that is
//! not out is done. Never reads a message, never writes the log: whoever changes a line has written the record before.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

use crate::limits::{POP_LINES_MAX, POP_OUT_MAX};
use crate::map::Map;
use crate::store::QueueSlot;

/// Names a line until its topic or its group is deleted.
pub type LineId = usize;

/// A message that a consumer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Popped {
    /// When it was popped or its time was changed, wall milliseconds: with the offset, the receipt.
    pub pop_time: i64,
    /// Steady milliseconds until which nobody else gets it.
    pub until_ms: i64,
    /// Popped in order: it is popped again from where it is.
    pub ordered: bool,
    /// Popped in order: how often before. Otherwise: how often it could not be read to be revived.
    pub times: u32,
}

/// One group's state on one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub topic: Box<str>,
    pub queue: u32,
    pub slot: QueueSlot,
    pub group: Box<str>,
    /// The next offset to hand out.
    pub next: u64,
    /// By offset, all below `next`.
    pub out: BTreeMap<u64, Popped>,
    /// Who popped in order last.
    pub attempt: Option<Box<str>>,
}

impl Line {
    /// Everything below is done: the group's consumer offset.
    pub fn committed(&self) -> u64 {
        self.out.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// Whether messages popped in order are with somebody, so that nobody else may go on.
    pub fn is_blocked(&self, now_ms: i64, attempt: Option<&str>) -> bool {
        let same = attempt.is_some() && attempt == self.attempt.as_deref();
        !same && self.out.values().any(|popped| popped.ordered && popped.until_ms > now_ms)
    }
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is good.
    Held(Popped),
    /// It was: the message is done, or went to the retry topic.
    Past,
    /// The message is out by another receipt, or was never handed out as far as the log knows.
    Unknown,
}

/// All lines of a shard.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Slab<Line>,
    by_queue: Map<QueueSlot, Vec<(Box<str>, LineId)>>,
    /// (until, line, offset) of what is out; what is being revived is not here.
    due: BTreeSet<(i64, LineId, u64)>,
    out: usize,
}

impl Lines {
    /// A group's line on a queue.
    pub fn find(&self, slot: QueueSlot, group: &str) -> Option<LineId> {
        let here = self.by_queue.get(&slot)?;
        here.iter().find(|(name, _)| **name == *group).map(|(_, id)| *id)
    }

    /// One line.
    pub fn get(&self, id: LineId) -> Option<&Line> {
        self.lines.get(id)
    }

    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().map(|(_, line)| line)
    }

    /// Whether one more line may be made.
    pub fn has_room(&self) -> bool {
        self.lines.len() < POP_LINES_MAX
    }

    /// How many more messages may be out.
    pub fn room_out(&self) -> usize {
        POP_OUT_MAX.saturating_sub(self.out)
    }

    /// How many messages are out.
    pub fn out(&self) -> usize {
        self.out
    }

    /// Adds a line; what is out of it is due in its time.
    pub fn add(&mut self, line: Line) -> LineId {
        assert!(line.out.last_key_value().is_none_or(|(last, _)| *last < line.next), "what is out was handed out");
        let (slot, group) = (line.slot, line.group.clone());
        let id = self.lines.insert(line);
        for (offset, popped) in &self.lines[id].out {
            self.due.insert((popped.until_ms, id, *offset));
        }
        self.out += self.lines[id].out.len();
        self.by_queue.entry(slot).or_default().push((group, id));
        id
    }

    /// Messages below `next` go out.
    pub fn take(&mut self, id: LineId, next: u64, offsets: &[u64], popped: Popped) {
        let line = &mut self.lines[id];
        assert!(line.next <= next, "a line only goes on");
        line.next = next;
        for offset in offsets {
            assert!(*offset < next);
            let before = line.out.get(offset).copied();
            if let Some(before) = before {
                self.due.remove(&(before.until_ms, id, *offset));
            } else {
                self.out += 1;
            }
            let times = before.map_or(0, |before| before.times.saturating_add(1));
            line.out.insert(*offset, Popped { times, ..popped });
            self.due.insert((popped.until_ms, id, *offset));
        }
    }

    /// Who popped in order last.
    pub fn set_attempt(&mut self, id: LineId, attempt: Option<&str>) {
        self.lines[id].attempt = attempt.map(Box::from);
    }

    /// What a receipt is worth.
    pub fn shown(&self, id: LineId, offset: u64, pop_time: i64) -> Shown {
        let line = &self.lines[id];
        match line.out.get(&offset) {
            Some(popped) if popped.pop_time == pop_time => Shown::Held(*popped),
            Some(_) => Shown::Unknown,
            None if offset < line.next => Shown::Past,
            None => Shown::Unknown,
        }
    }

    /// A message is done.
    pub fn done(&mut self, id: LineId, offset: u64) {
        if let Some(popped) = self.lines[id].out.remove(&offset) {
            self.due.remove(&(popped.until_ms, id, offset));
            self.out -= 1;
        }
    }

    /// A message stays invisible until another time.
    pub fn change(&mut self, id: LineId, offset: u64, pop_time: i64, until_ms: i64) {
        if let Some(popped) = self.lines[id].out.get_mut(&offset) {
            self.due.remove(&(popped.until_ms, id, offset));
            (popped.pop_time, popped.until_ms) = (pop_time, until_ms);
            self.due.insert((until_ms, id, offset));
        }
    }

    /// Everything out is forgotten, and the line goes on from `next`.
    pub fn reset(&mut self, id: LineId, next: u64) {
        let line = &mut self.lines[id];
        for (offset, popped) in std::mem::take(&mut line.out) {
            self.due.remove(&(popped.until_ms, id, offset));
            self.out -= 1;
        }
        line.next = next;
    }

    /// When the next message that is out becomes due, steady milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(until_ms, _, _)| *until_ms)
    }

    /// Takes one that is due. It stays out; until it is done, [`Lines::put_back`] or a change makes it due again.
    pub fn take_due(&mut self, now_ms: i64) -> Option<(LineId, u64, Popped)> {
        let (until_ms, id, offset) = *self.due.first()?;
        if until_ms > now_ms {
            return None;
        }
        self.due.pop_first();
        let popped = self.lines[id].out.get(&offset).expect("only what is out is due");
        Some((id, offset, *popped))
    }

    /// It could not be revived now: it is due again at `until_ms`, by the same receipt.
    pub fn put_back(&mut self, id: LineId, offset: u64, until_ms: i64) {
        if let Some(popped) = self.lines.get_mut(id).and_then(|line| line.out.get_mut(&offset)) {
            self.due.remove(&(popped.until_ms, id, offset));
            popped.until_ms = until_ms;
            self.due.insert((until_ms, id, offset));
        }
    }

    /// It could not be read.
    pub fn note_unreadable(&mut self, id: LineId, offset: u64) {
        if let Some(popped) = self.lines.get_mut(id).and_then(|line| line.out.get_mut(&offset)) {
            popped.times = popped.times.saturating_add(1);
        }
    }

    /// A queue is gone.
    pub fn drop_queue(&mut self, slot: QueueSlot) {
        for (_, id) in self.by_queue.remove(&slot).unwrap_or_default() {
            self.drop_line(id);
        }
    }

    /// The lines of a group.
    pub fn of_group(&self, group: &str) -> Vec<LineId> {
        self.lines.iter().filter(|(_, line)| *line.group == *group).map(|(id, _)| id).collect()
    }

    /// A line is no more.
    pub fn drop_line(&mut self, id: LineId) {
        self.reset(id, 0);
        let line = self.lines.remove(id);
        if let Some(here) = self.by_queue.get_mut(&line.slot) {
            here.retain(|(_, other)| *other != id);
        }
    }
}

impl std::ops::Index<LineId> for Lines {
    type Output = Line;

    fn index(&self, id: LineId) -> &Line {
        &self.lines[id]
    }
}
