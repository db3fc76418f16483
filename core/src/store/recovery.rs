//! From what lies on disk back to a log, its queues and its keys.
//!
//! Owns the decision where the log ends and whether that is its end or damage (`docs/storage-format.md` section 8). It asks
//! for bytes and is given them; every byte is checked before it is believed. Never writes, never cuts anything off.

mod frames;
mod outcome;
#[cfg(test)]
mod tests;
mod witness;

use ringmq_protocol::offset::Position;

use self::frames::Next;
pub use self::outcome::{Malformed, Recovered, RecoveryError, RecoveryReport, Visitor, Why};
use super::files::checkpoint::Checkpoint;
use super::files::index_file::{Directory, Header, IndexFile};
use super::files::index_page::PAGE;
use super::index::consume_queue::ConsumeQueue;
use super::index::key_index::KeyIndex;
use super::index::queue_table::QueueTable;
use super::limits::{BLOCK, POSITION_END, RECOVERY_READ};
use super::log::{CommitLog, FoundSegments, FullSegment, LogOptions};
use super::range::{RangeOf, ReadRange};
use super::segment::{Active, Sealed, SegmentBase};

/// A file of the shard's directory, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundFile {
    pub base: SegmentBase,
    pub len: u64,
}

/// What the shard's directory holds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The `.log` files.
    pub segments: Vec<FoundFile>,
    /// The `.index` files.
    pub indexes: Vec<FoundFile>,
    /// The `.partial` files.
    pub partials: Vec<FoundFile>,
    /// The newest intact checkpoint, see [`Checkpoint::newest`].
    pub checkpoint: Option<Checkpoint>,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first page of the `n`-th segment's index. `replayed`: its entries are in memory, and may leave.
    Index {
        n: usize,
        replayed: bool,
    },
    /// Its directory.
    Directory {
        n: usize,
        replayed: bool,
        header: Header,
    },
    /// The index of the `n`-th segment's beginning.
    Partial {
        n: usize,
    },
    /// The frames of the `n`-th segment from stream offset `at` on; a frame needs `need` bytes at once.
    Replay {
        n: usize,
        at: u64,
        need: u64,
    },
    /// The log seems to end at `end` in the `n`-th segment: look into segment `look`, this or a later one, for a frame that
    /// proves otherwise.
    Witness {
        n: usize,
        end: u64,
        look: usize,
    },
    Done {
        end: u64,
    },
}

/// One shard's recovery. Call [`Recovery::next_read`] and [`Recovery::supply`] in turn until there is nothing to read,
/// then [`Recovery::finish`].
#[derive(Debug)]
pub struct Recovery {
    options: LogOptions,
    segments: Vec<FoundFile>,
    indexes: Vec<FoundFile>,
    partials: Vec<FoundFile>,
    checkpoint: Option<Checkpoint>,
    stage: Stage,
    /// Everything below was durable once.
    known_durable: u64,
    last_epoch: u32,
    /// End of the records of the segment that was replayed last.
    replayed_to: u64,
    /// The checkpoint's queues were put in.
    marked: bool,
    queues: QueueTable,
    keys: KeyIndex,
    /// Segments that are read, the full ones.
    full: Vec<FullSegment>,
    /// Segments that have expired and whose files are still there.
    leftovers: Vec<SegmentBase>,
    /// Latest store time so far, ms.
    latest_ms: i64,
    /// The log's bytes in the block of its end.
    block: Vec<u8>,
    /// Segments that are full and have no index.
    unindexed: Vec<Sealed>,
    report: RecoveryReport,
    #[cfg(test)]
    pub(crate) planted: super::planted::Planted,
}

