//! `mqbroker --reshard N`: rewrites a data directory to another number of shards while no broker runs on it.
//!
//! Owns the order that makes it safe (section 10 of `docs/storage-format.md`): the old generation stays as it is until
//! the new one is whole, compared and synced, and one replaced superblock decides which of them counts. What goes where and
//! what changes on the way is core's. Blocks its thread; no executor runs.

mod files;
mod stream;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use ringmq_core::boot::{Knowledge, Opened};
use ringmq_core::event::ShardId;
use ringmq_core::metadata::Metadata;
use ringmq_core::reshard::{Carried, Reshard};
use ringmq_core::settings::{BrokerSettings, Loaded};
use ringmq_core::shard::Shard;
use ringmq_core::store::superblock::{FILE_NAME, Superblock};
use ringmq_core::store::{IndexBuild, LogOptions, Position, SegmentBase};

use self::files::SegmentFiles;
use self::stream::Stream;
use crate::boot::direct_io::WriteMode;
use crate::boot::{Refused, format};
use crate::clock;
use crate::disk::replace;
use crate::open::{self, ShardPlan};

/// Log read between two looks at the new logs, bytes: far below the window that a log takes undurable.
const STRIDE: u64 = 8 << 20;

/// Rewrites the directory of these settings to `to` shards.
///
/// # Errors
/// The one line that says why not; the directory is as it was then.
pub fn run(loaded: Loaded<BrokerSettings>, to: u16) -> Result<(), Refused> {
    let begun = Instant::now();
    let root = PathBuf::from(&loaded.settings.store.store_path_root_dir);
    // Held until it is done: no broker starts meanwhile.
    let (_held, old) = format::existing(&root)?;
    if to == old.shards {
        return Err(Refused::new(format!("{} has {to} shards already", root.display()), "name another number"));
    }
    for stray in format::strays(&root, &old).map_err(|error| failed(&root, &error))? {
        println!("removes {}, which an unfinished rewrite left", stray.display());
        fs::remove_dir_all(&stray).map_err(|error| failed(&stray, &error))?;
    }
    check_room(&root, &old)?;
    println!("{}: {} shards become {to}", root.display(), old.shards);
    let sources = open_each(&root, &Superblock { epoch: old.epoch + 1, ..old.clone() }, &loaded)?;
    let new = next_generation(&old, to).map_err(|error| failed(&root, &error))?;
    let made = rewrite(&root, (&old, sources), &new, &loaded);
    let carried = made.inspect_err(|_| remove(&root, &new))?;
    let whole = Superblock { epoch: new.epoch + 1, ..new };
    replace::replace(&root, FILE_NAME, &whole.new_file()).map_err(|error| failed(&root, &error))?;
    remove(&root, &old);
    println!("{}", summary(&carried, &old, to, begun.elapsed()));
    Ok(())
}

/// The directory as it will be: a new identity, so that no old segment passes for one of its own.
fn next_generation(old: &Superblock, to: u16) -> io::Result<Superblock> {
    let mut identity = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut identity)?;
    let generation = old.generation.checked_add(1).ok_or_else(|| io::Error::other("rewritten 65,535 times"))?;
    Ok(Superblock { identity, epoch: 1, shards: to, generation, ..old.clone() })
}

/// Both generations must fit beside each other.
fn check_room(root: &Path, old: &Superblock) -> Result<(), Refused> {
    let mut used = 0;
    for id in 0..old.shards {
        let directory = root.join(old.shard_directory(ShardId(id)));
        for entry in fs::read_dir(&directory).map_err(|error| failed(&directory, &error))? {
            let entry = entry.map_err(|error| failed(&directory, &error))?;
            used += allocated(&entry).map_err(|error| failed(&directory, &error))?;
        }
    }
    let volume = statvfs(root).map_err(|errno| failed(root, &errno.into()))?;
    let free = volume.blocks_available() * volume.fragment_size();
    if free < used {
        return Err(Refused::new(
            format!("{} has {} MiB free and needs {} MiB", root.display(), free >> 20, used >> 20),
            "both generations must fit beside each other: make room",
        ));
    }
    Ok(())
}

