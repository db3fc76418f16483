//! Time for a run: nanoseconds since it began, and the wall clock that belongs to them.
//!
//! Owns the one anchor every thread of a run shares, so that times taken on different threads can be
//! subtracted from each other. It never steps back, even when the wall clock is set during the run.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the run's anchor.
pub type Nanos = u64;

pub const MICROSECOND: Nanos = 1_000;
pub const MILLISECOND: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000_000_000;

/// A shared anchor; copies of one clock agree on every reading.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    unix_at_anchor: Nanos,
}

impl Clock {
    /// Anchors a run at this moment.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { anchor: Instant::now(), unix_at_anchor: unix.as_nanos() as Nanos }
    }

    /// Nanoseconds since the anchor.
    pub fn now(&self) -> Nanos {
        self.anchor.elapsed().as_nanos() as Nanos
    }

    /// The wall clock at `at`, in nanoseconds since 1970, as message bodies carry it.
    pub fn unix_nanos(&self, at: Nanos) -> Nanos {
        self.unix_at_anchor + at
    }

    /// The wall clock at `at`, in milliseconds since 1970, as bornTimestamp carries it.
    pub fn unix_millis(&self, at: Nanos) -> u64 {
        self.unix_nanos(at) / MILLISECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_moves_with_the_run() {
        let clock = Clock { anchor: Instant::now(), unix_at_anchor: 1_700_000_000 * SECOND };
        assert_eq!(clock.unix_millis(1_500 * MILLISECOND), 1_700_000_001_500);
        assert_eq!(clock.unix_nanos(7) - clock.unix_nanos(0), 7);
    }
}
