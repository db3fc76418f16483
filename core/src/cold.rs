//! Those who wait for bytes of the log that are no longer in memory.
//!
//! Owns the line of requests, what each has got so far, and which reads are under way. Everyone in the line wants records by
//! position; whoever's turn it is asks for what he lacks, and every read serves all who wait for it. What was read is not
//! verified, copied and answered when it comes but when the driver says so, a bounded number of bytes at a time
//! (`Input::Serve`): who sends must not wait for who reads megabytes. Never decides what is believed (`store::cold` does), nor
//! what the records are for: that is the [`Use`].

use std::collections::VecDeque;

use ringmq_protocol::record::{MAGIC_V1, MAGIC_V2, peek_size};
use ringmq_protocol::response_code::ResponseCode;

use crate::delay;
use crate::effects::{Effects, Refusal};
use crate::event::{DiskError, Now};
use crate::fetch::{self, Fetch};
use crate::handlers::pop::Popped;
use crate::handlers::pull::ColdPull;
use crate::handlers::{pop, pull};
use crate::limits::READS_MAX;
use crate::reading::{Reading, Reads};
use crate::shard::Shard;
use crate::store::cold::{Block, Damage, LogCache, Look, Stretch};
use crate::store::limits::{COLD_ACTIVE, COLD_CHOICE, COLD_LOADS, COLD_PATIENCE, COLD_READ_MAX};
use crate::store::{CommitLog, Position, RangeOf, ReadPlan, ReadRange};

/// What records are wanted for.
#[derive(Debug)]
pub enum Use {
    /// The answer to a pull.
    Pull(Box<ColdPull>),
    /// The answer to a pop.
    Pop(Box<Popped>),
    /// Delayed messages that are due.
    Delayed,
    /// Records by position, for whatever the fetch says.
    Fetch(Box<Fetch>),
}

/// What became of one wanted record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got<'g> {
    Record(&'g [u8]),
    /// Its frame is not what was written.
    Damaged(Damage),
    /// The disk could not read it.
    Failed(DiskError),
    /// There is no record of that size.
    Nothing,
}

impl<'g> Got<'g> {
    /// The record, if it came.
    pub fn record(self) -> Option<&'g [u8]> {
        match self {
            Got::Record(bytes) => Some(bytes),
            Got::Damaged(_) | Got::Failed(_) | Got::Nothing => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Cut {
    Record { at: usize, len: usize },
    Damaged(Damage),
    Failed(DiskError),
    Nothing,
}

/// Wanted records in the order they were wanted.
#[derive(Debug, Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    cuts: Vec<Cut>,
}

impl Gathered {
    /// What became of each.
    pub fn iter(&self) -> impl Iterator<Item = Got<'_>> {
        self.cuts.iter().map(|cut| match *cut {
            Cut::Record { at, len } => Got::Record(&self.bytes[at..at + len]),
            Cut::Damaged(damage) => Got::Damaged(damage),
            Cut::Failed(error) => Got::Failed(error),
            Cut::Nothing => Got::Nothing,
        })
    }
}

/// One request in the line.
#[derive(Debug)]
struct Waiter {
    /// Position and size; size 0 where it is not known.
    spans: Vec<(Position, u32)>,
    /// Records that were here and good, in the cache: when all are, they can be copied from there into the answer. Ends with the
    /// first that is not good, or when the cache cannot hold them all at once.
    here: Option<usize>,
    got: Gathered,
    /// What it lacks for the next record.
    need: Stretch,
    purpose: Use,
}

/// The cold part of a shard's log, and those who wait for it.
#[derive(Debug)]
pub struct Cold {
    pub cache: LogCache,
    /// Those who lack something that is to be read.
    line: VecDeque<Waiter>,
    /// Those who may go on.
    turn: VecDeque<Waiter>,
    /// How often the first of `turn` was passed over.
    passed: u32,
    /// How often nothing was read for the first of `line`, because others are far behind.
    held: u32,
    /// Reads under way.
    loads: Vec<Stretch>,
}

impl Cold {
    /// Nobody waits, nothing is held.
    pub fn new(log: &CommitLog) -> Self {
        Cold {
            cache: LogCache::new(*log.layout(), log.seed()),
            line: VecDeque::new(),
            turn: VecDeque::new(),
            passed: 0,
            held: 0,
            loads: Vec::new(),
        }
    }

