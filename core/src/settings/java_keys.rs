//! The configuration keys that the Java broker and name server of RocketMQ know, up to 5.3.
//!
//! A broker.conf that ran under the Java broker must run here: a key of these tables that has no row in the settings tables
//! is accepted and listed in one note, instead of being called a typing mistake. The names are facts about Java's classes; no
//! meaning is attached to them here.

/// Whether a broker.conf key is one the Java broker knows.
#[must_use]
pub fn is_broker_key(key: &str) -> bool {
    [BROKER, STORE, REMOTING, AUTH].iter().any(|keys| keys.binary_search(&key).is_ok())
}

/// Whether a namesrv.conf key is one the Java name server knows (it may run a controller inside).
#[must_use]
pub fn is_namesrv_key(key: &str) -> bool {
    [NAMESRV, REMOTING, CONTROLLER].iter().any(|keys| keys.binary_search(&key).is_ok())
}

/// Fields of `BrokerConfig` and `BrokerIdentity`, and keys that broker.conf files of older releases still carry.
#[rustfmt::skip]
const BROKER: &[&str] = &[
    "accountStatsEnable", "accountStatsPrintZeroValues", "ackMessageThreadPoolNums", "ackThreadPoolQueueCapacity",
    "aclEnable", "aclFilePath", "adminBrokerThreadPoolNums", "adminBrokerThreadPoolQueueCapacity",
    "allowRecallWhenBrokerNotWriteable", "appendAckAsync", "appendCkAsync", "asyncSendEnable",
    "autoCreateSubscriptionGroup", "autoCreateTopicEnable", "autoDeleteUnusedStats", "broadcastOffsetExpireMaxSecond",
    "broadcastOffsetExpireSecond", "brokerClusterName", "brokerConfigPath", "brokerElectionPriority",
    "brokerFastFailureEnable", "brokerHeartbeatInterval", "brokerIP1", "brokerIP2", "brokerId", "brokerName",
    "brokerNotActiveTimeoutMillis", "brokerPermission", "brokerTopicEnable", "cgColdReadThreshold",
    "channelExpiredTimeout", "checkSyncStateSetPeriod", "checkTransactionMessageEnable", "cleanOfflineBrokerInterval",
    "clearRetryTopicWhenDeleteTopic", "clientManageThreadPoolNums", "clientManagerThreadPoolQueueCapacity",
    "clusterTopicEnable", "coldCtrStrategyEnable", "commercialBaseCount", "commercialSizePerMsg",
    "compatibleWithOldNameSrv", "compressedRegister", "configBlackList", "configManagerVersion",
    "consumerFallbehindThreshold", "consumerManageThreadPoolNums", "consumerManagerThreadPoolQueueCapacity",
    "consumerOffsetUpdateVersionStep", "controllerAddr", "controllerHeartBeatTimeoutMills",
    "defaultMessageRequestMode", "defaultPopShareQueueNum", "defaultTopicQueueNums", "delayOffsetUpdateVersionStep",
    "disableConsumeIfConsumerReadSlowly", "enableBroadcastOffsetStore", "enableCalcFilterBitMap",
    "enableConnectionMetrics", "enableConsumeQueueExt", "enableControllerMode", "enableCreateSysGroup",
    "enableDetailStat", "enableFastChannelEventProcess", "enableLagAndDlqMetrics", "enableLmqStats",
    "enableMessageStoreMetrics", "enableMixedMessageType", "enableNetWorkFlowControl",
    "enableNotifyAfterPopOrderLockRelease", "enableNotifyBeforePopCalculateLag", "enablePopBatchAck",
    "enablePopBufferMerge", "enablePopLog", "enablePopMessageThreshold", "enablePopMetrics", "enablePropertyFilter",
    "enableRegisterProducer", "enableRemoteEscape", "enableRemotingMetrics", "enableRequestMetrics",
    "enableRetryTopicV2", "enableSingleTopicRegister", "enableSkipLongAwaitingAck", "enableSlaveActingMaster",
    "enableSplitMetadata", "enableSplitRegistration", "enableStatsMetrics", "enableTransactionMetrics",
    "endTransactionPoolQueueCapacity", "endTransactionThreadPoolNums", "estimateAccumulation",
    "expectConsumerNumUseFilter", "fetchControllerAddrByDnsLookup", "fetchNameSrvAddrByDnsLookup",
    "fetchNamesrvAddrByAddressServer", "fetchNamesrvAddrInterval", "filterDataCleanTimeSpan", "filterServerNums",
    "filterSupportRetry", "flushConsumerOffsetHistoryInterval", "flushConsumerOffsetInterval", "forceRegister",
    "forwardTimeout", "globalColdReadThreshold", "heartbeatThreadPoolNums", "heartbeatThreadPoolQueueCapacity",
    "highSpeedMode", "initPopOffsetByCheckMsgInMem", "isBrokerContainer", "isInBrokerContainer", "isolateLogEnable",
    "listenPort", "litePullMessageEnable", "litePullMessageThreadPoolNums", "litePullThreadPoolQueueCapacity",
    "loadBalancePollNameServerInterval", "loadBalanceProcessorThreadPoolNums", "loadBalanceThreadPoolQueueCapacity",
    "lockInStrictMode", "longPollingEnable", "maxErrorRateOfBloomFilter", "maxPopPollingSize",
    "maxStatsIdleTimeInMinutes", "messageStorePlugIn", "metricGrpcExporterIntervalInMills",
    "metricGrpcExporterTimeOutInMills", "metricLoggingExporterIntervalInMills", "metricsExporterType",
    "metricsGrpcExporterHeader", "metricsGrpcExporterTarget", "metricsInDelta", "metricsLabel",
    "metricsOtelCardinalityLimit", "metricsPromExporterHost", "metricsPromExporterPort", "msgTraceTopicName",
    "namesrvAddr", "notifyConsumerIdsChangedEnable", "offsetCheckInSlave", "popCkMaxBufferSize",
    "popCkOffsetMaxQueueSize", "popCkStayBufferTime", "popCkStayBufferTimeOut", "popConsumerFSServiceInit",
    "popConsumerKVServiceEnable", "popConsumerKVServiceInit", "popConsumerKVServiceLog", "popFromRetryProbability",
    "popInflightMessageThreshold", "popLongPollingForceNotifyInterval", "popPollingMapExpireTimeSeconds",
    "popPollingMapSize", "popPollingSize", "popResponseReturnActualRetryTopic", "popReviveMaxAttemptTimes",
    "popReviveMaxReturnSizePerRead", "printChannelGroups", "printChannelGroupsMinNum",
    "processReplyMessageThreadPoolNums", "pullMessageThreadPoolNums", "pullThreadPoolQueueCapacity",
    "putMessageFutureThreadPoolNums", "putThreadPoolQueueCapacity", "queryMessageThreadPoolNums",
    "queryThreadPoolQueueCapacity", "realTimeNotifyConsumerChange", "recallMessageEnable", "recoverConcurrently",
    "recoverThreadPoolNums", "regionId", "registerBrokerTimeoutMills", "registerNameServerPeriod",
    "rejectPullConsumerEnable", "rejectTransactionMessage", "replyThreadPoolQueueCapacity",
    "retrieveMessageFromPopRetryTopicV1", "reviveAckWaitMs", "reviveInterval", "reviveMaxSlow", "reviveQueueNum",
    "reviveScanTime", "rocketmqHome", "sendHeartbeatTimeoutMillis", "sendMessageThreadPoolNums",
    "sendThreadPoolQueueCapacity", "serverLoadBalancerEnable", "serverSelectorThreads", "shortPollingTimeMills",
    "skipPreOnline", "skipWhenCKRePutReachMaxTimes", "slaveReadEnable", "splitMetadataSize", "splitRegistrationSize",
    "startAcceptSendRequestTimeStamp", "storeReplyMessageEnable", "subscriptionExpiredTimeout",
    "syncBrokerMemberGroupPeriod", "syncBrokerMetadataPeriod", "syncControllerMetadataPeriod", "traceOn",
    "traceTopicEnable", "transactionCheckInterval", "transactionCheckMax", "transactionMetricFlushInterval",
    "transactionOpBatchInterval", "transactionOpMsgMaxSize", "transactionTimeOut", "transferMsgByHeap",
    "updateNameServerAddrPeriod", "usePIDColdCtrStrategy", "useServerSideResetOffset", "useStaticSubscription",
    "useTLS", "validateSystemTopicWhenUpdateTopic", "waitTimeMillsInAckQueue", "waitTimeMillsInAdminBrokerQueue",
    "waitTimeMillsInHeartbeatQueue", "waitTimeMillsInLitePullQueue", "waitTimeMillsInPullQueue",
    "waitTimeMillsInSendQueue", "waitTimeMillsInTransactionQueue",
];

