//! `mqbroker --check`: reads everything in a data directory and says what is not as it was written.
//!
//! Owns the order in which files are looked at and the lines about them. Works offline and refuses a directory that a broker
//! uses; changes nothing. What is right is core's to say: frames by their checksums, the rest by its own readers.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringmq_core::event::ShardId;
use ringmq_core::settings::{BrokerSettings, Loaded};
use ringmq_core::store::continuity::{Continuity, Lost, Toll};
use ringmq_core::store::index_file::IndexFile;
use ringmq_core::store::survey::{Met, Survey};
use ringmq_core::store::{Checkpoint, LogOptions, Position, RangeOf, Rebuild, SegmentBase, Superblock, superblock};

use crate::args::{self, BrokerArgs};
use crate::boot::{Refused, configuration, direct_io, directory, shard_directory};
use crate::open::{self, ShardPlan};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Looks at the directory these arguments name. Returns whether all of it is as it was written.
///
/// # Errors
/// The one line that says why it could not look: no directory, in use, not ours.
pub fn run(args: &BrokerArgs) -> Result<bool, Refused> {
    let begun = Instant::now();
    let loaded: Loaded<BrokerSettings> = configuration::load(args.config.as_deref(), &args::pairs(&args.set)?)?;
    let root = PathBuf::from(&loaded.settings.store.store_path_root_dir);
    if !root.join(superblock::FILE_NAME).exists() {
        return Err(Refused::new(
            format!("{} is no data directory of RingMQ", root.display()),
            "name it with -s storePathRootDir=... or -c broker.conf",
        ));
    }
    let directory = directory::open(&root)?;
    let mut report = Report::default();
    let bytes = directory.superblock.as_deref().unwrap_or_default();
    check_superblock(bytes, &mut report);
    let superblock = Superblock::decode(bytes).map_err(|error| {
        Refused::new(
            format!("{}: {error}", root.display()),
            "restore ringmq.format from a backup: without it nothing here can be verified",
        )
    })?;
    for id in (0..superblock.shards).map(ShardId) {
        // As the next start would: frames of the last one are not of its own.
        let options = LogOptions::of(&superblock.next_start(), id);
        let Some(options) = options else {
            report.bad(format!(
                "{}: segments of {} bytes are not possible",
                superblock::FILE_NAME,
                superblock.segment_size
            ));
            break;
        };
        let name = superblock.shard_directory(id);
        let mode = direct_io::probe(&root)?;
        let plan = ShardPlan { id, shards: superblock.shards, options, directory: root.join(&name), mode };
        let lost = shard_directory::lost(&plan.directory).map_err(|error| {
            Refused::new(format!("{} cannot be read: {error}", root.display()), "give this user the right to read it")
        })?;
        if let Some(what) = lost {
            report.bad(format!("{name}: {what}"));
            continue;
        }
        ShardCheck { name, plan, report: &mut report, said: Instant::now() }.run().map_err(|error| {
            Refused::new(format!("{} cannot be read: {error}", root.display()), "give this user the right to read it")
        })?;
    }
    println!("{}", report.summary(superblock.shards, begun.elapsed()));
    Ok(report.findings == 0)
}

/// What was found so far.
#[derive(Debug, Default)]
struct Report {
    findings: u64,
    bytes: u64,
    messages: u64,
    files: u64,
}

impl Report {
    /// Something is not as it was written.
    fn bad(&mut self, line: String) {
        self.findings += 1;
        println!("{line}");
    }

    fn summary(&self, shards: u16, took: Duration) -> String {
        let Report { findings, bytes, messages, files } = self;
        let looked = format!(
            "{shards} shards, {files} files, {} MiB of log, {messages} records, in {:.1} s",
            bytes >> 20,
            took.as_secs_f64()
        );
        match findings {
            0 => format!("all is as it was written: {looked}"),
            1 => format!("1 finding: {looked}"),
            many => format!("{many} findings: {looked}"),
        }
    }
}

/// Each of the two slots by itself: one damaged slot is survived, but not for ever.
fn check_superblock(bytes: &[u8], report: &mut Report) {
    report.files += 1;
    let half = superblock::FILE_LEN / 2;
    for (slot, at) in [0, half].into_iter().enumerate() {
        let Some(own) = bytes.get(at..at + half) else {
            report.bad(format!(
                "{}  byte {}  too short: it has two slots of {half} bytes",
                superblock::FILE_NAME,
                bytes.len()
            ));
            return;
        };
        // The second slot is empty until the first start.
        if own.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut alone = vec![0; superblock::FILE_LEN];
        alone[at..at + half].copy_from_slice(own);
        if let Err(error) = Superblock::decode(&alone) {
            report.bad(format!("{}  byte {at}  slot {slot} is damaged (crc32c): {error}", superblock::FILE_NAME));
        }
    }
}

