//! Reading what is no longer in memory: pieces of segments and indexes, several at a time, in a task queue of their own.
//!
//! Owns the line of wanted reads, which files are open for them, and when those who wait for old messages are served: a
//! bounded piece at a time, with a look at the sockets and the disk between two of them. What to read and whether the bytes
//! are believed is core's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use glommio::io::ReadResult;
use ringmq_core::event::{DiskError, Input, ReadId};
use ringmq_core::store::cold::{Block, Damage};
use ringmq_core::store::limits::COLD_CHUNK;
use ringmq_core::store::{RangeOf, ReadPlan, ReadRange, SegmentBase};

use super::Disk;
use super::segment_file::{ReadBytes, SegmentFile};
use crate::nudge::Nudge;
use crate::{clock, limits, turn};

/// Where cold reads that ended wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) nudge: Nudge,
    ended: RefCell<VecDeque<(ReadId, Result<Read, DiskError>)>>,
}

/// What a read brought.
#[derive(Debug)]
struct Read {
    bytes: ReadBytes,
    /// One range of the log.
    is_log: bool,
}

/// A read of the log, cut as the shard keeps it.
fn blocks(read: &ReadResult) -> Vec<Block> {
    let starts = (0..read.len()).step_by(COLD_CHUNK as usize);
    let cut = |at| ReadResult::slice(read, at, (read.len() - at).min(COLD_CHUNK as usize));
    starts.filter_map(cut).map(|bytes| Block::new(ReadBytes::Direct(bytes))).collect()
}

impl Disk {
    /// Takes a cold read in; it runs when its turn comes.
    pub fn queue_read(self: &Rc<Self>, id: ReadId, plan: ReadPlan) {
        // Pages of an index are few bytes, and whoever waits for them does not know yet what to read of the log.
        let is_index = plan.ranges().iter().all(|range| matches!(range.file, RangeOf::Index(_)));
        let mut reads = self.reads.borrow_mut();
        if is_index {
            reads.push_front((id, plan))
        } else {
            reads.push_back((id, plan))
        }
        drop(reads);
        if self.reading.get() < limits::COLD_READS {
            self.reading.set(self.reading.get() + 1);
            glommio::spawn_local_into(self.clone().read_queued(), self.queues.cold_reads)
                .expect("the queue was made")
                .detach();
        }
    }

    async fn read_queued(self: Rc<Self>) {
        loop {
            let Some((id, plan)) = self.reads.borrow_mut().pop_front() else { break };
            // Nearly always one range.
            let is_log = matches!(plan.ranges(), [range] if matches!(range.file, RangeOf::Log(_)));
            let read = match plan.ranges() {
                [range] if range.len <= limits::READ_CHUNK as u64 => self.read_range(range).await,
                _ => self.read_all(&plan).await.map(ReadBytes::Buffered),
            };
            let read = read.map(|bytes| Read { bytes, is_log });
            self.lane.ended.borrow_mut().push_back((id, read));
            self.lane.nudge.nudge();
        }
        self.reading.set(self.reading.get() - 1);
    }

    /// Lets the shard take in what was read and serve who waits for it, piece by piece, as long as there is something. Between
    /// two pieces everything else goes on that can. Where that keeps the executor busy, pieces follow one another for a
    /// part of the time it took; where there is nobody else to serve, for a while, for every look around has its price.
    pub(super) async fn serve_cold(self: Rc<Self>) {
        let mut rested_us = clock::mono_us();
        loop {
            let began_us = clock::mono_us();
            let only_pulls = self.owner().is_none_or(|(driver, _)| driver.only_pulls());
            let share_us = if only_pulls { u64::MAX } else { (began_us - rested_us) / limits::COLD_SHARE };
            let share_us = share_us.min(limits::COLD_BURST_US);
            let mut more = true;
            while more && clock::mono_us() - began_us <= share_us {
                let Some(did) = self.serve_piece() else { return };
                more = did;
            }
            rested_us = clock::mono_us();
            if more {
                turn::give_way().await;
            } else {
                self.lane.nudge.wait().await;
                rested_us = clock::mono_us();
            }
        }
    }

    /// Does one piece; whether there was one. None at the end of the process.
    fn serve_piece(&self) -> Option<bool> {
        let (driver, hosted) = self.owner()?;
        let ended = self.lane.ended.borrow_mut().pop_front();
        if let Some((id, read)) = ended {
            let input = match &read {
                // No copy: the shard keeps the memory the disk wrote to.
                Ok(Read { bytes: ReadBytes::Direct(bytes), is_log: true }) => {
                    Input::ReadLog { id, blocks: blocks(bytes) }
                }
                Ok(Read { bytes, .. }) => Input::Read { id, result: Ok(bytes.as_ref()) },
                Err(error) => Input::Read { id, result: Err(*error) },
            };
            driver.happened(&hosted, input);
            return Some(true);
        }
        let is_ready = hosted.shard.apply(|shard| shard.cold.is_ready());
        if is_ready {
            driver.happened(&hosted, Input::Serve { bytes: limits::COLD_PIECE });
        }
        Some(is_ready)
    }

    /// Reads the ranges of a plan, laid back to back.
    pub(super) async fn read_all(&self, plan: &ReadPlan) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::with_capacity(plan.bytes() as usize);
        for range in plan.ranges() {
            let end = range.offset + range.len;
            let mut offset = range.offset;
            while offset < end {
                let len = (end - offset).min(limits::READ_CHUNK as u64);
                bytes.extend_from_slice(self.read_range(&ReadRange { offset, len, ..*range }).await?.as_ref());
                offset += len;
            }
        }
        Ok(bytes)
    }

    async fn read_range(&self, range: &ReadRange) -> Result<ReadBytes, DiskError> {
        let file = self.readable(range.file).await?;
        let read = file.read(range.offset, range.len as usize).await?;
        if read.as_ref().len() as u64 == range.len { Ok(read) } else { Err(DiskError { errno: 0 }) }
    }

    /// A file to read from. Of indexes as many stay open as of segments.
    async fn readable(&self, file: RangeOf) -> Result<Rc<SegmentFile>, DiskError> {
        let base = match file {
            RangeOf::Log(base) => return self.segment(base).await,
            RangeOf::Index(base) => base,
            RangeOf::Partial(_) => unreachable!("a partial index is read by recovery only"),
        };
        if let Some(open) = self.open_indexes.borrow().get(&base) {
            return Ok(open.clone());
        }
        let opened = Rc::new(SegmentFile::open(&self.directory.join(base.index_name()), self.mode).await?);
        let mut open = self.open_indexes.borrow_mut();
        open.insert(base, opened.clone());
        while open.len() > limits::OPEN_SEGMENTS {
            open.pop_first();
        }
        Ok(opened)
    }

    pub(super) async fn segment(&self, base: SegmentBase) -> Result<Rc<SegmentFile>, DiskError> {
        if let Some(file) = self.open.borrow().get(&base) {
            return Ok(file.clone());
        }
        let file = Rc::new(SegmentFile::open(&self.directory.join(base.log_name()), self.mode).await?);
        self.enter(base, file.clone());
        Ok(file)
    }

    /// Says that a part of the log is damaged.
    pub fn say_damaged(&self, damage: &Damage) {
        crate::error!(
            "shard {}: {}/{} is damaged: its checksum is wrong. Messages in it are not served, consumers are led past them; \
             mqbroker --check names their queues",
            self.id.0,
            self.directory.display(),
            damage.place(&self.layout)
        );
    }
}
