//! The lives of topics in the table of queues: of which incarnation their queues are, and what is left of earlier ones.
//!
//! Owns the beginning and the end of a topic's queues. The log says where a life begins ([`crate::store::Incarnation`]) and, by
//! the next beginning, where it ended; that a topic was deleted it does not say. So the index of a segment, which says what its
//! segment says, tells of deleted queues as long as their messages lie before the next beginning: they are buried here until it is
//! made. Never decides which incarnation is the right one.

use ringmq_protocol::offset::Position;

use crate::store::incarnation::Incarnation;
use crate::store::index::consume_queue::ConsumeQueue;
use crate::store::index::queue_table::{QueueTable, TopicQueues};

/// The log does not say yet that a life has ended.
const OPEN: Position = Position(u64::MAX);

/// The queues of a topic that is no more.
#[derive(Debug)]
pub(super) struct Buried {
    /// Where the log says so.
    ended: Position,
    /// All that was stored for them lies below.
    until: Position,
    pub(super) queues: Vec<(u32, ConsumeQueue)>,
}

/// A topic of the table that has a life, or may get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life<'a> {
    pub topic: &'a str,
    pub incarnation: Incarnation,
    /// Where the log says that it begins.
    pub begun: Position,
}

impl TopicQueues {
    fn is_fresh(&self, table: &QueueTable) -> bool {
        self.incarnation.is_none() && self.queues.iter().all(|(_, index)| table[table.slot(*index)].max() == 0)
    }
}

impl QueueTable {
    /// Of which incarnation the topic's queues are; [`Incarnation::NONE`] when nothing says so.
    #[inline]
    pub fn incarnation(&self, topic: &str) -> Incarnation {
        self.life(topic).map_or(Incarnation::NONE, |life| life.incarnation)
    }

