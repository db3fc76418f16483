//! Delayed and transactional messages under random histories: sends, decisions, time, clock jumps, crashes and restarts.
//!
//! Owns a small world (two shards, a sync topic, a consumer that reads everything) and what must hold in it: what was
//! acknowledged is consumed exactly once and never before its time; what was rolled back or never decided is not consumed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringmq_core::event::{DiskError, Input, Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::limits::{DELAY_RETRY_MS, DELAY_UNREADABLE_AFTER};
use ringmq_core::store::Urge;
use ringmq_core::topic::{Attributes, Change, Perm, TopicSpec};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::properties;
use ringmq_protocol::record;

const QUEUES: u32 = 4;

/// Delay levels of the world, ms.
const LEVELS: [u64; 4] = [1_000, 2_000, 5_000, 30_000];

#[derive(Debug, Clone)]
enum Step {
    /// A message with this delay, of about this size.
    Send {
        queue: u32,
        delay: Delay,
        kib: usize,
    },
    /// A half message.
    Prepare {
        queue: u32,
    },
    /// A decision about one of the half messages, the newest being 0.
    Decide {
        which: usize,
        commit: bool,
    },
    Advance {
        ms: u64,
    },
    /// Somebody sets the wall clock; the broker notices within its second.
    Jump {
        ms: i64,
    },
    /// The disk does all it was given.
    Write,
    /// Everything is written, and a checkpoint.
    Checkpoint,
    Crash,
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Delay {
    Level(usize),
    Timer(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![(0..LEVELS.len()).prop_map(Delay::Level), (1u64..20_000).prop_map(Delay::Timer)];
    prop_oneof![
        6 => (0..QUEUES, delay, prop_oneof![3 => Just(0usize), 1 => 30usize..250])
            .prop_map(|(queue, delay, kib)| Step::Send { queue, delay, kib }),
        3 => (0..QUEUES).prop_map(|queue| Step::Prepare { queue }),
        3 => (0usize..4, any::<bool>()).prop_map(|(which, commit)| Step::Decide { which, commit }),
        5 => prop_oneof![0u64..50, 0u64..3_000, 0u64..40_000].prop_map(|ms| Step::Advance { ms }),
        1 => (-7_200_000i64..7_200_000).prop_map(|ms| Step::Jump { ms }),
        4 => Just(Step::Write),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

/// What is known of one message.
#[derive(Debug, Clone, Default)]
struct Sent {
    /// Mono time before which it must not be seen, microseconds.
    not_before: u64,
    acknowledged: bool,
    seen: u32,
    half: Option<Half>,
}

#[derive(Debug, Clone, Default)]
struct Half {
    physical: i64,
    offset: i64,
    /// Asked for; the last one counts unless it was refused.
    wanted: Option<bool>,
    /// Answered with success.
    decided: Option<bool>,
}

struct World {
    harness: Harness,
    client: Origin,
    opaque: i32,
    sent: Vec<Sent>,
    /// Message and what was asked, by request.
    open: BTreeMap<i32, (usize, Asked)>,
    /// How far the consumer has read each queue.
    read: [i64; QUEUES as usize],
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Send,
    Decision(bool),
}

impl World {
    fn new() -> Self {
        let levels = "messageDelayLevel = 1s 2s 5s 30s\ntransactionTimeOut = 1000\ntransactionCheckInterval = 1000\n\
                      transactionCheckMax = 10000\n";
        let mut harness = Harness::with_sizes(2, levels, 1 << 20, 2 << 20);
        let client = harness.connect(ShardId(0));
        let mut world = World { harness, client, opaque: 0, sent: Vec::new(), open: BTreeMap::new(), read: [0; 4] };
        world.begin();
        world
    }

    /// After a start: the topic again (it was made without a client), a new connection, and writes wait for the test.
    fn begin(&mut self) {
        let attributes = Attributes::default().changed("+flush.type=SYNC", true).unwrap();
        let spec = TopicSpec { attributes, ..TopicSpec::plain("T", QUEUES, Perm::READ_WRITE) };
        let change = Change::TopicPut(self.harness.shard(ShardId(0)).metadata.topics.plan(spec));
        self.harness.make(&change);
        self.harness.settle();
        self.harness.eager = false;
        self.client = self.harness.connect(ShardId(0));
        self.open.clear();
    }

    fn request(&mut self, code: i32, fields: &[(&str, String)], body: &[u8]) -> i32 {
        self.opaque += 1;
        let mut bytes = Vec::new();
        let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, code, self.opaque));
        for (key, value) in fields {
            encoder = encoder.pair(key, value);
        }
        encoder.finish_with(body).unwrap();
        self.harness.request(self.client, &bytes);
        self.opaque
    }

    fn send(&mut self, queue: u32, property: (&str, String), delay_ms: u64, kib: usize, half: Option<Half>) {
        let n = self.sent.len();
        let not_before = self.harness.now.mono_us + delay_ms * 1_000;
        self.sent.push(Sent { not_before, half, ..Sent::default() });
        let properties =
            properties::build([("UNIQ_KEY", &*format!("U{n}")), (property.0, &property.1), ("PGROUP", "PG")]);
        let fields = [
            ("a", "PG".to_owned()),
            ("b", "T".to_owned()),
            ("e", queue.to_string()),
            ("f", "0".to_owned()),
            ("g", "1".to_owned()),
            ("h", "0".to_owned()),
            ("i", properties),
        ];
        let mut body = format!("{n} ").into_bytes();
        body.resize(body.len() + (kib << 10), b'x');
        let opaque = self.request(310, &fields, &body);
        self.open.insert(opaque, (n, Asked::Send));
    }

    fn decide(&mut self, which: usize, commit: bool) {
        let decidable = |sent: &&(usize, &Sent)| sent.1.acknowledged && sent.1.half.is_some();
        let halves: Vec<usize> = self.sent.iter().enumerate().filter(|sent| decidable(&sent)).map(|(n, _)| n).collect();
        let Some(&n) = halves.iter().rev().nth(which) else { return };
        let Some(half) = &mut self.sent[n].half else { return };
        // Only who was not answered asks again, and then the same.
        let commit = half.wanted.unwrap_or(commit);
        half.wanted = Some(commit);
        let fields = [
            ("producerGroup", "PG".to_owned()),
            ("tranStateTableOffset", half.offset.to_string()),
            ("commitLogOffset", half.physical.to_string()),
            ("commitOrRollback", if commit { "8" } else { "12" }.to_owned()),
            ("msgId", format!("U{n}")),
        ];
        let opaque = self.request(37, &fields, &[]);
        self.open.insert(opaque, (n, Asked::Decision(commit)));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { queue, delay, kib } => {
                let (property, delay_ms) = match delay {
                    Delay::Level(level) => (("DELAY", (level + 1).to_string()), LEVELS[level]),
                    Delay::Timer(ms) => (("TIMER_DELAY_MS", ms.to_string()), ms),
                };
                self.send(queue, property, delay_ms, kib, None);
            }
            Step::Prepare { queue } => {
                self.send(queue, ("TRAN_MSG", "true".to_owned()), 0, 0, Some(Half::default()));
            }
            Step::Decide { which, commit } => self.decide(which, commit),
            Step::Advance { ms } => self.harness.advance(ms),
            Step::Jump { ms } => {
                self.harness.now.wall_ms += ms;
                self.harness.advance(1_001);
                // What it noted of the jump must be on disk: a crash before that leaves only the wrong clock. One round
                // of writes is not enough, frames beyond the largest single write leave a remainder.
                self.harness.flush();
            }
            Step::Write => self.write(),
            Step::Checkpoint => {
                self.harness.flush();
                self.harness.checkpoint();
            }
            Step::Crash => {
                self.harness.eager = true;
                self.harness.crash().unwrap();
                self.begin();
            }
            Step::Restart => {
                self.harness.eager = true;
                self.harness.restart().unwrap();
                self.begin();
            }
        }
        self.take_answers();
        self.consume();
    }

    fn write(&mut self) {
        for id in self.harness.ids() {
            self.harness.serve_reads();
            self.harness.start_writes(id, Urge::Sync);
            self.harness.complete_writes(id, Ok(()));
        }
        self.harness.settle();
    }

    /// Reads every answer that has come.
    fn take_answers(&mut self) {
        while let Some(bytes) = self.harness.take(self.client.conn) {
            let command = Command::parse(frame::split(&bytes).unwrap().unwrap()).unwrap();
            let Some((n, asked)) = self.open.remove(&command.opaque) else { continue };
            let sent = &mut self.sent[n];
            match asked {
                Asked::Send => {
                    assert_eq!(command.code, 0, "{:?}", command.remark);
                    sent.acknowledged = true;
                    if let Some(half) = &mut sent.half {
                        let id = OffsetId::decode(&command.ext.get("msgId").unwrap().to_cow()).unwrap();
                        half.physical = id.offset;
                        half.offset = command.ext.get("queueOffset").unwrap().parse_i64().unwrap();
                    }
                }
                // A refusal: it was decided by an earlier request whose answer was lost.
                Asked::Decision(commit) => {
                    let half = sent.half.as_mut().unwrap();
                    half.decided = half.decided.or(Some(commit).filter(|_| command.code == 0));
                }
            }
        }
    }

    /// Reads all queues to their ends and checks what is there.
    fn consume(&mut self) {
        for queue in 0..QUEUES {
            while let Some(body) = self.pull(queue) {
                for message in record::iter(&body) {
                    let message = message.unwrap();
                    message.check_body().unwrap();
                    assert_eq!((message.queue_id(), message.topic()), (queue as i32, "T"));
                    assert_eq!(message.queue_offset(), self.read[queue as usize]);
                    self.read[queue as usize] += 1;
                    let text = String::from_utf8_lossy(message.body()).into_owned();
                    let n: usize = text.split(' ').next().unwrap().parse().unwrap();
                    let now = self.harness.now.mono_us;
                    let sent = &mut self.sent[n];
                    sent.seen += 1;
                    assert_eq!(sent.seen, 1, "message {n} is consumed once");
                    assert!(now >= sent.not_before, "message {n} is {} us early", sent.not_before - now);
                    if let Some(half) = &sent.half {
                        assert_eq!(half.wanted, Some(true), "message {n} was committed");
                    }
                }
            }
        }
    }

    fn pull(&mut self, queue: u32) -> Option<Vec<u8>> {
        let fields = [
            ("consumerGroup", "G".to_owned()),
            ("topic", "T".to_owned()),
            ("queueId", queue.to_string()),
            ("queueOffset", self.read[queue as usize].to_string()),
            ("maxMsgNums", "32".to_owned()),
            ("sysFlag", "4".to_owned()),
            ("commitOffset", "0".to_owned()),
            ("suspendTimeoutMillis", "0".to_owned()),
            ("subscription", "*".to_owned()),
            ("subVersion", "0".to_owned()),
        ];
        let client = self.harness.connect(ShardId(0));
        let before = std::mem::replace(&mut self.client, client);
        self.request(11, &fields, &[]);
        while self.harness.serve_reads() {
            self.harness.settle();
        }
        self.client = before;
        let bytes = self.harness.take(client.conn).expect("a pull that is not held is answered");
        let command = Command::parse(frame::split(&bytes).unwrap().unwrap()).unwrap();
        (command.code == 0).then(|| command.body.to_vec())
    }

    /// Lets everything become due, and checks that nothing is missing.
    fn end(&mut self) {
        // A disk that does at once what it is asked: every delivery may need a read of its own, and at the end all count.
        self.harness.eager = true;
        for _ in 0..4 {
            self.harness.advance(40_000);
            // What was not urgent, too.
            self.harness.flush();
            self.take_answers();
            self.consume();
        }
        for (n, sent) in self.sent.iter().enumerate() {
            match &sent.half {
                None if sent.acknowledged => assert_eq!(sent.seen, 1, "message {n} was acknowledged"),
                Some(half) if half.decided == Some(true) => assert_eq!(sent.seen, 1, "message {n} was committed"),
                Some(half) if half.decided == Some(false) => assert_eq!(sent.seen, 0, "message {n} was rolled back"),
                _ => {}
            }
        }
        assert!(self.harness.faults.is_empty());
    }
}

fn play(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        world.step(step);
    }
    world.end();
    // And once more over what is on disk.
    world.step(&Step::Crash);
    world.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").map_or(200, |n| n.parse().unwrap()), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_message_is_delivered_once_and_never_early(steps in proptest::collection::vec(step(), 1..80)) {
        play(&steps);
    }
}

