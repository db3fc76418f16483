//! Who is online: the members of consumer groups and the clients of producer groups (ConsumerManager, ProducerManager).
//!
//! Owns registration by heartbeat, leaving, expiry, and the making of a group's view from what its members say. It lives on
//! the control shard only, never sends anything and never changes a view elsewhere: it answers what changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringmq_protocol::language::Language;

use crate::event::{ConnId, Now};
use crate::map::Map;

use super::view::{ConsumeFromWhere, ConsumeType, GroupView, MessageModel, Subscription};

/// Most groups with members, consumers' and producers' each. A group costs about 1 KiB.
pub const ONLINE_GROUPS_MAX: usize = 262_144;

/// Most members of one group, and most clients of one producer group: each is pushed to on every change of the others.
pub const MEMBERS_MAX: usize = 16_384;

/// Most topics one member subscribes to.
pub const TOPICS_PER_MEMBER_MAX: usize = 4_096;

/// A client as tools show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `address@instance` as the client says.
    pub id: Box<str>,
    /// Where its connection comes from.
    pub address: SocketAddr,
    /// What it is written in.
    pub language: Language,
    /// Its RocketMQ version ordinal.
    pub version: i32,
}

#[derive(Clone, Debug)]
struct Member {
    client: Client,
    /// Mono time of the last heartbeat.
    seen: u64,
    topics: BTreeMap<Box<str>, Subscription>,
}

/// What a heartbeat says about one consumer group.
#[derive(Clone, Debug)]
pub struct ConsumerBeat {
    /// The group.
    pub group: Box<str>,
    /// How members share messages.
    pub model: MessageModel,
    /// Who starts transfers.
    pub consume_type: ConsumeType,
    /// Where to start on a new queue.
    pub consume_from_where: ConsumeFromWhere,
    /// What the member subscribes to; `None` when the heartbeat leaves it out because it did not change (heartbeat V2).
    pub topics: Option<BTreeMap<Box<str>, Subscription>>,
}

/// What changed in a group, for whoever tells others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct GroupChange {
    /// The list of member ids differs: the members must divide the queues anew.
    pub members: bool,
    /// The set of topics differs: the same.
    pub topics: bool,
    /// Anything of the view differs: the shards must know.
    pub view: bool,
}

/// An online (or recently online) consumer group.
#[derive(Clone, Debug, Default)]
struct Online {
    members: BTreeMap<ConnId, Member>,
    view: GroupView,
    /// Mono time since when it has no members.
    empty_since: Option<u64>,
}

/// Everybody who is online.
#[derive(Clone, Debug, Default)]
pub struct Members {
    groups: Map<Box<str>, Online>,
    producers: Map<Box<str>, BTreeMap<ConnId, Member>>,
    /// The connection a client id was last seen on, for replies to a requester.
    producer_ids: Map<Box<str>, ConnId>,
    /// Consumer and producer groups of each connection.
    conns: Map<ConnId, Vec<(Role, Box<str>)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Consumer,
    Producer,
}

/// There are too many groups, members or topics; which, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub &'static str);

impl Members {
    /// Registers a member or refreshes it.
    ///
    /// # Errors
    /// At the limits, when it is new.
    pub fn consumer_beat(
        &mut self,
        now: Now,
        conn: ConnId,
        client: &Client,
        beat: ConsumerBeat,
    ) -> Result<GroupChange, TooMany> {
        if beat.topics.as_ref().is_some_and(|topics| topics.len() > TOPICS_PER_MEMBER_MAX) {
            return Err(TooMany("topics in one subscription"));
        }
        if !self.groups.contains_key(&beat.group) && self.groups.len() >= ONLINE_GROUPS_MAX {
            return Err(TooMany("consumer groups online"));
        }
        let online = self.groups.entry(beat.group.clone()).or_default();
        let is_new = !online.members.contains_key(&conn);
        if is_new && online.members.len() >= MEMBERS_MAX {
            return Err(TooMany("members in one group"));
        }
        // A client that reconnected before its old connection was seen to close: the member is the same, only elsewhere.
        let moved: Vec<ConnId> = online
            .members
            .iter()
            .filter(|&(&other, member)| is_new && other != conn && member.client.id == client.id)
            .map(|(&other, _)| other)
            .collect();
        for old in &moved {
            online.members.remove(old);
            forget(&mut self.conns, *old, Role::Consumer, &beat.group);
        }
        let kept = online.members.remove(&conn).map(|member| member.topics).unwrap_or_default();
        let topics = beat.topics.unwrap_or(kept);
        online.members.insert(conn, Member { client: client.clone(), seen: now.mono_us, topics });
        online.empty_since = None;
        if is_new {
            self.conns.entry(conn).or_default().push((Role::Consumer, beat.group));
        }
        let next = GroupView {
            model: beat.model,
            consume_type: beat.consume_type,
            consume_from_where: beat.consume_from_where,
            ..online.merged()
        };
        Ok(online.take_view(next, is_new && moved.is_empty()))
    }

