//! Who is connected: 38, 203, 204 and 328, and the answer of a client that consumed on demand (309).

use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use super::named::named;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The answer to GET_CONSUMER_LIST_BY_GROUP (38).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIdList {
    /// Client ids in any order; clients sort.
    pub consumer_id_list: Vec<String>,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// `ip:port`.
    pub client_addr: String,
    /// The client id.
    pub client_id: String,
    /// A name of `Language`: Java fails on others.
    pub language: String,
    /// RocketMQ version ordinal.
    pub version: i32,
}

/// The answer to GET_CONSUMER_CONNECTION_LIST (203).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumerConnection {
    pub connection_set: Vec<Connection>,
    /// By topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
}

/// The answer to GET_PRODUCER_CONNECTION_LIST (204).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ProducerConnection {
    pub connection_set: Vec<Connection>,
}

/// One producer in the answer to GET_ALL_PRODUCER_INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ProducerInfo {
    pub client_id: String,
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    pub language: String,
    pub version: i32,
    /// Milliseconds.
    pub last_update_timestamp: i64,
}

/// The answer to GET_ALL_PRODUCER_INFO (328).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    /// By group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

named! {
    /// What became of a message that a client consumed on demand.
    pub enum ConsumeResult {
        /// Consumed.
        Success = "CR_SUCCESS",
        /// To be consumed again.
        Later = "CR_LATER",
        /// Rolled back.
        Rollback = "CR_ROLLBACK",
        /// Committed.
        Commit = "CR_COMMIT",
        /// The listener threw.
        ThrowException = "CR_THROW_EXCEPTION",
        /// The listener said nothing.
        #[default]
        ReturnNull = "CR_RETURN_NULL",
    }
}

/// A client's answer to CONSUME_MESSAGE_DIRECTLY (309).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumeDirectlyResult {
    pub order: bool,
    pub auto_commit: bool,
    pub consume_result: ConsumeResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// The misspelling is RocketMQ's.
    pub spent_time_mills: i64,
}
