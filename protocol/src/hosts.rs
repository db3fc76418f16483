//! Socket addresses as records and ids store them.
//!
//! Owns the two layouts: 4 or 16 address bytes, then the port as an int32. Which of the two a record
//! uses is told by its sysFlag (`sys_flag::BORN_HOST_V6`, `STORE_HOST_V6`), never by the bytes.

use crate::wire::{Reader, Writer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a host with an IPv4 address.
pub const HOST_V4_LEN: usize = 4 + 4;

/// Bytes of a host with an IPv6 address.
pub const HOST_V6_LEN: usize = 16 + 4;

/// Bytes of a host of the given family.
pub const fn host_len(v6: bool) -> usize {
    if v6 { HOST_V6_LEN } else { HOST_V4_LEN }
}

/// Whether this address is stored with 16 bytes. An IPv4 address that came in through a dual-stack
/// socket (`::ffff:a.b.c.d`) is stored as IPv4, or its clients would be told an address they do not
/// know themselves by.
#[inline]
pub fn is_v6(host: &SocketAddr) -> bool {
    match host {
        SocketAddr::V4(_) => false,
        SocketAddr::V6(host) => host.ip().to_canonical().is_ipv6(),
    }
}

/// Puts a host in the layout of its family.
#[inline]
pub fn put(writer: &mut Writer<'_>, host: &SocketAddr) {
    match host {
        SocketAddr::V4(host) => writer.put(&host.ip().octets()),
        SocketAddr::V6(host) => match host.ip().to_canonical() {
            IpAddr::V4(ip) => writer.put(&ip.octets()),
            IpAddr::V6(ip) => writer.put(&ip.octets()),
        },
    }
    writer.i32(i32::from(host.port()));
}

/// Takes a host of the given family; `None` if bytes are missing or the port is no port.
pub fn take(reader: &mut Reader<'_>, v6: bool) -> Option<SocketAddr> {
    let ip = if v6 {
        let octets: [u8; 16] = reader.take(16)?.try_into().ok()?;
        IpAddr::V6(Ipv6Addr::from(octets))
    } else {
        let octets: [u8; 4] = reader.take(4)?.try_into().ok()?;
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    let port = u16::try_from(reader.i32()?).ok()?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_both_families_read_back() {
        for text in ["10.1.2.3:10911", "[2001:db8::1]:65535", "0.0.0.0:0"] {
            let host: SocketAddr = text.parse().unwrap();
            let mut bytes = vec![0; host_len(is_v6(&host))];
            put(&mut Writer::new(&mut bytes), &host);
            assert_eq!(take(&mut Reader::new(&bytes), host.is_ipv6()), Some(host));
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let host: SocketAddr = "[::ffff:10.1.2.3]:80".parse().unwrap();
        assert!(!is_v6(&host));
        let mut bytes = [0; HOST_V4_LEN];
        put(&mut Writer::new(&mut bytes), &host);
        assert_eq!(bytes, [10, 1, 2, 3, 0, 0, 0, 80]);
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        assert_eq!(take(&mut Reader::new(&[1, 2, 3, 4, 0, 1, 0, 0]), false), None);
        assert_eq!(take(&mut Reader::new(&[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff]), false), None);
    }
}