    /// Registers a producer's client or refreshes it.
    ///
    /// # Errors
    /// At the limits, when it is new.
    pub fn producer_beat(&mut self, now: Now, conn: ConnId, client: &Client, group: &str) -> Result<(), TooMany> {
        if !self.producers.contains_key(group) && self.producers.len() >= ONLINE_GROUPS_MAX {
            return Err(TooMany("producer groups online"));
        }
        let clients = self.producers.entry(group.into()).or_default();
        if !clients.contains_key(&conn) {
            if clients.len() >= MEMBERS_MAX {
                return Err(TooMany("producers in one group"));
            }
            self.conns.entry(conn).or_default().push((Role::Producer, group.into()));
        }
        let member = Member { client: client.clone(), seen: now.mono_us, topics: BTreeMap::new() };
        clients.insert(conn, member);
        self.producer_ids.insert(client.id.clone(), conn);
        Ok(())
    }

    /// A member says that it leaves a consumer group.
    pub fn consumer_leaves(&mut self, now: Now, conn: ConnId, group: &str) -> GroupChange {
        forget(&mut self.conns, conn, Role::Consumer, group);
        self.remove_consumer(now, conn, group)
    }

    /// A client says that it leaves a producer group.
    pub fn producer_leaves(&mut self, conn: ConnId, group: &str) {
        forget(&mut self.conns, conn, Role::Producer, group);
        self.remove_producer(conn, group);
    }

    /// A connection is gone; answers what changed in each consumer group it was a member of.
    pub fn closed(&mut self, now: Now, conn: ConnId) -> Vec<(Box<str>, GroupChange)> {
        let mut changes = Vec::new();
        for (role, group) in self.conns.remove(&conn).unwrap_or_default() {
            match role {
                Role::Consumer => {
                    let change = self.remove_consumer(now, conn, &group);
                    changes.push((group, change));
                }
                Role::Producer => self.remove_producer(conn, &group),
            }
        }
        changes
    }

    /// Connections that were not heard of since `seen_before` (mono): they are as good as closed.
    #[must_use]
    pub fn silent(&self, seen_before: u64) -> Vec<ConnId> {
        let members = self.groups.values().flat_map(|online| &online.members);
        let producers = self.producers.values().flatten();
        let mut silent: Vec<ConnId> =
            members.chain(producers).filter(|(_, member)| member.seen < seen_before).map(|(&conn, _)| conn).collect();
        silent.sort_unstable();
        silent.dedup();
        // One connection may be a silent member of one group (it dropped out of the heartbeat) and a lively one of another.
        silent.retain(|conn| self.last_seen(*conn).is_none_or(|seen| seen < seen_before));
        silent
    }

    /// Forgets groups that have had no member since before `empty_before` (mono); answers their names.
    pub fn forget_empty(&mut self, empty_before: u64) -> Vec<Box<str>> {
        let is_over = |online: &Online| online.empty_since.is_some_and(|since| since < empty_before);
        let mut over: Vec<Box<str>> =
            self.groups.iter().filter(|(_, online)| is_over(online)).map(|(group, _)| group.clone()).collect();
        over.sort_unstable();
        for group in &over {
            self.groups.remove(group);
        }
        over
    }

