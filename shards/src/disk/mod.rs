//! The files of one shard: what the log wants written is written, what consumers want read is read.
//!
//! Owns the open segments, the making of new ones ahead of their use, and the tasks in which reads and writes run. Decides
//! nothing: the log says what to write and when (`next_write`), core says what to read. A failed write is told to the log,
//! which takes nothing any more; nothing is ever tried again.

mod life;
mod reads;
mod repair;
pub mod replace;
pub mod ring;
mod said;
mod scrub;
pub mod segment_file;
mod upkeep;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use glommio::{Latency, Shares, TaskQueueHandle};
use ringmq_core::event::{DiskError, Input, ReadId, ShardId};
use ringmq_core::fault::Fault;
use ringmq_core::shard::Shard;
use ringmq_core::store::{Layout, ReadPlan, SegmentBase, Urge, WritePlan};

use crate::boot::direct_io::WriteMode;
use crate::driver::{Driver, Hosted};
use crate::limits;
use ring::LogRing;
use segment_file::{Pace, SegmentFile, disk_error};

/// The ring of the logs, and the task queues that other disk work runs in: one set per executor.
///
/// Shares say how CPU time is divided when all want it. Serving clients and group commits run in glommio's default queue
/// (1,000 shares); a backlog drain and the preparation of segments must not hold them up.
#[derive(Debug, Clone)]
pub struct DiskQueues {
    ring: Rc<LogRing>,
    cold_reads: TaskQueueHandle,
    preparing: TaskQueueHandle,
}

impl DiskQueues {
    /// Makes the queues; call on the executor.
    pub fn new(ring: Rc<LogRing>) -> Self {
        let executor = glommio::executor();
        DiskQueues {
            ring,
            cold_reads: executor.create_task_queue(Shares::Static(200), Latency::NotImportant, "cold reads"),
            preparing: executor.create_task_queue(Shares::Static(200), Latency::NotImportant, "segments"),
        }
    }
}

/// Whom to tell when something is done.
type Owner = (Weak<Driver>, Weak<Hosted>);

/// The files of one shard.
#[derive(Debug)]
pub struct Disk {
    id: ShardId,
    /// The shard's directory.
    pub directory: PathBuf,
    layout: Layout,
    mode: WriteMode,
    queues: DiskQueues,
    owner: RefCell<Owner>,
    /// Open segments, oldest first; those that are written to and the most recently read ones.
    open: RefCell<BTreeMap<SegmentBase, Rc<SegmentFile>>>,
    /// Open indexes.
    open_indexes: RefCell<BTreeMap<SegmentBase, Rc<SegmentFile>>>,
    /// Segments the log wants, in order; made one at a time.
    wanted: RefCell<VecDeque<SegmentBase>>,
    preparing: Cell<bool>,
    /// A segment that is made and not yet reported ready, and whether it was zeroed.
    made: RefCell<Option<(SegmentBase, Rc<SegmentFile>)>>,
    zeroed: Cell<bool>,
    /// Cold reads that wait for their turn.
    reads: RefCell<VecDeque<(ReadId, ReadPlan)>>,
    reading: Cell<usize>,
    lane: reads::Lane,
    /// Writes under way; stopping waits for them.
    writing: Cell<usize>,
    pace: Pace,
    upkeep: upkeep::Upkeep,
    /// What was said of damaged files.
    said: said::Said,
    life: life::Life,
}

impl Disk {
    /// The files of shard `id` in `directory`.
    pub fn new(
        id: ShardId,
        directory: PathBuf,
        layout: Layout,
        mode: WriteMode,
        queues: DiskQueues,
        next_checkpoint: u64,
    ) -> Self {
        Disk {
            id,
            directory,
            layout,
            mode,
            queues,
            owner: RefCell::new((Weak::new(), Weak::new())),
            open: RefCell::new(BTreeMap::new()),
            open_indexes: RefCell::new(BTreeMap::new()),
            wanted: RefCell::new(VecDeque::new()),
            preparing: Cell::new(false),
            made: RefCell::new(None),
            zeroed: Cell::new(false),
            reads: RefCell::new(VecDeque::new()),
            reading: Cell::new(0),
            lane: reads::Lane::default(),
            writing: Cell::new(0),
            pace: Pace::default(),
            upkeep: upkeep::Upkeep::new(next_checkpoint),
            said: said::Said::default(),
            life: life::Life::default(),
        }
    }

