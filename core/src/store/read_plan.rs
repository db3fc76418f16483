//! Which pieces of files to read: what core asks of the driver in one go.
//!
//! Owns nothing but the list. It is plain data that survives an await. What the bytes mean, and whether they are believed, is
//! for whoever asked.

use super::range::ReadRange;

/// What to read. The driver reads all ranges and returns their bytes back to back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadPlan {
    ranges: Vec<ReadRange>,
}

impl ReadPlan {
    /// A plan for these ranges, in this order.
    pub fn of(ranges: Vec<ReadRange>) -> Self {
        ReadPlan { ranges }
    }

    /// What to read, in this order.
    pub fn ranges(&self) -> &[ReadRange] {
        &self.ranges
    }

    /// How many bytes that is.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.len).sum()
    }
}
