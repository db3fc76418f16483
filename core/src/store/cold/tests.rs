//! The cache against logs that were written by the real writer, whole and with bits flipped.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::ShardId;
use crate::store::limits::{COLD_READ_MAX, FRAME_TARGET};
use crate::store::{CommitLog, LogOptions, Urge};

const SEED: u32 = 0xfeed;

/// A log on a disk in memory, and where its records lie.
struct World {
    log: CommitLog,
    segments: BTreeMap<u64, Vec<u8>>,
    records: Vec<(Position, Vec<u8>)>,
    reads: usize,
}

impl World {
    fn new(segment: u64, frame_target: u64) -> Self {
        let layout = Layout::new(ShardId(3), segment).expect("a good size");
        let options = LogOptions { seed: SEED, frame_target, ..LogOptions::new(layout, 1) };
        World { log: CommitLog::new(options), segments: BTreeMap::new(), records: Vec::new(), reads: 0 }
    }

    /// Appends a record that looks like a header now and then, and commits if told.
    fn put(&mut self, len: usize, commit: bool) {
        let number = self.records.len();
        let mut bytes: Vec<u8> = (0..len).map(|at| (at * 31 + number * 7) as u8).collect();
        bytes[..4].copy_from_slice(&(len as u32).to_be_bytes());
        if len > 60 {
            bytes[16..20].copy_from_slice(&super::super::frame::MAGIC.to_be_bytes());
        }
        let copy = bytes.clone();
        let at = self.log.append(0, len, |_, out| out.copy_from_slice(&copy)).expect("room");
        self.records.push((at, bytes));
        if commit {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let size = self.log.layout().segment_size() as usize;
        while self.log.durable() < self.log.appended() {
            while let Some(base) = self.log.wanted_segment() {
                self.segments.entry(base.0).or_insert_with(|| vec![0; size]);
                self.log.segment_ready(base);
            }
            let plan = self.log.next_write(Urge::Stop).expect("something waits");
            let mut bytes = vec![0; plan.len];
            self.log.copy_plan(&plan, &mut bytes);
            let file = self.segments.get_mut(&plan.segment.0).expect("it was wanted");
            file[plan.file_offset as usize..][..plan.len].copy_from_slice(&bytes);
            self.log.complete(plan.seq, Ok(())).expect("the disk works");
        }
    }

    fn cache(&self) -> LogCache {
        LogCache::new(*self.log.layout(), SEED)
    }

    fn serve(&mut self, cache: &mut LogCache, need: Stretch) {
        let missing = cache.missing(need, COLD_READ_MAX, self.log.durable(), &[]);
        assert!(!missing.is_empty(), "{need:?} is asked for, so something of it is not here");
        for stretch in missing {
            self.reads += 1;
            let base = self.log.layout().segment_of(Position(stretch.from)).0;
            let file = &self.segments[&base][(stretch.from - base) as usize..];
            let len = (stretch.blocks() as usize).min(file.len());
            cache.supply(stretch.from, blocks(&file[..len]), self.log.durable(), &[need]);
        }
    }

    /// What the cache says about a record when everything it asks for is read.
    fn look(&mut self, cache: &mut LogCache, at: Position, len: u32) -> Look {
        for _ in 0..10_000 {
            match cache.look(at, len, self.log.durable()) {
                Look::Missing(need) => self.serve(cache, need),
                look => return look,
            }
        }
        panic!("the search for {at:?} does not end");
    }

    /// Record `n`, if it is given out.
    fn read(&mut self, cache: &mut LogCache, n: usize) -> Result<Vec<u8>, Look> {
        let (at, len) = (self.records[n].0, self.records[n].1.len() as u32);
        match self.look(cache, at, len) {
            Look::Here => Ok(cache.bytes(at, len).flatten().copied().collect()),
            look => Err(look),
        }
    }
}

#[test]
fn a_log_read_in_order_is_read_once() {
    let mut world = World::new(8 << 20, FRAME_TARGET);
    for n in 0..20_000 {
        world.put(900 + n % 300, n % 97 == 0);
    }
    world.commit();
    let mut cache = world.cache();
    for n in 0..world.records.len() {
        assert_eq!(world.read(&mut cache, n), Ok(world.records[n].1.clone()));
    }
    let chunks = world.log.durable().0.div_ceil(256 * 1024) as usize;
    assert!(world.reads <= chunks + 3, "{} reads for {chunks} chunks", world.reads);
    assert!(cache.memory() <= (16 << 20) + COLD_READ_MAX);
    assert_eq!(cache.take_fresh(), []);
}

#[test]
fn a_place_without_a_record_gives_none() {
    let mut world = World::new(1 << 20, FRAME_TARGET);
    for _ in 0..50 {
        world.put(1000, true);
    }
    let mut cache = world.cache();
    // Across the end of its frame; in a header; beyond all frames of the segment is not durable.
    let (at, _) = world.records[10];
    assert_eq!(world.look(&mut cache, at, 1001), Look::Nothing);
    assert_eq!(world.look(&mut cache, Position(at.0 - 20), 8), Look::Here, "verified, if no record");
    let end = world.log.durable();
    assert_eq!(world.look(&mut cache, Position(end.0 - 4), 8), Look::Nothing, "an index may say so");
    assert_eq!(world.look(&mut cache, Position(u64::MAX / 2), 8), Look::Nothing);
    assert_eq!(cache.take_fresh(), []);
}

#[test]
fn what_was_not_durable_when_it_was_read_is_read_again() {
    let mut world = World::new(1 << 20, FRAME_TARGET);
    world.put(5000, true);
    let mut cache = world.cache();
    assert!(world.read(&mut cache, 0).is_ok());
    world.put(5000, true);
    assert!(world.read(&mut cache, 1).is_ok(), "its bytes were zeros when the chunk was read");
    assert_eq!(cache.take_fresh(), []);
}

#[test]
fn a_large_record_is_verified_whole() {
    let mut world = World::new(64 << 20, FRAME_TARGET);
    world.put(300, true);
    world.put(9 << 20, true);
    world.put(300, true);
    let mut cache = world.cache();
    // From the far end: the header lies 9 MiB back.
    assert!(world.read(&mut cache, 2).is_ok());
    assert!(world.read(&mut cache, 1).is_ok());
    world.segments.get_mut(&0).expect("the first")[5 << 20] ^= 4;
    let mut cache = world.cache();
    assert!(matches!(world.read(&mut cache, 1), Err(Look::Damaged(_))));
    assert!(world.read(&mut cache, 0).is_ok() && world.read(&mut cache, 2).is_ok());
    let [damage] = cache.take_fresh()[..] else { panic!("one place is damaged") };
    assert!(damage.holds(Position(5 << 20)));
}

#[test]
fn forgotten_space_is_not_damage() {
    let mut world = World::new(64 * 1024, 8 * 1024);
    for _ in 0..200 {
        world.put(2000, true);
    }
    let mut cache = world.cache();
    for n in 0..200 {
        assert!(world.read(&mut cache, n).is_ok());
    }
    cache.forget_below(Position(128 * 1024));
    assert!(world.read(&mut cache, 199).is_ok());
    assert!(matches!(cache.look(world.records[0].0, 8, world.log.durable()), Look::Missing(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Records in any order, bits flipped anywhere: what is given out is what was written, each flip costs its frame and
    /// nothing else, and is told once.
    #[test]
    fn flipped_bits_are_never_given_out(
        lens in proptest::collection::vec((16usize..6_000, any::<bool>()), 20..150),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..6),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 1..60),
        small: bool,
    ) {
        let mut world = World::new(if small { 64 * 1024 } else { 1 << 20 }, 16 * 1024);
        for (len, commit) in &lens {
            world.put(*len, *commit);
        }
        world.commit();
        let durable = world.log.durable().0;
        let mut flipped = Vec::new();
        for (at, bit) in &flips {
            let at = at.index(durable as usize) as u64;
            let base = at - at % world.log.layout().segment_size();
            world.segments.get_mut(&base).expect("written")[(at - base) as usize] ^= 1 << bit;
            flipped.push(at);
        }
        let mut cache = world.cache();
        let mut fresh: Vec<Damage> = Vec::new();
        let all = 0..world.records.len();
        let picked: Vec<usize> = order.iter().map(|index| index.index(world.records.len())).chain(all).collect();
        for n in picked {
            let (at, len) = (world.records[n].0, world.records[n].1.len() as u64);
            match world.read(&mut cache, n) {
                Ok(bytes) => prop_assert_eq!(&bytes, &world.records[n].1),
                Err(Look::Damaged(damage)) => {
                    prop_assert!(damage.holds(at));
                    // A frame is at most 16 KiB and its record; without a flip in reach it is whole.
                    let reach = (at.0.saturating_sub(24 << 10))..(at.0 + len + (24 << 10));
                    prop_assert!(flipped.iter().any(|flip| reach.contains(flip)), "{:?} {:?}", damage, flipped);
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
            fresh.extend(cache.take_fresh());
        }
        for damage in &fresh {
            prop_assert!(flipped.iter().any(|flip| damage.holds(Position(*flip))), "{:?} {:?}", damage, flipped);
        }
        let mut places: Vec<u64> = fresh.iter().map(|damage| damage.from.0).collect();
        places.sort_unstable();
        places.dedup();
        prop_assert_eq!(places.len(), fresh.len(), "each is told once");
    }
}
