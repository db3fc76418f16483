//! What RingMQ itself must remember, as records in the log beside the messages.
//!
//! Owns the 16 bytes before a payload and the list of kinds. The payloads belong to those who write them.
//!
//! ```text
//! 0 total size | 4 magic | 8 kind | 10 zero | 12 zero | 16 payload
//! ```

use ringmq_protocol::wire::{Reader, Writer};

/// `RMQO`
pub const MAGIC: u32 = 0x524d_514f;

/// Bytes before the payload.
pub const HEADER: usize = 16;

/// What an own record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum OwnKind {
    /// Consumer offsets of queues of this shard.
    OffsetBatch = 1,
    /// Control shard: a topic was created or changed.
    TopicPut = 2,
    /// Control shard: a topic is no more.
    TopicDrop = 3,
    /// Control shard: a consumer group was created or changed.
    GroupPut = 4,
    /// Control shard: a consumer group is no more.
    GroupDrop = 5,
    /// From here on, what this shard stores for a topic is of this incarnation; queues of another one end, see
    /// [`crate::store::Begun`].
    TopicBegun = 6,
    /// Control shard: a setting was changed at run time.
    SettingPut = 7,
    /// How far the clock that delays are measured by is from the wall clock.
    DelayClock = 8,
    /// How often the producers of half messages were asked about them.
    HalfChecked = 9,
    /// What a group holds of a queue by POP changed.
    Pop = 10,
}

impl OwnKind {
    const ALL: [OwnKind; 10] = [
        OwnKind::OffsetBatch,
        OwnKind::TopicPut,
        OwnKind::TopicDrop,
        OwnKind::GroupPut,
        OwnKind::GroupDrop,
        OwnKind::TopicBegun,
        OwnKind::SettingPut,
        OwnKind::DelayClock,
        OwnKind::HalfChecked,
        OwnKind::Pop,
    ];

    /// The kind with this number.
    pub fn of(code: u16) -> Option<Self> {
        OwnKind::ALL.into_iter().find(|kind| *kind as u16 == code)
    }

    /// Its number on disk.
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// An own record, borrowed from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnRecord<'a> {
    pub kind: OwnKind,
    pub payload: &'a [u8],
}

impl<'a> OwnRecord<'a> {
    /// Bytes of the whole record.
    pub fn size(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Writes it into exactly [`OwnRecord::size`] bytes.
    pub fn encode(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.size());
        let mut out = Writer::new(out);
        out.i32(i32::try_from(self.size()).expect("the log refuses larger records"));
        out.i32(MAGIC as i32);
        out.i16(self.kind.code() as i16);
        out.i16(0);
        out.i32(0);
        out.put(self.payload);
    }

    /// Reads one record of exactly these bytes; `None` if it is not an own record or of an unknown kind.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let mut from = Reader::new(record);
        let size = from.i32()? as u32;
        let magic = from.i32()? as u32;
        let kind = OwnKind::of(from.i16()? as u16)?;
        from.i16()?;
        from.i32()?;
        let payload = from.take(from.remaining())?;
        (magic == MAGIC && size as usize == record.len()).then_some(OwnRecord { kind, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read() {
        for kind in OwnKind::ALL {
            let record = OwnRecord { kind, payload: b"orders" };
            let mut bytes = vec![0xee; record.size()];
            record.encode(&mut bytes);
            assert_eq!(OwnRecord::parse(&bytes), Some(record));
            assert_eq!(OwnRecord::parse(&bytes[..bytes.len() - 1]), None);
            bytes[9] = 99;
            assert_eq!(OwnRecord::parse(&bytes), None, "an unknown kind is not guessed at");
        }
    }
}
