//! How far each group has read each queue of this shard.
//!
//! Owns the committed and the last pulled offsets, the names of the groups (as small numbers), pending server-side
//! resets, and the OffsetBatch payload that makes them durable once a second (ConsumerOffsetManager keeps a JSON file).
//! Never decides whether a group or a queue may exist; never goes over `OFFSETS_MAX` entries.

use ringmq_protocol::wire::Reader;

use hashbrown::hash_map::Entry;

use crate::limits::{OFFSETS_MAX, OFFSETS_PER_RECORD};
use crate::map::Map;
use crate::store::{Incarnation, QueueSlot, QueueTable};
use crate::topic::TopicTable;

/// A group's number on this shard; stable while the process runs, never written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

/// One group's progress on one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the group committed; `None` until it did.
    pub committed: Option<i64>,
    /// nextBeginOffset of its last answered pull; not persisted.
    pub pulled: i64,
    /// A server-side reset that the next pull of the queue must be told (protocol.md 8.6).
    pub reset: Option<i64>,
    dirty: bool,
}

/// A queue of this shard, by slot and by name.
#[derive(Debug, Clone, Copy)]
pub struct QueuePlace<'a> {
    pub topic: &'a str,
    pub queue: u32,
    pub slot: QueueSlot,
}

/// A queue with an offset: topic and number as they are written down, and who has one.
#[derive(Debug)]
struct OfQueue {
    topic: Box<str>,
    queue: u32,
    groups: Vec<GroupId>,
}

/// All offsets of the shard's queues.
#[derive(Debug, Default)]
pub struct Offsets {
    ids: Map<Box<str>, GroupId>,
    names: Vec<Box<str>>,
    /// Every queue with an offset.
    queues: Map<QueueSlot, OfQueue>,
    progress: Map<(QueueSlot, GroupId), Progress>,
    /// Keys changed since the last batch, each once.
    dirty: Vec<(QueueSlot, GroupId)>,
}

/// The shard keeps as many offsets as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyOffsets;

impl OfQueue {
    fn new(topic: &str, queue: u32) -> Self {
        OfQueue { topic: topic.into(), queue, groups: Vec::new() }
    }
}

