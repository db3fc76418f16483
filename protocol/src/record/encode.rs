//! Writing records: the exact size first, then one pass straight into the destination.

use super::{RECORD_LIMIT, RecordError, RecordVersion, TOPIC_LIMIT, body_crc, body_len_at};
use crate::hosts;
use crate::properties::{self, KEY_VALUE, PAIR_END, PROPERTIES_LIMIT};
use crate::sys_flag;
use crate::wire::Writer;
use std::net::SocketAddr;

/// A message about to be stored.
///
/// The host bits of `sys_flag` are ignored: they follow the two hosts.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    /// The wire offset.
    pub physical_offset: i64,
    pub sys_flag: i32,
    /// Milliseconds.
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    /// Milliseconds.
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    /// Wire offset of the half record of a committed transactional message; else 0.
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub properties: PropertyParts<'a>,
}

/// The properties of a message: those it came with, less some, plus some.
#[derive(Clone, Copy, Debug, Default)]
pub struct PropertyParts<'a> {
    /// The properties string as it came, decoded.
    pub original: &'a str,
    /// Names to leave out of `original`. Leave it empty when none of them is there: then `original`
    /// is copied whole instead of pair by pair.
    pub without: &'a [&'a str],
    /// Pairs to add behind.
    pub extra: &'a [(&'a str, &'a str)],
}

impl<'a> PropertyParts<'a> {
    /// A properties string as it came.
    pub fn just(original: &'a str) -> Self {
        PropertyParts { original, ..Self::default() }
    }

    /// The length in bytes of what [`PropertyParts::write`] writes.
    pub fn len(&self) -> usize {
        let mut length = 0;
        self.each_piece(|piece| length += piece.len());
        length
    }

    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.each_piece(|piece| writer.put(piece));
    }

    /// The one truth for both length and content.
    #[inline]
    fn each_piece(&self, mut emit: impl FnMut(&[u8])) {
        let original = self.original.as_bytes();
        // Where the run to be copied starts: behind the last pair left out.
        let mut run = 0;
        if !self.without.is_empty() {
            for (key, value) in properties::iter(self.original) {
                if self.without.contains(&key) {
                    let start = offset_in(self.original, key);
                    emit(&original[run..start]);
                    run = (offset_in(self.original, value) + value.len() + 1).min(original.len());
                }
            }
        }
        emit(&original[run..]);
        // A pair may only follow a closed one.
        if !self.extra.is_empty() && run < original.len() && original.last() != Some(&PAIR_END) {
            emit(&[PAIR_END]);
        }
        for (key, value) in self.extra {
            emit_pair(key, value, &mut emit);
        }
    }
}

/// Where `part`, which was cut from `whole`, lies in it.
fn offset_in(whole: &str, part: &str) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

#[inline]
fn emit_pair(key: &str, value: &str, emit: &mut impl FnMut(&[u8])) {
    emit(key.as_bytes());
    emit(&[KEY_VALUE]);
    emit(value.as_bytes());
    emit(&[PAIR_END]);
}

/// The exact size of a record and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSize {
    /// Bytes of the whole record.
    pub total: usize,
    /// The layout.
    pub version: RecordVersion,
    /// Bytes of the properties.
    pub properties: usize,
}

impl RecordSize {
    /// The size of a record with parts of these lengths. Only the host bits of `sys_flag` count.
    ///
    /// # Errors
    /// A part that is too long for its length field.
    pub fn of(topic: usize, properties: usize, body: usize, sys_flag: i32) -> Result<Self, RecordError> {
        let too_long = |part, bytes, limit| Err(RecordError::TooLong { part, bytes, limit });
        if topic > TOPIC_LIMIT {
            return too_long("topic", topic, TOPIC_LIMIT);
        }
        if properties > PROPERTIES_LIMIT {
            return too_long("properties", properties, PROPERTIES_LIMIT);
        }
        // Before adding, so that the sum cannot overflow.
        if body > RECORD_LIMIT {
            return too_long("body", body, RECORD_LIMIT);
        }
        let version = RecordVersion::for_topic(topic);
        let parts = 4 + body + version.topic_length_width() + topic + 2 + properties;
        let total = body_len_at(sys_flag) + parts;
        if total > RECORD_LIMIT {
            return too_long("record", total, RECORD_LIMIT);
        }
        Ok(RecordSize { total, version, properties })
    }
}

