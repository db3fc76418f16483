//! A snapshot of what the log said up to a position, so that recovery starts there.
//!
//! Owns the file's layout; the store's own section, the queues' offsets, is `queue_marks.rs`'s. The other sections are bytes that
//! their owners made (topics, groups, consumer offsets). A checkpoint may be written only when all it covers is durable; whoever writes
//! it waits for that.

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

pub use super::queue_marks::{QueueMark, QueueMarks};
use crate::store::limits::POSITION_END;
use crate::store::log::CommitLog;
use crate::store::segment::SegmentBase;

const MAGIC: &[u8; 4] = b"RMQC";
const VERSION: u16 = 1;
pub(super) const HEADER: usize = 64;
pub(super) const SECTION_HEADER: usize = 8;
const HEADER_CRC_AT: usize = 4;
const BODY_CRC_AT: usize = 8;

/// Kind of the section with the queues' offsets, the first.
pub(super) const QUEUES: u16 = 1;

/// Kind of the section with the segments' times.
const SEGMENTS: u16 = 2;

/// Kinds from here on belong to others.
pub const FIRST_FREE_SECTION: u16 = 16;

/// Part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub kind: u16,
    pub bytes: Vec<u8>,
}

/// What the log said up to `covered`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub shard: u16,
    /// One more than that of the checkpoint before.
    pub sequence: u64,
    /// Records below are reflected. Write it when the log is durable up to here.
    pub covered: Position,
    pub written_ms: i64,
    pub epoch: u32,
    /// The first segment that is still read; what lies below has expired.
    pub start: SegmentBase,
    /// Latest store time of each segment from `start` on, ms; the last is the active one's. Never falls.
    pub times: Vec<i64>,
    pub queues: QueueMarks,
    /// Sections of other owners.
    pub sections: Vec<Section>,
}

impl Checkpoint {
    /// The state as of the log's end. It may go to disk when `log.durable() >= covered`, not earlier; if the queues were walked over
    /// in steps after that, when all is durable that was appended until the last.
    pub fn capture(log: &CommitLog, queues: QueueMarks, sequence: u64, wall_ms: i64, sections: Vec<Section>) -> Self {
        assert!(sections.iter().all(|section| section.kind >= FIRST_FREE_SECTION));
        Checkpoint {
            shard: log.layout().shard().0,
            sequence,
            covered: log.appended(),
            written_ms: wall_ms,
            epoch: log.epoch(),
            start: log.start(),
            times: log.latest_times(),
            queues,
            sections,
        }
    }

    /// What a new shard's directory begins with, so that one whose content is gone is not taken for new.
    pub fn of_nothing(shard: u16, wall_ms: i64) -> Self {
        Checkpoint {
            shard,
            sequence: 0,
            covered: Position(0),
            written_ms: wall_ms,
            epoch: 0,
            start: SegmentBase(0),
            times: Vec::new(),
            queues: QueueMarks::default(),
            sections: Vec::new(),
        }
    }

