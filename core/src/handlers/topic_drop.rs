//! What a deleted topic leaves behind in this shard's log.
//!
//! Owns the QueuesDropped record: without it recovery would bring the topic's queues back. And what a start does about a topic
//! whose deletion was decided when this shard could not note it any more.

use crate::effects::Effects;
use crate::event::Now;
use crate::peer;
use crate::shard::Shard;
use crate::store::{OwnKind, OwnRecord, Position};
use crate::topic::is_system_topic;

/// Notes that the queues of a topic end here, and where that is noted.
pub(crate) fn write(shard: &mut Shard, now: Now, topic: &str) -> Position {
    let record = OwnRecord { kind: OwnKind::QueuesDropped, payload: topic.as_bytes() };
    // A log that takes nothing any more is read-only: then the topic comes back with the next start, and can be deleted again.
    let noted = shard.log.append_note(now.mono_us, record.size(), |_, bytes| record.encode(bytes));
    noted.unwrap_or(shard.log.appended())
}

/// Drops the queues of topics that do not exist: their deletion was durable on the control shard, and a power cut or a failed
/// log kept this shard from noting it. Every topic a message was stored for was durable before, so nothing else has such queues.
pub(crate) fn forget_unknown(shard: &mut Shard, now: Now) {
    let Shard { metadata, queues, .. } = shard;
    let (mut unknown, mut last): (Vec<Box<str>>, &str) = (Vec::new(), "");
    for (topic, _, _) in queues.iter() {
        let is_next = topic != last;
        last = topic;
        if is_next && metadata.topics.get(topic).is_none() && !is_system_topic(topic, &metadata.settings) {
            unknown.push(topic.into());
        }
    }
    for topic in unknown {
        // Nobody waits for a queue yet.
        peer::drop_topic(shard, now, &topic, &mut Effects::default());
    }
}
