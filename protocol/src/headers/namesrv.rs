//! The name server: routes, registrations and the key-value table (protocol.md 2.5).
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

header! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    pub struct RouteHeader<'a> {
        topic: Text<'a> => "topic" required,
        /// RingMQ always answers standard JSON.
        accept_standard_json_only: Option<bool> => "acceptStandardJsonOnly" optional,
        zone_mode: Option<bool> => "__ZONE_MODE" optional,
        zone_name: Option<Text<'a>> => "__ZONE_NAME" optional,
    }

    /// REGISTER_BROKER (103).
    pub struct RegisterBrokerHeader<'a> {
        broker_name: Text<'a> => "brokerName" required,
        broker_addr: Text<'a> => "brokerAddr" required,
        cluster_name: Text<'a> => "clusterName" required,
        ha_server_addr: Text<'a> => "haServerAddr" required,
        /// 0: the master.
        broker_id: i64 => "brokerId" required,
        heartbeat_timeout_millis: Option<i64> => "heartbeatTimeoutMillis" optional,
        enable_acting_master: Option<bool> => "enableActingMaster" optional,
        /// The body is the compressed form of the registration.
        compressed: bool => "compressed" default(false),
        /// 0: not to be checked.
        body_crc32: i32 => "bodyCrc32" default(0),
        zone_mode: Option<bool> => "__ZONE_MODE" optional,
        zone_name: Option<Text<'a>> => "__ZONE_NAME" optional,
    }

    /// The answer to REGISTER_BROKER; slaves learn their master from it.
    pub struct RegisterBrokerReply<'a> {
        ha_server_addr: Option<Text<'a>> => "haServerAddr" optional,
        master_addr: Option<Text<'a>> => "masterAddr" optional,
    }

    /// UNREGISTER_BROKER (104) and QUERY_DATA_VERSION (322).
    pub struct BrokerHeader<'a> {
        broker_name: Text<'a> => "brokerName" required,
        broker_addr: Text<'a> => "brokerAddr" required,
        cluster_name: Text<'a> => "clusterName" required,
        broker_id: i64 => "brokerId" required,
    }

    /// The answer to QUERY_DATA_VERSION.
    pub struct DataVersionReply {
        changed: bool => "changed" required,
    }

    /// BROKER_HEARTBEAT (904). The missing "i" of the timeout is RocketMQ's.
    pub struct BrokerHeartbeatHeader<'a> {
        cluster_name: Text<'a> => "clusterName" required,
        broker_addr: Text<'a> => "brokerAddr" required,
        broker_name: Text<'a> => "brokerName" required,
        broker_id: Option<i64> => "brokerId" optional,
        epoch: Option<i32> => "epoch" optional,
        max_offset: Option<i64> => "maxOffset" optional,
        confirm_offset: Option<i64> => "confirmOffset" optional,
        heartbeat_timeout_mills: Option<i64> => "heartbeatTimeoutMills" optional,
        election_priority: Option<i32> => "electionPriority" optional,
    }

    /// PUT_KV_CONFIG (100).
    pub struct PutKvHeader<'a> {
        namespace: Text<'a> => "namespace" required,
        key: Text<'a> => "key" required,
        value: Text<'a> => "value" required,
    }

    /// GET_KV_CONFIG (101) and DELETE_KV_CONFIG (102).
    pub struct KvHeader<'a> {
        namespace: Text<'a> => "namespace" required,
        key: Text<'a> => "key" required,
    }

    /// The answer to GET_KV_CONFIG.
    pub struct KvReply<'a> {
        value: Option<Text<'a>> => "value" optional,
    }

    /// GET_KVLIST_BY_NAMESPACE (219).
    pub struct NamespaceHeader<'a> {
        namespace: Text<'a> => "namespace" required,
    }

    /// WIPE_WRITE_PERM_OF_BROKER (205) and ADD_WRITE_PERM_OF_BROKER (327).
    pub struct BrokerNameHeader<'a> {
        broker_name: Text<'a> => "brokerName" required,
    }

    /// The answer to WIPE_WRITE_PERM_OF_BROKER.
    pub struct WipeWritePermReply {
        wipe_topic_count: i32 => "wipeTopicCount" required,
    }

    /// The answer to ADD_WRITE_PERM_OF_BROKER.
    pub struct AddWritePermReply {
        add_topic_count: i32 => "addTopicCount" required,
    }

    /// GET_BROKER_MEMBER_GROUP (901).
    pub struct MemberGroupHeader<'a> {
        cluster_name: Text<'a> => "clusterName" required,
        broker_name: Text<'a> => "brokerName" required,
    }
}
