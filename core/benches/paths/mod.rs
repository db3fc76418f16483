//! What the benches send through a shard: one shard without sockets and disk, and the frames that clients send.
//!
//! Owns the way of a frame as the driver has it (cut, parse, place, apply, the log's writes planned and completed) and nothing of
//! how it is measured.

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

/// Requests between two writes to the disk, as under load.
const PER_WRITE: u64 = 64;

/// Memory of the log's end: what is pulled again and again fits in.
const TAIL: u64 = 8 << 20;

/// What is in front of the part of a UNIQ_KEY that counts.
const COUNTED: &[u8] = b"7F0000010A0B18B4AAC2336F1B2C";

/// One shard, a connection to it, and what it has to say.
pub struct Path {
    harness: Harness,
    origin: Origin,
    pub out: Effects,
    sent: u16,
}

impl Path {
    /// A shard with one topic, `bench`.
    pub fn new(flush: &str) -> Self {
        // A tail that is full soon: memory of its own for every chunk is not how it goes on.
        let mut harness = Harness::with_sizes(1, &format!("flushDiskType = {flush}\n"), 64 << 20, TAIL);
        let shard = harness.shard(ShardId(0));
        let topic = shard.metadata.topics.plan(TopicSpec::plain("bench", 4, Perm::READ_WRITE));
        shard.metadata.apply(&Change::TopicPut(topic));
        let origin = harness.connect(ShardId(0));
        Path { harness, origin, out: Effects::default(), sent: 0 }
    }

    /// Sends the frame so often, every message with a UNIQ_KEY of its own, and has it written as under load.
    pub fn send(&mut self, bytes: &mut [u8], frames: u64) {
        let counters = counters(bytes);
        for n in 0..frames {
            for &at in &counters {
                self.sent = self.sent.wrapping_add(1);
                // Scattered like those of many producers.
                put_hex(&mut bytes[at..at + 4], self.sent.wrapping_mul(40_503));
            }
            self.one(bytes);
            if n % PER_WRITE == PER_WRITE - 1 {
                self.write();
                assert!(self.out.sends.len() as u64 >= PER_WRITE);
                black_box(&self.out.bytes);
                self.out.clear();
            }
        }
    }

    /// Pulls 32 messages so often, from the beginning of the `stored` ones again and again.
    pub fn pull(&mut self, pulls: u64, stored: u64) {
        let frames: Vec<Vec<u8>> = (0..stored / 32).map(|n| pull(n * 32)).collect();
        for frame in frames.iter().cycle().take(pulls as usize) {
            self.one(frame);
            assert!(self.out.bytes.len() > 32 * 1024);
            black_box(&self.out.bytes);
            self.out.clear();
        }
    }

    fn one(&mut self, bytes: &[u8]) {
        let Path { harness, origin, out, .. } = self;
        let now = harness.now;
        let shard = harness.shard(ShardId(0));
        let frame = frame::split(black_box(bytes)).unwrap().unwrap();
        let parsed = Command::parse(frame);
        let command = parsed.as_ref().unwrap();
        assert_eq!(shard.place(origin, command), Place::Here);
        shard.apply(now, Input::Request { origin: *origin, command, frame: bytes }, out);
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
pub fn send(spelling: Spelling) -> Vec<u8> {
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

/// A batch of so many messages of 1 KiB.
pub fn batch(messages: usize) -> Vec<u8> {
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

/// A pull of 32 messages from this offset on.
fn pull(offset: u64) -> Vec<u8> {
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
}

/// Where in a frame the counting parts of its UNIQ_KEYs are.
fn counters(bytes: &[u8]) -> Vec<usize> {
    let found = bytes.windows(COUNTED.len()).enumerate().filter(|(_, window)| *window == COUNTED);
    found.map(|(at, _)| at + COUNTED.len()).collect()
}

fn put_hex(place: &mut [u8], value: u16) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (at, byte) in place.iter_mut().enumerate() {
        *byte = HEX[usize::from(value >> (12 - 4 * at)) & 15];
    }
}
