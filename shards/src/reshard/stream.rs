//! The records of one old shard, one after the other.
//!
//! Owns the file it reads and the bytes of a few megabytes of log. Every record it gives has passed its frame's checksum.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ringmq_core::event::ShardId;
use ringmq_core::shard::Shard;
use ringmq_core::store::walk::{BrokenOff, Walk};
use ringmq_core::store::{OwnRecord, Position, RangeOf, SegmentBase};
use ringmq_protocol::record::RecordRef;

use super::failed;
use crate::boot::Refused;

/// One old shard's log.
#[derive(Debug)]
pub struct Stream {
    pub shard: ShardId,
    directory: PathBuf,
    walk: Walk,
    open: Option<(SegmentBase, File)>,
    bytes: Vec<u8>,
    records: VecDeque<(Position, Range<usize>)>,
    /// Store time of the first of them.
    head_ms: Option<i64>,
}

impl Stream {
    /// The log of a shard that was opened, from its first segment on, in its directory.
    pub fn new(source: &Shard, start: SegmentBase, directory: PathBuf, seed: u32) -> Self {
        let walk = Walk::new(*source.log.layout(), seed, start, source.log.appended());
        Stream {
            shard: source.id,
            directory,
            walk,
            open: None,
            bytes: Vec::new(),
            records: VecDeque::new(),
            head_ms: None,
        }
    }

    /// When the next record was stored: the smallest of all times for a record of our own. `None` at the end.
    ///
    /// # Errors
    /// The log cannot be read, or is damaged.
    pub fn head_ms(&mut self) -> Result<Option<i64>, Refused> {
        if self.head_ms.is_none() {
            while self.records.is_empty() {
                if !self.refill()? {
                    return Ok(None);
                }
            }
            let (_, place) = &self.records[0];
            let record = &self.bytes[place.clone()];
            let is_own = OwnRecord::parse(record).is_some();
            let stored = RecordRef::parse(record).ok().filter(|_| !is_own).map(|record| record.store_timestamp());
            self.head_ms = Some(stored.unwrap_or(i64::MIN));
        }
        Ok(self.head_ms)
    }

    /// The next record; `None` unless [`Stream::head_ms`] has just said that there is one.
    pub fn take(&mut self) -> Option<(Position, &[u8])> {
        self.head_ms = None;
        let (position, place) = self.records.pop_front()?;
        Some((position, &self.bytes[place]))
    }

    /// How far it is, and where it ends.
    pub fn progress(&self) -> (u64, u64) {
        self.walk.progress()
    }

    fn refill(&mut self) -> Result<bool, Refused> {
        let Some(range) = self.walk.next_read() else { return Ok(false) };
        let RangeOf::Log(base) = range.file else { unreachable!("a walk reads logs") };
        let path = self.directory.join(base.log_name());
        let fails = |error: std::io::Error| failed(&path, &error);
        if self.open.as_ref().is_none_or(|(open, _)| *open != base) {
            self.open = Some((base, File::open(&path).map_err(fails)?));
        }
        let (_, file) = self.open.as_ref().expect("it was just opened");
        self.bytes.resize(range.len as usize, 0);
        let mut got = 0;
        while got < self.bytes.len() {
            match file.read_at(&mut self.bytes[got..], range.offset + got as u64).map_err(fails)? {
                0 => break,
                more => got += more,
            }
        }
        self.bytes.truncate(got);
        let records = &mut self.records;
        let walked = self.walk.supply(&self.bytes, |position, place| records.push_back((position, place)));
        walked.map_err(|BrokenOff { segment, file_offset }| {
            Refused::new(
                format!("{} is damaged at byte {file_offset}", self.directory.join(segment.log_name()).display()),
                "the directory is as it was; it cannot be rewritten without losing messages",
            )
        })?;
        Ok(true)
    }
}
