//! NOTIFICATION (200054): is there something to pop, or: say when there is. POLLING_INFO (200055): how many wait.
//!
//! Owns both answers (NotificationProcessor, PollingInfoProcessor). A notification goes its way like a pop
//! (`pop::place`), but takes nothing.

use ringmq_protocol::headers::pop::{NotificationHeader, NotificationReply, PollingInfoHeader, PollingInfoReply};

use super::pop::{check, deadline, slots};
use super::pop_wait::{self, Stay, Stayed};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::GatherId;
use crate::event::ShardId;
use crate::gather::Part;
use crate::map::hash_parts;
use crate::shard::Shard;

/// NOTIFICATION.
pub fn notification(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    serve(shard, ask, None, out)
}

/// The same for one that may have been on other shards.
pub(crate) fn serve(shard: &mut Shard, ask: &Ask<'_>, left: Option<u16>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: NotificationHeader<'_> = ask.header()?;
    let deadline = deadline(ask, header.born_time, header.poll_time)?;
    let (topic, group) = (header.topic.to_cow(), header.consumer_group.to_cow());
    let attempt = header.attempt_id.map(|attempt| attempt.to_cow()).unwrap_or_default();
    let queue = check(shard, ask, &topic, &group, header.queue_id, out)?;
    let slots = slots(shard, &topic, &group);
    let wanted = match queue {
        Some(queue) => shard.queues.find(&topic, queue).into_iter().collect(),
        None => slots.clone(),
    };
    let now_ms = shard.delay.clock().now_ms(ask.now);
    let has_msg = wanted.iter().any(|slot| {
        let Some(queue) = shard.queues.get(*slot) else { return false };
        let Some(line) = shard.pop.lines.find(*slot, &group).map(|id| &shard.pop.lines[id]) else {
            return !queue.is_empty() && queue.min() < queue.visible();
        };
        let again = header.order && line.out.values().any(|popped| popped.ordered);
        !line.is_blocked(now_ms, Some(&*attempt).filter(|attempt| !attempt.is_empty()))
            && (again || line.next.max(queue.min()) < queue.visible())
    });
    if has_msg {
        return Ok(out.answer(&ask.to(), &NotificationReply { has_msg: true, polling_full: false }));
    }
    let shape = hash_parts(&[&ask.command.code.to_be_bytes(), &header.queue_id.to_be_bytes(), attempt.as_bytes()]);
    let stay = Stay { topic: &topic, group: &group, queue, deadline, shape, slots: &slots };
    let polling_full = match pop_wait::stay(shard, ask, &stay, left, out) {
        Stayed::Held => return Ok(Answer::Held),
        Stayed::TimeUp => false,
        Stayed::Full => true,
    };
    Ok(out.answer(&ask.to(), &NotificationReply { has_msg: false, polling_full }))
}

/// This shard's part of POLLING_INFO.
pub(crate) fn waiting_part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _from: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let header: PollingInfoHeader<'_> = ask.header()?;
    let queue = u32::try_from(header.queue_id).ok();
    let count = shard.pop.rooms.waiting(&header.topic.to_cow(), &header.consumer_group.to_cow(), queue);
    Ok(Some(Part::Count(count as u64)))
}

/// POLLING_INFO, from all parts.
pub(crate) fn waiting_merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let count = parts.iter().map(|part| if let Part::Count(count) = part { *count } else { 0 }).sum::<u64>();
    let _ = out.answer(to, &PollingInfoReply { polling_num: i32::try_from(count).unwrap_or(i32::MAX) });
}