    /// The topic's life.
    pub fn life(&self, topic: &str) -> Option<Life<'_>> {
        let listed = self.topics[self.number(topic)? as usize].as_ref()?;
        Some(listed.life())
    }

    /// That of the topic listed at `number`; `None` if it is buried or there is none.
    pub(crate) fn nth_life(&self, number: usize) -> Option<Life<'_>> {
        self.topics[number].as_ref().filter(|listed| listed.buried.is_none()).map(TopicQueues::life)
    }

    /// Every topic in the table.
    pub fn lives(&self) -> impl Iterator<Item = Life<'_>> + '_ {
        self.topics.iter().flatten().filter(|listed| listed.buried.is_none()).map(TopicQueues::life)
    }

    /// The log says at `at` that what follows for the topic is of this incarnation. Queues of another one end; opened ones that never
    /// had a message live on, with their slots.
    pub fn begin(&mut self, topic: &str, incarnation: Incarnation, at: Position) {
        let listed = self.number(topic).and_then(|number| self.topics[number as usize].as_ref());
        let (same, fresh) =
            listed.map_or((false, true), |listed| (listed.incarnation == incarnation, listed.is_fresh(self)));
        if same {
            return;
        }
        if !fresh {
            self.bury(topic, at, at);
        }
        let buried = self.unended.remove(topic).and_then(|number| self.topics[number as usize].as_mut());
        if let Some(buried) = buried.and_then(|listed| listed.buried.as_mut()) {
            buried.ended = at;
        }
        self.set_life(topic, incarnation, at);
    }

    /// A checkpoint knows of the topic's life. Its number in the table.
    pub(crate) fn affirm(&mut self, life: &Life<'_>, covered: Position) -> usize {
        let known = self.incarnation(life.topic);
        if !known.is_none() && known != life.incarnation {
            self.bury(life.topic, OPEN, covered);
        }
        self.set_life(life.topic, life.incarnation, life.begun) as usize
    }

    fn set_life(&mut self, topic: &str, incarnation: Incarnation, begun: Position) -> u32 {
        let number = self.topic_number(topic);
        let listed = self.topics[number as usize].as_mut().expect("a named topic is listed");
        (listed.incarnation, listed.begun) = (incarnation, begun);
        number
    }

    /// The topics that a checkpoint of the log up to `covered` does not know any more were deleted before.
    pub(crate) fn bury_others(&mut self, affirmed: &[usize], covered: Position) {
        let mut known = vec![false; self.topics.len()];
        affirmed.iter().for_each(|number| known[*number] = true);
        let others =
            self.topics.iter().zip(known).filter(|(_, known)| !known).filter_map(|(listed, _)| listed.as_ref());
        let others: Vec<Box<str>> =
            others.filter(|listed| listed.buried.is_none()).map(|listed| listed.topic.clone()).collect();
        others.iter().for_each(|topic| self.drop_topic(topic, covered));
    }

    /// Forgets all queues of a topic; their slots stop answering. `end` is where the log ends.
    pub fn drop_topic(&mut self, topic: &str, end: Position) {
        if self.number(topic).is_some() {
            self.bury(topic, OPEN, end);
        }
    }

    fn bury(&mut self, topic: &str, ended: Position, until: Position) {
        let number = self.number(topic).expect("asked by who found it");
        self.walk_ending(number);
        self.by_name.remove(topic, number);
        let listed = self.topics[number as usize].as_ref().expect("a named topic is listed");
        let untold = listed.is_fresh(self);
        let listed = self.topics[number as usize].as_mut().expect("a named topic is listed");
        let places = std::mem::take(&mut listed.queues);
        let mut queues = Vec::with_capacity(places.len());
        for (id, index) in places {
            let slot = self.slot(index);
            let place = &mut self.slots[index as usize];
            place.generation = place.generation.wrapping_add(1);
            self.chains.forget(slot);
            self.floors.remove(&slot);
            queues.push((id, place.queue.take().expect("a listed queue is open")));
            self.free.push(index);
        }
        if untold {
            // The log says nothing of it.
            self.free_topic(number as usize);
            return;
        }
        let listed = self.topics[number as usize].as_mut().expect("a named topic is listed");
        listed.buried = Some(Box::new(Buried { ended, until, queues }));
        if ended == OPEN {
            self.unended.insert(topic.into(), number);
        }
    }

    fn free_topic(&mut self, number: usize) {
        self.topics[number] = None;
        self.free_topics.push(number as u32);
    }

    /// The queues, from number `from` on, that the topic listed at `number` had when the log ended at `end`.
    pub(crate) fn nth_as_of(
        &self,
        number: usize,
        from: u32,
        end: u64,
    ) -> impl Iterator<Item = (&str, u32, &ConsumeQueue)> + '_ {
        let listed = self.topics[number].as_ref();
        let buried = listed.and_then(|listed| Some((&*listed.topic, listed.buried_at(end)?)));
        let buried =
            buried.into_iter().flat_map(|(topic, drop)| drop.queues.iter().map(move |(id, queue)| (topic, *id, queue)));
        self.nth_topic(number).chain(buried).skip_while(move |(_, id, _)| *id < from)
    }

    /// One queue of the topic listed at `number`, as it was when the log ended at `end`.
    pub(crate) fn queue_as_of(&self, number: usize, queue: u32, end: u64) -> Option<&ConsumeQueue> {
        let listed = self.topics.get(number)?.as_ref()?;
        if let Ok(at) = listed.queues.binary_search_by_key(&queue, |(id, _)| *id) {
            return self.slots[listed.queues[at].1 as usize].queue.as_ref();
        }
        let buried = listed.buried_at(end)?;
        let at = buried.queues.binary_search_by_key(&queue, |(id, _)| *id).ok()?;
        Some(&buried.queues[at].1)
    }

    /// The lives that the log says to begin in `from..to`.
    pub(crate) fn begins(&self, from: u64, to: u64) -> impl Iterator<Item = Life<'_>> + '_ {
        let told = self.topics.iter().flatten().filter(|listed| !listed.incarnation.is_none());
        told.map(TopicQueues::life).filter(move |life| (from..to).contains(&life.begun.0))
    }

    /// All segments below `end` have an index: what was buried with nothing behind it is told by those.
    pub(crate) fn indexed(&mut self, end: u64) {
        self.indexed_to = self.indexed_to.max(end);
        for number in 0..self.topics.len() {
            let Some(listed) = &self.topics[number] else { continue };
            if listed.buried.as_ref().is_some_and(|buried| buried.until.0 <= end) {
                if self.unended.get(&*listed.topic) == Some(&(number as u32)) {
                    self.unended.remove(&*listed.topic);
                }
                self.free_topic(number);
            }
        }
    }
}

