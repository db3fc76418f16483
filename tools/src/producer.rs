//! A producer: picks queues in turn and sends, trying another queue when a broker says no.

use std::time::{SystemTime, UNIX_EPOCH};

use ringmq_protocol::headers::send::{SendHeader, SendReply, ShortSendHeader};
use ringmq_protocol::ids::UniqueKey;
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

use crate::client::{Client, Queue, QueueUse};
use crate::link::CallError;

/// Sends per message before giving up: one and two retries, as the Java client's retryTimesWhenSendFailed.
const TRIES: usize = 3;

/// The topic a new one is modelled on (RocketMQ: `TopicValidator.AUTO_CREATE_TOPIC_KEY_TOPIC`).
const AUTO_CREATE_TOPIC: &str = "TBW102";

/// Queues asked for when a topic is created by its first message: the clients' defaultTopicQueueNums.
const NEW_TOPIC_QUEUES: i32 = 4;

/// What to send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub tags: Option<&'a str>,
    /// Keys for queries, separated by spaces.
    pub keys: Option<&'a str>,
    pub properties: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The id made by the producer (UNIQ_KEY): the one users search by.
    pub message_id: String,
    /// The id made by the broker: its address and the place in its log.
    pub offset_id: String,
    pub broker: String,
    pub queue: i32,
    pub offset: i64,
}

/// A producer of one group.
pub struct Producer {
    client: Client,
    group: String,
    turn: usize,
    counter: u16,
}

impl Producer {
    /// A producer that finds brokers through `namesrv` (`host:port;host:port`).
    pub fn new(namesrv: &str, group: &str) -> Producer {
        Producer { client: Client::new(namesrv), group: group.to_owned(), turn: 0, counter: 0 }
    }

    /// Sends one message and waits until the broker has it.
    ///
    /// # Errors
    /// No route, or the last of three brokers' refusals.
    pub fn send(&mut self, message: &Outgoing<'_>) -> Result<Sent, CallError> {
        let queues = match self.client.queues(message.topic, QueueUse::Write) {
            // The first message of a new topic goes the way of the topic it is modelled on.
            Err(CallError::Refused { .. }) => {
                let mut queues = self.client.queues(AUTO_CREATE_TOPIC, QueueUse::Write)?;
                queues.retain(|queue| queue.id < NEW_TOPIC_QUEUES);
                queues
            }
            found => found?,
        };
        let key = self.unique_key();
        let mut tried = 0;
        loop {
            tried += 1;
            self.turn = self.turn.wrapping_add(1);
            let queue = &queues[self.turn % queues.len()];
            match self.send_to(queue, message, &key) {
                Ok(sent) => return Ok(sent),
                Err(error) if tried == TRIES || !worth_another_try(&error) => return Err(error),
                Err(_) => self.client.forget(&queue.address),
            }
        }
    }

    fn send_to(&mut self, queue: &Queue, message: &Outgoing<'_>, key: &str) -> Result<Sent, CallError> {
        let properties = properties_of(message, key);
        let header = ShortSendHeader(SendHeader {
            producer_group: Text::plain(&self.group),
            topic: Text::plain(message.topic),
            default_topic: Text::plain(AUTO_CREATE_TOPIC),
            default_topic_queue_nums: NEW_TOPIC_QUEUES,
            queue_id: queue.id,
            sys_flag: 0,
            born_timestamp: wall_ms(),
            flag: 0,
            properties: Text::plain(&properties),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: Some(Text::plain(&queue.broker)),
        });
        let answer = self.client.link(&queue.address)?.call(RequestCode::SendMessageV2, &header, message.body)?;
        let reply: SendReply<'_> = answer.header(&queue.address)?;
        Ok(Sent {
            message_id: key.to_owned(),
            offset_id: reply.msg_id.to_cow().into_owned(),
            broker: queue.broker.clone(),
            queue: reply.queue_id,
            offset: reply.queue_offset,
        })
    }

    fn unique_key(&mut self) -> String {
        self.counter = self.counter.wrapping_add(1);
        // Readers derive the time from it modulo a month; any month start serves.
        const MONTH_MS: i64 = 31 * 24 * 3_600_000;
        UniqueKey {
            ip: self.client.own_ip(),
            process: std::process::id() as u16,
            maker: 0,
            millis_of_month: i32::try_from(wall_ms() % MONTH_MS).expect("a month has fewer than 2^32 / 2 ms"),
            counter: self.counter,
        }
        .encode()
        .to_string()
    }
}

fn worth_another_try(error: &CallError) -> bool {
    match error {
        CallError::Lost { .. } => true,
        CallError::Garbled { .. } => false,
        // The codes Java's producer retries (DefaultMQProducer.retryResponseCodes).
        CallError::Refused { code, .. } => [1, 2, 14, 16, 17, 204, 205].contains(code),
    }
}

fn properties_of(message: &Outgoing<'_>, key: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = message.properties.to_vec();
    pairs.push((names::UNIQ_KEY, key));
    pairs.extend(message.tags.map(|tags| (names::TAGS, tags)));
    pairs.extend(message.keys.map(|keys| (names::KEYS, keys)));
    properties::build(pairs)
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
