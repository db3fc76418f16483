//! Requests that wait for metadata: frames of a topic being created, pulls whose subscription is on its way.
//!
//! Owns copies of their frames, in arrival order per key, and re-runs nothing itself: `shard.rs` takes frames out when
//! the news comes or their time is up. Never lets a later frame of a parked topic overtake an earlier one: as long as
//! a topic is listed here, further frames of it join the line.

use std::collections::VecDeque;

use crate::event::Origin;
use crate::limits::{PARKED_BYTES_MAX, PARKED_MAX};

/// What a parked frame waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The topic exists, or is refused.
    Topic(Box<str>),
    /// The subscriptions of this group reached this shard.
    Subscription(Box<str>),
}

/// A request kept for later.
#[derive(Debug)]
pub struct ParkedFrame {
    pub awaited: Awaited,
    pub origin: Origin,
    pub frame: Box<[u8]>,
    /// Mono microseconds at which it is answered whatever happened.
    pub deadline: u64,
}

/// All parked frames of a shard; few and short-lived, so a line is searched from its front.
#[derive(Debug, Default)]
pub struct Parked {
    frames: VecDeque<ParkedFrame>,
    bytes: usize,
}

impl Parked {
    /// Whether nothing is parked: the only question on the hot path.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames are parked.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether a frame of this many bytes still fits.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.frames.len() < PARKED_MAX && self.bytes + bytes <= PARKED_BYTES_MAX
    }

    /// Whether frames of this topic stand in line.
    pub fn holds_topic(&self, topic: &str) -> bool {
        self.frames.iter().any(|parked| matches!(&parked.awaited, Awaited::Topic(name) if **name == *topic))
    }

    /// Adds a frame to the end of its line.
    pub fn park(&mut self, parked: ParkedFrame) {
        assert!(self.has_room(parked.frame.len()), "the caller asks has_room first");
        self.bytes += parked.frame.len();
        self.frames.push_back(parked);
    }

    /// Takes all frames that wait for `awaited`, in arrival order.
    pub fn take(&mut self, awaited: &Awaited) -> Vec<ParkedFrame> {
        self.take_where(|parked| parked.awaited == *awaited)
    }

    /// Takes all frames whose time is up.
    pub fn take_expired(&mut self, mono_us: u64) -> Vec<ParkedFrame> {
        self.take_where(|parked| parked.deadline <= mono_us)
    }

    /// Forgets the frames of a closed connection.
    pub fn drop_conn(&mut self, conn: crate::event::ConnId) {
        let _ = self.take_where(|parked| parked.origin.conn == conn);
    }

    /// The next deadline in mono microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.frames.iter().map(|parked| parked.deadline).min()
    }

    fn take_where(&mut self, mut wanted: impl FnMut(&ParkedFrame) -> bool) -> Vec<ParkedFrame> {
        let mut taken = Vec::new();
        for _ in 0..self.frames.len() {
            let Some(parked) = self.frames.pop_front() else { break };
            if wanted(&parked) {
                self.bytes -= parked.frame.len();
                taken.push(parked);
            } else {
                self.frames.push_back(parked);
            }
        }
        taken
    }
}
