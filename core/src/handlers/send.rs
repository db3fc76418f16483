//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320).
//!
//! Owns the checks of a send in the order of protocol.md 5.2 and its answers (SendMessageProcessor). A message whose
//! topic does not exist yet goes to `topic_wait.rs`, a delayed or transactional one takes a `Detour`.
//! Never creates a topic, never touches a compressed body.

use std::net::SocketAddr;

use ringmq_protocol::batch;
use ringmq_protocol::encode::Encoder;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::send::{SendHeader, SendReply};
use ringmq_protocol::ids::{ID_LIMIT, OffsetId};
use ringmq_protocol::names::{self as topic_names, NameError, TopicKind};
use ringmq_protocol::perm;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordSize};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use super::stamp::{self, Found};
use super::{retry, topic_wait};
use crate::append::{Flush, Intake, Stored};
use crate::detour::{Detour, Extra, Numbers, Rooms};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::ShardId;
use crate::imprint;
use crate::limits::{BATCH_MESSAGES_MAX, RETRY_TOPIC_MAX};
use crate::metadata::Metadata;
use crate::retain;
use crate::shard::{Scratch, Shard};
use crate::store::{Position, QueueSlot};
use crate::topic::{FlushMode, Topic};

/// The handler of 10, 310 and 320.
pub fn send(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    match try_send(shard, ask, out) {
        Ok(answer) => Ok(answer),
        Err(refusal) => Ok(refuse(&shard.metadata, &ask.to(), &refusal, out)),
    }
}

fn try_send(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: SendHeader<'_> = ask.header()?;
    let mut scratch = [0; RETRY_TOPIC_MAX];
    let topic = topic_of(&header, &mut scratch)?;
    check_service(&shard.metadata, ask)?;
    retain::admit(shard)?;
    let kind = TopicKind::parse(topic);
    if let TopicKind::Retry(group) = kind {
        check_name(topic)?;
        return retry::send(shard, ask, &header, topic, group, out);
    }
    if !kind.clients_may_send() {
        return Err(forbidden(topic));
    }
    let Some(target) = target(shard, topic, header.queue_id)? else {
        // That of a topic that there is was checked when it was made.
        check_name(topic)?;
        return topic_wait::wait(shard, ask, &header, topic, out);
    };
    send_to(shard, ask, &header, topic, target, out)
}

/// Stores what is to be sent in the queue that the checks led to.
pub(crate) fn send_to(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    target: Target,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    check_body(&shard.metadata, ask.command.body.len())?;
    if target.flush == Flush::Sync && shard.waiting.is_full() {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            "too many sends wait for the disk on this shard; send again when it has caught up",
        ));
    }
    let is_batch = header.batch || ask.command.code == RequestCode::SendBatchMessage.to_i32();
    if is_batch {
        send_batch(shard, ask, header, topic, target, out)
    } else {
        send_one(shard, ask, header, topic, target, out)
    }
}

/// The decoded topic name, in `scratch` if it came with JSON escapes.
pub(crate) fn topic_of<'s, 'a: 's>(header: &SendHeader<'a>, scratch: &'s mut [u8]) -> Result<&'s str, Refusal> {
    header.topic.decode_in(scratch).ok_or_else(|| {
        Refusal::new(
            ResponseCode::MessageIllegal,
            format!("topic: the name exceeds the limit of {} bytes", topic_names::TOPIC_LIMIT),
        )
    })
}

fn check_service(metadata: &Metadata, ask: &Ask<'_>) -> Result<(), Refusal> {
    let from = metadata.settings.sending.start_accept_send_request_time_stamp;
    if ask.now.wall_ms < from {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            format!("broker unable to service, until {from} (startAcceptSendRequestTimeStamp)"),
        ));
    }
    Ok(())
}

fn check_name(topic: &str) -> Result<(), Refusal> {
    topic_names::check_topic(topic).map_err(|error| bad_name(&error))
}

