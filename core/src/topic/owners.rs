//! Which shard has each queue of a topic.
//!
//! Owns the list in its short form: nearly every topic's queues go round the shards from one of them on, and then a thousand
//! queues take no more memory than one. It never changes where a queue is and never chooses; that is `spread.rs`.

use crate::event::ShardId;

/// The shards of a topic's queues, by queue number.
#[derive(Clone, Debug)]
pub struct Owners(Form);

#[derive(Clone, Debug)]
enum Form {
    /// Queue n is on shard `(first + n) % shards`.
    Round { first: u16, shards: u16, queues: u32 },
    /// Any other order: queues were added in another turn, or the directory had another number of shards.
    Listed(Box<[ShardId]>),
}

impl Owners {
    /// `queues` queues that go round `shards` shards, beginning at `first`.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn round(first: ShardId, shards: u16, queues: u32) -> Self {
        assert!(first.0 < shards, "a queue is on a shard that exists");
        Owners(Form::Round { first: first.0, shards, queues })
    }

    /// Queues whose shards are listed, on a broker of so many shards.
    ///
    /// # Panics
    /// When one is on a shard that does not exist.
    #[must_use]
    pub fn listed(list: &[ShardId], shards: u16) -> Self {
        assert!(list.iter().all(|shard| shard.0 < shards), "a queue is on a shard that exists");
        let first = list.first().map_or(0, |shard| shard.0);
        let queues = u32::try_from(list.len()).expect("a topic has at most 65,536 queues");
        let round = Owners(Form::Round { first, shards, queues });
        if round.iter().eq(list.iter().copied()) { round } else { Owners(Form::Listed(list.into())) }
    }

    /// How many queues there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Round { queues, .. } => *queues as usize,
            Form::Listed(list) => list.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shard of a queue.
    #[inline]
    #[must_use]
    pub fn get(&self, queue: u32) -> Option<ShardId> {
        match &self.0 {
            Form::Round { first, shards, queues } => {
                let turn = || (u32::from(*first) + queue % u32::from(*shards)) % u32::from(*shards);
                (queue < *queues).then(|| ShardId(turn() as u16))
            }
            Form::Listed(list) => list.get(queue as usize).copied(),
        }
    }

    /// The shards in the order of the queues.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + '_ {
        (0..self.len() as u32).filter_map(|queue| self.get(queue))
    }

    /// The first queue of a shard.
    #[must_use]
    pub fn first_of(&self, shard: ShardId) -> Option<u32> {
        match &self.0 {
            Form::Round { first, shards, queues } => {
                let distance = (u32::from(shard.0) + u32::from(*shards) - u32::from(*first)) % u32::from(*shards);
                (shard.0 < *shards && distance < *queues).then_some(distance)
            }
            Form::Listed(list) => list.iter().position(|owner| *owner == shard).map(|queue| queue as u32),
        }
    }

    /// The shards that have at least one queue, ascending.
    #[must_use]
    pub fn distinct(&self) -> Vec<ShardId> {
        let mut owners: Vec<ShardId> = match &self.0 {
            // Behind the first round they repeat.
            Form::Round { shards, .. } => self.iter().take(usize::from(*shards)).collect(),
            Form::Listed(list) => list.to_vec(),
        };
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// First shard and number of shards, where the queues go round.
    pub(super) fn as_round(&self) -> Option<(ShardId, u16)> {
        match &self.0 {
            Form::Round { first, shards, .. } => Some((ShardId(*first), *shards)),
            Form::Listed(_) => None,
        }
    }
}

/// Equal are owners of the same queues, however they are kept.
impl PartialEq for Owners {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Owners {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_forms_say_the_same(shards in 1u16..6, list in proptest::collection::vec(any::<u16>(), 0..20), is_round in any::<bool>()) {
            let turn = |(n, any): (usize, &u16)| if is_round { (list[0] as usize + n) as u16 } else { *any };
            let list: Vec<ShardId> = list.iter().enumerate().map(turn).map(|shard| ShardId(shard % shards)).collect();
            let owners = Owners::listed(&list, shards);
            prop_assert!(!is_round || owners.as_round().is_some());
            prop_assert_eq!(owners.iter().collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(owners.len(), list.len());
            prop_assert_eq!(owners.get(list.len() as u32), None);
            for shard in (0..shards + 1).map(ShardId) {
                prop_assert_eq!(owners.first_of(shard), list.iter().position(|owner| *owner == shard).map(|n| n as u32));
            }
            let distinct: std::collections::BTreeSet<ShardId> = list.iter().copied().collect();
            prop_assert_eq!(owners.distinct(), distinct.into_iter().collect::<Vec<_>>());
        }
    }
}
