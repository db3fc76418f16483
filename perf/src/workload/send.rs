//! `perfgen send`: produces messages and waits for their acknowledgements.

use std::sync::Arc;

use ringmq_protocol::frame::Frame;

use super::sender::{Progress, Sender};
use crate::clock::Nanos;
use crate::engine::connection::Connection;
use crate::engine::{Turn, Workload};
use crate::ledger::{Ledger, Shared};

/// One thread of `perfgen send`.
pub struct Send {
    pub sender: Sender,
    pub ledger: Ledger,
    pub shared: Arc<Shared>,
}

impl Workload for Send {
    #[inline]
    fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos) {
        self.sender.arrived(on, frame, now, &mut self.ledger);
    }

    fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos) {
        self.sender.refill(on, connection, now, &self.ledger);
    }

    fn lost(&mut self, on: usize, reason: &str, now: Nanos) {
        self.sender.lost(on, reason, now, &mut self.ledger);
    }

    fn turn(&mut self, connections: &mut [Connection], now: Nanos) -> Turn {
        self.ledger.report(now);
        let progress = self.sender.turn(connections, now, &mut self.ledger, &self.shared);
        if let Progress::Hopeless(reason) = &progress {
            self.shared.halt(reason.clone());
        }
        progress.into()
    }

    fn close(self) {
        self.ledger.close();
    }
}
