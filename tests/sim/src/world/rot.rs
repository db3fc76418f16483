//! A bit flips while the broker is down.
//!
//! Owns what may follow: files that can be rebuilt are, and the broker shows what it showed; damage of the log is refused
//! with an error, or (in the very last commits, where nothing says that they were durable) ends the log earlier.

use ringmq_core::event::ShardId;
use ringmq_core::harness::{Disk, Harness};
use ringmq_core::store::Superblock;

use super::World;
use crate::ledger::QueueKey;
use crate::random::Random;
use crate::reader::Reader;
use crate::wire::QueueName;

/// What was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    Nothing,
    Log,
    /// An index, of a whole segment or a beginning, or a checkpoint.
    Rebuildable,
    /// What says which start this is.
    Superblock,
}

impl World {
    /// Starts a second broker on a copy of the directory with a flipped bit, and compares what it shows.
    pub(super) fn start_rotten(&mut self, mut disks: Vec<Disk>, epoch: u32) -> Result<(), String> {
        let shard = self.random.index(disks.len());
        let (damaged, epoch) = if self.random.percent(15) {
            (Damaged::Superblock, read_flipped(disks.len() as u16, epoch, &mut self.random)?)
        } else {
            (flip(&mut disks[shard], &mut self.random), self.harness.epoch())
        };
        if damaged == Damaged::Nothing {
            return Ok(());
        }
        let mut other = match self.harness.copy_after(epoch, disks) {
            Ok(other) => other,
            Err(error) if damaged == Damaged::Rebuildable => {
                return Err(format!(
                    "a flipped bit in a file that can be rebuilt keeps the broker from starting: {error}"
                ));
            }
            Err(_) => {
                self.outcome.refused += 1;
                return Ok(());
            }
        };
        self.outcome.healed += 1;
        let queues: Vec<QueueKey> = self.ledger.settled_queues().cloned().collect();
        queues.iter().try_for_each(|key| self.compare_rotten(&mut other, key, damaged))
    }

    fn compare_rotten(&mut self, other: &mut Harness, key: &QueueKey, damaged: Damaged) -> Result<(), String> {
        let origin = other.connect(ShardId(0));
        let mut opaque = 0;
        let name = QueueName { topic: &key.0, queue: key.1 };
        let (content, wrong) = Reader::new(other, origin, &mut opaque).as_far_as_possible(name);
        if let Some(why) = wrong {
            return Err(format!("with a flipped bit ({damaged:?}): {why}"));
        }
        let settled = self.ledger.settled(key);
        // Without the newest checkpoint, what it let go of is there once more.
        let fits = match damaged {
            Damaged::Log => content.iter().all(|(offset, number)| settled.at(offset) == Some(number)),
            Damaged::Rebuildable | Damaged::Superblock | Damaged::Nothing => {
                content.goes_on_from(&settled) && content.end() == settled.end()
            }
        };
        if fits {
            return Ok(());
        }
        Err(format!("{key:?} shows {content:?} with a flipped bit ({damaged:?}), without {settled:?}"))
    }
}

/// The number of the last start as a superblock with a flipped bit says it: the right one, or the one before.
fn read_flipped(shards: u16, epoch: u32, random: &mut Random) -> Result<u32, String> {
    let state = |epoch| Superblock {
        identity: *b"the simulator's!",
        epoch,
        shards,
        generation: 0,
        segment_size: 1 << 20,
        made_ms: 0,
        cluster: "sim".into(),
        broker: "sim".into(),
        broker_id: 0,
    };
    let mut file = state(epoch).new_file();
    for epoch in [epoch.saturating_sub(1), epoch] {
        let (at, bytes) = state(epoch).slot();
        file[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
    }
    let at = random.index(file.len());
    file[at] ^= 1 << random.below(8);
    let read = Superblock::decode(&file).map_err(|error| format!("a flipped bit in a superblock: {error}"))?;
    if read != state(epoch) && read != state(epoch.saturating_sub(1)) {
        return Err(format!("a superblock with a flipped bit at {at} is read as {read:?}"));
    }
    Ok(read.epoch)
}

/// Flips one bit of one file; of a segment, one within its frames, for what lies behind them says nothing.
fn flip(disk: &mut Disk, random: &mut Random) -> Damaged {
    let Disk { segments, indexes, partials, checkpoints, spares: _ } = disk;
    let helpers: Vec<&mut Vec<u8>> =
        indexes.values_mut().chain(partials.values_mut()).chain(checkpoints.iter_mut().flatten()).collect();
    if random.percent(40) && !segments.is_empty() {
        let nth = random.index(segments.len());
        let (base, file) = segments.iter_mut().nth(nth).expect("an index below the count");
        let end = crate::raw::frames(*base, file).last().map_or(0, |frame| frame.at + frame.total);
        return flip_below(file, end, random).map_or(Damaged::Nothing, |()| Damaged::Log);
    }
    let count = helpers.len();
    if count == 0 {
        return Damaged::Nothing;
    }
    let file = helpers.into_iter().nth(random.index(count)).expect("an index below the count");
    let end = file.len();
    flip_below(file, end, random).map_or(Damaged::Nothing, |()| Damaged::Rebuildable)
}

fn flip_below(file: &mut [u8], end: usize, random: &mut Random) -> Option<()> {
    let at = (end > 0).then(|| random.index(end))?;
    file[at] ^= 1 << random.below(8);
    Some(())
}