    /// Whether anybody at all is known: without, no time needs to be watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.conns.is_empty()
    }

    /// The view of a group.
    #[must_use]
    pub fn view(&self, group: &str) -> Option<&GroupView> {
        self.groups.get(group).map(|online| &online.view)
    }

    /// The members of a consumer group with their connections, in the order of the connections.
    pub fn consumers(&self, group: &str) -> impl Iterator<Item = (ConnId, &Client)> {
        self.groups.get(group).into_iter().flat_map(|online| clients(&online.members))
    }

    /// The clients of a producer group with their connections, in the order of the connections.
    pub fn producers(&self, group: &str) -> impl Iterator<Item = (ConnId, &Client)> {
        self.producers.get(group).into_iter().flat_map(clients)
    }

    /// All producer groups by name, with the mono time each client was heard of last.
    #[must_use]
    pub fn producer_groups(&self) -> Vec<(&str, Vec<(&Client, u64)>)> {
        let mut groups: Vec<(&str, Vec<(&Client, u64)>)> = self
            .producers
            .iter()
            .map(|(group, members)| (&**group, members.values().map(|member| (&member.client, member.seen)).collect()))
            .collect();
        groups.sort_unstable_by_key(|&(group, _)| group);
        groups
    }

    /// The connection of the producer client with this id.
    #[must_use]
    pub fn producer_conn(&self, client: &str) -> Option<ConnId> {
        self.producer_ids.get(client).copied()
    }

    /// The connection of the consumer client with this id in a group.
    #[must_use]
    pub fn consumer_conn(&self, group: &str, client: &str) -> Option<ConnId> {
        self.consumers(group).find(|(_, known)| &*known.id == client).map(|(conn, _)| conn)
    }

    /// The consumer groups a connection is a member of.
    #[must_use]
    pub fn groups_of(&self, conn: ConnId) -> Vec<Box<str>> {
        let roles = self.conns.get(&conn).map(Vec::as_slice).unwrap_or_default();
        roles.iter().filter(|(role, _)| *role == Role::Consumer).map(|(_, group)| group.clone()).collect()
    }

    fn last_seen(&self, conn: ConnId) -> Option<u64> {
        let roles = self.conns.get(&conn)?;
        roles
            .iter()
            .filter_map(|(role, group)| match role {
                Role::Consumer => self.groups.get(group)?.members.get(&conn),
                Role::Producer => self.producers.get(group)?.get(&conn),
            })
            .map(|member| member.seen)
            .max()
    }

    fn remove_consumer(&mut self, now: Now, conn: ConnId, group: &str) -> GroupChange {
        let Some(online) = self.groups.get_mut(group) else { return GroupChange::default() };
        if online.members.remove(&conn).is_none() {
            return GroupChange::default();
        }
        if online.members.is_empty() {
            // The view stays for a while: a single consumer that restarts must not lose its pulls to "not subscribed".
            online.empty_since = Some(now.mono_us);
            return GroupChange { members: true, ..GroupChange::default() };
        }
        let next = online.merged();
        online.take_view(next, true)
    }

    fn remove_producer(&mut self, conn: ConnId, group: &str) {
        let Some(clients) = self.producers.get_mut(group) else { return };
        let Some(gone) = clients.remove(&conn) else { return };
        if clients.is_empty() {
            self.producers.remove(group);
        }
        let still = self.conns.get(&conn).is_some_and(|roles| roles.iter().any(|(role, _)| *role == Role::Producer));
        if !still && self.producer_ids.get(&gone.client.id) == Some(&conn) {
            self.producer_ids.remove(&gone.client.id);
        }
    }
}

fn clients(members: &BTreeMap<ConnId, Member>) -> impl Iterator<Item = (ConnId, &Client)> {
    members.iter().map(|(&conn, member)| (conn, &member.client))
}

/// Takes one group off a connection's list.
fn forget(conns: &mut Map<ConnId, Vec<(Role, Box<str>)>>, conn: ConnId, role: Role, group: &str) {
    if let Some(roles) = conns.get_mut(&conn) {
        roles.retain(|(known, name)| *known != role || &**name != group);
        if roles.is_empty() {
            conns.remove(&conn);
        }
    }
}

impl Online {
    /// The view that follows from the members: the union of their topics, of each the newest subscription.
    fn merged(&self) -> GroupView {
        let mut topics: BTreeMap<Box<str>, Subscription> = BTreeMap::new();
        for (topic, subscription) in self.members.values().flat_map(|member| &member.topics) {
            let newest = topics.entry(topic.clone()).or_insert_with(|| subscription.clone());
            if subscription.version > newest.version {
                newest.clone_from(subscription);
            }
        }
        let mut own = BTreeMap::new();
        for (conn, member) in &self.members {
            for (topic, subscription) in &member.topics {
                let newest = &topics[topic];
                if subscription.text != newest.text || subscription.wanted != newest.wanted {
                    own.insert((*conn, topic.clone()), subscription.clone());
                }
            }
        }
        let GroupView { model, consume_type, consume_from_where, .. } = self.view;
        GroupView { model, consume_type, consume_from_where, topics, own }
    }

