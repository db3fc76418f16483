//! Messages that are stored elsewhere first: delayed ones in the schedule, half ones in the half topic.
//!
//! Owns the choice between the two rooms, the properties that remember the real queue (REAL_TOPIC, REAL_QID), and the order
//! of storing and listing such a message. Never decides when it goes on from there.

use arrayvec::ArrayVec;
use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::Message;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::sys_flag::{self, TransactionState};

use crate::append::{Flush, Intake, Stored};
use crate::delay::{Delay, SCHEDULE_TOPIC, Stay, Wish, wish};
use crate::duties::{Duties, Duty};
use crate::effects::Refusal;
use crate::event::Now;
use crate::half::{self, HALF_TOPIC, Half};
use crate::handlers::stamp::Found;
use crate::settings::BrokerSettings;
use crate::store::{Marks, Position};

/// Properties the broker adds to one message.
pub type Extra<'a> = ArrayVec<(&'a str, &'a str), 8>;

/// What is dropped from the properties of a message on a detour: what the broker sets anew, and what was only for it.
const UNWANTED: &[&str] = &[
    names::MSG_REGION,
    names::TRACE_ON,
    names::CLUSTER,
    names::POP_CK,
    names::WAIT,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::TIMER_OUT_MS,
];

/// The same where a delay level makes the timer properties void.
pub(crate) const UNWANTED_AND_TIMERS: &[&str] = &[
    names::MSG_REGION,
    names::TRACE_ON,
    names::CLUSTER,
    names::POP_CK,
    names::WAIT,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::TIMER_OUT_MS,
    names::TIMER_DELAY_SEC,
    names::TIMER_DELAY_MS,
    names::TIMER_DELIVER_MS,
];

/// Where a message is stored instead of its own queue, on the same shard.
#[derive(Debug, Clone, Copy)]
pub enum Detour {
    /// In the schedule until its time.
    Later { stay: Stay, is_level: bool },
    /// In the half topic until it is decided about.
    Half { immunity_ms: Option<u64> },
}

/// The rooms a detour leads to.
#[derive(Debug)]
pub struct Rooms<'a> {
    pub delay: &'a mut Delay,
    pub half: &'a mut Half,
    pub duties: &'a mut Duties,
    pub settings: &'a BrokerSettings,
}

/// Room for the numbers among the added properties.
#[derive(Default, Clone)]
#[expect(missing_debug_implementations, reason = "itoa's buffers have none")]
pub struct Numbers {
    queue_id: itoa::Buffer,
    due_ms: itoa::Buffer,
}

impl Detour {
    /// The detour a message that is being sent takes, if any. `text` is its properties string, if it wants one.
    ///
    /// # Errors
    /// NO_PERMISSION for a transaction while rejectTransactionMessage is set, MESSAGE_ILLEGAL for a time that makes no
    /// sense, SYSTEM_BUSY when too many messages wait in the room already.
    #[inline]
    pub fn find(
        found: &Found<'_>,
        text: &str,
        sys_flag: i32,
        reconsume_times: i32,
        now: Now,
        rooms: &mut Rooms<'_>,
    ) -> Result<Option<Detour>, Refusal> {
        if !found.wants_detour() {
            return Ok(None);
        }
        // A message that was committed before and now comes back to be retried by an old client still says TRAN_MSG.
        if found.transaction && (reconsume_times <= 0 || found.delay_level.is_none()) {
            return Detour::half(text, now, rooms).map(Some);
        }
        match sys_flag::transaction(sys_flag) {
            TransactionState::None | TransactionState::Commit => Detour::later(text, now, rooms.delay),
            TransactionState::Prepared | TransactionState::Rollback => Ok(None),
        }
    }

    fn half(text: &str, now: Now, rooms: &Rooms<'_>) -> Result<Detour, Refusal> {
        if rooms.settings.sending.reject_transaction_message {
            return Err(Refusal::new(
                ResponseCode::NoPermission,
                "sending transactional messages is forbidden on this broker (rejectTransactionMessage=true)",
            ));
        }
        rooms.half.admit()?;
        // Its delay counts from the commit on, but one that makes no sense is better refused now.
        wish::wish(text, rooms.delay.levels_ms(), now.wall_ms)?;
        Ok(Detour::Half { immunity_ms: half::immunity_ms(text) })
    }

    /// The detour of a message that its properties delay.
    ///
    /// # Errors
    /// MESSAGE_ILLEGAL for a time that makes no sense, SYSTEM_BUSY when too many messages are delayed already.
    pub fn later(text: &str, now: Now, delay: &mut Delay) -> Result<Option<Detour>, Refusal> {
        let wish = wish::wish(text, delay.levels_ms(), now.wall_ms)?;
        wish.map(|wish| Detour::until(wish, now, delay)).transpose()
    }

