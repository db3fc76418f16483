//! Sends to a retry topic: what Java consumers do when CONSUMER_SEND_MSG_BACK fails, and ordered ones always.
//!
//! Owns when such a message has been retried often enough and goes to the dead letters instead
//! (AbstractSendMessageProcessor.handleRetryAndDLQ). Runs on the control shard, which knows the groups' queue locks; the
//! message goes to the shard of its queue from here. Send-backs by code 36 are `send_back.rs`'s.

use ringmq_protocol::headers::send::SendHeader;
use ringmq_protocol::names as topic_names;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;

use super::relay::{self, Relay};
use super::stamp::{self, Found};
use super::{send, subscription, topic_wait};
use crate::delay::wish;
use crate::detour::Extra;
use crate::detour::UNWANTED_AND_TIMERS;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::group::Group;
use crate::imprint::trace_on;
use crate::shard::Shard;

/// From this client version on the header's maxReconsumeTimes counts (V3_4_9).
pub(crate) const OWN_MAX_SINCE: i32 = 121;

/// The same for a dead letter, which is not delayed.
const UNWANTED_AND_DELAY: &[&str] = &[
    names::MSG_REGION,
    names::TRACE_ON,
    names::CLUSTER,
    names::POP_CK,
    names::WAIT,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::TIMER_OUT_MS,
    names::TIMER_DELAY_SEC,
    names::TIMER_DELAY_MS,
    names::TIMER_DELIVER_MS,
    names::DELAY,
];

/// A send whose topic is the retry topic of `group`.
///
/// # Errors
/// 26 for a group that may not be created, and what other sends are refused with.
pub(crate) fn send(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    group: &str,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    if header.batch || ask.command.code == RequestCode::SendBatchMessage.to_i32() {
        return Err(Refusal::new(ResponseCode::MessageIllegal, "a batch may not go to a retry topic"));
    }
    send::check_body(&shard.metadata, ask.command.body.len())?;
    if is_exhausted(shard, ask, header, group, out)? {
        let topic = topic_names::dlq_topic(group);
        let Some(queue_id) = queue_of(shard, &topic, 0)? else {
            return topic_wait::wait_for_own(shard, ask, &topic, out);
        };
        shard.counts.dead_letters += 1;
        return pass_on(shard, ask, header, &topic, queue_id, UNWANTED_AND_DELAY, out);
    }
    let Some(queue_id) = queue_of(shard, topic, header.queue_id)? else {
        return topic_wait::wait_for_own(shard, ask, topic, out);
    };
    shard.counts.retries += 1;
    pass_on(shard, ask, header, topic, queue_id, UNWANTED_AND_TIMERS, out)
}

/// Whether the message has been tried more often than its group allows. A group that holds queue locks consumes in order
/// and tries in place: what it sends here it has given up.
fn is_exhausted(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    group: &str,
    out: &mut Effects,
) -> Result<bool, Refusal> {
    let own = header.max_reconsume_times.filter(|_| ask.command.version >= OWN_MAX_SINCE);
    let config = shard.metadata.groups.get(group).map(|config| config.retry_max_times);
    if config.is_none() {
        subscription::create_group(shard, group, ask, out)?;
    }
    let most = own.or(config).unwrap_or_else(|| Group::named(group).retry_max_times);
    let ordered = shard.control.as_ref().is_some_and(|control| control.holds_locks(ask.now, group));
    Ok(ordered || header.reconsume_times > most)
}

/// The queue to use: the wanted one, or one in turn when it is negative. `None` if there is no such topic.
///
/// # Errors
/// INVALID_PARAMETER for a queue the topic does not have, NO_PERMISSION when it may not be written.
pub(crate) fn queue_of(shard: &Shard, topic: &str, wanted: i32) -> Result<Option<u32>, Refusal> {
    let Some(config) = shard.metadata.topics.get(topic) else { return Ok(None) };
    if !config.perm.writable() {
        return Err(Refusal::new(ResponseCode::NoPermission, format!("topic[{topic}] has no write permission")));
    }
    let queues = config.write_queues.max(1);
    let queue = u32::try_from(wanted).unwrap_or((shard.counts.messages_in % u64::from(queues)) as u32);
    if queue >= config.queues() {
        return Err(Refusal::new(
            ResponseCode::InvalidParameter,
            format!("queueId {queue} is out of range: topic[{topic}] has {} queues, from 0 on", config.queues()),
        ));
    }
    Ok(Some(queue))
}

/// Brings the message to the queue chosen for it.
fn pass_on(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    queue_id: u32,
    without: &'static [&'static str],
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let mut buffer = Vec::new();
    let text = stamp::decoded(header.properties, &mut buffer)?;
    let found = Found::of(text);
    let wish = match without.contains(&names::DELAY) {
        true => None,
        false => wish::wish(text, shard.delay.levels_ms(), ask.now.wall_ms)?,
    };
    let made = match found.marks.unique_key {
        Some(_) => None,
        None => {
            let (epoch, count) = (shard.log.epoch(), shard.counts.messages_in);
            Some(stamp::unique_key(ask.now, &ask.origin, shard.id, epoch, count))
        }
    };
    let unique_key = found.marks.unique_key.or(made.as_deref());
    // Copied, because the shard is needed as a whole below; retries are rare.
    let identity = &shard.metadata.settings.identity;
    let (region, cluster) = (identity.region_id.clone(), identity.broker_cluster_name.clone());
    let mut extra = Extra::new();
    extra.push((names::MSG_REGION, &region));
    extra.push((names::TRACE_ON, trace_on(&shard.metadata.settings)));
    extra.push((names::CLUSTER, &cluster));
    extra.extend(made.as_deref().map(|key| (names::UNIQ_KEY, key)));
    let store_host = send::store_host(&shard.metadata, ask.origin.local);
    let message = Message {
        topic,
        queue_id: queue_id as i32,
        flag: header.flag,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: ask.origin.peer,
        store_timestamp: 0,
        store_host,
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        body: ask.command.body,
        properties: PropertyParts { original: text, without, extra: &extra },
    };
    let relay = Relay::Sent { to: ask.to(), queue_id, store_host, unique_key: unique_key.map(Box::from) };
    relay::post(shard, ask.now, &message, wish, relay, out)
}
