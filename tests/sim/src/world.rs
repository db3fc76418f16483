//! One run: shards, disks, clients, and a seed that decides what happens next.
//!
//! Owns the actions and their odds. Everything that goes wrong is an `Err` with a sentence; the step and the seed are
//! added by the caller.

use std::collections::BTreeMap;

use ringmq_core::event::{DiskError, Input, Origin, ShardId};
use ringmq_core::harness::{Harness, Received};
use ringmq_core::store::{Checkpoint, IndexBuild, Urge};
use ringmq_protocol::command::Command;
use ringmq_protocol::frame;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::OffsetReply;
use ringmq_protocol::headers::pull::PullReply;
use ringmq_protocol::headers::send::SendReply;
use ringmq_protocol::record;
use ringmq_protocol::response_code::ResponseCode;

use crate::disk;
use crate::ledger::{After, Ledger, QueueKey};
use crate::random::Random;
use crate::wire::{self, QueueName};

/// Queues of each topic.
const QUEUES: i32 = 3;

/// Queues of a topic that its first message makes.
const NEW_TOPIC_QUEUES: i32 = 4;

/// Producers, each with one connection.
const PRODUCERS: usize = 3;

/// Largest usual body, bytes.
const BODY: u64 = 3_000;

/// Requests of one producer without an answer.
const PIPELINE: usize = 24;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A checksum over every frame that clients received, in order: equal for equal seeds.
    pub trace: u64,
    pub sent: usize,
    pub kept: usize,
    pub cuts: u32,
    pub stops: u32,
    pub faults: u32,
}

/// What an answer is about.
#[derive(Debug, Clone)]
enum Asked {
    Send { first: usize, count: usize },
    Pull { queue: QueueKey, offset: i64 },
    StoreOffset { queue: QueueKey, offset: i64 },
}

/// A run under way.
pub struct World {
    harness: Harness,
    random: Random,
    ledger: Ledger,
    /// Topics that exist or were asked for, and whether they promise to keep what they acknowledge.
    topics: BTreeMap<String, bool>,
    producers: Vec<Origin>,
    consumer: Origin,
    open: BTreeMap<(u32, i32), Asked>,
    next_opaque: i32,
    checkpoints: Vec<(ShardId, Checkpoint)>,
    builds: Vec<(ShardId, IndexBuild)>,
    /// Offsets that were committed and acknowledged last, and all that were ever asked for.
    stored: BTreeMap<QueueKey, i64>,
    asked_offsets: BTreeMap<QueueKey, Vec<i64>>,
    outcome: Outcome,
}

impl World {
    /// The world of a seed.
    ///
    /// # Errors
    /// The broker does not make its topics.
    pub fn new(seed: u64) -> Result<World, String> {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(4) as u16;
        let segment = [64 << 10, 128 << 10, 1 << 20][random.index(3)];
        let tail = [1 << 20, 4 << 20][random.index(2)];
        let settings = "brokerName=sim\nbrokerClusterName=sim\nflushDiskType=SYNC_FLUSH\n";
        let mut harness = Harness::with_sizes(shards, settings, segment, tail);
        let consumer = harness.connect(ShardId(0));
        let trace = seed;
        let mut world = World {
            harness,
            random,
            ledger: Ledger::default(),
            topics: BTreeMap::new(),
            producers: Vec::new(),
            consumer,
            open: BTreeMap::new(),
            next_opaque: 0,
            checkpoints: Vec::new(),
            builds: Vec::new(),
            stored: BTreeMap::new(),
            asked_offsets: BTreeMap::new(),
            outcome: Outcome { trace, sent: 0, kept: 0, cuts: 0, stops: 0, faults: 0 },
        };
        world.make_topic("sync", true)?;
        world.make_topic("async", false)?;
        world.connect();
        world.harness.eager = false;
        world.harness.prompt = false;
        Ok(world)
    }

