//! Many queues drained at once from a log that is no longer in memory: it is read about once, whatever the readers' paces.
//!
//! Owns a disk that takes its time and consumers that take theirs, one pull under way each; time is a count of steps.

use std::collections::VecDeque;

use ringmq_core::event::{Input, Origin, ReadId, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::store::{RangeOf, ReadPlan};
use ringmq_core::topic::{Change, Perm, TopicSpec};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};

const SHARD: ShardId = ShardId(0);
const QUEUES: usize = 8;
const BODY: usize = 8 * 1024;
/// Messages that are sent to one queue in a row, and that one pull gets.
const BATCH: usize = 4;
const BATCHES: usize = 3_000;

/// Steps the disk takes for a mebibyte. Readers use a fourth of that in one pull, of all queues together.
const STEPS_PER_MIB: u64 = 8;

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn request(code: i32, fields: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, code, 1));
    for (key, value) in fields {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(body).unwrap();
    bytes
}

/// A broker whose queues hold messages in an order that chance made; gives how many each has.
fn backlog(dice: &mut Dice) -> (Harness, [i64; QUEUES]) {
    let mut harness = Harness::with_sizes(1, "flushDiskType = ASYNC_FLUSH\n", 32 << 20, 2 << 20);
    let shard = harness.shard(SHARD);
    let topic = shard.metadata.topics.plan(TopicSpec::plain("T", QUEUES as u32, Perm::READ_WRITE));
    shard.metadata.apply(&Change::TopicPut(topic));
    let producer = harness.connect(SHARD);
    let mut sent = [0; QUEUES];
    for _ in 0..BATCHES {
        let queue = dice.below(QUEUES as u64) as usize;
        for _ in 0..BATCH {
            let fields = [("a", "PG"), ("b", "T"), ("e", &*queue.to_string()), ("f", "0"), ("g", "1"), ("h", "0")]
                .map(|(key, value)| (key, value.to_owned()));
            harness.request(producer, &request(310, &fields, &[7; BODY]));
            harness.take(producer.conn).expect("it is answered at once");
            sent[queue] += 1;
        }
        harness.flush();
    }
    harness.eager = false;
    (harness, sent)
}

struct Consumer {
    origin: Origin,
    offset: i64,
    end: i64,
    /// The step in which it pulls again; none while a pull is under way.
    pulls_at: Option<u64>,
    /// Steps between an answer and the next pull.
    pace: u64,
}

struct Drain {
    harness: Harness,
    consumers: Vec<Consumer>,
    /// Reads of the log, and the step in which the disk is done with the first.
    reads: VecDeque<(ReadId, ReadPlan)>,
    done_at: u64,
    step: u64,
    log_bytes: u64,
}

impl Drain {
    fn new(harness: Harness, sent: [i64; QUEUES], paces: [u64; QUEUES]) -> Self {
        let mut drain =
            Drain { harness, consumers: Vec::new(), reads: VecDeque::new(), done_at: 0, step: 0, log_bytes: 0 };
        for (end, pace) in sent.into_iter().zip(paces) {
            let origin = drain.harness.connect(SHARD);
            drain.consumers.push(Consumer { origin, offset: 0, end, pulls_at: Some(0), pace });
        }
        drain
    }

    /// Gives a finished read to the shard.
    fn supply(&mut self, id: ReadId, plan: &ReadPlan) {
        let disk = &self.harness.nodes[0].disk;
        let bytes: Vec<u8> = plan.ranges().iter().flat_map(|range| disk.read(range)).collect();
        self.harness.apply(SHARD, Input::Read { id, result: Ok(&bytes) });
    }

