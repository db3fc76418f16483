//! Indexes as they are written, looked at, damaged and made again.

use proptest::prelude::*;
use ringmq_protocol::record::RECORD_LEAST;

use super::index_build::IndexBuild;
use super::index_file::IndexFile;
use super::index_page::PAGE;
use crate::event::ShardId;
use crate::store::index::cold::{Absent, Miss};
use crate::store::limits::{INDEX_PAGES_MIN, SEGMENT_MIN};
use crate::store::range::{RangeOf, ReadRange};
use crate::store::segment::{Active, Layout, Sealed, SegmentBase};
use crate::store::{Entry, KeyIndex, Position, QueueTable, Supplied};

fn layout() -> Layout {
    Layout::new(ShardId(1), SEGMENT_MIN).expect("a good size")
}

/// Segments of a test.
const SEGMENTS: u64 = 6;

fn sealed(number: u64) -> Sealed {
    Active::new(&layout(), SegmentBase(number * SEGMENT_MIN)).seal(number * SEGMENT_MIN + 65_000, 4)
}

/// A message of a test: topic, queue, its entry, time and key.
#[derive(Debug, Clone)]
struct Sent {
    topic: &'static str,
    queue: u32,
    offset: u64,
    entry: Entry,
    ms: i64,
    key: u64,
}

/// Messages spread over the segments, as `pick` says: which queue, how long after the last, which key.
fn sent(picks: &[(u8, u8, u8)]) -> Vec<Sent> {
    // A record ends within its segment; that its neighbours begin before that is nothing to an index.
    let in_segment = (picks.len() as u64).div_ceil(SEGMENTS);
    let step = (SEGMENT_MIN - 1000) / in_segment;
    let (mut ms, mut next) = (1_000_000, std::collections::BTreeMap::<u8, u64>::new());
    let message = |(n, (queue, wait, key)): (usize, &(u8, u8, u8))| {
        let position = Position(40 + n as u64 / in_segment * SEGMENT_MIN + n as u64 % in_segment * step);
        let (queue, at) = (queue % 5, next.entry(queue % 5).or_default());
        let offset = *at;
        *at += 1;
        ms += i64::from(wait / 64);
        let entry = Entry { position, size: RECORD_LEAST as u32, tag_hash: n as i32 };
        let key = u64::from(*key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Sent { topic: ["a", "b"][usize::from(queue) % 2], queue: queue.into(), offset, entry, ms, key }
    };
    picks.iter().enumerate().map(message).collect()
}

/// A table whose first `full` segments are in files.
struct Stored {
    queues: QueueTable,
    keys: KeyIndex,
    files: Vec<Vec<u8>>,
}

fn store(sent: &[Sent], full: u64) -> Stored {
    store_after(sent, full, |_| ())
}

/// Something is done to the queues before the indexes are made.
fn store_after(sent: &[Sent], full: u64, then: impl FnOnce(&mut QueueTable)) -> Stored {
    let (mut queues, mut keys) = (QueueTable::new(), KeyIndex::new(layout()));
    queues.set_page_limit(0);
    for message in sent {
        let slot = queues.open(message.topic, message.queue);
        assert_eq!(queues[slot].push(message.entry, message.ms), message.offset);
        queues[slot].show(message.offset + 1);
        keys.add(message.key, message.entry.position, message.ms);
    }
    then(&mut queues);
    let mut files = Vec::new();
    for number in 0..full {
        let mut build = IndexBuild::new(&layout(), sealed(number));
        while !build.step(&mut queues, &mut keys) {}
        let mut finished = build.finish().expect("nothing overtakes it");
        files.push(std::mem::take(&mut finished.bytes));
        finished.in_place(&mut queues, &mut keys);
    }
    Stored { queues, keys, files }
}

fn read(files: &[Vec<u8>], range: &ReadRange) -> Vec<u8> {
    let RangeOf::Index(base) = range.file else { panic!("only indexes are read") };
    let file = &files[(base.0 / SEGMENT_MIN) as usize];
    file[range.offset as usize..((range.offset + range.len) as usize).min(file.len())].to_vec()
}

impl Stored {
    fn look<T>(&mut self, look: impl FnMut(&mut QueueTable) -> Result<T, Absent>) -> T {
        let Stored { queues, files, .. } = self;
        queues.with_reads(|range| read(files, range), look).expect("nothing is damaged")
    }

    fn search(&mut self, key: u64, before: u64, limit: usize) -> Vec<u64> {
        let Stored { queues, keys, files } = self;
        let mut search = keys.begin(key, 0..=i64::MAX, Position(before), limit);
        queues.with_reads(|range| read(files, range), |table| keys.advance(&mut search, table)).expect("whole");
        search.found.iter().map(|position| position.0).collect()
    }
}

fn picks() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    proptest::collection::vec((any::<u8>(), any::<u8>(), 0u8..40), 1..3_000)
}

