//! POP consumption: POP_MESSAGE (200050) to POLLING_INFO (200055).
//!
//! Owns the field tables only; the strings inside (`extraInfo`, `startOffsetInfo`) belong to POP itself.

use crate::header;
use crate::text::Text;

header! {
    /// POP_MESSAGE (200050).
    pub struct PopHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        /// -1: any queue.
        queue_id: i32 => "queueId" required,
        max_msg_nums: i32 => "maxMsgNums" required,
        /// Milliseconds.
        invisible_time: i64 => "invisibleTime" required,
        /// Milliseconds.
        poll_time: i64 => "pollTime" required,
        /// Milliseconds; 0 or absent: now.
        born_time: i64 => "bornTime" default(0),
        /// 0 from the first message on, 1 from the last.
        init_mode: i32 => "initMode" required,
        expression_type: Option<Text<'a>> => "expType" optional,
        expression: Option<Text<'a>> => "exp" optional,
        order: bool => "order" default(false),
        attempt_id: Option<Text<'a>> => "attemptId" optional,
    }

    /// The answer to POP_MESSAGE and PEEK_MESSAGE.
    pub struct PopReply<'a> {
        pop_time: i64 => "popTime" required,
        invisible_time: i64 => "invisibleTime" required,
        revive_queue_id: i32 => "reviveQid" required,
        rest_num: i64 => "restNum" required,
        start_offset_info: Option<Text<'a>> => "startOffsetInfo" optional,
        msg_offset_info: Option<Text<'a>> => "msgOffsetInfo" optional,
        order_count_info: Option<Text<'a>> => "orderCountInfo" optional,
    }

    /// PEEK_MESSAGE (200052).
    pub struct PeekHeader<'a> {
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        max_msg_nums: i32 => "maxMsgNums" required,
        consumer_group: Text<'a> => "consumerGroup" required,
    }

    /// ACK_MESSAGE (200051).
    pub struct AckHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        extra_info: Text<'a> => "extraInfo" required,
        offset: i64 => "offset" required,
    }

    /// CHANGE_MESSAGE_INVISIBLETIME (200053).
    pub struct ChangeInvisibleTimeHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        extra_info: Text<'a> => "extraInfo" required,
        offset: i64 => "offset" required,
        invisible_time: i64 => "invisibleTime" required,
    }

    /// The answer to CHANGE_MESSAGE_INVISIBLETIME.
    pub struct ChangeInvisibleTimeReply {
        pop_time: i64 => "popTime" required,
        invisible_time: i64 => "invisibleTime" required,
        revive_queue_id: i32 => "reviveQid" required,
    }

    /// NOTIFICATION (200054).
    pub struct NotificationHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
        poll_time: i64 => "pollTime" required,
        born_time: i64 => "bornTime" required,
        order: bool => "order" default(false),
        attempt_id: Option<Text<'a>> => "attemptId" optional,
    }

    /// The answer to NOTIFICATION.
    pub struct NotificationReply {
        has_msg: bool => "hasMsg" required,
        polling_full: bool => "pollingFull" default(false),
    }

    /// POLLING_INFO (200055).
    pub struct PollingInfoHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        topic: Text<'a> => "topic" required,
        queue_id: i32 => "queueId" required,
    }

    /// The answer to POLLING_INFO.
    pub struct PollingInfoReply {
        polling_num: i32 => "pollingNum" required,
    }
}
