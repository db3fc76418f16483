//! From a shard's directory to a shard that works, and the checkpoint that makes the next start short.
//!
//! Owns which sections a checkpoint has besides the store's, and what is collected from records while the log is read.
//! Reading itself is `store::recovery`'s; opening files is the driver's. Never starts a shard from damaged bytes.

mod past;

use std::collections::BTreeMap;

use ringmq_protocol::offset::Position;
use ringmq_protocol::record::RecordRef;

use crate::cold::Cold;
use crate::control::Control;
use crate::delay::progress::Resumption;
use crate::delay::{self, Delay};
use crate::duties::Duty;
use crate::event::{Now, ShardId};
use crate::half;
use crate::map::Map;
use crate::metadata::{Metadata, Restoring, SnapshotWalk};
use crate::offsets::{self, Offsets, OffsetsWalk};
use crate::pop;
use crate::retain;
use crate::settings::{BrokerSettings, Loaded};
use crate::shard::Shard;
use crate::store::checkpoint::{QueueMarks, Section};
use crate::store::recovery::{Found, Malformed, RecoveryReport};
use crate::store::retention::SizeTold;
use crate::store::{Begun, Incarnation, ReadRange};
use crate::store::{
    Checkpoint, CommitLog, KeyIndex, Layout, LogOptions, OwnKind, OwnRecord, QueueTable, Recovered, Recovery,
};
use crate::store::{Miss, Rebuild, RebuildError, RecoveryError, SegmentBase, Supplied, Visitor, Wanted};
use crate::topic::Change;

/// Checkpoint section of the control shard: topics, groups, settings changed at run time.
const METADATA: u16 = 16;

/// Checkpoint section: OffsetBatch payloads, each behind its length (u32).
const OFFSETS: u16 = 17;

/// Checkpoint section: how far the schedule was delivered.
const DELAY: u16 = 18;

/// Checkpoint section: the undecided half messages.
const HALF: u16 = 19;

/// Checkpoint section: what groups hold by POP.
const POP: u16 = 20;

/// Checkpoint section: bytes per segment of topics of limited size.
const SIZES: u16 = 21;

/// What a shard knows of metadata when it starts.
#[derive(Debug)]
pub enum Knowledge {
    /// The control shard reads it from its own log, over these settings.
    Truth(Box<Loaded<BrokerSettings>>),
    /// The others get a copy of the control shard's.
    Copy(Box<Metadata>),
}

/// A shard being opened. Call [`Opening::next_read`] and [`Opening::supply`] in turn until nothing is wanted.
#[derive(Debug)]
pub struct Opening {
    id: ShardId,
    shards: u16,
    options: LogOptions,
    phase: Phase,
    told: Told,
}

/// What is being read.
#[derive(Debug)]
enum Phase {
    /// The log.
    Recovery(Box<Recovery>),
    /// What of the schedule lies in indexes on disk.
    Schedule(Box<Rescheduling>),
}

/// A recovered log whose delayed messages are being looked for.
#[derive(Debug)]
struct Rescheduling {
    recovered: Recovered,
    restoring: Resumption,
    /// Pages that are missed.
    wanted: Option<Wanted>,
    /// An index that is damaged, being made again.
    rebuild: Option<Rebuild>,
    /// Indexes made again, for this start's own use.
    rebuilt: Vec<(SegmentBase, Vec<u8>)>,
}

impl Rescheduling {
    fn new(recovered: Recovered, progress: delay::progress::Progress) -> Self {
        let restoring = Resumption::new(progress, &recovered.queues);
        Rescheduling { recovered, restoring, wanted: None, rebuild: None, rebuilt: Vec::new() }
    }

    /// Goes on until something must be read.
    fn advance(&mut self, options: LogOptions) -> Result<(), OpenError> {
        loop {
            let queues = &mut self.recovered.queues;
            if self.wanted.is_none() && self.restoring.advance(queues).is_ok() {
                // They are made again for good as soon as the shard runs.
                self.rebuilt.drain(..).for_each(|(base, _)| queues.note_damaged(base));
                return Ok(());
            }
            let base = match self.wanted.map_or_else(|| queues.take_miss(), |wanted| Some(Miss::Pages(wanted))) {
                Some(Miss::Pages(wanted)) => {
                    self.wanted = Some(wanted);
                    let Some((_, file)) = self.rebuilt.iter().find(|(base, _)| *base == wanted.base) else {
                        return Ok(());
                    };
                    let range = wanted.range();
                    let pages = file.get(range.offset as usize..(range.offset + range.len) as usize);
                    match queues.supply(&wanted, pages) {
                        Supplied::More(more) => self.wanted = Some(more),
                        Supplied::Again => self.wanted = None,
                        // It is whole, but not what the checkpoint says.
                        Supplied::Damaged => {
                            return Err(OpenError::Recovery(RecoveryError::Contradicted { base: wanted.base }));
                        }
                    }
                    continue;
                }
                Some(Miss::Damaged(base)) => base,
                None => unreachable!("whoever finds something cold notes it"),
            };
            self.begin_rebuild(options, base)?;
            return Ok(());
        }
    }

