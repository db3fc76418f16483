//! What one message costs at the boundary of `Shard::apply`, without sockets and disk.
//!
//! Prints nanoseconds of CPU time per message: send (async and sync, both spellings), batches of 32, pulls of 32. A send is measured
//! from the bytes of its frame to the bytes of its answer: cut, parse, place, apply, and for sync topics the log's write
//! plan and its completion, once per 64 messages as under load. Run with `cargo bench -p ringmq-core --bench apply`.

use std::hint::black_box;

use ringmq_core::effects::Effects;
use ringmq_core::event::{Input, Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::place::Place;
use ringmq_core::shard::Shard;
use ringmq_core::store::Urge;
use ringmq_core::topic::{Change, Perm, TopicSpec};
use ringmq_protocol::batch::BatchEntry;
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};

const MESSAGES: u64 = 1_000_000;
const PER_WRITE: u64 = 64;

fn main() {
    if cfg!(debug_assertions) {
        println!("a debug build: the numbers mean nothing");
    }
    for spelling in [Spelling::Json, Spelling::Binary] {
        for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
            let frame = send(spelling);
            let nanos = Bench::new(flush).run(&frame, 1, MESSAGES);
            println!("send 1 KiB, {spelling:?}, {flush}: {nanos:.0} ns/message");
        }
    }
    let nanos = Bench::new("ASYNC_FLUSH").run(&batch(32), 32, MESSAGES);
    println!("batch of 32 x 1 KiB, ASYNC_FLUSH: {nanos:.0} ns/message");
    println!("pull of 32 x 1 KiB: {:.0} ns/message", pulls());
}

/// CPU time of this thread: other work on the machine does not count (Linux; elsewhere the numbers are zero).
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

struct Bench {
    harness: Harness,
    origin: Origin,
    out: Effects,
}

impl Bench {
    fn new(flush: &str) -> Self {
        let mut harness = Harness::new(1, &format!("flushDiskType = {flush}\n"));
        let shard = harness.shard(ShardId(0));
        let topic = shard.metadata.topics.plan(TopicSpec::plain("bench", 4, Perm::READ_WRITE));
        shard.metadata.apply(&Change::TopicPut(topic));
        let origin = harness.connect(ShardId(0));
        Bench { harness, origin, out: Effects::default() }
    }

    /// Nanoseconds per message; each frame carries `per_frame` of them.
    fn run(&mut self, bytes: &[u8], per_frame: u64, messages: u64) -> f64 {
        self.rounds(bytes, messages / per_frame / 10);
        let start = cpu_nanos();
        self.rounds(bytes, messages / per_frame);
        (cpu_nanos() - start) as f64 / messages as f64
    }

    fn rounds(&mut self, bytes: &[u8], frames: u64) {
        for n in 0..frames {
            self.one(bytes);
            if n % PER_WRITE == PER_WRITE - 1 {
                self.write();
                assert!(self.out.sends.len() as u64 >= PER_WRITE);
                black_box(&self.out.bytes);
                self.out.clear();
            }
        }
    }

    fn one(&mut self, bytes: &[u8]) {
        let Bench { harness, origin, out, .. } = self;
        let now = harness.now;
        let shard = harness.shard(ShardId(0));
        let frame = frame::split(black_box(bytes)).unwrap().unwrap();
        let command = Command::parse(frame).unwrap();
        assert_eq!(shard.place(origin, &command), Place::Here);
        shard.apply(now, Input::Request { origin: *origin, command: &command, frame: bytes }, out);
    }

    /// Plans and completes writes as a disk that takes no time would; the bytes are not copied.
    fn write(&mut self) {
        let now = self.harness.now;
        let shard = self.harness.shard(ShardId(0));
        make_room(shard);
        while let Some(plan) = shard.log.next_write(Urge::Sync) {
            shard.apply(now, Input::Written { seq: plan.seq, result: Ok(()) }, &mut self.out);
        }
    }
}

fn make_room(shard: &mut Shard) {
    while let Some(base) = shard.log.wanted_segment() {
        shard.log.segment_ready(base);
    }
}

/// What the Java client sends for a message of 1 KiB with a tag and keys.
fn send(spelling: Spelling) -> Vec<u8> {
    let mut bytes = Vec::new();
    let fields = [
        ("a", "producer_group"),
        ("b", "bench"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "2"),
        ("f", "0"),
        ("g", "1795219200000"),
        ("h", "0"),
        (
            "i",
            "KEYS\u{1}order-42\u{2}UNIQ_KEY\u{1}7F0000010A0B18B4AAC2336F1B2C0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}",
        ),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
        ("n", "broker-a"),
    ];
    let mut encoder = encode::begin(&mut bytes, &Head::request(spelling, 310, 7));
    for (key, value) in fields {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(&[7; 1024]).unwrap();
    bytes
}

fn batch(messages: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let properties = "UNIQ_KEY\u{1}7F0000010A0B18B4AAC2336F1B2C0001\u{2}TAGS\u{1}TagA\u{2}";
    for _ in 0..messages {
        BatchEntry { flag: 0, body: &[7; 1024], properties }.encode(&mut body);
    }
    let mut bytes = Vec::new();
    let fields = [
        ("a", "producer_group"),
        ("b", "bench"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "2"),
        ("f", "0"),
        ("g", "1795219200000"),
        ("h", "0"),
        ("i", ""),
        ("m", "true"),
    ];
    let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, 320, 7));
    for (key, value) in fields {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(&body).unwrap();
    bytes
}

fn pulls() -> f64 {
    const STORED: u64 = 16_000;
    let mut bench = Bench::new("ASYNC_FLUSH");
    bench.rounds(&send(Spelling::Json), STORED);
    let pull = |offset: u64| {
        let mut bytes = Vec::new();
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", "consumer_group"),
            ("topic", "bench"),
            ("queueId", "2"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", "6"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "15000"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, 11, 7));
        for (key, value) in fields {
            encoder = encoder.pair(key, value);
        }
        encoder.finish(0).unwrap();
        bytes
    };
    let frames: Vec<Vec<u8>> = (0..STORED / 32).map(|n| pull(n * 32)).collect();
    let start = cpu_nanos();
    let mut pulled = 0;
    for frame in frames.iter().cycle().take(20 * frames.len()) {
        bench.one(frame);
        assert!(bench.out.bytes.len() > 32 * 1024);
        bench.out.clear();
        pulled += 32;
    }
    (cpu_nanos() - start) as f64 / f64::from(pulled)
}
