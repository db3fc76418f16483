//! What a run counted: messages, bytes, errors by code, latencies.
//!
//! Owns the figures of one thread over one interval and how they add up. It never prints and never reads a clock.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ringmq_protocol::response_code::ResponseCode;

use crate::check::Findings;
use crate::clock::{Nanos, SECOND};

/// Longest latency a histogram tells apart; longer ones count as this.
const LONGEST: Nanos = 3_600 * SECOND;

/// Digits kept of each latency: 0.1 % exact over the whole range.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Our own reasons beside RocketMQ's response codes; far outside their range.
pub mod local_code {
    pub const NO_ANSWER: i32 = -900_001;
    pub const CONNECTION_LOST: i32 = -900_002;
    pub const NOT_RECEIVED: i32 = -900_003;
    pub const UNREADABLE: i32 = -900_004;
}

/// The name of a response code (RocketMQ's, or one of ours), or nothing for one without a name.
pub fn code_name(code: i32) -> &'static str {
    match code {
        local_code::NO_ANSWER => "no answer in time",
        local_code::CONNECTION_LOST => "connection lost",
        local_code::NOT_RECEIVED => "acknowledged, never received",
        local_code::UNREADABLE => "unreadable answer",
        _ => ResponseCode::from_i32(code).map_or("", ResponseCode::name),
    }
}

/// A histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, SIGNIFICANT_DIGITS).expect("the bounds are constants and valid")
}

/// How often a code came, and what one of its remarks said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCount {
    pub count: u64,
    pub sample: String,
}

/// Counts of one thread in one interval, or of everything together.
#[derive(Clone)]
pub struct Tally {
    /// Messages done: acknowledged when sending, received when consuming.
    pub messages: u64,
    /// Payload bytes of those messages (bodies, without headers and properties).
    pub bytes: u64,
    /// The main latency: of the answer when sending, of a pull when consuming, end to end for e2e.
    pub latency: Histogram<u64>,
    /// e2e only: messages acknowledged, and how long that took.
    pub acknowledged: u64,
    pub ack_latency: Option<Histogram<u64>>,
    /// Messages and failures before measuring began; counted nowhere else.
    pub warmup_messages: u64,
    pub warmup_errors: u64,
    /// Messages that were due in an open loop and never sent, because the broker kept up less than the rate.
    pub unsent: u64,
    /// Answers to requests nobody waited for any more.
    pub stray: u64,
    pub errors: BTreeMap<i32, ErrorCount>,
    pub findings: Findings,
    /// When the last counted message was done.
    pub last_done: Nanos,
}

impl Tally {
    /// Nothing counted yet; `with_acks` when acknowledgements are counted beside the messages.
    pub fn new(with_acks: bool) -> Tally {
        Tally {
            messages: 0,
            bytes: 0,
            latency: histogram(),
            acknowledged: 0,
            ack_latency: with_acks.then(histogram),
            warmup_messages: 0,
            warmup_errors: 0,
            unsent: 0,
            stray: 0,
            errors: BTreeMap::new(),
            findings: Findings::default(),
            last_done: 0,
        }
    }

    /// Counts `messages` with `bytes` of payload, all done at `now` after `latency`.
    #[inline]
    pub fn done(&mut self, messages: u64, bytes: u64, latency: Nanos, now: Nanos) {
        self.messages += messages;
        self.bytes += bytes;
        self.latency.saturating_record(latency.max(1));
        self.last_done = now;
    }

    /// Counts an acknowledgement beside the messages (e2e).
    pub fn acknowledged(&mut self, messages: u64, latency: Nanos) {
        self.acknowledged += messages;
        if let Some(histogram) = &mut self.ack_latency {
            histogram.saturating_record(latency.max(1));
        }
    }

    /// Counts `count` failures with `code`; the first remark of a code is kept as its sample.
    pub fn failed(&mut self, code: i32, count: u64, remark: impl FnOnce() -> String) {
        let error = self.errors.entry(code).or_default();
        if error.count == 0 {
            error.sample = remark();
        }
        error.count += count;
    }

    /// How many failures there were.
    pub fn failures(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Adds the figures of `other`.
    pub fn add(&mut self, other: &Tally) {
        let Tally {
            messages,
            bytes,
            latency,
            acknowledged,
            ack_latency,
            warmup_messages,
            warmup_errors,
            unsent,
            stray,
            errors,
            findings,
            last_done,
        } = other;
        self.messages += messages;
        self.bytes += bytes;
        self.latency.add(latency).expect("every histogram here has the same bounds");
        self.acknowledged += acknowledged;
        match (&mut self.ack_latency, ack_latency) {
            (Some(ours), Some(theirs)) => ours.add(theirs).expect("every histogram here has the same bounds"),
            (None, Some(theirs)) => self.ack_latency = Some(theirs.clone()),
            (_, None) => {}
        }
        self.warmup_messages += warmup_messages;
        self.warmup_errors += warmup_errors;
        self.unsent += unsent;
        self.stray += stray;
        for (code, error) in errors {
            let ours = self.errors.entry(*code).or_default();
            if ours.count == 0 {
                ours.sample.clone_from(&error.sample);
            }
            ours.count += error.count;
        }
        self.findings.add(findings);
        self.last_done = self.last_done.max(*last_done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally::new(false);
        for turn in 1..=3u64 {
            let mut part = Tally::new(true);
            part.done(32, 32 << 10, turn * 1_000, turn);
            part.acknowledged(32, 500);
            part.failed(2, turn, || format!("busy {turn}"));
            part.stray = 1;
            sum.add(&part);
        }
        assert_eq!((sum.messages, sum.bytes, sum.stray, sum.last_done), (96, 96 << 10, 3, 3));
        assert_eq!(sum.latency.len(), 3);
        assert_eq!(sum.errors[&2], ErrorCount { count: 6, sample: "busy 1".into() });
        assert_eq!((sum.acknowledged, sum.ack_latency.expect("from a part").len()), (96, 3));
    }

    #[test]
    fn endless_latencies_are_kept_at_the_limit() {
        let mut tally = Tally::new(false);
        tally.done(1, 1, u64::MAX, 1);
        assert!(tally.latency.max() >= LONGEST);
    }
}
