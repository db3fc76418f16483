//! Taking messages out of the queues of this shard for one pop.
//!
//! Owns the order in which queues are looked at, where a group begins, which messages go out together, and the record of it.
//! What goes out is all in memory or all to be read. Never answers, never waits.

use ringmq_protocol::tags::TagFilter;

use super::offset;
use crate::effects::Refusal;
use crate::event::Now;
use crate::limits::{OFFSETS_MAX, POP_LINES_MAX, POP_OUT_MAX, POP_SCAN_MAX, PULL_BYTES_MAX, YOUNG_QUEUE_BYTES};
use crate::offsets::QueuePlace;
use crate::pop::lines::{Line, LineId, Popped};
use crate::pop::receipt::Source;
use crate::pop::record::Op;
use crate::pop::{self, revive};
use crate::shard::Shard;
use crate::store::{Absent, Entry, Position, QueueSlot, QueueTable};

use ringmq_protocol::response_code::ResponseCode;

/// A checked pop.
#[derive(Debug)]
pub struct Wish<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    pub queue: Option<u32>,
    pub max: usize,
    pub invisible_ms: u64,
    /// A group without offset begins at the end.
    pub at_end: bool,
    pub filter: TagFilter,
    pub order: bool,
    pub attempt: Option<&'a str>,
}

/// A queue of this shard that a pop looks at.
#[derive(Debug, Clone)]
pub struct Lane {
    pub source: Source,
    pub topic: Box<str>,
    pub queue: u32,
    pub slot: QueueSlot,
}

/// A message that goes out.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    pub offset: u64,
    pub position: Position,
    pub size: u32,
    /// How often it was popped in order before.
    pub times: u32,
}

/// What goes out of one queue, ascending.
#[derive(Debug, Clone)]
pub struct Part {
    pub lane: Lane,
    pub picks: Vec<Pick>,
}

/// What goes out.
#[derive(Debug, Default)]
pub struct Batch {
    pub parts: Vec<Part>,
    pub messages: usize,
    bytes: usize,
    /// Whether it must be read from disk; known with the first message.
    pub cold: Option<bool>,
    /// Messages left in the queues looked at.
    pub rest: u64,
    /// A queue has more to look at than one pop may.
    pub more: bool,
    /// The log took no record.
    refused: Option<Refusal>,
}

impl Batch {
    /// Whether the message may go out with the others. The first one may whatever its size.
    fn admits(&self, max: usize, entry: &Entry, resident_from: Position) -> bool {
        let cold = entry.position < resident_from;
        self.messages == 0
            || (self.messages < max && self.bytes + entry.size as usize <= PULL_BYTES_MAX && self.cold == Some(cold))
    }

    fn add(&mut self, picks: &mut Vec<Pick>, pick: Pick, resident_from: Position) {
        self.cold.get_or_insert(pick.position < resident_from);
        self.messages += 1;
        self.bytes += pick.size as usize;
        picks.push(pick);
    }
}

/// Takes messages out of the lanes, in their order.
///
/// # Errors
/// When there is nothing and the log, or a limit, is why.
pub(crate) fn pick(shard: &mut Shard, now: Now, wish: &Wish<'_>, lanes: &[Lane]) -> Result<Batch, Refusal> {
    let mut batch = Batch::default();
    for lane in lanes {
        if batch.messages >= wish.max || batch.refused.is_some() {
            break;
        }
        if let Err(refusal) = pick_lane(shard, now, wish, lane, &mut batch) {
            batch.refused = Some(refusal);
        }
    }
    match batch.refused.take_if(|_| batch.messages == 0) {
        Some(refusal) => Err(refusal),
        None => {
            revive::arm(shard, now);
            Ok(batch)
        }
    }
}

