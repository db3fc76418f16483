//! The queues' offsets as a checkpoint has them: a row per queue, so that a start reads no index of a full segment.
//!
//! Owns the layout of that section (`docs/storage-format.md`, section 6), and what a row says of a queue that has changed since.
//! Which queues are written when is `index/walk.rs`'s to say.

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

use super::checkpoint::{HEADER, QUEUES, SECTION_HEADER, section_header};
use crate::store::incarnation::Incarnation;
use crate::store::index::consume_queue::ConsumeQueue;
use crate::store::index::lives::Life;
use crate::store::index::queue_table::QueueTable;
use crate::store::index::runs::RunRef;
use crate::store::index::walk::MarksWalk;
use crate::store::limits::{BLOCK, TOPIC_NAME_MAX};
use crate::store::segment::SegmentBase;

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
    /// Those of a table as it is, all at once.
    pub fn of(table: &QueueTable) -> Self {
        let mut walk = MarksWalk::begin(table, u64::MAX);
        while !walk.step(table, usize::MAX) {}
        walk.finish()
    }

    /// None yet.
    pub(crate) fn none(indexed_to: u64) -> Self {
        QueueMarks { indexed_to, ..QueueMarks::default() }
    }

    /// Puts a group of the topic listed at `number`, if it has a life: its queues from number `from` on, as they were when the log
    /// ended at `end`. After `looks` queues the number to go on with comes back; a topic may have several groups.
    pub(crate) fn put_topic(
        &mut self,
        table: &QueueTable,
        number: usize,
        from: u32,
        end: u64,
        looks: &mut usize,
    ) -> Option<u32> {
        // One that begins later was not there.
        let life = table.nth_life(number).filter(|life| life.incarnation.is_none() || life.begun.0 < end)?;
        let begin = self.bytes.len();
        put_life(&mut self.bytes, &life);
        let count_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let (mut count, mut after, mut next) = (0u32, 0, None);
        for (topic, queue, state) in table.nth_topic(number).skip_while(|(_, queue, _)| *queue < from) {
            if *looks == 0 {
                next = Some(queue);
                break;
            }
            *looks -= 1;
            let max = state.max_at(end);
            if max > 0 {
                put_mark(&mut self.bytes, after, queue, (state, max), table.floor(topic, queue));
                (count, after) = (count + 1, queue);
            }
        }
        if count == 0 && (life.incarnation.is_none() || next.is_some()) {
            // Readers have asked for it, nothing more; or the next group says that there is the topic.
            self.bytes.truncate(begin);
        } else {
            self.bytes[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        }
        next
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
    pub(super) fn into_file(self) -> Vec<u8> {
        let QueueMarks { indexed_to, bytes: mut out } = self;
        let section = out.len() - HEADER - SECTION_HEADER;
        out[HEADER..][..SECTION_HEADER].copy_from_slice(&section_header(QUEUES, section));
        out[ROOM - 8..ROOM].copy_from_slice(&indexed_to.to_be_bytes());
        out
    }

    /// From a file's bytes up to the end of this section, which is the first; `None` if a mark cannot be one.
    pub(super) fn from_file(mut bytes: Vec<u8>) -> Option<Self> {
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
fn put_mark(out: &mut Vec<u8>, after: u32, queue: u32, (state, max): (&ConsumeQueue, u64), floor: u64) {
    let run = state.newest_run();
    out.push(u8::from(run.is_some()) * WITH_RUN + u8::from(floor > 0) * WITH_FLOOR);
    let min = state.min().min(max);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::limits::POSITION_END;

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
}