#[test]
fn an_index_tells_of_what_is_not_shown_any_more() {
    let sent = sent(&[(0, 0, 0); 300]);
    let cut = |queues: &mut QueueTable| {
        let slot = queues.open("a", 0);
        queues[slot].recall(u64::MAX, 0);
    };
    assert_eq!(store_after(&sent, SEGMENTS, cut).files, store(&sent, SEGMENTS).files);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However much of a queue is on disk, it says the same.
    #[test]
    fn what_left_memory_is_found(picks in picks(), full in 0..=SEGMENTS, probes in proptest::collection::vec(any::<prop::sample::Index>(), 12)) {
        let sent = sent(&picks);
        let mut stored = store(&sent, full);
        for probe in probes {
            let message = probe.get(&sent).clone();
            let slot = stored.queues.find(message.topic, message.queue).expect("it was opened");
            let found = stored.look(|table| table.look(slot, message.offset));
            prop_assert_eq!(found, Some((message.entry, message.ms)));
            let of_queue: Vec<&Sent> = sent.iter().filter(|other| (other.topic, other.queue) == (message.topic, message.queue)).collect();
            for ms in [message.ms - 1, message.ms, message.ms + 1] {
                let first = of_queue.partition_point(|other| other.ms < ms) as u64;
                prop_assert_eq!(stored.look(|table| table.first_since(slot, ms)), first);
                let last = (of_queue.partition_point(|other| other.ms <= ms) as u64).checked_sub(1);
                prop_assert_eq!(stored.look(|table| table.last_until(slot, ms)), last);
            }
            let mut entries = Vec::new();
            stored.look(|table| table.entries_from(slot, message.offset, 700, &mut entries));
            prop_assert!(!entries.is_empty());
            for (n, (offset, entry)) in entries.iter().enumerate() {
                prop_assert_eq!((*offset, *entry), (message.offset + n as u64, of_queue[message.offset as usize + n].entry));
            }
            let expected: Vec<u64> = sent.iter().rev().filter(|other| other.key == message.key).map(|other| other.entry.position.0).collect();
            for (before, limit) in [(u64::MAX >> 17, 4_000), (message.entry.position.0 + 1, 3)] {
                let expected: Vec<u64> = expected.iter().copied().filter(|place| *place < before).take(limit).collect();
                prop_assert_eq!(stored.search(message.key, before, limit), expected);
            }
        }
        prop_assert_eq!(stored.look(|table| table.earliest_ms(&layout())), Some(sent[0].ms));
    }

    /// No flipped bit of a file is believed, whichever page it is in.
    #[test]
    fn any_flipped_bit_is_seen(at: prop::sample::Index, bit in 0u8..8) {
        let sent = sent(&[(1, 2, 3); 600]);
        let stored = store(&sent, 1);
        let mut file = stored.files[0].clone();
        let at = at.index(file.len());
        file[at] ^= 1u8 << bit;
        prop_assert!(IndexFile::decode(&file, &layout(), SegmentBase(0)).is_none());
        prop_assert!(IndexFile::decode(&stored.files[0], &layout(), SegmentBase(0)).is_some());
        let mut cache = crate::store::index::pages::PageCache::default();
        let page = at / PAGE;
        prop_assert!(!cache.put(SegmentBase(0), page as u32, &file[page * PAGE..], 1));
    }

    /// A damaged index answers nothing wrong: what is read out of it is right, or it is damage.
    #[test]
    fn damage_is_said(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8), 1..20)) {
        let sent = sent(&(0..2_000u32).map(|n| ((n % 7) as u8, 100, (n % 40) as u8)).collect::<Vec<_>>());
        let mut stored = store(&sent, SEGMENTS);
        for (which, at, bit) in flips {
            let count = stored.files.len();
            let file = &mut stored.files[which.index(count)];
            let at = at.index(file.len());
            file[at] ^= 1u8 << bit;
        }
        let Stored { queues, files, .. } = &mut stored;
        for message in sent.iter().step_by(37) {
            let slot = queues.find(message.topic, message.queue).expect("it was opened");
            let found = queues.with_reads(|range| read(files, range), |table| table.look(slot, message.offset));
            if let Ok(found) = found {
                prop_assert_eq!(found, Some((message.entry, message.ms)));
            }
        }
    }
}

