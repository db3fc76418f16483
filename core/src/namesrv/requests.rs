//! The request codes a name server serves (DefaultRequestProcessor, ClientRequestProcessor).
//!
//! Owns decoding, the settings' say in each answer, and the words of refusals. What registering and routing mean is
//! `table`'s and `route`'s.

use std::net::SocketAddr;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::cluster::{BrokerMemberGroup, KvTable, MemberGroupReply};
use ringmq_protocol::bodies::register::{RegisterBrokerBody, body_crc};
use ringmq_protocol::bodies::route::TopicRouteData;
use ringmq_protocol::bodies::topic::{DataVersion, TopicList};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::namesrv::{
    AddWritePermReply, BrokerHeader, BrokerHeartbeatHeader, BrokerNameHeader, DataVersionReply, KvHeader, KvReply,
    MemberGroupHeader, NamespaceHeader, PutKvHeader, RegisterBrokerHeader, RegisterBrokerReply, RouteHeader,
    WipeWritePermReply,
};
use ringmq_protocol::headers::topic::{ClusterHeader, DeleteTopicHeader, TopicHeader};
use ringmq_protocol::perm;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use crate::effects::{Effects, Refusal};
use crate::settings::first_listed;

use super::kv::{KV_BYTES_MAX, KvFull, ORDER_TOPIC_CONFIG};
use super::queues::Share;
use super::route::{self, RouteRules, Zone};
use super::table::{BROKER_EXPIRES_MS, BROKERS_MAX, BrokerAddress, RegisterError, Registering, TOPICS_MAX};
use super::{Ask, NameServer, WAITING_MAX};

/// Brokers older than this register without JSON around their topics (V3_0_11).
const V3_0_11: i32 = 37;

/// Bits of topicSysFlag (TopicSysFlag): the topic is a unit's, and units subscribe to it.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

macro_rules! requests {
    ($($code:ident => $serve:expr;)*) => {
        /// The row of a request code.
        fn handler(code: RequestCode) -> Option<Handler> {
            match code {
                $(RequestCode::$code => Some($serve),)*
                _ => None,
            }
        }
    };
}

/// Serves one request.
type Handler = fn(&mut NameServer, &Ask<'_>, &mut Effects) -> Result<(), Refusal>;

requests! {
    GetRouteinfoByTopic => route;
    RegisterBroker => register;
    UnregisterBroker => unregister;
    BrokerHeartbeat => heartbeat;
    QueryDataVersion => data_version;
    GetBrokerMemberGroup => member_group;
    GetBrokerClusterInfo => clusters;
    GetAllTopicListFromNameserver => |server, ask, out| topics(server, ask, |_| true, out);
    GetUnitTopicList => |server, ask, out| topics(server, ask, |flag| flag & UNIT != 0, out);
    GetHasUnitSubTopicList => |server, ask, out| topics(server, ask, |flag| flag & UNIT_SUB != 0, out);
    GetHasUnitSubUnunitTopicList => |server, ask, out| {
        topics(server, ask, |flag| flag & (UNIT | UNIT_SUB) == UNIT_SUB, out)
    };
    GetTopicsByCluster => topics_by_cluster;
    GetSystemTopicListFromNs => system_topics;
    DeleteTopicInNamesrv => delete_topic;
    RegisterTopicInNamesrv => register_topic;
    WipeWritePermOfBroker => wipe_write_perm;
    AddWritePermOfBroker => add_write_perm;
    PutKvConfig => put_kv;
    GetKvConfig => get_kv;
    DeleteKvConfig => delete_kv;
    GetKvlistByNamespace => kv_list;
    UpdateNamesrvConfig => update_config;
    GetNamesrvConfig => config;
}

/// Whether a name server answers this request code.
#[must_use]
pub fn serves(code: i32) -> bool {
    RequestCode::from_i32(code).and_then(handler).is_some()
}

/// Answers one request, or says why not.
pub(super) fn serve(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let code = RequestCode::from_i32(ask.command.code);
    if let Some(handler) = code.and_then(handler) {
        return handler(server, ask, out);
    }
    let name = code.map_or("unknown", RequestCode::name);
    Err(Refusal::new(
        ResponseCode::RequestCodeNotSupported,
        format!("request type {} ({name}) not supported by a name server", ask.command.code),
    ))
}

fn clusters(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    body(&server.table.clusters(ask.origin.local), ask, out);
    Ok(())
}

fn wipe_write_perm(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let count = write_perm(server, ask, |perm| perm & !perm::WRITE)?;
    let _ = out.answer(&ask.to(), &WipeWritePermReply { wipe_topic_count: count });
    Ok(())
}

fn add_write_perm(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let count = write_perm(server, ask, |_| perm::READ_WRITE)?;
    let _ = out.answer(&ask.to(), &AddWritePermReply { add_topic_count: count });
    Ok(())
}

fn config(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let _ = out.answer_body(&ask.to(), server.loaded.lines().as_bytes());
    Ok(())
}

fn header<'a, H: Header<'a>>(ask: &Ask<'a>) -> Result<H, Refusal> {
    H::decode(&ask.command.ext).map_err(Refusal::from)
}

fn body<T: serde::Serialize>(value: &T, ask: &Ask<'_>, out: &mut Effects) {
    let _ = out.reply(&ask.to(), ResponseCode::Success, None, |_| {}, |bytes| bodies::encode(value, bytes));
}

fn malformed(error: &bodies::BodyError) -> Refusal {
    Refusal::new(ResponseCode::SystemError, error.to_string())
}

fn route(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let RouteHeader { topic, zone_mode, zone_name, .. } = header(ask)?;
    if ask.now.mono_us < server.serves_from {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            "the name server has just started and waits for its brokers (needWaitForService); ask again",
        ));
    }
    let topic = topic.to_cow();
    let NameServer { loaded, table, answers, kv, .. } = server;
    let routes = &loaded.settings.routes;
    let rules = || RouteRules {
        order: if routes.order_message_enable { kv.get(ORDER_TOPIC_CONFIG, &topic) } else { None },
        acting_master: routes.support_acting_master,
    };
    if let (Some(true), Some(zone)) = (zone_mode, zone_name) {
        let zone = Zone(zone.to_cow().into_owned());
        let text = |address: &BrokerAddress| address.text(ask.origin.local);
        let found = route::build(table, &topic, Some(&zone), &rules(), text).ok_or_else(|| no_route(&topic))?;
        body(&found, ask, out);
        return Ok(());
    }
    if table.topic(&topic).is_none() {
        return Err(no_route(&topic));
    }
    let _ = out.reply(
        &ask.to(),
        ResponseCode::Success,
        None,
        |_| {},
        |bytes| {
            let written = answers.write(table, &topic, ask.origin.local, rules, bytes);
            assert!(written.is_some(), "the topic was just found");
        },
    );
    Ok(())
}

