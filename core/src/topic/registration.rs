//! What name servers must be told next.
//!
//! Owns the set of topics that changed since the last announcement, so that a broker with a million topics announces the one
//! that is new and not all of them. What an announcement looks like on the wire is `namesrv::announcement`'s.

use std::collections::BTreeSet;

use super::DataVersion;

/// Topics to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The version of the broker's topic table after these changes.
    pub version: DataVersion,
    /// Which topics.
    pub topics: Announced,
}

/// Which topics an announcement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Every topic there is: at start, after a reconnect, and from time to time.
    All,
    /// Only these.
    Some {
        /// New or different ones.
        put: BTreeSet<Box<str>>,
        /// Deleted ones. The remoting protocol has no word for them (tools send DELETE_TOPIC_IN_NAMESRV themselves); an
        /// embedded name server is told.
        dropped: BTreeSet<Box<str>>,
    },
}

impl Registration {
    /// Everything.
    #[must_use]
    pub fn all(version: DataVersion) -> Self {
        Registration { version, topics: Announced::All }
    }

    /// One topic that is new or different.
    #[must_use]
    pub fn put(version: DataVersion, name: &str) -> Self {
        let topics = Announced::Some { put: BTreeSet::from([name.into()]), dropped: BTreeSet::new() };
        Registration { version, topics }
    }

    /// One topic that is gone.
    #[must_use]
    pub fn dropped(version: DataVersion, name: &str) -> Self {
        let topics = Announced::Some { put: BTreeSet::new(), dropped: BTreeSet::from([name.into()]) };
        Registration { version, topics }
    }

    /// This announcement and then `later` as one.
    #[must_use]
    pub fn then(self, later: Registration) -> Self {
        let topics = match (self.topics, later.topics) {
            (Announced::Some { mut put, mut dropped }, Announced::Some { put: then_put, dropped: then_dropped }) => {
                // In the number of later ones: the earlier may be a hundred thousand that a name server did not take yet.
                for name in then_put {
                    dropped.remove(&name);
                    put.insert(name);
                }
                for name in then_dropped {
                    put.remove(&name);
                    dropped.insert(name);
                }
                Announced::Some { put, dropped }
            }
            (Announced::All, _) | (_, Announced::All) => Announced::All,
        };
        Registration { version: later.version, topics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counter: i64) -> DataVersion {
        DataVersion { counter, ..DataVersion::default() }
    }

    #[test]
    fn the_later_word_on_a_topic_counts() {
        let merged = Registration::put(version(1), "a")
            .then(Registration::put(version(2), "b"))
            .then(Registration::dropped(version(3), "a"));
        let Announced::Some { put, dropped } = &merged.topics else { panic!("not all topics changed") };
        assert!(put.iter().map(|name| &**name).eq(["b"]) && dropped.iter().map(|name| &**name).eq(["a"]));
        assert_eq!(merged.version, version(3));
        let again = merged.then(Registration::put(version(4), "a"));
        assert!(matches!(&again.topics, Announced::Some { put, dropped } if put.len() == 2 && dropped.is_empty()));
        assert_eq!(again.then(Registration::all(version(5))).topics, Announced::All);
    }
}