    /// Whether somebody would be served at the next [`crate::event::Input::Serve`].
    #[inline]
    pub fn is_ready(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Whether all records are in memory and good: then they can be copied out at once. Sizes must be known.
    pub fn has(&mut self, spans: &[(Position, u32)], log: &CommitLog) -> bool {
        let mut here = |at: Position, len| {
            is_resident(log, at, len) || self.cache.keeps(at) && self.cache.look(at, len, log.durable()) == Look::Here
        };
        spans.iter().all(|(at, len)| here(*at, *len))
    }

    /// Copies a record of which [`Cold::has`] has just said that it is here.
    pub fn copy(&mut self, log: &CommitLog, at: Position, len: u32, out: &mut Vec<u8>) {
        match log.resident(at, len) {
            Some(pieces) => pieces.append_to(out),
            None => {
                self.cache.bytes(at, len).for_each(|piece| out.extend_from_slice(piece));
                self.cache.gave(at, len);
            }
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.line.len() + self.turn.len()
    }

    /// The log begins at `start` now; see [`LogCache::forget_below`].
    pub fn forget_below(&mut self, start: Position) {
        self.cache.forget_below(start);
    }

    /// Takes one whose turn it is: the one whose records lie lowest in the log, so that all who read it stay together and it is
    /// read once. The first one is not passed over for ever.
    fn next(&mut self) -> Option<Waiter> {
        let choice = self.turn.iter().take(COLD_CHOICE).enumerate();
        let lowest = choice.min_by_key(|(_, waiter)| waiter.place()).map(|(at, _)| at)?;
        let at = if self.passed < COLD_PATIENCE { lowest } else { 0 };
        self.passed = if at == 0 { 0 } else { self.passed + 1 };
        self.turn.remove(at)
    }

    /// What those in the line lack for whom may be read now, lowest first; the first one is always among them.
    fn needs(&self) -> Vec<Stretch> {
        let mut needs: Vec<Stretch> = self.line.iter().take(COLD_CHOICE).map(|waiter| waiter.need).collect();
        if let Some((_, others)) = needs.split_first_mut() {
            others.sort_unstable_by_key(|need| need.from);
        }
        needs.truncate(COLD_ACTIVE);
        needs.sort_unstable_by_key(|need| need.from);
        needs
    }

    /// Reads what those in front of the line lack, then ahead of who reads in order. Who is far in front of others has to wait for
    /// them, unless the disk has nothing else to do.
    fn pump(&mut self, log: &CommitLog, reads: &mut Reads, out: &mut Effects) {
        let needs = self.needs();
        for need in &needs {
            if !self.cache.leads(need.from) {
                self.load(*need, usize::MAX, log, reads, out);
            }
        }
        // What is in the tail is not read; the last chunk below it would be read twice.
        let end = log.resident_from().min(log.durable());
        let ahead: Vec<Stretch> = self.cache.ahead().collect();
        // One at a time: to begin a read takes a while, too.
        let most = COLD_LOADS.min(self.loads.len() + 1);
        for mut stretch in ahead {
            stretch.to = stretch.to.min(end.0);
            if stretch.to - stretch.from.min(stretch.to) > COLD_READ_MAX {
                // A window that moves on by a chunk would be read chunk by chunk.
                stretch.to -= stretch.to % COLD_READ_MAX;
            }
            self.load(stretch, most, log, reads, out);
        }
        if self.loads.is_empty()
            && self.turn.is_empty()
            && let Some(need) = needs.first()
        {
            self.load(*need, usize::MAX, log, reads, out);
        }
        let first = self.line.front().map(|waiter| waiter.need);
        let held = first.filter(|need| self.cache.leads(need.from));
        self.held = if held.is_some() { self.held + 1 } else { 0 };
        if let Some(need) = held.filter(|_| self.held > COLD_PATIENCE) {
            self.held = 0;
            self.load(need, usize::MAX, log, reads, out);
        }
    }

    /// Starts the reads for what of `wanted` is neither here nor on its way, while fewer than `most` are under way.
    fn load(&mut self, wanted: Stretch, most: usize, log: &CommitLog, reads: &mut Reads, out: &mut Effects) {
        if wanted.from >= wanted.to || self.loads.len() >= most {
            return;
        }
        let durable = log.durable();
        for stretch in self.cache.missing(wanted, COLD_READ_MAX, durable, &self.loads) {
            if self.loads.len() >= most {
                return;
            }
            let base = log.layout().segment_of(Position(stretch.from));
            let range = ReadRange { file: RangeOf::Log(base), offset: stretch.from - base.0, len: stretch.blocks() };
            reads.begin(ReadPlan::of(vec![range]), Reading::Log { stretch, durable }, out);
            self.loads.push(stretch);
        }
    }
}

/// Gathers records and hands them to the purpose when it is their turn. All lie below `durable`.
///
/// # Errors
/// SYSTEM_BUSY when too many wait.
pub fn want(shard: &mut Shard, spans: Vec<(Position, u32)>, purpose: Use) -> Result<(), Refusal> {
    if shard.cold.waiting() >= READS_MAX {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("{READS_MAX} requests wait for the disk on this shard; ask again"),
        ));
    }
    let here = matches!(purpose, Use::Pull(_)).then_some(0);
    let need = Stretch { from: 0, to: 0 };
    shard.cold.turn.push_back(Waiter { spans, here, got: Gathered::default(), need, purpose });
    Ok(())
}

