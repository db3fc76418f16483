//! One queue: from a consumer's offset to a place in the log.
//!
//! Owns the queue's three offsets (`min <= visible <= max`), the entries of its messages in segments that have no index yet,
//! in pages, and where the newest of its entries in sealed segments lie on disk (`runs.rs`). What is said here of entries is
//! of resident ones; `QueueTable` looks at both. Never reads the log; whoever appends pushes the entry in the same call,
//! and whoever learns that something became durable makes it visible.

use crate::store::index::resident::{Page, Resident};
use crate::store::index::runs::RunRef;
use crate::store::limits::RECORD_MAX;
use crate::store::segment::SegmentBase;
use ringmq_protocol::offset::Position;
use ringmq_protocol::record::RECORD_LEAST;

/// What a consumer needs to find one message, and the broker to decide whether he wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub position: Position,
    pub size: u32,
    /// Java's `String.hashCode` of the TAGS property, 0 without one (RocketMQ's tagsCode is this, sign-extended).
    pub tag_hash: i32,
}

impl Entry {
    /// The position after the record: once durable, the message survives.
    #[inline]
    pub fn end(&self) -> Position {
        Position(self.position.0 + u64::from(self.size))
    }

    /// Whether it can be of a message that ends at or below `below`: a file that says otherwise is not what was written,
    /// right checksums or not.
    #[inline]
    pub fn is_possible(&self, below: u64) -> bool {
        let size = u64::from(self.size);
        (RECORD_LEAST as u64..=RECORD_MAX).contains(&size) && self.end().0 <= below
    }
}

/// The newest run of entries on disk, without what the queue knows anyway.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    base: u64,
    first_ms: i64,
    unit: u32,
    /// 0 when there is none.
    count: u32,
    /// Time of the last entry after the first.
    span_ms: u32,
}

/// The entries of one queue and how far consumers may see.
///
/// One of a million: what it needs only while messages are resident is on the heap.
#[derive(Debug, Default)]
pub struct ConsumeQueue {
    min: u64,
    max: u64,
    visible: u64,
    /// Position of the message with offset 0; 0 while there was none, or when it is not known any more.
    born: u64,
    newest: Newest,
    resident: Resident,
}

impl ConsumeQueue {
    /// A queue without messages whose next one gets offset `next`.
    pub fn starting_at(next: u64) -> Self {
        ConsumeQueue { min: next, max: next, visible: next, ..ConsumeQueue::default() }
    }

    /// A queue none of whose entries is resident, as a checkpoint tells it: it goes on behind `run`, or at `min`.
    pub(crate) fn sealed(min: u64, born: u64, run: Option<(RunRef, u32)>) -> Self {
        let end = run.map_or(min, |(run, _)| run.end());
        let mut queue = ConsumeQueue { min, max: end, visible: end, born, ..ConsumeQueue::default() };
        if let Some((run, span_ms)) = run {
            queue.set_newest(run, span_ms);
        }
        queue
    }

    fn set_newest(&mut self, run: RunRef, span_ms: u32) {
        let RunRef { base, unit, first: _, count, first_ms } = run;
        self.newest = Newest { base: base.0, first_ms, unit, count, span_ms };
    }

    /// Offset of the first resident entry, `max` without one.
    #[inline]
    pub fn resident_from(&self) -> u64 {
        self.resident.first(self.max)
    }

    /// The newest run of entries in sealed segments, which ends where the resident ones begin.
    pub fn newest_run(&self) -> Option<RunRef> {
        let Newest { base, first_ms, unit, count, span_ms: _ } = self.newest;
        let first = self.resident_from().checked_sub(u64::from(count))?;
        (count > 0).then_some(RunRef { base: SegmentBase(base), unit, first, count, first_ms })
    }

    /// Time of the newest run's last entry after its first, ms.
    pub(crate) fn newest_span(&self) -> u32 {
        self.newest.span_ms
    }

