//! Which segments the log still has, and when the files of one that is not needed any more may go.
//!
//! Owns the list of full segments, `start` (the first segment that is still read), and the order that
//! `docs/storage-format.md` section 11 argues with: a segment is released in memory, both checkpoints say so, no read of it
//! is under way, and only then are its files given to the driver. Never decides that a segment should go, never touches
//! a file.

use std::collections::VecDeque;

use ringmq_protocol::offset::Position;

use super::CommitLog;
use crate::store::segment::{Sealed, SegmentBase};

/// A segment that is full, as far as its life is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullSegment {
    pub base: SegmentBase,
    /// Nothing in it was stored later than this, ms. Never below that of the segment before.
    pub latest_ms: i64,
    /// Its index file is in place: a start does not read the segment any more.
    pub indexed: bool,
}

/// What a checkpoint on the disk says.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    covered: u64,
    start: u64,
}

/// The segments of a log that is taken up again; see [`CommitLog::resume`].
#[derive(Debug, Clone, Default)]
pub struct FoundSegments {
    /// First segment that is still read.
    pub start: SegmentBase,
    pub full: Vec<FullSegment>,
    /// Latest store time of all, ms.
    pub latest_ms: i64,
    /// Files below `start` that are still there.
    pub leftovers: Vec<SegmentBase>,
    /// What the checkpoint covers that recovery began with.
    pub covered: u64,
}

/// The life of a log's segments.
#[derive(Debug, Default)]
pub(super) struct Segments {
    start: SegmentBase,
    /// Those from `start` on that are full, oldest first.
    full: VecDeque<FullSegment>,
    /// Those below `start` whose files are still there, oldest first.
    released: VecDeque<SegmentBase>,
    /// How many the driver is removing.
    removing: usize,
    /// The newer and the older of the checkpoints on the disk.
    said: [Said; 2],
    latest_ms: i64,
    /// Segments below this should go as soon as checkpoints allow.
    wanted: SegmentBase,
}

impl Segments {
    pub(super) fn found(found: FoundSegments) -> Self {
        let FoundSegments { start, full, latest_ms, leftovers, covered } = found;
        assert!(leftovers.iter().all(|base| *base < start) && full.iter().all(|segment| segment.base >= start));
        // What the older checkpoint says is not known: until the next one is there it is taken to say the least.
        let said = [Said { covered, start: start.0 }, Said::default()];
        Segments { start, full: full.into(), released: leftovers.into(), removing: 0, said, latest_ms, wanted: start }
    }

    pub(super) fn sealed(&mut self, sealed: &Sealed) {
        let latest_ms = self.latest_ms;
        self.full.push_back(FullSegment { base: sealed.base(), latest_ms, indexed: false });
    }
}

impl CommitLog {
    /// The first segment the log still has. Positions below are gone, though their files may still be there.
    #[inline]
    pub fn start(&self) -> SegmentBase {
        self.segments.start
    }

    /// Segments from the active one to below this have a file; the log writes to them without asking for one.
    pub fn ready_to(&self) -> SegmentBase {
        SegmentBase(self.ready_to)
    }

    /// Something was stored at `ms`.
    #[inline]
    pub fn note_time(&mut self, ms: i64) {
        self.segments.latest_ms = self.segments.latest_ms.max(ms);
    }

    /// A message of `size` bytes was stored at `position`.
    #[inline]
    pub fn note_size(&mut self, topic: &str, position: Position, size: u64) {
        if !self.retention.sizes.is_empty() {
            self.retention.sizes.stored(topic, self.layout.segment_of(position), size);
        }
    }

    /// The full segments, oldest first.
    pub fn full_segments(&self) -> impl ExactSizeIterator<Item = &FullSegment> {
        self.segments.full.iter()
    }

    /// Latest store time of each segment from `start` on, the active one last: for the checkpoint.
    pub fn latest_times(&self) -> Vec<i64> {
        let full = self.segments.full.iter().map(|segment| segment.latest_ms);
        full.chain([self.segments.latest_ms]).collect()
    }

    /// The index file of a full segment is in place and durable.
    pub fn index_in_place(&mut self, base: SegmentBase) {
        // One that was released meanwhile is not listed any more.
        if let Ok(at) = self.segments.full.binary_search_by_key(&base, |segment| segment.base) {
            self.segments.full[at].indexed = true;
        }
    }

    /// A checkpoint is durable.
    pub fn checkpointed(&mut self, covered: Position, start: SegmentBase) {
        assert!(covered.0 <= self.durable && start <= self.segments.start);
        let [newer, _] = self.segments.said;
        self.segments.said = [Said { covered: covered.0, start: start.0 }, newer];
    }

    /// Whether segments wait for a checkpoint: released ones until it says so, those that should be released until it
    /// covers them.
    pub fn wants_checkpoint(&self) -> bool {
        let said = self.said_start();
        let released = self.segments.released.back().is_some_and(|last| last.0 >= said);
        released || self.covered_by_both() < self.segments.wanted.0.min(self.indexed_to().0)
    }

