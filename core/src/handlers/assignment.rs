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
use super::stats::known_topic;
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

/// QUERY_ASSIGNMENT: the client's part of a topic's queues. An answer without assignments says "nothing known yet, keep what
/// you have"; an empty one would say "you own nothing".
pub fn query(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let request: AssignmentRequest = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let mut ids: Vec<String> =
        control(shard)?.members.consumers(&request.consumer_group).map(|(_, client)| client.id.to_string()).collect();
    ids.sort_unstable();
    let metadata = &shard.metadata;
    let mode = mode_of(metadata, &request.consumer_group, &request.topic);
    let part = part(metadata, &request, mode, &ids)?;
    let broker = &metadata.settings.identity.broker_name;
    let assignment = |queue: i32| Assignment {
        attachments: BTreeMap::new(),
        message_queue: MessageQueue::new(&request.topic, broker, queue),
        mode: wire_mode(mode.mode),
    };
    let assignments = part.map(|part| part.into_iter().map(assignment).collect());
    let reply = AssignmentReply { message_queue_assignments: assignments };
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&reply)))
}

/// The queues that fall to a client; `None` while its topic or its membership is not known.
fn part(
    metadata: &Metadata,
    request: &AssignmentRequest,
    Mode { mode, share }: Mode,
    ids: &[String],
) -> Result<Option<Vec<i32>>, Refusal> {
    let Some(topic) = metadata.topics.get(request.topic.as_str()) else { return Ok(None) };
    let queues: Vec<i32> = (0..topic.read_queues as i32).collect();
    let divides = metadata.settings.consuming.server_load_balancer_enable;
    if request.message_model == MessageModel::Broadcasting || !divides {
        return Ok(Some(queues));
    }
    // Clients take an error for "divide yourselves", which is right for a strategy only they know.
    let strategy = Strategy::of(&request.strategy_name).ok_or_else(|| {
        let remark = format!("the broker divides by AVG and AVG_BY_CIRCLE, not by {}", request.strategy_name);
        Refusal::new(ResponseCode::SystemError, remark)
    })?;
    let Ok(index) = ids.binary_search(&request.client_id) else { return Ok(None) };
    Ok(Some(match mode {
        RequestMode::Pull => strategy.part(&queues, index, ids.len()),
        // Queue -1 is "all of this broker".
        RequestMode::Pop => pop_part(strategy, &queues, index, ids.len(), share).unwrap_or_else(|| vec![-1]),
    }))
}

/// SET_MESSAGE_REQUEST_MODE.
pub fn set_mode(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let body: ModeBody = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    if matches!(TopicKind::of(&body.topic), TopicKind::Retry(_)) {
        return Err(Refusal::new(ResponseCode::NoPermission, "retry topics are always pulled"));
    }
    known_topic(shard, &body.topic)?;
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
