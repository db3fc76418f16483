//! Routes and connections: which queues a topic has, where they lie, one link per server.
//!
//! Owns the links. Asks a name server each time a route is wanted: tools are short-lived, and a stale route is
//! worth more trouble than a request.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ringmq_protocol::ext::Ext;
use ringmq_protocol::header::{FieldSink, Header, HeaderError};
use ringmq_protocol::headers::namesrv::RouteHeader;
use ringmq_protocol::perm;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use crate::link::{CallError, Link};

/// A request without header fields.
pub struct NoHeader;

impl<'a> Header<'a> for NoHeader {
    fn decode(_ext: &Ext<'a>) -> Result<Self, HeaderError> {
        Ok(NoHeader)
    }

    fn encode<S: FieldSink>(&self, _sink: &mut S) {}
}

/// One queue of a topic and the broker that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub broker: String,
    /// `host:port` of the broker's master.
    pub address: String,
    pub id: i32,
}

impl Queue {
    /// What tells it from the topic's other queues; also the order in which members share them.
    pub fn key(&self) -> (String, i32) {
        (self.broker.clone(), self.id)
    }
}

/// What a queue is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueUse {
    Read,
    Write,
}

/// Routes and connections of one tool.
pub struct Client {
    name_servers: Vec<String>,
    links: BTreeMap<String, Link>,
    id: String,
}

impl Client {
    /// A client that asks these name servers (`host:port;host:port`), the first that answers.
    pub fn new(namesrv: &str) -> Client {
        let name_servers = namesrv.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
        Client {
            name_servers: name_servers.map(str::to_owned).collect(),
            links: BTreeMap::new(),
            // RocketMQ's form: address@process#instance (ClientConfig.buildMQClientId).
            id: format!(
                "127.0.0.1@{}#{}",
                std::process::id(),
                std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos())
            ),
        }
    }

    /// The client id that brokers know this tool by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address that goes into message ids.
    pub fn own_ip(&self) -> IpAddr {
        self.links.values().find_map(Link::local_ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// The link to a server, made if there is none.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn link(&mut self, address: &str) -> Result<&mut Link, CallError> {
        if !self.links.contains_key(address) {
            let link = Link::connect(address)?;
            self.links.insert(address.to_owned(), link);
        }
        Ok(self.links.get_mut(address).expect("it was just put there"))
    }

    /// Drops a link that failed; the next use makes another.
    pub fn forget(&mut self, address: &str) {
        self.links.remove(address);
    }

    /// All queues of a topic that may be read or written, in the order brokers and queue ids sort.
    ///
    /// # Errors
    /// TOPIC_NOT_EXIST when there is no such topic or none of its queues allows the use.
    pub fn queues(&mut self, topic: &str, wanted: QueueUse) -> Result<Vec<Queue>, CallError> {
        let route = self.route(topic)?;
        let mut queues = Vec::new();
        for part in route["queueDatas"].as_array().into_iter().flatten() {
            let permission = int(&part["perm"]);
            let (allowed, count) = match wanted {
                QueueUse::Read => (perm::readable(permission), int(&part["readQueueNums"])),
                QueueUse::Write => (perm::writable(permission), int(&part["writeQueueNums"])),
            };
            let broker = part["brokerName"].as_str().unwrap_or_default();
            let Some(address) = master_of(&route, broker).filter(|_| allowed) else {
                continue;
            };
            queues.extend((0..count).map(|id| Queue { broker: broker.to_owned(), address: address.clone(), id }));
        }
        if queues.is_empty() {
            return Err(CallError::Refused {
                code: ResponseCode::TopicNotExist.to_i32(),
                remark: format!("no broker has a queue of topic {topic} that allows {wanted:?}"),
            });
        }
        queues.sort_by_key(Queue::key);
        Ok(queues)
    }

    /// The addresses of all masters of a topic.
    ///
    /// # Errors
    /// As [`Client::queues`].
    pub fn masters(&mut self, topic: &str) -> Result<Vec<String>, CallError> {
        let mut addresses: Vec<String> =
            self.queues(topic, QueueUse::Read)?.into_iter().map(|queue| queue.address).collect();
        addresses.dedup();
        Ok(addresses)
    }

    fn route(&mut self, topic: &str) -> Result<serde_json::Value, CallError> {
        let header = RouteHeader {
            topic: Text::plain(topic),
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let mut last = CallError::Refused {
            code: ResponseCode::SystemError.to_i32(),
            remark: "no name server was given (host:port;host:port)".to_owned(),
        };
        for server in self.name_servers.clone() {
            let answer = self.link(&server).and_then(|link| link.call(RequestCode::GetRouteinfoByTopic, &header, &[]));
            match answer {
                Ok(answer) => {
                    return serde_json::from_slice(answer.command().body)
                        .map_err(|e| CallError::Garbled { server, problem: e.to_string() });
                }
                Err(error @ CallError::Refused { .. }) => return Err(error),
                Err(error) => {
                    self.forget(&server);
                    last = error;
                }
            }
        }
        Err(last)
    }
}

fn int(value: &serde_json::Value) -> i32 {
    value.as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(0)
}

fn master_of(route: &serde_json::Value, broker: &str) -> Option<String> {
    let brokers = route["brokerDatas"].as_array()?;
    let data = brokers.iter().find(|data| data["brokerName"] == broker)?;
    data["brokerAddrs"]["0"].as_str().map(str::to_owned)
}
