//! Finding every occurrence of two bytes: quotes and backslashes in a JSON header, the separators of a
//! properties string.
//!
//! Owns [`Marks`], which looks at 64 bytes at a time and hands out the positions one by one. The pieces
//! between them are short, and a separate search for each costs more in setting up than in searching;
//! with the positions in a word the next one is two instructions away.

/// The positions of two bytes in order.
#[derive(Clone, Debug)]
pub(crate) struct Marks<'a> {
    bytes: &'a [u8],
    /// The bytes looked for.
    either: [u8; 2],
    /// Where the current block starts.
    block: usize,
    /// Where the next block starts.
    next_block: usize,
    /// One bit for each mark of the current block that was not handed out yet.
    bits: u64,
}

const BLOCK: usize = 64;

impl<'a> Marks<'a> {
    #[inline]
    pub(crate) fn of(bytes: &'a [u8], either: [u8; 2]) -> Self {
        Marks { bytes, either, block: 0, next_block: 0, bits: 0 }
    }

    /// The next position, or the length when there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> usize {
        while self.bits == 0 {
            if self.next_block >= self.bytes.len() {
                return self.bytes.len();
            }
            self.load();
        }
        let at = self.block + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        at
    }

    #[inline]
    fn load(&mut self) {
        self.block = self.next_block;
        self.next_block += BLOCK;
        let rest = &self.bytes[self.block..];
        self.bits = match rest.first_chunk::<BLOCK>() {
            Some(block) => marks(block, self.either),
            None => {
                // Padded with a byte that is looked for nowhere.
                let mut padded = [0; BLOCK];
                padded[..rest.len()].copy_from_slice(rest);
                marks(&padded, self.either)
            }
        };
    }
}

/// One bit per byte that is either of the two.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn marks(block: &[u8; BLOCK], either: [u8; 2]) -> u64 {
    // SAFETY: the function touches no memory but its argument; it is unsafe only for processors
    // without SSE2, and SSE2 is part of x86-64.
    unsafe { sse2_marks(block, either) }
}

/// The same with the vector instructions that every x86-64 processor has.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn sse2_marks(block: &[u8; BLOCK], either: [u8; 2]) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
    let (one, other) = (_mm_set1_epi8(either[0] as i8), _mm_set1_epi8(either[1] as i8));
    let (lanes, _) = block.as_chunks::<16>();
    let mut bits = 0;
    for (index, lane) in lanes.iter().enumerate() {
        // SAFETY: the pointer is to 16 bytes, borrowed; the load asks for no alignment.
        let lane = unsafe { _mm_loadu_si128(lane.as_ptr().cast()) };
        let hits = _mm_or_si128(_mm_cmpeq_epi8(lane, one), _mm_cmpeq_epi8(lane, other));
        bits |= u64::from(_mm_movemask_epi8(hits) as u16) << (16 * index);
    }
    bits
}

/// One bit per byte that is either of the two.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn marks(block: &[u8; BLOCK], either: [u8; 2]) -> u64 {
    portable_marks(block, either)
}

/// The same without vector instructions, eight bytes at a time.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_marks(block: &[u8; BLOCK], either: [u8; 2]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOWS: u64 = ONES * 0x7f;
    // Gathers the top bits of eight bytes in the top byte.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    // The top bit of every byte that is zero.
    let zeros = |word: u64| !(((word & LOWS) + LOWS) | word) & !LOWS;
    let (words, _) = block.as_chunks::<8>();
    let mut bits = 0;
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = zeros(word ^ (ONES * u64::from(either[0]))) | zeros(word ^ (ONES * u64::from(either[1])));
        bits |= ((hits >> 7).wrapping_mul(GATHER << 7) >> 56) << (8 * index);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_hand(bytes: &[u8]) -> Vec<usize> {
        let marked = |at: &usize| matches!(bytes[*at], b'"' | b'\\');
        (0..bytes.len()).filter(marked).collect()
    }

    proptest! {
        #[test]
        fn all_marks_are_found_in_order(
            bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>()], 0..300)
        ) {
            let mut marks = Marks::of(&bytes, [b'"', b'\\']);
            let mut found = Vec::new();
            loop {
                let at = marks.take();
                if at == bytes.len() {
                    break;
                }
                found.push(at);
            }
            prop_assert_eq!(found, by_hand(&bytes));
        }

        #[test]
        fn both_ways_to_look_agree(
            bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>()], 64)
        ) {
            let block = bytes.first_chunk().unwrap();
            prop_assert_eq!(portable_marks(block, [b'"', b'\\']), marks(block, [b'"', b'\\']));
        }
    }
}
