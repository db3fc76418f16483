//! The settings of a broker, one row each.
//!
//! Owns the rows, their defaults and the checks between them. Where RocketMQ has a setting its key and unit are kept; where
//! the default differs from the Java broker's, the meaning says why. Keys that only RingMQ has say "RingMQ's own".

use super::form::choice;
use super::{Form, Unit, java_keys, settings};
use crate::limits::LEVEL_MAX_MS;

choice! {
    /// When a send to a topic without its own flush mode is answered (FlushDiskType of the Java broker).
    pub enum FlushDiskType {
        /// After the message is durable.
        SyncFlush = "SYNC_FLUSH",
        /// As soon as the message is in memory; it becomes durable within `flushIntervalCommitLog`.
        AsyncFlush = "ASYNC_FLUSH",
    }
}

choice! {
    /// Whether a name server runs inside the broker process.
    pub enum EmbeddedNamesrv {
        /// Exactly when no `namesrvAddr` is set.
        Auto = "auto",
        /// Always.
        Yes = "true",
        /// Never.
        No = "false",
    }
}

choice! {
    /// How consumers of a group receive a topic's messages when neither asked for a mode (MessageRequestMode).
    pub enum RequestMode {
        /// The clients divide the queues and pull.
        Pull = "PULL",
        /// The broker hands messages out.
        Pop = "POP",
    }
}

const fn number(min: i64, max: i64, unit: Unit) -> Form {
    Form::Number { min, max, unit }
}

const fn text(what: &'static str, fits: fn(&str) -> bool) -> Form {
    Form::Text { what, fits }
}

/// Names that become topics (cluster, broker) must be legal topic names (TopicValidator).
fn is_name(text: &str) -> bool {
    (1..=127).contains(&text.len()) && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'%' | b'|')
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_' | b'%'))
}

fn is_address_list(text: &str) -> bool {
    addresses(text).all(|address| {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            is_host(host.trim_start_matches('[').trim_end_matches(']'))
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    }) && addresses(text).next().is_some()
}

/// The addresses of a `;`-separated list.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|address| !address.is_empty())
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn is_any(_: &str) -> bool {
    true
}

fn is_cpu_list(text: &str) -> bool {
    text.split(',').all(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.trim().parse::<u16>(), last.trim().parse::<u16>()), (Ok(first), Ok(last)) if first <= last)
    })
}

/// `deleteWhen`: hours 00 to 23, separated by `;`.
fn is_hour_list(text: &str) -> bool {
    text.split(';').all(|hour| hour.trim().parse::<u8>().is_ok_and(|hour| hour < 24))
}

/// `messageDelayLevel`: numbers with a unit of s, m, h or d, separated by blanks.
fn is_delay_levels(text: &str) -> bool {
    delay_levels_ms(text).is_some()
}

/// The delay levels of `messageDelayLevel` in milliseconds, level 1 first; `None` when the text is not such a list.
fn delay_levels_ms(text: &str) -> Option<Vec<u64>> {
    let levels: Option<Vec<u64>> = text
        .split_whitespace()
        .map(|level| {
            let unit = match level.as_bytes().last()? {
                b's' => 1_000,
                b'm' => 60_000,
                b'h' => 3_600_000,
                b'd' => 86_400_000,
                _ => return None,
            };
            level[..level.len() - 1].parse::<u64>().ok()?.checked_mul(unit).filter(|delay_ms| *delay_ms <= LEVEL_MAX_MS)
        })
        .collect();
    levels.filter(|levels| !levels.is_empty() && levels.len() <= 64)
}

