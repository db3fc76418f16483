//! Reading records: a checked view, an iterator over concatenated records, and patching in place.

use super::{MAGIC_V1, MAGIC_V2, RECORD_LEAST, RECORD_LIMIT};
use super::{
    RecordError, RecordVersion, TOPIC_LIMIT, at, body_crc, body_len_at, reconsume_times_at, store_host_at,
    store_timestamp_at,
};
use crate::hosts;
use crate::ids::{MessageId, OffsetId};
use crate::properties;
use crate::sys_flag;
use crate::wire::{Reader, Writer};
use std::net::SocketAddr;

/// A record whose structure has been checked: every part lies inside it, topic and properties are
/// UTF-8, the ports are ports. The body checksum is checked only when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    bytes: &'a [u8],
    version: RecordVersion,
    body: &'a [u8],
    topic: &'a str,
    properties: &'a str,
}

impl<'a> RecordRef<'a> {
    /// Checks the record at the front of `bytes`; what follows it is ignored.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let total = peek_size(bytes)?;
        let bytes = bytes.get(..total).ok_or(RecordError::Truncated)?;
        let magic = i32_at(bytes, at::MAGIC);
        let version = match magic {
            MAGIC_V1 => RecordVersion::V1,
            MAGIC_V2 => RecordVersion::V2,
            found => return Err(RecordError::Magic { found }),
        };
        let flag = i32_at(bytes, at::SYS_FLAG);
        check_host(bytes, at::BORN_HOST, flag & sys_flag::BORN_HOST_V6 != 0)?;
        check_host(bytes, store_host_at(flag), flag & sys_flag::STORE_HOST_V6 != 0)?;
        let tail = bytes.get(body_len_at(flag)..).ok_or(RecordError::Length { part: "header" })?;
        let mut reader = Reader::new(tail);
        let body = reader.counted_i32().ok_or(RecordError::Length { part: "body" })?;
        let topic = take_topic(&mut reader, version).ok_or(RecordError::Length { part: "topic" })?;
        let properties = reader.counted_i16().ok_or(RecordError::Length { part: "properties" })?;
        if !reader.is_empty() {
            return Err(RecordError::Size { found: i32_at(bytes, at::TOTAL_SIZE) });
        }
        if topic.len() > TOPIC_LIMIT {
            return Err(RecordError::TooLong { part: "topic", bytes: topic.len(), limit: TOPIC_LIMIT });
        }
        let topic = text(topic, "topic")?;
        let properties = text(properties, "properties")?;
        Ok(RecordRef { bytes, version, body, topic, properties })
    }

    /// The whole record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Which layout it has.
    pub fn version(&self) -> RecordVersion {
        self.version
    }

    /// The body as stored, possibly compressed.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The properties string.
    pub fn properties(&self) -> &'a str {
        self.properties
    }

    /// One property.
    pub fn property(&self, key: &str) -> Option<&'a str> {
        properties::find(self.properties, key)
    }

    /// The body checksum as stored.
    pub fn body_crc(&self) -> i32 {
        i32_at(self.bytes, at::BODY_CRC)
    }

    /// Checks the body against its checksum.
    ///
    /// # Errors
    /// [`RecordError::BodyCrc`].
    pub fn check_body(&self) -> Result<(), RecordError> {
        if body_crc(self.body) == self.body_crc() { Ok(()) } else { Err(RecordError::BodyCrc) }
    }

    /// The queue.
    pub fn queue_id(&self) -> i32 {
        i32_at(self.bytes, at::QUEUE_ID)
    }

    /// The user's flag.
    pub fn flag(&self) -> i32 {
        i32_at(self.bytes, at::FLAG)
    }

    /// The number of the message in its queue.
    pub fn queue_offset(&self) -> i64 {
        i64_at(self.bytes, at::QUEUE_OFFSET)
    }

    /// The wire offset the record states for itself.
    pub fn physical_offset(&self) -> i64 {
        i64_at(self.bytes, at::PHYSICAL_OFFSET)
    }

    /// The sysFlag.
    pub fn sys_flag(&self) -> i32 {
        i32_at(self.bytes, at::SYS_FLAG)
    }

    /// When the producer made the message, ms.
    pub fn born_timestamp(&self) -> i64 {
        i64_at(self.bytes, at::BORN_TIMESTAMP)
    }

    /// Who made it.
    pub fn born_host(&self) -> SocketAddr {
        host_at(self.bytes, at::BORN_HOST, self.sys_flag() & sys_flag::BORN_HOST_V6 != 0)
    }

    /// When the broker stored it, ms.
    pub fn store_timestamp(&self) -> i64 {
        i64_at(self.bytes, store_timestamp_at(self.sys_flag()))
    }

    /// Who stored it: an address clients can reach.
    pub fn store_host(&self) -> SocketAddr {
        let flag = self.sys_flag();
        host_at(self.bytes, store_host_at(flag), flag & sys_flag::STORE_HOST_V6 != 0)
    }

    /// How often it was redelivered.
    pub fn reconsume_times(&self) -> i32 {
        i32_at(self.bytes, reconsume_times_at(self.sys_flag()))
    }

    /// For a committed transactional message the wire offset of its half record, else 0.
    pub fn prepared_transaction_offset(&self) -> i64 {
        i64_at(self.bytes, reconsume_times_at(self.sys_flag()) + 4)
    }

    /// The offsetMsgId that clients compute from store host and physical offset.
    pub fn offset_id(&self) -> MessageId {
        OffsetId { host: self.store_host(), offset: self.physical_offset() }.encode()
    }
}