impl Offsets {
    /// The number of a group, given one if it has none yet; `None` at the limit.
    fn group(&mut self, name: &str) -> Option<GroupId> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        if self.names.len() >= OFFSETS_MAX {
            return None;
        }
        let id = GroupId(self.names.len() as u32);
        self.names.push(name.into());
        self.ids.insert(name.into(), id);
        Some(id)
    }

    /// The number of a group that committed something here once.
    #[inline]
    pub fn find_group(&self, name: &str) -> Option<GroupId> {
        self.ids.get(name).copied()
    }

    /// The name of a group.
    pub fn name(&self, group: GroupId) -> &str {
        &self.names[group.0 as usize]
    }

    /// Topic and number of a queue on which some group committed an offset.
    pub fn queue_name(&self, slot: QueueSlot) -> Option<(&str, u32)> {
        self.queues.get(&slot).map(|of| (&*of.topic, of.queue))
    }

    /// A group's progress on a queue.
    pub fn get(&self, slot: QueueSlot, group: GroupId) -> Progress {
        self.progress.get(&(slot, group)).copied().unwrap_or_default()
    }

    /// Every group with a committed offset on a queue.
    pub fn of_queue(&self, slot: QueueSlot) -> impl Iterator<Item = (&str, i64)> {
        let groups = self.queues.get(&slot).into_iter().flat_map(|of| of.groups.iter());
        groups.filter_map(move |group| Some((self.name(*group), self.get(slot, *group).committed?)))
    }

    /// Every queue on which a group committed an offset.
    pub fn of_group(&self, group: GroupId) -> impl Iterator<Item = (QueueSlot, Progress)> {
        let own = self.progress.iter().filter(move |((_, owner), _)| *owner == group);
        own.map(|((slot, _), progress)| (*slot, *progress))
    }

    /// The group read up to `offset`; a smaller one than before counts too (protocol.md 8.5).
    ///
    /// # Errors
    /// When a new entry would exceed the limit.
    pub fn commit(&mut self, place: QueuePlace<'_>, group: &str, offset: i64) -> Result<(), TooManyOffsets> {
        let QueuePlace { topic, queue, slot } = place;
        let key = (slot, self.group(group).ok_or(TooManyOffsets)?);
        if self.progress.len() >= OFFSETS_MAX && !self.progress.contains_key(&key) {
            return Err(TooManyOffsets);
        }
        let progress = match self.progress.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                self.queues.entry(slot).or_insert_with(|| OfQueue::new(topic, queue)).groups.push(key.1);
                place.insert(Progress::default())
            }
        };
        if progress.committed != Some(offset) {
            progress.committed = Some(offset);
            if !progress.dirty {
                progress.dirty = true;
                self.dirty.push(key);
            }
        }
        Ok(())
    }

    /// The group was sent messages below `offset`. Only kept where the group committed, so that pulls alone cost nothing.
    #[inline]
    pub fn pulled(&mut self, slot: QueueSlot, group: Option<GroupId>, offset: i64) {
        if let Some(group) = group
            && let Some(progress) = self.progress.get_mut(&(slot, group))
        {
            progress.pulled = offset;
        }
    }

    /// Sets both the committed offset and the one the next pull is sent back to.
    ///
    /// # Errors
    /// As [`Offsets::commit`].
    pub fn reset(&mut self, place: QueuePlace<'_>, group: &str, offset: i64) -> Result<(), TooManyOffsets> {
        self.commit(place, group, offset)?;
        if let Some(id) = self.find_group(group)
            && let Some(progress) = self.progress.get_mut(&(place.slot, id))
        {
            progress.reset = Some(offset);
        }
        Ok(())
    }

    /// Takes the pending reset of a queue.
    #[inline]
    pub fn take_reset(&mut self, slot: QueueSlot, group: GroupId) -> Option<i64> {
        let progress = self.progress.get_mut(&(slot, group))?;
        progress.reset.take()
    }

    /// Forgets a queue (its topic was deleted).
    pub fn drop_queue(&mut self, slot: QueueSlot) {
        // What is dirty of it is passed over when the next batch is made: its slot names nothing any more.
        for group in self.queues.remove(&slot).into_iter().flat_map(|of| of.groups) {
            self.progress.remove(&(slot, group));
        }
    }

    /// Forgets a group's offsets (the group was deleted). The next batch says so, or they would be back after a restart.
    pub fn drop_group(&mut self, name: &str) {
        let Some(group) = self.find_group(name) else { return };
        let Offsets { progress, dirty, queues, .. } = self;
        progress.retain(|(slot, owner), progress| {
            if *owner != group {
                return true;
            }
            if !progress.dirty {
                dirty.push((*slot, group));
            }
            if let Some(of) = queues.get_mut(slot) {
                of.groups.retain(|other| *other != group);
            }
            false
        });
    }

    /// Whether anything changed since the last batch.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next OffsetBatch payload of changed offsets, `None` when all are written.
    pub fn next_batch(&mut self, topics: &TopicTable) -> Option<Vec<u8>> {
        while self.dirty.pop_if(|(slot, _)| !self.queues.contains_key(slot)).is_some() {}
        if self.dirty.is_empty() {
            return None;
        }
        let from = self.dirty.len().saturating_sub(OFFSETS_PER_RECORD);
        let keys = self.dirty.split_off(from);
        for key in &keys {
            if let Some(progress) = self.progress.get_mut(key) {
                progress.dirty = false;
            }
        }
        Some(self.encode(&keys, topics))
    }

    /// All committed offsets as OffsetBatch payloads, in one go. While requests wait, [`OffsetsWalk`].
    pub fn snapshot(&self, topics: &TopicTable) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = self.progress.keys().copied().collect();
        keys.sort_unstable();
        keys.chunks(OFFSETS_PER_RECORD).map(|keys| self.encode(keys, topics)).collect()
    }

    /// ```text
    /// count u32, then per entry: topic (u16 length, bytes) | incarnation u64 | queue u32 | group (u16 length, bytes) | offset i64
    /// ```
    ///
    /// A queue ends with its topic, so what is here is of the topic's present incarnation.
    fn encode(&self, keys: &[(QueueSlot, GroupId)], topics: &TopicTable) -> Vec<u8> {
        let mut payload = vec![0; 4];
        let mut count = 0u32;
        for (slot, group) in keys {
            let Some(OfQueue { topic, queue, .. }) = self.queues.get(slot) else { continue };
            let offset = self.get(*slot, *group).committed.unwrap_or(DELETED);
            put_text(&mut payload, topic);
            payload.extend_from_slice(&topics.incarnation(topic).0.to_be_bytes());
            payload.extend_from_slice(&queue.to_be_bytes());
            put_text(&mut payload, self.name(*group));
            payload.extend_from_slice(&offset.to_be_bytes());
            count += 1;
        }
        payload[..4].copy_from_slice(&count.to_be_bytes());
        payload
    }

    /// Takes an offset found in the log or a checkpoint; it needs no writing.
    pub fn restore(&mut self, place: QueuePlace<'_>, group: &str, offset: i64) {
        let QueuePlace { topic, queue, slot } = place;
        let Some(group) = self.group(group) else { return };
        let progress = self.progress.entry((slot, group)).or_insert_with(|| {
            self.queues.entry(slot).or_insert_with(|| OfQueue::new(topic, queue)).groups.push(group);
            Progress::default()
        });
        progress.committed = Some(offset);
    }
}

