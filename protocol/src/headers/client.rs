//! Clients and their groups: 34, 35, 38, 40, and the requests relayed to a consumer (307, 309).
//!
//! Owns the field tables only; heartbeats are bodies.

use crate::header;
use crate::text::Text;

header! {
    /// The answer to HEART_BEAT (34). Java also notes the version of the answer as the broker's.
    pub struct HeartbeatReply {
        is_support_heart_beat_v2: bool => "IS_SUPPORT_HEART_BEAT_V2" default(false),
        is_sub_change: bool => "IS_SUB_CHANGE" default(true),
    }

    /// UNREGISTER_CLIENT (35).
    pub struct UnregisterClientHeader<'a> {
        client_id: Text<'a> => "clientID" required,
        producer_group: Option<Text<'a>> => "producerGroup" optional,
        consumer_group: Option<Text<'a>> => "consumerGroup" optional,
    }

    /// GET_CONSUMER_LIST_BY_GROUP (38), NOTIFY_CONSUMER_IDS_CHANGED (40) and
    /// GET_CONSUMER_CONNECTION_LIST (203).
    pub struct ConsumerGroupHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
    }

    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub struct ProducerGroupHeader<'a> {
        producer_group: Text<'a> => "producerGroup" required,
    }

    /// GET_CONSUMER_RUNNING_INFO (307), to the broker and on to the client.
    pub struct RunningInfoHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        client_id: Text<'a> => "clientId" required,
        jstack_enable: bool => "jstackEnable" default(false),
    }

    /// CONSUME_MESSAGE_DIRECTLY (309), to the broker and on to the client. The broker adds the last
    /// three fields.
    pub struct ConsumeDirectlyHeader<'a> {
        consumer_group: Text<'a> => "consumerGroup" required,
        client_id: Option<Text<'a>> => "clientId" optional,
        /// An offsetMsgId.
        msg_id: Option<Text<'a>> => "msgId" optional,
        topic: Option<Text<'a>> => "topic" optional,
        broker_name: Option<Text<'a>> => "brokerName" optional,
        topic_sys_flag: Option<i32> => "topicSysFlag" optional,
        group_sys_flag: Option<i32> => "groupSysFlag" optional,
    }
}
