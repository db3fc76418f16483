//! The crash test: the real log and recovery on a fake disk that loses, tears and reorders what was in flight.
//!
//! Owns the runs and the planted bugs. The disk is in `crash/disk.rs`, what is done to the log in `crash/world.rs`, what
//! must hold after each crash in `crash/check.rs`. A seed replays exactly: `CRASH_SEED=17 cargo test crash`; more of
//! them: `CRASH_SEEDS=100000`.

mod check;
mod disk;
mod world;

use super::planted::Planted;
use super::recovery::{RecoveryError, Why};
use world::World;

/// Seeds of one run: a few seconds.
const SEEDS: u64 = 2_000;

/// A deterministic source of choices (splitmix64).
#[derive(Debug, Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in `percent` of a hundred cases.
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Several starts, each ended by a crash (now and then a clean stop) and followed by a recovery that is checked.
fn run(seed: u64, planted: Planted) -> Result<(), String> {
    let mut world = World::new(Rng(seed), planted);
    let starts = 2 + world.rng.below(4);
    for start in 0..starts {
        let steps = 20 + world.rng.below(200);
        for _ in 0..steps {
            world.step();
        }
        if world.rng.chance(15) {
            world.stop_cleanly();
        }
        world.crash();
        world.recover().map_err(|why| format!("seed {seed}, crash {start}: {why}"))?;
    }
    Ok(())
}

/// What a seed finds; a failed assertion counts, too.
fn finding(seed: u64, planted: Planted) -> Option<String> {
    let ended = std::panic::catch_unwind(|| run(seed, planted));
    ended.unwrap_or_else(|_| Err(format!("seed {seed} panics"))).err()
}

#[test]
fn what_was_durable_survives_any_crash() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let seeds = match (number("CRASH_SEED"), number("CRASH_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    let findings: Vec<String> = seeds.filter_map(|seed| finding(seed, Planted::Nothing)).take(5).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_seed_replays_exactly() {
    let image = || {
        let mut world = World::new(Rng(99), Planted::Nothing);
        for _ in 0..300 {
            world.step();
        }
        world.crash();
        world.disk.segments
    };
    assert!(image() == image());
}

/// The test is worth something only if it finds what it is there for.
#[test]
fn planted_bugs_are_found() {
    let files = [Planted::EarlyCheckpoint, Planted::PartialAhead];
    for planted in [Planted::EarlyDurable, Planted::SkipChecksum, Planted::KeepEpoch].into_iter().chain(files) {
        let found = (0..SEEDS).find_map(|seed| finding(seed, planted));
        assert!(found.is_some(), "{planted:?} was not found in {SEEDS} seeds");
    }
}

/// Any flipped bit in what later frames say was durable is reported, never taken for the log's end.
#[test]
fn damage_is_told_from_the_end() {
    for seed in 0..150 {
        let mut world = World::new(Rng(seed), Planted::Nothing);
        world.without_files = true;
        for _ in 0..150 {
            world.step();
        }
        // Two quiet commits: the second one's frame says that all before it is durable.
        if !world.settle() || !world.settle() {
            continue; // A write failed; nothing more can be made durable.
        }
        world.crash();
        let proven = world.last_claim();
        for _ in 0..4 {
            let mut damaged = world.clone_disk();
            let at = damaged.flip_below(proven, &mut world.rng);
            let error = world.recover_from(&damaged).err();
            let told = matches!(
                error,
                Some(RecoveryError::Corrupt {
                    why: Why::Witness { .. } | Why::BelowDurable { .. } | Why::Record { .. },
                    ..
                })
            );
            assert!(told, "seed {seed}: a flipped bit at {at} of {proven} gave {error:?}");
        }
    }
}