/// All committed offsets being written for a checkpoint, in steps between which groups commit more.
///
/// A batch in the log says the newest word about each of its rows, and every change since the walk's *beginning* comes into one
/// that the log has behind it. So a row may be newer than the position the checkpoint covers: telling the batches from there on
/// leads to the same end. It may be written when all is durable that was appended when the walk ended.
#[derive(Debug, Default)]
pub struct OffsetsWalk {
    /// Place of the next queue in the table.
    place: usize,
    /// Not yet in `bytes`.
    keys: Vec<(QueueSlot, GroupId)>,
    /// OffsetBatch payloads, each behind its length (u32).
    bytes: Vec<u8>,
}

impl OffsetsWalk {
    /// Writes those of `looks` more queues; whether that was all.
    pub fn step(&mut self, offsets: &Offsets, queues: &QueueTable, topics: &TopicTable, looks: usize) -> bool {
        let end = if offsets.queues.is_empty() { 0 } else { queues.slot_places() };
        let to = end.min(self.place.saturating_add(looks));
        for slot in (self.place..to).filter_map(|place| queues.nth_slot(place)) {
            let groups = offsets.queues.get(&slot).into_iter().flat_map(|of| &of.groups);
            self.keys.extend(groups.map(|group| (slot, *group)));
            while self.keys.len() >= OFFSETS_PER_RECORD {
                self.put(offsets, topics);
            }
        }
        self.place = to;
        if to < end {
            return false;
        }
        while !self.keys.is_empty() {
            self.put(offsets, topics);
        }
        true
    }

    fn put(&mut self, offsets: &Offsets, topics: &TopicTable) {
        let from = self.keys.len().saturating_sub(OFFSETS_PER_RECORD);
        let payload = offsets.encode(&self.keys[from..], topics);
        self.keys.truncate(from);
        self.bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(&payload);
    }

    /// The payloads, each behind its length; all steps were taken.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// An OffsetBatch payload of these rows: topic, its incarnation, queue, group, committed offset.
pub fn write_batch<'a>(rows: impl ExactSizeIterator<Item = (&'a str, Incarnation, u32, &'a str, i64)>) -> Vec<u8> {
    let mut payload = (rows.len() as u32).to_be_bytes().to_vec();
    for (topic, incarnation, queue, group, offset) in rows {
        put_text(&mut payload, topic);
        payload.extend_from_slice(&incarnation.0.to_be_bytes());
        payload.extend_from_slice(&queue.to_be_bytes());
        put_text(&mut payload, group);
        payload.extend_from_slice(&offset.to_be_bytes());
    }
    payload
}

/// Reads an OffsetBatch payload: `each` gets topic, incarnation, queue, group and the offset, `None` for one that was deleted.
///
/// # Errors
/// The payload is not what a batch looks like; what stood before the flaw was passed on.
pub fn read_batch(
    payload: &[u8],
    mut each: impl FnMut(&str, Incarnation, u32, &str, Option<i64>),
) -> Result<(), BadOffsetBatch> {
    let mut reader = Reader::new(payload);
    let count = reader.i32().ok_or(BadOffsetBatch)?;
    for _ in 0..count {
        let topic = take_text(&mut reader).ok_or(BadOffsetBatch)?;
        let incarnation = Incarnation(reader.i64().ok_or(BadOffsetBatch)? as u64);
        let queue = reader.i32().ok_or(BadOffsetBatch)?;
        let group = take_text(&mut reader).ok_or(BadOffsetBatch)?;
        let offset = reader.i64().ok_or(BadOffsetBatch)?;
        each(topic, incarnation, queue as u32, group, Some(offset).filter(|offset| *offset != DELETED));
    }
    if reader.is_empty() { Ok(()) } else { Err(BadOffsetBatch) }
}

/// What a batch says instead of an offset when the group was deleted.
const DELETED: i64 = -1;

