//! The queues a shard owns.
//!
//! Owns every `ConsumeQueue` and the way from a topic and queue number to it. Never decides which queues there should be:
//! whoever stores a message opens its queue, whoever drops a topic drops its queues.

use std::collections::BTreeSet;

use ringmq_protocol::offset::Position;

use crate::map::{Map, Names};
use crate::store::files::index_file::{Directory, Row};
use crate::store::incarnation::Incarnation;
use crate::store::index::cold::{Miss, Wanted};
use crate::store::index::consume_queue::ConsumeQueue;
use crate::store::index::lives::{Buried, Life};
use crate::store::index::pages::PageCache;
use crate::store::index::runs::{Chains, RunRef};
use crate::store::index::walk::MarksWalk;
use crate::store::segment::SegmentBase;

/// Names an open queue without its topic; cheap to keep, useless after the queue was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueSlot {
    pub(super) index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Slot {
    /// Counts the queues that had this place.
    pub(super) generation: u32,
    pub(super) queue: Option<ConsumeQueue>,
}

/// A topic's queues in ascending number, as far as they are this shard's.
#[derive(Debug)]
pub(super) struct TopicQueues {
    pub(super) topic: Box<str>,
    /// Number of the queue, place in the slots.
    pub(super) queues: Vec<(u32, u32)>,
    /// Of which making of the topic they are.
    pub(super) incarnation: Incarnation,
    /// Where the log says so.
    pub(super) begun: Position,
    /// The topic is no more.
    pub(super) buried: Option<Box<Buried>>,
}

/// A queue's run in an index that was just made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealedRun {
    /// Of its topic, in this table.
    pub(crate) number: u32,
    pub(crate) queue: u32,
    pub(crate) run: RunRef,
    pub(crate) span_ms: u32,
}

/// What the index of a full segment tells of.
#[derive(Debug)]
pub(crate) struct SealedRuns {
    pub(crate) end: u64,
    pub(crate) runs: Vec<SealedRun>,
}

/// All queues of one shard.
#[derive(Debug, Default)]
pub struct QueueTable {
    pub(super) by_name: Names,
    /// Listed by number, so that a walk can pause and go on. `None` is free to be used again.
    pub(super) topics: Vec<Option<TopicQueues>>,
    pub(super) free_topics: Vec<u32>,
    /// Buried topics of which the log does not say yet that they have ended.
    pub(super) unended: Map<Box<str>, u32>,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<u32>,
    /// Entries below this are in indexes on disk, those from here on in memory.
    pub(super) indexed_to: u64,
    /// The log has nothing below this any more.
    pub(super) start: u64,
    /// What of the indexes on disk is in memory.
    pub(super) pages: PageCache,
    pub(super) chains: Chains,
    /// Queues whose messages below a position are not shown though the log has them.
    pub(super) floors: Map<QueueSlot, u64>,
    /// What the last look at something that is not in memory missed.
    pub(super) miss: Option<Miss>,
    /// What whoever reads in order will want next.
    pub(super) ahead: Option<Wanted>,
    /// Times that are on disk may be guessed.
    pub(super) tired: bool,
    /// Segments whose index is not what was written.
    pub(super) damaged: Vec<SegmentBase>,
    /// The writing of a checkpoint's rows.
    pub(super) walk: Option<Box<MarksWalk>>,
}

impl QueueTable {
    /// A table without queues.
    pub fn new() -> Self {
        QueueTable::default()
    }

    /// How many queues there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The queue, if it was opened before.
    #[inline]
    pub fn find(&self, topic: &str, queue: u32) -> Option<QueueSlot> {
        let queues = &self.topics[self.number(topic)? as usize].as_ref()?.queues;
        queues.binary_search_by_key(&queue, |(id, _)| *id).ok().map(|at| self.slot(queues[at].1))
    }

    /// The number a topic is listed at.
    #[inline]
    pub(super) fn number(&self, topic: &str) -> Option<u32> {
        let is_it = |number: u32| self.topics[number as usize].as_ref().is_some_and(|listed| *listed.topic == *topic);
        self.by_name.find(topic, is_it)
    }

