//! What the disk is asked to write, and what a completed write makes durable.
//!
//! Owns the rules of `docs/storage-format.md` section 7: which bytes may be given out when, how many writes are in flight,
//! and that `durable` follows the contiguous completed ones only.

use ringmq_protocol::offset::Position;

use super::super::limits::{BLOCK, POSITION_END, WRITE_LEAST, WRITES_MAX};
use super::super::segment::{Sealed, SegmentBase};
use super::super::tail::Pieces;
use super::CommitLog;
use crate::effects::Fault;
use crate::event::DiskError;

/// Why the driver asks for a write now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urge {
    /// Someone waits for durability.
    Sync,
    /// Nobody waits: write only what was appended at or before this mono time, or a full batch.
    Async { older_than_us: u64 },
    /// The process ends.
    Stop,
}

/// One write to be made: `len` bytes (whole blocks) at `file_offset` of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePlan {
    /// Names it when it is done.
    pub seq: u64,
    pub segment: SegmentBase,
    pub file_offset: u64,
    pub len: usize,
    /// Stream bytes in it, from a block boundary; zeros follow up to `len`.
    pub from: Position,
    pub to: Position,
}

/// A segment's end that was appended and not given to the disk: its bytes end at `data_end`, the stream goes on at `next`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roll {
    pub(super) data_end: u64,
    pub(super) next: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) seq: u64,
    /// Where the stream goes on after it.
    pub(super) end: u64,
    /// It ends inside a block that the next write starts with.
    pub(super) partial: bool,
    pub(super) done: bool,
}

impl CommitLog {
    /// The next write to make, if one may be made now. Call until `None` after each batch of appends and after each
    /// completed write; its bytes are [`CommitLog::plan_pieces`] until it completes.
    pub fn next_write(&mut self, urge: Urge) -> Option<WritePlan> {
        if self.appended == self.written || self.fault.is_some() || !self.may_start() {
            return None;
        }
        let from = self.written - self.written % BLOCK;
        let segment = self.layout.segment_of(Position(from));
        if segment.0 >= self.ready_to {
            return None;
        }
        let roll = self.rolls.front().copied();
        let waiting = roll.map_or(self.appended, |roll| roll.data_end);
        let waits = waiting - from;
        let share = self.share(waits);
        if roll.is_none()
            && (waits < self.write_max && !self.is_due(urge) || waits < share && !self.in_flight.is_empty())
        {
            return None; // Let it grow, until it is old or the disk is free.
        }
        let to = waiting.min(from + share);
        if self.open.is_some_and(|open| open.start < to) {
            self.seal();
        }
        let closed = self.rolls.pop_front_if(|roll| roll.data_end == to);
        let end = closed.map_or(to, |roll| roll.next);
        let partial = closed.is_none() && !to.is_multiple_of(BLOCK);
        let seq = self.next_seq;
        self.next_seq += 1;
        self.in_flight.push_back(InFlight { seq, end, partial, done: false });
        assert!(self.written < end && end <= self.appended, "{} < {end} <= {}", self.written, self.appended);
        assert!(from >= self.tail.start(), "{from} is not resident");
        self.written = end;
        let len = (to - from).next_multiple_of(BLOCK) as usize;
        let (from, to) = (Position(from), Position(to));
        Some(WritePlan { seq, segment, file_offset: from.0 - segment.0, len, from, to })
    }

    /// What one write takes of `waits` bytes: its part if all writes that may still join took alike, and no less than that of all
    /// that is not durable. So a fast disk gets what there is in pieces that overlap, what piles up behind a slow one goes
    /// out in large writes, and the more arrives in a turn the fewer writes it costs.
    fn share(&self, waits: u64) -> u64 {
        let part = waits / (WRITES_MAX - self.in_flight.len()) as u64;
        let part = part.max((self.appended - self.durable) / WRITES_MAX as u64);
        (part - part % BLOCK).max(WRITE_LEAST).min(self.write_max)
    }

    /// Whether another write may join those in flight: there is room, and the last one left no block half filled.
    fn may_start(&self) -> bool {
        self.in_flight.len() < WRITES_MAX && self.in_flight.back().is_none_or(|last| !last.partial)
    }

