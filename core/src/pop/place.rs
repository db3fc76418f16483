//! Where POP requests run.
//!
//! **A pop of any queue** is served by one shard at a time. It begins on one of the shards that own queues of the topic,
//! chosen by the request's number, so that all get their turn; a shard that has nothing passes it on to the next one in the
//! order of their numbers. It waits on the last of them. Every shard it passed notes who waits, and sends word, once, when
//! it gets a message: along the same way, so that the word never overtakes the pop it is for. The waiting shard then sends
//! its pops to where the message is. So no message lies anywhere while a pop of its group waits.
//!
//! Everything that names a queue runs on the shard of that queue; receipts from the retry topic name a queue of that.

use ringmq_protocol::command::Command;

use super::receipt::{Receipt, Source};
use crate::event::ShardId;
use crate::limits::RETRY_TOPIC_MAX;
use crate::metadata::Metadata;
use crate::shard::Shard;
use crate::topic::Topic;

/// The shards that own a queue of the topic, or did: their retry topic may have messages still.
pub fn owners(topic: &Topic) -> Vec<ShardId> {
    topic.shards.distinct()
}

/// The shard after this one, on the way round.
pub fn after(owners: &[ShardId], shard: ShardId) -> ShardId {
    let next = owners.iter().find(|owner| **owner > shard).or(owners.first());
    next.copied().unwrap_or(shard)
}

/// Where a pop begins.
pub(crate) fn of_pop(shard: &Shard, command: &Command<'_>) -> Option<ShardId> {
    let mut room = [0; RETRY_TOPIC_MAX];
    let topic = command.ext.get("topic")?.decode_in(&mut room)?;
    let config = shard.metadata.topics.get(topic)?;
    match u32::try_from(command.ext.get("queueId")?.parse_i32()?) {
        Ok(queue) => config.shard_of(queue),
        Err(_) => {
            let owners = owners(config);
            // Multiplied, because clients that pop and acknowledge in turn have even numbers for the one, odd for the other.
            let turn = (command.opaque as u32).wrapping_mul(0x9e37_79b1) >> 16;
            owners.get(turn as usize % owners.len().max(1)).copied()
        }
    }
}

/// Where a receipt is good.
pub(crate) fn of_receipt(shard: &Shard, command: &Command<'_>) -> Option<ShardId> {
    let text = |key| Some(command.ext.get(key)?.to_cow());
    let info = text("extraInfo")?;
    let source = Receipt::parse(&info)?.source;
    let topic = source.topic(&text("consumerGroup")?, &text("topic")?);
    shard.metadata.topics.get(&topic)?.shard_of(u32::try_from(command.ext.get("queueId")?.parse_i32()?).ok()?)
}

/// Which retry topic a group's messages of `topic` go to: `%RETRY%group_topic`, unless a group is called so.
pub(crate) fn retry_source(metadata: &Metadata, group: &str, topic: &str) -> Source {
    match metadata.groups.get(&[group, "_", topic].concat()) {
        None => Source::RetryV1,
        Some(_) => Source::RetryV2,
    }
}
