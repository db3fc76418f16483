//! Consumer groups: their settings (200, 225, 201, 352) and subscriptions (345, 353).

use super::heartbeat::SubscriptionData;
use super::named::named;
use super::topic::DataVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings of a group (RocketMQ: `SubscriptionGroupConfig`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Without signs.
    pub attributes: BTreeMap<String, String>,
    /// Where to read from normally.
    pub broker_id: i64,
    /// Broadcasting is allowed.
    pub consume_broadcast_enable: bool,
    /// Consuming is allowed.
    pub consume_enable: bool,
    /// Kept for clients; means nothing to the broker.
    pub consume_from_min_enable: bool,
    /// POP delivers in order.
    pub consume_message_orderly: bool,
    /// Minutes.
    pub consume_timeout_minute: i32,
    /// The group.
    pub group_name: String,
    /// Delays between deliveries.
    pub group_retry_policy: GroupRetryPolicy,
    /// Free for the user.
    pub group_sys_flag: i32,
    /// Tell members when members come and go.
    pub notify_consumer_ids_changed_enable: bool,
    /// Deliveries before a message is given up.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions fixed by an administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscription>>,
    /// Where to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// A subscription fixed by an administrator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SimpleSubscription {
    pub expression: String,
    pub expression_type: String,
    pub topic: String,
    pub version: i64,
}

named! {
    /// How delays between deliveries grow.
    pub enum RetryPolicyType {
        /// As `exponentialRetryPolicy` says.
        Exponential = "EXPONENTIAL",
        /// As `customizedRetryPolicy` says.
        #[default]
        Customized = "CUSTOMIZED",
    }
}

/// Delays between deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct GroupRetryPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    #[serde(rename = "type")]
    pub kind: RetryPolicyType,
}

/// A list of delays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    /// Milliseconds before the first, second, ... redelivery; the last one repeats.
    pub next: Vec<i64>,
}

/// Delays that multiply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    /// Milliseconds.
    pub initial: i64,
    /// Milliseconds.
    pub max: i64,
    /// From one delay to the next.
    pub multiplier: f64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        ExponentialRetryPolicy { initial: 5_000, max: 7_200_000, multiplier: 2.0 }
    }
}

/// The body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct GroupConfigList {
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// The answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupTable {
    /// Stable between two pages, or the client starts over.
    pub data_version: DataVersion,
    /// Group, topic, and a bit mask of what is forbidden.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By name.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// The answer to QUERY_SUBSCRIPTION_BY_CONSUMER (345).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SubscriptionReply {
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    pub topic: String,
}

/// The answer to UPDATE_AND_GET_GROUP_FORBIDDEN (353).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct GroupForbidden {
    pub group: String,
    pub readable: bool,
    pub topic: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{decode, to_vec};

    #[test]
    fn absent_members_are_rocketmq_s_defaults_and_unknown_ones_ignored() {
        let body = br#"{"groupName":"g","retryMaxTimes":3,"future":{"a":1},"subscriptionDataSet":null}"#;
        let config: SubscriptionGroupConfig = decode(body).unwrap();
        let expected = SubscriptionGroupConfig {
            group_name: "g".to_owned(),
            retry_max_times: 3,
            ..SubscriptionGroupConfig::default()
        };
        assert_eq!(config, expected);
        assert_eq!(decode::<SubscriptionGroupConfig>(&to_vec(&config)).unwrap(), expected);
    }
}
