//! How far queues and groups are: GET_TOPIC_STATS_INFO (202), GET_CONSUME_STATS (208), QUERY_TOPIC_CONSUME_BY_WHO (300),
//! QUERY_TOPICS_BY_CONSUMER (343).
//!
//! Owns each shard's part of these answers (the queues it owns) and their merging at the shard that was asked. A shard lists
//! a topic for a group if the group subscribes to it or committed an offset here.

use std::collections::BTreeSet;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::queue::{MessageQueue, QueueMap};
use ringmq_protocol::bodies::stats::{ConsumeOffset, ConsumeStats, TopicOffset, TopicStats};
use ringmq_protocol::bodies::topic::{GroupList, TopicList};
use ringmq_protocol::headers::group::{ConsumeStatsHeader, GroupHeader};
use ringmq_protocol::headers::topic::TopicHeader;
use ringmq_protocol::response_code::ResponseCode;

use crate::effects::{Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, ShardId};
use crate::gather::Part;
use crate::offsets::Progress;
use crate::shard::Shard;
use crate::store::{Absent, QueueSlot};
use crate::topic::Topic;

/// The topic, or the refusal tools expect.
pub(crate) fn known_topic<'s>(shard: &'s Shard, name: &str) -> Result<&'s Topic, Refusal> {
    shard
        .metadata
        .topics
        .get(name)
        .ok_or_else(|| Refusal::new(ResponseCode::TopicNotExist, format!("topic[{name}] not exist")))
}

/// The queues of a topic that this shard owns, below `count`.
fn own_queues(shard: &Shard, topic: &Topic, count: u32) -> Vec<u32> {
    (0..count).filter(|&queue| topic.shard_of(queue) == Some(shard.id)).collect()
}

/// When the message before `offset` was stored; 0 when there is none.
fn stored_before(shard: &mut Shard, slot: Option<QueueSlot>, offset: i64) -> Result<i64, Absent> {
    let before = u64::try_from(offset).ok().and_then(|offset| offset.checked_sub(1));
    let Some((slot, before)) = slot.zip(before) else { return Ok(0) };
    Ok(shard.queues.time_of(slot, before)?.unwrap_or(0))
}

fn message_queue(shard: &Shard, topic: &str, queue: u32) -> MessageQueue {
    MessageQueue::new(topic, &shard.metadata.settings.identity.broker_name, queue as i32)
}

/// GET_TOPIC_STATS_INFO: first and next offset of every queue, written to or not.
pub fn topic_part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let TopicHeader { topic } = ask.header()?;
    let name = topic.to_cow();
    let topic = known_topic(shard, &name)?;
    let mut offsets = Vec::new();
    for id in own_queues(shard, topic, topic.queues()) {
        let slot = shard.queues.find(&name, id);
        let (min, max) = slot.map_or((0, 0), |slot| (shard.queues[slot].min(), shard.queues[slot].visible()));
        let offset = TopicOffset {
            last_update_timestamp: stored_before(shard, slot, max as i64)?,
            max_offset: max as i64,
            min_offset: min as i64,
        };
        offsets.push((message_queue(shard, &name, id), offset));
    }
    Ok(Some(Part::TopicOffsets(offsets)))
}

/// Merges the parts of GET_TOPIC_STATS_INFO.
pub fn topic_merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let mut queues: Vec<(MessageQueue, TopicOffset)> = Vec::new();
    for part in parts {
        if let Part::TopicOffsets(own) = part {
            queues.extend(own);
        }
    }
    queues.sort_unstable_by_key(|(queue, _)| queue.queue_id);
    let stats = TopicStats { offset_table: QueueMap(queues), topic_put_tps: 0.0 };
    let _ = out.reply(to, ResponseCode::Success, None, |_| {}, |body| stats.encode(body));
}

