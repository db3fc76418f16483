//! Recovery of directories that are empty, cleanly stopped, incomplete, foreign or garbage.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringmq_protocol::record::RecordRef;

use super::*;
use crate::event::ShardId;
use crate::store::checkpoint::QueueMarks;
use crate::store::segment::Layout;
use crate::store::{OwnKind, OwnRecord, Urge};

const SEGMENT: u64 = 64 * 1024;

/// A shard's directory.
#[derive(Debug, Clone, Default)]
struct Directory {
    segments: BTreeMap<u64, Vec<u8>>,
    indexes: BTreeMap<u64, Vec<u8>>,
    partials: BTreeMap<u64, Vec<u8>>,
    checkpoint: Option<Checkpoint>,
}

/// Payload lengths of the own records it was told.
#[derive(Default)]
struct Told(Vec<usize>);

impl Visitor for Told {
    fn message(&mut self, _: Position, _: &RecordRef<'_>) {}

    fn own(&mut self, _: Position, record: OwnRecord<'_>) -> Result<(), Malformed> {
        if record.kind == OwnKind::SettingPut {
            return Err(Malformed);
        }
        self.0.push(record.payload.len());
        Ok(())
    }
}

fn options(shard: u16, epoch: u32) -> LogOptions {
    LogOptions::new(Layout::new(ShardId(shard), SEGMENT).expect("a good size"), epoch)
}

impl Directory {
    /// Appends own records with payloads of these lengths and makes them durable, one commit each.
    fn append(&mut self, log: &mut CommitLog, kind: OwnKind, lens: &[usize]) {
        for len in lens {
            let payload = vec![7; *len];
            let record = OwnRecord { kind, payload: &payload };
            log.append(0, record.size(), |_, out| record.encode(out)).expect("room");
            while log.durable() < log.appended() {
                while let Some(base) = log.wanted_segment() {
                    self.segments.entry(base.0).or_default().resize(SEGMENT as usize, 0);
                    log.segment_ready(base);
                }
                let plan = log.next_write(Urge::Sync).expect("something waits");
                let mut bytes = vec![0; plan.len];
                log.copy_plan(&plan, &mut bytes);
                let file = self.segments.get_mut(&plan.segment.0).expect("it was wanted");
                file[plan.file_offset as usize..][..plan.len].copy_from_slice(&bytes);
                log.complete(plan.seq, Ok(())).expect("memory does not fail");
            }
        }
    }

    /// A directory of shard 0's first start with these own records.
    fn with(lens: &[usize]) -> (Directory, CommitLog) {
        let (mut directory, mut log) = (Directory::default(), CommitLog::new(options(0, 1)));
        directory.append(&mut log, OwnKind::OffsetBatch, lens);
        (directory, log)
    }

