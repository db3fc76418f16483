//! An index made again from its segment, because its file is damaged or gone.
//!
//! Owns the reading: the segment's frames as recovery reads them, then the directories of the indexes before it, backwards,
//! until every queue's run before is known. It asks for bytes and is given them. What it makes has everything in the same
//! place as the first one, so whatever points into that file is right again. Never writes.

use ringmq_protocol::record::RecordRef;

use super::files::checkpoint::{Checkpoint, QueueMarks};
use super::files::index_build::IndexBuild;
use super::files::index_file::{Directory, Header};
use super::files::index_page::PAGE;
use super::index::key_index::KeyIndex;
use super::index::queue_table::QueueTable;
use super::log::LogOptions;
use super::own_record::OwnRecord;
use super::range::{RangeOf, ReadRange};
use super::recovery::{Found, FoundFile, Malformed, Recovered, Recovery, RecoveryError, Visitor};
use super::segment::{Sealed, SegmentBase};
use ringmq_protocol::offset::Position;

/// Why an index cannot be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildError {
    /// The segment itself is damaged.
    Log(RecoveryError),
    /// The index of this earlier segment is not what was written either; make that one first.
    Before(SegmentBase),
}

/// The making of one index. Call [`Rebuild::next_read`] and [`Rebuild::supply`] in turn until nothing is wanted.
#[derive(Debug)]
pub struct Rebuild {
    options: LogOptions,
    base: SegmentBase,
    /// The log begins here: there is no index before.
    start: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Log(Box<Recovery>),
    /// The first page of an earlier index.
    Header(Box<Made>, SegmentBase),
    /// Its directory.
    Directory(Box<Made>, Header),
    Done(Box<Made>),
}

/// The segment as it was read.
#[derive(Debug)]
struct Made {
    sealed: Sealed,
    queues: QueueTable,
    keys: KeyIndex,
    /// Queues whose run before is not known yet.
    open: usize,
}

/// Nobody: the records were told when they were new.
struct Nobody;

impl Visitor for Nobody {
    fn message(&mut self, _: Position, _: &RecordRef<'_>) {}

    fn own(&mut self, _: Position, _: OwnRecord<'_>) -> Result<(), Malformed> {
        Ok(())
    }
}

impl Rebuild {
    /// Begins with the full segment at `base` of a log that begins at `start`.
    ///
    /// # Errors
    /// There can be no such segment.
    pub fn new(options: LogOptions, start: u64, base: SegmentBase) -> Result<Self, RebuildError> {
        // Whatever start wrote it is an earlier one.
        let options = LogOptions { epoch: u32::MAX, ..options };
        let segment = FoundFile { base, len: options.layout.segment_size() };
        // The log begins with it, as far as this recovery knows.
        let checkpoint = Checkpoint {
            shard: options.layout.shard().0,
            sequence: 0,
            covered: Position(0),
            written_ms: 0,
            epoch: 0,
            start: base,
            times: Vec::new(),
            queues: QueueMarks::default(),
            sections: Vec::new(),
        };
        let found = Found { segments: vec![segment], checkpoint: Some(checkpoint), ..Found::default() };
        let recovery = Recovery::new(options, found).map_err(RebuildError::Log)?;
        Ok(Rebuild { options, base, start, stage: Stage::Log(Box::new(recovery)) })
    }

    /// The segment whose index it is.
    pub fn base(&self) -> SegmentBase {
        self.base
    }

    /// What to read next; `None` when nothing more is needed.
    pub fn next_read(&self) -> Option<ReadRange> {
        match &self.stage {
            Stage::Log(recovery) => recovery.next_read(),
            Stage::Header(_, base) => Some(ReadRange { file: RangeOf::Index(*base), offset: 0, len: PAGE as u64 }),
            Stage::Directory(_, header) => Some(header.directory_range()),
            Stage::Done(_) => None,
        }
    }

