//! Conversations with a name server: frames in, frames out, time given.

use std::net::SocketAddr;

use ringmq_protocol::bodies::register::{RegisterBrokerBody, body_crc};
use ringmq_protocol::bodies::topic::{DataVersion, TopicConfig, TopicConfigTable};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::text::Text;

use super::*;
use crate::event::CoreId;
use crate::metadata::Metadata;
use crate::settings::{Given, Host, Settings, load};
use crate::topic::{Change, Perm, Registration, TopicSpec, next_version};

/// A name server and the clock it is told.
struct World {
    server: NameServer,
    now: Now,
    local: SocketAddr,
}

#[derive(Debug, PartialEq)]
struct Reply {
    code: i32,
    remark: String,
    fields: Vec<(String, String)>,
    body: String,
}

fn conn(slot: u32) -> ConnId {
    ConnId { core: CoreId(0), slot, generation: 1 }
}

fn host() -> Host {
    Host { name: "b".to_owned(), home: "/home/mq".to_owned() }
}

impl World {
    fn new(settings: &str) -> Self {
        let loaded = load(&host(), Given { file: Some(("n.conf", settings)), flags: &[] }).unwrap();
        let now = Now { wall_ms: 1_700_000_000_000, mono_us: 0 };
        let server = NameServer::new(now, loaded, KvConfig::default());
        World { server, now, local: "192.168.1.5:9876".parse().unwrap() }
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { wall_ms: self.now.wall_ms + ms as i64, mono_us: self.now.mono_us + ms * 1_000 };
    }

    /// Everything the name server sends in answer to one request.
    fn all(&mut self, from: u32, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        let mut encoder = encode::begin(&mut bytes, &Head::request(Spelling::Json, code, 7));
        for (key, value) in fields {
            encoder.foreign(key, Text::plain(value));
        }
        encoder.finish_with(body).unwrap();
        let command = Command::parse(frame::split(&bytes).unwrap().unwrap()).unwrap();
        let origin = Origin { conn: conn(from), peer: "10.1.1.1:5000".parse().unwrap(), local: self.local };
        let mut out = Effects::default();
        self.server.apply(self.now, NamesrvInput::Request { origin, command: &command }, &mut out);
        replies(&out)
    }

    fn ask(&mut self, code: i32, fields: &[(&str, &str)]) -> Reply {
        let mut replies = self.all(1, code, fields, &[]);
        assert_eq!(replies.len(), 1, "one answer to {code}");
        replies.remove(0)
    }

    fn route(&mut self, topic: &str) -> Reply {
        self.ask(105, &[("topic", topic)])
    }

    fn register(&mut self, from: u32, broker: &Broker) -> Reply {
        let body = broker.body();
        let crc = body_crc(&body).to_string();
        let id = broker.id.to_string();
        let fields = [
            ("brokerName", broker.name),
            ("brokerAddr", broker.addr),
            ("clusterName", "C"),
            ("haServerAddr", "10.0.0.9:10912"),
            ("brokerId", id.as_str()),
            ("bodyCrc32", crc.as_str()),
            ("compressed", if broker.compressed { "true" } else { "false" }),
        ];
        self.all(from, 103, &fields, &body).remove(0)
    }

    fn tick(&mut self) -> Vec<ConnId> {
        let mut out = Effects::default();
        self.server.apply(self.now, NamesrvInput::Tick, &mut out);
        out.closes
    }
}

fn replies(out: &Effects) -> Vec<Reply> {
    out.sends
        .iter()
        .map(|send| {
            let bytes = &out.bytes[send.start as usize..send.end as usize];
            let command = Command::parse(frame::split(bytes).unwrap().unwrap()).unwrap();
            assert!(command.is_response() && command.opaque == 7);
            Reply {
                code: command.code,
                remark: command.remark.map(|text| text.to_cow().into_owned()).unwrap_or_default(),
                fields: command.ext.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                body: String::from_utf8(command.body.to_vec()).unwrap(),
            }
        })
        .collect()
}

