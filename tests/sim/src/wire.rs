//! The frames that simulated clients send.

use ringmq_protocol::batch::BatchEntry;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::{MaxOffsetHeader, QueryOffsetHeader, UpdateOffsetHeader};
use ringmq_protocol::headers::pull::PullHeader;
use ringmq_protocol::headers::send::{SendHeader, ShortSendHeader};
use ringmq_protocol::headers::topic::CreateTopicHeader;
use ringmq_protocol::pull_flag;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

/// The group of every simulated consumer.
pub const GROUP: &str = "sim";

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

/// One message.
pub fn send(opaque: i32, to: QueueName<'_>, now_ms: i64, body: &[u8]) -> Vec<u8> {
    let header = send_header(to, now_ms, false);
    frame(RequestCode::SendMessageV2, opaque, &ShortSendHeader(header), body)
}

/// Several messages at once.
pub fn send_batch(opaque: i32, to: QueueName<'_>, now_ms: i64, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in bodies {
        BatchEntry { flag: 0, body: entry, properties: "" }.encode(&mut body);
    }
    let header = send_header(to, now_ms, true);
    frame(RequestCode::SendBatchMessage, opaque, &ShortSendHeader(header), &body)
}

fn send_header(to: QueueName<'_>, now_ms: i64, batch: bool) -> SendHeader<'_> {
    SendHeader {
        producer_group: Text::plain("sim_producer"),
        topic: Text::plain(to.topic),
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: to.queue,
        sys_flag: 0,
        born_timestamp: now_ms,
        flag: 0,
        properties: Text::EMPTY,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch,
        broker_name: None,
    }
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
