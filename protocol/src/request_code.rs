//! The table of request codes.
//!
//! Owns every code of protocol.md section 2 with its name, tier and meaning, one row each. What
//! RingMQ serves is not said here: an answer to a code that nobody routes names it from this table.

/// How widely a request is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Needed by clients that produce and consume.
    T1,
    /// Needed by commonly used admin commands and dashboard pages.
    T2,
    /// Rare or internal.
    T3,
}

macro_rules! requests {
    ($($variant:ident = $code:literal $name:literal $tier:ident $meaning:literal;)*) => {
        /// A request code of RocketMQ (RocketMQ: `RequestCode`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum RequestCode {
            $(
                #[doc = $meaning]
                $variant = $code,
            )*
        }

        impl RequestCode {
            /// Every code, in the order of the table.
            pub const ALL: &[RequestCode] = &[$(RequestCode::$variant,)*];

            /// From the wire; `None` for a code RocketMQ does not declare.
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(RequestCode::$variant),)*
                    _ => None,
                }
            }

            /// RocketMQ's name, such as `SEND_MESSAGE`.
            pub const fn name(self) -> &'static str {
                match self { $(RequestCode::$variant => $name,)* }
            }

            /// How widely it is used.
            pub const fn tier(self) -> Tier {
                match self { $(RequestCode::$variant => Tier::$tier,)* }
            }

            /// What it is for, in a few words.
            pub const fn meaning(self) -> &'static str {
                match self { $(RequestCode::$variant => $meaning,)* }
            }
        }
    };
}