    /// When the queue's last message was stored, if that is known.
    pub fn last_ms(&self) -> Option<i64> {
        let sealed = || Some(self.newest.first_ms + i64::from(self.newest.span_ms)).filter(|_| self.newest.count > 0);
        self.resident.last().map(|(_, ms)| ms).or_else(sealed)
    }

    /// Position of the message with offset 0; 0 when it is not known.
    pub(crate) fn born(&self) -> u64 {
        self.born
    }

    /// A position at or below that of the first message that the queue has; `None` if it has none. Exact as long as the
    /// first message is number 0 or resident; else that of its segment, or 0.
    pub fn first_position(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        if self.min == 0 && self.born > 0 {
            return Some(self.born);
        }
        let resident = self.entry(self.min).map(|entry| entry.position.0);
        let only_run = self.newest_run().filter(|run| run.first <= self.min).map(|run| run.base.0);
        Some(resident.or(only_run).unwrap_or(0))
    }

    /// Entries below `end` are in an index on disk now, `run` tells where: they leave memory.
    pub(crate) fn seal(&mut self, end: u64, run: RunRef, span_ms: u32) {
        assert!(run.first == self.resident_from(), "segments are sealed in order");
        self.resident.drop_below(end);
        assert!(run.end() == self.resident_from(), "a run has all of a queue's entries in its segment");
        self.set_newest(run, span_ms);
    }

    /// The run before the resident entries is known now.
    pub(crate) fn follow(&mut self, run: RunRef, span_ms: u32) {
        assert!(run.end() == self.resident_from() && self.newest.count == 0, "runs follow each other");
        self.set_newest(run, span_ms);
    }

    /// The queue goes on with a run on disk; none of its entries is resident. A new queue begins with it.
    pub(crate) fn extend(&mut self, run: RunRef, span_ms: u32, place: u32) {
        assert!(self.resident.is_none());
        if self.newest.count == 0 && self.is_empty() {
            self.min = run.first;
        } else {
            assert!(run.first == self.max, "runs follow each other");
        }
        if run.first == 0 {
            self.born = run.base.0 + u64::from(place);
        }
        (self.max, self.visible) = (run.end(), run.end());
        self.set_newest(run, span_ms);
    }

    /// Offset of the oldest message the log still has; `max` when there is none.
    #[inline]
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Offset the next message gets.
    #[inline]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The offset that the next message got when the log ended at `end`, no earlier than entries are resident.
    #[inline]
    pub(crate) fn max_at(&self, end: u64) -> u64 {
        match self.resident.last() {
            Some((position, _)) if position >= end => self.resident_from() + self.count_between(0, end),
            _ => self.max,
        }
    }

    /// Consumers see what lies below.
    #[inline]
    pub fn visible(&self) -> u64 {
        self.visible
    }

    /// Whether the log has no message of this queue.
    pub fn is_empty(&self) -> bool {
        self.min == self.max
    }

    /// Adds a message, not visible yet, and returns its offset. Positions ascend. A store time below that of the message
    /// before (the wall clock went back) counts as equal to it, so that times ascend, too.
    #[inline]
    pub fn push(&mut self, entry: Entry, store_ms: i64) -> u64 {
        assert!(u64::from(entry.size) <= RECORD_MAX);
        let offset = self.max;
        let last = self.resident.last();
        assert!(last.is_none_or(|(position, _)| position < entry.position.0), "a queue follows its log");
        if offset == 0 {
            self.born = entry.position.0;
        }
        let last_ms = match last {
            Some((_, ms)) => ms,
            None => self.last_ms().unwrap_or(i64::MIN),
        };
        self.resident.push(offset, &entry, store_ms.max(last_ms));
        self.max += 1;
        offset
    }

    /// Adds a message that recovery found, whose record says its offset. An empty queue starts there.
    ///
    /// # Errors
    /// [`Gap`] if it does not follow the one before.
    pub(crate) fn push_at(&mut self, offset: u64, entry: Entry, store_ms: i64) -> Result<(), Gap> {
        if self.resident.is_none() && self.newest.count == 0 {
            (self.min, self.max, self.visible) = (offset, offset, offset);
        }
        let follows = self.resident.last().is_none_or(|(position, _)| position < entry.position.0);
        if offset != self.max || !follows || u64::from(entry.size) > RECORD_MAX {
            return Err(Gap { expected: self.max });
        }
        self.push(entry, store_ms);
        Ok(())
    }