    /// Says whom to tell when something is done; once, before anything is asked for.
    pub fn attach(self: &Rc<Self>, driver: &Rc<Driver>, hosted: &Rc<Hosted>) {
        *self.owner.borrow_mut() = (Rc::downgrade(driver), Rc::downgrade(hosted));
        let serve = self.clone().serve_cold();
        glommio::spawn_local_into(serve, self.queues.cold_reads).expect("the queue was made").detach();
    }

    /// Opens the segments the log goes on in after a restart, the active one and those that were prepared after it, and zeroes
    /// what is left of them.
    ///
    /// # Errors
    /// A file may not be opened.
    pub async fn resume(self: &Rc<Self>, shard: &Shard) -> Result<(), DiskError> {
        self.adopt_spares(shard.log.start()).map_err(disk_error)?;
        let end = shard.log.appended();
        let active = self.layout.segment_of(end);
        let mut base = active;
        while base < shard.log.ready_to() {
            let file = Rc::new(SegmentFile::open(&self.directory.join(base.log_name()), self.mode).await?);
            if base == active {
                let used = (end.0 - base.0).next_multiple_of(crate::boot::direct_io::BLOCK as u64);
                file.claim(0, used as usize);
            }
            self.enter(base, file.clone());
            let fill = self.clone().fill(base, file);
            glommio::spawn_local_into(fill, self.queues.preparing).expect("the queue was made").detach();
            base = SegmentBase(self.layout.end_of(base));
        }
        Ok(())
    }

    fn owner(&self) -> Option<(Rc<Driver>, Rc<Hosted>)> {
        let (driver, hosted) = &*self.owner.borrow();
        Some((driver.upgrade()?, hosted.upgrade()?))
    }

    /// Starts everything the log wants: segments to be made, writes, indexes of full segments.
    pub fn pull(self: &Rc<Self>, shard: &mut Shard, now_us: u64) {
        while let Some(base) = shard.log.wanted_segment() {
            self.wanted.borrow_mut().push_back(base);
        }
        self.hand_over(shard);
        self.prepare_next();
        if shard.cold.is_ready() {
            self.lane.nudge.nudge();
        }
        if shard.log.has_unwritten() {
            let urge = self.urge(shard, now_us);
            while let Some(plan) = shard.log.next_write(urge) {
                self.start_write(shard, plan);
            }
        }
        self.pull_upkeep(shard, now_us);
        self.pull_life(shard);
    }

    fn urge(&self, shard: &Shard, now_us: u64) -> Urge {
        if self.owner().is_some_and(|(driver, _)| driver.is_stopping()) {
            Urge::Stop
        } else if shard.is_awaited() {
            Urge::Sync
        } else {
            Urge::Async { older_than_us: now_us.saturating_sub(gather_us(shard)) }
        }
    }

    /// When messages that nobody waits for have gathered long enough, microseconds of the monotonic clock.
    pub fn next_deadline(&self, shard: &Shard) -> Option<u64> {
        // With a write under way its completion is the next occasion; without a segment the next one's.
        let waits = shard.log.in_flight() == 0 && shard.log.may_write();
        let since = if waits { shard.log.unwritten_since_us() } else { None };
        since.map(|since| since + gather_us(shard))
    }

    fn start_write(self: &Rc<Self>, shard: &Shard, plan: WritePlan) {
        let file = self.open.borrow().get(&plan.segment).cloned();
        let file = file.expect("the log writes only to segments that were reported ready");
        file.claim(plan.file_offset, plan.len);
        self.writing.set(self.writing.get() + 1);
        self.pace.add(plan.len);
        if self.mode == WriteMode::Buffered {
            let mut bytes = vec![0; plan.len];
            shard.log.copy_plan(&plan, &mut bytes);
            glommio::spawn_local(self.clone().write_buffered(file, plan, bytes)).detach();
        } else if file.is_being_zeroed(plan.file_offset, plan.len) {
            glommio::spawn_local(self.clone().write_later(file, plan)).detach();
        } else {
            self.write(shard, &file, &plan);
        }
    }