settings! {
    /// Settings of a broker.
    pub struct BrokerSettings(host);
    java java_keys::is_broker_key;
    check check;

    section identity: IdentitySettings "Who the broker is" {
        "brokerClusterName" broker_cluster_name: String = "DefaultCluster".to_owned(), text("a name of 1 to 127 of A-Z a-z 0-9 _ - % |", is_name), AtStart,
            "Cluster the broker belongs to; a topic of this name is routed to every broker of it.";
        "brokerName" broker_name: String = broker_name_of(&host.name), text("a name of 1 to 127 of A-Z a-z 0-9 _ - % |", is_name), AtStart,
            "Name of the broker in routes. The default is the host name, with characters that no topic name may have replaced by `-`. It is stored in the data directory and must not change later.";
        "brokerId" broker_id: u64 = 0, Form::Only { only: "0", why: "replicas are not served by this version" }, AtStart,
            "0 is the master of a broker name.";
        "brokerRole" broker_role: String = "ASYNC_MASTER".to_owned(), Form::Only { only: "ASYNC_MASTER", why: "replicas are not served by this version" }, AtStart,
            "Role in replication.";
        "regionId" region_id: String = "DefaultRegion".to_owned(), text("a word", is_name), AtStart,
            "Region put into every message and send answer (MSG_REGION); message traces show it.";
    }

    section network: NetworkSettings "Addresses and connections" {
        "listenPort" listen_port: u16 = 10911, number(3, 65535, Unit::Count), AtStart,
            "TCP port of the broker. The VIP port of old clients, listenPort - 2, is served too.";
        "bindAddress" bind_address: String = "*".to_owned(), text("an IP address, or * for all", |text| text == "*" || text.parse::<std::net::IpAddr>().is_ok()), AtStart,
            "Local address to listen on; `*` is every address, IPv4 and IPv6.";
        "brokerIP1" broker_ip1: Option<String> = None, text("an IP address or host name", is_host), AtStart,
            "Address announced to clients. Not set: the embedded name server announces the address the asking client reached it by, a standalone one the local address of our connection to it.";
        "brokerIP2" broker_ip2: Option<String> = None, text("an IP address or host name", is_host), AtStart,
            "Address announced to replicas; not set: the same as brokerIP1.";
        "namesrvAddr" namesrv_addr: Option<String> = None, text("host:port, several separated by ;", is_address_list), AtStart,
            "Name servers to register at, every one of them.";
        "embeddedNamesrv" embedded_namesrv: EmbeddedNamesrv = EmbeddedNamesrv::Auto, EmbeddedNamesrv::FORM, AtStart,
            "RingMQ's own: run a name server inside the broker; `auto` does so exactly when namesrvAddr is not set.";
        "namesrvListenPort" namesrv_listen_port: u16 = 9876, number(1, 65535, Unit::Count), AtStart,
            "RingMQ's own: port of the embedded name server.";
        "registerNameServerPeriod" register_name_server_period: u64 = 30_000, number(1_000, 60_000, Unit::Millis), AtStart,
            "How often the broker registers again at standalone name servers; changes are registered at once.";
        "registerBrokerTimeoutMills" register_broker_timeout: u64 = 24_000, number(100, 120_000, Unit::Millis), AtStart,
            "How long one registration may take.";
        "compressedRegister" compressed_register: bool = false, Form::Flag, AtStart,
            "Send registrations deflated.";
        "serverChannelMaxIdleTimeSeconds" server_channel_max_idle_time: u64 = 120, number(1, 86_400, Unit::Seconds), AtStart,
            "A connection that sent nothing for this long is closed; clients send a heartbeat every 30 s.";
    }

    section cores: CoreSettings "Shards and processors" {
        "shards" shards: u16 = 0, number(0, 1024, Unit::Count), AtStart,
            "RingMQ's own: shards of a new data directory; 0 is one per chosen CPU. An existing directory keeps the number it was made with.";
        "cpus" cpus: Option<String> = None, text("CPU numbers and ranges such as 0-3,8", is_cpu_list), AtStart,
            "RingMQ's own: CPUs to run on, one executor each; not set: all that the process may use.";
        "numaNode" numa_node: Option<u16> = None, number(0, 1023, Unit::Count), AtStart,
            "RingMQ's own: use only CPUs of this NUMA node and keep memory on it (also RMQ_NUMA_NODE).";
        "tailMemory" tail_memory: u64 = 32 << 20, number(4 << 20, 1 << 40, Unit::Bytes), AtStart,
            "RingMQ's own: most recent log bytes kept in memory per shard; consumers that keep up read from there. It grows as it fills.";
    }

    section store: StoreSettings "The log" {
        "storePathRootDir" store_path_root_dir: String = format!("{}/ringmq/store", host.home), text("a path", is_path), AtStart,
            "Data directory. One that holds something else is refused and left untouched.";
        "mappedFileSizeCommitLog" segment_size: u64 = 256 << 20, number(4 << 20, 1 << 30, Unit::Bytes), AtStart,
            "Size of a segment file of a new data directory, a multiple of 1 MiB (the Java broker's default is 1 GiB). Not set: less on a small volume, a 64th of each shard's share. An existing directory keeps its own.";
        "flushDiskType" flush_disk_type: FlushDiskType = FlushDiskType::SyncFlush, FlushDiskType::FORM, AnyTime,
            "When a send is answered on topics without a flush.type attribute. The default is SYNC_FLUSH: an acknowledged message survives a power cut, and group commit keeps that fast (the Java broker's default is ASYNC_FLUSH).";
        "flushIntervalCommitLog" flush_interval: u64 = 2, number(0, 10_000, Unit::Millis), AnyTime,
            "How long messages of async topics may gather before they are written; this much can be lost in a power cut. A sync message in between is written at once and takes them along (Java: 500).";
        "undurableBytesMax" undurable_bytes_max: u64 = 24 << 20, number(1 << 20, 24 << 20, Unit::Bytes), AnyTime,
            "RingMQ's own: accepted bytes per shard that are not on the disk yet at which senders have to wait for the disk; a power cut loses no more than this of async topics (and what was already read from the sockets, 512 KiB).";
        "undurableMsMax" undurable_ms_max: u64 = 1_000, number(100, 60_000, Unit::Millis), AnyTime,
            "RingMQ's own: age of the oldest accepted message that is not on the disk yet at which senders have to wait for the disk: what a disk that hangs may cost in time.";
        "scrubRate" scrub_rate: u64 = 8 << 20, number(0, 4 << 30, Unit::Bytes), AnyTime,
            "Bytes a second at which each shard reads its full segments over and over in the background to find damage before a consumer does; 0 is never.";
        "scrubEvery" scrub_every: u64 = 86_400, number(1, 31_536_000, Unit::Seconds), AnyTime,
            "RingMQ's own: from the beginning of one such round to the next; a disk that forgets does so over weeks. The first round begins a minute after the start, or sooner if this is less.";
        "flushConsumerOffsetInterval" flush_consumer_offset_interval: u64 = 1_000, number(10, 60_000, Unit::Millis), AnyTime,
            "How often changed consumer offsets are written (Java: 5000).";
        "maxMessageSize" max_message_size: u32 = 4 << 20, number(1, 12 << 20, Unit::Bytes), AnyTime,
            "Largest message body. The largest frame is 16 MiB, so 12 MiB is the most.";
        "fileReservedTime" file_reserved_time: u32 = 72, number(1, 876_000, Unit::Hours), AnyTime,
            "Age at which segments expire. Expired ones are deleted at deleteWhen; before that their files are used again when new segments are needed.";
        "deleteWhen" delete_when: String = "04".to_owned(), text("hours 00 to 23, several separated by ;", is_hour_list), AnyTime,
            "Hours of the day, local time, at which expired segments are deleted.";
        "diskMaxUsedSpaceRatio" disk_max_used_space_ratio: u32 = 75, number(10, 95, Unit::Percent), AnyTime,
            "Above this use of the disk expired segments are deleted at any hour.";
        "diskSpaceCleanForciblyRatio" disk_space_clean_forcibly_ratio: u32 = 85, number(30, 99, Unit::Percent), AnyTime,
            "Above this use of the disk the oldest segments are deleted before their time (the Java broker also has the system property rocketmq.broker.diskSpaceCleanForciblyRatio).";
        "cleanFileForciblyEnable" clean_file_forcibly_enable: bool = true, Form::Flag, AnyTime,
            "Whether the oldest segments may be deleted before their time when the disk is too full; off: only expired ones go.";
        "diskSpaceWarningLevelRatio" disk_space_warning_level_ratio: u32 = 90, number(35, 99, Unit::Percent), AnyTime,
            "Above this use of the disk sends are refused until space is free again (the Java broker also has the system property rocketmq.broker.diskSpaceWarningLevelRatio).";
    }

    section topics: TopicSettings "Topics and groups" {
        "autoCreateTopicEnable" auto_create_topic_enable: bool = true, Form::Flag, AnyTime,
            "A send to an unknown topic creates it after the model of TBW102.";
        "autoCreateSubscriptionGroup" auto_create_subscription_group: bool = true, Form::Flag, AnyTime,
            "A consumer group is created when a consumer names it first.";
        "defaultTopicQueueNums" default_topic_queue_nums: u32 = 8, number(1, 1024, Unit::Count), AnyTime,
            "Queues of TBW102, the most an auto-created topic gets (clients ask for 4).";
        "brokerPermission" broker_permission: u32 = 6, number(0, 7, Unit::Permission), AnyTime,
            "Permission of the whole broker, combined with every topic's.";
        "clusterTopicEnable" cluster_topic_enable: bool = true, Form::Flag, AtStart,
            "Topics may be created through the topic named after the cluster (its inherit bit).";
        "brokerTopicEnable" broker_topic_enable: bool = true, Form::Flag, AtStart,
            "Topics may be created through the topic named after the broker (its inherit bit).";
        "traceTopicEnable" trace_topic_enable: bool = false, Form::Flag, AtStart,
            "Make the message trace topic at start; otherwise the first trace creates it.";
        "msgTraceTopicName" msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".to_owned(), text("a topic name", is_name), AtStart,
            "Topic of message traces.";
        "traceOn" trace_on: bool = true, Form::Flag, AnyTime,
            "Whether send answers tell clients to trace (TRACE_ON).";
        "enableMixedMessageType" enable_mixed_message_type: bool = false, Form::Flag, AnyTime,
            "Allow topics with message.type MIXED.";
    }

    section consuming: ConsumingSettings "Consumers" {
        "enablePropertyFilter" enable_property_filter: bool = true, Form::Flag, AnyTime,
            "Allow SQL92 subscriptions (the Java broker's default is false, which surprises everybody).";
        "longPollingEnable" long_polling_enable: bool = true, Form::Flag, AnyTime,
            "Hold a pull that found nothing for as long as the client asks; off: for shortPollingTimeMills.";
        "shortPollingTimeMills" short_polling_time: u64 = 1_000, number(1, 30_000, Unit::Millis), AnyTime,
            "How long a pull is held when long polling is off.";
        "litePullMessageEnable" lite_pull_message_enable: bool = true, Form::Flag, AnyTime,
            "Serve LITE_PULL_MESSAGE.";
        "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true, Form::Flag, AnyTime,
            "Tell the members of a group at once when one joins or leaves.";
        "channelExpiredTimeout" channel_expired_timeout: u64 = 120_000, number(1_000, 86_400_000, Unit::Millis), AnyTime,
            "A member without heartbeat for this long is dropped.";
        "subscriptionExpiredTimeout" subscription_expired_timeout: u64 = 600_000, number(1_000, 86_400_000, Unit::Millis), AnyTime,
            "The subscriptions of a group without members are forgotten after this long.";
        "useServerSideResetOffset" use_server_side_reset_offset: bool = true, Form::Only { only: "true", why: "offsets are always reset on the broker, for online and offline groups alike" }, AnyTime,
            "Reset offsets on the broker.";
        "serverLoadBalancerEnable" server_load_balancer_enable: bool = true, Form::Flag, AnyTime,
            "Divide queues on the broker for clients that ask (QUERY_ASSIGNMENT).";
        "defaultMessageRequestMode" default_message_request_mode: RequestMode = RequestMode::Pull, RequestMode::FORM, AnyTime,
            "How groups consume that have no mode of their own.";
        "defaultPopShareQueueNum" default_pop_share_queue_num: i32 = -1, number(-1, 1024, Unit::Count), AnyTime,
            "How many members share a queue in POP mode; -1: all.";
    }

    section sending: SendingSettings "Producers, delays and transactions" {
        "startAcceptSendRequestTimeStamp" start_accept_send_request_time_stamp: i64 = 0, number(0, i64::MAX, Unit::Millis), AnyTime,
            "Sends before this wall-clock time (since 1970) are refused.";
        "storeReplyMessageEnable" store_reply_message_enable: bool = true, Form::Flag, AnyTime,
            "Store replies of request-reply calls besides pushing them to the requester.";
        "messageDelayLevel" message_delay_level: String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned(), text("times such as 1s 5m 2h 1d, at most 24d, separated by blanks", is_delay_levels), AnyTime,
            "The delay levels, level 1 first. Messages that wait already keep the time they were given.";
        "rejectTransactionMessage" reject_transaction_message: bool = false, Form::Flag, AnyTime,
            "Refuse transactional messages.";
        "transactionTimeOut" transaction_time_out: u64 = 6_000, number(0, 86_400_000, Unit::Millis), AnyTime,
            "Age at which an undecided transaction is checked first.";
        "transactionCheckInterval" transaction_check_interval: u64 = 30_000, number(100, 86_400_000, Unit::Millis), AnyTime,
            "How long after a check an undecided transaction is checked again.";
        "transactionCheckMax" transaction_check_max: u32 = 15, number(1, 10_000, Unit::Count), AnyTime,
            "How often one transaction is checked at most; then the message goes to TRANS_CHECK_MAX_TIME_TOPIC.";
    }

    section refusals: RefusedSettings "What is refused rather than ignored" {
        "aclEnable" acl_enable: bool = false, Form::Only { only: "false", why: "access control is not served by this version, and a broker that ignored it would be open" }, AtStart,
            "Access control 1.0.";
        "authenticationEnabled" authentication_enabled: bool = false, Form::Only { only: "false", why: "access control is not served by this version, and a broker that ignored it would be open" }, AtStart,
            "Authentication of access control 2.0.";
        "authorizationEnabled" authorization_enabled: bool = false, Form::Only { only: "false", why: "access control is not served by this version, and a broker that ignored it would be open" }, AtStart,
            "Authorization of access control 2.0.";
        "enableControllerMode" enable_controller_mode: bool = false, Form::Only { only: "false", why: "replicas are not served by this version" }, AtStart,
            "Master election by a controller.";
        "enableDLegerCommitLog" enable_dledger_commit_log: bool = false, Form::Only { only: "false", why: "replicas are not served by this version" }, AtStart,
            "Replication by DLedger.";
        "configBlackList" config_black_list: String = "configBlackList;brokerConfigPath".to_owned(), text("keys separated by ;", is_any), AtStart,
            "Keys that cannot be changed while the broker runs, besides those marked `start`.";
    }
}