    /// Lets consumers see what lies below `to`.
    #[inline]
    pub fn show(&mut self, to: u64) {
        assert!(self.visible <= to && to <= self.max, "visibility only grows and ends with the queue");
        self.visible = to;
    }

    /// Lets consumers see what is durable: messages that end at or below `durable`. Returns `visible`.
    pub fn show_durable(&mut self, durable: Position) -> u64 {
        while self.visible < self.max && self.entry(self.visible).is_some_and(|entry| entry.end() <= durable) {
            self.visible += 1;
        }
        self.visible
    }

    /// The log has nothing below `position` any more: entries there leave, and `min` moves to the first that remains, or to
    /// `max`. What leaves was durable, so it counts as visible. As long as a sealed run remains, how far `min` moves is for
    /// its index to say (`QueueTable::correct_min`).
    pub fn expire_below(&mut self, position: Position) {
        if self.newest.count > 0 && self.newest.base >= position.0 {
            return;
        }
        self.newest = Newest::default();
        self.resident.drop_below(position.0);
        self.min = self.min.max(self.resident_from());
        self.visible = self.visible.max(self.min);
        assert!(self.min <= self.visible && self.visible <= self.max);
    }

    /// Messages below `offset` are no longer shown, though the log may still have them. Nothing moves if it lies outside.
    pub fn expire_to(&mut self, offset: u64) {
        if offset > self.min && offset <= self.max {
            self.raise_min(offset);
        }
    }

    /// Messages below `position` are no longer shown, as far as it can be said from what is in memory.
    pub(crate) fn hide_below(&mut self, position: Position) {
        if self.newest.count > 0 && self.newest.base >= position.0 {
            return;
        }
        self.raise_min(self.resident_from() + self.count_between(0, position.0));
    }

    /// What a checkpoint knows: messages below `min` are gone, that with offset 0 was at `born`.
    pub(crate) fn recall(&mut self, min: u64, born: u64) {
        self.raise_min(min);
        self.born = if self.born == 0 { born } else { self.born };
    }

    /// Messages below `min` are gone.
    pub(crate) fn raise_min(&mut self, min: u64) {
        self.min = self.min.max(min.min(self.max));
        self.visible = self.visible.max(self.min);
    }

    /// The page `offset` lies in, and its number.
    #[inline]
    fn page_of(&self, offset: u64) -> Option<(usize, Page<'_>)> {
        if offset < self.min || offset >= self.max {
            return None;
        }
        self.resident.page_of(offset, self.max)
    }

    /// The resident entry of one message, visible or not.
    #[inline]
    pub fn entry(&self, offset: u64) -> Option<Entry> {
        let (_, page) = self.page_of(offset)?;
        Some(page.entries[(offset - page.first) as usize].entry())
    }

    /// When a message whose entry is resident was stored, ms; never below that of the message before it.
    pub fn store_ms(&self, offset: u64) -> Option<i64> {
        let (_, page) = self.page_of(offset)?;
        Some(page.ms((offset - page.first) as usize))
    }

    /// Store time of the last entry whose position lies below `to`, shown or not.
    pub(crate) fn last_ms_below(&self, to: u64) -> Option<i64> {
        let begun = self.resident.pages_until(self.max, |page| page.entries[0].position() < to);
        let page = self.resident.page(begun.checked_sub(1)?, self.max)?;
        let within = page.entries.partition_point(|entry| entry.position() < to);
        Some(page.ms(within - 1))
    }

