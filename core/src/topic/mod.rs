//! Topics: what one is, which there are, and how a change to them is stored and announced.
//!
//! `Topic` is one topic's configuration with the shard of each queue. `TopicTable` holds them all; the control shard's copy is
//! the truth and every other shard has the same table, kept up by `Change`s. `record` writes changes into the log,
//! `Registration` tells name servers. Nothing here stores messages or answers requests.

mod attributes;
mod change;
mod owners;
mod record;
mod registration;
mod spread;
mod system;
mod table;
mod version;

pub use attributes::{AttributeError, Attributes, FlushMode};
pub use change::Change;
pub use owners::Owners;
pub use record::{RecordError, SnapshotWriter, read_snapshot};
pub use registration::{Announced, Registration};
pub use spread::Spread;
pub use system::{BootTopic, all as system_topics, at_boot, is_system_topic};
pub use table::{TopicSpec, TopicTable};
pub use version::{DataVersion, next_version};

use ringmq_protocol::{names, perm};

use crate::event::ShardId;
use crate::map::Named;
use crate::store::{Incarnation, Position};

/// Most queues of one topic: each costs a line in every statistics answer.
pub const QUEUES_PER_TOPIC_MAX: u32 = 65_536;

/// Most topics of a broker: one costs about 110 bytes on every shard, and about as much in every name server.
pub const TOPICS_MAX: usize = 1_048_576;

/// What a topic is for; decided once, from its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// Made by and for users.
    User,
    /// The messages of this group to be tried again.
    Retry(Box<str>),
    /// The dead letters of this group.
    Dlq(Box<str>),
    /// The broker's own. Clients may send to it if it is `open`.
    System {
        /// Whether clients may send to it; to the others a send is refused with NO_PERMISSION.
        open: bool,
    },
}

impl TopicKind {
    /// The kind of topic that `name` stands for. Topics named after the cluster or the broker count as users' here: they
    /// behave like them, and only administration must know that they are not (`is_system_topic`).
    #[must_use]
    pub fn of(name: &str) -> Self {
        match names::TopicKind::parse(name) {
            names::TopicKind::User(_) => TopicKind::User,
            names::TopicKind::Retry(group) => TopicKind::Retry(group.into()),
            names::TopicKind::Dlq(group) => TopicKind::Dlq(group.into()),
            names::TopicKind::System(topic) => TopicKind::System { open: topic.clients_may_send() },
        }
    }
}

/// The little of its kind that a stored topic must answer for; the rest is in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    User,
    Retry,
    Dlq,
    System { open: bool },
}

impl Class {
    pub(crate) fn of(name: &str) -> Self {
        match names::TopicKind::parse(name) {
            names::TopicKind::User(_) => Class::User,
            names::TopicKind::Retry(_) => Class::Retry,
            names::TopicKind::Dlq(_) => Class::Dlq,
            names::TopicKind::System(topic) => Class::System { open: topic.clients_may_send() },
        }
    }
}

/// How consumers may filter by tag (TopicFilterType); kept because tools show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterType {
    /// A message has at most one tag.
    #[default]
    SingleTag,
    /// A message may have several.
    MultiTag,
}

impl FilterType {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FilterType::SingleTag => "SINGLE_TAG",
            FilterType::MultiTag => "MULTI_TAG",
        }
    }

    /// Reads the name on the wire; anything unknown is `SingleTag`, as tools send nothing else on purpose.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == "MULTI_TAG" { FilterType::MultiTag } else { FilterType::SingleTag }
    }
}

/// Permission bits as RocketMQ counts them (PermName): 4 read, 2 write, 1 inherit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm(pub i32);

impl Perm {
    /// What ordinary topics have.
    pub const READ_WRITE: Perm = Perm(perm::READ_WRITE);

    /// Whether consumers may read.
    #[inline]
    #[must_use]
    pub const fn readable(self) -> bool {
        perm::readable(self.0)
    }

    /// Whether producers may send.
    #[inline]
    #[must_use]
    pub const fn writable(self) -> bool {
        perm::writable(self.0)
    }

    /// Whether topics may be made after this one's model.
    #[must_use]
    pub const fn inherited(self) -> bool {
        perm::inherited(self.0)
    }

    /// The same without the inherit bit.
    #[must_use]
    pub const fn without_inherit(self) -> Perm {
        Perm(self.0 & !perm::INHERIT)
    }
}

/// One topic (TopicConfig), with the shard that owns each queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name, legal by `names::check_topic`.
    pub name: Box<str>,
    /// What it is for; derived from the name.
    pub(crate) class: Class,
    /// Queues consumers see.
    pub read_queues: u32,
    /// Queues producers see.
    pub write_queues: u32,
    /// What clients may do.
    pub perm: Perm,
    /// How consumers may filter.
    pub filter: FilterType,
    /// Unit-mode bits.
    pub sys_flag: i32,
    /// Whether tools treat it as ordered.
    pub order: bool,
    /// Attributes without signs.
    pub attributes: Attributes,
    /// The topic's own flush mode; `None` is the broker's `flushDiskType`. Derived from the attributes.
    pub flush: Option<FlushMode>,
    /// The shard of each queue that exists or ever existed; never shrinks, because the data stays where it is.
    pub shards: Owners,
    /// Which making of the topic this is: where the control shard's log says that it was made, so no two are equal.
    /// [`Incarnation::NONE`] for the broker's own topics, which nobody deletes, and while it is only planned.
    pub incarnation: Incarnation,
}

// Every shard has a row of each of a million topics: a field more here is a field more everywhere.
const _: () = assert!(size_of::<Option<Topic>>() <= 72);

impl Named for Topic {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Topic {
    /// How many queues there are to send to or to read from.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.read_queues.max(self.write_queues)
    }

    /// The same topic with other numbers of queues.
    #[must_use]
    pub fn spec(&self, read_queues: u32, write_queues: u32) -> TopicSpec {
        let Topic { name, perm, filter, sys_flag, order, attributes, .. } = self.clone();
        TopicSpec { name, read_queues, write_queues, perm, filter, sys_flag, order, attributes }
    }

    /// The shard that owns a queue; `None` for a queue the topic does not have.
    #[inline]
    #[must_use]
    pub fn shard_of(&self, queue: u32) -> Option<ShardId> {
        if queue >= self.queues() { None } else { self.shards.get(queue) }
    }

    /// Whether clients may send here at all, whatever the permission.
    #[inline]
    #[must_use]
    pub fn takes_sends(&self) -> bool {
        !matches!(self.class, Class::System { open: false })
    }

    /// Whether this is a group's retry topic.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.class == Class::Retry
    }

    /// It is made by a record at this place of the control shard's log, unless it was made before. Whether that gives it its
    /// incarnation: no place is ever used for two records that last.
    pub(crate) fn is_made_at(&mut self, position: Position) -> bool {
        let is_new = self.incarnation.is_none() && !matches!(self.class, Class::System { .. });
        if is_new {
            self.incarnation = Incarnation(position.0);
        }
        is_new
    }

    fn assert_sound(&self) {
        assert!(self.shards.len() >= self.queues() as usize, "every queue has a shard");
        assert!(self.queues() <= QUEUES_PER_TOPIC_MAX, "queue counts are checked where they come in");
        assert_eq!(self.flush, self.attributes.flush(), "the flush mode is the attribute's");
    }
}
