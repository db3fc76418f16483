//! A broker's announcement to name servers: what it is and which topics it has.
//!
//! Owns how topics become a registration: for the name server in this process as values, for others as the frame of
//! REGISTER_BROKER (103). The same announcement goes to all of them.

use std::collections::BTreeSet;

use ringmq_protocol::bodies::register::{RegisterBrokerBody, body_crc};
use ringmq_protocol::bodies::topic::{DataVersion, TopicConfig, TopicConfigTable, TopicFilterType};
use ringmq_protocol::encode::{self, FrameTooLarge, Head};
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::namesrv::{BrokerHeader, RegisterBrokerHeader};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

use crate::metadata::Metadata;
use crate::topic::{Announced, FilterType, Registration, Topic};

use super::table::{BROKER_EXPIRES_MS, BrokerAddress, MASTER, Registering};

/// What name servers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The broker's cluster.
    pub cluster: Box<str>,
    /// Its name.
    pub broker: Box<str>,
    /// Its port.
    pub port: u16,
    /// `brokerIP1`, when it is set.
    pub announced_host: Option<Box<str>>,
    /// `brokerIP2`, when it is set.
    pub ha_host: Option<Box<str>>,
    /// The version of its topic table.
    pub version: DataVersion,
    /// Whether these are all its topics.
    pub complete: bool,
    /// Topics that are new or different.
    pub topics: Vec<TopicConfig>,
    /// Topics that are gone.
    pub dropped: Vec<Box<str>>,
}

/// A registration being told, part by part: a million topics fit neither into a frame nor into one turn of an executor.
///
/// The topics may change between two parts. What came behind the point where the telling is, is announced by itself, after
/// this registration; what was dropped is left out.
#[derive(Debug)]
pub struct Telling {
    version: DataVersion,
    /// How many parts were told.
    parts: i64,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    /// All topics from this number on.
    From(usize),
    /// Only these.
    Some { put: BTreeSet<Box<str>>, dropped: BTreeSet<Box<str>> },
    /// Nothing.
    Told,
}

impl Telling {
    /// Begins to tell.
    #[must_use]
    pub fn new(registration: Registration) -> Self {
        let Registration { version, topics } = registration;
        let rest = match topics {
            Announced::All => Rest::From(0),
            Announced::Some { put, dropped } => Rest::Some { put, dropped },
        };
        Telling { version, parts: 0, rest }
    }

    /// The next part, of about `most` topics and at least two, unless there are no more: a name server takes a single one only
    /// from brokers that it knows. `None` when all is told; a registration without topics is told in one part.
    ///
    /// Only the last part carries the real version; the others carry versions of their own, so that a name server takes each
    /// as news, and takes the registration for outdated should it end halfway.
    #[must_use]
    pub fn next_part(&mut self, metadata: &Metadata, most: usize) -> Option<Announcement> {
        let line = |topic: &Topic| announced_config(metadata, topic);
        let (mut topics, mut gone) = (Vec::new(), Vec::new());
        let is_all = matches!(self.rest, Rest::From(_));
        let is_last = match &mut self.rest {
            Rest::Told => return None,
            Rest::From(next) => {
                let end = metadata.topics.end();
                while topics.len() < 2 && *next < end {
                    let from = *next;
                    *next = end.min(from + most);
                    topics.extend(metadata.topics.range(from, *next).map(line));
                }
                *next == end
            }
            Rest::Some { put, dropped } => {
                while topics.len() < most
                    && let Some(name) = put.pop_first()
                {
                    topics.extend(metadata.topics.get(&name).map(line));
                }
                if put.is_empty() {
                    gone.extend(std::mem::take(dropped));
                }
                put.is_empty()
            }
        };
        self.parts += 1;
        let version = if is_last { self.version } else { DataVersion { counter: -self.parts, ..self.version } };
        if is_last {
            self.rest = Rest::Told;
        }
        let complete = is_all && is_last && self.parts == 1;
        Some(Announcement { complete, topics, dropped: gone, ..Announcement::head(metadata, version) })
    }
}

/// A topic as name servers are told of it.
fn announced_config(metadata: &Metadata, topic: &Topic) -> TopicConfig {
    let permission = metadata.settings.topics.broker_permission as i32;
    let mut config = topic_config(topic);
    config.perm &= permission | ringmq_protocol::perm::INHERIT;
    config
}

