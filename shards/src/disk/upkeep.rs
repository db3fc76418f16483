//! What makes the next start short: indexes of full segments, and checkpoints.
//!
//! Owns when they are made and that they are written in order, one at a time, in the background. What stands in them is core's.
//! A failure costs time at the next start and nothing else, so it is said once and the broker goes on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmq_core::boot::Capture;
use ringmq_core::event::DiskError;
use ringmq_core::shard::Shard;
use ringmq_core::store::index_file::IndexBuild;
use ringmq_core::store::{Checkpoint, Layout, Position, Sealed, SegmentBase};

use super::Disk;
use super::replace::{self, Replacing};
use super::segment_file::disk_error;
use crate::clock;
use crate::driver::Hosted;
use crate::limits;
use crate::turn;

/// A checkpoint that was taken, what must be durable before it is written, and the index of the active segment so far, which is
/// written after it.
type Captured = (Checkpoint, Position, Option<IndexBuild>);

/// The state of a shard's upkeep.
#[derive(Debug)]
pub struct Upkeep {
    /// Full segments whose index is to be written, in order.
    sealed: RefCell<VecDeque<Sealed>>,
    indexing: Cell<bool>,
    /// Full segments that have their index and beside it, still, that of their beginning: until a checkpoint covers them a start
    /// reads from there on, not from where they begin.
    begun: RefCell<Vec<SegmentBase>>,
    /// An index could not be written: not again before this, monotonic microseconds.
    index_after_us: Cell<u64>,
    /// An index is being made again, and not before when the next one is.
    pub(super) repairing: Cell<bool>,
    pub(super) repair_after_us: Cell<u64>,
    /// The last index that was made again.
    pub(super) repaired: Cell<Option<SegmentBase>>,
    /// Sequence number of the next checkpoint.
    next_checkpoint: Cell<u64>,
    /// End of the log at the last checkpoint, and when that was; `None` before the first look.
    last: Cell<Option<(u64, u64)>>,
    /// When the last one and what belongs to it was written, monotonic microseconds, and how long that took.
    rests: Cell<(u64, Duration)>,
    /// A checkpoint is being taken, a step at a time.
    taking: Cell<bool>,
    /// One that waits until all it tells of is durable.
    captured: RefCell<Option<Captured>>,
    writing: Cell<bool>,
    /// A file could not be written, which was said.
    complained: Cell<bool>,
}

impl Upkeep {
    /// With checkpoints numbered from `next_checkpoint`.
    pub fn new(next_checkpoint: u64) -> Self {
        Upkeep {
            sealed: RefCell::new(VecDeque::new()),
            indexing: Cell::new(false),
            begun: RefCell::new(Vec::new()),
            index_after_us: Cell::new(0),
            repairing: Cell::new(false),
            repair_after_us: Cell::new(0),
            repaired: Cell::new(None),
            next_checkpoint: Cell::new(next_checkpoint),
            last: Cell::new(None),
            rests: Cell::new((0, Duration::ZERO)),
            taking: Cell::new(false),
            captured: RefCell::new(None),
            writing: Cell::new(false),
            complained: Cell::new(false),
        }
    }

    /// Takes the segments of which the beginnings' indexes are not needed any more, as a checkpoint says it covers this much.
    fn outgrown(&self, layout: &Layout, covered: Position) -> Vec<SegmentBase> {
        self.begun.borrow_mut().extract_if(.., |base| layout.end_of(*base) <= covered.0).collect()
    }

    /// A checkpoint and what belongs to it are written.
    fn rest(&self, now_us: u64) {
        let begun_us = self.last.get().map_or(now_us, |(_, begun_us)| begun_us);
        let took = Duration::from_micros(now_us.saturating_sub(begun_us));
        self.rests.set((now_us, took));
    }

    /// Whether a checkpoint is due because the log grew by `grown` since the last one.
    fn is_due(&self, grown: u64, now_us: u64) -> bool {
        let (since_us, took) = self.rests.get();
        grown >= limits::CHECKPOINT_BYTES && now_us >= since_us + rest_after(took, grown).as_micros() as u64
    }
}

/// How long no checkpoint is taken after one that took this long, when the log has grown by `grown` since.
fn rest_after(took: Duration, grown: u64) -> Duration {
    let is_far = grown >= limits::CHECKPOINT_BYTES_FAR;
    let times = if is_far { limits::CHECKPOINT_REST_TIMES_FAR } else { limits::CHECKPOINT_REST_TIMES };
    took.saturating_mul(times).clamp(limits::CHECKPOINT_REST_LEAST, limits::CHECKPOINT_REST_MOST)
}