/// Serves those whose turn it is, until about so many bytes were verified and copied.
pub fn serve(shard: &mut Shard, now: Now, bytes: u64, out: &mut Effects) {
    let mut left = bytes.max(1);
    while left > 0
        && let Some(mut waiter) = shard.cold.next()
    {
        let Shard { cold, log, .. } = &mut *shard;
        match waiter.advance(&mut cold.cache, log, &mut left) {
            Advance::Done => finish(shard, now, waiter, out),
            Advance::Lacks => cold.line.push_back(waiter),
            Advance::Paused => cold.turn.push_front(waiter),
        }
    }
    let Shard { cold, log, reads, .. } = shard;
    cold.pump(log, reads, out);
    report(shard, out);
}

/// A read of the log ended: those who waited for it may go on.
pub fn arrived(
    shard: &mut Shard,
    stretch: Stretch,
    durable: Position,
    result: Result<Vec<Block>, DiskError>,
    out: &mut Effects,
) {
    let mut pinned = shard.cold.needs();
    let Cold { cache, line, turn, loads, .. } = &mut shard.cold;
    loads.retain(|load| *load != stretch);
    // A file that ends early is as good as one that cannot be read.
    let lasts = |blocks: &Vec<Block>| blocks.iter().map(|block| block.bytes().len() as u64).sum::<u64>();
    let whole = |blocks: &Vec<Block>| lasts(blocks) >= stretch.to.min(durable.0) - stretch.from;
    let read = result.and_then(|blocks| Some(blocks).filter(whole).ok_or(DiskError { errno: 0 }));
    let failed = read.as_ref().err().copied();
    match read {
        Ok(blocks) => {
            let came = turn.iter().map(|waiter| waiter.need).filter(|need| need.from < need.to).take(COLD_ACTIVE);
            pinned.extend(came);
            cache.supply(stretch.from, blocks, durable, &pinned);
        }
        Err(_) => cache.failed(&stretch),
    }
    let mut at = 0;
    while let Some(waiter) = line.get_mut(at) {
        if !waiter.need.meets(&stretch) {
            at += 1;
            continue;
        }
        if let Some(error) = failed {
            waiter.fail(&stretch, error);
        }
        turn.extend(line.remove(at));
    }
    let Shard { cold, log, reads, .. } = shard;
    cold.pump(log, reads, out);
    report(shard, out);
}

/// Somebody else found damage.
pub fn note(shard: &mut Shard, damage: Damage, out: &mut Effects) {
    shard.cold.cache.note(damage);
    report(shard, out);
}

/// Says what damage was found since.
fn report(shard: &mut Shard, out: &mut Effects) {
    let fresh = shard.cold.cache.take_fresh();
    shard.counts.frames_damaged += fresh.len() as u64;
    out.damages.extend(fresh);
}

fn finish(shard: &mut Shard, now: Now, waiter: Waiter, out: &mut Effects) {
    let Waiter { spans, here, got, purpose, need } = waiter;
    match purpose {
        Use::Pull(pull) if here.is_some() => {
            let Shard { cold, log, .. } = shard;
            if cold.has(&spans, log) {
                return pull::send_cold(shard, &pull, &spans, out);
            }
            // What came first had to make room for what came last: so one by one.
            cold.turn.push_back(Waiter { spans, here: None, got, need, purpose: Use::Pull(pull) });
        }
        Use::Pull(cold) => pull::gathered(shard, now, *cold, &got, out),
        Use::Pop(popped) => pop::gathered(shard, now, *popped, &got, out),
        Use::Delayed => delay::deliver::gathered(shard, now, &got),
        Use::Fetch(fetch) => fetch::gathered(shard, now, *fetch, &got, out),
    }
}

/// How far one came.
enum Advance {
    /// Nothing is lacking any more.
    Done,
    /// Something must be read first.
    Lacks,
    /// Others' turn.
    Paused,
}