requests! {
    SendMessage = 10 "SEND_MESSAGE" T1 "store a message; header with long names";
    SendMessageV2 = 310 "SEND_MESSAGE_V2" T1 "store a message; header with short names";
    SendBatchMessage = 320 "SEND_BATCH_MESSAGE" T1 "store several messages of one topic and queue";
    SendReplyMessage = 324 "SEND_REPLY_MESSAGE" T1 "pass a reply to the producer that waits for it; long names";
    SendReplyMessageV2 = 325 "SEND_REPLY_MESSAGE_V2" T1 "pass a reply to the producer that waits for it; short names";
    PushReplyMessageToClient = 326 "PUSH_REPLY_MESSAGE_TO_CLIENT" T1 "broker to client: here is the reply";
    PullMessage = 11 "PULL_MESSAGE" T1 "read messages of one queue from an offset";
    LitePullMessage = 361 "LITE_PULL_MESSAGE" T1 "the same for lite pull consumers";
    PopMessage = 200050 "POP_MESSAGE" T1 "take messages out for a limited time";
    AckMessage = 200051 "ACK_MESSAGE" T1 "finish a popped message";
    BatchAckMessage = 200151 "BATCH_ACK_MESSAGE" T2 "finish many popped messages";
    ChangeMessageInvisibletime = 200053 "CHANGE_MESSAGE_INVISIBLETIME" T1 "give a popped message another deadline";
    PeekMessage = 200052 "PEEK_MESSAGE" T3 "look at messages without taking them";
    Notification = 200054 "NOTIFICATION" T3 "wait until there is something to pop";
    PollingInfo = 200055 "POLLING_INFO" T3 "count the pops on hold";
    PopRollback = 200056 "POP_ROLLBACK" T3 "move POP records out of RocksDB";
    RecallMessage = 370 "RECALL_MESSAGE" T3 "cancel a message that waits for its time";
    ConsumerSendMsgBack = 36 "CONSUMER_SEND_MSG_BACK" T1 "consume a message again later, or give it up";
    EndTransaction = 37 "END_TRANSACTION" T1 "commit or roll back a half message";
    CheckTransactionState = 39 "CHECK_TRANSACTION_STATE" T1 "broker to client: what became of this half message";
    QueryConsumerOffset = 14 "QUERY_CONSUMER_OFFSET" T1 "the offset a group has stored for a queue";
    UpdateConsumerOffset = 15 "UPDATE_CONSUMER_OFFSET" T1 "store the offset of a group for a queue";
    SearchOffsetByTimestamp = 29 "SEARCH_OFFSET_BY_TIMESTAMP" T1 "the offset at a point in time";
    GetMaxOffset = 30 "GET_MAX_OFFSET" T1 "the offset the next message will have";
    GetMinOffset = 31 "GET_MIN_OFFSET" T1 "the offset of the oldest message";
    GetEarliestMsgStoretime = 32 "GET_EARLIEST_MSG_STORETIME" T2 "when the oldest message was stored";
    ViewMessageById = 33 "VIEW_MESSAGE_BY_ID" T2 "one message by its commit-log offset";
    QueryMessage = 12 "QUERY_MESSAGE" T2 "messages by key or unique id";
    HeartBeat = 34 "HEART_BEAT" T1 "announce a client and its groups";
    UnregisterClient = 35 "UNREGISTER_CLIENT" T1 "take a client out of its groups";
    CheckClientConfig = 46 "CHECK_CLIENT_CONFIG" T1 "check a subscription expression";
    GetConsumerListByGroup = 38 "GET_CONSUMER_LIST_BY_GROUP" T1 "the clients of a group";
    NotifyConsumerIdsChanged = 40 "NOTIFY_CONSUMER_IDS_CHANGED" T1 "broker to client: rebalance now";
    LockBatchMq = 41 "LOCK_BATCH_MQ" T1 "lock queues for ordered consumption";
    UnlockBatchMq = 42 "UNLOCK_BATCH_MQ" T1 "unlock queues";
    QueryAssignment = 400 "QUERY_ASSIGNMENT" T1 "have the broker assign queues";
    SetMessageRequestMode = 401 "SET_MESSAGE_REQUEST_MODE" T2 "switch a group between pull and POP";
    GetAllMessageRequestMode = 402 "GET_ALL_MESSAGE_REQUEST_MODE" T3 "all such switches, for slaves";
    ResetConsumerClientOffset = 220 "RESET_CONSUMER_CLIENT_OFFSET" T2 "broker to client: go to these offsets";
    GetConsumerStatusFromClient = 221 "GET_CONSUMER_STATUS_FROM_CLIENT" T3 "broker to client: which offsets do you hold";
    GetConsumerRunningInfo = 307 "GET_CONSUMER_RUNNING_INFO" T2 "what a consumer is doing, relayed to it";
    ConsumeMessageDirectly = 309 "CONSUME_MESSAGE_DIRECTLY" T2 "have one consumer consume one message now";
    UpdateAndCreateTopic = 17 "UPDATE_AND_CREATE_TOPIC" T2 "create or change a topic";
    UpdateAndCreateTopicList = 18 "UPDATE_AND_CREATE_TOPIC_LIST" T2 "create or change several topics";
    UpdateAndCreateStaticTopic = 513 "UPDATE_AND_CREATE_STATIC_TOPIC" T3 "create or change a static topic";
    DeleteTopicInBroker = 215 "DELETE_TOPIC_IN_BROKER" T2 "delete a topic and its messages";
    DeleteTopicInNamesrv = 216 "DELETE_TOPIC_IN_NAMESRV" T2 "delete a topic's route";
    RegisterTopicInNamesrv = 217 "REGISTER_TOPIC_IN_NAMESRV" T3 "put one route into the table";
    GetAllTopicConfig = 21 "GET_ALL_TOPIC_CONFIG" T2 "every topic's settings, in pages";
    GetTopicConfig = 351 "GET_TOPIC_CONFIG" T2 "one topic's settings";
    GetTopicStatsInfo = 202 "GET_TOPIC_STATS_INFO" T2 "a topic's offsets per queue";
    GetAllTopicListFromNameserver = 206 "GET_ALL_TOPIC_LIST_FROM_NAMESERVER" T2 "the names of all topics";
    GetTopicsByCluster = 224 "GET_TOPICS_BY_CLUSTER" T2 "the names of a cluster's topics";
    GetSystemTopicListFromNs = 304 "GET_SYSTEM_TOPIC_LIST_FROM_NS" T2 "cluster and broker names";
    GetSystemTopicListFromBroker = 305 "GET_SYSTEM_TOPIC_LIST_FROM_BROKER" T2 "the names of the broker's system topics";
    GetUnitTopicList = 311 "GET_UNIT_TOPIC_LIST" T3 "topics flagged as unit";
    GetHasUnitSubTopicList = 312 "GET_HAS_UNIT_SUB_TOPIC_LIST" T3 "topics with unit subscriptions";
    GetHasUnitSubUnunitTopicList = 313 "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST" T3 "topics with unit subscriptions that are not unit themselves";
    QueryTopicConsumeByWho = 300 "QUERY_TOPIC_CONSUME_BY_WHO" T2 "the groups that consume a topic";
    QueryTopicsByConsumer = 343 "QUERY_TOPICS_BY_CONSUMER" T2 "the topics a group consumes";
    QuerySubscriptionByConsumer = 345 "QUERY_SUBSCRIPTION_BY_CONSUMER" T2 "a group's subscription to a topic";
    CleanUnusedTopic = 316 "CLEAN_UNUSED_TOPIC" T3 "drop consume queues of deleted topics";
    CleanExpiredConsumequeue = 306 "CLEAN_EXPIRED_CONSUMEQUEUE" T3 "drop expired consume queues";
    DeleteExpiredCommitlog = 329 "DELETE_EXPIRED_COMMITLOG" T3 "drop expired log files";
    QueryConsumeQueue = 321 "QUERY_CONSUME_QUEUE" T3 "the raw entries of a consume queue";
    UpdateAndCreateSubscriptiongroup = 200 "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP" T2 "create or change a group";
    UpdateAndCreateSubscriptiongroupList = 225 "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST" T2 "create or change several groups";
    GetAllSubscriptiongroupConfig = 201 "GET_ALL_SUBSCRIPTIONGROUP_CONFIG" T2 "every group's settings, in pages";
    GetSubscriptiongroupConfig = 352 "GET_SUBSCRIPTIONGROUP_CONFIG" T2 "one group's settings";
    DeleteSubscriptiongroup = 207 "DELETE_SUBSCRIPTIONGROUP" T2 "delete a group";
    GetConsumerConnectionList = 203 "GET_CONSUMER_CONNECTION_LIST" T2 "a group's connections and subscriptions";
    GetProducerConnectionList = 204 "GET_PRODUCER_CONNECTION_LIST" T2 "a producer group's connections";
    GetAllProducerInfo = 328 "GET_ALL_PRODUCER_INFO" T2 "every producer group's connections";
    GetConsumeStats = 208 "GET_CONSUME_STATS" T2 "how far a group is behind";
    GetBrokerConsumeStats = 317 "GET_BROKER_CONSUME_STATS" T2 "how far every group is behind";
    QueryConsumeTimeSpan = 303 "QUERY_CONSUME_TIME_SPAN" T2 "which times a group's queues span";
    InvokeBrokerToResetOffset = 222 "INVOKE_BROKER_TO_RESET_OFFSET" T2 "move a group to a time or offset";
    InvokeBrokerToGetConsumerStatus = 223 "INVOKE_BROKER_TO_GET_CONSUMER_STATUS" T3 "the offsets a group's clients hold";
    CloneGroupOffset = 314 "CLONE_GROUP_OFFSET" T3 "copy a group's offsets to another";
    QueryCorrectionOffset = 308 "QUERY_CORRECTION_OFFSET" T3 "the least offset of several groups";
    ViewBrokerStatsData = 315 "VIEW_BROKER_STATS_DATA" T2 "one statistics item";
    UpdateAndGetGroupForbidden = 353 "UPDATE_AND_GET_GROUP_FORBIDDEN" T3 "forbid a group to read a topic";
    ResumeCheckHalfMessage = 323 "RESUME_CHECK_HALF_MESSAGE" T3 "check a given-up half message again";
    UpdateBrokerConfig = 25 "UPDATE_BROKER_CONFIG" T2 "change settings at run time";
    GetBrokerConfig = 26 "GET_BROKER_CONFIG" T2 "all settings";
    GetBrokerRuntimeInfo = 28 "GET_BROKER_RUNTIME_INFO" T2 "figures of the running broker";
    GetAllConsumerOffset = 43 "GET_ALL_CONSUMER_OFFSET" T3 "all offsets, for slaves";
    GetAllDelayOffset = 45 "GET_ALL_DELAY_OFFSET" T3 "all delay offsets, for slaves";
    GetTimerCheckPoint = 60 "GET_TIMER_CHECK_POINT" T3 "the timer's check-point, for slaves";
    GetTimerMetrics = 61 "GET_TIMER_METRICS" T3 "the timer's counts, for slaves";
    CheckRocksdbCqWriteProgress = 354 "CHECK_ROCKSDB_CQ_WRITE_PROGRESS" T3 "compare RocksDB and file consume queues";
    ExportRocksdbConfigToJson = 355 "EXPORT_ROCKSDB_CONFIG_TO_JSON" T3 "export RocksDB metadata";
    GetBrokerMemberGroup = 901 "GET_BROKER_MEMBER_GROUP" T3 "the addresses under one broker name";
    AddBroker = 902 "ADD_BROKER" T3 "start a broker in a container";
    RemoveBroker = 903 "REMOVE_BROKER" T3 "stop a broker in a container";
    NotifyMinBrokerIdChange = 905 "NOTIFY_MIN_BROKER_ID_CHANGE" T3 "name server to broker: the smallest id changed";
    ExchangeBrokerHaInfo = 906 "EXCHANGE_BROKER_HA_INFO" T3 "exchange replication addresses";
    GetBrokerHaStatus = 907 "GET_BROKER_HA_STATUS" T2 "state of replication";
    ResetMasterFlushOffset = 908 "RESET_MASTER_FLUSH_OFFSET" T3 "set the offset a slave may follow to";
    UpdateColdDataFlowCtrConfig = 2001 "UPDATE_COLD_DATA_FLOW_CTR_CONFIG" T3 "limit a group's cold reads";
    RemoveColdDataFlowCtrConfig = 2002 "REMOVE_COLD_DATA_FLOW_CTR_CONFIG" T3 "lift such a limit";
    GetColdDataFlowCtrInfo = 2003 "GET_COLD_DATA_FLOW_CTR_INFO" T3 "show such limits";
    SetCommitlogReadMode = 2004 "SET_COMMITLOG_READ_MODE" T3 "switch read-ahead of the log";
    AuthCreateUser = 3001 "AUTH_CREATE_USER" T2 "create a user";
    AuthUpdateUser = 3002 "AUTH_UPDATE_USER" T2 "change a user";
    AuthDeleteUser = 3003 "AUTH_DELETE_USER" T2 "delete a user";
    AuthGetUser = 3004 "AUTH_GET_USER" T2 "show a user";
    AuthListUser = 3005 "AUTH_LIST_USER" T2 "list users";
    AuthCreateAcl = 3006 "AUTH_CREATE_ACL" T2 "create policies of a subject";
    AuthUpdateAcl = 3007 "AUTH_UPDATE_ACL" T2 "change policies of a subject";
    AuthDeleteAcl = 3008 "AUTH_DELETE_ACL" T2 "delete policies of a subject";
    AuthGetAcl = 3009 "AUTH_GET_ACL" T2 "show policies of a subject";
    AuthListAcl = 3010 "AUTH_LIST_ACL" T2 "list policies";
    GetRouteinfoByTopic = 105 "GET_ROUTEINFO_BY_TOPIC" T1 "where a topic's queues are";
    RegisterBroker = 103 "REGISTER_BROKER" T1 "announce a broker and its topics";
    UnregisterBroker = 104 "UNREGISTER_BROKER" T1 "take a broker out of the routes";
    BrokerHeartbeat = 904 "BROKER_HEARTBEAT" T3 "say that a broker lives";
    QueryDataVersion = 322 "QUERY_DATA_VERSION" T3 "whether a registration would be news";
    GetBrokerClusterInfo = 106 "GET_BROKER_CLUSTER_INFO" T2 "all brokers and clusters";
    PutKvConfig = 100 "PUT_KV_CONFIG" T2 "store a value under namespace and key";
    GetKvConfig = 101 "GET_KV_CONFIG" T2 "read such a value";
    DeleteKvConfig = 102 "DELETE_KV_CONFIG" T2 "delete such a value";
    GetKvlistByNamespace = 219 "GET_KVLIST_BY_NAMESPACE" T2 "all values of a namespace";
    WipeWritePermOfBroker = 205 "WIPE_WRITE_PERM_OF_BROKER" T2 "stop routing writes to a broker";
    AddWritePermOfBroker = 327 "ADD_WRITE_PERM_OF_BROKER" T2 "route writes to a broker again";
    UpdateNamesrvConfig = 318 "UPDATE_NAMESRV_CONFIG" T2 "change the name server's settings";
    GetNamesrvConfig = 319 "GET_NAMESRV_CONFIG" T2 "the name server's settings";
    ControllerAlterSyncStateSet = 1001 "CONTROLLER_ALTER_SYNC_STATE_SET" T3 "controller: change the in-sync set";
    ControllerElectMaster = 1002 "CONTROLLER_ELECT_MASTER" T3 "controller: elect a master";
    ControllerRegisterBroker = 1003 "CONTROLLER_REGISTER_BROKER" T3 "controller: register a broker";
    ControllerGetReplicaInfo = 1004 "CONTROLLER_GET_REPLICA_INFO" T3 "controller: a broker's replicas";
    ControllerGetMetadataInfo = 1005 "CONTROLLER_GET_METADATA_INFO" T3 "controller: its own group";
    ControllerGetSyncStateData = 1006 "CONTROLLER_GET_SYNC_STATE_DATA" T3 "controller: in-sync sets of brokers";
    GetBrokerEpochCache = 1007 "GET_BROKER_EPOCH_CACHE" T3 "a broker's epochs";
    NotifyBrokerRoleChanged = 1008 "NOTIFY_BROKER_ROLE_CHANGED" T3 "controller to broker: your role changed";
    UpdateControllerConfig = 1009 "UPDATE_CONTROLLER_CONFIG" T3 "change the controller's settings";
    GetControllerConfig = 1010 "GET_CONTROLLER_CONFIG" T3 "the controller's settings";
    CleanBrokerData = 1011 "CLEAN_BROKER_DATA" T3 "controller: forget a broker";
    ControllerGetNextBrokerId = 1012 "CONTROLLER_GET_NEXT_BROKER_ID" T3 "controller: the next free broker id";
    ControllerApplyBrokerId = 1013 "CONTROLLER_APPLY_BROKER_ID" T3 "controller: take a broker id";
    BrokerCloseChannelRequest = 1014 "BROKER_CLOSE_CHANNEL_REQUEST" T3 "inside the controller's Raft log";
    CheckNotActiveBrokerRequest = 1015 "CHECK_NOT_ACTIVE_BROKER_REQUEST" T3 "inside the controller's Raft log";
    GetBrokerLiveInfoRequest = 1016 "GET_BROKER_LIVE_INFO_REQUEST" T3 "inside the controller's Raft log";
    GetSyncStateDataRequest = 1017 "GET_SYNC_STATE_DATA_REQUEST" T3 "inside the controller's Raft log";
    RaftBrokerHeartBeatEventRequest = 1018 "RAFT_BROKER_HEART_BEAT_EVENT_REQUEST" T3 "inside the controller's Raft log";
    QueryBrokerOffset = 13 "QUERY_BROKER_OFFSET" T3 "declared by RocketMQ, served by nobody";
    GetTopicConfigList = 22 "GET_TOPIC_CONFIG_LIST" T3 "declared by RocketMQ, served by nobody";
    GetTopicNameList = 23 "GET_TOPIC_NAME_LIST" T3 "declared by RocketMQ, served by nobody";
    TriggerDeleteFiles = 27 "TRIGGER_DELETE_FILES" T3 "declared by RocketMQ, served by nobody";
    GetClientConfig = 47 "GET_CLIENT_CONFIG" T3 "declared by RocketMQ, served by nobody";
    SuspendConsumer = 209 "SUSPEND_CONSUMER" T3 "declared by RocketMQ, served by nobody";
    ResumeConsumer = 210 "RESUME_CONSUMER" T3 "declared by RocketMQ, served by nobody";
    ResetConsumerOffsetInConsumer = 211 "RESET_CONSUMER_OFFSET_IN_CONSUMER" T3 "declared by RocketMQ, served by nobody";
    ResetConsumerOffsetInBroker = 212 "RESET_CONSUMER_OFFSET_IN_BROKER" T3 "declared by RocketMQ, served by nobody";
    AdjustConsumerThreadPool = 213 "ADJUST_CONSUMER_THREAD_POOL" T3 "declared by RocketMQ, served by nobody";
    WhoConsumeTheMessage = 214 "WHO_CONSUME_THE_MESSAGE" T3 "declared by RocketMQ, served by nobody";
    RegisterFilterServer = 301 "REGISTER_FILTER_SERVER" T3 "declared by RocketMQ, served by nobody";
    RegisterMessageFilterClass = 302 "REGISTER_MESSAGE_FILTER_CLASS" T3 "declared by RocketMQ, served by nobody";
}

