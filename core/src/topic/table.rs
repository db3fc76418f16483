//! All topics: the truth on the control shard, the same table as a copy on every other.
//!
//! Owns lookup, the listing order, how queues are spread, and what a wanted topic would look like (`TopicSpec`). A table only
//! changes through `put` and `drop`, which `Metadata::apply` calls; asking what a topic would be changes nothing.

use crate::map::ByName;
use crate::store::Incarnation;

use super::{Attributes, Class, FilterType, Owners, Perm, Spread, Topic};

/// What somebody wants a topic to be; the table adds what it knows (kind, shards).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name, already checked.
    pub name: Box<str>,
    /// Queues to read.
    pub read_queues: u32,
    /// Queues to write.
    pub write_queues: u32,
    /// What clients may do.
    pub perm: Perm,
    /// How consumers may filter.
    pub filter: FilterType,
    /// Unit-mode bits.
    pub sys_flag: i32,
    /// Whether tools treat it as ordered.
    pub order: bool,
    /// Attributes, already checked.
    pub attributes: Attributes,
}

impl TopicSpec {
    /// The topic, with what its name and attributes say of it.
    pub(super) fn placed(self, shards: Owners, incarnation: Incarnation) -> Topic {
        let TopicSpec { name, read_queues, write_queues, perm, filter, sys_flag, order, attributes } = self;
        let (class, flush) = (Class::of(&name), attributes.flush());
        Topic {
            name,
            class,
            read_queues,
            write_queues,
            perm,
            filter,
            sys_flag,
            order,
            attributes,
            flush,
            shards,
            incarnation,
        }
    }
}

impl TopicSpec {
    /// An ordinary topic with the same number of queues to read and to write.
    #[must_use]
    pub fn plain(name: &str, queues: u32, perm: Perm) -> Self {
        TopicSpec {
            name: name.into(),
            read_queues: queues,
            write_queues: queues,
            perm,
            filter: FilterType::SingleTag,
            sys_flag: 0,
            order: false,
            attributes: Attributes::default(),
        }
    }
}

/// Every topic of the broker.
#[derive(Clone, Debug)]
pub struct TopicTable {
    topics: ByName<Topic>,
    spread: Spread,
}

impl TopicTable {
    /// No topics, on a broker of so many shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        TopicTable { topics: ByName::default(), spread: Spread::over(shards) }
    }

    /// One topic.
    #[inline]
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// Which making of the topic the present one is; [`Incarnation::NONE`] also if there is no such topic.
    #[must_use]
    pub fn incarnation(&self, name: &str) -> Incarnation {
        self.get(name).map_or(Incarnation::NONE, |topic| topic.incarnation)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// All topics in the order of their making, as far as none was deleted: the order in which tools page through them.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// The topics numbered `from..to`; numbers end at [`TopicTable::end`]. For walks that pause: what is there from the
    /// beginning to the end of the walk is seen once.
    pub fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &Topic> {
        self.topics.range(from, to)
    }

    /// Above every topic's number.
    #[must_use]
    pub fn end(&self) -> usize {
        self.topics.end()
    }

    /// The topic that `spec` asks for: queues that exist keep their shard, new ones are spread. One that does not exist yet has no
    /// incarnation until it is made.
    ///
    /// # Panics
    /// When the queue counts were not checked before.
    #[must_use]
    pub fn plan(&self, spec: TopicSpec) -> Topic {
        let known = self.get(&spec.name);
        let incarnation = known.map_or(Incarnation::NONE, |topic| topic.incarnation);
        let queues = spec.read_queues.max(spec.write_queues);
        let shards = self.spread.assign(known.map(|topic| &topic.shards), queues);
        let topic = spec.placed(shards, incarnation);
        topic.assert_sound();
        topic
    }

    /// Adds a topic or replaces the one of its name.
    pub(crate) fn put(&mut self, topic: Topic) {
        topic.assert_sound();
        self.spread.add(&topic.shards);
        if let Some(old) = self.topics.put(topic) {
            self.spread.remove(&old.shards);
        }
    }

    /// Takes a topic out.
    pub(crate) fn drop(&mut self, name: &str) -> Option<Topic> {
        let topic = self.topics.remove(name)?;
        self.spread.remove(&topic.shards);
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;

    fn table() -> TopicTable {
        let mut table = TopicTable::new(2);
        let topic = table.plan(TopicSpec::plain("orders", 4, Perm::READ_WRITE));
        table.put(topic);
        table
    }

    #[test]
    fn planning_changes_nothing_and_putting_does() {
        let mut table = table();
        let planned = table.plan(TopicSpec::plain("bills", 3, Perm::READ_WRITE));
        assert!(table.get("bills").is_none());
        table.put(planned);
        assert_eq!(table.iter().map(|topic| &*topic.name).collect::<Vec<_>>(), ["orders", "bills"]);
        assert_eq!(table.get("orders").and_then(|topic| topic.shard_of(3)), Some(ShardId(1)));
        assert_eq!(table.get("orders").and_then(|topic| topic.shard_of(4)), None);
    }

    #[test]
    fn shrinking_and_growing_again_finds_the_old_shards() {
        let mut table = table();
        let before = table.get("orders").unwrap().shards.clone();
        for queues in [1, 4] {
            let topic = table.plan(TopicSpec::plain("orders", queues, Perm::READ_WRITE));
            table.put(topic);
        }
        assert_eq!(table.get("orders").unwrap().shards, before);
        assert_eq!(table.len(), 1);
        assert!(table.drop("orders").is_some() && table.drop("orders").is_none());
        assert_eq!(table.spread, Spread::over(2));
    }
}
