//! A member of a consumer group: heartbeats, takes its share of the queues, pulls them, commits offsets.
//!
//! One thread, one connection per broker: a long poll per queue is kept in flight and whatever comes back is
//! handed to the caller by [`Consumer::poll`]. Membership follows the clients' own rule: the group's sorted ids
//! share the sorted queues in equal runs (RocketMQ: `AllocateMessageQueueAveragely`).

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::read::ZlibDecoder;
use ringmq_protocol::command::Command;
use ringmq_protocol::headers::client::{ConsumerGroupHeader, UnregisterClientHeader};
use ringmq_protocol::headers::offset::{
    MaxOffsetHeader, OffsetReply, QueryOffsetHeader, QueueHeader, UpdateOffsetHeader,
};
use ringmq_protocol::headers::pull::{PullHeader, PullReply};
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::pull_flag;
use ringmq_protocol::record::{self, RecordRef};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::sys_flag;
use ringmq_protocol::text::Text;

use crate::client::{Client, NoHeader, Queue, QueueUse};
use crate::link::{ANSWER_LIMIT, CallError};

/// Time between heartbeats and looks at the membership; the Java client waits 20 to 30 s.
const REBALANCE_EVERY: Duration = Duration::from_secs(10);

/// How long the broker may hold a pull.
const HOLD_MS: i64 = 5_000;

/// Messages asked for per pull.
const PULL_MESSAGES: i32 = 32;

/// Largest body a compressed message may inflate to: what brokers accept at most, several times over.
const INFLATED_LIMIT: u64 = 64 * 1024 * 1024;

/// Where a group without offsets begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the oldest message.
    First,
    /// With messages sent from now on.
    Last,
}

/// A message as the user sees it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The producer's id if it set one, else the broker's.
    pub id: String,
    pub topic: String,
    pub queue: i32,
    pub offset: i64,
    pub tags: Option<String>,
    pub keys: Option<String>,
    /// All properties, those of RocketMQ included.
    pub properties: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Milliseconds since the Unix epoch.
    pub stored_at: i64,
}

/// What is known of one queue of ours.
struct Owned {
    queue: Queue,
    /// Next offset to pull.
    next: i64,
    /// Below this, messages were handed to the caller.
    consumed: i64,
    committed: i64,
    /// Number of the pull in flight.
    pull: Option<i32>,
}

/// One member of a group, subscribed to one topic.
pub struct Consumer {
    client: Client,
    group: String,
    topic: String,
    expression: String,
    from: From,
    sub_version: i64,
    owned: BTreeMap<(String, i32), Owned>,
    ready: VecDeque<Message>,
    next_rebalance: Instant,
}

impl Consumer {
    /// A member of `group` that wants the messages of `topic` whose tag fits `expression` (`*`, `A || B`).
    pub fn new(namesrv: &str, group: &str, topic: &str, expression: &str, from: From) -> Consumer {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Consumer {
            client: Client::new(namesrv),
            group: group.to_owned(),
            topic: topic.to_owned(),
            expression: expression.to_owned(),
            from,
            sub_version: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            owned: BTreeMap::new(),
            ready: VecDeque::new(),
            next_rebalance: Instant::now(),
        }
    }

