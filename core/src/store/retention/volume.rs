//! How full the volume is that holds the shard's files.
//!
//! Owns what `used` means and the words of a refusal for want of space. Plain data; the driver looks.

use std::fmt;

/// The volume, and what stands ready on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Bytes it has; 0 where that is not known.
    pub total: u64,
    /// Bytes in use, by whomever.
    pub used: u64,
    /// Bytes this process may still use; with `used` it may be less than the total, which has a reserve for root.
    pub free: u64,
    /// Files of this shard kept to become segments again.
    pub spares: u32,
    /// The next segment cannot be made for want of space: the error number (ENOSPC, EDQUOT).
    pub no_segment: Option<i32>,
    /// Seconds that local time is ahead of UTC, for deleteWhen.
    pub utc_offset_s: i32,
}

impl Volume {
    /// Use in percent, rounded up, as `df` counts it (UtilAll.getDiskPartitionSpaceUsedPercent). `None` if not known.
    pub fn used_percent(&self) -> Option<u32> {
        let all = u128::from(self.used) + u128::from(self.free);
        let percent = (u128::from(self.used) * 100).checked_div(all)?;
        let exact = percent * all == u128::from(self.used) * 100;
        // At most 100: `used` is a part of `all`.
        Some(percent as u32 + u32::from(!exact))
    }

    /// Whether more than `percent` is used.
    pub fn is_above(&self, percent: u32) -> bool {
        self.no_segment.is_some() || self.used_percent().is_some_and(|used| used > percent)
    }

    /// Bytes above `percent` once `soon` more are used.
    pub fn excess(&self, percent: u32, soon: u64) -> u64 {
        let all = u128::from(self.used) + u128::from(self.free);
        let most = u64::try_from(all * u128::from(percent) / 100).unwrap_or(u64::MAX);
        let used = if all == 0 { 0 } else { self.used.saturating_add(soon) };
        used.saturating_sub(most)
    }
}

/// Why no more messages are taken for now. It ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// More is used than diskSpaceWarningLevelRatio allows; both in percent.
    Level { used: u32, limit: u32 },
    /// The next segment cannot be made.
    NoSegment { used: Option<u32>, errno: i32 },
}

impl Shortage {
    /// What a volume means for producers; `limit` is diskSpaceWarningLevelRatio.
    pub fn of(volume: &Volume, limit: u32) -> Option<Shortage> {
        let used = volume.used_percent();
        if let Some(errno) = volume.no_segment {
            return Some(Shortage::NoSegment { used, errno });
        }
        used.filter(|used| *used > limit).map(|used| Shortage::Level { used, limit })
    }

    /// Whether it is the same kind of want: only a change of it is worth a line.
    pub fn is_like(&self, other: &Shortage) -> bool {
        matches!(
            (self, other),
            (Shortage::Level { .. }, Shortage::Level { .. }) | (Shortage::NoSegment { .. }, Shortage::NoSegment { .. })
        )
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortage::Level { used, limit } => {
                write!(f, "{used}% of the disk is used, the limit is {limit}% (diskSpaceWarningLevelRatio)")
            }
            Shortage::NoSegment { used: Some(used), errno } => {
                write!(
                    f,
                    "there is no space for the next log segment (errno {errno}), {used}% of the disk is used, the limit is what it has"
                )
            }
            Shortage::NoSegment { used: None, errno } => {
                write!(f, "there is no space for the next log segment (errno {errno})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_counts_as_df_does() {
        let used = |used, free| Volume { total: 1_000, used, free, ..Volume::default() }.used_percent();
        assert_eq!((used(0, 1_000), used(1, 999), used(100, 900)), (Some(0), Some(1), Some(10)));
        assert_eq!(used(900, 0), Some(100), "what only root may use counts as used");
        assert_eq!((used(500, 400), used(0, 0)), (Some(56), None));
        let huge = Volume { used: u64::MAX, free: u64::MAX, ..Volume::default() };
        assert_eq!((huge.used_percent(), huge.excess(100, 5)), (Some(50), 0));
    }

    #[test]
    fn producers_are_refused_above_the_level_and_without_a_segment() {
        let volume = Volume { total: 100, used: 90, free: 10, ..Volume::default() };
        assert_eq!(Shortage::of(&volume, 90), None);
        let over = Shortage::of(&Volume { used: 91, free: 9, ..volume }, 90);
        assert_eq!(over, Some(Shortage::Level { used: 91, limit: 90 }));
        let none = Shortage::of(&Volume { no_segment: Some(28), ..volume }, 90);
        assert_eq!(none, Some(Shortage::NoSegment { used: Some(90), errno: 28 }));
    }
}