fn pick_lane(shard: &mut Shard, now: Now, wish: &Wish<'_>, lane: &Lane, batch: &mut Batch) -> Result<(), Refusal> {
    let id = line_of(shard, now, wish, lane)?;
    let now_ms = shard.delay.clock().now_ms(now);
    let Shard { log, queues, pop, offsets, .. } = shard;
    if queues.get(lane.slot).is_none() {
        return Ok(());
    }
    let line = &pop.lines[id];
    if line.is_blocked(now_ms, wish.attempt) {
        return Ok(());
    }
    let most = wish.max.min(batch.messages + pop.lines.room_out());
    if most == batch.messages {
        return Err(busy(format!(
            "{POP_OUT_MAX} popped messages are not acknowledged on this shard; acknowledge some"
        )));
    }
    let committed = offsets.find_group(wish.group).and_then(|group| offsets.get(lane.slot, group).committed);
    let mut found = Found { next: line.next.max(committed.unwrap_or(0).max(0) as u64), picks: Vec::new(), full: false };
    let before = (batch.messages, batch.bytes, batch.cold);
    let all = TagFilter::All;
    let filter = if lane.source == Source::Topic { &wish.filter } else { &all };
    let sought = Sought { slot: lane.slot, filter, most, resident_from: log.resident_from() };
    let again = if wish.order { found.again(queues, line, &sought, batch) } else { Ok(()) };
    let looked = again.and_then(|()| found.fresh(queues, &sought, batch));
    if looked.is_err() && found.picks.is_empty() && found.next <= line.next.max(queues[lane.slot].min()) {
        // Nothing came of this queue. Those before may have given something; else it is looked at again from disk.
        return if batch.messages > 0 { Ok(()) } else { Err(Refusal::from(Absent)) };
    }
    let next = found.next.max(line.next);
    let scanned = next != line.next;
    let until_ms = shard.delay.clock().after_ms(now, wish.invisible_ms);
    let popped = Popped { pop_time: now.wall_ms, until_ms, ordered: wish.order, times: 0 };
    if scanned || !found.picks.is_empty() {
        let offsets: Vec<u64> = found.picks.iter().map(|pick| pick.offset).collect();
        if let Err(refusal) = pop::write(shard, now, id, &Op::Taken { next, popped, offsets: &offsets }) {
            (batch.messages, batch.bytes, batch.cold) = before;
            return Err(refusal);
        }
        shard.pop.lines.take(id, next, &offsets, popped);
        if wish.order && !offsets.is_empty() {
            shard.pop.lines.set_attempt(id, wish.attempt);
        }
        commit(shard, now, id);
    }
    let left = shard.queues[lane.slot].visible().saturating_sub(next);
    batch.rest += left;
    batch.more |= left > 0 && found.picks.is_empty() && !found.full;
    if !found.picks.is_empty() {
        batch.parts.push(Part { lane: lane.clone(), picks: found.picks });
    }
    Ok(())
}

/// What one queue gives.
struct Found {
    next: u64,
    picks: Vec<Pick>,
    /// The batch takes no more.
    full: bool,
}

/// What is looked for in one queue.
struct Sought<'a> {
    slot: QueueSlot,
    filter: &'a TagFilter,
    most: usize,
    resident_from: Position,
}

impl Found {
    /// Messages popped in order before and not acknowledged.
    fn again(
        &mut self,
        queues: &mut QueueTable,
        line: &Line,
        sought: &Sought<'_>,
        batch: &mut Batch,
    ) -> Result<(), Absent> {
        for (offset, popped) in line.out.iter().filter(|(_, popped)| popped.ordered) {
            let Some((entry, _)) = queues.look(sought.slot, *offset)? else { continue };
            if batch.messages >= sought.most || !batch.admits(sought.most, &entry, sought.resident_from) {
                self.full = true;
                return Ok(());
            }
            let Entry { position, size, tag_hash: _ } = entry;
            let times = popped.times.saturating_add(1);
            batch.add(&mut self.picks, Pick { offset: *offset, position, size, times }, sought.resident_from);
        }
        Ok(())
    }

    /// Messages that nobody of the group had. What the filter does not want counts as consumed.
    fn fresh(&mut self, queues: &mut QueueTable, sought: &Sought<'_>, batch: &mut Batch) -> Result<(), Absent> {
        let mut left = POP_SCAN_MAX;
        let mut entries = Vec::new();
        while !self.full && left > 0 {
            let queue = &queues[sought.slot];
            self.next = self.next.max(queue.min());
            if self.next >= queue.resident_from() {
                let resident = queue.entries(self.next, left);
                self.take(resident, sought, batch);
                return Ok(());
            }
            queues.entries_from(sought.slot, self.next, left, &mut entries)?;
            if entries.is_empty() && self.next >= queues[sought.slot].min() {
                return Ok(());
            }
            left -= entries.len();
            self.take(entries.iter().copied(), sought, batch);
        }
        Ok(())
    }

