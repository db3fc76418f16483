//! The frame: one group commit with its checksum.
//!
//! Owns the 40 bytes before the records, their encoding and their check. Knows nothing of what records mean.
//!
//! ```text
//!  0 magic | 4 crc32c of 8.. | 8 length | 12 shard | 14 kind | 16 position | 24 durable | 32 epoch | 36 records | 40
//! ```

use ringmq_protocol::wire::{Reader, Writer};

/// Bytes of a frame's header.
pub const HEADER: usize = 40;

/// `RMQF`
pub const MAGIC: u32 = 0x524d_5146;

/// Where the checksum lies, and where what it covers begins.
const CRC_AT: usize = 4;
const COVERED_FROM: usize = 8;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Records, at least one.
    Records,
    /// Nothing: the stream goes on at the next segment's base.
    SegmentEnd,
}

impl FrameKind {
    fn code(self) -> u16 {
        match self {
            FrameKind::Records => 0,
            FrameKind::SegmentEnd => 1,
        }
    }

    fn of(code: u16) -> Option<Self> {
        match code {
            0 => Some(FrameKind::Records),
            1 => Some(FrameKind::SegmentEnd),
            _ => None,
        }
    }
}

/// A frame's header without its magic and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of records after the header.
    pub length: u32,
    pub shard: u16,
    pub kind: FrameKind,
    /// Stream offset of the header's first byte.
    pub position: u64,
    /// Everything below was durable when the frame was sealed.
    pub durable: u64,
    pub epoch: u32,
    pub records: u32,
}

impl FrameHeader {
    /// The header's bytes. `payload` is the frame's records, in as many pieces as memory has them; the checksum begins
    /// with `seed`.
    pub fn seal<'a>(&self, seed: u32, payload: impl Iterator<Item = &'a [u8]>) -> [u8; HEADER] {
        let FrameHeader { length, shard, kind, position, durable, epoch, records } = *self;
        let mut bytes = [0; HEADER];
        let mut out = Writer::new(&mut bytes);
        out.i32(MAGIC as i32);
        out.i32(0);
        out.i32(length as i32);
        out.i16(shard as i16);
        out.i16(kind.code() as i16);
        out.i64(position as i64);
        out.i64(durable as i64);
        out.i32(epoch as i32);
        out.i32(records as i32);
        let mut crc = crc32c::crc32c_append(seed, &bytes[COVERED_FROM..]);
        let mut summed = 0;
        for piece in payload {
            crc = crc32c::crc32c_append(crc, piece);
            summed += piece.len();
        }
        assert_eq!(summed, length as usize, "a frame is sealed over all of its records");
        bytes[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Bytes of the whole frame.
    pub fn total(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }
}

/// A header read from disk: it looks like one, its checksum has not been compared.
#[derive(Debug, Clone, Copy)]
pub struct UnverifiedFrame {
    header: FrameHeader,
    crc: u32,
}

impl UnverifiedFrame {
    /// Takes a header from the front of `bytes` if it has the magic, a known kind and a plausible shape.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes.get(..HEADER)?);
        if from.i32()? as u32 != MAGIC {
            return None;
        }
        let crc = from.i32()? as u32;
        let length = from.i32()? as u32;
        let shard = from.i16()? as u16;
        let kind = FrameKind::of(from.i16()? as u16)?;
        let position = from.i64()? as u64;
        let durable = from.i64()? as u64;
        let epoch = from.i32()? as u32;
        let records = from.i32()? as u32;
        let plausible = match kind {
            FrameKind::Records => length > 0 && records > 0,
            FrameKind::SegmentEnd => length == 0 && records == 0,
        };
        let header = FrameHeader { length, shard, kind, position, durable, epoch, records };
        (plausible && durable <= position).then_some(UnverifiedFrame { header, crc })
    }

    /// What the header says, for deciding how many bytes are needed to check it.
    pub fn claimed(&self) -> &FrameHeader {
        &self.header
    }

    /// The header if the checksum over it and the records fits. `bytes` starts with the header and holds the whole frame.
    pub fn verify(&self, seed: u32, bytes: &[u8]) -> Option<FrameHeader> {
        let end = HEADER + self.header.length as usize;
        let covered = bytes.get(COVERED_FROM..end)?;
        (crc32c::crc32c_append(seed, covered) == self.crc).then_some(self.header)
    }

    /// The same for a frame that lies in several pieces, which are exactly its bytes.
    pub fn verify_pieces<'b>(&self, seed: u32, pieces: impl Iterator<Item = &'b [u8]>) -> bool {
        let (mut crc, mut passed, mut skip) = (seed, 0, COVERED_FROM);
        for piece in pieces {
            let covered = &piece[skip.min(piece.len())..];
            crc = crc32c::crc32c_append(crc, covered);
            skip -= piece.len() - covered.len();
            passed += piece.len() as u64;
        }
        passed == self.header.total() && crc == self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: u32 = 77;

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            length: payload.len() as u32,
            shard: 7,
            kind: FrameKind::Records,
            position: 4711,
            durable: 4000,
            epoch: 3,
            records: 2,
        };
        let (front, back) = payload.split_at(payload.len() / 3);
        let mut bytes = header.seal(SEED, [front, back].into_iter()).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_segment_end_is_a_header_alone() {
        let header = FrameHeader {
            length: 0,
            shard: 0,
            kind: FrameKind::SegmentEnd,
            position: 100,
            durable: 0,
            epoch: 1,
            records: 0,
        };
        let bytes = header.seal(SEED, std::iter::empty());
        let frame = UnverifiedFrame::parse(&bytes).expect("a header");
        assert_eq!(frame.verify(SEED, &bytes), Some(header));
        assert_eq!(frame.verify(SEED + 1, &bytes), None, "a frame of another directory is none of ours");
        assert!(UnverifiedFrame::parse(&bytes[..HEADER - 1]).is_none());
    }

    proptest! {
        #[test]
        fn what_is_sealed_verifies(payload in proptest::collection::vec(any::<u8>(), 1..600)) {
            let bytes = sealed(&payload);
            let frame = UnverifiedFrame::parse(&bytes).expect("a header");
            prop_assert_eq!(frame.verify(SEED, &bytes).expect("intact").position, 4711);
            prop_assert!(frame.verify(SEED, &bytes[..bytes.len() - 1]).is_none());
            let (front, back) = bytes.split_at(payload.len() / 2);
            prop_assert!(frame.verify_pieces(SEED, [front, back].into_iter()));
            prop_assert!(!frame.verify_pieces(SEED, [front, &back[1..]].into_iter()));
        }

        #[test]
        fn any_flipped_bit_is_seen(payload in proptest::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = sealed(&payload);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(UnverifiedFrame::parse(&bytes).and_then(|frame| frame.verify(SEED, &bytes)).is_none());
        }
    }
}