impl Disk {
    /// Starts what is due: the index of a segment that became full, a checkpoint.
    pub(super) fn pull_upkeep(self: &Rc<Self>, shard: &mut Shard, now_us: u64) {
        while let Some(sealed) = shard.log.take_sealed() {
            self.upkeep.sealed.borrow_mut().push_back(sealed);
        }
        let may_index = !self.upkeep.indexing.get() && now_us >= self.upkeep.index_after_us.get();
        if may_index && !self.upkeep.sealed.borrow().is_empty() {
            self.upkeep.indexing.set(true);
            let index = self.clone().index_sealed();
            glommio::spawn_local_into(index, self.queues.preparing).expect("the queue was made").detach();
        }
        self.pull_repair(shard, now_us);
        self.pull_checkpoint(shard, now_us);
    }

    async fn index_sealed(self: Rc<Self>) {
        loop {
            let Some(sealed) = self.upkeep.sealed.borrow().front().copied() else { break };
            let Some((_, hosted)) = self.owner() else { break };
            if !self.write_index(&hosted, IndexBuild::new(&self.layout, sealed)).await {
                // Those of later segments say where this one's entries are: it must come first.
                self.upkeep.index_after_us.set(clock::now().mono_us + limits::INDEX_RETRY.as_micros() as u64);
                break;
            }
            self.upkeep.sealed.borrow_mut().pop_front();
            self.upkeep.begun.borrow_mut().push(sealed.base());
        }
        self.upkeep.indexing.set(false);
    }

    /// Makes and writes the index of a segment, or of the active one's beginning; the latter only after the checkpoint
    /// it was begun with. What a full segment's index tells leaves memory then. `false` if it could not be written.
    pub async fn write_index(&self, hosted: &Hosted, mut build: IndexBuild) -> bool {
        let (name, base) = (build.file_name(), build.base());
        let whole = name == base.index_name();
        let mut file: Option<Replacing> = None;
        loop {
            let done = hosted.shard.apply(|shard| build.step(&mut shard.queues, &mut shard.index));
            // It may have tens of megabytes: what is finished is written, not kept.
            if let Some((at, bytes)) = build.take_pages(limits::REPLACE_PIECE) {
                let put = self.put_pages(file.take(), &name, vec![(at, bytes)], false).await;
                let Some(begun) = put else { return false };
                file = begun;
            }
            if done {
                break;
            }
            // Each step takes a fifth of a millisecond; requests come in between.
            turn::give_way().await;
        }
        let Some(mut finished) = build.finish() else {
            let give_up = move || file.map_or(Ok(()), Replacing::give_up);
            self.on_helper(&name, give_up).await;
            return true;
        };
        if self.put_pages(file, &name, finished.take_pages().into(), true).await.is_none() {
            return false;
        }
        // What leaves memory would have to be written into a checkpoint first, all at once.
        while whole && self.upkeep.taking.get() {
            turn::give_way().await;
        }
        hosted.shard.apply(|shard| {
            finished.in_place(&mut shard.queues, &mut shard.index);
            if whole {
                shard.log.index_in_place(base);
            }
        });
        true
    }

    /// Writes pages of an index, into a new file if there is none yet; `last`: they complete it. `None` if that failed, which was
    /// said.
    async fn put_pages(
        &self,
        file: Option<Replacing>,
        name: &str,
        pages: Vec<(u64, Vec<u8>)>,
        last: bool,
    ) -> Option<Option<Replacing>> {
        let (directory, own_name) = (self.directory.clone(), name.to_owned());
        let put = move || {
            let file = file.map_or_else(|| Replacing::begin(&directory, &own_name), Ok)?;
            pages.iter().try_for_each(|(at, bytes)| file.put(*at, bytes))?;
            if last { file.finish().map(|()| None) } else { Ok(Some(file)) }
        };
        self.on_helper(name, put).await
    }

    fn pull_checkpoint(self: &Rc<Self>, shard: &mut Shard, now_us: u64) {
        let Upkeep { last, taking, captured, writing, .. } = &self.upkeep;
        let (last_end, last_us) = last.get().unwrap_or_else(|| {
            let first = (shard.log.durable().0, now_us);
            last.set(Some(first));
            first
        });
        let mut captured = captured.borrow_mut();
        let grown = shard.log.appended().0 - last_end;
        let rested = |rest: Duration| now_us - last_us >= rest.as_micros() as u64;
        let is_due = self.upkeep.is_due(grown, now_us) || shard.log.wants_checkpoint() && rested(limits::RELEASE_REST);
        if is_due && !taking.get() && captured.is_none() && !writing.get() && shard.log.fault().is_none() {
            last.set(Some((shard.log.appended().0, now_us)));
            taking.set(true);
            let capture = shard.begin_checkpoint(clock::now(), self.next_checkpoint());
            let take = self.clone().take_checkpoint(capture, IndexBuild::partial(&shard.log));
            glommio::spawn_local_into(take, self.queues.preparing).expect("the queue was made").detach();
        }
        if captured.as_ref().is_some_and(|(_, told, _)| *told <= shard.log.durable())
            && let Some((checkpoint, _, partial)) = captured.take()
        {
            writing.set(true);
            let disk = self.clone();
            let write = async move {
                let (covered, start) = (checkpoint.covered, checkpoint.start);
                if disk.write_checkpoint(checkpoint).await
                    && let Some((driver, hosted)) = disk.owner()
                {
                    hosted.shard.apply(|shard| shard.log.checkpointed(covered, start));
                    driver.turn.nudge();
                    disk.remove_begun(covered).await;
                }
                if let (Some(partial), Some((_, hosted))) = (partial, disk.owner()) {
                    disk.write_index(&hosted, partial).await;
                }
                disk.upkeep.rest(clock::now().mono_us);
                disk.upkeep.writing.set(false);
            };
            glommio::spawn_local_into(write, self.queues.preparing).expect("the queue was made").detach();
        }
    }