/// The host name as a broker name: characters that no topic name may have become `-`.
fn broker_name_of(host: &str) -> String {
    let name: String =
        host.chars().take(127).map(|c| if c.is_ascii() && is_name_byte(c as u8) { c } else { '-' }).collect();
    if name.is_empty() { "broker-a".to_owned() } else { name }
}

/// What no row can judge alone.
fn check(settings: &BrokerSettings) -> Result<(), (&'static str, String)> {
    let store = &settings.store;
    if !store.segment_size.is_multiple_of(1 << 20) {
        return Err(("mappedFileSizeCommitLog", "a multiple of 1m".to_owned()));
    }
    // A frame must hold the largest message with its properties and never crosses a segment's end.
    if u64::from(store.max_message_size) > store.segment_size / 2 {
        return Err(("maxMessageSize", format!("at most half of mappedFileSizeCommitLog, {}", store.segment_size / 2)));
    }
    if store.disk_max_used_space_ratio > store.disk_space_clean_forcibly_ratio {
        return Err((
            "diskSpaceCleanForciblyRatio",
            format!("at least diskMaxUsedSpaceRatio, {}", store.disk_max_used_space_ratio),
        ));
    }
    if store.disk_space_clean_forcibly_ratio > store.disk_space_warning_level_ratio {
        let least = store.disk_space_clean_forcibly_ratio;
        return Err(("diskSpaceWarningLevelRatio", format!("at least diskSpaceCleanForciblyRatio, {least}")));
    }
    let network = &settings.network;
    if network.embedded_namesrv == EmbeddedNamesrv::No && network.namesrv_addr.is_none() {
        return Err(("embeddedNamesrv", "auto or true, because no namesrvAddr is set".to_owned()));
    }
    let runs_namesrv = settings.runs_embedded_namesrv();
    if runs_namesrv && [network.listen_port, settings.vip_port()].contains(&network.namesrv_listen_port) {
        return Err(("namesrvListenPort", "a port other than listenPort and listenPort - 2".to_owned()));
    }
    Ok(())
}

