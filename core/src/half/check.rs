//! The duty that asks producers about half messages nobody has decided, and gives up on those asked too often.
//!
//! Owns one round of checks: what is due, the push CHECK_TRANSACTION_STATE (39), the record of how often was asked, and the
//! move to TRANS_CHECK_MAX_TIME_TOPIC (TransactionalMessageServiceImpl.check). A producer that is not connected is asked in
//! the next round; it counts all the same. Never decides about a message.

use ringmq_protocol::headers::transaction::CheckTransactionHeader;
use ringmq_protocol::offset::Position;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{Message, PropertyParts, RecordRef};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

use super::progress::put_checked;
use super::{GIVEN_UP_TOPIC, HALF_TOPIC, Half, pace};
use crate::append::{Intake, wire_offset};
use crate::delay::Delay;
use crate::duties::Next;
use crate::effects::Effects;
use crate::event::Now;
use crate::fetch::{self, Purpose, Record};
use crate::handlers::push::{self, ClientPush, Fields, PushTarget};
use crate::handlers::{relay, topic_wait};
use crate::limits::{HALF_LOOK_EVERY_MS, HALF_STEP};
use crate::shard::Shard;
use crate::store::{Marks, OwnKind, OwnRecord};

/// What a half message that is due is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    position: Position,
    checks: u32,
}

/// Duty: one bounded round of checks.
pub fn check_due(shard: &mut Shard, now: Now, out: &mut Effects) -> Next {
    if shard.half.is_empty() {
        return Next::WhenArmed;
    }
    let now_ms = shard.delay.clock().now_ms(now);
    shard.half.table.set_pace(pace(&shard.metadata.settings), now_ms);
    let mut asked = Vec::new();
    for _ in 0..HALF_STEP {
        let Some((position, half)) = shard.half.table.take_due(now_ms) else { break };
        put_checked(&mut asked, position, half.checks);
        let purpose = Purpose::Check(Check { position, checks: half.checks });
        // Too many reads under way: its next round comes.
        let _ = fetch::fetch(shard, now, vec![position], purpose, out);
    }
    if !asked.is_empty() {
        let record = OwnRecord { kind: OwnKind::HalfChecked, payload: &asked };
        // Refused: after a restart the producer is asked once more often.
        let _ = shard.log.append(now.mono_us, record.size(), |_, bytes| record.encode(bytes));
    }
    let Shard { half, delay, .. } = shard;
    Next::At(wake(half, delay, now))
}

/// When the duty is wanted, mono microseconds: for the next one that is due, and now and then to notice changed settings.
pub(crate) fn wake(half: &Half, delay: &mut Delay, now: Now) -> u64 {
    let look = now.after_ms(HALF_LOOK_EVERY_MS);
    half.table.next_due_ms().map_or(look, |due_ms| delay.clock().mono_us_of(now, due_ms).min(look))
}

/// A half message that is due was looked up.
pub(crate) fn fetched(shard: &mut Shard, now: Now, check: Check, record: Option<&Record>, out: &mut Effects) {
    let Check { position, checks } = check;
    if shard.half.table.get(position).is_none() {
        return;
    }
    let parsed = record.and_then(|record| RecordRef::parse(record).ok());
    let own = wire_offset(shard.id, position);
    let half = parsed.filter(|record| record.topic() == HALF_TOPIC && record.physical_offset() == own);
    let too_often = checks > shard.metadata.settings.sending.transaction_check_max;
    match half {
        Some(half) if too_often => give_up(shard, now, position, &half, out),
        Some(half) => ask_producer(shard, now, &half, checks, out),
        // It could not be read in any round: there is nothing left to save.
        None if too_often => {
            shard.half.table.settle(position);
            shard.counts.half_given_up += 1;
        }
        None => {}
    }
}

/// Asks one client of the producer group what became of the transaction.
fn ask_producer(shard: &mut Shard, now: Now, half: &RecordRef<'_>, checks: u32, out: &mut Effects) {
    let Some(group) = half.property(names::PGROUP) else { return };
    let Some(body) = body_of(half, checks) else { return };
    let offset_id = half.offset_id();
    let unique_key = half.property(names::UNIQ_KEY).map(Text::plain);
    let header = CheckTransactionHeader {
        topic: Some(Text::plain(HALF_TOPIC)),
        tran_state_table_offset: half.queue_offset(),
        commit_log_offset: half.physical_offset(),
        msg_id: unique_key,
        transaction_id: unique_key,
        offset_msg_id: Some(Text::plain(&offset_id)),
        broker_name: Some(Text::plain(&shard.metadata.settings.identity.broker_name)),
    };
    let push = ClientPush {
        target: PushTarget::ProducerOf(group.into()),
        code: RequestCode::CheckTransactionState,
        fields: Fields::of(&header),
        body,
        answer: None,
    };
    push::ask(shard, now, push, out);
}

/// The message as its producer knows it: with its real topic and queue.
fn body_of(half: &RecordRef<'_>, checks: u32) -> Option<Vec<u8>> {
    let topic = half.property(names::REAL_TOPIC)?;
    let queue_id = half.property(names::REAL_QID)?.parse().ok()?;
    let mut number = itoa::Buffer::new();
    let times = [(names::TRANSACTION_CHECK_TIMES, number.format(checks))];
    let properties =
        PropertyParts { original: half.properties(), without: &[names::TRANSACTION_CHECK_TIMES], extra: &times };
    let message = Message {
        topic,
        queue_id,
        queue_offset: half.queue_offset(),
        physical_offset: half.physical_offset(),
        store_timestamp: half.store_timestamp(),
        ..relay::message_of(half, properties)
    };
    let size = message.size().ok()?;
    let mut body = vec![0; size.total];
    message.encode_into(&mut body, &size);
    Some(body)
}

/// Moves the message to where it can be looked at; to this shard's queue of that topic.
fn give_up(shard: &mut Shard, now: Now, position: Position, half: &RecordRef<'_>, out: &mut Effects) {
    let config = shard.metadata.topics.get(GIVEN_UP_TOPIC);
    let queue = config.and_then(|config| config.shards.first_of(shard.id));
    let Some(queue) = queue else {
        // It is made with the first one; until then, and on a topic without a queue here, the message stays undecided.
        return topic_wait::want_own(shard, now, GIVEN_UP_TOPIC, out);
    };
    let Some((slot, flush)) = relay::own_queue(shard, GIVEN_UP_TOPIC, queue) else { return };
    let mut message = Message {
        topic: GIVEN_UP_TOPIC,
        queue_id: queue as i32,
        // The evidence that this half message is done with.
        prepared_transaction_offset: half.physical_offset(),
        ..relay::message_of(half, PropertyParts::just(half.properties()))
    };
    let marks = Marks::of(half.properties());
    if Intake::of(shard).append(now, slot, &mut message, &marks, flush).is_ok() {
        shard.half.table.settle(position);
        shard.counts.half_given_up += 1;
    }
}
