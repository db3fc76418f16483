//! What of the delayed messages survives a restart, and how they come back.
//!
//! Owns the payloads of the checkpoint section and of the DelayClock record, and the rebuilding of the schedule from its
//! queues. The progress itself is in the delivered records (see the room's first page).
//!
//! ```text
//! section:    0 drift ms | 8 mark: due ms | 16 mark: position | 24
//! DelayClock: 0 drift ms | 8
//! ```

use ringmq_protocol::offset::{POSITION_LIMIT, Position, WireOffset};
use ringmq_protocol::properties::names;
use ringmq_protocol::record::RecordRef;
use ringmq_protocol::wire::Reader;

use super::schedule::{Due, Mark, Schedule};
use super::steady::{STEADY_MAX_MS, Steady};
use super::{Delay, SCHEDULE_TOPIC};
use crate::event::Now;
use crate::store::{Absent, CommitLog, Entry, OwnKind, OwnRecord, QueueSlot, QueueTable};

/// A payload that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadDelayState;

/// What is known of an earlier life while recovery goes on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    drift_ms: i64,
    passed: Mark,
}

impl Progress {
    /// Takes the checkpoint's section.
    ///
    /// # Errors
    /// When it is not one.
    pub fn restore(&mut self, section: &[u8]) -> Result<(), BadDelayState> {
        let mut reader = Reader::new(section);
        let read = (|| Some((reader.i64()?, reader.i64()?, reader.i64()?)))();
        let (drift_ms, at_ms, position) = read.ok_or(BadDelayState)?;
        self.drift_ms = drift_ms;
        self.pass(mark(at_ms, position).ok_or(BadDelayState)?);
        Ok(())
    }

    /// Takes a DelayClock record.
    ///
    /// # Errors
    /// When it is not one.
    pub fn clock_record(&mut self, payload: &[u8]) -> Result<(), BadDelayState> {
        self.drift_ms = Reader::new(payload).i64().ok_or(BadDelayState)?;
        Ok(())
    }

    /// Looks at a message record: if it came out of the schedule, everything up to it was delivered.
    pub fn saw(&mut self, record: &RecordRef<'_>) {
        if let Some(delivered) = delivered_mark(record) {
            self.pass(delivered);
        }
    }

    fn pass(&mut self, mark: Mark) {
        self.passed = self.passed.max(mark);
    }
}

/// The mark of a record that came out of the schedule. A committed half message has a preparedTransactionOffset, too,
/// but never a TIMER_OUT_MS, unless it is in the schedule itself.
pub fn delivered_mark(record: &RecordRef<'_>) -> Option<Mark> {
    let origin = record.prepared_transaction_offset();
    if origin == 0 || record.topic() == SCHEDULE_TOPIC {
        return None;
    }
    let at_ms = record.property(names::TIMER_OUT_MS)?.parse().ok()?;
    mark(at_ms, i64::try_from(WireOffset::from_wire(origin)?.position().0).ok()?)
}

/// A mark out of two numbers from disk, if they can be one.
fn mark(at_ms: i64, position: i64) -> Option<Mark> {
    let position = u64::try_from(position).ok().filter(|position| *position < POSITION_LIMIT)?;
    (0..=STEADY_MAX_MS).contains(&at_ms).then_some(Mark { at_ms, position: Position(position) })
}

impl Delay {
    /// The checkpoint's section: true for everything appended so far.
    pub fn section(&self) -> [u8; 24] {
        let Mark { at_ms, position } = self.schedule.passed();
        let mut section = [0; 24];
        section[..8].copy_from_slice(&self.clock.stored_drift_ms().to_be_bytes());
        section[8..16].copy_from_slice(&at_ms.to_be_bytes());
        section[16..].copy_from_slice(&position.0.to_be_bytes());
        section
    }

    /// Notes how far the wall clock was set since it was last noted, so that a restart measures on. Before a time of this
    /// clock goes to the log, this must.
    pub fn note_clock(&mut self, log: &mut CommitLog, now: Now) {
        if let Some(drift_ms) = self.clock.drift_to_store(now) {
            let payload = drift_ms.to_be_bytes();
            let record = OwnRecord { kind: OwnKind::DelayClock, payload: &payload };
            // Refused by a log that is full or takes nothing any more: then the message that follows is refused, too.
            if log.append(now.mono_us, record.size(), |_, bytes| record.encode(bytes)).is_ok() {
                self.clock.drift_stored(drift_ms);
            }
        }
    }
}

/// The schedule of an earlier life on its way back: everything in the schedule queues beyond the mark waits again.
#[derive(Debug)]
pub struct Resumption {
    clock: Steady,
    schedule: Schedule,
    passed: Mark,
    /// Queues not looked at yet, and where in the last one to go on.
    slots: Vec<QueueSlot>,
    next: Option<u64>,
}

