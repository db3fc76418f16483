//! From a message key to places in the log.
//!
//! Owns, per segment that has no index on disk yet, sorted runs of words that join a piece of a key's hash with a place, and
//! the search in those that have one (`key_search.rs`). It answers with candidates: two keys may share a hash, so whoever
//! asks compares the record's own key. Never reads the log.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::store::limits::{KEY_RUN, SEGMENT_MAX};
use crate::store::segment::{Layout, SegmentBase};
use ringmq_protocol::offset::Position;

/// Low bits of a word: the place within the segment. The rest is the low bits of the hash.
pub(super) const PLACE_BITS: u32 = 30;
pub(super) const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
const _: () = assert!(SEGMENT_MAX <= 1 << PLACE_BITS);

/// The hash of a key of a topic (also of a unique id). Part of the disk format, `docs/storage-format.md` section 5.
#[inline]
pub fn key_hash(topic: &str, key: impl AsRef<[u8]>) -> u64 {
    let key = key.as_ref();
    let mut words = Words { word: 0, filled: 0, hash: (topic.len() + 1 + key.len()) as u64 };
    words.take(topic.as_bytes());
    words.take(b"#");
    words.take(key);
    words.finish()
}

/// Cuts a byte stream into 8-byte words and mixes them.
struct Words {
    /// The last bytes taken, fewer than a word.
    word: u64,
    /// So many bits of it.
    filled: u32,
    hash: u64,
}

impl Words {
    #[inline]
    fn take(&mut self, bytes: &[u8]) {
        let (whole, last) = bytes.as_chunks::<8>();
        for word in whole {
            let word = u64::from_be_bytes(*word);
            if self.filled == 0 {
                self.mix(word);
            } else {
                self.mix(self.word << (64 - self.filled) | word >> self.filled);
                self.word = word & ((1 << self.filled) - 1);
            }
        }
        last.iter().for_each(|byte| self.byte(*byte));
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.filled += 8;
        if self.filled == 64 {
            self.mix(self.word);
            (self.word, self.filled) = (0, 0);
        }
    }

    #[inline]
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash ^= self.hash >> 32;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        if self.filled != 0 {
            self.mix(self.word << (64 - self.filled));
        }
        let hash = self.hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^ hash >> 32
    }
}

/// Sorts a run. Its words begin with bits of a hash, so their first bytes cut it into parts of a few words each; that and sorting
/// those takes a fifth of the instructions of sorting the whole.
fn sort(run: &mut Vec<u64>) {
    let part = |word: &u64| (word >> 56) as usize;
    let mut ends = [0usize; 256];
    run.iter().for_each(|word| ends[part(word)] += 1);
    let mut end = 0;
    for place in &mut ends {
        end += *place;
        *place = end;
    }
    let mut sorted = vec![0; run.len()];
    let mut starts = ends;
    for word in run.iter() {
        let start = &mut starts[part(word)];
        *start -= 1;
        sorted[*start] = *word;
    }
    for (start, end) in starts.into_iter().zip(ends) {
        sorted[start..end].sort_unstable();
    }
    *run = sorted;
}

/// The keys of one segment's messages.
#[derive(Debug)]
pub(crate) struct SegmentKeys {
    base: SegmentBase,
    earliest_ms: i64,
    latest_ms: i64,
    /// All sorted but the last, which is sorted when it is full.
    runs: Vec<Vec<u64>>,
}

impl SegmentKeys {
    /// The keys as an index file has them; `None` if a run is not ascending.
    pub(crate) fn load(base: SegmentBase, times: RangeInclusive<i64>, runs: Vec<Vec<u64>>) -> Option<Self> {
        let sorted = runs.iter().all(|run| run.is_sorted());
        sorted.then_some(SegmentKeys { base, earliest_ms: *times.start(), latest_ms: *times.end(), runs })
    }

    /// The place within the segment that a word names.
    pub(crate) fn place(word: u64) -> u64 {
        word & PLACE_MASK
    }

    /// The runs, all of them sorted.
    pub(crate) fn sorted_runs(&mut self) -> &[Vec<u64>] {
        if let Some(last) = self.runs.last_mut() {
            last.sort_unstable();
        }
        &self.runs
    }

    /// The runs; the last one may not be sorted.
    pub(crate) fn runs(&self) -> &[Vec<u64>] {
        &self.runs
    }

