//! Nothing a peer sends makes this room panic, loop or misread.
//!
//! Random bytes, damaged frames and JSON that is legal but strange. Where there is a reference
//! (`serde_json`), the hand-written scanner must agree with it.

use proptest::prelude::*;
use ringmq_protocol::bodies::assignment::AssignmentRequest;
use ringmq_protocol::bodies::group::SubscriptionGroupConfig;
use ringmq_protocol::bodies::heartbeat::HeartbeatData;
use ringmq_protocol::bodies::lock::LockBatchRequest;
use ringmq_protocol::bodies::offset::ClientOffsets;
use ringmq_protocol::bodies::pop::BatchAckRequest;
use ringmq_protocol::bodies::register::RegisterBrokerBody;
use ringmq_protocol::bodies::route::TopicRouteData;
use ringmq_protocol::bodies::{self, BodyError};
use ringmq_protocol::command::{Command, CommandError};
use ringmq_protocol::ext::EXT_LIMIT;
use ringmq_protocol::frame::{Spelling, split};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pull::PullHeader;
use ringmq_protocol::headers::send::SendHeader;
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::names::{TopicKind, check_group, check_topic};
use ringmq_protocol::tags::TagFilter;
use ringmq_protocol::{batch, properties, record};
use serde_json::{Map, Value, json};

const SEND: &str = concat!(
    r#"{"code":310,"extFields":{"a":"group","b":"topic","c":"TBW102","d":"4","e":"2","f":"0","#,
    r#""g":"1700000000123","h":"0","i":"TAGS\u0001TagA\u0002KEYS\u0001\"k\\\u4f60\u0002","j":"0","#,
    r#""k":"false","m":"false"},"flag":0,"language":"JAVA","opaque":12345,"remark":null,"#,
    r#""serializeTypeCurrentRPC":"JSON","version":477}"#
);

fn frame(spelling: Spelling, header: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + header.len() as u32).to_be_bytes().to_vec();
    let word = u32::from(spelling.to_byte()) << 24 | header.len() as u32;
    bytes.extend_from_slice(&word.to_be_bytes());
    bytes.extend_from_slice(header);
    bytes
}

/// Reads a header as far as it goes, and everything that could be read from it.
fn read_all(spelling: Spelling, header: &[u8]) {
    let bytes = frame(spelling, header);
    let Ok(command) = Command::parse(split(&bytes).unwrap().unwrap()) else { return };
    let _ = SendHeader::decode(&command.ext).map_err(|error| error.to_string());
    let _ = PullHeader::decode(&command.ext).map_err(|error| error.to_string());
    for (key, value) in command.ext.iter() {
        let mut decoded = Vec::new();
        value.decode_into(&mut decoded);
        let cow = value.to_cow();
        assert_eq!((decoded.as_slice(), decoded.len()), (cow.as_bytes(), value.decoded_len()));
        assert!(value.eq_str(&cow) && decoded.len() <= value.max_len());
        let _ = (value.parse_i64(), value.parse_bool(), key.to_cow());
    }
    let _ = command.remark.map(|remark| remark.to_cow().into_owned());
}

