//! What is done to a log between two crashes, and what was appended so far.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::record::{Message, PropertyParts};

use super::super::files::checkpoint::{QueueMarks, Section};
use super::super::index::consume_queue::Entry;
use super::super::limits::CHUNK;
use super::super::*;
use super::disk::FakeDisk;
use super::{Planted, Rng, check};
use crate::event::{DiskError, ShardId};
use crate::store::log::FoundSegments;
use crate::store::recovery::{Found, FoundFile};

/// 17 blocks: segment ends and the tail's chunk ends do not fall together.
pub(super) const SEGMENT: u64 = 17 * 4096;

/// Section of the world's own state: how many own records the checkpoint covers.
const COUNTED: u16 = 16;

pub(super) const TOPICS: [&str; 3] = ["orders", "a", "%RETRY%group"];

/// A record that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Appended {
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) what: What,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Message {
        topic: &'static str,
        queue: u32,
        key: String,
    },
    /// Numbered without gaps.
    Own,
    Begin {
        topic: &'static str,
        incarnation: Incarnation,
    },
}

/// One shard's life over several starts.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) disk: FakeDisk,
    pub(super) log: CommitLog,
    pub(super) queues: QueueTable,
    pub(super) keys: KeyIndex,
    /// All that was accepted and, since the last crash, found again.
    pub(super) history: Vec<Appended>,
    /// Neither checkpoints nor indexes are written.
    pub(super) without_files: bool,
    options: LogOptions,
    planted: Planted,
    now_us: u64,
    owns: u64,
    makings: u64,
    present: BTreeMap<&'static str, Incarnation>,
    sequence: u64,
    wanted: Vec<SegmentBase>,
    build: Option<IndexBuild>,
    checkpoint: Option<Checkpoint>,
    /// One whose queues are being walked over.
    walked: Option<Checkpoint>,
    /// Of the active segment: begun with the checkpoint, and to be written after it.
    begun: Option<IndexBuild>,
    partial: Option<IndexBuild>,
    /// Indexes as they were first made: made again, they must be the same.
    written_indexes: BTreeMap<u64, Vec<u8>>,
}

impl World {
    pub(super) fn new(mut rng: Rng, planted: Planted) -> Self {
        let layout = Layout::new(ShardId(1), SEGMENT).expect("a good size");
        let mut options = LogOptions { seed: 4711, window: 200 * 1024, ..LogOptions::new(layout, 1) };
        options.tail = 2 * CHUNK;
        options.write_max = 4096 << rng.below(3);
        options.frame_target = 1000 << rng.below(5);
        // Some lives start shortly before the tail's first chunk ends.
        let first = if rng.chance(50) { 0 } else { CHUNK / SEGMENT * SEGMENT };
        let found = FoundSegments { start: options.layout.segment_of(Position(first)), ..Default::default() };
        let mut log = CommitLog::resume(options, Position(first), &[], Position(first), Vec::new(), found);
        log.planted = planted;
        let origin = Some(Checkpoint::capture(&log, QueueMarks::default(), 0, 0, Vec::new()));
        World {
            rng,
            disk: FakeDisk { origin: origin.filter(|_| first > 0), ..FakeDisk::default() },
            log,
            queues: QueueTable::new(),
            keys: KeyIndex::new(layout),
            history: Vec::new(),
            without_files: false,
            options,
            planted,
            now_us: 0,
            owns: 0,
            makings: 0,
            present: BTreeMap::new(),
            sequence: 0,
            wanted: Vec::new(),
            build: None,
            checkpoint: None,
            walked: None,
            begun: None,
            partial: None,
            written_indexes: BTreeMap::new(),
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        self.now_us += self.rng.below(1000);
        match self.rng.below(100) {
            0..45 => (0..=self.rng.below(8)).for_each(|_| self.append()),
            45..70 => self.write(),
            70..90 => self.complete(),
            90..92 => self.drop_topic(),
            92..95 => self.index(),
            95..98 => self.checkpoint(),
            _ => self.fail(),
        }
        self.prepare(50);
        self.walk(1);
        let (durable, written, appended) = (self.log.durable(), self.log.written(), self.log.appended());
        assert!(durable <= written && written <= appended);
    }

    fn append(&mut self) {
        if self.rng.chance(10) {
            return self.append_own();
        }
        let topic = TOPICS[self.rng.below(3) as usize];
        let queue = self.rng.below(3) as u32;
        let len = match self.rng.below(20) {
            0 => self.rng.below(SEGMENT),
            1..4 => self.rng.below(6000),
            _ => self.rng.below(400),
        };
        let fill = self.rng.next() as u8;
        let body: Vec<u8> = (0..len).map(|n| fill.wrapping_add(n as u8)).collect();
        let key = format!("k{}", self.rng.below(40));
        let properties = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}t{}\u{2}", self.rng.below(4));
        if !self.begin(topic) {
            return;
        }
        let slot = self.queues.open(topic, queue);
        let host = SocketAddr::from(([127, 0, 0, 1], 10911));
        let mut message = Message {
            topic,
            queue_id: queue as i32,
            flag: 0,
            queue_offset: self.queues[slot].max() as i64,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: self.now_us as i64,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: PropertyParts::just(&properties),
        };
        let size = message.size().expect("parts are small");
        let mut bytes = vec![0; size.total];
        let appended = self.log.append(self.now_us, size.total, |position, out| {
            message.physical_offset = WireOffset::new(1, position).to_wire();
            message.encode_into(out, &size);
            bytes.copy_from_slice(out);
        });
        let Ok(position) = appended else { return };
        let marks = Marks::of(&properties);
        let entry = Entry { position, size: size.total as u32, tag_hash: marks.tag_hash() };
        self.queues[slot].push(entry, self.now_us as i64);
        marks.index(&mut self.keys, topic, position, self.now_us as i64);
        self.history.push(Appended { position: position.0, bytes, what: What::Message { topic, queue, key } });
    }

