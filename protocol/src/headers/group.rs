//! Consumer-group administration and statistics (protocol.md 2.3).
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

header! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201); the dashboard and old tools send no field at all.
    pub struct AllGroupConfigHeader<'a> {
        /// How many the client has already.
        group_seq: Option<i32> => "groupSeq" optional,
        /// The DataVersion of its first page, as JSON.
        data_version: Option<Text<'a>> => "dataVersion" optional,
        max_group_num: Option<i32> => "maxGroupNum" optional,
    }

    /// The answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
    pub struct AllGroupConfigReply {
        total_group_num: Option<i32> => "totalGroupNum" optional,
    }

    /// GET_SUBSCRIPTIONGROUP_CONFIG (352) and QUERY_TOPICS_BY_CONSUMER (343).
    pub struct GroupHeader<'a> {
        group: Text<'a> => "group" required,
    }

    /// DELETE_SUBSCRIPTIONGROUP (207).
    pub struct DeleteGroupHeader<'a> {
        group_name: Text<'a> => "groupName" required,
        clean_offset: bool => "cleanOffset" default(false),
    }

    /// GET_CONSUME_STATS (208).
    pub struct ConsumeStatsHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Option<Text<'a>> => "topic" optional,
        /// Joined by semicolons; overrides `topic`.
        topic_list: Option<Text<'a>> => "topicList" optional,
    }

    /// GET_BROKER_CONSUME_STATS (317).
    pub struct BrokerConsumeStatsHeader {
        is_order: bool => "isOrder" required,
    }

    /// QUERY_CONSUME_TIME_SPAN (303).
    pub struct ConsumeTimeSpanHeader<'a> {
        topic: Text<'a> => "topic" required,
        group: Text<'a> => "group" required,
    }

    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    pub struct QuerySubscriptionHeader<'a> {
        group: Text<'a> => "group" required,
        topic: Option<Text<'a>> => "topic" optional,
    }

    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353).
    pub struct GroupForbiddenHeader<'a> {
        group: Text<'a> => "group" required,
        topic: Text<'a> => "topic" required,
        readable: Option<bool> => "readable" optional,
    }

    /// VIEW_BROKER_STATS_DATA (315).
    pub struct StatsHeader<'a> {
        stats_name: Text<'a> => "statsName" required,
        stats_key: Text<'a> => "statsKey" required,
    }
}
