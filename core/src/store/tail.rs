//! The resident end of the log: the memory records are encoded into, written from, and read by consumers that keep up.
//!
//! Owns the chunks, their budget and their reuse. Knows positions and bytes, not frames or writes; whoever owns it says
//! what may be forgotten.

use std::collections::VecDeque;

use bytemuck::{Pod, Zeroable};

use super::limits::{BLOCK, CHUNK};

/// One block.
type Block = [u8; BLOCK as usize];

/// Memory of a chunk, aligned to its size: as direct I/O and huge pages want it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(2097152))]
struct Memory([Block; (CHUNK / BLOCK) as usize]);

const _: () = assert!(align_of::<Memory>() as u64 == CHUNK && size_of::<Memory>() as u64 == CHUNK);

/// 2 MiB of the stream, starting at a multiple of 2 MiB.
struct Chunk(Box<Memory>);

impl Chunk {
    fn new() -> Self {
        Chunk(bytemuck::zeroed_box())
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.0.0.as_flattened()
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.0.as_flattened_mut()
    }
}

/// Stream bytes from `start` on, as far as they were reserved.
pub struct Tail {
    /// `None` for a chunk that lies wholly in the unused end of a segment.
    chunks: VecDeque<Option<Chunk>>,
    /// Number of the first chunk (its stream offset / CHUNK).
    first: u64,
    /// First resident position.
    start: u64,
    /// Chunks held, and how many are meant to be.
    held: usize,
    budget: usize,
    /// At most one chunk kept for the next turn.
    spare: Option<Chunk>,
}

impl Tail {
    /// An empty tail whose first byte will be `start`. It takes up to `budget` bytes before it forgets.
    pub fn new(start: u64, budget: u64) -> Self {
        let budget = usize::try_from(budget / CHUNK).expect("a budget is a fraction of memory").max(2);
        Tail { chunks: VecDeque::new(), first: start / CHUNK, start, held: 0, budget, spare: None }
    }

    /// First position that is still here.
    #[inline]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> u64 {
        (self.held + usize::from(self.spare.is_some())) as u64 * CHUNK
    }

    /// Makes room for `from..to`. When that exceeds the budget, whole chunks below `forget_below` go first.
    #[inline]
    pub fn reserve(&mut self, from: u64, to: u64, forget_below: u64) {
        debug_assert!(from < to && from >= self.start);
        let last = (to - 1) / CHUNK;
        if last < self.first + self.chunks.len() as u64 && self.chunk(from / CHUNK).is_some() {
            return; // The common case: still in the last chunk.
        }
        self.grow(from / CHUNK, last, forget_below);
    }

    #[cold]
    fn grow(&mut self, from: u64, last: u64, forget_below: u64) {
        while self.first + (self.chunks.len() as u64) <= last {
            self.chunks.push_back(None);
        }
        for number in from..=last {
            let index = (number - self.first) as usize;
            if self.chunks[index].is_none() {
                let chunk = self.spare.take().or_else(|| self.forget(forget_below)).unwrap_or_else(Chunk::new);
                self.held += 1;
                self.chunks[(number - self.first) as usize] = Some(chunk);
            }
        }
        // A burst above the budget is given back; one chunk stays for the next turn.
        while let Some(chunk) = self.forget(forget_below) {
            self.spare = Some(chunk);
        }
    }

    /// The oldest chunk, if there are as many as allowed and it lies wholly below `below`.
    fn forget(&mut self, below: u64) -> Option<Chunk> {
        while self.held >= self.budget && (self.first + 1) * CHUNK <= below {
            let chunk = self.chunks.pop_front()?;
            self.first += 1;
            self.start = self.start.max(self.first * CHUNK);
            if chunk.is_some() {
                self.held -= 1;
                return chunk;
            }
        }
        None
    }

    #[inline]
    fn chunk(&self, number: u64) -> Option<&Chunk> {
        let index = number.checked_sub(self.first)?;
        self.chunks.get(index as usize)?.as_ref()
    }

    /// `len` reserved bytes at `position` in one piece, unless a chunk ends within.
    #[inline]
    pub fn slice_mut(&mut self, position: u64, len: usize) -> Option<&mut [u8]> {
        let at = (position % CHUNK) as usize;
        let index = (position / CHUNK - self.first) as usize;
        self.chunks.get_mut(index)?.as_mut()?.bytes_mut().get_mut(at..at + len)
    }

    /// Copies `bytes` to reserved room at `position`, over as many chunks as it takes.
    pub fn write(&mut self, position: u64, bytes: &[u8]) {
        let (mut position, mut rest) = (position, bytes);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min((CHUNK - position % CHUNK) as usize));
            self.slice_mut(position, piece.len()).expect("the room was reserved").copy_from_slice(piece);
            position += piece.len() as u64;
            rest = later;
        }
    }

    /// The bytes of `from..to`, which the owner knows to be written; `None` when they are no longer all here.
    #[inline]
    pub fn pieces(&self, from: u64, to: u64) -> Option<Pieces<'_>> {
        (from >= self.start).then_some(Pieces { tail: self, from, to })
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("start", &self.start).field("held", &self.held).finish_non_exhaustive()
    }
}

