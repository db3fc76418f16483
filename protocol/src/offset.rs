//! Three kinds of offset that must not be mixed up.
//!
//! Owns [`QueueOffset`] (a message's number in its queue), [`Position`] (a byte in one shard's log)
//! and [`WireOffset`] (a position as clients see it, which names its shard).

use std::fmt;

/// The number of a message in its queue, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(pub i64);

/// A byte position in the log of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Bits of a wire offset that hold the byte position: 128 TiB of log per shard.
pub const POSITION_BITS: u32 = 47;

/// Positions are below this.
pub const POSITION_LIMIT: u64 = 1 << POSITION_BITS;

/// The most shards a wire offset can name; the sign bit stays clear.
pub const SHARD_LIMIT: u32 = 1 << (63 - POSITION_BITS);

/// A physical offset as it appears in records, ids and headers: an int64 that carries the shard number
/// above a 47-bit position. To clients it is one opaque commit-log offset, as RocketMQ's is.
///
/// ```text
///  63   62          47  46                      0
///  +---+--------------+--------------------------+
///  | 0 | shard (16)   | position (47)            |
///  +---+--------------+--------------------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireOffset(i64);

impl WireOffset {
    /// Joins a shard and a position.
    ///
    /// # Panics
    /// If either exceeds its limit: the broker made both, so that is a bug.
    pub const fn new(shard: u16, position: Position) -> Self {
        assert!(position.0 < POSITION_LIMIT, "a log position exceeds 47 bits");
        WireOffset((shard as i64) << POSITION_BITS | position.0 as i64)
    }

    /// From the wire; `None` if negative.
    pub const fn from_wire(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(WireOffset(value)) }
    }

    /// As it goes on the wire.
    pub const fn to_wire(self) -> i64 {
        self.0
    }

    /// The shard whose log holds the byte.
    pub const fn shard(self) -> u16 {
        (self.0 >> POSITION_BITS) as u16
    }

    /// The byte's position in that log.
    pub const fn position(self) -> Position {
        Position(self.0 as u64 & (POSITION_LIMIT - 1))
    }
}

macro_rules! displays {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

displays! { QueueOffset Position WireOffset }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_and_position_come_apart_again() {
        for (shard, position) in [(0, 0), (3, 12345), (u16::MAX, POSITION_LIMIT - 1)] {
            let offset = WireOffset::new(shard, Position(position));
            assert!(offset.to_wire() >= 0);
            assert_eq!(WireOffset::from_wire(offset.to_wire()), Some(offset));
            assert_eq!((offset.shard(), offset.position()), (shard, Position(position)));
        }
        assert_eq!(WireOffset::from_wire(-1), None);
        assert_eq!(WireOffset::new(0, Position(77)).to_wire(), 77);
    }
}
