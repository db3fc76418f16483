//! Finding the frame a position lies in, and where damage ends.
//!
//! Owns the search of the log cache. A frame is believed only when its magic, position, shard and checksum are right, so it
//! does not matter where the search begins: behind a frame that is known, at the segment's base, or at what looks like a
//! header while going back byte by byte. Message bodies cannot hold a frame: its checksum begins with the directory's secret.

use super::super::frame::{FrameHeader, FrameKind, HEADER, MAGIC, UnverifiedFrame};
use super::super::limits::COLD_NEAR;
use super::{Damage, LogCache, Look, Stretch};
use ringmq_protocol::offset::Position;

const HEADER_LEN: u64 = HEADER as u64;

/// First byte of a header.
const FIRST: u8 = MAGIC.to_be_bytes()[0];

/// These bytes are needed to go on.
struct Missing(Stretch);

/// Whether a frame begins at a place.
enum Taken {
    /// Yes, and its bytes are verified now.
    Frame { end: u64 },
    /// No, or a damaged one.
    Nothing,
}

/// How a walk to a position ended.
enum Reached {
    /// At the frame that holds it.
    Frame,
    /// At damage, which is noted; perhaps not yet the position's.
    Damage,
}

impl LogCache {
    /// Brings the frame of `at..end` to a decision.
    pub(super) fn verify(&mut self, at: u64, end: u64, durable: u64) -> Look {
        loop {
            if let Some(damage) = self.damage_at(at) {
                return Look::Damaged(damage);
            }
            match self.walk_to(at, durable) {
                // A record does not cross the end of its frame.
                Ok(Reached::Frame) => return if self.runs.cover(at, end) { Look::Here } else { Look::Nothing },
                // Each round ends with more damage known, or behind some.
                Ok(Reached::Damage) => {}
                Err(Missing(stretch)) => return Look::Missing(stretch),
            }
        }
    }

    /// Verifies frame after frame from a known beginning to the frame of `at`.
    fn walk_to(&mut self, at: u64, durable: u64) -> Result<Reached, Missing> {
        let mut from = match self.near_start(at) {
            Some(from) => from,
            None => self.search_back(at, durable)?,
        };
        // From `search_back` it may lie behind `at`: then the frame before it is the one.
        while from <= at {
            match self.take(from, true, durable)? {
                Taken::Frame { end } => from = end,
                Taken::Nothing => return self.find_end(from, durable).map(|()| Reached::Damage),
            }
        }
        Ok(Reached::Frame)
    }

    /// Where a frame is known to begin a little below `at`.
    fn near_start(&self, at: u64) -> Option<u64> {
        let base = self.segment_of(at).0;
        let behind_damage = self.damages.range(..=at).next_back().map(|(_, damage)| damage.to.0);
        let known = [Some(base), self.runs.frame_end_before(at), behind_damage];
        known
            .into_iter()
            .flatten()
            .filter(|from| (base..=at).contains(from))
            .max()
            .filter(|from| at - from <= COLD_NEAR)
    }

    /// Whether what a header says can be at `at`.
    fn plausible(&self, at: u64, header: &FrameHeader, durable: u64) -> bool {
        let room = if header.kind == FrameKind::Records { HEADER_LEN } else { 0 };
        let end = at + header.total();
        let segment_end = self.layout.end_of(self.segment_of(at));
        header.position == at && header.shard == self.layout.shard().0 && end + room <= segment_end && end <= durable
    }

    /// The header at `at`, unverified, if there is one that can be.
    fn header(&self, at: u64, durable: u64) -> Result<Option<UnverifiedFrame>, Missing> {
        let end = at + HEADER_LEN;
        if end > durable || end > self.layout.end_of(self.segment_of(at)) {
            return Ok(None);
        }
        let Some(bytes) = self.chunks.copy::<HEADER>(at) else {
            return Err(Missing(Stretch { from: at, to: end }));
        };
        Ok(UnverifiedFrame::parse(&bytes).filter(|frame| self.plausible(at, frame.claimed(), durable)))
    }

