//! The log behind the resident tail: bytes that were read back, and which of them may be believed.
//!
//! Owns the rule that nothing read from disk is given out before the checksum of its frame was compared over exactly the
//! bytes that are given out. Knows chunks (the unit of reading), frames and damage; never reads itself: [`LogCache::look`]
//! says what is missing, [`LogCache::supply`] takes it. Who waits for what is `crate::cold`'s.

mod ahead;
mod chunks;
mod frames;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ringmq_protocol::offset::Position;

use self::ahead::Ahead;
pub use self::chunks::Block;
use self::chunks::Chunks;
use self::runs::Runs;
use super::limits::{BLOCK, COLD_CHUNK, COLD_DAMAGES_MAX};
use super::segment::{Layout, SegmentBase};

/// Bytes of the log that are not what was written there: from the header of the first bad frame to the next good one, or
/// to the end of the segment (or of what is durable) if there is none. Never more than one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    pub from: Position,
    pub to: Position,
}

impl Damage {
    /// Whether a position lies in it.
    pub fn holds(&self, at: Position) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// The damaged file and the place in it, for people: `00000000000268435456.log bytes 4096..8192`.
    pub fn place(&self, layout: &Layout) -> String {
        let base = layout.segment_of(self.from);
        format!("{} bytes {}..{}", base.log_name(), self.from.0 - base.0, self.to.0 - base.0)
    }
}

/// Stream bytes `from..to` of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub from: u64,
    pub to: u64,
}

/// What is known about a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They are here, and their frame's checksum was right.
    Here,
    /// Their frame is damaged.
    Damaged(Damage),
    /// There is no record of that length: it would cross the end of its frame, or of the log.
    Nothing,
    /// These bytes must be read first. Then look again: more may be missing.
    Missing(Stretch),
}

/// Verified pieces of the log, bounded; shared by everyone who reads this shard's log.
#[derive(Debug)]
pub struct LogCache {
    layout: Layout,
    seed: u32,
    /// The log begins here: what lies below may be another segment's by now.
    start: u64,
    chunks: Chunks,
    runs: Runs,
    /// By their first position.
    damages: BTreeMap<u64, Damage>,
    /// Damages nobody was told about yet.
    fresh: Vec<Damage>,
    /// Bytes whose checksums were compared since somebody asked.
    verified: u64,
    /// How far the search for the end of a damage got, by its beginning.
    probes: BTreeMap<u64, u64>,
    /// How far down the search for a frame got, by the position it was looked for.
    backs: BTreeMap<u64, u64>,
    ahead: Ahead,
}

impl LogCache {
    /// An empty cache over a log whose frame checksums begin with `seed`; memory is taken as it is needed.
    pub fn new(layout: Layout, seed: u32) -> Self {
        let chunks = Chunks::new(layout);
        LogCache {
            layout,
            seed,
            start: 0,
            ahead: Ahead::new(chunks.budget()),
            chunks,
            runs: Runs::default(),
            damages: BTreeMap::new(),
            fresh: Vec::new(),
            verified: 0,
            probes: BTreeMap::new(),
            backs: BTreeMap::new(),
        }
    }