#[cold]
fn no_route(topic: &str) -> Refusal {
    Refusal::new(
        ResponseCode::TopicNotExist,
        format!(
            "No topic route info in name server for the topic: {topic}. No broker that is registered here has it; \
             create it, or send to it with autoCreateTopicEnable=true. \
             See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
        ),
    )
}

fn register(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let header: RegisterBrokerHeader<'_> = header(ask)?;
    if header.body_crc32 != 0 && header.body_crc32 != body_crc(ask.command.body) {
        return Err(Refusal::new(ResponseCode::SystemError, "the registration's crc32 does not match its body"));
    }
    let registration = if ask.command.body.is_empty() {
        RegisterBrokerBody::default()
    } else if ask.command.version >= V3_0_11 {
        RegisterBrokerBody::decode(ask.command.body, header.compressed, ask.command.version)
            .map_err(|error| malformed(&error))?
    } else {
        let table = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
        RegisterBrokerBody { topic_config_serialize_wrapper: table, ..RegisterBrokerBody::default() }
    };
    let table = registration.topic_config_serialize_wrapper;
    let routes = &server.loaded.settings.routes;
    let text = |text: Text<'_>| -> Box<str> { text.to_cow().into() };
    let registering = Registering {
        cluster: text(header.cluster_name),
        name: text(header.broker_name),
        id: header.broker_id,
        address: BrokerAddress::Fixed(text(header.broker_addr)),
        ha_address: text(header.ha_server_addr),
        zone: header.zone_name.filter(|_| header.zone_mode == Some(true)).map(text),
        expires_ms: Some(expires_ms(header.heartbeat_timeout_millis)),
        acting_master: header.enable_acting_master,
        version: table.data_version,
        conn: Some(ask.origin.conn),
        complete: routes.delete_topic_with_broker_registration,
        topics: table.topic_config_table.into_values().collect(),
    };
    let master = server.table.register(ask.now, registering).map_err(register_refused)?;
    let order = server.kv.namespace(ORDER_TOPIC_CONFIG).filter(|_| routes.return_order_topic_config_to_broker);
    let order = order.map(|table| KvTable { table: table.clone() });
    let address = master.address.map(|address| address.text(ask.origin.local));
    let reply = RegisterBrokerReply {
        ha_server_addr: master.ha_address.as_deref().map(Text::plain),
        master_addr: address.as_deref().map(Text::plain),
    };
    let body = |bytes: &mut Vec<u8>| {
        if let Some(order) = &order {
            bodies::encode(order, bytes);
        }
    };
    let _ = out.reply(&ask.to(), ResponseCode::Success, None, |fields| reply.encode(fields), body);
    Ok(())
}

