//! Messages that are stored elsewhere first: delayed ones in the schedule, half ones in the half topic.
//!
//! Owns the value that says where, and the choice between the rooms that know. The real topic and queue go along as
//! properties (REAL_TOPIC, REAL_QID). Never stores anything itself.

use arrayvec::ArrayVec;
use ringmq_protocol::headers::send::SendHeader;
use ringmq_protocol::record::Message;
use ringmq_protocol::response_code::ResponseCode;

use crate::append::{Flush, Intake, Marks, Stored};
use crate::effects::Refusal;
use crate::event::Now;
use crate::handlers::stamp::Found;
use crate::metadata::Metadata;
use crate::store::{QueueSlot, QueueTable};

/// Where a message is stored instead of its own queue, on the same shard.
#[derive(Debug, Clone)]
pub struct Detour {
    /// A system topic.
    pub topic: &'static str,
    pub queue_id: i32,
    pub slot: QueueSlot,
    /// The sysFlag to store instead of the client's.
    pub sys_flag: i32,
    /// Names of properties to drop.
    pub without: &'static [&'static str],
    /// Whether `__transactionId__` (the UNIQ_KEY) is added.
    pub transaction_id: bool,
}

/// Properties the broker adds to one message.
pub type Extra<'a> = ArrayVec<(&'a str, &'a str), 8>;

impl Detour {
    /// The detour a message takes, if any.
    ///
    /// # Errors
    /// What the rooms refuse: a transaction while `rejectTransactionMessage` is set, a time too far away.
    pub fn find(
        found: &Found<'_>,
        _metadata: &Metadata,
        _queues: &mut QueueTable,
        header: &SendHeader<'_>,
    ) -> Result<Option<Detour>, Refusal> {
        let retried = header.reconsume_times > 0 && found.delay_level.is_some();
        if found.transaction && !retried {
            return Err(Refusal::new(ResponseCode::NoPermission, "transactional messages are not served by this version"));
        }
        if found.delay_level.is_some() || found.timer {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "delayed messages are not served by this version"));
        }
        Ok(None)
    }

    /// Stores the message where the detour leads.
    ///
    /// # Errors
    /// As [`Intake::append`].
    pub fn append(
        &self,
        intake: &mut Intake<'_>,
        now: Now,
        message: &mut Message<'_>,
        marks: &Marks<'_>,
        flush: Flush,
    ) -> Result<Stored, Refusal> {
        let Detour { topic, queue_id, slot, sys_flag, .. } = *self;
        (message.topic, message.queue_id, message.sys_flag) = (topic, queue_id, sys_flag);
        intake.append(now, slot, message, marks, flush)
    }
}
