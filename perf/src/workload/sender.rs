//! Sending: the part of a thread that produces messages.
//!
//! Owns the volleys, the requests in flight and the order in which queues get their turn. In a closed loop every
//! answer is followed by a request at once; in an open loop a schedule says when, whatever the answers do.
//! Counting is the ledger's.

use std::ops::Range;
use std::rc::Rc;

use ringmq_protocol::frame::Frame;

use super::{SUCCESS, remark};
use crate::check::{self, Stamp};
use crate::clock::{MILLISECOND, Nanos};
use crate::engine::connection::Connection;
use crate::engine::in_flight::InFlight;
use crate::engine::pace::Schedule;
use crate::engine::scan::Scanner;
use crate::engine::{HOUSEKEEPING, Turn};
use crate::ledger::{Ledger, Shared};
use crate::tally::local_code;
use crate::wire::volley::{Values, Volley};

/// How often requests without an answer are looked for.
const EXPIRY_CHECK: Nanos = 250 * MILLISECOND;

/// A queue to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub topic: usize,
    pub queue: u32,
}

/// When requests are sent.
#[derive(Clone, Debug)]
pub enum Pace {
    /// As soon as an answer makes room.
    Closed,
    /// As scheduled.
    Open(Schedule),
}

/// What is written into bodies.
#[derive(Clone, Copy, Debug)]
pub struct Stamping {
    pub run: u64,
    pub checksum: bool,
}

/// One connection's part.
pub struct Line {
    /// Which volley belongs to its broker.
    pub volley: usize,
    /// The queues of its broker, in the order of their turns.
    pub lanes: Rc<[Lane]>,
    /// Whose turn it is; connections start at different queues.
    pub turn: usize,
    /// Unique among all connections of the run.
    pub stream: u32,
    in_flight: InFlight,
    /// The frame of the volley to begin with, so that every tag has its turn.
    frame: usize,
    /// Next sequence per lane; empty without stamping.
    sequences: Vec<u64>,
    lost: bool,
}

impl Line {
    pub fn new(volley: usize, lanes: Rc<[Lane]>, stream: u32, in_flight: usize, stamped: bool) -> Line {
        assert!(!lanes.is_empty(), "a connection needs a queue to send to");
        let sequences = vec![0; if stamped { lanes.len() } else { 0 }];
        let turn = stream as usize % lanes.len();
        let in_flight = InFlight::with_capacity(in_flight);
        Line { volley, lanes, turn, stream, in_flight, frame: 0, sequences, lost: false }
    }
}

/// The sending part of a thread.
pub struct Sender {
    pub lines: Vec<Line>,
    pub volleys: Vec<Volley>,
    pub pace: Pace,
    /// Messages per request, and payload bytes per request.
    pub batch: u64,
    pub request_bytes: u64,
    pub stamping: Option<Stamping>,
    /// Requests that may still be sent.
    pub budget: u64,
    state: State,
}

struct State {
    scanner: Scanner,
    /// Counts messages: the second half of every unique key.
    unique: u64,
    /// The line an open loop serves next.
    next_line: usize,
    last_arrival: Nanos,
    next_expiry: Nanos,
    /// Whether measuring has begun.
    measuring: bool,
    draining: bool,
    /// Why nothing more can come of this.
    hopeless: Option<String>,
}

/// What became of the sending part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on; nothing is due before this time.
    Until(Nanos),
    /// Nothing is sent any more and nothing is awaited.
    Done,
    /// It cannot go on, with the reason.
    Hopeless(String),
}

impl Sender {
    pub fn new(lines: Vec<Line>, volleys: Vec<Volley>, pace: Pace, batch: usize, size: usize) -> Sender {
        let first_unique = lines.first().map_or(0, |line| u64::from(line.stream) << 40);
        Sender {
            lines,
            volleys,
            pace,
            batch: batch as u64,
            request_bytes: (batch * size) as u64,
            stamping: None,
            budget: u64::MAX,
            state: State {
                scanner: Scanner::default(),
                unique: first_unique,
                next_line: 0,
                last_arrival: 0,
                next_expiry: 0,
                measuring: false,
                draining: false,
                hopeless: None,
            },
        }
    }

