//! Wall time that does not jump: what delays are measured in.
//!
//! Owns the distance between the monotonic clock and this one. It is fixed when the process first asks, from the wall
//! clock, and kept from then on: when the wall clock is set, no delay becomes shorter or longer. The distance to the
//! wall clock (the drift) is stored with the delays, so that a restart goes on where the last process was instead of
//! where somebody set the wall clock to. What the wall clock does while no process runs cannot be told.
//! Never reads a clock: both come in `Now`.

use crate::event::Now;

/// A drift that changed by less is not worth a record: delays are promised to the millisecond while the process runs,
/// and to this over a restart.
const DRIFT_STEP_MS: u64 = 100;

/// Largest drift and time believed, ms: 9,000 years either way. Beyond lies nonsense that would overflow sums.
pub const STEADY_MAX_MS: i64 = 1 << 48;

/// The steady clock of one shard.
#[derive(Debug, Default)]
pub struct Steady {
    /// Steady milliseconds minus mono milliseconds; `None` until first asked.
    ahead_ms: Option<i64>,
    /// Steady minus wall, as the last process left it.
    drift_ms: i64,
    /// The clock starts here at least: it must not show again what it showed before.
    floor_ms: i64,
}

impl Steady {
    /// A clock that goes on with a drift read from disk.
    pub fn resume(drift_ms: i64) -> Self {
        Steady { ahead_ms: None, drift_ms: drift_ms.clamp(-STEADY_MAX_MS, STEADY_MAX_MS), floor_ms: 0 }
    }

    /// The clock has shown `ms` in an earlier life. Only before it is first asked.
    pub fn not_before(&mut self, ms: i64) {
        assert!(self.ahead_ms.is_none(), "a running clock is not set");
        self.floor_ms = self.floor_ms.max(ms.min(STEADY_MAX_MS));
    }

    /// Milliseconds now, rounded down.
    pub fn now_ms(&mut self, now: Now) -> i64 {
        let mono_ms = mono_ms(now.mono_us);
        let Steady { ahead_ms, drift_ms, floor_ms } = self;
        let begin = || now.wall_ms.saturating_add(*drift_ms).max(*floor_ms).min(STEADY_MAX_MS) - mono_ms;
        mono_ms.saturating_add(*ahead_ms.get_or_insert_with(begin))
    }

    /// The first whole millisecond at which `ms` milliseconds will have passed in full.
    pub fn after_ms(&mut self, now: Now, ms: u64) -> i64 {
        let begun = i64::from(!now.mono_us.is_multiple_of(1_000));
        self.now_ms(now).saturating_add(begun).saturating_add_unsigned(ms)
    }

    /// The mono time, microseconds, at which the clock reaches `ms`.
    pub fn mono_us_of(&mut self, now: Now, ms: i64) -> u64 {
        let wait_ms = ms.saturating_sub(self.now_ms(now)).max(0).unsigned_abs();
        let whole = now.mono_us - now.mono_us % 1_000;
        whole.saturating_add(wait_ms.saturating_mul(1_000))
    }

    /// The drift, when it has changed enough since it was last stored. Who stores it says so by
    /// [`Steady::drift_stored`].
    pub fn drift_to_store(&mut self, now: Now) -> Option<i64> {
        let drift_ms = self.now_ms(now).saturating_sub(now.wall_ms);
        Some(drift_ms).filter(|drift_ms| drift_ms.abs_diff(self.drift_ms) >= DRIFT_STEP_MS)
    }

    /// The drift is in the log.
    pub fn drift_stored(&mut self, drift_ms: i64) {
        self.drift_ms = drift_ms;
    }

    /// The drift that was stored last.
    pub fn stored_drift_ms(&self) -> i64 {
        self.drift_ms
    }
}

fn mono_ms(mono_us: u64) -> i64 {
    // 2^63 milliseconds are more than the mono clock can count.
    i64::try_from(mono_us / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, mono_us: u64) -> Now {
        Now { wall_ms, mono_us }
    }

    #[test]
    fn it_follows_the_mono_clock_from_the_wall_clock_on() {
        let mut steady = Steady::default();
        assert_eq!(steady.now_ms(at(1_000_000, 5_000)), 1_000_000);
        assert_eq!(steady.now_ms(at(9_000_000, 7_999)), 1_000_002, "the wall clock jumped, two milliseconds passed");
        assert_eq!(steady.now_ms(at(0, 8_000)), 1_000_003);
    }

    #[test]
    fn a_delay_is_never_cut_short_by_rounding() {
        let mut steady = Steady::default();
        let now = at(1_000, 5_999);
        let due = steady.after_ms(now, 10);
        let wake = steady.mono_us_of(now, due);
        assert!(wake >= 5_999 + 10_000);
        assert_eq!(steady.now_ms(at(0, wake)), due);
        assert!(steady.now_ms(at(0, wake - 1)) < due);
        assert_eq!(steady.mono_us_of(now, 0), 5_000, "what is over is due at once");
    }

    #[test]
    fn a_restart_goes_on_with_the_drift_and_never_before_the_floor() {
        let mut first = Steady::default();
        assert_eq!(first.drift_to_store(at(1_000_000, 0)), None);
        // Somebody sets the wall clock an hour forward.
        assert_eq!(first.drift_to_store(at(4_600_050, 50_000)), Some(-3_600_000));
        first.drift_stored(-3_600_000);
        assert_eq!(first.drift_to_store(at(4_600_060, 60_000)), None, "it is stored once");
        let mut second = Steady::resume(first.stored_drift_ms());
        assert_eq!(second.now_ms(at(4_600_100, 0)), 1_000_100);
        let mut third = Steady::resume(0);
        third.not_before(5_000);
        assert_eq!(third.now_ms(at(10, 77_000)), 5_000, "the wall clock went back while nobody ran");
    }

    #[test]
    fn nonsense_from_disk_does_not_overflow() {
        let mut steady = Steady::resume(i64::MIN);
        steady.not_before(i64::MAX);
        let now = at(i64::MAX, u64::MAX);
        let due = steady.after_ms(now, u64::MAX);
        assert!(due >= steady.now_ms(now));
        assert!(steady.mono_us_of(now, due) >= now.mono_us - now.mono_us % 1_000);
    }
}
