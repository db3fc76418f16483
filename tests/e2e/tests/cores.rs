//! Another number of CPUs, and another number of shards: nothing is lost, nothing is renumbered.

use std::path::Path;
use std::time::{Duration, Instant};

use ringmq_e2e::client::{Message, send_outcome};
use ringmq_e2e::{Client, Ports, Process, process};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::{OffsetReply, QueryOffsetHeader, UpdateOffsetHeader};
use ringmq_protocol::headers::pop::{AckHeader, PopHeader, PopReply};
use ringmq_protocol::headers::send::{SendHeader, ShortSendHeader};
use ringmq_protocol::headers::topic::DeleteTopicHeader;
use ringmq_protocol::record;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

const SETTINGS: [&str; 2] = ["mappedFileSizeCommitLog=16777216", "maxMessageSize=1048576"];
const QUEUES: i32 = 7;
const PER_QUEUE: i64 = 20;
const GROUP: &str = "e2e_consumer";

fn start(root: &Path, ports: Ports, more: &[&str]) -> (Process, Client) {
    let broker = Process::start(root, ports, &[&SETTINGS[..], more].concat());
    let client = Client::connect(ports.broker).unwrap();
    (broker, client)
}

fn body(queue: i32, n: i64) -> Vec<u8> {
    let mut body = format!("queue {queue} message {n} ").into_bytes();
    body.resize(body.len() + (n as usize * 95_028) % 240_000, b'.');
    body
}

fn fill(client: &mut Client, topic: &str, from: i64, count: i64) {
    for n in from..from + count {
        for queue in 0..QUEUES {
            assert_eq!(client.send(topic, queue, &body(queue, n)).unwrap().unwrap().offset, n);
        }
    }
}

fn read_all(client: &mut Client, topic: &str, queue: i32) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let more = client.pull(topic, queue, messages.len() as i64).unwrap().unwrap();
        if more.is_empty() {
            return messages;
        }
        messages.extend(more);
    }
}

fn verify(client: &mut Client, topic: &str, count: i64) {
    for queue in 0..QUEUES {
        let messages = read_all(client, topic, queue);
        assert_eq!(messages.len() as i64, count, "queue {queue} of {topic}");
        for (n, message) in messages.iter().enumerate() {
            assert_eq!((message.offset, &message.body), (n as i64, &body(queue, n as i64)), "queue {queue} of {topic}");
        }
    }
}

fn commit(client: &mut Client, topic: &str, queue: i32, offset: i64) {
    let header = UpdateOffsetHeader {
        consumer_group: Text::plain(GROUP),
        topic: Text::plain(topic),
        queue_id: queue,
        commit_offset: offset,
    };
    let code = RequestCode::UpdateConsumerOffset.to_i32();
    assert_eq!(client.call(code, &header, &[], |answer| answer.code).unwrap(), 0);
}

fn committed(client: &mut Client, topic: &str, queue: i32) -> i64 {
    let header = QueryOffsetHeader {
        consumer_group: Text::plain(GROUP),
        topic: Text::plain(topic),
        queue_id: queue,
        set_zero_if_not_found: Some(false),
    };
    let code = RequestCode::QueryConsumerOffset.to_i32();
    client.call(code, &header, &[], |answer| OffsetReply::decode(&answer.ext).unwrap().offset).unwrap()
}

#[test]
fn fewer_and_more_cpus_than_shards_serve_the_same_directory() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let (broker, mut client) = start(dir.path(), ports, &["shards=3"]);
    client.create_topic("cores", QUEUES, "+flush.type=SYNC").unwrap().unwrap();
    fill(&mut client, "cores", 0, 5);
    broker.kill();
    let (broker, mut client) = start(dir.path(), ports, &["cpus=0"]);
    assert!(broker.greeting.contains("3 on CPU 0"), "{}", broker.greeting);
    verify(&mut client, "cores", 5);
    fill(&mut client, "cores", 5, 5);
    assert_eq!(broker.stop().code, Some(0));
    let (broker, mut client) = start(dir.path(), ports, &[]);
    verify(&mut client, "cores", 10);
    assert_eq!(broker.stop().code, Some(0));

    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = start(dir.path(), ports, &["cpus=0"]);
    client.create_topic("cores", QUEUES, "+flush.type=SYNC").unwrap().unwrap();
    fill(&mut client, "cores", 0, 5);
    assert_eq!(broker.stop().code, Some(0));
    let (broker, mut client) = start(dir.path(), ports, &[]);
    assert!(broker.greeting.contains("1 on CPU 0"), "one shard needs one CPU: {}", broker.greeting);
    verify(&mut client, "cores", 5);
    fill(&mut client, "cores", 5, 5);
    verify(&mut client, "cores", 10);
}

fn reshard(root: &Path, to: &str) -> process::Stopped {
    process::run("mqbroker", &["--reshard", to, "-s", &format!("storePathRootDir={}", root.display())])
}

/// Sends a message with properties; returns its offset.
fn send_with(client: &mut Client, topic: &str, properties: &str, sys_flag: i32) -> i64 {
    let header = SendHeader {
        producer_group: Text::plain("e2e_producer"),
        topic: Text::plain(topic),
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Text::plain(properties),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    };
    let code = RequestCode::SendMessageV2.to_i32();
    client.call(code, &ShortSendHeader(header), b"later", send_outcome).unwrap().unwrap().offset
}

