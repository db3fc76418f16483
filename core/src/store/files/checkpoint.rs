//! A snapshot of what the log said up to a position, so that recovery starts there.
//!
//! Owns the file's layout and the store's own section, the queues' offsets. The other sections are bytes that their owners
//! made (topics, groups, consumer offsets). A checkpoint may be written only when all it covers is durable; whoever writes
//! it waits for that.

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

use crate::store::incarnation::Incarnation;
use crate::store::index::consume_queue::ConsumeQueue;
use crate::store::index::lives::Life;
use crate::store::index::queue_table::QueueTable;
use crate::store::index::runs::RunRef;
use crate::store::limits::{BLOCK, POSITION_END, TOPIC_NAME_MAX};
use crate::store::log::CommitLog;
use crate::store::segment::SegmentBase;

const MAGIC: &[u8; 4] = b"RMQC";
const VERSION: u16 = 1;
const HEADER: usize = 64;
const SECTION_HEADER: usize = 8;
const HEADER_CRC_AT: usize = 4;
const BODY_CRC_AT: usize = 8;

/// Kind of the section with the queues' offsets.
const QUEUES: u16 = 1;

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

/// What is kept of a queue, so that a start reads no index of a full segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueMark<'a> {
    pub life: Life<'a>,
    pub queue: u32,
    pub min: u64,
    pub max: u64,
    /// Position of the message with offset 0; 0 when it is not known.
    pub born: u64,
    /// Its newest run in an index on disk, and the time of that run's last entry after its first.
    pub run: Option<(RunRef, u32)>,
    /// Messages below this position are not shown, though `min` does not say so yet; 0 without.
    pub floor: u64,
}

/// Flags of a mark: what follows.
const WITH_RUN: u8 = 1;
const WITH_FLOOR: u8 = 2;

/// The lives of all topics, and the marks of their queues that ever had a message, as the section's bytes: there may be a
/// million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMarks {
    /// Indexes of all segments below this are in place; the runs are in them.
    pub indexed_to: u64,
    /// Room for what stands before them in the file, then the groups: with a million queues nothing is copied to write it.
    bytes: Vec<u8>,
}

/// Header of the file, header of the section, `indexed_to`.
const ROOM: usize = HEADER + SECTION_HEADER + 8;

impl Default for QueueMarks {
    fn default() -> Self {
        QueueMarks { indexed_to: 0, bytes: vec![0; ROOM] }
    }
}

impl QueueMarks {
    /// Those of a table as it is.
    pub fn of(table: &QueueTable) -> Self {
        let mut bytes = vec![0; ROOM];
        for number in 0..table.topic_numbers() {
            let Some(life) = table.nth_life(number) else { continue };
            let begin = bytes.len();
            put_life(&mut bytes, &life);
            let count_at = bytes.len();
            bytes.extend_from_slice(&[0; 4]);
            let (mut count, mut after) = (0u32, 0);
            for (topic, queue, state) in table.nth_topic(number).filter(|(_, _, queue)| queue.max() > 0) {
                put_mark(&mut bytes, after, queue, state, table.floor(topic, queue));
                (count, after) = (count + 1, queue);
            }
            if count == 0 && life.incarnation.is_none() {
                // Readers have asked for it, nothing more.
                bytes.truncate(begin);
                continue;
            }
            bytes[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        }
        QueueMarks { indexed_to: table.indexed_to(), bytes }
    }

    /// All of them, by topic.
    pub fn iter(&self) -> impl Iterator<Item = QueueMark<'_>> + '_ {
        let mut from = Reader::new(&self.bytes[ROOM..]);
        let mut life = None;
        let (mut left, mut after) = (0, 0);
        std::iter::from_fn(move || {
            while left == 0 {
                life = Some(take_life(&mut from)?);
                (left, after) = (from.i32()? as u32, 0);
            }
            left -= 1;
            let mark = take_mark(&mut from, life?, after)?;
            after = mark.queue;
            Some(mark)
        })
    }

    /// The topics.
    pub fn lives(&self) -> impl Iterator<Item = Life<'_>> + '_ {
        let mut from = Reader::new(&self.bytes[ROOM..]);
        std::iter::from_fn(move || {
            let life = take_life(&mut from)?;
            let mut after = 0;
            for _ in 0..from.i32()? as u32 {
                after = take_mark(&mut from, life, after)?.queue;
            }
            Some(life)
        })
    }

    /// The beginning of a file, with the section behind room for the file's header.
    fn into_file(self) -> Vec<u8> {
        let QueueMarks { indexed_to, bytes: mut out } = self;
        let section = out.len() - HEADER - SECTION_HEADER;
        out[HEADER..][..SECTION_HEADER].copy_from_slice(&section_header(QUEUES, section));
        out[ROOM - 8..ROOM].copy_from_slice(&indexed_to.to_be_bytes());
        out
    }

    /// From a file's bytes up to the end of this section, which is the first; `None` if a mark cannot be one.
    fn from_file(mut bytes: Vec<u8>) -> Option<Self> {
        let indexed_to = u64::from_be_bytes(*bytes.get(ROOM - 8..)?.first_chunk()?);
        bytes[..ROOM].fill(0);
        let marks = QueueMarks { indexed_to, bytes };
        let mut from = Reader::new(&marks.bytes[ROOM..]);
        while !from.is_empty() {
            let life = take_life(&mut from)?;
            let mut after = 0;
            for _ in 0..from.i32()? as u32 {
                let mark = take_mark(&mut from, life, after)?;
                after = mark.queue;
                (mark.max <= i64::MAX as u64).then_some(())?;
                mark.run.is_none_or(|(run, _)| run.base.0 < indexed_to).then_some(())?;
            }
        }
        Some(marks)
    }
}

fn put_life(out: &mut Vec<u8>, life: &Life<'_>) {
    let Life { topic, incarnation, begun } = life;
    assert!(topic.len() <= TOPIC_NAME_MAX);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(&incarnation.0.to_be_bytes());
    out.extend_from_slice(&begun.0.to_be_bytes());
}

fn take_life<'a>(from: &mut Reader<'a>) -> Option<Life<'a>> {
    let topic = std::str::from_utf8(from.counted_i16()?).ok()?;
    let (incarnation, begun) = (Incarnation(from.i64()? as u64), Position(from.i64()? as u64));
    Some(Life { topic, incarnation, begun })
}

