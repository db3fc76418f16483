//! What every shard knows about topics, groups, subscriptions and settings.
//!
//! Owns one shard's copy and the one way it changes: `apply`, fed with the control shard's `Change`s in their order. Reading
//! is free for every handler. It never decides a change and never stores one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::group::{GroupTable, Views};
use crate::imprint::Imprint;
use crate::settings::{BrokerSettings, FlushDiskType, Loaded, Settings};
use crate::topic::{Change, FlushMode, RecordError, SnapshotWriter, TopicTable, read_snapshot};

/// Topics or groups written in one step of a snapshot: a tenth of a millisecond.
const SNAPSHOT_STEP: usize = 512;

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
    /// What goes with them on every message.
    pub imprint: Imprint,
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
            imprint: Imprint::of(&settings),
            settings,
            changed: BTreeMap::new(),
            announced_ip,
        }
    }

    /// Takes over a copy of a change.
    pub fn apply(&mut self, change: &Change) {
        self.take(change.clone());
    }

    /// Takes over one change.
    pub fn take(&mut self, change: Change) {
        match change {
            Change::TopicPut(topic) => self.topics.put(topic),
            Change::TopicDrop { name } => drop(self.topics.drop(&name)),
            Change::GroupPut(group) => self.groups.put(group),
            Change::GroupDrop { name, clean_offsets: _ } => drop(self.groups.drop(&name)),
            Change::View { group, view } => self.views.set(&group, view),
            Change::Setting { key, value, replaced } => {
                // Control has read the value before it became a change; one that does not fit any more (an older run's)
                // leaves the setting as configured.
                if self.settings.set(&key, &value) == Some(true) {
                    self.imprint = Imprint::of(&self.settings);
                    self.changed.insert(key, (value, replaced));
                }
            }
        }
    }

    /// Everything that is stored, for the control shard's checkpoint, in one go. While requests wait, [`SnapshotWalk`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut walk = SnapshotWalk::default();
        while !walk.step(self) {}
        walk.finish()
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

/// A snapshot written in steps, between which the metadata may change.
///
/// A change says the new state of one thing. So whatever the walk saw of things that changed meanwhile, replaying the changes
/// made since its *beginning* leads to the same end: a checkpoint with this snapshot covers the log as of the beginning, and
/// may be written when the log is durable as of the end, for what the walk saw last must not be ahead of the log.
#[derive(Debug, Default)]
pub struct SnapshotWalk {
    writer: SnapshotWriter,
    topics: usize,
    groups: usize,
}

impl SnapshotWalk {
    /// Writes some more; whether that was all.
    pub fn step(&mut self, metadata: &Metadata) -> bool {
        let SnapshotWalk { writer, topics, groups } = self;
        let Metadata { topics: all_topics, groups: all_groups, changed, .. } = metadata;
        if *topics < all_topics.end() {
            let from = *topics;
            *topics += SNAPSHOT_STEP;
            all_topics.range(from, *topics).for_each(|topic| writer.topic(topic));
        } else if *groups < all_groups.end() {
            let from = *groups;
            *groups += SNAPSHOT_STEP;
            all_groups.range(from, *groups).for_each(|group| writer.group(group));
        } else {
            changed.iter().for_each(|(key, (value, replaced))| writer.setting(key, value, replaced));
            return true;
        }
        false
    }

    /// The snapshot; all steps were taken.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

/// What an earlier run left, while its checkpoint and log are read: the changes in their order.
#[derive(Debug)]
pub struct Restoring {
    shards: u16,
    topics: TopicTable,
    groups: GroupTable,
    /// They are few, and mean something only over the configured ones, which are not known yet.
    settings: Vec<(Box<str>, Box<str>, Box<str>)>,
}

impl Restoring {
    /// Nothing read yet.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Restoring { shards, topics: TopicTable::new(shards), groups: GroupTable::default(), settings: Vec::new() }
    }

