//! From a shard's directory to a shard that runs: recovery at start, the checkpoint at stop.
//!
//! Owns the listing and reading of the files. What the bytes mean is core's. Blocks its thread: nothing else runs on an
//! executor before its shards are there.

mod ahead;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use ringmq_core::boot::{Knowledge, OpenError, Opened, Opening};
use ringmq_core::event::{DiskError, ShardId};
use ringmq_core::metadata::Metadata;
use ringmq_core::settings::{BrokerSettings, Loaded, StoreSettings};
use ringmq_core::store::RangeOf;
use ringmq_core::store::checkpoint::FILE_NAMES;
use ringmq_core::store::recovery::{Found, FoundFile, RecoveryReport};
use ringmq_core::store::{Checkpoint, IndexBuild, LogOptions, SegmentBase};

use crate::boot::direct_io::WriteMode;
use crate::boot::{Refused, shard_directory};
use crate::disk::segment_file::never_poll;
use crate::disk::{Disk, DiskQueues, replace};
use crate::driver::Hosted;
use crate::{clock, limits, log};
use ahead::LogAhead;
pub(crate) use ahead::fill;

/// What a shard is opened with.
#[derive(Debug)]
pub struct ShardPlan {
    pub id: ShardId,
    /// How many shards the data directory has.
    pub shards: u16,
    pub options: LogOptions,
    /// The shard's directory.
    pub directory: PathBuf,
    pub mode: WriteMode,
}

/// Where an executor's shards learn about topics and groups.
#[derive(Debug)]
pub enum Source {
    /// The control shard is among them: it reads them from its log and tells the other executors.
    Truth(Box<Loaded<BrokerSettings>>, Vec<mpsc::Sender<Metadata>>),
    /// From the executor of the control shard.
    Told(mpsc::Receiver<Metadata>),
}

/// Opens all shards of an executor, the control shard first.
///
/// # Errors
/// The first one that cannot be opened: damaged, or unreadable.
pub async fn open_all(plans: Vec<ShardPlan>, source: Source, queues: DiskQueues) -> Result<Vec<Hosted>, Refused> {
    let mut hosted: Vec<Hosted> = Vec::with_capacity(plans.len());
    let (mut truth, others, told) = match source {
        Source::Truth(loaded, others) => (Some(loaded), others, None),
        Source::Told(told) => (None, Vec::new(), Some(told)),
    };
    let mut copy: Option<Metadata> = None;
    for plan in plans {
        let opening = read(&plan)?;
        let knowledge = match truth.take() {
            Some(loaded) => Knowledge::Truth(loaded),
            None => {
                if let Some(told) = &told
                    && copy.is_none()
                {
                    let gone = |_| Refused::new("the control shard did not start", "see the line about it");
                    copy = Some(told.recv().map_err(gone)?);
                }
                Knowledge::Copy(Box::new(copy.clone().expect("the control shard is opened first")))
            }
        };
        let opened = opening.finish(clock::now(), knowledge);
        if copy.is_none() {
            let metadata = opened.shard.metadata.clone();
            for other in &others {
                // One that is gone has failed by itself and says why.
                let _ = other.send(metadata.clone());
            }
            copy = Some(metadata);
        }
        hosted.push(host(plan, opened, queues.clone()).await?);
    }
    Ok(hosted)
}

/// Gives an opened shard its files.
async fn host(plan: ShardPlan, opened: Opened, queues: DiskQueues) -> Result<Hosted, Refused> {
    let Opened { shard, report, next_checkpoint } = opened;
    let id = plan.id;
    let settings = shard.metadata.settings.store.clone();
    let fails = |error: DiskError| disk_refused(&plan.directory, io::Error::from_raw_os_error(error.errno));
    if let WriteMode::Direct = plan.mode {
        never_poll(&plan.directory).await.map_err(fails)?;
    }
    let directory = plan.directory.clone();
    let disk = Rc::new(Disk::new(id, directory, plan.options.layout, plan.mode, queues, next_checkpoint));
    disk.resume(&shard).await.map_err(fails)?;
    if let Some(line) = describe(&report) {
        crate::info!("shard {}: {line}", id.0);
        crate::info!("shard {}: {}", id.0, missing(&report, &settings));
    }
    Ok(Hosted::new(id, shard, disk))
}