    /// Places of a hash below `before`, in no particular order.
    fn find(&self, hash: u64, before: Position, out: &mut Vec<Position>) {
        let low = hash << PLACE_BITS;
        let high = low | PLACE_MASK;
        let mut take = |word: u64| {
            let position = Position(self.base.0 + (word & PLACE_MASK));
            if position < before {
                out.push(position);
            }
        };
        for run in &self.runs {
            if run.len() < KEY_RUN && !run.is_sorted() {
                run.iter().copied().filter(|word| (low..=high).contains(word)).for_each(&mut take);
            } else {
                let from = run.partition_point(|word| *word < low);
                run[from..].iter().copied().take_while(|word| *word <= high).for_each(&mut take);
            }
        }
    }
}

/// The keys of all messages the log still has.
#[derive(Debug)]
pub struct KeyIndex {
    pub(super) layout: Layout,
    segments: VecDeque<SegmentKeys>,
    /// The log has nothing below this.
    pub(super) start: u64,
    /// Keys of segments below this are in their indexes on disk.
    pub(super) sealed_to: u64,
}

impl KeyIndex {
    /// An index without keys.
    pub fn new(layout: Layout) -> Self {
        KeyIndex { layout, segments: VecDeque::new(), start: 0, sealed_to: 0 }
    }

    /// Notes that the message at `position`, stored at `store_ms`, has a key with this hash. Positions never descend.
    #[inline]
    pub fn add(&mut self, hash: u64, position: Position, store_ms: i64) {
        let base = self.layout.segment_of(position);
        if self.segments.back().is_none_or(|last| last.base != base) {
            self.open(base);
        }
        let segment = self.segments.back_mut().expect("opened above");
        segment.earliest_ms = segment.earliest_ms.min(store_ms);
        segment.latest_ms = segment.latest_ms.max(store_ms);
        let word = hash << PLACE_BITS | (position.0 - base.0);
        match segment.runs.last_mut() {
            Some(run) if run.len() < KEY_RUN => {
                run.push(word);
                if run.len() == KEY_RUN {
                    sort(run);
                }
            }
            _ => {
                let mut run = Vec::with_capacity(KEY_RUN);
                run.push(word);
                segment.runs.push(run);
            }
        }
    }

    fn open(&mut self, base: SegmentBase) {
        assert!(self.segments.back().is_none_or(|last| last.base < base), "keys follow the log");
        let nothing = SegmentKeys { base, earliest_ms: i64::MAX, latest_ms: i64::MIN, runs: Vec::new() };
        self.segments.push_back(nothing);
    }

    /// Takes over the keys of a segment from its index file.
    pub(crate) fn push_segment(&mut self, keys: SegmentKeys) {
        assert!(self.segments.back().is_none_or(|last| last.base < keys.base), "keys follow the log");
        self.segments.push_back(keys);
    }

    /// The keys of one segment, if it has any.
    pub(crate) fn segment_mut(&mut self, base: SegmentBase) -> Option<&mut SegmentKeys> {
        let at = self.segments.partition_point(|segment| segment.base < base);
        self.segments.get_mut(at).filter(|segment| segment.base == base)
    }

    /// The log begins at `start`, its indexes are in place up to `sealed_to`: what recovery begins with.
    pub(crate) fn begin_at(&mut self, start: u64, sealed_to: u64) {
        (self.start, self.sealed_to) = (start, sealed_to);
    }

    /// The indexes of all segments below `end` are on disk: their keys leave memory.
    pub(crate) fn seal(&mut self, end: u64) {
        self.sealed_to = self.sealed_to.max(end);
        while self.segments.pop_front_if(|segment| segment.base.0 < end).is_some() {}
    }

    /// Appends to `out` up to `limit` candidates below `before`, newest first, out of resident segments with messages stored
    /// in `times`.
    pub(super) fn search(
        &self,
        hash: u64,
        times: RangeInclusive<i64>,
        before: Position,
        limit: usize,
        out: &mut Vec<Position>,
    ) {
        let start = out.len();
        for segment in self.segments.iter().rev() {
            if segment.base.0 >= before.0 || segment.earliest_ms > *times.end() || segment.latest_ms < *times.start() {
                continue;
            }
            let found = out.len();
            segment.find(hash, before, out);
            out[found..].sort_unstable_by(|left, right| right.cmp(left));
            if out.len() - start >= limit {
                out.truncate(start + limit);
                return;
            }
        }
    }