    /// The detour of a message that is to be delivered when `wish` says.
    ///
    /// # Errors
    /// SYSTEM_BUSY when too many messages are delayed already.
    pub fn until(wish: Wish, now: Now, delay: &mut Delay) -> Result<Detour, Refusal> {
        let stay = delay.stay(now, wish)?;
        Ok(Detour::Later { stay, is_level: matches!(wish, Wish::Level { .. }) })
    }

    /// The properties to drop from what came.
    pub fn without(&self) -> &'static [&'static str] {
        match self {
            Detour::Later { is_level: true, .. } => UNWANTED_AND_TIMERS,
            Detour::Later { is_level: false, .. } | Detour::Half { .. } => UNWANTED,
        }
    }

    /// The properties to add.
    pub fn stamp<'a>(
        &self,
        topic: &'a str,
        queue_id: u32,
        unique_key: Option<&'a str>,
        numbers: &'a mut Numbers,
        extra: &mut Extra<'a>,
    ) {
        extra.push((names::REAL_TOPIC, topic));
        extra.push((names::REAL_QID, numbers.queue_id.format(queue_id)));
        match self {
            Detour::Later { stay, .. } => extra.push((names::TIMER_OUT_MS, numbers.due_ms.format(stay.due_ms))),
            Detour::Half { .. } => extra.push((names::TRANSACTION_ID, unique_key.unwrap_or_default())),
        }
    }

    /// Stores the message, which says its real topic and carries the properties of [`Detour::stamp`], and lists it.
    ///
    /// # Errors
    /// As [`Intake::append`].
    pub fn append(
        &self,
        rooms: &mut Rooms<'_>,
        intake: &mut Intake<'_>,
        now: Now,
        message: &mut Message<'_>,
        marks: &Marks<'_>,
        flush: Flush,
    ) -> Result<Stored, Refusal> {
        // Of which making of its topic it is shows where it lies, when its time has come.
        intake.begin(now, message.topic)?;
        match *self {
            Detour::Later { stay, .. } => append_later(stay, rooms, intake, now, message, marks, flush),
            Detour::Half { immunity_ms } => append_half(immunity_ms, rooms, intake, now, message, marks, flush),
        }
    }
}

fn append_later(
    stay: Stay,
    rooms: &mut Rooms<'_>,
    intake: &mut Intake<'_>,
    now: Now,
    message: &mut Message<'_>,
    marks: &Marks<'_>,
    flush: Flush,
) -> Result<Stored, Refusal> {
    (message.topic, message.queue_id) = (SCHEDULE_TOPIC, stay.queue as i32);
    let slot = intake.queues.open(SCHEDULE_TOPIC, stay.queue);
    let marks = Marks { code: Some(stay.entry_code()), ..*marks };
    rooms.delay.note_clock(intake.log, now);
    // Its store time is the one its delay is measured from.
    let steady = Now { wall_ms: stay.stored_ms, ..now };
    let stored = intake.append(steady, slot, message, &marks, flush)?;
    let size = stored.end.0 - position_of(&stored).0;
    // A record is below 16 MiB.
    let wake = rooms.delay.add(now, &stay, position_of(&stored), size as u32);
    rooms.duties.arm(Duty::Deliver, wake);
    Ok(stored)
}

fn append_half(
    immunity_ms: Option<u64>,
    rooms: &mut Rooms<'_>,
    intake: &mut Intake<'_>,
    now: Now,
    message: &mut Message<'_>,
    marks: &Marks<'_>,
    flush: Flush,
) -> Result<Stored, Refusal> {
    (message.topic, message.queue_id) = (HALF_TOPIC, 0);
    message.sys_flag = sys_flag::with_transaction(message.sys_flag, TransactionState::None);
    let slot = intake.queues.open(HALF_TOPIC, 0);
    let stored = intake.append(now, slot, message, marks, flush)?;
    let Rooms { delay, half, duties, settings } = rooms;
    let now_ms = delay.clock().now_ms(now);
    half.add(settings, now_ms, position_of(&stored), stored.queue_offset.unsigned_abs(), immunity_ms);
    duties.arm(Duty::CheckHalves, half::check::wake(half, delay, now));
    Ok(stored)
}

/// Where the record lies in the log.
fn position_of(stored: &Stored) -> Position {
    WireOffset::from_wire(stored.wire_offset).map_or(Position(0), WireOffset::position)
}
