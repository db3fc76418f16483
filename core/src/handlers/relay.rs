//! Messages that the broker itself puts into a queue, which may belong to another shard.
//!
//! Owns the storing of such a message (delayed or not) where its queue is, the way to the shard that owns the queue and back,
//! and the requests that wait for the outcome. Retries, dead letters, committed half messages and replies come here.
//! Never decides what the message is.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ringmq_protocol::headers::send::SendReply;
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use super::reply::Reply;
use super::send;
use crate::append::{Flush, Intake, Stored};
use crate::delay::Wish;
use crate::detour::{Detour, Extra, Numbers, Rooms};
use crate::effects::{Answer, Effects, Refusal, ReplyTo};
use crate::event::{Now, PeerMessage, ShardId};
use crate::gather::Gathers;
use crate::limits::RELAYS_MAX;
use crate::map::Map;
use crate::metadata::Metadata;
use crate::pushes::Pushes;
use crate::shard::Shard;
use crate::store::{Marks, Position, QueueSlot};

/// A message on its way to its queue.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The message as a record. What only a log knows is not filled in yet.
    pub record: Box<[u8]>,
    pub wish: Option<Wish>,
}

impl Letter {
    /// Takes a message along.
    ///
    /// # Errors
    /// MESSAGE_ILLEGAL when a part is too long.
    pub fn of(message: &Message<'_>, wish: Option<Wish>) -> Result<Self, Refusal> {
        let size = message.size().map_err(|error| Refusal::new(ResponseCode::MessageIllegal, error.to_string()))?;
        let mut record = vec![0; size.total];
        message.encode_into(&mut record, &size);
        Ok(Letter { record: record.into(), wish })
    }
}

/// A request that waits for an outcome elsewhere.
#[derive(Debug, Clone)]
pub enum Relay {
    /// CONSUMER_SEND_MSG_BACK.
    Back { to: ReplyTo },
    /// A send to a retry topic.
    Sent { to: ReplyTo, queue_id: u32, store_host: SocketAddr, unique_key: Option<Box<str>> },
}

/// What waits for other shards, and what other shards wait for.
#[derive(Debug, Default)]
pub struct Relays {
    open: Map<u64, Relay>,
    /// Replies whose push to the requester is under way.
    pub(crate) replies: Map<u64, Reply>,
    next: u64,
    /// Requests of ours that clients have not answered.
    pub pushes: Pushes,
    /// Questions to every shard.
    pub gathers: Gathers,
    /// Messages stored for other shards that are not durable yet, in log order.
    due: VecDeque<Due>,
    /// Versions of changes that this shard has applied, each with how far its log must be durable before control may count
    /// on it. Ascending in both; control has few changes under way.
    confirms: VecDeque<(Position, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    asker: ShardId,
    id: u64,
    stored: Stored,
}

impl Relays {
    /// Remembers a request; its number.
    ///
    /// # Errors
    /// SYSTEM_BUSY at the limit.
    pub fn open(&mut self, relay: Relay) -> Result<u64, Refusal> {
        let id = self.number(self.open.len())?;
        self.open.insert(id, relay);
        Ok(id)
    }

    /// Remembers a reply; its number.
    ///
    /// # Errors
    /// SYSTEM_BUSY at the limit.
    pub(crate) fn open_reply(&mut self, reply: Reply) -> Result<u64, Refusal> {
        let id = self.number(self.replies.len())?;
        self.replies.insert(id, reply);
        Ok(id)
    }

    fn number(&mut self, open: usize) -> Result<u64, Refusal> {
        if open >= RELAYS_MAX {
            return Err(Refusal::new(ResponseCode::SystemBusy, "too much waits for other shards; send again"));
        }
        self.next += 1;
        Ok(self.next)
    }

    /// The log is finished: nothing stored for others will ever be durable.
    pub fn fail(&mut self, refusal: &Refusal, out: &mut Effects) {
        for Due { asker, id, .. } in self.due.drain(..) {
            out.peers.push((asker, PeerMessage::Stored { id, outcome: Err(refusal.clone()) }));
        }
    }