/// Fields of `MessageStoreConfig` and of the tiered store.
#[rustfmt::skip]
const STORE: &[&str] = &[
    "abortFile", "accessMessageInMemoryHotRatio", "accessMessageInMemoryMaxRatio", "allAckInSyncStateSet",
    "asyncLearner", "autoMessageVersionOnTopicLen", "batchDispatchRequestThreadPoolNums",
    "bitMapLengthConsumeQueueExt", "bottomMostCompressionTypeForConsumeQueueStore", "brokerClusterName", "brokerName",
    "brokerRole", "checkCRCOnRecover", "cleanFileForciblyEnable", "cleanResourceInterval",
    "cleanRocksDBDirtyCQIntervalMin", "cleanSwapedMapInterval", "coldDataFlowControlEnable", "coldDataScanEnable",
    "combineAssignOffsetCQType", "combineCQEnableCheckSelf", "combineCQLoadingCQTypes",
    "combineCQMaxExtraSearchCommitLogFiles", "combineCQPreferCQType", "commitCommitLogLeastPages",
    "commitCommitLogThoroughInterval", "commitIntervalCommitLog", "commitLogForceSwapMapInterval",
    "commitLogRollingInterval", "commitLogRollingMinimumSize", "commitLogSwapMapInterval",
    "commitLogSwapMapReserveFileNum", "compactionCqMappedFileSize", "compactionMappedFileSize",
    "compactionScheduleInternal", "compactionThreadNum", "correctLogicMinOffsetForceInterval",
    "correctLogicMinOffsetSleepInterval", "dLegerGroup", "dLegerPeers", "dLegerSelfId", "dataReadAheadEnable",
    "debugLockEnable", "defaultQueryMaxNum", "deleteCommitLogFilesInterval", "deleteConsumeQueueFilesInterval",
    "deleteFileBatchMax", "deleteWhen", "destroyMapedFileIntervalForcibly", "disappearTimeAfterStart",
    "diskFallRecorded", "diskMaxUsedSpaceRatio", "diskSpaceCleanForciblyRatio", "diskSpaceWarningLevelRatio",
    "dispatchCqCacheNum", "dispatchCqThreads", "dispatchFromSenderThread", "duplicationEnable",
    "enableAcceleratedRecovery", "enableAsyncReput", "enableAutoInSyncReplicas", "enableBatchPush",
    "enableBuildConsumeQueueConcurrently", "enableCleanExpiredOffset", "enableCompaction", "enableConsumeQueueExt",
    "enableDLegerCommitLog", "enableLmq", "enableLogConsumeQueueRepeatedlyBuildWhenRecover", "enableMultiDispatch",
    "enableRocksDBLog", "enableRunningFlagsInFlush", "enableScheduleAsyncDeliver", "enableScheduleMessageStats",
    "enabledAppendPropCRC", "fastFailIfNoBufferInStorePool", "fileReservedTime", "flushCommitLogLeastPages",
    "flushCommitLogThoroughInterval", "flushCommitLogTimed", "flushConsumeQueueLeastPages",
    "flushConsumeQueueThoroughInterval", "flushDelayOffsetInterval", "flushDiskType", "flushIntervalCommitLog",
    "flushIntervalConsumeQueue", "flushLeastPagesWhenWarmMapedFile", "forceVerifyPropCRC", "haFlowControlEnable",
    "haHousekeepingInterval", "haListenPort", "haMasterAddress", "haMaxGapNotInSync", "haMaxTimeSlaveNotCatchup",
    "haSendHeartbeatInterval", "haTransferBatchSize", "inSyncReplicas", "logicQueueForceSwapMapInterval",
    "logicQueueSwapMapInterval", "logicQueueSwapMapReserveFileNum", "logicalDiskSpaceCleanForciblyThreshold",
    "mappedFileSizeCommitLog", "mappedFileSizeConsumeQueue", "mappedFileSizeConsumeQueueExt",
    "mappedFileSizeTimerLog", "mappedFileSwapEnable", "mapperFileSizeBatchConsumeQueue", "maxAsyncPutMessageRequests",
    "maxBatchDeleteFilesNum", "maxChecksumRange", "maxConsumeQueueScan", "maxFilterMessageSize",
    "maxHaTransferByteInSecond", "maxHashSlotNum", "maxIndexNum", "maxLmqConsumeQueueNum", "maxMessageSize",
    "maxMsgsNumBatch", "maxOffsetMapSize", "maxRecoveryCommitlogFiles", "maxSlaveResendLength", "maxTopicLength",
    "maxTransferBytesOnMessageInDisk", "maxTransferBytesOnMessageInMemory", "maxTransferCountOnMessageInDisk",
    "maxTransferCountOnMessageInMemory", "memTableFlushIntervalMs", "messageDelayLevel", "messageIndexEnable",
    "messageIndexSafe", "minInSyncReplicas", "objectStoreAccessKey", "objectStoreBucket", "objectStoreEndpoint",
    "objectStoreSecretKey", "offsetCheckInSlave", "osPageCacheBusyTimeOutMills", "preferredLeaderId",
    "pullBatchMaxMessageCount", "putConsumeQueueDataByFileChannel", "putMessageTimeout", "putMsgIndexHightWater",
    "readAheadCacheEnable", "readAheadCacheExpireDuration", "readAheadCacheSizeThresholdRate",
    "readAheadMessageCountThreshold", "readAheadMessageSizeThreshold", "readOnlyCommitLogStorePaths",
    "readUnCommitted", "realTimePersistRocksDBConfig", "recheckReputOffsetFromCq", "recordGetMessageResult",
    "redeleteHangedFileInterval", "replicasPerDiskPartition", "rocksdbCQDoubleWriteEnable", "rocksdbCompressionType",
    "rocksdbFlushWalFrequency", "rocksdbWalFileRollingThreshold", "sampleCountThreshold", "sampleSteps",
    "scheduleAsyncDeliverMaxPendingLimit", "scheduleAsyncDeliverMaxResendNum2Blocked", "searchBcqByCacheEnable",
    "slaveTimeout", "spinLockCollisionRetreatOptimalDegree", "statRocksDBCQIntervalSec", "storeCheckpoint",
    "storePathAbort", "storePathBrokerIdentity", "storePathCommitLog", "storePathConsumeQueue",
    "storePathDLedgerCommitLog", "storePathEpochFile", "storePathIndex", "storePathRootDir", "storeType",
    "syncFlushTimeout", "syncFromLastFile", "syncMasterFlushOffsetWhenStartup", "tieredBackendServiceProvider",
    "tieredMetadataServiceProvider", "tieredStorageLevel", "tieredStoreCommitLogMaxSize",
    "tieredStoreConsumeQueueMaxSize", "tieredStoreCrcCheckEnable", "tieredStoreDeleteFileEnable",
    "tieredStoreDeleteFileInterval", "tieredStoreFilePath", "tieredStoreFileReservedTime", "tieredStoreGroupCommit",
    "tieredStoreGroupCommitCount", "tieredStoreGroupCommitSize", "tieredStoreGroupCommitTimeout",
    "tieredStoreIndexFileMaxHashSlotNum", "tieredStoreIndexFileMaxIndexNum", "tieredStoreMaxGroupCommitCount",
    "tieredStoreMaxPendingLimit", "timerCheckMetricsWhen", "timerColdDataCheckIntervalMs", "timerCongestNumEachSlot",
    "timerEnableCheckMetrics", "timerEnableDisruptor", "timerEnableRetryUntilSuccess", "timerFlushIntervalMs",
    "timerGetMessageThreadNum", "timerInterceptDelayLevel", "timerMaxDelaySec", "timerMetricSmallThreshold",
    "timerPrecisionMs", "timerProgressLogIntervalMs", "timerPutMessageThreadNum", "timerRollWindowSlot",
    "timerSkipUnknownError", "timerStopDequeue", "timerStopEnqueue", "timerWarmEnable", "timerWheelEnable",
    "topicQueueLockNum", "totalReplicas", "transientStorePoolEnable", "transientStorePoolSize",
    "travelCqFileNumWhenGetMessage", "useABSLock", "useReentrantLockWhenPutMessage", "wakeCommitWhenPutMessage",
    "wakeFlushWhenPutMessage", "warmMapedFileEnable", "writeWithoutMmap",
];