fn allocated(entry: &fs::DirEntry) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(entry.metadata()?.blocks() * 512)
}

/// The plans of all shards of a generation.
fn plans(root: &Path, superblock: &Superblock) -> Result<Vec<ShardPlan>, Refused> {
    let plan = |id: u16| {
        let id = ShardId(id);
        let options = LogOptions::of(superblock, id).ok_or_else(|| {
            Refused::new(format!("segments of {} bytes are not possible", superblock.segment_size), "see ringmq.format")
        })?;
        let directory = root.join(superblock.shard_directory(id));
        Ok(ShardPlan { id, shards: superblock.shards, options, directory, mode: WriteMode::Buffered })
    };
    (0..superblock.shards).map(plan).collect()
}

/// Opens all shards of a generation as a start does.
fn open_each(root: &Path, superblock: &Superblock, loaded: &Loaded<BrokerSettings>) -> Result<Vec<Opened>, Refused> {
    let mut copy: Option<Metadata> = None;
    let mut all = Vec::new();
    for plan in plans(root, superblock)? {
        let opening = open::read(&plan)?;
        let knowledge = match &copy {
            None => Knowledge::Truth(Box::new(loaded.clone())),
            Some(copy) => Knowledge::Copy(Box::new(copy.clone())),
        };
        let opened = opening.finish(clock::now(), knowledge);
        copy.get_or_insert_with(|| opened.shard.metadata.clone());
        all.push(opened);
    }
    Ok(all)
}

/// Makes the new generation, whole and synced, beside the old one.
fn rewrite(
    root: &Path,
    (old, opened): (&Superblock, Vec<Opened>),
    new: &Superblock,
    loaded: &Loaded<BrokerSettings>,
) -> Result<Carried, Refused> {
    let starts: Vec<SegmentBase> = opened.iter().map(|opened| SegmentBase(opened.report.first.0)).collect();
    let sources: Vec<Shard> = opened.into_iter().map(|opened| opened.shard).collect();
    let options = plans(root, new)?.iter().map(|plan| plan.options).collect();
    let mut reshard = Reshard::new(&sources, options).map_err(not_possible)?;
    let mut files = Vec::new();
    for id in (0..new.shards).map(ShardId) {
        files.push(SegmentFiles::make(root.join(new.shard_directory(id)), id, new.segment_size)?);
    }
    let streams = || -> Vec<Stream> {
        let of = |(source, start): (&Shard, &SegmentBase)| {
            Stream::new(source, *start, root.join(old.shard_directory(source.id)), old.checksum_seed())
        };
        sources.iter().zip(&starts).map(of).collect()
    };
    let copy = |reshard: &mut Reshard<'_>, shard, position, record: &[u8]| {
        reshard.copy(shard, position, record).map_err(not_possible)
    };
    let write =
        |reshard: &mut Reshard<'_>| reshard.logs().zip(&mut files).try_for_each(|(log, files)| files.write(log, false));
    each_record(streams(), "copied", &mut reshard, copy, write)?;
    reshard.finish().map_err(not_possible)?;
    for (log, mut files) in reshard.logs().zip(files) {
        files.write(log, true)?;
        files.finish()?;
    }
    let opened = Superblock { epoch: new.epoch + 1, ..new.clone() };
    let mut shards = Vec::new();
    let mut sequences = Vec::new();
    for Opened { shard, next_checkpoint, .. } in open_each(root, &opened, loaded)? {
        shards.push(shard);
        sequences.push(next_checkpoint);
    }
    reshard.compare(&mut shards).map_err(not_possible)?;
    for (shard, sequence) in shards.iter_mut().zip(sequences) {
        let directory = root.join(new.shard_directory(shard.id));
        keep_up(shard, &directory, sequence).map_err(|error| failed(&directory, &error))?;
    }
    replace::sync_directory(root).map_err(|error| failed(root, &error))?;
    Ok(reshard.carried)
}

