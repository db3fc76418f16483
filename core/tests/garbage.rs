//! Nothing a client sends makes a shard panic.
//!
//! Sends thousands of requests with every code, fields drawn from all names headers know and values at the edges, good and
//! broken bodies, to two shards; in between time passes, connections close and the broker starts again. What is answered
//! is not looked at, only that the shards live, and that an ordinary client is served as ever afterwards.

use ringmq_core::event::{Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_core::topic::{Change, Perm, TopicSpec};
use ringmq_protocol::batch::BatchEntry;
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::request_code::RequestCode;

const FIELDS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "topic",
    "queueId",
    "queueOffset",
    "commitOffset",
    "offset",
    "timestamp",
    "maxMsgNums",
    "consumerGroup",
    "group",
    "producerGroup",
    "sysFlag",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
    "key",
    "maxNum",
    "beginTimestamp",
    "endTimestamp",
    "_UNIQUE_KEY_QUERY",
    "delayLevel",
    "originMsgId",
    "originTopic",
    "maxReconsumeTimes",
    "tranStateTableOffset",
    "commitLogOffset",
    "commitOrRollback",
    "fromTransactionCheck",
    "msgId",
    "transactionId",
    "clientID",
    "defaultTopic",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "topicFilterType",
    "topicSysFlag",
    "order",
    "attributes",
    "defaultTopicQueueNums",
    "properties",
    "bornTimestamp",
    "flag",
    "reconsumeTimes",
    "unitMode",
    "batch",
    "boundaryType",
    "setZeroIfNotFound",
    "topicList",
    "isForce",
    "groupName",
    "cleanOffset",
    "clientId",
    "jstackEnable",
    "brokerName",
    "extraInfo",
    "invisibleTime",
    "pollTime",
    "bornTime",
    "initMode",
    "isOrder",
    "statsName",
    "statsKey",
];

const VALUES: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "12",
    "-1",
    "32",
    "1000",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "140737488355328",
    "140737488355400",
    "40",
    "5000",
    "T",
    "G",
    "PG",
    "%RETRY%G",
    "%DLQ%G",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "DefaultCluster_REPLY_TOPIC",
    "new",
    "",
    "*",
    "A || B",
    "||",
    "TAG",
    "SQL92",
    "true",
    "false",
    "UPPER",
    "a b",
    "+flush.type=SYNC",
    "+x=y,-z",
    "k1",
    "U1",
    "7F00000100002A9F0000000000000028",
    "TAGS\u{1}A\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}U1\u{2}WAIT\u{1}true\u{2}",
    "DELAY\u{1}3\u{2}",
    "DELAY\u{1}99999999999\u{2}",
    "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}",
    "TIMER_DELAY_MS\u{1}1500\u{2}",
    "TIMER_DELIVER_MS\u{1}-5\u{2}",
    "TIMER_DELAY_SEC\u{1}9223372036854775807\u{2}",
    "\u{1}\u{2}\u{2}\u{1}",
    "MSG_TYPE\u{1}reply\u{2}REPLY_TO_CLIENT\u{1}c\u{2}",
    "WAIT\u{1}",
    "REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}-7\u{2}",
    "颜色\u{1}红\u{2}",
    "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}-1\u{2}",
];

/// The values that make most requests get past their first checks.
const USUAL: &[(&str, &str)] = &[
    ("a", "PG"),
    ("b", "T"),
    ("c", "TBW102"),
    ("d", "4"),
    ("e", "0"),
    ("f", "0"),
    ("g", "1"),
    ("h", "0"),
    ("topic", "T"),
    ("queueId", "0"),
    ("queueOffset", "0"),
    ("commitOffset", "0"),
    ("offset", "40"),
    ("timestamp", "5"),
    ("maxMsgNums", "32"),
    ("consumerGroup", "G"),
    ("group", "G"),
    ("producerGroup", "PG"),
    ("sysFlag", "6"),
    ("suspendTimeoutMillis", "1000"),
    ("key", "k1"),
    ("maxNum", "32"),
    ("beginTimestamp", "0"),
    ("endTimestamp", "9223372036854775807"),
    ("delayLevel", "0"),
    ("tranStateTableOffset", "0"),
    ("commitLogOffset", "40"),
    ("commitOrRollback", "8"),
    ("msgId", "U1"),
    ("clientID", "c"),
    ("defaultTopic", "TBW102"),
    ("readQueueNums", "4"),
    ("writeQueueNums", "4"),
    ("perm", "6"),
    ("topicFilterType", "SINGLE_TAG"),
    ("order", "false"),
    ("defaultTopicQueueNums", "4"),
    ("bornTimestamp", "1"),
    ("flag", "0"),
    ("isForce", "true"),
];

