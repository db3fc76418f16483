//! A piece of one of a shard's files: what recovery and reads ask the driver for.
//!
//! Owns the names of the files that belong to a segment. Plain data; never opens anything.

use super::segment::SegmentBase;

/// Which file of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeOf {
    Log(SegmentBase),
    Index(SegmentBase),
    Partial(SegmentBase),
}

impl RangeOf {
    /// Whether it is the index of a full segment.
    pub fn is_index(self) -> bool {
        matches!(self, RangeOf::Index(_))
    }

    /// The file's name in the shard's directory.
    pub fn file_name(self) -> String {
        match self {
            RangeOf::Log(base) => base.log_name(),
            RangeOf::Index(base) => base.index_name(),
            RangeOf::Partial(base) => base.partial_name(),
        }
    }
}

/// Bytes of one file. Log ranges are whole blocks unless the file ends earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    pub file: RangeOf,
    /// In the file, bytes.
    pub offset: u64,
    pub len: u64,
}

impl ReadRange {
    /// These bytes of a file that is in memory; fewer where it ends.
    pub fn of<'f>(&self, file: &'f [u8]) -> &'f [u8] {
        let from = (self.offset as usize).min(file.len());
        let to = from.saturating_add(self.len as usize).min(file.len());
        &file[from..to]
    }
}
