//! The same messages on another number of shards: what goes where, and what must be changed in it on the way.
//!
//! Owns the new home of every queue, the copying of records (only what is alive: a message above its queue's minimum, a
//! delayed message that waits, a half message nobody decided) and the records that carry the rest of the state over:
//! topics, groups, settings, consumer offsets, delay clock, checks of half messages, what groups hold by POP. All of it goes
//! into the new logs as records, so that a start finds it as it finds everything. Never opens a file.
//!
//! Queue offsets, store times and bodies stay. Physical offsets change, and with them the message ids that contain one;
//! `preparedTransactionOffset`, which names a place in the old log, becomes 0.

mod copy;
mod state;

use std::collections::BTreeMap;
use std::fmt;

use ringmq_protocol::offset::Position;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::RecordRef;

use crate::append;
use crate::delay::SCHEDULE_TOPIC;
use crate::event::ShardId;
use crate::half::{HALF_TOPIC, OP_TOPIC};
use crate::map::{Map, Set};
use crate::metadata::Metadata;
use crate::shard::Shard;
#[cfg(doc)]
use crate::store::Urge;
use crate::store::{AppendRefused, Begun, CommitLog, LogOptions, OwnKind, OwnRecord};
use crate::topic::{Change, Owners, Topic, TopicTable, read_snapshot};

use self::copy::Changed;
use self::state::{Clock, Halves};

/// Mono time of every append: nobody waits for any, so writes begin when they are full.
const STORED_US: u64 = 1;

/// Why a directory cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReshardError {
    /// A record of the old log, which recovery understood, makes no sense here.
    Record { shard: ShardId, position: Position },
    /// A record does not fit into the new log.
    NotTaken(AppendRefused),
    /// More messages of one queue are popped by one group than fit into one record.
    TooManyPopped { topic: Box<str>, group: Box<str> },
    /// The old metadata cannot be read.
    Metadata,
    /// A queue does not end up as it was.
    Differs { topic: Box<str>, queue: u32, before: (u64, u64), after: Option<(u64, u64)> },
}

impl fmt::Display for ReshardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReshardError::Record { shard, position } => {
                write!(f, "the record at {position} of shard {} makes no sense", shard.0)
            }
            ReshardError::NotTaken(refused) => write!(f, "a record is not taken by the new log: {refused:?}"),
            ReshardError::TooManyPopped { topic, group } => {
                write!(f, "group {group} holds too many popped messages of {topic}; let it acknowledge them first")
            }
            ReshardError::Metadata => write!(f, "topics and groups cannot be read"),
            ReshardError::Differs { topic, queue, before, after } => {
                let (min, max) = before;
                write!(f, "queue {queue} of {topic} had offsets {min}..{max} and ")?;
                match after {
                    Some((min, max)) => write!(f, "would have {min}..{max}"),
                    None => write!(f, "would be empty"),
                }
            }
        }
    }
}

impl std::error::Error for ReshardError {}

/// What was carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    pub messages: u64,
    pub delayed: u64,
    pub halves: u64,
    pub offsets: u64,
    /// Groups' lines of popped messages.
    pub popped: u64,
    /// Messages of queues that no topic names any more.
    pub homeless: u64,
}

/// One directory being rewritten: [`Reshard::copy`] every record, oldest first, then [`Reshard::finish`]; the new logs are written
/// as they fill.
#[derive(Debug)]
pub struct Reshard<'s> {
    sources: &'s [Shard],
    topics: TopicTable,
    /// The first offset of each queue that the old logs still have: what an index on disk would say after messages expired.
    firsts: Map<Box<str>, BTreeMap<u32, u64>>,
    clocks: Vec<Clock>,
    halves: Vec<Halves>,
    targets: Vec<Target>,
    pub carried: Carried,
}

