//! `perfgen pop`: pops messages and acknowledges each of them.
//!
//! Owns which pops and acknowledgements are under way on each connection, and the receipts. It keeps no order and no
//! offsets: that is what POP leaves to the broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{Frame, Spelling};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pop::{AckHeader, PopHeader, PopReply};
use ringmq_protocol::record;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use super::{SUCCESS, remark};
use crate::clock::{MILLISECOND, Nanos};
use crate::engine::connection::Connection;
use crate::engine::in_flight::InFlight;
use crate::engine::scan::Scanner;
use crate::engine::{HOUSEKEEPING, Turn, Workload};
use crate::ledger::{Ledger, Shared};
use crate::tally::local_code;

/// What a pop is answered when there is nothing for it.
const NOTHING: [i32; 3] = [
    ResponseCode::PollingTimeout.to_i32(),
    ResponseCode::PullNotFound.to_i32(),
    ResponseCode::PullRetryImmediately.to_i32(),
];

/// Pause before a refused pop is repeated.
const RETRY_AFTER: Nanos = 20 * MILLISECOND;

/// Acknowledgements under way per pop under way: those of the messages of two.
const ACKS_PER_POP: usize = 64;

const EXPIRY_CHECK: Nanos = 250 * MILLISECOND;

/// What every pop has in common.
#[derive(Clone, Debug)]
pub struct PopPattern {
    pub group: String,
    pub batch: i32,
    /// How long the broker may hold a pop.
    pub poll: Nanos,
    pub invisible: Nanos,
    /// Pops under way per connection.
    pub pops: usize,
}

/// What a connection pops from.
#[derive(Clone, Debug)]
pub struct Source {
    pub topic: String,
    /// As receipts name it.
    pub broker: String,
}

/// A message to acknowledge.
struct Receipt {
    extra: String,
    queue: i32,
    offset: i64,
}

/// What a slot in flight holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Pop,
    Ack,
}

/// One connection.
struct Line {
    source: Source,
    in_flight: InFlight,
    asked: Vec<Asked>,
    /// Pops that may go out now, and when those may that were refused.
    pops: usize,
    later: Vec<Nanos>,
    acks: VecDeque<Receipt>,
    lost: bool,
}

/// One thread of `perfgen pop`.
pub struct Popper {
    lines: Vec<Line>,
    pattern: PopPattern,
    /// Acknowledgements that end the run, over all threads.
    until: u64,
    scanner: Scanner,
    out: Vec<u8>,
    next_expiry: Nanos,
    ledger: Ledger,
    shared: Arc<Shared>,
}

impl Popper {
    pub fn new(sources: Vec<Source>, pattern: PopPattern, until: u64, ledger: Ledger, shared: Arc<Shared>) -> Popper {
        let capacity = pattern.pops * (1 + ACKS_PER_POP);
        let line = |source| Line {
            source,
            in_flight: InFlight::with_capacity(capacity),
            asked: vec![Asked::Pop; capacity],
            pops: pattern.pops,
            later: Vec::new(),
            acks: VecDeque::new(),
            lost: false,
        };
        Popper {
            lines: sources.into_iter().map(line).collect(),
            pattern,
            until,
            scanner: Scanner::default(),
            out: Vec::new(),
            next_expiry: 0,
            ledger,
            shared,
        }
    }

    /// A pop brought messages: their receipts are to be shown.
    fn took(&mut self, on: usize, frame: &Frame<'_>, asked: Nanos, now: Nanos) -> Result<(), String> {
        let command = Command::parse(*frame).map_err(|error| error.to_string())?;
        let reply = PopReply::decode(&command.ext).map_err(|error| error.to_string())?;
        let starts = reply.start_offset_info.as_ref().map(ToString::to_string).unwrap_or_default();
        let line = &mut self.lines[on];
        let (mut messages, mut bytes) = (0, 0);
        for record in record::iter(frame.body) {
            let record = record.map_err(|error| error.to_string())?;
            let (queue, offset) = (record.queue_id(), record.queue_offset());
            // A message that comes again carries its receipt: it lies in the group's retry topic.
            let extra = match record.property("POP_CK") {
                Some(extra) => extra.to_owned(),
                None => {
                    let start = start_of(&starts, queue).ok_or("startOffsetInfo lacks a message's queue")?;
                    let PopReply { pop_time, invisible_time, revive_queue_id, .. } = &reply;
                    let broker = &line.source.broker;
                    format!("{start} {pop_time} {invisible_time} {revive_queue_id} 0 {broker} {queue} {offset}")
                }
            };
            line.acks.push_back(Receipt { extra, queue, offset });
            messages += 1;
            bytes += record.body().len() as u64;
        }
        self.ledger.received(asked, messages, bytes, now);
        Ok(())
    }

    /// Gives up what was never answered.
    fn expire(&mut self, connections: &[Connection], now: Nanos) {
        let patience = self.ledger.course.timeout + self.pattern.poll;
        let Some(sent_by) = now.checked_sub(patience) else { return };
        for (line, connection) in self.lines.iter_mut().zip(connections) {
            let (ledger, shared) = (&mut self.ledger, &self.shared);
            line.in_flight.expire(sent_by, |pending| {
                let stuck = format!("no answer from {} within {} ms", connection.peer(), patience / MILLISECOND);
                ledger.failed(pending.intended, local_code::NO_ANSWER, 1, || stuck.clone());
                shared.halt(stuck);
            });
        }
    }

    fn is_done(&self, now: Nanos) -> bool {
        let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
        acknowledged >= self.until || now >= self.ledger.course.end || self.shared.stopping()
    }
}

