//! What a deleted topic leaves behind in this shard's log.
//!
//! Owns the QueuesDropped record: without it recovery would bring the topic's queues back.

use crate::event::Now;
use crate::shard::Shard;
use crate::store::{OwnKind, OwnRecord, Position};

/// Notes that the queues of a topic end here, and where that is noted.
pub(crate) fn write(shard: &mut Shard, now: Now, topic: &str) -> Position {
    let record = OwnRecord { kind: OwnKind::QueuesDropped, payload: topic.as_bytes() };
    // A log that takes nothing any more is read-only: then the topic comes back with the next start, and can be deleted again.
    let noted = shard.log.append(now.mono_us, record.size(), |_, bytes| record.encode(bytes));
    noted.unwrap_or(shard.log.appended())
}
