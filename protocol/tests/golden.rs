//! Frames that real clients and the Apache broker wrote, and what they mean.
//!
//! Walks `tests/golden` of the repository (its README has the format). The meanings were made by an
//! independent decoder, so a misunderstanding of ours cannot hide on both sides. Every frame is read,
//! compared member by member, decoded into its typed header and body, and written again in both
//! spellings.

// Reading the captured files is this test's job; the room itself opens none.
#![allow(clippy::disallowed_methods)]

use ringmq_protocol::batch;
use ringmq_protocol::bodies::{
    self, connection::ConsumerIdList, heartbeat::CheckClientConfig, heartbeat::HeartbeatData, lock::LockBatchReply,
    lock::LockBatchRequest, register::RegisterBrokerBody, topic::DataVersion, topic::GroupList, topic::TopicList,
};
use ringmq_protocol::bodies::{cluster::ClusterInfo, cluster::KvTable, route::TopicRouteData};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{Head, begin};
use ringmq_protocol::ext::Ext;
use ringmq_protocol::frame::{Spelling, needed, split};
use ringmq_protocol::header::{FieldSink, Header};
use ringmq_protocol::headers::{client, group, namesrv, offset, pop, pull, send, topic, transaction};
use ringmq_protocol::properties;
use ringmq_protocol::record;
use ringmq_protocol::request_code::RequestCode;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Fewer frames than this means that the directory was not found or not filled.
const LEAST_FRAMES: usize = 100;

#[test]
fn every_golden_frame_means_what_it_should() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let entries = std::fs::read_dir(&directory).expect("tests/golden exists");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "hex"));
    paths.sort();
    assert!(paths.len() >= LEAST_FRAMES, "only {} frames in {}", paths.len(), directory.display());
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let digits = std::fs::read_to_string(&path).unwrap();
        let meaning = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let frame = Golden { name: &name, bytes: &unhex(&digits), meaning: &serde_json::from_str(&meaning).unwrap() };
        frame.check();
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

struct Golden<'a> {
    name: &'a str,
    bytes: &'a [u8],
    meaning: &'a Value,
}