/// A new log, and the numbers of its own queues: the schedule's and that of half messages are each shard's own.
#[derive(Debug)]
struct Target {
    log: CommitLog,
    queues: Map<(&'static str, u32), Numbered>,
    /// Half messages that were asked about, by their new position.
    checks: Vec<(Position, u32)>,
    /// Topics of which the log says that they begin.
    begun: Set<Box<str>>,
}

/// The next offset of a shard's own queue, and the last store time in it.
#[derive(Debug, Clone, Copy, Default)]
struct Numbered {
    next: i64,
    stored_ms: i64,
}

impl<'s> Reshard<'s> {
    /// From these shards, all of them, to as many as there are `options`.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn new(sources: &'s [Shard], options: Vec<LogOptions>) -> Result<Self, ReshardError> {
        let to = u16::try_from(options.len()).expect("shards are numbered by 16 bits");
        let control = sources.first().expect("a directory has at least one shard");
        let clocks = Clock::of_all(sources);
        let mut reshard = Reshard {
            sources,
            topics: TopicTable::new(to),
            firsts: Map::default(),
            clocks,
            halves: sources.iter().map(Halves::of).collect(),
            targets: options.into_iter().map(Target::new).collect(),
            carried: Carried::default(),
        };
        reshard.put_metadata(&control.metadata)?;
        Ok(reshard)
    }

    /// The new logs, to be written as far as writes are full ([`Urge::Async`] with an age of 0 asks for those).
    pub fn logs(&mut self) -> impl Iterator<Item = &mut CommitLog> {
        self.targets.iter_mut().map(|target| &mut target.log)
    }

    fn put_metadata(&mut self, metadata: &Metadata) -> Result<(), ReshardError> {
        let shards = self.sources.len() as u16;
        let mut changes = Vec::new();
        read_snapshot(&metadata.snapshot(), shards, |change| changes.push(change))
            .map_err(|_| ReshardError::Metadata)?;
        // Retry topics last: where their queues go depends on those of the topics.
        changes.sort_by_key(|change| matches!(change, Change::TopicPut(topic) if topic.is_retry()));
        for change in changes {
            let mut change = match change {
                Change::TopicPut(topic) => Change::TopicPut(self.place(&topic)),
                other => other,
            };
            // A new log, so the topics are other makings than they were.
            change.keep(&mut self.targets[0].log, STORED_US).map_err(ReshardError::NotTaken)?;
            if let Change::TopicPut(topic) = change {
                self.topics.put(topic);
            }
        }
        Ok(())
    }

    /// The topic on the new shards.
    fn place(&mut self, topic: &Topic) -> Topic {
        // First with all queues that ever were, for they may hold messages; then as many as are seen.
        let all = topic.shards.len() as u32;
        let mut whole = self.topics.plan(topic.spec(all, all));
        if let Some(of) = popped_of(&self.topics, &topic.name) {
            // A pop looks for what was revived on the shards of the topic itself.
            let owners = of.shards.distinct();
            let round: Vec<ShardId> = owners.iter().copied().cycle().take(topic.shards.len()).collect();
            whole.shards = Owners::listed(&round, self.targets.len() as u16);
        }
        self.topics.put(whole);
        self.topics.plan(topic.spec(topic.read_queues, topic.write_queues))
    }

    /// Copies one record of the old logs if it is alive. Those of one shard come in their order.
    ///
    /// # Errors
    /// It makes no sense, or the new log does not take it.
    pub fn copy(&mut self, shard: ShardId, position: Position, bytes: &[u8]) -> Result<(), ReshardError> {
        if OwnRecord::parse(bytes).is_some() {
            return Ok(());
        }
        let bad = ReshardError::Record { shard, position };
        let record = RecordRef::parse(bytes).map_err(|_| bad.clone())?;
        if !self.is_alive(shard, position, &record).ok_or(bad.clone())? {
            return Ok(());
        }
        match record.topic() {
            OP_TOPIC => Ok(()),
            SCHEDULE_TOPIC => self.copy_delayed(shard, position, &record, bytes).ok_or(bad)?,
            HALF_TOPIC => self.copy_half(shard, position, &record, bytes),
            topic => match self.home(topic, record.queue_id()) {
                Some(home) => {
                    self.carried.messages += 1;
                    let changed = Changed { queue_offset: record.queue_offset(), times: None };
                    self.begun(home, topic)?.put(bytes, &changed).map(drop)
                }
                None => {
                    self.carried.homeless += 1;
                    Ok(())
                }
            },
        }
    }

