//! Which brokers are alive and which queues they have (RouteInfoManager).
//!
//! Owns the rules of registering, refreshing and unregistering, and everything that routes are made of. It never answers a
//! request and never reads a clock; whoever asks for removals is told which connections were theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ringmq_protocol::bodies::cluster::ClusterInfo;
use ringmq_protocol::bodies::route::{BrokerData, QueueData};
use ringmq_protocol::bodies::topic::{DataVersion, TopicConfig};
use ringmq_protocol::perm;

use crate::event::{ConnId, Now};
use crate::map::ByName;

use super::queues::{BrokerNumber, BrokerNumbers, Queues, Share};

/// Id of a broker name's master.
pub const MASTER: i64 = 0;

/// How long a broker counts as alive without registering again, ms, unless it says otherwise.
pub const BROKER_EXPIRES_MS: u64 = 120_000;

/// Most brokers: a registration costs about 1 KiB besides its topics.
pub const BROKERS_MAX: usize = 65_536;

/// Most topics; one costs about 110 bytes, and 20 more per further broker that has it.
pub const TOPICS_MAX: usize = 4_194_304;

/// Where clients reach a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrokerAddress {
    /// As it says itself.
    Fixed(Box<str>),
    /// In this process: at whichever address of ours the asking client reached us by, on this port.
    AsReached {
        /// The broker's port.
        port: u16,
    },
}

impl BrokerAddress {
    /// The text a client that came in by `local` is told.
    #[must_use]
    pub fn text(&self, local: SocketAddr) -> String {
        match self {
            BrokerAddress::Fixed(text) => text.to_string(),
            BrokerAddress::AsReached { port } => SocketAddr::new(local.ip().to_canonical(), *port).to_string(),
        }
    }
}

/// One broker's registration, typed.
#[derive(Clone, Debug)]
pub struct Registering {
    /// Its cluster.
    pub cluster: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// 0 for the master.
    pub id: i64,
    /// Where clients reach it.
    pub address: BrokerAddress,
    /// Where its replicas reach it.
    pub ha_address: Box<str>,
    /// Zone it says it is in.
    pub zone: Option<Box<str>>,
    /// How long it counts as alive, ms; `None` for ever (the broker in this process).
    pub expires_ms: Option<u64>,
    /// Whether a slave may stand in for the master; `None` from brokers older than that idea.
    pub acting_master: Option<bool>,
    /// The version of its topic table.
    pub version: DataVersion,
    /// The connection it came over.
    pub conn: Option<ConnId>,
    /// Whether topics that it does not mention are to lose its queues.
    pub complete: bool,
    /// Its topics.
    pub topics: Vec<TopicConfig>,
}

/// What a registering slave is told about its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterOf {
    /// Where clients reach it.
    pub address: Option<BrokerAddress>,
    /// Where replicas reach it.
    pub ha_address: Option<Box<str>>,
}

/// Why a registration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// A single topic of a broker that never sent all of them.
    NeverRegistered,
    /// There are [`BROKERS_MAX`] brokers or [`TOPICS_MAX`] topics.
    Full,
}

/// The brokers of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Their cluster.
    pub cluster: Box<str>,
    /// By broker id.
    pub addresses: BTreeMap<i64, BrokerAddress>,
    /// Whether a slave may stand in for the master.
    pub acting_master: bool,
    /// Zone of the last one that registered.
    pub zone: Option<Box<str>>,
}

impl Group {
    /// Whether a slave must be shown as the master, read only.
    #[must_use]
    pub fn lacks_master(&self) -> bool {
        self.acting_master && !self.addresses.is_empty() && !self.addresses.contains_key(&MASTER)
    }
}

#[derive(Clone, Debug)]
struct Live {
    /// Mono time after which it no longer counts as alive; `None` never.
    until: Option<u64>,
    expires_ms: Option<u64>,
    version: DataVersion,
    conn: Option<ConnId>,
    ha_address: Box<str>,
    name: Box<str>,
}

type LiveKey = (Box<str>, BrokerAddress);

/// Brokers, their addresses and their queues.
#[derive(Debug, Default)]
pub struct RouteTable {
    clusters: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    brokers: BTreeMap<Box<str>, Group>,
    live: BTreeMap<LiveKey, Live>,
    topics: ByName<Queues>,
    numbers: BrokerNumbers,
    /// Counts changes of topics.
    changes: u64,
    epoch: u64,
}

