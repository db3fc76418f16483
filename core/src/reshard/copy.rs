//! One message on its way into another shard's log: the few bytes that must change.
//!
//! Owns the patching, and the numbers of messages in queues that are each shard's own (the schedule, half messages).

use ringmq_protocol::offset::{Position, WireOffset};
use ringmq_protocol::properties::names;
use ringmq_protocol::record::{RecordRef, patch};

use super::state::Clock;
use super::{Reshard, ReshardError, STORED_US, Target};
use crate::delay::SCHEDULE_TOPIC;
use crate::event::ShardId;
use crate::half::HALF_TOPIC;

/// What changes besides the place.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) queue_offset: i64,
    /// Times by another steady clock: of storing, and the place and text of when it is due.
    pub(super) times: Option<(i64, usize, String)>,
}

impl Target {
    /// Appends a copy of a message; returns where it is now.
    pub(super) fn put(&mut self, bytes: &[u8], changed: &Changed) -> Result<Position, ReshardError> {
        let shard = self.log.layout().shard();
        let taken = self.log.append(STORED_US, bytes.len(), |position, out| {
            out.copy_from_slice(bytes);
            patch::physical_offset(out, WireOffset::new(shard.0, position).to_wire());
            patch::queue_offset(out, changed.queue_offset);
            patch::prepared_transaction_offset(out, 0);
            if let Some((stored_ms, at, due)) = &changed.times {
                patch::store_timestamp(out, *stored_ms);
                out[*at..*at + due.len()].copy_from_slice(due.as_bytes());
            }
        });
        taken.map_err(ReshardError::NotTaken)
    }
}

impl Reshard<'_> {
    /// A delayed message, if it waits still. `None` if it is none.
    pub(super) fn copy_delayed(
        &mut self,
        shard: ShardId,
        position: Position,
        record: &RecordRef<'_>,
        bytes: &[u8],
    ) -> Option<Result<(), ReshardError>> {
        let clock = self.clocks[usize::from(shard.0)];
        let due = record.property(names::TIMER_OUT_MS)?;
        let due_ms: i64 = due.parse().ok()?;
        if !clock.is_waiting(due_ms, position) {
            return Some(Ok(()));
        }
        let target = match self.real_target(record) {
            Ok(target) => target,
            Err(error) => return Some(Err(error)),
        };
        let queue = u32::try_from(record.queue_id()).ok()?;
        let own = target.queues.entry((SCHEDULE_TOPIC, queue)).or_default();
        // The time of storing never falls within a queue: what is due is kept as its distance from it.
        let stored_ms = clock.shift(record.store_timestamp()).max(own.stored_ms);
        let text = shifted(due, clock, due_ms)?;
        let at = due.as_ptr().addr() - bytes.as_ptr().addr();
        let changed = Changed { queue_offset: own.next, times: Some((stored_ms, at, text)) };
        (own.next, own.stored_ms) = (own.next + 1, stored_ms);
        let put = target.put(bytes, &changed).map(drop);
        self.carried.delayed += 1;
        Some(put)
    }

    /// A half message, if nobody has decided about it.
    pub(super) fn copy_half(
        &mut self,
        shard: ShardId,
        position: Position,
        record: &RecordRef<'_>,
        bytes: &[u8],
    ) -> Result<(), ReshardError> {
        let Some(checks) = self.halves[usize::from(shard.0)].checks(position) else { return Ok(()) };
        let target = self.real_target(record)?;
        let own = target.queues.entry((HALF_TOPIC, 0)).or_default();
        let changed = Changed { queue_offset: own.next, times: None };
        own.next += 1;
        let position = target.put(bytes, &changed)?;
        if checks > 0 {
            target.checks.push((position, checks));
        }
        self.carried.halves += 1;
        Ok(())
    }

    /// The new log of the queue a message is meant for; the first one if there is no such queue any more.
    fn real_target(&mut self, record: &RecordRef<'_>) -> Result<&mut Target, ReshardError> {
        let topic = record.property(names::REAL_TOPIC).unwrap_or_default();
        let queue = record.property(names::REAL_QID).and_then(|queue| queue.parse().ok()).unwrap_or(0);
        let home = self.home(topic, queue).unwrap_or(ShardId::CONTROL);
        self.begun(home, topic)
    }
}

/// A time by the new clock, in as many digits as the old one had. `None` when it does not fit.
fn shifted(text: &str, clock: Clock, ms: i64) -> Option<String> {
    let shifted = format!("{:0width$}", clock.shift(ms).max(0), width = text.len());
    (shifted.len() == text.len()).then_some(shifted)
}
