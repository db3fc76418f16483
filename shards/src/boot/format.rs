//! What the data directory was made as, and that it was started once more.
//!
//! Owns the comparison of the superblock with the settings, the making of a new one, and the order that the log's recovery
//! relies on: the new epoch is on the disk before anything is appended, and the shards' directories before the first one. The
//! layout is core's.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use ringmq_core::event::ShardId;
use ringmq_core::settings::{BrokerSettings, Loaded, Settings, Source};
use ringmq_core::store::superblock::{FILE_NAME, Superblock};

use super::directory::{self, DataDirectory};
use super::{Refused, shard_directory};
use crate::clock;
use crate::disk::replace;

/// Opens the directory's superblock or makes one, and counts this start. The settings take over what the directory fixed.
///
/// # Errors
/// The directory belongs to another broker or a newer program, or cannot be written.
pub fn start(
    directory: &DataDirectory,
    loaded: &mut Loaded<BrokerSettings>,
    cpus: usize,
) -> Result<Superblock, Refused> {
    let fails = |error: io::Error| {
        Refused::new(
            format!("{FILE_NAME} in {} cannot be written: {error}", directory.root.display()),
            "make room or give this user the right to it",
        )
    };
    let before = match &directory.superblock {
        Some(bytes) => judge(directory, bytes, loaded)?,
        None => {
            let fitted = loaded.source("mappedFileSizeCommitLog") == Source::Default;
            let made = new(&loaded.settings, cpus, fitted.then_some(&directory.root)).map_err(fails)?;
            replace::replace(&directory.root, FILE_NAME, &made.new_file()).map_err(fails)?;
            made
        }
    };
    if before.epoch == 0 {
        // From the first start on they must be there.
        shard_directory::make_all(&directory.root, &before).map_err(fails)?;
    }
    let started = before.next_start();
    // What the largest message may be depends on it.
    loaded.settings.set("mappedFileSizeCommitLog", &started.segment_size.to_string());
    let (offset, slot) = started.slot();
    let file = OpenOptions::new().write(true).open(directory.root.join(FILE_NAME)).map_err(fails)?;
    file.write_all_at(&slot, offset).and_then(|()| file.sync_all()).map_err(fails)?;
    Ok(started)
}

/// Opens a directory that has been made, for whoever changes it while no broker runs.
///
/// # Errors
/// There is none, another process has it, or a newer program made it.
pub fn existing(root: &Path) -> Result<(DataDirectory, Superblock), Refused> {
    if !root.join(FILE_NAME).exists() {
        return Err(Refused::new(
            format!("{} is no data directory of RingMQ", root.display()),
            "name it with -s storePathRootDir=... or -c broker.conf",
        ));
    }
    let directory = directory::open(root)?;
    let superblock = Superblock::decode(directory.superblock.as_deref().unwrap_or_default()).map_err(|error| {
        Refused::new(format!("{} is left untouched: {error}", root.display()), "use the program that made it")
    })?;
    Ok((directory, superblock))
}

/// Reads the superblock of an existing directory and compares it with what the settings say.
fn judge(directory: &DataDirectory, bytes: &[u8], loaded: &mut Loaded<BrokerSettings>) -> Result<Superblock, Refused> {
    let root = directory.root.display();
    let found = Superblock::decode(bytes).map_err(|error| {
        Refused::new(
            format!("{root} is left untouched: {error}"),
            "use the program that made it, or set storePathRootDir to another directory",
        )
    })?;
    let (named, stored) = (loaded.settings.identity.broker_name.clone(), found.broker.clone());
    // A name nobody chose is the host's, which changes with every container; the directory knows better.
    if named != stored && loaded.source("brokerName") == Source::Default {
        loaded.settings.set("brokerName", &stored);
    } else if named != stored {
        return Err(Refused::new(
            format!("{root} holds the data of broker {stored}, not of {named}, and was left untouched"),
            format!("set brokerName={stored} or storePathRootDir to another directory"),
        ));
    }
    let wanted = loaded.settings.cores.shards;
    if wanted != 0 && wanted != found.shards {
        crate::warn!(
            "shards = {wanted} has no effect: {root} was made with {} shards and keeps them; mqbroker --reshard {wanted} changes that",
            found.shards
        );
    }
    for stray in strays(&directory.root, &found).unwrap_or_default() {
        crate::warn!("{} is left of an interrupted --reshard, counts for nothing and may be removed", stray.display());
    }
    Ok(found)
}

