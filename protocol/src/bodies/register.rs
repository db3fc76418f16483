//! The body of REGISTER_BROKER (103): a broker's topics.
//!
//! Owns both forms of protocol.md 9.3 (RocketMQ: `RegisterBrokerBody`): plain JSON and the compressed
//! one, a zlib stream of
//!
//! ```text
//!  n i32 | DataVersion JSON | topics i32 | (n i32 | topic text)* | n i32 | filter servers JSON
//!  | mappings i32 | (n i32 | mapping JSON)*           <- the last line from version 413 (V5_0_0) on
//! ```
//! where a topic's text is `name read write perm filterType {attributes JSON}`.

use super::topic::{DataVersion, TopicConfig, TopicConfigTable, TopicFilterType};
use super::{BodyError, decode, encode, to_vec};
use crate::wire::Reader;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// The most bytes a compressed registration may inflate to: a million topics of 128 bytes each. A
/// frame of 16 MiB could otherwise inflate to a thousand times its size.
pub const INFLATED_LIMIT: usize = 128 * 1024 * 1024;

/// The first version whose compressed form has the mappings.
const V5_0_0: i32 = 413;

/// The first byte of a zlib stream as Java writes it; no JSON starts with it.
const ZLIB: u8 = 0x78;

/// RocketMQ compresses registrations at zlib's default level.
const LEVEL: Compression = Compression::new(6);

/// A registration. RingMQ keeps no filter servers and no static-topic mappings, but the name server
/// passes on what other brokers send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct RegisterBrokerBody {
    pub filter_server_list: Vec<String>,
    pub topic_config_serialize_wrapper: TopicConfigTable,
}

impl RegisterBrokerBody {
    /// Reads a registration of a broker of this version.
    ///
    /// The Apache broker with `compressRegister` sends the compressed form and yet `compressed=false`
    /// in the header (golden `broker533-register_broker+compressed`), so the first byte is believed too.
    ///
    /// # Errors
    /// Neither form.
    pub fn decode(body: &[u8], compressed: bool, version: i32) -> Result<Self, BodyError> {
        if !compressed && body.first() != Some(&ZLIB) {
            return decode(body);
        }
        let inflated = inflate(body)?;
        read_compressed(&mut Reader::new(&inflated), version)
    }

    /// The plain form.
    pub fn encode_plain(&self) -> Vec<u8> {
        to_vec(self)
    }

    /// The compressed form, as a broker of our version sends it.
    pub fn encode_compressed(&self) -> Vec<u8> {
        let table = &self.topic_config_serialize_wrapper;
        let mut flat = Vec::new();
        put_counted(&mut flat, |out| encode(&table.data_version, out));
        put_count(&mut flat, table.topic_config_table.len());
        for config in table.topic_config_table.values() {
            put_counted(&mut flat, |out| put_topic(out, config));
        }
        put_counted(&mut flat, |out| encode(&self.filter_server_list, out));
        put_count(&mut flat, table.topic_queue_mapping_info_map.len());
        for mapping in table.topic_queue_mapping_info_map.values() {
            put_counted(&mut flat, |out| encode(mapping, out));
        }
        let mut deflate = ZlibEncoder::new(Vec::new(), LEVEL);
        deflate.write_all(&flat).expect("writing to memory cannot fail");
        deflate.finish().expect("writing to memory cannot fail")
    }
}

/// The checksum of a registration body as header field `bodyCrc32` has it.
pub fn body_crc(body: &[u8]) -> i32 {
    crate::record::body_crc(body)
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut inflated = Vec::new();
    let mut limited = ZlibDecoder::new(body).take(INFLATED_LIMIT as u64 + 1);
    let read = limited.read_to_end(&mut inflated);
    read.map_err(|_| BodyError::Malformed("the registration is not a zlib stream"))?;
    if inflated.len() > INFLATED_LIMIT {
        return Err(BodyError::Malformed("the registration inflates to more than 128 MiB"));
    }
    Ok(inflated)
}