    /// Verifies the frame at `at`. What was verified before is not looked at again where a frame is known to begin; elsewhere
    /// verified bytes may be those of a message that looks like a header.
    fn take(&mut self, at: u64, begins: bool, durable: u64) -> Result<Taken, Missing> {
        let Some(frame) = self.header(at, durable)? else { return Ok(Taken::Nothing) };
        let end = at + frame.claimed().total();
        if begins && self.runs.cover(at, end) {
            return Ok(Taken::Frame { end });
        }
        if self.chunks.first_gap(at, end).is_some() {
            return Err(Missing(Stretch { from: at, to: end }));
        }
        self.verified += end - at;
        if !frame.verify_pieces(self.seed, self.chunks.pieces(at, end)) {
            return Ok(Taken::Nothing);
        }
        self.runs.add(at, end);
        self.chunks.gave(at, at + HEADER_LEN);
        Ok(Taken::Frame { end })
    }

    /// Goes down from `at` to the first whole frame; gives its end, or the segment's base if there is none.
    fn search_back(&mut self, at: u64, durable: u64) -> Result<u64, Missing> {
        let base = self.segment_of(at).0;
        let mut below = self.backs.get(&at).copied().unwrap_or(at.saturating_sub(HEADER_LEN).max(base));
        let found = loop {
            let Some((start, front)) = self.chunks.front(below) else {
                let from = self.chunks.start_of(below);
                self.remember_back(at, below);
                return Err(Missing(Stretch { from, to: below + 1 }));
            };
            let Some(hit) = front.iter().rposition(|byte| *byte == FIRST) else {
                if start == base {
                    break base;
                }
                below = start - 1;
                continue;
            };
            let candidate = start + hit as u64;
            match self.take(candidate, false, durable) {
                Ok(Taken::Frame { end }) => break end,
                Ok(Taken::Nothing) if candidate == base => break base,
                Ok(Taken::Nothing) => below = candidate - 1,
                Err(missing) => {
                    self.remember_back(at, candidate);
                    return Err(missing);
                }
            }
        };
        self.backs.remove(&at);
        Ok(found)
    }

    fn remember_back(&mut self, at: u64, below: u64) {
        // One per request that waits, so few; a forgotten one costs a search from the start.
        if self.backs.len() >= crate::limits::READS_MAX {
            self.backs.pop_first();
        }
        self.backs.insert(at, below);
    }

    /// No good frame begins at `from`, where one must: finds the next good one and notes the damage.
    fn find_end(&mut self, from: u64, durable: u64) -> Result<(), Missing> {
        let end = durable.min(self.layout.end_of(self.segment_of(from)));
        // Most often the header is right and a record is not.
        if let Some(frame) = self.header(from, durable)? {
            let next = from + frame.claimed().total();
            if let Taken::Frame { .. } = self.take(next, false, durable)? {
                self.found_damage(from, next);
                return Ok(());
            }
        }
        let mut at = self.probes.get(&from).copied().unwrap_or(from + 1);
        let to = loop {
            if at >= end {
                break end;
            }
            let Some(rest) = self.chunks.rest(at) else {
                self.probes.insert(from, at);
                return Err(Missing(Stretch { from: at, to: self.chunks.end_of(at).min(end) }));
            };
            let Some(hit) = rest.iter().position(|byte| *byte == FIRST) else {
                at += rest.len() as u64;
                continue;
            };
            at += hit as u64;
            match self.take(at, false, durable) {
                Ok(Taken::Frame { .. }) => break at,
                Ok(Taken::Nothing) => at += 1,
                Err(missing) => {
                    self.probes.insert(from, at);
                    return Err(missing);
                }
            }
        };
        self.found_damage(from, to);
        Ok(())
    }

    fn found_damage(&mut self, from: u64, to: u64) {
        self.probes.remove(&from);
        self.note(Damage { from: Position(from), to: Position(to) });
    }
}
