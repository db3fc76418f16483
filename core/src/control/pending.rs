//! Changes that are not yet durable and known to every shard, and what must wait until they are.
//!
//! Owns the versions of changes, how far each shard has confirmed them, and the answers held back. Changes reach a shard in
//! their order and are confirmed in it, so one number per shard says everything.

use std::collections::VecDeque;

use crate::effects::{Effects, Outgoing, Refusal, ReplyTo};
use crate::event::{PeerMessage, ShardId};
use crate::store::Position;
use crate::topic::Change;

/// Most answers held back. Each belongs to a request of a client, and clients wait for few at a time.
pub const PENDING_MAX: usize = 65_536;

/// Most changes in one message to a shard: applying them takes about a millisecond.
pub const CHANGES_PER_DELTA: usize = 1_024;

/// What an answer must wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Ticket {
    /// Every shard must have confirmed this version.
    pub version: u64,
    /// The control shard's log must be durable up to here.
    pub until: Position,
}

impl Ticket {
    /// Both of two.
    pub fn and(self, other: Ticket) -> Ticket {
        Ticket { version: self.version.max(other.version), until: self.until.max(other.until) }
    }
}

#[derive(Debug)]
enum Then {
    /// Send a frame.
    Answer { to: ReplyTo, frame: Box<[u8]> },
    /// Tell a shard.
    Tell { shard: ShardId, message: PeerMessage },
}

#[derive(Debug)]
struct Held {
    ticket: Ticket,
    then: Then,
}

/// Versions, confirmations, and what waits for them.
#[derive(Debug)]
pub struct Pending {
    /// Version of the last change.
    version: u64,
    /// Last version each shard confirmed.
    confirmed: Vec<u64>,
    held: VecDeque<Held>,
    /// Changes that the other shards do not know yet, each with the position up to which the log must be durable before it
    /// is sent. The last one has `version`, the others the numbers before it.
    changes: VecDeque<(Position, Change)>,
}

impl Pending {
    /// Nothing pending, on a broker of so many shards.
    #[must_use]
    pub fn over(shards: u16) -> Self {
        Pending { version: 0, confirmed: vec![0; usize::from(shards)], held: VecDeque::new(), changes: VecDeque::new() }
    }

    /// One more change; its version. Other shards are sent it as soon as the log is durable up to `until`, in the order of
    /// the calls, and with it all that became durable together.
    ///
    /// A shard that knew of a topic earlier could acknowledge a message of it, and a power cut could then take the topic
    /// and leave the message.
    pub fn change(&mut self, until: Position, change: &Change) -> u64 {
        self.version += 1;
        if self.confirmed.len() > 1 {
            self.changes.push_back((until, change.clone()));
        }
        self.version
    }

    /// The version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A shard has applied everything up to this version.
    pub fn confirm(&mut self, shard: ShardId, version: u64) {
        assert!(version <= self.version, "a shard confirms what was sent");
        let confirmed = &mut self.confirmed[usize::from(shard.0)];
        assert!(*confirmed < version, "a shard confirms in order");
        *confirmed = version;
    }

    /// The version every shard has.
    #[must_use]
    pub fn confirmed_by_all(&self) -> u64 {
        self.confirmed.iter().copied().min().unwrap_or(0)
    }

    /// Whether no more answers can be held back; a change is refused then before it is made.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held.len() + self.changes.len() >= PENDING_MAX
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.changes.is_empty()
    }

    /// Takes the last frame out of `out` and keeps it until the ticket is due.
    pub fn hold_last(&mut self, ticket: Ticket, to: ReplyTo, out: &mut Effects) {
        let Some(Outgoing { start, end, .. }) = out.sends.pop() else { return };
        let (start, end) = (start as usize, end as usize);
        assert_eq!(end, out.bytes.len(), "only the frame encoded last can be held back");
        let frame = out.bytes.split_off(start).into_boxed_slice();
        self.hold(ticket, Then::Answer { to, frame });
    }

    /// Keeps a message to a shard until the ticket is due.
    pub fn tell(&mut self, ticket: Ticket, shard: ShardId, message: PeerMessage) {
        self.hold(ticket, Then::Tell { shard, message });
    }

    fn hold(&mut self, ticket: Ticket, then: Then) {
        // An answer with nothing of its own to wait for still stays behind those before it: clients may rely on the order
        // in which their requests took effect.
        let ticket = self.held.back().map_or(ticket, |last| ticket.and(last.ticket));
        self.held.push_back(Held { ticket, then });
    }

    /// Lets go of everything that is due.
    pub fn release(&mut self, durable: Position, out: &mut Effects) {
        self.send_changes(durable, out);
        let confirmed = self.confirmed_by_all();
        while let Some(held) = self.held.front() {
            if held.ticket.version > confirmed || held.ticket.until > durable {
                return;
            }
            match self.held.pop_front().map(|held| held.then) {
                Some(Then::Answer { to, frame }) => send(to, &frame, out),
                Some(Then::Tell { shard, message }) => out.peers.push((shard, message)),
                None => return,
            }
        }
    }

    /// Sends every other shard the changes that are durable.
    fn send_changes(&mut self, durable: Position, out: &mut Effects) {
        loop {
            // One behind another that is not durable waits for it: changes reach a shard in their order.
            let due = self.changes.iter().take_while(|(until, _)| *until <= durable).take(CHANGES_PER_DELTA).count();
            if due == 0 {
                return;
            }
            let changes: Box<[Change]> = self.changes.drain(..due).map(|(_, change)| change).collect();
            let version = self.version - self.changes.len() as u64;
            for shard in 1..self.confirmed.len() as u16 {
                out.peers.push((ShardId(shard), PeerMessage::Delta { version, changes: changes.clone() }));
            }
        }
    }

    /// The log failed: nothing that waits for it will ever be durable, and whoever waits is told.
    pub fn fail(&mut self, refusal: &Refusal, out: &mut Effects) {
        self.changes.clear();
        for held in self.held.drain(..) {
            match held.then {
                Then::Answer { to, .. } => drop(out.refuse(&to, refusal)),
                Then::Tell { shard, message } => {
                    let message = match message {
                        PeerMessage::TopicDecided { topic, .. } => {
                            PeerMessage::TopicDecided { topic, outcome: Err(refusal.clone()) }
                        }
                        other => other,
                    };
                    out.peers.push((shard, message));
                }
            }
        }
    }
}

