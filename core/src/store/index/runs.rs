//! A queue's messages in sealed segments: runs of entries, each behind the other.
//!
//! Owns what is known of runs in memory: the newest one is in the queue itself, older ones here as far as somebody asked for
//! them, a bounded number over all queues. Every run's head on disk names the run before it, so what was forgotten is
//! found again by walking back. Never reads a file.

use std::collections::VecDeque;

use crate::map::Map;
use crate::store::index::queue_table::QueueSlot;
use crate::store::limits::CHAIN_RUNS_MAX;
use crate::store::segment::SegmentBase;
use ringmq_protocol::wire::Reader;

/// Where one queue's entries of one sealed segment lie in its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRef {
    pub base: SegmentBase,
    /// Place of the head, in units of 16 bytes of the runs' content.
    pub unit: u32,
    /// Queue offset of the first entry.
    pub first: u64,
    pub count: u32,
    /// Store time of the first entry.
    pub first_ms: i64,
}

impl RunRef {
    /// Offset after the last entry.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Units of a head, which lies before its entries.
pub const HEAD_UNITS: u32 = 3;

/// What a run's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub first: u64,
    pub count: u32,
    /// Store time of the last entry after that of the first, ms.
    pub span_ms: u32,
    pub first_ms: i64,
    /// The queue's run in an earlier segment.
    pub before: Option<RunRef>,
}

impl Head {
    /// Its bytes:
    ///
    /// ```text
    /// 0 first offset | 8 count | 12 span ms | 16 first time | 24 base | 32 unit | 36 count | 40 first time (of the run before)
    /// ```
    pub(crate) fn encode(&self) -> [u8; HEAD_UNITS as usize * 16] {
        let mut out = [0; HEAD_UNITS as usize * 16];
        out[..8].copy_from_slice(&self.first.to_be_bytes());
        out[8..12].copy_from_slice(&self.count.to_be_bytes());
        out[12..16].copy_from_slice(&self.span_ms.to_be_bytes());
        out[16..24].copy_from_slice(&self.first_ms.to_be_bytes());
        if let Some(before) = &self.before {
            out[24..32].copy_from_slice(&before.base.0.to_be_bytes());
            out[32..36].copy_from_slice(&before.unit.to_be_bytes());
            out[36..40].copy_from_slice(&before.count.to_be_bytes());
            out[40..].copy_from_slice(&before.first_ms.to_be_bytes());
        }
        out
    }

    /// `None` if the numbers cannot be those of a head.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Head> {
        let mut from = Reader::new(bytes);
        let (first, count) = (from.i64()? as u64, from.i32()? as u32);
        let (span_ms, first_ms) = (from.i32()? as u32, from.i64()?);
        let (base, unit) = (SegmentBase(from.i64()? as u64), from.i32()? as u32);
        let (count_before, first_ms_before) = (from.i32()? as u32, from.i64()?);
        let before = match count_before {
            0 => None,
            count => {
                let first = first.checked_sub(u64::from(count))?;
                Some(RunRef { base, unit, first, count, first_ms: first_ms_before })
            }
        };
        Some(Head { first, count, span_ms, first_ms, before })
    }
}

/// Runs before the newest one of a queue.
#[derive(Debug, Default)]
struct Chain {
    /// Newest first; each is the one before the one before it.
    runs: VecDeque<RunRef>,
    /// Nothing lies before the last one.
    whole: bool,
    used: u64,
}

/// The runs that are known beside each queue's newest one.
#[derive(Debug, Default)]
pub struct Chains {
    of: Map<QueueSlot, Chain>,
    runs: usize,
    clock: u64,
}

impl Chains {
    /// The queue's run that goes on where `run` ends, if it is known; `newest` is the queue's newest one.
    pub(crate) fn after(&self, slot: QueueSlot, run: &RunRef, newest: RunRef) -> Option<RunRef> {
        let runs = self.of.get(&slot).map(|chain| &chain.runs);
        let at = runs.map_or(0, |runs| runs.partition_point(|known| known.first > run.first));
        let after = if at == 0 { Some(newest) } else { runs.and_then(|runs| runs.get(at - 1)).copied() };
        after.filter(|after| after.first == run.end())
    }