fn parse_json(header: &str) -> Result<Vec<(String, String)>, CommandError> {
    let bytes = frame(Spelling::Json, header.as_bytes());
    let command = Command::parse(split(&bytes).unwrap().unwrap())?;
    Ok(command.ext.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| Value::from(Map::from_iter(map))),
        ]
    })
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = split(&bytes);
        read_all(Spelling::Json, &bytes);
        read_all(Spelling::Binary, &bytes);
        let _ = batch::iter(&bytes).count();
        let _ = record::iter(&bytes).count();
        let _ = RegisterBrokerBody::decode(&bytes, true, 479);
        let _ = RegisterBrokerBody::decode(&bytes, false, 479);
    }

    #[test]
    fn random_text(text in ".{0,120}") {
        read_all(Spelling::Json, text.as_bytes());
        let _ = properties::iter(&text).count();
        let _ = OffsetId::decode(&text);
        let _ = TagFilter::parse(&text);
        let _ = (TopicKind::parse(&text), check_topic(&text), check_group(&text));
        let _ = bodies::admin::settings(&text).count();
    }

    #[test]
    fn json_like_text(text in r#"[{}\[\]",:\\u0-9a-ftrn. -]{0,80}"#) {
        read_all(Spelling::Json, text.as_bytes());
        let body = text.as_bytes();
        let _ = bodies::decode::<HeartbeatData>(body);
        let _ = bodies::decode::<TopicRouteData>(body);
        let _ = bodies::decode::<ClientOffsets>(body);
    }

    #[test]
    fn damaged_headers(cuts in prop::collection::vec((0..SEND.len(), any::<u8>()), 0..4), end in 0..=SEND.len()) {
        let mut header = SEND.as_bytes()[..end].to_vec();
        for (at, byte) in cuts {
            if let Some(place) = header.get_mut(at) {
                *place = byte;
            }
        }
        read_all(Spelling::Json, &header);
    }

    #[test]
    fn damaged_binary_headers(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let json = frame(Spelling::Json, SEND.as_bytes());
        let command = Command::parse(split(&json).unwrap().unwrap()).unwrap();
        let mut out = Vec::new();
        let head = ringmq_protocol::encode::Head::request(Spelling::Binary, 310, 7);
        let header = SendHeader::decode(&command.ext).unwrap();
        ringmq_protocol::encode::begin(&mut out, &head).header(&header).finish(0).unwrap();
        let mut header = out.split_off(8);
        for (at, byte) in cuts {
            let at = at.index(header.len());
            header[at] = byte;
        }
        read_all(Spelling::Binary, &header);
    }

    #[test]
    fn damaged_records(cuts in prop::collection::vec((0usize..130, any::<u8>()), 1..4)) {
        let message = record::Message {
            topic: "topic", queue_id: 0, flag: 0, queue_offset: 1, physical_offset: 2, sys_flag: 0,
            born_timestamp: 3, born_host: "1.2.3.4:5".parse().unwrap(), store_timestamp: 6,
            store_host: "7.8.9.10:11".parse().unwrap(), reconsume_times: 0,
            prepared_transaction_offset: 0, body: b"some body",
            properties: record::PropertyParts::just("TAGS\u{1}a\u{2}"),
        };
        let size = message.size().unwrap();
        let mut bytes = vec![0; size.total];
        message.encode_into(&mut bytes, &size);
        for (at, byte) in cuts {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        for record in record::iter(&bytes).flatten() {
            let _ = (record.check_body(), record.offset_id(), record.born_host(), record.topic());
            let _ = (record.prepared_transaction_offset(), record.property("TAGS"));
        }
    }

    /// Whatever JSON stands in unknown members, the known ones are read; numbers and booleans in
    /// extFields count as text, nested values and null as absent.
    #[test]
    fn the_scanner_agrees_with_serde(
        unknown in any_json(), ext in prop::collection::btree_map(".{0,8}", any_json(), 0..10),
        opaque in any::<i32>(), remark in prop::option::of(".{0,12}"), pretty in any::<bool>(),
    ) {
        let ext = Value::from(Map::from_iter(ext));
        let header = json!({ "zz": unknown, "code": 7, "aa": unknown, "extFields": ext,
            "opaque": opaque, "remark": remark, "flag": 0 });
        let text = if pretty { serde_json::to_string_pretty(&header) } else { serde_json::to_string(&header) };
        let bytes = frame(Spelling::Json, text.unwrap().as_bytes());
        let command = Command::parse(split(&bytes).unwrap().unwrap()).unwrap();
        prop_assert_eq!((command.code, command.opaque), (7, opaque));
        prop_assert_eq!(command.remark.map(|remark| remark.to_string()), remark);
        let found: Vec<_> = command.ext.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let expected: Vec<_> = ext.as_object().unwrap().iter().filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.clone(), text.clone())),
            Value::Number(_) | Value::Bool(_) => Some((key.clone(), value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }).collect();
        prop_assert_eq!(found, expected);
    }

    /// Bodies of the wrong shape are refused, not guessed.
    #[test]
    fn any_json_as_a_body(value in any_json()) {
        let body = value.to_string();
        let body = body.as_bytes();
        let _ = bodies::decode::<HeartbeatData>(body);
        let _ = bodies::decode::<LockBatchRequest>(body);
        let _ = bodies::decode::<SubscriptionGroupConfig>(body);
        let _ = bodies::decode::<AssignmentRequest>(body);
        let _ = bodies::decode::<TopicRouteData>(body);
        let _ = bodies::decode::<BatchAckRequest>(body);
    }
}

