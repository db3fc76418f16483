//! The requests a connection has sent and not yet seen answered.
//!
//! Owns the opaque numbers of one connection: each names its slot, so an answer finds its request without
//! a map, and carries a generation, so a late answer never settles a younger request. It never does I/O.
//!
//! Opaques are always ten digits long: a ready-made JSON frame can be stamped in place (see `wire::volley`).

use crate::clock::Nanos;

/// The smallest ten-digit opaque, and the first of ours.
pub const FIRST_OPAQUE: i32 = 1_000_000_000;

/// Most requests one connection may have in flight: 16 bits of slot leave 17,000 generations per slot.
pub const MAX_IN_FLIGHT: usize = 1 << 16;

/// One request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which slot it held; callers may keep their own facts beside it.
    pub slot: usize,
    /// When it should have been sent: latency counts from here.
    pub intended: Nanos,
    /// When it was sent: the response timeout counts from here.
    pub sent: Nanos,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// 0 while free; opaques in use are never 0.
    opaque: i32,
    generation: u32,
    intended: Nanos,
    sent: Nanos,
}

/// A fixed number of slots; memory is taken as they come into use.
pub struct InFlight {
    capacity: usize,
    slots: Vec<Slot>,
    /// Slots that were used and are free again. Popped from the end: the one used last is still in cache.
    free: Vec<u32>,
    slot_bits: u32,
    generations: u32,
}

impl InFlight {
    /// Room for `capacity` requests, between 1 and [`MAX_IN_FLIGHT`].
    pub fn with_capacity(capacity: usize) -> InFlight {
        assert!((1..=MAX_IN_FLIGHT).contains(&capacity), "in flight out of range: {capacity}");
        let slot_bits = capacity.next_power_of_two().trailing_zeros();
        let span = (i32::MAX - FIRST_OPAQUE) as u32;
        InFlight { capacity, slots: Vec::new(), free: Vec::new(), slot_bits, generations: span >> slot_bits }
    }

    /// How many more requests may be sent now.
    pub fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// How many requests wait for an answer.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Takes a slot and returns it with the opaque to send; `None` when all are taken.
    pub fn begin(&mut self, intended: Nanos, sent: Nanos) -> Option<(usize, i32)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.capacity => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index as usize];
        assert_eq!(slot.opaque, 0, "a free slot holds a request");
        let opaque = FIRST_OPAQUE + ((slot.generation << self.slot_bits) | index) as i32;
        slot.generation = (slot.generation + 1) % self.generations;
        slot.opaque = opaque;
        slot.intended = intended;
        slot.sent = sent;
        Some((index as usize, opaque))
    }

    /// Settles the request an answer belongs to; `None` for an opaque nobody waits for (any more).
    pub fn settle(&mut self, opaque: i32) -> Option<Pending> {
        let index = opaque.checked_sub(FIRST_OPAQUE).filter(|at| *at >= 0)? as usize & ((1 << self.slot_bits) - 1);
        let slot = self.slots.get_mut(index)?;
        if slot.opaque != opaque {
            return None;
        }
        slot.opaque = 0;
        self.free.push(index as u32);
        Some(Pending { slot: index, intended: slot.intended, sent: slot.sent })
    }

    /// Settles every request sent at or before `sent_by` without an answer. O(capacity): call it rarely.
    pub fn expire(&mut self, sent_by: Nanos, mut expired: impl FnMut(Pending)) {
        if self.is_empty() {
            return;
        }
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            if slot.opaque != 0 && slot.sent <= sent_by {
                self.slots[index].opaque = 0;
                self.free.push(index as u32);
                expired(Pending { slot: index, intended: slot.intended, sent: slot.sent });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_request_once() {
        let mut requests = InFlight::with_capacity(2);
        let (first_slot, first) = requests.begin(10, 11).expect("room");
        let (_, second) = requests.begin(20, 21).expect("room");
        assert_eq!(requests.begin(30, 31), None);
        assert_eq!(requests.settle(first), Some(Pending { slot: first_slot, intended: 10, sent: 11 }));
        assert_eq!(requests.settle(first), None, "a duplicate answer settles nothing");
        let (slot, third) = requests.begin(40, 41).expect("room");
        assert_eq!(slot, first_slot);
        assert_ne!(third, first, "a late answer must not settle the slot's next request");
        assert!(requests.settle(second).is_some() && requests.settle(third).is_some() && requests.is_empty());
    }

    #[test]
    fn opaques_keep_ten_digits_through_every_generation() {
        for capacity in [1, 3, 64, 1_000, MAX_IN_FLIGHT] {
            let mut requests = InFlight::with_capacity(capacity);
            for turn in 0..4 {
                if turn == 1 {
                    requests.slots[0].generation = requests.generations - 1;
                }
                let (_, opaque) = requests.begin(0, 0).expect("room");
                assert!(opaque >= FIRST_OPAQUE, "{opaque} with capacity {capacity}");
                assert!(requests.settle(opaque).is_some());
            }
        }
    }

    #[test]
    fn foreign_opaques_are_nobodys() {
        let mut requests = InFlight::with_capacity(3);
        requests.begin(0, 0);
        for opaque in [i32::MIN, -1, 0, 7, FIRST_OPAQUE + 3, i32::MAX] {
            assert_eq!(requests.settle(opaque), None, "{opaque}");
        }
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn only_old_requests_expire() {
        let mut requests = InFlight::with_capacity(4);
        requests.begin(0, 5);
        let (_, young) = requests.begin(0, 9).expect("room");
        let mut seen = Vec::new();
        requests.expire(7, |pending| seen.push(pending.sent));
        assert_eq!(seen, [5]);
        assert!(requests.settle(young).is_some());
    }
}
