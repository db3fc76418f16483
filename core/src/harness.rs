//! Several shards on one thread, with a disk in memory and a clock that only moves when told: for tests and simulation.
//!
//! Owns what the driver owns in production: routing by `place`, carrying peer messages (in order per pair), making writes
//! and reads, ticking when a deadline has passed. Everything happens when a method is called and nowhere else, so a run is
//! a function of the calls. Never opens a file or a socket; no part of a running broker uses it.

mod reshard;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use ringmq_protocol::command::Command;
use ringmq_protocol::frame;

use crate::boot::{Knowledge, OpenError, Opened, Opening};
use crate::effects::{Effects, Fault};
use crate::event::{ConnId, CoreId, DiskError, Input, Now, Origin, PeerMessage, ReadId, ShardId};
use crate::handlers;
use crate::place::Place;
use crate::retain;
use crate::settings::{BrokerSettings, Given, Host, load};
use crate::shard::Shard;
use crate::store::index_file::IndexFile;
use crate::store::recovery::{Found, FoundFile};
use crate::store::retention::Volume;
use crate::store::{Checkpoint, IndexBuild, LogOptions, ReadPlan, SegmentBase, Urge, WritePlan};
use crate::store::{RangeOf, ReadRange, Rebuild, RebuildError};
use crate::topic::Change;

/// Wall clock of a new harness: 2026-11-21 00:00 UTC.
pub const START_MS: i64 = 1_795_219_200_000;

/// The files of one shard, as bytes.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub indexes: BTreeMap<u64, Vec<u8>>,
    /// Indexes of active segments' beginnings.
    pub partials: BTreeMap<u64, Vec<u8>>,
    pub checkpoints: [Option<Vec<u8>>; 2],
    /// Files of released segments, to be used again with what they hold.
    pub spares: Vec<Vec<u8>>,
}

impl Disk {
    /// Bytes of a file; fewer where it ends.
    pub fn read(&self, range: &ReadRange) -> Vec<u8> {
        let file = match range.file {
            RangeOf::Log(base) => self.segments.get(&base.0),
            RangeOf::Index(base) => self.indexes.get(&base.0),
            RangeOf::Partial(base) => self.partials.get(&base.0),
        };
        file.map_or_else(Vec::new, |file| range.of(file).to_vec())
    }

    /// What recovery is told of the directory.
    pub fn found(&self) -> Found {
        let list = |files: &BTreeMap<u64, Vec<u8>>| {
            files.iter().map(|(base, bytes)| FoundFile { base: SegmentBase(*base), len: bytes.len() as u64 }).collect()
        };
        let [even, odd] = &self.checkpoints;
        Found {
            segments: list(&self.segments),
            indexes: list(&self.indexes),
            partials: list(&self.partials),
            checkpoint: Checkpoint::newest([even.as_deref(), odd.as_deref()]),
        }
    }

    fn write(&mut self, plan: &WritePlan, bytes: &[u8]) {
        let file = self.segments.entry(plan.segment.0).or_default();
        let at = plan.file_offset as usize;
        if file.len() < at + bytes.len() {
            file.resize(at + bytes.len(), 0);
        }
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// One shard with its disk and its share of messages under way.
#[derive(Debug)]
pub struct Node {
    pub shard: Shard,
    pub disk: Disk,
    /// Writes given out and not completed, with their bytes.
    pub writes: VecDeque<(WritePlan, Vec<u8>)>,
    /// Reads wanted and not served.
    pub reads: VecDeque<(ReadId, ReadPlan)>,
    /// Messages of other shards on their way here; those of one sender stay in order.
    pub inbox: VecDeque<(ShardId, PeerMessage)>,
    /// Sequence number of the next checkpoint.
    pub next_checkpoint: u64,
}

/// A frame that a client received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub conn: ConnId,
    pub frame: Vec<u8>,
}

/// Shards, clients and time.
#[derive(Debug)]
pub struct Harness {
    pub nodes: Vec<Node>,
    pub now: Now,
    /// Frames sent to clients and not yet taken, in order.
    pub received: VecDeque<Received>,
    /// Connections the broker wants closed.
    pub closed: Vec<ConnId>,
    pub faults: Vec<(ShardId, Fault)>,
    /// Whether reads are served and writes completed as soon as they are wanted.
    pub eager: bool,
    /// Whether messages between shards arrive as soon as they are sent.
    pub prompt: bool,
    /// Whether the files of wanted segments are not made, as on a full or very slow disk.
    pub segments_wait: bool,
    /// What [`Harness::look`] reports.
    pub volume: Volume,
    /// What the shards wanted to have in the broker's log.
    pub notes: Vec<String>,
    settings_text: String,
    segment_size: u64,
    tail: u64,
    epoch: u32,
    next_slot: u32,
    out: Effects,
}

impl Harness {
    /// A broker on an empty directory. `settings` is broker.conf text.
    ///
    /// # Panics
    /// On settings that are not.
    pub fn new(shards: u16, settings: &str) -> Self {
        Harness::with_sizes(shards, settings, 64 << 20, 32 << 20)
    }

