//! Message queues, in bodies and as the keys of maps.
//!
//! Owns [`MessageQueue`] and [`QueueMap`], the map whose keys are objects: fastjson writes it as
//! `{{"brokerName":"b","queueId":0,"topic":"t"}:..}`, and Java and Go clients parse exactly that text
//! (protocol.md 16, trap 2). It is no JSON, so it is written by hand and read through `dialect`.

use super::encode;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeBody, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// One queue of a topic on a broker. The order of the members is part of the format: Go's parser of
/// map keys relies on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeserializeBody)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct MessageQueue {
    pub broker_name: String,
    pub queue_id: i32,
    pub topic: String,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        MessageQueue { broker_name: broker_name.to_owned(), queue_id, topic: topic.to_owned() }
    }
}

/// A map from queues to values, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueMap<V>(pub Vec<(MessageQueue, V)>);

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        QueueMap(Vec::new())
    }
}

impl<V> QueueMap<V> {
    /// The value of a queue.
    pub fn get(&self, queue: &MessageQueue) -> Option<&V> {
        self.0.iter().find(|(key, _)| key == queue).map(|(_, value)| value)
    }
}

impl<V: Serialize> QueueMap<V> {
    /// Appends the map in fastjson's shape, without spaces.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (queue, value)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            encode(queue, out);
            out.push(b':');
            encode(value, out);
        }
        out.push(b'}');
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = QueueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with message queues as keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueueMap<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    // fastjson may put a reference to an object it wrote before; which queue that
                    // was is lost, so the entry is left out rather than invented.
                    if let Ok(queue) = serde_json::from_str::<MessageQueue>(&key)
                        && !queue.topic.is_empty()
                    {
                        entries.push((queue, value));
                    }
                }
                Ok(QueueMap(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::decode;

    #[test]
    fn the_odd_shape_is_written_and_read() {
        let map = QueueMap(vec![(MessageQueue::new("t", "b", 0), 5i64), (MessageQueue::new("t", "b", 1), -1)]);
        let mut out = Vec::new();
        map.encode(&mut out);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            r#"{{"brokerName":"b","queueId":0,"topic":"t"}:5,{"brokerName":"b","queueId":1,"topic":"t"}:-1}"#
        );
        assert_eq!(decode::<QueueMap<i64>>(&out).unwrap(), map);
        assert_eq!(map.get(&MessageQueue::new("t", "b", 1)), Some(&-1));
    }

    #[test]
    fn references_are_left_out() {
        let body = br#"{{"$ref":"$.a[0]"}:5,{"topic":"t","brokerName":"b","queueId":2}:6}"#;
        let map = decode::<QueueMap<i64>>(body).unwrap();
        assert_eq!(map.0, [(MessageQueue::new("t", "b", 2), 6)]);
    }
}
