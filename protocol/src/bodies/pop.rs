//! The body of BATCH_ACK_MESSAGE (200151).

use super::BodyError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Many acks at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct BatchAckRequest {
    pub acks: Vec<BatchAck>,
    pub broker_name: String,
}

/// The acks of one popped batch of one queue (RocketMQ: `BatchAck`). One-letter names on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct BatchAck {
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
    /// `0` normal, `1` and `2` the two kinds of retry topic.
    #[serde(rename = "r", alias = "retry")]
    pub retry: String,
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// Base64 of the bits; see [`BatchAck::bits`].
    #[serde(rename = "b", alias = "bitSet")]
    pub bit_set: String,
}

/// The most bits a batch ack is read for: RocketMQ pops 32 messages at most; proxies gather more.
pub const BIT_LIMIT: usize = 64 * 1024;

impl BatchAck {
    /// The offsets relative to `start_offset` that are acked: bit `i` is bit `i % 8` of byte `i / 8`.
    ///
    /// # Errors
    /// Not base64, or more than [`BIT_LIMIT`] bits.
    pub fn bits(&self) -> Result<Vec<u32>, BodyError> {
        if self.bit_set.len() > BIT_LIMIT / 6 {
            return Err(BodyError::Malformed("too many acks in one bit set"));
        }
        let bytes = STANDARD.decode(&self.bit_set);
        let bytes = bytes.map_err(|_| BodyError::Malformed("the bit set is not base64"))?;
        let bit = |i: &u32| bytes[*i as usize / 8] >> (i % 8) & 1 == 1;
        Ok((0..bytes.len() as u32 * 8).filter(bit).collect())
    }

    /// The bit set that acks these relative offsets.
    pub fn bit_set_of(offsets: impl IntoIterator<Item = u16>) -> String {
        let mut bytes = Vec::new();
        for offset in offsets {
            let byte = usize::from(offset) / 8;
            if bytes.len() <= byte {
                bytes.resize(byte + 1, 0u8);
            }
            bytes[byte] |= 1 << (offset % 8);
        }
        STANDARD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::decode;

    #[test]
    fn bits_read_back() {
        let bit_set = BatchAck::bit_set_of([0, 3, 9]);
        assert_eq!(bit_set, "CQI=");
        let ack = BatchAck { bit_set, ..BatchAck::default() };
        assert_eq!(ack.bits().unwrap(), [0, 3, 9]);
        assert!(BatchAck { bit_set: "?".to_owned(), ..BatchAck::default() }.bits().is_err());
        assert!(BatchAck { bit_set: "A".repeat(99_999), ..BatchAck::default() }.bits().is_err());
    }

    #[test]
    fn short_names_are_read() {
        let body = br#"{"brokerName":"b","acks":[{"c":"g","t":"t","r":"0","so":7,"q":1,"rq":2,"pt":3,
            "it":4,"b":"AQ=="}]}"#;
        let request: BatchAckRequest = decode(body).unwrap();
        assert_eq!((request.acks[0].start_offset, request.acks[0].revive_queue_id), (7, 2));
        assert_eq!(request.acks[0].bits().unwrap(), [0]);
    }
}