    /// # Errors
    /// It was made again already, or cannot be.
    fn begin_rebuild(&mut self, options: LogOptions, base: SegmentBase) -> Result<(), OpenError> {
        if self.rebuilt.iter().any(|(rebuilt, _)| *rebuilt == base) {
            return Err(OpenError::Recovery(RecoveryError::Contradicted { base }));
        }
        let start = self.recovered.report.first.0;
        self.rebuild = Some(Rebuild::new(options, start, base).map_err(unreadable)?);
        Ok(())
    }

    fn supply(&mut self, options: LogOptions, bytes: &[u8]) -> Result<(), OpenError> {
        let Rescheduling { recovered, wanted, rebuild, rebuilt, .. } = self;
        if let Some(making) = rebuild {
            match making.supply(bytes) {
                Ok(()) => {}
                Err(RebuildError::Before(base)) => return self.begin_rebuild(options, base),
                Err(error) => return Err(unreadable(error)),
            }
            if making.next_read().is_some() {
                return Ok(());
            }
            let done = rebuild.take().expect("asked above");
            let base = done.base();
            recovered.queues.repaired(base);
            rebuilt.push((base, done.finish()));
        } else if let Some(pages) = wanted.take() {
            match recovered.queues.supply(&pages, Some(bytes)) {
                Supplied::More(more) => *wanted = Some(more),
                Supplied::Again => {}
                Supplied::Damaged => return self.begin_rebuild(options, pages.base),
            }
        }
        self.advance(options)
    }
}

/// An index is damaged and its segment, too.
fn unreadable(error: RebuildError) -> OpenError {
    match error {
        RebuildError::Log(error) => OpenError::Recovery(error),
        RebuildError::Before(base) => OpenError::Recovery(RecoveryError::Missing { base }),
    }
}

/// A shard that is ready, and how it got there.
#[derive(Debug)]
pub struct Opened {
    pub shard: Shard,
    pub report: RecoveryReport,
    /// Sequence number for [`Shard::checkpoint`].
    pub next_checkpoint: u64,
}

/// Why a shard cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The log or what belongs to it.
    Recovery(RecoveryError),
    /// A section of the checkpoint has a right checksum and makes no sense: another version wrote it.
    Section { kind: u16 },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Recovery(error) => error.fmt(f),
            OpenError::Section { kind } => {
                write!(f, "section {kind} of the checkpoint cannot be read; did a newer version of RingMQ write it?")
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        OpenError::Recovery(error)
    }
}

/// A topic's offsets, by queue and group. The log may hold a day of batches; only the last word per queue counts, and only
/// that about the last making of the topic.
#[derive(Debug, Default)]
struct OfTopic {
    incarnation: Incarnation,
    places: BTreeMap<(u32, Box<str>), i64>,
}

/// What records say, in log order, until there is a shard to tell it to.
#[derive(Debug)]
struct Told {
    metadata: Restoring,
    offsets: Map<Box<str>, OfTopic>,
    delay: delay::progress::Progress,
    half: half::progress::Progress,
    pop: pop::record::Progress,
    sizes: SizeTold,
    layout: Layout,
    shards: u16,
}

impl Visitor for Told {
    fn message(&mut self, position: Position, record: &RecordRef<'_>) {
        self.sizes.stored(record.topic(), self.layout.segment_of(position), record.bytes().len() as u64);
        self.delay.saw(record);
        self.half.saw(record);
    }

