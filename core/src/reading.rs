//! Requests that wait for bytes from disk.
//!
//! Owns, per wanted read, what to do with its bytes when they come. The ranges themselves went out as a `ReadPlan`.
//! Never keeps a borrow across the wait: a `Reading` is plain data.

use ringmq_protocol::response_code::ResponseCode;

use crate::again::Paged;
use crate::effects::{Effects, Refusal};
use crate::event::ReadId;
use crate::limits::READS_MAX;
use crate::map::Map;
use crate::store::cold::Stretch;
use crate::store::limits::INDEX_AHEAD_READS;
use crate::store::{Position, RangeOf, ReadPlan, SegmentBase, Wanted};

/// What to do with the bytes of a read.
#[derive(Debug)]
pub enum Reading {
    /// They are a part of the log, for `Cold`; all below `durable` was so when they were asked for.
    Log { stretch: Stretch, durable: Position },
    /// They are pages of an index; those who wait for them go on. Nobody does when they are read ahead.
    Index { pages: Wanted, waiting: Vec<Paged> },
}

/// The reads under way.
#[derive(Debug, Default)]
pub struct Reads {
    readings: Map<ReadId, (ReadPlan, Reading)>,
    next: u64,
    /// Reads of indexes: who wants the same pages waits for them.
    coming: Vec<(ReadId, Wanted)>,
    /// How many wait for pages of indexes.
    waiting: usize,
}

impl Reads {
    /// Sends a read out.
    ///
    /// # Errors
    /// SYSTEM_BUSY at the limit; the client asks again.
    pub fn start(&mut self, plan: ReadPlan, reading: Reading, out: &mut Effects) -> Result<(), Refusal> {
        if self.readings.len() >= READS_MAX {
            return Err(Refusal::new(
                ResponseCode::SystemBusy,
                format!("{READS_MAX} reads from disk are under way on this shard; ask again"),
            ));
        }
        self.begin(plan, reading, out);
        Ok(())
    }

    /// The same for who keeps to a limit of his own.
    pub fn begin(&mut self, plan: ReadPlan, reading: Reading, out: &mut Effects) {
        let id = ReadId(self.next);
        self.next += 1;
        // The driver's copy says what to read, ours where to find it in the bytes.
        out.reads.push((id, plan.clone()));
        self.readings.insert(id, (plan, reading));
    }

    /// Reads pages of an index for somebody, together with whoever else waits for them. There must be room.
    pub fn page_in(&mut self, paged: Paged, out: &mut Effects) {
        self.waiting += 1;
        let coming = self.coming.iter().find(|(_, coming)| coming.begins(&paged.wanted));
        if let Some((_, Reading::Index { waiting, .. })) = coming.and_then(|(id, _)| self.readings.get_mut(id)) {
            return waiting.push(paged);
        }
        self.begin_pages(paged.wanted, vec![paged], out);
    }

    /// Reads pages of an index before anybody waits for them, unless they are coming or there is too much to do.
    pub fn page_ahead(&mut self, pages: Wanted, out: &mut Effects) {
        let is_coming = self.coming.iter().any(|(_, coming)| coming.begins(&pages));
        if !is_coming && self.coming.len() < INDEX_AHEAD_READS && self.has_room() {
            self.begin_pages(pages, Vec::new(), out);
        }
    }

    fn begin_pages(&mut self, pages: Wanted, waiting: Vec<Paged>, out: &mut Effects) {
        self.coming.push((ReadId(self.next), pages));
        self.begin(ReadPlan::of(vec![pages.range()]), Reading::Index { pages, waiting }, out);
    }

    /// What a finished read was for; `None` for an id we never gave out or already served.
    pub fn take(&mut self, id: ReadId) -> Option<(ReadPlan, Reading)> {
        let taken = self.readings.remove(&id);
        if let Some((_, Reading::Index { waiting, .. })) = &taken {
            self.waiting -= waiting.len();
            self.coming.retain(|(coming, _)| *coming != id);
        }
        taken
    }

    /// Whether one more may be started.
    pub fn has_room(&self) -> bool {
        self.readings.len().max(self.waiting) < READS_MAX
    }

    /// The first segment that a read under way is of.
    pub fn oldest(&self) -> Option<SegmentBase> {
        let files = self.readings.values().flat_map(|(plan, _)| plan.ranges()).map(|range| range.file);
        files
            .map(|file| match file {
                RangeOf::Log(base) | RangeOf::Index(base) | RangeOf::Partial(base) => base,
            })
            .min()
    }

    /// How many reads are under way.
    pub fn len(&self) -> usize {
        self.readings.len()
    }

    /// No read is under way.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }
}
