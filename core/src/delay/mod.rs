//! Messages that are delivered later: delay levels and timers.
//!
//! A delayed message is stored in the topic SCHEDULE_TOPIC_XXXX of the shard that owns its real queue: level n in queue
//! n - 1, timers in a queue of their own. Each shard has all of these queues; no client can send to them. When it is
//! due, it is stored once more, in its real queue ([`deliver`]).
//!
//! **Exactly once.** Messages are delivered in the order (due time, position), so one mark says what is done, and every
//! message added later is due after the mark ([`steady`] never shows a time twice). The record that is delivered carries
//! its own mark: the due time as TIMER_OUT_MS and the position of the schedule's record as preparedTransactionOffset. So
//! delivering and remembering it is one record, which a recovered log either has or has not. What waits is rebuilt at the
//! start from the entries of the schedule queues: everything beyond the mark. A queue entry carries the delay where others
//! carry the tags' hash, so no record need be read for that.
//!
//! **Never early.** Times are those of the steady clock, which no setting of the wall clock moves.
//!
//! Owns the schedule, its clock and its progress. Never decides who may send, never waits for the disk.

pub mod deliver;
pub mod progress;
pub mod schedule;
pub mod steady;
pub mod wish;

use ringmq_protocol::offset::Position;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::RecordRef;
use ringmq_protocol::response_code::ResponseCode;

pub use deliver::deliver_due;
pub use wish::Wish;

use crate::effects::Refusal;
use crate::event::Now;
use crate::limits::{CLOCK_LOOK_EVERY_MS, DELAYED_MAX};
use schedule::{Due, Schedule};
use steady::Steady;

/// Where delayed messages wait.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// The queue of messages with a time of their own. Beyond the levels' queues, which number 64 at most, and invisible:
/// the topic's configuration knows the levels only.
pub const TIMER_QUEUE: u32 = 1_000;

/// Properties of a message that its record in the schedule sets anew or that must not pass.
pub const OWN_PROPERTIES: &[&str] = &[names::REAL_TOPIC, names::REAL_QID, names::TIMER_OUT_MS];

/// The delayed messages of one shard.
#[derive(Debug, Default)]
pub struct Delay {
    /// Delay of each level, level 1 first.
    levels_ms: Vec<u64>,
    clock: Steady,
    schedule: Schedule,
    /// Due messages whose bytes are being read.
    reading: Option<Vec<Due>>,
    /// The last read failed: the next one asks for one message only, to find the one that cannot be read.
    suspicious: bool,
    /// How often in a row the message that is due could not be read.
    failures: u32,
    /// The record being delivered, reused.
    scratch: Vec<u8>,
}

/// Where and when a delayed message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Queue of the schedule.
    pub queue: u32,
    /// Store time of its record, steady milliseconds.
    pub stored_ms: i64,
    /// When it is due, steady milliseconds.
    pub due_ms: i64,
}

impl Stay {
    /// What the queue entry carries: due time minus store time.
    pub fn entry_code(&self) -> i32 {
        // Both limits on delays are far below 2^31 ms.
        i32::try_from(self.due_ms - self.stored_ms).expect("delays are limited where they come in")
    }
}

impl Delay {
    /// Nothing is delayed yet. `levels_ms` is the delay of each level, level 1 first.
    pub fn new(levels_ms: Vec<u64>) -> Self {
        Delay { levels_ms, ..Delay::default() }
    }

    /// The delay of each level, level 1 first.
    pub fn levels_ms(&self) -> &[u64] {
        &self.levels_ms
    }

    /// The levels were set anew; messages that wait keep their times.
    pub fn set_levels(&mut self, levels_ms: Vec<u64>) {
        self.levels_ms = levels_ms;
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.schedule.len() + self.reading.as_ref().map_or(0, Vec::len)
    }

    /// The first position below `to` at which a message waits.
    pub fn oldest_below(&mut self, to: Position) -> Option<Position> {
        let reading = self.reading.iter().flatten().map(|due| due.position).min();
        reading.into_iter().chain(self.schedule.oldest_below(to)).min().filter(|position| *position < to)
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The steady clock; half messages are checked by it, too.
    pub fn clock(&mut self) -> &mut Steady {
        &mut self.clock
    }

    /// Where a message that wants to be delivered later waits.
    ///
    /// # Errors
    /// SYSTEM_BUSY at the limit of waiting messages.
    pub fn stay(&mut self, now: Now, wish: Wish) -> Result<Stay, Refusal> {
        if self.len() >= DELAYED_MAX {
            return Err(Refusal::new(
                ResponseCode::SystemBusy,
                format!(
                    "{DELAYED_MAX} delayed messages wait on this shard already; send again when some were delivered"
                ),
            ));
        }
        let (queue, delay_ms) = match wish {
            Wish::Level { level, delay_ms } => (level - 1, delay_ms),
            Wish::Timer { delay_ms } => (TIMER_QUEUE, delay_ms),
        };
        let stored_ms = self.clock.now_ms(now);
        Ok(Stay { queue, stored_ms, due_ms: self.clock.after_ms(now, delay_ms) })
    }

    /// A message was stored where [`Delay::stay`] said. Returns when the duty must run, mono microseconds.
    pub fn add(&mut self, now: Now, stay: &Stay, position: Position, size: u32) -> u64 {
        self.schedule.add(Due { at_ms: stay.due_ms, position, size });
        self.wake(now).unwrap_or(now.mono_us)
    }

    /// When the duty must run, mono microseconds: when the first message is due, and now and then to notice that somebody
    /// set the wall clock, which a restart must know. `None` while nothing waits.
    fn wake(&mut self, now: Now) -> Option<u64> {
        let first = self.schedule.first()?;
        Some(self.clock.mono_us_of(now, first.at_ms).min(now.after_ms(CLOCK_LOOK_EVERY_MS)))
    }
}

/// What the queue entry of a record in the schedule carries instead of the tags' hash: the delay in milliseconds. `None` for
/// every other record. For recovery, which makes entries out of records.
pub fn entry_code(record: &RecordRef<'_>) -> Option<i32> {
    if record.topic() != SCHEDULE_TOPIC {
        return None;
    }
    let due = record.property(names::TIMER_OUT_MS)?.parse::<i64>().ok()?;
    i32::try_from(due.checked_sub(record.store_timestamp())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_is_in_the_queue_of_its_level_until_its_time() {
        let mut delay = Delay::new(vec![1_000, 5_000]);
        let now = Now { wall_ms: 70_000, mono_us: 10_000 };
        let stay = delay.stay(now, Wish::Level { level: 2, delay_ms: 5_000 }).expect("there is room");
        assert_eq!(stay, Stay { queue: 1, stored_ms: 70_000, due_ms: 75_000 });
        assert_eq!(stay.entry_code(), 5_000);
        assert_eq!(delay.add(now, &stay, Position(40), 100), 1_010_000, "it looks at the wall clock in between");
        let later = Now { wall_ms: 0, mono_us: 11_500 };
        let stay = delay.stay(later, Wish::Timer { delay_ms: 7 }).expect("there is room");
        assert_eq!(stay, Stay { queue: TIMER_QUEUE, stored_ms: 70_001, due_ms: 70_009 });
        assert_eq!(delay.len(), 1);
    }
}