/// Pops one message from queue 0: its offset and its receipt. `None` when there is nothing to have.
fn pop(client: &mut Client, topic: &str) -> Option<(i64, String)> {
    let header = PopHeader {
        consumer_group: Text::plain("e2e_pop"),
        topic: Text::plain(topic),
        queue_id: 0,
        max_msg_nums: 1,
        invisible_time: 300_000,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        expression_type: None,
        expression: Some(Text::plain("*")),
        order: false,
        attempt_id: None,
    };
    let read = |answer: &ringmq_protocol::command::Command<'_>| {
        if answer.code != 0 {
            return None;
        }
        let reply = PopReply::decode(&answer.ext).unwrap();
        let offset = record::iter(answer.body).next()?.unwrap().queue_offset();
        let (popped, invisible, revive) = (reply.pop_time, reply.invisible_time, reply.revive_queue_id);
        Some((offset, format!("{offset} {popped} {invisible} {revive} 0 broker-e2e 0 {offset}")))
    };
    client.call(RequestCode::PopMessage.to_i32(), &header, &[], read).unwrap()
}

fn ack(client: &mut Client, topic: &str, (offset, receipt): &(i64, String)) -> i32 {
    let header = AckHeader {
        consumer_group: Text::plain("e2e_pop"),
        topic: Text::plain(topic),
        queue_id: 0,
        extra_info: Text::plain(receipt),
        offset: *offset,
    };
    client.call(RequestCode::AckMessage.to_i32(), &header, &[], |answer| answer.code).unwrap()
}

fn delete(client: &mut Client, topic: &str) {
    let header = DeleteTopicHeader { topic: Text::plain(topic), cluster_name: None };
    let code = RequestCode::DeleteTopicInBroker.to_i32();
    assert_eq!(client.call(code, &header, &[], |answer| answer.code).unwrap(), 0);
}

/// Waits until a delayed message is there.
fn delivered(client: &mut Client, topic: &str) -> Vec<u8> {
    let begun = Instant::now();
    loop {
        if let Some(message) = client.pull(topic, 0, 0).unwrap().unwrap().pop() {
            return message.body;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the delayed message does not come");
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_is_rewritten_to_more_and_fewer_shards() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let ports = Ports::free();
    let (broker, mut client) = start(root, ports, &["shards=1"]);
    for topic in ["kept", "again", "later", "popped", "halved"] {
        client.create_topic(topic, QUEUES, "+flush.type=SYNC").unwrap().unwrap();
    }
    // More than one segment.
    fill(&mut client, "kept", 0, PER_QUEUE);
    fill(&mut client, "again", 0, 3);
    delete(&mut client, "again");
    client.create_topic("again", QUEUES, "+flush.type=SYNC").unwrap().unwrap();
    fill(&mut client, "again", 0, 2);
    (0..QUEUES).for_each(|queue| commit(&mut client, "kept", queue, i64::from(queue) * 3));
    send_with(&mut client, "later", "TIMER_DELAY_MS\u{1}6000\u{2}", 0);
    send_with(&mut client, "halved", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}e2e_producer\u{2}", 4);
    for n in 0..3 {
        assert_eq!(client.send("popped", 0, &body(0, n)).unwrap().unwrap().offset, n);
    }
    let held = [pop(&mut client, "popped").unwrap(), pop(&mut client, "popped").unwrap()];
    let used = reshard(root, "3");
    assert!(used.code == Some(1) && used.said.contains("in use by process"), "{used:?}");
    assert_eq!(broker.stop().code, Some(0));

    let same = reshard(root, "1");
    assert!(same.code == Some(1) && same.said.contains("1 shards already"), "{same:?}");
    for (to, dirs) in
        [("3", ["shard-000.g1", "shard-001.g1", "shard-002.g1"].as_slice()), ("2", &["shard-000.g2", "shard-001.g2"])]
    {
        let done = reshard(root, to);
        assert_eq!(done.code, Some(0), "{done:?}");
        for says in ["1 delayed", "1 undecided", "8 consumer offsets", "1 POP", "offset message id"] {
            assert!(done.said.contains(says), "{says} is missing in {}", done.said);
        }
        let mut found: Vec<String> = std::fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("shard-"))
            .collect();
        found.sort();
        assert_eq!(found, dirs);
    }

    let (broker, mut client) = start(root, ports, &[]);
    assert!(broker.greeting.contains("2 on CPU"), "{}", broker.greeting);
    verify(&mut client, "kept", PER_QUEUE);
    verify(&mut client, "again", 2);
    for queue in 0..QUEUES {
        assert_eq!(committed(&mut client, "kept", queue), i64::from(queue) * 3);
    }
    assert_eq!(delivered(&mut client, "later"), b"later");
    assert_eq!(ack(&mut client, "popped", &held[0]), 0, "a receipt from before is good");
    assert_eq!(pop(&mut client, "popped").map(|(offset, _)| offset), Some(2), "what is held stays held");
    fill(&mut client, "kept", PER_QUEUE, 3);
    broker.kill();
    let (_broker, mut client) = start(root, ports, &[]);
    verify(&mut client, "kept", PER_QUEUE + 3);
}

#[test]
fn what_an_interrupted_rewrite_left_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let ports = Ports::free();
    let (broker, mut client) = start(root, ports, &["shards=2"]);
    client.create_topic("kept", QUEUES, "+flush.type=SYNC").unwrap().unwrap();
    fill(&mut client, "kept", 0, 3);
    broker.kill();
    std::fs::create_dir(root.join("shard-000.g1")).unwrap();
    std::fs::write(root.join("shard-000.g1/00000000000000000000.log"), b"half written").unwrap();
    let (broker, mut client) = start(root, ports, &[]);
    verify(&mut client, "kept", 3);
    broker.kill();
    let done = reshard(root, "1");
    assert!(done.code == Some(0) && done.said.contains("unfinished"), "{done:?}");
    let (_broker, mut client) = start(root, ports, &[]);
    verify(&mut client, "kept", 3);

    let stranger = reshard(&root.join("nowhere"), "2");
    assert!(stranger.code == Some(1) && stranger.said.contains("no data directory"), "{stranger:?}");
}
