//! Message ids.
//!
//! Owns the two forms of protocol.md 4.6: the offsetMsgId, which says where a message is stored, and
//! the UNIQ_KEY, which a client (or, when it did not, the broker) invents. Ids are at most 56 ASCII
//! characters and live inline; no clock and no randomness here, the inputs are given.

use crate::hosts;
use crate::wire::{Reader, Writer};
use arrayvec::ArrayString;
use std::net::{IpAddr, SocketAddr};

/// The longest id: 28 bytes in hexadecimal, for an IPv6 host.
pub const ID_LIMIT: usize = 56;

/// An id in upper-case hexadecimal, inline.
pub type MessageId = ArrayString<ID_LIMIT>;

/// What an offsetMsgId says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetId {
    /// The broker's address.
    pub host: SocketAddr,
    /// The wire offset of the record.
    pub offset: i64,
}

impl OffsetId {
    /// The id: 32 characters for an IPv4 host, 56 for an IPv6 one.
    pub fn encode(&self) -> MessageId {
        let mut bytes = [0; ID_LIMIT / 2];
        let length = hosts::host_len(hosts::is_v6(&self.host)) + 8;
        let mut writer = Writer::new(&mut bytes[..length]);
        hosts::put(&mut writer, &self.host);
        writer.i64(self.offset);
        hex(&bytes[..length])
    }

    /// Reads an id in either case; `None` if it is no offsetMsgId.
    pub fn decode(id: &str) -> Option<Self> {
        let mut bytes = [0; ID_LIMIT / 2];
        let length = id.len() / 2;
        let v6 = match id.len() {
            32 => false,
            ID_LIMIT => true,
            _ => return None,
        };
        unhex(id.as_bytes(), &mut bytes[..length])?;
        let mut reader = Reader::new(&bytes[..length]);
        let host = hosts::take(&mut reader, v6)?;
        Some(OffsetId { host, offset: reader.i64()? })
    }
}

/// What a UNIQ_KEY is made of (RocketMQ: `MessageClientIDSetter`). The broker makes one for a message
/// that came without, so that it can be found by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// The maker's address.
    pub ip: IpAddr,
    /// The low 16 bits of its process id.
    pub process: u16,
    /// Tells apart several makers in one process: RocketMQ hashes the class loader.
    pub maker: u32,
    /// Milliseconds since the start of the month. Readers derive the time from it.
    pub millis_of_month: i32,
    /// Counts up, wrapping.
    pub counter: u16,
}

impl UniqueKey {
    /// The key: 32 characters for an IPv4 address, 56 for an IPv6 one.
    pub fn encode(&self) -> MessageId {
        let mut bytes = [0; ID_LIMIT / 2];
        let ip = self.ip.to_canonical();
        let length = if ip.is_ipv6() { 16 } else { 4 } + 2 + 4 + 4 + 2;
        let mut writer = Writer::new(&mut bytes[..length]);
        match ip {
            IpAddr::V4(ip) => writer.put(&ip.octets()),
            IpAddr::V6(ip) => writer.put(&ip.octets()),
        }
        writer.put(&self.process.to_be_bytes());
        writer.put(&self.maker.to_be_bytes());
        writer.i32(self.millis_of_month);
        writer.put(&self.counter.to_be_bytes());
        hex(&bytes[..length])
    }
}

#[inline]
fn hex(bytes: &[u8]) -> MessageId {
    // Computed instead of looked up: then several digits are computed at once.
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'A' - 10 };
    let mut digits = [0; ID_LIMIT];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    let digits = std::str::from_utf8(&digits[..bytes.len() * 2]).expect("digits are ASCII");
    MessageId::from(digits).expect("an id has at most 28 bytes")
}

fn unhex(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    for (pair, byte) in digits.chunks_exact(2).zip(bytes) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_id_is_host_and_offset_in_hexadecimal() {
        let id = OffsetId { host: "192.168.1.2:10911".parse().unwrap(), offset: 0x1234 };
        assert_eq!(&*id.encode(), "C0A8010200002A9F0000000000001234");
        assert_eq!(OffsetId::decode("C0A8010200002A9F0000000000001234"), Some(id));
        assert_eq!(OffsetId::decode("c0a8010200002a9f0000000000001234"), Some(id));
    }

    #[test]
    fn an_ipv6_offset_id_has_56_characters() {
        let id = OffsetId { host: "[2001:db8::1]:10911".parse().unwrap(), offset: i64::MAX };
        let text = id.encode();
        assert_eq!(text.len(), 56);
        assert_eq!(OffsetId::decode(&text), Some(id));
    }

    #[test]
    fn what_is_no_offset_id_is_refused() {
        for text in ["", "0", "C0A8010200002A9F000000000000123", "C0A8010200002A9F00000000000012GG"] {
            assert_eq!(OffsetId::decode(text), None);
        }
        // A port beyond 65535.
        assert_eq!(OffsetId::decode("C0A80102FFFFFFFF0000000000001234"), None);
        // 32 bytes that are not 32 characters.
        assert_eq!(OffsetId::decode("你你你你你你你你你你00"), None);
    }

    #[test]
    fn a_unique_key_has_the_clients_layout() {
        let mut key = UniqueKey {
            ip: "10.0.0.1".parse().unwrap(),
            process: 0x1234,
            maker: 0xcafe_babe,
            millis_of_month: 0x0102_0304,
            counter: 0xffff,
        };
        assert_eq!(&*key.encode(), "0A0000011234CAFEBABE01020304FFFF");
        key.ip = "2001:db8::1".parse().unwrap();
        assert_eq!(key.encode().len(), 56);
    }
}
