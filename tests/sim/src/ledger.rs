//! What is known to be true: every message that was sent, what was answered, and what was seen.
//!
//! Knows nothing of how a broker works. It is told of sends, answers, sightings and of the whole content of a queue after
//! a start, and says what contradicts what.

use std::collections::BTreeMap;

/// A queue by topic and number.
pub type QueueKey = (String, i32);

/// What the producer of a message knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sent, no answer yet or none that says: it may be stored or not.
    Open,
    /// Stored at this offset, the broker said.
    Acknowledged(i64),
    /// Not stored, the broker said.
    Refused,
    /// Stored at this offset, as a look at the whole queue after a start has shown.
    Stored(i64),
    /// Not there any more after a power cut, which an asynchronous topic allows.
    Lost,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Sent {
    pub queue: QueueKey,
    pub producer: usize,
    /// The topic promises to keep what it acknowledges.
    pub durable: bool,
    pub fate: Fate,
}

/// How a start came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The broker stopped in order: nothing may be missing.
    Stop,
    /// The power was cut.
    Cut,
}

/// All that was sent and seen. The number of a message is its index.
#[derive(Debug, Default)]
pub struct Ledger {
    messages: Vec<Sent>,
    /// What consumers were shown.
    seen: BTreeMap<QueueKey, BTreeMap<i64, usize>>,
    /// What a look at the whole queue after a start showed: durable, so it stays.
    settled: BTreeMap<QueueKey, Vec<usize>>,
}

impl Ledger {
    /// A message is sent. Of one producer, the numbers grow in the order of sending.
    pub fn sent(&mut self, queue: QueueKey, producer: usize, durable: bool) -> usize {
        self.messages.push(Sent { queue, producer, durable, fate: Fate::Open });
        self.messages.len() - 1
    }

    /// How many were sent.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages the broker acknowledged or that were found stored.
    pub fn kept(&self) -> usize {
        let kept = |sent: &&Sent| matches!(sent.fate, Fate::Acknowledged(_) | Fate::Stored(_));
        self.messages.iter().filter(kept).count()
    }

    /// The broker says where a message is.
    ///
    /// # Errors
    /// It had said something else.
    pub fn acknowledged(&mut self, number: usize, offset: i64) -> Result<(), String> {
        let sent = &mut self.messages[number];
        if sent.fate != Fate::Open {
            return Err(format!("message {number} was answered twice: {:?}, now offset {offset}", sent.fate));
        }
        sent.fate = Fate::Acknowledged(offset);
        Ok(())
    }

    /// The broker says it has not taken a message.
    pub fn refused(&mut self, number: usize) {
        self.messages[number].fate = Fate::Refused;
    }

    /// A consumer is shown a message.
    ///
    /// # Errors
    /// It was never sent to this queue, was refused, or this offset held another one before.
    pub fn seen(&mut self, queue: &QueueKey, offset: i64, number: usize) -> Result<(), String> {
        self.belongs(queue, offset, number)?;
        let before = self.seen.entry(queue.clone()).or_default().insert(offset, number);
        if let Some(before) = before.filter(|before| *before != number) {
            return Err(format!("{queue:?} offset {offset} showed message {before}, now {number}"));
        }
        let settled = self.settled.get(queue).and_then(|queue| queue.get(offset as usize));
        if let Some(settled) = settled.filter(|settled| **settled != number) {
            return Err(format!(
                "{queue:?} offset {offset} held message {settled} after the last start, shows {number}"
            ));
        }
        Ok(())
    }

    fn belongs(&self, queue: &QueueKey, offset: i64, number: usize) -> Result<(), String> {
        let Some(sent) = self.messages.get(number) else {
            return Err(format!("{queue:?} offset {offset} holds message {number}, which was never sent"));
        };
        if sent.queue != *queue {
            return Err(format!("{queue:?} offset {offset} holds message {number}, sent to {:?}", sent.queue));
        }
        match sent.fate {
            Fate::Refused => Err(format!("{queue:?} offset {offset} holds message {number}, which was refused")),
            Fate::Lost => Err(format!("{queue:?} offset {offset} holds message {number}, which had been lost")),
            Fate::Acknowledged(at) | Fate::Stored(at) if at != offset => {
                Err(format!("{queue:?} offset {offset} holds message {number}, whose offset is {at}"))
            }
            Fate::Open | Fate::Acknowledged(_) | Fate::Stored(_) => Ok(()),
        }
    }

    /// The whole content of a queue after a start: the numbers of its messages from offset 0.
    ///
    /// # Errors
    /// Something acknowledged or seen is missing or elsewhere, something is there twice or in another order than sent.
    pub fn settle(&mut self, queue: &QueueKey, content: &[usize], after: After) -> Result<(), String> {
        for (offset, number) in (0..).zip(content) {
            self.belongs(queue, offset, *number)?;
        }
        check_order(queue, content, &self.messages)?;
        self.check_settled(queue, content)?;
        self.check_seen(queue, content)?;
        for number in 0..self.messages.len() {
            if self.messages[number].queue == *queue {
                self.settle_message(number, content, after)?;
            }
        }
        self.settled.insert(queue.clone(), content.to_vec());
        Ok(())
    }

