//! The index of one segment: what recovery loads instead of reading the segment.
//!
//! Of a sealed segment it covers all; of the active one, written beside a checkpoint, what lies below the checkpoint.
//! Owns the layout, the stepwise writing (a busy shard cannot stop for a million entries) and the checked reading.
//! Everything in it can be rebuilt from the segment, so a damaged one is no loss, only slower.

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

use crate::store::index::consume_queue::Entry;
use crate::store::index::key_index::{KeyIndex, SegmentKeys};
use crate::store::index::queue_table::QueueTable;
use crate::store::limits::{INDEX_STEP, KEY_RUN, RECORD_MAX, TOPIC_NAME_MAX};
use crate::store::log::CommitLog;
use crate::store::segment::{Active, Layout, Sealed, SegmentBase};

const MAGIC: &[u8; 4] = b"RMQI";
const VERSION: u16 = 1;
const HEADER: usize = 80;
const HEADER_CRC_AT: usize = 4;
const BODY_CRC_AT: usize = 8;
const ENTRY: usize = 16;

/// Entries in one run: bounds a step, and the rewriting of its count.
const RUN: usize = 4096;

/// Topics looked at in one step: most of them have nothing in the segment.
const TOPICS: usize = 4096;

/// The writing of one segment's index, a step at a time. Between steps the shard goes on.
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
    out: Vec<u8>,
    body_crc: u32,
    summed: usize,
    drops: u32,
    queues: u32,
    key_runs: u32,
    times: (i64, i64),
    at: Progress,
}

/// What the next step does.
#[derive(Debug, Clone, Copy)]
enum Progress {
    Drops,
    /// Entries of the `number`-th topic from queue `queue` on, of that one from position `from` on.
    Queues {
        number: usize,
        queue: u32,
        from: u64,
    },
    Keys {
        run: usize,
    },
    Done,
    /// The whole segment got its index meanwhile, and what was dropped in it is forgotten: the beginning's would be wrong.
    Overtaken,
}

