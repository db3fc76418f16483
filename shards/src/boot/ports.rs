//! Whether the ports are free.
//!
//! Owns the trial bind. Our listeners share their port between executors with SO_REUSEPORT, which would let a second broker
//! of the same user slip in silently; so each port is bound once without it first. Also says who holds a taken port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Refused, owner};

/// How long a port that no process has may stay taken.
const LINGER: Duration = Duration::from_secs(3);

/// Where to listen: one address for both families where the machine has IPv6, else IPv4 alone.
///
/// # Errors
/// The port is taken, or this user may not listen on it.
pub fn free(bind: Option<IpAddr>, port: u16, key: &str) -> Result<SocketAddr, Refused> {
    let address = SocketAddr::new(bind.unwrap_or_else(any_address), port);
    let begun = Instant::now();
    loop {
        match trial(address) {
            Ok(()) => return Ok(address),
            Err(error) if is_haunted(&error, port) && begun.elapsed() < LINGER => pause(),
            Err(error) => return Err(refused(address, key, &error)),
        }
    }
}

/// Whether the port is taken and nobody has it: the kernel takes the rings of a killed predecessor apart a little after its
/// end, and until then an accept in one of them keeps the listening socket open.
fn is_haunted(error: &std::io::Error, port: u16) -> bool {
    error.raw_os_error() == Some(libc::EADDRINUSE) && owner::of_port(port).is_none()
}

#[expect(clippy::disallowed_methods, reason = "there is no executor yet")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// `::` when a dual-stack socket can be made and bound, else `0.0.0.0`.
fn any_address() -> IpAddr {
    let both = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    // Port 0 is any free port: what is tried here is the family.
    if trial(SocketAddr::new(both, 0)).is_ok() { both } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

fn trial(address: SocketAddr) -> std::io::Result<()> {
    let socket = socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// A socket as our listeners have it, apart from SO_REUSEPORT.
pub fn socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of a predecessor in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn refused(address: SocketAddr, key: &str, error: &std::io::Error) -> Refused {
    let port = address.port();
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EADDRINUSE => {
            let by = owner::of_port(port).map(|process| format!(" by {process}")).unwrap_or_default();
            Refused::new(format!("port {port} is in use{by}"), format!("stop it or set {key} to another port"))
        }
        Errno::EACCES => Refused::new(
            format!("this user may not listen on port {port}"),
            format!("set {key} to a port from 1024 up"),
        ),
        Errno::EADDRNOTAVAIL => Refused::new(
            format!("{} is no address of this machine", address.ip()),
            "correct bindAddress or leave it out".to_owned(),
        ),
        _ => Refused::new(format!("cannot listen on {address}: {error}"), format!("see {key}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_taken_port_is_refused_with_its_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = free(None, port, "listenPort").unwrap_err();
        assert!(
            refused.reason.starts_with(&format!("port {port} is in use by process {}", std::process::id())),
            "{refused}"
        );
        assert!(refused.mend.contains("listenPort"));
        drop(taken);
        assert_eq!(free(None, port, "listenPort").unwrap().port(), port);
    }

    #[test]
    fn sharing_the_port_does_not_hide_its_owner() {
        let address = free(None, 0, "listenPort").unwrap();
        let shared = socket(address).unwrap();
        shared.set_reuse_port(true).unwrap();
        shared.bind(&address.into()).unwrap();
        shared.listen(1).unwrap();
        let port = shared.local_addr().unwrap().as_socket().unwrap().port();
        assert!(free(None, port, "listenPort").is_err());
    }
}