impl Resumption {
    /// Begins with what the log said.
    pub fn new(progress: Progress, queues: &QueueTable) -> Self {
        let Progress { drift_ms, passed } = progress;
        let mut clock = Steady::resume(drift_ms);
        clock.not_before(passed.at_ms);
        let slots = queues.of_topic(SCHEDULE_TOPIC).map(|(_, slot)| slot).collect();
        Resumption { clock, schedule: Schedule::after(passed), passed, slots, next: None }
    }

    /// Goes on; when it returns `Ok`, everything is there.
    ///
    /// # Errors
    /// [`Absent`] when a page must be read first.
    pub fn advance(&mut self, queues: &mut QueueTable) -> Result<(), Absent> {
        while let Some(slot) = self.slots.last().copied() {
            // What was stored so long before the mark that no delay reaches over it was delivered.
            let oldest_ms = self.passed.at_ms.saturating_sub(i64::from(i32::MAX));
            let mut offset = match self.next {
                Some(next) => next,
                None => queues.first_since(slot, oldest_ms)?,
            };
            while offset < queues[slot].max() {
                self.next = Some(offset);
                if let Some((entry, stored_ms)) = queues.look_on(slot, offset)? {
                    self.take(entry, stored_ms);
                }
                offset += 1;
            }
            self.next = None;
            self.slots.pop();
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry, stored_ms: i64) {
        let at_ms = stored_ms.saturating_add(i64::from(entry.tag_hash)).clamp(0, STEADY_MAX_MS);
        let due = Due { at_ms, position: entry.position, size: entry.size };
        self.clock.not_before(stored_ms);
        if due.mark() > self.passed {
            self.schedule.add(due);
        }
    }

    /// The delayed messages as they wait. The duty is to run at once afterwards.
    pub fn finish(self, levels_ms: Vec<u64>) -> Delay {
        let Resumption { clock, schedule, .. } = self;
        Delay { clock, schedule, ..Delay::new(levels_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::Wish;
    use crate::store::Entry;

    fn at(mono_ms: u64) -> Now {
        Now { wall_ms: 1_000_000 + mono_ms as i64, mono_us: mono_ms * 1_000 }
    }

    /// Stores a message as the intake does: an entry in the queue, then the schedule.
    fn store(delay: &mut Delay, queues: &mut QueueTable, now: Now, delay_ms: u64, position: u64) -> Due {
        let stay = delay.stay(now, Wish::Level { level: 1, delay_ms }).expect("there is room");
        let slot = queues.open(SCHEDULE_TOPIC, stay.queue);
        let entry = Entry { position: Position(position), size: 90, tag_hash: stay.entry_code() };
        queues[slot].push(entry, stay.stored_ms);
        delay.add(now, &stay, entry.position, entry.size);
        Due { at_ms: stay.due_ms, position: entry.position, size: entry.size }
    }

    fn resume(progress: Progress, queues: &mut QueueTable) -> Delay {
        let mut restoring = Resumption::new(progress, queues);
        restoring.advance(queues).expect("all is resident");
        restoring.finish(vec![1_000])
    }

    fn waiting(delay: &mut Delay) -> Vec<Due> {
        std::iter::from_fn(|| delay.schedule.take()).collect()
    }

    #[test]
    fn what_was_not_delivered_waits_again() {
        let mut delay = Delay::new(vec![1_000]);
        let mut queues = QueueTable::new();
        let late = store(&mut delay, &mut queues, at(0), 5_000, 100);
        let early = store(&mut delay, &mut queues, at(0), 1_000, 200);
        let middle = store(&mut delay, &mut queues, at(7), 2_000, 300);
        assert_eq!(delay.schedule.take(), Some(early));
        delay.schedule.pass(early);
        let mut progress = Progress::default();
        assert_eq!(progress.restore(&delay.section()), Ok(()));
        let mut again = resume(progress, &mut queues);
        assert_eq!(waiting(&mut again), [middle, late]);
        let mut all = resume(Progress::default(), &mut queues);
        assert_eq!(waiting(&mut all), [early, middle, late]);
    }

    #[test]
    fn the_clock_goes_on_after_the_last_time_it_showed() {
        let mut delay = Delay::new(vec![1_000]);
        let mut queues = QueueTable::new();
        store(&mut delay, &mut queues, at(500), 1_000, 100);
        let mut again = resume(Progress::default(), &mut queues);
        assert_eq!(again.clock().now_ms(Now { wall_ms: 3, mono_us: 0 }), 1_000_500);
    }

    #[test]
    fn damaged_payloads_are_refused() {
        let mut progress = Progress::default();
        assert_eq!(progress.restore(&[0; 23]), Err(BadDelayState));
        assert_eq!(progress.restore(&[0xff; 24]), Err(BadDelayState));
        assert_eq!(progress.clock_record(&[1, 2]), Err(BadDelayState));
        assert_eq!(progress.clock_record(&7i64.to_be_bytes()), Ok(()));
        assert_eq!(progress, Progress { drift_ms: 7, passed: Mark::default() });
    }
}
