//! The duty that delivers delayed messages, and the reading of those that are no longer in memory.
//!
//! Owns the order of a delivery: take the first, find its bytes, store them in the real queue, advance the mark. A message
//! whose topic is gone, or that cannot be read, is passed over and counted. Never delivers out of order: while bytes are
//! being read, everything behind them waits.

use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::response_code::ResponseCode;

use super::schedule::Due;
use crate::append::{self, Flush, Intake};
use crate::cold::{self, Gathered, Got, Use};
use crate::duties::{Duty, Next};
use crate::effects::{Effects, Refusal};
use crate::event::Now;
use crate::handlers::relay;
use crate::limits::{DELAY_READ_BYTES, DELAY_RETRY_MS, DELAY_STEP, DELAY_UNREADABLE_AFTER};
use crate::shard::Shard;
use crate::store::{Marks, Position, QueueSlot};

/// What became of a due message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is in its queue.
    Delivered,
    /// It has no queue here any more, or is no message.
    Lost,
    /// The disk must catch up first.
    Later,
    /// The log has stopped: never.
    Never,
}

/// Duty: delivers what is due, a bounded number at a time.
pub fn deliver_due(shard: &mut Shard, now: Now, _out: &mut Effects) -> Next {
    if shard.delay.reading.is_some() {
        return Next::WhenArmed;
    }
    shard.delay.note_clock(&mut shard.log, now);
    for _ in 0..DELAY_STEP {
        let now_ms = shard.delay.clock.now_ms(now);
        let Some(due) = shard.delay.schedule.first().filter(|due| due.at_ms <= now_ms) else {
            return next(shard, now);
        };
        if !copy_resident(shard, &due) {
            return read_due(shard, now);
        }
        shard.delay.schedule.take();
        let scratch = std::mem::take(&mut shard.delay.scratch);
        let fate = deliver(shard, now, &due, &scratch);
        shard.delay.scratch = scratch;
        if let Some(next) = settle(shard, now, due, fate) {
            return next;
        }
    }
    Next::At(now.mono_us)
}

/// When the duty is wanted next.
fn next(shard: &mut Shard, now: Now) -> Next {
    shard.delay.wake(now).map_or(Next::WhenArmed, Next::At)
}

/// Copies the record into the scratch buffer if it is in memory: storing it again needs the log to itself.
fn copy_resident(shard: &mut Shard, due: &Due) -> bool {
    let Shard { log, delay, .. } = shard;
    let Some(pieces) = log.resident(due.position, due.size) else { return false };
    delay.scratch.clear();
    pieces.append_to(&mut delay.scratch);
    true
}

/// Advances the mark, or puts the message back and says when to try again.
fn settle(shard: &mut Shard, now: Now, due: Due, fate: Fate) -> Option<Next> {
    match fate {
        Fate::Delivered => shard.counts.delays_delivered += 1,
        Fate::Lost => shard.counts.delays_lost += 1,
        Fate::Later => {
            shard.delay.schedule.put_back(due);
            return Some(Next::At(now.after_ms(DELAY_RETRY_MS)));
        }
        Fate::Never => {
            shard.delay.schedule.put_back(due);
            return Some(Next::WhenArmed);
        }
    }
    shard.delay.schedule.pass(due);
    None
}

/// Stores a due message in its real queue.
fn deliver(shard: &mut Shard, now: Now, due: &Due, bytes: &[u8]) -> Fate {
    let Ok(record) = RecordRef::parse(bytes) else { return Fate::Lost };
    let position = WireOffset::from_wire(record.physical_offset()).map(WireOffset::position);
    if position != Some(due.position) || record.check_body().is_err() {
        return Fate::Lost;
    }
    let Some((topic, queue_id, slot, flush)) = real_queue(shard, &record, due.position) else { return Fate::Lost };
    if flush == Flush::Sync && shard.waiting.is_full() {
        return Fate::Later;
    }
    let mut message = Message {
        topic,
        queue_id,
        // With TIMER_OUT_MS the evidence that the schedule got this far.
        prepared_transaction_offset: record.physical_offset(),
        ..relay::message_of(&record, PropertyParts::just(record.properties()))
    };
    let marks = Marks::of(record.properties());
    match Intake::of(shard).append(now, slot, &mut message, &marks, flush) {
        Ok(_) => Fate::Delivered,
        Err(refusal) => fate_of(&refusal),
    }
}