    fn own(&mut self, _position: Position, record: OwnRecord<'_>) -> Result<(), Malformed> {
        match record.kind {
            OwnKind::OffsetBatch => self.take_offsets(record.payload),
            OwnKind::TopicBegun => {
                // What was told of it before is of another incarnation. Offsets say themselves of which they are.
                let Begun { topic, .. } = Begun::read(record.payload).ok_or(Malformed)?;
                self.pop.keep_topics(|other| other != topic);
                self.sizes.dropped(topic);
                Ok(())
            }
            OwnKind::TopicPut | OwnKind::TopicDrop | OwnKind::GroupPut | OwnKind::GroupDrop | OwnKind::SettingPut => {
                let change = Change::from_record(record.kind, record.payload, self.shards).map_err(|_| Malformed)?;
                self.metadata.take(change);
                Ok(())
            }
            OwnKind::DelayClock => self.delay.clock_record(record.payload).map_err(|_| Malformed),
            OwnKind::HalfChecked => self.half.checked_record(record.payload).map_err(|_| Malformed),
            OwnKind::Pop => self.pop.record(record.payload).map_err(|_| Malformed),
        }
    }
}

impl Told {
    fn new(shards: u16, layout: Layout) -> Self {
        Told {
            metadata: Restoring::new(shards),
            offsets: Map::default(),
            delay: Default::default(),
            half: Default::default(),
            pop: Default::default(),
            sizes: Default::default(),
            layout,
            shards,
        }
    }

    fn take_offsets(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let taken = offsets::read_batch(payload, |topic, incarnation, queue, group, offset| {
            let key = (queue, group.into());
            let known = self.offsets.get_mut(topic).filter(|of_topic| of_topic.incarnation == incarnation);
            match (known, offset) {
                (Some(of_topic), Some(offset)) => drop(of_topic.places.insert(key, offset)),
                (Some(of_topic), None) => drop(of_topic.places.remove(&key)),
                (None, Some(offset)) => {
                    let places = BTreeMap::from([(key, offset)]);
                    self.offsets.insert(topic.into(), OfTopic { incarnation, places });
                }
                (None, None) => {}
            }
        });
        taken.map_err(|_| Malformed)
    }

    /// What the checkpoint says, before the log goes on.
    fn begin(&mut self, checkpoint: &Checkpoint) -> Result<(), OpenError> {
        if let Some(bytes) = checkpoint.section(METADATA) {
            self.metadata.take_snapshot(bytes).map_err(|_| OpenError::Section { kind: METADATA })?;
        }
        let mut rest = checkpoint.section(OFFSETS).unwrap_or_default();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let payload = tail.split_at_checked(u32::from_be_bytes(*length) as usize);
            let (payload, later) = payload.ok_or(OpenError::Section { kind: OFFSETS })?;
            self.take_offsets(payload).map_err(|Malformed| OpenError::Section { kind: OFFSETS })?;
            rest = later;
        }
        if let Some(bytes) = checkpoint.section(DELAY) {
            self.delay.restore(bytes).map_err(|_| OpenError::Section { kind: DELAY })?;
        }
        if let Some(bytes) = checkpoint.section(HALF) {
            self.half.restore(bytes).map_err(|_| OpenError::Section { kind: HALF })?;
        }
        if let Some(bytes) = checkpoint.section(POP) {
            self.pop.restore(bytes).map_err(|_| OpenError::Section { kind: POP })?;
        }
        if let Some(bytes) = checkpoint.section(SIZES) {
            self.sizes.section(bytes).map_err(|_| OpenError::Section { kind: SIZES })?;
        }
        Ok(())
    }
}

impl Opening {
    /// Looks at what a shard's directory holds.
    ///
    /// # Errors
    /// A segment is missing, or the checkpoint cannot be read.
    pub fn new(id: ShardId, shards: u16, options: LogOptions, found: Found) -> Result<Self, OpenError> {
        let recovery = Recovery::new(options, found)?;
        let mut told = Told::new(shards, options.layout);
        if let Some(checkpoint) = recovery.checkpoint() {
            told.begin(checkpoint)?;
        }
        let phase = Phase::Recovery(Box::new(recovery));
        let mut opening = Opening { id, shards, options, phase, told };
        if opening.next_read().is_none() {
            opening.supply(&[])?;
        }
        Ok(opening)
    }

    /// What to read next; `None` when the shard can be finished.
    pub fn next_read(&self) -> Option<ReadRange> {
        match &self.phase {
            Phase::Recovery(recovery) => recovery.next_read(),
            Phase::Schedule(schedule) => match &schedule.rebuild {
                Some(rebuild) => rebuild.next_read(),
                None => schedule.wanted.map(|wanted| wanted.range()),
            },
        }
    }

