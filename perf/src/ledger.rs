//! What one load thread writes its results into.
//!
//! Owns the thread's current interval and sends it to the reporting thread once a second, so that the load
//! threads share no histogram and no lock. It decides what counts: a message belongs to the measurement when it
//! was meant to be sent within it, however late its answer came.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;

use crate::clock::{Clock, Nanos, SECOND};
use crate::engine::in_flight::Pending;
use crate::tally::Tally;

/// How often a thread hands over its interval.
const INTERVAL: Nanos = SECOND;

/// The times of a run; the same for every thread.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub clock: Clock,
    /// When an open loop's first request is due.
    pub start: Nanos,
    /// When measuring begins; before it is warm-up.
    pub begin: Nanos,
    /// When the last request is sent.
    pub end: Nanos,
    /// How long an answer may take.
    pub timeout: Nanos,
}

/// What the threads of a run tell each other; counters and flags only.
#[derive(Default)]
pub struct Shared {
    stop: AtomicBool,
    halted: Mutex<Option<String>>,
    /// e2e: messages acknowledged and messages received so far, and the threads that may still send.
    pub acknowledged: AtomicU64,
    pub received: AtomicU64,
    pub sending: AtomicU32,
}

impl Shared {
    /// Asks every thread to send nothing more, wait for what is under way, and finish.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the run early, with the reason; the first reason stays.
    pub fn halt(&self, reason: String) {
        let mut halted = self.halted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        halted.get_or_insert(reason);
        self.stop();
    }

    /// Why the run ended early.
    pub fn halted(&self) -> Option<String> {
        self.halted.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// One thread's book.
pub struct Ledger {
    pub course: Course,
    tally: Tally,
    with_acks: bool,
    reports: mpsc::Sender<Tally>,
    next_report: Nanos,
}

impl Ledger {
    /// `with_acks`: messages are counted when received, and acknowledgements beside them (e2e).
    pub fn new(course: Course, with_acks: bool, reports: mpsc::Sender<Tally>) -> Ledger {
        let next_report = course.clock.now() + INTERVAL;
        Ledger { course, tally: Tally::new(with_acks), with_acks, reports, next_report }
    }

    fn measured(&self, intended: Nanos) -> bool {
        intended >= self.course.begin
    }

    /// A send was acknowledged.
    #[inline]
    pub fn sent(&mut self, pending: &Pending, messages: u64, bytes: u64, now: Nanos) {
        let latency = now.saturating_sub(pending.intended);
        match (self.measured(pending.intended), self.with_acks) {
            (true, false) => self.tally.done(messages, bytes, latency, now),
            (true, true) => self.tally.acknowledged(messages, latency),
            (false, false) => self.tally.warmup_messages += messages,
            (false, true) => {}
        }
    }

    /// `messages` arrived `latency` after they were meant to be sent, or asked for, at `intended`.
    #[inline]
    pub fn received(&mut self, intended: Nanos, messages: u64, bytes: u64, now: Nanos) {
        if self.measured(intended) {
            self.tally.done(messages, bytes, now.saturating_sub(intended), now);
        } else {
            self.tally.warmup_messages += messages;
        }
    }

    /// `count` messages meant for `intended` failed.
    pub fn failed(&mut self, intended: Nanos, code: i32, count: u64, remark: impl FnOnce() -> String) {
        if self.measured(intended) {
            self.tally.failed(code, count, remark);
        } else {
            self.tally.warmup_errors += count;
        }
    }

    /// The counts that need no decision.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Hands over the interval when it is time.
    pub fn report(&mut self, now: Nanos) {
        if now >= self.next_report {
            self.next_report = now + INTERVAL;
            self.hand_over();
        }
    }

    /// Hands over what is left.
    pub fn close(mut self) {
        self.hand_over();
    }

    fn hand_over(&mut self) {
        let interval = std::mem::replace(&mut self.tally, Tally::new(self.with_acks));
        // Nobody listens any more when the run was aborted; then there is nobody to tell either.
        let _ = self.reports.send(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(with_acks: bool) -> (Ledger, mpsc::Receiver<Tally>) {
        let (reports, intervals) = mpsc::channel();
        let course = Course { clock: Clock::start(), start: 0, begin: 1_000, end: 9_000, timeout: 500 };
        (Ledger::new(course, with_acks, reports), intervals)
    }

    fn pending(intended: Nanos) -> Pending {
        Pending { slot: 0, intended, sent: intended + 5 }
    }

    #[test]
    fn warm_up_is_not_measured() {
        let (mut ledger, intervals) = ledger(false);
        ledger.sent(&pending(999), 1, 128, 1_200);
        ledger.failed(999, 2, 1, String::new);
        ledger.sent(&pending(1_000), 1, 128, 1_200);
        ledger.failed(1_001, 2, 3, || "busy".into());
        ledger.close();
        let tally = intervals.recv().expect("handed over");
        assert_eq!((tally.messages, tally.warmup_messages), (1, 1));
        assert_eq!((tally.failures(), tally.warmup_errors), (3, 1));
        assert_eq!(tally.latency.max(), 200);
    }

    #[test]
    fn latency_counts_from_the_intended_time() {
        let (mut ledger, intervals) = ledger(true);
        ledger.sent(&pending(2_000), 1, 128, 2_300);
        ledger.received(2_000, 1, 128, 2_900);
        ledger.close();
        let tally = intervals.recv().expect("handed over");
        assert_eq!(tally.ack_latency.expect("counted").max(), 300);
        assert_eq!((tally.latency.max(), tally.messages, tally.acknowledged), (900, 1, 1));
    }

    #[test]
    fn the_first_reason_stays() {
        let shared = Shared::default();
        shared.halt("one".into());
        shared.halt("two".into());
        assert_eq!((shared.halted(), shared.stopping()), (Some("one".into()), true));
    }
}