    fn make_topic(&mut self, topic: &str, durable: bool) -> Result<(), String> {
        let attributes = if durable { "+flush.type=SYNC" } else { "+flush.type=ASYNC" };
        let opaque = self.opaque();
        let answer = self.ask_now(&wire::create_topic(opaque, topic, QUEUES, attributes))?;
        with_command(&answer, |command| match command.code {
            0 => Ok(()),
            code => Err(format!("topic {topic} was not made: code {code}, {:?}", command.remark)),
        })?;
        self.topics.insert(topic.to_owned(), durable);
        Ok(())
    }

    fn connect(&mut self) {
        let shards = self.harness.nodes.len();
        self.producers = (0..PRODUCERS)
            .map(|_| {
                let home = ShardId(self.random.index(shards) as u16);
                self.harness.connect(home)
            })
            .collect();
        let home = ShardId(self.random.index(shards) as u16);
        self.consumer = self.harness.connect(home);
    }

    fn opaque(&mut self) -> i32 {
        self.next_opaque += 1;
        self.next_opaque
    }

    /// Lives through `steps` actions, then a last power cut.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn run(mut self, steps: u32) -> Result<Outcome, String> {
        for step in 0..steps {
            self.step().map_err(|why| format!("step {step}: {why}"))?;
            self.listen().map_err(|why| format!("step {step}: {why}"))?;
        }
        self.restart(After::Cut).map_err(|why| format!("after the last power cut: {why}"))?;
        let Outcome { trace, cuts, stops, faults, .. } = self.outcome;
        Ok(Outcome { trace, sent: self.ledger.len(), kept: self.ledger.kept(), cuts, stops, faults })
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(1_000) {
            0..300 => self.send(),
            300..520 => self.deliver(),
            520..660 => self.start_writes(),
            660..800 => self.finish_write(),
            800..850 => self.pull(),
            850..880 => self.serve_read(),
            880..940 => self.let_time_pass(),
            940..960 => self.store_offset(),
            960..975 => self.build_index(),
            975..985 => self.take_checkpoint(),
            985..986 => self.fail_write(),
            986..994 => return self.restart(After::Cut),
            _ => return self.restart(After::Stop),
        }
        Ok(())
    }

    fn node(&mut self) -> ShardId {
        ShardId(self.random.index(self.harness.nodes.len()) as u16)
    }

    fn a_queue(&mut self) -> (String, i32) {
        let names: Vec<&String> = self.topics.keys().collect();
        let topic = names[self.random.index(names.len())].clone();
        (topic, self.random.below(QUEUES as u64) as i32)
    }

    fn send(&mut self) {
        let producer = self.random.index(PRODUCERS);
        let origin = self.producers[producer];
        let slot = origin.conn.slot;
        if self.open.keys().filter(|(conn, _)| *conn == slot).count() >= PIPELINE {
            return;
        }
        // Now and then a topic that nobody made: its first messages wait until control has decided.
        let (topic, queue) = if self.random.percent(4) {
            (format!("new-{}", self.random.below(6)), self.random.below(QUEUES as u64) as i32)
        } else {
            self.a_queue()
        };
        let durable = *self.topics.entry(topic.clone()).or_insert(true);
        let count = if self.random.percent(10) { 1 + self.random.index(5) } else { 1 };
        let first = self.ledger.len();
        let bodies: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let number = self.ledger.sent((topic.clone(), queue), producer, durable);
                self.body(number)
            })
            .collect();
        let opaque = self.opaque();
        let to = QueueName { topic: &topic, queue };
        let now_ms = self.harness.now.wall_ms;
        let frame = match bodies.as_slice() {
            [body] => wire::send(opaque, to, now_ms, body),
            bodies => wire::send_batch(opaque, to, now_ms, bodies),
        };
        self.open.insert((slot, opaque), Asked::Send { first, count });
        self.harness.request(origin, &frame);
    }

    /// A body that says which message it is and can be checked.
    fn body(&mut self, number: usize) -> Vec<u8> {
        let length = match self.random.below(50) {
            0 => self.random.below(40_000),
            _ => self.random.below(BODY),
        };
        let mut body = (number as u64).to_be_bytes().to_vec();
        body.resize(8 + length as usize, number as u8);
        body
    }

    fn deliver(&mut self) {
        let to = self.node();
        let waiting = self.harness.nodes[usize::from(to.0)].inbox.len();
        if waiting > 0 {
            let nth = self.random.index(waiting);
            self.harness.deliver_one(to, nth);
        }
    }

    /// As the driver does at the end of a loop turn.
    fn start_writes(&mut self) {
        let id = self.node();
        let shard = self.harness.shard(id);
        let waits =
            !shard.waiting.is_empty() || shard.control.as_ref().is_some_and(|control| !control.pending.is_empty());
        let older_than_us = self.harness.now.mono_us.saturating_sub(5_000);
        let urge = if waits { Urge::Sync } else { Urge::Async { older_than_us } };
        self.harness.start_writes(id, urge);
    }

    fn finish_write(&mut self) {
        let id = self.node();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        if node.writes.is_empty() {
            return;
        }
        let (plan, bytes) =
            node.writes.remove(self.random.index(node.writes.len())).expect("an index below the length");
        disk::complete(&mut node.disk, &plan, &bytes);
        self.harness.apply(id, Input::Written { seq: plan.seq, result: Ok(()) });
        self.harness.settle();
        self.put_checkpoints();
    }

    /// A write ends with an error: from here on the shard takes nothing until the next start.
    fn fail_write(&mut self) {
        let id = self.node();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        if node.writes.is_empty() || !self.random.percent(30) {
            return;
        }
        let (plan, bytes) =
            node.writes.remove(self.random.index(node.writes.len())).expect("an index below the length");
        let one = std::iter::once((plan.clone(), bytes)).collect();
        disk::cut(&mut node.disk, one, &mut self.random);
        self.outcome.faults += 1;
        self.harness.apply(id, Input::Written { seq: plan.seq, result: Err(DiskError { errno: 5 }) });
        self.harness.settle();
    }

    fn serve_read(&mut self) {
        let id = self.node();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        if node.reads.is_empty() {
            return;
        }
        let (read, plan) = node.reads.remove(self.random.index(node.reads.len())).expect("an index below the length");
        let mut bytes = Vec::new();
        for range in plan.ranges() {
            bytes.extend_from_slice(&node.disk.read(range));
        }
        self.harness.apply(id, Input::Read { id: read, result: Ok(&bytes) });
        self.harness.settle();
    }

    fn pull(&mut self) {
        let (topic, queue) = self.a_queue();
        let offset = self.random.below(40) as i64 * self.random.below(6) as i64;
        let opaque = self.opaque();
        let frame = wire::pull(opaque, QueueName { topic: &topic, queue }, offset);
        let slot = self.consumer.conn.slot;
        self.open.insert((slot, opaque), Asked::Pull { queue: (topic, queue), offset });
        self.harness.request(self.consumer, &frame);
    }

    fn store_offset(&mut self) {
        let (topic, queue) = self.a_queue();
        let offset = self.random.below(50) as i64;
        let opaque = self.opaque();
        let frame = wire::store_offset(opaque, QueueName { topic: &topic, queue }, offset);
        let key = (topic, queue);
        self.asked_offsets.entry(key.clone()).or_default().push(offset);
        self.open.insert((self.consumer.conn.slot, opaque), Asked::StoreOffset { queue: key, offset });
        self.harness.request(self.consumer, &frame);
    }

    fn let_time_pass(&mut self) {
        let ms = if self.random.percent(5) { 10_000 } else { self.random.below(60) };
        self.harness.advance(ms);
    }

    fn build_index(&mut self) {
        let id = self.node();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        let at = self.builds.iter().position(|(shard, _)| *shard == id);
        let Some(at) = at else {
            if let Some(sealed) = node.shard.log.take_sealed() {
                self.builds.push((id, IndexBuild::new(node.shard.log.layout(), sealed)));
            }
            return;
        };
        if self.builds[at].1.step(&mut node.shard.queues, &mut node.shard.index) {
            let (_, build) = self.builds.swap_remove(at);
            let base = build.base();
            node.disk.indexes.insert(base.0, build.finish().expect("it is for a full segment"));
        }
    }

    fn take_checkpoint(&mut self) {
        let id = self.node();
        if self.checkpoints.iter().any(|(shard, _)| *shard == id) {
            return;
        }
        let now = self.harness.now;
        let node = &mut self.harness.nodes[usize::from(id.0)];
        let checkpoint = node.shard.checkpoint(now, node.next_checkpoint);
        node.next_checkpoint += 1;
        self.checkpoints.push((id, checkpoint));
        self.put_checkpoints();
    }

    /// Puts checkpoints on the disk whose log is there.
    fn put_checkpoints(&mut self) {
        let nodes = &mut self.harness.nodes;
        self.checkpoints.retain(|(id, checkpoint)| {
            let node = &mut nodes[usize::from(id.0)];
            if node.shard.log.durable() < checkpoint.covered {
                return true;
            }
            node.disk.checkpoints[(checkpoint.sequence % 2) as usize] = Some(checkpoint.encode());
            false
        });
    }

    /// Stops, one way or the other, starts again, and holds all queues against the ledger.
    fn restart(&mut self, after: After) -> Result<(), String> {
        let faulted = self.harness.nodes.iter().any(|node| node.shard.log.fault().is_some());
        // A broker whose disk failed cannot stop in order; and what was asked and not answered is anybody's guess.
        let after = if faulted { After::Cut } else { after };
        match after {
            After::Cut => {
                self.outcome.cuts += 1;
                for node in &mut self.harness.nodes {
                    let pending = std::mem::take(&mut node.writes);
                    disk::cut(&mut node.disk, pending, &mut self.random);
                }
            }
            After::Stop => {
                self.outcome.stops += 1;
                self.quiesce()?;
            }
        }
        self.harness.eager = true;
        self.harness.prompt = true;
        self.builds.clear();
        self.checkpoints.clear();
        let started = match after {
            After::Cut => self.harness.crash(),
            After::Stop => self.harness.restart(),
        };
        started.map_err(|error| format!("the broker does not start after {after:?}: {error}"))?;
        self.open.clear();
        self.connect();
        self.look_at_everything(after)?;
        self.harness.eager = false;
        self.harness.prompt = false;
        Ok(())
    }

    /// Lets everything that is under way come to its end.
    fn quiesce(&mut self) -> Result<(), String> {
        self.harness.eager = true;
        self.harness.prompt = true;
        for id in self.harness.ids() {
            let pending = std::mem::take(&mut self.harness.nodes[usize::from(id.0)].writes);
            for (plan, bytes) in pending {
                disk::complete(&mut self.harness.nodes[usize::from(id.0)].disk, &plan, &bytes);
                self.harness.apply(id, Input::Written { seq: plan.seq, result: Ok(()) });
            }
        }
        self.harness.settle();
        self.harness.flush();
        self.harness.advance(5_000);
        self.harness.flush();
        self.listen()
    }

    fn look_at_everything(&mut self, after: After) -> Result<(), String> {
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            let queues = if topic.starts_with("new-") { NEW_TOPIC_QUEUES } else { QUEUES };
            for queue in 0..queues {
                let content = self.whole_queue(&topic, queue)?;
                let key = (topic.clone(), queue);
                self.ledger.settle(&key, &content, after)?;
                self.look_at_offset(&key, after)?;
            }
        }
        Ok(())
    }

    /// Numbers of all messages of a queue; none for a topic that was never made.
    fn whole_queue(&mut self, topic: &str, queue: i32) -> Result<Vec<usize>, String> {
        let name = QueueName { topic, queue };
        let opaque = self.opaque();
        let answer = self.ask_now(&wire::max_offset(opaque, name))?;
        let end = with_command(&answer, |command| match ResponseCode::from_i32(command.code) {
            Some(ResponseCode::Success) => offset_of(command).map(Some),
            Some(ResponseCode::TopicNotExist) if topic.starts_with("new-") => Ok(None),
            _ => Err(format!("{topic} {queue}: the end of the queue: code {}, {:?}", command.code, command.remark)),
        })?;
        let Some(end) = end else { return Ok(Vec::new()) };
        let mut content = Vec::new();
        while (content.len() as i64) < end {
            let opaque = self.opaque();
            let offset = content.len() as i64;
            let answer = self.ask_now(&wire::pull(opaque, name, offset))?;
            let found = with_command(&answer, |command| messages_of(command, name))?;
            if found.is_empty() {
                return Err(format!("{topic} {queue}: nothing at offset {offset} of {end}"));
            }
            for (at, number) in found {
                if at != content.len() as i64 {
                    return Err(format!("{topic} {queue}: offset {at} follows {}", content.len() as i64 - 1));
                }
                content.push(number);
            }
        }
        Ok(content)
    }

    fn look_at_offset(&mut self, key: &QueueKey, after: After) -> Result<(), String> {
        let opaque = self.opaque();
        let answer = self.ask_now(&wire::stored_offset(opaque, QueueName { topic: &key.0, queue: key.1 }))?;
        let offset = with_command(&answer, |command| match command.code {
            0 => offset_of(command).map(Some),
            _ => Ok(None),
        })?;
        let last = self.stored.get(key).copied();
        if after == After::Stop && last.is_some() && offset != last {
            return Err(format!("{key:?}: the group's offset was {last:?}, after an orderly stop it is {offset:?}"));
        }
        let asked = self.asked_offsets.get(key);
        match offset {
            Some(offset) if asked.is_none_or(|asked| !asked.contains(&offset)) => {
                Err(format!("{key:?}: the group's offset is {offset}, which nobody ever stored"))
            }
            Some(offset) => {
                self.stored.insert(key.clone(), offset);
                Ok(())
            }
            None => {
                self.stored.remove(key);
                Ok(())
            }
        }
    }

    /// Sends a request on the consumer's connection and returns its answer; reads and writes are made at once.
    fn ask_now(&mut self, frame: &[u8]) -> Result<Vec<u8>, String> {
        self.harness.request(self.consumer, frame);
        let answer = self.harness.take(self.consumer.conn).ok_or("no answer")?;
        self.note(&answer);
        Ok(answer)
    }

    fn note(&mut self, frame: &[u8]) {
        // FNV-1a: enough to tell two runs apart.
        for byte in frame {
            self.outcome.trace = (self.outcome.trace ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Takes in what the clients received.
    fn listen(&mut self) -> Result<(), String> {
        while let Some(Received { conn, frame }) = self.harness.received.pop_front() {
            self.note(&frame);
            let answer = with_command(&frame, |command| {
                if !command.is_response() {
                    return Ok(None);
                }
                let asked = self.open.remove(&(conn.slot, command.opaque));
                let asked = asked.ok_or(format!("an answer to nothing: opaque {}", command.opaque))?;
                answer_of(&asked, command)
            })?;
            if let Some(answer) = answer {
                self.believe(answer)?;
            }
        }
        Ok(())
    }

    fn believe(&mut self, answer: Answered) -> Result<(), String> {
        match answer {
            Answered::Stored { first, count, offset } => {
                (0..count).try_for_each(|n| self.ledger.acknowledged(first + n, offset + n as i64))
            }
            Answered::Refused { first, count } => {
                (first..first + count).for_each(|number| self.ledger.refused(number));
                Ok(())
            }
            Answered::Saw { queue, found } => {
                found.iter().try_for_each(|(offset, number)| self.ledger.seen(&queue, *offset, *number))
            }
            Answered::OffsetStored { queue, offset } => {
                self.stored.insert(queue, offset);
                Ok(())
            }
        }
    }
}

/// What an answer says.
enum Answered {
    Stored { first: usize, count: usize, offset: i64 },
    Refused { first: usize, count: usize },
    Saw { queue: QueueKey, found: Vec<(i64, usize)> },
    OffsetStored { queue: QueueKey, offset: i64 },
}

fn answer_of(asked: &Asked, command: &Command<'_>) -> Result<Option<Answered>, String> {
    let code = ResponseCode::from_i32(command.code);
    Ok(match (asked, code) {
        (&Asked::Send { first, count }, Some(ResponseCode::Success)) => {
            let reply = SendReply::decode(&command.ext).map_err(|e| e.to_string())?;
            Some(Answered::Stored { first, count, offset: reply.queue_offset })
        }
        // The log failed or the topic was not made in time: stored or not, nobody knows.
        (
            Asked::Send { .. },
            Some(ResponseCode::ServiceNotAvailable | ResponseCode::SystemBusy | ResponseCode::SystemError),
        ) => None,
        (&Asked::Send { first, count }, _) => Some(Answered::Refused { first, count }),
        (Asked::Pull { queue, offset }, Some(ResponseCode::Success)) => {
            let name = QueueName { topic: &queue.0, queue: queue.1 };
            let found = messages_of(command, name)?;
            let reply = PullReply::decode(&command.ext).map_err(|e| e.to_string())?;
            let end = found.last().map_or(*offset, |(last, _)| last + 1);
            if reply.next_begin_offset < end || found.first().is_some_and(|(first, _)| first < offset) {
                return Err(format!("{queue:?}: a pull at {offset} goes on at {}", reply.next_begin_offset));
            }
            Some(Answered::Saw { queue: queue.clone(), found })
        }
        (Asked::Pull { .. }, _) => None,
        (Asked::StoreOffset { queue, offset }, Some(ResponseCode::Success)) => {
            Some(Answered::OffsetStored { queue: queue.clone(), offset: *offset })
        }
        (Asked::StoreOffset { .. }, _) => None,
    })
}

/// Offsets and numbers of the messages in a pull's answer.
fn messages_of(command: &Command<'_>, queue: QueueName<'_>) -> Result<Vec<(i64, usize)>, String> {
    let mut found = Vec::new();
    for record in record::iter(command.body) {
        let record = record.map_err(|error| format!("{queue:?}: a record that is none: {error:?}"))?;
        record.check_body().map_err(|error| format!("{queue:?}: {error:?}"))?;
        if record.topic() != queue.topic || record.queue_id() != queue.queue {
            return Err(format!("{queue:?} holds a message of {} {}", record.topic(), record.queue_id()));
        }
        let body = record.body();
        let number = body.first_chunk::<8>().map(|number| u64::from_be_bytes(*number) as usize);
        let number = number.ok_or(format!("{queue:?}: a body of {} bytes", body.len()))?;
        if body[8..].iter().any(|byte| *byte != number as u8) {
            return Err(format!("{queue:?}: the body of message {number} is not what was sent"));
        }
        found.push((record.queue_offset(), number));
    }
    Ok(found)
}

fn offset_of(command: &Command<'_>) -> Result<i64, String> {
    OffsetReply::decode(&command.ext).map(|reply| reply.offset).map_err(|error| error.to_string())
}

fn with_command<T>(bytes: &[u8], read: impl FnOnce(&Command<'_>) -> Result<T, String>) -> Result<T, String> {
    let frame = frame::split(bytes).map_err(|e| e.to_string())?.ok_or("the broker sent half a frame")?;
    let command = Command::parse(frame).map_err(|e| e.to_string())?;
    read(&command)
}