    fn append_own(&mut self) {
        let number = self.owns.to_be_bytes();
        if self.append_record(OwnRecord { kind: OwnKind::OffsetBatch, payload: &number }, What::Own).is_some() {
            self.owns += 1;
        }
    }

    /// A topic is deleted, and made again at once. The log says so before the next message.
    fn drop_topic(&mut self) {
        let topic = TOPICS[self.rng.below(3) as usize];
        self.makings += 1;
        self.present.insert(topic, Incarnation(self.makings));
        self.queues.drop_topic(topic, self.log.appended());
    }

    /// As the intake does; `false` if the log does not take it.
    fn begin(&mut self, topic: &'static str) -> bool {
        let incarnation = self.incarnation(topic);
        if self.queues.incarnation(topic) == incarnation {
            return true;
        }
        let payload = Begun { topic, incarnation }.payload();
        let record = OwnRecord { kind: OwnKind::TopicBegun, payload: &payload };
        let at = self.append_record(record, What::Begin { topic, incarnation });
        at.into_iter().for_each(|at| self.queues.begin(topic, incarnation, at));
        at.is_some()
    }

    /// Which making of the topic is the present one; that is known from elsewhere and survives.
    pub(super) fn incarnation(&self, topic: &str) -> Incarnation {
        self.present.get(topic).copied().unwrap_or(Incarnation(u64::MAX))
    }

    fn append_record(&mut self, record: OwnRecord<'_>, what: What) -> Option<Position> {
        let mut bytes = vec![0; record.size()];
        record.encode(&mut bytes);
        let position = self.log.append(self.now_us, bytes.len(), |_, out| out.copy_from_slice(&bytes)).ok()?;
        self.history.push(Appended { position: position.0, bytes, what });
        Some(position)
    }

    fn write(&mut self) {
        let urge = match self.rng.below(4) {
            0 => Urge::Async { older_than_us: self.now_us.saturating_sub(2000) },
            _ => Urge::Sync,
        };
        self.write_all(urge);
    }

    fn write_all(&mut self, urge: Urge) {
        while let Some(plan) = self.log.next_write(urge) {
            let mut bytes = vec![0xee; plan.len];
            self.log.copy_plan(&plan, &mut bytes);
            let block = |plan: &WritePlan| {
                plan.segment.0 + plan.file_offset..plan.segment.0 + plan.file_offset + plan.len as u64
            };
            let new = block(&plan);
            let overlaps = self.disk.in_flight.iter().map(|(other, _)| block(other));
            assert!(
                overlaps.into_iter().all(|other| other.end <= new.start || new.end <= other.start),
                "two writes on a block"
            );
            self.disk.in_flight.push((plan, bytes));
        }
    }

    fn complete(&mut self) {
        if self.disk.in_flight.is_empty() {
            return;
        }
        let n = self.rng.below(self.disk.in_flight.len() as u64) as usize;
        let plan = self.disk.complete(n);
        let _ = self.log.complete(plan.seq, Ok(()));
    }

    fn fail(&mut self) {
        if self.disk.in_flight.is_empty() || !self.rng.chance(10) {
            return;
        }
        let n = self.rng.below(self.disk.in_flight.len() as u64) as usize;
        let plan = self.disk.fail(n, &mut self.rng);
        let durable = self.log.durable();
        assert!(self.log.complete(plan.seq, Err(DiskError { errno: 5 })).is_err());
        assert_eq!(self.log.durable(), durable);
        assert!(matches!(self.log.append(0, 8, |_, _| ()), Err(AppendRefused::Stopped(_))));
    }

