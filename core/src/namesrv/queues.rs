//! What brokers have of a topic, in few bytes: a name server keeps a million of these.
//!
//! Owns the numbers that stand for broker names and a topic's list of shares. The route that clients see is `route`'s.

use std::collections::BTreeMap;

use crate::map::Named;

/// Stands for a broker's name while the broker has queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerNumber(u32);

/// The numbers of broker names.
#[derive(Debug, Default)]
pub struct BrokerNumbers {
    numbers: BTreeMap<Box<str>, BrokerNumber>,
    names: Vec<Box<str>>,
    free: Vec<BrokerNumber>,
}

impl BrokerNumbers {
    /// The number of a name, a new one if it has none.
    pub fn of(&mut self, name: &str) -> BrokerNumber {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.names[number.0 as usize] = name.into();
                number
            }
            None => {
                self.names.push(name.into());
                BrokerNumber(u32::try_from(self.names.len() - 1).expect("brokers are far fewer"))
            }
        };
        self.numbers.insert(name.into(), number);
        number
    }

    /// The number of a name that has one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<BrokerNumber> {
        self.numbers.get(name).copied()
    }

    /// The name behind a number.
    #[must_use]
    pub fn name(&self, number: BrokerNumber) -> &str {
        &self.names[number.0 as usize]
    }

    /// No topic has queues of this broker any more.
    pub fn forget(&mut self, name: &str) {
        self.free.extend(self.numbers.remove(name));
    }
}

/// One broker's queues of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub broker: BrokerNumber,
    /// Bits of `perm`.
    pub perm: i32,
    /// Queues to read.
    pub read_queues: i32,
    /// Queues to write.
    pub write_queues: i32,
    /// Unit-mode bits.
    pub sys_flag: i32,
}

/// A topic's queues, by broker. A topic without any does not exist.
#[derive(Clone, Debug)]
pub struct Queues {
    topic: Box<str>,
    /// Changes with every change of this topic.
    pub version: u64,
    first: Share,
    /// Those of further brokers; most topics have none, and one word is enough to say so.
    #[expect(clippy::box_collection, reason = "a word instead of three in each of a million rows")]
    more: Option<Box<Vec<Share>>>,
}

// A row of the route table, of which there may be four million.
const _: () = assert!(size_of::<Option<Queues>>() <= 56);

impl Named for Queues {
    fn name(&self) -> &str {
        &self.topic
    }
}

impl Queues {
    /// The queues of a topic that one broker has.
    #[must_use]
    pub fn new(topic: &str, version: u64, share: Share) -> Self {
        Queues { topic: topic.into(), version, first: share, more: None }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What every broker has, in no particular (but repeatable) order.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| more.iter()))
    }

    /// What one broker has.
    #[must_use]
    pub fn share_of(&self, broker: BrokerNumber) -> Option<&Share> {
        self.shares().find(|share| share.broker == broker)
    }

    /// Sets what one broker has.
    pub fn set(&mut self, share: Share, version: u64) {
        self.version = version;
        let more = self.more.iter_mut().flat_map(|more| more.iter_mut());
        match std::iter::once(&mut self.first).chain(more).find(|known| known.broker == share.broker) {
            Some(known) => *known = share,
            None => self.more.get_or_insert_default().push(share),
        }
    }

    /// Takes away what one broker has; whether nothing is left, and the topic must go.
    #[must_use]
    pub fn remove(&mut self, broker: BrokerNumber, version: u64) -> bool {
        self.version = version;
        if self.first.broker == broker {
            let next = self.more.as_mut().map(|more| more.remove(0));
            let Some(next) = next else { return true };
            self.first = next;
        } else if let Some(more) = &mut self.more {
            more.retain(|share| share.broker != broker);
        }
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_and_go() {
        let mut numbers = BrokerNumbers::default();
        let share = |numbers: &mut BrokerNumbers, name: &str, perm| Share {
            broker: numbers.of(name),
            perm,
            read_queues: 8,
            write_queues: 8,
            sys_flag: 0,
        };
        let mut queues = Queues::new("t", 1, share(&mut numbers, "a", 6));
        queues.set(share(&mut numbers, "b", 4), 2);
        queues.set(share(&mut numbers, "a", 2), 3);
        let seen = |numbers: &BrokerNumbers, queues: &Queues| -> Vec<(String, i32)> {
            queues.shares().map(|share| (numbers.name(share.broker).to_owned(), share.perm)).collect()
        };
        assert_eq!(seen(&numbers, &queues), [("a".to_owned(), 2), ("b".to_owned(), 4)]);
        assert!(!queues.remove(numbers.of("a"), 4));
        assert_eq!((seen(&numbers, &queues), queues.version), (vec![("b".to_owned(), 4)], 4));
        assert!(queues.remove(numbers.of("b"), 5));
        numbers.forget("a");
        let c = numbers.of("c");
        assert_eq!((numbers.find("a"), numbers.name(c)), (None, "c"), "a number is used again");
    }
}
