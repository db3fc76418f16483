//! Routes: GET_ROUTEINFO_BY_TOPIC (105).
//!
//! Owns the shape of protocol.md 9.2 (RocketMQ: `TopicRouteData`), which Go clients cut apart as text:
//! integer keys in quotes, no spaces, `brokerAddrs` always there.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the queues of a topic are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    /// The brokers.
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers are gone, but clients expect the member.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `brokerA:8;brokerB:8`, for topics with an order configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// How many queues each has.
    pub queue_datas: Vec<QueueData>,
    /// Of static topics; absent otherwise, or clients look for logical brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, serde_json::Value>>,
}

/// The queues of a topic on one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct QueueData {
    pub broker_name: String,
    /// Bits of `perm`, those of the broker taken off.
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

/// The addresses of one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// By broker id; producers need the 0.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Its name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
    /// A slave may stand in for its master.
    pub enable_acting_master: bool,
    /// For clients that ask by zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{decode, to_vec};

    fn route() -> TopicRouteData {
        TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: BTreeMap::from([(0, "10.0.0.1:10911".to_owned()), (1, "10.0.0.2:10911".to_owned())]),
                broker_name: "broker-a".to_owned(),
                cluster: "DefaultCluster".to_owned(),
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: "broker-a".to_owned(),
                perm: 6,
                read_queue_nums: 8,
                topic_sys_flag: 0,
                write_queue_nums: 8,
            }],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn the_text_is_what_go_cuts_apart() {
        let body = to_vec(&route());
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            concat!(
                r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"#,
                r#""brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"#,
                r#""filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"#,
                r#""readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#
            )
        );
        assert_eq!(decode::<TopicRouteData>(&body).unwrap(), route());
    }

    #[test]
    fn unquoted_integer_keys_of_old_name_servers_are_read() {
        let body = br#"{"orderTopicConf":null,"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",
            1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],
            "filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,
            "topicSynFlag":0,"writeQueueNums":8}]}"#;
        assert_eq!(decode::<TopicRouteData>(body).unwrap(), route());
    }
}
