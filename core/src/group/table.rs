//! All consumer groups' configuration: the truth on the control shard, the same table as a copy on every other.
//!
//! Owns lookup and the listing order. It only changes through `put` and `drop`, which `Metadata::apply` calls.

use crate::map::{ByName, Named};

use super::Group;

impl Named for Group {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Every configured consumer group.
#[derive(Clone, Debug, Default)]
pub struct GroupTable {
    groups: ByName<Group>,
}

impl GroupTable {
    /// One group.
    #[inline]
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All groups by name: the order in which tools page through them.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Group> {
        let mut sorted: Vec<&Group> = self.groups.iter().collect();
        sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        sorted
    }

    /// The groups numbered `from..to`, as [`TopicTable::range`](crate::topic::TopicTable::range).
    pub fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &Group> {
        self.groups.range(from, to)
    }

    /// Above every group's number.
    #[must_use]
    pub fn end(&self) -> usize {
        self.groups.end()
    }

    /// Adds a group or replaces the one of its name.
    pub(crate) fn put(&mut self, group: Group) {
        self.groups.put(group);
    }

    /// Takes a group out.
    pub(crate) fn drop(&mut self, name: &str) -> Option<Group> {
        self.groups.remove(name)
    }
}
