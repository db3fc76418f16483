//! ACK_MESSAGE (200051), BATCH_ACK_MESSAGE (200151) and CHANGE_MESSAGE_INVISIBLETIME (200053).
//!
//! Owns their checks and codes (AckMessageProcessor, ChangeInvisibleTimeProcessor). An answer of success waits until what it
//! promises is on disk, whatever the topic's flush mode: an acknowledged message never comes back. A receipt the log knows
//! nothing of (a crash forgot the pop) is answered NO_MESSAGE instead of success, for the message will come again.

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::pop::{BatchAck, BatchAckRequest};
use ringmq_protocol::headers::pop::{AckHeader, ChangeInvisibleTimeHeader, ChangeInvisibleTimeReply};
use ringmq_protocol::response_code::ResponseCode;

use super::client::malformed;
use super::{pop_pick, pop_wait};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, Now, ShardId};
use crate::gather::{self, Part};
use crate::limits::POP_INVISIBLE_MAX_MS;
use crate::pop::lines::{LineId, Popped, Shown};
use crate::pop::receipt::{ORDERED, Receipt, Source};
use crate::pop::record::Op;
use crate::pop::{self, revive};
use crate::shard::Shard;
use crate::store::Position;

/// A receipt that was found good, or not any more.
struct Found {
    line: LineId,
    shown: Shown,
}

/// ACK_MESSAGE.
pub fn ack(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: AckHeader<'_> = ask.header()?;
    let info = header.extra_info.to_cow();
    let receipt = parse(&info)?;
    let (topic, group) = (header.topic.to_cow(), header.consumer_group.to_cow());
    let Found { line, shown } = find(shard, &topic, &group, header.queue_id, header.offset, &receipt)?;
    check_room(shard)?;
    if let Shown::Held(_) = shown {
        finish_all(shard, ask.now, line, &[header.offset as u64], out)?;
    }
    let answer = out.done(&ask.to());
    Ok(when_durable(shard, answer))
}

fn parse(info: &str) -> Result<Receipt<'_>, Refusal> {
    Receipt::parse(info).ok_or_else(|| {
        Refusal::new(ResponseCode::MessageIllegal, format!("extraInfo \"{info}\" is no receipt of a popped message"))
    })
}

/// Success waits for the disk: for the last record about POP, as a repeated ack relies on an earlier one.
fn when_durable(shard: &Shard, answer: Answer) -> Answer {
    match answer {
        Answer::Now if shard.pop.written > shard.log.durable() => Answer::When(shard.log.appended()),
        other => other,
    }
}

fn check_room(shard: &Shard) -> Result<(), Refusal> {
    if shard.waiting.is_full() {
        return Err(Refusal::new(ResponseCode::SystemBusy, "too many answers wait for the disk on this shard"));
    }
    Ok(())
}

/// Looks a receipt up.
///
/// # Errors
/// 17, 13, 208 (protocol.md 7.4), 2 when the queue is another shard's.
fn find(
    shard: &mut Shard,
    topic: &str,
    group: &str,
    queue_id: i32,
    offset: i64,
    receipt: &Receipt<'_>,
) -> Result<Found, Refusal> {
    let topic = receipt.source.topic(group, topic);
    let Some(config) = shard.metadata.topics.get(&topic) else {
        return Err(Refusal::new(
            ResponseCode::TopicNotExist,
            format!("topic[{topic}] not exist, apply first please!"),
        ));
    };
    let queue = u32::try_from(queue_id).ok().filter(|queue| *queue < config.queues());
    let Some(queue) = queue else {
        let remark = format!("queueId {queue_id} is out of range: topic[{topic}] has {} queues", config.queues());
        return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
    };
    if config.shard_of(queue) != Some(shard.id) {
        let remark = format!("queue {queue} of topic[{topic}] is not on shard {}; send again", shard.id.0);
        return Err(Refusal::new(ResponseCode::SystemBusy, remark));
    }
    let slot = shard.queues.open(&topic, queue);
    let (min, max) = (shard.queues[slot].min() as i64, shard.queues[slot].max() as i64);
    if offset < min || offset >= max {
        let remark = format!("offset {offset} is out of range: queue {queue} of topic[{topic}] has {min} to {max}");
        return Err(Refusal::new(ResponseCode::NoMessage, remark));
    }
    let line = shard.pop.lines.find(slot, group);
    let found = line.map(|line| Found { line, shown: shard.pop.lines.shown(line, offset as u64, receipt.pop_time) });
    found.filter(|found| found.shown != Shown::Unknown).ok_or_else(|| {
        let remark =
            format!("offset {offset} of queue {queue} was not popped with this receipt; it will be delivered again");
        Refusal::new(ResponseCode::NoMessage, remark)
    })
}

/// Messages of one line are done.
fn finish_all(shard: &mut Shard, now: Now, line: LineId, offsets: &[u64], out: &mut Effects) -> Result<(), Refusal> {
    pop::write(shard, now, line, &Op::Done { offsets })?;
    let mut ordered = false;
    for offset in offsets {
        ordered |= shard.pop.lines[line].out.get(offset).is_some_and(|popped| popped.ordered);
        shard.pop.lines.done(line, *offset);
    }
    pop_pick::commit(shard, now, line);
    let line = &shard.pop.lines[line];
    if ordered && !line.out.values().any(|popped| popped.ordered) {
        // Whoever waited for the batch in order may go on.
        let slot = line.slot;
        pop_wait::wake_slot(shard, now, slot, out);
    }
    Ok(())
}

