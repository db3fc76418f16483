//! How many bytes topics of limited size have in each segment (the attribute `reserve.size`).
//!
//! Owns the sums, their section of the checkpoint, and the judgement from where on a topic keeps its messages. Segments are
//! the unit: a topic keeps at least its size as long as it has so much, and at most one segment's worth more. Topics
//! without a limit cost nothing.
//!
//! ```text
//! section: count (4), per topic: length (2), topic, count (4), per segment: base (8), bytes (8)
//! ```

use std::collections::{BTreeMap, VecDeque};

use ringmq_protocol::offset::Position;
use ringmq_protocol::wire::Reader;

use crate::map::Map;
use crate::store::segment::{Layout, SegmentBase};

/// A payload that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadSizes;

/// Bytes of one topic, oldest segment first.
type Bytes = VecDeque<(SegmentBase, u64)>;

#[derive(Debug, Default)]
struct Limited {
    /// What this shard's queues of the topic may keep, bytes.
    most: u64,
    bytes: Bytes,
}

/// The topics of limited size.
#[derive(Debug, Default)]
pub struct Sizes {
    topics: Map<Box<str>, Limited>,
}

fn add(bytes: &mut Bytes, segment: SegmentBase, size: u64) {
    match bytes.back_mut() {
        Some((last, sum)) if *last == segment => *sum += size,
        _ => bytes.push_back((segment, size)),
    }
}

impl Sizes {
    /// Whether no topic has a limit.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Limits a topic, or not. What it has already is counted from now on only, unless it was limited before.
    pub fn limit(&mut self, topic: &str, most: Option<u64>) {
        match (most, self.topics.get_mut(topic)) {
            (Some(most), Some(limited)) => limited.most = most,
            (Some(most), None) => drop(self.topics.insert(topic.into(), Limited { most, ..Limited::default() })),
            (None, _) => drop(self.topics.remove(topic)),
        }
    }

    /// A message of `size` bytes was stored.
    #[inline]
    pub fn stored(&mut self, topic: &str, segment: SegmentBase, size: u64) {
        if self.topics.is_empty() {
            return;
        }
        if let Some(limited) = self.topics.get_mut(topic) {
            add(&mut limited.bytes, segment, size);
        }
    }

    /// The topics that have more than they may, and from where on they keep their messages. Nothing at or above `end` is
    /// cut. What is listed counts as cut afterwards.
    pub fn take_cuts(&mut self, layout: &Layout, end: SegmentBase) -> Vec<(Box<str>, Position)> {
        let mut cuts = Vec::new();
        for (topic, limited) in &mut self.topics {
            let mut sum: u64 = limited.bytes.iter().map(|(_, bytes)| *bytes).sum();
            let mut cut = None;
            while let Some(&(segment, bytes)) = limited.bytes.front() {
                if sum - bytes < limited.most || layout.end_of(segment) > end.0 {
                    break;
                }
                sum -= bytes;
                limited.bytes.pop_front();
                cut = Some(Position(layout.end_of(segment)));
            }
            cuts.extend(cut.map(|cut| (topic.clone(), cut)));
        }
        // The map's order depends on the process; what is done must not.
        cuts.sort();
        cuts
    }

    /// The log has nothing below `start` any more.
    pub fn released(&mut self, start: SegmentBase) {
        for limited in self.topics.values_mut() {
            while limited.bytes.pop_front_if(|(segment, _)| *segment < start).is_some() {}
        }
    }

    /// For the checkpoint.
    pub fn section(&self) -> Vec<u8> {
        let sorted: BTreeMap<_, _> = self.topics.iter().collect();
        let mut out = (sorted.len() as u32).to_be_bytes().to_vec();
        for (topic, limited) in sorted {
            out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(&(limited.bytes.len() as u32).to_be_bytes());
            for (segment, bytes) in &limited.bytes {
                out.extend_from_slice(&segment.0.to_be_bytes());
                out.extend_from_slice(&bytes.to_be_bytes());
            }
        }
        out
    }

