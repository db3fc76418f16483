//! What every shard knows about topics, groups, subscriptions and settings.
//!
//! Owns one shard's copy and the one way it changes: `apply`, fed with the control shard's `Change`s in their order. Reading
//! is free for every handler. It never decides a change and never stores one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::group::{GroupTable, Views};
use crate::settings::{BrokerSettings, FlushDiskType, Loaded, Settings};
use crate::topic::{Change, FlushMode, RecordError, TopicTable, read_snapshot, snapshot};

/// One shard's copy of the metadata.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// All topics.
    pub topics: TopicTable,
    /// All configured groups.
    pub groups: GroupTable,
    /// What online groups subscribe to.
    pub views: Views,
    /// The settings as they are now.
    pub settings: BrokerSettings,
    /// Settings changed at run time: value, and the configured value it replaces.
    changed: BTreeMap<Box<str>, (Box<str>, Box<str>)>,
    announced_ip: Option<IpAddr>,
}

impl Metadata {
    /// A broker without topics and groups.
    #[must_use]
    pub fn new(settings: BrokerSettings, shards: u16) -> Self {
        let announced_ip = settings.network.broker_ip1.as_deref().and_then(|ip| ip.parse().ok());
        Metadata {
            topics: TopicTable::new(shards),
            groups: GroupTable::default(),
            views: Views::default(),
            settings,
            changed: BTreeMap::new(),
            announced_ip,
        }
    }

    /// What an earlier run left: the changes of the control shard's checkpoint and log, in order, over the configured
    /// settings. A setting changed at run time is taken up only while the configuration still says what it replaced.
    #[must_use]
    pub fn restored(loaded: &mut Loaded<BrokerSettings>, shards: u16, changes: impl Iterator<Item = Change>) -> Self {
        let mut metadata = Metadata::new(loaded.settings.clone(), shards);
        for change in changes {
            match &change {
                Change::Setting { key, value, replaced } => {
                    if loaded.restore(key, value, replaced) {
                        metadata.apply(&change);
                    } else {
                        metadata.changed.remove(key);
                    }
                }
                Change::TopicPut(_)
                | Change::TopicDrop { .. }
                | Change::GroupPut(_)
                | Change::GroupDrop { .. }
                | Change::View { .. } => metadata.apply(&change),
            }
        }
        metadata
    }

    /// Takes over one change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::TopicPut(topic) => self.topics.put(topic.clone()),
            Change::TopicDrop { name } => drop(self.topics.drop(name)),
            Change::GroupPut(group) => self.groups.put(group.clone()),
            Change::GroupDrop { name, clean_offsets: _ } => drop(self.groups.drop(name)),
            Change::View { group, view } => self.views.set(group, view.clone()),
            Change::Setting { key, value, replaced } => {
                // Control has read the value before it became a change; one that does not fit any more (an older run's)
                // leaves the setting as configured.
                if self.settings.set(key, value) == Some(true) {
                    self.changed.insert(key.clone(), (value.clone(), replaced.clone()));
                }
            }
        }
    }

    /// Everything that is stored, for the control shard's checkpoint.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let topics = self.topics.sorted().into_iter().cloned().map(Change::TopicPut);
        let groups = self.groups.sorted().into_iter().cloned().map(Change::GroupPut);
        let settings = self.changed.iter().map(|(key, (value, replaced))| Change::Setting {
            key: key.clone(),
            value: value.clone(),
            replaced: replaced.clone(),
        });
        snapshot(topics.chain(groups).chain(settings))
    }

    /// The changes of a snapshot, to be passed to [`Metadata::restored`].
    ///
    /// # Errors
    /// When the bytes are not a snapshot that this version can read.
    pub fn read_snapshot(bytes: &[u8], shards: u16) -> Result<Vec<Change>, RecordError> {
        read_snapshot(bytes, shards)
    }

    /// When a send to a topic without its own flush mode is answered.
    #[inline]
    #[must_use]
    pub fn flush_default(&self) -> FlushMode {
        match self.settings.store.flush_disk_type {
            FlushDiskType::SyncFlush => FlushMode::Sync,
            FlushDiskType::AsyncFlush => FlushMode::Async,
        }
    }

    /// The address that `brokerIP1` says, when it is one (and not a host name).
    #[inline]
    #[must_use]
    pub fn announced_ip(&self) -> Option<IpAddr> {
        self.announced_ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;
    use crate::settings::{Given, Host, load};
    use crate::topic::{Perm, TopicSpec};

    fn loaded(text: &str) -> Loaded<BrokerSettings> {
        let host = Host { name: "b".to_owned(), home: "/".to_owned() };
        load(&host, Given { file: Some(("b.conf", text)), flags: &[] }).unwrap()
    }

    #[test]
    fn a_snapshot_brings_everything_back_but_views() {
        let mut metadata = Metadata::new(loaded("").settings, 2);
        let topic = metadata.topics.plan(TopicSpec::plain("t", 4, Perm::READ_WRITE));
        let setting = Change::Setting { key: "traceOn".into(), value: "false".into(), replaced: "true".into() };
        let view = Change::View { group: "g".into(), view: Some(Default::default()) };
        for change in [Change::TopicPut(topic), Change::GroupPut(Group::named("g")), view, setting] {
            metadata.apply(&change);
        }
        let changes = Metadata::read_snapshot(&metadata.snapshot(), 2).unwrap();
        let mut configured = loaded("");
        let restored = Metadata::restored(&mut configured, 2, changes.into_iter());
        assert_eq!(restored.topics.get("t"), metadata.topics.get("t"));
        assert!(restored.groups.get("g").is_some() && restored.views.get("g").is_none());
        assert!(!restored.settings.topics.trace_on && !configured.settings.topics.trace_on);
        assert_eq!(restored.snapshot(), metadata.snapshot());
    }

    #[test]
    fn a_file_edited_since_wins_over_a_change_at_run_time() {
        let change = Change::Setting { key: "maxMessageSize".into(), value: "1024".into(), replaced: "4194304".into() };
        let mut edited = loaded("maxMessageSize=2m");
        let restored = Metadata::restored(&mut edited, 1, std::iter::once(change));
        assert_eq!(restored.settings.store.max_message_size, 2 << 20);
        assert_eq!(Metadata::read_snapshot(&restored.snapshot(), 1), Ok(vec![]));
    }
}
