//! A segment from its base to its end, damage and all: for the scrub and for `mqbroker --check`.
//!
//! Owns the steps from frame to frame, and where damage begins and ends. What it gives out was verified. It goes on behind
//! damage, as `walk` does not; it never decides where a log ends.

use ringmq_protocol::offset::Position;

use super::cold::Damage;
use super::frame::{FrameHeader, FrameKind, HEADER, MAGIC, UnverifiedFrame};
use super::limits::{BLOCK, COLD_READ_MAX};
use super::range::{RangeOf, ReadRange};
use super::segment::{Layout, SegmentBase};

const HEADER_LEN: u64 = HEADER as u64;

/// What lies in a segment, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met<'b> {
    /// A record.
    Record(Position, &'b [u8]),
    /// No frame, where one must be.
    Damage(Damage),
    /// The segment's last frame: there is nothing more in it.
    End(Position),
}

/// A place in a segment. Call [`Survey::next_read`] and [`Survey::supply`] in turn.
#[derive(Debug)]
pub struct Survey {
    layout: Layout,
    seed: u32,
    base: SegmentBase,
    at: u64,
    /// Where the frames end that are looked at.
    end: u64,
    /// Where the damage begins that is being passed.
    lost: Option<u64>,
    /// Bytes that the next frame needs at once.
    need: u64,
}

/// What is at a place.
enum Here {
    Frame(FrameHeader),
    /// So many bytes are needed to tell.
    Short(u64),
    Nothing,
}

impl Survey {
    /// Over the frames of the segment at `base`, as far as `end` (its end, or what is durable).
    pub fn new(layout: Layout, seed: u32, base: SegmentBase, end: Position) -> Self {
        let end = end.0.min(layout.end_of(base));
        Survey { layout, seed, base, at: base.0, end, lost: None, need: COLD_READ_MAX }
    }

    /// Bytes of the segment that were looked at.
    pub fn done(&self) -> u64 {
        self.at - self.base.0
    }

    /// What to read next; `None` at the end. A file may end before the range does.
    pub fn next_read(&self) -> Option<ReadRange> {
        if self.at >= self.end {
            return None;
        }
        let offset = (self.at - self.base.0) - (self.at - self.base.0) % BLOCK;
        let len = self.need.min(self.layout.segment_size() - offset);
        Some(ReadRange { file: RangeOf::Log(self.base), offset, len })
    }