    /// Has the ring write a plan straight from the log's memory; [`Disk::written`] follows.
    fn write(&self, shard: &Shard, file: &Rc<SegmentFile>, plan: &WritePlan) {
        let Some((_, hosted)) = self.owner() else { return };
        self.queues.ring.write_plan(hosted, shard, file, plan);
    }

    async fn write_later(self: Rc<Self>, file: Rc<SegmentFile>, plan: WritePlan) {
        file.not_being_zeroed(plan.file_offset, plan.len).await;
        if let Some((driver, hosted)) = self.owner() {
            hosted.shard.apply(|shard| self.write(shard, &file, &plan));
            driver.turn.nudge();
        }
    }

    async fn write_buffered(self: Rc<Self>, file: Rc<SegmentFile>, plan: WritePlan, bytes: Vec<u8>) {
        let result = file.write_buffered(plan.file_offset, bytes).await;
        if let Some((driver, hosted)) = self.owner() {
            self.written();
            driver.happened(&hosted, Input::Written { seq: plan.seq, result });
        }
    }

    /// A write ended, well or not.
    pub fn written(&self) {
        self.writing.set(self.writing.get() - 1);
    }

    /// Nothing is being written.
    pub fn is_quiet(&self) -> bool {
        self.writing.get() == 0
    }

    /// Makes the next wanted segment unless one is being made.
    fn prepare_next(self: &Rc<Self>) {
        if self.preparing.get() {
            return;
        }
        let Some(base) = self.wanted.borrow_mut().pop_front() else { return };
        self.preparing.set(true);
        self.zeroed.set(false);
        // Made in the default queue, for the log may wait for it; zeroed in the background.
        glommio::spawn_local(self.clone().prepare(base)).detach();
    }

    async fn prepare(self: Rc<Self>, base: SegmentBase) {
        let made = match self.make(base).await {
            Ok(file) => self.sync_names().await.map(|()| Rc::new(file)),
            Err(error) => Err(error),
        };
        let Some((driver, hosted)) = self.owner() else { return };
        match made {
            Ok(file) => {
                *self.made.borrow_mut() = Some((base, file.clone()));
                let fill = self.clone().fill(base, file);
                glommio::spawn_local_into(fill, self.queues.preparing).expect("the queue was made").detach();
            }
            Err(error) => driver.happened(&hosted, Input::Lost { fault: Fault::Segment { base, error } }),
        }
        driver.turn.nudge();
    }

    /// Reports a segment ready when it is zeroed, or earlier when the log has come to it.
    fn hand_over(&self, shard: &mut Shard) {
        let mut made = self.made.borrow_mut();
        let wanted = |(base, _): &mut (SegmentBase, _)| self.zeroed.get() || shard.log.appended().0 >= base.0;
        if let Some((base, file)) = made.take_if(wanted) {
            self.enter(base, file);
            shard.log.segment_ready(base);
            self.preparing.set(false);
        }
    }

    async fn sync_names(&self) -> Result<(), DiskError> {
        let directory = self.directory.clone();
        glommio::executor().spawn_blocking(move || replace::sync_directory(&directory)).await.map_err(disk_error)
    }

    async fn fill(self: Rc<Self>, base: SegmentBase, file: Rc<SegmentFile>) {
        let path = self.directory.join(base.log_name());
        if let Err(DiskError { errno }) = file.zero_fill(&path, &self.pace).await {
            crate::warn!(
                "shard {}: {} could not be zeroed ahead (errno {errno}); writes are slower",
                self.id.0,
                base.log_name()
            );
        }
        if self.made.borrow().as_ref().is_some_and(|(made, _)| *made == base) {
            self.zeroed.set(true);
        }
        if let Some((driver, _)) = self.owner() {
            driver.turn.nudge();
        }
    }

    fn enter(&self, base: SegmentBase, file: Rc<SegmentFile>) {
        let mut open = self.open.borrow_mut();
        open.insert(base, file);
        // The newest ones are written to; of the others the oldest goes, but not the one that is about to be read. Reads
        // under way keep theirs open.
        while open.len() > limits::OPEN_SEGMENTS {
            let Some(oldest) = open.keys().copied().find(|open| *open != base) else { break };
            open.remove(&oldest);
        }
    }
}

/// How long messages that nobody waits for may gather, microseconds.
fn gather_us(shard: &Shard) -> u64 {
    shard.metadata.settings.store.flush_interval * 1_000
}
