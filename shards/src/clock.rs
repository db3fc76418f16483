//! The two clocks, read here and nowhere else.
//!
//! Owns the making of [`Now`] and the conversion of core's deadlines into waiting times. Core never reads a clock: every
//! input carries the `Now` made here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use ringmq_core::event::Now;

/// Both clocks as they stand.
pub fn now() -> Now {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let system = SystemTime::now();
    // A clock before 1970 is a machine without a battery; messages then carry timestamp 0 and deadlines are unaffected.
    let wall = system.duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { wall_ms: wall.as_millis() as i64, mono_us: mono_us() }
}

/// Microseconds of the monotonic clock; never goes back.
pub fn mono_us() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has CLOCK_MONOTONIC");
    time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000
}

/// How long from now until a deadline of the monotonic clock; zero when it passed.
pub fn until(deadline_us: u64) -> Duration {
    Duration::from_micros(deadline_us.saturating_sub(mono_us()))
}

/// Seconds that local time is ahead of UTC now.
pub fn utc_offset_s() -> i32 {
    // SAFETY: both calls write only to what they are given; a broken time zone database counts as UTC.
    let local = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut local).is_null() {
            return 0;
        }
        local
    };
    i32::try_from(local.tm_gmtoff).unwrap_or(0)
}
