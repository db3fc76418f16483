//! Which making of a topic something belongs to.
//!
//! A topic that is deleted and made again has the name of the old one and nothing else of it. Whoever makes topics gives each
//! making a number that no other one ever has; what a shard stores says once which one it is for. Owns that number and the record that
//! says it; never decides which one is the topic's.

use super::own_record::{OwnKind, OwnRecord};

/// One making of a topic. The greater one is the later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Of the broker's own topics, which are made once and for all, and of what nothing was stored for yet.
    pub const NONE: Incarnation = Incarnation(0);

    /// Whether it is none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Incarnation::NONE
    }
}

/// What the own record 6 says: from here on, what this log stores for the topic is of this incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun<'a> {
    pub topic: &'a str,
    pub incarnation: Incarnation,
}

impl<'a> Begun<'a> {
    /// The record's payload.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = self.incarnation.0.to_be_bytes().to_vec();
        payload.extend_from_slice(self.topic.as_bytes());
        payload
    }

    /// Reads a payload; `None` if it is not one.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (number, topic) = payload.split_first_chunk::<8>()?;
        let incarnation = Some(Incarnation(u64::from_be_bytes(*number))).filter(|number| !number.is_none())?;
        Some(Begun { topic: std::str::from_utf8(topic).ok()?, incarnation })
    }

    /// Reads a record; `None` if it says something else.
    #[must_use]
    pub fn of(record: &OwnRecord<'a>) -> Option<Self> {
        if record.kind == OwnKind::TopicBegun { Begun::read(record.payload) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let begun = Begun { topic: "orders", incarnation: Incarnation(7 << 40) };
        let payload = begun.payload();
        assert_eq!(Begun::read(&payload), Some(begun));
        assert_eq!(Begun::read(&payload[..7]), None);
        assert_eq!(Begun::read(&Begun { incarnation: Incarnation::NONE, ..begun }.payload()), None);
        assert_eq!(Begun::of(&OwnRecord { kind: OwnKind::SettingPut, payload: &payload }), None);
    }
}
