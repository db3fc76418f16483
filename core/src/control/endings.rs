//! Topics that are being deleted: not to be made again before every shard has noted the end of their queues.
//!
//! A topic that is made again is durable in the control shard's log at once. If another shard's log does not tell by then that
//! the old queues ended, a power cut would put the old messages into the new topic. Owns the names and the versions of their
//! deletions. Never decides what is deleted.

use ringmq_protocol::response_code::ResponseCode;

use crate::effects::Refusal;
use crate::map::Map;

/// A shard whose log failed has not noted it: only a restart will.
const AFTER_RESTART: u64 = u64::MAX;

/// Deletions under way.
#[derive(Debug, Default)]
pub struct Endings {
    versions: Map<Box<str>, u64>,
}

impl Endings {
    /// The deletion of a topic is change `version`.
    pub(crate) fn begun(&mut self, topic: &str, version: u64) {
        self.versions.insert(topic.into(), version);
    }

    /// A shard has all changes up to `version`, all shards have those up to `all`.
    pub(crate) fn confirmed(&mut self, version: u64, noted: bool, all: u64) {
        if self.versions.is_empty() {
            return;
        }
        for at in self.versions.values_mut().filter(|at| !noted && **at <= version) {
            *at = AFTER_RESTART;
        }
        self.versions.retain(|_, at| *at > all);
    }

    /// Whether a topic of this name may be made.
    ///
    /// # Errors
    /// SYSTEM_BUSY while its deletion is under way.
    pub(crate) fn check(&self, topic: &str) -> Result<(), Refusal> {
        match self.versions.get(topic) {
            None => Ok(()),
            Some(&AFTER_RESTART) => Err(Refusal::new(
                ResponseCode::SystemBusy,
                format!(
                    "topic {topic} was deleted and one shard's disk failed before it could note that; restart the broker, then \
                     make the topic again"
                ),
            )),
            Some(_) => Err(Refusal::new(
                ResponseCode::SystemBusy,
                format!("topic {topic} is being deleted; make it again in a moment"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_made_again_when_all_have_noted_its_end() {
        let mut endings = Endings::default();
        endings.begun("orders", 7);
        assert_eq!(endings.check("orders").expect_err("under way").code, ResponseCode::SystemBusy);
        assert!(endings.check("bills").is_ok());
        endings.confirmed(7, true, 6);
        assert!(endings.check("orders").is_err(), "one shard is behind");
        endings.confirmed(7, true, 7);
        assert!(endings.check("orders").is_ok());
    }

    #[test]
    fn a_shard_that_could_not_note_it_keeps_the_name_until_a_restart() {
        let mut endings = Endings::default();
        endings.begun("orders", 7);
        endings.begun("bills", 9);
        endings.confirmed(8, false, 7);
        endings.confirmed(9, true, 9);
        let refusal = endings.check("orders").expect_err("until a restart");
        assert!(refusal.remark.contains("restart"), "{}", refusal.remark);
        assert!(endings.check("bills").is_ok());
    }
}