    fn take_view(&mut self, next: GroupView, members: bool) -> GroupChange {
        let topics = !self.view.topics.keys().eq(next.topics.keys());
        let view = self.view != next;
        self.view = next;
        GroupChange { members, topics, view }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Wanted;
    use super::*;
    use crate::event::CoreId;
    use ringmq_protocol::tags::TagFilter;

    fn at(ms: u64) -> Now {
        Now { wall_ms: 0, mono_us: ms * 1_000 }
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { core: CoreId(0), slot, generation: 1 }
    }

    fn client(id: &str) -> Client {
        let address = "10.0.0.1:5000".parse().unwrap();
        Client { id: id.into(), address, language: Language::Java, version: 479 }
    }

    fn beat(topics: &[(&str, &str, i64)]) -> ConsumerBeat {
        let subscription = |text: &str, version| Subscription {
            text: text.into(),
            wanted: Wanted::Tags(TagFilter::parse(text).unwrap()),
            version,
        };
        ConsumerBeat {
            group: "g".into(),
            model: MessageModel::Clustering,
            consume_type: ConsumeType::Passively,
            consume_from_where: ConsumeFromWhere::LastOffset,
            topics: Some(
                topics.iter().map(|&(topic, text, version)| (topic.into(), subscription(text, version))).collect(),
            ),
        }
    }

    fn join(members: &mut Members, ms: u64, slot: u32, topics: &[(&str, &str, i64)]) -> GroupChange {
        members.consumer_beat(at(ms), conn(slot), &client(&format!("c{slot}")), beat(topics)).unwrap()
    }

    fn change(members: bool, topics: bool, view: bool) -> GroupChange {
        GroupChange { members, topics, view }
    }

    #[test]
    fn a_repeated_heartbeat_changes_nothing() {
        let mut members = Members::default();
        assert_eq!(join(&mut members, 0, 1, &[("t", "*", 1)]), change(true, true, true));
        assert_eq!(join(&mut members, 1, 1, &[("t", "*", 1)]), change(false, false, false));
        assert_eq!(join(&mut members, 2, 2, &[("t", "*", 0)]), change(true, false, false));
        assert_eq!(join(&mut members, 3, 1, &[("t", "*", 9)]), change(false, false, true));
        assert_eq!(join(&mut members, 4, 1, &[("t", "*", 9), ("u", "*", 9)]), change(false, true, true));
    }

    #[test]
    fn members_that_differ_keep_their_own_and_topics_are_the_union() {
        let mut members = Members::default();
        let _ = join(&mut members, 0, 1, &[("t", "a", 1), ("only1", "*", 1)]);
        let _ = join(&mut members, 1, 2, &[("t", "a || b", 2)]);
        let view = members.view("g").unwrap();
        assert_eq!(view.topics.keys().map(|topic| &**topic).collect::<Vec<_>>(), ["only1", "t"]);
        assert_eq!(&*view.subscription("t", conn(1)).unwrap().text, "a");
        assert_eq!(&*view.subscription("t", conn(2)).unwrap().text, "a || b");
        let _ = members.consumer_leaves(at(2), conn(1), "g");
        let view = members.view("g").unwrap();
        assert!(view.own.is_empty() && view.topics.len() == 1);
    }

    #[test]
    fn a_heartbeat_without_subscriptions_keeps_them() {
        let mut members = Members::default();
        let _ = join(&mut members, 0, 1, &[("t", "*", 1)]);
        let light = ConsumerBeat { topics: None, ..beat(&[]) };
        let changed = members.consumer_beat(at(1), conn(1), &client("c1"), light).unwrap();
        assert_eq!(changed, GroupChange::default());
        assert_eq!(members.view("g").unwrap().topics.len(), 1);
    }

    #[test]
    fn a_closed_connection_leaves_all_its_groups() {
        let mut members = Members::default();
        let _ = join(&mut members, 0, 1, &[("t", "*", 1)]);
        let _ = join(&mut members, 0, 2, &[("t", "*", 1)]);
        members.producer_beat(at(0), conn(1), &client("c1"), "p").unwrap();
        assert_eq!(members.producer_conn("c1"), Some(conn(1)));
        assert_eq!(members.closed(at(5), conn(1)), [("g".into(), change(true, false, false))]);
        assert_eq!(members.consumers("g").map(|(conn, _)| conn).collect::<Vec<_>>(), [conn(2)]);
        assert_eq!((members.producers("p").count(), members.producer_conn("c1")), (0, None));
        assert!(members.closed(at(6), conn(1)).is_empty());
    }

    #[test]
    fn the_same_client_on_a_new_connection_is_no_new_member() {
        let mut members = Members::default();
        let _ = join(&mut members, 0, 1, &[("t", "*", 1)]);
        let moved = members.consumer_beat(at(1), conn(9), &client("c1"), beat(&[("t", "*", 1)])).unwrap();
        assert_eq!(moved, GroupChange::default());
        assert_eq!(members.consumer_conn("g", "c1"), Some(conn(9)));
        assert!(members.closed(at(2), conn(1)).is_empty(), "the old connection is nobody's any more");
        assert_eq!(members.consumers("g").count(), 1);
    }

    #[test]
    fn silence_is_noticed_and_empty_groups_are_forgotten_later() {
        let mut members = Members::default();
        let _ = join(&mut members, 0, 1, &[("t", "*", 1)]);
        let _ = join(&mut members, 100, 2, &[("t", "*", 1)]);
        members.producer_beat(at(0), conn(2), &client("c2"), "p").unwrap();
        assert_eq!(members.silent(50_000), [conn(1)], "2 was heard of as a consumer");
        let _ = members.closed(at(120), conn(1));
        let _ = members.closed(at(130), conn(2));
        assert!(members.view("g").is_some() && members.forget_empty(130_000).is_empty());
        assert_eq!(members.forget_empty(130_001), ["g".into()]);
        assert!(members.is_empty());
    }
}
