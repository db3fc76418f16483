//! Damage to real directories, and what a start must make of it: never a panic, never a message that was not sent.
//!
//! A directory is what a simulated broker left. One case damages it in one to four places, at random or where the format
//! says that something lies (some with a right checksum over the damage, so that what is behind the checksums is reached),
//! starts a broker on it, reads every queue, and starts it once more.

mod damage;

use std::collections::BTreeMap;

use ringmq_core::event::ShardId;
use ringmq_core::harness::{Disk, Harness};

use crate::ledger::{Content, Fate, Kind, Ledger, QueueKey};
use crate::planted::Planted;
use crate::random::Random;
use crate::reader::Reader;
use crate::runs::caught;
use crate::wire::QueueName;
use crate::world::World;

/// Cases made of one directory.
pub const CASES: u64 = 50;

/// A directory, and what it is known to hold.
#[derive(Debug)]
pub struct Directory {
    seed: u64,
    harness: Harness,
    disks: Vec<Disk>,
    ledger: Ledger,
}

/// How a case went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The broker started.
    Started,
    /// It said why not.
    Refused,
}

impl Directory {
    /// The directory of a seed.
    ///
    /// # Errors
    /// The simulation itself found something.
    pub fn new(seed: u64) -> Result<Directory, String> {
        let mut random = Random::new(!seed);
        let steps = 100 + random.below(900) as u32;
        caught(|| {
            let mut world = World::with_bug(seed, Planted::Nothing)?;
            world.live(steps)?;
            let (harness, ledger) = world.into_parts(random.percent(50))?;
            let disks = harness.nodes.iter().map(|node| node.disk.clone()).collect();
            Ok(Directory { seed, harness, disks, ledger })
        })
    }

    /// One case.
    ///
    /// # Errors
    /// What must not be.
    pub fn case(&self, case: u64) -> Result<Ended, String> {
        let mut random = Random::new(self.seed.wrapping_mul(CASES).wrapping_add(case) ^ 0x5eed);
        let mut disks = self.disks.clone();
        let mut forged = false;
        for _ in 0..1 + random.below(4) {
            forged |= damage::damage(&mut disks, &mut random);
        }
        caught(|| {
            let Ok(mut broker) = self.harness.copy_on(disks) else { return Ok(Ended::Refused) };
            let first = self.read(&mut broker, forged)?;
            broker.flush();
            match broker.crash() {
                Ok(()) => {}
                // A broker that started must start again: its own writes do not make a directory worse.
                Err(error) if !forged => return Err(format!("started once, and then not again: {error}")),
                Err(_) => return Ok(Ended::Started),
            }
            let second = self.read(&mut broker, forged)?;
            let shrunk = |(key, content): (&QueueKey, &Content)| !second[key].goes_on_from(content);
            match first.iter().find(|queue| shrunk(*queue)) {
                Some((key, content)) if !forged => {
                    Err(format!("{key:?} showed {content:?}, after another start {:?}", second[key]))
                }
                _ => Ok(Ended::Started),
            }
        })
    }

    /// Reads every queue as far as it can be read.
    fn read(&self, broker: &mut Harness, forged: bool) -> Result<BTreeMap<QueueKey, Content>, String> {
        let mut all = BTreeMap::new();
        let mut opaque = 0;
        for key in self.ledger.settled_queues() {
            let origin = broker.connect(ShardId(0));
            let mut reader = Reader::new(broker, origin, &mut opaque);
            let (content, ended) = reader.as_far_as_possible(QueueName { topic: &key.0, queue: key.1 });
            if let Some(why) = ended.filter(|_| !forged) {
                return Err(why);
            }
            if !forged {
                self.compare(key, &content)?;
            }
            all.insert(key.clone(), content);
        }
        Ok(all)
    }

    /// What is shown was sent, and is where it was; only what waited for its time may come anew.
    fn compare(&self, key: &QueueKey, content: &Content) -> Result<(), String> {
        let settled = self.ledger.settled(key);
        let fits = |(offset, number): (i64, usize)| {
            let sent = self.ledger.message(number);
            let late = matches!(sent.kind, Kind::Later { .. });
            // What was let go of may be shown once more.
            let again = offset < settled.first && [Fate::Expired(offset), Fate::Perhaps].contains(&sent.fate);
            settled.at(offset) == Some(number) || sent.queue == *key && (late && offset >= settled.end() || again)
        };
        // What a deleted topic held may be back if its end was what was damaged.
        if key.0.starts_with("drop-") || content.iter().all(fits) {
            return Ok(());
        }
        Err(format!("{key:?} shows {content:?}, it held {settled:?}"))
    }
}
