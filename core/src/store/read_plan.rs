//! Which file ranges to read for records that are no longer resident, and how to find the records in what comes back.
//!
//! Owns the alignment direct I/O needs and the merging of neighbours. It is plain data that survives an await. Bytes that
//! come back are believed only after [`ReadPlan::record`] has looked at them.

use super::limits::{BLOCK, READ_MERGE_GAP, RECORD_MAX};
use super::own_record;
use super::range::{RangeOf, ReadRange};
use super::segment::Layout;
use ringmq_protocol::offset::Position;
use ringmq_protocol::record::{MAGIC_V1, MAGIC_V2};

/// Where a record lies in the ranges' bytes, laid back to back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    position: Position,
    at: u64,
    len: u32,
}

/// What to read, and what it holds. The driver reads all ranges and returns their bytes back to back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadPlan {
    ranges: Vec<ReadRange>,
    cuts: Vec<Cut>,
}

/// What was read is not the record that was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    pub position: Position,
}

impl ReadPlan {
    /// A plan for records by position and size. In ascending order they merge best; any order works.
    pub fn new(layout: &Layout, records: impl IntoIterator<Item = (Position, u32)>) -> Self {
        let mut plan = ReadPlan::default();
        let mut total = 0;
        for (position, len) in records {
            let segment = layout.segment_of(position);
            let from = position.0 - segment.0;
            let end = from + u64::from(len);
            assert!(len >= 8 && end <= layout.segment_size(), "a record lies within a segment");
            let file = RangeOf::Log(segment);
            let (block, block_end) = (from - from % BLOCK, end.next_multiple_of(BLOCK));
            let near = plan.ranges.last_mut().filter(|last| {
                let reach = last.offset + last.len + READ_MERGE_GAP;
                last.file == file && (last.offset..=reach).contains(&block)
            });
            let range_at = if let Some(last) = near {
                let start = total - last.len;
                last.len = last.len.max(block_end - last.offset);
                total = start + last.len;
                start + from - last.offset
            } else {
                plan.ranges.push(ReadRange { file, offset: block, len: block_end - block });
                total += block_end - block;
                total - (block_end - block) + from - block
            };
            plan.cuts.push(Cut { position, at: range_at, len });
        }
        plan
    }

    /// What to read, in this order.
    pub fn ranges(&self) -> &[ReadRange] {
        &self.ranges
    }

    /// How many bytes that is.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.len).sum()
    }

    /// How many records it is for.
    pub fn records(&self) -> usize {
        self.cuts.len()
    }

    /// The bytes asked for as record `n`, unchecked: for the head of a record whose size is not known yet.
    pub fn bytes_of<'b>(&self, n: usize, read: &'b [u8]) -> Option<&'b [u8]> {
        let Cut { position: _, at, len } = *self.cuts.get(n)?;
        read.get(usize::try_from(at).ok()?..)?.get(..len as usize)
    }

    /// Record `n` (in the order given) out of what was read.
    ///
    /// # Errors
    /// If what lies there is not a record of that size, or too little was read.
    ///
    /// # Panics
    /// If the plan has no such record.
    pub fn record<'b>(&self, n: usize, read: &'b [u8]) -> Result<&'b [u8], Damaged> {
        let Cut { position, at, len } = self.cuts[n];
        let bytes = usize::try_from(at).ok().and_then(|at| read.get(at..at + len as usize));
        let intact = bytes.filter(|bytes| {
            let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            word(0) == len && is_record_magic(word(4))
        });
        intact.ok_or(Damaged { position })
    }
}

/// Whether a record may carry this magic: a message of either version, or one of our own.
pub(crate) fn is_record_magic(magic: u32) -> bool {
    magic == MAGIC_V1 as u32 || magic == MAGIC_V2 as u32 || magic == own_record::MAGIC
}

const _: () = assert!(RECORD_MAX < u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use proptest::prelude::*;

    const SEGMENT: u64 = 1 << 20;

    /// A disk whose every byte tells where it is, with records' sizes and magics where they belong.
    fn read(plan: &ReadPlan, records: &[(Position, u32)]) -> Vec<u8> {
        let mut disk: Vec<u8> = (0..4 * SEGMENT).map(|n| (n / 7 % 251) as u8).collect();
        for (position, len) in records {
            let at = position.0 as usize;
            disk[at..at + 4].copy_from_slice(&len.to_be_bytes());
            disk[at + 4..at + 8].copy_from_slice(&MAGIC_V1.to_be_bytes());
        }
        let mut out = Vec::new();
        for range in plan.ranges() {
            assert!(range.len.is_multiple_of(BLOCK) && range.offset.is_multiple_of(BLOCK));
            assert!(range.offset + range.len <= SEGMENT);
            let RangeOf::Log(segment) = range.file else { panic!("records lie in the log") };
            let from = (segment.0 + range.offset) as usize;
            out.extend_from_slice(&disk[from..from + range.len as usize]);
        }
        assert_eq!(out.len() as u64, plan.bytes());
        out
    }

    #[test]
    fn neighbours_are_one_read() {
        let layout = Layout::new(ShardId(0), SEGMENT).expect("a good size");
        let near = (0..100).map(|n| (Position(n * 1000), 900));
        assert_eq!(ReadPlan::new(&layout, near).ranges().len(), 1);
        let far = (0..3).map(|n| (Position(n * 300_000), 900));
        assert_eq!(ReadPlan::new(&layout, far).ranges().len(), 3);
        assert_eq!(ReadPlan::new(&layout, []).bytes(), 0);
    }

    #[test]
    fn what_is_not_the_record_is_not_given_out() {
        let layout = Layout::new(ShardId(0), SEGMENT).expect("a good size");
        let records = [(Position(SEGMENT + 5000), 100)];
        let plan = ReadPlan::new(&layout, records);
        let mut bytes = read(&plan, &records);
        assert!(plan.record(0, &bytes).is_ok());
        let damaged = Damaged { position: records[0].0 };
        assert_eq!(plan.record(0, &bytes[..950]), Err(damaged));
        bytes[5000 - 4096 + 5] ^= 1;
        assert_eq!(plan.record(0, &bytes), Err(damaged));
    }

    proptest! {
        #[test]
        fn every_record_is_cut_out(gaps in proptest::collection::vec((0u64..200_000, 16u32..20_000), 1..40), backwards: bool) {
            let layout = Layout::new(ShardId(0), SEGMENT).expect("a good size");
            let mut records = Vec::new();
            let mut at = 0;
            for (gap, len) in gaps {
                at += gap;
                if at / SEGMENT != (at + u64::from(len)) / SEGMENT { at = at.next_multiple_of(SEGMENT); }
                if at + u64::from(len) >= 4 * SEGMENT { break; }
                records.push((Position(at), len));
                at += u64::from(len);
            }
            if backwards { records.reverse(); }
            let plan = ReadPlan::new(&layout, records.iter().copied());
            let bytes = read(&plan, &records);
            for (n, (position, len)) in records.iter().enumerate() {
                let record = plan.record(n, &bytes).expect("intact");
                prop_assert_eq!(record.len(), *len as usize);
                for (k, byte) in record.iter().enumerate().skip(8) {
                    prop_assert_eq!(*byte, ((position.0 + k as u64) / 7 % 251) as u8);
                }
            }
        }
    }
}