/// Fields of `NettyServerConfig` and `NettyClientConfig`.
#[rustfmt::skip]
const REMOTING: &[&str] = &[
    "bindAddress", "channelNotActiveInterval", "clientAsyncSemaphoreValue", "clientCallbackExecutorThreads",
    "clientChannelMaxIdleTimeSeconds", "clientCloseSocketIfTimeout", "clientOnewaySemaphoreValue",
    "clientPooledByteBufAllocatorEnable", "clientSocketRcvBufSize", "clientSocketSndBufSize", "clientWorkerThreads",
    "connectTimeoutMillis", "disableCallbackExecutor", "disableNettyWorkerGroup", "enableReconnectForGoAway",
    "enableShutdownGracefully", "isScanAvailableNameSrv", "listenPort", "maxReconnectIntervalTimeSeconds",
    "serverAsyncSemaphoreValue", "serverCallbackExecutorThreads", "serverChannelMaxIdleTimeSeconds",
    "serverNettyWorkerGroupEnable", "serverOnewaySemaphoreValue", "serverPooledByteBufAllocatorEnable",
    "serverSelectorThreads", "serverSocketBacklog", "serverSocketRcvBufSize", "serverSocketSndBufSize",
    "serverWorkerThreads", "shutdownWaitTimeSeconds", "socksProxyConfig", "useEpollNativeSelector", "useTLS",
    "writeBufferHighWaterMark", "writeBufferLowWaterMark",
];

