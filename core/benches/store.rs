//! What the store costs per message, and how fast it recovers. `cargo bench -p ringmq-core --bench store`.
//!
//! Prints one line per figure, the median over many short stretches, so that a busy machine disturbs little; asserts
//! nothing about time.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use ringmq_core::event::ShardId;
use ringmq_core::store::RangeOf;
use ringmq_core::store::recovery::{Found, FoundFile, Malformed};
use ringmq_core::store::{
    CommitLog, Entry, IndexBuild, KeyIndex, Layout, LogOptions, Marks, OwnRecord, Position, QueueTable, Recovery, Urge,
    Visitor,
};
use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};

const SEGMENT: u64 = 256 << 20;
const RECORDS: u64 = 600_000;
const BODY: usize = 1024;

/// Whoever recovers nothing but messages.
struct Nobody;

impl Visitor for Nobody {
    fn message(&mut self, _: Position, _: &RecordRef<'_>) {}

    fn own(&mut self, _: Position, _: OwnRecord<'_>) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Segments in memory.
#[derive(Default)]
struct Memory {
    segments: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Memory {
    /// Makes all durable that may be written; returns how long that took without the copy to the "disk".
    fn drain(&mut self, log: &mut CommitLog) -> u64 {
        let mut nanos = 0;
        loop {
            while let Some(base) = log.wanted_segment() {
                self.segments.push(vec![0; SEGMENT as usize]);
                log.segment_ready(base);
            }
            let start = Instant::now();
            let Some(plan) = log.next_write(Urge::Sync) else { break };
            self.buffer.resize(plan.len.max(self.buffer.len()), 0);
            log.copy_plan(&plan, &mut self.buffer);
            nanos += start.elapsed().as_nanos() as u64;
            let file = &mut self.segments[(plan.segment.0 / SEGMENT) as usize];
            file[plan.file_offset as usize..][..plan.len].copy_from_slice(&self.buffer[..plan.len]);
            log.complete(plan.seq, Ok(())).expect("memory does not fail");
        }
        nanos
    }
}

/// Times of stretches of equal work, ns.
#[derive(Default)]
struct Stretches(Vec<u64>);

impl Stretches {
    fn add(&mut self, since: Instant) {
        self.0.push(since.elapsed().as_nanos() as u64);
    }

    fn median(&mut self) -> f64 {
        self.0.sort_unstable();
        self.0[self.0.len() / 2] as f64
    }

    fn tell(&mut self, what: &str, each: u64) {
        println!("{what:<44} {:>8.1} ns", self.median() / each as f64);
    }
}

fn main() {
    let layout = Layout::new(ShardId(0), SEGMENT).expect("a good size");
    let body = vec![b'x'; BODY];
    let id = "7F0000010ACB18B4AAC20000";
    let properties: Vec<String> =
        (0..64).map(|n| format!("UNIQ_KEY\u{1}{id}{n:08}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}")).collect();
    // Once with a tail that stays in the processor's cache, to see what memory itself costs.
    for tail in [2 << 20, 32 << 20] {
        let mut options = LogOptions::new(layout, 1);
        options.tail = tail;
        let (_, queues, keys, memory) = fill(options, &body, &properties);
        index(layout, &memory, queues, keys);
        recover(layout, &memory);
    }
}

/// Appends everything, in batches of 64 as a busy shard would.
fn fill(options: LogOptions, body: &[u8], properties: &[String]) -> (CommitLog, QueueTable, KeyIndex, Memory) {
    let layout = options.layout;
    let mut log = CommitLog::new(options);
    let (mut queues, mut keys, mut memory) = (QueueTable::new(), KeyIndex::new(layout), Memory::default());
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let [mut append, mut encode, mut push, mut mark, mut write] = [const { Stretches(Vec::new()) }; 5];
    let mut bytes = 0;
    for batch in 0..RECORDS / 64 {
        let slot = queues.open("bench", batch as u32 % 8);
        let message = Message {
            topic: "bench",
            queue_id: batch as i32 % 8,
            flag: 0,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: batch as i64,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: PropertyParts::just(&properties[0]),
        };
        let size = message.size().expect("small");
        let mut record = vec![0; size.total];
        let start = Instant::now();
        for _ in 0..64 {
            message.encode_into(&mut record, &size);
            black_box(&record);
        }
        encode.add(start);
        let mut places = [Position(0); 64];
        let first = queues[slot].max();
        let start = Instant::now();
        for (n, place) in places.iter_mut().enumerate() {
            let appended = log.append(batch, size.total, |position, out| {
                out.copy_from_slice(&record);
                out[20..28].copy_from_slice(&(first + n as u64).to_be_bytes());
                out[28..36].copy_from_slice(&WireOffset::new(0, position).to_wire().to_be_bytes());
            });
            *place = appended.expect("there is room");
        }
        append.add(start);
        let start = Instant::now();
        for place in places {
            queues[slot].push(Entry { position: place, size: size.total as u32, tag_hash: 7 }, batch as i64);
        }
        push.add(start);
        let start = Instant::now();
        for (place, properties) in places.iter().zip(properties) {
            Marks::of(properties).index(&mut keys, "bench", *place, batch as i64);
        }
        mark.add(start);
        write.0.push(memory.drain(&mut log));
        bytes += 64 * size.total as u64;
    }
    println!("{RECORDS} records of {} bytes, batches of 64, tail of {} MiB", bytes / RECORDS, options.tail >> 20);
    encode.tell("encode a record (for comparison)", 64);
    append.tell("append with a memcpy as fill", 64);
    push.tell("push a queue entry", 64);
    mark.tell("walk properties, add keys", 64);
    write.tell("seal, plan, copy for the disk", 64);
    (log, queues, keys, memory)
}

/// Indexes every full segment.
fn index(layout: Layout, memory: &Memory, mut queues: QueueTable, mut keys: KeyIndex) {
    let mut log = recovered(layout, memory, false).log;
    let (mut steps, mut bytes) = (Stretches::default(), 0);
    while let Some(sealed) = log.take_sealed() {
        let mut build = IndexBuild::new(&layout, sealed);
        loop {
            let start = Instant::now();
            let done = build.step(&mut queues, &mut keys);
            steps.add(start);
            if done {
                break;
            }
        }
        bytes += build.finish().expect("it is for a full segment").bytes.len();
    }
    let (count, median) = (steps.0.len(), steps.median());
    let longest = steps.0.last().expect("there is a full segment");
    println!("index of all full segments: {bytes} bytes in {count} steps of {median} ns, the longest {longest} ns");
}

/// Recovers without any index.
fn recover(layout: Layout, memory: &Memory) {
    recovered(layout, memory, true);
}

fn recovered(layout: Layout, memory: &Memory, tell: bool) -> ringmq_core::store::Recovered {
    let file = |(n, bytes): (usize, &Vec<u8>)| FoundFile {
        base: ringmq_core::store::SegmentBase(n as u64 * SEGMENT),
        len: bytes.len() as u64,
    };
    let segments = memory.segments.iter().enumerate().map(file).collect();
    let mut reads = Stretches::default();
    let found = Found { segments, ..Found::default() };
    let mut recovery = Recovery::new(LogOptions::new(layout, 2), found).expect("whole");
    while let Some(range) = recovery.next_read() {
        let RangeOf::Log(base) = range.file else { unreachable!("there is no index") };
        let bytes = &memory.segments[(base.0 / SEGMENT) as usize][range.offset as usize..][..range.len as usize];
        let start = Instant::now();
        recovery.supply(bytes, &mut Nobody).expect("whole");
        if range.len == 4 << 20 {
            reads.add(start);
        }
    }
    let recovered = recovery.finish();
    if tell {
        let report = &recovered.report;
        let rate = (4 << 20) as f64 / reads.median();
        println!("recovery of {} messages, {} MB: {rate:.2} GB/s", report.messages, report.replayed / 1_000_000);
        assert_eq!(recovered.report.messages, RECORDS / 64 * 64);
    }
    recovered
}
