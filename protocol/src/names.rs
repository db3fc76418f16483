//! Names of topics and groups.
//!
//! Owns what a legal name is, what kind of topic a name denotes ([`TopicKind`], parsed once and then
//! matched), the system topics and the predefined groups (protocol.md 5.3; RocketMQ:
//! `TopicValidator`, `MixAll`). No other file of the broker looks at a name's prefix.

use std::fmt;

/// The longest ordinary topic, in bytes.
pub const TOPIC_LIMIT: usize = 127;

/// The longest retry or dead-letter topic, in bytes.
pub const SPECIAL_TOPIC_LIMIT: usize = 255;

/// The longest group, in bytes.
pub const GROUP_LIMIT: usize = 120;

/// In front of a group: the topic of its messages to be consumed again.
pub const RETRY_PREFIX: &str = "%RETRY%";

/// In front of a group: the topic of its messages that nobody could consume.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// In front of system topics that carry a cluster's or broker's name.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";

/// In front of system groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

// A retry or dead-letter topic can be made for every legal group.
const _: () = assert!(GROUP_LIMIT + RETRY_PREFIX.len() <= SPECIAL_TOPIC_LIMIT);
const _: () = assert!(GROUP_LIMIT + DLQ_PREFIX.len() <= SPECIAL_TOPIC_LIMIT);

macro_rules! system_topics {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, clients $sends:ident;)*) => {
        /// A topic the broker itself uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SystemTopic {
            $($(#[$meta])* $variant,)*
            /// Any other name that starts with `rmq_sys_`.
            Prefixed,
        }

        impl SystemTopic {
            /// Every system topic with a fixed name.
            pub const NAMED: &[SystemTopic] = &[$(SystemTopic::$variant,)*];

            /// The name, unless it carries a cluster's or broker's name.
            pub const fn name(self) -> Option<&'static str> {
                match self { $(SystemTopic::$variant => Some($name),)* SystemTopic::Prefixed => None }
            }

            /// Whether clients may send to it.
            pub const fn clients_may_send(self) -> bool {
                match self {
                    $(SystemTopic::$variant => system_topics!(@ $sends),)*
                    SystemTopic::Prefixed => true,
                }
            }

            fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(SystemTopic::$variant),)*
                    _ if name.starts_with(SYSTEM_PREFIX) => Some(SystemTopic::Prefixed),
                    _ => None,
                }
            }
        }
    };
    (@ may_send) => { true };
    (@ may_not_send) => { false };
}

system_topics! {
    /// The model for automatically created topics.
    AutoCreate = "TBW102", clients may_send;
    /// Delayed messages, one queue per level.
    Schedule = "SCHEDULE_TOPIC_XXXX", clients may_not_send;
    /// Benchmarks of the RocketMQ distribution.
    Benchmark = "BenchmarkTest", clients may_send;
    /// Half messages of transactions.
    Half = "RMQ_SYS_TRANS_HALF_TOPIC", clients may_not_send;
    /// What became of half messages.
    HalfOp = "RMQ_SYS_TRANS_OP_HALF_TOPIC", clients may_not_send;
    /// Half messages that were asked about too often.
    CheckMaxTime = "TRANS_CHECK_MAX_TIME_TOPIC", clients may_not_send;
    /// Message traces.
    Trace = "RMQ_SYS_TRACE_TOPIC", clients may_send;
    /// RocketMQ's own self test.
    SelfTest = "SELF_TEST_TOPIC", clients may_not_send;
    /// Reports of moved offsets.
    OffsetMoved = "OFFSET_MOVED_EVENT", clients may_not_send;
    /// Messages for an exact time.
    Timer = "rmq_sys_wheel_timer", clients may_send;
}