/// A resident range, one slice per chunk it touches.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    tail: &'a Tail,
    from: u64,
    to: u64,
}

impl<'a> Pieces<'a> {
    /// The range as one slice, unless a chunk ends within.
    #[inline]
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        let mut pieces = self.clone();
        let first = pieces.next()?;
        pieces.next().is_none().then_some(first)
    }

    /// Appends the range to `out`.
    #[inline]
    pub fn append_to(self, out: &mut Vec<u8>) {
        for piece in self {
            out.extend_from_slice(piece);
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.from >= self.to {
            return None;
        }
        let at = (self.from % CHUNK) as usize;
        let len = (CHUNK - self.from % CHUNK).min(self.to - self.from) as usize;
        let chunk = self.tail.chunk(self.from / CHUNK).expect("a resident range has its chunks");
        self.from += len as u64;
        Some(&chunk.bytes()[at..at + len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_for_direct_io() {
        let chunk = Chunk::new();
        assert_eq!(chunk.bytes().as_ptr().addr() % 4096, 0);
        assert_eq!(chunk.bytes().len() as u64, CHUNK);
    }

    #[test]
    fn a_range_over_chunks_comes_back_in_pieces() {
        let mut tail = Tail::new(100, 8 * CHUNK);
        let bytes: Vec<u8> = (0..3 * CHUNK as usize).map(|n| (n * 31 % 251) as u8).collect();
        tail.reserve(100, 100 + bytes.len() as u64, 0);
        tail.write(100, &bytes);
        let pieces = tail.pieces(100, 100 + bytes.len() as u64).expect("resident");
        assert_eq!(pieces.clone().count(), 4);
        assert_eq!(pieces.contiguous(), None);
        let mut read = Vec::new();
        pieces.append_to(&mut read);
        assert!(read == bytes);
        assert_eq!(tail.pieces(200, 210).and_then(|range| range.contiguous()), Some(&bytes[100..110]));
        assert!(tail.pieces(99, 110).is_none());
    }

    #[test]
    fn the_oldest_is_forgotten_only_when_allowed() {
        let mut tail = Tail::new(0, 4 * CHUNK);
        for number in 0..10 {
            tail.reserve(number * CHUNK, (number + 1) * CHUNK, 2 * CHUNK);
        }
        assert_eq!(tail.start(), 2 * CHUNK);
        assert_eq!(tail.memory(), 8 * CHUNK, "what is not durable stays, whatever the budget says");
        tail.reserve(10 * CHUNK, 11 * CHUNK, 10 * CHUNK);
        assert!(tail.memory() <= 5 * CHUNK);
        assert!(tail.start() >= 7 * CHUNK);
    }

    #[test]
    fn a_chunk_of_unused_space_takes_no_memory() {
        let mut tail = Tail::new(0, 4 * CHUNK);
        tail.reserve(0, 10, 0);
        tail.reserve(5 * CHUNK, 5 * CHUNK + 10, 0);
        assert_eq!(tail.memory(), 2 * CHUNK);
        tail.write(5 * CHUNK, b"0123456789");
        assert_eq!(tail.pieces(5 * CHUNK, 5 * CHUNK + 10).and_then(|p| p.contiguous()), Some(&b"0123456789"[..]));
    }
}
