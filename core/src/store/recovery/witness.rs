//! The search for a frame that proves that an invalid one before it had been durable.
//!
//! Owns the last part of `docs/storage-format.md` section 8: damage near the log's end must not pass for its end.

use ringmq_protocol::offset::Position;

use super::super::frame::{FrameHeader, HEADER, MAGIC, UnverifiedFrame};
use super::super::limits::{BLOCK, IN_FLIGHT_SPAN, WITNESS_SPAN};
use super::outcome::{RecoveryError, Why};
use super::{FoundFile, Recovery, Stage};
use crate::store::range::{RangeOf, ReadRange};

/// Where to look: behind `end` in the `n`-th segment, or at the beginning of one after it.
pub(super) fn range(segments: &[FoundFile], n: usize, end: u64, look: usize) -> ReadRange {
    let FoundFile { base, len } = segments[look];
    let offset = if look == n { (end - base.0) - (end - base.0) % BLOCK } else { 0 };
    ReadRange { file: RangeOf::Log(base), offset, len: WITNESS_SPAN.min(len.saturating_sub(offset)) }
}

impl Recovery {
    pub(super) fn look_for_witness(
        &mut self,
        n: usize,
        end: u64,
        look: usize,
        bytes: &[u8],
    ) -> Result<Stage, RecoveryError> {
        let ReadRange { offset, .. } = range(&self.segments, n, end, look);
        let base = self.segments[look].base.0;
        // Where the frame at `end` would have been whole, as far as its header tells. From a later segment's point of view
        // that is in the segments before it, wherever those end.
        let whole_at = if look == n { whole_at(bytes, base + offset, end) } else { base };
        for header in frames(bytes, base + offset, self.options.seed).filter(|header| header.position > end) {
            let proven = (header.position + header.total()).saturating_sub(IN_FLIGHT_SPAN + BLOCK);
            let ours = header.shard == self.options.layout.shard().0;
            if ours && (header.durable > end || proven >= whole_at) {
                return Err(self.corrupt(n, end, Why::Witness { witness: Position(header.position) }));
            }
        }
        if look + 1 < self.segments.len() {
            return Ok(Stage::Witness { n, end, look: look + 1 });
        }
        Ok(Stage::Done { end })
    }
}

/// The end of the frame that starts at `end` in `bytes`, or the least it can be if there is no header.
fn whole_at(bytes: &[u8], from: u64, end: u64) -> u64 {
    let frame = bytes.get((end - from) as usize..).and_then(UnverifiedFrame::parse);
    let claimed = frame.filter(|frame| frame.claimed().position == end).map(|frame| frame.claimed().total());
    end + claimed.unwrap_or(HEADER as u64)
}

/// The whole frames in `bytes`, which were read from stream offset `from`, that are where they say.
fn frames(bytes: &[u8], from: u64, seed: u32) -> impl Iterator<Item = FrameHeader> + '_ {
    let magic = MAGIC.to_be_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += bytes.get(at..)?.iter().position(|byte| *byte == magic[0])?;
            let place = at;
            at += 1;
            let Some(frame) = bytes.get(place..).and_then(UnverifiedFrame::parse) else { continue };
            if frame.claimed().position != from + place as u64 {
                continue;
            }
            if let Some(header) = frame.verify(seed, &bytes[place..]) {
                at = place + header.total() as usize;
                return Some(header);
            }
        }
    })
}
