//! One message on its way into the log, its queue and the key index.
//!
//! Owns the order of those steps and when a message becomes visible: at once on an async topic, when it is durable on
//! a sync topic. Everything that stores a message (sends, retries, due delays, committed halves) goes through
//! [`Intake`]; `Shard::apply` wakes the consumers afterwards.
//! Never checks whether the message may be stored, never answers anybody.

use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::record::{Message, RecordError};
use ringmq_protocol::response_code::ResponseCode;

use crate::counts::Counts;
use crate::effects::{Fault, Refusal};
use crate::event::{Now, ShardId};
use crate::shard::Shard;
pub use crate::store::Marks;
use crate::store::{AppendRefused, CommitLog, Entry, KeyIndex, Position, QueueSlot, QueueTable};
use crate::store::{Begun, OwnKind, OwnRecord};
use crate::topic::TopicTable;
use crate::waiting::{Shows, Waiting};

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// When it is durable; consumers do not see it before.
    Sync,
    /// At once.
    Async,
}

/// Where a message ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub queue_offset: i64,
    /// Its physical offset as clients see it.
    pub wire_offset: i64,
    /// Durable when the log is durable up to here.
    pub end: Position,
}

/// A physical offset as clients see it.
#[inline]
pub fn wire_offset(shard: ShardId, position: Position) -> i64 {
    WireOffset::new(shard.0, position).to_wire()
}

/// The parts of a shard that a message goes into.
#[derive(Debug)]
pub struct Intake<'a> {
    pub id: ShardId,
    pub topics: &'a TopicTable,
    pub log: &'a mut CommitLog,
    pub queues: &'a mut QueueTable,
    pub index: &'a mut KeyIndex,
    pub waiting: &'a mut Waiting,
    pub counts: &'a mut Counts,
    /// Queues that became readable further; `Shard::apply` wakes their pulls when it settles.
    pub shown: &'a mut Vec<Shows>,
}

impl<'a> Intake<'a> {
    /// For callers that need no other part of the shard meanwhile.
    pub fn of(shard: &'a mut Shard) -> Self {
        let Shard { id, metadata, log, queues, index, waiting, counts, scratch, .. } = shard;
        let topics = &metadata.topics;
        Intake { id: *id, topics, log, queues, index, waiting, counts, shown: &mut scratch.shown }
    }

    /// Stores one message in a queue of this shard. Fills in what only the log knows: queue offset, physical offset
    /// and store timestamp.
    ///
    /// # Errors
    /// MESSAGE_ILLEGAL when a part is too long, SYSTEM_BUSY when the disk must catch up first, SERVICE_NOT_AVAILABLE
    /// when the log has stopped. Nothing changed then.
    #[inline]
    pub fn append(
        &mut self,
        now: Now,
        slot: QueueSlot,
        message: &mut Message<'_>,
        marks: &Marks<'_>,
        flush: Flush,
    ) -> Result<Stored, Refusal> {
        let size = message.size().map_err(|error| too_long(&error))?;
        if self.queues[slot].max() == 0 {
            self.begin(now, message.topic)?;
        }
        let Intake { id, topics: _, log, queues, index, waiting, counts, shown } = self;
        let queue = &mut queues[slot];
        let queue_offset = queue.max();
        message.queue_offset = queue_offset as i64;
        message.store_timestamp = now.wall_ms;
        let position = log
            .append(now.mono_us, size.total, |position, bytes| {
                message.physical_offset = wire_offset(*id, position);
                message.encode_into(bytes, &size);
            })
            .map_err(not_taken)?;
        let end = Position(position.0 + size.total as u64);
        let shows = Shows { slot, below: queue_offset + 1 };
        // An async message behind unflushed sync ones must not show them early.
        let unseen = queue.visible() < queue_offset;
        log.note_time(now.wall_ms);
        log.note_size(message.topic, position, size.total as u64);
        queue.push(Entry { position, size: size.total as u32, tag_hash: marks.tag_hash() }, now.wall_ms);
        if flush == Flush::Sync || unseen {
            waiting.hide(end, shows);
        } else {
            queue.show(shows.below);
            note_shown(shown, shows);
        }
        marks.index(index, message.topic, position, now.wall_ms);
        counts.messages_in += 1;
        counts.bytes_in += size.total as u64;
        Ok(Stored { queue_offset: queue_offset as i64, wire_offset: message.physical_offset, end })
    }
}

impl Intake<'_> {
    /// Has the log say of which incarnation of the topic is what follows, unless it does. Before anything is stored for a topic,
    /// under its name or on a detour.
    ///
    /// # Errors
    /// As [`Intake::append`].
    pub fn begin(&mut self, now: Now, topic: &str) -> Result<(), Refusal> {
        let Intake { topics, log, queues, .. } = self;
        let incarnation = topics.incarnation(topic);
        if queues.incarnation(topic) == incarnation {
            return Ok(());
        }
        let payload = Begun { topic, incarnation }.payload();
        let record = OwnRecord { kind: OwnKind::TopicBegun, payload: &payload };
        let taken = log.append(now.mono_us, record.size(), |_, bytes| record.encode(bytes));
        queues.begin(topic, incarnation, taken.map_err(not_taken)?);
        Ok(())
    }
}

/// Whether what was stored for a topic at this place of the log is the present topic's. It is not if the topic was deleted and
/// made again since: then it belongs to nobody.
pub(crate) fn is_of_present(topics: &TopicTable, queues: &QueueTable, topic: &str, position: Position) -> bool {
    let Some(present) = topics.get(topic) else { return false };
    let life = queues.life(topic).filter(|life| life.incarnation == present.incarnation);
    present.incarnation.is_none() || life.is_some_and(|life| life.begun < position)
}

/// Remembers that a queue became readable further; a run of messages to one queue is one note.
#[inline]
pub fn note_shown(shown: &mut Vec<Shows>, shows: Shows) {
    match shown.last_mut() {
        Some(last) if last.slot == shows.slot => last.below = shows.below,
        _ => shown.push(shows),
    }
}

#[cold]
fn too_long(error: &RecordError) -> Refusal {
    Refusal::new(ResponseCode::MessageIllegal, error.to_string())
}

#[cold]
pub(crate) fn not_taken(refused: AppendRefused) -> Refusal {
    match refused {
        AppendRefused::TooLarge { limit } => Refusal::new(
            ResponseCode::MessageIllegal,
            format!("the message with topic and properties exceeds the {limit} bytes that a log segment can hold"),
        ),
        AppendRefused::Full { limit } => Refusal::new(
            ResponseCode::SystemBusy,
            format!("{limit} bytes wait for the disk on this shard; send again when it has caught up"),
        ),
        AppendRefused::Stopped(fault) => stopped(&fault),
    }
}

/// The refusal of everything that would need the log after it stopped.
#[cold]
pub fn stopped(fault: &Fault) -> Refusal {
    let remark = format!(
        "this shard accepts nothing until the broker is restarted: {fault}; what was acknowledged is safe, consumers go on"
    );
    Refusal::new(ResponseCode::ServiceNotAvailable, remark)
}