    /// The same with segments and tails of a given size, to reach their ends sooner.
    ///
    /// # Panics
    /// On settings or sizes that are not.
    pub fn with_sizes(shards: u16, settings: &str, segment_size: u64, tail: u64) -> Self {
        let mut harness = Harness {
            nodes: Vec::new(),
            now: Now { wall_ms: START_MS, mono_us: 1_000_000 },
            received: VecDeque::new(),
            closed: Vec::new(),
            faults: Vec::new(),
            eager: true,
            prompt: true,
            segments_wait: false,
            volume: Volume { total: 1 << 40, used: 100 << 30, free: 900 << 30, ..Volume::default() },
            notes: Vec::new(),
            settings_text: settings.to_owned(),
            segment_size,
            tail,
            epoch: 0,
            next_slot: 0,
            out: Effects::default(),
        };
        let disks = (0..shards).map(|_| Disk::default()).collect();
        harness.start(disks).expect("an empty directory can be opened");
        harness
    }

    fn loaded(&self) -> crate::settings::Loaded<BrokerSettings> {
        let host = Host { name: "host".to_owned(), home: "/nowhere".to_owned() };
        let given = Given { file: Some(("broker.conf", &self.settings_text)), flags: &[] };
        load(&host, given).expect("the settings of a test are right")
    }

    /// Opens all shards over these disks, as a new start of the process.
    ///
    /// # Errors
    /// What recovery finds wrong.
    pub fn start(&mut self, disks: Vec<Disk>) -> Result<(), OpenError> {
        self.epoch += 1;
        self.nodes.clear();
        let opened = self.open_each(&disks)?;
        for (mut opened, disk) in opened.into_iter().zip(disks) {
            // As few as there may be: what is on disk is missed all the time.
            opened.shard.queues.set_page_limit(0);
            let (layout, start) = (*opened.shard.log.layout(), opened.shard.log.start());
            for (base, file) in disk.indexes.range(start.0..) {
                // What the scrub would find.
                if IndexFile::decode(file, &layout, SegmentBase(*base)).is_none() {
                    opened.shard.queues.found_damaged(SegmentBase(*base));
                }
            }
            self.nodes.push(Node {
                shard: opened.shard,
                disk,
                writes: VecDeque::new(),
                reads: VecDeque::new(),
                inbox: VecDeque::new(),
                next_checkpoint: opened.next_checkpoint,
            });
        }
        let mut out = std::mem::take(&mut self.out);
        handlers::control::start(&mut self.nodes[0].shard, self.now, &mut out);
        self.drain(ShardId::CONTROL, &mut out);
        self.out = out;
        self.repair();
        self.settle();
        Ok(())
    }

    fn options(&self, id: ShardId) -> LogOptions {
        let layout = crate::store::Layout::new(id, self.segment_size).expect("a segment size of a test is right");
        LogOptions { tail: self.tail, ..LogOptions::new(layout, self.epoch) }
    }

