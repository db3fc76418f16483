//! Where the topics live: brokers, their addresses and their queues.
//!
//! Owns the look-up at the name server (with TBW102 for topics that do not exist yet), the creation of topics and
//! the ends of queues. It runs before the load does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringmq_protocol::headers::namesrv::RouteHeader;
use ringmq_protocol::headers::offset::{MaxOffsetHeader, QueueHeader};
use ringmq_protocol::headers::topic::CreateTopicHeader;
use ringmq_protocol::perm;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;
use serde::Deserialize;

use crate::call::{self, Caller, Reply};
use crate::cli::{Flush, Target};
use crate::wire::volley::topic_name;
use crate::workload::sender::Lane;

/// The topic whose route stands for topics that do not exist yet.
const AUTO_CREATE: &str = "TBW102";

/// A topic every broker registers, named after the default cluster: finds the brokers when auto-creation is off.
const CLUSTER_TOPIC: &str = "DefaultCluster";

/// How long a created topic may take to appear in the route.
const ROUTE_PATIENCE: Duration = Duration::from_secs(10);
const ROUTE_POLL: Duration = Duration::from_millis(100);

/// A broker and the queues it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `None` when no route named it.
    pub name: Option<String>,
    pub address: SocketAddr,
    pub write: Vec<Lane>,
    pub read: Vec<Lane>,
}

