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
use crate::store::{Position, RangeOf, ReadPlan, SegmentBase};

/// What to do with the bytes of a read.
#[derive(Debug)]
pub enum Reading {
    /// They are a part of the log, for `Cold`; all below `durable` was so when they were asked for.
    Log { stretch: Stretch, durable: Position },
    /// They are pages of an index that something waits for.
    Index(Box<Paged>),
}

/// The reads under way.
#[derive(Debug, Default)]
pub struct Reads {
    readings: Map<ReadId, (ReadPlan, Reading)>,
    next: u64,
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

    /// What a finished read was for; `None` for an id we never gave out or already served.
    pub fn take(&mut self, id: ReadId) -> Option<(ReadPlan, Reading)> {
        self.readings.remove(&id)
    }

    /// Whether one more may be started.
    pub fn has_room(&self) -> bool {
        self.readings.len() < READS_MAX
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
