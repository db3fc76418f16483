//! Bits flipped in a shard's log while it runs and while it is down: what is served is what was sent, or nothing and the reason.
//!
//! Owns a world of one shard with small segments, a producer and consumers by PULL, POP, id and key. The flips may hit any byte
//! that is durable; what is in memory is not the disk's to damage.

use proptest::prelude::*;
use ringmq_core::event::{Origin, ShardId};
use ringmq_core::harness::Harness;
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::properties;
use ringmq_protocol::record;

const QUEUES: usize = 3;
const SHARD: ShardId = ShardId(0);

/// An answer: code, remark, fields that matter here, body.
struct Answer {
    code: i32,
    remark: String,
    next: Option<i64>,
    /// Where a message that was sent lies.
    place: Option<i64>,
    body: Vec<u8>,
}

struct World {
    harness: Harness,
    client: Origin,
    opaque: i32,
    /// Bodies and message ids, by queue and offset.
    sent: [Vec<(Vec<u8>, String)>; QUEUES],
    /// Where the messages lie.
    places: Vec<i64>,
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::with_sizes(1, "", 256 << 10, 2 << 20);
        let client = harness.connect(SHARD);
        let mut world = World { harness, client, opaque: 0, sent: Default::default(), places: Vec::new() };
        let fields = [
            ("topic", "T".to_owned()),
            ("defaultTopic", "TBW102".to_owned()),
            ("readQueueNums", QUEUES.to_string()),
            ("writeQueueNums", QUEUES.to_string()),
            ("perm", "6".to_owned()),
            ("topicFilterType", "SINGLE_TAG".to_owned()),
            ("topicSysFlag", "0".to_owned()),
            ("order", "false".to_owned()),
        ];
        let answer = world.ask(17, &fields, &[]);
        assert_eq!(answer.code, 0, "{}", answer.remark);
        world
    }

    fn ask(&mut self, code: i32, fields: &[(&str, String)], body: &[u8]) -> Answer {
        self.opaque += 1;
        let mut bytes = Vec::new();
        let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, code, self.opaque));
        for (key, value) in fields {
            encoder = encoder.pair(key, value);
        }
        encoder.finish_with(body).unwrap();
        self.harness.request(self.client, &bytes);
        let answer = self.harness.take(self.client.conn).expect("everything is served at once");
        let parts = frame::split(&answer).unwrap().unwrap();
        let command = Command::parse(parts).unwrap();
        Answer {
            code: command.code,
            remark: command.remark.map(|remark| remark.to_cow().into_owned()).unwrap_or_default(),
            place: command.ext.get("msgId").and_then(|id| OffsetId::decode(&id.to_cow())).map(|id| id.offset),
            next: command.ext.get("nextBeginOffset").and_then(|next| next.parse_i64()),
            body: command.body.to_vec(),
        }
    }

    fn send(&mut self, queue: usize, len: usize) {
        let n = self.sent.iter().map(Vec::len).sum::<usize>();
        let mut body = format!("{n} ").into_bytes();
        body.extend((0..len).map(|at| (at * 31 + n) as u8));
        let text = properties::build([("UNIQ_KEY", &*format!("U{n}"))]);
        let fields = [
            ("a", "PG".to_owned()),
            ("b", "T".to_owned()),
            ("e", queue.to_string()),
            ("f", "0".to_owned()),
            ("g", "1".to_owned()),
            ("h", "0".to_owned()),
            ("i", text),
        ];
        let answer = self.ask(310, &fields, &body);
        assert_eq!(answer.code, 0, "{}", answer.remark);
        self.places.extend(answer.place);
        self.sent[queue].push((body, format!("U{n}")));
        self.harness.flush();
    }

    fn flip(&mut self, at: u64, bit: u8) {
        let disk = &mut self.harness.nodes[0].disk;
        let (base, file) = disk.segments.range_mut(..=at).next_back().expect("it was written");
        file[(at - base) as usize] ^= 1 << bit;
    }

    /// Reads a queue as a consumer does; gives the offsets that it was led past.
    fn consume(&mut self, queue: usize) -> Vec<i64> {
        let (mut offset, mut lost) = (0, Vec::new());
        while (offset as usize) < self.sent[queue].len() {
            let fields = [
                ("consumerGroup", "G".to_owned()),
                ("topic", "T".to_owned()),
                ("queueId", queue.to_string()),
                ("queueOffset", offset.to_string()),
                ("maxMsgNums", "32".to_owned()),
                ("sysFlag", "4".to_owned()),
                ("commitOffset", "0".to_owned()),
                ("suspendTimeoutMillis", "0".to_owned()),
                ("subscription", "*".to_owned()),
                ("subVersion", "0".to_owned()),
            ];
            let answer = self.ask(11, &fields, &[]);
            let next = answer.next.unwrap_or_else(|| panic!("{} {}", answer.code, answer.remark));
            assert!(next > offset, "a consumer gets on: {} {}", answer.code, answer.remark);
            match answer.code {
                0 => {
                    for record in record::iter(&answer.body) {
                        let record = record.expect("whole records are served");
                        assert_eq!(record.queue_offset(), offset, "none is passed over silently");
                        assert_eq!(record.body(), self.sent[queue][offset as usize].0);
                        offset += 1;
                    }
                    assert_eq!(offset, next);
                }
                20 => {
                    assert!(answer.remark.starts_with("MESSAGE_DAMAGED"), "{}", answer.remark);
                    assert!(answer.remark.contains(".log bytes "), "{}", answer.remark);
                    lost.extend(offset..next);
                    offset = next;
                }
                code => panic!("{code} {}", answer.remark),
            }
        }
        lost
    }

    /// Looks each message up by its key; gives whether it was there.
    fn find(&mut self, queue: usize, offset: i64) -> bool {
        let (body, key) = self.sent[queue][offset as usize].clone();
        let fields = [
            ("topic", "T".to_owned()),
            ("key", key),
            ("maxNum", "32".to_owned()),
            ("beginTimestamp", "0".to_owned()),
            ("endTimestamp", i64::MAX.to_string()),
            ("_UNIQUE_KEY_QUERY", "true".to_owned()),
        ];
        let answer = self.ask(12, &fields, &[]);
        match answer.code {
            0 => {
                let records: Vec<_> =
                    record::iter(&answer.body).map(|record| record.unwrap().body().to_vec()).collect();
                assert_eq!(records, [body]);
                true
            }
            1 => {
                assert!(answer.remark.starts_with("MESSAGE_DAMAGED"), "{}", answer.remark);
                false
            }
            code => panic!("{code} {}", answer.remark),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_damaged_is_served(
        sends in proptest::collection::vec((0..QUEUES, 10usize..9_000), 20..120),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        restart: bool,
    ) {
        let mut world = World::new();
        for (queue, len) in &sends {
            world.send(*queue, *len);
        }
        if restart {
            // With a checkpoint that covers everything, so that no start replays what is damaged below.
            world.harness.restart().unwrap();
            world.client = world.harness.connect(SHARD);
        }
        // Everything is read from the disk: what is in memory is not damaged.
        for _ in 0..3 {
            world.send(0, 900_000 / 4);
        }
        let cold_to = world.harness.shard(SHARD).log.resident_from().0;
        prop_assume!(cold_to > 0);
        for (at, bit) in &flips {
            world.flip(at.index(cold_to as usize) as u64, *bit);
        }
        let mut lost = 0;
        for queue in 0..QUEUES {
            let gone = world.consume(queue);
            lost += gone.len() as u64;
            for offset in 0..world.sent[queue].len() as i64 {
                prop_assert_eq!(world.find(queue, offset), !gone.contains(&offset), "queue {} offset {}", queue, offset);
            }
        }
        let counts = world.harness.shard(SHARD).counts;
        prop_assert_eq!(counts.messages_damaged, lost);
        prop_assert!(lost == 0 || counts.frames_damaged > 0);
        // Again: the same is lost, and nothing is reported twice.
        let mut again = 0;
        for queue in 0..QUEUES {
            again += world.consume(queue).len() as u64;
        }
        prop_assert_eq!(again, lost);
        prop_assert_eq!(world.harness.shard(SHARD).counts.frames_damaged, counts.frames_damaged);
    }
}

#[test]
fn a_message_id_into_damage_is_refused_with_the_reason() {
    let mut world = World::new();
    for _ in 0..30 {
        world.send(0, 200_000);
    }
    let resident = world.harness.shard(SHARD).log.resident_from().0;
    assert!(resident > 0);
    let place = world.places[1];
    world.flip(place as u64 + 5_000, 3);
    let answer = world.ask(33, &[("offset", place.to_string())], &[]);
    assert_eq!(answer.code, 1);
    assert!(answer.remark.starts_with("MESSAGE_DAMAGED") && answer.remark.contains(".log bytes "), "{}", answer.remark);
}