    /// The slot of an open queue at a place.
    #[inline]
    pub(super) fn slot(&self, index: u32) -> QueueSlot {
        QueueSlot { index, generation: self.slots[index as usize].generation }
    }

    /// The queue; a new one starts empty at offset 0.
    #[inline]
    pub fn open(&mut self, topic: &str, queue: u32) -> QueueSlot {
        match self.find(topic, queue) {
            Some(slot) => slot,
            None => self.open_new(topic, queue),
        }
    }

    fn open_new(&mut self, topic: &str, queue: u32) -> QueueSlot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, queue: None });
            u32::try_from(self.slots.len() - 1).expect("memory ends before 2^32 queues")
        });
        let slot = &mut self.slots[index as usize];
        slot.queue = Some(ConsumeQueue::default());
        let slot = QueueSlot { index, generation: slot.generation };
        let number = self.topic_number(topic);
        let listed = self.topics[number as usize].as_mut().expect("a named topic is listed");
        let at = listed.queues.partition_point(|(id, _)| *id < queue);
        listed.queues.insert(at, (queue, index));
        slot
    }

    pub(super) fn topic_number(&mut self, topic: &str) -> u32 {
        if let Some(number) = self.number(topic) {
            return number;
        }
        let number = self.free_topics.pop().unwrap_or_else(|| {
            self.topics.push(None);
            u32::try_from(self.topics.len() - 1).expect("memory ends before 2^32 topics")
        });
        self.topics[number as usize] = Some(TopicQueues {
            topic: topic.into(),
            queues: Vec::new(),
            incarnation: Incarnation::NONE,
            begun: Position(0),
            buried: None,
        });
        self.by_name.insert(topic, number);
        number
    }

    /// The queue of a slot; `None` once it was dropped.
    #[inline]
    pub fn get(&self, slot: QueueSlot) -> Option<&ConsumeQueue> {
        self.slots.get(slot.index as usize).filter(|found| found.generation == slot.generation)?.queue.as_ref()
    }

    /// The queue of a slot; `None` once it was dropped.
    #[inline]
    pub fn get_mut(&mut self, slot: QueueSlot) -> Option<&mut ConsumeQueue> {
        self.slots.get_mut(slot.index as usize).filter(|found| found.generation == slot.generation)?.queue.as_mut()
    }

    /// Places of queues, counted from 0 in an order that stays: `nth_slot` is `None` for one that is free.
    pub fn slot_places(&self) -> usize {
        self.slots.len()
    }

    /// The queue at a place.
    #[inline]
    pub fn nth_slot(&self, place: usize) -> Option<QueueSlot> {
        self.slots.get(place)?.queue.as_ref()?;
        Some(self.slot(place as u32))
    }

    /// A topic's queues in ascending number.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = (u32, QueueSlot)> + '_ {
        let listed = self.number(topic).and_then(|number| self.topics[number as usize].as_ref());
        listed.into_iter().flat_map(|listed| listed.queues.iter().map(|(id, index)| (*id, self.slot(*index))))
    }

    /// Every queue with its topic and number, in an order that depends only on what was done to the table.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32, &ConsumeQueue)> + '_ {
        (0..self.topics.len()).flat_map(|number| self.nth_topic(number))
    }

    /// Every queue's topic and slot.
    pub(super) fn iter_slots(&self) -> impl Iterator<Item = (&str, QueueSlot)> + '_ {
        let listed = self.topics.iter().flatten();
        listed.flat_map(|listed| listed.queues.iter().map(|(_, index)| (&*listed.topic, self.slot(*index))))
    }

    /// The queues of the topic listed at `number`.
    pub(crate) fn nth_topic(&self, number: usize) -> impl Iterator<Item = (&str, u32, &ConsumeQueue)> + '_ {
        self.topics[number].iter().flat_map(|listed| {
            listed.queues.iter().map(|(id, index)| {
                let queue = self.slots[*index as usize].queue.as_ref();
                (&*listed.topic, *id, queue.expect("a listed queue is open"))
            })
        })
    }

    /// How far [`QueueTable::nth_as_of`] counts.
    pub(crate) fn topic_numbers(&self) -> usize {
        self.topics.len()
    }

    /// Puts in a queue as recovery knows it.
    pub(crate) fn restore(&mut self, life: &Life<'_>, queue: u32, state: ConsumeQueue, floor: u64) {
        self.begin(life.topic, life.incarnation, life.begun);
        let slot = self.open(life.topic, queue);
        self[slot] = state;
        if floor > 0 {
            self.floors.insert(slot, floor);
        }
    }

    /// Takes over a full segment's entries as its index has them. `resident`: they are in memory and leave. `false`, and
    /// nothing is changed, if the index does not fit what is known.
    pub(crate) fn take_directory(&mut self, directory: &Directory, end: u64, resident: bool) -> bool {
        let other = directory.begins().filter(|life| self.incarnation(life.topic) != life.incarnation);
        let ended: BTreeSet<&str> = other.map(|life| life.topic).collect();
        let fits = directory.rows().all(|row| {
            let slot = self.find(row.topic, row.queue).filter(|_| resident || !ended.contains(row.topic));
            let Some(state) = slot.map(|slot| &self[slot]) else { return !resident };
            let count = state.count_between(row.run.base.0, end);
            let known = if resident { count == u64::from(row.run.count) } else { state.resident_from() == state.max() };
            known && (state.max() == 0 || state.resident_from() == row.run.first)
        });
        if !fits {
            return false;
        }
        if !resident {
            directory.begins().for_each(|life| self.begin(life.topic, life.incarnation, life.begun));
        }
        for Row { topic, queue, run, span_ms, place } in directory.rows() {
            let slot = self.open(topic, queue);
            if resident {
                self[slot].seal(end, run, span_ms);
            } else {
                self[slot].extend(run, span_ms, place);
            }
        }
        self.indexed(end);
        true
    }

    /// Name of the topic listed at `number`.
    pub(crate) fn nth_name(&self, number: usize) -> Option<&str> {
        self.topics.get(number)?.as_ref().map(|listed| &*listed.topic)
    }

    /// Entries below this are in indexes on disk, those from here on in memory.
    pub fn indexed_to(&self) -> u64 {
        self.indexed_to
    }

    /// The index of a full segment is on disk: its entries leave memory, and what was dropped in it, which it tells, is
    /// forgotten.
    pub(crate) fn seal(&mut self, sealed: SealedRuns) {
        let SealedRuns { end, runs } = sealed;
        // Rows before and after would not mean the same indexes.
        self.step_walk(usize::MAX);
        for SealedRun { number, queue, run, span_ms } in runs {
            let Some(listed) = self.topics.get_mut(number as usize).and_then(Option::as_mut) else { continue };
            if let Ok(at) = listed.queues.binary_search_by_key(&queue, |(id, _)| *id) {
                let index = listed.queues[at].1;
                let place = &mut self.slots[index as usize];
                let slot = QueueSlot { index, generation: place.generation };
                let state = place.queue.as_mut().expect("a listed queue is open");
                if let Some(before) = state.newest_run() {
                    self.chains.renewed(slot, before);
                }
                state.seal(end, run, span_ms);
            } else if let Some(buried) = &mut listed.buried
                && let Ok(at) = buried.queues.binary_search_by_key(&queue, |(id, _)| *id)
            {
                let (_, state) = &mut buried.queues[at];
                state.seal(end, run, span_ms);
            }
        }
        self.indexed(end);
    }

    /// The log has nothing below `position` any more, see [`ConsumeQueue::expire_below`].
    pub fn expire_below(&mut self, position: Position) {
        self.start = self.start.max(position.0);
        self.queues_mut().for_each(|queue| queue.expire_below(position));
        for slot in self.chains.slots() {
            self.cut_chain(slot, position.0);
        }
        let Self { damaged, pages, start, .. } = self;
        damaged.retain(|base| base.0 >= *start);
        pages.forget_below(*start);
    }

    /// The log begins at `start`, its indexes are in place up to `indexed_to`: what recovery begins with.
    pub(crate) fn begin_at(&mut self, start: u64, indexed_to: u64) {
        (self.start, self.indexed_to) = (start, indexed_to);
    }

    /// Heap bytes of what finds messages: resident entries, pages of indexes, runs.
    pub fn index_memory(&self) -> usize {
        let entries: usize = self.slots.iter().flat_map(|slot| &slot.queue).map(ConsumeQueue::memory).sum();
        entries + self.pages.memory() + self.chains.memory()
    }

    /// The topic's messages below `position` are not shown any more; the same for the queues of one topic.
    pub fn expire_topic_below(&mut self, topic: &str, position: Position) {
        let slots: Vec<QueueSlot> = self.of_topic(topic).map(|(_, slot)| slot).collect();
        for slot in slots {
            self[slot].hide_below(position);
            if self[slot].newest_run().is_some_and(|run| run.base.0 >= position.0) {
                // Where the first one behind it is, the indexes on disk say when somebody asks.
                self.floors.insert(slot, position.0);
                self.cut_chain(slot, position.0);
            }
        }
    }

    /// The position below which a queue shows nothing though its `min` does not say so yet; 0 without.
    pub(crate) fn floor(&self, topic: &str, queue: u32) -> u64 {
        if self.floors.is_empty() {
            return 0;
        }
        let slot = self.find(topic, queue);
        slot.and_then(|slot| self.floors.get(&slot)).copied().unwrap_or(0)
    }

    /// A queue's runs below `floor` are gone: if it is known which one is the first now, `min` moves there.
    fn cut_chain(&mut self, slot: QueueSlot, floor: u64) {
        let cut = self.chains.cut(slot, floor);
        let oldest = cut.and_then(|oldest| oldest.or_else(|| self[slot].newest_run()));
        if let Some(oldest) = oldest {
            self[slot].raise_min(oldest.first);
        }
    }

    /// Every queue, to change: recovery makes all of them visible.
    pub(crate) fn queues_mut(&mut self) -> impl Iterator<Item = &mut ConsumeQueue> + '_ {
        self.slots.iter_mut().filter_map(|slot| slot.queue.as_mut())
    }
}

