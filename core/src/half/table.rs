//! The half messages that nobody has decided about yet, in the order in which they are to be checked.
//!
//! Owns what a decision and a check need to know of each: where it lies, how often it was asked about, since when it
//! waits. A decided half message is not here, so everything costs what is undecided and never what was.
//! Never reads a message, never asks a producer.

use std::collections::{BTreeMap, BTreeSet};

use ringmq_protocol::offset::Position;

/// How long a half message waits for its first check, and between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// transactionTimeOut.
    pub first_ms: u64,
    /// transactionCheckInterval.
    pub again_ms: u64,
}

/// One undecided half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecided {
    /// Its number in the half topic's queue (tranStateTableOffset).
    pub queue_offset: u64,
    /// How often its producer was asked.
    pub checks: u32,
    /// CHECK_IMMUNITY_TIME_IN_SECONDS in milliseconds: the wait for the first check instead of [`Pace::first_ms`].
    pub immunity_ms: Option<u64>,
    /// Steady time of the last check, or of its arrival. `None` from a restart until the clock is asked: waits begin anew
    /// then, as nobody could have answered meanwhile.
    since_ms: Option<i64>,
}

impl Undecided {
    /// One that just arrived, or was found in the log.
    pub fn new(queue_offset: u64, immunity_ms: Option<u64>) -> Self {
        Undecided { queue_offset, checks: 0, immunity_ms, since_ms: None }
    }

    fn due_ms(&self, pace: Pace, now_ms: i64) -> i64 {
        let wait = match self.checks {
            0 => self.immunity_ms.unwrap_or(pace.first_ms),
            _ => pace.again_ms,
        };
        self.since_ms.unwrap_or(now_ms).saturating_add_unsigned(wait)
    }
}

/// All undecided half messages of one shard.
#[derive(Debug, Default)]
pub struct Table {
    undecided: BTreeMap<Position, Undecided>,
    /// (due, position) of every one whose `since_ms` is known.
    order: BTreeSet<(i64, Position)>,
    pace: Pace,
}

impl Table {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.undecided.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.undecided.is_empty()
    }

    /// The undecided one at this position.
    pub fn get(&self, position: Position) -> Option<&Undecided> {
        self.undecided.get(&position)
    }

    /// All of them in log order.
    pub fn iter(&self) -> impl Iterator<Item = (Position, &Undecided)> {
        self.undecided.iter().map(|(position, half)| (*position, half))
    }

    /// Adds one whose wait begins with the next [`Table::set_pace`]: it was found in the log.
    pub fn found(&mut self, position: Position, half: Undecided) {
        self.undecided.insert(position, half);
    }

    /// Adds one that arrives now.
    pub fn arrived(&mut self, position: Position, half: Undecided, now_ms: i64) {
        let half = Undecided { since_ms: Some(now_ms), ..half };
        self.order.insert((half.due_ms(self.pace, now_ms), position));
        self.undecided.insert(position, half);
    }

    /// It was decided, or given up. `None` if it was before.
    pub fn settle(&mut self, position: Position) -> Option<Undecided> {
        let half = self.undecided.remove(&position)?;
        if let Some(since_ms) = half.since_ms {
            self.order.remove(&(half.due_ms(self.pace, since_ms), position));
        }
        Some(half)
    }

    /// Says how long to wait; everything is ordered anew when that changed. `now_ms` is when waits begin that have none yet.
    pub fn set_pace(&mut self, pace: Pace, now_ms: i64) {
        if self.pace == pace && self.order.len() == self.undecided.len() {
            return;
        }
        self.pace = pace;
        self.order.clear();
        for (position, half) in &mut self.undecided {
            half.since_ms.get_or_insert(now_ms);
            self.order.insert((half.due_ms(pace, now_ms), *position));
        }
    }

    /// When the next one is to be checked.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.order.first().map(|(due_ms, _)| *due_ms)
    }

    /// The next one that is due, counted as checked once more. Its wait starts again.
    pub fn take_due(&mut self, now_ms: i64) -> Option<(Position, Undecided)> {
        let (due_ms, position) = *self.order.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.order.pop_first();
        let half = self.undecided.get_mut(&position).expect("only undecided ones are ordered");
        half.since_ms = Some(now_ms);
        half.checks = half.checks.saturating_add(1);
        self.order.insert((half.due_ms(self.pace, now_ms), position));
        Some((position, *half))
    }

    /// Recovery found how often one was asked about.
    pub fn found_checks(&mut self, position: Position, checks: u32) {
        if let Some(half) = self.undecided.get_mut(&position) {
            assert!(half.since_ms.is_none(), "nothing is asked during recovery");
            half.checks = checks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { first_ms: 60, again_ms: 300 };

    fn table() -> Table {
        let mut table = Table::default();
        table.set_pace(PACE, 0);
        table.arrived(Position(100), Undecided::new(0, None), 1_000);
        table.arrived(Position(200), Undecided::new(1, Some(500)), 1_000);
        table
    }

    fn due(table: &mut Table, now_ms: i64) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| table.take_due(now_ms)).map(|(position, half)| (position.0, half.checks)).collect()
    }

    #[test]
    fn the_first_wait_is_the_timeout_or_the_immunity() {
        let mut table = table();
        assert_eq!(table.next_due_ms(), Some(1_060));
        assert_eq!(due(&mut table, 1_059), []);
        assert_eq!(due(&mut table, 1_060), [(100, 1)]);
        assert_eq!(due(&mut table, 1_500), [(100, 2), (200, 1)]);
        assert_eq!(table.next_due_ms(), Some(1_800));
    }

    #[test]
    fn what_is_decided_is_not_checked() {
        let mut table = table();
        assert_eq!(table.settle(Position(100)).map(|half| half.queue_offset), Some(0));
        assert_eq!(table.settle(Position(100)), None, "it was decided already");
        assert_eq!(due(&mut table, 10_000), [(200, 1)]);
        assert!(table.settle(Position(200)).is_some() && table.is_empty());
        assert_eq!(table.next_due_ms(), None);
    }

    #[test]
    fn a_changed_pace_counts_for_those_that_wait() {
        let mut table = table();
        table.set_pace(Pace { first_ms: 10, again_ms: 20 }, 1_005);
        assert_eq!(due(&mut table, 1_010), [(100, 1)]);
        assert_eq!(due(&mut table, 1_030), [(100, 2)]);
        table.set_pace(PACE, 1_031);
        assert_eq!(table.next_due_ms(), Some(1_330));
    }

    #[test]
    fn after_a_restart_waits_begin_when_the_clock_is_asked() {
        let mut table = Table::default();
        table.found(Position(100), Undecided::new(7, None));
        table.found(Position(300), Undecided::new(9, None));
        table.found_checks(Position(300), 4);
        table.found_checks(Position(301), 4);
        assert_eq!(table.next_due_ms(), None);
        assert!(table.settle(Position(100)).is_some());
        table.found(Position(400), Undecided::new(10, None));
        table.set_pace(PACE, 50);
        assert_eq!(table.next_due_ms(), Some(110));
        assert_eq!(due(&mut table, 400), [(400, 1), (300, 5)]);
    }
}
