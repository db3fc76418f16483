//! Broker administration (protocol.md 2.4), replication headers included.
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

header! {
    /// The answer to GET_BROKER_CONFIG (26).
    pub struct BrokerConfigReply<'a> {
        /// A DataVersion as JSON.
        version: Text<'a> => "version" required,
    }

    /// EXPORT_ROCKSDB_CONFIG_TO_JSON (355).
    pub struct ExportConfigHeader<'a> {
        config_type: Text<'a> => "configType" required,
    }

    /// ADD_BROKER (902).
    pub struct AddBrokerHeader<'a> {
        config_path: Option<Text<'a>> => "configPath" optional,
    }

    /// REMOVE_BROKER (903).
    pub struct RemoveBrokerHeader<'a> {
        broker_name: Text<'a> => "brokerName" required,
        broker_cluster_name: Text<'a> => "brokerClusterName" required,
        broker_id: i64 => "brokerId" required,
    }

    /// NOTIFY_MIN_BROKER_ID_CHANGE (905).
    pub struct MinBrokerIdHeader<'a> {
        min_broker_id: Option<i64> => "minBrokerId" optional,
        broker_name: Option<Text<'a>> => "brokerName" optional,
        min_broker_addr: Option<Text<'a>> => "minBrokerAddr" optional,
        offline_broker_addr: Option<Text<'a>> => "offlineBrokerAddr" optional,
        ha_broker_addr: Option<Text<'a>> => "haBrokerAddr" optional,
    }

    /// EXCHANGE_BROKER_HA_INFO (906) and its answer.
    pub struct HaInfoHeader<'a> {
        master_ha_address: Option<Text<'a>> => "masterHaAddress" optional,
        master_flush_offset: Option<i64> => "masterFlushOffset" optional,
        master_address: Option<Text<'a>> => "masterAddress" optional,
    }

    /// RESET_MASTER_FLUSH_OFFSET (908).
    pub struct ResetFlushOffsetHeader {
        master_flush_offset: i64 => "masterFlushOffset" required,
    }

    /// SET_COMMITLOG_READ_MODE (2004).
    pub struct ReadModeHeader {
        read_ahead_mode: i32 => "READ_AHEAD_MODE" required,
    }
}
