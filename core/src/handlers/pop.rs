//! POP_MESSAGE (200050): messages for a group, invisible to its other consumers for a time.
//!
//! Owns the checks of protocol.md 7.2 in their order and the answer (PopMessageProcessor). Taking the messages is
//! `pop_pick.rs`'s, waiting for some `pop_wait.rs`'s.

use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pop::{PopHeader, PopReply};
use ringmq_protocol::perm;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::tags::TagFilter;
use ringmq_protocol::text::Text;

use super::pop_pick::{self, Batch, Lane, Part, Wish};
use super::pop_wait::{self, Stay, Stayed};
use super::{pop_ack, relay, subscription};
use crate::cold::{self, Gathered, Got, Use};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::Now;
use crate::limits::{HOLD_MAX_MS, POP_INVISIBLE_MAX_MS, POP_LATE_MS, POP_MESSAGES_MAX};
use crate::map::hash_parts;
use crate::pop::place;
use crate::pop::receipt::{Infos, ORDERED, Receipt, Source};
use crate::shard::Shard;
use crate::store::QueueSlot;

/// One pop in so many looks at the retry topic first (popFromRetryProbability is 20 %).
const RETRY_FIRST_EVERY: usize = 5;

/// The answer to a pop whose messages are chosen.
#[derive(Debug)]
pub struct Popped {
    to: ReplyTo,
    topic: Box<str>,
    group: Box<str>,
    broker: Box<str>,
    pop_time: i64,
    invisible_ms: u64,
    order: bool,
    rest: u64,
    parts: Vec<Part>,
}

/// POP_MESSAGE.
pub fn pop(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    serve(shard, ask, None, out)
}

/// The same for a pop that may have been on other shards; `left` is how many are left.
pub(crate) fn serve(shard: &mut Shard, ask: &Ask<'_>, left: Option<u16>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: PopHeader<'_> = ask.header()?;
    if ask.command.is_oneway() {
        // Nobody would get the messages.
        return Ok(Answer::Silent);
    }
    let deadline = deadline(ask, header.born_time, header.poll_time)?;
    let (topic, group) = (header.topic.to_cow(), header.consumer_group.to_cow());
    let attempt = header.attempt_id.map(|attempt| attempt.to_cow());
    if header.max_msg_nums > POP_MESSAGES_MAX as i32 {
        return Err(Refusal::new(
            ResponseCode::InvalidParameter,
            format!("a pop gets {POP_MESSAGES_MAX} messages at most, not {}", header.max_msg_nums),
        ));
    }
    let queue = check(shard, ask, &topic, &group, header.queue_id, out)?;
    let wish = Wish {
        topic: &topic,
        group: &group,
        queue,
        max: usize::try_from(header.max_msg_nums).unwrap_or(0).clamp(1, POP_MESSAGES_MAX),
        invisible_ms: u64::try_from(header.invisible_time).unwrap_or(0).clamp(1, POP_INVISIBLE_MAX_MS),
        at_end: header.init_mode != 0,
        filter: filter(&header)?,
        order: header.order,
        attempt: attempt.as_deref(),
    };
    shard.pop.turn = shard.pop.turn.wrapping_add(1);
    let lanes = lanes(shard, &wish);
    let batch = pop_pick::pick(shard, ask.now, &wish, &lanes)?;
    if batch.messages > 0 {
        return Ok(answer(shard, ask, &wish, batch, out));
    }
    let stay = Stay {
        topic: &topic,
        group: &group,
        queue,
        // It looked at as much as one pop may: the next one goes on from there.
        deadline: if batch.more { 0 } else { deadline },
        shape: shape(ask, &header),
        slots: &slots(shard, &topic, &group),
    };
    match pop_wait::stay(shard, ask, &stay, left, out) {
        Stayed::Held => Ok(Answer::Held),
        Stayed::TimeUp => Err(nothing()),
        Stayed::Full => {
            Err(Refusal::new(ResponseCode::PollingFull, "too many pops wait on this shard; pop again later"))
        }
    }
}

#[cold]
fn nothing() -> Refusal {
    Refusal::new(ResponseCode::PollingTimeout, "NO_MESSAGE_IN_QUEUE")
}

