//! What executors tell each other: one bounded FIFO per ordered pair, moved in batches once per loop turn.
//!
//! Owns the batches, their weight, and the wiring of the channels. While a channel is full its batch grows here, and at a limit
//! the executor stops reading its connections until there is room: nothing is dropped and nothing grows without bound.
//! A request travels as its frame and what was read in it, copied into memory that goes back with the next batch the other way:
//! nothing is allocated for it, and nothing is given to one CPU's heap that was taken from another's. Never looks into a message.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use glommio::channels::shared_channel::{ConnectedSender, SharedReceiver, SharedSender, new_bounded};
use glommio::net::AcceptedTcpStream;
use ringmq_core::event::{ConnId, CoreId, Origin, PeerMessage, ShardId};
use ringmq_protocol::command::Command;
use ringmq_protocol::convoy::Convoy;

use crate::limits;
use crate::net::Door;
use crate::nudge::Nudge;

/// What one shard has for another one.
#[derive(Debug)]
pub enum Said {
    /// Something core made.
    Message(PeerMessage),
    /// A request that came to one and runs on the other: the next one in the batch's convoy.
    Request(Origin),
}

/// What one executor has for another one at the end of a loop turn.
#[derive(Default)]
pub struct Batch {
    /// Connections that the receiver shall serve.
    pub sockets: Vec<(AcceptedTcpStream, Door)>,
    /// Messages between shards: sender, receiver, message. In the order they were sent.
    pub peers: Vec<(ShardId, ShardId, Said)>,
    /// The requests among them.
    pub requests: Convoy,
    /// Frames in which clients answer a push of the control shard, which lives at the receiver.
    pub answers: Vec<(Origin, Box<[u8]>)>,
    /// Connections of the sender that are gone. After `peers`: the last requests of a connection come before its end.
    pub closed: Vec<ConnId>,
    /// Encoded frames for connections of the receiver, back to back.
    pub frames: Vec<u8>,
    /// Where each connection's part of `frames` ends, in order.
    pub sends: Vec<(ConnId, usize)>,
    /// Connections of the receiver that a shard wants closed.
    pub closes: Vec<ConnId>,
}

impl Batch {
    /// Whether there is nothing to move.
    pub fn is_empty(&self) -> bool {
        let Batch { sockets, peers, requests: _, answers, closed, frames: _, sends, closes } = self;
        sockets.is_empty()
            && peers.is_empty()
            && answers.is_empty()
            && closed.is_empty()
            && sends.is_empty()
            && closes.is_empty()
    }

    /// Queues a request that runs on a shard of the receiver.
    pub fn request(&mut self, from: ShardId, to: ShardId, origin: Origin, command: &Command<'_>, frame: &[u8]) {
        self.requests.push(frame, command);
        self.peers.push((from, to, Said::Request(origin)));
    }

    /// Forgets everything, keeps the memory; gives memory back of which there is more than a turn usually wants.
    fn emptied(mut self) -> Self {
        let Batch { sockets, peers, requests, answers, closed, frames, sends, closes } = &mut self;
        sockets.clear();
        peers.clear();
        requests.clear();
        answers.clear();
        closed.clear();
        frames.clear();
        sends.clear();
        closes.clear();
        if peers.capacity() > limits::MESH_KEEP_MESSAGES {
            *peers = Vec::new();
        }
        if requests.capacity() > limits::MESH_KEEP {
            *requests = Convoy::default();
        }
        if frames.capacity() > limits::MESH_KEEP {
            *frames = Vec::new();
        }
        self
    }

    /// Queues frames for one connection of the receiver.
    pub fn send(&mut self, conn: ConnId, frames: &[u8]) {
        self.frames.extend_from_slice(frames);
        match self.sends.last_mut() {
            Some((last, end)) if *last == conn => *end = self.frames.len(),
            _ => self.sends.push((conn, self.frames.len())),
        }
    }

    /// Calls `deliver` with each connection's frames, in order.
    pub fn each_send(&self, mut deliver: impl FnMut(ConnId, &[u8])) {
        let mut start = 0;
        for &(conn, end) in &self.sends {
            deliver(conn, &self.frames[start..end]);
            start = end;
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} messages, {} frames' bytes)", self.peers.len(), self.frames.len())
    }
}

