//! A small volume that is written several times over: segments expire, their files are used again, kill -9 in between; and
//! a volume that somebody else fills: producers are refused with the reason and go on by themselves.
//!
//! Needs the right to mount a loop device; without it there is nothing to try.

use std::path::Path;
use std::time::{Duration, Instant};

use ringmq_e2e::{Client, Ports, Process, Volume, ran};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::{OffsetReply, QueueHeader};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

const TOPIC: &str = "retention";
/// The segment size is left to the broker: 4 MiB here.
const SETTINGS: [&str; 2] = ["maxMessageSize=1048576", "shards=1"];
const MIB: u64 = 1 << 20;
/// Volume; log bytes between two kills; bytes of a message.
const VOLUME: u64 = 256 * MIB;
const ROUND: u64 = 100 * MIB;
const BODY: usize = 32 * 1024;
/// Pace of the producer, bytes a second: a volume this small cannot let go faster than its checkpoints come.
const PACE: u64 = 16 * MIB;
/// SERVICE_NOT_AVAILABLE
const NOT_AVAILABLE: i32 = 14;
/// For what happens within a second; the rest is a busy machine.
const NOTICED: Duration = Duration::from_secs(20);

fn start(root: &Path, ports: Ports) -> (Process, Client) {
    let broker = Process::start(root, ports, &SETTINGS);
    let client = Client::connect(ports.broker).unwrap();
    (broker, client)
}

fn body(number: i64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend((body.len()..BODY).map(|at| (number as usize * 31 + at) as u8));
    body
}

/// Sends for `bytes`, at the pace; `next` is the offset the next message gets. Who was held up does not make up for it: that would be
/// faster than the pace.
fn send(client: &mut Client, next: &mut i64, bytes: u64) {
    let pause = Duration::from_micros(BODY as u64 * 1_000_000 / PACE);
    let mut last = Instant::now();
    for _ in 0..bytes / BODY as u64 {
        while last.elapsed() < pause {
            std::thread::yield_now();
        }
        last = Instant::now();
        let stored = client.send(TOPIC, 0, &body(*next)).unwrap().expect("there is room: old segments go in time");
        assert_eq!(stored.offset, *next);
        *next += 1;
    }
}

fn min_offset(client: &mut Client) -> i64 {
    let header = QueueHeader { topic: Text::plain(TOPIC), queue_id: 0 };
    let read = |answer: &ringmq_protocol::command::Command<'_>| {
        assert_eq!(answer.code, 0);
        OffsetReply::decode(&answer.ext).expect("it has an offset").offset
    };
    client.call(RequestCode::GetMinOffset.to_i32(), &header, &[], read).unwrap()
}

/// From the first offset that is left to the last acknowledged one every message is there, whole. Returns the first.
fn verify(client: &mut Client, next: i64) -> i64 {
    let first = min_offset(client);
    let mut at = first;
    while at < next {
        let messages = client.pull(TOPIC, 0, at).unwrap().unwrap();
        assert!(!messages.is_empty(), "offset {at} of {first}..{next} is missing");
        for message in messages {
            assert_eq!((message.offset, message.body == body(at)), (at, true));
            at += 1;
        }
    }
    first
}

#[test]
fn a_small_volume_is_written_many_times_over() {
    let Some(volume) = Volume::make(VOLUME / MIB) else { return };
    let ports = Ports::free();
    let (mut broker, mut client) = start(&volume.root(), ports);
    client.create_topic(TOPIC, 1, "+flush.type=SYNC").unwrap().unwrap();
    let (mut next, mut first) = (0, 0);
    for round in 0..4 {
        send(&mut client, &mut next, ROUND + round * MIB / 3);
        broker.kill();
        (broker, client) = start(&volume.root(), ports);
        let now = verify(&mut client, next);
        println!("round {round}: offsets {now}..{next}");
        // Less than what was let go of before the kill: the last checkpoints say what is left.
        first = now.max(first);
    }
    assert!(first > 0 && (next - first) as u64 * BODY as u64 > VOLUME / 2, "{first}..{next}");
    // Settled again after the last start: what is written now goes into files that were there.
    send(&mut client, &mut next, ROUND / 2);
    let before = volume.blocks();
    send(&mut client, &mut next, ROUND / 2);
    let other: Vec<(u64, u64)> = volume.blocks().difference(&before).copied().collect();
    assert_eq!(other, Vec::new(), "no file is made, none gets or loses a block: the steady state goes round");
    verify(&mut client, next);
    assert_eq!(broker.stop().code, Some(0));
    let (broker, mut client) = start(&volume.root(), ports);
    verify(&mut client, next);
    drop(broker);
}

#[test]
fn a_full_volume_refuses_and_goes_on_by_itself() {
    let Some(volume) = Volume::make(VOLUME / MIB) else { return };
    let ports = Ports::free();
    let (broker, mut client) = start(&volume.root(), ports);
    client.create_topic(TOPIC, 1, "+flush.type=SYNC").unwrap().unwrap();
    assert!(client.send(TOPIC, 0, b"before").unwrap().is_ok());
    let other = volume.mounted.join("somebody else's");
    assert!(ran("fallocate", &["-l", &volume.until(93).to_string(), &other.display().to_string()]));
    let begun = Instant::now();
    let refused = loop {
        match client.send(TOPIC, 0, b"while it fills").unwrap() {
            Err(refused) => break refused,
            Ok(_) => assert!(begun.elapsed() < NOTICED, "nobody notices that the volume is full"),
        }
        std::thread::yield_now();
    };
    let path = volume.root().display().to_string();
    assert_eq!(refused.code, NOT_AVAILABLE);
    assert!(refused.remark.contains(&path) && refused.remark.contains("90%"), "{}", refused.remark);
    assert_eq!(client.pull(TOPIC, 0, 0).unwrap().unwrap()[0].body, b"before", "consumers go on");
    std::fs::remove_file(other).unwrap();
    let begun = Instant::now();
    while client.send(TOPIC, 0, b"after").unwrap().is_err() {
        assert!(begun.elapsed() < NOTICED, "it does not go on");
        std::thread::yield_now();
    }
    println!("refused: {}; served again {} ms after the space came back", refused.remark, begun.elapsed().as_millis());
    assert_eq!(broker.stop().code, Some(0));
}