/// Until when a pop may wait, mono microseconds: what its first shard said, or bornTime and pollTime.
///
/// # Errors
/// POLLING_TIMEOUT for one that is older than its time to wait: its client has given up.
pub(crate) fn deadline(ask: &Ask<'_>, born_time: i64, poll_time: i64) -> Result<u64, Refusal> {
    if let Some(deadline) = ask.wait_until {
        return Ok(deadline);
    }
    let born = if born_time == 0 { ask.now.wall_ms } else { born_time };
    let left_ms = born.saturating_add(poll_time).saturating_sub(ask.now.wall_ms);
    if left_ms.saturating_add(POP_LATE_MS) < 0 {
        return Err(Refusal::new(
            ResponseCode::PollingTimeout,
            format!("the request arrived {} ms after its bornTime and pollTime were over", left_ms.saturating_neg()),
        ));
    }
    Ok(ask.now.after_ms(u64::try_from(left_ms).unwrap_or(0).min(HOLD_MAX_MS)))
}

/// Broker, topic, queue and group, in this order; the queue, if one is named.
pub(crate) fn check(
    shard: &mut Shard,
    ask: &Ask<'_>,
    topic: &str,
    group: &str,
    queue_id: i32,
    out: &mut Effects,
) -> Result<Option<u32>, Refusal> {
    if !perm::readable(shard.metadata.settings.topics.broker_permission as i32) {
        return Err(Refusal::new(ResponseCode::NoPermission, "this broker has no read permission (brokerPermission)"));
    }
    let Some(config) = shard.metadata.topics.get(topic) else {
        return Err(Refusal::new(
            ResponseCode::TopicNotExist,
            format!("topic[{topic}] not exist, apply first please!"),
        ));
    };
    if !config.perm.readable() {
        return Err(Refusal::new(ResponseCode::NoPermission, format!("topic[{topic}] has no read permission")));
    }
    let queue = u32::try_from(queue_id).ok();
    if let Some(queue) = queue {
        if queue >= config.read_queues {
            let remark =
                format!("queueId {queue} is out of range: topic[{topic}] has {} read queues", config.read_queues);
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        if config.shard_of(queue) != Some(shard.id) {
            let remark = format!("queue {queue} of topic[{topic}] is not on shard {}; pop again", shard.id.0);
            return Err(Refusal::new(ResponseCode::SystemBusy, remark));
        }
    }
    subscription::check_group(shard, group, ask, out)?;
    Ok(queue)
}

fn filter(header: &PopHeader<'_>) -> Result<TagFilter, Refusal> {
    let kind = header.expression_type.map(|kind| kind.to_cow());
    if kind.is_some_and(|kind| !kind.is_empty() && kind != "TAG") {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            "the broker does not support consumer to filter message by SQL92 in this version; subscribe by tag",
        ));
    }
    let Some(text) = header.expression.filter(|text| !text.is_empty()) else { return Ok(TagFilter::All) };
    TagFilter::parse(&text.to_cow()).ok_or_else(|| {
        Refusal::new(
            ResponseCode::SubscriptionParseFailed,
            format!("the consumer's subscription \"{text}\" names no tag; write *, or tags joined by ||"),
        )
    })
}

/// Equal for pops of one group that want the same.
fn shape(ask: &Ask<'_>, header: &PopHeader<'_>) -> u64 {
    let text = |text: Option<Text<'_>>| text.map(|text| text.to_cow().into_owned()).unwrap_or_default();
    hash_parts(&[
        &ask.command.code.to_be_bytes(),
        &header.queue_id.to_be_bytes(),
        &[u8::from(header.order)],
        text(header.expression).as_bytes(),
        text(header.attempt_id).as_bytes(),
    ])
}

/// The queues of this shard to look at, in this pop's order.
fn lanes(shard: &mut Shard, wish: &Wish<'_>) -> Vec<Lane> {
    let turn = shard.pop.turn;
    let mut own = own_lanes(shard, wish.topic, wish.queue);
    if !own.is_empty() {
        let first = turn % own.len();
        own.rotate_left(first);
    }
    if wish.order {
        // What was popped in order is not revived into a retry topic.
        return own;
    }
    let mut retry = retry_lanes(shard, wish.topic, wish.group);
    if turn.is_multiple_of(RETRY_FIRST_EVERY) {
        retry.append(&mut own);
        return retry;
    }
    own.append(&mut retry);
    own
}