/// One executor's ends of all channels, before its thread runs.
pub struct Ends {
    /// To each other executor, by core.
    pub senders: Vec<(CoreId, SharedSender<Batch>)>,
    /// From each other executor, by core.
    pub receivers: Vec<(CoreId, SharedReceiver<Batch>)>,
}

/// The channels between `cores` executors; entry n is for executor n.
pub fn wire(cores: usize) -> Vec<Ends> {
    let mut ends: Vec<Ends> = (0..cores).map(|_| Ends { senders: Vec::new(), receivers: Vec::new() }).collect();
    for from in 0..cores {
        for to in (0..cores).filter(|&to| to != from) {
            let (sender, receiver) = new_bounded(limits::MESH_BATCHES);
            ends[from].senders.push((CoreId(to as u16), sender));
            ends[to].receivers.push((CoreId(from as u16), receiver));
        }
    }
    ends
}

/// The sending side towards all other executors.
#[derive(Default)]
pub struct Mesh {
    /// By core; `None` for this executor itself.
    links: Vec<Option<Rc<Link>>>,
}

/// What waits for one other executor.
#[derive(Default)]
pub struct Link {
    pending: RefCell<Batch>,
    /// Bytes of frames in `pending`.
    weight: Cell<usize>,
    /// Empty batches that came from there, to be filled and sent back.
    spare: RefCell<Vec<Batch>>,
    ready: Nudge,
}

impl Link {
    fn is_loaded(&self) -> bool {
        self.weight.get() > limits::MESH_PAUSE || self.pending.borrow().peers.len() > limits::MESH_PAUSE_MESSAGES
    }
}

impl Mesh {
    /// Enters the link towards `to`; [`carry`] must run with it.
    pub fn connect(&mut self, to: CoreId) -> Rc<Link> {
        let at = usize::from(to.0);
        if self.links.len() <= at {
            self.links.resize_with(at + 1, || None);
        }
        let link = Rc::new(Link::default());
        self.links[at] = Some(link.clone());
        link
    }

    /// Queues something of `weight` bytes for an executor.
    pub fn put(&self, to: CoreId, weight: usize, put: impl FnOnce(&mut Batch)) {
        let link =
            self.links[usize::from(to.0)].as_ref().expect("every other executor is linked before the first request");
        link.weight.set(link.weight.get() + weight);
        put(&mut link.pending.borrow_mut());
    }

    /// A batch of `from` was carried out: its memory goes back there with what it is sent next.
    pub fn give_back(&self, from: CoreId, batch: Batch) {
        let Some(link) = self.links.get(usize::from(from.0)).and_then(Option::as_ref) else { return };
        let mut spare = link.spare.borrow_mut();
        if spare.len() < limits::MESH_BATCHES {
            spare.push(batch.emptied());
        }
    }

    /// Queues the same for every other executor.
    pub fn put_all(&self, mut put: impl FnMut(&mut Batch)) {
        self.links.iter().flatten().for_each(|link| put(&mut link.pending.borrow_mut()));
    }

    /// Whether so much waits for another executor that connections should not be read.
    pub fn is_loaded(&self) -> bool {
        self.links.iter().flatten().any(|link| link.is_loaded())
    }

    /// Sets the pending batches moving.
    pub fn flush(&self) {
        for link in self.links.iter().flatten() {
            if !link.pending.borrow().is_empty() {
                link.ready.nudge();
            }
        }
    }
}

/// Moves batches over one channel until the other executor is gone, waiting while the channel is full.
pub async fn carry(link: Rc<Link>, sender: ConnectedSender<Batch>, turn: Rc<Nudge>) {
    loop {
        link.ready.wait().await;
        if link.pending.borrow().is_empty() {
            continue;
        }
        let next = link.spare.borrow_mut().pop().unwrap_or_default();
        let batch = link.pending.replace(next);
        link.weight.set(0);
        // An error means the process is stopping: nobody is left to serve.
        if sender.send(batch).await.is_err() {
            return;
        }
        if !link.pending.borrow().is_empty() {
            // It was full for a while: what gathered goes next, and whoever waited for room looks again.
            link.ready.nudge();
            turn.nudge();
        }
    }
}
