//! A bit flips while the broker is down.
//!
//! Owns what may follow: files that can be rebuilt are, and the broker shows what it showed; damage of the log is refused
//! with an error, or (in the very last commits, where nothing says that they were durable) ends the log earlier.

use ringmq_core::event::ShardId;
use ringmq_core::harness::{Disk, Harness};

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
}

impl World {
    /// Starts a second broker on a copy of the directory with a flipped bit, and compares what it shows.
    pub(super) fn start_rotten(&mut self, mut disks: Vec<Disk>) -> Result<(), String> {
        let shard = self.random.index(disks.len());
        let damaged = flip(&mut disks[shard], &mut self.random);
        if damaged == Damaged::Nothing {
            return Ok(());
        }
        let mut other = match self.harness.copy_on(disks) {
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
        let fits = match damaged {
            Damaged::Log => settled.starts_with(&content),
            Damaged::Rebuildable | Damaged::Nothing => settled == content,
        };
        if fits {
            return Ok(());
        }
        Err(format!("{key:?} shows {content:?} with a flipped bit ({damaged:?}), without {settled:?}"))
    }
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
