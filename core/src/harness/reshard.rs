//! The directory of a harness rewritten to another number of shards, as `mqbroker --reshard` does while no broker runs.
//!
//! Owns what the program owns: the order in which records are copied, the writing of the new logs, the opening and comparing of the
//! new shards, their first checkpoints. What goes where is `crate::reshard`'s.

use std::collections::VecDeque;

use ringmq_protocol::record::RecordRef;

use super::{Disk, Harness};
use crate::boot::Opened;
use crate::event::ShardId;
use crate::reshard::{Carried, Reshard};
use crate::shard::Shard;
use crate::store::walk::Walk;
use crate::store::{CommitLog, IndexBuild, LogOptions, OwnRecord, Position, SegmentBase, Urge};

/// The records of one shard that were not copied yet, in the order of its log.
type Stream = VecDeque<(Position, Vec<u8>)>;

impl Harness {
    /// Rewrites the directory of the stopped broker and starts it again.
    ///
    /// # Errors
    /// Why it cannot be rewritten, or not be started.
    pub fn reshard(&mut self, to: u16) -> Result<Carried, String> {
        let old: Vec<Disk> = self.nodes.drain(..).map(|node| node.disk).collect();
        self.received.clear();
        self.epoch += 1;
        let opened = self.open_each(&old).map_err(|error| error.to_string())?;
        let streams: Result<Vec<Stream>, String> =
            opened.iter().zip(&old).map(|(opened, disk)| records(opened, disk)).collect();
        let sources: Vec<Shard> = opened.into_iter().map(|opened| opened.shard).collect();
        let options: Vec<LogOptions> = (0..to).map(|id| self.options(ShardId(id))).collect();
        let mut new = vec![Disk::default(); usize::from(to)];
        let mut reshard = Reshard::new(&sources, options).map_err(|error| error.to_string())?;
        copy(&mut reshard, streams?, |reshard| {
            let full = Urge::Async { older_than_us: 0 };
            reshard.logs().zip(&mut new).for_each(|(log, disk)| write(log, disk, self.segment_size, full));
        })?;
        reshard.finish().map_err(|error| error.to_string())?;
        reshard.logs().zip(&mut new).for_each(|(log, disk)| write(log, disk, self.segment_size, Urge::Stop));
        self.epoch += 1;
        let opened = self.open_each(&new).map_err(|error| format!("what was rewritten cannot be opened: {error}"))?;
        let mut shards: Vec<Shard> = opened.into_iter().map(|opened| opened.shard).collect();
        reshard.compare(&mut shards).map_err(|error| error.to_string())?;
        let carried = reshard.carried;
        for (shard, disk) in shards.iter_mut().zip(&mut new) {
            self.keep_up(shard, disk);
        }
        self.start(new).map_err(|error| format!("what was rewritten cannot be started: {error}"))?;
        Ok(carried)
    }

    /// Indexes and both checkpoints.
    fn keep_up(&self, shard: &mut Shard, disk: &mut Disk) {
        let layout = *shard.log.layout();
        while let Some(sealed) = shard.log.take_sealed() {
            let base = sealed.base();
            let mut build = IndexBuild::new(&layout, sealed);
            while !build.step(&mut shard.queues, &mut shard.index) {}
            let mut finished = build.finish().expect("nothing overtakes it");
            disk.indexes.insert(base.0, std::mem::take(&mut finished.bytes));
            finished.in_place(&mut shard.queues, &mut shard.index);
        }
        for sequence in [1, 2] {
            let checkpoint = shard.checkpoint(self.now, sequence);
            disk.checkpoints[(sequence % 2) as usize] = Some(checkpoint.encode());
        }
    }
}

/// All records of a log, from its first segment on.
fn records(opened: &Opened, disk: &Disk) -> Result<Stream, String> {
    let log = &opened.shard.log;
    let start = SegmentBase(opened.report.first.0);
    let mut walk = Walk::new(*log.layout(), log.seed(), start, log.appended());
    let mut all = Stream::new();
    while let Some(range) = walk.next_read() {
        let bytes = disk.read(&range);
        let walked = walk.supply(&bytes, |position, place| all.push_back((position, bytes[place].to_vec())));
        walked.map_err(|broken| format!("{} is damaged at {}", broken.segment.log_name(), broken.file_offset))?;
    }
    Ok(all)
}

/// Copies every record, oldest first.
fn copy<'s>(
    reshard: &mut Reshard<'s>,
    mut streams: Vec<Stream>,
    mut write: impl FnMut(&mut Reshard<'s>),
) -> Result<(), String> {
    let stored_ms = |record: &[u8]| {
        let message = RecordRef::parse(record).ok().filter(|_| OwnRecord::parse(record).is_none());
        message.map_or(i64::MIN, |message| message.store_timestamp())
    };
    loop {
        let heads = streams.iter().enumerate().filter_map(|(n, stream)| Some((stored_ms(&stream.front()?.1), n)));
        let Some((_, n)) = heads.min() else { return Ok(()) };
        let (position, record) = streams[n].pop_front().expect("it has a head");
        reshard.copy(ShardId(n as u16), position, &record).map_err(|error| error.to_string())?;
        write(reshard);
    }
}

fn write(log: &mut CommitLog, disk: &mut Disk, segment_size: u64, urge: Urge) {
    while let Some(base) = log.wanted_segment() {
        disk.segments.insert(base.0, vec![0; segment_size as usize]);
        log.segment_ready(base);
    }
    while let Some(plan) = log.next_write(urge) {
        let mut bytes = vec![0; plan.len];
        log.copy_plan(&plan, &mut bytes);
        disk.write(&plan, &bytes);
        log.complete(plan.seq, Ok(())).expect("nothing fails here");
    }
}
