//! kill -9 under load, again and again: what was acknowledged on a sync topic is there.
//!
//! `RINGMQ_KILL_ROUNDS` sets the number of rounds (5 without it; 50 is a good night's rest).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ringmq_e2e::client::{Message, send_outcome};
use ringmq_e2e::{Client, Ports, Process};

const TOPIC: &str = "crash";
const QUEUES: i32 = 4;
const SENDERS: u64 = 4;
/// Requests on the way per sender: enough that every kill hits a group commit of several connections.
const IN_FLIGHT: u64 = 32;
/// Acknowledgements after which a round is killed; odd, so that kills fall into different states of a write.
const ROUND: u64 = 4_001;

/// What was acknowledged: queue, offset, and the number in the body.
type Acknowledged = (i32, i64, u64);

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = std::env::var("RINGMQ_KILL_ROUNDS").map_or(5, |rounds| rounds.parse::<u64>().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let numbers = AtomicU64::new(0);
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    for round in 0..rounds {
        let broker = Process::start(dir.path(), ports, &[]);
        let mut client = Client::connect(ports.broker).unwrap();
        if round == 0 {
            client.create_topic(TOPIC, QUEUES, "+flush.type=SYNC").unwrap().unwrap();
        }
        verify(&mut client, &acknowledged);
        acknowledged.extend(load_until_killed(broker, ports, &numbers));
    }
    let broker = Process::start(dir.path(), ports, &[]);
    let mut client = Client::connect(ports.broker).unwrap();
    verify(&mut client, &acknowledged);
    assert_eq!(broker.stop().code, Some(0));
    assert!(acknowledged.len() as u64 >= rounds * ROUND);
    println!("{} acknowledged messages survived {rounds} kills", acknowledged.len());
}

/// Sends from several connections until enough was acknowledged, kills the broker in the middle, returns what was acknowledged.
fn load_until_killed(broker: Process, ports: Ports, numbers: &AtomicU64) -> Vec<Acknowledged> {
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn({
                    let count = &count;
                    move || send_until_broken(ports, sender, numbers, count)
                })
            })
            .collect();
        while count.load(Ordering::Relaxed) < ROUND && !senders.iter().all(|sender| sender.is_finished()) {
            thread::yield_now();
        }
        broker.kill();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    })
}

fn send_until_broken(ports: Ports, sender: u64, numbers: &AtomicU64, count: &AtomicU64) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let Ok(mut client) = Client::connect(ports.broker) else { return acknowledged };
    let queue = (sender % QUEUES as u64) as i32;
    // The numbers on the way, oldest first: answers of one queue come in the order of the requests.
    let mut on_the_way = std::collections::VecDeque::new();
    let ended: io::Result<()> = (|| loop {
        let mut frames = Vec::new();
        while (on_the_way.len() as u64) < IN_FLIGHT {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let opaque = client.encode_send(&mut frames, TOPIC, queue, &body(number));
            on_the_way.push_back((opaque, number));
        }
        client.write(&frames)?;
        let stored = client.receive(send_outcome)?.expect("a sync topic takes messages");
        let (opaque, number) = on_the_way.pop_front().expect("an answer to something");
        assert_eq!((stored.opaque, stored.queue), (opaque, queue));
        acknowledged.push((queue, stored.offset, number));
        count.fetch_add(1, Ordering::Relaxed);
    })();
    ended.expect_err("only the kill ends it");
    acknowledged
}

/// Every acknowledged message is at its offset, unharmed, and no offset is missing.
fn verify(client: &mut Client, acknowledged: &[Acknowledged]) {
    if acknowledged.is_empty() {
        return;
    }
    let queues: Vec<Vec<Message>> = (0..QUEUES).map(|queue| read_all(client, queue)).collect();
    for &(queue, offset, number) in acknowledged {
        let message = queues[queue as usize].get(offset as usize);
        let message = message.unwrap_or_else(|| panic!("queue {queue} ends before the acknowledged offset {offset}"));
        assert_eq!(message.body, body(number), "queue {queue}, offset {offset}");
    }
}

fn read_all(client: &mut Client, queue: i32) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let more = client.pull(TOPIC, queue, messages.len() as i64).unwrap().unwrap();
        if more.is_empty() {
            return messages;
        }
        for message in more {
            assert_eq!(message.offset, messages.len() as i64, "offsets of queue {queue} have no gap");
            messages.push(message);
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