    /// Reads what the disks hold.
    fn open_each(&self, disks: &[Disk]) -> Result<Vec<Opened>, OpenError> {
        let shards = disks.len() as u16;
        let mut all: Vec<Opened> = Vec::new();
        for (id, disk) in (0..).map(ShardId).zip(disks) {
            let knowledge = match all.first() {
                None => Knowledge::Truth(Box::new(self.loaded())),
                Some(control) => Knowledge::Copy(Box::new(control.shard.metadata.clone())),
            };
            let mut opening = Opening::new(id, shards, self.options(id), disk.found())?;
            while let Some(range) = opening.next_read() {
                opening.supply(&disk.read(&range))?;
            }
            all.push(opening.finish(self.now, knowledge));
        }
        Ok(all)
    }

    /// Number of the last start.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Makes damaged indexes again, as the driver does in the background; `false` if there were none that could be made.
    pub fn repair(&mut self) -> bool {
        let mut any = false;
        for node in &mut self.nodes {
            while let Some(base) = node.shard.queues.damaged().iter().min().copied() {
                let mut options = LogOptions::new(*node.shard.log.layout(), self.epoch);
                options.seed = node.shard.log.seed();
                let Ok(mut rebuild) = Rebuild::new(options, node.shard.queues.start(), base) else { break };
                let mut outcome = Ok(());
                while let Some(range) = rebuild.next_read().filter(|_| outcome.is_ok()) {
                    outcome = rebuild.supply(&node.disk.read(&range));
                }
                match outcome {
                    Ok(()) => {
                        node.disk.indexes.insert(base.0, rebuild.finish());
                        node.shard.queues.repaired(base);
                        any = true;
                    }
                    Err(RebuildError::Before(before)) => node.shard.queues.found_damaged(before),
                    Err(RebuildError::Log(_)) => break,
                }
            }
        }
        any
    }

    /// Makes a topic or a group without a client: it is in the control shard's log, and every shard knows it at once.
    pub fn make(&mut self, change: &Change) {
        let mut change = change.clone();
        let control = &mut self.nodes[0].shard;
        let is_known = match &mut change {
            Change::TopicPut(topic) => {
                topic.incarnation = control.metadata.topics.incarnation(&topic.name);
                control.metadata.topics.get(&topic.name) == Some(topic)
            }
            Change::GroupPut(group) => control.metadata.groups.get(&group.name) == Some(group),
            _ => false,
        };
        if !is_known {
            // A log that takes nothing forgets it with the next start, like everything else.
            let _ = change.keep(&mut control.log, self.now.mono_us);
        }
        self.nodes.iter_mut().for_each(|node| node.shard.metadata.apply(&change));
        if self.eager {
            self.flush();
        }
    }

    /// Stops without a word and starts again from what the disks hold.
    ///
    /// # Errors
    /// What recovery finds wrong.
    pub fn crash(&mut self) -> Result<(), OpenError> {
        let disks = self.nodes.drain(..).map(|node| node.disk).collect();
        self.received.clear();
        self.start(disks)
    }

    /// Another broker of the same settings and time over these disks, as a start after this one's would be.
    ///
    /// # Errors
    /// What recovery finds wrong.
    pub fn copy_on(&self, disks: Vec<Disk>) -> Result<Harness, OpenError> {
        self.copy_after(self.epoch, disks)
    }

    /// The same, whose superblock says that `epoch` was the last start.
    ///
    /// # Errors
    /// What recovery finds wrong.
    pub fn copy_after(&self, epoch: u32, disks: Vec<Disk>) -> Result<Harness, OpenError> {
        let mut other = Harness {
            nodes: Vec::new(),
            now: self.now,
            received: VecDeque::new(),
            closed: Vec::new(),
            faults: Vec::new(),
            eager: true,
            prompt: true,
            segments_wait: false,
            volume: self.volume,
            notes: Vec::new(),
            settings_text: self.settings_text.clone(),
            segment_size: self.segment_size,
            tail: self.tail,
            epoch,
            next_slot: 0,
            out: Effects::default(),
        };
        other.start(disks)?;
        Ok(other)
    }