fn own_lanes(shard: &mut Shard, topic: &str, queue: Option<u32>) -> Vec<Lane> {
    lanes_of(shard, Source::Topic, topic, queue)
}

/// The queues of a group's retry topics here.
pub(crate) fn retry_lanes(shard: &mut Shard, topic: &str, group: &str) -> Vec<Lane> {
    // If the first name is another group's, that group's retries are none of ours.
    let mut lanes = match place::retry_source(&shard.metadata, group, topic) {
        Source::RetryV1 => lanes_of(shard, Source::RetryV1, &Source::RetryV1.topic(group, topic), None),
        Source::Topic | Source::RetryV2 => Vec::new(),
    };
    lanes.extend(lanes_of(shard, Source::RetryV2, &Source::RetryV2.topic(group, topic), None));
    lanes
}

fn lanes_of(shard: &mut Shard, source: Source, topic: &str, only: Option<u32>) -> Vec<Lane> {
    let Shard { id, metadata, queues, .. } = shard;
    let Some(config) = metadata.topics.get(topic) else { return Vec::new() };
    let numbers = 0..config.read_queues;
    let here = numbers.filter(|queue| only.is_none_or(|only| only == *queue) && config.shard_of(*queue) == Some(*id));
    here.map(|queue| Lane { source, topic: topic.into(), queue, slot: queues.open(topic, queue) }).collect()
}

/// The queues here that a group's pops of a topic wait for.
pub(crate) fn slots(shard: &mut Shard, topic: &str, group: &str) -> Vec<QueueSlot> {
    let mut lanes = own_lanes(shard, topic, None);
    lanes.append(&mut retry_lanes(shard, topic, group));
    lanes.into_iter().map(|lane| lane.slot).collect()
}

/// Answers with what was taken, at once or when it was read.
fn answer(shard: &mut Shard, ask: &Ask<'_>, wish: &Wish<'_>, batch: Batch, out: &mut Effects) -> Answer {
    let Batch { parts, messages, cold, rest, .. } = batch;
    let Now { wall_ms, .. } = ask.now;
    let popped = Popped {
        to: ask.to(),
        topic: wish.topic.into(),
        group: wish.group.into(),
        broker: shard.metadata.settings.identity.broker_name.as_str().into(),
        pop_time: wall_ms,
        invisible_ms: wish.invisible_ms,
        order: wish.order,
        rest,
        parts,
    };
    let spans = || popped.parts.iter().flat_map(|part| part.picks.iter().map(|pick| (pick.position, pick.size)));
    let Shard { counts, log, .. } = shard;
    counts.messages_out += messages as u64;
    counts.bytes_out += spans().map(|(_, size)| u64::from(size)).sum::<u64>();
    if cold == Some(true) {
        let spans = spans().collect();
        let to = popped.to;
        return match cold::want(shard, spans, Use::Pop(Box::new(popped))) {
            Ok(()) => Answer::Held,
            Err(refusal) => out.refuse(&to, &refusal),
        };
    }
    let records = spans().map(|(position, size)| {
        let mut bytes = Vec::with_capacity(size as usize);
        log.resident(position, size).expect("only resident messages were taken").append_to(&mut bytes);
        bytes
    });
    let records: Vec<Vec<u8>> = records.collect();
    popped.send(&records, out)
}

