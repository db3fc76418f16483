//! A disk that keeps what was completed and, of what was in flight at a crash, any sectors it likes.

use std::collections::BTreeMap;

use super::super::files::checkpoint::Checkpoint;
use super::super::frame::UnverifiedFrame;
use super::super::log::WritePlan;
use super::super::range::{RangeOf, ReadRange};
use super::super::segment::SegmentBase;
use super::Rng;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// Files by segment base; writes that were given out and not completed.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeDisk {
    pub(super) segments: BTreeMap<u64, Vec<u8>>,
    pub(super) indexes: BTreeMap<u64, Vec<u8>>,
    pub(super) partials: BTreeMap<u64, Vec<u8>>,
    pub(super) checkpoints: [Option<Vec<u8>>; 2],
    /// What the log said before this world began; a log that begins later has one.
    pub(super) origin: Option<Checkpoint>,
    pub(super) in_flight: Vec<(WritePlan, Vec<u8>)>,
}

impl FakeDisk {
    /// A segment's file: zeros, or recycled, that is full of an older segment's bytes.
    pub(super) fn make_segment(&mut self, base: SegmentBase, size: u64, rng: &mut Rng) {
        let old = self.segments.first_key_value().map(|(_, bytes)| bytes.clone());
        let bytes = old.filter(|_| rng.chance(40)).unwrap_or_else(|| vec![0; size as usize]);
        self.segments.insert(base.0, bytes);
    }

    /// Bytes of a file; fewer where it ends.
    pub(super) fn read(&self, range: &ReadRange) -> Vec<u8> {
        let file = match range.file {
            RangeOf::Log(base) => self.segments.get(&base.0),
            RangeOf::Index(base) => self.indexes.get(&base.0),
            RangeOf::Partial(base) => self.partials.get(&base.0),
        };
        file.map_or_else(Vec::new, |file| range.of(file).to_vec())
    }

    /// Write `n` of those in flight reached the platter in full.
    pub(super) fn complete(&mut self, n: usize) -> WritePlan {
        let (plan, bytes) = self.in_flight.remove(n);
        self.put(&plan, &bytes, |_| true);
        plan
    }

    /// Write `n` failed half way.
    pub(super) fn fail(&mut self, n: usize, rng: &mut Rng) -> WritePlan {
        let (plan, bytes) = self.in_flight.remove(n);
        self.put(&plan, &bytes, |_| rng.chance(50));
        plan
    }

    /// The power goes: each write in flight left nothing, all, its beginning, its end, or any of its sectors.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let mut in_flight = std::mem::take(&mut self.in_flight);
        while !in_flight.is_empty() {
            let (plan, bytes) = in_flight.remove(rng.below(in_flight.len() as u64) as usize);
            let sectors = (bytes.len() / SECTOR) as u64;
            let cut = rng.below(sectors + 1) as usize;
            match rng.below(6) {
                0 => {}
                1 | 2 => self.put(&plan, &bytes, |_| true),
                3 => self.put(&plan, &bytes, |sector| sector < cut),
                4 => self.put(&plan, &bytes, |sector| sector >= cut),
                _ => self.put(&plan, &bytes, |_| rng.chance(50)),
            }
        }
    }

    fn put(&mut self, plan: &WritePlan, bytes: &[u8], mut keeps: impl FnMut(usize) -> bool) {
        let file = self.segments.get_mut(&plan.segment.0).expect("only made segments are written");
        let at = plan.file_offset as usize;
        for (n, sector) in bytes.chunks(SECTOR).enumerate() {
            if keeps(n) {
                file[at + n * SECTOR..at + n * SECTOR + sector.len()].copy_from_slice(sector);
            }
        }
    }

    /// Loses or damages files that recovery can do without.
    pub(super) fn damage_helpers(&mut self, rng: &mut Rng) {
        let damaged = |bytes: &mut Vec<u8>, rng: &mut Rng| {
            if rng.chance(50) {
                bytes.truncate(rng.below(bytes.len() as u64) as usize);
            } else {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
        };
        self.indexes.retain(|_, _| !rng.chance(8));
        self.partials.retain(|_, _| !rng.chance(8));
        let indexes = self.indexes.values_mut().chain(self.partials.values_mut());
        for file in indexes.chain(self.checkpoints.iter_mut().flatten()) {
            if rng.chance(8) && !file.is_empty() {
                damaged(file, rng);
            }
        }
    }

    /// Flips a bit of a frame below `end`; returns where.
    pub(super) fn flip_below(&mut self, end: u64, rng: &mut Rng) -> u64 {
        let first = *self.segments.first_key_value().expect("something was written").0;
        loop {
            let at = first + rng.below(end - first);
            let (base, file) = self.segments.range_mut(..=at).next_back().expect("there is a first segment");
            if at - base < frames_end(*base, file) {
                file[(at - base) as usize] ^= 1 << rng.below(8);
                return at;
            }
        }
    }
}

/// Bytes of frames at the front of an undamaged segment.
fn frames_end(base: u64, file: &[u8]) -> u64 {
    let mut at = 0;
    while let Some(frame) =
        UnverifiedFrame::parse(&file[at as usize..]).filter(|frame| frame.claimed().position == base + at)
    {
        at += frame.claimed().total();
    }
    at
}
