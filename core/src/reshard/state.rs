//! What a shard remembers besides its messages, on its way to other shards.
//!
//! Owns the reading of the old state (the same bytes that a checkpoint carries) and its division over the new shards.

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

use super::{Reshard, ReshardError};
use crate::half::progress::put_checked;
use crate::map::Map;
use crate::offsets::{read_batch, write_batch};
use crate::shard::Shard;
use crate::store::{ConsumeQueue, OwnKind, QueueTable};

/// Rows in one record of offsets.
const OFFSETS_PER_RECORD: usize = 1_024;

/// Popped messages in one record: 29 bytes each, far below what the smallest usual segment takes.
const POPPED_PER_RECORD: usize = 32_768;

/// A shard's steady clock, seen from the new one that all get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// How far the old clock is ahead of the new one, ms.
    ahead_ms: i64,
    /// Distance of the new clock to the wall clock, ms.
    drift_ms: i64,
    /// Due time and position of the last delayed message that was delivered.
    passed: (i64, u64),
}

impl Clock {
    /// The clocks of all old shards. The new one is the slowest of them.
    pub(super) fn of_all(sources: &[Shard]) -> Vec<Clock> {
        let read = |shard: &Shard| {
            let section = shard.delay.section();
            let mut from = Reader::new(&section);
            let mut next = || from.i64().expect("the section has three numbers");
            (next(), (next(), next() as u64))
        };
        let states: Vec<(i64, (i64, u64))> = sources.iter().map(read).collect();
        let drift_ms = states.iter().map(|(drift_ms, _)| *drift_ms).min().unwrap_or(0);
        states.iter().map(|(own, passed)| Clock { ahead_ms: own - drift_ms, drift_ms, passed: *passed }).collect()
    }

    /// Whether a delayed message has not been delivered.
    pub(super) fn is_waiting(&self, due_ms: i64, position: Position) -> bool {
        (due_ms, position.0) > self.passed
    }

    /// A time of the old clock by the new one.
    pub(super) fn shift(&self, ms: i64) -> i64 {
        ms - self.ahead_ms
    }
}

/// The undecided half messages of a shard, and how often each was asked about.
#[derive(Debug)]
pub(super) struct Halves(Map<Position, u32>);

impl Halves {
    pub(super) fn of(shard: &Shard) -> Self {
        Halves(shard.half.table.iter().map(|(position, half)| (position, half.checks)).collect())
    }

    /// `None` for one that was decided.
    pub(super) fn checks(&self, position: Position) -> Option<u32> {
        self.0.get(&position).copied()
    }
}

/// Lets an empty queue go on at `next`.
pub(super) fn go_on_at(queues: &mut QueueTable, topic: &str, queue: u32, next: u64) {
    let slot = queues.open(topic, queue);
    if queues[slot].is_empty() && queues[slot].max() < next {
        queues[slot] = ConsumeQueue::starting_at(next);
    }
}

impl Reshard<'_> {
    pub(super) fn put_clock(&mut self) -> Result<(), ReshardError> {
        let drift_ms = self.clocks[0].drift_ms;
        if drift_ms == 0 {
            return Ok(());
        }
        self.targets.iter_mut().try_for_each(|target| target.own(OwnKind::DelayClock, &drift_ms.to_be_bytes()))
    }

    pub(super) fn put_checks(&mut self) -> Result<(), ReshardError> {
        for target in &mut self.targets {
            let checks = std::mem::take(&mut target.checks);
            for some in checks.chunks(OFFSETS_PER_RECORD) {
                let mut payload = Vec::new();
                some.iter().for_each(|(position, checks)| put_checked(&mut payload, *position, *checks));
                target.own(OwnKind::HalfChecked, &payload)?;
            }
        }
        Ok(())
    }

    pub(super) fn put_offsets(&mut self) -> Result<(), ReshardError> {
        type Row = (Box<str>, u32, Box<str>, i64);
        let mut rows: Vec<Vec<Row>> = self.targets.iter().map(|_| Vec::new()).collect();
        let all = self.sources.iter().flat_map(|source| source.offsets.snapshot(&source.metadata.topics));
        for payload in all {
            let read = read_batch(&payload, |topic, _, queue, group, offset| {
                if let (Some(home), Some(offset)) = (self.home(topic, queue as i32), offset) {
                    rows[usize::from(home.0)].push((topic.into(), queue, group.into(), offset));
                }
            });
            read.map_err(|_| ReshardError::Metadata)?;
        }
        for (target, rows) in self.targets.iter_mut().zip(rows) {
            for some in rows.chunks(OFFSETS_PER_RECORD) {
                let of = |topic: &str| self.topics.incarnation(topic);
                let batch =
                    some.iter().map(|(topic, queue, group, offset)| (&**topic, of(topic), *queue, &**group, *offset));
                target.own(OwnKind::OffsetBatch, &write_batch(batch))?;
                self.carried.offsets += some.len() as u64;
            }
        }
        Ok(())
    }

    pub(super) fn put_popped(&mut self) -> Result<(), ReshardError> {
        for n in 0..self.sources.len() {
            let section = self.sources[n].pop.section();
            let mut rows = Reader::new(&section);
            while let Some(row) = rows.counted_i32() {
                self.put_line(n, row)?;
            }
        }
        Ok(())
    }

    /// One group's line on one queue, as `pop::record` lays it out.
    fn put_line(&mut self, source: usize, row: &[u8]) -> Result<(), ReshardError> {
        /// Bytes of a popped message in a row, and where in them the time until which it is invisible lies.
        const POPPED: usize = 29;
        const UNTIL: usize = 16;
        let mut from = Reader::new(row);
        let head = (|| {
            from.u8()?;
            let topic = std::str::from_utf8(from.counted_i16()?).ok()?;
            let queue = from.i32()?;
            let group = std::str::from_utf8(from.counted_i16()?).ok()?;
            from.i64()?;
            Some((topic, queue, group))
        })();
        let (topic, queue, group) = head.ok_or(ReshardError::Metadata)?;
        let Some(home) = self.home(topic, queue) else { return Ok(()) };
        if from.remaining() > POPPED_PER_RECORD * POPPED {
            return Err(ReshardError::TooManyPopped { topic: topic.into(), group: group.into() });
        }
        let mut moved = row.to_vec();
        let first = row.len() - from.remaining();
        for popped in moved[first..].chunks_exact_mut(POPPED) {
            let until: [u8; 8] = popped[UNTIL..UNTIL + 8].try_into().expect("eight bytes");
            let until = self.clocks[source].shift(i64::from_be_bytes(until));
            popped[UNTIL..UNTIL + 8].copy_from_slice(&until.to_be_bytes());
        }
        self.carried.popped += 1;
        self.targets[usize::from(home.0)].own(OwnKind::Pop, &moved)
    }
}
