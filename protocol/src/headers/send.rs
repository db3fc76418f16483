//! Sending: SEND_MESSAGE (10), its short-named form V2 (310), batches (320) and replies (324, 325).
//!
//! Owns the one header that all five spell, in long or short names (RocketMQ:
//! `SendMessageRequestHeader`, `SendMessageRequestHeaderV2`).

use crate::ext::Ext;
use crate::header;
use crate::header::{FieldSink, Header, HeaderError};
use crate::text::Text;

header! {
    /// SEND_MESSAGE and its relatives. Reading accepts long and short names alike, whatever the code.
    /// Writing uses the long names; [`ShortSendHeader`] writes the short ones.
    pub struct SendHeader<'a> {
        producer_group: Text<'a> => "producerGroup" | "a" required,
        topic: Text<'a> => "topic" | "b" required,
        /// The topic to copy settings from when `topic` is unknown: `TBW102` unless set.
        default_topic: Text<'a> => "defaultTopic" | "c" default(Text::EMPTY),
        default_topic_queue_nums: i32 => "defaultTopicQueueNums" | "d" default(0),
        /// Negative: the broker chooses.
        queue_id: i32 => "queueId" | "e" required,
        sys_flag: i32 => "sysFlag" | "f" required,
        born_timestamp: i64 => "bornTimestamp" | "g" required,
        flag: i32 => "flag" | "h" required,
        properties: Text<'a> => "properties" | "i" default(Text::EMPTY),
        reconsume_times: i32 => "reconsumeTimes" | "j" default(0),
        unit_mode: bool => "unitMode" | "k" default(false),
        max_reconsume_times: Option<i32> => "maxReconsumeTimes" | "l" optional,
        batch: bool => "batch" | "m" default(false),
        broker_name: Option<Text<'a>> => "bname" | "n" optional,
    }

    /// The answer to a send; also written for 10, 11 and 12, where the message was stored.
    pub struct SendReply<'a> {
        /// The offsetMsgId; a comma list for batches, `0` for replies.
        msg_id: Text<'a> => "msgId" required,
        queue_id: i32 => "queueId" required,
        queue_offset: i64 => "queueOffset" required,
        transaction_id: Option<Text<'a>> => "transactionId" optional,
        batch_uniq_id: Option<Text<'a>> => "batchUniqId" optional,
        recall_handle: Option<Text<'a>> => "recallHandle" optional,
    }

    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326), broker to the producer that waits for a reply. Hosts are
    /// plain `ip:port`.
    pub struct PushReplyHeader<'a> {
        producer_group: Text<'a> => "producerGroup" required,
        topic: Text<'a> => "topic" required,
        default_topic: Text<'a> => "defaultTopic" required,
        default_topic_queue_nums: i32 => "defaultTopicQueueNums" required,
        queue_id: i32 => "queueId" required,
        sys_flag: i32 => "sysFlag" required,
        born_timestamp: i64 => "bornTimestamp" required,
        flag: i32 => "flag" required,
        properties: Option<Text<'a>> => "properties" optional,
        reconsume_times: Option<i32> => "reconsumeTimes" optional,
        unit_mode: Option<bool> => "unitMode" optional,
        born_host: Text<'a> => "bornHost" required,
        store_host: Text<'a> => "storeHost" required,
        store_timestamp: i64 => "storeTimestamp" required,
    }

    /// CONSUMER_SEND_MSG_BACK (36).
    pub struct SendBackHeader<'a> {
        /// A commit-log offset.
        offset: i64 => "offset" required,
        group: Text<'a> => "group" required,
        /// Negative: straight to the dead-letter topic; 0: the broker chooses.
        delay_level: i32 => "delayLevel" required,
        origin_msg_id: Option<Text<'a>> => "originMsgId" optional,
        origin_topic: Option<Text<'a>> => "originTopic" optional,
        unit_mode: bool => "unitMode" default(false),
        /// Counts only from clients of version 121 (V3_4_9) on.
        max_reconsume_times: Option<i32> => "maxReconsumeTimes" optional,
    }

    /// RECALL_MESSAGE (370).
    pub struct RecallHeader<'a> {
        producer_group: Option<Text<'a>> => "producerGroup" optional,
        topic: Option<Text<'a>> => "topic" optional,
        recall_handle: Text<'a> => "recallHandle" required,
    }

    /// The answer to RECALL_MESSAGE.
    pub struct RecallReply<'a> {
        msg_id: Text<'a> => "msgId" required,
    }
}

/// A [`SendHeader`] written with the names a..n, as 310, 320 and 325 want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortSendHeader<'a>(pub SendHeader<'a>);

impl<'a> Header<'a> for ShortSendHeader<'a> {
    fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        SendHeader::decode(ext).map(ShortSendHeader)
    }

    #[inline]
    fn encode<S: FieldSink>(&self, sink: &mut S) {
        let SendHeader {
            producer_group,
            topic,
            default_topic,
            default_topic_queue_nums,
            queue_id,
            sys_flag,
            born_timestamp,
            flag,
            properties,
            reconsume_times,
            unit_mode,
            max_reconsume_times,
            batch,
            broker_name,
        } = self.0;
        sink.text("a", producer_group);
        sink.text("b", topic);
        sink.text("c", default_topic);
        sink.int("d", i64::from(default_topic_queue_nums));
        sink.int("e", i64::from(queue_id));
        sink.int("f", i64::from(sys_flag));
        sink.int("g", born_timestamp);
        sink.int("h", i64::from(flag));
        sink.text("i", properties);
        sink.int("j", i64::from(reconsume_times));
        sink.boolean("k", unit_mode);
        if let Some(times) = max_reconsume_times {
            sink.int("l", i64::from(times));
        }
        sink.boolean("m", batch);
        if let Some(name) = broker_name {
            sink.text("n", name);
        }
    }
}