fn expires_ms(said: Option<i64>) -> u64 {
    said.and_then(|ms| u64::try_from(ms).ok()).filter(|&ms| ms > 0).unwrap_or(BROKER_EXPIRES_MS)
}

fn register_refused(error: RegisterError) -> Refusal {
    match error {
        RegisterError::NeverRegistered => {
            Refusal::new(ResponseCode::SystemError, "a broker registers all its topics before a single one")
        }
        RegisterError::Full => Refusal::new(
            ResponseCode::SystemError,
            format!("the name server is full: {BROKERS_MAX} brokers, {TOPICS_MAX} topics"),
        ),
    }
}

fn unregister(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let BrokerHeader { broker_name, broker_addr, cluster_name, .. } = header(ask)?;
    let address = BrokerAddress::Fixed(broker_addr.to_cow().into());
    server.table.unregister(&cluster_name.to_cow(), &broker_name.to_cow(), &address);
    let _ = out.done(&ask.to());
    Ok(())
}

fn heartbeat(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let BrokerHeartbeatHeader { cluster_name, broker_addr, .. } = header(ask)?;
    let address = BrokerAddress::Fixed(broker_addr.to_cow().into());
    server.table.refresh(ask.now, &cluster_name.to_cow(), &address);
    let _ = out.done(&ask.to());
    Ok(())
}

fn data_version(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let BrokerHeader { cluster_name, broker_addr, .. } = header(ask)?;
    let asked: DataVersion = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let (cluster, address) = (cluster_name.to_cow(), BrokerAddress::Fixed(broker_addr.to_cow().into()));
    let known = server.table.version_of(&cluster, &address);
    let changed = known != Some(asked);
    if !changed {
        server.table.refresh(ask.now, &cluster, &address);
    }
    let body = |bytes: &mut Vec<u8>| {
        if let Some(known) = &known {
            bodies::encode(known, bytes);
        }
    };
    let reply = DataVersionReply { changed };
    let _ = out.reply(&ask.to(), ResponseCode::Success, None, |fields| reply.encode(fields), body);
    Ok(())
}

fn member_group(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let MemberGroupHeader { cluster_name, broker_name } = header(ask)?;
    let (cluster, name) = (cluster_name.to_cow(), broker_name.to_cow());
    let local: SocketAddr = ask.origin.local;
    let group = server.table.group(&name);
    let addresses =
        group.into_iter().flat_map(|group| &group.addresses).map(|(&id, address)| (id, address.text(local)));
    let group = BrokerMemberGroup {
        broker_addrs: addresses.collect(),
        broker_name: name.into_owned(),
        cluster: cluster.into_owned(),
    };
    body(&MemberGroupReply { broker_member_group: group }, ask, out);
    Ok(())
}

fn topics(
    server: &NameServer,
    ask: &Ask<'_>,
    is_wanted: impl Fn(i32) -> bool,
    out: &mut Effects,
) -> Result<(), Refusal> {
    let routes = &server.loaded.settings.routes;
    let all = RequestCode::from_i32(ask.command.code) == Some(RequestCode::GetAllTopicListFromNameserver);
    let (is_on, key) = if all {
        (routes.enable_all_topic_list, "enableAllTopicList")
    } else {
        (routes.enable_topic_list, "enableTopicList")
    };
    if !is_on {
        return Err(list_is_off(key));
    }
    names(server, |share| is_wanted(share.sys_flag), ask, out);
    Ok(())
}