/// A broker on the other end of a connection.
#[derive(Clone)]
struct Broker {
    name: &'static str,
    addr: &'static str,
    id: i64,
    version: i64,
    topics: Vec<(&'static str, i32, i32)>,
    compressed: bool,
}

impl Broker {
    fn a() -> Self {
        let topics = vec![("t", 8, 6), ("TBW102", 8, 7)];
        Broker { name: "a", addr: "10.0.0.1:10911", id: 0, version: 1, topics, compressed: false }
    }

    fn body(&self) -> Vec<u8> {
        let config = |&(name, queues, perm): &(&str, i32, i32)| {
            let config = TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm,
                ..TopicConfig::default()
            };
            (name.to_owned(), config)
        };
        let table = TopicConfigTable {
            data_version: DataVersion { counter: self.version, ..DataVersion::default() },
            topic_config_table: self.topics.iter().map(config).collect(),
            ..TopicConfigTable::default()
        };
        let body = RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper: table };
        if self.compressed { body.encode_compressed() } else { body.encode_plain() }
    }
}

#[test]
fn a_registered_topic_is_routed_until_its_broker_goes() {
    let mut world = World::new("");
    let unknown = world.route("t");
    assert_eq!(unknown.code, 17);
    assert!(unknown.remark.starts_with("No topic route info in name server for the topic: t."));
    for compressed in [false, true] {
        assert_eq!(world.register(9, &Broker { compressed, ..Broker::a() }).code, 0);
        assert_eq!(
            world.route("t").body,
            concat!(
                r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"a","cluster":"C","#,
                r#""enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"#,
                r#""readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#
            )
        );
        let fields = [("brokerName", "a"), ("brokerAddr", "10.0.0.1:10911"), ("clusterName", "C"), ("brokerId", "0")];
        assert_eq!(world.ask(104, &fields).code, 0);
        assert_eq!(world.route("t").code, 17);
        assert_eq!(world.ask(106, &[]).body, r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
    }
}

#[test]
fn a_broker_is_gone_with_its_connection_or_after_two_minutes_of_silence() {
    let mut world = World::new("");
    world.register(9, &Broker::a());
    let mut out = Effects::default();
    world.server.apply(world.now, NamesrvInput::Closed { conn: conn(9) }, &mut out);
    assert_eq!(world.route("t").code, 17);
    world.register(10, &Broker::a());
    world.pass(100_000);
    assert_eq!(world.tick(), []);
    let light = [("brokerName", "a"), ("brokerAddr", "10.0.0.1:10911"), ("clusterName", "C")];
    assert_eq!(world.ask(904, &light).code, 0);
    world.pass(119_000);
    assert_eq!(world.tick(), []);
    assert_eq!(world.route("t").code, 0);
    world.pass(6_000);
    assert_eq!(world.tick(), [conn(10)]);
    assert_eq!(world.route("t").code, 17);
}

#[test]
fn topics_are_taken_when_the_version_changed_and_kept_otherwise() {
    let mut world = World::new("");
    world.register(9, &Broker::a());
    assert_eq!(world.ask(205, &[("brokerName", "a")]).fields, [("wipeTopicCount".to_owned(), "2".to_owned())]);
    assert!(world.route("t").body.contains(r#""perm":4"#));
    world.register(9, &Broker::a());
    assert!(world.route("t").body.contains(r#""perm":4"#), "the same version brings nothing back");
    assert_eq!(world.ask(327, &[("brokerName", "a")]).fields, [("addTopicCount".to_owned(), "2".to_owned())]);
    assert!(world.route("TBW102").body.contains(r#""perm":6"#));
    world.register(9, &Broker { version: 2, topics: vec![("u", 1, 6), ("TBW102", 8, 7)], ..Broker::a() });
    assert!(world.route("TBW102").body.contains(r#""perm":7"#));
    assert_eq!(world.route("t").code, 0, "a topic that is not mentioned stays");
    let same = br#"{"counter":2,"stateVersion":0,"timestamp":0}"#;
    let fields = [("brokerName", "a"), ("brokerAddr", "10.0.0.1:10911"), ("clusterName", "C"), ("brokerId", "0")];
    let asked = world.all(9, 322, &fields, same).remove(0);
    assert_eq!((asked.fields, asked.body.as_bytes()), (vec![("changed".to_owned(), "false".to_owned())], &same[..]));
    let complete = Broker { version: 3, topics: vec![("u", 1, 6), ("v", 1, 6)], ..Broker::a() };
    let mut strict = World::new("deleteTopicWithBrokerRegistration=true");
    strict.register(9, &Broker::a());
    strict.register(9, &complete);
    assert_eq!((strict.route("t").code, strict.route("u").code), (17, 0));
}

#[test]
fn odd_registrations_are_refused() {
    let mut world = World::new("");
    let single = Broker { topics: vec![("t", 1, 6)], ..Broker::a() };
    assert_eq!(world.register(9, &single).code, 1);
    let fields =
        [("brokerName", "a"), ("brokerAddr", "x"), ("clusterName", "C"), ("haServerAddr", ""), ("brokerId", "0")];
    let mut with_crc = fields.to_vec();
    with_crc.push(("bodyCrc32", "5"));
    assert_eq!(
        world.all(9, 103, &with_crc, b"{}").remove(0).remark,
        "the registration's crc32 does not match its body"
    );
    assert_eq!(world.all(9, 103, &fields, b"{").remove(0).code, 1);
    assert_eq!(world.all(9, 103, &fields[1..], b"").remove(0).remark, "bad request header: brokerName is missing");
    assert_eq!(world.ask(106, &[]).body, r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
}

#[test]
fn a_slave_learns_its_master_and_brings_no_topics() {
    let mut world = World::new("");
    world.register(9, &Broker::a());
    let slave = Broker { addr: "10.0.0.2:10911", id: 1, topics: vec![("s", 1, 6), ("r", 1, 6)], ..Broker::a() };
    let told = world.register(10, &slave);
    assert_eq!(
        told.fields,
        [
            ("haServerAddr".to_owned(), "10.0.0.9:10912".to_owned()),
            ("masterAddr".to_owned(), "10.0.0.1:10911".to_owned())
        ]
    );
    assert_eq!(world.route("s").code, 17);
    assert!(world.route("t").body.contains(r#""brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"}"#));
    let group = world.ask(901, &[("clusterName", "C"), ("brokerName", "a")]).body;
    assert_eq!(
        group,
        r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"a","cluster":"C"}}"#
    );
    // The slave becomes the master: the old master's place is taken, and its own old one is gone.
    let promoted = Broker { id: 0, version: 9, ..slave };
    world.register(10, &promoted);
    assert!(world.route("t").body.contains(r#""brokerAddrs":{"0":"10.0.0.2:10911"}"#));
}

#[test]
fn lists_are_as_tools_read_them() {
    let mut world = World::new("");
    world.register(9, &Broker::a());
    world.register(
        10,
        &Broker { name: "b", addr: "10.0.0.2:10911", topics: vec![("only-b", 1, 6), ("t", 1, 6)], ..Broker::a() },
    );
    assert_eq!(world.ask(206, &[]).body, r#"{"topicList":["TBW102","t","only-b"]}"#);
    assert_eq!(world.ask(224, &[("cluster", "C")]).body, r#"{"topicList":["TBW102","t","only-b"]}"#);
    assert_eq!(world.ask(224, &[("cluster", "D")]).body, r#"{"topicList":[]}"#);
    assert_eq!(world.ask(304, &[]).body, r#"{"brokerAddr":"10.0.0.1:10911","topicList":["C","a","b"]}"#);
    assert_eq!(world.ask(311, &[]).body, r#"{"topicList":[]}"#);
    assert_eq!(
        world.ask(106, &[]).body,
        concat!(
            r#"{"brokerAddrTable":{"a":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"a","cluster":"C","#,
            r#""enableActingMaster":false},"b":{"brokerAddrs":{"0":"10.0.0.2:10911"},"brokerName":"b","cluster":"C","#,
            r#""enableActingMaster":false}},"clusterAddrTable":{"C":["a","b"]}}"#
        )
    );
    assert_eq!(world.ask(216, &[("topic", "t")]).code, 0);
    assert_eq!(world.route("t").code, 17);
    let mut off = World::new("enableAllTopicList=false");
    assert_eq!(off.ask(206, &[]).remark, "the name server does not list topics (enableAllTopicList=false)");
}

#[test]
fn key_values_are_answered_when_the_file_holds_them() {
    let mut world = World::new("orderMessageEnable=true\nkvConfigPath=/kv.json");
    world.register(9, &Broker::a());
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "t"), ("value", "a:8")];
    assert!(world.all(1, 100, &order, &[]).is_empty(), "not before the file is written");
    let file = world.server.next_file().unwrap();
    assert_eq!(file.path, "/kv.json");
    assert!(
        KvConfig::read(std::str::from_utf8(&file.bytes).unwrap()).unwrap().get("ORDER_TOPIC_CONFIG", "t").is_some()
    );
    assert!(world.server.next_file().is_none(), "one at a time");
    let mut out = Effects::default();
    world.server.apply(world.now, NamesrvInput::FileWritten(Ok(())), &mut out);
    assert_eq!(replies(&out)[0].code, 0);
    assert!(world.server.next_file().is_none());
    assert!(world.route("t").body.contains(r#""orderTopicConf":"a:8""#));
    assert_eq!(world.ask(101, &order[..2]).fields, [("value".to_owned(), "a:8".to_owned())]);
    assert_eq!(world.ask(219, &order[..1]).body, r#"{"table":{"t":"a:8"}}"#);
    assert_eq!(world.register(9, &Broker::a()).body, r#"{"table":{"t":"a:8"}}"#);
    assert!(world.all(1, 102, &order[..2], &[]).is_empty());
    assert!(world.server.next_file().is_some());
    let mut out = Effects::default();
    world.server.apply(world.now, NamesrvInput::FileWritten(Err(DiskError { errno: 28 })), &mut out);
    assert_eq!(replies(&out)[0].code, 1);
    assert_eq!(world.ask(101, &order[..2]).code, 22);
    assert_eq!(world.ask(102, &order[..2]).code, 0, "an absent key is deleted already");
    assert_eq!(world.ask(219, &[("namespace", "none")]).code, 22);
}

#[test]
fn settings_are_shown_and_changed() {
    let mut world = World::new("");
    assert!(world.ask(319, &[]).body.contains("\norderMessageEnable=false\n"));
    let change = |world: &mut World, text: &str| world.all(1, 318, &[], text.as_bytes()).remove(0);
    assert_eq!(change(&mut world, "orderMessageEnable=true").code, 0);
    assert!(world.ask(319, &[]).body.contains("\norderMessageEnable=true\n"));
    assert_eq!(change(&mut world, "kvConfigPath=/x").code, 16);
    assert_eq!(change(&mut world, "listenPort=1").code, 29);
}

#[test]
fn unknown_codes_are_named_and_a_young_server_may_wait() {
    let mut world = World::new("needWaitForService=true\nwaitSecondsForService=10");
    let refused = world.ask(310, &[]);
    assert_eq!(
        (refused.code, refused.remark.as_str()),
        (3, "request type 310 (SEND_MESSAGE_V2) not supported by a name server")
    );
    assert_eq!(world.ask(99_999, &[]).remark, "request type 99999 (unknown) not supported by a name server");
    world.register(9, &Broker::a());
    assert_eq!(world.route("t").code, 1);
    world.pass(10_000);
    assert_eq!(world.route("t").code, 0);
}

#[test]
fn the_broker_in_this_process_is_announced_as_it_was_reached() {
    let settings = crate::settings::BrokerSettings::defaults(&host());
    let mut metadata = Metadata::new(settings, 1);
    let mut version = DataVersion::default();
    let mut world = World::new("");
    let announce = |world: &mut World, metadata: &Metadata, registration: &Registration| {
        let mut telling = Telling::new(registration.clone());
        while let Some(part) = telling.next_part(metadata, 1) {
            world.server.apply(world.now, NamesrvInput::Announced(part), &mut Effects::default());
        }
    };
    for name in ["TBW102", "b"] {
        let topic = metadata.topics.plan(TopicSpec::plain(name, 8, Perm(7)));
        metadata.apply(&Change::TopicPut(topic));
    }
    announce(&mut world, &metadata, &Registration::all(version));
    assert!(world.route("b").body.contains(r#""brokerAddrs":{"0":"192.168.1.5:10911"}"#));
    world.local = "127.0.0.1:9876".parse().unwrap();
    assert!(world.route("b").body.contains(r#""brokerAddrs":{"0":"127.0.0.1:10911"}"#));
    assert!(world.ask(106, &[]).body.contains(r#""brokerAddrs":{"0":"127.0.0.1:10911"}"#));
    let topic = metadata.topics.plan(TopicSpec::plain("new", 4, Perm::READ_WRITE));
    metadata.apply(&Change::TopicPut(topic));
    version = next_version(version, world.now);
    announce(&mut world, &metadata, &Registration::put(version, "new"));
    assert!(world.route("new").body.contains(r#""perm":6,"readQueueNums":4"#));
    metadata.apply(&Change::TopicDrop { name: "new".into() });
    version = next_version(version, world.now);
    announce(&mut world, &metadata, &Registration::dropped(version, "new"));
    assert_eq!((world.route("new").code, world.route("b").code), (17, 0));
    world.pass(1_000_000);
    assert_eq!(world.tick(), []);
    assert_eq!(world.route("b").code, 0, "it does not fall silent");
}

#[test]
fn a_broker_registers_at_another_process_with_the_frame_it_encodes() {
    let settings = crate::settings::BrokerSettings::defaults(&host());
    let mut metadata = Metadata::new(settings, 1);
    for name in ["TBW102", "b", "t"] {
        let topic = metadata.topics.plan(TopicSpec::plain(name, 2, Perm::READ_WRITE));
        metadata.apply(&Change::TopicPut(topic));
    }
    let mut telling = Telling::new(Registration::all(DataVersion::default()));
    let mut world = World::new("");
    let mut parts = 0;
    while let Some(part) = telling.next_part(&metadata, 2) {
        parts += 1;
        let mut bytes = Vec::new();
        part.encode_register("fd00::7", 7, true, &mut bytes).unwrap();
        let command = Command::parse(frame::split(&bytes).unwrap().unwrap()).unwrap();
        let origin = Origin { conn: conn(3), peer: "10.1.1.1:5000".parse().unwrap(), local: world.local };
        let mut out = Effects::default();
        world.server.apply(world.now, NamesrvInput::Request { origin, command: &command }, &mut out);
        assert_eq!(replies(&out)[0].code, 0);
    }
    assert_eq!(parts, 2);
    for topic in ["TBW102", "b", "t"] {
        assert!(world.route(topic).body.contains(r#""0":"[fd00::7]:10911""#), "{topic}");
    }
    // What all was told as of is known; anything else is not.
    for (counter, changed) in [(0, "false"), (1, "true")] {
        let version = DataVersion { counter, ..DataVersion::default() };
        let mut bytes = Vec::new();
        Announcement::head(&metadata, version).encode_query_version("fd00::7", 8, &mut bytes).unwrap();
        let command = Command::parse(frame::split(&bytes).unwrap().unwrap()).unwrap();
        let origin = Origin { conn: conn(3), peer: "10.1.1.1:5000".parse().unwrap(), local: world.local };
        let mut out = Effects::default();
        world.server.apply(world.now, NamesrvInput::Request { origin, command: &command }, &mut out);
        let text = String::from_utf8_lossy(&out.bytes).into_owned();
        assert!(text.contains(&format!(r#""changed":"{changed}""#)), "{text}");
    }
}
