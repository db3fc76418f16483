//! Whole records by their positions in the log, wherever they lie.
//!
//! Owns the way from a position to the record's bytes: at once for what is resident, through `cold` for what is not. Positions may come from the network; nothing is believed before it was looked at.
//! Never decides what the records are for: that is the [`Purpose`].

use ringmq_protocol::record::{RecordRef, peek_size};
use ringmq_protocol::response_code::ResponseCode;

use crate::cold::{self, Gathered, Got, Use};
use crate::effects::{Effects, Refusal, ReplyTo};
use crate::event::{GatherId, Now, ShardId};
use crate::half::{self, check::Check};
use crate::handlers::query::{self, Question};
use crate::handlers::send_back::{self, SendBack};
use crate::handlers::transaction::{self, End};
use crate::pop::revive::{self, Revival};
use crate::shard::Shard;
use crate::store::cold::Damage;
use crate::store::{CommitLog, Position};

/// A record's bytes, checked to be one record.
pub type Record = Box<[u8]>;

/// Bytes of a record that tell its size and that it may be one.
const HEAD: u32 = 8;

/// What fetched records are for.
#[derive(Debug)]
pub enum Purpose {
    /// VIEW_MESSAGE_BY_ID.
    View { to: ReplyTo, offset: i64 },
    /// Candidates of a query by key.
    Query { asker: ShardId, id: GatherId, question: Question },
    /// CONSUMER_SEND_MSG_BACK.
    SendBack(Box<SendBack>),
    /// END_TRANSACTION.
    End(Box<End>),
    /// An undecided half message.
    Check(Check),
    /// A popped message that was not acknowledged in time.
    Revive(Box<Revival>),
}

/// Records being fetched.
#[derive(Debug)]
pub struct Fetch {
    purpose: Purpose,
    positions: Vec<Position>,
    records: Vec<Option<Record>>,
    /// Indexes of the positions that are being read.
    cold: Vec<usize>,
}

/// Fetches the records at `positions` and hands them to the purpose, within this call if all are resident.
/// A position without a record gives `None`.
///
/// # Errors
/// SYSTEM_BUSY when too many reads are under way.
pub fn fetch(
    shard: &mut Shard,
    now: Now,
    positions: Vec<Position>,
    purpose: Purpose,
    out: &mut Effects,
) -> Result<(), Refusal> {
    let log = &shard.log;
    let mut records = Vec::with_capacity(positions.len());
    let mut cold = Vec::new();
    for (at, position) in positions.iter().enumerate() {
        records.push(resident(log, *position));
        if *position < log.resident_from() && lies_within(log, *position, HEAD) {
            cold.push(at);
        }
    }
    let wanted: Vec<_> = cold.iter().map(|at| (positions[*at], 0)).collect();
    let fetch = Fetch { purpose, positions, records, cold };
    if wanted.is_empty() {
        done(shard, now, fetch, None, out);
        return Ok(());
    }
    cold::want(shard, wanted, Use::Fetch(Box::new(fetch)))
}

/// Whether `len` bytes from `position` on lie in one segment of the log as it is.
fn lies_within(log: &CommitLog, position: Position, len: u32) -> bool {
    let end = position.0.checked_add(u64::from(len));
    // What has expired may still have its file, and that file may soon hold something else.
    let is_kept = position.0 >= log.start().0;
    is_kept
        && end.is_some_and(|end| {
            let within = position.0 - log.layout().segment_of(position).0 + u64::from(len);
            end <= log.appended().0 && within <= log.layout().segment_size()
        })
}

/// The record at a resident position.
fn resident(log: &CommitLog, position: Position) -> Option<Record> {
    if position < log.resident_from() || !lies_within(log, position, HEAD) {
        return None;
    }
    let mut head = Vec::with_capacity(HEAD as usize);
    log.resident(position, HEAD)?.append_to(&mut head);
    let size = u32::try_from(peek_size(&head).ok()?).ok()?;
    if !lies_within(log, position, size) {
        return None;
    }
    let mut bytes = Vec::with_capacity(size as usize);
    log.resident(position, size)?.append_to(&mut bytes);
    RecordRef::parse(&bytes).is_ok().then(|| bytes.into())
}

/// The cold records came, or did not.
pub(crate) fn gathered(shard: &mut Shard, now: Now, mut fetch: Fetch, got: &Gathered, out: &mut Effects) {
    let mut damage = None;
    for (at, got) in std::mem::take(&mut fetch.cold).into_iter().zip(got.iter()) {
        if let Got::Damaged(found) = got {
            damage.get_or_insert(found);
        }
        let record = got.record().filter(|record| RecordRef::parse(record).is_ok());
        fetch.records[at] = record.map(Box::from);
    }
    done(shard, now, fetch, damage, out);
}

/// A record that was asked for lies in damage.
#[cold]
pub(crate) fn damaged(log: &CommitLog, damage: &Damage) -> Refusal {
    let layout = log.layout();
    let remark = format!(
        "MESSAGE_DAMAGED: the message lies in shard-{:03}/{}, which is damaged",
        layout.shard().0,
        damage.place(layout)
    );
    Refusal::new(ResponseCode::SystemError, remark)
}

fn done(shard: &mut Shard, now: Now, fetch: Fetch, damage: Option<Damage>, out: &mut Effects) {
    let Fetch { purpose, positions, records, cold: _ } = fetch;
    let first = records.first().and_then(Option::as_ref);
    match purpose {
        Purpose::View { to, offset } => match damage {
            Some(damage) => drop(out.refuse(&to, &damaged(&shard.log, &damage))),
            None => query::viewed(&to, offset, first, out),
        },
        Purpose::Query { asker, id, question } => {
            let damage = damage.map(|damage| damaged(&shard.log, &damage));
            query::fetched(shard, asker, id, &question, positions.into_iter().zip(records), damage, out);
        }
        Purpose::SendBack(back) => send_back::fetched(shard, now, *back, first, out),
        Purpose::End(end) => transaction::fetched(shard, now, &end, first, out),
        Purpose::Check(check) => half::check::fetched(shard, now, check, first, out),
        Purpose::Revive(revival) => revive::fetched(shard, now, &revival, first, damage.is_some(), out),
    }
}
