//! Queue locks: LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).

use super::queue::MessageQueue;
use serde::{Deserialize, Serialize};

/// The body of both requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequest {
    /// Who locks.
    pub client_id: String,
    /// For which group.
    pub consumer_group: String,
    /// Which queues.
    pub mq_set: Vec<MessageQueue>,
    /// Not on the other brokers of the same name.
    pub only_this_broker: bool,
}

/// The body of the answer to LOCK_BATCH_MQ: the queues the client holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchReply {
    /// With the broker name as the client knows it.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{decode, to_vec};

    #[test]
    fn the_shapes_are_rocketmq_s() {
        let body = br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"topic":"t","brokerName":"b",
            "queueId":3}],"onlyThisBroker":false}"#;
        let request: LockBatchRequest = decode(body).unwrap();
        assert_eq!(request.mq_set, [MessageQueue::new("t", "b", 3)]);
        let reply = LockBatchReply { lock_ok_mq_set: request.mq_set };
        assert_eq!(to_vec(&reply), br#"{"lockOKMQSet":[{"brokerName":"b","queueId":3,"topic":"t"}]}"#);
    }
}
