//! What one connection still has to be sent.
//!
//! Owns the buffer that all answers of a loop turn are collected in, and the attempt to write it in one go. Never waits:
//! when the socket takes no more, the connection's writer task goes on as soon as it does.

use std::io;
use std::os::fd::RawFd;

use crate::limits;

/// Unsent answers of one connection, in order.
#[derive(Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    /// How much of `bytes` the socket took.
    sent: usize,
    /// A writer task waits until the socket takes more; nobody else writes meanwhile.
    pub blocked: bool,
    /// The connection is already on the list of those to flush this turn.
    pub listed: bool,
}

/// What became of an attempt to write.
#[derive(Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Some,
    /// The connection is broken.
    Broken,
}

impl Outbound {
    /// Bytes not yet taken by the socket.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Appends one or more encoded frames.
    pub fn push(&mut self, frames: &[u8]) {
        if self.sent > 0 && self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(frames);
    }

    /// Writes frames straight from where they are when nothing waits before them; what the socket does not take is appended.
    /// For large answers, where a copy costs more than a write of their own.
    pub fn push_large(&mut self, fd: RawFd, frames: &[u8]) {
        let ahead = self.pending() == 0 && !self.blocked;
        // An error is met again when the rest is flushed.
        let sent = if ahead { send(fd, frames).unwrap_or(0) } else { 0 };
        self.push(&frames[sent..]);
    }

    /// Writes as much as the socket takes at once.
    pub fn flush(&mut self, fd: RawFd) -> Flushed {
        while self.pending() > 0 {
            match send(fd, &self.bytes[self.sent..]) {
                Ok(written) => self.took(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Some,
                Err(_) => return Flushed::Broken,
            }
        }
        Flushed::All
    }

    /// The bytes to write next, for the writer task.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that the socket took `written` bytes; gives memory back once everything is out.
    pub fn took(&mut self, written: usize) {
        self.sent += written;
        assert!(self.sent <= self.bytes.len(), "the socket cannot take more than it was given");
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
            if self.bytes.capacity() > limits::OUTBOUND_KEEP {
                self.bytes = Vec::new();
            }
        }
    }
}

/// One `send(2)` that does not block.
fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice; the call keeps neither.
    let written =
        unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn frames_arrive_in_order_through_a_full_socket() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut out = Outbound::default();
        let mut expected = Vec::new();
        for n in 0..200_000u32 {
            out.push(&n.to_be_bytes());
            expected.extend_from_slice(&n.to_be_bytes());
        }
        let mut got = vec![0; expected.len()];
        let mut at = 0;
        while out.flush(ours.as_raw_fd()) != Flushed::All {
            let space = (at + 50_000).min(got.len());
            theirs.read_exact(&mut got[at..space]).unwrap();
            at = space;
            out.push(b"");
        }
        assert_eq!(out.pending(), 0);
        theirs.read_exact(&mut got[at..]).unwrap();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_closed_peer_is_noticed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut out = Outbound::default();
        out.push(b"x");
        assert_eq!(out.flush(ours.as_raw_fd()), Flushed::Broken);
    }
}
