//! Which handler serves which request, and where it runs.
//!
//! Owns the table: one row per request code (or several codes with one meaning). A code without a row is answered
//! REQUEST_CODE_NOT_SUPPORTED with its name. Never decodes more than topic, queue id and physical offset.

use ringmq_protocol::command::Command;
use ringmq_protocol::names::TopicKind;
use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::{Origin, ShardId};
use crate::gather;
use crate::handlers::{
    assignment, client, config, connection, group_admin, lock, offset, pop, pop_ack, pop_notice, pull, query, reply,
    runtime, send, send_back, topic_admin, transaction,
};
use crate::limits::RETRY_TOPIC_MAX;
use crate::place::{Place, Rule};
use crate::pop::place as pop_place;
use crate::shard::Shard;

/// Serves one request.
pub type Handler = fn(&mut Shard, &Ask<'_>, &mut Effects) -> Result<Answer, Refusal>;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub handler: Handler,
    pub rule: Rule,
}

macro_rules! routes {
    ($($($code:ident),+ => $handler:path, $rule:expr;)*) => {
        /// The row of a request code.
        #[inline]
        pub fn route(code: RequestCode) -> Option<Route> {
            match code {
                $($(RequestCode::$code)|+ => Some(Route { handler: $handler, rule: $rule }),)*
                _ => None,
            }
        }

        /// The codes that are served, in the order of the table.
        pub const SERVED: &[RequestCode] = &[$($(RequestCode::$code,)+)*];
    };
}

routes! {
    SendMessage, SendMessageV2, SendBatchMessage => send::send, Rule::AnyQueue;
    SendReplyMessage, SendReplyMessageV2 => reply::reply, Rule::AnyQueue;
    ConsumerSendMsgBack => send_back::send_back, Rule::Log("offset");
    EndTransaction => transaction::end, Rule::Log("commitLogOffset");
    PullMessage, LitePullMessage => pull::pull, Rule::Queue;
    QueryConsumerOffset => offset::query, Rule::Queue;
    UpdateConsumerOffset => offset::update, Rule::Queue;
    SearchOffsetByTimestamp => offset::search, Rule::Queue;
    GetMaxOffset => offset::max, Rule::Queue;
    GetMinOffset => offset::min, Rule::Queue;
    GetEarliestMsgStoretime => offset::earliest_store_time, Rule::Queue;
    ViewMessageById => query::view, Rule::Log("offset");
    QueryMessage => gather::ask_all, Rule::All;
    GetTopicStatsInfo, GetConsumeStats => gather::ask_all, Rule::All;
    QueryTopicConsumeByWho, QueryTopicsByConsumer => gather::ask_all, Rule::All;
    InvokeBrokerToResetOffset, GetBrokerRuntimeInfo => gather::ask_all, Rule::All;
    CleanExpiredConsumequeue, CleanUnusedTopic, DeleteExpiredCommitlog => gather::ask_all, Rule::All;
    ViewBrokerStatsData => runtime::no_figure, Rule::Here;
    PopMessage => pop::pop, Rule::Pop;
    AckMessage => pop_ack::ack, Rule::Receipt;
    ChangeMessageInvisibletime => pop_ack::change, Rule::Receipt;
    BatchAckMessage, PollingInfo => gather::ask_all, Rule::All;
    Notification => pop_notice::notification, Rule::Pop;
    HeartBeat => client::heartbeat, Rule::Control;
    UnregisterClient => client::unregister, Rule::Control;
    CheckClientConfig => client::check_config, Rule::Control;
    GetConsumerListByGroup => client::consumer_list, Rule::Control;
    LockBatchMq => lock::lock, Rule::Control;
    UnlockBatchMq => lock::unlock, Rule::Control;
    QueryAssignment => assignment::query, Rule::Control;
    SetMessageRequestMode => assignment::set_mode, Rule::Control;
    GetAllMessageRequestMode => assignment::all_modes, Rule::Control;
    UpdateAndCreateTopic => topic_admin::put, Rule::Control;
    UpdateAndCreateTopicList => topic_admin::put_list, Rule::Control;
    DeleteTopicInBroker => topic_admin::delete, Rule::Control;
    GetAllTopicConfig => topic_admin::all, Rule::Control;
    GetTopicConfig => topic_admin::get, Rule::Control;
    GetSystemTopicListFromBroker => topic_admin::system_list, Rule::Control;
    UpdateAndCreateSubscriptiongroup => group_admin::put, Rule::Control;
    UpdateAndCreateSubscriptiongroupList => group_admin::put_list, Rule::Control;
    DeleteSubscriptiongroup => group_admin::delete, Rule::Control;
    GetAllSubscriptiongroupConfig => group_admin::all, Rule::Control;
    GetSubscriptiongroupConfig => group_admin::get, Rule::Control;
    GetConsumerConnectionList => connection::consumers, Rule::Control;
    GetProducerConnectionList => connection::producers, Rule::Control;
    GetAllProducerInfo => connection::all_producers, Rule::Control;
    QuerySubscriptionByConsumer => connection::subscription, Rule::Control;
    GetConsumerRunningInfo => connection::running_info, Rule::Control;
    GetBrokerConfig => config::get, Rule::Control;
    UpdateBrokerConfig => config::update, Rule::Control;
}

