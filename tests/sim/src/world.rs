//! One run: shards, disks, clients, and a seed that decides what happens next.
//!
//! Owns the actions and their odds. Everything that goes wrong is an `Err` with a sentence; the step and the seed are
//! added by the caller.

pub(crate) mod answers;
mod life;
mod machine;
mod restart;
mod rot;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use ringmq_core::boot::Capture;
use ringmq_core::event::{Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::store::{Checkpoint, IndexBuild, Position, WritePlan};

use self::answers::Asked;
use crate::ledger::{After, Ledger, QueueKey};
use crate::planted::Planted;
use crate::pops::Pops;
use crate::random::Random;

/// Queues of each topic.
const QUEUES: i32 = 3;

/// Queues of a topic that its first message makes.
const NEW_TOPIC_QUEUES: i32 = 4;

/// Producers, each with one connection.
const PRODUCERS: usize = 3;

/// The topic whose messages are consumed by POP.
const POP_TOPIC: &str = "pop";

/// Half messages that are never decided stay: nobody is asked so often. Segments expire after an hour, at any hour of the day.
const SETTINGS: &str = "brokerName=sim\nbrokerClusterName=sim\nflushDiskType=SYNC_FLUSH\ntransactionCheckMax=10000\n\
    fileReservedTime=1\ndeleteWhen=00;01;02;03;04;05;06;07;08;09;10;11;12;13;14;15;16;17;18;19;20;21;22;23\n";

/// fileReservedTime above, microseconds.
const RESERVED_US: u64 = 3_600_000_000;

/// Most shards a directory is rewritten to.
const SHARDS: u64 = 4;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A checksum over every frame that clients received, in order: equal for equal seeds.
    pub trace: u64,
    pub sent: usize,
    pub kept: usize,
    pub cuts: u32,
    pub stops: u32,
    pub faults: u32,
    /// Starts on a directory with a flipped bit: healed, and refused with an error.
    pub healed: u32,
    pub refused: u32,
    /// Segments that expired, and directories rewritten to another number of shards.
    pub released: u32,
    pub resharded: u32,
}

/// What can happen in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Send,
    Later,
    Prepare,
    Decide,
    Deliver,
    StartWrites,
    FinishWrite,
    Pull,
    ServeRead,
    TimePasses,
    StoreOffset,
    Pop,
    Ack,
    BuildIndex,
    Checkpoint,
    Look,
    Remove,
    DropTopic,
    MakeTopic,
    FullDisk,
    FailWrite,
    FailRead,
    Cut,
    Stop,
    Reshard,
}

/// Each action with its odds, and whether a seed may do without it.
const ODDS: [(Action, u64, bool); 25] = [
    (Action::Send, 280, false),
    (Action::Later, 25, true),
    (Action::Prepare, 12, true),
    (Action::Decide, 15, true),
    (Action::Deliver, 240, false),
    (Action::StartWrites, 140, false),
    (Action::FinishWrite, 150, false),
    (Action::Pull, 45, true),
    (Action::ServeRead, 35, false),
    (Action::TimePasses, 60, false),
    (Action::StoreOffset, 20, true),
    (Action::Pop, 25, true),
    (Action::Ack, 25, true),
    (Action::BuildIndex, 15, true),
    (Action::Checkpoint, 10, true),
    (Action::Look, 12, true),
    (Action::Remove, 15, true),
    (Action::DropTopic, 3, true),
    (Action::MakeTopic, 3, false),
    (Action::FullDisk, 3, true),
    (Action::FailWrite, 3, true),
    (Action::FailRead, 2, true),
    (Action::Cut, 8, true),
    (Action::Stop, 6, true),
    (Action::Reshard, 1, true),
];

/// What clients know of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exists {
    Yes,
    No,
    /// Its deletion was asked for.
    Dropping,
    /// Its making was asked for.
    Making,
}

#[derive(Debug, Clone, Copy)]
struct Topic {
    /// It promises to keep what it acknowledges.
    durable: bool,
    exists: Exists,
}

/// A half message whose end its producer may ask for.
#[derive(Debug, Clone, Copy)]
struct HalfMessage {
    number: usize,
    /// Its wire offset, and its offset in the half topic.
    place: (i64, i64),
    commit: Option<bool>,
}

/// How far the removal of a segment's files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Nothing was done yet.
    Taken,
    /// Its index is gone.
    WithoutIndex,
}

