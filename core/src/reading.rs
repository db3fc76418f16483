//! Requests that wait for bytes from disk.
//!
//! Owns, per wanted read, what to do with its bytes when they come. The ranges themselves went out as a `ReadPlan`.
//! Never keeps a borrow across the wait: a `Reading` is plain data.

use ringmq_protocol::headers::pull::PullReply;
use ringmq_protocol::response_code::ResponseCode;

use crate::effects::{Effects, Refusal, ReplyTo};
use crate::event::ReadId;
use crate::fetch::Fetch;
use crate::handlers::pop::Popped;
use crate::limits::READS_MAX;
use crate::map::Map;
use crate::store::ReadPlan;

/// What to do with the bytes of a read.
#[derive(Debug)]
pub enum Reading {
    /// Send the records as the body of this pull answer.
    Pull { to: ReplyTo, reply: PullReply },
    /// They are the first bytes of records whose size is not known.
    Sizes(Box<Fetch>),
    /// They are records that something waits for.
    Records(Box<Fetch>),
    /// Send the records as the body of this pop answer.
    Pop(Box<Popped>),
    /// They are delayed messages that are due.
    Delayed,
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
        let id = ReadId(self.next);
        self.next += 1;
        // The driver's copy says what to read, ours where the records lie in it.
        out.reads.push((id, plan.clone()));
        self.readings.insert(id, (plan, reading));
        Ok(())
    }

    /// What a finished read was for; `None` for an id we never gave out or already served.
    pub fn take(&mut self, id: ReadId) -> Option<(ReadPlan, Reading)> {
        self.readings.remove(&id)
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
