//! The search for a frame that proves that an invalid one before it had been durable.
//!
//! Owns the last part of `docs/storage-format.md` section 8: damage near the log's end must not pass for its end.

use ringmq_protocol::offset::Position;

use super::super::frame::{FrameHeader, HEADER, MAGIC, UnverifiedFrame};
use super::super::limits::{BLOCK, IN_FLIGHT_SPAN, WITNESS_SPAN};
use super::outcome::{RecoveryError, Why};
use super::{FoundFile, RangeOf, ReadRange, Recovery, Stage};

/// Where to look: behind `end` in the `n`-th segment, or at the beginning of the one after it.
pub(super) fn range(segments: &[FoundFile], n: usize, end: u64, next: bool) -> ReadRange {
    let FoundFile { base, len } = segments[n + usize::from(next)];
    let offset = if next { 0 } else { (end - base.0) - (end - base.0) % BLOCK };
    ReadRange { file: RangeOf::Log(base), offset, len: WITNESS_SPAN.min(len.saturating_sub(offset)) }
}

impl Recovery {
    pub(super) fn look_for_witness(&mut self, n: usize, end: u64, next: bool, bytes: &[u8]) -> Result<Stage, RecoveryError> {
        let ReadRange { offset, .. } = range(&self.segments, n, end, next);
        let from = self.segments[n + usize::from(next)].base.0 + offset;
        // The frame at `end`, as far as its header tells: how much must have been durable for it to have been whole.
        let claimed = bytes.get((end.saturating_sub(from)) as usize..).filter(|_| !next).and_then(UnverifiedFrame::parse);
        let claimed = claimed.filter(|frame| frame.claimed().position == end);
        let whole_at = end + claimed.map_or(HEADER as u64, |frame| frame.claimed().total());
        for header in frames(bytes, from, self.options.seed).filter(|header| header.position > end) {
            let shard = header.shard == self.options.layout.shard().0;
            // Writes of a segment's successor may be in flight together with those of the segment; only claims count there.
            let reach = header.position + header.total();
            let behind = if next { 0 } else { reach.saturating_sub(IN_FLIGHT_SPAN + BLOCK) };
            if shard && (header.durable > end || behind >= whole_at) {
                return Err(self.corrupt(n, end, Why::Witness { witness: Position(header.position) }));
            }
        }
        if !next && n + 1 < self.segments.len() {
            return Ok(Stage::Witness { n, end, next: true });
        }
        Ok(Stage::Done { end })
    }
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
