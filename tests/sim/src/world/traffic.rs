//! What clients do: send, decide, pull, pop, commit offsets, make and delete topics.
//!
//! Owns the shape of the traffic and what is written into the ledger when a request leaves. Never looks into a shard.

use super::answers::Asked;
use super::{Exists, HalfMessage, POP_TOPIC, PRODUCERS, QUEUES, Topic, World};
use crate::ledger::{Kind, QueueKey};
use crate::wire::{self, QueueName, Wish};

/// Largest usual body, bytes.
const BODY: u64 = 3_000;

/// Requests of one producer without an answer.
const PIPELINE: usize = 24;

/// Longest delay, ms.
const DELAY: u64 = 4_000;

impl World {
    /// Makes a topic while nothing else happens.
    pub(super) fn make_topic_now(&mut self, topic: &str, durable: bool) -> Result<(), String> {
        let opaque = self.opaque();
        let answer = self.ask_now(&wire::create_topic(opaque, topic, QUEUES, attributes(durable)))?;
        super::answers::with_command(&answer, |command| match command.code {
            0 => Ok(()),
            code => Err(format!("topic {topic} was not made: code {code}, {:?}", command.remark)),
        })?;
        self.topics.insert(topic.to_owned(), Topic { durable, exists: Exists::Yes });
        Ok(())
    }

    /// A queue of a topic that exists.
    fn a_queue(&mut self) -> QueueKey {
        let there = |(_, topic): &(&String, &Topic)| topic.exists == Exists::Yes;
        let names: Vec<&String> = self.topics.iter().filter(there).map(|(name, _)| name).collect();
        let topic = names[self.random.index(names.len())].clone();
        (topic, self.random.below(QUEUES as u64) as i32)
    }

    /// A producer that has not too much under way.
    fn a_producer(&mut self) -> Option<usize> {
        let producer = self.random.index(PRODUCERS);
        let slot = self.producers[producer].conn.slot;
        (self.open.keys().filter(|(conn, _)| *conn == slot).count() < PIPELINE).then_some(producer)
    }