impl IndexBuild {
    /// Starts the index of a segment that [`CommitLog::take_sealed`] gave out.
    pub fn new(layout: &Layout, sealed: Sealed) -> Self {
        let (base, end) = (sealed.base(), sealed.end());
        IndexBuild {
            base,
            covers: end,
            end,
            records_end: sealed.records_end(),
            epoch: sealed.epoch(),
            shard: layout.shard().0,
            out: vec![0; HEADER],
            body_crc: 0,
            summed: HEADER,
            drops: 0,
            queues: 0,
            key_runs: 0,
            times: (0, 0),
            at: Progress::Drops,
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
        if self.covers == self.end { self.base.index_name() } else { self.base.partial_name() }
    }

    /// The segment it is for.
    pub fn base(&self) -> SegmentBase {
        self.base
    }

    /// Does a bounded part. Returns whether all is done.
    pub fn step(&mut self, queues: &mut QueueTable, keys: &mut KeyIndex) -> bool {
        let stop_at = self.out.len() + INDEX_STEP;
        let mut turns = 0;
        if queues.indexed_to() > self.base.0 && self.covers != self.end && !matches!(self.at, Progress::Done) {
            self.at = Progress::Overtaken;
        }
        while self.out.len() < stop_at && turns < TOPICS {
            self.at = match self.at {
                Progress::Drops => self.put_drops(queues),
                Progress::Queues { number, queue, from } => self.put_queues(queues, number, queue, from, stop_at),
                Progress::Keys { run } => self.put_keys(keys, run),
                Progress::Done | Progress::Overtaken => break,
            };
            if matches!(self.at, Progress::Done) && self.covers == self.end {
                queues.indexed(self.end);
            }
            turns += 1;
        }
        self.body_crc = crc32c::crc32c_append(self.body_crc, &self.out[self.summed..]);
        self.summed = self.out.len();
        matches!(self.at, Progress::Done | Progress::Overtaken)
    }

    fn put_drops(&mut self, queues: &QueueTable) -> Progress {
        for (topic, at) in queues.drops(self.base.0, self.covers) {
            self.out.extend_from_slice(&at.0.to_be_bytes());
            put_topic(&mut self.out, topic);
            self.drops += 1;
        }
        Progress::Queues { number: 0, queue: 0, from: self.base.0 }
    }

    /// Puts runs of one topic, until it is done or enough was put.
    fn put_queues(&mut self, table: &QueueTable, number: usize, queue: u32, from: u64, stop_at: usize) -> Progress {
        if number >= table.topic_numbers() {
            return Progress::Keys { run: 0 };
        }
        let mut from = from;
        for (topic, id, state) in table.nth_as_of(number, queue, self.covers) {
            if id != queue {
                from = self.base.0;
            }
            loop {
                if self.out.len() >= stop_at {
                    return Progress::Queues { number, queue: id, from };
                }
                let entries = state.entries_between(from, self.covers).take(RUN);
                let Some(last) = put_run(&mut self.out, self.base, topic, id, entries) else { break };
                self.queues += 1;
                from = last.0 + 1;
            }
        }
        Progress::Queues { number: number + 1, queue: 0, from: self.base.0 }
    }

    fn put_keys(&mut self, keys: &mut KeyIndex, run: usize) -> Progress {
        let Some(segment) = keys.segment_mut(self.base) else { return Progress::Done };
        let times = segment.times();
        self.times = (*times.start(), *times.end());
        let Some(words) = segment.sorted_runs().get(run) else { return Progress::Done };
        // Of a segment that still grows, later messages may have joined the last run.
        let below = self.covers - self.base.0;
        let covered = words.iter().filter(|word| SegmentKeys::place(**word) < below);
        let count_at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        for word in covered {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        let count = (self.out.len() - count_at - 4) as u32 / 8;
        self.out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        self.key_runs += 1;
        Progress::Keys { run: run + 1 }
    }

    /// The whole file, once [`IndexBuild::step`] said that all is done. `None` if a beginning's index is not needed any
    /// more, because the segment has its own.
    pub fn finish(self) -> Option<Vec<u8>> {
        if matches!(self.at, Progress::Overtaken) {
            return None;
        }
        let IndexBuild { base, covers, end: _, records_end, epoch, shard, .. } = self;
        let IndexBuild { mut out, body_crc, summed, drops, queues, key_runs, times, at, .. } = self;
        assert!(matches!(at, Progress::Done) && summed == out.len(), "an index is finished when it is done");
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&body_crc.to_be_bytes());
        header.extend_from_slice(&VERSION.to_be_bytes());
        header.extend_from_slice(&shard.to_be_bytes());
        header.extend_from_slice(&base.0.to_be_bytes());
        header.extend_from_slice(&records_end.0.to_be_bytes());
        header.extend_from_slice(&((out.len() - HEADER) as u64).to_be_bytes());
        header.extend_from_slice(&times.0.to_be_bytes());
        header.extend_from_slice(&times.1.to_be_bytes());
        header.extend_from_slice(&epoch.to_be_bytes());
        header.extend_from_slice(&drops.to_be_bytes());
        header.extend_from_slice(&queues.to_be_bytes());
        header.extend_from_slice(&key_runs.to_be_bytes());
        header.extend_from_slice(&covers.to_be_bytes());
        out[..HEADER].copy_from_slice(&header);
        let crc = crc32c::crc32c(&out[BODY_CRC_AT..HEADER]);
        out[HEADER_CRC_AT..BODY_CRC_AT].copy_from_slice(&crc.to_be_bytes());
        Some(out)
    }
}

fn put_topic(out: &mut Vec<u8>, topic: &str) {
    assert!(topic.len() <= TOPIC_NAME_MAX);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
}

/// Puts consecutive entries of one queue; returns the last one's position, or `None` if there were none.
fn put_run(
    out: &mut Vec<u8>,
    base: SegmentBase,
    topic: &str,
    queue: u32,
    entries: impl Iterator<Item = (u64, Entry, i64)>,
) -> Option<Position> {
    let mut entries = entries.peekable();
    let (first, _, first_ms) = *entries.peek()?;
    put_topic(out, topic);
    out.extend_from_slice(&queue.to_be_bytes());
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&first_ms.to_be_bytes());
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let (mut count, mut last) = (0u32, None);
    for (offset, entry, ms) in entries {
        assert_eq!(offset, first + u64::from(count), "a queue has no gaps");
        // A segment that took longer than 49 days to fill: the times beyond are told too early, never out of order.
        let after = u32::try_from(ms - first_ms).unwrap_or(u32::MAX);
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&((entry.position.0 - base.0) as u32).to_be_bytes());
        bytes[4..8].copy_from_slice(&entry.size.to_be_bytes());
        bytes[8..12].copy_from_slice(&entry.tag_hash.to_be_bytes());
        bytes[12..].copy_from_slice(&after.to_be_bytes());
        out.extend_from_slice(&bytes);
        last = Some(entry.position);
        count += 1;
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
    last
}