impl Workload for Popper {
    fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos) {
        let Some((code, opaque)) = self.scanner.scan(frame) else {
            return self.shared.halt("an answer without code and opaque arrived: that is no broker".into());
        };
        let line = &mut self.lines[on];
        let Some(pending) = line.in_flight.settle(opaque) else {
            self.ledger.tally().stray += 1;
            return;
        };
        match (line.asked[pending.slot], code) {
            (Asked::Ack, SUCCESS) => {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.ledger.sent(&pending, 1, 0, now);
            }
            (Asked::Ack, code) => self.ledger.failed(pending.intended, code, 1, || remark(frame)),
            (Asked::Pop, SUCCESS) => {
                line.pops += 1;
                if let Err(problem) = self.took(on, frame, pending.intended, now) {
                    self.shared.halt(format!("a pop's answer cannot be read: {problem}"));
                }
            }
            (Asked::Pop, code) if NOTHING.contains(&code) => line.pops += 1,
            (Asked::Pop, code) => {
                self.ledger.failed(pending.intended, code, 1, || remark(frame));
                line.later.push(now + RETRY_AFTER);
            }
        }
    }

    /// Sends the acknowledgements that have room, then the pops, with one write.
    fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos) {
        let line = &mut self.lines[on];
        if !connection.is_clear() {
            return;
        }
        self.out.clear();
        while line.in_flight.room() > line.pops
            && let Some(receipt) = line.acks.pop_front()
        {
            let (slot, opaque) = line.in_flight.begin(now, now).expect("there is room");
            line.asked[slot] = Asked::Ack;
            encode_ack(&mut self.out, &self.pattern, &line.source, &receipt, opaque);
        }
        // Whoever cannot acknowledge as fast as it pops does not pop more.
        while line.pops > 0
            && line.acks.is_empty()
            && let Some((slot, opaque)) = line.in_flight.begin(now, now)
        {
            line.pops -= 1;
            line.asked[slot] = Asked::Pop;
            let born = self.ledger.course.clock.unix_nanos(now) / MILLISECOND;
            encode_pop(&mut self.out, &self.pattern, &line.source, born as i64, opaque);
        }
        if !self.out.is_empty() {
            connection.send(&self.out);
        }
    }

    fn lost(&mut self, on: usize, reason: &str, now: Nanos) {
        self.lines[on].lost = true;
        self.ledger.failed(now, local_code::CONNECTION_LOST, 1, || reason.to_owned());
        if self.lines.iter().all(|line| line.lost) {
            self.shared.halt(format!("every connection was lost, the last one: {reason}"));
        }
    }

    fn turn(&mut self, connections: &mut [Connection], now: Nanos) -> Turn {
        self.ledger.report(now);
        if self.is_done(now) {
            return Turn::Finished;
        }
        let mut due = now + HOUSEKEEPING;
        for (on, connection) in connections.iter_mut().enumerate() {
            let line = &mut self.lines[on];
            let waiting = line.later.len();
            line.later.retain(|at| *at > now);
            line.pops += waiting - line.later.len();
            due = line.later.iter().fold(due, |due, at| due.min(*at));
            self.refill(on, connection, now);
        }
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRY_CHECK;
            self.expire(connections, now);
        }
        Turn::Until(due)
    }

    fn close(self) {
        self.ledger.close();
    }
}

/// The first offset popped from `queue`, by startOffsetInfo (`0 queue start;0 queue start`, ExtraInfoUtil).
fn start_of(starts: &str, queue: i32) -> Option<i64> {
    starts.split(';').find_map(|entry| {
        let mut words = entry.split(' ');
        let (flag, number, start) = (words.next()?, words.next()?, words.next()?);
        (flag == "0" && number.parse() == Ok(queue)).then(|| start.parse().ok())?
    })
}

fn encode_pop(out: &mut Vec<u8>, pattern: &PopPattern, source: &Source, born: i64, opaque: i32) {
    let header = PopHeader {
        consumer_group: Text::plain(&pattern.group),
        topic: Text::plain(&source.topic),
        queue_id: -1,
        max_msg_nums: pattern.batch,
        invisible_time: (pattern.invisible / MILLISECOND) as i64,
        poll_time: (pattern.poll / MILLISECOND) as i64,
        born_time: born,
        init_mode: 0,
        expression_type: Some(Text::plain("TAG")),
        expression: Some(Text::plain("*")),
        order: false,
        attempt_id: None,
    };
    let head = Head::request(Spelling::Json, RequestCode::PopMessage.to_i32(), opaque);
    encode::begin(out, &head).header(&header).finish(0).expect("a pop fits a frame");
}

fn encode_ack(out: &mut Vec<u8>, pattern: &PopPattern, source: &Source, receipt: &Receipt, opaque: i32) {
    let header = AckHeader {
        consumer_group: Text::plain(&pattern.group),
        topic: Text::plain(&source.topic),
        queue_id: receipt.queue,
        extra_info: Text::plain(&receipt.extra),
        offset: receipt.offset,
    };
    let head = Head::request(Spelling::Json, RequestCode::AckMessage.to_i32(), opaque);
    encode::begin(out, &head).header(&header).finish(0).expect("an acknowledgement fits a frame");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_queue_is_found_among_others() {
        let starts = "1 0 7;0 0 5;0 11 9";
        assert_eq!((start_of(starts, 0), start_of(starts, 11)), (Some(5), Some(9)));
        assert_eq!((start_of(starts, 1), start_of("", 0), start_of("0 0", 0)), (None, None, None));
    }
}