    /// What an earlier start found was durable then.
    fn check_settled(&self, queue: &QueueKey, content: &[usize]) -> Result<(), String> {
        let settled = self.settled.get(queue).map_or(&[][..], Vec::as_slice);
        if content.starts_with(settled) {
            return Ok(());
        }
        Err(format!("{queue:?} held {} messages after the last start, not all of them are there now", settled.len()))
    }

    /// What a consumer saw of a topic that keeps its word is still there; of another one, only in the same place.
    fn check_seen(&mut self, queue: &QueueKey, content: &[usize]) -> Result<(), String> {
        let Some(seen) = self.seen.get_mut(queue) else { return Ok(()) };
        for (offset, number) in &*seen {
            match content.get(*offset as usize) {
                Some(now) if now == number => {}
                Some(now) => return Err(format!("{queue:?} offset {offset} showed message {number}, now {now}")),
                None if self.messages[*number].durable => {
                    return Err(format!("{queue:?} offset {offset} showed message {number}, which is gone"));
                }
                None => {}
            }
        }
        let end = content.len() as i64;
        seen.retain(|offset, _| *offset < end);
        Ok(())
    }

    fn settle_message(&mut self, number: usize, content: &[usize], after: After) -> Result<(), String> {
        let at = content.iter().position(|found| *found == number).map(|at| at as i64);
        let sent = &mut self.messages[number];
        sent.fate = match (sent.fate, at) {
            (Fate::Open | Fate::Acknowledged(_) | Fate::Stored(_), Some(at)) => Fate::Stored(at),
            (Fate::Open, None) => Fate::Lost,
            (Fate::Acknowledged(_), None) if after == After::Cut && !sent.durable => Fate::Lost,
            (Fate::Acknowledged(offset), None) => {
                let queue = &sent.queue;
                return Err(format!("message {number} was acknowledged at {queue:?} offset {offset} and is gone"));
            }
            (Fate::Stored(offset), None) => {
                return Err(format!("message {number} was durable at offset {offset} and is gone"));
            }
            (fate @ (Fate::Refused | Fate::Lost), None) => fate,
            (Fate::Refused | Fate::Lost, Some(_)) => unreachable_by_belongs(number),
        };
        Ok(())
    }
}

fn unreachable_by_belongs(number: usize) -> Fate {
    panic!("message {number} passed a check that rules it out")
}

/// No message twice, and those of one producer in the order of sending.
fn check_order(queue: &QueueKey, content: &[usize], messages: &[Sent]) -> Result<(), String> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for (offset, number) in content.iter().enumerate() {
        let producer = messages[*number].producer;
        if let Some(before) = last.insert(producer, *number).filter(|before| before >= number) {
            return Err(format!(
                "{queue:?} offset {offset} holds message {number} of producer {producer} behind its message {before}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueKey {
        ("T".to_owned(), 0)
    }

    fn with(count: usize, durable: bool) -> Ledger {
        let mut ledger = Ledger::default();
        for _ in 0..count {
            ledger.sent(queue(), 0, durable);
        }
        ledger
    }

    #[test]
    fn an_acknowledged_message_of_a_durable_topic_must_stay() {
        let mut ledger = with(2, true);
        ledger.acknowledged(0, 0).expect("the first answer");
        ledger.acknowledged(1, 1).expect("the first answer");
        assert!(ledger.settle(&queue(), &[0], After::Cut).is_err());
        assert!(ledger.settle(&queue(), &[0, 1], After::Cut).is_ok());
    }

    #[test]
    fn an_asynchronous_topic_may_lose_its_end_in_a_power_cut_only() {
        let mut ledger = with(1, false);
        ledger.acknowledged(0, 0).expect("the first answer");
        assert!(ledger.settle(&queue(), &[], After::Stop).is_err());
        assert!(ledger.settle(&queue(), &[], After::Cut).is_ok());
        assert!(ledger.seen(&queue(), 0, 0).is_err(), "what is lost stays lost");
    }

    #[test]
    fn order_duplicates_and_strangers_are_found() {
        let mut ledger = with(2, true);
        assert!(ledger.settle(&queue(), &[1, 0], After::Cut).is_err());
        assert!(ledger.settle(&queue(), &[0, 0], After::Cut).is_err());
        assert!(ledger.settle(&queue(), &[0, 7], After::Cut).is_err());
        assert!(ledger.settle(&("U".to_owned(), 0), &[0], After::Cut).is_err());
    }

    #[test]
    fn what_a_consumer_saw_must_not_change() {
        let mut ledger = with(2, true);
        ledger.seen(&queue(), 0, 0).expect("it was sent");
        assert!(ledger.seen(&queue(), 0, 1).is_err());
        assert!(with_seen().settle(&queue(), &[], After::Cut).is_err());
    }

    fn with_seen() -> Ledger {
        let mut ledger = with(1, true);
        ledger.seen(&queue(), 0, 0).expect("it was sent");
        ledger
    }
}