/// What a topic name denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicKind<'a> {
    /// A user's topic.
    User(&'a str),
    /// The retry topic of this group. For a POP retry topic the "group" carries the original topic
    /// too (`group_topic` or `group+topic`): only who knows the groups can tell.
    Retry(&'a str),
    /// The dead-letter topic of this group.
    Dlq(&'a str),
    /// A topic of the broker.
    System(SystemTopic),
}

impl<'a> TopicKind<'a> {
    /// The kind of a name. Cluster and broker names are system topics too, but only the broker knows
    /// its own.
    pub fn parse(name: &'a str) -> Self {
        if let Some(group) = name.strip_prefix(RETRY_PREFIX) {
            TopicKind::Retry(group)
        } else if let Some(group) = name.strip_prefix(DLQ_PREFIX) {
            TopicKind::Dlq(group)
        } else if let Some(system) = SystemTopic::parse(name) {
            TopicKind::System(system)
        } else {
            TopicKind::User(name)
        }
    }

    /// Whether clients may send to it.
    pub const fn clients_may_send(&self) -> bool {
        match self {
            TopicKind::User(_) | TopicKind::Retry(_) | TopicKind::Dlq(_) => true,
            TopicKind::System(topic) => topic.clients_may_send(),
        }
    }
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

/// The dead-letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    [DLQ_PREFIX, group].concat()
}

/// The topic that carries the replies of request-reply.
pub fn reply_topic(cluster: &str) -> String {
    [cluster, "_REPLY_TOPIC"].concat()
}

/// The topic of POP check-points.
pub fn revive_topic(cluster: &str) -> String {
    ["rmq_sys_REVIVE_LOG_", cluster].concat()
}

/// The topic over which brokers of one name keep in step.
pub fn sync_broker_member_topic(broker: &str) -> String {
    ["rmq_sys_SYNC_BROKER_MEMBER_", broker].concat()
}

/// The groups that exist without being created.
pub const PREDEFINED_GROUPS: &[&str] = &[
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
    "CID_RMQ_SYS_TRANS",
];

/// Whether a group is one of the broker's own.
pub fn is_system_group(group: &str) -> bool {
    PREDEFINED_GROUPS.contains(&group) || group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// Why a name is not legal, in words for the client's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Empty or white space.
    Blank,
    /// Longer than allowed.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A character outside `[%|a-zA-Z0-9_-]`.
    Character {
        /// The first such character.
        found: char,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Blank => f.write_str("the name is blank"),
            NameError::TooLong { bytes, limit } => {
                write!(f, "the name has {bytes} bytes, more than the limit of {limit}")
            }
            NameError::Character { found } => {
                write!(f, "the name contains {found:?}; allowed are letters, digits and % | _ -")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// Checks a topic name; retry and dead-letter topics may be longer than others.
///
/// # Errors
/// What is wrong with it.
pub fn check_topic(name: &str) -> Result<(), NameError> {
    let limit = match TopicKind::parse(name) {
        TopicKind::Retry(_) | TopicKind::Dlq(_) => SPECIAL_TOPIC_LIMIT,
        TopicKind::User(_) | TopicKind::System(_) => TOPIC_LIMIT,
    };
    check(name, limit)
}

/// Checks a group name.
///
/// # Errors
/// What is wrong with it.
pub fn check_group(name: &str) -> Result<(), NameError> {
    check(name, GROUP_LIMIT)
}

fn check(name: &str, limit: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank);
    }
    if name.len() > limit {
        return Err(NameError::TooLong { bytes: name.len(), limit });
    }
    // By byte: a multi-byte character has only bytes that are not allowed.
    if name.bytes().all(is_name_byte) {
        return Ok(());
    }
    let found = name.chars().find(|&c| !u8::try_from(c).is_ok_and(is_name_byte));
    Err(NameError::Character { found: found.unwrap_or_default() })
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_prefix_and_name() {
        assert_eq!(TopicKind::parse("orders"), TopicKind::User("orders"));
        assert_eq!(TopicKind::parse("%RETRY%g"), TopicKind::Retry("g"));
        assert_eq!(TopicKind::parse("%DLQ%g"), TopicKind::Dlq("g"));
        assert_eq!(TopicKind::parse("TBW102"), TopicKind::System(SystemTopic::AutoCreate));
        assert_eq!(TopicKind::parse("rmq_sys_wheel_timer"), TopicKind::System(SystemTopic::Timer));
        let revive = revive_topic("C");
        assert_eq!(TopicKind::parse(&revive), TopicKind::System(SystemTopic::Prefixed));
        for topic in SystemTopic::NAMED {
            let name = topic.name().unwrap();
            assert_eq!(TopicKind::parse(name), TopicKind::System(*topic));
            assert_eq!(check_topic(name), Ok(()));
        }
    }

    #[test]
    fn clients_may_not_send_to_six_system_topics() {
        let forbidden = SystemTopic::NAMED.iter().filter(|topic| !topic.clients_may_send());
        assert_eq!(forbidden.count(), 6);
        assert!(TopicKind::parse("TBW102").clients_may_send());
    }

    #[test]
    fn limits_depend_on_the_kind() {
        assert_eq!(check_topic(&"t".repeat(127)), Ok(()));
        assert_eq!(check_topic(&"t".repeat(128)), Err(NameError::TooLong { bytes: 128, limit: 127 }));
        assert_eq!(check_topic(&retry_topic(&"g".repeat(248))), Ok(()));
        assert!(check_topic(&retry_topic(&"g".repeat(249))).is_err());
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
        assert!(check_group(&"g".repeat(121)).is_err());
    }

    #[test]
    fn bad_characters_are_named() {
        assert_eq!(check_topic(""), Err(NameError::Blank));
        assert_eq!(check_topic(" \t"), Err(NameError::Blank));
        assert_eq!(check_topic("a.b"), Err(NameError::Character { found: '.' }));
        assert_eq!(check_group("订单"), Err(NameError::Character { found: '订' }));
        assert_eq!(check_topic("%a|B_c-9"), Ok(()));
    }
}