/// A message is done without its consumer: it was revived, or is lost. Without the record a crash revives it once more.
pub(crate) fn finish(shard: &mut Shard, now: Now, line: LineId, offset: u64) {
    let _ = pop::write(shard, now, line, &Op::Done { offsets: &[offset] });
    shard.pop.lines.done(line, offset);
    pop_pick::commit(shard, now, line);
}

/// CHANGE_MESSAGE_INVISIBLETIME.
pub fn change(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: ChangeInvisibleTimeHeader<'_> = ask.header()?;
    let info = header.extra_info.to_cow();
    let receipt = parse(&info)?;
    let (topic, group) = (header.topic.to_cow(), header.consumer_group.to_cow());
    let Found { line, shown } = find(shard, &topic, &group, header.queue_id, header.offset, &receipt)?;
    check_room(shard)?;
    let Shown::Held(Popped { pop_time, ordered, .. }) = shown else {
        let remark = format!("offset {} is not invisible any more: acknowledged, or delivered again", header.offset);
        return Err(Refusal::new(ResponseCode::NoMessage, remark));
    };
    let now = ask.now;
    let invisible_ms = u64::try_from(header.invisible_time).unwrap_or(0).clamp(1, POP_INVISIBLE_MAX_MS);
    // In order the receipt stays what it was, and the time counts from the first pop.
    let new_time = if ordered { pop_time } else { now.wall_ms };
    let until_ms = shard.delay.clock().after_ms(now, invisible_ms);
    let offset = header.offset as u64;
    pop::write(shard, now, line, &Op::Changed { offset, pop_time: new_time, until_ms })?;
    shard.pop.lines.change(line, offset, new_time, until_ms);
    revive::arm(shard, now);
    let since = now.wall_ms.saturating_sub(new_time).max(0);
    let reply = ChangeInvisibleTimeReply {
        pop_time: new_time,
        invisible_time: since.saturating_add_unsigned(invisible_ms),
        revive_queue_id: if ordered { ORDERED } else { 0 },
    };
    let answer = out.answer(&ask.to(), &reply);
    Ok(when_durable(shard, answer))
}

/// This shard's part of BATCH_ACK_MESSAGE: it is given when what was done here is on disk.
pub(crate) fn batch_part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    from: ShardId,
    id: GatherId,
    out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let request: BatchAckRequest = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let batches =
        request.acks.iter().map(|ack| Ok((ack, source_of(ack)?, ack.bits().map_err(|error| malformed(&error))?)));
    let batches = batches.collect::<Result<Vec<_>, Refusal>>()?;
    for (ack, source, bits) in batches {
        take_batch(shard, ask.now, ack, source, &bits, out)?;
    }
    if shard.pop.written <= shard.log.durable() {
        return Ok(Some(Part::Count(u64::from(shard.shards))));
    }
    let Shard { pop, .. } = shard;
    pop.acked.push_back((pop.written, from, id));
    Ok(None)
}

/// The log got further: batches of acks that are on disk count.
pub(crate) fn durable(shard: &mut Shard, durable: Position, out: &mut Effects) {
    while let Some((_, asker, id)) = shard.pop.acked.pop_front_if(|(until, _, _)| *until <= durable) {
        gather::give_part(shard, asker, id, Part::Count(u64::from(shard.shards)), out);
    }
}

/// The log is finished: no batch of acks will be on disk.
pub(crate) fn fail(shard: &mut Shard, out: &mut Effects) {
    while let Some((_, asker, id)) = shard.pop.acked.pop_front() {
        gather::give_part(shard, asker, id, Part::Nothing, out);
    }
}

/// BATCH_ACK_MESSAGE succeeded if it did on every shard.
pub(crate) fn batch_merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let wanted = parts.iter().find_map(|part| if let Part::Count(shards) = part { Some(*shards) } else { None });
    let good = parts.iter().filter(|part| matches!(part, Part::Count(_))).count() as u64;
    let _ = match wanted == Some(good) {
        true => out.done(to),
        false => {
            out.refuse(to, &Refusal::new(ResponseCode::SystemBusy, "not every ack could be stored; send them again"))
        }
    };
}

fn source_of(ack: &BatchAck) -> Result<Source, Refusal> {
    Source::of(&ack.retry).ok_or_else(|| {
        Refusal::new(ResponseCode::MessageIllegal, format!("\"{}\" is no kind of topic: 0, 1 or 2", ack.retry))
    })
}

/// One popped batch of one queue. What is unknown or done needs nothing; what is another shard's is not taken here.
fn take_batch(
    shard: &mut Shard,
    now: Now,
    ack: &BatchAck,
    source: Source,
    bits: &[u32],
    out: &mut Effects,
) -> Result<(), Refusal> {
    let topic = source.topic(&ack.consumer_group, &ack.topic);
    let Ok(queue) = u32::try_from(ack.queue_id) else { return Ok(()) };
    let slot = shard.queues.find(&topic, queue);
    let Some(line) = slot.and_then(|slot| shard.pop.lines.find(slot, &ack.consumer_group)) else { return Ok(()) };
    let offsets = bits.iter().filter_map(|bit| u64::try_from(ack.start_offset).ok()?.checked_add(u64::from(*bit)));
    let good = |offset: &u64| matches!(shard.pop.lines.shown(line, *offset, ack.pop_time), Shown::Held(_));
    let held: Vec<u64> = offsets.filter(good).collect();
    if held.is_empty() {
        return Ok(());
    }
    finish_all(shard, now, line, &held, out)
}
