//! Pops and notifications that wait for a message: one room per topic and group.
//!
//! Owns the waiting requests (as frames: they run again from the start when something comes), which queues wake which room,
//! and which other shards want to hear of a message here. Never runs a request itself, never goes over its limits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slab::Slab;

use crate::event::{ConnId, Origin, ShardId};
use crate::limits::{POP_HELD_BYTES_MAX, POP_HELD_MAX, POP_HELD_PER_ROOM_MAX, POP_ROOMS_MAX};
use crate::map::Map;
use crate::store::QueueSlot;

/// A request that waits.
#[derive(Debug)]
pub struct Waiter {
    pub origin: Origin,
    pub frame: Box<[u8]>,
    /// Mono microseconds.
    pub deadline: u64,
    /// Equal for requests that want the same: when one finds nothing, the others need not look.
    pub shape: u64,
    /// The queue it wants; `None` for any.
    pub queue: Option<u32>,
}

/// Names a room until somebody clears it.
pub type RoomId = usize;

#[derive(Debug)]
struct Room {
    topic: Box<str>,
    group: Box<str>,
    held: VecDeque<u64>,
    /// Shards where pops of this group wait that found nothing here.
    interested: Vec<ShardId>,
    slots: Vec<QueueSlot>,
}

/// What was in a room.
#[derive(Debug)]
pub struct Cleared {
    pub topic: Box<str>,
    pub group: Box<str>,
    /// In the order they came.
    pub held: Vec<Waiter>,
    pub interested: Vec<ShardId>,
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomsFull;

/// All rooms of a shard.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: Slab<Room>,
    by_name: Map<Box<str>, RoomId>,
    watch: Map<QueueSlot, Vec<RoomId>>,
    held: BTreeMap<u64, (RoomId, Waiter)>,
    deadlines: BTreeSet<(u64, u64)>,
    bytes: usize,
    next: u64,
}

fn name(topic: &str, group: &str) -> String {
    // A name contains no blank.
    [topic, " ", group].concat()
}

impl Rooms {
    /// The room of a topic and group, if anybody waits.
    pub fn find(&self, topic: &str, group: &str) -> Option<RoomId> {
        self.by_name.get(name(topic, group).as_str()).copied()
    }

    /// The room of a topic and group, woken by these queues from now on.
    ///
    /// # Errors
    /// At the limit.
    pub fn enter(&mut self, topic: &str, group: &str, slots: &[QueueSlot]) -> Result<RoomId, RoomsFull> {
        let id = match self.find(topic, group) {
            Some(id) => id,
            None if self.rooms.len() >= POP_ROOMS_MAX => return Err(RoomsFull),
            None => {
                let (held, interested, slots) = (VecDeque::new(), Vec::new(), Vec::new());
                let id = self.rooms.insert(Room { topic: topic.into(), group: group.into(), held, interested, slots });
                self.by_name.insert(name(topic, group).into(), id);
                id
            }
        };
        for slot in slots {
            let watching = self.watch.entry(*slot).or_default();
            if !watching.contains(&id) {
                watching.push(id);
                self.rooms[id].slots.push(*slot);
            }
        }
        Ok(id)
    }

    /// Lets a request wait.
    ///
    /// # Errors
    /// At one of the limits.
    pub fn hold(&mut self, room: RoomId, waiter: Waiter) -> Result<(), RoomsFull> {
        let in_room = self.rooms[room].held.len();
        let full = self.held.len() >= POP_HELD_MAX
            || in_room >= POP_HELD_PER_ROOM_MAX
            || self.bytes + waiter.frame.len() > POP_HELD_BYTES_MAX;
        if full {
            self.clear_if_empty(room);
            return Err(RoomsFull);
        }
        self.next += 1;
        self.bytes += waiter.frame.len();
        self.deadlines.insert((waiter.deadline, self.next));
        self.rooms[room].held.push_back(self.next);
        self.held.insert(self.next, (room, waiter));
        Ok(())
    }

    /// Another shard wants to hear of the next message.
    pub fn note_interest(&mut self, room: RoomId, shard: ShardId) {
        let interested = &mut self.rooms[room].interested;
        if !interested.contains(&shard) {
            interested.push(shard);
        }
    }

    /// The rooms that a message in this queue concerns.
    #[inline]
    pub fn watching(&self, slot: QueueSlot) -> &[RoomId] {
        if self.rooms.is_empty() {
            return &[];
        }
        self.watch.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// The rooms of a topic.
    pub fn of_topic(&self, topic: &str) -> Vec<RoomId> {
        self.rooms.iter().filter(|(_, room)| *room.topic == *topic).map(|(id, _)| id).collect()
    }

    /// Empties a room.
    pub fn clear(&mut self, id: RoomId) -> Option<Cleared> {
        let room = self.rooms.try_remove(id)?;
        let Room { topic, group, held, interested, slots } = room;
        self.by_name.remove(name(&topic, &group).as_str());
        for slot in slots {
            self.unwatch(slot, id);
        }
        let held = held.into_iter().filter_map(|key| self.release(key).map(|(_, waiter)| waiter)).collect();
        Some(Cleared { topic, group, held, interested })
    }

    fn unwatch(&mut self, slot: QueueSlot, id: RoomId) {
        if let Some(watching) = self.watch.get_mut(&slot) {
            watching.retain(|room| *room != id);
            if watching.is_empty() {
                self.watch.remove(&slot);
            }
        }
    }

    fn release(&mut self, key: u64) -> Option<(RoomId, Waiter)> {
        let (room, waiter) = self.held.remove(&key)?;
        self.deadlines.remove(&(waiter.deadline, key));
        self.bytes -= waiter.frame.len();
        Some((room, waiter))
    }

    fn clear_if_empty(&mut self, id: RoomId) {
        if self.rooms.get(id).is_some_and(|room| room.held.is_empty() && room.interested.is_empty()) {
            self.clear(id);
        }
    }

    /// The next deadline in mono microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Lets go of one request whose time is up.
    pub fn expire(&mut self, mono_us: u64) -> Option<Waiter> {
        let (deadline, key) = *self.deadlines.first()?;
        if deadline > mono_us {
            return None;
        }
        self.leave(key)
    }

    fn leave(&mut self, key: u64) -> Option<Waiter> {
        let (room, waiter) = self.release(key)?;
        if let Some(room) = self.rooms.get_mut(room) {
            room.held.retain(|held| *held != key);
        }
        self.clear_if_empty(room);
        Some(waiter)
    }

    /// The connection is gone and its requests with it.
    pub fn drop_conn(&mut self, conn: ConnId) {
        let of_conn = |(key, (_, waiter)): (&u64, &(RoomId, Waiter))| (waiter.origin.conn == conn).then_some(*key);
        let keys: Vec<u64> = self.held.iter().filter_map(of_conn).collect();
        for key in keys {
            self.leave(key);
        }
    }

    /// How many requests of a group wait for a topic, or for one of its queues.
    pub fn waiting(&self, topic: &str, group: &str, queue: Option<u32>) -> usize {
        let Some(room) = self.find(topic, group).and_then(|id| self.rooms.get(id)) else { return 0 };
        let wants = |key: &&u64| queue.is_none() || self.held.get(key).is_some_and(|(_, waiter)| waiter.queue == queue);
        room.held.iter().filter(wants).count()
    }
}
