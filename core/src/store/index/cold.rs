//! Looking at entries that may be on disk.
//!
//! Owns the way to an entry in a sealed segment: from the queue's newest run back to the one that has it, from there to its
//! page. What is not in memory is a [`Absent`]: the table remembers which pages were missed ([`QueueTable::take_miss`]); whoever
//! asked reads them, gives them to [`QueueTable::supply`], and asks again. Never reads itself, never answers from a page
//! that was not verified.

use crate::store::files::index_file::{Header, PAGE_UNITS, RUNS_PAGE, UNIT, entry_of};
use crate::store::files::index_page::PAGE;
use crate::store::index::consume_queue::{ConsumeQueue, Entry};
use crate::store::index::pages::PageCache;
use crate::store::index::queue_table::{QueueSlot, QueueTable};
use crate::store::index::runs::{HEAD_UNITS, Head, RunRef};
use crate::store::limits::INDEX_READ_AHEAD;
use crate::store::range::{RangeOf, ReadRange};
use crate::store::segment::{Layout, SegmentBase};
use ringmq_protocol::offset::Position;

/// It cannot be said from what is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent;

/// Why something could not be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// These pages are not in memory.
    Pages(Wanted),
    /// This segment's index is damaged and not made again yet.
    Damaged(SegmentBase),
}

/// Pages of one index that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub base: SegmentBase,
    pub page: u32,
    pub count: u32,
    /// Nobody asked for them yet.
    ahead: bool,
    /// What is gone on with as soon as they are there.
    walk: Option<(QueueSlot, Toward)>,
}

impl Wanted {
    /// Pages that nothing but the asker goes on with.
    pub(crate) fn pages(base: SegmentBase, page: u32, count: u32) -> Self {
        Wanted { base, page, count, ahead: false, walk: None }
    }

    /// Whether the first of what `other` wants is among them.
    pub(crate) fn begins(&self, other: &Wanted) -> bool {
        self.base == other.base && (self.page..self.page + self.count).contains(&other.page)
    }

    /// Where they lie.
    pub fn range(&self) -> ReadRange {
        let (offset, len) = (u64::from(self.page) * PAGE as u64, u64::from(self.count) * PAGE as u64);
        ReadRange { file: RangeOf::Index(self.base), offset, len }
    }
}

/// How far back runs are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toward {
    /// To the one with this offset.
    Offset(u64),
    /// To one that begins before this time.
    Time(i64),
}

impl Toward {
    fn is_reached(self, run: &RunRef) -> bool {
        match self {
            Toward::Offset(offset) => run.first <= offset,
            Toward::Time(ms) => run.first_ms < ms,
        }
    }
}

/// What came of pages that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supplied {
    /// Ask again.
    Again,
    /// More is needed first.
    More(Wanted),
    /// They are not what was written; asking again says so.
    Damaged,
}

impl QueueTable {
    /// What the last [`Absent`] missed.
    pub fn take_miss(&mut self) -> Option<Miss> {
        self.miss.take()
    }

    /// Whether something was missed since [`QueueTable::forget_miss`].
    #[inline]
    pub fn has_miss(&self) -> bool {
        self.miss.is_some()
    }

    /// Whatever was missed so far is of no interest.
    #[inline]
    pub fn forget_miss(&mut self) {
        self.miss = None;
    }

    /// Takes what was read for `wanted`; `None` if it could not be.
    pub fn supply(&mut self, wanted: &Wanted, bytes: Option<&[u8]>) -> Supplied {
        if !self.take_pages(wanted, bytes) {
            return Supplied::Damaged;
        }
        self.go_on(wanted)
    }

    /// Takes pages that were read, whoever wanted them; `false` if they could not be read or are not what was written.
    pub(crate) fn take_pages(&mut self, wanted: &Wanted, bytes: Option<&[u8]>) -> bool {
        let Wanted { base, page, count, ahead, walk: _ } = *wanted;
        if base.0 < self.start {
            // It expired meanwhile, which asking again will find.
            return true;
        }
        let put = if ahead { PageCache::put_ahead } else { PageCache::put };
        let taken = bytes.is_some_and(|bytes| put(&mut self.pages, base, page, bytes, count));
        if !taken {
            self.note_damaged(base);
        }
        taken
    }