    /// One more change.
    pub fn take(&mut self, change: Change) {
        match change {
            Change::TopicPut(topic) => self.topics.put(topic),
            Change::TopicDrop { name } => drop(self.topics.drop(&name)),
            Change::GroupPut(group) => self.groups.put(group),
            Change::GroupDrop { name, clean_offsets: _ } => drop(self.groups.drop(&name)),
            Change::Setting { key, value, replaced } => self.settings.push((key, value, replaced)),
            // Not stored.
            Change::View { .. } => {}
        }
    }

    /// All changes of a snapshot.
    ///
    /// # Errors
    /// When the bytes are not a snapshot that this version can read.
    pub fn take_snapshot(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        read_snapshot(bytes, self.shards, |change| self.take(change))
    }

    /// The metadata over the configured settings. A setting changed at run time is taken up only while the configuration
    /// still says what it replaced.
    #[must_use]
    pub fn finish(self, loaded: &mut Loaded<BrokerSettings>) -> Metadata {
        let Restoring { shards, topics, groups, settings } = self;
        let mut metadata = Metadata { topics, groups, ..Metadata::new(loaded.settings.clone(), shards) };
        for (key, value, replaced) in settings {
            if loaded.restore(&key, &value, &replaced) {
                metadata.take(Change::Setting { key, value, replaced });
            } else {
                metadata.changed.remove(&key);
            }
        }
        metadata
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
            metadata.take(change);
        }
        let mut configured = loaded("");
        let mut restoring = Restoring::new(2);
        restoring.take_snapshot(&metadata.snapshot()).unwrap();
        let restored = restoring.finish(&mut configured);
        assert_eq!(restored.topics.get("t"), metadata.topics.get("t"));
        assert!(restored.groups.get("g").is_some() && restored.views.get("g").is_none());
        assert!(!restored.settings.topics.trace_on && !configured.settings.topics.trace_on);
        assert_eq!(restored.snapshot(), metadata.snapshot());
    }

    #[test]
    fn a_file_edited_since_wins_over_a_change_at_run_time() {
        let change = Change::Setting { key: "maxMessageSize".into(), value: "1024".into(), replaced: "4194304".into() };
        let mut edited = loaded("maxMessageSize=2m");
        let mut restoring = Restoring::new(1);
        restoring.take(change);
        let restored = restoring.finish(&mut edited);
        assert_eq!(restored.settings.store.max_message_size, 2 << 20);
        assert!(restored.changed.is_empty());
    }

    proptest::proptest! {
        /// Topics come and go while a snapshot is written: it, and the changes since its beginning, are the state.
        #[test]
        fn a_snapshot_in_steps_and_the_changes_since_are_the_state(
            before in proptest::collection::vec((0u16..2_000, 0u32..4), 0..2_000),
            during in proptest::collection::vec((0u16..2_000, 0u32..4), 0..400),
        ) {
            let mut metadata = Metadata::new(loaded("").settings, 2);
            let change = |metadata: &Metadata, (name, queues): (u16, u32)| match queues {
                0 => Change::TopicDrop { name: format!("t{name}").into() },
                _ => Change::TopicPut(metadata.topics.plan(TopicSpec::plain(&format!("t{name}"), queues, Perm::READ_WRITE))),
            };
            for step in before {
                metadata.take(change(&metadata, step));
            }
            let (mut walk, mut since) = (SnapshotWalk::default(), Vec::new());
            let mut changes = during.chunks(100);
            while !walk.step(&metadata) {
                for step in changes.next().unwrap_or_default() {
                    let change = change(&metadata, *step);
                    since.push(change.clone());
                    metadata.take(change);
                }
            }
            let mut restoring = Restoring::new(2);
            restoring.take_snapshot(&walk.finish()).unwrap();
            since.into_iter().for_each(|change| restoring.take(change));
            let all = |topics: &TopicTable| {
                let mut all: Vec<_> = topics.iter().cloned().collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                all
            };
            proptest::prop_assert_eq!(all(&restoring.topics), all(&metadata.topics));
        }
    }
}
