//! The messages that wait for their time, in the order in which they become due.
//!
//! Owns a heap of 16-byte entries (due time, position, size) and the mark up to which everything was delivered.
//! Messages are delivered in the order (due time, position) without exception, so that one mark says which of all
//! messages in the schedule queues are still to come. Never knows what a message is, never reads a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ringmq_protocol::offset::{POSITION_BITS, POSITION_LIMIT, Position};

use super::steady::STEADY_MAX_MS;

/// Bits of a record's size: the store's RECORD_MAX.
const SIZE_BITS: u32 = 24;

/// Bits of a due time: [`STEADY_MAX_MS`] and any delay.
const TIME_BITS: u32 = 128 - POSITION_BITS - SIZE_BITS;

const _: () = assert!((STEADY_MAX_MS as u128) + (i32::MAX as u128) < 1 << TIME_BITS);

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Steady milliseconds.
    pub at_ms: i64,
    /// Its record in the schedule.
    pub position: Position,
    /// The record's bytes.
    pub size: u32,
}

/// Place in the order of delivery: everything at or below the mark is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Steady milliseconds.
    pub at_ms: i64,
    pub position: Position,
}

impl Due {
    /// Its place in the order.
    pub fn mark(&self) -> Mark {
        Mark { at_ms: self.at_ms, position: self.position }
    }

    /// Due time (57 bits), position (47), size (24), most significant first: numbers order as messages do.
    fn pack(self) -> u128 {
        let Due { at_ms, position, size } = self;
        assert!((0..1 << TIME_BITS).contains(&at_ms), "times are checked where they come in");
        assert!(position.0 < POSITION_LIMIT && size < 1 << SIZE_BITS, "the store made both");
        u128::from(at_ms.unsigned_abs()) << (POSITION_BITS + SIZE_BITS)
            | u128::from(position.0) << SIZE_BITS
            | u128::from(size)
    }

    fn unpack(packed: u128) -> Self {
        Due {
            // 57 bits at most: see pack.
            at_ms: (packed >> (POSITION_BITS + SIZE_BITS)) as i64,
            position: Position((packed >> SIZE_BITS) as u64 & (POSITION_LIMIT - 1)),
            size: packed as u32 & ((1 << SIZE_BITS) - 1),
        }
    }
}

/// Everything that waits on one shard.
#[derive(Debug, Default)]
pub struct Schedule {
    waiting: BinaryHeap<Reverse<u128>>,
    passed: Mark,
    /// Nothing waits below. What is added lies further on, so this only becomes too low.
    from: Position,
}

impl Schedule {
    /// Nothing waits yet; what is at or below `passed` was delivered.
    pub fn after(passed: Mark) -> Self {
        Schedule { waiting: BinaryHeap::new(), passed, from: Position(0) }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The first position below `to` at which a message waits. Looks at all of them, unless an earlier look can tell.
    pub fn oldest_below(&mut self, to: Position) -> Option<Position> {
        if self.from < to {
            let all = self.waiting.iter().map(|Reverse(packed)| Due::unpack(*packed).position);
            self.from = all.min().unwrap_or(to);
        }
        Some(self.from).filter(|from| *from < to)
    }

    /// Everything at or below is done.
    pub fn passed(&self) -> Mark {
        self.passed
    }

    /// Adds a message.
    ///
    /// # Panics
    /// If it lies at or below the mark: it would never be delivered after a restart.
    pub fn add(&mut self, due: Due) {
        assert!(due.mark() > self.passed, "what is added becomes due after what is done");
        self.from = self.from.min(due.position);
        self.waiting.push(Reverse(due.pack()));
    }

    /// The message that is due first.
    pub fn first(&self) -> Option<Due> {
        self.waiting.peek().map(|Reverse(packed)| Due::unpack(*packed))
    }

    /// Takes the message that is due first, to be delivered now.
    pub fn take(&mut self) -> Option<Due> {
        self.waiting.pop().map(|Reverse(packed)| Due::unpack(packed))
    }

    /// A message was delivered, or is given up.
    pub fn pass(&mut self, due: Due) {
        assert!(due.mark() > self.passed, "messages are delivered in their order");
        self.passed = due.mark();
    }

    /// Puts a taken message back: it could not be delivered yet.
    pub fn put_back(&mut self, due: Due) {
        self.add(due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn due(at_ms: i64, position: u64) -> Due {
        Due { at_ms, position: Position(position), size: 100 }
    }

    #[test]
    fn packing_keeps_every_bit() {
        let extremes = [
            Due { at_ms: STEADY_MAX_MS, position: Position(POSITION_LIMIT - 1), size: (1 << SIZE_BITS) - 1 },
            Due { at_ms: 0, position: Position(0), size: 0 },
        ];
        for due in extremes {
            assert_eq!(Due::unpack(due.pack()), due);
        }
    }

    #[test]
    fn the_mark_follows_what_is_delivered() {
        let mut schedule = Schedule::default();
        schedule.add(due(20, 1));
        schedule.add(due(10, 2));
        let first = schedule.take().expect("two wait");
        assert_eq!(first, due(10, 2));
        assert_eq!(schedule.passed(), Mark::default(), "taken is not delivered");
        schedule.put_back(first);
        let first = schedule.take().expect("put back");
        schedule.pass(first);
        assert_eq!(schedule.passed(), Mark { at_ms: 10, position: Position(2) });
        assert_eq!((schedule.first(), schedule.len()), (Some(due(20, 1)), 1));
    }

    #[test]
    #[should_panic(expected = "becomes due after what is done")]
    fn nothing_is_added_behind_the_mark() {
        Schedule::after(Mark { at_ms: 10, position: Position(2) }).add(due(10, 1));
    }

    proptest! {
        #[test]
        fn the_order_is_time_then_position(entries in proptest::collection::vec((1i64..50, 1u64..1000), 0..200)) {
            let mut schedule = Schedule::default();
            for (at_ms, position) in &entries {
                schedule.add(due(*at_ms, *position));
            }
            let mut wanted = entries;
            wanted.sort_unstable();
            let mut got = Vec::new();
            while let Some(next) = schedule.take() {
                got.push((next.at_ms, next.position.0));
            }
            prop_assert_eq!(got, wanted);
        }
    }
}
