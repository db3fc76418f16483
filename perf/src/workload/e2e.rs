//! `perfgen e2e`: sends at a fixed rate and consumes at the same time, on the same thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmq_protocol::frame::Frame;

use super::puller::Puller;
use super::sender::{Progress, Sender};
use crate::clock::Nanos;
use crate::engine::connection::Connection;
use crate::engine::{HOUSEKEEPING, Turn, Workload};
use crate::ledger::{Ledger, Shared};

/// One thread of `perfgen e2e`. Its first connections send, the others pull.
pub struct EndToEnd {
    pub sender: Sender,
    pub puller: Puller,
    pub ledger: Ledger,
    pub shared: Arc<Shared>,
    sending: bool,
    /// The count of received messages when it last grew, and when that was: over all threads.
    received: u64,
    received_at: Nanos,
}

impl EndToEnd {
    pub fn new(sender: Sender, puller: Puller, ledger: Ledger, shared: Arc<Shared>) -> EndToEnd {
        EndToEnd { sender, puller, ledger, shared, sending: true, received: 0, received_at: 0 }
    }

    fn senders(&self) -> usize {
        self.sender.lines.len()
    }

    /// Whether everything acknowledged has been received, by whichever thread, or the rest seems lost.
    fn all_received(&mut self, now: Nanos) -> bool {
        let received = self.shared.received.load(Ordering::Relaxed);
        if received != self.received || self.sending || self.shared.sending.load(Ordering::Relaxed) > 0 {
            self.received = received;
            self.received_at = now;
            return false;
        }
        received >= self.shared.acknowledged.load(Ordering::Relaxed)
            || now > self.received_at + self.ledger.course.timeout
    }
}

impl Workload for EndToEnd {
    fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos) {
        if on < self.senders() {
            let messages = self.sender.arrived(on, frame, now, &mut self.ledger);
            self.shared.acknowledged.fetch_add(messages, Ordering::Relaxed);
        } else {
            let messages = self.puller.arrived(on - self.senders(), frame, now, &mut self.ledger);
            self.shared.received.fetch_add(messages, Ordering::Relaxed);
        }
    }

    fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos) {
        if on >= self.senders() {
            self.puller.refill(on - self.senders(), connection, now);
        }
    }

    fn lost(&mut self, on: usize, reason: &str, now: Nanos) {
        if on < self.senders() {
            self.sender.lost(on, reason, now, &mut self.ledger);
        } else {
            self.puller.lost(on - self.senders(), reason, now, &mut self.ledger);
        }
    }

    fn turn(&mut self, connections: &mut [Connection], now: Nanos) -> Turn {
        self.ledger.report(now);
        let (sending, pulling) = connections.split_at_mut(self.sender.lines.len());
        let sent = self.sender.turn(sending, now, &mut self.ledger, &self.shared);
        let pulled = self.puller.turn(pulling, now, &mut self.ledger);
        let due = match (&sent, &pulled) {
            (Progress::Hopeless(reason), _) | (_, Progress::Hopeless(reason)) => {
                self.shared.halt(reason.clone());
                return self.finish();
            }
            (Progress::Done, _) => {
                if self.sending {
                    self.sending = false;
                    self.shared.sending.fetch_sub(1, Ordering::Relaxed);
                }
                now + HOUSEKEEPING
            }
            (Progress::Until(due), Progress::Until(pull_due)) => *due.min(pull_due),
            (Progress::Until(due), Progress::Done) => *due,
        };
        if self.all_received(now) || self.shared.halted().is_some() {
            return self.finish();
        }
        Turn::Until(due)
    }

    fn close(self) {
        self.ledger.close();
    }
}

impl EndToEnd {
    fn finish(&mut self) -> Turn {
        let findings = self.puller.findings();
        self.ledger.tally().findings.add(&findings);
        Turn::Finished
    }
}