/// The check of one shard's directory.
struct ShardCheck<'r> {
    /// The directory's name, as it stands before every file in the lines.
    name: String,
    plan: ShardPlan,
    report: &'r mut Report,
    said: Instant,
}

impl ShardCheck<'_> {
    fn run(mut self) -> io::Result<()> {
        let checkpoint = self.checkpoints()?;
        let segments = self.bases("log")?;
        self.indexes("index", &segments)?;
        self.indexes("partial", &segments)?;
        let end = self.end_of_log();
        let first = segments.first().copied().unwrap_or(SegmentBase(0));
        let mut continuity = Continuity::new(first.0 == 0);
        for base in &segments {
            self.segment(*base, end, checkpoint.as_ref(), &mut continuity)?;
        }
        if let Some(checkpoint) = &checkpoint {
            self.ends(checkpoint, &mut continuity);
        }
        self.report.messages += continuity.records();
        let (tolls, unexplained) = continuity.finish();
        for toll in tolls {
            self.tell(&toll);
        }
        for lost in unexplained {
            self.report.bad(format!("{}  {lost} missing, though no frame is damaged", self.name));
        }
        Ok(())
    }

    /// Both checkpoints; gives the newer good one.
    fn checkpoints(&mut self) -> io::Result<Option<Checkpoint>> {
        let mut read = [None, None];
        for (at, name) in ["checkpoint-0", "checkpoint-1"].into_iter().enumerate() {
            match fs::read(self.plan.directory.join(name)) {
                Ok(bytes) => {
                    self.report.files += 1;
                    if Checkpoint::decode(&bytes).is_none() {
                        let len = bytes.len();
                        self.report.bad(format!(
                            "{}/{name}  bytes 0..{len}  checkpoint damaged (crc32c): the other one counts",
                            self.name
                        ));
                    }
                    read[at] = Some(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Checkpoint::newest([read[0].as_deref(), read[1].as_deref()]))
    }

    /// The segments that have a file of this kind, in order.
    fn bases(&self, kind: &str) -> io::Result<Vec<SegmentBase>> {
        let mut bases = BTreeSet::new();
        for entry in fs::read_dir(&self.plan.directory)? {
            let name = entry?.file_name();
            let base = name.to_str().and_then(SegmentBase::parse_name).filter(|(_, extension)| *extension == kind);
            bases.extend(base.map(|(base, _)| base));
        }
        Ok(bases.into_iter().collect())
    }

    fn indexes(&mut self, kind: &str, segments: &[SegmentBase]) -> io::Result<()> {
        for base in self.bases(kind)? {
            let name = format!("{:020}.{kind}", base.0);
            let bytes = fs::read(self.plan.directory.join(&name))?;
            self.report.files += 1;
            if !segments.contains(&base) {
                self.report.bad(format!("{}/{name}  its segment is missing", self.name));
                continue;
            }
            let Some(index) = IndexFile::decode(&bytes, &self.plan.options.layout, base) else {
                let len = bytes.len();
                self.report.bad(format!(
                    "{}/{name}  bytes 0..{len}  index damaged (crc32c): it is rebuilt from the log",
                    self.name
                ));
                continue;
            };
            if kind == "index" && !self.is_as_the_log(base, &index, segments[0])? {
                self.report.bad(format!(
                    "{}/{name}  its checksums are right, but it does not say what the log says: remove it, it is rebuilt",
                    self.name
                ));
            }
        }
        Ok(())
    }

    /// Whether an index says what one made again from its segment would say. One that cannot be made again because another
    /// file is damaged is not to blame: that file is named by itself.
    fn is_as_the_log(&self, base: SegmentBase, index: &IndexFile, start: SegmentBase) -> io::Result<bool> {
        let Ok(mut rebuild) = Rebuild::new(self.plan.options, start.0, base) else { return Ok(true) };
        let mut buffer = Vec::new();
        while let Some(range) = rebuild.next_read() {
            let name = match range.file {
                RangeOf::Log(base) => base.log_name(),
                RangeOf::Index(base) => base.index_name(),
                RangeOf::Partial(base) => base.partial_name(),
            };
            let file = match File::open(self.plan.directory.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                opened => opened?,
            };
            buffer.resize(range.len as usize, 0);
            let got = open::fill(&file, range.offset, &mut buffer)?;
            if rebuild.supply(&buffer[..got]).is_err() {
                return Ok(true);
            }
        }
        let again = IndexFile::decode(&rebuild.finish(), &self.plan.options.layout, base);
        Ok(again.is_some_and(|again| index.says_the_same(&again, start)))
    }

    /// Where the log ends for a start; `None` if a start would be refused. Then segments are looked at as far as frames go.
    fn end_of_log(&mut self) -> Option<Position> {
        match open::read(&self.plan) {
            Ok(opening) => Some(Position(opening.progress().0)),
            Err(refused) => {
                self.report.bad(format!("{}  a start would be refused: {}", self.name, refused.reason));
                None
            }
        }
    }

    /// All frames of a segment.
    fn segment(
        &mut self,
        base: SegmentBase,
        end: Option<Position>,
        checkpoint: Option<&Checkpoint>,
        continuity: &mut Continuity,
    ) -> io::Result<()> {
        let layout = self.plan.options.layout;
        let segment_end = Position(layout.end_of(base));
        let to = end.unwrap_or(segment_end).min(segment_end);
        self.report.files += 1;
        if to.0 <= base.0 {
            // Made ahead, not used yet.
            return Ok(());
        }
        let covered = checkpoint.map_or(0, |checkpoint| checkpoint.covered.0);
        let mut survey = Survey::new(layout, self.plan.options.seed, base, to);
        let file = File::open(self.plan.directory.join(base.log_name()))?;
        let mut buffer = Vec::new();
        while let Some(range) = survey.next_read() {
            buffer.resize(range.len as usize, 0);
            let got = open::fill(&file, range.offset, &mut buffer)?;
            survey.supply(&buffer[..got], |met| match met {
                Met::Record(at, bytes) => continuity.record(at, bytes),
                // Where the log ends is not known: no good frame after it, and nothing says that there was one.
                Met::Damage(damage) if end.is_none() && damage.to == segment_end && damage.from.0 >= covered => {}
                Met::Damage(damage) => continuity.damage(damage),
                Met::End(_) => {}
            });
            if self.said.elapsed() >= PROGRESS {
                self.said = Instant::now();
                let (done, all) = (survey.done() >> 20, layout.segment_size() >> 20);
                eprintln!("{}/{}  {done} of {all} MiB", self.name, base.log_name());
            }
        }
        self.report.bytes += survey.done();
        Ok(())
    }

    /// What the checkpoint knows of queues whose last messages may be the lost ones.
    fn ends(&self, checkpoint: &Checkpoint, continuity: &mut Continuity) {
        for mark in checkpoint.queues.iter() {
            if mark.max > mark.min {
                continuity.known_to(mark.life.topic, mark.queue, mark.max, checkpoint.covered);
            }
        }
    }

    fn tell(&mut self, toll: &Toll) {
        let Toll { damage, lost } = toll;
        let base = self.plan.options.layout.segment_of(damage.from);
        let queues = match lost.as_slice() {
            [] => "no message of a queue is missing".to_owned(),
            some => format!("queues {}", some.iter().map(Lost::to_string).collect::<Vec<_>>().join(", ")),
        };
        let (from, len) = (damage.from.0 - base.0, damage.to.0 - damage.from.0);
        self.report.bad(format!(
            "{}/{}  byte {from}  frame damaged (crc32c), {len} bytes: {queues}",
            self.name,
            base.log_name()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_changed_is_named() {
        let mut file = superblock_file();
        let mut report = Report::default();
        check_superblock(&file, &mut report);
        assert_eq!(report.findings, 0);
        file[20] ^= 1;
        check_superblock(&file, &mut report);
        assert_eq!(report.findings, 1);
    }

    fn superblock_file() -> Vec<u8> {
        let superblock = Superblock {
            identity: [7; 16],
            epoch: 0,
            shards: 1,
            generation: 0,
            segment_size: 1 << 20,
            made_ms: 0,
            cluster: "c".to_owned(),
            broker: "b".to_owned(),
            broker_id: 0,
        };
        superblock.new_file()
    }
}
