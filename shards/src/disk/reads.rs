//! Reading what is no longer in memory: pieces of segments and indexes, several at a time, in a task queue of their own.
//!
//! Owns the line of wanted reads and which files are open for them. What to read and whether the bytes are believed is core's.

use std::rc::Rc;

use ringmq_core::event::{DiskError, Input, ReadId};
use ringmq_core::store::cold::Damage;
use ringmq_core::store::{RangeOf, ReadPlan, ReadRange, SegmentBase};

use super::Disk;
use super::segment_file::{ReadBytes, SegmentFile};
use crate::limits;

impl Disk {
    /// Takes a cold read in; it runs when its turn comes.
    pub fn queue_read(self: &Rc<Self>, id: ReadId, plan: ReadPlan) {
        self.reads.borrow_mut().push_back((id, plan));
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
            // Nearly always one range: its bytes go to core from where the disk put them.
            let read = match plan.ranges() {
                [range] if range.len <= limits::READ_CHUNK as u64 => self.read_range(range).await,
                _ => self.read_all(&plan).await.map(ReadBytes::Buffered),
            };
            let Some((driver, hosted)) = self.owner() else { break };
            driver.happened(
                &hosted,
                Input::Read { id, result: read.as_ref().map(AsRef::as_ref).map_err(|&error| error) },
            );
        }
        self.reading.set(self.reading.get() - 1);
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
