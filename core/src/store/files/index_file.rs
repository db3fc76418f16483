//! The index of one segment on disk: its layout, and what of it is read as a whole.
//!
//! Owns the header, the rows of the directory and the entries (`docs/storage-format.md` section 5). Reading single entries and
//! keys out of single pages is `index/cold.rs`'s and `index/key_index.rs`'s. Everything in it can be rebuilt from the
//! segment, so a damaged one is no loss, only slower.

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

use super::index_page::{CONTENT, PAGE, PageWriter, contents, verified};
use crate::store::incarnation::Incarnation;
use crate::store::index::consume_queue::Entry;
use crate::store::index::key_index::{KeyIndex, SegmentKeys};
use crate::store::index::lives::Life;
use crate::store::index::queue_table::QueueTable;
use crate::store::index::runs::{HEAD_UNITS, Head, RunRef};
use crate::store::limits::{KEY_RUN, TOPIC_NAME_MAX};
use crate::store::range::{RangeOf, ReadRange};
use crate::store::segment::{Layout, SegmentBase};

pub use super::index_build::{Finished, IndexBuild};

const MAGIC: &[u8; 4] = b"RMQI";
const VERSION: u16 = 1;

/// Bytes of a unit: an entry, or a third of a run's head.
pub(crate) const UNIT: usize = 16;

/// Units in a page.
pub(crate) const PAGE_UNITS: u32 = (CONTENT / UNIT) as u32;

/// The page that runs begin in.
pub(crate) const RUNS_PAGE: u32 = 1;

/// Key words in a page.
pub(crate) const PAGE_WORDS: u64 = (CONTENT / 8) as u64;

/// A part of the file that begins with a page: its first page, and bytes of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    pub first: u32,
    pub len: u64,
}

impl Region {
    /// How many pages it takes.
    pub fn pages(&self) -> u64 {
        self.len.div_ceil(CONTENT as u64)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
    }

    fn decode(from: &mut Reader<'_>, pages: u32) -> Option<Region> {
        let region = Region { first: from.i32()? as u32, len: from.i64()? as u64 };
        (u64::from(region.first).checked_add(region.pages())? <= u64::from(pages)).then_some(region)
    }
}

/// What the first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub shard: u16,
    pub base: SegmentBase,
    /// It tells of the segment's positions below this.
    pub covers: u64,
    pub records_end: Position,
    /// Epoch of the last frame it covers, or of a later one.
    pub epoch: u32,
    /// Earliest and latest store time, ms; the other way round if there is no message.
    pub times: (i64, i64),
    pub queues: u32,
    pub begins: u32,
    pub directory: Region,
    pub keys: Region,
    /// Pages of the file.
    pub pages: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Header { shard, base, covers, records_end, epoch, times, queues, begins, directory, keys, pages } = self;
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&shard.to_be_bytes());
        out.extend_from_slice(&base.0.to_be_bytes());
        out.extend_from_slice(&records_end.0.to_be_bytes());
        out.extend_from_slice(&covers.to_be_bytes());
        out.extend_from_slice(&times.0.to_be_bytes());
        out.extend_from_slice(&times.1.to_be_bytes());
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&pages.to_be_bytes());
        out.extend_from_slice(&queues.to_be_bytes());
        out.extend_from_slice(&begins.to_be_bytes());
        directory.encode(&mut out);
        keys.encode(&mut out);
        out
    }

    /// Reads a verified first page's content; `None` if it is not one of this shard's segment at `base`.
    pub(crate) fn decode(content: &[u8], layout: &Layout, base: SegmentBase) -> Option<Header> {
        let mut from = Reader::new(content);
        if from.take(4)? != MAGIC || from.i16()? as u16 != VERSION {
            return None;
        }
        let shard = from.i16()? as u16;
        let named = SegmentBase(from.i64()? as u64);
        let records_end = Position(from.i64()? as u64);
        let covers = from.i64()? as u64;
        let times = (from.i64()?, from.i64()?);
        let (epoch, pages) = (from.i32()? as u32, from.i32()? as u32);
        let (queues, begins) = (from.i32()? as u32, from.i32()? as u32);
        let (directory, keys) = (Region::decode(&mut from, pages)?, Region::decode(&mut from, pages)?);
        let end = layout.end_of(base);
        let fits = (base.0..=end).contains(&covers) && (base.0..end).contains(&records_end.0);
        let ours = shard == layout.shard().0 && named == base && fits;
        let header = Header { shard, base, covers, records_end, epoch, times, queues, begins, directory, keys, pages };
        ours.then_some(header)
    }

    /// The header in the bytes of a first page.
    pub fn read(page: &[u8], layout: &Layout, base: SegmentBase) -> Option<Header> {
        Header::decode(verified(page, base, 0)?, layout, base)
    }

    /// Where the directory lies.
    pub fn directory_range(&self) -> ReadRange {
        let Region { first, .. } = self.directory;
        let (offset, len) = (u64::from(first) * PAGE as u64, self.directory.pages() * PAGE as u64);
        ReadRange { file: RangeOf::Index(self.base), offset, len }
    }
}