    fn recover(&self, options: LogOptions) -> Result<(Recovered, Vec<usize>), RecoveryError> {
        let file = |(base, bytes): (&u64, &Vec<u8>)| FoundFile { base: SegmentBase(*base), len: bytes.len() as u64 };
        let found = Found {
            segments: self.segments.iter().map(file).collect(),
            indexes: self.indexes.iter().map(file).collect(),
            partials: self.partials.iter().map(file).collect(),
            checkpoint: self.checkpoint.clone(),
        };
        let mut recovery = Recovery::new(options, found)?;
        let mut told = Told::default();
        let mut reads = 0;
        while let Some(range) = recovery.next_read() {
            reads += 1;
            assert!(reads < 10_000, "recovery goes round in circles");
            let bytes = match range.file {
                RangeOf::Log(base) => &self.segments[&base.0],
                RangeOf::Index(base) => &self.indexes[&base.0],
                RangeOf::Partial(base) => &self.partials[&base.0],
            };
            recovery.supply(&bytes[range.offset as usize..][..range.len as usize], &mut told)?;
        }
        Ok((recovery.finish(), told.0))
    }
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let (found, told) = Directory::default().recover(options(0, 1)).expect("nothing is wrong");
    assert_eq!((found.log.appended(), told.len(), found.queues.len()), (Position(0), 0, 0));
    let mut log = found.log;
    assert_eq!(log.wanted_segment(), Some(SegmentBase(0)));
    let mut directory = Directory::default();
    directory.segments.insert(0, vec![0; 100]); // Its making was interrupted.
    let (found, _) = directory.recover(options(0, 1)).expect("nothing is wrong");
    let mut log = found.log;
    assert_eq!(log.wanted_segment(), Some(SegmentBase(0)), "it must be made whole");
}

#[test]
fn a_clean_stop_is_found_as_it_was_left() {
    let (mut directory, mut log) = Directory::with(&[10, 20_000, 50_000, 30]);
    directory.checkpoint = Some(Checkpoint::capture(&log, QueueMarks::default(), 1, 0, Vec::new()));
    directory.append(&mut log, OwnKind::OffsetBatch, &[40, 50]);
    let end = log.appended();
    let (found, told) = directory.recover(options(0, 2)).expect("nothing is wrong");
    assert_eq!((found.log.appended(), told), (end, vec![40, 50]), "what the checkpoint covers is not told again");
    let mut log = found.log;
    directory.append(&mut log, OwnKind::OffsetBatch, &[60]);
    let (_, told) = directory.recover(options(0, 3)).expect("nothing is wrong");
    assert_eq!(told, vec![40, 50, 60]);
    directory.checkpoint = None;
    let (_, told) = directory.recover(options(0, 3)).expect("nothing is wrong");
    assert_eq!(told, vec![10, 20_000, 50_000, 30, 40, 50, 60], "without a checkpoint the log tells all");
}

#[test]
fn what_is_missing_is_said() {
    let (mut directory, log) = Directory::with(&[50_000, 50_000, 50_000]);
    directory.checkpoint = Some(Checkpoint::capture(&log, QueueMarks::default(), 1, 0, Vec::new()));
    let mut lost = directory.clone();
    lost.segments.remove(&SEGMENT);
    assert_eq!(lost.recover(options(0, 2)).err(), Some(RecoveryError::Missing { base: SegmentBase(SEGMENT) }));
    let mut lost = directory.clone();
    lost.segments.remove(&(3 * SEGMENT));
    lost.segments.remove(&(2 * SEGMENT));
    assert_eq!(lost.recover(options(0, 2)).err(), Some(RecoveryError::Missing { base: SegmentBase(2 * SEGMENT) }));
    let mut cut = directory.clone();
    cut.segments.get_mut(&(2 * SEGMENT)).expect("it is there").truncate(1000);
    assert!(matches!(cut.recover(options(0, 2)), Err(RecoveryError::Corrupt { segment: SegmentBase(131_072), .. })));
    let mut odd = directory.clone();
    odd.segments.insert(77, Vec::new());
    assert_eq!(odd.recover(options(0, 2)).err(), Some(RecoveryError::Misplaced { base: SegmentBase(77) }));
    let mut far = directory;
    far.segments.insert(u64::MAX - SEGMENT + 1, Vec::new());
    assert!(matches!(far.recover(options(0, 2)), Err(RecoveryError::Misplaced { .. })));
}

#[test]
fn what_is_foreign_is_said() {
    let (mut directory, mut log) = Directory::with(&[100]);
    let why = |result: Result<(Recovered, Vec<usize>), RecoveryError>| match result.err() {
        Some(RecoveryError::Corrupt { file_offset, why, .. }) => Some((file_offset, why)),
        _ => None,
    };
    assert_eq!(why(directory.recover(options(4, 2))), Some((0, Why::OtherShard { shard: 0 })));
    assert_eq!(why(directory.recover(options(0, 1))), Some((0, Why::FutureEpoch { epoch: 1 })));
    let other = LogOptions { seed: 99, ..options(0, 2) };
    let (found, told) = directory.recover(other).expect("frames of another directory are no frames");
    assert_eq!((found.log.appended(), told.len()), (Position(0), 0));
    directory.append(&mut log, OwnKind::SettingPut, &[5]);
    let (at, reason) = why(directory.recover(options(0, 2))).expect("its owner does not understand it");
    assert!(matches!(reason, Why::Record { .. }) && at > 0);
}

#[test]
fn damage_before_a_checkpoint_is_not_the_end() {
    let (mut directory, log) = Directory::with(&[100, 100]);
    directory.checkpoint = Some(Checkpoint::capture(&log, QueueMarks::default(), 1, 0, Vec::new()));
    let last = log.appended().0 as usize - 1;
    directory.segments.get_mut(&0).expect("it is there")[last] ^= 1;
    let error = directory.recover(options(0, 2)).expect_err("it was durable");
    assert_eq!(
        error.to_string(),
        "00000000000000000000.log is damaged at byte 156: no valid frame, but the log was durable up to 312"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A frame with a right checksum over anything at all: it is taken or reported, never a panic.
    #[test]
    fn no_record_makes_it_panic(
        pieces in proptest::collection::vec((any::<u16>(), 0usize..4, proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()), 1..6),
        records in 1u32..6,
    ) {
        let mut payload = Vec::new();
        for (size, magic, bytes, honest) in &pieces {
            let size = if *honest { bytes.len() as u32 + 8 } else { u32::from(*size) };
            payload.extend_from_slice(&size.to_be_bytes());
            let magics = [0xdaa3_20a7, 0xdaa3_20ab, crate::store::own_record::MAGIC, 7];
            payload.extend_from_slice(&magics[*magic].to_be_bytes());
            payload.extend_from_slice(bytes);
        }
        let header = crate::store::frame::FrameHeader {
            length: payload.len() as u32,
            shard: 0,
            kind: crate::store::frame::FrameKind::Records,
            position: 0,
            durable: 0,
            epoch: 1,
            records,
        };
        let mut file = header.seal(0, std::iter::once(payload.as_slice())).to_vec();
        file.extend_from_slice(&payload);
        file.resize(SEGMENT as usize, 0);
        let directory = Directory { segments: BTreeMap::from([(0, file)]), ..Directory::default() };
        if let Err(error) = directory.recover(options(0, 2)) {
            let reported = matches!(error, RecoveryError::Corrupt { why: Why::Record { .. } | Why::QueueGap { .. }, .. });
            prop_assert!(reported, "{}", error);
        }
    }

    /// Whatever the disk does to a directory, recovery ends, and what it tells is a prefix of what was written.
    #[test]
    fn no_garbage_makes_it_panic(
        lens in proptest::collection::vec(1usize..30_000, 1..12),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), proptest::collection::vec(any::<u8>(), 1..3000)), 0..4),
        cut in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
        covered in any::<bool>(),
    ) {
        let (mut directory, log) = Directory::with(&lens);
        if covered {
            directory.checkpoint = Some(Checkpoint::capture(&log, QueueMarks::default(), 1, 0, Vec::new()));
        }
        for (which, at, bytes) in damage {
            let file = directory.segments.values_mut().nth(which.index(log.appended().0 as usize / SEGMENT as usize + 1));
            let file = file.expect("the log reaches into it");
            let at = at.index(file.len());
            let len = bytes.len().min(file.len() - at);
            file[at..at + len].copy_from_slice(&bytes[..len]);
        }
        if let Some((which, len)) = cut {
            let count = directory.segments.len();
            let file = directory.segments.values_mut().nth(which.index(count)).expect("it was counted");
            file.truncate(len.index(SEGMENT as usize));
        }
        if let Ok((found, told)) = directory.recover(options(0, 2)) {
            prop_assert!(covered && told.is_empty() || lens.starts_with(&told));
            prop_assert!(found.log.appended() <= log.appended());
        }
    }
}
