//! Figures: a topic's offsets (202), a group's lag (208, 317), spans of time (303) and counters (315).
//!
//! Three of them are maps with queues as keys and therefore write themselves.

use super::encode;
use super::queue::{MessageQueue, QueueMap};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The answer to GET_TOPIC_STATS_INFO (202).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    /// By queue.
    pub offset_table: QueueMap<TopicOffset>,
    /// Messages per second.
    pub topic_put_tps: f64,
}

/// The offsets of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TopicOffset {
    /// Milliseconds; 0 if empty.
    pub last_update_timestamp: i64,
    pub max_offset: i64,
    pub min_offset: i64,
}

impl TopicStats {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"offsetTable\":");
        self.offset_table.encode(out);
        out.extend_from_slice(b",\"topicPutTps\":");
        encode(&self.topic_put_tps, out);
        out.push(b'}');
    }
}

/// The answer to GET_CONSUME_STATS (208).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages per second.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: QueueMap<ConsumeOffset>,
}

/// How far a group is in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeOffset {
    /// The end of the queue.
    pub broker_offset: i64,
    /// What the group has committed.
    pub consumer_offset: i64,
    /// When the last consumed message was stored, ms.
    pub last_timestamp: i64,
    /// What the group has read.
    pub pull_offset: i64,
}

impl ConsumeStats {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"consumeTps\":");
        encode(&self.consume_tps, out);
        out.extend_from_slice(b",\"offsetTable\":");
        self.offset_table.encode(out);
        out.push(b'}');
    }
}

/// The answer to GET_BROKER_CONSUME_STATS (317).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConsumeStats {
    /// `ip:port`.
    pub broker_addr: String,
    /// One map with one group each.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages behind, all groups together.
    pub total_diff: i64,
    /// Messages read but not committed, all groups together.
    pub total_inflight_diff: i64,
}

impl BrokerConsumeStats {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"brokerAddr\":");
        encode(&self.broker_addr, out);
        out.extend_from_slice(b",\"consumeStatsList\":");
        put_list(out, b"[]", &self.consume_stats_list, |out, groups| {
            put_list(out, b"{}", groups, |out, (group, stats)| {
                encode(group, out);
                out.push(b':');
                put_list(out, b"[]", stats, |out, stats| stats.encode(out));
            });
        });
        out.extend_from_slice(b",\"totalDiff\":");
        encode(&self.total_diff, out);
        out.extend_from_slice(b",\"totalInflightDiff\":");
        encode(&self.total_inflight_diff, out);
        out.push(b'}');
    }
}

fn put_list<T>(
    out: &mut Vec<u8>,
    brackets: &[u8; 2],
    items: impl IntoIterator<Item = T>,
    put: impl Fn(&mut Vec<u8>, T),
) {
    out.push(brackets[0]);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(out, item);
    }
    out.push(brackets[1]);
}

/// The answer to QUERY_CONSUME_TIME_SPAN (303).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumeTimeSpans {
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// The times of one queue, ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct QueueTimeSpan {
    pub consume_time_stamp: i64,
    pub delay_time: i64,
    pub max_time_stamp: i64,
    pub message_queue: MessageQueue,
    pub min_time_stamp: i64,
}

/// The answer to VIEW_BROKER_STATS_DATA (315).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct BrokerStats {
    pub stats_day: StatsItem,
    pub stats_hour: StatsItem,
    pub stats_minute: StatsItem,
}

/// One counter over one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsItem {
    /// Average per call.
    pub avgpt: f64,
    /// Count in the window.
    pub sum: i64,
    /// Count per second.
    pub tps: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::decode;

    fn consume_stats() -> ConsumeStats {
        let offset = ConsumeOffset { broker_offset: 9, consumer_offset: 5, last_timestamp: 1, pull_offset: 7 };
        let offset_table = QueueMap(vec![(MessageQueue::new("t", "b", 0), offset)]);
        ConsumeStats { consume_tps: 0.5, offset_table }
    }

    #[test]
    fn topic_stats_have_the_odd_shape() {
        let offset = TopicOffset { last_update_timestamp: 3, max_offset: 2, min_offset: 1 };
        let stats =
            TopicStats { offset_table: QueueMap(vec![(MessageQueue::new("t", "b", 0), offset)]), topic_put_tps: 0.0 };
        let mut out = Vec::new();
        stats.encode(&mut out);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            concat!(
                r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:"#,
                r#"{"lastUpdateTimestamp":3,"maxOffset":2,"minOffset":1}},"topicPutTps":0.0}"#
            )
        );
        assert_eq!(decode::<TopicStats>(&out).unwrap(), stats);
    }

    #[test]
    fn nested_consume_stats_read_back() {
        let stats = BrokerConsumeStats {
            broker_addr: "1.2.3.4:5".to_owned(),
            consume_stats_list: vec![BTreeMap::from([(
                "g\"".to_owned(),
                vec![consume_stats(), ConsumeStats::default()],
            )])],
            total_diff: 4,
            total_inflight_diff: 2,
        };
        let mut out = Vec::new();
        stats.encode(&mut out);
        assert_eq!(decode::<BrokerConsumeStats>(&out).unwrap(), stats);
    }
}