/// The size of the record at the front of `bytes`, as soon as its first four bytes are there.
///
/// # Errors
/// A size no record can have, or fewer than four bytes.
pub fn peek_size(bytes: &[u8]) -> Result<usize, RecordError> {
    let Some(word) = bytes.first_chunk::<4>() else {
        return Err(RecordError::Truncated);
    };
    let found = i32::from_be_bytes(*word);
    match usize::try_from(found) {
        Ok(size) if (RECORD_LEAST..=RECORD_LIMIT).contains(&size) => Ok(size),
        _ => Err(RecordError::Size { found }),
    }
}

/// The records in a body of concatenated records.
pub fn iter(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// Iterator over concatenated records; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = RecordRef::parse(self.rest);
        self.rest = match &record {
            Ok(record) => &self.rest[record.bytes.len()..],
            Err(_) => &[],
        };
        Some(record)
    }
}

/// Patches what only the log knows, in the bytes of a record that was encoded before.
pub mod patch {
    use super::{Writer, at, hosts, i32_at, reconsume_times_at, store_host_at, store_timestamp_at, sys_flag};
    use std::net::SocketAddr;

    /// Sets the queue offset.
    pub fn queue_offset(record: &mut [u8], offset: i64) {
        record[at::QUEUE_OFFSET..][..8].copy_from_slice(&offset.to_be_bytes());
    }

    /// Sets the physical offset.
    pub fn physical_offset(record: &mut [u8], offset: i64) {
        record[at::PHYSICAL_OFFSET..][..8].copy_from_slice(&offset.to_be_bytes());
    }

    /// Sets the prepared transaction offset.
    pub fn prepared_transaction_offset(record: &mut [u8], offset: i64) {
        let at = reconsume_times_at(i32_at(record, at::SYS_FLAG)) + 4;
        record[at..][..8].copy_from_slice(&offset.to_be_bytes());
    }

    /// Sets the store timestamp.
    pub fn store_timestamp(record: &mut [u8], millis: i64) {
        let at = store_timestamp_at(i32_at(record, at::SYS_FLAG));
        record[at..][..8].copy_from_slice(&millis.to_be_bytes());
    }

    /// Sets the store host; `false`, and nothing changed, if its family needs another layout.
    pub fn store_host(record: &mut [u8], host: &SocketAddr) -> bool {
        let flag = i32_at(record, at::SYS_FLAG);
        let v6 = flag & sys_flag::STORE_HOST_V6 != 0;
        put_host(record, store_host_at(flag), v6, host)
    }

    /// Sets the born host; `false`, and nothing changed, if its family needs another layout.
    pub fn born_host(record: &mut [u8], host: &SocketAddr) -> bool {
        let v6 = i32_at(record, at::SYS_FLAG) & sys_flag::BORN_HOST_V6 != 0;
        put_host(record, at::BORN_HOST, v6, host)
    }

    fn put_host(record: &mut [u8], at: usize, v6: bool, host: &SocketAddr) -> bool {
        let fits = hosts::is_v6(host) == v6;
        if fits {
            hosts::put(&mut Writer::new(&mut record[at..][..hosts::host_len(v6)]), host);
        }
        fits
    }
}

fn take_topic<'a>(reader: &mut Reader<'a>, version: RecordVersion) -> Option<&'a [u8]> {
    match version {
        RecordVersion::V1 => {
            let length = usize::from(reader.u8()?);
            reader.take(length)
        }
        RecordVersion::V2 => reader.counted_i16(),
    }
}

fn text<'a>(bytes: &'a [u8], part: &'static str) -> Result<&'a str, RecordError> {
    std::str::from_utf8(bytes).map_err(|_| RecordError::NotUtf8 { part })
}

fn check_host(bytes: &[u8], at: usize, v6: bool) -> Result<(), RecordError> {
    let tail = bytes.get(at..).ok_or(RecordError::Length { part: "header" })?;
    match hosts::take(&mut Reader::new(tail), v6) {
        Some(_) => Ok(()),
        None => Err(RecordError::Host),
    }
}

/// Only called where `parse` has read the same host before.
fn host_at(bytes: &[u8], at: usize, v6: bool) -> SocketAddr {
    hosts::take(&mut Reader::new(&bytes[at..]), v6).expect("checked when the record was parsed")
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    Reader::new(&bytes[at..]).i32().expect("inside the fixed part of a record")
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    Reader::new(&bytes[at..]).i64().expect("inside the fixed part of a record")
}