    /// An answer on line `on`. Returns how many messages it acknowledged.
    #[inline]
    pub fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos, ledger: &mut Ledger) -> u64 {
        self.state.last_arrival = now;
        let Some((code, opaque)) = self.state.scanner.scan(frame) else {
            self.state.hopeless = Some("an answer without code and opaque arrived: that is no broker".into());
            return 0;
        };
        let Some(pending) = self.lines[on].in_flight.settle(opaque) else {
            ledger.tally().stray += 1;
            return 0;
        };
        if code == SUCCESS {
            ledger.sent(&pending, self.batch, self.request_bytes, now);
            self.batch
        } else {
            ledger.failed(pending.intended, code, self.batch, || remark(frame));
            0
        }
    }

    /// Closed loop: sends as much as the line has room for.
    pub fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos, ledger: &Ledger) {
        if self.state.draining || !matches!(self.pace, Pace::Closed) || now >= ledger.course.end {
            return;
        }
        while connection.is_clear() && self.lines[on].in_flight.room() > 0 && self.budget > 0 {
            let room = self.lines[on].in_flight.room();
            self.fire(on, connection, room, now, ledger, |_| now);
        }
    }

    /// The connection of line `on` is gone: so is everything in flight on it.
    pub fn lost(&mut self, on: usize, reason: &str, now: Nanos, ledger: &mut Ledger) {
        let line = &mut self.lines[on];
        line.lost = true;
        let batch = self.batch;
        line.in_flight.expire(now, |pending| {
            ledger.failed(pending.intended, local_code::CONNECTION_LOST, batch, || reason.to_owned());
        });
        if self.lines.iter().all(|line| line.lost) {
            self.state.hopeless = Some(format!("every connection was lost, the last one: {reason}"));
        }
    }

    /// Sends what is due, gives up what never came, and says what is next.
    pub fn turn(
        &mut self,
        connections: &mut [Connection],
        now: Nanos,
        ledger: &mut Ledger,
        shared: &Shared,
    ) -> Progress {
        if now >= self.state.next_expiry {
            self.state.next_expiry = now + EXPIRY_CHECK;
            self.expire(connections, now, ledger);
            if shared.stopping() {
                self.drain(now, ledger);
            }
        }
        if let Some(reason) = &self.state.hopeless {
            return Progress::Hopeless(reason.clone());
        }
        if !self.state.measuring && now >= ledger.course.begin {
            self.state.measuring = true;
            // What a cold broker was too slow for in the warm-up is not to burden what is measured.
            if let Pace::Open(schedule) = &mut self.pace {
                schedule.skip_to(ledger.course.begin);
            }
        }
        let due = if self.state.draining { now } else { self.fire_due(connections, now, ledger) };
        if now >= ledger.course.end {
            self.drain(ledger.course.end, ledger);
        } else if self.budget == 0 {
            self.state.draining = true;
        }
        if self.state.draining {
            let waiting = self.lines.iter().any(|line| !line.in_flight.is_empty());
            return if waiting { Progress::Until(now + HOUSEKEEPING) } else { Progress::Done };
        }
        Progress::Until(due.min(ledger.course.end))
    }

    /// Sends nothing more. What an open loop owed before `now` is counted as unsent.
    fn drain(&mut self, now: Nanos, ledger: &mut Ledger) {
        if self.state.draining {
            return;
        }
        self.state.draining = true;
        if let Pace::Open(schedule) = &self.pace {
            ledger.tally().unsent += schedule.overdue(now - 1) * self.batch;
        }
    }

    /// Open loop: sends every request that is due and has room; when to come back.
    fn fire_due(&mut self, connections: &mut [Connection], now: Nanos, ledger: &Ledger) -> Nanos {
        let idle = now + HOUSEKEEPING;
        let Pace::Open(schedule) = &self.pace else { return idle };
        // The end itself is not part of the run.
        let mut due = schedule.overdue(now.min(ledger.course.end - 1)).min(self.budget) as usize;
        let lines = self.lines.len();
        // Evenly: each connection gets a run of consecutive requests, so that they share a write.
        let share = due.div_ceil(lines);
        for _ in 0..lines {
            if due == 0 {
                break;
            }
            let on = self.state.next_line;
            self.state.next_line = (on + 1) % lines;
            let connection = &mut connections[on];
            let mut left = share.min(due);
            while left > 0 && connection.is_clear() && self.lines[on].in_flight.room() > 0 {
                let fired = self.fire(on, connection, left, now, ledger, take_due);
                left -= fired;
                due -= fired;
            }
        }
        match &self.pace {
            // Everything due is out, or what is left needs an answer first, which wakes us.
            Pace::Open(schedule) if due == 0 => schedule.next_due(),
            _ => idle,
        }
    }

    /// Sends up to `count` requests on line `on` with one write; how many it were.
    #[inline]
    fn fire(
        &mut self,
        on: usize,
        connection: &mut Connection,
        count: usize,
        now: Nanos,
        ledger: &Ledger,
        mut intended: impl FnMut(&mut Pace) -> Nanos,
    ) -> usize {
        let line = &mut self.lines[on];
        let volley = &mut self.volleys[line.volley];
        let clock = ledger.course.clock;
        let born_millis = clock.unix_millis(now);
        let first = line.frame;
        let budget = usize::try_from(self.budget).unwrap_or(usize::MAX);
        let count = count.min(line.in_flight.room()).min(volley.frames() - first).min(budget);
        self.budget -= count as u64;
        for at in first..first + count {
            let intended = intended(&mut self.pace);
            let (_, opaque) = line.in_flight.begin(intended, now).expect("the room was counted");
            let turn = line.turn;
            line.turn = if turn + 1 == line.lanes.len() { 0 } else { turn + 1 };
            let lane = line.lanes[turn];
            let unique = self.state.unique;
            self.state.unique += self.batch;
            let values = Values { opaque, topic: lane.topic, queue: lane.queue, born_millis, unique };
            volley.stamp(at, &values);
            if let Some(stamping) = &self.stamping {
                let stamp = Stamp {
                    run: stamping.run,
                    stream: line.stream,
                    lane: check::lane(lane.topic, lane.queue),
                    sequence: line.sequences[turn],
                    intended_unix: clock.unix_nanos(intended),
                };
                line.sequences[turn] += self.batch;
                stamp_bodies(volley, at, stamp, stamping.checksum);
            }
        }
        let frames: Range<usize> = first..first + count;
        connection.send(volley.bytes(frames));
        line.frame = if volley.cycles() { (first + count) % volley.frames() } else { 0 };
        count
    }

    /// Counts requests that waited too long; when nothing at all arrives, the broker is stuck.
    fn expire(&mut self, connections: &[Connection], now: Nanos, ledger: &mut Ledger) {
        let timeout = ledger.course.timeout;
        let Some(sent_by) = now.checked_sub(timeout) else { return };
        let batch = self.batch;
        for (line, connection) in self.lines.iter_mut().zip(connections) {
            let mut expired = 0;
            line.in_flight.expire(sent_by, |pending| {
                expired += 1;
                ledger.failed(pending.intended, local_code::NO_ANSWER, batch, || no_answer(connection, timeout));
            });
            if expired > 0 && self.state.last_arrival < sent_by {
                let stuck = format!("{}; nothing at all arrived, so the run ends here", no_answer(connection, timeout));
                self.state.hopeless = Some(stuck);
            }
        }
    }
}

fn no_answer(connection: &Connection, timeout: Nanos) -> String {
    format!("no answer from {} within {} ms", connection.peer(), timeout / MILLISECOND)
}

/// When the next request of an open loop was due.
fn take_due(pace: &mut Pace) -> Nanos {
    match pace {
        Pace::Open(schedule) => schedule.take(),
        Pace::Closed => unreachable!("only an open loop has due times"),
    }
}

fn stamp_bodies(volley: &mut Volley, at: usize, mut stamp: Stamp, checksum: bool) {
    volley.each_body(at, |body| {
        stamp.write(body, checksum);
        stamp.sequence += 1;
    });
}

impl From<Progress> for Turn {
    fn from(progress: Progress) -> Turn {
        match progress {
            Progress::Until(due) => Turn::Until(due),
            Progress::Done | Progress::Hopeless(_) => Turn::Finished,
        }
    }
}
