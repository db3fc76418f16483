//! One non-blocking connection to a broker.
//!
//! Owns the socket, the bytes the socket would not take yet and the bytes of an unfinished frame. It cuts the
//! stream into frames and never looks inside one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use ringmq_protocol::frame::{self, Frame, FrameError};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::clock::{Clock, Nanos};

/// Room for received bytes at first, so that thousands of idle connections cost little ..
const READ_FIRST: usize = 4 << 10;

/// .. and what it grows to when reads fill it: several pulls' answers, and little to move when a frame is cut.
const READ_CHUNK: usize = 256 << 10;

/// A connection, as the engine and the workloads see it.
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Bytes the socket would not take; written from `written` on.
    unsent: Vec<u8>,
    written: usize,
    inbox: Inbox,
    /// Why it is closed; `None` while it lives.
    closed: Option<String>,
}

/// Received bytes that no complete frame has used up yet.
struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects within `timeout` and switches to non-blocking.
    pub fn open(peer: SocketAddr, timeout: Duration) -> io::Result<Connection> {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
        socket.connect_timeout(&SockAddr::from(peer), timeout)?;
        Connection::accepted(socket.into(), peer)
    }

    /// Takes over a connected socket.
    pub fn accepted(stream: std::net::TcpStream, peer: SocketAddr) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream: TcpStream::from_std(stream),
            peer,
            unsent: Vec::new(),
            written: 0,
            inbox: Inbox { buffer: vec![0; READ_FIRST], start: 0, end: 0 },
            closed: None,
        })
    }

    /// The socket, for registration.
    pub fn source(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// Whether the socket took everything so far: only then may more be sent.
    pub fn is_clear(&self) -> bool {
        self.unsent.is_empty() && self.closed.is_none()
    }

    /// Sends `bytes` (whole frames); what the socket does not take is kept and goes out when it can.
    pub fn send(&mut self, bytes: &[u8]) {
        assert!(self.unsent.is_empty(), "sending past unsent bytes would reorder them");
        if self.closed.is_some() {
            return;
        }
        let taken = write_some(&mut self.stream, bytes);
        match taken {
            Ok(taken) => self.unsent.extend_from_slice(&bytes[taken..]),
            Err(error) => self.close(error.to_string()),
        }
    }

    /// Goes on with what the socket did not take earlier.
    pub fn flush(&mut self) {
        if self.unsent.is_empty() || self.closed.is_some() {
            return;
        }
        match write_some(&mut self.stream, &self.unsent[self.written..]) {
            Ok(taken) => self.written += taken,
            Err(error) => return self.close(error.to_string()),
        }
        if self.written == self.unsent.len() {
            self.unsent.clear();
            self.written = 0;
        }
    }

    /// Reads until the socket is empty and hands every complete frame, with the time of its read, to `each`.
    pub fn receive(&mut self, clock: Clock, mut each: impl FnMut(Frame<'_>, Nanos)) {
        while self.closed.is_none() {
            let room = self.inbox.room();
            let wanted = room.len();
            match self.stream.read(room) {
                Ok(0) => self.close("the broker closed the connection".into()),
                Ok(got) => {
                    self.inbox.end += got;
                    let now = clock.now();
                    if let Err(error) = self.inbox.frames(|frame| each(frame, now)) {
                        self.close(error.to_string());
                    }
                    // A short read emptied the socket; edge-triggered readiness reports the next byte again.
                    if got < wanted {
                        return;
                    }
                    self.inbox.grow();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.close(error.to_string()),
            }
        }
    }

    fn close(&mut self, reason: String) {
        self.closed = Some(reason);
        // The socket itself closes when the connection is dropped; until then the peer should not wait for us.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Writes as much as the socket takes; how much that was.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(some) => taken += some,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

impl Inbox {
    /// Free space behind what is there: at least one byte, and enough for the rest of the current frame.
    fn room(&mut self) -> &mut [u8] {
        let held = self.end - self.start;
        // What is held was checked by `frames`, and an empty inbox needs no more than a prefix.
        let frame = frame::needed(&self.buffer[self.start..self.end]).unwrap_or(frame::PREFIX_LEN);
        if self.start > 0 && (self.end == self.buffer.len() || self.start + frame > self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = held;
        }
        if frame > self.buffer.len() {
            self.buffer.resize(frame.next_multiple_of(READ_CHUNK), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// A read filled all the room there was: the next one should bring more at once.
    fn grow(&mut self) {
        if self.buffer.len() < READ_CHUNK {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    /// Hands out the complete frames and forgets them.
    fn frames(&mut self, mut each: impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
        while let Some(frame) = frame::split(&self.buffer[self.start..self.end])? {
            self.start += frame.total_len;
            each(frame);
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((payload.len() + 4) as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Feeds `stream` in pieces of `step` and returns the payloads cut out of it.
    fn cut(stream: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut inbox = Inbox { buffer: vec![0; 64], start: 0, end: 0 };
        let mut seen = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let room = inbox.room();
            let got = step.min(room.len()).min(rest.len());
            room[..got].copy_from_slice(&rest[..got]);
            inbox.end += got;
            rest = &rest[got..];
            inbox.frames(|frame| seen.push(frame.body.to_vec())).expect("lengths are sane");
        }
        seen
    }

    #[test]
    fn frames_survive_any_cut() {
        let payloads: Vec<Vec<u8>> =
            [0, 1, 30, 56, 57, 500, 0, 3, 70_000, 2].iter().map(|n| vec![*n as u8; *n]).collect();
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
        for step in [1, 3, 7, 64, 1_000, usize::MAX] {
            assert_eq!(cut(&stream, step), payloads, "in steps of {step}");
        }
    }

    #[test]
    fn impossible_lengths_end_the_connection() {
        let mut inbox = Inbox { buffer: vec![0; 64], start: 0, end: 8 };
        inbox.buffer[..8].copy_from_slice(b"HTTP/1.1");
        assert!(inbox.frames(|_| unreachable!("not a frame")).is_err());
    }
}
