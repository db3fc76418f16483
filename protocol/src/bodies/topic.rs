//! Topics: their settings (17, 18, 21, 351), their names (206, 224, 304, 305) and who consumes them (300).
//!
//! Owns [`TopicConfig`] and [`DataVersion`], which registrations share.

use super::named::named;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

named! {
    /// Whether messages of a topic carry one tag or several.
    pub enum TopicFilterType {
        /// One.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    }
}

/// The settings of a topic (RocketMQ: `TopicConfig`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Without signs: `{"message.type":"FIFO"}`.
    pub attributes: BTreeMap<String, String>,
    /// Queues keep their place when brokers go.
    pub order: bool,
    /// Bits of `perm`.
    pub perm: i32,
    /// Queues that consumers see.
    pub read_queue_nums: i32,
    /// See [`TopicFilterType`].
    pub topic_filter_type: TopicFilterType,
    /// The name.
    pub topic_name: String,
    /// Bit 0 unit, bit 1 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues that producers see.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    /// What RocketMQ takes for members that are absent.
    fn default() -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: crate::perm::READ_WRITE,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// Tells whether a table changed (RocketMQ: `DataVersion`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Grows by one with each change.
    pub counter: i64,
    /// Grows when a broker takes over from another.
    pub state_version: i64,
    /// Milliseconds of the last change.
    pub timestamp: i64,
}

/// The answer to GET_ALL_TOPIC_CONFIG (21); also the heart of a registration. The data version must be
/// stable between two pages, or the client starts over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigTable {
    /// Its version.
    pub data_version: DataVersion,
    /// By name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Of static topics, which RingMQ does not have; passed through as it came.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

/// The body of UPDATE_AND_CREATE_TOPIC_LIST (18).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TopicConfigList {
    pub topic_config_list: Vec<TopicConfig>,
}

/// Names of topics (206, 224, 304, 305, 311 to 313, 343).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// 304 only: the address of one master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The names.
    pub topic_list: Vec<String>,
}

/// The answer to QUERY_TOPIC_CONSUME_BY_WHO (300).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct GroupList {
    pub group_list: Vec<String>,
}

/// One entry of a consume queue as 321 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumeQueueEntry {
    /// The misspelling is RocketMQ's.
    pub physic_offset: i64,
    pub physic_size: i32,
    pub tags_code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_data_json: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_map: Option<String>,
    pub eval: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
}

/// The answer to QUERY_CONSUME_QUEUE (321).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumeQueueEntries {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<super::heartbeat::SubscriptionData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    pub queue_data: Vec<ConsumeQueueEntry>,
    pub max_queue_index: i64,
    pub min_queue_index: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{decode, to_vec};

    #[test]
    fn absent_members_are_rocketmq_s_defaults() {
        let config: TopicConfig = decode(br#"{"topicName":"t","attributes":null}"#).unwrap();
        assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm), (16, 16, 6));
    }

    #[test]
    fn attributes_survive_a_round_trip() {
        let mut config = TopicConfig { topic_name: "t".to_owned(), ..TopicConfig::default() };
        config.attributes.insert("message.type".to_owned(), "FIFO".to_owned());
        let body = to_vec(&config);
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"attributes":{"message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":16}"#
        );
        assert_eq!(decode::<TopicConfig>(&body).unwrap(), config);
    }
}