    async fn take_checkpoint(self: Rc<Self>, mut capture: Capture, partial: Option<IndexBuild>) {
        while let Some((driver, hosted)) = self.owner() {
            if hosted.shard.apply(|shard| capture.step(shard, limits::CHECKPOINT_STEP)) {
                let (checkpoint, told) = hosted.shard.apply(|shard| capture.finish(shard));
                *self.upkeep.captured.borrow_mut() = Some((checkpoint, told, partial));
                driver.turn.nudge();
                break;
            }
            turn::give_way().await;
        }
        self.upkeep.taking.set(false);
    }

    /// Removes the indexes of the beginnings of segments that lie below `covered` as a whole. One that stays behind, because the
    /// process ended before, goes with its segment.
    async fn remove_begun(&self, covered: Position) {
        let outgrown = self.upkeep.outgrown(&self.layout, covered);
        let names: Vec<String> = outgrown.into_iter().map(SegmentBase::partial_name).collect();
        if !names.is_empty() {
            let directory = self.directory.clone();
            let remove = move || names.iter().for_each(|name| drop(std::fs::remove_file(directory.join(name))));
            glommio::executor().spawn_blocking(remove).await;
        }
    }

    /// Sequence number for a checkpoint; each is given out once.
    pub fn next_checkpoint(&self) -> u64 {
        let sequence = self.upkeep.next_checkpoint.get();
        self.upkeep.next_checkpoint.set(sequence + 1);
        sequence
    }

    /// Whether no checkpoint is being written.
    pub fn is_kept_up(&self) -> bool {
        !self.upkeep.writing.get() && !self.upkeep.taking.get()
    }

    /// Writes a checkpoint; all it covers is durable. Returns whether it is on the disk.
    pub async fn write_checkpoint(&self, checkpoint: Checkpoint) -> bool {
        self.replace_file(checkpoint.file_name().to_owned(), || checkpoint.into_file()).await
    }

    pub(super) async fn replace_file(&self, name: String, bytes: impl FnOnce() -> Vec<u8> + Send + 'static) -> bool {
        let (directory, own_name) = (self.directory.clone(), name.clone());
        self.on_helper(&name, move || replace::replace(&directory, &own_name, &bytes())).await.is_some()
    }

    /// Writes something of a file on a helper thread; `None` if that failed, which is said once.
    async fn on_helper<T: Send + 'static>(
        &self,
        name: &str,
        write: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        match glommio::executor().spawn_blocking(write).await.map_err(disk_error) {
            Ok(written) => {
                self.upkeep.complained.set(false);
                Some(written)
            }
            Err(DiskError { errno }) => {
                if !self.upkeep.complained.replace(true) {
                    crate::warn!(
                        "shard {}: {name} could not be written (errno {errno}); the next start takes longer",
                        self.id.0
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ringmq_core::event::ShardId;

    use super::*;

    #[test]
    fn the_rest_is_a_share_of_the_work() {
        let rests = |grown| [0, 30, 70, 900].map(|ms| rest_after(Duration::from_millis(ms), grown).as_millis());
        assert_eq!(rests(limits::CHECKPOINT_BYTES), [200, 300, 700, 5_000]);
        assert_eq!(rests(limits::CHECKPOINT_BYTES_FAR), [200, 200, 210, 2_700]);
    }
    #[test]
    fn the_index_of_a_beginning_stays_until_a_checkpoint_covers_its_segment() {
        let layout = Layout::new(ShardId(0), 1 << 20).expect("a size that is allowed");
        let upkeep = Upkeep::new(0);
        upkeep.begun.borrow_mut().extend([SegmentBase(0), SegmentBase(1 << 20)]);
        let outgrown = |covered| upkeep.outgrown(&layout, Position(covered));
        assert_eq!(outgrown((1 << 20) - 1), []);
        assert_eq!(outgrown((2 << 20) - 1), [SegmentBase(0)]);
        assert_eq!(outgrown(2 << 20), [SegmentBase(1 << 20)]);
    }
}