    /// Goes on for one who wanted pages that were taken.
    pub(crate) fn go_on(&mut self, wanted: &Wanted) -> Supplied {
        if wanted.base.0 < self.start {
            return Supplied::Again;
        }
        let Some((slot, toward)) = wanted.walk else { return Supplied::Again };
        if self.get(slot).is_none() || self.walk(slot, toward).is_ok() {
            return Supplied::Again;
        }
        match self.miss.take() {
            Some(Miss::Pages(wanted)) => Supplied::More(wanted),
            Some(Miss::Damaged(_)) | None => Supplied::Damaged,
        }
    }

    /// An index is not what was written.
    pub(crate) fn note_damaged(&mut self, base: SegmentBase) {
        if !self.damaged.contains(&base) {
            self.damaged.push(base);
        }
    }

    /// Whoever read an index found that it is not what was written.
    pub fn found_damaged(&mut self, base: SegmentBase) {
        if base.0 >= self.start && base.0 < self.indexed_to() {
            self.note_damaged(base);
        }
    }

    /// The log has nothing below this, and no index.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Segments whose index is to be made again.
    pub fn damaged(&self) -> &[SegmentBase] {
        &self.damaged
    }

    /// The index of a segment was made again and is in place.
    pub fn repaired(&mut self, base: SegmentBase) {
        self.damaged.retain(|damaged| *damaged != base);
        self.pages.forget(base);
    }

    /// How many index pages are kept in memory.
    pub fn set_page_limit(&mut self, pages: usize) {
        self.pages.set_limit(pages);
    }

    /// Index pages that were asked for and not in memory, since the start.
    pub fn pages_missed(&self) -> u64 {
        self.pages.missed.get()
    }

    /// Whether somebody reads in order and will want more pages soon.
    #[inline]
    pub fn wants_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Those pages, once.
    pub fn take_ahead(&mut self) -> Option<Wanted> {
        self.ahead.take().filter(|wanted| !self.damaged.contains(&wanted.base))
    }

    /// Notes what follows behind a page of a run: the next pages of it that are not here, or the first ones of the next run.
    #[cold]
    fn note_ahead(&mut self, slot: QueueSlot, run: &RunRef, page: u32) {
        let pages_of = |run: &RunRef| {
            let first = run.unit + HEAD_UNITS;
            (RUNS_PAGE + first / PAGE_UNITS, RUNS_PAGE + (first + run.count - 1) / PAGE_UNITS)
        };
        let absent = |run: &RunRef, from: u32| {
            let (first, last) = pages_of(run);
            let page = (from.max(first)..=last).find(|page| !self.pages.keeps(run.base, *page))?;
            let count = (last - page + 1).min(self.pages.window());
            Some(Wanted { base: run.base, page, count, ahead: true, walk: None })
        };
        let in_run = absent(run, page + 1);
        self.ahead = in_run.or_else(|| {
            let newest = self.get(slot)?.newest_run()?;
            absent(&self.chains.after(slot, run, newest)?, 0)
        });
    }

    /// Notes that pages are missing.
    #[cold]
    pub(super) fn missing(&mut self, wanted: Wanted) -> Absent {
        let damaged = self.damaged.contains(&wanted.base);
        self.miss = Some(if damaged { Miss::Damaged(wanted.base) } else { Miss::Pages(wanted) });
        Absent
    }

    /// A unit of an index's runs, if its page is in memory.
    fn unit(&self, base: SegmentBase, unit: u32) -> Option<&[u8; UNIT]> {
        let content = self.pages.get(base, RUNS_PAGE + unit / PAGE_UNITS)?;
        content.as_chunks::<UNIT>().0.get((unit % PAGE_UNITS) as usize)
    }

    /// The run's head.
    fn head(&mut self, run: &RunRef, walk: (QueueSlot, Toward)) -> Result<Head, Absent> {
        let mut bytes = [0; HEAD_UNITS as usize * UNIT];
        for (unit, place) in (run.unit..).zip(bytes.as_chunks_mut::<UNIT>().0) {
            let Some(found) = self.unit(run.base, unit) else {
                let page = RUNS_PAGE + run.unit / PAGE_UNITS;
                let last = RUNS_PAGE + (run.unit + HEAD_UNITS - 1) / PAGE_UNITS;
                let wanted = Wanted { walk: Some(walk), ..Wanted::pages(run.base, page, last - page + 1) };
                return Err(self.missing(wanted));
            };
            *place = *found;
        }
        let leads_back = |head: &Head| head.before.is_none_or(|before| before.base < run.base);
        let same = |head: &Head| head.first == run.first && head.count == run.count && leads_back(head);
        let head = Head::decode(&bytes).filter(same);
        head.ok_or_else(|| {
            self.note_damaged(run.base);
            self.missing(Wanted::pages(run.base, 0, 1))
        })
    }

