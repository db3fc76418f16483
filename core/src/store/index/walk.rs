//! The table of queues written into a checkpoint in steps, between which messages come and topics go.
//!
//! Owns the order of the walk and the argument why its rows are those of its beginning. A checkpoint says which position it
//! covers, and a start tells the log from there on again. So a row must not know of a message behind that position, must not
//! lack a topic that was there, and all rows must mean the same indexes:
//!
//! - Messages only join a queue, and those behind the beginning are in memory: a row counts those before.
//! - A topic that ends is written before it is buried; one that begins has begun behind the position and is passed over.
//! - Before entries leave memory for an index, all rows are written. Whoever has time waits for the walk instead.
//!
//! What else moves is what queues have let go of: `min`, floors, runs that expired. It may be newer in a row, as segments are
//! released only when two checkpoints say so: a start shows less of what was released, or all of it once more.

use crate::store::files::queue_marks::QueueMarks;
use crate::store::index::queue_table::QueueTable;

/// A walk under way.
#[derive(Debug)]
pub(crate) struct MarksWalk {
    /// Where the log ended when it began.
    covered: u64,
    /// The topic that is next, and its queue.
    number: usize,
    queue: u32,
    marks: QueueMarks,
}

impl MarksWalk {
    /// Over a table whose log ends at `covered`.
    pub(crate) fn begin(table: &QueueTable, covered: u64) -> Self {
        MarksWalk { covered, number: 0, queue: 0, marks: QueueMarks::none(table.indexed_to()) }
    }

    /// Writes some more: `looks` topics and queues. Whether that was all.
    pub(crate) fn step(&mut self, table: &QueueTable, mut looks: usize) -> bool {
        while self.number < table.topic_numbers() {
            if looks == 0 {
                return false;
            }
            looks -= 1;
            match self.marks.put_topic(table, self.number, self.queue, self.covered, &mut looks) {
                Some(queue) => self.queue = queue,
                None => (self.number, self.queue) = (self.number + 1, 0),
            }
        }
        true
    }

    /// Writes what is not written yet of a topic that ends.
    fn put_ending(&mut self, table: &QueueTable, number: usize) {
        let from = if number == self.number { self.queue } else { 0 };
        if number >= self.number {
            let mut all = usize::MAX;
            self.marks.put_topic(table, number, from, self.covered, &mut all);
        }
    }

    /// What was written.
    pub(crate) fn finish(self) -> QueueMarks {
        self.marks
    }
}

impl QueueTable {
    /// Begins to write the table as it is, the log ending at `covered`. One walk at a time: one that was not ended is forgotten.
    pub fn begin_walk(&mut self, covered: u64) {
        self.walk = Some(Box::new(MarksWalk::begin(self, covered)));
    }

    /// Goes on with the walk, `looks` topics and queues at most. Whether all is written.
    pub fn step_walk(&mut self, looks: usize) -> bool {
        let Some(mut walk) = self.walk.take() else { return true };
        let done = walk.step(self, looks);
        self.walk = Some(walk);
        done
    }

    /// Ends the walk.
    ///
    /// # Panics
    /// If none was begun.
    pub fn end_walk(&mut self) -> QueueMarks {
        self.step_walk(usize::MAX);
        self.walk.take().expect("a walk was begun").finish()
    }

    /// Whether a walk is under way.
    pub fn is_walked(&self) -> bool {
        self.walk.is_some()
    }

    /// The topic listed at `number` ends.
    pub(super) fn walk_ending(&mut self, number: u32) {
        if let Some(mut walk) = self.walk.take() {
            walk.put_ending(self, number as usize);
            self.walk = Some(walk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;
    use crate::store::incarnation::Incarnation;
    use proptest::prelude::*;
    use ringmq_protocol::offset::Position;

    fn push(table: &mut QueueTable, topic: &str, queue: u32, position: u64) {
        let slot = table.open(topic, queue);
        table[slot].push(Entry { position: Position(position), size: 10, tag_hash: 0 }, 1);
    }

    /// What rows say, without their order: topic, incarnation, queue, min, max, born.
    fn rows(marks: &QueueMarks) -> Vec<(String, u64, u32, u64, u64, u64)> {
        let row = |mark: crate::store::checkpoint::QueueMark<'_>| {
            (mark.life.topic.to_owned(), mark.life.incarnation.0, mark.queue, mark.min, mark.max, mark.born)
        };
        let mut rows: Vec<_> = marks.iter().map(row).collect();
        rows.sort();
        rows
    }

    fn lives(marks: &QueueMarks) -> Vec<(String, u64)> {
        let mut lives: Vec<_> = marks.lives().map(|life| (life.topic.to_owned(), life.incarnation.0)).collect();
        lives.sort();
        lives.dedup();
        lives
    }

    /// One thing that happens to a table at a position.
    fn happen(table: &mut QueueTable, (what, topic, queue): (u8, u8, u32), position: u64) {
        let topic = &*format!("t{topic}");
        match what {
            0..8 => {
                if table.incarnation(topic).is_none() {
                    table.begin(topic, Incarnation(position), Position(position));
                }
                push(table, topic, queue, position + 1);
            }
            8 => table.drop_topic(topic, Position(position)),
            _ => drop(table.open(topic, queue)),
        }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_beginning_whatever_happens_meanwhile(
            before in proptest::collection::vec((0u8..10, 0u8..6, 0u32..4), 0..80),
            during in proptest::collection::vec((0u8..10, 0u8..8, 0u32..5), 0..80),
            looks in 1usize..4,
        ) {
            let mut table = QueueTable::new();
            let mut position = 0;
            for step in before {
                position += 100;
                happen(&mut table, step, position);
            }
            position += 100;
            let whole = QueueMarks::of(&table);
            table.begin_walk(position);
            for step in during {
                happen(&mut table, step, position);
                position += 100;
                table.step_walk(looks);
            }
            let walked = table.end_walk();
            prop_assert_eq!(rows(&walked), rows(&whole));
            prop_assert_eq!(lives(&walked), lives(&whole));
        }
    }
}
