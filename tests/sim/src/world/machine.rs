//! What the machine does: the mesh, the disk, the clock, and the driver's upkeep of files.
//!
//! Owns the faults of a running broker and the bugs that are planted in its surroundings.

use ringmq_core::event::{DiskError, Input, ShardId};
use ringmq_core::store::{IndexBuild, Urge, WritePlan};

use super::World;
use super::answers::with_command;
use crate::disk;
use crate::ledger::{Content, QueueKey};
use crate::planted::Planted;
use crate::wire::{self, QueueName};

const EIO: DiskError = DiskError { errno: 5 };

impl World {
    pub(super) fn deliver(&mut self) {
        let to = self.node();
        let inbox = &mut self.harness.nodes[usize::from(to.0)].inbox;
        let waiting = inbox.len();
        if waiting > 1 && self.planted == Planted::MeshReorders {
            inbox.swap(self.random.index(waiting), self.random.index(waiting));
        }
        if waiting > 0 {
            let nth = self.random.index(waiting);
            self.harness.deliver_one(to, nth);
        }
    }

    /// As the driver does at the end of a loop turn.
    pub(super) fn start_writes(&mut self) {
        let id = self.node();
        let shard = self.harness.shard(id);
        let waits =
            !shard.waiting.is_empty() || shard.control.as_ref().is_some_and(|control| !control.pending.is_empty());
        let older_than_us = self.harness.now.mono_us.saturating_sub(5_000);
        let urge = if waits { Urge::Sync } else { Urge::Async { older_than_us } };
        self.harness.start_writes(id, urge);
    }

    pub(super) fn finish_write(&mut self) {
        let id = self.node();
        let Some((plan, bytes)) = self.a_write(id) else { return };
        if self.planted == Planted::DurableOverGap {
            self.report_older(id, plan.seq);
        }
        if self.planted == Planted::NoSync {
            self.unsynced.push((id, plan.clone(), bytes));
        } else {
            disk::complete(&mut self.harness.nodes[usize::from(id.0)].disk, &plan, &bytes);
        }
        self.harness.apply(id, Input::Written { seq: plan.seq, result: Ok(()) });
        self.harness.settle();
        self.put_checkpoints();
    }

    /// Takes one of the writes under way.
    fn a_write(&mut self, id: ShardId) -> Option<(WritePlan, Vec<u8>)> {
        let writes = &mut self.harness.nodes[usize::from(id.0)].writes;
        if writes.is_empty() { None } else { writes.remove(self.random.index(writes.len())) }
    }

    /// The planted bug: writes before this one count as done.
    fn report_older(&mut self, id: ShardId, seq: u64) {
        let writes = &mut self.harness.nodes[usize::from(id.0)].writes;
        let (older, rest) = std::mem::take(writes).into_iter().partition::<Vec<_>, _>(|(plan, _)| plan.seq < seq);
        writes.extend(rest);
        for (plan, bytes) in older {
            self.harness.apply(id, Input::Written { seq: plan.seq, result: Ok(()) });
            self.unsynced.push((id, plan, bytes));
        }
    }

    /// A write fails: any part of it is on the disk. From then on this shard stores nothing and still answers reads.
    pub(super) fn fail_write(&mut self) -> Result<(), String> {
        let id = self.node();
        if !self.random.percent(30) {
            return Ok(());
        }
        let Some((plan, bytes)) = self.a_write(id) else { return Ok(()) };
        let one = std::iter::once((plan.clone(), bytes)).collect();
        disk::cut(&mut self.harness.nodes[usize::from(id.0)].disk, one, &mut self.random);
        self.outcome.faults += 1;
        let result = if self.planted == Planted::SwallowedError { Ok(()) } else { Err(EIO) };
        self.harness.apply(id, Input::Written { seq: plan.seq, result });
        self.harness.settle();
        self.reads_go_on()
    }

    /// What was durable at the last start can be read, whatever failed since.
    fn reads_go_on(&mut self) -> Result<(), String> {
        let topics = self.topics.iter().filter(|(_, topic)| topic.exists == super::Exists::Yes);
        let queues = topics.flat_map(|(name, _)| (0..super::QUEUES).map(|queue| (name.clone(), queue)));
        let known: Vec<(QueueKey, Content)> =
            queues.map(|queue| (queue.clone(), self.ledger.settled(&queue))).collect();
        (self.harness.eager, self.harness.prompt) = (true, true);
        for (key, content) in known {
            let stays: Vec<i64> =
                content.iter().filter(|(_, number)| !self.ledger.may_go(*number)).map(|(offset, _)| offset).collect();
            if stays.is_empty() {
                continue;
            }
            let name = QueueName { topic: &key.0, queue: key.1 };
            let offset = stays[self.random.index(stays.len())];
            // A connection of its own: on the consumer's, older answers may come first.
            let reader = self.harness.connect(ShardId(0));
            let mut answer = None;
            // A page that could not be read before counts as damaged until its index was made again.
            for _ in 0..2 {
                let opaque = self.opaque();
                self.harness.request(reader, &wire::pull(opaque, name, offset));
                answer = self.harness.take(reader.conn);
            }
            let answer = answer.ok_or("no answer to a pull after a failed write")?;
            with_command(&answer, |command| match command.code {
                0 => Ok(()),
                code => Err(format!("{key:?} cannot be read after a failed write: code {code}, {:?}", command.remark)),
            })?;
        }
        (self.harness.eager, self.harness.prompt) = (false, false);
        Ok(())
    }