    /// The next message, or `None` when none comes within `limit`.
    ///
    /// # Errors
    /// No route, or a broker that refuses or is gone; the next call tries again.
    pub fn poll(&mut self, limit: Duration) -> Result<Option<Message>, CallError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.mark_consumed(&message);
                return Ok(Some(message));
            }
            if Instant::now() >= self.next_rebalance {
                self.next_rebalance = Instant::now() + REBALANCE_EVERY;
                self.rebalance()?;
            }
            self.start_pulls()?;
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            self.receive(deadline.min(self.next_rebalance).saturating_duration_since(now))?;
        }
    }

    /// Tells the brokers how far the caller came.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub fn commit(&mut self) -> Result<(), CallError> {
        let Consumer { client, owned, group, topic, .. } = self;
        for held in owned.values_mut().filter(|held| held.consumed > held.committed) {
            let header = UpdateOffsetHeader {
                consumer_group: Text::plain(group),
                topic: Text::plain(topic),
                queue_id: held.queue.id,
                commit_offset: held.consumed,
            };
            client.link(&held.queue.address)?.call(RequestCode::UpdateConsumerOffset, &header, &[])?;
            held.committed = held.consumed;
        }
        Ok(())
    }

    /// Commits and leaves the group, so that the others take over at once.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub fn leave(mut self) -> Result<(), CallError> {
        self.commit()?;
        let id = self.client.id().to_owned();
        let header = UnregisterClientHeader {
            client_id: Text::plain(&id),
            producer_group: None,
            consumer_group: Some(Text::plain(&self.group)),
        };
        for address in self.client.masters(&self.topic)? {
            self.client.link(&address)?.call(RequestCode::UnregisterClient, &header, &[])?;
        }
        Ok(())
    }

    fn mark_consumed(&mut self, message: &Message) {
        let ours = self.owned.values_mut().find(|held| held.queue.id == message.queue);
        if let Some(held) = ours {
            held.consumed = held.consumed.max(message.offset + 1);
        }
    }

    /// Heartbeats, asks who else is in the group, and takes this member's share of the queues.
    fn rebalance(&mut self) -> Result<(), CallError> {
        let heartbeat = self.heartbeat();
        for address in self.client.masters(&self.topic)? {
            self.client.link(&address)?.call(RequestCode::HeartBeat, &NoHeader, &heartbeat)?;
        }
        let members = self.members()?;
        let queues = self.client.queues(&self.topic, QueueUse::Read)?;
        let mine = share(&queues, &members, self.client.id());
        self.commit()?;
        self.owned.retain(|key, _| mine.iter().any(|queue| queue.key() == *key));
        for queue in mine {
            if self.owned.contains_key(&queue.key()) {
                continue;
            }
            let next = self.first_offset(&queue)?;
            self.owned.insert(queue.key(), Owned { queue, next, consumed: next, committed: next, pull: None });
        }
        Ok(())
    }

    fn heartbeat(&self) -> Vec<u8> {
        let first = match self.from {
            From::First => "CONSUME_FROM_FIRST_OFFSET",
            From::Last => "CONSUME_FROM_LAST_OFFSET",
        };
        serde_json::json!({
            "clientID": self.client.id(),
            "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": self.group,
                "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING",
                "consumeFromWhere": first,
                "unitMode": false,
                "subscriptionDataSet": [{
                    "topic": self.topic,
                    "subString": self.expression,
                    "tagsSet": [],
                    "codeSet": [],
                    "subVersion": self.sub_version,
                    "expressionType": "TAG",
                    "classFilterMode": false,
                }],
            }],
        })
        .to_string()
        .into_bytes()
    }

    /// The ids of the group's members, this one included.
    fn members(&mut self) -> Result<Vec<String>, CallError> {
        let header = ConsumerGroupHeader { consumer_group: Text::plain(&self.group) };
        let addresses = self.client.masters(&self.topic)?;
        let Some(address) = addresses.first() else {
            return Ok(Vec::new());
        };
        let answer = self.client.link(address)?.call(RequestCode::GetConsumerListByGroup, &header, &[])?;
        let body: serde_json::Value = serde_json::from_slice(answer.command().body)
            .map_err(|e| CallError::Garbled { server: address.clone(), problem: e.to_string() })?;
        let ids = body["consumerIdList"].as_array().into_iter().flatten();
        let mut ids: Vec<String> = ids.filter_map(|id| id.as_str().map(str::to_owned)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Where to begin with a queue: the group's offset, or what [`From`] says.
    fn first_offset(&mut self, queue: &Queue) -> Result<i64, CallError> {
        let (group, topic) = (self.group.clone(), self.topic.clone());
        let stored = QueryOffsetHeader {
            consumer_group: Text::plain(&group),
            topic: Text::plain(&topic),
            queue_id: queue.id,
            set_zero_if_not_found: Some(false),
        };
        let link = self.client.link(&queue.address)?;
        let answer = match link.call(RequestCode::QueryConsumerOffset, &stored, &[]) {
            Err(CallError::Refused { code, .. }) if code == ResponseCode::QueryNotFound.to_i32() => match self.from {
                From::First => {
                    let header = QueueHeader { topic: Text::plain(&topic), queue_id: queue.id };
                    link.call(RequestCode::GetMinOffset, &header, &[])?
                }
                From::Last => {
                    let header = MaxOffsetHeader { topic: Text::plain(&topic), queue_id: queue.id, committed: true };
                    link.call(RequestCode::GetMaxOffset, &header, &[])?
                }
            },
            other => other?,
        };
        let reply: OffsetReply = answer.header(&queue.address)?;
        Ok(reply.offset)
    }

    /// Keeps one pull per queue in flight.
    fn start_pulls(&mut self) -> Result<(), CallError> {
        let Consumer { client, owned, group, topic, expression, sub_version, .. } = self;
        for held in owned.values_mut().filter(|held| held.pull.is_none()) {
            let header = PullHeader {
                consumer_group: Text::plain(group),
                topic: Text::plain(topic),
                queue_id: held.queue.id,
                queue_offset: held.next,
                max_msg_nums: PULL_MESSAGES,
                sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION,
                commit_offset: 0,
                suspend_timeout_millis: HOLD_MS,
                subscription: Some(Text::plain(expression)),
                sub_version: *sub_version,
                expression_type: Some(Text::plain("TAG")),
                max_msg_bytes: None,
                request_source: None,
                proxy_forward_client_id: None,
            };
            let link = client.link(&held.queue.address)?;
            held.pull = Some(link.send(RequestCode::PullMessage, &header, &[])?);
        }
        Ok(())
    }

    /// Takes in what comes back on any connection within `limit`.
    fn receive(&mut self, limit: Duration) -> Result<(), CallError> {
        let addresses: Vec<String> = self.owned.values().map(|held| held.queue.address.clone()).collect();
        let Some(address) = addresses.first().cloned() else {
            // A member without queues has nothing to wait for but the next rebalance.
            std::thread::sleep(limit.min(ANSWER_LIMIT));
            return Ok(());
        };
        // With several brokers each is looked at in turn, a slice of the time each.
        let mut distinct = addresses;
        distinct.dedup();
        let slice = if distinct.len() > 1 { limit.min(Duration::from_millis(10)) } else { limit };
        for server in distinct.into_iter().chain([address]) {
            let received = match self.client.link(&server)?.receive(slice) {
                Ok(Some(received)) => received,
                Ok(None) => continue,
                Err(error) => {
                    self.client.forget(&server);
                    self.owned.retain(|_, held| held.queue.address != server);
                    self.next_rebalance = Instant::now();
                    return Err(error);
                }
            };
            self.take_in(&server, &received.command())?;
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_in(&mut self, server: &str, command: &Command<'_>) -> Result<(), CallError> {
        if !command.is_response() {
            if command.code == RequestCode::NotifyConsumerIdsChanged.to_i32() {
                self.next_rebalance = Instant::now();
            }
            return Ok(());
        }
        let pulled =
            self.owned.values_mut().find(|held| held.queue.address == server && held.pull == Some(command.opaque));
        let Some(held) = pulled else { return Ok(()) };
        held.pull = None;
        let garbled = |problem: String| CallError::Garbled { server: server.to_owned(), problem };
        match ResponseCode::from_i32(command.code) {
            Some(
                ResponseCode::Success
                | ResponseCode::PullNotFound
                | ResponseCode::PullRetryImmediately
                | ResponseCode::PullOffsetMoved,
            ) => {
                let reply = <PullReply as ringmq_protocol::header::Header<'_>>::decode(&command.ext)
                    .map_err(|e| garbled(e.to_string()))?;
                held.next = reply.next_begin_offset;
            }
            _ => {
                let remark = command.remark.map(|text| text.to_cow().into_owned()).unwrap_or_default();
                return Err(CallError::Refused { code: command.code, remark });
            }
        }
        for record in record::iter(command.body) {
            let record = record.map_err(|e| garbled(e.to_string()))?;
            self.ready.push_back(message_of(&record).map_err(garbled)?);
        }
        Ok(())
    }
}

/// The queues of one member: equal runs of the sorted queues, the first members get one more.
fn share(queues: &[Queue], members: &[String], me: &str) -> Vec<Queue> {
    let Some(index) = members.iter().position(|id| id == me) else {
        return Vec::new();
    };
    let mut sorted = queues.to_vec();
    sorted.sort_by_key(Queue::key);
    let (each, over) = (sorted.len() / members.len(), sorted.len() % members.len());
    let begin = index * each + index.min(over);
    let count = each + usize::from(index < over);
    sorted[begin..begin + count].to_vec()
}

fn message_of(record: &RecordRef<'_>) -> Result<Message, String> {
    let pairs: Vec<(String, String)> =
        properties::iter(record.properties()).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let property = |key: &str| record.property(key).map(str::to_owned);
    let id = property(names::UNIQ_KEY).unwrap_or_else(|| record.offset_id().to_string());
    Ok(Message {
        id,
        topic: record.topic().to_owned(),
        queue: record.queue_id(),
        offset: record.queue_offset(),
        tags: property(names::TAGS),
        keys: property(names::KEYS),
        properties: pairs,
        body: plain_body(record)?,
        stored_at: record.store_timestamp(),
    })
}

fn plain_body(record: &RecordRef<'_>) -> Result<Vec<u8>, String> {
    if record.sys_flag() & sys_flag::COMPRESSED == 0 {
        return Ok(record.body().to_vec());
    }
    let mut body = Vec::new();
    ZlibDecoder::new(record.body())
        .take(INFLATED_LIMIT)
        .read_to_end(&mut body)
        .map_err(|e| format!("a body marked as zlib-compressed does not inflate: {e}"))?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<Queue> {
        (0..count).map(|id| Queue { broker: "broker-a".into(), address: "127.0.0.1:10911".into(), id }).collect()
    }

    #[test]
    fn members_share_all_queues_once() {
        let members: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let queues = queues(8);
        let shares: Vec<Vec<i32>> =
            members.iter().map(|me| share(&queues, &members, me).iter().map(|queue| queue.id).collect()).collect();
        assert_eq!(shares, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
    }

    #[test]
    fn a_member_the_broker_does_not_know_yet_has_no_share() {
        assert!(share(&queues(4), &["a".to_owned()], "b").is_empty());
    }

    #[test]
    fn more_members_than_queues_leave_some_idle() {
        let members: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        assert!(share(&queues(2), &members, "c").is_empty());
        assert_eq!(share(&queues(2), &members, "b").len(), 1);
    }
}
