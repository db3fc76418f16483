//! What is known to be true: every message that was sent, what was answered, and what was seen.
//!
//! Knows nothing of how a broker works. It is told of sends, answers, sightings and of the whole content of a queue after
//! a start, and says what contradicts what.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

/// A queue by topic and number.
pub type QueueKey = (String, i32);

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is in its queue when the broker says so, at the offset the broker says.
    Plain,
    /// It must not be seen before this time, microseconds; then once.
    Later { not_before_us: u64 },
    /// A half message: seen once if its producer asked for that (`Some(true)`), and not otherwise.
    Half { commit: Option<bool> },
}

/// What the producer of a message knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sent, no answer yet or none that says: it may be stored or not.
    Open,
    /// Stored at this offset, the broker said.
    Acknowledged(i64),
    /// The broker said that it will be in its queue: a delayed message that was taken, a half message that was committed.
    Promised,
    /// A promise of an asynchronous topic that a power cut may have taken: it may appear once, or never.
    Perhaps,
    /// It was stored at this offset and is old enough to have been let go of. A start may show it once more.
    Expired(i64),
    /// Not stored, the broker said, or rolled back.
    Refused,
    /// Stored at this offset, as a look at the whole queue after a start has shown.
    Stored(i64),
    /// Not there any more after a power cut, which an asynchronous topic allows.
    Lost,
    /// Its topic was deleted.
    Gone,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Sent {
    pub queue: QueueKey,
    pub producer: usize,
    /// The topic promises to keep what it acknowledges.
    pub durable: bool,
    pub kind: Kind,
    pub fate: Fate,
    /// When it was sent, microseconds.
    pub sent_us: u64,
}

/// What a queue shows: the numbers of its messages, from its minimum on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub first: i64,
    pub numbers: Vec<usize>,
}

impl Content {
    /// Nothing yet, from this offset on.
    pub fn from(first: i64) -> Self {
        Content { first, numbers: Vec::new() }
    }

    /// The offset that comes next.
    pub fn end(&self) -> i64 {
        self.first + self.numbers.len() as i64
    }

    /// The message at an offset.
    pub fn at(&self, offset: i64) -> Option<usize> {
        self.numbers.get(usize::try_from(offset - self.first).ok()?).copied()
    }

    /// Every message with its offset.
    pub fn iter(&self) -> impl Iterator<Item = (i64, usize)> {
        (self.first..).zip(self.numbers.iter().copied())
    }

    /// Whether it shows all that this one shows, and it begins there or before.
    pub fn goes_on_from(&self, earlier: &Content) -> bool {
        self.first <= earlier.first && earlier.iter().all(|(offset, number)| self.at(offset) == Some(number))
    }
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
    /// Numbers of the messages sent to each queue.
    by_queue: BTreeMap<QueueKey, Vec<usize>>,
    /// What consumers were shown.
    seen: BTreeMap<QueueKey, BTreeMap<i64, usize>>,
    /// What a look at the whole queue after the last start showed: durable, so it stays until it expires.
    settled: BTreeMap<QueueKey, Content>,
    /// The time, microseconds.
    now_us: u64,
    /// The age at which messages may go, microseconds.
    reserved_us: Option<u64>,
    /// Messages below this number may go: the disk was too full.
    crowded: usize,
}

