//! The loop of one load thread.
//!
//! Owns the poll, the connections and the alarm, and calls the workload when something arrived or is due. It
//! knows neither topics nor messages. Readiness comes from `mio`: edge-triggered, so a connection is registered
//! once for both directions and never re-armed, and this crate needs no `unsafe` for it.

pub mod connection;
pub mod in_flight;
pub mod pace;
pub mod scan;

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use ringmq_protocol::frame::Frame;

use crate::clock::{Clock, MICROSECOND, MILLISECOND, Nanos};
use connection::Connection;

/// A due time nearer than this is polled for: arming the alarm and being woken takes about as long.
const SPIN: Nanos = 30 * MICROSECOND;

/// Longest sleep: how late a stop, a timeout or a progress report may be noticed.
pub const HOUSEKEEPING: Nanos = 50 * MILLISECOND;

/// Connections that report in one poll; more report in the next.
const EVENTS: usize = 1_024;

/// What one load thread does with its connections.
pub trait Workload {
    /// A frame arrived on connection `on`.
    fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos);

    /// Connection `on` can be written again, or what arrived on it has been handled: send what may follow.
    fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos);

    /// Connection `on` is gone; nothing will arrive on it any more.
    fn lost(&mut self, on: usize, reason: &str, now: Nanos);

    /// Called once per turn of the loop, before it sleeps.
    fn turn(&mut self, connections: &mut [Connection], now: Nanos) -> Turn;

    /// The loop has ended: hand over what was counted.
    fn close(self);
}

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait for the sockets, at most until this time.
    Until(Nanos),
    /// Everything is done.
    Finished,
}

/// One thread's connections and the poll over them.
pub struct Engine {
    poll: Poll,
    alarm: Alarm,
    connections: Vec<Connection>,
    /// Whether the workload knows already that a connection is gone.
    reported_lost: Vec<bool>,
}

impl Engine {
    /// Takes over connections; their order gives them their numbers.
    pub fn new(mut connections: Vec<Connection>) -> io::Result<Engine> {
        let poll = Poll::new()?;
        for (number, connection) in connections.iter_mut().enumerate() {
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(connection.source(), Token(number), both)?;
        }
        let alarm = Alarm::new()?;
        poll.registry().register(
            &mut SourceFd(&alarm.timer.as_fd().as_raw_fd()),
            Token(connections.len()),
            Interest::READABLE,
        )?;
        let reported_lost = vec![false; connections.len()];
        Ok(Engine { poll, alarm, connections, reported_lost })
    }

    /// Runs `workload` until it is finished.
    ///
    /// # Errors
    /// The poll or the alarm failed: nothing a broker can cause.
    pub fn run<W: Workload>(&mut self, mut workload: W, clock: Clock) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = clock.now();
            let due = match workload.turn(&mut self.connections, now) {
                Turn::Until(due) => due,
                Turn::Finished => {
                    workload.close();
                    return Ok(());
                }
            };
            let sleep = self.sleep_until(due, now)?;
            match self.poll.poll(&mut events, Some(sleep)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                let number = event.token().0;
                if number == self.connections.len() {
                    self.alarm.rang();
                    continue;
                }
                self.serve(number, event.is_readable() || event.is_error(), &mut workload, clock);
            }
        }
    }

    /// How long the poll may sleep. Whole milliseconds are all epoll knows, so a nearer time arms the alarm.
    fn sleep_until(&mut self, due: Nanos, now: Nanos) -> io::Result<Duration> {
        let ahead = due.saturating_sub(now);
        if ahead <= SPIN {
            return Ok(Duration::ZERO);
        }
        if ahead < HOUSEKEEPING {
            self.alarm.set(due, ahead)?;
        }
        Ok(Duration::from_nanos(HOUSEKEEPING))
    }

    fn serve<W: Workload>(&mut self, number: usize, readable: bool, workload: &mut W, clock: Clock) {
        let connection = &mut self.connections[number];
        connection.flush();
        if readable {
            connection.receive(clock, |frame, now| workload.arrived(number, &frame, now));
        }
        if let Some(reason) = connection.closed() {
            if !self.reported_lost[number] {
                self.reported_lost[number] = true;
                workload.lost(number, reason, clock.now());
            }
            return;
        }
        if connection.is_clear() {
            workload.refill(number, connection, clock.now());
        }
    }
}

/// A timer the poll can wait for, with the kernel's fine resolution.
struct Alarm {
    timer: TimerFd,
    /// What it is set to, so that setting it again costs nothing.
    set_for: Option<Nanos>,
}

impl Alarm {
    fn new() -> io::Result<Alarm> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Alarm { timer, set_for: None })
    }

    fn set(&mut self, due: Nanos, ahead: Nanos) -> io::Result<()> {
        if self.set_for != Some(due) {
            let ahead = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(ahead)));
            self.timer.set(ahead, TimerSetTimeFlags::empty())?;
            self.set_for = Some(due);
        }
        Ok(())
    }

    /// It rang. Setting it again re-arms the readiness, so its counter need not be read.
    fn rang(&mut self) {
        self.set_for = None;
    }
}