    /// Takes the bytes of [`Survey::next_read`] and says what lies in them.
    pub fn supply(&mut self, bytes: &[u8], mut each: impl FnMut(Met<'_>)) {
        let from = self.at - (self.at - self.base.0) % BLOCK;
        let asked = self.need;
        self.need = COLD_READ_MAX;
        while self.at < self.end {
            let rest = bytes.get((self.at - from) as usize..).unwrap_or_default();
            match self.look(rest) {
                Here::Frame(header) => self.take(&header, rest, &mut each),
                Here::Short(total) => {
                    let need = (self.at % BLOCK + total).next_multiple_of(BLOCK).max(COLD_READ_MAX);
                    let file_ends = (bytes.len() as u64) < asked;
                    if !file_ends && (self.at - from >= BLOCK || need > asked) {
                        self.need = need;
                        return;
                    }
                    // The file is too short for it.
                    self.pass_over(rest);
                }
                Here::Nothing => self.pass_over(rest),
            }
        }
        self.tell_damage(self.end, &mut each);
    }

    fn look(&self, rest: &[u8]) -> Here {
        if self.at + HEADER_LEN > self.end {
            return Here::Nothing;
        }
        if rest.len() < HEADER {
            return Here::Short(HEADER_LEN);
        }
        let Some(frame) = UnverifiedFrame::parse(rest) else { return Here::Nothing };
        let claimed = frame.claimed();
        let is_ours = claimed.position == self.at && claimed.shard == self.layout.shard().0;
        if !is_ours || self.at + claimed.total() > self.end {
            return Here::Nothing;
        }
        if (rest.len() as u64) < claimed.total() {
            return Here::Short(claimed.total());
        }
        frame.verify(self.seed, rest).map_or(Here::Nothing, Here::Frame)
    }

    fn take(&mut self, header: &FrameHeader, rest: &[u8], each: &mut impl FnMut(Met<'_>)) {
        self.tell_damage(self.at, each);
        if header.kind == FrameKind::SegmentEnd {
            each(Met::End(Position(self.at)));
            self.at = self.end;
            return;
        }
        let mut position = self.at + HEADER_LEN;
        let mut records = &rest[HEADER..header.total() as usize];
        while !records.is_empty() {
            let size = records.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
            let Some((record, later)) = records.split_at_checked(size).filter(|_| size >= 8) else { break };
            each(Met::Record(Position(position), record));
            position += size as u64;
            records = later;
        }
        self.at += header.total();
        if !records.is_empty() {
            // It was written like that: its checksum is right.
            each(Met::Damage(Damage { from: Position(position), to: Position(self.at) }));
        }
    }

    /// Goes on to what may be the next header.
    fn pass_over(&mut self, rest: &[u8]) {
        self.lost.get_or_insert(self.at);
        let first = MAGIC.to_be_bytes()[0];
        let next = rest.iter().skip(1).position(|byte| *byte == first).map_or(rest.len().max(1), |at| at + 1);
        self.at += next as u64;
    }

    fn tell_damage(&mut self, to: u64, each: &mut impl FnMut(Met<'_>)) {
        if let Some(from) = self.lost.take() {
            each(Met::Damage(Damage { from: Position(from), to: Position(to) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use crate::store::{CommitLog, LogOptions, OwnKind, OwnRecord, Urge};
    use proptest::prelude::*;

    const SEGMENT: u64 = 4 << 20;
    const SEED: u32 = 99;

    /// One full segment and where its frames begin.
    fn written(lens: &[usize]) -> (Layout, Vec<u8>, Vec<Position>, Position) {
        let layout = Layout::new(ShardId(1), SEGMENT).expect("a good size");
        let options = LogOptions { seed: SEED, ..LogOptions::new(layout, 1) };
        let (mut log, mut file, mut records) = (CommitLog::new(options), vec![0; SEGMENT as usize], Vec::new());
        for len in lens {
            let payload = vec![b'R'; *len];
            let record = OwnRecord { kind: OwnKind::OffsetBatch, payload: &payload };
            let at = log.append(1, record.size(), |_, out| record.encode(out)).expect("there is room");
            records.push(at);
            while let Some(base) = log.wanted_segment() {
                log.segment_ready(base);
            }
            while let Some(plan) = log.next_write(Urge::Stop) {
                log.copy_plan(&plan, &mut file[plan.file_offset as usize..][..plan.len]);
                log.complete(plan.seq, Ok(())).expect("nothing fails here");
            }
        }
        (layout, file, records, log.durable())
    }

    fn survey(layout: Layout, file: &[u8], end: Position) -> (Vec<Position>, Vec<Damage>) {
        let mut survey = Survey::new(layout, SEED, SegmentBase(0), end);
        let (mut records, mut damages) = (Vec::new(), Vec::new());
        let mut reads = 0;
        while let Some(range) = survey.next_read() {
            reads += 1;
            assert!(reads < 1_000, "it gets on");
            let bytes = &file[range.offset as usize..][..range.len as usize];
            survey.supply(bytes, |met| match met {
                Met::Record(at, _) => records.push(at),
                Met::Damage(damage) => damages.push(damage),
                Met::End(_) => {}
            });
        }
        (records, damages)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn damage_is_named_and_everything_else_is_met(
            lens in proptest::collection::vec(1usize..70_000, 3..30),
            large in proptest::option::of(1_000_000usize..2_000_000),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        ) {
            let lens: Vec<usize> = lens.into_iter().chain(large).collect();
            let (layout, mut file, records, end) = written(&lens);
            prop_assert_eq!(survey(layout, &file, end), (records.clone(), vec![]));
            let flipped: Vec<u64> = flips.iter().map(|(at, _)| at.index(end.0 as usize) as u64).collect();
            for (at, (_, bit)) in flipped.iter().zip(&flips) {
                file[*at as usize] ^= 1 << bit;
            }
            let (met, damages) = survey(layout, &file, end);
            let lost = |at: &Position| damages.iter().any(|damage| damage.holds(*at));
            prop_assert!(records.iter().all(|at| met.contains(at) != lost(at)), "a record is met or in damage");
            let untouched = flipped.iter().all(|at| file[*at as usize] == written(&lens).1[*at as usize]);
            prop_assert!(untouched || !damages.is_empty());
            for damage in damages {
                prop_assert!(flipped.iter().any(|at| damage.holds(Position(*at))));
            }
        }
    }
}
