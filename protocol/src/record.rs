//! The stored message, which is also what consumers receive.
//!
//! Owns the record layout of protocol.md 4.1 (RocketMQ: `MessageDecoder`, `MessageExtEncoder`):
//! checked views over bytes, the exact size of a record before it is written, the writing straight
//! into its destination, and the patching of what only the log knows. Never decompresses a body and
//! never interprets properties.
//!
//! ```text
//!  0       4       8       12      16      20            28               36       40
//!  +-------+-------+-------+-------+-------+-------------+----------------+--------+---------------+
//!  | total | magic | crc   | queue | flag  | queueOffset | physicalOffset | sysFl. | bornTimestamp |
//!  +-------+-------+-------+-------+-------+-------------+----------------+--------+---------------+
//!  48          56 or 68     +8              +8 or 20    +4           +8
//!  +-----------+------------+----------------+-----------+------------+-----------------+
//!  | born host | (v6 longer)| storeTimestamp | storeHost | reconsumes | preparedOffset  |
//!  +-----------+------------+----------------+-----------+------------+-----------------+
//!  then: bodyLength i32, body, topicLength (V1: u8, V2: i16), topic, propertiesLength i16, properties
//! ```

mod encode;
mod view;

pub use encode::{Message, PropertyParts, RecordSize};
pub use view::{RecordRef, Records, iter, patch, peek_size};

use crate::frame::FRAME_LIMIT;
use crate::hosts::host_len;
use crate::sys_flag;
use std::fmt;

/// Where the fixed fields lie. Everything behind the born host moves with its family.
pub mod at {
    /// int32: length of the whole record.
    pub const TOTAL_SIZE: usize = 0;
    /// int32: [`super::MAGIC_V1`] or [`super::MAGIC_V2`].
    pub const MAGIC: usize = 4;
    /// int32: [`super::body_crc`].
    pub const BODY_CRC: usize = 8;
    /// int32.
    pub const QUEUE_ID: usize = 12;
    /// int32: the user's flag.
    pub const FLAG: usize = 16;
    /// int64: number of the message in its queue.
    pub const QUEUE_OFFSET: usize = 20;
    /// int64: the wire offset of this record.
    pub const PHYSICAL_OFFSET: usize = 28;
    /// int32.
    pub const SYS_FLAG: usize = 36;
    /// int64: milliseconds.
    pub const BORN_TIMESTAMP: usize = 40;
    /// 8 or 20 bytes.
    pub const BORN_HOST: usize = 48;
}

/// Magic of a record with a one-byte topic length.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;

/// Magic of a record with a two-byte topic length.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;

/// The longest topic a V1 record can name: its length is a signed byte to Java.
pub const TOPIC_V1_LIMIT: usize = i8::MAX as usize;

/// The longest topic at all.
pub const TOPIC_LIMIT: usize = crate::names::SPECIAL_TOPIC_LIMIT;

/// The smallest record, one with no topic, body and properties: the fixed overhead of an IPv4 V1 record (protocol.md 4.1).
pub const RECORD_LEAST: usize = body_len_at(0) + 4 + 1 + 2;

/// The largest record: it must fit in an answer with room for the header.
pub const RECORD_LIMIT: usize = FRAME_LIMIT - 64 * 1024;

/// The two layouts of a record; they differ in the width of the topic length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordVersion {
    /// One byte. Go reads nothing else.
    V1,
    /// Two bytes; only for topics above 127 bytes.
    V2,
}

impl RecordVersion {
    /// The version that a topic of this length needs.
    pub const fn for_topic(topic_len: usize) -> Self {
        if topic_len > TOPIC_V1_LIMIT { RecordVersion::V2 } else { RecordVersion::V1 }
    }

    const fn magic(self) -> i32 {
        match self {
            RecordVersion::V1 => MAGIC_V1,
            RecordVersion::V2 => MAGIC_V2,
        }
    }

    const fn topic_length_width(self) -> usize {
        match self {
            RecordVersion::V1 => 1,
            RecordVersion::V2 => 2,
        }
    }
}

/// The body checksum of a record: CRC-32 (the zlib one) without its sign bit; 0 for an empty body.
#[inline]
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7fff_ffff) as i32
}

/// Where the store timestamp lies, given the sysFlag.
#[inline]
pub const fn store_timestamp_at(sys_flag: i32) -> usize {
    at::BORN_HOST + host_len(sys_flag & sys_flag::BORN_HOST_V6 != 0)
}

/// Where the store host lies, given the sysFlag.
#[inline]
pub const fn store_host_at(sys_flag: i32) -> usize {
    store_timestamp_at(sys_flag) + 8
}

/// Where the reconsume count lies, given the sysFlag; the prepared offset follows it.
#[inline]
pub const fn reconsume_times_at(sys_flag: i32) -> usize {
    store_host_at(sys_flag) + host_len(sys_flag & sys_flag::STORE_HOST_V6 != 0)
}

/// Where the body length lies, given the sysFlag.
#[inline]
pub const fn body_len_at(sys_flag: i32) -> usize {
    reconsume_times_at(sys_flag) + 4 + 8
}

const _: () = assert!(RECORD_LEAST == 91);

/// Why bytes are not a record, or a message cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes end before the record does.
    Truncated,
    /// Neither of the two magics.
    Magic {
        /// The value found.
        found: i32,
    },
    /// The total size is below the fixed overhead, above [`RECORD_LIMIT`], or differs from the sum of
    /// the parts.
    Size {
        /// The value found.
        found: i32,
    },
    /// A part's length is negative or reaches beyond the record.
    Length {
        /// Which part.
        part: &'static str,
    },
    /// A host whose port is no port.
    Host,
    /// Topic or properties are not UTF-8.
    NotUtf8 {
        /// Which part.
        part: &'static str,
    },
    /// The body does not have the checksum the record states.
    BodyCrc,
    /// A part is longer than its length field can say, or the whole than a frame can carry.
    TooLong {
        /// Which part.
        part: &'static str,
        /// Its length.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Truncated => f.write_str("the bytes end within a record"),
            RecordError::Magic { found } => write!(f, "{found:#010x} is not the magic of a record"),
            RecordError::Size { found } => write!(f, "{found} is not the size of this record"),
            RecordError::Length { part } => write!(f, "the {part} reaches beyond its record"),
            RecordError::Host => f.write_str("a host of the record has an impossible port"),
            RecordError::NotUtf8 { part } => write!(f, "the {part} of the record is not UTF-8"),
            RecordError::BodyCrc => f.write_str("the body does not match its checksum"),
            RecordError::TooLong { part, bytes, limit } => {
                write!(f, "the {part} has {bytes} bytes, more than the limit of {limit}")
            }
        }
    }
}

impl std::error::Error for RecordError {}
