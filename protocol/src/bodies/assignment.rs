//! Broker-side load balance: QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401) and 402.

use super::heartbeat::MessageModel;
use super::named::named;
use super::queue::MessageQueue;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

named! {
    /// How a group asks for messages.
    pub enum MessageRequestMode {
        /// By pulling.
        #[default]
        Pull = "PULL",
        /// By popping.
        Pop = "POP",
    }
}

/// The body of QUERY_ASSIGNMENT (400).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct AssignmentRequest {
    pub client_id: String,
    pub consumer_group: String,
    pub message_model: MessageModel,
    /// `AVG` or `AVG_BY_CIRCLE`.
    pub strategy_name: String,
    pub topic: String,
}

/// The answer to QUERY_ASSIGNMENT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignmentReply {
    /// Absent: skip this round. Empty: you own nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<Assignment>>,
}

/// One queue of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Assignment {
    pub attachments: BTreeMap<String, String>,
    /// With queue -1: the whole broker.
    pub message_queue: MessageQueue,
    pub mode: MessageRequestMode,
}

/// The body of SET_MESSAGE_REQUEST_MODE (401).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct RequestMode {
    pub consumer_group: String,
    pub mode: MessageRequestMode,
    /// How many other clients share a queue; 0 or less: all.
    pub pop_share_queue_num: i32,
    pub topic: String,
}

/// The answer to GET_ALL_MESSAGE_REQUEST_MODE (402).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllRequestModes {
    /// By topic, then by group.
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, RequestMode>>,
}
