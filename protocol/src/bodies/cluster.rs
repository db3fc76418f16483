//! Brokers and clusters: GET_BROKER_CLUSTER_INFO (106), GET_BROKER_MEMBER_GROUP (901), the key-value
//! tables (28, 103, 219) and the state of replication (907).

use super::route::BrokerData;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The answer to GET_BROKER_CLUSTER_INFO (106).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// By broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

/// A table of strings: broker figures (28), order configuration (103), a namespace (219).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct KvTable {
    pub table: BTreeMap<String, String>,
}

/// The answer to GET_BROKER_MEMBER_GROUP (901).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct MemberGroupReply {
    pub broker_member_group: BrokerMemberGroup,
}

/// The addresses under one broker name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct BrokerMemberGroup {
    /// By broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
}

/// The answer to GET_BROKER_HA_STATUS (907). mqadmin unboxes every member, so all are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct HaRuntimeInfo {
    pub ha_client_runtime_info: HaClientInfo,
    pub ha_connection_info: Vec<HaConnectionInfo>,
    pub in_sync_slave_nums: i32,
    pub master: bool,
    pub master_commit_log_max_offset: i64,
}

/// One slave, as its master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct HaConnectionInfo {
    pub addr: String,
    pub diff: i64,
    pub in_sync: bool,
    pub slave_ack_offset: i64,
    pub transfer_from_where: i64,
    pub transferred_byte_in_second: i64,
}

/// The master, as its slave sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct HaClientInfo {
    pub is_activated: bool,
    pub last_read_timestamp: i64,
    pub last_write_timestamp: i64,
    pub master_addr: String,
    pub master_flush_offset: i64,
    pub max_offset: i64,
    pub transferred_byte_in_second: i64,
}