    /// Takes the bytes of [`Opening::next_read`].
    ///
    /// # Errors
    /// They are damaged: the shard must not be used.
    pub fn supply(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        match &mut self.phase {
            Phase::Recovery(recovery) => {
                recovery.supply(bytes, &mut self.told)?;
                if recovery.next_read().is_none() {
                    let recovery =
                        std::mem::replace(recovery, Box::new(Recovery::new(self.options, Found::default())?));
                    self.reschedule(*recovery)?;
                }
                Ok(())
            }
            Phase::Schedule(schedule) => schedule.supply(self.options, bytes),
        }
    }

    /// The log was read: now the delayed messages that wait.
    fn reschedule(&mut self, recovery: Recovery) -> Result<(), OpenError> {
        let mut schedule = Rescheduling::new(recovery.finish(), self.told.delay);
        schedule.advance(self.options)?;
        self.phase = Phase::Schedule(Box::new(schedule));
        Ok(())
    }

    /// Bytes of log that are done, and how many there are at most.
    pub fn progress(&self) -> (u64, u64) {
        match &self.phase {
            Phase::Recovery(recovery) => recovery.progress(),
            Phase::Schedule(schedule) => {
                let end = schedule.recovered.report.end.0;
                (end, end)
            }
        }
    }

    /// The shard.
    ///
    /// # Panics
    /// If there is still something to read.
    pub fn finish(self, now: Now, knowledge: Knowledge) -> Opened {
        let Opening { id, shards, options: _, phase, told } = self;
        let Told { metadata: restored, mut offsets, delay: _, half, mut pop, mut sizes, layout: _, shards: _ } = told;
        let Phase::Schedule(schedule) = phase else { panic!("the log is not read yet") };
        let Rescheduling { recovered, restoring, wanted, rebuild, .. } = *schedule;
        assert!(wanted.is_none() && rebuild.is_none(), "the schedule is not read yet");
        let Recovered { log, mut queues, keys, checkpoint, report } = recovered;
        let (metadata, control) = match knowledge {
            Knowledge::Truth(mut loaded) => {
                let metadata = restored.finish(&mut loaded);
                (metadata, Some(Box::new(Control::new(now, *loaded, shards))))
            }
            Knowledge::Copy(metadata) => (*metadata, None),
        };
        for topic in past::topics(&metadata, &queues) {
            queues.drop_topic(&topic, log.appended());
            sizes.dropped(&topic);
        }
        // A queue for which nothing was stored is in no table.
        pop.keep_topics(|topic| past::is_present(&metadata, &queues, topic));
        offsets.retain(|topic, of_topic| metadata.topics.incarnation(topic) == of_topic.incarnation);
        let mut shard = Shard::new(id, shards, metadata, Storage { log, queues, index: keys });
        shard.control = control;
        shard.restore_offsets(offsets);
        shard.delay = restoring.finish(shard.metadata.settings.delay_levels_ms());
        // From here on no wall clock that somebody sets moves it.
        shard.delay.clock().now_ms(now);
        shard.half = half.finish();
        shard.pop = pop.finish(&mut shard.queues);
        retain::resume(&mut shard, sizes);
        shard.duties.arm(Duty::Revive, now.mono_us);
        // They go on with what waited in the last life.
        shard.duties.arm(Duty::Deliver, now.mono_us);
        shard.duties.arm(Duty::CheckHalves, now.mono_us);
        let next_checkpoint = checkpoint.map_or(1, |checkpoint| checkpoint.sequence + 1);
        Opened { shard, report, next_checkpoint }
    }
}

/// A shard's log and what finds messages in it.
#[derive(Debug)]
pub struct Storage {
    pub log: CommitLog,
    pub queues: QueueTable,
    pub index: KeyIndex,
}

impl Storage {
    /// That of a new directory.
    pub fn new(options: LogOptions) -> Self {
        Storage { log: CommitLog::new(options), queues: QueueTable::new(), index: KeyIndex::new(options.layout) }
    }
}