impl Message<'_> {
    /// The sysFlag as it is stored: with the host bits that the two hosts demand.
    pub fn stored_sys_flag(&self) -> i32 {
        let (born, store) = (hosts::is_v6(&self.born_host), hosts::is_v6(&self.store_host));
        sys_flag::with_hosts(self.sys_flag, born, store)
    }

    /// How many bytes the record takes.
    ///
    /// # Errors
    /// A part that is too long for its length field.
    pub fn size(&self) -> Result<RecordSize, RecordError> {
        let (topic, body) = (self.topic.len(), self.body.len());
        RecordSize::of(topic, self.properties.len(), body, self.stored_sys_flag())
    }

    /// Writes the record into `dst`, which must have exactly `size.total` bytes, and returns the body
    /// checksum it computed on the way.
    ///
    /// # Panics
    /// If `dst` or `size` do not belong to this message: the caller computed both.
    pub fn encode_into(&self, dst: &mut [u8], size: &RecordSize) -> i32 {
        assert_eq!(dst.len(), size.total, "a record is written into exactly its size");
        let crc = body_crc(self.body);
        let mut writer = Writer::new(dst);
        writer.i32(size.total as i32);
        writer.i32(size.version.magic());
        writer.i32(crc);
        writer.i32(self.queue_id);
        writer.i32(self.flag);
        writer.i64(self.queue_offset);
        writer.i64(self.physical_offset);
        writer.i32(self.stored_sys_flag());
        writer.i64(self.born_timestamp);
        hosts::put(&mut writer, &self.born_host);
        writer.i64(self.store_timestamp);
        hosts::put(&mut writer, &self.store_host);
        writer.i32(self.reconsume_times);
        writer.i64(self.prepared_transaction_offset);
        writer.i32(self.body.len() as i32);
        writer.put(self.body);
        match size.version {
            RecordVersion::V1 => writer.u8(self.topic.len() as u8),
            RecordVersion::V2 => writer.i16(self.topic.len() as i16),
        }
        writer.put(self.topic.as_bytes());
        writer.i16(size.properties as i16);
        self.properties.write(&mut writer);
        assert_eq!(writer.position(), size.total, "size and content of a record agree");
        crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{self, RecordRef, TOPIC_V1_LIMIT, patch};

    fn message<'a>(topic: &'a str, body: &'a [u8], properties: PropertyParts<'a>) -> Message<'a> {
        Message {
            topic,
            queue_id: 3,
            flag: 7,
            queue_offset: 41,
            physical_offset: 4096,
            sys_flag: sys_flag::COMPRESSED,
            born_timestamp: 1_700_000_000_123,
            born_host: "10.0.0.9:43210".parse().unwrap(),
            store_timestamp: 1_700_000_000_456,
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 99,
            body,
            properties,
        }
    }

    fn encode(message: &Message<'_>) -> Vec<u8> {
        let size = message.size().unwrap();
        let mut bytes = vec![0; size.total];
        message.encode_into(&mut bytes, &size);
        bytes
    }

    fn assert_same(record: &RecordRef<'_>, message: &Message<'_>, properties: &str) {
        assert_eq!(record.topic(), message.topic);
        assert_eq!(record.queue_id(), message.queue_id);
        assert_eq!(record.flag(), message.flag);
        assert_eq!(record.queue_offset(), message.queue_offset);
        assert_eq!(record.physical_offset(), message.physical_offset);
        assert_eq!(record.sys_flag(), message.stored_sys_flag());
        assert_eq!(record.born_timestamp(), message.born_timestamp);
        assert_eq!(record.born_host(), message.born_host);
        assert_eq!(record.store_timestamp(), message.store_timestamp);
        assert_eq!(record.store_host(), message.store_host);
        assert_eq!(record.reconsume_times(), message.reconsume_times);
        assert_eq!(record.prepared_transaction_offset(), message.prepared_transaction_offset);
        assert_eq!(record.body(), message.body);
        assert_eq!(record.properties(), properties);
        record.check_body().unwrap();
    }

    #[test]
    fn records_of_all_shapes_read_back() {
        let long = "%DLQ%".to_owned() + &"g".repeat(TOPIC_V1_LIMIT);
        let v6: SocketAddr = "[2001:db8::7]:10911".parse().unwrap();
        for topic in ["T", &long] {
            for (born_v6, store_v6) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut message = message(topic, b"hello", PropertyParts::just("TAGS\x01a\x02"));
                if born_v6 {
                    message.born_host = v6;
                }
                if store_v6 {
                    message.store_host = v6;
                }
                let bytes = encode(&message);
                let record = RecordRef::parse(&bytes).unwrap();
                assert_same(&record, &message, "TAGS\x01a\x02");
                assert_eq!(record.bytes(), bytes);
                assert_eq!(record.property("TAGS"), Some("a"));
            }
        }
    }

    #[test]
    fn the_overhead_is_91_bytes() {
        assert_eq!(encode(&message("", b"", PropertyParts::default())).len(), 91);
    }

    #[test]
    fn properties_are_dropped_and_added() {
        let parts = PropertyParts {
            original: "WAIT\x01true\x02TAGS\x01a",
            without: &["WAIT", "POP_CK"],
            extra: &[("CLUSTER", "c")],
        };
        let bytes = encode(&message("T", b"", parts));
        let record = RecordRef::parse(&bytes).unwrap();
        assert_eq!(record.properties(), "TAGS\x01a\x02CLUSTER\x01c\x02");
        let open = PropertyParts { without: &[], ..parts };
        let bytes = encode(&message("T", b"", open));
        let record = RecordRef::parse(&bytes).unwrap();
        assert_eq!(record.properties(), "WAIT\x01true\x02TAGS\x01a\x02CLUSTER\x01c\x02");
        // Nothing is added behind, so nothing is closed either: the string stays as it came.
        assert_eq!(PropertyParts::just("a\x01b").len(), 3);
    }

    #[test]
    fn concatenated_records_are_iterated() {
        let mut bytes = encode(&message("A", b"1", PropertyParts::default()));
        bytes.extend(encode(&message("B", b"2", PropertyParts::default())));
        let topics: Vec<_> = record::iter(&bytes).map(|record| record.unwrap().topic()).collect();
        assert_eq!(topics, ["A", "B"]);
        bytes.pop();
        let results: Vec<_> = record::iter(&bytes).collect();
        assert_eq!(results.len(), 2);
        assert_eq!(results[1], Err(RecordError::Truncated));
    }

    #[test]
    fn the_log_patches_what_it_knows() {
        let original = message("T", b"x", PropertyParts::default());
        let mut bytes = encode(&original);
        patch::queue_offset(&mut bytes, 5);
        patch::physical_offset(&mut bytes, 6);
        patch::store_timestamp(&mut bytes, 7);
        let (store, born) = ("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        assert!(patch::store_host(&mut bytes, &store));
        assert!(patch::born_host(&mut bytes, &born));
        assert!(!patch::store_host(&mut bytes, &"[::1]:5".parse().unwrap()));
        let patched = Message {
            queue_offset: 5,
            physical_offset: 6,
            store_timestamp: 7,
            store_host: store,
            born_host: born,
            ..original
        };
        assert_eq!(bytes, encode(&patched));
    }

    #[test]
    fn damage_is_named() {
        let good = encode(&message("T", b"body", PropertyParts::default()));
        let damaged = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            RecordRef::parse(&bytes).map(|record| record.check_body()).err()
        };
        assert_eq!(damaged(0, 0x80).map(|e| matches!(e, RecordError::Size { .. })), Some(true));
        assert_eq!(damaged(2, 1), Some(RecordError::Truncated));
        assert_eq!(damaged(7, 0).map(|e| matches!(e, RecordError::Magic { .. })), Some(true));
        assert_eq!(damaged(52, 1), Some(RecordError::Host));
        assert_eq!(damaged(84, 0xff), Some(RecordError::Length { part: "body" }));
        assert_eq!(damaged(92, 200), Some(RecordError::Length { part: "topic" }));
        assert_eq!(damaged(93, 0xff), Some(RecordError::NotUtf8 { part: "topic" }));
        let mut bytes = good.clone();
        bytes[88] ^= 1;
        assert_eq!(RecordRef::parse(&bytes).unwrap().check_body(), Err(RecordError::BodyCrc));
    }

    #[test]
    fn limits_name_the_part() {
        let refused = |topic, properties, body| RecordSize::of(topic, properties, body, 0).unwrap_err();
        assert!(refused(256, 0, 0).to_string().starts_with("the topic has 256 bytes"));
        assert!(refused(1, 32768, 0).to_string().starts_with("the properties"));
        assert!(refused(1, 0, usize::MAX).to_string().starts_with("the body"));
        assert!(refused(1, 0, RECORD_LIMIT).to_string().starts_with("the record"));
    }
}