/// GET_CONSUME_STATS: where a group stands on every queue of its topics.
pub fn consume_part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let header: ConsumeStatsHeader<'_> = ask.header()?;
    let group = header.consumer_group.to_cow();
    let id = shard.offsets.find_group(&group);
    let mut queues = Vec::new();
    for name in topics_asked(shard, &header) {
        // A topic that is gone is left out: tools ask for every topic a group ever read.
        let Some(topic) = shard.metadata.topics.get(&name) else { continue };
        for queue_id in own_queues(shard, topic, topic.read_queues) {
            let slot = shard.queues.find(&name, queue_id);
            let progress = slot.zip(id).map_or(Progress::default(), |(slot, id)| shard.offsets.get(slot, id));
            let consumer_offset = progress.committed.unwrap_or(0);
            let offset = ConsumeOffset {
                broker_offset: slot.map_or(0, |slot| shard.queues[slot].visible()) as i64,
                consumer_offset,
                last_timestamp: stored_before(shard, slot, consumer_offset)?,
                pull_offset: progress.pulled.max(consumer_offset),
            };
            queues.push((message_queue(shard, &name, queue_id), offset));
        }
    }
    Ok(Some(Part::ConsumeOffsets(queues)))
}

/// The topics a question about a group is about: those listed; else the one named or all that the group read or subscribes
/// to, while it is online only those it subscribes to.
fn topics_asked(shard: &Shard, header: &ConsumeStatsHeader<'_>) -> BTreeSet<String> {
    let text =
        |text: Option<ringmq_protocol::text::Text<'_>>| text.map(|text| text.to_cow().into_owned()).unwrap_or_default();
    let listed = text(header.topic_list);
    if !listed.is_empty() {
        return listed.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    }
    let group = header.consumer_group.to_cow();
    let view = shard.metadata.views.get(&group).filter(|view| !view.topics.is_empty());
    let named = text(header.topic);
    let mut topics: BTreeSet<String> =
        if named.is_empty() { topics_read(shard, &group) } else { BTreeSet::from([named.clone()]) };
    if let Some(view) = view {
        topics.retain(|topic| view.topics.contains_key(topic.as_str()));
        if named.is_empty() {
            topics.extend(view.topics.keys().map(ToString::to_string));
        }
    }
    topics
}

/// The topics on whose queues here a group committed offsets.
fn topics_read(shard: &Shard, group: &str) -> BTreeSet<String> {
    let Some(id) = shard.offsets.find_group(group) else { return BTreeSet::new() };
    let committed = shard.offsets.of_group(id).filter(|(_, progress)| progress.committed.is_some());
    committed.filter_map(|(slot, _)| shard.offsets.queue_name(slot)).map(|(topic, _)| topic.to_owned()).collect()
}

/// Merges the parts of GET_CONSUME_STATS.
pub fn consume_merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let mut queues: Vec<(MessageQueue, ConsumeOffset)> = Vec::new();
    for part in parts {
        if let Part::ConsumeOffsets(own) = part {
            queues.extend(own);
        }
    }
    queues.sort_unstable_by(|(one, _), (other, _)| (&one.topic, one.queue_id).cmp(&(&other.topic, other.queue_id)));
    let stats = ConsumeStats { consume_tps: 0.0, offset_table: QueueMap(queues) };
    let _ = out.reply(to, ResponseCode::Success, None, |_| {}, |body| stats.encode(body));
}

/// QUERY_TOPIC_CONSUME_BY_WHO: groups that subscribe to the topic, and groups with offsets on it.
pub fn groups_part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let TopicHeader { topic } = ask.header()?;
    let name = topic.to_cow();
    let mut groups: BTreeSet<String> = shard.metadata.views.subscribers(&name).into_iter().map(str::to_owned).collect();
    for (_, slot) in shard.queues.of_topic(&name) {
        groups.extend(shard.offsets.of_queue(slot).map(|(group, _)| group.to_owned()));
    }
    Ok(Some(Part::Names(groups)))
}

fn names(parts: Vec<Part>) -> Vec<String> {
    let mut all = BTreeSet::new();
    for part in parts {
        if let Part::Names(names) = part {
            all.extend(names);
        }
    }
    all.into_iter().collect()
}

/// Merges the parts of QUERY_TOPIC_CONSUME_BY_WHO.
pub fn groups_merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let _ = out.answer_body(to, &bodies::to_vec(&GroupList { group_list: names(parts) }));
}

/// QUERY_TOPICS_BY_CONSUMER: topics on which the group has offsets.
pub fn topics_part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let GroupHeader { group } = ask.header()?;
    Ok(Some(Part::Names(topics_read(shard, &group.to_cow()))))
}

/// Merges the parts of QUERY_TOPICS_BY_CONSUMER.
pub fn topics_merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let _ = out.answer_body(to, &bodies::to_vec(&TopicList { broker_addr: None, topic_list: names(parts) }));
}
