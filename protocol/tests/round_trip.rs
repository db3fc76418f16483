//! What is written reads back the same, whatever it is.

use proptest::prelude::*;
use ringmq_protocol::batch::{self, BatchEntry};
use ringmq_protocol::bodies::register::RegisterBrokerBody;
use ringmq_protocol::bodies::topic::{DataVersion, TopicConfig, TopicConfigTable};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{Head, begin};
use ringmq_protocol::frame::{Spelling, split};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pull::PullReply;
use ringmq_protocol::headers::send::{SendHeader, ShortSendHeader};
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::properties;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::text::Text;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![Just(Spelling::Json), Just(Spelling::Binary)]
}

/// Text with everything that needs care: quotes, backslashes, control and non-ASCII characters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_%-]{0,40}",
        ".{0,40}",
        "[\\x00-\\x1f\"\\\\/é你😀\\u{2028}]{0,20}",
        prop::collection::vec(any::<char>(), 0..20).prop_map(String::from_iter),
    ]
}

fn host() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
    // An IPv4 address in IPv6 clothes is written as what it is; see `hosts`.
    let v6 = any::<[u8; 16]>().prop_map(|bytes| IpAddr::from(bytes).to_canonical());
    (prop_oneof![v4, v6], any::<u16>()).prop_map(SocketAddr::from)
}

/// The parts of a send header that vary most.
type Parts = (String, String, String, i32, i64, Option<i32>, bool, Option<String>);

fn parts() -> impl Strategy<Value = Parts> {
    let numbers = (any::<i32>(), any::<i64>(), any::<Option<i32>>(), any::<bool>());
    let texts = (text(), text(), text(), prop::option::of(text()));
    (texts, numbers).prop_map(|((a, b, c, d), (e, f, g, h))| (a, b, c, e, f, g, h, d))
}

fn send_header(parts: &Parts) -> SendHeader<'_> {
    let (group, topic, properties, int, long, times, flag, broker) = parts;
    SendHeader {
        producer_group: Text::plain(group),
        topic: Text::plain(topic),
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: *int,
        sys_flag: int.wrapping_add(1),
        born_timestamp: *long,
        flag: int.wrapping_mul(3),
        properties: Text::plain(properties),
        reconsume_times: 0,
        unit_mode: *flag,
        max_reconsume_times: *times,
        batch: !flag,
        broker_name: broker.as_deref().map(Text::plain),
    }
}