impl BrokerSettings {
    /// The port of old clients' VIP channel.
    #[must_use]
    pub fn vip_port(&self) -> u16 {
        self.network.listen_port - 2
    }

    /// The addresses of the name servers to register at.
    pub fn namesrv_addresses(&self) -> impl Iterator<Item = &str> {
        addresses(self.network.namesrv_addr.as_deref().unwrap_or_default())
    }

    /// Whether a name server runs inside this process.
    #[must_use]
    pub fn runs_embedded_namesrv(&self) -> bool {
        match self.network.embedded_namesrv {
            EmbeddedNamesrv::Auto => self.network.namesrv_addr.is_none(),
            EmbeddedNamesrv::Yes => true,
            EmbeddedNamesrv::No => false,
        }
    }

    /// The delay levels in milliseconds, level 1 first.
    #[must_use]
    pub fn delay_levels_ms(&self) -> Vec<u64> {
        delay_levels_ms(&self.sending.message_delay_level)
            .expect("the row accepts nothing that is not a list of levels")
    }

    /// The chosen CPUs in the order written, without repetitions; `None` when none were chosen.
    #[must_use]
    pub fn cpu_numbers(&self) -> Option<Vec<u16>> {
        let list = self.cores.cpus.as_deref()?;
        let mut numbers = Vec::new();
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = (first.trim().parse::<u16>(), last.trim().parse::<u16>());
            let (Ok(first), Ok(last)) = bounds else {
                unreachable!("the row accepts nothing that is not a list of CPUs")
            };
            for cpu in first..=last {
                if !numbers.contains(&cpu) {
                    numbers.push(cpu);
                }
            }
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Given, Host, Notice, Settings, load};
    use super::*;

