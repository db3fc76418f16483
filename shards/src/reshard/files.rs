//! The segments of one new shard as they are written.
//!
//! Owns the open files. Each is synced once, when it is full; nothing counts before all of them are.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ringmq_core::event::ShardId;
use ringmq_core::store::{CommitLog, SegmentBase, Urge};

use super::failed;
use crate::boot::{Refused, shard_directory};
use crate::disk::replace;

/// The files of one shard.
#[derive(Debug)]
pub struct SegmentFiles {
    directory: PathBuf,
    segment_size: u64,
    open: BTreeMap<SegmentBase, File>,
    buffer: Vec<u8>,
}

impl SegmentFiles {
    /// In a new directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(directory: PathBuf, shard: ShardId, segment_size: u64) -> Result<Self, Refused> {
        shard_directory::make(&directory, shard).map_err(|error| failed(&directory, &error))?;
        Ok(SegmentFiles { directory, segment_size, open: BTreeMap::new(), buffer: Vec::new() })
    }

    /// Writes what the log has accumulated: as far as writes are full, or all of it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, log: &mut CommitLog, all: bool) -> Result<(), Refused> {
        self.write_files(log, all).map_err(|error| failed(&self.directory, &error))
    }

    fn write_files(&mut self, log: &mut CommitLog, all: bool) -> io::Result<()> {
        let urge = if all { Urge::Stop } else { Urge::Async { older_than_us: 0 } };
        loop {
            while let Some(base) = log.wanted_segment() {
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).open(self.directory.join(base.log_name()))?;
                file.set_len(self.segment_size)?;
                self.open.insert(base, file);
                log.segment_ready(base);
            }
            let Some(plan) = log.next_write(urge) else { break };
            self.buffer.resize(plan.len.max(self.buffer.len()), 0);
            let bytes = &mut self.buffer[..plan.len];
            log.copy_plan(&plan, bytes);
            let file = self.open.get(&plan.segment).expect("the log writes to segments that are ready");
            file.write_all_at(bytes, plan.file_offset)?;
            log.complete(plan.seq, Ok(())).expect("no write was reported as failed");
        }
        while let Some(sealed) = log.take_sealed() {
            if let Some(file) = self.open.remove(&sealed.base()) {
                file.sync_all()?;
            }
        }
        Ok(())
    }

    /// Makes everything durable, names included.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(self) -> Result<(), Refused> {
        let synced = self.open.values().try_for_each(File::sync_all);
        synced.and_then(|()| replace::sync_directory(&self.directory)).map_err(|error| failed(&self.directory, &error))
    }
}