#[cold]
fn forbidden(topic: &str) -> Refusal {
    Refusal::new(ResponseCode::NoPermission, format!("sending to topic[{topic}] is forbidden: it is the broker's own"))
}

#[cold]
fn bad_name(error: &NameError) -> Refusal {
    let code = match error {
        // One byte too much is the message's fault (protocol.md 5.2, step 11), a strange name the request's.
        NameError::TooLong { .. } => ResponseCode::MessageIllegal,
        NameError::Blank | NameError::Character { .. } => ResponseCode::InvalidParameter,
    };
    Refusal::new(code, format!("topic: {error}"))
}

pub(crate) fn check_body(metadata: &Metadata, length: usize) -> Result<(), Refusal> {
    let limit = metadata.settings.store.max_message_size as usize;
    if length > limit {
        return Err(Refusal::new(
            ResponseCode::MessageIllegal,
            format!("the message body has {length} bytes, more than the limit of {limit} (maxMessageSize)"),
        ));
    }
    Ok(())
}

/// The queue a message goes to and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) queue_id: u32,
    pub(crate) slot: QueueSlot,
    pub(crate) flush: Flush,
}

/// Checks topic and queue and opens the queue; `None` if there is no such topic.
pub(crate) fn target(shard: &mut Shard, topic: &str, queue_id: i32) -> Result<Option<Target>, Refusal> {
    let Shard { id, metadata, queues, counts, .. } = shard;
    let Some(config) = metadata.topics.get(topic) else { return Ok(None) };
    if queue_id >= config.queues() as i32 {
        return Err(Refusal::new(
            ResponseCode::InvalidParameter,
            format!("queueId {queue_id} is out of range: topic[{topic}] has {} queues, from 0 on", config.queues()),
        ));
    }
    if !config.perm.writable() || !perm::writable(metadata.settings.topics.broker_permission as i32) {
        return Err(Refusal::new(
            ResponseCode::NoPermission,
            format!("sending to topic[{topic}] is forbidden: it, or the whole broker, has no write permission"),
        ));
    }
    let chosen = u32::try_from(queue_id).ok().or_else(|| any_queue(config, *id, counts.messages_in));
    let here = chosen.filter(|queue| config.shard_of(*queue) == Some(*id));
    let Some(queue_id) = here else {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("queue {queue_id} of topic[{topic}] is not on shard {}; send again", id.0),
        ));
    };
    let slot = queues.open(topic, queue_id);
    Ok(Some(Target { queue_id, slot, flush: flush_of(config, metadata) }))
}

/// The topic's own flush mode, or the broker's.
pub(crate) fn flush_of(config: &Topic, metadata: &Metadata) -> Flush {
    use crate::settings::FlushDiskType;
    match (config.flush, metadata.settings.store.flush_disk_type) {
        (Some(FlushMode::Sync), _) | (None, FlushDiskType::SyncFlush) => Flush::Sync,
        (Some(FlushMode::Async), _) | (None, FlushDiskType::AsyncFlush) => Flush::Async,
    }
}

/// One of the topic's write queues on this shard; `turn` spreads messages over them.
fn any_queue(config: &Topic, here: ShardId, turn: u64) -> Option<u32> {
    let queues = config.write_queues.max(1);
    let first = (turn % u64::from(queues)) as u32;
    (0..queues).map(|step| (first + step) % queues).find(|queue| config.shard_of(*queue) == Some(here))
}

/// What a send's message and its answer have in common.
struct Sending<'a> {
    ask: &'a Ask<'a>,
    header: &'a SendHeader<'a>,
    topic: &'a str,
    target: Target,
    store_host: SocketAddr,
}

impl<'a> Sending<'a> {
    /// The record to be; what only the log knows is filled in by the intake.
    #[inline]
    fn message(&self, body: &'a [u8], flag: i32, properties: PropertyParts<'a>) -> Message<'a> {
        let Sending { ask, header, topic, target, store_host } = *self;
        Message {
            topic,
            queue_id: target.queue_id as i32,
            flag,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: ask.origin.peer,
            store_timestamp: 0,
            store_host,
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body,
            properties,
        }
    }
}