/// Bodies some request would take.
const BODIES: &[&str] = &[
    "",
    "x",
    "{}",
    "[]",
    "{\"clientID\":\"c\",\"producerDataSet\":[{\"groupName\":\"PG\"}],\"consumerDataSet\":[{\"groupName\":\"G\",\
    \"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\",\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\
    \"subscriptionDataSet\":[{\"topic\":\"T\",\"subString\":\"*\",\"subVersion\":1}]}]}",
    "{\"consumerGroup\":\"G\",\"clientId\":\"c\",\"mqSet\":[{\"topic\":\"T\",\"brokerName\":\"host\",\"queueId\":0}]}",
    "{\"topic\":\"T\",\"consumerGroup\":\"G\",\"clientId\":\"c\",\"strategyName\":\"AVG\",\"messageModel\":\"CLUSTERING\"}",
    "flushDiskType=ASYNC_FLUSH\nlistenPort=1\nx=y",
    "{\"groupName\":\"G2\",\"retryQueueNums\":2}",
    "{\"groupName\":7}",
    "{\"clientID\":",
];

/// A small deterministic generator (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn request(dice: &mut Dice) -> Vec<u8> {
    let spelling = if dice.below(2) == 0 { Spelling::Json } else { Spelling::Binary };
    let code = dice.of(RequestCode::ALL).to_i32();
    // Half of all requests are those that matter most.
    let code = if dice.below(2) == 0 { *dice.of(&[310, 10, 320, 11, 36, 37, 324, 325, 14, 15, 34, 17]) } else { code };
    let opaque = dice.below(50) as i32;
    let head = match dice.below(20) {
        0 => Head::oneway(spelling, code, opaque),
        1 => Head::response(spelling, code, opaque),
        _ => Head::request(spelling, code, opaque),
    };
    let mut fields: Vec<(&str, &str)> = if dice.below(8) == 0 { Vec::new() } else { USUAL.to_vec() };
    fields.retain(|_| dice.below(30) != 0);
    for _ in 0..dice.below(4) {
        let odd = (*dice.of(FIELDS), *dice.of(VALUES));
        fields.retain(|(key, _)| *key != odd.0);
        fields.push(odd);
    }
    if dice.below(3) == 0 {
        let properties = *dice.of(VALUES);
        fields.push(("i", properties));
        fields.push(("properties", properties));
    }
    fields.truncate(48);
    let mut bytes = Vec::new();
    let mut encoder = encode::begin(&mut bytes, &head);
    for (key, value) in fields {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(&body(dice)).unwrap();
    bytes
}

fn body(dice: &mut Dice) -> Vec<u8> {
    let mut body = dice.of(BODIES).as_bytes().to_vec();
    match dice.below(6) {
        0 => (0..dice.below(200)).map(|_| dice.next() as u8).collect(),
        1 => {
            body.clear();
            for _ in 0..dice.below(5) {
                let properties = *dice.of(VALUES);
                BatchEntry { flag: 0, body: b"entry", properties }.encode(&mut body);
            }
            if dice.below(3) == 0 {
                body.truncate(dice.below(body.len() + 1));
            }
            body
        }
        _ => body,
    }
}

fn still_serves(harness: &mut Harness) {
    let client: Origin = harness.connect(ShardId(0));
    let mut bytes = Vec::new();
    let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, 310, 1));
    for (key, value) in
        [("a", "PG"), ("b", "untouched"), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0"), ("g", "1"), ("h", "0")]
    {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(b"hello").unwrap();
    harness.request(client, &bytes);
    let answer = harness.take(client.conn).expect("an ordinary send is answered");
    let cut = frame::split(&answer).unwrap().unwrap();
    let command = Command::parse(cut).unwrap();
    assert_eq!(command.code, 0, "{:?}", command.remark);
}

#[test]
fn no_request_makes_a_shard_panic() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut harness = Harness::new(2, "flushDiskType = ASYNC_FLUSH\n");
        for name in ["T", "untouched"] {
            let topic = harness.shard(ShardId(0)).metadata.topics.plan(TopicSpec::plain(name, 4, Perm::READ_WRITE));
            for id in harness.ids() {
                harness.shard(id).metadata.apply(&Change::TopicPut(topic.clone()));
            }
        }
        let mut clients: Vec<Origin> = (0..4).map(|n| harness.connect(ShardId(n % 2))).collect();
        for step in 0..1_500 {
            let client = *dice.of(&clients);
            harness.request(client, &request(&mut dice));
            harness.received.clear();
            match step % 100 {
                20 | 60 => harness.advance(dice.next() % 3_000),
                40 => {
                    let gone = dice.below(clients.len());
                    harness.disconnect(clients[gone].conn);
                    clients[gone] = harness.connect(ShardId((gone % 2) as u16));
                }
                80 => harness.flush(),
                _ => {}
            }
        }
        harness.flush();
        still_serves(&mut harness);
        harness.flush();
        harness.crash().expect("what was written is read");
        assert!(harness.faults.is_empty());
    }
}