    /// Resident entries of the visible messages from `from` on, at most `count`; empty if `from` is not between the first of
    /// them and `visible`.
    #[inline]
    pub fn entries(&self, from: u64, count: usize) -> Entries<'_> {
        let end = self.visible.min(from.saturating_add(count as u64));
        let page = self.page_of(from).map_or(usize::MAX, |(number, _)| number);
        Entries { queue: self, page, next: from, end }
    }

    /// Offset of the first resident message stored at or after `ms`; `max` if all are older.
    pub(crate) fn first_resident_since(&self, ms: i64) -> u64 {
        // The last page that starts before `ms` is the only one that can hold both sides of it.
        let later = self.resident.pages_until(self.max, |page| page.first_ms < ms);
        let Some(page) = later.checked_sub(1).and_then(|number| self.resident.page(number, self.max)) else {
            return self.resident_from().max(self.min);
        };
        let within = page.entries.partition_point(|entry| page.first_ms + entry.after_ms() < ms);
        (page.first + within as u64).max(self.min)
    }

    /// Store time of the first resident message.
    pub(crate) fn first_resident_ms(&self) -> Option<i64> {
        Some(self.resident.page(0, self.max)?.ms(0))
    }

    /// The entries whose positions lie in `from..to`, visible or not, for a segment's index.
    pub(crate) fn entries_between(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, Entry, i64)> + '_ {
        let later = self.resident.pages_until(self.max, |page| page.entries[0].position() < from);
        let pages = (later.saturating_sub(1)..).map_while(|number| self.resident.page(number, self.max));
        let all = pages.flat_map(|page| {
            let numbered = page.entries.iter().zip(page.first..);
            numbered.map(move |(packed, offset)| (offset, packed.entry(), page.first_ms + packed.after_ms()))
        });
        all.skip_while(move |(_, entry, _)| entry.position.0 < from)
            .take_while(move |(_, entry, _)| entry.position.0 < to)
    }

    /// How many entries have positions in `from..to`, as [`ConsumeQueue::entries_between`] gives them.
    pub(crate) fn count_between(&self, from: u64, to: u64) -> u64 {
        // Offset of the first resident entry at or behind a position.
        let at = |position: u64| {
            let later = self.resident.pages_until(self.max, |page| page.entries[0].position() < position);
            let Some(page) = later.checked_sub(1).and_then(|number| self.resident.page(number, self.max)) else {
                return self.resident_from();
            };
            page.first + page.entries.partition_point(|entry| entry.position() < position) as u64
        };
        at(to).saturating_sub(at(from))
    }

    /// Heap bytes held.
    pub fn memory(&self) -> usize {
        self.resident.memory()
    }
}

/// A message that does not follow its predecessor in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) expected: u64,
}

/// Consecutive entries with their offsets.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    queue: &'a ConsumeQueue,
    page: usize,
    next: u64,
    end: u64,
}