    /// Segments below this should go as soon as they may.
    pub fn want_released(&mut self, to: SegmentBase) {
        self.segments.wanted = to;
    }

    /// All full segments below have an index.
    pub fn indexed_to(&self) -> SegmentBase {
        let missing = self.segments.full.iter().find(|full| !full.indexed);
        missing.map_or(self.active.base(), |full| full.base)
    }

    fn covered_by_both(&self) -> u64 {
        let [newer, older] = self.segments.said;
        newer.covered.min(older.covered)
    }

    fn said_start(&self) -> u64 {
        let [newer, older] = self.segments.said;
        newer.start.min(older.start)
    }

    /// Full segments below this could be released: whichever checkpoint the next start takes, it will neither replay them
    /// nor make their indexes anew.
    pub fn releasable_to(&self) -> SegmentBase {
        let covered = self.covered_by_both();
        let needed = self.segments.full.iter().find(|full| !full.indexed || self.layout.end_of(full.base) > covered);
        needed.map_or(self.active.base(), |full| full.base)
    }

    /// Lets go of the segments below `to`. Whoever calls has made sure that nothing points there any more.
    pub fn release(&mut self, to: SegmentBase) {
        assert!(self.segments.start < to && to <= self.releasable_to());
        while let Some(gone) = self.segments.full.pop_front_if(|full| full.base < to) {
            self.segments.released.push_back(gone.base);
        }
        self.segments.start = to;
    }

    /// How many segments were released whose files are still there.
    pub fn releasing(&self) -> usize {
        self.segments.released.len() + self.segments.removing
    }

    /// The next segment whose files may go, when no read is under way below `unread` (`None`: none at all). Say
    /// [`CommitLog::removed`] when they are gone.
    pub fn take_removable(&mut self, unread: Option<SegmentBase>) -> Option<SegmentBase> {
        let said = self.said_start();
        let base =
            self.segments.released.pop_front_if(|base| base.0 < said && unread.is_none_or(|read| *base < read))?;
        self.segments.removing += 1;
        Some(base)
    }

    /// The files of a removable segment are gone.
    pub fn removed(&mut self) {
        assert!(self.segments.removing > 0, "only what was taken is removed");
        self.segments.removing -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use crate::store::limits::SEGMENT_MIN;
    use crate::store::log::{LogOptions, Urge};
    use crate::store::segment::Layout;

    /// A log with `count` full segments of 64 KiB, all durable and indexed.
    fn log(count: u64) -> CommitLog {
        let layout = Layout::new(ShardId(0), SEGMENT_MIN).expect("a good size");
        let mut log = CommitLog::new(LogOptions::new(layout, 1));
        while log.full_segments().len() < count as usize {
            let number = log.full_segments().len() as i64;
            log.note_time(number * 1_000);
            log.append(0, 1_000, |_, bytes| bytes[..4].copy_from_slice(&1_000u32.to_be_bytes())).expect("room");
            while let Some(base) = log.wanted_segment() {
                log.segment_ready(base);
            }
            while let Some(plan) = log.next_write(Urge::Stop) {
                log.complete(plan.seq, Ok(())).expect("it works");
            }
        }
        while let Some(sealed) = log.take_sealed() {
            log.index_in_place(sealed.base());
        }
        log
    }

    fn base(number: u64) -> SegmentBase {
        SegmentBase(number * SEGMENT_MIN)
    }

    #[test]
    fn nothing_goes_before_both_checkpoints_cover_it_and_both_say_so() {
        let mut log = log(3);
        assert_eq!(log.latest_times(), vec![0, 1_000, 2_000, 2_000]);
        assert_eq!(log.releasable_to(), base(0), "there is no checkpoint");
        log.checkpointed(Position(2 * SEGMENT_MIN), base(0));
        assert_eq!(log.releasable_to(), base(0), "there is one only");
        log.checkpointed(log.durable(), base(0));
        assert_eq!(log.releasable_to(), base(2), "the older one decides");
        log.release(base(1));
        assert_eq!((log.start(), log.full_segments().len(), log.releasing()), (base(1), 2, 1));
        assert!(log.wants_checkpoint() && log.take_removable(None).is_none());
        log.checkpointed(log.durable(), base(1));
        assert!(log.wants_checkpoint() && log.take_removable(None).is_none());
        log.checkpointed(log.durable(), base(1));
        assert!(!log.wants_checkpoint());
        assert_eq!(log.take_removable(Some(base(0))), None, "somebody reads it");
        assert_eq!(log.take_removable(Some(base(1))), Some(base(0)));
        assert_eq!((log.take_removable(None), log.releasing()), (None, 1));
        log.removed();
        assert_eq!(log.releasing(), 0);
    }

    #[test]
    fn a_segment_without_index_stays_with_all_behind_it() {
        let mut log = log(3);
        for _ in 0..2 {
            log.checkpointed(log.durable(), base(0));
        }
        assert_eq!(log.releasable_to(), base(3));
        log.segments.full[1].indexed = false;
        assert_eq!(log.releasable_to(), base(1));
        log.index_in_place(base(1));
        assert_eq!(log.releasable_to(), base(3));
    }
}
