//! The duty that takes back what was popped and not acknowledged in time.
//!
//! Owns the way of such a message into its group's POP retry topic (PopReviveService.reviveRetry): on the same shard, so that
//! the copy and the end of the original stand in one log. What was popped in order stays where it is and is popped again.
//! Never gives up on a message that can be read; never does more than a bounded number at a time.

use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::response_code::ResponseCode;

use super::lines::{LineId, Popped};
use super::place;
use super::receipt::Source;
use super::record::Op;
use crate::again::{self, Again};
use crate::append::{Flush, Intake};
use crate::duties::{Duty, Next};
use crate::effects::Effects;
use crate::event::Now;
use crate::fetch::{self, Purpose, Record};
use crate::handlers::{pop_ack, pop_pick, pop_wait, relay, topic_wait};
use crate::limits::{POP_RETRY_MS, POP_REVIVE_STEP, POP_UNREADABLE_AFTER};
use crate::pop;
use crate::shard::Shard;
use crate::store::{Marks, QueueSlot};

/// A message being read to be revived.
#[derive(Debug, Clone)]
pub struct Revival {
    line: LineId,
    slot: QueueSlot,
    offset: u64,
    popped: Popped,
}

/// Duty: takes back what is due, a bounded number at a time.
pub fn revive_due(shard: &mut Shard, now: Now, out: &mut Effects) -> Next {
    let now_ms = shard.delay.clock().now_ms(now);
    for _ in 0..POP_REVIVE_STEP {
        let Some((line, offset, popped)) = shard.pop.lines.take_due(now_ms) else { break };
        revive(shard, now, Revival { line, slot: shard.pop.lines[line].slot, offset, popped }, 0, out);
    }
    next(shard, now)
}

/// When the duty is wanted next.
fn next(shard: &mut Shard, now: Now) -> Next {
    let Shard { pop, delay, .. } = shard;
    pop.lines.next_due_ms().map_or(Next::WhenArmed, |due_ms| Next::At(delay.clock().mono_us_of(now, due_ms)))
}

/// Something went out or changed: the duty is wanted when the first is due.
pub(crate) fn arm(shard: &mut Shard, now: Now) {
    if let Next::At(at) = next(shard, now) {
        shard.duties.arm(Duty::Revive, at);
    }
}

/// Takes one message back. `rounds` says how often this ran before, for pages of an index.
pub(crate) fn revive(shard: &mut Shard, now: Now, revival: Revival, rounds: u16, out: &mut Effects) {
    if rounds > 0 && !is_current(shard, &revival) {
        return;
    }
    if revival.popped.ordered {
        // It may be popped again; it is due no more until it is.
        return pop_wait::wake_slot(shard, now, revival.slot, out);
    }
    shard.queues.forget_miss();
    let Ok(entry) = shard.queues.look(revival.slot, revival.offset) else {
        return again::page_in(shard, now, Again::Revive(Box::new(revival)), rounds, out);
    };
    let Some((entry, _)) = entry else {
        // Older than the log.
        shard.counts.pops_lost += 1;
        return pop_ack::finish(shard, now, revival.line, revival.offset);
    };
    if retry_queue(shard, &revival).is_none() {
        let topic = &shard.pop.lines[revival.line];
        let topic = place::retry_source(&shard.metadata, &topic.group, &topic.topic).topic(&topic.group, &topic.topic);
        topic_wait::want_pop_retry(shard, now, &topic, out);
        return later(shard, now, &revival);
    }
    let again = revival.clone();
    if fetch::fetch(shard, now, vec![entry.position], Purpose::Revive(Box::new(revival)), out).is_err() {
        later(shard, now, &again);
    }
}

/// Whether it is still out: it may have been acknowledged, changed or deleted meanwhile.
fn is_current(shard: &Shard, revival: &Revival) -> bool {
    let Revival { line, slot, offset, popped } = revival;
    let current = shard.pop.lines.get(*line).filter(|line| line.slot == *slot);
    current.and_then(|line| line.out.get(offset)) == Some(popped)
}

/// Tries again soon. Until then the receipt stays good.
pub(crate) fn later(shard: &mut Shard, now: Now, revival: &Revival) {
    let at_ms = shard.delay.clock().after_ms(now, POP_RETRY_MS);
    shard.pop.lines.put_back(revival.line, revival.offset, at_ms);
    arm(shard, now);
}

