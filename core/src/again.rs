//! Requests that need pages of an index on disk, and run again when they are there.
//!
//! Owns what is kept of such a request (its frame, or what stands for it), how often it may run, and what it is told when the
//! pages cannot be had. A handler that finds something cold returns an error before it has changed anything that running
//! again would change twice; it need not know of this file. Never answers anything itself but a refusal.

use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::{DiskError, GatherId, Now, Origin, ShardId};
use crate::gather::{self, Part};
use crate::handlers::pop_wait::{self, Walk};
use crate::handlers::pull::{self, Pull};
use crate::handlers::query::{self, Search};
use crate::limits::{PAGE_ROUNDS_MAX, PAGE_ROUNDS_TIRED};
use crate::peer;
use crate::pop::revive::{self, Revival};
use crate::shard::Shard;
use crate::store::{Absent, Miss, SegmentBase, Supplied, Wanted};
use ringmq_protocol::response_code::ResponseCode;

/// What runs again.
#[derive(Debug)]
pub enum Again {
    /// A request of a client.
    Request { origin: Origin, frame: Box<[u8]>, wait_until: Option<u64> },
    /// A question of another shard.
    Part { from: ShardId, id: GatherId, origin: Origin, frame: Box<[u8]> },
    /// A pop that was on its way or waited.
    Walk(Walk),
    /// A pull that was held.
    Pull(Box<Pull>),
    /// A query by key, from where it stopped.
    Query(Box<Search>),
    /// A popped message whose time is up.
    Revive(Box<Revival>),
}

/// Something that waits for pages.
#[derive(Debug)]
pub struct Paged {
    pub(crate) wanted: Wanted,
    again: Again,
    /// How often it ran.
    rounds: u16,
}

impl From<Absent> for Refusal {
    /// What is answered should the pages not be waited for.
    fn from(_: Absent) -> Self {
        Refusal::new(ResponseCode::SystemBusy, "the index of old messages must be read from disk first; ask again")
    }
}

/// A request found something cold: it runs again when that was read.
#[cold]
pub(crate) fn wait_for_request(shard: &mut Shard, ask: &Ask<'_>, rounds: u16, out: &mut Effects) {
    let again = Again::Request { origin: ask.origin, frame: ask.frame.into(), wait_until: ask.wait_until };
    page_in(shard, ask.now, again, rounds, out);
}

/// Runs something; if it finds something cold, again after that was read. `rounds` says how often it ran before.
pub(crate) fn attempt(shard: &mut Shard, now: Now, again: Again, rounds: u16, out: &mut Effects) {
    shard.queues.forget_miss();
    match again {
        Again::Request { origin, frame, wait_until } => {
            peer::with_command(&frame, |command| {
                let ask = Ask { now, origin, command, frame: &frame, wait_until };
                let outcome = shard.answer(&ask, out);
                if outcome.is_err() && shard.queues.has_miss() {
                    return wait_for_request(shard, &ask, rounds, out);
                }
                shard.finish(&ask.to(), outcome, out);
            });
        }
        Again::Part { from, id, origin, frame } => {
            peer::with_command(&frame, |command| {
                let ask = Ask { now, origin, command, frame: &frame, wait_until: None };
                gather::asked(shard, &ask, from, id, rounds, out);
            });
        }
        Again::Walk(walk) => {
            let Walk { origin, frame, deadline, left } = walk;
            pop_wait::run(shard, now, &origin, &frame, deadline, left, rounds, out);
        }
        Again::Pull(pull) => pull::run_last(shard, now, *pull, rounds, out),
        Again::Query(search) => query::go_on(shard, now, search, rounds, out),
        Again::Revive(revival) => revive::revive(shard, now, *revival, rounds, out),
    }
}

/// Asks for the pages that were missed; refuses if they cannot be had.
#[cold]
pub(crate) fn page_in(shard: &mut Shard, now: Now, again: Again, rounds: u16, out: &mut Effects) {
    let refusal = match shard.queues.take_miss() {
        Some(Miss::Pages(wanted)) if rounds < PAGE_ROUNDS_MAX => {
            return start(shard, now, Paged { wanted, again, rounds: rounds + 1 }, out);
        }
        Some(Miss::Damaged(base)) => damaged(base),
        Some(Miss::Pages(_)) | None => Refusal::from(Absent),
    };
    refuse(shard, now, again, refusal, out);
}

fn start(shard: &mut Shard, now: Now, paged: Paged, out: &mut Effects) {
    if !shard.reads.has_room() {
        return refuse(shard, now, paged.again, Refusal::from(Absent), out);
    }
    shard.reads.page_in(paged, out);
}

/// Somebody reads entries in order: what he will want next is read before he comes to it.
#[cold]
pub(crate) fn read_ahead(shard: &mut Shard, out: &mut Effects) {
    if let Some(pages) = shard.queues.take_ahead() {
        shard.reads.page_ahead(pages, out);
    }
}

/// The pages came, or cannot be read.
pub(crate) fn read(
    shard: &mut Shard,
    now: Now,
    pages: &Wanted,
    waiting: Vec<Paged>,
    result: Result<&[u8], DiskError>,
    out: &mut Effects,
) {
    let taken = shard.queues.take_pages(pages, result.ok());
    for paged in waiting {
        go_on(shard, now, paged, taken, out);
    }
}

fn go_on(shard: &mut Shard, now: Now, paged: Paged, taken: bool, out: &mut Effects) {
    let Paged { wanted, again, rounds } = paged;
    match if taken { shard.queues.go_on(&wanted) } else { Supplied::Damaged } {
        Supplied::More(wanted) => start(shard, now, Paged { wanted, again, rounds }, out),
        // If the pages are damaged, running again finds that.
        Supplied::Again | Supplied::Damaged => {
            shard.queues.set_tired(rounds >= PAGE_ROUNDS_TIRED);
            attempt(shard, now, again, rounds, out);
            shard.queues.set_tired(false);
        }
    }
}

fn damaged(base: SegmentBase) -> Refusal {
    let name = base.index_name();
    let remark = format!("{name} is damaged or missing and is made again from its segment; ask again in a moment");
    Refusal::new(ResponseCode::SystemBusy, remark)
}

fn refuse(shard: &mut Shard, now: Now, again: Again, refusal: Refusal, out: &mut Effects) {
    match again {
        Again::Request { origin, frame, .. } | Again::Walk(Walk { origin, frame, .. }) => {
            peer::with_command(&frame, |command| {
                let ask = Ask { now, origin, command, frame: &frame, wait_until: None };
                let outcome: Result<Answer, Refusal> = Err(refusal);
                shard.finish(&ask.to(), outcome, out);
            });
        }
        Again::Part { from, id, .. } => gather::give_part(shard, from, id, Part::Refused(refusal), out),
        Again::Query(search) => {
            let (asker, id) = search.asked();
            gather::give_part(shard, asker, id, Part::Refused(refusal), out);
        }
        Again::Pull(pull) => shard.finish(&pull.to, Err(refusal), out),
        Again::Revive(revival) => revive::later(shard, now, &revival),
    }
}
