//! The live line and the intervals behind it.
//!
//! Owns what happened in each second. On a terminal the line is rewritten in place, elsewhere each second has its
//! own; it always goes to stderr, so that stdout holds nothing but the result.

use std::io::{IsTerminal, Write};

use hdrhistogram::Histogram;

use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::ledger::Course;
use crate::report::{duration_text, grouped};
use crate::tally::Tally;

/// How long to wait for the slowest thread's report after a second has passed.
const GRACE: Nanos = 50 * MILLISECOND;

/// One second of a run.
pub struct Interval {
    /// Since the run began to measure; seconds of warm-up are not kept.
    pub start: Nanos,
    pub length: Nanos,
    pub latency: Histogram<u64>,
}

/// Gathers the intervals and prints them.
pub struct Progress {
    course: Course,
    current: Tally,
    started: Nanos,
    with_acks: bool,
    quiet: bool,
    terminal: bool,
    line_open: bool,
    kept: Vec<Interval>,
}

impl Progress {
    pub fn new(course: Course, quiet: bool, with_acks: bool) -> Progress {
        Progress {
            course,
            current: Tally::new(with_acks),
            started: course.clock.now(),
            with_acks,
            quiet,
            terminal: std::io::stderr().is_terminal(),
            line_open: false,
            kept: Vec::new(),
        }
    }

    /// Adds one thread's interval.
    pub fn add(&mut self, tally: &Tally) {
        self.current.add(tally);
    }

    /// Prints when a second has passed.
    pub fn tick(&mut self, now: Nanos) {
        if now >= self.started + SECOND + GRACE {
            self.close_interval(now);
        }
    }

    /// The intervals measured, after the last one.
    pub fn finish(mut self, now: Nanos) -> Vec<Interval> {
        if now > self.started + SECOND / 10 {
            self.close_interval(now);
        }
        if self.line_open {
            eprintln!();
        }
        self.kept
    }

    fn close_interval(&mut self, now: Nanos) {
        let tally = std::mem::replace(&mut self.current, Tally::new(self.with_acks));
        let started = std::mem::replace(&mut self.started, now);
        if !self.quiet {
            self.print(&live_line(&tally, self.course.begin, started, now));
        }
        if now > self.course.begin && !tally.latency.is_empty() {
            let start = started.saturating_sub(self.course.begin);
            self.kept.push(Interval { start, length: now - started, latency: tally.latency });
        }
    }

    fn print(&mut self, line: &str) {
        let mut err = std::io::stderr().lock();
        // Nothing to be done when stderr is gone.
        let _ = if self.terminal { write!(err, "\r\x1b[K{line}") } else { writeln!(err, "{line}") };
        let _ = err.flush();
        self.line_open = self.terminal;
    }
}

/// One second in one line.
fn live_line(tally: &Tally, begin: Nanos, started: Nanos, now: Nanos) -> String {
    let seconds = (now - started) as f64 / SECOND as f64;
    if tally.messages == 0 && now <= begin + SECOND {
        let rate = tally.warmup_messages as f64 / seconds;
        return format!("warming up  {:>12} msg/s   errors {}", grouped(rate as u64), tally.warmup_errors);
    }
    let messages = (tally.messages + tally.warmup_messages) as f64 / seconds;
    let p99 = if tally.latency.is_empty() { "-".into() } else { duration_text(tally.latency.value_at_quantile(0.99)) };
    format!(
        "{:>5.0} s  {:>12} msg/s  {:>9.1} MB/s   p99 {p99:>9}   errors {}",
        now.saturating_sub(begin) as f64 / SECOND as f64,
        grouped(messages as u64),
        tally.bytes as f64 / 1e6 / seconds,
        tally.failures() + tally.warmup_errors,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_rates_per_second() {
        let mut tally = Tally::new(false);
        for _ in 0..1_000 {
            tally.done(2, 2_048, 250_000, 5);
        }
        tally.failed(2, 3, String::new);
        let line = live_line(&tally, 0, 2 * SECOND, 4 * SECOND);
        assert!(line.contains("1,000 msg/s") && line.contains("1.0 MB/s"), "{line}");
        assert!(line.contains("p99  0.250 ms") && line.ends_with("errors 3"), "{line}");
    }

    #[test]
    fn warm_up_says_so() {
        let mut tally = Tally::new(false);
        tally.warmup_messages = 500;
        assert!(live_line(&tally, 9 * SECOND, 0, SECOND).starts_with("warming up"));
    }
}
