//! When messages are due.
//!
//! Owns the open-loop schedule: message `i` of a thread is due at a fixed time that no slow answer moves, and
//! latency counts from that time. A stalled broker therefore shows as latency instead of as fewer samples
//! (coordinated omission). It never reads a clock.

use crate::clock::{Nanos, SECOND};

/// A fixed rate of requests.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Nanos,
    /// Requests per second; not a whole number when a rate is split between threads.
    rate: f64,
    next: u64,
}

impl Schedule {
    /// `rate` requests per second from `start` on.
    pub fn new(start: Nanos, rate: f64) -> Schedule {
        assert!(rate > 0.0, "a rate must be positive");
        Schedule { start, rate, next: 0 }
    }

    /// When request `index` is due. Computed from the start, so rounding errors never add up.
    fn due_at(&self, index: u64) -> Nanos {
        self.start + (index as f64 * (SECOND as f64 / self.rate)) as Nanos
    }

    /// When the next request is due.
    pub fn next_due(&self) -> Nanos {
        self.due_at(self.next)
    }

    /// How many requests are due at `now` and not yet taken.
    pub fn overdue(&self, now: Nanos) -> u64 {
        if now < self.start {
            return 0;
        }
        let mut by_now = ((now - self.start) as f64 * (self.rate / SECOND as f64)) as u64;
        // The division may land on either side of a due time; `due_at` decides.
        while self.due_at(by_now) <= now {
            by_now += 1;
        }
        by_now.saturating_sub(self.next)
    }

    /// Forgets requests that were due before `time` and not taken.
    pub fn skip_to(&mut self, time: Nanos) {
        if let Some(before) = time.checked_sub(1) {
            self.next += self.overdue(before);
        }
    }

    /// Takes the next request and returns when it was due.
    pub fn take(&mut self) -> Nanos {
        let due = self.next_due();
        self.next += 1;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLISECOND;

    #[test]
    fn requests_are_due_evenly() {
        let mut schedule = Schedule::new(SECOND, 1_000.0);
        assert_eq!(schedule.overdue(SECOND - 1), 0);
        assert_eq!(schedule.overdue(SECOND), 1);
        assert_eq!(schedule.overdue(SECOND + 10 * MILLISECOND), 11);
        assert_eq!(schedule.take(), SECOND);
        assert_eq!(schedule.take(), SECOND + MILLISECOND);
        assert_eq!(schedule.overdue(SECOND + 10 * MILLISECOND), 9);
    }

    #[test]
    fn a_stall_does_not_move_the_schedule() {
        let mut schedule = Schedule::new(0, 10.0);
        for _ in 0..10 {
            schedule.take();
        }
        // Nothing was taken for nine seconds: the eleventh request was still due after one second.
        assert_eq!(schedule.overdue(10 * SECOND), 91);
        assert_eq!(schedule.take(), SECOND);
    }

    #[test]
    fn skipping_forgets_what_is_past() {
        let mut schedule = Schedule::new(SECOND, 10.0);
        schedule.skip_to(2 * SECOND);
        assert_eq!(schedule.next_due(), 2 * SECOND);
        schedule.skip_to(SECOND);
        assert_eq!(schedule.next_due(), 2 * SECOND, "never backwards");
    }

    #[test]
    fn uneven_rates_do_not_drift() {
        let schedule = Schedule::new(0, 333_333.3);
        let hour = 3_600 * SECOND;
        let expected = 333_333.3 * 3_600.0;
        assert!((schedule.overdue(hour) as f64 - expected).abs() < 2.0);
    }
}