    /// A bug that tests plant: answers that wait for durability are let go, and what they say is shown.
    pub fn release_early(&mut self, id: ShardId) {
        let mut out = std::mem::take(&mut self.out);
        let Shard { log, queues, waiting, .. } = self.shard(id);
        waiting.release(log.appended(), &mut out, |shows| {
            if let Some(queue) = queues.get_mut(shows.slot) {
                queue.show(shows.below);
            }
        });
        self.drain(id, &mut out);
        self.out = out;
    }

    /// A bug that tests plant: consumers see what is not durable.
    pub fn show_early(&mut self, id: ShardId) {
        self.shard(id).queues.queues_mut().for_each(|queue| queue.show(queue.max()));
    }

    /// Stops in order, with everything written and a checkpoint, and starts again.
    ///
    /// # Errors
    /// What recovery finds wrong.
    pub fn restart(&mut self) -> Result<(), OpenError> {
        for id in self.ids() {
            self.apply(id, Input::Stop);
        }
        self.settle();
        self.flush();
        self.checkpoint();
        self.crash()
    }

    /// Writes a checkpoint of every shard; everything appended must be durable.
    pub fn checkpoint(&mut self) {
        for node in &mut self.nodes {
            let checkpoint = node.shard.checkpoint(self.now, node.next_checkpoint);
            assert!(checkpoint.covered <= node.shard.log.durable(), "flush before a checkpoint");
            node.disk.checkpoints[(node.next_checkpoint % 2) as usize] = Some(checkpoint.encode());
            node.next_checkpoint += 1;
            node.shard.log.checkpointed(checkpoint.covered, checkpoint.start);
            if let Some(mut build) = IndexBuild::partial(&node.shard.log) {
                while !build.step(&mut node.shard.queues, &mut node.shard.index) {}
                let base = build.base();
                node.disk.partials.extend(build.finish().map(|finished| (base.0, finished.bytes)));
            }
        }
    }

    /// Reports the volume to every shard, as the driver does once a second.
    pub fn look(&mut self) {
        for id in self.ids() {
            let spares = self.nodes[usize::from(id.0)].disk.spares.len() as u32;
            let volume = Volume { spares, ..self.volume };
            self.apply(id, Input::Volume(volume));
        }
        self.settle();
    }

    /// Removes the files of released segments as far as checkpoints say so; keeps as many spares as the shards want.
    pub fn remove_released(&mut self) {
        for node in &mut self.nodes {
            while let Some(base) = node.shard.log.take_removable(node.shard.reads.oldest()) {
                node.disk.indexes.remove(&base.0);
                node.disk.partials.remove(&base.0);
                let file = node.disk.segments.remove(&base.0).expect("a released segment has a file");
                if node.disk.spares.len() < retain::spares(&node.shard) {
                    node.disk.spares.push(file);
                }
                node.shard.log.removed();
            }
        }
    }

    /// The shards' names.
    pub fn ids(&self) -> Vec<ShardId> {
        (0..self.nodes.len() as u16).map(ShardId).collect()
    }

    /// One shard.
    pub fn shard(&mut self, id: ShardId) -> &mut Shard {
        &mut self.nodes[usize::from(id.0)].shard
    }

    /// A new connection whose home is this shard.
    pub fn connect(&mut self, home: ShardId) -> Origin {
        self.connect_from(
            home,
            "127.0.0.1:50000".parse().expect("an address"),
            "127.0.0.1:10911".parse().expect("an address"),
        )
    }

    /// A new connection between given addresses.
    pub fn connect_from(&mut self, home: ShardId, peer: SocketAddr, local: SocketAddr) -> Origin {
        self.next_slot += 1;
        let conn = ConnId { core: CoreId(home.0), slot: self.next_slot, generation: 1 };
        Origin { conn, peer, local }
    }

    /// A client closes its connection.
    pub fn disconnect(&mut self, conn: ConnId) {
        for id in self.ids() {
            self.apply(id, Input::Closed { conn });
        }
        self.settle();
    }

