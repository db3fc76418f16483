//! The frames that simulated clients send.

use ringmq_protocol::batch::BatchEntry;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::{
    MaxOffsetHeader, QueryOffsetHeader, QueueHeader, SearchOffsetHeader, UpdateOffsetHeader,
};
use ringmq_protocol::headers::pop::{AckHeader, PopHeader};
use ringmq_protocol::headers::pull::{PullHeader, QueryMessageHeader};
use ringmq_protocol::headers::send::{SendHeader, ShortSendHeader};
use ringmq_protocol::headers::topic::{CreateTopicHeader, TopicConfigHeader, TopicHeader};
use ringmq_protocol::headers::transaction::{COMMIT, EndTransactionHeader, ROLLBACK};
use ringmq_protocol::properties;
use ringmq_protocol::pull_flag;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

/// The group of every simulated consumer.
pub const GROUP: &str = "sim";

/// The group that consumes by POP.
pub const POP_GROUP: &str = "popper";

/// How long a popped message is invisible to others, ms.
pub const INVISIBLE_MS: u64 = 3_000;

/// A queue by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName<'a> {
    pub topic: &'a str,
    pub queue: i32,
}

fn frame<'h>(code: RequestCode, opaque: i32, header: &impl Header<'h>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Both spellings are exercised; the number decides, so that a run stays a function of its seed.
    let spelling = if opaque % 3 == 0 { Spelling::Binary } else { Spelling::Json };
    let head = Head::request(spelling, code.to_i32(), opaque);
    encode::begin(&mut out, &head).header(header).finish_with(body).expect("simulated frames are small");
    out
}

/// What makes a message another kind than plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Plain,
    /// Not before so many milliseconds have passed.
    Delay(u64),
    /// A half message.
    Prepare,
}

/// The unique id of a message, by which it can be searched for.
pub fn unique_key(number: usize) -> String {
    format!("S{number}")
}

/// One message.
pub fn send(opaque: i32, to: QueueName<'_>, now_ms: i64, message: (usize, &[u8]), wish: Wish) -> Vec<u8> {
    let (number, body) = message;
    let key = unique_key(number);
    let delay;
    let more = match wish {
        Wish::Plain => None,
        Wish::Delay(ms) => {
            delay = ms.to_string();
            Some(("TIMER_DELAY_MS", delay.as_str()))
        }
        Wish::Prepare => Some(("TRAN_MSG", "true")),
    };
    let pairs = [("UNIQ_KEY", key.as_str()), ("PGROUP", PRODUCER_GROUP)].into_iter().chain(more);
    let text = properties::build(pairs);
    let header = send_header(to, now_ms, &text, false);
    frame(RequestCode::SendMessageV2, opaque, &ShortSendHeader(header), body)
}

/// Several messages at once.
pub fn send_batch(opaque: i32, to: QueueName<'_>, now_ms: i64, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in bodies {
        BatchEntry { flag: 0, body: entry, properties: "" }.encode(&mut body);
    }
    let header = send_header(to, now_ms, "", true);
    frame(RequestCode::SendBatchMessage, opaque, &ShortSendHeader(header), &body)
}

const PRODUCER_GROUP: &str = "sim_producer";

fn send_header<'a>(to: QueueName<'a>, now_ms: i64, properties: &'a str, batch: bool) -> SendHeader<'a> {
    SendHeader {
        producer_group: Text::plain(PRODUCER_GROUP),
        topic: Text::plain(to.topic),
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: to.queue,
        sys_flag: 0,
        born_timestamp: now_ms,
        flag: 0,
        properties: Text::plain(properties),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch,
        broker_name: None,
    }
}

/// The end of a half message, which lies at this wire offset and offset of the half topic.
pub fn decide(opaque: i32, number: usize, (wire_offset, queue_offset): (i64, i64), commit: bool) -> Vec<u8> {
    let key = unique_key(number);
    let header = EndTransactionHeader {
        topic: None,
        producer_group: Text::plain(PRODUCER_GROUP),
        tran_state_table_offset: queue_offset,
        commit_log_offset: wire_offset,
        commit_or_rollback: if commit { COMMIT } else { ROLLBACK },
        from_transaction_check: false,
        msg_id: Text::plain(&key),
        transaction_id: None,
    };
    frame(RequestCode::EndTransaction, opaque, &header, &[])
}

