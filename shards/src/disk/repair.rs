//! Indexes that are damaged or gone are made again from their segments, in the background.
//!
//! Owns when and in which order. That one is damaged is core's finding, and what belongs into it, too. Whoever needs such an
//! index is told to ask again; nothing is answered from it.

use std::rc::Rc;

use ringmq_core::event::DiskError;
use ringmq_core::shard::Shard;
use ringmq_core::store::{LogOptions, ReadPlan, Rebuild, RebuildError, SegmentBase};

use super::Disk;
use super::said::{News, Of};
use crate::clock;
use crate::driver::Hosted;
use crate::limits;
use crate::turn;

impl Disk {
    /// Starts making the first damaged index again.
    pub(super) fn pull_repair(self: &Rc<Self>, shard: &Shard, now_us: u64) {
        let upkeep = &self.upkeep;
        if upkeep.repairing.get() || now_us < upkeep.repair_after_us.get() {
            return;
        }
        let Some(base) = shard.queues.damaged().iter().min().copied() else { return };
        upkeep.repairing.set(true);
        let mut options = LogOptions::new(self.layout, shard.log.epoch());
        options.seed = shard.log.seed();
        let repair = self.clone().repair(options, shard.queues.start(), base);
        glommio::spawn_local_into(repair, self.queues.preparing).expect("the queue was made").detach();
    }

    async fn repair(self: Rc<Self>, options: LogOptions, start: u64, base: SegmentBase) {
        let name = base.index_name();
        let Some((driver, hosted)) = self.owner() else { return };
        let wait = match self.make_again(&hosted, options, start, base).await {
            Ok(true) => {
                for of in [Of::Index, Of::Repair] {
                    let _ = self.said.note(base, of, None);
                }
                crate::warn!("shard {}: {name} was damaged or missing; it was made again from its segment", self.id.0);
                // If that one is not good either, the next would not be.
                let again = self.upkeep.repaired.replace(Some(base)) == Some(base);
                again.then_some(limits::REPAIR_RETRY)
            }
            // The file could not be written; that was said.
            Ok(false) => Some(limits::INDEX_RETRY),
            Err(Failed::Before(before)) => {
                hosted.shard.apply(|shard| shard.queues.found_damaged(before));
                None
            }
            Err(Failed::Unreadable(why)) => {
                if self.said.note(base, Of::Repair, Some(&why)) == News::Found {
                    crate::error!("shard {}: {name} is damaged and cannot be made again: {why}", self.id.0);
                }
                Some(limits::REPAIR_RETRY)
            }
        };
        let wait_us = wait.map_or(0, |wait| wait.as_micros() as u64);
        self.upkeep.repair_after_us.set(clock::now().mono_us + wait_us);
        self.upkeep.repairing.set(false);
        driver.turn.nudge();
    }

    /// Reads the segment, makes its index, and puts it in place; `false` if that could not be written.
    async fn make_again(
        &self,
        hosted: &Hosted,
        options: LogOptions,
        start: u64,
        base: SegmentBase,
    ) -> Result<bool, Failed> {
        let mut rebuild = Rebuild::new(options, start, base)?;
        while let Some(range) = rebuild.next_read() {
            let bytes = match self.read_all(&ReadPlan::of(vec![range])).await {
                Ok(bytes) => bytes,
                // An earlier index that is gone: making this one again finds that.
                Err(_) if range.file.is_index() => Vec::new(),
                Err(DiskError { errno }) => return Err(Failed::Unreadable(format!("errno {errno}"))),
            };
            rebuild.supply(&bytes)?;
            turn::give_way().await;
        }
        let mut build = rebuild.into_build();
        while !build.step() {
            turn::give_way().await;
        }
        let written = self.replace_file(base.index_name(), || build.finish()).await;
        if written {
            self.open_indexes.borrow_mut().remove(&base);
            hosted.shard.apply(|shard| shard.queues.repaired(base));
        }
        Ok(written)
    }
}

/// Why an index was not made again.
enum Failed {
    /// That of this earlier segment comes first.
    Before(SegmentBase),
    Unreadable(String),
}

impl From<RebuildError> for Failed {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Before(base) => Failed::Before(base),
            RebuildError::Log(error) => Failed::Unreadable(error.to_string()),
        }
    }
}
