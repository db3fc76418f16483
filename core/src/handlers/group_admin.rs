//! Administration of consumer groups: 200, 225, 207, and the questions 201, 352.
//!
//! Owns the two directions between `Group` and SubscriptionGroupConfig, and what an administrator may ask of a group
//! (AdminBrokerProcessor). Changes go through `control::commit`.

use std::collections::BTreeMap;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::group::{
    CustomizedRetryPolicy, ExponentialRetryPolicy, GroupConfigList, GroupRetryPolicy, RetryPolicyType,
    SubscriptionGroupConfig, SubscriptionGroupTable,
};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::group::{AllGroupConfigHeader, AllGroupConfigReply, DeleteGroupHeader, GroupHeader};
use ringmq_protocol::names;
use ringmq_protocol::response_code::ResponseCode;

use super::client::malformed;
use super::control::{commit, control, ensure_group, ensure_retry_topic, finish, groups_have_room, later};
use super::topic_admin::page_of;
use crate::control::Ticket;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::group::{Group, RetryPolicy};
use crate::shard::Shard;
use crate::topic::{Change, QUEUES_PER_TOPIC_MAX};

fn invalid(remark: String) -> Refusal {
    Refusal::new(ResponseCode::InvalidParameter, remark)
}

/// A group as tools see it.
#[must_use]
pub fn config_of(group: &Group) -> SubscriptionGroupConfig {
    let policy = match &group.retry_policy {
        RetryPolicy::Customized(next) => GroupRetryPolicy {
            customized_retry_policy: Some(CustomizedRetryPolicy { next: next.clone() }),
            exponential_retry_policy: None,
            kind: RetryPolicyType::Customized,
        },
        &RetryPolicy::Exponential { initial, max, multiplier } => GroupRetryPolicy {
            customized_retry_policy: None,
            exponential_retry_policy: Some(ExponentialRetryPolicy { initial, max, multiplier: multiplier as f64 }),
            kind: RetryPolicyType::Exponential,
        },
    };
    SubscriptionGroupConfig {
        attributes: group.attributes.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        broker_id: group.broker_id,
        consume_broadcast_enable: group.consume_broadcast_enable,
        consume_enable: group.consume_enable,
        consume_from_min_enable: group.consume_from_min_enable,
        consume_message_orderly: group.consume_message_orderly,
        consume_timeout_minute: group.consume_timeout_minute,
        group_name: group.name.to_string(),
        group_retry_policy: policy,
        group_sys_flag: group.group_sys_flag,
        notify_consumer_ids_changed_enable: group.notify_consumer_ids_changed_enable,
        retry_max_times: group.retry_max_times,
        retry_queue_nums: group.retry_queues as i32,
        subscription_data_set: None,
        which_broker_when_consume_slowly: group.which_broker_when_consume_slowly,
    }
}

/// The group that an administrator describes; what he cannot describe stays as it is in `known`.
fn group_of(config: SubscriptionGroupConfig, known: Option<&Group>) -> Result<Group, Refusal> {
    let name = config.group_name;
    names::check_group(&name).map_err(|error| invalid(format!("group: {error}")))?;
    let retry_queues = u32::try_from(config.retry_queue_nums).ok().filter(|&count| count <= QUEUES_PER_TOPIC_MAX);
    let retry_queues = retry_queues.ok_or_else(|| invalid(format!("retryQueueNums is 0 to {QUEUES_PER_TOPIC_MAX}")))?;
    let mut attributes = known.map(|group| group.attributes.clone()).unwrap_or_default();
    change_attributes(&mut attributes, config.attributes);
    Ok(Group {
        name: name.into(),
        consume_enable: config.consume_enable,
        consume_from_min_enable: config.consume_from_min_enable,
        consume_broadcast_enable: config.consume_broadcast_enable,
        consume_message_orderly: config.consume_message_orderly,
        retry_queues,
        retry_max_times: config.retry_max_times,
        retry_policy: policy_of(config.group_retry_policy),
        broker_id: config.broker_id,
        which_broker_when_consume_slowly: config.which_broker_when_consume_slowly,
        notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
        group_sys_flag: config.group_sys_flag,
        consume_timeout_minute: config.consume_timeout_minute,
        attributes,
        modes: known.map(|group| group.modes.clone()).unwrap_or_default(),
    })
}

