//! The replay of frames: what is one, and what its records say.
//!
//! Owns the checks of `docs/storage-format.md` 8.3. Believes a frame only after its checksum.

use ringmq_protocol::offset::{Position, WireOffset};
use ringmq_protocol::record::{MAGIC_V1, MAGIC_V2, RecordRef};

use super::super::frame::{FrameHeader, FrameKind, HEADER, UnverifiedFrame};
use super::super::incarnation::Begun;
use super::super::index::consume_queue::Entry;
use super::super::index::marks::Marks;
use super::super::own_record::{self, OwnKind, OwnRecord};
use super::super::segment::SegmentBase;
use super::Recovery;
use super::outcome::{RecoveryError, Visitor, Why};

/// What lies at a place.
#[derive(Debug)]
pub(super) enum Next<'b> {
    Frame {
        header: FrameHeader,
        records: &'b [u8],
    },
    SegmentEnd {
        epoch: u32,
    },
    /// Too few bytes to tell; a frame of `total` bytes may start here.
    Short {
        total: u64,
    },
    /// Not a frame of this log.
    Invalid,
}

impl Recovery {
    /// Looks at stream offset `at` of the segment at `base`; `bytes` is what was read from there.
    pub(super) fn next_frame<'b>(
        &self,
        base: SegmentBase,
        at: u64,
        bytes: &'b [u8],
    ) -> Result<Next<'b>, RecoveryError> {
        let layout = &self.options.layout;
        if at + HEADER as u64 > layout.end_of(base) {
            return Ok(Next::Invalid);
        }
        if bytes.len() < HEADER {
            return Ok(Next::Short { total: HEADER as u64 });
        }
        let Some(frame) = UnverifiedFrame::parse(bytes) else { return Ok(Next::Invalid) };
        let claimed = frame.claimed();
        // The writer keeps room for the segment end behind every frame of records.
        let end = at + claimed.total() + if claimed.kind == FrameKind::Records { HEADER as u64 } else { 0 };
        if claimed.position != at || end > layout.end_of(base) {
            return Ok(Next::Invalid);
        }
        if (bytes.len() as u64) < claimed.total() {
            return Ok(Next::Short { total: claimed.total() });
        }
        let Some(header) = self.verified(&frame, bytes) else { return Ok(Next::Invalid) };
        if header.shard != layout.shard().0 {
            return Err(self.corrupt_at(base, at, Why::OtherShard { shard: header.shard }));
        }
        if header.epoch >= self.options.epoch {
            return Err(self.corrupt_at(base, at, Why::FutureEpoch { epoch: header.epoch }));
        }
        let covered = self.checkpoint.as_ref().filter(|checkpoint| at >= checkpoint.covered.0);
        if header.epoch < self.last_epoch.max(covered.map_or(0, |checkpoint| checkpoint.epoch)) {
            return Ok(Next::Invalid); // Left over from before an earlier crash.
        }
        Ok(match header.kind {
            FrameKind::Records => Next::Frame { header, records: &bytes[HEADER..header.total() as usize] },
            FrameKind::SegmentEnd => Next::SegmentEnd { epoch: header.epoch },
        })
    }

    fn verified(&self, frame: &UnverifiedFrame, bytes: &[u8]) -> Option<FrameHeader> {
        #[cfg(test)]
        if self.planted == super::super::planted::Planted::SkipChecksum {
            return Some(*frame.claimed());
        }
        frame.verify(self.options.seed, bytes)
    }

    fn corrupt_at(&self, base: SegmentBase, at: u64, why: Why) -> RecoveryError {
        RecoveryError::Corrupt { segment: base, file_offset: at - base.0, why }
    }

    /// Lets a frame's records count.
    pub(super) fn take_records(
        &mut self,
        base: SegmentBase,
        at: u64,
        header: &FrameHeader,
        records: &[u8],
        visitor: &mut dyn Visitor,
    ) -> Result<(), RecoveryError> {
        let (mut rest, mut position, mut count) = (records, at + HEADER as u64, 0);
        while !rest.is_empty() {
            let bad = Why::Record { position: Position(position) };
            let Some((record, magic, later)) = cut(rest) else { return Err(self.corrupt_at(base, at, bad)) };
            if position >= self.covered() {
                self.mark_queues();
            }
            let taken = if magic == own_record::MAGIC {
                self.take_own(Position(position), record, visitor)
            } else {
                self.take_message(Position(position), record, visitor)
            };
            taken.map_err(|why| self.corrupt_at(base, at, why))?;
            position += record.len() as u64;
            count += 1;
            rest = later;
        }
        if count != header.records {
            return Err(self.corrupt_at(base, at, Why::Record { position: Position(position) }));
        }
        Ok(())
    }

    fn take_message(&mut self, position: Position, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<(), Why> {
        let bad = Why::Record { position };
        let record = RecordRef::parse(bytes).map_err(|_| bad)?;
        let wire = WireOffset::new(self.options.layout.shard().0, position).to_wire();
        let queue = u32::try_from(record.queue_id()).map_err(|_| bad)?;
        let offset = u64::try_from(record.queue_offset()).map_err(|_| bad)?;
        if record.physical_offset() != wire {
            return Err(bad);
        }
        let marks = Marks { code: crate::delay::entry_code(&record), ..Marks::of(record.properties()) };
        let store_ms = record.store_timestamp();
        let entry = Entry { position, size: bytes.len() as u32, tag_hash: marks.tag_hash() };
        let slot = self.queues.open(record.topic(), queue);
        let pushed = self.queues[slot].push_at(offset, entry, store_ms);
        pushed.map_err(|gap| Why::QueueGap { position, offset, expected: gap.expected })?;
        marks.index(&mut self.keys, record.topic(), position, store_ms);
        self.latest_ms = self.latest_ms.max(store_ms);
        self.report.messages += 1;
        if position.0 >= self.covered() {
            visitor.message(position, &record);
        }
        Ok(())
    }

    fn take_own(&mut self, position: Position, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<(), Why> {
        let bad = Why::Record { position };
        let record = OwnRecord::parse(bytes).ok_or(bad)?;
        if record.kind == OwnKind::TopicBegun {
            let Begun { topic, incarnation } = Begun::read(record.payload).ok_or(bad)?;
            self.queues.begin(topic, incarnation, position);
        }
        self.report.own_records += 1;
        if position.0 < self.covered() {
            return Ok(());
        }
        visitor.own(position, record).map_err(|_| bad)
    }
}

/// The first record of `rest`, its magic, and what follows.
fn cut(rest: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let size = u32::from_be_bytes(*rest.first_chunk()?) as usize;
    let magic = u32::from_be_bytes(*rest.get(4..)?.first_chunk()?);
    let known = magic == MAGIC_V1 as u32 || magic == MAGIC_V2 as u32 || magic == own_record::MAGIC;
    let (record, later) = rest.split_at_checked(size).filter(|_| known && size >= 8)?;
    Some((record, magic, later))
}