/// For slots the caller knows to be open.
impl std::ops::Index<QueueSlot> for QueueTable {
    type Output = ConsumeQueue;

    #[inline]
    fn index(&self, slot: QueueSlot) -> &ConsumeQueue {
        self.get(slot).expect("the queue is open")
    }
}

impl std::ops::IndexMut<QueueSlot> for QueueTable {
    #[inline]
    fn index_mut(&mut self, slot: QueueSlot) -> &mut ConsumeQueue {
        self.get_mut(slot).expect("the queue is open")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    #[test]
    fn a_queue_is_found_again() {
        let mut table = QueueTable::new();
        let slots: Vec<_> = [3, 0, 7].map(|id| table.open("orders", id)).into();
        assert_eq!(table.open("orders", 0), slots[1]);
        assert_eq!(table.find("orders", 7), Some(slots[2]));
        assert_eq!(table.find("orders", 1), None);
        assert_eq!(table.find("other", 0), None);
        assert_eq!(table.of_topic("orders").map(|(id, _)| id).collect::<Vec<_>>(), vec![0, 3, 7]);
    }

    #[test]
    fn a_dropped_queue_stays_dropped_for_who_kept_its_slot() {
        let mut table = QueueTable::new();
        let old = table.open("orders", 0);
        table[old].push(Entry { position: Position(40), size: 100, tag_hash: 0 }, 1);
        table.drop_topic("orders", Position(140));
        assert!(table.is_empty());
        let new = table.open("orders", 0);
        assert_ne!(old, new);
        assert!(table.get(old).is_none());
        assert_eq!(table[new].max(), 0, "a topic made again starts at 0");
        assert_eq!(table.iter().map(|(topic, id, _)| (topic, id)).collect::<Vec<_>>(), vec![("orders", 0)]);
    }
}