/// `+key` sets, `-key` deletes, a key without sign (read from a broker before) sets.
fn change_attributes(attributes: &mut BTreeMap<Box<str>, Box<str>>, change: BTreeMap<String, String>) {
    for (key, value) in change {
        match key.strip_prefix('-') {
            Some(key) => drop(attributes.remove(key)),
            None => drop(attributes.insert(key.strip_prefix('+').unwrap_or(&key).into(), value.into())),
        }
    }
}

fn policy_of(policy: GroupRetryPolicy) -> RetryPolicy {
    match (policy.kind, policy.customized_retry_policy, policy.exponential_retry_policy) {
        (RetryPolicyType::Exponential, _, exponential) => {
            let ExponentialRetryPolicy { initial, max, multiplier } = exponential.unwrap_or_default();
            RetryPolicy::Exponential { initial, max, multiplier: multiplier as i64 }
        }
        (RetryPolicyType::Customized, Some(customized), _) if !customized.next.is_empty() => {
            RetryPolicy::Customized(customized.next)
        }
        (RetryPolicyType::Customized, _, _) => RetryPolicy::default(),
    }
}

fn put_one(
    shard: &mut Shard,
    ask: &Ask<'_>,
    config: SubscriptionGroupConfig,
    out: &mut Effects,
) -> Result<Option<Ticket>, Refusal> {
    let known = shard.metadata.groups.get(&config.group_name);
    let group = group_of(config, known)?;
    if known == Some(&group) {
        return Ok(None);
    }
    let is_new = known.is_none();
    if is_new {
        groups_have_room(shard)?;
    }
    let name = group.name.clone();
    let ticket = Some(commit(shard, ask.now, Change::GroupPut(group), out)?);
    if !is_new {
        return Ok(ticket);
    }
    // Tools find a group by the route of its retry topic, and its consumers take that topic's queue the sooner.
    Ok(later(ticket, ensure_retry_topic(shard, ask.now, &name, 0, out)?))
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
pub fn put(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let config = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let ticket = put_one(shard, ask, config, out)?;
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: one after the other; the first that is refused ends it.
pub fn put_list(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let list: GroupConfigList = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let mut ticket = None;
    for config in list.group_config_list {
        ticket = later(ticket, put_one(shard, ask, config, out)?);
    }
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

/// DELETE_SUBSCRIPTIONGROUP: the group's configuration is gone, and with `cleanOffset` its offsets.
pub fn delete(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let DeleteGroupHeader { group_name, clean_offset } = ask.header()?;
    let name = group_name.to_cow();
    let ticket = match shard.metadata.groups.get(&name) {
        None if !clean_offset => None,
        // Offsets may be there although the configuration is gone: an earlier delete may have left them.
        None | Some(_) => {
            let change = Change::GroupDrop { name: name.into(), clean_offsets: clean_offset };
            Some(commit(shard, ask.now, change, out)?)
        }
    };
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG: everything, or the page that is asked for.
pub fn all(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let AllGroupConfigHeader { group_seq, max_group_num, .. } = ask.header()?;
    let version = control(shard)?.group_version;
    let groups = shard.metadata.groups.sorted();
    let total = groups.len();
    let page = page_of(total, group_seq, max_group_num);
    let table = SubscriptionGroupTable {
        data_version: version,
        subscription_group_table: groups[page].iter().map(|group| (group.name.to_string(), config_of(group))).collect(),
        ..SubscriptionGroupTable::default()
    };
    let reply = AllGroupConfigReply { total_group_num: i32::try_from(total).ok() };
    let body = |bytes: &mut Vec<u8>| bodies::encode(&table, bytes);
    Ok(out.reply(&ask.to(), ResponseCode::Success, None, |fields| reply.encode(fields), body))
}

/// GET_SUBSCRIPTIONGROUP_CONFIG: a group nobody named before is made, as by its first consumer.
pub fn get(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let GroupHeader { group } = ask.header()?;
    let name = group.to_cow();
    let ticket = ensure_group(shard, ask.now, &name, out)?;
    let config = shard.metadata.groups.get(&name).map(config_of).unwrap_or_default();
    let answer = out.answer_body(&ask.to(), &bodies::to_vec(&config));
    finish(shard, ticket, ask, answer, out)
}