/// An OffsetBatch payload that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOffsetBatch;

fn put_text(payload: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names are at most 255 bytes");
    payload.extend_from_slice(&length.to_be_bytes());
    payload.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let bytes = reader.counted_i16()?;
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::QueueTable;

    fn no_topics() -> TopicTable {
        TopicTable::new(1)
    }

    fn read(payload: &[u8]) -> Vec<(String, u32, String, Option<i64>)> {
        let mut all = Vec::new();
        read_batch(payload, |topic, _, queue, group, offset| {
            all.push((topic.to_owned(), queue, group.to_owned(), offset))
        })
        .unwrap();
        all.sort();
        all
    }

    #[test]
    fn changed_offsets_are_written_once() {
        let mut queues = QueueTable::new();
        let mut offsets = Offsets::default();
        let place = QueuePlace { topic: "T", queue: 3, slot: queues.open("T", 3) };
        offsets.commit(place, "G", 5).unwrap();
        offsets.commit(place, "G", 7).unwrap();
        offsets.commit(place, "H", 1).unwrap();
        let payload = offsets.next_batch(&no_topics()).unwrap();
        let entry = |group: &str, offset| ("T".to_owned(), 3, group.to_owned(), offset);
        assert_eq!(read(&payload), [entry("G", Some(7)), entry("H", Some(1))]);
        assert_eq!(offsets.next_batch(&no_topics()), None);
        offsets.commit(place, "G", 7).unwrap();
        assert!(!offsets.has_dirty(), "the same offset again is no change");
        // A deleted group says so, or it would be back after a restart.
        offsets.drop_group("G");
        assert_eq!(read(&offsets.next_batch(&no_topics()).unwrap()), [entry("G", None)]);
        let mut walk = OffsetsWalk::default();
        while !walk.step(&offsets, &queues, &no_topics(), 1) {}
        assert_eq!(read(&walk.finish()[4..]), [entry("H", Some(1))]);
    }

    #[test]
    fn a_dropped_queue_takes_its_offsets_along_and_no_others() {
        let mut queues = QueueTable::new();
        let mut offsets = Offsets::default();
        let places = [("T", 0), ("T", 1), ("U", 0)];
        let places = places.map(|(topic, queue)| QueuePlace { topic, queue, slot: queues.open(topic, queue) });
        for (n, place) in places.iter().enumerate() {
            offsets.commit(*place, "G", n as i64).unwrap();
            offsets.commit(*place, "H", 10).unwrap();
        }
        offsets.drop_queue(places[1].slot);
        let of = |offsets: &Offsets, at: usize| {
            let mut all: Vec<_> = offsets.of_queue(places[at].slot).map(|(name, at)| (name.to_owned(), at)).collect();
            all.sort();
            all
        };
        assert_eq!(of(&offsets, 1), []);
        assert_eq!(of(&offsets, 2), [("G".to_owned(), 2), ("H".to_owned(), 10)]);
        let written: Vec<_> =
            std::iter::from_fn(|| offsets.next_batch(&no_topics())).flat_map(|payload| read(&payload)).collect();
        assert_eq!(written.len(), 4, "{written:?}");
        offsets.drop_group("H");
        assert_eq!(of(&offsets, 0), [("G".to_owned(), 0)]);
        offsets.commit(places[0], "H", 3).unwrap();
        assert_eq!(of(&offsets, 0), [("G".to_owned(), 0), ("H".to_owned(), 3)], "named once");
        [0, 2].iter().for_each(|at| offsets.drop_queue(places[*at].slot));
        assert_eq!(offsets.next_batch(&no_topics()), None, "nothing is left to write");
    }

    #[test]
    fn a_reset_is_told_once() {
        let mut offsets = Offsets::default();
        let slot = QueueTable::new().open("T", 0);
        offsets.reset(QueuePlace { topic: "T", queue: 0, slot }, "G", 9).unwrap();
        let group = offsets.find_group("G").unwrap();
        assert_eq!(offsets.get(slot, group).committed, Some(9));
        assert_eq!(offsets.take_reset(slot, group), Some(9));
        assert_eq!(offsets.take_reset(slot, group), None);
    }

    #[test]
    fn damaged_batches_are_refused() {
        for payload in [&b""[..], b"\0\0\0\x01", b"\0\0\0\0x", b"\0\0\0\x01\0\x05T"] {
            assert_eq!(read_batch(payload, |_, _, _, _, _| {}), Err(BadOffsetBatch));
        }
    }
}