    /// The queue's older runs that are known, newest first, and whether that is all of them.
    pub(crate) fn get(&mut self, slot: QueueSlot) -> (&VecDeque<RunRef>, bool) {
        static NONE: VecDeque<RunRef> = VecDeque::new();
        self.clock += 1;
        match self.of.get_mut(&slot) {
            Some(chain) => {
                chain.used = self.clock;
                (&chain.runs, chain.whole)
            }
            None => (&NONE, false),
        }
    }

    /// The queue has a newer run; `before` was its newest until now. Only queues somebody asks about are followed.
    pub(crate) fn renewed(&mut self, slot: QueueSlot, before: RunRef) {
        if let Some(chain) = self.of.get_mut(&slot) {
            chain.runs.push_front(before);
            self.runs += 1;
        }
    }

    /// What lies before the oldest run known.
    pub(crate) fn learn(&mut self, slot: QueueSlot, before: Option<RunRef>) {
        self.clock += 1;
        if self.runs + self.of.len() >= CHAIN_RUNS_MAX {
            self.forget_half();
        }
        let chain = self.of.entry(slot).or_default();
        chain.used = self.clock;
        match before {
            Some(run) => {
                chain.runs.push_back(run);
                self.runs += 1;
            }
            None => chain.whole = true,
        }
    }

    /// The queue is gone, or its chain was wrong.
    pub(crate) fn forget(&mut self, slot: QueueSlot) {
        self.runs -= self.of.remove(&slot).map_or(0, |chain| chain.runs.len());
    }

    /// A queue's runs below `floor` are gone. If it is known which one is the oldest now: that one, `None` within for the
    /// queue's newest.
    pub(crate) fn cut(&mut self, slot: QueueSlot, floor: u64) -> Option<Option<RunRef>> {
        let chain = self.of.get_mut(&slot)?;
        while chain.runs.pop_back_if(|run| run.base.0 < floor).is_some() {
            chain.whole = true;
            self.runs -= 1;
        }
        chain.whole.then(|| chain.runs.back().copied())
    }

    /// The queues whose runs are known beyond the newest.
    pub(crate) fn slots(&self) -> Vec<QueueSlot> {
        self.of.keys().copied().collect()
    }

    /// A run that is known to have this offset.
    pub(crate) fn peek(&self, slot: QueueSlot, offset: u64) -> Option<&RunRef> {
        self.of.get(&slot)?.runs.iter().find(|run| run.first <= offset && offset < run.end())
    }

    /// Makes room: the chains that were not used for the longest time leave.
    fn forget_half(&mut self) {
        let mut uses: Vec<u64> = self.of.values().map(|chain| chain.used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        self.of.retain(|_, chain| chain.used > median);
        self.runs = self.of.values().map(|chain| chain.runs.len()).sum();
    }

    /// Heap bytes held.
    pub fn memory(&self) -> usize {
        let row = size_of::<(QueueSlot, Chain)>() + 1;
        self.of.capacity() * row + self.of.values().map(|c| c.runs.capacity() * size_of::<RunRef>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        let before = RunRef { base: SegmentBase(1 << 40), unit: 77, first: 5, count: 10, first_ms: -3 };
        for before in [None, Some(before)] {
            let head = Head { first: 15, count: 3, span_ms: 9, first_ms: 1_000, before };
            assert_eq!(Head::decode(&head.encode()), Some(head));
        }
        let impossible = Head { first: 15, count: 3, span_ms: 9, first_ms: 1_000, before: Some(before) };
        let mut bytes = impossible.encode();
        bytes[39] = 16;
        assert_eq!(Head::decode(&bytes), None, "a queue has no offsets below 0");
    }
}