    /// Learns the queue's runs back to one that is wanted, or to its first.
    fn walk(&mut self, slot: QueueSlot, toward: Toward) -> Result<(), Absent> {
        let Some(newest) = self.get(slot).and_then(ConsumeQueue::newest_run) else { return Ok(()) };
        loop {
            let (chain, whole) = self.chains.get(slot);
            let oldest = *chain.back().unwrap_or(&newest);
            if whole || toward.is_reached(&oldest) {
                return Ok(());
            }
            let head = self.head(&oldest, (slot, toward))?;
            let start = self.start.max(self.floors.get(&slot).copied().unwrap_or(0));
            let before = head.before.filter(|before| before.base.0 >= start);
            self.chains.learn(slot, before);
            if before.is_none() {
                // What came before has expired.
                self.get_mut(slot).expect("looked at above").raise_min(oldest.first);
            }
        }
    }

    /// The run that has this offset; `None` if none of the queue's sealed runs does.
    fn run_with(&mut self, slot: QueueSlot, offset: u64) -> Result<Option<RunRef>, Absent> {
        let Some(queue) = self.get(slot) else { return Ok(None) };
        let Some(newest) = queue.newest_run().filter(|run| offset >= queue.min() && offset < run.end()) else {
            return Ok(None);
        };
        if newest.first <= offset {
            return Ok(Some(newest));
        }
        self.walk(slot, Toward::Offset(offset))?;
        let (chain, _) = self.chains.get(slot);
        let at = chain.partition_point(|run| run.first > offset);
        Ok(chain.get(at).copied())
    }

    /// An entry of a run, by its number there, and its store time.
    fn entry_in(&mut self, run: &RunRef, number: u32, ahead: u32) -> Result<(Entry, i64), Absent> {
        let unit = run.unit + HEAD_UNITS + number;
        match self.unit(run.base, unit) {
            Some(found) => {
                let (entry, after_ms) = entry_of(found, run.base);
                if !entry.is_possible(self.indexed_to()) {
                    self.note_damaged(run.base);
                    return Err(self.missing(Wanted::pages(run.base, 0, 1)));
                }
                Ok((entry, run.first_ms.saturating_add(i64::from(after_ms))))
            }
            None => {
                let page = RUNS_PAGE + unit / PAGE_UNITS;
                let last = RUNS_PAGE + (run.unit + HEAD_UNITS + run.count - 1) / PAGE_UNITS;
                Err(self.missing(Wanted::pages(run.base, page, (last - page + 1).min(ahead))))
            }
        }
    }

    /// The entry of one message, visible or not, and when it was stored, ms.
    ///
    /// # Errors
    /// [`Absent`] if it is on disk.
    pub fn look(&mut self, slot: QueueSlot, offset: u64) -> Result<Option<(Entry, i64)>, Absent> {
        self.look_ahead(slot, offset, 1)
    }

    /// The same for one who goes on with the messages behind it.
    ///
    /// # Errors
    /// [`Absent`] if it is on disk.
    pub(crate) fn look_on(&mut self, slot: QueueSlot, offset: u64) -> Result<Option<(Entry, i64)>, Absent> {
        self.look_ahead(slot, offset, INDEX_READ_AHEAD)
    }

    fn look_ahead(&mut self, slot: QueueSlot, offset: u64, ahead: u32) -> Result<Option<(Entry, i64)>, Absent> {
        let Some(queue) = self.get(slot) else { return Ok(None) };
        if let Some(found) = queue.entry(offset).zip(queue.store_ms(offset)) {
            return Ok(Some(found));
        }
        match self.run_with(slot, offset)? {
            Some(run) => self.entry_in(&run, (offset - run.first) as u32, ahead).map(Some),
            None => Ok(None),
        }
    }