impl TopicQueues {
    fn life(&self) -> Life<'_> {
        Life { topic: &self.topic, incarnation: self.incarnation, begun: self.begun }
    }

    fn buried_at(&self, end: u64) -> Option<&Buried> {
        self.buried.as_deref().filter(|buried| buried.ended.0 >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    fn push(table: &mut QueueTable, topic: &str, position: u64) {
        let slot = table.open(topic, 0);
        table[slot].push(Entry { position: Position(position), size: 100, tag_hash: 0 }, 1);
    }

    #[test]
    fn another_incarnation_ends_the_queues_and_the_same_does_not() {
        let mut table = QueueTable::new();
        let early = table.open("orders", 0);
        table.begin("orders", Incarnation(7), Position(40));
        assert!(table.get(early).is_some(), "opened by a reader before the first message");
        push(&mut table, "orders", 100);
        table.begin("orders", Incarnation(7), Position(200));
        assert_eq!((table[early].max(), table.life("orders").map(|life| life.begun)), (1, Some(Position(40))));
        table.begin("orders", Incarnation(9), Position(300));
        assert!(table.get(early).is_none() && table.find("orders", 0).is_none());
        assert_eq!(table.incarnation("orders"), Incarnation(9));
        let begins: Vec<_> = table.begins(0, 400).map(|life| (life.incarnation.0, life.begun.0)).collect();
        assert_eq!(begins, [(7, 40), (9, 300)]);
    }

    #[test]
    fn a_deleted_topic_is_told_until_its_name_begins_again() {
        let mut table = QueueTable::new();
        table.begin("orders", Incarnation(7), Position(40));
        push(&mut table, "orders", 100);
        table.drop_topic("orders", Position(200));
        let told =
            |table: &QueueTable, end| (0..table.topic_numbers()).flat_map(|n| table.nth_as_of(n, 0, end)).count();
        assert_eq!((table.lives().count(), told(&table, 5_000)), (0, 1));
        table.begin("orders", Incarnation(9), Position(300));
        assert_eq!((told(&table, 300), told(&table, 301)), (1, 0), "its segment's index says that it ended");
        table.indexed(200);
        assert_eq!(told(&table, 300), 0, "an index tells of it");
        table.drop_topic("never there", Position(400));
        assert_eq!(table.lives().map(|life| life.incarnation.0).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn what_a_checkpoint_does_not_know_was_deleted() {
        let mut table = QueueTable::new();
        for (topic, position) in [("a", 100), ("b", 200), ("c", 300)] {
            push(&mut table, topic, position);
        }
        let life = |topic, number| Life { topic, incarnation: Incarnation(number), begun: Position(number) };
        table.begin("c", Incarnation(5), Position(5));
        let affirmed = [table.affirm(&life("a", 3), Position(900)), table.affirm(&life("c", 6), Position(900))];
        table.bury_others(&affirmed, Position(900));
        assert!(table.find("a", 0).is_some() && table.find("b", 0).is_none() && table.find("c", 0).is_none());
        assert_eq!(table.incarnation("c"), Incarnation(6));
    }
}
