//! Divides a topic's queues among the members of a group for clients that let the broker do it (QUERY_ASSIGNMENT).
//!
//! Owns the strategies by their RocketMQ names. Deterministic: whoever asks with the same members gets the same division,
//! because each member asks for itself.

/// Strategies a client may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Neighbouring queues to one member (AllocateMessageQueueAveragely).
    Average,
    /// Queues dealt like cards (AllocateMessageQueueAveragelyByCircle).
    Circle,
}

impl Strategy {
    /// Reads the name on the wire; `None` when it is not one the broker knows.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Strategy::Average),
            "AVG_BY_CIRCLE" => Some(Strategy::Circle),
            _ => None,
        }
    }

    /// The part of `queues` that falls to the member at `index` of `members`; both lists are sorted.
    #[must_use]
    pub fn part<Q: Copy>(self, queues: &[Q], index: usize, members: usize) -> Vec<Q> {
        assert!(index < members, "the member is one of the members");
        match self {
            Strategy::Average => {
                let (each, rest) = (queues.len() / members, queues.len() % members);
                // The first `rest` members get one more.
                let start = index * each + index.min(rest);
                let count = each + usize::from(index < rest);
                queues[start..start + count].to_vec()
            }
            Strategy::Circle => queues.iter().skip(index).step_by(members).copied().collect(),
        }
    }
}

/// The queues a member pops from when the broker hands messages out: its own part, or with `share` more than 0 the parts of
/// the next `share` members too; `None` means all queues at once.
#[must_use]
pub fn pop_part<Q: Copy>(strategy: Strategy, queues: &[Q], index: usize, members: usize, share: i32) -> Option<Vec<Q>> {
    let Ok(share) = usize::try_from(share) else { return None };
    if share == 0 || share >= members.saturating_sub(1) {
        return None;
    }
    if members > queues.len() {
        // Nobody goes empty: members double up on queues.
        return Some(queues.get(index % queues.len().max(1)).copied().into_iter().collect());
    }
    let mut part = strategy.part(queues, index, members);
    for next in 1..=share {
        part.extend(strategy.part(queues, (index + next) % members, members));
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_those_of_the_java_client() {
        let queues = [0, 1, 2, 3, 4, 5, 6, 7];
        let part = |index, members| Strategy::Average.part(&queues, index, members);
        assert_eq!([part(0, 3), part(1, 3), part(2, 3)], [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(part(0, 1), queues);
        assert_eq!(Strategy::Average.part(&queues[..2], 2, 3), [0; 0]);
    }

    #[test]
    fn circles_deal_one_by_one() {
        let part = |index| Strategy::Circle.part(&[0, 1, 2, 3, 4], index, 2);
        assert_eq!((part(0), part(1)), (vec![0, 2, 4], vec![1, 3]));
    }

    #[test]
    fn every_queue_falls_to_exactly_one_member() {
        for strategy in [Strategy::Average, Strategy::Circle] {
            for members in 1..12 {
                for count in 0..30 {
                    let queues: Vec<usize> = (0..count).collect();
                    let mut all: Vec<usize> =
                        (0..members).flat_map(|index| strategy.part(&queues, index, members)).collect();
                    all.sort_unstable();
                    assert_eq!(all, queues);
                }
            }
        }
    }

    #[test]
    fn popping_shares_queues_with_the_next_members() {
        let queues = [0, 1, 2, 3];
        assert_eq!(pop_part(Strategy::Average, &queues, 3, 4, 1), Some(vec![3, 0]));
        assert_eq!(pop_part(Strategy::Average, &queues, 0, 4, 3), None);
        assert_eq!(pop_part(Strategy::Average, &queues, 0, 4, -1), None);
        assert_eq!(pop_part(Strategy::Average, &queues, 5, 6, 1), Some(vec![1]));
        assert_eq!(pop_part(Strategy::Average, &queues[..0], 5, 6, 1), Some(vec![]));
    }
}