/// A queue's row in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    pub topic: &'a str,
    pub queue: u32,
    pub run: RunRef,
    /// Time of the last entry after the first, ms.
    pub span_ms: u32,
    /// Place of the first entry in the segment.
    pub place: u32,
}

impl Row<'_> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let Row { topic, queue, run, span_ms, place } = self;
        put_topic(out, topic);
        out.extend_from_slice(&queue.to_be_bytes());
        out.extend_from_slice(&run.unit.to_be_bytes());
        out.extend_from_slice(&run.first.to_be_bytes());
        out.extend_from_slice(&run.count.to_be_bytes());
        out.extend_from_slice(&run.first_ms.to_be_bytes());
        out.extend_from_slice(&span_ms.to_be_bytes());
        out.extend_from_slice(&place.to_be_bytes());
    }
}

/// The directory of an index: which topics begin in its segment, and which queues have entries.
#[derive(Debug)]
pub struct Directory {
    base: SegmentBase,
    begins: u32,
    queues: u32,
    bytes: Vec<u8>,
}

impl Directory {
    /// Reads the pages of [`Header::directory_range`]; `None` if they are not what was written.
    pub fn read(header: &Header, pages: &[u8]) -> Option<Directory> {
        let len = usize::try_from(header.directory.len).ok()?;
        let bytes = contents(pages, header.base, header.directory.first, len)?;
        let directory = Directory { base: header.base, begins: header.begins, queues: header.queues, bytes };
        directory.check().then_some(directory)
    }

    /// Whether every row can be read, so that the iterators below need not say otherwise.
    fn check(&self) -> bool {
        let mut from = Reader::new(&self.bytes);
        let begins = (0..self.begins).all(|_| take_begin(&mut from).is_some());
        begins && (0..self.queues).all(|_| take_row(&mut from, self.base).is_some()) && from.is_empty()
    }

    /// The topics' lives that begin in the segment; its rows are of queues of the last of them, or of topics that lived on.
    pub fn begins(&self) -> impl Iterator<Item = Life<'_>> + '_ {
        let mut from = Reader::new(&self.bytes);
        (0..self.begins).map_while(move |_| take_begin(&mut from))
    }

    /// The queues with entries in the segment, in the order of their first ones.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> + '_ {
        let mut from = Reader::new(&self.bytes);
        let base = self.base;
        let whole = (0..self.begins).all(|_| take_begin(&mut from).is_some());
        (0..if whole { self.queues } else { 0 }).map_while(move |_| take_row(&mut from, base))
    }
}

pub(crate) fn put_begin(out: &mut Vec<u8>, life: &Life<'_>) {
    out.extend_from_slice(&life.begun.0.to_be_bytes());
    out.extend_from_slice(&life.incarnation.0.to_be_bytes());
    put_topic(out, life.topic);
}

fn take_begin<'a>(from: &mut Reader<'a>) -> Option<Life<'a>> {
    let (begun, incarnation) = (Position(from.i64()? as u64), Incarnation(from.i64()? as u64));
    Some(Life { topic: std::str::from_utf8(from.counted_i16()?).ok()?, incarnation, begun })
}

fn take_row<'a>(from: &mut Reader<'a>, base: SegmentBase) -> Option<Row<'a>> {
    let topic = std::str::from_utf8(from.counted_i16()?).ok()?;
    let (queue, unit) = (from.i32()? as u32, from.i32()? as u32);
    let (first, count, first_ms) = (from.i64()? as u64, from.i32()? as u32, from.i64()?);
    let (span_ms, place) = (from.i32()? as u32, from.i32()? as u32);
    let fits = count > 0 && first.checked_add(u64::from(count)).is_some_and(|end| end <= i64::MAX as u64);
    let run = RunRef { base, unit, first, count, first_ms };
    fits.then_some(Row { topic, queue, run, span_ms, place })
}

fn put_topic(out: &mut Vec<u8>, topic: &str) {
    assert!(topic.len() <= TOPIC_NAME_MAX);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
}

/// Puts one entry; `after` is its store time after that of the run's first one.
pub(crate) fn put_entry(out: &mut PageWriter, base: SegmentBase, entry: &Entry, after_ms: u32) {
    let mut bytes = [0; UNIT];
    bytes[..4].copy_from_slice(&((entry.position.0 - base.0) as u32).to_be_bytes());
    bytes[4..8].copy_from_slice(&entry.size.to_be_bytes());
    bytes[8..12].copy_from_slice(&entry.tag_hash.to_be_bytes());
    bytes[12..].copy_from_slice(&after_ms.to_be_bytes());
    out.put(&bytes);
}

