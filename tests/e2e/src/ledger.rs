//! Load whose every acknowledgement is remembered, and the comparison with what a broker has after it went down.
//!
//! Owns the topics it sends to, who sends, and what is known of each queue. How the broker goes down is the test's.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::client::{Message, send_outcome};
use crate::{Client, Ports};

/// Names, and whether they promise to keep what they acknowledge.
const TOPICS: [(&str, bool); 3] = [("crash", true), ("crash-too", true), ("crash-async", false)];
const QUEUES: usize = 4;
const SENDERS: usize = 6;
/// Requests on the way per sender: enough that every end hits a group commit of several connections.
const IN_FLIGHT: usize = 32;

/// A queue's acknowledged messages: the number in the body by offset; `None` where nobody knows.
type Known = Vec<Option<u64>>;

/// What is known of all queues, and up to where each was looked at.
#[derive(Debug, Default)]
pub struct Ledger {
    queues: [[Known; QUEUES]; TOPICS.len()],
    looked: [[usize; QUEUES]; TOPICS.len()],
    /// Of the asynchronous topic, what was acknowledged and is not there.
    pub lost: usize,
}

/// Topic, queue, offset, number.
pub type Acknowledged = (usize, usize, i64, u64);

/// Makes the topics.
pub fn make_topics(client: &mut Client) {
    for (topic, durable) in TOPICS {
        let attributes = if durable { "+flush.type=SYNC" } else { "+flush.type=ASYNC" };
        client.create_topic(topic, QUEUES as i32, attributes).expect("it answers").expect("it is allowed");
    }
}

/// Sends from several connections until so much was acknowledged, has the broker go down in the middle, returns what was
/// acknowledged. `refuses`: it may say no before it is gone.
pub fn load_until_down(
    ports: Ports,
    numbers: &AtomicU64,
    enough: u64,
    refuses: bool,
    go_down: impl FnOnce(),
) -> Vec<Acknowledged> {
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let count = &count;
                scope.spawn(move || send_until((ports, sender, refuses), numbers, count, u64::MAX))
            })
            .collect();
        while count.load(Ordering::Relaxed) < enough && !senders.iter().all(|sender| sender.is_finished()) {
            thread::yield_now();
        }
        go_down();
        senders.into_iter().flat_map(|sender| sender.join().expect("a sender does not panic")).collect()
    })
}

/// Sends so many from one connection, and waits for all answers.
pub fn load(ports: Ports, numbers: &AtomicU64, most: u64) -> Vec<Acknowledged> {
    send_until((ports, 0, false), numbers, &AtomicU64::new(0), most)
}

fn send_until(
    (ports, sender, refuses): (Ports, usize, bool),
    numbers: &AtomicU64,
    count: &AtomicU64,
    most: u64,
) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let Ok(mut client) = Client::connect(ports.broker) else { return acknowledged };
    let (topic, queue) = (sender % TOPICS.len(), sender % QUEUES);
    // The numbers on the way, oldest first: answers of one queue come in the order of the requests.
    let mut on_the_way = VecDeque::new();
    let mut sent = 0;
    let ended: io::Result<()> = (|| {
        loop {
            let mut frames = Vec::new();
            while on_the_way.len() < IN_FLIGHT && sent < most {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let opaque = client.encode_send(&mut frames, TOPICS[topic].0, queue as i32, &body(number));
                on_the_way.push_back((opaque, number));
                sent += 1;
            }
            client.write(&frames)?;
            let Some((opaque, number)) = on_the_way.pop_front() else { return Ok(()) };
            let stored = match client.receive(send_outcome)? {
                Err(refused) if refuses => return Err(io::Error::other(refused.remark)),
                stored => stored.expect("the topic takes messages"),
            };
            assert_eq!((stored.opaque, stored.queue), (opaque, queue as i32));
            acknowledged.push((topic, queue, stored.offset, number));
            count.fetch_add(1, Ordering::Relaxed);
        }
    })();
    assert!(ended.is_err() || sent == most, "only the broker's end ends it");
    acknowledged
}

impl Ledger {
    /// Remembers what was acknowledged; returns how much that is.
    pub fn note(&mut self, acknowledged: Vec<Acknowledged>) -> usize {
        for &(topic, queue, offset, number) in &acknowledged {
            let known = &mut self.queues[topic][queue];
            known.resize(known.len().max(offset as usize + 1), None);
            assert_eq!(known[offset as usize].replace(number), None, "an offset is given once");
        }
        acknowledged.len()
    }

    /// Every acknowledged message is at its offset, unharmed, and no offset is missing; of the asynchronous topic, the
    /// end may be gone.
    pub fn look(&mut self, client: &mut Client, full: bool) {
        for (topic, (name, durable)) in TOPICS.into_iter().enumerate() {
            for queue in 0..QUEUES {
                let (known, looked) = (&mut self.queues[topic][queue], &mut self.looked[topic][queue]);
                // Of what was seen by a look, nothing may be lost any more, whatever the topic.
                let safe = *looked;
                let from = if full { 0 } else { safe };
                let end = check(client, (name, queue), from, known);
                let must = if durable { known.len() } else { safe.min(known.len()) };
                assert!(end >= must, "{name} {queue} ends at {end}, offset {} was acknowledged or seen", must - 1);
                self.lost += known.len().saturating_sub(end);
                known.truncate(end);
                *looked = end;
            }
        }
    }
}

/// Reads a queue from an offset to its end and compares; returns its end.
fn check(client: &mut Client, (topic, queue): (&str, usize), from: usize, known: &Known) -> usize {
    let mut at = from;
    loop {
        let more: Vec<Message> = client.pull(topic, queue as i32, at as i64).expect("it answers").expect("it reads");
        if more.is_empty() {
            return at;
        }
        for message in more {
            assert_eq!(message.offset, at as i64, "offsets of {topic} {queue} have no gap");
            let number = u64::from_be_bytes(message.body[..8].try_into().expect("8 bytes"));
            assert_eq!(message.body, body(number), "{topic} {queue}, offset {at}");
            if let Some(Some(acknowledged)) = known.get(at) {
                assert_eq!(number, *acknowledged, "{topic} {queue}, offset {at}");
            }
            at += 1;
        }
    }
}

/// A body that shows its number and any damage; of a size that puts record ends everywhere in a block.
fn body(number: u64) -> Vec<u8> {
    let len = 16 + (number * 7919 % 1_500) as usize;
    let mut body = number.to_be_bytes().to_vec();
    body.extend((body.len()..len).map(|at| (number as usize * 31 + at) as u8));
    body
}