/// The messages of a cold pop came, or did not. What lies in damage is done with, so that the group gets on; what could not
/// be read this time becomes visible again when its invisible time is over.
pub(crate) fn gathered(shard: &mut Shard, now: Now, mut popped: Popped, got: &Gathered, out: &mut Effects) {
    let mut fates = got.iter();
    let mut records = Vec::new();
    let mut damages = Vec::new();
    for part in &mut popped.parts {
        let Part { lane, picks } = part;
        picks.retain(|pick| match fates.next() {
            Some(Got::Record(record)) => {
                records.push(record);
                true
            }
            Some(Got::Damaged(damage)) => {
                damages.push((lane.slot, pick.offset, damage));
                false
            }
            Some(Got::Failed(_) | Got::Nothing) | None => false,
        });
    }
    popped.parts.retain(|part| !part.picks.is_empty());
    shard.counts.messages_damaged += damages.len() as u64;
    for (slot, offset, _) in &damages {
        if let Some(line) = shard.pop.lines.find(*slot, &popped.group) {
            pop_ack::finish(shard, now, line, *offset);
        }
    }
    if !records.is_empty() {
        let _ = popped.send(&records, out);
        return;
    }
    let (code, remark) = match damages.first() {
        Some((_, _, damage)) => {
            let place = damage.place(shard.log.layout());
            let (count, shard) = (damages.len(), shard.id.0);
            let remark = format!("MESSAGE_DAMAGED: {count} messages lie in shard-{shard:03}/{place}, which is damaged");
            (ResponseCode::PullNotFound, remark)
        }
        None => {
            let remark =
                "the messages could not be read from disk; they are delivered when their invisible time is over";
            (ResponseCode::SystemError, remark.to_owned())
        }
    };
    let _ = out.refuse(&popped.to, &Refusal::new(code, remark));
}

impl Popped {
    fn send(&self, records: &[impl AsRef<[u8]>], out: &mut Effects) -> Answer {
        let Popped { to, pop_time, invisible_ms, rest, parts, .. } = self;
        let mut infos = Infos::default();
        for Part { lane, picks } in parts {
            let messages = picks.iter().map(|pick| (pick.offset, pick.times));
            infos.queue(lane.source, lane.queue, picks.first().map_or(0, |pick| pick.offset), messages);
        }
        let reply = PopReply {
            pop_time: *pop_time,
            invisible_time: *invisible_ms as i64,
            revive_queue_id: self.revive_queue(),
            rest_num: *rest as i64,
            start_offset_info: Some(Text::plain(&infos.starts)),
            msg_offset_info: Some(Text::plain(&infos.offsets)),
            order_count_info: Some(infos.counts.as_str()).filter(|counts| !counts.is_empty()).map(Text::plain),
        };
        let body = |body: &mut Vec<u8>| {
            let mut records = records.iter();
            for part in parts {
                for (pick, record) in part.picks.iter().zip(records.by_ref()) {
                    self.put(part, pick.offset, record.as_ref(), body);
                }
            }
        };
        out.reply(to, ResponseCode::Success, Some("FOUND"), |fields| reply.encode(fields), body)
    }

    fn revive_queue(&self) -> i32 {
        if self.order { ORDERED } else { 0 }
    }

    /// One message as the client gets it: from a retry topic with its real topic and its receipt
    /// (popResponseReturnActualRetryTopic=false).
    fn put(&self, part: &Part, offset: u64, bytes: &[u8], body: &mut Vec<u8>) {
        let lane = &part.lane;
        let renamed = match lane.source {
            Source::Topic => None,
            Source::RetryV1 | Source::RetryV2 => RecordRef::parse(bytes).ok(),
        };
        let receipt = Receipt {
            start: part.picks.first().map_or(0, |pick| pick.offset) as i64,
            pop_time: self.pop_time,
            invisible: self.invisible_ms as i64,
            revive_queue: self.revive_queue(),
            source: lane.source,
            broker: &self.broker,
            queue: lane.queue as i32,
            offset: offset as i64,
        };
        let written = renamed.and_then(|record| {
            let receipt = receipt.text();
            let extra = [(names::POP_CK, receipt.as_str())];
            let properties = PropertyParts { original: record.properties(), without: &[names::POP_CK], extra: &extra };
            let message = Message {
                topic: &self.topic,
                queue_offset: record.queue_offset(),
                physical_offset: record.physical_offset(),
                store_timestamp: record.store_timestamp(),
                ..relay::message_of(&record, properties)
            };
            let size = message.size().ok()?;
            let from = body.len();
            body.resize(from + size.total, 0);
            message.encode_into(&mut body[from..], &size);
            Some(())
        });
        if written.is_none() {
            body.extend_from_slice(bytes);
        }
    }
}
