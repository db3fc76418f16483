//! Offsets: what groups committed (14, 15) and where queues begin, end, and stood at a time (29, 30, 31, 32).
//!
//! Owns those answers (ConsumerManageProcessor, AdminBrokerProcessor) and the duty that writes changed offsets to the
//! log. What is never done: going below a queue's visible end, so that nobody is told of a message he cannot read.

use ringmq_protocol::headers::offset::{
    MaxOffsetHeader, OffsetReply, QueryOffsetHeader, QueueHeader, SearchOffsetHeader, StoreTimeReply,
    UpdateOffsetHeader,
};
use ringmq_protocol::names::TopicKind;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use super::subscription;
use crate::duties::{Duty, Next};
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::Now;
use crate::group::{ConsumeFromWhere, ConsumeType};
use crate::limits::{OFFSETS_MAX, RETRY_TOPIC_MAX, YOUNG_QUEUE_BYTES};
use crate::offsets::QueuePlace;
use crate::shard::Shard;
use crate::store::{OwnKind, OwnRecord, QueueSlot};

/// QUERY_CONSUMER_OFFSET (14).
pub fn query(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: QueryOffsetHeader<'_> = ask.header()?;
    let (mut group_room, mut topic_room) = ([0; RETRY_TOPIC_MAX], [0; RETRY_TOPIC_MAX]);
    let group = header.consumer_group.decode_in(&mut group_room).ok_or_else(not_found)?;
    let topic = header.topic.decode_in(&mut topic_room).ok_or_else(not_found)?;
    let slot = find(shard, header.topic, header.queue_id);
    let stored = slot.zip(shard.offsets.find_group(group));
    let stored = stored.and_then(|(slot, group)| shard.offsets.get(slot, group).committed);
    let offset = match stored {
        Some(offset) => offset,
        None if header.set_zero_if_not_found == Some(false) => return Err(not_found()),
        None => start(shard, topic, group, slot).ok_or_else(not_found)?,
    };
    Ok(out.answer(&ask.to(), &OffsetReply { offset }))
}

#[cold]
fn not_found() -> Refusal {
    Refusal::new(ResponseCode::QueryNotFound, "Not found, maybe this group consumer boot first")
}

/// Where a group without an offset starts, if that can be said here: then nothing stored from now on is skipped, which
/// asking for the maximum afterwards would do. Otherwise the client decides by its consumeFromWhere.
fn start(shard: &Shard, topic: &str, group: &str, slot: Option<QueueSlot>) -> Option<i64> {
    let Some(queue) = slot.and_then(|slot| shard.queues.get(slot)) else { return Some(0) };
    let end = queue.visible() as i64;
    // Exact where it counts: for a queue that begins with number 0.
    let young = queue.first_position().is_none_or(|first| shard.log.appended().0 - first <= YOUNG_QUEUE_BYTES);
    if queue.min() == 0 && young {
        return Some(0);
    }
    if queue.min() == queue.visible() {
        return Some(end);
    }
    let view = shard.metadata.views.get(group)?;
    let at_end = view.consume_from_where == ConsumeFromWhere::LastOffset && view.consume_type == ConsumeType::Passively;
    (at_end && !matches!(TopicKind::parse(topic), TopicKind::Retry(_))).then_some(end)
}

/// UPDATE_CONSUMER_OFFSET (15).
pub fn update(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: UpdateOffsetHeader<'_> = ask.header()?;
    let (mut group_room, mut topic_room) = ([0; RETRY_TOPIC_MAX], [0; RETRY_TOPIC_MAX]);
    let group = header.consumer_group.decode_in(&mut group_room);
    let group = group.ok_or_else(|| subscription::no_group(&header.consumer_group.to_cow()))?;
    if shard.metadata.groups.get(group).is_none() {
        subscription::create_group(shard, group, ask, out)?;
    }
    let topic = header.topic.decode_in(&mut topic_room);
    let queue = u32::try_from(header.queue_id).ok();
    let owned = topic.zip(queue).filter(|(topic, queue)| {
        let config = shard.metadata.topics.get(topic);
        config.and_then(|config| config.shard_of(*queue)) == Some(shard.id)
    });
    let Some((topic, queue)) = owned else {
        return Err(Refusal::new(
            ResponseCode::TopicNotExist,
            format!("topic[{}] has no queue {}", header.topic, header.queue_id),
        ));
    };
    let slot = shard.queues.open(topic, queue);
    let place = QueuePlace { topic, queue, slot };
    store(shard, ask.now, place, group, header.commit_offset)?;
    Ok(out.done(&ask.to()))
}