    /// A frame of a client arrives and everything it causes happens (in eager mode: reads and writes, too).
    ///
    /// # Panics
    /// If the bytes are not one whole frame.
    pub fn request(&mut self, origin: Origin, bytes: &[u8]) {
        let home = ShardId(origin.conn.core.0);
        let cut = frame::split(bytes).expect("a test sends frames").expect("a whole one");
        let command = Command::parse(cut).expect("with a header");
        if command.is_response() {
            self.apply(ShardId::CONTROL, Input::ClientAnswer { origin, command: &command, frame: bytes });
        } else {
            match self.nodes[usize::from(home.0)].shard.place(&origin, &command) {
                Place::Here => self.apply(home, Input::Request { origin, command: &command, frame: bytes }),
                Place::Shard(other) => {
                    let message = PeerMessage::Request { origin, frame: bytes.into() };
                    self.nodes[usize::from(other.0)].inbox.push_back((home, message));
                }
            }
        }
        self.settle();
    }

    /// Applies one input to one shard and collects what it wants.
    pub fn apply(&mut self, id: ShardId, input: Input<'_>) {
        let mut out = std::mem::take(&mut self.out);
        let shard = &mut self.nodes[usize::from(id.0)].shard;
        shard.apply(self.now, input, &mut out);
        while shard.cold.is_ready() {
            // So little that nobody is served in one go.
            shard.apply(self.now, Input::Serve { bytes: 1_000 }, &mut out);
        }
        self.drain(id, &mut out);
        self.out = out;
    }

    fn drain(&mut self, id: ShardId, out: &mut Effects) {
        for send in &out.sends {
            let frame = out.bytes[send.start as usize..send.end as usize].to_vec();
            self.received.push_back(Received { conn: send.conn, frame });
        }
        for (to, message) in out.peers.drain(..) {
            self.nodes[usize::from(to.0)].inbox.push_back((id, message));
        }
        self.nodes[usize::from(id.0)].reads.extend(out.reads.drain(..));
        self.closed.append(&mut out.closes);
        self.notes.append(&mut out.notes);
        self.faults.extend(out.fault.take().map(|fault| (id, fault)));
        out.clear();
    }

    /// Carries messages between shards until there are none; in eager mode serves reads and writes as well.
    pub fn settle(&mut self) {
        loop {
            let mut busy = self.prompt && self.carry();
            if self.eager {
                busy |= self.serve_reads();
                busy |= self.repair();
                busy |= self.write_urgent();
            }
            if !busy {
                return;
            }
        }
    }

    /// Delivers one round of messages between shards; `false` if there were none.
    fn carry(&mut self) -> bool {
        let mut any = false;
        for id in self.ids() {
            while let Some((from, message)) = self.nodes[usize::from(id.0)].inbox.pop_front() {
                any = true;
                self.apply(id, Input::Peer { from, message });
            }
        }
        any
    }

    /// Delivers the oldest message on its way to a shard from the sender of the `nth` one; `false` if there is none.
    pub fn deliver_one(&mut self, to: ShardId, nth: usize) -> bool {
        let inbox = &mut self.nodes[usize::from(to.0)].inbox;
        let Some((sender, _)) = inbox.get(nth) else { return false };
        let sender = *sender;
        let at = inbox.iter().position(|(from, _)| *from == sender).expect("the nth is one of them");
        let (from, message) = inbox.remove(at).expect("it was just found");
        self.apply(to, Input::Peer { from, message });
        self.settle();
        true
    }

    /// Serves every wanted read; `false` if there were none.
    pub fn serve_reads(&mut self) -> bool {
        let mut any = false;
        for id in self.ids() {
            while let Some((read, plan)) = self.nodes[usize::from(id.0)].reads.pop_front() {
                any = true;
                let disk = &self.nodes[usize::from(id.0)].disk;
                let mut bytes = Vec::new();
                for range in plan.ranges() {
                    bytes.extend_from_slice(&disk.read(range));
                }
                self.apply(id, Input::Read { id: read, result: Ok(&bytes) });
            }
        }
        any
    }