    /// `checkpoint-0` or `checkpoint-1`: never the file of the one before.
    pub fn file_name(&self) -> &'static str {
        FILE_NAMES[(self.sequence % 2) as usize]
    }

    /// The section of that kind, if there is one.
    pub fn section(&self, kind: u16) -> Option<&[u8]> {
        self.sections.iter().find(|section| section.kind == kind).map(|section| section.bytes.as_slice())
    }

    /// The whole file. Takes a moment with a million queues.
    pub fn into_file(self) -> Vec<u8> {
        let Checkpoint { shard, sequence, covered, written_ms, epoch, start, times, queues, sections } = self;
        let mut out = queues.into_file();
        put_section(&mut out, SEGMENTS, &encode_times(&times));
        for Section { kind, bytes } in &sections {
            put_section(&mut out, *kind, bytes);
        }
        let body_crc = crc32c::crc32c(&out[HEADER..]);
        let body_len = (out.len() - HEADER) as u64;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&body_crc.to_be_bytes());
        header.extend_from_slice(&VERSION.to_be_bytes());
        header.extend_from_slice(&shard.to_be_bytes());
        header.extend_from_slice(&sequence.to_be_bytes());
        header.extend_from_slice(&covered.0.to_be_bytes());
        header.extend_from_slice(&body_len.to_be_bytes());
        header.extend_from_slice(&written_ms.to_be_bytes());
        header.extend_from_slice(&epoch.to_be_bytes());
        header.extend_from_slice(&(sections.len() as u32 + 2).to_be_bytes());
        header.extend_from_slice(&start.0.to_be_bytes());
        out[..HEADER].copy_from_slice(&header);
        let crc = crc32c::crc32c(&out[BODY_CRC_AT..HEADER]);
        out[HEADER_CRC_AT..BODY_CRC_AT].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// A copy of it as a file.
    pub fn encode(&self) -> Vec<u8> {
        self.clone().into_file()
    }

    /// Which checkpoint a file that begins with these bytes says to be; `None` if it is none. A whole file may still be none.
    pub fn sequence_of(beginning: &[u8]) -> Option<u64> {
        let header = beginning.get(..HEADER)?;
        let mut from = Reader::new(header);
        let intact = from.take(4)? == MAGIC && from.i32()? as u32 == crc32c::crc32c(&header[BODY_CRC_AT..]);
        from.take(8)?;
        Some(from.i64()? as u64).filter(|_| intact)
    }

    /// A whole and intact file, or `None`: then the other one, or the log, must do.
    pub fn decode(file: &[u8]) -> Option<Checkpoint> {
        Self::from_file(file.to_vec())
    }

    /// As [`Checkpoint::decode`]; keeps the file's bytes instead of a copy, there may be tens of megabytes.
    pub fn from_file(mut file: Vec<u8>) -> Option<Checkpoint> {
        let mut from = Reader::new(file.get(..HEADER)?);
        if from.take(4)? != MAGIC || from.i32()? as u32 != crc32c::crc32c(&file[BODY_CRC_AT..HEADER]) {
            return None;
        }
        let body_crc = from.i32()? as u32;
        let version = from.i16()? as u16;
        let shard = from.i16()? as u16;
        // The next one's number must be one, too.
        let sequence = Some(from.i64()? as u64).filter(|sequence| *sequence < u64::MAX / 2)?;
        let covered = Some(Position(from.i64()? as u64)).filter(|covered| covered.0 <= POSITION_END)?;
        let body_len = usize::try_from(from.i64()?).ok()?;
        let written_ms = from.i64()?;
        let epoch = from.i32()? as u32;
        let count = from.i32()? as u32;
        let start = Some(SegmentBase(from.i64()? as u64)).filter(|start| start.0 <= covered.0)?;
        let body = file.get(HEADER..HEADER.checked_add(body_len)?)?;
        if version != VERSION || crc32c::crc32c(body) != body_crc {
            return None;
        }
        let mut from = Reader::new(body);
        let (mut marks_end, mut times, mut sections) = (None, Vec::new(), Vec::new());
        for number in 0..count {
            let kind = from.i16()? as u16;
            from.i16()?;
            let bytes = from.counted_i32()?;
            match (kind, number) {
                (QUEUES, 0) => marks_end = Some(HEADER + SECTION_HEADER + bytes.len()),
                (QUEUES, _) => return None,
                (SEGMENTS, _) => times = decode_times(bytes)?,
                _ => sections.push(Section { kind, bytes: bytes.to_vec() }),
            }
        }
        from.is_empty().then_some(())?;
        file.truncate(marks_end?);
        let queues = QueueMarks::from_file(file)?;
        Some(Checkpoint { shard, sequence, covered, written_ms, epoch, start, times, queues, sections })
    }

    /// The newer of the intact ones among the two files' contents.
    pub fn newest(files: [Option<&[u8]>; 2]) -> Option<Checkpoint> {
        files.into_iter().flatten().filter_map(Checkpoint::decode).max_by_key(|checkpoint| checkpoint.sequence)
    }
}

/// The two files, written alternately.
pub const FILE_NAMES: [&str; 2] = ["checkpoint-0", "checkpoint-1"];

fn put_section(out: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    out.extend_from_slice(&section_header(kind, bytes.len()));
    out.extend_from_slice(bytes);
}

pub(super) fn section_header(kind: u16, len: usize) -> [u8; SECTION_HEADER] {
    let mut header = [0; SECTION_HEADER];
    header[..2].copy_from_slice(&kind.to_be_bytes());
    header[4..].copy_from_slice(&i32::try_from(len).expect("a section is below 2 GiB").to_be_bytes());
    header
}

fn encode_times(times: &[i64]) -> Vec<u8> {
    let mut out = (times.len() as u32).to_be_bytes().to_vec();
    times.iter().for_each(|ms| out.extend_from_slice(&ms.to_be_bytes()));
    out
}