fn send(to: ReplyTo, frame: &[u8], out: &mut Effects) {
    let start = out.bytes.len() as u32;
    out.bytes.extend_from_slice(frame);
    out.sends.push(Outgoing { conn: to.conn, start, end: out.bytes.len() as u32 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnId, CoreId};
    use ringmq_protocol::frame::Spelling;
    use ringmq_protocol::response_code::ResponseCode;

    fn to(opaque: i32) -> ReplyTo {
        let conn = ConnId { core: CoreId(0), slot: opaque as u32, generation: 1 };
        ReplyTo { conn, opaque, spelling: Spelling::Json, oneway: false }
    }

    fn drop_of(n: u32) -> Change {
        Change::TopicDrop { name: format!("t{n}").into() }
    }

    fn hold(pending: &mut Pending, ticket: Ticket, opaque: i32) {
        let mut out = Effects::default();
        let _ = out.done(&to(opaque));
        pending.hold_last(ticket, to(opaque), &mut out);
        assert!(out.sends.is_empty() && out.bytes.is_empty());
    }

    fn released(pending: &mut Pending, durable: u64) -> Vec<u32> {
        let mut out = Effects::default();
        pending.release(Position(durable), &mut out);
        out.sends.iter().map(|send| send.conn.slot).collect()
    }

    #[test]
    fn an_answer_waits_for_the_log_and_for_every_shard() {
        let mut pending = Pending::over(2);
        let version = pending.change(Position(100), &drop_of(1));
        hold(&mut pending, Ticket { version, until: Position(100) }, 1);
        assert_eq!(released(&mut pending, 100), [0; 0]);
        pending.confirm(ShardId(0), version);
        pending.confirm(ShardId(1), version);
        assert_eq!(released(&mut pending, 99), [0; 0]);
        assert_eq!(released(&mut pending, 100), [1]);
        assert!(pending.is_empty());
    }

    #[test]
    fn later_answers_do_not_overtake() {
        let mut pending = Pending::over(1);
        let version = pending.change(Position(100), &drop_of(1));
        hold(&mut pending, Ticket { version, until: Position(100) }, 1);
        hold(&mut pending, Ticket::default(), 2);
        pending.confirm(ShardId(0), version);
        assert_eq!(released(&mut pending, 50), [0; 0]);
        assert_eq!(released(&mut pending, 200), [1, 2]);
    }

    /// The versions and the changes of what was sent to a shard.
    fn told(pending: &mut Pending, durable: u64, shard: u16) -> Vec<(u64, Vec<Change>)> {
        let mut out = Effects::default();
        pending.release(Position(durable), &mut out);
        let messages = out.peers.into_iter().filter(|(to, _)| *to == ShardId(shard));
        let deltas = messages.map(|(_, message)| match message {
            PeerMessage::Delta { version, changes } => (version, changes.into_vec()),
            other => panic!("no change: {other:?}"),
        });
        deltas.collect()
    }

    #[test]
    fn changes_reach_the_others_together_in_their_order_and_only_when_they_are_durable() {
        let mut pending = Pending::over(3);
        for (n, until) in [(1, 100), (2, 200), (3, 0), (4, 300)] {
            assert_eq!(pending.change(Position(until), &drop_of(n)), u64::from(n));
        }
        assert_eq!(told(&mut pending, 99, 1), []);
        assert_eq!(told(&mut pending, 150, 1), [(1, vec![drop_of(1)])]);
        // The third waits for nothing, but stays behind the second.
        assert_eq!(told(&mut pending, 200, 2), [(3, vec![drop_of(2), drop_of(3)])]);
        assert!(!pending.is_empty());
        assert_eq!(told(&mut pending, 300, 1), [(4, vec![drop_of(4)])]);
        assert!(pending.is_empty());
    }

    #[test]
    fn many_changes_are_cut_into_steps() {
        let mut pending = Pending::over(2);
        let many = CHANGES_PER_DELTA as u32 + 1;
        for n in 1..=many {
            pending.change(Position(0), &drop_of(n));
        }
        let told = told(&mut pending, 0, 1);
        let versions: Vec<(u64, usize)> = told.iter().map(|(version, changes)| (*version, changes.len())).collect();
        assert_eq!(versions, [(CHANGES_PER_DELTA as u64, CHANGES_PER_DELTA), (u64::from(many), 1)]);
        assert_eq!(told[1].1, [drop_of(many)]);
    }

    #[test]
    fn a_broker_of_one_shard_keeps_no_changes() {
        let mut pending = Pending::over(1);
        pending.change(Position(100), &drop_of(1));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_failed_log_refuses_what_waits() {
        let mut pending = Pending::over(1);
        hold(&mut pending, Ticket { version: 0, until: Position(1) }, 1);
        let mut out = Effects::default();
        pending.fail(&Refusal::new(ResponseCode::ServiceNotAvailable, "the disk failed"), &mut out);
        assert_eq!(out.sends.len(), 1);
        assert!(pending.is_empty());
    }
}
