//! The making of a segment's index, a step at a time: a busy shard cannot stop for a million entries.
//!
//! Of a sealed segment it covers all; of the active one, written beside a checkpoint, what lies below the checkpoint.
//! Owns the order of what stands in the file (`index_file.rs` has the layout): it depends on the segment alone, so that an
//! index made again has everything in the same place. Never writes a file.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ringmq_protocol::offset::Position;

use super::index_file::{Header, Region, Row, put_begin, put_entry};
use super::index_page::{PAGE, PageWriter};
use crate::store::index::consume_queue::ConsumeQueue;
use crate::store::index::key_index::{KeyIndex, SegmentKeys};
use crate::store::index::queue_table::{QueueTable, SealedRun, SealedRuns};
use crate::store::index::runs::{HEAD_UNITS, Head, RunRef};
use crate::store::limits::INDEX_STEP;
use crate::store::log::CommitLog;
use crate::store::segment::{Active, Layout, Sealed, SegmentBase};

/// Topics and queues looked at in one step: most of them have nothing in the segment.
const LOOKS: usize = 4096;

/// Keys merged in one step: half a millisecond.
const KEYS: usize = 8192;

/// The writing of one segment's index. Between steps the shard goes on.
#[derive(Debug)]
pub struct IndexBuild {
    base: SegmentBase,
    /// It covers the segment's positions below this.
    covers: u64,
    /// Where the next segment starts.
    end: u64,
    records_end: Position,
    epoch: u32,
    shard: u16,
    out: PageWriter,
    /// Queues with entries here, by the place of the first one: topic number and queue.
    queues: BTreeMap<u32, (u32, u32)>,
    /// The run being written.
    run: Option<SealedRun>,
    /// Those of a full segment, by which its entries leave memory.
    runs: Vec<SealedRun>,
    /// How many there are.
    rows: u32,
    units: u32,
    begins: u32,
    directory: Region,
    keys: Region,
    merge: Option<Merge>,
    times: Option<(i64, i64)>,
    at: Progress,
}

/// What the next step does.
#[derive(Debug, Clone, Copy)]
enum Progress {
    /// Looks which queues have entries here, from queue `queue` of the `number`-th topic on.
    Queues {
        number: usize,
        queue: u32,
    },
    /// Entries of the queue whose first one is at `place`, or of the next, from position `from` on.
    Runs {
        place: u32,
        from: Option<u64>,
    },
    /// Rows from the queue on whose first entry is at `place`, or the next; its run is at `unit`.
    Directory {
        place: u32,
        unit: u32,
    },
    Keys,
    Done,
    /// The whole segment got its index meanwhile, and its entries left memory: the beginning's would be wrong.
    Overtaken,
}

/// The keys of a segment on their way from sorted runs into one.
#[derive(Debug, Default)]
struct Merge {
    /// The next word of each run, the run, and its place there.
    heads: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// A copy of the run that still grows, and which one that is.
    last: (usize, Vec<u64>),
    words: u64,
}

/// An index file, and what may leave memory once it is on disk.
#[derive(Debug)]
pub struct Finished {
    /// What belongs into the file, but for the pages that were taken out before: its first page, and the last ones.
    pub bytes: Vec<u8>,
    /// Where in the file those behind the first page belong.
    rest_at: u64,
    sealed: Option<SealedRuns>,
}

impl Finished {
    /// Takes the bytes out, with the places in the file where they belong.
    pub fn take_pages(&mut self) -> [(u64, Vec<u8>); 2] {
        let mut first = std::mem::take(&mut self.bytes);
        let rest = first.split_off(PAGE);
        [(self.rest_at, rest), (0, first)]
    }

    /// The file is durable under its name. What a full segment's index tells is not kept in memory any more.
    pub fn in_place(self, queues: &mut QueueTable, keys: &mut KeyIndex) {
        if let Some(sealed) = self.sealed {
            keys.seal(sealed.end);
            queues.seal(sealed);
        }
    }
}

impl IndexBuild {
    /// Starts the index of a segment that [`CommitLog::take_sealed`] gave out. Segments are indexed in order, each after
    /// the index of the one before is in place.
    pub fn new(layout: &Layout, sealed: Sealed) -> Self {
        let (base, end) = (sealed.base(), sealed.end());
        IndexBuild {
            base,
            covers: end,
            end,
            records_end: sealed.records_end(),
            epoch: sealed.epoch(),
            shard: layout.shard().0,
            out: PageWriter::new(base),
            queues: BTreeMap::new(),
            run: None,
            runs: Vec::new(),
            rows: 0,
            units: 0,
            begins: 0,
            directory: Region::default(),
            keys: Region::default(),
            merge: None,
            times: None,
            at: Progress::Queues { number: 0, queue: 0 },
        }
    }