impl Shard {
    /// A shard over its storage, with nothing under way.
    pub fn new(id: ShardId, shards: u16, metadata: Metadata, storage: Storage) -> Self {
        let Storage { log, queues, index } = storage;
        let cold = Cold::new(&log);
        let delay = Delay::new(metadata.settings.delay_levels_ms());
        Shard {
            id,
            shards,
            metadata,
            log,
            queues,
            index,
            offsets: Offsets::default(),
            waiting: Default::default(),
            held: Default::default(),
            parked: Default::default(),
            reads: Default::default(),
            cold,
            delay,
            half: Default::default(),
            relays: Default::default(),
            pop: Default::default(),
            duties: Default::default(),
            counts: Default::default(),
            scratch: Default::default(),
            control: None,
        }
    }

    fn restore_offsets(&mut self, told: Map<Box<str>, OfTopic>) {
        let Shard { queues, offsets, .. } = self;
        let all = told.iter().flat_map(|(topic, of_topic)| of_topic.places.iter().map(move |place| (topic, place)));
        for (topic, ((queue, group), offset)) in all {
            let slot = queues.open(topic, *queue);
            offsets.restore(offsets::QueuePlace { topic, queue: *queue, slot }, group, *offset);
        }
    }

    /// The state as of the log's end. Write it to `checkpoint.file_name()` when the log is durable up to
    /// `checkpoint.covered`, not earlier; the sequence grows by one with each.
    pub fn checkpoint(&self, now: Now, sequence: u64) -> Checkpoint {
        let mut walks = self.walks();
        while !walks.step(self, usize::MAX) {}
        let mut checkpoint = self.beginning(now, sequence);
        checkpoint.queues = QueueMarks::of(&self.queues);
        checkpoint.sections.extend(walks.finish());
        checkpoint
    }

    /// The same in steps, while requests are served; one at a time.
    pub fn begin_checkpoint(&mut self, now: Now, sequence: u64) -> Capture {
        self.queues.begin_walk(self.log.appended().0);
        Capture { checkpoint: self.beginning(now, sequence), walks: self.walks() }
    }

    /// What is taken at once: there is little of it.
    fn beginning(&self, now: Now, sequence: u64) -> Checkpoint {
        let sections = [
            (DELAY, self.delay.section().into()),
            (HALF, self.half.section()),
            (POP, self.pop.section()),
            (SIZES, self.log.retention.sizes.section()),
        ];
        let sections = sections.into_iter().map(|(kind, bytes)| Section { kind, bytes }).collect();
        Checkpoint::capture(&self.log, QueueMarks::default(), sequence, now.wall_ms, sections)
    }

    fn walks(&self) -> Walks {
        let metadata = self.control.is_some().then(SnapshotWalk::default);
        Walks { offsets: OffsetsWalk::default(), offsets_done: false, metadata }
    }
}

/// What is walked over and may be newer than the position a checkpoint covers.
#[derive(Debug)]
struct Walks {
    offsets: OffsetsWalk,
    offsets_done: bool,
    metadata: Option<SnapshotWalk>,
}

impl Walks {
    fn step(&mut self, shard: &Shard, looks: usize) -> bool {
        let Walks { offsets, offsets_done, metadata } = self;
        if !*offsets_done {
            *offsets_done = offsets.step(&shard.offsets, &shard.queues, &shard.metadata.topics, looks);
            return *offsets_done && metadata.is_none();
        }
        metadata.as_mut().is_none_or(|walk| walk.step(&shard.metadata))
    }

    fn finish(self) -> impl Iterator<Item = Section> {
        let metadata = self.metadata.map(|walk| Section { kind: METADATA, bytes: walk.finish() });
        std::iter::once(Section { kind: OFFSETS, bytes: self.offsets.finish() }).chain(metadata)
    }
}

/// A checkpoint being taken. Its queues are those of its beginning (`store::index::walk`). Offsets, topics, groups and settings are
/// walked over afterwards: they may be newer, for the log tells their changes from the beginning on once more, and telling one
/// again changes nothing.
#[derive(Debug)]
pub struct Capture {
    checkpoint: Checkpoint,
    walks: Walks,
}

impl Capture {
    /// One step, over `looks` queues at most; whether it was the last.
    pub fn step(&mut self, shard: &mut Shard, looks: usize) -> bool {
        shard.queues.step_walk(looks) && self.walks.step(shard, looks)
    }

    /// The checkpoint, and up to where the log must be durable before it is written: all that it tells of.
    pub fn finish(self, shard: &mut Shard) -> (Checkpoint, Position) {
        let Capture { mut checkpoint, walks } = self;
        checkpoint.queues = shard.queues.end_walk();
        checkpoint.sections.extend(walks.finish());
        (checkpoint, shard.log.appended())
    }
}