impl RouteTable {
    /// Changes whenever addresses change; with a topic's own version it says whether a route is still the same.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Routes are different for a reason outside this table.
    pub fn touch(&mut self) {
        self.epoch += 1;
    }

    /// A topic's queues.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Queues> {
        self.topics.get(name)
    }

    /// The brokers of a name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.brokers.get(name)
    }

    /// What each broker has of a topic, by broker name.
    #[must_use]
    pub fn queue_datas(&self, queues: &Queues) -> Vec<QueueData> {
        let mut datas: Vec<QueueData> = queues.shares().map(|share| self.queue_data(share)).collect();
        datas.sort_unstable_by(|a, b| a.broker_name.cmp(&b.broker_name));
        datas
    }

    fn queue_data(&self, share: &Share) -> QueueData {
        let Share { broker, perm, read_queues, write_queues, sys_flag } = *share;
        QueueData {
            broker_name: self.numbers.name(broker).to_owned(),
            perm,
            read_queue_nums: read_queues,
            topic_sys_flag: sys_flag,
            write_queue_nums: write_queues,
        }
    }

    /// Whether a broker is known and alive, and the version of its topics.
    #[must_use]
    pub fn version_of(&self, cluster: &str, address: &BrokerAddress) -> Option<DataVersion> {
        self.live.get(&(cluster.into(), address.clone())).map(|live| live.version)
    }

    /// Takes a registration.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing is changed then.
    pub fn register(&mut self, now: Now, broker: Registering) -> Result<MasterOf, RegisterError> {
        let known = self.brokers.get(&broker.name);
        let known_address = known.and_then(|group| group.addresses.get(&broker.id)).cloned();
        if self.loses_to(&broker, known_address.as_ref()) {
            self.live.remove(&(broker.cluster, broker.address));
            return Ok(MasterOf::default());
        }
        // The broker in this process (it never expires) tells all its topics in parts, and one may be small.
        if known_address.is_none() && broker.topics.len() == 1 && broker.expires_ms.is_some() {
            return Err(RegisterError::NeverRegistered);
        }
        if self.live.len() >= BROKERS_MAX || self.topics.len() + broker.topics.len() > TOPICS_MAX {
            self.check_room(&broker)?;
        }
        self.take_address(&broker);
        let group = &self.brokers[&broker.name];
        let is_first = known_address.is_none();
        let is_prime_slave =
            broker.acting_master.is_some() && broker.id != MASTER && group.addresses.keys().next() == Some(&broker.id);
        let stands_in = is_prime_slave && group.acting_master;
        let key = (broker.cluster.clone(), broker.address.clone());
        let is_changed = is_first || self.live.get(&key).is_none_or(|live| live.version != broker.version);
        if broker.id == MASTER || is_prime_slave {
            self.take_topics(&broker, is_changed, stands_in);
        }
        let live = Live {
            until: broker.expires_ms.map(|ms| now.after_ms(ms)),
            expires_ms: broker.expires_ms,
            version: broker.version,
            conn: broker.conn,
            ha_address: broker.ha_address,
            name: broker.name.clone(),
        };
        self.live.insert(key, live);
        Ok(if broker.id == MASTER { MasterOf::default() } else { self.master_of(&broker.cluster, &broker.name) })
    }

    /// Two brokers claim the same place: the one with the larger state version keeps it.
    fn loses_to(&self, broker: &Registering, known: Option<&BrokerAddress>) -> bool {
        let Some(known) = known.filter(|known| **known != broker.address) else { return false };
        let version = self.version_of(&broker.cluster, known);
        version.is_some_and(|version| version.state_version > broker.version.state_version)
    }

    fn check_room(&self, broker: &Registering) -> Result<(), RegisterError> {
        let key = (broker.cluster.clone(), broker.address.clone());
        let new_topics = broker.topics.iter().filter(|topic| self.topics.get(&topic.topic_name).is_none()).count();
        let fits = (self.live.contains_key(&key) || self.live.len() < BROKERS_MAX)
            && self.topics.len() + new_topics <= TOPICS_MAX;
        if fits { Ok(()) } else { Err(RegisterError::Full) }
    }

    fn take_address(&mut self, broker: &Registering) {
        self.clusters.entry(broker.cluster.clone()).or_default().insert(broker.name.clone());
        let group = self.brokers.entry(broker.name.clone()).or_default();
        let before = group.clone();
        group.cluster = broker.cluster.clone();
        group.acting_master = broker.acting_master == Some(true);
        group.zone.clone_from(&broker.zone);
        // A slave that became the master stands under its old id still.
        group.addresses.retain(|id, address| *id == broker.id || *address != broker.address);
        group.addresses.insert(broker.id, broker.address.clone());
        if *group != before {
            self.epoch += 1;
        }
    }

    fn take_topics(&mut self, broker: &Registering, is_changed: bool, stands_in: bool) {
        if broker.complete {
            let names: BTreeSet<&str> = broker.topics.iter().map(|topic| topic.topic_name.as_str()).collect();
            let gone = self.topics_of(&broker.name).into_iter().filter(|topic| !names.contains(&**topic));
            for topic in gone.collect::<Vec<_>>() {
                self.remove_queues(&topic, &broker.name);
            }
        }
        let number = self.numbers.of(&broker.name);
        for config in &broker.topics {
            let has = |queues: &Queues| queues.share_of(number).is_some();
            if is_changed || !self.topics.get(&config.topic_name).is_some_and(has) {
                let share = Share {
                    broker: number,
                    perm: if stands_in { config.perm & !perm::WRITE } else { config.perm },
                    read_queues: config.read_queue_nums,
                    write_queues: config.write_queue_nums,
                    sys_flag: config.topic_sys_flag,
                };
                self.put_share(&config.topic_name, share);
            }
        }
    }

    /// Sets the queues of a topic that a known broker has.
    ///
    /// # Errors
    /// [`RegisterError::NeverRegistered`] when the broker is not known, [`RegisterError::Full`] when there are too many topics.
    pub fn put_queues(&mut self, topic: &str, queues: &QueueData) -> Result<(), RegisterError> {
        let QueueData { broker_name, perm, read_queue_nums, topic_sys_flag, write_queue_nums } = queues;
        if !self.brokers.contains_key(broker_name.as_str()) {
            return Err(RegisterError::NeverRegistered);
        }
        if self.topics.len() >= TOPICS_MAX && self.topics.get(topic).is_none() {
            return Err(RegisterError::Full);
        }
        let share = Share {
            broker: self.numbers.of(broker_name),
            perm: *perm,
            read_queues: *read_queue_nums,
            write_queues: *write_queue_nums,
            sys_flag: *topic_sys_flag,
        };
        self.put_share(topic, share);
        Ok(())
    }

    fn put_share(&mut self, topic: &str, share: Share) {
        self.changes += 1;
        match self.topics.get_mut(topic) {
            Some(queues) if queues.share_of(share.broker) == Some(&share) => {}
            Some(queues) => queues.set(share, self.changes),
            None => drop(self.topics.put(Queues::new(topic, self.changes, share))),
        }
    }

    /// Removes a broker's queues of a topic; a topic without queues is gone.
    pub fn remove_queues(&mut self, topic: &str, broker: &str) {
        let Some(number) = self.numbers.find(broker) else { return };
        let Some(queues) = self.topics.get_mut(topic).filter(|queues| queues.share_of(number).is_some()) else {
            return;
        };
        self.changes += 1;
        if queues.remove(number, self.changes) {
            self.topics.remove(topic);
        }
    }

    /// Removes a topic, or only what the brokers of one cluster have of it.
    pub fn remove_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        let brokers = self.clusters.get(cluster).cloned().unwrap_or_default();
        for broker in brokers {
            self.remove_queues(topic, &broker);
        }
    }

    /// A sign of life without topics.
    pub fn refresh(&mut self, now: Now, cluster: &str, address: &BrokerAddress) {
        if let Some(live) = self.live.get_mut(&(cluster.into(), address.clone())) {
            live.until = live.expires_ms.map(|ms| now.after_ms(ms));
        }
    }

    /// Removes a broker; topics without a broker go with it.
    pub fn unregister(&mut self, cluster: &str, name: &str, address: &BrokerAddress) {
        self.live.remove(&(cluster.into(), address.clone()));
        let Some(group) = self.brokers.get_mut(name) else { return };
        let before = group.addresses.len();
        group.addresses.retain(|_, known| known != address);
        if group.addresses.len() == before {
            return;
        }
        self.epoch += 1;
        if !group.addresses.is_empty() {
            if group.lacks_master() {
                self.set_perm(name, |perm| perm & !perm::WRITE);
            }
            return;
        }
        self.brokers.remove(name);
        self.clusters.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
        for topic in self.topics_of(name) {
            self.remove_queues(&topic, name);
        }
        self.numbers.forget(name);
    }

    /// Removes the brokers that registered over a connection that is gone.
    pub fn closed(&mut self, conn: ConnId) {
        self.unregister_where(|live| live.conn == Some(conn));
    }

    /// Removes brokers that fell silent; answers their connections, which are to be closed.
    pub fn expire(&mut self, now: Now) -> Vec<ConnId> {
        self.unregister_where(|live| live.until.is_some_and(|until| until < now.mono_us))
    }

    fn unregister_where(&mut self, is_gone: impl Fn(&Live) -> bool) -> Vec<ConnId> {
        let gone: Vec<(LiveKey, Box<str>, Option<ConnId>)> = self
            .live
            .iter()
            .filter(|(_, live)| is_gone(live))
            .map(|(key, live)| (key.clone(), live.name.clone(), live.conn))
            .collect();
        let conns = gone.iter().filter_map(|(_, _, conn)| *conn).collect();
        for ((cluster, address), name, _) in gone {
            self.unregister(&cluster, &name, &address);
        }
        conns
    }

    /// Changes the permission of every topic of a broker; answers how many topics it has.
    pub fn set_perm(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> usize {
        let topics = self.topics_of(broker);
        let number = self.numbers.find(broker);
        for topic in &topics {
            let share = self.topics.get(topic).and_then(|queues| queues.share_of(number?)).copied();
            if let Some(share) = share {
                self.put_share(topic, Share { perm: change(share.perm), ..share });
            }
        }
        topics.len()
    }

    fn topics_of(&self, broker: &str) -> Vec<Box<str>> {
        let Some(number) = self.numbers.find(broker) else { return Vec::new() };
        let topics = self.topics.iter().filter(|queues| queues.share_of(number).is_some());
        topics.map(|queues| queues.topic().into()).collect()
    }

    fn master_of(&self, cluster: &str, name: &str) -> MasterOf {
        let address = self.brokers.get(name).and_then(|group| group.addresses.get(&MASTER)).cloned();
        let live = address.as_ref().and_then(|address| self.live.get(&(cluster.into(), address.clone())));
        MasterOf { ha_address: live.map(|live| live.ha_address.clone()), address: live.and(address) }
    }

    /// Names of the topics that have a share for which `is_wanted` holds; in no particular order, as everywhere in RocketMQ.
    pub fn topic_names(&self, is_wanted: impl Fn(&Share) -> bool) -> impl Iterator<Item = &str> {
        self.topics.iter().filter(move |queues| queues.shares().any(&is_wanted)).map(Queues::topic)
    }

    /// The numbers of a cluster's brokers.
    #[must_use]
    pub fn numbers_of(&self, cluster: &str) -> Vec<BrokerNumber> {
        let names = self.clusters.get(cluster).into_iter().flatten();
        names.filter_map(|name| self.numbers.find(name)).collect()
    }

    /// Cluster names, then broker names: what tools take for system topics.
    #[must_use]
    pub fn cluster_and_broker_names(&self) -> Vec<String> {
        self.clusters.keys().chain(self.brokers.keys()).map(ToString::to_string).collect()
    }

    /// The address of one master, as a client that came in by `local` is told.
    #[must_use]
    pub fn some_master(&self, local: SocketAddr) -> Option<String> {
        self.brokers.values().find_map(|group| group.addresses.get(&MASTER)).map(|address| address.text(local))
    }

    /// Brokers and clusters, as a client that came in by `local` is told.
    #[must_use]
    pub fn clusters(&self, local: SocketAddr) -> ClusterInfo {
        ClusterInfo {
            broker_addr_table: self
                .brokers
                .iter()
                .map(|(name, group)| (name.to_string(), broker_data(name, group, |address| address.text(local))))
                .collect(),
            cluster_addr_table: self
                .clusters
                .iter()
                .map(|(cluster, names)| (cluster.to_string(), names.iter().map(ToString::to_string).collect()))
                .collect(),
        }
    }
}

/// A broker name's addresses in the form clients read.
pub fn broker_data(name: &str, group: &Group, text: impl Fn(&BrokerAddress) -> String) -> BrokerData {
    BrokerData {
        broker_addrs: group.addresses.iter().map(|(&id, address)| (id, text(address))).collect(),
        broker_name: name.to_owned(),
        cluster: group.cluster.to_string(),
        enable_acting_master: group.acting_master,
        zone_name: group.zone.as_ref().map(ToString::to_string),
    }
}
