//! `perfgen consume`: pulls messages until the backlog is drained or the time is up.

use std::sync::Arc;

use ringmq_protocol::frame::Frame;

use super::puller::Puller;
use super::sender::Progress;
use crate::clock::Nanos;
use crate::engine::connection::Connection;
use crate::engine::{Turn, Workload};
use crate::ledger::{Ledger, Shared};

/// One thread of `perfgen consume`.
pub struct Consume {
    pub puller: Puller,
    pub ledger: Ledger,
    pub shared: Arc<Shared>,
    finished: bool,
}

impl Consume {
    pub fn new(puller: Puller, ledger: Ledger, shared: Arc<Shared>) -> Consume {
        Consume { puller, ledger, shared, finished: false }
    }
}

impl Workload for Consume {
    fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos) {
        self.puller.arrived(on, frame, now, &mut self.ledger);
    }

    fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos) {
        self.puller.refill(on, connection, now);
    }

    fn lost(&mut self, on: usize, reason: &str, now: Nanos) {
        self.puller.lost(on, reason, now, &mut self.ledger);
    }

    fn turn(&mut self, connections: &mut [Connection], now: Nanos) -> Turn {
        self.ledger.report(now);
        let mut progress = self.puller.turn(connections, now, &mut self.ledger);
        if let Progress::Hopeless(reason) = &progress {
            self.shared.halt(reason.clone());
        } else if now >= self.ledger.course.end || self.shared.stopping() {
            // Held pulls would be answered when a message comes; nobody waits for that.
            progress = Progress::Done;
        }
        let turn = Turn::from(progress);
        if turn == Turn::Finished && !self.finished {
            self.finished = true;
            let findings = self.puller.findings();
            self.ledger.tally().findings.add(&findings);
        }
        turn
    }

    fn close(self) {
        self.ledger.close();
    }
}