/// Fields of `AuthConfig`.
#[rustfmt::skip]
const AUTH: &[&str] = &[
    "aclCacheExpiredSecond", "aclCacheMaxNum", "aclCacheRefreshSecond", "authConfigPath", "authenticationEnabled",
    "authenticationMetadataProvider", "authenticationProvider", "authenticationStrategy", "authenticationWhitelist",
    "authorizationEnabled", "authorizationMetadataProvider", "authorizationProvider", "authorizationStrategy",
    "authorizationWhitelist", "clusterName", "configName", "initAuthenticationUser",
    "innerClientAuthenticationCredentials", "migrateAuthFromV1Enabled", "statefulAuthenticationCacheExpiredSecond",
    "statefulAuthenticationCacheMaxNum", "statefulAuthorizationCacheExpiredSecond",
    "statefulAuthorizationCacheMaxNum", "userCacheExpiredSecond", "userCacheMaxNum", "userCacheRefreshSecond",
];

/// Fields of `NamesrvConfig`.
#[rustfmt::skip]
const NAMESRV: &[&str] = &[
    "clientRequestThreadPoolNums", "clientRequestThreadPoolQueueCapacity", "clusterTest", "configBlackList",
    "configStorePath", "defaultThreadPoolNums", "defaultThreadPoolQueueCapacity", "deleteTopicWithBrokerRegistration",
    "enableAllTopicList", "enableControllerInNamesrv", "enableTopicList", "kvConfigPath", "needWaitForService",
    "notifyMinBrokerIdChanged", "orderMessageEnable", "productEnvName", "returnOrderTopicConfigToBroker",
    "rocketmqHome", "scanNotActiveBrokerInterval", "supportActingMaster", "unRegisterBrokerQueueCapacity",
    "waitSecondsForService",
];