/// The queue of this shard that a line's messages are revived into: the retry topic's, or the own one if it is one of it.
fn retry_queue(shard: &mut Shard, revival: &Revival) -> Option<(String, u32, QueueSlot, Flush)> {
    let line = &shard.pop.lines[revival.line];
    let (topic, queue) = match shard.metadata.topics.get(&line.topic) {
        Some(topic) if topic.is_retry() => (line.topic.to_string(), line.queue),
        _ => {
            let source = place::retry_source(&shard.metadata, &line.group, &line.topic);
            let topic = local_queue(shard, source, &line.group, &line.topic);
            topic.or_else(|| local_queue(shard, Source::RetryV2, &line.group, &line.topic))?
        }
    };
    let (slot, flush) = relay::own_queue(shard, &topic, queue)?;
    Some((topic, queue, slot, flush))
}

fn local_queue(shard: &Shard, source: Source, group: &str, topic: &str) -> Option<(String, u32)> {
    let name = source.topic(group, topic);
    let queue = shard.metadata.topics.get(&name)?.shards.first_of(shard.id)?;
    Some((name, queue))
}

/// The message was read.
pub(crate) fn fetched(
    shard: &mut Shard,
    now: Now,
    revival: &Revival,
    record: Option<&Record>,
    damaged: bool,
    out: &mut Effects,
) {
    let Revival { line, slot, offset, popped } = revival;
    if !is_current(shard, revival) {
        return;
    }
    let parsed = record.and_then(|record| RecordRef::parse(record).ok());
    let Some(record) = parsed.filter(|record| record.queue_offset() as u64 == *offset && record.check_body().is_ok())
    else {
        // A disk that failed may do better next time; in the end the queue must get on.
        if popped.times < POP_UNREADABLE_AFTER && !damaged {
            shard.pop.lines.note_unreadable(*line, *offset);
            return later(shard, now, revival);
        }
        shard.counts.pops_lost += 1;
        return pop_ack::finish(shard, now, *line, *offset);
    };
    match store(shard, now, revival, &record) {
        Some(ResponseCode::Success) => {
            shard.counts.retries += 1;
            // The record of the move has said so.
            shard.pop.lines.done(*line, *offset);
            pop_pick::commit(shard, now, *line);
            // Pops that wait for the topic do not know a retry topic yet that was just made.
            pop_wait::wake_slot(shard, now, *slot, out);
        }
        Some(ResponseCode::MessageIllegal) => {
            shard.counts.pops_lost += 1;
            pop_ack::finish(shard, now, *line, *offset);
        }
        // The log has stopped: never.
        Some(ResponseCode::ServiceNotAvailable) => {}
        Some(_) | None => later(shard, now, revival),
    }
}

/// Stores the copy; the code of what came of it.
fn store(shard: &mut Shard, now: Now, revival: &Revival, record: &RecordRef<'_>) -> Option<ResponseCode> {
    let (topic, queue, slot, flush) = retry_queue(shard, revival)?;
    if flush == Flush::Sync && shard.waiting.is_full() {
        return None;
    }
    let mut number = itoa::Buffer::new();
    let first = [(names::FIRST_POP_TIME, number.format(revival.popped.pop_time))];
    let extra: &[_] = if record.property(names::FIRST_POP_TIME).is_none() { &first } else { &[] };
    let properties = PropertyParts { original: record.properties(), without: &[names::POP_CK], extra };
    let mut message = Message {
        topic: &topic,
        queue_id: i32::try_from(queue).ok()?,
        reconsume_times: record.reconsume_times().saturating_add(1),
        // The original's was the evidence of a transaction or a delay, which is over.
        prepared_transaction_offset: 0,
        ..relay::message_of(record, properties)
    };
    let marks = Marks::of(record.properties());
    let Revival { line, offset, popped, .. } = revival;
    // Behind the word that the message moved nothing may stand that ends queues of the retry topic: its copy would be gone.
    Intake::of(shard).begin(now, &topic).ok()?;
    let at = shard.queues[slot].max();
    pop::write(shard, now, *line, &Op::Moved { offset: *offset, topic: &topic, queue, at }).ok()?;
    match Intake::of(shard).append(now, slot, &mut message, &marks, flush) {
        Ok(_) => Some(ResponseCode::Success),
        Err(refusal) => {
            // It stays out. If the log does not take this either, it takes nothing more before the next start.
            let next = shard.pop.lines[*line].next;
            let _ = pop::write(shard, now, *line, &Op::Taken { next, popped: *popped, offsets: &[*offset] });
            Some(refusal.code)
        }
    }
}
