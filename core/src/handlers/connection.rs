//! Who is connected, for administrators: 203, 204, 328, 345, and the question passed on to a client, 307.
//!
//! Owns the bodies' making from `group::members` and views. Runs on the control shard.

use std::collections::BTreeMap;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::connection::{
    Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable,
};
use ringmq_protocol::bodies::group::SubscriptionReply;
use ringmq_protocol::bodies::heartbeat::SubscriptionData;
use ringmq_protocol::encode::Head;
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::client::{ConsumerGroupHeader, ProducerGroupHeader, RunningInfoHeader};
use ringmq_protocol::headers::group::QuerySubscriptionHeader;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::tags;

use super::control::control;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::group::members::Client;
use crate::group::{Subscription, Wanted};
use crate::limits::PUSH_REPLY_MAX_MS;
use crate::pushes::{Push, Waiter};
use crate::shard::Shard;

/// Clients below this version cannot answer 307 (V3_1_8_SNAPSHOT).
const ANSWERS_QUESTIONS: i32 = 62;

fn connection(client: &Client) -> Connection {
    Connection {
        client_addr: client.address.to_string(),
        client_id: client.id.to_string(),
        language: client.language.name().to_owned(),
        version: client.version,
    }
}

fn subscription_data(topic: &str, subscription: &Subscription) -> SubscriptionData {
    let listed = match subscription.wanted {
        Wanted::Tags(_) if &*subscription.text != "*" => tags::tags(&subscription.text).map(str::to_owned).collect(),
        Wanted::Tags(_) | Wanted::Sql => Vec::new(),
    };
    SubscriptionData {
        class_filter_mode: false,
        code_set: listed.iter().map(|tag: &String| bodies::LenientInt(i64::from(tags::java_hash(tag)))).collect(),
        expression_type: subscription.expression_type().to_owned(),
        sub_string: subscription.text.to_string(),
        sub_version: subscription.version,
        tags_set: listed,
        topic: topic.to_owned(),
    }
}

/// GET_CONSUMER_CONNECTION_LIST; 206 for a group without members.
pub fn consumers(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let ConsumerGroupHeader { consumer_group } = ask.header()?;
    let group = consumer_group.to_cow();
    let members = &control(shard)?.members;
    let connection_set: Vec<Connection> = members.consumers(&group).map(|(_, client)| connection(client)).collect();
    let Some(view) = members.view(&group).filter(|_| !connection_set.is_empty()) else {
        return Err(Refusal::new(ResponseCode::ConsumerNotOnline, format!("the consumer group[{group}] not online")));
    };
    let table: BTreeMap<String, SubscriptionData> =
        view.topics.iter().map(|(topic, data)| (topic.to_string(), subscription_data(topic, data))).collect();
    let body = ConsumerConnection {
        connection_set,
        subscription_table: table,
        consume_type: view.consume_type,
        message_model: view.model,
        consume_from_where: view.consume_from_where,
    };
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&body)))
}

/// GET_PRODUCER_CONNECTION_LIST; 1 for a group without clients.
pub fn producers(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let ProducerGroupHeader { producer_group } = ask.header()?;
    let group = producer_group.to_cow();
    let connection_set: Vec<Connection> =
        control(shard)?.members.producers(&group).map(|(_, client)| connection(client)).collect();
    if connection_set.is_empty() {
        return Err(Refusal::new(ResponseCode::SystemError, format!("the producer group[{group}] not exist")));
    }
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&ProducerConnection { connection_set })))
}

/// GET_ALL_PRODUCER_INFO.
pub fn all_producers(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let now = ask.now;
    let info = |&(client, seen): &(&Client, u64)| ProducerInfo {
        client_id: client.id.to_string(),
        remote_ip: client.address.to_string(),
        language: client.language.name().to_owned(),
        version: client.version,
        last_update_timestamp: now.wall_ms - (now.mono_us.saturating_sub(seen) / 1_000) as i64,
    };
    let groups = control(shard)?.members.producer_groups();
    let data =
        groups.iter().map(|(group, clients)| ((*group).to_owned(), clients.iter().map(info).collect())).collect();
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&ProducerTable { data })))
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER.
pub fn subscription(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let QuerySubscriptionHeader { group, topic } = ask.header()?;
    let (group, topic) = (group.to_cow(), topic.map(|topic| topic.to_cow()).unwrap_or_default());
    let view = shard.metadata.views.get(&group);
    let data = view.and_then(|view| view.topics.get(&*topic)).map(|data| subscription_data(&topic, data));
    let body = SubscriptionReply { group: group.into_owned(), subscription_data: data, topic: topic.into_owned() };
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&body)))
}

/// GET_CONSUMER_RUNNING_INFO: the client is asked, and its answer passed on as it is.
pub fn running_info(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: RunningInfoHeader<'_> = ask.header()?;
    let (group, id) = (header.consumer_group.to_cow(), header.client_id.to_cow());
    let members = &control(shard)?.members;
    let Some((conn, client)) = members.consumers(&group).find(|(_, client)| *client.id == *id) else {
        return Err(Refusal::new(ResponseCode::SystemError, format!("The Consumer <{group}> <{id}> not online")));
    };
    if client.version < ANSWERS_QUESTIONS {
        let remark =
            format!("The Consumer <{group}> <{id}> is too old to say what it does (version {})", client.version);
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    let push = Push { target: conn, waiter: Waiter::Client(ask.to()), deadline: ask.now.after_ms(PUSH_REPLY_MAX_MS) };
    let Some(opaque) = shard.relays.pushes.open(push) else {
        return Err(Refusal::new(ResponseCode::SystemBusy, "too many questions to clients wait for their answers"));
    };
    let head = Head::request(Spelling::Json, RequestCode::GetConsumerRunningInfo.to_i32(), opaque);
    out.frame(conn, &head, |fields| header.encode(fields), |_| {});
    Ok(Answer::Held)
}
