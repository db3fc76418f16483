//! Topic administration (protocol.md 2.2).
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

header! {
    /// UPDATE_AND_CREATE_TOPIC (17) and UPDATE_AND_CREATE_STATIC_TOPIC (513).
    pub struct CreateTopicHeader<'a> {
        topic: Text<'a> => "topic" required,
        default_topic: Text<'a> => "defaultTopic" default(Text::EMPTY),
        read_queue_nums: i32 => "readQueueNums" required,
        write_queue_nums: i32 => "writeQueueNums" required,
        /// Bits of `perm`.
        perm: i32 => "perm" required,
        /// SINGLE_TAG or MULTI_TAG.
        topic_filter_type: Text<'a> => "topicFilterType" default(Text::plain("SINGLE_TAG")),
        topic_sys_flag: Option<i32> => "topicSysFlag" optional,
        order: bool => "order" default(false),
        /// `+key=value` and `-key`, joined by commas.
        attributes: Option<Text<'a>> => "attributes" optional,
        force: Option<bool> => "force" optional,
    }

    /// Requests that name a topic: DELETE_TOPIC_IN_BROKER (215), REGISTER_TOPIC_IN_NAMESRV (217),
    /// GET_TOPIC_STATS_INFO (202), QUERY_TOPIC_CONSUME_BY_WHO (300).
    pub struct TopicHeader<'a> {
        topic: Text<'a> => "topic" required,
    }

    /// GET_TOPIC_CONFIG (351).
    pub struct TopicConfigHeader<'a> {
        topic: Text<'a> => "topic" required,
        /// With the mapping of a static topic.
        logical: Option<bool> => "lo" optional,
    }

    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicHeader<'a> {
        topic: Text<'a> => "topic" required,
        /// Only the brokers of this cluster.
        cluster_name: Option<Text<'a>> => "clusterName" optional,
    }

    /// GET_ALL_TOPIC_CONFIG (21); without any field: everything at once.
    pub struct AllTopicConfigHeader<'a> {
        /// How many the client has already.
        topic_seq: Option<i32> => "topicSeq" optional,
        /// The DataVersion of its first page, as JSON.
        data_version: Option<Text<'a>> => "dataVersion" optional,
        max_topic_num: Option<i32> => "maxTopicNum" optional,
    }

    /// The answer to GET_ALL_TOPIC_CONFIG.
    pub struct AllTopicConfigReply {
        total_topic_num: Option<i32> => "totalTopicNum" optional,
    }

    /// GET_TOPICS_BY_CLUSTER (224).
    pub struct ClusterHeader<'a> {
        cluster: Text<'a> => "cluster" required,
    }

    /// QUERY_CONSUME_QUEUE (321).
    pub struct QueryConsumeQueueHeader<'a> {
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        index: i64 => "index" required,
        count: i32 => "count" required,
        consumer_group: Option<Text<'a>> => "consumerGroup" optional,
    }

    /// CHECK_ROCKSDB_CQ_WRITE_PROGRESS (354).
    pub struct CheckWriteProgressHeader<'a> {
        topic: Text<'a> => "topic" required,
        check_store_time: Option<i64> => "checkStoreTime" optional,
    }
}
