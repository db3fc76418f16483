//! Listening sockets and the evening out of connections between executors.
//!
//! Owns the sockets that every executor shares by SO_REUSEPORT, the count of connections per executor, and the limit on all of
//! them. The kernel spreads connections by a hash, which leaves some executors with twice their share: the surplus is handed
//! over. Never reads from a connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use glommio::net::{AcceptedTcpStream, TcpListener};
use ringmq_core::event::CoreId;

use super::Door;
use super::connection;
use crate::boot::ports;
use crate::clock;
use crate::driver::Driver;
use crate::limits;

/// A listening socket of one executor, on its way to it.
#[derive(Debug)]
pub struct Listening {
    socket: socket2::Socket,
    door: Door,
}

/// A socket on `address` that shares its port with those of the other executors.
///
/// # Errors
/// The port was free a moment ago ([`ports::free`]) and is not now.
pub fn listen(address: SocketAddr, door: Door) -> io::Result<Listening> {
    let socket = ports::socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    Ok(Listening { socket, door })
}

/// Connections per executor, known to all of them.
///
/// The one piece of memory executors share besides the mesh: a count that is off by a few for a microsecond harms nobody.
#[derive(Debug, Clone)]
pub struct Census {
    counts: Arc<[AtomicU32]>,
    most: u32,
}

impl Census {
    /// For this many executors and at most `most` connections together.
    pub fn new(cores: usize, most: u32) -> Self {
        Census { counts: (0..cores).map(|_| AtomicU32::new(0)).collect(), most }
    }

    /// Enters a connection that executor `here` accepted; says who shall serve it. `None`: there are too many.
    fn enter(&self, here: CoreId) -> Option<CoreId> {
        let counts = || self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        if counts().sum::<u32>() >= self.most {
            return None;
        }
        let own = self.counts[usize::from(here.0)].load(Ordering::Relaxed);
        let (least_at, least) = counts().enumerate().min_by_key(|&(_, count)| count)?;
        let to = if own > least { CoreId(least_at as u16) } else { here };
        self.counts[usize::from(to.0)].fetch_add(1, Ordering::Relaxed);
        Some(to)
    }

    /// Strikes off a connection that `core` served.
    pub fn leave(&self, core: CoreId) {
        self.counts[usize::from(core.0)].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections until the executor ends.
pub async fn accept(driver: Rc<Driver>, listening: Listening, census: Census) {
    let Listening { socket, door } = listening;
    // SAFETY: the descriptor is a listening TCP socket that nobody else owns from here on.
    let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
    let mut complained = false;
    loop {
        match listener.shared_accept().await {
            Ok(accepted) => {
                complained = false;
                place(&driver, accepted, door, &census);
            }
            Err(error) => {
                if !complained {
                    crate::warn!("connections cannot be accepted: {error}");
                    complained = true;
                }
                glommio::timer::sleep(limits::ACCEPT_REST).await;
            }
        }
    }
}

fn place(driver: &Rc<Driver>, accepted: AcceptedTcpStream, door: Door, census: &Census) {
    // The name server lives on one executor; its connections stay there.
    let here = driver.core;
    match census.enter(here) {
        None => {
            crate::warn!("a connection was refused: {} are open, more file descriptors are needed", census.most);
            drop(accepted.bind_to_executor());
        }
        Some(to) if to == here || door == Door::NameServer => {
            if to != here {
                census.leave(to);
                census.counts[usize::from(here.0)].fetch_add(1, Ordering::Relaxed);
            }
            adopt(driver, accepted, door, census);
        }
        Some(to) => {
            driver.mesh.borrow().put(to, 0, |batch| batch.sockets.push((accepted, door)));
            driver.turn.nudge();
        }
    }
}

/// Serves a connection on this executor from now on; the census knows it already.
pub fn adopt(driver: &Rc<Driver>, accepted: AcceptedTcpStream, door: Door, census: &Census) {
    let stream = accepted.bind_to_executor();
    let addresses = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
    // A peer that is gone before its first byte has no address any more.
    let Ok((peer, local)) = addresses else { return census.leave(driver.core) };
    let _ = stream.set_nodelay(true);
    let mut table = driver.table.borrow_mut();
    let origin = table.insert(stream, canonical(peer), canonical(local), door, clock::mono_us());
    let stream = table.get(origin.conn).expect("it was just entered").stream.clone();
    drop(table);
    let (serving, census) = (driver.clone(), census.clone());
    glommio::spawn_local(async move {
        let core = serving.core;
        connection::serve(serving, stream, origin, door).await;
        census.leave(core);
    })
    .detach();
}

/// An IPv4 peer of a socket for both families comes as `::ffff:a.b.c.d`; messages and clients want it as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surplus_goes_where_there_is_least() {
        let census = Census::new(2, 5);
        let here = CoreId(0);
        let to: Vec<_> = (0..4).map(|_| census.enter(here).unwrap().0).collect();
        assert_eq!(to, [0, 1, 0, 1]);
        census.leave(CoreId(0));
        census.leave(CoreId(0));
        assert_eq!(census.enter(CoreId(1)), Some(CoreId(0)));
        assert_eq!(census.enter(here), Some(here));
        assert_eq!(census.enter(here), Some(CoreId(0)));
        assert_eq!(census.enter(here), None);
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        assert_eq!(canonical("[::ffff:10.1.2.3]:99".parse().unwrap()), "10.1.2.3:99".parse().unwrap());
        assert_eq!(canonical("[fe80::1]:99".parse().unwrap()), "[fe80::1]:99".parse().unwrap());
    }
}