/// The entry in a unit, and its store time after that of the run's first one.
pub(crate) fn entry_of(unit: &[u8; UNIT], base: SegmentBase) -> (Entry, u32) {
    let word = |at: usize| u32::from_be_bytes([unit[at], unit[at + 1], unit[at + 2], unit[at + 3]]);
    let position = Position(base.0 + u64::from(word(0)));
    (Entry { position, size: word(4), tag_hash: word(8) as i32 }, word(12))
}

/// An index file all of whose pages are as they were written.
#[derive(Debug)]
pub struct IndexFile {
    header: Header,
    directory: Directory,
    runs: Vec<u8>,
    keys: Vec<u8>,
}

impl IndexFile {
    /// The intact index of the segment at `base`, or `None`: then it must be rebuilt.
    pub fn decode(file: &[u8], layout: &Layout, base: SegmentBase) -> Option<Self> {
        let header = Header::read(file, layout, base)?;
        if file.len() != header.pages as usize * PAGE {
            return None;
        }
        let part = |region: &Region| {
            let from = region.first as usize * PAGE;
            file.get(from..from + usize::try_from(region.pages()).ok()? * PAGE)
        };
        let directory = Directory::read(&header, part(&header.directory)?)?;
        let keys = contents(part(&header.keys)?, base, header.keys.first, usize::try_from(header.keys.len).ok()?)?;
        // Runs reach to the directory, which is begun even if it is empty.
        let runs_end = header.directory.first as usize;
        let pages = file.get(PAGE * RUNS_PAGE as usize..PAGE * runs_end)?;
        let runs = contents(pages, base, RUNS_PAGE, runs_end.checked_sub(RUNS_PAGE as usize)? * CONTENT)?;
        Some(IndexFile { header, directory, runs, keys })
    }

    /// What its first page says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which queues it tells of.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The end of what it covers: the segment's own end, unless it was written while the segment was active.
    pub fn covers(&self) -> u64 {
        self.header.covers
    }

    /// Epoch of the last frame it covers, or of a later one.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }

    /// A queue's entries with their offsets and store times; `None` if the row and the run contradict each other.
    pub fn entries(&self, row: &Row<'_>) -> Option<impl Iterator<Item = (u64, Entry, i64)> + '_> {
        let units = self.runs.as_chunks::<UNIT>().0;
        let from = row.run.unit as usize;
        let head = self.head(row)?;
        let same = head.first == row.run.first && head.count == row.run.count && head.first_ms == row.run.first_ms;
        let from = from + HEAD_UNITS as usize;
        let entries = units.get(from..from + row.run.count as usize).filter(|_| same)?;
        let base = self.header.base;
        Some((row.run.first..).zip(entries).map(move |(offset, unit)| {
            let (entry, after) = entry_of(unit, base);
            (offset, entry, head.first_ms.saturating_add(i64::from(after)))
        }))
    }

    /// The head of a queue's run.
    pub fn head(&self, row: &Row<'_>) -> Option<Head> {
        let units = self.runs.as_chunks::<UNIT>().0;
        let from = row.run.unit as usize;
        Head::decode(units.get(from..from + HEAD_UNITS as usize)?.as_flattened())
    }

    /// Whether an index made again from the segment says the same as this one. Only the way back of a queue that was
    /// dropped since may be missing here: nobody walks it any more; and one that leads below `start`, where the log begins now.
    pub fn says_the_same(&self, again: &IndexFile, start: SegmentBase) -> bool {
        let heads = self.directory.rows().zip(again.directory.rows()).all(|(row, other)| {
            let (Some(head), Some(again)) = (self.head(&row), again.head(&other)) else { return false };
            let same = Head { before: again.before, ..head } == again;
            let before = head.before.filter(|before| before.base >= start);
            same && (before.is_none() || before == again.before)
        });
        let entries = self.directory.rows().all(|row| match (self.entries(&row), again.entries(&row)) {
            (Some(own), Some(other)) => own.eq(other),
            _ => false,
        });
        let same = self.header == again.header && self.directory.bytes == again.directory.bytes;
        same && self.keys == again.keys && heads && entries
    }

    /// Adds all it says to table and index as resident entries. `None` if it contradicts itself; then some of it may have
    /// been added.
    pub(crate) fn load(&self, queues: &mut QueueTable, keys: &mut KeyIndex) -> Option<()> {
        self.directory.begins().for_each(|life| queues.begin(life.topic, life.incarnation, life.begun));
        for row in self.directory.rows() {
            let slot = queues.open(row.topic, row.queue);
            let state = &mut queues[slot];
            for (offset, entry, ms) in self.entries(&row)? {
                if !entry.is_possible(self.header.covers) {
                    return None;
                }
                state.push_at(offset, entry, ms).ok()?;
            }
        }
        let words = self.keys.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
        let words: Vec<u64> = words.collect();
        if !words.is_empty() {
            let runs = words.chunks(KEY_RUN).map(<[u64]>::to_vec).collect();
            keys.push_segment(SegmentKeys::load(self.header.base, self.header.times.0..=self.header.times.1, runs)?);
        }
        Some(())
    }
}