/// Fields of `ControllerConfig`.
#[rustfmt::skip]
const CONTROLLER: &[&str] = &[
    "configBlackList", "configStorePath", "controllerDLegerGroup", "controllerDLegerPeers", "controllerDLegerSelfId",
    "controllerRequestThreadPoolQueueCapacity", "controllerStorePath", "controllerThreadPoolNums", "controllerType",
    "electMasterMaxRetryCount", "enableElectUncleanMaster", "isProcessReadEvent", "jraftConfig", "mappedFileSize",
    "metricGrpcExporterIntervalInMills", "metricGrpcExporterTimeOutInMills", "metricLoggingExporterIntervalInMills",
    "metricsExporterType", "metricsGrpcExporterHeader", "metricsGrpcExporterTarget", "metricsInDelta", "metricsLabel",
    "metricsPromExporterHost", "metricsPromExporterPort", "notifyBrokerRoleChanged", "rocketmqHome",
    "scanInactiveMasterInterval", "scanNotActiveBrokerInterval",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_for_the_binary_search() {
        for keys in [BROKER, STORE, REMOTING, AUTH, NAMESRV, CONTROLLER] {
            assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn keys_of_common_files_are_known() {
        for key in [
            "brokerRole",
            "sendMessageThreadPoolNums",
            "transientStorePoolEnable",
            "serverSelectorThreads",
            "aclEnable",
        ] {
            assert!(is_broker_key(key), "{key}");
        }
        assert!(is_namesrv_key("kvConfigPath") && !is_namesrv_key("brokerRole") && !is_broker_key("listenprot"));
    }
}