    /// The log has nothing below `position`, a segment's base, any more: the keys of earlier segments leave.
    pub fn expire_below(&mut self, position: Position) {
        self.start = self.start.max(position.0);
        while self.segments.pop_front_if(|segment| segment.base.0 < position.0).is_some() {}
    }

    /// Heap bytes held.
    pub fn memory(&self) -> usize {
        self.segments.iter().flat_map(|segment| &segment.runs).map(|run| run.capacity() * size_of::<u64>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use proptest::prelude::*;

    fn index() -> KeyIndex {
        KeyIndex::new(Layout::new(ShardId(0), 64 * 1024).expect("a good size"))
    }

    fn search(index: &KeyIndex, hash: u64, before: u64, limit: usize) -> Vec<u64> {
        let mut out = Vec::new();
        index.search(hash, 0..=i64::MAX, Position(before), limit, &mut out);
        out.into_iter().map(|position| position.0).collect()
    }

    #[test]
    fn the_hash_is_part_of_the_format() {
        // Computed apart from this code, from the text of the format.
        assert_eq!(key_hash("orders", "7F0000010001"), 0x9300_6260_3e61_c074);
        assert_eq!(key_hash("", ""), 0x83d3_260b_fee2_1bcf);
        assert_ne!(key_hash("a", "b"), key_hash("a", "b\0"));
        assert_ne!(key_hash("ab", "c"), key_hash("a", "bc"));
    }

    #[test]
    fn segments_of_another_time_are_passed_over() {
        let mut index = index();
        index.add(1, Position(100), 1_000);
        index.add(1, Position(70_000), 2_000);
        let mut out = Vec::new();
        index.search(1, 1_500..=i64::MAX, Position(1 << 40), 10, &mut out);
        assert_eq!(out, vec![Position(70_000)]);
    }

    #[test]
    fn expired_segments_are_forgotten() {
        let mut index = index();
        for segment in 0..3 {
            index.add(1, Position(segment * 65_536 + 100), 1_000);
        }
        index.expire_below(Position(65_536));
        assert_eq!(search(&index, 1, 1 << 40, 10), [131_172, 65_636]);
        index.expire_below(Position(1 << 40));
        assert!(search(&index, 1, 1 << 40, 10).is_empty());
    }

    /// The text of the format: eight bytes at a time, the last ones filled up with zeros.
    fn hash_by_hand(topic: &str, key: &str) -> u64 {
        let mut bytes = format!("{topic}#{key}").into_bytes();
        let mut hash = bytes.len() as u64;
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        for word in bytes.as_chunks().0 {
            hash = (hash ^ u64::from_be_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        let hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^ hash >> 32
    }

    proptest! {
        #[test]
        fn words_are_cut_wherever_the_key_begins(topic in ".{0,20}", key in ".{0,40}") {
            prop_assert_eq!(key_hash(&topic, &key), hash_by_hand(&topic, &key));
        }

        #[test]
        fn a_run_is_sorted_whatever_its_first_bytes(
            mut run in prop_oneof![
                prop::collection::vec(any::<u64>(), 0..600),
                prop::collection::vec((0..3u64, any::<u32>()).prop_map(|(top, low)| top << 56 | u64::from(low)), 0..600),
            ]
        ) {
            let mut expected = run.clone();
            expected.sort_unstable();
            sort(&mut run);
            prop_assert_eq!(run, expected);
        }
    }

    proptest! {
        #[test]
        fn every_place_is_found_newest_first(hashes in proptest::collection::vec(0u64..20, 1..12_000), step in 1u64..60, wanted in 0u64..20, limit in 1usize..700) {
            let mut index = index();
            for (n, hash) in hashes.iter().enumerate() {
                index.add(hash.wrapping_mul(0x1234_5678_9abc_def1), Position(n as u64 * step), 5);
            }
            let mut expected: Vec<u64> = (0..hashes.len()).rev().filter(|n| hashes[*n] == wanted).map(|n| n as u64 * step).collect();
            let hash = wanted.wrapping_mul(0x1234_5678_9abc_def1);
            expected.truncate(limit);
            let found = search(&index, hash, u64::MAX >> 17, limit);
            prop_assert_eq!(&found, &expected);
            if let Some(first) = found.first() {
                prop_assert_eq!(search(&index, hash, *first, limit.max(2) - 1), search(&index, hash, *first + 1, limit.max(2)).split_off(1));
            }
        }
    }
}