    /// Whether a message is still one of its queue. `None` if it cannot be of any.
    fn is_alive(&mut self, shard: ShardId, position: Position, record: &RecordRef<'_>) -> Option<bool> {
        let queue = u32::try_from(record.queue_id()).ok()?;
        let offset = u64::try_from(record.queue_offset()).ok()?;
        let Shard { queues, metadata, .. } = &self.sources[usize::from(shard.0)];
        let found = queues.find(record.topic(), queue).and_then(|slot| queues.get(slot));
        let within = found.is_some_and(|found| (found.min()..found.max()).contains(&offset));
        // What was delayed or prepared for a topic that was deleted since is not delivered to another one of its name.
        let topic =
            record.property(names::REAL_TOPIC).filter(|_| [SCHEDULE_TOPIC, HALF_TOPIC].contains(&record.topic()));
        let topic = topic.unwrap_or(record.topic());
        let is_present = || append::is_of_present(&metadata.topics, queues, topic, position);
        // A queue of no topic at all is counted as such.
        let alive = within && (metadata.topics.get(topic).is_none() || is_present());
        if alive {
            self.firsts.entry_ref(record.topic()).or_default().entry(queue).or_insert(offset);
        }
        Some(alive)
    }

    /// A new log that says that the topic begins there, if it has anything of it.
    fn begun(&mut self, home: ShardId, topic: &str) -> Result<&mut Target, ReshardError> {
        let incarnation = self.topics.incarnation(topic);
        let target = &mut self.targets[usize::from(home.0)];
        if !incarnation.is_none() && !target.begun.contains(topic) {
            target.own(OwnKind::TopicBegun, &Begun { topic, incarnation }.payload())?;
            target.begun.insert(topic.into());
        }
        Ok(target)
    }

    /// Queues whose messages have all expired go on, too.
    fn put_begun(&mut self) -> Result<(), ReshardError> {
        for source in self.sources {
            for (topic, queue, _) in source.queues.iter().filter(|(_, _, queue)| queue.max() > 0) {
                if let Some(home) = self.home(topic, queue as i32) {
                    self.begun(home, topic)?;
                }
            }
        }
        Ok(())
    }

    /// The new shard of a queue.
    fn home(&self, topic: &str, queue: i32) -> Option<ShardId> {
        let owners: &Owners = &self.topics.get(topic)?.shards;
        owners.get(u32::try_from(queue).ok()?)
    }

    /// Writes down what no message says. The logs are to be written to their end afterwards.
    ///
    /// # Errors
    /// The new logs do not take it.
    pub fn finish(&mut self) -> Result<(), ReshardError> {
        self.put_begun()?;
        self.put_clock()?;
        self.put_checks()?;
        self.put_offsets()?;
        self.put_popped()
    }

    /// Compares the new shards, opened anew, with the old ones, and lets queues whose messages have all expired go on where
    /// they were.
    ///
    /// # Errors
    /// A queue is not as it was.
    pub fn compare(&self, opened: &mut [Shard]) -> Result<(), ReshardError> {
        for source in self.sources {
            for (topic, queue, before) in source.queues.iter() {
                let Some(home) = self.home(topic, queue as i32) else { continue };
                if [OP_TOPIC, SCHEDULE_TOPIC, HALF_TOPIC].contains(&topic) || before.max() == 0 {
                    continue;
                }
                let new = &mut opened[usize::from(home.0)].queues;
                let met = self.firsts.get(topic).and_then(|queues| queues.get(&queue)).copied();
                let before = (before.min().max(met.unwrap_or(before.max())), before.max());
                if before.0 == before.1 {
                    state::go_on_at(new, topic, queue, before.1);
                }
                let after = new.find(topic, queue).and_then(|slot| new.get(slot));
                let after = after.map(|queue| (queue.min(), queue.max()));
                if after != Some(before) {
                    return Err(ReshardError::Differs { topic: topic.into(), queue, before, after });
                }
            }
        }
        Ok(())
    }
}

/// The topic whose popped messages go to a retry topic of this name, `%RETRY%group_topic` or `%RETRY%group+topic`.
fn popped_of<'t>(topics: &'t TopicTable, name: &str) -> Option<&'t Topic> {
    let rest = name.strip_prefix("%RETRY%")?;
    rest.match_indices(['_', '+']).find_map(|(at, _)| topics.get(&rest[at + 1..]))
}

impl Target {
    fn new(options: LogOptions) -> Self {
        Target { log: CommitLog::new(options), queues: Map::default(), checks: Vec::new(), begun: Set::default() }
    }

    /// Appends an own record.
    fn own(&mut self, kind: OwnKind, payload: &[u8]) -> Result<(), ReshardError> {
        let record = OwnRecord { kind, payload };
        let taken = self.log.append(STORED_US, record.size(), |_, bytes| record.encode(bytes));
        taken.map(drop).map_err(ReshardError::NotTaken)
    }
}
