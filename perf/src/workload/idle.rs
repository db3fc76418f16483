//! `perfgen idle`: connections that only say now and then that they live.
//!
//! Owns whose heartbeat is next. All connections have the same period and are spread over it evenly, so they take turns in
//! one order for ever and nothing needs to be searched.

use std::sync::Arc;

use ringmq_protocol::bodies::heartbeat::{HeartbeatData, ProducerData};
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{Frame, Spelling};
use ringmq_protocol::request_code::RequestCode;

use super::{SUCCESS, remark};
use crate::clock::Nanos;
use crate::engine::connection::Connection;
use crate::engine::in_flight::InFlight;
use crate::engine::scan::Scanner;
use crate::engine::{HOUSEKEEPING, Turn, Workload};
use crate::ledger::{Ledger, Shared};
use crate::tally::local_code;

/// What the connections of a thread have in common.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub spelling: Spelling,
    /// Time between two heartbeats of one connection.
    pub every: Nanos,
    /// Number of this thread's first connection in the run, and how much later each next one has its turn.
    pub first: usize,
    pub apart: Nanos,
    /// Tells this process's clients from everybody else's.
    pub process: u64,
}

/// One thread of `perfgen idle`.
pub struct Idle {
    habit: Habit,
    /// One heartbeat under way at most, per connection.
    in_flight: Vec<InFlight>,
    lost: Vec<bool>,
    /// Whose turn is next, and when.
    next: usize,
    due: Nanos,
    scanner: Scanner,
    out: Vec<u8>,
    ledger: Ledger,
    shared: Arc<Shared>,
}

impl Idle {
    /// `connections` of them, the first of which has its turn at once.
    pub fn new(connections: usize, habit: Habit, ledger: Ledger, shared: Arc<Shared>) -> Idle {
        Idle {
            in_flight: (0..connections).map(|_| InFlight::with_capacity(1)).collect(),
            lost: vec![false; connections],
            next: 0,
            due: ledger.course.start,
            scanner: Scanner::default(),
            out: Vec::new(),
            habit,
            ledger,
            shared,
        }
    }

    fn beat(&mut self, connection: &mut Connection, now: Nanos) {
        let on = self.next;
        // Its period is over: whoever has not answered by now will not.
        self.in_flight[on].expire(now, |pending| {
            let peer = connection.peer();
            let silent = || format!("no answer from {peer} to a heartbeat within its period");
            self.ledger.failed(pending.intended, local_code::NO_ANSWER, 1, silent);
        });
        if !connection.is_clear() {
            return;
        }
        let (_, opaque) = self.in_flight[on].begin(self.due, now).expect("the only slot is free");
        let Habit { spelling, first, process, .. } = self.habit;
        let data = HeartbeatData {
            client_id: format!("127.0.0.1@{process}#{}", first + on),
            producer_data_set: vec![ProducerData { group_name: "perfgen_idle".to_owned() }],
            ..HeartbeatData::default()
        };
        let body = serde_json::to_vec(&data).expect("names and numbers");
        self.out.clear();
        let head = Head::request(spelling, RequestCode::HeartBeat.to_i32(), opaque);
        encode::begin(&mut self.out, &head).finish_with(&body).expect("a heartbeat fits a frame");
        connection.send(&self.out);
    }
}

impl Workload for Idle {
    fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos) {
        let Some((code, opaque)) = self.scanner.scan(frame) else { return };
        let Some(pending) = self.in_flight[on].settle(opaque) else {
            // Brokers tell the members of a group of each other; nothing here waits for that.
            return;
        };
        if code == SUCCESS {
            self.ledger.sent(&pending, 1, 0, now);
        } else {
            self.ledger.failed(pending.intended, code, 1, || remark(frame));
        }
    }

    fn refill(&mut self, _on: usize, _connection: &mut Connection, _now: Nanos) {}

    fn lost(&mut self, on: usize, reason: &str, now: Nanos) {
        self.lost[on] = true;
        self.ledger.failed(now, local_code::CONNECTION_LOST, 1, || reason.to_owned());
        if self.lost.iter().all(|lost| *lost) {
            self.shared.halt(format!("every connection was lost, the last one: {reason}"));
        }
    }

    fn turn(&mut self, connections: &mut [Connection], now: Nanos) -> Turn {
        self.ledger.report(now);
        if now >= self.ledger.course.end || self.shared.stopping() {
            return Turn::Finished;
        }
        while self.due <= now {
            if !self.lost[self.next] {
                self.beat(&mut connections[self.next], now);
            }
            self.next += 1;
            self.due += self.habit.apart;
            if self.next == connections.len() {
                self.next = 0;
                self.due += self.habit.every - self.habit.apart * connections.len() as Nanos;
            }
        }
        Turn::Until(self.due.min(now + HOUSEKEEPING))
    }

    fn close(self) {
        self.ledger.close();
    }
}
