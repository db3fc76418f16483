//! One connection's reading side: bytes in, frames cut, each handed to the driver.
//!
//! Owns the unfinished frame at the end of what was read, and the decision when not to read. All connections of an executor
//! read into one buffer, so an idle connection holds no memory for it; only a frame too large for that buffer gets its own.
//! Never interprets a command. Bytes that are no frame, and headers that cannot be read, end the connection.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use ringmq_core::event::Origin;
use ringmq_protocol::command::{Command, CommandError};
use ringmq_protocol::frame::{self, FrameError};

use super::Door;
use crate::driver::Driver;
use crate::limits;

/// Serves one connection until either side ends it.
pub async fn serve(driver: Rc<Driver>, stream: Rc<RefCell<TcpStream>>, origin: Origin, door: Door) {
    let mut reading = Reading { driver: &driver, stream, origin, door, rest: Vec::new(), charged: 0 };
    let end = reading.run().await;
    if let End::Garbage(problem) = &end
        && driver.may_complain()
    {
        crate::warn!("{}: closed, {problem}", origin.peer);
    }
    reading.charge(0);
    driver.closed(origin.conn, door);
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The peer, an idle limit or the stop of the process.
    Closed,
    /// What was sent is not the protocol.
    Garbage(Garbage),
}

/// What was wrong with what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Garbage {
    Frame(FrameError),
    Command(CommandError),
    /// Unfinished frames of this executor's connections are over their common limit.
    TooMuchUnfinished,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Garbage::Frame(error) => write!(f, "{error}"),
            Garbage::Command(error) => write!(f, "{error}"),
            Garbage::TooMuchUnfinished => {
                write!(f, "unfinished frames take more than {} MiB here", limits::PARTIAL_FRAMES_MAX >> 20)
            }
        }
    }
}

/// The state of one reading task.
struct Reading<'d> {
    driver: &'d Driver,
    stream: Rc<RefCell<TcpStream>>,
    origin: Origin,
    door: Door,
    /// What was read and not yet handed on: an unfinished frame, or whole ones while this connection is paused.
    rest: Vec<u8>,
    /// Bytes of `rest` counted towards the executor's limit.
    charged: usize,
}

impl Reading<'_> {
    async fn run(&mut self) -> End {
        loop {
            if poll_fn(|cx| self.driver.poll_may_read(self.origin.conn, cx)).await.is_break() {
                return End::Closed;
            }
            // Whole frames are left over only after a pause.
            let outcome = match self.take_rest() {
                Ok(true) => continue,
                Ok(false) => poll_fn(|cx| self.poll_fill(cx)).await,
                Err(garbage) => Err(garbage),
            };
            match outcome {
                Ok(true) => {}
                Ok(false) => return End::Closed,
                Err(garbage) => return End::Garbage(garbage),
            }
        }
    }

    /// Hands on the whole frames of `rest`; whether there were any.
    fn take_rest(&mut self) -> Result<bool, Garbage> {
        if self.rest.is_empty() || self.rest.len() < frame::needed(&self.rest).map_err(Garbage::Frame)? {
            return Ok(false);
        }
        let rest = std::mem::take(&mut self.rest);
        let taken = self.take(&rest);
        self.rest = rest;
        self.rest.drain(..taken?);
        self.settle_rest()?;
        Ok(true)
    }

    /// Reads once and hands on what became whole; `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Garbage>> {
        let needed = match frame::needed(&self.rest) {
            Ok(needed) => needed,
            Err(error) => return Poll::Ready(Err(Garbage::Frame(error))),
        };
        // What a peer merely announces costs nothing: the frame moves into memory of its own when half the buffer came.
        let is_large = needed > limits::READ_BUFFER && self.rest.len() >= limits::READ_BUFFER / 2;
        if is_large { self.poll_fill_own(needed, cx) } else { self.poll_fill_shared(cx) }
    }

    /// The usual way: through the executor's buffer, only what is left over is copied.
    fn poll_fill_shared(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Garbage>> {
        let driver = self.driver;
        let mut buffer = driver.read_buffer.borrow_mut();
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        let read = match poll_read(&self.stream, cx, &mut buffer[kept..]) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_) | Ok(0)) => return Poll::Ready(Ok(false)),
            Poll::Ready(Ok(read)) => read,
        };
        let bytes = &buffer[..kept + read];
        let taken = match self.take(bytes) {
            Ok(taken) => taken,
            Err(garbage) => return Poll::Ready(Err(garbage)),
        };
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[taken..]);
        Poll::Ready(self.settle_rest().map(|()| true))
    }

    /// A frame larger than the shared buffer: read where it will stand, growing as it really arrives.
    fn poll_fill_own(&mut self, needed: usize, cx: &mut Context<'_>) -> Poll<Result<bool, Garbage>> {
        let kept = self.rest.len();
        let space = needed.min((kept * 2).max(limits::READ_BUFFER * 2));
        self.rest.resize(space, 0);
        let read = poll_read(&self.stream, cx, &mut self.rest[kept..]);
        let got = if let Poll::Ready(Ok(read)) = read { read } else { 0 };
        self.rest.truncate(kept + got);
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_) | Ok(0)) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(_)) => Poll::Ready(self.take_rest().and_then(|_| self.settle_rest()).map(|()| true)),
        }
    }

    /// Hands on the whole frames at the front of `bytes`; returns their length. Stops early when this connection or the
    /// executor has enough.
    fn take(&self, bytes: &[u8]) -> Result<usize, Garbage> {
        let now = crate::clock::now();
        let mut at = 0;
        while let Some(frame) = frame::split(&bytes[at..]).map_err(Garbage::Frame)? {
            // Used where it lies: it has room for many fields, and moving it takes a tenth of what reading it takes.
            let parsed = Command::parse(frame);
            let command = parsed.as_ref().map_err(|error| Garbage::Command(*error))?;
            self.driver.command(now, self.origin, self.door, command, frame.bytes);
            at += frame.total_len;
            if self.driver.has_enough(self.origin.conn) {
                break;
            }
        }
        self.driver.end_of_batch(self.origin.conn, now);
        Ok(at)
    }

    /// Gives memory back that an ordinary unfinished frame does not need, and counts the rest towards the limit.
    fn settle_rest(&mut self) -> Result<(), Garbage> {
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = Vec::new();
        } else if self.rest.capacity() > limits::READ_BUFFER && self.rest.len() * 4 < self.rest.capacity() {
            self.rest.shrink_to_fit();
        }
        self.charge(self.rest.capacity());
        if self.driver.unfinished.get() > limits::PARTIAL_FRAMES_MAX { Err(Garbage::TooMuchUnfinished) } else { Ok(()) }
    }

    fn charge(&mut self, bytes: usize) {
        let unfinished = &self.driver.unfinished;
        unfinished.set(unfinished.get() - self.charged + bytes);
        self.charged = bytes;
    }
}

fn poll_read(stream: &RefCell<TcpStream>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    Pin::new(&mut *stream.borrow_mut()).poll_read(cx, buffer)
}
