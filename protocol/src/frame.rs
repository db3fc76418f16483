//! Cutting a receive buffer into frames.
//!
//! Owns the two words in front of every command (protocol.md 1.1; RocketMQ: `NettyDecoder`):
//!
//! ```text
//!  0        4          5              8            8+H            4+L
//!  +--------+----------+--------------+------------+--------------+
//!  | L      | spelling | H (24 bits)  | header     | body         |
//!  +--------+----------+--------------+------------+--------------+
//!           |<------------------------- L ----------------------->|
//! ```
//!
//! Never looks into the header, never copies and never allocates: a [`Frame`] is three borrowed slices.

use std::fmt;

/// The largest frame in bytes, length word included. The Java client's own default limit
/// (`com.rocketmq.remoting.frameMaxLength`); a larger answer would make it drop the connection.
pub const FRAME_LIMIT: usize = 16 * 1024 * 1024;

/// Bytes before the header: the length word and the header word.
pub const PREFIX_LEN: usize = 8;

/// Bytes of the length word, which `L` does not count.
const LENGTH_WORD: usize = 4;

/// The two ways a header may be spelled; the top byte of the header word (RocketMQ: `SerializeType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// A JSON object: byte 0, the default of every client.
    #[default]
    Json,
    /// RocketMQ's own binary layout: byte 1.
    Binary,
}

impl Spelling {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Spelling::Json => 0,
            Spelling::Binary => 1,
        }
    }

    /// From the byte on the wire.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Spelling::Json),
            1 => Some(Spelling::Binary),
            _ => None,
        }
    }
}

/// One complete frame at the front of a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The whole frame, both words included: what is handed on undecoded.
    pub bytes: &'a [u8],
    /// `bytes.len()`: how much to consume from the receive buffer.
    pub total_len: usize,
    /// How the header is spelled.
    pub spelling: Spelling,
    /// The header's bytes.
    pub header: &'a [u8],
    /// The body's bytes; may be empty.
    pub body: &'a [u8],
}

/// Why the bytes at the front of a buffer cannot be a frame. The connection has lost its rhythm and
/// must be closed: there is no opaque to answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// L is below 4: there is no room for the header word.
    TooShort {
        /// The length word as received.
        length: u32,
    },
    /// L + 4 exceeds [`FRAME_LIMIT`].
    TooLong {
        /// The length word as received.
        length: u32,
    },
    /// H is greater than L - 4.
    HeaderBeyondFrame {
        /// The header length as received.
        header: u32,
        /// The length word as received.
        length: u32,
    },
    /// The top byte of the header word is neither 0 (JSON) nor 1 (binary).
    UnknownSpelling {
        /// The byte as received.
        byte: u8,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::TooShort { length } => {
                write!(f, "frame length {length} is below 4, the size of the header word")
            }
            FrameError::TooLong { length } => {
                write!(f, "frame length {length} exceeds the limit of {FRAME_LIMIT} bytes")
            }
            FrameError::HeaderBeyondFrame { header, length } => {
                write!(f, "header length {header} does not fit in frame length {length}")
            }
            FrameError::UnknownSpelling { byte } => {
                write!(f, "header type {byte} is neither 0 (JSON) nor 1 (binary)")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// How many bytes the frame at the front of `buf` needs in total, so that a receive buffer can be
/// grown once. While the length word itself is incomplete the answer is [`PREFIX_LEN`], the size of
/// the smallest frame.
#[inline]
pub fn needed(buf: &[u8]) -> Result<usize, FrameError> {
    let Some(&[a, b, c, d]) = buf.first_chunk() else {
        return Ok(PREFIX_LEN);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let total = length as usize + LENGTH_WORD;
    if total < PREFIX_LEN {
        return Err(FrameError::TooShort { length });
    }
    if total > FRAME_LIMIT {
        return Err(FrameError::TooLong { length });
    }
    Ok(total)
}

/// Cuts the frame at the front of `buf`; `None` while it is incomplete.
///
/// Both words are checked as soon as they arrived, so a peer that announces nonsense is found out
/// before its frame is buffered.
#[inline]
pub fn split(buf: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let total_len = needed(buf)?;
    let Some(&[_, _, _, _, kind, h2, h1, h0]) = buf.first_chunk::<PREFIX_LEN>() else {
        return Ok(None);
    };
    let spelling = Spelling::from_byte(kind).ok_or(FrameError::UnknownSpelling { byte: kind })?;
    let header_len = u32::from_be_bytes([0, h2, h1, h0]);
    let body_at = PREFIX_LEN + header_len as usize;
    if body_at > total_len {
        let length = (total_len - LENGTH_WORD) as u32;
        return Err(FrameError::HeaderBeyondFrame { header: header_len, length });
    }
    let Some(bytes) = buf.get(..total_len) else {
        return Ok(None);
    };
    Ok(Some(Frame { bytes, total_len, spelling, header: &bytes[PREFIX_LEN..body_at], body: &bytes[body_at..] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u32, kind: u8, header: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(u32::from(kind) << 24 | header).to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn the_smallest_frame_has_neither_header_nor_body() {
        let bytes = frame(4, 0, 0, b"");
        let frame = split(&bytes).unwrap().unwrap();
        assert_eq!((frame.total_len, frame.header, frame.body), (8, &b""[..], &b""[..]));
    }

    #[test]
    fn what_follows_a_frame_is_left_alone() {
        let bytes = frame(4 + 2 + 3, 1, 2, b"hhbbbnext");
        let frame = split(&bytes).unwrap().unwrap();
        assert_eq!(frame.spelling, Spelling::Binary);
        assert_eq!((frame.header, frame.body), (&b"hh"[..], &b"bbb"[..]));
        assert_eq!(&bytes[frame.total_len..], b"next");
    }

    #[test]
    fn every_proper_prefix_needs_more() {
        let bytes = frame(4 + 2 + 3, 0, 2, b"hhbbb");
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut]), Ok(None));
            assert_eq!(needed(&bytes[..cut]), Ok(if cut < 4 { PREFIX_LEN } else { bytes.len() }));
        }
    }

    #[test]
    fn lengths_are_refused_as_soon_as_they_are_seen() {
        assert_eq!(split(&[0, 0, 0, 3]), Err(FrameError::TooShort { length: 3 }));
        let largest = (FRAME_LIMIT - 4) as u32;
        assert_eq!(split(&largest.to_be_bytes()), Ok(None));
        assert_eq!(split(&(largest + 1).to_be_bytes()), Err(FrameError::TooLong { length: largest + 1 }));
        assert_eq!(split(&[0xff; 4]), Err(FrameError::TooLong { length: u32::MAX }));
        assert_eq!(split(&frame(10, 0, 7, b"")), Err(FrameError::HeaderBeyondFrame { header: 7, length: 10 }));
        assert_eq!(split(&frame(10, 2, 1, b"")), Err(FrameError::UnknownSpelling { byte: 2 }));
    }
}
