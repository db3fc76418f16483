//! Divides queues over shards.
//!
//! Owns how many queues each shard has and the choice for new ones. The choice is stored with the topic, so this never has
//! to come to the same result twice and never depends on the number of cores.

use crate::event::ShardId;

use super::Owners;

/// How many queues each shard owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    queues: Vec<u64>,
}

impl Spread {
    /// Nothing given out yet.
    ///
    /// # Panics
    /// When there is no shard.
    #[must_use]
    pub fn over(shards: u16) -> Self {
        assert!(shards > 0, "a data directory has at least one shard");
        Spread { queues: vec![0; usize::from(shards)] }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.queues.len() as u16
    }

    /// The shards of a topic with `count` queues, of which `kept` have one already. The queues of a new topic go round all
    /// shards from the one that has fewest of all, so that every topic uses every core and all cores get alike; more queues of
    /// a topic go on where it ended.
    #[must_use]
    pub fn assign(&self, kept: Option<&Owners>, count: u32) -> Owners {
        let shards = self.shards();
        let Some(kept) = kept.filter(|kept| !kept.is_empty()) else {
            let load = |shard: &usize| (self.queues[*shard], *shard);
            let first = (0..self.queues.len()).min_by_key(load).expect("there is at least one shard");
            return Owners::round(ShardId(first as u16), shards, count);
        };
        if kept.len() >= count as usize {
            return kept.clone();
        }
        if let Some((first, of)) = kept.as_round()
            && of == shards
        {
            return Owners::round(first, shards, count);
        }
        self.listed(kept, count)
    }

    /// New queues go to the shards that have fewest of this topic, then fewest of all.
    fn listed(&self, kept: &Owners, count: u32) -> Owners {
        let mut of_topic = vec![0u32; self.queues.len()];
        let mut list: Vec<ShardId> = kept.iter().collect();
        for shard in &list {
            of_topic[usize::from(shard.0)] += 1;
        }
        while list.len() < count as usize {
            let load = |shard: &usize| (of_topic[*shard], self.queues[*shard], *shard);
            let chosen = (0..self.queues.len()).min_by_key(load).expect("there is at least one shard");
            of_topic[chosen] += 1;
            list.push(ShardId(chosen as u16));
        }
        Owners::listed(&list, self.shards())
    }

    /// Counts a topic's queues in.
    pub fn add(&mut self, owners: &Owners) {
        for shard in owners.iter() {
            self.queues[usize::from(shard.0)] += 1;
        }
    }

    /// Counts a topic's queues out.
    ///
    /// # Panics
    /// When they were not counted in.
    pub fn remove(&mut self, owners: &Owners) {
        for shard in owners.iter() {
            let queues = &mut self.queues[usize::from(shard.0)];
            *queues = queues.checked_sub(1).expect("only queues that were counted in are counted out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(owners: &Owners) -> Vec<u16> {
        owners.iter().map(|shard| shard.0).collect()
    }

    #[test]
    fn a_topic_uses_every_shard_before_it_uses_one_twice() {
        let mut spread = Spread::over(3);
        let first = spread.assign(None, 4);
        assert_eq!(ids(&first), [0, 1, 2, 0]);
        spread.add(&first);
        let second = spread.assign(None, 4);
        assert_eq!(ids(&second), [1, 2, 0, 1]);
        spread.add(&second);
        assert_eq!(ids(&spread.assign(None, 1)), [2]);
    }

    #[test]
    fn queues_that_exist_stay_where_they_are() {
        let mut spread = Spread::over(2);
        let kept = spread.assign(None, 1);
        spread.add(&kept);
        assert_eq!(ids(&spread.assign(Some(&kept), 4)), [0, 1, 0, 1]);
        assert_eq!(ids(&spread.assign(Some(&kept), 0)), [0]);
        spread.remove(&kept);
        assert_eq!(spread, Spread::over(2));
        let odd = Owners::listed(&[ShardId(1), ShardId(1)], 2);
        assert_eq!(ids(&spread.assign(Some(&odd), 5)), [1, 1, 0, 0, 0]);
    }
}