/// Answers with a TopicList, whose names are written from where they are: there may be a million.
fn names(server: &NameServer, is_wanted: impl Fn(&Share) -> bool, ask: &Ask<'_>, out: &mut Effects) {
    let list = |bytes: &mut Vec<u8>| {
        bytes.extend_from_slice(br#"{"topicList":["#);
        for (at, name) in server.table.topic_names(is_wanted).enumerate() {
            if at > 0 {
                bytes.push(b',');
            }
            bodies::encode(&name, bytes);
        }
        bytes.extend_from_slice(b"]}");
    };
    let _ = out.reply(&ask.to(), ResponseCode::Success, None, |_| {}, list);
}

#[cold]
fn list_is_off(key: &str) -> Refusal {
    Refusal::new(ResponseCode::SystemError, format!("the name server does not list topics ({key}=false)"))
}

fn topics_by_cluster(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    if !server.loaded.settings.routes.enable_topic_list {
        return Err(list_is_off("enableTopicList"));
    }
    let ClusterHeader { cluster } = header(ask)?;
    let brokers = server.table.numbers_of(&cluster.to_cow());
    names(server, |share| brokers.contains(&share.broker), ask, out);
    Ok(())
}

fn system_topics(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let list = TopicList {
        broker_addr: server.table.some_master(ask.origin.local),
        topic_list: server.table.cluster_and_broker_names(),
    };
    body(&list, ask, out);
    Ok(())
}

fn delete_topic(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let DeleteTopicHeader { topic, cluster_name } = header(ask)?;
    let cluster = cluster_name.map(|name| name.to_cow()).filter(|name| !name.is_empty());
    server.table.remove_topic(&topic.to_cow(), cluster.as_deref());
    let _ = out.done(&ask.to());
    Ok(())
}

fn register_topic(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let TopicHeader { topic } = header(ask)?;
    let topic = topic.to_cow();
    let route: TopicRouteData = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    for queues in route.queue_datas {
        match server.table.put_queues(&topic, &queues) {
            // What is said of brokers that are not here is passed over.
            Ok(()) | Err(RegisterError::NeverRegistered) => {}
            Err(error @ RegisterError::Full) => return Err(register_refused(error)),
        }
    }
    let _ = out.done(&ask.to());
    Ok(())
}

fn write_perm(server: &mut NameServer, ask: &Ask<'_>, change: impl Fn(i32) -> i32) -> Result<i32, Refusal> {
    let BrokerNameHeader { broker_name } = header(ask)?;
    let count = server.table.set_perm(&broker_name.to_cow(), change);
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

fn put_kv(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let PutKvHeader { namespace, key, value } = header(ask)?;
    kv_has_room(server)?;
    let namespace = namespace.to_cow();
    server.kv.put(&namespace, &key.to_cow(), &value.to_cow()).map_err(|KvFull| {
        let remark = format!("the key-value configuration may have {KV_BYTES_MAX} bytes in all");
        Refusal::new(ResponseCode::SystemError, remark)
    })?;
    kv_changed(server, &namespace);
    server.answer_when_stored(ask.to(), out)
}

fn delete_kv(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let KvHeader { namespace, key } = header(ask)?;
    kv_has_room(server)?;
    let namespace = namespace.to_cow();
    if !server.kv.delete(&namespace, &key.to_cow()) {
        let _ = out.done(&ask.to());
        return Ok(());
    }
    kv_changed(server, &namespace);
    server.answer_when_stored(ask.to(), out)
}

fn kv_has_room(server: &NameServer) -> Result<(), Refusal> {
    if server.waiting.len() < WAITING_MAX {
        return Ok(());
    }
    Err(Refusal::new(ResponseCode::SystemBusy, "too many changes of the key-value configuration at once; try again"))
}

fn kv_changed(server: &mut NameServer, namespace: &str) {
    server.kv_changes += 1;
    if namespace == ORDER_TOPIC_CONFIG {
        server.table.touch();
    }
}

fn get_kv(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let KvHeader { namespace, key } = header(ask)?;
    let (namespace, key) = (namespace.to_cow(), key.to_cow());
    let value = server.kv.get(&namespace, &key).ok_or_else(|| {
        Refusal::new(ResponseCode::QueryNotFound, format!("No config item, Namespace: {namespace} Key: {key}"))
    })?;
    let _ = out.answer(&ask.to(), &KvReply { value: Some(Text::plain(value)) });
    Ok(())
}

fn kv_list(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let NamespaceHeader { namespace } = header(ask)?;
    let namespace = namespace.to_cow();
    let table = server
        .kv
        .namespace(&namespace)
        .ok_or_else(|| Refusal::new(ResponseCode::QueryNotFound, format!("No config item, Namespace: {namespace}")))?;
    body(&KvTable { table: table.clone() }, ask, out);
    Ok(())
}

fn update_config(server: &mut NameServer, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    let text = std::str::from_utf8(ask.command.body)
        .map_err(|_| Refusal::new(ResponseCode::SystemError, "the configuration is not UTF-8"))?;
    if let Some(key) = first_listed(text, &server.loaded.settings.routes.config_black_list) {
        return Err(Refusal::new(ResponseCode::NoPermission, format!("{key} cannot be changed (configBlackList)")));
    }
    server.loaded.change(text).map_err(|refused| Refusal::new(ResponseCode::InvalidParameter, refused.to_string()))?;
    // What routes carry may depend on any of them.
    server.table.touch();
    let _ = out.done(&ask.to());
    Ok(())
}