/// A disk that cannot give one delayed message back holds up the others for a second, not for ever; a disk that
/// failed now and then costs none.
#[test]
fn a_message_that_cannot_be_read_is_given_up_alone() {
    let mut world = World::new();
    for _ in 0..2 {
        world.send(0, ("DELAY", "2".to_owned()), 2_000, 0, None);
        world.write();
    }
    // Enough that the first ones are no longer in memory.
    for _ in 0..5 {
        world.send(0, ("k", "v".to_owned()), 0, 900, None);
        world.write();
    }
    world.take_answers();
    world.harness.advance(2_000);
    // Both together once, then the first one alone.
    let mut failures = 0;
    while failures < 1 + DELAY_UNREADABLE_AFTER {
        let read = world.harness.nodes[0].reads.pop_front();
        match read {
            Some((id, _)) => {
                world.harness.apply(ShardId(0), Input::Read { id, result: Err(DiskError { errno: 5 }) });
                failures += 1;
            }
            None => world.harness.advance(DELAY_RETRY_MS),
        }
    }
    assert_eq!(world.harness.shard(ShardId(0)).counts.delays_lost, 1);
    world.sent[0].acknowledged = false;
    world.end();
    assert_eq!((world.sent[0].seen, world.sent[1].seen), (0, 1));
}

/// A history with everything in it, always the same.
#[test]
fn a_long_history() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let steps = proptest::collection::vec(step(), 1_500).new_tree(&mut runner).unwrap().current();
    play(&steps);
}