/// Directories of shards of another generation: what a rewrite to another number of shards left behind when it was
/// interrupted, before or after it counted.
///
/// # Errors
/// The directory cannot be listed.
pub fn strays(root: &Path, superblock: &Superblock) -> io::Result<Vec<PathBuf>> {
    let own: Vec<String> = (0..superblock.shards).map(|id| superblock.shard_directory(ShardId(id))).collect();
    let mut strays = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("shard-") && !own.contains(&name) && entry.file_type()?.is_dir() {
            strays.push(entry.path());
        }
    }
    strays.sort();
    Ok(strays)
}

/// `fit_to` is the directory on whose volume segments must fit, if nobody chose their size.
fn new(settings: &BrokerSettings, cpus: usize, fit_to: Option<&PathBuf>) -> io::Result<Superblock> {
    let mut identity = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut identity)?;
    let shards = match settings.cores.shards {
        0 => u16::try_from(cpus).unwrap_or(u16::MAX),
        chosen => chosen,
    };
    let wanted = settings.store.segment_size;
    let segment_size = match fit_to {
        Some(root) => {
            let volume = statvfs(root)?;
            let total = volume.blocks().saturating_mul(volume.fragment_size());
            fitting(total, shards, wanted, u64::from(settings.store.max_message_size))
        }
        None => wanted,
    };
    Ok(Superblock {
        identity,
        epoch: 0,
        shards,
        generation: 0,
        segment_size,
        made_ms: clock::now().wall_ms,
        cluster: settings.identity.broker_cluster_name.clone(),
        broker: settings.identity.broker_name.clone(),
        broker_id: settings.identity.broker_id as i64,
    })
}

/// The segment size for a volume of `total` bytes: a 64th of each shard's share, so that an active, a prepared and some spare
/// segments are little of it; a power of two not above `most`, and room for two messages of the largest size.
fn fitting(total: u64, shards: u16, most: u64, message: u64) -> u64 {
    let share = (total / 64 / u64::from(shards.max(1))).max(1);
    let least = (2 * message).next_power_of_two().max(SEGMENT_LEAST);
    (1 << share.ilog2()).max(least).min(most.max(least))
}

/// The smallest segment that is chosen without being asked for, bytes: the least that `mappedFileSizeCommitLog` may be.
const SEGMENT_LEAST: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{configuration, directory};

    #[test]
    fn segments_fit_their_volume() {
        const MIB: u64 = 1 << 20;
        let fitting = |gib: u64, shards| fitting(gib << 30, shards, 256 * MIB, 4 * MIB) / MIB;
        assert_eq!((fitting(1, 1), fitting(1, 2), fitting(1, 16)), (16, 8, 8));
        assert_eq!((fitting(16, 1), fitting(16, 4), fitting(1000, 16)), (256, 64, 256));
        assert_eq!(super::fitting(1 << 30, 1, 256 * MIB, 12 * MIB), 32 * MIB, "two of the largest messages fit");
        assert_eq!(super::fitting(0, 1, 256 * MIB, 1), 4 * MIB);
    }

    fn load(flags: &[(&str, &str)]) -> Loaded<BrokerSettings> {
        configuration::load(None, flags).unwrap()
    }

    #[test]
    fn each_start_is_counted_and_keeps_what_the_directory_was_made_with() {
        let dir = tempfile::tempdir().unwrap();
        let first = {
            let opened = directory::open(dir.path()).unwrap();
            start(&opened, &mut load(&[("shards", "3")]), 2).unwrap()
        };
        assert_eq!((first.epoch, first.shards), (1, 3));
        let opened = directory::open(dir.path()).unwrap();
        let second = start(&opened, &mut load(&[]), 8).unwrap();
        assert_eq!((second.epoch, second.shards, second.identity), (2, 3, first.identity));
    }

    #[test]
    fn another_brokers_directory_is_refused_but_a_default_name_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        start(&directory::open(dir.path()).unwrap(), &mut load(&[("brokerName", "broker-a")]), 1).unwrap();
        let opened = directory::open(dir.path()).unwrap();
        let refused = start(&opened, &mut load(&[("brokerName", "broker-b")]), 1).unwrap_err();
        assert!(refused.reason.contains("broker-a") && refused.reason.contains("broker-b"), "{refused}");
        let mut unnamed = load(&[]);
        start(&opened, &mut unnamed, 1).unwrap();
        assert_eq!(unnamed.settings.identity.broker_name, "broker-a");
    }

    #[test]
    fn a_damaged_superblock_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), b"not ours").unwrap();
        let opened = directory::open(dir.path()).unwrap();
        assert!(start(&opened, &mut load(&[]), 1).is_err());
        assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).unwrap(), b"not ours");
    }
}