fn fate_of(refusal: &Refusal) -> Fate {
    match refusal.code {
        ResponseCode::SystemBusy => Fate::Later,
        ResponseCode::ServiceNotAvailable => Fate::Never,
        _ => Fate::Lost,
    }
}

/// The queue a scheduled message really goes to; `None` if it is not this shard's any more: the topic was deleted, and
/// its messages with it, even if there is another one of its name.
fn real_queue<'r>(
    shard: &mut Shard,
    record: &RecordRef<'r>,
    position: Position,
) -> Option<(&'r str, i32, QueueSlot, Flush)> {
    let topic = record.property(names::REAL_TOPIC)?;
    if !append::is_of_present(&shard.metadata.topics, &shard.queues, topic, position) {
        return None;
    }
    let queue_id = record.property(names::REAL_QID)?.parse::<u32>().ok()?;
    let (slot, flush) = relay::own_queue(shard, topic, queue_id)?;
    Some((topic, i32::try_from(queue_id).ok()?, slot, flush))
}

/// Asks for the bytes of the due messages at the front that are not in memory.
fn read_due(shard: &mut Shard, now: Now) -> Next {
    let Shard { log, delay, .. } = shard;
    let now_ms = delay.clock.now_ms(now);
    let (count_max, mut bytes_left) = if delay.suspicious { (1, u64::MAX) } else { (DELAY_STEP, DELAY_READ_BYTES) };
    let mut batch: Vec<Due> = Vec::new();
    while batch.len() < count_max {
        let Some(due) = delay.schedule.first().filter(|due| due.at_ms <= now_ms) else { break };
        let size = u64::from(due.size);
        if log.resident(due.position, due.size).is_some() || (size > bytes_left && !batch.is_empty()) {
            break;
        }
        bytes_left = bytes_left.saturating_sub(size);
        delay.schedule.take();
        batch.push(due);
    }
    let spans = batch.iter().map(|due| (due.position, due.size)).collect();
    delay.reading = Some(batch);
    if cold::want(shard, spans, Use::Delayed).is_err() {
        for due in shard.delay.reading.take().into_iter().flatten() {
            shard.delay.schedule.put_back(due);
        }
        return Next::At(now.after_ms(DELAY_RETRY_MS));
    }
    Next::WhenArmed
}

/// The due messages came, or did not.
pub fn gathered(shard: &mut Shard, now: Now, got: &Gathered) {
    let Some(due) = shard.delay.reading.take() else { return };
    let failed = got.iter().any(|got| matches!(got, Got::Failed(_)));
    let next = if failed { unreadable(shard, now, &due) } else { deliver_read(shard, now, &due, got) };
    if let Next::At(at) = next {
        shard.duties.arm(Duty::Deliver, at);
    }
}

fn deliver_read(shard: &mut Shard, now: Now, due: &[Due], got: &Gathered) -> Next {
    shard.delay.suspicious = false;
    shard.delay.failures = 0;
    for (n, (one, got)) in due.iter().zip(got.iter()).enumerate() {
        let fate = got.record().map_or(Fate::Lost, |record| deliver(shard, now, one, record));
        if let Some(next) = settle(shard, now, *one, fate) {
            for later in &due[n + 1..] {
                shard.delay.schedule.put_back(*later);
            }
            return next;
        }
    }
    Next::At(now.mono_us)
}

/// A read failed. One message that cannot be read must not stop all others for ever, and a disk that failed once must not
/// cost a message: alone, it is tried a few times.
fn unreadable(shard: &mut Shard, now: Now, due: &[Due]) -> Next {
    let delay = &mut shard.delay;
    delay.failures = if due.len() == 1 { delay.failures + 1 } else { 0 };
    delay.suspicious = true;
    if delay.failures >= DELAY_UNREADABLE_AFTER {
        delay.failures = 0;
        for one in due {
            delay.schedule.pass(*one);
            shard.counts.delays_lost += 1;
        }
        return Next::At(now.mono_us);
    }
    for one in due {
        delay.schedule.put_back(*one);
    }
    Next::At(now.after_ms(DELAY_RETRY_MS))
}
