//! Finding the next byte that means something: quotes and backslashes in a JSON header, the separators of a properties string.
//!
//! Owns [`seek`], which looks at sixteen bytes at a time. The pieces between such bytes are short (a key of one letter, a number, an
//! id), so what counts is what a search costs before it starts: here a bounds check. A call of memchr costs more than most of these
//! searches, because it chooses its vector instructions at run time.

/// As the `BELOW` of [`seek`]: no byte stops for its range.
pub(crate) const ANY: i8 = i8::MIN;

/// As the `BELOW` of [`seek`]: bytes beyond ASCII stop, too.
pub(crate) const ASCII: i8 = 0;

/// As the `BELOW` of [`seek`]: bytes beyond ASCII and control characters stop, too.
pub(crate) const PRINTABLE: i8 = 0x20;

const LANE: usize = 16;

/// The `N` bytes from `at` on, if there are so many. A place is 32 bits, as everywhere in a frame: then one comparison is all the
/// check that it takes, because no sum of it overflows.
#[inline(always)]
pub(crate) fn chunk_at<const N: usize>(bytes: &[u8], at: u32) -> Option<&[u8; N]> {
    bytes.get(at as usize..at as usize + N)?.first_chunk()
}

/// The first place from `at` on whose byte is `A` or `B` or, as a signed number, less than `BELOW`; the length if there is none.
/// `bytes` are part of a frame, so less than 4 GiB.
#[inline(always)]
pub(crate) fn seek<const A: u8, const B: u8, const BELOW: i8>(bytes: &[u8], mut at: u32) -> u32 {
    // Nearly always it is near: one look, without what a loop needs.
    if let Some(lane) = chunk_at(bytes, at) {
        let hits = hits::<A, B, BELOW>(lane);
        if hits != 0 {
            return at + hits.trailing_zeros();
        }
        at += LANE as u32;
    }
    seek_on::<A, B, BELOW>(bytes, at)
}

/// The same, however far away or near to the end it may be.
#[inline(never)]
fn seek_on<const A: u8, const B: u8, const BELOW: i8>(bytes: &[u8], mut at: u32) -> u32 {
    while let Some(lane) = chunk_at(bytes, at) {
        let hits = hits::<A, B, BELOW>(lane);
        if hits != 0 {
            return at + hits.trailing_zeros();
        }
        at += LANE as u32;
    }
    let length = bytes.len() as u32;
    let hits = match bytes.last_chunk() {
        // What lies before `at` is looked at for the second time and forgotten.
        Some(lane) if at < length => hits::<A, B, BELOW>(lane) >> (at + LANE as u32 - length),
        Some(_) => 0,
        None => {
            let mut lane = [0; LANE];
            lane[..bytes.len()].copy_from_slice(bytes);
            hits::<A, B, BELOW>(&lane) >> at.min(LANE as u32)
        }
    };
    if hits == 0 { length } else { (at + hits.trailing_zeros()).min(length) }
}

/// One bit per byte that stops the search.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn hits<const A: u8, const B: u8, const BELOW: i8>(lane: &[u8; LANE]) -> u32 {
    // SAFETY: the function touches no memory but its argument; it is unsafe only for processors
    // without SSE2, and SSE2 is part of x86-64.
    unsafe { sse2_hits::<A, B, BELOW>(lane) }
}

/// The same with the vector instructions that every x86-64 processor has.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn sse2_hits<const A: u8, const B: u8, const BELOW: i8>(lane: &[u8; LANE]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: the pointer is to 16 bytes, borrowed; the load asks for no alignment.
    let lane = unsafe { _mm_loadu_si128(lane.as_ptr().cast()) };
    let either =
        _mm_or_si128(_mm_cmpeq_epi8(lane, _mm_set1_epi8(A as i8)), _mm_cmpeq_epi8(lane, _mm_set1_epi8(B as i8)));
    let below = _mm_cmplt_epi8(lane, _mm_set1_epi8(BELOW));
    _mm_movemask_epi8(_mm_or_si128(either, below)) as u32
}

/// One bit per byte that stops the search.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn hits<const A: u8, const B: u8, const BELOW: i8>(lane: &[u8; LANE]) -> u32 {
    portable_hits::<A, B, BELOW>(lane)
}

/// The same without vector instructions of a certain kind.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_hits<const A: u8, const B: u8, const BELOW: i8>(lane: &[u8; LANE]) -> u32 {
    let stops = |byte: u8| byte == A || byte == B || (byte as i8) < BELOW;
    lane.iter().rev().fold(0, |hits, byte| hits << 1 | u32::from(stops(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![8 => Just(b'x'), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => any::<u8>()];
        prop::collection::vec(byte, lengths)
    }

    fn by_hand(bytes: &[u8], from: u32, stops: impl Fn(u8) -> bool) -> u32 {
        let length = bytes.len() as u32;
        (from..length).find(|at| stops(bytes[*at as usize])).unwrap_or(length)
    }

    proptest! {
        #[test]
        fn the_first_one_is_found(bytes in bytes(0..80), from in 0u32..90) {
            let either = |byte: u8| matches!(byte, b'"' | b'\\');
            prop_assert_eq!(seek::<b'"', b'\\', ANY>(&bytes, from), by_hand(&bytes, from, either));
            let foreign = |byte: u8| either(byte) || !byte.is_ascii();
            prop_assert_eq!(seek::<b'"', b'\\', ASCII>(&bytes, from), by_hand(&bytes, from, foreign));
            let strange = |byte: u8| foreign(byte) || byte < 0x20;
            prop_assert_eq!(seek::<b'"', b'\\', PRINTABLE>(&bytes, from), by_hand(&bytes, from, strange));
        }

        #[test]
        fn both_ways_to_look_agree(bytes in bytes(LANE..LANE + 1)) {
            let lane = bytes.first_chunk().unwrap();
            prop_assert_eq!(portable_hits::<b'"', b'\\', PRINTABLE>(lane), hits::<b'"', b'\\', PRINTABLE>(lane));
            prop_assert_eq!(portable_hits::<b'"', b'\\', ANY>(lane), hits::<b'"', b'\\', ANY>(lane));
        }
    }
}
