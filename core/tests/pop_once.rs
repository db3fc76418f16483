//! POP under random histories: sends, pops, acks, changed times, time, crashes and restarts on two shards.
//!
//! Owns a small world (a sync topic, one group) and what must hold in it: a message whose ack was answered in its time is
//! never delivered again; everything else that a producer was told of is delivered until it is acknowledged.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringmq_core::event::{Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::store::Urge;
use ringmq_core::topic::{Attributes, Change, Perm, TopicSpec};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::properties;
use ringmq_protocol::record;

const QUEUES: u32 = 3;
const INVISIBLE_MS: u64 = 5_000;

#[derive(Debug, Clone)]
enum Step {
    Send {
        queue: u32,
    },
    Pop {
        max: u32,
    },
    /// Acknowledges one of the receipts, the newest being 0.
    Ack {
        which: usize,
    },
    Change {
        which: usize,
        ms: u64,
    },
    Advance {
        ms: u64,
    },
    Write,
    Checkpoint,
    Crash,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..QUEUES).prop_map(|queue| Step::Send { queue }),
        6 => (1u32..5).prop_map(|max| Step::Pop { max }),
        6 => (0usize..6).prop_map(|which| Step::Ack { which }),
        2 => (0usize..4, 1u64..9_000).prop_map(|(which, ms)| Step::Change { which, ms }),
        4 => prop_oneof![0u64..50, 0u64..6_000].prop_map(|ms| Step::Advance { ms }),
        5 => Just(Step::Write),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, Default)]
struct Sent {
    stored: bool,
    /// The ack was answered, and it was in time: the newest request by then. A pop asked for earlier may have taken the
    /// message before, and answer with it when the disk has read it.
    finished: Option<i32>,
    /// An ack was answered too late, or never: it may have counted.
    perhaps: bool,
}

/// What a client knows of a popped message.
#[derive(Debug, Clone)]
struct Held {
    n: usize,
    /// start, pop time, invisible time, source, queue, offset.
    receipt: [String; 6],
    /// Mono microseconds.
    until: u64,
}

enum Asked {
    Send(usize),
    /// `until`: when the messages are anybody's again, however long the answer takes.
    Pop {
        until: u64,
    },
    Ack {
        n: usize,
        in_time: bool,
    },
    /// `until`: when the new time is over.
    Change {
        held: Held,
        until: u64,
    },
}