fn read_compressed(reader: &mut Reader<'_>, version: i32) -> Result<RegisterBrokerBody, BodyError> {
    const SHORT: BodyError = BodyError::Malformed("the registration ends too early");
    let mut table = TopicConfigTable {
        data_version: decode::<DataVersion>(reader.counted_i32().ok_or(SHORT)?)?,
        ..TopicConfigTable::default()
    };
    for _ in 0..reader.i32().ok_or(SHORT)? {
        let config = parse_topic(reader.counted_i32().ok_or(SHORT)?)?;
        table.topic_config_table.insert(config.topic_name.clone(), config);
    }
    let servers = reader.counted_i32().ok_or(SHORT)?;
    let filter_server_list = if servers.is_empty() { Vec::new() } else { decode(servers)? };
    // A broker that says 5.x may still leave the mappings out.
    if version >= V5_0_0 && !reader.is_empty() {
        for _ in 0..reader.i32().ok_or(SHORT)? {
            let mapping: serde_json::Value = decode(reader.counted_i32().ok_or(SHORT)?)?;
            if let Some(topic) = mapping.get("topic").and_then(serde_json::Value::as_str) {
                table.topic_queue_mapping_info_map.insert(topic.to_owned(), mapping);
            }
        }
    }
    Ok(RegisterBrokerBody { filter_server_list, topic_config_serialize_wrapper: table })
}

fn parse_topic(text: &[u8]) -> Result<TopicConfig, BodyError> {
    const MALFORMED: BodyError = BodyError::Malformed("a topic of the registration is malformed");
    let text = std::str::from_utf8(text).map_err(|_| MALFORMED)?;
    let mut parts = text.splitn(6, ' ');
    let mut next = || parts.next().ok_or(MALFORMED);
    let topic_name = next()?.to_owned();
    let mut number = || next()?.parse::<i32>().map_err(|_| MALFORMED);
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let topic_filter_type = TopicFilterType::from_name(next()?).unwrap_or_default();
    // Brokers before 5.0 send no attributes.
    let attributes: BTreeMap<String, String> = match parts.next() {
        None | Some("" | "null") => BTreeMap::new(),
        Some(json) => decode(json.as_bytes())?,
    };
    Ok(TopicConfig {
        attributes,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        write_queue_nums,
        ..TopicConfig::default()
    })
}

fn put_topic(out: &mut Vec<u8>, config: &TopicConfig) {
    let TopicConfig {
        attributes,
        order: _,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        topic_sys_flag: _,
        write_queue_nums,
    } = config;
    let filter = topic_filter_type.name();
    let text = format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter} ");
    out.extend_from_slice(text.as_bytes());
    encode(attributes, out);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u32).to_be_bytes());
}

/// Writes what `put` appends, with its length before it.
fn put_counted(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> RegisterBrokerBody {
        let mut table = TopicConfigTable {
            data_version: DataVersion { counter: 3, state_version: 1, timestamp: 1_700_000_000_000 },
            ..TopicConfigTable::default()
        };
        for name in ["TBW102", "orders"] {
            let config = TopicConfig {
                attributes: BTreeMap::from([("message.type".to_owned(), "A B".to_owned())]),
                perm: 7,
                read_queue_nums: 8,
                topic_name: name.to_owned(),
                write_queue_nums: 4,
                ..TopicConfig::default()
            };
            table.topic_config_table.insert(name.to_owned(), config);
        }
        RegisterBrokerBody { filter_server_list: vec!["f".to_owned()], topic_config_serialize_wrapper: table }
    }

    #[test]
    fn both_forms_read_back() {
        let body = body();
        let plain = body.encode_plain();
        assert_eq!(RegisterBrokerBody::decode(&plain, false, 479).unwrap(), body);
        let packed = body.encode_compressed();
        assert_eq!(RegisterBrokerBody::decode(&packed, true, 479).unwrap(), body);
    }

    #[test]
    fn an_old_broker_s_topic_has_no_attributes() {
        let config = parse_topic(b"orders 8 4 6 MULTI_TAG").unwrap();
        assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm), (8, 4, 6));
        assert_eq!(config.topic_filter_type, TopicFilterType::MultiTag);
        assert!(config.attributes.is_empty());
        assert!(parse_topic(b"orders 8 four 6 SINGLE_TAG").is_err());
        assert!(parse_topic(b"orders 8").is_err());
    }

    #[test]
    fn damage_is_refused() {
        let packed = body().encode_compressed();
        assert!(RegisterBrokerBody::decode(&packed[..packed.len() / 2], true, 479).is_err());
        assert!(RegisterBrokerBody::decode(b"not zlib", true, 479).is_err());
        assert!(RegisterBrokerBody::decode(b"", false, 479).is_err());
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..=(INFLATED_LIMIT >> 20) {
            deflate.write_all(&zeros).unwrap();
        }
        let bomb = deflate.finish().unwrap();
        let refused = RegisterBrokerBody::decode(&bomb, true, 479).unwrap_err();
        assert!(refused.to_string().contains("128 MiB"));
    }
}
