//! Transactional messages: half messages, what became of them, and asking producers about those nobody decided.
//!
//! A prepared message is stored in the half topic of the shard that owns its real queue, where no consumer sees it, and
//! listed as undecided. A commit stores it once more in its real queue, a rollback does not; both leave a record in the
//! op topic as the Java broker does. Who forgets to decide is asked, up to a maximum; then the message goes to
//! TRANS_CHECK_MAX_TIME_TOPIC, where it can be read.
//!
//! Unlike the Java broker, which stores a half message anew for every check, this one leaves it where it is: a check costs no
//! log, and an answer that comes late still names the right message.
//!
//! **Decided once.** Every record that ends a half message (the committed one, the op record, the one given up) carries its
//! position as preparedTransactionOffset. The record is the decision: a recovered log has both or neither.
//!
//! Owns the list of undecided messages and what of it survives a restart. Never delivers one nobody committed.

pub mod check;
pub mod progress;
pub mod table;

use ringmq_protocol::offset::Position;
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::response_code::ResponseCode;

pub use check::check_due;

use crate::effects::Refusal;
use crate::limits::HALF_MAX;
use crate::settings::BrokerSettings;
use table::{Pace, Table, Undecided};

/// Where half messages lie, in queue 0 of each shard's own topic.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";

/// Where decisions are recorded, in queue 0 of each shard's own topic.
pub const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";

/// Where messages end whose producers never answered.
pub const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// The undecided half messages of one shard.
#[derive(Debug, Default)]
pub struct Half {
    pub(crate) table: Table,
}

impl Half {
    /// Whether one more half message may be stored.
    ///
    /// # Errors
    /// SYSTEM_BUSY at the limit.
    pub fn admit(&self) -> Result<(), Refusal> {
        if self.table.len() < HALF_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("{HALF_MAX} transactions are undecided on this shard; commit or roll back some of them first"),
        ))
    }

    /// How many are undecided.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// None is undecided.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A half message was stored. Returns when it is to be checked, steady milliseconds.
    pub fn add(
        &mut self,
        settings: &BrokerSettings,
        now_ms: i64,
        position: Position,
        queue_offset: u64,
        immunity_ms: Option<u64>,
    ) -> Option<i64> {
        self.table.set_pace(pace(settings), now_ms);
        self.table.arrived(position, Undecided::new(queue_offset, immunity_ms), now_ms);
        self.table.next_due_ms()
    }
}

/// How long to wait, by the settings as they are now.
pub(crate) fn pace(settings: &BrokerSettings) -> Pace {
    let sending = &settings.sending;
    Pace { first_ms: sending.transaction_time_out, again_ms: sending.transaction_check_interval }
}

/// CHECK_IMMUNITY_TIME_IN_SECONDS of a message, in milliseconds; -1 and nonsense count as not set
/// (TransactionalMessageServiceImpl.getImmunityTime).
pub fn immunity_ms(properties: &str) -> Option<u64> {
    let seconds: u64 = properties::find(properties, names::CHECK_IMMUNITY_TIME_IN_SECONDS)?.parse().ok()?;
    Some(seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immunity_is_a_number_of_seconds_or_nothing() {
        let of = |value| immunity_ms(&properties::build([(names::CHECK_IMMUNITY_TIME_IN_SECONDS, value)]));
        assert_eq!(of("6"), Some(6_000));
        assert_eq!((of("-1"), of("soon"), immunity_ms("")), (None, None, None));
    }
}