    pub(super) fn send(&mut self) {
        let Some(producer) = self.a_producer() else { return };
        // Now and then a topic that nobody made: its first messages wait until control has decided.
        let queue = if self.random.percent(4) {
            (format!("new-{}", self.random.below(6)), self.random.below(QUEUES as u64) as i32)
        } else {
            self.a_queue()
        };
        let topic = self.topics.entry(queue.0.clone()).or_insert(Topic { durable: true, exists: Exists::Yes });
        let durable = topic.durable;
        let count = if self.random.percent(10) { 1 + self.random.index(5) } else { 1 };
        let first = self.ledger.len();
        let bodies: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let number = self.ledger.sent(queue.clone(), producer, durable, Kind::Plain);
                self.body(number)
            })
            .collect();
        let opaque = self.opaque();
        let to = QueueName { topic: &queue.0, queue: queue.1 };
        let now_ms = self.harness.now.wall_ms;
        let frame = match bodies.as_slice() {
            [body] => {
                self.keyed.insert(first);
                wire::send(opaque, to, now_ms, (first, body), Wish::Plain)
            }
            bodies => wire::send_batch(opaque, to, now_ms, bodies),
        };
        self.ask(producer, opaque, &frame, Asked::Send { first, count });
    }

    fn ask(&mut self, producer: usize, opaque: i32, frame: &[u8], asked: Asked) {
        let origin = self.producers[producer];
        self.open.insert((origin.conn.slot, opaque), asked);
        self.harness.request(origin, frame);
    }

    pub(super) fn send_later(&mut self) {
        let ms = 1 + self.random.below(DELAY);
        // The broker counts from when it takes the message, which is not earlier than now.
        let not_before_us = self.harness.now.mono_us + ms * 1_000;
        self.send_one(Kind::Later { not_before_us }, Wish::Delay(ms));
    }

    pub(super) fn prepare(&mut self) {
        self.send_one(Kind::Half { commit: None }, Wish::Prepare);
    }

    fn send_one(&mut self, kind: Kind, wish: Wish) {
        let Some(producer) = self.a_producer() else { return };
        let topic = match self.random.below(10) {
            // Its time may come, or its end, when another topic has the name.
            0 | 1 => "drop-0",
            2..4 if wish != Wish::Prepare => "async",
            _ => "sync",
        };
        if self.topics[topic].exists != Exists::Yes {
            return;
        }
        let queue = (topic.to_owned(), self.random.below(QUEUES as u64) as i32);
        let durable = self.topics[topic].durable;
        let number = self.ledger.sent(queue.clone(), producer, durable, kind);
        let body = self.body(number);
        let opaque = self.opaque();
        let to = QueueName { topic, queue: queue.1 };
        let frame = wire::send(opaque, to, self.harness.now.wall_ms, (number, &body), wish);
        let asked = match kind {
            Kind::Half { .. } => Asked::Prepare { number },
            Kind::Plain | Kind::Later { .. } => Asked::Send { first: number, count: 1 },
        };
        self.ask(producer, opaque, &frame, asked);
    }

    /// Asks for the end of a half message; who was not answered asks again, and for the same.
    pub(super) fn decide(&mut self) {
        let Some(producer) = self.a_producer() else { return };
        if self.halves.is_empty() {
            return;
        }
        let nth = self.random.index(self.halves.len());
        let wanted = self.random.percent(60);
        let half = &mut self.halves[nth];
        let commit = *half.commit.get_or_insert(wanted);
        let HalfMessage { number, place, .. } = *half;
        self.ledger.decides(number, commit);
        let opaque = self.opaque();
        let frame = wire::decide(opaque, number, place, commit);
        self.ask(producer, opaque, &frame, Asked::Decide { number });
    }

    /// A body that says which message it is and can be checked.
    fn body(&mut self, number: usize) -> Vec<u8> {
        let length = match self.random.below(50) {
            0 => self.random.below(40_000),
            _ => self.random.below(BODY),
        };
        let mut body = (number as u64).to_be_bytes().to_vec();
        body.resize(8 + length as usize, number as u8);
        body
    }

    fn consume(&mut self, opaque: i32, frame: &[u8], asked: Asked) {
        self.open.insert((self.consumer.conn.slot, opaque), asked);
        self.harness.request(self.consumer, frame);
    }

    pub(super) fn pull(&mut self) {
        let (topic, queue) = self.a_queue();
        let offset = self.random.below(40) as i64 * self.random.below(6) as i64;
        let opaque = self.opaque();
        let frame = wire::pull(opaque, QueueName { topic: &topic, queue }, offset);
        self.consume(opaque, &frame, Asked::Pull { queue: (topic, queue), offset });
    }

    pub(super) fn store_offset(&mut self) {
        let (topic, queue) = self.a_queue();
        let offset = self.random.below(50) as i64;
        let opaque = self.opaque();
        let frame = wire::store_offset(opaque, QueueName { topic: &topic, queue }, offset);
        let queue = (topic, queue);
        self.asked_offsets.entry(queue.clone()).or_default().push(offset);
        self.consume(opaque, &frame, Asked::StoreOffset { queue, offset });
    }

    pub(super) fn pop(&mut self) {
        let opaque = self.opaque();
        let most = 1 + self.random.below(8) as i32;
        let until_us = self.harness.now.mono_us + wire::INVISIBLE_MS * 1_000;
        self.consume(opaque, &wire::pop(opaque, POP_TOPIC, most), Asked::Pop { asked: opaque, until_us });
    }

    pub(super) fn ack(&mut self) {
        if self.pops.held() == 0 {
            return;
        }
        let nth = self.random.index(self.pops.held());
        let Some(receipt) = self.pops.take(nth) else { return };
        let opaque = self.opaque();
        let from = QueueName { topic: POP_TOPIC, queue: receipt.queue };
        let frame = wire::ack(opaque, from, receipt.offset, &receipt.extra_info);
        self.consume(opaque, &frame, Asked::Ack { receipt });
    }

    /// Deletes a topic that nobody has a request under way for: what is known of it then is certain.
    pub(super) fn drop_topic(&mut self) {
        let topic = ["drop-0", "drop-1"][self.random.index(2)];
        let busy = self.open.values().any(|asked| asked.is_about(topic, &self.ledger));
        let known = self.topics.get_mut(topic).expect("it was made at the beginning");
        if busy || known.exists != Exists::Yes {
            return;
        }
        known.exists = Exists::Dropping;
        let opaque = self.opaque();
        self.consume(opaque, &wire::delete_topic(opaque, topic), Asked::Drop { topic: topic.to_owned() });
    }

    pub(super) fn make_topic(&mut self) {
        let gone = self.topics.iter_mut().find(|(_, topic)| topic.exists == Exists::No);
        let Some((name, topic)) = gone else { return };
        topic.exists = Exists::Making;
        let (name, durable) = (name.clone(), topic.durable);
        let opaque = self.opaque();
        let frame = wire::create_topic(opaque, &name, QUEUES, attributes(durable));
        self.consume(opaque, &frame, Asked::Make { topic: name });
    }
}

fn attributes(durable: bool) -> &'static str {
    if durable { "+flush.type=SYNC" } else { "+flush.type=ASYNC" }
}