    pub(super) fn serve_read(&mut self) {
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
        self.read_failed = false;
    }

    /// A read fails; not two in a row, for what is never readable is given up.
    pub(super) fn fail_read(&mut self) {
        let id = self.node();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        if self.read_failed {
            return;
        }
        let Some((read, _)) = node.reads.pop_front() else { return };
        self.read_failed = true;
        self.harness.apply(id, Input::Read { id: read, result: Err(EIO) });
        self.harness.settle();
    }

    pub(super) fn let_time_pass(&mut self) {
        let ms = match self.random.below(100) {
            0 if self.long_lived => 1_500_000,
            0..5 => 10_000,
            _ => self.random.below(60),
        };
        self.harness.advance(ms);
    }

    pub(super) fn build_index(&mut self) {
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
            let (id, build) = self.builds.swap_remove(at);
            self.put_index(id, build);
        }
    }

    /// An index that is made goes to the disk; what it tells leaves memory.
    fn put_index(&mut self, id: ShardId, build: IndexBuild) {
        let node = &mut self.harness.nodes[usize::from(id.0)];
        let base = build.base();
        let mut finished = build.finish().expect("it is for a full segment");
        node.disk.indexes.insert(base.0, std::mem::take(&mut finished.bytes));
        finished.in_place(&mut node.shard.queues, &mut node.shard.index);
        node.shard.log.index_in_place(base);
    }

    /// Segments are indexed in order: what was begun comes before what the harness does on its own.
    pub(super) fn finish_builds(&mut self) {
        for (id, mut build) in std::mem::take(&mut self.builds) {
            let node = &mut self.harness.nodes[usize::from(id.0)];
            while !build.step(&mut node.shard.queues, &mut node.shard.index) {}
            self.put_index(id, build);
        }
    }

    pub(super) fn take_checkpoint(&mut self) {
        let id = self.node();
        let taken = self.checkpoints.iter().any(|(shard, ..)| *shard == id);
        if taken || self.captures.iter().any(|(shard, _)| *shard == id) {
            return;
        }
        let now = self.harness.now;
        let node = &mut self.harness.nodes[usize::from(id.0)];
        self.captures.push((id, node.shard.begin_checkpoint(now, node.next_checkpoint)));
        node.next_checkpoint += 1;
        if self.random.percent(50) {
            self.walk_checkpoints(usize::MAX);
            self.put_checkpoints();
        }
    }

    /// Goes on with the checkpoints being taken: a look or two, while everything else happens.
    pub(super) fn walk_checkpoints(&mut self, looks: usize) {
        let missing = self.planted.missing_section();
        for (id, mut capture) in std::mem::take(&mut self.captures) {
            let shard = &mut self.harness.nodes[usize::from(id.0)].shard;
            let mut done = capture.step(shard, looks);
            while !done && looks == usize::MAX {
                done = capture.step(shard, looks);
            }
            if !done {
                self.captures.push((id, capture));
                continue;
            }
            let (mut checkpoint, told) = capture.finish(shard);
            checkpoint.sections.retain(|section| Some(section.kind) != missing);
            self.checkpoints.push((id, checkpoint, told));
        }
    }

    /// Puts checkpoints on the disk whose log is there.
    fn put_checkpoints(&mut self) {
        let nodes = &mut self.harness.nodes;
        let early = self.planted == Planted::EarlyCheckpoint;
        self.checkpoints.retain(|(id, checkpoint, told)| {
            let node = &mut nodes[usize::from(id.0)];
            if node.shard.log.durable() < *told && !early {
                return true;
            }
            node.disk.checkpoints[(checkpoint.sequence % 2) as usize] = Some(checkpoint.encode());
            if !early {
                node.shard.log.checkpointed(checkpoint.covered, checkpoint.start);
            }
            false
        });
    }

    /// The power is cut while checkpoints are on their way: what was the older one's file may hold any part.
    pub(super) fn tear_checkpoints(&mut self) {
        for (id, checkpoint, told) in std::mem::take(&mut self.checkpoints) {
            let node = &mut self.harness.nodes[usize::from(id.0)];
            if node.shard.log.durable() >= told && self.random.percent(50) {
                let mut file = checkpoint.encode();
                file.truncate(self.random.index(file.len()));
                node.disk.checkpoints[(checkpoint.sequence % 2) as usize] = Some(file);
            }
        }
    }

    /// What planted bugs do after every step.
    pub(super) fn be_buggy(&mut self) {
        for id in self.harness.ids() {
            match self.planted {
                Planted::AcknowledgeEarly => self.harness.release_early(id),
                Planted::ShowEarly => self.harness.show_early(id),
                _ => {}
            }
        }
    }
}