impl Waiter {
    /// What it lacked could not be read, nor can what lies in the same stretch.
    fn fail(&mut self, stretch: &Stretch, error: DiskError) {
        if self.here.take().is_some() {
            // The records before the one that failed are still an answer.
            return self.got.cuts.clear();
        }
        self.got.cuts.push(Cut::Failed(error));
        while self.spans.get(self.got.cuts.len()).is_some_and(|(at, _)| (stretch.from..stretch.to).contains(&at.0)) {
            self.got.cuts.push(Cut::Failed(error));
        }
    }

    /// Where what it wants next lies.
    fn place(&self) -> Position {
        let next = self.spans.get(self.here.unwrap_or(self.got.cuts.len()));
        next.map_or(Position(0), |(at, _)| *at)
    }

    /// Takes what is here, and from `left` what that costs.
    fn advance(&mut self, cache: &mut LogCache, log: &CommitLog, left: &mut u64) -> Advance {
        let mut pay = |cache: &mut LogCache, copied: u32| {
            *left = left.saturating_sub(cache.take_verified() + u64::from(copied));
            *left > 0
        };
        while let Some(here) = self.here {
            let Some((at, len)) = self.spans.get(here).copied() else { return Advance::Done };
            let resident = is_resident(log, at, len);
            if !cache.keeps(at) {
                self.here = None;
                break;
            }
            match if resident { Look::Here } else { cache.look(at, len, log.durable()) } {
                Look::Here => self.here = Some(here + 1),
                Look::Damaged(_) | Look::Nothing => self.here = None,
                Look::Missing(need) => {
                    self.need = need;
                    pay(cache, 0);
                    return Advance::Lacks;
                }
            }
            if !pay(cache, len) && here + 1 < self.spans.len() {
                self.need = Stretch { from: at.0, to: at.0 + u64::from(len) };
                return Advance::Paused;
            }
        }
        while let Some((at, len)) = self.spans.get(self.got.cuts.len()).copied() {
            let cut = match self.look(cache, log, at, len) {
                Ok(cut) => cut,
                Err(need) => {
                    self.need = need;
                    pay(cache, 0);
                    return Advance::Lacks;
                }
            };
            self.got.cuts.push(cut);
            if !pay(cache, len.max(HEAD)) && self.got.cuts.len() < self.spans.len() {
                return Advance::Paused;
            }
        }
        Advance::Done
    }

    fn look(&mut self, cache: &mut LogCache, log: &CommitLog, at: Position, len: u32) -> Result<Cut, Stretch> {
        if len > 0 && is_resident(log, at, len) {
            // An answer may be half from disk, half from the tail.
            let from = self.got.bytes.len();
            log.resident(at, len).expect("it is resident").append_to(&mut self.got.bytes);
            return Ok(Cut::Record { at: from, len: len as usize });
        }
        if !cache.keeps(at) {
            return Ok(Cut::Failed(GONE));
        }
        // What names it may not be true: below, its own size is compared.
        let known = len.max(HEAD);
        if at.0 + u64::from(known) > log.durable().0 {
            return Ok(Cut::Nothing);
        }
        match cache.look(at, known, log.durable()) {
            Look::Here => {}
            Look::Damaged(damage) => return Ok(Cut::Damaged(damage)),
            Look::Nothing => return Ok(Cut::Nothing),
            Look::Missing(need) => return Err(need),
        }
        let from = self.got.bytes.len();
        cache.bytes(at, known).for_each(|piece| self.got.bytes.extend_from_slice(piece));
        let head = &self.got.bytes[from..];
        let magic = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let is_message = magic == MAGIC_V1 || magic == MAGIC_V2;
        let size = peek_size(head).ok().and_then(|size| u32::try_from(size).ok()).filter(|_| is_message);
        if len > 0 && size == Some(len) {
            cache.gave(at, len);
            return Ok(Cut::Record { at: from, len: len as usize });
        }
        self.got.bytes.truncate(from);
        match size.filter(|size| len == 0 && *size >= HEAD) {
            Some(size) => self.look(cache, log, at, size),
            None => Ok(Cut::Nothing),
        }
    }
}

/// Whether a record is in the tail; one beyond its end is nowhere.
fn is_resident(log: &CommitLog, at: Position, len: u32) -> bool {
    at >= log.resident_from() && at.0 + u64::from(len) <= log.appended().0
}

/// Bytes of a record that tell its size and that it may be one.
const HEAD: u32 = 8;

/// The segment was released: ENOENT, as the file system would say.
const GONE: DiskError = DiskError { errno: 2 };
