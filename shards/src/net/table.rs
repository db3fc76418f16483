//! The connections of one executor.
//!
//! Owns the slots, the generations that tell a reused slot from its predecessor, and the list of connections that have
//! something to send this turn. Never reads a socket and never applies a request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

use glommio::net::TcpStream;
use ringmq_core::event::{ConnId, CoreId, Origin};
use slab::Slab;

use super::Door;
use super::outbound::{Flushed, Outbound};
use crate::limits;

/// One open connection.
#[derive(Debug)]
pub struct Connection {
    /// Shared by the reading task and, while the socket is full, the writing task; borrowed within one poll only.
    pub stream: Rc<RefCell<TcpStream>>,
    /// Who is there and which of our addresses was reached.
    pub origin: Origin,
    /// Which service is asked.
    pub door: Door,
    /// What is to be sent.
    pub out: Outbound,
    /// When a byte last came or went, microseconds of the monotonic clock.
    pub active_us: u64,
    /// The reading task, while it waits for `out` to shrink.
    pub waiting_reader: Option<Waker>,
    fd: RawFd,
    generation: u32,
}

impl Connection {
    /// Ends both directions; the reading task sees the end of the stream and cleans up.
    pub fn shut(&self) {
        // SAFETY: the descriptor is open as long as `stream` lives. An error means that the peer was faster.
        unsafe { libc::shutdown(self.fd, libc::SHUT_RDWR) };
    }
}

/// All connections of one executor.
#[derive(Debug)]
pub struct Table {
    core: CoreId,
    slots: Slab<Connection>,
    /// Number of connections so far; numbers the uses of slots.
    opened: u32,
    /// Connections with something to send.
    to_flush: Vec<ConnId>,
}

/// What a flush left to do.
#[derive(Debug)]
pub struct Blocked(pub ConnId, pub Rc<RefCell<TcpStream>>);

impl Table {
    /// The table of an executor.
    pub fn new(core: CoreId) -> Self {
        Table { core, slots: Slab::new(), opened: 0, to_flush: Vec::new() }
    }

    /// Enters a connection; its name is in the result's `conn`.
    pub fn insert(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        door: Door,
        now_us: u64,
    ) -> Origin {
        self.opened = self.opened.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("CONNECTIONS_MAX fits 32 bits");
        let conn = ConnId { core: self.core, slot, generation: self.opened };
        let origin = Origin { conn, peer, local };
        entry.insert(Connection {
            fd: stream.as_raw_fd(),
            stream: Rc::new(RefCell::new(stream)),
            origin,
            door,
            out: Outbound::default(),
            active_us: now_us,
            waiting_reader: None,
            generation: self.opened,
        });
        origin
    }

    /// The connection of that name, unless it is gone.
    pub fn get(&mut self, conn: ConnId) -> Option<&mut Connection> {
        debug_assert_eq!(conn.core, self.core);
        self.slots.get_mut(conn.slot as usize).filter(|found| found.generation == conn.generation)
    }

    /// Takes a connection out and shuts its socket, so that a writing task ends too.
    pub fn remove(&mut self, conn: ConnId) {
        if self.get(conn).is_some() {
            self.slots.remove(conn.slot as usize).shut();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Queues frames for a connection; those for one that is gone are dropped.
    pub fn push(&mut self, conn: ConnId, frames: &[u8]) {
        let Some(connection) = self.get(conn) else { return };
        let (fd, out) = (connection.fd, &mut connection.out);
        if frames.len() < limits::LARGE_ANSWER {
            out.push(frames)
        } else {
            out.push_large(fd, frames)
        }
        let (pending, list) = (out.pending(), !out.listed && !out.blocked);
        out.listed |= list;
        if pending > limits::OUTBOUND_MAX {
            crate::warn!("{}: closed, {} MiB of answers were not read", connection.origin.peer, pending >> 20);
            connection.shut();
        }
        if list {
            self.to_flush.push(conn);
        }
    }

    /// Writes what each listed connection has; `blocked` gets those whose socket takes no more.
    pub fn flush(&mut self, now_us: u64, blocked: &mut Vec<Blocked>) {
        let mut list = std::mem::take(&mut self.to_flush);
        for conn in list.drain(..) {
            let Some(connection) = self.get(conn) else { continue };
            connection.out.listed = false;
            connection.active_us = now_us;
            match connection.out.flush(connection.fd) {
                Flushed::All => connection.wake_reader(),
                Flushed::Some => {
                    connection.out.blocked = true;
                    blocked.push(Blocked(conn, connection.stream.clone()));
                }
                Flushed::Broken => connection.shut(),
            }
        }
        // Hands the list's memory back for the next turn; nothing was listed meanwhile.
        self.to_flush = list;
    }

    /// Shuts every connection of which nothing was heard or said since `before_us`; returns how many.
    pub fn shut_idle(&self, before_us: u64) -> usize {
        let idle = self.slots.iter().filter(|(_, connection)| connection.active_us < before_us);
        idle.map(|(_, connection)| connection.shut()).count()
    }

    /// Shuts every connection; their tasks end one by one.
    pub fn shut_all(&self) {
        self.slots.iter().for_each(|(_, connection)| connection.shut());
    }
}

impl Connection {
    /// Lets the reading task go on when little enough is waiting to be sent.
    pub fn wake_reader(&mut self) {
        if self.out.pending() < limits::OUTBOUND_PAUSE
            && let Some(waker) = self.waiting_reader.take()
        {
            waker.wake();
        }
    }
}