#[test]
fn deep_json_is_bounded() {
    for depth in [1usize, 63, 64] {
        let nested = "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse_json(&format!(r#"{{"code":1,"x":{nested}}}"#)).is_ok(), "depth {depth}");
    }
    let too_deep = "[".repeat(65) + &"]".repeat(65);
    assert!(parse_json(&format!(r#"{{"code":1,"x":{too_deep}}}"#)).is_err());
    let endless = r#"{"code":1,"x":"#.to_owned() + &"{\"a\":[".repeat(200_000);
    assert!(parse_json(&endless).is_err());
    let body = "[".repeat(1_000_000);
    assert!(matches!(bodies::decode::<HeartbeatData>(body.as_bytes()), Err(BodyError::Json(_))));
}

#[test]
fn brackets_of_skipped_values_must_match() {
    for value in ["[}", "{]", "[{]}", "]", "}", "[1,{\"a\":2]", "nul", "tru", "+1", ""] {
        assert!(parse_json(&format!(r#"{{"code":1,"x":{value}}}"#)).is_err(), "{value}");
    }
}

#[test]
fn malformed_headers_are_refused() {
    let cases = [
        "",
        "null",
        "[]",
        "{",
        "{}",
        r#"{"opaque":1}"#,
        r#"{"code":1}x"#,
        r#"{"code":1,}"#,
        r#"{"code":1 "flag":0}"#,
        r#"{"code" 1}"#,
        r#"{code:1}"#,
        r#"{"code":1.5}"#,
        r#"{"code":"1x"}"#,
        r#"{"code":2147483648}"#,
        r#"{"code":99999999999999999999}"#,
        r#"{"code":-}"#,
        r#"{"code":1,"extFields":[]}"#,
        r#"{"code":1,"extFields":{"a"}}"#,
        r#"{"code":1,"extFields":{"a":"\x"}}"#,
        r#"{"code":1,"extFields":{"a":"\u00g1"}}"#,
        r#"{"code":1,"extFields":{"a":"\u001"}}"#,
        r#"{"code":1,"extFields":{"a":"b}}"#,
        r#"{"code":1,"extFields":{"a":"\"}}"#,
    ];
    for header in cases {
        assert!(parse_json(header).is_err(), "{header}");
    }
}

#[test]
fn strange_but_legal_headers_are_read() {
    let ext = |header: &str| parse_json(header).unwrap_or_else(|error| panic!("{header}: {error}"));
    assert_eq!(ext(r#" { "code" : "1" , "extFields" : null , "flag" : -0 } "#), []);
    assert_eq!(
        ext(r#"{"code":1,"extFields":{"a":1.5e3,"b":true,"c":null,"d":{"x":[]}}}"#),
        [("a".to_owned(), "1.5e3".to_owned()), ("b".to_owned(), "true".to_owned()),]
    );
    assert_eq!(ext(r#"{"code":1,"extFields":{"\u0061\\":"\\\"\/"}}"#), [("a\\".to_owned(), "\\\"/".to_owned())]);
}

#[test]
fn escaped_keys_and_repeated_keys_reach_typed_headers() {
    let header = r#"{"code":31,"extFields":{"queueId":"1","t\u006fpic":"t","queueId":"2"}}"#;
    let bytes = frame(Spelling::Json, header.as_bytes());
    let command = Command::parse(split(&bytes).unwrap().unwrap()).unwrap();
    let queue = ringmq_protocol::headers::offset::QueueHeader::decode(&command.ext).unwrap();
    assert_eq!((queue.topic.to_cow().as_ref(), queue.queue_id), ("t", 2));
    assert_eq!(command.ext.get("topic").unwrap(), "t");
}

#[test]
fn errors_name_the_field() {
    let decode = |ext: &str| {
        let bytes = frame(Spelling::Json, format!(r#"{{"code":31,"extFields":{ext}}}"#).as_bytes());
        let command = Command::parse(split(&bytes).unwrap().unwrap()).unwrap();
        let queue = ringmq_protocol::headers::offset::QueueHeader::decode(&command.ext);
        queue.map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(decode(r#"{"queueId":"1"}"#), "topic is missing");
    assert_eq!(decode(r#"{"topic":"t","queueId":"abc"}"#), "queueId: 'abc' is not a 32-bit integer");
    let long = format!(r#"{{"topic":"t","queueId":"{}"}}"#, "你".repeat(100));
    assert!(decode(&long).len() < 100);
}

#[test]
fn more_fields_than_allowed_are_refused() {
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|i| format!(r#""k{i}":"v""#)).collect();
        format!(r#"{{"code":1,"extFields":{{{}}}}}"#, fields.join(","))
    };
    assert_eq!(parse_json(&fields(EXT_LIMIT)).unwrap().len(), EXT_LIMIT);
    assert_eq!(parse_json(&fields(EXT_LIMIT + 1)), Err(CommandError::TooManyFields));
}
