//! All records of a recovered log from its first to its last, verified, for whoever copies it.
//!
//! Owns the steps from frame to frame over the ends of segments. A frame that fails is an error here: recovery has said
//! where the log ends. Never writes and never decides what a record is good for.

use std::ops::Range;

use ringmq_protocol::offset::Position;

use super::frame::{FrameKind, HEADER, UnverifiedFrame};
use super::limits::{BLOCK, RECOVERY_READ};
use super::range::{RangeOf, ReadRange};
use super::segment::{Layout, SegmentBase};

/// A place in a log, and how to get on from there. Call [`Walk::next_read`] and [`Walk::supply`] in turn.
#[derive(Debug)]
pub struct Walk {
    layout: Layout,
    seed: u32,
    at: u64,
    end: u64,
    /// Bytes that the next frame needs at once.
    need: u64,
}

/// No valid frame where there must be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenOff {
    pub segment: SegmentBase,
    pub file_offset: u64,
}

impl Walk {
    /// Over the frames from `start` (a segment's base) to `end`, where the log ends.
    pub fn new(layout: Layout, seed: u32, start: SegmentBase, end: Position) -> Self {
        Walk { layout, seed, at: start.0, end: end.0, need: RECOVERY_READ }
    }

    /// How far it is, and where it ends.
    pub fn progress(&self) -> (u64, u64) {
        (self.at, self.end)
    }

    /// What to read next; `None` at the end. A file may end before the range does.
    pub fn next_read(&self) -> Option<ReadRange> {
        if self.at >= self.end {
            return None;
        }
        let base = self.layout.segment_of(Position(self.at));
        let offset = (self.at - base.0) - (self.at - base.0) % BLOCK;
        let len = self.need.min(self.layout.segment_size() - offset);
        Some(ReadRange { file: RangeOf::Log(base), offset, len })
    }

    /// Takes the bytes of [`Walk::next_read`] and says where the records of all whole frames in them lie.
    ///
    /// # Errors
    /// A frame is not what was written.
    pub fn supply(&mut self, bytes: &[u8], mut each: impl FnMut(Position, Range<usize>)) -> Result<(), BrokenOff> {
        let base = self.layout.segment_of(Position(self.at));
        let from = self.at - (self.at - base.0) % BLOCK;
        let broken = |at: u64| BrokenOff { segment: base, file_offset: at - base.0 };
        loop {
            if self.at >= self.end {
                return Ok(());
            }
            let place = (self.at - from) as usize;
            let rest = bytes.get(place..).unwrap_or_default();
            let whole = (from + bytes.len() as u64) >= self.layout.end_of(base);
            let total = match UnverifiedFrame::parse(rest) {
                Some(frame) => frame.claimed().total(),
                None if rest.len() >= HEADER || whole => return Err(broken(self.at)),
                None => HEADER as u64,
            };
            if (rest.len() as u64) < total {
                let need = (place as u64 % BLOCK + total).next_multiple_of(BLOCK).max(RECOVERY_READ);
                // The same bytes again would lead nowhere.
                if whole || (place as u64) < BLOCK && need <= self.need {
                    return Err(broken(self.at));
                }
                self.need = need;
                return Ok(());
            }
            let header = UnverifiedFrame::parse(rest).and_then(|frame| frame.verify(self.seed, rest));
            let header = header.filter(|header| header.position == self.at && header.shard == self.layout.shard().0);
            let header = header.ok_or(broken(self.at))?;
            if header.kind == FrameKind::SegmentEnd {
                self.at = self.layout.end_of(base);
                self.need = RECOVERY_READ;
                return Ok(());
            }
            let mut record = place + HEADER;
            let end = place + total as usize;
            while record < end {
                let size = bytes.get(record..).and_then(|bytes| bytes.first_chunk()).copied();
                let size = size.map_or(0, |size| u32::from_be_bytes(size) as usize);
                if size < 8 || record + size > end {
                    return Err(broken(self.at));
                }
                each(Position(from + record as u64), record..record + size);
                record += size;
            }
            self.at += total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use crate::store::limits::SEGMENT_MIN;
    use crate::store::{CommitLog, LogOptions, OwnKind, OwnRecord, Urge};
    use std::collections::BTreeMap;

    type Files = BTreeMap<u64, Vec<u8>>;

    /// A log of several segments, as files, and where its records lie.
    fn written(count: u32) -> (CommitLog, Files, Vec<(u64, Vec<u8>)>) {
        let layout = Layout::new(ShardId(3), SEGMENT_MIN).expect("a good size");
        let mut log = CommitLog::new(LogOptions::new(layout, 1));
        let (mut files, mut records) = (Files::new(), Vec::new());
        for n in 0..count {
            let payload = vec![n as u8; (n as usize * 7919) % 9_000 + 1];
            let record = OwnRecord { kind: OwnKind::OffsetBatch, payload: &payload };
            let mut bytes = vec![0; record.size()];
            record.encode(&mut bytes);
            let position = log.append(1, bytes.len(), |_, out| out.copy_from_slice(&bytes)).expect("there is room");
            records.push((position.0, bytes));
            while let Some(base) = log.wanted_segment() {
                files.insert(base.0, vec![0; SEGMENT_MIN as usize]);
                log.segment_ready(base);
            }
            while let Some(plan) = log.next_write(Urge::Stop) {
                let file = files.get_mut(&plan.segment.0).expect("it was made");
                log.copy_plan(&plan, &mut file[plan.file_offset as usize..][..plan.len]);
                log.complete(plan.seq, Ok(())).expect("nothing fails here");
            }
        }
        (log, files, records)
    }

    fn walked(log: &CommitLog, files: &Files) -> Result<Vec<(u64, Vec<u8>)>, BrokenOff> {
        let mut walk = Walk::new(*log.layout(), 0, SegmentBase(0), log.appended());
        let mut found = Vec::new();
        while let Some(range) = walk.next_read() {
            let RangeOf::Log(base) = range.file else { panic!("only logs are walked") };
            let bytes = &files[&base.0][range.offset as usize..][..range.len as usize];
            walk.supply(bytes, |position, place| found.push((position.0, bytes[place].to_vec())))?;
        }
        Ok(found)
    }

    #[test]
    fn every_record_is_met_once_and_damage_is_named() {
        let (log, mut files, records) = written(80);
        assert!(files.len() > 3);
        assert_eq!(walked(&log, &files), Ok(records.clone()));
        let (position, _) = records[40];
        let base = position - position % SEGMENT_MIN;
        files.get_mut(&base).expect("it was written")[(position - base) as usize + 9] ^= 1;
        let broken = walked(&log, &files).expect_err("a flipped bit");
        assert_eq!(broken.segment, SegmentBase(base));
        assert!(broken.file_offset <= position - base);
    }
}
