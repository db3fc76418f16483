//! Which segments may go, and whether there is room for more.
//!
//! Owns the arithmetic: age, hours, levels of the volume, sizes of topics (DefaultMessageStore.CleanCommitLogService is the
//! source of the levels and of what happens above each). What only the shard knows (what a segment is still needed for)
//! and the doing is `retain.rs`'s. Never reads a clock: what it needs is given.

mod hours;
mod sizes;
mod volume;

pub use hours::is_hour;
pub use sizes::{SizeTold, Sizes};
pub use volume::{Shortage, Volume};

use super::limits::{LOOKS_AHEAD, SPARE_BYTES, SPARES_MAX, SPARES_MIN};
use super::log::FullSegment;
use super::segment::SegmentBase;

/// What a shard knows and wants of the life of its segments.
#[derive(Debug, Default)]
pub struct Retention {
    /// The volume as it was a moment ago; `None` until the driver has looked.
    pub volume: Option<Volume>,
    /// Bytes the log grew by from one look to the next, falling slowly when it grows less.
    pub growth: u64,
    /// End of the log at the last look.
    pub seen: u64,
    /// Why producers are refused.
    pub shortage: Option<Shortage>,
    /// Bytes of the topics whose size is limited.
    pub sizes: Sizes,
    /// Looks until which expired segments go at any hour, because somebody asked (DELETE_EXPIRED_COMMITLOG).
    pub asked: u32,
    /// A topic was deleted or cut: the first segments may have nothing alive in them.
    pub look_for_dead: bool,
    /// Nothing is alive below, as of the last look.
    pub dead_to: SegmentBase,
    /// What keeps the first segment, as it was logged last: said once.
    pub pinned: Option<Pin>,
}

/// What a segment that should go is still needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// A half message nobody has decided about.
    HalfMessage,
    /// A delayed message that waits.
    DelayedMessage,
    /// A message that was popped and not acknowledged.
    PoppedMessage,
}

impl Pin {
    /// In words, for the log.
    pub const fn what(self) -> &'static str {
        match self {
            Pin::HalfMessage => "a half message that nobody has committed or rolled back",
            Pin::DelayedMessage => "a delayed message that waits",
            Pin::PoppedMessage => "a popped message that nobody has acknowledged",
        }
    }
}

/// The settings that say what goes, and what they are applied to.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// fileReservedTime, ms.
    pub reserved_ms: i64,
    /// One of the hours of deleteWhen, or somebody asked.
    pub any_age_hour: bool,
    /// diskMaxUsedSpaceRatio: above it expired segments go at any hour.
    pub max_used: u32,
    /// diskSpaceCleanForciblyRatio: above it the oldest go before their time.
    pub forced: u32,
    /// cleanFileForciblyEnable.
    pub forcibly: bool,
    /// Among how many shards what must be freed is divided.
    pub shards: u16,
    pub segment_size: u64,
    /// Bytes the log grows by from one look to the next.
    pub growth: u64,
}

impl Rules {
    /// How many files of released segments are kept to be used again: what the log needs while the next ones wait for a look
    /// and two checkpoints. More would be space that nobody gets.
    pub fn spares(&self, volume: &Volume) -> u64 {
        let share = volume.total / 8 / u64::from(self.shards.max(1));
        let needed = SPARE_BYTES.max(LOOKS_AHEAD * self.growth).min(share);
        (needed / self.segment_size).clamp(SPARES_MIN, SPARES_MAX)
    }

    /// How many of the oldest segments should go now. `releasing` are on their way already.
    pub fn to_go(&self, full: &[FullSegment], now_ms: i64, volume: &Volume, releasing: u64) -> usize {
        let reserved = self.reserved_ms;
        let expired = full.iter().take_while(|segment| now_ms.saturating_sub(segment.latest_ms) > reserved).count();
        // Those that only take the place of segments about to be made: their blocks are used again, nothing is freed.
        let lacking = self.spares(volume).saturating_sub(u64::from(volume.spares) + releasing);
        let wanted = if self.any_age_hour || volume.is_above(self.max_used) {
            expired
        } else {
            expired.min(usize::try_from(lacking).unwrap_or(usize::MAX))
        };
        let forced = if self.forcibly { self.forced_to_go(volume, lacking, releasing) } else { 0 };
        wanted.max(forced).min(full.len())
    }

