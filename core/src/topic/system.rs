//! The broker's own topics: which there are on this broker, and how they are made at boot.
//!
//! Owns the table of sizes, permissions and times of making (TopicConfigManager's constructor). The fixed names and who may
//! send to them are `ringmq_protocol::names`'. It never makes a topic.

use ringmq_protocol::names::{self, SystemTopic, TopicKind};
use ringmq_protocol::perm;

use super::Perm;
use crate::settings::BrokerSettings;

/// When a system topic is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    AtBoot,
    /// At boot when the setting traceTopicEnable is on, else by the first message.
    AtBootWhenTraced,
}

struct Row {
    /// The name, given the cluster's and the broker's.
    name: fn(&str, &str) -> String,
    queues: fn(&BrokerSettings) -> u32,
    perm: fn(&BrokerSettings) -> Perm,
    made: Made,
}

const RW: Perm = Perm::READ_WRITE;
const RWX: Perm = Perm(perm::READ_WRITE | perm::INHERIT);

fn fixed(topic: SystemTopic) -> String {
    topic.name().unwrap_or_default().to_owned()
}

/// One row per topic; topics that are only made on use (TRANS_CHECK_MAX_TIME_TOPIC) have none.
const ROWS: &[Row] = &[
    Row { name: |_, _| fixed(SystemTopic::SelfTest), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
    // Not switched off with autoCreateTopicEnable: the setting is asked when a topic is wanted, so that switching it back on
    // needs no repair of this topic.
    Row {
        name: |_, _| fixed(SystemTopic::AutoCreate),
        queues: |settings| settings.topics.default_topic_queue_nums,
        perm: |_| RWX,
        made: Made::AtBoot,
    },
    Row { name: |_, _| fixed(SystemTopic::Benchmark), queues: |_| 1024, perm: |_| RW, made: Made::AtBoot },
    // Tools look clusters and brokers up as if they were topics.
    Row {
        name: |cluster, _| cluster.to_owned(),
        queues: |_| 16,
        perm: |settings| if settings.topics.cluster_topic_enable { RWX } else { RW },
        made: Made::AtBoot,
    },
    Row {
        name: |_, broker| broker.to_owned(),
        queues: |_| 1,
        perm: |settings| if settings.topics.broker_topic_enable { RWX } else { RW },
        made: Made::AtBoot,
    },
    Row { name: |_, _| fixed(SystemTopic::OffsetMoved), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
    Row {
        name: |_, _| fixed(SystemTopic::Schedule),
        queues: |settings| settings.delay_levels_ms().len() as u32,
        perm: |_| RW,
        made: Made::AtBoot,
    },
    Row { name: |_, _| fixed(SystemTopic::Trace), queues: |_| 1, perm: |_| RW, made: Made::AtBootWhenTraced },
    Row { name: |cluster, _| names::reply_topic(cluster), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
    Row { name: |cluster, _| names::revive_topic(cluster), queues: |_| 8, perm: |_| RW, made: Made::AtBoot },
    Row { name: |_, broker| names::sync_broker_member_topic(broker), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
    Row { name: |_, _| fixed(SystemTopic::Half), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
    Row { name: |_, _| fixed(SystemTopic::HalfOp), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
    Row { name: |_, _| fixed(SystemTopic::Timer), queues: |_| 1, perm: |_| RW, made: Made::AtBoot },
];

/// A system topic to be made at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootTopic {
    /// Its name on this broker.
    pub name: String,
    /// Queues to read and to write.
    pub queues: u32,
    /// What clients may do.
    pub perm: Perm,
}

/// The topics that must exist once the broker runs, in the order of the table.
#[must_use]
pub fn at_boot(settings: &BrokerSettings) -> Vec<BootTopic> {
    let identity = &settings.identity;
    ROWS.iter()
        .filter(|row| row.made == Made::AtBoot || settings.topics.trace_topic_enable)
        .map(|row| BootTopic {
            name: (row.name)(&identity.broker_cluster_name, &identity.broker_name),
            queues: (row.queues)(settings),
            perm: (row.perm)(settings),
        })
        .collect()
}

/// Whether `name` is a topic of the broker's own: admin tools may neither create nor delete it
/// (TopicValidator.isSystemTopic).
#[must_use]
pub fn is_system_topic(name: &str, settings: &BrokerSettings) -> bool {
    let identity = &settings.identity;
    matches!(TopicKind::parse(name), TopicKind::System(_))
        || ROWS.iter().any(|row| (row.name)(&identity.broker_cluster_name, &identity.broker_name) == name)
}

/// The names of all system topics, for GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
#[must_use]
pub fn all(settings: &BrokerSettings) -> Vec<String> {
    let identity = &settings.identity;
    let mut all: Vec<String> =
        ROWS.iter().map(|row| (row.name)(&identity.broker_cluster_name, &identity.broker_name)).collect();
    all.push(fixed(SystemTopic::CheckMaxTime));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Host, Settings};

    fn settings() -> BrokerSettings {
        let mut settings = BrokerSettings::defaults(&Host { name: "b".to_owned(), home: "/".to_owned() });
        settings.identity.broker_cluster_name = "C".to_owned();
        settings
    }

    #[test]
    fn names_carry_cluster_and_broker() {
        let settings = settings();
        for name in
            ["C", "b", "C_REPLY_TOPIC", "rmq_sys_REVIVE_LOG_C", "rmq_sys_SYNC_BROKER_MEMBER_b", "TBW102", "rmq_sys_new"]
        {
            assert!(is_system_topic(name, &settings), "{name}");
        }
        assert!(!is_system_topic("orders", &settings) && !is_system_topic("%RETRY%g", &settings));
        assert!(all(&settings).contains(&"TRANS_CHECK_MAX_TIME_TOPIC".to_owned()));
    }

    #[test]
    fn boot_topics_follow_the_settings() {
        let mut settings = settings();
        settings.topics.default_topic_queue_nums = 3;
        settings.topics.broker_topic_enable = false;
        let boot = at_boot(&settings);
        let of = |name: &str| boot.iter().find(|topic| topic.name == name).map(|topic| (topic.queues, topic.perm.0));
        assert_eq!(of("TBW102"), Some((3, 7)));
        assert_eq!(of("b"), Some((1, 6)));
        assert_eq!(of("C"), Some((16, 7)));
        assert_eq!(of("SCHEDULE_TOPIC_XXXX"), Some((18, 6)));
        assert_eq!(of("RMQ_SYS_TRACE_TOPIC"), None);
        settings.topics.trace_topic_enable = true;
        assert!(at_boot(&settings).iter().any(|topic| topic.name == "RMQ_SYS_TRACE_TOPIC"));
    }
}