/// Stores a group's offset. While a reset is pending it is ignored: the client does not know of the reset yet.
///
/// # Errors
/// SYSTEM_BUSY at the limit.
pub(crate) fn store(
    shard: &mut Shard,
    now: Now,
    place: QueuePlace<'_>,
    group: &str,
    offset: i64,
) -> Result<(), Refusal> {
    let Shard { offsets, duties, metadata, .. } = shard;
    let pending = offsets.find_group(group).is_some_and(|group| offsets.get(place.slot, group).reset.is_some());
    if pending || offset < 0 {
        return Ok(());
    }
    if offsets.commit(place, group, offset).is_err() {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("this shard keeps {OFFSETS_MAX} consumer offsets, the most it may; delete unused groups"),
        ));
    }
    if offsets.has_dirty() {
        duties.arm(Duty::WriteOffsets, now.after_ms(metadata.settings.store.flush_consumer_offset_interval));
    }
    Ok(())
}

/// The queue, if it was ever written or read here.
fn find(shard: &Shard, topic: Text<'_>, queue_id: i32) -> Option<QueueSlot> {
    shard.queues.find(topic.decode_in(&mut [0; RETRY_TOPIC_MAX])?, u32::try_from(queue_id).ok()?)
}

/// GET_MAX_OFFSET (30): the next offset a consumer will see.
pub fn max(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: MaxOffsetHeader<'_> = ask.header()?;
    let queue = find(shard, header.topic, header.queue_id).map(|slot| &shard.queues[slot]);
    let offset = queue.map_or(0, |queue| if header.committed { queue.visible() } else { queue.max() }) as i64;
    Ok(out.answer(&ask.to(), &OffsetReply { offset }))
}

/// GET_MIN_OFFSET (31).
pub fn min(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: QueueHeader<'_> = ask.header()?;
    let slot = find(shard, header.topic, header.queue_id);
    let offset = slot.map_or(Ok(0), |slot| shard.queues.exact_min(slot))? as i64;
    Ok(out.answer(&ask.to(), &OffsetReply { offset }))
}

/// GET_EARLIEST_MSG_STORETIME (32).
pub fn earliest_store_time(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: QueueHeader<'_> = ask.header()?;
    let timestamp = match find(shard, header.topic, header.queue_id) {
        Some(slot) => {
            let min = shard.queues.exact_min(slot)?;
            shard.queues.look(slot, min)?.map_or(-1, |(_, ms)| ms)
        }
        None => -1,
    };
    Ok(out.answer(&ask.to(), &StoreTimeReply { timestamp }))
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29).
pub fn search(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: SearchOffsetHeader<'_> = ask.header()?;
    let upper = header.boundary_type.is_some_and(|kind| kind.to_cow().eq_ignore_ascii_case("UPPER"));
    let offset = match find(shard, header.topic, header.queue_id) {
        None => 0,
        // All expired, or never used: where the next one will be.
        Some(slot) if shard.queues[slot].is_empty() => shard.queues[slot].min(),
        Some(slot) if upper => {
            let last = shard.queues.last_until(slot, header.timestamp)?;
            last.map_or(0, |last| last.min(shard.queues[slot].visible().saturating_sub(1)))
        }
        Some(slot) => {
            let first = shard.queues.first_since(slot, header.timestamp)?;
            first.min(shard.queues[slot].visible())
        }
    };
    Ok(out.answer(&ask.to(), &OffsetReply { offset: offset as i64 }))
}

/// Duty: writes changed offsets to the log, a record at a time.
pub fn write_offsets(shard: &mut Shard, now: Now, _out: &mut Effects) -> Next {
    write_batches(shard, now);
    let interval = shard.metadata.settings.store.flush_consumer_offset_interval;
    if shard.offsets.has_dirty() { Next::At(now.after_ms(interval)) } else { Next::WhenArmed }
}

/// Writes every changed offset, because the process is about to stop.
pub fn write_all(shard: &mut Shard, now: Now) {
    write_batches(shard, now);
}

fn write_batches(shard: &mut Shard, now: Now) {
    let Shard { log, offsets, metadata, .. } = shard;
    while let Some(payload) = offsets.next_batch(&metadata.topics) {
        let record = OwnRecord { kind: OwnKind::OffsetBatch, payload: &payload };
        let taken = log.append(now.mono_us, record.size(), |_, bytes| record.encode(bytes));
        if taken.is_err() {
            // The log is full or has stopped. These offsets are a little older after a restart; new commits try again.
            return;
        }
    }
}
