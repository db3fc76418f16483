//! Division of queues by the broker: QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401), 402.
//!
//! Owns which mode a group's topic is in and the assignment bodies (QueryAssignmentProcessor); dividing is
//! `group::assignment`'s. Only the queues of this broker are divided: it does not ask name servers about others.

use std::collections::BTreeMap;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::assignment::{
    AllRequestModes, Assignment, AssignmentReply, AssignmentRequest, MessageRequestMode, RequestMode as ModeBody,
};
use ringmq_protocol::bodies::queue::MessageQueue;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;

use super::client::malformed;
use super::control::{commit, control, ensure_group, finish, later};
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::group::assignment::{Strategy, pop_part};
use crate::group::{MODES_PER_GROUP_MAX, MessageModel, Mode, RequestMode};
use crate::metadata::Metadata;
use crate::routes;
use crate::shard::Shard;
use crate::topic::{Change, TopicKind};

fn wire_mode(mode: RequestMode) -> MessageRequestMode {
    match mode {
        RequestMode::Pull => MessageRequestMode::Pull,
        RequestMode::Pop => MessageRequestMode::Pop,
    }
}

/// How a group receives a topic. Retry topics are always pulled.
fn mode_of(metadata: &Metadata, group: &str, topic: &str) -> Mode {
    let consuming = &metadata.settings.consuming;
    if matches!(TopicKind::of(topic), TopicKind::Retry(_)) {
        return Mode { mode: RequestMode::Pull, share: 0 };
    }
    let own = metadata.groups.get(group).and_then(|group| group.modes.get(topic)).copied();
    own.unwrap_or(Mode { mode: consuming.default_message_request_mode, share: consuming.default_pop_share_queue_num })
}

/// QUERY_ASSIGNMENT: the client's part of a topic's queues.
pub fn query(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let request: AssignmentRequest = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let AssignmentRequest { client_id, consumer_group, message_model, strategy_name, topic } = request;
    if !shard.metadata.settings.consuming.server_load_balancer_enable {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            "the broker does not divide queues (serverLoadBalancerEnable=false); use clientRebalance=true",
        ));
    }
    let mut ids: Vec<String> =
        control(shard)?.members.consumers(&consumer_group).map(|(_, client)| client.id.to_string()).collect();
    ids.sort_unstable();
    let metadata = &shard.metadata;
    let Mode { mode, share } = mode_of(metadata, &consumer_group, &topic);
    let queues: Vec<i32> = metadata.topics.get(&topic).map_or(0..0, |topic| 0..topic.read_queues as i32).collect();
    let part = match message_model {
        MessageModel::Broadcasting => queues,
        MessageModel::Clustering => {
            let strategy = Strategy::of(&strategy_name).ok_or_else(|| {
                let remark = format!("the broker divides by AVG and AVG_BY_CIRCLE, not by {strategy_name}");
                Refusal::new(ResponseCode::SystemError, remark)
            })?;
            match (ids.binary_search(&client_id), mode) {
                // Its heartbeat is still on its way: it asks again.
                (Err(_), _) => Vec::new(),
                (Ok(index), RequestMode::Pull) => strategy.part(&queues, index, ids.len()),
                // Queue -1 is "all of this broker".
                (Ok(index), RequestMode::Pop) => {
                    pop_part(strategy, &queues, index, ids.len(), share).unwrap_or_else(|| vec![-1])
                }
            }
        }
    };
    let broker = &metadata.settings.identity.broker_name;
    let assignments = part.into_iter().map(|queue| Assignment {
        attachments: BTreeMap::new(),
        message_queue: MessageQueue::new(&topic, broker, queue),
        mode: wire_mode(mode),
    });
    let reply = AssignmentReply { message_queue_assignments: Some(assignments.collect()) };
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&reply)))
}

/// SET_MESSAGE_REQUEST_MODE.
pub fn set_mode(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let body: ModeBody = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    if matches!(TopicKind::of(&body.topic), TopicKind::Retry(_)) {
        return Err(Refusal::new(ResponseCode::NoPermission, "retry topics are always pulled"));
    }
    let mode = match body.mode {
        MessageRequestMode::Pull => RequestMode::Pull,
        MessageRequestMode::Pop => RequestMode::Pop,
    };
    if mode == RequestMode::Pop && routes::route(RequestCode::PopMessage).is_none() {
        return Err(Refusal::new(ResponseCode::SystemError, "this version does not serve POP; its consumers pull"));
    }
    let made = ensure_group(shard, ask.now, &body.consumer_group, out)?;
    let Some(mut group) = shard.metadata.groups.get(body.consumer_group.as_str()).cloned() else {
        return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, "the group does not exist"));
    };
    if group.modes.len() >= MODES_PER_GROUP_MAX {
        let remark = format!("a group has at most {MODES_PER_GROUP_MAX} topics with a mode of their own");
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    group.modes.insert(body.topic.into(), Mode { mode, share: body.pop_share_queue_num });
    let ticket = Some(commit(shard, ask.now, Change::GroupPut(group), out)?);
    let answer = out.done(&ask.to());
    finish(shard, later(made, ticket), ask, answer, out)
}

/// GET_ALL_MESSAGE_REQUEST_MODE.
pub fn all_modes(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let mut all = AllRequestModes::default();
    for group in shard.metadata.groups.sorted() {
        for (topic, Mode { mode, share }) in &group.modes {
            let body = ModeBody {
                consumer_group: group.name.to_string(),
                mode: wire_mode(*mode),
                pop_share_queue_num: *share,
                topic: topic.to_string(),
            };
            all.message_request_mode_map.entry(topic.to_string()).or_default().insert(group.name.to_string(), body);
        }
    }
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&all)))
}