    /// Makes the writes that somebody waits for and completes them; `false` if there were none.
    fn write_urgent(&mut self) -> bool {
        let mut any = false;
        for id in self.ids() {
            let shard = &mut self.nodes[usize::from(id.0)].shard;
            if shard.is_awaited() && shard.log.has_unwritten() {
                self.start_writes(id, Urge::Sync);
                any |= self.complete_writes(id, Ok(()));
            }
        }
        any
    }

    /// Gives out every write that may be made now.
    pub fn start_writes(&mut self, id: ShardId, urge: Urge) {
        let node = &mut self.nodes[usize::from(id.0)];
        while !self.segments_wait
            && let Some(base) = node.shard.log.wanted_segment()
        {
            let spare = node.disk.spares.pop().unwrap_or_default();
            let file = node.disk.segments.entry(base.0).or_insert(spare);
            file.resize(self.segment_size as usize, 0);
            node.shard.log.segment_ready(base);
        }
        while let Some(plan) = node.shard.log.next_write(urge) {
            let mut bytes = vec![0; plan.len];
            node.shard.log.copy_plan(&plan, &mut bytes);
            node.writes.push_back((plan, bytes));
        }
    }

    /// Completes the writes given out, oldest first; `false` if there were none.
    pub fn complete_writes(&mut self, id: ShardId, result: Result<(), DiskError>) -> bool {
        let mut any = false;
        while let Some((plan, bytes)) = self.nodes[usize::from(id.0)].writes.pop_front() {
            any = true;
            if result.is_ok() {
                self.nodes[usize::from(id.0)].disk.write(&plan, &bytes);
            }
            self.apply(id, Input::Written { seq: plan.seq, result });
        }
        any
    }

    /// Writes everything one shard's log holds and completes it.
    fn write_out(&mut self, id: ShardId) {
        loop {
            self.start_writes(id, Urge::Stop);
            if !self.complete_writes(id, Ok(())) {
                return;
            }
        }
    }

    /// Writes everything on every shard and completes it, indexes of full segments included.
    pub fn flush(&mut self) {
        for id in self.ids() {
            self.write_out(id);
            let node = &mut self.nodes[usize::from(id.0)];
            while let Some(sealed) = node.shard.log.take_sealed() {
                let base = sealed.base();
                let mut build = IndexBuild::new(node.shard.log.layout(), sealed);
                while !build.step(&mut node.shard.queues, &mut node.shard.index) {}
                let mut finished = build.finish().expect("it is for a full segment");
                node.disk.indexes.insert(base.0, std::mem::take(&mut finished.bytes));
                finished.in_place(&mut node.shard.queues, &mut node.shard.index);
                node.shard.log.index_in_place(base);
            }
        }
        self.settle();
    }

    /// Lets time pass, ticking every shard at each of its deadlines on the way.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now.mono_us + ms * 1_000;
        loop {
            let due = self.nodes.iter().filter_map(|node| node.shard.next_deadline()).min();
            let next = due.unwrap_or(end).clamp(self.now.mono_us, end);
            self.move_clock(next);
            let mut ticked = false;
            for id in self.ids() {
                if self.nodes[usize::from(id.0)].shard.next_deadline().is_some_and(|due| due <= next) {
                    ticked = true;
                    self.apply(id, Input::Tick);
                }
            }
            self.settle();
            if next == end && !ticked {
                return;
            }
            if next == end && due.is_none_or(|due| due >= end) {
                return;
            }
        }
    }

    fn move_clock(&mut self, mono_us: u64) {
        let passed = mono_us - self.now.mono_us;
        // Whole milliseconds since the start, so that small steps add up.
        let before = self.now.mono_us / 1_000;
        self.now.mono_us += passed;
        self.now.wall_ms += (self.now.mono_us / 1_000 - before) as i64;
    }

    /// The next frame a client received, if any.
    pub fn take(&mut self, conn: ConnId) -> Option<Vec<u8>> {
        let at = self.received.iter().position(|received| received.conn == conn)?;
        self.received.remove(at).map(|received| received.frame)
    }
}