    /// Starts the index of the active segment's frames so far; `None` if it has none. Begin it when a checkpoint is
    /// captured, write it after the checkpoint: then a start reads neither the segment's beginning again nor too little.
    pub fn partial(log: &CommitLog) -> Option<Self> {
        let covers = log.boundary();
        let base = log.layout().segment_of(covers);
        if covers.0 == base.0 {
            return None;
        }
        // As if it ended here; it is not marked as full, because it does not cover the segment to its end.
        let end = log.layout().end_of(base);
        let records_end = Position(covers.0.min(end - 1));
        let whole = IndexBuild::new(log.layout(), Active::new(log.layout(), base).seal(base.0, log.epoch()));
        Some(IndexBuild { covers: covers.0, records_end, ..whole })
    }

    /// Name of the file it belongs into: `.index`, or `.partial` for an active segment's.
    pub fn file_name(&self) -> String {
        if self.is_whole() { self.base.index_name() } else { self.base.partial_name() }
    }

    /// The segment it is for.
    pub fn base(&self) -> SegmentBase {
        self.base
    }

    fn is_whole(&self) -> bool {
        self.covers == self.end
    }

    /// Does a bounded part. Returns whether all is done.
    pub fn step(&mut self, queues: &mut QueueTable, keys: &mut KeyIndex) -> bool {
        let stop_at = self.out.len() + INDEX_STEP;
        let mut looks = LOOKS;
        if queues.indexed_to() > self.base.0 && !self.is_whole() && !matches!(self.at, Progress::Done) {
            self.at = Progress::Overtaken;
        }
        while self.out.len() < stop_at && looks > 0 {
            looks -= 1;
            self.at = match self.at {
                Progress::Queues { number, queue } => self.look(queues, number, queue, &mut looks),
                Progress::Runs { place, from } => self.put_run(queues, place, from, stop_at),
                Progress::Directory { place, unit } => self.put_directory(queues, place, unit, stop_at),
                Progress::Keys => {
                    looks = 0;
                    self.put_keys(keys)
                }
                Progress::Done | Progress::Overtaken => break,
            };
        }
        matches!(self.at, Progress::Done | Progress::Overtaken)
    }

    /// Notes the queues of one topic that have entries here.
    fn look(&mut self, table: &QueueTable, number: usize, queue: u32, looks: &mut usize) -> Progress {
        if number >= table.topic_numbers() {
            self.out.next_page();
            return Progress::Runs { place: 0, from: None };
        }
        for (_, id, state) in table.nth_as_of(number, queue, self.covers) {
            if *looks == 0 {
                return Progress::Queues { number, queue: id };
            }
            *looks -= 1;
            if let Some((_, first, _)) = state.entries_between(self.base.0, self.covers).next() {
                let place = (first.position.0 - self.base.0) as u32;
                let other = self.queues.insert(place, (number as u32, id));
                assert!(other.is_none(), "two queues have a message at {}", first.position);
            }
        }
        Progress::Queues { number: number + 1, queue: 0 }
    }

    /// Puts entries of the next queue, from position `from` on if it was begun, until it is done or enough was put.
    fn put_run(&mut self, table: &QueueTable, place: u32, from: Option<u64>, stop_at: usize) -> Progress {
        let Some((&place, &(number, id))) = self.queues.range(place..).next() else {
            return self.begin_directory(table);
        };
        if from.is_none() {
            let sealed = self.run_at(table, (number, id), self.units);
            let SealedRun { run: RunRef { first, count, first_ms, .. }, span_ms, .. } = sealed;
            let queue = self.queue(table, number, id);
            // The index of a beginning is read as a whole and needs no way back.
            let before = if self.is_whole() { queue.newest_run() } else { None };
            self.out.put(&Head { first, count, span_ms, first_ms, before }.encode());
            self.units += HEAD_UNITS + count;
            self.rows += 1;
            let last_ms = queue.last_ms_below(self.covers).expect("it was just read");
            let (earliest, latest) = self.times.unwrap_or((first_ms, last_ms));
            self.times = Some((earliest.min(first_ms), latest.max(last_ms)));
            self.run = Some(sealed);
            if self.is_whole() {
                self.runs.push(sealed);
            }
        }
        let first_ms = self.run.as_ref().expect("it was just begun, or earlier").run.first_ms;
        let queue = self.queue(table, number, id);
        for (_, entry, ms) in queue.entries_between(from.unwrap_or(self.base.0), self.covers) {
            if self.out.len() >= stop_at {
                return Progress::Runs { place, from: Some(entry.position.0) };
            }
            put_entry(&mut self.out, self.base, &entry, u32::try_from(ms - first_ms).unwrap_or(u32::MAX));
        }
        Progress::Runs { place: place + 1, from: None }
    }

