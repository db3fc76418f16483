//! Divides queues over shards.
//!
//! Owns how many queues each shard has and the choice for a new one. The choice is stored with the topic, so this never has
//! to come to the same result twice and never depends on the number of cores.

use crate::event::ShardId;

/// How many queues each shard owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    queues: Vec<u32>,
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

    /// The shards of a topic with `count` queues, of which `kept` have one already. New queues go to the shards that have
    /// fewest of this topic, then fewest of all, so that every topic uses every core and all cores get alike.
    #[must_use]
    pub fn assign(&self, kept: &[ShardId], count: usize) -> Box<[ShardId]> {
        let mut of_topic = vec![0u32; self.queues.len()];
        let mut shards = kept.to_vec();
        for shard in kept {
            of_topic[usize::from(shard.0)] += 1;
        }
        while shards.len() < count {
            let load = |shard: &usize| (of_topic[*shard], self.queues[*shard], *shard);
            let chosen = (0..self.queues.len()).min_by_key(load).expect("there is at least one shard");
            of_topic[chosen] += 1;
            shards.push(ShardId(chosen as u16));
        }
        shards.into()
    }

    /// Counts a topic's queues in.
    pub fn add(&mut self, shards: &[ShardId]) {
        for shard in shards {
            self.queues[usize::from(shard.0)] += 1;
        }
    }

    /// Counts a topic's queues out.
    ///
    /// # Panics
    /// When they were not counted in.
    pub fn remove(&mut self, shards: &[ShardId]) {
        for shard in shards {
            let queues = &mut self.queues[usize::from(shard.0)];
            *queues = queues.checked_sub(1).expect("only queues that were counted in are counted out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(shards: &[ShardId]) -> Vec<u16> {
        shards.iter().map(|shard| shard.0).collect()
    }

    #[test]
    fn a_topic_uses_every_shard_before_it_uses_one_twice() {
        let mut spread = Spread::over(3);
        let first = spread.assign(&[], 4);
        assert_eq!(ids(&first), [0, 1, 2, 0]);
        spread.add(&first);
        let second = spread.assign(&[], 4);
        assert_eq!(ids(&second), [1, 2, 0, 1]);
        spread.add(&second);
        assert_eq!(ids(&spread.assign(&[], 1)), [2]);
    }

    #[test]
    fn queues_that_exist_stay_where_they_are() {
        let mut spread = Spread::over(2);
        let kept = spread.assign(&[], 1);
        spread.add(&kept);
        assert_eq!(ids(&spread.assign(&kept, 4)), [0, 1, 1, 0]);
        assert_eq!(ids(&spread.assign(&kept, 0)), [0]);
        spread.remove(&kept);
        assert_eq!(spread, Spread::over(2));
    }
}