impl Recovery {
    /// Looks at what there is. `options.epoch` is that of the start that recovers, not yet used by any frame.
    ///
    /// # Errors
    /// [`RecoveryError`] when a segment is missing between others or below what the checkpoint covers.
    pub fn new(options: LogOptions, found: Found) -> Result<Self, RecoveryError> {
        let Found { mut segments, mut indexes, mut partials, checkpoint } = found;
        let layout = options.layout;
        segments.sort_unstable();
        indexes.sort_unstable();
        partials.sort_unstable();
        let size = layout.segment_size();
        let possible = |base: SegmentBase| base.0.is_multiple_of(size) && base.0 <= POSITION_END - size;
        indexes.retain(|file| possible(file.base));
        let misplaced = segments.iter().find(|file| !possible(file.base));
        if let Some(file) = misplaced {
            return Err(RecoveryError::Misplaced { base: file.base });
        }
        let start = checkpoint.as_ref().map_or(SegmentBase(0), |checkpoint| checkpoint.start);
        let leftovers = segments.extract_if(.., |file| file.base < start).map(|file| file.base).collect();
        indexes.retain(|file| file.base >= start);
        match (segments.first(), &checkpoint) {
            (Some(first), None) if first.base.0 > 0 => return Err(RecoveryError::Headless { first: first.base }),
            (Some(first), Some(_)) if first.base > start => return Err(RecoveryError::Missing { base: start }),
            _ => {}
        }
        let holes = segments.windows(2).find(|pair| layout.end_of(pair[0].base) != pair[1].base.0);
        if let Some(pair) = holes {
            return Err(RecoveryError::Missing { base: SegmentBase(layout.end_of(pair[0].base)) });
        }
        let indexed = indexes.last().map_or(0, |file| layout.end_of(file.base));
        let covered = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.covered.0);
        let known_durable = covered.max(indexed);
        let reach = segments.last().map_or(0, |file| layout.end_of(file.base));
        if reach < known_durable || segments.is_empty() && known_durable > 0 {
            return Err(RecoveryError::Missing { base: SegmentBase(reach) });
        }
        let report = RecoveryReport { covered: checkpoint.as_ref().map(|found| found.covered), ..Default::default() };
        let mut recovery = Recovery {
            options,
            segments,
            indexes,
            partials,
            checkpoint,
            stage: Stage::Done { end: 0 },
            known_durable,
            last_epoch: 0,
            replayed_to: 0,
            marked: false,
            queues: QueueTable::new(),
            keys: KeyIndex::new(layout),
            full: Vec::new(),
            leftovers,
            latest_ms: 0,
            block: Vec::new(),
            unindexed: Vec::new(),
            report,
            #[cfg(test)]
            planted: super::planted::Planted::Nothing,
        };
        recovery.stage = recovery.begin_indexed();
        Ok(recovery)
    }

    /// The checkpoint that recovery starts from; its sections are for their owners to read.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// How far it is: bytes of log below which all is done, and how many there are at most.
    pub fn progress(&self) -> (u64, u64) {
        let reach = self.segments.last().map_or(0, |file| file.base.0 + file.len);
        let at = match self.stage {
            Stage::Index { n, .. } | Stage::Directory { n, .. } | Stage::Partial { n } => self.segments[n].base.0,
            Stage::Replay { at, .. } => at,
            Stage::Witness { end, .. } | Stage::Done { end } => end,
        };
        (at, reach)
    }

    /// Takes over from the checkpoint what lies in full segments: their indexes are not read, only missed if they are gone.
    fn begin_indexed(&mut self) -> Stage {
        let start = self.segments.first().map_or(0, |file| file.base.0);
        let marks = self.checkpoint.as_ref().map(|checkpoint| &checkpoint.queues);
        let indexed_to = marks.map_or(0, |marks| marks.indexed_to).max(start);
        self.queues.begin_at(start, indexed_to);
        self.keys.begin_at(start, indexed_to);
        let sealed = marks.into_iter().flat_map(|marks| marks.iter()).filter(|mark| mark.run.is_some());
        for mark in sealed.filter(|mark| mark.run.is_some_and(|(run, _)| run.base.0 >= start)) {
            let state = ConsumeQueue::sealed(mark.min, mark.born, mark.run);
            self.queues.restore(&mark.life, mark.queue, state, mark.floor);
        }
        let first = self.segments.partition_point(|file| file.base.0 < indexed_to);
        for (n, file) in self.segments[..first].iter().enumerate() {
            let told = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.times.get(n));
            self.latest_ms = self.latest_ms.max(told.copied().unwrap_or(0));
            self.full.push(FullSegment { base: file.base, latest_ms: self.latest_ms, indexed: true });
            if self.indexes.binary_search_by_key(&file.base, |found| found.base).is_err() {
                self.report.rebuilt.push(file.base);
                self.queues.note_damaged(file.base);
            }
        }
        self.report.loaded = first as u64;
        self.begin(first)
    }

    /// How the `n`-th segment is taken in.
    fn begin(&mut self, n: usize) -> Stage {
        if let Some(told) = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.times.get(n)) {
            self.latest_ms = self.latest_ms.max(*told);
        }
        let Some(file) = self.segments.get(n) else {
            let end = n.checked_sub(1).map_or(0, |last| self.options.layout.end_of(self.segments[last].base));
            return Stage::Done { end };
        };
        let has = |list: &[FoundFile]| list.binary_search_by_key(&file.base, |found| found.base).is_ok();
        let in_order = self.unindexed.is_empty();
        if self.covered() >= self.options.layout.end_of(file.base) && has(&self.indexes) && in_order {
            return Stage::Index { n, replayed: false };
        }
        if self.covered() > file.base.0 && has(&self.partials) {
            return Stage::Partial { n };
        }
        Stage::Replay { n, at: file.base.0, need: RECOVERY_READ }
    }

    fn covered(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.covered.0)
    }

    /// What to read next; `None` when nothing more is needed. Ranges may be empty when a file is.
    pub fn next_read(&self) -> Option<ReadRange> {
        match self.stage {
            Stage::Index { n, .. } => {
                let base = self.segments[n].base;
                let len = len_of(&self.indexes, base).min(PAGE as u64);
                Some(ReadRange { file: RangeOf::Index(base), offset: 0, len })
            }
            Stage::Directory { n, header, .. } => {
                let range = header.directory_range();
                let left = len_of(&self.indexes, self.segments[n].base).saturating_sub(range.offset);
                Some(ReadRange { len: range.len.min(left), ..range })
            }
            Stage::Partial { n } => {
                let base = self.segments[n].base;
                Some(ReadRange { file: RangeOf::Partial(base), offset: 0, len: len_of(&self.partials, base) })
            }
            Stage::Replay { n, at, need } => {
                let FoundFile { base, len } = self.segments[n];
                let offset = (at - base.0) - (at - base.0) % BLOCK;
                Some(ReadRange { file: RangeOf::Log(base), offset, len: need.min(len.saturating_sub(offset)) })
            }
            Stage::Witness { n, end, look } => Some(witness::range(&self.segments, n, end, look)),
            Stage::Done { .. } => None,
        }
    }

    /// Takes the bytes of [`Recovery::next_read`]; fewer than asked for means that the file ends there.
    ///
    /// # Errors
    /// What is on disk is not what was written. Recovery is over, the shard must not be used.
    pub fn supply(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<(), RecoveryError> {
        self.stage = match self.stage {
            Stage::Index { n, replayed } => self.take_index(n, replayed, bytes),
            Stage::Directory { n, replayed, header } => self.take_directory(n, replayed, &header, bytes),
            Stage::Partial { n } => self.take_partial(n, bytes),
            Stage::Replay { n, at, need } => self.take_frames(n, at, need, bytes, visitor)?,
            Stage::Witness { n, end, look } => self.look_for_witness(n, end, look, bytes)?,
            done @ Stage::Done { .. } => done,
        };
        Ok(())
    }

    fn take_index(&mut self, n: usize, replayed: bool, bytes: &[u8]) -> Stage {
        let base = self.segments[n].base;
        let header = Header::read(bytes, &self.options.layout, base);
        match header.filter(|header| header.covers == self.options.layout.end_of(base)) {
            Some(header) => Stage::Directory { n, replayed, header },
            None => self.without_index(n, replayed),
        }
    }

    /// Takes over where each queue's entries of a full segment lie; they stay on disk.
    fn take_directory(&mut self, n: usize, replayed: bool, header: &Header, bytes: &[u8]) -> Stage {
        let end = self.options.layout.end_of(header.base);
        let directory = Directory::read(header, bytes);
        let taken = directory.is_some_and(|directory| self.queues.take_directory(&directory, end, replayed));
        if !taken {
            return self.without_index(n, replayed);
        }
        self.keys.seal(end);
        self.last_epoch = self.last_epoch.max(header.epoch);
        self.report.loaded += u64::from(!replayed);
        self.full.push(FullSegment { base: header.base, latest_ms: self.latest_ms, indexed: true });
        self.begin(n + 1)
    }

    /// The index of a segment is not what was written: it is made again from the segment.
    fn without_index(&mut self, n: usize, replayed: bool) -> Stage {
        let base = self.segments[n].base;
        self.report.rebuilt.push(base);
        if !replayed {
            return Stage::Replay { n, at: base.0, need: RECOVERY_READ };
        }
        let records_end = self.replayed_to.max(base.0);
        self.want_index(Active::new(&self.options.layout, base).seal(records_end, self.last_epoch));
        self.begin(n + 1)
    }

    /// Loads the index of a segment's beginning; what it does not cover is read. One that says more than the checkpoint
    /// is of no use: own records between the two would be told by neither.
    fn take_partial(&mut self, n: usize, bytes: &[u8]) -> Stage {
        let base = self.segments[n].base;
        let index = IndexFile::decode(bytes, &self.options.layout, base);
        let usable = index.filter(|index| index.covers() <= self.trusted());
        let loaded = usable.and_then(|index| {
            index.load(&mut self.queues, &mut self.keys)?;
            Some((index.epoch(), index.covers()))
        });
        let Some((epoch, covers)) = loaded else {
            return Stage::Replay { n, at: base.0, need: RECOVERY_READ };
        };
        self.last_epoch = self.last_epoch.max(epoch);
        self.report.resumed = Some(Position(covers));
        Stage::Replay { n, at: covers, need: RECOVERY_READ }
    }

    /// How far the index of a segment's beginning may reach.
    fn trusted(&self) -> u64 {
        #[cfg(test)]
        if self.planted == super::planted::Planted::PartialAhead {
            return u64::MAX;
        }
        self.covered()
    }

    fn take_frames(
        &mut self,
        n: usize,
        at: u64,
        need: u64,
        bytes: &[u8],
        visitor: &mut dyn Visitor,
    ) -> Result<Stage, RecoveryError> {
        let FoundFile { base, len } = self.segments[n];
        let read_from = at - (at - base.0) % BLOCK;
        let file_ends = (bytes.len() as u64) < need.min(len.saturating_sub(read_from - base.0))
            || read_from - base.0 + bytes.len() as u64 >= len;
        let mut at = at;
        loop {
            let rest = bytes.get((at - read_from) as usize..).unwrap_or_default();
            match self.next_frame(base, at, rest)? {
                Next::Frame { header, records } => {
                    self.take_records(base, at, &header, records, visitor)?;
                    self.last_epoch = header.epoch;
                    self.report.replayed += header.total();
                    at += header.total();
                }
                Next::SegmentEnd { epoch } => {
                    self.last_epoch = epoch;
                    self.replayed_to = at;
                    return Ok(self.sealed(n, Active::new(&self.options.layout, base).seal(at, epoch)));
                }
                Next::Short { total } if !file_ends => {
                    let from = at - (at - base.0) % BLOCK;
                    let need = (at - from + total).next_multiple_of(BLOCK).max(RECOVERY_READ);
                    assert!(from > read_from || need > bytes.len() as u64, "each read gets further");
                    return Ok(Stage::Replay { n, at, need });
                }
                Next::Short { .. } | Next::Invalid => {
                    self.report.torn = rest.first().is_some_and(|byte| *byte != 0);
                    let from = at - at % BLOCK;
                    let block = bytes.get((from - read_from) as usize..(at - read_from) as usize);
                    self.block = block.ok_or(RecoveryError::Missing { base })?.to_vec();
                    return self.stop(n, at);
                }
            }
        }
    }

    /// A segment was read to its end: it needs an index, unless it has one that was merely too new to start from.
    fn sealed(&mut self, n: usize, sealed: Sealed) -> Stage {
        let has_index = self.indexes.binary_search_by_key(&sealed.base(), |index| index.base).is_ok();
        if has_index && self.unindexed.is_empty() && !self.report.rebuilt.contains(&sealed.base()) {
            return Stage::Index { n, replayed: true };
        }
        self.want_index(sealed);
        self.begin(n + 1)
    }

    /// A full segment whose entries are in memory until it has an index.
    fn want_index(&mut self, sealed: Sealed) {
        self.full.push(FullSegment { base: sealed.base(), latest_ms: self.latest_ms, indexed: false });
        self.unindexed.push(sealed);
    }

    /// The frame at `at` is not one.
    fn stop(&mut self, n: usize, at: u64) -> Result<Stage, RecoveryError> {
        if at < self.known_durable {
            return Err(self.corrupt(n, at, Why::BelowDurable { durable: Position(self.known_durable) }));
        }
        Ok(Stage::Witness { n, end: at, look: n })
    }

    fn corrupt(&self, n: usize, at: u64, why: Why) -> RecoveryError {
        let base = self.segments[n].base;
        RecoveryError::Corrupt { segment: base, file_offset: at - base.0, why }
    }

    /// The log and all that finds messages in it. Everything is visible: what recovery found is durable, once the driver
    /// has synced the replayed segments.
    ///
    /// # Panics
    /// If there is still something to read.
    pub fn finish(mut self) -> Recovered {
        let Stage::Done { end } = self.stage else { panic!("recovery has not read all it wants") };
        self.mark_queues();
        self.queues.queues_mut().for_each(|queue| queue.show(queue.max()));
        let layout = self.options.layout;
        let active = layout.segment_of(Position(end));
        let full = |file: &&FoundFile| file.base >= active && file.len >= layout.segment_size();
        let usable = self.segments.iter().filter(|file| file.base >= active).take_while(full).last();
        let ready_to = usable.map_or(active.0, |file| layout.end_of(file.base));
        let found = FoundSegments {
            start: self.segments.first().map_or(active, |file| file.base),
            full: self.full,
            latest_ms: self.latest_ms,
            leftovers: self.leftovers,
            covered: self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.covered.0),
        };
        let log =
            CommitLog::resume(self.options, Position(end), &self.block, Position(ready_to), self.unindexed, found);
        self.report.end = Position(end);
        self.report.latest_ms = self.latest_ms;
        self.report.first = self.segments.first().map_or(Position(end), |file| Position(file.base.0));
        Recovered { log, queues: self.queues, keys: self.keys, checkpoint: self.checkpoint, report: self.report }
    }

    /// Puts in what the checkpoint alone knows: which topics there are and of which incarnation, queues whose messages have all
    /// expired, where a queue begins. What it does not know was deleted. Done once, when all that the checkpoint covers was read.
    fn mark_queues(&mut self) {
        let covered = self.covered();
        let Recovery { checkpoint: Some(checkpoint), queues, marked: marked @ false, .. } = self else { return };
        *marked = true;
        let affirmed: Vec<usize> =
            checkpoint.queues.lives().map(|life| queues.affirm(&life, Position(covered))).collect();
        queues.bury_others(&affirmed, Position(covered));
        for mark in checkpoint.queues.iter() {
            let slot = queues.open(mark.life.topic, mark.queue);
            let state = &mut queues[slot];
            if state.max() < mark.max && state.is_empty() {
                *state = ConsumeQueue::starting_at(mark.max);
            }
            state.recall(mark.min, mark.born);
        }
    }
}

/// Length of the file of a segment that is in the list.
fn len_of(list: &[FoundFile], base: SegmentBase) -> u64 {
    list.binary_search_by_key(&base, |found| found.base).map_or(0, |at| list[at].len)
}