    /// Takes over what recovery found of a topic that has a limit.
    pub fn restore(&mut self, mut told: SizeTold) {
        for (topic, limited) in &mut self.topics {
            if let Some(bytes) = told.topics.remove(topic) {
                limited.bytes = bytes;
            }
        }
    }
}

/// What the checkpoint and the log say of sizes, until it is known which topics have a limit.
#[derive(Debug, Default)]
pub struct SizeTold {
    topics: BTreeMap<Box<str>, Bytes>,
}

impl SizeTold {
    /// Takes the checkpoint's section.
    ///
    /// # Errors
    /// When it is not one.
    pub fn section(&mut self, section: &[u8]) -> Result<(), BadSizes> {
        self.read(section).ok_or(BadSizes)
    }

    fn read(&mut self, section: &[u8]) -> Option<()> {
        let mut from = Reader::new(section);
        for _ in 0..from.i32()? as u32 {
            let topic = std::str::from_utf8(from.counted_i16()?).ok()?.into();
            let mut bytes = Bytes::new();
            for _ in 0..from.i32()? as u32 {
                bytes.push_back((SegmentBase(from.i64()? as u64), from.i64()? as u64));
            }
            self.topics.insert(topic, bytes);
        }
        from.is_empty().then_some(())
    }

    /// A message that the checkpoint does not cover. Topics it did not list are counted from the start on.
    pub fn stored(&mut self, topic: &str, segment: SegmentBase, size: u64) {
        if let Some(bytes) = self.topics.get_mut(topic) {
            add(bytes, segment, size);
        }
    }

    /// A topic was deleted.
    pub fn dropped(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ShardId;
    use crate::store::limits::SEGMENT_MIN;

    fn base(number: u64) -> SegmentBase {
        SegmentBase(number * SEGMENT_MIN)
    }

    fn sizes() -> Sizes {
        let mut sizes = Sizes::default();
        sizes.limit("small", Some(100));
        for (number, size) in [(0, 30), (0, 10), (1, 50), (3, 60), (4, 45)] {
            sizes.stored("small", base(number), size);
            sizes.stored("free", base(number), size);
        }
        sizes
    }

    fn cuts(sizes: &mut Sizes, end: u64) -> Vec<(Box<str>, Position)> {
        sizes.take_cuts(&Layout::new(ShardId(0), SEGMENT_MIN).expect("a good size"), base(end))
    }

    #[test]
    fn a_topic_keeps_its_size_and_less_than_a_segment_more() {
        let mut sizes = sizes();
        assert_eq!(cuts(&mut sizes, 0), []);
        assert_eq!(cuts(&mut sizes, 1), [("small".into(), Position(SEGMENT_MIN))]);
        assert_eq!(cuts(&mut sizes, 9), [("small".into(), Position(2 * SEGMENT_MIN))], "105 bytes stay");
        assert_eq!(cuts(&mut sizes, 9), []);
        sizes.limit("small", Some(45));
        assert_eq!(cuts(&mut sizes, 9), [("small".into(), Position(4 * SEGMENT_MIN))]);
        sizes.limit("small", None);
        assert!(sizes.is_empty());
    }

    #[test]
    fn what_is_released_is_not_counted() {
        let mut sizes = sizes();
        sizes.released(base(2));
        assert_eq!(cuts(&mut sizes, 9), [], "105 bytes are left");
    }

    #[test]
    fn a_restart_goes_on_with_what_was_counted() {
        let before = sizes();
        let mut told = SizeTold::default();
        told.section(&before.section()).expect("just written");
        told.stored("small", base(4), 5);
        told.stored("free", base(4), 5);
        let mut after = Sizes::default();
        after.limit("small", Some(100));
        after.restore(told);
        assert_eq!(after.topics["small"].bytes.back(), Some(&(base(4), 50)));
        assert_eq!(after.topics["small"].bytes.len(), 4);
        assert_eq!(SizeTold::default().section(&[0, 0, 0, 1]), Err(BadSizes));
        let mut dropped = SizeTold::default();
        dropped.section(&before.section()).expect("just written");
        dropped.dropped("small");
        assert!(dropped.topics.is_empty());
    }
}