    /// The disk goes on; pages of indexes, which are few bytes, come at once.
    fn serve_disk(&mut self) {
        while let Some((id, plan)) = self.harness.nodes[0].reads.pop_front() {
            if plan.ranges().iter().all(|range| matches!(range.file, RangeOf::Log(_))) {
                self.log_bytes += plan.bytes();
                if self.reads.is_empty() {
                    self.done_at = self.step + plan.bytes() * STEPS_PER_MIB / (1 << 20);
                }
                self.reads.push_back((id, plan));
            } else {
                self.supply(id, &plan);
            }
        }
        if self.done_at <= self.step
            && let Some((id, plan)) = self.reads.pop_front()
        {
            if let Some((_, next)) = self.reads.front() {
                self.done_at = self.step + next.bytes() * STEPS_PER_MIB / (1 << 20);
            }
            self.supply(id, &plan);
        }
    }

    fn pull(&mut self, queue: usize) {
        let Consumer { origin, offset, .. } = self.consumers[queue];
        let fields = [
            ("consumerGroup", "G".to_owned()),
            ("topic", "T".to_owned()),
            ("queueId", queue.to_string()),
            ("queueOffset", offset.to_string()),
            ("maxMsgNums", BATCH.to_string()),
            ("sysFlag", "4".to_owned()),
            ("commitOffset", "0".to_owned()),
            ("suspendTimeoutMillis", "0".to_owned()),
            ("subscription", "*".to_owned()),
            ("subVersion", "0".to_owned()),
        ];
        self.harness.request(origin, &request(11, &fields, &[]));
    }

    /// Runs until everything was received; now and then a consumer is away for `pause` steps.
    fn run(&mut self, dice: &mut Dice, pause: u64) {
        while self.consumers.iter().any(|consumer| consumer.offset < consumer.end) {
            self.serve_disk();
            for queue in 0..QUEUES {
                let consumer = &mut self.consumers[queue];
                if let Some(answer) = self.harness.take(consumer.origin.conn) {
                    let command = Command::parse(frame::split(&answer).unwrap().unwrap()).unwrap();
                    assert_eq!(command.code, 0);
                    consumer.offset = command.ext.get("nextBeginOffset").and_then(|next| next.parse_i64()).unwrap();
                    let away = if dice.below(64) == 0 { pause } else { 0 };
                    consumer.pulls_at = Some(self.step + consumer.pace + away);
                }
                let due = consumer.pulls_at.is_some_and(|at| at <= self.step) && consumer.offset < consumer.end;
                if due {
                    consumer.pulls_at = None;
                    self.pull(queue);
                }
            }
            self.step += 1;
        }
    }
}

/// Bytes read of the log for each byte of it, in hundredths, and steps for each mebibyte.
fn drained(seed: u64, paces: [u64; QUEUES], pause: u64) -> (u64, u64) {
    let mut dice = Dice(seed);
    let (harness, sent) = backlog(&mut dice);
    let mut drain = Drain::new(harness, sent, paces);
    let log = drain.harness.shard(SHARD).log.durable().0;
    assert!(log > 90 << 20, "many times the cache");
    drain.run(&mut dice, pause);
    (drain.log_bytes * 100 / log, drain.step / (log >> 20))
}

/// Who serves the first one first and forgets what was used longest ago reads 190, 140 and 130 % of the log in the last three.
#[test]
fn the_log_is_read_once_for_all_queues() {
    let cases = [
        ([0; QUEUES], 0),
        ([0, 0, 1, 0, 1, 0, 0, 1], 20),
        ([0, 0, 1, 0, 1, 0, 0, 1], 40),
        ([0; QUEUES], 40),
        ([0, 0, 0, 0, 0, 0, 0, 2], 0),
    ];
    for (paces, pause) in cases {
        let (read, steps) = drained(7, paces, pause);
        println!("{paces:?} {pause}: {read} % of the log was read, {steps} steps a MiB");
        assert!(read <= 110, "{paces:?} {pause}: {read} % of the log was read");
        assert!(steps <= STEPS_PER_MIB * 3 / 2, "{paces:?} {pause}: {steps} steps a mebibyte");
    }
}
