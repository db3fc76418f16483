//! What the members of online groups subscribe to, as every shard knows it.
//!
//! Owns `Subscription`, `GroupView` (one group's subscriptions, the newest per topic and those of members that differ) and
//! `Views` (all groups). The control shard makes views from heartbeats (`members.rs`); the others get them as changes. Views
//! are not stored: members repeat them every 30 s.

use std::collections::BTreeMap;

pub use ringmq_protocol::bodies::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel};
use ringmq_protocol::tags::TagFilter;

use crate::event::ConnId;
use crate::map::Map;

/// Which messages of a topic are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By tag.
    Tags(TagFilter),
    /// By an SQL92 expression over properties; its text is the subscription's.
    Sql,
}

/// One topic of a subscription (SubscriptionData).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The expression as the client wrote it.
    pub text: Box<str>,
    /// What it means.
    pub wanted: Wanted,
    /// When the client made it: ms since 1970 by its clock, ns from Go. Only ever compared with the same group's.
    pub version: i64,
}

impl Subscription {
    /// The expression's type on the wire.
    #[must_use]
    pub fn expression_type(&self) -> &'static str {
        match self.wanted {
            Wanted::Tags(_) => "TAG",
            Wanted::Sql => "SQL92",
        }
    }
}

/// What an online group subscribes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// How members share messages.
    pub model: MessageModel,
    /// Who starts transfers.
    pub consume_type: ConsumeType,
    /// Where to start.
    pub consume_from_where: ConsumeFromWhere,
    /// The newest subscription of any member, per topic.
    pub topics: BTreeMap<Box<str>, Subscription>,
    /// Members whose subscription of a topic says something else than the newest.
    pub own: BTreeMap<(ConnId, Box<str>), Subscription>,
}

impl GroupView {
    /// What the member on this connection wants of a topic: its own subscription, else the group's newest.
    #[must_use]
    pub fn subscription(&self, topic: &str, conn: ConnId) -> Option<&Subscription> {
        if !self.own.is_empty()
            && let Some(own) = self.own.get(&(conn, Box::from(topic)))
        {
            return Some(own);
        }
        self.topics.get(topic)
    }
}

/// The views of all online groups.
#[derive(Clone, Debug, Default)]
pub struct Views {
    groups: Map<Box<str>, GroupView>,
}

impl Views {
    /// One group's view; `None` while it is not online.
    #[inline]
    #[must_use]
    pub fn get(&self, group: &str) -> Option<&GroupView> {
        self.groups.get(group)
    }

    /// What the member of `group` on this connection wants of `topic`.
    #[inline]
    #[must_use]
    pub fn subscription(&self, group: &str, topic: &str, conn: ConnId) -> Option<&Subscription> {
        self.get(group)?.subscription(topic, conn)
    }

    /// The groups that subscribe to a topic, by name.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> Vec<&str> {
        let mut groups: Vec<&str> =
            self.groups.iter().filter(|(_, view)| view.topics.contains_key(topic)).map(|(group, _)| &**group).collect();
        groups.sort_unstable();
        groups
    }

    pub(crate) fn set(&mut self, group: &str, view: Option<GroupView>) {
        match view {
            Some(view) => drop(self.groups.insert(group.into(), view)),
            None => drop(self.groups.remove(group)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CoreId;

    fn conn(slot: u32) -> ConnId {
        ConnId { core: CoreId(0), slot, generation: 1 }
    }

    fn tags(text: &str, version: i64) -> Subscription {
        Subscription { text: text.into(), wanted: Wanted::Tags(TagFilter::parse(text).unwrap()), version }
    }

    #[test]
    fn a_member_that_differs_gets_what_it_asked_for() {
        let mut view = GroupView::default();
        view.topics.insert("t".into(), tags("a || b", 2));
        view.own.insert((conn(1), "t".into()), tags("a", 1));
        let mut views = Views::default();
        views.set("g", Some(view));
        assert_eq!(views.subscription("g", "t", conn(1)).unwrap().version, 1);
        assert_eq!(views.subscription("g", "t", conn(2)).unwrap().version, 2);
        assert_eq!(views.subscription("g", "u", conn(1)), None);
        assert_eq!(views.subscribers("t"), ["g"]);
        views.set("g", None);
        assert!(views.get("g").is_none());
    }
}