    /// Takes the bytes of [`Rebuild::next_read`].
    ///
    /// # Errors
    /// The segment, or an index before it, is damaged.
    pub fn supply(&mut self, bytes: &[u8]) -> Result<(), RebuildError> {
        match &mut self.stage {
            Stage::Log(recovery) => {
                recovery.supply(bytes, &mut Nobody).map_err(RebuildError::Log)?;
                if recovery.next_read().is_none() {
                    let made = self.log_read()?;
                    self.look_back(made, self.base);
                }
            }
            Stage::Header(_, base) => {
                let base = *base;
                let header = Header::read(bytes, &self.options.layout, base).ok_or(RebuildError::Before(base))?;
                self.replace(|stage| match stage {
                    Stage::Header(made, _) => Stage::Directory(made, header),
                    other => other,
                });
            }
            Stage::Directory(made, header) => {
                let base = header.base;
                let directory = Directory::read(header, bytes).ok_or(RebuildError::Before(base))?;
                made.follow(&directory);
                let made = std::mem::replace(made, Made::nothing(&self.options));
                self.look_back(made, base);
            }
            Stage::Done(_) => {}
        }
        Ok(())
    }

    fn replace(&mut self, with: impl FnOnce(Stage) -> Stage) {
        let nothing = Stage::Done(Made::nothing(&self.options));
        self.stage = with(std::mem::replace(&mut self.stage, nothing));
    }

    /// The segment was read to its end.
    fn log_read(&mut self) -> Result<Box<Made>, RebuildError> {
        let nothing = Stage::Done(Made::nothing(&self.options));
        let Stage::Log(recovery) = std::mem::replace(&mut self.stage, nothing) else { unreachable!("asked above") };
        let Recovered { mut log, queues, keys, .. } = recovery.finish();
        // A full segment ends in a frame that says so: it is not the end of the log.
        let missing = RebuildError::Log(RecoveryError::Missing { base: self.base });
        let sealed = log.take_sealed().ok_or(missing)?;
        let open = queues.iter().filter(|(_, _, queue)| queue.resident_from() > 0 && !queue.is_empty()).count();
        Ok(Box::new(Made { sealed, queues, keys, open }))
    }

    /// Goes on in the index before the one at `base`, if that may say more.
    fn look_back(&mut self, made: Box<Made>, base: SegmentBase) {
        let before = base.0.checked_sub(self.options.layout.segment_size()).filter(|before| *before >= self.start);
        self.stage = match before {
            Some(before) if made.open > 0 => Stage::Header(made, SegmentBase(before)),
            _ => Stage::Done(made),
        };
    }

    /// What was read, to make the file from.
    ///
    /// # Panics
    /// If there is still something to read.
    pub fn into_build(self) -> Rebuilding {
        let Stage::Done(made) = self.stage else { panic!("the segment is not read yet") };
        let Made { sealed, queues, keys, open: _ } = *made;
        Rebuilding { build: IndexBuild::new(&self.options.layout, sealed), queues, keys }
    }

    /// The whole file.
    ///
    /// # Panics
    /// If there is still something to read.
    pub fn finish(self) -> Vec<u8> {
        let mut rebuilding = self.into_build();
        while !rebuilding.step() {}
        rebuilding.finish()
    }
}

/// An index being made again out of a segment that was read.
#[derive(Debug)]
pub struct Rebuilding {
    build: IndexBuild,
    queues: QueueTable,
    keys: KeyIndex,
}

impl Rebuilding {
    /// Does a bounded part. Returns whether all is done.
    pub fn step(&mut self) -> bool {
        self.build.step(&mut self.queues, &mut self.keys)
    }

    /// The whole file, once [`Rebuilding::step`] said that all is done.
    pub fn finish(self) -> Vec<u8> {
        self.build.finish().expect("nobody else indexes this table").bytes
    }
}

impl Made {
    fn nothing(options: &LogOptions) -> Box<Made> {
        let layout = &options.layout;
        let sealed = super::segment::Active::new(layout, SegmentBase(0)).seal(0, 0);
        Box::new(Made { sealed, queues: QueueTable::new(), keys: KeyIndex::new(*layout), open: 0 })
    }

    /// Takes the runs before from an earlier index.
    fn follow(&mut self, directory: &Directory) {
        for row in directory.rows() {
            let Some(slot) = self.queues.find(row.topic, row.queue) else { continue };
            let queue = &mut self.queues[slot];
            if queue.newest_run().is_none() && !queue.is_empty() && row.run.end() == queue.resident_from() {
                queue.follow(row.run, row.span_ms);
                self.open -= 1;
            }
        }
    }
}
