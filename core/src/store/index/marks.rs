//! What makes a message findable besides its offset.
//!
//! Owns which properties are indexed and how they become hashes, so that the index made when a message is stored and the
//! one rebuilt from the log are the same. Never allocates.

use ringmq_protocol::offset::Position;
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::tags;

use crate::store::index::key_index::{KeyIndex, key_hash};
use crate::store::limits::KEYS_PER_MESSAGE_MAX;

/// What the index needs to know of a message, found in one walk over its properties.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    pub tags: Option<&'a str>,
    /// Separated by blanks.
    pub keys: Option<&'a str>,
    pub unique_key: Option<&'a str>,
    /// What the queue entry keeps instead of the tags' hash: a delayed message's delay.
    pub code: Option<i32>,
}

impl<'a> Marks<'a> {
    /// Notes one property. Of a repeated key the last one counts; an empty value is none.
    #[inline]
    pub fn note(&mut self, key: &str, value: &'a str) {
        let value = Some(value).filter(|value| !value.is_empty());
        match key {
            names::TAGS => self.tags = value,
            names::KEYS => self.keys = value,
            names::UNIQ_KEY => self.unique_key = value,
            _ => {}
        }
    }

    /// The marks of a whole properties string.
    #[inline]
    pub fn of(text: &'a str) -> Self {
        let mut marks = Marks::default();
        for (key, value) in properties::iter(text) {
            marks.note(key, value);
        }
        marks
    }

    /// What the queue entry keeps of the tags.
    #[inline]
    pub fn tag_hash(&self) -> i32 {
        self.code.unwrap_or_else(|| self.tags.map_or(0, tags::java_hash))
    }

    /// Adds the keys to the index, the unique one first.
    #[inline]
    pub fn index(&self, index: &mut KeyIndex, topic: &str, position: Position, store_ms: i64) {
        if let Some(key) = self.unique_key {
            index.add(key_hash(topic, key.as_bytes()), position, store_ms);
        }
        if let Some(keys) = self.keys {
            let keys = keys.as_bytes().split(|byte| *byte == b' ');
            for key in keys.filter(|key| !key.is_empty()).take(KEYS_PER_MESSAGE_MAX) {
                index.add(key_hash(topic, key), position, store_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_picked_from_the_properties() {
        let marks = Marks::of("KEYS\u{1}a b\u{2}TAGS\u{1}TagA\u{2}other\u{1}x\u{2}UNIQ_KEY\u{1}7F00\u{2}");
        assert_eq!((marks.keys, marks.tags, marks.unique_key), (Some("a b"), Some("TagA"), Some("7F00")));
        assert_eq!(marks.tag_hash(), 2_598_919);
        assert_eq!(Marks::of("TAGS\u{1}\u{2}").tag_hash(), 0);
    }
}
