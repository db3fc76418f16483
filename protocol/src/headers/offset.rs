//! Offsets: stored ones (14, 15), those of a queue (29 to 32) and resetting (220 to 223).
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

header! {
    /// QUERY_CONSUMER_OFFSET (14).
    pub struct QueryOffsetHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        /// True unless said otherwise: 0 instead of "not found" for a queue whose messages are all
        /// still there.
        set_zero_if_not_found: Option<bool> => "setZeroIfNotFound" optional,
    }

    /// UPDATE_CONSUMER_OFFSET (15).
    pub struct UpdateOffsetHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        commit_offset: i64 => "commitOffset" required,
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    pub struct SearchOffsetHeader<'a> {
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        /// Milliseconds.
        timestamp: i64 => "timestamp" required,
        /// LOWER or UPPER in any case; LOWER if absent.
        boundary_type: Option<Text<'a>> => "boundaryType" optional,
    }

    /// GET_MAX_OFFSET (30).
    pub struct MaxOffsetHeader<'a> {
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        committed: bool => "committed" default(true),
    }

    /// GET_MIN_OFFSET (31) and GET_EARLIEST_MSG_STORETIME (32).
    pub struct QueueHeader<'a> {
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
    }

    /// The answer to 14, 29, 30 and 31.
    pub struct OffsetReply {
        offset: i64 => "offset" required,
    }

    /// The answer to GET_EARLIEST_MSG_STORETIME.
    pub struct StoreTimeReply {
        /// Milliseconds; -1 if the queue is empty.
        timestamp: i64 => "timestamp" required,
    }

    /// RESET_CONSUMER_CLIENT_OFFSET (220), broker to client.
    pub struct ClientResetHeader<'a> {
        topic: Text<'a> => "topic" required,
        group: Text<'a> => "group" required,
        timestamp: i64 => "timestamp" required,
        is_force: bool => "isForce" required,
    }

    /// INVOKE_BROKER_TO_RESET_OFFSET (222).
    pub struct ResetOffsetHeader<'a> {
        topic: Text<'a> => "topic" required,
        group: Text<'a> => "group" required,
        /// -1: all queues.
        queue_id: i32 => "queueId" default(-1),
        offset: Option<i64> => "offset" optional,
        /// Milliseconds; negative: the end of the queue.
        timestamp: i64 => "timestamp" required,
        is_force: bool => "isForce" required,
    }

    /// GET_CONSUMER_STATUS_FROM_CLIENT (221) and INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
    pub struct ConsumerStatusHeader<'a> {
        topic: Text<'a> => "topic" required,
        group: Text<'a> => "group" required,
        client_addr: Option<Text<'a>> => "clientAddr" optional,
    }

    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneGroupOffsetHeader<'a> {
        src_group: Text<'a> => "srcGroup" required,
        dest_group: Text<'a> => "destGroup" required,
        topic: Option<Text<'a>> => "topic" optional,
        offline: bool => "offline" default(false),
    }

    /// QUERY_CORRECTION_OFFSET (308).
    pub struct CorrectionOffsetHeader<'a> {
        filter_groups: Option<Text<'a>> => "filterGroups" optional,
        compare_group: Text<'a> => "compareGroup" required,
        topic: Text<'a> => "topic" required,
    }
}
