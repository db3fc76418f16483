//! A broker's announcement to name servers: what it is and which topics it has.
//!
//! Owns how topics become a registration: for the name server in this process as values, for others as the frame of
//! REGISTER_BROKER (103). The same announcement goes to all of them.

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

impl Announcement {
    /// What a registration comes to, as the metadata stands now.
    #[must_use]
    pub fn of(metadata: &Metadata, registration: &Registration) -> Self {
        let settings = &metadata.settings;
        let permission = settings.topics.broker_permission as i32;
        let line = |topic: &Topic| {
            let mut config = topic_config(topic);
            config.perm &= permission | ringmq_protocol::perm::INHERIT;
            config
        };
        let (complete, topics, dropped) = match &registration.topics {
            Announced::All => (true, metadata.topics.iter().map(line).collect(), Vec::new()),
            Announced::Some { put, dropped } => {
                let put = put.iter().filter_map(|name| metadata.topics.get(name)).map(line).collect();
                (false, put, dropped.iter().cloned().collect())
            }
        };
        Announcement {
            cluster: settings.identity.broker_cluster_name.as_str().into(),
            broker: settings.identity.broker_name.as_str().into(),
            port: settings.network.listen_port,
            announced_host: settings.network.broker_ip1.as_deref().map(Box::from),
            ha_host: settings.network.broker_ip2.as_deref().map(Box::from),
            version: registration.version,
            complete,
            topics,
            dropped,
        }
    }

    /// For the name server in this process.
    #[must_use]
    pub fn registering(&self) -> Registering {
        let address = match &self.announced_host {
            Some(host) => BrokerAddress::Fixed(address_text(host, self.port).into()),
            None => BrokerAddress::AsReached { port: self.port },
        };
        Registering {
            cluster: self.cluster.clone(),
            name: self.broker.clone(),
            id: MASTER,
            address,
            ha_address: self
                .ha_host
                .as_deref()
                .map(|host| address_text(host, self.port + 1))
                .unwrap_or_default()
                .into(),
            zone: None,
            expires_ms: None,
            acting_master: None,
            version: self.version,
            conn: None,
            complete: self.complete,
            topics: self.topics.clone(),
        }
    }

    /// The same in parts of at most `topics` topics, to be sent in this order: a million topics do not fit into one frame.
    /// Only the last part carries the real version; the others carry versions of their own, so that a name server takes each
    /// as news.
    ///
    /// # Panics
    /// When `topics` is 0.
    #[must_use]
    pub fn split(mut self, topics: usize) -> Vec<Announcement> {
        assert!(topics > 0, "a part carries topics");
        let mut parts = Vec::new();
        while self.topics.len() > topics {
            let rest = self.topics.split_off(topics);
            let counter = -1 - parts.len() as i64;
            let version = DataVersion { counter, ..self.version };
            let now = std::mem::replace(&mut self.topics, rest);
            parts.push(Announcement {
                topics: now,
                version,
                complete: false,
                dropped: Vec::new(),
                ..self.clone_head()
            });
        }
        let complete = self.complete && parts.is_empty();
        parts.push(Announcement { complete, ..self });
        parts
    }

    /// Everything but the topics.
    fn clone_head(&self) -> Announcement {
        let Announcement { cluster, broker, port, announced_host, ha_host, version, complete, topics: _, dropped: _ } =
            self;
        Announcement {
            cluster: cluster.clone(),
            broker: broker.clone(),
            port: *port,
            announced_host: announced_host.clone(),
            ha_host: ha_host.clone(),
            version: *version,
            complete: *complete,
            topics: Vec::new(),
            dropped: Vec::new(),
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

    /// Appends the frame of UNREGISTER_BROKER.
    ///
    /// # Errors
    /// Never in practice: the frame has four short fields.
    pub fn encode_unregister(&self, local_ip: &str, opaque: i32, out: &mut Vec<u8>) -> Result<(), FrameTooLarge> {
        let address = self.address(local_ip);
        let header = BrokerHeader {
            broker_name: Text::plain(&self.broker),
            broker_addr: Text::plain(&address),
            cluster_name: Text::plain(&self.cluster),
            broker_id: MASTER,
        };
        let head = Head::request(Spelling::Json, RequestCode::UnregisterBroker as i32, opaque);
        let mut encoder = encode::begin(out, &head);
        header.encode(&mut encoder);
        encoder.finish(0).map(drop)
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