impl Golden<'_> {
    fn int(&self, member: &str) -> i64 {
        self.meaning[member].as_i64().unwrap_or_else(|| panic!("{}: no {member}", self.name))
    }

    fn check(&self) {
        let name = self.name;
        let frame = split(self.bytes).unwrap().unwrap_or_else(|| panic!("{name}: incomplete"));
        assert_eq!(frame.total_len as i64, self.int("frame_len"), "{name}");
        assert_eq!(frame.total_len, self.bytes.len(), "{name}");
        assert_eq!(needed(&self.bytes[..4]), Ok(frame.total_len), "{name}");
        assert_eq!(frame.header.len() as i64, self.int("header_len"), "{name}");
        assert_eq!(frame.body.len() as i64, self.int("body_len"), "{name}");
        let crc = if frame.body.is_empty() { 0 } else { crc32fast::hash(frame.body) };
        assert_eq!(i64::from(crc), self.int("body_crc32"), "{name}");
        let command = Command::parse(frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.check_head(&command);
        self.check_ext(&command.ext);
        self.check_records(&command);
        self.check_batch(&command);
        check_header(name, &command, self.int("request_code"));
        check_body(name, &command, self.int("request_code"));
        self.check_written_again(&command);
    }

    fn check_head(&self, command: &Command<'_>) {
        let name = self.name;
        let meant = if command.is_response() { "code" } else { "request_code" };
        assert_eq!(i64::from(command.code), self.int(meant), "{name}");
        if !command.is_response() {
            let code = RequestCode::from_i32(command.code).map(RequestCode::name);
            assert_eq!(code, self.meaning["request_name"].as_str(), "{name}");
        }
        assert_eq!(i64::from(command.flag), self.int("flag"), "{name}");
        assert_eq!(i64::from(command.version), self.int("version"), "{name}");
        assert_eq!(i64::from(command.opaque), self.int("opaque"), "{name}");
        assert_eq!(command.language.name(), self.meaning["language"], "{name}");
        let spelling = match command.spelling {
            Spelling::Json => "json",
            Spelling::Binary => "binary",
        };
        assert_eq!(self.meaning["spelling"], spelling, "{name}");
        let remark = command.remark.filter(|remark| !remark.is_empty());
        assert_eq!(remark.map(|r| r.to_cow().into_owned()).as_deref(), self.meaning["remark"].as_str());
    }

    fn check_ext(&self, ext: &Ext<'_>) {
        let meant = self.meaning["ext"].as_object();
        let meant: BTreeMap<_, _> = meant
            .iter()
            .flat_map(|object| object.iter())
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(map_of(ext), meant, "{}", self.name);
    }

    fn check_records(&self, command: &Command<'_>) {
        let Some(meant) = self.meaning["records"].as_array() else { return };
        let name = self.name;
        let records: Vec<_> = record::iter(command.body).map(Result::unwrap).collect();
        assert_eq!(records.len(), meant.len(), "{name}");
        for (record, meant) in records.iter().zip(meant) {
            let int = |member: &str| meant[member].as_i64().unwrap();
            assert_eq!(record.bytes().len() as i64, int("total_size"), "{name}");
            assert_eq!(i64::from(record.body_crc()), int("body_crc"), "{name}");
            assert_eq!(i64::from(record.queue_id()), int("queue_id"), "{name}");
            assert_eq!(i64::from(record.flag()), int("flag"), "{name}");
            assert_eq!(record.queue_offset(), int("queue_offset"), "{name}");
            assert_eq!(record.physical_offset(), int("physical_offset"), "{name}");
            assert_eq!(i64::from(record.sys_flag()), int("sys_flag"), "{name}");
            assert_eq!(record.born_timestamp(), int("born_timestamp"), "{name}");
            assert_eq!(record.born_host().to_string(), meant["born_host"], "{name}");
            assert_eq!(record.store_timestamp(), int("store_timestamp"), "{name}");
            assert_eq!(record.store_host().to_string(), meant["store_host"], "{name}");
            assert_eq!(i64::from(record.reconsume_times()), int("reconsume_times"), "{name}");
            let prepared = record.prepared_transaction_offset();
            assert_eq!(prepared, int("prepared_transaction_offset"), "{name}");
            assert_eq!(record.body().len() as i64, int("body_len"), "{name}");
            if let Some(text) = meant["body_text"].as_str() {
                assert_eq!(record.body(), text.as_bytes(), "{name}");
            }
            assert_eq!(record.topic(), meant["topic"], "{name}");
            assert_eq!(properties_of(record.properties()), strings(&meant["properties"]), "{name}");
            check_record_written_again(name, record);
        }
    }

    fn check_batch(&self, command: &Command<'_>) {
        let Some(meant) = self.meaning["batch"].as_array() else { return };
        let name = self.name;
        let entries: Vec<_> = batch::iter(command.body).map(Result::unwrap).collect();
        assert_eq!(entries.len(), meant.len(), "{name}");
        let mut again = Vec::new();
        for (entry, meant) in entries.iter().zip(meant) {
            assert_eq!(i64::from(entry.flag), meant["flag"].as_i64().unwrap(), "{name}");
            assert_eq!(entry.body.len() as i64, meant["body_len"].as_i64().unwrap(), "{name}");
            let crc = i64::from(crc32fast::hash(entry.body));
            assert_eq!(crc, meant["body_crc32"].as_i64().unwrap(), "{name}");
            assert_eq!(properties_of(entry.properties), strings(&meant["properties"]), "{name}");
            entry.encode(&mut again);
        }
        assert_eq!(again, command.body, "{name}");
    }

    /// The same fields in both spellings read back the same.
    fn check_written_again(&self, command: &Command<'_>) {
        for spelling in [Spelling::Json, Spelling::Binary] {
            let mut out = Vec::new();
            let remark = command.remark.map(|remark| remark.to_cow().into_owned());
            let head = Head {
                spelling,
                code: command.code,
                opaque: command.opaque,
                flag: command.flag,
                language: command.language,
                version: command.version,
                remark: remark.as_deref(),
            };
            let mut encoder = begin(&mut out, &head);
            for (key, value) in command.ext.iter() {
                encoder.foreign(&key.to_cow(), value);
            }
            encoder.finish_with(command.body).unwrap();
            let again = Command::parse(split(&out).unwrap().unwrap()).unwrap();
            self.check_head(&Command { spelling: command.spelling, ..again.clone() });
            self.check_ext(&again.ext);
            assert_eq!(again.body, command.body, "{}", self.name);
        }
    }
}