/// Everything a run needs to know about its target.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    pub topics: Vec<String>,
    pub brokers: Vec<Broker>,
    /// Things worth telling the user, one sentence each.
    pub notes: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct RouteData {
    #[serde(default)]
    queue_datas: Vec<QueueData>,
    #[serde(default)]
    broker_datas: Vec<BrokerData>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct QueueData {
    broker_name: String,
    read_queue_nums: u32,
    write_queue_nums: u32,
    perm: i32,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct BrokerData {
    broker_name: String,
    broker_addrs: BTreeMap<String, String>,
}

impl BrokerData {
    /// The master's address, or the lowest slave's when there is no master.
    fn address(&self) -> Option<&str> {
        self.broker_addrs.iter().min_by_key(|(id, _)| id.parse::<u64>().unwrap_or(u64::MAX)).map(|(_, at)| at.as_str())
    }
}

/// Finds the topics of `target`, after creating them if it says so. With `auto_create`, topics that do not exist
/// get the queues they will have once the first message creates them.
///
/// # Errors
/// One sentence.
pub fn resolve(target: &Target, timeout: Duration, auto_create: bool) -> Result<Targets, String> {
    let names = (0..target.topics).map(|number| topic_name(&target.topic, number, target.topics)).collect();
    let mut targets = Targets { topics: names, ..Targets::default() };
    match (&target.broker, &target.namesrv) {
        (Some(broker), _) => resolve_broker(target, broker, timeout, &mut targets)?,
        (None, Some(servers)) => resolve_routes(target, servers, timeout, auto_create, &mut targets)?,
        (None, None) => return Err("neither --namesrv nor --broker is given".into()),
    }
    for broker in &mut targets.brokers {
        // Topics take turns before queues do.
        broker.write.sort_by_key(|lane| (lane.queue, lane.topic));
        broker.read.sort_by_key(|lane| (lane.queue, lane.topic));
    }
    Ok(targets)
}

fn resolve_broker(target: &Target, broker: &str, timeout: Duration, targets: &mut Targets) -> Result<(), String> {
    let address = call::address(broker)?;
    if target.create {
        create_on(&mut Caller::connect(address, timeout)?, target, targets)?;
    }
    let lanes: Vec<Lane> =
        (0..target.topics).flat_map(|topic| (0..target.queues).map(move |queue| Lane { topic, queue })).collect();
    targets.brokers.push(Broker { name: None, address, write: lanes.clone(), read: lanes });
    Ok(())
}

fn resolve_routes(
    target: &Target,
    servers: &str,
    timeout: Duration,
    auto_create: bool,
    targets: &mut Targets,
) -> Result<(), String> {
    let mut server = first_reachable(servers, timeout)?;
    let mut created_on = 0;
    if target.create {
        created_on = create_everywhere(&mut server, target, timeout, targets)?;
    }
    let mut brokers: BTreeMap<String, Broker> = BTreeMap::new();
    for (number, name) in targets.topics.iter().enumerate() {
        let mut route = route_when_complete(&mut server, name, created_on)?;
        let mut queues_at_most = u32::MAX;
        if route.is_none() && auto_create {
            queues_at_most = target.queues;
            route = ask_route(&mut server, AUTO_CREATE)?;
        }
        let Some(route) = route else {
            let mend = if auto_create { " and sending to it cannot create it" } else { "" };
            return Err(format!("topic {name} does not exist{mend}; --create makes it"));
        };
        add_route(&mut brokers, &route, number, queues_at_most)?;
    }
    targets.brokers = brokers.into_values().collect();
    Ok(())
}

fn first_reachable(servers: &str, timeout: Duration) -> Result<Caller, String> {
    let mut last = String::from("no name server is given");
    for server in servers.split(';').filter(|server| !server.is_empty()) {
        match call::address(server).and_then(|at| Caller::connect(at, timeout)) {
            Ok(caller) => return Ok(caller),
            Err(problem) => last = problem,
        }
    }
    Err(format!("no name server can be reached; the last one: {last}"))
}

/// The route of `topic`; `None` when it has none.
fn ask_route(server: &mut Caller, topic: &str) -> Result<Option<RouteData>, String> {
    let header = RouteHeader {
        topic: Text::plain(topic),
        accept_standard_json_only: Some(true),
        zone_mode: None,
        zone_name: None,
    };
    let reply = server.call(RequestCode::GetRouteinfoByTopic, &header)?;
    match ResponseCode::from_i32(reply.code) {
        Some(ResponseCode::Success) => serde_json::from_slice(&reply.body)
            .map(Some)
            .map_err(|error| format!("the route of {topic} cannot be read: {error}")),
        Some(ResponseCode::TopicNotExist) => Ok(None),
        _ => Err(format!("the name server refuses the route of {topic}: {}", reply.refusal())),
    }
}

/// The route of `topic`, as soon as it names `brokers` brokers: those register a new topic when they created it.
fn route_when_complete(server: &mut Caller, topic: &str, brokers: usize) -> Result<Option<RouteData>, String> {
    let deadline = Instant::now() + ROUTE_PATIENCE;
    loop {
        let route = ask_route(server, topic)?;
        let known = route.as_ref().map_or(0, |route| route.queue_datas.len());
        if known >= brokers {
            return Ok(route);
        }
        if Instant::now() > deadline {
            return Err(format!(
                "topic {topic} was created on {brokers} broker(s), but the name server's route shows {known} after {} s",
                ROUTE_PATIENCE.as_secs()
            ));
        }
        std::thread::sleep(ROUTE_POLL);
    }
}

fn add_route(
    brokers: &mut BTreeMap<String, Broker>,
    route: &RouteData,
    topic: usize,
    queues_at_most: u32,
) -> Result<(), String> {
    for queues in &route.queue_datas {
        let named = |broker: &&BrokerData| broker.broker_name == queues.broker_name;
        let Some(address) = route.broker_datas.iter().find(named).and_then(BrokerData::address) else { continue };
        let broker = match brokers.entry(queues.broker_name.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let name = Some(queues.broker_name.clone());
                let address = call::address(address)?;
                free.insert(Broker { name, address, write: Vec::new(), read: Vec::new() })
            }
        };
        let lanes = |count: u32| (0..count.min(queues_at_most)).map(move |queue| Lane { topic, queue });
        if perm::writable(queues.perm) {
            broker.write.extend(lanes(queues.write_queue_nums));
        }
        if perm::readable(queues.perm) {
            broker.read.extend(lanes(queues.read_queue_nums));
        }
    }
    Ok(())
}

/// Creates the topics on every broker the name server knows; on how many that was.
fn create_everywhere(
    server: &mut Caller,
    target: &Target,
    timeout: Duration,
    targets: &mut Targets,
) -> Result<usize, String> {
    let route = any_broker(server)?;
    let addresses: Vec<&str> = route.broker_datas.iter().filter_map(BrokerData::address).collect();
    for address in &addresses {
        create_on(&mut Caller::connect(call::address(address)?, timeout)?, target, targets)?;
    }
    Ok(addresses.len())
}

/// A route that names every broker. A name server that just started learns of them within seconds.
fn any_broker(server: &mut Caller) -> Result<RouteData, String> {
    let deadline = Instant::now() + ROUTE_PATIENCE;
    loop {
        for topic in [AUTO_CREATE, CLUSTER_TOPIC] {
            if let Some(route) = ask_route(server, topic)? {
                return Ok(route);
            }
        }
        if Instant::now() > deadline {
            return Err(format!(
                "{} knows neither {AUTO_CREATE} nor {CLUSTER_TOPIC} after {} s, so no broker to create topics on",
                server.peer(),
                ROUTE_PATIENCE.as_secs()
            ));
        }
        std::thread::sleep(ROUTE_POLL);
    }
}

/// Creates the topics on one broker. An unknown flush.type is dropped: then the flush mode is the broker's.
fn create_on(broker: &mut Caller, target: &Target, targets: &mut Targets) -> Result<(), String> {
    let mut attributes = match target.flush {
        None => "",
        Some(Flush::Sync) => "+flush.type=SYNC",
        Some(Flush::Async) => "+flush.type=ASYNC",
    };
    for topic in &targets.topics {
        let mut reply = create_topic(broker, topic, target.queues, attributes)?;
        if !reply.is_success() && !attributes.is_empty() {
            let refusal = reply.refusal();
            attributes = "";
            reply = create_topic(broker, topic, target.queues, attributes)?;
            if reply.is_success() {
                targets.notes.push(format!(
                    "{} has no flush mode per topic ({refusal}): its own flush mode applies",
                    broker.peer()
                ));
            }
        }
        if !reply.is_success() {
            return Err(format!("{} does not create topic {topic}: {}", broker.peer(), reply.refusal()));
        }
    }
    Ok(())
}

fn create_topic(broker: &mut Caller, topic: &str, queues: u32, attributes: &str) -> Result<Reply, String> {
    let header = CreateTopicHeader {
        topic: Text::plain(topic),
        default_topic: Text::plain(AUTO_CREATE),
        read_queue_nums: queues as i32,
        write_queue_nums: queues as i32,
        perm: perm::READ_WRITE,
        topic_filter_type: Text::plain("SINGLE_TAG"),
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(attributes).filter(|text| !text.is_empty()).map(Text::plain),
        force: None,
    };
    broker.call(RequestCode::UpdateAndCreateTopic, &header)
}

/// The lowest and the next offset of a queue.
///
/// # Errors
/// One sentence.
pub fn queue_ends(broker: &mut Caller, topic: &str, queue: u32) -> Result<(i64, i64), String> {
    let (topic, queue_id) = (Text::plain(topic), queue as i32);
    let min = broker.call(RequestCode::GetMinOffset, &QueueHeader { topic, queue_id })?;
    let max = broker.call(RequestCode::GetMaxOffset, &MaxOffsetHeader { topic, queue_id, committed: true })?;
    let offset = |reply: &Reply| {
        let offset = reply.field("offset").and_then(|offset| offset.parse::<i64>().ok());
        offset.filter(|_| reply.is_success()).ok_or_else(|| {
            format!("{} does not tell the ends of queue {queue} of {topic}: {}", broker.peer(), reply.refusal())
        })
    };
    Ok((offset(&min)?, offset(&max)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = r#"{"brokerDatas":[
        {"brokerAddrs":{"0":"127.0.0.1:10911","1":"127.0.0.1:11911"},"brokerName":"a","cluster":"c"},
        {"brokerAddrs":{"2":"127.0.0.1:12911"},"brokerName":"b","cluster":"c","enableActingMaster":false}],
        "filterServerTable":{},"queueDatas":[
        {"brokerName":"a","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":1},
        {"brokerName":"b","perm":4,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1},
        {"brokerName":"gone","perm":6,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1}]}"#;

    fn brokers(queues_at_most: u32) -> BTreeMap<String, Broker> {
        let route: RouteData = serde_json::from_str(ROUTE).expect("a route");
        let mut brokers = BTreeMap::new();
        add_route(&mut brokers, &route, 5, queues_at_most).expect("addresses are numbers");
        brokers
    }

    #[test]
    fn queues_belong_to_brokers_by_permission() {
        let brokers = brokers(u32::MAX);
        assert_eq!(brokers.keys().collect::<Vec<_>>(), ["a", "b"], "a broker without an address is left out");
        let a = &brokers["a"];
        assert_eq!(a.address.port(), 10_911, "the master");
        assert_eq!(a.write, [Lane { topic: 5, queue: 0 }]);
        assert_eq!(a.read, [Lane { topic: 5, queue: 0 }, Lane { topic: 5, queue: 1 }]);
        assert_eq!((brokers["b"].write.len(), brokers["b"].address.port()), (0, 12_911));
    }

    #[test]
    fn auto_created_topics_get_the_queues_asked_for() {
        assert_eq!(brokers(1)["a"].read.len(), 1);
    }
}