    /// Whether another shard waits for this one's disk.
    pub(crate) fn wait_for_disk(&self) -> bool {
        !self.due.is_empty() || !self.confirms.is_empty()
    }

    /// Control is told that this shard has all changes up to `version` once the log is durable up to `until`.
    pub(crate) fn confirm(&mut self, until: Position, version: u64) {
        let until = self.confirms.back().map_or(until, |(earlier, _)| until.max(*earlier));
        self.confirms.push_back((until, version));
    }
}

/// Stores a message of the broker's own in its queue, which this shard owns; in the schedule, if it is to be delayed.
///
/// # Errors
/// TOPIC_NOT_EXIST when the queue is not here, and as [`Intake::append`].
pub(crate) fn put(
    shard: &mut Shard,
    now: Now,
    message: &Message<'_>,
    marks: &Marks<'_>,
    wish: Option<Wish>,
) -> Result<(Stored, Flush), Refusal> {
    let queue_id = u32::try_from(message.queue_id).ok();
    let own = queue_id.and_then(|queue_id| Some((queue_id, own_queue(shard, message.topic, queue_id)?)));
    let Some((queue_id, (slot, flush))) = own else {
        return Err(Refusal::new(
            ResponseCode::TopicNotExist,
            format!("topic[{}] has no queue {} on shard {}", message.topic, message.queue_id, shard.id.0),
        ));
    };
    if flush == Flush::Sync && shard.waiting.is_full() {
        return Err(Refusal::new(ResponseCode::SystemBusy, "too many messages wait for the disk on this shard"));
    }
    let Some(wish) = wish else {
        let stored = Intake::of(shard).append(now, slot, &mut { *message }, marks, flush)?;
        return Ok((stored, flush));
    };
    let Shard { id, metadata, log, queues, index, waiting, counts, scratch, delay, half, duties, .. } = shard;
    let topics = &metadata.topics;
    let mut intake = Intake { id: *id, topics, log, queues, index, waiting, counts, shown: &mut scratch.shown };
    let mut rooms = Rooms { delay, half, duties, settings: &metadata.settings };
    let detour = Detour::until(wish, now, rooms.delay)?;
    let mut numbers = Numbers::default();
    let mut extra: Extra<'_> = message.properties.extra.iter().copied().collect();
    detour.stamp(message.topic, queue_id, marks.unique_key, &mut numbers, &mut extra);
    let properties = PropertyParts { extra: &extra, ..message.properties };
    let mut message = Message { properties, ..*message };
    let stored = detour.append(&mut rooms, &mut intake, now, &mut message, marks, flush)?;
    Ok((stored, flush))
}

/// A queue of this shard and when a message in it counts as stored. A shrunk topic still takes messages for its former
/// queues: consumers drain those.
pub(crate) fn own_queue(shard: &mut Shard, topic: &str, queue_id: u32) -> Option<(QueueSlot, Flush)> {
    let Shard { id, metadata, queues, .. } = shard;
    let config = metadata.topics.get(topic)?;
    if config.shards.get(queue_id) != Some(*id) {
        return None;
    }
    Some((queues.open(topic, queue_id), send::flush_of(config, metadata)))
}

/// Brings a message to its queue, here or on another shard, and has `relay` answered with the outcome.
///
/// # Errors
/// As [`put`], and SYSTEM_BUSY when too much waits for other shards.
pub(crate) fn post(
    shard: &mut Shard,
    now: Now,
    message: &Message<'_>,
    wish: Option<Wish>,
    relay: Relay,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let owner = u32::try_from(message.queue_id).ok().and_then(|queue| {
        let config = shard.metadata.topics.get(message.topic)?;
        config.shards.get(queue)
    });
    match owner {
        Some(owner) if owner != shard.id => {
            let letter = Letter::of(message, wish)?;
            let id = shard.relays.open(relay)?;
            out.peers.push((owner, PeerMessage::Store { id, letter: Box::new(letter) }));
            Ok(Answer::Held)
        }
        _ => {
            let mut marks = Marks::of(message.properties.original);
            message.properties.extra.iter().for_each(|(key, value)| marks.note(key, value));
            let (stored, flush) = put(shard, now, message, &marks, wish)?;
            let answer = relay.answer(&shard.metadata, &Ok(stored), out);
            Ok(until(answer, stored, flush))
        }
    }
}

/// The answer to a store: on a sync topic it waits for the disk.
pub(crate) fn until(answer: Answer, stored: Stored, flush: Flush) -> Answer {
    match (answer, flush) {
        (Answer::Now, Flush::Sync) => Answer::When(stored.end),
        (answer, _) => answer,
    }
}

impl Relay {
    fn answer(&self, metadata: &Metadata, outcome: &Result<Stored, Refusal>, out: &mut Effects) -> Answer {
        match (self, outcome) {
            (Relay::Back { to }, Ok(_)) => out.done(to),
            (Relay::Back { to }, Err(refusal)) => out.refuse(to, refusal),
            (Relay::Sent { to, .. }, Err(refusal)) => send::refuse(metadata, to, refusal, out),
            (Relay::Sent { to, queue_id, store_host, unique_key }, Ok(stored)) => {
                let msg_id = OffsetId { host: *store_host, offset: stored.wire_offset }.encode();
                let reply = SendReply {
                    msg_id: Text::plain(&msg_id),
                    queue_id: *queue_id as i32,
                    queue_offset: stored.queue_offset,
                    transaction_id: unique_key.as_deref().map(Text::plain),
                    batch_uniq_id: None,
                    recall_handle: None,
                };
                send::answer(metadata, to, &reply, None, out)
            }
        }
    }
}

/// A message of another shard for a queue of this one.
pub(crate) fn store(shard: &mut Shard, now: Now, from: ShardId, id: u64, letter: &Letter, out: &mut Effects) {
    let outcome = match RecordRef::parse(&letter.record) {
        Ok(record) => {
            let message = message_of(&record, PropertyParts::just(record.properties()));
            put(shard, now, &message, &Marks::of(record.properties()), letter.wish)
        }
        Err(error) => Err(Refusal::new(ResponseCode::MessageIllegal, error.to_string())),
    };
    let outcome = match outcome {
        Ok((stored, Flush::Sync)) => return shard.relays.due.push_back(Due { asker: from, id, stored }),
        Ok((stored, Flush::Async)) => Ok(stored),
        Err(refusal) => Err(refusal),
    };
    out.peers.push((from, PeerMessage::Stored { id, outcome }));
}

/// The message that a record is, to be stored once more; its properties as given.
pub(crate) fn message_of<'r>(record: &RecordRef<'r>, properties: PropertyParts<'r>) -> Message<'r> {
    Message {
        topic: record.topic(),
        queue_id: record.queue_id(),
        flag: record.flag(),
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: record.sys_flag(),
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_timestamp: 0,
        store_host: record.store_host(),
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: record.body(),
        properties,
    }
}

/// The log got further: other shards learn what is durable.
pub(crate) fn durable(shard: &mut Shard, durable: Position, out: &mut Effects) {
    while let Some(Due { asker, id, stored }) = shard.relays.due.pop_front_if(|due| due.stored.end <= durable) {
        out.peers.push((asker, PeerMessage::Stored { id, outcome: Ok(stored) }));
    }
    // A log that failed does not become durable; other shards' changes must not wait for it for ever.
    let failed = shard.log.fault().is_some();
    let is_due = |(until, _): &mut (Position, u64)| *until <= durable || failed;
    while let Some((_, version)) = shard.relays.confirms.pop_front_if(is_due) {
        out.peers.push((ShardId::CONTROL, PeerMessage::Confirm { version }));
    }
}

/// Another shard has stored our message, or has not.
pub(crate) fn stored(shard: &mut Shard, id: u64, outcome: Result<Stored, Refusal>, out: &mut Effects) {
    if let Some(relay) = shard.relays.open.remove(&id) {
        let _ = relay.answer(&shard.metadata, &outcome, out);
    }
}

/// The control shard knows what became of our push.
pub(crate) fn pushed(shard: &mut Shard, id: u64, outcome: Result<(), Refusal>, out: &mut Effects) {
    if let Some(reply) = shard.relays.replies.remove(&id) {
        reply.answer(&shard.metadata, outcome, out);
    }
}