    /// Makes the files of wanted segments, each in `percent` of the cases.
    fn prepare(&mut self, percent: u64) {
        while let Some(base) = self.log.wanted_segment() {
            self.wanted.push(base);
        }
        while !self.wanted.is_empty() && self.rng.chance(percent) {
            let base = self.wanted.remove(0);
            match self.disk.segments.get_mut(&base.0) {
                Some(begun) => begun.resize(SEGMENT as usize, 0),
                None => self.disk.make_segment(base, SEGMENT, &mut self.rng),
            }
            self.log.segment_ready(base);
        }
    }

    fn index(&mut self) {
        if self.without_files {
            return;
        }
        if self.build.is_none() {
            self.build = self.log.take_sealed().map(|sealed| IndexBuild::new(self.log.layout(), sealed));
        }
        if self.build.as_mut().is_some_and(|build| build.step(&mut self.queues, &mut self.keys)) {
            let build = self.build.take().expect("just stepped");
            let base = build.base().0;
            assert_eq!(build.file_name(), build.base().index_name());
            let mut finished = build.finish().expect("it is for a full segment");
            self.written_indexes.insert(base, finished.bytes.clone());
            self.disk.indexes.insert(base, std::mem::take(&mut finished.bytes));
            finished.in_place(&mut self.queues, &mut self.keys);
        }
    }

    /// Goes on with the index of the active segment.
    fn partial(&mut self) {
        if self.partial.as_mut().is_some_and(|build| build.step(&mut self.queues, &mut self.keys)) {
            let build = self.partial.take().expect("just stepped");
            assert_eq!(build.file_name(), build.base().partial_name());
            let base = build.base().0;
            if let Some(finished) = build.finish() {
                self.disk.partials.insert(base, finished.bytes);
            }
        }
    }

    fn checkpoint(&mut self) {
        if self.without_files {
            return;
        }
        self.partial();
        let early = self.planted == Planted::EarlyCheckpoint;
        if let Some(ready) = self.checkpoint.take_if(|waiting| early || waiting.covered <= self.log.durable()) {
            let place = usize::from(ready.file_name() == "checkpoint-1");
            let mut file = ready.encode();
            if self.rng.chance(5) {
                file.truncate(self.rng.below(file.len() as u64) as usize); // The power will go within this write.
            }
            self.disk.checkpoints[place] = Some(file);
            self.partial = self.begun.take();
        }
        if self.checkpoint.is_none() && self.walked.is_none() {
            self.sequence += 1;
            let counted = Section { kind: COUNTED, bytes: self.owns.to_be_bytes().to_vec() };
            let wall_ms = self.now_us as i64;
            self.begun = IndexBuild::partial(&self.log);
            let queues = QueueMarks::default();
            self.queues.begin_walk(self.log.appended().0);
            self.walked = Some(Checkpoint::capture(&self.log, queues, self.sequence, wall_ms, vec![counted]));
        }
    }

    /// Goes on with the checkpoint being taken.
    fn walk(&mut self, looks: usize) {
        if self.walked.is_some() && self.queues.step_walk(looks) {
            let queues = self.queues.end_walk();
            self.checkpoint = self.walked.take().map(|walked| Checkpoint { queues, ..walked });
        }
    }

    /// Makes all durable, if the disk still can.
    fn flush(&mut self) -> bool {
        while self.log.durable() < self.log.appended() && self.log.fault().is_none() {
            self.prepare(100);
            self.write_all(Urge::Stop);
            self.complete();
        }
        self.log.fault().is_none()
    }

    /// What a stop without a crash does.
    pub(super) fn stop_cleanly(&mut self) {
        self.flush();
        self.checkpoint();
        self.walk(usize::MAX);
        self.checkpoint();
    }

    /// One own record, made durable.
    pub(super) fn settle(&mut self) -> bool {
        self.flush() && {
            self.append_own();
            self.flush()
        }
    }

    /// What the last frame says was durable: all below its own position, if it was written after [`World::settle`].
    pub(super) fn last_claim(&self) -> u64 {
        self.history.last().map_or(0, |last| last.position - frame::HEADER as u64)
    }

    pub(super) fn crash(&mut self) {
        if let Some(base) = self.wanted.first().filter(|_| self.rng.chance(50)) {
            self.disk.segments.insert(base.0, vec![0; self.rng.below(SEGMENT) as usize]); // Its making was interrupted.
        }
        self.disk.crash(&mut self.rng);
        self.disk.damage_helpers(&mut self.rng);
    }

    pub(super) fn clone_disk(&self) -> FakeDisk {
        self.disk.clone()
    }