    /// Puts the entries of visible messages from `from` on into `out`, at most `count` of them, and fewer where what is in
    /// memory ends: whoever wants more asks again from there. None if `from` is not between `min` and `visible`.
    ///
    /// # Errors
    /// [`Absent`] if the first one is on disk.
    pub fn entries_from(
        &mut self,
        slot: QueueSlot,
        from: u64,
        count: usize,
        out: &mut Vec<(u64, Entry)>,
    ) -> Result<(), Absent> {
        out.clear();
        let Some(queue) = self.get(slot) else { return Ok(()) };
        if from >= queue.resident_from() {
            out.extend(queue.entries(from, count));
            return Ok(());
        }
        let end = queue.visible().min(from.saturating_add(count as u64));
        let (mut next, mut missed) = (from, None);
        while next < end && missed.is_none() {
            let Some(run) = self.run_with(slot, next)? else { break };
            missed = self.take_entries(slot, &run, &mut next, end, out);
            // What is known of runs beyond the first one is used, what is not is asked for when it is the first.
            if missed.is_none() && next < end && next >= self[slot].resident_from() {
                out.extend(self[slot].entries(next, (end - next) as usize));
                return Ok(());
            }
        }
        match missed {
            Some(run) if out.is_empty() => self.entry_in(&run, (from - run.first) as u32, INDEX_READ_AHEAD).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Takes the entries of a run from `next` on, up to `end`, as far as their pages are in memory; the run if they are not.
    fn take_entries(
        &mut self,
        slot: QueueSlot,
        run: &RunRef,
        next: &mut u64,
        end: u64,
        out: &mut Vec<(u64, Entry)>,
    ) -> Option<RunRef> {
        let end = run.end().min(end);
        while *next < end {
            let unit = run.unit + HEAD_UNITS + (*next - run.first) as u32;
            let page = RUNS_PAGE + unit / PAGE_UNITS;
            let Some((content, marked)) = self.pages.pass(run.base, page) else { return Some(*run) };
            let units = &content.as_chunks::<UNIT>().0[(unit % PAGE_UNITS) as usize..];
            for unit in units.iter().take((end - *next) as usize) {
                let (entry, _) = entry_of(unit, run.base);
                if !entry.is_possible(self.indexed_to()) {
                    return Some(*run);
                }
                out.push((*next, entry));
                *next += 1;
            }
            if marked {
                self.note_ahead(slot, run, page);
            }
        }
        None
    }

    /// Offset of the first message stored at or after `ms`; `max` if all are older, 0 if there is no such queue.
    ///
    /// # Errors
    /// [`Absent`] if it is for the disk to say.
    pub fn first_since(&mut self, slot: QueueSlot, ms: i64) -> Result<u64, Absent> {
        let Some(queue) = self.get(slot) else { return Ok(0) };
        let Some(newest) = queue.newest_run() else { return Ok(queue.first_resident_since(ms)) };
        if queue.first_resident_ms().is_some_and(|first_ms| first_ms < ms) {
            return Ok(queue.first_resident_since(ms));
        }
        if queue.last_ms().is_some_and(|last_ms| last_ms < ms) {
            return Ok(queue.max());
        }
        self.walk(slot, Toward::Time(ms))?;
        let (chain, _) = self.chains.get(slot);
        let before = std::iter::once(&newest).chain(chain).find(|run| run.first_ms < ms).copied();
        let Some(run) = before else { return Ok(self[slot].min()) };
        let (mut low, mut high) = (0, run.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry_in(&run, middle, 1)?.1 < ms {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok((run.first + u64::from(low)).max(self[slot].min()))
    }

    /// Offset of the last message stored at or before `ms`; `None` if all are younger.
    ///
    /// # Errors
    /// As [`QueueTable::first_since`].
    pub fn last_until(&mut self, slot: QueueSlot, ms: i64) -> Result<Option<u64>, Absent> {
        let Some(after) = ms.checked_add(1) else {
            return Ok(self.get(slot).and_then(|queue| queue.max().checked_sub(1)));
        };
        let since = self.first_since(slot, after)?;
        let min = self.get(slot).map_or(0, ConsumeQueue::min);
        Ok(since.checked_sub(1).filter(|offset| *offset >= min))
    }

    /// When a message was stored, ms. Where many are asked for at once and memory holds too few pages, whoever asks may say
    /// that he is tired of asking: then about.
    ///
    /// # Errors
    /// [`Absent`] if it is on disk.
    pub fn time_of(&mut self, slot: QueueSlot, offset: u64) -> Result<Option<i64>, Absent> {
        if let Some(queue) = self.get(slot)
            && offset + 1 == queue.max()
        {
            return Ok(queue.last_ms());
        }
        match self.look(slot, offset) {
            Ok(found) => Ok(found.map(|(_, ms)| ms)),
            Err(Absent) if self.tired => {
                self.miss = None;
                let Some(newest) = self.get(slot).and_then(ConsumeQueue::newest_run) else { return Ok(None) };
                let (chain, _) = self.chains.get(slot);
                let known = std::iter::once(&newest).chain(chain);
                Ok(known.filter(|run| run.first <= offset).chain([&newest]).map(|run| run.first_ms).next())
            }
            Err(Absent) => Err(Absent),
        }
    }

    /// Whoever asks has asked often enough: what [`QueueTable::time_of`] would still have to read, it may guess.
    pub(crate) fn set_tired(&mut self, tired: bool) {
        self.tired = tired;
    }

    /// When the oldest message of all queues was stored, ms.
    ///
    /// # Errors
    /// [`Absent`] if it is on disk.
    pub fn earliest_ms(&mut self, layout: &Layout) -> Result<Option<i64>, Absent> {
        let mut base = layout.segment_of(Position(self.start));
        while base.0 < self.indexed_to() {
            if self.damaged.contains(&base) {
                return Ok(None); // It is said when the index is made again.
            }
            let Some(content) = self.pages.get(base, 0) else { return Err(self.missing(Wanted::pages(base, 0, 1))) };
            let Some(header) = Header::decode(content, layout, base) else {
                self.note_damaged(base);
                return Err(self.missing(Wanted::pages(base, 0, 1)));
            };
            if header.queues > 0 {
                return Ok(Some(header.times.0));
            }
            base = SegmentBase(layout.end_of(base));
        }
        Ok(self.iter().filter_map(|(_, _, queue)| queue.first_resident_ms()).min())
    }

    /// Offset of the oldest message the log still has, exactly: after messages expired it may be for the disk to say.
    ///
    /// # Errors
    /// [`Absent`] then.
    pub fn exact_min(&mut self, slot: QueueSlot) -> Result<u64, Absent> {
        let Some(queue) = self.get(slot) else { return Ok(0) };
        // Even where the log begins at 0: a start from the older checkpoint brings messages back that had expired, and what
        // was indexed since does not lead to them.
        self.walk(slot, Toward::Offset(queue.min()))?;
        Ok(self[slot].min())
    }

    /// A position at or below that of a message; `None` if the queue has no such message. Never looks at the disk.
    pub fn position_at_least(&self, slot: QueueSlot, offset: u64) -> Option<Position> {
        let queue = self.get(slot).filter(|queue| (queue.min()..queue.max()).contains(&offset))?;
        if let Some(entry) = queue.entry(offset) {
            return Some(entry.position);
        }
        let newest = queue.newest_run().filter(|run| run.first <= offset);
        let run = newest.as_ref().or_else(|| self.chains.peek(slot, offset));
        let first = || queue.first_position().unwrap_or(0).max(self.start);
        Some(Position(run.map_or_else(first, |run| run.base.0)))
    }

    /// Of each queue that has messages its topic, and a position at or below that of its first one. Never looks at the disk:
    /// where only that could say, it is the beginning of the log.
    pub fn firsts(&self) -> impl Iterator<Item = (&str, Position)> + '_ {
        self.iter_slots().filter_map(|(topic, slot)| {
            let first = self[slot].first_position()?.max(self.start);
            Some((topic, Position(first.max(self.floors.get(&slot).copied().unwrap_or(0)))))
        })
    }

    /// Does something that looks at entries, reading pages as they are missed: for tools and tests.
    ///
    /// # Errors
    /// The segment whose index is damaged.
    pub fn with_reads<T>(
        &mut self,
        mut read: impl FnMut(&ReadRange) -> Vec<u8>,
        mut look: impl FnMut(&mut QueueTable) -> Result<T, Absent>,
    ) -> Result<T, SegmentBase> {
        loop {
            if let Ok(found) = look(self) {
                return Ok(found);
            }
            match self.take_miss() {
                Some(Miss::Damaged(base)) => return Err(base),
                Some(Miss::Pages(mut wanted)) => {
                    while let Supplied::More(more) = self.supply(&wanted, Some(&read(&wanted.range()))) {
                        wanted = more;
                    }
                }
                None => unreachable!("whoever finds something cold notes it"),
            }
        }
    }
}
