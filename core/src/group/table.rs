//! All consumer groups' configuration: the truth on the control shard, the same table as a copy on every other.
//!
//! Owns lookup and the listing order. It only changes through `put` and `drop`, which `Metadata::apply` calls.

use crate::map::Map;

use super::Group;

/// Every configured consumer group.
#[derive(Clone, Debug, Default)]
pub struct GroupTable {
    groups: Map<Box<str>, Group>,
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
        let mut sorted: Vec<&Group> = self.groups.values().collect();
        sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        sorted
    }

    /// Adds a group or replaces the one of its name.
    pub(crate) fn put(&mut self, group: Group) {
        self.groups.insert(group.name.clone(), group);
    }

    /// Takes a group out.
    pub(crate) fn drop(&mut self, name: &str) -> Option<Group> {
        self.groups.remove(name)
    }
}