/// `after` is the number of the queue before in its group, 0 before the first. Small numbers take few bytes: of a million
/// rows each has about 25 bytes instead of 70.
fn put_mark(out: &mut Vec<u8>, after: u32, queue: u32, state: &ConsumeQueue, floor: u64) {
    let run = state.newest_run();
    out.push(u8::from(run.is_some()) * WITH_RUN + u8::from(floor > 0) * WITH_FLOOR);
    let (min, max) = (state.min(), state.max());
    for number in [u64::from(queue - after), min, max - min, state.born()] {
        put_number(out, number);
    }
    if floor > 0 {
        put_number(out, floor);
    }
    if let Some(RunRef { base, unit, first: _, count, first_ms }) = run {
        let behind = max - state.resident_from();
        put_number(out, base.0 / BLOCK);
        for number in [u64::from(unit), u64::from(count), behind] {
            put_number(out, number);
        }
        out.extend_from_slice(&first_ms.to_be_bytes());
        put_number(out, u64::from(state.newest_span()));
    }
}

fn take_mark<'a>(from: &mut Reader<'a>, life: Life<'a>, after: u32) -> Option<QueueMark<'a>> {
    let flags = from.u8()?;
    let queue = after.checked_add(take_small(from)?)?;
    let min = take_number(from)?;
    let max = min.checked_add(take_number(from)?)?;
    let born = take_number(from)?;
    let floor = if flags & WITH_FLOOR > 0 { take_number(from)? } else { 0 };
    let run = match flags & WITH_RUN {
        0 => None,
        _ => {
            let base = SegmentBase(take_number(from)?.checked_mul(BLOCK)?);
            let (unit, count) = (take_small(from)?, take_small(from).filter(|count| *count > 0)?);
            let first = max.checked_sub(take_number(from)?)?.checked_sub(u64::from(count))?;
            Some((RunRef { base, unit, first, count, first_ms: from.i64()? }, take_small(from)?))
        }
    };
    Some(QueueMark { life, queue, min, max, born, run, floor })
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(from: &mut Reader<'_>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = from.u8()?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        (bits << shift >> shift == bits).then_some(())?;
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_small(from: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(take_number(from)?).ok()
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
    /// The state as of the log's end. It may go to disk when `log.durable() >= covered`, not earlier.
    pub fn capture(log: &CommitLog, queues: &QueueTable, sequence: u64, wall_ms: i64, sections: Vec<Section>) -> Self {
        assert!(sections.iter().all(|section| section.kind >= FIRST_FREE_SECTION));
        Checkpoint {
            shard: log.layout().shard().0,
            sequence,
            covered: log.appended(),
            written_ms: wall_ms,
            epoch: log.epoch(),
            start: log.start(),
            times: log.latest_times(),
            queues: QueueMarks::of(queues),
            sections,
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

fn section_header(kind: u16, len: usize) -> [u8; SECTION_HEADER] {
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
    fn numbers_of_any_size_come_back() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, POSITION_END, u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            let mut from = Reader::new(&out);
            assert_eq!((take_number(&mut from), from.is_empty()), (Some(number), true));
            assert_eq!(take_number(&mut Reader::new(&out[..out.len() - 1])), None);
        }
        // More bits than there is room for.
        assert_eq!(take_number(&mut Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02])), None);
        assert_eq!(take_number(&mut Reader::new(&[0x80; 11])), None);
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