impl Ledger {
    /// Time passes.
    pub fn clock(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// The broker keeps messages for this long.
    pub fn keeps_for(&mut self, reserved_us: u64) {
        self.reserved_us = Some(reserved_us);
    }

    /// The disk is too full: whatever is there may go, whatever its age.
    pub fn disk_is_crowded(&mut self) {
        self.crowded = self.messages.len();
    }

    /// Whether retention may have let go of a message.
    pub fn may_go(&self, number: usize) -> bool {
        let age_us = self.now_us.saturating_sub(self.messages[number].sent_us);
        number < self.crowded || self.reserved_us.is_some_and(|reserved_us| age_us >= reserved_us)
    }

    /// A message is sent. Of one producer, the numbers grow in the order of sending.
    pub fn sent(&mut self, queue: QueueKey, producer: usize, durable: bool, kind: Kind) -> usize {
        let number = self.messages.len();
        self.by_queue.entry(queue.clone()).or_default().push(number);
        self.messages.push(Sent { queue, producer, durable, kind, fate: Fate::Open, sent_us: self.now_us });
        number
    }

    /// How many were sent.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// One message.
    pub fn message(&self, number: usize) -> &Sent {
        &self.messages[number]
    }

    /// Messages the broker acknowledged or that were found stored.
    pub fn kept(&self) -> usize {
        let kept = |sent: &&Sent| matches!(sent.fate, Fate::Acknowledged(_) | Fate::Promised | Fate::Stored(_));
        self.messages.iter().filter(kept).count()
    }

    /// Messages that a start has shown to be stored in one of the topic's queues.
    pub fn stored_in(&self, topic: &str) -> impl Iterator<Item = usize> {
        let queues = self.settled.iter().filter(move |((name, _), _)| name == topic);
        queues.flat_map(|(_, content)| content.numbers.iter().copied())
    }

    /// What the last start found in a queue.
    pub fn settled(&self, queue: &QueueKey) -> Content {
        self.settled.get(queue).cloned().unwrap_or_default()
    }

    /// The queues that the last start looked at.
    pub fn settled_queues(&self) -> impl Iterator<Item = &QueueKey> {
        self.settled.keys()
    }

    /// The broker says where a message is. Of a delayed one it only says that it has it.
    ///
    /// # Errors
    /// It had said something else.
    pub fn acknowledged(&mut self, number: usize, offset: i64) -> Result<(), String> {
        let sent = &mut self.messages[number];
        sent.fate = match (sent.fate, sent.kind) {
            (Fate::Open, Kind::Plain) => Fate::Acknowledged(offset),
            (Fate::Open, Kind::Later { .. }) => Fate::Promised,
            // It waits for its producer's decision.
            (Fate::Open, Kind::Half { .. }) => Fate::Open,
            (fate, _) => {
                return Err(format!("message {number} was answered twice: {fate:?}, now offset {offset}"));
            }
        };
        Ok(())
    }

    /// The producer of a half message asks for its end, always for the same.
    pub fn decides(&mut self, number: usize, commit: bool) {
        let Kind::Half { commit: asked } = &mut self.messages[number].kind else {
            panic!("{number} is no half message")
        };
        assert!(asked.is_none_or(|asked| asked == commit), "a producer does not change its mind");
        *asked = Some(commit);
    }

    /// The broker says that it has done what [`Ledger::decides`] asked for.
    pub fn decided(&mut self, number: usize) {
        let sent = &mut self.messages[number];
        let committed = sent.kind == Kind::Half { commit: Some(true) };
        match (sent.fate, committed) {
            (Fate::Open | Fate::Perhaps, true) => sent.fate = Fate::Promised,
            (Fate::Open | Fate::Perhaps, false) => sent.fate = Fate::Refused,
            // It was there already: an answer that was lost came before.
            _ => {}
        }
    }

    /// The broker says it has not taken a message.
    pub fn refused(&mut self, number: usize) {
        self.messages[number].fate = Fate::Refused;
    }

    /// A topic was deleted: whatever its queues held is gone for good, and they begin at 0 again.
    pub fn dropped(&mut self, topic: &str) {
        let queues: Vec<QueueKey> = self.by_queue.keys().filter(|(name, _)| name == topic).cloned().collect();
        queues.iter().for_each(|queue| self.queue_dropped(queue));
    }

    fn queue_dropped(&mut self, queue: &QueueKey) {
        self.seen.remove(queue);
        self.settled.remove(queue);
        for number in self.by_queue.get(queue).into_iter().flatten() {
            self.messages[*number].fate = Fate::Gone;
        }
    }

    /// A consumer is shown a message.
    ///
    /// # Errors
    /// It was never sent to this queue, was refused, is early, or this offset held another one before.
    pub fn seen(&mut self, queue: &QueueKey, offset: i64, number: usize) -> Result<(), String> {
        self.belongs(queue, offset, number)?;
        let before = self.seen.entry(queue.clone()).or_default().insert(offset, number);
        if let Some(before) = before.filter(|before| *before != number) {
            return Err(format!("{queue:?} offset {offset} showed message {before}, now {number}"));
        }
        let settled = self.settled.get(queue).and_then(|queue| queue.at(offset));
        if let Some(settled) = settled.filter(|settled| *settled != number) {
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
        let holds = |what: String| Err(format!("{queue:?} offset {offset} holds message {number}, {what}"));
        if sent.queue != *queue {
            return holds(format!("sent to {:?}", sent.queue));
        }
        match sent.kind {
            Kind::Later { not_before_us } if not_before_us > self.now_us => {
                return holds(format!("{} us early", not_before_us - self.now_us));
            }
            Kind::Half { commit } if commit != Some(true) => return holds("which was not committed".to_owned()),
            Kind::Plain | Kind::Later { .. } | Kind::Half { .. } => {}
        }
        match sent.fate {
            Fate::Refused => holds("which was refused".to_owned()),
            Fate::Lost => holds("which had been lost".to_owned()),
            Fate::Gone => holds("whose topic was deleted".to_owned()),
            Fate::Acknowledged(at) | Fate::Stored(at) | Fate::Expired(at) if at != offset => {
                holds(format!("whose offset is {at}"))
            }
            Fate::Open
            | Fate::Acknowledged(_)
            | Fate::Promised
            | Fate::Perhaps
            | Fate::Stored(_)
            | Fate::Expired(_) => Ok(()),
        }
    }

    /// The whole content of a queue after a start.
    ///
    /// # Errors
    /// Something acknowledged or seen is missing or elsewhere, something is there twice or in another order than sent.
    pub fn settle(&mut self, queue: &QueueKey, content: &Content, after: After) -> Result<(), String> {
        for (offset, number) in content.iter() {
            self.belongs(queue, offset, number)?;
        }
        check_order(queue, content, &self.messages)?;
        self.check_settled(queue, content)?;
        self.check_seen(queue, content)?;
        let places: BTreeMap<usize, i64> = content.iter().map(|(offset, number)| (number, offset)).collect();
        for number in self.by_queue.get(queue).into_iter().flatten() {
            // Below the queue's beginning lies what it let go of. Where an unanswered message was nobody knows.
            let (first, may_go) = (content.first, self.may_go(*number));
            let expired = |at: Option<i64>| may_go && at.is_none_or(|at| at < first) && first > 0;
            settle_message(*number, &mut self.messages[*number], places.get(number).copied(), after, expired)?;
        }
        self.settled.insert(queue.clone(), content.clone());
        Ok(())
    }

    /// Every message is in its queue by now that was promised to be.
    ///
    /// # Errors
    /// One is not.
    pub fn all_kept(&self) -> Result<(), String> {
        match self.messages.iter().enumerate().find(|(_, sent)| sent.fate == Fate::Promised) {
            Some((number, sent)) => Err(format!("message {number} ({:?}) was promised and never came", sent.kind)),
            None => Ok(()),
        }
    }

    /// What an earlier start found was durable then.
    fn check_settled(&self, queue: &QueueKey, content: &Content) -> Result<(), String> {
        let settled = self.settled(queue);
        for (offset, number) in settled.iter() {
            match content.at(offset) {
                Some(now) if now == number => {}
                None if offset < content.first && self.may_go(number) => {}
                None if offset < content.first => {
                    return Err(format!(
                        "{queue:?} begins at {}, message {number} at {offset} was to stay",
                        content.first
                    ));
                }
                now => {
                    return Err(format!("{queue:?} offset {offset} held {number} after the last start, now {now:?}"));
                }
            }
        }
        Ok(())
    }

    /// What a consumer saw of a topic that keeps its word is still there; of another one, only in the same place.
    fn check_seen(&mut self, queue: &QueueKey, content: &Content) -> Result<(), String> {
        for (offset, number) in self.seen.get(queue).into_iter().flatten() {
            match content.at(*offset) {
                Some(now) if now == *number => {}
                Some(now) => return Err(format!("{queue:?} offset {offset} showed message {number}, now {now}")),
                None if *offset < content.first && self.may_go(*number) => {}
                None if self.messages[*number].durable => {
                    return Err(format!("{queue:?} offset {offset} showed message {number}, which is gone"));
                }
                None => {}
            }
        }
        if let Some(seen) = self.seen.get_mut(queue) {
            seen.retain(|offset, _| *offset < content.end());
        }
        Ok(())
    }
}

/// Compares what is known of a message with where a start found it. `expired` says whether it may be gone from an offset (`None`:
/// not known) because it is old.
fn settle_message(
    number: usize,
    sent: &mut Sent,
    at: Option<i64>,
    after: After,
    expired: impl Fn(Option<i64>) -> bool,
) -> Result<(), String> {
    let may_lose = after == After::Cut && !sent.durable;
    let queue = &sent.queue;
    sent.fate = match (sent.fate, at) {
        (
            Fate::Open | Fate::Acknowledged(_) | Fate::Promised | Fate::Perhaps | Fate::Stored(_) | Fate::Expired(_),
            Some(at),
        ) => Fate::Stored(at),
        (Fate::Open | Fate::Promised | Fate::Perhaps, None) if expired(None) => Fate::Perhaps,
        (Fate::Acknowledged(at) | Fate::Stored(at) | Fate::Expired(at), None) if expired(Some(at)) => Fate::Expired(at),
        (Fate::Open, None) if sent.kind == Kind::Plain => Fate::Lost,
        // It may be waiting for its time or for a decision.
        (Fate::Open | Fate::Perhaps, None) => Fate::Perhaps,
        (Fate::Promised, None) if may_lose => Fate::Perhaps,
        (Fate::Promised, None) if matches!(sent.kind, Kind::Half { .. }) => {
            return Err(format!("message {number} was committed to {queue:?} and is not there"));
        }
        (Fate::Promised, None) => Fate::Promised,
        (Fate::Acknowledged(_), None) if may_lose => Fate::Lost,
        (Fate::Acknowledged(offset), None) => {
            return Err(format!("message {number} was acknowledged at {queue:?} offset {offset} and is gone"));
        }
        (Fate::Stored(offset) | Fate::Expired(offset), None) => {
            return Err(format!("message {number} was durable at offset {offset} and is gone"));
        }
        (fate @ (Fate::Refused | Fate::Lost | Fate::Gone), None) => fate,
        (Fate::Refused | Fate::Lost | Fate::Gone, Some(_)) => {
            panic!("message {number} passed a check that rules it out")
        }
    };
    Ok(())
}

/// No message twice, and those of one producer in the order of sending.
fn check_order(queue: &QueueKey, content: &Content, messages: &[Sent]) -> Result<(), String> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for (offset, number) in content.iter() {
        let Sent { producer, kind, .. } = messages[number];
        if !all.insert(number) {
            return Err(format!("{queue:?} offset {offset} holds message {number} a second time"));
        }
        if kind != Kind::Plain {
            continue;
        }
        if let Some(before) = last.insert(producer, number).filter(|before| *before >= number) {
            return Err(format!(
                "{queue:?} offset {offset} holds message {number} of producer {producer} behind its message {before}"
            ));
        }
    }
    Ok(())
}
