//! How many headers a core reads and writes per second.
//!
//! `cargo bench -p ringmq-protocol`. Each figure is the best of many short rounds, because the machine
//! may be doing something else as well. The target is 2 million SEND_MESSAGE_V2 headers per second,
//! in JSON, parsed and decoded.

// A benchmark measures time; the room itself may not.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use ringmq_protocol::bodies::{self, route::TopicRouteData};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{Head, begin};
use ringmq_protocol::frame::{Spelling, split};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pull::{PullHeader, PullReply};
use ringmq_protocol::headers::send::{SendHeader, SendReply, ShortSendHeader};
use ringmq_protocol::properties;
use ringmq_protocol::record::{Message, PropertyParts};
use ringmq_protocol::text::Text;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 400;
const CALLS: u32 = 2_000;

/// Prints the nanoseconds per call and the calls per second of the best round.
fn measure(what: &str, mut call: impl FnMut()) {
    // `cargo bench -p ringmq-protocol -- JSON` measures only what has JSON in its name.
    if std::env::args().skip(1).any(|only| !only.starts_with('-') && !what.contains(&only)) {
        return;
    }
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(CALLS));
    }
    println!("{what:<44} {:>8.1} ns {:>8.2} M/s", best * 1e9, 1e-6 / best);
}

/// What the Java client 5.x sends for a message with a tag and a key.
const JAVA_SEND: &str = concat!(
    r#"{"code":310,"extFields":{"a":"please_rename_unique_group_name","b":"TopicTest","c":"TBW102","#,
    r#""d":"4","e":"2","f":"0","g":"1700000000123","h":"0","#,
    r#""i":"UNIQ_KEY\u00017F0000013A2818B4AAC2123456780001\u0002WAIT\u0001true\u0002TAGS\u0001TagA\u0002KEYS\u0001OrderID188\u0002","#,
    r#""j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":12345,"#,
    r#""serializeTypeCurrentRPC":"JSON","version":477}"#
);

fn json_frame(header: &str) -> Vec<u8> {
    let mut frame = (4 + header.len() as u32 + 1024).to_be_bytes().to_vec();
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.resize(frame.len() + 1024, b'x');
    frame
}

fn again(frame: &[u8], spelling: Spelling) -> Vec<u8> {
    let command = Command::parse(split(frame).unwrap().unwrap()).unwrap();
    let header = ShortSendHeader(SendHeader::decode(&command.ext).unwrap());
    let mut out = Vec::new();
    let head = Head::request(spelling, command.code, command.opaque);
    begin(&mut out, &head).header(&header).finish_with(command.body).unwrap();
    out
}

fn parse(frame: &[u8]) -> Command<'_> {
    Command::parse(split(frame).unwrap().unwrap()).unwrap()
}

fn main() {
    let json = json_frame(JAVA_SEND);
    let binary = again(&json, Spelling::Binary);
    for (name, frame) in [("JSON", &json), ("binary", &binary)] {
        measure(&format!("send v2, {name}: split"), || {
            black_box(split(black_box(frame)).unwrap());
        });
        measure(&format!("send v2, {name}: parse"), || {
            black_box(&parse(black_box(frame)));
        });
        measure(&format!("send v2, {name}: parse + decode"), || {
            let command = parse(black_box(frame));
            black_box(&SendHeader::decode(&command.ext).unwrap());
        });
        let mut scratch = Vec::new();
        measure(&format!("send v2, {name}: parse + decode + properties"), || {
            let command = parse(black_box(frame));
            let header = SendHeader::decode(&command.ext).unwrap();
            scratch.clear();
            header.properties.decode_into(&mut scratch);
            black_box((&header, &scratch));
        });
    }
    pulls();
    replies();
    records(&json);
    routes();
}

fn pulls() {
    let header = PullHeader {
        consumer_group: Text::plain("please_rename_unique_group_name_4"),
        topic: Text::plain("TopicTest"),
        queue_id: 3,
        queue_offset: 123_456,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 123_400,
        suspend_timeout_millis: 15_000,
        subscription: None,
        sub_version: 1_700_000_000_123,
        expression_type: Some(Text::plain("TAG")),
        max_msg_bytes: Some(i32::MAX),
        request_source: Some(0),
        proxy_forward_client_id: None,
    };
    for spelling in [Spelling::Json, Spelling::Binary] {
        let mut frame = Vec::new();
        begin(&mut frame, &Head::request(spelling, 11, 7)).header(&header).finish(0).unwrap();
        measure(&format!("pull, {spelling:?}: parse + decode"), || {
            let command = parse(black_box(&frame));
            black_box(&PullHeader::decode(&command.ext).unwrap());
        });
    }
}

fn replies() {
    let send = SendReply {
        msg_id: Text::plain("C0A8010200002A9F0000000000001234"),
        queue_id: 2,
        queue_offset: 123_456,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    };
    let pull = PullReply {
        suggest_which_broker_id: 0,
        next_begin_offset: 123_457,
        min_offset: 0,
        max_offset: 200_000,
        offset_delta: None,
        topic_sys_flag: Some(0),
        group_sys_flag: Some(0),
        forbidden_type: None,
    };
    for spelling in [Spelling::Json, Spelling::Binary] {
        let mut out = Vec::new();
        measure(&format!("send reply, {spelling:?}: encode"), || {
            out.clear();
            let head = Head::response(spelling, 0, black_box(7));
            let encoder = begin(&mut out, &head).header(black_box(&send));
            let encoder = encoder.pair("MSG_REGION", "DefaultRegion").pair("TRACE_ON", "true");
            black_box(encoder.finish(0).unwrap());
        });
        measure(&format!("pull reply, {spelling:?}: encode"), || {
            out.clear();
            let head = Head::response(spelling, 0, black_box(7)).with_remark("FOUND");
            black_box(begin(&mut out, &head).header(black_box(&pull)).finish(4096).unwrap());
        });
    }
}

fn records(frame: &[u8]) {
    let command = parse(frame);
    let header = SendHeader::decode(&command.ext).unwrap();
    let decoded = header.properties.to_cow();
    measure("properties: find the last of four", || {
        black_box(properties::find(black_box(&decoded), "KEYS"));
    });
    let message = Message {
        topic: "TopicTest",
        queue_id: 2,
        flag: 0,
        queue_offset: 5,
        physical_offset: 4096,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_123,
        born_host: "10.0.0.9:43210".parse().unwrap(),
        store_timestamp: 1_700_000_000_456,
        store_host: "10.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: command.body,
        properties: PropertyParts {
            original: &decoded,
            without: &["WAIT"],
            extra: &[("MSG_REGION", "DefaultRegion"), ("TRACE_ON", "true")],
        },
    };
    let mut bytes = vec![0; message.size().unwrap().total];
    measure("record of 1 KiB: size + encode with crc", || {
        let message = black_box(&message);
        let size = message.size().unwrap();
        black_box(message.encode_into(&mut bytes, &size));
    });
}

fn routes() {
    let body = br#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"broker-a",
        "cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a",
        "perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;
    let route: TopicRouteData = bodies::decode(body).unwrap();
    let mut out = Vec::new();
    measure("route: encode", || {
        out.clear();
        bodies::encode(black_box(&route), &mut out);
        black_box(&out);
    });
}