/// Reads what the directory holds, up to the point where only the metadata is missing.
///
/// # Errors
/// It is lost, damaged, or unreadable.
pub fn read(plan: &ShardPlan) -> Result<Opening, Refused> {
    let fails = |error: io::Error| disk_refused(&plan.directory, error);
    shard_directory::require(&plan.directory, plan.id)?;
    let found = list(&plan.directory).map_err(fails)?;
    outlast_writes(&plan.directory, &found.segments).map_err(fails)?;
    let damaged = |error: OpenError| {
        Refused::new(
            format!("shard {} in {}: {error}", plan.id.0, plan.directory.display()),
            "nothing was changed; restore the file from a backup, or set storePathRootDir to another directory",
        )
    };
    let mut opening = Opening::new(plan.id, plan.shards, plan.options, found).map_err(damaged)?;
    let mut reader = Reader {
        files: Files { directory: &plan.directory, mode: plan.mode, open: None, replayed: Vec::new() },
        log: LogAhead::new(plan.options.layout),
        buffer: Vec::new(),
    };
    let mut said = Instant::now();
    while let Some(range) = opening.next_read() {
        let bytes = reader.read(range.file, range.offset, range.len as usize).map_err(fails)?;
        opening.supply(bytes).map_err(damaged)?;
        if said.elapsed() >= Duration::from_secs(1) {
            let (done, all) = opening.progress();
            crate::info!("shard {}: {} of {} MiB of log read", plan.id.0, done >> 20, all >> 20);
            said = Instant::now();
        }
    }
    reader.files.finish().map_err(fails)?;
    Ok(opening)
}

/// Waits until no write of a killed predecessor is under way: it could land on top of what is written from now on. Each
/// such write holds its segment's lock until it is done. Only the newest segments are ever written to: the active one, the
/// one prepared after it, and the one just left.
fn outlast_writes(directory: &Path, segments: &[FoundFile]) -> io::Result<()> {
    for segment in segments.iter().rev().take(3) {
        let file = File::open(directory.join(segment.base.log_name()))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    }
    Ok(())
}

fn disk_refused(directory: &Path, error: io::Error) -> Refused {
    Refused::new(
        format!("cannot read the shard in {}: {error}", directory.display()),
        "give this user the right to it, or set storePathRootDir to another directory",
    )
}

fn list(directory: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((base, kind)) = name.to_str().and_then(SegmentBase::parse_name) else { continue };
        let file = FoundFile { base, len: entry.metadata()?.len() };
        match kind {
            "log" => found.segments.push(file),
            "index" => found.indexes.push(file),
            "partial" => found.partials.push(file),
            _ => {}
        }
    }
    found.segments.sort_unstable();
    found.indexes.sort_unstable();
    found.partials.sort_unstable();
    found.checkpoint = newest_checkpoint(directory);
    Ok(found)
}

/// The newer intact one of the two. With a million queues each has tens of megabytes, so the other one is not read.
fn newest_checkpoint(directory: &Path) -> Option<Checkpoint> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for path in FILE_NAMES.map(|name| directory.join(name)) {
        let mut beginning = [0; 64];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut beginning, 0));
        found.extend(read.ok().and_then(|()| Checkpoint::sequence_of(&beginning)).map(|sequence| (sequence, path)));
    }
    found.sort_unstable_by(|left, right| right.cmp(left));
    found.iter().find_map(|(_, path)| Checkpoint::from_file(fs::read(path).ok()?))
}

/// Reads files for recovery.
struct Reader<'p> {
    files: Files<'p>,
    log: LogAhead,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self, range: RangeOf, offset: u64, len: usize) -> io::Result<&[u8]> {
        let Reader { files, log, buffer } = self;
        if let RangeOf::Log(base) = range {
            return log.read(base, offset, len, &mut |base| files.segment(base));
        }
        buffer.resize(len, 0);
        let got = fill(files.get(range)?, offset, buffer)?;
        Ok(&buffer[..got])
    }
}

/// The files of recovery, one open at a time.
struct Files<'p> {
    directory: &'p Path,
    mode: WriteMode,
    open: Option<(RangeOf, Flock<File>)>,
    /// Segments whose log was read: their pages may still be on their way to the disk.
    replayed: Vec<SegmentBase>,
}

