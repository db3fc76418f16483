//! What messages cost in memory once their segments are full, and what it costs to find one of them on disk.
//! `cargo bench -p ringmq-core --bench index`.
//!
//! Pushes entries and keys as the intake does, a hundred million of them, and builds the real index of every segment; records
//! and log are left out. Asserts the bound of resident memory, nothing about time.

use std::time::Instant;

use ringmq_core::event::ShardId;
use ringmq_core::store::{
    Entry, IndexBuild, KeyIndex, Layout, Position, QueueTable, RangeOf, ReadRange, Sealed, SegmentBase,
};

const SEGMENT: u64 = 256 << 20;
const QUEUES: u64 = 1_000;

/// Bytes of a record: a body of 1 KiB with its properties.
const RECORD: u64 = 1_200;

/// What 100 million messages may cost in a process, bytes.
const BOUND: usize = 64 << 20;

/// A shard's queues and keys, and the index files as far as they are kept.
struct Shard {
    layout: Layout,
    queues: QueueTable,
    keys: KeyIndex,
    slots: Vec<ringmq_core::store::QueueSlot>,
    files: Vec<Vec<u8>>,
    keep: bool,
    /// Most bytes of entries, keys, pages and runs that were resident at once.
    most: usize,
    steps: Vec<u64>,
}

impl Shard {
    fn new(keep: bool) -> Self {
        let layout = Layout::new(ShardId(0), SEGMENT).expect("a good size");
        let mut queues = QueueTable::new();
        let slots = (0..QUEUES).map(|n| queues.open(&format!("topic-{}", n / 8), (n % 8) as u32)).collect();
        let keys = KeyIndex::new(layout);
        Shard { layout, queues, keys, slots, files: Vec::new(), keep, most: 0, steps: Vec::new() }
    }

    fn memory(&self) -> usize {
        self.queues.index_memory() + self.keys.memory()
    }

    /// Pushes messages; each has one unique key.
    fn fill(&mut self, messages: u64) {
        let mut position = 40;
        for n in 0..messages {
            if position % SEGMENT + RECORD + 40 > SEGMENT {
                position = position.next_multiple_of(SEGMENT) + 40;
                self.index(position / SEGMENT - 1);
            }
            let ms = 1_795_000_000_000 + (n / 100) as i64;
            // Not in turns: neighbours in the log are of any queues.
            let queue = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % QUEUES;
            let state = &mut self.queues[self.slots[queue as usize]];
            state.push(Entry { position: Position(position), size: RECORD as u32, tag_hash: 7 }, ms);
            state.show(state.max());
            self.keys.add(hash(n), Position(position), ms);
            position += RECORD;
        }
    }

    fn index(&mut self, number: u64) {
        let sealed = Sealed::full(&self.layout, SegmentBase(number * SEGMENT));
        let mut build = IndexBuild::new(&self.layout, sealed);
        loop {
            let start = Instant::now();
            let done = build.step(&mut self.queues, &mut self.keys);
            self.steps.push(start.elapsed().as_nanos() as u64);
            if done {
                break;
            }
        }
        let mut finished = build.finish().expect("nothing overtakes it");
        let bytes = std::mem::take(&mut finished.bytes);
        self.most = self.most.max(self.memory() + bytes.len());
        let start = Instant::now();
        finished.in_place(&mut self.queues, &mut self.keys);
        self.steps.push(start.elapsed().as_nanos() as u64);
        if self.keep {
            self.files.push(bytes);
        }
    }
}

fn hash(n: u64) -> u64 {
    let hash = (n + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn read(files: &[Vec<u8>], range: &ReadRange, pages: &mut u64, reads: &mut u64) -> Vec<u8> {
    let RangeOf::Index(base) = range.file else { unreachable!("only indexes are read") };
    *reads += 1;
    *pages += range.len / 4096;
    files[(base.0 / SEGMENT) as usize][range.offset as usize..][..range.len as usize].to_vec()
}

fn main() {
    let mut shard = Shard::new(false);
    let start = Instant::now();
    shard.fill(100_000_000);
    let (now, most) = (shard.memory(), shard.most);
    println!(
        "100,000,000 messages, {QUEUES} queues, {} segments ({:.0} s): {:.1} MB resident, {:.1} MB at most with a file being made",
        shard.queues.indexed_to() / SEGMENT,
        start.elapsed().as_secs_f64(),
        now as f64 / 1e6,
        most as f64 / 1e6
    );
    shard.steps.sort_unstable();
    let longest = shard.steps.last().expect("there were full segments");
    let median = shard.steps[shard.steps.len() / 2];
    println!("a step of making an index: {} us, the longest {} us", median / 1000, longest / 1000);
    assert!(most < BOUND, "{most} bytes are more than {BOUND}");
    drop(shard);
    find();
}

/// Looks for old messages of a shard whose files are all there.
fn find() {
    const MESSAGES: u64 = 20_000_000;
    let mut shard = Shard::new(true);
    shard.fill(MESSAGES);
    let segments = shard.queues.indexed_to() / SEGMENT;
    let Shard { queues, keys, slots, files, .. } = &mut shard;
    let (mut pages, mut reads);
    let (mut first_reads, mut next_reads, mut next_pages) = (0, 0, 0);
    for n in 0..100u64 {
        let ms = 1_795_000_000_000 + (n * 1_999) as i64;
        for (round, slot) in [slots[(n * 7) as usize], slots[(n * 7) as usize]].into_iter().enumerate() {
            (pages, reads) = (0, 0);
            let at = ms + round as i64 * 31;
            queues
                .with_reads(|range| read(files, range, &mut pages, &mut reads), |table| table.first_since(slot, at))
                .expect("whole");
            if round == 0 {
                first_reads += reads;
            } else {
                (next_reads, next_pages) = (next_reads + reads, next_pages + pages);
            }
        }
    }
    println!(
        "search by time over {segments} segments: {:.1} reads when the way back is not known, {:.1} reads ({:.1} pages) after",
        first_reads as f64 / 100.0,
        next_reads as f64 / 100.0,
        next_pages as f64 / 100.0
    );
    (pages, reads) = (0, 0);
    for n in 0..200u64 {
        let wanted = n * (MESSAGES / 200) + 11;
        // One newest-first search through all segments, one that the time of the message leaves a single segment.
        let mut search = keys.begin(hash(wanted), 0..=i64::MAX, Position(1 << 46), 64);
        queues
            .with_reads(|range| read(files, range, &mut pages, &mut reads), |table| keys.advance(&mut search, table))
            .expect("whole");
        assert!(!search.found.is_empty());
    }
    let all = 200.0 * segments as f64;
    println!(
        "search by key: {:.2} reads ({:.2} pages) per segment, all of them looked through",
        reads as f64 / all,
        pages as f64 / all
    );
    let start = Instant::now();
    (pages, reads) = (0, 0);
    let (mut entries, mut next, mut total) = (Vec::new(), 0, 0u64);
    let slot = slots[3];
    while next < queues[slot].resident_from() {
        queues
            .with_reads(
                |range| read(files, range, &mut pages, &mut reads),
                |table| table.entries_from(slot, next, 640, &mut entries),
            )
            .expect("whole");
        next += entries.len() as u64;
        total += entries.len() as u64;
    }
    println!(
        "drain of one queue: {total} entries, {reads} reads, {pages} pages, {:.0} ns an entry",
        start.elapsed().as_nanos() as f64 / total as f64
    );
}