    /// Whether what waits is urgent or old enough.
    fn is_due(&self, urge: Urge) -> bool {
        match urge {
            Urge::Sync | Urge::Stop => true,
            Urge::Async { older_than_us } => self.unwritten_since_us().is_some_and(|since| since <= older_than_us),
        }
    }

    /// Mono time of the oldest append that no write has taken, for the deadline of an asynchronous flush.
    pub fn unwritten_since_us(&self) -> Option<u64> {
        let first = self.sealed.partition_point(|frame| frame.end <= self.written);
        self.sealed.get(first).map(|frame| frame.since_us).or(self.open.map(|frame| frame.since_us))
    }

    /// A plan's bytes, without the zeros that follow up to its length. They stay in place and, up to the last whole block, as
    /// they are until the write completed, or for ever if it fails.
    pub fn plan_pieces(&self, plan: &WritePlan) -> Pieces<'_> {
        self.tail.pieces(plan.from.0, plan.to.0).expect("what is not durable is resident")
    }

    /// Puts a plan's bytes into `out`, which is at least as long as the plan says.
    pub fn copy_plan(&self, plan: &WritePlan, out: &mut [u8]) {
        let mut at = 0;
        for piece in self.plan_pieces(plan) {
            out[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        out[at..plan.len].fill(0);
    }

    /// A write ended. Returns what is durable now.
    ///
    /// # Errors
    /// The first failure is final: the log has stopped, and `durable` stays where it is for ever.
    ///
    /// # Panics
    /// If no such write is in flight: that is the driver's bug.
    pub fn complete(&mut self, seq: u64, result: Result<(), DiskError>) -> Result<Position, Fault> {
        let write = self.in_flight.iter_mut().find(|write| write.seq == seq && !write.done);
        write.expect("a write completes once").done = true;
        if let (Err(error), None) = (result, &self.fault) {
            self.fault = Some(Fault::Write { seq, error });
        }
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut reached = None;
        while let Some(write) = self.in_flight.front().filter(|write| write.done) {
            reached = Some(write.end);
            self.in_flight.pop_front();
        }
        #[cfg(test)]
        self.planted.early_durable(&mut reached, seq, self.in_flight.iter().map(|write| (write.seq, write.end)));
        let Some(reached) = reached else { return Ok(self.durable()) };
        while let Some(frame) = self.sealed.front().filter(|frame| frame.end <= reached) {
            assert!(frame.end > self.durable);
            self.durable = frame.end;
            self.sealed.pop_front();
        }
        assert!(self.durable <= self.written && self.written <= self.appended);
        Ok(self.durable())
    }

    /// The next segment whose file the driver should make (or take from the expired ones) and report as ready. Each is
    /// asked for once, when the one before is half full.
    pub fn wanted_segment(&mut self) -> Option<SegmentBase> {
        let wanted = self.appended + self.layout.segment_size() / 2 >= self.wanted_to && self.wanted_to < POSITION_END;
        if !wanted || self.fault.is_some() {
            return None;
        }
        let base = SegmentBase(self.wanted_to);
        self.wanted_to = self.layout.end_of(base);
        Some(base)
    }

    /// The file of a wanted segment is there and may be written.
    pub fn segment_ready(&mut self, base: SegmentBase) {
        assert_eq!(base.0, self.ready_to, "segments become ready in order");
        assert!(base.0 < self.wanted_to, "only what was wanted becomes ready");
        self.ready_to = self.layout.end_of(base);
    }

    /// Takes nothing any more, for a reason that no write told. `false` if it had stopped before.
    pub fn stop(&mut self, fault: Fault) -> bool {
        let stops = self.fault.is_none();
        self.fault.get_or_insert(fault);
        stops
    }

    /// Whether what was appended and not given out could be given out now, if it is urgent: there is a segment for it, and
    /// the log has not stopped. Otherwise no deadline of it is worth waking for.
    pub fn may_write(&self) -> bool {
        self.fault.is_none() && self.layout.segment_of(Position(self.written)).0 < self.ready_to
    }

    /// The next segment that is full and durable: time to write its index.
    pub fn take_sealed(&mut self) -> Option<Sealed> {
        let durable = self.durable;
        self.closing.pop_front_if(|sealed| sealed.end() <= durable)
    }
}