impl Iterator for Entries<'_> {
    type Item = (u64, Entry);

    #[inline]
    fn next(&mut self) -> Option<(u64, Entry)> {
        if self.next >= self.end {
            return None;
        }
        let (resident, max) = (&self.queue.resident, self.queue.max);
        let mut page = resident.page(self.page, max)?;
        if self.next == page.end() {
            self.page += 1;
            page = resident.page(self.page, max)?;
        }
        let offset = self.next;
        self.next += 1;
        Some((offset, page.entries[(offset - page.first) as usize].entry()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::resident::TIME_SPAN_MS;
    use proptest::prelude::*;

    fn entry(n: u64) -> Entry {
        Entry { position: Position(40 + n * 100), size: 90, tag_hash: n as i32 - 5 }
    }

    fn queue_of(times: &[i64]) -> ConsumeQueue {
        let mut queue = ConsumeQueue::starting_at(10);
        for (n, ms) in times.iter().enumerate() {
            assert_eq!(queue.push(entry(n as u64), *ms), 10 + n as u64);
        }
        queue
    }

    #[test]
    fn only_the_visible_is_given_out() {
        let mut queue = queue_of(&[5; 300]);
        assert_eq!(queue.entries(10, 1000).count(), 0);
        queue.show(10 + 200);
        assert_eq!(queue.entries(10, 1000).count(), 200);
        assert_eq!(queue.entries(137, 2).collect::<Vec<_>>(), vec![(137, entry(127)), (138, entry(128))]);
        assert_eq!(queue.show_durable(entry(249).end()), 260);
        assert_eq!(queue.entries(255, 1000).last(), Some((259, entry(249))));
        assert_eq!(queue.entries(9, 5).count(), 0);
        assert_eq!(queue.entries(310, 5).count(), 0);
        assert_eq!(queue.entries(u64::MAX, usize::MAX).count(), 0);
    }

    #[test]
    fn what_expires_is_gone_and_offsets_go_on() {
        let mut queue = queue_of(&[5; 300]);
        queue.show(310);
        queue.expire_below(entry(0).position);
        assert_eq!((queue.min(), queue.max()), (10, 310));
        for (below, min) in [(130, 140), (127, 140), (256, 266)] {
            queue.expire_below(entry(below).position);
            assert_eq!((queue.min(), queue.entry(min - 1), queue.entry(min)), (min, None, Some(entry(min - 10))));
            assert_eq!(queue.entries(min, 1000).count() as u64, 310 - min);
            assert_eq!(queue.first_resident_since(0), min);
        }
        queue.expire_below(Position(1 << 40));
        assert_eq!((queue.min(), queue.visible(), queue.max()), (310, 310, 310));
        assert_eq!(queue.push(entry(300), 5), 310);
        assert_eq!((queue.min(), queue.entry(310)), (310, Some(entry(300))));
    }

    #[test]
    fn an_empty_queue_answers_too() {
        let queue = ConsumeQueue::default();
        assert_eq!((queue.first_resident_since(5), queue.entry(0)), (0, None));
        assert_eq!(queue.entries(0, 10).count(), 0);
        assert_eq!(queue.entries_between(0, 100).count(), 0);
    }

    #[test]
    fn recovery_may_start_anywhere_but_not_jump() {
        let mut queue = ConsumeQueue::starting_at(3);
        assert_eq!(queue.push_at(7, entry(0), 1), Ok(()));
        assert_eq!(queue.push_at(9, entry(1), 1), Err(Gap { expected: 8 }));
        assert_eq!(queue.push_at(8, entry(0), 1), Err(Gap { expected: 8 }));
        assert_eq!(queue.push_at(8, entry(1), 1), Ok(()));
        assert_eq!((queue.min(), queue.max()), (7, 9));
    }

    proptest! {
        #[test]
        fn times_are_found(steps in proptest::collection::vec(prop_oneof![-5i64..20, Just(0), Just(TIME_SPAN_MS), Just(TIME_SPAN_MS + 1)], 1..400), probe in any::<prop::sample::Index>(), by in -2i64..3) {
            let mut now = 1_000_000;
            let times: Vec<i64> = steps.iter().map(|step| { now += step; now }).collect();
            let queue = queue_of(&times);
            // What the queue says: times that never fall.
            let mut ascending = times.clone();
            for n in 1..ascending.len() { ascending[n] = ascending[n].max(ascending[n - 1]); }
            for (n, ms) in ascending.iter().enumerate() { prop_assert_eq!(queue.store_ms(10 + n as u64), Some(*ms)); }
            let ms = ascending[probe.index(ascending.len())] + by;
            let first = ascending.iter().position(|time| *time >= ms).unwrap_or(ascending.len());
            prop_assert_eq!(queue.first_resident_since(ms), 10 + first as u64);
        }

        #[test]
        fn a_range_of_the_log_finds_its_entries(count in 1usize..400, from in 0u64..45_000, len in 0u64..45_000) {
            let queue = queue_of(&vec![1; count]);
            let found: Vec<_> = queue.entries_between(from, from + len).map(|(offset, entry, _)| (offset, entry)).collect();
            let expected: Vec<_> = (0..count as u64).map(|n| (10 + n, entry(n)))
                .filter(|(_, entry)| (from..from + len).contains(&entry.position.0)).collect();
            prop_assert_eq!(queue.count_between(from, from + len), expected.len() as u64);
            prop_assert_eq!(found, expected);
        }
    }
}
