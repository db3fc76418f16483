//! What clients say about themselves: heartbeats, leaving, and the questions of client-side rebalancing.
//!
//! Owns HEART_BEAT (34), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46), GET_CONSUMER_LIST_BY_GROUP (38). All run on the
//! control shard. A heartbeat is answered when every shard knows what it changed, so that the pulls after it find their
//! subscription wherever they go.

use std::collections::BTreeMap;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::connection::ConsumerIdList;
use ringmq_protocol::bodies::heartbeat::{CheckClientConfig, ConsumerData, HeartbeatData, SubscriptionData};
use ringmq_protocol::headers::client::{ConsumerGroupHeader, HeartbeatReply, UnregisterClientHeader};
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::tags::TagFilter;

use super::control::{changed, control, ensure_group, ensure_retry_topic, finish, later};
use crate::control::Ticket;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::group::members::{Client, ConsumerBeat, GroupChange, TooMany};
use crate::group::{Subscription, Wanted};
use crate::shard::Shard;

/// Bit of topicSysFlag for retry topics of unit-mode groups (TopicSysFlag.FLAG_UNIT_SUB).
const UNIT_SUB: i32 = 2;

/// Refuses a body that cannot be read.
pub(crate) fn malformed(error: &bodies::BodyError) -> Refusal {
    Refusal::new(ResponseCode::SystemError, error.to_string())
}

#[cold]
fn too_many(TooMany(what): TooMany) -> Refusal {
    Refusal::new(ResponseCode::SystemBusy, format!("there are too many {what}"))
}

/// HEART_BEAT: registers the client in its groups, creating groups and retry topics that do not exist.
pub fn heartbeat(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let data: HeartbeatData = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    if data.client_id.is_empty() {
        return Err(Refusal::new(ResponseCode::SystemError, "the heartbeat says no clientID"));
    }
    let client = Client {
        id: data.client_id.as_str().into(),
        address: ask.origin.peer,
        language: ask.command.language,
        version: ask.command.version,
    };
    control(shard)?.watch(ask.now);
    let mut ticket = None;
    let mut differs = false;
    for consumer in data.consumer_data_set {
        let (due, is_known) = consumer_beat(shard, ask, &client, consumer, data.without_sub, out)?;
        differs |= due.is_some() || !is_known;
        ticket = later(ticket, due);
    }
    for producer in data.producer_data_set.iter().filter(|producer| !producer.group_name.is_empty()) {
        let members = &mut control(shard)?.members;
        members.producer_beat(ask.now, ask.origin.conn, &client, &producer.group_name).map_err(too_many)?;
    }
    // A client without fingerprint sends everything each time and is told to go on so.
    let is_sub_change = data.heartbeat_fingerprint == 0 || differs;
    let answer = out.answer(&ask.to(), &HeartbeatReply { is_support_heart_beat_v2: true, is_sub_change });
    finish(shard, ticket, ask, answer, out)
}

/// One group of a heartbeat: what the answer waits for, and whether its subscriptions are known.
fn consumer_beat(
    shard: &mut Shard,
    ask: &Ask<'_>,
    client: &Client,
    data: ConsumerData,
    without_sub: bool,
    out: &mut Effects,
) -> Result<(Option<Ticket>, bool), Refusal> {
    let group: Box<str> = data.group_name.as_str().into();
    let mut ticket = match ensure_group(shard, ask.now, &group, out) {
        Ok(ticket) => ticket,
        // As in RocketMQ a group that may not exist is skipped; its pulls are told why.
        Err(refusal) if refusal.code == ResponseCode::SubscriptionGroupNotExist => return Ok((None, true)),
        Err(refusal) => return Err(refusal),
    };
    let sys_flag = if data.unit_mode { UNIT_SUB } else { 0 };
    let retry_topic = ensure_retry_topic(shard, ask.now, &group, sys_flag, out)?;
    if retry_topic.is_some() {
        control(shard)?.notice_again(ask.now, &group);
    }
    ticket = later(ticket, retry_topic);
    let beat = ConsumerBeat {
        group: group.clone(),
        model: data.message_model,
        consume_type: data.consume_type,
        consume_from_where: data.consume_from_where,
        topics: (!without_sub).then(|| subscriptions(data.subscription_data_set)),
    };
    let members = &mut control(shard)?.members;
    let change = members.consumer_beat(ask.now, ask.origin.conn, client, beat).map_err(too_many)?;
    let is_known = members.view(&group).is_some_and(|view| !view.topics.is_empty());
    ticket = later(ticket, changed(shard, ask.now, &group, change, out)?);
    Ok((ticket, is_known))
}

fn subscriptions(data: Vec<SubscriptionData>) -> BTreeMap<Box<str>, Subscription> {
    data.into_iter()
        .filter_map(|data| {
            let wanted = if data.is_tag() { Wanted::Tags(TagFilter::parse(&data.sub_string)?) } else { Wanted::Sql };
            let subscription = Subscription { text: data.sub_string.into(), wanted, version: data.sub_version };
            Some((data.topic.into(), subscription))
        })
        .collect()
}

/// UNREGISTER_CLIENT: the client leaves a group; its locks there are free at once.
pub fn unregister(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let UnregisterClientHeader { client_id, producer_group, consumer_group } = ask.header()?;
    let mut ticket = None;
    if let Some(group) = producer_group {
        control(shard)?.members.producer_leaves(ask.origin.conn, &group.to_cow());
    }
    if let Some(group) = consumer_group {
        let group = group.to_cow();
        let control = control(shard)?;
        control.locks.leave(&group, &client_id.to_cow());
        let change: GroupChange = control.members.consumer_leaves(ask.now, ask.origin.conn, &group);
        ticket = changed(shard, ask.now, &group, change, out)?;
    }
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

/// CHECK_CLIENT_CONFIG: whether a subscription would work; consumers do not start when it would not.
pub fn check_config(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let config: CheckClientConfig = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let subscription = &config.subscription_data;
    if !subscription.is_tag() {
        let why = if shard.metadata.settings.consuming.enable_property_filter {
            "The broker does not support consumer to filter message by SQL92 in this version; subscribe by tag"
        } else {
            "The broker does not support consumer to filter message by SQL92 (enablePropertyFilter=false)"
        };
        return Err(Refusal::new(ResponseCode::SystemError, why));
    }
    if TagFilter::parse(&subscription.sub_string).is_none() {
        let remark =
            format!("the subscription \"{}\" names no tag; write *, or tags joined by ||", subscription.sub_string);
        return Err(Refusal::new(ResponseCode::SubscriptionParseFailed, remark));
    }
    Ok(out.done(&ask.to()))
}

/// GET_CONSUMER_LIST_BY_GROUP: the ids that the members divide the queues by.
pub fn consumer_list(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let ConsumerGroupHeader { consumer_group } = ask.header()?;
    let group = consumer_group.to_cow();
    let ids: Vec<String> = control(shard)?.members.consumers(&group).map(|(_, client)| client.id.to_string()).collect();
    if ids.is_empty() {
        return Err(Refusal::new(ResponseCode::SystemError, format!("no consumer for this group, {group}")));
    }
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&ConsumerIdList { consumer_id_list: ids })))
}