/// The announced address: what ids contain and what clients come back to with them.
pub(crate) fn store_host(metadata: &Metadata, local: SocketAddr) -> SocketAddr {
    let ip = metadata.announced_ip().unwrap_or(local.ip()).to_canonical();
    SocketAddr::new(ip, metadata.settings.network.listen_port)
}

fn send_one(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    target: Target,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let Shard { id, metadata, log, queues, index, waiting, counts, scratch, delay, half, duties, .. } = shard;
    let Scratch { decoded, properties: kept, shown, .. } = scratch;
    let (mut found, text) = stamp::take(header.properties, decoded, kept)?;
    let made = match found.marks.unique_key {
        Some(_) => None,
        None => Some(stamp::unique_key(ask.now, &ask.origin, *id, log.epoch(), counts.messages_in)),
    };
    found.marks.unique_key = found.marks.unique_key.or(made.as_deref());
    let mut rooms = Rooms { delay, half, duties, settings: &metadata.settings };
    let detour = Detour::find(&found, text, header.sys_flag, header.reconsume_times, ask.now, &mut rooms)?;
    let (mut numbers, mut extra) = (Numbers::default(), Extra::new());
    let properties = if let Some(detour) = &detour {
        extra.extend(imprint::pairs(&metadata.settings));
        extra.extend(made.as_deref().map(|key| (names::UNIQ_KEY, key)));
        detour.stamp(topic, target.queue_id, found.marks.unique_key, &mut numbers, &mut extra);
        PropertyParts { original: text, without: detour.without(), extra: &extra }
    } else {
        kept.push_str(&metadata.imprint.properties);
        if let Some(key) = &made {
            stamp::add(kept, names::UNIQ_KEY, key);
        }
        PropertyParts::just(kept)
    };
    let store_host = store_host(metadata, ask.origin.local);
    let sending = Sending { ask, header, topic, target, store_host };
    let mut message = sending.message(ask.command.body, header.flag, properties);
    let mut intake = Intake { id: *id, topics: &metadata.topics, log, queues, index, waiting, counts, shown };
    let stored = match detour {
        None => intake.append(ask.now, target.slot, &mut message, &found.marks, target.flush)?,
        Some(detour) => detour.append(&mut rooms, &mut intake, ask.now, &mut message, &found.marks, target.flush)?,
    };
    let msg_id = OffsetId { host: store_host, offset: stored.wire_offset }.encode();
    let reply = SendReply {
        msg_id: Text::plain(&msg_id),
        queue_id: target.queue_id as i32,
        queue_offset: stored.queue_offset,
        transaction_id: found.marks.unique_key.map(Text::plain),
        batch_uniq_id: None,
        recall_handle: None,
    };
    let waits = target.flush == Flush::Sync && !found.no_wait;
    Ok(answer(metadata, &ask.to(), &reply, waits.then_some(stored.end), out))
}