/// An index file whose checksums are right and whose shape was not looked at.
#[derive(Debug)]
pub struct IndexFile<'a> {
    base: SegmentBase,
    covers: u64,
    epoch: u32,
    times: (i64, i64),
    drops: u32,
    queues: u32,
    key_runs: u32,
    body: &'a [u8],
}

impl<'a> IndexFile<'a> {
    /// The intact index of the segment at `base`, or `None`: then it must be rebuilt.
    pub fn decode(file: &'a [u8], layout: &Layout, base: SegmentBase) -> Option<Self> {
        let mut from = Reader::new(file.get(..HEADER)?);
        if from.take(4)? != MAGIC || from.i32()? as u32 != crc32c::crc32c(&file[BODY_CRC_AT..HEADER]) {
            return None;
        }
        let body_crc = from.i32()? as u32;
        let version = from.i16()? as u16;
        let shard = from.i16()? as u16;
        let named = SegmentBase(from.i64()? as u64);
        let records_end = from.i64()? as u64;
        let body_len = usize::try_from(from.i64()?).ok()?;
        let times = (from.i64()?, from.i64()?);
        let epoch = from.i32()? as u32;
        let (drops, queues, key_runs) = (from.i32()? as u32, from.i32()? as u32, from.i32()? as u32);
        let covers = from.i64()? as u64;
        let body = file.get(HEADER..HEADER.checked_add(body_len)?)?;
        let end = layout.end_of(base);
        let fits = (base.0..=end).contains(&covers) && (base.0..end).contains(&records_end);
        let ours = version == VERSION && shard == layout.shard().0 && named == base && fits;
        if !ours || crc32c::crc32c(body) != body_crc {
            return None;
        }
        Some(IndexFile { base, covers, epoch, times, drops, queues, key_runs, body })
    }

    /// The end of what it covers: the segment's own end, unless it was written while the segment was active.
    pub fn covers(&self) -> u64 {
        self.covers
    }