struct World {
    harness: Harness,
    client: Origin,
    opaque: i32,
    sent: Vec<Sent>,
    held: Vec<Held>,
    open: BTreeMap<i32, Asked>,
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::new(2, "");
        let client = harness.connect(ShardId(0));
        let mut world = World { harness, client, opaque: 0, sent: Vec::new(), held: Vec::new(), open: BTreeMap::new() };
        world.begin();
        world
    }

    /// After a start: the topic again (it was made without a client), and writes wait for the test.
    fn begin(&mut self) {
        let attributes = Attributes::default().changed("+flush.type=SYNC", true).unwrap();
        let spec = TopicSpec { attributes, ..TopicSpec::plain("T", QUEUES, Perm::READ_WRITE) };
        let change = Change::TopicPut(self.harness.shard(ShardId(0)).metadata.topics.plan(spec));
        self.harness.make(&change);
        self.harness.settle();
        self.harness.eager = false;
        self.client = self.harness.connect(ShardId(0));
        for asked in std::mem::take(&mut self.open).into_values() {
            if let Asked::Ack { n, .. } = asked {
                self.sent[n].perhaps = true;
            }
        }
    }

    fn request(&mut self, code: i32, fields: &[(&str, String)], body: &[u8], asked: Asked) {
        self.opaque += 1;
        let mut bytes = Vec::new();
        let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, code, self.opaque));
        for (key, value) in fields {
            encoder = encoder.pair(key, value);
        }
        encoder.finish_with(body).unwrap();
        self.open.insert(self.opaque, asked);
        self.harness.request(self.client, &bytes);
    }

    fn send(&mut self, queue: u32) {
        let n = self.sent.len();
        self.sent.push(Sent::default());
        let properties = properties::build([("UNIQ_KEY", &*format!("U{n}"))]);
        let fields = [
            ("a", "PG".to_owned()),
            ("b", "T".to_owned()),
            ("e", queue.to_string()),
            ("f", "0".to_owned()),
            ("g", "1".to_owned()),
            ("h", "0".to_owned()),
            ("i", properties),
        ];
        self.request(310, &fields, n.to_string().as_bytes(), Asked::Send(n));
    }

    fn pop(&mut self, max: u32) {
        let fields = [
            ("consumerGroup", "G".to_owned()),
            ("topic", "T".to_owned()),
            ("queueId", "-1".to_owned()),
            ("maxMsgNums", max.to_string()),
            ("invisibleTime", INVISIBLE_MS.to_string()),
            ("pollTime", "0".to_owned()),
            ("initMode", "0".to_owned()),
        ];
        let until = self.harness.now.mono_us + INVISIBLE_MS * 1_000;
        self.request(200_050, &fields, &[], Asked::Pop { until });
    }

    fn finish(&mut self, code: i32, held: &Held, more: Option<u64>) {
        let [start, pop_time, invisible, source, queue, offset] = &held.receipt;
        let info = format!("{start} {pop_time} {invisible} 0 {source} host {queue} {offset}");
        let mut fields = vec![
            ("consumerGroup", "G".to_owned()),
            ("topic", "T".to_owned()),
            ("queueId", queue.clone()),
            ("offset", offset.clone()),
            ("extraInfo", info),
        ];
        fields.extend(more.map(|ms| ("invisibleTime", ms.to_string())));
        let asked = match more {
            None => Asked::Ack { n: held.n, in_time: self.harness.now.mono_us < held.until },
            Some(ms) => Asked::Change { held: held.clone(), until: self.harness.now.mono_us + ms * 1_000 },
        };
        self.request(code, &fields, &[], asked);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { queue } => self.send(queue),
            Step::Pop { max } => self.pop(max),
            Step::Ack { which } => {
                if let Some(held) = self.held.iter().rev().nth(which).cloned() {
                    self.finish(200_051, &held, None);
                }
            }
            Step::Change { which, ms } => {
                if let Some(held) = self.held.iter().rev().nth(which).cloned() {
                    // From now on the old receipt, and all others of that message, are good for the shorter time only.
                    let until = self.harness.now.mono_us + ms * 1_000;
                    for other in self.held.iter_mut().filter(|other| other.n == held.n) {
                        other.until = other.until.min(until);
                    }
                    self.finish(200_053, &held, Some(ms));
                }
            }
            Step::Advance { ms } => self.harness.advance(ms),
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
    }

    fn write(&mut self) {
        self.harness.serve_reads();
        for id in self.harness.ids() {
            self.harness.start_writes(id, Urge::Sync);
            self.harness.complete_writes(id, Ok(()));
        }
        self.harness.settle();
    }

    fn take_answers(&mut self) {
        while let Some(bytes) = self.harness.take(self.client.conn) {
            let command = Command::parse(frame::split(&bytes).unwrap().unwrap()).unwrap();
            let Some(asked) = self.open.remove(&command.opaque) else { continue };
            match asked {
                Asked::Send(n) => {
                    assert_eq!(command.code, 0, "{:?}", command.remark);
                    self.sent[n].stored = true;
                }
                Asked::Pop { until } => self.popped(&command, until),
                Asked::Ack { n, in_time } => {
                    assert!(matches!(command.code, 0 | 208), "{:?}", command.remark);
                    if in_time && command.code == 0 {
                        self.sent[n].finished.get_or_insert(self.opaque);
                    }
                    self.sent[n].perhaps |= !in_time && command.code == 0;
                }
                Asked::Change { held, until } if command.code == 0 => {
                    let mut held = held;
                    let text = |key| command.ext.get(key).unwrap().to_cow().into_owned();
                    let offset = held.receipt[5].clone();
                    let (source, queue) = (held.receipt[3].clone(), held.receipt[4].clone());
                    held.receipt = [offset.clone(), text("popTime"), text("invisibleTime"), source, queue, offset];
                    held.until = until;
                    self.held.push(held);
                }
                Asked::Change { .. } => assert_eq!(command.code, 208, "{:?}", command.remark),
            }
        }
    }

    /// Reads the receipts as a client does, and checks that nothing finished is among the messages.
    fn popped(&mut self, command: &Command<'_>, until: u64) {
        if command.code != 0 {
            assert_eq!(command.code, 210, "{:?}", command.remark);
            return;
        }
        let text = |key| command.ext.get(key).unwrap().to_cow().into_owned();
        let mut receipts = Vec::new();
        let (starts, offsets) = (text("startOffsetInfo"), text("msgOffsetInfo"));
        for (start, offsets) in starts.split(';').zip(offsets.split(';')) {
            let start: Vec<&str> = start.split(' ').collect();
            let offsets: Vec<&str> = offsets.split(' ').collect();
            assert_eq!(start[..2], offsets[..2]);
            for offset in offsets[2].split(',') {
                let parts = [start[2], &text("popTime"), &text("invisibleTime"), start[0], start[1], offset];
                receipts.push(parts.map(str::to_owned));
            }
        }
        let mut receipts = receipts.into_iter();
        for message in record::iter(command.body) {
            let message = message.unwrap();
            message.check_body().unwrap();
            assert_eq!(message.topic(), "T");
            let n: usize = String::from_utf8_lossy(message.body()).parse().unwrap();
            assert!(self.sent[n].finished.is_none_or(|at| command.opaque <= at), "message {n} was acknowledged");
            let receipt = receipts.next().expect("a receipt for each message");
            assert_eq!(receipt[5], message.queue_offset().to_string());
            self.held.push(Held { n, receipt, until });
        }
        assert_eq!(receipts.next(), None);
    }

    /// Consumes everything, and checks that nothing is missing.
    fn end(&mut self) {
        // A disk that does at once what it is asked: a pop may need several reads, and at the end all count.
        self.harness.eager = true;
        let mut idle = 0;
        for _ in 0..10_000 {
            self.held.clear();
            self.pop(32);
            self.write();
            self.take_answers();
            idle = if self.held.is_empty() { idle + 1 } else { 0 };
            for held in std::mem::take(&mut self.held) {
                self.finish(200_051, &held, None);
            }
            self.write();
            self.write();
            self.take_answers();
            if idle > 6 {
                break;
            }
            if idle > 0 {
                self.harness.advance(4_000);
                self.write();
            }
        }
        for (n, sent) in self.sent.iter().enumerate().filter(|(_, sent)| sent.stored) {
            assert!(sent.finished.is_some() || sent.perhaps, "message {n} is delivered until it is acknowledged");
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
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").map_or(60, |n| n.parse().unwrap()), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_once_is_gone_for_good(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps);
    }
}
