//! The table of response codes.
//!
//! Owns the codes of protocol.md 3.1 (RocketMQ: `ResponseCode`, `RemotingSysResponseCode`). Which code
//! makes a client retry is said there in 3.2; nothing here judges.

macro_rules! responses {
    ($($variant:ident = $code:literal $name:literal $meaning:literal;)*) => {
        /// A response code of RocketMQ.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum ResponseCode {
            $(
                #[doc = $meaning]
                $variant = $code,
            )*
        }

        impl ResponseCode {
            /// Every code, in the order of the table.
            pub const ALL: &[ResponseCode] = &[$(ResponseCode::$variant,)*];

            /// From the wire; `None` for a code RocketMQ does not declare.
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(ResponseCode::$variant),)*
                    _ => None,
                }
            }

            /// RocketMQ's name, such as `TOPIC_NOT_EXIST`.
            pub const fn name(self) -> &'static str {
                match self { $(ResponseCode::$variant => $name,)* }
            }

            /// When it is used.
            pub const fn meaning(self) -> &'static str {
                match self { $(ResponseCode::$variant => $meaning,)* }
            }
        }
    };
}

responses! {
    Success = 0 "SUCCESS" "done";
    SystemError = 1 "SYSTEM_ERROR" "something is wrong; the remark says what";
    SystemBusy = 2 "SYSTEM_BUSY" "too much at once; Java producers retry elsewhere, Go ones do not";
    RequestCodeNotSupported = 3 "REQUEST_CODE_NOT_SUPPORTED" "nobody here serves this request";
    TransactionFailed = 4 "TRANSACTION_FAILED" "declared only";
    FlushDiskTimeout = 10 "FLUSH_DISK_TIMEOUT" "stored, but not known to be on disk";
    SlaveNotAvailable = 11 "SLAVE_NOT_AVAILABLE" "stored, but no replica could take it";
    FlushSlaveTimeout = 12 "FLUSH_SLAVE_TIMEOUT" "stored, but no replica confirmed it in time";
    MessageIllegal = 13 "MESSAGE_ILLEGAL" "the message breaks a limit or rule";
    ServiceNotAvailable = 14 "SERVICE_NOT_AVAILABLE" "the store does not accept writes";
    VersionNotSupported = 15 "VERSION_NOT_SUPPORTED" "declared only";
    NoPermission = 16 "NO_PERMISSION" "forbidden to this client, topic, group or broker";
    TopicNotExist = 17 "TOPIC_NOT_EXIST" "no such topic";
    TopicExistAlready = 18 "TOPIC_EXIST_ALREADY" "declared only";
    PullNotFound = 19 "PULL_NOT_FOUND" "no new message within the time to wait";
    PullRetryImmediately = 20 "PULL_RETRY_IMMEDIATELY" "nothing matched so far; go on from the next offset";
    PullOffsetMoved = 21 "PULL_OFFSET_MOVED" "the offset is outside the queue, or a reset is pending";
    QueryNotFound = 22 "QUERY_NOT_FOUND" "no such offset, value or message";
    SubscriptionParseFailed = 23 "SUBSCRIPTION_PARSE_FAILED" "the filter expression is malformed";
    SubscriptionNotExist = 24 "SUBSCRIPTION_NOT_EXIST" "no heartbeat has announced the subscription yet";
    SubscriptionNotLatest = 25 "SUBSCRIPTION_NOT_LATEST" "the announced subscription is older";
    SubscriptionGroupNotExist = 26 "SUBSCRIPTION_GROUP_NOT_EXIST" "no such group";
    FilterDataNotExist = 27 "FILTER_DATA_NOT_EXIST" "the filter has not been compiled yet";
    FilterDataNotLatest = 28 "FILTER_DATA_NOT_LATEST" "the compiled filter is older";
    InvalidParameter = 29 "INVALID_PARAMETER" "a name or number is out of range";
    TransactionShouldCommit = 200 "TRANSACTION_SHOULD_COMMIT" "declared only";
    TransactionShouldRollback = 201 "TRANSACTION_SHOULD_ROLLBACK" "declared only";
    TransactionStateUnknow = 202 "TRANSACTION_STATE_UNKNOW" "declared only";
    TransactionStateGroupWrong = 203 "TRANSACTION_STATE_GROUP_WRONG" "declared only";
    NoBuyerId = 204 "NO_BUYER_ID" "declared only";
    NotInCurrentUnit = 205 "NOT_IN_CURRENT_UNIT" "declared only";
    ConsumerNotOnline = 206 "CONSUMER_NOT_ONLINE" "no client of the group is connected";
    ConsumeMsgTimeout = 207 "CONSUME_MSG_TIMEOUT" "the client that was asked did not answer in time";
    NoMessage = 208 "NO_MESSAGE" "no message at that offset";
    PollingFull = 209 "POLLING_FULL" "too many pops on hold";
    PollingTimeout = 210 "POLLING_TIMEOUT" "nothing to pop within the time to wait";
    BrokerNotExist = 211 "BROKER_NOT_EXIST" "no such broker";
    BrokerDispatchNotComplete = 212 "BROKER_DISPATCH_NOT_COMPLETE" "the index is behind the log";
    BroadcastConsumption = 213 "BROADCAST_CONSUMPTION" "not possible for a broadcasting group";
    FlowControl = 215 "FLOW_CONTROL" "the group reads more than it may";
    NotLeaderForQueue = 501 "NOT_LEADER_FOR_QUEUE" "another broker leads this queue";
    IllegalOperation = 604 "ILLEGAL_OPERATION" "a recall or commit that is not possible";
    GoAway = 1500 "GO_AWAY" "the broker is shutting down; connect elsewhere";
    RpcUnknown = -1000 "RPC_UNKNOWN" "between brokers: unknown error";
    RpcAddrIsNull = -1002 "RPC_ADDR_IS_NULL" "between brokers: no address";
    RpcSendToChannelFailed = -1004 "RPC_SEND_TO_CHANNEL_FAILED" "between brokers: not sent";
    RpcTimeOut = -1006 "RPC_TIME_OUT" "between brokers: no answer in time";
    ControllerFencedMasterEpoch = 2000 "CONTROLLER_FENCED_MASTER_EPOCH" "controller: old master epoch";
    ControllerFencedSyncStateSetEpoch = 2001 "CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH" "controller: old in-sync set";
    ControllerInvalidMaster = 2002 "CONTROLLER_INVALID_MASTER" "controller: not the master";
    ControllerInvalidReplicas = 2003 "CONTROLLER_INVALID_REPLICAS" "controller: not the replicas";
    ControllerMasterNotAvailable = 2004 "CONTROLLER_MASTER_NOT_AVAILABLE" "controller: no master";
    ControllerInvalidRequest = 2005 "CONTROLLER_INVALID_REQUEST" "controller: malformed request";
    ControllerBrokerNotAlive = 2006 "CONTROLLER_BROKER_NOT_ALIVE" "controller: the broker is not alive";
    ControllerNotLeader = 2007 "CONTROLLER_NOT_LEADER" "controller: another one leads";
    ControllerBrokerMetadataNotExist = 2008 "CONTROLLER_BROKER_METADATA_NOT_EXIST" "controller: unknown broker";
    ControllerInvalidCleanBrokerMetadata = 2009 "CONTROLLER_INVALID_CLEAN_BROKER_METADATA" "controller: cannot forget this broker";
    ControllerBrokerNeedToBeRegistered = 2010 "CONTROLLER_BROKER_NEED_TO_BE_REGISTERED" "controller: register first";
    ControllerMasterStillExist = 2011 "CONTROLLER_MASTER_STILL_EXIST" "controller: the master is alive";
    ControllerElectMasterFailed = 2012 "CONTROLLER_ELECT_MASTER_FAILED" "controller: no master elected";
    ControllerAlterSyncStateSetFailed = 2013 "CONTROLLER_ALTER_SYNC_STATE_SET_FAILED" "controller: in-sync set not changed";
    ControllerBrokerIdInvalid = 2014 "CONTROLLER_BROKER_ID_INVALID" "controller: bad broker id";
    ControllerJraftInternalError = 2015 "CONTROLLER_JRAFT_INTERNAL_ERROR" "controller: Raft failed";
    ControllerBrokerLiveInfoNotExists = 2016 "CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS" "controller: no news of the broker";
    UserNotExist = 3001 "USER_NOT_EXIST" "declared only";
    PolicyNotExist = 3002 "POLICY_NOT_EXIST" "declared only";
}

impl ResponseCode {
    /// As it goes on the wire.
    pub const fn to_i32(self) -> i32 {
        self as i32
    }

    /// Whether a send answered with this code has stored the message: its header must say where.
    pub const fn is_stored(self) -> bool {
        matches!(
            self,
            ResponseCode::Success
                | ResponseCode::FlushDiskTimeout
                | ResponseCode::SlaveNotAvailable
                | ResponseCode::FlushSlaveTimeout
        )
    }
}

impl std::fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.to_i32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_lead_back_and_fit_the_binary_spelling() {
        let codes: BTreeSet<_> = ResponseCode::ALL.iter().map(|code| code.to_i32()).collect();
        assert_eq!(codes.len(), ResponseCode::ALL.len());
        for &code in ResponseCode::ALL {
            assert_eq!(ResponseCode::from_i32(code.to_i32()), Some(code));
            assert!(i16::try_from(code.to_i32()).is_ok());
        }
    }
}