/// A run under way.
pub struct World {
    harness: Harness,
    random: Random,
    planted: Planted,
    /// Actions up to their odds' running sum.
    odds: Vec<(Action, u64)>,
    ledger: Ledger,
    topics: BTreeMap<String, Topic>,
    producers: Vec<Origin>,
    consumer: Origin,
    open: BTreeMap<(u32, i32), Asked>,
    next_opaque: i32,
    halves: Vec<HalfMessage>,
    /// Messages that were sent with a unique id.
    keyed: BTreeSet<usize>,
    pops: Pops,
    /// The last read was made to fail.
    read_failed: bool,
    /// Checkpoints being taken, a step at a time.
    captures: Vec<(ShardId, Capture)>,
    /// Those that wait until all they tell of is durable.
    checkpoints: Vec<(ShardId, Checkpoint, Position)>,
    builds: Vec<(ShardId, IndexBuild)>,
    /// Files of released segments that are being removed, and how far that is.
    removing: Vec<(ShardId, u64, Removal)>,
    /// How many executors the process has; connections are made to the first shard of one.
    executors: usize,
    /// Whether seeds have hours in which nothing else happens.
    long_lived: bool,
    /// Writes that were reported and are not on the disk; a planted bug.
    unsynced: Vec<(ShardId, WritePlan, Vec<u8>)>,
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
        World::with_bug(seed, Planted::Nothing)
    }

    /// The same with a bug in it.
    ///
    /// # Errors
    /// The broker does not make its topics.
    pub fn with_bug(seed: u64, planted: Planted) -> Result<World, String> {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(4) as u16;
        let segment = [64 << 10, 128 << 10, 1 << 20][random.index(3)];
        let tail = [1 << 20, 4 << 20][random.index(2)];
        let odds = odds(&mut random);
        let mut harness = Harness::with_sizes(shards, SETTINGS, segment, tail);
        let consumer = harness.connect(ShardId(0));
        let outcome = Outcome { trace: seed, ..Outcome::default() };
        let long_lived = random.percent(40);
        let mut world = World {
            harness,
            random,
            planted,
            odds,
            ledger: Ledger::default(),
            topics: BTreeMap::new(),
            producers: Vec::new(),
            consumer,
            open: BTreeMap::new(),
            next_opaque: 0,
            halves: Vec::new(),
            keyed: BTreeSet::new(),
            read_failed: false,
            pops: Pops::default(),
            captures: Vec::new(),
            checkpoints: Vec::new(),
            builds: Vec::new(),
            removing: Vec::new(),
            executors: usize::from(shards),
            long_lived,
            unsynced: Vec::new(),
            stored: BTreeMap::new(),
            asked_offsets: BTreeMap::new(),
            outcome,
        };
        for (topic, durable) in
            [("sync", true), ("async", false), (POP_TOPIC, true), ("drop-0", true), ("drop-1", false)]
        {
            world.make_topic_now(topic, durable)?;
        }
        world.ledger.keeps_for(RESERVED_US);
        world.connect();
        world.harness.eager = false;
        world.harness.prompt = false;
        Ok(world)
    }

    fn connect(&mut self) {
        // A process with fewer cores hosts several shards on each, and connections are the first one's.
        self.executors = 1 + self.random.index(self.harness.nodes.len());
        let executors = self.executors;
        self.producers = (0..PRODUCERS)
            .map(|_| {
                let home = ShardId(self.random.index(executors) as u16);
                self.harness.connect(home)
            })
            .collect();
        let home = ShardId(self.random.index(executors) as u16);
        self.consumer = self.harness.connect(home);
    }

    fn opaque(&mut self) -> i32 {
        self.next_opaque += 1;
        self.next_opaque
    }

    fn node(&mut self) -> ShardId {
        ShardId(self.random.index(self.harness.nodes.len()) as u16)
    }

    /// Lives through `steps` actions, then a last power cut.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn run(mut self, steps: u32) -> Result<Outcome, String> {
        self.live(steps)?;
        self.restart(After::Cut).map_err(|why| format!("after the last power cut: {why}"))?;
        self.end().map_err(|why| format!("at the end: {why}"))?;
        let (sent, kept) = (self.ledger.len(), self.ledger.kept());
        Ok(Outcome { sent, kept, ..self.outcome })
    }

    /// The actions alone.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn live(&mut self, steps: u32) -> Result<(), String> {
        for step in 0..steps {
            self.step().map_err(|why| format!("step {step}: {why}"))?;
        }
        Ok(())
    }

    /// Ends it, by a power cut or in order, and gives out the broker that has started again, with what is known of it.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn into_parts(mut self, cut: bool) -> Result<(Harness, Ledger), String> {
        self.restart(if cut { After::Cut } else { After::Stop })?;
        Ok((self.harness, self.ledger))
    }

    fn step(&mut self) -> Result<(), String> {
        let all = self.odds.last().map_or(1, |(_, sum)| *sum);
        let dice = self.random.below(all);
        let at = self.odds.partition_point(|(_, sum)| *sum <= dice);
        match self.odds[at].0 {
            Action::Send => self.send(),
            Action::Later => self.send_later(),
            Action::Prepare => self.prepare(),
            Action::Decide => self.decide(),
            Action::Deliver => self.deliver(),
            Action::StartWrites => self.start_writes(),
            Action::FinishWrite => self.finish_write(),
            Action::Pull => self.pull(),
            Action::ServeRead => self.serve_read(),
            Action::TimePasses => self.let_time_pass(),
            Action::StoreOffset => self.store_offset(),
            Action::Pop => self.pop(),
            Action::Ack => self.ack(),
            Action::BuildIndex => self.build_index(),
            Action::Checkpoint => self.take_checkpoint(),
            Action::Look => self.look_at_volume(),
            Action::Remove => self.remove_released(),
            Action::DropTopic => self.drop_topic(),
            Action::MakeTopic => self.make_topic(),
            Action::FullDisk => self.harness.segments_wait = self.random.percent(50),
            Action::FailWrite => self.fail_write()?,
            Action::FailRead => self.fail_read(),
            Action::Cut => self.restart(After::Cut)?,
            Action::Stop => self.restart(After::Stop)?,
            Action::Reshard => self.reshard()?,
        }
        self.walk_checkpoints(2);
        self.be_buggy();
        self.ledger.clock(self.harness.now.mono_us);
        self.listen()
    }
}

/// The odds of a seed: some actions are rarer or more frequent than usual, some do not happen.
fn odds(random: &mut Random) -> Vec<(Action, u64)> {
    let mut sum = 0;
    let of = |(action, usual, optional): &(Action, u64, bool)| {
        let odds = match random.below(10) {
            0 if *optional => 0,
            0 | 1 => (usual / 3).max(1),
            2 | 3 => usual * 3,
            _ => *usual,
        };
        sum += odds;
        (*action, sum)
    };
    ODDS.iter().map(of).collect()
}
