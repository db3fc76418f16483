//! END_TRANSACTION (37): a producer decides about a half message.
//!
//! Owns the checks of a decision and what it does: the message in its real queue, or only the op record
//! (EndTransactionProcessor). Runs on the shard whose log holds the half message, which owns the real queue, too.
//! Asking producers that do not decide is `half/check.rs`'s.

use ringmq_protocol::headers::transaction::{COMMIT, EndTransactionHeader, ROLLBACK};
use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::sys_flag::{self, TransactionState};

use super::relay;
use crate::append::{self, Flush, Intake, Stored, wire_offset};
use crate::delay::wish;
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::Now;
use crate::fetch::{self, Purpose, Record};
use crate::half::{HALF_TOPIC, OP_TOPIC, immunity_ms};
use crate::shard::Shard;
use crate::store::{Marks, Position};

/// What a committed message no longer says.
const HALF_ONLY: &[&str] = &[
    names::TRAN_MSG,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::TRANSACTION_CHECK_TIMES,
    names::TRAN_PREPARED_QUEUE_OFFSET,
    names::TIMER_OUT_MS,
];

/// The tag of an op record that ends a half message (TransactionalMessageUtil.REMOVE_TAG).
const REMOVE_TAG: &str = "d";

/// What a producer decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Commit,
    Rollback,
}

/// A decision whose half message is being read.
#[derive(Debug)]
pub struct End {
    to: ReplyTo,
    decision: Decision,
    position: Position,
    queue_offset: u64,
    producer_group: Box<str>,
    from_check: bool,
}

/// END_TRANSACTION (37).
pub fn end(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: EndTransactionHeader<'_> = ask.header()?;
    let decision = match header.commit_or_rollback {
        COMMIT => Decision::Commit,
        ROLLBACK => Decision::Rollback,
        // The producer does not know yet; it is asked again. Java answers nothing here.
        _ => return Ok(Answer::Silent),
    };
    let place = WireOffset::from_wire(header.commit_log_offset).filter(|offset| offset.shard() == shard.id.0);
    let queue_offset = u64::try_from(header.tran_state_table_offset).ok();
    let (Some(place), Some(queue_offset)) = (place, queue_offset) else { return Err(not_undecided()) };
    let end = End {
        to: ask.to(),
        decision,
        position: place.position(),
        queue_offset,
        producer_group: header.producer_group.to_cow().into(),
        from_check: header.from_transaction_check,
    };
    check_undecided(shard, &end)?;
    fetch::fetch(shard, ask.now, vec![end.position], Purpose::End(Box::new(end)), out)?;
    Ok(Answer::Held)
}

#[cold]
fn not_undecided() -> Refusal {
    Refusal::new(
        ResponseCode::SystemError,
        "find prepared transaction message failed: there is no undecided one at these offsets (it may have been \
         committed or rolled back before)",
    )
}

fn check_undecided(shard: &Shard, end: &End) -> Result<(), Refusal> {
    let half = shard.half.table.get(end.position);
    half.filter(|half| half.queue_offset == end.queue_offset).map(drop).ok_or_else(not_undecided)
}

/// The half message was looked up.
pub(crate) fn fetched(shard: &mut Shard, now: Now, end: &End, record: Option<&Record>, out: &mut Effects) {
    let outcome = decide(shard, now, end, record, out);
    shard.finish(&end.to, outcome, out);
}

fn decide(
    shard: &mut Shard,
    now: Now,
    end: &End,
    record: Option<&Record>,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    // Somebody may have decided while the disk was read.
    check_undecided(shard, end)?;
    let parsed = record.and_then(|record| RecordRef::parse(record).ok());
    let own = wire_offset(shard.id, end.position);
    let Some(half) = parsed.filter(|record| record.topic() == HALF_TOPIC && record.physical_offset() == own) else {
        return Err(Refusal::new(ResponseCode::SystemError, "the prepared transaction message could not be read"));
    };
    check(&half, end, now)?;
    let (stored, flush) = match end.decision {
        Decision::Commit => commit(shard, now, &half, end.position)?,
        Decision::Rollback => (write_op(shard, now, &half)?, Flush::Sync),
    };
    shard.half.table.settle(end.position);
    match end.decision {
        Decision::Commit => {
            shard.counts.commits += 1;
            // For who reads the op topic; the committed message itself says that it is.
            let _ = write_op(shard, now, &half);
        }
        Decision::Rollback => shard.counts.rollbacks += 1,
    }
    Ok(relay::until(out.done(&end.to), stored, flush))
}

/// Whether this producer may decide about this message.
fn check(half: &RecordRef<'_>, end: &End, now: Now) -> Result<(), Refusal> {
    if half.property(names::PGROUP) != Some(&*end.producer_group) {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            format!("the producer group {} is not the one that sent the prepared message", end.producer_group),
        ));
    }
    let age_ms = now.wall_ms.saturating_sub(half.born_timestamp());
    let immune = immunity_ms(half.properties());
    if let Some(immunity_ms) =
        immune.filter(|immunity_ms| !end.from_check && i128::from(age_ms) > i128::from(*immunity_ms))
    {
        return Err(Refusal::new(
            ResponseCode::IllegalOperation,
            format!(
                "the transaction was to be ended within {} s (CHECK_IMMUNITY_TIME_IN_SECONDS)",
                immunity_ms / 1_000
            ),
        ));
    }
    Ok(())
}

/// Stores the message in its real queue; in the schedule, if it is delayed: its delay counts from now on.
fn commit(shard: &mut Shard, now: Now, half: &RecordRef<'_>, position: Position) -> Result<(Stored, Flush), Refusal> {
    let topic = half.property(names::REAL_TOPIC);
    let queue_id = half.property(names::REAL_QID).and_then(|text| text.parse().ok());
    let (Some(topic), Some(queue_id)) = (topic, queue_id) else {
        return Err(Refusal::new(ResponseCode::SystemError, "the prepared message does not say where it belongs"));
    };
    if !append::is_of_present(&shard.metadata.topics, &shard.queues, topic, position) {
        return Err(Refusal::new(
            ResponseCode::TopicNotExist,
            format!(
                "topic[{topic}] was deleted since the message was prepared; another one of its name does not get it"
            ),
        ));
    }
    let wish = wish::wish(half.properties(), shard.delay.levels_ms(), now.wall_ms)?;
    let properties = PropertyParts { original: half.properties(), without: HALF_ONLY, extra: &[] };
    let message = Message {
        topic,
        queue_id,
        sys_flag: sys_flag::with_transaction(half.sys_flag(), TransactionState::Commit),
        // The evidence that this half message is decided.
        prepared_transaction_offset: half.physical_offset(),
        ..relay::message_of(half, properties)
    };
    relay::put(shard, now, &message, &Marks::of(half.properties()), wish)
}

/// Writes the record that says that a half message is done with.
fn write_op(shard: &mut Shard, now: Now, half: &RecordRef<'_>) -> Result<Stored, Refusal> {
    let body = format!("{},", half.queue_offset());
    let tags = [(names::TAGS, REMOVE_TAG)];
    let properties = PropertyParts { original: "", without: &[], extra: &tags };
    let mut message = Message {
        topic: OP_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now.wall_ms,
        born_host: half.store_host(),
        reconsume_times: 0,
        prepared_transaction_offset: half.physical_offset(),
        body: body.as_bytes(),
        ..relay::message_of(half, properties)
    };
    let marks = Marks { tags: Some(REMOVE_TAG), ..Marks::default() };
    let slot = shard.queues.open(OP_TOPIC, 0);
    Intake::of(shard).append(now, slot, &mut message, &marks, Flush::Async)
}
