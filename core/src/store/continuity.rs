//! Which messages a damaged log has lost: queue offsets that nobody tells of.
//!
//! Owns the count per queue of a log that is looked through in order. A message says its queue and offset, and offsets have
//! no gaps, so the offsets that are missing are those of the messages in the damage before. Needs no index.

use std::collections::BTreeMap;

use ringmq_protocol::offset::Position;
use ringmq_protocol::record::RecordRef;

use super::cold::Damage;
use super::incarnation::Begun;
use super::own_record::OwnRecord;

/// Where a queue stands.
#[derive(Debug, Clone, Copy)]
struct Stand {
    /// The offset that comes next.
    next: u64,
    /// The last message's position.
    at: Position,
}

/// Offsets `first..=last` of one queue, which were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub topic: Box<str>,
    pub queue: u32,
    pub first: u64,
    pub last: u64,
}

/// A damaged place, and what was lost in it as far as the log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toll {
    pub damage: Damage,
    pub lost: Vec<Lost>,
}

/// What of each queue was met so far.
#[derive(Debug, Default)]
pub struct Continuity {
    queues: BTreeMap<Box<str>, BTreeMap<u32, Stand>>,
    tolls: Vec<Toll>,
    /// Gaps without damage before them: the log was written like that.
    unexplained: Vec<Lost>,
    /// Topics that were made, perhaps again, and where their queues begin.
    begun: BTreeMap<Box<str>, Position>,
    /// Whether the log is looked through from its very beginning: then queues begin at 0.
    from_start: bool,
    records: u64,
}

impl Continuity {
    /// For a log that is looked through from its first byte, or from the middle.
    pub fn new(from_start: bool) -> Self {
        Continuity { from_start, ..Continuity::default() }
    }

    /// A record comes next.
    pub fn record(&mut self, at: Position, bytes: &[u8]) {
        self.records += 1;
        if let Some(own) = OwnRecord::parse(bytes) {
            if let Some(Begun { topic, .. }) = Begun::of(&own) {
                self.queues.remove(topic);
                self.begun.insert(topic.into(), at);
            }
            return;
        }
        let Ok(record) = RecordRef::parse(bytes) else { return };
        let (Ok(queue), Ok(offset)) = (u32::try_from(record.queue_id()), u64::try_from(record.queue_offset())) else {
            return;
        };
        let stand = Stand { next: offset + 1, at };
        let before = match self.queues.get_mut(record.topic()) {
            Some(queues) => queues.insert(queue, stand),
            None => {
                self.queues.insert(record.topic().into(), BTreeMap::from([(queue, stand)]));
                None
            }
        };
        let expected = before.or(self.from_start.then_some(Stand { next: 0, at: Position(0) }));
        if let Some(Stand { next, at: since }) = expected.filter(|before| before.next < offset) {
            self.lose(Lost { topic: record.topic().into(), queue, first: next, last: offset - 1 }, since);
        }
    }

    /// Damage comes next.
    pub fn damage(&mut self, damage: Damage) {
        self.tolls.push(Toll { damage, lost: Vec::new() });
    }

    /// The log ends, and a checkpoint that covers the log up to `covered` knows of messages below `end` in a queue.
    pub fn known_to(&mut self, topic: &str, queue: u32, end: u64, covered: Position) {
        if self.begun.get(topic).is_some_and(|at| *at >= covered) {
            return;
        }
        let stand = self.queues.get(topic).and_then(|queues| queues.get(&queue)).copied();
        let before = stand.or(self.from_start.then_some(Stand { next: 0, at: Position(0) }));
        if let Some(Stand { next, at }) = before.filter(|before| before.next < end) {
            self.lose(Lost { topic: topic.into(), queue, first: next, last: end - 1 }, at);
        }
    }

    /// Puts a loss down to the first damage after the queue's last message.
    fn lose(&mut self, lost: Lost, since: Position) {
        match self.tolls.iter_mut().find(|toll| toll.damage.from >= since) {
            Some(toll) => toll.lost.push(lost),
            None => self.unexplained.push(lost),
        }
    }

    /// How many records were met.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Every damage with its toll, in order, and gaps that no damage explains.
    pub fn finish(self) -> (Vec<Toll>, Vec<Lost>) {
        (self.tolls, self.unexplained)
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lost { topic, queue, first, last } = self;
        if first == last {
            write!(f, "{topic}-{queue} offset {first}")
        } else {
            write!(f, "{topic}-{queue} offsets {first}..{last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Incarnation, OwnKind};
    use ringmq_protocol::record::{Message, PropertyParts};

    fn message(topic: &str, queue: i32, offset: i64) -> Vec<u8> {
        let host = "127.0.0.1:1".parse().expect("an address");
        let message = Message {
            topic,
            queue_id: queue,
            flag: 0,
            queue_offset: offset,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"x",
            properties: PropertyParts::just(""),
        };
        let size = message.size().expect("small");
        let mut bytes = vec![0; size.total];
        message.encode_into(&mut bytes, &size);
        bytes
    }

    fn damage(from: u64, to: u64) -> Damage {
        Damage { from: Position(from), to: Position(to) }
    }

    #[test]
    fn what_is_missing_is_put_down_to_the_damage_before() {
        let mut seen = Continuity::new(true);
        seen.record(Position(100), &message("T", 0, 0));
        seen.record(Position(200), &message("T", 1, 0));
        seen.damage(damage(300, 400));
        seen.record(Position(400), &message("T", 0, 3));
        seen.damage(damage(500, 600));
        seen.record(Position(600), &message("U", 0, 0));
        seen.known_to("T", 1, 3, Position(700));
        seen.known_to("T", 0, 4, Position(700));
        let (tolls, unexplained) = seen.finish();
        assert_eq!(unexplained, []);
        let lines: Vec<String> = tolls[0].lost.iter().map(Lost::to_string).collect();
        assert_eq!(lines, ["T-0 offsets 1..2", "T-1 offsets 1..2"]);
        assert_eq!(tolls[1].lost, []);
    }

    #[test]
    fn a_topic_made_again_is_no_loss_and_a_gap_without_damage_is_said() {
        let mut seen = Continuity::new(true);
        seen.record(Position(0), &message("T", 0, 0));
        let payload = Begun { topic: "T", incarnation: Incarnation(5) }.payload();
        let begun = OwnRecord { kind: OwnKind::TopicBegun, payload: &payload };
        let mut bytes = vec![0; begun.size()];
        begun.encode(&mut bytes);
        seen.record(Position(100), &bytes);
        seen.known_to("T", 0, 9, Position(50));
        seen.record(Position(200), &message("V", 0, 5));
        let (tolls, unexplained) = seen.finish();
        assert_eq!((tolls.len(), unexplained.len()), (0, 1));
        assert_eq!(unexplained[0].to_string(), "V-0 offsets 0..4");
    }
}