/// A JSON header frame of these tokens with blanks between them, so often the n-th.
fn spaced(ext: &[(String, String)], blanks: &[usize]) -> Vec<u8> {
    let string = |text: &String| serde_json::to_string(text).unwrap();
    let mut tokens: Vec<String> = r#"{ "code" : 310 , "flag" : 2 , "opaque" : 7 , "x" : [ { } , 1 ] , "extFields" : {"#
        .split(' ')
        .map(str::to_owned)
        .collect();
    for (at, (key, value)) in ext.iter().enumerate() {
        tokens.extend((at > 0).then(|| ",".to_owned()));
        tokens.extend([string(key), ":".to_owned(), string(value)]);
    }
    tokens.extend(["}", "}"].map(str::to_owned));
    let mut header = String::new();
    for (at, token) in tokens.iter().enumerate() {
        header.push_str(&" \n"[..blanks[at % blanks.len()].min(2)]);
        header.push_str(token);
    }
    let mut bytes = (4 + header.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// The extension fields as a map; of a repeated key the last one.
fn map_of(command: &Command<'_>) -> BTreeMap<String, String> {
    command.ext.iter().map(|(key, value)| (key.to_cow().into_owned(), value.to_cow().into_owned())).collect()
}

proptest! {
    #[test]
    fn send_headers_in_long_and_short_names(
        spelling in spelling(), parts in parts(), short in any::<bool>(), opaque in any::<i32>(),
        remark in text(), body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let header = send_header(&parts);
        let head = Head::request(spelling, 310, opaque).with_remark(&remark);
        let mut out = Vec::new();
        let encoder = begin(&mut out, &head);
        let encoder =
            if short { encoder.header(&ShortSendHeader(header)) } else { encoder.header(&header) };
        let total = encoder.finish_with(&body).unwrap();
        let frame = split(&out).unwrap().unwrap();
        prop_assert_eq!((frame.total_len, out.len()), (total, total));
        let command = Command::parse(frame).unwrap();
        prop_assert_eq!((command.code, command.opaque, command.body), (310, opaque, &body[..]));
        prop_assert_eq!(command.remark.unwrap_or(Text::EMPTY), remark.as_str());
        prop_assert_eq!(SendHeader::decode(&command.ext).unwrap(), header);
        // Decoding by hand agrees with decoding by type.
        let mut decoded = Vec::new();
        command.ext.get(if short { "i" } else { "properties" }).unwrap().decode_into(&mut decoded);
        prop_assert_eq!(decoded, parts.2.as_bytes());
    }

    #[test]
    fn pull_replies(spelling in spelling(), longs in any::<[i64; 4]>(), ints in any::<[Option<i32>; 3]>()) {
        let header = PullReply {
            suggest_which_broker_id: longs[0],
            next_begin_offset: longs[1],
            min_offset: longs[2],
            max_offset: longs[3],
            offset_delta: None,
            topic_sys_flag: ints[0],
            group_sys_flag: ints[1],
            forbidden_type: ints[2],
        };
        let mut out = Vec::new();
        begin(&mut out, &Head::response(spelling, 19, 1)).header(&header).finish(0).unwrap();
        let command = Command::parse(split(&out).unwrap().unwrap()).unwrap();
        prop_assert!(command.is_response() && !command.is_oneway());
        prop_assert_eq!(PullReply::decode(&command.ext).unwrap(), header);
    }

    #[test]
    fn json_means_what_serde_reads_there(
        ext in prop::collection::vec((text(), text()), 0..6), blanks in prop::collection::vec(0..4usize, 1..9),
        at in any::<prop::sample::Index>(), other in prop_oneof![any::<u8>(), Just(b' '), Just(b'"'), Just(b'\\')],
    ) {
        let mut bytes = spaced(&ext, &blanks);
        let command = Command::parse(split(&bytes).unwrap().unwrap()).unwrap();
        prop_assert_eq!((command.code, command.flag, command.opaque), (310, 2, 7));
        prop_assert_eq!(map_of(&command), ext.into_iter().collect());
        // With one byte changed it is refused, or it still means what serde reads.
        let at = at.index(bytes.len() - 8) + 8;
        bytes[at] = other;
        let read = serde_json::from_slice::<serde_json::Value>(&bytes[8..]);
        if let (Ok(command), Ok(read)) = (Command::parse(split(&bytes).unwrap().unwrap()), read) {
            let fields = read["extFields"].as_object().into_iter().flatten();
            let strings: BTreeMap<_, _> =
                fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
            let mut ours = map_of(&command);
            ours.retain(|key, _| strings.contains_key(key));
            prop_assert_eq!(ours, strings);
        }
    }

    #[test]
    fn our_json_is_json(key in text(), value in text(), remark in text()) {
        let mut out = Vec::new();
        let head = Head::response(Spelling::Json, 1, 2).with_remark(&remark);
        begin(&mut out, &head).pair(&key, &value).finish(0).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&out[8..]).unwrap();
        prop_assert_eq!(header["remark"].as_str(), Some(remark.as_str()));
        prop_assert_eq!(header["extFields"][&key].as_str(), Some(value.as_str()));
    }

    #[test]
    fn text_passes_through_without_being_decoded(value in text(), spelling in spelling()) {
        let mut first = Vec::new();
        let head = Head::request(Spelling::Json, 10, 1);
        begin(&mut first, &head).pair("k", &value).finish(0).unwrap();
        let command = Command::parse(split(&first).unwrap().unwrap()).unwrap();
        let mut second = Vec::new();
        let mut encoder = begin(&mut second, &Head::request(spelling, 10, 1));
        ringmq_protocol::header::FieldSink::text(&mut encoder, "k", command.ext.get("k").unwrap());
        encoder.finish(0).unwrap();
        let again = Command::parse(split(&second).unwrap().unwrap()).unwrap();
        prop_assert_eq!(again.ext.get("k").unwrap(), value.as_str());
    }

    #[test]
    fn records(
        topic in "[a-z%_-]{0,255}", body in prop::collection::vec(any::<u8>(), 0..2000),
        pairs in prop::collection::vec(("[A-Z_]{1,12}", "[^\u{1}\u{2}]{0,20}"), 0..8),
        born in host(), store in host(), ints in any::<[i32; 4]>(), longs in any::<[i64; 5]>(),
        drop_first in any::<bool>(), add in any::<bool>(),
    ) {
        let original = properties::build(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let dropped: Vec<&str> = pairs.first().filter(|_| drop_first).map(|p| &*p.0).into_iter().collect();
        let extra: &[(&str, &str)] = if add { &[("CLUSTER", "c"), ("TRACE_ON", "true")] } else { &[] };
        let parts = PropertyParts { original: &original, without: &dropped, extra };
        let message = Message {
            topic: &topic, queue_id: ints[0], flag: ints[1], queue_offset: longs[0],
            physical_offset: longs[1], sys_flag: ints[2], born_timestamp: longs[2], born_host: born,
            store_timestamp: longs[3], store_host: store, reconsume_times: ints[3],
            prepared_transaction_offset: longs[4], body: &body, properties: parts,
        };
        let size = message.size().unwrap();
        let mut bytes = vec![0xaa; size.total];
        message.encode_into(&mut bytes, &size);
        let record = RecordRef::parse(&bytes).unwrap();
        record.check_body().unwrap();
        prop_assert_eq!(record.topic(), &topic);
        prop_assert_eq!(record.body(), &body);
        prop_assert_eq!(record.born_host(), born);
        prop_assert_eq!(record.store_host(), store);
        prop_assert_eq!(record.sys_flag(), message.stored_sys_flag());
        let ours = [record.queue_offset(), record.physical_offset(), record.born_timestamp(),
            record.store_timestamp(), record.prepared_transaction_offset()];
        prop_assert_eq!(ours, longs);
        let expected = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
            .filter(|(k, _)| !dropped.contains(k)).chain(extra.iter().copied());
        prop_assert!(properties::iter(record.properties()).eq(expected));
        let id = OffsetId::decode(&record.offset_id()).unwrap();
        prop_assert_eq!(id, OffsetId { host: store, offset: longs[1] });
    }

    #[test]
    fn batches(entries in prop::collection::vec(
        (any::<i32>(), prop::collection::vec(any::<u8>(), 0..50), ".{0,20}"), 0..8)
    ) {
        let mut body = Vec::new();
        for (flag, bytes, properties) in &entries {
            BatchEntry { flag: *flag, body: bytes, properties }.encode(&mut body);
        }
        let read: Vec<_> = batch::iter(&body).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), entries.len());
        for (entry, (flag, bytes, properties)) in read.iter().zip(&entries) {
            prop_assert_eq!((entry.flag, entry.body), (*flag, &bytes[..]));
            prop_assert_eq!(entry.properties, properties);
        }
    }

    #[test]
    fn registrations(
        names in prop::collection::btree_set("[a-zA-Z%_-]{1,20}", 0..20), nums in any::<[i32; 3]>(),
        attributes in prop::collection::btree_map("[a-z.]{1,8}", ".{0,8}", 0..3), counter in any::<i64>(),
    ) {
        let mut table = TopicConfigTable {
            data_version: DataVersion { counter, ..DataVersion::default() },
            ..TopicConfigTable::default()
        };
        for name in names {
            let config = TopicConfig {
                attributes: attributes.clone(), perm: nums[0], read_queue_nums: nums[1],
                write_queue_nums: nums[2], topic_name: name.clone(), ..TopicConfig::default()
            };
            table.topic_config_table.insert(name, config);
        }
        let body = RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: table,
        };
        let plain = body.encode_plain();
        prop_assert_eq!(&RegisterBrokerBody::decode(&plain, false, 479).unwrap(), &body);
        let packed = body.encode_compressed();
        prop_assert_eq!(&RegisterBrokerBody::decode(&packed, true, 479).unwrap(), &body);
    }
}
