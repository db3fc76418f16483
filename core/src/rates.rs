//! Messages per second over the last 10, 60 and 600 seconds, without a timer.
//!
//! Owns three decaying averages per counter. They are brought up to date when somebody asks; whoever asks rarely gets the
//! average since he asked last, which is what he can tell apart. Whole numbers, so that two runs agree bit for bit.

use crate::event::Now;

/// The windows, in seconds: what RocketMQ's putTps and getTransferredTps show.
const WINDOWS_S: [u64; 3] = [10, 60, 600];

/// Below this many microseconds since the last look nothing is learnt.
const LEAST_US: u64 = 100_000;

/// The rates of one counter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    seen_us: u64,
    seen: u64,
    /// Per 1,000 seconds.
    milli: [u64; 3],
}

impl Rates {
    /// Takes the counter's value into account; answers events per 1,000 seconds over the windows.
    pub fn look(&mut self, now: Now, count: u64) -> [u64; 3] {
        let passed = now.mono_us.saturating_sub(self.seen_us);
        if passed < LEAST_US {
            return self.milli;
        }
        let events = count.saturating_sub(self.seen);
        let current = u128::from(events) * 1_000_000_000 / u128::from(passed);
        let current = u64::try_from(current).unwrap_or(u64::MAX);
        for (milli, window) in self.milli.iter_mut().zip(WINDOWS_S) {
            *milli = blend(*milli, current, passed, window * 1_000_000);
        }
        self.seen_us = now.mono_us;
        self.seen = count;
        self.milli
    }
}

/// The average after `passed` of a window: the old one fades linearly and is gone after the whole window.
fn blend(old: u64, current: u64, passed: u64, window: u64) -> u64 {
    let weight = u128::from(passed.min(window));
    let window = u128::from(window);
    let mixed = (u128::from(old) * (window - weight) + u128::from(current) * weight) / window;
    u64::try_from(mixed).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall_ms: 0, mono_us: seconds * 1_000_000 }
    }

    #[test]
    fn a_steady_stream_shows_in_each_window_in_its_time() {
        let mut rates = Rates::default();
        let mut seen = [0; 3];
        for second in 1..=60 {
            seen = rates.look(at(second), second * 500);
        }
        assert!(seen[0] > 490_000 && seen[1] > 300_000 && seen[2] < 60_000, "{seen:?}");
        let idle = rates.look(at(120), 60 * 500);
        assert_eq!((idle[0], idle[1]), (0, 0));
    }

    #[test]
    fn asking_again_at_once_tells_the_same() {
        let mut rates = Rates::default();
        let first = rates.look(at(10), 1_000);
        assert_eq!(rates.look(Now { wall_ms: 0, mono_us: 10_000_001 }, 5_000), first);
        assert_eq!(first[0], 100_000);
    }
}
