//! Offsets in bulk: resets (220, 222), what clients hold (221, 223), and whole tables (43, 45).

use super::encode;
use super::queue::QueueMap;
use super::topic::DataVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The body of RESET_CONSUMER_CLIENT_OFFSET (220) and the answer to INVOKE_BROKER_TO_RESET_OFFSET
/// (222): where each queue now stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ResetOffsets {
    pub offset_table: QueueMap<i64>,
}

impl ResetOffsets {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"offsetTable\":");
        self.offset_table.encode(out);
        out.push(b'}');
    }

    /// Appends the body in the flavour for C++ clients: a list instead of a map.
    pub fn encode_for_cpp(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry<'a> {
            broker_name: &'a str,
            offset: i64,
            queue_id: i32,
            topic: &'a str,
        }

        let entries = self.offset_table.0.iter();
        let entries: Vec<_> = entries
            .map(|(queue, offset)| Entry {
                broker_name: &queue.broker_name,
                offset: *offset,
                queue_id: queue.queue_id,
                topic: &queue.topic,
            })
            .collect();
        out.extend_from_slice(b"{\"offsetTable\":");
        encode(&entries, out);
        out.push(b'}');
    }
}

/// A client's answer to GET_CONSUMER_STATUS_FROM_CLIENT (221).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ClientOffsets {
    pub message_queue_table: QueueMap<i64>,
}

impl ClientOffsets {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"messageQueueTable\":");
        self.message_queue_table.encode(out);
        out.push(b'}');
    }
}

/// The answer to INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatus {
    /// By client id.
    pub consumer_table: BTreeMap<String, QueueMap<i64>>,
}

impl ConsumerStatus {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"consumerTable\":{");
        for (index, (client, offsets)) in self.consumer_table.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            encode(client, out);
            out.push(b':');
            offsets.encode(out);
        }
        out.extend_from_slice(b"}}");
    }
}

/// The answer to GET_ALL_CONSUMER_OFFSET (43).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllConsumerOffsets {
    /// Its version.
    pub data_version: DataVersion,
    /// By `topic@group`, then by queue.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// The answer to GET_ALL_DELAY_OFFSET (45).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsets {
    /// Its version.
    pub data_version: DataVersion,
    /// By delay level.
    pub offset_table: BTreeMap<i32, i64>,
}

/// The answer to QUERY_CORRECTION_OFFSET (308).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorrectionOffsets {
    /// By queue.
    pub correction_offsets: BTreeMap<i32, i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::queue::MessageQueue;
    use crate::bodies::{decode, to_vec};

    #[test]
    fn resets_have_two_flavours() {
        let reset = ResetOffsets { offset_table: QueueMap(vec![(MessageQueue::new("t", "b", 0), 5)]) };
        let mut out = Vec::new();
        reset.encode(&mut out);
        assert_eq!(out, br#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5}}"#);
        assert_eq!(decode::<ResetOffsets>(&out).unwrap(), reset);
        out.clear();
        reset.encode_for_cpp(&mut out);
        assert_eq!(out, br#"{"offsetTable":[{"brokerName":"b","offset":5,"queueId":0,"topic":"t"}]}"#);
    }

    #[test]
    fn consumer_status_reads_back() {
        let queues = QueueMap(vec![(MessageQueue::new("t", "b", 0), 5)]);
        let status = ConsumerStatus {
            consumer_table: BTreeMap::from([("c1".to_owned(), queues.clone()), ("c2".to_owned(), queues)]),
        };
        let mut out = Vec::new();
        status.encode(&mut out);
        assert_eq!(decode::<ConsumerStatus>(&out).unwrap(), status);
    }

    #[test]
    fn offset_tables_are_read_with_and_without_quotes() {
        let body = br#"{"offsetTable":{"t@g":{0:5,1:6}},"dataVersion":{"counter":3}}"#;
        let offsets: AllConsumerOffsets = decode(body).unwrap();
        assert_eq!(offsets.offset_table["t@g"], BTreeMap::from([(0, 5), (1, 6)]));
        assert_eq!(decode::<AllConsumerOffsets>(&to_vec(&offsets)).unwrap(), offsets);
    }
}