    fn host() -> Host {
        Host { name: "node-1.example.org".to_owned(), home: "/home/mq".to_owned() }
    }

    fn loaded(text: &str) -> super::super::Loaded<BrokerSettings> {
        load(&host(), Given { file: Some(("broker.conf", text)), flags: &[] }).expect("settings fit")
    }

    fn refusal(text: &str) -> String {
        let refused =
            load::<BrokerSettings>(&host(), Given { file: Some(("broker.conf", text)), flags: &[] }).unwrap_err();
        refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn defaults_read_back_as_themselves() {
        let defaults = BrokerSettings::defaults(&host());
        let mut again = defaults.clone();
        for row in BrokerSettings::ROWS {
            let text = defaults.get(row.key).expect("every row can be read");
            assert_eq!(again.set(row.key, &text), Some(true), "{} = {text}", row.key);
        }
        assert_eq!(again, defaults);
        assert_eq!(defaults.check(), Ok(()));
        assert_eq!(defaults.identity.broker_name, "node-1-example-org");
        assert_eq!(defaults.store.store_path_root_dir, "/home/mq/ringmq/store");
        assert_eq!(defaults.delay_levels_ms().len(), 18);
        assert!(defaults.runs_embedded_namesrv());
    }

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<&str> = BrokerSettings::ROWS.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_sample_of_the_java_broker_runs_unchanged() {
        let loaded = loaded(
            "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\nfileReservedTime = 48\n\
             brokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\nsendMessageThreadPoolNums=64\ntransientStorePoolEnable=true\n",
        );
        assert_eq!(loaded.settings.identity.broker_name, "broker-a");
        assert_eq!(loaded.settings.store.flush_disk_type, FlushDiskType::AsyncFlush);
        assert_eq!(loaded.settings.store.file_reserved_time, 48);
        assert_eq!(
            loaded.notices,
            [Notice::WithoutMeaning(vec![
                "sendMessageThreadPoolNums".to_owned(),
                "transientStorePoolEnable".to_owned()
            ])]
        );
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        let loaded = loaded("# first\nlistenprot = 20911\nnothingLikeIt=1\n");
        let notices: Vec<String> = loaded.notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            notices,
            [
                "broker.conf:2: unknown setting listenprot, did you mean listenPort? It is ignored",
                "broker.conf:3: unknown setting nothingLikeIt is ignored"
            ]
        );
    }