#[test]
fn what_is_missed_is_said_once() {
    let sent = sent(&[(1, 200, 3); 900]);
    let mut stored = store(&sent, SEGMENTS);
    let slot = stored.queues.find("b", 1).expect("it was opened");
    assert_eq!(stored.queues.look(slot, 0), Err(Absent));
    assert!(stored.queues.has_miss());
    let Some(Miss::Pages(wanted)) = stored.queues.take_miss() else { panic!("a page is missed") };
    assert_eq!(wanted.base, SegmentBase((SEGMENTS - 1) * SEGMENT_MIN), "the way back begins at the newest run");
    assert!(!stored.queues.has_miss());
    stored.queues.supply(&wanted, None);
    assert_eq!(stored.queues.look(slot, 0), Err(Absent));
    assert_eq!(stored.queues.take_miss(), Some(Miss::Damaged(wanted.base)), "what cannot be read is to be made again");
    stored.queues.repaired(wanted.base);
    assert_eq!(stored.look(|table| table.look(slot, 0)).map(|(entry, _)| entry), Some(sent[0].entry));
}

#[test]
fn who_reads_in_order_misses_only_the_first_page() {
    let sent = sent(&(0..20_000u32).map(|n| (0, 1, (n % 40) as u8)).collect::<Vec<_>>());
    let mut stored = store(&sent, SEGMENTS);
    stored.queues.set_page_limit(64);
    let slot = stored.queues.find("a", 0).expect("it was opened");
    let end = stored.queues[slot].resident_from();
    stored.look(|table| table.exact_min(slot));
    stored.look(|table| table.look(slot, 0));
    let Stored { queues, files, .. } = &mut stored;
    let (mut next, mut entries, mut misses, mut ahead) = (0, Vec::new(), 0, 0);
    while next < end {
        match queues.entries_from(slot, next, 32, &mut entries) {
            Ok(()) => next += entries.len() as u64,
            Err(Absent) => {
                let Some(Miss::Pages(wanted)) = queues.take_miss() else { panic!("nothing is damaged") };
                assert_eq!(queues.supply(&wanted, Some(&read(files, &wanted.range()))), Supplied::Again);
                misses += 1;
            }
        }
        if let Some(wanted) = queues.take_ahead() {
            assert_eq!(queues.supply(&wanted, Some(&read(files, &wanted.range()))), Supplied::Again);
            ahead += 1;
        }
    }
    assert!(misses <= 1 && ahead > 3, "{misses} misses, {ahead} pieces ahead of {end} messages");
}

#[test]
fn memory_is_bounded_by_pages_and_queues() {
    let sent = sent(&(0..20_000u32).map(|n| ((n % 5) as u8, 100, (n % 40) as u8)).collect::<Vec<_>>());
    let mut stored = store(&sent, SEGMENTS);
    let slot = stored.queues.find("a", 0).expect("it was opened");
    for offset in 0..4_000 {
        stored.look(|table| table.look(slot, offset));
    }
    let bytes = stored.queues.index_memory() + stored.keys.memory();
    assert!(bytes < INDEX_PAGES_MIN * (PAGE + 200) + 8_192, "{bytes} bytes for messages that are all on disk");
}

#[test]
fn what_expired_is_gone() {
    let sent = sent(&(0..3_000u32).map(|n| ((n % 5) as u8, 100, (n % 40) as u8)).collect::<Vec<_>>());
    let mut stored = store(&sent, SEGMENTS - 1);
    let start = Position(3 * SEGMENT_MIN);
    stored.queues.expire_below(start);
    stored.keys.expire_below(start);
    for queue in 0..5 {
        let topic = ["a", "b"][queue as usize % 2];
        let slot = stored.queues.find(topic, queue).expect("it was opened");
        let first =
            sent.iter().find(|message| message.queue == queue && message.entry.position >= start).expect("many");
        assert_eq!(stored.look(|table| table.exact_min(slot)), first.offset);
        assert_eq!(stored.look(|table| table.look(slot, first.offset - 1)), None);
        assert_eq!(stored.look(|table| table.first_since(slot, 0)), first.offset);
    }
    assert!(stored.search(sent[0].key, u64::MAX >> 17, 9_999).iter().all(|place| *place >= start.0));
    stored.queues.expire_below(Position(SEGMENTS * SEGMENT_MIN));
    let slot = stored.queues.find("a", 0).expect("it was opened");
    assert_eq!((stored.queues[slot].min(), stored.queues[slot].max()), (600, 600));
}
