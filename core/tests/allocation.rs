//! SEND and PULL do not allocate per message.
//!
//! Counts the allocations of whole requests, from the bytes of the frame to the bytes of the answer. What remains is
//! growth in pieces: tail chunks of 1 MiB, queue pages of 128 entries, key runs of 4096.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringmq_core::effects::Effects;
use ringmq_core::event::{Input, Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::store::Urge;
use ringmq_core::topic::{Change, Perm, TopicSpec};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator; the counter is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: u64 = 4_096;

/// A page of 128 entries, a key run and a tail chunk now and then, and a doubling here and there.
const GROWTH: u64 = REQUESTS / 64;

struct Bench {
    harness: Harness,
    origin: Origin,
    out: Effects,
}

impl Bench {
    fn new(flush: &str) -> Self {
        let mut harness = Harness::new(1, &format!("flushDiskType = {flush}\n"));
        let shard = harness.shard(ShardId(0));
        let topic = shard.metadata.topics.plan(TopicSpec::plain("T", 4, Perm::READ_WRITE));
        shard.metadata.apply(&Change::TopicPut(topic));
        let origin = harness.connect(ShardId(0));
        Bench { harness, origin, out: Effects::default() }
    }

    /// Allocations of `REQUESTS` requests after as many to warm up.
    fn count(&mut self, frames: &[Vec<u8>]) -> u64 {
        self.play(frames);
        let before = COUNT.with(Cell::get);
        self.play(frames);
        COUNT.with(Cell::get) - before
    }

    fn play(&mut self, frames: &[Vec<u8>]) {
        for n in 0..REQUESTS {
            let bytes = &frames[n as usize % frames.len()];
            let frame = frame::split(bytes).unwrap().unwrap();
            let command = Command::parse(frame).unwrap();
            let now = self.harness.now;
            let shard = self.harness.shard(ShardId(0));
            let _ = shard.place(&self.origin, &command);
            let input = Input::Request { origin: self.origin, command: &command, frame: bytes };
            shard.apply(now, input, &mut self.out);
            while let Some(base) = shard.log.wanted_segment() {
                shard.log.segment_ready(base);
            }
            while let Some(plan) = shard.log.next_write(Urge::Sync) {
                shard.apply(now, Input::Written { seq: plan.seq, result: Ok(()) }, &mut self.out);
            }
            assert_eq!(self.out.sends.len(), 1);
            self.out.clear();
        }
    }
}

fn request(spelling: Spelling, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = encode::begin(&mut bytes, &Head::request(spelling, code, 7));
    for (key, value) in fields {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(body).unwrap();
    bytes
}

fn send(spelling: Spelling) -> Vec<u8> {
    let properties =
        "KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}7F0000010A0B18B4AAC2336F1B2C0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}A\u{2}";
    let fields = [
        ("a", "PG"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
    ];
    request(spelling, 310, &fields, &[7; 1024])
}

#[test]
fn a_send_does_not_allocate() {
    for spelling in [Spelling::Json, Spelling::Binary] {
        for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
            let counted = Bench::new(flush).count(&[send(spelling)]);
            assert!(counted <= GROWTH, "{counted} allocations in {REQUESTS} sends, {spelling:?}, {flush}");
        }
    }
}

#[test]
fn a_pull_does_not_allocate() {
    let mut bench = Bench::new("ASYNC_FLUSH");
    bench.play(&[send(Spelling::Json)]);
    let pull = |offset: u64| {
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", "G"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", "6"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "15000"),
            ("subscription", "*"),
        ];
        request(Spelling::Json, 11, &fields, &[])
    };
    // The group is known, as it is once the first pull has created it.
    bench.harness.shard(ShardId(0)).metadata.apply(&Change::GroupPut(ringmq_core::group::Group::named("G")));
    let frames: Vec<_> = (0..100).map(|n| pull(n * 32)).collect();
    let counted = bench.count(&frames);
    assert_eq!(counted, 0, "{counted} allocations in {REQUESTS} pulls");
}