impl RequestCode {
    /// As it goes on the wire in a JSON header.
    pub const fn to_i32(self) -> i32 {
        self as i32
    }

    /// Every code, in the order of the table.
    pub fn all() -> impl Iterator<Item = RequestCode> {
        Self::ALL.iter().copied()
    }
}

impl std::fmt::Display for RequestCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.to_i32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_and_names_are_distinct_and_lead_back() {
        let codes: BTreeSet<_> = RequestCode::all().map(RequestCode::to_i32).collect();
        let names: BTreeSet<_> = RequestCode::all().map(RequestCode::name).collect();
        assert_eq!((codes.len(), names.len()), (158, 158));
        for code in RequestCode::all() {
            assert_eq!(RequestCode::from_i32(code.to_i32()), Some(code));
        }
        assert_eq!(RequestCode::from_i32(0), None);
    }

    #[test]
    fn the_tiers_have_the_sizes_of_the_reference() {
        let count = |tier| RequestCode::all().filter(|code| code.tier() == tier).count();
        assert_eq!([count(Tier::T1), count(Tier::T2), count(Tier::T3)], [30, 58, 70]);
    }

    #[test]
    fn a_code_is_shown_with_its_name() {
        assert_eq!(RequestCode::SendMessageV2.to_string(), "SEND_MESSAGE_V2 (310)");
    }
}
