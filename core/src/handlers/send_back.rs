//! CONSUMER_SEND_MSG_BACK (36): a consumer failed and wants the message again later.
//!
//! Owns whether it becomes a retry or a dead letter, and what that message looks like (AbstractSendMessageProcessor
//! .consumerSendMsgBack). Runs on the shard whose log holds the message; the new one goes to the shard of its queue.
//! Sends to a retry topic are `retry.rs`'s.

use ringmq_protocol::headers::send::SendBackHeader;
use ringmq_protocol::names as topic_names;
use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::response_code::ResponseCode;

use super::relay::{self, Relay};
use super::retry::{OWN_MAX_SINCE, queue_of};
use super::{send, subscription, topic_wait};
use crate::delay::wish;
use crate::detour::Extra;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::{Now, Origin};
use crate::fetch::{self, Purpose, Record};
use crate::group::Group;
use crate::peer;
use crate::retain;
use crate::shard::Shard;

/// The delay level of a first retry when the consumer leaves it to the broker; each further one is one higher.
const FIRST_LEVEL: i32 = 3;

/// What is dropped from the properties of the message that is to be retried.
const UNWANTED: &[&str] = &[
    names::DELAY,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::TIMER_OUT_MS,
    names::TIMER_DELAY_SEC,
    names::TIMER_DELAY_MS,
    names::TIMER_DELIVER_MS,
];

/// A request whose message is being read.
#[derive(Debug)]
pub struct SendBack {
    origin: Origin,
    frame: Box<[u8]>,
    /// When it must be answered whatever happened, if it waited for a topic before.
    wait_until: Option<u64>,
}

/// CONSUMER_SEND_MSG_BACK (36).
pub fn send_back(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: SendBackHeader<'_> = ask.header()?;
    retain::admit(shard)?;
    let group = header.group.to_cow();
    let retry_queues = shard.metadata.groups.get(&group).map(|config| config.retry_queues);
    if retry_queues.is_none() {
        subscription::create_group(shard, &group, ask, out)?;
    }
    if retry_queues == Some(0) {
        return Ok(out.done(&ask.to()));
    }
    let place = WireOffset::from_wire(header.offset).filter(|offset| offset.shard() == shard.id.0);
    let Some(place) = place else { return Err(no_message(header.offset)) };
    let back = SendBack { origin: ask.origin, frame: ask.frame.into(), wait_until: ask.wait_until };
    fetch::fetch(shard, ask.now, vec![place.position()], Purpose::SendBack(Box::new(back)), out)?;
    Ok(Answer::Held)
}

#[cold]
fn no_message(offset: i64) -> Refusal {
    Refusal::new(ResponseCode::SystemError, format!("look message by offset failed, {offset}"))
}

/// The message was looked up.
pub(crate) fn fetched(shard: &mut Shard, now: Now, back: SendBack, record: Option<&Record>, out: &mut Effects) {
    let SendBack { origin, frame, wait_until } = back;
    peer::with_command(&frame, |command| {
        let ask = Ask { now, origin, command, frame: &frame, wait_until };
        let outcome = again(shard, &ask, record, out);
        shard.finish(&ask.to(), outcome, out);
    });
}

fn again(shard: &mut Shard, ask: &Ask<'_>, record: Option<&Record>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: SendBackHeader<'_> = ask.header()?;
    let parsed = record.and_then(|record| RecordRef::parse(record).ok());
    let found = parsed.filter(|record| record.physical_offset() == header.offset);
    let Some(record) = found else { return Err(no_message(header.offset)) };
    let group = header.group.to_cow();
    let own = header.max_reconsume_times.filter(|_| ask.command.version >= OWN_MAX_SINCE);
    let config = shard.metadata.groups.get(&group).map(|config| config.retry_max_times);
    let most = own.or(config).unwrap_or_else(|| Group::named(&group).retry_max_times);
    let is_dead = record.reconsume_times() >= most || header.delay_level < 0;
    let topic = if is_dead { topic_names::dlq_topic(&group) } else { topic_names::retry_topic(&group) };
    let Some(queue_id) = queue_of(shard, &topic, if is_dead { 0 } else { -1 })? else {
        return topic_wait::wait_for_own(shard, ask, &topic, out);
    };
    let level = match header.delay_level {
        0 => FIRST_LEVEL.saturating_add(record.reconsume_times()),
        level => level,
    };
    let level = Some(level).filter(|_| !is_dead);
    let answer = post(shard, ask, &record, &topic, queue_id, level, out)?;
    match is_dead {
        true => shard.counts.dead_letters += 1,
        false => shard.counts.retries += 1,
    }
    Ok(answer)
}

/// Makes the new message and brings it to its queue. `level` is its delay; a dead letter has none.
fn post(
    shard: &mut Shard,
    ask: &Ask<'_>,
    record: &RecordRef<'_>,
    topic: &str,
    queue_id: u32,
    level: Option<i32>,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let origin_id = record.offset_id();
    let mut level_text = itoa::Buffer::new();
    let mut extra = Extra::new();
    extra.extend(record.property(names::RETRY_TOPIC).is_none().then(|| (names::RETRY_TOPIC, record.topic())));
    extra.extend(record.property(names::ORIGIN_MESSAGE_ID).is_none().then(|| (names::ORIGIN_MESSAGE_ID, &*origin_id)));
    extra.extend(level.map(|level| (names::DELAY, level_text.format(level))));
    let properties = PropertyParts { original: record.properties(), without: UNWANTED, extra: &extra };
    let message = Message {
        topic,
        queue_id: queue_id as i32,
        store_host: send::store_host(&shard.metadata, ask.origin.local),
        reconsume_times: record.reconsume_times().saturating_add(1),
        prepared_transaction_offset: 0,
        ..relay::message_of(record, properties)
    };
    let level = level.and_then(|level| u32::try_from(level).ok());
    let wish = level.and_then(|level| wish::of_level(level, shard.delay.levels_ms()));
    relay::post(shard, ask.now, &message, wish, Relay::Back { to: ask.to() }, out)
}