impl Announcement {
    /// An announcement of no topic.
    #[must_use]
    pub fn head(metadata: &Metadata, version: DataVersion) -> Self {
        let settings = &metadata.settings;
        Announcement {
            cluster: settings.identity.broker_cluster_name.as_str().into(),
            broker: settings.identity.broker_name.as_str().into(),
            port: settings.network.listen_port,
            announced_host: settings.network.broker_ip1.as_deref().map(Box::from),
            ha_host: settings.network.broker_ip2.as_deref().map(Box::from),
            version,
            complete: false,
            topics: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// For the name server in this process.
    #[must_use]
    pub fn into_registering(self) -> Registering {
        let address = match &self.announced_host {
            Some(host) => BrokerAddress::Fixed(address_text(host, self.port).into()),
            None => BrokerAddress::AsReached { port: self.port },
        };
        let ha_address = self.ha_host.as_deref().map(|host| address_text(host, self.port + 1));
        Registering {
            cluster: self.cluster,
            name: self.broker,
            id: MASTER,
            address,
            ha_address: ha_address.unwrap_or_default().into(),
            zone: None,
            expires_ms: None,
            acting_master: None,
            version: self.version,
            conn: None,
            complete: self.complete,
            topics: self.topics,
        }
    }

    /// The address to announce over a connection whose local end is `local_ip`.
    fn address(&self, local_ip: &str) -> String {
        address_text(self.announced_host.as_deref().unwrap_or(local_ip), self.port)
    }

    /// Appends the frame of REGISTER_BROKER for a name server that we reach from `local_ip`.
    ///
    /// # Errors
    /// When the topics do not fit into a frame; then nothing was appended.
    pub fn encode_register(
        &self,
        local_ip: &str,
        opaque: i32,
        compressed: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameTooLarge> {
        let topics = self.topics.iter().map(|topic| (topic.topic_name.clone(), topic.clone())).collect();
        let table =
            TopicConfigTable { data_version: self.version, topic_config_table: topics, ..TopicConfigTable::default() };
        let body = RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper: table };
        let body = if compressed { body.encode_compressed() } else { body.encode_plain() };
        let address = self.address(local_ip);
        let ha_host = self.ha_host.as_deref().or(self.announced_host.as_deref()).unwrap_or(local_ip);
        let ha_address = address_text(ha_host, self.port + 1);
        let header = RegisterBrokerHeader {
            broker_name: Text::plain(&self.broker),
            broker_addr: Text::plain(&address),
            cluster_name: Text::plain(&self.cluster),
            ha_server_addr: Text::plain(&ha_address),
            broker_id: MASTER,
            heartbeat_timeout_millis: Some(BROKER_EXPIRES_MS as i64),
            enable_acting_master: Some(false),
            compressed,
            body_crc32: body_crc(&body),
            zone_mode: None,
            zone_name: None,
        };
        let head = Head::request(Spelling::Json, RequestCode::RegisterBroker as i32, opaque);
        let mut encoder = encode::begin(out, &head);
        header.encode(&mut encoder);
        encoder.finish_with(&body).map(drop)
    }

    /// Appends the frame of QUERY_DATA_VERSION: does the name server know the topics as of this version? When it does, that
    /// counts as a sign of life.
    ///
    /// # Errors
    /// Never in practice: the frame is short.
    pub fn encode_query_version(&self, local_ip: &str, opaque: i32, out: &mut Vec<u8>) -> Result<(), FrameTooLarge> {
        let address = self.address(local_ip);
        let head = Head::request(Spelling::Json, RequestCode::QueryDataVersion as i32, opaque);
        let mut encoder = encode::begin(out, &head);
        self.broker_header(&address).encode(&mut encoder);
        encoder.finish_with(&ringmq_protocol::bodies::to_vec(&self.version)).map(drop)
    }

    /// Appends the frame of UNREGISTER_BROKER.
    ///
    /// # Errors
    /// Never in practice: the frame has four short fields.
    pub fn encode_unregister(&self, local_ip: &str, opaque: i32, out: &mut Vec<u8>) -> Result<(), FrameTooLarge> {
        let address = self.address(local_ip);
        let head = Head::request(Spelling::Json, RequestCode::UnregisterBroker as i32, opaque);
        let mut encoder = encode::begin(out, &head);
        self.broker_header(&address).encode(&mut encoder);
        encoder.finish(0).map(drop)
    }

    fn broker_header<'a>(&'a self, address: &'a str) -> BrokerHeader<'a> {
        BrokerHeader {
            broker_name: Text::plain(&self.broker),
            broker_addr: Text::plain(address),
            cluster_name: Text::plain(&self.cluster),
            broker_id: MASTER,
        }
    }
}

/// A topic as registrations and admin answers show it.
#[must_use]
pub fn topic_config(topic: &Topic) -> TopicConfig {
    TopicConfig {
        attributes: topic.attributes.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        order: topic.order,
        perm: topic.perm.0,
        read_queue_nums: topic.read_queues as i32,
        topic_filter_type: match topic.filter {
            FilterType::SingleTag => TopicFilterType::SingleTag,
            FilterType::MultiTag => TopicFilterType::MultiTag,
        },
        topic_name: topic.name.to_string(),
        topic_sys_flag: topic.sys_flag,
        write_queue_nums: topic.write_queues as i32,
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn address_text(host: &str, port: u16) -> String {
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => std::net::SocketAddr::new(ip.to_canonical(), port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}