/// Up to `most` messages of any queue, to be finished soon.
pub fn pop(opaque: i32, topic: &str, most: i32) -> Vec<u8> {
    let header = PopHeader {
        consumer_group: Text::plain(POP_GROUP),
        topic: Text::plain(topic),
        queue_id: -1,
        max_msg_nums: most,
        invisible_time: INVISIBLE_MS as i64,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        expression_type: None,
        expression: None,
        order: false,
        attempt_id: None,
    };
    frame(RequestCode::PopMessage, opaque, &header, &[])
}

/// A popped message is finished.
pub fn ack(opaque: i32, from: QueueName<'_>, offset: i64, extra_info: &str) -> Vec<u8> {
    let header = AckHeader {
        consumer_group: Text::plain(POP_GROUP),
        topic: Text::plain(from.topic),
        queue_id: from.queue,
        extra_info: Text::plain(extra_info),
        offset,
    };
    frame(RequestCode::AckMessage, opaque, &header, &[])
}

/// A pull of up to 32 messages, answered at once.
pub fn pull(opaque: i32, from: QueueName<'_>, offset: i64) -> Vec<u8> {
    let header = PullHeader {
        consumer_group: Text::plain(GROUP),
        topic: Text::plain(from.topic),
        queue_id: from.queue,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: pull_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some(Text::plain("*")),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    };
    frame(RequestCode::PullMessage, opaque, &header, &[])
}

/// The end of a queue.
pub fn max_offset(opaque: i32, of: QueueName<'_>) -> Vec<u8> {
    let header = MaxOffsetHeader { topic: Text::plain(of.topic), queue_id: of.queue, committed: true };
    frame(RequestCode::GetMaxOffset, opaque, &header, &[])
}

/// The first offset that a queue still shows.
pub fn min_offset(opaque: i32, of: QueueName<'_>) -> Vec<u8> {
    let header = QueueHeader { topic: Text::plain(of.topic), queue_id: of.queue };
    frame(RequestCode::GetMinOffset, opaque, &header, &[])
}

/// The first offset of a queue that was stored at this time or later.
pub fn offset_at(opaque: i32, of: QueueName<'_>, timestamp: i64) -> Vec<u8> {
    let header = SearchOffsetHeader {
        topic: Text::plain(of.topic),
        queue_id: of.queue,
        timestamp,
        boundary_type: Some(Text::plain("LOWER")),
    };
    frame(RequestCode::SearchOffsetByTimestamp, opaque, &header, &[])
}

/// The messages with a unique id.
pub fn by_unique_key(opaque: i32, topic: &str, number: usize) -> Vec<u8> {
    let key = unique_key(number);
    let header = QueryMessageHeader {
        topic: Text::plain(topic),
        key: Text::plain(&key),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: true,
    };
    frame(RequestCode::QueryMessage, opaque, &header, &[])
}

/// How far the group has come.
pub fn stored_offset(opaque: i32, of: QueueName<'_>) -> Vec<u8> {
    let header = QueryOffsetHeader {
        consumer_group: Text::plain(GROUP),
        topic: Text::plain(of.topic),
        queue_id: of.queue,
        set_zero_if_not_found: Some(false),
    };
    frame(RequestCode::QueryConsumerOffset, opaque, &header, &[])
}

/// The group has come so far.
pub fn store_offset(opaque: i32, of: QueueName<'_>, offset: i64) -> Vec<u8> {
    let header = UpdateOffsetHeader {
        consumer_group: Text::plain(GROUP),
        topic: Text::plain(of.topic),
        queue_id: of.queue,
        commit_offset: offset,
    };
    frame(RequestCode::UpdateConsumerOffset, opaque, &header, &[])
}

/// A topic with its flush mode.
pub fn create_topic(opaque: i32, topic: &str, queues: i32, attributes: &str) -> Vec<u8> {
    let header = CreateTopicHeader {
        topic: Text::plain(topic),
        default_topic: Text::plain("TBW102"),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: Text::plain("SINGLE_TAG"),
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(Text::plain(attributes)),
        force: None,
    };
    frame(RequestCode::UpdateAndCreateTopic, opaque, &header, &[])
}

/// The end of a topic.
pub fn delete_topic(opaque: i32, topic: &str) -> Vec<u8> {
    frame(RequestCode::DeleteTopicInBroker, opaque, &TopicHeader { topic: Text::plain(topic) }, &[])
}

/// What is known of a topic, if it exists.
pub fn topic_config(opaque: i32, topic: &str) -> Vec<u8> {
    let header = TopicConfigHeader { topic: Text::plain(topic), logical: None };
    frame(RequestCode::GetTopicConfig, opaque, &header, &[])
}