    /// How the stream is cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> u64 {
        self.chunks.memory()
    }

    /// What is known about `len` bytes at `at`, which lie in one record below `durable` if whoever says so was told the truth.
    ///
    /// Verifies what can be verified with the bytes that are here.
    pub fn look(&mut self, at: Position, len: u32, durable: Position) -> Look {
        let (at, end) = (at.0, at.0 + u64::from(len));
        if len == 0 || end > durable.0 {
            return Look::Nothing;
        }
        let chunk = self.chunks.start_of(at);
        if self.chunks.touch(chunk) {
            self.ahead.used(Stretch { from: chunk, to: self.chunks.end_of(chunk) });
        }
        if self.runs.cover(at, end) {
            return Look::Here;
        }
        self.verify(at, end, durable.0)
    }

    /// The bytes that [`LogCache::look`] has just called [`Look::Here`], one slice per chunk they touch.
    ///
    /// # Panics
    /// If it has not.
    pub fn bytes(&self, at: Position, len: u32) -> impl Iterator<Item = &[u8]> {
        let end = at.0 + u64::from(len);
        assert!(self.runs.cover(at.0, end), "only verified bytes are given out");
        self.chunks.pieces(at.0, end)
    }

    /// Those bytes were given out: nobody else will want them, mostly.
    pub fn gave(&mut self, at: Position, len: u32) {
        self.chunks.gave(at.0, at.0 + u64::from(len));
    }

    /// What of `wanted` is neither here nor `coming`, as whole chunks, each stretch of one file, at most `most` bytes, and
    /// not beyond the block of `durable`.
    pub fn missing(&self, wanted: Stretch, most: u64, durable: Position, coming: &[Stretch]) -> Vec<Stretch> {
        self.chunks.missing(wanted, most, durable.0, coming)
    }

    /// What should be read before anybody asks: behind those who read in order.
    pub fn ahead(&self) -> impl Iterator<Item = Stretch> {
        self.ahead.wanted()
    }

    /// Whether somebody reads in order so far behind `at` that he must not lose what lies between.
    pub fn leads(&self, at: u64) -> bool {
        self.ahead.leads(at)
    }

    /// A read failed: nobody asks for what lies around it unasked.
    pub fn failed(&mut self, stretch: &Stretch) {
        self.ahead.failed(stretch);
    }

    /// Takes bytes that were read from `from` on, where a chunk starts: a block for each chunk, the last one may be shorter. They
    /// are the log's below `durable` as that was when the read was asked for. What lies in `pinned` stays whatever else must go.
    pub fn supply(&mut self, from: u64, blocks: Vec<Block>, durable: Position, pinned: &[Stretch]) {
        let mut at = from;
        for block in blocks {
            let end = self.chunks.end_of(at);
            let len = block.bytes().len() as u64;
            assert!(len <= COLD_CHUNK, "a block is of one chunk");
            let len = len.min(end - at).min(durable.0.saturating_sub(at));
            if at >= self.start && len > 0 {
                // Whatever was verified there before, it was not these bytes.
                self.runs.cut(at, end);
                self.chunks.put(at, block, len as usize);
            }
            at = end;
        }
        while let Some(gone) = self.chunks.evict(pinned, |at| self.ahead.distance(at)) {
            self.runs.cut(gone.from, gone.to);
        }
    }

    /// The log begins at `start` now: what lies below is not read any more.
    pub fn forget_below(&mut self, start: Position) {
        self.start = start.0;
        while let Some(gone) = self.chunks.pop_below(start.0) {
            self.runs.cut(gone.from, gone.to);
        }
        let keep = |map: &mut BTreeMap<u64, u64>| *map = map.split_off(&start.0);
        keep(&mut self.probes);
        keep(&mut self.backs);
        self.damages = self.damages.split_off(&start.0);
    }

    /// Whether the log still has this place.
    pub fn keeps(&self, at: Position) -> bool {
        at.0 >= self.start
    }

    /// Damage somebody else found; `true` if it was not known.
    pub fn note(&mut self, damage: Damage) -> bool {
        if self.damages.contains_key(&damage.from.0) || damage.from.0 < self.start {
            return false;
        }
        if self.damages.len() >= COLD_DAMAGES_MAX {
            // It is found again when it is read again.
            self.damages.pop_first();
        }
        self.damages.insert(damage.from.0, damage);
        self.fresh.push(damage);
        true
    }

    /// Bytes whose checksums were compared since the last call.
    pub fn take_verified(&mut self) -> u64 {
        std::mem::take(&mut self.verified)
    }

    /// Damages found since the last call.
    pub fn take_fresh(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.fresh)
    }

    /// The known damage at a position.
    fn damage_at(&self, at: u64) -> Option<Damage> {
        let (_, damage) = self.damages.range(..=at).next_back()?;
        damage.holds(Position(at)).then_some(*damage)
    }

    fn segment_of(&self, at: u64) -> SegmentBase {
        self.layout.segment_of(Position(at))
    }
}

/// Bytes that were read from where a chunk starts, copied into blocks.
pub fn blocks(bytes: &[u8]) -> Vec<Block> {
    bytes.chunks(COLD_CHUNK as usize).map(|bytes| Block::new(Box::<[u8]>::from(bytes))).collect()
}

impl Stretch {
    /// Whether it has a byte in common with another one.
    pub fn meets(&self, other: &Stretch) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// Its length in a file, rounded up to whole blocks.
    pub fn blocks(&self) -> u64 {
        (self.to - self.from).next_multiple_of(BLOCK)
    }
}
