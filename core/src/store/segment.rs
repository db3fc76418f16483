//! How a shard's stream is cut into segments.
//!
//! Owns the arithmetic between positions, segments, file offsets and file names, and the two states of a segment as two
//! types: the one that is appended to, and one that will never change again. Never touches a file.

use super::frame::HEADER;
use super::limits::{BLOCK, SEGMENT_MAX, SEGMENT_MIN};
use crate::event::ShardId;
use ringmq_protocol::offset::Position;

/// Stream offset of a segment's first byte; names its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentBase(pub u64);

impl SegmentBase {
    /// `00000000000268435456.log`
    pub fn log_name(self) -> String {
        format!("{:020}.log", self.0)
    }

    /// `00000000000268435456.index`
    pub fn index_name(self) -> String {
        format!("{:020}.index", self.0)
    }

    /// `00000000000268435456.partial`
    pub fn partial_name(self) -> String {
        format!("{:020}.partial", self.0)
    }

    /// `00000000000268435456.spare`: a released segment's file, kept to be used again.
    pub fn spare_name(self) -> String {
        format!("{:020}.spare", self.0)
    }

    /// The base in a name as those above make it, and its extension.
    pub fn parse_name(name: &str) -> Option<(SegmentBase, &str)> {
        let (digits, extension) = name.split_once('.')?;
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some((SegmentBase(digits.parse().ok()?), extension))
    }
}

/// Whose stream it is and how it is cut; the same for the whole life of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    shard: ShardId,
    segment_size: u64,
}

impl Layout {
    /// `None` if the size is not a multiple of a block between 64 KiB and 1 GiB.
    pub fn new(shard: ShardId, segment_size: u64) -> Option<Self> {
        let fits = (SEGMENT_MIN..=SEGMENT_MAX).contains(&segment_size) && segment_size.is_multiple_of(BLOCK);
        fits.then_some(Layout { shard, segment_size })
    }

    /// Whose stream it is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Bytes of every segment.
    pub fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// The segment a position lies in.
    #[inline]
    pub fn segment_of(&self, position: Position) -> SegmentBase {
        SegmentBase(position.0 - position.0 % self.segment_size)
    }

    /// The position after a segment's last byte: the base of the next one.
    #[inline]
    pub fn end_of(&self, base: SegmentBase) -> u64 {
        base.0 + self.segment_size
    }

    /// The largest record that fits into a segment beside its frame's header and the segment end.
    pub fn record_max(&self) -> u64 {
        self.segment_size - 2 * HEADER as u64
    }
}

/// The segment that is appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Active {
    base: SegmentBase,
    end: u64,
}

impl Active {
    /// The segment that starts at `base`.
    pub(crate) fn new(layout: &Layout, base: SegmentBase) -> Self {
        Active { base, end: layout.end_of(base) }
    }

    /// Stream offset of its first byte.
    pub fn base(&self) -> SegmentBase {
        self.base
    }

    /// Base of its successor.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether `bytes` more at `at` leave room for the segment end.
    #[inline]
    pub(crate) fn fits(&self, at: u64, bytes: u64) -> bool {
        at + bytes + HEADER as u64 <= self.end
    }

    /// Nothing will be added: its records end at `records_end`, its last frame is of `epoch`.
    pub(crate) fn seal(self, records_end: u64, epoch: u32) -> Sealed {
        assert!(records_end >= self.base.0 && records_end + HEADER as u64 <= self.end);
        Sealed { base: self.base, end: self.end, records_end: Position(records_end), epoch }
    }
}

/// A segment that will never change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    base: SegmentBase,
    end: u64,
    records_end: Position,
    epoch: u32,
}

impl Sealed {
    /// A segment that is filled to its last byte by records, for benches and tests.
    pub fn full(layout: &Layout, base: SegmentBase) -> Self {
        let end = layout.end_of(base);
        Active::new(layout, base).seal(end - HEADER as u64, 1)
    }

    /// Stream offset of its first byte.
    pub fn base(&self) -> SegmentBase {
        self.base
    }

    /// Base of its successor.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Where its last record ends.
    pub fn records_end(&self) -> Position {
        self.records_end
    }

    /// Epoch of its last frame.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_back_and_forth() {
        let base = SegmentBase(268_435_456);
        assert_eq!(base.log_name(), "00000000000268435456.log");
        assert_eq!(SegmentBase::parse_name(&base.log_name()), Some((base, "log")));
        assert_eq!(SegmentBase::parse_name(&base.index_name()), Some((base, "index")));
        for foreign in ["", "log", "1.log", "0000000000026843545x.log", "checkpoint-0", "+0000000000268435456.log"] {
            assert_eq!(SegmentBase::parse_name(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn positions_find_their_segment() {
        let layout = Layout::new(ShardId(3), 64 * 1024).expect("a good size");
        assert_eq!(layout.segment_of(Position(65_535)), SegmentBase(0));
        assert_eq!(layout.segment_of(Position(65_536)), SegmentBase(65_536));
        for bad in [0, 4096, 65_537, 1 << 31] {
            assert_eq!(Layout::new(ShardId(0), bad), None);
        }
    }
}