impl Files<'_> {
    fn get(&mut self, range: RangeOf) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != range) {
            self.open = None;
            self.open = Some((range, self.open(range)?));
        }
        let (_, file) = self.open.as_ref().expect("it was just opened");
        Ok(file)
    }

    /// A segment, if there is one.
    fn segment(&mut self, base: SegmentBase) -> io::Result<Option<File>> {
        match self.get(RangeOf::Log(base)) {
            Ok(file) => file.try_clone().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&mut self, range: RangeOf) -> io::Result<Flock<File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        let name = match range {
            RangeOf::Log(base) => {
                if self.mode == WriteMode::Direct {
                    options.custom_flags(libc::O_DIRECT);
                }
                base.log_name()
            }
            RangeOf::Index(base) => base.index_name(),
            RangeOf::Partial(base) => base.partial_name(),
        };
        let file = options.open(self.directory.join(name))?;
        if let RangeOf::Log(base) = range
            && !self.replayed.contains(&base)
        {
            self.replayed.push(base);
        }
        // See `outlast_writes`: what is read must not change any more.
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }

    /// What was replayed is believed from now on, so it must not depend on a cache.
    fn finish(mut self) -> io::Result<()> {
        self.open = None;
        for base in self.replayed.drain(..) {
            File::open(self.directory.join(base.log_name()))?.sync_data()?;
        }
        Ok(())
    }
}

/// One line about what recovery had to do; `None` after a clean stop.
fn describe(report: &RecoveryReport) -> Option<String> {
    let RecoveryReport { first, end, rebuilt, replayed, messages, torn, .. } = report;
    if *replayed == 0 && rebuilt.is_empty() && !torn {
        return None;
    }
    let size = (end.0 - first.0) >> 20;
    let mut line = format!("{size} MiB of log; {} KiB with {messages} messages replayed", replayed >> 10);
    if *torn {
        line.push_str("; a write the last run did not complete was dropped, nothing that a synchronous topic acknowledged was in it");
    }
    if !rebuilt.is_empty() {
        line.push_str(&format!("; {} damaged indexes are written again", rebuilt.len()));
    }
    Some(line)
}

/// One line about what may be missing after a crash: the log tells where it ends, the settings how far ahead of the disk the
/// last run may have been.
fn missing(report: &RecoveryReport, settings: &StoreSettings) -> String {
    let bytes = settings.undurable_bytes_max.min(limits::UNDURABLE_PAUSE) + limits::READ_BUFFER as u64;
    let ms = settings.undurable_ms_max + settings.flush_interval;
    let end = match u64::try_from(report.latest_ms) {
        Ok(latest_ms) if latest_ms > 0 => format!("the newest message there is of {}", log::utc(latest_ms.into())),
        _ => "there is no message".to_owned(),
    };
    format!(
        "{end}; of asynchronous topics, messages accepted after that may be missing: at most {} KiB and {ms} ms of them",
        bytes >> 10
    )
}

/// Leaves a checkpoint, so that the next start has nothing to replay.
pub async fn leave(hosted: &Hosted) {
    let now = clock::now();
    let captured = hosted.shard.apply(|shard| {
        let whole = shard.log.fault().is_none() && shard.log.durable() == shard.log.appended();
        whole.then(|| (shard.checkpoint(now, hosted.disk.next_checkpoint()), IndexBuild::partial(&shard.log)))
    });
    if let Some((checkpoint, partial)) = captured {
        hosted.disk.write_checkpoint(checkpoint).await;
        if let Some(partial) = partial {
            hosted.disk.write_index(hosted, partial).await;
        }
    }
}

/// Writes a file in place of the one before, on a helper thread, which makes its bytes, too. The directory is not made: if it
/// is gone, so is what the file belongs to.
///
/// # Errors
/// What the file system said.
pub async fn replace_file(
    directory: PathBuf,
    name: String,
    bytes: impl FnOnce() -> Vec<u8> + Send + 'static,
) -> Result<(), DiskError> {
    let write = move || replace::replace(&directory, &name, &bytes());
    glommio::executor().spawn_blocking(write).await.map_err(crate::disk::segment_file::disk_error)
}