/// Writes what makes the first start short: indexes and both checkpoints.
fn keep_up(shard: &mut Shard, directory: &Path, sequence: u64) -> io::Result<()> {
    let write = |shard: &mut Shard, mut build: IndexBuild| {
        while !build.step(&mut shard.queues, &mut shard.index) {}
        let name = build.file_name();
        let Some(mut finished) = build.finish() else { return Ok(()) };
        replace::replace(directory, &name, &std::mem::take(&mut finished.bytes))?;
        finished.in_place(&mut shard.queues, &mut shard.index);
        Ok(())
    };
    let layout = *shard.log.layout();
    while let Some(sealed) = shard.log.take_sealed() {
        write(shard, IndexBuild::new(&layout, sealed))?;
    }
    for sequence in [sequence, sequence + 1] {
        let checkpoint = shard.checkpoint(clock::now(), sequence);
        replace::replace(directory, checkpoint.file_name(), &checkpoint.encode())?;
    }
    match IndexBuild::partial(&shard.log) {
        Some(partial) => write(shard, partial),
        None => Ok(()),
    }
}

/// Shows every record of all streams, oldest first, and says how far it is once a second.
fn each_record<'s>(
    mut streams: Vec<Stream>,
    done: &str,
    reshard: &mut Reshard<'s>,
    mut each: impl FnMut(&mut Reshard<'s>, ShardId, Position, &[u8]) -> Result<(), Refused>,
    mut rest: impl FnMut(&mut Reshard<'s>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut said = Instant::now();
    let mut since_rest = 0;
    loop {
        let mut oldest: Option<(i64, usize)> = None;
        for (n, stream) in streams.iter_mut().enumerate() {
            let Some(ms) = stream.head_ms()? else { continue };
            if oldest.is_none_or(|(least, _)| ms < least) {
                oldest = Some((ms, n));
            }
        }
        let Some((_, n)) = oldest else { return rest(reshard) };
        let shard = streams[n].shard;
        let (position, record) = streams[n].take().expect("it has a head");
        each(reshard, shard, position, record)?;
        since_rest += record.len() as u64;
        if since_rest >= STRIDE {
            since_rest = 0;
            rest(reshard)?;
            if said.elapsed() >= Duration::from_secs(1) {
                said = Instant::now();
                let (at, end) =
                    streams.iter().map(Stream::progress).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                println!("{done} {} of {} MiB", at >> 20, end >> 20);
            }
        }
    }
}

fn remove(root: &Path, superblock: &Superblock) {
    for id in 0..superblock.shards {
        let directory = root.join(superblock.shard_directory(ShardId(id)));
        // What is left counts for nothing, and the next rewrite removes it.
        if let Err(error) = fs::remove_dir_all(&directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            println!("{} could not be removed ({error}); it counts for nothing any more", directory.display());
        }
    }
}

fn summary(carried: &Carried, old: &Superblock, to: u16, took: Duration) -> String {
    let Carried { messages, delayed, halves, offsets, popped, homeless } = carried;
    let mut text = format!(
        "{} shards became {to} in {:.1} s: {messages} messages, {delayed} delayed, {halves} undecided transactions, \
         {offsets} consumer offsets, {popped} POP states\n",
        old.shards,
        took.as_secs_f64()
    );
    if *homeless > 0 {
        text.push_str(&format!("{homeless} messages of queues that no topic has any more were left behind\n"));
    }
    text.push_str(
        "Queue offsets, keys, unique message ids, store times and consumer offsets are as before. Physical offsets are new: \
         an offset message id (the one with an address in it) from before finds nothing now, and a transaction that its \
         producer ends with an old one is asked about again.",
    );
    text
}

fn not_possible(error: ringmq_core::reshard::ReshardError) -> Refused {
    Refused::new(format!("the directory cannot be rewritten: {error}"), "it was left as it was")
}

fn failed(path: &Path, error: &io::Error) -> Refused {
    Refused::new(
        format!("{}: {error}", path.display()),
        "the directory is as it was; make room or give this user the right to it",
    )
}