    fn queue<'t>(&self, table: &'t QueueTable, number: u32, id: u32) -> &'t ConsumeQueue {
        let queue = table.queue_as_of(number as usize, id, self.covers);
        queue.expect("a queue is kept until its entries are in an index")
    }

    /// The run of a queue; its head is at `unit`.
    fn run_at(&self, table: &QueueTable, (number, id): (u32, u32), unit: u32) -> SealedRun {
        let queue = self.queue(table, number, id);
        let (first, _, first_ms) =
            queue.entries_between(self.base.0, self.covers).next().expect("it was seen to have one");
        let count = queue.count_between(self.base.0, self.covers) as u32;
        // Also of messages that are not shown any more: an index tells of all its segment has.
        let last_ms = queue.last_ms_below(self.covers).expect("it was seen to have one");
        // A segment that took longer than 49 days to fill: the times beyond are told too early, never out of order.
        let span_ms = u32::try_from(last_ms - first_ms).unwrap_or(u32::MAX);
        let run = RunRef { base: self.base, unit, first, count, first_ms };
        SealedRun { number, queue: id, run, span_ms }
    }

    fn begin_directory(&mut self, table: &QueueTable) -> Progress {
        let mut bytes = Vec::new();
        self.directory.first = self.out.next_page();
        let mut begins: Vec<_> = table.begins(self.base.0, self.covers).collect();
        begins.sort_unstable_by_key(|life| life.begun);
        begins.iter().for_each(|life| put_begin(&mut bytes, life));
        self.begins = u32::try_from(begins.len()).expect("a record takes 16 bytes of a segment");
        self.put_rows(&bytes);
        Progress::Directory { place: 0, unit: 0 }
    }

    fn put_rows(&mut self, bytes: &[u8]) {
        self.out.put(bytes);
        self.directory.len += bytes.len() as u64;
    }

    fn put_directory(&mut self, table: &QueueTable, place: u32, unit: u32, stop_at: usize) -> Progress {
        let (mut bytes, mut unit) = (Vec::new(), unit);
        for (&place, &(number, id)) in self.queues.range(place..) {
            if !bytes.is_empty() && self.out.len() + bytes.len() >= stop_at {
                self.put_rows(&bytes);
                return Progress::Directory { place, unit };
            }
            let SealedRun { run, span_ms, .. } = self.run_at(table, (number, id), unit);
            let topic = table.nth_name(number as usize).expect("a topic is listed until its entries are in an index");
            Row { topic, queue: id, run, span_ms, place }.put(&mut bytes);
            unit += HEAD_UNITS + run.count;
        }
        self.put_rows(&bytes);
        self.keys.first = self.out.next_page();
        Progress::Keys
    }

    fn put_keys(&mut self, keys: &mut KeyIndex) -> Progress {
        let Some(segment) = keys.segment_mut(self.base) else { return self.done() };
        let below = self.covers - self.base.0;
        let mut merge = self.merge.take().unwrap_or_else(|| Merge::begin(segment));
        let mut left = KEYS;
        let ended = loop {
            if left == 0 {
                break false;
            }
            left -= 1;
            let Some(word) = merge.next(segment) else { break true };
            // Of a segment that still grows, later messages may have joined a run.
            if SegmentKeys::place(word) < below {
                self.out.put(&word.to_be_bytes());
                merge.words += 1;
            }
        };
        self.merge = Some(merge);
        if ended { self.done() } else { Progress::Keys }
    }

    fn done(&mut self) -> Progress {
        self.keys.len = self.merge.as_ref().map_or(0, |merge| merge.words * 8);
        Progress::Done
    }

    /// Pages that are finished, if there are `least` bytes of them: where in the file they belong, and the bytes. Who takes them as they
    /// come needs no memory for the whole file.
    pub fn take_pages(&mut self, least: usize) -> Option<(u64, Vec<u8>)> {
        self.out.take_pages(least)
    }

    /// The whole file, but for pages taken before, once [`IndexBuild::step`] said that all is done. `None` if a beginning's index is not needed any
    /// more, because the segment has its own.
    pub fn finish(self) -> Option<Finished> {
        if matches!(self.at, Progress::Overtaken) {
            return None;
        }
        assert!(matches!(self.at, Progress::Done), "an index is finished when it is done");
        let is_whole = self.is_whole();
        let IndexBuild { base, covers, end, records_end, epoch, shard, mut out, .. } = self;
        let IndexBuild { runs, rows: queues, begins, directory, keys, times, .. } = self;
        let pages = out.next_page();
        let times = times.unwrap_or((i64::MAX, i64::MIN));
        let header = Header { shard, base, covers, records_end, epoch, times, queues, begins, directory, keys, pages };
        let rest_at = out.rest_at();
        let bytes = out.finish(&header.encode());
        Some(Finished { bytes, rest_at, sealed: is_whole.then_some(SealedRuns { end, runs }) })
    }
}

impl Merge {
    fn begin(segment: &mut SegmentKeys) -> Self {
        let runs = segment.sorted_runs();
        let last = runs.len().saturating_sub(1);
        let mut merge = Merge { last: (last, runs.last().cloned().unwrap_or_default()), ..Merge::default() };
        for run in 0..runs.len() {
            merge.push(runs, run as u32, 0);
        }
        merge
    }

    fn push(&mut self, runs: &[Vec<u64>], run: u32, at: u32) {
        let words = if run as usize == self.last.0 { &self.last.1 } else { &runs[run as usize] };
        if let Some(word) = words.get(at as usize) {
            self.heads.push(Reverse((*word, run, at)));
        }
    }

    /// The smallest word left.
    fn next(&mut self, segment: &SegmentKeys) -> Option<u64> {
        let Reverse((word, run, at)) = self.heads.pop()?;
        self.push(segment.runs(), run, at + 1);
        Some(word)
    }
}