    /// Recovers, checks, and goes on with what was found.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        if self.planted != Planted::KeepEpoch {
            self.options.epoch += 1;
        }
        let mut disk = std::mem::take(&mut self.disk);
        let (mut recovered, seen) = self.recover_with(&disk).map_err(|error| format!("refused: {error}"))?;
        // As few index pages in memory as there may be.
        recovered.queues.set_page_limit(0);
        self.repair(&mut recovered, &mut disk)?;
        let kept = check::recovered(self, &disk, &mut recovered, &seen)?;
        self.history.truncate(kept);
        let counted = recovered.checkpoint.as_ref().and_then(|found| found.section(COUNTED)).map_or(0, number);
        self.owns = counted + seen.owns.len() as u64;
        self.sequence = recovered.checkpoint.as_ref().map_or(self.sequence, |found| found.sequence);
        (self.log, self.queues, self.keys) = (recovered.log, recovered.queues, recovered.keys);
        self.log.planted = self.planted;
        (self.wanted, self.build, self.checkpoint, self.walked) = (Vec::new(), None, None, None);
        (self.begun, self.partial) = (None, None);
        // The indexes of segments that will be written again say nothing any more.
        disk.in_flight.clear();
        self.disk = disk;
        Ok(())
    }

    /// Makes again the indexes that are gone or damaged, as far as somebody noticed.
    pub(super) fn repair(&self, recovered: &mut Recovered, disk: &mut FakeDisk) -> Result<(), String> {
        // Each look at a damaged index finds it; here all are looked at.
        for (base, file) in &disk.indexes {
            let base = SegmentBase(*base);
            let whole = index_file::IndexFile::decode(file, self.log.layout(), base).is_some();
            if base.0 < recovered.queues.indexed_to() && !whole {
                recovered.queues.note_damaged(base);
            }
        }
        let mut damaged = recovered.queues.damaged().to_vec();
        damaged.sort_unstable();
        let start = recovered.report.first.0;
        for base in damaged {
            let told = |error: RebuildError| format!("the index of {base:?} cannot be made again: {error:?}");
            let mut rebuild = Rebuild::new(self.options, start, base).map_err(told)?;
            while let Some(range) = rebuild.next_read() {
                rebuild.supply(&disk.read(&range)).map_err(told)?;
            }
            let bytes = rebuild.finish();
            let decode =
                |bytes: &[u8]| index_file::IndexFile::decode(bytes, self.log.layout(), base).expect("just made");
            let written = self.written_indexes.get(&base.0).map(|written| decode(written));
            if written.is_some_and(|written| !written.says_the_same(&decode(&bytes), SegmentBase(start))) {
                return Err(format!("the index of {base:?} was made again differently"));
            }
            disk.indexes.insert(base.0, bytes);
            recovered.queues.repaired(base);
        }
        Ok(())
    }

    pub(super) fn recover_from(&self, disk: &FakeDisk) -> Result<Recovered, RecoveryError> {
        let mut other = LogOptions { epoch: self.options.epoch + 1, ..self.options };
        other.seed = self.options.seed;
        recover(other, self.planted, disk).map(|(recovered, _)| recovered)
    }

    fn recover_with(&self, disk: &FakeDisk) -> Result<(Recovered, Seen), RecoveryError> {
        recover(self.options, self.planted, disk)
    }
}

/// Own records that recovery told of, by the number in them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) owns: Vec<u64>,
    pub(super) messages: BTreeMap<u64, usize>,
}

impl Visitor for Seen {
    fn message(&mut self, position: Position, record: &ringmq_protocol::record::RecordRef<'_>) {
        self.messages.insert(position.0, record.bytes().len());
    }

    fn own(&mut self, _: Position, record: OwnRecord<'_>) -> Result<(), recovery::Malformed> {
        if record.kind == OwnKind::OffsetBatch {
            self.owns.push(number(record.payload));
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("the world writes eight bytes"))
}

fn recover(options: LogOptions, planted: Planted, disk: &FakeDisk) -> Result<(Recovered, Seen), RecoveryError> {
    let file = |(base, bytes): (&u64, &Vec<u8>)| FoundFile { base: SegmentBase(*base), len: bytes.len() as u64 };
    let [one, two] = &disk.checkpoints;
    let found = Found {
        segments: disk.segments.iter().map(file).collect(),
        indexes: disk.indexes.iter().map(file).collect(),
        partials: disk.partials.iter().map(file).collect(),
        checkpoint: Checkpoint::newest([one.as_deref(), two.as_deref()]).or(disk.origin.clone()),
    };
    let mut recovery = Recovery::new(options, found)?;
    recovery.planted = planted;
    let mut seen = Seen::default();
    while let Some(range) = recovery.next_read() {
        recovery.supply(&disk.read(&range), &mut seen)?;
    }
    Ok((recovery.finish(), seen))
}
