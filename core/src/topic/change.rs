//! One change of metadata: what the control shard decides, every shard applies, and the log keeps.
//!
//! Owns the list of kinds of changes. A change says the new state, not the difference, so that applying it twice does no harm.
//! Which of them are stored is `record.rs`'s; what applying one means is `metadata.rs`'s.

use crate::group::{Group, GroupView};

use super::Topic;

/// One change of topics, groups, subscriptions or settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A topic is new or different.
    TopicPut(Topic),
    /// A topic and all its messages are gone.
    TopicDrop {
        /// Its name.
        name: Box<str>,
    },
    /// A group is new or different.
    GroupPut(Group),
    /// A group is gone.
    GroupDrop {
        /// Its name.
        name: Box<str>,
        /// Whether its offsets go too.
        clean_offsets: bool,
    },
    /// A group's members subscribe to something else now; not stored, members say it again after a restart.
    View {
        /// The group's name.
        group: Box<str>,
        /// What they subscribe to; `None` when the group is forgotten.
        view: Option<GroupView>,
    },
    /// A setting was changed at run time.
    Setting {
        /// Its key.
        key: Box<str>,
        /// Its value as text.
        value: Box<str>,
        /// The configured value it replaces: when that is another one at the next start, the change is forgotten.
        replaced: Box<str>,
    },
}
