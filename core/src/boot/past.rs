//! What a shard's log holds of topics as they were before they were deleted.
//!
//! A deletion is durable in the control shard's log only, so every start compares: what is not of the topic's present incarnation
//! is dropped. That needs not be noted, for the next start comes to the same end: an incarnation that is past never comes back.
//! Owns the comparison. Never changes anything.

use crate::metadata::Metadata;
use crate::store::QueueTable;
use crate::topic::is_system_topic;

/// The topics in the table whose queues are of a past incarnation.
pub(super) fn topics(metadata: &Metadata, queues: &QueueTable) -> Vec<Box<str>> {
    let past = queues.lives().filter(|life| match metadata.topics.get(life.topic) {
        Some(topic) => topic.incarnation != life.incarnation,
        // Of the broker's own topics not all are in the tables.
        None => !is_system_topic(life.topic, &metadata.settings),
    });
    past.map(|life| life.topic.into()).collect()
}

/// Whether the topic exists and its queues here are its present ones.
pub(super) fn is_present(metadata: &Metadata, queues: &QueueTable, topic: &str) -> bool {
    let life = queues.life(topic);
    life.is_none_or(|life| life.incarnation == metadata.topics.incarnation(topic))
        && metadata.topics.get(topic).is_some()
}
