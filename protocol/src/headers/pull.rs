//! Pulling: PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361), and looking at single messages.
//!
//! Owns the field tables only; the meaning of the sysFlag bits is in `pull_flag`.

use crate::header;
use crate::text::Text;

header! {
    /// PULL_MESSAGE and LITE_PULL_MESSAGE.
    pub struct PullHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        queue_offset: i64 => "queueOffset" required,
        max_msg_nums: i32 => "maxMsgNums" required,
        sys_flag: i32 => "sysFlag" required,
        /// Counts only if the sysFlag says so.
        commit_offset: i64 => "commitOffset" required,
        suspend_timeout_millis: i64 => "suspendTimeoutMillis" required,
        subscription: Option<Text<'a>> => "subscription" optional,
        sub_version: i64 => "subVersion" default(0),
        expression_type: Option<Text<'a>> => "expressionType" optional,
        max_msg_bytes: Option<i32> => "maxMsgBytes" optional,
        request_source: Option<i32> => "requestSource" optional,
        /// The misspelling is RocketMQ's.
        proxy_forward_client_id: Option<Text<'a>> => "proxyFrowardClientId" optional,
    }

    /// The answer to a pull, for 0, 19, 20 and 21 alike: the Java client unboxes the first four
    /// without a check.
    pub struct PullReply {
        suggest_which_broker_id: i64 => "suggestWhichBrokerId" required,
        next_begin_offset: i64 => "nextBeginOffset" required,
        min_offset: i64 => "minOffset" required,
        max_offset: i64 => "maxOffset" required,
        offset_delta: Option<i64> => "offsetDelta" optional,
        topic_sys_flag: Option<i32> => "topicSysFlag" optional,
        group_sys_flag: Option<i32> => "groupSysFlag" optional,
        forbidden_type: Option<i32> => "forbiddenType" optional,
    }

    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessageHeader<'a> {
        /// A commit-log offset: the exact start of a record.
        offset: i64 => "offset" required,
        topic: Option<Text<'a>> => "topic" optional,
    }

    /// QUERY_MESSAGE (12). A query by UNIQ_KEY carries the extra ext field `_UNIQUE_KEY_QUERY`.
    pub struct QueryMessageHeader<'a> {
        topic: Text<'a> => "topic" required,
        key: Text<'a> => "key" required,
        max_num: i32 => "maxNum" required,
        begin_timestamp: i64 => "beginTimestamp" required,
        /// May be `i64::MAX`.
        end_timestamp: i64 => "endTimestamp" required,
        unique_key_query: bool => "_UNIQUE_KEY_QUERY" default(false),
    }

    /// The answer to QUERY_MESSAGE.
    pub struct QueryMessageReply {
        index_last_update_timestamp: i64 => "indexLastUpdateTimestamp" required,
        index_last_update_phyoffset: i64 => "indexLastUpdatePhyoffset" required,
    }
}
