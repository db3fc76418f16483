//! Log lines: plain text on standard error, one line per event.
//!
//! Owns the line's shape (UTC time, level, text). Never called on the hot path of SEND and PULL, never buffers, and never
//! fails: a broken standard error is no reason to stop a broker.

use std::fmt;
use std::io::Write;

/// How much a line matters to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Things went as they should.
    Info,
    /// Something is odd or refused; the process goes on as before.
    Warn,
    /// Something is broken until somebody acts.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Writes one line. Use through [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error).
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    let line = format!("{} {:<5} {text}\n", utc(crate::clock::now().wall_ms.unsigned_abs().into()), level.name());
    // One write per line, so that lines of several executors do not run into each other.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// One line about something that went as it should.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Info, format_args!($($arg)*)) };
}

/// One line about something odd that the process lives with.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Warn, format_args!($($arg)*)) };
}

/// One line about something broken.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Error, format_args!($($arg)*)) };
}

/// `2026-01-31T08:05:09.123Z` of milliseconds since the epoch (days to civil date after Howard Hinnant's algorithm).
pub fn utc(ms: u128) -> String {
    let (days, ms_of_day) = ((ms / 86_400_000) as i64, (ms % 86_400_000) as u32);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (s, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(utc(1_798_761_600_001), "2027-01-01T00:00:00.001Z");
    }
}