fn decode_times(bytes: &[u8]) -> Option<Vec<i64>> {
    let mut from = Reader::new(bytes);
    let count = from.i32()? as u32;
    let times: Vec<i64> = (0..count).map(|_| from.i64()).collect::<Option<_>>()?;
    (from.is_empty() && times.is_sorted()).then_some(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::incarnation::Incarnation;
    use crate::store::index::consume_queue::ConsumeQueue;
    use crate::store::index::lives::Life;
    use crate::store::index::queue_table::QueueTable;
    use crate::store::index::runs::RunRef;
    use proptest::prelude::*;

    fn checkpoint(sequence: u64) -> Checkpoint {
        let mut table = QueueTable::new();
        table.begin_at(0, 1 << 20);
        let run = RunRef { base: SegmentBase(4096), unit: 3, first: 9, count: 61, first_ms: -5 };
        let life = |topic, number| Life { topic, incarnation: Incarnation(number), begun: Position(number * 2) };
        table.restore(&life("orders", 40), 3, ConsumeQueue::sealed(7, 44, Some((run, 6))), 4096);
        table.restore(&life("orders", 40), 4, ConsumeQueue::sealed(2, 0, None), 0);
        table.begin("begun", Incarnation(70), Position(140));
        table.restore(&life("x", 0), 0, ConsumeQueue::starting_at(5), 0);
        table.open("never written", 0);
        Checkpoint {
            shard: 2,
            sequence,
            covered: Position(223_456),
            written_ms: 5,
            epoch: 9,
            start: SegmentBase(65_536),
            times: vec![-1, 5, 5],
            queues: QueueMarks::of(&table),
            sections: vec![Section { kind: 16, bytes: b"topics".to_vec() }, Section { kind: 17, bytes: Vec::new() }],
        }
    }

    #[test]
    fn the_newer_intact_one_counts() {
        let (old, new) = (checkpoint(4), checkpoint(5));
        let (old_file, new_file) = (old.encode(), new.encode());
        assert_ne!(old.file_name(), new.file_name());
        assert_eq!(Checkpoint::newest([Some(&old_file), Some(&new_file)]).as_ref(), Some(&new));
        assert_eq!(Checkpoint::newest([Some(&old_file), Some(&new_file[..80])]).as_ref(), Some(&old));
        assert_eq!(Checkpoint::newest([None, Some(b"")]), None);
        assert_eq!(new.section(16), Some(&b"topics"[..]));
        let sequences = [&old_file[..], &new_file[..80], &new_file[..50]].map(Checkpoint::sequence_of);
        assert_eq!(sequences, [Some(4), Some(5), None]);
    }

    #[test]
    fn marks_come_back() {
        let marks = Checkpoint::decode(&checkpoint(1).encode()).expect("intact").queues;
        let rows: Vec<_> =
            marks.iter().map(|mark| (mark.life.topic, mark.queue, mark.min, mark.max, mark.born)).collect();
        assert_eq!(rows, [("orders", 3, 7, 70, 44), ("orders", 4, 2, 2, 0), ("x", 0, 5, 5, 0)]);
        let lives: Vec<_> = marks.lives().map(|life| (life.topic, life.incarnation.0, life.begun.0)).collect();
        assert_eq!(lives, [("orders", 40, 80), ("begun", 70, 140), ("x", 0, 0)]);
        let run = RunRef { base: SegmentBase(4096), unit: 3, first: 9, count: 61, first_ms: -5 };
        assert_eq!(marks.iter().filter_map(|mark| mark.run).collect::<Vec<_>>(), [(run, 6)]);
        assert_eq!(marks.iter().map(|mark| mark.floor).collect::<Vec<_>>(), [4096, 0, 0]);
    }

    #[test]
    fn a_number_without_a_next_one_is_damage() {
        assert_eq!(Checkpoint::decode(&checkpoint(u64::MAX).encode()), None);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_seen(at: prop::sample::Index, bit in 0u8..8) {
            let mut file = checkpoint(1).encode();
            let at = at.index(file.len());
            file[at] ^= 1u8 << bit;
            prop_assert_eq!(Checkpoint::decode(&file), None);
        }

        #[test]
        fn garbage_is_not_a_checkpoint(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Checkpoint::decode(&bytes), None);
        }
    }
}
