//! A shard's directory: made once, before the store counts its first start, and missed when it is gone.
//!
//! Owns what a new one holds and when a directory is taken for lost: a volume that was not mounted, a copy without it. What a
//! start finds empty it would go on with as if nothing had ever been stored there. Never reads segments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringmq_core::event::ShardId;
use ringmq_core::settings::{BrokerSettings, Loaded};
use ringmq_core::store::checkpoint::FILE_NAMES;
use ringmq_core::store::superblock::Superblock;
use ringmq_core::store::{Checkpoint, SegmentBase};

use super::{Refused, format};
use crate::clock;
use crate::disk::replace;

/// Makes the directory of a shard that has nothing yet. A checkpoint that says so tells it from one whose content is gone.
///
/// # Errors
/// What the file system said.
pub fn make(directory: &Path, shard: ShardId) -> io::Result<()> {
    replace::make_directory(directory)?;
    let nothing = Checkpoint::of_nothing(shard.0, clock::now().wall_ms);
    replace::replace(directory, nothing.file_name(), &nothing.into_file())
}

/// Makes those of all shards of a new store.
///
/// # Errors
/// What the file system said.
pub fn make_all(root: &Path, superblock: &Superblock) -> io::Result<()> {
    (0..superblock.shards).map(ShardId).try_for_each(|id| make(&root.join(superblock.shard_directory(id)), id))
}

/// What is wrong with a shard's directory if it is lost: it is not there, or holds neither a segment nor a checkpoint.
///
/// # Errors
/// What the file system said.
pub fn lost(directory: &Path) -> io::Result<Option<&'static str>> {
    if !directory.try_exists()? {
        return Ok(Some("is missing"));
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_segment = SegmentBase::parse_name(name).is_some_and(|(_, kind)| kind == "log");
        if is_segment || FILE_NAMES.contains(&name) {
            return Ok(None);
        }
    }
    Ok(Some("is empty"))
}

/// Refuses a lost directory: going on without it would be silently going on without its messages.
///
/// # Errors
/// The refusal, or what the file system said in one.
pub fn require(directory: &Path, shard: ShardId) -> Result<(), Refused> {
    let Some(what) = lost(directory).map_err(|error| unreadable(directory, &error))? else { return Ok(()) };
    let accept = match shard {
        ShardId::CONTROL => "topics, groups and settings were in it, so without it the store is lost".to_owned(),
        ShardId(number) => format!("or accept that its messages are lost: mqbroker --abandon-shard {number}"),
    };
    Err(Refused::new(
        format!("the directory of shard {}, {}, {what}", shard.0, directory.display()),
        format!("mount its volume or restore it from a backup; {accept}"),
    ))
}

/// `mqbroker --abandon-shard N`: makes a lost directory again, empty.
///
/// # Errors
/// The one line that says why not; nothing was changed then.
pub fn abandon(loaded: &Loaded<BrokerSettings>, shard: ShardId) -> Result<(), Refused> {
    let root = PathBuf::from(&loaded.settings.store.store_path_root_dir);
    // Held until it is done: no broker starts meanwhile.
    let (_held, superblock) = format::existing(&root)?;
    let own = root.join(superblock.shard_directory(shard));
    if shard.0 >= superblock.shards {
        let shards = superblock.shards;
        return Err(Refused::new(
            format!("{} has {shards} shards, numbered from 0", root.display()),
            "name one of them",
        ));
    }
    if lost(&own).map_err(|error| unreadable(&own, &error))?.is_none() {
        return Err(Refused::new(format!("{} is not lost", own.display()), "nothing was changed; start the broker"));
    }
    if shard == ShardId::CONTROL {
        return require(&own, shard);
    }
    make(&own, shard).map_err(|error| {
        Refused::new(format!("{} cannot be made: {error}", own.display()), "give this user the right to it")
    })?;
    println!(
        "{} begins anew: the messages of shard {} and what groups had read of them are given up",
        own.display(),
        shard.0
    );
    Ok(())
}

fn unreadable(directory: &Path, error: &io::Error) -> Refused {
    Refused::new(format!("cannot read {}: {error}", directory.display()), "give this user the right to it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{configuration, directory};

    fn load(root: &Path) -> Loaded<BrokerSettings> {
        let root = root.to_str().unwrap();
        configuration::load(None, &[("shards", "3"), ("storePathRootDir", root)]).unwrap()
    }

    #[test]
    fn a_directory_that_is_gone_is_missed_and_remade_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut loaded = load(dir.path());
        let superblock = format::start(&directory::open(dir.path()).unwrap(), &mut loaded, 2).unwrap();
        let own = |number| dir.path().join(superblock.shard_directory(ShardId(number)));
        for number in 0..3 {
            require(&own(number), ShardId(number)).unwrap();
        }
        fs::remove_dir_all(own(1)).unwrap();
        fs::remove_file(own(2).join(FILE_NAMES[0])).unwrap();
        fs::remove_dir_all(own(0)).unwrap();
        // Neither this start nor the next makes them.
        format::start(&directory::open(dir.path()).unwrap(), &mut loaded, 2).unwrap();
        let said = [0, 1, 2].map(|number| require(&own(number), ShardId(number)).unwrap_err().to_string());
        assert!(said[0].contains("shard-000, is missing") && !said[0].contains("--abandon"), "{said:?}");
        assert!(said[1].contains("shard-001, is missing") && said[1].contains("--abandon-shard 1"), "{said:?}");
        assert!(said[2].contains("shard-002, is empty"), "{said:?}");
        assert!(abandon(&loaded, ShardId(0)).is_err() && abandon(&loaded, ShardId(3)).is_err());
        abandon(&loaded, ShardId(1)).unwrap();
        require(&own(1), ShardId(1)).unwrap();
        assert!(abandon(&loaded, ShardId(1)).unwrap_err().to_string().contains("not lost"));
    }
}