    /// How many must go although they are not expired. What the log is about to need counts as used: then in a volume
    /// that is full to this level the log goes round in a circle, without a block being allocated or freed.
    fn forced_to_go(&self, volume: &Volume, lacking: u64, releasing: u64) -> usize {
        let per_shard = |bytes: u64| bytes.div_ceil(u64::from(self.shards.max(1))).div_ceil(self.segment_size);
        let soon = lacking * self.segment_size * u64::from(self.shards.max(1));
        let excess = per_shard(volume.excess(self.forced, soon));
        let excess = if volume.no_segment.is_some() { excess.max(1) } else { excess };
        usize::try_from(excess.saturating_sub(releasing)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HOUR: i64 = 3_600_000;

    fn rules() -> Rules {
        Rules {
            reserved_ms: 72 * HOUR,
            any_age_hour: false,
            max_used: 75,
            forced: 85,
            forcibly: true,
            shards: 1,
            segment_size: 16 * MIB,
            growth: 0,
        }
    }

    fn volume(used_mib: u64) -> Volume {
        let (total, used) = (1_000 * MIB, used_mib * MIB);
        Volume { total, used, free: total - used, spares: 4, ..Volume::default() }
    }

    /// Ten segments, the last message of each an hour after that of the one before.
    fn full() -> Vec<FullSegment> {
        let segment = |n: u64| FullSegment { base: SegmentBase(n), latest_ms: n as i64 * HOUR, indexed: true };
        (0..10).map(segment).collect()
    }

    #[test]
    fn expired_segments_wait_for_the_hour_or_for_being_needed() {
        let now_ms = 75 * HOUR;
        let to_go = |rules: Rules, volume: Volume, releasing| rules.to_go(&full(), now_ms, &volume, releasing);
        assert_eq!(rules().spares(&volume(0)), 4);
        assert_eq!(to_go(rules(), volume(100), 0), 0, "enough spares, not the hour");
        assert_eq!(to_go(rules(), Volume { spares: 2, ..volume(100) }, 0), 2, "they take the place of new ones");
        assert_eq!(to_go(rules(), Volume { spares: 2, ..volume(100) }, 2), 0, "which are on their way");
        assert_eq!(to_go(Rules { any_age_hour: true, ..rules() }, volume(100), 0), 3, "the fourth is exactly that old");
        assert_eq!(to_go(rules(), volume(751), 0), 3, "above diskMaxUsedSpaceRatio at any hour");
        assert_eq!(to_go(rules(), volume(750), 0), 0, "not at it");
    }

    #[test]
    fn above_the_forced_level_the_oldest_go_until_it_is_kept() {
        let to_go = |rules: Rules, volume: Volume, releasing| rules.to_go(&full(), 0, &volume, releasing);
        assert_eq!(to_go(rules(), volume(850), 0), 0);
        assert_eq!(to_go(rules(), volume(851), 0), 1);
        assert_eq!(to_go(rules(), volume(850 + 33), 0), 3);
        assert_eq!(to_go(rules(), volume(850 + 33), 2), 1, "two are on their way");
        assert_eq!(to_go(Rules { shards: 2, ..rules() }, Volume { spares: 9, ..volume(850 + 33) }, 0), 2, "half each");
        assert_eq!(to_go(rules(), Volume { spares: 2, ..volume(840) }, 0), 2, "the next two would not fit below it");
        assert_eq!(to_go(Rules { forcibly: false, ..rules() }, volume(999), 0), 0);
        let full_up = Volume { no_segment: Some(28), ..volume(100) };
        assert_eq!(to_go(rules(), full_up, 0), 1, "a quota, perhaps");
        assert_eq!(to_go(rules(), volume(1_000), 0), 10, "no more than there are");
    }

    #[test]
    fn spares_are_bounded_by_bytes_number_and_volume() {
        let spares = |segment_size, shards, total| {
            Rules { segment_size, shards, ..rules() }.spares(&Volume { total, ..Volume::default() })
        };
        assert_eq!(spares(256 * MIB, 16, 1 << 40), SPARES_MIN);
        assert_eq!(spares(16 * MIB, 1, 1 << 40), 4);
        assert_eq!(Rules { growth: 100 * MIB, ..rules() }.spares(&volume(0)), 7, "an eighth of the volume");
        assert_eq!(spares(64 << 10, 1, 1 << 40), SPARES_MAX);
        assert_eq!(spares(8 * MIB, 16, 1 << 30), SPARES_MIN);
    }
}