/// The handler of a request code, if it is served.
#[inline]
pub fn handler(code: i32) -> Option<Handler> {
    Some(route(RequestCode::from_i32(code)?)?.handler)
}

/// The refusal of a code without a row.
#[cold]
pub fn unserved(code: i32) -> Refusal {
    let name = RequestCode::from_i32(code).map_or("unknown", RequestCode::name);
    Refusal::new(ResponseCode::RequestCodeNotSupported, format!("request type {code} ({name}) not supported"))
}

/// Where a request runs. Whatever cannot be placed is refused where it came in.
pub(crate) fn place(shard: &Shard, _origin: &Origin, command: &Command<'_>) -> Place {
    let Some(route) = RequestCode::from_i32(command.code).and_then(route) else { return Place::Here };
    let owner = match route.rule {
        Rule::Here | Rule::All => None,
        Rule::Control => Some(ShardId::CONTROL),
        rule @ (Rule::Queue | Rule::AnyQueue) => owner_of_queue(shard, rule, command),
        Rule::Pop => pop_place::of_pop(shard, command),
        Rule::Receipt => pop_place::of_receipt(shard, command),
        Rule::Log(field) => command.ext.get(field).and_then(|text| owner_of_offset(shard, text)),
    };
    owner.filter(|owner| *owner != shard.id).map_or(Place::Here, Place::Shard)
}

/// The shard of the queue that a request names; with a negative queue id one of the topic's, this one if it has any.
fn owner_of_queue(shard: &Shard, rule: Rule, command: &Command<'_>) -> Option<ShardId> {
    let (mut topic, mut queue) = (None, None);
    for (key, value) in command.ext.iter() {
        match key.as_plain() {
            Some("topic" | "b") => topic = Some(value),
            Some("queueId" | "e") => queue = Some(value),
            _ => {}
        }
    }
    let mut scratch = [0; RETRY_TOPIC_MAX];
    let topic = topic?.decode_in(&mut scratch)?;
    // Whether a retry goes to the dead letters depends on the group's queue locks, which only that shard knows.
    if rule == Rule::AnyQueue && matches!(TopicKind::parse(topic), TopicKind::Retry(_)) {
        return Some(ShardId::CONTROL);
    }
    // Frames of this topic stand in line here until control has decided about it: no later one overtakes them.
    if rule == Rule::AnyQueue && shard.parked.holds_topic(topic) {
        return None;
    }
    let config = shard.metadata.topics.get(topic)?;
    match u32::try_from(queue?.parse_i32()?) {
        Ok(queue) => config.shard_of(queue),
        Err(_) => {
            let own = config.shards.first_of(shard.id).filter(|queue| *queue < config.write_queues).map(|_| shard.id);
            own.or_else(|| config.shard_of(command.opaque.unsigned_abs() % config.write_queues.max(1)))
        }
    }
}

/// The shard whose log a physical offset lies in.
fn owner_of_offset(shard: &Shard, text: Text<'_>) -> Option<ShardId> {
    let owner = WireOffset::from_wire(text.parse_i64()?)?.shard();
    (owner < shard.shards).then_some(ShardId(owner))
}
