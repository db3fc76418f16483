//! The memory of the log cache: pieces of the log as they were read.
//!
//! Owns the chunks, their number and which goes first. Knows nothing of frames: its bytes are not to be believed before
//! [`super::runs::Runs`] says so.

use std::collections::BTreeMap;

use super::Stretch;
use crate::store::limits::{BLOCK, COLD_BUDGET, COLD_CHUNK};
use crate::store::segment::Layout;
use ringmq_protocol::offset::Position;

/// Bytes that were read, in whatever memory the disk put them.
pub struct Block(Box<dyn AsRef<[u8]>>);

impl Block {
    /// Keeps that memory until the bytes are not needed any more.
    pub fn new(bytes: impl AsRef<[u8]> + 'static) -> Self {
        Block(Box::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

struct Chunk {
    bytes: Block,
    /// Bytes of it that are the log's.
    len: usize,
    /// Bytes of it that nobody will want any more, as far as one can know: each was given to somebody.
    given: u64,
    used: u64,
}

/// Chunks by the stream offset of their first byte; a chunk begins at a multiple of its size from its segment's base.
pub(super) struct Chunks {
    layout: Layout,
    held: BTreeMap<u64, Chunk>,
    budget: usize,
    uses: u64,
    /// The chunk that was used last.
    last: u64,
}

impl Chunks {
    pub(super) fn new(layout: Layout) -> Self {
        let budget = (COLD_BUDGET / COLD_CHUNK) as usize;
        Chunks { layout, held: BTreeMap::new(), budget, uses: 0, last: u64::MAX }
    }

    /// Bytes it is meant to hold.
    pub(super) fn budget(&self) -> u64 {
        self.budget as u64 * COLD_CHUNK
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> u64 {
        self.held.len() as u64 * COLD_CHUNK
    }

    /// Where the chunk of a position begins.
    pub(super) fn start_of(&self, at: u64) -> u64 {
        let base = self.layout.segment_of(Position(at)).0;
        at - (at - base) % COLD_CHUNK
    }

    /// Where the chunk of a position ends.
    pub(super) fn end_of(&self, at: u64) -> u64 {
        let segment_end = self.layout.end_of(self.layout.segment_of(Position(at)));
        (self.start_of(at) + COLD_CHUNK).min(segment_end)
    }

    /// Notes that a chunk is wanted; `false` if it is the one that was wanted before.
    pub(super) fn touch(&mut self, start: u64) -> bool {
        if start == self.last {
            return false;
        }
        self.last = start;
        self.uses += 1;
        if let Some(chunk) = self.held.get_mut(&start) {
            chunk.used = self.uses;
        }
        true
    }

    /// Bytes were given out that lie in chunks which are here.
    pub(super) fn gave(&mut self, from: u64, to: u64) {
        let first = self.start_of(from);
        for (start, chunk) in self.held.range_mut(first..to) {
            let end = start + chunk.len as u64;
            chunk.given += to.min(end).saturating_sub(from.max(*start));
        }
    }

    /// The bytes from `at` to the end of its chunk, as far as they are here.
    pub(super) fn rest(&self, at: u64) -> Option<&[u8]> {
        let (start, chunk) = self.held.range(..=at).next_back()?;
        chunk.bytes.bytes()[..chunk.len].get((at - start) as usize..).filter(|rest| !rest.is_empty())
    }

    /// The bytes from the beginning of its chunk up to `at`, that one included.
    pub(super) fn front(&self, at: u64) -> Option<(u64, &[u8])> {
        let (start, chunk) = self.held.range(..=at).next_back()?;
        Some((*start, chunk.bytes.bytes()[..chunk.len].get(..=(at - start) as usize)?))
    }

    /// The first position of `from..to` that is not here.
    pub(super) fn first_gap(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let Some(rest) = self.rest(at) else { return Some(at) };
            at += rest.len() as u64;
        }
        None
    }

    /// `from..to`, which is here.
    pub(super) fn pieces(&self, from: u64, to: u64) -> impl Iterator<Item = &[u8]> {
        let mut at = from;
        std::iter::from_fn(move || {
            (at < to).then(|| {
                let rest = self.rest(at).expect("what is asked for is here");
                let piece = &rest[..rest.len().min((to - at) as usize)];
                at += piece.len() as u64;
                piece
            })
        })
    }

    /// Copies the bytes at `at` if they are all here.
    pub(super) fn copy<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let to = at + N as u64;
        if self.first_gap(at, to).is_some() {
            return None;
        }
        let mut filled = 0;
        for piece in self.pieces(at, to) {
            bytes[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        Some(bytes)
    }

    /// The chunks of `wanted` that are neither here (as far as wanted) nor coming, neighbours joined up to `most` bytes.
    pub(super) fn missing(&self, wanted: Stretch, most: u64, durable: u64, coming: &[Stretch]) -> Vec<Stretch> {
        let mut found: Vec<Stretch> = Vec::new();
        let mut at = self.start_of(wanted.from);
        while at < wanted.to.min(durable) {
            let end = self.end_of(at);
            let to = end.min(durable.next_multiple_of(BLOCK));
            let comes = coming.iter().any(|load| load.meets(&Stretch { from: at, to }));
            if !comes && self.first_gap(at, wanted.to.min(end).min(durable)).is_some() {
                // One read is of one file.
                let begins_file = self.layout.segment_of(Position(at)).0 == at;
                match found.last_mut().filter(|last| !begins_file && last.to == at && to - last.from <= most) {
                    Some(last) => last.to = to,
                    None => found.push(Stretch { from: at, to }),
                }
            }
            at = end;
        }
        found
    }

    /// Takes the bytes of the chunk that begins at `start`, of which `len` are the log's.
    pub(super) fn put(&mut self, start: u64, bytes: Block, len: usize) {
        debug_assert_eq!(start, self.start_of(start));
        assert!(len <= bytes.bytes().len());
        self.uses += 1;
        self.held.insert(start, Chunk { bytes, len, given: 0, used: self.uses });
    }

    /// Gives up a chunk if there are too many: one that was given out whole, else the one that will be wanted last as far as
    /// `distance` can tell, else the one that was used longest ago.
    pub(super) fn evict(&mut self, pinned: &[Stretch], distance: impl Fn(u64) -> Option<u64>) -> Option<Stretch> {
        if self.held.len() <= self.budget {
            return None;
        }
        let free = |start: u64| {
            let own = Stretch { from: start, to: self.end_of(start) };
            !pinned.iter().any(|pin| pin.meets(&own))
        };
        let wanted = |start: u64, chunk: &Chunk| {
            let distance = if chunk.is_spent() { None } else { distance(start) };
            std::cmp::Reverse(distance.unwrap_or(u64::MAX))
        };
        let free = self.held.iter().filter(|(start, _)| free(**start));
        let first = free.min_by_key(|(start, chunk)| (wanted(**start, chunk), chunk.used));
        let start = first.map(|(start, _)| *start)?;
        Some(self.remove(start))
    }

    /// Gives up the first chunk that ends at or below `below`.
    pub(super) fn pop_below(&mut self, below: u64) -> Option<Stretch> {
        let start = *self.held.keys().next()?;
        (self.end_of(start) <= below).then(|| self.remove(start))
    }

    fn remove(&mut self, start: u64) -> Stretch {
        self.held.remove(&start).expect("it was just found");
        Stretch { from: start, to: self.end_of(start) }
    }
}

impl Chunk {
    /// Whether all of it was given to somebody.
    fn is_spent(&self) -> bool {
        self.given >= self.len as u64
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("held", &self.held.len()).finish_non_exhaustive()
    }
}