    /// Epoch of the last frame it covers, or of a later one.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Adds all it says to table and index. `None` if it contradicts itself; then some of it may have been added.
    pub(crate) fn load(&self, queues: &mut QueueTable, keys: &mut KeyIndex) -> Option<()> {
        let mut from = Reader::new(self.body);
        for _ in 0..self.drops {
            let at = Position(from.i64()? as u64);
            let topic = std::str::from_utf8(from.counted_i16()?).ok()?;
            queues.drop_topic(topic, at);
        }
        for _ in 0..self.queues {
            self.load_run(&mut from, queues)?;
        }
        let mut runs = Vec::new();
        for _ in 0..self.key_runs {
            let count = from.i32()? as usize;
            let words = from.take(count.checked_mul(8)?)?;
            let mut run = Vec::with_capacity(count.min(KEY_RUN));
            run.extend(words.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)));
            runs.push(run);
        }
        if !runs.is_empty() {
            keys.push_segment(SegmentKeys::load(self.base, self.times.0..=self.times.1, runs)?);
        }
        from.is_empty().then_some(())
    }

    fn load_run(&self, from: &mut Reader<'_>, queues: &mut QueueTable) -> Option<()> {
        let topic = std::str::from_utf8(from.counted_i16()?).ok()?;
        let queue = from.i32()? as u32;
        let first = from.i64()? as u64;
        let first_ms = from.i64()?;
        let count = from.i32()? as usize;
        let entries = from.take(count.checked_mul(ENTRY)?)?;
        let slot = queues.open(topic, queue);
        let state = &mut queues[slot];
        for (offset, bytes) in (first..).zip(entries.as_chunks::<ENTRY>().0) {
            let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let position = Position(self.base.0 + u64::from(word(0)));
            let (size, tag_hash, after) = (word(4), word(8) as i32, word(12));
            if position.0 + u64::from(size) > self.covers || u64::from(size) > RECORD_MAX {
                return None;
            }
            let entry = Entry { position, size, tag_hash };
            state.push_at(offset, entry, first_ms.checked_add(i64::from(after))?).ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use crate::store::limits::SEGMENT_MIN;
    use proptest::prelude::*;

    fn layout() -> Layout {
        Layout::new(ShardId(1), SEGMENT_MIN).expect("a good size")
    }

    /// A table and index over three segments with `count` messages in 5 queues.
    fn filled(count: u64) -> (QueueTable, KeyIndex) {
        let (mut queues, mut keys) = (QueueTable::new(), KeyIndex::new(layout()));
        for n in 0..count {
            let position = Position(40 + n * (3 * SEGMENT_MIN - 100) / count);
            let slot = queues.open(["a", "b"][n as usize % 2], (n % 5) as u32);
            queues[slot].push(Entry { position, size: 1, tag_hash: n as i32 }, 1000 + n as i64);
            keys.add(n % 50, position, 1000 + n as i64);
        }
        (queues, keys)
    }

    fn sealed(number: u64) -> Sealed {
        Active::new(&layout(), SegmentBase(number * SEGMENT_MIN)).seal(number * SEGMENT_MIN + 65_000, 4)
    }

    fn index(number: u64, queues: &mut QueueTable, keys: &mut KeyIndex) -> Vec<u8> {
        let mut build = IndexBuild::new(&layout(), sealed(number));
        while !build.step(queues, keys) {}
        build.finish().expect("nothing overtakes it")
    }

    /// Topic, number, and all entries of a queue.
    type Listed = (String, u32, Vec<(u64, Entry, i64)>);

    fn describe(queues: &QueueTable) -> Vec<Listed> {
        let mut all: Vec<Listed> = queues
            .iter()
            .map(|(topic, id, queue)| (topic.to_string(), id, queue.entries_between(0, u64::MAX).collect()))
            .collect();
        all.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
        all
    }

    #[test]
    fn what_was_written_is_loaded() {
        for count in [1, 7, 500, 40_000] {
            let (mut queues, mut keys) = filled(count);
            let (mut loaded, mut loaded_keys) = (QueueTable::new(), KeyIndex::new(layout()));
            for number in 0..3 {
                let file = index(number, &mut queues, &mut keys);
                let index = IndexFile::decode(&file, &layout(), sealed(number).base()).expect("intact");
                assert_eq!(index.load(&mut loaded, &mut loaded_keys), Some(()));
                assert!(IndexFile::decode(&file, &layout(), SegmentBase(9 * SEGMENT_MIN)).is_none());
            }
            assert!(describe(&queues) == describe(&loaded));
            for hash in 0..50 {
                let (mut left, mut right) = (Vec::new(), Vec::new());
                keys.search(hash, 0..=i64::MAX, Position(1 << 40), usize::MAX, &mut left);
                loaded_keys.search(hash, 0..=i64::MAX, Position(1 << 40), usize::MAX, &mut right);
                assert!(left == right);
            }
        }
    }

    #[test]
    fn dropped_queues_stay_dropped() {
        let (mut queues, mut keys) = filled(300);
        let first = index(0, &mut queues, &mut keys);
        queues.drop_topic("a", Position(SEGMENT_MIN + 500));
        let second = index(1, &mut queues, &mut keys);
        let (mut loaded, mut loaded_keys) = (QueueTable::new(), KeyIndex::new(layout()));
        for (number, file) in [first, second].iter().enumerate() {
            let base = SegmentBase(number as u64 * SEGMENT_MIN);
            IndexFile::decode(file, &layout(), base)
                .expect("intact")
                .load(&mut loaded, &mut loaded_keys)
                .expect("whole");
        }
        assert_eq!(loaded.of_topic("a").count(), 0);
        assert!(loaded.of_topic("b").count() > 0);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_seen(at: prop::sample::Index, bit in 0u8..8) {
            let (mut queues, mut keys) = filled(30);
            let mut file = index(0, &mut queues, &mut keys);
            let at = at.index(file.len());
            file[at] ^= 1u8 << bit;
            prop_assert!(IndexFile::decode(&file, &layout(), SegmentBase(0)).is_none());
        }
    }
}