/// Stores the messages of a batch one behind the other, all or none.
fn send_batch(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    target: Target,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let Shard { id, metadata, log, queues, index, waiting, counts, scratch, .. } = shard;
    if let TopicKind::Retry(_) = TopicKind::parse(topic) {
        return Err(Refusal::new(ResponseCode::MessageIllegal, "a batch may not go to a retry topic"));
    }
    let store_host = store_host(metadata, ask.origin.local);
    let sending = Sending { ask, header, topic, target, store_host };
    check_batch(metadata, &sending)?;
    let Scratch { properties: kept, ids, shown, .. } = scratch;
    let mut intake = Intake { id: *id, topics: &metadata.topics, log, queues, index, waiting, counts, shown };
    ids.clear();
    let mut first: Option<Stored> = None;
    let mut end = Position(0);
    // Checked above: every entry reads.
    for entry in batch::iter(ask.command.body).flatten() {
        let mut found = Found::keep(entry.properties, kept);
        kept.push_str(&metadata.imprint.properties);
        let made = match found.marks.unique_key {
            Some(_) => None,
            None => Some(stamp::unique_key(ask.now, &ask.origin, *id, intake.log.epoch(), intake.counts.messages_in)),
        };
        if let Some(key) = &made {
            stamp::add(kept, names::UNIQ_KEY, key);
            found.marks.unique_key = Some(key);
        }
        let mut message = sending.message(entry.body, entry.flag, PropertyParts::just(kept));
        let stored = intake.append(ask.now, target.slot, &mut message, &found.marks, target.flush)?;
        if first.is_some() {
            ids.push(',');
        }
        ids.push_str(&OffsetId { host: store_host, offset: stored.wire_offset }.encode());
        first.get_or_insert(stored);
        end = stored.end;
    }
    let reply = SendReply {
        msg_id: Text::plain(ids),
        queue_id: target.queue_id as i32,
        queue_offset: first.map_or(0, |stored| stored.queue_offset),
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    };
    let waits = target.flush == Flush::Sync && !batch_no_wait(header);
    Ok(answer(metadata, &ask.to(), &reply, waits.then_some(end), out))
}

/// Looks at every entry before the first one is stored.
fn check_batch(metadata: &Metadata, sending: &Sending<'_>) -> Result<(), Refusal> {
    let illegal = |remark: String| Err(Refusal::new(ResponseCode::MessageIllegal, remark));
    let identity = &metadata.settings.identity;
    // The pairs the broker adds, with the longest UNIQ_KEY it may have to make.
    let added = "MSG_REGION..TRACE_ON.false.CLUSTER..UNIQ_KEY..".len() + ID_LIMIT + 1;
    let added = added + identity.region_id.len() + identity.broker_cluster_name.len();
    let sys_flag = sending.message(&[], 0, PropertyParts::default()).stored_sys_flag();
    let mut count = 0;
    for entry in batch::iter(sending.ask.command.body) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return illegal(error.to_string()),
        };
        let size = RecordSize::of(sending.topic.len(), entry.properties.len() + added, entry.body.len(), sys_flag);
        if let Err(error) = size {
            return illegal(format!("message {count} of the batch with what the broker adds: {error}"));
        }
        count += 1;
    }
    match count {
        0 => illegal("the batch is empty".to_owned()),
        _ if count > BATCH_MESSAGES_MAX => {
            illegal(format!("the batch has {count} messages, more than the limit of {BATCH_MESSAGES_MAX}"))
        }
        _ => Ok(()),
    }
}

/// Whether the batch as a whole says WAIT=false; its entries' own WAIT means nothing.
fn batch_no_wait(header: &SendHeader<'_>) -> bool {
    let text = header.properties.to_cow();
    !text.is_empty() && ringmq_protocol::properties::find(&text, names::WAIT) == Some("false")
}

/// Answers a send; `until` is what a sync send waits for.
pub(crate) fn answer(
    metadata: &Metadata,
    to: &ReplyTo,
    reply: &SendReply<'_>,
    until: Option<Position>,
    out: &mut Effects,
) -> Answer {
    let fields = |fields: &mut Encoder<'_>| {
        reply.encode(fields);
        fields.prepared(&metadata.imprint.answer);
    };
    match (out.reply(to, ResponseCode::Success, None, fields, |_| {}), until) {
        (Answer::Now, Some(position)) => Answer::When(position),
        (answer, _) => answer,
    }
}

/// Refuses a send. Java reads MSG_REGION from the fields of an answer without looking whether it has any.
pub(crate) fn refuse(metadata: &Metadata, to: &ReplyTo, refusal: &Refusal, out: &mut Effects) -> Answer {
    let fields = |fields: &mut Encoder<'_>| fields.prepared(&metadata.imprint.answer);
    out.reply(to, refusal.code, Some(&refusal.remark), fields, |_| {})
}