    fn take(&mut self, entries: impl Iterator<Item = (u64, Entry)>, sought: &Sought<'_>, batch: &mut Batch) {
        for (offset, entry) in entries {
            if sought.filter.matches(i64::from(entry.tag_hash)) {
                if batch.messages >= sought.most || !batch.admits(sought.most, &entry, sought.resident_from) {
                    self.full = true;
                    return;
                }
                let Entry { position, size, tag_hash: _ } = entry;
                batch.add(&mut self.picks, Pick { offset, position, size, times: 0 }, sought.resident_from);
            }
            self.next = offset + 1;
        }
    }
}

#[cold]
fn busy(remark: String) -> Refusal {
    Refusal::new(ResponseCode::SystemBusy, remark)
}

/// The group's line on a queue, made where the group stands or begins.
fn line_of(shard: &mut Shard, now: Now, wish: &Wish<'_>, lane: &Lane) -> Result<LineId, Refusal> {
    let Shard { log, queues, pop, offsets, .. } = shard;
    let queue = &queues[lane.slot];
    let progress = offsets.find_group(wish.group).map(|group| offsets.get(lane.slot, group)).unwrap_or_default();
    let known = pop.lines.find(lane.slot, wish.group);
    if let (Some(id), None) = (known, progress.reset) {
        return Ok(id);
    }
    if let (Some(id), Some(reset)) = (known, progress.reset) {
        let next = reset.max(0) as u64;
        pop::write(shard, now, id, &Op::Reset { next })?;
        let Shard { pop, offsets, .. } = shard;
        pop.lines.reset(id, next);
        offsets.find_group(wish.group).and_then(|group| offsets.take_reset(lane.slot, group));
        commit(shard, now, id);
        return Ok(id);
    }
    if !pop.lines.has_room() {
        return Err(busy(format!(
            "{POP_LINES_MAX} pairs of group and queue are popped on this shard, the most it may"
        )));
    }
    // Exact where it counts: for a queue that begins with number 0.
    let young = queue.first_position().is_none_or(|first| log.appended().0 - first <= YOUNG_QUEUE_BYTES);
    let from_start = !wish.at_end || lane.source != Source::Topic || (queue.min() == 0 && young);
    let next = match progress.committed {
        Some(committed) => committed.max(0) as u64,
        None if from_start => queue.min(),
        None => queue.visible(),
    };
    let Lane { topic, queue, slot, .. } = lane;
    let (topic, queue, slot) = (topic.clone(), *queue, *slot);
    let line = Line { topic, queue, slot, group: wish.group.into(), next, out: Default::default(), attempt: None };
    let id = pop.lines.add(line);
    if let Some(group) = offsets.find_group(wish.group) {
        // It begins where the reset says: that is what is committed.
        offsets.take_reset(slot, group);
    }
    let popped = Popped { pop_time: now.wall_ms, until_ms: 0, ordered: false, times: 0 };
    // Where a group began must not depend on when it is asked again after a crash.
    if let Err(refusal) = pop::write(shard, now, id, &Op::Taken { next, popped, offsets: &[] }) {
        shard.pop.lines.drop_line(id);
        return Err(refusal);
    }
    commit(shard, now, id);
    Ok(id)
}

/// Moves the group's consumer offset to where its line stands. At the limit of offsets ([`OFFSETS_MAX`]) tools see the
/// old one; the line counts.
pub(crate) fn commit(shard: &mut Shard, now: Now, id: LineId) {
    let Line { topic, queue, slot, group, .. } = &shard.pop.lines[id];
    let (topic, queue, slot, group) = (topic.clone(), *queue, *slot, group.clone());
    let committed = shard.pop.lines[id].committed() as i64;
    let place = QueuePlace { topic: &topic, queue, slot };
    let _ = offset::store(shard, now, place, &group, committed);
    const { assert!(OFFSETS_MAX >= POP_LINES_MAX) };
}