    #[test]
    fn every_wrong_value_is_named_with_its_place() {
        assert_eq!(
            refusal("listenPort = 99999\n\nflushDiskType: SOMETIMES\naclEnable=true"),
            "broker.conf:1: listenPort = \"99999\" is refused; expected a number, 3 to 65535\n\
             broker.conf:3: flushDiskType = \"SOMETIMES\" is refused; expected one of SYNC_FLUSH, ASYNC_FLUSH\n\
             broker.conf:4: aclEnable = \"true\" is refused; expected only false: access control is not served by this version, and a broker that ignored it would be open"
        );
        assert!(
            refusal("maxMessageSize=4m\nmappedFileSizeCommitLog=4m")
                .contains("at most half of mappedFileSizeCommitLog")
        );
        assert!(refusal("namesrvAddr=localhost").contains("expected host:port"));
        assert!(refusal("embeddedNamesrv=false").contains("no namesrvAddr is set"));
        assert!(refusal("cpus=3-1").contains("expected CPU numbers"));
    }

    #[test]
    fn flags_win_over_the_file_and_the_listing_says_so() {
        let given =
            Given { file: Some(("b.conf", "listenPort=1000\nbrokerName=x\n")), flags: &[("listenPort", "2000")] };
        let loaded = load::<BrokerSettings>(&host(), given).unwrap();
        assert_eq!(loaded.settings.network.listen_port, 2000);
        let listing = loaded.listing();
        let line = |key: &str| listing.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line("listenPort = 2000").ends_with("# command line"));
        assert!(line("brokerName = x").ends_with("# b.conf:2"));
        assert!(line("brokerId = 0").ends_with("# default"));
    }

    #[test]
    fn a_change_at_run_time_is_all_or_nothing() {
        let mut loaded = loaded("maxMessageSize=2m");
        let changed = loaded.change("autoCreateTopicEnable=false\nlistenPort=10911\nenableDetailStat=false\n").unwrap();
        assert_eq!(changed.values, [("autoCreateTopicEnable", "false".to_owned())]);
        assert_eq!(changed.without_effect, ["enableDetailStat"]);
        assert!(loaded.lines().contains("\nenableDetailStat=false\n"));
        assert!(loaded.lines().contains("\nmaxMessageSize=2097152\n"));
        let refused = loaded.change("maxMessageSize=1m\nlistenPort=10912").unwrap_err();
        assert_eq!(refused.key, "listenPort");
        assert_eq!(loaded.settings.store.max_message_size, 2 << 20);
        assert_eq!(loaded.change("maxMesageSize=1").unwrap_err().expected, "a known key, perhaps maxMessageSize");
    }

    #[test]
    fn a_changed_value_survives_a_restart_unless_the_file_has_changed_since() {
        let mut before = loaded("maxMessageSize=2m");
        before.change("maxMessageSize=3m").unwrap();
        let configured = before.configured("maxMessageSize").unwrap();
        let mut same = loaded("maxMessageSize=2m");
        assert!(same.restore("maxMessageSize", "3145728", &configured));
        assert_eq!(same.settings.store.max_message_size, 3 << 20);
        let mut edited = loaded("maxMessageSize=1m");
        assert!(!edited.restore("maxMessageSize", "3145728", &configured));
        assert_eq!(edited.settings.store.max_message_size, 1 << 20);
    }

    #[test]
    fn cpus_are_listed_once_each() {
        let loaded = loaded("cpus = 2-4,0,3");
        assert_eq!(loaded.settings.cpu_numbers(), Some(vec![2, 3, 4, 0]));
        let many = loaded.settings.namesrv_addresses().count();
        assert_eq!(many, 0);
    }
}
