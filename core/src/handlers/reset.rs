//! Resetting a group's offsets: INVOKE_BROKER_TO_RESET_OFFSET (222).
//!
//! Owns the target of each queue and the answer. Every shard resets its own queues; the next pull of a queue is told to go
//! there (`Offsets::take_reset`), so online and offline groups are reset alike (protocol.md 8.6).

use ringmq_protocol::bodies::offset::ResetOffsets;
use ringmq_protocol::bodies::queue::{MessageQueue, QueueMap};
use ringmq_protocol::headers::offset::ResetOffsetHeader;
use ringmq_protocol::response_code::ResponseCode;

use super::stats::known_topic;
use super::{pull, subscription};
use crate::duties::Duty;
use crate::effects::{Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, ShardId};
use crate::gather::Part;
use crate::limits::OFFSETS_MAX;
use crate::offsets::QueuePlace;
use crate::shard::Shard;
use crate::store::QueueSlot;

/// Resets the queues of this shard that are meant.
pub fn part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let header: ResetOffsetHeader<'_> = ask.header()?;
    let (name, group) = (header.topic.to_cow(), header.group.to_cow());
    let topic = known_topic(shard, &name)?;
    if shard.metadata.groups.get(&group).is_none() {
        return Err(subscription::no_group(&group));
    }
    let meant = |queue: &u32| header.queue_id < 0 || header.queue_id == *queue as i32;
    let own: Vec<u32> = (0..topic.read_queues.max(topic.write_queues))
        .filter(|queue| topic.shard_of(*queue) == Some(shard.id))
        .filter(meant)
        .collect();
    // All targets first: a queue whose old messages must be looked at on disk comes back to the beginning.
    let mut targets = Vec::new();
    for queue in own {
        let slot = shard.queues.open(&name, queue);
        targets.push((queue, slot, target(shard, slot, &header)?));
    }
    let mut done = Vec::new();
    for (queue, slot, target) in targets {
        let place = QueuePlace { topic: &name, queue, slot };
        shard.offsets.reset(place, &group, target).map_err(|_| {
            Refusal::new(ResponseCode::SystemBusy, format!("this shard keeps {OFFSETS_MAX} consumer offsets already"))
        })?;
        let interval = shard.metadata.settings.store.flush_consumer_offset_interval;
        shard.duties.arm(Duty::WriteOffsets, ask.now.after_ms(interval));
        // A held pull of the queue waits at the old place.
        pull::wake(shard, ask.now, slot, out);
        done.push((MessageQueue::new(&name, &shard.metadata.settings.identity.broker_name, queue as i32), target));
    }
    Ok(Some(Part::Resets(done)))
}

/// Where a queue is reset to: the offset given for one queue, else the first message since the time given.
fn target(shard: &mut Shard, slot: QueueSlot, header: &ResetOffsetHeader<'_>) -> Result<i64, Refusal> {
    let queue = &shard.queues[slot];
    let (min, end) = (queue.min() as i64, queue.visible() as i64);
    match header.offset {
        Some(offset) if header.queue_id >= 0 && offset >= 0 => {
            if (min..=end).contains(&offset) {
                return Ok(offset);
            }
            let remark = format!("queue {} has messages from {min} to {end}; {offset} lies outside", header.queue_id);
            Err(Refusal::new(ResponseCode::SystemError, remark))
        }
        _ if header.timestamp < 0 => Ok(end),
        _ => Ok((shard.queues.first_since(slot, header.timestamp)? as i64).min(end)),
    }
}

/// Answers the new offset of every queue that was reset.
pub fn merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let mut queues: Vec<(MessageQueue, i64)> = Vec::new();
    for part in parts {
        if let Part::Resets(own) = part {
            queues.extend(own);
        }
    }
    queues.sort_unstable_by_key(|(queue, _)| queue.queue_id);
    let body = ResetOffsets { offset_table: QueueMap(queues) };
    let _ = out.reply(to, ResponseCode::Success, None, |_| {}, |bytes| body.encode(bytes));
}