fn map_of(ext: &Ext<'_>) -> BTreeMap<String, String> {
    ext.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn properties_of(text: &str) -> BTreeMap<String, String> {
    properties::iter(text).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn strings(object: &Value) -> BTreeMap<String, String> {
    let object = object.as_object().unwrap().iter();
    object.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// A record of the Apache broker, taken apart and put together again, is the same to the byte.
fn check_record_written_again(name: &str, record: &record::RecordRef<'_>) {
    record.check_body().unwrap();
    let message = record::Message {
        topic: record.topic(),
        queue_id: record.queue_id(),
        flag: record.flag(),
        queue_offset: record.queue_offset(),
        physical_offset: record.physical_offset(),
        sys_flag: record.sys_flag(),
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_timestamp: record.store_timestamp(),
        store_host: record.store_host(),
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: record.body(),
        properties: record::PropertyParts::just(record.properties()),
    };
    let size = message.size().unwrap();
    let mut again = vec![0; size.total];
    message.encode_into(&mut again, &size);
    assert_eq!(again, record.bytes(), "{name}");
}

/// Decodes the typed header, writes it and reads it again.
fn typed<'a, H: Header<'a> + PartialEq + std::fmt::Debug>(name: &str, ext: &Ext<'a>) {
    let header = H::decode(ext).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Written as pairs of owned strings, because what is read back may not outlive its frame.
    let mut pairs = Pairs(Vec::new());
    header.encode(&mut pairs);
    let received = map_of(ext);
    for (key, value) in pairs.0 {
        if let Some(was) = received.get(&key) {
            assert_eq!(value, *was, "{name}: {key}");
        }
    }
}

/// Collects encoded fields.
struct Pairs(Vec<(String, String)>);

impl FieldSink for Pairs {
    fn text(&mut self, key: &str, value: ringmq_protocol::text::Text<'_>) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    fn int(&mut self, key: &str, value: i64) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    fn boolean(&mut self, key: &str, value: bool) {
        self.0.push((key.to_owned(), value.to_string()));
    }
}

/// Whether an answer carries its typed header: only answers that say yes do.
fn has_reply_header(command: &Command<'_>, code: i64) -> bool {
    match code {
        11 | 361 => matches!(command.code, 0 | 19 | 20 | 21),
        _ => command.code == 0,
    }
}

fn check_header(name: &str, command: &Command<'_>, code: i64) {
    let ext = &command.ext;
    if !command.is_response() {
        return check_request_header(name, ext, code);
    }
    if !has_reply_header(command, code) {
        return;
    }
    match code {
        10 | 310 | 320 | 324 | 325 => typed::<send::SendReply<'_>>(name, ext),
        11 | 361 => typed::<pull::PullReply>(name, ext),
        12 => typed::<pull::QueryMessageReply>(name, ext),
        14 | 29 | 30 | 31 => typed::<offset::OffsetReply>(name, ext),
        103 => typed::<namesrv::RegisterBrokerReply<'_>>(name, ext),
        322 => typed::<namesrv::DataVersionReply>(name, ext),
        200_050 => typed::<pop::PopReply<'_>>(name, ext),
        200_053 => typed::<pop::ChangeInvisibleTimeReply>(name, ext),
        34 => typed::<client::HeartbeatReply>(name, ext),
        _ => {}
    }
}

fn check_request_header<'a>(name: &str, ext: &Ext<'a>, code: i64) {
    match code {
        10 | 324 => typed::<send::SendHeader<'a>>(name, ext),
        310 | 320 | 325 => typed::<send::ShortSendHeader<'a>>(name, ext),
        326 => typed::<send::PushReplyHeader<'a>>(name, ext),
        36 => typed::<send::SendBackHeader<'a>>(name, ext),
        370 => typed::<send::RecallHeader<'a>>(name, ext),
        11 | 361 => typed::<pull::PullHeader<'a>>(name, ext),
        12 => typed::<pull::QueryMessageHeader<'a>>(name, ext),
        33 => typed::<pull::ViewMessageHeader<'a>>(name, ext),
        200_050 => typed::<pop::PopHeader<'a>>(name, ext),
        200_051 => typed::<pop::AckHeader<'a>>(name, ext),
        200_053 => typed::<pop::ChangeInvisibleTimeHeader<'a>>(name, ext),
        14 => typed::<offset::QueryOffsetHeader<'a>>(name, ext),
        15 => typed::<offset::UpdateOffsetHeader<'a>>(name, ext),
        29 => typed::<offset::SearchOffsetHeader<'a>>(name, ext),
        30 => typed::<offset::MaxOffsetHeader<'a>>(name, ext),
        31 | 32 => typed::<offset::QueueHeader<'a>>(name, ext),
        37 => typed::<transaction::EndTransactionHeader<'a>>(name, ext),
        39 => typed::<transaction::CheckTransactionHeader<'a>>(name, ext),
        35 => typed::<client::UnregisterClientHeader<'a>>(name, ext),
        38 | 40 | 203 => typed::<client::ConsumerGroupHeader<'a>>(name, ext),
        17 => typed::<topic::CreateTopicHeader<'a>>(name, ext),
        202 | 215 | 300 => typed::<topic::TopicHeader<'a>>(name, ext),
        216 => typed::<topic::DeleteTopicHeader<'a>>(name, ext),
        208 => typed::<group::ConsumeStatsHeader<'a>>(name, ext),
        103 => typed::<namesrv::RegisterBrokerHeader<'a>>(name, ext),
        104 | 322 => typed::<namesrv::BrokerHeader<'a>>(name, ext),
        105 => typed::<namesrv::RouteHeader<'a>>(name, ext),
        34 | 41 | 42 | 46 | 106 | 400 | 206 | 201 => {}
        other => panic!("{name}: no typed header is checked for request {other}"),
    }
}

fn json_body<T: serde::de::DeserializeOwned + serde::Serialize>(name: &str, body: &[u8]) -> T {
    let value: T = bodies::decode(body).unwrap_or_else(|error| panic!("{name}: {error}"));
    // What we write of it, we read.
    bodies::decode::<T>(&bodies::to_vec(&value)).unwrap();
    value
}

fn check_body(name: &str, command: &Command<'_>, code: i64) {
    let body = command.body;
    if command.is_response() {
        if command.code != 0 || body.is_empty() {
            return;
        }
        match code {
            38 => assert!(!json_body::<ConsumerIdList>(name, body).consumer_id_list.is_empty()),
            41 => drop(json_body::<LockBatchReply>(name, body)),
            103 => drop(json_body::<KvTable>(name, body)),
            105 => check_route(name, &json_body(name, body)),
            106 => drop(json_body::<ClusterInfo>(name, body)),
            206 => drop(json_body::<TopicList>(name, body)),
            300 => drop(json_body::<GroupList>(name, body)),
            322 => drop(json_body::<DataVersion>(name, body)),
            _ => {}
        }
        return;
    }
    match code {
        34 => check_heartbeat(name, &json_body(name, body)),
        41 | 42 => {
            let request: LockBatchRequest = json_body(name, body);
            assert!(!request.mq_set.is_empty() && !request.client_id.is_empty(), "{name}");
        }
        46 => {
            let config: CheckClientConfig = json_body(name, body);
            assert!(!config.subscription_data.topic.is_empty(), "{name}");
        }
        103 => check_registration(name, command),
        322 => assert!(json_body::<DataVersion>(name, body).timestamp > 0, "{name}"),
        _ => {}
    }
}

fn check_route(name: &str, route: &TopicRouteData) {
    assert!(!route.queue_datas.is_empty(), "{name}");
    let addresses = &route.broker_datas[0].broker_addrs;
    assert!(addresses[&0].contains(':'), "{name}");
}

fn check_heartbeat(name: &str, heartbeat: &HeartbeatData) {
    assert!(!heartbeat.client_id.is_empty(), "{name}");
    let groups = heartbeat.consumer_data_set.len() + heartbeat.producer_data_set.len();
    assert!(groups > 0, "{name}");
    for group in &heartbeat.consumer_data_set {
        assert!(group.subscription_data_set.iter().all(|data| !data.topic.is_empty()), "{name}");
    }
}

fn check_registration(name: &str, command: &Command<'_>) {
    let header = namesrv::RegisterBrokerHeader::decode(&command.ext).unwrap();
    if header.body_crc32 != 0 {
        assert_eq!(bodies::register::body_crc(command.body), header.body_crc32, "{name}");
    }
    let decoded = RegisterBrokerBody::decode(command.body, header.compressed, command.version);
    let body = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
    let table = &body.topic_config_serialize_wrapper;
    assert!(!table.topic_config_table.is_empty(), "{name}");
    let again = RegisterBrokerBody::decode(&body.encode_compressed(), true, command.version);
    assert_eq!(again.unwrap(), body, "{name}");
}
